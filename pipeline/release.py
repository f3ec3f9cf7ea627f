"""The release: one HDF5 file that holds a whole registered database.  Every name in it is defined here.

    /                        attrs: schema_version, mimicme_version, created, licence, units, config, ...
    /template/vertices       (V,3) f4        /template/faces     (T,3) u4
    /template/uv             (N,2) f4        /template/uv_faces  (T,3) u4
    /template/landmark_names (L,) text       /template/landmark_vertices (L,3) u4, landmark_weights (L,3) f4
    /template/masks/<name>   (V,) f4         only what the template ships
    /subjects/<id>           attrs: age, gender, ethnicity, consent, split and the table's other columns
      /<sequence>            attrs: expression, sequence (as named on disk), fps, file_from_scan (4,4)
        frame                (F,) i8         vertices (F,V,3) f4 mm      pose (F,4,4) f8
        landmarks            (F,L,3) f4 mm   landmark_source (F,L) u1    landmark_confidence (F,L) f4
        texture/bytes, texture/offset        coverage/bytes, coverage/offset: one encoded image a frame
        normal/..., position/..., displacement/...: likewise, what bake.maps asked for, as 16-bit PNG;
                             attrs: unit, value_scale, value_offset: value = value_offset + value_scale * number
        quality              (F,) compound   message (F,) text: what a rejection or a note means
    /index                   (rows,) compound: subject, sequence, row, frame, expression, status

Frame first: a random frame is one read of one chunk.  Every dataset that holds anything is compressed (gzip)
and checksummed (Fletcher-32), so that a flipped byte is an error of that chunk alone.  The bytes depend on
the content alone.  `Release` reads a file and hides all of this; `ReleaseWriter` writes one,
frame by frame.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimicme.pipeline import surface_maps
from mimicme.pipeline.checkpoint import MESSAGE_BYTES, NOTE_BYTES, chunk_shape, commit
from mimicme.pipeline.errors import ReleaseError, UsageError
from mimicme.pipeline.landmarks import STANDARD_VIEWS
from mimicme.pipeline.stage import Item
from mimicme.pipeline.surface_maps import Coding
from mimicme.pipeline.template import Template

SCHEMA_VERSION = "1.2"  # 1.1: maps of the surface; 1.2: landmark_visible
LIBVER = "v110"  # fixed: another file format version would be other bytes
ROOT_ATTRIBUTES = (
    "schema_version",
    "mimicme_version",
    "created",
    "licence",
    "units",
    "config",
    "fingerprint",
)
SUBJECT_ATTRIBUTES = ("age", "gender", "ethnicity", "consent", "split")
SEQUENCE_ATTRIBUTES = ("expression", "sequence", "fps", "file_from_scan")
UNKNOWN = "unknown"

LANDMARK_SOURCES = ("none", "manual", "detected", "projected")
IMAGES = ("texture", "coverage")
MAPS = surface_maps.MAPS
"""What a sequence has besides, when its bake made it."""
OK, REJECTED = "ok", "rejected"

MAX_PIXELS = 8192 * 8192  # the largest texture a bake can make
_BLOB_CHUNK = 1 << 18  # encoded images: small enough that one image reads little besides itself


@dataclass(frozen=True)
class Field:
    """Dtype, shape per row (`V` vertices, `L` landmarks of the template) and unit of a dataset."""

    dtype: str
    shape: tuple[int | str, ...]
    unit: str
    fill: float | int = 0


ROW_FIELDS: Mapping[str, Field] = {
    "frame": Field("<i8", (), "1"),
    "vertices": Field("<f4", ("V", 3), "mm", np.nan),
    "pose": Field("<f8", (4, 4), "mm", np.nan),
    "landmarks": Field("<f4", ("L", 3), "mm", np.nan),
    "landmark_source": Field("|u1", ("L",), "1"),
    "landmark_confidence": Field("<f4", ("L",), "1"),
}
"""What every sequence has, one row per frame."""

OPTIONAL_ROW_FIELDS: Mapping[str, Field] = {
    "landmark_distance": Field("<f4", ("L",), "mm", np.nan),
    "landmark_uv": Field("<f4", ("L", 2), "1", np.nan),
    "landmark_visible": Field("|u1", (len(STANDARD_VIEWS), "L"), "1"),
}
"""What a sequence has when the project stage made it."""

TEMPLATE_FIELDS: Mapping[str, Field] = {
    "vertices": Field("<f4", (3,), "mm"),
    "faces": Field("<u4", (3,), "1"),
    "uv": Field("<f4", (2,), "1"),
    "uv_faces": Field("<u4", (3,), "1"),
    "landmark_vertices": Field("<u4", (3,), "1"),
    "landmark_weights": Field("<f4", (3,), "1"),
}

MASK_FIELD = Field("<f4", (), "1")
"""One of the template's regions, a number per vertex."""

QUALITY_TEXT = (("status", "S8"), ("reason", "S64"), ("note", f"S{NOTE_BYTES}"))
QUALITY_FIXED = ("s2m_median", "s2m_p95", "landmark_error")
INDEX_NAMES = ("subject", "sequence", "row", "frame", "expression", "status")


def quality_dtype(names: Sequence[str]) -> np.dtype[Any]:
    """The compound type of `quality`: status, reason, note, the three fixed figures, then the others by
    name."""
    others = sorted(set(names) - set(QUALITY_FIXED))
    return np.dtype([*QUALITY_TEXT, *((name, "<f4") for name in (*QUALITY_FIXED, *others))])


def dimensions(shape: tuple[int | str, ...], n_vertices: int, n_landmarks: int) -> tuple[int, ...]:
    """A field's shape per row in numbers."""
    letters = {"V": n_vertices, "L": n_landmarks}
    return tuple(letters[s] if isinstance(s, str) else s for s in shape)


@dataclass(frozen=True)
class IndexEntry:
    """One sequence's part of the index: numbers (F,) i8 and statuses (F,) `ok` or `rejected`."""

    item: Item
    expression: str
    numbers: NDArray[np.int64]
    statuses: Sequence[str]


def index_table(entries: Sequence[IndexEntry]) -> NDArray[Any]:
    """The index: sequences in order of subject and name, their rows in order.  Text as wide as its
    content."""
    entries = sorted(entries, key=lambda e: e.item)

    def text(values: Sequence[str]) -> np.dtype[Any]:
        width = max((len(v.encode()) for v in values), default=1)
        return np.dtype(h5py.string_dtype("utf-8", max(1, width)))

    kind = np.dtype(
        [
            ("subject", text([e.item.subject for e in entries])),
            ("sequence", text([e.item.sequence for e in entries])),
            ("row", "<u4"),
            ("frame", "<i8"),
            ("expression", text([e.expression for e in entries])),
            ("status", "S8"),
        ]
    )
    table = np.zeros(sum(len(e.numbers) for e in entries), kind)
    start = 0
    for e in entries:
        part = table[start : start + len(e.numbers)]
        part["subject"], part["sequence"] = e.item.subject.encode(), e.item.sequence.encode()
        part["row"], part["frame"] = np.arange(len(part)), e.numbers
        part["expression"] = e.expression.encode()
        part["status"] = [s.encode() for s in e.statuses]
        start += len(part)
    return table


def decoded(table: NDArray[Any]) -> NDArray[Any]:
    """A compound table with its bytes as text, so that `table["subject"] == "S001"` works."""
    names = table.dtype.names or ()
    columns = {
        name: np.char.decode(table[name], "utf-8", "replace")
        if table.dtype[name].kind == "S"
        else table[name]
        for name in names
    }
    result = np.empty(table.shape, [(name, columns[name].dtype) for name in names])
    for name in names:
        result[name] = columns[name]
    return result


def create_dataset(
    group: h5py.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: Any,
    unit: str,
    *,
    level: int = 4,
    chunk_rows: int | None = None,
    fill: float | int | None = None,
) -> h5py.Dataset:
    """An unwritten dataset of the release, filtered and with its unit; `chunk_rows=1` for one frame a chunk."""
    options: dict[str, Any] = {}
    if 0 not in shape:  # HDF5 cannot filter what is empty
        options = {"compression": "gzip", "compression_opts": level, "shuffle": True, "fletcher32": True}
        options["chunks"] = chunk_shape(shape, np.dtype(dtype).itemsize, chunk_rows)
    if fill is not None:
        options["fillvalue"] = fill
    dataset = group.create_dataset(name, shape, dtype, track_times=False, **options)
    dataset.attrs["unit"] = unit
    return dataset


class ReleaseWriter:
    """Writes a release to a temporary name beside `path`, and renames it into place when it is whole.

    A context manager; on an exception whatever stood at `path` stays.  Call `template` first, then
    `subject` and `sequence` in order.  Never holds more than one frame.

    Args:
        created: ISO 8601 UTC time; from the content, never the clock, so that equal content gives equal
        bytes.
        config: JSON text of the settings, without jobs and paths.
        fingerprint: of everything the release was made from.
        level: gzip level, 1 to 9.
    """

    def __init__(
        self,
        path: Path,
        *,
        created: str,
        licence: str,
        config: str,
        fingerprint: str,
        level: int = 4,
    ) -> None:
        self.path = Path(path)
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        self._attributes = {
            "schema_version": SCHEMA_VERSION,
            "mimicme_version": version(),
            "created": created,
            "licence": licence,
            "units": "mm",
            "config": config,
            "fingerprint": fingerprint,
        }
        self.level = level
        self.n_vertices = self.n_landmarks = -1
        self._entries: list[IndexEntry] = []

    def __enter__(self) -> ReleaseWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._h5 = h5py.File(self._temporary, "w", libver=LIBVER)
        for name, value in self._attributes.items():
            self._h5.attrs[name] = value
        self._h5.create_group("subjects")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                write_index(self._h5, index_table(self._entries), self.level)
            self._h5.close()
            if kind is None:
                commit(self._temporary, self.path)
        finally:
            self._h5.close()
            self._temporary.unlink(missing_ok=True)

    def template(self, template: Template) -> None:
        """Store the template that every frame shares."""
        self.n_vertices, self.n_landmarks = len(template.vertices), len(template.landmark_names)
        write_template(self._h5, template, self.level)

    def subject(self, subject: str, attributes: Mapping[str, str | int | float]) -> None:
        """Declare a subject; columns that are not given are `unknown`."""
        group = self._h5["subjects"].create_group(subject)
        for name in (*SUBJECT_ATTRIBUTES, *(n for n in attributes if n not in SUBJECT_ATTRIBUTES)):
            group.attrs[name] = attributes.get(name, UNKNOWN)

    def sequence(
        self,
        item: Item,
        *,
        name: str,
        expression: str,
        fps: float,
        file_from_scan: ArrayLike,
        numbers: ArrayLike,
        statuses: Sequence[str],
        attributes: Mapping[str, Any] | None = None,
    ) -> SequenceWriter:
        """Declare a sequence and its rows.

        Args:
            name: as on disk.  fps: NaN when unknown.  numbers: (F,) the source's frame numbers.
            file_from_scan: (4, 4) scan (mm, y up) -> the capture file's units and axes.
            statuses: (F,) `ok` or `rejected`.
        """
        if self.n_vertices < 0:
            raise UsageError("the template comes before the first sequence")
        group = self._h5["subjects"][item.subject].create_group(item.sequence)
        group.attrs["expression"] = expression
        group.attrs["sequence"] = name
        group.attrs["fps"] = float(fps)
        group.attrs["file_from_scan"] = np.asarray(file_from_scan, np.float64)
        for key, value in (attributes or {}).items():
            group.attrs[key] = value
        rows = np.asarray(numbers, np.int64)
        self._entries.append(IndexEntry(item, expression, rows, list(statuses)))
        out = SequenceWriter(group, self, len(rows))
        out.array("frame", rows)
        return out


class SequenceWriter:
    """Writes one sequence of a release; made by `ReleaseWriter.sequence`."""

    def __init__(self, group: h5py.Group, release: ReleaseWriter, n_frames: int) -> None:
        self._group = group
        self._release = release
        self._n = n_frames
        self._offsets: dict[str, NDArray[np.uint64]] = {}

    def array(self, name: str, data: ArrayLike) -> None:
        """Store one of the small fields whole: (F, ...)."""
        self.rows(name)[...] = data

    def rows(self, name: str) -> h5py.Dataset:
        """Create one of the fields, to be filled row by row; a row that is never written holds the fill
        value."""
        spec = ROW_FIELDS.get(name) or OPTIONAL_ROW_FIELDS[name]
        shape = dimensions(spec.shape, self._release.n_vertices, self._release.n_landmarks)
        return create_dataset(
            self._group,
            name,
            (self._n, *shape),
            spec.dtype,
            spec.unit,
            level=self._release.level,
            chunk_rows=1 if shape else None,
            fill=spec.fill,
        )

    def images(
        self, name: str, sizes: Sequence[int], image_format: str, coding: Coding | None = None
    ) -> None:
        """Declare one encoded image a row: `sizes` (F,) bytes, 0 for a row without; then `put_image` each.

        Args:
            coding: for one of `MAPS`: what its numbers mean.
        """
        group = self._group.create_group(name)
        group.attrs["format"] = image_format
        if coding is not None:
            write_coding(group.attrs, coding)
        offset = np.concatenate([[0], np.cumsum(np.asarray(sizes, np.uint64))]).astype("<u8")
        self._offsets[name] = offset
        level = self._release.level
        # the images are compressed already: level 1 would save 0.04 % and cost most of the packing time
        create_dataset(group, "bytes", (int(offset[-1]),), "|u1", "byte", level=0, chunk_rows=_BLOB_CHUNK)
        create_dataset(group, "offset", offset.shape, "<u8", "byte", level=level)[...] = offset

    def put_image(self, name: str, row: int, data: NDArray[np.uint8]) -> None:
        """Store the encoded image of a row; its size is the one declared."""
        start, stop = (int(x) for x in self._offsets[name][row : row + 2])
        if stop - start != data.size:
            raise ReleaseError(
                f"the {name} of row {row} is not as long as declared", seen=data.size, expected=stop - start
            )
        if data.size:
            self._group[f"{name}/bytes"][start:stop] = data.ravel()

    def quality(self, table: NDArray[Any], units: Mapping[str, str], messages: Sequence[str]) -> None:
        """Store status and figures (F,) of `quality_dtype`, their units, and a sentence per row."""
        level = self._release.level
        figures = [n for n in table.dtype.names or () if table.dtype[n].kind == "f"]
        unit = json.dumps({n: units.get(n, "1") for n in figures})
        create_dataset(self._group, "quality", table.shape, table.dtype, unit, level=level)[...] = table
        kind = h5py.string_dtype("utf-8", MESSAGE_BYTES)
        text = [m.encode()[:MESSAGE_BYTES].decode(errors="ignore").encode() for m in messages]
        create_dataset(self._group, "message", (self._n,), kind, "", level=level)[...] = np.array(text, kind)


def write_coding(attributes: h5py.AttributeManager, coding: Coding, prefix: str = "") -> None:
    """Store what a map's numbers mean; a bake's artefact has them at its root, after the map's name and `_`."""
    attributes[f"{prefix}unit"] = coding.unit
    attributes[f"{prefix}value_scale"] = float(coding.scale)
    attributes[f"{prefix}value_offset"] = np.asarray(coding.offset, np.float64)


def read_coding(attributes: Mapping[str, Any], prefix: str = "") -> Coding:
    """What `write_coding` stored.

    Raises:
        KeyError, ValueError, TypeError: it is not there, or no numbers.
    """
    offset = np.asarray(attributes[f"{prefix}value_offset"], np.float64).ravel()
    return Coding(
        str(attributes[f"{prefix}unit"]), float(attributes[f"{prefix}value_scale"]), tuple(offset.tolist())
    )


def write_template(root: h5py.Group, template: Template, level: int = 4) -> None:
    """Store a template as the group `template`."""
    group = root.create_group("template")
    group.attrs["name"] = template.name
    group.attrs["digest"] = template.digest

    def put(where: h5py.Group, name: str, data: NDArray[Any], unit: str) -> None:
        create_dataset(where, name, data.shape, data.dtype, unit, level=level)[...] = data

    for name, spec in TEMPLATE_FIELDS.items():
        put(group, name, np.asarray(getattr(template, name)).astype(spec.dtype), spec.unit)
    put(group, "landmark_names", texts(template.landmark_names), "")
    for name in sorted(template.masks):
        mask = np.asarray(template.masks[name]).astype(MASK_FIELD.dtype)
        put(group.require_group("masks"), name, mask, MASK_FIELD.unit)


def read_template(group: Any) -> Template:
    """The template of a group that `write_template` filled."""
    data = {name: np.asarray(group[name][...]) for name in TEMPLATE_FIELDS}
    return _template(
        data,
        tuple(bytes(n).decode() for n in group["landmark_names"][...]),
        {n: group["masks"][n][...] for n in group.get("masks", ())},
        group.attrs,
    )


def _template(
    data: Mapping[str, NDArray[Any]],
    names: tuple[str, ...],
    masks: Mapping[str, NDArray[Any]],
    attributes: Any,
) -> Template:
    return Template(
        vertices=data["vertices"].astype(np.float64),
        faces=data["faces"].astype(np.int32),
        uv=data["uv"].astype(np.float64),
        uv_faces=data["uv_faces"].astype(np.int32),
        landmark_names=names,
        landmark_vertices=data["landmark_vertices"].astype(np.int64),
        landmark_weights=data["landmark_weights"].astype(np.float64),
        masks={name: mask.astype(np.float64) for name, mask in masks.items()},
        name=str(attributes.get("name", "")),
        digest=str(attributes.get("digest", "")),
    )


def write_index(root: h5py.Group, table: NDArray[Any], level: int) -> None:
    """Store `index_table(...)`."""
    create_dataset(root, "index", table.shape, table.dtype, "", level=level)[...] = table


def texts(values: Sequence[str]) -> NDArray[Any]:
    """Texts as fixed-length UTF-8, which HDF5 can compress."""
    encoded = [v.encode() for v in values]
    kind = h5py.string_dtype("utf-8", max([1, *map(len, encoded)]))
    return np.array(encoded, kind)


def version() -> str:
    """Of the installed package."""
    try:
        return metadata.version("mimicme")
    except metadata.PackageNotFoundError:
        return UNKNOWN


# ---------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class SequenceInfo:
    """One sequence of a release.

    Attributes:
        item: subject and sequence, the names of the groups; name: the sequence as named on disk.
        expression: canonical label.  fps: NaN when unknown.
        file_from_scan: (4, 4) float64, ingested scan (mm, y up) -> the capture file's units and axes.
        start, stop: its rows in `Release.index`.
        attributes: everything else that is known about it (unit and axes decisions, provenance).
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

    @property
    def ok(self) -> bool:
        return self.status == OK


class Release:
    """Reads a release; its rows are those of `index`.

    It opens the file when first used and once per process, so it can be made in one process and handed to
    others (a PyTorch DataLoader's workers: `Release` is a map-style dataset itself).  Also a context manager.

        with Release("release.h5") as release:
            for row in release.select(expression="happiness", status="ok"):
                vertices = release.vertices(row)

    Raises:
        ReleaseError: when used, if the file is not a release, is damaged at the place that is read, or
        reaches
            outside itself (external and soft links, external storage and virtual datasets are refused).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self._handle: h5py.File | None = None
        self._process = -1

    # -- the file

    def __enter__(self) -> Release:
        self._file()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # an open file cannot travel to another process, and the index is cheaper read than sent
        return {"path": self.path, "_handle": None, "_process": -1}

    def __repr__(self) -> str:
        return f"Release('{self.path}')"

    def close(self) -> None:
        if self._handle is not None and self._process == os.getpid():
            self._handle.close()
        self._handle = None

    def _file(self) -> h5py.File:
        if self._handle is None or self._process != os.getpid():
            try:
                handle = h5py.File(self.path, "r")
            except OSError as error:
                raise ReleaseError(
                    "this is not a readable HDF5 file", where=self.path, seen=str(error).splitlines()[0]
                ) from error
            version = handle.attrs.get("schema_version")
            if not isinstance(version, str) or version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
                handle.close()
                raise ReleaseError(
                    "this HDF5 file is not a release that this version reads",
                    where=self.path,
                    seen=f"schema_version {version!r}",
                    expected=SCHEMA_VERSION,
                )
            self._handle, self._process = handle, os.getpid()
        return self._handle

    def _node(self, path: str) -> Any:
        """A group or dataset, reached over hard links only.

        Only the links that are walked are looked at: all of a large release's would take a minute per
        process; `mimicme verify` looks at every one.
        """
        node: Any = self._file()
        for name in path.split("/"):
            try:
                link = node.get(name, getlink=True)
            except (KeyError, RuntimeError, AttributeError):
                link = None
            if link is None:
                raise ReleaseError(f"'{path}' is missing", where=self.path, todo="Run `mimicme verify`.")
            if not isinstance(link, h5py.HardLink):
                raise ReleaseError(f"'{path}' is a link that leaves its place", where=self.path)
            node = node[name]
        if isinstance(node, h5py.Dataset) and (node.external or node.is_virtual):
            raise ReleaseError(f"'{path}' keeps its data in another file", where=self.path)
        return node

    def _read(self, path: str, key: Any = ()) -> Any:
        try:
            return self._node(path)[key]
        except (OSError, IndexError, ValueError) as error:
            raise ReleaseError(
                f"'{path}' cannot be read",
                where=self.path,
                seen=str(error).splitlines()[0],
                todo="The file is damaged there; other frames can still be read. Copy it again.",
            ) from error

    # -- the whole

    @property
    def fingerprint(self) -> str:
        """Of everything the release was made from."""
        return str(self._file().attrs.get("fingerprint", ""))

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The root attributes: schema_version, created, licence, config ..."""
        return dict(self._file().attrs)

    @cached_property
    def index(self) -> NDArray[Any]:
        """(rows,) structured: subject, sequence, row (in its sequence), frame, expression, status."""
        return decoded(np.asarray(self._read("index")))

    @cached_property
    def template(self) -> Template:
        """The template all frames share."""
        group = self._node("template")
        data = {name: np.asarray(self._read(f"template/{name}")) for name in TEMPLATE_FIELDS}
        names = tuple(bytes(n).decode() for n in self._read("template/landmark_names"))
        masks = {}
        if "masks" in group:
            masks = {n: self._read(f"template/masks/{n}") for n in self._node("template/masks")}
        return _template(data, names, masks, group.attrs)

    @cached_property
    def subjects(self) -> dict[str, dict[str, Any]]:
        """Attributes (age, gender, ethnicity, consent, split, further columns) by subject."""
        return {s: _plain(self._node(f"subjects/{s}").attrs) for s in self._node("subjects")}

    @cached_property
    def _bounds(self) -> dict[Item, tuple[int, int]]:
        table = self.index
        if not len(table):
            return {}
        pairs = table[["subject", "sequence"]]
        starts = np.concatenate([[0], np.flatnonzero(pairs[1:] != pairs[:-1]) + 1, [len(table)]])
        return {
            Item(str(table["subject"][a]), str(table["sequence"][a])): (int(a), int(b))
            for a, b in zip(starts[:-1], starts[1:], strict=True)
        }

    def sequences(self, subject: str = "*", sequence: str = "*") -> list[SequenceInfo]:
        """Sequences whose names match the globs, in the order of the index."""
        return [
            self.sequence(item.subject, item.sequence)
            for item in self._bounds
            if fnmatch.fnmatchcase(item.subject, subject) and fnmatch.fnmatchcase(item.sequence, sequence)
        ]

    def sequence(self, subject: str, sequence: str) -> SequenceInfo:
        """What is known about one sequence."""
        item = Item(subject, sequence)
        if item not in self._bounds:
            raise UsageError(f"the release has no sequence '{item}'", where=self.path)
        attributes = _plain(self._node(f"subjects/{item}").attrs)
        fixed = {name: attributes.pop(name, None) for name in SEQUENCE_ATTRIBUTES}
        pose = fixed["file_from_scan"]
        return SequenceInfo(
            item,
            str(fixed["sequence"]),
            str(fixed["expression"]),
            float("nan") if fixed["fps"] is None else float(fixed["fps"]),
            np.eye(4) if pose is None else np.asarray(pose, np.float64),
            *self._bounds[item],
            attributes=attributes,
        )

    def select(
        self,
        *,
        subject: str = "*",
        sequence: str = "*",
        expression: str = "*",
        status: str = "*",
        frames: Sequence[int] | None = None,
    ) -> NDArray[np.int64]:
        """Rows of the index that match all globs (and the source's frame numbers), in order.

        `release.select(expression="happiness", status="ok")`
        """
        keep = np.ones(len(self.index), bool)
        wanted = {"subject": subject, "sequence": sequence, "expression": expression, "status": status}
        for name, pattern in wanted.items():
            if pattern != "*":
                values, inverse = np.unique(self.index[name], return_inverse=True)
                keep &= np.array([fnmatch.fnmatchcase(str(v), pattern) for v in values], bool)[inverse]
        if frames is not None:
            keep &= np.isin(self.index["frame"], np.asarray(frames, np.int64))
        return np.flatnonzero(keep).astype(np.int64)

    # -- one frame

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> Frame:
        return self.frame(row)

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(row) for row in range(len(self)))

    def frame(self, row: int, images: bool = True) -> Frame:
        """One frame, by its row in the index.

        Args:
            images: False leaves texture and coverage out, which takes most of the time.

        Raises:
            IndexError: there is no such row.
        """
        entry, path, at = self._place(row)
        quality = decoded(np.asarray(self._read(f"{path}/quality", slice(at, at + 1))))[0]
        names = [n for n in quality.dtype.names or () if quality.dtype[n].kind == "f"]
        return Frame(
            subject=str(entry["subject"]),
            sequence=str(entry["sequence"]),
            number=int(entry["frame"]),
            expression=str(entry["expression"]),
            status=str(quality["status"]),
            reason=str(quality["reason"]),
            note=str(quality["note"]),
            message=bytes(self._read(f"{path}/message", at)).decode(errors="replace"),
            vertices=self._read(f"{path}/vertices", at),
            pose=self._read(f"{path}/pose", at),
            landmarks=self._read(f"{path}/landmarks", at),
            landmark_source=self._read(f"{path}/landmark_source", at),
            landmark_confidence=self._read(f"{path}/landmark_confidence", at),
            quality={n: float(quality[n]) for n in names},
            texture=self.texture(row) if images else None,
            coverage=self.coverage(row) if images else None,
        )

    def vertices(self, row: int) -> NDArray[np.float32]:
        """(V, 3) float32, mm, canonical frame; one read.  NaN when the frame is rejected."""
        _, path, at = self._place(row)
        return np.asarray(self._read(f"{path}/vertices", at))

    def values(self, item: Item, name: str) -> NDArray[Any]:
        """A whole field of one sequence: `pose` (F, 4, 4), `landmarks` (F, L, 3), `quality` (F,) ..."""
        data = np.asarray(self._read(f"subjects/{item}/{name}"))
        return decoded(data) if data.dtype.names else data

    def units(self, item: Item) -> dict[str, str]:
        """Units of the figures in a sequence's `quality`."""
        return dict(json.loads(self._node(f"subjects/{item}/quality").attrs["unit"]))

    def image_bytes(self, row: int, name: str = "texture") -> tuple[bytes, str]:
        """The encoded `texture` or `coverage` of a frame (empty: none) and its format (`png`, `jpeg`,
        `webp`)."""
        _, path, at = self._place(row)
        offset = self._read(f"{path}/{name}/offset", slice(at, at + 2))
        start, stop = int(offset[0]), int(offset[1])
        # an absurd offset must not become an absurd allocation
        if not 0 <= start <= stop <= self._node(f"{path}/{name}/bytes").size:
            raise ReleaseError(f"the offsets of '{path}/{name}' are damaged", where=self.path)
        data = self._read(f"{path}/{name}/bytes", slice(start, stop)).tobytes() if stop > start else b""
        return data, str(self._node(f"{path}/{name}").attrs.get("format", ""))

    def texture(self, row: int) -> NDArray[np.uint8] | None:
        """(h, w, 3) uint8 RGB in the template's UV layout, row 0 at v = 1; None without one."""
        data, _ = self.image_bytes(row, "texture")
        from mimicme.pipeline.image import decode  # Pillow takes a while to load

        return decode(data, MAX_PIXELS, f"{self.path.name} row {row}") if data else None

    def coverage(self, row: int) -> NDArray[np.uint8] | None:
        """(h, w) uint8: 0 where the texture has no data from this frame's scan; None without a texture."""
        data, _ = self.image_bytes(row, "coverage")
        from mimicme.pipeline.image import decode_gray

        return decode_gray(data, MAX_PIXELS, f"{self.path.name} row {row}") if data else None

    def maps(self, row: int) -> dict[str, Coding]:
        """The maps of the surface that a frame's sequence has, and what their numbers mean."""
        path = self._place(row)[1]
        there = self._node(path)
        return {name: read_coding(self._node(f"{path}/{name}").attrs) for name in MAPS if name in there}

    def surface_map(self, row: int, name: str) -> NDArray[np.float32] | None:
        """One of `MAPS`, in its unit: (h, w, 3) or, for `displacement`, (h, w); None without one.

        What was seen is what `coverage` says; row 0 is v = 1, directions and places are the canonical frame's.
        """
        codings = self.maps(row)
        data, _ = self.image_bytes(row, name) if name in codings else (b"", "")
        if not data:
            return None
        from mimicme.pipeline.image import decode_deep

        return codings[name].values(decode_deep(data, MAX_PIXELS, f"{self.path.name} row {row}"))

    def _place(self, row: int) -> tuple[Any, str, int]:
        if not -len(self.index) <= row < len(self.index):
            raise IndexError(f"row {row} of {len(self.index)}")
        entry = self.index[row]
        return entry, f"subjects/{entry['subject']}/{entry['sequence']}", int(entry["row"])


def _plain(attributes: h5py.AttributeManager) -> dict[str, Any]:
    """HDF5 attributes as plain Python values; arrays stay arrays."""
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in attributes.items()}
