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
HALVED_FROM = 3.0
"""Texels of standard deviation from which a window's means are taken at half the resolution."""
DISAGREE = 1.0
"""Difference of two normalised textures, in parts of their mean amount, at which the confidence falls to 1 / e, with
its fourth power: two things differ by 1.2 or more, one seen twice through noise by 0.3 to 0.6.  Tuned on pictures of
noise: from 1.1 on another skin weighs more; three expressions of `synth` are the same with 0.94."""
LEAST_AMOUNT = 5e-3
"""Of a normalised texture, of mean amount 0.8: less is none."""
WIDE_SHARE = 0.5
"""Share of its confidence that the wide normalisation is held against the narrow one with.  On three expressions of
`synth` 0.4 to 0.8 do the same; with noise of 4 grey levels 0.6 is better by 10 % than 0.4, with textures blurred by 3
texels 0.4 by 4 %."""
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
    does not lead astray.  At each texel the one goes on after which the narrow ones agree better.  Of coarse and weak
    grain the narrow one leaves only noise and JPEG's blocks: where the wide ones, at half the resolution, agree much
    better than the narrow ones on the finest level, their shift is kept as it is.

    Args:
        window: standard deviation of the Gaussian window inside which texels move alike, texels of each level.
        levels: of the pyramid, of the wide ones one more; one level sees shifts of a few texels, each more twice as
            far.
    """
    narrow = [(_Level(reference.fine, reference.mask), _Level(other.fine, other.mask))]
    if levels == 1:
        nothing = np.zeros((*reference.mask.shape, 2), np.float32)
        shift, seen = _lucas_kanade(*narrow[0], nothing, window, ITERATIONS)
        return Flow(shift, _confidence(reference.mask, seen, window))
    wide = [(_Level(reference.grey, reference.mask), _Level(other.grey, other.mask))]
    for k in range(levels):
        wide.append((_halved(wide[k][0]), _halved(wide[k][1])))
        if k < levels - 1:
            masks = (level.mask for level in wide[-1])
            narrow.append((_halved(narrow[k][0], next(masks)), _halved(narrow[k][1], next(masks))))
    half = narrow[1][0].mask
    shift, seen = _followed(narrow[1:], window)
    soft, soft_seen = _followed(wide[1:], window)
    far, far_seen = _lucas_kanade(*narrow[1], soft, window, 1)
    _keep(far, _confidence(half, far_seen, window), 1, shift, _confidence(half, seen, window), 1)
    height, width = reference.mask.shape
    shift, seen = _lucas_kanade(*narrow[0], 2 * _enlarged(shift, width, height), window, FINEST)
    sure = _confidence(reference.mask, seen, window)
    soft_sure = _enlarged(_confidence(half, soft_seen, window), width, height)
    _keep(_enlarged(soft, width, height), soft_sure, 2, shift, sure, WIDE_SHARE)
    _only_known(reference.mask, seen.mask, sure)
    return Flow(shift, sure)


def _followed(pyramid: list[tuple[_Level, _Level]], window: float) -> tuple[Singles, _Seen]:
    """Shift (h, w, 2) on the finest level of a pyramid, finest first, and what its last step saw."""
    shift = np.zeros((*pyramid[-1][0].mask.shape, 2), np.float32)
    for a, b in reversed(pyramid):
        if shift.shape[:2] != a.mask.shape:
            shift = 2 * _enlarged(shift, *a.mask.shape[::-1])
        shift, seen = _lucas_kanade(a, b, shift, window, ITERATIONS)
    return shift, seen


class _Seen(NamedTuple):
    """What the last step of a pass saw: the structure tensor, of the size of its windows; the reference (h, w), the
    other's difference from it, and the other's mask."""

    xx: Singles
    xy: Singles
    yy: Singles
    grey: Singles
    change: Singles
    mask: Singles


def _lucas_kanade(a: _Level, b: _Level, shift: Singles, window: float, rounds: int) -> tuple[Singles, _Seen]:
    """The shift (h, w, 2) after so many steps, and what the last of them saw."""
    cv2 = opencv()
    height, width = a.grey.shape
    columns, rows = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    both, change, weight = (np.empty((height, width), np.float32) for _ in range(3))
    block = _block(a.grey, window)
    products = np.empty((5, height // block, width // block), np.float32)
    for _ in range(rounds):
        _places(shift, columns, rows)
        moved = cv2.remap(b.grey, columns, rows, cv2.INTER_LINEAR)
        mask = cv2.remap(b.mask, columns, rows, cv2.INTER_LINEAR)
        _compared(a.grey, a.mask, moved, mask, both, change, weight)
        gx, gy = (cv2.Scharr(both, cv2.CV_32F, *way, scale=1 / 32) for way in ((1, 0), (0, 1)))
        _tensor(gx, gy, change, weight, block, products)
        xx, xy, yy, xt, yt = (_blurred(p, window / block) for p in products)
        step = np.empty((*xx.shape, 2), np.float32)
        _steps(xx, xy, yy, xt, yt, step)
        shift = shift + _enlarged(step, width, height)
    return shift, _Seen(xx, xy, yy, a.grey, change, mask)


def _confidence(mask: Singles, seen: _Seen, window: float) -> Singles:
    """(h, w) see `Flow`; mask: (h, w) of the reference."""
    height, width = mask.shape
    block = _block(mask, window)
    apart = np.empty((2, height // block, width // block), np.float32)
    _apart(seen.grey, mask, seen.change, seen.mask, block, apart)
    amount, off = (_blurred(p, window / block) for p in apart)
    sure = np.empty_like(amount)
    _sure(amount, off, seen.xx, seen.xy, seen.yy, sure)
    sure = _enlarged(sure, width, height)
    _only_known(mask, seen.mask, sure)
    return sure


def _block(picture: Singles, window: float) -> int:
    """Texels a side over which means are taken at once, where that is what the window is for."""
    return 2 if window >= HALVED_FROM and not any(size % 2 for size in picture.shape) else 1


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


@compiled("void(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, :, ::1])")
def _steps(xx: Singles, xy: Singles, yy: Singles, xt: Singles, yt: Singles, step: Singles) -> None:
    """Fill the steps (h, w, 2) that the means of `_tensor` (h, w) say, none longer than `MAX_STEP_PX`."""
    damping, longest, least = np.float32(DAMPING), np.float32(MAX_STEP_PX), np.float32(1e-6)
    for i in range(len(xx)):
        for j in range(xx.shape[1]):
            a, b, c = xx[i, j] + damping, xy[i, j], yy[i, j] + damping
            det = a * c - b * b
            x = (b * yt[i, j] - c * xt[i, j]) / det
            y = (b * xt[i, j] - a * yt[i, j]) / det
            length = max(np.sqrt(x * x + y * y), least)
            share = min(np.float32(1), longest / length)
            step[i, j, 0], step[i, j, 1] = share * x, share * y


@compiled("void(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], i8, f4[:, :, ::1])")
def _apart(
    grey: Singles, mask: Singles, change: Singles, moved_mask: Singles, block: int, apart: Singles
) -> None:
    """Fill (2, h / block, w / block): the mean amount of two pictures (h, w), and of their difference, where both have
    data; each the mean over a block."""
    share, half, most = np.float32(1 / (block * block)), np.float32(0.5), np.float32(3)
    for i in range(apart.shape[1]):
        for j in range(apart.shape[2]):
            amount, off = np.float32(0), np.float32(0)
            for r in range(i * block, (i + 1) * block):
                for c in range(j * block, (j + 1) * block):
                    if mask[r, c] > 0.99 and moved_mask[r, c] > 0.99:
                        amount += half * (abs(grey[r, c]) + abs(grey[r, c] + change[r, c]))
                        off += min(abs(change[r, c]), most)
            apart[0, i, j], apart[1, i, j] = share * amount, share * off


@compiled("void(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def _sure(amount: Singles, off: Singles, xx: Singles, xy: Singles, yy: Singles, sure: Singles) -> None:
    """Fill the confidence (h, w) that the means of `_apart` and of the structure tensor say."""
    least, disagree, textured = np.float32(LEAST_AMOUNT), np.float32(DISAGREE), np.float32(TEXTURED)
    half = np.float32(0.5)
    for i in range(len(amount)):
        for j in range(amount.shape[1]):
            misfit = off[i, j] / (disagree * max(amount[i, j], least))
            square = misfit * misfit
            a, b, c = half * (xx[i, j] + yy[i, j]), half * (xx[i, j] - yy[i, j]), xy[i, j]
            seen = max(a - np.sqrt(b * b + c * c), np.float32(0))
            sure[i, j] = np.exp(-square * square) * seen / (textured + seen)


@compiled("void(f4[:, ::1], f4[:, ::1], f4[:, ::1])")
def _only_known(mask: Singles, moved_mask: Singles, sure: Singles) -> None:
    """Set the confidence (h, w) to 0 where a mask is not 1."""
    for i in range(len(sure)):
        for j in range(sure.shape[1]):
            if not (mask[i, j] > 0.99 and moved_mask[i, j] > 0.99):
                sure[i, j] = np.float32(0)


@compiled("void(f4[:, :, ::1], f4[:, ::1], f4, f4[:, :, ::1], f4[:, ::1], f4)")
def _keep(
    other: Singles, other_sure: Singles, length: float, shift: Singles, sure: Singles, share: float
) -> None:
    """Put another shift (h, w, 2), in texels so long, and its confidence for one that is less sure than this share of
    it."""
    for i in range(len(sure)):
        for j in range(sure.shape[1]):
            if share * other_sure[i, j] > sure[i, j]:
                shift[i, j, 0], shift[i, j, 1] = length * other[i, j, 0], length * other[i, j, 1]
                sure[i, j] = other_sure[i, j]


def _enlarged(values: Singles, width: int, height: int) -> Singles:
    """(height, width, ...) of values at another resolution."""
    if values.shape[:2] == (height, width):
        return values
    return np.asarray(opencv().resize(values, (width, height), interpolation=opencv().INTER_LINEAR))


def _halved(picture: _Level, mask: Singles | None = None) -> _Level:
    """Both reduced by two, where the mask is not so already; a texel of the smaller is known when all four were."""
    height, width = picture.grey.shape
    size = (max(1, width // 2), max(1, height // 2))

    def reduced(values: Singles) -> Singles:
        return np.asarray(opencv().resize(values, size, interpolation=opencv().INTER_AREA))

    return _Level(reduced(picture.grey), reduced(picture.mask) if mask is None else mask)


def _blurred(values: Singles, sigma: float) -> Singles:
    return np.asarray(opencv().GaussianBlur(values, (0, 0), sigma), np.float32)
