"""Shade: the part of a picture's brightness that the surface's shape explains, taken out of it.

Beside the root of the nose and under a brow skin is dark because it lies deep and faces away, and a path that follows
what is dark goes on into it.  The scan knows its shape: the logarithm of brightness is fitted by the normals, up to the
second order, which holds nearly all of diffuse light (Basri and Jacobs 2003, "Lambertian reflectance and linear
subspaces"), and by how far a place lies behind what is around it, which is where less light arrives (ambient occlusion
from the depth buffer, as Luft, Colditz and Deussen 2006).  Hair, and whatever else is darker than its shape explains,
counts little in the fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.formats.image import opencv

BLACK = 8.0  # added to brightness, of 255: what is nearly black has no contrast
LEVEL = 1.0  # added before a ratio of colours: more would make what is dark greyer
SMOOTH_MM = 1.2  # of the depth, before its slope is taken
AROUND_MM = (3.0, 6.0, 12.0)  # widths (standard deviations) of the surroundings that a place may lie behind
LEAST_FACING = 0.3  # cosine to the camera's direction of what the fit may use
EVERY = 8  # pixel in the fit
ROUNDS = 6
RIDGE = 1e-4  # of a term's square against a pixel's
NOISE = 0.02  # least scale of the fit's residuals
DARKER, LIGHTER = 1.5, 3.0  # residuals of so many scales count a quarter: what is darker than skin is hair


def unshaded(
    picture: NDArray[np.float32], depth: NDArray[np.float32], skin: Bools, pixels_per_mm: float
) -> NDArray[np.float32]:
    """(h, w) the logarithm of brightness less what the surface's shape explains of it: about 0 on skin.

    As it is, less its median, where too little skin is seen for a fit.

    Args:
        picture: (h, w, 3) RGB in [0, 255].
        depth: (h, w) mm towards the camera, NaN where no surface is seen.
        skin: (h, w) True where the fit may look; not on eyes.
    """
    brightness = np.log(picture.mean(axis=2) + BLACK).astype(np.float32)
    terms, facing = _terms(depth, pixels_per_mm)
    used = skin & np.isfinite(depth) & (facing > LEAST_FACING)
    if used.sum() < 10 * EVERY * terms.shape[-1]:
        return brightness - (np.median(brightness[used]) if used.any() else np.float32(0.0))
    known, wanted = terms[used][::EVERY], brightness[used][::EVERY].astype(np.float64)
    ridge = np.diag(np.r_[0.0, np.ones(known.shape[1] - 1)]) * RIDGE * len(known)
    weights = np.ones(len(known))
    for _ in range(ROUNDS):
        weighted = known * weights[:, None]
        light = np.linalg.solve(known.T @ weighted + ridge, weighted.T @ wanted)
        off = wanted - known @ light
        scale = 1.5 * float(np.median(np.abs(off))) + NOISE
        weights = 1 / (1 + (off / (np.where(off < 0, DARKER, LIGHTER) * scale)) ** 2) ** 2
    return np.asarray(brightness - terms @ light, np.float32)


def hue_of(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h, w, 2) the natural logarithms of red over green and of green over blue of a picture (h, w, 3) RGB in [0, 255],
    which shade leaves as they are."""
    light = np.log(picture + LEVEL)
    return np.asarray(light[..., :2] - light[..., 1:], np.float32)


def _terms(depth: NDArray[np.float32], pixels_per_mm: float) -> tuple[Floats, Floats]:
    """Terms (h, w, k) of the fit, the first constant, and the cosine (h, w) of surface and camera; 0 off the scan."""
    cv2 = opencv()
    there = np.isfinite(depth).astype(np.float32)
    plane = np.where(there > 0, depth, 0).astype(np.float32)

    def around(width_mm: float) -> Floats:
        mean, share = (cv2.GaussianBlur(x, (0, 0), width_mm * pixels_per_mm) for x in (plane, there))
        return np.asarray(mean / np.maximum(share, 1e-3), np.float64)

    smooth = around(SMOOTH_MM)
    down, right = (slope * pixels_per_mm for slope in np.gradient(smooth))
    facing = 1 / np.sqrt(1 + down**2 + right**2)
    x, y = -right * facing, -down * facing
    behind = [around(width) - smooth for width in AROUND_MM]
    terms = [np.ones_like(x), x, y, facing, x * x, y * y, x * y]
    terms += [*behind, *(np.maximum(b, 0) for b in behind)]
    return np.stack(terms, axis=-1), np.where(there > 0, facing, 0.0)
