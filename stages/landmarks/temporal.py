"""Detected points through a sequence: one that jumps away for a frame and comes back was seen wrongly."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.landmarks import CHIN_LINE, GROUPS, N_LANDMARKS

# Neighbours on a face move together, whatever the expression.
_NEAR = 4
# The chin's points are found together and err together: beside each other they would never jump.  The jaw carries them
# and the lower lip alike.
_LOWER_LIP = np.arange(55, 60)
# Between the lips of a mouth that opens a corner goes with neither: its nearest neighbours are mostly of one of them.
# (corner, beside it on the upper lip, on the lower): true corners of a wide-open mouth of `synth` leave the median of
# their neighbours by up to 14 mm, and the way from the one lip's step to the other's by at most 6.
_CORNERS = np.array([[48, 49, 59], [54, 53, 55], [60, 61, 67], [64, 63, 65]])
# An eye may blink and a mouth open and close within three frames, and its lower lip leave the chin as far, pushed out
# or rolled in.  Of the rest of the jaw nothing is said: it lies on the outline of pictures.
JUMP_MM = np.full(N_LANDMARKS, 6.0)
JUMP_MM[GROUPS["mouth"]] = 12.0
JUMP_MM[[37, 38, 43, 44]] = 12.0  # upper lids
JUMP_MM[GROUPS["jaw"]] = np.inf
JUMP_MM[CHIN_LINE] = 15.0
RETURN_SHARE = 0.6  # the frames beside it differ by less than this share of the jump


def jumps(points: Floats) -> Bools:
    """(F, 68) True where a point left its neighbours for a frame.

    A fast expression moves neighbours together and is none; at the ends of a sequence nothing is said.

    Args:
        points: (F, 68, 3) mm in the head's own axes, NaN where absent.
    """
    out = np.zeros(points.shape[:2], bool)
    for k in range(1, len(points) - 1):
        before, now, after = points[k - 1], points[k], points[k + 1]
        step = now - (before + after) / 2
        apart = _apart(step, now)
        length = np.linalg.norm(apart, axis=1)
        travel = np.linalg.norm(after - before, axis=1)
        out[k] = (length > JUMP_MM) & (travel < RETURN_SHARE * length)  # NaN compares False
    return out


def _apart(step: Floats, places: Floats) -> Floats:
    """(68, 3) how a point's step differs from the median step of its nearest neighbours; NaN where unknown.

    Of the chin what differs less, from the lower lip's step or from none: the lip may be what jumped.  Of the mouth's
    corners what differs less, from that median or from what lies between the steps of the two lips.
    """
    known = np.isfinite(step).all(axis=1) & np.isfinite(places).all(axis=1)
    out = np.full((N_LANDMARKS, 3), np.nan)
    index = np.flatnonzero(known)
    if len(index) <= _NEAR:
        return out
    far = np.linalg.norm(places[index][:, None] - places[index][None], axis=2)
    near = np.argsort(far, axis=1, kind="stable")[:, 1 : _NEAR + 1]
    out[index] = step[index] - np.median(step[index][near], axis=1)
    chin = step[CHIN_LINE]
    beside = chin - np.median(
        step[_LOWER_LIP], axis=0
    )  # NaN, and thus no jump, where the lip is not known whole
    less = np.linalg.norm(chin, axis=1) < np.linalg.norm(beside, axis=1)
    out[CHIN_LINE] = np.where(less[:, None], chin, beside)
    corner, upper, lower = (step[rows] for rows in _CORNERS.T)
    between = corner - _nearest_between(corner, upper, lower)
    # NaN, and thus the median's, where a lip is not known
    less = np.linalg.norm(between, axis=1) < np.linalg.norm(out[_CORNERS[:, 0]], axis=1)
    out[_CORNERS[less, 0]] = between[less]
    return out


def _nearest_between(steps: Floats, one: Floats, other: Floats) -> Floats:
    """(k, 3) of all steps from those of `one` (k, 3) to those of `other` (k, 3), the nearest to `steps` (k, 3)."""
    way = other - one
    share = np.einsum("kx,kx->k", steps - one, way) / np.maximum(np.einsum("kx,kx->k", way, way), 1e-9)
    return np.asarray(one + np.clip(share, 0, 1)[:, None] * way)
