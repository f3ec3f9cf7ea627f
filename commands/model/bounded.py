"""Blendshape weights between bounds: box-constrained least squares, for many frames of one rig."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import UsageError

RIDGE = 1e-10
"""Share of the largest diagonal entry that is added to all: two equal shapes then share their weight."""


def bounded_weights(gram: ArrayLike, right: ArrayLike, low: float = 0.0, high: float = 1.0) -> Floats:
    """Minimise w' G w / 2 - h' w over low <= w <= high, for every h.

    Each is solved by `scipy.optimize.lsq_linear` with bounded-variable least squares (Stark and Parker 1995) on the
    Cholesky factor of G.

    Args:
        gram: (K, K) A'A, positive semidefinite.
        right: (N, K) A'b of each problem.

    Returns:
        (N, K) float64.

    Raises:
        UsageError: sizes that do not fit, values that are not finite.
    """
    from scipy.linalg import solve_triangular
    from scipy.optimize import lsq_linear

    g, h = np.array(gram, np.float64), np.asarray(right, np.float64)
    if g.ndim != 2 or g.shape[0] != g.shape[1] or h.ndim != 2 or h.shape[1] != len(g):
        raise UsageError("matrix and right-hand sides do not fit", seen=(g.shape, h.shape))
    if not (np.isfinite(g).all() and np.isfinite(h).all()):
        raise UsageError("matrix and right-hand sides must be finite")
    if not len(g) or not len(h):
        return np.zeros(h.shape)
    g[np.diag_indices_from(g)] += RIDGE * max(float(np.diag(g).max()), np.finfo(float).tiny)
    root = np.linalg.cholesky(g)
    targets = solve_triangular(root, h.T, lower=True).T
    found = [lsq_linear(root.T, b, (low, high), method="bvls") for b in targets]
    # what the solver holds at a bound (the active set) lies there but for a rounding error
    active = np.array([one.active_mask for one in found])
    weights = np.clip([one.x for one in found], low, high)
    return np.where(active < 0, low, np.where(active > 0, high, weights))
