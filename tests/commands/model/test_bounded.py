"""Weights between bounds: the conditions of Karush, Kuhn and Tucker, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.commands.model.bounded import bounded_weights
from mimicme.pipeline.errors import UsageError


def problem(n: int = 200, k: int = 9, seed: int = 0, mix: float = 1.0):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((40, k)) + mix  # columns that resemble each other
    right = (
        np.clip(rng.normal(0.5, 0.7, (n, k)), -0.5, 1.5) @ matrix.T + rng.standard_normal((n, 40))
    ) @ matrix
    return matrix.T @ matrix, right


@pytest.mark.parametrize("mix", [0.0, 5.0])
def test_the_conditions_of_optimality_hold(mix):
    gram, right = problem(500, 20, 1, mix)
    w = bounded_weights(gram, right)
    slope = w @ gram - right
    tolerance = 1e-6 * np.diag(gram).max()
    assert ((w >= 0) & (w <= 1)).all()
    assert (slope[w == 0] >= -tolerance).all()
    assert (slope[w == 1] <= tolerance).all()
    assert np.abs(slope[(w > 0) & (w < 1)]).max() <= tolerance


def test_inside_the_box_it_is_plain_least_squares():
    gram, _ = problem()
    wanted = np.random.default_rng(2).uniform(0.1, 0.9, (50, 9))
    np.testing.assert_allclose(bounded_weights(gram, wanted @ gram), wanted, atol=1e-7)


def test_two_equal_shapes_do_no_harm():
    gram = np.array([[2.0, 2, 0], [2, 2, 0], [0, 0, 1]])
    w = bounded_weights(gram, np.array([[1.0, 1.0, 5.0]]))
    assert w[0, 0] + w[0, 1] == pytest.approx(0.5, abs=1e-6)
    assert w[0, 2] == 1


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError):
        bounded_weights(np.eye(3), np.ones((4, 2)))
    with pytest.raises(UsageError):
        bounded_weights(np.eye(2), np.array([[np.nan, 1.0]]))
    assert bounded_weights(np.eye(2), np.zeros((0, 2))).shape == (0, 2)
