"""Checkpoints: one HDF5 file per stage and sequence, written whole or not at all.

Layout of a checkpoint:

    /                attrs: stage, item, fingerprint, made_by (JSON text: version, settings, fingerprints of the
                     inputs), what the stage adds, and sha256, of all these
    /frame           (F,) i8 the source's frame numbers
    /status          (F,) compound: ok (bool), reason S64, note S160, message (UTF-8, 400 bytes; wider, in steps of
                     400, where more is said of a frame)
    /<name>          (F, ...) arrays with one row per frame, chunk = one frame; or arrays of the whole sequence
    /frames/<row>/<name>   arrays whose length differs from frame to frame (scans, encoded images)

Every dataset is checksummed (Fletcher-32), and compressed with gzip, whose output depends on its input alone
(LZF's does not: its table starts uninitialised); the same content gives the same bytes.  Not compressed are bytes
(encoded images are already) and scans, which every stage reads again: undoing gzip would be nine tenths of that.
Attributes have no checksum of HDF5's, so they have a digest, which everybody who opens a checkpoint looks at.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os.path import commonprefix
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self

import h5py
import numpy as np
from h5py import h5d, h5s, h5t
from numpy.typing import ArrayLike, NDArray

from mimicme.pipeline.errors import CheckpointError, FrameRejected, MimicmeError
from mimicme.pipeline.formats.hdf5_text import attribute_names, read_text, write_text
from mimicme.pipeline.numerics.memory import HDF5_BYTES, ask_for, for_want_of_memory
from mimicme.pipeline.sources import Sources
from mimicme.pipeline.whole_hdf5 import WholeHdf5, whole_hdf5

MESSAGE_BYTES = 400
"""Width of a table's messages, and the step by which it is wider where more is said of a frame (`message_width`)."""
ONE_MESSAGE_BYTES = 1_200
"""Of a single sentence on a rejection or a note: the longest of the program's own have about 500 and name files."""
ALL_MESSAGES_BYTES = 12 * MESSAGE_BYTES
"""Of all that is said of a frame: more than the notes that have room in `NOTE_BYTES` say."""
NOTE_BYTES = 160
MORE = "more"  # stands for the codes of a note that had no room


def _status_type(width: int) -> np.dtype[np.void]:
    """Of a row of the table of statuses, whose messages have so many bytes."""
    return np.dtype([("ok", "?"), ("reason", "S64"), ("note", f"S{NOTE_BYTES}"), ("message", f"S{width}")])


STATUS = _status_type(MESSAGE_BYTES)
_STATUS_TYPE = h5t.py_create(STATUS)
CHUNK_BYTES = 1 << 20
QUALITY = "quality"
"""Group of a stage's figures: status, report and release find them there."""
DIGEST = "sha256"
DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, CheckpointError)
"""What a flipped byte of a checkpoint makes of reading it."""


@dataclass(frozen=True)
class FrameStatus:
    """What became of one frame.

    Attributes:
        ok: False when the frame is rejected.
        reason: code of the rejection; empty when ok.
        note: codes of what a user should know about a frame that is ok (`no-texture`), joined by commas.
        message: a sentence a person can act on; for the reason, or for the note.
    """

    ok: bool = True
    reason: str = ""
    note: str = ""
    message: str = ""

    def may_have(self, note: str) -> bool:
        """Whether a code is among the frame's notes, or may be among those that had no room."""
        return not {note, MORE}.isdisjoint(self.note.split(","))


class Figure(NamedTuple):
    """A figure of quality: values (F,) f4, NaN where there is none, and their unit."""

    values: NDArray[np.float32]
    unit: str


def fingerprint(record: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a JSON-able record, independent of key order."""
    return hashlib.sha256(_canonical(record).encode()).hexdigest()


def fingerprint_of_many(record: Mapping[str, Any], name: str, entries: Iterable[tuple[str, Any]]) -> str:
    """`fingerprint` of a record with one more value, `name`, that is a mapping too large to be held at once.

    Args:
        entries: of that mapping, in order of their keys.
    """
    digest = hashlib.sha256()
    before = "{"
    for key in sorted({*record, name}):
        digest.update(f"{before}{_canonical(key)}:".encode())
        before = ","
        if key != name:
            digest.update(_canonical(record[key]).encode())
            continue
        within = "{"
        for one, value in entries:
            digest.update(f"{within}{_canonical(one)}:{_canonical(value)}".encode())
            within = ","
        digest.update(b"}" if within == "," else b"{}")
    digest.update(b"}")
    return digest.hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=True)


def clipped(text: str, size: int) -> str:
    """Text of at most `size` bytes of UTF-8; what is longer loses words from its middle, and shows it.

    The end stays, for there stands what the reader should do.
    """
    whole, amid = text.encode(), " … ".encode()
    if len(whole) <= size:
        return text
    half = (size - len(amid)) // 2
    head, tail = (part.decode(errors="ignore") for part in (whole[:half], whole[-half:]))
    head, tail = head.rpartition(" ")[0] or head, tail.partition(" ")[2] or tail
    return head + amid.decode() + tail


def message_width(messages: Iterable[str]) -> int:
    """Bytes that a column of messages is wide: the same for every table in which nobody has more to say."""
    longest = max((len(message.encode()) for message in messages), default=0)
    return MESSAGE_BYTES * max(1, -(-longest // MESSAGE_BYTES))


def joined_messages(before: str, now: str) -> str:
    """What was said of a frame and what is said now: a stage repeats what those before it said, then adds to it."""
    common = commonprefix([before, now])
    if common not in (before, now):  # whole sentences
        common = common[: common.rfind(". ") + 1]
    return " ".join(filter(None, [before, now[len(common) :].strip()]))


def joined_codes(codes: Iterable[str]) -> str:
    """Codes of notes as they are stored: joined by commas, each once, in at most `NOTE_BYTES`.

    No code is ever cut: those at the end that have no room give way to a last `more`.
    """
    given = list(dict.fromkeys(code for code in codes if code))
    kept = [code for code in given if code != MORE]
    last = [MORE] if MORE in given else []
    while len(",".join([*kept, *last]).encode()) > NOTE_BYTES:
        kept.pop()
        last = [MORE]
    return ",".join([*kept, *last])


def status_after(before: FrameStatus, status: FrameStatus, stage: str, shapes: bool) -> FrameStatus:
    """What is known of a frame after one more stage, as the release has it.

    Args:
        before: what was known of it.
        status: what this stage says.
        stage: its name; shapes: see `Stage.shapes`: what a stage rejects that does not shape is noted, and stays ok.
    """
    if not before.ok:
        return before
    codes = [*before.note.split(","), *status.note.split(",")]
    if status.ok or shapes:
        said = joined_messages(before.message, status.message) if status.ok else status.message
        return replace(status, note=joined_codes(codes), message=said)
    said = joined_messages(before.message, status.message)
    return FrameStatus(True, "", joined_codes([*codes, f"{stage}:{status.reason}"]), said)


def chunk_shape(shape: tuple[int, ...], itemsize: int, rows: int | None = None) -> tuple[int, ...]:
    """Chunks of whole rows: `rows` of them, by default as many as fit into a megabyte."""
    row_bytes = max(1, itemsize * int(np.prod(shape[1:], dtype=np.int64)))
    return (min(rows or max(1, CHUNK_BYTES // row_bytes), shape[0]), *shape[1:])


def even_chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Chunks of whole rows, at most a megabyte, all as long as each other but for a few rows.

    For what is not compressed: the last chunk takes as much room as the others, however few rows it has.
    """
    (rows, *_) = chunk_shape(shape, itemsize)
    count = -(-shape[0] // rows)
    return (-(-shape[0] // count), *shape[1:])


@contextmanager
def frame_numerics() -> Iterator[None]:
    """Make a rejection of the frame of what its numbers make a computation raise.

    What is no property of the frame - memory, disk, a damaged checkpoint, wrong use - is raised as it is.

    Raises:
        FrameRejected: `numerical-failure`.
    """
    try:
        yield
    except (ArithmeticError, ValueError, IndexError, RuntimeError) as error:  # LinAlgError is a ValueError
        if for_want_of_memory(error):  # HDF5 says it with a ValueError
            raise MemoryError(str(error)) from error
        text = str(error).splitlines()[0] if str(error) else ""
        raise FrameRejected(
            "numerical-failure",
            "the frame's numbers broke the computation",
            seen=f"{type(error).__name__}: {text}",
            todo="Look at the scan and its landmarks; if both look well, report this.",
        ) from error


def open_hdf5(
    path: Path, kind: type[MimicmeError] = CheckpointError, todo: str | None = None, **options: Any
) -> h5py.File:
    """Open an HDF5 file for reading.

    Args:
        kind: the error that is raised.
        todo: what to do about a file that is damaged, or none.
        options: of `h5py.File`.

    Raises:
        MimicmeError: of the given kind: it is not HDF5, or another program holds it open.
        MemoryError: there is no room for what HDF5 takes.
    """
    ask_for(HDF5_BYTES, "reading an HDF5 file")
    try:
        return h5py.File(path, "r", **options)
    except (OSError, ValueError, RuntimeError) as error:
        if for_want_of_memory(error):
            raise MemoryError(str(error)) from error
        if isinstance(error, BlockingIOError):  # HDF5 takes a lock of whatever it may write
            raise kind(
                "another program holds this file open for writing",
                where=path,
                todo="Close it there (a notebook, h5py in mode 'r+' or 'a', HDFView), then try again.",
            ) from error
        said = (str(error).splitlines() or [""])[0]
        raise kind("this is not a readable HDF5 file", where=path, seen=said, todo=todo) from error


def figures_in(handle: h5py.File) -> dict[str, h5py.Dataset]:
    """The figures of quality of an opened checkpoint, by name; what is no number for every frame is none of them."""
    group = handle.get(QUALITY)
    if not isinstance(group, h5py.Group):
        return {}
    frames = handle["status"].shape
    return {
        name: dataset
        for name, dataset in group.items()
        if isinstance(dataset, h5py.Dataset) and dataset.shape == frames and dataset.dtype.kind in "biuf"
    }


def status_table(handle: h5py.File) -> NDArray[np.void]:
    """The table of an opened checkpoint, (F,) as `STATUS`, whose messages may be wider.

    Raises:
        KeyError: there is none.
        OSError: it cannot be read.
    """
    dataset = h5d.open(handle.id, b"status")
    if not dataset.get_type().equal(_STATUS_TYPE):  # of another version, or with more to say
        return np.asarray(handle["status"][:])
    # by itself: to find the type of a table out is most of what it takes to read it
    table = np.empty(dataset.shape, STATUS)
    dataset.read(h5s.ALL, h5s.ALL, table, _STATUS_TYPE)
    return table


def unit_of(dataset: h5py.Dataset) -> str:
    """The unit that a dataset of a checkpoint says it has, in the word of today."""
    try:
        return unit_today(read_text(dataset, "unit"))
    except (KeyError, TypeError):
        return unit_today(str(dataset.attrs.get("unit", "1")))


def unit_today(unit: str) -> str:
    """A stored unit in the word of today: `px` is what texels were called before; no figure is in pixels."""
    return "texels" if unit == "px" else unit


def guarded_file(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, whose links all stay inside it.

    Raises:
        CheckpointError: the file is not HDF5, is held open by another program, or holds an external or soft link.
    """
    handle = open_hdf5(path, todo="If it is one of a workspace, run again: it is made anew.")
    bad = _foreign_link(handle)
    if bad:
        handle.close()
        raise CheckpointError(
            f"the link '{bad}' points outside its place",
            where=path,
            todo="Links are refused because they can read any file on this machine.",
        )
    return handle


def _foreign_link(group: h5py.Group, seen: set[object] | None = None) -> str | None:
    """The first link that is not a hard one, or that leads to a group which another leads to: a loop would not end."""
    seen = seen if seen is not None else set()
    seen.add(h5py.h5g.get_objinfo(group.id).objno)
    for name in group:
        link = group.get(name, getlink=True)
        where = f"{group.name.rstrip('/')}/{name}"
        if not isinstance(link, h5py.HardLink):
            return where
        kind = group.get(name, getclass=True)
        if kind is h5py.Group:
            below = group[name]
            if h5py.h5g.get_objinfo(below.id).objno in seen:
                return where
            found = _foreign_link(below, seen)
            if found:
                return found
    return None


def _digest(handle: h5py.File) -> str:
    """Of all attributes of the file but the digest itself."""
    total = hashlib.sha256()
    for name in sorted(attribute_names(handle), key=_bytes_of):
        if name == DIGEST:
            continue
        try:
            shape, kind, data = (), "text", _bytes_of(read_text(handle, name))
        except TypeError:
            array = np.asarray(handle.attrs[name])
            is_text = array.dtype.kind in "OU"
            shape, kind = array.shape, "text" if is_text else array.dtype.str
            data = _bytes_of("\0".join(map(str, array.ravel().tolist()))) if is_text else array.tobytes()
        for part in (_bytes_of(name), f"{shape} {kind}".encode()):
            total.update(part + b"\0")
        total.update(data)
    return total.hexdigest()


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _check_attributes(handle: h5py.File, path: Path) -> None:
    """The attributes are those that were written; before there was a digest nobody knows.

    Raises:
        CheckpointError: they are not.
    """
    try:
        good = DIGEST not in handle.attrs or read_text(handle, DIGEST) == _digest(handle)
        seen: object = "other attributes than were written"
    except DAMAGE as error:
        if for_want_of_memory(error):
            raise MemoryError(str(error)) from error
        good, seen = False, str(error).splitlines()[0] if str(error) else type(error).__name__
    if not good:
        raise CheckpointError(
            "this checkpoint is damaged",
            where=path,
            seen=seen,
            todo="Run again: it is made anew. Check the disk.",
        )


def damage(path: Path) -> str | None:
    """What of a checkpoint cannot be read, in a few words; None where all of it can, and where the system says why not
    (nobody may, the disk fails, it is not there, memory is wanting).  Reads all of it."""

    def read(_: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            for part in node.iter_chunks() if node.chunks and node.size else ((),):
                node[part]

    try:
        with Checkpoint(path) as opened:
            opened._h5.visititems(read)
    except MemoryError:
        return None
    except DAMAGE as error:
        if for_want_of_memory(error) or any(
            getattr(one, "errno", None) is not None for one in (error, error.__cause__)
        ):
            return None
        return (str(error).splitlines() or [type(error).__name__])[0]
    return None


def without_damage(paths: Iterable[Path], error: Exception) -> Exception:
    """What is to be raised in place of an error of reading checkpoints: where one is damaged, which; it is removed, so
    that the next run makes it anew.  What no damage makes is raised as it is."""
    if not isinstance(error, DAMAGE) or getattr(error, "errno", None) is not None:
        return error
    for path in paths:
        seen = damage(path)
        if seen is not None:
            path.unlink(missing_ok=True)
            return CheckpointError(
                "this checkpoint was damaged, and is removed",
                where=path,
                seen=seen,
                todo="Run again: it is made anew, and nothing else. Check the disk.",
            )
    return error


class CheckpointWriter:
    """Writes one checkpoint; made by `writing`, which renames the file into place at the end.

    Args:
        left_out: statuses of frames that are not continued from an earlier checkpoint, by number.
    """

    def __init__(
        self,
        handle: WholeHdf5,
        sources: Sources | None = None,
        left_out: Mapping[int, FrameStatus] = MappingProxyType({}),
    ) -> None:
        self._h5 = handle
        self._left_out = left_out
        self._status: list[FrameStatus] = []
        self._sources = sources
        self._row_datasets: list[h5py.Dataset] = []

    @property
    def sources(self) -> Sources:
        """Reads raw capture files, and remembers them in the fingerprint.  The only way a stage may read one."""
        if self._sources is None:
            raise CheckpointError("this checkpoint was opened without a capture folder")
        return self._sources

    @property
    def attrs(self) -> h5py.AttributeManager:
        """Attributes of the whole checkpoint: numbers, text, small arrays."""
        return self._h5.attrs

    @property
    def statuses(self) -> list[FrameStatus]:
        """Status per row so far."""
        return list(self._status)

    def frames(self, numbers: Sequence[int], statuses: Sequence[FrameStatus] | None = None) -> None:
        """Declare the rows; call once, before anything that has rows."""
        self._dataset(self._h5, "frame", np.asarray(numbers, np.int64), "1")
        self._status = list(statuses) if statuses is not None else [FrameStatus()] * len(numbers)

    def continue_from(self, earlier: Checkpoint) -> list[int]:
        """Declare the rows of an earlier checkpoint with their statuses, without those left out; returns the rows still
        ok."""
        numbers = earlier.numbers.tolist()
        statuses = [
            replace(self._left_out[number], note=status.note)
            if status.ok and number in self._left_out
            else status
            for number, status in zip(numbers, earlier.statuses, strict=True)
        ]
        self.frames(numbers, statuses)
        return [row for row, status in enumerate(self._status) if status.ok]

    def reject(self, row: int, error: FrameRejected) -> None:
        """Mark a row as rejected; its arrays keep their fill value."""
        said = clipped(str(error), ONE_MESSAGE_BYTES)
        self._status[row] = FrameStatus(False, error.reason, self._status[row].note, said)

    def note(self, row: int, code: str, message: str) -> None:
        """Attach something a user should know to a row that is ok."""
        old = self._status[row]
        joined = joined_codes([*old.note.split(","), code])
        said = " ".join(filter(None, [old.message, clipped(message, ONE_MESSAGE_BYTES)]))
        self._status[row] = FrameStatus(old.ok, old.reason, joined, said)

    def array(self, name: str, data: ArrayLike, unit: str = "") -> None:
        """Store an array that belongs to the whole sequence (or has all rows at once)."""
        self._dataset(self._h5, name, np.asarray(data), unit)

    def rows(
        self, name: str, shape: tuple[int, ...], dtype: Any, unit: str = "", fill: Any = None
    ) -> h5py.Dataset:
        """Create a (F, *shape) dataset to be filled row by row; chunk = one frame."""
        kind = np.dtype(dtype)
        if fill is None:
            fill = np.nan if kind.kind == "f" else np.zeros((), kind)[()]
        full = (len(self._status), *shape)
        self._h5.will_hold(kind.itemsize * math.prod(shape))
        dataset = self._h5.create_dataset(
            name,
            full,
            kind,
            chunks=(1, *(max(1, s) for s in shape)),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
            fletcher32=True,
            fillvalue=fill,
            track_times=False,
        )
        write_text(dataset, "unit", unit)
        self._row_datasets.append(dataset)
        return dataset

    def figure(self, name: str, unit: str) -> h5py.Dataset:
        """Create a figure of quality, a number for every row; status, report and release show it."""
        return self.rows(f"{QUALITY}/{name}", (), np.float32, unit)

    def put(self, row: int, name: str, data: ArrayLike, unit: str = "", compressed: bool = True) -> None:
        """Store an array of one frame whose length is its own; bytes (uint8) are never compressed."""
        group = self._h5.require_group(f"frames/{row:06d}")
        self._dataset(group, name, np.asarray(data), unit, compressed)

    def _dataset(
        self, group: h5py.Group, name: str, data: NDArray[Any], unit: str, compressed: bool = True
    ) -> None:
        filters: dict[str, Any] = {}
        if data.ndim and data.size:  # a scalar or empty dataset takes no filters
            filters = {"fletcher32": True, "chunks": even_chunk_shape(data.shape, data.dtype.itemsize)}
            if compressed and data.dtype != np.uint8:
                filters["chunks"] = chunk_shape(data.shape, data.dtype.itemsize)
                filters |= {"compression": "gzip", "compression_opts": 1, "shuffle": True}
            self._h5.will_hold(data.dtype.itemsize * math.prod(filters["chunks"]))
        dataset = group.create_dataset(name, data=data, track_times=False, **filters)
        write_text(dataset, "unit", unit)
        # where its chunks come to lie is decided now, not when Python lets go of it: a profiler may hold it for a while
        dataset.flush()
        self._h5.check()

    def _finish(self) -> None:
        if "frame" not in self._h5:
            raise CheckpointError("the stage declared no frames", where=self.attrs["item"])
        messages = [clipped(status.message, ALL_MESSAGES_BYTES) for status in self._status]
        table = np.zeros(len(self._status), _status_type(message_width(messages)))
        for row, (status, message) in enumerate(zip(self._status, messages, strict=True)):
            table[row] = (
                status.ok,
                status.reason.encode()[:64],
                joined_codes(status.note.split(",")).encode(),
                message.encode(),
            )
        for dataset in self._row_datasets:  # in the order in which they were made, for the same reason
            dataset.flush()
        self._dataset(self._h5, "status", table, "")


@contextmanager
def writing(
    path: Path,
    *,
    stage: str,
    item: str,
    made_by: Mapping[str, Any],
    captures_root: Path | None = None,
    left_out: Mapping[int, FrameStatus] = MappingProxyType({}),
) -> Iterator[CheckpointWriter]:
    """Write a checkpoint to a temporary name beside `path`, flush it to the disk, then rename it.

    The fingerprint is taken of `made_by` and of the raw files read through `CheckpointWriter.sources`.  On any
    exception the temporary file is removed and whatever stood at `path` before stays.
    """
    with whole_hdf5(path) as handle:
        sources = None if captures_root is None else Sources(captures_root)
        out = CheckpointWriter(handle, sources, left_out)
        write_text(handle, "stage", stage)
        write_text(handle, "item", item)
        yield out
        record = dict(made_by)
        if out._sources is not None:
            record["sources"] = out._sources.digests
            write_text(handle, "source_stats", out._sources.stats_json())
        write_text(handle, "fingerprint", fingerprint(record))
        write_text(handle, "made_by", json.dumps(record, sort_keys=True))
        out._finish()
        write_text(handle, DIGEST, _digest(handle))
        handle.flush()


class Checkpoint:
    """Reads one checkpoint; a context manager.  Index it by dataset name for an HDF5 dataset.

    A stage's own reader inherits it and gives what the stage wrote by name, shape and unit
    (`stages/<stage>/checkpoint.py`); nobody else spells the names of datasets.

    Attributes:
        stage: name of the stage whose checkpoints a reader is for; empty: any.
        explained: what each figure of the stage is, by name, in a sentence; the report and docs/release-format.md
            have it.
    """

    stage: ClassVar[str] = ""
    explained: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._h5 = guarded_file(self.path)
        try:
            _check_attributes(self._h5, self.path)
        except CheckpointError:
            self._h5.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._h5.close()

    @property
    def attrs(self) -> h5py.AttributeManager:
        return self._h5.attrs

    @property
    def fingerprint(self) -> str:
        return str(self._h5.attrs["fingerprint"])

    @property
    def made_by(self) -> dict[str, Any]:
        """What the fingerprint was taken of."""
        return dict(json.loads(self._h5.attrs["made_by"]))

    @property
    def numbers(self) -> NDArray[np.int64]:
        """(F,) the source's frame numbers."""
        return np.asarray(self._h5["frame"][:], np.int64)

    @property
    def statuses(self) -> list[FrameStatus]:
        return [
            FrameStatus(
                bool(r["ok"]), r["reason"].decode(), r["note"].decode(), r["message"].decode(errors="ignore")
            )
            for r in status_table(self._h5)
        ]

    @property
    def ok_rows(self) -> list[int]:
        return [row for row, status in enumerate(self.statuses) if status.ok]

    @property
    def quality(self) -> dict[str, Figure]:
        """What the stage measured of every frame, by name."""
        return {
            name: Figure(np.asarray(dataset[:], np.float32), unit_of(dataset))
            for name, dataset in figures_in(self._h5).items()
        }

    def __contains__(self, name: str) -> bool:
        return name in self._h5

    def __getitem__(self, name: str) -> h5py.Dataset:
        try:
            return self._h5[name]
        except KeyError as error:
            if for_want_of_memory(error):  # HDF5 finds nothing then
                raise MemoryError(str(error)) from error
            raise CheckpointError(
                f"the checkpoint has no '{name}'", where=self.path, todo="Run the stage again with --force."
            ) from None

    def has(self, row: int, name: str) -> bool:
        """Whether this frame has an array of that name."""
        return f"frames/{row:06d}/{name}" in self._h5

    def get(self, row: int, name: str) -> NDArray[Any]:
        """The array of one frame whose length is its own."""
        return np.asarray(self[f"frames/{row:06d}/{name}"][()])
