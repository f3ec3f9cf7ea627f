"""Fewer of many: evenly, and evenly over people."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.numerics.subsample import even_subsample, even_subsample_by_subject


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [(9, 3, [0, 4, 8]), (3, 9, [0, 1, 2]), (5, 1, [0]), (6, 4, [0, 2, 3, 5]), (0, 3, []), (4, 0, [])],
)
def test_evenly(count, most, expected):
    assert even_subsample(count, most).tolist() == expected


@pytest.mark.parametrize("most", [1, 7, 50, 99, 100, 200])
def test_evenly_is_as_many_as_it_may_and_no_further_apart_than_it_must(most):
    found = even_subsample(100, most)
    assert len(found) == min(most, 100)
    if most > 1:
        assert (found[0], found[-1]) == (0, 99)
        assert np.ptp(np.diff(found)) <= 1


def test_everybody_has_an_equal_say():
    who = np.array(["b"] * 50 + ["a"] * 3 + ["c"] * 30)
    found = even_subsample_by_subject(who, 30)
    assert [int((who[found] == name).sum()) for name in "abc"] == [3, 10, 10]
    assert found[who[found] == "b"].tolist() == [0, 5, 11, 16, 22, 27, 33, 38, 44, 49]
    assert even_subsample_by_subject(who, 83).tolist() == list(range(83))
    assert len(even_subsample_by_subject(who, 1)) == 3
