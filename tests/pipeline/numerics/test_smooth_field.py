"""Smooth fields: the solution is the exact one, for one preconditioner and for weights that change."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from mimicme.pipeline.numerics import smooth_field
from mimicme.pipeline.numerics.smooth_field import (
    Preconditioner,
    SmoothField,
    aggregates,
    conjugate_gradients,
)
from mimicme.pipeline.numerics.sparse_rows import SparseRows

N = 40


def laplacian() -> sparse.csr_matrix:
    """Of a grid of N x N nodes."""
    line = sparse.diags([-np.ones(N - 1), 2 * np.ones(N), -np.ones(N - 1)], [-1, 0, 1]).tolil()
    line[0, 0] = line[-1, -1] = 1
    one = sparse.identity(N)
    return (sparse.kron(line, one) + sparse.kron(one, line)).tocsr()


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weights, of which a half is next to nothing, and targets of three columns, one of them zero."""
    rng = np.random.default_rng(seed)
    weights = np.where(np.arange(N * N) % N < N // 2, rng.random(N * N), 1e-4)
    target = rng.normal(size=(N * N, 3)) + [2, -1, 0]
    target[:, 2] = 0
    return weights, target


def exact(weights: np.ndarray, right: np.ndarray) -> np.ndarray:
    return spsolve((sparse.diags(weights) + laplacian()).tocsc(), right)


def test_the_solution_is_the_exact_one_also_with_the_first_weights_factors():
    one = Preconditioner(SmoothField(laplacian()))
    weights, target = problem()
    for scale in (1.0, 1.5):
        right = (scale * weights)[:, None] * target
        found, truth = one.solve(scale * weights, right, np.zeros_like(target)), exact(scale * weights, right)
        assert np.abs(truth[:, :2]).max() > 0.5
        assert np.sqrt(((found - truth) ** 2).mean()) < 0.01
        assert not found[:, 2].any()


def test_few_steps_are_enough(monkeypatch):
    monkeypatch.setattr(smooth_field, "MOST_STEPS", 12)
    weights, target = problem(1)
    right = weights[:, None] * target
    found = Preconditioner(SmoothField(laplacian())).solve(weights, right, np.zeros_like(target))
    assert np.sqrt(((found - exact(weights, right)) ** 2).mean()) < 0.01


def test_a_solution_to_begin_with_stays():
    weights, target = problem(2)
    right = weights[:, None] * target
    truth = exact(weights, right)
    assert np.abs(Preconditioner(SmoothField(laplacian())).solve(weights, right, truth) - truth).max() < 1e-5


def test_nothing_asked_for_is_nothing_moved():
    none = np.zeros((N * N, 3))
    assert not Preconditioner(SmoothField(laplacian())).solve(np.full(N * N, 1e-4), none, none).any()


def test_every_node_has_an_aggregate_and_each_hangs_together():
    graph = abs(laplacian())
    label = aggregates(graph)
    assert label.min() == 0
    assert (np.bincount(label) > 0).all()
    assert label.max() + 1 < N * N / 3
    for each in range(0, int(label.max()) + 1, 7):
        inside = np.flatnonzero(label == each)
        pieces, _ = sparse.csgraph.connected_components(graph[inside][:, inside])
        assert pieces == 1


def test_a_node_without_neighbours_stands_alone():
    assert sorted(aggregates(sparse.csr_matrix(np.zeros((3, 3)))).tolist()) == [0, 1, 2]


@pytest.mark.parametrize(("steps", "done"), [(1, False), (500, True)])
def test_whether_it_got_there_is_told(steps, done):
    weights, target = problem(3)
    matrix = SparseRows.of(laplacian() + sparse.diags(weights))
    right = weights[:, None] * target
    _, there = conjugate_gradients(matrix, lambda x: x, right, np.zeros_like(right), 1e-4, steps)
    assert there is done
