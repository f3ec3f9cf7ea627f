"""baking: what a texture is filled from."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.baking import TextureOptions, bake_source, open_source, rests_of_hair

N = 256
SKIN, HAIR = (200, 150, 120), (25, 18, 12)


def sheet(n: int = 50):
    """A square of 100 mm in z = 0, facing +z, and its coordinates in [0, 1]."""
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1))
    i = (np.arange(n * n) // n) * (n + 1) + np.arange(n * n) % n
    faces = np.concatenate([np.stack([i, i + 1, i + n + 2], 1), np.stack([i, i + n + 2, i + n + 1], 1)])
    uv = np.stack([x.ravel(), y.ravel()], 1)
    return np.c_[(uv - 0.5) * 100, np.zeros(len(uv))], faces.astype(np.int32), uv


def head():
    """A template whose face is the middle, the scan of it that ends at x = 35, and where hair may be."""
    vertices, faces, uv = sheet()
    corner = np.zeros((1, 3), np.int64)
    shape = Template(vertices, faces, uv, faces, ("a",), corner, np.array([[1.0, 0, 0]]), digest="fill-test")
    kept = faces[vertices[faces][..., 0].mean(axis=1) < 35]
    beyond = (np.abs(vertices[:, 0]) > 20).astype(float)
    return shape, Mesh(vertices, kept, uv, kept), beyond


def photograph(skin=SKIN, hair=HAIR, width=12):
    """Skin, and `width` columns of hair beside where the scan ends; all of it hair where `skin` is None."""
    image = np.full((N, N, 3), hair if skin is None else skin, np.uint8)
    end = round(0.85 * N)
    image[:, end - width : end + 4] = hair
    return image


def filled(image, beyond):
    """The texture's columns of which the scan shows nothing, and the texture."""
    shape, scan, _ = head()
    options = TextureOptions(N, mirror_fill=False)
    source = open_source(scan, image, options)
    assert source is not None
    baked = bake_source(source, shape.vertices, shape, options, beyond=beyond)
    return baked.texture[baked.coverage == 0].astype(int), baked


def test_strands_beside_hair_are_not_spread_over_what_nobody_saw():
    _, _, beyond = head()
    spread, before = filled(photograph(), None)
    clean, after = filled(photograph(), beyond)
    assert spread.mean(axis=0)[0] < SKIN[0] - 60  # what it is for
    np.testing.assert_allclose(clean.mean(axis=0), SKIN, atol=4)
    # what was seen stays as it was, the strands as well
    seen = before.coverage > 0
    np.testing.assert_array_equal(after.coverage, before.coverage)
    np.testing.assert_array_equal(after.texture[seen], before.texture[seen])


@pytest.mark.parametrize(
    "image",
    [photograph(hair=(150, 110, 90)), photograph(skin=(60, 42, 30), hair=(50, 33, 24))],
    ids=["a shadow", "dark skin"],
)
def test_what_is_hardly_darker_than_the_face_fills(image):
    _, _, beyond = head()
    first, _ = filled(image, None)
    second, _ = filled(image, beyond)
    np.testing.assert_array_equal(first, second)


def test_without_a_face_or_without_anything_else_all_fills():
    shape, _, beyond = head()
    everywhere = np.ones(len(shape.vertices))
    first, _ = filled(photograph(), None)
    second, _ = filled(photograph(), everywhere)
    np.testing.assert_array_equal(first, second)
    picture, known = np.zeros((N, N, 3), np.uint8), np.ones((N, N), bool)
    picture[: N // 2] = SKIN
    lower = np.zeros((N, N), bool)
    lower[N // 2 :] = True
    assert rests_of_hair(picture, known, lower)[N // 2 + 8 :].all()
    assert not rests_of_hair(picture, known, lower)[: N // 2].any()
    assert not rests_of_hair(picture, ~known, lower).any()


def test_a_single_dark_hair_is_no_strand():
    picture, known = np.full((N, N, 3), SKIN, np.uint8), np.ones((N, N), bool)
    picture[:, 200] = HAIR
    beyond = np.zeros((N, N), bool)
    beyond[:, 128:] = True
    assert not rests_of_hair(picture, known, beyond).any()


def test_what_the_other_side_lends_is_filled_from_too():
    """A cheek that is filled from the other one goes on above it, where neither side was seen."""
    shape, _, _ = head()
    vertices, faces, uv = sheet()
    x, y = vertices[faces].mean(axis=1)[:, 0], vertices[faces].mean(axis=1)[:, 1]
    seen = (x < 20) & ~((x < -20) & (y > 20))
    scan = Mesh(vertices, faces[seen], uv, faces[seen])
    cheek = (120, 60, 160)
    image = np.full((N, N, 3), SKIN, np.uint8)
    image[:, : round(0.3 * N)] = cheek
    options = TextureOptions(N, mirror_fill=True)
    source = open_source(scan, image, options)
    assert source is not None
    baked = bake_source(source, shape.vertices, shape, options)
    assert not baked.coverage[:, round(0.75 * N) :].any()
    lent = baked.texture[round(0.4 * N) :, round(0.75 * N) :].reshape(-1, 3)
    np.testing.assert_allclose(lent.mean(axis=0), cheek, atol=3)
    # what is seen is its own mirror image, so all of it has to be
    np.testing.assert_allclose(baked.texture.astype(int), baked.texture[:, ::-1], atol=4)
