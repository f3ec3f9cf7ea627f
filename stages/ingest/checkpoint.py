"""What ingest leaves of a sequence: the names in its checkpoint, for writer and reader.

frames/<row>/...        the cleaned scan and its image (pipeline/scan.py)
file_from_scan          (4, 4) f8, scan (mm, +y up) -> the file's units and axes
time_s                  (F,) f8, seconds since the first frame; NaN where unknown
quality/scan_vertices, scan_triangles, removed_triangles    (F,) f4
attrs                   unit, unit_mm, unit_decision, size_decision (of unusual ones), up, up_decision,
                        mirrored (where file_from_scan mirrors), fps, max_pixels
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.items import times_of
from mimicme.pipeline.scan import write_image_limit, write_scan

if TYPE_CHECKING:
    from mimicme.pipeline.captures.units import AxesDecision, UnitDecision
    from mimicme.pipeline.checkpoint import CheckpointWriter
    from mimicme.pipeline.geometry.mesh import Mesh
    from mimicme.pipeline.items import Sequence

_DECIDED = ("unit", "unit_decision", "size_decision", "up", "up_decision", "mirrored", "fps_decision")


class Assumed(NamedTuple):
    """What ingest takes for granted without landmarks.

    Attributes:
        up: the file's axis that points up; None where it was told or declared.
        unit: whether the unit was told by the scan's extent alone.
    """

    up: str | None
    unit: bool


class IngestCheckpoint(Checkpoint):
    """Reads what ingest left; scans and images by `pipeline.scan`."""

    stage = "ingest"
    explained = MappingProxyType(
        {
            "scan_vertices": "number of vertices of the cleaned scan",
            "scan_triangles": "number of triangles of the cleaned scan",
            "removed_triangles": "number of triangles that cleaning removed: degenerate, duplicate, with an overlong "
            "edge, or of a small loose piece",
        }
    )

    @property
    def file_from_scan(self) -> Floats:
        """(4, 4) scan (mm, +y up) -> the capture file's units and axes."""
        return np.asarray(self["file_from_scan"][()], np.float64)

    @property
    def fps(self) -> float:
        """Frames per second; NaN: unknown."""
        return float(self.attrs.get("fps", np.nan))

    @property
    def times(self) -> Floats:
        """(F,) seconds since the first frame, NaN where unknown; of older checkpoints by numbers and rate."""
        if "time_s" in self:
            return np.asarray(self["time_s"][()], np.float64)
        return np.asarray(times_of(self.numbers.tolist(), self.fps), np.float64)

    @property
    def decided(self) -> dict[str, Any]:
        """The unit, the axis to the top of the head and a rate that was not declared, each with the sentence why; what
        is unusual about the size."""
        return {name: self.attrs[name] for name in _DECIDED if name in self.attrs}

    @property
    def assumed(self) -> Assumed:
        """What was taken for granted because there were no landmarks."""
        decided = {name: str(value) for name, value in self.decided.items()}
        guessed = "no landmarks" in decided.get("up_decision", "")
        by_extent = "no landmarks" in decided.get("unit_decision", "")
        return Assumed(decided.get("up", "") if guessed else None, by_extent)


class IngestWriter:
    """Writes what ingest leaves, after `CheckpointWriter.frames`."""

    def __init__(
        self,
        out: CheckpointWriter,
        unit: UnitDecision,
        axes: AxesDecision,
        file_from_scan: Floats,
        fps: float,
        max_pixels: int,
        sequence: Sequence | None = None,
    ) -> None:
        self._out = out
        out.attrs["unit"] = unit.unit
        out.attrs["unit_mm"] = unit.unit_mm
        out.attrs["unit_decision"] = unit.sentence
        if unit.remark:
            out.attrs["size_decision"] = unit.remark
        out.attrs["up"] = axes.up
        out.attrs["up_decision"] = axes.sentence
        if axes.mirrored:
            out.attrs["mirrored"] = True
        rate = fps if sequence is None else sequence.fps(fps)
        out.attrs["fps"] = float(rate)
        if np.isnan(fps) and np.isfinite(rate):
            out.attrs["fps_decision"] = f"{rate:.4g}: the times in the file names tell it"
        write_image_limit(out, max_pixels)
        out.array("file_from_scan", file_from_scan)
        if sequence is not None:
            out.array("time_s", np.asarray(sequence.times(fps), np.float64), "s")
        self._vertices = out.figure("scan_vertices", "1")
        self._triangles = out.figure("scan_triangles", "1")
        self._removed = out.figure("removed_triangles", "1")

    def frame(self, row: int, scan: Mesh, encoded: bytes | None, removed_triangles: int) -> None:
        """Write one frame: its scan (scan frame, mm) and its encoded image, if it has one."""
        write_scan(self._out, row, scan, encoded)
        self._vertices[row] = len(scan.vertices)
        self._triangles[row] = len(scan.faces)
        self._removed[row] = removed_triangles
