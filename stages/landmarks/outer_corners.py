"""The outer corners of open eyes of scans with colours: where the white ends.

The networks put a corner where lids and lashes let them expect it, of a long or slanting eye up to 4 mm too far in, of
a narrow one up to 2 mm too far out, on the fold in which the lids go on.  White is told from skin by its hue, which
shade leaves as it is; where it ends towards the temple the lids meet.  Make-up and lashes have not the hue of skin
either, but are darker than white and skin.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.drawing.render import Camera
from mimicme.pipeline.formats.image import opencv
from mimicme.pipeline.texture.eye_hue import BLACK, unlike_skin
from mimicme.stages.landmarks.creases import EYES, PIXELS_PER_MM, Reading, followed
from mimicme.stages.landmarks.opening import LEAST_PIXELS
from mimicme.stages.landmarks.strips import ramp
from mimicme.stages.landmarks.views import Scene

OUTER = {"left_eye": 0, "right_eye": 3}
"""Of a group's six points; `left_eye` is the image's."""
AROUND_MM = (2.5, 7.0)
"""The skin around the networks' eye."""
OVER_MM = 2.5
"""So far beyond the networks' eye white is looked for; what goes on further is no white."""
LEAST_MM2 = 1.5
"""Of a patch of white: what is smaller is glare."""
LEAST_MM = 0.8
"""Height of the white at its end: two pixels.  The corner lies as far beyond as lids go that meet at 80 degrees."""
BEYOND_MM = 0.5
LEAKS = (0.25, 0.1)
"""Share of what has not the hue of skin that goes on beyond `OVER_MM`, from surely no eye alone to one."""
SKIN_UNLIKE = (0.08, 0.04)
"""Share of the skin around that has not its hue, from skin that hue does not tell from white to such as it does: 33
faces of two makers have 0.02 at most, a real scan in yellow light, whose lashes shine, 0.10."""
FAR_MM = (5.0, 4.0)
"""From the networks' corner, from none to one."""
OUTER_HALF = 0.5
"""White has to lie in the outer part of the networks' eye, from this share of its length on."""
TAPERING_MM, TAPERED_MM = 2.0, (3.5, 2.5)
"""Mean height of the white over so much of its end, from an end that is cut off to a corner."""
WHITE_LIT, SKIN_LIT = (0.3, 0.5), (0.8, 1.1)
"""Red of what ends the white, from dark to bright enough: over the red of the white in that eye, or of the skin around,
whichever says more.  White in shade has less than other white, in dark skin more than the skin.  Red, because skin and
white have most of it, and make-up that is blue or green as little as black.  Reasoned; see `DARK_MM`."""
WHITE_OF_SKIN = 0.7
"""White has so much of the skin's red, at least: of a shut eye all that has not the hue of skin are lashes or make-up.
Reasoned.  In the shade of a nose one eye of `synth --maker people` has 0.76, eleven others 0.88 and more."""
WHITE_BLUE = (0.3, 0.15)
"""Logarithm of blue over green of what ends the white, more than of the brightest of the eye: from blue make-up to
none.  Reasoned; a blue wing has 0.4."""
DARK_MM = (1.2, 0.8)
"""How much of the last `TAPERING_MM` is dark or blue, from make-up or lashes to a corner.  Nine eyes of `mimicme synth`
have 0.77 at most; twelve of `--maker people`, who judge, 0.35.  Wings of 1.5 to 8 mm were painted onto these 21, black,
dark grey and blue, in the light of the skin around: none moves a corner by more than 0.4 mm, before by up to 3.2."""
SHARE = 0.8
"""Of the way to where the white ends."""


def follow_outer_corners(scene: Scene, points: Floats, pose: Floats) -> tuple[Floats, Floats]:
    """Landmarks (68, 3) with the outer corners of open eyes where their white ends, and the evidence (68,), 0 to 1.

    Args:
        scene: a scan with colours; without, nothing is followed.
        points: (68, 3) mm, scan frame, finite for eyes.
        pose: (4, 4) of the head, head -> scan.
    """

    def read(group: str, camera: Camera, marks: Floats) -> Reading:
        picture, depth = scene.shown(camera)
        worth = np.zeros(len(marks))
        found = marks.copy()
        if not np.isnan(depth).all():
            outer = OUTER[group]
            found[outer], worth[outer] = white_end(picture, np.isnan(depth), marks, outer)
        return depth, found, SHARE * worth

    eyes = [(group, yaw, partial(read, group)) for group, yaw in EYES]
    return followed(points, pose, eyes if scene.textured else [])


def white_end(picture: NDArray[np.float32], empty: Bools, marks: Floats, outer: int) -> tuple[Floats, float]:
    """Where an eye's white ends outwards, (2,) px, and the evidence for it, 0 to 1.

    Args:
        picture: (height, width, 3) RGB in [0, 255], of `creases.PIXELS_PER_MM`.
        empty: (height, width) True where it shows no scan.
        marks: (6, 2) px of the eye; outer: which of them is its outer corner, 0 or 3.
    """
    start, corner = marks[3 - outer], marks[outer]
    length = float(np.linalg.norm(corner - start))
    if not length > 0:
        return corner, 0.0
    cv2 = opencv()
    inside = np.zeros(empty.shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(marks).astype(np.int32)], 1)

    def grown(mm: float) -> Bools:
        size = 2 * round(mm * PIXELS_PER_MM) + 1
        return np.asarray(cv2.dilate(inside, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0)

    near, far = AROUND_MM
    skin = grown(far) & ~grown(near) & ~empty
    unlike = unlike_skin(picture, skin, LEAST_PIXELS)
    if unlike is None:
        return corner, 0.0
    parts, count = ndimage.label(unlike & ~empty)
    sizes, within = (np.bincount(parts[where], minlength=count + 1) for where in (parts > 0, inside > 0))
    white = (sizes >= LEAST_MM2 * PIXELS_PER_MM**2) & (within >= sizes / 2)
    white[0] = False
    of_eye = white[parts]
    reach = grown(OVER_MM)
    if not of_eye.any():
        return corner, 0.0
    leaks = float((of_eye & ~reach).sum() / of_eye.sum())
    axis = (corner - start) / length
    y, x = np.nonzero(of_eye & reach)
    away = np.stack([x, y], axis=1) + 0.5 - start
    along, down = away @ axis, away @ np.array([-axis[1], axis[0]])
    heights = np.bincount(np.maximum(np.floor(along), 0).astype(np.int64))
    high = np.flatnonzero(heights >= LEAST_MM * PIXELS_PER_MM)
    if not len(high) or high[-1] < OUTER_HALF * length:
        return corner, 0.0
    end = float(high[-1] + 1)
    last = round(TAPERING_MM * PIXELS_PER_MM)
    at_end = (along < end) & (along >= end - last)
    middle = float(down[(along < end) & (along >= end - last / 2)].mean())
    colors, columns = picture[y, x], np.floor(along)
    ends = [colors[columns == column] for column in range(int(end) - last, int(end))]
    medians = np.array([np.median(column, axis=0) for column in ends if len(column)])
    dark = float((1 - _as_white(medians, picture[of_eye & (inside > 0)], picture[skin])).sum())
    end += BEYOND_MM * PIXELS_PER_MM
    place = start + end * axis + middle * np.array([-axis[1], axis[0]])
    evidence = min(
        float(ramp(dark / PIXELS_PER_MM, DARK_MM)),
        float(ramp(float(unlike[skin].mean()), SKIN_UNLIKE)),
        float(ramp(leaks, LEAKS)),
        float(ramp(float(np.linalg.norm(place - corner)) / PIXELS_PER_MM, FAR_MM)),
        float(ramp(at_end.sum() / last / PIXELS_PER_MM, TAPERED_MM)),
    )
    return place, evidence


def _as_white(colors: Floats, of_eye: NDArray[np.float32], of_skin: NDArray[np.float32]) -> Floats:
    """(n,) how sure it is, 0 to 1, that colours (n, 3) are of the white, by what of the eye (k, 3) has not the hue of
    skin, and the skin around, (m, 3), RGB in [0, 255]."""
    skin_red = float(np.median(of_skin[:, 0]))
    brightest = of_eye[of_eye[:, 0] >= np.percentile(of_eye[:, 0], 75)]
    white_red = max(float(np.percentile(of_eye[:, 0], 90)), WHITE_OF_SKIN * skin_red)
    lit = np.maximum(ramp(colors[:, 0] / white_red, WHITE_LIT), ramp(colors[:, 0] / skin_red, SKIN_LIT))
    blue = _blue(colors) - float(np.median(_blue(brightest)))
    return np.asarray(lit * ramp(blue, WHITE_BLUE))


def _blue(colors: NDArray[np.floating]) -> Floats:
    """(n,) the logarithm of blue over green of colours (n, 3), both brighter by `BLACK`, as in `eye_hue`."""
    light = np.log(colors.astype(np.float64) + BLACK)
    return np.asarray(light[:, 2] - light[:, 1])
