"""Where the viewer's frames come from: a workspace, from whatever stages have run, or a release (a model: see
model_source)."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mimicme.commands import frames
from mimicme.commands.view.scene import FrameData, ShapeGroup
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.checkpoint import Checkpoint, FrameStatus, status_after
from mimicme.pipeline.errors import CheckpointError, FrameRejected, MimicmeError, UsageError, listed
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.pipeline.items import Correction, Item, Verdict
from mimicme.pipeline.items import Sequence as Captured
from mimicme.pipeline.release import permitted
from mimicme.pipeline.review import Place, Review, read_corrections, rejection, without_effect
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.template import Template
from mimicme.pipeline.workspace import Workspace
from mimicme.pipeline.workspace.beside import all_kept_out, kept_out_by_now, kept_out_sentence

if TYPE_CHECKING:
    from mimicme.commands.view.corrections import GivenPoints


@dataclass
class FrameEntry:
    """What is said of a frame before it is drawn.

    Attributes:
        figures: what the stages measured, by name, in the units of `SequenceEntry.units`.
        verdict: of a person who looked; None: nobody did.
    """

    number: int
    ok: bool = True
    reason: str = ""
    note: str = ""
    message: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    verdict: Verdict | None = None


@dataclass
class SequenceEntry:
    """A sequence and its frames, in order.

    Attributes:
        units, meanings: of the figures, by name.
        remark: a sentence about what is shown, where it is older than what it is made from.
    """

    item: Item
    expression: str
    frames: list[FrameEntry]
    units: dict[str, str] = field(default_factory=dict)
    meanings: dict[str, str] = field(default_factory=dict)
    remark: str = ""


class Source(Protocol):
    """What the viewer is shown."""

    @property
    def title(self) -> str:
        """Of the page."""

    @property
    def items(self) -> Sequence[Item]:
        """The sequences, in order."""

    @property
    def template(self) -> Template:
        """That all frames share."""

    @property
    def reviewed(self) -> bool:
        """Whether verdicts can be given here."""

    @property
    def left_out(self) -> str:
        """A sentence on who must not be shown; empty: everybody may."""

    @property
    def shapes(self) -> tuple[ShapeGroup, ...]:
        """What moves the mesh, besides going through frames."""

    def check_use(self, place: int, use: str) -> None:
        """A page of the sequence at this place may be given away.

        Args:
            use: what for (`permitted.USES`); empty: nobody said.

        Raises:
            UsageError: it is written down what these subjects permit, and nobody said what for, or this one does not
                plainly permit it.
        """

    def sequence(self, place: int) -> SequenceEntry:
        """What is said of the sequence at this place of `items`."""

    def frame(self, place: int, row: int) -> FrameData:
        """A frame, by its place among the frames of its sequence."""

    def version(self, place: int) -> str:
        """Of the files that a sequence is shown from: another whenever one of them is, so that what was kept of a frame
        is known to be old.  Of hexadecimal digits, if any."""

    def judge(self, place: int, row: int | None, verdict: Verdict | None) -> None:
        """Write a verdict on a frame, or on all frames of a sequence (None), down; without one, take it back."""

    def correct(self, place: int, row: int, moved: Mapping[int, Floats]) -> None:
        """Write corrected landmarks down: points (3,) scan frame, mm, by their number; without any, take the correction
        back."""


class WorkspaceSource:
    """The captures of a workspace; a frame is shown as far as the stages brought it.

    Raises:
        UsageError: there is no prepared template yet.
    """

    reviewed = True
    left_out = ""
    shapes: tuple[ShapeGroup, ...] = ()

    def __init__(self, workspace: Workspace, stages: Iterable[Stage]) -> None:
        from mimicme.pipeline.template.skin import load_skin

        if not workspace.template.is_file():
            raise UsageError(
                "there is nothing to look at yet", where=workspace.root, todo="Run `mimicme run` first."
            )
        self.title = workspace.root.name
        self.template = load_skin(workspace.template)
        self._workspace = workspace
        self._stages = tuple(stage for stage in stages if stage.scope != "everything")
        self._sequences: list[Captured] = workspace.sequences()
        self.items = [sequence.item for sequence in self._sequences]
        self._writing = threading.Lock()
        self._template_file = _file_version(workspace.template)

    def check_use(self, place: int, use: str) -> None:
        """By the table of subjects as it is now."""
        table = self._workspace.metadata()
        people = {item.subject: table.attributes(item.subject) for item in self.items}
        permitted.check_page(people, self.items[place].subject, use, self.title)

    def _paths(self, item: Item) -> dict[str, Path]:
        paths = {stage.name: self._workspace.checkpoint(stage.name, item) for stage in self._stages}
        return {name: path for name, path in paths.items() if path.is_file()}

    def sequence(self, place: int) -> SequenceEntry:
        captured = self._sequences[place]
        review = Review.read(self._workspace.review_file)
        frames = [FrameEntry(f.number, verdict=review.of(captured.item, f.number)) for f in captured.frames]
        entry = SequenceEntry(captured.item, captured.expression, frames)
        by_number = {frame.number: frame for frame in frames}
        paths = self._paths(captured.item)
        records: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for stage in (stage for stage in self._stages if stage.name in paths):
            path = paths[stage.name]
            try:
                with Checkpoint(path) as made:
                    records[stage.name] = made.fingerprint, made.made_by
                    _read_stage(entry, by_number, made, stage)
            except (MimicmeError, OSError, KeyError, ValueError, RuntimeError) as error:
                raise CheckpointError(
                    "a checkpoint cannot be read", where=path, seen=error, todo="Run `mimicme run`."
                ) from error
        counted = {frame.number for frame in captured.frames}
        own = review.about(captured.item)
        unheeded = without_effect(own, self._corrections(captured.item), {captured.item: counted})
        entry.remark = " ".join([*unheeded, *filter(None, [self._outdated(captured, records)])])
        for frame in frames:
            if frame.ok and frame.verdict is not None and not frame.verdict.good:
                said = rejection(frame.verdict.reason)
                frame.ok, frame.reason, frame.message = False, said.reason, str(said)
        return entry

    def _outdated(self, captured: Captured, made: Mapping[str, tuple[str, Mapping[str, Any]]]) -> str:
        """A sentence where a checkpoint was made from others than those that lie there now; empty where none was.

        Args:
            made: fingerprint and record of each checkpoint that is there, by stage, in order of the flow.
        """
        todo = "What is shown of the later stages is older: `mimicme run` makes it again."
        for stage in (stage for stage in self._stages if stage.corrected and stage.name in made):
            now = self._corrections(captured.item)
            counted = made[stage.name][1].get("corrections") or {}
            wanted = {str(number): one.digest for (_, number), one in now.items()}
            differ = sorted(int(n) for n in counted.keys() | wanted if counted.get(n) != wanted.get(n))
            if differ:
                return f"The landmarks of frame {listed(differ, 3)} were corrected since. {todo}"
        for name, (_, record) in made.items():
            for needed, known in (record.get("inputs") or {}).items():
                if needed in made and known != made[needed][0]:
                    return f"{needed} was made again after {name}. {todo}"
        return ""

    def frame(self, place: int, row: int) -> FrameData:
        captured = self._sequences[place]
        paths, number = self._paths(captured.item), captured.frames[row].number
        try:
            shown = read_frame(paths, number, self._stages)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                "a checkpoint cannot be read",
                where=f"{captured.item} frame {number}",
                seen=error,
                todo="Run `mimicme run`.",
            ) from error
        if shown.scan is None:
            return shown
        try:
            found = self._given(captured.item, number, self._correction(captured.item, number))
        except FrameRejected as error:
            return replace(shown, missing=(*shown.missing, str(error)))
        if found is None:
            return shown
        given, file_from_scan = found
        points = transform(inverse(file_from_scan), given.points)
        return replace(shown, given=points, given_sources=given.sources)

    def version(self, place: int) -> str:
        item = self._sequences[place].item
        if _file_version(self._workspace.template) != self._template_file:
            raise UsageError(
                "the template was prepared anew after the viewer began",
                where=self._workspace.template,
                todo="End `mimicme view` with Ctrl-C and begin it again.",
            )
        said = [f"{name} {_file_version(path)}" for name, path in self._paths(item).items()]
        said += [f"{number} {one.digest}" for (_, number), one in sorted(self._corrections(item).items())]
        return hashlib.sha256("\n".join(said).encode()).hexdigest()

    def judge(self, place: int, row: int | None, verdict: Verdict | None) -> None:
        captured = self._sequences[place]
        number = None if row is None else captured.frames[row].number
        with self._writing:
            said: Place = captured.item, number
            Review.read(self._workspace.review_file).said(said, verdict).write(self._workspace.review_file)

    def correct(self, place: int, row: int, moved: Mapping[int, Floats]) -> None:
        from mimicme.commands.view.corrections import take_back

        captured = self._sequences[place]
        item, number = captured.item, captured.frames[row].number
        with self._writing:
            correction = self._correction(item, number)
            path = (
                self._workspace.correction(item, number)
                if correction is None
                else self._workspace.root / correction.name
            )
            if not moved:
                take_back(path)
                return
            found = self._given(item, number, correction)
            if found is None:
                raise UsageError("the frame has no scan to correct on", where=f"{item} frame {number}")
            given, file_from_scan = found
            in_file = {k: transform(file_from_scan, point[None])[0] for k, point in moved.items()}
            given.moved(in_file).write(path, self._workspace.captures.sides)

    def _correction(self, item: Item, number: int) -> Correction | None:
        return self._corrections(item).get((item, number))

    def _corrections(self, item: Item) -> dict[tuple[Item, int], Correction]:
        """What lies there now, also what came after the workspace was opened."""
        sides = self._workspace.captures.sides
        return read_corrections(self._workspace.corrections_folder, item, sides)[0]

    def _given(
        self, item: Item, number: int, correction: Correction | None
    ) -> tuple[GivenPoints, Floats] | None:
        """The landmarks of a frame as they are now, and (4, 4) the file's frame from the scan's; None without a scan.

        Raises:
            FrameRejected: the correction cannot be read.
        """
        from mimicme.commands.view.corrections import GivenPoints
        from mimicme.stages.ingest.checkpoint import IngestCheckpoint
        from mimicme.stages.landmarks.checkpoint import LandmarksCheckpoint

        paths = self._paths(item)
        if not {IngestCheckpoint.stage, LandmarksCheckpoint.stage} <= set(paths):
            return None
        with IngestCheckpoint(paths[IngestCheckpoint.stage]) as ingest:
            file_from_scan = ingest.file_from_scan
        if correction is not None:
            return GivenPoints.of_correction(correction, self._workspace.captures.sides), file_from_scan
        path = paths[LandmarksCheckpoint.stage]
        given = GivenPoints.of_checkpoint(path, number, file_from_scan)
        return None if given is None else (given, file_from_scan)


def _file_version(path: Path) -> str:
    """What tells a file from the one that was there before.

    Checkpoints are written anew under another name and renamed, so inode and times tell more than the fingerprint in
    them: one made again with `--force`, by other code, has the same.
    """
    try:
        found = path.stat()
    except OSError as error:
        return f"-{error.errno}"
    return f"{found.st_mtime_ns} {found.st_ctime_ns} {found.st_size} {found.st_ino}"


def _read_stage(
    entry: SequenceEntry,
    by_number: Mapping[int, FrameEntry],
    made: Checkpoint,
    stage: Stage,
) -> None:
    """Add what a stage says; a frame that an earlier one rejected stays so."""
    numbers = made.numbers.tolist()
    for number, status in zip(numbers, made.statuses, strict=True):
        frame = by_number.get(number)
        if frame is not None and frame.ok:
            before = FrameStatus(frame.ok, frame.reason, frame.note, frame.message)
            now = status_after(before, status, stage.name, stage.shapes)
            frame.ok, frame.reason, frame.note, frame.message = now.ok, now.reason, now.note, now.message
    for name, figure in made.quality.items():
        entry.units[name] = "" if figure.unit in ("", "1") else figure.unit
        entry.meanings[name] = stage.reader.explained.get(name, "")
        for number, value in zip(numbers, figure.values.tolist(), strict=True):
            if number in by_number and np.isfinite(value):
                by_number[number].figures[name] = value


def read_frame(paths: dict[str, Path], number: int, stages: Sequence[Stage]) -> FrameData:
    """What there is of a frame in the checkpoints of its sequence; points on a scan without a pose are left out.

    Args:
        paths: of the checkpoints that are there, by stage name, in order of the flow.
    """
    view = frames.read_frame(paths, number, stages)
    posed = view.pose is not None and view.landmarks is not None
    return FrameData(
        vertices=view.registered,
        scan=view.scan,
        image=view.image,
        pose=view.pose,
        texture=view.texture,
        landmarks=np.asarray(view.landmarks, np.float64) if posed else None,
        sources=view.landmark_source if posed else None,
        missing=view.missing,
    )


class ReleaseSource:
    """The frames of a release: registered meshes, textures and landmarks; it has no scans.

    Who must not be in it any more, by the workspace in whose folder it lies, is left out, as `export` does.

    Raises:
        UsageError: nobody may be in it any more.
        MimicmeError: the workspace or its table cannot be read: nobody can say then.
    """

    reviewed = False
    shapes: tuple[ShapeGroup, ...] = ()

    def __init__(self, path: Path) -> None:
        from mimicme.pipeline.release import Release

        self._release = Release(path)
        self.title = path.name
        self.template = self._release.template
        kept_out = kept_out_by_now(path, self._release.subjects)
        self._infos = [one for one in self._release.sequences() if one.item.subject not in kept_out]
        if kept_out and not self._infos:
            raise all_kept_out(path, len(kept_out))
        self.left_out = f"{kept_out_sentence(path, len(kept_out))}." if kept_out else ""
        self.items = [info.item for info in self._infos]
        self._reading = threading.Lock()

    def check_use(self, place: int, use: str) -> None:
        permitted.check_page(self._release.subjects, self.items[place].subject, use, self.title)

    def sequence(self, place: int) -> SequenceEntry:
        from mimicme.stages import STAGES

        info = self._infos[place]
        meanings = {name: said for stage in STAGES for name, said in stage.reader.explained.items()}
        with self._reading:
            units = {n: "" if u in ("", "1") else u for n, u in self._release.units(info.item).items()}
        frames = []
        for row in info.rows:
            with self._reading:
                frame = self._release.frame(row, images=False)
            figures = {name: float(value) for name, value in frame.quality.items() if np.isfinite(value)}
            frames.append(
                FrameEntry(frame.number, frame.ok, frame.reason, frame.note, frame.message, figures)
            )
        return SequenceEntry(info.item, info.expression, frames, units, meanings)

    def frame(self, place: int, row: int) -> FrameData:
        with self._reading:
            frame = self._release.frame(self._infos[place].start + row)
        if not frame.ok:
            return FrameData()
        return FrameData(
            vertices=frame.vertices.astype(np.float64),
            texture=frame.texture,
            landmarks=frame.landmarks.astype(np.float64),
            sources=frame.landmark_source,
        )

    def version(self, place: int) -> str:
        return ""  # the file is open: one that takes its place is another release

    def judge(self, place: int, row: int | None, verdict: Verdict | None) -> None:
        raise UsageError("a release is not reviewed", todo="Look at the workspace that it was packed from.")

    def correct(self, place: int, row: int, moved: Mapping[int, Floats]) -> None:
        raise UsageError("a release is not corrected", todo="Look at the workspace that it was packed from.")
