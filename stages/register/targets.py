"""Where each template vertex should go: closest scan points, and the gates that refuse bad ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import boundary_vertices, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface


class Targets(NamedTuple):
    """Per template vertex: the plane it should lie on and how much that counts.

    Attributes:
        points: (n, 3) mm, normals: (n, 3) unit, of the scan.
        weights: (n,) in [0, 1]; 0 where no scan point passed the gates.
    """

    points: Floats
    normals: Floats
    weights: Floats


class Nearest(NamedTuple):
    """What lies nearest to some template points on the scan, before any of it is refused.

    Attributes:
        points: (n, 3) mm, normals: (n, 3) unit, of the scan; distances: (n,) mm.
        on_rim: (n,) True where the nearest point is on the scan's rim.
    """

    points: Floats
    normals: Floats
    distances: Floats
    on_rim: Bools

    def part(self, index: NDArray[np.int64]) -> Nearest:
        """The same for some of the points."""
        return Nearest(self.points[index], self.normals[index], self.distances[index], self.on_rim[index])

    def targets(self, normals: Floats, scale_mm: float, min_cosine: float, reach_mm: float) -> Targets:
        """Targets of the points, whose unit normals are (n, 3).

        A pair is refused (weight 0) when the normals differ by more than `min_cosine` allows, when the closest
        point lies on the scan's rim (the template goes on where the scan ends: pairing there drags it to the edge),
        or when it is farther than `reach_mm`.  The others weigh (1 + (r / scale)^2)^-2, Geman and McClure's (1987)
        function, so that what the template cannot explain - hair, spikes, teeth - stops pulling as scale shrinks.
        """
        cosine = np.einsum("nx,nx->n", self.normals, normals)
        trusted: Bools = (cosine > min_cosine) & ~self.on_rim & (self.distances < reach_mm)
        weight = trusted / (1 + (self.distances / scale_mm) ** 2) ** 2
        return Targets(self.points, self.normals, weight)


class ScanTarget:
    """One frame's scan, ready to be asked for targets.

    Args:
        vertices: (m, 3) mm, in the frame the solver works in; faces: (t, 3).
    """

    def __init__(self, vertices: Floats, faces: Ints, threads: int = 1) -> None:
        self.vertices, self.faces = vertices, faces
        self.surface = Surface(vertices, faces, threads)
        self.normals = vertex_normals(vertices, faces)
        self.rim = boundary_vertices(faces, len(vertices))

    def nearest(self, points: Floats) -> Nearest:
        """What lies nearest to (n, 3) points, mm."""
        found = self.surface.closest(points)
        corner = np.take(self.faces, found.triangles, axis=0)
        normal = np.einsum("kc,kcx->kx", found.weights, np.take(self.normals, corner, axis=0))
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        on_rim = np.asarray((self.rim[corner] & (found.weights > 0.01)).any(axis=1))
        return Nearest(found.points, normal, found.distances, on_rim)

    def targets(
        self, points: Floats, normals: Floats, scale_mm: float, min_cosine: float, reach_mm: float
    ) -> Targets:
        """Targets of (n, 3) template points with unit normals (n, 3); see `Nearest.targets`."""
        return self.nearest(points).targets(normals, scale_mm, min_cosine, reach_mm)
