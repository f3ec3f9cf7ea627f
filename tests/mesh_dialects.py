"""One small mesh as the programs of the field write it, and as they leave it when something goes wrong.

`GOOD` has files with the triangles, texture coordinates and colours that are right; `BROKEN` has files with the code
and the words of the refusal.  tests/pipeline/formats reads them; tests/interop compares with trimesh and Open3D.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SIDE = 4
_X, _Y = (a.ravel() for a in np.meshgrid(np.arange(SIDE, dtype=float), np.arange(SIDE, dtype=float)))
PLACES = np.round(np.stack([20 * _X, 20 * _Y, 5 * np.sin(_X) + 3 * np.cos(2 * _Y)], 1), 3)
UV = np.stack([_X, _Y], 1) / 4  # exact in every format
_I = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
QUADS = np.stack([_I[:-1, :-1], _I[:-1, 1:], _I[1:, 1:], _I[1:, :-1]], -1).reshape(-1, 4)
FACES = QUADS[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
"""Each quad as a fan."""
NORMALS = np.tile([0.0, 0.0, 1.0], (len(PLACES), 1))
PAINT = np.stack([16 * np.arange(16), 255 - 16 * np.arange(16), 8 * np.arange(16)], 1).astype(np.uint8)
FIRST = 8
"""So many triangles (four quads) have the first material, the others the second."""
PARTS = [0] * FIRST + [1] * (len(FACES) - FIRST)
STRIPS = [[int(i) for k in range(SIDE) for i in (_I[row + 1, k], _I[row, k])] for row in range(SIDE - 1)]
"""A strip for each row of quads, cut along the other diagonal."""
STRIP = STRIPS[0] + [-1] + STRIPS[1] + [-1] + STRIPS[2]


@dataclass(frozen=True)
class Good:
    """A file that is right.

    Attributes:
        faces: (t, 3) its triangles, into `PLACES`.
        uv: whether it has the texture coordinates `UV`; painted: whether it has the colours `PAINT`.
        parts: material or image of each triangle; None: none.
        textures: names of images in the file; materials: names of materials.
        beside: files that lie beside it.
        atol: of places, in the unit of the file.
    """

    name: str
    data: bytes
    faces: np.ndarray = field(default_factory=lambda: FACES)
    uv: bool = True
    painted: bool = False
    parts: Sequence[int] | None = None
    textures: tuple[str, ...] = ()
    materials: tuple[str, ...] = ()
    beside: dict[str, bytes] = field(default_factory=dict)
    atol: float = 1e-5


@dataclass(frozen=True)
class Broken:
    """A file that is refused, with the code and words of the sentence."""

    name: str
    data: bytes
    code: str
    words: str = ""


# ------------------------------------------------------------------------------------------------ OBJ


def numbers(values: Sequence[float]) -> str:
    return " ".join(f"{v:.6g}" for v in values)


def v(colors: Sequence[str] | None = None) -> list[str]:
    tails = colors or [""] * len(PLACES)
    return [f"v {numbers(p)}{' ' + tail if tail else ''}" for p, tail in zip(PLACES, tails, strict=True)]


def vt(third: str = "") -> list[str]:
    return [f"vt {numbers(p)}{third}" for p in UV]


VN = [f"vn {numbers(n)}" for n in NORMALS]


def f(polygons: np.ndarray, form: str = "{0}/{0}", backwards: int = 0) -> list[str]:
    """`f` lines; `backwards`: so many vertices were given, and indices count back from there."""
    return [
        "f " + " ".join(form.format(int(i) + 1 - (backwards + 1 if backwards else 0)) for i in p)
        for p in polygons
    ]


def text(*lines: Sequence[str] | str, end: str = "\n") -> bytes:
    flat = [line for some in lines for line in ([some] if isinstance(some, str) else some)]
    return (end.join(flat) + end).encode()


def two(
    form: str = "{0}/{0}", polygons: np.ndarray = FACES, first: int = FIRST, backwards: int = 0
) -> list[str]:
    """Faces in two materials."""
    a, b = (f(p, form, backwards) for p in (polygons[:first], polygons[first:]))
    return ["usemtl left", *a, "usemtl right", *b]


def mrgb(colors: np.ndarray) -> list[str]:
    words = ["ff" + bytes(c).hex() for c in colors]
    return ["#MRGB " + "".join(words[k : k + 10]) for k in range(0, len(words), 10)]


_SCALED = [numbers(c / 255) for c in PAINT]
_BYTES = [" ".join(str(int(x)) for x in c) for c in PAINT]
_TWO = {"parts": PARTS, "materials": ("left", "right")}
_PLAIN = text(v(), vt(), f(FACES))


def good_obj() -> list[Good]:
    normal = "{0}/{0}/{0}"
    tail = ["usemtl skin", *f(FACES)]
    one: dict[str, Any] = {"materials": ("skin",), "parts": [0] * len(FACES)}
    polygon = f(QUADS[:6]) + ["f " + " ".join(f"{i + 1}/{i + 1}" for i in (8, 9, 13, 12))] + f(QUADS[7:])
    interleaved = [line for pair in zip(VN, v(), strict=True) for line in pair]
    blender = [
        "# Blender 4.1",
        "mtllib a.mtl",
        "o Head",
        *v(),
        *VN,
        *vt(),
        "s 1",
        *two(normal),
        "l 1 2",
        "l 3 4 5",
    ]
    return [
        Good(
            "3dmd.obj", text("# 3dMD", "mtllib a.mtl", v(), vt(" 0.0"), two(backwards=16), end="\r\n"), **_TWO
        ),
        Good(
            "3dmd-temporal.obj",
            text("mtllib my scan.mtl", VN, v(), vt(" 0"), two(normal), end="\r\n"),
            **_TWO,
        ),
        Good("di4d.obj", text("g DI4D", "mtllib a.mtl", v(), vt(), tail), **one),
        Good("di4d-mac.obj", text("g DI4D", "mtllib a.mtl", v(), vt(), tail, end="\r"), **one),
        Good(
            "artec.obj", text("# Artec Studio", v(_SCALED), VN, f(FACES, "{0}//{0}")), uv=False, painted=True
        ),
        Good("artec-bytes.obj", text(v(_BYTES), f(FACES, "{0}")), uv=False, painted=True),
        Good("metashape.obj", text("mtllib a.mtl", "usemtl skin", v(), vt(), VN, f(FACES, normal)), **one),
        Good("reality-capture.obj", text("mtllib a.mtl", v(), vt(), "g mesh", two()), **_TWO),
        Good("meshlab.obj", text("####", "# Vertices: 16", "####", interleaved, vt(), f(FACES, normal))),
        Good("meshlab-paint.obj", text(v(_SCALED), vt(), f(FACES)), painted=True),
        Good("zbrush.obj", text("o head", "g head", v(), mrgb(PAINT), vt(), f(QUADS)), painted=True),
        Good("zbrush-ngons.obj", text("#ZBrush", "g a", v(), vt(), "g b", polygon, end="\r\n")),
        Good("blender.obj", text(blender), **_TWO),
        Good("blender-off.obj", text("o Head", v(), vt(), "s off", "usemtl skin", f(FACES)), **one),
        Good("wrap.obj", text("# Wrap", v(), vt(), f(QUADS))),
        Good("wrap-grouped.obj", text(v(), vt(), "g face", f(QUADS[:4]), "g neck", f(QUADS[4:]))),
        Good(
            "maya.obj", text("g default", v(), vt(), VN, "s 1", "g m", "usemtl skin", f(QUADS, normal)), **one
        ),
        Good("utf-8-bom.obj", b"\xef\xbb\xbf" + _PLAIN),
        Good("utf-16.obj", b"\xff\xfe" + _PLAIN.decode().encode("utf-16-le")),
        Good("continued.obj", text(v(), vt(), [line.replace(" ", " \\\n", 1) for line in f(FACES)])),
        Good("homogeneous.obj", text([line + " 1.0" for line in v()], vt(), f(FACES))),
        Good("exponents.obj", _PLAIN.replace(b"v 20 0", b"v 2.0E+01 0e0")),
        Good("no-final-newline.obj", _PLAIN[:-1]),
        Good("indented.obj", text([" " * (7 * k) + line for k, line in enumerate(v())], vt(), f(FACES))),
        Good("far-in.obj", text(v(), vt(), "#\n" * 99_999, " " * 500_000 + "o far", f(FACES))),
    ]


def broken_obj() -> list[Broken]:
    cut = _PLAIN[: _PLAIN.index(b"f 6/6")]
    return [
        Broken("empty.obj", b"", "empty-file", "empty"),
        Broken("blank.obj", b" \r\n\r\n", "empty-file", "empty"),
        Broken("comments.obj", b"# 3dMD\n", "empty-file", "no vertex"),
        Broken("points.obj", text(v()), "no-faces", "point cloud"),
        Broken("lines.obj", text(v(), "l 1 2 3"), "no-faces", "no triangle"),
        Broken("cut-vertices.obj", text(v())[:-5], "truncated", "triangle"),
        Broken("cut-texture.obj", text(v(), vt()), "truncated", "before its first triangle"),
        Broken("cut-line.obj", _PLAIN + b"f 1/1 2", "truncated", "middle of a line"),
        Broken("cut-faces.obj", cut.rstrip(b"\n"), "truncated", "no final newline"),
        Broken("preallocated.obj", _PLAIN + bytes(4096), "truncated", "bytes of value 0"),
        Broken("commas.obj", _PLAIN.replace(b"v 20 0 ", b"v 20,0 0 "), "bad-syntax", "decimal points"),
        Broken("windows-nan.obj", _PLAIN.replace(b"v 20 0", b"v -1.#IND 0"), "nan-vertices", "not finite"),
        Broken("nan.obj", _PLAIN.replace(b"v 20 0", b"v nan nan"), "nan-vertices", "line 2"),
        Broken("missing-v.obj", text(v()[:-1], vt(), f(FACES)), "face-index", "vertex that is not there"),
        Broken("zero-based.obj", text(v(), f(FACES - 1, "{0}")), "face-index", "index 0"),
        Broken("two-corners.obj", text(v(), "f 1 2"), "bad-syntax", "three corners"),
        Broken("words.obj", _PLAIN.replace(b"f 1/1", b"f one"), "bad-syntax", "face"),
        Broken("two-numbers.obj", _PLAIN.replace(b"v 20 0 ", b"v 20 "), "bad-syntax", "too few"),
        Broken("gzip.obj", b"\x1f\x8b\x08" + _PLAIN, "bad-syntax", "gzip"),
        Broken("zip.obj", b"PK\x03\x04" + _PLAIN, "bad-syntax", "zip"),
        Broken(
            "lfs.obj", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "bad-syntax", "Git LFS"
        ),
        Broken("fork.obj", b"\0\x05\x16\x07\0\x02", "bad-syntax", "Mac"),
        Broken("page.obj", b"<!DOCTYPE html><p>not found</p>", "bad-syntax", "web page"),
    ]


# ------------------------------------------------------------------------------------------------ PLY

_CODES = {
    "float": "f4",
    "double": "f8",
    "uchar": "u1",
    "int": "i4",
    "uint": "u4",
    "ushort": "u2",
    "short": "i2",
}
XYZ = [(k, "float", PLACES[:, i]) for i, k in enumerate("xyz")]
_DOUBLE = [(k, "double", column) for k, _, column in XYZ]
_NORMAL = [(f"n{k}", "float", NORMALS[:, i]) for i, k in enumerate("xyz")]
_PAINTED = [(k, "uchar", PAINT[:, i]) for i, k in enumerate(("red", "green", "blue"))]


def uv_as(u: str, w: str, kind: str = "float") -> list[tuple[str, str, Any]]:
    return [(u, kind, UV[:, 0]), (w, kind, UV[:, 1])]


def ply(
    order: str,
    vertex: Sequence[tuple[str, str, Any]],
    rows: Sequence[Any] = FACES,
    index: str = "vertex_indices",
    kinds: tuple[str, str] = ("uchar", "int"),
    wedges: bool = False,
    numbered: Sequence[int] | None = None,
    comments: Sequence[str] = (),
    element: str = "face",
    end: str = "\n",
) -> bytes:
    """A PLY of vertex columns and one list element."""
    head = ["ply", f"format {order} 1.0", *comments, f"element vertex {len(vertex[0][2])}"]
    head += [f"property {kind} {name}" for name, kind, _ in vertex]
    head += [f"element {element} {len(rows)}", f"property list {kinds[0]} {kinds[1]} {index}"]
    head += ["property list uchar float texcoord"] * wedges
    head += ["property int texnumber"] * (numbered is not None)
    e = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(order, "")
    body: list[bytes] = []

    def put(kind: str, values: Sequence[Any]) -> None:
        if e:
            body.append(np.asarray(values, e + _CODES[kind]).tobytes())
        else:
            body.append(
                " ".join(f"{x:.9g}" if "f" in _CODES[kind] else str(int(x)) for x in values).encode() + b" "
            )

    def close() -> None:
        if not e:
            body.append(end.encode())

    for k in range(len(vertex[0][2])):
        for _, kind, column in vertex:
            put(kind, [column[k]])
        close()
    for k, row in enumerate(rows):
        put(kinds[0], [len(row)])
        put(kinds[1], row)
        if wedges:
            put("uchar", [2 * len(row)])
            put("float", UV[np.asarray(row)].ravel())
        if numbered is not None:
            put("int", [numbered[k]])
        close()
    return (end.join([*head, "end_header"]) + end).encode() + b"".join(body)


ASCII, LITTLE, BIG = "ascii", "binary_little_endian", "binary_big_endian"
_STRIPS: dict[str, Any] = {"rows": [STRIP], "kinds": ("int", "int"), "element": "tristrips"}
STRIP_FACES = np.array(
    [
        t
        for row in range(SIDE - 1)
        for k in range(SIDE - 1)
        for t in (
            (_I[row + 1, k], _I[row, k], _I[row + 1, k + 1]),
            (_I[row, k], _I[row, k + 1], _I[row + 1, k + 1]),
        )
    ]
)


def good_ply() -> list[Good]:
    image = ("comment TextureFile my face.png",)
    images = ("comment TextureFile a_u1_v1.png", "comment TextureFile a_u2_v1.png")
    shown: dict[str, Any] = {"parts": PARTS, "textures": ("a_u1_v1.png", "a_u2_v1.png")}
    extra = [("quality", "float", np.zeros(16)), ("flags", "int", np.arange(16))]
    deep = [(k, "ushort", c.astype(int) * 257) for k, _, c in _PAINTED]
    mixed = [*map(list, QUADS[:4]), *map(list, FACES[8:])]
    with_uv = [*XYZ, *uv_as("s", "t")]
    unread = [("scalar_Deviation", "float", np.ones(16))]
    good = [
        Good("artec.ply", ply(LITTLE, [*XYZ, *_NORMAL, *_PAINTED]), uv=False, painted=True),
        Good("artec-ascii.ply", ply(ASCII, [*XYZ, *_NORMAL, *_PAINTED]), uv=False, painted=True),
        Good("metashape.ply", ply(LITTLE, [*XYZ, *_NORMAL, *_PAINTED], wedges=True, comments=image), painted=True,
             textures=("my face.png",)),
        Good("metashape-double.ply", ply(LITTLE, _DOUBLE, wedges=True)),
        Good("reality-capture.ply", ply(LITTLE, XYZ, wedges=True, numbered=PARTS, comments=images), **shown),
        Good("reality-capture-ascii.ply", ply(ASCII, XYZ, wedges=True, numbered=PARTS, comments=images), **shown),
        Good("meshlab.ply", ply(LITTLE, [*XYZ, *extra], wedges=True, comments=image), textures=("my face.png",)),
        Good("meshlab-ascii.ply", ply(ASCII, [*XYZ, *extra], wedges=True, comments=image), textures=("my face.png",)),
        Good("meshlab-vertex.ply", ply(LITTLE, [*XYZ, *uv_as("texture_u", "texture_v")])),
        Good("blender.ply", ply(LITTLE, [*XYZ, *_NORMAL, *uv_as("s", "t")], kinds=("uchar", "uint"))),
        Good("blender-crlf.ply", ply(ASCII, with_uv, end="\r\n")),
        Good("cloud-compare.ply", ply(LITTLE, [*_DOUBLE, *unread], comments=("obj_info made",)), uv=False),
        Good("open3d.ply", ply(LITTLE, [*_DOUBLE, *_PAINTED], kinds=("uchar", "uint")), uv=False, painted=True),
        Good("vcg-uv.ply", ply(BIG, [*_DOUBLE, *uv_as("u", "v", "double")])),
        Good("assimp.ply", ply(ASCII, [*XYZ, *uv_as("tx", "ty")], index="vertex_index")),
        Good("deep-colour.ply", ply(BIG, [*XYZ, *deep]), uv=False, painted=True),
        Good("deep-colour-ascii.ply", ply(ASCII, [*XYZ, *deep]), uv=False, painted=True),
        Good("polygons.ply", ply(LITTLE, with_uv, mixed, kinds=("int", "int"))),
        Good("polygons-wedges.ply", ply(BIG, XYZ, mixed, wedges=True)),
        Good("strips.ply", ply(ASCII, with_uv, **_STRIPS), faces=STRIP_FACES),
        Good("strips-little.ply", ply(LITTLE, with_uv, **_STRIPS), faces=STRIP_FACES),
        Good("strips-big.ply", ply(BIG, with_uv, **_STRIPS), faces=STRIP_FACES),
        Good("strips-rows.ply", ply(BIG, with_uv, **(_STRIPS | {"rows": STRIPS})),
             faces=STRIP_FACES),
    ]  # fmt: skip
    return good


def broken_ply() -> list[Broken]:
    little = ply(LITTLE, XYZ)
    ascii_ = ply(ASCII, XYZ)
    strips = ply(ASCII, XYZ, **(_STRIPS | {"rows": [[0, 1, 4, -1, 4, 5, -7]]}))
    past = ply(ASCII, XYZ, **(_STRIPS | {"rows": [[0, 1, 16]]}))
    many = little.replace(b"vertex 16", b"vertex 900000000000")
    return [
        Broken("empty.ply", b"", "empty-file", "empty"),
        Broken("zeros.ply", bytes(2000), "bad-syntax", "does not begin with 'ply'"),
        Broken("points.ply", ply(LITTLE, XYZ, rows=[]), "no-faces", "point cloud"),
        Broken("cut.ply", little[:-7], "truncated", "face"),
        Broken("cut-header.ply", little[:60], "truncated", "header"),
        Broken("preallocated.ply", little[: -13 * 4] + bytes(13 * 4), "truncated", "bytes of value 0"),
        Broken("preallocated-ascii.ply", ascii_ + bytes(600), "truncated", "bytes of value 0"),
        Broken("absurd.ply", many, "too-large", "announces more"),
        Broken("believed.ply", little.replace(b"vertex 16", b"vertex 19999999"), "truncated", "19,999,999"),
        Broken("past.ply", ply(LITTLE, XYZ, FACES + 1), "face-index", "index 16"),
        Broken("strip-past.ply", past, "face-index", "index 16"),
        Broken("strip-minus.ply", strips, "face-index", "-7"),
        Broken(
            "float-count.ply", ply(ASCII, XYZ, kinds=("float", "int")), "bad-syntax", "property list float"
        ),
        Broken("half.ply", little.replace(b"property float z", b"property half z"), "bad-syntax", "half"),
    ]


# ------------------------------------------------------------------------------------------------ glTF


class Gltf:
    """A glTF file in the making: one mesh of one node, changed by whoever makes it."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.tree: dict[str, Any] = {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": [{"attributes": {}}]}],
            "bufferViews": [],
            "accessors": [],
        }

    @property
    def part(self) -> dict[str, Any]:
        return self.tree["meshes"][0]["primitives"][0]

    def view(self, data: bytes, **more: Any) -> int:
        self.tree["bufferViews"].append(
            {"buffer": 0, "byteOffset": len(self.buffer), "byteLength": len(data), **more}
        )
        self.buffer += data + bytes(-len(data) % 4)
        return len(self.tree["bufferViews"]) - 1

    def add(self, values: Any, kind: str, **more: Any) -> int:
        """An accessor."""
        values = np.asarray(values, "<" + kind)
        code = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}[kind]
        width = "SCALAR" if values.ndim == 1 else f"VEC{values.shape[1]}"
        entry = {
            "bufferView": self.view(values.tobytes()),
            "componentType": code,
            "count": len(values),
            "type": width,
        }
        self.tree["accessors"].append(entry | more)
        return len(self.tree["accessors"]) - 1

    def fill(
        self, places: Any = PLACES, faces: Any = FACES, uv: Any = UV, uv_name: str = "TEXCOORD_0"
    ) -> Gltf:
        given = self.part["attributes"]
        given["POSITION"] = self.add(places, "f4")
        if uv is not None:
            given[uv_name] = self.add(np.asarray(uv) * [1, -1] + [0, 1], "f4")
        self.part["indices"] = self.add(np.ravel(faces), "u2")
        return self

    def picture(self, **texture: Any) -> Gltf:
        """A material with an embedded image, and its `baseColorTexture`."""
        self.tree["images"] = [{"bufferView": self.view(b"image"), "mimeType": "image/png"}]
        self.tree["textures"] = [{"source": 0} if "extensions" not in texture else texture]
        self.tree["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
        self.part["material"] = 0
        return self

    @property
    def shown(self) -> dict[str, Any]:
        return self.tree["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]

    def glb(self) -> bytes:
        tree = self.tree | {"buffers": self.tree.get("buffers", [{"byteLength": len(self.buffer)}])}
        head = json.dumps(tree).encode()
        head += b" " * (-len(head) % 4)
        size = 28 + len(head) + len(self.buffer)
        chunk = struct.pack("<I4s", len(head), b"JSON") + head
        chunk += struct.pack("<I4s", len(self.buffer), b"BIN\0") + bytes(self.buffer)
        return struct.pack("<4sII", b"glTF", 2, size) + chunk

    def gltf(self, uri: str = "") -> bytes:
        uri = uri or "data:application/octet-stream;base64," + base64.b64encode(self.buffer).decode()
        return json.dumps(self.tree | {"buffers": [{"uri": uri, "byteLength": len(self.buffer)}]}).encode()


def made(change: Callable[[Gltf], Any], **fill: Any) -> bytes:
    one = Gltf().fill(**fill)
    change(one)
    return one.glb()


def to_linear(srgb: np.ndarray) -> np.ndarray:
    share = srgb / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _specular(one: Gltf) -> None:
    one.picture()
    one.tree["materials"] = [
        {"extensions": {"KHR_materials_pbrSpecularGlossiness": {"diffuseTexture": {"index": 0}}}}
    ]
    one.tree["extensionsRequired"] = ["KHR_materials_pbrSpecularGlossiness"]


def _webp(one: Gltf) -> None:
    one.picture(extensions={"EXT_texture_webp": {"source": 0}})
    one.tree["extensionsRequired"] = ["EXT_texture_webp"]


def _unlit(one: Gltf) -> None:
    one.picture()
    one.tree["materials"][0]["extensions"] = {"KHR_materials_unlit": {}}
    one.tree["extensionsRequired"] = ["KHR_materials_unlit"]


def _second(one: Gltf) -> None:
    one.picture()
    one.shown["texCoord"] = 1
    one.part["attributes"]["TEXCOORD_0"] = one.add(np.zeros((16, 2)), "f4")


def _moved(one: Gltf) -> None:
    """Quarter turned, scaled and moved: the file holds what `UV` was before."""
    one.picture()
    one.shown["extensions"] = {
        "KHR_texture_transform": {
            "offset": [0.25, 0.5], "scale": [0.5, 2.0], "rotation": np.pi / 2, "texCoord": 2
        }
    }  # fmt: skip
    down = UV * [1, -1] + [0, 1]
    # by hand: u' = s_v v + 0.25 and v' = -s_u u + 0.5
    before = np.stack([(0.5 - down[:, 1]) / 0.5, (down[:, 0] - 0.25) / 2.0], 1)
    one.part["attributes"]["TEXCOORD_2"] = one.add(before, "f4")


def _quantised() -> bytes:
    low, size = PLACES.min(0), np.ptp(PLACES, axis=0).max()
    one = Gltf()
    given = one.part["attributes"]
    given["POSITION"] = one.add(np.rint((PLACES - low) / size * 32767), "i2", normalized=True)
    down = UV * [1, -1] + [0, 1]
    given["TEXCOORD_0"] = one.add(np.rint(down * 65535), "u2", normalized=True)
    one.part["indices"] = one.add(np.ravel(FACES), "u1")
    one.tree["nodes"] = [
        {"children": [1], "translation": low.tolist()},
        {"mesh": 0, "scale": [float(size)] * 3},
    ]
    one.tree["extensionsRequired"] = ["KHR_mesh_quantization"]
    return one.glb()


def _sparse(one: Gltf) -> None:
    """All places but two are those of the base; the two are replaced."""
    wrong = PLACES.copy()
    wrong[[3, 9]] = 7
    where, values = (
        one.view(np.array([3, 9], "<u2").tobytes()),
        one.view(PLACES[[3, 9]].astype("<f4").tobytes()),
    )
    one.part["attributes"]["POSITION"] = one.add(wrong, "f4", sparse={
        "count": 2, "indices": {"bufferView": where, "componentType": 5123}, "values": {"bufferView": values}
    })  # fmt: skip


def _sparse_of_zeros(one: Gltf) -> None:
    where, values = one.view(np.arange(16, dtype="<u2").tobytes()), one.view(PLACES.astype("<f4").tobytes())
    one.tree["accessors"][0] = {"componentType": 5126, "count": 16, "type": "VEC3", "sparse": {
        "count": 16, "indices": {"bufferView": where, "componentType": 5123}, "values": {"bufferView": values}
    }}  # fmt: skip


def _strip(one: Gltf) -> None:
    """The rows joined by triangles without area."""
    joined = [i for row in STRIPS for i in (row[0], *row, row[-1])][1:-1]
    one.part.update(mode=5, indices=one.add(joined, "u4"))


def _fan(one: Gltf) -> None:
    one.part.update(mode=6, indices=one.add([5, 1, 2, 6, 10], "u2"))


def _painted(kind: str, width: int, **more: Any) -> Callable[[Gltf], None]:
    def change(one: Gltf) -> None:
        linear = to_linear(PAINT.astype(float))
        linear = np.concatenate([linear, np.ones((16, 1))], 1)[:, :width]
        top = {"f4": 1, "u2": 65535, "u1": 255}[kind]
        one.part["attributes"]["COLOR_0"] = one.add(
            linear if kind == "f4" else np.rint(linear * top), kind, **more
        )

    return change


def _node(**node: Any) -> Callable[[Gltf], None]:
    return lambda one: one.tree["nodes"].__setitem__(0, {"mesh": 0, **node})


def _two_parts(one: Gltf) -> None:
    """Two primitives of the same vertices, with an image each."""
    index = [one.add(FACES[:FIRST].ravel(), "u2"), one.add(FACES[FIRST:].ravel(), "u2")]
    one.picture()
    one.tree["images"] = [{"uri": "a%20b.png"}, {"uri": "c.png"}]
    one.tree["textures"] = [{"source": 0}, {"source": 1}]
    one.tree["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": k}}} for k in (0, 1)]
    given = one.part["attributes"]
    one.tree["meshes"][0]["primitives"] = [
        {"attributes": given, "indices": index[k], "material": k} for k in (0, 1)
    ]


def _raised(one: Gltf) -> None:
    """A blendshape that the file has switched on by half."""
    lifted = PLACES - [0, 0, 8]
    one.part["attributes"]["POSITION"] = one.add(lifted, "f4")
    one.part["targets"] = [{"POSITION": one.add(np.tile([0.0, 0.0, 16.0], (16, 1)), "f4")}]
    one.tree["meshes"][0]["weights"] = [0.5]


def good_gltf() -> list[Good]:
    mirrored = PLACES * [-1, 1, 1]
    turned = PLACES[:, [1, 0, 2]] * [1, -1, 1]  # undone by a quarter turn about z
    matrix = [2.0, 0, 0, 0, 0, 2.0, 0, 0, 0, 0, 2.0, 0, 10.0, 20.0, 30.0, 1.0]
    whole, image = [0] * len(FACES), ("",)
    one: dict[str, Any] = {"parts": whole, "textures": image}
    inline, outside = Gltf().fill(), Gltf().fill()
    bare: dict[str, Any] = {"uv": False, "painted": True}
    root = float(np.sqrt(0.5))
    return [
        Good("plain.glb", Gltf().fill().glb()),
        Good("specular-glossiness.glb", made(_specular), **one),
        Good("webp.glb", made(_webp), **one),
        Good("unlit.glb", made(_unlit), **one),
        Good("second-coordinates.glb", made(_second, uv_name="TEXCOORD_1"), **one),
        Good("texture-transform.glb", made(_moved, uv=UV * 0), **one),
        Good("quantised.glb", _quantised(), atol=2e-3),
        Good("sparse.glb", made(_sparse)),
        Good("sparse-of-zeros.glb", made(_sparse_of_zeros)),
        Good("strip.glb", made(_strip), faces=STRIP_FACES),
        Good("fan.glb", made(_fan), faces=np.array([[5, 1, 2], [5, 2, 6], [5, 6, 10]])),
        Good("colours-float.glb", made(_painted("f4", 3), uv=None), **bare),
        Good("colours-u16.glb", made(_painted("u2", 4, normalized=True), uv=None), **bare),
        Good("mirrored-node.glb", made(_node(scale=[-1, 1, 1]), places=mirrored, faces=FACES[:, [0, 2, 1]])),
        Good("turned-node.glb", made(_node(rotation=[0, 0, root, root]), places=turned)),
        Good("matrix-node.glb", made(_node(matrix=matrix), places=(PLACES - [10, 20, 30]) / 2)),
        Good("two-parts.glb", made(_two_parts), parts=PARTS, textures=("a b.png", "c.png")),
        Good("morph-weights.glb", made(_raised)),
        Good("inline.gltf", inline.gltf()),
        Good("outside.gltf", outside.gltf("my%20mesh.bin"), beside={"my mesh.bin": bytes(outside.buffer)}),
    ]


def _basis(one: Gltf) -> None:
    one.picture(extensions={"KHR_texture_basisu": {"source": 0}})


def _required(*names: str) -> Callable[[Gltf], None]:
    return lambda one: one.tree.__setitem__("extensionsRequired", list(names))


def _meshopt(one: Gltf) -> None:
    one.tree["buffers"] = [{"byteLength": len(one.buffer)}, {"byteLength": 999, "extensions": {"x": {}}}]
    one.tree["bufferViews"][0] |= {"buffer": 1, "extensions": {"EXT_meshopt_compression": {"buffer": 0}}}


def _set(kind: str, index: int, **values: Any) -> Callable[[Gltf], None]:
    return lambda one: one.tree[kind][index].update(values)


def broken_gltf() -> list[Broken]:
    plain = Gltf().fill().glb()
    far = {"count": 2, "indices": {"bufferView": 2, "componentType": 5123}, "values": {"bufferView": 0}}
    chain = made(lambda one: one.tree.update(nodes=[{"children": [1]}, {"children": [0]}]))
    deep = b'{"asset": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    wordy = b'{"asset": {}, "x": [' + b"0," * 5_000_000 + b"0]}"
    return [
        Broken("empty.glb", b"", "empty-file", "empty"),
        Broken("zeros.glb", bytes(4096), "truncated", "bytes of value 0"),
        Broken("text.glb", b"solid head\n", "bad-syntax", "does not begin with 'glTF'"),
        Broken("cut.glb", plain[:-20], "truncated", "shorter than it says"),
        Broken("old.glb", plain.replace(b"glTF\2", b"glTF\1"), "bad-syntax", "version"),
        Broken("old.gltf", b'{"asset": {"version": "1.0"}}', "bad-syntax", "seen 1.0"),
        Broken(
            "meshopt-required.glb", made(_required("EXT_meshopt_compression")), "bad-syntax", "EXT_meshopt"
        ),
        Broken("meshopt.glb", made(_meshopt), "bad-syntax", "EXT_meshopt_compression"),
        Broken("basis.glb", made(_basis), "bad-syntax", "KHR_texture_basisu"),
        Broken("unknown.glb", made(_required("ACME_splats")), "bad-syntax", "ACME_splats"),
        Broken(
            "instanced.glb",
            made(_required("EXT_mesh_gpu_instancing")),
            "bad-syntax",
            "EXT_mesh_gpu_instancing",
        ),
        Broken("outside.glb", Gltf().fill().gltf("mesh.bin"), "bad-syntax", "another file"),
        Broken(
            "sparse-past.glb", made(_set("accessors", 0, sparse=far | {"count": 17})), "bad-syntax", "cannot"
        ),
        Broken("cycle.glb", chain, "bad-syntax", "not a tree"),
        Broken("deep.gltf", deep, "bad-syntax", "cannot be read"),
        Broken("wordy.gltf", wordy, "too-large", "description"),
        Broken("absurd.glb", made(_set("accessors", 0, count=10**15)), "too-large", "too large"),
        Broken("believed.glb", made(_set("accessors", 0, count=10**6)), "truncated", "announces more"),
        Broken("minus.glb", made(_set("accessors", 0, count=-4)), "bad-syntax", "cannot be read"),
        Broken("minus-index.glb", made(_set("nodes", 0, mesh=-1)), "bad-syntax", "cannot be read"),
        Broken("endless.glb", made(_set("accessors", 0, count=float("inf"))), "bad-syntax", "cannot be read"),
        Broken("points.glb", made(lambda one: one.part.update(mode=0)), "empty-file", "no vertex"),
        Broken("nan.glb", made(_node(translation=[float("nan"), 0, 0])), "nan-vertices", "not finite"),
        Broken("past.glb", made(lambda one: None, faces=FACES + 1), "face-index", "index 16"),
        Broken(
            "two-corners.glb", made(lambda one: one.part.update(indices=one.add([0, 1], "u2"))), "truncated"
        ),
        Broken("unbacked.glb", made(lambda one: one.tree["accessors"][0].pop("bufferView")), "truncated"),
    ]


GOOD = [*good_obj(), *good_ply(), *good_gltf()]
BROKEN = [*broken_obj(), *broken_ply(), *broken_gltf()]
