"""Closed eyes: the lids of the mesh meet, and what the template shows between them folds away behind.

Between its open lids a template has a patch of eyeball.  When the lids are closed the scan has skin there, as smooth
and as near as theirs: left alone, the patch lies down on it, holds them apart, and the crease is printed on the patch.
So while an eye is closed - its landmarks tell, and the scan has no hole there - the patch gives way (it is soft, and
lies behind the scan by its own distance to the lids), and the two rims attract each other.  While it is open nothing of
this happens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import edges
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import GROUPS
from mimicme.stages.register.stiffness import affine_stiffness

EYES = ("right_eye", "left_eye")
UPPER_LID, LOWER_LID = [0, 1, 2, 3], [0, 5, 4, 3]
"""Landmarks of an eye, from corner to corner."""
RIM_MM = 0.4
"""How far inside the lids' landmarks the patch begins: they are a polygon, and the lid has a thickness."""
SOFT = 0.03
"""Stiffness of the patch behind closed lids, in its own."""
LEAST_VERTICES = 8
"""A patch of fewer vertices is none: the template is too coarse for lids that fold, or has holes for eyes."""
GAP_MM = 0.15
NEAR_MM, LEAST_COVERED = 5.0, 0.6
"""A scan's surface lies so near to the landmarks' middle, along so much of the line between closed lids; lashes leave
small holes there."""
SAMPLES, BAND_MM = 24, 1.5
"""Points along a rim, and the width of the skin that they stand for."""


@dataclass(frozen=True)
class Eye:
    """What a level shows between the lids of one eye.

    Attributes:
        patch: (k,) its vertices; behind: (k,) mm, how far from the lids they lie at rest.
        stiffness: (n, n), the part of the level's stiffness that is theirs.
    """

    patch: NDArray[np.int64]
    behind: Floats
    stiffness: sparse.csr_matrix


@dataclass(frozen=True)
class Rims:
    """The lids' rims of one eye of a template: `rows` (k, V), each a point of the upper less its like of the lower, and
    the areas (k,) that they stand for, mm^2."""

    rows: sparse.csr_matrix
    areas: Floats


def patches(vertices: Floats, landmarks: Floats) -> tuple[Bools, Bools]:
    """(V,) twice, of the right and of the left eye: True on what a template shows between the lids.

    Args:
        vertices: (V, 3) template, mm, canonical frame; landmarks: (68, 3) on it.
    """
    right, left = (_inside(vertices, landmarks[GROUPS[eye]], RIM_MM) for eye in EYES)
    return right, left


def _inside(vertices: Floats, rim: Floats, by_mm: float) -> Bools:
    """(V,) True inside an eye's landmarks (6, 3) as they are seen from the front, and so far from them."""
    from matplotlib.path import Path

    middle, width = rim.mean(axis=0), float(np.linalg.norm(rim[3] - rim[0]))
    away = np.linalg.norm(rim - middle, axis=1, keepdims=True)
    polygon = middle + (rim - middle) * np.maximum(1 - by_mm / np.maximum(away, 1e-9), 0)
    near = np.linalg.norm(vertices - middle, axis=1) < width
    return np.asarray(near & Path(polygon[:, :2]).contains_points(vertices[:, :2]))


def find_eye(vertices: Floats, faces: Ints, patch: Bools, membrane: float) -> Eye | None:
    """An eye of a level at rest, (n, 3), `patch` (n,) of it; None where that is too small or a piece of its own."""
    mine = np.flatnonzero(patch)
    if len(mine) < LEAST_VERTICES:
        return None
    pairs = edges(faces)[0]
    beside = np.unique(pairs[patch[pairs].any(axis=1) & ~patch[pairs].all(axis=1)])
    rim = beside[~patch[beside]]
    if not len(rim):  # a piece of its own
        return None
    behind = np.linalg.norm(vertices[mine][:, None] - vertices[rim], axis=2).min(axis=1)
    touched = patch[faces].any(axis=1)
    bending = affine_stiffness(vertices, faces[touched], factor=patch.astype(float))
    inner = pairs[patch[pairs].any(axis=1)]
    graph = sparse.coo_matrix((np.ones(len(inner)), (inner[:, 0], inner[:, 1])), shape=(len(vertices),) * 2)
    graph = (graph + graph.T).tocsr()
    stretching = sparse.diags(np.asarray(graph.sum(axis=1)).ravel()) - graph
    return Eye(mine, behind, (bending + membrane * stretching).tocsr())


def find_rims(vertices: Floats, faces: Ints, landmarks: Floats, eye: str) -> Rims:
    """The rims of an eye of a template, see `Rims`: where its surface is nearest to curves through the lids' landmarks.

    Whether the template has a patch between them, or a hole, is the same.

    Args:
        vertices: (V, 3); faces: (t, 3); landmarks: (68, 3) on it; eye: one of `EYES`.
    """
    points = landmarks[GROUPS[eye]]
    surface = Surface(vertices, faces)
    upper, lower = (
        _rows(surface, faces, _curve(points[lid]), len(vertices)) for lid in (UPPER_LID, LOWER_LID)
    )
    length = float(np.linalg.norm(points[3] - points[0]))
    return Rims((upper - lower).tocsr(), np.full(SAMPLES, BAND_MM * length / SAMPLES))


def covered(scan: Surface, landmarks: Floats, eye: str) -> bool:
    """Whether a scan has a surface between the lids of an eye, and not a hole, as scanners leave of an open eye.

    Args:
        scan: in the canonical frame, mm; landmarks: (68, 3) in it, NaN absent; eye: one of `EYES`.
    """
    points = landmarks[GROUPS[eye]]
    if not np.isfinite(points).all():
        return False
    middle = (_curve(points[UPPER_LID]) + _curve(points[LOWER_LID])) / 2
    found = scan.cast(middle + [0, 0, NEAR_MM], np.array([0.0, 0.0, -1.0]))
    return bool(np.mean(found.hit & (found.distances < 2 * NEAR_MM)) >= LEAST_COVERED)


def _curve(points: Floats) -> Floats:
    """(`SAMPLES`, 3) along a smooth curve through four points (4, 3), without its ends."""
    from scipy.interpolate import CubicSpline

    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.r_[0, np.cumsum(np.maximum(steps, 1e-3))]  # two landmarks may coincide
    return np.asarray(CubicSpline(along / along[-1], points)(np.linspace(0, 1, SAMPLES + 2)[1:-1]))


def _rows(surface: Surface, faces: Ints, points: Floats, count: int) -> sparse.csr_matrix:
    """(k, V) barycentric rows of the surface's closest points to points (k, 3)."""
    found = surface.closest(points)
    rows = np.repeat(np.arange(len(points)), 3)
    return sparse.csr_matrix(
        (found.weights.ravel(), (rows, faces[found.triangles].ravel())), shape=(len(points), count)
    )
