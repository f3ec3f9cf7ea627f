"""One error hierarchy: what, where, the value seen, the value expected, what to do next."""

from __future__ import annotations

from collections.abc import Iterable


def listed(names: Iterable[object], most: int = 8) -> str:
    """Names as an error tells them: `a, b, c and 12 more`; `none` when there are none."""
    known = [str(name) for name in names]
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more if known else "none"


def counted(number: int, one: str, several: str = "") -> str:
    """A count with its noun, and the verb that goes with it if there is one: `1 frame`, `2,000 frames`.

    Args:
        one, several: what follows the number; several of which with an s, where that is all.
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def out_of(number: int, total: int, one: str, several: str = "", verbs: tuple[str, str] = ("", "")) -> str:
    """A part of a count: `1,100 of 1,200 sequences`; with verbs that of the part: `1 of 6 subjects is`.

    Args:
        one, several: what the total is of; see `counted`.
        verbs: of one and of several.
    """
    verb = verbs[0] if number == 1 else verbs[1]
    return f"{number:,} of {counted(total, one, several)}" + (f" {verb}" if verb else "")


class MimicmeError(Exception):
    """Base of every error that `mimicme` raises on purpose.

    Args:
        what: the finding, one sentence without a trailing full stop.
        where: item and file it was found in (`S001/smile frame 12, 0012.obj`).
        seen: the value found.
        expected: the value that would have been right.
        todo: what the reader should do next.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        seen: object = None,
        expected: object = None,
        todo: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.seen = seen
        self.expected = expected
        self.todo = todo
        super().__init__(what, where, seen, expected, todo)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where is not None else self.what
        if self.seen is not None:
            text += f"; seen {self.seen}"
        if self.expected is not None:
            text += f", expected {self.expected}" if self.seen is not None else f"; expected {self.expected}"
        if self.todo:
            text += f". {self.todo}"
        return text if text.endswith((".", "?", "!")) else text + "."

    def __reduce__(self) -> tuple[object, ...]:
        # keyword-only arguments do not survive the default pickling between workers
        return _rebuild, (type(self), dict(self.__dict__))


def _rebuild(kind: type[MimicmeError], state: dict[str, object]) -> MimicmeError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    Exception.__init__(error, state.get("what"))
    return error


class UsageError(MimicmeError):
    """Wrong use of a command or of the library; the command line ends with exit status 2."""


class ConfigError(UsageError):
    """A setting is unknown, of the wrong type or out of range."""


class MissingDependencyError(UsageError):
    """A package or system library is not installed; the message names `make install`."""


_NO_MEMORY = (
    "failed to map segment",
    "cannot allocate memory",
    "memory allocation failed",
    "unable to allocate",
)


def no_memory_in(error: BaseException) -> bool:
    """Whether an error, or what it arose from, says that memory was wanting."""
    at: BaseException | None = error
    for _ in range(16):  # a chain may be a loop
        if at is None:
            break
        if isinstance(at, MemoryError) or any(words in str(at).lower() for words in _NO_MEMORY):
            return True
        at = at.__cause__ or at.__context__
    return False


def raise_if_memory(error: BaseException) -> None:
    """A package that is there and cannot be loaded for want of memory is not missing.

    Raises:
        MemoryError: the error says so.
    """
    if any(words in str(error).lower() for words in _NO_MEMORY):
        raise MemoryError(str(error)) from error


class ShortageError(MemoryError):
    """The machine was short of something just now, of memory or of processes: no property of a file.  What it was
    wanted for fails and is tried again by the next run; no frame is rejected over it.

    Args:
        why: a sentence.
    """


class InputError(MimicmeError):
    """A file from outside (capture, landmark file, template, table) cannot be used."""


class OutputError(MimicmeError):
    """A file cannot be written: there is no room for it."""


class CheckpointError(MimicmeError):
    """A checkpoint is missing, unreadable or not what its reader needs."""


class ReleaseError(MimicmeError):
    """A release file breaks its own contract."""


def exit_status(error: BaseException) -> int:
    """The exit status of a command that an error ended: 2 of wrong use and of what cannot be read or written, 1 of a
    damaged result and of what was not foreseen."""
    # an unreadable capture folder or table is a wrong call; a damaged result is not
    damaged = isinstance(error, CheckpointError | ReleaseError)
    return 2 if isinstance(error, MimicmeError) and not damaged else 1


class FrameRejected(MimicmeError):
    """One frame cannot be used; it is recorded with `reason` and the run goes on.

    Args:
        reason: short code, at most 64 ASCII characters, stable between versions (`nan-vertices`).
    """

    def __init__(self, reason: str, what: str, **details: object) -> None:
        super().__init__(what, **details)  # type: ignore[arg-type]
        self.reason = reason
