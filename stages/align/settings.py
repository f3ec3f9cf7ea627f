"""Settings of the align stage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mimicme.pipeline.arrays import Bools
from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.landmarks import INNER


@dataclass(frozen=True)
class AlignSettings:
    """Settings of the align stage.

    Attributes:
        min_landmarks: fewer trusted landmarks reject the frame.
        min_agreeing: share of the given landmarks that must be trusted.
        max_disagreement: largest robust cost of the fit, 0 (all agree) to 1.  Two different persons give
            0.01 to 0.1, 20 % wrong points 0.3, 40 % 0.42, left and right exchanged 0.5, an unknown order over
            0.7.
        min_scale, max_scale: size of the face relative to the template's; beyond it the unit is wrong.
        max_residual_mm: mean residual of the trusted landmarks of eyes, brows and nose beyond which the
            frame is rejected.
        refine: whether to refine on the surface where landmarks are few.
        few_landmarks: fewer trusted landmarks of the 51 inner ones are few; those of the jaw hold no pose.
        rounds: rounds of surface refinement.
        samples: template vertices used for it.
        max_turn_deg, max_shift_mm: refinement that moves the head further than this is undone.
    """

    min_landmarks: int = 4
    min_agreeing: float = 0.5
    max_disagreement: float = 0.45
    min_scale: float = 0.65
    max_scale: float = 1.5
    max_residual_mm: float = 15.0
    refine: bool = True
    few_landmarks: int = 20
    rounds: int = 15
    samples: int = 1500
    max_turn_deg: float = 12.0
    max_shift_mm: float = 15.0

    def __post_init__(self) -> None:
        if self.min_landmarks < 3:
            raise ConfigError(
                "three points fix a pose", seen=self.min_landmarks, expected="min_landmarks >= 3"
            )
        if self.few_landmarks < 0:
            raise ConfigError(
                "`few_landmarks` is a number of landmarks", seen=self.few_landmarks, expected="0 or more"
            )
        if not 0 <= self.min_agreeing <= 1:
            raise ConfigError("`min_agreeing` is a share", seen=self.min_agreeing, expected="0 to 1")
        if not 0 < self.min_scale < 1 < self.max_scale:
            raise ConfigError("the scales enclose 1", seen=f"{self.min_scale} and {self.max_scale}")
        if self.rounds < 1 or self.samples < 100:
            raise ConfigError("refinement needs rounds >= 1 and samples >= 100")

    def needs_surface(self, trusted: Bools) -> bool:
        """Whether the pose by the trusted landmarks (68,) is to be refined on the surface."""
        return self.refine and int(np.count_nonzero(trusted[INNER])) < self.few_landmarks
