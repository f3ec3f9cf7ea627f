"""Where along a lip its points lie: at the same shares of its length as the template's do.

The networks draw lips well, but share them out as their own annotators did, and the points between a corner and a
middle come out a millimetre or two too far inwards in everybody alike.  What a point means the template says, whose
mouth is closed: in an open one lips stretch most beside their corners, and there the networks share out better.  Lids,
brows and the lips' inner border are not shared out so: it was no gain on people of `synth`, or none on a real scan.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.landmarks import MIRROR
from mimicme.stages.landmarks.strips import ramp

LINES = (
    *((48, 49, 50, 51), (54, 53, 52, 51)),
    *((48, 59, 58, 57), (54, 55, 56, 57)),
)
"""Points along each, from a corner to a middle, which stay: they are seen."""
OPEN = (0.4, 0.15)
"""Height of the opening in shares of the mouth's width, from one in which nothing is moved to one that is as closed as
the template's: closed mouths of ten people of `synth` have 0.02 to 0.1, of surprised ones 0.5 to 0.7."""
MOST = 0.12
"""Of a line's length, how far a point is moved at most: a template that differs more has its landmarks elsewhere."""


def spaced(points: Floats, marks: Floats) -> Floats:
    """Landmarks (68, 3) moved along their lines to the shares of the template's landmarks (68, 3), left and right
    averaged.

    What is not finite, or in no order, stays as it is.
    """
    out = points.copy()
    width, height = (float(np.linalg.norm(points[a] - points[b])) for a, b in ((48, 54), (62, 66)))
    closed = float(ramp(height / width, OPEN)) if width > 0 and np.isfinite(height) else 1.0
    for line in LINES if closed > 0 else ():
        rows = np.array(line)
        wanted = (_shares(marks[rows]) + _shares(marks[MIRROR[rows]])) / 2
        arc = _shares(points[rows])
        if not (np.diff(arc) > 0.02).all() or not (np.diff(wanted) > 0.02).all():
            continue
        at = arc + closed * np.clip(wanted - arc, -MOST, MOST)
        out[rows[1:-1]] = PchipInterpolator(arc, points[rows])(at[1:-1])
    return out


def _shares(line: Floats) -> Floats:
    """(n,) share of a line's (n, 3) length up to each of its points; NaN where it has none."""
    arc = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    return np.asarray(arc / arc[-1] if arc[-1] > 0 else np.full(len(line), np.nan))
