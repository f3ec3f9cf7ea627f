"""How the skin of a lid follows its rim, for the fit of an eye that closes.

The upper lid is a stiff plate, the tarsus, that turns on the eyeball; the skin over it is bound to it, and what goes
on to the brow unfolds.  So skin near the rim moves as the rim does, and some millimetres above it hardly at all.  A
merely elastic surface spreads the rim's motion evenly up to the brow instead, and holds the rim back; and lid skin is
so smooth that a scan does not show that it has slid.

It is said to the fit by its rest shape: the person's neutral with lids turned about the middle of the eyeball, each
vertex by a share of what the rim nearest to it has turned by.  That is read off what was fitted so far, and what the
scan shows otherwise is what is left for the fit.  An eye that does not close is left alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.template.eyelids import LEAST_OPEN, Rims
from mimicme.stages.register.levels import Levels

UPPER, LOWER = (0.15, 3.0), (0.27, 3.0)
"""Distance from the rim, in widths of the eye, at which skin follows by half, and the power with which that falls off:
1 / (1 + (distance / first)^second).  The upper is the least squares fit to MakeHuman's (CC0) blink (face unit eyeBlink,
0.18 and 4.9) and to the weights of the bone that turns its upper lid (orbicularis03, 0.11 and 1.9) together, the
lower to those of the lower lid's (orbicularis04), which goes over into the cheek."""
LEAST_FOLLOWING = 0.02
"""Skin that follows by less stays."""
EYEBALL = 0.4
"""Radius of an eyeball in widths of the eye: 12 mm of 30."""
BEHIND_RIMS = 0.86
"""How far its middle lies behind the middle of the rims, in its radius: about as far as the rims stand off its
axis, so that they lie on it."""
CLOSES_MM = (1.0, 2.0)
"""Mean approach of the rims up to which an eye does not close, and from which on it does: rims that were led by
landmarks with 1 mm of noise tremble by less than the first."""
MOST_TURNED = 1.0
"""Radians; lids go 10 mm on a radius of 12.  A fit that has lost its way takes them no farther."""


class LidMotion:
    """The lids of a person's neutral.

    Args:
        neutral: (V, 3) mm, canonical frame; levels: of the template.
    """

    def __init__(self, neutral: Floats, levels: Levels) -> None:
        patches = [None if eye is None else eye.patch for eye in levels.fine.eyes]
        self._eyes = [
            _Lids.of(neutral, rims, patch) for rims, patch in zip(levels.rims, patches, strict=True)
        ]

    def followed(self, rest: Floats, found: Floats) -> Floats:
        """(V, 3) the neutral at rest, (V, 3), with the skin of its lids moved along with the rims of a fit, `found`
        (V, 3), in the same place as `rest`; mm."""
        moved = rest
        for lids in self._eyes:
            turned = None if lids is None else lids.turned(rest, found)
            if lids is not None and turned is not None:
                moved = moved.copy() if moved is rest else moved
                moved[lids.skin] = turned
        return moved


class _Lids(NamedTuple):
    """The lids of one eye.

    Attributes:
        rims: of the template; skin: (k,) vertices that follow a rim or both.
        upper, lower: (k,) how much each follows the rims; at: (k,) the place along them that it follows: samples
            counted with fractions, 0 and one more than there are at the corners.
    """

    rims: Rims
    skin: NDArray[np.int64]
    upper: Floats
    lower: Floats
    at: Floats

    @classmethod
    def of(cls, neutral: Floats, rims: Rims, patch: NDArray[np.int64] | None) -> _Lids | None:
        upper, lower = _rims(rims, neutral)
        across, width = _across(upper, lower)
        if not width > 0:
            return None
        distance = [_distance(neutral, rim) / width for rim in (upper, lower)]
        nearer = distance[0] < distance[1]
        share = [
            1 / (1 + (d / half) ** power) for d, (half, power) in zip(distance, (UPPER, LOWER), strict=True)
        ]
        share = [np.where(nearer, share[0], 0.0), np.where(nearer, 0.0, share[1])]
        places = (upper + lower) / 2 @ across
        end = width / (len(places) - 1)
        along = np.interp(
            neutral @ across, np.r_[places[0] - end, places, places[-1] + end], np.arange(len(places) + 2)
        )
        if patch is not None:  # what shows between the lids stays between them
            height = _height(neutral[patch], along[patch], upper, lower)
            share[0][patch], share[1][patch] = height, 1 - height
        # what lies beside the corners follows nothing
        inside = (along > 0) & (along < len(places) + 1)
        skin = np.flatnonzero(inside & (np.maximum(*share) > LEAST_FOLLOWING))
        return cls(rims, skin, share[0][skin], share[1][skin], along[skin])

    def turned(self, rest: Floats, found: Floats) -> Floats | None:
        """(k, 3) the skin of the lids at rest, (V, 3), turned as the rims of a fit (V, 3) are; None where these have
        not come nearer to each other."""
        before, after = _rims(self.rims, rest), _rims(self.rims, found)
        across, width = _across(*before)
        if not width > 0:
            return None
        middle = (before[0] + before[1]).mean(axis=0) / 2
        up = (before[0] - before[1]).mean(axis=0)
        up = up - (up @ across) * across
        opening = float(np.linalg.norm(up))
        if not opening > LEAST_OPEN * width:  # a neutral with closed eyes says nothing of how they close
            return None
        up = up / opening
        out = np.cross(across, up)
        closing = opening - float((after[0] - after[1]).mean(axis=0) @ up)
        amount = float(np.clip((closing - CLOSES_MM[0]) / (CLOSES_MM[1] - CLOSES_MM[0]), 0, 1))
        if amount == 0:
            return None
        centre = middle - BEHIND_RIMS * EYEBALL * width * out
        angles = [
            amount
            * np.clip(
                _elevation(b - centre, up, out) - _elevation(a - centre, up, out), -MOST_TURNED, MOST_TURNED
            )
            for a, b in zip(before, after, strict=True)
        ]
        sample = np.arange(len(before[0]) + 2)
        turn = sum(
            share * np.interp(self.at, sample, np.r_[0.0, angle, 0.0])
            for share, angle in zip((self.upper, self.lower), angles, strict=True)
        )
        local = rest[self.skin] - centre
        sine, cosine = np.sin(turn), np.cos(turn)
        y, z = local @ up, local @ out
        return np.asarray(
            rest[self.skin]
            + (y * (cosine - 1) + z * sine)[:, None] * up
            + (z * (cosine - 1) - y * sine)[:, None] * out
        )


def _rims(rims: Rims, vertices: Floats) -> tuple[Floats, Floats]:
    """(s, 3) twice, points of the upper and of the lower rim of a shape (V, 3), from corner to corner."""
    middle, half = rims.middle @ vertices, rims.rows @ vertices / 2
    return middle + half, middle - half


def _across(upper: Floats, lower: Floats) -> tuple[Floats, float]:
    """(3,) unit, from the first to the last point of rims (s, 3), and how far these are apart."""
    middle = (upper + lower) / 2
    way = middle[-1] - middle[0]
    length = float(np.linalg.norm(way))
    return way / max(length, 1e-9), length


def _distance(points: Floats, rim: Floats) -> Floats:
    """(V,) of points (V, 3) to the nearest of a rim's (s, 3)."""
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(rim).query(points)[0])


def _height(points: Floats, at: Floats, upper: Floats, lower: Floats) -> Floats:
    """(k,) where points (k, 3) lie between rims (s, 3), at samples (k,): 0 on the lower, 1 on the upper one."""
    sample = np.arange(1, len(upper) + 1)
    low = np.stack([np.interp(at, sample, lower[:, x]) for x in range(3)], axis=1)
    high = np.stack([np.interp(at, sample, upper[:, x]) for x in range(3)], axis=1)
    way = high - low
    return np.clip(((points - low) * way).sum(axis=1) / np.maximum((way**2).sum(axis=1), 1e-9), 0, 1)


def _elevation(local: Floats, up: Floats, out: Floats) -> Floats:
    """(s,) radians above the equator of an eye, of points (s, 3) from its middle."""
    return np.asarray(np.arctan2(local @ up, local @ out))
