"""Filling what no camera saw: smoothly from around (push-pull), or with the detail of another texture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy

from mimicme.pipeline.arrays import Bools, Floats, Ints, Singles
from mimicme.pipeline.formats.image import Pixels, opencv

BAND = 1 << 20
"""Texels worked on together, in rows: what is wider than a byte then needs little memory."""

SAMPLED = 4
"""Every so manyth texel each way says how two textures usually differ."""
UNUSUAL, LEAST_UNUSUAL = 6.0, 40.0
"""Differences further from the median than this, in robust standard deviations and at least in levels, show two
different things."""


def fill_holes(texture: Pixels, known: Bools, sources: Bools | None = None) -> None:
    """Fill unknown texels of (h, w, 3) in place, smoothly from those around (push-pull, Gortler et al. 1996).

    Colours are averaged into ever coarser pictures, known texels only, and handed back down by bilinear
    interpolation; known texels stay as they are.  Without any known texel nothing changes.

    Args:
        sources: (h, w) the known texels to fill from; by default, and where there is none, all.
    """
    if known.all() or not known.any():
        return
    filled = _pulled(*_halved_sums(texture, known if sources is None or not sources.any() else sources))
    for rows, block in _enlarged(filled, *known.shape):
        missing = (~known[rows]).astype(np.uint8)
        _put(opencv().convertScaleAbs(block), missing, texture, rows)


def _pulled(sums: Singles, counts: Singles) -> Singles:
    """(h, w, 3) means where something is known, else interpolated from around; of sums (h, w, 3) of counts (h, w)."""
    stack = [(sums, counts)]
    while max(stack[-1][0].shape[:2]) > 1:
        mean = _means(*stack[-1])
        stack.append(_halved_sums(mean, stack[-1][1] > 0))
    filled = _means(*stack[-1])
    for sums, counts in reversed(stack[:-1]):
        finer = _doubled(filled, *counts.shape)
        have = (counts > 0).astype(np.uint8)
        filled = opencv().copyTo(_means(sums, counts), have, finer)
    return filled


def _enlarged(filled: Singles, height: int, width: int) -> Iterator[tuple[slice, Singles]]:
    """A picture enlarged by two, in bands of rows, so that its floats need little memory: rows and (rows, w, 3)."""
    step = max(2, BAND // width // 2 * 2)
    for row in range(0, height, step):
        low, high = max(row // 2 - 1, 0), min((row + step) // 2 + 1, len(filled))
        block = _doubled(filled[low:high], min(2 * (high - low), height - 2 * low), width)
        rows = slice(row, min(row + step, height))
        yield rows, block[row - 2 * low : row - 2 * low + rows.stop - row]


def _put(block: Pixels, where: Pixels, texture: Pixels, rows: slice) -> None:
    """Texels of a band of rows of (h, w, 3), where a mask is not 0, in place."""
    texture[rows] = opencv().copyTo(block, where, np.ascontiguousarray(texture[rows]))


def fill_mirrored(texture: Pixels, known: Bools) -> None:
    """Fill unknown texels of (h, w, 3) in place with those of the face's other side, else smoothly from around.

    For layouts that are their own mirror image.
    """
    fill_holes(texture, fill_from(texture, known, *mirrored(texture, known)))


def fill_from(texture: Pixels, known: Bools, other: Pixels, there: Bools) -> Bools:
    """Fill unknown texels of (h, w, 3) in place with those of another texture, where it has some.

    Seamless cloning: detail comes from the other texture; the difference between the two, where both are known, is
    interpolated into the gap and added, so that no border shows.  As in Poisson image editing (Perez, Gangnet and Blake
    2003), but the difference is interpolated by push-pull instead of a Laplace equation.

    Args:
        known: (h, w) of the texture; there: (h, w) of the other, which must not share memory with it.

    Returns:
        (h, w) what is known now.
    """
    filled = ~known & there
    if not filled.any():
        return known
    cv2 = opencv()
    both = known & there
    usual = _usual(texture, other, both)
    step = max(2, BAND // texture.shape[1] // 2 * 2)
    parts = [slice(row, row + step) for row in range(0, len(texture), step)]
    sums, counts = [], []
    if usual is not None:
        for part in parts:
            difference = cv2.subtract(texture[part], other[part], dtype=cv2.CV_32F)
            ordinary = cv2.inRange(difference, *usual) > 0
            sums_here, counts_here = _halved_sums(difference, both[part] & ordinary)
            sums.append(sums_here)
            counts.append(counts_here)
    if counts and any(count.any() for count in counts):
        smooth = _pulled(np.concatenate(sums), np.concatenate(counts))
        for rows, block in _enlarged(smooth, *known.shape):
            _put(cv2.add(other[rows], block, dtype=cv2.CV_8U), filled[rows].astype(np.uint8), texture, rows)
    else:
        np.copyto(texture, other, where=filled[..., None])
    return np.asarray(known | filled)


def mirrored(texture: Pixels, known: Bools) -> tuple[Pixels, Bools]:
    """A texture (h, w, 3) and what is known of it (h, w), left for right."""
    return np.asarray(opencv().flip(texture, 1), np.uint8), np.ascontiguousarray(known[:, ::-1])


def _usual(texture: Pixels, other: Pixels, both: Bools) -> tuple[Floats, Floats] | None:
    """Between what bounds, both (3,), the difference of two textures (h, w, 3) usually is, from a sample.

    None where the two have nothing in common.

    An eye's white beside the other texture's lid is no difference of light: it must not be spread into the gap.
    """
    rows, columns = np.nonzero(both[::SAMPLED, ::SAMPLED])
    if not len(rows):
        return None
    at = rows * SAMPLED, columns * SAMPLED
    difference = texture[at].astype(np.int16) - other[at]
    middle = np.median(difference, axis=0)
    spread = 1.4826 * np.median(np.abs(difference - middle), axis=0)
    reach = np.maximum(UNUSUAL * spread, LEAST_UNUSUAL)
    return middle - reach, middle + reach


def mirror_error(uv: Floats, vertices: Floats, uv_faces: Ints, faces: Ints) -> float:
    """How far a layout is from its own mirror image about u = 1/2: median over the template, in units of the layout.

    Every texture coordinate's vertex is mirrored about x = 0 and the nearest vertex's coordinate compared.
    """
    used, first = np.unique(uv_faces.ravel(), return_index=True)
    owner = faces.ravel()[first]
    places, at = vertices[owner], uv[used]
    _, other = scipy.spatial.cKDTree(places).query(places * [-1, 1, 1])
    return float(np.median(np.linalg.norm(at[other] * [-1, 1] + [1, 0] - at, axis=1)))


def _halved_sums(values: Pixels | Singles, known: Bools) -> tuple[Singles, Singles]:
    """Sums (h/2, w/2, 3) of the known values of 2 x 2 texels, and how many were known; an odd rim counts as unknown."""
    cv2 = opencv()
    height, width = known.shape
    h, w = (height + 1) // 2, (width + 1) // 2
    sums, counts = np.empty((h, w, 3), np.float32), np.empty((h, w), np.float32)
    step = max(2, BAND // width // 2 * 2)
    for row in range(0, height, step):
        rows = slice(row, min(row + step, height))
        there = known[rows].astype(np.float32)
        part = cv2.copyTo(np.ascontiguousarray(values[rows]), known[rows].astype(np.uint8))
        part = part.astype(np.float32, copy=False)
        down, right = len(there) % 2, width % 2
        if down or right:
            there = np.pad(there, ((0, down), (0, right)))
            part = np.pad(part, ((0, down), (0, right), (0, 0)))
        size = (w, len(there) // 2)
        to = slice(row // 2, row // 2 + size[1])
        sums[to] = 4 * cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        counts[to] = 4 * cv2.resize(there, size, interpolation=cv2.INTER_AREA)
    return sums, counts


def _means(sums: Singles, counts: Singles) -> Singles:
    return np.asarray(sums / np.maximum(counts, 1)[..., None], np.float32)


def _doubled(coarse: Singles, height: int, width: int) -> Singles:
    """Bilinear enlargement by two, to (height, width, 3)."""
    cv2 = opencv()
    size = (2 * coarse.shape[1], 2 * coarse.shape[0])
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)[:height, :width])
