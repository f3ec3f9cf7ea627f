"""Loops over a mesh whose vertices are displaced along its surface: projecting them, and taking folds back.

What folds is few triangles at a time, round after round: compiled, a round costs what it changes and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from scipy import sparse

from mimicme.pipeline.arrays import Floats, Ints, Longs
from mimicme.pipeline.geometry.normals import cross, sides
from mimicme.pipeline.geometry.triangle_grid import on_triangle
from mimicme.pipeline.numerics.compiled import compiled
from mimicme.stages.refine.walking import step_from

AROUND = "i4[::1], i4[::1], i4[::1], i4[::1]"
LEAST_KEPT = 0.1
"""A share of a displacement is halved down to this; then nothing is kept."""


class Around(NamedTuple):
    """What lies around each vertex: where its neighbours begin (V + 1,) and which they are, and the same of its
    triangles; int32."""

    ring_start: Ints
    ring: Ints
    triangle_start: Ints
    triangles: Ints

    @classmethod
    def of(cls, ring: sparse.csr_matrix, triangles: sparse.csr_matrix) -> Self:
        """Those of adjacency (V, V) and incidence (V, T)."""
        return cls(*(np.asarray(a, np.int32) for m in (ring, triangles) for a in (m.indptr, m.indices)))


class Sheet(NamedTuple):
    """A registered surface that vertices are displaced along.

    Attributes:
        vertices: (V, 3) mm; faces: (T, 3); across: of `triangles_across`; own: (V,) a triangle of each vertex.
        at_vertex: (V, 3) unit normals; normals: (T, 3), areas: (T,) of the triangles.
    """

    vertices: Floats
    faces: Ints
    across: Ints
    own: Ints
    at_vertex: Floats
    normals: Floats
    areas: Floats


WITHOUT_AREAS = "f8[:, ::1], i4[:, ::1], i4[:, ::1], i4[::1], f8[:, ::1], f8[:, ::1]"
SHEET = f"{WITHOUT_AREAS}, f8[::1]"
PLACES = "f8[:, ::1], i8[::1], f8[:, ::1]"


@compiled("b1(f8[:, ::1], i4[:, ::1], f8[::1], i8, f8, f8, f8, f8, f8)")
def _folded(
    vertices: Floats,
    faces: Ints,
    area: Floats,
    t: int,
    x: float,
    y: float,
    z: float,
    cosine: float,
    share: float,
) -> bool:
    """Whether a triangle, whose normal was (x, y, z), has turned by more than a cosine or has less than a share of its
    area (T,) left; one that had no normal has not."""
    if not x * x + y * y + z * z > 0:
        return False
    nx, ny, nz = cross(*sides(vertices, faces, t))
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    turned = (nx * x + ny * y + nz * z) / max(length, 1e-300)
    return turned < cosine or length / 2 < share * area[t]


@compiled(f"void({WITHOUT_AREAS}, f8, f8, i8, f8, f8, f8, f8[:, ::1], {PLACES})")
def _project(
    vertices: Floats,
    faces: Ints,
    across: Ints,
    own: Ints,
    at_vertex: Floats,
    normals: Floats,
    far: float,
    cosine: float,
    q: int,
    x: float,
    y: float,
    z: float,
    corner: Floats,
    places: Floats,
    triangles: Longs,
    weights: Floats,
) -> None:
    """Put a vertex that was displaced to (x, y, z) at a near place of the surface that faces its way: along its normal;
    where nothing is found there, the nearest place of the triangle where the walk ended.  See `displace`; corner: (1,
    9) to work in."""
    nx, ny, nz = at_vertex[q, 0], at_vertex[q, 1], at_vertex[q, 2]
    t, u, v, w, depth = step_from(vertices, faces, across, own[q], x, y, z, nx, ny, nz)
    if normals[t, 0] * nx + normals[t, 1] * ny + normals[t, 2] * nz > cosine:
        if abs(depth) <= far:
            places[q, 0], places[q, 1], places[q, 2] = x + depth * nx, y + depth * ny, z + depth * nz
        else:
            for c in range(3):
                for k in range(3):
                    corner[0, 3 * c + k] = vertices[faces[t, c], k]
            v, w, _ = on_triangle(corner, np.uint64(0), x, y, z)
            u = 1 - v - w
            for k in range(3):
                places[q, k] = u * corner[0, k] + v * corner[0, 3 + k] + w * corner[0, 6 + k]
        triangles[q] = t
        weights[q, 0], weights[q, 1], weights[q, 2] = u, v, w
    else:
        places[q, 0], places[q, 1], places[q, 2] = x, y, z
        triangles[q] = -1
        weights[q, 0], weights[q, 1], weights[q, 2] = 0.0, 0.0, 0.0


@compiled("i8(i4[:, ::1], i4[::1], i4[::1], i4[::1], i8, i8, i4[::1], i4[::1])")
def _nearby(
    faces: Ints,
    ring_start: Ints,
    ring: Ints,
    which: Ints,
    count: int,
    number: int,
    at_round: Ints,
    near: Ints,
) -> int:
    """Fill `near` with the corners of the first `count` triangles of `which` and their neighbours, each once, how many
    they are; `at_round` (V,) of each vertex when it was filled in last."""
    many = 0
    for k in range(count):
        for c in range(3):
            q = faces[which[k], c]
            for e in range(ring_start[q] - 1, ring_start[q + 1]):
                i = q if e < ring_start[q] else ring[e]
                if at_round[i] != number:
                    at_round[i] = number
                    near[many] = i
                    many += 1
    return many


@compiled(f"void({SHEET}, {AROUND}, f8[:, ::1], f8, f8, f8, f8, i8, {PLACES})")
def displace(
    vertices: Floats,
    faces: Ints,
    across: Ints,
    own: Ints,
    at_vertex: Floats,
    normals: Floats,
    areas: Floats,
    ring_start: Ints,
    ring: Ints,
    triangle_start: Ints,
    triangle: Ints,
    displacement: Floats,
    longest: float,
    far: float,
    cosine: float,
    share: float,
    rounds: int,
    places: Floats,
    triangles: Longs,
    weights: Floats,
) -> None:
    """Fill where vertices lie that are displaced along their surface, projected back onto it, folds smoothed out.

    Args:
        vertices to areas: of `Sheet`; ring_start to triangle: of `Around`.
        displacement: (V, 3) mm; longest: at most, mm.
        far: how far along their normals vertices look for the surface; cosine: least between the normals of a vertex
            and of its place, and of a triangle before and after; share: of its area that it keeps at least; rounds: of
            smoothing.
        places: (V, 3) filled with the vertices; triangles: (V,) with the triangle of each, -1 where it left the
            surface; weights: (V, 3) of its corners.
    """
    corner = np.empty((1, 9))
    for q in range(len(vertices)):
        x, y, z = displacement[q, 0], displacement[q, 1], displacement[q, 2]
        part = min(1.0, longest / max(np.sqrt(x * x + y * y + z * z), 1e-9))
        _project(
            vertices, faces, across, own, at_vertex, normals, far, cosine, q,
            vertices[q, 0] + part * x, vertices[q, 1] + part * y, vertices[q, 2] + part * z,
            corner, places, triangles, weights,
        )  # fmt: skip
    bad = np.empty(len(faces), np.int32)
    count = 0
    for t in range(len(faces)):
        if _folded(places, faces, areas, t, normals[t, 0], normals[t, 1], normals[t, 2], cosine, share):
            bad[count] = t
            count += 1
    near, mean = np.empty(len(vertices), np.int32), np.empty((len(vertices), 3))
    at_round, seen = np.full(len(vertices), -1, np.int32), np.full(len(faces), -1, np.int32)
    for number in range(rounds):
        if count == 0:
            break
        many = _nearby(faces, ring_start, ring, bad, count, number, at_round, near)
        for k in range(many):
            q = near[k]
            first, last = ring_start[q], ring_start[q + 1]
            x, y, z = 0.0, 0.0, 0.0
            for e in range(first, last):
                i = ring[e]
                x += places[i, 0] - vertices[i, 0]
                y += places[i, 1] - vertices[i, 1]
                z += places[i, 2] - vertices[i, 2]
            degree = max(last - first, 1)
            mean[k, 0], mean[k, 1], mean[k, 2] = x / degree, y / degree, z / degree
        for k in range(many):
            q = near[k]
            _project(
                vertices, faces, across, own, at_vertex, normals, far, cosine, q,
                vertices[q, 0] + mean[k, 0], vertices[q, 1] + mean[k, 1], vertices[q, 2] + mean[k, 2],
                corner, places, triangles, weights,
            )  # fmt: skip
        # all that were folded have moved
        count = 0
        for k in range(many):
            for e in range(triangle_start[near[k]], triangle_start[near[k] + 1]):
                t = triangle[e]
                if seen[t] == number:
                    continue
                seen[t] = number
                if _folded(
                    places, faces, areas, t, normals[t, 0], normals[t, 1], normals[t, 2], cosine, share
                ):
                    bad[count] = t
                    count += 1


@compiled("UniTuple(f8, 2)(f8[:, ::1], f8[:, ::1], f8[::1], i4[:, ::1], f8[:, ::1], f8[::1], i8)")
def _changed(
    before: Floats, after: Floats, share: Floats, faces: Ints, normals: Floats, areas: Floats, t: int
) -> tuple[float, float]:
    """Cosine to its normal, and share of its area, that a triangle has with vertices that keep a share (V,) of their
    way from `before` to `after` (V, 3); one that had no area cannot lose any."""
    if not areas[t] > 1e-12:
        return 1.0, 1.0
    a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
    ax = before[a, 0] + share[a] * (after[a, 0] - before[a, 0])
    ay = before[a, 1] + share[a] * (after[a, 1] - before[a, 1])
    az = before[a, 2] + share[a] * (after[a, 2] - before[a, 2])
    ux = before[b, 0] + share[b] * (after[b, 0] - before[b, 0]) - ax
    uy = before[b, 1] + share[b] * (after[b, 1] - before[b, 1]) - ay
    uz = before[b, 2] + share[b] * (after[b, 2] - before[b, 2]) - az
    vx = before[c, 0] + share[c] * (after[c, 0] - before[c, 0]) - ax
    vy = before[c, 1] + share[c] * (after[c, 1] - before[c, 1]) - ay
    vz = before[c, 2] + share[c] * (after[c, 2] - before[c, 2]) - az
    nx, ny, nz = cross(ux, uy, uz, vx, vy, vz)
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    along = nx * normals[t, 0] + ny * normals[t, 1] + nz * normals[t, 2]
    return along / max(length, 1e-300), length / 2 / areas[t]


@compiled("i8(f8[:, ::1], f8[:, ::1], i4[::1], i4[::1], f8, i8, i8, f8[::1], i4[::1], i4[::1], i4[::1])")
def _taper(
    before: Floats,
    after: Floats,
    ring_start: Ints,
    ring: Ints,
    slope: float,
    many: int,
    number: int,
    share: Floats,
    at_round: Ints,
    changed: Ints,
    waiting: Ints,
) -> int:
    """Let displacements rise from vertices that keep less of them by no more than a slope, mm a mm of the way; how many
    vertices have changed.

    An abrupt end would push the triangles there into each other, which would take back the displacement of the next
    ring, and so on over all that moved.

    Args:
        many: vertices of `changed` whose share was lowered, and begins; number: of the round.
        share: (V,) lowered; at_round: (V,) of each vertex when it entered `changed` last; changed: (V,) grows;
            waiting: (V,) to work in, a ring buffer.
    """
    size = len(waiting)
    inside = np.zeros(size, np.bool_)
    head, count = 0, many
    for k in range(many):
        waiting[k] = changed[k]
        inside[changed[k]] = True
    while count > 0:
        i = waiting[head]
        head = (head + 1) % size
        count -= 1
        inside[i] = False
        for e in range(ring_start[i], ring_start[i + 1]):
            j = ring[e]
            if share[j] <= share[i]:
                continue
            edge, way = 0.0, 0.0
            for x in range(3):
                edge += (before[i, x] - before[j, x]) ** 2
                way += (after[j, x] - before[j, x]) ** 2
            most = share[i] + slope * np.sqrt(edge) / max(np.sqrt(way), 1e-9)
            if share[j] > most:
                share[j] = most
                if at_round[j] != number:
                    at_round[j] = number
                    changed[many] = j
                    many += 1
                if not inside[j]:
                    inside[j] = True
                    waiting[(head + count) % size] = j
                    count += 1
    return many


@compiled(
    f"void(f8[:, ::1], f8[:, ::1], i4[:, ::1], f8[:, ::1], f8[::1], {AROUND}, f8, f8, f8, f8, f8, i8, f8[::1])"
)
def keep_shares(
    before: Floats,
    after: Floats,
    faces: Ints,
    normals: Floats,
    areas: Floats,
    ring_start: Ints,
    ring: Ints,
    triangle_start: Ints,
    triangle: Ints,
    keep_cosine: float,
    reset_cosine: float,
    keep_area: float,
    least_area: float,
    slope: float,
    rounds: int,
    share: Floats,
) -> None:
    """Fill the share (V,) of their way from `before` to `after` (V, 3) that vertices keep, so that no triangle flips.

    The more a triangle has turned, the less its corners keep; corners of those that turn too far all the same keep half
    as much, round after round, in the end nothing.  Around them the displacement rises by no more than a slope.

    Args:
        normals, areas: (T, 3) and (T,) of the triangles before; ring_start to triangle: of `Around`.
        keep_cosine, reset_cosine: cosine of the turn up to which a triangle keeps its displacement whole, and from
            which it keeps none; keep_area, least_area: the same of the share of its area; slope: of the displacement
            that is kept, mm a mm; rounds: at most.
    """
    share[:] = 1.0
    least = np.ones(len(before))
    for t in range(len(faces)):
        cosine, size = _changed(before, after, share, faces, normals, areas, t)
        each = min(max((cosine - reset_cosine) / (keep_cosine - reset_cosine), 0.0), 1.0)
        each *= min(max((size - least_area) / (keep_area - least_area), 0.0), 1.0)
        for c in range(3):
            least[faces[t, c]] = min(least[faces[t, c]], each)
    near, waiting = np.empty(len(before), np.int32), np.empty(len(before), np.int32)
    at_round, seen = np.full(len(before), -1, np.int32), np.full(len(faces), -1, np.int32)
    many = 0
    for q in range(len(before)):
        total = least[q]
        for e in range(ring_start[q], ring_start[q + 1]):
            total += least[ring[e]]
        share[q] = min(least[q], total / (1 + ring_start[q + 1] - ring_start[q]))
        if share[q] < 1:
            near[many] = q
            many += 1
            at_round[q] = 0
    bad = np.empty(len(faces), np.int32)
    for number in range(rounds + 1):
        many = _taper(before, after, ring_start, ring, slope, many, number, share, at_round, near, waiting)
        # all that have changed are looked at again
        count = 0
        for k in range(many):
            for e in range(triangle_start[near[k]], triangle_start[near[k] + 1]):
                t = triangle[e]
                if seen[t] == number:
                    continue
                seen[t] = number
                cosine, size = _changed(before, after, share, faces, normals, areas, t)
                if cosine < reset_cosine or size < least_area:
                    bad[count] = t
                    count += 1
        many = 0
        for k in range(count):
            for c in range(3):
                q = faces[bad[k], c]
                if at_round[q] != number + 1:
                    at_round[q] = number + 1
                    near[many] = q
                    many += 1
                    share[q] = share[q] / 2 if share[q] > LEAST_KEPT else 0.0
        if many == 0:
            break
