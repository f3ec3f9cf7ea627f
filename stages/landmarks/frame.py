"""The landmarks of one frame: a file's points on its scan, and where these are not all, or pixels, detected ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.checkpoint import frame_numerics
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import Mesh, inverse, transform
from mimicme.pipeline.geometry.rigid import fit_rigid
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import GROUPS, INNER, NONE, Located
from mimicme.pipeline.landmarks.beside import Beside, read_given
from mimicme.pipeline.scan import load_image_size, load_scan
from mimicme.pipeline.stage import Task
from mimicme.stages.ingest.checkpoint import IngestCheckpoint
from mimicme.stages.landmarks.detection import UPSIDE_DOWN, Finder
from mimicme.stages.landmarks.given import (
    contradicts,
    located,
    merge,
    of_slicer,
    on_scan,
    refuse_mirrored,
)
from mimicme.stages.landmarks.settings import LandmarksSettings
from mimicme.stages.landmarks.shifted import NeighbourCheck
from mimicme.stages.landmarks.texture_points import on_texture, refuse_displaced
from mimicme.stages.landmarks.unedited_points import read_found, unedited

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter


@dataclass
class Frame:
    """What is known of one frame."""

    found: Located
    left_out: list[str]
    distance_mm: float
    alone: str = ""  # why there is nothing but points by hand, where more were asked for
    not_compared: str = ""  # why pixels were not compared with what is found
    axes: str = ""  # which signs of x and y the points of 3D Slicer were taken with


Refused = dict[int, Floats]
"""By row, points (68, 3) of a frame's file in the scan's frame, mm, that are not used, NaN elsewhere."""


@dataclass
class Given:
    """A file's points on the scan of their frame.

    Attributes:
        pixels: (68, 2) as in the file; None: it has points in space.
        size: (height, width) px of the scan's texture; None: not asked for, or there is none.
        axes: see `Frame`.
    """

    manual: Located
    left_out: list[str]
    distance_mm: float
    scan: Mesh
    pixels: Floats | None = None
    size: tuple[int, int] | None = None
    axes: str = ""

    def frame(self, alone: str = "", not_compared: str = "") -> Frame:
        return Frame(self.manual, self.left_out, self.distance_mm, alone, not_compared, self.axes)


def head_by_hand(template_marks: Floats, manual: Located) -> Floats | None:
    """(4, 4) roughly where the head is, by points given by hand; None when they do not say.

    The axes are the template's; the origin lies between its eyes and the base of its nose.
    """
    there = np.asarray(np.isfinite(manual.points).all(axis=1))
    there[GROUPS["jaw"]] = False
    if there.sum() < 3:
        return None
    source, target = template_marks[there], manual.points[there]
    if np.linalg.svd(source - source.mean(axis=0), compute_uv=False)[1] < 10.0:
        return None  # in one line
    middle = (template_marks[[36, 39, 42, 45]].mean(axis=0) + template_marks[[31, 33, 35]].mean(axis=0)) / 2
    shift = np.eye(4)
    shift[:3, 3] = middle
    return np.asarray(fit_rigid(source, target) @ shift)


def _given_on_scan(
    ingest: IngestCheckpoint,
    row: int,
    beside: Beside,
    limit_mm: float,
    marks: Floats,
    neighbours: NeighbourCheck,
    refused: Refused,
) -> Given:
    """A file's points or pixels on the scan; marks: (68, 3) the template's landmarks.

    Points in space are added to what compares them with other frames' scans, and those that are not used to `refused`.

    Raises:
        FrameRejected: see the module.
    """
    scan = load_scan(ingest, row)
    with frame_numerics():
        if beside.points.shape[1] == 2:
            joined, size = ingest.statuses[row].may_have("textures-joined"), load_image_size(ingest, row)
            points, lost = on_texture(beside.points, scan, size, joined, marks)
            lifted = np.where(np.isfinite(points[:, 0]), 0.0, np.nan)
            return Given(located(points, lifted, limit_mm)[0], lost, np.nan, scan, beside.points, size)
        surface, scan_from_file = Surface(scan.vertices, scan.faces), inverse(ingest.file_from_scan)
        in_file, axes = of_slicer(beside, scan_from_file, surface)
        in_scan = transform(scan_from_file, in_file)
        neighbours.add(row, in_scan, surface)
        refused[row] = in_scan  # until they prove to be the scan's
        refuse_mirrored(in_file, scan_from_file, surface)
        distances = on_scan(in_scan, surface, limit_mm, in_file, scan_from_file)
        refused[row] = np.where((distances > limit_mm)[:, None], in_scan, np.nan)
        return Given(*located(in_scan, distances, limit_mm), float(np.nanmedian(distances)), scan, axes=axes)


def _compare(given: Given, detected: Located | None) -> str:
    """Why a file's pixels could not be compared with what was detected, if so.

    Raises:
        FrameRejected: they lie off it, all alike.
    """
    if given.pixels is None or given.size is None or detected is None:
        return ""
    with frame_numerics():
        return refuse_displaced(given.pixels, given.manual, detected, given.scan, given.size)


def read_frame(
    task: Task[LandmarksSettings],
    out: CheckpointWriter,
    ingest: IngestCheckpoint,
    row: int,
    finder: Finder,
    near: Floats | None,
    neighbours: NeighbourCheck,
    refused: Refused,
) -> Frame:
    """Landmarks of one frame, by hand and detected; what of its file is not used goes to `refused`.

    Raises:
        FrameRejected: see the module.
    """
    frame = task.sequence.frames[row]
    beside = read_given(frame, out.sources, task.captures.sides)
    if beside is None:
        return Frame(merge(None, finder.detect(ingest, row, near)), [], np.nan)
    marks = task.load_template().landmarks()
    given = _given_on_scan(ingest, row, beside, task.settings.max_distance_mm, marks, neighbours, refused)
    exported = read_found(frame, out.sources)
    if exported is not None and given.pixels is None:
        found, confidence = exported
        found = transform(inverse(ingest.file_from_scan), found)
        given.manual = unedited(given.manual, found, confidence)
    whole, pixels = bool((given.manual.source[INNER] != NONE).all()), given.pixels is not None
    if whole and not pixels:
        return given.frame()
    if whole and not finder.installed():
        return given.frame(not_compared="the landmark detector is not installed")
    by_hand = head_by_hand(marks, given.manual)
    try:
        detected = finder.detect(ingest, row, by_hand if by_hand is not None else near, given.scan)
    except FrameRejected as error:
        if error.reason == UPSIDE_DOWN:
            raise
        return given.frame("", error.what) if whole else given.frame(error.what)
    try:
        not_compared = _compare(given, detected)
    except FrameRejected:
        refused[row] = given.manual.points
        raise
    if whole:
        return given.frame(not_compared=not_compared)
    if detected is not None and contradicts(given.manual, detected):
        return given.frame("what was detected lies elsewhere")
    return replace(given.frame(not_compared=not_compared), found=merge(given.manual, detected))
