"""Closest points on a triangle mesh that is near: a uniform grid of the triangles' boxes.

For many points that mostly lie within a triangle's size of the surface, as those of a template that is nearly
registered: a bounding volume hierarchy, Open3D's, takes a hundred boxes to come down to each, the grid one cell.  What
is farther than the reach is not looked for, so that nothing beyond the points' own surroundings needs cells.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.numerics.compiled import compiled

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


REMEMBERED = 1000
"""From so many points on a query is remembered, in case it is made again when they have moved a little."""


class _Cells(NamedTuple):
    """The grid, of the triangles that reach into it.

    Attributes:
        low, high: (3,) its box; side: of a cell; shape: (3,) cells along each axis.
        start, entry: which triangles each cell has, of `corners` (t, 9); box: (t, 6) least and most of each;
            triangle: (t,) of the mesh; found: which triangle, of `corners`, each point of an earlier query was nearest
            to, -1 to none, by how many points there were.
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
    found: dict[int, NDArray[np.int32]]


class TriangleGrid:
    """A triangle mesh ready for closest-point queries from nearby.

    Args:
        vertices: (n, 3); faces: (t, 3).
    """

    def __init__(self, vertices: Floats, faces: Ints) -> None:
        self._vertices, self._faces = np.asarray(vertices, np.float64), faces
        self._cells: _Cells | None = None

    def closest(self, points: Floats, reach: float) -> Near:
        """Closest points within `reach` of points (k, 3); quickest when neighbours come one after the other, and when
        so many points were asked for before, which have moved a little since: a fit asks again and again."""
        points = np.ascontiguousarray(points, np.float64)
        count = len(points)
        near = Near(points.copy(), np.full(count, -1, np.int64), np.zeros((count, 3)), np.full(count, np.inf))
        low, high = np.empty(3), np.empty(3)
        if not _bounds(points, low, high) or not len(self._faces):
            return near
        low, high = low - reach, high + reach
        cells = self._cells
        if cells is None or (low < cells.low).any() or (high > cells.high).any():
            cells = self._cells = _grid(
                self._vertices, self._faces, low - MARGIN * reach, high + MARGIN * reach
            )
        if len(cells.triangle):
            found = cells.found.get(count)
            if found is None:
                found = np.full(count, -1, np.int32)
                if count >= REMEMBERED:
                    cells.found[count] = found
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
                found,
                near.triangles,
                near.weights,
                near.distances,
                near.points,
            )
        return near


def _grid(vertices: Floats, faces: Ints, low: Floats, high: Floats) -> _Cells:
    mine, corners, box = np.empty(len(faces), np.int64), np.empty((len(faces), 9)), np.empty((len(faces), 6))
    kept, total = _boxes(vertices, np.ascontiguousarray(faces, np.int32), low, high, mine, corners, box)
    if kept < len(faces):  # not to keep the room of all
        mine, corners, box = mine[:kept].copy(), corners[:kept].copy(), box[:kept].copy()
    size = total / (3 * kept) if kept else 0.0
    side = max(CELL_TRIANGLES * size, float((high - low).max()) / 1000, 1e-9)
    first, last = np.empty((kept, 3), np.int32), np.empty((kept, 3), np.int32)
    while True:
        count = np.floor((high - low) / side).astype(np.int64) + 1
        if count.prod() <= MOST_CELLS:
            entries = _ranges(box, low, side, count, first, last)
            if entries <= MOST_ENTRIES * max(kept, 1):
                break
        side *= 1.5
    start = np.zeros(int(count.prod()) + 1, np.int32)
    # unsigned: see register/kernels.py
    entry = np.empty(entries, np.uint32)
    _enter(first, last, count, start, entry)
    return _Cells(low, high, side, count, start, entry, corners, box, mine, {})


@compiled("b1(f8[:, ::1], f8[::1], f8[::1])")
def _bounds(points: Floats, low: Floats, high: Floats) -> bool:
    """Fill the box of those of points (k, 3) that are finite; whether there are any."""
    some = False
    low[:], high[:] = np.inf, -np.inf
    for q in range(len(points)):
        if not np.isfinite(points[q, 0] + points[q, 1] + points[q, 2]):
            continue
        some = True
        for x in range(3):
            low[x], high[x] = min(low[x], points[q, x]), max(high[x], points[q, x])
    return some


@compiled("Tuple((i8, f8))(f8[:, ::1], i4[:, ::1], f8[::1], f8[::1], i8[::1], f8[:, ::1], f8[:, ::1])")
def _boxes(
    vertices: Floats, faces: Ints, low: Floats, high: Floats, mine: Longs, corners: Floats, box: Floats
) -> tuple[int, float]:
    """Fill the first rows with the triangles that reach into a box: their indices (t,), corners (t, 9), least and most
    of each (t, 6); how many they are, and the sum of the sides of their boxes."""
    kept, total = 0, 0.0
    for t in range(len(faces)):
        inside = True
        for x in range(3):
            a, b, c = vertices[faces[t, 0], x], vertices[faces[t, 1], x], vertices[faces[t, 2], x]
            least, most = min(a, b, c), max(a, b, c)
            # what is no number is nowhere
            inside = inside and least <= high[x] and most >= low[x] and np.isfinite(a + b + c)
            corners[kept, x], corners[kept, 3 + x], corners[kept, 6 + x] = a, b, c
            box[kept, x], box[kept, 3 + x] = least, most
        if not inside:
            continue
        mine[kept] = t
        for x in range(3):
            total += box[kept, 3 + x] - box[kept, x]
        kept += 1
    return kept, total


@compiled("i8(f8[:, ::1], f8[::1], f8, i8[::1], i4[:, ::1], i4[:, ::1])")
def _ranges(box: Floats, low: Floats, side: float, count: Longs, first: Ints, last: Ints) -> int:
    """Fill the first and the last cell (t, 3) of each triangle along each axis; how many cells they have together."""
    entries = 0
    for t in range(len(box)):
        cells = 1
        for x in range(3):
            first[t, x] = min(max(np.int64(np.floor((box[t, x] - low[x]) / side)), 0), count[x] - 1)
            last[t, x] = min(max(np.int64(np.floor((box[t, 3 + x] - low[x]) / side)), 0), count[x] - 1)
            cells *= last[t, x] - first[t, x] + 1
        entries += cells
    return entries


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
def on_triangle(
    corners: Floats, k: int | np.unsignedinteger[Any], px: float, py: float, pz: float
) -> tuple[float, float, float]:
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
        v, w, square = on_triangle(corners, q, points[q, 0], points[q, 1], points[q, 2])
        weights[q, 0], weights[q, 1], weights[q, 2] = 1 - v - w, v, w
        distances[q] = np.sqrt(square)
        for x in range(3):
            found[q, x] = (1 - v - w) * corners[q, x] + v * corners[q, 3 + x] + w * corners[q, 6 + x]


@compiled("UniTuple(i8, 2)(f8, f8, f8, i8)")
def _cells_of(place: float, radius: float, per_mm: float, count: int) -> tuple[int, int]:
    """The first and the last of `count` cells along an axis that lie within a radius of a place."""
    first = min(max(int((place - radius) * per_mm), 0), count - 1)
    return first, min(max(int((place + radius) * per_mm), 0), count - 1)


@compiled("f8(f8, i8, f8)")
def _aside(place: float, cell: int, side: float) -> float:
    """How far a place lies beside a cell along an axis, 0 in it."""
    return max(cell * side - place, place - (cell + 1) * side, 0.0)


@compiled(
    "void(f8[:, ::1], f8, f8[::1], f8, i8[::1], i4[::1], u4[::1], f8[:, ::1], f8[:, ::1], i8[::1], i4[::1], "
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
    known: Ints,
    triangles: Longs,
    weights: Floats,
    distances: Floats,
    found: Floats,
) -> None:
    """Fill what is within reach: triangles (k,), weights (k, 3), found (k, 3), distances (k,).

    Args:
        known: (k,) triangles of `corners` that each point was nearest to before it moved, -1 where that is not known;
            those of now are put in their places.
    """
    seen = np.full(len(corners), -1, np.int32)
    per_mm = 1 / side
    before = np.uint32(0)
    for q in range(len(points)):
        x, y, z = points[q, 0], points[q, 1], points[q, 2]
        if not np.isfinite(x + y + z):
            continue
        # the triangle that it was nearest to, else that of the point before, bounds the distance
        guess = np.uint32(known[q]) if known[q] >= 0 else before
        at, best = np.int64(-1), reach * reach
        v, w, here = on_triangle(corners, guess, x, y, z)
        seen[guess] = q
        if here <= best:
            at, best = np.int64(guess), here
        for own in (True, False):
            if own and best < side * side:  # few cells are near enough in any case
                continue
            radius = 0.0 if own else np.sqrt(best)
            i_low, i_high = _cells_of(x - low[0], radius, per_mm, count[0])
            j_low, j_high = _cells_of(y - low[1], radius, per_mm, count[1])
            k_low, k_high = _cells_of(z - low[2], radius, per_mm, count[2])
            for i in range(i_low, i_high + 1):
                aside = _aside(x - low[0], i, side)
                for j in range(j_low, j_high + 1):
                    above = _aside(y - low[1], j, side)
                    if aside * aside + above * above > best:
                        continue
                    row = (i * count[1] + j) * count[2]
                    for e in range(start[np.uint64(row + k_low)], start[np.uint64(row + k_high + 1)]):
                        k = entry[np.uint64(e)]
                        if seen[k] == q:
                            continue
                        seen[k] = q
                        dx = max(box[k, 0] - x, x - box[k, 3], 0.0)
                        dy = max(box[k, 1] - y, y - box[k, 4], 0.0)
                        dz = max(box[k, 2] - z, z - box[k, 5], 0.0)
                        if dx * dx + dy * dy + dz * dz > best:
                            continue
                        a, b, here = on_triangle(corners, k, x, y, z)
                        if here < best or (here == best and at < 0):
                            at, best, v, w = np.int64(k), here, a, b
        known[q] = at
        if at < 0:
            continue
        before = np.uint32(at)
        triangles[q], distances[q] = triangle[before], np.sqrt(best)
        weights[q, 0], weights[q, 1], weights[q, 2] = 1 - v - w, v, w
        for c in range(3):
            found[q, c] = (
                (1 - v - w) * corners[before, c] + v * corners[before, 3 + c] + w * corners[before, 6 + c]
            )
