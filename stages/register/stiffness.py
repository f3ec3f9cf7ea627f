"""Local affine stiffness: how much a displacement field bends, whatever it translates, turns, scales or shears.

Amberg et al. (2007, eq. 6) give every vertex an affine map X_i and penalise the difference of neighbouring maps.
Here each vertex's map must predict where its neighbours go,

    E(d) = sum_i 1/h_i^2 sum_{j in ring(i)} | (d_j - d_i) - A_i (p_j - p_i) |^2  (+ ridge on A_i),

and is eliminated in closed form (it enters E alone, quadratically), which leaves one scalar n x n matrix instead of
Amberg's 4n x 4n one with the same null space: every global affine motion costs nothing, and a boundary is as free as in
the plane (a squared graph Laplacian would pull boundaries flat).  Without the ridge the value approximates the integral
of the squared second derivative, whatever the density of the mesh.  The ridge keeps a flat ring's map determinate and
resists stretching a little, on a fine mesh more than on a coarse one; that is wanted: it is what keeps the template's
own resolution from folding, while the coarse level stays free to move tangentially.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.mesh import adjacency, edges


class _Rings(NamedTuple):
    """Half-edges sorted by their first vertex: i (e,), j (e,), number per vertex (n,), first of each (n,)."""

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    degree: NDArray[np.int64]
    start: NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Ints, n: int) -> _Rings:
        i = np.r_[pairs[:, 0], pairs[:, 1]].astype(np.int64)
        j = np.r_[pairs[:, 1], pairs[:, 0]].astype(np.int64)
        order = np.lexsort((j, i))
        degree = np.bincount(i, minlength=n)
        return cls(i[order], j[order], degree, np.r_[0, np.cumsum(degree)[:-1]])


def affine_stiffness(
    vertices: Floats, faces: Ints, ridge: float = 0.05, factor: Floats | None = None
) -> sparse.csr_matrix:
    """The matrix K with E(d) = trace(d^T K d) of this module's energy.

    Args:
        vertices: (n, 3) rest shape, mm.
        faces: (t, 3).
        ridge: weight of |A_i|^2 relative to the ring's own spread; a ring is nearly flat, so its map's normal
            column needs a little of it.
        factor: (n,) stiffness of every vertex's ring relative to the others; None: 1.

    Returns:
        (n, n) symmetric positive semi-definite, no unit; for `ridge` 0 its null space is the affine fields.
    """
    n = len(vertices)
    ring = _Rings.of(edges(faces)[0], n)
    edge = vertices[ring.j] - vertices[ring.i]
    mean_square = np.bincount(ring.i, (edge**2).sum(1), minlength=n) / np.maximum(ring.degree, 1)
    size = np.sqrt(np.maximum(mean_square, 1e-12))
    edge = edge / size[ring.i][:, None]

    normal_matrix = np.empty((n, 3, 3))
    for a in range(3):
        for b in range(3):
            normal_matrix[:, a, b] = np.bincount(ring.i, edge[:, a] * edge[:, b], minlength=n)
    damping = np.maximum(ridge * ring.degree / 3, 1e-9)
    normal_matrix += damping[:, None, None] * np.eye(3)
    inverse = np.linalg.inv(normal_matrix)

    # all pairs of half-edges of one vertex: the projector I - E (E^T E + damping)^-1 E^T, ring by ring
    first = np.repeat(np.arange(len(ring.i)), ring.degree[ring.i])
    pairs = ring.degree[ring.i]
    within = np.arange(len(first)) - np.repeat(np.r_[0, np.cumsum(pairs)][:-1], pairs)
    second = ring.start[ring.i[first]] + within
    value = -np.einsum("kx,kxy,ky->k", edge[first], inverse[ring.i[first]], edge[second])
    value[first == second] += 1
    strength = (1.0 if factor is None else factor) / np.maximum(mean_square, 1e-12)
    projector = sparse.csr_matrix(
        (value * strength[ring.i[first]], (first, second)), shape=(len(ring.i),) * 2
    )
    rows = np.arange(len(ring.i))
    ones = np.ones(len(ring.i))
    difference = sparse.csr_matrix(
        (np.r_[ones, -ones], (np.r_[rows, rows], np.r_[ring.j, ring.i])), shape=(len(ring.i), n)
    )
    stiffness = (difference.T @ projector @ difference).tocsr()
    return ((stiffness + stiffness.T) * 0.5).tocsr()


def graph_laplacian(faces: Ints, n: int) -> sparse.csr_matrix:
    """(n, n) combinatorial Laplacian: trace(d^T L d) = sum over edges of |d_i - d_j|^2."""
    graph = adjacency(edges(faces)[0], n)
    return (sparse.diags(np.asarray(graph.sum(1)).ravel()) - graph).tocsr()


def shell_stiffness(vertices: Floats, faces: Ints, membrane: float) -> sparse.csr_matrix:
    """Bending plus a little stretching, (n, n).

    Args:
        membrane: weight of the stretching part (`graph_laplacian`) relative to the bending part: it keeps regions
            that no data touches from drifting away along the bending energy's null space.
    """
    bending = affine_stiffness(vertices, faces)
    return (bending + membrane * graph_laplacian(faces, len(vertices))).tocsr()
