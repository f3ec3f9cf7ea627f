"""The relief of an ear - helix, concha, lobe - brought onto the scan as a smooth motion, once the ear is in its place.

Ears differ in more than place, size and stretch, and where they do, the closest point of one ridge is often the flank
of another.  Here the whole ear moves at once: its motion is a Gaussian process (Luethi, Gerig, Jud and Vetter 2018), as
smooth and as large as ears differ, and what a point is drawn to is the scan's closest *compatible* point (Pulli 1999),
near in place and in normal: that of a ridge lies on a ridge, and on the same side of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.stages.register.targets import ScanTarget

SPREAD_MM, LENGTH_MM = 5.0, 22.0
"""Standard deviation and correlation length of how ears differ beyond place, size and stretch: in their parts, of an
ear that is some 60 mm long and 35 mm wide.  Ears grow by some 9 mm from 35 to 75 years, lobes the most (Heathcote 1995;
Sforza et al. 2009), so that a lobe is several millimetres lower; what is shorter or smaller does not reach that.  On 32
ears of four people of `mimicme synth`, as they are, 4 and 9 mm longer and 4 mm shorter, mostly at the lobe, 2 and 14 mm
leave 0.78 mm of 2.4, 3 and 14 mm 0.71, 4 and 14 mm 0.70, 5 and 22 mm 0.59; on those that are as they were 0.50, 0.49,
0.49 and 0.49."""
LEAST_MODE = 1e-3
"""Share of the variance of the largest mode below which a mode is left out."""
NORMAL_MM = 6.0
"""Distance that one unit of difference between normals counts as: about the width of the helix.  3 and 10 mm do as
well, on ten ears of `mimicme synth` made other people's, with 2 and 14 mm above."""
ALONG = 0.02
"""Weight of the distance along the surface, in that across it: a compatible point is the right one only about.  0.1 and
0.3 leave 0.85 and 0.92 mm on these ten ears, 0.02 leaves 0.81."""
ANNEALED_MM = (3.0, 2.0, 1.5, 1.0, 1.0, 1.0)
"""Residual scales of the steps."""
REACH_MM, LEAST_COSINE = 8.0, 0.6
"""Correspondences that are farther, or whose normals have a smaller cosine, are rejected."""
AROUND_MM = 15.0
"""Of the scan, so much around the ear is looked at."""
INDEPENDENT, NOISE_MM = 60.0, 0.5
"""An ear counts as so many independent observations of such a standard deviation: neighbours' residuals are alike.  1
mm leaves 0.93 mm on these ten ears, 0.3 mm 0.86 and 0.5 mm 0.85."""
LEAST_PULL = 1e-3
"""An ear of which a smaller share has correspondences, by area and weight, is not moved further."""


@dataclass(frozen=True)
class Relief:
    """A motion of an ear, points (k, 3), mm, with unit normals (k, 3): by weights (k, 3) of the kernels about them."""

    points: Floats
    normals: Floats
    weights: Floats

    def turned(self) -> Floats:
        """(k, 3) the points' unit normals, as the motion turns them."""
        points = self.points
        apart = points[:, None, :] - points[None, :, :]
        gradient = np.einsum("kj,kjy,jx->kxy", _kernel(points, points), apart, self.weights, optimize=True)
        jacobian = np.eye(3) - gradient / LENGTH_MM**2
        turned = np.linalg.solve(jacobian.transpose(0, 2, 1), self.normals[:, :, None])[:, :, 0]
        return np.asarray(turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12))

    def at(self, places: Floats) -> Floats:
        """(n, 3) the motion at places (n, 3), which goes to nothing away from the ear."""
        return np.asarray(_kernel(places, self.points) @ self.weights)


class Compatible:
    """The scan around an ear, by place and normal.

    Args:
        scan: the scan; points: (k, 3) of the ear, mm, around which it is looked at.
    """

    def __init__(self, scan: ScanTarget, points: Floats) -> None:
        from scipy.spatial import cKDTree

        low, high = points.min(axis=0) - AROUND_MM, points.max(axis=0) + AROUND_MM
        near = np.flatnonzero(((scan.vertices > low) & (scan.vertices < high)).all(axis=1))
        self.points, self.normals = scan.vertices[near], scan.normals[near]
        self._boundary = scan.boundary[near]
        self._tree = cKDTree(np.hstack([self.points, NORMAL_MM * self.normals]))

    def targets(self, points: Floats, normals: Floats, scale_mm: float) -> tuple[NDArray[np.int64], Floats]:
        """Of points (k, 3) with unit normals (k, 3) the closest compatible ones, (k,), and their weights (k,)."""
        if not len(self.points):
            return np.zeros(len(points), np.int64), np.zeros(len(points))
        found = self._tree.query(np.hstack([points, NORMAL_MM * normals]))[1]
        distance = np.linalg.norm(self.points[found] - points, axis=1)
        cosine = np.einsum("kx,kx->k", self.normals[found], normals)
        valid = (cosine > LEAST_COSINE) & (distance < REACH_MM) & ~self._boundary[found]
        return found, valid / (1 + (distance / scale_mm) ** 2) ** 2


def relieved(points: Floats, normals: Floats, areas: Floats, scan: ScanTarget) -> Relief | None:
    """What brings an ear's points (k, 3), with unit normals (k, 3), onto a scan; None where nothing is near them.

    Args:
        areas: (k,) their shares of the ear's area, less where the scan is not skin.
    """
    near = Compatible(scan, points)
    variances, vectors = np.linalg.eigh(_kernel(points, points))
    use = variances > LEAST_MODE * variances[-1]
    modes = vectors[:, use] * np.sqrt(variances[use])
    to_weights = vectors[:, use] / np.sqrt(variances[use])
    count = modes.shape[1]
    turned, found = normals, None
    for scale in ANNEALED_MM:
        now = points if found is None else points + found.at(points)
        index, weights = near.targets(now, turned, scale)
        if areas @ weights < LEAST_PULL:
            break
        planes = near.normals[index]
        # of each point, the inverse covariance of what it misses: (1 - ALONG) n n' + ALONG I
        metric = (1 - ALONG) * planes[:, :, None] * planes[:, None, :] + ALONG * np.eye(3)
        metric *= (areas * weights * (INDEPENDENT / NOISE_MM**2))[:, None, None]
        weighted = np.einsum("ka,kxy->kaxy", modes, metric)
        normal = np.einsum("kaxy,kb->axby", weighted, modes, optimize=True).reshape(3 * count, 3 * count)
        right = np.einsum("kaxy,ky->ax", weighted, near.points[index] - points, optimize=True).ravel()
        coefficients = np.linalg.solve(normal + np.eye(3 * count), right).reshape(count, 3)
        found = Relief(points, normals, to_weights @ coefficients)
        turned = found.turned()
    return found


def _kernel(a: Floats, b: Floats) -> Floats:
    """(n, k) covariance of the motions of places (n, 3) and (k, 3), mm^2."""
    from scipy.spatial.distance import cdist

    return np.asarray(SPREAD_MM**2 * np.exp(-cdist(a, b, "sqeuclidean") / (2 * LENGTH_MM**2)))
