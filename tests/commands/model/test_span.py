"""Leave-one-subject-out models by downdating, against models that are fitted again from scratch."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.commands.model import span
from mimicme.commands.model.span import leave_one_out, span_of
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.numerics.linear_model import fit_pca

SUBJECTS = np.repeat(["A", "B", "C", "D", "E"], [3, 7, 2, 5, 4])
V = 30


@pytest.fixture(scope="module")
def shapes():
    rng = np.random.default_rng(0)
    own = {s: rng.normal(size=(V, 3)) for s in "ABCDE"}
    return np.stack([5 + own[s] + 0.3 * rng.normal(size=(V, 3)) for s in SUBJECTS]).astype(np.float32)


@pytest.fixture(scope="module")
def weights():
    w = np.random.default_rng(1).uniform(0.2, 2, V)
    w[:4] = 0  # outside the mask
    return w / w[w > 0].mean()


def batched(shapes, size=4):
    return lambda: (shapes[k : k + size] for k in range(0, len(shapes), size))


def shares():
    _, inverse, counts = np.unique(SUBJECTS, return_inverse=True, return_counts=True)
    return 1.0 / counts[inverse]


def test_a_span_holds_its_shapes(shapes, weights):
    made = span_of(batched(shapes), len(shapes), weights, shares())
    assert made.left_out == pytest.approx(0, abs=1e-9)
    gram = np.einsum("v,rvx,svx->rs", weights, made.basis, made.basis)
    assert gram == pytest.approx(np.eye(len(gram)), abs=1e-4)
    inside = weights > 0
    assert made.shapes(made.coordinates)[:, inside] == pytest.approx(shapes[:, inside], abs=1e-4)


def test_leaving_a_subject_out_is_fitting_the_others(shapes, weights):
    made = span_of(batched(shapes), len(shapes), weights, shares())
    folds = list(leave_one_out(made, SUBJECTS, shares(), 6))
    assert [f.subject for f in folds] == list("ABCDE")
    inside = weights > 0
    for fold in folds:
        others = fold.subject != SUBJECTS
        model = fit_pca(shapes[others], weights, shares()[others], rank=6)
        assert fold.variances == pytest.approx(model.variances, rel=1e-4)
        assert fold.total == pytest.approx(model.total_variance, rel=1e-4)
        for rank in (1, 2, 6):
            expected = model.truncated(rank).decode(model.truncated(rank).encode(shapes[fold.rows]))
            rebuilt = made.shapes(fold.reconstruct(made.coordinates[fold.rows], rank))
            assert rebuilt[:, inside] == pytest.approx(expected[:, inside], abs=2e-3)


def test_many_shapes_are_held_in_a_few_directions(shapes, weights, monkeypatch):
    exact = span_of(batched(shapes), len(shapes), weights, shares())
    monkeypatch.setattr(span, "EXACT_SHAPES", 5)
    monkeypatch.setattr(span, "WIDE_RANK", 12)
    wide = span_of(batched(shapes), len(shapes), weights, shares())
    assert wide.coordinates.shape == (21, 12)
    assert 1e-4 < wide.left_out < 0.1
    folds = zip(
        leave_one_out(exact, SUBJECTS, shares(), 3), leave_one_out(wide, SUBJECTS, shares(), 3), strict=True
    )
    for a, b in folds:
        # what the basis does not hold is missing from the components, never from the total
        assert b.total == pytest.approx(a.total, rel=0.01)
        assert b.variances[0] == pytest.approx(a.variances[0], rel=0.02)


def test_two_subjects_are_too_few(shapes, weights):
    some = np.isin(SUBJECTS, ["A", "B"])
    made = span_of(batched(shapes[some]), int(some.sum()), weights, shares()[some])
    with pytest.raises(UsageError, match="three subjects"):
        list(leave_one_out(made, SUBJECTS[some], shares()[some], 3))


def test_a_wrong_count_is_refused(shapes, weights):
    with pytest.raises(UsageError, match="not as many"):
        span_of(batched(shapes), len(shapes) + 1, weights, np.ones(len(shapes) + 1))
