"""What landmarks leaves of a sequence: the names in its checkpoint, for writer and reader.

points      (F, 68, 3) f4 scan frame, mm, NaN absent     source (F, 68) u1 none, manual, detected
confidence  (F, 68) f4 in [0, 1]                         absence (F, 68) u1 why a point is absent
head        (F, 4, 4) f8 pose of the head as it was found
refused     (F, 68, 3) f4 scan frame, mm: where the frame's file has a point that was not used, NaN elsewhere; also of a
            frame that was rejected for its file's points, unlike all else here
shown_shut  (F, 2) u1 1: the surface of a scan without colours shows that the eye (of `SHOWN_SHUT`) is shut
quality/landmark_distance (F,) f4 mm, landmark_confidence (F,) f4
attrs       detector, absence (the words of the numbers), origin_tally
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.landmarks import DETECTED, N_LANDMARKS
from mimicme.pipeline.template.eyelids import EYES

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter

SHOWN_SHUT = EYES[::-1]
"""Groups of `landmarks.GROUPS`, in the order of the checkpoint: left, right."""


class LandmarksCheckpoint(Checkpoint):
    """Reads what landmarks left, a frame at a time."""

    stage = "landmarks"
    explained = MappingProxyType(
        {
            "landmark_distance": "median distance of a file's landmarks to the scan's surface; none for pixels and "
            "found landmarks",
            "landmark_confidence": "mean confidence, 0 to 1, of the 51 inner landmarks; an absent one counts as 0",
        }
    )

    def points(self, row: int) -> Floats:
        """(68, 3) scan frame, mm, NaN absent."""
        return np.asarray(self["points"][row], np.float64)

    def source(self, row: int) -> NDArray[np.uint8]:
        """(68,) `pipeline.landmarks.NONE`, `MANUAL` or `DETECTED`."""
        return np.asarray(self["source"][row], np.uint8)

    def detected(self, row: int) -> Bools:
        """(68,) True where a point was found by a detector and not by hand."""
        return np.asarray(self.source(row) == DETECTED)

    def confidence(self, row: int) -> NDArray[np.float32]:
        """(68,) in [0, 1]."""
        return np.asarray(self["confidence"][row], np.float32)

    def refused(self, row: int) -> Floats:
        """(68, 3) scan frame, mm: what a file has and was not used, NaN elsewhere; of a rejected frame too.  NaN where
        an older version did not say."""
        if "refused" not in self:
            return np.full((N_LANDMARKS, 3), np.nan)
        return np.asarray(self["refused"][row], np.float64)

    def crossed(self, row: int, doubted: Bools) -> tuple[list[int], Floats]:
        """The landmarks that pictures cross out: numbers, and points (k, 3) in the scan's frame, mm.

        Args:
            doubted: (68,) which of the frame's points disagree with the others.
        """
        points, refused = self.points(row), self.refused(row)
        marks = [
            (number, place)
            for number in range(N_LANDMARKS)
            for place, crossed in ((points[number], doubted[number]), (refused[number], True))
            if crossed and np.isfinite(place).all()
        ]
        return [number for number, _ in marks], np.array([place for _, place in marks]).reshape(-1, 3)

    def shown_shut(self, row: int) -> tuple[str, ...]:
        """Groups of eyes that are shut, as the surface of a scan without colours shows; see `Located.shown_shut`."""
        return tuple(eye for eye, shut in zip(SHOWN_SHUT, self["shown_shut"][row], strict=True) if shut)


class LandmarksWriter:
    """Writes what landmarks leaves, after `CheckpointWriter.continue_from`.

    Args:
        detector: name of what found points; empty where all are by hand.
        absence: words of the numbers why a point is absent.
        origins: how many frames have their points from where (`checkpoint_index.TALLY`).
    """

    def __init__(self, out: CheckpointWriter, detector: str, absence: Sequence[str], origins: str) -> None:
        out.attrs["detector"] = detector
        out.attrs["absence"] = "; ".join(absence)
        out.attrs["origin_tally"] = origins
        self._points = out.rows("points", (N_LANDMARKS, 3), "f4", "mm")
        self._source = out.rows("source", (N_LANDMARKS,), "u1")
        self._confidence = out.rows("confidence", (N_LANDMARKS,), "f4", "1", fill=0)
        self._absence = out.rows("absence", (N_LANDMARKS,), "u1")
        self._head = out.rows("head", (4, 4), "f8", "mm")
        self._refused = out.rows("refused", (N_LANDMARKS, 3), "f4", "mm")
        self._shown_shut = out.rows("shown_shut", (len(SHOWN_SHUT),), "u1", fill=0)
        self._distance = out.figure("landmark_distance", "mm")
        self._sure = out.figure("landmark_confidence", "1")

    def frame(
        self,
        row: int,
        points: Floats,
        source: NDArray[np.uint8],
        confidence: NDArray[np.float32],
        absence: NDArray[np.uint8],
        head: Floats | None,
        distance_mm: float,
        sure: float,
        shown_shut: Collection[str] = (),
    ) -> None:
        """Write one frame; arrays as the module describes them, `sure` the mean confidence of the inner points."""
        self._points[row], self._source[row] = points.astype(np.float32), source
        self._confidence[row], self._absence[row] = confidence, absence
        if head is not None:
            self._head[row] = head
        self._shown_shut[row] = [eye in shown_shut for eye in SHOWN_SHUT]
        self._distance[row], self._sure[row] = distance_mm, sure

    def refused(self, row: int, points: Floats) -> None:
        """Write points (68, 3) of a frame's file that were not used, NaN elsewhere; of a rejected frame too."""
        self._refused[row] = points.astype(np.float32)
