"""Slow motion of a small part: what smoothing in time took is put back where a patch shows that it was no noise."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.numerics.temporal import MIN_FRAMES, rates
from mimicme.stages.register.levels import build_levels
from mimicme.stages.register.patches import Patches
from mimicme.stages.register.slow_motion import SlowMotion

NOISE_MM = 0.8
AWAY_MM = 5.0


@pytest.fixture(scope="module")
def rest(dome):
    return dome.template().vertices


@pytest.fixture(scope="module")
def slow_motion(dome, rest):
    return SlowMotion(Patches(build_levels(dome.template(), 500, 0.5), rest, rest[:, 1] > 20))


def pooled(rest, count, motion=None, noise_mm=NOISE_MM):
    """(F, V, 3) frames' own vertices, with a `motion` of them, and the pooled ones."""
    own = np.repeat(rest[None], count, axis=0).astype(np.float32)
    own += noise_mm * np.random.default_rng(0).normal(size=own.shape).astype(np.float32)
    if motion is not None:
        own += motion.astype(np.float32)
    return own, np.repeat(own.mean(axis=0, keepdims=True), count, axis=0)


def to_the_apex_and_back(count):
    return np.sin(np.pi * np.arange(count) / (count - 1)) ** 2


def chin(rest, radius_mm):
    return np.linalg.norm(rest[:, :2] - [0, -70], axis=1) < radius_mm


@pytest.mark.parametrize("count", [MIN_FRAMES, 21])
def test_a_small_part_that_moves_comes_back_there_alone(slow_motion, rest, count):
    course = to_the_apex_and_back(count)
    motion = AWAY_MM * course[:, None, None] * chin(rest, 22)[None, :, None] * [0, -1.0, 0]
    own, smooth = pooled(rest, count, motion)
    before = smooth.copy()
    slow_motion.restore(own, smooth, np.arange(count))
    apex, middle = int(course.argmax()), chin(rest, 10)
    assert np.abs(before[apex] - before[0])[middle].max() < 1e-3
    assert (smooth[0] - smooth[apex])[middle, 1].mean() == pytest.approx(AWAY_MM, rel=0.1)
    far = np.linalg.norm(rest - rest[chin(rest, 22)].mean(axis=0), axis=1) > 75
    np.testing.assert_array_equal(smooth[:, far], before[:, far])


@pytest.mark.parametrize("count", [MIN_FRAMES, 40])
def test_noise_does_not_come_back(slow_motion, rest, count):
    own, smooth = pooled(rest, count)
    before = smooth.copy()
    slow_motion.restore(own, smooth, np.arange(count))
    assert np.abs(smooth - before).max() < 0.05 * NOISE_MM


def test_what_the_skull_has_too_is_none(slow_motion, rest):
    drift = np.linspace(-4, 4, 15)[:, None, None] * np.ones((1, len(rest), 1)) * [0, 0, 1.0]
    own, smooth = pooled(rest, 15, drift)
    before = smooth.copy()
    slow_motion.restore(own, smooth, np.arange(15))
    np.testing.assert_array_equal(smooth, before)


def test_few_frames_tell_nothing(slow_motion, rest):
    count = MIN_FRAMES - 1
    course = to_the_apex_and_back(count)
    motion = AWAY_MM * course[:, None, None] * chin(rest, 22)[None, :, None] * [0, -1.0, 0]
    own, smooth = pooled(rest, count, motion)
    before = smooth.copy()
    slow_motion.restore(own, smooth, np.arange(count))
    np.testing.assert_array_equal(smooth, before)


def test_rates_are_polynomials_first_and_orthonormal():
    times = np.array([3, 4, 6, 7, 8, 11, 12, 13, 15, 16])
    roughness, basis = rates(times)
    np.testing.assert_allclose(basis.T @ basis, np.eye(len(times)), atol=1e-9)
    assert (np.diff(roughness) >= 0).all() and (roughness[:3] == 0).all() and roughness[3] > 0
    assert np.ptp(basis[:, 0]) < 1e-9
    # a line has nothing of the quadratic one
    assert np.abs(basis[:, 2] @ times).max() < 1e-9
