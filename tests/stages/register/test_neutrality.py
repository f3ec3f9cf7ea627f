"""neutrality: a face is called neutral by its mouth, its eyes, and what is seen of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.template.eyelids import open_share
from mimicme.stages.register import neutral_fit
from mimicme.stages.register.detector_bias import CLOSED_EYE, OPEN_EYE, SHUT_EYE
from mimicme.stages.register.neutrality import _smile, mouth_opening, moved, oddity


def test_the_opening_of_a_mouth(dome):
    marks = dome.template().landmarks()
    assert mouth_opening(marks, marks) < 0.1
    dropped = marks.copy()
    dropped[[65, 66, 67], 1] -= 26.0
    width = np.linalg.norm(marks[48] - marks[54])
    assert mouth_opening(dropped, marks) == pytest.approx(26.0 / width, abs=0.1)
    dropped[[48, 61, 67]] = np.nan  # half a face
    assert mouth_opening(dropped, marks) == pytest.approx(26.0 / width, abs=0.1)
    dropped[60:] = np.nan
    assert mouth_opening(dropped, marks) == 0


def shifted(marks, rows, step):
    points = marks.copy()
    points[rows] += step
    return points


def test_a_mouth_or_an_eye_that_is_not_at_rest_is_seen(dome):
    marks = dome.template().landmarks()
    calm = {"mouth": 0.0, "left_eye": 0.0, "right_eye": 0.0}
    assert moved(marks, marks) == calm
    assert moved(1.3 * marks + [5.0, -3.0, 2.0], marks) == calm  # a larger face, elsewhere
    assert moved(shifted(marks, slice(48, 68), [0, -8.0, 0]), marks) == calm  # a longer one
    assert moved(np.full_like(marks, np.nan), marks) == calm
    wide = marks.copy()
    middle = marks[48:68].mean(axis=0)
    wide[48:68] = middle + (marks[48:68] - middle) * [1.6, 1.0, 1.0]
    assert moved(wide, marks) == calm | {"mouth": 1.0}
    shut = marks.copy()
    for low, high in ((37, 41), (38, 40)):
        shut[low] = shut[high] + 0.1 * (shut[low] - shut[high])
    assert moved(shut, marks) == calm | {"left_eye": 1.0}


def test_a_narrow_eye_is_seldom_called_shut_and_a_closed_one_hardly_ever_open(small_face):
    """With points that are 0.7 and 1 mm off: a length between lids, as it was, took a third of the latter for open."""
    marks = small_face.landmarks()
    rng = np.random.default_rng(0)

    def shares(opening, noise_mm):
        points = marks.copy()
        for upper, lower in ((37, 41), (38, 40)):
            middle = (marks[upper] + marks[lower]) / 2
            points[[upper, lower]] = middle + opening * (marks[[upper, lower]] - middle)
        noise = rng.normal(scale=noise_mm, size=(400, 68, 3))
        return np.array([open_share(points + one, marks, "left_eye") for one in noise])

    for noise_mm, closed_open, narrow_shut in ((0.7, 0.01, 0.05), (1.0, 0.05, 0.11)):
        closed, narrow, calm = (shares(opening, noise_mm) for opening in (0.0, 0.4, 0.7))
        assert (closed >= SHUT_EYE).mean() <= closed_open and (closed > CLOSED_EYE).mean() < 0.01
        assert (narrow < SHUT_EYE).mean() <= narrow_shut
        assert (calm < CLOSED_EYE).mean() < 0.01 and (calm < (CLOSED_EYE + OPEN_EYE) / 2).mean() < 0.12
    assert (shares(0.5, 1.0) < SHUT_EYE).mean() < 0.03


@pytest.mark.parametrize(
    ("places", "oddity"), [((), "its mouth seems to smile"), ((48, 54), ""), ((54,), "")]
)
def test_a_mouth_in_a_beard_is_not_judged_for_a_smile(dome, monkeypatch, places, oddity):
    """Its width is a guess there; one corner that is hidden is enough."""
    frame, template = dome.frame(0, 0.0), dome.template()
    smile = frame.landmarks.copy()
    smile[[48, 60]] += [-5, 5, 0]
    smile[[54, 64]] += [5, 5, 0]
    skin = np.ones(len(template.vertices))
    for place in places:
        skin[np.linalg.norm(template.vertices - template.landmarks()[place], axis=1) < 25] = 0.2
    monkeypatch.setattr(neutral_fit, "skin_share", lambda person, vertices, scan, before: skin)
    tracker = dome.tracker()
    tracker.register(replace(frame, landmarks=smile))
    assert tracker.neutral_oddity == oddity


def test_an_odd_neutral_is_told(dome):
    marks = dome.template().landmarks()
    frame = dome.frame(0, 0.0)
    tracker = dome.tracker()
    quality = tracker.register(frame).quality
    assert tracker.neutral_oddity == ""
    shut = marks.copy()
    shut[[37, 38]] = shut[[41, 40]]
    assert oddity(shut, marks, quality) == "an eye is closed"
    smile, pout = marks.copy(), marks.copy()
    smile[[48, 60]] += [-5, 5, 0]
    smile[[54, 64]] += [5, 5, 0]
    pout[[48, 60]] += [5, -2, 2]
    pout[[54, 64]] += [-5, -2, 2]
    assert oddity(smile, marks, quality) == "its mouth seems to smile"
    assert oddity(smile, marks, quality, mouth_open=True) == "its mouth is open"
    assert oddity(marks, smile, quality) == ""
    assert oddity(pout, marks, quality) == ""
    turn = np.eye(4)
    turn[:3, :3] = [[0, -1.2, 0], [1.2, 0, 0], [0, 0, 1.2]]  # a larger head that lies on its side
    assert _smile(transform(turn, smile), marks) == pytest.approx(_smile(smile, marks))
    hidden = smile.copy()
    hidden[51] = np.nan
    assert oddity(hidden, marks, quality) == ""
    cut = replace(quality, mouth_share=0.1)
    assert oddity(marks, marks, cut) == "the scan hardly shows the lips"
    half = replace(quality, core_share_left=0.3)
    assert oddity(marks, marks, half) == "half of the face is hardly scanned"
