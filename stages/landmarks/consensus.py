"""From the views of one head to one place per point, and to the pose of the head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mimicme.pipeline.mesh import Floats
from mimicme.stages.landmarks.views import View

# Pairs of MediaPipe points that a mirror exchanges and no expression moves much: eye corners, nostrils, brows.
_ACROSS = ((33, 263), (133, 362), (98, 327), (70, 300), (107, 336))
_EYE_CORNERS, _NOSE_BASE = [33, 133, 362, 263], [98, 2, 327]
# The line from nose base to eyes leans back by this much on a head held straight.
LEAN_DEG = 14.0
AGREE_MM = 3.0  # views that disagree by more count less


class Agreed(NamedTuple):
    """What the views agree on.

    Attributes:
        points: (478, 3) mm, scan frame.
        spread: (478,) mm, weighted distance of the views' points from it.
        support: (478,) views that see the point, each counted by how squarely.
    """

    points: Floats
    spread: Floats
    support: Floats


def agree(views: Sequence[View]) -> Agreed:
    """The robust mean of the lifted points: squarely seen ones first, those that disagree hardly at all."""
    points = np.stack([v.points for v in views])
    seen = np.stack([v.seen for v in views])
    cosine = np.stack([v.cosine for v in views])
    support = np.where(seen, np.clip(cosine, 0.05, 1) ** 2, 0.0)
    weights = np.maximum(support, 0.02)
    mean = np.einsum("vk,vkx->kx", weights / weights.sum(0), points)
    for _ in range(10):
        far = np.linalg.norm(points - mean, axis=2)
        w = weights / (1 + (far / AGREE_MM) ** 2)
        w = w / w.sum(0)
        mean = np.einsum("vk,vkx->kx", w, points)
    far = np.linalg.norm(points - mean, axis=2)
    return Agreed(mean, np.sqrt((w * far**2).sum(0)), support.sum(0))


def head_pose(points: Floats) -> Floats:
    """(4, 4) pose of the head with the 478 points (478, 3): head -> their frame, x to the subject's left, y up.

    From eye corners and nose alone: a pose must not move with the mouth.
    """
    across = np.sum([points[b] - points[a] for a, b in _ACROSS], axis=0)
    x = across / max(float(np.linalg.norm(across)), 1e-12)
    eyes, base = points[_EYE_CORNERS].mean(axis=0), points[_NOSE_BASE].mean(axis=0)
    y = (eyes - base) - ((eyes - base) @ x) * x
    y = y / max(float(np.linalg.norm(y)), 1e-12)
    z = np.cross(x, y)
    lean = np.radians(LEAN_DEG)
    up, out = y * np.cos(lean) + z * np.sin(lean), z * np.cos(lean) - y * np.sin(lean)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([x, up, out], axis=1)
    pose[:3, 3] = (eyes + base) / 2
    return pose
