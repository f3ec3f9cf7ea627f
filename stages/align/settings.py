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
        min_landmarks: smallest number of trusted landmarks; a frame with fewer is rejected.
        min_agreeing: smallest part of the given landmarks that must be trusted (share, 0 to 1); a frame with less is
            rejected.
        max_disagreement: largest robust cost of the similarity fit to the landmarks (no unit, 0 to 1); 0 is full
            agreement, a frame beyond it is rejected.  Two different persons give 0.01 to 0.1, 20 % wrong points 0.3,
            40 % 0.42, left and right exchanged 0.5, an unknown order over 0.7.
        min_scale: smallest size of the face relative to the template's (ratio); below it the unit is wrong and the
            frame is rejected.
        max_scale: largest size of the face relative to the template's (ratio); above it the unit is wrong and the
            frame is rejected.
        max_residual_mm: largest mean residual of the trusted landmarks of eyes, brows and nose; a frame beyond it is
            rejected.
        refine: whether the pose is refined on the surface, by point-to-plane ICP, where landmarks are few.
        few_landmarks: number of trusted landmarks, of the 51 inner ones, below which they are few; those of the jaw
            do not determine the pose.
        rounds: largest number of iterations of the pose refinement.
        samples: number of template vertices that the pose refinement uses.
        max_turn_deg: largest rotation of the head by the pose refinement; beyond it the refinement is undone.
        max_shift_mm: largest translation of the head by the pose refinement; beyond it the refinement is undone.
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
