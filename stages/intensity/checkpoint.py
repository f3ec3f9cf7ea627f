"""What intensity leaves of a sequence: the names in its checkpoint, for writer and reader.

at_rest             (k, 3) f4, canonical frame, mm: the face at rest, in the neutral's checkpoint alone
quality/amount      (F,) f4, 0 to 1             quality/motion (F,) f4 mm
attributes          onset, apex, offset: frame numbers; absent of a neutral
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.checkpoint import Checkpoint

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter

_REST = "at_rest"


class Phases(NamedTuple):
    """Frame numbers: where an expression begins, is largest, and has gone."""

    onset: int
    apex: int
    offset: int


class IntensityCheckpoint(Checkpoint):
    """Reads what intensity left."""

    stage = "intensity"
    explained = MappingProxyType(
        {
            "amount": "how far the expression has gone: 0 at the subject's neutral, 1 at the sequence's apex",
            "motion": "root mean square distance of the face's core to the subject at rest",
        }
    )

    @staticmethod
    def rest_of(path: Path) -> Floats | None:
        """(k, 3) mm, the face at rest that a neutral's checkpoint has; None where it has none."""
        with IntensityCheckpoint(path) as checkpoint:
            return np.asarray(checkpoint[_REST][:], np.float64) if _REST in checkpoint else None

    @property
    def phases(self) -> dict[str, int]:
        """Frame numbers by name, of `Phases`; empty of a neutral."""
        return {name: int(self.attrs[name]) for name in Phases._fields if name in self.attrs}


class IntensityWriter:
    """Writes what intensity leaves, after `CheckpointWriter.continue_from`."""

    def __init__(self, out: CheckpointWriter) -> None:
        self._out = out
        self._amount = out.figure("amount", "1")
        self._motion = out.figure("motion", "mm")

    def rest(self, points: Floats) -> None:
        """Write the face at rest, (k, 3) mm."""
        self._out.array(_REST, points.astype(np.float32))

    def phases(self, found: Phases) -> None:
        """Write where the expression begins, is largest, and has gone."""
        for name, number in found._asdict().items():
            self._out.attrs[name] = number

    def frame(self, row: int, amount: float, motion_mm: float) -> None:
        """Write one frame."""
        self._amount[row], self._motion[row] = amount, motion_mm
