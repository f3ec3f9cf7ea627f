from __future__ import annotations

import numpy as np
import pytest
from rgbd_files import CENTRE, FINE, PLAIN, RADIUS_MM, Ball, depth_of

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import triangle_normals
from mimicme.pipeline.rgbd.camera import Camera
from mimicme.pipeline.rgbd.depth_image import DepthPicture
from mimicme.pipeline.rgbd.surface import DepthSurface, find_surface, noise_of, smoothing_mm


def seen(depth: np.ndarray, camera: Camera = PLAIN, step: float = 0.0, far: float = 1500.0) -> DepthSurface:
    return find_surface(DepthPicture(depth, step), camera, 150.0, far, "a.png")


def test_the_ball_is_cut_from_the_wall_and_faces_the_camera() -> None:
    surface = seen(depth_of(Ball(CENTRE), PLAIN))
    points, faces = surface.points, surface.faces
    off = np.linalg.norm(points[np.unique(faces)] - CENTRE, axis=1) - RADIUS_MM
    assert np.abs(off).max() < 1e-6 and surface.smoothed_mm == 0
    normals, _ = triangle_normals(points, faces)
    towards = -points[faces].mean(axis=1)
    assert ((normals * towards).sum(axis=1) > 0).all()
    outward = points[faces].mean(axis=1) - CENTRE
    assert ((normals * outward).sum(axis=1) > 0).all()


def test_nothing_beside_a_jump_is_trusted() -> None:
    depth = depth_of(Ball(CENTRE), PLAIN)
    surface = seen(depth)
    inside = np.isfinite(surface.depth)
    assert not surface.trusted[~inside].any() and surface.trusted[58, 80 + 3]
    row, column = np.nonzero(surface.trusted)
    for dy, dx in ((0, 3), (0, -3), (3, 0), (-3, 0)):
        assert inside[row + dy, column + dx].all()
    assert 0.6 * inside.sum() < surface.trusted.sum() < inside.sum()


def test_a_jump_within_the_head_is_cut_and_what_lies_behind_stays() -> None:
    depth = depth_of(Ball(CENTRE), PLAIN)
    behind = depth.copy()
    behind[:, 84:][depth[:, 84:] < 900] += 60
    surface = seen(behind)
    kept = np.isfinite(surface.depth)
    assert kept[:, :84].any() and kept[:, 84:].any()
    column = surface.faces % PLAIN.width
    assert not ((column == 83).any(axis=1) & (column == 84).any(axis=1)).any()
    assert not surface.trusted[:, 82:86].any()


def test_the_nearest_piece_of_a_heads_size_is_the_head() -> None:
    depth = depth_of(Ball(CENTRE), PLAIN)
    depth[2:8, 2:8] = 300.0  # a finger before the camera
    surface = seen(depth)
    assert np.isnan(surface.depth[:10, :10]).all()
    with pytest.raises(FrameRejected) as error:
        seen(depth, far=350.0)
    assert error.value.reason == "depth-empty" and "near_mm" in str(error.value)
    with pytest.raises(FrameRejected, match="no two neighbouring"):
        seen(np.where(np.indices(depth.shape).sum(axis=0) % 2, depth, np.nan))


def test_pixels_between_head_and_wall_are_no_surface() -> None:
    depth = depth_of(Ball(CENTRE), PLAIN)
    edge = (depth > 900) & (np.roll(depth, 1, axis=1) < 900)
    flying = np.where(edge, 700.0, depth)
    assert not np.isfinite(seen(flying).depth[edge]).any()


def test_noise_is_measured_and_smoothed_away_from_normals() -> None:
    rng = np.random.default_rng(0)
    true = depth_of(Ball(CENTRE), FINE)
    noisy = true + rng.normal(scale=0.6, size=true.shape)
    surface = seen(noisy, FINE)
    assert 0.5 < surface.noise_mm < 0.7 and 0.5 < surface.smoothed_mm <= 3
    flat = surface.trusted.ravel()[surface.faces].all(axis=1)

    def tilt(points: np.ndarray) -> float:
        faces = surface.faces[flat]
        normals, _ = triangle_normals(points, faces)
        outward = points[faces].mean(axis=1) - CENTRE
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        return float(np.degrees(np.median(np.arccos(np.clip((normals * outward).sum(axis=1), -1, 1)))))

    raw = (FINE.rays() * noisy[:, :, None]).reshape(-1, 3)
    assert tilt(raw) > 20 > 10 > tilt(surface.points)
    off = np.linalg.norm(surface.points[np.unique(surface.faces[flat])] - CENTRE, axis=1) - RADIUS_MM
    assert (
        abs(np.median(off)) < 0.05 and off.std() < 0.45
    )  # without a bias inwards, and calmer than the noise


def test_steps_of_whole_numbers_are_noise() -> None:
    true = depth_of(Ball(CENTRE), FINE)
    assert noise_of(np.full((9, 9), 500.0), 3.0) == pytest.approx(3 / np.sqrt(12))
    surface = seen(np.rint(true / 2) * 2, FINE, step=2.0)
    assert surface.noise_mm >= 2 / np.sqrt(12) - 1e-9 and surface.smoothed_mm > 0
    inner = np.unique(surface.faces[surface.trusted.ravel()[surface.faces].all(axis=1)])
    off = np.linalg.norm(surface.points[inner] - CENTRE, axis=1) - RADIUS_MM
    assert np.abs(np.median(off)) < 0.1 and off.std() < 0.35  # of 0.58 before


def test_more_noise_more_smoothing_up_to_a_bound() -> None:
    windows = [smoothing_mm(noise, 0.8) for noise in (0.0, 0.2, 0.5, 1.0, 100.0)]
    assert windows[0] == 0 and windows == sorted(windows) and windows[-1] == 3.0


def test_more_pixels_than_a_scan_needs_are_joined() -> None:
    many = Camera(640, 480, 1600.0, 1600.0, 310.0, 243.0, (0.05, 0, 0, 0, 0))
    ball = Ball(np.array([2.0, -1.0, 900.0]))
    surface = seen(depth_of(ball, many), many)
    assert surface.depth.shape == (480, 640)  # 0.5 mm: coarse enough
    near = Ball(np.array([2.0, -1.0, 500.0]), 60.0)
    surface = seen(depth_of(near, many), many)
    assert surface.depth.shape == (240, 320) and (surface.camera.width, surface.camera.height) == (320, 240)
    off = np.linalg.norm(surface.points[np.unique(surface.faces)] - near.centre, axis=1) - near.radius
    inner = surface.trusted.ravel()[np.unique(surface.faces)]
    assert np.abs(off[inner]).max() < 0.5 and abs(np.median(off[inner])) < 0.1
