"""Where iBUG-68's landmarks lie on MediaPipe's mesh of 478 points, without any offset."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.landmarks import N_LANDMARKS

# MediaPipe points of each landmark, with weights.  The nose base from skin that a ray can meet: its own points
# there look into the nostrils.
POINTS: dict[int, tuple[tuple[int, float], ...]] = {
    **dict(
        enumerate(
            ((k, 1.0),)
            for k in (162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389)
        )
    ),
    **{27 + i: ((k, 1.0),) for i, k in enumerate((168, 197, 195, 4))},
    31: ((98, 0.7), (97, 0.3)),
    32: ((97, 1.0),),
    33: ((97, 0.3), (326, 0.3), (164, 0.4)),
    34: ((326, 1.0),),
    35: ((327, 0.7), (326, 0.3)),
    **{
        36 + i: ((k, 1.0),) for i, k in enumerate((33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380))
    },
    **{48 + i: ((k, 1.0),) for i, k in enumerate((61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181))},
    **{60 + i: ((k, 1.0),) for i, k in enumerate((78, 82, 13, 312, 308, 317, 14, 87))},
}
# upper and lower edge of each brow, in iBUG's order
BROWS = (
    (slice(17, 22), [70, 63, 105, 66, 107], [46, 53, 52, 65, 55]),
    (slice(22, 27), [336, 296, 334, 293, 300], [285, 295, 282, 283, 276]),
)
LOWER_EDGE = 0.33  # the line of the brow, from its upper edge (0) to the lower (1)
_SINGLE = [k for k, parts in POINTS.items() if len(parts) == 1]
_SINGLE_POINTS = [POINTS[k][0][0] for k in _SINGLE]
_MIXED = {k: parts for k, parts in POINTS.items() if len(parts) > 1}


def ibug_from_mediapipe(points: Floats) -> Floats:
    """(68, 3) landmarks without any offset, from 478 points (478, 3)."""
    out = np.empty((N_LANDMARKS, 3))
    out[_SINGLE] = points[_SINGLE_POINTS]
    for k, parts in _MIXED.items():
        out[k] = sum(weight * points[i] for i, weight in parts)
    for part, upper, lower in BROWS:
        out[part] = resampled((1 - LOWER_EDGE) * points[upper] + LOWER_EDGE * points[lower])
    return out


def resampled(line: Floats) -> Floats:
    """The polyline (k, 3) resampled by arc length: as many points, at equal distances along it."""
    s = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    return np.stack([np.interp(np.linspace(0, s[-1], len(line)), s, x) for x in line.T], axis=1)
