"""What align leaves of a sequence: the names in its checkpoint, for writer and reader.

pose         (F, 4, 4) f8 canonical -> scan, rigid    landmark_ok (F, 68) bool: the points that are trusted
landmark_doubted (F, 68) bool: points that disagree with the others; those by hand are trusted all the same
refined      (F,) bool: whether the surface made the pose better
attrs        up, up_decision: where the head turned out to lie otherwise than ingest, without landmarks, assumed;
             size_decision: what is unusual about the size that found landmarks show
             neutral_cost, neutral_reason: of the most neutral frame, absent where every frame is rejected
quality/align_landmark_residual, align_surface_residual (F,) f4 mm; neutral_cost (F,) f4 mm;
align_scale, align_height, align_depth (F,) f4
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.errors import CheckpointError
from mimicme.pipeline.landmarks import N_LANDMARKS

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter


NEUTRAL_COST, NEUTRAL_REASON = "neutral_cost", "neutral_reason"
_DECIDED = ("up", "up_decision", "size_decision")


class TurnedOut(NamedTuple):
    """What poses and landmarks say otherwise than ingest assumed without any; empty: nothing.

    Attributes:
        up: the file's axis that points up; axes: the sentence why.
        size: what is unusual about the size, a sentence.
    """

    up: str = ""
    axes: str = ""
    size: str = ""


class AlignCheckpoint(Checkpoint):
    """Reads what align left, a frame at a time."""

    stage = "align"
    explained = MappingProxyType(
        {
            "align_landmark_residual": "mean distance of the trusted landmarks of eyes, brows and nose to the rigidly "
            "aligned template's",
            "align_surface_residual": "median distance of the rigidly aligned template's upper face to the scan",
            "neutral_cost": "how far from neutral the frame seems: its landmarks' deviation, over what the scan shows "
            "and their confidence",
            "align_scale": "size of the face as a multiple of the template's, by the landmarks; never applied",
            "align_height": "height over width of the face as a multiple of the template's, by the landmarks; 1 where "
            "no other fits far better",
            "align_depth": "depth over width of the face as a multiple of the template's, likewise",
        }
    )

    def pose(self, row: int) -> Floats:
        """(4, 4) canonical -> scan."""
        return np.asarray(self["pose"][row], np.float64)

    def trusted(self, row: int) -> Bools:
        """(68,) which landmarks agree with the others."""
        return np.asarray(self["landmark_ok"][row], bool)

    def doubted(self, row: int) -> Bools:
        """(68,) which landmarks disagree with the others, those by hand among them, which are trusted all the same; of
        a frame that was rejected because its landmarks fit no face, all; none where an older version did not say."""
        status = self.statuses[row]
        if not status.ok or "landmark_doubted" not in self:
            return np.full(N_LANDMARKS, status.reason.startswith("landmark"))
        return np.asarray(self["landmark_doubted"][row], bool)

    def neutral_cost(self, row: int) -> float:
        """mm; the lower, the more neutral, see neutral_cost.py."""
        return float(self["quality/neutral_cost"][row])

    @property
    def decided(self) -> dict[str, str]:
        """What turned out otherwise than ingest assumed, each with the sentence why; mostly empty."""
        return {name: str(self.attrs[name]) for name in _DECIDED if name in self.attrs}


def most_neutral(path: Path) -> tuple[float, str] | None:
    """Cost, mm, of a sequence's most neutral frame, and why it is; None where no frame is left.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    try:
        with AlignCheckpoint(path) as align:
            if NEUTRAL_COST not in align.attrs:
                return None
            return float(align.attrs[NEUTRAL_COST]), str(align.attrs[NEUTRAL_REASON])
    except (
        OSError,
        KeyError,
        ValueError,
        TypeError,
        RuntimeError,
    ) as error:  # what a damaged file makes of h5py
        raise CheckpointError(
            "the checkpoint cannot be read", where=path, todo="Run `mimicme align` again with --force."
        ) from error


class AlignWriter:
    """Writes what align leaves, after `CheckpointWriter.continue_from`; `close` at the end."""

    def __init__(self, out: CheckpointWriter) -> None:
        self._out = out
        self._pose = out.rows("pose", (4, 4), "f8", "mm")
        self._trusted = out.rows("landmark_ok", (N_LANDMARKS,), "?")
        self._doubted = out.rows("landmark_doubted", (N_LANDMARKS,), "?")
        self._landmark_residual = out.figure("align_landmark_residual", "mm")
        self._surface_residual = out.figure("align_surface_residual", "mm")
        self._scale = out.figure("align_scale", "1")
        self._height, self._depth = out.figure("align_height", "1"), out.figure("align_depth", "1")
        self._neutral_cost = out.figure("neutral_cost", "mm")
        self._most_neutral: tuple[float, str] = np.inf, ""
        self._refined = np.zeros(len(out.statuses), bool)

    def frame(
        self,
        row: int,
        pose: Floats,
        trusted: Bools,
        doubted: Bools,
        refined: bool,
        landmark_residual_mm: float,
        surface_residual_mm: float,
        scale: float,
        stretch: Floats,
        neutral_cost: float,
        neutral_reason: str,
    ) -> None:
        """Write one frame; see the module; `stretch` (3,) of width, height and depth."""
        self._pose[row], self._trusted[row], self._refined[row] = pose, trusted, refined
        self._doubted[row] = doubted
        self._landmark_residual[row] = landmark_residual_mm
        self._surface_residual[row] = surface_residual_mm
        self._scale[row] = scale
        _, self._height[row], self._depth[row] = stretch
        self._neutral_cost[row] = neutral_cost
        self._most_neutral = min(self._most_neutral, (neutral_cost, neutral_reason))

    def close(self, turned_out: TurnedOut) -> None:
        """Write the rest."""
        if self._most_neutral[1]:
            self._out.attrs[NEUTRAL_COST], self._out.attrs[NEUTRAL_REASON] = self._most_neutral
        self._out.array("refined", self._refined)
        for name, value in zip(_DECIDED, turned_out, strict=True):
            if value:
                self._out.attrs[name] = value
