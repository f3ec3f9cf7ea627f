"""The triangle mesh every stage passes on, and the small facts one reads off it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy  # its parts are loaded when they are first used: what only plans, tells or verifies uses none
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.errors import InputError

MANY_TRIANGLES = 8_000
"""From so many on a mesh's normals are computed by compiled loops: to load these takes half a second, once."""


@dataclass(frozen=True)
class Mesh:
    """Triangles with, where the source has them, texture coordinates or vertex colours.

    Attributes:
        vertices: (n, 3) float64, mm unless a name says otherwise.
        faces: (t, 3) int32, counter-clockwise seen from outside.
        uv: (m, 2) float64 in [0, 1], v up; None without texture coordinates.
        uv_faces: (t, 3) int32 into `uv`; None exactly when `uv` is.
        colors: (n, 3) uint8 RGB per vertex; None without.
    """

    vertices: Floats
    faces: Ints
    uv: Floats | None = None
    uv_faces: Ints | None = None
    colors: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        v, f = self.vertices, self.faces
        if v.ndim != 2 or v.shape[1] != 3 or f.ndim != 2 or f.shape[1] != 3:
            raise InputError(
                "a mesh is vertices (n, 3) and triangles (t, 3)", seen=f"{v.shape} and {f.shape}"
            )
        if (self.uv is None) != (self.uv_faces is None):
            raise InputError("texture coordinates need both `uv` and `uv_faces`")
        if self.uv_faces is not None and self.uv_faces.shape != f.shape:
            raise InputError("`uv_faces` has a row per triangle", seen=self.uv_faces.shape, expected=f.shape)
        if self.colors is not None and len(self.colors) != len(v):
            raise InputError("`colors` has a row per vertex", seen=len(self.colors), expected=len(v))

    def with_vertices(self, vertices: Floats) -> Mesh:
        """The same topology at other places; (n, 3)."""
        return replace(self, vertices=np.asarray(vertices, np.float64))


def transform(matrix: Floats, points: Floats) -> Floats:
    """(4, 4) homogeneous matrix applied to (..., 3) points."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def inverse(matrix: Floats) -> Floats:
    """The inverse of a (4, 4) matrix, or of a stack (..., 4, 4)."""
    return np.asarray(np.linalg.inv(matrix), np.float64)


def triangle_normals(vertices: Floats, faces: Ints) -> tuple[Floats, Floats]:
    """Unit normals (t, 3), zero for degenerate triangles, and areas (t,) in mm^2."""
    if _compiled_for(vertices, faces):
        from mimicme.pipeline.geometry.normals import of_triangles

        normals, areas = np.empty((len(faces), 3)), np.empty(len(faces))
        of_triangles(np.ascontiguousarray(vertices), np.ascontiguousarray(faces), normals, areas)
        if np.isfinite(areas.sum()):
            return normals, areas
    cross = _crosses(vertices, faces)
    length = lengths(cross)
    return cross / np.maximum(length, 1e-300)[:, None], length / 2


def _compiled_for(vertices: Floats, faces: Ints) -> bool:
    """Whether normals are worth the compiled loops, which give the same bits; numpy's say what is wrong with numbers
    that are not finite."""
    return len(faces) >= MANY_TRIANGLES and vertices.dtype == np.float64 and faces.dtype == np.int32


def lengths(vectors: Floats) -> Floats:
    """(n,) lengths of vectors (n, 3): what `np.linalg.norm` gives, in a fraction of its time."""
    x, y, z = vectors.T
    return np.asarray(np.sqrt(x * x + y * y + z * z))


def dots(a: Floats, b: Floats) -> Floats:
    """(n,) scalar products of the rows of two (n, 3)."""
    return np.asarray(a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2])


def _crosses(vertices: Floats, faces: Ints) -> Floats:
    """(t, 3) normals, each as long as twice its triangle's area."""
    # `take` is several times as fast as an index here
    a, b, c = (np.take(vertices, corner, axis=0) for corner in faces.T)
    u, v = b - a, c - a
    out = np.empty_like(u)  # written out: numpy's own takes three times as long
    for x, y, z in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        out[:, x] = u[:, y] * v[:, z] - u[:, z] * v[:, y]
    return out


def vertex_areas(vertices: Floats, faces: Ints) -> Floats:
    """(n,) a third of the area of each vertex's triangles, mm^2: weights that do not depend on the mesh's density."""
    _, areas = triangle_normals(vertices, faces)
    return np.bincount(faces.ravel(), np.repeat(areas / 3, 3), minlength=len(vertices)).astype(np.float64)


def largest_extent(places: Floats) -> float:
    """Largest of the three extents of places (n, 3), between their 1st and 99th percentile: a spike, or -1e6 for what a
    program did not measure, makes no scan larger.  0 of none."""
    if not len(places):
        return 0.0
    low, high = np.percentile(places, [1, 99], axis=0)
    return float((high - low).max())


def vertex_normals(vertices: Floats, faces: Ints) -> Floats:
    """Area-weighted unit vertex normals (n, 3); zero for vertices without a triangle."""
    if _compiled_for(vertices, faces):
        from mimicme.pipeline.geometry.normals import of_vertices

        normals = np.zeros(vertices.shape)
        of_vertices(np.ascontiguousarray(vertices), np.ascontiguousarray(faces), normals)
        if np.isfinite(normals.sum()):
            return normals
    total = corners(faces, len(vertices)).T @ _crosses(vertices, faces)
    return np.asarray(total / np.maximum(lengths(total), 1e-300)[:, None])


def corners(faces: Ints, n_vertices: int) -> scipy.sparse.csr_matrix:
    """(t, n) ones where a triangle has a vertex; a product sums over corners."""
    starts = np.arange(0, faces.size + 1, 3)
    return scipy.sparse.csr_matrix(
        (np.ones(faces.size), faces.ravel(), starts), shape=(len(faces), n_vertices)
    )


def edges(faces: Ints) -> tuple[Ints, NDArray[np.int64]]:
    """Undirected edges (e, 2), sorted, each once, and how many triangles share each (e,)."""
    corner = faces.T.astype(np.int64)
    following = np.roll(corner, -1, axis=0)
    # one integer per edge: sorting those is ten times faster than sorting rows
    base = int(faces.max(initial=0)) + 1
    key, count = np.unique(
        np.minimum(corner, following) * base + np.maximum(corner, following), return_counts=True
    )
    return np.stack([key // base, key % base], axis=1).astype(np.int32), count


def boundary_vertices(faces: Ints, n_vertices: int) -> Bools:
    """(n,) True at vertices of an edge that only one triangle has."""
    pairs, count = edges(faces)
    on_rim = np.zeros(n_vertices, bool)
    on_rim[pairs[count == 1]] = True
    return on_rim


def adjacency(pairs: Ints, n_vertices: int) -> scipy.sparse.csr_matrix:
    """(n, n) symmetric 0/1 matrix of the undirected edges (e, 2)."""
    i, j = pairs[:, 0], pairs[:, 1]
    ones = np.ones(2 * len(pairs))
    return scipy.sparse.csr_matrix((ones, (np.r_[i, j], np.r_[j, i])), shape=(n_vertices, n_vertices))


def components(faces: Ints, n_vertices: int) -> tuple[int, Ints]:
    """Number of connected pieces and the piece (n,) of each vertex; lone vertices count as pieces."""
    count, label = scipy.sparse.csgraph.connected_components(
        adjacency(edges(faces)[0], n_vertices), directed=False
    )
    return int(count), label.astype(np.int32)


def keep_triangles(mesh: Mesh, keep: Bools) -> tuple[Mesh, Ints]:
    """The mesh without the triangles where `keep` (t,) is False, nor vertices that nothing uses.

    Returns the mesh and, per old vertex, its new index or -1 (n,).
    """
    faces = mesh.faces[keep]
    used = np.zeros(len(mesh.vertices), bool)
    used[faces] = True
    new_index = np.where(used, np.cumsum(used) - 1, -1).astype(np.int32)
    uv, uv_faces = mesh.uv, None
    if mesh.uv is not None and mesh.uv_faces is not None:
        kept = mesh.uv_faces[keep]
        used_uv = np.zeros(len(mesh.uv), bool)
        used_uv[kept] = True
        uv = mesh.uv[used_uv]
        uv_faces = (np.cumsum(used_uv) - 1)[kept].astype(np.int32)
    colors = None if mesh.colors is None else mesh.colors[used]
    return Mesh(mesh.vertices[used], new_index[faces], uv, uv_faces, colors), new_index
