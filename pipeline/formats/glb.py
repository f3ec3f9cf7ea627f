"""Binary glTF 2.0: writing.  Reading is in `gltf`."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.mesh import Mesh, vertex_normals
from mimicme.pipeline.geometry.seams import seamed

FAR = 8.0
"""A mesh so many of its own extents from the origin is written about its middle, and its node carries that: single
precision would cost it its detail."""
BYTES_PER_VERTEX = 24
"""Of a morph target: a place and a normal in single precision."""


@dataclass(frozen=True)
class Animation:
    """How the weights of morph targets go over time; between two times they change evenly.

    Attributes:
        times: (f,) seconds, from 0 on, rising.
        weights: (f, k), of the targets in their order.
    """

    times: NDArray[np.float64]
    weights: NDArray[np.float64]


def glb_bytes(
    mesh: Mesh,
    image: bytes = b"",
    media_type: str = "",
    scale: float = 1.0,
    targets: Mapping[str, NDArray[Any]] | None = None,
    *,
    name: str = "",
    extras: Mapping[str, Any] | None = None,
    rights: str = "",
    animation: Animation | None = None,
) -> bytes:
    """A mesh as binary glTF 2.0 (Khronos, 2021), one node, one primitive, its texture inside.

    glTF has one index for position and texture: vertices on a texture seam are written once per side, the further ones
    behind the mesh's own, which keep their order.  Its v runs down; its unit is the metre, which the node's scale makes
    of the mesh's.  A mesh far from the origin (`FAR`) is written about its middle, to which the node moves it.

    Args:
        image: encoded PNG or JPEG, with its media_type; empty for none.
        scale: metres per unit of the mesh.
        targets: morph targets by name, differences (n, 3) to the vertices; the names go where Blender, three.js
            and Unity look for them (extras.targetNames).  Each has the differences of the normals too: without, a
            viewer shades the moved mesh with the normals of the unmoved one.
        name: of node, mesh and animation; extras: what is said of the mesh, of which JSON can be made.
        rights: whose it is and on which terms (`asset.copyright`).
        animation: of the targets.
    """
    normals = _unit(vertex_normals(mesh.vertices, mesh.faces))
    picked, indices, uv = np.arange(len(mesh.vertices)), mesh.faces, None
    if mesh.uv is not None and mesh.uv_faces is not None:
        split = seamed(mesh.faces, mesh.uv, mesh.uv_faces, len(mesh.vertices))
        picked, indices, uv = split.source, split.faces, split.uv * [1, -1] + [0, 1]
    middle = _middle(mesh.vertices)
    positions = (mesh.vertices - middle)[picked].astype("<f4")
    file = _Glb()
    attributes = {
        "POSITION": file.places(positions),
        "NORMAL": file.accessor(normals[picked].astype("<f4"), "VEC3", 34962),
    }
    if uv is not None:
        attributes["TEXCOORD_0"] = file.accessor(uv.astype("<f4"), "VEC2", 34962)
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "indices": file.accessor(indices.ravel().astype("<u4"), "SCALAR", 34963),
        "material": 0,
    }
    material: dict[str, Any] = {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}
    tree: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "mimicme"} | ({"copyright": rights} if rights else {}),
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "scale": [scale] * 3}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [material],
    }
    if middle.any():
        tree["nodes"][0]["translation"] = (scale * middle).tolist()
    for each in (tree["nodes"][0], tree["meshes"][0]):
        each |= ({"name": name} if name else {}) | ({"extras": dict(extras)} if extras else {})
    if targets:
        primitive["targets"] = [_target(file, mesh, normals, np.asarray(d), picked) for d in targets.values()]
        called = {"targetNames": list(targets)}
        tree["meshes"][0] |= {"weights": [0.0] * len(targets), "extras": dict(extras or {}) | called}
    if targets and animation is not None:
        tree["animations"] = [_animation(file, animation) | ({"name": name} if name else {})]
    if image and uv is not None:
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
        tree["textures"] = [{"source": 0, "sampler": 0}]
        tree["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}]
        tree["images"] = [{"bufferView": file.view(image), "mimeType": media_type}]
    return file.bytes(tree)


def _animation(file: _Glb, animation: Animation) -> dict[str, Any]:
    """An animation of the weights of node 0, linear between its times."""
    times, weights = animation.times.astype("<f4"), animation.weights.astype("<f4")
    first, last = float(times.min()), float(times.max())
    sampler = {
        "input": file.accessor(times, "SCALAR", None, min=[first], max=[last]),
        "output": file.accessor(weights.ravel(), "SCALAR", None),
        "interpolation": "LINEAR",
    }
    return {"samplers": [sampler], "channels": [{"sampler": 0, "target": {"node": 0, "path": "weights"}}]}


def _middle(vertices: Floats) -> Floats:
    """(3,) what is taken off the vertices: nothing, unless they lie far from the origin."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    if np.maximum(np.abs(low), np.abs(high)).max() <= FAR * (high - low).max():
        return np.zeros(3)
    return np.asarray((low + high) / 2)


def _target(
    file: _Glb, mesh: Mesh, normals: Floats, differences: NDArray[Any], picked: NDArray[Any]
) -> dict[str, int]:
    """A morph target: differences of the places, and of the unit normals of the moved mesh to those of the unmoved."""
    moved = _unit(vertex_normals(mesh.vertices + differences, mesh.faces)) - normals
    return {
        "POSITION": file.places(differences[picked].astype("<f4")),
        "NORMAL": file.accessor(moved[picked].astype("<f4"), "VEC3", 34962),
    }


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

    def accessor(self, data: NDArray[Any], kind: str, target: int | None, **bounds: Any) -> int:
        component = {"f": 5126, "u": 5125}[data.dtype.kind]
        view = self.view(np.ascontiguousarray(data).tobytes(), target)
        self.accessors.append(
            {"bufferView": view, "componentType": component, "count": len(data), "type": kind, **bounds}
        )
        return len(self.accessors) - 1

    def places(self, places: NDArray[Any]) -> int:
        """Places (n, 3), or differences of such; glTF wants their bounds."""
        low, high = places.min(axis=0).tolist(), places.max(axis=0).tolist()
        return self.accessor(places, "VEC3", 34962, min=low, max=high)

    def bytes(self, tree: dict[str, Any]) -> bytes:
        tree = tree | {"buffers": [{"byteLength": len(self.buffer)}]}
        tree |= {"bufferViews": self.views, "accessors": self.accessors}
        text = json.dumps(tree, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        size = 12 + 8 + len(text) + 8 + len(self.buffer)
        head = struct.pack("<4sII", b"glTF", 2, size) + struct.pack("<I4s", len(text), b"JSON")
        return head + text + struct.pack("<I4s", len(self.buffer), b"BIN\0") + bytes(self.buffer)
