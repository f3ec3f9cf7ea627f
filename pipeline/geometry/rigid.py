"""Least-squares rigid motion, scale and affine map between two point sets."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats


def fit_rigid(source: Floats, target: Floats, weights: Floats | None = None) -> Floats:
    """The rotation and translation that bring `source` (k, 3) onto `target` (k, 3), as (4, 4).

    Minimises sum w_i |R s_i + t - t_i|^2 over proper rotations (Umeyama 1991, eqs. 40-42, without scale).
    """
    w = np.ones(len(source)) if weights is None else np.asarray(weights, np.float64)
    w = w / w.sum()
    mean_s, mean_t = w @ source, w @ target
    return rigid_of_moments(mean_s, mean_t, (target - mean_t).T @ ((source - mean_s) * w[:, None]))


def rigid_of_moments(mean_s: Floats, mean_t: Floats, covariance: Floats) -> Floats:
    """The same, (4, 4), of the weighted means (3,) of source and target, and of the covariance (3, 3) of the target
    with the source."""
    u, _, vt = np.linalg.svd(covariance)
    rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = mean_t - rotation @ mean_s
    return matrix


def fit_scale(source: Floats, target: Floats, weights: Floats) -> float:
    """Factor that brings points `source` (n, 3), turned as they are, nearest to `target` (n, 3); weights (n,).

    Noise of the target does not make it larger, as it does the ratio of the radii.
    """
    x, y = (p - weights @ p / weights.sum() for p in (source, target))
    return float((weights @ (x * y).sum(1)) / (weights @ (x**2).sum(1)))


def fit_affine(source: Floats, target: Floats, weights: Floats) -> Floats:
    """The affine map that brings `source` (k, 3) nearest to `target` (k, 3), as (4, 4); weights (k,).

    The source spans space: points in one plane have no such map.
    """
    total = weights.sum()
    mean_s, mean_t = (np.einsum("k,kx->x", weights, p) / total for p in (source, target))
    x, y = source - mean_s, target - mean_t
    # not `@`: with BLAS the sums would depend on the number of threads
    spread, across = np.einsum("k,kx,ky->xy", weights, x, x), np.einsum("k,kx,ky->xy", weights, x, y)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.solve(spread, across).T
    matrix[:3, 3] = mean_t - matrix[:3, :3] @ mean_s
    return matrix


def fit_similarity_scale(source: Floats, target: Floats) -> float:
    """Scale factor of the similarity from `source` to `target`: ratio of the rms radii."""
    spread = [np.sqrt(((p - p.mean(0)) ** 2).sum(1).mean()) for p in (source, target)]
    return float(spread[1] / spread[0])


def angle_deg(one: Floats, other: Floats) -> float:
    """By how much two poses (4, 4) or rotations (3, 3) are turned against each other, degrees."""
    cosine = (np.trace(one[:3, :3].T @ other[:3, :3]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
