"""The head's rigid motion, taken from what does not deform."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.mesh import Floats, transform
from mimicme.pipeline.rigid import fit_rigid

ROUNDS = 20
SCALE_MM = 0.5
"""Residual at which a vertex's say falls to a quarter: skin over bone moves less, brows and cheeks more."""


def skull_weights(vertices: Floats, landmarks: Floats, areas: Floats) -> Floats:
    """(V,) weight of each template vertex in the head's pose: its area over bone, 0 over jaw, lips and neck.

    What counts is the face above the nose's base, out to the temples and in front of the ears; the eyelids and the
    nostrils are left out.

    Args:
        vertices: (V, 3) template, mm, canonical frame; landmarks: (68, 3) on it; areas: (V,) mm^2.
    """
    nose, mouth = landmarks[GROUPS["nose"]], landmarks[GROUPS["mouth"]]
    eyes = np.stack([landmarks[GROUPS["left_eye"]], landmarks[GROUPS["right_eye"]]])
    centres = eyes.mean(axis=1)
    between = float(np.linalg.norm(centres[0] - centres[1]))
    above_base = vertices[:, 1] > nose[6, 1]
    in_front = vertices[:, 2] > landmarks[[0, 16], 2].mean()
    near_eye = np.min([np.linalg.norm((vertices - c) / [1, 0.6, 1], axis=1) for c in centres], axis=0)
    nostril = np.min([np.linalg.norm(vertices - p, axis=1) for p in nose[4:]], axis=0)
    lips = np.min([np.linalg.norm(vertices - p, axis=1) for p in mouth], axis=0)
    rigid = above_base & in_front & (near_eye > 0.3 * between) & (nostril > 0.15 * between)
    return np.where(rigid & (lips > 0.3 * between), areas, 0.0)


def head_motion(reference: Floats, vertices: Floats, weights: Floats) -> Floats:
    """(4, 4) rigid motion that brings `reference` (V, 3) onto `vertices` (V, 3), judged by what agrees.

    Iteratively reweighted least squares with Geman and McClure's (1987) function; `weights` (V,) are the prior
    ones.  Deterministic.
    """
    use = np.flatnonzero(weights > 0)
    source, target, prior = reference[use], vertices[use], weights[use]
    motion = fit_rigid(source, target, prior)
    for scale in np.geomspace(8 * SCALE_MM, SCALE_MM, ROUNDS):
        residual = np.linalg.norm(transform(motion, source) - target, axis=1)
        motion = fit_rigid(source, target, prior / (1 + (residual / scale) ** 2) ** 2)
    return motion
