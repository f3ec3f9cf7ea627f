"""Names that another machine wrote find their images here; those that several images could be find none."""

from __future__ import annotations

import io
import json
import os
import struct
from urllib.parse import quote

import numpy as np
import pytest
from bu_files import wrl
from PIL import Image

from mimicme.pipeline.captures.references import References
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.formats.meshio import glb_bytes, obj_bytes, ply_bytes
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.sources import Sources, unchanged

RED, BLUE = (np.full((8, 8, 3), color, np.uint8) for color in ([255, 0, 0], [0, 0, 255]))


@pytest.mark.parametrize(
    "written",
    [
        "/Users/someone/Desktop/scan/skin.png",
        "C:\\scans\\out\\skin.png",
        "C:/scans/out/SKIN.PNG",
        "\\\\server\\share\\skin.png",
        "//server/share/skin.png",
        "file:///C:/scans/skin.png",
        "https://host/scans/skin.png",
        "~/scans/skin.png",
        "gone/skin.png",
        "../../../scans/skin.png",
        '"D:\\a b\\skin.png"',
    ],
)
def test_a_path_of_another_machine_is_taken_by_its_last_part(folder, written: str) -> None:
    folder.names(written)
    folder.write("skin.png", RED)
    folder.write("other.png", BLUE)
    found = folder.find()
    assert list(found.notes) == ["texture-relocated"]
    assert (found.colors() == [255, 0, 0]).all()


def test_the_last_two_parts_may_be_a_folder_beside_the_mesh(folder) -> None:
    folder.names("/Users/someone/scan/textures/skin.png")
    folder.write("textures/skin.png", RED)
    found = folder.find()
    assert "'textures/skin.png'" in found.notes["texture-relocated"]
    assert found.pixels is not None


def test_a_path_from_the_root_that_is_right_needs_no_note(folder) -> None:
    folder.names(str(folder.path / "skin.png"))
    folder.write("skin.png", RED)
    assert folder.find().notes == {}


@pytest.mark.parametrize("written", ["../../S2/skin.png", "../../../skin.png", "x/../../../S2/skin.png"])
def test_an_image_elsewhere_is_not_read_and_costs_nothing_else(folder, written: str) -> None:
    folder.names(written)
    folder.write("../../S2/skin.png", RED)
    folder.write("../../../skin.png", RED)
    folder.write("0000.png", BLUE)  # what the name means is known: nothing else is
    found = folder.find()
    assert list(found.notes) == ["texture-outside"]
    assert found.pixels is None
    assert not any("skin" in name for name in found.sources.stats)


@pytest.mark.parametrize(
    ("written", "note"),
    [
        ("skin.png", None),
        ("./Skin.png", None),
        ("C:\\scans\\skin.png", "texture-relocated"),
        ("/elsewhere/skin.png", "texture-relocated"),
        ("../../S2/secret.png", "texture-outside"),
        ("../../../secret.png", "texture-outside"),
        (
            "{outside}",
            "texture-missing",
        ),  # from the root: of another machine, whatever lies there on this one
        ("gone.png", "texture-missing"),
    ],
)
def test_the_url_of_a_vrml_file_is_a_name_as_any_other(
    folder, wide_sheet, written: str, note: str | None
) -> None:
    outside = folder.write("../../../secret.png", RED)
    folder.write("../../S2/secret.png", RED)
    written = written.format(outside=outside)
    if note not in ("texture-outside", "texture-missing"):
        folder.write("skin.png", BLUE)
    folder.write("0000.wrl", wrl(wide_sheet, written.replace("\\", "\\\\")))
    found = folder.find("0000.wrl")
    assert list(found.notes) == ([note] if note else [])
    assert not any("secret" in name for name in found.sources.stats)
    if note in ("texture-outside", "texture-missing"):
        assert found.pixels is None
    else:
        assert found.pixels is not None and (found.pixels == [0, 0, 255]).all()


@pytest.mark.parametrize("written", ["TEX_A.JPG", "Tex_a.jpg", "./TEX_A.jpg"])
def test_capitals_do_not_count(folder, written: str) -> None:
    folder.names(written)
    (folder.path / "0000.mtl").rename(folder.path / "0000.MTL")
    folder.write("tex_a.jpg", RED)
    found = folder.find()
    assert found.notes == {}
    assert found.pixels is not None


def test_capitals_of_folders_do_not_count(folder) -> None:
    folder.names("..\\Textures\\Skin.png")
    folder.write("../textures/skin.png", RED)
    assert folder.find().notes == {}


def test_of_two_that_differ_in_capitals_the_exact_one_is_taken_else_none(folder) -> None:
    folder.write("skin.png", RED)
    folder.write("Skin.png", BLUE)
    folder.names("skin.png")
    found = folder.find()
    assert found.notes == {} and (found.colors() == [255, 0, 0]).all()
    folder.names("SKIN.png")
    found = folder.find()
    assert list(found.notes) == ["texture-ambiguous"] and found.pixels is None
    assert (
        "'Skin.png'" in found.notes["texture-ambiguous"] and "'skin.png'" in found.notes["texture-ambiguous"]
    )


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("皮肤.png", "gb18030"),
        ("Gesicht_Müller.png", "cp1252"),
        ("顔ソ.png", "shift_jis"),
        ("лицо.png", "cp1251"),
    ],
)
def test_the_bytes_of_a_name_are_tried_in_other_encodings(folder, name: str, encoding: str) -> None:
    folder.write(name, RED)
    folder.names(name.encode(encoding))
    assert folder.find().notes == {}
    folder.names(b"C:\\scans\\" + name.encode(encoding))
    assert list(folder.find().notes) == ["texture-relocated"]
    folder.names(name)
    assert folder.find().notes == {}


def test_a_name_in_no_encoding_at_all_is_found_by_its_bytes(folder) -> None:
    folder.write(b"skin\xff\x81.png", RED)
    folder.names(b"SKIN\xff\x81.png")
    found = folder.find()
    assert found.notes == {}
    assert unchanged(folder.root, found.sources.digests, found.sources.stats_json())


def test_accents_may_be_composed_or_not(folder) -> None:
    folder.write("Mu\u0308ller.png", RED)
    folder.names("M\u00fcller.png")
    assert folder.find().notes == {}


@pytest.mark.parametrize("on_disk", ["my skin.png", "my%20skin.png"])
def test_url_escapes(folder, on_disk: str) -> None:
    folder.write(on_disk, RED)
    for written in ("my skin.png", "my%20skin.png", "file:///somewhere/my%20skin.png"):
        folder.names(written)
        assert folder.find().pixels is not None, written


def with_uri(mesh: Mesh, uri: str) -> bytes:
    """A .glb whose image is in a file of its own."""
    data = glb_bytes(mesh, b"image", "image/png")
    length = struct.unpack_from("<I", data, 12)[0]
    tree = json.loads(data[20 : 20 + length])
    tree["images"] = [{"uri": uri}]
    head = json.dumps(tree).encode()
    head += b" " * (-len(head) % 4)
    rest = data[20 + length :]
    return b"".join(
        [data[:8], struct.pack("<II4s", 20 + len(head) + len(rest), len(head), b"JSON"), head, rest]
    )


@pytest.mark.parametrize(("name", "encoding"), [("my skin.png", "utf-8"), ("皮肤.png", "gb18030")])
def test_images_of_gltf_files(folder, wide_sheet, name: str, encoding: str) -> None:
    folder.write(name, RED)
    folder.write("0000.glb", with_uri(wide_sheet, quote(name.encode(encoding))))
    assert folder.find("0000.glb").pixels is not None


@pytest.mark.parametrize(
    "line",
    [
        b"-s 1 1 1 -o 0 0 0 my skin 2.png",
        b"-clamp on -s 1 my skin 2.png",
        b"-bm 0.5\t-mm 0 1\tmy skin 2.png",
        b"-blendu off   -imfchan r -texres 1024 my skin 2.png  ",
        b'-s\t1 1\t1 "my skin 2.png"',
    ],
)
def test_options_before_the_name(folder, line: bytes) -> None:
    folder.write("my skin 2.png", RED)
    folder.names(line)
    assert folder.find().notes == {}


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe"])
def test_material_files_with_a_byte_order_mark(folder, mark: bytes) -> None:
    folder.names("skin.png")
    folder.write("skin.png", RED)
    text = "newmtl texture\nmap_Kd skin.png\n"
    folder.write("0000.mtl", mark + text.encode("utf-8" if len(mark) == 3 else "utf-16-le"))
    assert folder.find().notes == {}


def test_several_material_files_on_one_line(folder, wide_sheet) -> None:
    lines = obj_bytes(wide_sheet, material_file="a.mtl gone.mtl b.MTL", material="one").decode().splitlines()
    lines.insert(len(lines) - 20, "usemtl two")
    folder.write("0000.obj", "\n".join(lines) + "\n")
    folder.write("a.mtl", "newmtl one\nmap_Kd skin.png\n")
    folder.write("b.mtl", "newmtl two\nmap_Kd SKIN.png\n")
    folder.write("skin.png", RED)
    found = folder.find()
    assert list(found.notes) == ["texture-missing"] and "gone.mtl" in found.notes["texture-missing"]
    assert found.pixels.shape == (8, 8, 3)  # one file is one image, whatever its names


# ------------------------------------------------------------------------------------------------ named by none


def test_a_lone_image_stands_in_for_one_that_is_absent(folder) -> None:
    folder.names("gone.png")
    folder.write("photo.png", RED)
    found = folder.find()
    assert list(found.notes) == ["texture-beside"]
    assert "'gone.png' is not on the disk: 'photo.png' is the only image" in found.notes["texture-beside"]
    assert (found.colors() == [255, 0, 0]).all()


def test_an_image_with_the_meshs_own_name_stands_in_with_a_note(folder) -> None:
    folder.names("gone.png")
    folder.write("0000.png", RED)
    found = folder.find()
    assert "'gone.png' is not on the disk: '0000.png' has the mesh's name" in found.notes["texture-beside"]
    assert (found.colors() == [255, 0, 0]).all()


def test_a_lone_image_is_taken_where_none_is_named(folder, wide_sheet) -> None:
    for data, name in ((obj_bytes(wide_sheet), "0000.obj"), (ply_bytes(wide_sheet), "0000.ply")):
        folder.write(name, data)
        folder.write("photo.png", RED)
        assert list(folder.find(name).notes) == ["texture-beside"]


def _ply_with_labels(mesh: Mesh) -> str:
    """Texture coordinates per corner, and a colour for every face, no two alike in turn."""
    head = "".join(f"property float {axis}\n" for axis in "xyz")
    lists = "property list uchar int vertex_indices\nproperty list uchar float texcoord\n"
    colors = "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    text = f"ply\nformat ascii 1.0\nelement vertex {len(mesh.vertices)}\n{head}"
    text += f"element face {len(mesh.faces)}\n{lists}{colors}end_header\n"
    rows = [" ".join(map(str, place)) for place in mesh.vertices]
    for k, (face, uv) in enumerate(zip(mesh.faces, mesh.uv[mesh.uv_faces], strict=True)):
        label = (0, 255, 0) if k % 2 else (255, 255, 0)
        rows.append(" ".join(map(str, (3, *face, 6, *uv.ravel(), *label))))
    return text + "\n".join(rows) + "\n"


def test_colours_of_faces_keep_no_image_away(folder, wide_sheet) -> None:
    folder.write("0000.ply", _ply_with_labels(wide_sheet))
    alone = folder.find("0000.ply")
    assert alone.pixels is None and not alone.notes and alone.mesh.colors is not None
    folder.write("color.png", RED)
    found = folder.find("0000.ply")
    assert list(found.notes) == ["texture-beside"] and (found.colors() == [255, 0, 0]).all()
    assert found.mesh.colors is None


def test_an_image_with_the_meshs_own_name_is_taken_before_others(folder, wide_sheet) -> None:
    folder.write("0000.obj", obj_bytes(wide_sheet))
    folder.write("0000.PNG", RED)
    folder.write("photo.png", BLUE)
    found = folder.find()
    assert not found.notes  # as programs write them
    assert (found.colors() == [255, 0, 0]).all()


def test_two_with_the_meshs_own_name_are_none(folder, wide_sheet) -> None:
    folder.write("0000.obj", obj_bytes(wide_sheet))
    folder.write("0000.png", RED)
    folder.write("0000.bmp", BLUE)
    found = folder.find()
    assert list(found.notes) == ["texture-ambiguous"] and found.pixels is None


@pytest.mark.parametrize("other", ["0001.png", "0001_skin.png", "skin_normal.png"])
def test_the_image_of_another_mesh_or_of_no_colours_is_not_taken(folder, other: str) -> None:
    folder.names("gone.png")
    folder.write("0001.obj", "")
    folder.write(other, RED)
    found = folder.find()
    assert list(found.notes) == ["texture-missing"] and found.pixels is None


@pytest.mark.parametrize(
    ("image", "taken"), [("tex_0002.png", False), ("tex_0001.png", True), ("texture.png", True)]
)
def test_the_image_of_another_frame_is_not_taken(folder, image: str, taken: bool) -> None:
    folder.names("gone.png")
    folder.write("scan_0001.obj", (folder.path / "0000.obj").read_bytes())
    (folder.path / "0000.obj").unlink()
    folder.write("scan_0002.obj", "")
    folder.write(image, RED)
    found = folder.find("scan_0001.obj")
    assert list(found.notes) == ["texture-beside" if taken else "texture-missing"]
    assert (found.pixels is not None) is taken


def test_an_image_in_a_folder_below_is_taken_with_a_note(folder) -> None:
    folder.names("0000.png")
    record = folder.find().sources
    folder.write("tex/0000.png", RED)
    assert not unchanged(folder.root, record.digests, record.stats_json())
    folder.write("tex/0001.png", BLUE)
    found = folder.find()
    assert found.notes == {
        "texture-relocated": "The image '0000.png' was taken from another folder: 'S1/smile/tex/0000.png'."
    }
    assert (found.colors() == [255, 0, 0]).all()
    folder.write("old/0000.png", BLUE)
    found = folder.find()
    assert list(found.notes) == ["texture-ambiguous"] and found.pixels is None
    assert "'S1/smile/old/0000.png', 'S1/smile/tex/0000.png'" in found.notes["texture-ambiguous"]


def test_an_image_that_may_be_anothers_is_named_and_not_taken(folder) -> None:
    folder.names("0000.png")
    folder.write("../neutral/0000.obj", "")
    folder.write("../neutral/0000.png", BLUE)
    found = folder.find()
    assert list(found.notes) == ["texture-missing"] and found.pixels is None
    assert "perhaps another mesh's: 'S1/neutral/0000.png'" in found.notes["texture-missing"]


def test_one_of_several_images_is_not_taken(folder) -> None:
    folder.names("gone.png")
    folder.write("a.png", RED)
    folder.write("b.png", BLUE)
    assert list(folder.find().notes) == ["texture-missing"]


def test_materials_with_several_images_and_none_in_use(folder) -> None:
    folder.names("a.png")
    folder.write("0000.mtl", "newmtl x\nmap_Kd a.png\nnewmtl y\nmap_Kd b.png\n")
    folder.write("a.png", RED)
    folder.write("b.png", BLUE)
    assert list(folder.find().notes) == ["texture-ambiguous"]


def test_an_image_that_comes_later_is_noticed(folder) -> None:
    folder.names("TEX_A.JPG")
    found = folder.find()
    record = found.sources.digests, found.sources.stats_json()
    assert list(found.notes) == ["texture-missing"]
    assert unchanged(folder.root, *record)
    folder.write("notes.txt", "")
    assert unchanged(folder.root, *record)
    folder.write("tex_a.jpg", RED)
    assert not unchanged(folder.root, *record)


def test_a_second_match_that_comes_later_is_noticed(folder) -> None:
    folder.names("SKIN.png")
    folder.write("skin.png", RED)
    found = folder.find()
    record = found.sources.digests, found.sources.stats_json()
    assert unchanged(folder.root, *record)
    folder.write("Skin.png", RED)
    assert not unchanged(folder.root, *record)


# ------------------------------------------------------------------------------------------------ hostile names


@pytest.mark.parametrize(
    "written",
    [
        b"a\0b.png",
        b"x" * 100_000 + b".png",
        b"x" * 300 + b".png",
        b"a/" * 1500 + b"b.png",
        b"CON",
        b"NUL.png",
        b"..",
        b"../..",
        b".",
        b"/",
        b"\\",
        b"C:",
        b"[[[*?].png",
        b"<UDIM>",
        b"<UDIM><UDIM><UVTILE>",
        b"\xff\xfe\xfd",
        b"%00%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret.png",
        b"%2e%2e/%2e%2e/%2e%2e/secret.png",
    ],
)
def test_hostile_names_find_nothing_and_cost_the_texture_alone(folder, written: bytes) -> None:
    folder.names(written)
    (folder.root.parent / "secret.png").write_bytes(b"secret")
    found = folder.find()
    assert found.pixels is None
    assert len(found.mesh.faces) == 128
    assert found.notes
    for sentence in found.notes.values():
        assert len(sentence) < 300
        assert sentence.encode().decode().isprintable()
    assert unchanged(folder.root, found.sources.digests, found.sources.stats_json())


def test_what_is_no_regular_file_is_not_opened(folder) -> None:
    folder.names("skin.png")
    (folder.path / "skin.png").mkdir()
    assert list(folder.find().notes) == ["texture-missing"]
    (folder.path / "skin.png").rmdir()
    os.mkfifo(folder.path / "skin.png")
    assert list(folder.find().notes) == ["texture-missing"]
    (folder.path / "skin.png").unlink()
    (folder.path / "skin.png").symlink_to("/dev/zero")
    assert list(folder.find().notes) == ["texture-outside"]


def test_a_material_file_that_is_none_costs_the_texture_alone(folder) -> None:
    for data in (b"\0" * 100, b"#" * (5 << 20), b"\x89PNG\r\n\x1a\n\0\0"):
        folder.names("skin.png")
        folder.write("0000.mtl", data)
        assert list(folder.find().notes) == ["texture-unreadable"]


def test_a_buffer_beside_a_gltf_file_is_confined(folder) -> None:
    folder.write("Scene.bin", b"data")
    (folder.root.parent / "secret.bin").write_bytes(b"secret")
    names = References(folder.path / "0000.gltf", Sources(folder.root))
    assert names.content("scene.bin") == b"data"
    for name, reason in (("../../../secret.bin", "unsafe-path"), ("gone.bin", "missing-part")):
        with pytest.raises(FrameRejected) as caught:
            names.content(name)
        assert caught.value.reason == reason


@pytest.mark.parametrize(("orientation", "noted"), [(6, ["texture-turned"]), (1, [])])
@pytest.mark.parametrize("ending", ["jpg", "tif", "png"])
def test_an_image_that_asks_to_be_turned_is_taken_as_it_is_and_that_is_said(
    folder, ending: str, orientation: int, noted: list[str]
) -> None:
    exif, target = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8, 0] = 255
    kind = {"jpg": "jpeg", "tif": "tiff", "png": "png"}[ending]
    Image.fromarray(pixels).save(target, kind, quality=95, exif=exif.tobytes())
    folder.names(f"skin.{ending}")
    folder.write(f"skin.{ending}", target.getvalue())
    found = folder.find()
    assert list(found.notes) == noted
    assert found.pixels is not None and found.pixels.shape == (8, 16, 3)
    assert found.pixels[:, :6, 0].min() > 200 and found.pixels[:, 10:, 0].max() < 50
