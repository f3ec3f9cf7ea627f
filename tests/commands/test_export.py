"""Exported files hold the frame, the texture and the names; nothing is overwritten or written elsewhere."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from mimicme.commands.export import export, parse_frames
from mimicme.pipeline.errors import ReleaseError, UsageError
from mimicme.pipeline.formats.image import decode
from mimicme.pipeline.formats.meshio import glb_bytes, read_mesh
from mimicme.pipeline.geometry.mesh import transform, vertex_normals
from mimicme.pipeline.release import Release


@pytest.fixture(scope="module")
def path(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    fakes.packed(folder / "release.h5", fakes.inputs(folder))
    return folder / "release.h5"


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("format", ["obj", "ply", "glb"])
def test_a_frame_comes_back(fakes: ModuleType, path: Path, tmp_path: Path, format: str) -> None:
    result = export(path, tmp_path, format, "S001/*")
    assert len(result.files) == 3
    assert result.left_out == 1
    file = tmp_path / "S001" / "smile" / f"0002.{format}"
    assert file in result.files
    found = read_mesh(file.read_bytes(), file.name).mesh
    expected, shape = fakes.registered(fakes.SMILE, 2, fakes.template()), fakes.template()
    scale = 0.001 if format == "glb" else 1
    corners = found.vertices[found.faces] / scale
    np.testing.assert_allclose(corners, expected[shape.faces], atol=2e-4)
    assert found.uv is not None
    assert found.uv_faces is not None
    np.testing.assert_allclose(found.uv[found.uv_faces], shape.uv[shape.uv_faces], atol=1e-5)


def test_the_texture_is_beside_the_obj(path: Path, tmp_path: Path) -> None:
    export(path, tmp_path, "obj", "S002/smile", frames=[7])
    assert names(tmp_path) == [f"S002/smile/0007.{e}" for e in ("mtl", "obj", "png")]
    text = (tmp_path / "S002/smile/0007.obj").read_text()
    assert "mtllib 0007.mtl" in text
    assert "map_Kd 0007.png" in (tmp_path / "S002/smile/0007.mtl").read_text()
    with Release(path) as release:
        (row,) = release.select(subject="S002", frames=[7])
        pixels = release.texture(int(row))
    np.testing.assert_array_equal(decode((tmp_path / "S002/smile/0007.png").read_bytes()), pixels)


def glb(data: bytes) -> tuple[dict, bytes]:
    magic, version, size = struct.unpack_from("<4sII", data)
    assert (magic, version, size) == (b"glTF", 2, len(data))
    length, kind = struct.unpack_from("<I4s", data, 12)
    assert (length % 4, kind) == (0, b"JSON")
    start = 20 + length
    rest, kind = struct.unpack_from("<I4s", data, start)
    assert (kind, start + 8 + rest) == (b"BIN\0", len(data))
    return json.loads(data[20:start]), data[start + 8 :]


def test_a_glb_is_valid(path: Path, tmp_path: Path) -> None:
    export(path, tmp_path, "glb", "S002/smile")
    tree, buffer = glb((tmp_path / "S002/smile/0005.glb").read_bytes())
    assert tree["buffers"] == [{"byteLength": len(buffer)}]
    width = {"VEC3": 12, "VEC2": 8, "SCALAR": 4}
    for accessor in tree["accessors"]:
        view = tree["bufferViews"][accessor["bufferView"]]
        assert view["byteOffset"] % 4 == 0
        assert view["byteLength"] == accessor["count"] * width[accessor["type"]]
        assert view["byteOffset"] + view["byteLength"] <= len(buffer)
    (primitive,) = tree["meshes"][0]["primitives"]
    position = tree["accessors"][primitive["attributes"]["POSITION"]]
    view = tree["bufferViews"][position["bufferView"]]
    points = np.frombuffer(buffer, "<f4", 3 * position["count"], view["byteOffset"]).reshape(-1, 3)
    assert position["min"] == points.min(0).tolist()
    assert position["max"] == points.max(0).tolist()
    normal = tree["accessors"][primitive["attributes"]["NORMAL"]]
    view = tree["bufferViews"][normal["bufferView"]]
    normals = np.frombuffer(buffer, "<f4", 3 * normal["count"], view["byteOffset"]).reshape(-1, 3)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    image = tree["images"][0]
    view = tree["bufferViews"][image["bufferView"]]
    assert image["mimeType"] == "image/png"
    pixels = decode(buffer[view["byteOffset"] : view["byteOffset"] + view["byteLength"]])
    with Release(path) as release:
        np.testing.assert_array_equal(pixels, release.texture(4))


def test_a_seam_is_split(fakes: ModuleType) -> None:
    shape = fakes.template().mesh
    faces = shape.uv_faces.copy()
    faces[0] = faces[0] + 1  # other texture coordinates for the same corners
    seamed = type(shape)(shape.vertices, shape.faces, shape.uv, faces)
    found = read_mesh(glb_bytes(seamed), "x.glb").mesh
    assert len(found.vertices) > len(shape.vertices)
    np.testing.assert_allclose(found.uv[found.uv_faces], shape.uv[faces], atol=1e-6)


def test_spaces(fakes: ModuleType, path: Path, tmp_path: Path) -> None:
    vertices = fakes.registered(fakes.SMILE, 2, fakes.template()).astype(float)
    scan = transform(fakes.pose_of(2), vertices)
    for space, expected in (("scan", scan), ("file", scan * 0.1)):
        export(path, tmp_path / space, "ply", "S001/smile", frames=[2], space=space)
        file = tmp_path / space / "S001/smile/0002.ply"
        np.testing.assert_allclose(read_mesh(file.read_bytes(), "x.ply").mesh.vertices, expected, atol=1e-4)


@pytest.mark.parametrize("unit_mm", [1.0, 10.0, 1000.0])
def test_file_space_is_exact_far_from_the_origin(
    fakes: ModuleType, path: Path, tmp_path: Path, unit_mm: float
) -> None:
    """Within 0.01 mm at a million units, in every format, as double precision has it."""
    far = tmp_path / "far.h5"
    far.write_bytes(path.read_bytes())
    file_from_scan = np.eye(4) / unit_mm
    file_from_scan[:, 3] = 1e6, -1e6, 1e6, 1
    with h5py.File(far, "r+") as file:
        file["subjects/S001/smile"].attrs["file_from_scan"] = file_from_scan
    fakes.reindex(far)
    vertices = fakes.registered(fakes.SMILE, 2, fakes.template()).astype(float)
    expected, faces = transform(file_from_scan @ fakes.pose_of(2), vertices), fakes.template().faces
    for format in ("obj", "ply", "glb", "npz"):
        out = tmp_path / format
        export(far, out, format, "S001/smile", frames=[2], space="file")
        if format == "npz":
            with np.load(out / "S001/smile.npz") as archive:
                assert archive["vertices"].dtype == archive["landmarks"].dtype == np.float64
                corners = archive["vertices"][0][faces]
        else:
            found = read_mesh((out / f"S001/smile/0002.{format}").read_bytes(), f"x.{format}").mesh
            corners = found.vertices[found.faces]
        assert np.abs(corners - expected[faces]).max() * unit_mm < 0.001


def test_morph_targets_are_shaded_as_the_moved_mesh(fakes: ModuleType) -> None:
    """At full weight with its own normals, halfway within a few degrees; without differences it would be 30."""
    shape = fakes.template().mesh
    rolled = np.zeros_like(shape.vertices)
    span = np.ptp(shape.vertices[:, 0])
    rolled[:, 2] = 0.12 * span * np.sin(2 * np.pi * shape.vertices[:, 0] / span)
    tree, buffer = glb(glb_bytes(shape, targets={"roll": rolled}))

    def read(index: int) -> np.ndarray:
        accessor = tree["accessors"][index]
        start = tree["bufferViews"][accessor["bufferView"]]["byteOffset"]
        return np.frombuffer(buffer, "<f4", 3 * accessor["count"], start).reshape(-1, 3).astype(float)

    (primitive,) = tree["meshes"][0]["primitives"]
    (target,) = primitive["targets"]
    places, normals = (read(primitive["attributes"][name]) for name in ("POSITION", "NORMAL"))
    index = tree["accessors"][primitive["indices"]]
    start = tree["bufferViews"][index["bufferView"]]["byteOffset"]
    faces = np.frombuffer(buffer, "<u4", index["count"], start).reshape(-1, 3).astype(np.int32)
    _, same = np.unique(places.round(4), axis=0, return_inverse=True)
    welded = same.reshape(-1)[faces]
    used = np.unique(faces)

    def off(weight: float, differences: float) -> float:
        """Largest angle to the normals of the moved mesh."""
        moved = np.zeros((same.max() + 1, 3))
        moved[same.reshape(-1)] = places + weight * read(target["POSITION"])
        true = vertex_normals(moved, welded)[same.reshape(-1)]
        shown = normals + differences * read(target["NORMAL"])
        cosine = (shown * true).sum(1) / np.linalg.norm(shown, axis=1)
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))[used].max())

    assert off(1, 1) < 0.1
    assert off(0.5, 0.5) < 5
    assert off(1, 0) > 20


def test_an_archive_holds_the_sequence(fakes: ModuleType, path: Path, tmp_path: Path) -> None:
    result = export(path, tmp_path, "npz", "S001/smile")
    assert names(tmp_path) == ["S001/smile.npz"]
    assert result.left_out == 1
    with np.load(tmp_path / "S001/smile.npz") as file:
        assert file["frame"].tolist() == [0, 2]
        assert file["vertices"].shape == (2, 49, 3)
        np.testing.assert_array_equal(file["vertices"][1], fakes.registered(fakes.SMILE, 2, fakes.template()))
        np.testing.assert_array_equal(file["pose"][1], fakes.pose_of(2))
        assert str(file["expression"]) == "happiness"
    before = (tmp_path / "S001/smile.npz").read_bytes()
    export(path, tmp_path, "npz", "S001/smile", overwrite=True)
    assert (tmp_path / "S001/smile.npz").read_bytes() == before


def test_nothing_is_overwritten_unasked(path: Path, tmp_path: Path) -> None:
    (tmp_path / "S001" / "smile").mkdir(parents=True)
    mine = tmp_path / "S001/smile/0002.png"
    mine.write_text("mine")
    with pytest.raises(UsageError, match="0002.png"):
        export(path, tmp_path, "obj", "S001/smile")
    assert names(tmp_path) == ["S001/smile/0002.png"]
    export(path, tmp_path, "obj", "S001/smile", overwrite=True)
    assert mine.read_bytes() != b"mine"


def test_names_never_lead_out_of_the_folder(path: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile.h5"
    hostile.write_bytes(path.read_bytes())
    with h5py.File(hostile, "r+") as file:
        table = file["index"][:]
        table["subject"][:] = b".."
        file["index"][:] = table
    with pytest.raises(ReleaseError, match="not safe"):
        export(hostile, tmp_path / "out", "ply")
    assert names(tmp_path) == ["hostile.h5"]


def test_wrong_use(path: Path, tmp_path: Path) -> None:
    for arguments in (("stl",), ("obj", "S009/*"), ("obj", "*/*", [99])):
        with pytest.raises(UsageError):
            export(path, tmp_path, *arguments)


def test_frame_lists() -> None:
    assert parse_frames("3, 10-12") == [3, 10, 11, 12]
    for text in ("a", "5-3", "", "1-", "0-99999999"):
        with pytest.raises(UsageError):
            parse_frames(text)


@pytest.mark.parametrize("format", ["obj", "ply", "glb"])
def test_maps_lie_beside_the_mesh_with_their_meaning(fakes: ModuleType, tmp_path: Path, format: str) -> None:
    from mimicme.pipeline.formats.image import decode_deep

    target, out = tmp_path / "release.h5", tmp_path / "out"
    fakes.packed(target, fakes.inputs(tmp_path, maps=("normal", "displacement")))
    export(target, out, format, "S002/smile")
    folder = out / "S002/smile"
    for number, row in ((5, 0), (7, 1)):
        for name in ("normal", "displacement"):
            numbers = decode_deep((folder / f"{number:04d}.{name}.png").read_bytes())
            np.testing.assert_array_equal(numbers, fakes.map_numbers(name, row))
    said = json.loads((folder / "maps.json").read_text())
    assert said["space"] == "canonical"
    assert list(said["maps"]) == ["normal", "displacement"]
    assert said["maps"]["displacement"]["unit"] == "mm"
    step = said["maps"]["displacement"]["scale"]
    assert said["maps"]["displacement"]["offset"] == [-32768 * step]
    (folder / f"0005.{format}").unlink()
    (folder / f"0007.{format}").unlink()
    with pytest.raises(UsageError, match="there already"):
        export(target, out, format, "S002/smile")


def test_without_maps_nothing_is_said_of_them(path: Path, tmp_path: Path) -> None:
    export(path, tmp_path, "obj", "S002/smile", frames=[5])
    assert not (tmp_path / "S002/smile/maps.json").exists()
