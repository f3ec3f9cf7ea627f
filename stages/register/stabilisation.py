"""Head stabilisation: the head's rigid motion, taken from what does not deform.

Beeler and Bradley (2014) call the task rigid stabilisation; here a robust fit of the skin over bone takes
the place of a model of the skull.
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.mesh import transform, vertex_normals
from mimicme.pipeline.geometry.rigid import fit_rigid, rigid_of_moments
from mimicme.pipeline.landmarks import GROUPS
from mimicme.stages.register.kernels import robust_moments
from mimicme.stages.register.targets import ScanTarget

ROUNDS = 20
REFINEMENT_STEPS = 4
REFINEMENT_POINTS = 10_000
CONVERGED_MM = 0.01
"""A step that moves no point farther is the last: the next would move them a tenth of that."""
SCALE_MM = 0.5
"""Residual at which a vertex's weight falls to a quarter: skin over bone moves less, brows and cheeks more."""


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
    """(4, 4) robust rigid motion that brings `reference` (V, 3) onto `vertices` (V, 3).

    Iteratively reweighted least squares with Geman and McClure's (1987) function; `weights` (V,) are the prior
    ones.  Deterministic.
    """
    use = np.flatnonzero(weights > 0)
    source, target, prior = (np.asarray(a[use], np.float64) for a in (reference, vertices, weights))
    motion = fit_rigid(source, target, prior)
    if not len(use):  # nothing tells
        return motion
    moments = np.empty((5, 3))
    for scale in np.geomspace(8 * SCALE_MM, SCALE_MM, ROUNDS):
        total = robust_moments(source, target, prior, motion, scale, moments)
        mean_s, mean_t, products = moments[0] / total, moments[1] / total, moments[2:] / total
        motion = rigid_of_moments(mean_s, mean_t, products - np.outer(mean_t, mean_s))
    return motion


def refine_pose(
    vertices: Floats,
    faces: Ints,
    scan: ScanTarget,
    scale_mm: float,
    min_cosine: float,
    weights: Floats | None = None,
) -> Floats:
    """(4, 4) small rigid motion that brings a registered shape (V, 3) onto its scan's surface.

    Point to plane (Chen and Medioni 1991), robust, a few Gauss-Newton steps.  With the shape known this is far more
    exact than the registration that found it: thousands of scan points take part, and no landmark.

    Args:
        weights: (V,) factor of each vertex' weight; None: 1.
    """
    from scipy.spatial.transform import Rotation

    motion = np.eye(4)
    step = max(1, len(vertices) // REFINEMENT_POINTS)
    normals = vertex_normals(vertices, faces)[::step]
    points = vertices[::step]
    share = np.ones(len(points)) if weights is None else weights[::step]
    if not share.all():
        normals, points, share = normals[share > 0], points[share > 0], share[share > 0]
    for _ in range(REFINEMENT_STEPS):
        now = transform(motion, points)
        found = scan.targets(now, normals @ motion[:3, :3].T, scale_mm, min_cosine, 4 * scale_mm)
        found = found._replace(weights=found.weights * share)
        if (found.weights > 0).sum() < 100:
            return np.eye(4)  # too few correspondences
        centre = now.mean(axis=0)
        rows = np.concatenate([np.cross(now - centre, found.normals), found.normals], axis=1)
        missing = ((found.points - now) * found.normals).sum(axis=1)
        normal = rows.T @ (rows * found.weights[:, None])
        x = np.linalg.solve(normal + 1e-9 * np.trace(normal) * np.eye(6), rows.T @ (found.weights * missing))
        update = np.eye(4)
        update[:3, :3] = Rotation.from_rotvec(x[:3]).as_matrix()
        update[:3, 3] = centre + x[3:] - update[:3, :3] @ centre
        motion = update @ motion
        if np.linalg.norm(transform(update, now) - now, axis=1).max() < CONVERGED_MM:
            break
    return motion
