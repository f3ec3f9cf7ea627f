"""rigid: scales."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.rigid import fit_scale, fit_similarity_scale


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
