"""What a check says."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from mimicme.commands.verify.checks import CHECKS, LOOK
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
        check: the name of the check that made it (`checks.CHECKS`).
    """

    level: Level
    where: str
    message: str
    check: str = ""

    @property
    def todo(self) -> str:
        """What to do about it, besides what the message says."""
        if self.level == "warning":
            return LOOK
        return CHECKS[self.check].todo if self.check in CHECKS else ""

    def __str__(self) -> str:
        name = f" [{self.check}]" if self.check else ""
        said = f"{self.level}: {self.where}: {self.message}{name}"
        # what a stranger's file says is not to move a terminal's cursor
        plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in said)
        return plain.encode("utf-8", "backslashreplace").decode()


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether a release with these findings must not be used."""
    return any(f.level == "error" for f in findings)


def all_said(findings: Iterable[Finding]) -> bool:
    """Whether nothing that was asked is left open."""
    return not any(f.level == "unknown" for f in findings)


Checks = Callable[..., Iterator[Finding]]


def named(name: str) -> Callable[[Checks], Checks]:
    """Gives what a check finds its name, where none of its parts has done so."""

    def decorate(check: Checks) -> Checks:
        @functools.wraps(check)
        def run(*arguments: Any, **options: Any) -> Iterator[Finding]:
            for one in check(*arguments, **options):
                yield one if one.check else replace(one, check=name)

        run.check = name  # type: ignore[attr-defined]
        return run

    return decorate


def guarded(where: str, check: Callable[..., Iterator[Finding]], *arguments: Any) -> Iterator[Finding]:
    """A check's findings; what a damaged file makes it trip over is a finding too."""
    called = getattr(check, "check", "")
    try:
        yield from check(*arguments)
    except ReleaseError as error:
        yield replace(of_error(error, where), check=called)
    except MemoryError as error:
        yield replace(of_memory(error, where), check=called)
    except TROUBLE as error:
        name = check.__name__.strip("_").replace("_", " ")
        yield Finding("error", where, f"'{name}' cannot be finished here: {first_line(error)}", called)


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
