"""Several views of one moment: one surface, as smooth as it was, cut where depth jumps."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import triangle_normals
from mimicme.pipeline.rgbd.camera import Camera, Pose
from mimicme.pipeline.rgbd.fusion import fuse
from mimicme.pipeline.rgbd.surface import DepthSurface

RADIUS, AWAY = 80.0, 450.0
BENT = (0.05, -0.08, 0.0004, -0.0003, 0.01)


def looked_at(distortion=()):
    """A ball as a camera before it sees it, without noise."""
    camera = Camera(320, 240, 280.0, 280.0, 161.0, 118.0, distortion)
    rays = camera.rays()
    a, b = (rays**2).sum(axis=2), -2 * AWAY * rays[..., 2]
    inner = b**2 - 4 * a * (AWAY**2 - RADIUS**2)
    depth = np.where(inner > 0, (-b - np.sqrt(np.maximum(inner, 0))) / (2 * a), np.nan)
    nothing = np.zeros(depth.shape, bool)
    return DepthSurface(camera, depth, rays, np.zeros((0, 3), np.int32), nothing, 0.0, 0.0, AWAY / 280)


def beside(angle_deg):
    """From a camera that looks at the ball from so far aside to the axes of the one before it."""
    a = np.radians(angle_deg)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    middle = np.array([0, 0, AWAY])
    return Pose(turn, middle - turn @ middle)


@pytest.mark.parametrize("distortion", [(), BENT])
def test_a_ball_of_two_views_has_no_terraces(distortion):
    surface = looked_at(distortion)
    vertices, faces = fuse([surface, surface], [beside(0), beside(40)], "ball")
    out = vertices - [0, 0, AWAY]
    off = np.abs(np.linalg.norm(out, axis=1) - RADIUS)
    # pixels are 1.6 mm apart; by the nearest pixel's depth these were 0.45 and 1.0 mm, and 7.5 degrees
    assert np.median(off) < 0.17 and np.percentile(off, 90) < 0.45
    normals, _ = triangle_normals(vertices, faces)
    true = out[faces].mean(axis=1)
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    tilt = np.degrees(np.arccos(np.clip((normals * true).sum(axis=1), -1, 1)))
    assert 0.5 < np.median(tilt) < 4.5


def test_a_jump_of_depth_is_not_bridged():
    surface = looked_at()
    depth = surface.depth.copy()
    depth[:, 160:] += 40.0
    torn = DepthSurface(**{**vars(surface), "depth": depth})
    vertices, faces = fuse([torn, torn], [beside(0), beside(0)], "torn")
    longest = np.linalg.norm(vertices[faces] - np.roll(vertices[faces], 1, axis=1), axis=2).max()
    assert longest < 5.0
