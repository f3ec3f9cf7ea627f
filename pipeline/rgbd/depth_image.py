"""Depth pictures: 16-bit PNG, NumPy's `.npy`, or plain numbers without a header -> millimetres.

Sizes are compared with the description before memory is taken.  Nothing is unpickled.
"""

from __future__ import annotations

import io
import math
import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.formats import image, npy_header
from mimicme.pipeline.rgbd.recipe import Depth

REASON = "depth-image"
_NUMBERS: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "float32": np.dtype("<f4")}
_HEADER_ROOM = 1 << 20
_NUMERIC = "uif"


def largest_file(depth: Depth) -> int:
    """Bytes of the largest file that can hold such a picture."""
    return depth.camera.width * depth.camera.height * 8 + _HEADER_ROOM


class DepthPicture(NamedTuple):
    """What a depth camera measured.

    Attributes:
        mm: (height, width) along the camera's axis; NaN where nothing was measured.
        step_mm: from one number to the next, of whole numbers; 0 of others.
    """

    mm: Floats
    step_mm: float


def read_depth(data: bytes, depth: Depth, name: str) -> DepthPicture:
    """A depth picture; nothing was measured at 0, at what is no number, and at the largest number of 16 bits.

    Raises:
        FrameRejected: `depth-image` - another size or kind than described, damaged, or nothing measured at all.
    """
    ending = re.sub(r".*\.", ".", depth.files.suffix.lower())
    stored = (
        _headerless(data, depth, name)
        if depth.type
        else _npy(data, depth, name)
        if ending == ".npy"
        else _png(data, depth, name)
    )
    with np.errstate(invalid="ignore", over="ignore"):  # what is no number is left out
        numbers = stored.astype(np.float64)
        none = ~(np.isfinite(numbers) & (numbers > 0) & (numbers < 1e9))
    if stored.dtype.kind == "u" and stored.dtype.itemsize == 2:
        none |= stored == np.iinfo(stored.dtype).max
    if none.all():
        raise _wrong("nothing was measured in the depth picture", name, "no pixel with a depth")
    numbers[none] = np.nan
    step = depth.unit_mm if stored.dtype.kind in "ui" else 0.0
    return DepthPicture(np.asarray(numbers * depth.unit_mm), step)


def _wrong(what: str, name: str, seen: str, expected: str | None = None) -> FrameRejected:
    todo = "Correct rgbd.toml, or export the frame again as it says."
    return FrameRejected(REASON, what, where=name, seen=seen, expected=expected, todo=todo)


def _size(depth: Depth) -> str:
    return f"{depth.camera.width} x {depth.camera.height}"


def _png(data: bytes, depth: Depth, name: str) -> NDArray[np.uint16]:
    try:
        found = image.info(data, name, largest_file(depth))
        if (found.width_px, found.height_px) != (depth.camera.width, depth.camera.height):
            seen = f"{found.width_px} x {found.height_px}"
            raise _wrong("the depth picture has another size than rgbd.toml says", name, seen, _size(depth))
        numbers = image.decode_deep(data, largest_file(depth), name)
    except image.ImageFileError as error:
        raise _wrong(error.what, name, str(error.seen), "a 16-bit PNG of one channel") from error
    if numbers.ndim != 2:
        raise _wrong("the depth picture has colours: it is one for the eye", name, "3 channels", "1 channel")
    return numbers


def _npy(data: bytes, depth: Depth, name: str) -> NDArray[Any]:
    file = io.BytesIO(data)
    try:
        header = npy_header.read_header(file)
    except ValueError as error:
        raise _wrong("the depth array cannot be read", name, str(error)[:200], "a .npy of numbers") from error
    shape = depth.camera.height, depth.camera.width
    if header.shape != shape:
        seen = " x ".join(map(str, header.shape)) or "a single number"
        raise _wrong(
            "the depth array has another shape than rgbd.toml says",
            name,
            seen[:200],
            f"{shape[0]} x {shape[1]} (height, width)",
        )
    if header.kind.kind not in _NUMERIC:
        raise _wrong("the depth array holds no numbers", name, str(header.kind)[:100])
    count = math.prod(shape) * header.kind.itemsize
    body = data[file.tell() :]
    if len(body) != count:
        raise _wrong("the depth array is not whole", name, f"{len(body):,} bytes", f"{count:,}")
    return np.frombuffer(body, header.kind).reshape(shape, order="F" if header.fortran else "C")


def _headerless(data: bytes, depth: Depth, name: str) -> NDArray[Any]:
    kind = _NUMBERS[depth.type]
    count = depth.camera.width * depth.camera.height * kind.itemsize
    if len(data) != count:
        raise _wrong(
            "the depth file has another length than rgbd.toml says",
            name,
            f"{len(data):,} bytes",
            f"{_size(depth)} numbers of {depth.type}, {count:,} bytes",
        )
    return np.frombuffer(data, kind).reshape(depth.camera.height, depth.camera.width)
