"""`mimicme landmarks --review`: landmarks drawn on their scans, worst first, and a way to correct them.

Writes landmarks-01.png ... (contact sheets), landmarks.csv (every frame, worst first) and, when asked, one
landmark file per frame in the capture file's own unit and axes, for landmarker.io or MeshLab.  Corrected files
come back by lying beside their frames: a point by hand always wins.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools
from mimicme.pipeline.captures.units import face_axes
from mimicme.pipeline.drawing.palette import CROSSED
from mimicme.pipeline.drawing.pictures import attempt, card
from mimicme.pipeline.drawing.render import (
    Picture,
    contact_sheet,
    draw_crosses,
    draw_points,
    look_at,
    render,
    save_picture,
)
from mimicme.pipeline.errors import UsageError, out_of
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.items import Item, Sequence
from mimicme.pipeline.landmarks import INNER, MANUAL, N_LANDMARKS, Landmarks, labelled
from mimicme.pipeline.landmarks.files import write_landmarks
from mimicme.pipeline.scan import load_colored
from mimicme.pipeline.whole_file import write_whole
from mimicme.pipeline.workspace import Workspace
from mimicme.stages.ingest.checkpoint import IngestCheckpoint
from mimicme.stages.landmarks.checkpoint import LandmarksCheckpoint
from mimicme.stages.landmarks.unedited_points import EXTENSION, write_found

SIZE = (300, 260)
PER_SHEET, COLUMNS = 24, 6
PER_SUBJECT = 3
# by hand blue; detected from red (unsure) to green
BY_HAND, UNSURE, SURE = (30, 90, 220), (225, 40, 40), (30, 160, 60)
SURE_FROM = 0.6
# short lines: a sheet may be as narrow as one frame
LEGEND = (
    "blue: by hand\nred: found, unsure\ngreen: found, sure\n"
    "yellow cross: disagrees with the\nothers, or not used where the file\nhas it; numbers as in landmarks.csv"
)


FEW = 12
"""Crosses that have their numbers beside them."""


class Fitted(NamedTuple):
    """What came of a frame's landmarks when all were fitted together.

    Attributes:
        doubted: (68,) True where a point disagrees with the others.
        ok: whether the frame passed; message: what was said of it.
    """

    doubted: Bools
    ok: bool = True
    message: str = ""


UNFITTED = Fitted(np.zeros(N_LANDMARKS, bool))
Fits = Callable[[Item], Mapping[int, Fitted]]
"""Says what came of a sequence's landmarks, by number of the frame; of none before they were fitted."""


@dataclass(frozen=True)
class Entry:
    """One frame in the review.

    Attributes:
        confidence: mean over the inner 51 points, absent ones as 0; -1 for a rejected frame.
        absent: inner points that are absent.
        crossed: numbers of the points that disagree with the others, or that a file has and were not used.
    """

    sequence: Sequence
    row: int
    confidence: float
    absent: int
    message: str
    crossed: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.sequence.item} {self.sequence.frames[self.row].number}"


class Reviewed(NamedTuple):
    """The table and the sheets that were written, how many frames these show, and how many there are."""

    files: list[Path]
    shown: int
    frames: int


def review(
    workspace: Workspace,
    output: Path,
    only: tuple[str, ...] = (),
    per_subject: int = PER_SUBJECT,
    fits: Fits = lambda item: {},
) -> Reviewed:
    """Write the contact sheets and the table of every frame.

    Args:
        only: `SUBJECT/SEQUENCE` globs; empty: everything.
        per_subject: frames of a subject on the sheets, at least 1: see `worst_of_each`.
        fits: which points disagree with the others; without, those alone are crossed that were not used.

    Raises:
        UsageError: no landmarks have been made yet, or `only` matches none.
    """
    entries = sorted(_entries(workspace, only, fits), key=worst_first)
    if not entries:
        raise _nothing_made(workspace, only)
    output.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(["subject", "sequence", "frame", "confidence", "absent", "crossed", "message"])
    for e in entries:
        item, number = e.sequence.item, e.sequence.frames[e.row].number
        sure = "" if e.confidence < 0 else f"{e.confidence:.3f}"
        crossed = "; ".join(labelled(k) for k in e.crossed)
        lines.writerow([item.subject, item.sequence, number, sure, e.absent, crossed, e.message])
    paths = [output / "landmarks.csv"]
    write_whole(paths[0], table.getvalue())
    shown = worst_of_each(entries, set(workspace.catalogue().neutral.values()), per_subject)
    title = f"{out_of(len(shown), len(entries), 'frame')}, worst first\n{LEGEND}"
    for k in range(0, len(shown), PER_SHEET):
        part = shown[k : k + PER_SHEET]
        pictures = [attempt(e.name, lambda e=e: draw(workspace, e, fits), SIZE) for e in part]  # type: ignore[misc]
        words = [f"{e.name}\n{state(e)}" for e in part]
        sheet = contact_sheet(pictures, words, COLUMNS, title=title)
        paths.append(output / f"landmarks-{k // PER_SHEET + 1:02d}.png")
        save_picture(paths[-1], sheet)
    return Reviewed(paths, len(shown), len(entries))


def worst_first(entry: Entry) -> tuple[bool, int, float, str]:
    """Rejected frames, then those with the most points crossed, then those of the least confidence."""
    return entry.confidence >= 0, -len(entry.crossed), entry.confidence, entry.name


def worst_of_each(entries: list[Entry], neutrals: Container[Item], count: int) -> list[Entry]:
    """Up to `count` frames of every subject: the worst of its neutral, which shapes all its others, and the worst of
    all; in the order of the entries, which are worst first."""
    kept: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.sequence.item in neutrals:
            kept.setdefault(entry.sequence.item.subject, [entry])
    for entry in entries:
        mine = kept.setdefault(entry.sequence.item.subject, [])
        if len(mine) < count and (not mine or mine[0] is not entry):
            mine.append(entry)
    chosen = {id(e) for mine in kept.values() for e in mine}
    return [e for e in entries if id(e) in chosen]


def state(entry: Entry) -> str:
    crossed = f", {len(entry.crossed)} crossed" if entry.crossed else ""
    if entry.confidence < 0:
        return f"rejected{crossed}"
    return f"confidence {entry.confidence:.2f}, {entry.absent} absent{crossed}"


def _chosen(workspace: Workspace, only: tuple[str, ...]) -> Iterator[Sequence]:
    catalogue = workspace.catalogue()
    named = {item for glob in only for item in catalogue.matching(glob)}
    for sequence in catalogue.sequences:
        if (not only or sequence.item in named) and workspace.checkpoint(
            LandmarksCheckpoint.stage, sequence.item
        ).is_file():
            yield sequence


def _entries(workspace: Workspace, only: tuple[str, ...], fits: Fits) -> Iterator[Entry]:
    for sequence in _chosen(workspace, only):
        fitted = fits(sequence.item)
        with workspace.read(LandmarksCheckpoint, sequence.item) as found:
            rows = {frame.number: row for row, frame in enumerate(sequence.frames)}
            for k, (number, status) in enumerate(zip(found.numbers.tolist(), found.statuses, strict=True)):
                if number not in rows:
                    continue
                worth = found.confidence(k)[INNER]
                absent = int((found.source(k)[INNER] == 0).sum())
                fit = fitted.get(number, UNFITTED)
                crossed, _ = found.crossed(k, fit.doubted)
                sure = float(worth.mean()) if status.ok and fit.ok else -1.0
                # what comes later repeats what was said before
                yield Entry(
                    sequence, rows[number], sure, absent, fit.message or status.message, tuple(crossed)
                )


def draw(workspace: Workspace, entry: Entry, fits: Fits = lambda item: {}) -> Picture:
    """One frame from the front of its face with its points; a rejected one as it lies."""
    number = entry.sequence.frames[entry.row].number
    with (
        workspace.read(IngestCheckpoint, entry.sequence.item) as ingest,
        workspace.read(LandmarksCheckpoint, entry.sequence.item) as found,
    ):
        row = found.numbers.tolist().index(number)
        if not ingest.statuses[row].ok:
            return card(ingest.statuses[row].message, SIZE)
        scan, image, _ = load_colored(ingest, row)
        points = found.points(row)
        source, worth = found.source(row), found.confidence(row)
        fitted = fits(entry.sequence.item).get(number, UNFITTED)
        numbers, crossed = found.crossed(row, fitted.doubted)
    axes, _ = face_axes(points)
    turn = np.eye(3) if axes is None else axes
    local = points @ turn.T
    there = np.isfinite(local).all(axis=1)
    turned = scan.with_vertices(scan.vertices @ turn.T)
    camera = look_at(local[there] if there.any() else turned.vertices, 0, 0, SIZE, margin=0.16)
    picture = render(turned, camera, image=image, samples=2)
    picture = draw_points(picture, camera.project(local), _colors(source, worth), 2.5)
    places = camera.project(crossed @ turn.T)
    # of a whole file every number would hide the others
    words = [str(k) for k in numbers] if len(numbers) <= FEW else None
    return draw_crosses(picture, places, CROSSED, 4.0, words)


def _colors(source: NDArray[np.uint8], worth: NDArray[np.float32]) -> list[tuple[int, int, int]]:
    share = np.clip(np.asarray(worth, np.float64) / SURE_FROM, 0, 1)[:, None]
    mixed = np.rint((1 - share) * np.array(UNSURE) + share * np.array(SURE)).astype(int)
    mixed[source == MANUAL] = BY_HAND
    return [(int(r), int(g), int(b)) for r, g, b in mixed]


class Exported(NamedTuple):
    """What was written, and how many frames were left out, as all their points are by hand, or they have none."""

    files: list[Path]
    by_hand: int
    rejected: int


def export(workspace: Workspace, folder: Path, extension: str, only: tuple[str, ...] = ()) -> Exported:
    """Write the points of every frame that has detected ones to a file a person can correct.

    The files lie below `folder` as the frames lie below the captures: copied there, each lands beside its frame.  With
    each goes what was found (unedited_points.py).  "Left" in them means what `[captures] sides` says.

    Args:
        extension: one of `landmarks.files.WRITERS`.

    Raises:
        UsageError: no landmarks have been made yet, or `only` matches none; or a file is there already: nothing is
            overwritten.
    """
    root, sides = workspace.captures.root, workspace.captures.sides
    chosen = list(_chosen(workspace, only))
    if not chosen:
        raise _nothing_made(workspace, only)
    written, by_hand, rejected = [], 0, 0
    for sequence in chosen:
        with (
            workspace.read(IngestCheckpoint, sequence.item) as ingest,
            workspace.read(LandmarksCheckpoint, sequence.item) as found,
        ):
            file_from_scan = ingest.file_from_scan
            paths = {frame.number: frame.path for frame in sequence.frames}
            rejected += len(found.statuses) - len(found.ok_rows)
            for row in found.ok_rows:
                if not found.detected(row).any():
                    by_hand += 1
                    continue
                points = transform(file_from_scan, found.points(row))
                frame = paths[int(found.numbers[row])]
                path = (folder / frame.relative_to(root)).with_suffix(extension)
                if path.exists():
                    raise UsageError(
                        "a landmark file is there already", where=path, todo="Export to another folder."
                    )
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(write_landmarks(Landmarks(points), path.name, sides))
                detected = np.where(found.detected(row)[:, None], points, np.nan)
                path.with_suffix(EXTENSION).write_bytes(
                    write_found(detected, found.confidence(row).astype(np.float64))
                )
                written.append(path)
    return Exported(written, by_hand, rejected)


def _nothing_made(workspace: Workspace, only: tuple[str, ...]) -> UsageError:
    if only and any(_chosen(workspace, ())):
        return UsageError(
            "no sequence that has landmarks matches --only",
            seen=", ".join(only),
            expected="SUBJECT/SEQUENCE, with * for any part",
        )
    return UsageError("there are no landmarks to look at yet", todo="Run `mimicme landmarks` first.")
