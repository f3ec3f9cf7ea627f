"""Stanford PLY: reading (ascii, binary of both byte orders) and writing (binary).

The codes of its errors are described in `mesh_file`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Ints, Longs
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
    decode_name,
    fail,
    parse_numbers,
    polygons_of,
    triangulate_fans,
    triangulate_strips,
)
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.geometry.seams import seamed

_PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_PLY_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_MAX_HEADER_BYTES = 1 << 20
_DAMAGED_HEADER = (
    "The file has {:,} bytes for that, far too few: it is damaged. Copy or export the frame again."
)


class _Property(NamedTuple):
    """A PLY property: its numpy type, and the type of its length when it is a list."""

    name: str
    kind: str
    count_kind: str | None


class _Element(NamedTuple):
    name: str
    rows: int
    properties: tuple[_Property, ...]


class _Ragged(NamedTuple):
    """The values of a list property, row after row, and how many each row has."""

    values: NDArray[Any]
    counts: Longs


def read_ply(data: bytes, name: str) -> MeshFile:
    """Read a PLY: ascii or binary; polygons or triangle strips; colours of vertices, or of faces, which each vertex has
    the mean of; texture coordinates per vertex or per corner (`texcoord`); several images (`texnumber`).

    Args:
        data: the whole file; name: for errors.

    Raises:
        MeshFileError: see the codes in this module's description.
    """
    check_content(data, name)
    order, elements, textures, body = _ply_header(data, name)
    columns = (
        _ply_ascii(data[body:], elements, name)
        if not order
        else _ply_binary(data, body, order, elements, name)
    )
    vertex = columns.get("vertex", {})
    if not all(k in vertex for k in "xyz") or not len(vertex["x"]):
        raise fail("empty-file", "the file holds no vertex", name)
    if any(isinstance(vertex[k], _Ragged) for k in "xyz"):
        raise fail("bad-syntax", "the coordinates of a vertex are lists", name)
    vertices = np.stack([vertex[k] for k in "xyz"], axis=1).astype(np.float64)
    face = columns.get("face", {})
    corners = _first_of(face, _INDEX_NAMES)
    colors = _ply_colors(vertex)
    polygons, of_faces = None, False
    if isinstance(corners, _Ragged) and (corners.counts >= 3).any():
        if order and not corners.counts[-1]:
            what = "the file ends in bytes of value 0: it was not written to its end"
            raise fail("truncated", what, name)
        corner, owner = triangulate_fans(corners.counts)
        check_triangles(len(corner), name)
        faces = checked(corners.values.astype(np.int64)[corner], len(vertices), name)
        uv, uv_faces = _ply_uv(vertex, face, corners, corner, owner, faces)
        face_material = _texture_numbers(face, owner)
        painted = _ply_colors(face) if colors is None else None
        if painted is not None and (painted != painted[0]).any():  # all of one colour is a program's white
            colors, of_faces = _of_vertices(painted[owner], faces, len(vertices)), True
        polygons = polygons_of(owner, corners.counts)
    else:
        faces = checked(_strips(columns, name), len(vertices), name)
        uv, uv_faces = _vertex_uv(vertex, faces)
        face_material = np.full(len(faces), -1, np.int32)
        polygons = None
    if not len(faces):
        raise fail(
            "no-faces", "the file has vertices but no triangle", name, seen=f"{len(vertices):,} vertices"
        )
    check_vertices(vertices, name, faces)
    mesh = Mesh(vertices, faces, uv, uv_faces, colors)
    return MeshFile(
        mesh,
        face_material=face_material,
        textures=tuple(textures),
        polygons=polygons,
        colors_of_faces=of_faces,
    )


_INDEX_NAMES = ("vertex_indices", "vertex_index", "vertex_indexes", "vertices")


def _first_of(columns: dict[str, Any], names: Sequence[str]) -> Any:
    return next((columns[name] for name in names if name in columns), None)


def _strips(columns: dict[str, dict[str, Any]], name: str) -> Longs:
    """(t, 3) of the element `tristrips`, as range scanners write it: lists of indices, -1 between strips."""
    strips = _first_of(columns.get("tristrips", {}), _INDEX_NAMES)
    if not isinstance(strips, _Ragged):
        return np.zeros((0, 3), np.int64)
    values = strips.values
    if values.dtype.kind == "u":  # -1 where no sign is kept
        values = np.where(values == np.iinfo(values.dtype).max, -1, values.astype(np.int64))
    index = np.insert(values.astype(np.int64), np.cumsum(strips.counts)[:-1], -1)
    if (index < -1).any():
        seen = f"index {int(index.min())}"
        raise fail("face-index", "a strip names a vertex that is not there", name, seen=seen)
    check_triangles(len(index), name)
    return triangulate_strips(index)


def _texture_numbers(face: dict[str, Any], owner: Longs) -> Ints:
    """(t,) which of the images each triangle shows, -1 where the file does not say."""
    number = face.get("texnumber")
    if number is None or isinstance(number, _Ragged):
        return np.full(len(owner), -1, np.int32)
    limited = np.clip(np.nan_to_num(np.asarray(number, np.float64), nan=-1), -1, 1 << 30)
    return limited.astype(np.int32)[owner]


def _ply_header(data: bytes, name: str) -> tuple[str, list[_Element], list[str], int]:
    """Byte order ('' for ascii), elements, texture names, and where the body begins."""
    head = data[:_MAX_HEADER_BYTES]
    if not re.match(rb"ply[ \t]*[\r\n]", head):
        raise fail("bad-syntax", "this is no PLY file: it does not begin with 'ply'", name)
    found = re.search(rb"^end_header[ \t]*(\r\n|\n|\r)", head, re.MULTILINE)
    if not found and b"\rend_header\r" in head:
        found = re.search(rb"end_header\r", head)
    if not found:
        raise fail("truncated", "the file ends within its header", name)
    order: str | None = None
    elements: list[_Element] = []
    textures: list[str] = []
    for raw in head[: found.start()].replace(b"\r", b"\n").split(b"\n")[1:]:
        words = raw.decode("latin-1").split()
        if not words:
            continue
        try:
            if words[0] == "format":
                order = _PLY_ORDERS[words[1]]
            elif words[0] == "comment" and len(words) > 2 and words[1].lower() == "texturefile":
                textures.append(decode_name(raw.split(None, 2)[2]))
            elif words[0] == "element":
                rows = int(words[2])
                if rows < 0:
                    raise ValueError
                elements.append(_Element(words[1], rows, ()))
            elif words[0] == "property":
                is_list = words[1] == "list"
                added = _Property(words[-1], _PLY_TYPES[words[-2]], _PLY_TYPES[words[2]] if is_list else None)
                if is_list and added.count_kind and added.count_kind[0] == "f":
                    raise ValueError
                last = elements[-1]
                if any(p.name == added.name for p in last.properties):
                    raise ValueError
                elements[-1] = last._replace(properties=(*last.properties, added))
        except (KeyError, IndexError, ValueError):
            raise fail(
                "bad-syntax", "a line of the header cannot be read", name, seen=repr(" ".join(words)[:60])
            ) from None
    if order is None:
        raise fail("bad-syntax", "the header names no format", name)
    left = len(data) - found.end()
    limits = {"vertex": MAX_VERTICES, "face": MAX_TRIANGLES}
    for element in elements:
        least = element.rows * _least_bytes(element, bool(order))
        if element.rows > limits.get(element.name, 2 * MAX_TRIANGLES):
            holds_it = {} if least <= left + 2 else {"todo": _DAMAGED_HEADER.format(max(left, 0))}
            raise fail(
                "too-large",
                f"the header announces more of '{element.name}' than a scan can have",
                name,
                seen=f"{element.rows:,}",
                expected=f"at most {limits.get(element.name, 2 * MAX_TRIANGLES):,}",
                **holds_it,
            )
        left -= least
        if left < -2:  # the last ascii line may lack its newline
            raise _truncated_ply(name, element)
    return order, elements, textures, found.end()


def _truncated_ply(name: str, element: _Element) -> MeshFileError:
    return fail(
        "truncated",
        f"the file ends before its {element.rows:,} rows of '{element.name}'",
        name,
    )


def _least_bytes(element: _Element, binary: bool) -> int:
    """Fewest bytes a row of the element can take."""
    if binary:
        return sum(np.dtype(p.count_kind or p.kind).itemsize for p in element.properties)
    return 2 * len(element.properties)


def _ply_binary(
    data: bytes, body: int, order: str, elements: Sequence[_Element], name: str
) -> dict[str, dict[str, Any]]:
    columns: dict[str, dict[str, Any]] = {}
    for element in elements:
        counts = _first_counts(data, body, order, element, name)
        dtype = np.dtype(
            [
                field
                for p, c in zip(element.properties, counts, strict=True)
                for field in (
                    [(f"{p.name} n", order + p.count_kind), (p.name, order + p.kind, (c,))]
                    if p.count_kind
                    else [(p.name, order + p.kind)]
                )
            ]
        )
        enough = len(data) - body >= element.rows * dtype.itemsize
        table = (
            np.frombuffer(data, dtype, element.rows, body)
            if enough and element.rows and dtype.itemsize
            else None
        )
        lists = [(p, c) for p, c in zip(element.properties, counts, strict=True) if p.count_kind]
        if table is not None and all((table[f"{p.name} n"] == c).all() for p, c in lists):
            found: dict[str, Any] = {p.name: table[p.name] for p in element.properties if not p.count_kind}
            for p, c in lists:
                found[p.name] = _Ragged(table[p.name].reshape(-1), np.full(element.rows, c, np.int64))
            body += element.rows * dtype.itemsize
        elif lists:
            found, body = _ply_ragged(data, body, order, element, name)
        elif not enough:
            raise _truncated_ply(name, element)
        else:
            found = {p.name: np.zeros(0, p.kind) for p in element.properties}
        columns[element.name] = found
    return columns


def _first_counts(data: bytes, body: int, order: str, element: _Element, name: str) -> list[int]:
    """Length of each list in the element's first row, 0 for what is no list."""
    counts = []
    for p in element.properties:
        size = np.dtype(p.kind).itemsize
        if p.count_kind is None:
            counts.append(0)
            body += size
            continue
        if not element.rows:
            counts.append(0)
            continue
        kind = np.dtype(order + p.count_kind)
        if body + kind.itemsize > len(data):
            raise _truncated_ply(name, element)
        count = int(np.frombuffer(data, kind, 1, body)[0])
        body += kind.itemsize + count * size
        if count < 0 or body > len(data):
            raise fail("truncated", f"a list of '{element.name}' is longer than the file", name, seen=count)
        counts.append(count)
    return counts


def _ply_ragged(
    data: bytes, body: int, order: str, element: _Element, name: str
) -> tuple[dict[str, Any], int]:
    """An element whose lists differ in length (polygons): the one place that goes row by row."""
    readers = [
        (
            struct.Struct((order or "<") + _STRUCT[p.count_kind]) if p.count_kind else None,
            np.dtype(p.kind).itemsize,
        )
        for p in element.properties
    ]
    counts: list[list[int]] = [[] for _ in readers]
    pieces: list[list[bytes]] = [[] for _ in readers]
    try:
        for _ in range(element.rows):
            for k, (count_reader, size) in enumerate(readers):
                count = 1
                if count_reader is not None:
                    count = count_reader.unpack_from(data, body)[0]
                    body += count_reader.size
                stop = body + count * size
                if count < 0 or stop > len(data):
                    raise _truncated_ply(name, element)
                counts[k].append(count)
                pieces[k].append(data[body:stop])
                body = stop
    except struct.error:
        raise _truncated_ply(name, element) from None
    found: dict[str, Any] = {}
    for k, p in enumerate(element.properties):
        values = np.frombuffer(b"".join(pieces[k]), order + p.kind)
        found[p.name] = _Ragged(values, np.asarray(counts[k], np.int64)) if p.count_kind else values
    return found, body


_STRUCT = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I"}


def _ply_ascii(body: bytes, elements: Sequence[_Element], name: str) -> dict[str, dict[str, Any]]:
    numbers = parse_numbers(body, np.float64)
    if numbers is None and b"\0" in body:
        raise fail(
            "truncated", "the file holds bytes of value 0: it was not written to its end, or is no text", name
        )
    if numbers is None:
        raise fail("bad-syntax", "the body holds something that is no number", name)
    columns: dict[str, dict[str, Any]] = {}
    at = 0
    for element in elements:
        found, at = _ascii_element(numbers, at, element, name)
        columns[element.name] = found
    return columns


def _ascii_element(numbers: Floats, at: int, element: _Element, name: str) -> tuple[dict[str, Any], int]:
    """One element of an ascii body that begins at number `at`; all rows at once when their lists are
    alike."""
    left = len(numbers) - at
    places, counts, width = [], [], 0
    for p in element.properties:
        count = 1
        if p.count_kind:
            if element.rows and width >= left:
                raise _truncated_ply(name, element)
            count = _list_length(numbers[at + width], left, name, element) if element.rows else 0
            width += 1
        places.append(width)
        counts.append(count)
        width += count
    if element.rows * width <= left:
        table = numbers[at : at + element.rows * width].reshape(element.rows, width)
        lists = [k for k, p in enumerate(element.properties) if p.count_kind]
        if all((table[:, places[k] - 1] == counts[k]).all() for k in lists):
            found: dict[str, Any] = {}
            for k, p in enumerate(element.properties):
                values = table[:, places[k] : places[k] + counts[k]].reshape(-1)
                values = _typed(values, p.kind)
                found[p.name] = (
                    _Ragged(values, np.full(element.rows, counts[k], np.int64)) if p.count_kind else values
                )
            return found, at + element.rows * width
    elif not any(p.count_kind for p in element.properties):
        raise _truncated_ply(name, element)
    lengths: list[list[int]] = [[] for _ in element.properties]
    pieces: list[list[Floats]] = [[] for _ in element.properties]
    for _ in range(element.rows):
        for k, p in enumerate(element.properties):
            count = 1
            if p.count_kind:
                if at >= len(numbers):
                    raise _truncated_ply(name, element)
                count = _list_length(numbers[at], len(numbers) - at, name, element)
                at += 1
            if at + count > len(numbers):
                raise _truncated_ply(name, element)
            lengths[k].append(count)
            pieces[k].append(numbers[at : at + count])
            at += count
    found = {}
    for k, p in enumerate(element.properties):
        values = _typed(np.concatenate(pieces[k]) if pieces[k] else np.zeros(0), p.kind)
        found[p.name] = _Ragged(values, np.asarray(lengths[k], np.int64)) if p.count_kind else values
    return found, at


def _list_length(value: float, left: int, name: str, element: _Element) -> int:
    if not 0 <= value <= left or value != int(value):
        raise fail("truncated", f"a list of '{element.name}' is longer than the file", name, seen=value)
    return int(value)


def _typed(values: Floats, kind: str) -> NDArray[Any]:
    if kind[0] == "f":
        return values
    if kind == "u1":
        return np.clip(np.nan_to_num(values), 0, 255).astype(np.uint8)
    return np.clip(np.nan_to_num(values, nan=-1.0), -(2.0**62), 2.0**62).astype(np.int64)


_VERTEX_UV_NAMES = (
    *(("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t")),
    *(("texcoord_u", "texcoord_v"), ("tu", "tv"), ("tx", "ty"), ("s0", "t0"), ("u0", "v0")),
)
_UV_LISTS = ("texcoord", "texcoords", "texture_coordinates", "uv")


def _ply_uv(
    vertex: dict[str, Any], face: dict[str, Any], corners: _Ragged, corner: Longs, owner: Longs, faces: Ints
) -> tuple[Floats | None, Ints | None]:
    """Texture coordinates per corner where the faces have them (NaN at a face without), else per vertex."""
    wedge = _first_of(face, _UV_LISTS)
    if not isinstance(wedge, _Ragged):
        return _vertex_uv(vertex, faces)
    has = (wedge.counts == 2 * corners.counts) & (corners.counts > 0)
    if not has.any():
        return _vertex_uv(vertex, faces)
    values = wedge.values
    if not has.all():
        values = values[np.repeat(has, wedge.counts)]
    uv = np.ascontiguousarray(values.reshape(-1, 2), np.float64)
    # corners that share a place in the picture share a row, so that seams alone split the layout
    unique, inverse = np.unique(uv.view(np.complex128).reshape(-1), return_inverse=True)
    rows = unique.view(np.float64).reshape(-1, 2)
    if has.all():
        return rows, inverse.reshape(-1)[corner].astype(np.int32)
    of_corner = np.full(int(corners.counts.sum()), len(rows))
    of_corner[np.repeat(has, corners.counts)] = inverse.reshape(-1)
    uv_faces = np.where(has[owner][:, None], of_corner[corner], len(rows))
    return np.concatenate([rows, np.full((1, 2), np.nan)]), uv_faces.astype(np.int32)


def _vertex_uv(vertex: dict[str, Any], faces: Ints) -> tuple[Floats | None, Ints | None]:
    for u, v in _VERTEX_UV_NAMES:
        if (
            u in vertex
            and v in vertex
            and not isinstance(vertex[u], _Ragged)
            and not isinstance(vertex[v], _Ragged)
        ):
            return np.stack([vertex[u], vertex[v]], axis=1).astype(np.float64), faces.copy()
    listed = _first_of(vertex, _UV_LISTS)
    if isinstance(listed, _Ragged) and (listed.counts == 2).all():
        return listed.values.reshape(-1, 2).astype(np.float64), faces.copy()
    return None, None


def _ply_colors(rows: dict[str, Any]) -> NDArray[np.uint8] | None:
    """(n, 3) of vertices or faces; None where they have none."""
    for names in (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), tuple("rgb")):
        if all(n in rows and not isinstance(rows[n], _Ragged) for n in names):
            return as_bytes(np.stack([rows[n] for n in names], axis=1))
    return None


def _of_vertices(colors: NDArray[np.uint8], faces: Ints, n_vertices: int) -> NDArray[np.uint8]:
    """(n, 3) mean colour of the triangles (t, 3) that meet in each vertex; white, where none does."""
    corner = faces.ravel()
    count = np.bincount(corner, minlength=n_vertices)
    sums = [np.bincount(corner, np.repeat(colors[:, k], 3), n_vertices) for k in range(3)]
    mean = np.stack(sums, axis=1) / np.maximum(count, 1)[:, None]
    return np.where(count[:, None] > 0, np.rint(mean), 255).astype(np.uint8)


def ply_bytes(mesh: Mesh, image_name: str | None = None, double: bool = False) -> bytes:
    """A mesh as binary little-endian PLY, coordinates as float32, or with `double` as float64; the same mesh gives the
    same bytes.

    Texture coordinates are written twice, with `image_name` as `TextureFile`: per corner (`texcoord`), as MeshLab does,
    and per vertex (`s`, `t`), which is what Open3D and Blender read.  For these the vertices on a texture seam are
    written once per side, the further ones behind the mesh's own, which keep their order.
    """
    header = ["ply", "format binary_little_endian 1.0"]
    if image_name is not None:
        header.append(f"comment TextureFile {image_name}")
    vertices, faces, colors, uv = mesh.vertices, mesh.faces, mesh.colors, None
    if mesh.uv is not None and mesh.uv_faces is not None:
        split = seamed(faces, mesh.uv, mesh.uv_faces, len(vertices))
        vertices, faces, uv = vertices[split.source], split.faces, split.uv
        colors = None if colors is None else colors[split.source]
    vertex: list[Any] = [(k, "<f8" if double else "<f4") for k in "xyz"]
    kind = "double" if double else "float"
    header += [f"element vertex {len(vertices)}", *(f"property {kind} {k}" for k in "xyz")]
    if uv is not None:
        vertex += [(k, "<f4") for k in "st"]
        header += [f"property float {k}" for k in "st"]
    if colors is not None:
        vertex += [(k, "u1") for k in ("red", "green", "blue")]
        header += [f"property uchar {k}" for k in ("red", "green", "blue")]
    face: list[Any] = [("n", "u1"), ("i", "<i4", 3)]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    if uv is not None:
        face += [("m", "u1"), ("t", "<f4", 6)]
        header.append("property list uchar float texcoord")
    rows = np.zeros(len(vertices), vertex)
    for k, axis in enumerate("xyz"):
        rows[axis] = vertices[:, k]
    if uv is not None:
        rows["s"], rows["t"] = uv.T
    if colors is not None:
        for k, channel in enumerate(("red", "green", "blue")):
            rows[channel] = colors[:, k]
    triangles = np.zeros(len(faces), face)
    triangles["n"], triangles["i"] = 3, faces
    if mesh.uv is not None and mesh.uv_faces is not None:
        triangles["m"], triangles["t"] = 6, mesh.uv[mesh.uv_faces].reshape(-1, 6)
    return "\n".join([*header, "end_header\n"]).encode() + rows.tobytes() + triangles.tobytes()


def write_ply(path: Path, mesh: Mesh, image_name: str | None = None) -> None:
    """Write a binary PLY; see `ply_bytes`."""
    path.write_bytes(ply_bytes(mesh, image_name))
