"""Nobody of an id is left in a release: no name, no text, no chunk that nothing names.

Looked at are the index, its shards, what lies beside under such names, and the digests' file: the names of all groups,
datasets and attributes, all text in attributes, tables and datasets, and the bytes between chunks, where what was
unlinked and not written over would still lie.  What somebody's face looks like cannot be looked for; so each stretch
that no dataset names and that unpacks like a chunk is told, whoever it is of.
"""

from __future__ import annotations

import mmap
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from h5py import h5d
from h5py.h5g import GroupID
from numpy.typing import NDArray

from mimicme.commands.verify.finding import Finding, guarded, named
from mimicme.commands.verify.published import pages, text_of
from mimicme.commands.verify.tree import Seen
from mimicme.pipeline.captures.who import person_key
from mimicme.pipeline.errors import MimicmeError
from mimicme.pipeline.privacy.names_in import is_in, names_in_bytes
from mimicme.pipeline.privacy.pseudonyms import DIGITS
from mimicme.pipeline.release import Release, digest, guard, publication, shards
from mimicme.pipeline.workspace import CONFIG_NAME, Workspace

MIN_RAW = 4
"""Letters of an id from which on it is looked for between chunks: a shorter one stands in any binary file."""
MIN_REMNANT = 512
"""Bytes that a stretch must unpack to: what is no chunk fails before."""
_PSEUDONYM = re.compile(f"P[0-9a-f]{{{DIGITS}}}")
_LOOK_BYTES, _BLOCK_BYTES = 4096, 1 << 20
"""Of a stream, after which it has unpacked to MIN_REMNANT if it is one; and that are looked through at once."""
_STREAM = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_DEPTH = 6  # of groups in a release
_ROWS = 1 << 16


@dataclass(frozen=True)
class Alias:
    """What a subject is called under a key: its pseudonym, and what tells whether that is a release's (`key_mark`)."""

    name: str
    mark: str


@named("absent")
def check_absent(
    path: Path, subject: str, alive: Callable[[], None], alias: Alias | None = None
) -> Iterator[Finding]:
    """Nobody of this id is left in a release, whole or of shards.

    In a release under pseudonyms they are looked for under theirs; without its key nobody can say that they are absent.

    Args:
        subject: the id, or a pseudonym.  alive: called now and then.
    """
    said = publication.of_file(path)
    if said is not None and not _PSEUDONYM.fullmatch(subject):
        if alias is not None and said.key in ("", alias.mark):
            yield from _check_name(path, alias.name, alive, True)
        if alias is None or said.key != alias.mark:
            with_key = "without the key that it was published with"
            why = with_key if alias is None else "with this key, which is not known to be its own"
            yield Finding(
                "unknown",
                "/",
                f"Its subjects have pseudonyms: whether '{subject}' is one of them cannot be said {why}. Name it with "
                "--key FILE (it lies with who published), or ask for the pseudonym: --absent P...",
            )
    yield from _check_name(path, subject, alive, said is not None)
    if said is None:
        yield from _check_spelling(path, subject)


def _check_spelling(path: Path, subject: str) -> Iterator[Finding]:
    """Who is there under another spelling may be who is meant, and is not absent."""
    with Release(path) as release:
        there = release.subjects
    alike = [one for one in there if person_key(one) == person_key(subject)]
    if alike and subject not in there:
        yield Finding(
            "unknown",
            "/",
            f"Nobody is spelled '{subject}' here, but '{alike[0]}' is here, which may be the same subject: whether "
            f"who is meant is absent cannot be said. Ask for them as they are spelled here: --absent {alike[0]}.",
        )


def known_here(path: Path, subject: str) -> str:
    """What there is to be said, beside a release of which nothing of a subject was found in, of whether the subject
    was ever known: a name that is misspelled is absent, too.

    A release keeps no list of who has left it.  The workspace in whose folder it lies knows who withdrew
    (`withdrawn.txt` has a keyed hash of each), whom its table of subjects keeps out, and whose captures there are.
    """
    nobody = f"Nothing of '{subject}' is in it."
    spelled = f"A release keeps no list of who has left it: make sure that '{subject}' is spelled as it was."
    if not (path.parent / CONFIG_NAME).is_file():
        return f"{nobody} {spelled}"
    try:
        workspace = Workspace.open(path.parent)
        if workspace.is_withdrawn(subject):
            return f"{nobody} They have withdrawn: this workspace keeps them out."
        captured = workspace.captured_subjects()
        refused = workspace.refused(captured)
    except (MimicmeError, OSError):
        return f"{nobody} {spelled}"
    alike = [one for one in captured if person_key(one) == person_key(subject)]
    if alike:
        where = "" if alike[0] == subject else f", of '{alike[0]}'"
        if alike[0] in refused:
            return (
                f"{nobody} They have captures{where}, and the workspace's table of subjects keeps them out: no run "
                "brings them in while it does."
            )
        return (
            f"{nobody} `mimicme withdraw` was not run for them, nothing else keeps them out, and they have "
            f"captures{where}: another run may bring them in."
        )
    return (
        f"{nobody} But '{subject}' is not known here: nobody of that name withdrew from this workspace or has "
        "captures. Is it spelled as the captures were?"
    )


def _check_name(path: Path, subject: str, alive: Callable[[], None], published: bool) -> Iterator[Finding]:
    folder = shards.folder_of(path)
    named = {one.name for one in shards.of_file(path) or ()}
    for one in sorted(folder.iterdir()):
        if is_in(subject, one.name):
            yield Finding("error", one.name, f"Its name has '{subject}' in it.")
    for name in (one.name for one in shards.others(path, named)):
        yield Finding(
            "error", name, "No index names this shard of an earlier release, or half of one; delete it."
        )
    for page, text in pages(folder) if published else ():
        if is_in(subject, text):
            yield Finding("error", page, f"It has '{subject}' in it.")
    beside = digest.beside(path)
    if is_in(subject, text_of(beside) or ""):
        yield Finding("error", beside.name, f"It has '{subject}' in it.")
    for file in (path, *(folder / name for name in sorted(named) if (folder / name).is_file())):
        for finding in guarded("/", _check_file, file, subject, alive):
            where = finding.where if file == path else f"{file.name}:{finding.where}"
            yield replace(finding, where=where)


def _check_file(path: Path, subject: str, alive: Callable[[], None]) -> Iterator[Finding]:
    taken: list[tuple[int, int]] = []
    with guard.opened(path) as file:
        yield from _check_node(guard.rooted(file), "/", subject, taken, _DEPTH, Seen(), alive)
    with open(path, "rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        pattern = names_in_bytes(subject) if len(subject) >= MIN_RAW else None
        for start, stop in _gaps(taken, len(data)):
            alive()
            with memoryview(data) as whole, whole[start:stop] as part:
                at = None if pattern is None else pattern.search(part)
                byte = None if at is None else start + at.start()
                del at  # it holds on to the part
                if byte is not None:
                    yield Finding("error", f"byte {byte:,}", f"'{subject}' stands between what is named.")
                for byte in _remnants(part, alive):
                    yield Finding(
                        "error",
                        f"byte {start + byte:,}",
                        "A packed chunk that no dataset names: of somebody who was unlinked, and not written over.",
                    )


def _check_node(
    node: Any,
    place: str,
    subject: str,
    taken: list[tuple[int, int]],
    depth: int,
    seen: Seen,
    alive: Callable[[], None],
) -> Iterator[Finding]:
    if isinstance(node, GroupID) and seen.again(node):
        guard.refuse(f"'{place}' is a link to a group that has another name too", place)
    for name, value in guard.attribute_arrays(node, place):
        texts = [guard.text(one) for one in value.ravel().tolist() if isinstance(one, bytes | str)]
        if is_in(subject, name) or any(is_in(subject, text) for text in texts):
            yield Finding("error", place, f"The attribute '{name}' has '{subject}' in it.")
    if isinstance(node, GroupID):
        if depth == 0:
            guard.refuse(f"'{place}' lies deeper than anything in a release", place)
        for name in guard.distinct(node, guard.names(node, place), place):
            where = f"{place.rstrip('/')}/{name}"
            if is_in(subject, name):
                yield Finding("error", where, f"Its name has '{subject}' in it.")
            below = guard.child(node, name, place)
            yield from _check_node(below, where, subject, taken, depth - 1, seen, alive)
        return
    alive()
    stored = guard.dataset(node, place, table=True)
    taken += _extents(node)
    for column in stored.dtype.names or ("",):
        if is_in(subject, column):
            yield Finding("error", place, f"The column '{column}' has '{subject}' in it.")
    if any(stored.dtype[n].kind == "S" for n in stored.dtype.names or ()) or stored.dtype.kind == "S":
        for start in range(0, stored.shape[0], _ROWS):
            rows = stored.read(slice(start, min(start + _ROWS, stored.shape[0])))
            for text in _texts(rows):
                if is_in(subject, text):
                    yield Finding("error", place, f"It has the text {text[:80]!r}.")


def _texts(rows: NDArray[Any]) -> Iterator[str]:
    """The different texts of a table, or of a dataset of text."""
    names = rows.dtype.names
    for column in (rows[name] for name in names if rows.dtype[name].kind == "S") if names else (rows,):
        yield from (guard.text(one) for one in np.unique(column).tolist())


def _extents(node: h5d.DatasetID) -> list[tuple[int, int]]:
    """First byte and the one behind the last of all that a dataset has in the file."""
    found: list[tuple[int, int]] = []
    if node.get_create_plist().get_layout() == h5d.CHUNKED:
        node.chunk_iter(lambda chunk: found.append((chunk.byte_offset, chunk.byte_offset + chunk.size)))
    elif (offset := node.get_offset()) is not None:
        found.append((offset, offset + node.get_storage_size()))
    return found


def _gaps(taken: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """What no dataset has: first byte, and the one behind the last."""
    at = 0
    for start, stop in sorted(taken):
        if start > at:
            yield at, min(start, size)
        at = max(at, stop)
    if at < size:
        yield at, size


def _remnants(part: memoryview, alive: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Where a stretch begins that unpacks like a chunk."""
    end = 0
    for at in _heads(part):
        alive()
        if at < end:
            continue
        unpacker = zlib.decompressobj()
        try:
            size = len(unpacker.decompress(part[at : at + _LOOK_BYTES], MIN_REMNANT))
        except zlib.error:
            continue
        if size >= MIN_REMNANT:
            end = at + MIN_REMNANT // 8
            yield at


def _heads(part: memoryview) -> Iterator[int]:
    """Where a head of gzip stands; a match of a pattern would hold on to the part."""
    for start in range(0, len(part), _BLOCK_BYTES):
        block = bytes(part[start : start + _BLOCK_BYTES + 1])
        yield from (start + head.start() for head in _STREAM.finditer(block))
