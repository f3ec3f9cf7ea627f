"""spline: affine maps come through exactly, and a landmark its neighbours contradict is not weights."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.stages.register import spline
from mimicme.stages.register.spline import MIN_LANDMARKS, landmark_spline, landmark_weights


@pytest.fixture
def marks(dome):
    """(68, 3) landmarks of the dome."""
    return dome.template().landmarks()


@pytest.mark.parametrize("smoothing", [0.0, 2.0, 50.0])
def test_an_affine_map_comes_through_exactly(marks, smoothing):
    rng = np.random.default_rng(0)
    a, t = rng.normal(size=(3, 3)), rng.normal(size=3)
    points = rng.uniform(-100, 100, (30, 3))
    found = landmark_spline(marks, marks @ a.T + t, points, smoothing)
    np.testing.assert_allclose(points + found, points @ a.T + t, atol=1e-7)


def test_without_smoothing_it_meets_the_landmarks(marks):
    target = marks + np.random.default_rng(1).normal(scale=5, size=marks.shape)
    np.testing.assert_allclose(marks + landmark_spline(marks, target, marks, 0.0), target, atol=1e-8)


def test_smoothing_follows_less_and_less(marks):
    target = marks + np.random.default_rng(1).normal(scale=5, size=marks.shape)
    miss = [
        np.linalg.norm(marks + landmark_spline(marks, target, marks, s) - target, axis=1).mean()
        for s in (0.0, 1.0, 4.0, 16.0, 1e6)
    ]
    assert (np.diff(miss) > 0).all()
    affine = np.c_[np.ones(68), marks]
    rest = target - affine @ np.linalg.lstsq(affine, target, rcond=None)[0]
    assert miss[-1] == pytest.approx(np.linalg.norm(rest, axis=1).mean(), rel=1e-3)


def test_it_turns_with_the_face(dome, marks):
    target = marks + np.random.default_rng(2).normal(scale=3, size=marks.shape)
    points = dome.template().vertices[::50]
    turn, shift = dome.rigid(0)[:3, :3], dome.rigid(0)[:3, 3]
    here = landmark_spline(marks, target, points, 2.0)
    there = landmark_spline(marks @ turn.T + shift, target @ turn.T + shift, points @ turn.T + shift, 2.0)
    np.testing.assert_allclose(there, here @ turn.T, atol=1e-8)


def test_a_smooth_deformation_is_carried_between_the_landmarks(dome, marks):
    vertices = dome.template().vertices
    truth = dome.moved(vertices, 1.0)
    near = np.min(np.linalg.norm(vertices[:, None] - marks, axis=2), axis=1) < 15
    moving = near & (dome.apart(vertices, truth) > 3)
    noisy = dome.moved(marks, 1.0) + 0.5 * np.random.default_rng(0).normal(size=(68, 3))
    error = dome.apart(vertices + landmark_spline(marks, noisy, vertices, 1.0), truth)[moving]
    still = dome.apart(vertices, truth)[moving]
    assert 0.1 < error.mean() < 0.3 * still.mean()


@pytest.mark.parametrize("smoothing", [0.0, 2.0])
def test_leaving_one_out_is_what_fitting_without_it_says(marks, smoothing):
    source = marks[17:50]
    target = source + np.random.default_rng(3).normal(scale=2, size=source.shape)
    found = spline.leave_one_out(source, target, smoothing)
    for k in range(0, len(source), 4):
        others = np.arange(len(source)) != k
        without = landmark_spline(source[others], target[others], source[[k]], smoothing)
        assert found[k] == pytest.approx(np.linalg.norm(source[k] + without[0] - target[k]), rel=1e-6)


def test_consistent_landmarks_keep_their_weight(dome, marks):
    np.testing.assert_allclose(landmark_weights(marks, 1.1 * marks + [5, 0, 9], 2.0), 1, atol=1e-6)
    say = landmark_weights(marks, dome.moved(marks, 1.0), 2.0)
    assert (say > 0).all() and (say <= 1).all()
    assert np.median(say) > 0.5


def test_a_misplaced_landmark_loses_its_weight_and_its_neighbours_do_not(marks):
    rng = np.random.default_rng(4)
    target = marks + 0.5 * rng.normal(size=marks.shape)
    target[30] += [25, 0, 0]
    say = landmark_weights(marks, target, 2.0)
    assert say[30] < 0.02
    assert np.argmin(say) == 30
    assert np.median(np.delete(say, 30)) > 0.7


def test_noise_takes_weight_from_all(marks):
    noise = np.random.default_rng(5).normal(size=marks.shape)
    say = [np.median(landmark_weights(marks, marks + mm * noise, 2.0)) for mm in (0.5, 3.0, 12.0)]
    assert say[0] > 0.5 > say[1] > say[2]
    assert say[2] < 0.05


def test_few_landmarks_cannot_be_checked(marks):
    few = marks[[8, 30, 36, 45, 48]]
    assert len(few) == MIN_LANDMARKS
    np.testing.assert_array_equal(landmark_weights(few, few + np.eye(5, 3) * 40, 2.0), 1)
    found = landmark_spline(few, few + [1, 2, 3], few, 2.0)
    np.testing.assert_allclose(found, np.tile([1.0, 2.0, 3.0], (5, 1)), atol=1e-8)


def test_of_one_person_the_motion_levels_off_beyond_the_landmarks(marks):
    """A mouth that opens draws points above and below it apart; down the neck, that does not go on and on."""
    inner = marks[17:]
    opened = inner - [0.0, 14.0, 0.0] * (inner[:, 1:2] < -44)
    neck = marks[8] - np.array([0.0, 80.0, 0.0]) * np.linspace(0.2, 1, 5)[:, None]
    grows, levels_off = (
        -landmark_spline(inner, opened, neck, 2.0, affine=affine)[:, 1] for affine in (True, False)
    )
    assert grows[-1] - grows[0] > 8
    assert np.ptp(levels_off) < 0.5
    assert 0 < levels_off.max() < 1.5 * 14
    shift = np.array([3.0, -2.0, 1.0])
    np.testing.assert_allclose(
        landmark_spline(inner, inner + shift, neck, 2.0, affine=False), np.tile(shift, (5, 1)), atol=1e-7
    )


def test_of_one_person_it_meets_the_landmarks_too(marks):
    target = marks + np.random.default_rng(1).normal(scale=5, size=marks.shape)
    found = landmark_spline(marks, target, marks, 0.0, affine=False)
    np.testing.assert_allclose(marks + found, target, atol=1e-8)
