"""The plane of symmetry of a template, and how far its landmarks are from each other's mirror images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.rigid import fit_rigid
from mimicme.pipeline.landmarks import GROUPS, IBUG68, MIRROR

_MIDLINE = np.flatnonzero(np.arange(len(IBUG68)) == MIRROR)
_ROUNDS = 60
"""A plane slides slowly to its place: after 10 rounds it is 0.1 mm from there on the embedded template."""
_SAMPLE = 8000
"""Vertices that look for it."""
_KEPT = 0.8
"""The share of the surface nearest to its mirror image that says where the plane is: ears and borders do not."""


class Symmetry(NamedTuple):
    """How a face lies to its mirror image.

    Attributes:
        reflection: (4, 4), which brings the mesh onto itself.
        surface: median distance of the mirrored vertices from the surface, in the mesh's unit.
        landmarks: (68,) distance of each landmark from the mirror image of its counterpart.
    """

    reflection: Floats
    surface: float
    landmarks: Floats


def symmetry_of(vertices: Floats, faces: Ints, points: Floats) -> Symmetry:
    """The reflection that brings a mesh onto itself, by iterative closest points from its landmarks.

    Args:
        vertices: (V, 3); faces: (T, 3); points: (68, 3) landmarks in the same frame; they need not be symmetric.
    """
    from mimicme.pipeline.geometry.spatial import Surface  # open3d is slow to import

    across = points[GROUPS["left_eye"]].mean(0) - points[GROUPS["right_eye"]].mean(0)
    reflection = _through(across / np.linalg.norm(across), points[_MIDLINE].mean(0))
    centre = vertices.mean(0)  # the search works in single precision
    surface = Surface(vertices - centre, faces)
    sample = vertices[:: -(-len(vertices) // _SAMPLE)]
    for _ in range(_ROUNDS):
        image = transform(reflection, sample)
        found = surface.closest(image - centre)
        near = found.distances <= np.quantile(found.distances, _KEPT)
        moved = fit_rigid(image[near], (found.points + centre)[near]) @ reflection
        # the nearest reflection: none turns besides
        values, vectors = np.linalg.eigh((moved[:3, :3] + moved[:3, :3].T) / 2)
        middle = (transform(moved, sample[near]) + sample[near]).mean(0) / 2
        reflection = _through(vectors[:, values.argmin()], middle)
    image = transform(reflection, vertices)
    apart = np.linalg.norm(points - transform(reflection, points)[MIRROR], axis=1)
    return Symmetry(reflection, float(np.median(surface.distance(image - centre))), apart)


def _through(normal: Floats, point: Floats) -> Floats:
    """(4, 4) the reflection in the plane through a point (3,) with a unit normal (3,)."""
    reflection = np.eye(4)
    reflection[:3, :3] -= 2 * np.outer(normal, normal)
    reflection[:3, 3] = 2 * (point @ normal) * normal
    return reflection
