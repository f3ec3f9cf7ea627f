"""Reads a release; what is where in the file, release/layout.py says."""

from __future__ import annotations

import fnmatch
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimicme.pipeline.errors import ReleaseError, UsageError
from mimicme.pipeline.formats.map_coding import MAPS, Coding, read_coding
from mimicme.pipeline.items import Item, times_of
from mimicme.pipeline.release import encoding, guard, layout, permitted, programs
from mimicme.pipeline.release.access import KEEP_OPEN, Access
from mimicme.pipeline.release.digest import NAME as DIGEST
from mimicme.pipeline.release.encoding import Encoding
from mimicme.pipeline.release.guard import Stored
from mimicme.pipeline.release.layout import OK
from mimicme.pipeline.release.loader import Frames, TorchFrames, Transform, stream_torch, torch_module
from mimicme.pipeline.template import Template

MAX_IMAGE_BYTES = 1 << 30
_TIMES_FRAMES = 8  # frames that are rejected take nothing in the file
_TEXTS = ("subject", "sequence", "expression", "status", "name")
_KINDS = {
    "row": "u",
    "frame": "i",
    "landmark_sources": "u",
    "start": "u",
    "stop": "u",
    "fps": "f",
    "file_from_scan": "f",
}


@dataclass(frozen=True)
class SequenceInfo:
    """One sequence of a release.

    Attributes:
        item: subject and sequence, the names of the groups; name: the sequence as named on disk.
        expression: canonical label.  fps: NaN when unknown.
        file_from_scan: (4, 4) float64, ingested scan (mm, y up) -> the capture file's units and axes.
        start, stop: its rows in `Release.index`.
        attributes: everything else that is known about it (unit and axes decisions, provenance); read when first
            looked at.
    """

    item: Item
    name: str
    expression: str
    fps: float
    file_from_scan: NDArray[np.float64]
    start: int
    stop: int
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> range:
        """Its rows in `Release.index`, for `Release.frame`."""
        return range(self.start, self.stop)


@dataclass(frozen=True)
class Frame:
    """One frame of a release.  Vertices and pose are NaN when `status` is `rejected`.

    Attributes:
        vertices: (V, 3) float32, mm, canonical frame.
        pose: (4, 4) float64, canonical -> ingested scan, rigid.
        landmarks: (L, 3) float32, mm, canonical frame, NaN where absent; landmark_source (L,) uint8, see
            `LANDMARK_SOURCES`; landmark_confidence (L,) float32.
        quality: what the stages measured, by name.
        texture: (h, w, 3) uint8 or None; coverage: (h, w) uint8 or None.  Row 0 is v = 1.
        time_s: seconds since the sequence's first frame; NaN: unknown.
    """

    subject: str
    sequence: str
    number: int
    expression: str
    status: str
    reason: str
    note: str
    message: str
    vertices: NDArray[np.float32]
    pose: NDArray[np.float64]
    landmarks: NDArray[np.float32]
    landmark_source: NDArray[np.uint8]
    landmark_confidence: NDArray[np.float32]
    quality: Mapping[str, float]
    texture: NDArray[np.uint8] | None
    coverage: NDArray[np.uint8] | None
    time_s: float = float("nan")

    @property
    def ok(self) -> bool:
        return self.status == OK


class _SequenceAttributes(Mapping[str, Any]):
    """A sequence's further attributes, read when they are first asked for."""

    def __init__(self, release: Release, item: Item) -> None:
        self._release, self._item = release, item

    @cached_property
    def _all(self) -> dict[str, Any]:
        found = self._release._attributes_of(self._item)
        return {name: value for name, value in found.items() if name not in layout.SEQUENCE_ATTRIBUTES}

    def __getitem__(self, name: str) -> Any:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        return repr(self._all)


def _bytes_of(attributes: Mapping[str, Any]) -> int:
    """About what attributes take in memory."""
    return sum(
        len(name) + (len(value) if isinstance(value, str) else np.asarray(value).nbytes)
        for name, value in attributes.items()
    )


def _is_of(kind: np.dtype[Any], name: str) -> bool:
    """Whether a column of an index is of the kind and shape that it has in a release."""
    shape = (4, 4) if name == "file_from_scan" else ()
    return kind.shape == shape and kind.base.kind == ("S" if name in _TEXTS else _KINDS.get(name))


class Release:
    """Reads a release; its rows are those of `index`.

    It opens the file when first used and once per process, and may be used by several threads: it can be made in one
    process and handed to others, forked or spawned (it pickles as its path), but no thread may be reading while its
    process forks.  Also a context manager.

        with Release("release.h5") as release:
            for row in release.select(expression="happiness", status="ok"):
                vertices = release.vertices(row)
            smile = release["S001", "smile"]

    For training, `as_torch` and `as_arrays` give its frames as data sets; for other programs there are `as_menpo`,
    `as_trimesh` and `to_dataframe`.

    Args:
        keep_open: datasets that stay open between reads.

    Raises:
        ReleaseError: when used, if the file is not a release, is damaged at the place that is read, or is not to be
            trusted there (see `guard`): it reaches outside itself, declares more than it holds, needs a plug-in.
    """

    def __init__(self, path: str | Path, *, keep_open: int = KEEP_OPEN) -> None:
        self.path = Path(path).absolute()
        self.keep_open = keep_open
        # by process: a child of `fork` opens it for itself
        self._opened: dict[int, Access] = {}

    # -- the file

    def __enter__(self) -> Self:
        self._access()
        return self

    def __getstate__(self) -> dict[str, Any]:
        # an open file cannot travel to another process, and the index is cheaper read than sent
        return {"path": self.path, "keep_open": self.keep_open, "_opened": {}}

    def __repr__(self) -> str:
        return f"Release('{self.path}')"

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        opened = self._opened.pop(os.getpid(), None)
        if opened is not None:
            opened.close()

    def _access(self) -> Access:
        opened = self._opened.get(os.getpid())
        if opened is None:
            # of two threads that come here at once, one's is kept
            opened = self._opened.setdefault(os.getpid(), Access(self.path, self.keep_open))
        return opened

    def _refuse(self, error: ReleaseError) -> ReleaseError:
        """The same error, which also names the file."""
        known = error.where is None or str(error.where) in (str(self.path), error.what)
        place = "" if known or str(error.where) in error.what else f": {error.where}"
        return type(error)(
            error.what, where=f"{self.path}{place}", seen=error.seen, expected=error.expected, todo=error.todo
        )

    def _stored(self, *names: str, table: bool = False) -> Stored:
        try:
            return self._access().dataset(*names, table=table)
        except ReleaseError as error:
            raise self._refuse(error) from error

    def _read(self, stored: Stored, key: Any = ()) -> Any:
        try:
            return stored.read(key)
        except ReleaseError as error:
            raise self._refuse(error) from error

    def _attributes(self, *names: str) -> dict[str, Any]:
        try:
            return self._access().attributes(*names)
        except ReleaseError as error:
            raise self._refuse(error) from error

    def _members(self, *names: str) -> list[str]:
        try:
            return self._access().members(*names)
        except ReleaseError as error:
            raise self._refuse(error) from error

    def _attributes_of(self, item: Item) -> dict[str, Any]:
        found = self._attributes("subjects", item.subject, item.sequence)
        return {name: value for name, value in found.items() if name != DIGEST}

    def _has(self, *names: str) -> bool:
        try:
            return self._access().has(*names)
        except ReleaseError as error:
            raise self._refuse(error) from error

    def _wrong(self, stored: Stored, expected: object) -> ReleaseError:
        return ReleaseError(
            f"'{stored.place}' is not what a release has there",
            where=self.path,
            seen=f"{stored.shape} {stored.dtype}"[:200],
            expected=expected,
            todo="Run `mimicme verify`.",
        )

    # -- the whole

    @property
    def fingerprint(self) -> str:
        """Of everything the release was made from."""
        return str(self.attributes.get("fingerprint", ""))

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The root attributes: schema_version, created, licence, config ..."""
        return self._attributes()

    def _table(self, name: str, *columns: tuple[str, ...]) -> NDArray[Any]:
        """One of the indexes, its text as text.

        Args:
            columns: what it may have, one or the other.
        """
        stored = self._stored(name, table=True)
        kind = stored.dtype
        right = kind.names in columns and len(stored.shape) == 1
        if not right or any(not _is_of(kind[n], n) for n in kind.names or ()):
            raise self._wrong(stored, f"a table of {', '.join(columns[0])}")
        try:
            self._make_room(layout.decoded_bytes(kind) * stored.shape[0], stored.place)
            return layout.decoded(np.asarray(self._read(stored)))
        except MemoryError as error:
            raise self._wrong(stored, "a table that fits into memory") from error

    def _make_room(self, wanted: int, place: str, times: int = 1) -> None:
        """See to it that what is read whole is no more than what a release of this size has there.

        Raises:
            ReleaseError: it is.
        """
        held = self._access().held_bytes
        room = guard.room(held, times)
        if wanted > room:
            raise ReleaseError(
                f"'{place}' is larger than one of a release",
                where=self.path,
                seen=f"{wanted:,} bytes of memory, of a file of {held:,}",
                expected=f"at most {room:,}",
            )

    @cached_property
    def index(self) -> NDArray[Any]:
        """(rows,) structured: subject, sequence, row (in its sequence), frame, expression, status; in releases since
        schema 1.4 also landmark_sources (bit k: some landmark is of `LANDMARK_SOURCES[k]`)."""
        table = self._table(layout.INDEX, layout.INDEX_NAMES, layout.INDEX_NAMES_BEFORE)
        for name in ("subject", "sequence"):
            if not all(guard.is_name(str(value)) for value in np.unique(table[name])):
                raise ReleaseError(f"the index has a {name} whose name is not safe", where=self.path)
        return table

    @cached_property
    def _size(self) -> tuple[int, int]:
        """Vertices and landmarks of the template, by its metadata."""
        vertices, names = (self._stored("template", name) for name in ("vertices", "landmark_names"))
        if len(vertices.shape) != 2 or vertices.shape[1] != 3 or not vertices.shape[0] <= layout.MAX_VERTICES:
            raise self._wrong(vertices, f"at most {layout.MAX_VERTICES:,} vertices")
        if len(names.shape) != 1 or names.shape[0] > layout.MAX_LANDMARKS:
            raise self._wrong(names, f"at most {layout.MAX_LANDMARKS:,} names")
        return vertices.shape[0], names.shape[0]

    @cached_property
    def template(self) -> Template:
        """The template all frames share."""
        n_vertices, n_landmarks = self._size
        data = {}
        wanted = 0
        for name, spec in layout.TEMPLATE_FIELDS.items():
            stored = self._stored("template", name)
            wanted += layout.COPIES_OF_TEMPLATE * stored.nbytes
            self._make_room(wanted, "/template")
            if stored.dtype != np.dtype(spec.dtype) or stored.shape[1:] != spec.shape:
                raise self._wrong(stored, f"(rows, {spec.shape[0]}) {spec.dtype}")
            data[name] = np.asarray(self._read(stored))
        stored = self._stored("template", "landmark_names")
        if stored.dtype.kind != "S":
            raise self._wrong(stored, "text")
        wanted += layout.COPIES_OF_TEMPLATE * stored.nbytes
        self._make_room(wanted, "/template")
        names = tuple(guard.text(n) for n in self._read(stored))
        masks = {}
        if self._has("template", "masks"):
            called = self._members("template", "masks")
            if len(called) > layout.MAX_MASKS:
                raise ReleaseError(
                    "the template has more masks than one of a release",
                    where=self.path,
                    seen=len(called),
                    expected=f"at most {layout.MAX_MASKS}",
                )
            for name in called:
                stored = self._stored("template", "masks", name)
                if stored.shape != (n_vertices,) or stored.dtype.kind != "f":
                    raise self._wrong(stored, f"({n_vertices},) of numbers")
                wanted += layout.COPIES_OF_TEMPLATE * stored.nbytes
                self._make_room(wanted, "/template/masks")
                masks[name] = self._read(stored)
        polygons = None
        if self._has("template", layout.POLYGONS):
            stored = self._stored("template", layout.POLYGONS)
            wanted += layout.COPIES_OF_TEMPLATE * stored.nbytes
            self._make_room(wanted, "/template")
            if (
                stored.dtype != np.dtype(layout.POLYGON_FIELD.dtype)
                or stored.shape != data["faces"].shape[:1]
            ):
                raise self._wrong(stored, f"({len(data['faces'])},) {layout.POLYGON_FIELD.dtype}")
            polygons = np.asarray(self._read(stored))
        limits = {"faces": n_vertices, "uv_faces": len(data["uv"]), "landmark_vertices": n_vertices}
        for name, limit in limits.items():
            if data[name].size and int(data[name].max()) >= limit:
                raise self._wrong(self._stored("template", name), f"numbers below {limit}")
        if not len(data["landmark_vertices"]) == len(data["landmark_weights"]) == n_landmarks:
            raise self._wrong(self._stored("template", "landmark_weights"), f"{n_landmarks} rows, one a name")
        return layout.template_of(data, names, masks, self._attributes("template"), polygons)

    @cached_property
    def _template_vertices(self) -> NDArray[np.float32]:
        return np.asarray(self.template.vertices, np.float32)

    @cached_property
    def _has_sequence_index(self) -> bool:
        return layout.has_digests(self._access().schema)

    @cached_property
    def subjects(self) -> dict[str, dict[str, Any]]:
        """Attributes (age, gender, ethnicity, consent, split, further columns) by subject."""
        found, wanted = {}, 0
        for name in self._members("subjects"):
            said = self._attributes("subjects", name)
            wanted += _bytes_of(said)
            self._make_room(wanted, "/subjects")
            found[name] = {key: value for key, value in said.items() if key != DIGEST}
        return found

    @cached_property
    def _sequences(self) -> dict[Item, SequenceInfo]:
        """All sequences in the order of the index: from its own index where the release has one, else one by one."""
        if self._has_sequence_index:
            return self._sequences_by_index()
        table = self.index
        if not len(table):
            return {}
        pairs = table[["subject", "sequence"]]
        starts = np.concatenate([[0], np.flatnonzero(pairs[1:] != pairs[:-1]) + 1, [len(table)]])
        bounds = zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        found, wanted = {}, 0
        for start, stop in bounds:
            item = Item(str(table["subject"][start]), str(table["sequence"][start]))
            attributes = self._attributes_of(item)
            wanted += _bytes_of(attributes)
            self._make_room(wanted, "/subjects")
            fixed = {name: attributes.pop(name, None) for name in layout.SEQUENCE_ATTRIBUTES}
            pose, fps = fixed["file_from_scan"], fixed["fps"]
            found[item] = SequenceInfo(
                item,
                str(fixed["sequence"]),
                str(fixed["expression"]),
                float(fps) if isinstance(fps, float | int) else float("nan"),
                np.asarray(pose, np.float64) if np.shape(pose) == (4, 4) else np.eye(4),
                start,
                stop,
                attributes=attributes,
            )
        return found

    def _sequences_by_index(self) -> dict[Item, SequenceInfo]:
        table = self._table(layout.SEQUENCE_INDEX, layout.SEQUENCE_INDEX_NAMES)
        starts, stops = table["start"].astype(np.int64), table["stop"].astype(np.int64)
        ends = np.concatenate([[0], stops])
        rows = self.index
        whole = bool((starts == ends[:-1]).all() and (stops >= starts).all() and ends[-1] == len(rows))
        have = stops > starts
        for name in ("subject", "sequence", "expression"):
            whole = whole and bool((rows[name][starts[have]] == table[name][have]).all())
        if not whole or table.dtype["file_from_scan"].shape != (4, 4):
            raise ReleaseError("the index of sequences does not fit the index of frames", where=self.path)
        items = [
            Item(*pair) for pair in zip(table["subject"].tolist(), table["sequence"].tolist(), strict=True)
        ]
        columns = (table[name].tolist() for name in ("name", "expression", "fps"))
        return {
            item: SequenceInfo(item, name, label, fps, matrix, start, stop, _SequenceAttributes(self, item))
            for item, name, label, fps, matrix, start, stop in zip(
                items, *columns, table["file_from_scan"], starts.tolist(), stops.tolist(), strict=True
            )
        }

    def sequences(self, subject: str = "*", sequence: str = "*") -> list[SequenceInfo]:
        """Sequences whose names match the globs, in the order of the index."""
        known = self._sequences.values()
        if subject == sequence == "*":
            return list(known)
        return [
            info
            for info in known
            if fnmatch.fnmatchcase(info.item.subject, subject)
            and fnmatch.fnmatchcase(info.item.sequence, sequence)
        ]

    def sequence(self, subject: str, sequence: str) -> SequenceInfo:
        """What is known about one sequence."""
        item = Item(subject, sequence)
        if item not in self._sequences:
            raise UsageError(f"the release has no sequence '{item}'", where=self.path)
        return self._sequences[item]

    def index_entry(self, info: SequenceInfo) -> layout.IndexEntry:
        """What the indexes say of a sequence, to be written again."""
        rows = self.index[info.start : info.stop]
        there = "landmark_sources" in (rows.dtype.names or ())
        return layout.IndexEntry(
            info.item,
            info.expression,
            rows["frame"],
            rows["status"].tolist(),
            info.name,
            info.fps,
            info.file_from_scan,
            rows["landmark_sources"] if there else None,
        )

    def sequence_attributes(self, subject: str, sequence: str) -> dict[str, Any]:
        """All attributes of a sequence, as they are stored."""
        return self._attributes_of(self.sequence(subject, sequence).item)

    def select(
        self,
        *,
        subject: str = "*",
        sequence: str = "*",
        expression: str = "*",
        status: str = "*",
        frames: Sequence[int] | None = None,
        age: tuple[float | None, float | None] | None = None,
        gender: str = "*",
        ethnicity: str = "*",
        split: str = "*",
        landmarks: str = "",
        use: str = "",
    ) -> NDArray[np.int64]:
        """Rows of the index for which all of this holds, in order.

        Texts are globs, which whole names match, and their case counts.

            release.select(expression="happiness", status="ok", split="train", age=(18, 40))

        Args:
            frames: the source's frame numbers.
            age: from and to, in years, both included; None: no end.  Whose age is unknown is in no range.
            gender, ethnicity, split: as the table of subjects has them.
            landmarks: `manual`, `detected` or `projected`: some landmark of the frame is of that source.
            use: `papers`, `training`, `raw`, `commercial`: of subjects who plainly permit it (`permitted`).
        """
        keep = np.ones(len(self.index), bool)
        wanted = {"subject": subject, "sequence": sequence, "expression": expression, "status": status}
        for name, pattern in wanted.items():
            if pattern != "*":
                values, inverse = np.unique(self.index[name], return_inverse=True)
                keep &= np.array([fnmatch.fnmatchcase(str(v), pattern) for v in values], bool)[inverse]
        if frames is not None:
            keep &= np.isin(self.index["frame"], np.asarray(frames, np.int64))
        columns = {
            n: p for n, p in (("gender", gender), ("ethnicity", ethnicity), ("split", split)) if p != "*"
        }
        if use:
            permitted.check_use(use)
        if columns or age is not None or use:
            people, inverse = np.unique(self.index["subject"], return_inverse=True)
            fits = [self._fits(self.subjects.get(str(one), {}), columns, age, use) for one in people]
            keep &= np.array(fits, bool)[inverse]
        if landmarks:
            if landmarks not in layout.LANDMARK_SOURCES[1:]:
                raise UsageError(
                    "landmarks have no such source",
                    seen=repr(landmarks),
                    expected=", ".join(layout.LANDMARK_SOURCES[1:]),
                )
            bit = np.uint8(1 << layout.LANDMARK_SOURCES.index(landmarks))
            keep &= (self._landmark_sources & bit) > 0
        return np.flatnonzero(keep).astype(np.int64)

    def permits(self, subject: str, use: str) -> bool:
        """Whether a subject plainly permits a use: `research` (always), `papers`, `training`, `raw`, `commercial`.

        Raises:
            UsageError: there is no such use, or no such subject.
        """
        if subject not in self.subjects:
            raise UsageError(f"the release has no subject '{subject}'", where=self.path)
        return permitted.permits(self.subjects[subject], use, self._unclear_permissions)

    @cached_property
    def _unclear_permissions(self) -> frozenset[str]:
        return permitted.with_unclear_codes(self.subjects.values())

    def _fits(
        self,
        attributes: Mapping[str, Any],
        columns: Mapping[str, str],
        age: tuple[float | None, float | None] | None,
        use: str,
    ) -> bool:
        if use and not permitted.permits(attributes, use, self._unclear_permissions):
            return False
        if any(not fnmatch.fnmatchcase(str(attributes.get(n, "")), p) for n, p in columns.items()):
            return False
        if age is None:
            return True
        years = years_of(attributes)
        low, high = (-np.inf if age[0] is None else age[0]), (np.inf if age[1] is None else age[1])
        return bool(low <= years <= high)

    @cached_property
    def _landmark_sources(self) -> NDArray[np.uint8]:
        """(rows,) bits of the sources of a frame's landmarks."""
        if "landmark_sources" in (self.index.dtype.names or ()):
            return np.asarray(self.index["landmark_sources"], np.uint8)
        bits = np.zeros(len(self.index), np.uint8)
        for info in self.sequences():
            bits[info.start : info.stop] = layout.source_bits(self.values(info.item, "landmark_source"))
        return bits

    # -- one frame

    def __len__(self) -> int:
        return len(self.index)

    @overload
    def __getitem__(self, which: int | np.integer[Any]) -> Frame: ...

    @overload
    def __getitem__(self, which: tuple[str, str]) -> SequenceInfo: ...

    def __getitem__(self, which: int | np.integer[Any] | tuple[str, str]) -> Frame | SequenceInfo:
        """A frame by its row; a sequence by its subject's and its own name."""
        return self.sequence(*which) if isinstance(which, tuple) else self.frame(int(which))

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(row) for row in range(len(self)))

    def frame(self, row: int, images: bool = True) -> Frame:
        """One frame, by its row in the index.

        Args:
            images: False leaves texture and coverage out, which takes most of the time.

        Raises:
            IndexError: there is no such row.
        """
        entry, item, at = self._place(row)
        table = self._quality(item)
        if at >= table.shape[0]:
            raise self._wrong(table, f"more than {at} rows")
        quality = layout.decoded(np.asarray(self._read(table, slice(at, at + 1))))[0]
        names = [n for n in quality.dtype.names or () if quality.dtype[n].kind == "f"]
        return Frame(
            subject=item.subject,
            sequence=item.sequence,
            number=int(entry["frame"]),
            expression=str(entry["expression"]),
            status=str(quality["status"]),
            reason=str(quality["reason"]),
            note=str(quality["note"]),
            message=guard.text(self._row(item, "message", at)),
            vertices=self.vertices(row),
            pose=self._row(item, "pose", at),
            landmarks=self._row(item, "landmarks", at),
            landmark_source=self._row(item, "landmark_source", at),
            landmark_confidence=self._row(item, "landmark_confidence", at),
            quality={n: float(quality[n]) for n in names},
            texture=self.texture(row) if images else None,
            coverage=self.coverage(row) if images else None,
            time_s=self._time(item, at),
        )

    def _row(self, item: Item, name: str, at: int) -> Any:
        stored = self._field(item, name)
        if at >= stored.shape[0]:
            raise self._wrong(stored, f"more than {at} rows")
        return self._read(stored, at)

    def _field(self, item: Item, name: str) -> Stored:
        """One of a sequence's fields, of the type and shape that the layout has for it."""
        stored = self._stored("subjects", item.subject, item.sequence, name)
        if name == "message":
            if stored.dtype.kind != "S" or len(stored.shape) != 1:
                raise self._wrong(stored, "(frames,) text")
            return stored
        spec = layout.ROW_FIELDS.get(name) or layout.OPTIONAL_ROW_FIELDS.get(name)
        if spec is None:
            raise UsageError(f"a sequence has no field '{name}'", where=self.path)
        tail = layout.dimensions(spec.shape, *self._size)
        if stored.dtype != np.dtype(spec.dtype) or stored.shape[1:] != tail:
            raise self._wrong(stored, f"{('frames', *tail)} {spec.dtype}")
        return stored

    def _quality(self, item: Item) -> Stored:
        stored = self._stored("subjects", item.subject, item.sequence, "quality", table=True)
        names = stored.dtype.names or ()
        texts = dict(layout.QUALITY_TEXT)
        if not set(texts) <= set(names) or any((stored.dtype[n].kind == "S") != (n in texts) for n in names):
            raise self._wrong(stored, "a table of status, reason, note and figures")
        return stored

    def _vertices(self, item: Item) -> tuple[Stored, Encoding]:
        stored = self._stored("subjects", item.subject, item.sequence, "vertices")
        try:
            how = encoding.of_attributes(stored.attributes, stored.place)
        except ReleaseError as error:
            raise self._refuse(error) from error
        if stored.dtype != np.dtype(how.dtype) or stored.shape[1:] != (self._size[0], 3):
            raise self._wrong(stored, f"('frames', {self._size[0]}, 3) {how.dtype}")
        return stored, how

    def _time(self, item: Item, at: int) -> float:
        """Seconds since the first frame; where the release is older than `time_s`: by frame number and rate."""
        if self._has("subjects", item.subject, item.sequence, "time_s"):
            return float(self._row(item, "time_s", at))
        first, own = int(self._row(item, "frame", 0)), int(self._row(item, "frame", at))
        return times_of((first, own), self._sequences[item].fps)[-1]

    def times(self, item: Item) -> NDArray[np.float64]:
        """(F,) seconds since a sequence's first frame; NaN where unknown."""
        if self._has("subjects", item.subject, item.sequence, "time_s"):
            return np.asarray(self.values(item, "time_s"), np.float64)
        rate = self.sequence(item.subject, item.sequence).fps
        return np.asarray(times_of(self.values(item, "frame").tolist(), rate), np.float64)

    def vertices(self, row: int) -> NDArray[np.float32]:
        """(V, 3) float32, mm, canonical frame; one read.  NaN when the frame is rejected."""
        entry, item, at = self._place(row)
        stored, how = self._vertices(item)
        if at >= stored.shape[0]:
            raise self._wrong(stored, f"more than {at} rows")
        if entry["status"] != OK and not stored.is_written(at):
            return np.full((self._size[0], 3), np.nan, np.float32)
        numbers = self._read(stored, at)
        return np.asarray(numbers) if how.is_float else how.decode(numbers, self._template_vertices)

    def vertices_of(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """(n, V, 3) float32, mm: `vertices` of several rows of a sequence.

        Raises:
            ReleaseError: they would take more memory than those of a release of this size.
        """
        shape = (len(rows), self._size[0], 3)
        if rows:
            self._make_room(
                4 * math.prod(shape), self._vertices(self._place(rows[0])[1])[0].place, _TIMES_FRAMES
            )
        frames = np.empty(shape, np.float32)
        for at, row in enumerate(rows):
            frames[at] = self.vertices(row)
        return frames

    def values(self, item: Item, name: str) -> NDArray[Any]:
        """A whole field of one sequence: `pose` (F, 4, 4), `landmarks` (F, L, 3), `quality` (F,) ..."""
        if name == "vertices":
            return self._all_vertices(item)
        stored = self._quality(item) if name == "quality" else self._field(item, name)
        if name == "quality":
            self._make_room(layout.decoded_bytes(stored.dtype) * stored.shape[0], stored.place)
            return layout.decoded(np.asarray(self._read(stored)))
        self._make_room(stored.nbytes, stored.place)
        return np.asarray(self._read(stored))

    def _all_vertices(self, item: Item) -> NDArray[np.float32]:
        stored = self._vertices(item)[0]
        info = self.sequence(item.subject, item.sequence)
        start, rows = info.start, info.stop - info.start
        if stored.shape[0] != rows:  # of rows that were never written a file holds nothing
            raise self._wrong(stored, f"{rows} rows, as the index has")
        self._make_room(4 * math.prod(stored.shape), stored.place, _TIMES_FRAMES)
        try:
            frames = np.empty(stored.shape, np.float32)
        except MemoryError as error:
            raise self._wrong(stored, "a sequence that fits into memory") from error
        for at in range(stored.shape[0]):
            frames[at] = self.vertices(start + at)
        return frames

    def field(self, row: int, name: str) -> Any:
        """One of a sequence's fields of one frame: `pose` (4, 4), `landmarks` (L, 3), `landmark_visible` (7, L) ...

        Where the release has none of that field (what the project stage makes), the layout's fill value.
        """
        _, item, at = self._place(row)
        if name == "vertices":
            return self.vertices(row)
        if name == "time_s":
            return self._time(item, at)
        spec = layout.OPTIONAL_ROW_FIELDS.get(name)
        if spec is not None and not self._has("subjects", item.subject, item.sequence, name):
            return np.full(layout.dimensions(spec.shape, *self._size), spec.fill, spec.dtype)
        return self._row(item, name, at)

    def figures(self) -> tuple[str, ...]:
        """Names of the figures of `quality`; they are the same in every sequence."""
        if not len(self):
            return layout.QUALITY_FIXED
        kind = self._quality(self._place(0)[1]).dtype
        return tuple(name for name in kind.names or () if kind[name].kind == "f")

    def figure(self, row: int, name: str) -> float:
        """One figure of `quality` of one frame."""
        _, item, at = self._place(row)
        table = self._quality(item)
        if at >= table.shape[0] or name not in (table.dtype.names or ()):
            raise self._wrong(table, f"'{name}' of more than {at} rows")
        return float(self._read(table, at)[name])

    def units(self, item: Item) -> dict[str, str]:
        """Units of the figures in a sequence's `quality`."""
        try:
            return dict(json.loads(self._quality(item).attributes["unit"]))
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            raise ReleaseError(f"the units of '{item}' cannot be read", where=self.path) from error

    def image_bytes(self, row: int, name: str = "texture") -> tuple[bytes, str]:
        """The encoded `texture` or `coverage` of a frame (empty: none) and its format (`png`, `jpeg`,
        `webp`)."""
        _, item, at = self._place(row)
        where = ("subjects", item.subject, item.sequence, name)
        offsets, data = self._stored(*where, "offset"), self._stored(*where, "bytes")
        for stored, kind in ((offsets, "<u8"), (data, "|u1")):
            if stored.dtype != np.dtype(kind) or len(stored.shape) != 1:
                raise self._wrong(stored, f"(n,) {kind}")
        if at + 1 >= offsets.shape[0]:
            raise self._wrong(offsets, f"more than {at + 1} rows")
        start, stop = (int(x) for x in self._read(offsets, slice(at, at + 2)))
        # an absurd offset must not become an absurd allocation; an image is packed, and no gzip makes more of it
        if not 0 <= start <= stop <= min(data.shape[0], start + min(MAX_IMAGE_BYTES, data.held_bytes)):
            raise ReleaseError(f"the offsets of '{'/'.join(where)}' are damaged", where=self.path)
        found = self._read(data, slice(start, stop)).tobytes() if stop > start else b""
        return found, str(self._attributes(*where).get("format", ""))

    def texture(self, row: int) -> NDArray[np.uint8] | None:
        """(h, w, 3) uint8 RGB in the template's UV layout, row 0 at v = 1; None without one."""
        data, _ = self.image_bytes(row, "texture")
        from mimicme.pipeline.formats.image import decode  # Pillow takes a while to load

        where = f"{self.path.name} row {row}"
        return decode(data, layout.MAX_PIXELS, where, layout.IMAGE_FORMATS) if data else None

    def coverage(self, row: int) -> NDArray[np.uint8] | None:
        """(h, w) uint8: 0 where the texture has no data from this frame's scan; None without a texture."""
        data, _ = self.image_bytes(row, "coverage")
        from mimicme.pipeline.formats.image import decode_gray

        where = f"{self.path.name} row {row}"
        return decode_gray(data, layout.MAX_PIXELS, where, layout.IMAGE_FORMATS) if data else None

    def maps(self, row: int) -> dict[str, Coding]:
        """The maps of the surface that a frame's sequence has, and what their numbers mean."""
        item = self._place(row)[1]
        where = ("subjects", item.subject, item.sequence)
        there = [name for name in MAPS if self._has(*where, name)]
        try:
            return {name: read_coding(self._attributes(*where, name)) for name in there}
        except (KeyError, ValueError, TypeError) as error:
            raise ReleaseError(f"the maps of '{item}' do not say what they mean", where=self.path) from error

    def surface_map(self, row: int, name: str) -> NDArray[np.float32] | None:
        """One of `MAPS`, in its unit: (h, w, 3) or, for `displacement`, (h, w); None without one.

        What was seen is what `coverage` says; row 0 is v = 1, directions and places are the canonical frame's.
        """
        codings = self.maps(row)
        data, _ = self.image_bytes(row, name) if name in codings else (b"", "")
        if not data:
            return None
        from mimicme.pipeline.formats.image import decode_deep

        return codings[name].values(decode_deep(data, layout.MAX_PIXELS, f"{self.path.name} row {row}"))

    # -- for training, and for other programs

    def as_arrays(
        self,
        rows: ArrayLike | None = None,
        fields: Sequence[str] = ("vertices",),
        transform: Transform | None = None,
    ) -> Frames:
        """Frames as a map-style data set: `[k]` is a dict of numpy arrays, every field of one shape.

            data = release.as_arrays(release.select(split="train", status="ok"), ("vertices", "expression"))
            data[0]["vertices"], data.names["expression"][data[0]["expression"]]

        Args:
            rows: of the index; default: all that are ok.
            fields: of this release's: `vertices`, `pose`, `landmarks` ...; `texture`, `coverage` and maps (with
                `<name>_there`, False where a frame has none and it is black); `subject`, `expression`, `split` ... as
                numbers into `names`; `age`; the figures of `quality` by their names.  `row` is always there.
            transform: makes of a sample what the data set gives.

        Raises:
            UsageError: there is no such field, or it is text.
        """
        return Frames(self, rows, fields, transform)

    def as_torch(
        self,
        rows: ArrayLike | None = None,
        fields: Sequence[str] = ("vertices",),
        transform: Transform | None = None,
        *,
        stream: bool = False,
        shuffle: bool = True,
        buffer: int = 64,
        seed: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> Any:
        """Frames as a data set of `torch.utils.data` whose samples are dicts of tensors, which its default collate
        stacks; arguments as of `as_arrays`.

            data = release.as_torch(release.select(split="train", status="ok"), ("vertices", "expression"))
            for batch in torch.utils.data.DataLoader(data, batch_size=32, shuffle=True, num_workers=2): ...

        Args:
            stream: False: map-style, for a DataLoader that shuffles; True: an `IterableDataset` that goes through the
                file sequence by sequence and shares itself out over workers.
            shuffle, buffer, seed, part: of a stream: whether it draws at random, among how many samples, from which
                seed, and which of how many ranks it is; `set_epoch` for another order.

        Raises:
            MissingDependencyError: PyTorch is not installed.
        """
        torch_module("as_torch")
        if not stream:
            return TorchFrames(self, rows, fields, transform)
        return stream_torch(
            self, rows, fields, transform, shuffle=shuffle, buffer=buffer, seed=seed, part=part
        )

    def as_menpo(self, row: int) -> Any:
        """A frame as menpo's TexturedTriMesh with landmark groups; see `programs.as_menpo`."""
        return programs.as_menpo(self, row)

    def as_trimesh(self, row: int) -> Any:
        """A frame as trimesh's Trimesh; see `programs.as_trimesh`."""
        return programs.as_trimesh(self, row)

    def to_dataframe(self, quality: bool = False) -> Any:
        """The index with the subjects' columns as a pandas DataFrame; see `programs.to_dataframe`."""
        return programs.to_dataframe(self, quality)

    def _place(self, row: int) -> tuple[Any, Item, int]:
        """A row's entry in the index, its sequence and its row there."""
        if not -len(self.index) <= row < len(self.index):
            raise IndexError(f"row {row} of {len(self.index)}")
        entry = self.index[row]
        return entry, Item(str(entry["subject"]), str(entry["sequence"])), int(entry["row"])


def years_of(attributes: Mapping[str, Any]) -> float:
    """A subject's age in years; NaN where it is not known."""
    try:
        return float(attributes.get("age", np.nan))
    except (TypeError, ValueError):
        return float("nan")
