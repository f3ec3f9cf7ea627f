"""The landmark file beside a frame, under the frame's name; or the one that a person corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import FrameRejected, InputError
from mimicme.pipeline.landmarks import Sides
from mimicme.pipeline.landmarks.files import endings_beside, read_points
from mimicme.pipeline.landmarks.npy import MAX_BYTES as MAX_NPY_BYTES
from mimicme.pipeline.landmarks.npy import is_landmarks

if TYPE_CHECKING:
    from mimicme.pipeline.items import FrameSource
    from mimicme.pipeline.sources import Sources


class Beside(NamedTuple):
    """What a landmark file has: its name, and its (68, 3) points in its own unit and axes, or (68, 2) px of the
    frame's texture."""

    name: str
    points: Floats


def read_given(frame: FrameSource, sources: Sources, sides: Sides) -> Beside | None:
    """The points of a frame's landmark file that a person corrected, else of the one beside it; None without either.

    "Left" means the same in both, as in every landmark file that is written for these captures.

    Raises:
        FrameRejected: as `read_beside`.
    """
    if frame.correction is None:
        return read_beside(frame, sources, sides)
    name = frame.correction.name
    return Beside(name, read_points(frame.correction.data, name, sides))


def read_beside(frame: FrameSource, sources: Sources, sides: Sides) -> Beside | None:
    """The points of the landmark file beside a frame; None without one.  A `.npy` of another shape is no such file.

    Raises:
        FrameRejected: `landmark-file`, `landmark-scheme`, `unsafe-path`, `too-large`.
    """
    for extension in endings_beside(frame.path.suffix):
        path = frame.path.with_suffix(extension)
        if path == frame.path or not sources.exists(path):
            continue
        try:
            data = sources.read(path, MAX_NPY_BYTES if extension.lower() == ".npy" else None)
        except InputError as error:
            raise FrameRejected("landmark-file", error.what, where=path.name, seen=error.seen) from error
        except FrameRejected as error:
            if extension.lower() == ".npy" and error.reason == "too-large":
                continue
            raise
        if extension.lower() == ".npy" and not is_landmarks(data):
            continue
        return Beside(path.name, read_points(data, path.name, sides))
    return None
