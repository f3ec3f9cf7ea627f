"""Patches of skin: means around each vertex of the coarse level, and fields of such carried to the template's own."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.stages.register.levels import Levels

PATCH_MM = 12.0
"""Radius of the patch over which a change is averaged: noise of a depth camera is alike within about 10 mm."""


class Patches:
    """One patch around each of the n vertices of the coarse level.

    Args:
        levels: of the template.
        rest: (V, 3) the template, mm; still: (V,) True on the skull.

    Attributes:
        index: (n,) the coarse vertices; still: (n,) True where these are on the skull.
    """

    def __init__(self, levels: Levels, rest: Floats, still: Bools) -> None:
        from scipy.spatial import cKDTree

        self.index, self._prolong = levels.coarse.index, levels.prolong
        points = rest[self.index]
        pairs = cKDTree(points).sparse_distance_matrix(cKDTree(points), PATCH_MM, output_type="coo_matrix")
        near = sparse.csr_matrix((np.ones(pairs.nnz), (pairs.row, pairs.col)), shape=pairs.shape)
        self._near = near.maximum(sparse.identity(len(points), format="csr"))
        self._mean = sparse.diags(1 / np.asarray(self._near.sum(axis=1)).ravel()) @ self._near
        self.still = still[self.index]

    def mean_squares(self, fields: Floats) -> Floats:
        """(k, n) mean squared length around each coarse vertex, of fields (k, n, 3) over them."""
        return np.asarray((self._mean @ (fields**2).sum(axis=2).T).T)

    def spread(self, share: Floats) -> Floats:
        """(V,) in 0 to 1, smooth and 1 all over each patch with share 1, from shares (n,) of the patches."""
        patch = self._near.multiply(share[None, :]).max(axis=1).toarray().ravel()
        return np.asarray(np.clip(self._prolong @ (self._mean @ patch), 0, 1))
