"""The scan's colour at places on it: from its image, averaged over a texel's footprint, or from its vertices.

The footprint is the texel's parallelogram in the image, filtered anisotropically: bilinear samples of a level of the
image pyramid (mipmap), at most `MAX_SAMPLES` a side.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mimicme.pipeline.arrays import Ints, Longs, Singles
from mimicme.pipeline.formats.image import Pixels, opencv
from mimicme.pipeline.template import TemplateKey
from mimicme.pipeline.texture.correspondence import Target
from mimicme.pipeline.texture.interpolation import VertexPlaces
from mimicme.pipeline.texture.scan_source import Source, interpolated
from mimicme.pipeline.texture.seam_leveling import corrections, seam_pairs

# samples a side of a texel's footprint; denser sources are first reduced by powers of two
MAX_SAMPLES = 4
# footprint in source pixels that one bilinear sample stands for; on two photographs of 1024 x 704 and on
# james (2400 x 1600) finer sampling changed the bake by less than 45 dB of PSNR would show
PIXELS_PER_SAMPLE = 1.0
# OpenCV reads images whose sides are shorter than this, at places in pictures likewise
OPENCV_SIDE = 32_767
ROW = 4096


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
        self.source, self.target = source, target
        self.added = self._leveling() if level_seams else None
        self.inverse = _mm_inverse(target)
        p = target.corners
        # d mm / d texel on the registered mesh (t, 3, 2)
        self.mm_per_texel = _products(np.stack([p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]], 2), self.inverse)

    def colors(self, triangles: Longs, weights: Singles, owners: Ints) -> Pixels:
        """(k, 3) uint8 at places given by scan triangle and weights; `owners`: template triangles."""
        centre = interpolated(self.source.pixels, triangles, weights)
        j = _footprints(self.source.pixel_per_mm, triangles, self.mm_per_texel, owners)
        kind = _kinds(j)
        seam = np.flatnonzero(self.source.at_seam[triangles])
        if len(seam):
            j[seam] *= self._shrink(triangles[seam], weights[seam], j[seam])[:, None, None]
        colors = np.empty((len(triangles), 3), np.uint8)
        for value in np.flatnonzero(np.bincount(kind)).tolist():
            which = np.flatnonzero(kind == value)
            colors[which] = self._averaged(centre[which], j[which], *divmod(value, MAX_SAMPLES + 1))
        if self.added is not None:
            near = np.flatnonzero(self.near_seam[triangles])
            levelled = colors[near] + interpolated(self.added, triangles[near], weights[near])
            colors[near] = np.rint(np.clip(levelled, 0, 255))
        return colors

    def plain_colors(self, places: VertexPlaces, pixels: Singles, owners: Ints) -> Pixels:
        """(k, 3) uint8 at places in the image (k, 2) that were interpolated between vertices.

        Args:
            owners: (k,) the plain triangles of the template that they lie in.
        """
        corner = places.pixels[self.target.template.faces]
        edge = np.stack([corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]], 2)
        each = _products(edge, self.inverse)
        each[~places.plain] = 0
        kind = _kinds(each)[owners]
        colors = np.empty((len(pixels), 3), np.uint8)
        present = np.flatnonzero(np.bincount(kind)).tolist()
        for value in present:
            which = np.flatnonzero(kind == value) if len(present) > 1 else slice(None)
            level, samples = divmod(value, MAX_SAMPLES + 1)
            j = each[owners[which]] if samples > 1 else each[:0]
            colors[which] = self._averaged(pixels[which], j, level, samples)
        return colors

    def added_at(self, places: VertexPlaces) -> Singles | None:
        """(V, 3) what levelling adds to the colours at the vertices; None when it adds nothing."""
        if self.added is None:
            return None
        triangles, weights = places.places
        near = np.flatnonzero(self.near_seam[triangles])
        added = np.zeros((len(triangles), 3), np.float32)
        added[near] = interpolated(self.added, triangles[near], weights[near])
        return added

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
        self.near_seam = np.asarray(np.abs(corner).reshape(-1, 9).max(axis=1) > 0.25, bool)
        return corner if self.near_seam.any() else None

    def _halved_colors(self, at: Singles) -> Singles:
        """(k, 3) colours of the image at half its size, at pixel places (k, 2) of the image itself."""
        small = (at + np.float32(0.5)) / np.float32(2) - np.float32(0.5)
        return _bilinear(_reduced(self.source, 1), small[:, 0], small[:, 1]).astype(np.float32)

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
        """(k, 3) mean of `samples` x `samples` bilinear samples of footprints j (k, 2, 2) around `centre` (k, 2)."""
        image = _reduced(self.source, level)
        scale = np.float32(1 / 2**level)
        x, y = ((centre[:, k] + np.float32(0.5)) * scale - np.float32(0.5) for k in range(2))
        if samples == 1:
            return _bilinear(image, x, y)
        total = np.zeros((len(centre), 3), np.uint16)
        for row in range(samples):
            for column in range(samples):
                du, dv = (np.float32(((k + 0.5) / samples - 0.5) * scale) for k in (column, row))
                total += _bilinear(
                    image, x + du * j[:, 0, 0] + dv * j[:, 0, 1], y + du * j[:, 1, 0] + dv * j[:, 1, 1]
                )
        return ((total + np.uint16(samples * samples // 2)) // np.uint16(samples * samples)).astype(np.uint8)


def _mm_inverse(target: Target) -> Singles:
    """(t, 2, 2) d barycentric weights of the second and third corner / d texel, of the template's triangles."""
    key, size = TemplateKey(target.template), target.size
    return _inverse_kept(key, size) if target.template.digest else _texel_inverse(key, size)


def _texel_inverse(key: TemplateKey, size: int) -> Singles:
    c = key.template.uv[key.template.uv_faces] * [size, -size]  # rows run down
    flat = np.stack([c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]], 2)
    det = flat[:, 0, 0] * flat[:, 1, 1] - flat[:, 0, 1] * flat[:, 1, 0]
    inverse = np.empty_like(flat)
    with np.errstate(all="ignore"):
        inverse[:, 0, 0], inverse[:, 1, 1] = flat[:, 1, 1] / det, flat[:, 0, 0] / det
        inverse[:, 0, 1], inverse[:, 1, 0] = -flat[:, 0, 1] / det, -flat[:, 1, 0] / det
        return np.nan_to_num(inverse, posinf=0, neginf=0).astype(np.float32)


_inverse_kept = lru_cache(maxsize=2)(_texel_inverse)


def _products(a: Singles, b: Singles) -> Singles:
    """(t, n, 2) matrix products of (t, n, 2) and (t, 2, 2)."""
    from mimicme.pipeline.texture.triangle_loops import matrix_products  # it loads numba

    out = np.empty(a.shape, np.float32)
    matrix_products(np.ascontiguousarray(a, np.float32), np.ascontiguousarray(b, np.float32), out)
    return out


def _kinds(j: Singles) -> Longs:
    """(k,) level of the image pyramid times `MAX_SAMPLES` + 1, plus samples a side, of footprints (k, 2, 2)."""
    from mimicme.pipeline.texture.triangle_loops import levels_and_samples  # it loads numba

    found = np.empty(len(j), np.int64)
    levels_and_samples(
        np.ascontiguousarray(j), PIXELS_PER_SAMPLE, MAX_SAMPLES * PIXELS_PER_SAMPLE, 8, MAX_SAMPLES, found
    )
    return found


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


def _reduced(source: Source, level: int) -> Pixels:
    """A level of the source's image pyramid: reduced `level` times by two; made once a source."""
    levels = source.levels
    assert source.image is not None
    while len(levels) <= level:
        levels.append(_halved(levels[-1]) if levels else np.ascontiguousarray(source.image))
    return levels[level]


def _bilinear(image: Pixels, x: Singles, y: Singles) -> Pixels:
    """(k, 3) colours at pixel places (k,); places outside read the nearest pixel of the edge."""
    height, width = image.shape[:2]
    if max(height, width) >= OPENCV_SIDE:
        return _tiled(image, x, y)
    cv2 = opencv()
    wide = min(ROW, max(len(x), 1))
    short = -len(x) % wide
    at = [
        np.pad(a.astype(np.float32, copy=False), (0, short)).reshape(-1, wide)
        if short
        else a.reshape(-1, wide)
        for a in (x, y)
    ]
    out = [
        cv2.remap(
            image, at[0][k : k + ROW], at[1][k : k + ROW], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for k in range(0, len(at[0]), ROW)
    ]
    return (
        np.concatenate([part.reshape(-1, 3) for part in out])[: len(x)] if out else np.zeros((0, 3), np.uint8)
    )


def _tiled(image: Pixels, x: Singles, y: Singles) -> Pixels:
    """The same of an image that OpenCV finds too large, piece by piece."""
    height, width = image.shape[:2]
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    step = OPENCV_SIDE - 2
    tile = (y // step).astype(np.int64) * (width // step + 1) + (x // step).astype(np.int64)
    out = np.empty((len(x), 3), np.uint8)
    for value in np.unique(tile).tolist():
        which = np.flatnonzero(tile == value)
        top, left = (step * k for k in divmod(value, width // step + 1))
        piece = image[top : top + step + 1, left : left + step + 1]
        out[which] = _bilinear(piece, x[which] - np.float32(left), y[which] - np.float32(top))
    return out


def _halved(image: Pixels) -> Pixels:
    """Mean of 2 x 2 pixels; an odd last row or column is repeated."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.uint16)
    total = padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)
