"""A mouth that something worn, or held before the face, hides: a mask, a scarf, a glove.

The networks draw a mouth on it all the same, or points that lie elsewhere in each view.  Its colour tells: what lies
where the mouth should be, beside it and above it is all unlike the skin between the eyes, and all alike.  Around an
open mouth there is skin; in a beard there are lips, and hair is uneven.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
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


# Between the eyes, where masks, beards, brows and most hair end.
SKIN = Box((0.0, 0.18), (0.85, 1.3))
MOUTH, BESIDE, ABOVE = (
    Box((0.0, 0.5), (-0.85, -0.15)),
    Box((0.55, 0.78), (-0.75, -0.2)),
    Box((0.0, 0.3), (-0.18, -0.06)),
)
LEAST_PIXELS, LEAST_SEEN = 40, 0.5
DARK = 12.0  # added to each channel, of 255: the hue of black is noise
UNLIKE = 0.05
"""A colour is not skin's when its share of red or green differs from the median of `SKIN` by more.  By what masks are:
white, black and light blue ones differ by 0.08 and more from any skin, shadow and blush by 0.03 at most."""
MOST_UNEVEN = 0.25
"""Spread of the logarithm of brightness, between its quartiles, over what is one thing and no hair."""
HIDDEN = 0.8  # share of each box that is unlike skin


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
        "where the mouth should be, and around it, the scan shows nothing of the colour of skin",
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
    return hidden(picture, ~np.isnan(depth), aside, high)


def hidden(picture: NDArray[np.float32], seen: Bools, aside: Floats, high: Floats) -> bool:
    """Whether a picture (height, width, 3), RGB in [0, 255], shows no skin where a mouth and its surroundings should
    be.

    Args:
        seen: (height, width) where it shows the scan; aside, high: (height, width) as in `Box`.
    """

    def inside(box: Box) -> Bools:
        return np.asarray(
            (aside >= box.aside[0]) & (aside < box.aside[1]) & (high >= box.high[0]) & (high < box.high[1])
        )

    skin = inside(SKIN) & seen
    if skin.sum() < LEAST_PIXELS:
        return False
    colours = picture.astype(np.float64) + DARK
    total = colours.sum(axis=2)
    hue = colours[..., :2] / total[..., None]
    unlike = np.abs(hue - np.median(hue[skin], axis=0)).max(axis=2) > UNLIKE
    for box in (MOUTH, BESIDE, ABOVE):
        part = inside(box)
        there = part & seen
        if there.sum() < max(LEAST_PIXELS, LEAST_SEEN * part.sum()) or unlike[there].mean() < HIDDEN:
            return False
    low, upper = np.percentile(np.log(total[inside(MOUTH) & seen]), (25, 75))
    return bool(upper - low < MOST_UNEVEN)
