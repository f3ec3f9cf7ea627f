"""What memory this process can still have, asked before libraries that do not get over its want are given work.

HDF5, OpenBLAS and LLVM are such: HDF5 (1.14) may end with a segmentation fault where an allocation fails, OpenBLAS
tries for ever to get the buffer of its first product, and LLVM, which numba brings, aborts the process.  Python's own
MemoryError comes too late for all three.
"""

from __future__ import annotations

import mmap
from functools import cache

from mimicme.pipeline.errors import UsageError, no_memory_in

try:
    import resource  # not when it is needed: then there is no room for it
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

BLAS_BYTES = 48 << 20
"""What a copy of OpenBLAS takes for its first product: a buffer of 32 MB, and what malloc puts around it."""
HDF5_BYTES = 16 << 20
"""What HDF5 may take to open a file, and to write at its end what it still holds of one whose chunks are small.  With
less than 0.6 MB it ended with a segmentation fault when a file was opened; with less than 7 MB, after a dataset whose
chunks of 1.4 MB, plain and filtered, could not be written when it was closed (HDF5 1.14, Linux)."""
LLVM_BYTES = 256 << 20
"""What numba and LLVM take when they are loaded, 170 MB of address space, and to compile (Linux, x86-64)."""
LEAST_BYTES = 1600 << 20
"""Address space without which no run of the whole chain can do anything: what its libraries take before they have
work, 1,572 MB, most of it Open3D's (Linux, x86-64, one thread a library)."""
AMPLE_BYTES = 256 << 20
"""Where a process can have so much more and still something found no memory, it asked for too much itself, as a file
does that is far too large; where it cannot, the process was short of memory whatever it was given."""
SPARE_BYTES = 32 << 20
"""A process that cannot have so much more is out of memory, whatever the error says that it ended with."""


def has_room(size: int) -> bool:
    """Whether this process can have so many more bytes: within its address space (`ulimit -v`), and of a system that
    counts what it promises.  A limit that is enforced by ending processes, as of a container, cannot be asked."""
    try:
        mmap.mmap(-1, size).close()
    except (OSError, MemoryError):
        return False
    return True


class Reserve:
    """Memory that is kept back, for what has to be done when there is none left; its pages are never touched.

    Args:
        size: bytes.
        what: they are for.

    Raises:
        MemoryError: they cannot be had.
    """

    def __init__(self, size: int, what: str) -> None:
        self._kept: mmap.mmap | None = None
        self.grow(size, what)

    def grow(self, size: int, what: str) -> None:
        """Keep at least so many bytes back."""
        if self._kept is not None and len(self._kept) >= size:
            return
        self.let_go()
        try:
            self._kept = mmap.mmap(-1, size)
        except (OSError, MemoryError) as error:
            raise MemoryError(f"{what} takes up to {size >> 20} MB more") from error

    def let_go(self) -> None:
        """Now it is needed."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None


def ask_for(size: int, what: str) -> None:
    """To be called before what takes so many bytes.

    Args:
        what: it is for.

    Raises:
        MemoryError: they cannot be had.
    """
    if not has_room(size):
        raise MemoryError(f"{what} takes up to {size >> 20} MB more")


def address_space_mb() -> int | None:
    """What a process may have here, in MB (`ulimit -v`); None: there is no such limit."""
    if resource is None:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit >> 20


def not_enough() -> str:
    """A sentence that says so, and what to do."""
    limit = address_space_mb()
    if limit is None:
        return "There was not enough memory; run with fewer --jobs."
    return f"There was not enough memory; a process may have {limit:,} MB here: allow more (`ulimit -v`)."


def for_want_of_memory(error: BaseException) -> bool:
    """Whether it was that, of an error that was just raised: by what it says, or because none is left.

    Libraries say it in their own ways: one that cannot be loaded is not found, or fails without saying why.
    """
    return no_memory_in(error) or not has_room(SPARE_BYTES)


def short_of_memory(error: BaseException) -> bool:
    """Whether an error, which was just raised over a file from outside, came of a process that is short of memory: then
    it tells nothing of the file, which another process, or the next run, may read well."""
    return not has_room(AMPLE_BYTES if no_memory_in(error) else SPARE_BYTES)


def refuse_too_little() -> None:
    """To be called before a run of the whole chain begins, whose workers may have no more than this process.

    Raises:
        UsageError: the address space of a process is limited to less than its libraries take.
    """
    limit = address_space_mb()
    if limit is not None and limit < LEAST_BYTES >> 20:
        raise UsageError(
            "no process may have the memory here that a run takes before its first frame",
            seen=f"{limit:,} MB of address space",
            expected=f"{LEAST_BYTES >> 20:,} MB, and what the frames take besides",
            todo="Allow more (`ulimit -v unlimited`, or what the batch system calls virtual memory).",
        )


@cache
def hold_blas_buffers() -> None:
    """Let both copies of OpenBLAS, numpy's and scipy's, take the buffer that they keep; once in a process.

    Raises:
        MemoryError: there is no room for them.
    """
    ask_for(BLAS_BYTES, "OpenBLAS")
    import numpy as np

    square = np.ones((300, 300))  # smaller ones do without a buffer
    square @ (square + 1)
    from scipy.linalg.blas import dgemm

    ask_for(BLAS_BYTES, "OpenBLAS")
    dgemm(1.0, square, square)
