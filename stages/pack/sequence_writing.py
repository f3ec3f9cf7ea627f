"""Sequences and their subjects as a release has them: one frame after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.checkpoint import FrameStatus, joined_codes
from mimicme.pipeline.errors import CheckpointError
from mimicme.pipeline.items import Captures
from mimicme.pipeline.release import layout
from mimicme.pipeline.release.encoding import OutOfReachError
from mimicme.pipeline.release.layout import OK, REJECTED
from mimicme.pipeline.release.writer import ReleaseWriter, SequenceWriter, ShardWriter
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.skin import Skin, skin_of
from mimicme.stages.align.checkpoint import AlignCheckpoint
from mimicme.stages.bake.checkpoint import TEXTURE, BakeCheckpoint
from mimicme.stages.ingest.checkpoint import IngestCheckpoint
from mimicme.stages.intensity.checkpoint import IntensityCheckpoint
from mimicme.stages.pack.first_look import FirstLook
from mimicme.stages.pack.inputs import Inputs, PackInput, opened
from mimicme.stages.pack.settings import BAKED, PackSettings
from mimicme.stages.project.checkpoint import ProjectCheckpoint
from mimicme.stages.register.checkpoint import RegisteredCheckpoint

ROOM_BYTES = 160 << 20
"""That this process must still be able to have before a release of one file is written: HDF5, which ends with a
segmentation fault where memory is wanting, one frame, and the largest template and texture that were measured (124 MB
for 53,349 vertices and textures of 1024)."""
NOTHING_AGAINST = 255
"""Of `layout.SKIN_SEEN`, where a scan shows the person for all that is known."""


@dataclass(frozen=True)
class Whole:
    """What all sequences of a release have in common."""

    settings: PackSettings
    template: Template
    captures: Captures
    stages: Sequence[Stage]
    seen: FirstLook


def write_subjects(
    out: ReleaseWriter | ShardWriter,
    inputs: Sequence[PackInput],
    people: Mapping[str, Mapping[str, str | int | float]],
    whole: Whole,
) -> tuple[int, int]:
    """Write sequences, in order, and whose they are; returns how many frames are ok and rejected."""
    table_type = layout.quality_dtype(list(whole.seen.units))
    skin = skin_of(whole.template)
    subject = None
    ok = rejected = 0
    for each in inputs:
        if each.sequence.item.subject != subject:
            subject = each.sequence.item.subject
            out.subject(subject, people[subject])
        with opened(each, whole.stages) as found:
            good = _write_sequence(
                out, found, whole.captures, whole.settings, skin, table_type, whole.seen.units
            )
        ok += int(good.sum())
        rejected += int((~good).sum())
    return ok, rejected


def _write_sequence(
    out: ReleaseWriter | ShardWriter,
    found: Inputs,
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


def _times(found: Inputs, ingest: IngestCheckpoint | None, declared: float) -> Sequence[float]:
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


def _quality_table(statuses: Sequence[FrameStatus], found: Inputs, kind: np.dtype[Any]) -> NDArray[Any]:
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


def _write_landmarks(to: SequenceWriter, n_landmarks: int, found: Inputs, good: NDArray[np.bool_]) -> None:
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
    to: SequenceWriter, name: str, found: Inputs, good: NDArray[np.bool_], settings: PackSettings
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
