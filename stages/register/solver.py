"""One Gauss-Newton step of the registration energy, by conjugate gradients on a factorisation of the template's.

For targets (q_i, n_i, w_i), vertex areas a_i, landmarks l_k = B_k v with weights b_k, and displacements d = v - rest:

    E(d) = stiffness * trace(d^T K d)                                      local affine stiffness, see stiffness.py
         + sum_i a_i w_i ((n_i . (v_i - q_i))^2 + t |v_i - q_i|^2)         point to plane; t: tangential weight
         + sum_k b_k |B_k v - l_k|^2                                       landmarks, to the very end

The point-to-plane distance is Chen and Medioni's (1991).  The tangential weight, a small share of the point-to-point
distance, damps tangential motion, which the planes leave free.

The point-to-plane term couples x, y and z, so the normal matrix is 3n x 3n.  It is never formed: conjugate gradients
use it as an operator (kernels.py), preconditioned with the scalar n x n matrix in which n_i n_i^T and the weights are
replaced by constants.  That matrix knows nothing of a scan: it is factorised once a template and stiffness and serves
all three coordinates of every frame.  The data on its diagonal makes its inverse, and so its factors, die away within
some edges: most of their entries are too small to matter, and leaving them out costs no iteration.

What must be exact is in double precision: the residual, of which conjugate gradients find the correction in single
precision, once more where that is not enough (iterative refinement, Wilkinson 1963).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.numerics.sparse_rows import Columns, Indices, SparseRows
from mimicme.stages.register.kernels import (
    Single,
    conjugate_gradients,
    precondition,
    product_of_planes,
    pull_of_planes,
)
from mimicme.stages.register.targets import Targets

PLANE_SHARE = 0.2
"""What replaces the data's n n^T, of a mean eigenvalue of 1/3, in the preconditioner: less for what has little data.
From 0.15 to 0.5 conjugate gradients take as long to the same error."""
DROPS = (5e-4, 1e-4, 1e-5)
"""Entries of the factors below the first of these are left out; below the next where that is too much, as it is from
3e-3 on (templates of 9,409 and 53,349 vertices)."""
LATE_DROP = 5.0
"""Of the finished factor entries up to so many times as large are left out as well: a third of them, for one iteration
in fifteen."""
LEAST_MM = 1.0
"""Displacement that the tolerance refers to at least: a frame that hardly differs from the neutral need not be solved
to a share of next to nothing."""
MAX_DEFECT = 0.6
"""Relative residual of a random right-hand side, which is rough, up to which a smooth one takes a fifth more iterations
than with all entries."""
SINGLE = 1e-5
"""What the residual's norm may fall by in single precision before it is computed anew."""

_SYMMETRIC: dict[str, Any] = {
    "permc_spec": "MMD_AT_PLUS_A",
    "diag_pivot_thresh": 0.0,
    "options": {"SymmetricMode": True},
}


@dataclass(frozen=True)
class Landmarks:
    """Landmark constraints at one level.

    Attributes:
        matrix: (l, n) barycentric rows B.
        points: (l, 3) targets, mm.
        weights: (l,) mm^2 (a landmark counts as much as that area of surface); 0 = absent.
    """

    matrix: sparse.csr_matrix
    points: Floats
    weights: Floats


def factorise(matrix: sparse.spmatrix) -> Callable[[Floats], Floats]:
    """Solver of a symmetric positive definite sparse matrix (n, n) for right-hand sides (n, k)."""
    from scipy.sparse.linalg import splu

    factors = splu(matrix.tocsc(), **_SYMMETRIC)
    solver: Callable[[Floats], Floats] = factors.solve
    return solver


class Factors(NamedTuple):
    """A matrix is nearly  S^-1 P^T R^T R P S^-1.

    Attributes:
        upper: R, (n, n) upper triangular, without its diagonal; lower: its transpose, the same entries by its own rows.
        inverse: (n,) of its diagonal.
        order: (n,) which row of the matrix each of R is.
        scale: (n,) S, in that order.
    """

    upper: SparseRows
    lower: SparseRows
    inverse: Single
    order: NDArray[np.uint32]
    scale: Single

    def solve(self, right: Floats) -> Floats:
        """What the factors give for right-hand sides (n, 3): symmetric, and positive definite."""
        r = _four_columns(right)
        z = np.empty_like(r)
        precondition(*self.upper, *self.lower, self.inverse, self.order, self.scale, r, z, np.empty_like(r))
        return z[:, :3].astype(np.float64)


def incomplete_factorise(matrix: sparse.spmatrix) -> Factors:
    """Factors of a symmetric positive definite sparse matrix (n, n) without their small entries: a preconditioner.

    Incomplete factorisation with a threshold (Saad 1994; Li and Shao 2011) of the matrix scaled to a diagonal of
    ones, so that small means small everywhere.  Its upper factor alone is taken, and its transpose for the lower one.
    A random right-hand side tells whether that is so nearly the inverse that it may pass for it; where it is not,
    fewer entries are left out, and none in the end.

    Raises:
        RuntimeError: the matrix is singular.
    """
    scale = 1 / np.sqrt(matrix.diagonal())
    scaled = (sparse.diags(scale) @ matrix @ sparse.diags(scale)).tocsc()
    probe = np.random.default_rng(0).normal(size=(len(scale), 3)) / scale[:, None]
    for drop in (*DROPS, 0.0):
        factors = _factors(scaled, scale, drop)
        if factors is not None:
            defect = np.linalg.norm(scale[:, None] * (matrix @ factors.solve(probe) - probe))
            if defect <= MAX_DEFECT * np.linalg.norm(scale[:, None] * probe):
                return factors
    raise RuntimeError("a stiffness matrix is singular")


def _factors(scaled: sparse.csc_matrix, scale: Floats, drop: float) -> Factors | None:
    """Factors of a matrix of unit diagonal, `scale` (n,) times another; None where they are not those of a definite
    one."""
    from scipy.sparse.linalg import spilu, splu

    try:
        if drop > 0:
            # float32: its speed is that of memory, and it is only an approximate inverse in any case
            found = spilu(scaled.astype(np.float32), drop_tol=drop, drop_rule="basic", **_SYMMETRIC)
        else:
            found = splu(scaled, **_SYMMETRIC)
    except RuntimeError:  # a zero pivot
        return None
    pivots = found.U.diagonal()
    if not (pivots > 0).all() or (found.perm_r != found.perm_c).any():
        return None
    upper = sparse.coo_matrix(sparse.diags(1 / np.sqrt(pivots)) @ found.U)
    keep = (upper.col > upper.row) & (np.abs(upper.data) > LATE_DROP * drop)
    rows = sparse.csr_matrix((upper.data[keep], (upper.row[keep], upper.col[keep])), shape=scaled.shape)
    rows.sort_indices()
    order = np.argsort(found.perm_r).astype(np.uint32)
    return Factors(
        SparseRows.of(rows),
        SparseRows.of(rows.T.tocsr()),
        (1 / np.sqrt(pivots)).astype(np.float32),
        order,
        scale[order].astype(np.float32),
    )


class Preconditioner:
    """Factorisations of  stiffness K + diag(data) + B^T b B  by their stiffness, of a template's level without a scan.

    They do not depend on any frame, so that they serve all, and the same frame gives the same bytes whatever was
    registered before it.

    Args:
        matrix: (n, n) K; areas: (n,) mm^2.
        expected: constraints that the frames will have, about.
    """

    def __init__(self, matrix: sparse.csr_matrix, areas: Floats, expected: Landmarks) -> None:
        self.rows = SparseRows.of(matrix)
        diagonal = sparse.diags(PLANE_SHARE * areas + 1e-6 * areas.mean())
        given = expected.matrix
        self._matrix, self._rest = matrix, diagonal + given.T @ sparse.diags(expected.weights) @ given
        self._made: dict[float, Factors] = {}

    def exact(self, matrix: sparse.csr_matrix) -> ExactRows:
        """A matrix (n, n) as compiled loops read it in double precision; K itself costs nothing."""
        rows = self.rows if matrix is self._matrix else SparseRows.of(matrix)
        return ExactRows(rows.start, rows.column, np.asarray(matrix.data, np.float64))

    @property
    def factorisations(self) -> int:
        """How many there are."""
        return len(self._made)

    def factors(self, stiffness: float) -> Factors:
        """The factors for a stiffness."""
        if stiffness not in self._made:
            self._made[stiffness] = incomplete_factorise(stiffness * self._matrix + self._rest)
        return self._made[stiffness]


class ExactRows(NamedTuple):
    """A sparse matrix in double precision, by rows: see `SparseRows`."""

    start: Indices
    column: Columns
    value: Floats


@dataclass(frozen=True)
class Problem:
    """All terms of one linearised step; shapes as in the module's text."""

    stiffness: float
    matrix: sparse.csr_matrix
    rest: Floats
    areas: Floats
    targets: Targets
    landmarks: Landmarks
    tangential_weight: float

    @property
    def data(self) -> Floats:
        """(n,) weight of each vertex's plane, mm^2."""
        return self.areas * self.targets.weights

    def apply(self, d: Floats, rows: ExactRows | None = None) -> Floats:
        """The normal matrix times d, (n, 3).

        Args:
            rows: the problem's matrix, where somebody has it at hand: this is called twice a step and more.
        """
        if rows is None:
            single = SparseRows.of(self.matrix)
            rows = ExactRows(single.start, single.column, np.asarray(self.matrix.data, np.float64))
        out = np.empty(d.shape)
        normals, d = np.ascontiguousarray(self.targets.normals, np.float64), np.ascontiguousarray(d)
        product_of_planes(*rows, self.stiffness, normals, self.data, self.tangential_weight, d, out)
        given, b = self.landmarks.matrix, self.landmarks.weights[:, None]
        out += given.T @ (b * (given @ d))
        return out

    def right_hand_side(self) -> Floats:
        points, rest, normals = (
            np.ascontiguousarray(a, np.float64)
            for a in (self.targets.points, self.rest, self.targets.normals)
        )
        out = np.empty(rest.shape)
        pull_of_planes(points, rest, normals, self.data, self.tangential_weight, out)
        rows, b = self.landmarks.matrix, self.landmarks.weights[:, None]
        missing = np.where(b > 0, self.landmarks.points - rows @ self.rest, 0.0)
        out += rows.T @ (b * missing)
        return out

    def energy(self, d: Floats) -> float:
        """E(d), mm^4."""
        normal, data = self.targets.normals, self.data
        off = self.rest + d - self.targets.points
        rows, b = self.landmarks.matrix, self.landmarks.weights
        known = b > 0
        miss = np.where(known[:, None], rows @ (self.rest + d) - self.landmarks.points, 0.0)
        plane = ((off * normal).sum(1) ** 2 + self.tangential_weight * (off**2).sum(1)) @ data
        return float(self.stiffness * (d * (self.matrix @ d)).sum() + plane + (miss**2).sum(1) @ b)


def solve(
    problem: Problem,
    start: Floats,
    preconditioner: Preconditioner,
    tolerance: float,
    max_iterations: int = 100,
) -> tuple[Floats, int]:
    """Minimise the step's quadratic energy by preconditioned conjugate gradients.

    Args:
        start: (n, 3) displacement to start from.
        preconditioner: of the problem's matrix.
        tolerance: stop when the residual's preconditioned norm has fallen to this share of the right side's, or of
            that of `LEAST_MM` everywhere if that is more.

    Returns:
        The displacement (n, 3), NaN where the numbers of the problem have no finite answer; the number of iterations.
    """
    factors = preconditioner.factors(problem.stiffness)
    b, data, rows = problem.right_hand_side(), problem.data, problem.landmarks
    goal = tolerance**2 * max(_dot(b, factors.solve(b)), LEAST_MM**2 * float(data.sum()))
    terms = (
        *preconditioner.rows,
        problem.stiffness,
        np.ascontiguousarray(problem.targets.normals, np.float32),
        data.astype(np.float32),
        problem.tangential_weight,
        *SparseRows.of(rows.matrix),
        rows.weights.astype(np.float32),
        *factors.upper,
        *factors.lower,
        *factors[2:],
    )
    exact = preconditioner.exact(problem.matrix)
    x, iterations = start.copy(), 0
    while True:
        residual = _four_columns(b - problem.apply(x, exact))
        correction = np.zeros_like(residual)
        done, square = conjugate_gradients(
            *terms, correction, residual, goal, SINGLE**2, max_iterations - iterations
        )
        iterations += done
        x += correction[:, :3]
        if not square > goal or done == 0 or iterations >= max_iterations:
            break
    if not np.isfinite(square):
        x = np.full_like(x, np.nan)
    return x, iterations


def _four_columns(values: Floats) -> Single:
    """(n, 4) of (n, 3), in single precision, as conjugate gradients have them: the last is zeros."""
    wide = np.zeros((len(values), 4), np.float32)
    wide[:, :3] = values
    return wide


def _dot(a: Floats, b: Floats) -> float:
    # not `vdot`: with BLAS the sum would depend on the number of threads
    return float(np.einsum("nx,nx->", a, b))
