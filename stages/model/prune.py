"""Outliers: frames that the first model finds far from everything it saw, left out of the second.

As LSFM does for identities: the Mahalanobis norm of the whitened weights - here to the centre of the frame's own
expression, because a scream is not far from screams.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.linear_model import LinearModel

Floats = NDArray[np.float64]

KEPT_VARIANCE = 0.98  # directions beyond are noise, which whitening would blow up


def whitened_norms(model: LinearModel, coefficients: Floats, classes: NDArray[np.str_]) -> Floats:
    """Mahalanobis norm (N,) of each shape in the model, from the median of its class.

    Divided by the root of the number of directions, so that a usual shape has about 1.

    Args:
        coefficients: (N, K) of the model.  classes: (N,).
    """
    variances = model.variances
    share = np.cumsum(variances) / max(float(variances.sum()), 1e-300)
    k = int(np.searchsorted(share, KEPT_VARIANCE)) + 1 if len(variances) else 0
    white = coefficients[:, :k] / np.sqrt(variances[:k])
    norms = np.zeros(len(white))
    for name in np.unique(classes):
        rows = np.flatnonzero(classes == name)
        norms[rows] = np.linalg.norm(white[rows] - np.median(white[rows], axis=0), axis=1)
    return norms / np.sqrt(max(k, 1))


def worst(norms: Floats, classes: NDArray[np.str_], share: float) -> NDArray[np.bool_]:
    """(N,) True for the share of each class with the largest norms, rounded down: small classes lose none."""
    out = np.zeros(len(norms), bool)
    for name in np.unique(classes):
        rows = np.flatnonzero(classes == name)
        n = int(np.floor(share * len(rows) + 1e-9))
        out[rows[np.argsort(-norms[rows], kind="stable")[:n]]] = True
    return out
