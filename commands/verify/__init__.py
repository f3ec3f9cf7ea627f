"""verify: whether a release keeps what it promises.

Checks of the whole file stand in whole.py, of one sequence in sequence.py, of what both hold in datasets.py and
images.py.  Each is a small function from a part of the open file to findings; a finding says where, what is wrong and
what should be there.  Every chunk of every dataset is read once, so that a flipped byte is found, and reported as the
chunk it is in.  Nothing in the file is trusted: sizes are looked at before anything is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py

from mimicme.commands.verify.finding import Finding, guarded, has_errors
from mimicme.commands.verify.sequence import Shape, check_sequence
from mimicme.commands.verify.whole import check_index, check_links, check_root, check_subject, check_template
from mimicme.pipeline.checkpoint import open_hdf5
from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.items import Item

__all__ = ["Finding", "has_errors", "verify"]


def verify(path: str | Path, every_image: bool = False) -> list[Finding]:
    """Check a whole release.

    Args:
        every_image: decode every texture; otherwise the first, middle and last of each sequence are decoded, and
            of the others the header is read.

    Returns:
        Findings in the order of the file; empty when the release is as it should be.  A file that is damaged is a
        finding, not an exception.

    Raises:
        ReleaseError: another program holds the file open, so that nothing can be said about it.
    """
    try:
        handle = open_hdf5(Path(path), ReleaseError)
    except ReleaseError as error:
        if isinstance(error.__cause__, BlockingIOError):
            raise
        return [Finding("error", "/", f"This is not a readable HDF5 file: {error.seen}")]
    with handle:
        # a link that leaves the file must not be followed by the checks below
        links = list(guarded("/", check_links, handle))
        if links:
            return links
        return list(_check_file(handle, every_image))


def _check_file(root: h5py.File, every_image: bool) -> Iterator[Finding]:
    shape = Shape()
    yield from guarded("/", check_root, root)
    yield from guarded("/template", check_template, root, shape)
    subjects = root.get("subjects")
    if not isinstance(subjects, h5py.Group):
        yield Finding("error", "/subjects", "The group is missing; it holds every subject's sequences.")
        return
    for subject in subjects:
        where = f"/subjects/{subject}"
        if not isinstance(subjects[subject], h5py.Group):
            yield Finding("error", where, "This is not a group; a subject is a group of sequences.")
            continue
        yield from guarded(where, check_subject, subjects[subject])
        for name in subjects[subject]:
            group = subjects[subject][name]
            if not isinstance(group, h5py.Group):
                yield Finding("error", f"{where}/{name}", "This is not a group; a sequence is one.")
                continue
            yield from guarded(group.name, check_sequence, group, Item(subject, name), shape, every_image)
    yield from guarded("/index", check_index, root, shape.entries)
