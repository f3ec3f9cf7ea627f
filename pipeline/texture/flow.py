"""Where every texel of one texture lies in another: dense flow between two textures of one layout.

Lucas and Kanade's (1981) method from coarse to fine (Bouguet 2000), with what textures of faces need: every texel
has a mask, so that what no camera saw and what lies beyond a chart's border takes no part; brightness is compared
after local contrast normalisation (`normalised`), because light and shading change with the pose and the
expression; and texels that do not fit are weighted down (Geman and McClure 1987), because wrinkles and shadows are
not skin that moved.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Singles
from mimicme.pipeline.formats.image import Pixels, opencv

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
SPREAD_FLOOR = 2.0
"""Grey levels added to the local spread: what varies by less is the sensor's noise or JPEG's."""
DAMPING = 2e-3
"""Added to the structure tensor, of unit-variance images: without texture there is no flow."""
TEXTURED = 1e-2
"""Smaller eigenvalue of the structure tensor at which the confidence is one half."""
MISFIT = 0.7
"""Difference of two normalised textures at which a texel's weight falls to a quarter."""
MAX_STEP_PX = 2.0
HALVED_FROM = 3.0
"""Texels of standard deviation from which a window's means are taken at half the resolution."""
ITERATIONS = 3


class Flow(NamedTuple):
    """A texel at x of the reference lies at x + shift of the other texture.

    Attributes:
        shift: (h, w, 2) float32 texels; columns to the right, rows down.
        confidence: (h, w) float32 in [0, 1]: 0 where either texture has no data, small where nothing can be seen to
            move or where the two do not agree.
    """

    shift: Singles
    confidence: Singles


class Comparable(NamedTuple):
    """A texture made ready to be compared: grey (h, w) float32 of local mean 0 and spread 1; mask (h, w) 0 or 1."""

    grey: Singles
    mask: Singles


def normalised(texture: Pixels, coverage: Pixels, radius: float) -> Comparable:
    """Local contrast normalisation: grey values without their local mean and spread; texels outside the mask are 0.

    Args:
        texture: (h, w, 3) RGB; coverage: (h, w), 0 where there is no data.
        radius: standard deviation of the neighbourhood, texels.
    """
    grey = (texture.astype(np.float32) @ LUMA).astype(np.float32)
    mask = (coverage > 0).astype(np.float32)
    around = np.maximum(_blurred(mask, radius), np.float32(1e-6))
    mean = _blurred(grey * mask, radius) / around
    variance = _blurred(((grey - mean) ** 2 * mask).astype(np.float32), radius) / around
    flat = (grey - mean) / np.sqrt(variance + SPREAD_FLOOR**2)
    return Comparable(np.where(mask > 0, flat, 0).astype(np.float32), mask)


def flow(reference: Comparable, other: Comparable, window: float, levels: int) -> Flow:
    """Dense flow from `reference` to `other`.

    Args:
        window: standard deviation of the Gaussian window inside which texels move alike, texels of each level.
        levels: of the pyramid; one level sees shifts of a few texels, each more twice as far.
    """
    pyramid = [(reference, other)]
    for _ in range(levels - 1):
        pyramid.append((_halved(pyramid[-1][0]), _halved(pyramid[-1][1])))
    shift = np.zeros((*pyramid[-1][0].grey.shape, 2), np.float32)
    confidence = np.zeros(shift.shape[:2], np.float32)
    for a, b in reversed(pyramid):
        if shift.shape[:2] != a.grey.shape:
            size = a.grey.shape[::-1]
            shift = np.asarray(2 * opencv().resize(shift, size, interpolation=opencv().INTER_LINEAR))
        shift, confidence = _lucas_kanade(a, b, shift, window)
    return Flow(shift, confidence)


def _lucas_kanade(a: Comparable, b: Comparable, shift: Singles, window: float) -> tuple[Singles, Singles]:
    cv2 = opencv()
    height, width = a.grey.shape
    column, row = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    for _ in range(ITERATIONS):
        x, y = column + shift[..., 0], row + shift[..., 1]
        moved = cv2.remap(b.grey, x, y, cv2.INTER_LINEAR)
        known = (a.mask > 0.99) & (cv2.remap(b.mask, x, y, cv2.INTER_LINEAR) > 0.99)
        both = 0.5 * (a.grey + moved)
        gx, gy = (cv2.Scharr(both, cv2.CV_32F, *way) / 32 for way in ((1, 0), (0, 1)))
        change = moved - a.grey
        weight = (known / (1 + (change / MISFIT) ** 2) ** 2).astype(np.float32)
        xx, xy, yy, xt, yt = (
            _window(weight * p, window) for p in (gx * gx, gx * gy, gy * gy, gx * change, gy * change)
        )
        det = (xx + DAMPING) * (yy + DAMPING) - xy * xy
        step = np.stack(
            [xy * yt - (yy + DAMPING) * xt, xy * xt - (xx + DAMPING) * yt],
            axis=-1,
        ) / det[..., None]  # fmt: skip
        step *= np.minimum(1, MAX_STEP_PX / np.maximum(np.hypot(step[..., 0], step[..., 1]), 1e-6))[..., None]
        shift = shift + _enlarged(step, width, height)
    smaller = (xx + yy) / 2 - np.sqrt((xx - yy) ** 2 / 4 + xy * xy)
    around = np.maximum(_window(known.astype(np.float32), window), 1e-6)
    misfit = _window(known * np.minimum(np.abs(change), 3).astype(np.float32), window) / around
    textured = np.maximum(smaller, 0) / (TEXTURED + np.maximum(smaller, 0))
    sure = _enlarged((textured * np.exp(-(misfit**2))).astype(np.float32), width, height)
    return shift, (known * sure).astype(np.float32)


def _window(values: Singles, sigma: float) -> Singles:
    """(h', w') means over a Gaussian window; of a wide one at half the resolution: it holds nothing finer."""
    if sigma < HALVED_FROM:
        return _blurred(values, sigma)
    height, width = values.shape
    half = opencv().resize(
        values, (max(1, width // 2), max(1, height // 2)), interpolation=opencv().INTER_AREA
    )
    return _blurred(half, sigma / 2)


def _enlarged(values: Singles, width: int, height: int) -> Singles:
    """(height, width, ...) of what `_window` gave."""
    if values.shape[:2] == (height, width):
        return values
    return np.asarray(opencv().resize(values, (width, height), interpolation=opencv().INTER_LINEAR))


def _halved(picture: Comparable) -> Comparable:
    """Both reduced by two; a texel of the smaller is known when all four were."""
    cv2 = opencv()
    height, width = picture.grey.shape
    size = (max(1, width // 2), max(1, height // 2))
    grey, mask = (cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in picture)
    return Comparable(grey, mask)


def _blurred(values: Singles, sigma: float) -> Singles:
    return np.asarray(opencv().GaussianBlur(values, (0, 0), sigma), np.float32)
