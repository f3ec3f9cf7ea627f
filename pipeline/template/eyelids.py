"""What a template shows between the lids of its eyes, the rims of these, and how it is tucked in when they close."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import edges
from mimicme.pipeline.geometry.rigid import fit_rigid
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS
from mimicme.pipeline.template import Template

EYES = ("right_eye", "left_eye")
UPPER_LID, LOWER_LID = [0, 1, 2, 3], [0, 5, 4, 3]
"""Landmarks of an eye, from corner to corner."""
LEAST_OPEN = 0.05
"""Opening of an eye in its width, up to which it is closed and says nothing of how others open: people's are 0.2 to
0.35."""
STEADY = np.r_[27:36, 36, 39, 42, 45]
"""Nose and corners of the eyes; so many tell how a face is turned:"""
LEAST_STEADY = 6
RIM_MM = 0.4
"""How far inside the lids' landmarks the patch begins: they are a polygon, and the lid has a thickness."""
LEAST_VERTICES = 8
"""A patch of fewer vertices is none: the template is too coarse for lids that fold, or has holes for eyes."""
SAMPLES, BAND_MM = 24, 1.5
"""Points along a rim, and the width of the skin that they stand for."""
PLEAT_MM = 0.05
"""Half of what is between the two sheets of the pleat that a patch becomes."""
LEAST_SHARE = 0.2
"""Of a point halfway between the rims the lids' own corners weigh so much at least, or it is left out."""
SAME_MM = 0.02
"""Two places of a pleat are the same up to this: checkpoints have single precision."""
REACH = (0.4, 0.8)
"""Distance from the rims, in widths of the eye, up to which skin is a lid's, and from which on it is as all skin is: 12
mm, where upper lids end and cheeks begin, and 24."""
ACROSS = (0.5, 0.7)
"""The same from the middle of the eye towards its corners: these do not close, and free skin beside them drifts.
Chosen on one person each of two makers of captures: without it the skin beside the nose was off by up to 1.3 mm more,
and with 0.35 and 0.6 the lids were held back at the corners."""
ABOVE_MM = 3.0
"""Across the line between the rims, so far it takes from a lower lid to an upper one."""
CLOSES_MM = (1.0, 2.0)
"""Mean approach of the rims up to which an eye does not close, and from which on it does: rims that were led by
landmarks with 1 mm of noise tremble by less than the first."""


@dataclass(frozen=True)
class Patch:
    """What a mesh shows between the lids of one eye.

    Attributes:
        patch: (k,) its vertices; behind: (k,) mm, how far from the lids they lie at rest.
        places: (k, 2) mm, their x and y at rest.
    """

    patch: NDArray[np.int64]
    behind: Floats
    places: Floats


@dataclass(frozen=True)
class Rims:
    """The lids' rims of one eye of a template.

    Attributes:
        rows: (k, V) each a point of the upper less its like of the lower, from corner to corner.
        areas: (k,) mm^2, that they stand for.
        middle: (k, V) the points halfway between; at_rest: (k, 2) mm, their x and y on the template.
    """

    rows: scipy.sparse.csr_matrix
    areas: Floats
    middle: scipy.sparse.csr_matrix
    at_rest: Floats


class Lids:
    """The eyes of a template, for what moves its vertices after they were registered.

    Attributes:
        near: (V,) 1 on the skin of its upper lids, 0 far from them and below the line between the rims.
    """

    def __init__(self, template: Template) -> None:
        vertices, faces, marks = template.vertices, template.faces, template.landmarks()
        self._eyes: list[tuple[Patch, Rims]] = []
        self._rims: list[Rims] = []
        self.near = np.zeros(len(vertices))
        if len(marks) != N_LANDMARKS:  # no template of a head
            return
        for eye, shown in zip(EYES, patches(vertices, marks), strict=True):
            rims = find_rims(vertices, faces, marks, eye)
            self._rims.append(rims)
            self.near = np.maximum(self.near, around_lids(vertices, rims) * _above(vertices, rims))
            patch = find_patch(vertices, faces, shown)
            if patch is not None:
                self._eyes.append((patch, rims))

    def close(self, rest: Floats, found: Floats) -> bool:
        """Whether an eye closes, all the way or half of it, from a shape (V, 3) to another (V, 3); mm."""
        return any(closing(rims, rest, found) > 0 for rims in self._rims)

    def kept_tucked(self, before: Floats, after: Floats) -> Floats:
        """`after` (V, 3) with what was tucked in behind closed lids in `before` (V, 3) tucked in behind its own; mm,
        canonical frame."""
        for patch, rims in self._eyes:
            if np.abs(tucked(patch, rims, before) - before[patch.patch]).max() < SAME_MM:
                after = after.copy()
                after[patch.patch] = tucked(patch, rims, after)
        return after


def closing(rims: Rims, rest: Floats, found: Floats) -> float:
    """0: an eye of a shape (V, 3), mm, is as open as at rest, (V, 3), or more; 1: it closes, by `CLOSES_MM`."""
    before, after = rims.rows @ rest, rims.rows @ found
    middle = rims.middle @ rest
    across = middle[-1] - middle[0]
    width = max(float(np.linalg.norm(across)), 1e-9)
    up = before.mean(axis=0)
    up = up - (up @ across) * across / width**2
    opening = float(np.linalg.norm(up))
    if not opening > LEAST_OPEN * width:  # closed at rest: that says nothing of how it closes
        return 0.0
    by = opening - float(after.mean(axis=0) @ up) / opening
    if not np.isfinite(by):
        return 0.0
    return float(np.clip((by - CLOSES_MM[0]) / (CLOSES_MM[1] - CLOSES_MM[0]), 0, 1))


def around_lids(neutral: Floats, rims: Rims) -> Floats:
    """(V,) 1 on the skin of an eye's lids in a shape (V, 3), mm, 0 far from them; see `REACH` and `ACROSS`."""
    from scipy.spatial import cKDTree

    half = rims.rows @ neutral / 2
    middle = rims.middle @ neutral
    way = middle[-1] - middle[0]
    width = max(float(np.linalg.norm(way)), 1e-9)
    distance = cKDTree(np.concatenate([middle + half, middle - half])).query(neutral)[0] / width
    across = np.abs((neutral - middle.mean(axis=0)) @ way) / width**2
    return _falling(distance, *REACH) * _falling(across, *ACROSS)


def _above(vertices: Floats, rims: Rims) -> Floats:
    """(V,) 1 above the line between an eye's rims in a shape (V, 3), mm, canonical frame, 0 below it."""
    middle = rims.middle @ vertices
    order = np.argsort(middle[:, 0])
    height = np.interp(vertices[:, 0], middle[order, 0], middle[order, 1])
    return np.asarray(np.clip((vertices[:, 1] - height) / ABOVE_MM + 0.5, 0, 1))


def _falling(x: Floats, first: float, last: float) -> Floats:
    """1 up to the first, 0 from the last on, without a kink."""
    t = np.clip((x - first) / (last - first), 0, 1)
    return np.asarray(1 - t * t * (3 - 2 * t))


def lid_opening(landmarks: Floats, reference: Floats, eye: str) -> float:
    """How far the lids of an eye are apart, mm; NaN where one of its landmarks is absent.

    It is measured along the way that the reference's lids open, turned as the face is turned against the reference, and
    0 where the lids have passed each other: two points of lids that face each other are seldom one above the other, so
    that the length between them stays where the lids meet, and noise adds to it whichever way it points.

    Args:
        landmarks: (68, 3) mm, NaN absent; reference: (68, 3) of a face with open eyes; eye: one of `EYES`.
    """
    mine, open_eye = landmarks[GROUPS[eye]], reference[GROUPS[eye]]
    if not np.isfinite(mine).all():
        return np.nan
    apart, at_rest = mine[UPPER_LID[1:3]] - mine[LOWER_LID[1:3]], _apart_at_rest(open_eye)
    up = opening_way(landmarks, reference, eye)
    # of the two pairs the more open one is the less noisy
    return max(float(at_rest @ (apart @ up)) / float(at_rest.sum()), 0.0)


def opening_way(landmarks: Floats, reference: Floats, eye: str) -> Floats:
    """(3,) unit, across an eye of landmarks (68, 3), mm: the way that its lids open, as those of a reference, (68, 3)
    of a face with open eyes, turned as the face is turned against it."""
    mine = landmarks[GROUPS[eye]]
    return _unit(_turn(reference, landmarks) @ _opening_way(reference[GROUPS[eye]]), mine[3] - mine[0])


def open_share(landmarks: Floats, reference: Floats, eye: str) -> float:
    """Opening of an eye of landmarks (68, 3), NaN absent, in its width, over a reference's; NaN where not known: where
    a landmark is absent, or the reference's lids are closed, too."""
    own = _in_width(reference, reference, eye)
    return _in_width(landmarks, reference, eye) / own if own > LEAST_OPEN else np.nan


def _in_width(landmarks: Floats, reference: Floats, eye: str) -> float:
    corners = landmarks[GROUPS[eye]][[0, 3]]
    width = max(float(np.linalg.norm(corners[1] - corners[0])), 1e-9)
    return lid_opening(landmarks, reference, eye) / width


def _apart_at_rest(eye: Floats) -> Floats:
    """(2,) how far each pair of an open eye's lids (6, 3) is apart; alike where they are hardly."""
    apart = (eye[UPPER_LID[1:3]] - eye[LOWER_LID[1:3]]) @ _opening_way(eye)
    least = LEAST_OPEN * float(np.linalg.norm(eye[3] - eye[0]))
    return np.maximum(apart, max(least, 1e-9))


def _opening_way(eye: Floats) -> Floats:
    """(3,) unit, from the lower to the upper lid of landmarks (6, 3), across the corners; upwards where they meet."""
    across = eye[3] - eye[0]
    apart = (eye[UPPER_LID[1:3]] - eye[LOWER_LID[1:3]]).mean(axis=0)
    up = _unit(np.array([0.0, 1.0, 0.0]), across)
    # as closed lids with a little noise may lie anywhere to each other
    return _unit(apart, across) if apart @ up > LEAST_OPEN * float(np.linalg.norm(across)) else up


def _turn(reference: Floats, landmarks: Floats) -> Floats:
    """(3, 3) from a reference's axes to those of landmarks (68, 3), NaN absent, by what no expression moves much."""
    known = STEADY[np.isfinite(landmarks[STEADY]).all(axis=1)]
    if len(known) < LEAST_STEADY:
        return np.eye(3)
    return fit_rigid(reference[known], landmarks[known])[:3, :3]


def _unit(way: Floats, across: Floats) -> Floats:
    """(3,) the part of a way that is across a line, at length 1."""
    line = across / max(float(np.linalg.norm(across)), 1e-9)
    way = way - (way @ line) * line
    return np.asarray(way / max(float(np.linalg.norm(way)), 1e-9))


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


def find_patch(vertices: Floats, faces: Ints, shown: Bools) -> Patch | None:
    """The patch of an eye of a mesh at rest, (n, 3): `shown` (n,) of its vertices; None where that is too small or a
    piece of its own."""
    mine = np.flatnonzero(shown)
    if len(mine) < LEAST_VERTICES:
        return None
    pairs = edges(faces)[0]
    beside = np.unique(pairs[shown[pairs].any(axis=1) & ~shown[pairs].all(axis=1)])
    rim = beside[~shown[beside]]
    if not len(rim):  # a piece of its own
        return None
    behind = np.linalg.norm(vertices[mine][:, None] - vertices[rim], axis=2).min(axis=1)
    return Patch(mine, behind, vertices[mine, :2])


def find_rims(vertices: Floats, faces: Ints, landmarks: Floats, eye: str) -> Rims:
    """The rims of an eye of a template, see `Rims`: where its surface is nearest to curves through the lids' landmarks.

    Whether the template has a patch between them, or a hole, is the same.

    Args:
        vertices: (V, 3); faces: (t, 3); landmarks: (68, 3) on it; eye: one of `EYES`.
    """
    points = landmarks[GROUPS[eye]]
    surface = Surface(vertices, faces)
    upper, lower = (
        _rows(surface, faces, curve(points[lid]), len(vertices)) for lid in (UPPER_LID, LOWER_LID)
    )
    length = float(np.linalg.norm(points[3] - points[0]))
    middle = (0.5 * (upper + lower)).tocsr()
    areas = np.full(SAMPLES, BAND_MM * length / SAMPLES)
    return Rims((upper - lower).tocsr(), areas, middle, (middle @ vertices)[:, :2])


def tucked(patch: Patch, rims: Rims, vertices: Floats) -> Floats:
    """(k, 3) where the patch of a closed eye lies in a shape (V, 3), mm, canonical frame: a pleat of two sheets from
    the line between the rims straight backwards, as deep as the patch was wide."""
    # the rims by the lids alone: some of their points lie on triangles with a corner in the patch
    lids = np.ones(len(vertices))
    lids[patch.patch] = 0.0
    share = rims.middle @ lids
    order = np.argsort(rims.at_rest[:, 0])
    order = order[share[order] > LEAST_SHARE]
    across = rims.at_rest[order, 0]
    line = (rims.middle @ (lids[:, None] * vertices))[order] / share[order, None]
    found = np.stack([np.interp(patch.places[:, 0], across, line[:, axis]) for axis in range(3)], axis=1)
    height = np.interp(patch.places[:, 0], across, rims.at_rest[order, 1])
    found[:, 1] += PLEAT_MM * np.sign(patch.places[:, 1] - height)
    found[:, 2] -= patch.behind
    return found


def curve(points: Floats) -> Floats:
    """(`SAMPLES`, 3) along a smooth curve through four points (4, 3), without its ends."""
    from scipy.interpolate import CubicSpline

    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.r_[0, np.cumsum(np.maximum(steps, 1e-3))]  # two landmarks may coincide
    return np.asarray(CubicSpline(along / along[-1], points)(np.linspace(0, 1, SAMPLES + 2)[1:-1]))


def _rows(surface: Surface, faces: Ints, points: Floats, count: int) -> scipy.sparse.csr_matrix:
    """(k, V) barycentric rows of the surface's closest points to points (k, 3)."""
    found = surface.closest(points)
    rows = np.repeat(np.arange(len(points)), 3)
    return scipy.sparse.csr_matrix(
        (found.weights.ravel(), (rows, faces[found.triangles].ravel())), shape=(len(points), count)
    )
