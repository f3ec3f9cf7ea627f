"""flow: shifts that are known come back, and what is no shift is not taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from mimicme.pipeline.texture.flow import flow, normalised

SIZE = 192
INNER = slice(24, -24)
FULL = np.full((SIZE, SIZE), 255, np.uint8)


def skin(seed: int = 0):
    """(SIZE, SIZE) grey blotches of several sizes, 60 to 200."""
    rng = np.random.default_rng(seed)
    total = sum(
        amount * gaussian_filter(rng.normal(size=(SIZE, SIZE)), sigma) * sigma
        for sigma, amount in ((1.5, 1), (4, 2), (10, 3))
    )
    return 60 + 140 * (total - total.min()) / np.ptp(total)


def rgb(grey):
    return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def moved(grey, shift):
    """The picture in which what lay at x lies at x + shift(x), for shifts (h, w, 2) that vary slowly."""
    row, column = np.mgrid[:SIZE, :SIZE].astype(float)
    for _ in range(5):  # the place y that x + shift(x) = y comes from
        back = [map_coordinates(shift[..., k], [row, column], order=1, mode="nearest") for k in range(2)]
        start = np.mgrid[:SIZE, :SIZE].astype(float)
        row, column = start[0] - back[1], start[1] - back[0]
    return map_coordinates(grey, [row, column], order=3, mode="reflect")


def between(one, other, cover=FULL, levels=4):
    return flow(normalised(rgb(one), FULL, 8, 3), normalised(rgb(other), cover, 8, 3), 4.0, levels)


def wave(amplitude: float):
    row, column = np.mgrid[:SIZE, :SIZE]
    return amplitude * np.stack([np.sin(row / 40), np.cos(column / 35)], axis=-1)


@pytest.mark.parametrize("amplitude", [0.3, 2.0, 6.0])
def test_a_smooth_shift_is_found_to_a_fraction_of_a_texel(amplitude):
    shift = wave(amplitude)
    found = between(skin(), moved(skin(), shift))
    error = np.linalg.norm(found.shift - shift, axis=-1)[INNER, INNER]
    assert np.median(error) < 0.08
    assert np.percentile(error, 95) < 0.35
    assert np.median(found.confidence[INNER, INNER]) > 0.4


def test_one_level_alone_does_not_see_a_long_way():
    shift = np.broadcast_to([9.0, 0.0], (SIZE, SIZE, 2))
    near, far = (between(skin(), moved(skin(), shift), levels=n) for n in (1, 4))
    error = [np.median(np.linalg.norm(f.shift - shift, axis=-1)[INNER, INNER]) for f in (near, far)]
    assert error[0] > 2
    assert error[1] < 0.1


def test_light_is_not_motion():
    row, column = np.mgrid[:SIZE, :SIZE] / SIZE
    lit = skin() * (0.55 + 0.6 * column) - 20 * row
    found = between(skin(), lit)
    assert np.percentile(np.linalg.norm(found.shift, axis=-1)[INNER, INNER], 95) < 0.15


def test_shade_that_stays_in_place_does_not_hold_skin_back():
    """A fold's shadow, below which the skin slides."""
    shift = np.broadcast_to([0.0, 2.5], (SIZE, SIZE, 2))
    row = np.mgrid[:SIZE, :SIZE][0].astype(float)
    shade = 1 - 0.3 * np.exp(-(((row - SIZE / 2) / 9) ** 2))
    one, other = skin() * shade, moved(skin(), shift) * shade
    below = slice(SIZE // 2 - 9, SIZE // 2 + 10)

    def lost(narrow):
        pair = (normalised(rgb(grey), FULL, 8, narrow) for grey in (one, other))
        return 2.5 - np.median(flow(*pair, 4.0, 3).shift[below, INNER, 1])

    assert lost(3) < 0.5
    assert lost(8) > 2 * lost(3)


def test_weak_grain_is_followed_through_noise():
    """What two pictures do not have in common makes steps too short: of three plain ones a quarter would be left."""
    rng = np.random.default_rng(3)
    shift = np.broadcast_to([1.2, 0.8], (SIZE, SIZE, 2))
    grain = 120 + 12 * gaussian_filter(rng.normal(size=(SIZE, SIZE)), 1.2) / 0.235
    one, other = (picture + rng.normal(scale=6, size=grain.shape) for picture in (grain, moved(grain, shift)))
    found = between(one, other, levels=1).shift[INNER, INNER].mean(axis=(0, 1))
    np.testing.assert_allclose(found, shift[0, 0], rtol=0.2)
    clean = between(grain, moved(grain, shift), levels=1).shift[INNER, INNER]
    assert np.linalg.norm(clean - shift[INNER, INNER], axis=-1).mean() < 0.15


def test_what_has_no_texture_is_not_believed():
    flat = np.full((SIZE, SIZE), 120.0)
    rng = np.random.default_rng(1)
    found = between(flat + rng.normal(size=flat.shape) * 0.7, flat + rng.normal(size=flat.shape) * 0.7)
    sure = between(skin(), skin())
    assert np.median(found.confidence) < 0.6 * np.median(sure.confidence)


def test_texels_without_data_take_no_part():
    shift = np.broadcast_to([2.0, -1.0], (SIZE, SIZE, 2))
    other = moved(skin(), shift)
    hole = (slice(70, 120), slice(80, 110))
    cover = FULL.copy()
    cover[hole] = 0
    spoiled = other.copy()
    spoiled[hole] = skin(5)[hole]
    found = between(skin(), spoiled, cover)
    error = np.linalg.norm(found.shift - shift, axis=-1)
    assert (found.confidence[75:110, 85:100] == 0).all()
    assert np.percentile(error[INNER, INNER][found.confidence[INNER, INNER] > 0], 95) < 0.3
    unmasked = between(skin(), spoiled)
    assert (
        np.linalg.norm(unmasked.shift - shift, axis=-1)[65:125, 75:115].mean()
        > 2 * error[65:125, 75:115][found.confidence[65:125, 75:115] > 0].mean()
    )


def test_a_foreign_object_is_not_believed():
    other = skin()
    other[60:130, 60:130] = skin(7)[60:130, 60:130]
    found = between(skin(), other)
    inside, outside = found.confidence[80:110, 80:110], found.confidence[140:165, 30:160]
    assert np.median(inside) < 0.5 * np.median(outside)


def test_the_normalised_texture_has_local_mean_nought_and_spread_one():
    made, dark = (normalised(rgb(grey), FULL, 8, 3) for grey in (skin(), skin() / 2))
    for radius, grey, darker in ((8, made.grey, dark.grey), (3, made.fine, dark.fine)):
        assert np.abs(gaussian_filter(grey, radius)[INNER, INNER]).mean() < 0.3
        assert 0.7 < grey[INNER, INNER].std() < 1.2
        assert np.corrcoef(darker[INNER, INNER].ravel(), grey[INNER, INNER].ravel())[0, 1] > 0.97
    assert np.abs(dark.grey - made.grey)[INNER, INNER].mean() < 0.1
