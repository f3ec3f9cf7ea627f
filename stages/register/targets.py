"""Where each template vertex should go: its closest scan point, robustly weighted, and which ones are rejected."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import boundary_vertices, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.geometry.triangle_grid import Near, TriangleGrid, nearest_on
from mimicme.stages.register.kernels import describe


class Targets(NamedTuple):
    """Per template vertex: the plane it should lie on and how much that counts.

    Attributes:
        points: (n, 3) mm, normals: (n, 3) unit, of the scan.
        weights: (n,) in [0, 1]; 0 where the correspondence is rejected.
    """

    points: Floats
    normals: Floats
    weights: Floats


class ClosestPoints(NamedTuple):
    """The closest scan points of some template points, before any is rejected.

    Attributes:
        points: (n, 3) mm, normals: (n, 3) unit, of the scan; distances: (n,) mm.
        on_boundary: (n,) True where the closest point is on the scan's boundary.
    """

    points: Floats
    normals: Floats
    distances: Floats
    on_boundary: Bools

    def subset(self, index: NDArray[np.int64]) -> ClosestPoints:
        """The same for some of the points."""
        return ClosestPoints(
            self.points[index], self.normals[index], self.distances[index], self.on_boundary[index]
        )

    def targets(self, normals: Floats, scale_mm: float, min_cosine: float, max_distance_mm: float) -> Targets:
        """Targets of the points, whose unit normals are (n, 3).

        A correspondence is rejected (weight 0; cf. Amberg et al. 2007 and Rusinkiewicz and Levoy 2001, sec. 3.4)
        when the normals differ by more than `min_cosine` allows, when the closest point lies on the scan's boundary
        (the template goes on where the scan ends: pairing there drags it to the edge), or when it is farther than
        `max_distance_mm`.  The others weigh (1 + (r / scale)^2)^-2, Geman and McClure's (1987) function, so that what
        the template cannot explain - hair, spikes, teeth - stops pulling as scale shrinks.
        """
        cosine = np.einsum("nx,nx->n", self.normals, normals)
        valid: Bools = (cosine > min_cosine) & ~self.on_boundary & (self.distances < max_distance_mm)
        weight = valid / (1 + (self.distances / scale_mm) ** 2) ** 2
        return Targets(self.points, self.normals, weight)


class ScanTarget:
    """One frame's scan, prepared for closest-point queries.

    Args:
        vertices: (m, 3) mm, in the frame the solver works in; faces: (t, 3).
        colors: (m, 3) of its vertices, 0 to 255, NaN where they have none; None of a bare scan.
    """

    def __init__(
        self, vertices: Floats, faces: Ints, threads: int = 1, colors: NDArray[np.floating] | None = None
    ) -> None:
        # where a triangle begins is the file's habit; rounding, and with it the fit, must not depend on it
        first = faces.argmin(axis=1)
        faces = np.ascontiguousarray(
            faces[np.arange(len(faces))[:, None], (first[:, None] + np.arange(3)) % 3], np.int32
        )
        self.vertices, self.faces, self.colors = vertices, faces, colors
        self.surface = Surface(vertices, faces, threads)
        self._grid = TriangleGrid(vertices, faces)
        self.normals = vertex_normals(vertices, faces)
        self.boundary = boundary_vertices(faces, len(vertices))

    def closest_points(self, points: Floats, reach_mm: float = np.inf) -> ClosestPoints:
        """The closest points of (n, 3) points, mm.

        Args:
            reach_mm: what is farther need not be found: its distance is infinite, its normal 0, its point itself.
        """
        return self._described(self._found(points, reach_mm))

    def closest_colors(self, points: Floats, reach_mm: float) -> tuple[ClosestPoints, Floats | None]:
        """The same, and the colours there (n, 3), NaN where there is none; None of a bare scan."""
        found = self._found(points, reach_mm)
        if self.colors is None:
            return self._described(found), None
        corner = np.take(self.faces, found.triangles, axis=0)
        return self._described(found), np.einsum("kc,kcx->kx", found.weights, self.colors[corner])

    def _found(self, points: Floats, reach_mm: float) -> Near:
        if np.isfinite(reach_mm):
            return self._grid.closest(points, reach_mm)
        triangles = self.surface.closest(points).triangles
        return nearest_on(points, triangles, self.vertices, self.faces)

    def _described(self, found: Near) -> ClosestPoints:
        normal, on_boundary = np.empty_like(found.points), np.empty(len(found.triangles), bool)
        describe(found.triangles, found.weights, self.faces, self.normals, self.boundary, normal, on_boundary)
        return ClosestPoints(found.points, normal, found.distances, on_boundary)

    def targets(
        self, points: Floats, normals: Floats, scale_mm: float, min_cosine: float, max_distance_mm: float
    ) -> Targets:
        """Targets of (n, 3) template points with unit normals (n, 3); see `ClosestPoints.targets`."""
        return self.closest_points(points, max_distance_mm).targets(
            normals, scale_mm, min_cosine, max_distance_mm
        )
