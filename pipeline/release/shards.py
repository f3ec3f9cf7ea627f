"""Shards: the files beside a release's index file that hold its subjects, where one file would be too large.

The index file (`release.h5`) has all but the sequences: root, template, subjects' attributes, both indexes, and

    /shards          (K,) compound: name, bytes, sha256 (of the whole file), digest (attribute `sha256` of its root)
    /shard_subjects  (S,) compound: subject, shard (row of /shards), by subject

A shard has root attributes `kind`, `schema_version`, `template` (digest), `fingerprint`, `sha256`, its own subjects
with all their sequences, and the indexes of these.  It says nothing of other subjects, so what is done to one subject
touches one shard and the index.  No link leads from one file to another: the index names a shard, and who reads looks
for a plain file of that name in the index's own folder, and nowhere else.

A shard's name has its fingerprint in it: a shard that is made anew gets a new name, so that the index that is there
goes on naming files that are there until another takes its place; what no index names any more is removed then.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py.h5g import GroupID
from numpy.typing import NDArray

from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.errors import ReleaseError, UsageError
from mimicme.pipeline.release import guard, layout

TABLE, SUBJECT_TABLE = "shards", "shard_subjects"
TABLES = (TABLE, SUBJECT_TABLE)
WHOLE = "all"
"""The label of a shard that holds everybody."""
KIND = "shard of a mimicme release"
ATTRIBUTES = ("kind", "schema_version", "template", "fingerprint")
COLUMNS = (("name", "S"), ("bytes", "<u8"), ("sha256", "S64"), ("digest", "S64"))
SUBJECT_COLUMNS = (("subject", "S"), ("shard", "<u4"))
_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+@-]{0,250}\.h5")
_FINGERPRINT_DIGITS = 16


@dataclass(frozen=True)
class Shard:
    """What the index says of one shard.

    Attributes:
        name: of the file, in the folder of the index.
        bytes: of the whole file.  sha256: of it.  digest: what its root says of its content (`digest`).
        subjects: whose sequences it holds, in order.
    """

    name: str
    bytes: int
    sha256: str
    digest: str
    subjects: tuple[str, ...]


def name_of(index: Path, label: str, fingerprint: str) -> str:
    """The file name of a shard: that of the index, a label, and the beginning of its fingerprint.

    Raises:
        UsageError: the index has a name that its shards cannot have.
    """
    if safe_name(index.stem) != index.stem or index.suffix != ".h5":
        raise UsageError(
            "a release with shards needs a plain name",
            seen=index.name,
            expected="letters, digits, _ . + - and .h5",
        )
    return f"{index.stem}@{safe_name(label)}@{fingerprint[:_FINGERPRINT_DIGITS]}.h5"


def is_name(name: str) -> bool:
    """Whether a text can name a shard: a plain file name, without a path."""
    return _NAME.fullmatch(name) is not None


def folder_of(index: Path) -> Path:
    """Where the shards of an index lie: beside the file itself, wherever a link to it lies."""
    return Path(os.path.realpath(index)).parent


def found(index: Path, shard: Shard) -> Path:
    """The file of a shard, which is there, is no link, and is as long as the index says.

    Raises:
        ReleaseError: it is not.
    """
    path = folder_of(index) / shard.name
    whose = f"it holds {_listed(shard.subjects)}; other subjects can be read"
    try:
        seen = os.lstat(path)
    except OSError as error:
        raise ReleaseError(
            f"the shard '{shard.name}' is missing",
            where=index,
            seen=error.strerror,
            expected=f"that file beside the index: {whose}",
            todo="Copy all files of the release into one folder, or make it again.",
        ) from error
    if not stat.S_ISREG(seen.st_mode):
        raise ReleaseError(
            f"the shard '{shard.name}' is no plain file", where=index, expected="a file, and no link to one"
        )
    if seen.st_size != shard.bytes:
        raise ReleaseError(
            f"the shard '{shard.name}' is not the one that the index names",
            where=index,
            seen=f"{seen.st_size:,} bytes",
            expected=f"{shard.bytes:,} bytes; {whose}",
            todo="Copy it again, or make the release again.",
        )
    return path


def is_there(index: Path, shard: Shard) -> bool:
    """Whether a shard's file is there and as long as the index says."""
    try:
        return bool(found(index, shard))
    except ReleaseError:
        return False


def check_root(root: GroupID, index: Path, shard: Shard) -> None:
    """An opened file is the shard that the index names.

    Raises:
        ReleaseError: it is another one.
    """
    said = guard.attributes(root, f"{shard.name}:/")
    if said.get("kind") != KIND or said.get("sha256") != shard.digest:
        raise ReleaseError(
            f"the shard '{shard.name}' is not the one that the index names",
            where=index,
            seen=f"kind {str(said.get('kind'))[:40]!r}, sha256 {str(said.get('sha256'))[:12]}",
            expected=f"kind {KIND!r}, sha256 {shard.digest[:12]}",
            todo="Copy it again, or make the release again.",
        )


def held_bytes(index: Path, shards: Iterable[Shard]) -> int:
    """Bytes that the files of shards have on the disk; those that are missing have none."""
    total = 0
    for shard in shards:
        try:
            seen = os.lstat(folder_of(index) / shard.name)
        except OSError:
            continue
        total += seen.st_size if stat.S_ISREG(seen.st_mode) else 0
    return total


def is_sharded(root: GroupID) -> bool:
    """Whether a root is that of an index of shards."""
    return guard.has(root, TABLE)


def read(root: GroupID) -> tuple[Shard, ...]:
    """What an index says of its shards; nothing of them is looked at.

    Raises:
        ReleaseError: the tables are not those of a release, or a name in them is none of a plain file.
    """
    table, people = _table(root, TABLE, COLUMNS), _table(root, SUBJECT_TABLE, SUBJECT_COLUMNS)
    names = [str(name) for name in table["name"]]
    for name in names:
        if not is_name(name):
            guard.refuse("a shard's name is none of a plain file", f"/{TABLE}", seen=repr(name[:40]))
    subjects = [str(name) for name in people["subject"]]
    if len(set(names)) < len(names) or len(set(subjects)) < len(subjects):
        guard.refuse("a shard, or a subject, is there twice", f"/{TABLE}")
    if not all(guard.is_name(name) for name in subjects):
        guard.refuse("a subject's name is not safe", f"/{SUBJECT_TABLE}")
    if len(people) and int(people["shard"].max()) >= len(table):
        guard.refuse("a subject lies in a shard that there is not", f"/{SUBJECT_TABLE}")
    of_shard: list[list[str]] = [[] for _ in names]
    for subject, number in zip(subjects, people["shard"].tolist(), strict=True):
        of_shard[number].append(subject)
    return tuple(
        Shard(name, int(row["bytes"]), str(row["sha256"]), str(row["digest"]), tuple(of))
        for name, row, of in zip(names, table, of_shard, strict=True)
    )


def _table(root: GroupID, name: str, columns: tuple[tuple[str, str], ...]) -> NDArray[Any]:
    stored = guard.dataset(guard.child(root, name, "/"), f"/{name}", table=True)
    kind, wanted = stored.dtype, dict(columns)
    if (
        kind.names != tuple(wanted)
        or len(stored.shape) != 1
        or any(not _fits(kind[column], wanted[column]) for column in wanted)
    ):
        guard.refuse(f"'/{name}' is not what a release has there", f"/{name}", expected=", ".join(wanted))
    size = layout.decoded_bytes(kind) * stored.shape[0]
    if size > guard.room(stored.held_bytes):
        guard.refuse(f"'/{name}' is larger than one of a release", f"/{name}", seen=f"{size:,} bytes")
    return layout.decoded(np.asarray(stored.read()))


def _fits(kind: np.dtype[Any], wanted: str) -> bool:
    return kind.kind == "S" if wanted == "S" else kind == np.dtype(wanted)


def write(root: h5py.Group, shards: Sequence[Shard], level: int) -> None:
    """Store the tables of shards in an index, shards by name and subjects by theirs."""
    ordered = sorted(shards, key=lambda shard: shard.name)
    table = np.zeros(len(ordered), _kinds(COLUMNS, [shard.name for shard in ordered]))
    for row, shard in zip(table, ordered, strict=True):
        row["name"], row["bytes"] = shard.name.encode(), shard.bytes
        row["sha256"], row["digest"] = shard.sha256.encode(), shard.digest.encode()
    pairs = sorted((subject, number) for number, shard in enumerate(ordered) for subject in shard.subjects)
    people = np.zeros(len(pairs), _kinds(SUBJECT_COLUMNS, [subject for subject, _ in pairs]))
    for row, (subject, number) in zip(people, pairs, strict=True):
        row["subject"], row["shard"] = subject.encode("utf-8", "surrogateescape"), number
    layout.write_table(root, TABLE, table, level)
    layout.write_table(root, SUBJECT_TABLE, people, level)


def _kinds(columns: tuple[tuple[str, str], ...], texts: Sequence[str]) -> np.dtype[Any]:
    text = layout.text_type(texts)
    return np.dtype([(name, text if kind == "S" else kind) for name, kind in columns])


# -- files


def of_file(path: Path) -> tuple[Shard, ...] | None:
    """The shards of a release, as its index names them; none where it is one file; None where it cannot be read."""
    try:
        with guard.opened(path) as handle:
            root = guard.rooted(handle)
            return read(root) if is_sharded(root) else ()
    except ReleaseError:
        return None


def missing(path: Path) -> list[str]:
    """Names of the shards of a release that are not there as its index says, in order."""
    return [shard.name for shard in of_file(path) or () if not is_there(path, shard)]


def others(index: Path, keep: Iterable[str]) -> list[Path]:
    """Shards of earlier releases of this name that no index names any more, and what was left half written of them, of
    the index and of its digest."""
    index = Path(os.path.realpath(index))
    stem = re.escape(index.stem)
    pattern = re.compile(
        rf"\.?{stem}@[A-Za-z0-9_.+-]+@[0-9a-f]{{16}}\.h5(\.\d+\.tmp)?|\.{stem}\.h5(\.sha256)?\.\d+\.tmp"
    )
    kept = set(keep)
    there = sorted(index.parent.iterdir())
    return [p for p in there if pattern.fullmatch(p.name) and p.name not in kept and not p.is_dir()]


def remove_others(index: Path, keep: Iterable[str]) -> list[Path]:
    """Remove `others`; returns them."""
    gone = others(index, keep)
    for path in gone:
        path.unlink()
    return gone


def _listed(names: Sequence[str]) -> str:
    return f"'{names[0]}'" + (f" and {len(names) - 1} more" if len(names) > 1 else "") if names else "nobody"


def attributes(template_digest: str, fingerprint: str) -> Mapping[str, str]:
    """The root attributes of a shard."""
    said = (KIND, layout.SCHEMA_VERSION, template_digest, fingerprint)
    return dict(zip(ATTRIBUTES, said, strict=True))
