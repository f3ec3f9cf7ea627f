"""lid_motion: closing lids are fitted again from where they were fitted; what is far from them, and open eyes, stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.template.eyelids import CLOSES_MM
from mimicme.stages.register.levels import build_levels
from mimicme.stages.register.lid_motion import LidMotion, Smoothing
from mimicme.stages.register.track import SequenceTracker

SPACING = 2.0


@pytest.fixture(scope="module")
def template(dome):
    return dome.template(SPACING)


@pytest.fixture(scope="module")
def levels(template, dome):
    return build_levels(template, 1500, dome.SETTINGS.membrane)


@pytest.fixture(scope="module")
def lids(template, levels):
    return LidMotion(template.vertices, levels)


def above(template, eye: str) -> np.ndarray:
    """(V,) mm straight above the upper lid, over the middle of an eye; NaN elsewhere."""
    marks = template.landmarks()[GROUPS[eye]]
    lid, vertices = marks[[1, 2]].mean(axis=0), template.vertices
    here = (np.abs(vertices[:, 0] - lid[0]) < 3) & (vertices[:, 1] > lid[1])
    return np.where(here, vertices[:, 1] - lid[1], np.nan)


def lowered(template, levels, eye: int, by_mm: float, reach_mm: float = 4.0) -> np.ndarray:
    """The template with an eye's upper rim, and what is near it, moved down by so much; corners stay."""
    rims = levels.rims[eye]
    rim = rims.middle @ template.vertices + rims.rows @ template.vertices / 2
    apart = np.linalg.norm(template.vertices[:, None] - rim, axis=2)
    amid = np.sin(np.linspace(0, np.pi, len(rim)))[apart.argmin(axis=1)]
    moved = template.vertices.copy()
    moved[:, 1] -= by_mm * amid * np.clip(2 - apart.min(axis=1) / reach_mm, 0, 1)
    return moved


def test_eyes_that_stay_open_move_nothing(lids, template, levels):
    rest = template.vertices
    assert lids.followed(rest, rest) is rest
    assert lids.followed(rest, lowered(template, levels, 0, 0.8 * CLOSES_MM[0])) is rest
    assert lids.followed(rest, lowered(template, levels, 0, -3.0)) is rest  # wider open


def test_skin_of_a_closing_lid_is_where_it_was_fitted_and_what_is_far_at_rest(lids, template, levels):
    rest = template.vertices
    found = lowered(template, levels, 0, 6.0) + [0.0, 0.0, 0.3]
    moved = lids.followed(rest, found)
    far = above(template, "right_eye")
    near, beyond = far < 8, far > 30
    smoothed = rest + lids._smoothing(0).of(found - rest)
    assert near.sum() > 5 and np.allclose(moved[near], smoothed[near])
    assert np.allclose(moved[near][:, [0, 2]], found[near][:, [0, 2]])  # what is even there stays
    # so do the 6 mm, but where they end within 4
    assert np.linalg.norm((moved - found)[near]) < 0.1 * np.linalg.norm((found - rest)[near])
    assert beyond.sum() > 5 and np.array_equal(moved[beyond], rest[beyond])


def test_a_kink_of_a_rim_does_not_become_its_rest_and_the_closing_does(lids, template, levels):
    """A landmark amid the rim that is 1 mm off draws a V into it."""
    rest, rims = template.vertices, levels.rims[0]
    upper = rims.middle + rims.rows / 2
    straight = lowered(template, levels, 0, 6.0)
    amid = (upper @ rest)[len(rims.areas) // 2]
    kink = np.outer(np.clip(1 - np.linalg.norm(rest - amid, axis=1) / 4, 0, 1), [0.0, -1.0, 0.0])
    clean, kinked = (upper @ (lids.followed(rest, found) - rest) for found in (straight, straight + kink))
    assert bend(kinked - clean) < 0.5 * bend(upper @ kink) and bend(upper @ kink) > 0.1
    asked = upper @ (straight - rest)
    assert np.linalg.norm(clean - asked) < 0.05 * np.linalg.norm(asked)


def bend(line: np.ndarray) -> float:
    """The largest second difference of a line (k, 3), mm."""
    return float(np.linalg.norm(np.diff(line, 2, axis=0), axis=1).max())


def test_what_is_even_stays(template):
    vertices = template.vertices
    middle = template.landmarks()[GROUPS["right_eye"]].mean(axis=0)
    apart = np.linalg.norm(vertices - middle, axis=1)
    smoothing = Smoothing(vertices, template.faces, apart < 25, apart < 5)
    even = 0.1 * (vertices - middle) @ np.array([[1.0, 0.5, 0], [0, 1, 0.2], [0, 0, 1]]) + [0, 3.0, 0]
    assert np.abs(smoothing.of(even) - even).max() < 0.02


@pytest.mark.parametrize("parted", [True, False])
def test_lids_are_smoothed_each_on_its_own(template, parted):
    """A jump across a strip stays where that is what lies between lids, and is rounded off where it is skin."""
    vertices = template.vertices
    away = vertices - template.landmarks()[GROUPS["right_eye"]].mean(axis=0)
    near = (np.abs(away[:, 0]) < 12) & (np.abs(away[:, 1]) < 14) & (away[:, 2] > -30)
    strip = near & (np.abs(away[:, 1]) < 2.5)
    jump = np.outer(np.where(away[:, 1] > 0, -4.0, 0.0), [0.0, 1.0, 0.0])
    smooth = Smoothing(vertices, template.faces, near, strip if parted else np.zeros_like(strip)).of(jump)
    assert np.array_equal(smooth[~near], jump[~near])
    skin = np.abs(smooth - jump)[near & ~strip].max()
    assert skin < 0.001 if parted else skin > 0.2


def test_what_is_between_the_lids_goes_along(template):
    vertices = template.vertices
    away = vertices - template.landmarks()[GROUPS["right_eye"]].mean(axis=0)
    near, shown = np.linalg.norm(away, axis=1) < 20, np.linalg.norm(away, axis=1) < 5
    waves = np.outer(np.sin(away[:, 0]), [0.0, 1.0, 0.0])
    change = (Smoothing(vertices, template.faces, near, shown).of(waves) - waves)[:, 1]
    skin = change[near & ~shown]
    assert np.abs(skin).max() > 0.5
    assert np.ptp(change[shown]) > 0.1
    assert skin.min() <= change[shown].min() and change[shown].max() <= skin.max()


def test_it_begins_by_degrees(lids, template, levels):
    rest = template.vertices
    moved = [
        np.abs(lids.followed(rest, lowered(template, levels, 0, by)) - rest).max()
        for by in np.arange(0.5, 6.0, 0.25)
    ]
    assert moved[0] == 0 and moved[-1] > 4
    assert np.diff(moved).max() < 1.5


def test_the_other_eye_stays(lids, template, levels):
    moved = (
        lids.followed(template.vertices, lowered(template, levels, 0, 6.0) + [0, 0, 0.3]) - template.vertices
    )
    right, left = (template.landmarks()[GROUPS[eye]].mean(axis=0) for eye in ("right_eye", "left_eye"))
    farther = np.linalg.norm(template.vertices - left, axis=1) < np.linalg.norm(
        template.vertices - right, axis=1
    )
    assert moved[~farther].any() and not moved[farther].any()


def test_a_neutral_with_closed_eyes_says_nothing(template, levels):
    middle = template.landmarks()[GROUPS["right_eye"]].mean(axis=0)
    shut = template.vertices.copy()
    near = np.linalg.norm(shut - middle, axis=1) < 40
    shut[near, 1] = middle[1] + 0.02 * (shut[near, 1] - middle[1])
    flung = shut - np.outer(near & (shut[:, 1] > middle[1]), [0, 30, 0])
    assert LidMotion(shut, levels).followed(shut, flung) is shut


def test_a_fit_that_is_no_number_closes_nothing(lids, template):
    assert lids.followed(template.vertices, np.full_like(template.vertices, np.nan)) is template.vertices


def test_a_head_that_turns_has_not_closed_its_eyes(lids, template, turn):
    rest = template.vertices
    assert lids.followed(rest, rest @ turn.T) is rest


@pytest.fixture
def turn():
    angle = np.radians(8)
    return np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])


def test_a_rim_goes_as_far_as_its_landmarks(dome, template, levels):
    """A blink on a dome without marks: the stiffness alone would hold the lid back."""
    frame = dome.frame(1, spacing=2.0)
    marks = frame.landmarks.copy()
    first = GROUPS["right_eye"].start
    marks[[first + 1, first + 2]] = frame.landmarks[[first + 5, first + 4]] + [0, 0.5, 0]
    frame = replace(frame, landmarks=marks)
    lowered_by = []
    for free in (True, False):
        tracker = SequenceTracker(template, levels, replace(dome.SETTINGS, coarse_vertices=1500), None)
        neutral = tracker.register(dome.frame(0, spacing=2.0)).vertices
        if not free:
            tracker.person = replace(tracker.person, lid_motion=None)
        moved = levels.fine.landmarks @ (tracker.register(frame).vertices - neutral)
        lowered_by.append(-moved[[first + 1, first + 2], 1].mean())
    asked = (dome.frame(0, spacing=2.0).landmarks - marks)[[first + 1, first + 2], 1].mean()
    assert lowered_by[1] < lowered_by[0]
    assert abs(lowered_by[0] - asked) < abs(lowered_by[1] - asked)


def test_a_wrong_landmark_of_a_lid_counts_in_full(dome, template, levels):
    """Of the shape at rest that has followed it, it would be found again where it was."""
    frame = dome.frame(1, spacing=2.0)
    marks = frame.landmarks.copy()
    first = GROUPS["right_eye"].start
    marks[[first + 1, first + 2]] = frame.landmarks[[first + 5, first + 4]] + [0, 0.5, 0]
    marks[first + 2] += [0, -4.0, 0]
    errors = []
    for free in (True, False):
        tracker = SequenceTracker(template, levels, replace(dome.SETTINGS, coarse_vertices=1500), None)
        tracker.register(dome.frame(0, spacing=2.0))
        if not free:
            tracker.person = replace(tracker.person, lid_motion=None)
        errors.append(tracker.register(replace(frame, landmarks=marks)).quality.landmark_error)
    assert errors[0] > 0.85 * errors[1]


def test_nothing_follows_lids_that_a_detector_found(dome, template, levels):
    """Its points tremble, and what follows them freely would tremble as much."""
    frame = dome.frame(1, spacing=2.0)
    marks = frame.landmarks.copy()
    first = GROUPS["right_eye"].start
    marks[[first + 1, first + 2]] = frame.landmarks[[first + 5, first + 4]] + [0, 0.5, 0]
    frame = replace(frame, landmarks=marks, detected=np.ones(len(marks), bool))
    shapes = []
    for free in (True, False):
        tracker = SequenceTracker(template, levels, replace(dome.SETTINGS, coarse_vertices=1500), None)
        tracker.register(dome.frame(0, spacing=2.0))
        if not free:
            tracker.person = replace(tracker.person, lid_motion=None)
        shapes.append(tracker.register(frame).vertices)
    np.testing.assert_array_equal(*shapes)
