"""Settings of the registration, and what the presets change of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mimicme.pipeline.errors import ConfigError


@dataclass(frozen=True)
class RegisterSettings:
    """Settings of the registration; the defaults were tuned on two people of the ICT-FaceKit captures.

    Attributes:
        coarse_vertices: vertices of the coarse level.
        coarse_steps: Gauss-Newton steps there, for a frame that starts from its landmarks alone.
        tracked_steps: the same for a frame that starts from the one before it.
        neutral_fine_steps: steps on the template itself for a subject's neutral, after a first one that is stiffer.
        fine_steps: the same for every other frame.
        stiffness_start, stiffness_end: bending stiffness of the first and the last coarse step, mm^2; a feature
            narrower than about stiffness^(1/4) mm is smoothed away.
        stiffness_fine: the same on the template itself, per mm of its vertex spacing: a finer template may
            follow finer detail.
        fine_landmark_share: what is left of the landmarks' weight there.  They have led the coarse level, and
            pulling at single vertices of a fine mesh folds it.
        membrane: weight of stretching relative to bending.
        membrane_neutral: the same while a subject's neutral is fitted from the template: between two people skin
            is stretched less than by an expression.  Not where the mouth of what has to serve as neutral is open.
        landmark_weight_mm2: a landmark counts as much as this area of surface, to the very end.
        detected_share: what is left of that weight where a detector found the landmark and the neutral is fitted.  Its
            slips go the same way for neighbours, so that many points are not many witnesses: lids, nose and lips have
            relief, and there the scan knows better.  Brows have none and keep their weight; the ridge of the nose,
            which a detector's points only share out, has none left.
        landmark_smoothing_mm: smoothing of the initial landmark warp; about twice the landmarks' noise.
        scale_start_mm, scale_end_mm: residual at which a scan point's weight has fallen to a quarter.
        max_normal_angle_deg: between a template point and the scan point it is paired with.
        coarse_tolerance, fine_tolerance: relative tolerance of the linear solver.
        smooth_in_time: remove what rattles from frame to frame; sequences of 9 frames and more.
        region_reach_mm: scan vertices farther from the registered surface are not skin of the template's region.
        max_s2m_median_mm, max_landmark_error_mm, min_data_share, max_folded_share,
        max_expected_error_mm: a frame beyond is rejected; with found landmarks, beyond twice as much.
        part_frames: a sequence of one and a half times as many frames or more is tracked in parts of about so many,
            side by side (parts.py); 0: never.  A sequence that has to find its neutral itself is never cut.
    """

    coarse_vertices: int = 2500
    coarse_steps: int = 6
    tracked_steps: int = 3
    neutral_fine_steps: int = 3
    fine_steps: int = 2
    stiffness_start: float = 3000.0
    stiffness_end: float = 10.0
    stiffness_fine: float = 0.25
    fine_landmark_share: float = 0.05
    membrane: float = 0.0003
    membrane_neutral: float = 0.006
    landmark_weight_mm2: float = 20.0
    detected_share: float = 0.05
    landmark_smoothing_mm: float = 2.0
    scale_start_mm: float = 10.0
    scale_end_mm: float = 0.7
    max_normal_angle_deg: float = 53.0
    coarse_tolerance: float = 1e-4
    fine_tolerance: float = 1e-3
    smooth_in_time: bool = True
    region_reach_mm: float = 10.0
    max_s2m_median_mm: float = 1.0
    max_landmark_error_mm: float = 6.0
    min_data_share: float = 0.2
    max_folded_share: float = 0.01
    max_expected_error_mm: float = 2.1
    part_frames: int = 60

    def __post_init__(self) -> None:
        least = {
            "coarse_vertices": 100,
            "coarse_steps": 1,
            "tracked_steps": 1,
            "neutral_fine_steps": 1,
            "fine_steps": 1,
        }
        for name, bound in least.items():
            self._check(name, getattr(self, name) >= bound, f"at least {bound}")
        for name in (
            "stiffness_start", "stiffness_end", "stiffness_fine", "scale_start_mm", "scale_end_mm",
            "region_reach_mm", "max_s2m_median_mm", "max_landmark_error_mm", "max_expected_error_mm",
        ):  # fmt: skip
            self._check(name, getattr(self, name) > 0, "more than 0")
        for name in (
            "membrane", "membrane_neutral", "landmark_weight_mm2", "landmark_smoothing_mm", "max_folded_share",
            "part_frames",
        ):  # fmt: skip
            self._check(name, getattr(self, name) >= 0, "0 or more")
        for name in ("detected_share", "fine_landmark_share", "min_data_share"):
            self._check(name, 0 <= getattr(self, name) <= 1, "0 to 1")
        for name in ("coarse_tolerance", "fine_tolerance"):
            self._check(name, 0 < getattr(self, name) < 1, "between 0 and 1")
        self._check("max_normal_angle_deg", 0 < self.max_normal_angle_deg < 90, "between 0 and 90")

    def _check(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ConfigError(
                "a setting is out of range",
                where=f"register.{name}",
                seen=getattr(self, name),
                expected=expected,
            )


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {
        "coarse_vertices": 1500,
        "coarse_steps": 4,
        "tracked_steps": 2,
        "neutral_fine_steps": 2,
        "fine_steps": 1,
    },
    "default": {},
    "best": {
        "coarse_vertices": 4000,
        "coarse_steps": 10,
        "tracked_steps": 5,
        "neutral_fine_steps": 5,
        "fine_steps": 4,
    },
}
