"""Files that are there whole or not at all: written under a temporary name beside their own, then renamed."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicme.pipeline.errors import OutputError

if TYPE_CHECKING:
    import h5py

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What writing fails with on a full disk, over a quota, and over the longest file that is allowed."""

LIBVER = "v110"
"""The HDF5 file format of everything that is written: what HDF5 1.10 (2016) and later reads."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name to write a file under; it gets its own when the block ends, and lasts through a power cut.

    Its folder is made.  What it replaces keeps its permissions; on any exception the temporary file is removed and
    whatever stood at `path` stays.

    Raises:
        OutputError: there is no room for it.
    """
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if path.is_file():
            shutil.copymode(path, temporary)
        commit(temporary, path)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(path, error) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file to write into, there whole or not at all, as `whole_file`.

    Raises:
        OutputError: there is no room for it.
    """
    import h5py

    with whole_file(path) as temporary:
        with open(temporary, "w+b", buffering=0) as raw:
            sink = _Sink(raw)
            try:
                with h5py.File(sink, "w", libver=LIBVER) as handle:
                    yield handle
            except Exception as error:
                if sink.error is None:
                    raise
                raise sink.error from error  # whatever HDF5 made of what it could not read back
        if sink.error is not None:
            raise sink.error


class _Sink(io.RawIOBase):
    """The file below an HDF5 file.  What goes wrong in writing is kept for the end, and no more is written.

    HDF5 (1.14) does not get over a failed write: it tries again whenever something is closed, and the process ends
    with a segmentation fault at the latest when it exits.
    """

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def readinto(self, buffer: Any) -> int | None:
        return self._raw.readinto(buffer)

    def write(self, data: Any) -> int:
        view = memoryview(data)
        done = 0
        try:
            while self.error is None and done < len(view):
                done += self._raw.write(view[done:]) or 0  # the last bytes of room are filled before it fails
        except OSError as error:
            self.error = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.error is None:
                return self._raw.truncate(size)
        except OSError as error:
            self.error = error
        return size or 0


def no_room(path: Path, error: OSError) -> OutputError:
    """The error for people."""
    return OutputError(
        "the file cannot be written",
        where=path,
        seen=error.strerror,
        todo="Make room on that disk (`df -h` shows it), or raise the quota; then run again: what is done stays.",
    )


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file (text as UTF-8), whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def temporary_name(path: Path) -> Path:
    """What a file is called until it is whole; `Workspace.remove_temporary_files` knows such names."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


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
