"""pack: everything the stages made, as one release.

Reads the checkpoints of all earlier stages and the subjects table; writes one file (`pipeline/release/__init__.py`
says what is in it).  A sequence of which a stage failed is there with all its frames rejected; a subject
who did not consent is not there; both are reported.  Frames are copied one by one: memory does not grow
with the release.

With `pack.shard` it writes shards, side by side, and then the index that names them (`pipeline/release/shards.py`).
What is there already and made of the same is kept, so that a pack that was interrupted goes on, and one after a change
writes the shards that it touches.

Whether a release that is there is packed anew at all, `keeping` says: it never loses frames because something failed.

Which status counts: a frame is rejected when a stage that its vertices depend on (`Stage.shapes`) rejected it, the
first of them in order of the flow.  Another stage that rejects a frame leaves the geometry as good as it was: that
becomes a note (`bake:reason`).  A frame that a person called bad (`pipeline.review`) is rejected with the code
`review`, unless a stage rejected it for a reason of its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline import items
from mimicme.pipeline.captures.metadata import SubjectTable
from mimicme.pipeline.checkpoint import DAMAGE, Checkpoint, FrameStatus, joined_codes, without_damage
from mimicme.pipeline.errors import CheckpointError, ConfigError, OutputError, ReleaseError, UsageError
from mimicme.pipeline.items import Captures
from mimicme.pipeline.numerics.memory import ask_for
from mimicme.pipeline.release import digest, guard, layout, shards
from mimicme.pipeline.release.encoding import ENCODINGS, OutOfReachError
from mimicme.pipeline.release.layout import OK, REJECTED
from mimicme.pipeline.release.shards import Shard
from mimicme.pipeline.release.writer import (
    Person,
    ReleaseWriter,
    SequenceWriter,
    ShardWriter,
    people_in,
    people_of,
    root_attributes,
    shard_of,
    write_index,
)
from mimicme.pipeline.review import rejection
from mimicme.pipeline.stage import A, Stage
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.skin import Skin, skin_of
from mimicme.pipeline.whole_file import NO_ROOM
from mimicme.stages.align.checkpoint import AlignCheckpoint
from mimicme.stages.bake.checkpoint import TEXTURE, BakeCheckpoint
from mimicme.stages.ingest.checkpoint import IngestCheckpoint
from mimicme.stages.intensity.checkpoint import IntensityCheckpoint
from mimicme.stages.pack.keeping import held, keep
from mimicme.stages.pack.sharding import planned_bytes, shard_fingerprint, shards_of
from mimicme.stages.pack.survey import Look, Memory, signature
from mimicme.stages.project.checkpoint import ProjectCheckpoint
from mimicme.stages.register.checkpoint import RegisteredCheckpoint

VERSION = 10
ROOM_BYTES = 160 << 20
"""That this process must still be able to have before a release of one file is written: HDF5, which ends with a
segmentation fault where memory is wanting, one frame, and the largest template and texture that were measured (124 MB
for 53,349 vertices and textures of 1024)."""
NOTHING_AGAINST = 255
"""Of `layout.SKIN_SEEN`, where a scan shows the person for all that is known."""
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
        shard: GB that a file has at most, where one subject has not more: the release is then an index and shards
            beside it; or `subject`: a shard a subject; or `none`: one file. What is done to a subject changes its shard
            alone.
    """

    compression_level: int = 4
    vertex_step_um: float = 0.0
    vertices: str = "float32"
    textures: str = "baked"
    shard: Literal["none", "subject"] | float = "none"

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
        if not isinstance(self.shard, str) and not 0 < self.shard <= 1_000_000:
            raise ConfigError("pack.shard is out of range", seen=self.shard, expected="more than 0 GB")
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
        verified: names of shards that nobody touched since they were verified (`survey.verified_by` says by what).
    """

    path: Path
    ok: int
    rejected: int
    failed: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    verified: tuple[str, ...] = ()


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
    force: bool = False,
    side_by_side: Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]] = map,
    remembered: Path | None = None,
) -> PackResult:
    """Write a release from checkpoints, whole or not at all.

    Args:
        inputs: in any order; the release is sorted.
        captures: for the frame rate, when the checkpoints know none.
        created: ISO 8601 UTC time (SOURCE_DATE_EPOCH, or the newest capture's).
        config_json: settings as JSON text, without jobs and paths.
        stages: those before this one, in order of the flow.
        force: write shards anew that are there and made of the same.
        side_by_side: applies a function to jobs, in any order and any process.
        remembered: file with what an earlier pack saw (`survey`), so that it need not be looked at again.

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
    link = output
    output = Path(os.path.realpath(link))  # the file itself: else what it was stays there, unseen
    memory = Memory(remembered, (stage.name for stage in stages))
    survey = _survey(kept, stages, isinstance(settings.shard, float | int), memory)
    whole = _Whole(settings, template, captures, stages, survey)
    remarks: list[str] = []
    attributes = root_attributes(
        created=created, licence=licence, config=config_json, fingerprint=fingerprint
    )
    people = {i.sequence.item.subject: subjects.attributes(i.sequence.item.subject) for i in kept}
    if settings.shard == "none":
        ask_for(ROOM_BYTES, "packing")
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
            ok, rejected = _write_subjects(out, kept, people, whole)
        remarks, named = out.remarks, []
    else:
        known = {} if force else _untouched(output, memory)
        made = _write_shards(output, kept, people, whole, force, side_by_side, known)
        ok, rejected = sum(one.ok for one in made), sum(one.rejected for one in made)
        remarks, named = [r for one in made for r in one.remarks], [one.shard for one in made]
        kept_names = {shard.name for shard in named}  # a shard that is written anew has another name
        as_before = [one for name, (_, of) in known.items() if name in kept_names for one in of]
        write_index(
            output,
            attributes,
            lambda root: layout.write_template(root, template, settings.compression_level),
            named,
            people_of(output, named, {one.subject: one for one in as_before}),
            settings.compression_level,
        )
    shards.remove_others(output, (one.name for one in named))
    digest.forget_beside_link(link)
    paths = [shards.folder_of(output) / one.name for one in named]
    verified = tuple(path.name for path in paths if memory.is_verified(path))
    with suppress(OSError, OutputError):  # it saves time alone
        memory.save(paths)
    messages = (*subjects.messages, *subjects.compare(captured), *remarks)
    return PackResult(output, ok, rejected, whole.survey.failed, excluded, messages, verified)


@dataclass(frozen=True)
class _Survey:
    """What a first look at all checkpoints tells.

    Attributes:
        units: of every figure that any stage measured on any sequence: the compound is the same everywhere.
        failed: sequences of which a stage failed, as `S/q: stage`.
        made_of: by item, what it is made of, for fingerprints.
        images: by item, bytes of its images.  frames: by item.
    """

    units: Mapping[str, str]
    failed: tuple[str, ...]
    made_of: Mapping[items.Item, Mapping[str, Any]]
    images: Mapping[items.Item, int]
    frames: Mapping[items.Item, int]


@dataclass(frozen=True)
class _Whole:
    """What all sequences of a release have in common."""

    settings: PackSettings
    template: Template
    captures: Captures
    stages: Sequence[Stage]
    survey: _Survey


def _survey(inputs: Sequence[PackInput], stages: Sequence[Stage], sized: bool, memory: Memory) -> _Survey:
    """Look at all checkpoints that are not remembered; at the sizes of all images only if `sized`."""
    units = dict.fromkeys(layout.QUALITY_FIXED, "mm")
    failed: list[str] = []
    made_of: dict[items.Item, Mapping[str, Any]] = {}
    images: dict[items.Item, int] = {}
    frames: dict[items.Item, int] = {}
    for each in inputs:
        sequence, item = each.sequence, each.sequence.item
        look = memory.look(item, each.checkpoints, sized)
        if look is None:
            before = signature(each.checkpoints)
            with _opened(each, stages) as found:
                look = _looked_at(found, sized)
            memory.keep(item, each.checkpoints, before, look)
        for name, unit in look.units:
            if units.setdefault(name, unit) != unit:
                raise CheckpointError(
                    f"two stages measure '{name}'",
                    where=item,
                    seen=f"{unit} and {units[name]}",
                    expected="a name of its own for each figure of a release",
                )
        if look.lost:
            failed.append(f"{item}: {look.lost}")
        made_of[item] = {
            "name": sequence.name,
            "expression": sequence.expression,
            "frames": [(f.number, repr(f.time_s)) for f in sequence.frames],
            "fps": repr(sequence.named_fps),
            "review": {str(number): reason for number, reason in sequence.bad.items()},
            "checkpoints": dict(look.fingerprints),
        }
        images[item], frames[item] = max(0, look.image_bytes), look.frames
    return _Survey(units, tuple(failed), made_of, images, frames)


def _looked_at(found: _Inputs, sized: bool) -> Look:
    bake = found.of(BakeCheckpoint)
    names = (*layout.IMAGES, *(bake.codings if bake else ()))
    rows = range(len(found.numbers)) if bake else ()
    return Look(
        tuple((name, unit) for name, _, unit in found.quality()),
        found.lost,
        {name: one.fingerprint for name, one in found.checkpoints.items()},
        len(found.numbers),
        sum(bake.image_size(r, n) for n in names for r in rows if bake and bake.has(r, n)) if sized else -1,
    )


@contextmanager
def _opened(given: PackInput, stages: Sequence[Stage]) -> Iterator[_Inputs]:
    """The opened checkpoints of a sequence; what cannot be read of them is an error that names the checkpoint.

    Raises:
        CheckpointError: one is damaged, and removed, so that the next run makes it anew; or they do not fit.
    """
    try:
        with _Inputs(given, stages) as found:
            yield found
    except DAMAGE as error:  # as of a chunk that does not fit its checksum
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        told = without_damage(given.checkpoints.values(), error)
        if told is not error or isinstance(error, CheckpointError):
            raise told from error
        raise CheckpointError(
            "this sequence cannot be copied into the release",
            where=given.sequence.item,
            seen=(str(error).splitlines() or [type(error).__name__])[0],
            todo=f"Check the disk; then run with --force --only '{given.sequence.item}'.",
        ) from error


def _write_subjects(
    out: ReleaseWriter | ShardWriter,
    inputs: Sequence[PackInput],
    people: Mapping[str, Mapping[str, str | int | float]],
    whole: _Whole,
) -> tuple[int, int]:
    """Write sequences, in order, and whose they are; returns how many frames are ok and rejected."""
    table_type = layout.quality_dtype(list(whole.survey.units))
    skin = skin_of(whole.template)
    subject = None
    ok = rejected = 0
    for each in inputs:
        if each.sequence.item.subject != subject:
            subject = each.sequence.item.subject
            out.subject(subject, people[subject])
        with _opened(each, whole.stages) as found:
            good = _write_sequence(
                out, found, whole.captures, whole.settings, skin, table_type, whole.survey.units
            )
        ok += int(good.sum())
        rejected += int((~good).sum())
    return ok, rejected


@dataclass(frozen=True)
class _ShardJob:
    """One shard that is to be written."""

    path: Path
    fingerprint: str
    inputs: tuple[PackInput, ...]
    people: Mapping[str, Mapping[str, str | int | float]]
    whole: _Whole


@dataclass(frozen=True)
class _Made:
    """One shard that is there."""

    shard: Shard
    ok: int
    rejected: int
    remarks: tuple[str, ...] = ()


def _write_shards(
    output: Path,
    inputs: Sequence[PackInput],
    people: Mapping[str, Mapping[str, str | int | float]],
    whole: _Whole,
    force: bool,
    side_by_side: Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]],
    untouched: Mapping[str, tuple[Shard, Sequence[Person]]],
) -> list[_Made]:
    """Write the shards that are not there yet; returns all, by name.

    Args:
        untouched: by name, those that nobody touched since they were written, and need not be opened.
    """
    survey, settings = whole.survey, whole.settings
    n_vertices = len(whole.template.vertices)
    sizes = dict.fromkeys(people, 0)
    for item, frames in survey.frames.items():
        sizes[item.subject] += planned_bytes(frames, n_vertices, settings.vertices, [survey.images[item]])
    of_subject: dict[str, list[PackInput]] = {subject: [] for subject in people}
    for each in inputs:
        of_subject[each.sequence.item.subject].append(each)
    known = {one.name: one for one in shards.of_file(output) or ()}
    made: list[_Made] = []
    jobs: list[_ShardJob] = []
    # a worker needs of the survey the figures alone
    bare = _Whole(
        settings, whole.template, whole.captures, whole.stages, _Survey(survey.units, (), {}, {}, {})
    )
    for label, subjects in shards_of(sizes, settings.shard).items():
        own = tuple(each for subject in subjects for each in of_subject[subject])
        fingerprint = shard_fingerprint(
            settings,
            version=VERSION,
            schema=layout.SCHEMA_VERSION,
            template=whole.template.digest,
            fps=repr(whole.captures.fps),
            units=dict(survey.units),
            stages=[stage.name for stage in whole.stages],
            people={subject: dict(people[subject]) for subject in subjects},
            sequences={str(each.sequence.item): survey.made_of[each.sequence.item] for each in own},
        )
        path = shards.folder_of(output) / shards.name_of(output, label, fingerprint)
        there = None
        if path.name in untouched:
            there = _counted(*untouched[path.name])
        elif not force:
            there = _there(path, fingerprint, known.get(path.name))
        if there is None:
            jobs.append(
                _ShardJob(path, fingerprint, own, {subject: people[subject] for subject in subjects}, bare)
            )
        else:
            made.append(there)
    made += side_by_side(_write_shard, jobs)
    return sorted(made, key=lambda one: one.shard.name)


def _untouched(output: Path, memory: Memory) -> dict[str, tuple[Shard, Sequence[Person]]]:
    """The shards that are as an earlier pack left them, and what the index that is there says of their people."""
    held = [
        one
        for one in shards.of_file(output) or ()
        if memory.is_same(shards.folder_of(output) / one.name) and shards.is_there(output, one)
    ]
    if held and digest.read_beside(output) != digest.of_file(output):  # what it says would be believed
        return {}
    try:
        people = people_in(output, (subject for one in held for subject in one.subjects)) if held else {}
    except (ReleaseError, *guard.TROUBLE):
        return {}
    return {one.name: (one, [people[subject] for subject in one.subjects]) for one in held}


def _counted(shard: Shard, people: Sequence[Person]) -> _Made:
    statuses = [status for one in people for entry in one.entries for status in entry.statuses]
    ok = statuses.count(OK)
    return _Made(shard, ok, len(statuses) - ok)


def _there(path: Path, fingerprint: str, known: Shard | None) -> _Made | None:
    """A shard that an earlier pack wrote, whole and of the same; None: it must be written."""
    if not path.is_file() or path.is_symlink():
        return None
    try:
        with guard.opened(path) as file:
            root = guard.rooted(file)
            said = guard.attributes(root, "/")
            if said.get("kind") != shards.KIND or said.get("fingerprint") != fingerprint:
                return None
            good = file[layout.INDEX].fields("status")[:] == OK.encode()
        if known is None or (known.bytes, known.digest) != (path.stat().st_size, said.get("sha256")):
            known = shard_of(path)  # reads all of it: it may be a copy that is not whole
    except (ReleaseError, *guard.TROUBLE):
        return None
    return _Made(known, int(good.sum()), int((~good).sum()))


def _write_shard(job: _ShardJob) -> _Made:
    settings = job.whole.settings
    ask_for(ROOM_BYTES, "packing")
    with ShardWriter(
        job.path,
        job.whole.template,
        job.fingerprint,
        level=settings.compression_level,
        vertices=settings.vertices,
    ) as out:
        ok, rejected = _write_subjects(out, job.inputs, job.people, job.whole)
    return _Made(shard_of(job.path), ok, rejected, tuple(out.remarks))


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
            why = (
                f"The stage '{self.lost}' has no result for this sequence: it was not run, or it failed, and then "
                "`mimicme status --failed` says why."
            )
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


def _write_sequence(
    out: ReleaseWriter | ShardWriter,
    found: _Inputs,
    captures: Captures,
    settings: PackSettings,
    skin: Skin,
    table_type: np.dtype[Any],
    units: Mapping[str, str],
) -> NDArray[np.bool_]:
    """Write one sequence; returns (F,) which frames are ok."""
    statuses = found.statuses()
    good = np.array([s.ok for s in statuses], bool)
    ingest, register = found.of(IngestCheckpoint), found.registered
    fps = ingest.fps if ingest and np.isfinite(ingest.fps) else found.sequence.fps(captures.fps)
    align, intensity = found.of(AlignCheckpoint), found.of(IntensityCheckpoint)
    deciding = (ingest, align, found.of(RegisteredCheckpoint))
    decisions = {name: said for one in deciding if one is not None for name, said in one.decided.items()}
    told = intensity.phases if intensity else {}
    stages = {
        f"{layout.MADE_BY}{stage}": checkpoint.fingerprint for stage, checkpoint in found.checkpoints.items()
    }
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
                todo=f"`mimicme run` with --force --only '{found.sequence.item}', then without.",
            )
        if register.all_vertices.shape[1:] != (len(skin.index), 3):
            raise CheckpointError(
                "the registered vertices are not the template's",
                where=register.path,
                seen=register.all_vertices.shape[1],
                expected=len(skin.index),
                todo="Run `mimicme register` with --force, then `mimicme run`.",
            )
        try:
            to.vertices(np.flatnonzero(good).tolist(), _frames(register, skin, settings.vertex_step_um))
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
    if register is not None:
        _write_skin(to, register, skin, np.flatnonzero(good))
    _write_landmarks(to, out.n_landmarks, found, good)
    bake = found.of(BakeCheckpoint)
    made = list(bake.codings) if bake else []
    for name in (*layout.IMAGES, *made):
        _write_images(to, name, found, good, settings)
    return good


def _frames(
    registered: RegisteredCheckpoint, skin: Skin, step_um: float
) -> Callable[[int], NDArray[np.float32]]:
    """The vertices of a row of a checkpoint, with the template's interior behind them, rounded."""

    def frame(row: int) -> NDArray[np.float32]:
        vertices = registered.all_vertices[row]
        if not np.isfinite(vertices).all():
            raise CheckpointError(f"row {row} is ok but its vertices are not finite", where=registered.path)
        return _rounded(skin.whole(vertices.astype(np.float64)).astype(np.float32), step_um)

    return frame


def _write_skin(
    to: SequenceWriter, registered: RegisteredCheckpoint, skin: Skin, rows: NDArray[np.int64]
) -> None:
    """Where the scans show the person and not hair or clothes, of rows (k,); of the interior nothing is said."""
    seen = [registered.skin(int(row)) for row in rows]
    if all((one == NOTHING_AGAINST).all() for one in seen):
        return
    stored = to.rows(layout.SKIN_SEEN)
    whole = np.full((len(stored), len(skin.template.vertices)), NOTHING_AGAINST, np.uint8)
    for row, one in zip(rows, seen, strict=True):
        whole[row, skin.index] = one
    stored[:] = whole


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
    version=VERSION,
    settings=PackSettings,
    needs=(),  # all before it
    everything=pack,
    collect=PackInput,
    held=held,
    keep=keep,
    scope="everything",
    memory="One frame and its textures: under 0.3 GB, with shards as much a worker.",
)
