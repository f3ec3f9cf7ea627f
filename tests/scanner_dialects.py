"""The small mesh of `mesh_dialects` as VRML, VTK and STL files have it, right and broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mesh_dialects import (
    FACES,
    FIRST,
    PAINT,
    PARTS,
    PLACES,
    QUADS,
    STRIP_FACES,
    STRIPS,
    UV,
    Broken,
    Good,
    numbers,
    text,
)

# ------------------------------------------------------------------------------------------------ VRML


def rows(values: Any, between: str = ", ") -> str:
    """A list of points."""
    return between.join(numbers(p) for p in values)


def corners(polygons: Any, between: str = ", ", last: str = "-1") -> str:
    """A list of polygons, -1 behind each."""
    words = [between.join(str(int(i)) for i in p) for p in polygons]
    return f"{between}-1{between}".join(words) + (between + last if last else "")


def shape(fields: str, image: str = "", appearance: str = "") -> str:
    texture = f'texture ImageTexture {{ url "{image}" }}' if image else ""
    return f"Shape {{ appearance Appearance {{ {texture} {appearance} }} geometry IndexedFaceSet {{ {fields} }} }}"


def coord(places: Any = PLACES, polygons: Any = FACES) -> str:
    return f"coord Coordinate {{ point [ {rows(places)} ] }} coordIndex [ {corners(polygons)} ]"


def tex(uv: Any = UV, polygons: Any = None) -> str:
    index = "" if polygons is None else f" texCoordIndex [ {corners(polygons)} ]"
    return f"texCoord TextureCoordinate {{ point [ {rows(uv)} ] }}{index}"


def second(*lines: str, end: str = "\n") -> bytes:
    return text("#VRML V2.0 utf8", *lines, end=end)


def first(*lines: str) -> bytes:
    return text("#VRML V1.0 ascii", "Separator {", *lines, "}")


def faces_1(polygons: Any = FACES, uv: Any = None) -> str:
    index = "" if uv is None else f"textureCoordIndex [ {corners(uv)} ]"
    return f"IndexedFaceSet {{ coordIndex [ {corners(polygons)} ] {index} }}"


COORDS_1 = f"Coordinate3 {{ point [ {rows(PLACES)} ] }}"
UVS_1 = f"TextureCoordinate2 {{ point [ {rows(UV)} ] }}"
_COLORS = rows(np.round(PAINT / 255, 6))
BU4DFE = second(
    "DEF Face Transform {",
    "\tchildren [",
    "\t\t" + shape("\n" + coord() + "\n" + tex(UV[::-1], 15 - FACES), "0001.jpg"),
    "\t]",
    "}",
    end="\r\n",
)
"""With an index of its own for the texture, whose points lie in another order."""


def good_vrml() -> list[Good]:
    one: dict[str, Any] = {"parts": [0] * len(FACES), "textures": ("a.jpg",)}
    two: dict[str, Any] = {"parts": PARTS, "textures": ("left.jpg", "right.jpg")}
    bare: dict[str, Any] = {"uv": False, "parts": [-1] * len(FACES)}
    about = "rotation 0 0 2 1.5707963267948966 center 3 4 5 translation 1 2 3 scale 2 2 2"
    backwards = rows(np.round(PAINT[::-1] / 255, 6))
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    # where a point goes: centre + turn(2 (p - centre)) + moved; so this is where it has to come from
    before = (PLACES - [1, 2, 3] - [3, 4, 5]) @ quarter / 2 + [3, 4, 5]
    mirrored = PLACES * [-1, 1, 1]
    uv_before = UV / [0.5, 2.0] - [0.5, 0.25]  # moved, then scaled
    tricky = [
        '# a comment with ] and } and " in it',
        'WorldInfo { title "not { a ] node # nor a comment \\" \\\\" info [ "a", "b" ] }',
        "PROTO Twice [ field SFInt32 n 0 ] { " + shape(coord(PLACES * 9)) + " }",
        "DEF Points Coordinate { point [ # of the scan ]",
        rows(PLACES, "\t,\n") + " ] }",
        "Switch { whichChoice 1 choice [ " + shape(coord(PLACES * 9)) + " Group { children Group { } } ] }",
        "LOD { range [ 10 ] level [ Shape { geometry IndexedFaceSet { coord USE Points",
        f"coordIndex [ {corners(QUADS[:4], ' ', '')} ] solid FALSE }} }} "
        + shape(coord(PLACES * 9))
        + " ] }",
        "Transform { children [ Shape { geometry IndexedFaceSet { coord USE Points",
        f"coordIndex [ {corners(FACES[FIRST:], chr(10))} ] }} }} PointLight {{ }} ] }}",
        "Shape { appearance Appearance { texture PixelTexture { image 256 256 1 "
        + "0xAF 0x01,\n" * 32768
        + "} } }",
        "ROUTE a.b TO c.d",
    ]
    unread = f"normal Normal {{ vector [ {rows(PLACES)} ] }} normalIndex [ ] creaseAngle 0.5 "
    return [
        Good(
            "bu3dfe.wrl",
            second(
                shape(
                    "coord Coordinate {\npoint [\n"
                    + rows(PLACES, ",\n")
                    + "\n]\n}\ncoordIndex [\n"
                    + "\n".join(f"{a}, {b}, {c}, -1," for a, b, c in FACES.tolist())
                    + "\n]"
                )
            ),
            **bare,
        ),
        Good("bu4dfe.wrl", BU4DFE, **(one | {"textures": ("0001.jpg",)})),
        Good(
            "casia.wrl",
            second(shape(unread + coord() + f" color Color {{ color [ {_COLORS} ] }} colorPerVertex TRUE")),
            painted=True,
            **bare,
        ),
        Good(
            "by-colour-index.wrl",
            second(
                shape(
                    coord() + f" color Color {{ color [ {backwards} ] }} colorIndex [ {corners(15 - FACES)} ]"
                )
            ),
            painted=True,
            **bare,
        ),
        Good(
            "colour-a-face.wrl",
            second(shape(coord() + " colorPerVertex FALSE color Color { color [ 1 0 0 ] }")),
            **bare,
        ),
        Good("vertex-coordinates.wrl", second(shape(coord() + " " + tex(), "a.jpg")), **one),
        Good(
            "several-urls.wrl",
            second(
                shape(coord() + tex(), 'a.jpg" "b.jpg').replace("url", "url [").replace('b.jpg"', 'b.jpg" ]')
            ),
            **one,
        ),
        Good("quads.wrl", second(shape(coord(polygons=QUADS) + tex(polygons=QUADS), "a.jpg")), **one),
        Good(
            "clockwise.wrl",
            second(shape("ccw FALSE " + coord(polygons=FACES[:, [0, 2, 1]]) + tex(), "a.jpg")),
            **one,
        ),
        Good(
            "moved.wrl",
            second(f"Transform {{ {about} children {shape(coord(before) + tex(), 'a.jpg')} }}"),
            **one,
        ),
        Good(
            "mirrored.wrl",
            second(
                "Transform { scale -1 1 1 children [ "
                + shape(coord(mirrored, FACES[:, [0, 2, 1]]) + tex(), "a.jpg")
                + " ] }"
            ),
            **one,
        ),
        Good(
            "moved-texture.wrl",
            second(
                shape(
                    coord() + tex(uv_before),
                    "a.jpg",
                    "textureTransform TextureTransform { scale 0.5 2 translation 0.5 0.25 }",
                )
            ),
            **one,
        ),
        Good("tricky.wrl", second(*tricky), **bare),
        Good("bom.wrl", b"\xef\xbb\xbf" + second(shape(coord())), **bare),
        Good(
            "inventor.wrl", first('Texture2 { filename "a.jpg" }', COORDS_1, UVS_1, faces_1(uv=FACES)), **one
        ),
        Good(
            "by-corner-index.wrl", first('Texture2 { filename "a.jpg" }', COORDS_1, UVS_1, faces_1()), **one
        ),
        Good(
            "two-sets.wrl",
            first(
                COORDS_1,
                UVS_1,
                'Separator { Texture2 { filename "left.jpg" }',
                faces_1(FACES[:FIRST]),
                '} Group { Texture2 { filename "right.jpg" } }',
                faces_1(FACES[FIRST:]),
            ),
            **two,
        ),
        Good(
            "clockwise-1.wrl",
            first(
                "ShapeHints { vertexOrdering CLOCKWISE shapeType SOLID }",
                COORDS_1,
                faces_1(FACES[:, [0, 2, 1]]),
            ),
            **bare,
        ),
        Good(
            "painted-1.wrl",
            first(
                f"Material {{ diffuseColor [ {_COLORS} ] }}",
                COORDS_1,
                "MaterialBinding { value PER_VERTEX_INDEXED }",
                faces_1(),
            ),
            painted=True,
            **bare,
        ),
        Good(
            "moved-1.wrl",
            first(
                "Separator { Translation { translation 9 9 9 } }",
                "Translation { translation 4 6 8 } Transform { center 1 1 1 }",
                "Rotation { rotation 0 0 1 1.57079632679 }",
                "TransformSeparator { Scale { scaleFactor 9 9 9 } }",
                "Scale { scaleFactor 2 2 2 }",
                f"Coordinate3 {{ point [ {rows((PLACES - [4, 6, 8]) @ quarter / 2)} ] }}",
                faces_1(),
            ),
            **bare,
        ),
        Good(
            "matrix-1.wrl",
            first(
                "MatrixTransform { matrix 2 0 0 0 0 2 0 0 0 0 2 0 10 20 30 1 }",
                f"Coordinate3 {{ point [ {rows((PLACES - [10, 20, 30]) / 2)} ] }}",
                faces_1(),
            ),
            **bare,
        ),
        Good(
            "inventor-2.wrl",
            text(
                "#Inventor V2.1 ascii",
                "Separator { Texture2 { filename a.jpg }",
                f"IndexedFaceSet {{ vertexProperty VertexProperty {{ vertex [ {rows(PLACES)} ]",
                f"texCoord [ {rows(UV)} ] }}",
                f"coordIndex [ {corners(FACES)} ] }} }}",
            ),
            parts=[-1] * len(FACES),
        ),
        Good(
            "unlit-switch-1.wrl",
            first("Switch { " + faces_1() + " }", COORDS_1, "Switch { whichChild -3", faces_1(), "}"),
            **bare,
        ),
    ]


def broken_vrml() -> list[Broken]:
    plain = second(shape(coord() + tex(polygons=FACES), "a.jpg"))
    used = "".join(f" DEF A{k} Group {{ children [ {f'USE A{k - 1} ' * 10} ] }}" for k in range(1, 9))
    chain = " ".join(f"DEF A{k} Group {{ children [ USE A{k - 1} ] }}" for k in range(1, 400))
    lines = "Shape { geometry IndexedLineSet { coord Coordinate { point [ 0 0 0 ] } coordIndex [ 0 0 -1 ] } }"
    return [
        Broken("empty.wrl", b"", "empty-file", "empty"),
        Broken("headless.wrl", plain.partition(b"\n")[2], "bad-syntax", "#VRML V2.0 utf8"),
        Broken("binary.wrl", b"#Inventor V2.1 binary\n\0\0\0\1", "bad-syntax", "binary Inventor"),
        Broken("gzip.wrl", b"\x1f\x8b\x08" + plain, "bad-syntax", "gzip"),
        Broken("cut-points.wrl", plain[:200], "truncated", "no end"),
        Broken("cut-text.wrl", plain[: plain.index(b"a.jpg") + 3], "truncated", "middle of a text"),
        Broken("cut-node.wrl", plain.rstrip()[:-1], "truncated", "middle of a node"),
        Broken("preallocated.wrl", plain + bytes(900), "truncated", "bytes of value 0"),
        Broken("nan.wrl", plain.replace(b"20 0 ", b"nan 0 ", 1), "nan-vertices", "not finite"),
        Broken("windows-nan.wrl", plain.replace(b"20 0 ", b"-1.#IND00 0 ", 1), "nan-vertices", "not finite"),
        Broken("huge.wrl", plain.replace(b"20 0 ", b"2e300 0 ", 1), "nan-vertices", "not finite"),
        Broken("word.wrl", plain.replace(b"20 0 ", b"20 one ", 1), "bad-syntax", "seen 'one'"),
        Broken("two-numbers.wrl", plain.replace(b"20 0 ", b"20 ", 1), "bad-syntax", "47 numbers"),
        Broken(
            "fraction.wrl",
            second(shape(coord() + tex())).replace(b"-1, 1, ", b"-1, 1.5, ", 1),
            "bad-syntax",
            "1.5",
        ),
        Broken("past.wrl", second(shape(coord(polygons=FACES + 1))), "face-index", "index 16"),
        Broken("far.wrl", second(shape(coord(polygons=FACES + 10**15))), "face-index", "there"),
        Broken("minus.wrl", second(shape(coord(polygons=[[0, 1, -7]]))), "face-index", "-7"),
        Broken(
            "uv-other.wrl",
            second(shape(coord() + tex(polygons=FACES[:-1]))),
            "bad-syntax",
            "texture coordinates",
        ),
        Broken(
            "colour-past.wrl",
            second(shape(coord() + " color Color { color [ 1 0 0 ] }")),
            "face-index",
            "colour",
        ),
        Broken("brackets.wrl", second("Group { children [ } ]"), "bad-syntax", "brackets"),
        Broken("closed.wrl", second("}"), "bad-syntax", "brackets"),
        Broken("list-in-list.wrl", plain.replace(b"20 0 ", b"20 [ 0 ", 1), "bad-syntax", "no end"),
        Broken("deep.wrl", second("Group { children " * 100_000), "bad-syntax", "nested too deeply"),
        Broken("deep-lists.wrl", second("[ x " * 100_000), "bad-syntax", "nested too deeply"),
        Broken("deep-use.wrl", second("DEF A0 " + shape(coord()), chain), "bad-syntax", "nested too deeply"),
        Broken("itself.wrl", second("DEF A Group { children [ USE A ] }"), "empty-file", "no vertex"),
        Broken("bomb.wrl", second("DEF A0 " + shape(coord()) + used), "too-large", "mesh is too large"),
        Broken("bomb-of-groups.wrl", second("DEF A0 Group { }" + used), "too-large", "too often"),
        Broken(
            "digits.wrl",
            second(
                "Shape { geometry IndexedFaceSet { coordIndex [",
                "1" * 200_000,
                "1-1 ] coord Coordinate { point [ 0 0 0 ] } } }",
            ),
            "bad-syntax",
            "seen '1-1'",
        ),
        Broken(
            "wordy-group.wrl",
            second(
                "DEF A0 Group { children [ " + "a " * 60_000 + " ] } Group { children [",
                "USE A0 " * 9_000,
                "] }",
            ),
            "too-large",
            "too often",
        ),
        Broken(
            "wordy-shape.wrl",
            second("DEF A0 IndexedFaceSet { " + "a " * 40_000 + " }", "Shape { geometry USE A0 } " * 7_000),
            "empty-file",
            "no vertex",
        ),
        Broken("words.wrl", second("a " * 100_100), "too-large", "too many nodes"),
        Broken("points.wrl", second("Shape { geometry PointSet { } }"), "empty-file", "PointSet"),
        Broken("lines.wrl", second(lines), "empty-file", "IndexedLineSet"),
        Broken("inline.wrl", second('Inline { url "../b.wrl" }'), "empty-file", "Inline"),
        Broken("no-faces.wrl", second(shape(coord(polygons=[[0, 1]]))), "no-faces", "no triangle"),
        Broken("no-scale.wrl", second("Transform { scale 1 2 children [ ] }"), "bad-syntax", "'scale'"),
    ]


# ------------------------------------------------------------------------------------------------ VTK


class Vtk:
    """A legacy VTK file in the making."""

    def __init__(self, binary: bool = False, version: str = "3.0") -> None:
        self.binary = binary
        form = "BINARY" if binary else "ASCII"
        self.data = f"# vtk DataFile Version {version}\nscan\n{form}\nDATASET POLYDATA\n".encode()

    def add(self, head: str, values: Any = (), kind: str = "f4", blank: str = "") -> Vtk:
        """A line, and numbers."""
        flat = np.ravel(np.asarray(values))
        if self.binary:
            body = flat.astype(f">{kind}").tobytes()
        else:
            lines = [numbers(flat[k : k + 9]) for k in range(0, len(flat), 9)]
            body = "\n".join(lines).encode()
        self.data += head.encode() + b"\n" + body + (b"\n" if len(flat) else b"") + blank.encode()
        return self

    def points(self, kind: str = "float", places: Any = PLACES, code: str = "f4") -> Vtk:
        return self.add(f"POINTS {len(places)} {kind}", places, code)

    def cells(self, polygons: Sequence[Sequence[int]], key: str = "POLYGONS") -> Vtk:
        stream = [x for p in polygons for x in (len(p), *p)]
        return self.add(f"{key} {len(polygons)} {len(stream)}", stream, "i4")

    def cells_5(
        self, polygons: Sequence[Sequence[int]], key: str = "POLYGONS", kind: str = "vtktypeint64"
    ) -> Vtk:
        code = {"vtktypeint64": "i8", "vtktypeint32": "i4"}[kind]
        offsets = np.cumsum([0, *map(len, polygons)])
        self.add(f"{key} {len(offsets)} {offsets[-1]}").add(f"OFFSETS {kind}", offsets, code)
        return self.add(f"CONNECTIVITY {kind}", [x for p in polygons for x in p], code)


MIXED = [*QUADS[:4].tolist(), *FACES[8:].tolist()]


def good_vtk() -> list[Good]:
    meta = "METADATA\nINFORMATION 1\nNAME L2_NORM_RANGE LOCATION vtkDataArray\nDATA 2 0 9\n\n"
    found: list[Good] = []
    for binary in (False, True):
        b = "-binary" if binary else ""
        paint = PAINT if binary else np.round(PAINT / 255, 6)
        kind = "u1" if binary else "f4"
        normals = np.tile([0.0, 0.0, 1.0], (16, 1))
        old = Vtk(binary).points().cells(FACES.tolist())
        new = Vtk(binary, "5.1").add("FIELD FieldData 1").add("TIME 1 2 double", [0.5, 2], "f8")
        new.points("double", code="f8").data += meta.encode()
        new.cells_5([[0], [1]], "VERTICES").cells_5(MIXED).add("CELL_DATA 12").add(
            "SCALARS area float 1"
        ).add("LOOKUP_TABLE default", np.arange(12), "f4").add("POINT_DATA 16").add(
            "NORMALS Normals float", normals, "f4"
        ).add("TEXTURE_COORDINATES TCoords 2 float", UV, "f4", meta).add(
            "COLOR_SCALARS RGBA 3", paint, kind
        ).add("UNKNOWN x").add("what follows is not read")
        plain = Vtk(binary).points().cells(MIXED).cells([[0, 1]], "LINES").add("POINT_DATA 16")
        plain.add("SCALARS deviation double", np.arange(16), "f8").add("FIELD FieldData 2").add(
            "a 3 16 float", normals, "f4"
        ).add("b 1 2 int", [1, 2], "i4").add("SCALARS RGB unsigned_char 4").add(
            "LOOKUP_TABLE default", np.concatenate([PAINT, PAINT[:, :1]], 1), "u1"
        ).add("VECTORS v float", normals, "f4")
        found += [
            Good(f"old{b}.vtk", old.data, uv=False),
            Good(f"new{b}.vtk", new.data, painted=True),
            Good(f"painted{b}.vtk", plain.data, uv=False, painted=True),
            Good(
                f"int{b}.vtk",
                Vtk(binary, "5.1").points().cells_5(FACES.tolist(), kind="vtktypeint32").data,
                uv=False,
            ),
            Good(
                f"strips{b}.vtk",
                Vtk(binary).points().cells(STRIPS, "TRIANGLE_STRIPS").data,
                faces=STRIP_FACES,
                uv=False,
            ),
            Good(
                f"both{b}.vtk",
                Vtk(binary).points().cells(STRIPS[2:], "TRIANGLE_STRIPS").cells(FACES[:2].tolist()).data,
                faces=np.concatenate([FACES[:2], STRIP_FACES[12:]]),
                uv=False,
            ),
        ]
    head, cells = Vtk().data, Vtk().cells(FACES.tolist()).data.partition(b"POLYDATA\n")[2]
    one_line = head + text("POINTS 16 float", rows(PLACES, " ")) + cells
    crlf = Vtk().points().cells(FACES.tolist()).data.replace(b"\n", b"\r\n")
    return [*found, Good("one-line.vtk", one_line, uv=False), Good("crlf.vtk", crlf, uv=False)]


def broken_vtk() -> list[Broken]:
    old, binary = Vtk().points().cells(FACES.tolist()).data, Vtk(True).points().cells(FACES.tolist()).data
    new = Vtk(True, "5.1").points().cells_5(FACES.tolist()).data
    grid = old.replace(b"POLYDATA", b"UNSTRUCTURED_GRID")
    many = Vtk().points().add("POINT_DATA 16").data + b"LOOKUP_TABLE x 0\n" * 10_001
    return [
        Broken("empty.vtk", b"", "empty-file", "empty"),
        Broken("headless.vtk", old[2:], "bad-syntax", "does not begin with"),
        Broken("grid.vtk", grid, "bad-syntax", "UNSTRUCTURED_GRID"),
        Broken("form.vtk", old.replace(b"ASCII", b"EBCDIC"), "bad-syntax", "EBCDIC"),
        Broken("no-points.vtk", Vtk().data, "empty-file", "no vertex"),
        Broken("points.vtk", Vtk().points().data, "no-faces", "no triangle"),
        Broken("lines.vtk", Vtk().points().cells([[0, 1]], "LINES").data, "no-faces", "no triangle"),
        Broken("cut.vtk", binary[:-9], "truncated", "announces"),
        Broken("cut-ascii.vtk", old[: old.rindex(b"\n", 0, -2)], "truncated", "announces"),
        Broken("cut-points.vtk", old[:120], "truncated", "announces"),
        Broken("preallocated.vtk", old + bytes(200), "truncated", "bytes of value 0"),
        Broken("blank.vtk", old.partition(b"POINTS")[0] + b"\n" * 2_000_000, "empty-file", "no vertex"),
        Broken(
            "absurd.vtk", old.replace(b"POINTS 16", b"POINTS 900000000000"), "too-large", "announces more"
        ),
        Broken("believed.vtk", binary.replace(b"POINTS 16", b"POINTS 19999999"), "truncated", "announces"),
        Broken("believed-ascii.vtk", old.replace(b"POINTS 16", b"POINTS 19999999"), "truncated", "announces"),
        Broken(
            "believed-cells.vtk", old.replace(b"POLYGONS 18", b"POLYGONS 99999999"), "bad-syntax", "lengths"
        ),
        Broken(
            "believed-offsets.vtk",
            new.replace(b"POLYGONS 19", b"POLYGONS 99999999"),
            "truncated",
            "announces",
        ),
        Broken("more.vtk", old.replace(b"POINTS 16", b"POINTS 15"), "bad-syntax", "where it announces 45"),
        Broken("minus.vtk", old.replace(b"POINTS 16", b"POINTS -16"), "bad-syntax", "lacks a number"),
        Broken("half.vtk", old.replace(b"16 float", b"16 half"), "bad-syntax", "half"),
        Broken("wordless.vtk", old.replace(b"POINTS 16 float", b"POINTS"), "bad-syntax", "lacks a word"),
        Broken("nan.vtk", old.replace(b"20 0 ", b"nan 0 ", 1), "nan-vertices", "not finite"),
        Broken("capital-nan.vtk", old.replace(b"\n0 ", b"\nNAN ", 1), "nan-vertices", "not finite"),
        Broken("word.vtk", old.replace(b"20 0 ", b"one 0 ", 1), "bad-syntax", "no number"),
        Broken("past.vtk", Vtk().points().cells((FACES + 1).tolist()).data, "face-index", "index 16"),
        Broken("before.vtk", Vtk(True).points().cells((FACES - 1).tolist()).data, "face-index", "index -1"),
        Broken(
            "strip-past.vtk",
            Vtk().points().cells([[0, 1, 16]], "TRIANGLE_STRIPS").data,
            "face-index",
            "index 16",
        ),
        Broken(
            "lengths.vtk",
            Vtk().points().add("POLYGONS 2 8", [3, 0, 1, 2, 9, 0, 1, 2], "i4").data,
            "bad-syntax",
            "lengths",
        ),
        Broken(
            "rest.vtk",
            Vtk().points().add("POLYGONS 1 5", [3, 0, 1, 2, 9], "i4").data,
            "bad-syntax",
            "lengths",
        ),
        Broken(
            "offsets.vtk",
            Vtk()
            .points()
            .add("POLYGONS 3 6")
            .add("OFFSETS vtktypeint64", [0, 9, 6], "i8")
            .add("CONNECTIVITY vtktypeint64", [0, 1, 2, 3, 4, 5], "i8")
            .data,
            "bad-syntax",
            "offsets",
        ),
        Broken(
            "unconnected.vtk",
            Vtk().points().add("POLYGONS 2 3").add("OFFSETS vtktypeint64", [0, 3], "i8").data,
            "bad-syntax",
            "CONNECTIVITY",
        ),
        Broken(
            "twice.vtk",
            old + Vtk().cells(FACES.tolist()).data.partition(b"POLYDATA\n")[2],
            "bad-syntax",
            "second section",
        ),
        Broken("sections.vtk", many, "too-large", "sections"),
        Broken("long-line.vtk", old.replace(b"scan", b"x" * 2000), "bad-syntax", "too long"),
    ]


# ------------------------------------------------------------------------------------------------ STL


def ascii_stl(places: Any = PLACES, faces: Any = FACES, head: str = "solid scan", end: str = "\n") -> bytes:
    lines = [head]
    for face in faces:
        corner = [f"      vertex {numbers(places[i])}" for i in face]
        lines += ["  facet normal 0 0 1", "    outer loop", *corner, "    endloop", "  endfacet"]
    return (end.join([*lines, "endsolid scan"]) + end).encode()


def binary_stl(places: Any = PLACES, faces: Any = FACES, title: bytes = b"") -> bytes:
    table = np.zeros(len(faces), [("n", "<f4", 3), ("p", "<f4", (3, 3)), ("a", "<u2")])
    table["p"] = np.asarray(places)[np.asarray(faces)]
    table["a"] = 0x8001
    return title.ljust(80, b"\0") + np.uint32(len(faces)).tobytes() + table.tobytes()


STLS = {
    "ascii.stl": ascii_stl(),
    "ascii-capitals.stl": ascii_stl(head="SOLID facet vertex 1 2").upper(),
    "ascii-crlf.stl": ascii_stl(end="\r\n"),
    "ascii-nameless.stl": ascii_stl(head="solid").rstrip(),
    "ascii-two.stl": ascii_stl(faces=FACES[:5]) + ascii_stl(faces=FACES[5:]),
    "binary.stl": binary_stl(title=b"made by a scanner"),
    "binary-solid.stl": binary_stl(title=b"solid scan"),
    "binary-more.stl": binary_stl() + b"more than it announces",
}
"""The mesh in every form of STL."""


def broken_stl() -> list[Broken]:
    text_, binary = ascii_stl(), binary_stl()
    many = binary[:80] + np.uint32(4_000_000_000).tobytes() + binary[84:]
    believed = binary[:80] + np.uint32(30_000_000).tobytes() + binary[84:]
    uneven = text_.replace(b"vertex 20 0 ", b"vertex 20 ", 1).replace(b"vertex 20 0 ", b"vertex 9 20 0 ", 1)
    nan = PLACES.copy()
    nan[3, 1] = np.nan
    return [
        Broken("empty.stl", b"", "empty-file", "empty"),
        Broken("zeros.stl", bytes(84), "empty-file", "no triangle"),
        Broken("short.stl", b"made by a scanner", "truncated", "first triangle"),
        Broken("none.stl", b"solid x\nendsolid x\n", "empty-file", "no triangle"),
        Broken("none-binary.stl", binary_stl(faces=FACES[:0], title=b"x"), "empty-file", "no triangle"),
        Broken("cut.stl", binary[:-7], "truncated", "17 of 18"),
        Broken("preallocated.stl", binary[: -3 * 50] + bytes(3 * 50), "truncated", "bytes of value 0"),
        Broken("preallocated-ascii.stl", text_ + bytes(99), "truncated", "bytes of value 0"),
        Broken("absurd.stl", many, "too-large", "4,000,000,000"),
        Broken("believed.stl", believed, "truncated", "18 of 30,000,000"),
        Broken("cut-ascii.stl", text_[:700], "truncated", "endsolid"),
        Broken("cut-after-facet.stl", text_[: text_.rindex(b"endsolid")], "truncated", "endsolid"),
        Broken("nan.stl", binary_stl(nan), "nan-vertices", "not finite"),
        Broken("nan-ascii.stl", ascii_stl(nan), "nan-vertices", "not finite"),
        Broken(
            "four.stl", text_.replace(b"endloop", b"vertex 0 0 0\nendloop", 1), "bad-syntax", "three corners"
        ),
        Broken("two.stl", text_.replace(b"vertex 0 0 3\n", b"\n", 1), "bad-syntax", "three corners"),
        Broken("word.stl", text_.replace(b"vertex 20 0 ", b"vertex 20 one ", 1), "bad-syntax", "one"),
        Broken(
            "short-line.stl", text_.replace(b"vertex 20 0 ", b"vertex 20 ", 1), "bad-syntax", "three numbers"
        ),
        Broken(
            "digits.stl",
            text_.replace(b"vertex 20 0 ", b"vertex " + b"1" * 200_000 + b"x 0 ", 1),
            "bad-syntax",
            "three numbers",
        ),
        Broken("uneven.stl", uneven, "bad-syntax", "three numbers"),
        Broken(
            "verses.stl", text_.replace(b"vertex 20 0 ", b"verses 20 0 ", 1), "bad-syntax", "cannot be read"
        ),
        Broken("page.stl", b"<!DOCTYPE html>", "bad-syntax", "web page"),
    ]


GOOD = [*good_vrml(), *good_vtk()]
BROKEN = [*broken_vrml(), *broken_vtk(), *broken_stl()]
