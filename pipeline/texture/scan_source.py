"""A scan ready to be asked for colours: its surface, its pixels, and how its cameras saw every triangle."""

from __future__ import annotations

from copy import copy

import numpy as np
import scipy

from mimicme.pipeline.arrays import Bools, Floats, Ints, Longs, Singles
from mimicme.pipeline.formats.image import Pixels
from mimicme.pipeline.geometry.mesh import Mesh, components, triangle_normals
from mimicme.pipeline.geometry.spatial import Surface

# a photograph's scale hardly changes over a face; when its 10th and 90th percentile differ by more than this factor
# it is no photograph's but an unwrapped layout's.  Measured: 1.11 (james), 1.20 (synthetic), 2.2 (an artist's layout)
PHOTOGRAPH_RANGE = 1.6
# above this share of the image's area, reversed triangles are mirrored charts, not surfaces seen from behind
MIRRORED_SHARE = 0.2
# where an image has less than this share of its median pixels per mm2, single pixels are smeared over the surface
STRETCHED_SHARE = 0.01
# cells of a grid along its longest side, at most
CELLS = 100
# so many triangles tell the median
MANY = 10_000
# a boundary edge with surface this far outside of it, within half as much, is one side of a crack: no border
CRACK_MM = 0.5
# confidence rises over this much of the border's width beyond it
BORDER_END = 1.25


class Source:
    """A scan ready to be asked for colours.

    Args:
        scan: mesh in mm; image: (h, w, 3) uint8 with row 0 at v = 1, or None: vertex colours are used;
            min_grazing_deg: triangles seen flatter than this by their camera give no colour;
            border_mm: places nearer to the scan's boundary give no colour; 0: all do.
    """

    def __init__(
        self, scan: Mesh, image: Pixels | None, min_grazing_deg: float = 0.0, border_mm: float = 0.0
    ) -> None:
        self.origin = scan.vertices.mean(0)  # Open3D computes in float32: stay near the origin
        self.vertices = scan.vertices - self.origin
        self.faces, self.uv_faces = scan.faces, scan.uv_faces
        self.surface = Surface(self.vertices, scan.faces)
        normals, self.areas = triangle_normals(self.vertices, scan.faces)
        self.normals = normals.astype(np.float32)
        corner = self.vertices[self.faces]
        self.longest_edge = float(np.sqrt(((corner - np.roll(corner, 1, axis=1)) ** 2).sum(2).max(initial=0)))
        self.image = image
        self.vertex_colors = scan.colors
        self.levels: list[Pixels] = []  # the image pyramid (mipmap), made when asked for
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
        self.min_grazing_deg = min_grazing_deg
        self._set_border(border_mm)

    def with_border(self, border_mm: float) -> Source:
        """The same scan with another border; all else is shared."""
        other = copy(self)
        other._set_border(border_mm)
        return other

    def _set_border(self, border_mm: float) -> None:
        self.border_mm = border_mm
        self.at_border: Bools = np.zeros(len(self.faces), bool)
        if border_mm > 0 and len(self._boundary_keys):
            self._measure_border()

    def border_share(self, triangles: Longs, weights: Singles) -> Singles:
        """(k,) 0 at places within `border_mm` of the scan's boundary, rising to 1 at `BORDER_END` times that."""
        share = np.ones(len(triangles), np.float32)
        near = np.flatnonzero(self.at_border[triangles])
        if len(near):
            away = interpolated(self.border_distance, triangles[near], weights[near].astype(np.float32))[:, 0]
            share[near] = np.clip((away / self.border_mm - 1) / (BORDER_END - 1), 0, 1)
        return share

    def _measure_border(self) -> None:
        """Distance of the triangles' corners (t, 3, 1) to the scan's boundary, mm, where it is near; else it is 0.

        Sets which triangles (t,) have a corner near it.
        """
        points = self._boundary_points(self.border_mm / 2)
        if not len(points):
            return
        tree, reach = scipy.spatial.cKDTree(points), BORDER_END * self.border_mm
        away = np.full(len(self.vertices), np.inf)
        some = same_cells(self.vertices, points, reach)
        away[some] = tree.query(self.vertices[some], distance_upper_bound=reach)[0]
        near = np.isfinite(away)
        self.at_border = np.asarray(near[self.faces].any(1))
        # what is interpolated between them must be known at all corners
        corners = self.faces[self.at_border]
        far = np.unique(corners[~near[corners]])
        away[far] = tree.query(self.vertices[far])[0]
        self.border_distance = np.zeros((len(self.faces), 3, 1), np.float32)
        self.border_distance[self.at_border, :, 0] = away[corners]

    def _boundary_points(self, spacing: float) -> Floats:
        """(k, 3) points along the boundary edges, not further apart than `spacing`; none on cracks."""
        n = len(self.vertices)
        on = np.zeros(n, bool)
        on[self._boundary_keys // n] = on[self._boundary_keys % n] = True
        some = np.flatnonzero(on[self.faces].sum(1) > 1)
        key = _edge_keys(self.faces[some], n)
        at = np.minimum(np.searchsorted(self._boundary_keys, key), len(self._boundary_keys) - 1)
        which, side = np.divmod(np.flatnonzero(self._boundary_keys[at] == key), 3)
        which = some[which]
        start = self.vertices[self.faces[which, side]]
        end = self.vertices[self.faces[which, (side + 1) % 3]]
        along = end - start
        # counterclockwise triangles: outside is to the right of their edges
        up = self.normals[which].astype(np.float64)
        outward = np.cross(along, up)
        outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-12)
        # a short ray through the place beyond the edge's middle
        beyond = self.surface.cast((start + end) / 2 + CRACK_MM * (outward + up / 2), -up)
        open_edge = ~(beyond.distances <= CRACK_MM)
        start, along = start[open_edge], along[open_edge]
        count = np.ceil(np.linalg.norm(along, axis=1) / spacing).astype(np.int64) + 1
        which = np.repeat(np.arange(len(start)), count)
        step = (np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)) / np.maximum(
            count[which] - 1, 1
        )
        return np.asarray(start[which] + step[:, None] * along[which])

    def _read_view(self, min_grazing_deg: float) -> None:
        """How every triangle faces the camera that photographed it, read off its texture coordinates.

        A photograph foreshortens a triangle along its slope by the sine of the angle between surface and line of
        sight: the ratio of the two stretches from surface to image.  An image that was painted or projected into an
        unwrapped layout says nothing about cameras: all its triangles count as seen from the front.
        """
        from mimicme.pipeline.texture.triangle_loops import views  # it loads numba

        count = len(self.faces)
        # d pixel / d mm (t, 2, 3), and the image's edge matrices (t, 2, 2)
        self.edge = np.empty((count, 2, 2), np.float32)
        self.pixel_per_mm = np.empty((count, 2, 3), np.float32)
        ratio, scale = np.empty(count, np.float32), np.empty(count, np.float32)
        views(
            np.ascontiguousarray(self.vertices, np.float64),
            np.ascontiguousarray(self.faces, np.int32),
            np.ascontiguousarray(self.pixels),
            self.edge,
            self.pixel_per_mm,
            ratio,
            scale,
        )
        # pixels per mm across the line of sight, (t,)
        self.scale = np.nan_to_num(scale, posinf=0)
        assert self.uv_faces is not None
        self.colored &= ~_stretched(self.edge, self.areas, self.faces)
        # the chart (t,) that each triangle lies in
        self.chart = components(self.uv_faces, int(self.uv_faces.max()) + 1)[1][self.uv_faces[:, 0]]
        if not _photographed(scale, self.areas, self.chart):
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


def same_cells(places: Floats, points: Floats, reach: float) -> Longs:
    """Indices of the places (n, 3) in or beside cells that hold one of the points (k, 3); cells are no smaller than
    `reach`: no other place is as near to a point."""
    low = points.min(0)
    cell = max(reach, float(np.ptp(points, axis=0).max()) / CELLS)
    held = np.floor((points - low) / cell).astype(np.int64) + 1
    shape = held.max(0) + 2
    grid = np.zeros(shape, bool)
    grid[tuple(held.T)] = True
    for axis in range(3):
        inner = np.moveaxis(grid, axis, 0)
        before = inner.copy()
        inner[1:] |= before[:-1]
        inner[:-1] |= before[1:]
    at = np.floor((places - low) / cell).astype(np.int64) + 1
    inside = np.flatnonzero(((at >= 0) & (at < shape)).all(1))
    return inside[grid[tuple(at[inside].T)]]


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


def _photographed(scale: Singles, area: Floats, chart: Ints) -> bool:
    """Whether texture coordinates are places in photographs: the scale (t,), pixels per mm across the line of sight,
    is then nearly the same all over a chart (t,), weighted by area (t,).  Each chart has its own, so its median is
    taken out."""
    good = np.flatnonzero((scale > 0) & np.isfinite(scale) & np.isfinite(area))
    if not len(good):
        return True
    chart = chart[good]
    size = np.log(scale[good].astype(np.float64))
    order = np.lexsort((size, chart))
    first = np.flatnonzero(np.r_[True, np.diff(chart[order]) > 0])
    middle = size[order][first + np.diff(np.r_[first, len(order)]) // 2]
    size = size - middle[np.searchsorted(chart[order][first], chart)]
    order = np.argsort(size)
    share = np.cumsum(area[good][order])
    low, high = size[order][np.searchsorted(share, share[-1] * np.array([0.1, 0.9]))]
    return bool(high - low <= np.log(PHOTOGRAPH_RANGE))


def _stretched(edge: Floats | Singles, area: Floats, faces: Ints) -> Bools:
    """(t,) triangles that have next to no pixels, compared with the median of the scan's surface.

    Args:
        edge: (t, 2, 2) edges in the image, pixels; area: (t,) mm2.
    """
    pixels = np.abs(edge[:, 0, 0] * edge[:, 1, 1] - edge[:, 0, 1] * edge[:, 1, 0]).astype(np.float64)
    good = np.isfinite(pixels) & np.isfinite(area)
    pixels, area = np.where(good, pixels, 0), np.where(good, area, 0)
    # texture coordinates have few digits: the density of single triangles evens out over their neighbours
    at = faces.ravel()
    each, mm2 = np.bincount(at, np.repeat(pixels, 3)), np.bincount(at, np.repeat(area, 3))
    density = each[faces].sum(1) / np.maximum(mm2[faces].sum(1), 1e-30)
    sample = slice(None, None, max(1, len(density) // MANY))
    order = np.argsort(density[sample])
    share = np.cumsum(area[sample][order])
    middle = density[sample][order[np.searchsorted(share, share[-1] / 2)]]
    return np.asarray(good & (density < STRETCHED_SHARE * middle))


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


def dot(a: Singles, b: Singles) -> Singles:
    return np.asarray(a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2])
