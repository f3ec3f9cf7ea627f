"""Intervals over people: closed forms, and that frames of one person do not count as people."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.numerics import statistics
from mimicme.pipeline.numerics.statistics import Estimate


def test_bootstrap_has_the_mean_and_the_width_of_theory():
    values = np.random.default_rng(1).normal(5.0, 2.0, 60)
    value, low, high = statistics.bootstrap_mean(values)
    assert value == pytest.approx(values.mean())
    expected = 2 * 1.96 * values.std() / np.sqrt(60)
    assert high - low == pytest.approx(expected, rel=0.08)
    assert low < value < high


def test_bootstrap_is_seeded():
    values = np.random.default_rng(1).normal(size=(9, 3))
    same = [statistics.bootstrap_mean(values, seed=4) for _ in range(2)]
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], statistics.bootstrap_mean(values, seed=5))


def test_one_person_has_no_interval():
    band = statistics.bootstrap_mean(np.array([[1.0, 2.0]]))
    assert band[0].tolist() == [1.0, 2.0]
    assert np.isnan(band[1:]).all()


def test_many_frames_of_a_person_do_not_narrow_the_interval():
    means = np.random.default_rng(2).normal(size=8)
    few, many = np.arange(8).astype(str), np.repeat(np.arange(8), 50).astype(str)
    a = statistics.bootstrap_over_subjects(lambda rows: float(means[rows].mean()), few)
    b = statistics.bootstrap_over_subjects(lambda rows: float(np.repeat(means, 50)[rows].mean()), many)
    assert a == pytest.approx(b)
    assert a.high - a.low > means.std() / 2


def test_jackknife_of_a_mean_is_its_standard_error():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    left_out = (values.sum() - values) / 3
    value, low, high = statistics.jackknife(values.mean(), left_out)
    error = values.std(ddof=1) / 2
    assert value == 4.0
    assert (low, high) == pytest.approx((4 - 1.959964 * error, 4 + 1.959964 * error))


def test_standard_error_of_draws():
    value, low, high = statistics.standard_error(np.array([[0.0], [2.0]]))[:, 0]
    assert value == 1.0
    assert high - 1 == pytest.approx(1.959964 * np.sqrt(2) / np.sqrt(2))
    assert low == pytest.approx(2 - high)


def test_group_means_are_in_the_order_of_names():
    names, means = statistics.group_means([[1.0], [3.0], [10.0]], ["b", "b", "a"])
    assert names == ["a", "b"]
    assert means.tolist() == [[10.0], [2.0]]


def test_an_estimate_for_json_has_no_nan():
    assert Estimate(1.0, float("nan"), 2.0).record() == {"value": 1.0, "low": None, "high": 2.0}
