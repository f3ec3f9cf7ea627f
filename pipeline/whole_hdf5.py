"""HDF5 files that are there whole or not at all, also where the disk is full or somebody presses Ctrl-C.

HDF5 (1.14) does not get over a failed write: it tries again whenever something is closed, and the process ends with a
segmentation fault at the latest when it exits.  So what is below the file is ours: a write that fails is kept as the
file's error, no more is written, and HDF5 hears of nothing.  No more does it get over memory that is wanting when it
closes a dataset whose last chunks are not written yet: what that takes is kept back until then.
"""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import h5py

from mimicme.pipeline.numerics.memory import HDF5_BYTES, Reserve, ask_for
from mimicme.pipeline.whole_file import whole_file

LIBVER = "v110"
"""The file format of everything that is written: what HDF5 1.10 (2016) and later reads."""

WRITING = "writing an HDF5 file"
AGAIN_S = 0.02
"""A signal that comes while a file is being written to is sent again so much later."""


class WholeHdf5(h5py.File):
    """An HDF5 file that is being written; made by `whole_hdf5`."""

    def __init__(self, disk: _Disk) -> None:
        self._disk = disk
        ask_for(2 * HDF5_BYTES, WRITING)  # to open it, and what is kept
        self._kept = Reserve(HDF5_BYTES, WRITING)
        super().__init__(disk, "w", libver=LIBVER)

    def will_hold(self, chunk_bytes: int) -> None:
        """To be called before a dataset is made, with the bytes of one of its chunks.

        Raises:
            MemoryError: there is no room to write one when the file is closed.
        """
        # as it is, and what each of two filters makes of it; the rest is HDF5's own
        self._kept.grow(HDF5_BYTES // 2 + 3 * chunk_bytes, WRITING)

    def close(self) -> None:
        self._kept.let_go()
        super().close()

    def check(self) -> None:
        """To be called now and then by who writes for long.

        Raises:
            OSError: what could not be written; the file is lost.
        """
        if self._disk.error is not None:
            raise self._disk.error


@contextmanager
def whole_hdf5(path: Path) -> Iterator[WholeHdf5]:
    """A file to write into, there whole or not at all, as `whole_file`.

    Raises:
        OutputError: there is no room for it.
    """
    with whole_file(path) as temporary, open(temporary, "w+b", buffering=0) as raw:
        disk = _Disk(raw)
        with _signals_wait_for(_OF_DISK):
            try:
                with WholeHdf5(disk) as handle:
                    yield handle
            except Exception as error:
                if disk.error is None:
                    raise
                raise disk.error from error  # whatever HDF5 made of what it could not read back
        if disk.error is not None:
            raise disk.error


class _Disk(io.RawIOBase):
    """The file below an HDF5 file (h5py's driver `fileobj`): whatever goes wrong is kept in `error`."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self.error: BaseException | None = None

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._raw.seek(offset, whence)
        except BaseException as error:
            self._keep(error)
            return offset

    def tell(self) -> int:
        try:
            return self._raw.tell()
        except BaseException as error:
            self._keep(error)
            return 0

    def readinto(self, buffer: Any) -> int | None:
        try:
            return self._raw.readinto(buffer)
        except BaseException as error:
            self._keep(error)
            return len(memoryview(buffer))

    def write(self, data: Any) -> int:
        size = len(data)
        try:
            view, done = memoryview(data), 0
            while self.error is None and done < size:
                done += self._raw.write(view[done:]) or 0  # the last bytes of room are filled before it fails
        except BaseException as error:
            self._keep(error)
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.error is None:
                return self._raw.truncate(size)
        except BaseException as error:
            self._keep(error)
        return size or 0

    def flush(self) -> None:
        """Nothing: the raw file keeps nothing back, and `whole_file` brings it to the disk."""

    def _keep(self, error: BaseException) -> None:
        self.error = self.error or error


_OF_DISK = frozenset(method.__code__ for method in vars(_Disk).values() if hasattr(method, "__code__"))


@contextmanager
def _signals_wait_for(codes: frozenset[CodeType]) -> Iterator[None]:
    """Signal handlers do not run within these functions: the signal is sent again a little later.

    They are called by HDF5, which makes of an exception that a handler raises there - Ctrl-C - a lost write.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        at = frame
        while at is not None:
            if at.f_code in codes:
                again = threading.Timer(AGAIN_S, os.kill, (os.getpid(), number))
                again.daemon = True
                again.start()
                return
            at = at.f_back
        before[number](number, frame)

    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM"):
        number = getattr(signal, name, None)
        handler = signal.getsignal(number) if number is not None else None
        if number is not None and callable(handler):
            before[number] = handler
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)
