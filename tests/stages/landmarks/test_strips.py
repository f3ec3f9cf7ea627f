"""The path through a strip: against every path there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mimicme.stages.landmarks.strips import ridge


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("move_cost", [0.0, 0.2, 3.0])
def test_no_path_has_more_evidence_for_what_it_bends(kind, move_cost):
    evidence = np.random.default_rng(4).normal(size=(5, 4)).astype(kind)
    cost = move_cost * float(np.percentile(evidence, 95))

    def worth(path):
        return sum(float(evidence[k, c]) for k, c in enumerate(path)) - cost * np.abs(np.diff(path)).sum()

    best = max(itertools.product(range(4), repeat=5), key=worth)
    assert ridge(evidence, move_cost).tolist() == list(best)


def test_of_equal_paths_it_is_the_first_and_straight_where_nothing_shows():
    assert ridge(np.zeros((6, 5)), 0.1).tolist() == [0] * 6
    evidence = np.zeros((4, 6))
    evidence[:, 3] = evidence[1, 2] = 1.0
    assert ridge(evidence, 0.15).tolist() == [3] * 4


def test_it_bends_where_that_pays():
    evidence = np.zeros((9, 7))
    evidence[:4, 1] = evidence[5:, 4] = 1.0
    assert ridge(evidence, 0.15).tolist()[:4] == [1] * 4
    assert ridge(evidence, 0.15).tolist()[5:] == [4] * 4
    assert set(ridge(evidence, 9.0).tolist()) in ({1}, {4})
