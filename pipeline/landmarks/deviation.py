"""How far the landmarks of one face are from another's, whatever their pose and size."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.rigid import fit_rigid, fit_similarity_scale
from mimicme.pipeline.landmarks import INNER, N_LANDMARKS

FEWEST = 4


def landmark_deviation(landmarks: Floats, confidence: Floats, reference: Floats) -> float:
    """Mean distance, mm, of the inner landmarks (68, 3) from a reference's, after a similarity fit; infinite without
    any."""
    known = (confidence > 0) & np.isfinite(landmarks).all(axis=1)
    known &= np.arange(N_LANDMARKS) >= INNER.start
    if known.sum() < FEWEST:
        return np.inf
    source, target = reference[known], landmarks[known]
    source = source * fit_similarity_scale(source, target)
    return float(np.linalg.norm(transform(fit_rigid(source, target), source) - target, axis=1).mean())
