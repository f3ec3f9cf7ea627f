"""Files from strangers, damaged in every way: a reader returns, or says in a sentence what is wrong with the file.

`make test-fuzz` (ARGS="--hypothesis-seed=1" for other damage; HOURS of it: FUZZ_EXAMPLES=100000 make test-fuzz).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimicme.pipeline.captures.expressions import read_mapping
from mimicme.pipeline.captures.metadata import read_subjects
from mimicme.pipeline.errors import InputError, MimicmeError
from mimicme.pipeline.formats.image import decode, encode
from mimicme.pipeline.formats.meshio import read_mesh
from mimicme.pipeline.landmarks import Landmarks
from mimicme.pipeline.landmarks.files import read_landmarks, write_landmarks

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "400"))
PLACES = settings(
    max_examples=EXAMPLES,
    deadline=4000,  # ms a file of some kilobytes: none may make a reader count to a number that it names
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

TOKENS = [
    b"nan", b"inf", b"-1", b"0", b"1e400", b"999999999999", b"2147483648", b"\x00", b"\xff\xfe", b"\n", b"\r", b" ",
    b"..", b"/", b"//", b"%s", b'"', b"{", b"}", b"[", b",", b";", b"f 1 1 1\n", b"vt nan nan\n", b"usemtl\n",
    b"property list uchar int x\n", b"element vertex 4000000000\n", b"end_header\n", b"\\u0000", b"<", b"&",
]  # fmt: skip

damage = st.lists(
    st.tuples(
        st.sampled_from(["cut", "flip", "insert", "repeat", "drop", "exchange"]),
        st.floats(0, 1),
        st.floats(0, 1),
        st.one_of(st.sampled_from(TOKENS), st.binary(min_size=1, max_size=9)),
    ),
    min_size=1,
    max_size=6,
)
Damage = list[tuple[str, float, float, bytes]]


def spoiled(data: bytes, kinds: Damage) -> bytes:
    """The file after all of it."""
    for kind, first, second, token in kinds:
        i, j = sorted((int(first * len(data)), int(second * len(data))))
        if kind == "cut":
            data = data[:j]
        elif kind == "flip" and data:
            i = min(i, len(data) - 1)
            data = data[:i] + bytes([data[i] ^ (token[0] or 1)]) + data[i + 1 :]
        elif kind == "insert":
            data = data[:i] + token + data[i:]
        elif kind == "repeat":
            data = data[:j] + data[i : i + 400] + data[j:]
        elif kind == "drop":
            data = data[:i] + data[min(j, i + 400) :]
        elif kind == "exchange":
            data = data[:i] + token + data[i + len(token) :]
    return data


def returns_or_explains(read: Callable[[], object]) -> None:
    said = "what it read is not judged here"
    try:
        read()
    except MimicmeError as error:
        said = str(error)
    assert len(said) > 20


def points() -> Landmarks:
    rng = np.random.default_rng(0)
    return Landmarks(rng.normal(size=(68, 3)) * 50)


OBJ = b"""mtllib a.mtl
o face
v 0 0 0
v 10 0 0
v 0 10 0.5
v 10 10 1
vt 0 0
vt 1 0
vt 0 1
vn 0 0 1
usemtl skin
f 1/1/1 2/2/1 3/3/1
f 2/2 4/3 3/1
f -1 -2 -3
"""
ASCII_PLY = b"""ply
format ascii 1.0
comment made by hand
comment TextureFile a.jpg
element vertex 4
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face 2
property list uchar int vertex_indices
property list uchar float texcoord
end_header
0 0 0 1 2 3
10 0 0 1 2 3
0 10 0 1 2 3
10 10 1 1 2 3
3 0 1 2 6 0 0 1 0 0 1
3 1 3 2 6 1 0 1 1 0 1
"""


def binary_ply() -> bytes:
    head = ASCII_PLY.split(b"end_header\n")[0].replace(b"format ascii", b"format binary_little_endian")
    body = b"".join(np.float32([i, i % 2, 3]).tobytes() + bytes([1, 2, 3]) for i in range(4))
    face = bytes([3]) + np.int32([0, 1, 2]).tobytes() + bytes([6]) + np.float32([0, 0, 1, 0, 0, 1]).tobytes()
    return head + b"end_header\n" + body + 2 * face


def glb() -> bytes:
    place = np.float32([[0, 0, 0], [10, 0, 0], [0, 10, 0.5]]).tobytes() + np.uint16([0, 1, 2, 0]).tobytes()
    text = json.dumps(
        {
            "asset": {"version": "2.0"},
            "buffers": [{"byteLength": len(place)}],
            "bufferViews": [
                {"buffer": 0, "byteLength": 36},
                {"buffer": 0, "byteOffset": 36, "byteLength": 6},
            ],
            "accessors": [
                {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
                {"bufferView": 1, "componentType": 5123, "count": 3, "type": "SCALAR"},
            ],
            "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
            "nodes": [{"mesh": 0}],
            "scenes": [{"nodes": [0]}],
            "scene": 0,
        }
    ).encode()
    text += b" " * (-len(text) % 4)
    chunks = (
        np.uint32([len(text)]).tobytes()
        + b"JSON"
        + text
        + np.uint32([len(place)]).tobytes()
        + b"BIN\0"
        + place
    )
    return b"glTF" + np.uint32([2, 12 + len(chunks)]).tobytes() + chunks


MESHES = {"a.obj": OBJ, "a.ply": ASCII_PLY, "b.ply": binary_ply(), "a.glb": glb()}


@pytest.mark.parametrize("name", MESHES)
def test_the_undamaged_file_is_read(name: str) -> None:
    assert len(read_mesh(MESHES[name], name).mesh.faces)


@pytest.mark.parametrize("name", MESHES)
@PLACES
@given(kinds=damage)
def test_a_mesh(name: str, kinds: Damage) -> None:
    returns_or_explains(lambda: read_mesh(spoiled(MESHES[name], kinds), name))


@pytest.mark.parametrize("ending", [".ljson", ".pts", ".pp", ".csv", ".json", ".lm3", ".bnd"])
@PLACES
@given(kinds=damage)
def test_landmarks(ending: str, kinds: Damage) -> None:
    data = write_landmarks(points(), f"a{ending}")
    returns_or_explains(lambda: read_landmarks(spoiled(data, kinds), f"a{ending}"))


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@PLACES
@given(kinds=damage)
def test_an_image(kind: str, kinds: Damage) -> None:
    data = encode(np.arange(3 * 24 * 16, dtype=np.uint8).reshape(24, 16, 3), kind)
    returns_or_explains(lambda: decode(spoiled(data, kinds)))


TABLE = b"subject,age,gender,ethnicity,consent\nS001,31,f,x,yes\nsub-02,,m,,no\n3,44,,,withdrawn 2021\n"


@PLACES
@given(kinds=damage)
def test_a_table_of_subjects(tmp_path: Path, kinds: Damage) -> None:
    path = tmp_path / "subjects.csv"
    path.write_bytes(spoiled(TABLE, kinds))
    returns_or_explains(lambda: read_subjects(path))


def test_a_cell_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "subjects.csv"
    path.write_bytes(TABLE + b'4,"' + b"x" * 300_000)
    with pytest.raises(InputError, match="line 5"):
        read_subjects(path)


@PLACES
@given(kinds=damage)
def test_a_table_of_expressions(tmp_path: Path, kinds: Damage) -> None:
    path = tmp_path / "expressions.csv"
    path.write_bytes(spoiled(b"sequence,expression\n01_smile,happiness\nS001/x,fear\n", kinds))
    returns_or_explains(lambda: read_mapping(path))
