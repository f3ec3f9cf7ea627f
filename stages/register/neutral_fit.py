"""The neutral of a person of whom nothing is known yet, fitted from the template.

The template takes on the person's size, ears and proportions first; what the person wears is found on the way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.mesh import inverse, transform, vertex_normals
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS
from mimicme.stages.register.annealing import Step, annealed
from mimicme.stages.register.assessment import Fit, stabilised
from mimicme.stages.register.ear_visibility import GENERIC_EARS
from mimicme.stages.register.fine import fitted_fine
from mimicme.stages.register.fit import Fitter
from mimicme.stages.register.fit_target import FitTarget
from mimicme.stages.register.found_chin import leading_chin
from mimicme.stages.register.frame import Frame, Registered
from mimicme.stages.register.frame_landmarks import FrameLandmarks
from mimicme.stages.register.head_placing import with_head_motion
from mimicme.stages.register.neutrality import OPEN_MOUTH, bare_about_mouth, mouth_opening, moved, oddity
from mimicme.stages.register.person import Person
from mimicme.stages.register.proportions import in_proportion, sized_template
from mimicme.stages.register.setup import Setup
from mimicme.stages.register.skin import as_bytes, weights_of
from mimicme.stages.register.skin_tracking import near_worn, skin_share
from mimicme.stages.register.targets import ScanTarget

BROWS = np.zeros(N_LANDMARKS, bool)
BROWS[GROUPS["left_eyebrow"]] = BROWS[GROUPS["right_eyebrow"]] = True
MOSTLY_FOUND = 0.5
"""Share of the landmarks above which a neutral's are a detector's, and a few corrected by hand among them."""
AROUND_EARS = 3
"""Coarse steps after the ears were placed, at least: the head around them has moved with them."""
AROUND_SHELLS = 3
"""The same once more, without what lies below a shell.  Not tuned: on a dome below caps of 4 and 8 mm, 1 to 6 steps
give the same mean error to 0.01 mm."""


class FittedNeutral(NamedTuple):
    """A neutral that was fitted from the template.

    Attributes:
        registered: the frame.
        person: whom it makes known.
        skin: (V,) where its scan shows skin, 0 to 1.
        oddity: what speaks against it as a neutral, "" if nothing does.
        membrane: the setting whose stiffness against stretching it was fitted with; see `_membrane`.
    """

    registered: Registered
    person: Person
    skin: Floats
    oddity: str
    membrane: str


def fit_neutral(nobody: Person, frame: Frame) -> FittedNeutral:
    """The neutral of somebody, and what it tells.

    Args:
        nobody: of whom nothing is known (`Person.unknown`).

    Raises:
        FrameRejected: one of the reasons of rejection.py.
    """
    setup, settings = nobody.setup, nobody.setup.settings
    scan = ScanTarget(transform(inverse(frame.pose), frame.vertices), frame.faces, colors=frame.colors)
    marks = FrameLandmarks.of(nobody, frame, scan)
    person = replace(nobody, rest=sized_template(setup, marks.points, marks.known))
    membrane = _membrane(person, frame, marks)
    has_proportions = membrane == "membrane_found"
    person = replace(person, fitters=setup.generic_fitters(getattr(settings, membrane)))
    fitter = person.fitters.of(*marks.closed)
    weights = marks.agreeing(
        _weights(setup, frame, marks),
        setup.levels.fine.landmarks @ person.rest,
        settings.landmark_smoothing_mm,
    )
    target = FitTarget(scan, marks.points, weights)
    annealing = annealed(
        settings.coarse_steps,
        (settings.stiffness_start, settings.stiffness_end),
        (settings.scale_start_mm, 2 * settings.scale_end_mm),
    )
    rest, displacement, annealing = _coarse(person, fitter, frame, target, annealing, has_proportions)
    if settings.tell_skin:
        shape = rest + displacement
        normals = vertex_normals(shape, setup.template.faces)
        person = replace(person, worn=setup.anatomy.skin.worn(shape, normals, scan, rest))
    skin = skin_share(person, rest + displacement, scan, None)
    target = replace(target, skin=weights_of(skin))
    if len(person.worn):  # it has been fitted to as if it were skin
        led = _led(setup, frame, target) if has_proportions else target
        again = fitter.coarse(rest, led, displacement, annealing[-AROUND_SHELLS:])
        displacement += near_worn(rest, person.worn) * (again - displacement)
    displacement = fitted_fine(person, fitter, rest, target, displacement)
    fit = Fit(rest, displacement, target, marks.known, as_bytes(skin), marks.surely_open)
    found = stabilised(person, fitter, frame, frame.pose, fit)
    odd = oddity(
        marks.shown,
        setup.template.landmarks(),
        found.quality,
        bare_about_mouth(setup, skin),
        mouth_open=membrane == "membrane",
    )
    return FittedNeutral(found, person.found(frame, found), skin, odd, membrane)


def _weights(setup: Setup, frame: Frame, marks: FrameLandmarks) -> Floats:
    """(68,) mm^2: the scan knows better than a detector where a neutral has relief; but brows have none, and what is no
    neutral has moved farther than a detector errs."""
    detected_share = setup.settings.detected_share
    share = np.full(N_LANDMARKS, detected_share)
    share[BROWS] = 1.0
    for group, by in moved(marks.shown, setup.template.landmarks()).items():
        share[GROUPS[group]] += by * (1 - detected_share)
    return np.where(frame.detected, marks.weights * share, marks.weights)


def _membrane(person: Person, frame: Frame, marks: FrameLandmarks) -> str:
    """Which setting is the stiffness against stretching: `membrane` of an open mouth, and else, by where the landmarks
    come from, `membrane_neutral`, or `membrane_found`, with which the template takes on the person's proportions."""
    setup, known = person.setup, marks.known
    points = np.where(known[:, None], marks.points, np.nan)
    if mouth_opening(points, setup.levels.fine.landmarks @ person.rest) > OPEN_MOUTH:
        return "membrane"  # an open mouth has stretched the skin
    if known.any() and frame.detected[known].mean() > MOSTLY_FOUND:
        return "membrane_found"
    return "membrane_neutral"


def _led(setup: Setup, frame: Frame, target: FitTarget) -> FitTarget:
    """The same target, led by the frame's chin, where that was found and the scan shows skin (`target.skin`)."""
    skin = np.ones(len(setup.template.vertices)) if target.skin is None else target.skin
    return replace(target, held=leading_chin(setup, frame, skin))


def _coarse(
    person: Person,
    fitter: Fitter,
    frame: Frame,
    target: FitTarget,
    annealing: list[Step],
    has_proportions: bool,
) -> tuple[Floats, Floats, list[Step]]:
    """A rest shape (V, 3) with the person's ears and proportions, and the displacement (V, 3) from it, as the coarse
    level finds them from landmarks and scan; and the steps since the ears were placed.

    A template that takes on the person's proportions is led by the frame's chin, where that was found.
    """
    setup = person.setup
    start = fitter.warp(person.rest, target, setup.settings.landmark_smoothing_mm)
    rest, start = with_head_motion(setup, person.rest, start)
    free = weights_of(skin_share(person, rest + start, target.scan, None))
    target = replace(target, skin=free)
    if has_proportions:
        target = _led(setup, frame, target)
    rest, start, annealing = _with_ears_placed(setup, fitter, rest, start, target, free, annealing)
    if has_proportions:
        rest, start = in_proportion(setup, rest, start, free)
    displacement = fitter.coarse(rest, target, start, annealing)
    return *with_head_motion(setup, rest, displacement), annealing


def _with_ears_placed(
    setup: Setup,
    fitter: Fitter,
    rest: Floats,
    start: Floats,
    target: FitTarget,
    free: Floats,
    steps: list[Step],
) -> tuple[Floats, Floats, list[Step]]:
    """A rest shape (V, 3) with its ears where the scan shows them, as far as that is skin, `free` (V,); the
    displacement (V, 3) that is left, and the steps that are.

    The stiffness holds an ear to its place on the head and to its size, which are a person's own: only the rest
    shape is moved.  The ears are looked for when the head has found its way, and before they are fitted: an ear
    that lies on another part of the ear agrees with it, once it has been bent.
    """
    wide = [step for step in steps if step.scale_mm > GENERIC_EARS.coarse.scale_mm]
    displacement = fitter.coarse(rest, target, start, wide)
    moved = setup.anatomy.ears.placed(rest + displacement, target.scan, free)
    if moved is None:
        return rest, displacement, steps[len(wide) :]
    return rest + moved, displacement, steps[-AROUND_EARS:]
