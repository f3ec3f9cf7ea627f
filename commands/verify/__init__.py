"""verify: whether a release keeps what it promises.

tree.py looks at what there is by metadata alone, and what it refuses is not read: nothing in the file is trusted.
Checks of the whole file stand in whole.py, of its people in people.py, of one sequence in sequence.py, of what both
hold in datasets.py and images.py; shards.py makes the same in the shards of an index, published.py looks at the pages
beside a published one, and absent.py for traces of somebody.  Each is a small function from a part of the open file to
findings; a finding says where, what is wrong and what should be there.  Every chunk of every dataset is read once, so
that a flipped byte is found, and reported as the chunk it is in; all else is compared with the digests in the file, and
the whole of it with the one beside it.

apart.py does it in a process of its own: a file may be made so that HDF5 itself fails on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import h5py

from mimicme.commands.verify.absent import Alias, check_absent
from mimicme.commands.verify.finding import Finding, all_said, guarded, has_errors, named, of_error
from mimicme.commands.verify.people import check_entry, check_subjects
from mimicme.commands.verify.published import check_published
from mimicme.commands.verify.sequence import Shape
from mimicme.commands.verify.shards import check_shards
from mimicme.commands.verify.tree import Seen
from mimicme.commands.verify.whole import (
    check_beside,
    check_digests,
    check_indexes,
    check_root,
    check_template,
)
from mimicme.pipeline import formats
from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.release import guard, layout, shards

__all__ = ["Alias", "Finding", "all_said", "has_errors", "mark", "verify"]


def mark() -> str:
    """Of these checks, by the text of what does them: what other ones verified is to be verified again."""
    here = Path(__file__).parent
    rooms = (here, Path(layout.__file__).parent, Path(formats.__file__).parent)
    found = hashlib.sha256()
    for file in (one for room in rooms for one in sorted(room.glob("*.py"))):
        text = file.read_bytes()
        found.update(f"{file.name} {len(text)}\n".encode() + text)
    return found.hexdigest()[:16]


def verify(
    path: str | Path,
    every_image: bool = False,
    alive: Callable[[], None] = lambda: None,
    absent: str = "",
    alias: Alias | None = None,
    but: Collection[str] = (),
) -> list[Finding]:
    """Check a whole release.

    Args:
        every_image: decode every texture; otherwise the first, middle and last of each sequence are decoded, and
            of the others the header is read.
        alive: called now and then.
        absent: an id of which nothing may be left.  alias: what it is called under a key.
        but: names of shards that are not looked into: nobody touched them since they were verified.

    Returns:
        Findings in the order of the file; empty when the release is as it should be.  A file that is damaged is a
        finding, not an exception.

    Raises:
        ReleaseError: another program holds the file open, so that nothing can be said about it.
    """
    try:
        handle = guard.opened(Path(path))
    except ReleaseError as error:
        if isinstance(error.__cause__, BlockingIOError):
            raise
        return [Finding("error", "/", f"This is not a readable HDF5 file: {error.seen}", "file")]
    with handle:
        findings = list(_check_file(handle, Path(path), every_image, alive, but))
    findings += guarded("/", check_beside, Path(path), alive)
    if not has_errors(findings):
        findings += guarded("/", check_published, Path(path))
    return findings + (list(guarded("/", check_absent, Path(path), absent, alive, alias)) if absent else [])


@named("structure")
def _check_file(
    root: h5py.File, path: Path, every_image: bool, alive: Callable[[], None], but: Collection[str]
) -> Iterator[Finding]:
    shape, seen = Shape(alive=alive), Seen()
    try:
        top = guard.rooted(root)
        schema = guard.attribute(top, "schema_version", "/", "")
        names = guard.names(top, "/")
        seen.again(top)
        if guard.attribute(top, "kind", "/") == shards.KIND:
            yield Finding(
                "error", "/", "This is a shard; verify the index beside it, which names all of them."
            )
            return
    except ReleaseError as error:
        yield of_error(error, "/")
        return
    shape.digests = layout.has_digests(schema)
    sound: set[str] = set()
    for name in names:
        if name != "subjects":
            found = list(guarded(f"/{name}", check_entry, top, name, seen))
            yield from found
            sound |= set() if found else {name}
    yield from guarded("/", check_root, root)
    if "template" in sound or "template" not in names:
        yield from guarded("/template", check_template, root, shape)
    if shards.is_sharded(top):
        yield from guarded("/shards", check_shards, root, path, shape, every_image, alive, but)
    else:
        yield from guarded("/subjects", check_subjects, root, top, shape, seen, every_image, alive)
    if {"template", *layout.INDEXES, *shards.TABLES} & set(names) <= sound:
        yield from guarded("/index", check_indexes, root, shape)
        if shape.whole:  # what was not looked at cannot be summed up, and something has been said of it
            yield from guarded("/", check_digests, root, shape)
