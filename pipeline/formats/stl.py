"""STL: reading, ascii and binary.  The codes of errors are described in `mesh_file`.

A file has three places for each triangle and no more: places that are exactly equal are made one vertex, in the order
in which they come first; normals, and colours that some programs hide in spare bytes, are left.

The code is our own because libraries believe a damaged file: of one that ends in its second triangle trimesh 5.2 makes
an empty scene and says nothing, and Open3D and VTK read paths, not bytes.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.formats.mesh_file import (
    MAX_TRIANGLES,
    MAX_VERTICES,
    MeshFile,
    check_content,
    check_vertices,
    fail,
    parse_numbers,
)
from mimicme.pipeline.geometry.cleaning import weld
from mimicme.pipeline.geometry.mesh import Mesh

_HEAD = 84  # bytes of a binary file before its first triangle: a title of 80, and how many there are
_TRIANGLE = np.dtype([("normal", "<f4", (3,)), ("places", "<f4", (3, 3)), ("spare", "<u2")])
_SPACE, _NEWLINE = 32, 10
_MAX_INDENTATION = 80  # a line further in is none of a facet
_BLANKS = bytes.maketrans(b"\r\t\v\f", b"\n   ")
_ENDS_LOOP = b"endl"


def read_stl(data: bytes, name: str) -> MeshFile:
    """Read an STL.

    Args:
        data: the whole file; name: for errors.

    Raises:
        MeshFileError: see the codes in `mesh_file`.
    """
    check_content(data, name)
    count = int.from_bytes(data[80:_HEAD], "little") if len(data) >= _HEAD else 0
    # binary files may begin with "solid" too: the length tells
    is_binary = len(data) == _HEAD + count * _TRIANGLE.itemsize
    begin = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    is_text = begin.startswith(b"solid") and b"\0" not in data[:_HEAD] and not (is_binary and count)
    places = _of_text(data, name) if is_text else _of_binary(data, count, name)
    if not len(places):
        raise fail("empty-file", "the file holds no triangle", name)
    if len(places) > 3 * MAX_TRIANGLES:
        raise fail("too-large", "the mesh is too large", name, seen=f"{len(places) // 3:,} triangles")
    check_vertices(places, name)
    faces = np.arange(len(places), dtype=np.int32).reshape(-1, 3)
    mesh, _ = weld(Mesh(places, faces))
    if len(mesh.vertices) > MAX_VERTICES:
        raise fail("too-large", "the mesh is too large", name, seen=f"{len(mesh.vertices):,} vertices")
    return MeshFile(mesh)


def _of_binary(data: bytes, count: int, name: str) -> Floats:
    """(3 t, 3) places of a binary file; what stands behind its triangles is left."""
    if len(data) < _HEAD:
        raise fail("truncated", "the file ends before its first triangle", name, seen=f"{len(data)} bytes")
    if count > MAX_TRIANGLES:
        most = f"at most {MAX_TRIANGLES:,}"
        what = "the header announces more triangles than a scan can have"
        raise fail("too-large", what, name, seen=f"{count:,}", expected=most)
    there = (len(data) - _HEAD) // _TRIANGLE.itemsize
    if there < count:
        raise fail(
            "truncated", "the file ends before its last triangle", name, seen=f"{there:,} of {count:,}"
        )
    table = np.frombuffer(data, _TRIANGLE, count, _HEAD)
    if count and not data[-_TRIANGLE.itemsize :].strip(b"\0"):
        raise fail("truncated", "the file ends in bytes of value 0: it was not written to its end", name)
    return np.asarray(table["places"].reshape(-1, 3), np.float64)


def _of_text(data: bytes, name: str) -> Floats:
    """(3 t, 3) places of an ascii file: a line for each, three of them in a loop."""
    if b"\0" in data:
        raise fail(
            "truncated", "the file holds bytes of value 0: it was not written to its end, or is no text", name
        )
    data = data.removeprefix(b"\xef\xbb\xbf").rstrip().lower() + b"\n"
    text = data.replace(b"\r\n", b"\n").translate(_BLANKS)
    raw = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(raw == _NEWLINE)
    begins = np.concatenate([[0], ends[:-1] + 1])
    starts = begins
    for _ in range(_MAX_INDENTATION):  # few files have any
        indented = raw[starts] == _SPACE
        if not indented.any():
            break
        starts = starts + indented
    is_place = raw[starts] == b"v"[0]
    is_end = np.ones(len(starts), bool)
    for k, letter in enumerate(_ENDS_LOOP):
        is_end &= raw[np.minimum(starts + k, len(raw) - 1)] == letter
    order = is_end[is_place | is_end].reshape(-1)
    complete = len(order) % 4 == 0 and bool((order.reshape(-1, 4) == [False, False, False, True]).all())
    ended = text.rstrip().rpartition(b"\n")[2].lstrip().startswith(b"endsolid")
    if not ended:
        raise fail("truncated", "the file ends before its 'endsolid'", name)
    if not complete:
        raise fail(
            "bad-syntax", "a facet has not three corners", name, seen=f"{int(is_place.sum()):,} vertices"
        )
    lines = raw[np.repeat(is_place, ends - begins + 1)].tobytes()
    count = int(is_place.sum())
    if lines.count(b"vertex") != count:
        raise fail("bad-syntax", "a line of a facet cannot be read", name)
    lines = lines.replace(b"vertex", b"      ")
    numbers = parse_numbers(lines, np.float64)
    if numbers is None or not _three_a_line(np.frombuffer(lines, np.uint8), count):
        raise fail("bad-syntax", "a vertex has not three numbers", name, seen=_odd_line(lines))
    return numbers.reshape(-1, 3)


def _three_a_line(raw: NDArray[np.uint8], count: int) -> bool:
    """Whether each of so many lines has three words."""
    blank = (raw == _SPACE) | (raw == _NEWLINE)
    begins = ~blank
    begins[1:] &= blank[:-1]
    words, ends = np.flatnonzero(begins), np.flatnonzero(raw == _NEWLINE)
    if len(words) != 3 * count:
        return False
    return bool((words[2::3] < ends).all() and (words[3::3] > ends[:-1]).all())


def _odd_line(lines: bytes) -> str | None:
    """The first line that is no vertex of three numbers."""
    number = rb"[-+]?(?:\d++(?:\.\d*+)?|\.\d++)(?:e[-+]?\d++)?"
    odd = re.search(rb"^(?!(?: ++" + number + rb"){3} *+$).++$", lines, re.MULTILINE)
    return repr(odd.group().strip()[:60].decode("latin-1")) if odd else None
