"""Reads a release; what is where in the file, release/layout.py says."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.checkpoint import open_hdf5
from mimicme.pipeline.errors import ReleaseError, UsageError
from mimicme.pipeline.formats.map_coding import MAPS, Coding, read_coding
from mimicme.pipeline.items import Item, times_of
from mimicme.pipeline.release import layout
from mimicme.pipeline.release.layout import OK
from mimicme.pipeline.template import Template


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

    def __enter__(self) -> Self:
        self._file()
        return self

    def __getstate__(self) -> dict[str, Any]:
        # an open file cannot travel to another process, and the index is cheaper read than sent
        return {"path": self.path, "_handle": None, "_process": -1}

    def __repr__(self) -> str:
        return f"Release('{self.path}')"

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        if self._handle is not None and self._process == os.getpid():
            self._handle.close()
        self._handle = None

    def _file(self) -> h5py.File:
        if self._handle is None or self._process != os.getpid():
            handle = open_hdf5(self.path, ReleaseError)
            version = handle.attrs.get("schema_version")
            if not isinstance(version, str) or version.split(".")[0] != layout.SCHEMA_VERSION.split(".")[0]:
                handle.close()
                raise ReleaseError(
                    "this HDF5 file is not a release that this version reads",
                    where=self.path,
                    seen=f"schema_version {version!r}",
                    expected=layout.SCHEMA_VERSION,
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
        return layout.decoded(np.asarray(self._read("index")))

    @cached_property
    def template(self) -> Template:
        """The template all frames share."""
        group = self._node("template")
        data = {name: np.asarray(self._read(f"template/{name}")) for name in layout.TEMPLATE_FIELDS}
        names = tuple(bytes(n).decode() for n in self._read("template/landmark_names"))
        masks = {}
        if "masks" in group:
            masks = {n: self._read(f"template/masks/{n}") for n in self._node("template/masks")}
        return layout.template_of(data, names, masks, group.attrs)

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
        fixed = {name: attributes.pop(name, None) for name in layout.SEQUENCE_ATTRIBUTES}
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
        quality = layout.decoded(np.asarray(self._read(f"{path}/quality", slice(at, at + 1))))[0]
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
            time_s=self._time(path, at),
        )

    def _time(self, path: str, at: int) -> float:
        """Seconds since the first frame; where the release is older than `time_s`: by frame number and rate."""
        if "time_s" in self._node(path):
            return float(self._read(f"{path}/time_s", at))
        first, own = int(self._read(f"{path}/frame", 0)), int(self._read(f"{path}/frame", at))
        return times_of((first, own), float(self._node(path).attrs.get("fps", np.nan)))[-1]

    def times(self, item: Item) -> NDArray[np.float64]:
        """(F,) seconds since a sequence's first frame; NaN where unknown."""
        if "time_s" in self._node(f"subjects/{item}"):
            return np.asarray(self.values(item, "time_s"), np.float64)
        rate = self.sequence(item.subject, item.sequence).fps
        return np.asarray(times_of(self.values(item, "frame").tolist(), rate), np.float64)

    def vertices(self, row: int) -> NDArray[np.float32]:
        """(V, 3) float32, mm, canonical frame; one read.  NaN when the frame is rejected."""
        _, path, at = self._place(row)
        return np.asarray(self._read(f"{path}/vertices", at))

    def values(self, item: Item, name: str) -> NDArray[Any]:
        """A whole field of one sequence: `pose` (F, 4, 4), `landmarks` (F, L, 3), `quality` (F,) ..."""
        data = np.asarray(self._read(f"subjects/{item}/{name}"))
        return layout.decoded(data) if data.dtype.names else data

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
        from mimicme.pipeline.formats.image import decode  # Pillow takes a while to load

        return decode(data, layout.MAX_PIXELS, f"{self.path.name} row {row}") if data else None

    def coverage(self, row: int) -> NDArray[np.uint8] | None:
        """(h, w) uint8: 0 where the texture has no data from this frame's scan; None without a texture."""
        data, _ = self.image_bytes(row, "coverage")
        from mimicme.pipeline.formats.image import decode_gray

        return decode_gray(data, layout.MAX_PIXELS, f"{self.path.name} row {row}") if data else None

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
        from mimicme.pipeline.formats.image import decode_deep

        return codings[name].values(decode_deep(data, layout.MAX_PIXELS, f"{self.path.name} row {row}"))

    def _place(self, row: int) -> tuple[Any, str, int]:
        if not -len(self.index) <= row < len(self.index):
            raise IndexError(f"row {row} of {len(self.index)}")
        entry = self.index[row]
        return entry, f"subjects/{entry['subject']}/{entry['sequence']}", int(entry["row"])


def _plain(attributes: h5py.AttributeManager) -> dict[str, Any]:
    """HDF5 attributes as plain Python values; arrays stay arrays."""
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in attributes.items()}
