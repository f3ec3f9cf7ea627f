"""The shards of a release: each is there, is the one that the index names, and keeps what a release promises."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mimicme.commands.verify.finding import Finding, guarded, has_errors, named
from mimicme.commands.verify.people import check_entry, check_subjects
from mimicme.commands.verify.sequence import Shape
from mimicme.commands.verify.tree import Seen
from mimicme.commands.verify.whole import check_digests, check_indexes
from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.release import digest, guard, layout, shards
from mimicme.pipeline.release.shards import Shard

_ENTRIES = ("subjects", *layout.INDEXES)


@named("shards")
def check_shards(
    index: h5py.File,
    path: Path,
    shape: Shape,
    every_image: bool,
    alive: Callable[[], None],
    but: Collection[str] = (),
) -> Iterator[Finding]:
    """The shards of an index; what is wrong inside of one is said with its name before the place.

    Args:
        index: opened.  path: of it.
        shape: what the template says; gets what the sequences say about the indexes.
        but: names of shards that are not looked into; of theirs the index is believed.
    """
    shape.whole = False
    top = guard.rooted(index)
    held = shards.read(top)
    people = guard.subgroup(top, "subjects", "/")
    names = set(guard.names(people, "/subjects"))
    shape.whole = True
    listed = {subject for shard in held for subject in shard.subjects}
    for subject in sorted(names ^ listed):
        shape.whole = False
        what = "has no shard" if subject in names else "has a shard, and is not there"
        yield Finding("error", f"/subjects/{subject}", f"The subject {what}.")
    for subject in sorted(names):
        person = guard.subgroup(people, subject, "/subjects")
        if guard.names(person, f"/subjects/{subject}"):
            yield Finding(
                "error", f"/subjects/{subject}", "It holds sequences; those of an index lie in its shards."
            )
    skipped = {subject for shard in held if shard.name in but for subject in shard.subjects}
    if skipped:
        entries = layout.entries_of(index[layout.INDEX][:], index[layout.SEQUENCE_INDEX][:])
        shape.entries += [entry for entry in entries if entry.item.subject in skipped]
    for shard in held:
        alive()
        if shard.name in but:
            shards.found(path, shard)
            continue
        said = list(guarded(f"/shards/{shard.name}", _check_file, path, shard, alive))
        yield from said
        if said and not shards.is_there(path, shard):
            shape.whole = False
            continue
        own = replace(shape, entries=[], whole=True)
        arguments = (index, path, shard, own, every_image, alive)
        for finding in guarded("/", _check_shard, *arguments):
            yield replace(finding, where=f"{shard.name}:{finding.where}")
        shape.entries += own.entries
        shape.whole &= own.whole


@named("shards")
def _check_file(index: Path, shard: Shard, alive: Callable[[], None]) -> Iterator[Finding]:
    """The file is there, and is byte by byte the one that the index names."""
    try:
        path = shards.found(index, shard)
    except ReleaseError as error:
        error.where = f"/shards/{shard.name}"
        raise
    if digest.of_file(path, alive) != shard.sha256:
        yield Finding(
            "error",
            f"/shards/{shard.name}",
            "The file is not the one that the index names (sha256); copy it again.",
        )


@named("shards")
def _check_shard(
    index: h5py.File,
    path: Path,
    shard: Shard,
    shape: Shape,
    every_image: bool,
    alive: Callable[[], None],
) -> Iterator[Finding]:
    shape.whole = False
    with guard.opened(shards.found(path, shard)) as file:
        top = guard.rooted(file)
        said = guard.attributes(top, "/")
        own = guard.attribute(guard.child(guard.rooted(index), "template", "/"), "digest", "/template", "")
        expected = {
            "kind": shards.KIND,
            "schema_version": guard.attribute(index["/"].id, "schema_version", "/", ""),
            "template": own,
            digest.NAME: shard.digest,
        }
        for name, wanted in expected.items():
            if said.get(name) != wanted:
                seen = str(said.get(name))[:64]
                yield Finding("error", "/", f"'{name}' is {seen!r}, but the index says {wanted!r}.")
        seen_groups = Seen()
        seen_groups.again(top)
        names = guard.names(top, "/")
        if sorted(names) != sorted(_ENTRIES):
            yield Finding("error", "/", f"It holds {sorted(names)}, expected {sorted(_ENTRIES)}.")
            return
        tables = [
            f for name in layout.INDEXES for f in guarded(f"/{name}", check_entry, top, name, seen_groups)
        ]
        yield from tables
        people = sorted(guard.names(guard.subgroup(top, "subjects", "/"), "/subjects"))
        if people != sorted(shard.subjects):
            yield Finding("error", "/subjects", f"{len(people)} subjects, not those that the index says.")
            return
        yield from guarded("/subjects", check_subjects, file, top, shape, seen_groups, every_image, alive)
        if has_errors(tables):
            return
        yield from guarded("/index", check_indexes, file, shape)
        if shape.whole:
            yield from guarded("/", check_digests, file, shape)
        for subject in people:
            yield from guarded(f"/subjects/{subject}", _check_person, index, file, subject)


@named("shards")
def _check_person(index: h5py.File, file: h5py.File, subject: str) -> Iterator[Finding]:
    """The index says the same of a subject as its shard."""
    where = f"/subjects/{subject}"
    in_index, in_shard = (guard.attributes(one[where].id, where) for one in (index, file))
    for name in sorted({*in_index, *in_shard}):
        if not (name in in_index and name in in_shard and _same(in_index[name], in_shard[name])):
            seen, own = (str(said.get(name))[:40] for said in (in_index, in_shard))
            yield Finding("error", where, f"'{name}' is {seen!r} in the index, but {own!r} here.")


def _same(a: Any, b: Any) -> bool:
    """Bit by bit, so that NaN is NaN."""
    return type(a) is type(b) and np.asarray(a).tobytes() == np.asarray(b).tobytes()
