"""Found landmarks of a face at rest lead nothing: of their motion as much is believed as is no noise of the detector's.

What a detector is off by on a person is not the same in every frame, and how much it changes differs from person to
person and from one capture to the next: from 0.3 to 3 mm.  A sequence tells it: frames of it are at rest, as a rule,
and there the points move all the same; nor do they go to and fro from one frame to the next but by noise.  The
neutral's own places for them are known: each point leaves its place by the share of its motion that is no noise, as in
Wiener's filter.  A point that goes far is as it was found, and so are all of a sequence that says nothing.

Motion is that beyond the head's, which the surface tells (`SequenceTracker._head_on`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.stages.register.spline import MIN_LANDMARKS
from mimicme.stages.register.stabilisation import head_motion

AROUND_MM = 8.0
"""Width of the Gaussian over which the motion of neighbours, whose errors are alike, is a point's own."""
CALMEST = 0.25
"""Share of a sequence's frames that may be at rest: the motion that so many do not exceed may be noise."""
HALF_BELIEVED, SHARPNESS = 1.5, 6
"""Motion of which a half is believed, in its noise, and the exponent: of the noise itself 0.08, of twice it 0.85, of
three times 0.98.  The exponent was chosen on still frames of `mimicme synth`, the other was not tuned."""
MOST_MM = 2.0
"""No more than this is half believed: a sequence that never rests tells no noise, and detectors err by 1 to 2 mm.  With
1 mm still frames of `mimicme synth` with noisy depth gain a third as much, those with none the same."""


class FoundPoints(NamedTuple):
    """Landmarks (68, 3) of a frame, mm, canonical frame as aligned; `use` (68,), which a detector has found and the fit
    uses; and the number of the frame."""

    number: int
    landmarks: Floats
    use: Bools


def noise_mm(frames: Sequence[FoundPoints], places: Floats, on_skull: Bools) -> Floats:
    """(68,) mm: what found points of a sequence move by without a motion; 0 where it does not tell.

    Args:
        places: (68, 3) the landmarks' places on the neutral, mm.
        on_skull: (68,) those that tell where the head is.
    """
    motions = [_beyond_head(points, places, on_skull) for points in frames]
    at_rest = [_around(motion, points.use, places) for motion, points in zip(motions, frames, strict=True)]
    changes = []
    for k in range(1, len(frames) - 1):
        before, now, after = frames[k - 1 : k + 2]
        if after.number - before.number == 2:
            second = motions[k - 1] - 2 * motions[k] + motions[k + 1]
            changes.append(_around(second, before.use & now.use & after.use, places) / np.sqrt(6))
    if len(frames) < 2:
        return np.zeros(len(places))
    calm = np.quantile(at_rest, CALMEST, axis=0)
    return np.asarray(np.minimum(calm, np.median(changes, axis=0)) if changes else calm)


def believed(motion: Floats, places: Floats, use: Bools, noise: Floats) -> Floats:
    """(68, 3) what is believed of the motion (68, 3) of found landmarks from their places (68, 3) on a neutral, mm; 0
    where it is not to be used, by `use` (68,).

    Args:
        noise: (68,) mm.
    """
    size = np.maximum(np.linalg.norm(motion, axis=1), _around(motion, use, places)) ** SHARPNESS
    half = np.minimum(HALF_BELIEVED * noise, MOST_MM) ** SHARPNESS
    share = np.divide(size, size + half, out=np.ones_like(size), where=size + half > 0)
    return np.where(use, share, 0.0)[:, None] * motion


def _beyond_head(points: FoundPoints, places: Floats, on_skull: Bools) -> Floats:
    """(68, 3) motion of found points from their places, the head's own taken off by them, mm; 0 where there is none."""
    weights = (points.use & on_skull).astype(np.float64)
    if np.count_nonzero(weights) < MIN_LANDMARKS:
        weights = points.use.astype(np.float64)
    here = np.where(points.use[:, None], points.landmarks, 0.0)
    at_rest = transform(inverse(head_motion(places, here, weights)), here)
    return np.where(points.use[:, None], at_rest - places, 0.0)


def _around(motion: Floats, use: Bools, places: Floats) -> Floats:
    """(68,) root mean square of a motion (68, 3) around each place, of points that are used."""
    square = np.where(use, np.einsum("lx,lx->l", motion, motion), 0.0)
    near = np.exp(-(cdist(places, places) ** 2) / (2 * AROUND_MM**2)) * use
    return np.asarray(np.sqrt(near @ square / np.maximum(near.sum(axis=1), 1e-12)))
