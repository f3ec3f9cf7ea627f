"""Points along the lips' outer border, at the template's shares."""

import numpy as np

from mimicme.stages.landmarks.spacing import MOST, OPEN, spaced

RIGHT, LEFT = np.array([48, 49, 50, 51]), np.array([54, 53, 52, 51])  # of the upper lip, corner to middle


def lip(shares, width=20.0):
    """(68, 3) landmarks with an upper lip alone, straight, its points at shares of either half's length."""
    points = np.full((68, 3), np.nan)
    points[RIGHT] = np.array(shares)[:, None] * [width, 0, 0]
    points[LEFT] = points[RIGHT] * [-1, 1, 1] + [2 * width, 0, 0]
    return points


def test_points_go_to_the_shares_of_the_template_and_ends_stay():
    found = spaced(lip([0, 0.4, 0.7, 1], width=30.0), lip([0, 0.3, 0.75, 1]))  # of another size
    np.testing.assert_allclose(found, lip([0, 0.3, 0.75, 1], width=30.0), atol=1e-9)
    assert np.isfinite(found).all(axis=1).sum() == 7  # what is absent stays absent


def test_one_side_of_a_template_is_no_definition_and_far_is_too_far():
    points = lip([0, 0.4, 0.7, 1])
    marks = lip([0, 0.4, 0.7, 1])
    marks[49, 0] -= 2.0  # a slip: a tenth of the length
    assert abs(spaced(points, marks)[49, 0] - 20 * 0.35) < 1e-9
    marks = lip([0, 0.1, 0.7, 1])
    assert abs(spaced(points, marks)[49, 0] - 20 * (0.4 - MOST)) < 1e-9


def test_points_in_no_order_stay():
    marks = lip([0, 0.3, 0.75, 1])
    points = lip([0, 0.4, 0.4, 1])
    np.testing.assert_array_equal(spaced(points, marks), points)
    points[RIGHT] = points[51]  # no length
    np.testing.assert_array_equal(spaced(points, marks)[RIGHT], points[RIGHT])


def test_an_open_mouth_is_shared_out_less_and_a_wide_one_not_at_all():
    def opened(height):
        points = lip([0, 0.4, 0.7, 1])
        points[62], points[66] = [20, 0, 0], [20, -height, 0]
        return points

    marks, width = lip([0, 0.3, 0.75, 1]), 40.0
    half = opened(width * (OPEN[0] + OPEN[1]) / 2)
    np.testing.assert_allclose(spaced(opened(2.0), marks)[RIGHT], lip([0, 0.3, 0.75, 1])[RIGHT], atol=1e-9)
    np.testing.assert_allclose(spaced(half, marks)[RIGHT], lip([0, 0.35, 0.725, 1])[RIGHT], atol=1e-9)
    np.testing.assert_array_equal(spaced(opened(width * OPEN[0]), marks), opened(width * OPEN[0]))
