"""SHA-256 over what no checksum of a chunk covers: attributes, text, types, shapes, filters, index and template.

Every sequence's group has the digest of its attributes and of the heads of its datasets as attribute `sha256`; a
subject's that of its attributes and of its sequences' digests; the root's that of its own attributes, of template and
index with all they hold, and of its subjects' digests.  So one number speaks for all of it, a subject can be copied
as it is, and what was changed is told to the sequence.  The frames themselves have a checksum in every chunk.

`beside` is the whole file's digest, in a file of its own, as `sha256sum -c` reads it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g

from mimicme.pipeline.release import guard
from mimicme.pipeline.whole_file import write_whole

NAME = "sha256"
SUBJECTS = "subjects"
ENDING = ".sha256"
_BLOCK_BYTES = 4 << 20
_DEPTH = 2  # of groups in a sequence, and in the template


class _Sum:
    """SHA-256 of fields, each after its length, so that no two lists of fields read alike."""

    def __init__(self, kind: str) -> None:
        self._sum = hashlib.sha256()
        self.add(kind)

    def add(self, *fields: str | bytes) -> None:
        for value in fields:
            raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
            self._sum.update(len(raw).to_bytes(8, "little"))
            self._sum.update(raw)

    def hex(self) -> str:
        return self._sum.hexdigest()


def of_sequence(group: h5g.GroupID, place: str) -> str:
    """Of a sequence's attributes and of the heads of its datasets; what these hold is not read.

    Raises:
        ReleaseError: something cannot be read, or is refused.
    """
    return _of_group(group, place, False, lambda: None)


def of_subject(group: h5g.GroupID, place: str, alive: Callable[[], None] = lambda: None) -> str:
    """Of a subject's attributes and of the digests that its sequences have; raises as `of_sequence`.

    Args:
        alive: called once a sequence.
    """
    total = _Sum("subject")
    _add_attributes(total, group, place)
    for name in sorted(guard.names(group, place)):
        alive()
        sequence = guard.subgroup(group, name, place)
        total.add(name, stored(sequence, f"{place}/{name}"))
    return total.hex()


def of_root(root: h5g.GroupID, alive: Callable[[], None] = lambda: None) -> str:
    """Of the root's attributes, of all but the subjects with content, and of the subjects' digests.

    Args:
        alive: called once a subject, and once a block of what is read.
    """
    total = _Sum("root")
    _add_attributes(total, root, "/")
    for name in sorted(guard.names(root, "/")):
        node = guard.child(root, name, "/")
        if name == SUBJECTS and isinstance(node, h5g.GroupID):
            for subject in sorted(guard.names(node, f"/{name}")):
                alive()
                place = f"/{name}/{subject}"
                total.add(subject, stored(guard.subgroup(node, subject, f"/{name}"), place))
        else:
            total.add(name, _of_node(node, f"/{name}", True, _DEPTH, alive))
    return total.hex()


def stored(group: h5g.GroupID, place: str) -> str:
    """The digest that a group says it has; empty when it has none."""
    return str(guard.attribute(group, NAME, place, ""))


def seal_sequence(group: h5py.Group) -> None:
    """Store a finished sequence's digest."""
    _seal(group, of_sequence(group.id, group.name))


def seal_subject(group: h5py.Group) -> None:
    """Store the digest of a subject whose sequences have theirs."""
    _seal(group, of_subject(group.id, group.name))


def seal_root(root: h5py.Group) -> None:
    """Store the digest of a release whose subjects have theirs."""
    _seal(root, of_root(root.id))


def seal(file: h5py.File) -> None:
    """Store all digests anew, of a release that was changed on purpose."""
    for subject in file[SUBJECTS].values():
        for sequence in subject.values():
            seal_sequence(sequence)
        seal_subject(subject)
    seal_root(file["/"])


def _seal(group: h5py.Group, digest: str) -> None:
    guard.put_text(group.attrs, NAME, digest)


def _of_node(node: Any, place: str, content: bool, depth: int, alive: Callable[[], None]) -> str:
    if isinstance(node, h5d.DatasetID):
        return _of_dataset(node, place, content, alive)
    if depth == 0:
        guard.refuse(f"'{place}' lies deeper than anything in a release", place)
    return _of_group(node, place, content, alive, depth - 1)


def _of_group(
    group: h5g.GroupID, place: str, content: bool, alive: Callable[[], None], depth: int = _DEPTH
) -> str:
    total = _Sum("group")
    _add_attributes(total, group, place)
    for name in sorted(guard.names(group, place)):
        node = guard.child(group, name, place)
        total.add(name, _of_node(node, f"{place}/{name}", content, depth, alive))
    return total.hex()


def _of_dataset(node: h5d.DatasetID, place: str, content: bool, alive: Callable[[], None]) -> str:
    total = _Sum("dataset")
    _add_attributes(total, node, place)
    plan = node.get_create_plist()
    filters = [plan.get_filter(k)[:3] for k in range(plan.get_nfilters())]
    fill = np.zeros((), node.dtype)
    if node.dtype.kind in "iuf":
        plan.get_fill_value(fill)
    chunks = plan.get_chunk() if plan.get_layout() == h5d.CHUNKED else ()
    total.add(_type(node.dtype), repr(tuple(node.shape)), repr(tuple(chunks)), repr(filters), fill.tobytes())
    if content:
        there = guard.dataset(node, place, table=True)
        step = max(1, _BLOCK_BYTES * there.shape[0] // max(1, there.nbytes))
        for start in range(0, there.shape[0], step):
            alive()
            total.add(np.ascontiguousarray(there.read(slice(start, start + step))).tobytes())
    return total.hex()


def _add_attributes(total: _Sum, node: Any, place: str) -> None:
    for name, value in guard.attribute_arrays(node, place, variable=False):
        if name != NAME:
            total.add(name, _type(value.dtype), repr(value.shape), np.ascontiguousarray(value).tobytes())
    total.add("")


def _type(kind: np.dtype[Any]) -> str:
    """A type in words that do not depend on how HDF5 spells it."""
    return repr(kind.descr) if kind.names else kind.str


# -- the whole file


def beside(path: Path) -> Path:
    """The file with a release's own digest."""
    return path.with_name(path.name + ENDING)


def of_file(path: Path, alive: Callable[[], None] = lambda: None) -> str:
    """SHA-256 of a file, as hexadecimal digits.

    Args:
        alive: called once a block: of a large file it takes minutes.
    """
    found = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(_BLOCK_BYTES):
            found.update(block)
            alive()
    return found.hexdigest()


def write_beside(path: Path, others: Mapping[str, str] | None = None) -> None:
    """Write what the whole file's digest is now.

    Args:
        others: digests of further files, by name.
    """
    lines = {path.name: of_file(path), **(others or {})}
    write_whole(beside(path), "".join(f"{said}  {name}\n" for name, said in lines.items()))


def forget_beside_link(path: Path) -> None:
    """Remove what lies beside a link to a release as its digest: it speaks of what the release was before.  What lies
    beside the file itself, and is linked to, stays."""
    given = beside(path)
    if os.path.realpath(given) != str(beside(Path(os.path.realpath(path)))):
        given.unlink(missing_ok=True)


def read_beside(path: Path) -> str | None:
    """The digest that lies beside a release; None without one, empty when it is none."""
    try:
        with open(beside(path), "rb") as handle:
            line = handle.read(4096).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    found = re.match(r"([0-9a-f]{64})[ *]", line)
    return found[1] if found else ""
