"""What is wrong with the landmarks that come with the embedded template, and how it is put right.

Found by looking at the 68 points one by one, each beside its mirror image: the mesh is symmetric to a quarter of
a millimetre, its landmarks are not.  Both brows lie 2.5 to 4.5 mm too far to the head's right; the jaw's points 4 to 6
and 10 to 12 are 4 to 8 mm from each other's mirror image, the rims of the nostrils 2.5, eyes and lips 1 to 2.5.  Points
by hand and found ones are as symmetric as faces are: whatever is registered to such landmarks has brows, eyes and lips
that slid to one side.
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.mesh import Mesh, transform
from mimicme.pipeline.landmarks import GROUPS, MIRROR, eye_distance
from mimicme.pipeline.template.symmetry import symmetry_of

NOSE_HALF_WIDTH = 0.13
"""Of the nose's tip, in the distance of the eyes."""


def corrected(points: Floats, mesh: Mesh) -> tuple[Floats, str, str]:
    """The embedded template's (68, 3) landmarks put right, near its surface, and what was done, in two sentences."""
    vertices = np.asarray(mesh.vertices, np.float64)
    points, tip = with_nose_tip(points, vertices)
    points, even = with_even_sides(points, vertices, mesh.faces)
    return points, tip, even


def with_nose_tip(points: Floats, vertices: Floats) -> tuple[Floats, str]:
    """The embedded template's (68, 3) landmarks with those down the nose where others put them, and what was done.

    Its landmark 30 lies on the ridge, 11 mm above the tip of the nose; by iBUG-68's scheme, by hand and by detectors it
    is the tip: what lies farthest forward between bridge and base.  28 and 29 divide the ridge evenly.

    Args:
        vertices: (V, 3), as the landmarks in the file's unit, +y up, +z out of the face.
    """
    bridge, base = points[27], points[33]
    nose = vertices[
        (np.abs(vertices[:, 0] - base[0]) < NOSE_HALF_WIDTH * eye_distance(points))
        & (vertices[:, 1] > base[1])
        & (vertices[:, 1] < bridge[1])
    ]
    tip = nose[nose[:, 2].argmax()]
    moved = points.copy()
    moved[28:31] = bridge + np.array([[1 / 3], [2 / 3], [1.0]]) * (tip - bridge)
    off = np.linalg.norm(moved[30] - points[30]) / eye_distance(points)
    return (
        moved,
        f"landmarks: 30 moved to the tip of the nose, by {off:.0%} of the eyes' distance; 28 and 29 follow",
    )


def with_even_sides(points: Floats, vertices: Floats, faces: Ints) -> tuple[Floats, str]:
    """The embedded template's (68, 3) landmarks, each in the middle between itself and its mirror image; what was done.

    Args:
        vertices: (V, 3), as the landmarks in the file's unit; faces: (T, 3), of a mesh that is symmetric.

    Returns:
        Points near the surface, not on it, and a sentence.
    """
    reflection = symmetry_of(vertices, faces, points).reflection
    even: Floats = (points + transform(reflection, points)[MIRROR]) / 2
    moved = np.linalg.norm(even - points, axis=1) / eye_distance(points)
    brows = max(moved[GROUPS["left_eyebrow"]].max(), moved[GROUPS["right_eyebrow"]].max())
    return even, (
        f"landmarks: left and right made mirror images of each other, by {np.median(moved):.1%} of the eyes' "
        f"distance (median), brows by up to {brows:.1%}: the mesh is symmetric, they were not"
    )
