"""What is worn and looks like skin: told by its rim.

A cap may have the skin's colour, and be as smooth.  But it has an edge all around: whoever goes over the scan from the
face to it has to climb a step.  Bare skin is reached without one: a fold or an ear can be gone around.  Collars are not
told so: people's necks begin at the jaw with as much of a step, unlike the template's.

How far a scan lies from the shape at rest changes slowly from place to place where people differ, and by its thickness
at a shell's rim.  Vertices around which this offset, meaned over a vertex and its neighbours, differs along the normal
by `STEP_MM` are a barrier; what hangs together without crossing one is a piece (connected components).  A piece is
worn, as a whole, if none of it lies beside the face, if it is large enough, and if it lies farther out than what the
face hangs together with, along a rim that is long enough.  A gap in the scan is no rim: what lies beyond it is not
known, but for one of an edge or two, as scanners leave at a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats

STEP_MM = 0.8
"""Least difference of offsets around a vertex that is a step.  Bare skin of a person of `mimicme synth` has 0.5 in its
99th percentile on a template whose vertices are 1.25 mm apart; six have 0.6 to 1.6 in their 90th where they are 4 mm
apart, and none of these hangs together all around anything.  A rim of 2.5 mm has 1.0 in the median on the first."""
RISE_MM = 0.8
"""Least height of a worn piece above the skin beyond its rim, in the median along it."""
ABOVE = 0.95
"""Least share of the rim along which it lies higher: of pieces of caps and collars, 2.5 to 15 mm thick, put over the
scans of six people of `mimicme synth`, all of it."""
LEAST_MM2, LEAST_RIM_MM = 300.0, 60.0
"""Of a piece that may be worn, with its half of the barrier.  Pieces of these caps have rims of 49 to 225 mm; a bare
place above an ear of another maker has one of 47."""
FEWEST = 4
"""Vertices of a piece: fewer are what noise leaves within a barrier."""
NARROW_GAP = 2
"""Edges of a gap that is bridged."""
WIDEST_RIM = 4
"""Edges from a piece to the middle of its rim, at most."""


@dataclass(frozen=True)
class Shells:
    """Where a template may be covered by a shell, and how its vertices hang together there.

    Attributes:
        rows: (k,) vertices that may be covered: above the eyes, beyond the face, and not on an ear, whose relief is all
            steps.
        face: (k,) True for those beside the face, which is skin.
        ring: (k, k) rows that sum over a vertex and its neighbours among them.
        areas: (k,) mm^2.
    """

    rows: NDArray[np.int64]
    face: Bools
    ring: sparse.csr_matrix
    areas: Floats

    @classmethod
    def of(cls, ring: sparse.csr_matrix, judged: Floats, above: Bools, ears: Floats, areas: Floats) -> Shells:
        """Those of a template.

        Args:
            ring: (V, V) rows that sum over a vertex and its neighbours.
            judged: (V,) 0 in the face, more beyond it; above: (V,) True above the eyes.
            ears: (V,) more than 0 on an ear; areas: (V,) mm^2.
        """
        rows = np.flatnonzero((judged > 0) & above & (ears == 0))
        beside = np.asarray(ring @ (judged == 0)).ravel() > 0
        inner = ring[rows][:, rows].tocsr()
        inner.data[:] = 1.0
        return cls(rows, beside[rows], inner, areas[rows])

    def worn(self, offsets: Floats, normals: Floats) -> NDArray[np.int64]:
        """Vertices of the template that lie below something worn.

        Args:
            offsets: (k, 3) mm, from the shape at rest to the scan; NaN where nothing is seen.
            normals: (k, 3) of the fitted shape, of length 1.
        """
        from scipy.sparse.csgraph import connected_components

        offset, known = self._bridged(offsets)
        level = self.ring @ offset / np.maximum(self.ring @ known, 1)[:, None]
        free = np.flatnonzero(known & (self._spread(level, normals, known) < STEP_MM))
        told = np.zeros(len(self.rows), bool)
        if not len(free):
            return self.rows[told]
        pieces, piece = connected_components(self.ring[free][:, free], directed=False)
        bare = np.zeros(pieces, bool)
        bare[piece[self.face[free]]] = True
        core = np.bincount(piece, minlength=pieces) >= FEWEST
        for one in np.flatnonzero(core & ~bare):
            side = np.zeros(len(self.rows))
            side[free] = (piece == one).astype(np.float64) - bare[piece]
            side, levels = self._grown(side, level, known)
            if self.areas[side > 0].sum() >= LEAST_MM2 and self._higher(side, levels, normals):
                told |= side > 0
        return self.rows[told]

    def _bridged(self, offset: Floats) -> tuple[Floats, Bools]:
        """Offsets (k, 3), 0 where nothing is known, and where something is (k,): seen, or across a narrow gap."""
        known: Bools = np.isfinite(offset[:, 0])
        offset = np.where(known[:, None], offset, 0.0)
        for _ in range(NARROW_GAP):
            count = self.ring @ known
            added = ~known & (count > 0)
            offset = np.where(added[:, None], self.ring @ offset / np.maximum(count, 1)[:, None], offset)
            known = known | added
        return offset, known

    def _spread(self, level: Floats, normals: Floats, known: Bools) -> Floats:
        """(k,) how much levels (k, 3) differ around a vertex, as far as they are known, along its own normal: where the
        surface has a crease, what lies beyond it has moved along another one."""
        start, column = self.ring.indptr[:-1], self.ring.indices
        row = np.repeat(np.arange(len(known)), np.diff(self.ring.indptr))
        along = np.einsum("ex,ex->e", level[column] - level[row], normals[row])
        along[~known[column]] = 0.0  # as at the vertex itself
        return np.maximum.reduceat(along, start) - np.minimum.reduceat(along, start)

    def _grown(self, side: Floats, level: Floats, known: Bools) -> tuple[Floats, Floats]:
        """The sides (k,) of a rim, 1 and -1, 0 elsewhere, grown towards each other over what is `known` (k,); and
        levels (k, 3) of both, carried along: those on the step itself lie between them."""
        for _ in range(WIDEST_RIM):
            towards = np.sign(self.ring @ side)
            added = (side == 0) & (towards != 0) & known
            over, under = self._mean(level, side > 0)[0], self._mean(level, side < 0)[0]
            level = np.where(added[:, None], np.where(towards[:, None] > 0, over, under), level)
            side = np.where(added, towards, side)
        return side, level

    def _mean(self, level: Floats, where: Bools) -> tuple[Floats, Bools]:
        """Mean (k, 3) of levels (k, 3) around a vertex, of those `where` (k,); and where there are some."""
        count = self.ring @ where
        return self.ring @ (level * where[:, None]) / np.maximum(count, 1)[:, None], np.asarray(count > 0)

    def _higher(self, side: Floats, level: Floats, normals: Floats) -> bool:
        """Whether a piece, `side` (k,) 1, lies farther out than what the face hangs together with, -1."""
        over, beside_piece = self._mean(level, side > 0)
        under, beside_skin = self._mean(level, side < 0)
        rim = (side != 0) & beside_piece & beside_skin
        # a row of vertices on either side of it
        long_mm = self.areas[rim].sum() / (2 * float(np.sqrt(self.areas.mean())))
        if long_mm < LEAST_RIM_MM:
            return False
        rise = np.einsum("rx,rx->r", (over - under)[rim], normals[rim])
        return bool(np.median(rise) >= RISE_MM and (rise > 0).mean() >= ABOVE)
