"""kernels: what the compiled loops give is what scipy gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from mimicme.pipeline.numerics.sparse_rows import SparseRows
from mimicme.stages.register import kernels

N, ROWS = 40, 6


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def a_matrix(rng, rows, columns):
    return sparse.random(rows, columns, 0.3, "csr", rng=rng)


def four(rng):
    """(N, 4) x, y, z and zeros."""
    return np.c_[rng.normal(size=(N, 3)), np.zeros(N)].astype(np.float32)


def test_multiply_is_the_normal_matrix(rng):
    stiffness, given = a_matrix(rng, N, N), a_matrix(rng, ROWS, N)
    normals, data = rng.normal(size=(N, 3)), rng.random(N)
    weights = np.where(np.arange(ROWS) == 2, 0.0, rng.random(ROWS))
    p, q = four(rng), np.empty((N, 4), np.float32)
    product = kernels.multiply(
        *SparseRows.of(stiffness), 3.0, normals.astype(np.float32), data.astype(np.float32), 0.25,
        *SparseRows.of(given), weights.astype(np.float32), p, q,
    )  # fmt: skip
    assert not q[:, 3].any()
    p, q = p[:, :3], q[:, :3]
    along = (normals * p).sum(axis=1, keepdims=True)
    right = 3 * stiffness @ p + data[:, None] * (along * normals + 0.25 * p)
    right += given.T @ (weights[:, None] * (given @ p))
    np.testing.assert_allclose(q, right, atol=1e-4)
    assert product == pytest.approx((p * right).sum(), rel=1e-5)


def test_precondition_undoes_the_factors(rng):
    upper = sparse.triu(a_matrix(rng, N, N), 1).tocsr()
    diagonal, scale, order = 1 + rng.random(N), 1 + rng.random(N), rng.permutation(N)
    factor = (upper + sparse.diags(diagonal)).toarray()
    scaled = np.empty((N, N))
    scaled[np.ix_(order, order)] = factor.T @ factor / np.outer(scale, scale)
    x = four(rng)
    r, z = (scaled @ x).astype(np.float32), np.empty((N, 4), np.float32)
    product = kernels.precondition(
        *SparseRows.of(upper), *SparseRows.of(upper.T), (1 / diagonal).astype(np.float32),
        order.astype(np.uint32), scale.astype(np.float32), r, z, np.empty_like(z),
    )  # fmt: skip
    np.testing.assert_allclose(z, x, rtol=1e-3, atol=1e-3)
    assert product == pytest.approx((r.astype(float) * z).sum(), rel=1e-5)


def test_the_transpose_by_its_own_rows_gives_what_columns_give_to_the_last_bit(rng):
    upper = sparse.triu(a_matrix(rng, N, N), 1).tocsr().astype(np.float32)
    inverse = (1 / (1 + rng.random(N))).astype(np.float32)
    x = four(rng)
    scattered = x.copy()
    for i in range(N):
        scattered[i] *= inverse[i]
        for k in range(upper.indptr[i], upper.indptr[i + 1]):
            scattered[upper.indices[k]] -= upper.data[k] * scattered[i]
    kernels.solve_lower(*SparseRows.of(upper.T), inverse, x)
    assert x.tobytes() == scattered.tobytes()


def test_wide_matrices_give_what_narrow_ones_do_to_the_last_bit(rng):
    """Those of more columns than two bytes count."""

    def wide(rows):
        return rows._replace(column=rows.column.astype(np.uint32))

    stiffness = a_matrix(rng, N, N)
    stiffness = SparseRows.of(stiffness @ stiffness.T + sparse.identity(N))
    upper = sparse.triu(a_matrix(rng, N, N), 1) * 0.1
    factors, given = (SparseRows.of(upper), SparseRows.of(upper.T)), SparseRows.of(a_matrix(rng, ROWS, N))
    normals, right = rng.normal(size=(N, 3)).astype(np.float32), four(rng)
    ones, order = np.ones(N, np.float32), rng.permutation(N).astype(np.uint32)
    found = []
    for of in (lambda rows: rows, wide):
        x, r = np.zeros((N, 4), np.float32), right.copy()
        told = kernels.conjugate_gradients(
            *of(stiffness), 3.0, normals, ones, 0.25, *of(given), ones[:ROWS], *of(factors[0]), *of(factors[1]),
            ones, order, ones, x, r, 1e-9, 1e-12, 30,
        )  # fmt: skip
        found.append((told, x.tobytes(), r.tobytes()))
    assert found[0] == found[1]
    assert found[0][0][0] > 3 and np.frombuffer(found[0][1], np.float32).any()


def test_rows_of_four_give_what_columns_give_to_the_last_bit(rng):
    """What is done with four numbers at once is neither reordered nor joined to one rounding."""
    upper = sparse.triu(a_matrix(rng, N, N), 1).tocsr()
    inverse = (1 / (1 + rng.random(N))).astype(np.float32)
    for solve, matrix, rows in (
        (kernels.solve_lower, upper.T.tocsr(), range(N)),
        (kernels.solve_upper, upper, range(N - 1, -1, -1)),
    ):
        of, x = SparseRows.of(matrix), four(rng)
        expected = x[:, :3].copy()
        for column in range(3):
            for i in rows:
                value = expected[i, column]
                for k in range(of.start[i], of.start[i + 1]):
                    value = value - of.value[k] * expected[of.column[k], column]
                expected[i, column] = value * inverse[i]
        solve(*of, inverse, x)
        assert x[:, :3].tobytes() == expected.tobytes()
        assert not x[:, 3].any()
