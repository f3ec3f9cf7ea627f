"""The release that is given away: the same frames, under other names, with nothing but what was chosen to be said.

Datasets are copied as they lie, compressed.  Of attributes those go in that are named here; the sentences on frames,
which may name files, and the hashes of what they were made from stay at home.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d

from mimicme.pipeline.checkpoint import MESSAGE_BYTES, guarded_file
from mimicme.pipeline.release import Release, digest, guard, layout, shards
from mimicme.pipeline.release.shards import Shard
from mimicme.pipeline.release.writer import people_of, shard_of, write_index
from mimicme.pipeline.whole_hdf5 import whole_hdf5

SEQUENCE_ATTRIBUTES = ("expression", "fps", "file_from_scan", "mirrored", "onset", "apex", "offset")
"""Of a sequence, besides its name."""
_FORMAT = 2


@dataclass(frozen=True)
class Subject:
    """A subject as it is published.

    Attributes:
        own, name: its id and its pseudonym.
        attributes: all that is said of it.
        sequences: (own name, published name) of its sequences.
        expressions: by own name of the sequence.
    """

    own: str
    name: str
    attributes: Mapping[str, Any]
    sequences: tuple[tuple[str, str], ...]
    expressions: Mapping[str, str]


def publish_release(
    source: Release,
    target: Path,
    subjects: Sequence[Subject],
    attributes: Mapping[str, str],
    labels: Mapping[str, Sequence[str]] | None,
    key: bytes,
    done: Callable[[], None] = lambda: None,
) -> None:
    """Write the release, of one file or of shards; shards that are there and of the same are kept.

    Args:
        attributes: of its root.
        labels: pseudonyms by label of their shard; None: one file.
        key: what fingerprints of shards are made with, so that nobody finds a name in them by trying.
        done: called after each subject that was copied.

    Raises:
        ReleaseError, CheckpointError: the source is damaged.
    """
    by_name = {subject.name: subject for subject in subjects}
    files = _files(source, subjects)
    with guarded_file(source.path) as index:
        level = int(index[layout.TEMPLATE_VERTICES].compression_opts or 4)

        def template(root: h5py.Group) -> None:
            index.copy("template", root)

        if labels is None:
            with whole_hdf5(target) as new:
                for name, value in attributes.items():
                    guard.put(new.attrs, name, value)
                template(new)
                _write_subjects(source, files, new, [by_name[name] for name in sorted(by_name)], level, done)
                digest.beside(target).unlink(missing_ok=True)
            digest.write_beside(target)
            shards.remove_others(target, ())
            return
        own = str(guard.attribute(index["template"].id, "digest", "/template", ""))
        known = {one.name: one for one in shards.of_file(target) or ()}
        held = [
            _shard(
                source,
                files,
                target,
                label,
                [by_name[n] for n in sorted(names)],
                own,
                level,
                known,
                key,
                done,
            )
            for label, names in sorted(labels.items())
        ]
        write_index(target, attributes, template, held, people_of(target, held), level)
    shards.remove_others(target, (one.name for one in held))


def contents_of(source: Release, subjects: Sequence[Subject], key: bytes) -> dict[str, str]:
    """A keyed hash of what is published of each subject, by pseudonym.

    Raises:
        ReleaseError, CheckpointError: the source is damaged.
    """
    files = _files(source, subjects)
    return {one.name: _keyed(key, _record(one, files[one.own])) for one in subjects}


def _files(source: Release, subjects: Sequence[Subject]) -> dict[str, Path]:
    """The file in which each subject lies, by its id."""
    files = {subject.own: source.path for subject in subjects}
    for shard in shards.of_file(source.path) or ():
        files |= {own: shards.found(source.path, shard) for own in shard.subjects if own in files}
    return files


def _record(subject: Subject, path: Path) -> dict[str, Any]:
    return {
        "said": {name: repr(value) for name, value in subject.attributes.items()},
        "sequences": subject.sequences,
        "content": _content(subject, path),
    }


def _keyed(key: bytes, record: Any) -> str:
    return hmac.new(key, json.dumps(record, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _shard(
    source: Release,
    files: Mapping[str, Path],
    target: Path,
    label: str,
    subjects: Sequence[Subject],
    template: str,
    level: int,
    known: Mapping[str, Shard],
    key: bytes,
    done: Callable[[], None],
) -> Shard:
    record = {
        "format": _FORMAT,
        "schema": layout.SCHEMA_VERSION,
        "template": template,
        "subjects": {one.name: _record(one, files[one.own]) for one in subjects},
    }
    fingerprint = _keyed(key, record)
    path = shards.folder_of(target) / shards.name_of(target, label, fingerprint)
    if path.is_file() and not path.is_symlink():
        there = known.get(path.name)
        if there is not None and there.bytes == path.stat().st_size:
            return there
        found = shard_of(path)  # written whole by a publication that was interrupted afterwards
        if found.subjects == tuple(sorted(one.name for one in subjects)):
            return found
    with whole_hdf5(path) as new:
        for name, value in shards.attributes(template, fingerprint).items():
            guard.put(new.attrs, name, value)
        _write_subjects(source, files, new, subjects, level, done)
    return shard_of(path)


def _write_subjects(
    source: Release,
    files: Mapping[str, Path],
    new: h5py.File,
    subjects: Sequence[Subject],
    level: int,
    done: Callable[[], None],
) -> None:
    """The subjects, the indexes and the digests of a file."""
    people = new.create_group("subjects")
    entries: list[layout.IndexEntry] = []
    for subject in subjects:
        group = people.create_group(subject.name)
        for name, value in subject.attributes.items():
            guard.put(group.attrs, name, value)
        with guarded_file(files[subject.own]) as file:
            for own, name in subject.sequences:
                entry = source.index_entry(source[subject.own, own])
                said = source.sequence_attributes(subject.own, own)
                expression = subject.expressions[own]
                _copy_sequence(file[f"subjects/{subject.own}/{own}"], group.create_group(name), level)
                told = {**{n: said[n] for n in SEQUENCE_ATTRIBUTES if n in said}, "expression": expression}
                for key, value in {**told, "sequence": name}.items():
                    guard.put(group[name].attrs, key, value)
                digest.seal_sequence(group[name])
                entries.append(layout.renamed(entry, subject.name, name, expression))
                new.check()
        digest.seal_subject(group)
        done()
    layout.write_indexes(new, entries, level)
    digest.seal_root(new["/"])


def _copy_sequence(old: h5py.Group, new: h5py.Group, level: int) -> None:
    for name in sorted(old):
        if name != "message":
            old.copy(name, new, name=name)
    kind = h5py.string_dtype("utf-8", MESSAGE_BYTES)
    n = len(old["frame"])
    layout.create_dataset(new, "message", (n,), kind, "", level=level)[...] = np.zeros(n, kind)


def _content(subject: Subject, path: Path) -> str:
    """A hash of what a subject's datasets hold: the checksums of all chunks, which HDF5 keeps at their ends; and of all
    that is said of them and of its sequences."""
    total = hashlib.sha256()
    with guarded_file(path) as file, open(path, "rb", buffering=0) as raw:
        for own, _ in subject.sequences:

            def note(name: str, node: Any) -> None:
                if isinstance(node, h5py.Dataset):
                    head = f"{name} {node.shape} {node.dtype.str} {_told(node)}"
                    total.update(head.encode("utf-8", "surrogateescape"))
                    if node.id.get_create_plist().get_layout() == h5d.CHUNKED:
                        node.id.chunk_iter(lambda chunk: total.update(_checksum(raw, chunk)))
                    elif node.size:
                        total.update(node[...].tobytes())

            sequence = file[f"subjects/{subject.own}/{own}"]
            total.update(_told(sequence).encode("utf-8", "surrogateescape"))
            sequence.visititems(note)
    return total.hexdigest()


def _told(node: Any) -> str:
    """The attributes of a dataset or of a sequence, as text."""
    return repr(sorted((name, np.asarray(value).tolist()) for name, value in node.attrs.items()))


def _checksum(raw: Any, chunk: Any) -> bytes:
    place = f"{chunk.chunk_offset} {chunk.size}".encode()
    return place + os.pread(raw.fileno(), min(4, chunk.size), chunk.byte_offset + max(0, chunk.size - 4))
