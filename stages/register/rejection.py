"""The limits beyond which a frame is rejected, and what its rejection says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mimicme.pipeline.errors import FrameRejected
from mimicme.stages.register.expected_error import bare_excess, stretch_excess
from mimicme.stages.register.quality import Quality, less_seen


@dataclass(frozen=True)
class Limits:
    """Bounds beyond which a frame is rejected."""

    max_s2m_median_mm: float
    max_landmark_error_mm: float
    min_data_share: float
    max_folded_share: float
    max_expected_error_mm: float
    min_half_share: float
    min_neutral_half_share: float
    """The default: where, of neutrals of 6 people of `mimicme synth` cut beside the nose, the error of the whole core
    over the expected one, which knows nothing of what is not seen, is beyond `EXPECTED_HIGH` times that of the uncut
    face: 1.4 in the median (1.2 to 2.0) where 36 to 39 % of a half are left, 1.2 (1.1 to 1.5) with 42 to 48 %."""
    spread: float = 1.0
    """Of the template: see `vertex_spread`; `max_expected_error_mm` is that of one of 1."""


MOSTLY = 0.5
"""Share of a frame's landmarks that were found from which on they are spoken of as found, not as a file's."""


def _reject_half(share: float, side: str, limits: Limits, first: bool) -> None:
    """Raise when the scan shows too little of the half of the face of which it shows less."""
    bounds = {"min_half_share": limits.min_half_share}
    if first:
        bounds["min_neutral_half_share"] = limits.min_neutral_half_share
    missed = [name for name, least in bounds.items() if not share >= least]
    if missed:
        raise FrameRejected(
            "register-half",
            f"the scan shows too little of the {side} half of the face (the subject's own {side})"
            + (", and no neutral of the subject says how it looks" if first else ""),
            seen=f"{share:.0%} of it",
            expected=f"at least {max(bounds.values()):.0%}" + (" of a subject's neutral" if first else ""),
            todo="Look at the scan from the front"
            + ("; a neutral from the front is best" if first else "")
            + "; "
            + _half_alone(share, missed)
            + ".",
        )


def _half_alone(share: float, missed: Sequence[str]) -> str:
    """What has a frame registered in spite of a half of which the scan shows so little, by the settings it missed."""
    shown = math.floor(100 * share) / 100 if math.isfinite(share) else 0.0
    if not shown:
        return "next to nothing of that half is scanned, and no setting adds it: use frames, or a scan, that show it"
    values = " and ".join(f"{name} = {shown:g}" for name in missed)
    return (
        f"to have this frame registered all the same, that half guessed, write {values} under [register] in "
        "mimicme.toml, or give --set register.NAME=VALUE"
    )


def reject_bad(
    quality: Quality,
    limits: Limits,
    triangles: int,
    first: bool = False,
    bare_share: float = 0.0,
    neutral_stretch: float = float("nan"),
) -> None:
    """Raise when a frame fails a bound.

    Args:
        first: as of `notes`; such a frame needs more of both halves, for nothing else says how they look.
        bare_share: share of the landmarks that was found without colours.  What that costs is no frame's own fault:
            the bound of the expected error is wider by as much, so that it rejects what it would reject in colours.
        neutral_stretch: `Quality.stretch_core` of the person's neutral; NaN while there is none.  What a frame is
            stretched beyond that is mostly its expression: it costs nothing here, though landmarks were found.  Right
            screams of three people of a maker that taught nothing were expected to be 2.5 to 2.7 mm off for it, on a
            template with a bound of 2.0; with a mouth found shut or half as far open, 1.4 to 1.8.

    Raises:
        FrameRejected: `register-no-overlap`, `register-half`, `register-misfit`, `register-landmarks`,
            `register-folded`.
    """
    if not quality.data_share >= limits.min_data_share:
        raise FrameRejected(
            "register-no-overlap",
            "the scan covers too little of the template",
            seen=f"{quality.data_share:.0%} of its area",
            expected=f"at least {limits.min_data_share:.0%}",
            todo="Look at the scan for missing parts, or lower register.min_data_share.",
        )
    share, side = less_seen(quality)
    _reject_half(share, side, limits, first)
    if not quality.s2m_median <= limits.max_s2m_median_mm:
        raise FrameRejected(
            "register-misfit",
            "the registered surface does not reach the scan",
            seen=f"a median distance of {quality.s2m_median:.2f} mm",
            expected=f"at most {limits.max_s2m_median_mm} mm",
            todo="Check the frame's landmarks and whether the scan is a face.",
        )
    if quality.landmark_error > limits.max_landmark_error_mm:
        raise FrameRejected(
            "register-landmarks",
            "surface and landmarks contradict each other",
            seen=f"landmarks {quality.landmark_error:.1f} mm from where the others put them",
            expected=f"at most {limits.max_landmark_error_mm} mm",
            todo="Check the frame's landmark file.",
        )
    own = quality.expected_error / limits.spread
    stretched = stretch_excess(quality.landmarks_found, quality.stretch_core, neutral_stretch)
    if bare_share or stretched:
        own = math.sqrt(max(own**2 - bare_excess(bare_share) - stretched, 0.0))
    if own > limits.max_expected_error_mm:  # of too few landmarks it is not known
        most, passes = limits.max_expected_error_mm * limits.spread, math.ceil(10 * own) / 10
        check = (
            "Look at the frame's landmarks, which were found (`mimicme landmarks --review`), and correct them"
            if quality.landmarks_found > MOSTLY
            else "Check the frame's landmark file"
        )
        raise FrameRejected(
            "register-landmarks",
            "where the skin has gone cannot be told: the landmarks are too uncertain, or the face is too far from the "
            "template",
            seen=f"an expected error of {own * limits.spread:.1f} mm"
            + (", without what landmarks cost that were found without colours" if bare_share else "")
            + (", by no more stretching than the subject's neutral has" if stretched else ""),
            expected=f"at most {most:.1f} mm, which register.max_expected_error_mm = "
            f"{limits.max_expected_error_mm:g} is with this template",
            todo=f"{check}, or raise register.max_expected_error_mm to {passes:g}.",
        )
    folded = (quality.flipped_triangles + quality.degenerate_triangles) / max(triangles, 1)
    if folded > limits.max_folded_share:
        raise FrameRejected(
            "register-folded",
            "the registered mesh is folded",
            seen=f"{folded:.2%} of its triangles",
            expected=f"at most {limits.max_folded_share:.2%}",
            todo="Raise register.stiffness_end, or check the landmarks.",
        )
