"""Self-contact of lips, lids and ears: two parts of one surface that touch and must not penetrate each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import triangle_normals
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.stages.register.targets import Targets

MAX_PENETRATION_MM = 3.0
"""Beyond this a penetration is left to the stiffness."""
OCCLUDER_MM = 6.0
MARGIN_MM = 0.2
PENETRATION_AT_REST_MM = 0.3
RAY_OFFSET_MM = 0.001


class Contacts:
    """Detects the vertices of a fit that have penetrated an opposite part, and gives them targets half-way out.

    Args:
        vertices: (k,) those that have an opposite part (`lips.opposite`).
        faces: (t, 3) of the template; only triangles on such a vertex, and their neighbours, are tested.
    """

    def __init__(self, vertices: NDArray[np.int64], faces: Ints) -> None:
        mine = np.zeros(int(faces.max(initial=0)) + 1, bool)
        mine[vertices] = True
        mine[faces[mine[faces].any(axis=1)]] = True
        self._vertices = vertices
        used, flat = np.unique(faces[mine[faces].any(axis=1)], return_inverse=True)
        self._used, self._faces = used, flat.reshape(-1, 3).astype(np.int32)
        self._touching = np.zeros(len(vertices), bool)

    def reset(self) -> None:
        """Before another frame: nothing touches."""
        self._touching[:] = False

    def resolve(self, rest: Floats, now: Floats, normals: Floats, targets: Targets) -> Targets:
        """Targets that keep opposite parts on their own sides.

        A vertex that has penetrated an opposite triangle in front of which it lay at rest gets a plane half-way
        between the two as its target; both sides do the same and meet.  From then on until `reset` it is held
        where it came to lie.  A vertex that an opposite part occludes cannot have been scanned, and has no target.

        Args:
            rest, now: (V, 3) mm, shape at rest and fitted so far; normals: (V, 3) of `now`.
            targets: those of the scan.
        """
        if not len(self._faces):
            return targets
        vertices = self._vertices
        behind, occluded, shift = self._penetrations(rest, now, normals[vertices])
        points, planes, weights = targets.points.copy(), targets.normals.copy(), targets.weights.copy()
        weights[vertices[occluded]] = 0.0
        held = vertices[self._touching & ~behind]
        points[held], planes[held], weights[held] = now[held], normals[held], 1.0
        moved = vertices[behind]
        length = np.linalg.norm(shift[behind], axis=1, keepdims=True)
        points[moved] = now[moved] + shift[behind]
        planes[moved], weights[moved] = shift[behind] / np.maximum(length, 1e-12), 1.0
        self._touching |= behind
        return Targets(points, planes, weights)

    def _penetrations(self, rest: Floats, now: Floats, normals: Floats) -> tuple[Bools, Bools, Floats]:
        """(k,) has penetrated, (k,) is occluded, (k, 3) the way back to the middle, mm."""
        vertices, faces = self._vertices, self._faces
        place, corners, before = now[vertices], now[self._used], rest[self._used]
        facing, facing_before = triangle_normals(corners, faces)[0], triangle_normals(before, faces)[0]
        surface = Surface(corners, faces)

        back = surface.cast(place - RAY_OFFSET_MM * normals, -normals)
        hit = back.triangles
        depth = ((corners[faces[hit, 0]] - place) * facing[hit]).sum(axis=1)
        in_front = ((rest[vertices] - before[faces[hit, 0]]) * facing_before[hit]).sum(axis=1)
        behind = (
            back.hit
            & (back.distances < MAX_PENETRATION_MM)
            & ((facing[hit] * normals).sum(axis=1) < 0)
            & (depth > 0)
        )
        # the far side of an ear or a lip was behind at rest as well
        behind &= (in_front > -PENETRATION_AT_REST_MM) & ~(self._used[faces[hit]] == vertices[:, None]).any(
            axis=1
        )

        ahead = surface.cast(place + RAY_OFFSET_MM * normals, normals)
        occluded = ahead.hit & (ahead.distances < OCCLUDER_MM)
        occluded &= (facing[ahead.triangles] * normals).sum(axis=1) < 0
        return behind, occluded, facing[hit] * (depth / 2 + MARGIN_MM)[:, None]
