"""bake: the scan's colours in the template's texture layout, one texture and one coverage mask a frame.

Reads: ingest (scans, images), register (vertices, pose).
Writes: per frame `texture` and `coverage` (encoded bytes); attrs texture_format, texture_size;
quality/coverage. A frame whose scan carries neither image nor colours keeps its row, gets the note
`no-texture` and no arrays.
Fails: a frame with `numerical-failure`, when its numbers broke the computation.

Each texel is a point and a normal on the registered mesh.  A ray along the normal finds the scan; the hit
counts when it is near enough and faces the same way; where rays find nothing the closest point may, unless
it lies on the scan's rim.  The colour is read at the hit, inside the one scan triangle that was hit - so
never across the seam between two photographs - and averaged over the texel's footprint in the image.  What
stays without data is filled smoothly from around and marked 0 in the coverage mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.errors import ConfigError, FrameRejected
from mimicme.pipeline.mesh import Bools, Floats, Ints, Mesh, transform, triangle_normals, vertex_normals
from mimicme.pipeline.raster import MAX_SIZE, bands
from mimicme.pipeline.spatial import Surface
from mimicme.pipeline.stage import Stage, Task
from mimicme.pipeline.template import Template

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import ArtefactWriter

Pixels = NDArray[np.uint8]
Singles = NDArray[np.float32]
Longs = NDArray[np.int64]

FORMATS = ("png", "jpeg", "webp")
# texels worked on together: large enough for numpy, small enough for the cache; the result does not depend
# on it
CHUNK = 1 << 16
# a texel's ray starts this far outside the place where its triangle's corners found the scan
REACH_MM = 0.5
# corners that found the scan at depths further apart than this did not find the same surface
MAX_SPREAD_MM = 1.0
# steps of the confidence mask: finer ones would only make it hard to compress
CONFIDENCE_STEPS = 15
# above this share of the image's area, reversed triangles are mirrored charts, not surfaces seen from behind
MIRRORED_SHARE = 0.2
# samples a side of a texel's footprint; denser sources are first reduced by powers of two
MAX_SAMPLES = 4
# footprint in source pixels that one bilinear sample stands for; on two photographs of 1024 x 704 and on
# james (2400 x 1600) finer sampling changed the bake by less than 45 dB of PSNR would show
PIXELS_PER_SAMPLE = 1.0


@dataclass(frozen=True)
class BakeSettings:
    """Settings of the bake.

    Attributes:
        size: texels a side, 256 to 8192.
        format: `png` (lossless), `jpeg` or `webp`.
        quality: 1 to 100, for jpeg and webp.
        max_distance_mm: furthest that the scan may be from the registered surface to give a texel its colour.
        max_normal_angle_deg: largest angle between the two surfaces there.
        min_grazing_deg: scan triangles that their camera saw flatter than this give no colour: their pixels
        are
            smeared, or already show what lies behind.
        fill: fill texels without data smoothly from around; else they are black.  The mask is 0 there either
        way.
    """

    size: int = 1024
    format: str = "png"
    quality: int = 95
    max_distance_mm: float = 4.0
    max_normal_angle_deg: float = 65.0
    min_grazing_deg: float = 6.0
    fill: bool = True

    def __post_init__(self) -> None:
        if not 256 <= self.size <= MAX_SIZE:
            raise ConfigError("bake.size is out of range", seen=self.size, expected=f"256 to {MAX_SIZE}")
        if self.format not in FORMATS:
            raise ConfigError("bake.format is not known", seen=repr(self.format), expected=", ".join(FORMATS))
        if not 1 <= self.quality <= 100:
            raise ConfigError("bake.quality is out of range", seen=self.quality, expected="1 to 100")
        if not 0 < self.max_distance_mm <= 100:
            raise ConfigError(
                "bake.max_distance_mm is out of range",
                seen=self.max_distance_mm,
                expected="above 0, at most 100",
            )
        if not 0 <= self.min_grazing_deg <= 80:
            raise ConfigError(
                "bake.min_grazing_deg is out of range", seen=self.min_grazing_deg, expected="0 to 80"
            )
        if not 0 < self.max_normal_angle_deg <= 90:
            raise ConfigError(
                "bake.max_normal_angle_deg is out of range",
                seen=self.max_normal_angle_deg,
                expected="above 0, at most 90",
            )


class Baked(NamedTuple):
    """A baked frame.

    Attributes:
        texture: (size, size, 3) uint8 RGB, row 0 at v = 1.
        coverage: (size, size) uint8: 0 where no data was found (filled, or outside the layout), else the
            confidence, 255 where scan and registered mesh agree in place and direction.
        share: texels with data among those the layout covers.
    """

    texture: Pixels
    coverage: Pixels
    share: float


class _Found(NamedTuple):
    """Places on the scan: triangle (k,) (-1: none), weights (k, 3), confidence (k,) in (0, 1]."""

    triangles: Longs
    weights: Singles
    confidence: Singles


class Source:
    """A scan ready to be asked for colours.

    Args:
        scan: mesh in mm; image: (h, w, 3) uint8 with row 0 at v = 1, or None: vertex colours are used;
            min_grazing_deg: triangles seen flatter than this by their camera give no colour.
    """

    def __init__(self, scan: Mesh, image: Pixels | None, min_grazing_deg: float = 0.0) -> None:
        self.origin = scan.vertices.mean(0)  # Open3D computes in float32: stay near the origin
        self.vertices = scan.vertices - self.origin
        self.faces = scan.faces
        self.surface = Surface(self.vertices, scan.faces)
        self.normals = triangle_normals(self.vertices, scan.faces)[0].astype(np.float32)
        self.image = image
        self.colored: Bools
        has_image = image is not None and scan.uv is not None and scan.uv_faces is not None
        if has_image:
            assert image is not None
            assert scan.uv is not None
            assert scan.uv_faces is not None
            height, width = image.shape[:2]
            pixel = np.stack([scan.uv[:, 0] * width - 0.5, (1 - scan.uv[:, 1]) * height - 0.5], axis=1)
            self.pixels = pixel.astype(np.float32)[scan.uv_faces]
            self.colored = np.asarray(np.isfinite(self.pixels).all((1, 2)), bool)
            self._read_view(min_grazing_deg)
            self.rim_edges = _rim_edges(scan.uv_faces)
            self.at_seam: Bools = np.asarray(self.rim_edges.any(1), bool)
        else:
            self.colored = np.ones(len(scan.faces), bool)
            self.facing = np.ones(len(scan.faces), np.float32)
        keys, count = np.unique(_edge_keys(scan.faces, len(self.vertices)), return_counts=True)
        self._rim_keys = keys[count == 1]

    def _read_view(self, min_grazing_deg: float) -> None:
        """How every triangle faces the camera that photographed it, read off its texture coordinates.

        A photograph shortens a triangle along its slope by the sine of the angle between surface and line of
        sight: the ratio of the two stretches from surface to image.
        """
        corner = self.vertices[self.faces]
        with np.errstate(all="ignore"):
            per_mm = _in_plane_inverse(
                np.stack([corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]], 2)
            )
            sides = [self.pixels[:, k] - self.pixels[:, 0] for k in (1, 2)]
            # d pixel / d mm (t, 2, 3), and the image's edge matrices (t, 2, 2)
            self.edge = np.stack(sides, 2)
            self.pixel_per_mm = np.nan_to_num(np.matmul(self.edge, per_mm), posinf=0, neginf=0).astype(
                np.float32
            )
            a, b = self.pixel_per_mm[:, 0], self.pixel_per_mm[:, 1]
            aa, ab, bb = _dot(a, a), _dot(a, b), _dot(b, b)
            root = np.sqrt((aa - bb) ** 2 + 4 * ab * ab)
            ratio = np.sqrt(np.maximum(aa + bb - root, 0) / np.maximum(aa + bb + root, 1e-30))
        # the noise of single triangles evens out over their neighbours
        at, n = self.faces.ravel(), len(self.vertices)
        around = np.bincount(at, np.repeat(np.nan_to_num(ratio), 3), n) / np.maximum(
            np.bincount(at, minlength=n), 1
        )
        self.facing = around[self.faces].mean(1).astype(np.float32)
        self.colored &= self.facing >= np.float32(np.sin(np.radians(min_grazing_deg)))
        self.colored &= ~_folded(self.edge)

    def on_rim(self, triangles: Longs, weights: Floats) -> Bools:
        """Whether places lie on an edge that only one triangle has."""
        corner = self.faces[triangles]
        rim = np.zeros(len(triangles), bool)
        for k in range(3):
            near = np.flatnonzero(weights[:, k] < 1e-3)
            pair = np.sort(corner[near][:, [(k + 1) % 3, (k + 2) % 3]], axis=1)
            key = _keys(pair, len(self.vertices))
            at = np.searchsorted(self._rim_keys, key)
            inside = at < len(self._rim_keys)
            rim[near[inside]] |= self._rim_keys[at[inside]] == key[inside]
        return rim


def _keys(pairs: Ints, n: int) -> Longs:
    return pairs[:, 0].astype(np.int64) * n + pairs[:, 1]


def _edge_keys(faces: Ints, n: int) -> Longs:
    """(3t,) one number per undirected edge of each triangle."""
    start, end = faces.ravel().astype(np.int64), faces[:, [1, 2, 0]].ravel().astype(np.int64)
    return np.asarray(np.minimum(start, end) * n + np.maximum(start, end))


def _rim_edges(faces: Ints) -> Bools:
    """(t, 3) whether the edge opposite to each corner is one that no other triangle of the layout has."""
    key = _edge_keys(faces, int(faces.max()) + 1)
    _, index, count = np.unique(key, return_inverse=True, return_counts=True)
    return np.asarray((count[index.ravel()] != 2).reshape(-1, 3)[:, [1, 2, 0]])


def _folded(edge: Floats | Singles) -> Bools:
    """(t,) triangles that lie the other way round in the image than nearly all others do.

    Their camera cannot have seen them: they turn their back to it, and their pixels belong to what stands in
    front.  A layout with many of both kinds has mirrored charts and says nothing about cameras.
    """
    area = edge[:, 0, 0] * edge[:, 1, 1] - edge[:, 0, 1] * edge[:, 1, 0]
    area = np.nan_to_num(area.astype(np.float64), posinf=0, neginf=0)
    reversed_way = area * area.sum() < 0
    if np.abs(area[reversed_way]).sum() > MIRRORED_SHARE * np.abs(area).sum():
        return np.zeros(len(area), bool)
    return np.asarray(reversed_way)


def _mixed(corners: Singles, triangles: Longs | Ints, weights: Singles) -> Singles:
    """Weighted corner sums (k, m) of per-triangle corners (t, 3, m)."""
    each = corners[triangles]
    total = each[:, 0] * weights[:, 0:1]
    total += each[:, 1] * weights[:, 1:2]
    total += each[:, 2] * weights[:, 2:3]
    return total


def _square(a: Singles) -> Singles:
    return _dot(a, a)


def _dot(a: Singles, b: Singles) -> Singles:
    return np.asarray(a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2])


def bake(
    scan: Mesh, image: Pixels | None, vertices: Floats, template: Template, settings: BakeSettings
) -> Baked | None:
    """Bake one frame.

    Args:
        scan: the scan, mm; with `uv` if `image` is given, else with `colors`.
        image: (h, w, 3) uint8 RGB or None.
        vertices: (V, 3) the registered mesh in the scan's frame.
        template: gives topology and texture layout.

    Returns:
        The texture, or None when the scan carries no colour.
    """
    if image is None or scan.uv is None:
        if scan.colors is None:
            return None
        image = None
    source = Source(scan, image, settings.min_grazing_deg)
    size = settings.size
    target = _Target(vertices - source.origin, template, source, settings)
    sampler = _ImageSampler(source, target) if image is not None else _ColorSampler(scan)
    texture = np.zeros((size * size, 3), np.uint8)
    coverage = np.zeros(size * size, np.uint8)
    total = found_total = 0
    for raster in bands(template, size):
        base = raster.first_row * size
        total += len(raster.texels)
        for start in range(0, len(raster.texels), CHUNK):
            part = slice(start, start + CHUNK)
            triangles, weights = raster.triangles[part], raster.weights[part]
            found = target.correspond(triangles, weights)
            good = np.flatnonzero(found.triangles >= 0)
            at = raster.texels[part][good].astype(np.int64) + base
            texture[at] = sampler.colors(found.triangles[good], found.weights[good], triangles[good])
            steps = np.maximum(1, np.rint(found.confidence[good] * CONFIDENCE_STEPS))
            coverage[at] = steps * (255 // CONFIDENCE_STEPS)
            found_total += len(good)
    picture, mask = texture.reshape(size, size, 3), coverage.reshape(size, size)
    if settings.fill:
        fill_holes(picture, mask > 0)
    return Baked(picture, mask, found_total / max(total, 1))


class _Target:
    """The registered mesh, and where its points lie on the scan."""

    def __init__(self, vertices: Floats, template: Template, source: Source, settings: BakeSettings) -> None:
        self.source = source
        self.far = settings.max_distance_mm
        self.least = float(np.cos(np.radians(settings.max_normal_angle_deg)))
        self.size = settings.size
        faces = template.faces
        self.uv_corners = template.uv[template.uv_faces]
        self.corners = vertices.astype(np.float32)[faces]
        used: Bools = np.asarray(np.isfinite(vertices).all(1), bool)
        normals = vertex_normals(vertices, faces[used[faces].all(1)]).astype(np.float32)
        self.normals = normals[faces]
        depth, _, triangle = self._two_sided(np.where(used[:, None], vertices, 0).astype(np.float32), normals)
        depth = np.where((triangle >= 0) & used, depth, np.nan)
        # a triangle whose corners lie further off than the limit and its own size has nothing within the
        # limit
        off = np.where(used, 0.0, np.inf)
        lost = np.flatnonzero(used & (triangle < 0))
        if len(lost):
            off[lost] = source.surface.distance(vertices[lost])
        c = self.corners
        longest = np.sqrt(
            np.maximum(
                _square(c[:, 0] - c[:, 1]), np.maximum(_square(c[:, 1] - c[:, 2]), _square(c[:, 2] - c[:, 0]))
            )
        )
        self.hopeless = ~(off[faces].max(1) <= self.far + longest)
        corner = depth[faces]
        self.low, self.high = corner.min(1), corner.max(1)
        with np.errstate(invalid="ignore"):
            self.sure = (self.high - self.low) <= MAX_SPREAD_MM

    def correspond(self, triangles: Ints, weights: Singles) -> _Found:
        """Places on the scan of points given by triangle (k,) and weights (k, 3) of the registered mesh."""
        points = _mixed(self.corners, triangles, weights)
        normals = _mixed(self.normals, triangles, weights)
        normals /= np.maximum(np.sqrt(_dot(normals, normals)), np.float32(1e-12))[:, None]
        k = len(points)
        triangle = np.full(k, -1, np.int64)
        weight = np.zeros((k, 3), np.float32)
        depth = np.zeros(k, np.float32)
        sure = np.flatnonzero(self.sure[triangles])
        if len(sure):
            high = (self.high[triangles[sure]] + REACH_MM).astype(np.float32)
            reach = high - self.low[triangles[sure]].astype(np.float32) + REACH_MM
            n = normals[sure]
            hits = self.source.surface.cast(points[sure] + n * high[:, None], -n)
            ok = hits.hit & (hits.distances <= reach) & self._fits(hits.triangles, n)
            ok = np.flatnonzero(ok)
            at = sure[ok]
            triangle[at], weight[at] = hits.triangles[ok], hits.weights[ok]
            depth[at] = high[ok] - hits.distances[ok]
        rest = np.flatnonzero((triangle < 0) & ~self.hopeless[triangles])
        if len(rest):
            depth[rest], weight[rest], triangle[rest] = self._two_sided(points[rest], normals[rest])
        rest = rest[triangle[rest] < 0]
        if len(rest):
            near = self.source.surface.closest(points[rest].astype(np.float64))
            ok = (near.distances <= self.far) & self._fits(near.triangles, normals[rest])
            ok &= ~self.source.on_rim(near.triangles, near.weights)
            ok = np.flatnonzero(ok)
            at = rest[ok]
            triangle[at], weight[at], depth[at] = near.triangles[ok], near.weights[ok], near.distances[ok]
        # both tests fade towards their limit, so that a mask can be cut anywhere
        depth = np.where(triangle >= 0, np.abs(depth), np.float32(0))
        cosine = _dot(self.source.normals[triangle], normals)
        confidence = (1 - depth / self.far) * np.clip((cosine - self.least) / (1 - self.least), 0, 1)
        confidence *= self.source.facing[triangle]
        return _Found(triangle, weight, confidence.astype(np.float32))

    def _fits(self, triangles: Longs, normals: Singles) -> Bools:
        cosine = _dot(self.source.normals[triangles], normals)
        return np.asarray((cosine >= self.least) & self.source.colored[triangles])

    def _two_sided(self, points: Singles, normals: Singles) -> tuple[Singles, Singles, Longs]:
        """Nearest fitting hit along the normal, either way: signed depth, weights, triangle (-1: none)."""
        depth = np.full(len(points), np.inf, np.float32)
        weight = np.zeros((len(points), 3), np.float32)
        triangle = np.full(len(points), -1, np.int64)
        for sign in (-1.0, 1.0):
            # start a little on the other side: a scan that lies exactly on the mesh must not be missed
            back = np.float32(0.01 * sign)
            hits = self.source.surface.cast(points - back * normals, np.float32(sign) * normals)
            d = (hits.distances - 0.01).astype(np.float32)
            ok = (
                hits.hit & (d <= self.far) & (np.abs(d) < np.abs(depth)) & self._fits(hits.triangles, normals)
            )
            depth[ok], weight[ok], triangle[ok] = (
                np.float32(sign) * d[ok],
                hits.weights[ok],
                hits.triangles[ok],
            )
        return depth, weight, triangle


class _ColorSampler:
    """Colours from the scan's vertices."""

    def __init__(self, scan: Mesh) -> None:
        assert scan.colors is not None
        self.corner = scan.colors.astype(np.float32)[scan.faces]

    def colors(self, triangles: Longs, weights: Singles, owners: Ints) -> Pixels:
        return np.asarray(np.rint(np.clip(_mixed(self.corner, triangles, weights), 0, 255)), np.uint8)


class _ImageSampler:
    """Colours from the scan's image, averaged over each texel's footprint."""

    def __init__(self, source: Source, target: _Target) -> None:
        assert source.image is not None
        self.source = source
        self.levels = [_packed(source.image)]
        self.image = source.image
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
        centre = _mixed(self.source.pixels, triangles, weights)
        j = np.matmul(self.source.pixel_per_mm[triangles], self.mm_per_texel[owners])
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
        return colors

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
        room = np.where(self.source.rim_edges[triangles], weights / np.maximum(most, 1e-12), 1)
        return np.asarray(np.clip(room, 0, 1).min(1), np.float32)

    def _averaged(self, centre: Singles, j: Singles, level: int, samples: int) -> Pixels:
        while len(self.levels) <= level:
            self.image = _halved(self.image)
            self.levels.append(_packed(self.image))
        image, width, height = self.levels[level]
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


# Three channels side by side in one 64-bit word, 21 bits each: one gather and one multiplication read all of
# them. Bilinear weights are whole numbers that sum to 64 * 64, so a channel needs 8 + 12 = 20 bits.
_LANE = np.uint64(21)
_MASK = np.uint64((1 << 21) - 1)
_STEPS = 64


def _packed(image: Pixels) -> tuple[NDArray[np.uint64], int, int]:
    """The image as (h * w,) words, with width and height."""
    word = image[..., 0].astype(np.uint64)
    word |= image[..., 1].astype(np.uint64) << _LANE
    word |= image[..., 2].astype(np.uint64) << (_LANE + _LANE)
    return word.ravel(), image.shape[1], image.shape[0]


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


def _in_plane_inverse(sides: Floats) -> Floats:
    """Pseudo-inverse (t, 2, 3) of edge matrices (t, 3, 2)."""
    a, b = sides[:, :, 0], sides[:, :, 1]
    aa, ab, bb = (a * a).sum(1), (a * b).sum(1), (b * b).sum(1)
    det = aa * bb - ab * ab
    return np.stack(
        [
            (bb[:, None] * a - ab[:, None] * b) / det[:, None],
            (aa[:, None] * b - ab[:, None] * a) / det[:, None],
        ],
        1,
    )


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
        finer[have] = _means(sums, counts)[have]
        filled = finer
    height, width = known.shape
    # the finest level in bands of rows, so that its floats need little memory
    step = max(2, (1 << 20) // width // 2 * 2)
    for row in range(0, height, step):
        low, high = max(row // 2 - 1, 0), min((row + step) // 2 + 1, len(filled))
        block = _doubled(filled[low:high], min(2 * (high - low), height - 2 * low), width)
        rows = slice(row, min(row + step, height))
        part = block[row - 2 * low : row - 2 * low + rows.stop - row]
        missing = ~known[rows]
        texture[rows][missing] = np.rint(part[missing]).astype(np.uint8)


def _halved_sums(values: Pixels | Singles, known: Bools) -> tuple[Singles, Singles]:
    """Sums (h/2, w/2, 3) of the known values of 2 x 2 texels, and how many were known."""
    height, width = known.shape
    h, w = (height + 1) // 2, (width + 1) // 2
    sums, counts = np.zeros((h, w, 3), np.float32), np.zeros((h, w), np.float32)
    for dy in range(2):
        for dx in range(2):
            k = known[dy::2, dx::2].astype(np.float32)
            part = values[dy::2, dx::2]
            sums[: k.shape[0], : k.shape[1]] += part * k[..., None]
            counts[: k.shape[0], : k.shape[1]] += k
    return sums, counts


def _means(sums: Singles, counts: Singles) -> Singles:
    return np.asarray(sums / np.maximum(counts, 1)[..., None], np.float32)


def _doubled(coarse: Singles, height: int, width: int) -> Singles:
    """Bilinear enlargement by two, to (height, width, 3)."""
    out = coarse
    for axis, size in ((0, height), (1, width)):
        ahead = np.concatenate(
            [np.take(out, range(1, out.shape[axis]), axis), np.take(out, [-1], axis)], axis
        )
        behind = np.concatenate(
            [np.take(out, [0], axis), np.take(out, range(out.shape[axis] - 1), axis)], axis
        )
        both = np.stack([0.75 * out + 0.25 * behind, 0.75 * out + 0.25 * ahead], axis + 1)
        shape = list(out.shape)
        shape[axis] *= 2
        out = np.take(both.reshape(shape).astype(np.float32), range(size), axis)
    return out


def compute(task: Task, out: ArtefactWriter) -> None:
    """Bake every registered frame of a sequence."""
    from mimicme.pipeline import image as images
    from mimicme.pipeline.checkpoint import frame_numerics
    from mimicme.pipeline.scan import load_image, load_scan

    settings: BakeSettings = task.settings
    template = task.load_template()
    with task.input("ingest") as ingest, task.input("register") as register:
        rows = out.continue_from(register)
        out.attrs["texture_format"] = settings.format
        out.attrs["texture_size"] = settings.size
        coverage = out.rows("quality/coverage", (), "f4", "1")
        for row in rows:
            scan = load_scan(ingest, row)
            pose = np.asarray(register["pose"][row], np.float64)
            vertices = transform(pose, np.asarray(register["vertices"][row], np.float64))
            try:
                image = load_image(ingest, row) if scan.uv is not None else None
            except FrameRejected as error:  # a broken image costs the texture, not the geometry
                out.note(row, "no-texture", f"The texture could not be read: {error}")
                continue
            try:
                with frame_numerics():
                    baked = bake(scan, image, vertices, template, settings)
            except FrameRejected as error:
                out.reject(row, error)
                continue
            if baked is None:
                out.note(row, "no-texture", "The scan has neither a texture nor vertex colours.")
                continue
            coverage[row] = baked.share
            encoded = images.encode(baked.texture, settings.format, settings.quality)
            mask = images.encode(baked.coverage, "png")
            out.put(row, "texture", np.frombuffer(encoded, np.uint8))
            out.put(row, "coverage", np.frombuffer(mask, np.uint8))


STAGE = Stage(
    name="bake",
    version=2,
    settings=BakeSettings,
    needs=("ingest", "register"),
    compute=compute,
    settings_by_preset={"fast": {"size": 512}, "best": {"size": 2048}},
    memory="0.55 GB at 1024 texels, 0.7 GB at 2048, 2.1 GB at 8192, and 12 bytes a pixel of the image",
)
