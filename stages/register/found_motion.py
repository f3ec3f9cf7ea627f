"""Found landmarks of a face at rest lead nothing: of their motion as much is believed as is no noise of the detector's.

What a detector is off by on a person is not the same in every frame, and how much it changes differs from person to
person and from one capture to the next: from 0.3 to 3 mm.  A sequence tells it: frames of it are at rest, as a rule,
and there the points move all the same; nor do they go to and fro from one frame to the next but by noise, whatever
the steps of the frames' numbers.  Scans of one moment each have no next frame: what most of them move by alike may be
an expression.  The neutral's own places for them are known: each point leaves its place by the share of its motion that
is no noise, as in Wiener's filter.  A point that goes far is as it was found, and so are all of a sequence that says
nothing.

Motion is that beyond the head's, which the surface tells (`SequenceTracker._head_on`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from mimicme.pipeline.arrays import Bools, Floats, Longs
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.stages.register.spline import MIN_LANDMARKS
from mimicme.stages.register.stabilisation import head_motion

AROUND_MM = 8.0
"""Width of the Gaussian over which the motion of neighbours, whose errors are alike, is a point's own.  Reasoned, not
tuned: points of one feature lie 4 to 10 mm apart, features farther from each other."""
CALMEST = 0.25
"""Share of a sequence's frames that may be at rest: the motion that so many do not exceed may be noise.  Reasoned, not
tuned: a recorded expression begins and ends at rest."""
CALMER = 0.5
"""Share of the median motion up to which that of the calmest frames is noise, where nothing else tells.  Reasoned, not
tuned: of noise alone it is 0.8 to 1, and with a half the median motion is believed by 0.85 all the same."""
ALIKE = 2
"""How many times as far from a frame as the nearer of its neighbours in time, by their numbers, the other may be to
tell its noise with it: where a single frame is missing they are neighbours.  Reasoned, not tuned."""
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

    Points by hand, and frames with hardly a found point, say nothing of a detector.

    Args:
        frames: in the order of time; steps of their numbers may be greater than 1, or differ.
        places: (68, 3) the landmarks' places on the neutral, mm.
        on_skull: (68,) those that tell where the head is.
    """
    frames = [points for points in frames if np.count_nonzero(points.use) >= MIN_LANDMARKS]
    if len(frames) < 2:
        return np.zeros(len(places))
    motions = np.stack([_beyond_head(points, places, on_skull) for points in frames])
    use = np.stack([points.use for points in frames])
    bends, has_neighbours = _bends(motions, use, np.array([points.number for points in frames]))
    sizes, change = _sizes(motions, use, places), _quantile(_sizes(bends, has_neighbours, places), 0.5)
    calm, usual = _quantile(sizes, CALMEST), _quantile(sizes, 0.5)
    # without neighbours in time a held expression and noise look the same, unless some frames rest and most do not
    alone = np.where(calm <= CALMER * usual, calm, 0.0)
    return np.nan_to_num(np.where(np.isfinite(change), np.minimum(calm, change), alone))


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


def _bends(motions: Floats, use: Bools, numbers: Longs) -> tuple[Floats, Bools]:
    """(F, 68, 3) how far motions of a sequence, mm, are off from the straight line between their neighbours in time, in
    the scale of a single motion's noise; and (F, 68) where a point has neighbours on both sides: elsewhere it is 0.

    A point's neighbours are in the nearest frames, by `numbers` (F,), that `use` (F, 68) it.
    """
    count, width = use.shape
    row = np.arange(count)[:, None]
    before, after = np.full((2, count, width), [[[-1]], [[count]]])
    before[1:] = np.maximum.accumulate(np.where(use, row, -1))[:-1]
    after[:-1] = np.minimum.accumulate(np.where(use, row, count)[::-1])[::-1][1:]
    known = use & (before >= 0) & (after < count)
    before, after = np.where(known, before, row), np.where(known, after, row)
    back, on = numbers[row] - numbers[before], numbers[after] - numbers[row]
    known &= np.maximum(back, on) <= ALIKE * np.minimum(back, on)
    share = on / np.maximum(back + on, 1)
    column = np.arange(width)
    line = share[..., None] * motions[before, column] + (1 - share)[..., None] * motions[after, column]
    bends = (motions - line) / np.sqrt(1 + share**2 + (1 - share) ** 2)[..., None]
    return np.where(known[..., None], bends, 0.0), known


def _sizes(motions: Floats, known: Bools, places: Floats) -> Floats:
    """(F, 68) mm: of motions (F, 68, 3) as `_around` has them; NaN where it is not `known` (F, 68)."""
    return np.stack(
        [np.where(use, _around(one, use, places), np.nan) for one, use in zip(motions, known, strict=True)]
    )


def _around(motion: Floats, use: Bools, places: Floats) -> Floats:
    """(68,) root mean square of a motion (68, 3) around each place, of points that are used."""
    square = np.where(use, np.einsum("lx,lx->l", motion, motion), 0.0)
    near = np.exp(-(cdist(places, places) ** 2) / (2 * AROUND_MM**2)) * use
    return np.asarray(np.sqrt(near @ square / np.maximum(near.sum(axis=1), 1e-12)))


def _quantile(values: Floats, share: float) -> Floats:
    """(68,) quantile over frames of values (F, 68), without those that are NaN; NaN where all are."""
    known = [column[np.isfinite(column)] for column in values.T]
    return np.array([np.quantile(column, share) if len(column) else np.nan for column in known])
