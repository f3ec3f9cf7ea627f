"""What a frame is fitted to: its scan by correspondences, its landmarks, and what holds lips and lids together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.stages.register.levels import Level
from mimicme.stages.register.solver import Landmarks
from mimicme.stages.register.targets import ClosestPoints, ScanTarget


@dataclass(frozen=True)
class FitTarget:
    """What the template is fitted to in one frame.

    Attributes:
        scan: the surface.
        landmarks: (l, 3) mm; any finite value where the weight is 0.
        weights: (l,) mm^2; 0 = absent.
        skin: (V,) factor of the correspondences' weights, less than 1 where the scan shows what is not skin
            (`skin.weights_of`); None where nothing is known of that.
        held: what holds the coarse level besides: of a frame the person's own forehead (forehead.py), of a neutral that
            takes on the person's proportions its found chin (found_chin.py); None of other neutrals.
    """

    scan: ScanTarget
    landmarks: Floats
    weights: Floats
    skin: Floats | None = None
    held: Landmarks | None = None

    def skin_of(self, level: Level) -> Floats | None:
        """(n,) that factor at the vertices of a level."""
        return None if self.skin is None else self.skin[level.index]


class Correspondences(NamedTuple):
    """Vertices (n, 3) of a shape, mm, their unit normals (n, 3), and their closest points on a scan, none rejected
    yet."""

    vertices: Floats
    normals: Floats
    closest: ClosestPoints

    @classmethod
    def of(
        cls, level: Level, vertices: Floats, scan: ScanTarget, reach_mm: float = np.inf
    ) -> Correspondences:
        """Those of a shape of a level, within reach."""
        return cls(vertices, vertex_normals(vertices, level.faces), scan.closest_points(vertices, reach_mm))


def landmarks_of(level: Level, fit_target: FitTarget) -> Landmarks:
    """Those of a frame on a level."""
    return Landmarks(level.landmarks, fit_target.landmarks, fit_target.weights)


def coarse_landmarks_of(level: Level, fit_target: FitTarget) -> Landmarks:
    """Those of the coarse level, and what is held there."""
    landmarks = landmarks_of(level, fit_target)
    return landmarks if fit_target.held is None else joined(landmarks, fit_target.held)


def joined(
    landmarks: Landmarks,
    more: Landmarks,
    shape: Floats | None = None,
    prolong: sparse.csr_matrix | None = None,
    coarse: Floats | None = None,
) -> Landmarks:
    """Landmarks with more of them, which are the template's own; for the coarse level through what carries a field
    from there, `shape` (V, 3) being what the `coarse` shape (n, 3) stands for."""
    if not len(more.weights):
        return landmarks
    rows, points = more.matrix, more.points
    if prolong is not None and shape is not None and coarse is not None:
        points = points - rows @ shape
        rows = rows @ prolong
        points = points + rows @ coarse
    return Landmarks(
        sparse.vstack([landmarks.matrix, rows], format="csr"),
        np.concatenate([landmarks.points, points]),
        np.concatenate([landmarks.weights, more.weights]),
    )
