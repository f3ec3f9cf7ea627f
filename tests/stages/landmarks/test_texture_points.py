"""Points given in the scan's texture: a pixel that shows one place of the scan is that place."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.formats.image import decode
from mimicme.pipeline.formats.meshio import read_mesh
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import IBUG68, MIRROR
from mimicme.stages.landmarks.texture_points import lift, on_texture

SIZE = (50, 100)  # height, width
NOWHERE = np.full((68, 3), np.nan)  # a template that fits nothing better than anything else
QUADS = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def square(x, z=0.0, uv_from=0.0, uv_to=1.0):
    """A square of 10 mm at x, and where its texture lies along u."""
    vertices = np.array([[x, 0, z], [x + 10, 0, z], [x + 10, 10, z], [x, 10, z]], float)
    return vertices, np.array([[uv_from, 0], [uv_to, 0], [uv_to, 1], [uv_from, 1]], float)


def scan(*squares):
    vertices, uv = (np.concatenate(parts) for parts in zip(*squares, strict=True))
    faces = np.concatenate([QUADS + 4 * k for k in range(len(squares))]).astype(np.int32)
    return Mesh(vertices, faces, uv, faces)


def test_pixels_are_places():
    pixels = np.array([[-0.5, 49.5], [99.5, 49.5], [99.5, -0.5], [49.5, 24.5], [24.5, 37.0]])
    expected = [[0, 0, 0], [10, 0, 0], [10, 10, 0], [5, 5, 0], [2.5, 2.5, 0]]  # v is up, y is down
    np.testing.assert_allclose(lift(pixels, scan(square(0)), SIZE), expected, atol=1e-9)


def test_a_pixel_of_nothing_or_of_two_places_is_no_place():
    half = scan(square(0, uv_to=0.5))
    found = lift(np.array([[24.5, 24.5], [74.5, 24.5], [np.nan, np.nan]]), half, SIZE)
    np.testing.assert_allclose(found[0], [5, 5, 0], atol=1e-9)
    assert np.isnan(found[1:]).all()
    for apart, known in ((0.5, True), (4.0, False)):  # one behind the other, in the same pixels
        two = scan(square(0), square(0, z=apart))
        assert np.isfinite(lift(np.array([[30.0, 20.0]]), two, SIZE)).all() == known
    flat = Mesh(
        half.vertices, half.faces, np.zeros((4, 2)), half.faces
    )  # without an area, or without a texture
    assert np.isnan(lift(np.array([[-0.5, 49.5]]), flat, SIZE)).all()
    rim = lift(np.array([[49.5 + 2, 24.5], [49.5 + 50, 24.5]]), half, SIZE)  # 0.2 mm a pixel
    np.testing.assert_allclose(rim[0], [10, 5, 0], atol=1e-5)
    assert np.isnan(rim[1]).all()
    giant = lift(np.array([[1e38, 0.0], [0.0, -1e300], [49.5 + 2, 24.5]]), half, SIZE)
    np.testing.assert_allclose(giant, [[np.nan] * 3, [np.nan] * 3, [10, 5, 0]], atol=1e-5)
    line = Mesh(half.vertices * [1, 0, 0], half.faces, half.uv, half.faces)
    assert np.isnan(lift(np.array([[49.5 + 2, 24.5]]), line, SIZE)).all()
    bare = Mesh(half.vertices, half.faces, np.full((4, 2), np.nan), half.faces)
    assert np.isnan(lift(np.array([[24.5, 24.5]]), bare, SIZE)).all()


def test_what_has_no_place_is_named_and_most_have_to_have_one():
    pixels = np.stack([np.linspace(0, 40, 68), np.full(68, 20.0)], 1)
    pixels[[3, 40], 0] = 90
    points, lost = on_texture(pixels, scan(square(0, uv_to=0.5)), SIZE, False, NOWHERE)
    assert lost == [IBUG68[3], IBUG68[40]]
    assert np.flatnonzero(np.isnan(points[:, 0])).tolist() == [3, 40]
    with pytest.raises(FrameRejected, match=r"68 of 68.*100 x 50") as error:
        on_texture(pixels + [60, 0], scan(square(0, uv_to=0.5)), SIZE, False, NOWHERE)
    assert error.value.reason == "landmarks-off-scan"
    for size, joined, seen in ((None, False, "no texture"), (SIZE, True, "several images")):
        with pytest.raises(FrameRejected, match=seen) as error:
            on_texture(pixels, scan(square(0)), size, joined, NOWHERE)
        assert error.value.reason == "landmark-scheme"
        assert "one image" in error.value.todo


@pytest.fixture(scope="module")
def person(small_captures, small_face):
    """A scan of a synthetic person, its texture's size, pixels (68, 2) of the true landmarks, and the template's."""
    folder = small_captures / "captures" / "S000" / "neutral"
    mesh = read_mesh((folder / "0000.obj").read_bytes(), "0000.obj").mesh
    size = decode((folder / "0000.jpg").read_bytes()).shape[:2]
    with np.load(small_captures / "truth" / "S000" / "neutral.npz") as truth:
        near = Surface(mesh.vertices, mesh.faces).closest(truth["landmarks"][0].astype(float))
    uv = np.einsum("kc,kcx->kx", near.weights, mesh.uv[mesh.uv_faces[near.triangles]])
    return mesh, size, uv * [size[1], -size[0]] + [-0.5, size[0] - 0.5], small_face.landmarks()


def test_other_axes_of_pixels_are_named(person):
    scan, (height, width), pixels, marks = person
    right, down = width - 1, height - 1
    x, y = pixels.T
    on_texture(pixels, scan, (height, width), False, marks)
    ways = {
        f"x and {down} - y": (x, down - y),
        f"{right} - x and y": (right - x, y),
        f"{right} - x and {down} - y": (right - x, down - y),
        "y and x": (y, x),
        f"{right} - y and x": (y, right - x),
        f"y and {down} - x": (down - y, x),
        f"{right} - y and {down} - x": (down - y, right - x),
    }
    for recipe, written in ways.items():
        with pytest.raises(FrameRejected) as error:
            on_texture(np.stack(written, axis=1), scan, (height, width), False, marks)
        assert error.value.reason == "landmarks-displaced"
        assert error.value.todo == f"Write {recipe} for every x and y."
        lost = "y" in recipe.split(" and ")[0]  # a wide image on its side
        assert ("no place on the scan as they are" in error.value.seen) == lost
        assert "inf" not in error.value.seen


def test_left_and_right_exchanged_is_no_matter_of_axes(person):
    scan, size, pixels, marks = person
    points, _ = on_texture(pixels[MIRROR], scan, size, False, marks)
    assert np.isfinite(points[17:]).all()
