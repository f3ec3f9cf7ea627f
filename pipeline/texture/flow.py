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
from mimicme.pipeline.numerics.compiled import compiled

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
"""A step says no more than so many texels: it takes brightness for linear, which it is over a part of a grain only.
`OVERSHOOT` comes on top: a step but the last goes up to 3 texels.  Not tuned."""
OVERSHOOT = 1.5
"""Every step of a pass but its last goes so many times as far as it says.  Noise and shading, which are no shift, add
to the tensor and not to what the shift explains: where grain is weak, as on lids, a step sees a third to a half of the
way.  Where pictures are clean the last step takes back most of what was too far."""
HALVED_FROM = 3.0
"""Texels of standard deviation from which a window's means are taken at half the resolution."""
ITERATIONS, FINEST = 3, 2
"""Steps on a level; on the finest, where coarser ones led there: a third one there costs 5 % of `refine` and takes 3 %
off the error of three expressions of `synth`."""


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
    """A texture made ready to be compared, without its light: grey values of local mean 0 and spread 1.

    Attributes:
        grey: (h, w) float32, over a wide neighbourhood: seen from far away.
        fine: (h, w) float32, over a narrow one: without the shading of folds and lids, too, which stays in place while
            skin slides.
        mask: (h, w) 0 or 1; all else is 0 outside.
    """

    grey: Singles
    fine: Singles
    mask: Singles


def normalised(texture: Pixels, coverage: Pixels, wide: float, narrow: float) -> Comparable:
    """Local contrast normalisation: grey values without their local mean and spread; texels outside the mask are 0.

    Args:
        texture: (h, w, 3) RGB; coverage: (h, w), 0 where there is no data.
        wide, narrow: standard deviations of the two neighbourhoods, texels.
    """
    grey = (texture.astype(np.float32) @ LUMA).astype(np.float32)
    mask = (coverage > 0).astype(np.float32)
    return Comparable(_flattened(grey, mask, wide), _flattened(grey, mask, narrow), mask)


def _flattened(grey: Singles, mask: Singles, radius: float) -> Singles:
    """(h, w) without the local mean and spread."""
    around = np.maximum(_blurred(mask, radius), np.float32(1e-6))
    mean = _blurred(grey * mask, radius) / around
    variance = _blurred(((grey - mean) ** 2 * mask).astype(np.float32), radius) / around
    flat = (grey - mean) / np.sqrt(variance + SPREAD_FLOOR**2)
    return np.where(mask > 0, flat, 0).astype(np.float32)


class _Level(NamedTuple):
    """One level of the pyramid: grey (h, w) and mask (h, w) float32."""

    grey: Singles
    mask: Singles


def flow(reference: Comparable, other: Comparable, window: float, levels: int) -> Flow:
    """Dense flow from `reference` to `other`.

    On the coarser levels there are two: by the wide normalisation, which sees far, and by the narrow one, which light
    does not lead astray.  At each texel the one goes on after which the narrow ones agree better.

    Args:
        window: standard deviation of the Gaussian window inside which texels move alike, texels of each level.
        levels: of the pyramid, of the wide ones one more; one level sees shifts of a few texels, each more twice as
            far.
    """
    narrow = [(_Level(reference.fine, reference.mask), _Level(other.fine, other.mask))]
    wide = [(_Level(reference.grey, reference.mask), _Level(other.grey, other.mask))]
    for pyramid, coarser in ((narrow, levels - 1), (wide, levels)):
        for _ in range(coarser if levels > 1 else 0):
            pyramid.append((_halved(pyramid[-1][0]), _halved(pyramid[-1][1])))
    height, width = reference.mask.shape
    shift = np.zeros((height, width, 2), np.float32)
    if levels > 1:
        near, near_sure = _followed(narrow[1:], [], window)
        far, far_sure = _followed(wide[1:], narrow[1:2], window)
        better = (near_sure >= far_sure)[..., None]
        shift = 2 * _enlarged(np.where(better, near, far), width, height)
    shift, seen = _lucas_kanade(*narrow[0], shift, window, FINEST if levels > 1 else ITERATIONS)
    return Flow(shift, _confidence(reference.mask, seen, window))


def _followed(
    pyramid: list[tuple[_Level, _Level]], last: list[tuple[_Level, _Level]], window: float
) -> tuple[Singles, Singles]:
    """Shift (h, w, 2) and confidence (h, w) on the finest level of a pyramid, finest first; a step on `last` ends
    it."""
    shift = np.zeros((*pyramid[-1][0].mask.shape, 2), np.float32)
    passes = [(pair, ITERATIONS) for pair in reversed(pyramid)] + [(pair, 1) for pair in last]
    for (a, b), rounds in passes:
        if shift.shape[:2] != a.mask.shape:
            shift = 2 * _enlarged(shift, *a.mask.shape[::-1])
        shift, seen = _lucas_kanade(a, b, shift, window, rounds)
    return shift, _confidence(a.mask, seen, window)


class _Seen(NamedTuple):
    """What the last step of a pass saw: the smaller eigenvalue of the structure tensor, of the size of its windows; the
    difference (h, w) of the two pictures, and the mask (h, w) of the other."""

    smaller: Singles
    change: Singles
    mask: Singles


def _lucas_kanade(a: _Level, b: _Level, shift: Singles, window: float, rounds: int) -> tuple[Singles, _Seen]:
    """The shift (h, w, 2) after so many steps, and what the last of them saw."""
    cv2 = opencv()
    height, width = a.grey.shape
    columns, rows = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    both, change, weight = (np.empty((height, width), np.float32) for _ in range(3))
    # means over two by two texels are taken at once, where that is what the window is for
    block = 2 if window >= HALVED_FROM and height % 2 == 0 and width % 2 == 0 else 1
    products = np.empty((5, height // block, width // block), np.float32)
    for done in range(1, rounds + 1):
        _places(shift, columns, rows)
        moved = cv2.remap(b.grey, columns, rows, cv2.INTER_LINEAR)
        mask = cv2.remap(b.mask, columns, rows, cv2.INTER_LINEAR)
        _compared(a.grey, a.mask, moved, mask, both, change, weight)
        gx, gy = (cv2.Scharr(both, cv2.CV_32F, *way, scale=1 / 32) for way in ((1, 0), (0, 1)))
        _tensor(gx, gy, change, weight, block, products)
        means = [_blurred(p, window / 2) if block == 2 else _window(p, window) for p in products]
        xx, xy, yy, xt, yt = means
        step = np.empty((*xx.shape, 2), np.float32)
        _steps(xx, xy, yy, xt, yt, OVERSHOOT if done < rounds else 1.0, step)
        shift = shift + _enlarged(step, width, height)
    smaller = (xx + yy) / 2 - np.sqrt((xx - yy) ** 2 / 4 + xy * xy)
    return shift, _Seen(np.asarray(smaller, np.float32), change, mask)


def _confidence(mask: Singles, seen: _Seen, window: float) -> Singles:
    """(h, w) see `Flow`; mask: (h, w) of the reference."""
    height, width = mask.shape
    known = (mask > 0.99) & (seen.mask > 0.99)
    around = np.maximum(_window(known.astype(np.float32), window), 1e-6)
    off = np.asarray(known * np.minimum(np.abs(seen.change), 3), np.float32)
    misfit = _window(off, window) / around
    textured = np.maximum(seen.smaller, 0) / (TEXTURED + np.maximum(seen.smaller, 0))
    sure = _enlarged((textured * np.exp(-(misfit**2))).astype(np.float32), width, height)
    return (known * sure).astype(np.float32)


@compiled("void(f4[:, :, ::1], f4[:, ::1], f4[:, ::1])")
def _places(shift: Singles, columns: Singles, rows: Singles) -> None:
    """Fill where each texel lies that is shifted by (h, w, 2): column and row, (h, w) each."""
    for i in range(len(shift)):
        for j in range(shift.shape[1]):
            columns[i, j] = np.float32(j) + shift[i, j, 0]
            rows[i, j] = np.float32(i) + shift[i, j, 1]


@compiled("void(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def _compared(
    grey: Singles,
    mask: Singles,
    moved: Singles,
    moved_mask: Singles,
    both: Singles,
    change: Singles,
    weight: Singles,
) -> None:
    """Fill the mean of two pictures (h, w), their difference, and the weight of each texel: 0 where either mask is not
    1, and less where they differ."""
    half, one, misfit = np.float32(0.5), np.float32(1), np.float32(MISFIT)
    for i in range(len(grey)):
        for j in range(grey.shape[1]):
            a, b = grey[i, j], moved[i, j]
            both[i, j] = half * (a + b)
            change[i, j] = b - a
            off = (b - a) / misfit
            robust = one + off * off
            known = mask[i, j] > 0.99 and moved_mask[i, j] > 0.99
            weight[i, j] = one / (robust * robust) if known else np.float32(0)


@compiled("void(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], i8, f4[:, :, ::1])")
def _tensor(
    gx: Singles, gy: Singles, change: Singles, weight: Singles, block: int, products: Singles
) -> None:
    """Fill the five products that the windows' means are taken of, (5, h / block, w / block): of the two gradients
    (h, w) with themselves, with each other and with the change (h, w), weighted; each the mean over a block."""
    share = np.float32(1 / (block * block))
    for i in range(products.shape[1]):
        for j in range(products.shape[2]):
            xx, xy, yy, xt, yt = np.float32(0), np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for r in range(i * block, (i + 1) * block):
                for c in range(j * block, (j + 1) * block):
                    w, x, y, t = weight[r, c], gx[r, c], gy[r, c], change[r, c]
                    xx += w * (x * x)
                    xy += w * (x * y)
                    yy += w * (y * y)
                    xt += w * (x * t)
                    yt += w * (y * t)
            products[0, i, j], products[1, i, j], products[2, i, j] = share * xx, share * xy, share * yy
            products[3, i, j], products[4, i, j] = share * xt, share * yt


@compiled("void(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4, f4[:, :, ::1])")
def _steps(
    xx: Singles, xy: Singles, yy: Singles, xt: Singles, yt: Singles, factor: float, step: Singles
) -> None:
    """Fill the steps (h, w, 2), so many times as long as the means of `_tensor` (h, w) say, which is no longer than
    `MAX_STEP_PX`."""
    damping, longest, least = np.float32(DAMPING), np.float32(MAX_STEP_PX), np.float32(1e-6)
    for i in range(len(xx)):
        for j in range(xx.shape[1]):
            a, b, c = xx[i, j] + damping, xy[i, j], yy[i, j] + damping
            det = a * c - b * b
            x = (b * yt[i, j] - c * xt[i, j]) / det
            y = (b * xt[i, j] - a * yt[i, j]) / det
            length = max(np.sqrt(x * x + y * y), least)
            share = factor * min(np.float32(1), longest / length)
            step[i, j, 0], step[i, j, 1] = share * x, share * y


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


def _halved(picture: _Level) -> _Level:
    """Both reduced by two; a texel of the smaller is known when all four were."""
    cv2 = opencv()
    height, width = picture.grey.shape
    size = (max(1, width // 2), max(1, height // 2))
    grey, mask = (cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in picture)
    return _Level(grey, mask)


def _blurred(values: Singles, sigma: float) -> Singles:
    return np.asarray(opencv().GaussianBlur(values, (0, 0), sigma), np.float32)
