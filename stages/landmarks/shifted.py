"""Whether a sequence's landmark files belong to the frames beside theirs.

A file of another scan lies off the surface and is refused (given.py).  One of a neighbouring frame may not: heads move
by a millimetre or two from frame to frame.  Where files are numbered from 1 and scans from 0, all of them lie off
alike, and on the scan before, or after, they lie as landmarks do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import counted
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.stages.landmarks.given import over_surface

LEAST_FRAMES = 3
OFF_MM, NEARER, MOST_FRAMES = 0.8, 0.5, 0.6
"""Files are another frame's when, in the median, they lie further off their own scans than the first, and at most so
far off the others, as a share; and when so many frames say so: at rest and at its apex a face hardly moves.  Points
that are placed to a millimetre lie 0.3 to 0.5 mm off; those of a still head lie on its neighbours too, but not nearer.
"""


STEADY = 0.25
"""Spread of the distances to their own scans, between the quartiles and as a share of their median, below which a head
moves evenly: points that all lie off by what it moves from frame to frame are then as near to the scans beside."""


class Shift(NamedTuple):
    """Files that lie on the scans of the frames before theirs, `by` -1, or after, 1; and the median distances, mm, to
    their own scans and to those, over so many `frames`; `steady` where the head moves so evenly that files which are
    their own frames' and all lie off alike look the same."""

    by: int
    own_mm: float
    other_mm: float
    frames: int
    steady: bool = False

    def sentence(self) -> str:
        beside = "before" if self.by < 0 else "after"
        number = "smaller" if self.by < 0 else "greater"
        renamed = f"give each file the name of the scan {beside} it, whose number is {number} by one."
        if self.steady:
            doubt = (
                "Either they are numbered otherwise than the scans, or they are their own and all lie off alike: the "
                "head moves evenly, so that both look the same. Look at one file on its scan and on the one "
                f"{beside}; if it belongs to that, {renamed} Else correct where its points lie."
            )
        else:
            doubt = f"Are they numbered otherwise than the scans? If so, {renamed}"
        return (
            f"The sequence's landmark files lie {self.own_mm:.1f} mm off their own scans in the median, and "
            f"{self.other_mm:.1f} mm off those of the frame {beside} ({counted(self.frames, 'frame')} compared). "
            + doubt
        )


class NeighbourCheck:
    """Compares the files of a sequence, frame by frame, with the scans of the frames before and after theirs."""

    def __init__(self) -> None:
        self._last: tuple[int, Floats, Surface, float] | None = None
        # to its own scan and to the one beside it, by the file's row
        self._pairs: dict[int, dict[int, tuple[float, float]]] = {-1: {}, 1: {}}
        self._rows: set[int] = set()

    def add(self, row: int, points: Floats, surface: Surface) -> None:
        """The frame of a row, after those before it: its file's points (68, 3), NaN absent, and its scan."""
        own = over_surface(points, surface)
        self._rows.add(row)
        if self._last is not None and self._last[0] == row - 1:
            _, earlier, before, earlier_own = self._last
            self._pairs[-1][row] = own, over_surface(points, before)
            self._pairs[1][row - 1] = earlier_own, over_surface(earlier, surface)
        self._last = row, points, surface, own

    def shift(self) -> Shift | None:
        """Whose the files are, when they are not their own frames'; None when they are, or nothing tells."""
        found = []
        for by, pairs in self._pairs.items():
            values = np.array(list(pairs.values())).reshape(-1, 2)
            values = values[np.isfinite(values).all(axis=1)]
            if len(values) < LEAST_FRAMES:
                continue
            own, other = np.median(values, axis=0)
            said = np.mean(values[:, 1] < NEARER * values[:, 0])
            if own > OFF_MM and other < NEARER * own and said >= MOST_FRAMES:
                low, high = np.percentile(values[:, 0], (25, 75))
                steady = bool(high - low < STEADY * own)
                found.append(Shift(by, float(own), float(other), len(values), steady))
        return min(found, key=lambda shift: shift.other_mm, default=None)

    def may_be(self, row: int, shift: Shift) -> bool:
        """Whether a row's own file is one of those that are shifted: it lies on the scan beside its own, or there is no
        scan there to tell; not where it lies on neither."""
        own, other = self._pairs[shift.by].get(row, (np.nan, np.nan))
        return row in self._rows and not other >= NEARER * own
