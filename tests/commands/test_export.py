"""Exported files hold the frame, the texture and the names; nothing is overwritten or written elsewhere."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
import sequence_release as known
from shared_helpers import mimicme_here

from mimicme.commands.export import FORMATS, LANDMARKS, NO_LANDMARKS, SPACES, export, parse_frames
from mimicme.commands.subcommands.releases import export_command
from mimicme.pipeline.errors import InputError, ReleaseError, UsageError
from mimicme.pipeline.formats.image import decode
from mimicme.pipeline.formats.meshio import glb_bytes, read_mesh
from mimicme.pipeline.geometry.mesh import transform, vertex_normals
from mimicme.pipeline.landmarks import IBUG68
from mimicme.pipeline.landmarks.files import read_landmarks
from mimicme.pipeline.release import Release, guard
from mimicme.pipeline.workspace import OVERRIDES_NAME, Workspace


@pytest.fixture
def path(good_release: Path) -> Path:
    return good_release


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
    export(path, tmp_path, "obj", "S002/smile", frames=[7], landmarks="none")
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
    # nor through a link, wherever it leads
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/S001").mkdir()
    (tmp_path / "elsewhere/S001/smile.npz").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="there already"):
        export(path, tmp_path / "elsewhere", "npz", "S001/smile")
    assert not (tmp_path / "nowhere").exists()


def test_a_frame_that_is_there_twice_is_no_file_fewer(path: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile.h5"
    hostile.write_bytes(path.read_bytes())
    with h5py.File(hostile, "r+") as file:
        table = file["index"][:]
        table["frame"][table["subject"] == b"S001"] = 3
        file["index"][:] = table
    for format in ("ply", "npz"):
        with pytest.raises(ReleaseError, match="frame twice"):
            export(hostile, tmp_path / "out", format, "S001/smile")
    assert names(tmp_path) == ["hostile.h5"]


def test_an_archive_is_no_larger_than_a_release_of_its_size_makes_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Release(path) as release:
        assert release.vertices_of([0, 1]).shape == (2, len(release.template.vertices), 3)
        monkeypatch.setattr(guard, "room", lambda held, times: 80 * times)  # eight times that is for frames
        with pytest.raises(ReleaseError, match="larger than one of a release"):
            release.vertices_of([0, 1])


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


def test_sequences_may_be_named_as_their_folders_are(path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    chosen = []
    true = Release.select

    def select(self: Release, **wanted: Any) -> Any:
        chosen.append((wanted["subject"], wanted["sequence"]))
        spelled = {"S_ä": "S_a", "S_a": "S001"}
        return true(self, **{**wanted, "subject": spelled.get(wanted["subject"], wanted["subject"])})

    monkeypatch.setattr(Release, "select", select)
    export(path, tmp_path / "out", "obj", "S ä/smile")
    assert chosen == [("S ä", "smile"), ("S_a", "smile")]
    with pytest.raises(UsageError, match=r"'S 9/\*'.*such as S001/"):
        export(path, tmp_path / "none", "obj", "S 9/*")


def test_frame_lists() -> None:
    assert parse_frames("3, 10-12") == [3, 10, 11, 12]
    assert len(parse_frames("0-499999,0-499998")) == 999_999
    for text in ("a", "5-3", "", "1-", "0-99999999", "0-499999,0-499999,1"):
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
    for file in folder.glob("000*"):
        file.unlink()
    (folder / "maps.json").write_text("of another release")
    with pytest.raises(UsageError, match=r"maps\.json"):
        export(target, out, format, "S002/smile", landmarks="none")
    assert names(folder) == ["maps.json"]


def test_without_maps_nothing_is_said_of_them(path: Path, tmp_path: Path) -> None:
    export(path, tmp_path, "obj", "S002/smile", frames=[5])
    assert not (tmp_path / "S002/smile/maps.json").exists()


# -- one file a sequence


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return known.written(tmp_path_factory.mktemp("moving") / "release.h5", known.face())


class Glb:
    """A GLB as its bytes say, by glTF 2.0."""

    KINDS = {5126: "<f4", 5125: "<u4"}
    WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}

    def __init__(self, path: Path) -> None:
        self.tree, self.buffer = glb(path.read_bytes())
        (mesh,) = self.tree["meshes"]
        (self.primitive,) = mesh["primitives"]

    def array(self, index: int) -> np.ndarray:
        """An accessor's numbers; its bounds, where it has some, are theirs."""
        accessor = self.tree["accessors"][index]
        view = self.tree["bufferViews"][accessor["bufferView"]]
        width = self.WIDTHS[accessor["type"]]
        assert view["byteOffset"] % 4 == 0
        assert view["byteLength"] == 4 * width * accessor["count"]
        assert view["byteOffset"] + view["byteLength"] <= len(self.buffer)
        kind = self.KINDS[accessor["componentType"]]
        numbers = np.frombuffer(self.buffer, kind, width * accessor["count"], view["byteOffset"])
        numbers = numbers.reshape(-1, width)
        for name, bound in (("min", numbers.min(0)), ("max", numbers.max(0))):
            assert accessor.get(name, bound.tolist()) == bound.tolist()
        return numbers

    def attribute(self, name: str) -> np.ndarray:
        return self.array(self.primitive["attributes"][name])

    def played(self, time: float) -> np.ndarray:
        """(n, 3) mm, what a viewer shows at a time."""
        (animation,) = self.tree["animations"]
        (channel,) = animation["channels"]
        assert channel["target"] == {"node": 0, "path": "weights"}
        sampler = animation["samplers"][channel["sampler"]]
        assert sampler["interpolation"] == "LINEAR"
        times, weights = self.array(sampler["input"])[:, 0], self.array(sampler["output"])
        weights = weights.reshape(len(times), -1)
        at = np.array([np.interp(time, times, column) for column in weights.T])
        shown = self.attribute("POSITION").astype(float)
        for weight, target in zip(at, self.primitive["targets"], strict=True):
            shown = shown + weight * self.array(target["POSITION"]).astype(float)
        return shown

    def image(self) -> np.ndarray:
        view = self.tree["bufferViews"][self.tree["images"][0]["bufferView"]]
        return decode(self.buffer[view["byteOffset"] : view["byteOffset"] + view["byteLength"]])


def test_an_animation_plays_the_releases_vertices(moving: Path, tmp_path: Path) -> None:
    """Within 0.1 micrometres at each frame's time, halfway between two frames at another."""
    result = export(moving, tmp_path, "glb", animation=True)
    assert result.files == (tmp_path / "P01/smile.glb",)
    file, template = Glb(result.files[0]), known.face()
    frames = [known.moved(template, row) for row in range(4)]
    for time, vertices in zip(known.TIMES, frames, strict=True):
        np.testing.assert_allclose(file.played(time)[:49], vertices, atol=1e-4)
    np.testing.assert_allclose(file.played(0.035)[:49], (frames[1] + frames[2].astype(float)) / 2, atol=1e-4)
    # the corners have the template's texture coordinates, those at the seam too
    indices = file.array(file.primitive["indices"]).reshape(-1, 3)
    np.testing.assert_array_equal(np.where(indices < 49, indices, template.faces), template.faces)
    np.testing.assert_allclose(file.played(0.05)[indices], frames[2][template.faces], atol=1e-4)
    uv = file.attribute("TEXCOORD_0") * [1, -1] + [0, 1]
    np.testing.assert_allclose(uv[indices], template.uv[template.uv_faces], atol=1e-6)
    assert len(uv) == 49 + 3
    assert file.tree["nodes"][0]["scale"] == [0.001] * 3


def test_an_animation_is_shaded_as_its_frames(moving: Path, tmp_path: Path) -> None:
    (path,) = export(moving, tmp_path, "glb", animation=True).files
    file, template = Glb(path), known.face()
    names = file.tree["meshes"][0]["extras"]["targetNames"]
    for name, target in zip(names, file.primitive["targets"], strict=True):
        normals = file.attribute("NORMAL") + file.array(target["NORMAL"])
        true = vertex_normals(known.moved(template, int(name) - 10).astype(float), template.faces)
        np.testing.assert_allclose(normals[:49], true, atol=1e-3)


@pytest.mark.parametrize(("which", "row"), [("neutral", 1), ("apex", 2), ("13", 3)])
def test_the_texture_of_an_animation_is_chosen(moving: Path, tmp_path: Path, which: str, row: int) -> None:
    (path,) = export(moving, tmp_path, "glb", animation=True, texture_of=which).files
    file = Glb(path)
    np.testing.assert_array_equal(file.image(), known.texture_of(row))
    assert file.tree["nodes"][0]["extras"]["texture_of_frame"] == 10 + row
    # what is shown where nothing is played fits the texture
    np.testing.assert_allclose(file.attribute("POSITION")[:49], known.moved(known.face(), row), atol=1e-4)


def test_frames_without_texture_or_amount(tmp_path: Path) -> None:
    some = known.written(tmp_path / "some.h5", known.face(), textured=(3,))
    (path,) = export(some, tmp_path / "a", "glb", animation=True).files
    np.testing.assert_array_equal(Glb(path).image(), known.texture_of(3))
    none = known.written(tmp_path / "none.h5", known.face(), textured=(), amounts=None)
    (path,) = export(none, tmp_path / "b", "glb", animation=True, texture_of="apex").files
    assert "images" not in Glb(path).tree
    assert Glb(path).tree["nodes"][0]["extras"]["texture_of_frame"] == 12  # the middle one


def test_an_animation_says_what_it_is(moving: Path, tmp_path: Path) -> None:
    done = export(moving, tmp_path, "glb", animation=True, frames=[10, 12, 13])
    assert done.untimed == 0
    (path,) = done.files
    tree = Glb(path).tree
    assert (
        tree["nodes"][0]["name"] == tree["meshes"][0]["name"] == tree["animations"][0]["name"] == "P01/smile"
    )
    said = tree["nodes"][0]["extras"]
    assert said.pop("release") == {
        "version": "", "created": "2024-01-02T03:04:05Z", "fingerprint": "f" * 64
    }  # fmt: skip
    assert said == {
        "subject": "P01",
        "sequence": "smile",
        "expression": "happiness",
        "space": "canonical",
        "licence": "CC-BY-NC-4.0",
        "frames": [10, 12, 13],
        "times_s": pytest.approx([0, 0.05, 0.06]),
        "times_known": True,
        "texture_of_frame": 10,
    }
    assert tree["asset"]["copyright"] == "CC-BY-NC-4.0"
    assert tree["meshes"][0]["extras"]["targetNames"] == ["0012", "0013"]


def test_unknown_times_are_said(tmp_path: Path) -> None:
    nan = float("nan")
    for k, times in enumerate([(nan,) * 4, (0.0, 0.1, 0.1, 0.2)]):
        path = known.written(tmp_path / f"{k}.h5", known.face(), times=times)
        done = export(path, tmp_path / str(k), "glb", animation=True)
        assert done.untimed == 1
        said = Glb(done.files[0]).tree["nodes"][0]["extras"]
        assert said["times_s"] == pytest.approx([0, 0.04, 0.08, 0.12])
        assert said["times_known"] is False
    command = ("export", tmp_path / "0.h5", tmp_path / "played", "--format", "glb", "--animation")
    assert "1 animation plays 25 frames a second, which nobody said" in mimicme_here(*command).stdout


def test_one_frame_is_no_animation(moving: Path, tmp_path: Path) -> None:
    done = export(moving, tmp_path, "glb", animation=True, frames=[11])
    assert done.untimed == 0
    tree = Glb(done.files[0]).tree
    assert "animations" not in tree
    assert "targets" not in tree["meshes"][0]["primitives"][0]


def test_a_still_says_what_it_is(moving: Path, tmp_path: Path) -> None:
    export(moving, tmp_path, "glb", frames=[12])
    tree = Glb(tmp_path / "P01/smile/0012.glb").tree
    assert tree["meshes"][0]["name"] == "P01/smile/0012"
    assert tree["meshes"][0]["extras"]["frame"] == 12
    assert tree["nodes"][0]["extras"]["expression"] == "happiness"


def test_an_animation_that_nothing_could_show_is_refused(
    moving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mimicme.commands.export.LARGEST_ANIMATION", 3 * 24 * 49)
    with pytest.raises(UsageError, match="at most 3 frames"):
        export(moving, tmp_path, "glb", animation=True)
    assert names(tmp_path) == []
    export(moving, tmp_path, "glb", animation=True, frames=[10, 11, 12])


# -- landmarks


@pytest.mark.parametrize("format", ["obj", "ply", "glb", "npz"])
@pytest.mark.parametrize("kind", ["ljson", "pts", "json", "csv", "pp"])
def test_landmarks_lie_beside_every_format(moving: Path, tmp_path: Path, format: str, kind: str) -> None:
    export(moving, tmp_path, format, landmarks=kind)
    template, unit = known.face(), 0.001 if format == "glb" else 1  # metres, as the mesh when it is opened
    for row in (0, 1):
        file = tmp_path / "P01/smile" / f"{10 + row:04d}.{kind}"
        found = read_landmarks(file.read_bytes(), file.name).points / unit
        expected = template.landmarks(known.moved(template, row).astype(float))
        if row == 1:
            expected[5] = np.nan
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert not (tmp_path / f"P01/smile/0013.{kind}").exists()  # where there is none


def test_landmarks_of_an_animation_and_in_the_files_space(
    fakes: ModuleType, path: Path, moving: Path, tmp_path: Path
) -> None:
    export(moving, tmp_path, "glb", animation=True)
    assert names(tmp_path / "P01") == ["smile.glb", *(f"smile/{n:04d}.ljson" for n in (10, 11, 12))]
    export(path, tmp_path / "file", "ply", "S001/smile", frames=[2], space="file", landmarks="json")
    found = json.loads((tmp_path / "file/S001/smile/0002.json").read_text())
    shape = fakes.template()
    points = shape.landmarks(fakes.registered(fakes.SMILE, 2, shape).astype(float))
    expected = 0.1 * transform(fakes.pose_of(2), points)
    assert list(found) == list(shape.landmark_names)
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-5)


@pytest.mark.parametrize("format", ["obj", "ply", "glb"])
def test_the_topology_names_the_landmarks_vertices(moving: Path, tmp_path: Path, format: str) -> None:
    """By its numbers the landmarks are found in every file, also where seams are split."""
    export(moving, tmp_path, format, frames=[10])
    said = json.loads((tmp_path / "topology.json").read_text())
    file = tmp_path / f"P01/smile/0010.{format}"
    mesh = read_mesh(file.read_bytes(), file.name).mesh
    unit, template = 0.001 if format == "glb" else 1, known.face()
    expected = template.landmarks(known.moved(template, 0).astype(float))
    assert list(said["landmarks"]) == list(IBUG68)
    for point, landmark in zip(expected, said["landmarks"].values(), strict=True):
        place = np.array(landmark["weights"]) @ mesh.vertices[landmark["corners"]] / unit
        np.testing.assert_allclose(place, point, atol=1e-4)
        assert landmark["vertex"] == landmark["corners"][1]  # which has half of the weight
    assert (said["vertices"], said["digest"]) == (49, "0" * 64)


def test_landmarks_are_not_overwritten_unasked(moving: Path, path: Path, tmp_path: Path) -> None:
    mine = tmp_path / "P01/smile/0011.ljson"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(UsageError, match="0011.ljson"):
        export(moving, tmp_path, "glb", animation=True)
    assert names(tmp_path) == ["P01/smile/0011.ljson"]
    export(moving, tmp_path, "glb", animation=True, landmarks="none")
    assert mine.read_text() == "mine"
    assert not (tmp_path / "topology.json").exists()
    export(moving, tmp_path, "ply", frames=[10])
    export(moving, tmp_path, "ply", frames=[12])  # the topology is the same
    with pytest.raises(UsageError, match="topology.json"):
        export(path, tmp_path, "ply")


# -- polygons


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_obj_has_the_templates_quads(fakes: ModuleType, tmp_path: Path, mirrored: bool) -> None:
    template = known.face(quads=True)
    path = known.written(tmp_path / "release.h5", template)
    if mirrored:
        with h5py.File(path, "r+") as file:
            file["subjects/P01/smile"].attrs["file_from_scan"] = np.diag([-1.0, 1, 1, 1])
        fakes.reindex(path)
    export(path, tmp_path / "out", "obj", frames=[10], space="file")
    found = read_mesh((tmp_path / "out/P01/smile/0010.obj").read_bytes(), "x.obj")
    lines = (tmp_path / "out/P01/smile/0010.obj").read_text().splitlines()
    corners = [len(line.split()) - 1 for line in lines if line.startswith("f ")]
    # triangle 7 lies elsewhere in the texture: its quad is cut, and the last four were never quads
    assert (corners.count(4), corners.count(3)) == (len(template.faces) // 2 - 3, 6)
    sign = -1 if mirrored else 1
    expected = known.moved(template, 0).astype(float) * [sign, 1, 1]
    normals = np.cross(*(expected[template.faces[:, k]] - expected[template.faces[:, 0]] for k in (1, 2)))
    places, faces = found.mesh.vertices, found.mesh.faces
    own = np.cross(*(places[faces[:, k]] - places[faces[:, 0]] for k in (1, 2)))
    np.testing.assert_allclose(places, expected, atol=1e-4)
    # the same triangles, wound so that the outside stays outside
    assert sorted(map(sorted, faces.tolist())) == sorted(map(sorted, template.faces.tolist()))
    np.testing.assert_allclose(own.sum(0), sign * normals.sum(0), atol=0.1)

    def at_corners(faces: np.ndarray, uv: np.ndarray) -> set[tuple[float, ...]]:
        return {
            (v, *place) for v, place in zip(faces.ravel(), uv.reshape(-1, 2).round(5).tolist(), strict=True)
        }

    assert at_corners(faces, found.mesh.uv[found.mesh.uv_faces]) == at_corners(
        template.faces, template.uv[template.uv_faces]
    )


# -- colours and texture coordinates of PLY


def ply_rows(path: Path) -> tuple[list[str], np.ndarray]:
    """Header lines and the vertices of a binary PLY, by its header."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode().splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("element vertex"))
    kinds = {"float": "<f4", "double": "<f8", "uchar": "u1"}
    columns = []
    for line in lines[start + 1 :]:
        if not line.startswith("property"):
            break
        columns.append((line.split()[2], kinds[line.split()[1]]))
    return lines, np.frombuffer(body, columns, int(lines[start].split()[2]))


def test_a_ply_has_texture_coordinates_per_vertex_besides(moving: Path, tmp_path: Path) -> None:
    export(moving, tmp_path, "ply", frames=[10])
    lines, rows = ply_rows(tmp_path / "P01/smile/0010.ply")
    template = known.face()
    assert "comment TextureFile 0010.png" in lines
    assert len(rows) == 49 + 3
    np.testing.assert_array_equal(np.stack([rows[k] for k in "xyz"], 1)[:49], known.moved(template, 0))
    mesh = read_mesh((tmp_path / "P01/smile/0010.ply").read_bytes(), "x.ply").mesh
    by_vertex = np.stack([rows["s"], rows["t"]], 1)[mesh.faces]
    np.testing.assert_allclose(by_vertex, template.uv[template.uv_faces], atol=1e-6)
    np.testing.assert_allclose(mesh.uv[mesh.uv_faces], by_vertex)  # as the corners have it
    assert "red" not in rows.dtype.names


def test_colours_of_a_ply_are_the_textures(moving: Path, tmp_path: Path) -> None:
    export(moving, tmp_path, "ply", frames=[10], colors=True)
    _, rows = ply_rows(tmp_path / "P01/smile/0010.ply")
    texture = known.texture_of(0).astype(float)
    x, y = (
        rows["s"][:49] * 16.0 - 0.5,
        (1.0 - rows["t"][:49]) * 8.0 - 0.5,
    )  # from the centre of the first texel
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    expected = sum(
        texture[np.clip(top + j, 0, 7), np.clip(left + i, 0, 15)]
        * (np.abs(1 - i - (x - left)) * np.abs(1 - j - (y - top)))[:, None]
        for i in (0, 1)
        for j in (0, 1)
    )
    found = np.stack([rows[k] for k in ("red", "green", "blue")], 1)[:49]
    np.testing.assert_allclose(found, expected, atol=1)


def test_what_does_not_go_together_is_refused(moving: Path, tmp_path: Path) -> None:
    for format, said in (
        ("obj", {"animation": True}),
        ("obj", {"colors": True}),
        ("glb", {"animation": True, "texture_of": "smile"}),
        ("glb", {"animation": True, "texture_of": "99"}),
        ("obj", {"landmarks": "txt"}),
    ):
        with pytest.raises(UsageError):
            export(moving, tmp_path, format, **said)
    assert names(tmp_path) == []


def test_the_command_offers_what_there_is() -> None:
    choices = {option.name: getattr(option.type, "choices", None) for option in export_command.params}
    assert list(choices["kind"]) == list(FORMATS)
    assert list(choices["space"]) == list(SPACES)
    assert list(choices["landmarks"]) == [*LANDMARKS, NO_LANDMARKS]


@pytest.fixture
def in_workspace(path: Path, tmp_path: Path) -> Path:
    """A release of S001 and S002 in the folder of its workspace, whose table refuses S002 since it was packed."""
    folder = tmp_path / "ws"
    folder.mkdir()
    shutil.copy(path, folder / "release.h5")
    (folder / "captures").mkdir()
    (folder / "people.csv").write_text("subject,consent\nS001,yes\nS002,withdrawn\n")
    (folder / "mimicme.toml").write_text('[captures]\nroot = "captures"\n[metadata]\nfile = "people.csv"\n')
    (folder / "runs" / "1").mkdir(parents=True)
    (folder / "runs" / "1" / OVERRIDES_NAME).write_text('["bake.size=256"]')
    return folder / "release.h5"


def test_who_took_consent_back_since_is_left_out(in_workspace: Path, tmp_path: Path) -> None:
    said = mimicme_here("export", in_workspace, tmp_path / "out", "--format", "npz").stdout
    assert "S001/smile.npz" in names(tmp_path / "out")
    again = f"`mimicme run {in_workspace.parent} --set bake.size=256` packs it without them"
    assert f"1 subject is left out, whom the workspace of this release keeps out by now: {again}" in said
    assert not any("S002" in name for name in names(tmp_path / "out"))
    done = mimicme_here("export", in_workspace, tmp_path / "two", "--format", "npz", "--only", "S002", code=2)
    assert "keeps all of these subjects out" in done.stderr and not (tmp_path / "two").exists()
    assert f"`mimicme run {in_workspace.parent} --set bake.size=256` packs the release" in done.stderr
    # by way of a link too, and from nowhere else
    (tmp_path / "link.h5").symlink_to(in_workspace)
    assert export(tmp_path / "link.h5", tmp_path / "three", "npz").kept_out == ("S002",)
    shutil.copy(in_workspace, tmp_path / "elsewhere.h5")
    assert export(tmp_path / "elsewhere.h5", tmp_path / "four", "npz").kept_out == ()


def test_where_nobody_can_say_who_refuses_nothing_is_written(in_workspace: Path, tmp_path: Path) -> None:
    (in_workspace.parent / "people.csv").unlink()
    with pytest.raises(InputError):
        export(in_workspace, tmp_path / "out", "npz")
    assert not (tmp_path / "out").exists()


def test_who_withdrew_is_left_out_of_an_older_release(in_workspace: Path, tmp_path: Path) -> None:
    """One that was put back, as from a backup."""
    (in_workspace.parent / "people.csv").write_text("subject,consent\nS001,yes\nS002,yes\n")
    assert export(in_workspace, tmp_path / "out", "npz").kept_out == ()
    Workspace.open(in_workspace.parent).remove_subject("S002", ())
    assert export(in_workspace, tmp_path / "two", "npz").kept_out == ("S002",)
