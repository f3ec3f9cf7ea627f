"""Whether a scan shows an ear, or hair that covers it: an ear that is not seen pulls less."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.stages.register.fit_target import Correspondences
from mimicme.stages.register.levels import Level


class VisibilityThresholds(NamedTuple):
    """Mean robust weight over an ear, at residual scale `scale_mm`, up to which it counts as occluded, and from which
    on as visible on the scan."""

    scale_mm: float
    occluded: float
    visible: float


class EarVisibility(NamedTuple):
    """Visibility of an ear on the coarse level, tested from the first step whose residual scale is not larger, and on
    the template itself."""

    coarse: VisibilityThresholds
    fine: VisibilityThresholds


GENERIC_EARS = EarVisibility(VisibilityThresholds(1.5, 0.28, 0.34), VisibilityThresholds(1.05, 0.35, 0.45))
PERSONAL_EARS = EarVisibility(VisibilityThresholds(1.5, 0.5, 0.6), VisibilityThresholds(1.05, 0.5, 0.6))
"""The template's ears, and those of the person's own neutral, which fit much better.  Under hair, on a real scan, 0.22
and 0.28 on the coarse level, 0.18 and 0.24 on the template, with the neutral's up to 0.34; bare, on eleven synthetic
people, one of them with ears 17 mm from the template's, at least 0.34, 0.51 and 0.74."""


def visible_ears(
    level: Level,
    correspondences: Correspondences,
    thresholds: VisibilityThresholds,
    min_cosine: float,
    distance_scales: float,
) -> Floats:
    """(n,) factor of the correspondences' weights: 1, and less on an ear that the scan does not show.

    Where hair covers an ear the scan has a surface too, but few of its points are valid correspondences.

    Args:
        min_cosine, distance_scales: of `RejectionThresholds`.
    """
    weight = np.ones(len(correspondences.vertices))
    ear = np.flatnonzero(level.ears.any(axis=1))
    scale = thresholds.scale_mm
    found = correspondences.closest.subset(ear).targets(
        correspondences.normals[ear], scale, min_cosine, distance_scales * scale
    )
    span = thresholds.visible - thresholds.occluded
    for mask in level.ears[ear].T:
        area = level.areas[ear] * mask
        agree = float(area @ found.weights) / max(float(area.sum()), 1e-12)
        weight[ear] -= mask * (1 - np.clip((agree - thresholds.occluded) / span, 0, 1))
    return weight
