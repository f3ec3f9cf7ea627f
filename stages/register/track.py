"""One sequence: the order its frames are registered in, and what each of them starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.pipeline.landmarks.deviation import landmark_deviation
from mimicme.pipeline.numerics.temporal import Regions
from mimicme.pipeline.template import Template
from mimicme.stages.register.assessment import reassessed
from mimicme.stages.register.fast_motion import FastMotion
from mimicme.stages.register.frame import MAX_GAP, Frame, Previous, Registered
from mimicme.stages.register.levels import Levels
from mimicme.stages.register.neutral_fit import fit_neutral
from mimicme.stages.register.person import Person
from mimicme.stages.register.prior import ExpressionPrior
from mimicme.stages.register.second_pass import second_pass
from mimicme.stages.register.setup import Setup
from mimicme.stages.register.slow_motion import SlowMotion
from mimicme.stages.register.targets import ScanTarget
from mimicme.stages.register.tracked_fit import fit_tracked

if TYPE_CHECKING:
    from mimicme.stages.register.settings import RegisterSettings


class SequenceTracker:
    """Registers the frames of one sequence in the order it asks for.

    Args:
        template: the prepared template.
        levels: its levels.
        settings: of the stage.
        neutral: (V, 3) the subject's registered neutral, canonical, mm; None when this sequence has to find it: its
            most neutral frame is then fitted first, from the template, and takes that place.
        detector_offset, worn: found together with the neutral; see `Person`.

    Attributes:
        person: what is known of the subject by now.
        neutral_number: of the frame that became the neutral; None where none has.
        neutral_oddity: what speaks against it as a neutral, "" if nothing does.
        neutral_membrane: the setting whose stiffness against stretching it was fitted with; "" while there is none.
    """

    def __init__(
        self,
        template: Template,
        levels: Levels,
        settings: RegisterSettings,
        neutral: Floats | None,
        detector_offset: Floats | None = None,
        worn: NDArray[np.int64] | None = None,
    ) -> None:
        self.setup = Setup.of(template, levels, settings)
        self.person = (
            Person.unknown(self.setup)
            if neutral is None
            else Person.of(self.setup, neutral, detector_offset, worn)
        )
        self.neutral_number: int | None = None
        self.neutral_oddity = ""
        self.neutral_membrane = ""
        self._previous: Previous | None = None

    @property
    def neutral(self) -> Floats | None:
        """(V, 3) the subject's registered neutral, canonical, mm; None while there is none."""
        return self.person.neutral

    @property
    def skull_centre(self) -> Floats:
        """(3,) mm, canonical."""
        return self.setup.anatomy.skull_centre

    @property
    def regions(self) -> Regions:
        """Those that smoothing in time tells apart."""
        return self.setup.anatomy.regions

    @property
    def fast_motion(self) -> FastMotion:
        """Of the template."""
        return self.setup.anatomy.fast_motion

    @property
    def slow_motion(self) -> SlowMotion:
        """Of the template."""
        return self.setup.anatomy.slow_motion

    def order(self, rows: list[int], neutral_cost: Callable[[int], float]) -> Iterator[int]:
        """The order to register rows in: time's, but while there is no neutral the most neutral first, until one fits.

        Args:
            neutral_cost: gives a row's; the lower, the more neutral, as align found it.
        """
        waiting = list(rows)
        if self.neutral is None:
            for row in sorted(rows, key=neutral_cost):
                waiting.remove(row)
                yield row
                if self.neutral is not None:
                    break
        yield from waiting

    def order_from_anchor(
        self, rows: list[int], landmarks: Callable[[int], tuple[Floats, Floats]]
    ) -> Iterator[int]:
        """The order to register the rows of a part in: from its anchor to its end, then from there to its beginning.

        The anchor is the frame whose landmarks are nearest to the neutral's: it has nothing but them to start from.
        Rows are registered as they are asked for, none in between.

        Args:
            landmarks: gives a row's landmarks (68, 3) and confidence (68,), as in `Frame`.
        """
        if not rows:
            return
        reference = self.setup.levels.fine.landmarks @ self.person.rest
        anchor = rows.index(min(rows, key=lambda row: landmark_deviation(*landmarks(row), reference)))
        turning_point = None
        for row in rows[anchor:]:
            yield row
            # the anchor, unless it is rejected: then what comes next after it
            turning_point = turning_point or self._previous
        self._previous = turning_point
        yield from reversed(rows[:anchor])

    def register(self, frame: Frame) -> Registered:
        """Register one frame.

        Raises:
            FrameRejected: one of the reasons of rejection.py.
        """
        if self.neutral is None:
            found, self.person, skin, self.neutral_oddity, self.neutral_membrane = fit_neutral(
                self.person, frame
            )
            self.neutral_number = frame.number
        else:
            before = self._previous
            if before is not None and abs(frame.number - before.number) > MAX_GAP:
                before = None
            found, skin = fit_tracked(self.person, frame, before)
        displacement = found.vertices.astype(np.float64) - self.person.rest
        self._previous = Previous(frame.number, displacement, skin)
        return found

    def second_pass(self, frame: Frame, first: Registered, prior: ExpressionPrior) -> Registered:
        """See `second_pass.second_pass`."""
        return second_pass(self.person, frame, first, prior)

    def refine_pose(self, frame: Frame, vertices: Floats, pose: Floats, skin: NDArray[np.uint8]) -> Floats:
        """The pose (4, 4) of a known shape (V, 3, canonical), refined on the frame's surface, where it is skin (V,)."""
        scan = ScanTarget(transform(inverse(pose), frame.vertices), frame.faces)
        return self.setup.refined_pose(vertices, pose, scan, skin / 255)

    def assess(self, frame: Frame, vertices: Floats, pose: Floats, own: Registered) -> Registered:
        """See `assessment.reassessed`."""
        return reassessed(self.person, frame, vertices, pose, own)
