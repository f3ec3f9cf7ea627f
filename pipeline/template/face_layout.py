"""The texture layout of a face that has none: upright, and dense where people look."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.layout_quality import measure
from mimicme.pipeline.geometry.mesh import adjacency, edges, vertex_normals
from mimicme.pipeline.geometry.unwrap import unwrap


def face_layout(vertices: Floats, faces: Ints, points: Floats) -> tuple[Floats, Ints, str]:
    """Layout of a face: upright, the face itself at full density, neck, ears and inner surfaces at less.

    Args:
        vertices: (V, 3) mm, +y up, +z out; faces: (T, 3); points: (68, 3) its iBUG-68 landmarks.

    Returns:
        uv (N, 2) in [0, 1], uv_faces (T, 3), and a sentence with the measured distortion.
    """
    uv, uv_faces = unwrap(vertices, faces, face_density(vertices, faces, points), upright=True)
    return uv, uv_faces, f"texture layout: made here: {measure(vertices, faces, uv, uv_faces)}"


def face_density(vertices: Floats, faces: Ints, points: Floats) -> Floats:
    """Texels per mm, relative (V,): 1 on the face, down to 0.5 at its back, less again on surfaces turned
    inward.

    The face is what lies within 1.4 inter-eye distances (85 mm) of the middle of the inner landmarks.
    """
    inter_eye = float(np.linalg.norm(points[42:48].mean(0) - points[36:42].mean(0)))
    middle = points[17:68].mean(0)
    radius = np.linalg.norm(vertices - middle, axis=1) / inter_eye
    far = np.clip((radius - 1.4) / 1.2, 0, 1)
    density = 1 - 0.5 * far * far * (3 - 2 * far)
    normals = vertex_normals(vertices, faces)
    # inside of mouth and nostrils: near the middle, yet turned away from the viewer
    inward = (normals[:, 2] < -0.2) & (radius < 1.4)
    density = np.where(inward, 0.6 * density, density)
    pairs, _ = edges(faces)
    links = adjacency(pairs, len(vertices))
    mean = sparse.diags(1 / np.maximum(np.asarray(links.sum(1)).ravel(), 1)) @ links
    alone = np.asarray(links.sum(1)).ravel() == 0
    for _ in range(10):
        density = np.where(alone, density, 0.5 * density + 0.5 * (mean @ density))
    return np.asarray(density, np.float64)
