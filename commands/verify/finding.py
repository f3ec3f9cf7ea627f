"""What a check says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.release.guard import TROUBLE, first_line

__all__ = ["LEVELS", "Finding", "Level", "all_said", "first_line", "guarded", "has_errors", "of_error"]

Level = Literal["error", "unknown", "warning"]
LEVELS: tuple[Level, ...] = ("error", "unknown", "warning")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a release.

    Attributes:
        level: `error`: the release breaks its contract; `unknown`: something that was asked cannot be said;
            `warning`: a person should look.
        where: the place inside the file (`/subjects/S001/smile/vertices row 3`).
        message: what is wrong and what should be there.
    """

    level: Level
    where: str
    message: str

    def __str__(self) -> str:
        said = f"{self.level}: {self.where}: {self.message}"
        # what a stranger's file says is not to move a terminal's cursor
        plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in said)
        return plain.encode("utf-8", "backslashreplace").decode()


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether a release with these findings must not be used."""
    return any(f.level == "error" for f in findings)


def all_said(findings: Iterable[Finding]) -> bool:
    """Whether nothing that was asked is left open."""
    return not any(f.level == "unknown" for f in findings)


def guarded(where: str, check: Callable[..., Iterator[Finding]], *arguments: Any) -> Iterator[Finding]:
    """A check's findings; what a damaged file makes it trip over is a finding too."""
    try:
        yield from check(*arguments)
    except ReleaseError as error:
        yield of_error(error, where)
    except MemoryError as error:
        yield of_memory(error, where)
    except TROUBLE as error:
        name = check.__name__.strip("_").replace("_", " ")
        yield Finding("error", where, f"'{name}' cannot be finished here: {first_line(error)}")


def of_memory(error: MemoryError, where: str) -> Finding:
    """That verify had too little memory: a fault of the place where it runs, until somebody looks elsewhere."""
    seen = first_line(error)
    message = f"verify has too little memory to look at this ({seen}); nothing is said of it."
    return Finding("unknown", where, message)


def of_error(error: ReleaseError, where: str) -> Finding:
    """What the reader refuses, as a finding at its place in the file."""
    place = where if error.where is None else str(error.where)
    message = error.what
    message += f"; seen {error.seen}" if error.seen is not None else ""
    message += f", expected {error.expected}" if error.expected is not None else ""
    # what HDF5 wants in vain for a name or a head is no fault of the place: nothing sound needs that much
    return Finding("error", place, f"{message[:1].upper()}{message[1:]}.")
