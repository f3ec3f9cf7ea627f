"""Multi-view consensus: from the points detected in several rendered views of one head to one place per point.

The idea is that of Paulsen et al. 2018, "Multi-view Consensus CNN for 3D Facial Landmark Placement"; here each view's
points are lifted to the scan first (views.py), and their robust mean is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.stages.landmarks.pose import head_pose
from mimicme.stages.landmarks.views import View, face_width

ROBUST_MM = 1.0  # scale of the robust mean: views that disagree by more count less
TRUST_MM = 1.5  # a point whose views disagree by more says little of the head's pose


@dataclass(frozen=True)
class Consensus:
    """The consensus of several views.

    Attributes:
        points: (478, 3) mm, scan frame.
        spread: (478,) mm, weighted distance of the views' points from it.
        support: (478,) views that see the point, each counted by how squarely.
    """

    points: Floats
    spread: Floats
    support: Floats

    @cached_property
    def pose(self) -> Floats:
        """(4, 4) of the head, head -> scan."""
        return head_pose(self.points, 0.02 + self.support / (1 + (self.spread / TRUST_MM) ** 2))

    @cached_property
    def width_mm(self) -> float:
        """How wide pictures of this face should be."""
        return face_width(self.points)


def consensus_of(views: Sequence[View]) -> Consensus:
    """The robust mean of the lifted points: iteratively reweighted (pseudo-Huber), those seen frontally count most."""
    points = np.stack([v.points for v in views])
    seen = np.stack([v.seen for v in views])
    cosine = np.stack([v.cosine for v in views])
    support = np.where(seen, np.clip(cosine, 0.05, 1) ** 2, 0.0)
    weights = np.maximum(support, 0.02)
    mean = np.einsum("vk,vkx->kx", weights / weights.sum(0), points)
    for _ in range(10):
        far = np.linalg.norm(points - mean, axis=2)
        w = weights / np.sqrt(1 + (far / ROBUST_MM) ** 2)
        w = w / w.sum(0)
        mean = np.einsum("vk,vkx->kx", w, points)
    far = np.linalg.norm(points - mean, axis=2)
    return Consensus(mean, np.sqrt((w * far**2).sum(0)), support.sum(0))
