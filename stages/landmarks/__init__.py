"""landmarks: 68 points on every scan, from the file beside the frame, and found in pictures of the scan elsewhere.

Reads   the landmark file of each frame that a person corrected (`pipeline.review`), else the raw one (same stem as the
        frame, `landmarks.files.EXTENSIONS` in that order), in the file's frame or in pixels of the scan's texture;
        ingest: file_from_scan, the cleaned scan and its image; the template, whose own landmarks say what a detected
        one means (`mediapipe_to_ibug`).
Writes  points (F, 68, 3) f4, scan frame, mm, NaN where absent; source (F, 68) u1, 0 none, 1 manual, 2
        detected; confidence (F, 68) f4 in [0, 1]: by hand 1 on the scan's surface, falling linearly to 0.5 at
        `max_distance_mm`; detected: see `finder.landmarks_on_scan`; absence (F, 68) u1, why a point is absent, in the
        words of the attribute `absence`; refused (F, 68, 3) f4, scan frame, mm, where the file has a point that was not
        used, of rejected frames too; head (F, 4, 4) f8, head -> scan, where a head was found; attributes
        detector; origin_tally, how many frames have points from files, how many found ones;
        quality/landmark_distance (F,) f4: median distance of given points to the scan, mm, NaN of pixels;
        quality/landmark_confidence (F,) f4: mean over the 51 inner points, absent ones as 0.
Fails   a frame with `no-landmarks` (no file, and detection is off), `no-face` (none is found on the scan),
        `mouth-hidden` (what is worn lies before it), `texture-upside-down`, `landmark-file`, `landmark-scheme`,
        `landmarks-off-scan`, `landmarks-mirrored`, `landmarks-displaced`, `numerical-failure` (its numbers broke the
        computation).
        The whole run with `MissingDependencyError`, when detection is wanted and not installed.

The detector runs on a frame when its file lacks one of the 51 inner points, or has it where it is left out: off the
scan, or in a pixel that is no one place; and, where it is installed, when the file has pixels: these are compared.
The attribute detector is empty where no point of it was used.
Points by hand always win over detected ones, and say where the head is.  Notes: `landmarks-left-out`, a given point
lies further than `max_distance_mm` from a scan that the others lie on, or its pixel is no one place of it;
`landmarks-jump`, a detected one leaves its neighbours for a frame, and does so when it is detected again;
`landmarks-unsure`, the mean confidence is low, a scan without colours does not show brows, eyes or mouth, a hole
takes the place of the mouth, or an eye looks shut and does not show where its lids meet;
`landmarks-shifted`, a sequence's files lie on the scans of the frames before or after theirs, or one lies off its own
scan as a whole;
`landmarks-by-hand-only`; `landmarks-not-compared`, pixels that nothing was found for;
`landmarks-axes`, which signs of x and y a file of 3D Slicer was read with.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.pipeline.landmarks import DETECTED, IBUG68, INNER, MANUAL, N_LANDMARKS, NONE, Located
from mimicme.pipeline.stage import Stage, Task
from mimicme.stages.ingest.checkpoint import IngestCheckpoint
from mimicme.stages.landmarks.checkpoint import LandmarksCheckpoint, LandmarksWriter
from mimicme.stages.landmarks.detection import Finder
from mimicme.stages.landmarks.frame import Frame, Refused, read_frame
from mimicme.stages.landmarks.given import merge
from mimicme.stages.landmarks.notes import notes
from mimicme.stages.landmarks.settings import LandmarksSettings
from mimicme.stages.landmarks.shifted import NeighbourCheck
from mimicme.stages.landmarks.temporal import jumps

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter

JUMP_SHARE = 0.3  # what a point that jumps is still worth


def compute(task: Task[LandmarksSettings], out: CheckpointWriter) -> None:
    """The stage: see the module."""
    finder, neighbours = Finder(task), NeighbourCheck()
    with task.input(IngestCheckpoint) as ingest:
        rows = out.continue_from(ingest)
        frames: dict[int, Frame] = {}
        off_scan: dict[int, FrameRejected] = {}
        refused: Refused = {}
        near: Floats | None = None
        for row in rows:
            try:
                frame = read_frame(task, out, ingest, row, finder, near, neighbours, refused)
            except FrameRejected as error:
                out.reject(row, error)
                if error.reason == "landmarks-off-scan":
                    off_scan[row] = error
                continue
            frames[row] = frame
            near = frame.found.pose if frame.found.pose is not None else near
        jumping = _redetect_jumps(frames, ingest, finder, len(ingest.numbers))
    used = any((frame.found.source == DETECTED).any() for frame in frames.values())
    _write(out, frames, refused, jumping, finder.name if used else "", task.settings)
    shift = neighbours.shift()
    for row, alike in sorted(neighbours.off_alike.items()):
        if shift is None and row in frames and (frames[row].found.source == MANUAL).any():
            out.note(row, "landmarks-shifted", alike.sentence())
    if shift is not None:
        for row, frame in sorted(frames.items()):
            if (frame.found.source == MANUAL).any():
                out.note(row, "landmarks-shifted", shift.sentence())
        for row, rejection in off_scan.items():
            # else it would be told to raise a bound, and keep another scan's points
            if neighbours.may_be(row, shift):
                rejection.todo = shift.sentence()
                out.reject(row, rejection)
    for row in sorted(finder.bare):
        out.note(
            row,
            "face-without-texture",
            "The face was found only without the texture: is the image, or are the colours of the vertices, this "
            "frame's own, the right way up, and of skin?",
        )


def _local(frames: dict[int, Frame], count: int) -> Floats:
    """(F, 68, 3) detected points in the heads' own axes, NaN elsewhere."""
    points = np.full((count, N_LANDMARKS, 3), np.nan)
    for row, frame in frames.items():
        if frame.found.pose is not None:
            there = frame.found.source == DETECTED
            points[row, there] = transform(inverse(frame.found.pose), frame.found.points[there])
    return points


def _redetect_jumps(
    frames: dict[int, Frame], ingest: IngestCheckpoint, finder: Finder, count: int
) -> dict[int, NDArray[np.bool_]]:
    """Detect again, without the pose of the frame before, where points jump; those that still do, by row."""
    out: dict[int, NDArray[np.bool_]] = {}
    wrong = jumps(_local(frames, count))
    for row in np.flatnonzero(wrong.any(axis=1)).tolist():
        before = frames[row]
        again: Located | None = None
        bare_before = row in finder.bare
        finder.bare.discard(row)
        try:
            again = finder.detect(ingest, row, None)
        except FrameRejected:
            again = None
        if again is not None:
            kept = before.found.source != DETECTED
            frames[row] = replace(before, found=merge(_only(before.found, kept), again))
            now = jumps(_local(frames, count))[row]
            if now.sum() < wrong[row].sum():
                wrong[row] = now
            else:
                frames[row] = before
        if frames[row] is before:
            (finder.bare.add if bare_before else finder.bare.discard)(row)
        if wrong[row].any():
            out[row] = wrong[row]
    return out


def _only(found: Located, rows: NDArray[np.bool_]) -> Located:
    return Located(
        np.where(rows[:, None], found.points, np.nan),
        np.where(rows, found.source, NONE).astype(np.uint8),
        np.where(rows, found.confidence, 0).astype(np.float32),
    )


def _write(
    out: CheckpointWriter,
    frames: dict[int, Frame],
    refused: Refused,
    jumping: dict[int, NDArray[np.bool_]],
    detector: str,
    settings: LandmarksSettings,
) -> None:
    from mimicme.stages.landmarks.finder import ABSENCE, NOT_GIVEN, OFF_SCAN

    writer = LandmarksWriter(out, detector, ABSENCE, _origins(frames))
    for row, points in sorted(refused.items()):
        if np.isfinite(points).any():
            writer.refused(row, points)
    for row, frame in sorted(frames.items()):
        found = frame.found
        worth = found.confidence.copy()
        if row in jumping:
            worth[jumping[row]] *= JUMP_SHARE
        why = np.where(found.source == NONE, NOT_GIVEN, 0) if found.absent is None else found.absent
        why = np.where(np.isin(IBUG68, frame.left_out) & (found.source == NONE), OFF_SCAN, why)
        sure = float(worth[INNER].mean())
        writer.frame(
            row,
            found.points,
            found.source,
            worth,
            why.astype(np.uint8),
            found.pose,
            frame.distance_mm,
            sure,
            found.shown_shut,
        )
        for code, sentence in notes(frame, jumping.get(row), sure, settings.max_distance_mm):
            out.note(row, code, sentence)


def _origins(frames: dict[int, Frame]) -> str:
    """How many frames have their landmarks from where: `checkpoint_index.TALLY`."""
    by_hand = [(f.found.source == MANUAL).any() for f in frames.values()]
    detected = [(f.found.source == DETECTED).any() for f in frames.values()]
    both = sum(b and d for b, d in zip(by_hand, detected, strict=True))
    told = f"{sum(by_hand) - both} from files beside them, {sum(detected) - both} found"
    return told + (f", {both} from files and found" if both else "")


STAGE = Stage(
    name="landmarks",
    version=22,
    settings=LandmarksSettings,
    needs=("ingest",),
    compute=compute,
    reader=LandmarksCheckpoint,
    shapes=True,
    corrected=True,
    memory="0.5 GB a worker: one scan, its search tree and image, and the detector's networks.",
)
