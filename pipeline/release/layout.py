"""The layout of a release: one HDF5 file that holds a whole registered database.  Every name in it is defined here.

    /                        attrs: schema_version, mimicme_version, created, licence, units, config, ...
    /template/vertices       (V,3) f4        /template/faces     (T,3) u4
    /template/uv             (N,2) f4        /template/uv_faces  (T,3) u4
    /template/landmark_names (L,) text       /template/landmark_vertices (L,3) u4, landmark_weights (L,3) f4
    /template/masks/<name>   (V,) f4         only what the template ships
    /subjects/<id>           attrs: age, gender, ethnicity, consent, split and the table's other columns
      /<sequence>            attrs: expression, sequence (as named on disk), fps, file_from_scan (4,4), made_by_<stage>
        frame                (F,) i8         time_s (F,) f8: since the first frame, NaN: unknown
        vertices             (F,V,3) f4 mm   pose (F,4,4) f8
        landmarks            (F,L,3) f4 mm   landmark_source (F,L) u1    landmark_confidence (F,L) f4
        landmark_distance (F,L) f4 mm        landmark_uv (F,L,2) f4      landmark_visible (F,views,L) u1
        texture/bytes, texture/offset        coverage/bytes, coverage/offset: one encoded image a frame
        normal/..., position/..., displacement/...: likewise, what bake.maps asked for, as 16-bit PNG;
                             attrs: unit, value_scale, value_offset: value = value_offset + value_scale * number
        quality              (F,) compound   message (F,) text: what a rejection or a note means
    /index                   (rows,) compound: subject, sequence, row, frame, expression, status

Frame first: a random frame is one read of one chunk.  Every dataset that holds anything is compressed (gzip)
and checksummed (Fletcher-32), so that a flipped byte is an error of that chunk alone.  The bytes depend on
the content alone.  `release.Release` reads a file and hides all of this;
`writer.ReleaseWriter` writes one, frame by frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.captures.metadata import COLUMNS, UNKNOWN
from mimicme.pipeline.checkpoint import NOTE_BYTES, chunk_shape
from mimicme.pipeline.items import Item
from mimicme.pipeline.landmarks import STANDARD_VIEWS
from mimicme.pipeline.template import Template

SCHEMA_VERSION = "1.3"  # 1.1: maps of the surface; 1.2: landmark_visible; 1.3: time_s
ROOT_ATTRIBUTES = (
    "schema_version",
    "mimicme_version",
    "created",
    "licence",
    "units",
    "config",
    "fingerprint",
)
SUBJECT_ATTRIBUTES = COLUMNS
SEQUENCE_ATTRIBUTES = ("expression", "sequence", "fps", "file_from_scan")

LANDMARK_SOURCES = ("none", "manual", "detected", "projected")
IMAGES = ("texture", "coverage")
OK, REJECTED = "ok", "rejected"

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

OPTIONAL_ROW_FIELDS: Mapping[str, Field] = {
    "time_s": Field("<f8", (), "s", np.nan),
    "landmark_distance": Field("<f4", ("L",), "mm", np.nan),
    "landmark_uv": Field("<f4", ("L", 2), "1", np.nan),
    "landmark_visible": Field("|u1", (len(STANDARD_VIEWS), "L"), "1"),
}
"""What a sequence has: `time_s` since version 1.3, the others when the project stage made them."""

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
    return template_of(
        data,
        tuple(bytes(n).decode() for n in group["landmark_names"][...]),
        {n: group["masks"][n][...] for n in group.get("masks", ())},
        group.attrs,
    )


def template_of(
    data: Mapping[str, NDArray[Any]],
    names: tuple[str, ...],
    masks: Mapping[str, NDArray[Any]],
    attributes: Any,
) -> Template:
    """A template from `TEMPLATE_FIELDS` by name, its landmarks' names, its masks and its group's attributes."""
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
