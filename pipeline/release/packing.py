"""A chunk as HDF5's filters shuffle, gzip and Fletcher-32 leave it, packed so that it is quick to read.

Shuffled, a frame's numbers are a plane of lowest bytes, one of the next, and so on.  The low ones are noise, which gzip
makes hardly smaller and yet spells out symbol by symbol; here such a plane is a stored block of the same gzip stream,
which is copied.  Every reader of gzip takes it.  On registered faces that makes single precision 1 % larger and
reading it twice as fast.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEAD = b"\x78\x5e"  # zlib, a window of 32 KB
_END = b"\x03\x00"  # an empty last block
_RAW = -15  # DEFLATE without head and checksum
WORTH = 0.9
"""A plane is packed when it becomes at most so much of itself."""
_WORDS = 1 << 20
"""16-bit words that are summed at once: their weighted sum fits into 64 bits."""


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


def fletcher32(data: bytes) -> int:
    """HDF5's Fletcher-32: of 16-bit words, high byte first, an odd last byte as the high one of a word."""
    words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2")
    low = high = 0
    for start in range(0, len(words), _WORDS):
        part = words[start : start + _WORDS].astype(np.uint64)
        left = np.arange(len(part), 0, -1, dtype=np.uint64)
        high += len(part) * low + int((part * left).sum())
        low += int(part.sum())
    return _folded(high) << 16 | _folded(low)


def _folded(total: int) -> int:
    """A sum modulo 65535 as HDF5 folds it: what is not zero does not become zero."""
    return (total - 1) % 65535 + 1 if total else 0
