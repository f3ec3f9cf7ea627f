"""Which way each figure of quality is good, and from where on a frame is noted or rejected, in words for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

LOWER, HIGHER, NEITHER = "lower is better", "higher is better", ""
LOWER_IS_BETTER = frozenset({
    "align_landmark_residual", "align_surface_residual", "bone_apart", "cheek_slide", "crossing_triangles",
    "degenerate_triangles", "drift", "drift_p95", "ear_distance", "ear_drape", "expected_error", "expected_error_high",
    "expected_error_low", "flipped_triangles", "landmark_disagreement", "landmark_distance", "landmark_error",
    "landmark_gap", "landmark_residual", "lids_folded", "lids_open_left", "lids_open_right", "lids_shut", "mouth_light",
    "s2m_mean", "s2m_median", "s2m_p95", "stretch_core", "stretch_p95",
})  # fmt: skip
HIGHER_IS_BETTER = frozenset({
    "core_share", "core_share_left", "core_share_right", "coverage", "data_share", "eye_share_left", "eye_share_right",
    "eye_skin_share", "landmark_confidence", "landmarks_projected", "mouth_relief", "mouth_share", "nose_share",
    "skin_share", "texture_contrast", "texture_sharpness", "under_1mm",
})  # fmt: skip
DESCRIBES = frozenset({
    "align_depth", "align_height", "align_scale", "amount", "covered_share", "drift_before", "gain_blue",
    "gain_green", "gain_red", "landmarks_found", "motion", "mouth_asymmetry", "mouth_opening", "neutral_cost",
    "removed_triangles", "scan_triangles", "scan_vertices", "slid", "template_distance",
    *(f"light_{k}" for k in range(9)),
})  # fmt: skip
"""Neither is better: they say what a frame is like."""


def direction(name: str) -> str:
    """`lower is better`, `higher is better`, or nothing."""
    return LOWER if name in LOWER_IS_BETTER else HIGHER if name in HIGHER_IS_BETTER else NEITHER


class Bound(NamedTuple):
    """Where something happens to a frame: a value, in the figure's unit, and the words for it, as `noted above`."""

    value: float
    said: str


NOTED_ABOVE, NOTED_BELOW, REJECTED_ABOVE, REJECTED_BELOW = (
    "noted above", "noted below", "rejected above", "rejected below",
)  # fmt: skip


def bounds(settings: Mapping[str, Any]) -> dict[str, list[Bound]]:
    """The bounds of the figures, by name, in their units.

    Args:
        settings: of the stages, by name.
    """
    from mimicme.stages.bake.skin import EMPTY_CONTRAST, LITTLE_SKIN
    from mimicme.stages.refine import MUCH_DRIFT
    from mimicme.stages.register import notes

    found = {
        "mouth_light": [Bound(notes.MUCH_LIGHT_MM2, NOTED_ABOVE)],
        "mouth_relief": [Bound(notes.MISPLACED_RELIEF, NOTED_BELOW)],
        "mouth_asymmetry": [
            Bound(notes.ASKEW_MM, f"with mouth_relief below {notes.ASKEW_RELIEF} {NOTED_ABOVE}")
        ],
        "lids_shut": [Bound(notes.SHUT_LIDS_MM, NOTED_ABOVE)],
        "lids_open_right": [Bound(notes.OPEN_LIDS_MM, NOTED_ABOVE)],
        "lids_open_left": [Bound(notes.OPEN_LIDS_MM, NOTED_ABOVE)],
        "lids_folded": [Bound(notes.FOLDED_LIDS, NOTED_ABOVE)],
        "ear_drape": [Bound(notes.DRAPED_MM, NOTED_ABOVE)],
        "ear_distance": [
            Bound(notes.EAR_OFF_MM, f"and above {notes.EAR_OFF_SCALES:g} times s2m_median {NOTED_ABOVE}")
        ],
        "cheek_slide": [Bound(notes.SLID_MM, NOTED_ABOVE)],
        "bone_apart": [Bound(notes.OTHER_BONE_MM, NOTED_ABOVE)],
        "core_share_right": [Bound(notes.WELL_SEEN, NOTED_BELOW)],
        "core_share_left": [Bound(notes.WELL_SEEN, NOTED_BELOW)],
        "eye_share_right": [Bound(notes.PART_SEEN, NOTED_BELOW)],
        "eye_share_left": [Bound(notes.PART_SEEN, NOTED_BELOW)],
        "nose_share": [Bound(notes.PART_SEEN, NOTED_BELOW)],
        "mouth_share": [Bound(notes.LIPS_SEEN, NOTED_BELOW)],
        "drift_p95": [Bound(MUCH_DRIFT, NOTED_ABOVE)],
        "texture_contrast": [Bound(EMPTY_CONTRAST, NOTED_BELOW)],
        "skin_share": [Bound(LITTLE_SKIN, NOTED_BELOW)],
        "eye_skin_share": [Bound(LITTLE_SKIN, NOTED_BELOW)],
    }
    for stage, key, figure, said in (
        ("align", "max_residual_mm", "align_landmark_residual", REJECTED_ABOVE),
        ("align", "min_scale", "align_scale", REJECTED_BELOW),
        ("align", "max_scale", "align_scale", REJECTED_ABOVE),
        ("register", "max_s2m_median_mm", "s2m_median", REJECTED_ABOVE),
        ("register", "max_landmark_error_mm", "landmark_error", REJECTED_ABOVE),
        ("register", "min_data_share", "data_share", REJECTED_BELOW),
        ("register", "min_half_share", "core_share_right", REJECTED_BELOW),
        ("register", "min_half_share", "core_share_left", REJECTED_BELOW),
        ("register", "min_neutral_half_share", "core_share_right", f"for a neutral {REJECTED_BELOW}"),
        ("register", "min_neutral_half_share", "core_share_left", f"for a neutral {REJECTED_BELOW}"),
        (
            "register",
            "max_expected_error_mm",
            "expected_error",
            f"with the embedded template {REJECTED_ABOVE}",
        ),
    ):
        if stage in settings:
            found.setdefault(figure, []).append(Bound(float(getattr(settings[stage], key)), said))
    return found
