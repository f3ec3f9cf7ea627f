"""One Gauss-Newton step of the registration energy, by conjugate gradients on a reused factorisation.

For targets (q_i, n_i, w_i), vertex areas a_i, landmarks l_k = B_k v with weights b_k, and displacements d = v - rest:

    E(d) = stiffness * trace(d^T K d)                                      local affine stiffness, see stiffness.py
         + sum_i a_i w_i ((n_i . (v_i - q_i))^2 + t |v_i - q_i|^2)         point to plane; t: tangential weight
         + sum_k b_k |B_k v - l_k|^2                                       landmarks, to the very end

The point-to-plane distance is Chen and Medioni's (1991).  The tangential weight, a small share of the point-to-point
distance, damps tangential motion, which the planes leave free.

The point-to-plane term couples x, y and z, so the normal matrix is 3n x 3n.  It is never formed: conjugate gradients
use it as an operator, preconditioned with the scalar n x n matrix in which n_i n_i^T is replaced by a constant.  That
matrix is factorised once and serves all three coordinates and every following step of the same stiffness, until one
takes too many iterations.  The data on its diagonal makes its inverse, and so its factors, die away within some
edges: four fifths of their entries are too small to matter, and leaving them out costs no iteration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from mimicme.pipeline.arrays import Floats
from mimicme.stages.register.targets import Targets

PLANE_SHARE = 0.5
"""What replaces n n^T in the preconditioner: between its mean eigenvalue (1/3) and its largest (1)."""


FLOOR = 0.3
"""Least data weight in the preconditioner, as a share of a vertex's area."""

DROP = 2e-4
"""Entries of the factors below this are left out.  Up to five times as much costs an iteration or two, from fifteen
times as much on conjugate gradients fail (templates of 9,409 and 53,349 vertices)."""
LEAST_MM = 1.0
"""Displacement that the tolerance refers to at least: a frame that hardly differs from the neutral need not be solved
to a share of next to nothing."""
MAX_DEFECT = 0.2
"""Relative residual of a random right-hand side up to which the iterations are as many as with a solution, or one or
two more."""

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


def incomplete_factorise(matrix: sparse.spmatrix) -> Callable[[Floats], Floats] | None:
    """The same without the small entries of the factors, good enough for a preconditioner; None where it is not.

    Incomplete factorisation with a threshold (Saad 1994; Li and Shao 2011) of the matrix scaled to a diagonal of
    ones, so that small means small everywhere.  It is neither exactly symmetric nor surely positive, and conjugate
    gradients need both: a random right-hand side tells whether it is so nearly the inverse that it may pass for it.
    """
    from scipy.sparse.linalg import spilu

    scale = 1 / np.sqrt(matrix.diagonal())
    scaled = (sparse.diags(scale) @ matrix @ sparse.diags(scale)).tocsc()
    try:
        # float32: its speed is that of memory, and it is only an approximate inverse in any case
        factors = spilu(scaled.astype(np.float32), drop_tol=DROP, drop_rule="basic", **_SYMMETRIC)
    except RuntimeError:  # a zero pivot
        return None
    column = scale[:, None]

    def solver(right: Floats) -> Floats:
        scaled_right = np.multiply(column, right, dtype=np.float32, order="F")
        return np.multiply(factors.solve(scaled_right), column, order="C")

    probe = np.random.default_rng(0).normal(size=(len(scale), 1)) / column
    defect = np.linalg.norm(column * (matrix @ solver(probe) - probe))
    return solver if defect <= MAX_DEFECT * np.linalg.norm(column * probe) else None


class Preconditioner:
    """Factorisation of  stiffness K + diag(data) + B^T b B, renewed only when it has stopped fitting.

    Args:
        max_iterations: a solve that takes as many has the next one factorise again.
    """

    def __init__(self, max_iterations: int = 40) -> None:
        self._solve: Callable[[Floats], Floats] | None = None
        self._stiffness = np.nan
        self._max_iterations = max_iterations
        self._exactly = False
        self.factorisations = 0

    def prepare(
        self, stiffness: float, matrix: sparse.csr_matrix, data: Floats, areas: Floats, landmarks: Landmarks
    ) -> Callable[[Floats], Floats]:
        """The solver for these terms; the one at hand when the stiffness is the same."""
        if self._solve is None or stiffness != self._stiffness:
            # a floor under the weights: vertices gain and lose their data from step to step, and one that the
            # factorisation thinks free but the operator holds costs an iteration of its own
            diagonal = sparse.diags(PLANE_SHARE * np.maximum(data, FLOOR * areas) + 1e-6 * areas.mean())
            rows = landmarks.matrix
            normal = stiffness * matrix + diagonal + rows.T @ sparse.diags(landmarks.weights) @ rows
            near = None if self._exactly else incomplete_factorise(normal)
            self._solve = near or factorise(normal)
            self._stiffness = stiffness
            self.factorisations += 1
        return self._solve

    def record(self, iterations: int) -> None:
        """Record how many iterations a solve took; too many, and the next one factorises again."""
        if iterations >= self._max_iterations:
            self._solve = None

    def broke_down(self) -> bool:
        """Record a breakdown (not positive definite): factors are exact from now on; False if they were already."""
        self._solve, before, self._exactly = None, self._exactly, True
        return not before


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

    def apply(self, d: Floats) -> Floats:
        """The normal matrix times d, (n, 3)."""
        return self.operator()(d)

    def operator(self) -> Callable[[Floats], Floats]:
        """`apply` with all that does not depend on d at hand: it is called some hundred times a frame."""
        normal, data = self.targets.normals, self.data[:, None]
        tangential, planes = self.tangential_weight * data, data * normal
        rows, b = self.landmarks.matrix, self.landmarks.weights[:, None]
        columns = rows.T

        def times(d: Floats) -> Floats:
            out = self.matrix @ d
            out *= self.stiffness
            out += np.einsum("nx,nx->n", d, normal)[:, None] * planes
            out += tangential * d
            out += columns @ (b * (rows @ d))
            return out

        return times

    def right_hand_side(self) -> Floats:
        normal, data = self.targets.normals, self.data[:, None]
        rows, b = self.landmarks.matrix, self.landmarks.weights[:, None]
        goal = self.targets.points - self.rest
        along = (goal * normal).sum(1, keepdims=True)
        known = self.landmarks.weights[:, None] > 0
        missing = np.where(known, self.landmarks.points - rows @ self.rest, 0.0)
        return data * (along * normal + self.tangential_weight * goal) + rows.T @ (b * missing)

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
        tolerance: stop when the residual's preconditioned norm has fallen to this share of the right side's, or of
            that of `LEAST_MM` everywhere if that is more.

    Returns:
        The displacement (n, 3), NaN where the numbers of the problem have no finite answer; the number of iterations.
    """
    pre = preconditioner.prepare(
        problem.stiffness, problem.matrix, problem.data, problem.areas, problem.landmarks
    )
    apply = problem.operator()
    b = problem.right_hand_side()
    goal = tolerance * np.sqrt(max(_dot(b, pre(b)), LEAST_MM**2 * float(problem.data.sum())))
    x = start.copy()
    r = b - apply(x)
    z = pre(r)
    p = z.copy()
    rz = _dot(r, z)
    iterations = 0
    while iterations < max_iterations and np.sqrt(max(rz, 0.0)) > goal:
        q = apply(p)
        step = rz / _dot(p, q)
        x += step * p
        r -= step * q
        z = pre(r)
        rz, old = _dot(r, z), rz
        p *= rz / old
        p += z
        iterations += 1
    if not rz >= -(goal**2):  # an indefinite preconditioner, or numbers that are none
        if preconditioner.broke_down():
            return solve(problem, start, preconditioner, tolerance, max_iterations)
        if not np.isfinite(rz):
            x = np.full_like(x, np.nan)
    preconditioner.record(iterations)
    return x, iterations


def _dot(a: Floats, b: Floats) -> float:
    # not `vdot`: with BLAS the sum would depend on the number of threads
    return float(np.einsum("nx,nx->", a, b))
