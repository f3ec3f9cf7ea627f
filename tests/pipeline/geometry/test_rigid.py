"""rigid: motions, scales and affine maps."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.rigid import angle_deg, fit_affine, fit_rigid, fit_scale, fit_similarity_scale


def test_a_scale_is_found_whatever_the_shift_and_noise_does_not_make_it_larger():
    rng = np.random.default_rng(0)
    points, ones = rng.normal(size=(2000, 3)), np.ones(2000)
    assert fit_scale(points, 1.2 * points + [5, -3, 2], ones) == pytest.approx(1.2, abs=1e-12)
    noisy = points + rng.normal(size=points.shape)  # as large as the points themselves
    assert fit_scale(points, noisy, ones) == pytest.approx(1.0, abs=0.05)
    assert fit_similarity_scale(points, noisy) == pytest.approx(2**0.5, abs=0.05)  # the ratio of the radii


def test_a_point_without_weight_has_no_say_in_the_scale():
    points = np.random.default_rng(1).normal(size=(10, 3))
    target, weights = 0.8 * points, np.ones(10)
    target[3], weights[3] = 100.0, 0.0
    assert fit_scale(points, target, weights) == pytest.approx(0.8, abs=1e-12)


def test_an_affine_map_is_found_and_a_point_without_weight_has_no_say_in_it():
    rng = np.random.default_rng(2)
    points, weights = rng.normal(size=(20, 3)), rng.uniform(0.5, 2.0, 20)
    matrix = np.eye(4)
    matrix[:3] = rng.normal(size=(3, 4))
    target = points @ matrix[:3, :3].T + matrix[:3, 3]
    target[7], weights[7] = 100.0, 0.0
    np.testing.assert_allclose(fit_affine(points, target, weights), matrix, atol=1e-12)


def test_an_affine_map_is_the_least_squares_one_by_its_weights():
    rng = np.random.default_rng(3)
    points, target, weights = rng.normal(size=(30, 3)), rng.normal(size=(30, 3)), rng.uniform(0.1, 3.0, 30)
    root = np.sqrt(weights)[:, None]
    best = np.linalg.lstsq(np.c_[points, np.ones(30)] * root, target * root, rcond=None)[0]
    np.testing.assert_allclose(fit_affine(points, target, weights)[:3], best.T, atol=1e-12)


def turn(rng: np.random.Generator) -> np.ndarray:
    """A proper rotation, from a random quaternion."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [3, 4, 50])
def test_a_known_motion_is_recovered(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    rotation, shift, points = turn(rng), rng.normal(size=3) * 100, rng.normal(size=(count, 3)) * 50
    found = fit_rigid(points, points @ rotation.T + shift)
    np.testing.assert_allclose(found[:3, :3], rotation, atol=1e-12)
    np.testing.assert_allclose(found[:3, 3], shift, atol=1e-9)
    np.testing.assert_array_equal(found[3], [0, 0, 0, 1])


def test_a_mirror_image_is_met_by_a_rotation_and_never_by_a_mirror() -> None:
    points = np.random.default_rng(2).normal(size=(30, 3))
    found = fit_rigid(points, points * [-1, 1, 1])
    assert np.linalg.det(found[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-12)


def test_of_all_motions_the_one_found_leaves_least() -> None:
    rng = np.random.default_rng(3)
    points, weights = rng.normal(size=(20, 3)), rng.random(20)
    target = points @ turn(rng).T + rng.normal(size=(20, 3))

    def left(matrix: np.ndarray) -> float:
        moved = points @ matrix[:3, :3].T + matrix[:3, 3]
        return float(weights @ ((moved - target) ** 2).sum(1))

    best = fit_rigid(points, target, weights)
    for _ in range(50):
        other = np.eye(4)
        a = rng.normal(size=3) * 0.05
        skew = np.array([[0, -a[2], a[1]], [a[2], 0, -a[0]], [-a[1], a[0], 0]])
        u, _, vt = np.linalg.svd(np.eye(3) + skew)
        other[:3, :3], other[:3, 3] = u @ vt, rng.normal(size=3) * 0.05
        assert left(other @ best) >= left(best)


def test_a_point_without_weight_does_not_move_the_fit() -> None:
    rng = np.random.default_rng(4)
    points, rotation = rng.normal(size=(10, 3)), turn(rng)
    target, weights = points @ rotation.T, np.ones(10)
    target[3], weights[3] = 1e3, 0.0
    np.testing.assert_allclose(fit_rigid(points, target, weights)[:3, :3], rotation, atol=1e-12)


@pytest.mark.parametrize("degrees", [0.0, 0.5, 30.0, 179.0])
def test_the_angle_between_poses_is_their_turn_whatever_their_shift(degrees: float) -> None:
    rng, pose = np.random.default_rng(5), np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn(rng), rng.normal(size=3)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    moved = pose @ np.array([[c, -s, 0, 9], [s, c, 0, 9], [0, 0, 1, 9], [0, 0, 0, 1.0]])
    assert angle_deg(pose, moved) == pytest.approx(degrees, abs=1e-5)
