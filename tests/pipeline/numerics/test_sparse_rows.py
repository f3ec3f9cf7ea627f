"""Sparse rows: scipy's product to the last bit, of three columns and of others, rows without entries among them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from mimicme.pipeline.numerics.sparse_rows import NARROW, SparseRows


@pytest.mark.parametrize("columns", [1, 3, 5])
def test_the_product_is_scipys_to_the_last_bit(columns):
    rng = np.random.default_rng(columns)
    matrix = sparse.random(60, 40, 0.2, "csr", np.float32, rng)
    matrix[7] = 0
    matrix.eliminate_zeros()
    x = rng.normal(size=(40, columns)).astype(np.float32)
    product = SparseRows.of(matrix) @ x
    assert product.dtype == np.float32
    assert product.tobytes() == (matrix @ x).tobytes()
    assert not product[7].any()


def test_columns_that_do_not_lie_together_are_taken_as_they_are():
    matrix = SparseRows.of(sparse.identity(6))
    x = np.arange(36, dtype=np.float32).reshape(6, 6)[:, ::2]
    np.testing.assert_array_equal(matrix @ x, x)


def test_columns_are_told_in_two_bytes_as_far_as_these_count():
    entry = np.ones(1), (np.zeros(1, int), np.array([NARROW - 1]))
    narrow = SparseRows.of(sparse.csr_matrix(entry, shape=(2, NARROW)))
    wide = SparseRows.of(sparse.csr_matrix(entry, shape=(2, NARROW + 1)))
    assert (narrow.column.dtype, wide.column.dtype) == (np.uint16, np.uint32)
    x = np.random.default_rng(0).normal(size=(NARROW + 1, 3)).astype(np.float32)
    for rows in (narrow, wide):
        np.testing.assert_array_equal(rows @ x[: NARROW + (rows is wide)], [x[NARROW - 1], [0, 0, 0]])
