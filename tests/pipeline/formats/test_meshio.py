"""Mesh files: what is read from each form of OBJ, PLY and GLB, and how each kind of damage is named."""

from __future__ import annotations

import json
import struct
import tracemalloc

import numpy as np
import pytest

from mimicme.pipeline.errors import InputError
from mimicme.pipeline.formats.meshio import (
    MeshFileError,
    obj_bytes,
    parse_mtl,
    ply_bytes,
    read_mesh,
    read_scan,
    write_obj,
    write_ply,
)
from mimicme.pipeline.geometry.mesh import Mesh

SQUARE = b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


def grid(side: int) -> Mesh:
    """side x side vertices with texture coordinates and a bump."""
    x, y = np.meshgrid(np.arange(side, dtype=float), np.arange(side, dtype=float))
    places = np.stack([x.ravel(), y.ravel(), np.sin(x.ravel())], axis=1)
    i = np.arange(side * side).reshape(side, side)
    a, b, c, d = (q.ravel() for q in (i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return Mesh(places, faces, np.stack([x.ravel(), y.ravel()], 1) / side, faces.copy())


def reason(data: bytes, name: str = "0001.obj") -> str:
    with pytest.raises(MeshFileError) as caught:
        read_mesh(data, name)
    assert name in str(caught.value)  # says where
    assert isinstance(caught.value, InputError)
    return caught.value.reason


# ------------------------------------------------------------------------------------------------- OBJ


@pytest.mark.parametrize(
    ("face", "has_uv"),
    [
        (b"f 1 2 3", False),
        (b"f 1/1 2/2 3/3", True),
        (b"f 1//1 2//1 3//1", False),
        (b"f 1/1/1 2/2/1 3/3/1", True),
        (b"f -4 -3 -2", False),
        (b"f -4/-3 -3/-2 -2/-1", True),
        (b"  f\t1/1/   2/2/ 3/3/  ", True),
        (b"f 1 2 \\\n 3", False),
        (b"f 1/1 2/2 3/3 # a comment", True),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_form_of_face(face: bytes, has_uv: bool, end: bytes) -> None:
    text = b"# made by hand\n\n" + SQUARE + b"vt 0 0\nvt 1 0\nvt 1 1\nvn 0 0 1\n" + face + b"\n"
    mesh = read_mesh(text.replace(b"\n", end), "a.obj").mesh
    assert mesh.faces.tolist() == [[0, 1, 2]]
    assert mesh.vertices[2].tolist() == [1, 1, 0]
    assert (mesh.uv is not None) == has_uv
    if mesh.uv is not None and mesh.uv_faces is not None:
        assert mesh.uv[mesh.uv_faces[0]].tolist() == [[0, 0], [1, 0], [1, 1]]


def test_negative_indices_count_back_from_their_own_line() -> None:
    text = b"v 0 0 0\nv 1 0 0\nv 1 1 0\nf -3 -2 -1\nv 0 0 5\nv 1 0 5\nv 1 1 5\nf -3 -2 -1\n"
    assert read_mesh(text, "a.obj").mesh.faces.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_polygons_become_fans() -> None:
    mesh = read_mesh(SQUARE + b"v 2 2 0\nf 1 2 3 4\nf 1 2 3\nf 1 2 3 4 5\n", "a.obj").mesh
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 1, 2], [0, 2, 3], [0, 3, 4]]


def test_mixed_faces_keep_uv_and_mark_those_without() -> None:
    mesh = read_mesh(SQUARE + b"vt 0 0\nvt 1 0\nvt 1 1\nf 1/1 2/2 3/3\nf 1 3 4\n", "a.obj").mesh
    assert mesh.uv is not None
    assert mesh.uv_faces is not None
    corner = mesh.uv[mesh.uv_faces]
    assert corner[0].tolist() == [[0, 0], [1, 0], [1, 1]]
    assert np.isnan(corner[1]).all()


@pytest.mark.parametrize(("text", "value"), [(b"1 0.5 0", [255, 128, 0]), (b"255 128 0", [255, 128, 0])])
def test_vertex_colours(text: bytes, value: list[int]) -> None:
    lines = b"".join(b"v %d %d 0 " % (k % 2, k // 2) + text + b"\n" for k in range(3))
    colors = read_mesh(lines + b"f 1 2 3\n", "a.obj").mesh.colors
    assert colors is not None
    assert colors[0].tolist() == value


def test_materials_and_names_with_blanks() -> None:
    text = (
        SQUARE
        + b"mtllib my scan.mtl\nusemtl left eye\nf 1 2 3\nusemtl b\nf 1 3 4\nusemtl left eye\nf 2 3 4\n"
    )
    found = read_mesh(text, "a.obj")
    assert found.material_files == ("my scan.mtl",)
    assert found.materials == ("left eye", "b")
    assert found.face_material is not None
    assert found.face_material.tolist() == [0, 1, 0]


def test_interleaved_normals_as_meshlab_writes_them() -> None:
    text = b"vn 0 0 1\nv 0 0 0\nvn 0 0 1\nv 1 0 0\nvn 0 0 1\nv 1 1 0\n\nf 1//1 2//2 3//3\n"
    assert read_mesh(text, "a.obj").mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]


def test_without_final_newline() -> None:
    assert len(read_mesh(SQUARE + b"f 1 2 3 4", "a.obj").mesh.faces) == 2


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty-file"),
        (b" \n\n", "empty-file"),
        (b"# nothing\n", "empty-file"),
        (SQUARE, "no-faces"),
        (SQUARE[:-2], "truncated"),
        (SQUARE + b"f 1 2", "truncated"),
        (SQUARE + b"f 1/1 2/", "truncated"),
        (SQUARE + b"f 1 2 3", "truncated"),  # a quarter of the vertices has no triangle yet
        (SQUARE + b"f 1 2\n", "bad-syntax"),
        (SQUARE + b"\0\0\0\0", "truncated"),
        (b"v 0 0 nan\n" + SQUARE + b"f 1 2 3\n", "nan-vertices"),
        (b"v 0 0 -1.#IND\n" + SQUARE + b"f 1 2 3\n", "nan-vertices"),
        (b"v 0 0 inf\n" + SQUARE + b"f 1 2 3\n", "nan-vertices"),
        (b"v 0 0 1e200\n" + SQUARE + b"f 1 2 3\n", "nan-vertices"),
        (SQUARE + b"f 1 2 5\n", "face-index"),
        (SQUARE + b"f 0 1 2\n", "face-index"),
        (SQUARE + b"f 1 2 -5\n", "face-index"),
        (SQUARE + b"f 1 2 99999999999999999999999\n", "face-index"),
        (b"v 0,5 0 0\n" + SQUARE + b"f 1 2 3\n", "bad-syntax"),
        (SQUARE + b"f 1 2 x\n", "bad-syntax"),
        (SQUARE + b"f 1 2 3.5\n", "bad-syntax"),
    ],
)
def test_damaged_obj(data: bytes, code: str) -> None:
    assert reason(data) == code


@pytest.mark.parametrize("absent", ["9", "0", "-7", "99999999999999999999999"])
def test_a_texture_coordinate_that_is_not_there_costs_its_triangle_the_colour_alone(absent: str) -> None:
    """Whatever is wrong with a texture, the geometry is good."""
    corners = b"vt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\nf 1/1 2/%s 4/3\n" % absent.encode()
    found = read_mesh(SQUARE + corners, "a.obj")
    np.testing.assert_array_equal(found.mesh.faces, [[0, 1, 2], [0, 1, 3]])
    known = np.isfinite(found.mesh.uv[found.mesh.uv_faces]).all(axis=(1, 2))
    np.testing.assert_array_equal(known, [True, False])
    np.testing.assert_array_equal(found.mesh.uv[found.mesh.uv_faces[0]], [[0, 0], [1, 0], [0, 1]])
    assert found.uv_absent == (absent != "0")  # 0 stands for none


@pytest.mark.parametrize(("index", "known"), [("0 1 2 -1 0 9 2 -1", [True, False]), ("7 8 9 -1 7 8 9", None)])
def test_a_texture_coordinate_that_is_not_there_in_vrml(index: str, known: list[bool] | None) -> None:
    shape = (
        "coord Coordinate { point [0 0 0, 1 0 0, 0 1 0, 1 1 0] } coordIndex [0 1 2 -1 0 1 3 -1] "
        f"texCoord TextureCoordinate {{ point [0 0, 1 0, 0 1] }} texCoordIndex [{index}]"
    )
    text = f"#VRML V2.0 utf8\nShape {{ geometry IndexedFaceSet {{ {shape} }} }}\n"
    found = read_mesh(text.encode(), "a.wrl")
    np.testing.assert_array_equal(found.mesh.faces, [[0, 1, 2], [0, 1, 3]])
    if known is None:
        assert found.mesh.uv is None and found.uv_absent == 2
    else:
        there = np.isfinite(found.mesh.uv[found.mesh.uv_faces]).all(axis=(1, 2))
        assert there.tolist() == known and found.uv_absent == 1


def test_texture_coordinates_of_which_none_is_there() -> None:
    found = read_mesh(SQUARE + b"vt 0 0\nf 1/5 2/6 3/7\n", "a.obj")
    assert found.mesh.uv is None and found.uv_absent == 1


def test_message_names_the_line() -> None:
    with pytest.raises(MeshFileError, match=r"line 3: 'v 1 one 0'"):
        read_mesh(b"v 0 0 0\nv 1 0 0\nv 1 one 0\nf 1 2 3\n", "a.obj")


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("shift", range(7))
def test_obj_cut_anywhere_is_never_taken_for_whole(share: float, shift: int) -> None:
    data = obj_bytes(grid(30))
    with pytest.raises(MeshFileError):
        read_mesh(data[: int(len(data) * share) + shift].rstrip(b"\n"), "a.obj")


@pytest.mark.parametrize(
    ("said", "whole"),
    [
        (b"# Vertices: 4\n# Faces: 2\n", True),
        (b"#Vertex Count 4\n#Face Count 2\n", True),
        (b"# 4 vertices\n# 2 triangles\n", True),
        (b"# 3 faces removed by hand\n# 9 vertices on the left\n", True),
        (b"# Faces: 3\n", False),
        (b"#Face Count 3\n", False),
        (b"# 3 polygons\n", False),
        (b"# Number of vertices: 5\n", False),
        (b"# 5 vertices\r\n", False),
    ],
)
def test_obj_with_less_than_a_comment_announces_was_cut(said: bytes, whole: bool) -> None:
    data = said + SQUARE + b"f 1 2 3\nf 1 3 4\n"
    if whole:
        assert len(read_mesh(data, "a.obj").mesh.faces) == 2
        # a quadrangle is two triangles to who counts these
        assert len(read_mesh(said + SQUARE + b"f 1 2 3 4\n", "a.obj").mesh.faces) == 2
    else:
        with pytest.raises(MeshFileError, match="a comment in it announces") as caught:
            read_mesh(data, "a.obj")
        assert caught.value.reason == "truncated"


@pytest.mark.parametrize(
    ("said", "may_be_cut"),
    [
        (b"", True),
        (b"# Vertices: 4\n", True),
        (b"# Vertices: 4\n# Faces: 2\n", False),
        (b"# 1 faces\n", True),  # of one of two objects
    ],
)
def test_obj_may_be_cut_where_no_comment_counts_its_faces(said: bytes, may_be_cut: bool) -> None:
    data = said + SQUARE + b"f 1 2 3\nf 1 3 4\n"
    assert read_mesh(data, "a.obj").may_be_cut == may_be_cut
    assert not read_mesh(ply_bytes(read_mesh(data, "a.obj").mesh), "a.ply").may_be_cut


def test_round_trip_and_determinism(tmp_path) -> None:
    mesh = grid(20)
    write_obj(tmp_path / "a.obj", mesh, image_name="a.jpg")
    found = read_mesh((tmp_path / "a.obj").read_bytes(), "a.obj")
    assert np.allclose(found.mesh.vertices, mesh.vertices, atol=1e-6)
    assert (found.mesh.faces == mesh.faces).all()
    assert found.mesh.uv is not None
    assert np.allclose(found.mesh.uv[found.mesh.uv_faces], mesh.uv[mesh.uv_faces], atol=1e-6)
    assert parse_mtl((tmp_path / found.material_files[0]).read_bytes())[found.materials[0]].name == "a.jpg"
    assert obj_bytes(mesh) == obj_bytes(grid(20))
    write_ply(tmp_path / "a.ply", mesh)
    assert (tmp_path / "a.ply").read_bytes() == ply_bytes(grid(20))


def test_mtl_options_and_spaces() -> None:
    text = (
        b"newmtl a\r\nmap_Kd -s 1 1 1 -clamp on  my photo.jpg\r\nnewmtl b\nKd 1 1 1\n"
        b"newmtl c\nmap_Kd -o 0.5 sub\\c.png\nnewmtl d\nmap_Ka d.bmp\n"
        b"newmtl e\n\tmap_Kd -mm 0 1 -bm 2 e.jpg\n"
    )
    names = {material: one.name for material, one in parse_mtl(text).items()}
    assert names == {"a": "my photo.jpg", "c": "sub\\c.png", "d": "d.bmp", "e": "e.jpg"}


@pytest.mark.parametrize(
    ("options", "scale", "offset"),
    [
        (b"", (1, 1), (0, 0)),
        (b"-s 0.5 2 1 ", (0.5, 2), (0, 0)),
        (b"-o 0.25 -0.5 -s 2 ", (2, 1), (0.25, -0.5)),
        (b"-clamp on -O 0.25 ", (1, 1), (0.25, 0)),
        (b"-s nan 1 1 ", (1, 1), (0, 0)),
        (b"-s 0 0 0 ", (1, 1), (0, 0)),
        (b"-s 2 0 0 -o 0 0 0 ", (1, 1), (0, 0)),
        (b"-o 0.5 0 0 -s 0 ", (1, 1), (0.5, 0)),
        (b"-s 2 3 0 ", (2, 3), (0, 0)),  # w counts for images with depth alone
        (b"-t 3 3 3 ", (1, 1), (0, 0)),  # turbulence
    ],
)
def test_mtl_says_where_in_the_image_a_place_lies(options, scale, offset) -> None:
    one = parse_mtl(b"newmtl a\nmap_Kd " + options + b"a b.jpg\n")["a"]
    assert one == ("a b.jpg", scale, offset)


# ------------------------------------------------------------------------------------------------- PLY


def ply(order: str, quads: bool = False) -> bytes:
    header = (
        f"ply\nformat {order} 1.0\ncomment TextureFile my face.png\nelement vertex 4\nproperty double x\n"
    )
    header += (
        "property float y\nproperty float z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\n"
    )
    header += f"element face {2 if quads else 1}\nproperty list uchar int vertex_indices\n"
    header += "property list uchar float texcoord\nend_header\n"
    places = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]
    uvs = [0, 0, 1, 0, 1, 1, 0, 1]
    faces = [([0, 1, 2], uvs[:6])] + ([([0, 1, 2, 3], uvs)] if quads else [])
    if order == "ascii":
        body = "".join(f"{x} {y} {z} 10 20 30\n" for x, y, z in places)
        body += "".join(
            f"{len(f)} {' '.join(map(str, f))} {len(t)} {' '.join(map(str, t))}\n" for f, t in faces
        )
        return (header + body).encode()
    e = "<" if "little" in order else ">"
    raw = b"".join(struct.pack(e + "dffBBB", *p, 10, 20, 30) for p in places)
    for f, t in faces:
        raw += struct.pack(f"{e}B{len(f)}i", len(f), *f) + struct.pack(f"{e}B{len(t)}f", len(t), *t)
    return header.encode() + raw


@pytest.mark.parametrize("order", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("quads", [False, True])
def test_every_form_of_ply(order: str, quads: bool) -> None:
    found = read_mesh(ply(order, quads), "a.ply")
    mesh = found.mesh
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert mesh.faces.tolist() == [[0, 1, 2]] + ([[0, 1, 2], [0, 2, 3]] if quads else [])
    assert mesh.colors is not None
    assert mesh.colors[3].tolist() == [10, 20, 30]
    assert mesh.uv is not None
    assert np.allclose(mesh.uv[mesh.uv_faces], mesh.vertices[mesh.faces][..., :2])
    assert found.textures == ("my face.png",)


@pytest.mark.parametrize("order", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("quads", [False, True])
def test_ply_cut_anywhere_is_never_taken_for_whole(order: str, quads: bool) -> None:
    data = ply(order, quads)
    for stop in range(len(data) - 3):
        with pytest.raises(MeshFileError):
            read_mesh(data[:stop], "a.ply")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"vertex 4", b"vertex 1000000000000", "too-large"),
        (b"face 1", b"face 1000000000000", "too-large"),
        (b"vertex 4", b"vertex 19000000", "truncated"),
        (b"vertex 4", b"vertex -4", "bad-syntax"),
        (b"vertex 4", b"vertex 0", "empty-file"),
        (b"float y", b"floot y", "bad-syntax"),
        (b"format binary_little_endian", b"format morse", "bad-syntax"),
        (b"end_header", b"end_hooder", "truncated"),
    ],
)
def test_ply_header_is_not_believed(old: bytes, new: bytes, code: str) -> None:
    data = ply("binary_little_endian").replace(old, new)
    tracemalloc.start()
    assert reason(data, "a.ply") == code
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20


def test_ply_that_is_shorter_than_its_header_says_is_damaged_and_not_too_fine() -> None:
    with pytest.raises(MeshFileError, match="it is damaged") as caught:
        read_mesh(ply("binary_little_endian").replace(b"vertex 4", b"vertex 180000000"), "a.ply")
    assert "Decimate" not in str(caught.value)


def test_ply_indices_and_numbers_are_checked() -> None:
    assert reason(ply("ascii").replace(b"3 0 1 2", b"3 0 1 4"), "a.ply") == "face-index"
    assert reason(ply("ascii").replace(b"3 0 1 2", b"3 0 1 -1"), "a.ply") == "face-index"
    assert reason(ply("ascii").replace(b"1 1 0 10", b"1 nan 0 10"), "a.ply") == "nan-vertices"
    assert reason(ply("ascii").replace(b"1 1 0 10", b"1 one 0 10"), "a.ply") == "bad-syntax"
    assert reason(ply("ascii").replace(b"3 0 1 2", b"2 0 1"), "a.ply") == "no-faces"


@pytest.mark.parametrize("listed", ["3 0 1 2 255 0 0\n3 0 2 3 0 0 255\n", "3 0 1 2 9 9 9\n3 0 2 3 9 9 9\n"])
def test_ply_colours_of_faces_are_the_vertices_where_these_have_none(listed: str) -> None:
    color = "".join(f"property uchar {c}\n" for c in ("red", "green", "blue"))
    head = "ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\nproperty float z\n"
    face = f"element face 2\nproperty list uchar int vertex_indices\n{color}end_header\n"
    places = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n5 5 5\n"
    colors = read_mesh((head + face + places + listed).encode(), "a.ply").mesh.colors
    if " 9 9 9" in listed:
        assert colors is None  # of one colour all over: none
        return
    both = [128, 0, 128]
    assert colors.tolist() == [both, [255, 0, 0], both, [0, 0, 255], [255, 255, 255]]
    own = (head.replace("z\n", "z\n" + color) + face + places.replace("\n", " 7 8 9\n") + listed).encode()
    assert read_mesh(own, "a.ply").mesh.colors.tolist() == [[7, 8, 9]] * 5


def test_ply_round_trip() -> None:
    mesh = grid(15)
    back = read_mesh(ply_bytes(mesh, "a.jpg"), "a.ply")
    assert np.allclose(back.mesh.vertices, mesh.vertices, atol=1e-6)
    assert (back.mesh.faces == mesh.faces).all()
    assert back.mesh.uv is not None
    assert np.allclose(back.mesh.uv[back.mesh.uv_faces], mesh.uv[mesh.uv_faces], atol=1e-6)
    assert back.textures == ("a.jpg",)


# ------------------------------------------------------------------------------------------------- GLB


def glb(**changes) -> bytes:
    places = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0]], "<f4").tobytes()
    uvs = np.array([[0, 1], [1, 1], [1, 0]], "<f4").tobytes()
    buffer = places + uvs + np.array([0, 1, 2, 0], "<u2").tobytes()
    tree = {
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "translation": [0, 0, 5], "rotation": [0, 0, 1, 0], "scale": [2, 2, 2]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2}]}],
        "buffers": [{"byteLength": len(buffer)}],
        "bufferViews": [
            {"buffer": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": 24},
            {"buffer": 0, "byteOffset": 60, "byteLength": 6},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5126, "count": 3, "type": "VEC2"},
            {"bufferView": 2, "componentType": 5123, "count": 3, "type": "SCALAR"},
        ],
    }
    tree.update(changes)
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    body = (
        struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(buffer), b"BIN\0") + buffer
    )
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def test_glb_is_placed_by_its_nodes_and_v_turned_up() -> None:
    mesh = read_mesh(glb(), "a.glb").mesh
    assert np.allclose(mesh.vertices, [[0, 0, 5], [-2, 0, 5], [-2, -2, 5]])
    assert mesh.faces.tolist() == [[0, 1, 2]]
    assert mesh.uv is not None
    assert mesh.uv.tolist() == [[0, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (
            {"accessors": [{"bufferView": 0, "componentType": 5126, "count": 10**12, "type": "VEC3"}]},
            "too-large",
        ),
        (
            {"accessors": [{"bufferView": 0, "componentType": 5126, "count": 10**6, "type": "VEC3"}]},
            "truncated",
        ),
        ({"nodes": [{"children": [0]}]}, "bad-syntax"),
        ({"nodes": []}, "bad-syntax"),
        ({"meshes": []}, "bad-syntax"),
    ],
)
def test_damaged_glb(changes, code: str) -> None:
    assert reason(glb(**changes), "a.glb") == code


def test_truncated_glb() -> None:
    data = glb()
    for stop in range(4, len(data), 13):
        assert reason(data[:stop], "a.glb") == "truncated"


def test_unknown_format() -> None:
    assert reason(b"Kaydara FBX Binary", "a.fbx") == "bad-syntax"


def test_coordinates_that_are_lists_are_no_coordinates() -> None:
    """Found by fuzzing: a header that makes lists of x, y and z."""
    head = b"ply\nformat ascii 1.0\nelement vertex 3\n"
    head += b"".join(b"property list uchar float %s\n" % axis for axis in (b"x", b"y", b"z"))
    head += b"element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    with pytest.raises(MeshFileError, match="are lists") as caught:
        read_mesh(head + b"1 0 1 0 1 0\n" * 2 + b"2 0 0 1 0 1 0\n3 0 1 2\n", "a.ply")
    assert caught.value.reason == "bad-syntax"


@pytest.mark.filterwarnings("error")
def test_a_signalling_nan_is_refused_without_a_warning() -> None:
    """Found by fuzzing: numpy warns of it when it is cast to double."""
    head = b"ply\nformat binary_little_endian 1.0\nelement vertex 3\n"
    head += b"".join(b"property float %s\n" % axis for axis in (b"x", b"y", b"z"))
    head += b"element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    body = np.full(9, 0x7FA00000, "<u4").tobytes() + bytes([3]) + np.int32([0, 1, 2]).tobytes()
    with pytest.raises(MeshFileError) as caught:
        read_mesh(head + body, "a.ply")
    assert caught.value.reason == "nan-vertices"


def vtk_bytes(mesh: Mesh) -> bytes:
    """Of an old program: places and triangles alone."""
    points = "\n".join(" ".join(map(str, row)) for row in mesh.vertices.tolist())
    polygons = "\n".join(f"3 {a} {b} {c}" for a, b, c in mesh.faces.tolist())
    return (
        "# vtk DataFile Version 2.0\nscan\nASCII\nDATASET POLYDATA\n"
        f"POINTS {len(mesh.vertices)} float\n{points}\n"
        f"POLYGONS {len(mesh.faces)} {4 * len(mesh.faces)}\n{polygons}\n"
    ).encode()


@pytest.mark.parametrize("kind", ["obj", "ply", "vtk"])
def test_vertices_that_are_no_place_are_left_out_where_no_triangle_has_them(kind):
    """Programs that make a grid of a range image write NaN for each pixel that measured nothing."""
    whole = grid(6)
    colors = np.arange(3 * len(whole.vertices)).reshape(-1, 3).astype(np.uint8)
    whole = Mesh(whole.vertices, whole.faces, whole.uv, whole.uv_faces, colors)
    absent = np.array([7, 20])
    kept = ~np.isin(whole.faces, absent).any(axis=1)
    places = whole.vertices.copy()
    places[absent] = np.nan
    with_holes = Mesh(places, whole.faces[kept], whole.uv, whole.faces[kept], colors)
    writers = {"obj": obj_bytes, "ply": ply_bytes, "vtk": vtk_bytes}
    data = writers[kind](with_holes)
    read = read_scan(data, f"a.{kind}").mesh
    assert np.isfinite(read.vertices).all() and len(read.vertices) == len(places) - 2
    np.testing.assert_allclose(read.vertices[read.faces], whole.vertices[whole.faces[kept]], atol=1e-5)
    if kind != "vtk":
        np.testing.assert_allclose(read.uv[read.uv_faces], whole.uv[whole.faces[kept]], atol=1e-5)
        np.testing.assert_array_equal(read.colors[read.faces], colors[whole.faces[kept]])
    with pytest.raises(MeshFileError) as caught:  # where a vertex is known by its number, none is left out
        read_mesh(data, f"a.{kind}")
    assert caught.value.reason == "nan-vertices"
    assert caught.value.seen is not None and "vertex 8: [nan, nan, nan]" in caught.value.seen
