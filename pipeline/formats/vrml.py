"""VRML 1.0 and 2.0 (`.wrl`), and Open Inventor's ascii files of the same nodes: reading.  BU-3DFE, BU-4DFE, Bosphorus
and CASIA ship their scans so.  The codes of errors are described in `mesh_file`.

Read are all `IndexedFaceSet` of the scene where its transformations put them: places, texture coordinates with indices
of their own, the image that is named, colours per vertex.  Vertices keep the order of the file.  Of alternatives
(`LOD`, several `url`) the first counts, of a `Switch` what it shows; nothing is read of other files (`Inline`).

The code is our own because no library gives the file as it is: trimesh and meshio read no VRML, and VTK's importer
(9.7.2) splits vertices at seams of the texture, drops the image's name, opens a window and reads paths, not bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints, Longs
from mimicme.pipeline.formats.mesh_file import (
    MAX_TRIANGLES,
    MAX_VERTICES,
    MeshFile,
    as_bytes,
    check_content,
    check_vertices,
    checked,
    fail,
    triangulate_fans,
)
from mimicme.pipeline.formats.vrml_document import MAX_DEPTH, Node, Numbers, nodes_of
from mimicme.pipeline.geometry.mesh import Mesh

BEGINNINGS = (b"#VRML", b"#Inventor")
"""How such a file begins."""
_BLANK = -1  # in place of a texture coordinate: the triangle has none
_MAX_VISITED = 1_000_000  # words of nodes, each as often as its node is used

_GROUPS = ("Group", "Anchor", "Billboard", "Collision", "Transform")
_SEPARATORS = ("Separator", "WWWAnchor", "Annotation", "Selection")


def read_vrml(data: bytes, name: str) -> MeshFile:
    """Read a VRML file.

    Args:
        data: the whole file; name: for errors.

    Raises:
        MeshFileError: see the codes in `mesh_file`.
    """
    check_content(data, name)
    if b"\0" in data and not data.startswith(b"#Inventor"):
        raise fail(
            "truncated", "the file holds bytes of value 0: it was not written to its end, or is no text", name
        )
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    first = text[:80].splitlines()[0]
    if not first.startswith(BEGINNINGS):
        raise fail(
            "bad-syntax",
            "this is no VRML file: its first line does not say so",
            name,
            seen=repr(first[:40].decode("latin-1")),
            expected="'#VRML V2.0 utf8' or '#VRML V1.0 ascii'",
        )
    if b"binary" in first:
        raise fail(
            "bad-syntax", "binary Inventor files are not read", name, todo="Save it as VRML 2.0, or as OBJ."
        )
    scene = _Scene(name, len(data), second=b"V2." in first and first.startswith(b"#VRML"))
    for node in nodes_of(text, name):
        scene.visit(node, _State(), 0)
    return scene.result()


@dataclass
class _State:
    """What is in force where a shape stands; in VRML 1.0 nodes set it for those that follow.

    Attributes:
        world: (4, 4) to the scene.
        uv_matrix: (3, 3) what is done to texture coordinates.
        image: name of the image, '' for none.
        clockwise: whether corners run clockwise seen from outside.
    """

    world: Floats = field(default_factory=lambda: np.eye(4))
    uv_matrix: Floats = field(default_factory=lambda: np.eye(3))
    places: Numbers | None = None
    uv: Numbers | None = None
    colors: Numbers | None = None
    colors_per_vertex: bool = False
    image: str = ""
    clockwise: bool = False


@dataclass
class _Scene:
    """The surface that the nodes show, in the making; places that several shapes share are there once.

    Attributes:
        size: bytes of the file; it cannot have more vertices, corners or triangles but by using them again and again.
        second: whether it is VRML 2.0.
        others: types of shapes that are seen and not read.
        uv_absent: as of `MeshFile`.
    """

    name: str
    size: int
    second: bool
    vertices: list[Floats] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    colors: list[Floats | None] = field(default_factory=list)
    uvs: list[Floats] = field(default_factory=list)
    faces: list[Longs] = field(default_factory=list)
    uv_faces: list[Longs | None] = field(default_factory=list)
    images: dict[str, int] = field(default_factory=dict)
    pictures: list[int] = field(default_factory=list)
    others: dict[str, None] = field(default_factory=dict)
    uv_absent: int = 0
    _visited: int = 0
    _shared: dict[tuple[int, bytes], int] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def visit(self, node: Node, state: _State, depth: int) -> None:
        """A node and what is below it; `state` is changed by the nodes of VRML 1.0."""
        self._visited += 1 + node.words
        if self._visited > _MAX_VISITED:
            raise fail(
                "too-large",
                "the scene uses its nodes too often",
                self.name,
                seen=f"over {_MAX_VISITED:,} words",
            )
        if depth > MAX_DEPTH:
            raise fail("bad-syntax", "its nodes are nested too deeply", self.name, seen=f"over {MAX_DEPTH}")
        (self._visit_second if self.second else self._visit_first)(node, state, depth + 1)

    # -------------------------------------------------------------------------------------------- VRML 2.0

    def _visit_second(self, node: Node, state: _State, depth: int) -> None:
        kind = node.kind
        if kind in _GROUPS:
            if kind == "Transform":
                state = replace(state, world=state.world @ _transform(node, "scale", self.name))
            for child in node.nodes("children"):
                self.visit(child, state, depth)
        elif kind == "LOD":
            for child in list(node.nodes("level"))[:1]:
                self.visit(child, state, depth)
        elif kind == "Switch":
            for child in _shown(list(node.nodes("choice")), node.word("whichChoice", "-1")):
                self.visit(child, state, depth)
        elif kind == "Shape":
            appearance, geometry = node.node("appearance"), node.node("geometry")
            if geometry is None:
                return
            if geometry.kind != "IndexedFaceSet":
                self.others[geometry.kind] = None
                return
            image, uv_matrix = "", state.uv_matrix
            if appearance is not None:
                texture, moved = appearance.node("texture"), appearance.node("textureTransform")
                image = texture.text("url") if texture is not None else ""
                if moved is not None:
                    uv_matrix = _texture_transform(moved, "scale", self.name)
            self._face_set(geometry, replace(state, image=image, uv_matrix=uv_matrix))
        elif kind == "Inline":
            self.others[kind] = None

    def _face_set(self, node: Node, state: _State) -> None:
        """An IndexedFaceSet of VRML 2.0, which holds all that it needs."""
        held = {name: node.node(name) for name in ("coord", "texCoord", "color")}
        state = replace(
            state,
            places=held["coord"].numbers("point") if held["coord"] else None,
            uv=held["texCoord"].numbers("point") if held["texCoord"] else None,
            colors=held["color"].numbers("color") if held["color"] else None,
            colors_per_vertex=node.word("colorPerVertex", "TRUE") != "FALSE",
            clockwise=node.word("ccw", "TRUE") == "FALSE",
        )
        self._add(state, *(node.numbers(n) for n in ("coordIndex", "texCoordIndex", "colorIndex")))

    # -------------------------------------------------------------------------------------------- VRML 1.0

    def _visit_first(self, node: Node, state: _State, depth: int) -> None:
        kind = node.kind
        if kind in _SEPARATORS:
            inner = replace(state)
            for child in node.nodes():
                self.visit(child, inner, depth)
        elif kind in ("Group", "TransformSeparator"):
            world = state.world
            for child in node.nodes():
                self.visit(child, state, depth)
            if kind == "TransformSeparator":
                state.world = world
        elif kind == "LOD":
            for child in list(node.nodes())[:1]:
                self.visit(child, state, depth)
        elif kind == "Switch":
            for child in _shown(list(node.nodes()), node.word("whichChild", "-1")):
                self.visit(child, state, depth)
        elif kind == "IndexedFaceSet":
            held = node.node("vertexProperty")  # of Inventor 2.1
            if held is not None:
                state = replace(state, places=held.numbers("vertex"), uv=held.numbers("texCoord"))
            self._add(state, *(node.numbers(n) for n in ("coordIndex", "textureCoordIndex", "materialIndex")))
        elif kind in _PROPERTIES:
            _PROPERTIES[kind](node, state, self.name)
        elif kind in ("WWWInline", "File") or kind.endswith("Set"):
            self.others[kind] = None

    # -------------------------------------------------------------------------------------------- shapes

    def _add(
        self, state: _State, index: Numbers | None, uv_index: Numbers | None, color_index: Numbers | None
    ) -> None:
        """A shape of polygons."""
        if state.places is None:
            return
        part = self._places(state.places, state.world)
        if index is None:
            return
        n = len(self.vertices[part])
        counts, corners = self._polygons(index)
        triangles = int(np.maximum(counts - 2, 0).sum())
        self._grow("triangles", triangles, MAX_TRIANGLES)
        if not triangles:
            return
        corner, _ = triangulate_fans(counts)
        faces = checked(corners[corner], n, self.name).astype(np.int64)
        uv_faces = None
        if state.uv is not None:
            at = self._indices(uv_index, counts, corners, "texture coordinate")
            absent = (at >= len(state.uv.floats(2)))[corner]
            self.uv_absent += int(absent.any(axis=1).sum())
            uv_faces = self._uv(state.uv, state.uv_matrix) + at[corner]
            uv_faces[absent.any(axis=1)] = _BLANK
        if state.colors is not None and state.colors_per_vertex:
            given = state.colors.floats(3)
            if len(given):
                at = self._indices(color_index, counts, corners, "colour")
                if len(at) and int(at.max()) >= len(given):
                    raise fail(
                        "face-index",
                        "a face names a colour that is not there",
                        self.name,
                        seen=f"index {int(at.max())}",
                        expected=f"0 to {len(given) - 1:,}",
                    )
                painted = self.colors[part]
                if painted is None:
                    painted = self.colors[part] = np.ones((n, 3))
                painted[corners] = given[at]
        if state.clockwise != bool(np.linalg.det(state.world[:3, :3]) < 0):
            faces = faces[:, [0, 2, 1]]
            uv_faces = None if uv_faces is None else uv_faces[:, [0, 2, 1]]
        self.faces.append(faces + self.begins[part])
        self.uv_faces.append(uv_faces)
        self.pictures.append(self.images.setdefault(state.image, len(self.images)) if state.image else -1)

    def _places(self, places: Numbers, world: Floats) -> int:
        """Which part of the vertices a list is, there."""
        key = (id(places), world.tobytes())
        if key not in self._shared:
            points = places.floats(3)
            self._shared[key] = len(self.vertices)
            self.begins.append(self._grow("vertices", len(points), MAX_VERTICES))
            moved = not np.array_equal(world, np.eye(4))
            self.vertices.append(points @ world[:3, :3].T + world[:3, 3] if moved else points)
            self.colors.append(None)
        return self._shared[key]

    def _uv(self, uv: Numbers, matrix: Floats) -> int:
        """Where the texture coordinates of a list begin in the whole."""
        key = (id(uv), matrix.tobytes())
        if key not in self._shared:
            points = uv.floats(2)
            self._shared[key] = self._grow("texture coordinates", len(points), 3 * MAX_TRIANGLES)
            moved = not np.array_equal(matrix, np.eye(3))
            self.uvs.append(points @ matrix[:2, :2].T + matrix[:2, 2] if moved else points)
        return self._shared[key]

    def _grow(self, what: str, by: int, most: int) -> int:
        """How many there were before these are added."""
        before = self._counts.get(what, 0)
        self._counts[what] = before + by
        if before + by > min(most, self.size):
            raise fail("too-large", "the mesh is too large", self.name, seen=f"{before + by:,} {what}")
        return before

    def _polygons(self, index: Numbers) -> tuple[Longs, Longs]:
        """How many corners each polygon has (p,), and all corners; -1 stands behind each polygon."""
        values = index.integers()
        self._grow("corners", 1 + len(values), 4 * MAX_TRIANGLES)
        if (values < -1).any():
            seen = f"index {int(values.min())}"
            raise fail("face-index", "a face names a vertex that is not there", self.name, seen=seen)
        ends = np.flatnonzero(values < 0)
        if len(values) and values[-1] >= 0:
            ends = np.append(ends, len(values))
        counts = np.diff(ends, prepend=-1) - 1
        return counts[counts > 0], values[values >= 0]

    def _indices(self, index: Numbers | None, counts: Longs, corners: Longs, what: str) -> Longs:
        """The index of each corner of a shape into another list, by an index of its own if it has one."""
        if index is not None and (index.integers() >= 0).any():
            own, found = self._polygons(index)
            if not np.array_equal(own, counts):
                said = f"its polygons have other corners than their indices of {what}s"
                raise fail(
                    "bad-syntax", said, self.name, seen=f"{len(found):,}", expected=f"{len(corners):,}"
                )
        else:
            found = corners
        return found

    # -------------------------------------------------------------------------------------------- the whole

    def result(self) -> MeshFile:
        others = f"shapes in nodes {', '.join(self.others)[:80]}" if self.others else None
        if not sum(map(len, self.vertices)):
            raise fail("empty-file", "the file holds no vertex of a polygon", self.name, seen=others)
        vertices = np.concatenate(self.vertices)
        if not self.faces:
            seen = others or f"{len(vertices):,} vertices"
            raise fail("no-faces", "the file has vertices but no triangle", self.name, seen=seen)
        colors = None
        if any(c is not None for c in self.colors):
            white = [
                np.ones((len(v), 3)) if c is None else c
                for v, c in zip(self.vertices, self.colors, strict=True)
            ]
            colors = as_bytes(np.concatenate(white))
        uv, uv_faces = self._texture_coordinates()
        faces = np.concatenate(self.faces).astype(np.int32)
        check_vertices(vertices, self.name, faces)
        return MeshFile(
            Mesh(vertices, faces, uv, uv_faces, colors),
            face_material=np.repeat(np.asarray(self.pictures, np.int32), [len(f) for f in self.faces]),
            textures=tuple(self.images),
            uv_absent=self.uv_absent,
        )

    def _texture_coordinates(self) -> tuple[Floats | None, Ints | None]:
        """All texture coordinates and their triangles, a row that is NaN for those without; None without any."""
        if all(part is None for part in self.uv_faces):
            return None, None
        blank = sum(map(len, self.uvs))
        rows = [
            np.full(f.shape, blank) if part is None else np.where(part == _BLANK, blank, part)
            for f, part in zip(self.faces, self.uv_faces, strict=True)
        ]
        uv_faces = np.concatenate(rows)
        if (uv_faces == blank).all():
            return None, None
        more = np.full((int((uv_faces == blank).any()), 2), np.nan)
        return np.concatenate([*self.uvs, more]), uv_faces.astype(np.int32)


def _shown(children: list[Node], which: str) -> list[Node]:
    """The children that a Switch shows: the one of that number; -3 is all of them, -1 none."""
    if which == "-3":
        return children
    return children[int(which) :][:1] if which.isdecimal() and len(which) < 9 else []


# ------------------------------------------------------------------------------------------------ properties


def _places_property(node: Node, state: _State, name: str) -> None:
    state.places = node.numbers("point")


def _uv_property(node: Node, state: _State, name: str) -> None:
    state.uv = node.numbers("point")


def _image_property(node: Node, state: _State, name: str) -> None:
    state.image = node.text("filename")


def _color_property(node: Node, state: _State, name: str) -> None:
    state.colors = node.numbers("diffuseColor")


def _binding_property(node: Node, state: _State, name: str) -> None:
    state.colors_per_vertex = node.word("value", "") == "PER_VERTEX_INDEXED"


def _winding_property(node: Node, state: _State, name: str) -> None:
    state.clockwise = node.word("vertexOrdering", "") == "CLOCKWISE"


def _transform_property(node: Node, state: _State, name: str) -> None:
    state.world = state.world @ _transform(node, "scaleFactor", name)


def _matrix_property(node: Node, state: _State, name: str) -> None:
    rows = node.vector("matrix", tuple(np.eye(4).ravel()), name).reshape(4, 4)
    state.world = state.world @ rows.T  # points are rows that stand before it


def _texture_property(node: Node, state: _State, name: str) -> None:
    state.uv_matrix = state.uv_matrix @ _texture_transform(node, "scaleFactor", name)


_PROPERTIES: dict[str, Callable[[Node, _State, str], None]] = {
    "Coordinate3": _places_property,
    "TextureCoordinate2": _uv_property,
    "Texture2": _image_property,
    "Material": _color_property,
    "MaterialBinding": _binding_property,
    "ShapeHints": _winding_property,
    "Transform": _transform_property,
    "Translation": _transform_property,
    "Rotation": _transform_property,
    "Scale": _transform_property,
    "MatrixTransform": _matrix_property,
    "Texture2Transform": _texture_property,
}
"""What nodes of VRML 1.0 set for those that follow."""


# ------------------------------------------------------------------------------------------------ transformations


def _transform(node: Node, scale: str, name: str) -> Floats:
    """(4, 4) of a node: scaled along turned axes, turned, moved, both about a centre (VRML97, 6.52).

    Args:
        scale: name of the field of the scale.
    """
    centre = _moved(node.vector("center", (0, 0, 0), name))
    turned = _turned(node.vector("scaleOrientation", (0, 0, 1, 0), name))
    rotation = node.vector("rotation", (0, 0, 1, 0), name)
    scaled = np.diag([*node.vector(scale, (1, 1, 1), name), 1.0])
    inner = _turned(rotation) @ turned @ scaled @ turned.T
    whole = _moved(node.vector("translation", (0, 0, 0), name)) @ centre @ inner
    return np.asarray(whole @ np.linalg.inv(centre), np.float64)


def _moved(by: Floats) -> Floats:
    """(4, 4) of a translation (3,), or (3, 3) of one (2,)."""
    matrix = np.eye(len(by) + 1)
    matrix[:-1, -1] = by
    return matrix


def _turned(axis_angle: Floats) -> Floats:
    """(4, 4) of a rotation: axis (3,) and angle in radians (Rodrigues)."""
    axis, angle = axis_angle[:3], float(axis_angle[3])
    length = float(np.linalg.norm(axis))
    matrix = np.eye(4)
    if length > 0 and angle:
        x, y, z = axis / length
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return matrix


def _texture_transform(node: Node, scale: str, name: str) -> Floats:
    """(3, 3) of what is done to texture coordinates: moved, then turned and scaled about a centre (VRML97, 6.50).

    Args:
        scale: name of the field of the scale.
    """
    angle = float(node.vector("rotation", (0,), name)[0])
    c, s = np.cos(angle), np.sin(angle)
    turned = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    scaled = np.diag([*node.vector(scale, (1, 1), name), 1.0])
    centre = _moved(node.vector("center", (0, 0), name))
    moved = _moved(node.vector("translation", (0, 0), name))
    return np.asarray(np.linalg.inv(centre) @ scaled @ turned @ centre @ moved, np.float64)
