"""Smooth warp of the template onto a frame's landmarks, before any closest-point correspondence is used."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats

MIN_LANDMARKS = 5
"""Fewer do not determine the affine part and leave something to check it with."""
OUTLIER_MM = 6.0
NOISE_MM = 3.0
"""Leave-one-out residuals: on captures with 1 mm of landmark noise the median is 1.5 (neutral) to 2.5 mm (scream)."""


def landmark_spline(
    source: Floats, target: Floats, points: Floats, smoothing_mm: float, affine: bool = True
) -> Floats:
    """Displacement (n, 3) of `points` under the smoothing spline that takes `source` (l, 3) near `target` (l, 3).

    The spline is the three-dimensional thin-plate one with an affine part (kernel -r; Wahba 1990, sec. 2.4; Bookstein
    1989): of all fields it bends least for the misfit it leaves.  It follows the landmarks the less, the larger
    `smoothing_mm` (0: exactly); with landmark noise of s mm about 2 s mm is right for spacings of 10 to 20 mm.

    Needs at least `MIN_LANDMARKS` landmarks that do not lie in one plane.

    Args:
        affine: beyond the landmarks the field goes on as it grows among them, as it does between two people, who differ
            in size.  False: it levels off (the same kernel with a constant alone: ordinary kriging with a linear
            variogram; Cressie 1993, sec. 3.2).  An expression moves the lips by centimetres and not the neck farther.
    """
    count = len(source)
    system = _system(source, smoothing_mm)
    drift = np.c_[np.ones(len(points)), points]
    if not affine:
        system, drift = system[: count + 1, : count + 1], drift[:, :1]
    coefficient = np.linalg.solve(system, np.r_[target - source, np.zeros((drift.shape[1], 3))])
    return -_distances(points, source) @ coefficient[:count] + drift @ coefficient[count:]


def landmark_weights(source: Floats, target: Floats, smoothing_mm: float) -> Floats:
    """(l,) in (0, 1]: robust weight of each landmark, from its leave-one-out residual.

    A landmark that its neighbours contradict (another definition, a slip of the hand) loses weight by Geman and
    McClure's (1987) function; and when all of them contradict each other, the annotation is noisy and all lose
    weight, as the square of the noise.  Ordinary annotation of an ordinary expression keeps more than half.
    """
    if len(source) <= MIN_LANDMARKS:
        return np.ones(len(source))
    # both ways: lips that were closed and are now open contradict each other in the source, not in the target
    residual = np.minimum(
        leave_one_out(source, target, smoothing_mm), leave_one_out(target, source, smoothing_mm)
    )
    typical = float(np.median(residual))
    scale = max(OUTLIER_MM, 2.5 * typical)
    return min(1.0, (NOISE_MM / max(typical, 1e-9)) ** 2) / (1 + (residual / scale) ** 2) ** 2


def disagreement(source: Floats, target: Floats, smoothing_mm: float) -> float:
    """Mean leave-one-out residual, mm: how noisy an annotation is, together with how far the two faces differ."""
    if len(source) < MIN_LANDMARKS:
        return float("nan")
    return float(np.mean(leave_one_out(source, target, smoothing_mm)))


def leave_one_out(source: Floats, target: Floats, smoothing_mm: float) -> Floats:
    """(l,) distance between each target and the spline fitted without it (closed form, Wahba 1990, eq. 4.2.12)."""
    count = len(source)
    inverse = np.linalg.inv(_system(source, smoothing_mm))[:count, :count]
    residual = inverse @ (target - source) / np.diag(inverse)[:, None]
    return np.linalg.norm(residual, axis=1)


def _system(source: Floats, smoothing_mm: float) -> Floats:
    """(l + 4, l + 4) matrix of the spline's normal equations; landmarks in one plane leave it regular."""
    count = len(source)
    affine = np.c_[np.ones(count), source]
    system = np.zeros((count + 4, count + 4))
    system[:count, :count] = -_distances(source, source) + smoothing_mm * np.eye(count)
    system[:count, count:] = affine
    system[count:, :count] = affine.T
    # far below anything that spans space, and enough for a direction that the landmarks do not
    system[count:, count:] = -1e-10 * np.eye(4)
    return system


def _distances(a: Floats, b: Floats) -> Floats:
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(a, b))
