"""lid_motion: the skin of closing lids follows their rims, near ones wholly, far ones not; open eyes stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.landmarks import GROUPS
from mimicme.stages.register.levels import build_levels
from mimicme.stages.register.lid_motion import CLOSES_MM, LidMotion
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


def test_skin_follows_the_rim_and_less_the_farther_it_lies(lids, template, levels):
    rest = template.vertices
    moved = lids.followed(rest, lowered(template, levels, 0, 6.0)) - rest
    far = above(template, "right_eye")
    rim, near, middle, brow = (
        -moved[(far >= low) & (far < high), 1].mean() for low, high in ((0, 1.5), (1.5, 4), (4, 7), (12, 18))
    )
    assert rim == pytest.approx(6.0, abs=1.2)
    assert rim > near > middle > brow
    assert near > 0.75 * rim and brow < 0.1 * rim


def test_the_other_eye_stays(lids, template, levels):
    moved = lids.followed(template.vertices, lowered(template, levels, 0, 6.0)) - template.vertices
    right, left = (template.landmarks()[GROUPS[eye]].mean(axis=0) for eye in ("right_eye", "left_eye"))
    farther = np.linalg.norm(template.vertices - left, axis=1) < np.linalg.norm(
        template.vertices - right, axis=1
    )
    assert moved[~farther].any() and not moved[farther].any()


def test_what_shows_between_the_lids_stays_between_them(lids, template, levels):
    rest = template.vertices
    moved = lids.followed(rest, lowered(template, levels, 0, 6.0))
    rims, patch = levels.rims[0], levels.fine.eyes[0].patch
    half = rims.rows @ moved / 2
    upper, lower = rims.middle @ moved + half, rims.middle @ moved - half
    order = np.argsort(upper[:, 0])
    high = np.interp(moved[patch, 0], upper[order, 0], upper[order, 1])
    low = np.interp(moved[patch, 0], lower[order, 0], lower[order, 1])
    assert (moved[patch, 1] < high + 0.7).all() and (moved[patch, 1] > low - 0.7).all()


def test_a_neutral_with_closed_eyes_says_nothing(template, levels):
    middle = template.landmarks()[GROUPS["right_eye"]].mean(axis=0)
    shut = template.vertices.copy()
    near = np.linalg.norm(shut - middle, axis=1) < 40
    shut[near, 1] = middle[1] + 0.02 * (shut[near, 1] - middle[1])
    flung = template.vertices - [0, 30, 0] * (template.vertices[:, 1:2] > middle[1])
    assert LidMotion(shut, levels).followed(shut, flung) is shut


def test_a_fit_that_has_lost_its_way_is_not_followed_to_its_end(lids, template, levels):
    moved = lids.followed(template.vertices, lowered(template, levels, 0, 200.0)) - template.vertices
    assert np.linalg.norm(moved, axis=1).max() < 20


def test_a_head_that_turns_has_not_closed_its_eyes(lids, template, turn):
    rest = template.vertices
    assert lids.followed(rest, rest @ turn.T) is rest


@pytest.fixture
def turn():
    angle = np.radians(8)
    return np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])


def test_lids_keep_their_size_where_a_fit_would_stretch_them(dome, template, levels):
    """A blink on a dome without marks: nothing but the rest shape says where lid skin lies."""
    tracker = SequenceTracker(template, levels, replace(dome.SETTINGS, coarse_vertices=1500), None)
    neutral = tracker.register(dome.frame(0, spacing=2.0)).vertices
    frame = dome.frame(1, spacing=2.0)
    marks = frame.landmarks.copy()
    first = GROUPS["right_eye"].start
    marks[[first + 1, first + 2]] = frame.landmarks[[first + 5, first + 4]] + [0, 0.5, 0]
    moved = tracker.register(replace(frame, landmarks=marks)).vertices - neutral
    far = above(template, "right_eye")
    rim, near = (-moved[(far >= low) & (far < high), 1].mean() for low, high in ((0, 1.5), (1.5, 4)))
    assert rim > 4
    assert near > 0.8 * rim
