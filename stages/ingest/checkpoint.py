"""What ingest leaves of a sequence: the names in its checkpoint, for writer and reader.

frames/<row>/...        the cleaned scan and its image (pipeline/scan.py)
file_from_scan          (4, 4) f8, scan (mm, +y up) -> the file's units and axes
quality/scan_vertices, scan_triangles, removed_triangles    (F,) f4
attrs                   unit, unit_mm, unit_decision, up, up_decision, fps, max_pixels
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.scan import write_image_limit, write_scan

if TYPE_CHECKING:
    from mimicme.pipeline.captures.units import AxesDecision, UnitDecision
    from mimicme.pipeline.checkpoint import CheckpointWriter
    from mimicme.pipeline.geometry.mesh import Mesh

_DECIDED = ("unit", "unit_decision", "up", "up_decision")


class IngestCheckpoint(Checkpoint):
    """Reads what ingest left; scans and images by `pipeline.scan`."""

    stage = "ingest"

    @property
    def file_from_scan(self) -> Floats:
        """(4, 4) scan (mm, +y up) -> the capture file's units and axes."""
        return np.asarray(self["file_from_scan"][()], np.float64)

    @property
    def fps(self) -> float:
        """Frames per second; NaN: unknown."""
        return float(self.attrs.get("fps", np.nan))

    @property
    def decided(self) -> dict[str, Any]:
        """The unit and the axis to the top of the head, each with the sentence why."""
        return {name: self.attrs[name] for name in _DECIDED if name in self.attrs}


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
    ) -> None:
        self._out = out
        out.attrs["unit"] = unit.unit
        out.attrs["unit_mm"] = unit.unit_mm
        out.attrs["unit_decision"] = unit.sentence
        out.attrs["up"] = axes.up
        out.attrs["up_decision"] = axes.sentence
        out.attrs["fps"] = float(fps)
        write_image_limit(out, max_pixels)
        out.array("file_from_scan", file_from_scan)
        self._vertices = out.figure("scan_vertices", "1")
        self._triangles = out.figure("scan_triangles", "1")
        self._removed = out.figure("removed_triangles", "1")

    def frame(self, row: int, scan: Mesh, encoded: bytes | None, removed_triangles: int) -> None:
        """Write one frame: its scan (scan frame, mm) and its encoded image, if it has one."""
        write_scan(self._out, row, scan, encoded)
        self._vertices[row] = len(scan.vertices)
        self._triangles[row] = len(scan.faces)
        self._removed[row] = removed_triangles
