"""The last steps of every fit: a displacement taken on to the template's own resolution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.stages.register.annealing import Step, annealed
from mimicme.stages.register.fit import Fitter
from mimicme.stages.register.fit_target import FitTarget
from mimicme.stages.register.person import Person

FIRST_STIFFER = 10.0
"""Stiffness of the first step on the template itself, in that of the others."""


def fitted_fine(person: Person, fitter: Fitter, rest: Floats, fit_target: FitTarget, start: Floats) -> Floats:
    """A displacement (V, 3) from a rest shape (V, 3) taken on to the template's own resolution.

    The first step is stiffer and looks farther: what the coarse level has no vertices for is still as at rest,
    and is brought near as a whole before the surface gives way point by point.  What has moved far from a person's
    own neutral is no longer held to it, and a person that is far from the template not to that.
    """
    settings = person.setup.settings
    stiffness = settings.stiffness_fine * float(np.sqrt(person.setup.levels.fine.areas.mean()))
    scale = settings.scale_end_mm
    if person.neutral is None:
        wide, count = 3 * scale, settings.neutral_fine_steps
    else:
        wide, count = 2 * scale, settings.fine_steps
    moved = fitter.carried(start)
    return moved + fitter.fine(
        rest + moved,
        replace(fit_target, weights=settings.fine_landmark_share * fit_target.weights),
        start - moved,
        [
            Step(FIRST_STIFFER * stiffness, wide),
            *annealed(count, (stiffness, stiffness), (wide / 2, scale)),
        ],
        person.rest,
    )
