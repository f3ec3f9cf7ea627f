"""Where the points of a registered mesh lie on its scan: along the normal, else the closest point.

A ray along the normal is cast to the scan (normal shooting); the hit counts when it is near enough and faces the same
way; where rays hit nothing the closest point may count, unless it lies on the scan's boundary.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats, Ints, Longs, Singles
from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.scan_source import Source, dot, interpolated, same_cells

# a texel's ray starts this far outside the place where its triangle's corners found the scan
REACH_MM = 0.5
# triangles of the registered mesh whose edges are no longer than this are small
SMALL_MM = 3.0
# corners that found the scan at depths further apart than this did not find the same surface
MAX_SPREAD_MM = 1.0


class Limits(Protocol):
    """What `Target` reads of the options: see `baking.TextureOptions`."""

    @property
    def size(self) -> int: ...
    @property
    def max_distance_mm(self) -> float: ...
    @property
    def max_normal_angle_deg(self) -> float: ...
    @property
    def min_confidence(self) -> float: ...


class Correspondences(NamedTuple):
    """Corresponding places on the scan: triangle (k,) (-1: none), barycentric weights (k, 3), confidence (k,) in
    (0, 1], signed depth of the scan (k,) along the registered normal, mm (0 where there is none)."""

    triangles: Longs
    weights: Singles
    confidence: Singles
    depth: Singles


class Target:
    """The registered mesh, and where its points lie on the scan."""

    def __init__(self, vertices: Floats, template: Template, source: Source, settings: Limits) -> None:
        from mimicme.pipeline.texture.triangle_loops import (  # they load numba
            depths_of_triangles,
            gather_corners,
        )

        self.source = source
        self.far = settings.max_distance_mm
        self.least = float(np.cos(np.radians(settings.max_normal_angle_deg)))
        self.least_sure = settings.min_confidence
        self.size = settings.size
        faces = np.ascontiguousarray(template.faces, np.int32)
        count = len(faces)
        self.template = template
        self.uv_corners = template.uv[template.uv_faces]
        used: Bools = np.isfinite(vertices[:, 0] + vertices[:, 1] + vertices[:, 2])
        normals = vertex_normals(vertices, faces[used[faces].all(1)]).astype(np.float32)
        self.corners, self.normals = (np.empty((count, 3, 3), np.float32) for _ in range(2))
        self.longest = np.empty(count, np.float32)
        gather_corners(
            np.ascontiguousarray(vertices, np.float32),
            faces,
            np.ascontiguousarray(normals),
            self.corners,
            self.normals,
            self.longest,
        )
        depth, weight, triangle = self._near(np.where(used[:, None], vertices, 0).astype(np.float32), normals)
        triangle[~used] = -1
        self.at_vertices = self._judged(triangle.copy(), weight, depth, normals)
        """The places of the vertices themselves: triangles (V,) and so on."""
        depth = np.where(triangle >= 0, depth, np.nan)
        # a triangle whose corners lie further off than the limit and its own size has nothing within the
        # limit
        off = np.where(used, 0.0, np.inf)
        lost = np.flatnonzero(used & (triangle < 0))
        # nearest to the scan's boundary: the places between three such corners of a small triangle are too
        beyond = np.zeros(len(vertices), bool)
        if len(lost):
            # what is further off than the largest triangle could reach over need not be measured
            reach = self.far + float(self.longest.max(initial=0.0, where=np.isfinite(self.longest)))
            near = lost[same_cells(vertices[lost], source.vertices, reach + source.longest_edge)]
            found = source.surface.closest(vertices[near])
            off[lost] = np.inf
            off[near] = found.distances
            beyond[lost] = True
            beyond[near] = source.on_boundary(found.triangles, found.weights)
        self.unreachable, self.beyond, self.sure = (np.empty(count, bool) for _ in range(3))
        self.low, self.high = np.empty(count, np.float32), np.empty(count, np.float32)
        depths_of_triangles(
            faces,
            depth.astype(np.float32),
            off,
            beyond,
            self.longest,
            self.far,
            SMALL_MM,
            MAX_SPREAD_MM,
            self.unreachable,
            self.beyond,
            self.low,
            self.high,
            self.sure,
        )

    def correspond(self, triangles: Ints, weights: Singles) -> Correspondences:
        """Places on the scan of points given by triangle (k,) and weights (k, 3) of the registered mesh."""
        points = interpolated(self.corners, triangles, weights)
        normals = interpolated(self.normals, triangles, weights)
        normals /= np.maximum(np.sqrt(dot(normals, normals)), np.float32(1e-12))[:, None]
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
            ok = np.flatnonzero(hits.hit & (hits.distances <= reach) & self._fits(hits.triangles, n))
            at = sure[ok]
            triangle[at], weight[at] = hits.triangles[ok], hits.weights[ok]
            depth[at] = high[ok] - hits.distances[ok]
        rest = np.flatnonzero((triangle < 0) & ~self.unreachable[triangles])
        if len(rest):
            depth[rest], weight[rest], triangle[rest] = self._two_sided(points[rest], normals[rest])
        rest = rest[(triangle[rest] < 0) & ~self.beyond[triangles[rest]]]
        if len(rest):
            near = self.source.surface.closest(points[rest].astype(np.float64))
            fits = (near.distances <= self.far) & self._fits(near.triangles, normals[rest])
            fits &= ~self.source.on_boundary(near.triangles, near.weights)
            ok = np.flatnonzero(fits)
            at = rest[ok]
            triangle[at], weight[at] = near.triangles[ok], near.weights[ok]
            outside = np.einsum("kx,kx->k", near.points[ok] - points[at], normals[at]) > 0
            depth[at] = np.where(outside, near.distances[ok], -near.distances[ok])
        return self._judged(triangle, weight, depth, normals)

    def _judged(self, triangle: Longs, weight: Singles, depth: Singles, normals: Singles) -> Correspondences:
        """Places with their confidence, and without those that are not sure enough; `triangle` (k,) is changed."""
        # both tests fade towards their limit, so that a mask can be cut anywhere
        depth = np.where(triangle >= 0, depth, np.float32(0))
        cosine = dot(self.source.normals[triangle], normals)
        confidence = (1 - np.abs(depth) / self.far) * np.clip((cosine - self.least) / (1 - self.least), 0, 1)
        confidence = (confidence * self.source.facing[triangle]).astype(np.float32)
        if self.source.border_mm > 0:
            inner = self.source.border_share(triangle, weight)
            confidence *= inner
            triangle[inner <= 0] = -1
        triangle[confidence < self.least_sure] = -1
        return Correspondences(triangle, weight, confidence, depth)

    def _fits(self, triangles: Longs, normals: Singles) -> Bools:
        cosine = dot(self.source.normals[triangles], normals)
        return np.asarray((cosine >= self.least) & self.source.colored[triangles])

    def _near(self, points: Singles, normals: Singles) -> tuple[Singles, Singles, Longs]:
        """The same as `_two_sided` for points that lie near the scan for the most part: these take one ray."""
        hits = self.source.surface.cast(points + np.float32(REACH_MM) * normals, -normals)
        depth = (REACH_MM - hits.distances).astype(np.float32)
        ok = hits.hit & (np.abs(depth) <= REACH_MM) & self._fits(hits.triangles, normals)
        triangle = np.where(ok, hits.triangles, -1)
        weight = hits.weights.astype(np.float32)
        rest = np.flatnonzero(~ok)
        depth[rest], weight[rest], triangle[rest] = self._two_sided(points[rest], normals[rest])
        return depth, weight, triangle

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
