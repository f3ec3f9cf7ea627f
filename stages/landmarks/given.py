"""Landmarks given by hand: the file beside a frame, and whether its points lie on the scan."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import DETECTED, IBUG68, MANUAL, NONE, Located
from mimicme.pipeline.landmarks.beside import Beside
from mimicme.pipeline.landmarks.files import EXTENSIONS
from mimicme.pipeline.landmarks.slicer import is_slicers, on_mesh

# detected points further than this (median) from those given by hand belong to something else
CONTRADICTION_MM = 25.0


def of_slicer(beside: Beside, scan_from_file: Floats, surface: Surface) -> tuple[Floats, str]:
    """A file's points (68, 3) in its own unit; of 3D Slicer's a sentence, with which sign of x and y they were taken.

    Args:
        scan_from_file: (4, 4).
    """
    if not is_slicers(beside.name):
        return beside.points, ""
    placed = on_mesh(beside.points, lambda points: surface.distance(transform(scan_from_file, points)))
    how = "the other way than" if placed.turned else "as"
    return placed.points, (
        f"The signs of x and y in {beside.name} (LPS or RAS) were taken {how} the file says: its points lie "
        f"{placed.off:.3g} mm off the scan, {placed.off_otherwise:.3g} mm with the other signs."
    )


def on_scan(
    points: Floats, surface: Surface, max_distance_mm: float, in_file: Floats | None = None
) -> Floats:
    """Distances (68,) mm of scan-frame points to the scan; NaN where absent.

    Args:
        points: (68, 3) mm, scan frame.
        in_file: the same points as the file has them; only used to say what is wrong when they are off.

    Raises:
        FrameRejected: `landmarks-off-scan` when more than half of them lie further than `max_distance_mm`.
    """
    distances = np.full(len(points), np.nan)
    given = np.isfinite(points).all(axis=1)
    if given.any():
        distances[given] = surface.distance(points[given])
    off = distances > max_distance_mm
    if 2 * off.sum() > given.sum():
        raise FrameRejected(
            "landmarks-off-scan",
            f"{off.sum()} of {given.sum()} landmarks do not lie on the scan: "
            f"median distance {np.nanmedian(distances):.4g} mm",
            expected=f"within {max_distance_mm:g} mm",
            todo=_diagnosis(
                points[given], None if in_file is None else in_file[given], surface, max_distance_mm
            ),
        )
    return distances


def _diagnosis(points: Floats, in_file: Floats | None, surface: Surface, limit: float) -> str:
    """What would bring the points onto the scan."""

    def fits(candidate: Floats) -> bool:
        return bool(np.median(surface.distance(candidate)) <= limit)

    if in_file is not None and fits(in_file):
        return "They would if the file were in millimetres and +y up whatever the scan's file is: convert it."
    for factor in (1000.0, 0.001, 10.0, 0.1, 25.4, 1 / 25.4, 1e6, 1e-6):
        if fits(points * factor):
            return f"They would if multiplied by {factor:g}: write them in the unit of the scan's file."
    return "Write them in the unit and axes of the scan's file, and check that they belong to this frame."


def located(points: Floats, distances: Floats, max_distance_mm: float) -> tuple[Located, list[str]]:
    """Hand-placed points with their confidence, and the names of those left out for lying off the scan."""
    given = np.isfinite(distances)
    off = given & (distances > max_distance_mm)
    keep = given & ~off
    confidence = np.where(keep, 1 - 0.5 * np.nan_to_num(distances) / max_distance_mm, 0.0)
    found = Located(
        np.where(keep[:, None], points, np.nan),
        np.where(keep, MANUAL, NONE).astype(np.uint8),
        confidence.astype(np.float32),
    )
    return found, [IBUG68[k] for k in np.flatnonzero(off)]


def merge(manual: Located | None, detected: Located | None) -> Located:
    """Points by hand where there are any, detected ones elsewhere.

    Raises:
        FrameRejected: `no-landmarks`, when there are neither.
    """
    if manual is None or detected is None:
        one = manual if manual is not None else detected
        if one is None:
            raise FrameRejected(
                "no-landmarks",
                "no landmark file lies beside the frame, and detection is switched off",
                expected=f"a file of the frame's stem ending in {', '.join(EXTENSIONS)}",
                todo='Set detector = "mediapipe" in [landmarks], or annotate the frame (for example with '
                "landmarker.io) and save the file beside it.",
            )
        return one
    by_hand = manual.source == MANUAL
    absent = detected.absent
    return Located(
        np.where(by_hand[:, None], manual.points, detected.points),
        np.where(by_hand, MANUAL, np.where(detected.source == DETECTED, DETECTED, NONE)).astype(np.uint8),
        np.where(by_hand, manual.confidence, detected.confidence).astype(np.float32),
        None if absent is None else np.where(by_hand, 0, absent).astype(np.uint8),
        detected.pose,
    )


def contradicts(manual: Located, detected: Located) -> bool:
    """Whether what was detected lies elsewhere than what was given by hand."""
    both = (manual.source == MANUAL) & (detected.source == DETECTED)
    if not both.any():
        return False
    return bool(np.median(np.linalg.norm(manual.points - detected.points, axis=1)[both]) > CONTRADICTION_MM)
