"""What align leaves of a sequence: the names in its checkpoint, for writer and reader.

pose         (F, 4, 4) f8 canonical -> scan, rigid    landmark_ok (F, 68) bool: the points that are trusted
refined      (F,) bool: whether the surface made the pose better
quality/align_landmark_residual, align_surface_residual (F,) f4 mm; align_scale (F,) f4
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.landmarks import N_LANDMARKS

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter


class AlignCheckpoint(Checkpoint):
    """Reads what align left, a frame at a time."""

    stage = "align"

    def pose(self, row: int) -> Floats:
        """(4, 4) canonical -> scan."""
        return np.asarray(self["pose"][row], np.float64)

    def trusted(self, row: int) -> Bools:
        """(68,) which landmarks agree with the others."""
        return np.asarray(self["landmark_ok"][row], bool)


class AlignWriter:
    """Writes what align leaves, after `CheckpointWriter.continue_from`; `close` at the end."""

    def __init__(self, out: CheckpointWriter) -> None:
        self._out = out
        self._pose = out.rows("pose", (4, 4), "f8", "mm")
        self._trusted = out.rows("landmark_ok", (N_LANDMARKS,), "?")
        self._landmark_residual = out.figure("align_landmark_residual", "mm")
        self._surface_residual = out.figure("align_surface_residual", "mm")
        self._scale = out.figure("align_scale", "1")
        self._refined = np.zeros(len(out.statuses), bool)

    def frame(
        self,
        row: int,
        pose: Floats,
        trusted: Bools,
        refined: bool,
        landmark_residual_mm: float,
        surface_residual_mm: float,
        scale: float,
    ) -> None:
        """Write one frame; see the module."""
        self._pose[row], self._trusted[row], self._refined[row] = pose, trusted, refined
        self._landmark_residual[row] = landmark_residual_mm
        self._surface_residual[row] = surface_residual_mm
        self._scale[row] = scale

    def close(self) -> None:
        self._out.array("refined", self._refined)
