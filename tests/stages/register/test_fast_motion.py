"""Fast motion: what smoothing in time took for noise is put back where the skull says that it was none."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.stages.register.fast_motion import FastMotion
from mimicme.stages.register.levels import build_levels
from mimicme.stages.register.patches import Patches

COUNT = 12
QUICK = 5
"""The frame in which something moves."""


@pytest.fixture(scope="module")
def rest(dome):
    return dome.template().vertices


@pytest.fixture(scope="module")
def chin(rest):
    return np.linalg.norm(rest[:, :2] - [0, -70], axis=1) < 18


@pytest.fixture(scope="module")
def fast_motion(dome, rest):
    return FastMotion(Patches(build_levels(dome.template(), 500, 0.5), rest, rest[:, 1] > 20))


def shapes(rest, noise_mm):
    """(F, V, 3) frames' own vertices, and smooth ones, which have the noise no more."""
    smooth = np.repeat(rest[None], COUNT, axis=0).astype(np.float32)
    own = smooth + noise_mm * np.random.default_rng(0).normal(size=smooth.shape).astype(np.float32)
    return own, smooth


@pytest.mark.parametrize("noise_mm", [0.0, 0.5])
def test_a_motion_of_one_frame_comes_back_there_and_nowhere_else(fast_motion, rest, chin, noise_mm):
    own, smooth = shapes(rest, noise_mm)
    own[QUICK, chin] += [0, -8, 0]
    before = smooth.copy()
    fast_motion.restore(own, smooth)
    middle = np.linalg.norm(rest[:, :2] - [0, -70], axis=1) < 10
    np.testing.assert_allclose(smooth[QUICK, middle], own[QUICK, middle], atol=0.15)
    others = np.arange(COUNT) != QUICK
    np.testing.assert_array_equal(smooth[others], before[others])
    far = np.linalg.norm(rest - rest[chin].mean(axis=0), axis=1) > 70
    np.testing.assert_array_equal(smooth[QUICK, far], before[QUICK, far])


def test_noise_does_not_come_back(fast_motion, rest):
    own, smooth = shapes(rest, 0.5)
    before = smooth.copy()
    fast_motion.restore(own, smooth)
    np.testing.assert_array_equal(smooth, before)


@pytest.mark.parametrize("noise_mm", [0.0, 0.2, 0.5])
def test_noise_is_measured_where_nothing_moves(fast_motion, rest, chin, noise_mm):
    own, smooth = shapes(rest, noise_mm)
    own[:, chin] += np.linspace(-9, 9, COUNT)[:, None, None].astype(np.float32)
    assert fast_motion.noise_mm(own, smooth) == pytest.approx(noise_mm * np.sqrt(3), rel=0.1)
