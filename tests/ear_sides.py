"""Helper: both sides of a head, each with an ear of a relief that is known everywhere."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.geometry.mesh import vertex_normals

SIDE_MM = 70.0


def relief(y, z):
    """mm that an ear, 60 by 36 mm, stands off the side of a head: rim, inner fold, tragus in front, lobe below."""
    r = np.hypot(y / 30, z / 18)
    turn = np.arctan2(z / 18, y / 30)
    rim = 13 * np.exp(-(((r - 0.85) / 0.22) ** 2)) * (1 - 0.55 * np.exp(-(((turn - 1.6) / 0.6) ** 2)))
    fold = 6 * np.exp(-(((r - 0.45) / 0.15) ** 2)) * np.exp(-(((turn + 1.2) / 0.8) ** 2))
    tragus = 7 * np.exp(-(((y + 4) / 5) ** 2) - ((z - 14) / 4) ** 2)
    lobe = 5 * np.exp(-(((y + 29) / 6) ** 2) - ((z - 4) / 8) ** 2)
    return rim + fold + tragus + lobe


def side(spacing, place=(0.0, 0.0), size=1.0, longer=1.0, jitter=0):
    """Vertices and triangles of both sides of a head; each ear so far up and forth, and so much larger and longer."""
    rng = np.random.default_rng(jitter)
    y, z = np.meshgrid(np.arange(-75, 75, spacing), np.arange(-65, 65, spacing), indexing="ij")
    wide = np.stack([y.ravel(), z.ravel()], 1)
    if jitter:
        wide = wide + rng.uniform(-0.3, 0.3, wide.shape) * spacing
    k = np.arange(y.size).reshape(y.shape)
    a, b, c, d = (q.ravel() for q in (k[:-1, :-1], k[:-1, 1:], k[1:, :-1], k[1:, 1:]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    u, w = (wide - place).T
    out = SIDE_MM - 0.002 * (wide**2).sum(axis=1) + size * relief(u / (size * longer), w / size)
    right = np.column_stack([out, wide])
    left = right * [-1, 1, 1]
    normals = vertex_normals(right, faces.astype(np.int32))
    faces = faces if normals[:, 0].mean() > 0 else faces[:, ::-1]
    both = np.concatenate([left, right])
    return both, np.concatenate([faces[:, ::-1], faces + len(left)]).astype(np.int32)
