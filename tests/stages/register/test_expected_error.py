"""expected_error: a farther face, more noise and points that were found are a larger error to be expected."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.stages.register.expected_error import (
    BEST_CASE_MM,
    bare_excess,
    expected_error,
    expected_interval,
    stretch_excess,
)


def test_a_farther_face_more_noise_or_more_found_points_are_a_larger_expected_error():
    assert expected_error(5.0, 1.0) > expected_error(3.0, 1.0)
    assert expected_error(3.0, 2.0) > expected_error(3.0, 1.0)
    assert expected_error(3.0, 1.0, 1.0) > expected_error(3.0, 1.0, 0.5) > expected_error(3.0, 1.0)
    assert expected_error(3.0, 1.0, 1.0, 0.4) > expected_error(
        3.0, 1.0, 1.0, 0.2
    )  # what followed found points
    assert expected_error(3.0, 1.0, 0.0, 0.4) == expected_error(3.0, 1.0)
    assert (
        0.4 < expected_error(2.0, 0.5) < 0.7
    )  # of a face like the template with landmarks as good as they get
    assert expected_error(0.0, 0.0) == pytest.approx(BEST_CASE_MM)  # nothing is exact
    assert 0.14 < expected_error(0.0, 0.2) < expected_error(0.0, 1.0)
    assert np.isnan(expected_error(3.0, np.nan))  # nothing is known without landmarks


def test_points_found_without_colours_are_less_sure():
    in_colours = expected_error(3.0, 1.0, 1.0, 0.2)
    bare = expected_error(3.0, 1.0, 1.0, 0.2, bare_share=1.0)
    assert in_colours < expected_error(3.0, 1.0, 1.0, 0.2, bare_share=0.3) < bare
    assert bare**2 - in_colours**2 == pytest.approx(bare_excess(1.0))
    assert expected_error(3.0, 1.0, 1.0, 0.2, spread=0.7, bare_share=1.0) == pytest.approx(0.7 * bare)
    low, high = expected_interval()
    wider, widest = expected_interval(1.0)
    assert wider < low < 1 < high < widest


def test_what_a_face_stretches_beyond_its_neutral_is_taken_off_as_it_was_added():
    more = stretch_excess(0.8, 0.7, 0.2)
    assert expected_error(9.0, 1.2, 0.8, 0.7) ** 2 - more == pytest.approx(
        expected_error(9.0, 1.2, 0.8, 0.2) ** 2
    )
    assert stretch_excess(0.8, 0.2, 0.3) == 0.0  # a face that stretches less has cost nothing more
    assert stretch_excess(0.8, 0.7, np.nan) == 0.0
