"""Writes a release, frame by frame: whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimicme.pipeline.captures.metadata import UNKNOWN
from mimicme.pipeline.checkpoint import MESSAGE_BYTES
from mimicme.pipeline.errors import ReleaseError, UsageError
from mimicme.pipeline.formats.map_coding import Coding, write_coding
from mimicme.pipeline.items import Item, times_of
from mimicme.pipeline.release import layout
from mimicme.pipeline.release.layout import IndexEntry, create_dataset
from mimicme.pipeline.template import Template
from mimicme.pipeline.whole_hdf5 import whole_hdf5

_BLOB_CHUNK = 1 << 18  # encoded images: small enough that one image reads little besides itself


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
        self._open = ExitStack()
        self._attributes = {
            "schema_version": layout.SCHEMA_VERSION,
            "mimicme_version": layout.version(),
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
        with ExitStack() as stack:
            self._h5 = stack.enter_context(whole_hdf5(self.path))
            for name, value in self._attributes.items():
                self._h5.attrs[name] = value
            self._h5.create_group("subjects")
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._open.__exit__(kind, error, trace)
            return
        with self._open:
            layout.write_index(self._h5, layout.index_table(self._entries), self.level)

    def check(self) -> None:
        """To be called now and then.

        Raises:
            OSError: what could not be written, for want of room; `ReleaseWriter` makes it an `OutputError`.
        """
        self._h5.check()

    def template(self, template: Template) -> None:
        """Store the template that every frame shares."""
        self.n_vertices, self.n_landmarks = len(template.vertices), len(template.landmark_names)
        layout.write_template(self._h5, template, self.level)

    def subject(self, subject: str, attributes: Mapping[str, str | int | float]) -> None:
        """Declare a subject; columns that are not given are `unknown`."""
        group = self._h5["subjects"].create_group(subject)
        for name in (
            *layout.SUBJECT_ATTRIBUTES,
            *(n for n in attributes if n not in layout.SUBJECT_ATTRIBUTES),
        ):
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
        times: ArrayLike | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> SequenceWriter:
        """Declare a sequence and its rows.

        Args:
            name: as on disk.  fps: NaN when unknown.  numbers: (F,) the source's frame numbers.
            file_from_scan: (4, 4) scan (mm, y up) -> the capture file's units and axes.
            statuses: (F,) `ok` or `rejected`.
            times: (F,) seconds since the first frame, NaN where unknown; default: by the numbers and the rate.
        """
        if self.n_vertices < 0:
            raise UsageError("the template comes before the first sequence")
        self.check()
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
        out.array("time_s", times_of(rows.tolist(), fps) if times is None else times)
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
        self._release.check()
        spec = layout.ROW_FIELDS.get(name) or layout.OPTIONAL_ROW_FIELDS[name]
        shape = layout.dimensions(spec.shape, self._release.n_vertices, self._release.n_landmarks)
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
        self._release.check()

    def quality(self, table: NDArray[Any], units: Mapping[str, str], messages: Sequence[str]) -> None:
        """Store status and figures (F,) of `quality_dtype`, their units, and a sentence per row."""
        level = self._release.level
        figures = [n for n in table.dtype.names or () if table.dtype[n].kind == "f"]
        unit = json.dumps({n: units.get(n, "1") for n in figures})
        create_dataset(self._group, "quality", table.shape, table.dtype, unit, level=level)[...] = table
        kind = h5py.string_dtype("utf-8", MESSAGE_BYTES)
        text = [m.encode()[:MESSAGE_BYTES].decode(errors="ignore").encode() for m in messages]
        create_dataset(self._group, "message", (self._n,), kind, "", level=level)[...] = np.array(text, kind)
