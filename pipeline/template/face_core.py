"""The face's core, brows to chin, as far as it looks to the front: what a scan of a face has to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.pipeline.geometry.spatial import Surface

JAW, BROWS = slice(1, 16), slice(17, 27)
"""Landmarks (iBUG-68) around the face's core."""
FACING = 0.2
"""Least cosine between a vertex' normal and the direction to the front."""
RAY_OFFSET_MM = 0.02


class Shares(NamedTuple):
    """Shares of the core's area that a scan shows: of all of it, of the subject's right half, of the left half."""

    core: float
    right: float
    left: float


@dataclass(frozen=True)
class FaceCore:
    """The face's core, brows to chin, as far as the template shows it to the front.

    Attributes:
        areas: (V,) mm^2, 0 outside the core; right: (V,) True on the subject's right half (x < 0).
    """

    areas: Floats
    right: Bools

    @classmethod
    def of(cls, vertices: Floats, faces: Ints, areas: Floats, landmarks: Floats) -> FaceCore:
        """The core of a template (V, 3), canonical, mm, with vertex areas (V,) and landmarks (68, 3)."""
        outline = np.concatenate([landmarks[JAW], landmarks[BROWS][::-1]])[:, :2]
        normals = vertex_normals(vertices, faces)
        core = inside(outline, vertices[:, :2]) & (normals[:, 2] > FACING)
        candidates = np.flatnonzero(core)
        forwards = np.array([0.0, 0.0, 1.0])
        core[candidates] &= ~Surface(vertices, faces).occluded(
            vertices[candidates] + RAY_OFFSET_MM * normals[candidates], forwards
        )
        return cls(np.where(core, areas, 0.0), vertices[:, 0] < landmarks[27:31, 0].mean())

    def shares(self, observed: Bools) -> Shares:
        """Of vertices (V,) that a scan shows; 1 of a half that the template does not have."""

        def share(areas: Floats) -> float:
            total = float(areas.sum())
            return float(areas @ observed / total) if total > 0 else 1.0

        return Shares(share(self.areas), share(self.areas * self.right), share(self.areas * ~self.right))


def inside(polygon: Floats, points: Floats) -> Bools:
    """(k,) True for points (k, 2) inside a closed polygon (n, 2), by the even-odd rule."""
    x, y = points.T
    found = np.zeros(len(points), bool)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        between = (a[1] > y) != (b[1] > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            found ^= between & (x < a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]))
    return found
