"""Sums over what is around: against all pairs, one by one."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry import gaussian_sums as module
from mimicme.pipeline.geometry.gaussian_sums import gaussian_sums


def plainly(places, values, width, reach):
    off = np.linalg.norm(places[:, None] - places, axis=2)
    return np.where(off <= reach, np.exp(-(off**2) / (2 * width**2)), 0) @ values


@pytest.mark.parametrize(("spread", "width", "reach"), [(20.0, 4.0, 8.8), (3.0, 2.0, 5.0), (200.0, 4.0, 9.0)])
def test_sums_are_those_of_all_pairs(spread, width, reach):
    rng = np.random.default_rng(1)
    places, values = rng.normal(size=(400, 3)) * spread, rng.normal(size=(400, 3))
    np.testing.assert_allclose(
        gaussian_sums(places, values, width, reach), plainly(places, values, width, reach), atol=1e-12
    )


def test_places_at_the_rims_of_cells_are_found_from_both_sides():
    places = np.stack(np.meshgrid(*(np.arange(5) * 3.0,) * 3), axis=-1).reshape(-1, 3)
    values = np.ones_like(places)
    np.testing.assert_allclose(
        gaussian_sums(places, values, 3.0, 3.0), plainly(places, values, 3.0, 3.0), atol=1e-12
    )


def test_what_is_spread_widely_takes_no_more_cells_than_allowed(monkeypatch):
    monkeypatch.setattr(module, "MOST_CELLS", 100)
    rng = np.random.default_rng(2)
    places, values = rng.normal(size=(200, 3)) * 50, rng.normal(size=(200, 3))
    np.testing.assert_allclose(
        gaussian_sums(places, values, 4.0, 9.0), plainly(places, values, 4.0, 9.0), atol=1e-12
    )


def test_the_order_of_the_places_does_not_matter_and_none_is_fine():
    rng = np.random.default_rng(3)
    places, values = rng.normal(size=(100, 3)) * 9, rng.normal(size=(100, 3))
    order, whole = rng.permutation(100), gaussian_sums(places, values, 4.0, 9.0)
    np.testing.assert_allclose(
        gaussian_sums(places[order], values[order], 4.0, 9.0), whole[order], atol=1e-12
    )
    assert gaussian_sums(np.zeros((0, 3)), np.zeros((0, 3)), 4.0, 9.0).shape == (0, 3)
