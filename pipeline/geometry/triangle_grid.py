"""Closest points on a triangle mesh that is near: a uniform grid of the triangles' boxes.

For many points that mostly lie within a triangle's size of the surface, as those of a template that is nearly
registered: a bounding volume hierarchy, Open3D's, takes a hundred boxes to come down to each, the grid one cell.  What
is farther than the reach is not looked for, so that nothing beyond the points' own surroundings needs cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.compiled import compiled

Longs = NDArray[np.int64]

CELL_TRIANGLES = 1.5
"""Side of a cell, in that of the mean triangle's box."""
MOST_CELLS, MOST_ENTRIES = 4_000_000, 40
"""Cells, and entries a triangle; of what would need more the cells are larger."""
MARGIN = 1.0
"""How far the grid goes beyond the reach of the points that it is made for, in that: the next lie elsewhere."""


class Near(NamedTuple):
    """Closest points (k, 3) of k points, the triangles they are on (k,), barycentric weights (k, 3), distances (k,).

    Where nothing is within reach: the point itself, -1, 0, infinite."""

    points: Floats
    triangles: Longs
    weights: Floats
    distances: Floats


class _Cells(NamedTuple):
    """The grid, of the triangles that reach into it.

    Attributes:
        low, high: (3,) its box; side: of a cell; shape: (3,) cells along each axis.
        start, entry: which triangles each cell has, of `corners` (t, 9); box: (t, 6) least and most of each;
            triangle: (t,) of the mesh.
    """

    low: Floats
    high: Floats
    side: float
    shape: Longs
    start: NDArray[np.int32]
    entry: NDArray[np.uint32]
    corners: Floats
    box: Floats
    triangle: Longs


class TriangleGrid:
    """A triangle mesh ready for closest-point queries from nearby.

    Args:
        vertices: (n, 3); faces: (t, 3).
    """

    def __init__(self, vertices: Floats, faces: Ints) -> None:
        self._vertices, self._faces = np.asarray(vertices, np.float64), faces
        self._cells: _Cells | None = None

    def closest(self, points: Floats, reach: float) -> Near:
        """Closest points within `reach` of points (k, 3); quickest when neighbours come one after the other."""
        points = np.ascontiguousarray(points, np.float64)
        count = len(points)
        near = Near(points.copy(), np.full(count, -1, np.int64), np.zeros((count, 3)), np.full(count, np.inf))
        known = points[np.isfinite(points).all(axis=1)]
        if not len(known) or not len(self._faces):
            return near
        low, high = known.min(axis=0) - reach, known.max(axis=0) + reach
        cells = self._cells
        if cells is None or (low < cells.low).any() or (high > cells.high).any():
            cells = self._cells = _grid(
                self._vertices, self._faces, low - MARGIN * reach, high + MARGIN * reach
            )
        if len(cells.triangle):
            _search(
                points,
                reach,
                cells.low,
                cells.side,
                cells.shape,
                cells.start,
                cells.entry,
                cells.corners,
                cells.box,
                cells.triangle,
                near.triangles,
                near.weights,
                near.distances,
                near.points,
            )
        return near


def _grid(vertices: Floats, faces: Ints, low: Floats, high: Floats) -> _Cells:
    corners = np.take(vertices, faces, axis=0).reshape(-1, 9)
    a, b, c = corners[:, :3], corners[:, 3:6], corners[:, 6:]
    least, most = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    mine = np.flatnonzero(((least <= high) & (most >= low)).all(axis=1))
    corners, least, most = corners[mine], least[mine], most[mine]
    size = float((most - least).mean()) if len(mine) else 0.0
    side = max(CELL_TRIANGLES * size, float((high - low).max()) / 1000, 1e-9)
    while True:
        count = np.floor((high - low) / side).astype(np.int64) + 1
        first = np.clip(np.floor((least - low) / side), 0, count - 1).astype(np.int32)
        last = np.clip(np.floor((most - low) / side), 0, count - 1).astype(np.int32)
        entries = int((last - first + 1).astype(np.int64).prod(axis=1).sum())
        if count.prod() <= MOST_CELLS and entries <= MOST_ENTRIES * max(len(mine), 1):
            break
        side *= 1.5
    start = np.zeros(int(count.prod()) + 1, np.int32)
    # unsigned: see register/kernels.py
    entry = np.empty(entries, np.uint32)
    _enter(first, last, count, start, entry)
    return _Cells(low, high, side, count, start, entry, corners, np.concatenate([least, most], axis=1), mine)


@compiled("void(i4[:, ::1], i4[:, ::1], i8[::1], i4[::1], u4[::1])")
def _enter(first: Ints, last: Ints, count: Longs, start: Ints, entry: NDArray[np.uint32]) -> None:
    """Fill where the entries of each cell begin (m + 1,), and the entries: which triangles a cell has."""
    for t in range(len(first)):
        for i in range(first[t, 0], last[t, 0] + 1):
            for j in range(first[t, 1], last[t, 1] + 1):
                row = (i * count[1] + j) * count[2]
                for k in range(first[t, 2], last[t, 2] + 1):
                    start[row + k] += 1
    total = 0
    for cell in range(len(start)):
        total += start[cell]
        start[cell] = total
    for t in range(len(first) - 1, -1, -1):
        for i in range(first[t, 0], last[t, 0] + 1):
            for j in range(first[t, 1], last[t, 1] + 1):
                row = (i * count[1] + j) * count[2]
                for k in range(first[t, 2], last[t, 2] + 1):
                    start[row + k] -= 1
                    entry[start[row + k]] = t


@compiled("UniTuple(f8, 3)(f8[:, ::1], u8, f8, f8, f8)")
def _on_triangle(corners: Floats, k: int, px: float, py: float, pz: float) -> tuple[float, float, float]:
    """Weights of the second and the third corner of the closest point of a triangle, and its squared distance
    (Ericson 2005, sec. 5.1.5)."""
    ax, ay, az = corners[k, 0], corners[k, 1], corners[k, 2]
    bx, by, bz = corners[k, 3] - ax, corners[k, 4] - ay, corners[k, 5] - az
    cx, cy, cz = corners[k, 6] - ax, corners[k, 7] - ay, corners[k, 8] - az
    px, py, pz = px - ax, py - ay, pz - az
    bb, bc, cc = bx * bx + by * by + bz * bz, bx * cx + by * cy + bz * cz, cx * cx + cy * cy + cz * cz
    pb, pc = px * bx + py * by + pz * bz, px * cx + py * cy + pz * cz
    beside_b, beside_c = cc * pb - bc * pc, bb * pc - bc * pb
    area = bb * cc - bc * bc
    v, w = 0.0, 0.0
    if beside_b >= 0 and beside_c >= 0 and beside_b + beside_c <= area and area > 0:
        v, w = beside_b / area, beside_c / area
    else:
        # the best of the three edges
        v = min(max(pb / bb, 0.0), 1.0) if bb > 0 else 0.0
        dx, dy, dz = px - v * bx, py - v * by, pz - v * bz
        best = dx * dx + dy * dy + dz * dz
        t = min(max(pc / cc, 0.0), 1.0) if cc > 0 else 0.0
        dx, dy, dz = px - t * cx, py - t * cy, pz - t * cz
        here = dx * dx + dy * dy + dz * dz
        if here < best:
            best, v, w = here, 0.0, t
        edge = bb - 2 * bc + cc
        t = min(max((bb - bc - pb + pc) / edge, 0.0), 1.0) if edge > 0 else 0.0
        dx, dy, dz = px - bx - t * (cx - bx), py - by - t * (cy - by), pz - bz - t * (cz - bz)
        here = dx * dx + dy * dy + dz * dz
        if here < best:
            v, w = 1 - t, t
    dx, dy, dz = px - v * bx - w * cx, py - v * by - w * cy, pz - v * bz - w * cz
    return v, w, dx * dx + dy * dy + dz * dz


def nearest_on(points: Floats, triangles: Longs, vertices: Floats, faces: Ints) -> Near:
    """The closest points of one triangle each, `triangles` (k,) of a mesh (n, 3) and (t, 3), to points (k, 3).

    What a search in single precision found is so made a continuous function of the points.
    """
    corners = np.take(vertices, np.take(faces, triangles, axis=0), axis=0).reshape(-1, 9)
    points = np.ascontiguousarray(points, np.float64)
    near = Near(np.empty_like(points), triangles, np.empty_like(points), np.empty(len(points)))
    _on_own(points, np.ascontiguousarray(corners, np.float64), near.weights, near.distances, near.points)
    return near


@compiled("void(f8[:, ::1], f8[:, ::1], f8[:, ::1], f8[::1], f8[:, ::1])")
def _on_own(points: Floats, corners: Floats, weights: Floats, distances: Floats, found: Floats) -> None:
    """Fill weights (k, 3), distances (k,) and found (k, 3) of triangles `corners` (k, 9)."""
    for q in range(len(points)):
        v, w, square = _on_triangle(corners, q, points[q, 0], points[q, 1], points[q, 2])
        weights[q, 0], weights[q, 1], weights[q, 2] = 1 - v - w, v, w
        distances[q] = np.sqrt(square)
        for x in range(3):
            found[q, x] = (1 - v - w) * corners[q, x] + v * corners[q, 3 + x] + w * corners[q, 6 + x]


@compiled(
    "void(f8[:, ::1], f8, f8[::1], f8, i8[::1], i4[::1], u4[::1], f8[:, ::1], f8[:, ::1], i8[::1], "
    "i8[::1], f8[:, ::1], f8[::1], f8[:, ::1])"
)
def _search(
    points: Floats,
    reach: float,
    low: Floats,
    side: float,
    count: Longs,
    start: Ints,
    entry: NDArray[np.uint32],
    corners: Floats,
    box: Floats,
    triangle: Longs,
    triangles: Longs,
    weights: Floats,
    distances: Floats,
    found: Floats,
) -> None:
    """Fill what is within reach: triangles (k,), weights (k, 3), found (k, 3), distances (k,)."""
    seen = np.full(len(corners), -1, np.int32)
    place, begin, end = np.empty(3), np.empty(3, np.int64), np.empty(3, np.int64)
    before = 0
    for q in range(len(points)):
        place[0], place[1], place[2] = points[q, 0], points[q, 1], points[q, 2]
        if not np.isfinite(place[0] + place[1] + place[2]):
            continue
        # the triangle of the point before bounds the distance
        at, best = -1, reach * reach
        a, b, here = _on_triangle(corners, before, place[0], place[1], place[2])
        v, w = a, b
        seen[before] = q
        if here <= best:
            at, best = before, here
        radius = np.sqrt(best)
        for own in (True, False):
            look = 0.0 if own else radius
            for x in range(3):
                begin[x] = min(max(np.int64((place[x] - look - low[x]) / side), 0), count[x] - 1)
                end[x] = min(max(np.int64((place[x] + look - low[x]) / side), 0), count[x] - 1)
            for i in range(begin[0], end[0] + 1):
                for j in range(begin[1], end[1] + 1):
                    row = (i * count[1] + j) * count[2]
                    for e in range(start[row + begin[2]], start[row + end[2] + 1]):
                        k = entry[e]
                        if seen[k] == q:
                            continue
                        seen[k] = q
                        dx = max(box[k, 0] - place[0], place[0] - box[k, 3], 0.0)
                        dy = max(box[k, 1] - place[1], place[1] - box[k, 4], 0.0)
                        dz = max(box[k, 2] - place[2], place[2] - box[k, 5], 0.0)
                        if dx * dx + dy * dy + dz * dz > best:
                            continue
                        a, b, here = _on_triangle(corners, k, place[0], place[1], place[2])
                        if here < best or (here == best and at < 0):
                            at, best, v, w = k, here, a, b
                            radius = np.sqrt(best)
        if at < 0:
            continue
        before = at
        triangles[q], distances[q] = triangle[at], np.sqrt(best)
        weights[q, 0], weights[q, 1], weights[q, 2] = 1 - v - w, v, w
        for x in range(3):
            found[q, x] = (1 - v - w) * corners[at, x] + v * corners[at, 3 + x] + w * corners[at, 6 + x]
