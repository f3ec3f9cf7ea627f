"""The subject's reference: the robust mean of several registrations of one neutral face, in the neutral's texture.

Making every frame agree with one registered neutral would hand that neutral's own errors - its landmarks', its
fit's - to all of them.  But every near-neutral frame of the subject's sequences is a registration of the same skin with
errors of its own, and optical flow says where on the neutral's skin each of them put every vertex.  The reference is
the robust mean of these places, near landmarks.  There the errors are independent from frame to frame and average out;
far from all landmarks a frame starts as the neutral and is displaced away from it along the surface, frames of one
expression after the other alike, so that there the mean is worse than the neutral itself: ears, neck and temples stay
where it has them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.mesh import vertex_normals

SPREAD_MM = 0.6
"""Least scale of the robust mean: distance from it at which a frame's weight is one half."""
ROUNDS = 5
BLOCK = 4096
LANDMARK_REACH_MM = 20.0
"""Distance from the nearest landmark at which the frames' weight has fallen to 1 / e.  Measured on five people:
what the mean gains ends between 15 and 20 mm, and what it can lose begins there."""


def nearest_to_neutral(
    vertices: Floats, neutral: Floats, faces: Ints, rows: list[int], count: int
) -> list[int]:
    """The `count` of `rows` whose registered shape is nearest to the neutral's, nearest first.

    Neighbours in time were registered from each other and share their errors, so those chosen stand apart in time where
    there are enough.  Distances are measured along the normals: frames that were registered with the same tangential
    error as the neutral are not to be preferred.

    Args:
        vertices: (F, V, 3) canonical, mm; neutral: (V, 3); faces: (T, 3).
    """
    normals = vertex_normals(neutral, faces)
    distance = {row: float(np.abs(((vertices[row] - neutral) * normals).sum(1)).mean()) for row in rows}
    nearest = sorted(rows, key=lambda row: (distance[row], row))
    apart = len(rows) // (2 * count) if count else 0
    chosen: list[int] = []
    for row in nearest:
        if len(chosen) < count and all(abs(row - other) > apart for other in chosen):
            chosen.append(row)
    chosen += [row for row in nearest if row not in chosen][: count - len(chosen)]
    return chosen


def landmark_weights(vertices: Floats, landmarks: Floats) -> Floats:
    """(V,) in [0, 1] weight of the frames' mean at the template's vertices (V, 3), mm: a Gaussian of the distance to
    the nearest landmark.

    Args:
        landmarks: (L, 3) on the template; rows that are not finite are left out.
    """
    known = landmarks[np.isfinite(landmarks).all(axis=1)]
    if not len(known):
        return np.ones(len(vertices))
    distance = cKDTree(known).query(vertices)[0]
    return np.asarray(np.exp(-((distance / LANDMARK_REACH_MM) ** 2)))


def robust_mean(offsets: Sequence[Floats]) -> Floats:
    """(V, 3) robust mean of F offsets (V, 3): an M-estimator of location, vertex by vertex.

    Begins with the median; then iteratively reweighted means with the Cauchy weight 1 / (1 + (r / s)^2).  All vertices
    have one scale s: twice the median distance from the median, but at least `SPREAD_MM`, so that frames that all
    differ a lot keep their weights.
    """
    middle = np.empty_like(offsets[0])
    distance = np.empty((len(offsets), len(middle)))
    # a few thousand vertices at a time: all at once would take four times the memory of the offsets
    parts = [slice(start, start + BLOCK) for start in range(0, len(middle), BLOCK)]
    for part in parts:
        here = np.stack([offset[part] for offset in offsets])
        middle[part] = np.median(here, axis=0)
        distance[:, part] = np.linalg.norm(here - middle[part], axis=2)
    spread = max(SPREAD_MM, 2 * float(np.median(distance, overwrite_input=True)))
    for part in parts:
        here = np.stack([offset[part] for offset in offsets])
        for _ in range(ROUNDS):
            squared = ((here - middle[part]) ** 2).sum(axis=2, keepdims=True)
            weight = 1 / (1 + squared / spread**2)
            middle[part] = (weight * here).sum(axis=0) / weight.sum(axis=0)
    return middle
