"""eyelids: lids that the landmarks show closed meet, and the eyeball's patch goes behind; open ones stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.template.eyelids import LEAST_VERTICES, open_share, patches
from mimicme.stages.register import second_pass, tracked_fit
from mimicme.stages.register.eyelids import find_eye
from mimicme.stages.register.fit_target import FitTarget
from mimicme.stages.register.levels import build_levels
from mimicme.stages.register.notes import OPEN_LIDS_MM
from mimicme.stages.register.track import SequenceTracker

SPACING = 2.0


@pytest.fixture(scope="module")
def fine_template(dome):
    return dome.template(SPACING)


@pytest.fixture(scope="module")
def levels(fine_template, dome):
    return build_levels(fine_template, 1500, dome.SETTINGS.membrane)


def closed(landmarks: np.ndarray, eye: str) -> np.ndarray:
    """Landmarks (68, 3) with an eye closed: its upper lid has come down."""
    points = landmarks.copy()
    _, first, second, _, third, fourth = range(*GROUPS[eye].indices(68))
    points[first], points[second] = landmarks[fourth] + [0, 0.5, 0], landmarks[third] + [0, 0.5, 0]
    return points


@pytest.fixture(scope="module")
def blink(dome, fine_template, levels):
    """The registered neutral and the frame after it, whose right eye is closed: vertices (V, 3) each, and its scan."""
    tracker = SequenceTracker(fine_template, levels, replace(dome.SETTINGS, coarse_vertices=1500), None)
    neutral = tracker.register(dome.frame(0, spacing=2.0))
    frame = dome.frame(1, spacing=2.0)
    frame = replace(frame, landmarks=closed(frame.landmarks, "right_eye"))
    return neutral.vertices, tracker.register(frame), frame


def test_a_patch_lies_between_the_lids(fine_template):
    marks = fine_template.landmarks()
    right, left = patches(fine_template.vertices, marks)
    for patch, eye in ((right, "right_eye"), (left, "left_eye")):
        points = marks[GROUPS[eye]]
        inside = fine_template.vertices[patch]
        assert patch.sum() > 20
        assert (inside[:, 0] > points[:, 0].min()).all() and (inside[:, 0] < points[:, 0].max()).all()
        assert (inside[:, 1] > points[:, 1].min()).all() and (inside[:, 1] < points[:, 1].max()).all()
    assert not (right & left).any()


def test_rims_face_each_other_across_the_patch(levels, fine_template):
    for rims in levels.rims:
        apart = rims.rows @ fine_template.vertices
        assert (apart[:, 1] > 0).all()  # the upper one less the lower
        assert np.abs(apart[:, 0]).max() < 0.25 * apart[:, 1].max() + 1


def test_a_patch_of_few_vertices_is_none(fine_template):
    v, f = fine_template.vertices, fine_template.faces
    few = np.zeros(len(v), bool)
    few[: LEAST_VERTICES - 1] = True
    assert find_eye(v, f, few, 0.1) is None


def test_the_lids_of_a_closed_eye_meet(blink, levels):
    neutral, result, _ = blink
    right, left = levels.rims
    before = np.linalg.norm(right.rows @ neutral, axis=1)
    after = np.linalg.norm(right.rows @ result.vertices, axis=1)
    assert before.mean() > 4
    assert after.mean() < 0.6
    other = np.linalg.norm(left.rows @ result.vertices, axis=1) - np.linalg.norm(left.rows @ neutral, axis=1)
    assert np.abs(other).max() < 1.0


def test_what_was_between_them_is_behind_and_is_no_fold(blink, levels, dome):
    neutral, result, frame = blink
    patch = levels.fine.eyes[0].patch
    surface = Surface(frame.vertices, frame.faces)
    depth = (surface.closest(result.vertices[patch]).points - result.vertices[patch])[:, 2]
    assert np.median(depth) > 0.5
    assert result.quality.flipped_triangles + result.quality.degenerate_triangles <= 10
    skin = np.ones(len(neutral), bool)
    skin[patch] = False
    near = np.linalg.norm(neutral - neutral[patch].mean(axis=0), axis=1) < 30
    assert surface.distance(result.vertices[skin & near]).mean() < 0.15


def test_a_piece_of_its_own_is_no_patch(fine_template):
    v, f = fine_template.vertices, fine_template.faces
    disc = np.zeros(2 * len(v), bool)
    disc[len(v) :] = True
    assert find_eye(np.concatenate([v, v + 5]), np.concatenate([f, f + len(v)]), disc, 0.1) is None


def opening(levels, vertices: np.ndarray) -> float:
    """Mean distance of the lids of the right eye, mm."""
    return float(np.linalg.norm(levels.rims[0].rows @ vertices, axis=1).mean())


def registered(dome, fine_template, levels, frame):
    """A frame after the person's neutral."""
    tracker = SequenceTracker(fine_template, levels, replace(dome.SETTINGS, coarse_vertices=1500), None)
    tracker.register(dome.frame(0, spacing=2.0))
    return tracker.register(replace(frame, number=1)).vertices


def test_half_closed_lids_stay_apart(dome, fine_template, levels):
    frame = dome.frame(1, spacing=2.0)
    half = (frame.landmarks + closed(frame.landmarks, "right_eye")) / 2
    assert opening(levels, registered(dome, fine_template, levels, replace(frame, landmarks=half))) > 2


def test_lids_with_a_hole_between_them_stay_apart(dome, fine_template, levels):
    frame = dome.frame(1, spacing=2.0)
    marks = closed(frame.landmarks, "right_eye")
    middle = marks[GROUPS["right_eye"]].mean(axis=0)
    there = np.abs(frame.vertices - middle)[frame.faces].mean(axis=1)
    hole = (there[:, 0] < 13) & (there[:, 1] < 3)
    frame = replace(frame, landmarks=marks, faces=frame.faces[~hole])
    assert opening(levels, registered(dome, fine_template, levels, frame)) > 1


def test_narrow_eyes_are_open_eyes(dome, fine_template, levels):
    """A person whose lids are half as far apart as the template's: they stay so from the neutral on."""
    frame = dome.frame(0, spacing=2.0)
    marks = (frame.landmarks + closed(frame.landmarks, "right_eye")) / 2
    marks = (marks + closed(marks, "left_eye")) / 2
    tracker = SequenceTracker(fine_template, levels, replace(dome.SETTINGS, coarse_vertices=1500), None)
    neutral = tracker.register(replace(frame, landmarks=marks)).vertices
    after = tracker.register(replace(dome.frame(1, spacing=2.0), landmarks=marks)).vertices
    assert opening(levels, neutral) > 2 and opening(levels, after) > 2


def test_lids_found_on_a_bare_scan_close_nothing(dome):
    frame = dome.frame(0)
    frame = replace(frame, landmarks=closed(frame.landmarks, "right_eye"), detected=np.ones(68, bool))
    lids = np.zeros(68, bool)
    lids[GROUPS["right_eye"]] = lids[GROUPS["left_eye"]] = True
    assert frame.tells_expression[lids].all()
    bare = replace(frame, coloured=False)
    assert not bare.tells_expression[lids].any()
    assert (bare.tells_expression == bare.known)[~lids].all()
    shown = replace(bare, shown_shut=("right_eye",))
    assert shown.tells_expression[GROUPS["right_eye"]].all()
    assert not shown.tells_expression[GROUPS["left_eye"]].any()
    by_hand = replace(bare, detected=np.zeros(68, bool))
    assert by_hand.tells_expression[lids].all()


def test_a_bare_scan_keeps_its_lids_open(dome, fine_template, levels):
    frame = dome.frame(1, spacing=2.0)
    marks = closed(frame.landmarks, "right_eye")
    found = replace(frame, landmarks=marks, detected=np.ones(68, bool), confidence=np.full(68, 0.01))
    bare = registered(dome, fine_template, levels, replace(found, coloured=False))
    coloured = registered(dome, fine_template, levels, found)
    assert opening(levels, bare) > opening(levels, coloured) + 1
    shown = replace(found, coloured=False, shown_shut=("right_eye",))
    assert opening(levels, registered(dome, fine_template, levels, shown)) == opening(levels, coloured)


def seen(dome, apart: float, look: str):
    """A frame whose right eye was found with its lids apart by a share of what they are, in colours of skin, of an eye,
    or in none."""
    frame = dome.frame(1, spacing=2.0)
    marks = frame.landmarks.copy()
    _, first, second, _, third, fourth = range(*GROUPS["right_eye"].indices(68))
    for upper, lower in ((first, fourth), (second, third)):
        marks[upper] = marks[lower] + apart * (marks[upper] - marks[lower])
    colors = None
    if look:
        colors = np.tile([150.0, 105.0, 85.0], (len(frame.vertices), 1))
        eye = frame.landmarks[GROUPS["right_eye"]]
        away = np.abs(frame.vertices - eye.mean(axis=0))
        if look == "eye":
            colors[(away < [np.ptp(eye[:, 0]) / 2, np.ptp(eye[:, 1]) / 2, 20]).all(axis=1)] = 200.0
    return replace(frame, landmarks=marks, detected=np.ones(68, bool), colors=colors)


@pytest.mark.parametrize(
    ("apart", "look", "meets"),
    [
        (0.33, "skin", True),  # networks draw shut lids apart, by the shade above them
        (0.33, "", False),
        (0.33, "eye", False),
        (0.05, "", True),
        (0.05, "skin", True),
        (0.05, "eye", False),  # and open ones together, across the iris
        (0.55, "skin", False),
    ],
)
def test_whether_found_lids_meet_the_colours_between_them_tell(
    dome, fine_template, levels, apart, look, meets
):
    frame = seen(dome, apart, look)
    found = opening(levels, registered(dome, fine_template, levels, frame))
    assert found < 0.8 if meets else found > 2


def test_a_second_pass_keeps_what_the_first_told_of_an_eye(dome, fine_template, levels, monkeypatch):
    """It has no colours: shut lids that were found apart stay shut, and an eye that was found shut and is not, open."""
    for apart, look, meets in ((0.33, "skin", True), (0.05, "eye", False)):
        tracker = SequenceTracker(fine_template, levels, replace(dome.SETTINGS, coarse_vertices=1500), None)
        tracker.register(dome.frame(0, spacing=2.0))
        frame = replace(seen(dome, apart, look), number=1)
        first = tracker.register(frame)
        asked = []
        of = tracker.person.fitters.of
        monkeypatch.setattr(
            tracker.person.fitters, "of", lambda *shut, of=of, asked=asked: asked.append(shut) or of(*shut)
        )
        second = tracker.second_pass(replace(frame, colors=None), first, _Still())
        assert asked == [(meets, False)]
        found = opening(levels, second.vertices)
        assert found < 0.8 if meets else found > 2


@pytest.mark.parametrize(
    ("apart", "look", "says"),
    [
        (0.05, "eye", False),  # the colours show that they are wrong
        (0.15, "eye", False),
        (0.33, "", False),  # in doubt
        (0.05, "skin", True),
        (0.55, "skin", True),
    ],
)
def test_found_lids_that_the_fit_does_not_follow_do_not_judge_it(
    dome, fine_template, levels, apart, look, says
):
    """Nor its second pass and what is smoothed in time, which have no colours to see that by."""
    tracker = SequenceTracker(fine_template, levels, replace(dome.SETTINGS, coarse_vertices=1500), None)
    tracker.register(dome.frame(0, spacing=2.0))
    frame = replace(seen(dome, apart, look), number=1)
    first = tracker.register(frame)
    bare = replace(frame, colors=None)
    smoothed = tracker.assess(bare, first.vertices, first.pose, first)
    for result in (first, tracker.second_pass(bare, first, _Still()), smoothed):
        assert np.isfinite(result.quality.lids_open_right) == says
        assert result.quality.lids_open_left < OPEN_LIDS_MM
        assert not result.quality.lids_open_right > OPEN_LIDS_MM


@pytest.mark.parametrize(
    ("apart", "look", "opens_mm", "least", "most"),
    [
        # open, so that all of the detector's bias is taken off
        (0.05, "eye", 2.4, 0.3, 0.36),
        # shut, so that none is, and the lids are brought together
        (0.05, "skin", 2.4, -1e-3, 1e-3),
        (0.33, "skin", 0.0, -1e-3, 1e-3),
        (0.33, "eye", 0.0, 0.32, 0.34),
    ],
)
def test_both_passes_fit_to_the_lids_that_the_colours_bear_out(
    dome, fine_template, levels, monkeypatch, apart, look, opens_mm, least, most
):
    """How far open the right eye is in the landmarks that they are given, in shares of the open eye.

    Args:
        opens_mm: how much less far the detector had the neutral's eye open than it is.
    """
    tracker = SequenceTracker(fine_template, levels, replace(dome.SETTINGS, coarse_vertices=1500), None)
    tracker.register(dome.frame(0, spacing=2.0))
    _, first, second, _, third, fourth = range(*GROUPS["right_eye"].indices(68))
    offset = np.zeros((68, 3))
    offset[[first, second], 1] = -opens_mm / 2
    offset[[third, fourth], 1] = opens_mm / 2
    tracker.person = replace(tracker.person, detector_offset=offset)
    given = []
    for module in (tracked_fit, second_pass):
        monkeypatch.setattr(
            module,
            "FitTarget",
            lambda scan, landmarks, *more: given.append(landmarks) or FitTarget(scan, landmarks, *more),
        )
    frame = replace(seen(dome, apart, look), number=1)
    result = tracker.register(frame)
    tracker.second_pass(replace(frame, colors=None), result, _Still())
    assert len(given) == 2
    shares = [open_share(landmarks, fine_template.landmarks(), "right_eye") for landmarks in given]
    assert all(least < share < most for share in shares), shares


class _Still:
    """A prior that predicts what was found."""

    def predict(self, displacement, normals, observed):
        return displacement
