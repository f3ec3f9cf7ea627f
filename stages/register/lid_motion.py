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
from mimicme.pipeline.template.eyelids import around_lids, closing
from mimicme.stages.register.levels import Levels
from mimicme.stages.register.stiffness import affine_stiffness, graph_laplacian

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
        self._free = [around_lids(neutral, rims) for rims in levels.rims]
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
