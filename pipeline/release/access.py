"""A release as one process has it open: its groups and datasets by path, looked at once and kept open."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, TypeVar

from h5py import h5g

from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.release import guard, layout
from mimicme.pipeline.release.guard import Stored

KEEP_OPEN = 1024
"""Datasets that stay open: an open one takes about ten kilobytes, and opening it again a tenth of a millisecond."""

T = TypeVar("T")


class Access:
    """Made by `Release`, once per process; may be used by several threads.

    Args:
        keep_open: datasets, and groups, that stay open.

    Raises:
        ReleaseError: the file is not a release that this version reads.
    """

    def __init__(self, path: Path, keep_open: int = KEEP_OPEN) -> None:
        self.path = path
        self._keep = max(1, keep_open)
        self._lock = threading.RLock()
        self._groups: OrderedDict[tuple[str, ...], h5g.GroupID] = OrderedDict()
        self._datasets: OrderedDict[tuple[str, ...], Stored] = OrderedDict()
        self._file = guard.opened(path)
        try:
            self.root = guard.rooted(self._file)
            self.schema = str(guard.attribute(self.root, "schema_version", "/"))
        except ReleaseError:
            self._file.close()
            raise
        if not layout.is_read(self.schema):
            self._file.close()
            raise ReleaseError(
                "this HDF5 file is not a release that this version reads",
                where=path,
                seen=f"schema_version {self.schema!r}",
                expected=layout.SCHEMA_VERSION,
            )

    @property
    def held_bytes(self) -> int:
        """What the release holds on the disk."""
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
                found = guard.dataset(node, "/" + "/".join(names), table)
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


def _remember(kept: OrderedDict[tuple[str, ...], T], key: tuple[str, ...], value: T, most: int) -> None:
    kept[key] = value
    while len(kept) > most:
        kept.popitem(last=False)
