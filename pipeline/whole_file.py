"""Files that are there whole or not at all: written under a temporary name, then renamed.  And lines that are so."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mimicme.pipeline.errors import OutputError, UsageError

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What writing fails with on a full disk, over a quota, and over the longest file that is allowed."""
FAILING = frozenset({errno.EIO, errno.EROFS, errno.ESTALE, errno.ENXIO, errno.ENODEV})
"""What writing fails with on a disk that is broken, went away, or is read-only."""

MOST_BYTES = 1 << 30
"""Of a file of lines with a check, which a million frames fill to a tenth."""
LONGEST_LINE = 64 << 20
"""Characters of such a line; a person with a hundred thousand frames has ten million."""
_TEMPORARY = re.compile(r"\.[^/]+\.\d+\.tmp")


def refuse_existing(path: Path, overwrite: bool = False, why: str = "this file is there already") -> None:
    """What somebody named as a file to be written is not there yet, or may be replaced.

    Raises:
        UsageError: it is there.
    """
    if not overwrite and os.path.lexists(path):
        raise UsageError(why, where=path, todo="Choose another, or say --overwrite.")


def refuse_input(path: Path, inputs: Iterable[Path], why: str = "what is read is not written over") -> None:
    """What somebody named as a file to be written is none of those that it is made from; links are followed.

    Raises:
        UsageError: it is one of them.
    """
    written = os.path.realpath(path)
    if any(written == os.path.realpath(read) for read in inputs):
        raise UsageError(why, where=path, todo="Name another file.")


def refuse_unwritable(path: Path) -> None:
    """Where somebody wants a file that is written at the end of a long run, one can be written; leaves nothing there.

    Raises:
        UsageError: it cannot, or a folder is there.
    """
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder is there", str(path))
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError("this file cannot be written", where=path, seen=why, todo="Name another.") from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name to write a file under; it gets its own when the block ends, and lasts through a power cut.

    Its folder is made.  What it replaces keeps its permissions; on any exception the temporary file is removed and
    whatever stood at `path` stays.

    Raises:
        OutputError: there is no room for it, or the disk fails.
    """
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if path.is_file():
            shutil.copymode(path, temporary)
        commit(temporary, path)
    except OSError as error:
        known = of_disk(path, error)
        if known is None:
            raise
        raise known from error
    finally:
        temporary.unlink(missing_ok=True)


def of_disk(path: object, error: OSError, what: str = "the file cannot be written") -> OutputError | None:
    """The error for people where a disk is full or fails; None: it is none of these.

    Args:
        path: of the file, where it is known.
    """
    if error.errno in NO_ROOM:
        return no_room(path, error, what)
    if error.errno not in FAILING:
        return None
    return OutputError(
        what,
        where=path,
        seen=error.strerror,
        todo="That disk fails or lets nobody write (`dmesg` says more): see to it, then run again: what is done stays.",
    )


def no_room(path: object, error: OSError, what: str = "the file cannot be written") -> OutputError:
    """The error for people."""
    return OutputError(
        what,
        where=path,
        seen=error.strerror,
        todo="Make room on that disk (`df -h` shows it), or raise the quota; then run again: what is done stays.",
    )


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file (text as UTF-8; what of a file's name is none, as backslashes), whole or not at all."""
    with whole_file(path) as temporary:
        data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
        temporary.write_bytes(data)


def temporary_name(path: Path) -> Path:
    """What a file is called until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def is_temporary(name: str) -> bool:
    """Whether a file is called like one that is not whole yet, of whatever process."""
    return _TEMPORARY.fullmatch(name) is not None


def temporary_below(root: str) -> Iterator[tuple[str, list[str]]]:
    """The folders at and below one in which temporary files lie, with their names; links are not followed.

    There may be a million files, whose names alone are looked at: `os.walk` asks the system about each folder twice.
    """
    pending = [root]
    while pending:
        folder = pending.pop()
        names = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.name[-4:] == ".tmp" and is_temporary(entry.name):
                        names.append(entry.name)
        except OSError:  # not there, or nobody may look: as good as empty
            continue
        if names:
            yield folder, names


def commit(temporary: Path, path: Path) -> None:
    """Make a finished temporary file durable under its final name, atomically."""
    with open(temporary, "rb") as handle:
        os.fsync(handle.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def with_check(text: str) -> str:
    """A line that ends with its text's digest: of a file that saves time alone, each line is whole or counts for
    nothing."""
    return f"{text}\t{text_digest(text)}\n"


def checked(line: str) -> str:
    """The text of such a line.

    Raises:
        ValueError: the digest is not the text's.
    """
    text, _, mark = line.rstrip("\n").rpartition("\t")
    if mark != text_digest(text):
        raise ValueError("a line is damaged")
    return text


def checked_lines(file: Path, cut: bool = False) -> Iterator[str]:
    """The texts of the lines of a file of such lines; of no line longer than anybody writes memory is taken.

    Args:
        cut: the last line may be cut short, by a run that was killed; it is left out.

    Raises:
        ValueError: a line is damaged, or the file or a line longer than anybody writes.
        OSError: it cannot be read.
    """
    if os.stat(file).st_size > MOST_BYTES:
        raise ValueError("the file is too large")
    with open(file, encoding="utf-8", errors="surrogateescape", newline="\n") as handle:
        while line := handle.readline(LONGEST_LINE):
            if not line.endswith("\n"):
                if cut and len(line) < LONGEST_LINE:
                    return
                raise ValueError("a line is cut short")
            yield checked(line)


def text_digest(text: str) -> str:
    """32 hexadecimal digits; names that are no UTF-8 have one too."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
