"""Whether a scan's colours show an eye between found lids, or skin.

Networks draw a shut eye 2 to 3 mm open at times, its upper lid where the shade below the brow begins, and a smiling
one's lids across its iris, half a millimetre apart: how far found lids are apart does not tell these from each other.
What lies where the person's open eye would be, does, by its hue (pipeline/texture/eye_hue.py).
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.template.eyelids import LOWER_LID, UPPER_LID, opening_way
from mimicme.pipeline.texture.eye_hue import eye_share
from mimicme.stages.register.targets import ScanTarget

# Reasoned, none was tuned: of the open eye's outline, where its inside begins and from where on there is skin; along
# the eye and above its middle, so far skin is learnt: brows lie higher, the nose beside it.
INSIDE, OUTSIDE, ALONG, ABOVE_MM = 0.8, 1.5, 0.6, 2.0
NEAR = 1.1  # widths of the eye around its middle: what lies deeper or farther is not looked at
LEAST_VERTICES = 12
EYE_HIDDEN, EYE_SHOWN = 0.2, 0.45
"""Share of the open eye's place that is unlike skin, up to which an eye is shut, and from which on it is not; reasoned:
a slit of white of a third is what lids leave that do not quite meet.  Seen since on scans of two people that were not
made for this, one of them real, and of 9 people of another maker: 0.39 to 1.0 of open eyes, smiling ones too, and 0 to
0.29 of shut ones."""


def unlike_skin(scan: ScanTarget, landmarks: Floats, open_eyes: Floats, eye: str) -> float:
    """Share, 0 to 1, of a scan's vertices where the open eye would be, that have not the hue of the skin below it; NaN
    where the scan has no colours, or too few of either that have light enough (`eye_share`).

    Args:
        scan: canonical frame, mm; landmarks: (68, 3) in it, of which the corners count.
        open_eyes: (68, 3) of the person with open eyes, canonical frame; eye: one of `EYES`.
    """
    at_rest, found = open_eyes[GROUPS[eye]], landmarks[GROUPS[eye]]
    corners = found[[0, 3]]
    if scan.colors is None or not np.isfinite(corners).all():
        return float("nan")
    middle, across = corners.mean(axis=0), corners[1] - corners[0]
    width = max(float(np.linalg.norm(across)), 1e-9)
    near = np.flatnonzero(np.linalg.norm(scan.vertices - middle, axis=1) < NEAR * width)
    near = near[np.isfinite(scan.colors[near]).all(axis=1)]
    places = scan.vertices[near, :2] - middle[:2]
    outline = _placed(at_rest, across)
    inside = _within(places, INSIDE * outline)
    along = np.abs(places @ across[:2]) < ALONG * width**2
    skin = ~_within(places, OUTSIDE * outline) & along & (places[:, 1] < ABOVE_MM)
    return eye_share(scan.colors[near], inside, skin, LEAST_VERTICES)


def met(landmarks: Floats, known: Bools, open_eyes: Floats, eye: str) -> Floats:
    """Landmarks (68, 3), as far as `known` (68,), with the upper lid of an eye where its lower one is, across the eye:
    when lids shut, the upper one comes down onto the lower, which hardly moves."""
    way = opening_way(np.where(known[:, None], landmarks, np.nan), open_eyes, eye)
    out = landmarks.copy()
    points = out[GROUPS[eye]]
    for upper, lower in zip(UPPER_LID[1:3], LOWER_LID[1:3], strict=True):
        points[upper] -= ((points[upper] - points[lower]) @ way) * way
    out[GROUPS[eye]] = points
    return out


def _placed(eye: Floats, across: Floats) -> Floats:
    """(6, 2) mm, as seen from the front: the points of an eye (6, 3) about the middle of its corners, turned and scaled
    to corners that are so far across (3,)."""
    own = (eye - (eye[0] + eye[3]) / 2)[:, :2]
    way = eye[3, :2] - eye[0, :2]
    # as complex numbers a similarity is one factor
    factor = complex(*across[:2]) / (complex(*way) or 1.0)
    moved = (own[:, 0] + 1j * own[:, 1]) * factor
    return np.stack([moved.real, moved.imag], axis=1)


def _within(places: Floats, outline: Floats) -> Bools:
    """(n,) True where a place (n, 2) lies within an outline (k, 2)."""
    from matplotlib.path import Path

    return np.asarray(Path(outline).contains_points(places))
