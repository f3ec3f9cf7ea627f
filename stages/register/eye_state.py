"""Which eyes of a frame are closed, by its landmarks, the scan's surface and its colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.template.eyelids import EYES, open_share
from mimicme.stages.register.detector_bias import CLOSED_EYE, OPEN_EYE, SHUT_EYE
from mimicme.stages.register.eye_look import EYE_HIDDEN, EYE_SHOWN, unlike_skin
from mimicme.stages.register.eyelids import covered
from mimicme.stages.register.frame import Frame
from mimicme.stages.register.person import Person
from mimicme.stages.register.targets import ScanTarget

LIDS_MET = 0.2
"""Opening of a registered eye, in that of the open one, up to which its lids were drawn together: then it is 0.01 to
0.15, else, by the same found landmarks, 0.45 and more (a dome's eye; shut eyes of four people)."""


def closed_eyes(
    open_eyes: Floats, landmarks: Floats, scan: ScanTarget, unlike: Mapping[str, float]
) -> tuple[bool, bool]:
    """Whether the right and the left eye are closed, by landmarks (68, 3), NaN absent, and by the scan.

    Args:
        open_eyes: (68, 3) of the person with open eyes; unlike: of `eyes_unlike_skin`.
    """

    def shut(eye: str) -> bool:
        share = open_share(landmarks, open_eyes, eye)
        told = share < SHUT_EYE and not unlike[eye] > EYE_SHOWN
        return told or (share < CLOSED_EYE and unlike[eye] < EYE_HIDDEN)

    return _covered(shut, landmarks, scan)


def eyes_still_closed(
    open_eyes: Floats, landmarks: Floats, scan: ScanTarget, first: Floats
) -> tuple[bool, bool]:
    """As `closed_eyes`, without colours, but as they were closed in a first result, landmarks (68, 3) on it."""

    def shut(eye: str) -> bool:
        mesh, told = (open_share(points, open_eyes, eye) for points in (first, landmarks))
        return mesh < LIDS_MET or (told < SHUT_EYE and mesh < CLOSED_EYE)

    return _covered(shut, landmarks, scan)


def _covered(shut: Callable[[str], bool], landmarks: Floats, scan: ScanTarget) -> tuple[bool, bool]:
    """Of the right and the left eye, whether it is told shut and the scan has skin there."""
    right, left = (shut(eye) and covered(scan.surface, landmarks, eye) for eye in EYES)
    return right, left


def eyes_unlike_skin(
    person: Person, landmarks: Floats, frame: Frame, known: Bools, scan: ScanTarget
) -> dict[str, float]:
    """By eye: `unlike_skin` where the lids of landmarks (68, 3, canonical), as far as `known`, were found nearer to
    each other than those of an eye that is at rest; else NaN.  What is said by hand is not asked of the scan, and
    while there is no neutral nobody knows how the person's open eye looks."""
    told = known & frame.tells_expression
    marks = np.where(told[:, None], landmarks, np.nan)
    return {
        eye: unlike_skin(scan, marks, person.open_eyes, eye)
        if person.neutral is not None
        and (told & frame.detected)[GROUPS[eye]].all()
        and open_share(marks, person.open_eyes, eye) < OPEN_EYE
        else np.nan
        for eye in EYES
    }
