"""A mouth that something worn, or held before the face, hides: a mask, a scarf, a glove.

The networks draw a mouth on it all the same, or points that lie elsewhere in each view.  Its colour and its shape tell:
what lies where the mouth should be, beside it and above it is all unlike the skin between the eyes, below them and on
the forehead, and all alike; and between nose and chin there is no furrow, as lips have one between them.

A frame is refused only where all of that is so.  What is painted, lit or grown over a mouth leaves the lips' relief;
glasses, hair or a bar where skin should be leave no two references that agree, or one that the mouth is like.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.drawing.render import Camera
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.landmarks import GROUPS
from mimicme.stages.landmarks.views import DISTANCE_MM, Scene

PIXELS_PER_MM = 1.0
NOSE = 33


class Box(NamedTuple):
    """A part of a face, to both sides of its middle, in shares of the distance from the eyes to the base of the nose:
    its distance from the middle, and its height, from and to; heights from the base of the nose, upwards."""

    aside: tuple[float, float]
    high: tuple[float, float]


# Where skin shows above masks and beards, unless glasses, hair or a cap lie there: between the eyes, right below them,
# on the forehead.
REFERENCES = (Box((0.0, 0.18), (0.85, 1.3)), Box((0.55, 0.95), (0.72, 0.88)), Box((0.0, 0.5), (1.4, 1.7)))
AGREE = 2  # so many of them have to
MOUTH, BESIDE, ABOVE = (
    Box((0.0, 0.5), (-0.85, -0.15)),
    Box((0.55, 0.78), (-0.75, -0.2)),
    Box((0.0, 0.3), (-0.18, -0.06)),
)
LEAST_PIXELS, LEAST_SEEN = 40, 0.5
DARK = 12.0  # added to each channel, of 255: the hue of black is noise
UNLIKE = 0.05
"""A colour is not skin's when its share of red or green differs by more from the median of every reference, and two
references agree when theirs differ by less.  By what masks are: white, black and light blue ones differ by 0.08 and
more from any skin, shadow and blush by 0.03 at most."""
MOST_UNEVEN = 0.25
"""Spread of the logarithm of brightness, between its quartiles, over what is one thing and no hair."""
HIDDEN = 0.8  # share of each box that is unlike skin
# The relief of lips: amid the mouth, at these heights, depth that is smoothed over 1 mm lies behind the mean of what is
# so far above and below it.  The furrow is 2.4 mm deep and more of shut mouths of four people of `synth`, -0.1 to 0.04
# of shells over nose and mouth of three.
AMID = Box((0.0, 0.22), (-0.75, -0.25))
FURROW_MM, BESIDE_MM, SMOOTH_MM = 0.7, 5.0, 1.0


def refuse_hidden(scene: Scene, points: Floats, pose: Floats | None) -> None:
    """Refuse a face whose mouth does not show: what is drawn there leads the registration astray by a centimetre.

    Args:
        points, pose: see `mouth_hidden`; without a pose nothing is refused.

    Raises:
        FrameRejected: `mouth-hidden`.
    """
    if pose is None or not mouth_hidden(scene, points, pose):
        return
    raise FrameRejected(
        "mouth-hidden",
        "where the mouth should be, and around it, the scan shows nothing of the colour of skin, and no lips",
        expected="a mouth without a mask or a scarf before it",
        todo="Look at the scan; capture the frame again without what hides the mouth. If the mouth does show, put a "
        "landmark file beside the frame.",
    )


def mouth_hidden(scene: Scene, points: Floats, pose: Floats) -> bool:
    """Whether something that is no skin hides the mouth; never of a scan without colours.

    Args:
        points: (68, 3) mm, scan frame, as a detector has them; of the eyes and the base of the nose they are used.
        pose: (4, 4) of the head, head -> scan.
    """
    eyes = np.stack([points[GROUPS[eye]].mean(axis=0) for eye in ("left_eye", "right_eye")])
    if not scene.textured or not (np.isfinite(eyes).all() and np.isfinite(points[NOSE]).all()):
        return False
    axes = pose[:3, :3].T
    length = float((eyes.mean(axis=0) - points[NOSE]) @ axes[1])
    if not length > 0:
        return False
    base = points[NOSE] + ((eyes.mean(axis=0) - points[NOSE]) @ axes[0]) * axes[0]
    size = (round(3.0 * length * PIXELS_PER_MM), round(2.0 * length * PIXELS_PER_MM))
    camera = Camera(base + 0.25 * length * axes[1], axes, PIXELS_PER_MM, size, DISTANCE_MM)
    picture, depth = scene.shown(camera)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    aside = np.abs(x - size[1] / 2) / PIXELS_PER_MM / length
    high = (size[0] / 2 - y) / PIXELS_PER_MM / length + 0.25
    return hidden(picture, scene.coloured(camera), aside, high) and not lips_stand_out(depth, aside, high)


def _inside(box: Box, aside: Floats, high: Floats) -> Bools:
    return np.asarray(
        (aside >= box.aside[0]) & (aside < box.aside[1]) & (high >= box.high[0]) & (high < box.high[1])
    )


def hidden(picture: NDArray[np.float32], seen: Bools, aside: Floats, high: Floats) -> bool:
    """Whether a picture (height, width, 3), RGB in [0, 255], shows no skin where a mouth and its surroundings should
    be.

    Args:
        seen: (height, width) where it shows the scan in colours of its own; aside, high: (height, width) as in `Box`.
    """
    colours = picture.astype(np.float64) + DARK
    total = colours.sum(axis=2)
    hue = colours[..., :2] / total[..., None]
    skins = [np.asarray(np.median(hue[there], axis=0)) for there in _references(seen, aside, high)]
    apart = [[float(np.abs(one - other).max()) for other in skins] for one in skins]
    if not any(sum(distance < UNLIKE for distance in distances) >= AGREE for distances in apart):
        return False
    unlike = np.min([np.abs(hue - skin).max(axis=2) for skin in skins], axis=0) > UNLIKE
    for box in (MOUTH, BESIDE, ABOVE):
        part = _inside(box, aside, high)
        there = part & seen
        if there.sum() < max(LEAST_PIXELS, LEAST_SEEN * part.sum()) or unlike[there].mean() < HIDDEN:
            return False
    low, upper = np.percentile(np.log(total[_inside(MOUTH, aside, high) & seen]), (25, 75))
    return bool(upper - low < MOST_UNEVEN)


def _references(seen: Bools, aside: Floats, high: Floats) -> list[Bools]:
    """(height, width) of each of `REFERENCES` what is seen, where it is enough."""
    parts = [_inside(box, aside, high) & seen for box in REFERENCES]
    return [part for part in parts if part.sum() >= LEAST_PIXELS]


def lips_stand_out(depth: NDArray[np.float32], aside: Floats, high: Floats) -> bool:
    """Whether depth (height, width), mm towards the camera, NaN where nothing is seen, has a furrow across the middle
    of where the mouth should be.

    Args:
        aside, high: (height, width) as in `Box`.
    """
    amid = (aside[0] >= AMID.aside[0]) & (aside[0] < AMID.aside[1])
    across = depth[:, amid]
    there = np.flatnonzero(np.isfinite(across).any(axis=1))
    if not len(there):
        return False
    rows = np.arange(len(depth))
    profile = np.interp(rows, there, np.nanmedian(across[there], axis=1))
    profile = scipy.ndimage.gaussian_filter1d(profile, SMOOTH_MM * PIXELS_PER_MM, mode="nearest")
    beside = round(BESIDE_MM * PIXELS_PER_MM)
    above, below = (profile[np.clip(rows + k, 0, len(rows) - 1)] for k in (-beside, beside))
    at_mouth = (high[:, 0] >= AMID.high[0]) & (high[:, 0] < AMID.high[1])
    return bool(((above + below) / 2 - profile)[at_mouth].max(initial=-np.inf) > FURROW_MM)
