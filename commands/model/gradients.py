"""Deformation transfer by deformation gradients: a triangle of one face moves as the same triangle of another does.

Sumner and Popovic, "Deformation transfer for triangle meshes" (2004): a displacement that suits one face tears
another of other proportions; a triangle's turn and stretch suit both.  Vertices are put together again from edges
by a Poisson equation with the cotangent Laplacian of the neutral it starts from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Ints

ANCHOR_MM = 150.0  # over this length the given places count more than the edges


def triangle_frames(vertices: Floats, faces: Ints) -> Floats:
    """(T, 3, 3), columns: two edges, and the normal as long as the root of twice the area (Sumner, eq. 2)."""
    a = vertices[faces[:, 0]]
    one, two = vertices[faces[:, 1]] - a, vertices[faces[:, 2]] - a
    normal = np.cross(one, two)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.stack([one, two, normal / np.sqrt(np.maximum(length, 1e-12))], axis=2)


def edge_pairs(vertices: Floats, faces: Ints) -> Floats:
    """(T, 3, 2), columns: the two edges from each triangle's first corner."""
    a = vertices[faces[:, 0]]
    return np.stack([vertices[faces[:, 1]] - a, vertices[faces[:, 2]] - a], axis=2)


def deformation(neutral: Floats, deformed: Floats, faces: Ints) -> Floats:
    """(T, 3, 3) deformation gradients; the identity where a triangle has no area."""
    rest, bent = triangle_frames(neutral, faces), triangle_frames(deformed, faces)
    flat = np.abs(np.linalg.det(rest)) < 1e-9
    rest[flat] = bent[flat] = np.eye(3)
    return bent @ np.linalg.inv(rest)


class PoissonSolver:
    """Solves the Poisson equation for vertices whose triangles have wanted edges; one factorisation serves them all.

    Args:
        vertices: (V, 3) of the face at rest, mm, which gives the cotangent weights; faces: (T, 3).
        anchors: (V,) how much each vertex keeps to its given place; default alike.
    """

    def __init__(self, vertices: Floats, faces: Ints, anchors: Floats | None = None) -> None:
        from scipy import sparse
        from scipy.sparse.linalg import splu

        self.faces = faces
        self.n = len(vertices)
        self.cotangents = _cotangents(vertices, faces)
        i, j = faces[:, [1, 2, 0]].ravel(), faces[:, [2, 0, 1]].ravel()
        w = self.cotangents.ravel()
        off = sparse.coo_matrix((np.tile(w, 2), (np.r_[i, j], np.r_[j, i])), shape=(self.n, self.n)).tocsr()
        laplacian = sparse.diags(np.asarray(off.sum(axis=1)).ravel()) - off
        area = np.zeros(self.n)
        np.add.at(area, faces.ravel(), np.repeat(_areas(vertices, faces) / 3, 3))
        self.mass = (
            np.maximum(area, 1e-6) if anchors is None else np.maximum(area * anchors, 1e-9)
        ) / ANCHOR_MM**2
        self._solve = splu((laplacian + sparse.diags(self.mass)).tocsc()).solve

    def vertices(self, edges: Floats, places: Floats) -> Floats:
        """(V, 3) vertices whose triangles have the edges (T, 3, 2) as nearly as can be, near the places (V, 3)."""
        one, two = edges[:, :, 0], edges[:, :, 1]
        right = self.mass[:, None] * places
        # edge from corner j to corner i, opposite corner k, weighs cot(k)
        for corner, (i, j, edge) in enumerate(((1, 2, one - two), (2, 0, two), (0, 1, -one))):
            part = self.cotangents[:, corner, None] * edge
            np.add.at(right, self.faces[:, i], part)
            np.subtract.at(right, self.faces[:, j], part)
        return np.asarray(self._solve(right))


def _areas(vertices: Floats, faces: Ints) -> Floats:
    from mimicme.pipeline.geometry.mesh import triangle_normals

    return triangle_normals(vertices, faces)[1]


def _cotangents(vertices: Floats, faces: Ints) -> Floats:
    """(T, 3) half the cotangent at each corner, of slivers no more than a sane one."""
    v = vertices[faces]
    result = np.empty(faces.shape)
    for k in range(3):
        a, b = v[:, (k + 1) % 3] - v[:, k], v[:, (k + 2) % 3] - v[:, k]
        sine = np.linalg.norm(np.cross(a, b), axis=1)
        result[:, k] = 0.5 * (a * b).sum(axis=1) / np.maximum(sine, 1e-9)
    return np.clip(result, 1e-3, 10.0)


def transfer_deformation(
    neutral: NDArray[Any],
    deformed: NDArray[Any],
    other: NDArray[Any],
    faces: Ints,
    poisson: PoissonSolver | None = None,
) -> Floats:
    """`other` (V, 3) deformed as `neutral` becomes `deformed`; all of one topology, mm.

    Args:
        poisson: of `other`, where several deformations are brought onto it.
    """
    source, bent, target = (np.asarray(x, np.float64) for x in (neutral, deformed, other))
    gradient = deformation(source, bent, faces)
    poisson = poisson or PoissonSolver(target, faces)
    return poisson.vertices(gradient @ edge_pairs(target, faces), target + (bent - source))
