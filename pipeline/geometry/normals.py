"""Normals and areas of triangles, compiled: the same sums in the same order as numpy's, to the last bit, in a sixth of
their time."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.numerics.compiled import compiled

ARRAYS = "f8[:, ::1], i4[:, ::1]"


@compiled("UniTuple(f8, 6)(f8[:, ::1], i4[:, ::1], i8)")
def sides(vertices: Floats, faces: Ints, t: int) -> tuple[float, float, float, float, float, float]:
    """The two sides of a triangle from its first corner, one after the other."""
    a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
    return (
        vertices[b, 0] - vertices[a, 0],
        vertices[b, 1] - vertices[a, 1],
        vertices[b, 2] - vertices[a, 2],
        vertices[c, 0] - vertices[a, 0],
        vertices[c, 1] - vertices[a, 1],
        vertices[c, 2] - vertices[a, 2],
    )


@compiled("UniTuple(f8, 3)(f8, f8, f8, f8, f8, f8)")
def cross(ux: float, uy: float, uz: float, vx: float, vy: float, vz: float) -> tuple[float, float, float]:
    """The cross product of two vectors: of a triangle's sides, its normal, as long as twice its area."""
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


@compiled(f"void({ARRAYS}, f8[:, ::1], f8[::1])")
def of_triangles(vertices: Floats, faces: Ints, normals: Floats, areas: Floats) -> None:
    """Fill unit normals (t, 3), zero for degenerate triangles, and areas (t,), of vertices (n, 3) and faces (t, 3)."""
    for t in range(len(faces)):
        x, y, z = cross(*sides(vertices, faces, t))
        length = np.sqrt(x * x + y * y + z * z)
        over = 1e-300 if length < 1e-300 else length
        normals[t, 0], normals[t, 1], normals[t, 2] = x / over, y / over, z / over
        areas[t] = length / 2


@compiled(f"void({ARRAYS}, f8[:, ::1], b1[::1], f8[::1])")
def facing_away(vertices: Floats, faces: Ints, normals: Floats, folded: Bools, areas: Floats) -> None:
    """Fill which triangles (t,) face away from the sum of their corners' normals (n, 3), and their areas (t,)."""
    for t in range(len(faces)):
        x, y, z = cross(*sides(vertices, faces, t))
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        around = x * (normals[a, 0] + normals[b, 0] + normals[c, 0])
        around += y * (normals[a, 1] + normals[b, 1] + normals[c, 1])
        around += z * (normals[a, 2] + normals[b, 2] + normals[c, 2])
        folded[t] = around < 0
        areas[t] = np.sqrt(x * x + y * y + z * z) / 2


@compiled(f"void({ARRAYS}, f8[:, ::1])")
def of_vertices(vertices: Floats, faces: Ints, normals: Floats) -> None:
    """Add up the normals of each vertex's triangles, weighted by area, in `normals` (n, 3) of zeros; of unit length."""
    for t in range(len(faces)):
        x, y, z = cross(*sides(vertices, faces, t))
        for k in range(3):
            i = faces[t, k]
            normals[i, 0] += x
            normals[i, 1] += y
            normals[i, 2] += z
    for i in range(len(normals)):
        x, y, z = normals[i, 0], normals[i, 1], normals[i, 2]
        length = np.sqrt(x * x + y * y + z * z)
        over = 1e-300 if length < 1e-300 else length
        normals[i, 0], normals[i, 1], normals[i, 2] = x / over, y / over, z / over
