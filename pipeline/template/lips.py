"""Closed lips: where the scan shows one surface across both, the two lips of the mesh are drawn together.

A closed mouth is scanned as one surface with a crease.  Each lip of the template finds skin to lie on there, and
nothing tells it that the other lip is where its own should end: what the stiffness resists is left as a slit.  So
points of the two lips that touch, or nearly do, on the template are paired, and where the scan goes on between the
two of a pair they attract each other, as landmarks do.  Where it does not - an open mouth, teeth, a tongue that is
out - nothing attracts; that two lips do not cross is the business of the registration's contacts.  What the fit leaves
between lips that touch is closed in the end (`sealed`), and again by who moves vertices after it (`kept_sealed`).

The points are the vertices of a fine mesh.  A coarse one has few along its lips, and between them nothing would say
whether they are closed: there they are also points inside its triangles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import edges, triangle_normals, vertex_areas, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.geometry.triangle_grid import nearest_on
from mimicme.pipeline.landmarks import N_LANDMARKS
from mimicme.pipeline.template import Template

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

UPPER, LOWER = (50, 51, 52, 61, 62, 63), (56, 57, 58, 65, 66, 67)
"""Landmarks (iBUG-68) in the middle of each lip."""
PATCH_MM = 20.0
"""How far from the lips' middles, along the surface, the two are told apart: beyond the corners of a wide mouth."""
SHEET_MM = 10.0
"""How far from the line of contact a lip reaches; what is farther is no other lip's closest point."""
SAME_SKIN = 0.5
"""Cosine between the normals of a vertex and of the other lip where it is nearest, from which on they are one skin."""
BAND_MM, WINDOW_MM = 0.3, 2.5
"""A point belongs to the line of contact when its distance to the other lip is within `BAND_MM` of the least within
`WINDOW_MM` around it; and points of one lip are no farther apart than that."""
STRETCH_MM, LEAST_CLOSED = 12.0, 0.9
"""Lips are closed where this share of the line within this distance is: at the corners of an open mouth they are
never far apart."""
AROUND_MM = 8.0
"""Over what radius the direction out of the face is averaged."""
GAP_MM = 0.2
"""What is left between two lips that touch, so that they do not cross."""
SEAL_MM = 0.04
"""What is left in the end, where the fit's own gap would be seen as a line of light."""
SEAL_NEAR_MM, SEAL_LATERAL_MM = 0.8, 0.3
"""Points of two lips so near to each other, and so nearly opposite, are sealed; the fit has brought them there."""
SEAL_AROUND_MM, SEAL_REACH_MM = 2.5, 2.5
"""Lips move by what their nearest points within the first need; skin within the second of them goes along."""
SEAL_ROUNDS = 4
KEPT_MM, LEAST_KEPT = 0.15, 0.5
"""Lips were sealed where so much of the line of contact within `STRETCH_MM` is so near to the other lip."""
OPPOSITE_MM, RAY_OFFSET_MM = 15.0, 0.02
FARTHEST_MM = 5.0
"""Lips farther apart than this are left to landmarks and surface."""
LOOK_FROM_MM = 12.0
BESIDE_MM = 0.5
"""A scanner may lose the crease itself: a gap in the scan narrower than twice this is taken for closed lips."""
IN_FRONT_MM, BEHIND_MM = 3.0, 0.7
"""How far in front of a pair's middle, beyond what the template's own lips do at rest, and behind it, the scan's
surface may lie to be the lips' own: teeth lie farther behind, a tongue before them."""
MOST_PARTS = 16
"""Parts that an edge is cut into at most, however long: a triangle of 40 mm is no lip's."""


class Sheet(NamedTuple):
    """One lip as a mesh of its own: triangles (t, 3) of the template; the vertices (n,) that they use, and the same
    triangles (t, 3) of these."""

    faces: Ints
    used: NDArray[np.int64]
    flat: Ints

    @classmethod
    def of(cls, faces: Ints) -> Self:
        """That of some of a template's triangles."""
        used, flat = np.unique(faces, return_inverse=True)
        return cls(faces, used.astype(np.int64), flat.reshape(-1, 3).astype(np.int32))


@dataclass(frozen=True)
class Lips:
    """The two lips of a template.

    Attributes:
        line: (k, V) barycentric rows of points on the line of contact, those of the upper lip first; upper: how many
            are of the upper.
        faces: the triangles of the upper and of the lower lip, (t, 3) each.
        around: (k, V) rows that sum the normals around each point.
        along: (k, k) rows that take the mean over the line around each point.
        areas: (k,) mm^2.
        at_rest: (k, V) rows that take the closest point of the other lip from each point, on the template.
        depth: (k,) mm, how far between the lips of the template a pair lies.
    """

    line: sparse.csr_matrix
    upper: int
    faces: tuple[Ints, Ints]
    around: sparse.csr_matrix
    along: sparse.csr_matrix
    areas: Floats
    at_rest: sparse.csr_matrix
    depth: Floats

    @cached_property
    def sheets(self) -> tuple[Sheet, Sheet]:
        """The two lips as meshes of their own."""
        upper, lower = map(Sheet.of, self.faces)
        return upper, lower

    def attraction(
        self, vertices: Floats, normals: Floats, scan: Surface
    ) -> tuple[sparse.csr_matrix, Floats, Floats]:
        """Rows (k, V), the points (k, 3) that they should give, mm, and (k,) areas, mm^2, 0 where nothing attracts.

        A row is a point less the closest one of the other lip.

        Args:
            vertices, normals: (V, 3) of the mesh; scan: in the same frame.
        """
        rows, closest, facing = _pairs(vertices, normals, self.line, self.upper, self.sheets)
        closed = self._closed(vertices, normals, closest, scan)
        return rows, GAP_MM * facing, np.where(closed, self.areas, 0.0)

    def sealed(self, vertices: Floats, normals: Floats, scan: Surface) -> Floats:
        """(V, 3) with the gap that the fit leaves between lips that touch closed to `SEAL_MM`, and where they have
        passed each other opened to it.

        The fit holds points of both lips apart by `GAP_MM`, more or less, and between these points nothing: from
        the front it is seen as dashes of light.  Here both sheets move, each by a half, and the skin beside them goes
        along less and less.

        Args: as of `attraction`.
        """
        closest = _other_lip(vertices, normals, self.line, self.upper, self.sheets).points
        return self._sealed(vertices, normals, self._closed(vertices, normals, closest, scan))

    def kept_sealed(self, before: Floats, after: Floats, faces: Ints) -> Floats:
        """`after` (V, 3), where lips that were sealed in `before` (V, 3) are sealed again; mm, canonical frame.

        Args:
            faces: (t, 3) of the template.
        """
        normals = vertex_normals(before, faces)
        closest = _other_lip(before, normals, self.line, self.upper, self.sheets).points
        touches = np.linalg.norm(self.line @ before - closest, axis=1) < KEPT_MM
        closed = np.asarray(touches & (self.along @ touches >= LEAST_KEPT))
        return self._sealed(after, vertex_normals(after, faces), closed) if closed.any() else after

    def _sealed(self, vertices: Floats, normals: Floats, closed: Bools) -> Floats:
        """See `sealed`; `closed` (k,) of the line of contact."""
        from scipy.spatial import cKDTree

        if not closed.any():
            return vertices
        place = self.line @ vertices
        line, shut = cKDTree(place), cKDTree(place[closed])
        lips = [sheet.used for sheet in self.sheets]
        away = [shut.query(vertices[lip], distance_upper_bound=SEAL_REACH_MM)[0] for lip in lips]
        mine = [lip[np.isfinite(far)] for lip, far in zip(lips, away, strict=True)]
        both, upper = np.concatenate(mine), len(mine[0])
        if not upper or upper == len(both):
            return vertices
        # the ends of a closed stretch give way to what is open beside them
        share = _nearness(vertices[both], shut) / np.maximum(_nearness(vertices[both], line), 1e-9)
        far = np.concatenate(away)
        share *= _fading(far[np.isfinite(far)])
        skirts = [
            _skirt(vertices, lip, part) for lip, part in zip(lips, (both[:upper], both[upper:]), strict=True)
        ]
        seam = cKDTree(vertices[both])
        pairs = seam.sparse_distance_matrix(seam, SEAL_AROUND_MM, output_type="ndarray")
        # nothing here jumps with a distance: rounding must not say how lips are sealed
        beyond = SEAL_NEAR_MM * np.maximum(2 * pairs["v"] / SEAL_AROUND_MM - 1, 0)
        found, itself = vertices.copy(), _rows_of(both, len(vertices))
        for _ in range(SEAL_ROUNDS):
            met = _other_lip(found, normals, itself, upper, self.sheets)
            facing = met.facing
            apart = found[both] - met.points
            gap = (apart * facing).sum(axis=1)
            beside = np.linalg.norm(apart - gap[:, None] * facing, axis=1)
            gap += SEAL_NEAR_MM * np.maximum(beside / SEAL_LATERAL_MM - 1, 0)
            gap += SEAL_NEAR_MM * np.maximum(4 * (facing * normals[both]).sum(axis=1), 0)
            least = np.full(len(both), np.inf)
            np.minimum.at(least, pairs["i"], gap[pairs["j"]] + beyond)
            need = least - SEAL_MM
            need = np.sign(need) * np.minimum(np.abs(need), np.maximum(SEAL_NEAR_MM - np.abs(need), 0))
            step = -0.5 * (share * need)[:, None] * facing
            for (index, rows), part in zip(skirts, (slice(0, upper), slice(upper, None)), strict=True):
                found[index] += rows @ step[part]
        return found

    def _closed(self, vertices: Floats, normals: Floats, closest: Floats, scan: Surface) -> Bools:
        """(k,) True where the lips are closed on the scan, of a line of contact whose closest points are (k, 3)."""
        place = self.line @ vertices
        apart = place - closest
        distance = np.linalg.norm(apart, axis=1)
        before = _before(scan, (place + closest) / 2, apart, _outwards(self.around, normals))
        closed = (distance < FARTHEST_MM) & (before > -BEHIND_MM) & (before < IN_FRONT_MM + self.depth)
        return np.asarray(closed & (self.along @ closed >= LEAST_CLOSED))


def _fading(away: Floats) -> Floats:
    """1 at a distance of 0, 0 from `SEAL_REACH_MM` on, without a kink."""
    t = np.clip(1 - away / SEAL_REACH_MM, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _nearness(points: Floats, to: cKDTree) -> Floats:
    """(k,) how many points of a tree lie near to each, less and less with their distance."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(points).sparse_distance_matrix(to, SEAL_REACH_MM, output_type="ndarray")
    return np.asarray(np.bincount(pairs["i"], _fading(pairs["v"]), len(points)), np.float64)


def _skirt(
    vertices: Floats, lip: NDArray[np.int64], seam: NDArray[np.int64]
) -> tuple[NDArray[np.int64], sparse.csr_matrix]:
    """Vertices (m,) of a lip within `SEAL_REACH_MM` of its part of a seam (k,), and rows (m, k) that carry a movement
    of the seam to them, less and less."""
    from scipy.spatial import cKDTree

    there = cKDTree(vertices[seam])
    away = there.query(vertices[lip], distance_upper_bound=SEAL_REACH_MM)[0]
    index = lip[np.isfinite(away)]
    pairs = cKDTree(vertices[index]).sparse_distance_matrix(there, SEAL_REACH_MM, output_type="ndarray")
    weights = np.exp(-((4 * pairs["v"] / SEAL_AROUND_MM) ** 2))
    rows = sparse.csr_matrix((weights, (pairs["i"], pairs["j"])), shape=(len(index), len(seam)))
    total = np.asarray(rows.sum(axis=1)).ravel()
    return index, (sparse.diags(_fading(away[np.isfinite(away)]) / np.maximum(total, 1e-300)) @ rows).tocsr()


class _Met(NamedTuple):
    """Places on the other lip: corners (k, 3) of their triangles and weights (k, 3), points (k, 3), normals (k, 3)."""

    corners: NDArray[np.int64]
    weights: Floats
    points: Floats
    facing: Floats


def _other_lip(
    vertices: Floats, normals: Floats, line: sparse.csr_matrix, upper: int, sheets: tuple[Sheet, Sheet]
) -> _Met:
    """The closest point of the other lip from each point of the line of contact; arguments as in `Lips`.

    The normal is interpolated: the closest point is often an edge's or a vertex's, where which of the triangles it is
    on, and so a triangle's own normal, is rounding's choice.
    """
    count = line.shape[0]
    place = line @ vertices
    closest, facing = np.empty((count, 3)), np.empty((count, 3))
    corners, weights = np.empty((count, 3), np.int64), np.empty((count, 3))
    for mine, sheet in ((slice(0, upper), sheets[1]), (slice(upper, None), sheets[0])):
        surface = Surface(np.take(vertices, sheet.used, axis=0), sheet.flat)
        found = nearest_on(place[mine], surface.closest(place[mine]).triangles, vertices, sheet.faces)
        closest[mine], weights[mine] = found.points, found.weights
        corners[mine] = sheet.faces[found.triangles]
        facing[mine] = np.einsum("kc,kcx->kx", found.weights, normals[corners[mine]])
    facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-9)
    return _Met(corners, weights, closest, facing)


def _pairs(
    vertices: Floats, normals: Floats, line: sparse.csr_matrix, upper: int, sheets: tuple[Sheet, Sheet]
) -> tuple[sparse.csr_matrix, Floats, Floats]:
    """Rows (k, V) that take what `_other_lip` found from each point of the line of contact, that point (k, 3), and the
    normal (k, 3) there."""
    met = _other_lip(vertices, normals, line, upper, sheets)
    starts = np.arange(0, met.corners.size + 1, 3)
    rows = sparse.csr_matrix((met.weights.ravel(), met.corners.ravel(), starts), shape=line.shape)
    rows.sum_duplicates()
    return (line - rows).tocsr(), met.points, met.facing


def _before(
    scan: Surface, middle: Floats, apart: Floats, outwards: Floats, beside_mm: float | Floats = BESIDE_MM
) -> Floats:
    """(k,) mm, how far a surface lies before the middle (k, 3) of a pair, seen from outside, -inf where there is none.

    Args:
        apart: (k, 3) from one of the pair to the other; outwards: (k, 3) unit; beside_mm: how far above and below the
            middle is looked as well, one number or (k, 1).
    """
    across = apart - (apart * outwards).sum(axis=1, keepdims=True) * outwards
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    depth = np.full(len(middle), -np.inf)
    for side in (-1, 0, 1):
        hit = scan.cast(middle + side * beside_mm * across + LOOK_FROM_MM * outwards, -outwards)
        depth = np.maximum(depth, np.where(hit.hit, LOOK_FROM_MM - hit.distances, -np.inf))
    return depth


def find_lips(
    vertices: Floats,
    faces: Ints,
    normals: Floats,
    areas: Floats,
    landmarks: sparse.csr_matrix,
    opposite: NDArray[np.int64],
) -> Lips | None:
    """The lips of a template; None where it has no slit between them.

    Args:
        vertices, normals: (V, 3); faces: (T, 3); areas: (V,) mm^2; landmarks: (68, V) barycentric rows.
        opposite: vertices that face another part of the surface, see `opposite`.
    """
    facing = np.zeros(len(vertices), bool)
    facing[opposite] = True
    lips = _around_landmarks(vertices, faces, landmarks)
    sides = [np.asarray(faces[lip[faces].all(axis=1)], np.int32) for lip in lips]
    if not all(map(len, sides)):
        return None
    found = _facing_points(vertices, faces, lips, sides, facing)
    if found is None or not found[0].shape[0]:
        return None
    line, upper, line_area = found
    # beyond a corner the two are one piece of skin, which touches itself everywhere
    whole = Sheet.of(sides[0]), Sheet.of(sides[1])
    facing_other = _other_lip(vertices, normals, line, upper, whole).facing
    slit = (facing_other * _unit(line @ normals)).sum(axis=1) < SAME_SKIN
    upper, line, line_area = int(slit[:upper].sum()), line[slit], line_area[slit]
    if not upper or upper == line.shape[0]:
        return None
    return _lips_along(vertices, faces, normals, areas, line, upper, line_area, sides)


def _around_landmarks(vertices: Floats, faces: Ints, landmarks: sparse.csr_matrix) -> tuple[Bools, Bools]:
    """(V,) True on the upper and on the lower lip: nearer to its landmarks, along the surface, than to the other's."""
    from scipy.sparse.csgraph import dijkstra

    pairs = edges(faces)[0]
    length = np.maximum(np.linalg.norm(vertices[pairs[:, 0]] - vertices[pairs[:, 1]], axis=1), 1e-9)
    graph = sparse.csr_matrix((length, (pairs[:, 0], pairs[:, 1])), shape=(len(vertices),) * 2)
    to_upper, to_lower = (
        dijkstra(
            graph,
            directed=False,
            indices=np.unique(landmarks[list(lip)].indices),
            min_only=True,
            limit=2 * PATCH_MM,
        )
        for lip in (UPPER, LOWER)
    )
    return (to_upper < to_lower) & (to_upper < PATCH_MM), (to_lower < to_upper) & (to_lower < PATCH_MM)


def _facing_points(
    vertices: Floats, faces: Ints, lips: tuple[Bools, Bools], sides: Sequence[Ints], facing: Bools
) -> tuple[sparse.csr_matrix, int, Floats] | None:
    """Points (n, V), barycentric, of both lips where they are nearest to the other one, how many of them are the upper
    lip's, and the areas (n,), mm^2, that they stand for; None where a lip faces nothing.

    Args:
        lips: (V,) of each lip; sides: its triangles (t, 3).
        facing: (V,) True where a vertex faces another part of the surface.
    """
    from scipy.spatial import cKDTree

    points, point_areas = _sampled(vertices, faces[(lips[0] | lips[1])[faces].any(axis=1)])
    places, of_facing = points @ vertices, (points @ facing) > 0
    lines, line_areas = [], []
    for lip, other in ((lips[0], sides[1]), (lips[1], sides[0])):
        # all of its corners are the lip's
        mine = np.flatnonzero(((points @ lip) > 1 - 1e-9) & of_facing)
        if not len(mine):
            return None
        gap = Surface(vertices, other).distance(places[mine])
        near = cKDTree(places[mine]).query_ball_point(places[mine], WINDOW_MM)
        least = np.array([gap[those].min() for those in near])
        on_line = (gap <= least + BAND_MM) & (gap < FARTHEST_MM)
        lines.append(points[mine[on_line]])
        line_areas.append(point_areas[mine[on_line]])
    return sparse.vstack(lines, format="csr"), lines[0].shape[0], np.concatenate(line_areas)


def _lips_along(
    vertices: Floats,
    faces: Ints,
    normals: Floats,
    areas: Floats,
    line: sparse.csr_matrix,
    upper: int,
    line_area: Floats,
    sides: Sequence[Ints],
) -> Lips:
    """The lips about the points of the slit between them, as `_facing_points` has these."""
    from scipy.spatial import cKDTree

    place = line @ vertices
    at_line = np.isfinite(cKDTree(place).query(vertices, distance_upper_bound=SHEET_MM)[0])
    sheets = (sides[0][at_line[sides[0]].any(axis=1)], sides[1][at_line[sides[1]].any(axis=1)])
    around = cKDTree(vertices).query_ball_point(place, AROUND_MM)
    rows = np.repeat(np.arange(len(place)), [len(those) for those in around])
    columns = np.concatenate([np.sort(those) for those in around]).astype(np.int64)
    # the inside of a lip faces backwards and says nothing about where out is
    outer = normals[columns, 2] > 0
    matrix = sparse.csr_matrix((areas[columns] * outer, (rows, columns)), shape=line.shape)
    near = cKDTree(place).sparse_distance_matrix(cKDTree(place), STRETCH_MM).tocsr()
    near = sparse.csr_matrix(near > 0, dtype=float) + sparse.identity(len(place), format="csr")
    along = sparse.diags(1 / np.asarray(near.sum(axis=1)).ravel()) @ near
    near_line = Sheet.of(sheets[0]), Sheet.of(sheets[1])
    at_rest, closest, _ = _pairs(vertices, normals, line, upper, near_line)
    apart = place - closest
    # a template's lips may be apart: what lies before the pair are the lips, not what is seen through the slit
    beside = BESIDE_MM + np.linalg.norm(apart, axis=1, keepdims=True) / 2
    outwards = _outwards(matrix, normals)
    depth = _before(Surface(vertices, faces), (place + closest) / 2, apart, outwards, beside)
    return Lips(
        line,
        upper,
        sheets,
        matrix,
        along.tocsr(),
        line_area,
        at_rest,
        np.maximum(depth, 0.0),
    )


def _outwards(around: sparse.csr_matrix, normals: Floats) -> Floats:
    """(k, 3) unit, the directions out of the face; arguments as in `Lips`."""
    return _unit(around @ normals)


def _unit(directions: Floats) -> Floats:
    return np.asarray(directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-9))


def _rows_of(vertices: NDArray[np.int64], count: int) -> sparse.csr_matrix:
    """Rows (k, count) that take these vertices (k,)."""
    shape = len(vertices), count
    return sparse.csr_matrix((np.ones(len(vertices)), (np.arange(len(vertices)), vertices)), shape=shape)


def _sampled(vertices: Floats, faces: Ints) -> tuple[sparse.csr_matrix, Floats]:
    """Points on triangles (t, 3) no farther apart than `WINDOW_MM`: barycentric rows (n, V) and their areas (n,), mm^2.

    They are the corners, and those of the equal parts that triangles with longer edges are cut into.
    """
    corners = vertices[faces]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    _, area = triangle_normals(vertices, faces)
    parts = np.maximum(np.ceil(longest / WINDOW_MM - 1e-9), 1).astype(np.int64)
    # powers of two: both triangles of an edge put their points in the same places
    parts = np.minimum(2 ** np.ceil(np.log2(parts)).astype(np.int64), MOST_PARTS)
    shares: dict[tuple[tuple[int, int], ...], float] = {}
    step = int(parts.max(initial=1))
    for face, count, whole in zip(faces.tolist(), parts.tolist(), area.tolist(), strict=True):
        for at, share in _parts_of_triangle(count):
            key = tuple(sorted((v, w * step // count) for v, w in zip(face, at, strict=True) if w))
            shares[key] = shares.get(key, 0.0) + whole * share
    keys = sorted(shares)
    rows = np.repeat(np.arange(len(keys)), [len(key) for key in keys])
    columns, steps = (np.array([part[k] for key in keys for part in key]) for k in (0, 1))
    points = sparse.csr_matrix((steps / step, (rows, columns)), shape=(len(keys), len(vertices)))
    return points, np.array([shares[key] for key in keys])


@lru_cache(maxsize=16)
def _parts_of_triangle(count: int) -> tuple[tuple[tuple[int, int, int], float], ...]:
    """Of a triangle whose edges are cut into `count` parts: the corners of the parts, barycentric and in `count`ths,
    and the share of the area that is each one's."""
    shares: dict[tuple[int, int, int], float] = {}
    for i in range(count):
        for j in range(count - i):
            upright = [(i, j), (i + 1, j), (i, j + 1)]
            turned = [(i + 1, j), (i, j + 1), (i + 1, j + 1)] if i + j + 1 < count else []
            for a, b in upright + turned:
                corner = (count - a - b, a, b)
                shares[corner] = shares.get(corner, 0.0) + 1 / (3 * count**2)
    return tuple(sorted(shares.items()))


def opposite(vertices: Floats, faces: Ints) -> NDArray[np.int64]:
    """Vertices that face another part of the surface from within `OPPOSITE_MM`: lips, lids, nostrils, ears."""
    normals = vertex_normals(vertices, faces)
    hits = Surface(vertices, faces).cast(vertices + RAY_OFFSET_MM * normals, normals)
    towards = (triangle_normals(vertices, faces)[0][hits.triangles] * normals).sum(axis=1) < 0
    return np.flatnonzero(hits.hit & (hits.distances < OPPOSITE_MM) & towards)


def lips_of(template: Template) -> Lips | None:
    """The lips of a template, for what moves its vertices after they were registered; None where it has none."""
    vertices, faces, count = template.vertices, template.faces, len(template.vertices)
    if len(template.landmark_vertices) != N_LANDMARKS:  # no template of a head
        return None
    rows = np.repeat(np.arange(N_LANDMARKS), 3)
    landmarks = sparse.csr_matrix(
        (template.landmark_weights.ravel(), (rows, template.landmark_vertices.ravel())),
        shape=(N_LANDMARKS, count),
    )
    normals, areas = vertex_normals(vertices, faces), vertex_areas(vertices, faces)
    return find_lips(vertices, faces, normals, areas, landmarks, opposite(vertices, faces))
