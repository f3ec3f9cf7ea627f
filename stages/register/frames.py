"""What a frame is registered from: its scan, its trusted landmarks, and its pose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.scan import has_image, load_colored, load_scan, vertex_colors
from mimicme.pipeline.stage import Task
from mimicme.stages.align.checkpoint import AlignCheckpoint
from mimicme.stages.ingest.checkpoint import IngestCheckpoint
from mimicme.stages.landmarks.checkpoint import LandmarksCheckpoint
from mimicme.stages.register.frame import Frame


@dataclass(frozen=True)
class Frames:
    """The opened checkpoints that the frames of a sequence are read from, one at a time."""

    ingest: IngestCheckpoint
    landmarks: LandmarksCheckpoint
    align: AlignCheckpoint
    numbers: list[int]

    def landmarks_and_confidence(self, row: int) -> tuple[Floats, Floats]:
        """Landmarks (68, 3) scan frame, mm, and their confidence (68,): 0 where align does not trust them."""
        confidence = self.landmarks.confidence(row).astype(np.float64)
        return self.landmarks.points(row), np.where(self.align.trusted(row), confidence, 0.0)

    def load(self, row: int, pose: Floats, colors: bool = False) -> Frame:
        """One frame, which lies as pose (4, 4), canonical -> scan, says.

        Args:
            colors: whether its vertices' colours are wanted, for which its image is decoded.
        """
        scan = load_scan(self.ingest, row)
        coloured = self._coloured(row, scan)
        return Frame(
            self.numbers[row],
            scan.vertices,
            scan.faces,
            *self.landmarks_and_confidence(row),
            pose,
            self.landmarks.detected(row),
            coloured,
            vertex_colors(*load_colored(self.ingest, row, scan)[:2]) if coloured and colors else None,
            self.landmarks.shown_shut(row),
        )

    def _coloured(self, row: int, scan: Mesh) -> bool:
        """Whether landmarks that were found were found in colours."""
        has_some = scan.colors is not None or (scan.uv is not None and has_image(self.ingest, row))
        return has_some and "face-without-texture" not in self.landmarks.statuses[row].note


@contextmanager
def open_frames(task: Task[Any]) -> Iterator[Frames]:
    """The frames of a task of either registration."""
    with (
        task.input(IngestCheckpoint) as ingest,
        task.input(LandmarksCheckpoint) as landmarks,
        task.input(AlignCheckpoint) as align,
    ):
        yield Frames(ingest, landmarks, align, align.numbers.tolist())
