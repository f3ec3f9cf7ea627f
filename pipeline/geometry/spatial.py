"""Closest points and rays on a triangle mesh: a thin, typed wrapper of Open3D's ray-casting scene."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.errors import MissingDependencyError, raise_if_memory
from mimicme.pipeline.geometry.mesh import boundary_vertices, edges, lengths

PLOTLY = "open3d.visualization.draw_plotly"


class Closest(NamedTuple):
    """Closest points of a surface to k query points.

    Attributes:
        points: (k, 3) float64 on the surface.
        triangles: (k,) int64.
        weights: (k, 3) float64 barycentric weights of the triangle's corners, summing to 1.
        distances: (k,) float64, same unit as the mesh.
    """

    points: Floats
    triangles: NDArray[np.int64]
    weights: Floats
    distances: Floats


class Hits(NamedTuple):
    """First hits of k rays: hit (k,) bool, distance (k,) in ray lengths, triangles, weights as in `Closest`."""

    hit: Bools
    distances: Floats
    triangles: NDArray[np.int64]
    weights: Floats


def open3d() -> Any:
    """The open3d module, imported when first needed (it takes half a second)."""
    try:
        with _drawing_put_off():
            import open3d as o3d
    except (ImportError, OSError) as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # in the middle of it: no library is missing
            raise KeyboardInterrupt from error
        raise_if_memory(error)
        raise MissingDependencyError(
            f"Open3D cannot be loaded ({error})",
            todo="Run `make install`, or `mimicme doctor` to see which system library is missing.",
        ) from error
    return o3d


@contextmanager
def _drawing_put_off() -> Iterator[None]:
    """Import Open3D without what draws in a browser: that imports dash, which takes longer than Open3D itself.

    Its functions are there all the same, and import it when they are called.
    """
    if "open3d" in sys.modules or PLOTLY in sys.modules:
        yield
        return

    def later(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *given, **named: getattr(import_module(PLOTLY), name)(*given, **named)

    module = ModuleType(PLOTLY)
    module.__getattr__ = later  # type: ignore[method-assign]
    sys.modules[PLOTLY] = module
    try:
        yield
    finally:
        del sys.modules[PLOTLY]


class Surface:
    """A triangle mesh ready for closest-point and ray queries.

    Args:
        vertices: (n, 3), faces: (t, 3).  Open3D works in float32 inside: keep coordinates near the origin.
        threads: threads a query may use; 1 inside workers (a worker owns one core), 0 for all.
    """

    def __init__(self, vertices: Floats, faces: Ints, threads: int = 1) -> None:
        o3d = open3d()
        self.vertices = np.asarray(vertices, np.float64)
        self.faces = np.asarray(faces, np.int32)
        self.threads = threads
        self._tensor = o3d.core.Tensor
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=threads)
        # of a piece of a mesh most vertices would be carried along for nothing
        if 3 * len(faces) < len(vertices):
            used, flat = np.unique(faces, return_inverse=True)
            vertices, faces = np.take(vertices, used, axis=0), flat.reshape(-1, 3).astype(np.int32)
        self._scene.add_triangles(
            self._tensor(np.ascontiguousarray(vertices, np.float32)),
            self._tensor(np.ascontiguousarray(faces, np.uint32)),
        )

    @cached_property
    def rim(self) -> Bools:
        """(n,) True at vertices of an edge that only one triangle has; computed once, when it is first asked for."""
        return boundary_vertices(self.faces, len(self.vertices))

    def closest(self, points: Floats) -> Closest:
        """Closest surface points to (k, 3) points."""
        query = self._tensor(np.ascontiguousarray(points, np.float32))
        answer = self._scene.compute_closest_points(query, nthreads=self.threads)
        triangles = answer["primitive_ids"].numpy().astype(np.int64)
        uv = answer["primitive_uvs"].numpy().astype(np.float64)
        weights = np.stack([1 - (uv[:, 0] + uv[:, 1]), uv[:, 0], uv[:, 1]], axis=1)
        # recomputed in float64: the solver's residuals must not carry float32 rounding
        corners = np.take(self.vertices, np.take(self.faces, triangles, axis=0), axis=0)
        found = np.einsum("kc,kcx->kx", weights, corners)
        return Closest(found, triangles, weights, lengths(found - points))

    def distance(self, points: Floats) -> Floats:
        """Unsigned distance of (k, 3) points to the surface, (k,)."""
        return self.closest(points).distances

    def cast(self, origins: Floats | NDArray[np.float32], directions: Floats | NDArray[np.float32]) -> Hits:
        """First hit of the rays origins + s * directions, s > 0; both (..., 3), flattened to (k, 3)."""
        rays = np.concatenate(np.broadcast_arrays(origins, directions), axis=-1).reshape(-1, 6)
        answer = self._scene.cast_rays(
            self._tensor(np.ascontiguousarray(rays, np.float32)), nthreads=self.threads
        )
        s = answer["t_hit"].numpy().astype(np.float64)
        hit = np.isfinite(s)
        triangles = np.where(hit, answer["primitive_ids"].numpy().astype(np.int64), 0)
        uv = answer["primitive_uvs"].numpy().astype(np.float64)
        return Hits(hit, s, triangles, np.stack([1 - (uv[:, 0] + uv[:, 1]), uv[:, 0], uv[:, 1]], axis=1))

    def along(self, points: Floats, normals: Floats, far: float) -> Closest:
        """Where lines along unit normals (k, 3) enter the surface, from `far` above points (k, 3) to as far below.

        Near a smooth surface that is near to `closest`, in a tenth of its time.  Where a line meets nothing the
        triangle is -1, the distance infinite, the point not a number.
        """
        hits = self.cast(points + far * normals, -normals)
        there = hits.hit & (hits.distances <= 2 * far)
        triangles = np.where(there, hits.triangles, -1)
        corners = np.take(self.vertices, np.take(self.faces, hits.triangles, axis=0), axis=0)
        found = np.einsum("kc,kcx->kx", hits.weights, corners)
        found[~there] = np.nan
        return Closest(found, triangles, hits.weights, np.where(there, np.abs(hits.distances - far), np.inf))

    def occluded(self, origins: Floats, directions: Floats, far: float = np.inf) -> Bools:
        """(k,) True where something lies on the ray before `far` ray lengths."""
        rays = np.concatenate(np.broadcast_arrays(origins, directions), axis=-1).reshape(-1, 6)
        return np.asarray(
            self._scene.test_occlusions(
                self._tensor(np.ascontiguousarray(rays, np.float32)), tfar=far, nthreads=self.threads
            ).numpy(),
            bool,
        )


def self_intersections(vertices: Floats, faces: Ints) -> NDArray[np.int64]:
    """Self-intersecting triangles, sorted: those that an edge of a triangle without a common vertex passes through.

    Args:
        vertices: (n, 3), near the origin (float32 inside); faces: (t, 3).
    """
    if not len(faces):
        return np.zeros(0, np.int64)  # an empty scene is a crash
    o3d = open3d()
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    corners = o3d.core.Tensor(np.ascontiguousarray(vertices, np.float32))
    scene.add_triangles(corners, o3d.core.Tensor(np.ascontiguousarray(faces, np.uint32)))
    pairs = edges(faces)[0]
    start = vertices[pairs[:, 0]]
    rays = np.concatenate([start, vertices[pairs[:, 1]] - start], axis=1)
    hits = scene.list_intersections(o3d.core.Tensor(np.ascontiguousarray(rays, np.float32)), nthreads=1)
    along = hits["t_hit"].numpy()
    within = np.flatnonzero((along > 0) & (along < 1))
    edge = pairs[hits["ray_ids"].numpy()[within].astype(np.int64)]
    triangle = hits["primitive_ids"].numpy()[within].astype(np.int64)
    apart = ~(faces[triangle][:, :, None] == edge[:, None, :]).any(axis=(1, 2))
    return np.unique(triangle[apart])
