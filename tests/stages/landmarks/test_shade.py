"""Shade: what the surface's shape explains of brightness is taken out, and nothing else."""

import numpy as np

from mimicme.stages.landmarks.shade import BLACK, hue_of, unshaded

PER_MM, SIZE = 2.0, (120, 160)
Y, X = (np.mgrid[: SIZE[0], : SIZE[1]] + 0.5 - np.array(SIZE)[:, None, None] / 2) / PER_MM
DOME = (-0.012 * (X**2 + 0.6 * Y**2)).astype(np.float32)
ALL = np.ones(SIZE, bool)


def lit(depth, albedo=150.0):
    """(h, w, 3) a matt surface under one distant light and an even one; `BLACK` is no part of it."""
    down, right = (slope * PER_MM for slope in np.gradient(depth.astype(float)))
    facing = 1 / np.sqrt(1 + down**2 + right**2)
    light = 0.5 + 0.5 * (0.3 * -right * facing - 0.2 * down * facing + 0.93 * facing)
    return np.repeat((albedo * light)[..., None], 3, axis=2).astype(np.float32)


def test_a_lit_dome_becomes_even():
    picture = lit(DOME)
    inside = np.s_[8:-8, 8:-8]
    assert np.log(picture.mean(axis=2) + BLACK)[inside].std() > 0.05
    assert unshaded(picture, DOME, ALL, PER_MM)[inside].std() < 0.01


def test_paint_stays():
    paint = np.abs(Y) < 3
    left = unshaded(lit(DOME, np.where(paint, 60.0, 150.0)), DOME, ALL, PER_MM)
    wanted = np.log((60 + BLACK) / (150 + BLACK))
    assert abs(np.median(left[paint]) - wanted) < 0.06
    assert abs(np.median(left[~paint])) < 0.02


def test_what_lies_deep_may_be_dark():
    """Valleys all over, each as dark as it is deep: none is left, nor is the one that is twice as deep."""
    valleys = np.minimum(np.sin(X / 4), 0) * 1.5 * np.where(X > 20, 2.0, 1.0)
    depth = valleys.astype(np.float32)
    dark = 150.0 * np.exp(0.1 * valleys)
    left = unshaded(lit(depth, dark), depth, ALL, PER_MM)[8:-8, 8:-8]
    before = np.log(lit(depth, dark).mean(axis=2) + BLACK)[8:-8, 8:-8]
    deepest = valleys[8:-8, 8:-8] < -2.5
    assert np.median(before) - before[deepest].mean() > 0.2
    assert abs(left[deepest].mean()) < 0.06


def test_a_brighter_light_changes_nothing():
    depth = DOME
    one, two = (unshaded(k * lit(depth), depth, ALL, PER_MM) for k in (1.0, 1.6))
    assert np.abs(one - two)[8:-8, 8:-8].max() < 0.01


def test_where_little_skin_is_seen_brightness_stays():
    picture = lit(DOME)
    few = np.zeros(SIZE, bool)
    few[50:55, 50:60] = True
    left = unshaded(picture, DOME, few, PER_MM)
    np.testing.assert_allclose(np.ptp(left), np.ptp(np.log(picture.mean(axis=2) + BLACK)), atol=1e-5)
    assert np.isfinite(unshaded(picture, np.full(SIZE, np.nan, np.float32), ALL, PER_MM)).all()


def test_shade_leaves_hue_as_it_is():
    skin = np.array([200.0, 140.0, 110.0])
    light = np.linspace(0.2, 1.0, 50)[:, None, None]
    hue = hue_of((skin * light).astype(np.float32))
    np.testing.assert_allclose(hue[:, 0], np.log([[200 / 140, 140 / 110]] * 50), atol=0.03)
    assert hue_of(np.zeros((2, 2, 3), np.float32)).max() == 0.0  # black has none
