"""Detected points through a sequence: one that jumps away for a frame and comes back was seen wrongly."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS

# Neighbours on a face move together, whatever the expression.
_NEAR = 4
# A mouth may open and close within three frames; the chin has no neighbours on the skin.
JUMP_MM = np.full(N_LANDMARKS, 6.0)
JUMP_MM[GROUPS["mouth"]] = 12.0
JUMP_MM[GROUPS["jaw"]] = np.inf
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
    """(68, 3) how a point's step differs from the median step of its nearest neighbours; NaN where unknown."""
    known = np.isfinite(step).all(axis=1) & np.isfinite(places).all(axis=1)
    out = np.full((N_LANDMARKS, 3), np.nan)
    index = np.flatnonzero(known)
    if len(index) <= _NEAR:
        return out
    far = np.linalg.norm(places[index][:, None] - places[index][None], axis=2)
    near = np.argsort(far, axis=1, kind="stable")[:, 1 : _NEAR + 1]
    out[index] = step[index] - np.median(step[index][near], axis=1)
    return out
