"""The middle of the lips, sideways: about midway between the mouth's ends.

The ends of a mouth are seen, by their crease and by the end of the red.  Its middle is a dip of the upper lip at most,
and between two ends the networks put it where an average face in their picture would have it: where they take the
nose to lie too far to one side, lips go along, by up to 2.7 mm, and the ends of the mouth do not.  A mouth's true
middle lies within 0.5 mm of midway at rest and 1 mm in one-sided expressions.  What the networks have is therefore
brought a part of the way there, along the borders of the lips, which stay where they are.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline

from mimicme.pipeline.arrays import Floats

LINES = (
    (48, 49, 50, 51, 52, 53, 54),
    (48, 59, 58, 57, 56, 55, 54),
    (60, 61, 62, 63, 64),
    (60, 67, 66, 65, 64),
)
"""Borders of the lips, from end to end."""
MIDDLES = np.array([51, 62, 66, 57])
ENDS = np.array([48, 54])
SHARE = 0.4
"""Of the way.  64 frames of `synth`: mouths 1.094 mm untouched, 1.067, 1.063, 1.063, 1.066 with 0.3 to 0.6, 1.077 with
0.75; mouths pulled to a side gain most, 1.39 to 1.22, one-sided pouts lose with each tenth."""


NOSE_SHARE = 0.5
"""Beside that, of how far the networks have the nose's base to one side.  Reasoned: they take the lips along, and half
of it is the shape's own error, as in the nose.  Maker C, 6 neutrals: middles 0.41 mm aside, 0.30 with it."""


def middled(points: Floats, nose_aside: Floats) -> Floats:
    """Landmarks (68, 3) whose lips' middles are brought closer to midway between the mouth's ends, each point along its
    border and those beside a middle less; what is not finite, or in no order along the mouth, stays as it is.

    Args:
        nose_aside: (3,) mm how far the networks have the base of the nose from where its shape is.
    """
    out = points.copy()
    ends = points[ENDS]
    axis = ends[1] - ends[0]
    length = float(np.linalg.norm(axis))
    if not length > 0 or not np.isfinite(points[MIDDLES]).all():
        return out
    along = (points - ends.mean(axis=0)) @ axis / length
    aside = SHARE * float(along[MIDDLES].mean()) + NOSE_SHARE * float(nose_aside @ axis) / length
    for line in LINES:
        rows = np.array(line)
        here = along[rows]
        if not (np.diff(here) > 0).all():
            continue
        # 1 in the middle and 0 at both ends
        near = 1 - (2 * (here - here[0]) / (here[-1] - here[0]) - 1) ** 2
        wanted = here - aside * near
        out[rows[1:-1]] = CubicSpline(here, points[rows], bc_type="natural")(wanted[1:-1])
    return out
