"""A frame registered once more, from what the expression prior predicts from its first result."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.stages.register.annealing import annealed
from mimicme.stages.register.assessment import Fit, as_near, eyes_unsaid, stabilised
from mimicme.stages.register.fine import fitted_fine
from mimicme.stages.register.fit_target import FitTarget
from mimicme.stages.register.frame import Frame, Registered
from mimicme.stages.register.frame_landmarks import FrameLandmarks
from mimicme.stages.register.person import Person
from mimicme.stages.register.prior import ExpressionPrior
from mimicme.stages.register.quality import Quality
from mimicme.stages.register.skin import weights_of
from mimicme.stages.register.targets import ScanTarget

FEW_TRIANGLES = 0.003
"""Share of all triangles: with more flipped or self-intersecting beyond the first result's, the second is rejected."""
SECOND_PASS_STEPS, SECOND_PASS_STIFFNESS, SECOND_PASS_SCALE_MM = 3, (300.0, 30.0), 3.0
"""Coarse steps of the second pass: it begins nearer than the first, and is held more firmly to a better prediction."""


def second_pass(person: Person, frame: Frame, first: Registered, prior: ExpressionPrior) -> Registered:
    """Register a frame once more, from what the expression prior predicts from its first result.

    The stiffness now holds the frame to the prediction and not to the neutral, so that it no longer costs anything
    to move as faces do; the steps on the template itself follow the scan alone, as in the first pass.  The first
    result is returned where the second is not as good: rejected, farther from its scan, or with more triangles
    flipped or self-intersecting.
    """
    setup, settings, level = person.setup, person.setup.settings, person.setup.levels.coarse
    scan = ScanTarget(transform(inverse(first.pose), frame.vertices), frame.faces)
    vertices = first.vertices.astype(np.float64)
    marks = FrameLandmarks.again(person, frame, first.pose, scan, setup.template.landmarks(vertices))
    fitter = person.fitters.of(*marks.closed)
    correspondences = fitter.correspondences(vertices, scan, settings.scale_end_mm)
    observed = fitter.observed(correspondences, settings.scale_end_mm)[level.index]
    predicted = prior.predict(
        (vertices - person.rest)[level.index],
        correspondences.normals[level.index],
        observed.astype(np.float64),
    )
    rest = person.rest + setup.levels.prolong @ predicted
    carried = setup.levels.fine.landmarks @ rest
    weights = marks.agreeing(marks.weights, carried, settings.landmark_smoothing_mm)
    target = FitTarget(scan, marks.points, weights, weights_of(first.skin / 255))
    scale_mm = (SECOND_PASS_SCALE_MM, 2 * settings.scale_end_mm)
    steps = annealed(SECOND_PASS_STEPS, SECOND_PASS_STIFFNESS, scale_mm)
    displacement = fitter.coarse(rest, target, np.zeros_like(rest), steps)
    displacement = fitted_fine(person, fitter, rest, target, displacement)
    fit = Fit(rest, displacement, target, marks.known, first.skin, eyes_unsaid(first.quality))
    try:
        second = stabilised(person, fitter, frame, first.pose, fit)
    except FrameRejected:
        return first
    return second if _as_good(second.quality, first.quality, len(setup.template.faces)) else first


def _as_good(second: Quality, first: Quality, triangles: int) -> bool:
    """Whether a frame's second result may take the place of its first."""
    few = FEW_TRIANGLES * triangles
    return (
        as_near(second, first)
        and second.flipped_triangles <= first.flipped_triangles + few
        and second.crossing_triangles <= first.crossing_triangles + few
    )
