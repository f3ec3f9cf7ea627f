"""Binary glTF 2.0: reading and writing.  The codes of its errors are described in `mesh_file`."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Longs
from mimicme.pipeline.formats.mesh_file import (
    MAX_TRIANGLES,
    MAX_VERTICES,
    MeshFile,
    check_vertices,
    checked,
    fail,
)
from mimicme.pipeline.geometry.mesh import Mesh, vertex_normals

_GLTF_TYPES = {5120: "i1", 5121: "u1", 5122: "i2", 5123: "u2", 5125: "u4", 5126: "f4"}
_GLTF_WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def read_glb(data: bytes, name: str) -> MeshFile:
    """Read a binary glTF 2.0: every triangle mesh of its scene, in place, with the first texture coordinates.

    glTF's v runs down; it is turned to run up.  Compressed or sparse buffers and buffers in other files are
    refused.

    Args:
        data: the whole file; name: for errors.

    Raises:
        MeshFileError: see the codes in this module's description.
    """
    try:
        tree, buffer = _glb_chunks(data, name)
        return _glb_meshes(tree, buffer, name)
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        struct.error,
    ) as error:
        raise fail(
            "bad-syntax", "the glTF file cannot be read", name, seen=f"{type(error).__name__}: {error}"
        ) from error


def _glb_chunks(data: bytes, name: str) -> tuple[dict[str, Any], bytes]:
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
    at, tree, buffer = 12, None, b""
    while at + 8 <= total:
        size, kind = struct.unpack_from("<I4s", data, at)
        chunk = data[at + 8 : at + 8 + size]
        if len(chunk) < size:
            raise fail("truncated", "the file ends within a chunk", name)
        if kind == b"JSON" and tree is None:
            tree = json.loads(chunk)
        elif kind == b"BIN\0" and not buffer:
            buffer = chunk
        at += 8 + size
    if not isinstance(tree, dict):
        raise fail("bad-syntax", "the glTF file has no description", name)
    return tree, buffer


def _glb_buffer(tree: dict[str, Any], chunk: bytes, index: int, name: str) -> bytes:
    """One buffer: the file's binary chunk, or what a data: URI holds (Open3D writes such)."""
    uri = tree["buffers"][index].get("uri")
    if uri is None and index == 0:
        return chunk
    if not str(uri).startswith("data:"):
        raise fail(
            "bad-syntax", "the glTF file keeps its data in another file", name, todo="Save it as one .glb."
        )
    return base64.b64decode(str(uri).partition(",")[2])


def _glb_accessor(tree: dict[str, Any], buffer: bytes, index: int, name: str) -> NDArray[Any]:
    accessor = tree["accessors"][index]
    if "sparse" in accessor or "bufferView" not in accessor:
        raise fail("bad-syntax", "sparse glTF data are not supported", name)
    view = tree["bufferViews"][accessor["bufferView"]]
    buffer = _glb_buffer(tree, buffer, view["buffer"], name)
    kind = np.dtype("<" + _GLTF_TYPES[accessor["componentType"]])
    width, count = _GLTF_WIDTH[accessor["type"]], int(accessor["count"])
    if not 0 <= count <= 3 * MAX_TRIANGLES:
        raise fail("too-large", "the mesh is too large", name, seen=f"{count:,} values")
    start = int(view.get("byteOffset", 0)) + int(accessor.get("byteOffset", 0))
    stride = int(view.get("byteStride", 0)) or width * kind.itemsize
    need = (count - 1) * stride + width * kind.itemsize if count else 0
    if start < 0 or stride < width * kind.itemsize or start + need > len(buffer):
        raise fail("truncated", "the glTF file announces more data than it holds", name)
    values = np.ndarray((count, width), kind, buffer, start, (stride, kind.itemsize))
    if accessor.get("normalized"):
        return np.maximum(values / float(np.iinfo(kind).max), -1.0)
    return values


def _glb_nodes(tree: dict[str, Any], name: str) -> list[tuple[int, Floats]]:
    """(mesh, world matrix) of every mesh in the scene."""
    nodes = tree.get("nodes", [])
    scene = tree.get("scenes", [{}])[tree.get("scene", 0)]
    stack = [(int(i), np.eye(4)) for i in reversed(scene.get("nodes", range(len(nodes))))]
    found, visits = [], 0
    while stack:
        index, parent = stack.pop()
        visits += 1
        if visits > len(nodes):
            raise fail("bad-syntax", "the glTF scene is not a tree", name)
        node = nodes[index]
        if "matrix" in node:
            own = np.asarray(node["matrix"], np.float64).reshape(4, 4).T
        else:
            own = np.eye(4)
            x, y, z, w = np.asarray(node.get("rotation", [0, 0, 0, 1]), np.float64)
            own[:3, :3] = [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
            own[:3, :3] *= np.asarray(node.get("scale", [1, 1, 1]), np.float64)
            own[:3, 3] = np.asarray(node.get("translation", [0, 0, 0]), np.float64)
        world = parent @ own
        if "mesh" in node:
            found.append((int(node["mesh"]), world))
        stack.extend((int(i), world) for i in reversed(node.get("children", [])))
    return found


def _glb_meshes(tree: dict[str, Any], buffer: bytes, name: str) -> MeshFile:
    vertices: list[Floats] = []
    faces: list[Longs] = []
    uvs: list[Floats] = []
    materials: list[NDArray[np.int32]] = []
    images: dict[int, int] = {}
    n_vertices = 0
    for mesh_index, world in _glb_nodes(tree, name):
        for part in tree["meshes"][mesh_index]["primitives"]:
            if part.get("mode", 4) != 4:
                continue
            if part.get("extensions"):
                raise fail(
                    "bad-syntax",
                    "compressed glTF meshes are not supported",
                    name,
                    todo="Save it uncompressed.",
                )
            place = _glb_accessor(tree, buffer, part["attributes"]["POSITION"], name).astype(np.float64)
            index = (
                _glb_accessor(tree, buffer, part["indices"], name).astype(np.int64).reshape(-1)
                if "indices" in part
                else np.arange(len(place))
            )
            if len(index) % 3:
                raise fail("truncated", "a glTF triangle is incomplete", name)
            faces.append(checked(index.reshape(-1, 3), len(place), name).astype(np.int64) + n_vertices)
            vertices.append(place @ world[:3, :3].T + world[:3, 3])
            n_vertices += len(place)
            if n_vertices > MAX_VERTICES:
                raise fail("too-large", "the mesh is too large", name, seen=f"{n_vertices:,} vertices")
            coordinates = part["attributes"].get("TEXCOORD_0")
            uv = np.full((len(place), 2), np.nan)
            if coordinates is not None:
                uv = _glb_accessor(tree, buffer, coordinates, name).astype(np.float64)
                if uv.shape != (len(place), 2):
                    raise fail("bad-syntax", "glTF texture coordinates do not fit their vertices", name)
                uv = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1)
            uvs.append(uv)
            picture = _glb_image(tree, part.get("material"))
            number = -1 if picture is None else images.setdefault(picture, len(images))
            materials.append(np.full(len(index) // 3, number, np.int32))
    if not n_vertices:
        raise fail("empty-file", "the file holds no vertex", name)
    if not sum(len(f) for f in faces):
        raise fail("no-faces", "the file has vertices but no triangle", name)
    v, f, uv = np.concatenate(vertices), np.concatenate(faces).astype(np.int32), np.concatenate(uvs)
    check_vertices(v, name)
    textured = bool(np.isfinite(uv).all(axis=1)[f].all(axis=1).any())
    mesh = Mesh(v, f, uv if textured else None, f.copy() if textured else None)
    pictures = [_glb_image_bytes(tree, buffer, i, name) for i in images]
    return MeshFile(
        mesh,
        face_material=np.concatenate(materials),
        textures=tuple(n for n, _ in pictures),
        embedded_images=tuple(b for _, b in pictures),
    )


def _glb_image(tree: dict[str, Any], material: int | None) -> int | None:
    if material is None:
        return None
    base = tree["materials"][material].get("pbrMetallicRoughness", {}).get("baseColorTexture")
    return None if base is None else tree["textures"][base["index"]].get("source")


def _glb_image_bytes(tree: dict[str, Any], buffer: bytes, index: int, name: str) -> tuple[str, bytes]:
    """Name as written ('' when embedded) and bytes (b'' when in another file) of an image."""
    image = tree["images"][index]
    if "bufferView" not in image:
        uri = str(image.get("uri", ""))
        if uri.startswith("data:"):
            return "", base64.b64decode(uri.partition(",")[2])
        return unquote(uri), b""
    view = tree["bufferViews"][image["bufferView"]]
    buffer = _glb_buffer(tree, buffer, view["buffer"], name)
    start, size = int(view.get("byteOffset", 0)), int(view["byteLength"])
    if start < 0 or size < 0 or start + size > len(buffer):
        raise fail("truncated", "the glTF file announces more data than it holds", name)
    return "", buffer[start : start + size]


# ------------------------------------------------------------------------------------------------ writing


def glb_bytes(
    mesh: Mesh,
    image: bytes = b"",
    media_type: str = "",
    scale: float = 1.0,
    targets: Mapping[str, NDArray[Any]] | None = None,
) -> bytes:
    """A mesh as binary glTF 2.0 (Khronos, 2021), one node, one primitive, its texture inside.

    glTF has one index for position and texture: vertices on a texture seam are written once per side.  Its
    v runs down; its unit is the metre, which the node's scale makes of the mesh's.

    Args:
        image: encoded PNG or JPEG, with its media_type; empty for none.
        scale: metres per unit of the mesh.
        targets: morph targets by name, differences (n, 3) to the vertices; the names go where Blender, three.js
            and Unity look for them (extras.targetNames).
    """
    normals = vertex_normals(mesh.vertices, mesh.faces)
    if mesh.uv is not None and mesh.uv_faces is not None:
        pairs = np.stack([mesh.faces.ravel(), mesh.uv_faces.ravel()], axis=1)
        unique, corner = np.unique(pairs, axis=0, return_inverse=True)
        picked, indices = unique[:, 0], corner.reshape(-1)
        uv = mesh.uv[unique[:, 1]] * [1, -1] + [0, 1]
    else:
        picked, indices = np.arange(len(mesh.vertices), dtype=np.int32), mesh.faces.ravel().astype(np.intp)
        uv = None
    positions = mesh.vertices[picked].astype("<f4")
    bounds = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    file = _Glb()
    attributes = {
        "POSITION": file.accessor(positions, "VEC3", 34962, **bounds),
        "NORMAL": file.accessor(_unit(normals[picked]).astype("<f4"), "VEC3", 34962),
    }
    if uv is not None:
        attributes["TEXCOORD_0"] = file.accessor(uv.astype("<f4"), "VEC2", 34962)
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "indices": file.accessor(indices.astype("<u4"), "SCALAR", 34963),
        "material": 0,
    }
    material: dict[str, Any] = {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}
    tree: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "mimicme"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "scale": [scale] * 3}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [material],
    }
    if targets:
        primitive["targets"] = [{"POSITION": file.target(np.asarray(d)[picked])} for d in targets.values()]
        tree["meshes"][0] |= {"weights": [0.0] * len(targets), "extras": {"targetNames": list(targets)}}
    if image and uv is not None:
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
        tree["textures"] = [{"source": 0, "sampler": 0}]
        tree["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}]
        tree["images"] = [{"bufferView": file.view(image), "mimeType": media_type}]
    return file.bytes(tree)


def _unit(normals: Floats) -> Floats:
    """Unit length, as glTF demands, where a vertex without triangles has none."""
    short = np.linalg.norm(normals, axis=1) < 0.5
    normals = normals.copy()
    normals[short] = [0, 0, 1]
    return normals


class _Glb:
    """The buffer of a glTF file with its views and accessors."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        view = {"buffer": 0, "byteOffset": len(self.buffer), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.views.append(view)
        self.buffer += data + b"\0" * (-len(data) % 4)
        return len(self.views) - 1

    def accessor(self, data: NDArray[Any], kind: str, target: int, **bounds: Any) -> int:
        component = {"f": 5126, "u": 5125}[data.dtype.kind]
        view = self.view(np.ascontiguousarray(data).tobytes(), target)
        self.accessors.append(
            {"bufferView": view, "componentType": component, "count": len(data), "type": kind, **bounds}
        )
        return len(self.accessors) - 1

    def target(self, differences: NDArray[Any]) -> int:
        """A morph target's positions; glTF wants their bounds."""
        d = differences.astype("<f4")
        return self.accessor(d, "VEC3", 34962, min=d.min(axis=0).tolist(), max=d.max(axis=0).tolist())

    def bytes(self, tree: dict[str, Any]) -> bytes:
        tree = tree | {"buffers": [{"byteLength": len(self.buffer)}]}
        tree |= {"bufferViews": self.views, "accessors": self.accessors}
        text = json.dumps(tree, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        size = 12 + 8 + len(text) + 8 + len(self.buffer)
        head = struct.pack("<4sII", b"glTF", 2, size) + struct.pack("<I4s", len(text), b"JSON")
        return head + text + struct.pack("<I4s", len(self.buffer), b"BIN\0") + bytes(self.buffer)
