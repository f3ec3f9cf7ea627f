"""Whether a sequence's landmark files belong to the frames beside theirs.

A file of another scan lies off the surface and is refused (given.py).  One of a neighbouring frame may not: heads move
by a millimetre or two from frame to frame.  Where files are numbered from 1 and scans from 0, all of them lie off
alike, and on the scan before, or after, they lie as landmarks do.  Where there are too few frames for that, a frame's
own scan tells: points that are another moment's come much nearer to it when the head's motion between is undone, and
points that are merely imprecise do not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.errors import counted
from mimicme.pipeline.geometry.rigid import fit_rigid
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


LEAST_POINTS = 20
"""Over the surface, for a motion of all of them to tell: it has six unknowns."""
LEFT, MOVED_MM = 0.7, 1.2
"""Points are off as a whole when a rigid motion of at least the second, in the mean, leaves at most the first of how
far off they lie, as a share.  On two synthetic people of maker A (26 frames) a neighbouring frame's points keep 0.1 to
0.7 of it after 1.5 to 10 mm; a frame's own, which lie under `OFF_MM` off, keep 0.6 to 1 after 0.2 to 0.8 mm."""
ROUNDS = 6
ROBUST_MM = 0.3
"""Distance from which on a point counts by its distance and no more by its square: a mouth that moved leads nothing."""


class OffAlike(NamedTuple):
    """How far points lie off a scan, mm, median; what is left of it when they are moved as a whole; and by how much
    they are then moved, mm, mean."""

    off_mm: float
    left_mm: float
    moved_mm: float

    def sentence(self) -> str:
        return (
            f"The landmark file lies {self.off_mm:.1f} mm off its scan in the median, and {self.left_mm:.1f} mm once "
            f"all its points are moved by {self.moved_mm:.1f} mm as a whole, as if the head had moved between: is it "
            "another frame's, or was the scan moved after it? Give the frame its own, or remove it and let the "
            "landmarks be found."
        )


def off_alike(points: Floats, surface: Surface) -> OffAlike | None:
    """Whether points (68, 3), NaN absent, lie off a surface as a whole; None where they do not, or too few lie over it.

    Point-to-plane ICP (Chen and Medioni 1992) of the points that lie over the surface, re-weighted for the least sum of
    distances.
    """
    there = points[np.isfinite(points).all(axis=1)]
    off = over_surface(points, surface)
    if len(there) < LEAST_POINTS or not off > OFF_MM:
        return None
    moved = there
    for _ in range(ROUNDS):
        nearest = surface.closest(moved)
        inside = np.asarray(~surface.rim[surface.faces[nearest.triangles]].any(axis=1))
        if np.count_nonzero(inside) < LEAST_POINTS:
            return None
        moved = _towards(moved, nearest.points, _normals(surface, nearest.triangles), inside)
    left = over_surface(moved, surface)
    by = float(np.linalg.norm(moved - there, axis=1).mean())
    return OffAlike(off, left, by) if left <= LEFT * off and by >= MOVED_MM else None


def _normals(surface: Surface, triangles: NDArray[np.int64]) -> Floats:
    """(k, 3) of triangles, of length 1."""
    a, b, c = np.moveaxis(surface.vertices[surface.faces[triangles]], 1, 0)
    normals = np.cross(b - a, c - a)
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12))


def _towards(points: Floats, places: Floats, normals: Floats, use: Bools) -> Floats:
    """Points (k, 3) moved rigidly towards the planes through places (k, 3), one step of Gauss and Newton."""
    middle = points.mean(axis=0)
    arms = points - middle
    terms = np.hstack([np.cross(arms, normals), normals])[use]
    off = np.einsum("ij,ij->i", places - points, normals)[use]
    root = np.sqrt(1 / np.maximum(np.abs(off), ROBUST_MM))
    turn, shift = np.split(np.linalg.lstsq(terms * root[:, None], off * root, rcond=1e-3)[0], 2)
    return np.asarray(fit_rigid(arms, arms + np.cross(turn, arms))[:3, :3] @ arms.T).T + middle + shift


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
    """Compares the files of a sequence, frame by frame, with the scans of the frames before and after theirs.

    Attributes:
        off_alike: by row, of the files that lie off their own scan as a whole.
    """

    def __init__(self) -> None:
        self._last: tuple[int, Floats, Surface, float] | None = None
        # to its own scan and to the one beside it, by the file's row
        self._pairs: dict[int, dict[int, tuple[float, float]]] = {-1: {}, 1: {}}
        self._rows: set[int] = set()
        self.off_alike: dict[int, OffAlike] = {}

    def add(self, row: int, points: Floats, surface: Surface) -> None:
        """The frame of a row, after those before it: its file's points (68, 3), NaN absent, and its scan."""
        own = over_surface(points, surface)
        self._rows.add(row)
        if (alike := off_alike(points, surface)) is not None:
            self.off_alike[row] = alike
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
