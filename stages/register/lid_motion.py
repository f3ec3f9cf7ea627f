"""Lids that close are not held back: the rest shape of their skin follows what was fitted of it.

When an eye closes, the skin above it slides by a centimetre over the eyeball and unfolds; it is the loosest of the
face, and what holds every other part of a fit to its rest shape, the stiffness, has no cause there.  Where the skin is
smooth only landmarks and rims say how far it went, and the stiffness keeps a fifth of that back.  So the fit of an eye
that closes begins once more from where it ended: its rest shape has the lids as they were fitted, and the stiffness is
against what is changed of that.  How the motion is spread between rim and brow is the fit's own: eyes with a fold and
without, and the makers of captures with a truth, differ in that by a factor of three.  An eye that does not close is
left alone.
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.template.eyelids import LEAST_OPEN, Rims
from mimicme.stages.register.levels import Levels

REACH = (0.4, 0.8)
"""Distance from the rims, in widths of the eye, up to which skin is free to stay where it was fitted, and from which on
it is held as all skin is: 12 mm, where upper lids end and cheeks begin, and 24."""
ACROSS = (0.5, 0.7)
"""The same from the middle of the eye towards its corners: these do not close, and free skin beside them drifts.
Chosen on one person each of two makers of captures: without it the skin beside the nose was off by up to 1.3 mm more,
and with 0.35 and 0.6 the lids were held back at the corners."""
CLOSES_MM = (1.0, 2.0)
"""Mean approach of the rims up to which an eye does not close, and from which on it does: rims that were led by
landmarks with 1 mm of noise tremble by less than the first."""


class LidMotion:
    """The lids of a person's neutral.

    Args:
        neutral: (V, 3) mm, canonical frame; levels: of the template.
    """

    def __init__(self, neutral: Floats, levels: Levels) -> None:
        self._rims = levels.rims
        self._free = [_around(neutral, rims) for rims in levels.rims]

    def followed(self, rest: Floats, found: Floats) -> Floats:
        """(V, 3) the neutral at rest, (V, 3), with the skin of closing lids as in a fit, `found` (V, 3), in the same
        place as `rest`; mm."""
        share = np.zeros(len(rest))
        for rims, free in zip(self._rims, self._free, strict=True):
            share = np.maximum(share, closing(rims, rest, found) * free)
        return rest + share[:, None] * (found - rest) if share.any() else rest


def closing(rims: Rims, rest: Floats, found: Floats) -> float:
    """0: an eye of a shape (V, 3), mm, is as open as at rest, (V, 3), or more; 1: it closes, by `CLOSES_MM`."""
    before, after = rims.rows @ rest, rims.rows @ found
    middle = rims.middle @ rest
    across = middle[-1] - middle[0]
    width = max(float(np.linalg.norm(across)), 1e-9)
    up = before.mean(axis=0)
    up = up - (up @ across) * across / width**2
    opening = float(np.linalg.norm(up))
    if not opening > LEAST_OPEN * width:  # closed at rest: that says nothing of how it closes
        return 0.0
    by = opening - float(after.mean(axis=0) @ up) / opening
    if not np.isfinite(by):
        return 0.0
    return float(np.clip((by - CLOSES_MM[0]) / (CLOSES_MM[1] - CLOSES_MM[0]), 0, 1))


def _around(neutral: Floats, rims: Rims) -> Floats:
    """(V,) 1 on the lids of an eye, 0 far from them."""
    from scipy.spatial import cKDTree

    half = rims.rows @ neutral / 2
    middle = rims.middle @ neutral
    way = middle[-1] - middle[0]
    width = max(float(np.linalg.norm(way)), 1e-9)
    distance = cKDTree(np.concatenate([middle + half, middle - half])).query(neutral)[0] / width
    across = np.abs((neutral - middle.mean(axis=0)) @ way) / width**2
    return _falling(distance, *REACH) * _falling(across, *ACROSS)


def _falling(x: Floats, first: float, last: float) -> Floats:
    """1 up to the first, 0 from the last on, without a kink."""
    t = np.clip((x - first) / (last - first), 0, 1)
    return np.asarray(1 - t * t * (3 - 2 * t))
