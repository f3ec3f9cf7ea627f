"""A release as one process has it open: its groups and datasets by path, looked at once and kept open.

Where the release is an index with shards (`shards`), what lies below a subject is looked for in the subject's shard,
which is opened when it is first needed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from h5py import h5g

from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.release import guard, layout, shards
from mimicme.pipeline.release.guard import Stored
from mimicme.pipeline.release.shards import Shard

KEEP_OPEN = 1024
"""Datasets that stay open: an open one takes about ten kilobytes, and opening it again a tenth of a millisecond."""
KEEP_SHARDS = 64
"""Shards that stay open: a process may often have 256 files."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class OtherReleaseError(ReleaseError):
    """Nothing is wrong with the file, but it is no release that this version reads: another schema's, or a shard."""


class OpenFile:
    """One HDF5 file of a release; may be used by several threads.

    It is closed when it is told to be, or when neither it nor a dataset of it is in use any more.

    Args:
        keep_open: datasets, and groups, that stay open.

    Raises:
        ReleaseError: it is not HDF5.
    """

    def __init__(self, path: Path, keep_open: int) -> None:
        self._keep = max(1, keep_open)
        self._lock = threading.RLock()
        self._groups: OrderedDict[tuple[str, ...], h5g.GroupID] = OrderedDict()
        self._datasets: OrderedDict[tuple[str, ...], Stored] = OrderedDict()
        self._file = guard.opened(path)
        try:
            self.root = guard.rooted(self._file)
        except ReleaseError:
            self._file.close()
            raise

    @property
    def held_bytes(self) -> int:
        """Of the file."""
        return int(self._file.id.get_filesize())

    def close(self) -> None:
        with self._lock:
            self._groups.clear()
            self._datasets.clear()
            self._file.close()

    def group(self, *names: str) -> h5g.GroupID:
        """A group by the names on the way to it; only these links are looked at.

        Raises:
            ReleaseError: it is missing, or a link on the way leads elsewhere.
        """
        if not names:
            return self.root
        with self._lock:
            found = self._groups.get(names)
            if found is None:
                found = guard.subgroup(self.group(*names[:-1]), names[-1], "/" + "/".join(names[:-1]))
                _remember(self._groups, names, found, self._keep)
            else:
                self._groups.move_to_end(names)
            return found

    def dataset(self, *names: str, table: bool = False) -> Stored:
        """A dataset by the names on the way to it, looked at before it is read.

        Args:
            table: whether it may be one of named columns.

        Raises:
            ReleaseError: it is missing, a link on the way leads elsewhere, or it is not to be read.
        """
        with self._lock:
            found = self._datasets.get(names)
            if found is None:
                node = guard.child(self.group(*names[:-1]), names[-1], "/" + "/".join(names[:-1]))
                found = guard.dataset(node, "/" + "/".join(names), table, self._file)
                _remember(self._datasets, names, found, self._keep)
            else:
                self._datasets.move_to_end(names)
            return found

    def has(self, *names: str) -> bool:
        """Whether a group that is there has a member of the last name."""
        return guard.has(self.group(*names[:-1]), names[-1])

    def members(self, *names: str) -> list[str]:
        """The names in a group, each of an object of its own."""
        group, place = self.group(*names), "/" + "/".join(names)
        return guard.distinct(group, guard.names(group, place), place)

    def attributes(self, *names: str) -> dict[str, Any]:
        """The attributes of a group."""
        return guard.attributes(self.group(*names), "/" + "/".join(names))


class Access:
    """A release, of one file or of an index and its shards.  Made by `Release`, once per process; may be used by
    several threads.

    Args:
        keep_open: datasets, and groups, of a file that stay open.

    Raises:
        ReleaseError: the file is not a release that this version reads.
    """

    def __init__(self, path: Path, keep_open: int = KEEP_OPEN) -> None:
        self.path = path
        self._keep_open = keep_open
        self._lock = threading.RLock()
        self._index = OpenFile(path, keep_open)
        self._open: OrderedDict[str, OpenFile] = OrderedDict()
        try:
            self.schema = str(guard.attribute(self._index.root, "schema_version", "/"))
            if not layout.is_read(self.schema):
                raise OtherReleaseError(
                    "this HDF5 file is not a release that this version reads",
                    where=path,
                    seen=f"schema_version {self.schema!r}",
                    expected=layout.SCHEMA_VERSION,
                )
            if guard.attribute(self._index.root, "kind", "/") == shards.KIND:
                raise OtherReleaseError(
                    "this is a shard of a release", where=path, todo="Open the index beside it: release.h5."
                )
        except ReleaseError:
            self._index.close()
            raise

    def close(self) -> None:
        with self._lock:
            for one in self._open.values():
                one.close()
            self._open.clear()
            self._index.close()

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """The shards that the index names; none where the release is one file."""
        root = self._index.root
        return shards.read(root) if shards.is_sharded(root) else ()

    @cached_property
    def _is_sharded(self) -> bool:
        return shards.is_sharded(self._index.root)

    @cached_property
    def _of_subject(self) -> dict[str, Shard]:
        return {subject: shard for shard in self.shards for subject in shard.subjects}

    @cached_property
    def held_bytes(self) -> int:
        """What the release holds on the disk, with its shards."""
        return self._index.held_bytes + shards.held_bytes(self.path, self.shards)

    def _of(self, names: tuple[str, ...]) -> OpenFile:
        """The file in which something lies; a shard's as soon as it lies below a subject.

        Raises:
            ReleaseError: the shard is missing, is another one, or the index names none.
        """
        if not self._is_sharded or len(names) < 3 or names[0] != "subjects":
            return self._index
        shard = self._of_subject.get(names[1])
        if shard is None:
            guard.refuse(f"no shard holds '{names[1]}'", "/" + "/".join(names[:2]))
        with self._lock:
            known = self._open.get(shard.name)
            if known is None:
                known = OpenFile(shards.found(self.path, shard), self._keep_open)
                try:
                    shards.check_root(known.root, self.path, shard)
                except ReleaseError:
                    known.close()
                    raise
                # one that goes is not closed here: another thread may be reading from it
                _remember(self._open, shard.name, known, KEEP_SHARDS)
            else:
                self._open.move_to_end(shard.name)
            return known

    def dataset(self, *names: str, table: bool = False) -> Stored:
        """As `OpenFile.dataset`."""
        return self._of(names).dataset(*names, table=table)

    def has(self, *names: str) -> bool:
        """As `OpenFile.has`."""
        return self._of(names).has(*names)

    def members(self, *names: str) -> list[str]:
        """As `OpenFile.members`."""
        return self._of(names).members(*names)

    def attributes(self, *names: str) -> dict[str, Any]:
        """As `OpenFile.attributes`."""
        return self._of(names).attributes(*names)


def _remember(kept: OrderedDict[K, T], key: K, value: T, most: int) -> None:
    kept[key] = value
    while len(kept) > most:
        kept.popitem(last=False)
