"""Synthetic skin, one albedo texture a subject: a cylindrical map of tone, blotches, freckles, lips, brows,
eyes and hair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.synth.people import Rig
from mimicme.pipeline.arrays import Floats

# sRGB tones of unlit skin, from light to dark
TONES = ((226, 178, 154), (205, 148, 116), (168, 112, 82), (122, 76, 54), (88, 56, 44))
# the dark ones first: they go with every tone
HAIR = ((52, 38, 30), (28, 24, 24), (112, 80, 48), (140, 110, 74), (92, 52, 34))
IRIS = ((84, 58, 36), (74, 96, 70), (84, 112, 140), (50, 38, 30))
MOUTH = (96, 40, 40)
HALF_ANGLE_DEG = 125.0


@dataclass(frozen=True)
class Skin:
    """The appearance of one subject.

    Attributes:
        albedo: (h, w, 3) float32 in [0, 255], row 0 at the top of the head.
        uv: (V, 2) float64 where each template vertex lies in it, v up.
        hair: (3,) colour; waves: (3,) phases of the hair line.
    """

    albedo: NDArray[np.float32]
    uv: Floats
    hair: Floats
    waves: Floats


def cylinder_uv(rig: Rig) -> Floats:
    """(V, 2) in [0, 1]: angle around and height along an upright axis through the head."""
    v = rig.template.vertices
    points = v[rig.landmarks]
    axis_z = 0.5 * (points[0, 2] + points[16, 2])
    axis_x = points[27:31, 0].mean()
    angle = np.degrees(np.arctan2(v[:, 0] - axis_x, np.maximum(v[:, 2] - axis_z, -60.0) + 1e-9))
    low, high = v[:, 1].min(), v[:, 1].max()
    return np.stack(
        [
            np.clip(angle / (2 * HALF_ANGLE_DEG) + 0.5, 0, 1),
            0.02 + 0.96 * (v[:, 1] - low) / max(high - low, 1e-9),
        ],
        axis=1,
    )


def make_skin(rig: Rig, rng: np.random.Generator, height: int = 1024) -> Skin:
    """Paint a face; the brush strokes follow the landmarks, the rest is coloured noise."""
    from PIL import Image, ImageDraw, ImageFilter
    from scipy.ndimage import gaussian_filter

    uv = cylinder_uv(rig)
    v = rig.template.vertices
    tall = float(np.ptp(v[:, 1])) / 0.96  # mm
    width = int(round(1.5 * height))
    per_mm = height / tall  # upright; around the head it is about the same
    tone = int(rng.integers(len(TONES)))
    base = np.array(TONES[tone], np.float64) * rng.uniform(0.92, 1.06)
    image = np.ones((height, width, 3), np.float64) * base

    # blotches down to pores, as one field of noise per size; small sizes are what optical flow can hold on to
    for size_mm, amount in ((14.0, 0.03), (3.5, 0.022), (1.0, 0.03), (0.35, 0.05)):
        noise = _noise(rng, height, width, size_mm * per_mm)
        image *= 1 + amount * noise[..., None] * np.array([0.7, 1.0, 1.05])
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    marks = _pixels(uv[rig.landmarks], height, width)

    def flush(where: Floats, radius_mm: float, color: Floats, strength: float) -> None:
        square = ((x - where[0]) ** 2 + (y - where[1]) ** 2) / (radius_mm * per_mm) ** 2
        image[:] += (color - image) * (strength * np.exp(-square))[..., None]

    red = base * [1.02, 0.80, 0.78]
    for i in (69, 70):  # cheeks
        flush(_pixels(uv[rig.handles[[i]]], height, width)[0], 17.0, red, 0.5)
    flush(marks[30], 9.0, red, 0.45)
    for _ in range(160):
        _freckle(image, rng, per_mm)

    def paint(draw_on: Any, color: Floats, blur_mm: float, strength: float, rough: float = 0.0) -> None:
        layer = Image.new("L", (width, height), 0)
        draw_on(ImageDraw.Draw(layer))
        alpha = (
            np.asarray(layer.filter(ImageFilter.GaussianBlur(blur_mm * per_mm)), np.float64) / 255 * strength
        )
        if rough:
            alpha = np.clip(alpha * (1 + rough * hairs), 0, 1)
        image[:] += (color - image) * alpha[..., None]

    hairs = gaussian_filter(rng.normal(size=(height, width)), (2.2, 0.6))
    hairs /= hairs.std()
    hair = np.array(HAIR[rng.integers(len(HAIR) if tone < 2 else 2)], np.float64)
    outline = [tuple(p) for p in marks]
    paint(lambda d: d.polygon(outline[48:60], fill=255), base * [0.86, 0.56, 0.58], 0.7, 0.8)
    brow_px = max(2, round(rng.uniform(4.0, 6.5) * per_mm))
    for part in (slice(17, 22), slice(22, 27)):
        points = outline[part]
        paint(lambda d, p=points: d.line(p, fill=255, width=brow_px, joint="curve"), hair, 0.9, 0.8, 0.35)
    iris = np.array(IRIS[rng.integers(len(IRIS))], np.float64)
    for part in (slice(36, 42), slice(42, 48)):
        eye = outline[part]
        paint(lambda d, p=eye: d.polygon(p, fill=255), np.array([226.0, 220.0, 214.0]), 0.25, 0.95)
        centre = marks[part].mean(axis=0)
        # the opening of the eye masks the iris
        lid = Image.new("L", (width, height), 0)
        ImageDraw.Draw(lid).polygon(eye, fill=255)
        open_eye = np.asarray(lid.filter(ImageFilter.GaussianBlur(0.3 * per_mm)), np.float64) / 255
        for radius_mm, color in ((5.6, iris), (2.4, np.array([18.0, 16.0, 16.0]))):
            far = np.hypot(x - centre[0], y - centre[1]) / per_mm
            alpha = np.clip((radius_mm - far) / 0.5 + 0.5, 0, 1) * open_eye
            image[:] += (color - image) * alpha[..., None]
        lash = [*eye[:4]]
        paint(lambda d, p=lash: d.line(p, fill=255, width=max(1, round(1.1 * per_mm))), hair * 0.5, 0.3, 0.85)
        rim = [*eye[3:], eye[0]]
        paint(lambda d, p=rim: d.line(p, fill=255, width=max(1, round(0.7 * per_mm))), base * 0.55, 0.4, 0.5)
    image = np.clip(image, 4, 250)
    return Skin(image.astype(np.float32), uv, hair, rng.uniform(0, 2 * np.pi, 3))


def _noise(rng: np.random.Generator, height: int, width: int, sigma_px: float) -> Floats:
    """Smooth noise (height, width) of unit spread; coarse ones are made small and enlarged."""
    from scipy.ndimage import gaussian_filter, zoom

    step = max(1, int(sigma_px / 3))
    small = rng.normal(size=(-(-height // step) + 4, -(-width // step) + 4))
    field = gaussian_filter(small, sigma_px / step)
    if step > 1:
        field = zoom(field, step, order=1)
    field = field[:height, :width]
    return np.asarray(field / field.std())


def _freckle(image: Floats, rng: np.random.Generator, per_mm: float) -> None:
    height, width = image.shape[:2]
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    radius = rng.uniform(0.3, 0.9) * per_mm
    strength = rng.uniform(0.15, 0.5)
    reach = int(np.ceil(2.5 * radius))
    rows = slice(max(0, int(y) - reach), min(height, int(y) + reach + 1))
    cols = slice(max(0, int(x) - reach), min(width, int(x) + reach + 1))
    yy, xx = np.mgrid[rows, cols]
    spot = np.exp(-((xx + 0.5 - x) ** 2 + (yy + 0.5 - y) ** 2) / radius**2)
    image[rows, cols] *= 1 - strength * spot[..., None] * np.array([0.7, 1.0, 1.0])


def _pixels(uv: Floats, height: int, width: int) -> Floats:
    return np.stack([uv[:, 0] * width, (1 - uv[:, 1]) * height], axis=1)
