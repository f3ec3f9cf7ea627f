"""Outlier detection: frames far from all others under a first model are left out of the second.

As LSFM does for identities: the Mahalanobis norm of the whitened weights; for expressions from the frame's own
expression, because a scream is not far from screams.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.numerics.linear_model import LinearModel

MAX_OVERSHOOT = 1.5  # times the 90th percentile of how far a class goes: further counts as a deviation, too
KEPT_VARIANCE = 0.98  # directions beyond are noise, which whitening would blow up


def whitened_norms(
    model: LinearModel, coefficients: Floats, classes: NDArray[np.str_], rest: Floats | None = None
) -> Floats:
    """Mahalanobis norm (N,) of each shape in the model, from its class.

    Divided by the root of the number of directions, so that a usual shape of a normal model has about 1.

    Args:
        coefficients: (N, K) of the model.  classes: (N,).
        rest: (K,) coefficients of the face at rest.  Given, the norm is the distance from the path from rest through
            the class's median: how far a frame has gone along it does not count, or every apex would be an outlier
            among onsets.  None: it is the distance from the median.
    """
    variances = model.variances
    share = np.cumsum(variances) / max(float(variances.sum()), 1e-300)
    k = min(int(np.searchsorted(share, KEPT_VARIANCE)) + 1, len(variances))
    white = coefficients[:, :k] / np.sqrt(variances[:k])
    norms = np.zeros(len(white))
    for name in np.unique(classes):
        rows = np.flatnonzero(classes == name)
        if rest is None:
            away = white[rows] - np.median(white[rows], axis=0)
        else:
            away = _deviation_from_path(white[rows] - rest[:k] / np.sqrt(variances[:k]))
        norms[rows] = np.linalg.norm(away, axis=1)
    return norms / np.sqrt(max(k, 1))


def _deviation_from_path(steps: Floats) -> Floats:
    """Components (n, k) of the steps from rest off the path to their median, before its start or far beyond its end."""
    way = np.median(steps, axis=0)
    length = float(np.linalg.norm(way))
    if length < 1e-9:
        return steps
    along = steps @ way / length
    allowed = np.clip(along, 0, MAX_OVERSHOOT * max(float(np.percentile(along, 90)), 0.0))
    return steps - allowed[:, None] * (way / length)


def largest_norms(norms: Floats, classes: NDArray[np.str_], share: float) -> NDArray[np.bool_]:
    """(N,) True for the share of each class with the largest norms, rounded down: small classes lose none."""
    out = np.zeros(len(norms), bool)
    for name in np.unique(classes):
        rows = np.flatnonzero(classes == name)
        n = int(np.floor(share * len(rows) + 1e-9))
        out[rows[np.argsort(-norms[rows], kind="stable")[:n]]] = True
    return out
