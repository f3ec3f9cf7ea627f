"""A release written anew without some of its people or sequences, or with other attributes of people.

So that no byte of who leaves stays in a file (removing a group only unlinks it), it is written beside and put into its
place in one step.  All other data are copied as they lie, compressed; of a release with shards, those stay as they are
in which nothing changes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py

from mimicme.pipeline.checkpoint import guarded_file
from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.items import Item
from mimicme.pipeline.release import Release, digest, guard, layout, publication, shards
from mimicme.pipeline.release.shards import Shard
from mimicme.pipeline.release.writer import Person, people_of, shard_of, write_index
from mimicme.pipeline.whole_hdf5 import whole_hdf5

Attributes = Mapping[str, Any]


def rewrite(
    path: Path,
    gone: Collection[str],
    changed: Mapping[str, Attributes] = MappingProxyType({}),
    dropped: Collection[Item] = (),
    *,
    mark: str,
) -> None:
    """Write a release anew: its one file, or the shards that hold these people, and the index.

    Args:
        gone: subjects that leave; one that is not there is no error.
        changed: attributes that take the place of all that are there, of subjects that stay.
        dropped: sequences that leave, of subjects that stay.
        mark: before the digest of the fingerprint that it had: it is another release now, and the next run must not
            take it for the one that it would make.

    Raises:
        ReleaseError, CheckpointError: it is not a release, or is damaged; or its index does not know in which shard
            somebody lies.
    """
    held = shards.of_file(path)
    dropped = frozenset(dropped)
    touched = {*changed, *(item.subject for item in dropped)}
    link = path
    path = Path(os.path.realpath(link))  # the file itself: else it goes on holding who leaves, elsewhere
    left: list[Shard] = []
    with Release(path) as release, guarded_file(path) as old:
        said = _attributes(release, gone, mark)
        try:
            if held:
                _look_for(release, held, (*gone, *touched))
                known = {
                    one: Person(one, guard.attributes(old[f"subjects/{one}"].id, f"/subjects/{one}"), entries)
                    for one, entries in _entries(release)
                    if one not in gone and one not in touched
                }
                left = [one for each in held for one in _shard(path, each, gone, changed, dropped)]
                write_index(
                    path,
                    said,
                    lambda root: old.copy("template", root),
                    left,
                    people_of(path, left, known),
                    _level(old),
                )
            else:
                with whole_hdf5(path) as new:
                    _copy(release, old, new, said, gone, changed, dropped)
        except (KeyError, RuntimeError, ValueError, OSError) as error:
            if getattr(error, "errno", None) is not None:  # the disk failed, not the file
                raise
            raise ReleaseError("the release is damaged", where=path, seen=error) from error
    if held:
        for one in {one.name for one in held} - {one.name for one in left}:
            (shards.folder_of(path) / one).unlink(missing_ok=True)
    else:
        digest.write_beside(path)
    digest.forget_beside_link(link)


def _look_for(release: Release, held: tuple[Shard, ...], subjects: Iterable[str]) -> None:
    """That each subject of the index lies in a shard.

    Raises:
        ReleaseError: one does not.
    """
    somewhere = {one for shard in held for one in shard.subjects}
    for one in subjects:
        if one in release.subjects and one not in somewhere:
            raise ReleaseError(f"no shard holds '{one}'", where=release.path, todo="Run `mimicme verify`.")


def _attributes(release: Release, gone: Collection[str], mark: str) -> dict[str, Any]:
    """The root attributes of a release of which somebody has left, or something has changed."""
    said = {key: value for key, value in release.attributes.items() if key != digest.NAME}
    said["fingerprint"] = mark + hashlib.sha256(release.fingerprint.encode()).hexdigest()
    about = publication.of_attributes(said)
    if about is not None:
        for _ in gone:
            about = publication.without_one(about)
        said[publication.ATTRIBUTE] = about.to_json()
    return said


def _entries(release: Release) -> Iterator[tuple[str, list[layout.IndexEntry]]]:
    """What the indexes say of each subject, who may have no sequence."""
    found: dict[str, list[layout.IndexEntry]] = {one: [] for one in release.subjects}
    for info in release.sequences():
        found[info.item.subject].append(release.index_entry(info))
    yield from found.items()


def _copy(
    release: Release,
    old: h5py.File,
    new: h5py.File,
    said: Attributes,
    gone: Collection[str],
    changed: Mapping[str, Attributes],
    dropped: frozenset[Item],
) -> None:
    """Copy a release of one file."""
    for key, value in said.items():
        guard.put(new.attrs, key, value)
    old.copy("template", new)
    sealed = layout.has_digests(release.attributes.get("schema_version"))
    _copy_people(old, new, gone, changed, dropped, sealed)
    level = _level(old)
    entries = [entry for one, own in _entries(release) if one not in gone for entry in own]
    entries = [entry for entry in entries if entry.item not in dropped]
    if not sealed:
        layout.write_table(new, layout.INDEX, layout.index_table(entries, layout.INDEX_NAMES_BEFORE), level)
        return
    layout.write_indexes(new, entries, level)
    digest.seal_root(new["/"])
    digest.beside(release.path).unlink(missing_ok=True)


def _copy_people(
    old: h5py.File,
    new: h5py.File,
    gone: Collection[str],
    changed: Mapping[str, Attributes],
    dropped: frozenset[Item],
    sealed: bool,
) -> None:
    people = new.create_group("subjects")
    for key in old["subjects"]:
        if key in gone:
            continue
        leave = {item.sequence for item in dropped if item.subject == key}
        if key not in changed and not leave:
            old.copy(f"subjects/{key}", people, name=key)
            continue
        before, now = old[f"subjects/{key}"], people.create_group(key)
        attributes = changed[key] if key in changed else guard.attributes(before.id, before.name)
        for name, value in attributes.items():
            if name != digest.NAME:
                guard.put(now.attrs, name, value)
        for name in before:
            if name not in leave:
                old.copy(before[name], now, name=name)
        if sealed:
            digest.seal_subject(now)


def _level(old: h5py.File) -> int:
    return int(old[layout.TEMPLATE_VERTICES].compression_opts or 4)


def _shard(
    index: Path,
    held: Shard,
    gone: Collection[str],
    changed: Mapping[str, Attributes],
    dropped: frozenset[Item],
) -> list[Shard]:
    """A shard without who and what leaves: itself where nothing changes, none where nobody is left, else a new one
    under another name.

    Raises:
        ReleaseError: it is missing, and holds others too.
    """
    stay = [one for one in held.subjects if one not in gone]
    other = {one: changed[one] for one in stay if one in changed}
    without = sorted(item for item in dropped if item.subject in stay)
    if len(stay) == len(held.subjects) and not other and not without:
        return [held]
    if not stay:
        return []
    path = shards.found(index, held)
    with guarded_file(path) as old:
        said = guard.attributes(old["/"].id, "/")
        made_of = "\n".join(
            [
                "changed" if other or without else "withdrawn",
                str(said.get("fingerprint")),
                *stay,
                *(repr((one, sorted(own.items()))) for one, own in sorted(other.items())),
                *(f"without {item}" for item in without),
            ]
        )
        said["fingerprint"] = hashlib.sha256(made_of.encode("utf-8", "surrogateescape")).hexdigest()
        label = held.name.removesuffix(".h5").split("@")[1] if held.name.count("@") == 2 else shards.WHOLE
        target = path.with_name(shards.name_of(index, label, str(said["fingerprint"])))
        with whole_hdf5(target) as new:
            for key, value in said.items():
                if key != digest.NAME:
                    guard.put(new.attrs, key, value)
            _copy_people(old, new, gone, other, dropped, True)
            entries = layout.entries_of(old[layout.INDEX][:], old[layout.SEQUENCE_INDEX][:])
            level = int(old[layout.INDEX].compression_opts or 4)
            entries = [e for e in entries if e.item.subject not in gone and e.item not in dropped]
            layout.write_indexes(new, entries, level)
            digest.seal_root(new["/"])
    return [shard_of(target)]
