"""Files from strangers, damaged in every way: a reader returns, or says in a sentence what is wrong with the file.

`make test-fuzz` (ARGS="--hypothesis-seed=1" for other damage; HOURS of it: FUZZ_EXAMPLES=100000 make test-fuzz).
"""

from __future__ import annotations

import io
import json
import os
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fuzz_seeds import BU83, DEPTHS, MESHES, RECORDING, TABLE, TIMES, depth_spec, points
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimicme.pipeline.captures.expressions import read_mapping
from mimicme.pipeline.captures.metadata import parse_subjects, read_subjects
from mimicme.pipeline.errors import InputError, MimicmeError
from mimicme.pipeline.formats.draco import BASE_BYTES, LEAST_BYTES
from mimicme.pipeline.formats.draco import decode as decode_draco
from mimicme.pipeline.formats.image import decode, encode
from mimicme.pipeline.formats.meshio import read_mesh
from mimicme.pipeline.landmarks.files import read_landmarks, write_landmarks
from mimicme.pipeline.landmarks.npy import is_landmarks
from mimicme.pipeline.rgbd.depth_image import read_depth
from mimicme.pipeline.rgbd.frame import read_frame
from mimicme.pipeline.rgbd.recipe import read_recipe, read_times
from mimicme.pipeline.sources import Sources

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
    b"USE A ", b"DEF A ", b"Group { children [ ", b"#", b"-1, ", b"OFFSETS int\n", b"POINTS 3000000000 float\n",
    b"METADATA\n", b"FIELD f 9\n", b"endloop\n", b"vertex 0 0 0\n",
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


@pytest.mark.parametrize("name", MESHES)
def test_the_undamaged_file_is_read(name: str) -> None:
    assert len(read_mesh(MESHES[name], name).mesh.faces)


@pytest.mark.parametrize("name", MESHES)
@PLACES
@given(kinds=damage)
def test_a_mesh(name: str, kinds: Damage) -> None:
    returns_or_explains(lambda: read_mesh(spoiled(MESHES[name], kinds), name))


@settings(PLACES, max_examples=max(EXAMPLES // 4, 1), deadline=None)  # each begins a process
@given(kinds=damage, level=st.sampled_from([0, 7, 10]), corner=st.binary(max_size=12), at=st.integers(0, 60))
def test_a_compressed_mesh(kinds: Damage, level: int, corner: bytes, at: int) -> None:
    """Damaged anywhere, and where its counts stand.  Whatever its decoder does, it does in a process of its own."""
    draco = pytest.importorskip("DracoPy")
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1]], "f4")
    faces = np.array([[0, 1, 2], [0, 2, 3]], "u4")
    data = bytes(draco.encode(square, faces, quantization_bits=11, compression_level=level))
    data = data[:at] + corner + data[at + len(corner) :]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    returns_or_explains(lambda: decode_draco(spoiled(data, kinds), [0], "a.glb"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert max(after - before, 0) << 10 < 2 * (BASE_BYTES + LEAST_BYTES)


@pytest.mark.parametrize("ending", [".ljson", ".pts", ".pp", ".csv", ".json", ".lm3", ".bnd"])
@PLACES
@given(kinds=damage)
def test_landmarks(ending: str, kinds: Damage) -> None:
    data = write_landmarks(points(), f"a{ending}")
    returns_or_explains(lambda: read_landmarks(spoiled(data, kinds), f"a{ending}"))


def of_other_programs() -> dict[str, bytes]:
    """Landmark files that are read and not written."""
    places = points().points
    array = io.BytesIO()
    np.save(array, places)
    rows = "".join(
        f"{k},{x},{y},{z},0,0,0,1,1,1,0,F-{k + 1},,\n" for k, (x, y, z) in enumerate(places.tolist())
    )
    heads = "# Markups fiducial file version = 4.11\n# CoordinateSystem = RAS\n"
    controls = [{"label": f"F-{k + 1}", "position": p} for k, p in enumerate(places.tolist())]
    markups = {"markups": [{"coordinateSystem": "LPS", "controlPoints": controls}]}
    return {
        "a.npy": array.getvalue(),
        "a.fcsv": (heads + "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc\n" + rows).encode(),
        "a.mrk.json": json.dumps(markups).encode(),
        **BU83,
    }


OF_OTHER_PROGRAMS = of_other_programs()


@pytest.mark.parametrize("name", OF_OTHER_PROGRAMS)
@PLACES
@given(kinds=damage)
def test_landmarks_of_other_programs(name: str, kinds: Damage) -> None:
    returns_or_explains(lambda: read_landmarks(spoiled(OF_OTHER_PROGRAMS[name], kinds), name))


@PLACES
@given(kinds=damage)
def test_the_head_of_an_array_of_landmarks(kinds: Damage) -> None:
    """Most of the file are numbers: this damages what says how they lie."""
    data = OF_OTHER_PROGRAMS["a.npy"]
    returns_or_explains(lambda: read_landmarks(spoiled(data[:128], kinds) + data[128:], "a.npy"))
    is_landmarks(spoiled(data[:128], kinds))


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@PLACES
@given(kinds=damage)
def test_an_image(kind: str, kinds: Damage) -> None:
    data = encode(np.arange(3 * 24 * 16, dtype=np.uint8).reshape(24, 16, 3), kind)
    returns_or_explains(lambda: decode(spoiled(data, kinds)))


@PLACES
@given(kinds=damage)
def test_a_table_of_subjects(tmp_path: Path, kinds: Damage) -> None:
    path = tmp_path / "subjects.csv"
    path.write_bytes(spoiled(TABLE, kinds))
    returns_or_explains(lambda: read_subjects(path))


def workbook() -> bytes:
    from openpyxl import Workbook

    made = Workbook()
    for line in TABLE.decode().splitlines():
        made.active.append(line.split(","))
    made.active.append(["S4", "=20+1", "f", "x", '="yes"'])
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


WORKBOOK = workbook()


@PLACES
@given(kinds=damage)
def test_a_table_in_a_workbook(kinds: Damage) -> None:
    returns_or_explains(lambda: parse_subjects(spoiled(WORKBOOK, kinds)))


PARTS = [
    "xl/worksheets/sheet1.xml",
    "xl/sharedStrings.xml",
    "xl/workbook.xml",
    "xl/styles.xml",
    "[Content_Types].xml",
]


@pytest.mark.parametrize("part", PARTS)
@PLACES
@given(kinds=damage)
def test_a_part_of_a_workbook(part: str, kinds: Damage) -> None:
    """A sound archive of damaged parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(WORKBOOK)) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            new.writestr(member.filename, spoiled(content, kinds) if member.filename == part else content)
    returns_or_explains(lambda: parse_subjects(out.getvalue()))


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


@PLACES
@given(kinds=damage)
def test_the_description_of_a_recording(kinds: Damage) -> None:
    returns_or_explains(lambda: read_recipe(spoiled(RECORDING["rgbd.toml"], kinds)))
    returns_or_explains(lambda: read_times(spoiled(TIMES, kinds), "times.csv"))


@pytest.mark.parametrize("ending", DEPTHS)
@PLACES
@given(kinds=damage)
def test_a_depth_picture(ending: str, kinds: Damage) -> None:
    returns_or_explains(lambda: read_depth(spoiled(DEPTHS[ending], kinds), depth_spec(ending), "0"))


@pytest.mark.parametrize("name", RECORDING)
@PLACES
@given(kinds=damage)
def test_a_whole_moment_of_a_recording(tmp_path: Path, name: str, kinds: Damage) -> None:
    for other, data in RECORDING.items():
        path = tmp_path / other
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(spoiled(data, kinds) if other == name else data)
    sources = Sources(tmp_path)
    returns_or_explains(lambda: read_frame(tmp_path / "rgbd.toml", tmp_path / "depth" / "0.png", sources))


numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.integers(-(10**20), 10**20), st.floats(-3, 3)
)


@PLACES
@given(values=st.lists(numbers, min_size=8, max_size=8), keep=st.lists(st.booleans(), min_size=8, max_size=8))
def test_any_numbers_of_a_camera(tmp_path: Path, values: list[float], keep: list[bool]) -> None:
    """Of the depth camera: unit, focal lengths, middle, and what its lens does."""
    text = RECORDING["rgbd.toml"].decode()
    places = (
        "unit_mm = 0.1",
        "fx = 45.0",
        "fy = 45.0",
        "cx = 24.0",
        "cy = 17.0",
        "0.1, -0.2",
        "0.002",
        "-0.001",
    )
    for place, value, kept in zip(places, values, keep, strict=True):
        if not kept:
            new = f"{place.partition('=')[0]}= {value!r}" if "=" in place else repr(value)
            text = text.replace(place, f"{new}, 0.1" if "," in place else new, 1)
    for other, data in RECORDING.items():
        path = tmp_path / other
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode() if other == "rgbd.toml" else data)
    sources = Sources(tmp_path)
    returns_or_explains(lambda: read_frame(tmp_path / "rgbd.toml", tmp_path / "depth" / "0.png", sources))
