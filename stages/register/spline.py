"""Smooth warp of the template onto a frame's landmarks, before any closest point is trusted."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.mesh import Floats


def landmark_spline(source: Floats, target: Floats, points: Floats, smoothing_mm: float) -> Floats:
    """Displacement (n, 3) of `points` under the smoothing spline that takes `source` (l, 3) near `target` (l, 3).

    The spline is the three-dimensional thin-plate one with an affine part (kernel -r; Wahba 1990, sec. 2.4; Bookstein
    1989): of all fields it bends least for the misfit it leaves.  It follows the landmarks the less, the larger
    `smoothing_mm` (0: exactly); with landmark noise of s mm about 2 s mm is right for spacings of 10 to 20 mm.

    Needs at least 4 landmarks that do not lie in one plane.
    """
    count = len(source)
    affine = np.c_[np.ones(count), source]
    system = np.zeros((count + 4, count + 4))
    system[:count, :count] = -_distances(source, source) + smoothing_mm * np.eye(count)
    system[:count, count:] = affine
    system[count:, :count] = affine.T
    coefficient = np.linalg.solve(system, np.r_[target - source, np.zeros((4, 3))])
    return (
        -_distances(points, source) @ coefficient[:count]
        + np.c_[np.ones(len(points)), points] @ (coefficient[count:])
    )


def suspicious(source: Floats, target: Floats, smoothing_mm: float, limit_mm: float) -> np.ndarray:
    """(l,) True for landmarks that the spline through the others misses by more than `limit_mm`.

    Worst first and one at a time, so that one wrong point does not accuse its neighbours; at most a third.
    """
    bad = np.zeros(len(source), bool)
    for _ in range(len(source) // 3):
        good = np.flatnonzero(~bad)
        residual = _leave_one_out(source[good], target[good], smoothing_mm)
        worst = int(np.argmax(residual))
        if residual[worst] <= limit_mm:
            break
        bad[good[worst]] = True
    return bad


def _leave_one_out(source: Floats, target: Floats, smoothing_mm: float) -> Floats:
    """(l,) distance between each target and the spline fitted without it (closed form, Wahba 1990, eq. 4.2.12)."""
    count = len(source)
    affine = np.c_[np.ones(count), source]
    system = np.zeros((count + 4, count + 4))
    system[:count, :count] = -_distances(source, source) + smoothing_mm * np.eye(count)
    system[:count, count:] = affine
    system[count:, :count] = affine.T
    inverse = np.linalg.inv(system)[:count, :count]
    residual = inverse @ (target - source) / np.diag(inverse)[:, None]
    return np.linalg.norm(residual, axis=1)


def _distances(a: Floats, b: Floats) -> Floats:
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(a, b))
