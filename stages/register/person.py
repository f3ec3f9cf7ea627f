"""What is known of a person: the neutral, the template of all other frames, and what was found with it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.eyelids import EYES, lid_opening
from mimicme.stages.register.detector_bias import without_bias
from mimicme.stages.register.ear_visibility import GENERIC_EARS
from mimicme.stages.register.fit import Fitters
from mimicme.stages.register.frame import Frame, Registered
from mimicme.stages.register.lid_motion import LidMotion
from mimicme.stages.register.neutrality import eye_closed
from mimicme.stages.register.notes import SHUT_LIDS_MM
from mimicme.stages.register.plausibility import Plausibility
from mimicme.stages.register.setup import Setup


@dataclass(frozen=True)
class Person:
    """A person, as far as known.

    Attributes:
        setup: what everybody is registered with.
        neutral: (V, 3) the registered neutral, canonical, mm; None while there is none.
        rest: (V, 3) mm, the shape that stiffness holds a frame to: the neutral, or while there is none the template.
        fitters: of frames that begin from that shape.
        open_eyes: (68, 3) landmarks with open eyes, canonical, mm: the person's own, whose lids may be narrow, but the
            template's of an eye that is closed in the neutral.
        plausibility: the figures of what a person sees.
        detector_offset: (68, 3) mm, how far from the neutral's own landmarks a detector sees them on this subject.  A
            detector that sees a point beside its place on the neutral does so in the other frames too: taken off, only
            the motion is the detector's.
        worn: (k,) vertices below what the subject wears on the neutral and only its rim tells from skin (`shells`): it
            is looked for there alone, and stays on.
        lid_motion: of the neutral's lids; None while there is none.
        neutral_stretch: `Quality.stretch_core` of the neutral; NaN while there is none.
    """

    setup: Setup
    neutral: Floats | None
    rest: Floats
    fitters: Fitters
    open_eyes: Floats
    plausibility: Plausibility
    detector_offset: Floats
    worn: NDArray[np.int64]
    lid_motion: LidMotion | None
    neutral_stretch: float

    @classmethod
    def unknown(cls, setup: Setup) -> Person:
        """Somebody of whom nothing is known yet."""
        return cls(
            setup,
            None,
            setup.template.vertices,
            setup.fitters(setup.levels, GENERIC_EARS),
            setup.template.landmarks(),
            setup.anatomy.plausibility,
            np.zeros((N_LANDMARKS, 3)),
            np.empty(0, np.int64),
            None,
            np.nan,
        )

    @classmethod
    def of(
        cls,
        setup: Setup,
        neutral: Floats,
        detector_offset: Floats | None = None,
        worn: NDArray[np.int64] | None = None,
    ) -> Person:
        """Somebody whose neutral (V, 3) was registered in another sequence, with what was found with it."""
        template = setup.template
        return replace(
            cls.unknown(setup)._with_neutral(neutral),
            plausibility=setup.anatomy.plausibility.of_person(neutral, template.landmarks(neutral)),
            detector_offset=np.zeros((N_LANDMARKS, 3)) if detector_offset is None else detector_offset,
            worn=np.empty(0, np.int64) if worn is None else worn,
        )

    def found(self, frame: Frame, neutral: Registered) -> Person:
        """The same, whose neutral has been registered."""
        known = self._with_neutral(neutral.vertices.astype(np.float64))
        return replace(known, detector_offset=self._offset_of(frame, neutral))

    def _with_neutral(self, neutral: Floats) -> Person:
        return replace(
            self,
            neutral=neutral,
            rest=neutral,
            fitters=self.setup.personal_fitters(),
            open_eyes=_open_eyes(self.setup.template, neutral),
            lid_motion=LidMotion(neutral, self.setup.levels),
            neutral_stretch=self.setup.anatomy.assessor.stretch_core(neutral),
        )

    def _offset_of(self, frame: Frame, neutral: Registered) -> Floats:
        """(68, 3) detected landmarks of the neutral from those that its registered mesh carries; 0 elsewhere."""
        use = frame.detected & frame.known
        offset = np.zeros((N_LANDMARKS, 3))
        detected = transform(inverse(neutral.pose), frame.landmarks[use])
        offset[use] = detected - (self.setup.levels.fine.landmarks @ neutral.vertices)[use]
        return offset

    def judging_bias(self) -> Floats:
        """(68, 3) mm: what is taken off detected landmarks before a fit is judged by them: `detector_offset`, but for
        an eye whose lids are shut on the neutral's own mesh: there the detector is right, and every frame has to say
        it."""
        bias = self.detector_offset.copy()
        if self.neutral is not None:
            template = self.setup.template
            own, reference = template.landmarks(self.neutral), template.landmarks()
            for eye in EYES:
                beside = lid_opening(own + bias, reference, eye) - lid_opening(own, reference, eye)
                if beside > SHUT_LIDS_MM:
                    bias[GROUPS[eye]] = 0.0
        return bias

    def without_bias(
        self,
        landmarks: Floats,
        bias: Floats,
        frame: Frame,
        known: Bools,
        surely_open: Collection[str] = (),
    ) -> Floats:
        """Landmarks (68, 3, canonical) of a frame, as far as `known` (68,), less a detector's bias (68, 3); see
        `detector_bias.without_bias`."""
        if self.neutral is None:
            return landmarks
        own = self.setup.template.landmarks(self.neutral)
        told = known & frame.tells_expression
        return without_bias(landmarks, bias, frame.detected & known, told, own, self.open_eyes, surely_open)


def _open_eyes(template: Template, neutral: Floats) -> Floats:
    """See `Person.open_eyes`, by the neutral (V, 3)."""
    reference = template.landmarks()
    own = template.landmarks(neutral)
    for eye in EYES:
        if eye_closed(own, reference, eye) == 1:
            own[GROUPS[eye]] = reference[GROUPS[eye]]
    return own
