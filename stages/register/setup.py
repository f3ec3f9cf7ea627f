"""What every sequence is registered with: the template, its levels and anatomy, and the stage's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.template import Template, TemplateKey
from mimicme.stages.register.anatomy import Anatomy
from mimicme.stages.register.carried_motion import CarriedMotion
from mimicme.stages.register.ear_visibility import GENERIC_EARS, PERSONAL_EARS, EarVisibility
from mimicme.stages.register.fit import Fitters, RejectionThresholds
from mimicme.stages.register.levels import Levels
from mimicme.stages.register.preconditioners import LandmarkWeights
from mimicme.stages.register.rejection import Limits
from mimicme.stages.register.skin import weights_of
from mimicme.stages.register.stabilisation import refine_pose
from mimicme.stages.register.targets import ScanTarget

if TYPE_CHECKING:
    from mimicme.stages.register.settings import RegisterSettings

PERSONAL_TOLERANCE = 2.5
"""Tolerance on the template itself for a frame that begins from its person's neutral, in that of the neutral: it is a
share of the displacement, and what is left of that without the head's motion is small already.  Without it james's
tracked frame took half as many iterations again, for the same surface."""


class Setup(NamedTuple):
    """The template, its levels, the stage's settings, and the template's anatomy."""

    template: Template
    levels: Levels
    settings: RegisterSettings
    anatomy: Anatomy

    @classmethod
    def of(cls, template: Template, levels: Levels, settings: RegisterSettings) -> Setup:
        """That of a template; its anatomy is made once."""
        anatomy = levels.once("anatomy", TemplateKey(template), lambda: Anatomy.of(template, levels))
        return cls(template, levels, settings, anatomy)

    @property
    def min_cosine(self) -> float:
        """Least cosine of the angle between the normals of a correspondence."""
        return float(np.cos(np.radians(self.settings.max_normal_angle_deg)))

    @property
    def limits(self) -> Limits:
        """Of what may be called registered."""
        settings = self.settings
        return Limits(
            settings.max_s2m_median_mm,
            settings.max_landmark_error_mm,
            settings.min_data_share,
            settings.max_folded_share,
            settings.max_expected_error_mm,
            settings.min_half_share,
            settings.min_neutral_half_share,
            self.anatomy.assessor.spread,
        )

    def generic_fitters(self, membrane: float) -> Fitters:
        """For a frame that is to be the neutral, by its stiffness against stretching (mm^-2)."""
        levels = self.levels.for_generic_template(membrane - self.settings.membrane)
        return self.fitters(levels, GENERIC_EARS)

    def personal_fitters(self) -> Fitters:
        """For a frame that begins from its person's neutral."""
        return self.fitters(self.levels, PERSONAL_EARS, PERSONAL_TOLERANCE)

    def fitters(self, levels: Levels, ears: EarVisibility, slack: float = 1.0) -> Fitters:
        """With the stage's settings; `slack` is a factor of the tolerance on the template itself."""
        settings = self.settings
        rejection = RejectionThresholds(min_cosine=self.min_cosine, ears=ears)
        weight = settings.landmark_weight_mm2
        weights = LandmarkWeights(weight, settings.fine_landmark_share * weight)
        # one factorisation for persons and expressions: it takes as many iterations, and seconds to make
        motion = self.levels.once("motion", None, lambda: CarriedMotion(self.levels.fine))
        return Fitters(
            levels, weights, rejection, settings.coarse_tolerance, slack * settings.fine_tolerance, motion
        )

    def refined_pose(self, vertices: Floats, pose: Floats, scan: ScanTarget, skin: Floats) -> Floats:
        """The pose (4, 4) of a known shape (V, 3, canonical), refined on a scan that lies as it says, where that is
        skin (V,), 0 to 1."""
        scale, weights = self.settings.scale_end_mm, weights_of(skin)
        return pose @ refine_pose(vertices, self.template.faces, scan, scale, self.min_cosine, weights)
