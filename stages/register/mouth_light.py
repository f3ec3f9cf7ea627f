"""What is seen between the lips of a registered mesh, from the front."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.template.face_core import OUTER_LIPS, inside

INNER_LIPS = slice(60, 68)
PIXEL_MM = 0.25
BEHIND_LIPS_MM = 2.0
DEEP_MM = 2.0
"""How far behind the scan's surface the mesh is no lip that covers it."""
FROM_MM, PATCH_MM = 200.0, 25.0


class Mouth(NamedTuple):
    """Areas within the outline of the lips, from the front, mm^2.

    Attributes:
        light: where the mesh is open, or lies more than `DEEP_MM` behind the scan, though the scan has a surface there
            that lies no deeper than the lips do: teeth and the inside of a mouth do.
        opening: where the mesh is open, and the light.
    """

    light: float
    opening: float


def light_between_lips(vertices: Floats, faces: Ints, landmarks: Floats, scan: Surface) -> Mouth:
    """What is seen between the lips of a registered mesh (V, 3), in a frame that looks along +z, as the scan does.

    Args:
        landmarks: (68, 3) as the mesh carries them, mm.
    """
    outline = landmarks[OUTER_LIPS]
    low, high = outline.min(axis=0), outline.max(axis=0)
    x, y = (np.arange(low[k] + PIXEL_MM / 2, high[k], PIXEL_MM) for k in (0, 1))
    places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    places = places[inside(outline[:, :2], places)]
    if not len(places):
        return Mouth(0.0, 0.0)
    near = ((vertices > low - PATCH_MM) & (vertices < high + PATCH_MM)).all(axis=1)
    patch = faces[near[faces].all(axis=1)]
    if not len(patch):
        return Mouth(0.0, 0.0)
    front = high[2] + FROM_MM
    origins = np.column_stack([places, np.full(len(places), front)])
    used, flat = np.unique(patch, return_inverse=True)

    def depth(surface: Surface) -> Floats:
        """(k,) z of the first surface, -inf without one."""
        hits = surface.cast(origins, np.array([0.0, 0.0, -1.0]))
        return np.where(hits.hit, front - hits.distances, -np.inf)

    of_mesh = depth(Surface(vertices[used], flat.reshape(-1, 3).astype(np.int32)))
    of_scan = depth(scan)
    inner = landmarks[INNER_LIPS]
    # a parabola: lips are curved about the teeth
    rims = np.polynomial.polynomial.polyfit(inner[:, 0] - inner[:, 0].mean(), inner[:, 2], 2)
    depth_of_lips = np.polynomial.polynomial.polyval(places[:, 0] - inner[:, 0].mean(), rims)
    light = (of_scan > depth_of_lips - BEHIND_LIPS_MM) & (of_mesh < of_scan - DEEP_MM)
    return Mouth(float(light.sum()) * PIXEL_MM**2, float((light | ~np.isfinite(of_mesh)).sum()) * PIXEL_MM**2)
