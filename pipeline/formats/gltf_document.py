"""The data of a glTF 2.0 file: its description, buffers, views, accessors and images, each checked before it is used.

Nothing that the description says is believed: an index must name an entry, a count must fit the bytes that are there,
and a buffer in a file of its own is asked of `beside`, which confines it.  The codes of errors are described in
`mesh_file`.  (Khronos, 2021: glTF 2.0 Specification, version 2.0.1.)

An own reader, although there are parsers such as pygltflib: those turn the JSON into classes and check nothing of what
is checked here, do not decode accessors, and open the files that a description names wherever they lie.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.formats import draco
from mimicme.pipeline.formats.mesh_file import MAX_TRIANGLES, MAX_VERTICES, fail

Beside = Callable[[str], bytes]
"""The content of a file that lies beside the mesh, by the name written in it; the caller confines it."""

MAX_JSON_BYTES = 256 << 20
MAX_JSON_VALUES = 4_000_000
"""Scans need some hundred values; each takes some hundred bytes of memory once it is read."""

_KINDS = {5120: "i1", 5121: "u1", 5122: "i2", 5123: "u2", 5125: "u4", 5126: "f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
DRACO = "KHR_draco_mesh_compression"
_DRACO_READ = r"POSITION|COLOR_0|TEXCOORD_\d+"
_COMPRESSED_VIEWS = ("EXT_meshopt_compression", "KHR_meshopt_compression")

# Extensions a file may require: applied by `gltf`, or without a say in places, triangles and the colour of a surface.
KNOWN_EXTENSIONS = frozenset(
    {
        "EXT_texture_webp",
        "KHR_materials_pbrSpecularGlossiness",
        "KHR_materials_unlit",
        "KHR_mesh_quantization",
        "KHR_texture_transform",
        DRACO,
        "KHR_lights_punctual",
        "KHR_materials_variants",
        "KHR_xmp_json_ld",
        *(
            f"KHR_materials_{name}"
            for name in ("anisotropy", "clearcoat", "dispersion", "emissive_strength", "ior", "iridescence")
        ),
        *(f"KHR_materials_{name}" for name in ("sheen", "specular", "transmission", "volume")),
    }
)
_WHAT_TO_DO = {
    "EXT_meshopt_compression": "Export it without mesh compression.",
    "KHR_meshopt_compression": "Export it without mesh compression.",
    "KHR_texture_basisu": "Export it with PNG, JPEG or WebP textures.",
    "MSFT_texture_dds": "Export it with PNG, JPEG or WebP textures.",
    "EXT_texture_avif": "Export it with PNG, JPEG or WebP textures.",
}


def glb_chunks(data: bytes, name: str) -> tuple[dict[str, Any], memoryview]:
    """The description and the binary chunk of a .glb."""
    if not data.strip(b"\0"):
        raise fail("truncated", "the file holds bytes of value 0: it was not written", name)
    if data[:4] != b"glTF":
        raise fail("bad-syntax", "this is no binary glTF: it does not begin with 'glTF'", name)
    if len(data) < 20:
        raise fail("truncated", "the file ends within its header", name)
    version, total = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise fail("bad-syntax", "the glTF version is not known", name, seen=version, expected=2)
    if total > len(data):
        raise fail(
            "truncated",
            "the file is shorter than it says",
            name,
            seen=f"{len(data):,} bytes",
            expected=f"{total:,}",
        )
    at, tree, buffer = 12, None, memoryview(b"")
    while at + 8 <= total:
        size, kind = struct.unpack_from("<I4s", data, at)
        if at + 8 + size > len(data):
            raise fail("truncated", "the file ends within a chunk", name)
        chunk = memoryview(data)[at + 8 : at + 8 + size]
        if kind == b"JSON" and tree is None:
            tree = description(chunk, name)
        elif kind == b"BIN\0" and not buffer:
            buffer = chunk
        at += 8 + size
    if tree is None:
        raise fail("bad-syntax", "the glTF file has no description", name)
    return tree, buffer


def description(text: bytes | memoryview, name: str) -> dict[str, Any]:
    """The JSON of a glTF file, its size and its number of values checked before it is read."""
    if len(text) > MAX_JSON_BYTES:
        raise fail("too-large", "the glTF description is too large", name, seen=f"{len(text):,} bytes")
    raw = bytes(text)
    values = raw.count(b",") + raw.count(b"[") + raw.count(b"{")
    if values > MAX_JSON_VALUES:
        raise fail("too-large", "the glTF description is too large", name, seen=f"{values:,} values")
    tree = json.loads(raw.removeprefix(b"\xef\xbb\xbf"))
    if not isinstance(tree, dict):
        raise fail("bad-syntax", "the glTF file has no description", name)
    return tree


def whole(value: Any) -> int:
    """A count, index or offset of the description.

    Raises:
        ValueError: it is no whole number from 0 on.
    """
    number = int(value)
    if isinstance(value, bool | str) or number != value or number < 0:
        raise ValueError(f"{value!r} is no count")
    return number


@dataclass
class Document:
    """A glTF file.

    Attributes:
        tree: its description.
        chunk: the binary chunk of a .glb; empty for a .gltf.
        name: for errors.
        beside: reads a file that lies beside it; None: no other file is read.
    """

    tree: dict[str, Any]
    chunk: memoryview
    name: str
    beside: Beside | None = None
    _buffers: dict[int, memoryview] = field(default_factory=dict)
    _same_images: dict[Any, int] = field(default_factory=dict)

    def check_version(self) -> None:
        """Refuse another version of glTF, and what the file requires and is not known here, by its name."""
        version = str(self.tree.get("asset", {}).get("version", "2.0"))
        if not version.startswith("2."):
            raise fail("bad-syntax", "the glTF version is not known", self.name, seen=version, expected="2.0")
        for required in self.tree.get("extensionsRequired", []):
            if required not in KNOWN_EXTENSIONS:
                raise self.refused(str(required))

    def refused(self, extension: str) -> Exception:
        todo = _WHAT_TO_DO.get(extension, "Export it without this extension.")
        what = "the glTF file needs an extension that is not read"
        return fail("bad-syntax", what, self.name, seen=extension[:60], todo=todo)

    def entry(self, kind: str, index: Any) -> dict[str, Any]:
        """`meshes[3]` and the like."""
        found = self.tree[kind][whole(index)]
        if not isinstance(found, dict):
            raise TypeError(f"{kind}[{index}] is no object")
        return found

    def _truncated(self) -> Exception:
        return fail("truncated", "the glTF file announces more data than it holds", self.name)

    def buffer(self, index: Any) -> memoryview:
        """One buffer: the file's binary chunk, what a data: URI holds, or a file beside."""
        number = whole(index)
        if number not in self._buffers:
            entry = self.entry("buffers", number)
            uri = entry.get("uri")
            if uri is None and (number or not self.chunk):
                raise fail("truncated", "the glTF file has a buffer without data", self.name)
            data = self.chunk if uri is None else memoryview(self.content(str(uri)))
            if len(data) < whole(entry.get("byteLength", 0)):
                raise self._truncated()
            self._buffers[number] = data
        return self._buffers[number]

    def content(self, uri: str) -> bytes:
        """What a URI names: its own data, or a file beside."""
        if uri.startswith("data:"):
            head, _, body = uri.partition(",")
            return base64.b64decode(body) if head.endswith(";base64") else unquote_to_bytes(body)
        if self.beside is None:
            raise fail(
                "bad-syntax",
                "the glTF file keeps its data in another file",
                self.name,
                seen=repr(uri[:60]),
                todo="Save it as one .glb.",
            )
        return self.beside(unquote(uri, errors="surrogateescape"))

    def view(self, index: Any) -> tuple[memoryview, int]:
        """The bytes of a buffer view, and the stride it gives (0: none)."""
        view = self.entry("bufferViews", index)
        held = [e for e in _COMPRESSED_VIEWS if e in view.get("extensions", {})]
        if held:
            plain = self.entry("buffers", view["buffer"])
            if "uri" not in plain and (plain.get("extensions") or whole(view["buffer"])):
                raise self.refused(held[0])
        buffer = self.buffer(view["buffer"])
        start, size = whole(view.get("byteOffset", 0)), whole(view["byteLength"])
        if start + size > len(buffer):
            raise self._truncated()
        return buffer[start : start + size], whole(view.get("byteStride", 0))

    def _values(self, view: Any, offset: Any, kind: np.dtype[Any], width: int, count: int) -> NDArray[Any]:
        data, stride = self.view(view)
        start, row = whole(offset), width * kind.itemsize
        stride = stride or row
        if stride < row or start + ((count - 1) * stride + row if count else 0) > len(data):
            raise self._truncated()
        return np.ndarray((count, width), kind, data, start, (stride, kind.itemsize))

    def accessor(self, index: Any, width: int) -> NDArray[Any]:
        """(count, width) values of an accessor; normalised integers as float64 in [-1, 1].

        Raises:
            ValueError: it has another width.
        """
        accessor = self.entry("accessors", index)
        kind = np.dtype("<" + _KINDS[accessor["componentType"]])
        count = whole(accessor["count"])
        if _WIDTHS[accessor["type"]] != width:
            raise ValueError(f"accessor {index} is a {accessor['type']}")
        if count > (3 * MAX_TRIANGLES if width == 1 else MAX_VERTICES):
            raise fail("too-large", "the mesh is too large", self.name, seen=f"{count:,} values")
        sparse = accessor.get("sparse")
        if "bufferView" in accessor:
            offset = accessor.get("byteOffset", 0)
            values = self._values(accessor["bufferView"], offset, kind, width, count)
        elif sparse is None or count > sum(len(self.buffer(k)) for k in range(len(self.tree["buffers"]))):
            # zeros: what some triangle uses takes a byte at least elsewhere in the file
            raise self._truncated()
        else:
            values = np.zeros((count, width), kind)
        if sparse is not None:
            values = values.copy()
            indices, given = sparse["indices"], sparse["values"]
            changed, small = whole(sparse["count"]), np.dtype("<" + _KINDS[indices["componentType"]])
            if changed > count:
                raise ValueError(f"accessor {index} changes more values than it has")
            where = self._values(indices["bufferView"], indices.get("byteOffset", 0), small, 1, changed)
            values[where[:, 0]] = self._values(
                given["bufferView"], given.get("byteOffset", 0), kind, width, changed
            )
        return normalised(values) if accessor.get("normalized") else values

    def is_float(self, index: Any) -> bool:
        return bool(self.entry("accessors", index)["componentType"] == 5126)

    def same_image(self, index: Any) -> int:
        """The first image asked for that is the same as this one: that has its bytes, or its URI."""
        number = whole(index)
        image = self.entry("images", number)
        key: Any = str(image.get("uri", ""))
        if "bufferView" in image:
            view = self.entry("bufferViews", image["bufferView"])
            key = (whole(view["buffer"]), whole(view.get("byteOffset", 0)), whole(view["byteLength"]))
        return self._same_images.setdefault(key, number)

    def images(self, indices: Iterable[int]) -> list[tuple[str, bytes]]:
        """Names as written ('' when embedded) and bytes (b'' when in another file) of images.

        Raises:
            MeshFileError: they would take more memory than the file's data.
        """
        views = [
            self.entry("images", i)["bufferView"] for i in indices if "bufferView" in self.entry("images", i)
        ]
        total = sum(len(self.view(view)[0]) for view in views)
        buffers = {whole(self.entry("bufferViews", view)["buffer"]) for view in views}
        held = sum(len(self.buffer(number)) for number in buffers)
        if total > held:
            seen, expected = f"{total:,} bytes", f"at most the {held:,} of its buffers"
            raise fail("bad-syntax", "the glTF images overlap", self.name, seen=seen, expected=expected)
        return [self._image(i) for i in indices]

    def _image(self, index: int) -> tuple[str, bytes]:
        image = self.entry("images", index)
        if "bufferView" in image:
            return "", bytes(self.view(image["bufferView"])[0])
        uri = str(image.get("uri", ""))
        return (
            ("", self.content(uri))
            if uri.startswith("data:")
            else (unquote(uri, errors="surrogateescape"), b"")
        )

    def draco(self, extension: dict[str, Any]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Triangles (t, 3) and attributes by their glTF names, of a primitive compressed with Draco.

        Raises:
            MissingDependencyError: DracoPy is not installed.
            ShortageError: see `draco.decode`.
        """
        data = bytes(self.view(extension["bufferView"])[0])
        named = {
            str(name): whole(number)
            for name, number in extension["attributes"].items()
            if re.fullmatch(_DRACO_READ, str(name))
        }
        triangles, by_id = draco.decode(data, named.values(), self.name)
        return triangles, {name: by_id[number] for name, number in named.items()}


def normalised(values: NDArray[Any]) -> NDArray[Any]:
    """Integers as what they stand for, float64: unsigned in [0, 1], signed in [-1, 1]; floats as they are."""
    if values.dtype.kind == "f":
        return values
    return np.maximum(values / float(np.iinfo(values.dtype).max), -1.0)
