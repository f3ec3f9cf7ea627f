"""Where a surface has folded since it was at rest: wrong correspondences, which are rejected from then on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import triangle_normals, vertex_normals
from mimicme.pipeline.geometry.normals import facing_away
from mimicme.stages.register.levels import Level


class RestTriangles(NamedTuple):
    """Triangles at rest, which folds are told by: (t,) True where the rest shape is folded itself; (t,) areas, mm^2."""

    folded: Bools
    areas: Floats

    @classmethod
    def of(cls, vertices: Floats, faces: Ints) -> RestTriangles:
        folded, areas = _folded(vertices, vertex_normals(vertices, faces), faces)
        return cls(folded, areas)

    def without(self, level: Level) -> RestTriangles:
        """The same, with those that fold away behind closed lids as if folded at rest, and of no area."""
        hidden = np.zeros(len(level.index), bool)
        for eye in level.closed:
            hidden[eye.patch] = True
        behind = hidden[level.faces].any(axis=1)
        return RestTriangles(self.folded | behind, np.where(behind, 0.0, self.areas))


def _folded(vertices: Floats, normals: Floats, faces: Ints) -> tuple[Bools, Floats]:
    """(t,) True where a triangle faces away from the mean of its corners' normals (V, 3); areas (t,), mm^2."""
    folded, areas = np.empty(len(faces), bool), np.empty(len(faces))
    facing_away(
        np.ascontiguousarray(vertices, np.float64),
        np.ascontiguousarray(faces, np.int32),
        np.ascontiguousarray(normals, np.float64),
        folded,
        areas,
    )
    if np.isfinite(areas.sum()):
        return folded, areas
    # numpy says what is wrong with numbers that are not finite
    normal, areas = triangle_normals(vertices, faces)
    around = np.take(normals, faces, axis=0).sum(axis=1)
    return np.einsum("tx,tx->t", normal, around) < 0, areas


FOLD_RINGS = 3
DEGENERATE_AREA = 0.02
"""Share of its area at rest below which a triangle is degenerate and counts as folded."""


def around_folds(level: Level, at_rest: RestTriangles, vertices: Floats, normals: Floats) -> Bools:
    """(V,) True within `FOLD_RINGS` edges of a triangle of a shape (V, 3) with normals (V, 3) that is flipped against
    its surroundings or degenerate."""
    folded, areas = _folded(vertices, normals, level.faces)
    # the template's own creases are no folds
    lost = (folded & ~at_rest.folded) | (areas < DEGENERATE_AREA * at_rest.areas)
    bad = np.zeros(len(vertices))
    bad[level.faces[lost]] = 1.0
    for _ in range(FOLD_RINGS):
        bad = level.neighbours @ bad + bad
    return bad > 0
