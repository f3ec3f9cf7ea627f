"""A chunk as HDF5's filters shuffle, gzip and Fletcher-32 leave it: packed so that it is quick to read, and unpacked.

Shuffled, a frame's numbers are a plane of lowest bytes, one of the next, and so on.  The low ones are noise, which gzip
makes hardly smaller and yet spells out symbol by symbol; here such a plane is a stored block of the same gzip stream,
which is copied.  Every reader of gzip takes it.  On registered faces that makes single precision 1 % larger and
reading it twice as fast.

HDF5 unpacks with the system's zlib.  zlib-ng, where it is installed, takes a third of the time, most of all for the
planes that are nearly constant; so what one chunk holds is unpacked here then, to the same values.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEAD = b"\x78\x5e"  # zlib, a window of 32 KB
_END = b"\x03\x00"  # an empty last block
_RAW = -15  # DEFLATE without head and checksum
WORTH = 0.9
"""A plane is packed when it becomes at most so much of itself."""
_SUM_BYTES, _MODULUS = 4, 65535
_ROW = 256
"""16-bit words that are summed at once: their sum, weighted by their places, fits into 32 bits."""
_FROM_END = np.arange(_ROW, 0, -1, dtype=np.uint32)


def packed(values: NDArray[Any], level: int) -> bytes:
    """What a chunk of these values is in the file: shuffled, in gzip, with its Fletcher-32.

    Args:
        level: of gzip, 1 to 9.
    """
    raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8).reshape(-1, values.dtype.itemsize)
    planes = np.ascontiguousarray(raw.T)
    parts = [_HEAD]
    for plane in planes:
        small = _deflated(plane, level)
        parts.append(small if len(small) <= WORTH * plane.size else _deflated(plane, 0))
    parts += [_END, zlib.adler32(planes.data).to_bytes(4, "big")]
    stream = b"".join(parts)
    return stream + fletcher32(stream).to_bytes(4, "little")


def _deflated(plane: NDArray[np.uint8], level: int) -> bytes:
    """A plane as whole blocks that others may follow; of level 0 as stored ones."""
    packer = zlib.compressobj(level, zlib.DEFLATED, _RAW)
    return packer.compress(plane.data) + packer.flush(zlib.Z_FULL_FLUSH)


@cache
def _inflater() -> tuple[Any, bool]:
    """What unpacks gzip, and whether it is quick."""
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return zlib, False
    return zlib_ng, True


def unpacks_quickly() -> bool:
    """Whether `unpacked` is quicker than HDF5: zlib-ng is installed (the extra `loaders`)."""
    return _inflater()[1]


def unpacked(chunk: bytes, dtype: np.dtype[Any], count: int) -> NDArray[Any] | None:
    """The numbers of a chunk that `packed` made, or HDF5 with the same filters.

    The checksum is compared before anything is unpacked, and no more is unpacked than the numbers take.

    Args:
        chunk: as it lies in the file: shuffled, in gzip, with its Fletcher-32.
        dtype: of 2 or 4 bytes, the lowest first.
        count: of numbers.

    Returns:
        (count,), or None where the chunk is not what it should be: HDF5 knows to say why.
    """
    stream, size = memoryview(chunk)[:-_SUM_BYTES], count * dtype.itemsize
    if dtype.itemsize not in (2, 4) or dtype != dtype.newbyteorder("<") or len(chunk) <= _SUM_BYTES:
        return None
    if fletcher32(stream) != int.from_bytes(chunk[-_SUM_BYTES:], "little"):
        return None
    module = _inflater()[0]
    unpacker = module.decompressobj()
    try:
        raw = unpacker.decompress(stream, size + 1)
    except module.error:
        return None
    if len(raw) != size or not unpacker.eof:
        return None
    planes = np.frombuffer(raw, np.uint8).reshape(dtype.itemsize, count)
    words = _joined(planes[0], planes[1], "<u2")
    if dtype.itemsize == 4:
        words = _joined(words, _joined(planes[2], planes[3], "<u2"), "<u4")
    return words.view(dtype)


def _joined(low: NDArray[Any], high: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Numbers of their lower and upper halves."""
    words = high.astype(dtype)
    words <<= 8 * low.itemsize
    words |= low
    return words


def fletcher32(data: bytes | memoryview) -> int:
    """HDF5's Fletcher-32: of 16-bit words, high byte first, an odd last byte as the high one of a word.

    Two sums modulo 65535: of the words, and of each times its place from the end.  The words are read low byte first:
    modulo 65535, the other way round is times 256.
    """
    even = len(data) // 2
    words = np.frombuffer(data, "<u2", even).astype(np.uint32)
    whole = even // _ROW * _ROW
    rows = words[:whole].reshape(-1, _ROW)
    sums = rows.sum(axis=1, dtype=np.uint32).astype(np.uint64)
    within = np.einsum("ij,j->i", rows, _FROM_END).astype(np.uint64)
    rest = words[whole:].astype(np.uint64)
    if len(data) % 2:
        rest = np.append(rest, np.uint64(data[-1]))
    low, high = int(sums.sum()), int(within.sum())
    # each row counts once more for every word behind it
    behind = np.arange(len(sums) - 1, -1, -1, dtype=np.uint64) * np.uint64(_ROW) + np.uint64(len(rest))
    high += int((sums % np.uint64(_MODULUS) * behind).sum())
    low += int(rest.sum())
    high += int((rest * np.arange(len(rest), 0, -1, dtype=np.uint64)).sum())
    return 0 if low == 0 else _folded(256 * high) << 16 | _folded(256 * low)


def _folded(total: int) -> int:
    """A sum that is not zero modulo 65535, as HDF5 folds it: it does not become zero."""
    return (total - 1) % _MODULUS + 1
