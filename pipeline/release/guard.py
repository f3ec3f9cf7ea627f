"""What may be read of a release that comes from a stranger; the reader and `mimicme verify` both go this way.

Everything is looked at before it is read, by HDF5's metadata alone: the link that leads somewhere, what lies there, its
type, shape, filters and chunks, and whether the file is long enough to hold what it declares.  What is more than that
is refused, whatever it is called:

- soft and external links, external storage, virtual datasets: a release holds its data itself
- types other than numbers, text of fixed length, and tables of these (no object, reference, opaque or list of variable
  length); text of variable length in attributes only, of releases before schema 1.4
- filters other than gzip, shuffle and Fletcher-32: no plug-in is loaded, wherever HDF5_PLUGIN_PATH points
- chunks that lie outside the file, or claim to unpack to more than gzip can make of them

Nothing here follows links by itself: who reads walks the few levels that a release has, so that a loop of links ends.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
from h5py import h5a, h5d, h5i, h5l, h5o, h5p, h5s, h5t, h5z
from h5py.h5g import GroupID
from numpy.typing import NDArray

from mimicme.pipeline.checkpoint import open_hdf5
from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.release import packing

FILTERS = {h5z.FILTER_DEFLATE: "gzip", h5z.FILTER_SHUFFLE: "shuffle", h5z.FILTER_FLETCHER32: "Fletcher-32"}
GZIP_RATIO = 1032
"""What a byte of DEFLATE can become at most."""
MAX_CHUNK_BYTES = 64 << 20
"""A frame of four million vertices fits."""
MAX_ATTRIBUTES, MAX_ATTRIBUTE_BYTES = 1024, 16 << 20
MAX_TEXTS = 64
"""Of variable length, in one attribute: all of them may be one text in the file."""
MAX_NAME_BYTES = 1024
MAX_ROWS, MAX_WIDTH = 1 << 24, 1 << 22
"""Of what has several axes: rows, and entries along each other axis."""
CHUNK_SLACK = 64
"""Bytes by which a chunk that cannot be packed is longer than what is in it, besides a thousandth."""
ROOM_BYTES, ROOM_RATIO = 128 << 20, 16
"""Of an index, the template, or all subjects' attributes: zeros are packed a thousandfold, what a release has there
never is, beside its frames."""
CHUNK_TAKES = 16
"""Bytes of the file that the smallest chunk takes, with its place in the index of chunks."""
MAX_ROW_BYTES = 64 << 10
MAX_COLUMNS = 1024
TROUBLE = (OSError, RuntimeError, ValueError, KeyError, TypeError, IndexError, MemoryError, OverflowError)
"""What h5py and numpy raise of a damaged file."""

_GZIP_AND_SUMS, _SUM_BYTES = (h5z.FILTER_DEFLATE, h5z.FILTER_FLETCHER32), 4
_ALL_FILTERS = (h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE, h5z.FILTER_FLETCHER32)
_LAYOUTS = {h5d.CHUNKED: "chunked", h5d.CONTIGUOUS: "contiguous", h5d.COMPACT: "compact"}
_NUMBERS = (h5t.INTEGER, h5t.FLOAT)
_NO_MEMORY = "memory allocation failed"  # as HDF5 says it


def refuse(what: str, place: str, cause: BaseException | None = None, **details: Any) -> NoReturn:
    """Raise the error of a place in a file; what was seen is the cause's own words.

    Raises:
        TooLittleMemoryError: memory was wanting: nothing is said of the file.  ReleaseError: anything else.
    """
    if isinstance(cause, MemoryError) or _NO_MEMORY in str(cause):
        raise TooLittleMemoryError(
            f"there is too little memory to read '{place}'",
            where=place,
            seen=first_line(cause) if cause else None,
            todo="Nothing is said of the file: try where more memory is free.",
        ) from cause
    if cause is not None:
        details["seen"] = first_line(cause)
    raise ReleaseError(what, where=place, **details)


class TooLittleMemoryError(ReleaseError):
    """This process had too little memory for something that a release may hold."""


def room(held: int, times: int = 1) -> int:
    """Bytes of memory that the template, or a table, of a release with so many bytes on the disk may take: never more
    than gzip can make of them.

    Args:
        times: as much, of what may take more.
    """
    return min(GZIP_RATIO * held, times * max(ROOM_BYTES, ROOM_RATIO * held))


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def opened(path: Path) -> h5py.File:
    """Open a release for reading, without a cache of chunks: a frame is one chunk, and read once.

    Raises:
        ReleaseError: it is not HDF5, or another program holds it open for writing.
    """
    return open_hdf5(path, ReleaseError, rdcc_nbytes=0, rdcc_nslots=1)


def rooted(file: h5py.File) -> GroupID:
    """The root group.

    Raises:
        ReleaseError: it cannot be opened.
    """
    try:
        root = h5o.open(file.id, b"/")
    except TROUBLE as error:
        refuse("the file is damaged", "/", cause=error)
    _look_at_filters(root, "/")
    return root


# -- links


def names(group: GroupID, place: str, most: int = 10_000_000) -> list[str]:
    """The names in a group, in order of the bytes; none of them leads anywhere else than into the group.

    Raises:
        ReleaseError: they cannot be listed, are too many, or one is none.
    """
    if not isinstance(group, GroupID):
        refuse(f"'{place}' is a dataset, not a group", place)
    try:
        count = group.get_num_objs()
        if count > most:
            refuse("the group has more entries than a release can have", place, seen=f"{count:,}")
        raw: list[bytes] = []
        group.links.iterate(raw.append)
    except TROUBLE as error:
        refuse("the names in this group cannot be listed", place, cause=error)
    found = [text(name) for name in raw]
    for name in found:
        if not is_name(name):
            refuse("a name in this group is none that a release has", place, seen=repr(name[:40]))
    return found


def distinct(group: GroupID, members: list[str], place: str) -> list[str]:
    """The names again, when no two are links to one object: what is small in the file would be large in memory.

    Raises:
        ReleaseError: two are.
    """
    try:
        objects = {group.links.get_info(name.encode(errors="surrogateescape")).u for name in members}
    except TROUBLE as error:
        refuse("the names in this group cannot be looked at", place, cause=error)
    if len(objects) < len(members):
        refuse(f"one object has several names in '{place}'", place)
    return members


def is_name(name: str) -> bool:
    """Whether a text can name a member of a group: no path, not too long, and printable."""
    return (
        name not in ("", ".", "..")
        and "/" not in name
        and len(name) <= MAX_NAME_BYTES
        and (name.isprintable() or any("\udc80" <= c <= "\udcff" for c in name))
    )


def child(group: GroupID, name: str, place: str) -> Any:
    """The group or dataset of a name, over a hard link: a `GroupID` or `DatasetID`.

    Raises:
        ReleaseError: it is missing, another kind of link, or another kind of object.
    """
    where = f"{place.rstrip('/')}/{name}"
    key = name.encode(errors="surrogateescape")
    try:
        link = group.links.get_info(key)
    except TROUBLE:
        refuse(f"'{where}' is missing", where, todo="Run `mimicme verify`.")
    if link.type != h5l.TYPE_HARD:
        refuse(f"'{where}' is a link that leaves its place", where)
    try:
        node = h5o.open(group, key)
    except TROUBLE as error:
        refuse(f"'{where}' cannot be opened", where, cause=error)
    if not isinstance(node, GroupID | h5d.DatasetID):
        refuse(f"'{where}' is neither a group nor a dataset", where)
    if isinstance(node, GroupID):
        _look_at_filters(node, where)
    return node


def subgroup(group: GroupID, name: str, place: str) -> GroupID:
    """The group of a name; as `child`.

    Raises:
        ReleaseError: it is a dataset, and what `child` raises.
    """
    node = child(group, name, place)
    if not isinstance(node, GroupID):
        where = f"{place.rstrip('/')}/{name}"
        refuse(f"'{where}' is not a group", where)
    return node


def _look_at_filters(group: GroupID, place: str) -> None:
    """A group may have filters too, for the table of its names; a release's have none.

    Raises:
        ReleaseError: this one has, or it cannot be told.
    """
    try:
        plan = group.get_create_plist()
        h5i.inc_ref(plan)  # two objects close it; h5py offers a group's filters under a dataset's list alone
        count = h5p.PropDCID(plan.id).get_nfilters()
    except TROUBLE as error:
        refuse(f"'{place}' cannot be opened", place, cause=error)
    if count:
        refuse(f"the names in '{place}' are packed by a filter", place)


def has(group: GroupID, name: str) -> bool:
    """Whether a group has a member of a name, whatever it is."""
    try:
        return bool(group.links.exists(name.encode(errors="surrogateescape")))
    except TROUBLE:
        return False


# -- text and attributes


def text(raw: bytes | str) -> str:
    """Stored text as a string; bytes that are no UTF-8 survive."""
    return raw if isinstance(raw, str) else bytes(raw).decode("utf-8", "surrogateescape")


def put_text(attributes: h5py.AttributeManager, name: str, value: str) -> None:
    """Store text of fixed length, which HDF5 keeps where a checksum is: text of variable length has none."""
    raw = value.encode("utf-8", "surrogateescape")
    attributes.create(name, np.bytes_(raw), dtype=h5py.string_dtype("utf-8", max(1, len(raw))))


def put(attributes: h5py.AttributeManager, name: str, value: Any) -> None:
    """Store an attribute: text as `put_text`, all else as h5py does."""
    if isinstance(value, str | bytes):
        put_text(attributes, name, text(value))
    else:
        attributes[name] = value


def attributes(node: Any, place: str, *, variable: bool = True) -> dict[str, Any]:
    """All attributes as plain Python values; arrays stay arrays.

    Args:
        variable: whether text of variable length is read, as releases before schema 1.4 have it.

    Raises:
        ReleaseError: there are too many, one is too large or of a type that a release has not, or cannot be read.
    """
    found: dict[str, Any] = {}
    for name, value in attribute_arrays(node, place, variable=variable):
        plain = value.item() if value.ndim == 0 else value
        found[name] = text(plain) if isinstance(plain, bytes) else plain
    return found


def attribute(node: Any, name: str, place: str, default: Any = None) -> Any:
    """One attribute as a plain value; raises as `attributes`."""
    try:
        key = name.encode()
        if not h5a.exists(node, key):
            return default
        value = _attribute(h5a.open(node, key), place, variable=True)
    except TROUBLE as error:
        refuse(f"the attribute '{name}' cannot be read", place, cause=error)
    plain = value.item() if value.ndim == 0 else value
    return text(plain) if isinstance(plain, bytes) else plain


def attribute_arrays(node: Any, place: str, *, variable: bool = True) -> Iterator[tuple[str, NDArray[Any]]]:
    """All attributes as they are stored, in order of their names; arguments and errors as `attributes`."""
    try:
        count = h5a.get_num_attrs(node)
        if count > MAX_ATTRIBUTES:
            refuse("there are more attributes than a release has", place, seen=count, expected=MAX_ATTRIBUTES)
        found: list[bytes] = []
        h5a.iterate(node, found.append)  # opening one by its number looks through all of them
        held = 0
        for name in sorted(found):
            value = _attribute(h5a.open(node, name), place, variable)
            held += value.nbytes if value.dtype != object else sum(map(len, value.ravel().tolist()))
            if held > MAX_ATTRIBUTE_BYTES:  # links to one text may stand in many attributes
                refuse("the attributes are larger than those of a release", place, seen=f"{held:,} bytes")
            yield text(name), value
    except TROUBLE as error:
        refuse("the attributes cannot be read", place, cause=error)


def _attribute(one: h5a.AttrID, place: str, variable: bool) -> NDArray[Any]:
    name = text(one.name)
    kind = one.get_type()
    variable_text = kind.get_class() == h5t.STRING and kind.is_variable_str()
    if not (variable_text and variable) and not _is_plain(kind):
        what = (
            "text of variable length, which has no checksum"
            if variable_text
            else "of a type that is not read"
        )
        refuse(f"the attribute '{name}' is {what}", place)
    shape = one.shape
    if variable_text and shape is not None and math.prod(shape) > MAX_TEXTS:
        refuse(f"the attribute '{name}' has more texts than one of a release", place, seen=shape)
    if shape is None or len(shape) > 2 or math.prod(shape) * kind.get_size() > MAX_ATTRIBUTE_BYTES:
        refuse(f"the attribute '{name}' is larger than one of a release", place, seen=shape)
    value = np.zeros(shape, one.dtype)
    one.read(value, mtype=h5t.py_create(one.dtype))
    return value


def _is_plain(kind: h5t.TypeID) -> bool:
    """Numbers, truth values and text of fixed length."""
    of = kind.get_class()
    if of == h5t.ENUM:  # how h5py keeps truth values
        return kind.get_nmembers() == 2 and kind.get_size() == 1
    if of == h5t.STRING:
        return not kind.is_variable_str()
    return of in _NUMBERS and kind.get_size() in (1, 2, 4, 8)


def _is_column(kind: h5t.TypeID) -> bool:
    if kind.get_class() == h5t.ARRAY:
        return kind.get_super().get_class() in _NUMBERS and math.prod(kind.get_array_dims()) <= 64
    return _is_plain(kind) and kind.get_class() != h5t.ENUM


def _is_table(kind: h5t.TypeID) -> bool:
    count = kind.get_nmembers()
    return 0 < count <= MAX_COLUMNS and all(_is_column(kind.get_member_type(k)) for k in range(count))


# -- datasets


@dataclass(frozen=True)
class Stored:
    """A dataset that may be read.

    Attributes:
        data: the dataset.  place: its path in the file.
        shape, dtype: as declared, and no more than the file can hold.
        chunks: shape of a chunk; None when it is not chunked.
        filters: HDF5's numbers of its filters, in order.
        written: (number of chunks along the first axis,) whether all of a row of chunks was written; None: all of them.
        owner: what is to live as long as this, such as the file.
    """

    data: h5py.Dataset
    place: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None
    filters: tuple[int, ...]
    written: NDArray[np.bool_] | None = field(compare=False)
    owner: Any = field(default=None, repr=False, compare=False)
    _unpacked: set[int] = field(default_factory=set, init=False, repr=False, compare=False)

    @property
    def nbytes(self) -> int:
        """Of all of it, in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def held_bytes(self) -> int:
        """Of the whole file."""
        return _file_bytes(self.data.id)

    @property
    def compressed(self) -> bool:
        return h5z.FILTER_DEFLATE in self.filters

    @cached_property
    def attributes(self) -> Mapping[str, Any]:
        return attributes(self.data.id, self.place)

    def unwritten(self, start: int = 0, stop: int | None = None) -> int | None:
        """The first row from `start` to before `stop` of which something was never written; None: all was."""
        stop = self.shape[0] if stop is None else stop
        if self.written is None or self.chunks is None or start >= stop:
            return None
        rows = self.chunks[0]
        missing = np.flatnonzero(~self.written[start // rows : -(-stop // rows)])
        return max(start, (start // rows + int(missing[0])) * rows) if len(missing) else None

    def is_written(self, row: int) -> bool:
        """Whether a row is there."""
        return self.unwritten(row, row + 1) is None

    def read(self, key: Any = ()) -> Any:
        """A row, some rows or all of it.

        Args:
            key: a row's number, a slice of rows, or () for all.

        Raises:
            ReleaseError: the row is not there or was never written, or the chunk is damaged.
        """
        start, stop = self._rows(key)
        if self.written is not None:
            self._require(start, stop)
        try:
            if isinstance(key, int) and (row := self._unpacked_row(key)) is not None:
                return row
            if self.compressed and self.chunks is not None:
                for chunk in range(start // self.chunks[0], -(-stop // self.chunks[0])):
                    self._look_into(chunk)
            return self.data[key]
        except TROUBLE as error:
            refuse(
                f"'{self.place}' cannot be read",
                self.place,
                cause=error,
                todo="The file is damaged there; other frames can still be read. Copy it again.",
            )

    def _rows(self, key: Any) -> tuple[int, int]:
        """The first of the rows that a key is of, and the one behind the last."""
        if isinstance(key, slice):
            start, stop, _ = key.indices(self.shape[0])
            return start, stop
        return (0, self.shape[0]) if key == () else (int(key), int(key) + 1)

    def _unpacked_row(self, row: int) -> NDArray[Any] | None:
        """A row that is one chunk, unpacked without HDF5; None where HDF5 is to read it: it is packed in another way,
        is damaged, or zlib-ng is not installed and this row has been looked into."""
        shape = self.shape[1:]
        if self.chunks != (1, *shape) or self.filters != _ALL_FILTERS or not 0 <= row < self.shape[0]:
            return None
        if row in self._unpacked and not packing.unpacks_quickly():
            return None
        mask, stored = self.data.id.read_direct_chunk((row, *[0] * len(shape)))
        found = None if mask else packing.unpacked(stored, self.dtype, math.prod(shape))
        if found is None:
            return None
        self._unpacked.add(row)
        return found.reshape(shape)

    def _look_into(self, number: int) -> None:
        """Unpack a row of chunks, once and no farther than it says: HDF5 goes on to the end, however long that is."""
        assert self.chunks is not None
        if number in self._unpacked:
            return
        size = math.prod(self.chunks) * self.dtype.itemsize
        gzip, sums = (self.filters.index(f) if f in self.filters else -1 for f in _GZIP_AND_SUMS)
        others = [range(0, n, c) for n, c in zip(self.shape[1:], self.chunks[1:], strict=True)]
        for corner in itertools.product(*others):
            mask, stored = self.data.id.read_direct_chunk((number * self.chunks[0], *corner))
            if not mask & 1 << gzip:
                tail = _SUM_BYTES if sums > gzip else 0
                _check_length(stored[: len(stored) - tail], size + (_SUM_BYTES if 0 <= sums < gzip else 0))
        self._unpacked.add(number)

    def _require(self, start: int, stop: int) -> None:
        missing = self.unwritten(start, stop)
        if missing is not None:
            refuse(
                f"row {missing} of '{self.place}' was never written",
                self.place,
                todo="The file is incomplete; copy it again, or make it again.",
            )


def _check_length(stream: bytes, size: int) -> None:
    """A gzip stream is whole and unpacks to this many bytes; no more of it than these is unpacked.

    Raises:
        ValueError: it does not.
    """
    unpacker = zlib.decompressobj()
    try:
        length = len(unpacker.decompress(stream, size + 1))
    except zlib.error as error:
        raise ValueError(f"a chunk that cannot be unpacked: {error}") from error
    if length != size or not unpacker.eof:
        more = "more" if length > size else "less"
        raise ValueError(f"a chunk that unpacks to {more} than the {size:,} bytes it declares")


def dataset(node: Any, place: str, table: bool = False, owner: Any = None) -> Stored:
    """What may be read of an object that a link led to.

    Args:
        table: whether it may be one of named columns.
        owner: see `Stored`.

    Raises:
        ReleaseError: it is no dataset, or something that is refused (see above).
    """
    if not isinstance(node, h5d.DatasetID):
        refuse(f"'{place}' is a group, not a dataset", place)
    try:
        return _dataset(node, place, table, owner)
    except TROUBLE as error:
        refuse(f"'{place}' cannot be opened", place, cause=error)


def _dataset(node: h5d.DatasetID, place: str, table: bool, owner: Any) -> Stored:
    kind = node.get_type()
    is_table = kind.get_class() == h5t.COMPOUND
    if not (_is_table(kind) if is_table and table else _is_plain(kind)):
        refuse(f"'{place}' is of a type that is not read", place, expected="numbers or text of fixed length")
    if kind.get_size() > MAX_ROW_BYTES:
        refuse(
            f"'{place}' has elements of {kind.get_size():,} bytes",
            place,
            expected=f"at most {MAX_ROW_BYTES:,}",
        )
    space = node.get_space()
    if space.get_simple_extent_type() != h5s.SIMPLE or not 1 <= space.get_simple_extent_ndims() <= 4:
        refuse(f"'{place}' is no array of one to four axes", place)
    shape = tuple(int(n) for n in space.get_simple_extent_dims())
    if len(shape) > 1 and (shape[0] > MAX_ROWS or max(shape[1:]) > MAX_WIDTH):
        refuse(f"'{place}' is larger than anything in a release", place, seen=f"shape {shape}")
    plan = node.get_create_plist()
    made = plan.get_layout()
    if made not in _LAYOUTS or plan.get_external_count():
        refuse(f"'{place}' keeps its data in another file", place)
    filters = tuple(int(plan.get_filter(k)[0]) for k in range(plan.get_nfilters()))
    strange = [number for number in filters if number not in FILTERS]
    if strange or len(set(filters)) != len(filters):
        refuse(
            f"'{place}' is packed by a filter that is not read",
            place,
            seen=", ".join(f"filter {number}" for number in strange) or "one filter twice",
            expected=" and ".join(FILTERS.values()),
            todo="No plug-in is loaded for a release: write it again with gzip.",
        )
    itemsize = kind.get_size()
    size = math.prod(shape) * itemsize
    chunks, written = None, None
    if made == h5d.CHUNKED and size:
        chunks = tuple(int(n) for n in plan.get_chunk())
        written = _written(node, place, shape, chunks, itemsize, filters)
    elif size and (node.get_storage_size() < size or size > _file_bytes(node)):
        refuse(f"'{place}' declares more than the file holds", place, seen=f"{size:,} bytes")
    elif size and made == h5d.CONTIGUOUS:
        start = node.get_offset()
        if start is None or start + size > _file_bytes(node):
            refuse(f"'{place}' was never written, or lies outside the file", place)
    return Stored(h5py.Dataset(node), place, shape, np.dtype(node.dtype), chunks, filters, written, owner)


def _written(
    node: h5d.DatasetID,
    place: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    itemsize: int,
    filters: tuple[int, ...],
) -> NDArray[np.bool_] | None:
    """Which rows of chunks are there; each lies in the file and can unpack to a chunk.

    Raises:
        ReleaseError: a chunk cannot be what it claims to be.
    """
    size = math.prod(chunks) * itemsize
    if size > MAX_CHUNK_BYTES:
        refuse(f"a chunk of '{place}' has {size:,} bytes", place, expected=f"at most {MAX_CHUNK_BYTES:,}")
    grid = [-(-n // c) for n, c in zip(shape, chunks, strict=True)]
    whole = _file_bytes(node)
    if math.prod(grid) > whole // CHUNK_TAKES:
        refuse(
            f"'{place}' declares more than the file holds", place, seen=f"shape {shape} in chunks of {chunks}"
        )
    masks = [1 << k for k, number in enumerate(filters)]
    gzip = next((m for m, f in zip(masks, filters, strict=True) if f == h5z.FILTER_DEFLATE), 0)
    sums = next((m for m, f in zip(masks, filters, strict=True) if f == h5z.FILTER_FLETCHER32), 0)
    count = np.zeros(grid[0], np.int64)
    total = 0

    def look(chunk: Any) -> None:
        nonlocal total
        packed = gzip and not chunk.filter_mask & gzip
        if chunk.filter_mask & sums:
            refuse(f"a chunk of '{place}' has no checksum", place, seen=f"chunk at {chunk.chunk_offset}")
        most = (
            size + size // 1000 + CHUNK_SLACK
        )  # HDF5 unpacks what lies there to its end, whatever is declared
        unpacked = chunk.size * (GZIP_RATIO if packed else 1)
        if chunk.byte_offset + chunk.size > whole or unpacked < size or chunk.size > most:
            refuse(
                f"a chunk of '{place}' declares more than the file holds",
                place,
                seen=f"chunk at {chunk.chunk_offset}: {chunk.size:,} bytes at {chunk.byte_offset:,}",
                expected=f"{size:,} bytes, packed or not, in a file of {whole:,}",
            )
        total += chunk.size
        count[chunk.chunk_offset[0] // chunks[0]] += 1

    try:
        node.chunk_iter(look)
    except ReleaseError:
        raise
    except TROUBLE as error:
        refuse(f"the chunks of '{place}' cannot be listed", place, cause=error)
    if total > whole:
        refuse(f"the chunks of '{place}' overlap", place, seen=f"{total:,} bytes in a file of {whole:,}")
    there = count >= math.prod(grid[1:])
    return None if there.all() else there


def _file_bytes(node: Any) -> int:
    return int(h5i.get_file_id(node).get_filesize())
