"""The layout of a release: one HDF5 file that holds a whole registered database.  Every name in it is defined here.

    /                        attrs: schema_version, mimicme_version, created, licence, units, config, ...
    /template/vertices       (V,3) f4        /template/faces     (T,3) u4
    /template/uv             (N,2) f4        /template/uv_faces  (T,3) u4
    /template/landmark_names (L,) text       /template/landmark_vertices (L,3) u4, landmark_weights (L,3) f4
    /template/masks/<name>   (V,) f4         only what the template ships
    /template/polygons       (T,) u4         only where its file has quads: which of its faces each triangle is of
    /template/conversion/    corners (V,3) u4, weights (V,3) f4, displacement (V,3) f4 mm: only in a converted release
    /subjects/<id>           attrs: age, gender, ethnicity, consent, split and the table's other columns
      /<sequence>            attrs: expression, sequence (as named on disk), fps, file_from_scan (4,4), made_by_<stage>
        frame                (F,) i8         time_s (F,) f8: since the first frame, NaN: unknown
        vertices             (F,V,3) f4 mm   pose (F,4,4) f8
        skin_seen            (F,V) u1: 255 what the scan shows there is the person, 0 hair, a beard, a cap, clothes;
                             where all is 255 it is left out
        landmarks            (F,L,3) f4 mm   landmark_source (F,L) u1    landmark_confidence (F,L) f4
        landmark_distance (F,L) f4 mm        landmark_uv (F,L,2) f4      landmark_visible (F,views,L) u1
        texture/bytes, texture/offset        coverage/bytes, coverage/offset: one encoded image a frame
        normal/..., position/..., displacement/...: likewise, what bake.maps asked for, as 16-bit PNG;
                             attrs: unit, value_scale, value_offset: value = value_offset + value_scale * number
        quality              (F,) compound   message (F,) text: what a rejection or a note means
    /index                   (rows,) compound: subject, sequence, row, frame, expression, status, landmark_sources
                             (bit k: some landmark is of LANDMARK_SOURCES[k])
    /sequence_index          (S,) compound: what every sequence's attributes say, and its rows in /index

Frame first: a random frame is one read of one chunk.  Every dataset that holds anything is compressed (gzip)
and checksummed (Fletcher-32), so that a flipped byte is an error of that chunk alone; all else is in a digest (see
`digest`), and text has a fixed length, because HDF5 keeps no checksum of any other.  Vertices may be stored as whole
numbers (see `encoding`).  The bytes depend on the content alone.  `release.Release` reads a file and hides all of
this; `writer.ReleaseWriter` writes one, frame by frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.captures.metadata import COLUMNS, UNKNOWN
from mimicme.pipeline.checkpoint import NOTE_BYTES, chunk_shape
from mimicme.pipeline.items import Item
from mimicme.pipeline.landmarks import STANDARD_VIEWS
from mimicme.pipeline.release import guard
from mimicme.pipeline.template import Template

SCHEMA_VERSION = "1.6"
"""1.1: maps of the surface; 1.2: landmark_visible; 1.3: time_s; 1.4: digests, text of fixed length, an index of
sequences, vertices as whole numbers; 1.5: shards; 1.6: skin_seen."""
ROOT_ATTRIBUTES = (
    "schema_version",
    "mimicme_version",
    "created",
    "licence",
    "units",
    "config",
    "fingerprint",
)
"""Beside these the root has its digest, `sha256`, since version 1.4."""
SUBJECT_ATTRIBUTES = COLUMNS
SEQUENCE_ATTRIBUTES = ("expression", "sequence", "fps", "file_from_scan")

LANDMARK_SOURCES = ("none", "manual", "detected", "projected")
IMAGES = ("texture", "coverage")
OK, REJECTED = "ok", "rejected"
MADE_BY = "made_by_"
"""Before a stage's name: the attribute of a sequence with the fingerprint of that stage's checkpoint."""

MAX_MASKS = 64
"""Names, not masks: links may make many of one."""
COPIES_OF_TEMPLATE = 3
"""What it takes in memory, by what it has in the file: as stored, and in double precision."""
MAX_VERTICES, MAX_LANDMARKS = 4_000_000, 10_000
IMAGE_FORMATS = ("png", "jpeg", "webp")
"""Of its images; nothing else is read from a stranger's release."""
MAX_PIXELS = 8192 * 8192  # the largest texture a bake can make


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

SKIN_SEEN = "skin_seen"
OPTIONAL_ROW_FIELDS: Mapping[str, Field] = {
    "time_s": Field("<f8", (), "s", np.nan),
    SKIN_SEEN: Field("|u1", ("V",), "1", 255),
    "landmark_distance": Field("<f4", ("L",), "mm", np.nan),
    "landmark_uv": Field("<f4", ("L", 2), "1", np.nan),
    "landmark_visible": Field("|u1", (len(STANDARD_VIEWS), "L"), "1"),
}
"""What a sequence has: `time_s` since version 1.3; `skin_seen`, since 1.6, when a scan shows hair or clothes; the
others when the project stage made them."""

TEMPLATE_FIELDS: Mapping[str, Field] = {
    "vertices": Field("<f4", (3,), "mm"),
    "faces": Field("<u4", (3,), "1"),
    "uv": Field("<f4", (2,), "1"),
    "uv_faces": Field("<u4", (3,), "1"),
    "landmark_vertices": Field("<u4", (3,), "1"),
    "landmark_weights": Field("<f4", (3,), "1"),
}

POLYGONS = "polygons"
POLYGON_FIELD = Field("<u4", (), "1")
"""Of a template whose file has polygons: the number of that which each triangle was cut out of."""

TEMPLATE_VERTICES = "template/vertices"
CONVERSION = "conversion"
CONVERSION_FIELDS: Mapping[str, Field] = {
    "corners": Field("<u4", (3,), "1"),
    "weights": Field("<f4", (3,), "1"),
    "displacement": Field("<f4", (3,), "mm"),
}
"""Of every vertex of a converted release: its triangle in the release before, where in it, and how far from there."""

MASK_FIELD = Field("<f4", (), "1")
"""One of the template's regions, a number per vertex."""

QUALITY_TEXT = (("status", "S8"), ("reason", "S64"), ("note", f"S{NOTE_BYTES}"))
QUALITY_FIXED = ("s2m_median", "s2m_p95", "landmark_error")
INDEX, SEQUENCE_INDEX = "index", "sequence_index"
INDEXES = (INDEX, SEQUENCE_INDEX)
INDEX_NAMES = ("subject", "sequence", "row", "frame", "expression", "status", "landmark_sources")
INDEX_NAMES_BEFORE = INDEX_NAMES[:-1]
"""Of releases before version 1.4."""
SEQUENCE_INDEX_NAMES = (
    "subject", "sequence", "name", "expression", "fps", "file_from_scan", "start", "stop",
)  # fmt: skip


def version_of(schema: object) -> tuple[int, int] | None:
    """A schema's version as numbers; None when it is none."""
    found = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", str(schema))
    return (int(found[1]), int(found[2])) if found else None


def is_read(schema: object) -> bool:
    """Whether this version reads releases of a schema."""
    version, own = version_of(schema), version_of(SCHEMA_VERSION)
    return version is not None and own is not None and version[0] == own[0]


def has_digests(schema: object) -> bool:
    """Whether releases of a schema have digests, fixed text and an index of sequences."""
    version = version_of(schema)
    return version is not None and version >= (1, 4)


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
    """One sequence's part of the indexes.

    Attributes:
        numbers: (F,) i8.  statuses: (F,) `ok` or `rejected`.
        name, fps, file_from_scan: as in its attributes.
        sources: (F,) u1, bit k: some landmark is of `LANDMARK_SOURCES[k]`; None: not known.
    """

    item: Item
    expression: str
    numbers: NDArray[np.int64]
    statuses: Sequence[str]
    name: str = ""
    fps: float = float("nan")
    file_from_scan: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    sources: NDArray[np.uint8] | None = None


def source_bits(sources: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(F,) bits of (F, L) sources: bit k is set where some landmark is of source k; 0 (none) has no bit."""
    bits = np.zeros(len(sources), np.uint8)
    for k in range(1, len(LANDMARK_SOURCES)):
        bits |= np.uint8(1 << k) * (sources == k).any(axis=1)
    return bits


def text_type(values: Iterable[str]) -> np.dtype[Any]:
    """The type of text as wide as the longest of some."""
    width = max((len(v.encode("utf-8", "surrogateescape")) for v in values), default=1)
    return np.dtype(h5py.string_dtype("utf-8", max(1, width)))


def _raw(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def index_table(entries: Sequence[IndexEntry], names: Sequence[str] = INDEX_NAMES) -> NDArray[Any]:
    """The index: sequences in order of subject and name, their rows in order.  Text as wide as its
    content.

    Args:
        names: its columns, `INDEX_NAMES` or those of before.
    """
    entries = sorted(entries, key=lambda e: e.item)
    kinds = {
        "subject": text_type(e.item.subject for e in entries),
        "sequence": text_type(e.item.sequence for e in entries),
        "row": "<u4",
        "frame": "<i8",
        "expression": text_type(e.expression for e in entries),
        "status": "S8",
        "landmark_sources": "|u1",
    }
    table = np.zeros(sum(len(e.numbers) for e in entries), [(name, kinds[name]) for name in names])
    start = 0
    for e in entries:
        part = table[start : start + len(e.numbers)]
        part["subject"], part["sequence"] = _raw(e.item.subject), _raw(e.item.sequence)
        part["row"], part["frame"] = np.arange(len(part)), e.numbers
        part["expression"] = _raw(e.expression)
        part["status"] = [s.encode() for s in e.statuses]
        if "landmark_sources" in names and e.sources is not None:
            part["landmark_sources"] = e.sources
        start += len(part)
    return table


def sequence_table(entries: Sequence[IndexEntry]) -> NDArray[Any]:
    """The index of sequences, in the order of `index_table`, with the rows that they have there."""
    entries = sorted(entries, key=lambda e: e.item)
    kinds = {
        "subject": text_type(e.item.subject for e in entries),
        "sequence": text_type(e.item.sequence for e in entries),
        "name": text_type(e.name for e in entries),
        "expression": text_type(e.expression for e in entries),
        "fps": "<f8",
        "start": "<u8",
        "stop": "<u8",
    }
    kind = [(n, "<f8", (4, 4)) if n == "file_from_scan" else (n, kinds[n]) for n in SEQUENCE_INDEX_NAMES]
    table = np.zeros(len(entries), kind)
    stop = 0
    for at, e in zip(table, entries, strict=True):
        start, stop = stop, stop + len(e.numbers)
        at["subject"], at["sequence"] = _raw(e.item.subject), _raw(e.item.sequence)
        at["name"], at["expression"] = _raw(e.name), _raw(e.expression)
        at["fps"], at["file_from_scan"], at["start"], at["stop"] = e.fps, e.file_from_scan, start, stop
    return table


def renamed(entry: IndexEntry, subject: str, sequence: str, expression: str) -> IndexEntry:
    """The same entry of a sequence that is called otherwise."""
    return replace(entry, item=Item(subject, sequence), name=sequence, expression=expression)


def entries_of(index: NDArray[Any], sequences: NDArray[Any]) -> list[IndexEntry]:
    """The entries that both indexes of a release of this schema were made of, as they lie in the file."""
    rows, table = decoded(index), decoded(sequences)
    entries = []
    for one in table:
        own = rows[int(one["start"]) : int(one["stop"])]
        entries.append(
            IndexEntry(
                Item(str(one["subject"]), str(one["sequence"])),
                str(one["expression"]),
                own["frame"],
                own["status"].tolist(),
                str(one["name"]),
                float(one["fps"]),
                one["file_from_scan"],
                own["landmark_sources"],
            )
        )
    return entries


def decoded_bytes(kind: np.dtype[Any]) -> int:
    """Bytes that a row of a compound table may take as text (`decoded`): four for each byte of text."""
    fields = [kind[name] for name in kind.names or ()]
    return sum(4 * field.itemsize if field.kind == "S" else field.itemsize for field in fields)


def decoded(table: NDArray[Any]) -> NDArray[Any]:
    """A compound table with its bytes as text, so that `table["subject"] == "S001"` works."""
    names = table.dtype.names or ()
    columns = {
        name: np.char.decode(table[name], "utf-8", "surrogateescape")
        if table.dtype[name].kind == "S"
        else table[name]
        for name in names
    }
    result = np.empty(table.shape, [(n, columns[n].dtype, columns[n].shape[table.ndim :]) for n in names])
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
    guard.put_text(dataset.attrs, "unit", unit)
    return dataset


def write_template(root: h5py.Group, template: Template, level: int = 4) -> None:
    """Store a template as the group `template`."""
    group = root.create_group("template")
    guard.put_text(group.attrs, "name", template.name)
    guard.put_text(group.attrs, "digest", template.digest)

    def put(where: h5py.Group, name: str, data: NDArray[Any], unit: str) -> None:
        create_dataset(where, name, data.shape, data.dtype, unit, level=level)[...] = data

    for name, spec in TEMPLATE_FIELDS.items():
        put(group, name, np.asarray(getattr(template, name)).astype(spec.dtype), spec.unit)
    if template.polygons is not None:
        put(group, POLYGONS, np.asarray(template.polygons).astype(POLYGON_FIELD.dtype), POLYGON_FIELD.unit)
    put(group, "landmark_names", texts(template.landmark_names), "")
    for name in sorted(template.masks):
        mask = np.asarray(template.masks[name]).astype(MASK_FIELD.dtype)
        put(group.require_group("masks"), name, mask, MASK_FIELD.unit)


def read_template(group: Any) -> Template:
    """The template of a group that `write_template` filled."""
    data = {name: np.asarray(group[name][...]) for name in TEMPLATE_FIELDS}
    return template_of(
        data,
        tuple(bytes(n).decode() for n in group["landmark_names"][...]),
        {n: group["masks"][n][...] for n in group.get("masks", ())},
        group.attrs,
        np.asarray(group[POLYGONS][...]) if POLYGONS in group else None,
    )


def template_of(
    data: Mapping[str, NDArray[Any]],
    names: tuple[str, ...],
    masks: Mapping[str, NDArray[Any]],
    attributes: Any,
    polygons: NDArray[Any] | None = None,
) -> Template:
    """A template from `TEMPLATE_FIELDS` by name, its landmarks' names, masks, its group's attributes and polygons."""
    return Template(
        vertices=data["vertices"].astype(np.float64),
        faces=data["faces"].astype(np.int32),
        uv=data["uv"].astype(np.float64),
        uv_faces=data["uv_faces"].astype(np.int32),
        landmark_names=names,
        landmark_vertices=data["landmark_vertices"].astype(np.int64),
        landmark_weights=data["landmark_weights"].astype(np.float64),
        masks={name: mask.astype(np.float64) for name, mask in masks.items()},
        name=guard.text(attributes.get("name", "")),
        digest=guard.text(attributes.get("digest", "")),
        polygons=None if polygons is None else polygons.astype(np.int32),
    )


def write_table(root: h5py.Group, name: str, table: NDArray[Any], level: int) -> None:
    """Store one of the indexes."""
    create_dataset(root, name, table.shape, table.dtype, "", level=level)[...] = table


def write_indexes(root: h5py.Group, entries: Sequence[IndexEntry], level: int) -> None:
    """Store both indexes of a release of this schema."""
    write_table(root, INDEX, index_table(entries), level)
    write_table(root, SEQUENCE_INDEX, sequence_table(entries), level)


def texts(values: Sequence[str]) -> NDArray[Any]:
    """Texts as fixed-length UTF-8, which HDF5 can compress."""
    encoded = [_raw(v) for v in values]
    kind = h5py.string_dtype("utf-8", max([1, *map(len, encoded)]))
    return np.array(encoded, kind)


def version() -> str:
    """Of the installed package."""
    try:
        return metadata.version("mimicme")
    except metadata.PackageNotFoundError:
        return UNKNOWN
