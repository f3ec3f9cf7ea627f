"""Parts of a template that are treated differently, found from its shape and landmarks alone."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import GROUPS

DIRECTIONS = 48
OCCLUDER_MM = 60.0
RECESSED = 0.65
"""Sky visibility below which a vertex counts as recessed; a plain cheek has 1, an ear's inside 0.3 to 0.6."""
EAR_MM, EAR_FADE_MM = 8.0, 10.0
"""How far the ear goes on around its recessed parts, and over what width its mask fades out."""
RAY_OFFSET_MM = 0.02


def sky_visibility(vertices: Floats, faces: Ints) -> Floats:
    """(V,) share of the sky visible from a vertex, cosine-weighted, 1 on a convex surface (ambient occlusion).

    Args:
        vertices: (V, 3) mm; faces: (t, 3).  What is farther than `OCCLUDER_MM` occludes nothing.
    """
    normals = vertex_normals(vertices, faces)
    surface = Surface(vertices, faces)
    count = np.arange(DIRECTIONS) + 0.5
    polar, turn = np.arccos(1 - 2 * count / DIRECTIONS), np.pi * (1 + 5**0.5) * count  # Fibonacci sphere
    sky = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=1)
    free, total = np.zeros(len(vertices)), np.zeros(len(vertices))
    for direction in sky:
        cosine = normals @ direction
        above = np.flatnonzero(cosine > 0.1)
        occluded = surface.occluded(vertices[above] + RAY_OFFSET_MM * normals[above], direction, OCCLUDER_MM)
        free[above] += cosine[above] * ~occluded
        total[above] += cosine[above]
    return free / np.maximum(total, 1e-9)


def ears(vertices: Floats, faces: Ints, landmarks: Floats) -> Floats:
    """(V, 2) masks in [0, 1] of the ear on the left of a picture (x < 0) and on its right; 0 where there is none.

    An ear is what lies around the recessed skin beside the head, behind the jaw line's first and last landmark and
    above the corners of the mouth's height on it.

    Args:
        vertices: (V, 3) template, mm, canonical frame; faces: (t, 3); landmarks: (68, 3) on it.
    """
    from scipy.spatial import cKDTree

    jaw = landmarks[GROUPS["jaw"]]
    middle, half_width = jaw[[0, -1], 0].mean(), float(np.ptp(jaw[[0, -1], 0])) / 2
    beside = np.abs(vertices[:, 0] - middle) > 0.6 * half_width
    behind = vertices[:, 2] < jaw[[0, -1], 2].mean() + EAR_MM / 2
    above = vertices[:, 1] > jaw[[3, -4], 1].mean()
    recessed = (sky_visibility(vertices, faces) < RECESSED) & beside & behind & above
    masks = np.zeros((len(vertices), 2))
    for side, here in enumerate((vertices[:, 0] < middle, vertices[:, 0] > middle)):
        if (recessed & here).any():
            distance = cKDTree(vertices[recessed & here]).query(vertices)[0]
            masks[:, side] = np.clip((EAR_MM + EAR_FADE_MM - distance) / EAR_FADE_MM, 0, 1) * (behind & here)
    return masks
