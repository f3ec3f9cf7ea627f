"""The opening of a mouth: lips apart before teeth, a hole or a tongue, as a detector draws them, half as far."""

import numpy as np
import pytest

from mimicme.stages.landmarks.opening import (
    APART,
    BEHIND_MM,
    LOWER_INNER,
    LOWER_OUTER,
    OPEN_MM,
    PIXELS_PER_MM,
    distance_from,
    lowered,
    opening_marks,
)

HEIGHT, WIDTH = 200, 250
Y, X = (np.mgrid[:HEIGHT, :WIDTH] + 0.5 - np.array([HEIGHT, WIDTH])[:, None, None] / 2) / PIXELS_PER_MM
SKIN, RED, TEETH = (
    np.array([190.0, 140.0, 115.0]),
    np.array([160.0, 85.0, 80.0]),
    np.array([205.0, 200.0, 190.0]),
)
HALF_MM, LIP_MM = 25.0, 6.0


def borders(open_mm):
    """(height, width) mm that a place lies inside the opening, and inside the lips' outer border."""
    rest = np.clip(1 - (X / HALF_MM) ** 2, 0, None)
    inner = 0.5 * open_mm * rest
    return inner - np.abs(Y), inner + LIP_MM * rest - np.abs(Y)


def marks(open_mm, lips_mm):
    """(20, 2) px the points of a mouth so far open, `lips_mm` being half the height of its outer border."""
    x = np.array([-1, -0.66, -0.3, 0, 0.3, 0.66, 1, 0.66, 0.3, 0, -0.3, -0.66])
    high = np.where(np.arange(12) < 7, -lips_mm, lips_mm) * (1 - x**2)
    inner = np.array([-0.9, -0.4, 0, 0.4, 0.9, 0.4, 0, -0.4])
    gap = np.where(np.arange(8) < 5, -0.5, 0.5) * open_mm * (1 - inner**2)
    flat = np.concatenate([np.stack([x, high], axis=1), np.stack([inner, gap], axis=1)])
    flat[:, 0] *= HALF_MM
    return flat * PIXELS_PER_MM + np.array([WIDTH, HEIGHT]) / 2


def view(open_mm, behind=TEETH, deep_mm=0.0, hole=False, noise=4.0):
    """A picture and its depth (height, width) of a mouth with something behind its lips."""
    opening, lips = borders(open_mm)
    picture = np.where((lips > 0)[..., None], RED, SKIN)
    picture = np.where((opening > 0)[..., None], behind, picture)
    picture = picture * np.where(Y < 0, 0.7, 1.0)[..., None]  # the upper lip lies in its own shade
    rng = np.random.default_rng(0)
    picture = (picture + rng.normal(scale=noise, size=picture.shape)).clip(0, 255).astype(np.float32)
    depth = 100 - 0.01 * X**2 - np.where(opening > 0, deep_mm, 0.0)
    return picture, np.where(hole & (opening > 0), np.nan, depth).astype(np.float32)


def heights(points):
    """(3,) mm of the opening at points `APART` (6, 2) px."""
    return (points[3:] - points[:3])[:, 1] / PIXELS_PER_MM


@pytest.mark.parametrize("open_mm", [4.0, 7.0, 12.0])
@pytest.mark.parametrize(
    "what",
    [
        {"behind": TEETH},
        {"behind": np.array([40.0, 20.0, 20.0])},
        {"hole": True},
        {"behind": RED, "deep_mm": 2 * BEHIND_MM[1]},  # a tongue of the lips' colour
    ],
    ids=["teeth", "dark", "hole", "tongue"],
)
def test_lips_that_are_drawn_too_near_each_other_are_put_where_their_red_ends(open_mm, what):
    drawn = marks(open_mm - min(open_mm / 2, 3.0), LIP_MM + open_mm / 2)
    found, evidence = opening_marks(*view(open_mm, **what), drawn)
    assert evidence.min() > 0.9
    x = (found[:, 0] - WIDTH / 2) / PIXELS_PER_MM / HALF_MM
    true = open_mm * (1 - x[:3] ** 2)
    assert np.abs(heights(drawn[APART]) - true).min() > 1.5
    np.testing.assert_allclose(heights(found), true, atol=0.8)


def test_lips_that_are_drawn_too_far_apart_are_too():
    drawn = marks(9.0, LIP_MM + 3)
    found, _ = opening_marks(*view(5.0), drawn)
    np.testing.assert_allclose(heights(found)[1], 5.0, atol=0.8)


def test_a_closed_mouth_with_a_dark_slit_is_left_alone():
    drawn = marks(0.6, LIP_MM)
    found, evidence = opening_marks(*view(OPEN_MM[0] - 0.6, behind=np.array([60.0, 30.0, 30.0])), drawn)
    assert not evidence.any()
    np.testing.assert_array_equal(found, drawn[APART])


def test_lips_of_one_colour_without_depth_say_nothing():
    drawn = marks(3.0, LIP_MM + 2)
    found, evidence = opening_marks(*view(6.0, behind=RED), drawn)
    assert evidence.max() < 0.1
    np.testing.assert_allclose(found, drawn[APART], atol=1.0)


def test_lips_that_are_not_seen_say_nothing():
    picture, depth = view(6.0)
    drawn = marks(3.0, LIP_MM + 2)
    found, evidence = opening_marks(picture, np.full_like(depth, np.nan), drawn)
    assert not evidence.any()
    np.testing.assert_array_equal(found, drawn[APART])
    found, evidence = opening_marks(picture, depth, np.full((20, 2), 60.0))  # points in one place
    assert not evidence.any()


# A scream: the upper lip stays, the lower one drops; the networks have it `short_mm` too high.
DROP_MM = 26.0


def scream(short_mm, drop_mm=DROP_MM, hole=True, chin_hole=False):
    """Depth (height, width) of a mouth that is open so far below its corners, and the points (20, 2) px as drawn."""
    rest = np.clip(1 - (X / HALF_MM) ** 2, 0, None)
    opening = (Y / np.maximum(rest, 1e-9) > -2) & (Y / np.maximum(rest, 1e-9) < drop_mm)
    depth = 100 - 0.01 * X**2 - 0.1 * Y
    depth = np.where(opening, np.nan if hole else depth - 15.0, depth)
    if chin_hole:
        depth[(np.abs(X) < 12) & (Y > 0)] = np.nan
    drawn = marks(4.0, LIP_MM) - np.array([WIDTH, HEIGHT]) / 2
    inner, outer = drawn[LOWER_INNER], drawn[LOWER_OUTER]
    inner[:, 1] = (drop_mm - short_mm) * PIXELS_PER_MM * (1 - (inner[:, 0] / HALF_MM / PIXELS_PER_MM) ** 2)
    outer[:, 1] = (
        (drop_mm + LIP_MM - short_mm) * PIXELS_PER_MM * (1 - (outer[:, 0] / HALF_MM / PIXELS_PER_MM) ** 2)
    )
    drawn[LOWER_INNER], drawn[LOWER_OUTER] = inner, outer
    return depth.astype(np.float32), drawn + np.array([WIDTH, HEIGHT]) / 2


@pytest.mark.parametrize("hole", [True, False], ids=["hole", "far behind"])
def test_a_lower_lip_amid_a_scream_is_lowered_to_where_the_mouth_ends(hole):
    depth, drawn = scream(7.0, hole=hole)
    found = lowered(depth, drawn)
    x = (found[LOWER_INNER, 0] - WIDTH / 2) / PIXELS_PER_MM / HALF_MM
    ends = DROP_MM * (1 - x**2)
    np.testing.assert_allclose((found[LOWER_INNER, 1] - HEIGHT / 2) / PIXELS_PER_MM, ends, atol=1.2)
    before = (drawn - found)[LOWER_OUTER, 1] / PIXELS_PER_MM
    assert (before < 0).all()
    np.testing.assert_allclose(before[2], -7.0, atol=1.2)
    others = np.setdiff1d(np.arange(20), np.r_[LOWER_INNER, LOWER_OUTER])
    np.testing.assert_array_equal(found[others], drawn[others])


@pytest.mark.parametrize(
    "what",
    [{"short_mm": 1.0}, {"short_mm": -4.0}, {"short_mm": 4.0, "chin_hole": True}],
    ids=["near", "below", "torn"],
)
def test_a_lower_lip_at_its_place_or_over_a_torn_chin_is_left(what):
    depth, drawn = scream(**what)
    np.testing.assert_array_equal(lowered(depth, drawn), drawn)


def test_a_tear_of_the_lip_does_not_lower_it():
    depth, drawn = scream(0.5)
    depth[(np.abs(X - 3) < 1.2) & (Y > 0)] = np.nan
    np.testing.assert_array_equal(lowered(depth, drawn), drawn)


def test_a_closed_mouth_and_a_tongue_that_fills_an_open_one_are_left():
    for depth, drawn in ((view(0.0)[1], marks(0.0, LIP_MM)), (view(10.0)[1], marks(6.0, LIP_MM + 3))):
        np.testing.assert_array_equal(lowered(depth, drawn), drawn)


def test_points_that_are_no_mouth_are_left():
    """Of a head seen from aside, or of none, corners may lie on each other, exchanged, or off the picture."""
    depth, drawn = scream(7.0)
    flipped = drawn * [-1, 1] + [WIDTH, 0]
    for odd in (
        flipped,
        drawn + [2 * WIDTH, 0],
        drawn - [2 * WIDTH, 0],
        drawn + [0, 2 * HEIGHT],
        drawn * [0, 1],
    ):
        np.testing.assert_array_equal(lowered(depth, odd), odd)


def test_colours_are_told_apart_where_that_is_asked_for_as_everywhere():
    draws = np.random.default_rng(3)
    picture = (SKIN + draws.normal(0, 4, (40, 50, 3))).astype(np.float32)
    picture[:, 30:] = TEETH
    area, asked = np.zeros((2, 40, 50), bool)
    area[:, :20], asked[5:9, 10:45] = True, True
    whole, part = distance_from(picture, area), distance_from(picture, area, asked)
    np.testing.assert_array_equal(part[asked], whole[asked])
    assert whole[:, 30:].min() > 3 > np.median(whole[:, :20]) > 0
    assert not part[~asked].any()
