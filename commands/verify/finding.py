"""What a check says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a release.

    Attributes:
        level: `error`: the release breaks its contract; `warning`: a person should look.
        where: the place inside the file (`/subjects/S001/smile/vertices row 3`).
        message: what is wrong and what should be there.
    """

    level: Level
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.message}"


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether a release with these findings must not be used."""
    return any(f.level == "error" for f in findings)


def guarded(where: str, check: Callable[..., Iterator[Finding]], *arguments: Any) -> Iterator[Finding]:
    """A check's findings; what a damaged file makes it trip over is a finding too."""
    try:
        yield from check(*arguments)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, IndexError, MemoryError) as error:
        name = check.__name__.strip("_").replace("_", " ")
        yield Finding("error", where, f"'{name}' cannot be finished here: {first_line(error)}")


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
