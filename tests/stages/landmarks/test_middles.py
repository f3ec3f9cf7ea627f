"""The lips' middles, between the mouth's ends."""

import numpy as np
import pytest

from mimicme.stages.landmarks.middles import ENDS, LINES, MIDDLES, NOSE_SHARE, SHARE, middled

WIDTH, HEIGHT = 50.0, 8.0
STRAIGHT = np.zeros(3)


def height(x):
    """mm above the line of the ends, at x mm aside of the middle: an arc."""
    return HEIGHT * (1 - (2 * x / WIDTH) ** 2)


def mouth(aside=0.0):
    """(68, 3) landmarks with lips alone, whose middles lie so many mm aside, and those beside them less, on their
    borders."""
    points = np.full((68, 3), np.nan)
    for line, up in zip(LINES, (1.0, -1.0, 0.3, -0.3), strict=True):
        x = np.linspace(-0.5, 0.5, len(line)) * WIDTH
        x = x + aside * (1 - (2 * x / WIDTH) ** 2)
        points[list(line)] = np.stack([x, up * height(x), 0.2 * height(x)], axis=1)
    return points


@pytest.mark.parametrize("aside", [-2.5, 1.0])
def test_middles_go_a_share_of_the_way_along_their_borders_and_the_ends_stay(aside):
    points = mouth(aside)
    found = middled(points, STRAIGHT)
    np.testing.assert_allclose(found[MIDDLES, 0], (1 - SHARE) * aside, atol=0.02)
    np.testing.assert_allclose(
        found[MIDDLES, 1], np.array([1, 0.3, -0.3, -1]) * height(found[51, 0]), atol=0.1
    )
    np.testing.assert_array_equal(found[ENDS], points[ENDS])
    beside = (found - points)[[49, 50, 52, 53], 0] * -np.sign(aside)
    assert (beside > 0.1 * abs(aside)).all() and beside[[1, 2]].min() > beside[[0, 3]].max()
    assert np.isnan(found[:48]).all()


def test_it_does_not_matter_how_the_mouth_lies():
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    shift = np.array([5.0, -20.0, 90.0])
    points, nose = mouth(2.0), np.array([0.7, 2.0, -1.0])
    turned = middled(points @ rotation.T + shift, rotation @ nose)
    np.testing.assert_allclose(turned[48:], middled(points, nose)[48:] @ rotation.T + shift, atol=1e-9)


def test_a_nose_that_is_drawn_aside_takes_the_middles_back_with_it():
    """What it is drawn too high or too far in front does not count."""
    found = middled(mouth(), np.array([2.0, 5.0, -3.0]))
    np.testing.assert_allclose(found[MIDDLES, 0], -NOSE_SHARE * 2.0, atol=0.02)
    np.testing.assert_array_equal(found[ENDS], mouth()[ENDS])


def test_an_even_mouth_and_one_in_no_order_stay():
    np.testing.assert_allclose(middled(mouth(), STRAIGHT), mouth(), atol=1e-9)
    points = mouth(2.0)
    points[[49, 50]] = points[[50, 49]]
    found = middled(points, STRAIGHT)
    np.testing.assert_array_equal(found[48:55], points[48:55])
    assert found[57, 0] < points[57, 0] - 0.5  # the lower lip has its order
    for row in (48, 57):
        absent = mouth(2.0)
        absent[row] = np.nan
        np.testing.assert_array_equal(middled(absent, STRAIGHT), absent)
