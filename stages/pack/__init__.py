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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mimicme.pipeline.captures.metadata import SubjectTable
from mimicme.pipeline.errors import OutputError, UsageError
from mimicme.pipeline.items import Captures
from mimicme.pipeline.numerics.memory import ask_for
from mimicme.pipeline.release import digest, layout, shards
from mimicme.pipeline.release.writer import ReleaseWriter, people_of, root_attributes, write_index
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.template import Template
from mimicme.stages.pack.first_look import first_look
from mimicme.stages.pack.inputs import PackInput
from mimicme.stages.pack.keeping import held, keep, ok_frames
from mimicme.stages.pack.sequence_writing import ROOM_BYTES, Whole, write_subjects
from mimicme.stages.pack.settings import PackSettings
from mimicme.stages.pack.shard_writing import untouched_shards, write_shards
from mimicme.stages.pack.survey import Memory

__all__ = ["STAGE", "PackInput", "PackResult", "PackSettings", "pack"]

VERSION = 11


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


class About(NamedTuple):
    """What the root of a release says of it: when it was made, its terms, the settings as JSON, its fingerprint."""

    created: str
    licence: str
    config: str
    fingerprint: str


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
    seen = first_look(kept, stages, isinstance(settings.shard, float | int), memory)
    whole = Whole(settings, template, captures, stages, seen)
    about = About(created, licence, config_json, fingerprint)
    people = {i.sequence.item.subject: subjects.attributes(i.sequence.item.subject) for i in kept}
    if settings.shard == "none":
        ok, rejected, remarks = _in_one_file(output, kept, people, whole, about)
        named = []
    else:
        known = {} if force else untouched_shards(output, memory)
        made = write_shards(output, kept, people, whole, VERSION, force, side_by_side, known)
        ok, rejected = sum(one.ok for one in made), sum(one.rejected for one in made)
        remarks, named = [r for one in made for r in one.remarks], [one.shard for one in made]
        _write_index(output, whole, about, named, known)
    shards.remove_others(output, (one.name for one in named))
    digest.forget_beside_link(link)
    paths = [shards.folder_of(output) / one.name for one in named]
    verified = tuple(path.name for path in paths if memory.is_verified(path))
    with suppress(OSError, OutputError):  # it saves time alone
        memory.save(paths)
    messages = (*subjects.messages, *subjects.compare(captured), *remarks)
    return PackResult(output, ok, rejected, seen.failed, excluded, messages, verified)


def _in_one_file(
    output: Path,
    kept: Sequence[PackInput],
    people: Mapping[str, Mapping[str, Any]],
    whole: Whole,
    about: About,
) -> tuple[int, int, list[str]]:
    """Write a release that is one file: how many frames are registered and rejected, and what is to be said."""
    ask_for(ROOM_BYTES, "packing")
    settings = whole.settings
    with ReleaseWriter(
        output, **about._asdict(), level=settings.compression_level, vertices=settings.vertices
    ) as out:
        out.template(whole.template)
        ok, rejected = write_subjects(out, kept, people, whole)
    return ok, rejected, out.remarks


def _write_index(
    output: Path, whole: Whole, about: About, named: Sequence[shards.Shard], known: Mapping[str, Any]
) -> None:
    """Write the file beside the shards, of which some were `known` and left as they were."""
    level = whole.settings.compression_level
    kept_names = {shard.name for shard in named}  # a shard that is written anew has another name
    as_before = [one for name, (_, of) in known.items() if name in kept_names for one in of]
    write_index(
        output,
        root_attributes(**about._asdict()),
        lambda root: layout.write_template(root, whole.template, level),
        named,
        people_of(output, named, {one.subject: one for one in as_before}),
        level,
    )


STAGE = Stage(
    name="pack",
    version=VERSION,
    settings=PackSettings,
    needs=(),  # all before it
    everything=pack,
    collect=PackInput,
    held=held,
    ok_frames=ok_frames,
    keep=keep,
    scope="everything",
    memory="One frame and its textures: under 0.3 GB, with shards as much a worker.",
)
