"""Hue of an eye or of skin: white and iris have not the hue of skin; lids have.

Shade makes red and green darker by the same factor, so that a place is compared with skin that is as dark as it is;
what a camera hardly tells from black says nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools

# Reasoned, none was tuned.
BLACK = 8.0  # added to brightness, of 255, before the logarithm: noise of some levels counts little
LEAST_GREEN = 2 * BLACK  # of 255: below, noise of some levels is as much as skin's hue
LEAST_LIT = 0.5  # share of a place that has so much, else nothing is said of it
RED_SHARE = 0.6  # of the skin's excess of red over green: with less it is an eye's
LEAST_NOISES = 3.0  # of standard deviations: skin whose red is less than that has no hue to tell


def eye_share(colors: NDArray[np.floating], place: Bools, skin: Bools, least: int) -> float:
    """Share, 0 to 1, of a place that has not the hue of skin; NaN where that cannot be told: either has fewer than
    `least` samples with enough light, or most of the place is too dark, or the skin has no hue.

    Args:
        colors: (..., 3) RGB in [0, 255], finite in `place` (...) and in `skin` (...), which is bare skin beside it.
    """
    lit = colors[..., 1] >= LEAST_GREEN
    mine, beside = place & lit, skin & lit
    if min(mine.sum(), beside.sum()) < least or mine.sum() < LEAST_LIT * place.sum():
        return float("nan")
    samples, bare = colors[mine].astype(np.float64), colors[beside].astype(np.float64)
    ratio = float(np.median(bare[:, 0] / bare[:, 1]))
    off = _red(bare) - _red_of_skin(bare, ratio)
    noise = 1.4826 * float(np.median(np.abs(off - np.median(off))))
    if np.median(_red_of_skin(bare, ratio)) <= LEAST_NOISES * noise:
        return float("nan")
    return float((_red(samples) < RED_SHARE * _red_of_skin(samples, ratio)).mean())


def _red(colors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k,) the logarithm of red over green of colours (k, 3)."""
    return np.asarray(np.log((colors[:, 0] + BLACK) / (colors[:, 1] + BLACK)))


def _red_of_skin(colors: NDArray[np.float64], ratio: float) -> NDArray[np.float64]:
    """(k,) the same of skin as dark as colours (k, 3): less in the dark, where `BLACK` is much of it.

    Args:
        ratio: of the skin's red to its green.
    """
    green = colors[:, 1]
    return np.asarray(np.log((ratio * green + BLACK) / (green + BLACK)))
