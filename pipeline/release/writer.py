"""Writes a release, frame by frame: whole or not at all; and the digests of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimicme.pipeline.captures.metadata import UNKNOWN
from mimicme.pipeline.checkpoint import ALL_MESSAGES_BYTES, clipped, message_width
from mimicme.pipeline.errors import ReleaseError, UsageError
from mimicme.pipeline.formats.map_coding import Coding, write_coding
from mimicme.pipeline.items import Item, times_of
from mimicme.pipeline.release import digest, guard, layout, shards
from mimicme.pipeline.release.encoding import ENCODINGS, FLOAT32, INT32UM, Encoding, OutOfReachError
from mimicme.pipeline.release.layout import IndexEntry, create_dataset
from mimicme.pipeline.release.packing import packed
from mimicme.pipeline.release.shards import Shard
from mimicme.pipeline.template import Template
from mimicme.pipeline.whole_hdf5 import whole_hdf5

_BLOB_CHUNK = 1 << 12, 1 << 18
_PARTS_OF_AN_IMAGE = 4
"""Encoded images: a chunk is a quarter of one, so that one image reads little besides itself."""


class _SubjectsWriter:
    """Writes subjects and their sequences to a temporary name beside `path`, renamed into place when it is whole.

    A context manager; on an exception whatever stood at `path` stays.  Never holds more than one frame.

    Attributes:
        remarks: sentences about what was not written as asked for.
    """

    def __init__(self, path: Path, attributes: Mapping[str, str], level: int, vertices: str) -> None:
        self.path = Path(path)
        self._open = ExitStack()
        self._attributes = attributes
        self.level = level
        self.encoding = ENCODINGS[vertices]
        self.remarks: list[str] = []
        self.n_vertices = self.n_landmarks = -1
        self.template_vertices = np.zeros((0, 3), np.float32)
        self._entries: list[IndexEntry] = []
        self._subjects: list[str] = []
        self._unsealed: h5py.Group | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._h5 = stack.enter_context(whole_hdf5(self.path))
            for name, value in self._attributes.items():
                guard.put(self._h5.attrs, name, value)
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
            self._seal_sequence()
            layout.write_indexes(self._h5, self._entries, self.level)
            for subject in sorted(self._subjects):
                digest.seal_subject(self._h5["subjects"][subject])
            digest.seal_root(self._h5["/"])
            self._before_it_is_there()
        self._when_it_is_there()

    def _before_it_is_there(self) -> None:
        pass

    def _when_it_is_there(self) -> None:
        pass

    def _seal_sequence(self) -> None:
        """What a sequence's index and digest say is read back from it, when all of it is written."""
        if self._unsealed is None:
            return
        group, self._unsealed = self._unsealed, None
        if "landmark_source" in group:
            self._entries[-1] = replace(
                self._entries[-1], sources=layout.source_bits(group["landmark_source"][:])
            )
        digest.seal_sequence(group)

    def check(self) -> None:
        """To be called now and then.

        Raises:
            OSError: what could not be written, for want of room; leaving the block makes it an `OutputError`.
        """
        self._h5.check()

    def _shape(self, template: Template) -> None:
        self.n_vertices, self.n_landmarks = len(template.vertices), len(template.landmark_names)
        self.template_vertices = np.asarray(template.vertices, np.float32)

    def conversion(self, corners: ArrayLike, weights: ArrayLike, displacement: ArrayLike) -> None:
        """Store how the vertices were made from another template's, (V, 3) each, after `template`; see
        `commands.convert`."""
        group = self._h5["template"].create_group(layout.CONVERSION)
        given = {"corners": corners, "weights": weights, "displacement": displacement}
        for name, spec in layout.CONVERSION_FIELDS.items():
            data = np.asarray(given[name]).astype(spec.dtype)
            create_dataset(group, name, data.shape, data.dtype, spec.unit, level=self.level)[...] = data

    def subject(self, subject: str, attributes: Mapping[str, str | int | float]) -> None:
        """Declare a subject; columns that are not given are `unknown`."""
        group = self._h5["subjects"].create_group(subject)
        self._subjects.append(subject)
        for name, value in subject_attributes(attributes).items():
            guard.put(group.attrs, name, value)

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
        self._seal_sequence()
        self.check()
        group = self._h5["subjects"][item.subject].create_group(item.sequence)
        matrix, rows = np.asarray(file_from_scan, np.float64), np.asarray(numbers, np.int64)
        said = {"expression": expression, "sequence": name, "fps": float(fps), "file_from_scan": matrix}
        for key, value in {**said, **(attributes or {})}.items():
            guard.put(group.attrs, key, value)
        entry = IndexEntry(item, expression, rows, list(statuses), name, float(fps), matrix)
        self._entries.append(entry)
        self._unsealed = group
        out = SequenceWriter(group, self, len(rows))
        out.array("frame", rows)
        out.array("time_s", times_of(rows.tolist(), fps) if times is None else times)
        return out


class ReleaseWriter(_SubjectsWriter):
    """Writes a release of one file.

    Call `template` first, then `subject` and `sequence` in order.  When the file is in its place, its digest is written
    beside it; what lay there before is removed first, so that it never speaks of another file.

    Args:
        created: ISO 8601 UTC time; from the content, never the clock, so that equal content gives equal
        bytes.
        config: JSON text of the settings, without jobs and paths.
        fingerprint: of everything the release was made from.
        level: gzip level, 1 to 9.
        vertices: how they are stored, one of `ENCODINGS`.
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
        vertices: str = "float32",
    ) -> None:
        said = root_attributes(created=created, licence=licence, config=config, fingerprint=fingerprint)
        super().__init__(path, said, level, vertices)

    def _before_it_is_there(self) -> None:
        digest.beside(self.path).unlink(missing_ok=True)

    def _when_it_is_there(self) -> None:
        digest.write_beside(self.path)
        shards.remove_others(self.path, ())  # of a release with shards that it took the place of

    def template(self, template: Template) -> None:
        """Store the template that every frame shares."""
        self._shape(template)
        layout.write_template(self._h5, template, self.level)


class ShardWriter(_SubjectsWriter):
    """Writes a shard; `write_index` makes a release of some.

    Args:
        template: that of the release, which is not stored here.
        fingerprint: of everything the shard was made from.
        level, vertices: as of `ReleaseWriter`.
    """

    def __init__(
        self, path: Path, template: Template, fingerprint: str, *, level: int = 4, vertices: str = "float32"
    ) -> None:
        super().__init__(path, shards.attributes(template.digest, fingerprint), level, vertices)
        self._shape(template)


def subject_attributes(attributes: Mapping[str, str | int | float]) -> dict[str, str | int | float]:
    """What is stored of a subject, in order: columns that are not given are `unknown`."""
    names = (*layout.SUBJECT_ATTRIBUTES, *(n for n in attributes if n not in layout.SUBJECT_ATTRIBUTES))
    return {name: attributes.get(name, UNKNOWN) for name in names}


def root_attributes(*, created: str, licence: str, config: str, fingerprint: str) -> dict[str, str]:
    """The root attributes of a release; arguments as of `ReleaseWriter`."""
    return {
        "schema_version": layout.SCHEMA_VERSION,
        "mimicme_version": layout.version(),
        "created": created,
        "licence": licence,
        "units": "mm",
        "config": config,
        "fingerprint": fingerprint,
    }


def write_index(
    path: Path,
    attributes: Mapping[str, Any],
    write_template: Callable[[h5py.Group], None],
    held: Sequence[Shard],
    people: Iterable[Person],
    level: int,
) -> None:
    """Write the index of a release with shards, whole or not at all, and the digests of all its files beside it.

    Args:
        attributes: of its root (`root_attributes`).
        write_template: puts the template into the root.
        held: its shards.
        people: those that lie in them, as `people_of` gives them.
    """
    ordered = sorted(held, key=lambda shard: shard.name)
    with whole_hdf5(path) as new:
        for name, value in attributes.items():
            guard.put(new.attrs, name, value)
        write_template(new)
        subjects = new.create_group("subjects")
        entries: list[IndexEntry] = []
        for person in sorted(people, key=lambda one: one.subject):
            group = subjects.create_group(person.subject)
            for name, value in person.attributes.items():
                guard.put(group.attrs, name, value)
            entries += person.entries
            new.check()
        shards.write(new["/"], ordered, level)
        layout.write_indexes(new, entries, level)
        digest.seal_root(new["/"])
        digest.beside(path).unlink(missing_ok=True)
    digest.write_beside(path, {shard.name: shard.sha256 for shard in ordered})


@dataclass(frozen=True)
class Person:
    """What an index says of a subject.

    Attributes:
        attributes: of its group in its shard, with its digest.
        entries: of its sequences.
    """

    subject: str
    attributes: Mapping[str, Any]
    entries: Sequence[IndexEntry]


def people_of(
    index: Path, held: Sequence[Shard], known: Mapping[str, Person] = MappingProxyType({})
) -> Iterator[Person]:
    """What the shards of an index, which may not be there yet, say of their subjects.

    Args:
        known: by subject, what need not be read again: a shard with none but these is not opened.

    Raises:
        ReleaseError: a shard is missing, or cannot be read.
    """
    for shard in held:
        if all(subject in known for subject in shard.subjects):
            yield from (known[subject] for subject in shard.subjects)
            continue
        with guard.opened(shards.found(index, shard)) as file:
            root = guard.rooted(file)
            shards.check_root(root, index, shard)
            of: dict[str, list[IndexEntry]] = {subject: [] for subject in shard.subjects}
            for entry in layout.entries_of(file[layout.INDEX][:], file[layout.SEQUENCE_INDEX][:]):
                of[entry.item.subject].append(entry)
            people = guard.subgroup(root, "subjects", "/")
            for subject in shard.subjects:
                group = guard.subgroup(people, subject, "/subjects")
                yield Person(subject, guard.attributes(group, f"/subjects/{subject}"), of[subject])


def people_in(index: Path, subjects: Iterable[str]) -> dict[str, Person]:
    """What an index says of some of its subjects, by subject; no shard is opened.

    Raises:
        ReleaseError: it cannot be read.
    """
    with guard.opened(index) as file:
        of: dict[str, list[IndexEntry]] = {subject: [] for subject in subjects}
        for entry in layout.entries_of(file[layout.INDEX][:], file[layout.SEQUENCE_INDEX][:]):
            if entry.item.subject in of:
                of[entry.item.subject].append(entry)
        people = guard.subgroup(guard.rooted(file), "subjects", "/")
        return {
            subject: Person(
                subject,
                guard.attributes(guard.subgroup(people, subject, "/subjects"), f"/subjects/{subject}"),
                entries,
            )
            for subject, entries in of.items()
        }


def shard_of(path: Path) -> Shard:
    """What an index says of a shard that was written; reads all of it.

    Raises:
        ReleaseError: it is none.
    """
    with guard.opened(path) as file:
        root = guard.rooted(file)
        names = guard.names(guard.subgroup(root, "subjects", "/"), "/subjects")
        own = digest.stored(root, "/")
    return Shard(path.name, path.stat().st_size, digest.of_file(path), own, tuple(sorted(names)))


class SequenceWriter:
    """Writes one sequence of a release; made by the writer of a release or of a shard."""

    def __init__(self, group: h5py.Group, release: _SubjectsWriter, n_frames: int) -> None:
        self._group = group
        self._release = release
        self._n = n_frames
        self._offsets: dict[str, NDArray[np.uint64]] = {}

    def array(self, name: str, data: ArrayLike) -> None:
        """Store one of the small fields whole: (F, ...)."""
        if name == "vertices":
            frames = np.asarray(data, np.float32)
            self.vertices(np.flatnonzero(~np.isnan(frames).all(axis=(1, 2))), lambda row: frames[row])
        else:
            self.rows(name)[...] = data

    def vertices(self, rows: Iterable[int], frame: Callable[[int], NDArray[Any]]) -> None:
        """Store the vertices of some rows, (V, 3) mm each, in the release's encoding; the others are never written.

        Where one lies further from the template than an `int16` reaches, the sequence is stored as `int32um`, which is
        nearer to what it was given, and a remark says so: a pack that ran for hours does not end for one frame.

        Raises:
            ReleaseError: a vertex lies further from the template than any whole number reaches.
        """
        wanted, chosen = list(rows), self._release.encoding
        try:
            self._vertices(wanted, frame, chosen)
        except OutOfReachError as error:
            if chosen == INT32UM:
                raise
            del self._group["vertices"]
            self._release.remarks.append(f"{error} It is stored as '{INT32UM.name}'.")
            self._vertices(wanted, frame, INT32UM)

    def _vertices(self, rows: list[int], frame: Callable[[int], NDArray[Any]], encoding: Encoding) -> None:
        stored = self._create("vertices", encoding.field)
        for key, value in encoding.attributes.items():
            guard.put(stored.attrs, key, value)
        for row in rows:
            try:
                numbers = encoding.encode(frame(row), self._release.template_vertices)
            except OutOfReachError as error:
                error.where = f"{self._group.name.removeprefix('/subjects/')} row {row}"
                raise
            if numbers.shape != stored.shape[1:]:
                raise ReleaseError(
                    f"row {row} has other vertices than the template",
                    seen=numbers.shape,
                    expected=stored.shape[1:],
                )
            stored.id.write_direct_chunk((row, 0, 0), packed(numbers, self._release.level))
            self._release.check()

    def rows(self, name: str) -> h5py.Dataset:
        """Create one of the fields, to be filled row by row; a row that is never written holds the fill
        value."""
        spec = layout.ROW_FIELDS.get(name) or layout.OPTIONAL_ROW_FIELDS[name]
        return self._create(name, FLOAT32.field if name == "vertices" else spec)

    def _create(self, name: str, spec: layout.Field) -> h5py.Dataset:
        self._release.check()
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
        said: dict[str, Any] = {"format": image_format}
        if coding is not None:
            write_coding(said, coding)
        for key, value in said.items():
            guard.put(group.attrs, key, value)
        offset = np.concatenate([[0], np.cumsum(np.asarray(sizes, np.uint64))]).astype("<u8")
        self._offsets[name] = offset
        level = self._release.level
        # the images are compressed already: level 1 would save 0.04 % and cost most of the packing time
        mean = int(offset[-1]) // max(1, int(np.count_nonzero(np.diff(offset))))
        rows = int(np.clip(-(-mean // _PARTS_OF_AN_IMAGE), *_BLOB_CHUNK))
        create_dataset(group, "bytes", (int(offset[-1]),), "|u1", "byte", level=0, chunk_rows=rows)
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
        said = [clipped(m, ALL_MESSAGES_BYTES) for m in messages]
        kind = h5py.string_dtype("utf-8", message_width(said))
        text = np.array([m.encode() for m in said], kind)
        create_dataset(self._group, "message", (self._n,), kind, "", level=level)[...] = text
