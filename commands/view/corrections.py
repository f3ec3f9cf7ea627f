"""The landmarks of a frame as a person corrects them: begun from what was found, kept in WORKSPACE/corrections.

Points are in the capture file's own unit and axes, as the files are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.items import Correction
from mimicme.pipeline.landmarks import DETECTED, MANUAL, N_LANDMARKS, NONE, Landmarks, Sides
from mimicme.pipeline.landmarks.files import read_points, write_landmarks
from mimicme.pipeline.review import FOUND
from mimicme.pipeline.whole_file import write_whole
from mimicme.stages.landmarks.checkpoint import LandmarksCheckpoint
from mimicme.stages.landmarks.unedited_points import parse_found, write_found

_SAME = 1e-6
"""Of the largest coordinate: what a program wrote and read again is within that."""


@dataclass(frozen=True)
class GivenPoints:
    """The landmarks of one frame.

    Attributes:
        points: (68, 3) NaN where absent.
        unmoved: (68, 3) those of them that a detector found and nobody moved, NaN elsewhere.
        confidence: (68,) of the unmoved ones.
    """

    points: Floats
    unmoved: Floats
    confidence: Floats

    @classmethod
    def of_checkpoint(cls, path: Path, number: int, file_from_scan: Floats) -> GivenPoints | None:
        """As the stage landmarks left them, all absent where it rejected the frame; None: it has no such frame.

        Args:
            path: of its checkpoint.
            file_from_scan: (4, 4).
        """
        with LandmarksCheckpoint(path) as found:
            rows = np.flatnonzero(found.numbers == number)
            if not len(rows):
                return None
            row = int(rows[0])
            points = transform(file_from_scan, found.points(row))
            by_detector = found.detected(row)[:, None]
            return cls(
                points, np.where(by_detector, points, np.nan), found.confidence(row).astype(np.float64)
            )

    @classmethod
    def of_correction(cls, correction: Correction, sides: Sides = "image") -> GivenPoints:
        """As a correction has them.

        Args:
            sides: whose left its words mean.

        Raises:
            FrameRejected: its files cannot be read.
        """
        points = read_points(correction.data, correction.name, sides)
        if correction.found is None:
            return cls(points, np.full((N_LANDMARKS, 3), np.nan), np.zeros(N_LANDMARKS))
        unmoved, confidence = parse_found(correction.found, correction.name)
        near = _SAME * float(np.nanmax(np.abs(points), initial=0.0))
        same = np.asarray(np.isclose(points, unmoved, rtol=0, atol=near).all(axis=1))
        return cls(points, np.where(same[:, None], unmoved, np.nan), confidence.astype(np.float64))

    @property
    def sources(self) -> NDArray[np.uint8]:
        """(68,) `pipeline.landmarks.NONE`, `MANUAL` or `DETECTED`."""
        there, found = np.isfinite(self.points).all(axis=1), np.isfinite(self.unmoved).all(axis=1)
        return np.where(found, DETECTED, np.where(there, MANUAL, NONE)).astype(np.uint8)

    def moved(self, points: Mapping[int, Floats]) -> GivenPoints:
        """The same with some points (3,) elsewhere, by hand."""
        new, unmoved = self.points.copy(), self.unmoved.copy()
        for k, point in points.items():
            new[k], unmoved[k] = point, np.nan
        return GivenPoints(new, unmoved, self.confidence)

    def write(self, path: Path, sides: Sides = "image") -> None:
        """Write both files of a correction.

        Args:
            path: of the landmark file; no part of the way to it may be a link.
            sides: whose left its words mean.

        Raises:
            UsageError: one is.
        """
        _check_way(path)
        # what nobody moved first: without it all would count as by hand
        write_whole(path.with_suffix(FOUND), write_found(self.unmoved, self.confidence))
        write_whole(path, write_landmarks(Landmarks(self.points), path.name, sides))


def take_back(path: Path) -> None:
    """Remove both files of a correction, where they are there.

    Args:
        path: of the landmark file; no part of the way to it may be a link.

    Raises:
        UsageError: one is.
    """
    _check_way(path)
    path.unlink(missing_ok=True)
    path.with_suffix(FOUND).unlink(missing_ok=True)


def _check_way(path: Path) -> None:
    """Whether a correction lies in the workspace itself, from the folder `corrections` on.

    Raises:
        UsageError: a part of the way to it is a link.
    """
    if any(one.is_symlink() for one in (path, *path.parents[:3])):
        raise UsageError("corrections are not written through a link", where=path.parent)
