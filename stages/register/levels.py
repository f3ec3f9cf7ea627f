"""Two resolutions of the template: a coarse one to find the way, and the template itself to fit the surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.mesh import Floats, Ints, adjacency, edges
from mimicme.pipeline.spatial import Surface, open3d
from mimicme.pipeline.template import Template
from mimicme.stages.register.stiffness import shell_stiffness, vertex_areas


@dataclass(frozen=True)
class Level:
    """One resolution, and everything about it that no scan changes.

    Attributes:
        index: (n,) vertex of the template that each vertex is.
        faces: (t, 3).
        areas: (n,) mm^2.
        stiffness: (n, n), see stiffness.py.
        landmarks: (l, n) barycentric rows.
        neighbours: (n, n) 0/1.
    """

    index: NDArray[np.int64]
    faces: Ints
    areas: Floats
    stiffness: sparse.csr_matrix
    landmarks: sparse.csr_matrix
    neighbours: sparse.csr_matrix


@dataclass(frozen=True)
class Levels:
    """The coarse level, the template itself, and the (V, n) matrix that carries a coarse field to the template."""

    coarse: Level
    fine: Level
    prolong: sparse.csr_matrix


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
    fine = Level(
        np.arange(count),
        f,
        vertex_areas(v, f),
        shell_stiffness(v, f, membrane),
        landmarks,
        _neighbours(f, count),
    )
    if count < 1.5 * coarse_vertices:
        return Levels(fine, fine, sparse.identity(count, format="csr"))
    index, faces = _decimate(v, f, coarse_vertices)
    rest = v[index]
    coarse = Level(
        index,
        faces,
        vertex_areas(rest, faces),
        shell_stiffness(rest, faces, membrane),
        _interpolation(rest, faces, template.landmarks()),
        _neighbours(faces, len(rest)),
    )
    return Levels(coarse, fine, _interpolation(rest, faces, v))


def _neighbours(faces: Ints, count: int) -> sparse.csr_matrix:
    return adjacency(edges(faces)[0], count)


def _decimate(v: Floats, f: Ints, target: int) -> tuple[NDArray[np.int64], Ints]:
    """Quadric decimation (Garland and Heckbert 1997), its vertices moved to the nearest ones of the template."""
    from scipy.spatial import cKDTree

    o3d = open3d()
    mesh = o3d.geometry.TriangleMesh(o3d.utility.Vector3dVector(v), o3d.utility.Vector3iVector(f))
    small = mesh.simplify_quadric_decimation(2 * target, boundary_weight=3.0)
    nearest = cKDTree(v).query(np.asarray(small.vertices))[1]
    faces = nearest[np.asarray(small.triangles)]
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    index, flat = np.unique(faces[distinct], return_inverse=True)
    return index.astype(np.int64), flat.reshape(-1, 3).astype(np.int32)


def _interpolation(vertices: Floats, faces: Ints, points: Floats) -> sparse.csr_matrix:
    """(k, n) rows that give a vertex field's value at the surface point closest to each of (k, 3) points."""
    found = Surface(vertices, faces).closest(points)
    rows = np.repeat(np.arange(len(points)), 3)
    columns = faces[found.triangles].ravel()
    return sparse.csr_matrix((found.weights.ravel(), (rows, columns)), shape=(len(points), len(vertices)))
