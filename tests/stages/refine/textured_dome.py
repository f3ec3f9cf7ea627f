"""A small textured dome whose skin is known: every test's subject."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.template import Template

SIDE = 100.0
PIXELS = 512


def height(xy):
    """z of the dome, mm, at (..., 2) places in mm."""
    return 25 - 0.006 * (np.asarray(xy) ** 2).sum(-1)


def grid(n: int):
    """(x, y) in [0, 1] of a square of 2 n^2 triangles, and the triangles, facing +z."""
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1))
    i = (np.arange(n * n) // n) * (n + 1) + np.arange(n * n) % n
    faces = np.concatenate([np.stack([i, i + 1, i + n + 2], 1), np.stack([i, i + n + 2, i + n + 1], 1)])
    return np.stack([x.ravel(), y.ravel()], 1), faces.astype(np.int32)


def on_dome(xy):
    return np.concatenate([xy, height(xy)[..., None]], axis=-1)


def template(n: int = 24, digest: str = "") -> Template:
    uv, faces = grid(n)
    vertices = on_dome((uv - 0.5) * SIDE)
    # texture coordinates keep off the border, so that a vertex displaced outwards still has data around it
    # landmarks all over the dome, as a face has them
    marked = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)[n // 6 :: n // 3, n // 6 :: n // 3].ravel()
    return Template(
        vertices, faces, 0.1 + 0.8 * uv, faces, tuple(f"p{k}" for k in range(len(marked))),
        np.repeat(marked[:, None], 3, axis=1), np.tile([1.0, 0, 0], (len(marked), 1)),
        digest=digest or f"dome-{n}",
    )  # fmt: skip


def skin(seed: int = 0):
    """(PIXELS, PIXELS, 3) uint8 photograph, straight from above, of the square of 1.3 SIDE around the dome."""
    rng = np.random.default_rng(seed)
    layers = ((2, 1), (5, 2), (14, 3))
    total = sum(a * s * gaussian_filter(rng.normal(size=(PIXELS, PIXELS)), s) for s, a in layers)
    grey = 60 + 140 * (total - total.min()) / np.ptp(total)
    return np.clip(grey[..., None] * [1.0, 0.8, 0.7], 0, 255).astype(np.uint8)


def scan(n: int = 61, flow=None) -> Mesh:
    """The dome as a scanner has it: its own triangles, larger than the template; uv = where the skin lies.

    Args:
        flow: (..., 2) -> (..., 2) mm: the skin that lay at p has moved along to p + flow(p).
    """
    uv, faces = grid(n)
    xy = (uv - 0.5) * 1.3 * SIDE
    home = xy.copy()
    for _ in range(8 if flow else 0):
        home = xy - flow(home)
    return Mesh(on_dome(xy), faces, home / (1.3 * SIDE) + 0.5, faces)


def wave(xy, amplitude: float = 1.5):
    """A smooth tangential displacement of the skin, mm."""
    xy = np.asarray(xy)
    return amplitude * np.stack([np.sin(xy[..., 1] / 25), np.cos(xy[..., 0] / 30)], axis=-1)


def photograph_with_noise(seed: int, sigma: float = 2.0):
    rng = np.random.default_rng(seed)
    return np.clip(skin() + rng.normal(scale=sigma, size=(PIXELS, PIXELS, 1)), 0, 255).astype(np.uint8)


def resampled(image, factor: float):
    """An image whose smooth shading differs: a stand-in for another light."""
    row, column = np.mgrid[: image.shape[0], : image.shape[1]] / image.shape[0]
    gain = 1 + factor * (column - 0.5) + factor * (row - 0.5)
    return np.clip(map_coordinates(gain, np.indices(gain.shape), order=1)[..., None] * image, 0, 255).astype(
        np.uint8
    )
