"""pack: everything the stages made, as one release.

Reads the checkpoints of all earlier stages and the subjects table; writes one file (`pipeline/release/__init__.py`
says what is in it).  A sequence of which a stage failed is there with all its frames rejected; a subject
who did not consent is not there; both are reported.  Frames are copied one by one: memory does not grow
with the release.

Which status counts: a frame is rejected when a stage that its vertices depend on (`Stage.shapes`) rejected it, the
first of them in order of the flow.  Another stage that rejects a frame leaves the geometry as good as it was: that
becomes a note (`bake:reason`).  A frame that a person called bad (`pipeline.review`) is rejected with the code
`review`, unless a stage rejected it for a reason of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline import items
from mimicme.pipeline.captures.metadata import SubjectTable
from mimicme.pipeline.checkpoint import Checkpoint, FrameStatus, joined_codes
from mimicme.pipeline.errors import CheckpointError, ConfigError, UsageError
from mimicme.pipeline.items import Captures
from mimicme.pipeline.release import layout
from mimicme.pipeline.release.encoding import ENCODINGS, OutOfReachError
from mimicme.pipeline.release.layout import OK, REJECTED
from mimicme.pipeline.release.writer import ReleaseWriter, SequenceWriter
from mimicme.pipeline.review import rejection
from mimicme.pipeline.stage import A, Stage
from mimicme.pipeline.template import Template
from mimicme.pipeline.whole_file import NO_ROOM
from mimicme.stages.align.checkpoint import AlignCheckpoint
from mimicme.stages.bake.checkpoint import TEXTURE, BakeCheckpoint
from mimicme.stages.ingest.checkpoint import IngestCheckpoint
from mimicme.stages.intensity.checkpoint import IntensityCheckpoint
from mimicme.stages.project.checkpoint import ProjectCheckpoint
from mimicme.stages.register.checkpoint import RegisteredCheckpoint

STAGE_FAILED = "stage-failed"
BAKED = "baked"
TEXTURE_FORMATS = ("png", "jpeg", "webp")


@dataclass(frozen=True)
class PackSettings:
    """How the release is written.

    Attributes:
        compression_level: gzip level, 1 to 9 (no unit). On registered faces level 4 writes 47 MB/s and level 6 44
            MB/s for 0.1 % less; reading does not depend on it.
        vertex_step_um: step that registered vertices are rounded to, or the power of two below it; 0 keeps them bit
            by bit. 1 um, a hundredth of a scanner's noise, saves a third of the geometry.
        vertices: how vertices are stored (no unit): `float32` bit by bit; `int32um` and `int16` as whole numbers of 1
            and of 10 um from the template's, off by at most 0.55 and 5.05 um. The page on the release has sizes and
            speeds.
        textures: how textures are stored (no unit): `baked` as `bake` left them, or encoded again as `png`, `jpeg:95`
            or `webp:95`, the number being the quality. What is of that format already is copied.
    """

    compression_level: int = 4
    vertex_step_um: float = 0.0
    vertices: str = "float32"
    textures: str = "baked"

    def __post_init__(self) -> None:
        if not 1 <= self.compression_level <= 9:
            raise ConfigError(
                "pack.compression_level is out of range", seen=self.compression_level, expected="1 to 9"
            )
        if not 0 <= self.vertex_step_um <= 1000:
            raise ConfigError(
                "pack.vertex_step_um is out of range", seen=self.vertex_step_um, expected="0 to 1000"
            )
        if self.vertices not in ENCODINGS:
            raise ConfigError(
                "pack.vertices is not known", seen=repr(self.vertices), expected=" or ".join(ENCODINGS)
            )
        if self.textures != BAKED:
            name, quality = self.texture_coding
            if (
                name not in TEXTURE_FORMATS
                or not 1 <= quality <= 100
                or (name == "png") == (":" in self.textures)
            ):
                raise ConfigError(
                    "pack.textures is not known",
                    seen=repr(self.textures),
                    expected=f"{BAKED}, png, jpeg:QUALITY or webp:QUALITY, with a quality of 1 to 100",
                )

    @property
    def texture_coding(self) -> tuple[str, int]:
        """Format and quality of `textures`; quality 0 where none can be read."""
        name, colon, quality = self.textures.partition(":")
        return name, (int(quality) if quality.isdigit() else 0) if colon else 95


@dataclass(frozen=True)
class PackInput:
    """One sequence and the checkpoints that exist for it, by stage name."""

    sequence: items.Sequence
    checkpoints: Mapping[str, Path]


@dataclass(frozen=True)
class PackResult:
    """What went into a release.

    Attributes:
        path: the release.
        ok, rejected: numbers of frames.
        failed: sequences that are there without any registered frame because a stage failed, as `S/q: stage`.
        excluded: subjects left out for want of consent, with the sentence why.
        messages: further sentences for the user.
    """

    path: Path
    ok: int
    rejected: int
    failed: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    messages: tuple[str, ...] = ()


def pack(
    inputs: Sequence[PackInput],
    settings: PackSettings,
    template: Template,
    captures: Captures,
    subjects: SubjectTable,
    output: Path,
    created: str,
    config_json: str,
    fingerprint: str,
    stages: Sequence[Stage],
    licence: str = "",
) -> PackResult:
    """Write a release from checkpoints, whole or not at all.

    Args:
        inputs: in any order; the release is sorted.
        captures: for the frame rate, when the checkpoints know none.
        created: ISO 8601 UTC time (SOURCE_DATE_EPOCH, or the newest capture's).
        config_json: settings as JSON text, without jobs and paths.
        stages: those before this one, in order of the flow.

    Raises:
        UsageError: there is nothing to pack.
        CheckpointError: a checkpoint is damaged or does not fit the others; the message names it.
    """
    captured = {i.sequence.item.subject for i in inputs}
    excluded = {s: why for s, why in subjects.excluded.items() if s in captured}
    kept = sorted(
        (i for i in inputs if i.sequence.item.subject not in excluded), key=lambda i: i.sequence.item
    )
    if not kept:
        raise UsageError(
            "there is nothing to pack",
            seen=f"{len(inputs)} sequences, {len(excluded)} subjects without consent",
            todo="Run the earlier stages first; `mimicme status` shows what is missing.",
        )
    units = _quality_units(kept, stages)
    table_type = layout.quality_dtype(list(units))
    failed: list[str] = []
    ok = rejected = 0
    with ReleaseWriter(
        output,
        created=created,
        licence=licence,
        config=config_json,
        fingerprint=fingerprint,
        level=settings.compression_level,
        vertices=settings.vertices,
    ) as out:
        out.template(template)
        subject = None
        for each in kept:
            if each.sequence.item.subject != subject:
                subject = each.sequence.item.subject
                out.subject(subject, subjects.attributes(subject))
            with _Inputs(each, stages) as found:
                try:
                    good = _write_sequence(out, found, captures, settings, table_type, units)
                except OSError as error:  # a chunk that does not fit its checksum
                    if error.errno in NO_ROOM:
                        raise
                    raise CheckpointError(
                        "this sequence cannot be copied into the release",
                        where=each.sequence.item,
                        seen=str(error).splitlines()[0],
                        todo=f"Check the disk; then run with --force --only '{each.sequence.item}'.",
                    ) from error
                if found.lost:
                    failed.append(f"{each.sequence.item}: {found.lost}")
            ok += int(good.sum())
            rejected += int((~good).sum())
    messages = (*subjects.messages, *subjects.compare(captured), *out.remarks)
    return PackResult(output, ok, rejected, tuple(failed), excluded, messages)


class _Inputs:
    """The opened checkpoints of one sequence, and what they say together about its frames."""

    def __init__(self, given: PackInput, stages: Sequence[Stage]) -> None:
        self.sequence = given.sequence
        self._stages = stages
        self._paths = given.checkpoints
        self._stack = ExitStack()
        self.checkpoints: dict[str, Checkpoint] = {}

    def __enter__(self) -> _Inputs:
        for stage in self._stages:
            if stage.name in self._paths:
                opened = stage.reader(self._paths[stage.name])
                self.checkpoints[stage.name] = self._stack.enter_context(opened)
        try:
            self._check_rows()
        except CheckpointError:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _check_rows(self) -> None:
        for stage, checkpoint in self.checkpoints.items():
            if not np.array_equal(checkpoint.numbers, self.numbers):
                raise CheckpointError(
                    f"the frames of '{stage}' are not those of the other stages",
                    where=checkpoint.path,
                    todo=f"Run `mimicme {stage}` with --force.",
                )

    @property
    def numbers(self) -> NDArray[np.int64]:
        for checkpoint in self.checkpoints.values():
            return checkpoint.numbers
        return np.array([f.number for f in self.sequence.frames], np.int64)

    @property
    def lost(self) -> str | None:
        """The first stage whose failure leaves the sequence without vertices."""
        if self.registered is not None:
            return None
        return next((s.name for s in self._stages if s.shapes and s.name not in self.checkpoints), None)

    def of(self, kind: type[A]) -> A | None:
        """What a stage left, by its reader; None where it left nothing."""
        found = self.checkpoints.get(kind.stage)
        return found if isinstance(found, kind) else None

    @cached_property
    def registered(self) -> RegisteredCheckpoint | None:
        """What has the vertices that count; None when nothing has."""
        found = RegisteredCheckpoint.of_flow(self._stages, self._paths)
        return None if found is None else self._stack.enter_context(found)

    def statuses(self) -> list[FrameStatus]:
        """One status per frame, its notes and sentences joined over the stages; what is called bad is rejected."""
        tables = {stage: checkpoint.statuses for stage, checkpoint in self.checkpoints.items()}
        bad = {number: rejection(reason) for number, reason in self.sequence.bad.items()}
        found = []
        for row, number in enumerate(self.numbers.tolist()):
            status = self._status({stage: table[row] for stage, table in tables.items()})
            error = bad.get(number)
            if error is not None and (status.ok or status.reason == error.reason):
                status = FrameStatus(False, error.reason, status.note, str(error))
            found.append(status)
        return found

    def _status(self, said: Mapping[str, FrameStatus]) -> FrameStatus:
        notes: list[str] = []
        sentences: list[str] = []
        for stage in (s for s in self._stages if s.name in said):
            status = said[stage.name]
            if not status.ok and stage.shapes:
                return FrameStatus(False, status.reason, ",".join(notes), status.message)
            notes += [n for n in status.note.split(",") if n and n not in notes]
            if not status.ok:
                notes.append(f"{stage.name}:{status.reason}")
            # a stage repeats what the stages before it said, then adds to it
            fresh = status.message
            for old in sentences:
                fresh = fresh.replace(old, "").strip()
            if fresh:
                sentences.append(fresh)
        if self.lost:
            why = f"The stage '{self.lost}' failed for this sequence; `mimicme status --failed` says why."
            return FrameStatus(False, STAGE_FAILED, ",".join(notes), why)
        for stage in (s for s in self._stages if s.name not in said):
            notes.append(f"no-{stage.name}")
            sentences.append(f"The stage '{stage.name}' has no result for this sequence.")
        return FrameStatus(True, "", ",".join(notes), " ".join(sentences))

    def quality(self) -> Iterator[tuple[str, NDArray[np.float32], str]]:
        """Figures of all stages: name, (F,) values, unit."""
        for checkpoint in self.checkpoints.values():
            for name, figure in checkpoint.quality.items():
                yield name, figure.values, figure.unit


def _quality_units(inputs: Sequence[PackInput], stages: Sequence[Stage]) -> dict[str, str]:
    """Every figure that any stage measured on any sequence, and its unit: the compound is the same
    everywhere."""
    units = dict.fromkeys(layout.QUALITY_FIXED, "mm")
    for each in inputs:
        with _Inputs(each, stages) as found:
            for name, _, unit in found.quality():
                if units.setdefault(name, unit) != unit:
                    raise CheckpointError(
                        f"two stages measure '{name}'",
                        where=each.sequence.item,
                        seen=f"{unit} and {units[name]}",
                        expected="a name of its own for each figure of a release",
                    )
    return units


def _write_sequence(
    out: ReleaseWriter,
    found: _Inputs,
    captures: Captures,
    settings: PackSettings,
    table_type: np.dtype[Any],
    units: Mapping[str, str],
) -> NDArray[np.bool_]:
    """Write one sequence; returns (F,) which frames are ok."""
    statuses = found.statuses()
    good = np.array([s.ok for s in statuses], bool)
    ingest, register = found.of(IngestCheckpoint), found.registered
    fps = ingest.fps if ingest and np.isfinite(ingest.fps) else found.sequence.fps(captures.fps)
    align, intensity = found.of(AlignCheckpoint), found.of(IntensityCheckpoint)
    decisions = {**(ingest.decided if ingest else {}), **(align.decided if align else {})}
    told = intensity.phases if intensity else {}
    stages = {f"made_by_{stage}": checkpoint.fingerprint for stage, checkpoint in found.checkpoints.items()}
    to = out.sequence(
        found.sequence.item,
        name=found.sequence.name,
        expression=found.sequence.expression,
        fps=fps,
        # without ingest nobody knows the file's axes
        file_from_scan=ingest.file_from_scan if ingest else np.full((4, 4), np.nan),
        numbers=found.numbers,
        statuses=[OK if s.ok else REJECTED for s in statuses],
        times=_times(found, ingest, captures.fps),
        attributes={**decisions, **told, **stages},
    )
    to.quality(_quality_table(statuses, found, table_type), units, [s.message for s in statuses])
    pose = np.full((len(good), 4, 4), np.nan)
    if not good.any():
        to.vertices((), lambda row: np.zeros(0))
    else:
        if register is None:
            raise CheckpointError(
                "no checkpoint has registered vertices",
                where=found.sequence.item,
                todo=f"Run with --force --only '{found.sequence.item}'.",
            )
        if register.all_vertices.shape[1:] != (out.n_vertices, 3):
            raise CheckpointError(
                "the registered vertices are not the template's",
                where=register.path,
                seen=register.all_vertices.shape[1],
                expected=out.n_vertices,
                todo="Run `mimicme register` again.",
            )
        try:
            to.vertices(np.flatnonzero(good).tolist(), _frames(register, settings.vertex_step_um))
        except OutOfReachError as error:
            raise CheckpointError(
                error.what,
                where=error.where,
                seen=error.seen,
                expected=error.expected,
                todo="Pack with `pack.vertices` float32, or look at this frame: it is no face.",
            ) from error
        pose[good] = register.all_poses[good]
    to.array("pose", pose)
    _write_landmarks(to, out.n_landmarks, found, good)
    bake = found.of(BakeCheckpoint)
    made = list(bake.codings) if bake else []
    for name in (*layout.IMAGES, *made):
        _write_images(to, name, found, good, settings)
    return good


def _frames(registered: RegisteredCheckpoint, step_um: float) -> Callable[[int], NDArray[np.float32]]:
    """The vertices of a row of a checkpoint, rounded."""

    def frame(row: int) -> NDArray[np.float32]:
        vertices = registered.all_vertices[row]
        if not np.isfinite(vertices).all():
            raise CheckpointError(f"row {row} is ok but its vertices are not finite", where=registered.path)
        return _rounded(vertices, step_um)

    return frame


def _times(found: _Inputs, ingest: IngestCheckpoint | None, declared: float) -> Sequence[float]:
    """(F,) seconds since the first frame, as ingest has them; else by what the files are called and the rate."""
    if ingest is not None and np.isfinite(ingest.times).any():
        return [float(time) for time in ingest.times]
    return found.sequence.times(declared)


def _rounded(vertices: NDArray[np.float32], step_um: float) -> NDArray[np.float32]:
    """Vertices in mm on a grid of at most `step_um`; a power of two of mm, so that low bits become zeros."""
    if step_um <= 0:
        return vertices
    step = np.float32(2.0 ** np.floor(np.log2(step_um / 1000)))
    return np.round(vertices / step) * step


def _quality_table(statuses: Sequence[FrameStatus], found: _Inputs, kind: np.dtype[Any]) -> NDArray[Any]:
    table = np.zeros(len(statuses), kind)
    for name in kind.names or ():
        if kind[name].kind == "f":
            table[name] = np.nan
    table["status"] = [(OK if s.ok else REJECTED).encode() for s in statuses]
    table["reason"] = [s.reason.encode()[:64] for s in statuses]
    table["note"] = [joined_codes(s.note.split(",")).encode() for s in statuses]
    for name, values, _ in found.quality():
        table[name] = values
    return table


def _write_landmarks(to: SequenceWriter, n_landmarks: int, found: _Inputs, good: NDArray[np.bool_]) -> None:
    project = found.of(ProjectCheckpoint)
    names = [n for n in layout.ROW_FIELDS if n.startswith("landmark")]
    names += [n for n in layout.OPTIONAL_ROW_FIELDS if project and n in project]
    for name in names:
        spec = layout.ROW_FIELDS.get(name) or layout.OPTIONAL_ROW_FIELDS[name]
        shape = (len(good), *layout.dimensions(spec.shape, -1, n_landmarks))
        data = np.full(shape, spec.fill, spec.dtype)
        if project:
            values = project.of_release(name)
            if values.shape != shape:
                raise CheckpointError(
                    f"'{name}' does not fit the template",
                    where=project.path,
                    seen=values.shape,
                    expected=shape,
                )
            rows = good & np.array([s.ok for s in project.statuses], bool)
            data[rows] = values[rows]
        to.array(name, data)


def _write_images(
    to: SequenceWriter, name: str, found: _Inputs, good: NDArray[np.bool_], settings: PackSettings
) -> None:
    bake = found.of(BakeCheckpoint)
    have = [bool(bake and ok and bake.has(row, name)) for row, ok in enumerate(good)]
    baked = (bake.texture_format if bake else "") if name == TEXTURE else "png"
    wanted = settings.texture_coding[0] if name == TEXTURE and settings.textures != BAKED else baked
    if bake and baked and wanted != baked:
        _write_encoded(to, name, bake, have, settings)
        return
    sizes = [bake.image_size(row, name) if bake and has else 0 for row, has in enumerate(have)]
    to.images(name, sizes, baked, bake.codings.get(name) if bake else None)
    for row in np.flatnonzero(have):
        if bake:
            to.put_image(name, int(row), bake.get(int(row), name))


def _write_encoded(
    to: SequenceWriter, name: str, bake: BakeCheckpoint, have: list[bool], settings: PackSettings
) -> None:
    """Images in another format; on their way they lie in a file, because their sizes are declared before the first."""
    from mimicme.pipeline.formats.image import decode, encode

    kind, quality = settings.texture_coding
    sizes = [0] * len(have)
    with tempfile.TemporaryFile() as spool:
        for row in np.flatnonzero(have).tolist():
            pixels = decode(bake.get(row, name).tobytes(), layout.MAX_PIXELS, f"{bake.path.name} row {row}")
            sizes[row] = spool.write(encode(pixels, kind, quality))
        spool.seek(0)
        to.images(name, sizes, kind)
        for row in np.flatnonzero(have).tolist():
            to.put_image(name, row, np.frombuffer(spool.read(sizes[row]), np.uint8))


STAGE = Stage(
    name="pack",
    version=6,
    settings=PackSettings,
    needs=(),  # all before it
    everything=pack,
    collect=PackInput,
    scope="everything",
    memory="One frame and its textures: under 0.3 GB.",
)
