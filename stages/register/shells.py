"""What is worn and looks like skin: told by its rim.

A cap or a collar may have the skin's colour, and be as smooth.  But it has an edge all around: whoever goes over the
scan from the face to it has to climb a step.  Bare skin is reached without one, for a fold or an ear can be gone around.

How far a scan lies from the shape at rest, along its normals, changes slowly from place to place where people differ
or move, and by its thickness at a shell's rim.  Vertices around which this height, meaned over a vertex and its
neighbours, differs by `STEP_MM` are a barrier; what hangs together without crossing one is a piece (connected
components).  A piece is worn, as a whole, if none of it lies beside the face, if it is large enough, and if it lies
farther out than what the face hangs together with, along a rim that is long enough.  A gap in the scan is no rim: what
lies beyond it is not known, but for one of an edge or two, as scanners leave at a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats

STEP_MM = 0.8
"""Least difference of heights around a vertex that is a step; of `RISE_MM` as of this, see `LEAST_MM2`."""
RISE_MM = 0.8
"""Least height of a worn piece above the skin beyond its rim, in the median along it."""
ABOVE = 0.8
"""Least share of the rim along which it lies higher."""
LEAST_MM2, LEAST_RIM_MM = 300.0, 40.0
"""Of a piece that may be worn."""
NARROW_GAP = 2
"""Edges of a gap that is bridged."""
WIDEST_RIM = 4
"""Edges from a piece to the middle of its rim, at most."""


@dataclass(frozen=True)
class Shells:
    """Where a template may be covered by a shell, and how its vertices hang together there.

    Attributes:
        rows: (k,) vertices that may be covered: beyond the face, and not on an ear, whose relief is all steps.
        face: (k,) True for those beside the face, which is skin.
        ring: (k, k) rows that sum over a vertex and its neighbours among them.
        areas: (k,) mm^2.
    """

    rows: NDArray[np.int64]
    face: Bools
    ring: sparse.csr_matrix
    areas: Floats

    @classmethod
    def of(cls, ring: sparse.csr_matrix, judged: Floats, ears: Floats, areas: Floats) -> Shells:
        """Those of a template.

        Args:
            ring: (V, V) rows that sum over a vertex and its neighbours.
            judged: (V,) 0 in the face, more beyond it; ears: (V,) more than 0 on an ear; areas: (V,) mm^2.
        """
        rows = np.flatnonzero((judged > 0) & (ears == 0))
        beside = np.asarray(ring @ (judged == 0)).ravel() > 0
        inner = ring[rows][:, rows].tocsr()
        inner.data[:] = 1.0
        return cls(rows, beside[rows], inner, areas[rows])

    def worn(self, heights: Floats) -> NDArray[np.int64]:
        """Vertices of the template that lie below something worn.

        Args:
            heights: (V,) mm of a scan above the shape at rest; NaN where nothing is seen.
        """
        from scipy.sparse.csgraph import connected_components

        height, known = self._bridged(heights[self.rows])
        mean = self.ring @ height / np.maximum(self.ring @ known, 1)
        free = np.flatnonzero(known & (self._spread(mean, known) < STEP_MM))
        told = np.zeros(len(self.rows), bool)
        if not len(free):
            return self.rows[told]
        pieces, piece = connected_components(self.ring[free][:, free], directed=False)
        bare = np.zeros(pieces, bool)
        bare[piece[self.face[free]]] = True
        large = np.bincount(piece, self.areas[free], pieces) >= LEAST_MM2
        for one in np.flatnonzero(large & ~bare):
            side = np.zeros(len(self.rows))
            side[free] = (piece == one).astype(np.float64) - bare[piece]
            side, level = self._grown(side, mean, known)
            if self._higher(side, level):
                told |= side > 0
        return self.rows[told]

    def _bridged(self, height: Floats) -> tuple[Floats, Bools]:
        """Heights (k,), 0 where nothing is known, and where something is (k,): seen, or across a narrow gap."""
        known: Bools = np.isfinite(height)
        height = np.where(known, height, 0.0)
        for _ in range(NARROW_GAP):
            count = self.ring @ known
            added = ~known & (count > 0)
            height = np.where(added, self.ring @ height / np.maximum(count, 1), height)
            known = known | added
        return height, known

    def _spread(self, values: Floats, known: Bools) -> Floats:
        """(k,) largest less least of values (k,) among a vertex and its neighbours, as far as they are known."""
        start, column = self.ring.indptr[:-1], self.ring.indices
        most = np.maximum.reduceat(np.where(known, values, -np.inf)[column], start)
        least = np.minimum.reduceat(np.where(known, values, np.inf)[column], start)
        return np.where(known, most, np.inf) - np.where(known, least, 0.0)

    def _grown(self, side: Floats, level: Floats, known: Bools) -> tuple[Floats, Floats]:
        """The sides (k,) of a rim, 1 and -1, 0 elsewhere, grown towards each other over what is `known` (k,); and
        levels (k,) of both, carried along: on a step heights are between them."""
        for _ in range(WIDEST_RIM):
            towards = np.sign(self.ring @ side)
            added = (side == 0) & (towards != 0) & known
            over, under = self._mean(level, side > 0)[0], self._mean(level, side < 0)[0]
            level = np.where(added, np.where(towards > 0, over, under), level)
            side = np.where(added, towards, side)
        return side, level

    def _mean(self, values: Floats, where: Bools) -> tuple[Floats, Bools]:
        """Mean (k,) of values (k,) around a vertex, of those `where` (k,); and where there are some."""
        count = self.ring @ where
        return self.ring @ (values * where) / np.maximum(count, 1), np.asarray(count > 0)

    def _higher(self, side: Floats, level: Floats) -> bool:
        """Whether a piece, `side` (k,) 1, lies farther out than what the face hangs together with, -1."""
        over, beside_piece = self._mean(level, side > 0)
        under, beside_skin = self._mean(level, side < 0)
        rim = (side != 0) & beside_piece & beside_skin
        # a row of vertices on either side of it
        long_mm = self.areas[rim].sum() / (2 * float(np.sqrt(self.areas.mean())))
        if long_mm < LEAST_RIM_MM:
            return False
        rise = (over - under)[rim]
        return bool(np.median(rise) >= RISE_MM and (rise > 0).mean() >= ABOVE)
