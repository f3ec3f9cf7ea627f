"""A detector's bias on a person, taken off the landmarks it finds; and when an eye is shut.

A detector that sees a person's open eye narrower than it is has a rim beside its place, and has it there in the next
frame, too.  When the lids meet there is one line to be seen, and it is right: the same offset, taken off then, would
open the eye again, by millimetres.  So how far an offset opens or closes an eye goes with it as the eye shuts, and what
it moves the eye by as a whole stays.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.template.eyelids import EYES, LOWER_LID, UPPER_LID, open_share, opening_way

CLOSED_EYE, OPEN_EYE = 0.40, 0.67
"""Opening of an eye's landmarks in its width, over that of the open eye (`open_share`): up to the first it is closed,
from the second on it may be a narrow one.  Set on the template's eye with noise of 0.7 and of 1 mm on each coordinate:
at most the first are of its openings 0 at least 99.9 %, 0.2 94 %, 0.5 10 and 17 %, 0.7 and more none."""
SHUT_EYE = 0.25
"""The same share, up to which lids are drawn together where the scan has no hole between them.  With such noise it
calls a closed eye open in 0.3 and 3 % of frames, and one that is open by 0.4 of its own shut in 2 and 8 %, by 0.5 in at
most 1 %.  The winks of 24 people of `mimicme synth`, whose lids are 0.2 to 2.7 mm apart, have 0.03 to 0.32, 20 of them
less than this."""


def without_bias(
    landmarks: Floats,
    bias: Floats,
    use: Bools,
    told: Bools,
    neutral: Floats,
    open_eyes: Floats,
    surely_open: Collection[str] = (),
) -> Floats:
    """Landmarks (68, 3) without what their detector has them beside their places by; those not in use may be anything.

    Args:
        landmarks: mm, canonical frame; bias: (68, 3) mm, how far from the neutral's own the detector had them there.
        use: (68,) True where it is taken off; told: (68,) True where a landmark tells whether an eye is open.
        neutral: (68, 3) of the neutral's mesh; open_eyes: (68, 3) of the person with open eyes; canonical frame, mm.
        surely_open: those of `EYES` that are open, however near to each other the detector has their lids.
    """
    off = np.where(use[:, None], bias, 0.0)
    if not off.any():
        return landmarks
    seen = np.where(told[:, None], landmarks, np.nan)
    for eye in EYES:
        group = GROUPS[eye]
        if eye in surely_open or not (use[group] & told[group]).all():
            continue
        shut = _shut(seen, neutral + off, open_eyes, eye)
        if shut > 0:
            way = opening_way(seen, open_eyes, eye)
            points = off[group]
            for upper, lower in zip(UPPER_LID[1:3], LOWER_LID[1:3], strict=True):
                opens = shut * ((points[upper] - points[lower]) @ way) / 2 * way
                points[upper] -= opens
                points[lower] += opens
            off[group] = points
    return np.asarray(landmarks - off)


def _shut(landmarks: Floats, seen_open: Floats, open_eyes: Floats, eye: str) -> float:
    """0: an eye is as far open as the detector had it on the neutral, `seen_open` (68, 3), or narrow; 1: it is shut.

    A detector that has the neutral's eye nearly shut as well does not tell.
    """
    at_rest = open_share(seen_open, open_eyes, eye)
    if not at_rest > CLOSED_EYE:
        return 0.0
    tells = min((at_rest - CLOSED_EYE) / (OPEN_EYE - CLOSED_EYE), 1.0)
    share = open_share(landmarks, open_eyes, eye) / at_rest
    return float(tells * np.clip((OPEN_EYE - share) / (OPEN_EYE - SHUT_EYE), 0, 1))
