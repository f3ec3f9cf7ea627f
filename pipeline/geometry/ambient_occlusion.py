"""How much of what is around a place can be seen from it: ambient occlusion."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints, Longs
from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.pipeline.geometry.spatial import Surface

DIRECTIONS = 48
OCCLUDER_MM = 60.0
RAY_OFFSET_MM = 0.02


def sky_visibility(vertices: Floats, faces: Ints, at: Longs | None = None) -> Floats:
    """Share of the sky visible from vertices, cosine-weighted, 1 on a convex surface (ambient occlusion).

    Args:
        vertices: (V, 3) mm; faces: (t, 3).  What is farther than `OCCLUDER_MM` occludes nothing.
        at: (k,) the vertices that are asked for; by default all.

    Returns:
        (k,) in [0, 1].
    """
    normals = vertex_normals(vertices, faces)
    place, normals = (vertices, normals) if at is None else (vertices[at], normals[at])
    surface = Surface(vertices, faces)
    count = np.arange(DIRECTIONS) + 0.5
    polar, turn = np.arccos(1 - 2 * count / DIRECTIONS), np.pi * (1 + 5**0.5) * count  # Fibonacci sphere
    sky = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=1)
    free, total = np.zeros(len(place)), np.zeros(len(place))
    for direction in sky:
        cosine = normals @ direction
        above = np.flatnonzero(cosine > 0.1)
        occluded = surface.occluded(place[above] + RAY_OFFSET_MM * normals[above], direction, OCCLUDER_MM)
        free[above] += cosine[above] * ~occluded
        total[above] += cosine[above]
    return np.asarray(free / np.maximum(total, 1e-9))
