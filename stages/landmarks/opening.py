"""The opening of a mouth: the inner borders of lips that are apart, where their red ends at what lies behind.

Between such lips a scan has teeth, a tongue, the dark or a hole; each is of another colour than the lips or lies behind
them.  The networks, which know what mouths mostly look like, take an opening of 5 mm for 3 at times, and the fit
follows them.  Each lip's colour and depth are learnt anew in each picture, of that lip alone: the upper one mostly lies
in its own shade.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mimicme.pipeline.arrays import Bools, Floats, Longs, Singles
from mimicme.pipeline.formats.image import opencv
from mimicme.stages.landmarks.strips import (
    OUTER,
    PIXELS_PER_MM,
    BorderSearch,
    arc_length,
    at_shares,
    border_beside,
    ramp,
)


class Lip(NamedTuple):
    """Rows of the mouth's 20 points: a lip's outline all around, and its inner border from corner to corner."""

    outline: Longs
    inner: Longs
    outwards: float


LIPS = (
    Lip(np.array([0, 1, 2, 3, 4, 5, 6, 16, 15, 14, 13, 12]), np.array([12, 13, 14, 15, 16]), -1.0),
    Lip(np.array([0, 11, 10, 9, 8, 7, 6, 16, 17, 18, 19, 12]), np.array([12, 19, 18, 17, 16]), 1.0),
)
INNER = np.arange(12, 20)
LOWER_OUTER, LOWER_INNER = np.array([11, 10, 9, 8, 7]), np.array([19, 18, 17])
"""The lower lip's borders, without the corners."""
BESIDE = np.array([10, 9, 8])
"""Points of its outer border, each below one of the inner."""
APART = np.array([13, 14, 15, 19, 18, 17])
"""The points that are followed: the upper lip's, and below each the lower one's."""
BLACK = 8.0  # added to brightness, of 255, before the logarithm
INSIDE_MM = 1.0  # of a lip's outline, from where on its colour is learnt
LEAST_PIXELS = 60
LEAST_SPREAD = 0.08  # standard deviation of the logarithm of a lip's colour
ROUNDS = 3  # its colour is learnt again of what is like it
LIKE = 2.5  # standard deviations: what is less like it is left out
# From still the lip to surely something behind it: standard deviations from its colour, and mm behind it.
UNLIKE, BEHIND_MM = (2.5, 4.5), (1.5, 3.0)
BORDER = BorderSearch(step=0.4, aside=4.5, width=1.2, smooth=1.2, bend=4.5, nearer=0.03, move_cost=0.15)
MORE_MM = 1.0  # of a picture, around what is read of it: pixels next to each other are read together
FROM_OUTER_MM = 0.8  # a border lies so far inside the lips' outer one at least
# A dropped jaw: the inner border lies so far below the corners at least; what lies so far behind the surface around the
# mouth is its opening, as a hole is.
DROPPED_MM = 3.0
AROUND_MM, DEEP_MM = (3.0, 10.0), 6.0
NOT_AROUND_MM = 4.0  # further from that surface lies something else: the opening, a nose
HIT_SHARE = 0.5  # of what the networks have between the lips: with less, it is no opening as they mean it
# Columns, px, between 65 and 67: with fewer nothing is known; which of their lower ends is the opening's; and twice how
# wide a tear of the lip may be that does not count.
LEAST_COLUMNS, END_PERCENTILE, TEAR = 6, 75, 9
# The opening's lower end below the networks' inner border, from what noise and rims do to all of it; and how many times
# as far from the corners at most: more is a hole of the scan, a chin that is cut off.
SHORT_MM, LONGEST = (1.5, 3.0), 1.6
# Evidence from none to all of it: by the step, and by the height of the opening; closed lips have a dark slit, which
# on four people of `synth` is up to 2 mm high.
STEP, OPEN_MM = (0.35, 0.65), (2.2, 3.2)


def opening_marks(
    picture: NDArray[np.float32], depth: NDArray[np.float32], marks: Floats
) -> tuple[Floats, Floats]:
    """(6, 2) px where the points `APART` lie on the inner borders of the lips, moved there from where they were by as
    much evidence as there is, and how much that is, (6,), 0 to 1; none in a mouth that is closed.

    Args:
        picture: (height, width, 3) RGB in [0, 255]; depth: (height, width) mm towards the camera, NaN where it shows no
            scan; both of `PIXELS_PER_MM`.
        marks: (20, 2) px, the mouth's points in iBUG's order.
    """
    before = marks[APART]
    nothing = before, np.zeros(len(APART))
    allowed = _area(depth.shape, marks[OUTER], FROM_OUTER_MM)
    missing = np.zeros(depth.shape, bool)  # a hole lies behind the lips
    found, steps = [], []
    for lip in LIPS:
        near = _box(depth.shape, marks[lip.inner], BORDER.aside + BORDER.width + MORE_MM)
        behind = _behind(picture, depth, _area(depth.shape, marks[lip.outline], INSIDE_MM), near)
        if behind is None:
            return nothing
        places, step = border_beside(
            marks[lip.inner], behind, missing, lip.outwards, BORDER, PIXELS_PER_MM, allowed
        )
        found.append(places)
        steps.append(step)
    height = (found[1] - found[0])[:, 1] / PIXELS_PER_MM
    # a mouth is open as a whole: a single place may show the dark of a fold
    worth = ramp(np.minimum(*steps), STEP) * ramp(float(np.median(height)), OPEN_MM)
    worth = np.tile(worth, 2)
    return before + worth[:, None] * (np.concatenate(found) - before), worth


def lowered(depth: NDArray[np.float32], marks: Floats) -> Floats:
    """The mouth's points (20, 2) px, the lower lip's lowered as far as the mouth is open: the networks, which know jaws
    that are dropped less far, draw it amid the opening of a scream, from where no border of a lip is in reach.

    The outer border is lowered by a share of its way from the corners, and none of it raised; the inner one lies where
    the opening ends, its points as far along it as the networks have them.

    Args:
        depth, marks: see `opening_marks`.
    """
    left, right, low = marks[12], marks[16], float(marks[18, 1])
    corners = float(left[1] + right[1]) / 2
    if right[0] - left[0] < LEAST_COLUMNS or low - corners < DROPPED_MM * PIXELS_PER_MM:
        return marks
    between = _area(depth.shape, marks[INNER], 0.0)
    labels, _ = ndimage.label(_far_behind(depth, marks))
    counts = np.bincount(labels[between], minlength=2)
    counts[0] = 0
    if counts.max() < HIT_SHARE * max(int(between.sum()), 1):
        return marks
    x = np.arange(max(int(left[0]), 0), max(int(right[0]), 0) + 1)
    opening = (labels == counts.argmax())[:, x[0] : x[-1] + 1]
    x, opening = x[: opening.shape[1]][opening.any(axis=0)], opening[:, opening.any(axis=0)]
    ends = opening.shape[0] - opening[::-1].argmax(axis=0)
    amid = (x >= marks[19, 0]) & (x <= marks[17, 0])
    if amid.sum() < LEAST_COLUMNS:
        return marks
    end = float(np.percentile(ends[amid], END_PERCENTILE))
    if end >= depth.shape[0] or (end - corners) / (low - corners) > LONGEST:
        return marks
    shown = float(ramp((end - low) / PIXELS_PER_MM, SHORT_MM))
    out = marks.copy()
    share = np.clip((marks[LOWER_OUTER, 1] - corners) / (low - corners), 0.0, 1.0)
    out[LOWER_OUTER, 1] += shown * share * (end - low)
    rim = np.concatenate([[left], np.stack([x + 0.5, ndimage.median_filter(ends, TEAR)], axis=1), [right]])
    arc = arc_length(marks[LIPS[1].inner])
    out[LOWER_INNER] += shown * (at_shares(rim, arc[1:-1] / arc[-1]) - marks[LOWER_INNER])
    return out


def _far_behind(depth: NDArray[np.float32], marks: Floats) -> Bools:
    """(height, width) True where a picture shows no scan, or what lies far behind the surface around the mouth."""
    empty = np.isnan(depth)
    near, far = (_area(depth.shape, marks[OUTER], -mm) for mm in AROUND_MM)
    ring = far & ~near & ~empty
    y, x = (np.broadcast_to(k / k.max(), depth.shape) for k in np.ogrid[: depth.shape[0], : depth.shape[1]])
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    values, all_deep = np.where(empty, 0.0, depth).astype(np.float64), empty
    for _ in range(ROUNDS):
        if ring.sum() < LEAST_PIXELS:
            return empty
        off = values - terms @ np.linalg.lstsq(terms[ring], values[ring], rcond=None)[0]
        all_deep = empty | (off < -DEEP_MM)
        ring &= np.abs(off) < NOT_AROUND_MM
    return all_deep


def _area(shape: tuple[int, ...], outline: Floats, inwards_mm: float) -> Bools:
    """(height, width) True so far inside an outline (k, 2) px; inwards_mm: negative for what is around it, too."""
    cv2 = opencv()
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 1)
    size = 2 * round(abs(inwards_mm) * PIXELS_PER_MM) + 1
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray((cv2.erode if inwards_mm > 0 else cv2.dilate)(mask, ball) > 0)


def _box(shape: tuple[int, ...], points: Floats, around_mm: float) -> Bools:
    """(height, width) what lies in the upright box around points (k, 2) px, and so far around it."""
    aside = around_mm * PIXELS_PER_MM
    left, top = np.maximum(np.floor(points.min(axis=0) - aside), 0).astype(int)
    right, bottom = np.maximum(np.ceil(points.max(axis=0) + aside), 0).astype(int)
    out = np.zeros(shape, bool)
    out[top:bottom, left:right] = True
    return out


def _behind(
    picture: NDArray[np.float32], depth: NDArray[np.float32], lip: Bools, where: Bools
) -> Singles | None:
    """(height, width) from 0, where a picture shows the lip, to 1, where it shows what lies behind; None where too
    little of the lip, (height, width), is seen.

    Args:
        where: (height, width) what of the answer is read.
    """
    empty = np.isnan(depth)
    lip = lip & ~empty
    if lip.sum() < LEAST_PIXELS:
        return None
    distance = distance_from(picture, lip, where)
    if distance is None:
        return None
    unlike = ramp(distance, UNLIKE)
    # a lip is bent along the mouth
    x = np.broadcast_to(np.arange(depth.shape[1]) / depth.shape[1], depth.shape)
    terms = np.stack([np.ones_like(x), x, x**2], axis=-1)
    bent = np.linalg.lstsq(terms[lip], depth[lip].astype(np.float64), rcond=None)[0]
    deep = ramp(terms @ bent - np.where(empty, 0.0, depth), BEHIND_MM)
    return np.where(empty, 1.0, np.maximum(unlike, deep)).astype(np.float32)


def distance_from(picture: NDArray[np.float32], area: Bools, where: Bools | None = None) -> Floats | None:
    """(height, width) how far each pixel's colour lies from the usual one of an area (height, width), standard
    deviations; None where that is too small.

    Args:
        picture: (height, width, 3) RGB in [0, 255].
        where: (height, width) what is asked for, the rest of the answer is 0; None: all of it.
    """
    if area.sum() < LEAST_PIXELS:
        return None
    everyone = own = np.log(picture[area].astype(np.float64) + BLACK)
    middle = np.median(own, axis=0)
    # to begin with by channel: a third of it may be something else, teeth in a lip's outline, a brow beside skin
    spread: Floats = np.diag((1.4826 * np.median(np.abs(own - middle), axis=0)) ** 2)
    for _ in range(ROUNDS):
        own = everyone[_distance(everyone, middle, _inverse(spread)) < LIKE]
        if len(own) < LEAST_PIXELS:
            return None
        middle, spread = np.median(own, axis=0), np.cov(own.T)
    where = np.ones(area.shape, bool) if where is None else where
    out = np.zeros(area.shape)
    out[where] = _distance(np.log(picture[where].astype(np.float64) + BLACK), middle, _inverse(spread))
    return out


def _inverse(spread: Floats) -> Floats:
    """(3, 3) of a covariance (3, 3), which is as large as `LEAST_SPREAD` at least."""
    return np.asarray(np.linalg.inv(spread + LEAST_SPREAD**2 * np.eye(3)), np.float64)


def _distance(colours: Floats, middle: Floats, inverse: Floats) -> Floats:
    """Of colours (..., 3) from a middle (3,), by Mahalanobis, in standard deviations."""
    off = colours - middle
    return np.asarray(np.sqrt(np.einsum("...i,ij,...j->...", off, inverse, off)))
