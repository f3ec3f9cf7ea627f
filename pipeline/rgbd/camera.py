"""Pinhole cameras with the lens distortion of Brown and Conrady, as OpenCV, RealSense and Azure Kinect write them.

Axes are the camera's own: x to the right of its picture, y down, z away from it; mm.  A pixel (0, 0) is the middle of
the picture's first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.errors import InputError

COEFFICIENTS = (0, 5, 8)
"""How many numbers a distortion has: none, k1 k2 p1 p2 k3, or these and k4 k5 k6 of the rational model."""
_ROUNDS = 30
_CLOSE_PX = 0.05


@dataclass(frozen=True)
class Camera:
    """A camera's inner parameters.

    Attributes:
        width, height: of its picture, px.
        fx, fy, cx, cy: focal lengths and principal point, px.
        distortion: k1, k2, p1, p2, k3, and k4, k5, k6 of the rational model; or none.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    def project(self, points: Floats) -> Floats:
        """(n, 3) mm in the camera's axes -> (n, 2) px; NaN behind the camera, and where its distortion folds over."""
        z = np.where(points[:, 2] > 0, points[:, 2], np.nan)
        plane = points[:, :2] / z[:, None]
        bent, unfolded = self._bent(plane)
        bent[~unfolded] = np.nan
        return np.asarray(bent * [self.fx, self.fy] + [self.cx, self.cy])

    def shows(self, pixels: Floats) -> Bools:
        """(n,) whether places (n, 2) px lie between the middles of the picture's outermost pixels."""
        with np.errstate(invalid="ignore"):
            inside = (pixels >= 0) & (pixels <= [self.width - 1, self.height - 1])
        return np.asarray(inside[:, 0] & inside[:, 1])

    def rays(self) -> Floats:
        """(height, width, 3) directions through the middles of the pixels, with z = 1.

        NaN where no direction is seen at a pixel: beyond where the distortion folds over.
        """
        x, y = np.meshgrid(np.arange(self.width, dtype=np.float64), np.arange(self.height, dtype=np.float64))
        pixels = np.stack([x.ravel(), y.ravel()], axis=1)
        rays = np.ones((len(pixels), 3))
        rays[:, :2] = self.unbent(pixels)
        return rays.reshape(self.height, self.width, 3)

    def unbent(self, pixels: Floats) -> Floats:
        """(n, 2) px -> (n, 2) places in the plane z = 1, by fixed-point iteration; NaN where none is found."""
        seen = (pixels - [self.cx, self.cy]) / [self.fx, self.fy]
        if not self.distortion:
            return np.asarray(seen)
        plane = seen.copy()
        with np.errstate(all="ignore"):
            for _ in range(_ROUNDS):
                bent, _ = self._bent(plane)
                plane = plane + (seen - bent)
            bent, unfolded = self._bent(plane)
            off = np.abs((bent - seen) * [self.fx, self.fy]).max(axis=1)
            plane[~((off < _CLOSE_PX) & unfolded)] = np.nan
        return np.asarray(plane)

    def _bent(self, plane: Floats) -> tuple[Floats, Bools]:
        """Places in the plane z = 1 as the lens shows them, and where it is still one to one there."""
        if not self.distortion:
            return plane.copy(), np.ones(len(plane), bool)
        k1, k2, p1, p2, k3, k4, k5, k6 = (*self.distortion, 0.0, 0.0, 0.0)[:8]
        x, y = plane.T
        with np.errstate(all="ignore"):
            r2 = x * x + y * y
            over, under = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
            radial = over / under
            bent = np.stack(
                [
                    x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                    y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
                ],
                axis=1,
            )
            # d(r * radial) / dr: beyond its first zero another direction is seen at the same pixel
            d_over = r2 * (k1 + r2 * (2 * k2 + 3 * k3 * r2))
            d_under = r2 * (k4 + r2 * (2 * k5 + 3 * k6 * r2))
            slope = radial + 2 * (d_over - radial * d_under) / under
            return bent, np.asarray(np.isfinite(bent).all(axis=1) & (slope > 0) & (under > 0))


@dataclass(frozen=True)
class Pose:
    """A rigid motion: from one camera's axes to another's, mm.

    Attributes:
        rotation: (3, 3).
        translation: (3,) mm.
    """

    rotation: Floats
    translation: Floats

    @staticmethod
    def none() -> Pose:
        """The motion that moves nothing."""
        return Pose(np.eye(3), np.zeros(3))

    @staticmethod
    def checked(rotation: Floats, translation: Floats) -> Pose:
        """A pose by numbers that somebody wrote; what they are rounded by is made good.

        Raises:
            InputError: the rotation is none.
        """
        u, _, vt = np.linalg.svd(rotation)
        nearest = u @ vt
        if np.abs(nearest - rotation).max() > 0.01 or np.linalg.det(nearest) < 0:
            raise InputError(
                "these nine numbers are no rotation",
                seen=np.round(rotation, 4).tolist(),
                expected="three rows of length 1 at right angles, right-handed",
            )
        return Pose(np.asarray(nearest), translation)

    def __call__(self, points: Floats) -> Floats:
        """(..., 3) points moved."""
        return np.asarray(points @ self.rotation.T + self.translation)

    @property
    def inverse(self) -> Pose:
        """The way back."""
        return Pose(self.rotation.T, -self.rotation.T @ self.translation)

    def after(self, first: Pose) -> Pose:
        """First the other one, then this."""
        return Pose(self.rotation @ first.rotation, self(first.translation))
