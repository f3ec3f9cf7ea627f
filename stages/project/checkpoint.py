"""What project leaves of a sequence: the names in its checkpoint, for writer and reader.

    landmarks           (F, 68, 3) f4 on the scan's surface, canonical frame, mm; NaN absent
    landmark_source     (F, 68) u1                  landmark_confidence (F, 68) f4
    landmark_distance   (F, 68) f4 mm               landmark_uv (F, 68, 2) f4
    landmark_visible    (F, views, 68) u1, from `STANDARD_VIEWS`
    quality/landmarks_projected (F,) f4, landmark_gap (F,) f4 mm

The arrays go into the release under the names they have here.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.landmarks import N_LANDMARKS, STANDARD_VIEWS

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter

_LANDMARKS, _SOURCE = "landmarks", "landmark_source"


class ProjectCheckpoint(Checkpoint):
    """Reads what project left."""

    stage = "project"
    explained = MappingProxyType(
        {
            "landmarks_projected": "number of the 68 landmarks that lie on the scan: projected from the mesh, or given "
            "and trusted",
            "landmark_gap": "median distance of the registered mesh's landmarks to where they are projected onto "
            "the scan",
        }
    )

    def landmarks(self, row: int) -> Floats:
        """(68, 3) canonical frame, mm, NaN absent."""
        return np.asarray(self[_LANDMARKS][row], np.float64)

    def source(self, row: int) -> NDArray[np.uint8]:
        """(68,) where each landmark is from."""
        return np.asarray(self[_SOURCE][row], np.uint8)

    def of_release(self, name: str) -> NDArray[Any]:
        """(F, ...) the array that goes into the release under `name`."""
        return np.asarray(self[name][:])


class ProjectWriter:
    """Writes what project leaves, after `CheckpointWriter.continue_from`."""

    def __init__(self, out: CheckpointWriter) -> None:
        self._points = out.rows(_LANDMARKS, (N_LANDMARKS, 3), "f4", "mm")
        self._source = out.rows(_SOURCE, (N_LANDMARKS,), "u1")
        self._confidence = out.rows("landmark_confidence", (N_LANDMARKS,), "f4", "1", fill=0)
        self._distance = out.rows("landmark_distance", (N_LANDMARKS,), "f4", "mm")
        self._uv = out.rows("landmark_uv", (N_LANDMARKS, 2), "f4", "1")
        self._visible = out.rows("landmark_visible", (len(STANDARD_VIEWS), N_LANDMARKS), "u1")
        self._count = out.figure("landmarks_projected", "1")
        self._gap = out.figure("landmark_gap", "mm")

    def frame(
        self,
        row: int,
        landmarks: Floats,
        source: NDArray[np.uint8],
        confidence: Floats,
        distance: Floats,
        uv: Floats,
        visible: Bools,
        count: int,
        gap_mm: float,
    ) -> None:
        """Write one frame; arrays as the module describes them, gap NaN where no landmark lies on the scan."""
        self._points[row], self._source[row], self._confidence[row] = landmarks, source, confidence
        self._distance[row], self._uv[row], self._visible[row] = distance, uv, visible
        self._count[row], self._gap[row] = count, gap_mm
