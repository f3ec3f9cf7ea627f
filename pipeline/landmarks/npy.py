"""Points in NumPy's `.npy`: (68, 3), (51, 3), or (68, 2), (51, 2) pixels.  Never unpickled."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.formats.npy_header import HEADER_BYTES, read_header
from mimicme.pipeline.landmarks.formats import Entry, another_scheme

SHAPES = ((68, 3), (51, 3), (68, 2), (51, 2))
MAX_BYTES = 64 << 10  # 68 points have 2 KB


def shape_of(data: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array by its file's beginning; leading axes of length 1 do not count.

    Raises:
        ValueError: this is no `.npy` file, or it holds Python objects.
    """
    shape, _, kind, _ = read_header(io.BytesIO(data[:HEADER_BYTES]))
    return shape, kind


def is_landmarks(data: bytes) -> bool:
    """Whether a `.npy` file, by its beginning, may hold landmarks: 68 or 51 points of numbers."""
    try:
        shape, kind = shape_of(data)
    except ValueError:
        return False
    return shape in SHAPES and kind.kind in "fiu"


def read_npy(data: bytes) -> list[Entry]:
    """The points of a file, without labels; a row with a nan is an absent point.

    Raises:
        FrameRejected: `landmark-scheme` - an array of another shape.  ValueError: it is no array of numbers, or is
            shorter or longer than its header says.
    """
    file = io.BytesIO(data)
    shape, fortran, kind, whole = read_header(file)
    if kind.kind not in "fiu":
        raise ValueError(f"an array of {kind} holds no numbers")
    if shape not in SHAPES:
        raise another_scheme(
            "the array has another shape than landmarks have", whole, ", ".join(map(str, SHAPES))
        )
    body = data[file.tell() :]
    if len(body) != math.prod(shape) * kind.itemsize:
        raise ValueError(
            f"the header asks for {math.prod(shape) * kind.itemsize} bytes, there are {len(body)}"
        )
    points: Floats = (
        np.frombuffer(body, kind).reshape(shape, order="F" if fortran else "C").astype(np.float64)
    )
    if np.isinf(points).any():
        raise ValueError("a coordinate is infinite")
    points[np.isnan(points).any(axis=1)] = np.nan
    return [("", points)]
