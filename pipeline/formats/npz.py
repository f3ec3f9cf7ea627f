"""NumPy's `.npz`, of which only plain arrays are read: bounded before memory is taken, and never unpickled."""

from __future__ import annotations

import io
import lzma
import math
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.formats.npy_header import read_header

MAX_BYTES = 256 << 20
"""Of all arrays of a file together: a face of a million vertices has 24 MB of coordinates."""
MAX_ARRAYS = 1024
_ENDING = ".npy"
_DEFLATE_RATIO, _HEAD_BYTES = 1032, 1024
"""What a byte of DEFLATE can become at most; and how much less may be said of what is stored as it is."""
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, RuntimeError, EOFError, KeyError)
"""What zipfile raises of a damaged archive, besides ValueError."""


def read_npz(
    data: bytes, names: Sequence[str] | None = None, most: int = MAX_BYTES
) -> dict[str, NDArray[Any]]:
    """Arrays of numbers, truth values or text by their names.

    Args:
        data: the whole file.  names: those that are read; None: all.
        most: bytes that they may take together.

    Raises:
        ValueError: it is no such archive, one is missing, holds Python objects, is shorter or longer than it says, or
            they are too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {one.filename.removesuffix(_ENDING): one for one in archive.infolist()}
            wanted = list(members) if names is None else list(names)
            if missing := [name for name in wanted if name not in members]:
                raise ValueError(f"there is no array '{missing[0]}'")
            declared = sum(members[name].file_size for name in wanted)
            if len(wanted) > MAX_ARRAYS or declared > most:
                raise ValueError(f"{len(wanted)} arrays of {declared:,} bytes are too large")
            for name in wanted:
                member = members[name]
                if member.file_size > _DEFLATE_RATIO * member.compress_size + _HEAD_BYTES:
                    raise ValueError(f"'{name}' declares more than the archive holds")
            return {name: _array(archive.read(members[name])) for name in wanted}
    except _BROKEN as error:
        raise ValueError(f"the archive is damaged: {error}") from error


def _array(data: bytes) -> NDArray[Any]:
    """One `.npy`, all of it."""
    file = io.BytesIO(data)
    header = read_header(file)
    body = memoryview(data)[file.tell() :]
    kind, size = header.kind, math.prod(header.whole) * header.kind.itemsize
    if (
        kind.kind not in "biufSU"
        or not kind.itemsize
        or kind.subdtype is not None
        or min(header.whole, default=0) < 0
    ):
        raise ValueError(f"an array of {kind} is not read")
    if len(body) != size:
        raise ValueError(f"an array asks for {size:,} bytes, there are {len(body):,}")
    if not size:
        return np.zeros(header.whole, kind)
    return np.frombuffer(body, kind).reshape(header.whole, order="F" if header.fortran else "C").copy()
