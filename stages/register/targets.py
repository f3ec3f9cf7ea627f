"""Where each template vertex should go: closest scan points, and the gates that refuse bad ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mimicme.pipeline.mesh import Bools, Floats, Ints, boundary_vertices, vertex_normals
from mimicme.pipeline.spatial import Surface


class Targets(NamedTuple):
    """Per template vertex: the plane it should lie on and how much that counts.

    Attributes:
        points: (n, 3) mm, normals: (n, 3) unit, of the scan.
        weights: (n,) in [0, 1]; 0 where no scan point passed the gates.
    """

    points: Floats
    normals: Floats
    weights: Floats


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

    def targets(
        self, points: Floats, normals: Floats, scale_mm: float, min_cosine: float, reach_mm: float
    ) -> Targets:
        """Targets of (n, 3) template points with unit normals (n, 3).

        A pair is refused (weight 0) when the normals differ by more than `min_cosine` allows, when the closest
        point lies on the scan's rim (the template goes on where the scan ends: pairing there drags it to the edge),
        or when it is farther than `reach_mm`.  The others weigh (1 + (r / scale)^2)^-2, Geman and McClure's (1987)
        function, so that what the template cannot explain - hair, spikes, teeth - stops pulling as scale shrinks.
        """
        found = self.surface.closest(points)
        corner = self.faces[found.triangles]
        normal = np.einsum("kc,kcx->kx", found.weights, self.normals[corner])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        on_rim = (self.rim[corner] & (found.weights > 0.01)).any(axis=1)
        trusted: Bools = ((normal * normals).sum(1) > min_cosine) & ~on_rim & (found.distances < reach_mm)
        weight = trusted / (1 + (found.distances / scale_mm) ** 2) ** 2
        return Targets(found.points, normal, weight)
