"""Landmarks given by hand: the file beside a frame, and whether its points lie on the scan."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.captures.units import face_axes
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.pipeline.geometry.spatial import Closest, Surface
from mimicme.pipeline.landmarks import DETECTED, GROUPS, IBUG68, MANUAL, NONE, PARTS, Located
from mimicme.pipeline.landmarks.beside import Beside
from mimicme.pipeline.landmarks.files import EXTENSIONS
from mimicme.pipeline.landmarks.slicer import is_slicers, on_mesh

# detected points further than this (median) from those given by hand belong to something else
CONTRADICTION_MM = 25.0
# Points by hand lie within 1 mm of the scan (median), in the mirror of a synthetic face 4 to 9 mm off it.  Points that
# are not this near are tried otherwise, and what brings them this near,
NEAR_MM = 2.5
# and to at most this share of how far off they are, is meant: noise is as far off either way.
NEARER = 0.4
# Points over the scan's surface, not past its borders, that are further off in the median than this share of
# `max_distance_mm` belong to another scan.  2.5 mm at its default: on the synthetic faces of maker A a frame's own
# points lie 0.3 to 0.5 mm off, another frame's of the same sequence 2 to 4 mm, another sequence's or person's 2.8 mm
# and more.
OWN_SHARE = 1 / 6
LEAST_OVER_DATA = 5  # fewer points over the surface say nothing of the file
LEAST_SPAN = 0.1  # of the scan's size: eyes and mouth alone are a fifth of a head and shoulders


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


def refuse_mirrored(in_file: Floats, scan_from_file: Floats, surface: Surface) -> None:
    """Refuse points that lie on the scan only with x, y or z negated: either they are in other axes, or the scan is.

    Args:
        in_file: (68, 3) in the file's unit and axes, NaN where absent; scan_from_file: (4, 4).

    Raises:
        FrameRejected: `landmarks-mirrored`.
    """
    given = in_file[np.isfinite(in_file).all(axis=1)]
    if not len(given):
        return

    def off(points: Floats) -> float:
        return float(np.median(surface.distance(transform(scan_from_file, points))))

    here = off(given)
    if here <= NEAR_MM:
        return
    there, axis = min((off(given * sign), "xyz"[k]) for k, sign in enumerate(1 - 2 * np.eye(3)))
    if there > min(NEAR_MM, NEARER * here):
        return
    axes, backwards = face_axes(in_file * (1 - 2 * np.eye(3)["xyz".index(axis)]))
    if axes is not None and backwards:
        todo = (
            "By themselves the landmarks are a face, so that the scan is the mirror image: export it again in the "
            f"landmarks' axes. Else write their {axis} with the other sign, and exchange left and right."
        )
    else:
        todo = f"Write their {axis} with the other sign."
    raise FrameRejected(
        "landmarks-mirrored",
        "the landmarks lie on the scan only when mirrored: "
        + ("left and right are exchanged, or x is negated" if axis == "x" else f"{axis} is negated"),
        seen=f"a median distance of {here:.2g} mm, {there:.2g} mm with {axis} negated",
        todo=f"{todo} `mirrored` in [captures] would not help: it mirrors scan and landmarks alike.",
    )


def on_scan(
    points: Floats,
    surface: Surface,
    max_distance_mm: float,
    in_file: Floats | None = None,
    scan_from_file: Floats | None = None,
) -> Floats:
    """Distances (68,) mm of scan-frame points to the scan; NaN where absent.

    Args:
        points: (68, 3) mm, scan frame.
        in_file: the same points as the file has them; only used to say what is wrong when they are off.
        scan_from_file: (4, 4); likewise.

    Raises:
        FrameRejected: `landmarks-off-scan` when more than half of them lie further than `max_distance_mm`, or those
            over the surface lie off it as another scan's do.
    """
    distances = np.full(len(points), np.nan)
    given = np.isfinite(points).all(axis=1)
    if not given.any():
        return distances
    nearest = surface.closest(points[given])
    distances[given] = nearest.distances
    off = distances > max_distance_mm
    diagnosis = partial(
        _diagnosis,
        points[given],
        None if in_file is None else in_file[given],
        np.eye(4) if scan_from_file is None else scan_from_file,
        surface,
        max_distance_mm,
    )
    if 2 * off.sum() > given.sum():
        raise FrameRejected(
            "landmarks-off-scan",
            f"{off.sum()} of {given.sum()} landmarks do not lie on the scan: "
            f"median distance {np.nanmedian(distances):.4g} mm",
            expected=f"within {max_distance_mm:g} mm",
            todo=diagnosis(),
        )
    own, over_data = OWN_SHARE * max_distance_mm, _median_inside(nearest, surface)
    if over_data > own:
        raise FrameRejected(
            "landmarks-off-scan",
            "the landmarks lie off the scan's surface, as another scan's would",
            seen=f"a median distance of {over_data:.2g} mm over its surface",
            expected=f"at most {own:.2g} mm",
            todo=diagnosis(
                "Is it another scan's file, or another frame's? Put this frame's own in its place, or remove it and "
                "let the landmarks be found. If it is this frame's, correct its points, or raise "
                f"landmarks.max_distance_mm, {max_distance_mm:g} now: the bound is a sixth of it.",
            ),
        )
    return distances


def over_surface(points: Floats, surface: Surface) -> float:
    """Median distance, mm, of those of points (68, 3), NaN absent, to a surface that lie over it, not past its borders;
    NaN of fewer than `LEAST_OVER_DATA`."""
    given = points[np.isfinite(points).all(axis=1)]
    return _median_inside(surface.closest(given), surface) if len(given) else np.nan


def _median_inside(nearest: Closest, surface: Surface) -> float:
    # a point beyond a border, or over a hole, is nearest to the rim: how far off it lies is the scan's doing
    inside = nearest.distances[~surface.rim[surface.faces[nearest.triangles]].any(axis=1)]
    return float(np.median(inside)) if len(inside) >= LEAST_OVER_DATA else np.nan


def _diagnosis(
    points: Floats,
    in_file: Floats | None,
    scan_from_file: Floats,
    surface: Surface,
    limit: float,
    otherwise: str = "",
) -> str:
    """What would bring the points onto the scan: of all that would, what brings them nearest; else `otherwise`, or
    where they and the scan are."""
    told = points if in_file is None else in_file
    tried: list[tuple[Floats, str]] = []
    if in_file is not None:
        how = "if the file were in millimetres and +y up whatever the scan's file is: convert it"
        tried.append((in_file, how))
    for factor in (1000.0, 0.001, 10.0, 0.1, 25.4, 1 / 25.4, 1e6, 1e-6):
        how = f"if multiplied by {factor:g}: write them in the unit of the scan's file"
        tried.append((transform(scan_from_file, told * factor), how))
    for order in list(itertools.permutations(range(3)))[1:]:
        for sign in itertools.product((1.0, -1.0), repeat=3):
            words = " ".join(("-" if s < 0 else "") + "xyz"[k] for k, s in zip(order, sign, strict=True))
            how = f"with {words} for x y z: write them in the axes of the scan's file"
            tried.append((transform(scan_from_file, told[:, order] * sign), how))
    for sign in ((-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, -1.0, -1.0)):
        words = " and ".join(axis for axis, s in zip("xyz", sign, strict=True) if s < 0)
        how = f"with {words} negated: write them in the axes of the scan's file"
        tried.append((transform(scan_from_file, told * sign), how))
    size = np.ptp(surface.vertices, axis=0).max()
    off = [
        # shrunk far enough, any points lie near a scan that is near the origin
        float(np.median(surface.distance(candidate))) if _span(candidate) > LEAST_SPAN * size else np.inf
        for candidate, _ in tried
    ]
    best = int(np.argmin(off))
    if off[best] <= min(limit, NEARER * float(np.median(surface.distance(points)))):
        return f"They would lie {off[best]:.2g} mm off {tried[best][1]}."
    if otherwise:
        return otherwise
    middles = np.median(told, axis=0), np.median(transform(inverse(scan_from_file), surface.vertices), axis=0)
    theirs, scans = (" ".join(f"{x:.3g}" for x in middle) for middle in middles)
    return (
        f"Their middle is at {theirs}, the scan's at {scans}, in the file: write them in its unit and axes, not moved "
        "or centred, and check that they belong to this frame."
    )


def _span(points: Floats) -> float:
    return float(np.ptp(points, axis=0).max()) if len(points) > 1 else np.inf


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
    unshown, over_hole = (
        tuple(p for p in parts if not all(by_hand[GROUPS[group]].all() for group in PARTS[p]))
        for parts in (detected.unshown, detected.over_hole)
    )
    return Located(
        np.where(by_hand[:, None], manual.points, detected.points),
        np.where(by_hand, MANUAL, np.where(detected.source == DETECTED, DETECTED, NONE)).astype(np.uint8),
        np.where(by_hand, manual.confidence, detected.confidence).astype(np.float32),
        None if absent is None else np.where(by_hand, 0, absent).astype(np.uint8),
        detected.pose,
        unshown,
        over_hole,
        *(
            tuple(eye for eye in eyes if not by_hand[GROUPS[eye]].all())
            for eyes in (detected.shut, detected.shown_shut)
        ),
    )


def contradicts(manual: Located, detected: Located) -> bool:
    """Whether what was detected lies elsewhere than what was given by hand."""
    both = (manual.source == MANUAL) & (detected.source == DETECTED)
    if not both.any():
        return False
    return bool(np.median(np.linalg.norm(manual.points - detected.points, axis=1)[both]) > CONTRADICTION_MM)
