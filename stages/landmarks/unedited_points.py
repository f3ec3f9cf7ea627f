"""Exported points that nobody edited: beside an exported landmark file lies what was detected, so that points which a
correction left alone are not taken for manual ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import FrameRejected, InputError
from mimicme.pipeline.items import FrameSource
from mimicme.pipeline.landmarks import DETECTED, MANUAL, N_LANDMARKS, Located
from mimicme.pipeline.landmarks.files import MAX_BYTES
from mimicme.pipeline.review import FOUND

if TYPE_CHECKING:
    from mimicme.pipeline.sources import Sources

EXTENSION = FOUND
# Programs write points with six digits and more: of a file in metres these are micrometres.
UNEDITED_MM = 0.02


def write_found(points: Floats, confidence: Floats) -> bytes:
    """The file's content for detected points (68, 3) in the capture file's unit and axes, NaN where none was found."""
    record = {
        "points": [p.tolist() if np.isfinite(p).all() else None for p in points],
        "confidence": [float(c) for c in confidence],
    }
    return (json.dumps(record) + "\n").encode()


def read_found(frame: FrameSource, sources: Sources) -> tuple[Floats, NDArray[np.float32]] | None:
    """What was exported, or found before a correction; see `parse_found`.  None without a file.

    Raises:
        FrameRejected: `landmark-file`, `unsafe-path`, `too-large`.
    """
    if frame.correction is not None:
        return (
            None
            if frame.correction.found is None
            else parse_found(frame.correction.found, frame.correction.name)
        )
    path = frame.path.with_suffix(EXTENSION)
    if not sources.exists(path):
        return None
    try:
        data = sources.read(path)
    except InputError as error:
        raise _unreadable(path.name, error) from error
    return parse_found(data, path.name)


def parse_found(data: bytes, name: str) -> tuple[Floats, NDArray[np.float32]]:
    """Points (68, 3) in the capture file's unit and axes, NaN where none was found, and confidence (68,).

    Raises:
        FrameRejected: `landmark-file`.
    """
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"{len(data):,} bytes")
        record = json.loads(data)
        points = np.array([p or [np.nan] * 3 for p in record["points"]], np.float64)
        confidence = np.array(record["confidence"], np.float32)
        if points.shape != (N_LANDMARKS, 3) or confidence.shape != (N_LANDMARKS,):
            raise ValueError(f"{len(points)} points")
        if not ((confidence >= 0) & (confidence <= 1)).all():
            raise ValueError("a confidence beyond 0 and 1")
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise _unreadable(name, error) from error
    return points, confidence


def _unreadable(name: str, error: Exception) -> FrameRejected:
    return FrameRejected(
        "landmark-file",
        "what was found before a correction cannot be read",
        where=name,
        seen=str(error)[:120],
        expected="the file that `mimicme landmarks --export` wrote",
        todo="Copy it again, or delete it: all points of the landmark file beside it then count as by hand.",
    )


def unedited(given: Located, points: Floats, confidence: NDArray[np.float32]) -> Located:
    """A file's points on the scan; those of them that nobody edited keep the source and confidence of detected ones.

    Args:
        points: (68, 3) what was found, scan frame, mm; confidence: (68,).
    """
    far = np.linalg.norm(given.points - points, axis=1)
    same = (given.source == MANUAL) & (far <= UNEDITED_MM)
    return Located(
        given.points,
        np.where(same, DETECTED, given.source).astype(np.uint8),
        np.where(same, confidence, given.confidence).astype(np.float32),
    )
