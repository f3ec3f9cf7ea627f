"""Landmarks given in the scan's own texture: a pixel of it is a place on the scan."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.landmarks import IBUG68
from mimicme.pipeline.mesh import Floats, Mesh
from mimicme.pipeline.spatial import Surface

# A pixel that two triangles show is a place all the same where they touch; further apart it is no one place.
ONE_PLACE_MM = 1.0
RIM_MM = 2.0  # a pixel this far from the next triangle is still on its rim: lids end beside holes
_EDGE = 1e-6  # a pixel on an edge is in both triangles, whatever is rounded


def lift(pixels: Floats, scan: Mesh, size: tuple[int, int]) -> Floats:
    """Places (k, 3) mm on the scan of pixels (k, 2) of its texture; NaN where no triangle shows the pixel or
    comes within `RIM_MM` of it, or triangles more than `ONE_PLACE_MM` apart show it.

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
        out[rows] = _on_rim(pixels[rows], corners, solid)
    return out


def _on_rim(pixels: Floats, corners: Floats, solid: Floats) -> Floats:
    """Places (k, 3) mm of pixels (k, 2) beside triangles, corners (t, 3, 2) px and solid (t, 3, 3) mm; NaN beyond
    `RIM_MM`."""
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
    low, high = corners.min(axis=(0, 1)) - RIM_MM / mm_per_px, corners.max(axis=(0, 1)) + RIM_MM / mm_per_px
    about = np.flatnonzero(((low <= pixels) & (pixels <= high)).all(axis=1))
    if not len(about):
        return out

    def level(places: Floats) -> Floats:
        return np.concatenate([places, np.zeros((len(places), 1))], axis=1) * mm_per_px

    triangles = np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3)
    near = Surface(level(corners.reshape(-1, 2)), triangles).closest(level(pixels[about]))
    places = np.einsum("kc,kcx->kx", near.weights, solid[near.triangles])
    out[about] = np.where((near.distances <= RIM_MM)[:, None], places, np.nan)
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


def on_texture(
    pixels: Floats, scan: Mesh, size: tuple[int, int] | None, joined: bool
) -> tuple[Floats, list[str]]:
    """Landmarks (68, 3) mm on the scan from pixels (68, 2) of its texture, and the names of those that have no one
    place on it.

    Args:
        size: (height, width) of the texture; None: the scan has none.
        joined: the texture was made of several images.

    Raises:
        FrameRejected: `landmark-scheme` when the scan has not one texture; `landmarks-off-scan` when more than half of
            the points have no place on it.
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
