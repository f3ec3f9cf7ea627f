"""A person's size and proportions: the template takes them on before it is fitted.

The stiffness penalises stretching, though a head that is larger, longer or wider all over has not been stretched.  Only
the rest shape is changed, never the result.
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.rigid import fit_affine, fit_scale
from mimicme.stages.register.setup import Setup
from mimicme.stages.register.spline import MIN_LANDMARKS, landmark_weights

NOSE_BASE = 33
LARGEST_SCALE = 1.5
"""How much larger or smaller than the template a person may be; what goes beyond is a wrong landmark file."""
LEAST_FACE = 30
"""Coarse vertices of the face that tell its proportions, at least; each as far as it counts."""
LEAST_LOWER_FACE = 0.5
"""Share of the face's core below the nose that has to be skin for its proportions to be told: what brows and cheeks
alone tell would be carried on over a jaw that nobody sees.  Half, set beforehand and not tuned."""


def sized_template(setup: Setup, landmarks: Floats, known: Bools) -> Floats:
    """(V, 3) the template at a person's size, which landmarks (68, 3), as far as `known`, tell.

    Without this the fit of a larger head falls short at the ears.
    """
    template = setup.template
    source, target = template.landmarks()[known], landmarks[known]
    if len(source) < MIN_LANDMARKS:
        return template.vertices
    weights = landmark_weights(source, target, setup.settings.landmark_smoothing_mm)
    middle = weights @ source / weights.sum()
    scale = fit_scale(source, target, weights)
    return middle + np.clip(scale, 1 / LARGEST_SCALE, LARGEST_SCALE) * (template.vertices - middle)


def in_proportion(
    setup: Setup, rest: Floats, displacement: Floats, free: Floats | None
) -> tuple[Floats, Floats]:
    """A rest shape (V, 3) of a person's proportions, and the displacement (V, 3) that is left.

    A face that is longer, wider or deeper than the template all over bends nowhere (stiffness.py): what a first result
    (V, 3) has of an affine map over the face belongs to the rest shape, as its size does (`sized_template`).  A face of
    which a beard hides the lower half keeps the template's.

    Args:
        free: (V,) as far as the scan shows skin, 0 to 1; None where nothing is known of that.
    """
    template, level = setup.template, setup.levels.coarse
    core, skull = setup.anatomy.core, setup.anatomy.skull
    free = np.ones(len(rest)) if free is None else free
    lower = core.areas * (template.vertices[:, 1] < template.landmarks()[NOSE_BASE, 1])
    counts = free[level.index] * ((core.areas > 0) | (skull > 0))[level.index]
    if counts.sum() < LEAST_FACE or lower @ free < LEAST_LOWER_FACE * lower.sum():
        return rest, displacement
    found = rest + displacement
    affine = fit_affine(rest[level.index], found[level.index], counts * level.areas)
    sizes = np.linalg.svd(affine[:3, :3], compute_uv=False)
    if sizes[0] > LARGEST_SCALE or sizes[-1] < 1 / LARGEST_SCALE:
        return rest, displacement
    rest = transform(affine, rest)
    return rest, found - rest
