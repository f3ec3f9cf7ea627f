"""Landmarks given in the scan's own texture: a pixel of it is a place on the scan.

That most pixels are such places does not say that they are the right ones: a face fills its texture.  Pixels with other
axes than the image's - y upwards, x from the right, exchanged - are known by the template, which fits them only when
they are turned; pixels that are all shifted alike, or of an image of another size, by what a detector finds.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import Mesh, transform
from mimicme.pipeline.geometry.rigid import fit_rigid, fit_similarity_scale
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import DETECTED, IBUG68, INNER, MANUAL, MIRROR, Located
from mimicme.stages.landmarks.given import contradicts

# A pixel that two triangles show is a place all the same where they touch; further apart it is no one place.
ONE_PLACE_MM = 1.0
BOUNDARY_MM = 2.0  # a pixel this far from the next triangle is still on its boundary: lids end beside holes
# Median residual of the template, of the head's size, on a face's inner landmarks: up to 6.5 mm, on a wide-open mouth;
# with the head turned by 180 degrees 6.3 to 13, and at least 1.85 times that of the right way up; mirrored over 10.
CERTAIN_MM, MISFIT_MM, MISFIT_SHARE = 5.5, 9.0, 0.6
SIZES = (0.7, 1.4)  # of a head, the template's being 1
MISFIT_LEAST, MISFIT_COVER = 8, 0.5  # points, and the share of those given, that a fit is judged by
# Median distance from good points to found ones: 1 to 3 mm, in any direction.  Shifted ones differ by the same pixels.
SHIFT_MM, SHIFT_SCATTER = 5.0, 0.4
SURE = 0.25  # least confidence of a detected point that one by hand is compared with
SCALE = 1.1  # of an image of another size
_EDGE = 1e-6  # a pixel on an edge is in both triangles, whatever is rounded


def lift(pixels: Floats, scan: Mesh, size: tuple[int, int]) -> Floats:
    """Places (k, 3) mm on the scan of pixels (k, 2) of its texture; NaN where no triangle shows the pixel or
    comes within `BOUNDARY_MM` of it, or triangles more than `ONE_PLACE_MM` apart show it.

    Args:
        pixels: x to the right, y down, (0, 0) is the middle of the top left pixel; NaN where absent.
        scan: with texture coordinates.
        size: (height, width) of its texture.
    """
    assert scan.uv is not None and scan.uv_faces is not None
    size_px = np.array(size[::-1])
    drawn = np.flatnonzero(np.isfinite(scan.uv[scan.uv_faces]).all(axis=(1, 2)))
    corners = scan.uv[scan.uv_faces[drawn]] * [1, -1] * size_px + [-0.5, size_px[1] - 0.5]
    solid = scan.vertices[scan.faces[drawn]]
    low, high = corners.min(axis=1), corners.max(axis=1)
    out = np.full((len(pixels), 3), np.nan)
    beside = []
    for k, place in enumerate(pixels):
        near = np.flatnonzero(((low <= place) & (place <= high)).all(axis=1))  # NaN compares False
        weights = _barycentric(place, corners[near])
        inside = weights.min(axis=1, initial=1.0) >= -_EDGE
        places = np.einsum("tc,tcx->tx", weights[inside], solid[near[inside]])
        if not len(places):
            beside.append(k)
        elif np.linalg.norm(places - places[0], axis=1).max() <= ONE_PLACE_MM:
            out[k] = places.mean(axis=0)
    rows = [k for k in beside if np.isfinite(pixels[k]).all()]
    if rows and len(drawn):
        out[rows] = _on_boundary(pixels[rows], corners, solid)
    return out


def _on_boundary(pixels: Floats, corners: Floats, solid: Floats) -> Floats:
    """Places (k, 3) mm of pixels (k, 2) beside triangles, corners (t, 3, 2) px and solid (t, 3, 3) mm; NaN beyond
    `BOUNDARY_MM`."""
    sides, flat_sides = solid[:, 1:] - solid[:, :1], corners[:, 1:] - corners[:, :1]
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
    flat_area = np.abs(flat_sides[:, 0, 0] * flat_sides[:, 1, 1] - flat_sides[:, 0, 1] * flat_sides[:, 1, 0])
    some = (flat_area > 0) & (area > 0)
    out = np.full((len(pixels), 3), np.nan)
    if not some.any():
        return out
    corners, solid = corners[some], solid[some]
    mm_per_px = float(np.sqrt(np.median(area[some] / flat_area[some])))
    # the search takes no numbers that are no places
    low, high = (
        corners.min(axis=(0, 1)) - BOUNDARY_MM / mm_per_px,
        corners.max(axis=(0, 1)) + BOUNDARY_MM / mm_per_px,
    )
    about = np.flatnonzero(((low <= pixels) & (pixels <= high)).all(axis=1))
    if not len(about):
        return out

    def level(places: Floats) -> Floats:
        return np.concatenate([places, np.zeros((len(places), 1))], axis=1) * mm_per_px

    triangles = np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3)
    near = Surface(level(corners.reshape(-1, 2)), triangles).closest(level(pixels[about]))
    places = np.einsum("kc,kcx->kx", near.weights, solid[near.triangles])
    out[about] = np.where((near.distances <= BOUNDARY_MM)[:, None], places, np.nan)
    return out


def _barycentric(place: Floats, corners: Floats) -> Floats:
    """(t, 3) coordinates of a place (2,) in triangles (t, 3, 2); below 0 in those without an area."""
    a, b, d = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], place - corners[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    some = area != 0
    area = np.where(some, area, 1.0)
    second = np.where(some, (d[:, 0] * b[:, 1] - d[:, 1] * b[:, 0]) / area, -1.0)
    third = np.where(some, (a[:, 0] * d[:, 1] - a[:, 1] * d[:, 0]) / area, -1.0)
    return np.stack([1 - second - third, second, third], axis=1)


class Axes(NamedTuple):
    """A way of counting pixels: y before x, x from the right, y from the bottom."""

    exchanged: bool
    from_right: bool
    from_bottom: bool

    def right(self, pixels: Floats, size: tuple[int, int]) -> Floats:
        """(k, 2) pixels as they should be, of pixels counted this way."""
        out = np.array(pixels[:, ::-1] if self.exchanged else pixels)
        last = np.array(size[::-1]) - 1
        turned = [self.from_right, self.from_bottom]
        out[:, turned] = last[turned] - out[:, turned]
        return out

    def recipe(self, size: tuple[int, int]) -> str:
        """How to write them instead: `x and 99 - y`."""
        x, y = ("y", "x") if self.exchanged else ("x", "y")
        x = f"{size[1] - 1} - {x}" if self.from_right else x
        return f"{x} and " + (f"{size[0] - 1} - {y}" if self.from_bottom else y)


OTHER_AXES = [Axes(*way) for way in product((False, True), repeat=3) if any(way)]


def _misfit(points: Floats, marks: Floats, given: int) -> float:
    """Median residual, mm, of the template's landmarks (k, 3), of any head's size, on points (k, 3); infinite where too
    few of those given are there."""
    both = np.isfinite(points).all(axis=1) & np.isfinite(marks).all(axis=1)
    if both.sum() < max(MISFIT_LEAST, MISFIT_COVER * given):
        return float("inf")
    target = points[both]
    source = marks[both] * np.clip(fit_similarity_scale(marks[both], target), *SIZES)
    placed = transform(fit_rigid(source, target), source)
    return float(np.median(np.linalg.norm(placed - target, axis=1)))


def _refuse_other_axes(
    pixels: Floats, points: Floats, scan: Mesh, size: tuple[int, int], marks: Floats
) -> None:
    """Raises FrameRejected when pixels (68, 2), lifted to points (68, 3), are a face far better with other axes.

    What is no face whatever the axes, or one with left and right exchanged, is left to the stage that poses it.
    """
    mirrored_points = points[MIRROR][INNER]
    pixels, points, marks = pixels[INNER], points[INNER], marks[INNER]  # a jaw's points have no fixed place
    given = int((np.isfinite(pixels).all(axis=1) & np.isfinite(marks).all(axis=1)).sum())
    here = _misfit(points, marks, given)
    if given < MISFIT_LEAST or here <= CERTAIN_MM:
        return
    tried = sorted(
        (_misfit(lift(axes.right(pixels, size), scan, size), marks, given), axes) for axes in OTHER_AXES
    )
    there, best = tried[0]
    if there > min(MISFIT_MM, MISFIT_SHARE * here):
        return
    mirrored = _misfit(mirrored_points, marks, given)
    if mirrored <= there:
        return
    rivals = [(off, axes.recipe(size)) for off, axes in tried[1:] if off * MISFIT_SHARE < there]
    if mirrored * MISFIT_SHARE < there:
        rivals.append((mirrored, 'x and y with sides = "subject" in [captures]'))
    ways = [f"{recipe} ({off:.0f} mm)" for off, recipe in ((there, best.recipe(size)), *rivals)]
    seen = "no place on the scan" if np.isinf(here) else f"{here:.0f} mm off a face's landmarks"
    raise FrameRejected(
        "landmarks-displaced",
        "the landmarks are pixels with other axes than the image's: only turned or turned over they are a face",
        seen=f"{seen} as they are, {there:.0f} mm with {best.recipe(size)} for x and y",
        expected="pixels of the frame's texture, x to the right, y down, 0 0 in the middle of the top left one",
        todo=f"Several ways fit, look which is right: {', '.join(ways)}."
        if rivals
        else f"Write {best.recipe(size)} for every x and y.",
    )


def refuse_displaced(
    pixels: Floats, manual: Located, detected: Located, scan: Mesh, size: tuple[int, int]
) -> str:
    """Compare pixels with what was detected: why they could not be compared, empty where they could.

    Args:
        pixels: (68, 2) as given; manual: the same, on the scan.
        scan: with texture coordinates; size: (height, width) of its texture.

    Raises:
        FrameRejected: all pixels lie off what was detected with confidence, by the same number of pixels or by the same
            factor.
    """
    assert scan.uv is not None and scan.uv_faces is not None
    both = (manual.source == MANUAL) & (detected.source == DETECTED) & (detected.confidence >= SURE)
    if both[INNER].sum() < MISFIT_LEAST:
        return "too few of their points were found with confidence"
    off_mm = float(np.median(np.linalg.norm(manual.points[both] - detected.points[both], axis=1)))
    near = Surface(scan.vertices, scan.faces).closest(detected.points[both])
    uv = np.einsum("kc,kcx->kx", near.weights, scan.uv[scan.uv_faces[near.triangles]])
    found = uv * [size[1], -size[0]] + [-0.5, size[0] - 0.5]
    there = np.isfinite(found).all(axis=1)
    here, found = pixels[both][there], found[there]
    if off_mm <= SHIFT_MM or len(found) < MISFIT_LEAST:
        return ""
    off = here - found
    far_px = float(np.median(np.linalg.norm(off, axis=1)))
    factor, rest_px = _factor(found, here)
    # what was found may be wrong, but not in the shape of a face of another size
    if max(factor, 1 / factor) > SCALE and rest_px * off_mm < SHIFT_MM * far_px * factor:
        raise _displaced(f"they are pixels of an image {factor:.2g} times as large", off_mm, size)
    if contradicts(manual, detected):
        return "what was detected lies elsewhere"
    shift = np.median(off, axis=0)
    scatter = float(np.median(np.linalg.norm(off - shift, axis=1)))
    if scatter < SHIFT_SCATTER * float(np.linalg.norm(shift)):
        across, down = np.rint(shift).astype(int).tolist()
        ways = [(across, "to the right of", "to the left of"), (down, "below", "above")]
        where = " and ".join(f"{abs(px)} px {one if px > 0 else other}" for px, one, other in ways if px)
        raise _displaced(f"all lie {where} where they are found", off_mm, size)
    return ""


def _factor(found: Floats, here: Floats) -> tuple[float, float]:
    """The size of an image that pixels here (k, 2) are of, the one of found (k, 2) being 1, and by how many px they
    differ beyond it and a shift, in the median."""
    one, other = found - found.mean(axis=0), here - here.mean(axis=0)
    factor = max(float((one * other).sum() / max((one**2).sum(), _EDGE)), _EDGE)
    return factor, float(np.median(np.linalg.norm(other - factor * one, axis=1)))


def _displaced(how: str, off_mm: float, size: tuple[int, int]) -> FrameRejected:
    return FrameRejected(
        "landmarks-displaced",
        f"the landmarks are not where they are found: {how}, {off_mm:.0f} mm on the scan",
        expected=f"pixels of the frame's own texture, {size[1]} x {size[0]}",
        todo="Write pixels of the image that the scan's file names, at its full size and without a border. If they "
        'are right as they are, detector = "none" in [landmarks] leaves this comparison out.',
    )


def on_texture(
    pixels: Floats, scan: Mesh, size: tuple[int, int] | None, joined: bool, marks: Floats
) -> tuple[Floats, list[str]]:
    """Landmarks (68, 3) mm on the scan from pixels (68, 2) of its texture, and the names of those that have no one
    place on it.

    Args:
        size: (height, width) of the texture; None: the scan has none.
        joined: the texture was made of several images.
        marks: (68, 3) the template's landmarks, mm.

    Raises:
        FrameRejected: `landmark-scheme` when the scan has not one texture; `landmarks-displaced` when they are a face
            only with other axes; `landmarks-off-scan` when more than half of the points have no place on it.
    """
    if size is None or scan.uv is None or joined:
        raise FrameRejected(
            "landmark-scheme",
            "the landmarks are two-dimensional: pixels of the scan's texture, and it has not exactly one",
            seen="several images" if joined else "no texture",
            expected="one image, or 3 coordinates a point",
            todo="Put the landmarks beside the frame in the axes of its mesh, or export the scan with one image.",
        )
    points = lift(pixels, scan, size)
    _refuse_other_axes(pixels, points, scan, size, marks)
    given = np.isfinite(pixels).all(axis=1)
    lost = given & np.isnan(points[:, 0])
    if 2 * lost.sum() > given.sum():
        raise FrameRejected(
            "landmarks-off-scan",
            f"{lost.sum()} of {given.sum()} landmarks lie where the scan's texture shows no one place of it",
            expected=f"pixels of the frame's own texture, {size[1]} x {size[0]}, y down from the top",
            todo="Write pixels of the image that the scan's file names, at its full size, and check that they belong "
            "to this frame.",
        )
    return points, [IBUG68[k] for k in np.flatnonzero(lost)]
