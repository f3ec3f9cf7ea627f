"""Hue of an eye or of skin: white and iris have not the hue of skin; lids have.

Shade makes red and green darker by the same factor, so that their ratio stays, as far as a camera tells both from
black.  An iris may be as dark as a lid in the deepest shade: beside the iris there is white, beside the lid is skin,
and what is that dark itself says nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools

# Reasoned: with noise of 1.5 levels, and with what is added to brightness, less than a tenth of skin that has so much
# green passes for an eye, and with a fifth less of it a sixth.  Seen since on 16 people of three makers: of shut eyes
# 0 to 0.16 are unlike skin, with what is darker 0 to 0.32, of open ones as much as before.
BLACK = 8.0  # added to brightness, of 255, before the logarithm
LEAST_GREEN = 20.0  # of 255
LEAST_LIT = (
    0.2  # share of a place that has so much, else nothing is said of it: an eye shows more white than that
)
RED_SHARE = 0.6  # of the skin's excess of red over green: with less it is an eye's
LEAST_NOISES = 3.0  # of standard deviations: skin whose red is less than that has no hue to tell
# Nor has one in a grey picture with a cast of a twentieth, whose eye has that hue, too: it would pass for shut.
# Reasoned; the palest skin has twice as much.
LEAST_RED = 0.06  # natural logarithm of red over green


def eye_share(colors: NDArray[np.floating], place: Bools, skin: Bools, least: int) -> float:
    """Share, 0 to 1, of what of a place has light enough that has not the hue of skin; NaN where that cannot be told:
    either has fewer than `least` samples with light enough, or the place hardly any, or the skin has no hue.

    Args:
        colors: (..., 3) RGB in [0, 255], finite in `place` (...) and in `skin` (...), which is bare skin beside it.
    """
    mine = place & _lit(colors)
    if mine.sum() < max(least, LEAST_LIT * place.sum()):
        return float("nan")
    unlike = unlike_skin(colors, skin, least)
    return float("nan") if unlike is None else float(unlike[mine].mean())


def unlike_skin(colors: NDArray[np.floating], skin: Bools, least: int) -> Bools | None:
    """(...) where there is light enough and not the hue of skin; None where that cannot be told: see `eye_share`.

    Args:
        colors: (..., 3) RGB in [0, 255], finite in `skin` (...); what is not finite is not unlike skin.
    """
    lit = _lit(colors)
    if (skin & lit).sum() < least:
        return None
    bare = _red(colors[skin & lit])
    usual = float(np.median(bare))
    noise = 1.4826 * float(np.median(np.abs(bare - usual)))
    if usual <= max(LEAST_NOISES * noise, LEAST_RED):
        return None
    unlike = lit.copy()
    unlike[lit] = _red(colors[lit]) < RED_SHARE * usual
    return unlike


def _lit(colors: NDArray[np.floating]) -> Bools:
    return np.asarray(np.isfinite(colors).all(axis=-1) & (colors[..., 1] >= LEAST_GREEN))


def _red(colors: NDArray[np.floating]) -> NDArray[np.float64]:
    """(k,) the logarithm of red over green of colours (k, 3)."""
    light = np.log(colors.astype(np.float64) + BLACK)
    return np.asarray(light[:, 0] - light[:, 1])
