"""eyelids: lids that the landmarks show closed meet, and the eyeball's patch goes behind; open ones stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import GROUPS
from mimicme.stages.register.eyelids import LEAST_VERTICES, find_eye, find_rims, patches
from mimicme.stages.register.levels import build_levels
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
        assert rims is not None
        apart = rims.rows @ fine_template.vertices
        assert (apart[:, 1] > 0).all()  # the upper one less the lower
        assert np.abs(apart[:, 0]).max() < 0.25 * apart[:, 1].max() + 1


def test_a_template_with_holes_or_few_vertices_has_no_eyes(fine_template, levels):
    v, f = fine_template.vertices, fine_template.faces
    few = np.zeros(len(v), bool)
    few[: LEAST_VERTICES - 1] = True
    assert find_eye(v, f, few, 0.1) is None
    marks = fine_template.landmarks()
    assert find_rims(v, f, levels.fine.areas, marks, "right_eye", few) is None


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


def test_an_open_eye_makes_no_difference(levels):
    same = levels.with_closed_eyes(False, False)
    assert same.lids == () and same.fine.closed == () and same.coarse.closed == ()
    assert (same.fine.stiffness != levels.fine.stiffness).nnz == 0


def test_lids_found_on_a_bare_scan_close_nothing(dome):
    frame = dome.frame(0)
    frame = replace(frame, landmarks=closed(frame.landmarks, "right_eye"), detected=np.ones(68, bool))
    lids = np.zeros(68, bool)
    lids[GROUPS["right_eye"]] = lids[GROUPS["left_eye"]] = True
    assert frame.tells_expression[lids].all()
    bare = replace(frame, coloured=False)
    assert not bare.tells_expression[lids].any()
    assert (bare.tells_expression == bare.known)[~lids].all()
    by_hand = replace(bare, detected=np.zeros(68, bool))
    assert by_hand.tells_expression[lids].all()
