"""Two resolutions of the template: a coarse one to find the way, and the template itself to fit the surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import adjacency, edges, vertex_areas, vertex_normals
from mimicme.pipeline.geometry.spatial import open3d
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.eyelids import EYES, Rims, find_rims, patches
from mimicme.pipeline.template.lips import Lips, find_lips, opposite
from mimicme.stages.register.eyelids import SOFT, Eye, find_eye
from mimicme.stages.register.regions import ears
from mimicme.stages.register.stiffness import affine_stiffness, graph_laplacian, shell_stiffness

Made = TypeVar("Made")

NORMAL_REACH_MM = 5.0
"""A turn of the normal by one radian counts as this distance when a coarse vertex is matched to the template's."""

EAR_STIFFNESS, GENERIC_EAR_STIFFNESS = 20.0, 3.0
"""Bending stiffness of the ears, cartilage, relative to skin: of a personal template, which an expression hardly bends
(softer than 10 the ear's rim intersects itself on a template of 53,349 vertices), and of the generic template, whose
ears have to take a person's shape."""

CLOSED_KEPT = 2
"""Levels with closed eyes that are kept, of those asked for last: as many as a person who winks with either eye by
turns, or blinks and winks, needs.  With all three a worker of a template of 53,349 vertices had 1,076 MB, 90 MB more
than with one."""


@dataclass(frozen=True)
class Level:
    """One resolution, and everything about it that no scan changes.

    Attributes:
        index: (n,) vertex of the template that each vertex is.
        faces: (t, 3).
        areas: (n,) mm^2.
        stiffness: (n, n), see stiffness.py; with the ears of a personal template.
        ear_bending: (n, n), the part of the bending that is the ears', as if they were skin.
        landmarks: (l, n) barycentric rows.
        neighbours: (n, n) 0/1.
        ears: (n, 2) masks of the two ears, see regions.py.
        eyes: what shows between the lids of the right and of the left eye, see eyelids.py; None where nothing does.
        closed: those of the eyes whose lids are closed.
        ear_stiffness: bending stiffness of the ears in `stiffness`, relative to skin.
    """

    index: NDArray[np.int64]
    faces: Ints
    areas: Floats
    stiffness: sparse.csr_matrix
    ear_bending: sparse.csr_matrix
    landmarks: sparse.csr_matrix
    neighbours: sparse.csr_matrix
    ears: Floats
    eyes: tuple[Eye | None, Eye | None]
    closed: tuple[Eye, ...] = ()
    ear_stiffness: float = EAR_STIFFNESS


@dataclass(frozen=True)
class Levels:
    """The coarse level, the template itself, and the (V, n) matrix that carries a coarse field to the template.

    `opposite` are the vertices of the template that face another part of it, see pipeline/template/lips.py; `lips` are
    None where it has no slit between them; `rims` are those of the right and of the left eye, `lids` those that are
    closed.  `made` is what `once` keeps.
    """

    coarse: Level
    fine: Level
    prolong: sparse.csr_matrix
    opposite: NDArray[np.int64]
    lips: Lips | None
    rims: tuple[Rims, Rims]
    lids: tuple[Rims, ...] = ()
    made: dict[str, tuple[object, object]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    def once(self, what: str, key: object, make: Callable[[], Made]) -> Made:
        """What `make` makes of these levels; the last of each kind, `what`, is kept for as long as its `key` is asked
        for: one worker registers thousands of sequences with the same levels."""
        if what not in self.made or self.made[what][0] != key:
            self.made[what] = key, make()
        return cast(Made, self.made[what][1])

    @property
    def eyeballs(self) -> Bools:
        """(V,) True on what the template shows between the lids of both eyes."""
        shown = np.zeros(len(self.fine.index), bool)
        for eye in self.fine.eyes:
            if eye is not None:
                shown[eye.patch] = True
        return shown

    def with_closed_eyes(self, right: bool, left: bool) -> Levels:
        """The same for a frame in which an eye, or both, are closed.

        The last `CLOSED_KEPT` are kept: people wink with either eye by turns, and to factorise what follows takes
        seconds.
        """
        key = f"closed {right:d} {left:d}"
        found = self.once(key, None, lambda: self._with_closed_eyes(right, left))
        self.made[key] = self.made.pop(key)  # the one asked for last stands last
        for old in [one for one in self.made if one.startswith("closed ")][:-CLOSED_KEPT]:
            del self.made[old]
        return found

    def _with_closed_eyes(self, right: bool, left: bool) -> Levels:
        fine = _with_closed_eyes(self.fine, (right, left))
        coarse = fine if self.coarse is self.fine else _with_closed_eyes(self.coarse, (right, left))
        lids = tuple(rim for rim, shut in zip(self.rims, (right, left), strict=True) if shut)
        return replace(self, coarse=coarse, fine=fine, lids=lids)

    def for_generic_template(self, membrane: float) -> Levels:
        """The same for the fit of the generic template to a person: the ears have to give way.

        Args:
            membrane: so much more resistance to stretching; see `stiffness.shell_stiffness`.
        """
        return self.once("generic", membrane, lambda: self._for_generic_template(membrane))

    def _for_generic_template(self, membrane: float) -> Levels:
        fine = _for_generic_template(self.fine, membrane)
        coarse = fine if self.coarse is self.fine else _for_generic_template(self.coarse, membrane)
        return replace(self, coarse=coarse, fine=fine)


def build_levels(template: Template, coarse_vertices: int, membrane: float) -> Levels:
    """Both levels of a template; about a second for 50,000 vertices.

    A template of fewer than 1.5 times `coarse_vertices` is its own coarse level.
    """
    v, f = template.vertices, template.faces
    count = len(v)
    rows = np.repeat(np.arange(len(template.landmark_vertices)), 3)
    landmarks = sparse.csr_matrix(
        (template.landmark_weights.ravel(), (rows, template.landmark_vertices.ravel())),
        shape=(len(template.landmark_vertices), count),
    )
    ear = ears(v, f, template.landmarks())
    facing = opposite(v, f)
    between_lids = patches(v, template.landmarks())
    fine = _level(np.arange(count), v, f, membrane, landmarks, ear, between_lids)
    right, left = (find_rims(v, f, template.landmarks(), eye) for eye in EYES)
    lips = find_lips(v, f, vertex_normals(v, f), fine.areas, landmarks, facing)
    if count < 1.5 * coarse_vertices:
        return Levels(fine, fine, sparse.identity(count, format="csr"), facing, lips, (right, left))
    index, faces = _decimate(v, f, coarse_vertices)
    prolong = _prolongation(template, index, faces)
    mine = (between_lids[0][index], between_lids[1][index])
    coarse = _level(index, v[index], faces, membrane, (landmarks @ prolong).tocsr(), ear[index], mine)
    return Levels(coarse, fine, prolong, facing, lips, (right, left))


def _level(
    index: NDArray[np.int64],
    vertices: Floats,
    faces: Ints,
    membrane: float,
    landmarks: sparse.csr_matrix,
    ear: Floats,
    between_lids: tuple[Bools, Bools],
) -> Level:
    """The level of a mesh at rest, its vertices `index` of the template; other arguments as in `Level`."""
    mask = ear.max(axis=1)
    # only the triangles of an ear's rings: the rest would make zeros
    bending = affine_stiffness(vertices, faces[(mask[faces] > 0).any(axis=1)], factor=mask)
    right, left = (find_eye(vertices, faces, patch, membrane) for patch in between_lids)
    stiffness = shell_stiffness(vertices, faces, membrane) + (EAR_STIFFNESS - 1) * bending
    return Level(
        index,
        faces,
        vertex_areas(vertices, faces),
        stiffness.tocsr(),
        bending,
        landmarks,
        _neighbours(faces, len(vertices)),
        ear,
        (right, left),
    )


def _for_generic_template(level: Level, membrane: float) -> Level:
    extra = membrane * graph_laplacian(level.faces, len(level.index))
    softer = (GENERIC_EAR_STIFFNESS - level.ear_stiffness) * level.ear_bending
    return replace(
        level, stiffness=(level.stiffness + extra + softer).tocsr(), ear_stiffness=GENERIC_EAR_STIFFNESS
    )


def _with_closed_eyes(level: Level, closed: tuple[bool, bool]) -> Level:
    shut = tuple(eye for eye, is_shut in zip(level.eyes, closed, strict=True) if is_shut and eye is not None)
    stiffness = level.stiffness
    for eye in shut:
        stiffness = stiffness - (1 - SOFT) * eye.stiffness
    return replace(level, stiffness=stiffness.tocsr(), closed=shut)


def _neighbours(faces: Ints, count: int) -> sparse.csr_matrix:
    return adjacency(edges(faces)[0], count)


def _decimate(v: Floats, f: Ints, target: int) -> tuple[NDArray[np.int64], Ints]:
    """Quadric decimation (Garland and Heckbert 1997), its vertices moved to the nearest ones of the template.

    Near means near in place and in normal, so that a vertex of the upper lip does not become one of the lower.
    """
    from scipy.spatial import cKDTree

    o3d = open3d()
    mesh = o3d.geometry.TriangleMesh(o3d.utility.Vector3dVector(v), o3d.utility.Vector3iVector(f))
    small = mesh.simplify_quadric_decimation(2 * target, boundary_weight=3.0)
    place, tris = np.asarray(small.vertices), np.asarray(small.triangles)
    here = np.hstack([v, NORMAL_REACH_MM * vertex_normals(v, f)])
    there = np.hstack([place, NORMAL_REACH_MM * vertex_normals(place, tris)])
    faces = cKDTree(here).query(there)[1][tris]
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    index, flat = np.unique(faces[distinct], return_inverse=True)
    return index.astype(np.int64), flat.reshape(-1, 3).astype(np.int32)


def _prolongation(template: Template, index: NDArray[np.int64], faces: Ints) -> sparse.csr_matrix:
    """(V, n) rows that give a coarse field's value at every vertex of the template.

    A vertex is interpolated inside one of the coarse triangles around the coarse vertex it is nearest to *along the
    surface*: the triangle nearest in space may belong to the other lip or lid.
    """
    v = template.vertices
    owner = _nearest_along_surface(v, template.faces, index)
    triangle = np.repeat(np.arange(len(faces)), 3)
    order = np.argsort(faces.ravel(), kind="stable")
    degree = np.bincount(faces.ravel(), minlength=len(index))
    start = np.r_[0, np.cumsum(degree)[:-1]]
    point = np.repeat(np.arange(len(v)), degree[owner])
    nth = np.arange(len(point)) - np.repeat(np.r_[0, np.cumsum(degree[owner])[:-1]], degree[owner])
    candidate = triangle[order[start[owner[point]] + nth]]
    weights, distance = closest_on_triangles(v[point], v[index][faces[candidate]])
    best = np.lexsort((distance, point))
    first = best[np.r_[True, point[best][1:] != point[best][:-1]]]
    rows = np.repeat(point[first], 3)
    columns = faces[candidate[first]].ravel()
    return sparse.csr_matrix((weights[first].ravel(), (rows, columns)), shape=(len(v), len(index)))


def _nearest_along_surface(v: Floats, f: Ints, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """(V,) position in `index` (n,) of the vertex nearest along the edges; in space where no path leads there."""
    from scipy.sparse.csgraph import dijkstra
    from scipy.spatial import cKDTree

    pairs = edges(f)[0]
    length = np.linalg.norm(v[pairs[:, 0]] - v[pairs[:, 1]], axis=1)
    graph = sparse.csr_matrix((np.maximum(length, 1e-9), (pairs[:, 0], pairs[:, 1])), shape=(len(v),) * 2)
    source = dijkstra(graph, directed=False, indices=index, min_only=True, return_predecessors=True)[2]
    position = np.full(len(v), -1)
    position[index] = np.arange(len(index))
    owner = np.where(source >= 0, position[np.maximum(source, 0)], -1)
    lost = owner < 0
    owner[lost] = cKDTree(v[index]).query(v[lost])[1]
    return owner


def closest_on_triangles(points: Floats, corners: Floats) -> tuple[Floats, Floats]:
    """Closest point of one triangle each: barycentric weights (k, 3) and squared distance (k,).

    Args:
        points: (k, 3); corners: (k, 3, 3), degenerate triangles allowed.

    The best of the plane's foot point, where it lies inside, and of the three edges (Ericson 2005, sec. 5.1.5).
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    candidates = []
    for first, second in ((0, 1), (1, 2), (2, 0)):
        origin, edge = corners[:, first], corners[:, second] - corners[:, first]
        along = ((points - origin) * edge).sum(1) / np.maximum((edge**2).sum(1), 1e-300)
        share = np.clip(along, 0, 1)
        weight = np.zeros((len(points), 3))
        weight[:, first], weight[:, second] = 1 - share, share
        candidates.append(weight)
    normal = np.cross(b - a, c - a)
    square = np.maximum((normal**2).sum(1), 1e-300)
    third = (np.cross(b - a, points - a) * normal).sum(1) / square
    second_weight = (np.cross(points - a, c - a) * normal).sum(1) / square
    inner = np.stack([1 - third - second_weight, second_weight, third], axis=1)
    inside = (inner >= 0).all(axis=1) & (square > 1e-24)
    candidates.append(np.where(inside[:, None], inner, candidates[0]))
    weights = np.stack(candidates)
    distance = ((np.einsum("mkc,kcx->mkx", weights, corners) - points) ** 2).sum(axis=2)
    best = distance.argmin(axis=0)
    rows = np.arange(len(points))
    return weights[best, rows], distance[best, rows]
