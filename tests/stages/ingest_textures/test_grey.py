"""A texture without colours is used, and said: what goes by hue tells nothing there."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mimicme.pipeline.formats.meshio import obj_bytes
from mimicme.stages.ingest.texture_atlas import LEAST_COLOUR

SIDE = 64
SKIN = np.array([198.0, 170.0, 158.0])  # pale, under white light


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def photograph(rng: np.random.Generator) -> np.ndarray:
    """(SIDE, SIDE, 3) uneven skin."""
    light = rng.uniform(0.5, 1.1, size=(SIDE, SIDE, 1))
    return np.clip(light * SKIN, 0, 255).astype(np.uint8)


def grey_of(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(Image.fromarray(pixels).convert("L"))[..., None], 3, axis=2)


def file_of(pixels: np.ndarray, mode: str, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(("mode", "kind"), [("L", "png"), ("L", "jpeg"), ("RGB", "jpeg"), ("P", "png")])
def test_a_grey_image_is_noted_and_used(folder, rng, mode: str, kind: str) -> None:
    folder.names(f"skin.{kind}")
    pixels = photograph(rng)
    folder.write(f"skin.{kind}", file_of(grey_of(pixels), mode, kind))
    found = folder.find()
    assert list(found.notes) == ["texture-grey"] and "by shape alone" in found.notes["texture-grey"]
    assert found.pixels is not None
    folder.write(f"skin.{kind}", file_of(pixels, "RGB" if mode == "L" else mode, kind))
    assert not folder.find().notes


def test_a_slight_tint_is_no_colour(folder, rng) -> None:
    folder.names("skin.png")
    tinted = np.minimum(grey_of(photograph(rng)), 240)
    tinted[..., 0] += LEAST_COLOUR - 1
    folder.write("skin.png", tinted)
    assert list(folder.find().notes) == ["texture-grey"]


@pytest.mark.parametrize("grey_face", [False, True])
def test_what_the_mesh_shows_decides_not_what_lies_around_it(
    folder, rng, wide_sheet, grey_face: bool
) -> None:
    """A face that fills a sixteenth of its image."""
    pixels = np.concatenate([np.concatenate([photograph(rng)] * 4, axis=1)] * 4, axis=0)
    grey = grey_of(pixels)
    face, around = (grey, pixels) if grey_face else (pixels, grey)
    image = around.copy()
    image[-SIDE:, :SIDE] = face[-SIDE:, :SIDE]
    folder.names("skin.png", replace(wide_sheet, uv=wide_sheet.uv / [8.4, 4.2]))
    folder.write("skin.png", image)
    assert list(folder.find(max_pixels=image.size).notes) == (["texture-grey"] if grey_face else [])


def test_one_coloured_image_of_two_is_a_texture_with_colours(folder, rng, wide_sheet) -> None:
    folder.names("head.<UDIM>.png", wide_sheet)
    pixels = photograph(rng)
    folder.write("head.1001.png", grey_of(pixels))
    folder.write("head.1002.png", pixels)
    assert list(folder.find(max_pixels=10**6).notes) == ["textures-joined"]
    folder.write("head.1002.png", grey_of(pixels))
    assert set(folder.find(max_pixels=10**6).notes) == {"texture-grey", "textures-joined"}


@pytest.mark.parametrize("grey", [False, True])
def test_colours_of_vertices(folder, rng, wide_sheet, grey: bool) -> None:
    colors = photograph(rng).reshape(-1, 3)[: len(wide_sheet.vertices)]
    if grey:
        colors = grey_of(colors[None])[0]
    folder.write("0000.obj", obj_bytes(replace(wide_sheet, uv=None, uv_faces=None, colors=colors)))
    assert list(folder.find().notes) == (["texture-grey"] if grey else [])
