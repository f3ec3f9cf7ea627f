"""A texture layout as a picture: which triangle every texel lies in, and where inside it.

Texel (row, column) of a `size` x `size` texture has its centre at u = (column + 1/2) / size,
v = 1 - (row + 1/2) / size: v points up, row 0 is the top row.  Corners are snapped to a fixed grid
far finer than a texel and every test is done in integers with the top-left rule, so a texel centre on an edge
belongs to exactly one of its two triangles: in a layout without overlaps each texel is covered at most once
and no crack is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Ints, Singles
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.template import Template, TemplateKey

# corner coordinates in 1/2^k texel; with 8192 texels the edge functions stay below 2^60
SUBTEXEL_BITS = 14
# candidates tested at a time: bounds the memory of rasterising, whatever the triangles' sizes
CANDIDATES = 1 << 21
# layouts rasterised at once and kept; larger textures go through row bands
CACHED_TEXELS = 2048 * 2048
MAX_SIZE = 8192


class Raster(NamedTuple):
    """The covered texels of rows [first_row, first_row + n_rows), in row order.

    Attributes:
        size: side of the whole texture in texels.
        first_row, n_rows: the band.
        texels: (k,) int32 index row * size + column, counted from the band's first row, ascending.
        triangles: (k,) int32 triangle of the layout.
        weights: (k, 3) float32 barycentric weights of its corners, summing to 1.
        overlaps: texels of the band that more than one triangle covers; the lowest triangle index keeps them.
    """

    size: int
    first_row: int
    n_rows: int
    texels: NDArray[np.int32]
    triangles: NDArray[np.int32]
    weights: NDArray[np.float32]
    overlaps: int


def rasterise(uv: Floats, uv_faces: Ints, size: int, first_row: int = 0, n_rows: int | None = None) -> Raster:
    """Rasterise a layout, or a band of its rows.

    Args:
        uv: (n, 2) in [0, 1], v up; uv_faces: (t, 3).  Clockwise triangles count like the others; those without area
            cover nothing.
        size: texels a side, at most 8192.

    Raises:
        InputError: the size is out of range.
    """
    if not 1 <= size <= MAX_SIZE:
        raise InputError("a texture size is out of range", seen=size, expected=f"1 to {MAX_SIZE}")
    n_rows = size - first_row if n_rows is None else min(n_rows, size - first_row)
    unit = 1 << SUBTEXEL_BITS
    scaled = np.asarray(uv, np.float64) * (size * unit)
    grid = np.empty(scaled.shape, np.int64)
    grid[:, 0] = np.rint(scaled[:, 0])
    grid[:, 1] = np.rint(size * unit - scaled[:, 1])  # rows run down
    corner = grid[uv_faces]
    x, y = corner[..., 0], corner[..., 1]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    half = unit // 2
    # centres column * unit + half inside the bounding box
    c0 = np.maximum(-((half - x.min(1)) // unit), 0)
    c1 = np.minimum((x.max(1) - half) // unit, size - 1)
    r0 = np.maximum(-((half - y.min(1)) // unit), first_row)
    r1 = np.minimum((y.max(1) - half) // unit, first_row + n_rows - 1)
    wide, high = np.maximum(c1 - c0 + 1, 0), np.maximum(r1 - r0 + 1, 0)
    count = np.where(area == 0, 0, wide * high)
    some = np.flatnonzero(count)
    texels, triangles, weights = [], [], []
    for part in _parts(count[some]):
        which = some[part]
        n = count[which]
        owner = np.repeat(np.arange(len(which)), n)
        k = np.arange(len(owner)) - np.repeat(np.cumsum(n) - n, n)
        row, column = np.divmod(k, wide[which][owner])
        row += r0[which][owner]
        column += c0[which][owner]
        inside, w = _inside(x[which], y[which], area[which], owner, column * unit + half, row * unit + half)
        texels.append(((row - first_row) * size + column)[inside])
        triangles.append(which[owner[inside]])
        weights.append(w)
    texel = np.concatenate(texels) if texels else np.zeros(0, np.int64)
    triangle = np.concatenate(triangles) if triangles else np.zeros(0, np.int64)
    weight = np.concatenate(weights) if weights else np.zeros((0, 3), np.float32)
    order = np.argsort(texel, kind="stable")
    texel, triangle, weight = texel[order], triangle[order], weight[order]
    first = np.ones(len(texel), bool)
    first[1:] = texel[1:] != texel[:-1]
    again = np.zeros(len(texel), bool)
    again[1:] = ~first[1:] & first[:-1]
    return Raster(
        size, first_row, n_rows, texel[first].astype(np.int32), triangle[first].astype(np.int32),
        np.ascontiguousarray(weight[first]), int(again.sum()),
    )  # fmt: skip


def _parts(count: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Runs of triangles with about `CANDIDATES` candidates together."""
    end = np.cumsum(count)
    run = end // CANDIDATES
    cut = np.flatnonzero(np.diff(run)) + 1
    yield from (part for part in np.split(np.arange(len(count)), cut) if len(part))


def _inside(
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    area: NDArray[np.int64],
    owner: NDArray[np.int64],
    px: NDArray[np.int64],
    py: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Candidates inside their triangle, by index, and their weights; x, y (t, 3), area (t,) per triangle."""
    sign = np.sign(area)
    inside = np.ones(len(owner), bool)
    values = []
    for k in range(3):
        a, b = (k + 1) % 3, (k + 2) % 3
        dx, dy = (x[:, b] - x[:, a]) * sign, (y[:, b] - y[:, a]) * sign
        # half-open edges: of the two triangles along an edge exactly one owns the points on it
        owns = (dy > 0) | ((dy == 0) & (dx < 0))
        offset = dx * y[:, a] - dy * x[:, a] + np.where(owns, 0, 1)
        value = dx[owner] * py - dy[owner] * px - offset[owner]
        inside &= value >= 0
        values.append(value)
    at = np.flatnonzero(inside)
    w = np.stack([v[at] for v in values], axis=1).astype(np.float64)
    w /= np.maximum(w.sum(1, keepdims=True), 1)
    return at, w.astype(np.float32)


@lru_cache(maxsize=2)
def _cached(key: TemplateKey, size: int) -> Raster:
    return rasterise(key.template.uv, key.template.uv_faces, size)


def bands(template: Template, size: int, rows: range | None = None) -> Iterator[Raster]:
    """The template's layout at `size`, top to bottom: in one piece and remembered in this process, or in
    bands.

    Every band has at most `CACHED_TEXELS` texels, so memory does not grow with the texture.

    Args:
        rows: those that are asked for; bands without any of them are left out.  By default all.
    """
    if size * size <= CACHED_TEXELS and template.digest:
        yield _cached(TemplateKey(template), size)
        return
    step = max(1, CACHED_TEXELS // size)
    for row in range(0, size, step):
        if rows is not None and (row >= rows.stop or row + step <= rows.start):
            continue
        yield rasterise(template.uv, template.uv_faces, size, row, step)


def at_texels(template: Template, triangles: Ints, weights: Singles, values: Singles) -> Singles:
    """(k, m) values (V, m) at the vertices of the template, interpolated where its triangles (k,) have weights (k, 3).

    A product with a sparse matrix: several times as fast as reading the corners of each.
    """
    corner = np.take(template.faces, triangles, axis=0).ravel().astype(np.int32, copy=False)
    starts = np.arange(0, 3 * len(triangles) + 1, 3, dtype=np.int32)
    matrix = scipy.sparse.csr_matrix((weights.ravel(), corner, starts), shape=(len(triangles), len(values)))
    return np.asarray(matrix @ values)
