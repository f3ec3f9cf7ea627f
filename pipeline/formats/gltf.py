"""glTF 2.0: reading, as one .glb or as a .gltf with files beside it.  The codes of errors are described in `mesh_file`.

Read are every triangle of the scene (lists, strips, fans) where its nodes and its morph weights put it, the texture
coordinates that each material's colour image uses, with their transformation (KHR_texture_transform), and vertex
colours.  Joints of a skin are not applied: the mesh stays in its bind pose.  Nor is an animation, whose moments are
counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Longs
from mimicme.pipeline.formats.gltf_document import (
    DRACO,
    Beside,
    Document,
    description,
    glb_chunks,
    normalised,
    whole,
)
from mimicme.pipeline.formats.mesh_file import (
    MAX_TRIANGLES,
    MAX_VERTICES,
    MeshFile,
    check_content,
    check_vertices,
    checked,
    fail,
    triangulate_strips,
)
from mimicme.pipeline.geometry.mesh import Mesh

MAX_MOVED = 500_000_000
"""Vertices of morph targets that are added up: a file may name one target a million times."""
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_MOVED = ("translation", "rotation", "scale", "weights")
_BYTE = 5121  # the component type of unsigned bytes
_SRGB_WRITERS = ("trimesh", "open3d")
"""Generators that write vertex colours as they have them, in sRGB, where glTF wants linear ones (seen in trimesh 5.2
and Open3D 0.20).  Colours of 8 bits are taken as sRGB whoever wrote them: as such scanners have them, and linear ones
of 8 bits would show steps in every shadow."""
_DAMAGE = (
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
    struct.error,
)


def read_glb(data: bytes, name: str, beside: Beside | None = None) -> MeshFile:
    """Read a binary glTF 2.0; vertices in the order of the file, v running up.

    Args:
        data: the whole file; name: for errors; beside: reads a file that lies beside it, confined by the caller.

    Raises:
        MeshFileError: see the codes in `mesh_file`.
        MissingDependencyError: it is compressed with Draco, and DracoPy is not installed.
    """
    check_content(data, name)
    try:
        tree, chunk = glb_chunks(data, name)
        return _read(Document(tree, chunk, name, beside))
    except _DAMAGE as error:
        raise _damaged(name, error) from error


def read_gltf(data: bytes, name: str, beside: Beside | None = None) -> MeshFile:
    """Read a glTF 2.0 that is JSON, its data in data: URIs or in files beside it; see `read_glb`."""
    check_content(data, name)
    try:
        return _read(Document(description(data, name), memoryview(b""), name, beside))
    except _DAMAGE as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> Exception:
    seen = f"{type(error).__name__}: {str(error)[:100]}"
    return fail("bad-syntax", "the glTF file cannot be read", name, seen=seen)


# ------------------------------------------------------------------------------------------------ the scene


@dataclass(frozen=True)
class _Placed:
    """A mesh of the scene: its index, where its node puts it (4, 4), and the weights of its morph targets."""

    mesh: int
    world: Floats
    weights: list[float]


def _placed(document: Document) -> list[_Placed]:
    """The meshes of the scene in the order of its nodes."""
    tree = document.tree
    nodes = tree.get("nodes", [])
    scene = tree.get("scenes", [{}])[whole(tree.get("scene", 0))]
    stack = [(i, np.eye(4)) for i in reversed(scene.get("nodes", range(len(nodes))))]
    found, visits = [], 0
    while stack:
        index, parent = stack.pop()
        visits += 1
        if visits > len(nodes):
            raise fail("bad-syntax", "the glTF scene is not a tree", document.name)
        node = document.entry("nodes", index)
        world = parent @ _matrix(node)
        if "mesh" in node:
            mesh = whole(node["mesh"])
            weights = node.get("weights", document.entry("meshes", mesh).get("weights", []))
            found.append(_Placed(mesh, world, [float(w) for w in weights]))
        stack.extend((i, world) for i in reversed(node.get("children", [])))
    return found


def _matrix(node: dict[str, Any]) -> Floats:
    """(4, 4) of one node, to its parent."""
    if "matrix" in node:
        return np.asarray(node["matrix"], np.float64).reshape(4, 4).T
    own = np.eye(4)
    quaternion = np.asarray(node.get("rotation", [0, 0, 0, 1]), np.float64)
    x, y, z, w = quaternion / (np.linalg.norm(quaternion) or 1.0)
    own[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    own[:3, :3] *= np.asarray(node.get("scale", [1, 1, 1]), np.float64)
    own[:3, 3] = np.asarray(node.get("translation", [0, 0, 0]), np.float64)
    return own


# ------------------------------------------------------------------------------------------------ materials


@dataclass(frozen=True)
class _Surface:
    """What a material says of a primitive's colour.

    Attributes:
        image: index of its image; None without.
        uv_set: which texture coordinates it uses.
        uv_matrix: (2, 3) what is done to them, v running down as in the file.
        factor: (3,) linear colour that vertex colours are multiplied by.
    """

    image: int | None = None
    uv_set: int = 0
    uv_matrix: Floats = field(default_factory=lambda: np.eye(2, 3))
    factor: Floats = field(default_factory=lambda: np.ones(3))


def _surface(document: Document, index: Any) -> _Surface:
    """The colour of a material: its base colour, else its diffuse, else its emissive image."""
    if index is None:
        return _Surface()
    material = document.entry("materials", index)
    base = material.get("pbrMetallicRoughness", {})
    diffuse = material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {})
    factor = base.get("baseColorFactor", diffuse.get("diffuseFactor", [1, 1, 1, 1]))
    color = np.asarray(factor, np.float64)[:3]
    info = base.get("baseColorTexture") or diffuse.get("diffuseTexture") or material.get("emissiveTexture")
    if info is None:
        return _Surface(factor=color)
    placed = info.get("extensions", {}).get("KHR_texture_transform", {})
    uv_set = whole(placed.get("texCoord", info.get("texCoord", 0)))
    return _Surface(_image(document, info["index"]), uv_set, _uv_matrix(placed), color)


def _image(document: Document, index: Any) -> int | None:
    """The image of a texture; one that is there in a form alone that is not read is refused by the extension's name."""
    texture = document.entry("textures", index)
    extensions = texture.get("extensions", {})
    source = texture.get("source", extensions.get("EXT_texture_webp", {}).get("source"))
    if source is None and extensions:
        raise document.refused(str(next(iter(extensions))))
    return None if source is None else document.same_image(source)


def _uv_matrix(placed: dict[str, Any]) -> Floats:
    """(2, 3) of KHR_texture_transform: scaled, turned (counter-clockwise as seen, v running down), moved."""
    scale = np.asarray(placed.get("scale", [1, 1]), np.float64).reshape(2)
    offset = np.asarray(placed.get("offset", [0, 0]), np.float64).reshape(2)
    turn = float(placed.get("rotation", 0.0))
    c, s = np.cos(turn), np.sin(turn)
    return np.column_stack([np.array([[c, s], [-s, c]]) * scale, offset])


# ------------------------------------------------------------------------------------------------ primitives


@dataclass
class _Parts:
    """The primitives of a file joined into one mesh; data that several of them share are there once."""

    document: Document
    vertices: list[Floats] = field(default_factory=list)
    colors: list[Floats | None] = field(default_factory=list)
    uvs: list[Floats] = field(default_factory=list)
    faces: list[Longs] = field(default_factory=list)
    uv_faces: list[Longs | None] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    images: dict[int, int] = field(default_factory=dict)
    uv_absent: int = 0
    _uv_there: dict[Any, int] = field(default_factory=dict)
    _shared: dict[Any, int] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def add(self, number: int, placed: _Placed, part: dict[str, Any]) -> None:
        """One primitive of the scene's mesh of that number."""
        document = self.document
        mode = part.get("mode", _TRIANGLES)
        if mode not in (_TRIANGLES, _STRIP, _FAN):
            return
        extensions = part.get("extensions", {})
        unknown = [e for e in extensions if e not in (DRACO, "KHR_materials_variants")]
        if unknown:
            raise document.refused(str(unknown[0]))
        given = part["attributes"]
        packed, triangles = extensions.get(DRACO), None
        held: dict[str, NDArray[Any]] = {}
        if packed is not None:
            triangles, held = document.draco(packed)
        key = (number, len(self.faces)) if held else (number, given["POSITION"], given.get("COLOR_0"))
        surface = _surface(document, part.get("material"))
        n = len(held["POSITION"]) if held else whole(document.entry("accessors", given["POSITION"])["count"])
        if key not in self._shared:
            places = self._places(part, placed, held, n)
            self._shared[key] = self._grow("vertices", n, MAX_VERTICES)
            self.vertices.append(places)
            self.colors.append(self._colors(given, held, surface, n))
        if triangles is None:
            triangles = self._triangles(part, mode, n)
        self._grow("triangles", len(triangles), MAX_TRIANGLES)
        faces = checked(triangles, n, document.name).astype(np.int64)
        if np.linalg.det(placed.world[:3, :3]) < 0:
            faces = faces[:, [0, 2, 1]]  # a mirrored node turns the order of corners round
        self.faces.append(faces + self._shared[key])
        self.uv_faces.append(self._uv(given, held, surface, key, faces, n))
        at = -1 if surface.image is None else self.images.setdefault(surface.image, len(self.images))
        self.pictures.append(at)

    def _grow(self, what: str, by: int, most: int) -> int:
        before = self._counts.get(what, 0)
        self._counts[what] = before + by
        if before + by > most:
            raise fail(
                "too-large", "the mesh is too large", self.document.name, seen=f"{before + by:,} {what}"
            )
        return before

    def _triangles(self, part: dict[str, Any], mode: int, n: int) -> Longs:
        """(t, 3) of a primitive's list, strip or fan."""
        if "indices" in part:
            raw = self.document.accessor(part["indices"], 1)
            if raw.dtype.kind != "u":
                raise ValueError("indices are no whole numbers")
            index = raw.astype(np.int64).reshape(-1)
        else:
            index = np.arange(n)
        if mode == _TRIANGLES:
            if len(index) % 3:
                raise fail("truncated", "a glTF triangle is incomplete", self.document.name)
            return index.reshape(-1, 3)
        if mode == _STRIP:
            return triangulate_strips(index)
        middle = np.full(max(len(index) - 2, 0), index[0] if len(index) else 0)
        return np.stack([middle, index[1:-1], index[2:]], axis=1)

    def _places(self, part: dict[str, Any], placed: _Placed, held: dict[str, Any], n: int) -> Floats:
        """(n, 3) in the scene, float64: a translation of the node costs no digits."""
        place = held.get("POSITION")
        if place is None:
            place = self.document.accessor(part["attributes"]["POSITION"], 3)
        place = place.astype(np.float64).reshape(n, 3)
        moved = sum(1 for weight in placed.weights[: len(part.get("targets", []))] if weight)
        self._grow("vertices moved by targets", moved * n, MAX_MOVED)
        for weight, target in zip(placed.weights, part.get("targets", []), strict=False):
            if weight and "POSITION" in target:
                place = place + weight * self.document.accessor(target["POSITION"], 3)
        return np.asarray(place @ placed.world[:3, :3].T + placed.world[:3, 3], np.float64)

    def _colors(
        self, given: dict[str, Any], held: dict[str, Any], surface: _Surface, n: int
    ) -> Floats | None:
        """(n, 3) linear colours; None without."""
        values = held.get("COLOR_0")
        eight_bits = values is not None and values.dtype == np.uint8
        if values is None and "COLOR_0" in given:
            accessor = self.document.entry("accessors", given["COLOR_0"])
            eight_bits = accessor.get("componentType") == _BYTE
            values = self.document.accessor(given["COLOR_0"], 4 if accessor["type"] == "VEC4" else 3)
        if values is None:
            return None
        if len(values) != n:
            raise fail("bad-syntax", "glTF vertex colours do not fit their vertices", self.document.name)
        share = np.clip(np.nan_to_num(normalised(values)[:, :3]), 0, 1)
        generator = str(self.document.tree.get("asset", {}).get("generator", "")).lower()
        if eight_bits or any(writer in generator for writer in _SRGB_WRITERS):
            share = linear(share)
        return np.asarray(share * surface.factor, np.float64)

    def _uv(
        self, given: dict[str, Any], held: dict[str, Any], surface: _Surface, key: Any, faces: Longs, n: int
    ) -> Longs | None:
        """(t, 3) rows of the texture coordinates; None where the primitive has none."""
        which = f"TEXCOORD_{surface.uv_set}"
        if which not in given:
            return None
        key = (key, which, given[which], surface.uv_matrix.tobytes())
        if key not in self._shared:
            uv = held.get(which)
            if uv is None:
                uv = self.document.accessor(given[which], 2)
            if held and uv.dtype.kind != "f":
                uv = normalised(uv)
            uv = uv[:n].astype(np.float64)
            self._uv_there[key] = len(uv)
            if len(uv) < n:  # costs what has none its colour, not the frame its geometry
                uv = np.concatenate([uv, np.full((n - len(uv), 2), np.nan)])
            if (surface.uv_matrix != np.eye(2, 3)).any():
                uv = uv @ surface.uv_matrix[:, :2].T + surface.uv_matrix[:, 2]
            self._shared[key] = self._grow("uvs", n, 3 * MAX_TRIANGLES)
            self.uvs.append(np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1))
        there = self._uv_there[key]
        absent = np.asarray((faces >= there).any(axis=1))
        if absent.any():
            self.uv_absent += int(absent.sum())
            faces = np.where(absent[:, None], there, faces)
        return faces + self._shared[key]


def _check_sizes(document: Document, scene: list[_Placed]) -> None:
    """Refuse a scene that repeats its meshes too often, before memory is taken for it."""
    counts = [a.get("count", 0) for a in document.tree.get("accessors", [])]

    def size(indices: Iterable[Any]) -> int:
        return sum(
            whole(counts[i]) for i in indices if i in range(len(counts))
        )  # others are refused when read

    sizes: dict[int, tuple[int, int]] = {}
    vertices = triangles = 0
    for placed in scene:
        if placed.mesh not in sizes:
            parts = document.entry("meshes", placed.mesh)["primitives"]
            parts = [p for p in parts if p.get("mode", _TRIANGLES) in (_TRIANGLES, _STRIP, _FAN)]
            places = [p["attributes"]["POSITION"] for p in parts]
            index = [p.get("indices", k) for p, k in zip(parts, places, strict=True)]
            sizes[placed.mesh] = size(set(places)), size(index) // 3
        vertices, triangles = vertices + sizes[placed.mesh][0], triangles + sizes[placed.mesh][1]
    if vertices > MAX_VERTICES or triangles > MAX_TRIANGLES:
        seen = f"{vertices:,} vertices, {triangles:,} triangles"
        raise fail("too-large", "the mesh is too large", document.name, seen=seen)


def _read(document: Document) -> MeshFile:
    document.check_version()
    parts, name = _Parts(document), document.name
    scene = _placed(document)
    _check_sizes(document, scene)
    for number, placed in enumerate(scene):
        for part in document.entry("meshes", placed.mesh)["primitives"]:
            parts.add(number, placed, part)
    if not sum(map(len, parts.vertices)):
        raise fail("empty-file", "the file holds no vertex", name)
    if not sum(map(len, parts.faces)):
        raise fail("no-faces", "the file has vertices but no triangle", name)
    vertices = np.concatenate(parts.vertices)
    faces = np.concatenate(parts.faces).astype(np.int32)
    check_vertices(vertices, name, faces)
    uv, uv_faces = _texture_coordinates(parts)
    colors = None
    if any(c is not None for c in parts.colors):
        white = [
            np.ones((len(v), 3)) if c is None else c
            for v, c in zip(parts.vertices, parts.colors, strict=True)
        ]
        colors = srgb(np.concatenate(white))
    material = np.repeat(np.asarray(parts.pictures, np.int32), [len(f) for f in parts.faces])
    pictures = document.images(parts.images)
    return MeshFile(
        Mesh(vertices, faces, uv, uv_faces, colors),
        face_material=material,
        textures=tuple(n for n, _ in pictures),
        embedded_images=tuple(b for _, b in pictures),
        moments=_moments(document),
        uv_absent=parts.uv_absent,
    )


def _moments(document: Document) -> int:
    """Of how many moments an animation of the file says how the mesh looks, or where it is; 0: there is none.

    No animation is read, so one that is damaged costs the mesh nothing: what cannot be followed counts as none.
    """
    most = 0
    for animation in _list_of(document.tree, "animations"):
        for channel in _list_of(animation, "channels"):
            try:
                if channel["target"]["path"] in _MOVED:
                    times = animation["samplers"][whole(channel["sampler"])]["input"]
                    most = max(most, whole(document.entry("accessors", times)["count"]))
            except _DAMAGE:
                continue
    return most


def _list_of(entry: Any, key: str) -> list[Any]:
    """A list of the description; empty where there is none."""
    found = entry.get(key) if isinstance(entry, dict) else None
    return found if isinstance(found, list) else []


def _texture_coordinates(parts: _Parts) -> tuple[Floats | None, NDArray[np.int32] | None]:
    """All texture coordinates and their triangles; where a triangle has none, or its material alone no image, a row
    that is NaN.  None when no triangle has any."""
    blank = sum(map(len, parts.uvs))
    rows = [
        np.full(faces.shape, blank) if at is None or (parts.images and picture < 0) else at
        for faces, at, picture in zip(parts.faces, parts.uv_faces, parts.pictures, strict=True)
    ]
    uv_faces = np.concatenate(rows)
    uv = np.concatenate([*parts.uvs, np.full((int((uv_faces == blank).any()), 2), np.nan)])
    if not np.isfinite(uv).all(axis=1)[uv_faces].all(axis=1).any():
        return None, None
    return uv, uv_faces.astype(np.int32)


def linear(share: Floats) -> Floats:
    """Linear colours of sRGB ones, both 0 to 1 (IEC 61966-2-1)."""
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def srgb(values: Floats) -> NDArray[np.uint8]:
    """Linear colours in [0, 1] as sRGB bytes (IEC 61966-2-1)."""
    values = np.nan_to_num(values)
    curve = np.where(
        values <= 0.0031308, 12.92 * values, 1.055 * np.maximum(values, 1e-9) ** (1 / 2.4) - 0.055
    )
    return np.rint(255 * np.clip(curve, 0, 1)).astype(np.uint8)
