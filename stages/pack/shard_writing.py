"""Shards beside an index: those that are there and made of the same are kept, the others written side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.numerics.memory import ask_for
from mimicme.pipeline.release import digest, guard, layout, shards
from mimicme.pipeline.release.layout import OK
from mimicme.pipeline.release.shards import Shard
from mimicme.pipeline.release.writer import Person, ShardWriter, people_in, shard_of
from mimicme.stages.pack.first_look import FirstLook
from mimicme.stages.pack.inputs import PackInput
from mimicme.stages.pack.sequence_writing import ROOM_BYTES, Whole, write_subjects
from mimicme.stages.pack.sharding import planned_bytes, shard_fingerprint, shards_of
from mimicme.stages.pack.survey import Memory


@dataclass(frozen=True)
class _ShardJob:
    """One shard that is to be written."""

    path: Path
    fingerprint: str
    inputs: tuple[PackInput, ...]
    people: Mapping[str, Mapping[str, str | int | float]]
    whole: Whole


@dataclass(frozen=True)
class Made:
    """One shard that is there."""

    shard: Shard
    ok: int
    rejected: int
    remarks: tuple[str, ...] = ()


def write_shards(
    output: Path,
    inputs: Sequence[PackInput],
    people: Mapping[str, Mapping[str, str | int | float]],
    whole: Whole,
    version: int,
    force: bool,
    side_by_side: Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]],
    untouched: Mapping[str, tuple[Shard, Sequence[Person]]],
) -> list[Made]:
    """Write the shards that are not there yet; returns all, by name.

    Args:
        version: of the stage.
        untouched: by name, those that nobody touched since they were written, and need not be opened.
    """
    seen, settings = whole.seen, whole.settings
    n_vertices = len(whole.template.vertices)
    sizes = dict.fromkeys(people, 0)
    for item, frames in seen.frames.items():
        sizes[item.subject] += planned_bytes(frames, n_vertices, settings.vertices, [seen.images[item]])
    of_subject: dict[str, list[PackInput]] = {subject: [] for subject in people}
    for each in inputs:
        of_subject[each.sequence.item.subject].append(each)
    known = {one.name: one for one in shards.of_file(output) or ()}
    made: list[Made] = []
    jobs: list[_ShardJob] = []
    # a worker needs of the first look the figures alone
    bare = Whole(
        settings, whole.template, whole.captures, whole.stages, FirstLook(seen.units, (), {}, {}, {})
    )
    for label, subjects in shards_of(sizes, settings.shard).items():
        own = tuple(each for subject in subjects for each in of_subject[subject])
        fingerprint = shard_fingerprint(
            settings,
            version=version,
            schema=layout.SCHEMA_VERSION,
            template=whole.template.digest,
            fps=repr(whole.captures.fps),
            units=dict(seen.units),
            stages=[stage.name for stage in whole.stages],
            people={subject: dict(people[subject]) for subject in subjects},
            sequences={str(each.sequence.item): seen.made_of[each.sequence.item] for each in own},
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


def untouched_shards(output: Path, memory: Memory) -> dict[str, tuple[Shard, Sequence[Person]]]:
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


def _counted(shard: Shard, people: Sequence[Person]) -> Made:
    statuses = [status for one in people for entry in one.entries for status in entry.statuses]
    ok = statuses.count(OK)
    return Made(shard, ok, len(statuses) - ok)


def _there(path: Path, fingerprint: str, known: Shard | None) -> Made | None:
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
    return Made(known, int(good.sum()), int((~good).sum()))


def _write_shard(job: _ShardJob) -> Made:
    settings = job.whole.settings
    ask_for(ROOM_BYTES, "packing")
    with ShardWriter(
        job.path,
        job.whole.template,
        job.fingerprint,
        level=settings.compression_level,
        vertices=settings.vertices,
    ) as out:
        ok, rejected = write_subjects(out, job.inputs, job.people, job.whole)
    return Made(shard_of(job.path), ok, rejected, tuple(out.remarks))
