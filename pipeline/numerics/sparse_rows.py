"""Sparse matrices by rows, in single precision, times a few columns: scipy's product, to the last bit, in a third of
its time, which goes by columns within every entry."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Singles
from mimicme.pipeline.numerics.compiled import compiled

Indices = NDArray[np.uint32]
Columns = NDArray[np.uint16] | NDArray[np.uint32]
MATRIX, NARROW_MATRIX = "u4[::1], u4[::1], f4[::1]", "u4[::1], u2[::1], f4[::1]"
"""Where each row begins, the columns, the values.  Unsigned: a signed index is looked at, each time, whether it counts
from the end, which takes as long as what is done with it.  Of at most `NARROW` columns in two bytes: what these loops
cost is reading memory."""
NARROW = 1 << 16


def for_both(signature: str) -> tuple[str, str]:
    """A signature that has `MATRIX` in it, of loops over matrices that all have as many columns, and the same of narrow
    ones."""
    return signature, signature.replace(MATRIX, NARROW_MATRIX)


class SparseRows(NamedTuple):
    """A sparse matrix (n, m) as compiled loops read it: where each row begins (n + 1,), the columns, the values."""

    start: Indices
    column: Columns
    value: Singles

    @classmethod
    def of(cls, matrix: sparse.spmatrix) -> Self:
        """The same matrix, in single precision."""
        rows = matrix.tocsr()
        kind = np.uint16 if rows.shape[1] <= NARROW else np.uint32
        return cls(rows.indptr.astype(np.uint32), rows.indices.astype(kind), rows.data.astype(np.float32))

    def __matmul__(self, x: Singles) -> Singles:
        """The product (n, k) with x (m, k) float32."""
        product = np.zeros((len(self.start) - 1, x.shape[1]), np.float32)
        (_times_three if x.shape[1] == 3 else _times)(*self, np.ascontiguousarray(x, np.float32), product)
        return product


@compiled(*for_both(f"void({MATRIX}, f4[:, ::1], f4[:, ::1])"))
def _times(start: Indices, column: Columns, value: Singles, x: Singles, product: Singles) -> None:
    """Add to zeros (n, k) the product with x (m, k)."""
    for i in range(len(product)):
        for entry in range(start[i], start[i + 1]):
            j, v = column[entry], value[entry]
            for c in range(x.shape[1]):
                product[i, c] += v * x[j, c]


@compiled(*for_both(f"void({MATRIX}, f4[:, ::1], f4[:, ::1])"))
def _times_three(start: Indices, column: Columns, value: Singles, x: Singles, product: Singles) -> None:
    """The same of three columns."""
    for i in range(len(product)):
        a, b, c = np.float32(0), np.float32(0), np.float32(0)
        for entry in range(start[i], start[i + 1]):
            j, v = column[entry], value[entry]
            a += v * x[j, 0]
            b += v * x[j, 1]
            c += v * x[j, 2]
        product[i, 0], product[i, 1], product[i, 2] = a, b, c
