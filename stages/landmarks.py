"""landmarks: 68 points on every scan, from the file beside the frame.

Reads   the raw landmark file of each frame (same stem as the frame, `landmark_files.EXTENSIONS` in that
        order); ingest: file_from_scan and the cleaned scan.
Writes  points (F, 68, 3) f4, scan frame, mm, NaN where absent; source (F, 68) u1, 0 none, 1 manual, 2
        detected; confidence (F, 68) f4 in [0, 1]: 1 on the scan's surface, falling linearly to 0.5 at
        `max_distance_mm`; quality/landmark_distance (F,) f4: median distance of the points to the scan, mm.
Fails   a frame with `no-landmarks` (no file, and nothing to detect them), `landmark-file`, `landmark-scheme`,
        `landmarks-off-scan`, `numerical-failure` (its numbers broke the computation).

A point that lies further than `max_distance_mm` from a scan that the others lie on is left out, with the note
`landmarks-left-out`.  Points by hand always win over detected ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.errors import ConfigError, FrameRejected, InputError
from mimicme.pipeline.landmark_files import EXTENSIONS, read_landmarks
from mimicme.pipeline.landmarks import DETECTED, IBUG68, MANUAL, NONE, Detector, Located, Sides
from mimicme.pipeline.mesh import Floats, transform
from mimicme.pipeline.spatial import Surface
from mimicme.pipeline.stage import FrameSource, Stage, Task

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import ArtefactWriter
    from mimicme.pipeline.sources import Sources


@dataclass(frozen=True)
class LandmarksSettings:
    """Settings of the landmarks stage.

    Attributes:
        sides: whose left the files' "left" is: `image` (the subject's right, the rule) or `subject`.
        max_distance_mm: a point further from the scan is left out; when more than half are, the frame is
            rejected.  Hand-placed points of james lie within 1 mm but for a few over holes and at the ears.
    """

    sides: Sides = "image"
    max_distance_mm: float = 15.0

    def __post_init__(self) -> None:
        if self.sides not in ("image", "subject"):
            raise ConfigError(
                "`sides` says whose left is meant", seen=self.sides, expected="image or subject"
            )
        if not self.max_distance_mm > 0:
            raise ConfigError("`max_distance_mm` is a length", seen=self.max_distance_mm, expected="above 0")


# ------------------------------------------------------------------------------------------------ pure


def on_scan(
    points: Floats, surface: Surface, max_distance_mm: float, in_file: Floats | None = None
) -> Floats:
    """Distances (68,) mm of scan-frame points to the scan; NaN where absent.

    Args:
        points: (68, 3) mm, scan frame.
        in_file: the same points as the file has them; only used to say what is wrong when they are off.

    Raises:
        FrameRejected: `landmarks-off-scan` when more than half of them lie further than `max_distance_mm`.
    """
    distances = np.full(len(points), np.nan)
    given = np.isfinite(points).all(axis=1)
    if given.any():
        distances[given] = surface.distance(points[given])
    off = distances > max_distance_mm
    if 2 * off.sum() > given.sum():
        raise FrameRejected(
            "landmarks-off-scan",
            f"{off.sum()} of {given.sum()} landmarks do not lie on the scan: "
            f"median distance {np.nanmedian(distances):.4g} mm",
            expected=f"within {max_distance_mm:g} mm",
            todo=_diagnosis(
                points[given], None if in_file is None else in_file[given], surface, max_distance_mm
            ),
        )
    return distances


def _diagnosis(points: Floats, in_file: Floats | None, surface: Surface, limit: float) -> str:
    """What would bring the points onto the scan."""

    def fits(candidate: Floats) -> bool:
        return bool(np.median(surface.distance(candidate)) <= limit)

    if in_file is not None and fits(in_file):
        return "They would if the file were in millimetres and +y up whatever the scan's file is: convert it."
    for factor in (1000.0, 0.001, 10.0, 0.1, 25.4, 1 / 25.4, 1e6, 1e-6):
        if fits(points * factor):
            return f"They would if multiplied by {factor:g}: write them in the unit of the scan's file."
    return "Write them in the unit and axes of the scan's file, and check that they belong to this frame."


def located(points: Floats, distances: Floats, max_distance_mm: float) -> tuple[Located, list[str]]:
    """Hand-placed points with their confidence, and the names of those left out for lying off the scan."""
    given = np.isfinite(distances)
    off = given & (distances > max_distance_mm)
    keep = given & ~off
    confidence = np.where(keep, 1 - 0.5 * np.nan_to_num(distances) / max_distance_mm, 0.0)
    found = Located(
        np.where(keep[:, None], points, np.nan),
        np.where(keep, MANUAL, NONE).astype(np.uint8),
        confidence.astype(np.float32),
    )
    return found, [IBUG68[k] for k in np.flatnonzero(off)]


def merge(manual: Located | None, detected: Located | None) -> Located:
    """Points by hand where there are any, detected ones elsewhere."""
    if manual is None or detected is None:
        one = manual if manual is not None else detected
        if one is None:
            raise FrameRejected(
                "no-landmarks",
                "no landmark file lies beside the frame, and no detector is installed",
                expected=f"a file of the frame's stem ending in {', '.join(EXTENSIONS)}",
                todo="Annotate the frame (for example with landmarker.io) and save the file beside it.",
            )
        return one
    by_hand = manual.source == MANUAL
    return Located(
        np.where(by_hand[:, None], manual.points, detected.points),
        np.where(by_hand, MANUAL, np.where(detected.source == DETECTED, DETECTED, NONE)).astype(np.uint8),
        np.where(by_hand, manual.confidence, detected.confidence).astype(np.float32),
    )


def detector(settings: LandmarksSettings) -> Detector | None:
    """What finds landmarks where no file gives them; None: nothing does yet."""
    return None


# ------------------------------------------------------------------------------------------------ shell


def read_beside(frame: FrameSource, sources: Sources, sides: Sides) -> Floats | None:
    """The (68, 3) points of the landmark file beside a frame, in that file's unit and axes; None without one.

    Raises:
        FrameRejected: `landmark-file`, `landmark-scheme`, `unsafe-path`, `too-large`.
    """
    for extension in EXTENSIONS:
        path = frame.path.with_suffix(extension)
        if path == frame.path or not sources.exists(path):
            continue
        try:
            data = sources.read(path)
        except InputError as error:
            raise FrameRejected("landmark-file", error.what, where=path.name, seen=error.seen) from error
        return read_landmarks(data, path.name, sides).points
    return None


def compute(task: Task, out: ArtefactWriter) -> None:
    """The stage: see the module."""
    from mimicme.pipeline.checkpoint import frame_numerics
    from mimicme.pipeline.scan import load_image, load_scan

    settings: LandmarksSettings = task.settings
    finder = detector(settings)
    limit = settings.max_distance_mm
    with task.input("ingest") as ingest:
        rows = out.continue_from(ingest)
        out.attrs["detector"] = "" if finder is None else finder.name
        points = out.rows("points", (68, 3), "f4", "mm")
        source = out.rows("source", (68,), "u1")
        confidence = out.rows("confidence", (68,), "f4", "1", fill=0)
        distance = out.rows("quality/landmark_distance", (), "f4", "mm")
        scan_from_file = np.linalg.inv(ingest["file_from_scan"][()])
        for row in rows:
            try:
                in_file = read_beside(task.sequence.frames[row], out.sources, settings.sides)
                manual, left_out = None, list[str]()
                if in_file is not None:
                    scan = load_scan(ingest, row)
                    in_scan = transform(scan_from_file, in_file)
                    with frame_numerics():
                        distances = on_scan(in_scan, Surface(scan.vertices, scan.faces), limit, in_file)
                        manual, left_out = located(in_scan, distances, limit)
                    distance[row] = np.nanmedian(distances)
                detected = None
                if finder is not None and (manual is None or (manual.source == NONE).any()):
                    detected = finder.detect(load_scan(ingest, row), load_image(ingest, row))
                found = merge(manual, detected)
            except FrameRejected as error:
                out.reject(row, error)
                continue
            points[row], source[row], confidence[row] = _stored(found)
            if left_out:
                out.note(
                    row,
                    "landmarks-left-out",
                    f"{len(left_out)} landmarks lie over {limit:g} mm off the scan and were left out: "
                    f"{', '.join(left_out[:6])}{' ...' if len(left_out) > 6 else ''}.",
                )


def _stored(found: Located) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]:
    return found.points.astype(np.float32), found.source, found.confidence


STAGE = Stage(
    name="landmarks",
    version=2,
    settings=LandmarksSettings,
    needs=("ingest",),
    compute=compute,
    uses_template=False,
    memory="0.2 GB a worker: one scan and its search tree.",
)
