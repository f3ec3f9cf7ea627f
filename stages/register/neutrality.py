"""Whether a face is neutral, by its landmarks: its mouth at rest and closed, its eyes open, and seen whole."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.landmarks import GROUPS, eye_distance
from mimicme.pipeline.template.eyelids import EYES, open_share
from mimicme.stages.register.detector_bias import CLOSED_EYE, OPEN_EYE
from mimicme.stages.register.notes import WELL_SEEN, parts_missing
from mimicme.stages.register.quality import Quality
from mimicme.stages.register.setup import Setup
from mimicme.stages.register.spline import MIN_LANDMARKS

UPPER_INNER_LIP, LOWER_INNER_LIP = [61, 62, 63], [67, 66, 65]
MOUTH_AT_REST_MM, MOUTH_MOVED_MM = 3.6, 4.6
"""Mean difference of a mouth's landmarks from the template's, about their middle and at its size: up to the first they
may be those of a mouth at rest, from the second on they are not.  The neutrals of 12 people of `mimicme synth` have 1.2
to 3.6, found; their smiles' apexes 2.8 to 7.5, their surprise 3.0 to 13."""
SMILE, SMILES = np.array([7.8, 15.4, -12.6]), 2.0
"""Weights of `_smile_figures`, by Fisher's linear discriminant, learnt on 33 neutrals and 11 smiles' apexes of `mimicme
synth`, of whom it tells 10 at the cost of one neutral.  Of two other makers, who judge, 35 neutrals have 1.3 at most,
given and found; of 13 smiles' apexes 11 lie above the bound, the others at 1.6 and 1.8."""
MOUTH_CORNERS, ABOUT_CORNERS_MM, LEAST_BARE = (48, 54), 15.0, 0.5
"""A mouth is judged for a smile where of the skin so far about each of its corners such a share shows: how wide it is
below hair, a detector guesses.  Reasoned, not tuned: under the four beards of `mimicme synth --maker people --beards
--seed 2112` 0.27 to 0.34 shows, on bare people, real and made, 0.94 and more."""
HALF_CLOSED = 0.5
"""How far an eye is closed, from the second to the first, from which on that is said of a neutral: narrow eyes have
little.  There, and with such noise, openings of 0.2 are at least 99 % of the time, of 0.4 85 to 94 %, of 0.7 2 and 8 %,
of 0.8 at most 2 %."""
OPEN_MOUTH = 0.2
"""Opening of the mouth, in its widths, from which on a frame is no neutral, even if the sequence has no better one."""


def oddity(
    landmarks: Floats, reference: Floats, quality: Quality, bare: bool = True, *, mouth_open: bool = False
) -> str:
    """What speaks against a frame as its subject's neutral; landmarks (68, 3), NaN absent, and the template's.

    Args:
        bare: whether the skin about the mouth shows; else its width is a guess, and nothing is said of a smile.
        mouth_open: whether the fit took the mouth for open, by a reference of the person's size (`mouth_opening`).
    """
    odd = []
    if mouth_open:
        odd.append("its mouth is open")
    elif _mouth_moved(landmarks, reference) > 0:
        odd.append("its mouth is not at rest")
    elif bare and _smile(landmarks, reference) > SMILES:
        odd.append("its mouth seems to smile")
    if max(eye_closed(landmarks, reference, eye) for eye in EYES) > HALF_CLOSED:
        odd.append("an eye is closed")
    if min(quality.core_share_right, quality.core_share_left) < WELL_SEEN:
        odd.append("half of the face is hardly scanned")
    odd += [f"the scan hardly shows the {part}" for part in parts_missing(quality)]
    return " and ".join(odd)


def moved(landmarks: Floats, reference: Floats) -> dict[str, float]:
    """By group of landmarks, from 0 to 1, whether those of a frame, (68, 3), NaN absent, are surely not at rest."""
    eyes = {eye: eye_closed(landmarks, reference, eye) for eye in EYES}
    return {"mouth": _mouth_moved(landmarks, reference)} | eyes


def mouth_opening(landmarks: Floats, reference: Floats) -> float:
    """Distance of the inner lips of (68, 3) landmarks, NaN absent, in mouth widths of a reference of their size; 0
    where it is not known."""
    gap = np.linalg.norm(landmarks[UPPER_INNER_LIP] - landmarks[LOWER_INNER_LIP], axis=1)
    gap = gap[np.isfinite(gap)]
    return float(np.median(gap) / np.linalg.norm(reference[48] - reference[54])) if len(gap) else 0.0


def eye_closed(landmarks: Floats, reference: Floats, eye: str) -> float:
    """0: an eye of landmarks (68, 3), NaN absent, is open, as a reference's; 1: it is closed."""
    share = open_share(landmarks, reference, eye)
    return float(np.clip((OPEN_EYE - share) / (OPEN_EYE - CLOSED_EYE), 0, 1)) if np.isfinite(share) else 0.0


def bare_about_mouth(setup: Setup, skin: Floats) -> bool:
    """Whether about both corners of the mouth skin (V,), 0 to 1, shows, and no beard or moustache hides them."""
    for corner in setup.template.landmarks()[list(MOUTH_CORNERS)]:
        about = np.linalg.norm(setup.template.vertices - corner, axis=1) < ABOUT_CORNERS_MM
        areas = setup.levels.fine.areas * setup.anatomy.skin.bearded * about
        if areas @ skin < LEAST_BARE * areas.sum():
            return False
    return True


def _mouth_moved(landmarks: Floats, reference: Floats) -> float:
    """0: the mouth of landmarks (68, 3), NaN absent, may be at rest, as a reference's; 1: it is not.

    About the mouth's own middle: how far it lies from the nose is the person's.
    """
    mouth = GROUPS["mouth"]
    found, rest = landmarks[mouth], reference[mouth]
    known = np.isfinite(found).all(axis=1)
    if known.sum() < MIN_LANDMARKS:
        return 0.0
    size = eye_distance(reference) / eye_distance(landmarks)
    size = size if np.isfinite(size) else 1.0
    found, rest = found[known] * size, rest[known]
    off = np.linalg.norm((found - found.mean(axis=0)) - (rest - rest.mean(axis=0)), axis=1).mean()
    return float(np.clip((off - MOUTH_AT_REST_MM) / (MOUTH_MOVED_MM - MOUTH_AT_REST_MM), 0, 1))


def _smile(landmarks: Floats, reference: Floats) -> float:
    """How much more landmarks (68, 3) smile than a reference's, in standard deviations of people at rest; NaN where a
    landmark of these is absent."""
    return float(np.dot(SMILE, _smile_figures(landmarks) - _smile_figures(reference)))


def _smile_figures(landmarks: Floats) -> Floats:
    """(3,) of landmarks (68, 3), in shares of the distance of the eyes: the mouth's width, how far its corners lie
    above the lips' middle, and how long the upper lip is; up the face, from the base of the nose to the eyes."""
    right = landmarks[45] - landmarks[36]
    right = right / np.linalg.norm(right)
    up = landmarks[36:48].mean(axis=0) - landmarks[31:36].mean(axis=0)
    up = up - (up @ right) * right
    up = up / np.linalg.norm(up)
    lift = landmarks[[48, 54]].mean(axis=0) - landmarks[[51, 57, 62, 66]].mean(axis=0)
    lip = landmarks[33] - landmarks[51]
    width = float(np.linalg.norm(landmarks[54] - landmarks[48]))
    return np.array([width, float(lift @ up), float(lip @ up)]) / eye_distance(landmarks)
