"""VTK's legacy format (`.vtk`) of polygonal data: reading, ascii and binary, versions 1 to 5.  The codes of errors are
described in `mesh_file`.

Read are `POINTS`, `POLYGONS`, `TRIANGLE_STRIPS`, and of `POINT_DATA` colours (`COLOR_SCALARS`, or `SCALARS` of three or
four bytes) and `TEXTURE_COORDINATES`; normals, other data and fields are passed over.  The format names no image: one
that lies beside the file under its name is taken, as of any mesh.

The code is our own because VTK's reader (9.7.2, which comes with menpo3d alone) gives triangles of vertices that are
not there and prints what is wrong, and meshio (5.3) reads no POLYDATA.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Longs
from mimicme.pipeline.formats.mesh_file import (
    MAX_TRIANGLES,
    MAX_VERTICES,
    MeshFile,
    MeshFileError,
    as_bytes,
    check_content,
    check_triangles,
    check_vertices,
    checked,
    fail,
    parse_numbers,
    triangulate_fans,
    triangulate_strips,
)
from mimicme.pipeline.geometry.mesh import Mesh

BEGINNING = b"# vtk DataFile"
"""How such a file begins."""

_TYPES = {
    "unsigned_char": "u1", "char": "i1", "unsigned_short": "u2", "short": "i2", "unsigned_int": "u4", "int": "i4",
    "unsigned_long": "u8", "long": "i8", "float": "f4", "double": "f8", "vtkidtype": "i4", "vtktypeint8": "i1",
    "vtktypeuint8": "u1", "vtktypeint16": "i2", "vtktypeuint16": "u2", "vtktypeint32": "i4", "vtktypeuint32": "u4",
    "vtktypeint64": "i8", "vtktypeuint64": "u8", "vtktypefloat32": "f4", "vtktypefloat64": "f8",
}  # fmt: skip
_CELLS = ("POLYGONS", "TRIANGLE_STRIPS", "LINES", "VERTICES")
_MAX_LINE = 1 << 10
_MAX_SECTIONS = 10_000
_MAX_COMPONENTS = 1 << 10
_NEXT_WORD = re.compile(
    rb"^[ \t]*(?=(?!NAN\b|INF\b)[A-Z_]{3,}\d*\b)", re.MULTILINE
)  # keywords are in capitals
_OFFSETS = re.compile(rb"\s*+OFFSETS[ \t]+(\w{1,40})[ \t\r]*\n")
_LOOKUP_TABLE = re.compile(rb"[ \t\r\n]*LOOKUP_TABLE[^\n]{0,200}\n")
_BLANKS = re.compile(rb"\s*+")
_BLANK_LINE = re.compile(rb"\n[ \t\r]*\n")


@dataclass
class _Found:
    """What the sections hold, as far as they were read."""

    points: Floats | None = None
    cells: dict[str, tuple[Longs, Longs]] = field(default_factory=dict)
    colors: NDArray[np.uint8] | None = None
    uv: Floats | None = None


def read_vtk(data: bytes, name: str) -> MeshFile:
    """Read a legacy VTK file of POLYDATA.

    Args:
        data: the whole file; name: for errors.

    Raises:
        MeshFileError: see the codes in `mesh_file`.
    """
    check_content(data, name)
    found = _Reader(data, name).sections()
    if found.points is None or not len(found.points):
        raise fail("empty-file", "the file holds no vertex", name)
    vertices = found.points
    n = len(vertices)
    polygons = found.cells.get("POLYGONS", (np.zeros(0, np.int64),) * 2)
    counts, corners = polygons
    check_triangles(int(np.maximum(counts - 2, 0).sum()), name)
    corner, _ = triangulate_fans(counts)
    faces = checked(corners[corner], n, name)
    if "TRIANGLE_STRIPS" in found.cells:
        counts, corners = found.cells["TRIANGLE_STRIPS"]
        checked(corners, n, name)
        check_triangles(len(faces) + len(corners), name)
        strips = triangulate_strips(np.insert(corners, np.cumsum(counts)[:-1], -1))
        faces = np.concatenate([faces, strips.astype(np.int32)])
    if not len(faces):
        raise fail("no-faces", "the file has vertices but no triangle", name, seen=f"{n:,} vertices")
    check_vertices(vertices, name, faces)
    uv = found.uv
    return MeshFile(Mesh(vertices, faces, uv, None if uv is None else faces.copy(), found.colors))


class _Reader:
    """Goes through a file section by section; every count is compared with what is left of it."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.at = data, name, 0
        if not data.startswith(BEGINNING):
            raise fail(
                "bad-syntax", f"this is no VTK file: it does not begin with '{BEGINNING.decode()}'", name
            )
        self.line()
        self.line()  # its title
        form = self.line().upper().split()[:1]
        if form not in ([b"ASCII"], [b"BINARY"]):
            said = b"".join(form)[:40].decode("latin-1")
            raise fail("bad-syntax", "the third line is neither ASCII nor BINARY", name, seen=repr(said))
        self.binary = form == [b"BINARY"]
        if not self.binary and b"\0" in data:
            raise fail(
                "truncated",
                "the file holds bytes of value 0: it was not written to its end, or is no text",
                name,
            )
        self.found = _Found()

    def sections(self) -> _Found:
        """All that is read of the file."""
        target, rows = "", 0  # of the data that follow
        for _ in range(_MAX_SECTIONS):
            words = self.words()
            if not words:
                break
            key = words[0].upper()
            if key == "DATASET":
                if self.word(words, 1).upper() != "POLYDATA":
                    raise fail(
                        "bad-syntax",
                        "the file holds no polygonal data",
                        self.name,
                        seen=self.word(words, 1)[:40],
                        expected="POLYDATA",
                        todo="Save its surface as POLYDATA, or as OBJ or PLY.",
                    )
            elif key == "POINTS":
                n = self.count(words, 1, MAX_VERTICES)
                self.found.points = self.values(3 * n, self.kind(words, 2)).reshape(-1, 3).astype(np.float64)
            elif key in _CELLS:
                cells = self.cells(key, words)
                if key in self.found.cells:
                    raise self.bad(f"a second section {key}")
                self.found.cells[key] = cells
            elif key in ("POINT_DATA", "CELL_DATA"):
                target, rows = key, self.count(words, 1, 4 * MAX_TRIANGLES)
            elif key == "METADATA":
                self.skip_metadata()
            elif key == "FIELD":
                if not self.skip_field(words):
                    break
            elif not self.data_of(key, words, target, rows):
                break
        else:
            raise fail(
                "too-large", "the file has too many sections", self.name, seen=f"over {_MAX_SECTIONS:,}"
            )
        return self.found

    # -------------------------------------------------------------------------------------------- lines and numbers

    def line(self, most: int = _MAX_LINE) -> bytes:
        end = self.data.find(b"\n", self.at, self.at + most)
        if end < 0:
            if len(self.data) - self.at >= most:
                raise self.bad("a line is too long")
            end = len(self.data)
        found = self.data[self.at : end]
        self.at = min(end + 1, len(self.data))
        return found.rstrip(b"\r")

    def words(self) -> list[str]:
        """The words of the next line that is not blank; none at the end of the file."""
        after = _BLANKS.match(self.data, self.at)
        self.at = after.end() if after else self.at
        return self.line().decode("latin-1").split()

    def word(self, words: list[str], at: int) -> str:
        if at >= len(words):
            raise self.bad(f"a line lacks a word: {' '.join(words)[:60]!r}")
        return words[at]

    def count(self, words: list[str], at: int, most: int) -> int:
        said = self.word(words, at)
        if not said.isascii() or not said.isdecimal() or len(said) > 18:
            raise self.bad(f"a line lacks a number: {' '.join(words)[:60]!r}")
        if int(said) > most:
            raise fail(
                "too-large",
                f"the file announces more of '{words[0][:40]}' than a scan can have",
                self.name,
                seen=f"{int(said):,}",
                expected=f"at most {most:,}",
            )
        return int(said)

    def kind(self, words: list[str], at: int) -> str:
        said = self.word(words, at).lower()
        if said not in _TYPES:
            raise self.bad(f"a type of numbers is not known: {said[:40]!r}")
        return _TYPES[said]

    def bad(self, what: str) -> MeshFileError:
        return fail("bad-syntax", f"the file cannot be read: {what}", self.name)

    def cut(self) -> MeshFileError:
        return fail("truncated", "the file ends before the numbers that it announces", self.name)

    def values(self, count: int, kind: str) -> NDArray[Any]:
        """So many numbers from here on."""
        if self.binary:
            size = count * np.dtype(kind).itemsize
            if self.at + size > len(self.data):
                raise self.cut()
            found = np.frombuffer(self.data, f">{kind}", count, self.at)
            self.at += size
            return found
        if 2 * count > len(self.data) - self.at + 1:
            raise self.cut()
        after = _NEXT_WORD.search(self.data, self.at)
        end = after.start() if after else len(self.data)
        numbers = parse_numbers(self.data[self.at : end], np.int64 if kind[0] in "iu" else np.float64)
        self.at = end
        if numbers is None:
            raise self.bad("something that is no number stands among its numbers")
        if len(numbers) < count:
            raise self.cut()
        if len(numbers) > count:
            raise self.bad(f"{len(numbers):,} numbers where it announces {count:,}")
        return numbers

    # -------------------------------------------------------------------------------------------- sections

    def cells(self, key: str, words: list[str]) -> tuple[Longs, Longs]:
        """How many corners each cell has, and all corners; by lengths before each, or since version 5 by offsets."""
        first, second = (self.count(words, k, 4 * MAX_TRIANGLES) for k in (1, 2))
        by_offsets = _OFFSETS.match(self.data, self.at)
        if by_offsets:
            self.at = by_offsets.end()
            kind = self.kind([by_offsets.group(1).decode("latin-1")], 0)
            offsets = self.values(first, kind).astype(np.int64)
            named = self.words()
            if not named or named[0].upper() != "CONNECTIVITY":
                raise self.bad(f"{key} has no CONNECTIVITY")
            corners = self.values(second, self.kind(named, 1)).astype(np.int64)
            counts = np.diff(offsets)
            ends = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
            if ends != (0, second) or (counts < 0).any():
                raise self.bad(f"the offsets of {key} do not fit its corners")
            return counts, corners
        return _by_lengths(self.values(second, "i4").astype(np.int64), first, self)

    def skip_metadata(self) -> None:
        """Names of components and the like, to the next blank line."""
        after = _BLANK_LINE.search(self.data, max(self.at - 1, 0))
        self.at = after.end() if after else len(self.data)

    def skip_field(self, words: list[str]) -> bool:
        """Arrays of any size; False where one cannot be measured, so that the rest of the file is not read."""
        for _ in range(self.count(words, 2, _MAX_SECTIONS)):
            named = self.words()
            if named and named[0].upper() == "METADATA":
                self.skip_metadata()
                named = self.words()
            if len(named) < 4 or named[3].lower() not in _TYPES:
                return False
            width, rows = self.count(named, 1, _MAX_COMPONENTS), self.count(named, 2, 4 * MAX_TRIANGLES)
            if self.binary:
                self.values(width * rows, self.kind(named, 3))
            else:
                self.skip_numbers(width * rows)
        return True

    def skip_numbers(self, count: int) -> None:
        """So many numbers of an ascii file, behind which any word may stand."""
        while count > 0:
            if self.at >= len(self.data):
                raise self.cut()
            count -= len(self.line(len(self.data) + 1).split())

    def data_of(self, key: str, words: list[str], target: str, rows: int) -> bool:
        """One array of POINT_DATA or CELL_DATA; False for a keyword that is not known."""
        if key == "SCALARS":
            kind = self.kind(words, 2)
            width = self.count(words, 3, _MAX_COMPONENTS) if len(words) > 3 else 1
            table = _LOOKUP_TABLE.match(self.data, self.at)
            self.at = table.end() if table else self.at
            self.keep_colors(self.values(rows * width, kind), width, target, plain=kind != "u1")
        elif key == "COLOR_SCALARS":
            width = self.count(words, 2, _MAX_COMPONENTS)
            values = self.values(rows * width, "u1" if self.binary else "f4")
            self.keep_colors(values, width, target, plain=False)
        elif key == "LOOKUP_TABLE":
            self.values(4 * self.count(words, 2, MAX_VERTICES), "u1" if self.binary else "f4")
        elif key == "TEXTURE_COORDINATES":
            width = self.count(words, 2, 3)
            values = self.values(rows * width, self.kind(words, 3))
            if target == "POINT_DATA" and width > 1 and self.fits(rows):
                self.found.uv = values.reshape(-1, width)[:, :2].astype(np.float64)
        elif key in ("NORMALS", "VECTORS"):
            self.values(3 * rows, self.kind(words, 2))
        elif key in ("TENSORS", "TENSORS6"):
            self.values((9 if key == "TENSORS" else 6) * rows, self.kind(words, 2))
        elif key in ("GLOBAL_IDS", "PEDIGREE_IDS", "EDGE_FLAGS"):
            self.values(rows, self.kind(words, 2))
        else:
            return False
        return True

    def fits(self, rows: int) -> bool:
        return self.found.points is not None and len(self.found.points) == rows

    def keep_colors(self, values: NDArray[Any], width: int, target: str, plain: bool) -> None:
        """Three or four numbers a vertex are its colour, but `plain` ones, which may be anything."""
        rows = len(values) // width if width else 0
        if not plain and target == "POINT_DATA" and width in (3, 4) and self.fits(rows):
            colors = values.reshape(-1, width)[:, :3]
            if values.dtype.kind == "i":  # bytes of an ascii file
                colors = np.clip(colors, 0, 255).astype(np.uint8)
            self.found.colors = as_bytes(colors)


def _by_lengths(stream: Longs, cells: int, reader: _Reader) -> tuple[Longs, Longs]:
    """Lengths and corners of a stream in which each cell's number of corners stands before them."""
    if cells and len(stream) % cells == 0 and len(stream):
        width = len(stream) // cells
        table = stream.reshape(cells, width)
        if (table[:, 0] == width - 1).all():
            return table[:, 0].copy(), table[:, 1:].reshape(-1)
    if cells > len(stream):
        raise reader.bad("the lengths of its cells do not fit")
    counts, at, lengths = np.zeros(cells, np.int64), 0, stream.tolist() if cells else []
    is_length = np.zeros(len(stream), bool)
    for k in range(cells):
        if at >= len(lengths) or not 0 <= lengths[at] < len(lengths) - at:
            raise reader.bad("the lengths of its cells do not fit")
        counts[k] = lengths[at]
        is_length[at] = True
        at += 1 + lengths[at]
    if at != len(stream):
        raise reader.bad("the lengths of its cells do not fit")
    return counts, stream[~is_length]
