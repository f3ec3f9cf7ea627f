"""The scan's colour at places on it: from its image, averaged over a texel's footprint, or from its vertices.

The footprint is the texel's parallelogram in the image, filtered anisotropically: bilinear samples of a level of the
image pyramid (mipmap), at most `MAX_SAMPLES` a side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Ints, Longs, Singles
from mimicme.pipeline.formats.image import Pixels
from mimicme.pipeline.texture.correspondence import Target
from mimicme.pipeline.texture.scan_source import Packed, Source, interpolated
from mimicme.pipeline.texture.seam_leveling import corrections, seam_pairs

# samples a side of a texel's footprint; denser sources are first reduced by powers of two
MAX_SAMPLES = 4
# footprint in source pixels that one bilinear sample stands for; on two photographs of 1024 x 704 and on
# james (2400 x 1600) finer sampling changed the bake by less than 45 dB of PSNR would show
PIXELS_PER_SAMPLE = 1.0


class ColorSampler:
    """Colours from the scan's vertices."""

    def __init__(self, source: Source) -> None:
        assert source.vertex_colors is not None
        self.corner = source.vertex_colors.astype(np.float32)[source.faces]

    def colors(self, triangles: Longs, weights: Singles, owners: Ints) -> Pixels:
        return np.asarray(np.rint(np.clip(interpolated(self.corner, triangles, weights), 0, 255)), np.uint8)


class ImageSampler:
    """Colours from the scan's image, averaged over each texel's footprint."""

    def __init__(self, source: Source, target: Target, level_seams: bool) -> None:
        assert source.image is not None
        self.source = source
        self.added = self._leveling() if level_seams else None
        # d mm / d texel on the registered mesh (t, 3, 2)
        with np.errstate(all="ignore"):
            c = target.uv_corners * [target.size, -target.size]  # rows run down
            flat = np.stack([c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]], 2)
            det = flat[:, 0, 0] * flat[:, 1, 1] - flat[:, 0, 1] * flat[:, 1, 0]
            inverse = np.empty_like(flat)
            inverse[:, 0, 0], inverse[:, 1, 1] = flat[:, 1, 1] / det, flat[:, 0, 0] / det
            inverse[:, 0, 1], inverse[:, 1, 0] = -flat[:, 0, 1] / det, -flat[:, 1, 0] / det
            p = target.corners
            sides = np.stack([p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]], 2)
            self.mm_per_texel = np.nan_to_num(np.matmul(sides, inverse), posinf=0, neginf=0).astype(
                np.float32
            )

    def colors(self, triangles: Longs, weights: Singles, owners: Ints) -> Pixels:
        """(k, 3) uint8 at places given by scan triangle and weights; `owners`: template triangles."""
        centre = interpolated(self.source.pixels, triangles, weights)
        j = _footprints(self.source.pixel_per_mm, triangles, self.mm_per_texel, owners)
        trace = j[:, 0, 0] ** 2 + j[:, 0, 1] ** 2 + j[:, 1, 0] ** 2 + j[:, 1, 1] ** 2
        det = j[:, 0, 0] * j[:, 1, 1] - j[:, 0, 1] * j[:, 1, 0]
        longest = np.sqrt((trace + np.sqrt(np.maximum(trace * trace - 4 * det * det, 0))) / 2)
        seam = np.flatnonzero(self.source.at_seam[triangles])
        if len(seam):
            j[seam] *= self._shrink(triangles[seam], weights[seam], j[seam])[:, None, None]
        level = np.ceil(np.log2(np.maximum(longest / (MAX_SAMPLES * PIXELS_PER_SAMPLE), 1))).astype(np.int64)
        level = np.minimum(level, 8)
        samples = np.ceil(longest / PIXELS_PER_SAMPLE / 2.0**level - 0.25)
        samples = np.clip(samples, 1, MAX_SAMPLES).astype(np.int64)
        colors = np.empty((len(triangles), 3), np.uint8)
        kind = level * (MAX_SAMPLES + 1) + samples
        for value in np.flatnonzero(np.bincount(kind)).tolist():
            which = np.flatnonzero(kind == value)
            colors[which] = self._averaged(centre[which], j[which], *divmod(value, MAX_SAMPLES + 1))
        if self.added is not None:
            near = np.flatnonzero(self.near_seam[triangles])
            levelled = colors[near] + interpolated(self.added, triangles[near], weights[near])
            colors[near] = np.rint(np.clip(levelled, 0, 255))
        return colors

    def _leveling(self) -> Singles | None:
        """(t, 3, 3) what to add at the corners of the scan's triangles; None when the photographs agree."""
        source = self.source
        assert source.uv_faces is not None
        pairs = seam_pairs(source.faces, source.uv_faces)
        place = np.full((int(source.uv_faces.max()) + 1, 2), np.nan, np.float32)
        place[source.uv_faces] = source.pixels
        if not len(pairs) or not np.isfinite(place[pairs]).any():
            return None
        seen = np.full((len(place), 3), np.nan, np.float32)
        known = np.unique(pairs[np.isfinite(place[pairs]).all((1, 2))])
        seen[known] = self._halved_colors(place[known])
        points = np.full((len(place), 3), np.nan)
        points[source.uv_faces] = source.vertices[source.faces]
        gaps = (seen[pairs[:, 1]] - seen[pairs[:, 0]]).astype(np.float64)
        corner = corrections(source.uv_faces, points, pairs, gaps)[source.uv_faces]
        self.near_seam = np.asarray((np.abs(corner) > 0.25).any((1, 2)), bool)
        return corner if self.near_seam.any() else None

    def _halved_colors(self, at: Singles) -> Singles:
        """(k, 3) colours of the image at half its size, at pixel places (k, 2) of the image itself."""
        image, width, height = _reduced(self.source, 1)
        small = (at + np.float32(0.5)) / np.float32(2) - np.float32(0.5)
        return _unpacked(_bilinear(image, width, height, small[:, 0], small[:, 1]))

    def _shrink(self, triangles: Longs, weights: Singles, j: Singles) -> Singles:
        """Factor (k,) that keeps a footprint off the border of its chart: another photograph is beyond."""
        edge = self.source.edge[triangles]
        det = edge[:, 0, 0] * edge[:, 1, 1] - edge[:, 0, 1] * edge[:, 1, 0]
        det = np.where(np.abs(det) < 1e-12, np.inf, det)
        inverse = np.stack([edge[:, 1, 1], -edge[:, 0, 1], -edge[:, 1, 0], edge[:, 0, 0]], 1).reshape(
            -1, 2, 2
        )
        change = np.matmul(inverse / det[:, None, None], j)
        change = np.concatenate([-change.sum(1, keepdims=True), change], axis=1)
        most = np.abs(change).sum(2) / 2
        room = np.where(self.source.boundary_edges[triangles], weights / np.maximum(most, 1e-12), 1)
        return np.asarray(np.clip(room, 0, 1).min(1), np.float32)

    def _averaged(self, centre: Singles, j: Singles, level: int, samples: int) -> Pixels:
        image, width, height = _reduced(self.source, level)
        scale = np.float32(1 / 2**level)
        centre = (centre + np.float32(0.5)) * scale - np.float32(0.5)
        j = j * scale
        total = np.zeros((len(centre), 3), np.float32)
        for row in range(samples):
            for column in range(samples):
                du, dv = (column + 0.5) / samples - 0.5, (row + 0.5) / samples - 0.5
                x = centre[:, 0] + np.float32(du) * j[:, 0, 0] + np.float32(dv) * j[:, 0, 1]
                y = centre[:, 1] + np.float32(du) * j[:, 1, 0] + np.float32(dv) * j[:, 1, 1]
                total += _unpacked(_bilinear(image, width, height, x, y))
        return np.asarray(np.rint(total * np.float32(1 / samples**2)), np.uint8)


def _footprints(pixel_per_mm: Singles, triangles: Longs, mm_per_texel: Singles, owners: Ints) -> Singles:
    """(k, 2, 2) d pixel / d texel: pixel_per_mm (t, 2, 3) of `triangles` times mm_per_texel (u, 3, 2) of `owners`.

    Written out: numpy's matmul of so small matrices takes five times as long.
    """
    a = np.take(pixel_per_mm.reshape(-1, 6), triangles, axis=0)
    b = np.take(mm_per_texel.reshape(-1, 6), owners, axis=0)
    j = np.empty((len(a), 2, 2), np.float32)
    for row in range(2):
        for column in range(2):
            j[:, row, column] = sum(a[:, 3 * row + k] * b[:, 2 * k + column] for k in range(3))
    return j


# SIMD within a register: three channels side by side in one 64-bit word, 21 bits each.  One gather and one
# multiplication read all of them.  Bilinear weights are whole numbers that sum to 64 * 64, so a channel needs
# 8 + 12 = 20 bits.
_LANE = np.uint64(21)
_MASK = np.uint64((1 << 21) - 1)
_STEPS = 64


def _reduced(source: Source, level: int) -> Packed:
    """A level of the source's image pyramid: reduced `level` times by two; made once a source."""
    levels = source.levels
    assert source.image is not None
    while len(levels) <= level:
        # opening the words of the whole image again would take longer than all else here
        finer = _opened(*levels[-1]) if len(levels) > 1 else source.image
        levels.append(_packed(_halved(finer) if levels else finer))
    return levels[level]


def _packed(image: Pixels) -> Packed:
    """The image as (h * w,) words, with width and height."""
    word = image[..., 0].astype(np.uint64)
    word |= image[..., 1].astype(np.uint64) << _LANE
    word |= image[..., 2].astype(np.uint64) << (_LANE + _LANE)
    return word.ravel(), image.shape[1], image.shape[0]


def _opened(words: NDArray[np.uint64], width: int, height: int) -> Pixels:
    """The (h, w, 3) image that `_packed` made words of."""
    channels = [(words >> (k * _LANE)) & _MASK for k in np.arange(3, dtype=np.uint64)]
    return np.stack(channels, -1).astype(np.uint8).reshape(height, width, 3)


def _bilinear(
    image: NDArray[np.uint64], width: int, height: int, x: Singles, y: Singles
) -> NDArray[np.uint64]:
    """Words of weighted sums at pixel places (k,); places outside read the nearest pixel of the edge."""
    x = np.clip(x, 0, width - 1) * np.float32(_STEPS) + np.float32(0.5)
    y = np.clip(y, 0, height - 1) * np.float32(_STEPS) + np.float32(0.5)
    xi, yi = x.astype(np.int64), y.astype(np.int64)
    column, row = xi >> 6, yi >> 6
    fx, fy = (xi & 63).astype(np.uint64), (yi & 63).astype(np.uint64)
    at = row * width + column
    right = (column < width - 1).astype(np.int64)
    down = np.where(row < height - 1, width, 0)
    gx, gy = np.uint64(_STEPS) - fx, np.uint64(_STEPS) - fy
    upper = image[at] * gx + image[at + right] * fx
    at += down
    lower = image[at] * gx + image[at + right] * fx
    return upper * gy + lower * fy


def _unpacked(words: NDArray[np.uint64]) -> Singles:
    """(k, 3) colours 0..255 of weighted sums."""
    out = np.empty((len(words), 3), np.float32)
    out[:, 0] = words & _MASK
    out[:, 1] = (words >> _LANE) & _MASK
    out[:, 2] = words >> (_LANE + _LANE)
    out *= np.float32(1 / _STEPS**2)
    return out


def _halved(image: Pixels) -> Pixels:
    """Mean of 2 x 2 pixels; an odd last row or column is repeated."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.uint16)
    total = padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)
