"""A detector's bias on open lids is no bias on shut ones."""

import numpy as np
import pytest

from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.template.eyelids import lid_opening, open_share
from mimicme.stages.register.detector_bias import CLOSED_EYE, OPEN_EYE, SHUT_EYE, without_bias

ALL = np.ones(68, bool)
EYE = GROUPS["right_eye"]
LIDS = [(37, 41), (38, 40), (43, 47), (44, 46)]


@pytest.fixture(scope="module")
def marks(small_face):
    return small_face.landmarks()


def opened(marks, share):
    """Landmarks whose lids are as far open as this share of themselves."""
    points = marks.copy()
    for upper, lower in LIDS:
        middle = (marks[upper] + marks[lower]) / 2
        points[[upper, lower]] = middle + share * (marks[[upper, lower]] - middle)
    return points


def taken_off(seen, bias, marks, use=ALL, told=ALL):
    return without_bias(seen, bias, use, told, marks, marks)


def test_an_eye_that_is_seen_narrow_on_the_neutral_stays_shut_when_it_is_seen_shut(marks):
    """As on a person whose lids were found 2.3 of 8 mm too near to each other: shut, they came out 2.7 mm apart."""
    bias = opened(marks, 0.72) - marks
    found = taken_off(opened(marks, 0.01), bias, marks)
    assert open_share(found, marks, "right_eye") < 0.02 < SHUT_EYE
    assert open_share(found, marks, "left_eye") < 0.02
    # taken off as it is, it would open them
    assert open_share(opened(marks, 0.01) - bias, marks, "right_eye") > SHUT_EYE


@pytest.mark.parametrize("seen_open", [0.72, 1.3])
def test_an_open_eye_is_seen_without_all_of_the_habit(marks, seen_open):
    bias = opened(marks, seen_open) - marks
    for share in (1.0, OPEN_EYE + 0.01):
        seen = opened(marks, share * seen_open)
        np.testing.assert_allclose(taken_off(seen, bias, marks), seen - bias, atol=1e-12)


def test_from_open_to_shut_the_opening_falls_without_a_jump(marks):
    bias = opened(marks, 0.7) - marks
    shares = np.linspace(0, 0.7, 141)
    found = [open_share(taken_off(opened(marks, share), bias, marks), marks, "right_eye") for share in shares]
    steps = np.diff(found)
    assert (steps > 0).all() and steps.max() < 4 * (shares[1] - shares[0])


def test_what_moves_an_eye_as_a_whole_is_taken_off_a_shut_one_too(marks):
    bias = np.zeros((68, 3))
    bias[EYE] = [0.4, -0.8, 0.3]
    shut = opened(marks, 0.0)
    np.testing.assert_allclose(taken_off(shut, bias, marks), shut - bias, atol=1e-12)


def test_along_the_rims_the_habit_stays(marks):
    bias = opened(marks, 0.7) - marks
    bias[[37, 38], 0] += 1.0
    shut = opened(marks, 0.0)
    found = taken_off(shut, bias, marks)
    across = marks[39] - marks[36]
    across /= np.linalg.norm(across)
    assert ((found - shut) @ across)[[37, 38]] == pytest.approx(-(bias @ across)[[37, 38]], abs=0.05)


def test_a_detector_that_sees_the_neutrals_eye_nearly_shut_does_not_shut_it(marks):
    bias = opened(marks, CLOSED_EYE - 0.1) - marks
    seen = opened(marks, 0.05)
    np.testing.assert_allclose(taken_off(seen, bias, marks), seen - bias)
    assert open_share(taken_off(seen, bias, marks), marks, "right_eye") > 0.7


def test_lids_that_tell_nothing_are_as_before(marks):
    """Of a bare scan; of an eye by hand or absent in part; and where there is no bias nothing changes."""
    bias, shut = opened(marks, 0.72) - marks, opened(marks, 0.0)
    bare, some = ALL.copy(), ALL.copy()
    bare[EYE] = False
    some[37] = False
    found = taken_off(shut, bias, marks, told=bare)
    np.testing.assert_allclose(found[EYE], (shut - bias)[EYE])
    assert lid_opening(found, marks, "left_eye") < 0.1
    found = taken_off(np.where(some[:, None], shut, 0.0), bias, marks, use=some, told=some)
    np.testing.assert_allclose(found[38], (shut - bias)[38])
    assert (found[37] == 0).all()
    assert taken_off(shut, 0 * bias, marks) is shut
