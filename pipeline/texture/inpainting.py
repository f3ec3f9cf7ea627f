"""Filling what no camera saw: smoothly from around (push-pull), or with the detail of another texture."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from mimicme.pipeline.arrays import Bools, Floats, Ints, Singles
from mimicme.pipeline.formats.image import Pixels, opencv

BAND = 1 << 20
"""Texels worked on together, in rows: what is wider than a byte then needs little memory."""

SAMPLED = 4
"""Every so manyth texel each way says how two textures usually differ."""
UNUSUAL, LEAST_UNUSUAL = 6.0, 20.0
"""Half differences further from the median than this, in robust standard deviations and at least in levels, show two
different things."""


def fill_holes(texture: Pixels, known: Bools) -> None:
    """Fill unknown texels of (h, w, 3) in place, smoothly from those around (push-pull, Gortler et al. 1996).

    Colours are averaged into ever coarser pictures, known texels only, and handed back down by bilinear
    interpolation; known texels stay as they are.  Without any known texel nothing changes.
    """
    if known.all() or not known.any():
        return
    sums, counts = _halved_sums(texture, known)
    stack = [(sums, counts)]
    while max(stack[-1][0].shape[:2]) > 1:
        mean = _means(*stack[-1])
        stack.append(_halved_sums(mean, stack[-1][1] > 0))
    filled = _means(*stack[-1])
    for sums, counts in reversed(stack[:-1]):
        finer = _doubled(filled, *counts.shape)
        have = counts > 0
        np.copyto(finer, _means(sums, counts), where=have[..., None])
        filled = finer
    height, width = known.shape
    # the finest level in bands of rows, so that its floats need little memory
    step = max(2, BAND // width // 2 * 2)
    for row in range(0, height, step):
        low, high = max(row // 2 - 1, 0), min((row + step) // 2 + 1, len(filled))
        block = _doubled(filled[low:high], min(2 * (high - low), height - 2 * low), width)
        rows = slice(row, min(row + step, height))
        part = block[row - 2 * low : row - 2 * low + rows.stop - row]
        missing = ~known[rows]
        texture[rows][missing] = np.rint(part[missing]).astype(np.uint8)


def fill_mirrored(texture: Pixels, known: Bools) -> None:
    """Fill unknown texels of (h, w, 3) in place with those of the face's other side, else smoothly from around.

    For layouts that are their own mirror image.
    """
    fill_holes(texture, fill_from(texture, known, texture[:, ::-1].copy(), known[:, ::-1]))


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
    both = known & there
    difference = np.empty_like(texture)
    usual = _usual(texture, other, both)
    step = max(1, BAND // texture.shape[1])
    parts = [slice(row, row + step) for row in range(0, len(texture), step)]
    for part in parts:
        # half the difference fits into a byte
        half = (texture[part].astype(np.int16) - other[part]) // 2 + 128
        difference[part] = np.where(both[part][..., None], half, 128)
        if usual is not None:
            both[part] &= (np.abs(half - usual[0]) <= usual[1]).all(2)
    fill_holes(difference, both if both.any() else there)
    for part in parts:
        moved = other[part].astype(np.int16) + 2 * (difference[part].astype(np.int16) - 128)
        gap = filled[part]
        texture[part][gap] = np.clip(moved, 0, 255).astype(np.uint8)[gap]
    return np.asarray(known | filled)


def _usual(texture: Pixels, other: Pixels, both: Bools) -> tuple[Singles, Singles] | None:
    """What half the difference of two textures (h, w, 3) usually is, and how far off it may be, both (3,), from a
    sample; None where the two have nothing in common.

    An eye's white beside the other texture's lid is no difference of light: it must not be spread into the gap.
    """
    rows, columns = np.nonzero(both[::SAMPLED, ::SAMPLED])
    if not len(rows):
        return None
    at = rows * SAMPLED, columns * SAMPLED
    half = (texture[at].astype(np.int16) - other[at]) // 2 + 128
    middle = np.median(half, axis=0)
    spread = 1.4826 * np.median(np.abs(half - middle), axis=0)
    return middle.astype(np.float32), np.maximum(UNUSUAL * spread, LEAST_UNUSUAL).astype(np.float32)


def mirror_error(uv: Floats, vertices: Floats, uv_faces: Ints, faces: Ints) -> float:
    """How far a layout is from its own mirror image about u = 1/2: median over the template, in units of the layout.

    Every texture coordinate's vertex is mirrored about x = 0 and the nearest vertex's coordinate compared.
    """
    used, first = np.unique(uv_faces.ravel(), return_index=True)
    owner = faces.ravel()[first]
    places, at = vertices[owner], uv[used]
    _, other = cKDTree(places).query(places * [-1, 1, 1])
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
        part = values[rows] * there[..., None]
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
