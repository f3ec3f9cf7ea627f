"""How far the cheeks have slid along the surface, which neither its distance to the scan nor a smooth texture tells.

Eyes, nose, mouth and jaw line, which landmarks hold, lie all around a cheek.  What they do carries the skin between
them: a thin-plate spline from the landmarks at rest to those of the frame says where a cheek of this person goes, also
in a one-sided smile.  What the mesh has moved beside that, along the surface and all over a cheek, has slid.
"""

from __future__ import annotations

from copy import copy

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.pipeline.landmarks import MIRROR
from mimicme.pipeline.template.face_core import inside
from mimicme.stages.register.spline import landmark_spline

OUTLINE = np.array([1, 2, 3, 4, 48, 31, 40, 41, 36])
"""Landmarks around the subject's right cheek: jaw line, corner of the mouth, wing of the nose, lower lid."""
AWAY_MM = 8.0
"""A cheek begins so far from every landmark: nearer, its place is theirs."""
ALIKE_MM = 8.0
"""Standard deviation of the neighbourhood that is averaged over: what is smaller is a dimple or noise."""
SPACING_MM = 6.0
"""Of the places where the average is taken."""
FOLLOWED_MM = 2.0
"""Smoothing of the spline, for landmarks that are the mesh's own and have no noise."""
MIN_VERTICES = 12
"""A cheek of fewer is not measured."""


class Cheeks:
    """Measures frames of one template.

    Args:
        vertices: (V, 3) of the template, mm, canonical frame; faces: (T, 3); landmarks: (68, 3) on it; core: (V,) True
            in the face's core (`FaceCore`): what lies behind the jaw line does not follow it.
    """

    def __init__(self, vertices: Floats, faces: Ints, landmarks: Floats, core: Bools) -> None:
        from scipy.spatial import cKDTree
        from scipy.spatial.distance import cdist

        free = core & (cKDTree(landmarks).query(vertices)[0] > AWAY_MM)
        cheeks = [
            np.flatnonzero(free & inside(landmarks[outline][:, :2], vertices[:, :2]))
            for outline in (OUTLINE, MIRROR[OUTLINE])
        ]
        self._sides = [own for own in cheeks if len(own) >= MIN_VERTICES]
        self._means = []
        for own in self._sides:
            places = vertices[own][_spread(vertices[own])]
            weight = np.exp(-(cdist(places, vertices[own]) ** 2) / (2 * ALIKE_MM**2))
            self._means.append(weight / weight.sum(axis=1, keepdims=True))
        measured = np.zeros(len(vertices), bool)
        for own in self._sides:
            measured[own] = True
        self._used, self._piece = _around(faces, measured)
        self._rows = [np.searchsorted(self._used, own) for own in self._sides]
        self._rest = [vertices[own] for own in self._sides]
        self._rest_landmarks = landmarks

    def of_person(self, neutral: Floats, landmarks: Floats) -> Cheeks:
        """The same, compared with a person's neutral (V, 3), landmarks (68, 3) on it, and not with the template."""
        other = copy(self)
        other._rest = [neutral[own] for own in self._sides]
        other._rest_landmarks = landmarks
        return other

    def slide(self, vertices: Floats, landmarks: Floats) -> float:
        """mm along the surface, at most over both cheeks; NaN where the template has none.

        Args:
            vertices: (V, 3) of a frame, canonical frame, mm; landmarks: (68, 3) that its mesh carries.
        """
        if not self._sides or not np.isfinite(landmarks).all():
            return float("nan")
        normals = vertex_normals(vertices[self._used], self._piece)
        most = 0.0
        for own, rows, mean, rest in zip(self._sides, self._rows, self._means, self._rest, strict=True):
            carried = rest + landmark_spline(self._rest_landmarks, landmarks, rest, FOLLOWED_MM)
            beside, normal = vertices[own] - carried, normals[rows]
            along = beside - (beside * normal).sum(axis=1, keepdims=True) * normal
            most = max(most, float(np.linalg.norm(mean @ along, axis=1).max()))
        return most


def _spread(points: Floats) -> Ints:
    """Indices of points (k, 3) of which each cell of `SPACING_MM` has one."""
    cells = np.floor(points / SPACING_MM).astype(np.int64)
    return np.sort(np.unique(cells, axis=0, return_index=True)[1]).astype(np.int32)


def _around(faces: Ints, wanted: Bools) -> tuple[Ints, Ints]:
    """The vertices of all triangles about those that are wanted (V,), sorted, and these triangles (t, 3) of them."""
    used, flat = np.unique(faces[wanted[faces].any(axis=1)], return_inverse=True)
    return used, flat.reshape(-1, 3).astype(np.int32)
