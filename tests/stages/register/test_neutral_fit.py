"""neutral_fit: a neutral is fitted from the template, as its landmarks were given or found."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import transform
from mimicme.stages.register.checkpoint import STRETCHING_DECISION, RegisteredCheckpoint
from mimicme.stages.register.levels import Levels
from mimicme.stages.register.neutrality import OPEN_MOUTH, mouth_opening
from mimicme.stages.register.settings import RegisterSettings


def test_only_a_neutral_is_fitted_from_the_generic_template(dome, monkeypatch):
    asked = []
    for_generic_template = Levels.for_generic_template
    monkeypatch.setattr(
        Levels, "for_generic_template", lambda *a: asked.append(a) or for_generic_template(*a)
    )
    tracker = dome.tracker()
    tolerance = tracker.setup.settings.fine_tolerance
    tracker.register(dome.frame(0, 0.0))
    assert len(asked) == 1
    fitters = tracker.setup.generic_fitters(tracker.setup.settings.membrane_neutral)
    assert fitters.of(False, False).fine_tolerance == tolerance
    asked.pop()
    assert tracker.person.fitters.of(False, False).levels is tracker.setup.levels
    assert tracker.person.fitters.of(False, False).fine_tolerance == pytest.approx(2.5 * tolerance)
    tracker.register(dome.frame(1, 0.3))
    dome.tracker(dome.truth(0.0)).register(dome.frame(0, 0.3))
    assert len(asked) == 1


@pytest.mark.parametrize("by_hand", [True, False])
def test_an_open_mouth_is_fitted_as_an_expression_though_there_is_no_neutral(dome, monkeypatch, by_hand):
    closed = replace(dome.frame(0, 0.0), detected=np.full(68, not by_hand))
    lowered = closed.landmarks.copy()
    lowered[[65, 66, 67], 1] -= 20.0
    asked = []
    for_generic_template = Levels.for_generic_template
    monkeypatch.setattr(
        Levels,
        "for_generic_template",
        lambda levels, extra: asked.append(for_generic_template(levels, extra)) or asked[-1],
    )
    for frame in (closed, replace(closed, landmarks=lowered)):
        with suppress(FrameRejected):
            dome.tracker().register(frame)
    first, second = ((rest.fine.stiffness - dome.levels().fine.stiffness).count_nonzero() for rest in asked)
    assert first > 0
    assert second == 0


def test_another_face_is_found_from_the_template(dome):
    """The first frame has only its landmarks to begin with."""
    found = dome.tracker().register(dome.frame(0, 0.8, dome.rigid(3)))
    truth = transform(dome.rigid(3), dome.truth(0.8))
    moving = dome.apart(dome.truth(0.8), dome.truth(0.0)) > 3
    error = dome.apart(dome.in_scan(found), truth)[moving].mean()
    assert 0.1 < error < 0.4 * dome.apart(dome.truth(0.8), dome.truth(0.0))[moving].mean()


def test_points_by_hand_are_followed_as_ever_whatever_a_detector_is_told(dome):
    """So is a frame most of whose points are by hand, and an open mouth, which has stretched the skin."""
    told = [dome.SETTINGS, replace(dome.SETTINGS, membrane_found=0.1)]
    few = dome.frame(0, 0.0)
    few = replace(few, detected=np.arange(68) % 3 == 0)
    a, b = (dome.tracker(settings=settings).register(few).vertices for settings in told)
    np.testing.assert_array_equal(a, b)
    most = replace(few, detected=np.arange(68) % 3 > 0)
    a, b = (dome.tracker(settings=settings).register(most).vertices for settings in told)
    assert dome.apart(a, b).mean() > 0.02
    marks = most.landmarks.copy()
    marks[[65, 66, 67, 55, 56, 57, 58, 59], 1] -= 14.0
    wide = replace(most, landmarks=marks)
    a, b = (dome.tracker(settings=settings).register(wide).vertices for settings in told)
    np.testing.assert_array_equal(a, b)


EYES = np.arange(36, 48)


def mouth_opened(marks, by_mm, size=1.0):
    """(68, 3) landmarks of a head of that size, its lower lip lower by so much on the template's."""
    lowered = marks.copy()
    lowered[[65, 66, 67, 55, 56, 57, 58, 59], 1] -= by_mm
    return size * lowered


@pytest.mark.parametrize(
    ("size", "by_mm", "membrane"), [(1.3, 5.5, "membrane_neutral"), (0.75, 9.5, "membrane")]
)
def test_what_a_mouth_is_called_is_what_it_was_fitted_as(dome, size, by_mm, membrane):
    """In widths of the template's mouth, which is not of the person's size, both would be the other."""
    frame, marks = dome.frame(0, 0.0), dome.template().landmarks()
    of_mine = mouth_opening(mouth_opened(marks, by_mm), marks)
    of_the_template = mouth_opening(mouth_opened(marks, by_mm, size), marks)
    assert (of_mine > OPEN_MOUTH) == (membrane == "membrane") != (of_the_template > OPEN_MOUTH)
    frame = replace(
        frame, vertices=size * frame.vertices, landmarks=mouth_opened(frame.landmarks, by_mm, size)
    )
    tracker = dome.tracker()
    tracker.register(frame)
    assert tracker.neutral_membrane == membrane
    assert ("mouth is open" in tracker.neutral_oddity) == (membrane == "membrane")


@pytest.mark.parametrize("expression", ["calm", "smile", "open"])
def test_how_a_neutral_resists_stretching_is_said_of_a_smile_too_but_not_of_an_open_mouth(
    dome, tmp_path, expression
):
    # of a scan without colours found eyes say nothing of an expression
    by_hand = np.isin(np.arange(68), EYES)
    frame = replace(dome.frame(0, 0.0), detected=~by_hand)
    marks = frame.landmarks.copy()
    if expression == "open":
        marks = mouth_opened(marks, 14.0)
    elif expression == "smile":
        marks[[48, 60]] += [-5, 5, 0]
        marks[[54, 64]] += [5, 5, 0]
    task = dome.quick_task(tmp_path, [replace(frame, landmarks=marks)])
    with RegisteredCheckpoint(dome.made(task, tmp_path / "register.h5")) as made:
        said, (status,) = made.attrs.get(STRETCHING_DECISION, ""), made.statuses
    assert ("neutral-odd" in status.note) == (expression != "calm")
    assert said.startswith("membrane_found: ") if expression != "open" else not said


def test_where_on_the_ridge_of_the_nose_a_detector_sees_points_does_not_matter_to_the_neutral(dome):
    along = np.zeros((68, 3))
    along[27:30, 1] = 4.0
    error = {}
    for detected in (False, True):
        shapes = []
        for offset in (0 * along, along):
            frame = replace(dome.seen_beside(dome.frame(0), offset), detected=np.full(68, detected))
            made = dome.tracker().register(frame)
            assert made.quality.landmarks_found == made.checks.found_share == float(detected)
            shapes.append(dome.in_scan(made))
        error[detected] = dome.apart(*shapes).max()
    assert error[True] < 1e-3 < 0.3 < error[False]  # mm


def test_the_scan_knows_better_than_a_detector_where_the_neutral_has_relief(dome):
    offset = np.random.default_rng(5).normal(scale=1.5, size=(68, 3))
    offset[:17] = 0
    frame = dome.seen_beside(dome.frame(0), offset)
    error = {}
    for share in (0.05, 1.0):
        tracker = dome.tracker(settings=replace(dome.SETTINGS, detected_share=share))
        apart = dome.apart(dome.in_scan(tracker.register(frame)), dome.truth(0.0))
        error[share] = apart.mean()
    assert error[0.05] < 0.9 * error[1.0]


def test_a_half_is_enough_of_a_frame_whose_subject_has_a_neutral(dome):
    """The next candidate becomes the neutral, and then the half that was refused can be registered."""
    whole = dome.frame(0, 0.0)
    x = whole.vertices[whole.faces].mean(axis=1)[:, 0]
    cut = replace(whole, faces=whole.faces[x < 20])
    tracker = dome.tracker()
    with pytest.raises(FrameRejected, match="min_neutral_half_share = 0.32 under .register.") as caught:
        tracker.register(cut)
    assert caught.value.reason == "register-half" and tracker.neutral is None
    tracker.register(whole)
    assert tracker.neutral is not None
    quality = tracker.register(replace(cut, number=1)).quality
    share = min(quality.core_share_left, quality.core_share_right)
    assert 0.25 < share < RegisterSettings().min_neutral_half_share
