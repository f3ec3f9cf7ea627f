"""Parts of a template that are treated differently, found from its shape and landmarks alone."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.ambient_occlusion import sky_visibility
from mimicme.pipeline.landmarks import GROUPS

RECESSED = 0.65
"""Sky visibility below which a vertex counts as recessed; a plain cheek has 1, an ear's inside 0.3 to 0.6."""
EAR_MM, EAR_FADE_MM = 8.0, 10.0
"""How far the ear goes on around its recessed parts, and over what width its mask fades out."""


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
