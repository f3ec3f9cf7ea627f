from __future__ import annotations

import numpy as np
import pytest
from rgbd_files import BENT, PLAIN

from mimicme.pipeline.errors import InputError
from mimicme.pipeline.formats.image import opencv
from mimicme.pipeline.rgbd.camera import Camera, Pose

RATIONAL = (0.4, -2.0, 0.0004, -0.0002, 1.4, 0.3, -1.8, 1.3)


@pytest.mark.parametrize("distortion", [(), BENT.distortion, RATIONAL])
def test_a_pixel_and_its_ray_are_one(distortion: tuple[float, ...]) -> None:
    camera = Camera(160, 120, 150.0, 151.0, 80.0, 58.0, distortion)
    rays = camera.rays()
    assert np.isfinite(rays).all()
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    np.testing.assert_allclose(
        camera.project(300 * rays.reshape(-1, 3)), np.stack([x.ravel(), y.ravel()], 1), atol=0.06
    )


@pytest.mark.parametrize("distortion", [BENT.distortion, RATIONAL])
def test_distortion_is_opencvs(distortion: tuple[float, ...]) -> None:
    camera = Camera(160, 120, 150.0, 151.0, 80.0, 58.0, distortion)
    points = np.random.default_rng(0).uniform([-60, -50, 250], [60, 50, 400], (50, 3))
    inner = np.array([[150.0, 0, 80], [0, 151, 58], [0, 0, 1]])
    found = opencv().projectPoints(points, np.zeros(3), np.zeros(3), inner, np.array(distortion))[0]
    np.testing.assert_allclose(camera.project(points), found.reshape(-1, 2), atol=1e-6)


def test_what_is_behind_or_beyond_the_fold_is_not_shown() -> None:
    strong = Camera(160, 120, 150.0, 151.0, 80.0, 58.0, (-0.5, 0, 0, 0, 0))
    points = np.array([[0, 0, -100.0], [0, 0, 100.0], [150.0, 0, 100.0]])
    shown = np.isfinite(strong.project(points)).all(axis=1)
    assert shown.tolist() == [False, True, False]
    wide = Camera(640, 480, 150.0, 150.0, 320.0, 240.0, (-0.5, 0, 0, 0, 0))
    rays = wide.rays()
    assert np.isnan(rays[0, 0]).any() and np.isfinite(rays[240, 320]).all()


def test_shown_is_between_the_outermost_pixels() -> None:
    pixels = np.array([[0, 0], [159, 119], [-0.1, 5], [5, 119.1], [np.nan, 3]])
    assert PLAIN.shows(pixels).tolist() == [True, True, False, False, False]


def test_poses() -> None:
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    one, other = Pose(turn, np.array([1.0, 2, 3])), Pose(np.eye(3), np.array([5.0, 0, 0]))
    points = np.random.default_rng(0).normal(size=(6, 3))
    np.testing.assert_allclose(one.inverse(one(points)), points, atol=1e-12)
    np.testing.assert_allclose(other.after(one)(points), other(one(points)), atol=1e-12)
    rounded = Pose.checked(turn + 0.001, np.zeros(3))
    np.testing.assert_allclose(rounded.rotation @ rounded.rotation.T, np.eye(3), atol=1e-12)
    for wrong in (2 * turn, np.diag([1.0, 1, -1]), np.zeros((3, 3))):
        with pytest.raises(InputError, match="no rotation"):
            Pose.checked(wrong, np.zeros(3))
