"""Lids that close are not held back: the rest shape of their skin follows what was fitted of it.

When an eye closes, the skin above it slides by a centimetre over the eyeball and unfolds; it is the loosest of the
face, and what holds every other part of a fit to its rest shape, the stiffness, has no cause there.  Where the skin is
smooth only landmarks and rims say how far it went, and the stiffness keeps a fifth of that back.  So the fit of an eye
that closes begins once more from where it ended: its rest shape has the lids as they were fitted, and the stiffness is
against what is changed of that.  How the motion is spread between rim and brow is the fit's own: eyes with a fold and
without, and the makers of captures with a truth, differ in that by a factor of three.  An eye that does not close is
left alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import vertex_areas
from mimicme.pipeline.template.eyelids import LEAST_OPEN, Rims
from mimicme.stages.register.levels import Levels
from mimicme.stages.register.stiffness import affine_stiffness, graph_laplacian

REACH = (0.4, 0.8)
"""Distance from the rims, in widths of the eye, up to which skin is free to stay where it was fitted, and from which on
it is held as all skin is: 12 mm, where upper lids end and cheeks begin, and 24."""
ACROSS = (0.5, 0.7)
"""The same from the middle of the eye towards its corners: these do not close, and free skin beside them drifts.
Chosen on one person each of two makers of captures: without it the skin beside the nose was off by up to 1.3 mm more,
and with 0.35 and 0.6 the lids were held back at the corners."""
CLOSES_MM = (1.0, 2.0)
"""Mean approach of the rims up to which an eye does not close, and from which on it does: rims that were led by
landmarks with 1 mm of noise tremble by less than the first."""
SMOOTH_MM = 2.0
"""A wave of 2 pi times this length, in the motion of the lids, becomes rest by a half, one half as long by a
seventeenth: landmarks of a lid are 8 mm apart, and one that is off makes a wave of about twice that."""
RIDGE = 1e-3
"""Stretching is as good as free (see stiffness.py): lids unfold where they close."""
BESIDE = 1e-3
"""Weight of what is between the lids, mm^2: it goes along with their skin, and holds none of it."""
LEAST_AREA = 1e-6
"""mm^2, of a vertex that no triangle near the lids has."""


class LidMotion:
    """The lids of a person's neutral.

    Args:
        neutral: (V, 3) mm, canonical frame; levels: of the template.
    """

    def __init__(self, neutral: Floats, levels: Levels) -> None:
        self._neutral, self._levels, self._rims = neutral, levels, levels.rims
        self._free = [_around(neutral, rims) for rims in levels.rims]
        self._smooth: dict[int, Smoothing] = {}

    def followed(self, rest: Floats, found: Floats) -> Floats:
        """(V, 3) the neutral at rest, (V, 3), with the skin of closing lids as in a fit, `found` (V, 3), in the same
        place as `rest`, and smoothed; mm."""
        most, moved = np.zeros(len(rest)), rest
        for eye, (rims, free) in enumerate(zip(self._rims, self._free, strict=True)):
            share = closing(rims, rest, found) * free
            if share.any():
                followed = rest + share[:, None] * self._smoothing(eye).of(found - rest)
                moved = np.where((share > most)[:, None], followed, moved)
                most = np.maximum(most, share)
        return moved

    def _smoothing(self, eye: int) -> Smoothing:
        """That of an eye, made when it first closes."""
        if eye not in self._smooth:
            mine = self._levels.fine.eyes[eye]
            shown = np.zeros(len(self._neutral), bool)
            if mine is not None:
                shown[mine.patch] = True
            faces = self._levels.fine.faces
            self._smooth[eye] = Smoothing(self._neutral, faces, self._free[eye] > 0, shown)
        return self._smooth[eye]


class Smoothing:
    """A displacement of the skin of lids without its short waves.

    It bends little (`affine_stiffness`) and is near what was found, in the least squares of both.  A rim is as free as
    in the plane: what falls evenly towards it or along it stays as it is.  The lids are not joined by what is between
    them; that is changed as the skin around it is.

    Args:
        vertices: (V, 3) mm, at rest; faces: (t, 3).
        near: (V,) True where it is smoothed; shown: (V,) True on what is between the lids.
    """

    def __init__(self, vertices: Floats, faces: Ints, near: Bools, shown: Bools) -> None:
        from scipy.sparse.linalg import splu

        self._near = np.flatnonzero(near)
        place = np.full(len(vertices), -1)
        place[self._near] = np.arange(len(self._near))
        inside = faces[near[faces].all(axis=1)]
        beside = shown[inside].any(axis=1)
        skin, between = place[inside[~beside]], place[inside[beside]]
        points, count = vertices[self._near], len(self._near)
        on_skin = ~shown[self._near]
        areas = np.maximum(vertex_areas(points, place[inside]), LEAST_AREA) * on_skin
        pull = graph_laplacian(between, count) if len(between) else sparse.csr_matrix((count, count))
        self._data = sparse.diags(areas) + BESIDE * pull
        bending = SMOOTH_MM**4 * affine_stiffness(points, skin, RIDGE)
        self._solve: Callable[[Floats], Floats] = splu((self._data + bending).tocsc()).solve

    def of(self, displacement: Floats) -> Floats:
        """(V, 3) the smoothed displacement, mm; as it was, (V, 3), where it is not smoothed."""
        smooth = displacement.copy()
        smooth[self._near] = self._solve(self._data @ displacement[self._near])
        return smooth


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


def _around(neutral: Floats, rims: Rims) -> Floats:
    """(V,) 1 on the lids of an eye, 0 far from them."""
    from scipy.spatial import cKDTree

    half = rims.rows @ neutral / 2
    middle = rims.middle @ neutral
    way = middle[-1] - middle[0]
    width = max(float(np.linalg.norm(way)), 1e-9)
    distance = cKDTree(np.concatenate([middle + half, middle - half])).query(neutral)[0] / width
    across = np.abs((neutral - middle.mean(axis=0)) @ way) / width**2
    return _falling(distance, *REACH) * _falling(across, *ACROSS)


def _falling(x: Floats, first: float, last: float) -> Floats:
    """1 up to the first, 0 from the last on, without a kink."""
    t = np.clip((x - first) / (last - first), 0, 1)
    return np.asarray(1 - t * t * (3 - 2 * t))
