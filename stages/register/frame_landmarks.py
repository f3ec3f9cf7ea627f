"""The landmarks of one frame as they are fitted to: less a detector's bias, with shut lids met, and weighted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS
from mimicme.pipeline.template.eyelids import EYES, open_share
from mimicme.stages.register.detector_bias import CLOSED_EYE
from mimicme.stages.register.eye_look import EYE_HIDDEN, EYE_SHOWN, met
from mimicme.stages.register.eye_state import closed_eyes, eyes_still_closed, eyes_unlike_skin
from mimicme.stages.register.frame import Frame
from mimicme.stages.register.person import Person
from mimicme.stages.register.setup import Setup
from mimicme.stages.register.spline import landmark_weights
from mimicme.stages.register.targets import ScanTarget

NOSE_RIDGE = np.zeros(N_LANDMARKS, bool)
NOSE_RIDGE[27:30] = True
"""Three points that share out a line without marks: where on it they lie is a bias of the detector."""


class FrameLandmarks(NamedTuple):
    """The landmarks of a frame.

    Attributes:
        known: (68,) True where one is to be used.
        points: (68, 3) canonical frame, mm; 0 where it is not.
        weights: (68,) mm^2, by their confidence alone.
        shown: (68, 3) those that tell whether eyes and mouth are open, before shut lids are met; NaN the others.
        closed: whether the right and the left eye are closed.
        surely_open: those of `EYES` whose lids' landmarks the colours show to be wrong.
    """

    known: Bools
    points: Floats
    weights: Floats
    shown: Floats
    closed: tuple[bool, bool]
    surely_open: list[str]

    @classmethod
    def of(cls, person: Person, frame: Frame, scan: ScanTarget) -> FrameLandmarks:
        """Those of a frame as it comes; the scan, canonical, has its colours."""
        known = frame.known
        if person.neutral is None:
            known &= ~(frame.detected & NOSE_RIDGE)
        points = np.where(known[:, None], transform(inverse(frame.pose), frame.landmarks), 0.0)
        unlike = eyes_unlike_skin(person, points, frame, known, scan)
        surely_open = [eye for eye in EYES if unlike[eye] > EYE_SHOWN]
        points = person.without_bias(points, person.detector_offset, frame, known, surely_open)
        shown = np.where((known & frame.tells_expression)[:, None], points, np.nan)
        closed = closed_eyes(person.open_eyes, shown, scan, unlike)
        for eye, shut in zip(EYES, closed, strict=True):
            if shut and unlike[eye] < EYE_HIDDEN:
                points = met(points, known, person.open_eyes, eye)
        return cls(known, points, _confident(person.setup, frame, known), shown, closed, surely_open)

    @classmethod
    def again(
        cls, person: Person, frame: Frame, pose: Floats, scan: ScanTarget, on_first: Floats
    ) -> FrameLandmarks:
        """Those of a frame that has been registered, at its pose (4, 4): nobody has its colours any more, but landmarks
        (68, 3) on that result tell what they said of the eyes."""
        known = frame.known
        surely_open = [eye for eye in EYES if open_share(on_first, person.open_eyes, eye) >= CLOSED_EYE]
        points = np.where(known[:, None], transform(inverse(pose), frame.landmarks), 0.0)
        points = person.without_bias(points, person.detector_offset, frame, known, surely_open)
        shown = np.where((known & frame.tells_expression)[:, None], points, np.nan)
        closed = eyes_still_closed(person.open_eyes, shown, scan, on_first)
        for eye, shut in zip(EYES, closed, strict=True):
            if shut and frame.detected[GROUPS[eye]].all():
                points = met(points, known, person.open_eyes, eye)
        return cls(known, points, _confident(person.setup, frame, known), shown, closed, surely_open)

    def agreeing(self, weights: Floats, carried: Floats, smoothing_mm: float) -> Floats:
        """(68,) weights, less of landmarks that contradict the others, as a shape carries them, (68, 3)."""
        known, agreed = self.known, weights.copy()
        agreed[known] *= landmark_weights(carried[known], self.points[known], smoothing_mm)
        return agreed


def _confident(setup: Setup, frame: Frame, known: Bools) -> Floats:
    """(68,) mm^2."""
    return np.where(known, setup.settings.landmark_weight_mm2 * frame.confidence, 0.0)
