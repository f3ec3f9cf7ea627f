"""How far a refined frame is likely to be from the true correspondence (`expected_error`, once refined).

What registration gets wrong about a person it gets wrong in all of the person's frames, and refinement brings the
texture of each onto the reference's, which is made of one frame of the neutral: a frame that is refined has the error
of that frame, and little of what an expression had added to it.  Of a mesh that has gone astray, a lip across an open
mouth say, the texture brings nothing back: what registration expects of such a frame stays
(`RegisteredCheckpoint.astray`).
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats

OWN_SHARE = 0.21
"""Of the square of what registration expects of a frame, what is left once it is refined; the rest is its neutral's.
Learnt as `python benchmarks expected` does, on 58 frames of 12 people of `mimicme synth` and 40 of 8 of a second maker,
with landmarks by hand and found: 0.19 on the one maker alone, 0.23 on the other."""


def mean_of_refined(own_mm: Floats | float, neutral_mm: Floats | float) -> Floats:
    """Mean correspondence error that refined frames are likely to have, mm.

    It lies between the two that it is made of, whatever these are, and rises with each: nothing is extrapolated.

    Args:
        own_mm: what registration expects of each.
        neutral_mm: what it expects of the one frame of the subject's neutral that the reference is made of: the others,
            such as the apex where an expression stands in, hand nothing on.
    """
    return np.asarray(np.sqrt(OWN_SHARE * np.square(own_mm) + (1 - OWN_SHARE) * np.square(neutral_mm)))


def of_refined(own_mm: Floats, neutral_mm: float) -> Floats:
    """(3,) what is expected of a refined frame, and the ends of its interval, mm: `EXPECTED`.

    The interval is as wide as registration's, in proportion.  Four frames of five of the two makers that taught lie in
    it: where the one teaches and the other judges, a tenth have less than 0.83 of what is expected, and a tenth more
    than 1.30.  Of a third maker, which taught nothing, 33 to 67 % lie in it (five sets of 9 to 72 frames): most of the
    error is the person's, and a person's frames are inside or outside together.

    Args:
        own_mm: (3,) what registration expects of the frame; neutral_mm: as of `mean_of_refined`.
    """
    return np.asarray(own_mm * (mean_of_refined(own_mm[0], neutral_mm) / own_mm[0]))
