"""Least squares with every unknown between bounds, for many right-hand sides that share one matrix.

Weights of blendshapes are such: how much of each shape, between none and all of it, makes each of 280,000 frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.mesh import Floats

_SWEEPS = 400
_ROUNDS = 30


def box_least_squares(
    gram: ArrayLike, right: ArrayLike, low: float = 0.0, high: float = 1.0, tolerance: float = 1e-9
) -> Floats:
    """Minimise w' G w / 2 - h' w over low <= w <= high, for many h at once.

    Coordinate descent over all right-hand sides side by side finds which unknowns stand at a bound; then each group
    with the same ones is solved exactly for the rest (an active-set method over many right-hand sides, after
    Van Benthem and Keenan, "Fast algorithm for the solution of large-scale non-negativity-constrained least
    squares problems", J. Chemometrics 2004), until the conditions of Karush, Kuhn and Tucker hold.

    Args:
        gram: (K, K) A'A, positive semidefinite; a shade of its diagonal is added.
        right: (N, K) A'b of each problem.
        tolerance: relative to the diagonal.

    Returns:
        (N, K) float64.

    Raises:
        UsageError: sizes that do not fit, values that are not finite.
    """
    g, h = np.array(gram, np.float64), np.asarray(right, np.float64)
    if g.ndim != 2 or g.shape[0] != g.shape[1] or h.ndim != 2 or h.shape[1] != len(g):
        raise UsageError("matrix and right-hand sides do not fit", seen=(g.shape, h.shape))
    if not (np.isfinite(g).all() and np.isfinite(h).all()):
        raise UsageError("matrix and right-hand sides must be finite")
    if not len(g) or not len(h):
        return np.zeros(h.shape)
    scale = max(float(np.diag(g).max()), np.finfo(float).tiny)
    g[np.diag_indices_from(g)] += 1e-10 * scale
    w = _descend(g, h, low, high, 1e-6)
    return _polish(g, h, w, low, high, tolerance * scale)


def _descend(g: Floats, h: Floats, low: float, high: float, tolerance: float) -> Floats:
    w = np.full(h.shape, np.clip(0.0, low, high))
    gradient = w @ g - h
    for _ in range(_SWEEPS):
        moved = 0.0
        for k in range(len(g)):
            new = np.clip(w[:, k] - gradient[:, k] / g[k, k], low, high)
            step = new - w[:, k]
            w[:, k] = new
            gradient += step[:, None] * g[k]
            moved = max(moved, float(np.abs(step).max()))
        if moved < tolerance * max(abs(low), abs(high)):
            break
    return w


def _polish(g: Floats, h: Floats, w: Floats, low: float, high: float, tolerance: float) -> Floats:
    """Exact values of the free unknowns, and bounds changed one problem at a time where they were wrong."""
    eps = 1e-7 * max(1.0, abs(low), abs(high))
    state = np.where(w <= low + eps, -1, np.where(w >= high - eps, 1, 0)).astype(np.int8)
    open_rows = np.arange(len(h))
    for _ in range(_ROUNDS):
        patterns, inverse = np.unique(state[open_rows], axis=0, return_inverse=True)
        trial = np.empty((len(open_rows), len(g)))
        for number, pattern in enumerate(patterns):
            rows = np.flatnonzero(inverse.ravel() == number)
            fixed = np.where(pattern < 0, low, high) * (pattern != 0)
            trial[rows] = fixed
            free = np.flatnonzero(pattern == 0)
            if len(free):
                rest = h[open_rows[rows]][:, free] - fixed @ g[:, free]
                trial[np.ix_(rows, free)] = np.linalg.solve(g[np.ix_(free, free)], rest.T).T
        inside = np.asarray(((trial >= low - 1e-12) & (trial <= high + 1e-12)).all(axis=1))
        gradient = trial @ g - h[open_rows]
        s = state[open_rows]
        wrong = ((s < 0) & (gradient < -tolerance)) | ((s > 0) & (gradient > tolerance))
        good = inside & ~wrong.any(axis=1)
        w[open_rows[good]] = trial[good]
        if good.all():
            break
        # what left the box goes to its bound; where all are inside, what pulls hardest away from its bound is freed
        for k in np.flatnonzero(~good):
            row = open_rows[k]
            if not inside[k]:
                state[row][trial[k] < low] = -1
                state[row][trial[k] > high] = 1
            else:
                state[row, int(np.argmax(np.abs(gradient[k]) * wrong[k]))] = 0
        open_rows = open_rows[~good]
    return np.clip(w, low, high)
