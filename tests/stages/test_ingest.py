"""ingest: good frames arrive in mm and +y up, each kind of bad frame is rejected with its reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mimicme.pipeline.captures.catalogue import build
from mimicme.pipeline.checkpoint import Checkpoint, writing
from mimicme.pipeline.errors import ConfigError, InputError, MissingDependencyError, ShortageError
from mimicme.pipeline.formats import image
from mimicme.pipeline.formats.meshio import glb_bytes, obj_bytes, ply_bytes
from mimicme.pipeline.geometry.mesh import Mesh, transform, triangle_normals, vertex_normals
from mimicme.pipeline.geometry.orientation import reversed_mesh
from mimicme.pipeline.items import Captures, FrameSource, Item, Sequence
from mimicme.pipeline.landmarks import GROUPS, NOSE_TIP
from mimicme.pipeline.scan import load_colored, load_image, load_image_bytes, load_scan
from mimicme.pipeline.sources import Sources
from mimicme.pipeline.stage import Task
from mimicme.stages import ingest
from mimicme.stages.ingest import STAGE, IngestSettings, compute, repeated, spread
from mimicme.stages.ingest.texture_atlas import join_pictures, wrapped_uv

SIDE = 21


def face(scale: float = 1.0, side: int = SIDE) -> Mesh:
    """An open shell of a face's size whose uv are its x and y."""
    u, v = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side)))
    x, y = 160 * u - 80, 220 * v - 110
    places = np.stack([x, y, 90 - x * x / 90 - y * y / 400], axis=1) * scale
    i = np.arange(side * side).reshape(side, side)
    a, b, c, d = (q.ravel() for q in (i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return Mesh(places, faces, np.stack([u, v], axis=1), faces.copy())


def ljson(scale: float = 1.0) -> str:
    points = np.zeros((68, 3))
    points[GROUPS["left_eye"]], points[GROUPS["right_eye"]] = [-31, 30, 70], [31, 30, 70]
    points[GROUPS["mouth"]], points[NOSE_TIP] = [0, -40, 80], [0, -5, 100]
    labels = [{"label": name, "mask": list(range(part.start, part.stop))} for name, part in GROUPS.items()]
    return json.dumps({"version": 2, "labels": labels, "landmarks": {"points": (points * scale).tolist()}})


PHOTO = np.random.default_rng(1).integers(0, 256, (16, 24, 3)).astype(np.uint8)


class Capture:
    """A folder of one sequence, with everything a test wants in it."""

    def __init__(self, base: Path) -> None:
        self.root = base / "captures"
        self.folder = self.root / "S1" / "smile"
        self.folder.mkdir(parents=True)
        self.output = base / "ingest.h5"
        self.frames: list[FrameSource] = []

    def write(self, name: str, data: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def frame(self, data: bytes | None = None, ending: str = "obj", duplicates: tuple[Path, ...] = ()) -> str:
        """Add a frame; returns its stem."""
        stem = f"{len(self.frames):04d}"
        path = self.write(f"{stem}.{ending}", textured(stem) if data is None else data)
        self.frames.append(FrameSource(len(self.frames), path, duplicates))
        return stem

    def good(self) -> str:
        stem = self.frame()
        self.write(f"{stem}.mtl", f"newmtl photo\nmap_Kd {stem}.jpg\n")
        self.write(f"{stem}.jpg", image.encode(PHOTO, "jpeg"))
        return stem

    def ingest(
        self, unit: str = "auto", up: str = "auto", sides: str = "image", texture_v: str = "file", **settings
    ) -> Checkpoint:
        item = Item("S1", "smile")
        task = Task(
            Sequence(item, "smile", "happiness", tuple(self.frames)),
            IngestSettings(**settings),
            Captures(self.root, unit, up, fps=60.0, sides=sides, texture_v=texture_v),
            {},
            None,
            Path("none"),
        )
        with writing(self.output, stage="ingest", item=str(item), made_by={}, captures_root=self.root) as out:
            compute(task, out)
        return Checkpoint(self.output)


def textured(stem: str, scale: float = 1.0, library: str | None = None) -> bytes:
    return obj_bytes(face(scale), material_file=library or f"{stem}.mtl", material="photo")


@pytest.fixture
def capture(tmp_path: Path) -> Capture:
    return Capture(tmp_path)


# ------------------------------------------------------------------------------------------------ good input


def test_a_good_frame_arrives_whole(capture: Capture) -> None:
    stem = capture.good()
    with capture.ingest() as got:
        assert got.statuses[0].ok
        assert got.statuses[0].note == ""
        scan, expected = load_scan(got, 0), face()
        assert np.allclose(scan.vertices, expected.vertices, atol=1e-4)
        assert scan.uv is not None
        assert np.allclose(scan.uv[scan.uv_faces], expected.uv[expected.uv_faces], atol=1e-6)
        assert load_image_bytes(got, 0) == (capture.folder / f"{stem}.jpg").read_bytes()
        assert got.attrs["unit"] == "mm"
        assert "no landmarks" in got.attrs["unit_decision"]
        assert got.attrs["fps"] == 60.0
        assert (got["file_from_scan"][()] == np.eye(4)).all()
        assert got["quality/scan_triangles"][0] == len(expected.faces)


@pytest.mark.parametrize(("unit", "scale"), [("m", 0.001), ("cm", 0.1), ("um", 1000.0), ("in", 1 / 25.4)])
def test_other_units_are_brought_to_mm(capture: Capture, unit: str, scale: float) -> None:
    stem = capture.frame(textured("x", scale))
    capture.write(f"{stem}.ljson", ljson(scale))
    with capture.ingest() as got:
        assert got.attrs["unit"] == unit
        scan = load_scan(got, 0)
        assert np.allclose(scan.vertices, face().vertices, atol=1e-2)
        assert np.allclose(
            transform(got["file_from_scan"][()], scan.vertices), face(scale).vertices, rtol=1e-4, atol=scale
        )


def test_a_number_of_millimetres(capture: Capture) -> None:
    capture.frame(textured("x", 1 / 46.8))
    with capture.ingest(unit="46.8") as got:
        assert got.attrs["unit"] == "46.8"
        assert np.allclose(load_scan(got, 0).vertices, face().vertices, atol=1e-2)


def test_arbitrary_units_fail_the_sequence_with_the_way_out(capture: Capture) -> None:
    capture.frame(textured("x", 8.55 / 400))
    with pytest.raises(InputError, match="--unit NUMBER"):
        capture.ingest()
    assert not capture.output.exists()


def test_z_up(capture: Capture) -> None:
    mesh = face()
    capture.frame(obj_bytes(mesh.with_vertices(mesh.vertices[:, [0, 2, 1]] * [1, -1, 1])))
    for up in ("auto", "+z"):
        with capture.ingest(up=up) as got:
            assert got.attrs["up"] == "+z"
            assert np.allclose(load_scan(got, 0).vertices, mesh.vertices, atol=1e-4)


def test_two_half_shells_both_stay(capture: Capture) -> None:
    mesh = face(side=31)
    left = (mesh.vertices[mesh.faces][..., 0] < -5).all(axis=1)
    right = (mesh.vertices[mesh.faces][..., 0] > 5).all(axis=1)
    keep = left | right
    capture.frame(obj_bytes(Mesh(mesh.vertices, mesh.faces[keep], mesh.uv, mesh.uv_faces[keep])))
    with capture.ingest() as got:
        assert got.statuses[0].ok
        assert got["quality/scan_triangles"][0] == keep.sum()


def test_ply_and_vertex_colours(capture: Capture) -> None:
    mesh = face()
    colored = Mesh(mesh.vertices, mesh.faces, mesh.uv, mesh.uv_faces, np.full((SIDE * SIDE, 3), 9, np.uint8))
    capture.frame(ply_bytes(colored, "photo.png"), "ply")
    capture.write("photo.png", image.encode(PHOTO))
    with capture.ingest() as got:
        assert got.statuses[0].ok
        assert (load_scan(got, 0).colors == 9).all()
        assert (load_image(got, 0) == PHOTO).all()


def test_glb_frames_go_the_whole_way(capture: Capture) -> None:
    mesh = face()
    capture.write("0000.glb", glb_bytes(mesh, image.encode(PHOTO), "image/png", scale=0.001))
    capture.write("0001.glb", glb_bytes(Mesh(mesh.vertices, mesh.faces), scale=0.001)[:-9])
    capture.write("0000.ljson", ljson(0.001))
    (listed,) = build(capture.root).sequences
    assert str(listed.item) == "S1/smile"
    capture.frames = list(listed.frames)
    with capture.ingest() as got:
        assert [s.reason for s in got.statuses] == ["", "truncated"]
        assert got.attrs["unit"] == "m"
        scan = load_scan(got, 0)
        assert np.allclose(scan.vertices[scan.faces], mesh.vertices[mesh.faces], atol=1e-3)
        assert scan.uv is not None
        assert mesh.uv is not None
        assert np.allclose(scan.uv[scan.uv_faces], mesh.uv[mesh.uv_faces], atol=1e-6)
        assert (load_image(got, 0) == PHOTO).all()


@pytest.mark.parametrize("kind", ["bmp", "tiff"])
def test_other_formats_are_kept_without_loss(capture: Capture, kind: str) -> None:
    stem = capture.frame()
    capture.write(f"{stem}.mtl", f"newmtl photo\nmap_Kd photo.{kind}\n")
    Image.fromarray(PHOTO).save(capture.folder / f"photo.{kind}")
    with capture.ingest() as got:
        assert image.sniff(load_image_bytes(got, 0) or b"") == "png"
        assert (load_image(got, 0) == PHOTO).all()


def test_image_beside_the_mesh_without_material_file(capture: Capture) -> None:
    stem = capture.frame(obj_bytes(face()))
    capture.write(f"{stem}.png", image.encode(PHOTO))
    with capture.ingest() as got:
        assert not got.statuses[0].note
        assert (load_image(got, 0) == PHOTO).all()


def test_paths_of_the_scanners_own_computer(capture: Capture) -> None:
    stem = capture.frame()
    capture.write(f"{stem}.mtl", "newmtl photo\nmap_Kd C:\\3dMD\\out\\photo.png\n")
    capture.write("photo.png", image.encode(PHOTO))
    with capture.ingest() as got:
        assert got.statuses[0].ok
        assert got.statuses[0].note == "texture-relocated"
        assert got.has(0, "image")


def test_several_images_become_one_that_fits(capture: Capture) -> None:
    mesh = face()
    n = len(mesh.faces) // 2
    text = obj_bytes(mesh, material_file="all.mtl", material="a").decode().splitlines(keepends=True)
    faces = [line for line in text if line.startswith("f ")]
    head = [line for line in text if not line.startswith("f ")]
    capture.frame("".join([*head, *faces[:n], "usemtl b\n", *faces[n:]]).encode())
    capture.write("all.mtl", "newmtl a\nmap_Kd a.png\nnewmtl b\nmap_Kd b.png\n")
    red, blue = np.zeros((10, 30, 3), np.uint8), np.zeros((20, 12, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    capture.write("a.png", image.encode(red))
    capture.write("b.png", image.encode(blue))
    with capture.ingest() as got:
        assert got.statuses[0].note == "textures-joined"
        scan, pixels = load_scan(got, 0), load_image(got, 0)
        assert pixels is not None
        assert scan.uv is not None
        corner = scan.uv[scan.uv_faces]
        column = np.floor(corner[..., 0] * pixels.shape[1] - 1e-4).astype(int)
        row = np.floor((1 - corner[..., 1]) * pixels.shape[0] - 1e-4).astype(int)
        color = pixels[row, column]
        assert (color[:n] == [255, 0, 0]).all()
        assert (color[n:] == [0, 0, 255]).all()


# ------------------------------------------------------------------------------------------------ bad input


GOOD = textured("x")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty-file"),
        (GOOD[: len(GOOD) // 2], "truncated"),
        (GOOD[: GOOD.index(b"vt ") - 30], "truncated"),
        (GOOD[: GOOD.index(b"vt ")], "no-faces"),
        (GOOD.replace(b"v -80.000000", b"v nan", 1), "nan-vertices"),
        (GOOD + b"f 1/1 2/2 99999/1\n", "face-index"),
        (GOOD + b"f 1/1 2/2 three\n", "bad-syntax"),
        (textured("x", 0.001), "unit-mismatch"),
        (b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "degenerate"),
    ],
)
def test_a_bad_frame_is_rejected_and_the_good_ones_arrive(capture: Capture, data: bytes, reason: str) -> None:
    capture.good()
    capture.frame(data)
    capture.good()
    with capture.ingest() as got:
        assert [s.ok for s in got.statuses] == [True, False, True]
        assert got.statuses[1].reason == reason
        assert len(got.statuses[1].message) > 30
        assert not got.has(1, "vertices")
        assert np.isnan(got["quality/scan_vertices"][1])
        assert got.has(2, "image")


def test_a_range_image_with_pixels_that_measured_nothing_is_read(capture: Capture) -> None:
    capture.good()
    capture.frame(b"v nan nan nan\n" + obj_bytes(Mesh(face().vertices, face().faces + 1)))
    with capture.ingest() as got:
        assert [s.ok for s in got.statuses] == [True, True]
        np.testing.assert_allclose(got.get(1, "vertices"), got.get(0, "vertices"), atol=1e-3)


@pytest.mark.parametrize(
    ("apart_mm", "scale", "said"), [(1.5, 1.0, "1.5 mm apart"), (1.5, 0.001, "1.5 mm apart"), (0.0, 1.0, "")]
)
def test_views_that_were_not_merged_are_told(
    capture: Capture, apart_mm: float, scale: float, said: str
) -> None:
    one = face()
    x = one.vertices[one.faces].mean(axis=1)[:, 0]
    middle = float(np.median(x))
    left, right = one.faces[x < middle + 20], one.faces[x > middle - 20]
    normals = vertex_normals(one.vertices, one.faces)
    if apart_mm:
        places = np.concatenate([one.vertices, one.vertices + apart_mm * normals])
        both = Mesh(places * scale, np.concatenate([left, right + len(one.vertices)]).astype(np.int32))
    else:
        both = Mesh(one.vertices, np.concatenate([left, one.faces[x >= middle + 20]]))
    capture.frame(obj_bytes(both))
    with capture.ingest() as got:
        assert got.statuses[0].ok and "triangles-turned" not in got.statuses[0].note
        assert ("surface-layers" in got.statuses[0].note) == bool(said)
        assert said in got.statuses[0].message


@pytest.mark.parametrize("surface_moves", [True, False])
def test_a_texture_that_lags_its_surface_is_told(capture: Capture, surface_moves: bool) -> None:
    """Of a mesh that was tracked one image may be all frames': its texture coordinates stay, too."""
    for k in range(3):
        mesh = face()
        moved = np.minimum(mesh.uv * (1 + 0.01 * k * surface_moves), 1.0)
        data = obj_bytes(
            replace(mesh, vertices=mesh.vertices * [1, 1 + 0.01 * k, 1], uv=moved),
            material_file=f"000{k}.mtl",
        )
        capture.frame(data)
        capture.write(f"000{k}.mtl", f"newmtl texture\nmap_Kd 000{k}.png\n")
        capture.write(f"000{k}.png", image.encode(np.full((8, 8, 3), 90 + (k > 0), np.uint8)))
    with capture.ingest() as got:
        told = ["texture-repeated" in s.note for s in got.statuses]
        assert told == [False, False, surface_moves]
        assert not surface_moves or "that of frame 1," in got.statuses[2].message


@pytest.mark.parametrize("odd", [0, 2])
@pytest.mark.parametrize("what", ["dropped", "turned"])
def test_a_tracked_mesh_one_of_whose_triangles_is_cleaned_keeps_its_image(
    capture: Capture, odd: int, what: str
) -> None:
    """As where lips or lids touch: cleaning drops the triangle of a collapsed edge, and orienting turns one that lies
    the wrong way round."""
    for k in range(4):
        mesh = face()
        places, faces = mesh.vertices * [1, 1 + 0.01 * k, 1], mesh.faces.copy()
        if k == odd and what == "dropped":
            places[faces[300, 1]] = places[faces[300, 0]]
        if k == odd and what == "turned":
            places[faces[300, 1]] = 2 * places[faces[300, [0, 2]]].mean(axis=0) - places[faces[300, 1]]
        capture.frame(obj_bytes(replace(mesh, vertices=places), material_file="head.mtl", material="head"))
    capture.write("head.mtl", "newmtl head\nmap_Kd head.png\n")
    capture.write("head.png", image.encode(PHOTO))
    with capture.ingest() as got:
        shapes = [load_scan(got, row).uv_faces for row in range(4)]
        assert not np.array_equal(shapes[odd], shapes[1])  # cleaning did change this frame
        assert [s.note for s in got.statuses] == [""] * 4


def test_texture_coordinates_that_are_not_there_are_told(capture: Capture) -> None:
    lines = textured("0000").splitlines()
    lines[-1] = b" ".join(
        [b"f", *(corner.partition(b"/")[0] + b"/99999" for corner in lines[-1].split()[1:])]
    )
    capture.frame(b"\n".join([*lines, b""]))
    with capture.ingest() as got:
        assert got.statuses[0].ok and "uv-absent" in got.statuses[0].note
        assert "1 triangle, which counts" in got.statuses[0].message


def test_an_animation_is_told_and_its_rest_is_read(capture: Capture) -> None:
    mesh = face()
    plain = glb_bytes(Mesh(mesh.vertices, mesh.faces), scale=0.001)
    size = int.from_bytes(plain[12:16], "little")
    tree = json.loads(plain[20 : 20 + size])
    moved = {"sampler": 0, "target": {"node": 0, "path": "translation"}}
    tree["animations"] = [{"samplers": [{"input": 0, "output": 0}], "channels": [moved]}]
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    rest = plain[20 + size :]
    head = (20 + len(text) + len(rest)).to_bytes(4, "little") + len(text).to_bytes(4, "little")
    capture.frame(plain[:8] + head + plain[16:20] + text + rest, "glb")
    with capture.ingest() as got:
        assert got.statuses[0].ok and "animation-unread" in got.statuses[0].note
        assert f"{tree['accessors'][0]['count']:,} moments" in got.statuses[0].message
        assert len(got.get(0, "vertices")) == len(mesh.vertices)


def test_bad_frames_beyond_the_sample_are_rejected_too(capture: Capture) -> None:
    for k in range(6):
        capture.frame(b"" if k in (2, 3) else GOOD)
    with capture.ingest(sample_frames=2) as got:
        assert [s.ok for s in got.statuses] == [True, True, False, False, True, True]


def test_a_file_cut_between_two_lines_is_at_least_noted(capture: Capture) -> None:
    capture.frame(GOOD[: GOOD.rindex(b"\nf ", 0, int(len(GOOD) * 0.7)) + 1])
    with capture.ingest() as got:
        assert "unused-vertices" in got.statuses[0].note
        assert "copy it again" in got.statuses[0].message


def test_one_frame_cut_between_two_lines_is_rejected_beside_whole_ones(capture: Capture) -> None:
    cut = GOOD[: GOOD.rindex(b"\nf ", 0, int(len(GOOD) * 0.7)) + 1]
    for k in range(5):
        capture.frame(cut if k == 2 else GOOD)
    with capture.ingest() as got:
        assert [s.reason for s in got.statuses] == ["", "", "truncated", "", ""]
        assert "expected at most 5%" in got.statuses[2].message


def without_hair() -> Mesh:
    """A face whose upper tenth was deleted, and whose vertices stay, as MeshLab leaves them."""
    mesh = face()
    kept = mesh.vertices[mesh.faces].mean(axis=1)[:, 1] < 88
    return replace(mesh, faces=mesh.faces[kept], uv_faces=mesh.uv_faces[kept])


@pytest.mark.parametrize("ending", ["obj", "ply"])
def test_frames_of_which_a_piece_was_deleted_by_hand_stay(capture: Capture, ending: str) -> None:
    write = {"obj": obj_bytes, "ply": ply_bytes}[ending]
    for k in range(9):
        capture.frame(write(without_hair() if k in (1, 3, 5, 7) else face()), ending)
    with capture.ingest() as got:
        assert all(s.ok for s in got.statuses)
        assert ["unused-vertices" in s.note for s in got.statuses] == [k in (1, 3, 5, 7) for k in range(9)]
        assert ("copy it again" in got.statuses[1].message) == (ending == "obj")


@pytest.mark.parametrize("how", ["ply", "glb", "comment"])
def test_a_file_that_says_how_much_it_holds_is_not_cut(capture: Capture, how: str) -> None:
    """One frame alone that was cleaned by hand: were it cut, its file would be refused for what it lacks."""
    for k in range(5):
        mesh = without_hair() if k == 2 else face()
        if how == "comment":
            capture.frame(
                b"# Vertices: %d\n# Faces: %d\n" % (len(mesh.vertices), len(mesh.faces)) + obj_bytes(mesh)
            )
        else:
            capture.frame({"ply": ply_bytes, "glb": glb_bytes}[how](mesh), how)
    with capture.ingest(unit="mm") as got:
        assert all(s.ok for s in got.statuses)
        said = got.statuses[2]
        assert "unused-vertices" in said.note and "were triangles deleted by hand?" in said.message
        assert "cut" not in said.message


def test_frames_that_all_have_unused_vertices_are_noted(capture: Capture) -> None:
    """As a program writes them that cleaned the face: nothing says that they were cut."""
    for _ in range(4):
        capture.frame(GOOD[: GOOD.rindex(b"\nf ", 0, int(len(GOOD) * 0.7)) + 1])
    with capture.ingest() as got:
        assert all(s.ok and "unused-vertices" in s.note for s in got.statuses)


@pytest.mark.parametrize(("share", "few"), [(0.5, True), (0.7, False)])
def test_a_frame_with_far_fewer_triangles_than_its_sequence_is_noted(
    capture: Capture, share: float, few: bool
) -> None:
    mesh = face()
    kept = mesh.faces[: int(share * len(mesh.faces))]
    used = np.unique(kept)
    part = Mesh(mesh.vertices[used], np.searchsorted(used, kept).astype(np.int32))
    for k in range(4):
        capture.frame(obj_bytes(part) if k == 1 else GOOD)
    with capture.ingest() as got:
        assert ["few-triangles" in s.note for s in got.statuses] == [False, few, False, False]
        assert not few or f"{len(kept):,} triangles" in got.statuses[1].message


def test_every_frame_bad(capture: Capture) -> None:
    capture.frame(b"")
    capture.frame(b"v 1 2")
    with capture.ingest() as got:
        assert got.ok_rows == []
        assert "no frame could be read" in got.attrs["unit_decision"]


def test_duplicate_frame_numbers(capture: Capture) -> None:
    capture.good()
    capture.frame(duplicates=(capture.folder / "000001.obj",))
    with capture.ingest() as got:
        status = got.statuses[1]
        assert status.reason == "duplicate-frame"
        assert "0001.obj, 000001.obj" in status.message


def test_times_are_those_of_the_names_or_of_the_rate(capture: Capture) -> None:
    capture.good()
    capture.good()
    with capture.ingest() as got:
        assert got["time_s"][:].tolist() == [0, 1 / 60] and got.attrs["fps"] == 60
    capture.frames = [replace(f, time_s=time) for f, time in zip(capture.frames, (0.0, 0.04), strict=True)]
    with capture.ingest() as got:
        assert got["time_s"][:].tolist() == [0, 0.04]


def test_v_that_runs_the_other_way_is_turned_where_that_is_declared(capture: Capture) -> None:
    capture.good()
    capture.frame(obj_bytes(Mesh(face().vertices, face().faces)))  # no texture coordinates
    with capture.ingest() as got:
        plain = load_scan(got, 0)
    with capture.ingest(texture_v="flipped") as got:
        turned = load_scan(got, 0)
        assert load_scan(got, 1).uv is None
    np.testing.assert_allclose(
        turned.uv[turned.uv_faces][..., 0], plain.uv[plain.uv_faces][..., 0], atol=1e-6
    )
    np.testing.assert_allclose(
        turned.uv[turned.uv_faces][..., 1], 1 - plain.uv[plain.uv_faces][..., 1], atol=1e-6
    )
    np.testing.assert_array_equal(turned.vertices, plain.vertices)


def test_without_texture(capture: Capture) -> None:
    capture.frame(obj_bytes(face()))
    capture.frame()  # names an MTL that is not there
    stem = capture.frame()  # its MTL names an image that is not there
    capture.write(f"{stem}.mtl", "newmtl photo\nmap_Kd gone.jpg\n")
    stem = capture.frame()  # its image is no image
    capture.write(f"{stem}.mtl", f"newmtl photo\nmap_Kd {stem}.jpg\n")
    capture.write(f"{stem}.jpg", image.encode(PHOTO, "jpeg")[:200])
    stem = capture.frame(obj_bytes(Mesh(face().vertices, face().faces)))  # no texture coordinates
    capture.write(f"{stem}.jpg", image.encode(PHOTO, "jpeg"))
    with capture.ingest() as got:
        notes = [s.note for s in got.statuses]
        own = ["no-texture", "texture-missing", "texture-missing", "texture-unreadable", "no-uv"]
        assert notes == [own[0], *(f"frame-repeated,{note}" for note in own[1:])]
        assert all(s.ok and s.message for s in got.statuses)
        assert "gone.jpg" in got.statuses[2].message
        assert all(load_image(got, row) is None for row in range(5))
        assert len(load_scan(got, 3).faces) == len(face().faces)


def test_vertex_colours_are_a_texture(capture: Capture) -> None:
    colors = np.full((SIDE * SIDE, 3), [90, 60, 50], np.uint8)
    capture.frame(ply_bytes(replace(face(), colors=colors)), "ply")
    capture.frame(ply_bytes(face()), "ply")
    with capture.ingest() as got:
        assert [s.note for s in got.statuses] == ["", "frame-repeated,no-texture"]


def test_vertex_colours_stay_where_the_image_is_broken(capture: Capture) -> None:
    painted = replace(face(), colors=np.full((SIDE * SIDE, 3), [10, 200, 30], np.uint8))
    stem = capture.frame(obj_bytes(painted, material_file="0000.mtl", material="photo"))
    capture.write(f"{stem}.mtl", f"newmtl photo\nmap_Kd {stem}.png\n")
    capture.write(f"{stem}.png", image.encode(PHOTO, "png")[:90])
    with capture.ingest() as got:
        assert got.statuses[0].note == "texture-unreadable"
        scan, picture, why = load_colored(got, 0)
        assert picture is None and why == ""  # nothing broken is stored
        assert (scan.colors == [10, 200, 30]).all()


def test_a_decompression_bomb_is_not_decoded(capture: Capture) -> None:
    capture.good()
    with capture.ingest(max_pixels=100) as got:
        assert got.statuses[0].ok
        assert got.statuses[0].note == "texture-unreadable"
        assert "24 x 16" in got.statuses[0].message
        assert "--set ingest.max_pixels=384" in got.statuses[0].message


def test_the_largest_image_is_the_same_for_every_stage(
    capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture.good()
    limits = []
    decode = image.decode

    def watched(
        data: bytes, max_pixels: int = image.MAX_PIXELS, name: str = "image", **more: int
    ) -> image.Pixels:
        limits.append(max_pixels)
        return decode(data, max_pixels, name, **more)

    with capture.ingest(max_pixels=image.LARGEST_PIXELS) as got:
        monkeypatch.setattr(image, "decode", watched)
        assert load_image(got, 0) is not None
    assert limits == [image.LARGEST_PIXELS]


def test_settings_are_checked() -> None:
    for wrong in ({"max_pixels": 0}, {"max_pixels": image.LARGEST_PIXELS + 1}, {"sample_frames": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            IngestSettings(**wrong)


# ------------------------------------------------------------------------------------------------ paths

SECRET = b"newmtl photo\nmap_Kd secret.png\n"


@pytest.mark.parametrize(
    "library",
    [
        "../../secret",
        "../../../secret",
        "..\\..\\secret",
        "/etc/passwd",
        "a.mtl ../../secret",
        "x/../../../secret",
    ],
)
def test_mtllib_may_not_leave_the_sequence(capture: Capture, library: str) -> None:
    capture.good()
    capture.frame(textured("x", library=library))
    (capture.root / "secret").write_bytes(SECRET)
    (capture.root.parent / "secret").write_bytes(SECRET)
    with capture.ingest() as got:
        assert [s.ok for s in got.statuses] == [True, True]
        missing = library == "/etc/passwd"  # what is named from a root can only be beside the mesh
        assert ("texture-missing" if missing else "texture-outside") in got.statuses[1].note.split(",")
        assert not got.has(1, "image")
        assert "secret" in got.statuses[1].message or "passwd" in got.statuses[1].message


@pytest.mark.parametrize("name", ["../../S2/photo.png", "../../../photo.png", "/tmp/photo.png"])
def test_map_kd_may_not_leave_the_sequence(capture: Capture, name: str) -> None:
    stem = capture.frame()
    capture.write(f"{stem}.mtl", f"newmtl photo\nmap_Kd {name}\n")
    with capture.ingest() as got:
        assert got.statuses[0].note == ("texture-missing" if name[0] == "/" else "texture-outside")
        assert not got.has(0, "image")


@pytest.mark.parametrize("linked", ["0000.obj", "0000.mtl", "0000.jpg"])
def test_symbolic_links_may_not_leave_the_captures(capture: Capture, linked: str) -> None:
    capture.good()
    outside = capture.root.parent / "outside"
    (capture.folder / linked).rename(outside)
    (capture.folder / linked).symlink_to(outside)
    with capture.ingest() as got:
        status = got.statuses[0]
        assert (status.reason or status.note) == (
            "unsafe-path" if linked == "0000.obj" else "texture-outside"
        )
        assert not got.has(0, "image")


def test_a_texture_folder_beside_the_sequence_is_fine(capture: Capture) -> None:
    stem = capture.frame()
    capture.write(f"{stem}.mtl", "newmtl photo\nmap_Kd ../textures/p.png\n")
    capture.write("../textures/p.png", image.encode(PHOTO))
    with capture.ingest() as got:
        assert got.statuses[0].note == ""
        assert got.has(0, "image")


# ------------------------------------------------------------------------------------------------ failures


@pytest.mark.parametrize(
    "error", [OSError("disk"), MemoryError(), ValueError("struct"), RecursionError("deep")]
)
def test_whatever_happens_to_one_frame_stays_with_it(
    capture: Capture, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture.good()
    capture.frame(b"BOOM")
    real = ingest.read_scan

    def read(data: bytes, name: str, beside: object):
        if data == b"BOOM":
            raise error
        return real(data, name)

    monkeypatch.setattr(ingest, "read_scan", read)
    with capture.ingest() as got:
        assert [s.ok for s in got.statuses] == [True, False]
        assert got.statuses[1].reason == "unreadable"
        assert type(error).__name__ in got.statuses[1].message


@pytest.mark.parametrize("error", [MissingDependencyError("no Pillow"), ShortageError("No process.")])
def test_what_the_machine_lacks_is_no_fault_of_the_frame(
    capture: Capture, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture.good()

    def read(data: bytes, name: str, beside: object):
        raise error

    monkeypatch.setattr(ingest, "read_scan", read)
    with pytest.raises(type(error)):
        capture.ingest()


@pytest.mark.parametrize(
    "error", [MemoryError(), ImportError("libX.so: failed to map segment from shared object"), ValueError()]
)
def test_no_frame_is_lost_because_the_process_was_short_of_memory(
    capture: Capture, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run, which has some, reads it well: a rejection would stay."""
    capture.good()

    def read(data: bytes, name: str, beside: object):
        raise error

    monkeypatch.setattr(ingest, "read_scan", read)
    monkeypatch.setattr(ingest, "short_of_memory", lambda error: True)
    with pytest.raises(ShortageError, match="not enough memory"):
        capture.ingest()


def test_a_frame_whose_vertices_are_those_of_an_earlier_one_is_noted(capture: Capture) -> None:
    """Whatever the rest of its file says; who only looks alike is not."""
    for data in (textured("0000"), textured("0001", 1.001), textured("0002"), textured("0003", 1.001)):
        capture.frame(data)
    with capture.ingest() as got:
        noted = ["frame-repeated" in s.note for s in got.statuses]
        assert noted == [False, False, True, True] and all(s.ok for s in got.statuses)
        assert "those of frame 0, every one" in got.statuses[2].message
        assert "those of frame 1, every one" in got.statuses[3].message


@pytest.mark.parametrize(("off", "same"), [(0.004, True), (0.02, False)])
def test_a_copy_that_was_written_again_with_fewer_decimals_is_one_too(
    capture: Capture, off: float, same: bool
) -> None:
    """Near the edge of any rounding: one vertex a little this way, the next that way."""
    mesh = face()
    moved = mesh.vertices + off * np.where(np.arange(len(mesh.vertices))[:, None] % 2, 1.0, -1.0)
    for vertices in (mesh.vertices, moved):
        capture.frame(obj_bytes(replace(mesh, vertices=vertices)))
    with capture.ingest() as got:
        assert ["frame-repeated" in s.note for s in got.statuses] == [False, same]


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("decimals", [2, 3, 7])
def test_a_copy_of_fewer_decimals_rounded_or_cut_off_is_found(decimals: int, cut: bool) -> None:
    frames, mesh = repeated.Frames(), face()
    scanned = mesh.vertices + np.random.default_rng(2).normal(scale=0.1, size=mesh.vertices.shape)
    assert frames.same_as(0, replace(mesh, vertices=scanned)) is None
    steps = scanned * 10**decimals
    copied = (np.trunc(steps) if cut else np.round(steps)) / 10**decimals
    assert frames.same_as(1, replace(mesh, vertices=copied)) == 0


@pytest.mark.parametrize("decimals", [None, 3])
@pytest.mark.parametrize(("far", "frame_count"), [(8.0, 60), (4.0, 120)])
def test_slow_motion_of_one_topology_is_no_copy(far: float, frame_count: int, decimals: int | None) -> None:
    """A smile that begins and ends softly, in one second; what is no mouth stays where it is, exactly."""
    frames, mesh = repeated.Frames(), face()
    distance = np.linalg.norm(mesh.vertices[:, :2], axis=1)
    reach = np.maximum(0.0, 1 - (distance / (0.7 * distance.max())) ** 2) ** 2
    made: list[np.ndarray] = []
    for number in range(12):
        done = (1 - np.cos(np.pi * number / frame_count)) / 2
        vertices = mesh.vertices + far * done * reach[:, None] * [0.6, 0.5, 0.6]
        vertices = vertices if decimals is None else np.round(vertices, decimals)
        # decimals may hide the first frames of a motion altogether: those are copies
        equal = next((n for n, other in enumerate(made) if np.array_equal(vertices, other)), None)
        assert frames.same_as(number, replace(mesh, vertices=vertices)) == equal
        made.append(vertices)


def test_a_head_that_moves_slowly_as_a_whole_is_no_copy() -> None:
    frames, mesh = repeated.Frames(), face()
    for number in range(4):
        assert frames.same_as(number, replace(mesh, vertices=mesh.vertices + 0.004 * number)) is None


def test_other_triangles_over_the_same_vertices_are_no_copy() -> None:
    frames, mesh = repeated.Frames(), face()
    assert frames.same_as(0, mesh) is None
    assert frames.same_as(1, replace(mesh, faces=mesh.faces[:-1], uv_faces=mesh.uv_faces[:-1])) is None
    assert frames.same_as(2, mesh) == 0


def test_of_many_frames_the_newest_are_compared_with_and_all_that_are_equal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh = face()
    monkeypatch.setattr(repeated, "KEPT_BYTES", 2 * len(mesh.vertices) * 12)
    frames = repeated.Frames()
    for number in range(3):
        assert frames.same_as(number, replace(mesh, vertices=mesh.vertices + number)) is None
    assert frames.same_as(3, replace(mesh, vertices=mesh.vertices + 2)) == 2
    nearly = replace(mesh, vertices=mesh.vertices + np.float32(5e-5))
    assert frames.same_as(4, nearly) is None  # the first is no longer kept
    assert frames.same_as(5, mesh) == 0  # but what its bits were is known
    assert frames.same_as(6, replace(mesh, vertices=mesh.vertices + 2 + np.float32(5e-5))) == 2


def test_a_vanished_file(capture: Capture) -> None:
    capture.good()
    stem = capture.frame()
    (capture.folder / f"{stem}.obj").unlink()
    with capture.ingest() as got:
        assert got.statuses[1].reason == "unreadable"


# ------------------------------------------------------------------------------------------------ the rest


def test_same_input_same_bytes(capture: Capture) -> None:
    capture.good()
    capture.frame(b"")
    capture.good()
    capture.ingest().close()
    first = capture.output.read_bytes()
    capture.ingest().close()
    assert capture.output.read_bytes() == first


def test_what_was_looked_for_is_remembered(capture: Capture) -> None:
    capture.good()
    capture.frame()
    with capture.ingest() as got:
        sources = got.made_by["sources"]
    assert len(sources["S1/smile/0000.jpg"]) == 64
    assert sources["S1/smile/0001.mtl"] == "absent"
    assert sources["S1/smile/0000.ljson"] == "absent"


def test_sample_is_spread_and_complete() -> None:
    assert spread(0, 9) == []
    assert spread(3, 9) == [0, 1, 2]
    assert spread(101, 3)[:3] == [0, 50, 100]
    assert sorted(spread(101, 3)) == list(range(101))


def test_uv_outside_the_image() -> None:
    mesh = face()
    shifted = Mesh(mesh.vertices, mesh.faces, mesh.uv + [3, -2], mesh.uv_faces)
    tidy = wrapped_uv(shifted)
    assert tidy.uv is not None
    assert np.allclose(tidy.uv[tidy.uv_faces], mesh.uv[mesh.uv_faces], atol=1e-9)
    assert wrapped_uv(mesh) is mesh
    over = wrapped_uv(Mesh(mesh.vertices, mesh.faces, mesh.uv * 1.02, mesh.uv_faces)).uv
    assert over is not None
    assert over.max() <= 1


def test_triangles_without_image_get_no_place() -> None:
    mesh = face()
    shown = np.zeros(len(mesh.faces), np.int32)
    shown[3] = -1
    joined, pixels = join_pictures(mesh, shown, [PHOTO, PHOTO])
    assert pixels.shape == (16, 48, 3)
    assert joined.uv is not None
    assert np.isnan(joined.uv[joined.uv_faces[3]]).all()
    assert np.isfinite(np.delete(joined.uv[joined.uv_faces], 3, axis=0)).all()


def test_the_stage_has_defaults() -> None:
    assert STAGE.settings() == IngestSettings()
    assert STAGE.needs == ()


@pytest.mark.parametrize(("sides", "mirrored"), [("image", True), ("subject", False)])
def test_whose_left_is_meant_decides_whether_a_face_is_mirrored(
    capture: Capture, sides: str, mirrored: bool
) -> None:
    stem = capture.good()
    swapped = ljson().replace("left_eye", "?").replace("right_eye", "left_eye").replace("?", "right_eye")
    capture.write(f"{stem}.ljson", swapped)
    with capture.ingest(sides=sides) as got:
        assert got.statuses[0].ok
        assert got.statuses[0].may_have("axes-mirrored") is mirrored
        assert ("mirrored" in got.attrs["up_decision"]) is mirrored


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shift", [0.0, 3.0], ids=["in the square", "in another tile"])
def test_a_texture_coordinate_that_is_no_number_is_none_and_warns_of_nothing(
    capture: Capture, shift: float
) -> None:
    mesh = face()
    uv = mesh.uv + shift
    text = obj_bytes(replace(mesh, uv=uv), material_file="0000.mtl", material="photo").decode()
    lines = text.splitlines()
    lines[[k for k, line in enumerate(lines) if line.startswith("vt ")][7]] = "vt inf 0.5"
    capture.frame("\n".join(lines).encode())
    capture.write("0000.mtl", "newmtl photo\nmap_Kd 0000.jpg\n")
    capture.write("0000.jpg", image.encode(PHOTO, "jpeg"))
    with capture.ingest() as got:
        scan = load_scan(got, 0)
    bare = np.isnan(scan.uv[scan.uv_faces]).any(axis=(1, 2))
    assert bare.sum() == (mesh.uv_faces == 7).any(axis=1).sum()
    assert np.nanmax(scan.uv) <= 1


# ------------------------------------------------------------------------------------------------ orientation, size


@pytest.mark.parametrize("which", ["all", "half"])
def test_triangles_wound_inwards_are_turned_and_noted(capture: Capture, which: str) -> None:
    good = face()
    count = len(good.faces)
    wrong = np.arange(count) < (count if which == "all" else count // 2)
    turned = replace(
        good,
        faces=np.where(wrong[:, None], good.faces[:, ::-1], good.faces),
        uv_faces=np.where(wrong[:, None], good.uv_faces[:, ::-1], good.uv_faces),
    )
    capture.frame(obj_bytes(turned))
    capture.good()
    with capture.ingest() as got:
        assert "triangles-turned" in got.statuses[0].note.split(",")
        assert got.statuses[1].note == "frame-repeated"
        one, two = load_scan(got, 0), load_scan(got, 1)
        assert (triangle_normals(one.vertices, one.faces)[0][:, 2] > 0).all()
        assert np.allclose(one.vertices, two.vertices)
        assert (np.sort(one.faces, axis=1) == np.sort(two.faces, axis=1)).all()
        assert np.allclose(
            one.uv[one.uv_faces], good.vertices[one.faces][..., :2] / [160, 220] + 0.5, atol=1e-6
        )


@pytest.mark.parametrize(("depth", "counts"), [(0.1, False), (1.0, True)])
def test_a_winding_that_is_told_by_chance_alone_is_no_witness(
    capture: Capture, depth: float, counts: bool
) -> None:
    mesh = face()
    flat = mesh.with_vertices(mesh.vertices * [1, 1, depth])
    capture.frame(obj_bytes(reversed_mesh(flat)))
    raw = ingest.read_frame(capture.frames[0], Sources(capture.root), IngestSettings(), None)
    assert raw.turned_share == 1.0
    assert raw.evidence.inward is counts


def test_a_gltf_file_whose_data_are_not_there_says_so(capture: Capture) -> None:
    tree = {
        "asset": {"version": "2.0"},
        "buffers": [{"uri": "0000.bin", "byteLength": 36}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": [{"mesh": 0}],
    }
    capture.frame(json.dumps(tree).encode(), "gltf")
    capture.good()
    with capture.ingest() as got:
        assert got.statuses[0].reason == "missing-part"
        assert "0000.bin" in got.statuses[0].message


@pytest.mark.parametrize(("scale", "factor"), [(0.75, "1.355"), (1.3, "0.7816"), (1.0, "")])
def test_an_unusual_size_is_remarked(capture: Capture, scale: float, factor: str) -> None:
    stem = capture.frame(textured("x", scale))
    capture.write(f"{stem}.ljson", ljson(scale))
    with capture.ingest() as got:
        assert got.attrs["unit"] == "mm"
        remark = got.attrs.get("size_decision", "")
        assert (f"--unit {factor}`" in remark and "unusual size" in remark) if factor else not remark
    with capture.ingest(unit="mm") as got:
        assert bool(got.attrs.get("size_decision", "")) == bool(factor)
