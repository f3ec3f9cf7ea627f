"""A scan ready to be asked for colours: its surface, its pixels, and how its cameras saw every triangle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints, Longs, Singles
from mimicme.pipeline.formats.image import Pixels
from mimicme.pipeline.geometry.mesh import Mesh, components, triangle_normals
from mimicme.pipeline.geometry.spatial import Surface

Packed = tuple[NDArray[np.uint64], int, int]
"""An image as (h * w,) words of three channels (sampling.py), with width and height."""

# a photograph's scale hardly changes over a face; when its 10th and 90th percentile differ by more than this factor
# it is no photograph's but an unwrapped layout's.  Measured: 1.11 (james), 1.20 (synthetic), 2.2 (an artist's layout)
PHOTOGRAPH_RANGE = 1.6
# above this share of the image's area, reversed triangles are mirrored charts, not surfaces seen from behind
MIRRORED_SHARE = 0.2


class Source:
    """A scan ready to be asked for colours.

    Args:
        scan: mesh in mm; image: (h, w, 3) uint8 with row 0 at v = 1, or None: vertex colours are used;
            min_grazing_deg: triangles seen flatter than this by their camera give no colour.
    """

    def __init__(self, scan: Mesh, image: Pixels | None, min_grazing_deg: float = 0.0) -> None:
        self.origin = scan.vertices.mean(0)  # Open3D computes in float32: stay near the origin
        self.vertices = scan.vertices - self.origin
        self.faces, self.uv_faces = scan.faces, scan.uv_faces
        self.surface = Surface(self.vertices, scan.faces)
        self.normals = triangle_normals(self.vertices, scan.faces)[0].astype(np.float32)
        self.image = image
        self.vertex_colors = scan.colors
        self.levels: list[Packed] = []  # the image pyramid (mipmap), made when asked for
        self.colored: Bools
        if image is not None and scan.uv is not None and scan.uv_faces is not None:
            height, width = image.shape[:2]
            pixel = np.stack([scan.uv[:, 0] * width - 0.5, (1 - scan.uv[:, 1]) * height - 0.5], axis=1)
            self.pixels = pixel.astype(np.float32)[scan.uv_faces]
            self.colored = np.asarray(np.isfinite(self.pixels).all((1, 2)), bool)
            self._read_view(min_grazing_deg)
            self.boundary_edges = _boundary_edges(scan.uv_faces)
            self.at_seam: Bools = np.asarray(self.boundary_edges.any(1), bool)
        else:
            self.colored = np.ones(len(scan.faces), bool)
            self.facing = np.ones(len(scan.faces), np.float32)
        keys, count = np.unique(_edge_keys(scan.faces, len(self.vertices)), return_counts=True)
        self._boundary_keys = keys[count == 1]

    def _read_view(self, min_grazing_deg: float) -> None:
        """How every triangle faces the camera that photographed it, read off its texture coordinates.

        A photograph foreshortens a triangle along its slope by the sine of the angle between surface and line of
        sight: the ratio of the two stretches from surface to image.  An image that was painted or projected into an
        unwrapped layout says nothing about cameras: all its triangles count as seen from the front.
        """
        corner = self.vertices[self.faces]
        with np.errstate(all="ignore"):
            per_mm = in_plane_inverse(np.stack([corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]], 2))
            sides = [self.pixels[:, k] - self.pixels[:, 0] for k in (1, 2)]
            # d pixel / d mm (t, 2, 3), and the image's edge matrices (t, 2, 2)
            self.edge = np.stack(sides, 2)
            self.pixel_per_mm = np.nan_to_num(np.matmul(self.edge, per_mm), posinf=0, neginf=0).astype(
                np.float32
            )
            a, b = self.pixel_per_mm[:, 0], self.pixel_per_mm[:, 1]
            aa, ab, bb = dot(a, a), dot(a, b), dot(b, b)
            root = np.sqrt((aa - bb) ** 2 + 4 * ab * ab)
            ratio = np.sqrt(np.maximum(aa + bb - root, 0) / np.maximum(aa + bb + root, 1e-30))
            scale = np.sqrt((aa + bb + root) / 2)
        assert self.uv_faces is not None
        if not _photographed(scale, corner, self.uv_faces):
            self.facing = np.ones(len(self.faces), np.float32)
            return
        # the noise of single triangles evens out over their neighbours
        at, n = self.faces.ravel(), len(self.vertices)
        around = np.bincount(at, np.repeat(np.nan_to_num(ratio), 3), n) / np.maximum(
            np.bincount(at, minlength=n), 1
        )
        self.facing = around[self.faces].mean(1).astype(np.float32)
        self.colored &= self.facing >= np.float32(np.sin(np.radians(min_grazing_deg)))
        self.colored &= ~_folded(self.edge)

    def on_boundary(self, triangles: Longs, weights: Floats) -> Bools:
        """Whether places lie on a boundary edge, one that only one triangle has."""
        corner = self.faces[triangles]
        boundary = np.zeros(len(triangles), bool)
        for k in range(3):
            near = np.flatnonzero(weights[:, k] < 1e-3)
            pair = np.sort(corner[near][:, [(k + 1) % 3, (k + 2) % 3]], axis=1)
            key = _keys(pair, len(self.vertices))
            at = np.searchsorted(self._boundary_keys, key)
            inside = at < len(self._boundary_keys)
            boundary[near[inside]] |= self._boundary_keys[at[inside]] == key[inside]
        return boundary


def _keys(pairs: Ints, n: int) -> Longs:
    return pairs[:, 0].astype(np.int64) * n + pairs[:, 1]


def _edge_keys(faces: Ints, n: int) -> Longs:
    """(3t,) one number per undirected edge of each triangle."""
    start, end = faces.ravel().astype(np.int64), faces[:, [1, 2, 0]].ravel().astype(np.int64)
    return np.asarray(np.minimum(start, end) * n + np.maximum(start, end))


def _boundary_edges(faces: Ints) -> Bools:
    """(t, 3) whether the edge opposite to each corner is on the boundary of its chart: no other triangle has it."""
    key = _edge_keys(faces, int(faces.max()) + 1)
    _, index, count = np.unique(key, return_inverse=True, return_counts=True)
    return np.asarray((count[index.ravel()] != 2).reshape(-1, 3)[:, [1, 2, 0]])


def _photographed(scale: Singles, corner: Floats, uv_faces: Ints) -> bool:
    """Whether texture coordinates are places in photographs: the scale (t,), pixels per mm across the line of sight,
    is then nearly the same all over a chart.  Each chart has its own, so its median is taken out."""
    side_a, side_b = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = np.linalg.norm(np.cross(side_a, side_b), axis=1)
    good = np.flatnonzero((scale > 0) & np.isfinite(scale) & np.isfinite(area))
    if not len(good):
        return True
    _, chart = components(uv_faces, int(uv_faces.max()) + 1)
    chart = chart[uv_faces[good, 0]]
    size = np.log(scale[good].astype(np.float64))
    order = np.lexsort((size, chart))
    first = np.flatnonzero(np.r_[True, np.diff(chart[order]) > 0])
    middle = size[order][first + np.diff(np.r_[first, len(order)]) // 2]
    size = size - middle[np.searchsorted(chart[order][first], chart)]
    order = np.argsort(size)
    share = np.cumsum(area[good][order])
    low, high = size[order][np.searchsorted(share, share[-1] * np.array([0.1, 0.9]))]
    return bool(high - low <= np.log(PHOTOGRAPH_RANGE))


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


def interpolated(corners: Singles, triangles: Longs | Ints, weights: Singles) -> Singles:
    """Barycentric interpolation (k, m) of values (t, 3, m) at the triangles' corners, with weights (k, 3)."""
    m = corners.shape[2]
    # column by column: numpy's broadcasting over rows of two or three numbers takes three times as long
    each = np.take(corners.reshape(-1, 3 * m), triangles, axis=0)
    a, b, c = (np.ascontiguousarray(weights[:, corner]) for corner in range(3))
    total = np.empty((len(each), m), each.dtype)
    for x in range(m):
        total[:, x] = each[:, x] * a + each[:, m + x] * b + each[:, 2 * m + x] * c
    return total


def square(a: Singles) -> Singles:
    return dot(a, a)


def dot(a: Singles, b: Singles) -> Singles:
    return np.asarray(a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2])


def in_plane_inverse(sides: Floats) -> Floats:
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
