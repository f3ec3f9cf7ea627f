"""Where lines along normals meet a surface that points were displaced along: a walk from triangle to triangle.

A vertex displaced along its surface lies above a place some triangles away.  The walk begins at a triangle of the
vertex and goes over the edge behind which the line lies (Devillers, Pion and Teillaud 2002), in some steps and without
a search tree; it stays on the vertex's own sheet, where a ray would meet whatever lies in front of it.
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.numerics.compiled import compiled

MOST_STEPS = 200
INSIDE = -1e-9
"""Least barycentric weight of what is taken to lie inside a triangle: rounding would send it over the edge and back."""


def triangles_across(faces: Ints) -> Ints:
    """(T, 3) int32 the triangle over the edge opposite to each corner; -1 where there is none, or more than one."""
    ends = faces[:, [[1, 2], [2, 0], [0, 1]]].reshape(-1, 2).astype(np.int64)
    key = ends.min(axis=1) * (int(faces.max(initial=0)) + 1) + ends.max(axis=1)
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(key[order]) > 0]) if len(key) else np.zeros(0, np.int64)
    pairs = first[np.diff(np.r_[first, len(key)]) == 2]
    one, other = order[pairs], order[pairs + 1]
    across = np.full(len(key), -1, np.int32)
    across[one], across[other] = other // 3, one // 3
    return across.reshape(-1, 3)


@compiled("Tuple((i8, f8, f8, f8, f8))(f8[:, ::1], i4[:, ::1], i4[:, ::1], i8, f8, f8, f8, f8, f8, f8)")
def step_from(
    vertices: Floats,
    faces: Ints,
    across: Ints,
    begin: int,
    x: float,
    y: float,
    z: float,
    nx: float,
    ny: float,
    nz: float,
) -> tuple[int, float, float, float, float]:
    """Where the line through a point (x, y, z) along a normal (nx, ny, nz) meets the surface.

    Args:
        vertices: (V, 3); faces: (T, 3); across: (T, 3) of `triangles_across`; begin: a triangle to begin at.

    Returns:
        The triangle met, or where the walk ended; the weights of its three corners, (u, v, w); the depth from the point
        to there, along the normal, infinite where nothing was met.
    """
    t = begin
    for _ in range(MOST_STEPS):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ax, ay, az = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        bx, by, bz = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
        cx, cy, cz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
        px, py, pz = x - ax, y - ay, z - az
        hx, hy, hz = ny * cz - nz * cy, nz * cx - nx * cz, nx * cy - ny * cx
        det = bx * hx + by * hy + bz * hz
        if det == 0:
            break
        gx, gy, gz = py * bz - pz * by, pz * bx - px * bz, px * by - py * bx
        v = (px * hx + py * hy + pz * hz) / det
        w = (nx * gx + ny * gy + nz * gz) / det
        u = 1 - v - w
        if u >= INSIDE and v >= INSIDE and w >= INSIDE:
            return t, u, v, w, (cx * gx + cy * gy + cz * gz) / det
        if u <= v and u <= w:
            following = across[t, 0]
        elif v <= w:
            following = across[t, 1]
        else:
            following = across[t, 2]
        if following < 0:
            break
        t = following
    return t, 0.0, 0.0, 0.0, np.inf
