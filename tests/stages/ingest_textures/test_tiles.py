"""Tiled and several images become one that fits; what is too large says how to let it in."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mimicme.pipeline.formats import image
from mimicme.pipeline.numerics import memory
from mimicme.stages.ingest.texture_atlas import joined_places

RED, BLUE = (np.full((8, 8, 3), color, np.uint8) for color in ([255, 0, 0], [0, 0, 255]))


def in_second(folder) -> np.ndarray:
    """(t,) which triangles of the wide sheet lie in the second tile."""
    mesh = folder.find().mesh
    return mesh.vertices[mesh.faces].mean(axis=1)[:, 0] > 0.5


@pytest.mark.parametrize(
    ("written", "one", "two"),
    [
        ("head.<UDIM>.png", "head.1001.png", "head.1002.png"),
        ("HEAD.<udim>.PNG", "head.1001.png", "head.1002.png"),
        ("C:\\out\\head.<UDIM>.png", "head.1001.png", "head.1002.png"),
        ("tiles/head.<UDIM>.png", "tiles/head.1001.png", "tiles/head.1002.png"),
        ("head.%(UDIM)d.png", "head.1001.png", "head.1002.png"),
        ("head_<UVTILE>.png", "head_u1_v1.png", "head_u2_v1.png"),
        ("head_<UVTILE>.png", "head_u0_v0.png", "head_u1_v0.png"),
        ("head_u1_v1.png", "head_u1_v1.png", "head_u2_v1.png"),
        ("head.1001.png", "head.1001.png", "head.1002.png"),
    ],
)
def test_tiles_are_joined(folder, wide_sheet, written: str, one: str, two: str) -> None:
    folder.names(written, wide_sheet)
    folder.write(one, RED)
    folder.write(two, BLUE)
    found = folder.find()
    assert list(found.notes) == ["textures-joined"]
    assert found.mesh.uv.min() >= 0 and found.mesh.uv.max() <= 1
    second = in_second(folder)
    assert (found.colors()[second] == [0, 0, 255]).all()
    assert (found.colors()[~second] == [255, 0, 0]).all()


def test_a_tile_that_is_absent_is_noted_and_its_triangles_have_no_colour(folder, wide_sheet) -> None:
    folder.names("head.<UDIM>.png", wide_sheet)
    folder.write("head.1001.png", RED)
    found = folder.find()
    assert "column 2, row 1" in found.notes["texture-missing"]
    bare = np.isnan(found.mesh.uv[found.mesh.uv_faces]).any(axis=(1, 2))
    assert (bare == in_second(folder)).all()


@pytest.mark.parametrize("other", ["head.1003.png", "head_1002.png", "head.1002.jpg"])
def test_a_number_in_a_name_without_tiles_is_a_repeated_image(folder, wide_sheet, other: str) -> None:
    folder.names("head.1001.png", wide_sheet)
    folder.write("head.1001.png", RED)
    folder.write(other, BLUE)
    found = folder.find()
    assert found.notes == {} and (found.colors() == [255, 0, 0]).all()


def test_the_number_of_a_frame_is_no_tile(folder, wide_sheet) -> None:
    folder.names("head.1001.png", wide_sheet)
    (folder.path / "0000.obj").rename(folder.path / "head.1001.obj")
    folder.write("head.1001.png", RED)
    folder.write("head.1002.png", BLUE)
    assert folder.find("head.1001.obj").notes == {}


@pytest.mark.filterwarnings("error")
def test_an_image_that_is_too_large_says_how_to_let_it_in(folder) -> None:
    folder.names("skin.png")
    folder.write("skin.png", np.tile(RED[:1, :1], (120, 100, 1)))
    said = folder.find(max_pixels=11_999).notes["texture-unreadable"]
    assert "100 x 120 = 12,000 pixels" in said and "`--set ingest.max_pixels=12000`" in said and "GB" in said
    assert folder.find(max_pixels=12_000).notes == {}


def test_joined_images_count_together(folder, wide_sheet) -> None:
    folder.names("head.<UDIM>.png", wide_sheet)
    folder.write("head.1001.png", RED)
    folder.write("head.1002.png", np.concatenate([BLUE, BLUE]))
    found = folder.find(max_pixels=255)
    said = found.notes["texture-unreadable"]
    assert "2 images, joined 16 x 16 = 256 pixels" in said and "ingest.max_pixels=256" in said
    assert found.pixels is None and found.mesh.uv.max() <= 1
    assert list(folder.find(max_pixels=256).notes) == ["textures-joined"]


def test_an_image_that_the_memory_cannot_hold_costs_the_texture_alone(
    folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.names("skin.png")
    folder.write("skin.png", RED)

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(image, "decode", full)
    found = folder.find()
    assert "too little memory" in found.notes["texture-unreadable"]
    assert found.pixels is None and len(found.mesh.faces) == 128
    monkeypatch.setattr(
        memory, "has_room", lambda size: False
    )  # then it is not the image: nothing is made of it
    with pytest.raises(MemoryError):
        folder.find()


def test_joined_images_lie_in_rows_where_one_would_be_too_wide() -> None:
    assert joined_places([(3, 2), (4, 5)]) == ([(0, 0), (3, 0)], (7, 5))
    many = [(8192, 8192)] * 9 + [(4096, 2048)] * 3
    places, (width, height) = joined_places(many)
    assert max(width, height) <= image.MAX_SIDE
    taken = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(places, many, strict=True)]
    for k, a in enumerate(taken):
        assert a[2] <= width and a[3] <= height
        assert all(a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1] for b in taken[:k])


def test_a_part_of_an_image_that_the_material_file_names(folder) -> None:
    """`-s` and `-o` before the name, as Blender writes them: here the right half, and twice the whole."""
    folder.write("skin.png", np.concatenate([RED, BLUE], axis=1))
    folder.names("-o 0.5 0 0 -s 0.5 1 1 skin.png")
    found = folder.find()
    assert (found.colors() == [0, 0, 255]).all() and not found.notes
    assert found.mesh.uv[found.mesh.uv_faces][..., 0].min() == 0.5
    folder.names("-s 2 1 1 skin.png")
    middle = found.mesh.vertices[found.mesh.faces].mean(axis=1)[:, 0]
    red = (folder.find().colors() == [255, 0, 0]).all(axis=1)
    np.testing.assert_array_equal(red, (2 * middle) % 1 < 0.5)


def rgba(pixels: np.ndarray, opaque: np.ndarray, mode: str = "RGBA", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.dstack([pixels, opaque])).convert(mode).save(file, "png", **options)
    return file.getvalue()


def test_what_is_transparent_has_no_colour(folder) -> None:
    """Programs leave what no camera saw black and transparent."""
    pixels = np.concatenate([RED] * 4, axis=1)
    opaque = np.full(pixels.shape[:2], 255, np.uint8)
    opaque[:, :8] = 0
    pixels[:, :8] = 0
    folder.names("skin.png")
    folder.write("skin.png", rgba(pixels, opaque))
    found = folder.find()
    assert list(found.notes) == ["texture-transparent"] and "38%" in found.notes["texture-transparent"]
    corners = found.mesh.uv[found.mesh.uv_faces]
    bare = np.isnan(corners).any(axis=(1, 2))
    places = found.mesh.vertices[found.mesh.faces][..., 0]
    assert bare[places.mean(axis=1) < 0.25].all()
    # the next column of triangles begins beside it, and would mix in the black
    np.testing.assert_array_equal(bare, places.min(axis=1) <= 0.25)
    np.testing.assert_allclose(corners[~bare], found.mesh.vertices[found.mesh.faces[~bare]][..., :2])


@pytest.mark.parametrize("kind", ["opaque", "nothing", "gloss", "no channel"])
def test_a_channel_that_is_no_mask_takes_no_colour(folder, kind) -> None:
    pixels = np.concatenate([RED] * 4, axis=1)
    opaque = np.full(pixels.shape[:2], 0 if kind == "nothing" else 255, np.uint8)
    if kind == "gloss":
        opaque[:] = np.linspace(0, 255, opaque.shape[1])
    folder.names("skin.png")
    folder.write("skin.png", rgba(pixels, opaque, "RGB" if kind == "no channel" else "RGBA"))
    found = folder.find()
    assert not found.notes and np.isfinite(found.mesh.uv).all()
    assert (found.colors() == [255, 0, 0]).all()


def test_transparency_of_one_of_several_images(folder, wide_sheet) -> None:
    """Of a palette, and in the second of two tiles."""
    folder.names("head.<UDIM>.png", wide_sheet)
    folder.write("head.1001.png", RED)
    pixels = np.concatenate([BLUE, BLUE, BLUE, 0 * BLUE], axis=0)
    file = io.BytesIO()
    palette = Image.fromarray(pixels).quantize(2)
    black = palette.getpixel((0, 31))
    palette.save(file, "png", transparency=black)
    folder.write("head.1002.png", file.getvalue())
    found = folder.find()
    assert set(found.notes) == {"texture-transparent", "textures-joined"}
    middle = found.mesh.vertices[found.mesh.faces].mean(axis=1)
    bare = np.isnan(found.mesh.uv[found.mesh.uv_faces]).any(axis=(1, 2))
    assert bare[(middle[:, 0] > 0.5) & (middle[:, 1] < 0.25)].all()
    assert not bare[(middle[:, 0] < 0.5) | (middle[:, 1] > 0.4)].any()
