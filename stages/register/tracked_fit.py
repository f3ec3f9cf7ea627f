"""A frame of a person whose neutral is known: fitted from there, and from where the frame before it has led."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.template.eyelids import EYES
from mimicme.stages.register.annealing import Step, annealed
from mimicme.stages.register.assessment import Fit, stabilised
from mimicme.stages.register.fine import fitted_fine
from mimicme.stages.register.fit import Fitter
from mimicme.stages.register.fit_target import FitTarget
from mimicme.stages.register.frame import Frame, Previous, Registered
from mimicme.stages.register.frame_landmarks import FrameLandmarks
from mimicme.stages.register.head_placing import head_of, head_on, with_head_motion
from mimicme.stages.register.person import Person
from mimicme.stages.register.setup import Setup
from mimicme.stages.register.skin import as_bytes, weights_of
from mimicme.stages.register.skin_tracking import skin_share
from mimicme.stages.register.targets import ScanTarget

LIDS_AGAIN = 2
"""Coarse steps that a closing eye is fitted again with; see lid_motion.py."""


class _Begun(NamedTuple):
    """Where a fit begins: a rest shape (V, 3) as the head has it, the displacement (V, 3) from it, and the target with
    what holds the forehead and with what is skin, as the frame before had it or the scan shows."""

    rest: Floats
    displacement: Floats
    target: FitTarget


def fit_tracked(person: Person, frame: Frame, before: Previous | None) -> tuple[Registered, Floats]:
    """A registered frame, and where its scan shows skin (V,), 0 to 1.

    Args:
        person: whose neutral is known.
        before: a frame near in time; None where there is none.

    Raises:
        FrameRejected: one of the reasons of rejection.py.
    """
    setup = person.setup
    scan = ScanTarget(transform(inverse(frame.pose), frame.vertices), frame.faces, colors=frame.colors)
    marks = FrameLandmarks.of(person, frame, scan)
    fitter = person.fitters.of(*marks.closed)
    begun = _begun(person, fitter, frame, scan, marks, before)
    rest, displacement, lids = _coarse(person, fitter, begun, _annealing(setup, before), frame.detected)
    skin = skin_share(person, rest + displacement, scan, None if before is None else before.skin)
    target = replace(begun.target, skin=weights_of(skin))
    displacement = fitted_fine(person, fitter, rest, target, displacement)
    # assessed from a shape at rest whose lids no landmark has moved: else one that is left out is followed already;
    # its size and proportions are told by all of them and the scan, and hardly follow one
    fit = Fit(rest - lids, displacement + lids, target, marks.known, as_bytes(skin), marks.surely_open)
    return stabilised(person, fitter, frame, frame.pose, fit), skin


def _annealing(setup: Setup, before: Previous | None) -> list[Step]:
    """The coarse steps: all of them, or, where a frame before has led near, from half-way down."""
    settings = setup.settings
    steps, first, scale = settings.coarse_steps, settings.stiffness_start, settings.scale_start_mm
    if before is not None:
        steps = settings.tracked_steps
        # half-way down the anneal, so that a fast mouth is still caught
        first = float(np.sqrt(settings.stiffness_start * settings.stiffness_end))
        scale = float(np.sqrt(settings.scale_start_mm * settings.scale_end_mm))
    return annealed(steps, (first, settings.stiffness_end), (scale, 2 * settings.scale_end_mm))


def _begun(
    person: Person,
    fitter: Fitter,
    frame: Frame,
    scan: ScanTarget,
    marks: FrameLandmarks,
    before: Previous | None,
) -> _Begun:
    """Where the fit of a frame begins, as the frame before it, its landmarks and its head lead."""
    setup, settings = person.setup, person.setup.settings
    rest = person.rest
    start = np.zeros_like(rest) if before is None else before.displacement
    carried = setup.levels.fine.landmarks @ (rest + start)
    weights = marks.agreeing(marks.weights, carried, settings.landmark_smoothing_mm)
    target = FitTarget(scan, marks.points, weights)
    head = head_on(person, target, frame.detected, None if before is None else before.skin)
    if head is not None:
        rest, start = transform(head, rest), start @ head[:3, :3].T
    warp = fitter.warp(rest + start, target, settings.landmark_smoothing_mm, True)
    # ears lie where the head has them: no found landmark is near them, and a jaw that opens would take them along
    start = start + (warp if head is None else _off_ears(setup) * warp)
    if head is None:
        rest, start = with_head_motion(setup, rest, start)
    skin = skin_share(person, rest + start, scan, None) if before is None else before.skin
    # points by hand lead nearly there
    skull = head_of(person, target, skin, [settings.scale_end_mm]) if head is None else head
    if skull is not None:
        target = replace(target, held=setup.anatomy.forehead.held(transform(skull, person.rest)))
    return _Begun(rest, start, replace(target, skin=weights_of(skin)))


def _off_ears(setup: Setup) -> Floats:
    """(V, 1) 1 away from the ears, less on them."""
    return 1 - setup.levels.fine.ears.max(axis=1, initial=0.0)[:, None]


def _coarse(
    person: Person, fitter: Fitter, begun: _Begun, annealing: list[Step], detected: Bools
) -> tuple[Floats, Floats, Floats]:
    """A rest shape (V, 3) with the lids of closing eyes as they were fitted, the displacement (V, 3) from it, and how
    far the lids of the rest shape have moved, (V, 3)."""
    rest, displacement, target = begun
    displacement = fitter.coarse(rest, target, displacement, annealing)
    rest, displacement = with_head_motion(person.setup, rest, displacement)
    lids = _lids(person, rest, displacement, detected)
    if lids.any():  # once more, without what holds them back
        displacement = lids + fitter.coarse(rest + lids, target, displacement - lids, annealing[-LIDS_AGAIN:])
        lids = _lids(person, rest, displacement, detected)
    return rest + lids, displacement - lids, lids


def _lids(person: Person, rest: Floats, displacement: Floats, detected: Bools) -> Floats:
    """(V, 3) how far the skin of a closing eye's lids has moved from a rest shape (V, 3), the neutral's; 0 where
    nothing closes; see lid_motion.py.

    A detector's points on lids are off by some millimetres, and by others from frame to frame.  What follows them
    freely trembles so much more than the skull does that smoothing in time takes it for motion, and with it the
    noise of the whole face: nothing follows them.

    Args:
        detected: (68,) True where a landmark was found by a detector.
    """
    if person.lid_motion is None or any(detected[GROUPS[eye]].any() for eye in EYES):
        return np.zeros_like(rest)
    return person.lid_motion.followed(rest, rest + displacement) - rest
