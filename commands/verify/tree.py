"""What lies where in the file, by metadata alone: whether all of it may be read, before any of it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from h5py import h5d, h5g

from mimicme.commands.verify.finding import Finding, named, of_error, of_memory
from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.release import guard, layout, shards

MAX_FIELD_BYTES = 256 << 20
"""Of a field that is read whole: of half a million frames."""
BY_ROW = ("vertices", "bytes")
"""Datasets that are read a frame at a time; the vertices of a frame that is rejected need not be there."""
TABLES = ("quality", *layout.INDEXES, *shards.TABLES)


class Seen:
    """The groups that a walk has come to, by their addresses in the file."""

    def __init__(self) -> None:
        self._addresses: set[object] = set()

    def again(self, group: h5g.GroupID) -> bool:
        """Whether it has come to this one before; it has from now on."""
        address = h5g.get_objinfo(
            group
        ).objno  # h5o's information counts all that hangs on it, and fails on less
        known = address in self._addresses
        self._addresses.add(address)
        return known


@named("structure")
def check_tree(node: Any, place: str, seen: Seen, depth: int) -> Iterator[Finding]:
    """An object may be read, and all below it: links, types, filters, sizes, and that every chunk is there.

    Args:
        depth: of groups that may be below it; a release has few, so that a loop of links ends.
    """
    try:
        if isinstance(node, h5d.DatasetID):
            yield from _check_dataset(node, place)
            return
        if seen.again(node):
            yield Finding(
                "error", place, "A link to a group that has another name too; a release has one name each."
            )
            return
        guard.attributes(node, place)
        names = guard.names(node, place)
    except ReleaseError as error:
        yield of_error(error, place)
        return
    except MemoryError as error:
        yield of_memory(error, place)
        return
    except guard.TROUBLE as error:
        yield Finding("error", place, f"It cannot be looked at: {guard.first_line(error)}.")
        return
    for name in names:
        where = f"{place.rstrip('/')}/{name}"
        try:
            below = guard.child(node, name, place)
        except ReleaseError as error:
            yield of_error(error, where)
            continue
        if isinstance(below, h5g.GroupID) and depth == 0:
            yield Finding("error", where, "A group, deeper than any in a release.")
        else:
            yield from check_tree(below, where, seen, depth - 1)


@named("structure")
def check_room(wanted: int, held: int, place: str) -> Iterator[Finding]:
    """What is read whole takes no more memory than a release that holds so many bytes has for it."""
    if wanted > guard.room(held):
        most = f"expected at most {guard.room(held):,} of a release of {held:,}"
        yield Finding("error", place, f"It takes {wanted:,} bytes of memory, {most}.")


def _check_dataset(node: h5d.DatasetID, place: str) -> Iterator[Finding]:
    name = place.rpartition("/")[2]
    stored = guard.dataset(node, place, table=name in TABLES)
    guard.attributes(node, place)
    if name not in BY_ROW and stored.nbytes > MAX_FIELD_BYTES and name not in TABLES[1:]:
        yield Finding(
            "error", place, f"It has {stored.nbytes:,} bytes, expected at most {MAX_FIELD_BYTES:,}."
        )
    if name in layout.INDEXES:
        yield from check_room(layout.decoded_bytes(stored.dtype) * stored.shape[0], stored.held_bytes, place)
    missing = stored.unwritten()
    if name != "vertices" and missing is not None:
        yield Finding("error", place, f"Row {missing} was never written.")
