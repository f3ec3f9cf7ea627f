"""Which way each figure of quality is good, in words for the report."""

from __future__ import annotations

LOWER, HIGHER, NEITHER = "lower is better", "higher is better", ""
LOWER_IS_BETTER = frozenset({
    "align_landmark_residual", "align_surface_residual", "crossing_triangles", "degenerate_triangles", "drift",
    "drift_p95", "expected_error", "flipped_triangles", "landmark_distance", "landmark_error", "landmark_gap",
    "landmark_residual", "mouth_light", "s2m_mean", "s2m_median", "s2m_p95", "stretch_p95",
})  # fmt: skip
HIGHER_IS_BETTER = frozenset({
    "core_share", "core_share_left", "core_share_right", "coverage", "data_share", "landmark_confidence",
    "landmarks_projected", "under_1mm",
})  # fmt: skip
DESCRIBES = frozenset({
    "align_scale", "amount", "drift_before", "gain_blue", "gain_green", "gain_red", "landmarks_found", "mouth_opening",
    "motion", "neutral_cost", "removed_triangles", "scan_triangles", "scan_vertices", "slid",
    *(f"light_{k}" for k in range(9)),
})  # fmt: skip
"""Neither is better: they say what a frame is like."""


def direction(name: str) -> str:
    """`lower is better`, `higher is better`, or nothing."""
    return LOWER if name in LOWER_IS_BETTER else HIGHER if name in HIGHER_IS_BETTER else NEITHER
