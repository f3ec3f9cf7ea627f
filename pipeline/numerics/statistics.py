"""Means over subjects with their confidence intervals, seeded.

Frames of one person are correlated, so the bootstrap draws people (cluster bootstrap): an interval over frames would
be too narrow by about the root of the frames a person has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimicme.pipeline.arrays import Floats

CONFIDENCE = 0.95
_NORMAL_QUANTILE = 1.959963984540054  # of CONFIDENCE, two-sided
REPLICATES = 2000


class Estimate(NamedTuple):
    """A value and the ends of its 95 % confidence interval; NaN ends where there are too few subjects."""

    value: float
    low: float
    high: float

    def record(self) -> dict[str, float | None]:
        """For JSON, which has no NaN."""
        named = zip(("value", "low", "high"), self, strict=True)
        return {name: (float(x) if np.isfinite(x) else None) for name, x in named}


def group_means(values: ArrayLike, groups: Sequence[str] | NDArray[np.str_]) -> tuple[list[str], Floats]:
    """Names of the groups in order, and the mean of `values` (n, ...) over each one's rows."""
    data = np.asarray(values, np.float64)
    names, inverse = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), *data.shape[1:]))
    np.add.at(sums, inverse, data)
    counts = np.bincount(inverse, minlength=len(names)).reshape(-1, *[1] * (data.ndim - 1))
    return [str(n) for n in names], sums / counts


def bootstrap_mean(per_subject: ArrayLike, seed: int = 0, replicates: int = REPLICATES) -> Floats:
    """Mean over subjects and its interval: (3, ...), value, low and high, of values (S, ...).

    Percentile bootstrap over subjects (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13).
    """
    data = np.asarray(per_subject, np.float64)
    mean = data.mean(axis=0)
    if len(data) < 2:
        return np.stack([mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)])
    shares = subject_draws(len(data), seed, replicates)
    means = np.tensordot(shares, data, axes=(1, 0))
    low, high = np.percentile(means, _percentiles(), axis=0)
    return np.stack([mean, low, high])


def bootstrap_over_subjects(
    statistic: Callable[[NDArray[np.int64]], float],
    subjects: Sequence[str] | NDArray[np.str_],
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Estimate:
    """Any statistic of rows, with the percentile interval over subjects drawn with replacement.

    Args:
        statistic: of row numbers (n,), which may repeat.
        subjects: (n,) whose each row is.
    """
    names, inverse = np.unique(np.asarray(subjects), return_inverse=True)
    rows_of = [np.flatnonzero(inverse == k) for k in range(len(names))]
    value = statistic(np.arange(len(inverse)))
    if len(names) < 2:
        return Estimate(value, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(names), size=(replicates, len(names)))
    values = [statistic(np.concatenate([rows_of[k] for k in draw])) for draw in draws]
    low, high = np.nanpercentile(values, _percentiles()) if np.isfinite(values).any() else (np.nan, np.nan)
    return Estimate(value, float(low), float(high))


def jackknife(value: ArrayLike, left_out: ArrayLike) -> Floats:
    """A statistic and its interval (3, ...) from its values (S, ...) with each subject left out.

    value +- 1.96 standard errors of the delete-one jackknife (Efron and Tibshirani 1993, ch. 11).  For statistics
    that the bootstrap distorts by drawing people twice, as the rank of a model.
    """
    middle, parts = np.asarray(value, np.float64), np.asarray(left_out, np.float64)
    if len(parts) < 2:
        return np.stack([middle, np.full_like(middle, np.nan), np.full_like(middle, np.nan)])
    n = len(parts)
    error = np.sqrt((n - 1) / n * ((parts - parts.mean(axis=0)) ** 2).sum(axis=0))
    return np.stack([middle, middle - _NORMAL_QUANTILE * error, middle + _NORMAL_QUANTILE * error])


def standard_error(values: ArrayLike) -> Floats:
    """Mean of independent draws (N, ...) and its interval (3, ...): +- 1.96 standard errors."""
    data = np.asarray(values, np.float64)
    error = (
        data.std(axis=0, ddof=1) / np.sqrt(len(data)) if len(data) > 1 else np.full(data.shape[1:], np.nan)
    )
    mean = data.mean(axis=0)
    return np.stack([mean, mean - _NORMAL_QUANTILE * error, mean + _NORMAL_QUANTILE * error])


def _percentiles() -> tuple[float, float]:
    tail = 50 * (1 - CONFIDENCE)
    return tail, 100 - tail


def subject_draws(n: int, seed: int, replicates: int) -> Floats:
    """(replicates, n) share of each of n subjects in each draw with replacement; rows sum to one."""
    draws = np.random.default_rng(seed).integers(n, size=(replicates, n))
    shares = np.zeros((replicates, n))
    np.add.at(shares, (np.arange(replicates)[:, None], draws), 1 / n)
    return shares
