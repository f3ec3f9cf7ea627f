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
        coarse_vertices: number of vertices of the coarse level.
        coarse_steps: number of Gauss-Newton steps on the coarse level, for a frame that starts from its landmarks
            alone.
        tracked_steps: number of Gauss-Newton steps on the coarse level, for a frame that starts from the one before
            it.
        neutral_fine_steps: number of Gauss-Newton steps at the template's own resolution for a subject's neutral,
            after a first one that is stiffer.
        fine_steps: number of Gauss-Newton steps at the template's own resolution for every other frame, after a first
            one that is stiffer.
        stiffness_start: bending stiffness of the first coarse step (mm^4); a feature narrower than about
            stiffness^(1/4) mm is smoothed away.
        stiffness_end: bending stiffness of the last coarse step (mm^4); a feature narrower than about
            stiffness^(1/4) mm is smoothed away.
        stiffness_fine: bending stiffness at the template's own resolution, per mm of its vertex spacing (mm^3): a
            finer template may follow finer detail.
        fine_landmark_share: what is left of the landmarks' weight at the template's own resolution. They have led
            the coarse level, and pulling at single vertices of a fine mesh folds it.
        membrane: stiffness against stretching, relative to the bending stiffness (mm^-2).
        membrane_neutral: stiffness against stretching, relative to the bending stiffness, while a subject's neutral
            is fitted from the template (mm^-2): between two people skin is stretched less than by an expression.
            Where the mouth of what has to serve as neutral is open, `membrane` holds.
        membrane_found: the same where most of the neutral's landmarks were found by a detector (mm^-2). They pull
            less, and of the jaw those of the chin alone lead a little: what resists stretching would decide how long
            and how wide it is. There it does not count as stretching by how much a face is longer, wider or deeper
            than the template all over. So a few points by hand more or less may change how a face is fitted: at half
            of them it jumps to `membrane_neutral`, which may cost more than those points gain, unless they hold the
            jaw. A run says of which neutrals that is so, and on which side they are.
        landmark_weight_mm2: weight of a landmark of full confidence, as the area of surface that counts as much.
        detected_share: what is left of `landmark_weight_mm2` for a detected landmark while the neutral is fitted. A
            detector's errors are correlated between neighbours: many points are not many observations. Lids, nose
            and lips have relief, and there the scan knows better. Brows have none and keep their weight; the ridge
            of the nose, on which a detector's points are only spaced out, has none left.
        landmark_smoothing_mm: smoothing of the initial spline warp onto the landmarks; about twice the landmarks'
            noise.
        scale_start_mm: scale of the robust weight in the first coarse step: the residual at which the weight of a
            correspondence has fallen to a quarter.
        scale_end_mm: scale of the robust weight in the last step at the template's own resolution; the coarse level
            ends at twice as much.
        max_normal_angle_deg: correspondence rejection: largest angle between the normals of a template point and of
            its closest scan point.
        coarse_tolerance: relative tolerance of the linear solver on the coarse level (ratio).
        fine_tolerance: relative tolerance of the linear solver at the template's own resolution (ratio).
        tell_skin: whether hair, full beards, caps and clothes are told from skin, by colour, roughness and rims, and
            let go: the mesh goes on smoothly below them, and `skin_seen` says where; of these, textures have a beard
            alone.
        smooth_in_time: whether jitter between frames is removed, in sequences of 9 frames and more.
        region_reach_mm: largest distance of a scan vertex from the registered surface in the figures of quality;
            what is farther, as hair, is not skin of the template's region.
        max_s2m_median_mm: largest median distance of the scan to the registered surface; a frame beyond it is
            rejected.
        max_landmark_error_mm: largest mean distance of the landmarks to where the fit carries them when they are
            left out of it; a frame beyond it is rejected.
        min_data_share: smallest part of the template's area with correspondences on the scan; a frame with less is
            rejected.
        min_half_share: smallest part of either half of the face's core, brows to chin, that the scan shows, if with a
            beard over it; a frame with less, a profile or half a face, is rejected.
        min_neutral_half_share: as min_half_share, of the frame that is to be its subject's neutral: how it looks where
            the scan shows nothing, no other frame says; a frame with less is rejected, and the next one tried.
        max_folded_share: largest part of the triangles that may be flipped or degenerate; a frame beyond it is
            rejected.
        max_expected_error_mm: largest expected error of the correspondences, on the embedded template; a frame beyond
            it is rejected. On one with fewer vertices far from landmarks it is less, as is the expected error. What
            landmarks cost that were found without colours does not count here, nor, of found ones, what a face is
            stretched beyond its person's neutral.
        part_frames: number of frames of a part, about: a sequence of one and a half times as many or more is
            tracked in parts, side by side; 0: never. A sequence that has to find its neutral itself is never cut.
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
    # neutrals of `synth`, `--maker people` and the second maker, led by the chin: 0.006 1.56, 1.05, 0.90 mm; 0.003
    # 1.49, 1.00, 0.91; 0.002 1.45, 0.98, 0.92
    membrane_found: float = 0.002
    landmark_weight_mm2: float = 20.0
    detected_share: float = 0.05
    landmark_smoothing_mm: float = 2.0
    scale_start_mm: float = 10.0
    scale_end_mm: float = 0.7
    max_normal_angle_deg: float = 53.0
    coarse_tolerance: float = 1e-4
    fine_tolerance: float = 1e-3
    tell_skin: bool = True
    smooth_in_time: bool = True
    region_reach_mm: float = 10.0
    max_s2m_median_mm: float = 1.0
    max_landmark_error_mm: float = 6.0
    min_data_share: float = 0.2
    min_half_share: float = 0.25
    min_neutral_half_share: float = 0.33
    max_folded_share: float = 0.01
    max_expected_error_mm: float = 2.9
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
            "membrane", "membrane_neutral", "membrane_found", "landmark_weight_mm2", "landmark_smoothing_mm",
            "max_folded_share", "part_frames",
        ):  # fmt: skip
            self._check(name, getattr(self, name) >= 0, "0 or more")
        for name in (
            "detected_share", "fine_landmark_share", "min_data_share", "min_half_share", "min_neutral_half_share",
        ):  # fmt: skip
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
