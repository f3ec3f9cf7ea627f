"""Smooth fields over a mesh that follow weighted targets where these are sure: a Poisson-like system, solved again and
again with other weights.

    minimise  sum_i w_i |d_i - t_i|^2 + l^2 sum_(i,j) |d_i - d_j|^2

Conjugate gradients with a two-level preconditioner: a damped Jacobi step before and after a direct solve on
aggregates of vertices up to two edges apart (smoothed aggregation; Vanek, Mandel and Brezina 1996).  What does not
depend on the weights - the aggregates and the coarse Laplacian - is made once a mesh.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from mimicme.pipeline.arrays import Floats, Longs, Singles
from mimicme.pipeline.numerics.sparse_rows import SparseRows

DAMPING = 0.6
"""Of a Jacobi step; the largest eigenvalue of D^-1 A of a mesh is below 2."""
TOLERANCE = 5e-3
"""Residual relative to the right-hand side, in the norm of the preconditioner."""
MOST_STEPS = 100
TINY = 1e-20
"""Below this there is nothing left that float32 could tell from nothing."""


class SmoothField:
    """What does not depend on the weights.

    Args:
        laplacian: (n, n) graph Laplacian, times l^2.
    """

    def __init__(self, laplacian: sparse.csr_matrix) -> None:
        self.laplacian = laplacian.tocsr()
        self.diagonal = self.laplacian.diagonal()
        n = len(self.diagonal)
        near = abs(self.laplacian)
        label = aggregates((near @ near).tocsr())
        tentative = sparse.csr_matrix(
            (np.ones(n), label, np.arange(n + 1)), shape=(n, int(label.max(initial=-1)) + 1)
        )
        step = sparse.diags(DAMPING / np.maximum(self.diagonal, 1e-300))
        prolong = (tentative - step @ (self.laplacian @ tentative)).tocsr()
        self.coarse = (prolong.T @ self.laplacian @ prolong).tocsc()
        self.prolong = prolong.astype(np.float32)
        self.restrict = self.prolong.T.tocsr()
        self.up, self.down = SparseRows.of(self.prolong), SparseRows.of(self.restrict)


class Preconditioner:
    """Solves a few systems whose weights differ little: the coarse system is factorised for the first of them alone.

    Args:
        field: the mesh.
    """

    def __init__(self, field: SmoothField) -> None:
        self.field = field
        self._direct: Any = None

    def solve(self, weights: Floats, right: Floats, start: Floats) -> Floats:
        """(n, k) x with (diag(weights) + laplacian) x = right (n, k), beginning at `start` (n, k).

        Args:
            weights: (n,) positive.

        Raises:
            RuntimeError: the coarse system is singular.
        """
        # the mesh itself in float32: the tolerance is far above its rounding
        single, field = np.float32, self.field
        matrix = SparseRows.of((field.laplacian + sparse.diags(weights)).astype(single))
        jacobi = np.repeat((DAMPING / (field.diagonal + weights))[:, None], right.shape[1], axis=1).astype(
            single
        )
        if self._direct is None:
            coarse = field.coarse + field.restrict @ sparse.diags(weights.astype(single)) @ field.prolong
            options = {"SymmetricMode": True}
            self._direct = splu(coarse.tocsc(), permc_spec="MMD_AT_PLUS_A", options=options)
        direct = self._direct

        def preconditioned(residual: Singles) -> Singles:
            x = jacobi * residual
            coarse_part = direct.solve((field.down @ (residual - matrix @ x)).astype(np.float64))
            x += field.up @ coarse_part.astype(single)
            return np.asarray(x + jacobi * (residual - matrix @ x))

        return conjugate_gradients(matrix, preconditioned, right, start, TOLERANCE, MOST_STEPS)[0]


def conjugate_gradients(
    matrix: SparseRows,
    preconditioned: Callable[[Singles], Singles],
    right: Floats,
    start: Floats,
    tolerance: float,
    most_steps: int,
) -> tuple[Floats, bool]:
    """(n, k) x with matrix x = right (n, k), in float32; and whether it got there.

    The columns are one system, with one step length: several times as fast as a step length for each.

    Args:
        matrix: (n, n), symmetric and positive; preconditioned: (n, k) -> (n, k), likewise.
        start: (n, k) to begin with.
        tolerance: of the residual relative to the right-hand side, in the norm of the preconditioner.
    """
    given, x = right.astype(np.float32), start.astype(np.float32)
    residual = given - matrix @ x
    z = preconditioned(residual)
    p, rho = z.copy(), _product(residual, z)
    enough = max(tolerance**2 * _product(given, preconditioned(given)), TINY)
    for _ in range(most_steps):
        if not rho > enough:
            break
        q = matrix @ p
        alpha = np.float32(rho / _product(p, q))
        x += alpha * p
        residual -= alpha * q
        z = preconditioned(residual)
        before, rho = rho, _product(residual, z)
        p *= np.float32(rho / before)
        p += z
    return x.astype(np.float64), bool(np.isfinite(rho) and rho <= enough)


def _product(a: Singles, b: Singles) -> float:
    return float(np.vdot(a, b))


def aggregates(graph: sparse.csr_matrix) -> Longs:
    """(n,) which aggregate each node of a graph belongs to: a node and its neighbours, greedily; those left over join a
    neighbour's, lone ones stand alone."""
    n = graph.shape[0]
    label = np.full(n, -1, np.int64)
    starts, columns = graph.indptr.tolist(), graph.indices
    count = 0
    for node in range(n):
        around = columns[starts[node] : starts[node + 1]]
        if label[node] < 0 and (label[around] < 0).all():
            label[node] = label[around] = count
            count += 1
    for node in np.flatnonzero(label < 0).tolist():
        around = label[columns[starts[node] : starts[node + 1]]]
        around = around[around >= 0]
        if len(around):
            label[node] = around[0]
        else:
            label[node], count = count, count + 1
    return label
