"""inpainting: the other side of the face gives its detail, and no border shows."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from mimicme.pipeline.texture.baking import FillSource, TextureOptions, _fill
from mimicme.pipeline.texture.inpainting import fill_from, fill_holes, fill_mirrored, mirror_error

SIZE = 128
HOLE = (slice(40, 70), slice(15, 50))


def symmetric(seed: int = 0):
    """A texture that is its own mirror image, with detail."""
    rng = np.random.default_rng(seed)
    grey = gaussian_filter(rng.normal(size=(SIZE, SIZE)), 2)
    grey = grey + grey[:, ::-1]
    return np.clip(120 + 200 * grey[..., None] * [1, 0.8, 0.6], 0, 255).astype(np.uint8)


def with_hole(texture):
    known = np.ones((SIZE, SIZE), bool)
    known[HOLE] = False
    spoiled = texture.copy()
    spoiled[HOLE] = 0
    return spoiled, known


def test_the_other_sides_detail_comes_back():
    truth = symmetric()
    mirrored, known = with_hole(truth)
    plain = mirrored.copy()
    fill_mirrored(mirrored, known)
    fill_holes(plain, known)
    errors = [np.abs(t.astype(int) - truth)[HOLE].mean() for t in (mirrored, plain)]
    assert errors[0] < 1.5
    assert errors[1] > 5 * errors[0]
    assert (mirrored[known] == truth[known]).all()


def test_another_brightness_of_the_other_side_is_taken_off():
    truth = symmetric().astype(float)
    light = np.linspace(-35, 35, SIZE)[None, :, None]
    lit = np.clip(truth + light, 0, 255).astype(np.uint8)
    mirrored, known = with_hole(lit)
    fill_mirrored(mirrored, known)
    inside = np.abs(mirrored.astype(int) - lit)[HOLE]
    assert inside.mean() < 4
    copied = np.abs(lit[:, ::-1].astype(int) - lit)[HOLE].mean()
    assert copied > 6 * inside.mean()


def test_what_shows_two_different_things_is_not_taken_for_light():
    texture, known = with_hole(np.full((SIZE, SIZE, 3), 90, np.uint8))
    other = np.full_like(texture, 80)
    eye = (slice(36, 40), slice(15, 50))  # an eye's white beside the hole, in one of the two
    texture[eye] = 230
    fill_from(texture, known, other, np.ones_like(known))
    assert np.abs(texture[HOLE].astype(int) - 90).max() <= 1


def test_what_neither_side_saw_is_filled_from_around():
    texture = np.full((SIZE, SIZE, 3), 90, np.uint8)
    known = np.ones((SIZE, SIZE), bool)
    known[50:80, 40:88] = False
    texture[~known] = 0
    fill_mirrored(texture, known)
    assert (texture == 90).all()
    nothing = np.zeros((8, 8, 3), np.uint8)
    fill_mirrored(nothing, np.zeros((8, 8), bool))
    assert (nothing == 0).all()


def test_the_mirror_error_is_nought_for_a_symmetric_layout_alone():
    x, y = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(0, 1, 5))
    vertices = np.stack([x.ravel() * 80, y.ravel() * 50, 0 * x.ravel()], 1)
    uv = np.stack([x.ravel() / 2 + 0.5, y.ravel()], 1)
    corner = np.arange(len(uv), dtype=np.int32).reshape(-1, 3)
    assert mirror_error(uv, vertices, corner, corner) < 1e-12
    assert mirror_error(uv * [0.8, 1], vertices, corner, corner) > 0.1
    turned = uv[:, ::-1]
    assert mirror_error(turned, vertices, corner, corner) > 0.1


def test_another_frames_detail_comes_back_in_this_frames_light():
    truth = symmetric(3)
    spoiled, known = with_hole(truth)
    other = np.clip(truth.astype(int) - 30, 0, 255).astype(np.uint8)
    there = np.ones_like(known)
    there[HOLE[0], 15:20] = False
    found = fill_from(spoiled, known, other, there)
    filled = np.zeros_like(known)
    filled[HOLE] = True
    filled[HOLE[0], 15:20] = False
    assert (found == (known | filled)).all()
    assert np.abs(spoiled.astype(int) - truth)[filled].mean() < 3
    assert (spoiled[known] == truth[known]).all()
    assert (spoiled[~found] == 0).all()


def test_what_the_other_frame_lacks_changes_nothing():
    spoiled, known = with_hole(symmetric(4))
    before = spoiled.copy()
    assert fill_from(spoiled, known, symmetric(5), known) is known
    assert (spoiled == before).all()


def test_a_gap_in_a_ramp_is_bridged_whatever_the_size():
    for height, width in ((67, 101), (1, 9), (64, 64)):
        ramp = np.rint(np.linspace(40, 200, width))[None, :, None] * np.ones((height, 1, 3))
        texture, known = ramp.astype(np.uint8), np.ones((height, width), bool)
        known[:, width // 2 - 2 : width // 2 + 2] = False
        texture[~known] = 0
        fill_holes(texture, known)
        assert np.abs(texture - ramp).max() < 0.35 * 160 * 4 / width + 8
        assert np.array_equal(texture[known], ramp.astype(np.uint8)[known])


def test_bands_of_rows_change_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    texture, known = rng.integers(0, 255, (70, 50, 3)).astype(np.uint8), rng.random((70, 50)) < 0.3
    whole, banded = texture.copy(), texture.copy()
    fill_holes(whole, known)
    monkeypatch.setattr("mimicme.pipeline.texture.inpainting.BAND", 50 * 8)
    fill_holes(banded, known)
    assert np.array_equal(whole, banded)


def test_what_the_fill_source_was_filled_with_itself_joins_on_without_a_border():
    """A frame sees more than its neutral, whose own fill drifted away; and an ear that nobody saw is the neutral's."""
    size = 64
    texture = np.full((size, size, 3), 150, np.uint8)
    known = np.zeros((size, size), bool)
    known[:, :40] = True
    texture[~known] = 0
    neutral = np.full((size, size, 3), 150, np.uint8)
    seen = np.zeros((size, size), np.uint8)
    seen[:, :20] = 255
    drift = np.linspace(0, 90, size - 20)[None, :, None]
    neutral[:, 20:] = (150 - drift).astype(np.uint8)
    neutral[::2, 50:] += 20  # its detail
    _fill(texture, known, TextureOptions(size), None, FillSource(neutral, seen))
    assert np.abs(texture[:, 40].astype(int) - texture[:, 39]).max() <= 10  # of 30 that they differ by
    detail = texture[::2, 56:].astype(int) - texture[1::2, 56:]
    np.testing.assert_allclose(detail, 20, atol=2)
