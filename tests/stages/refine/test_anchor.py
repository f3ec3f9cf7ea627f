"""anchor: the subject's reference is what its calm frames agree on."""

from __future__ import annotations

import numpy as np

from mimicme.stages.refine.anchor import LANDMARK_REACH_MM, agreed, calmest, say


def test_frames_that_agree_are_averaged():
    offsets = np.array([[[0.1, 0, 0]], [[0.2, 0, 0]], [[0.3, 0, 0]]])
    assert np.allclose(agreed(offsets), [[0.2, 0, 0]], atol=1e-3)


def test_a_frame_that_slid_away_has_little_say():
    rng = np.random.default_rng(0)
    offsets = 0.1 * rng.normal(size=(7, 50, 3)) + [0.5, 0, 0]
    offsets[3] += [6.0, 0, 0]
    error = np.linalg.norm(agreed(offsets) - [0.5, 0, 0], axis=1)
    plain = np.linalg.norm(offsets.mean(0) - [0.5, 0, 0], axis=1)
    assert error.max() < 0.25
    assert plain.min() > 0.6


def test_independent_errors_even_out_as_the_square_root():
    rng = np.random.default_rng(1)
    offsets = 0.3 * rng.normal(size=(25, 400, 3))
    left = np.sqrt((agreed(offsets) ** 2).mean())
    assert 0.05 < left < 0.075


def test_the_calmest_come_first_and_ties_go_by_row():
    neutral = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    shapes = np.stack([neutral + [0, 0, z] for z in (3.0, 0.5, 1.0, -0.5)])
    faces = np.array([[0, 1, 2]], np.int32)
    assert calmest(shapes, neutral, faces, [0, 1, 2, 3], 3) == [1, 3, 2]
    assert calmest(shapes, neutral, faces, [0, 2], 5) == [2, 0]
    slid = np.stack([neutral + [5.0, 0, 0], neutral + [0, 0, 0.1]])
    assert calmest(slid, neutral, faces, [0, 1], 1) == [0]  # sliding is no expression


def test_neighbours_in_time_do_not_both_count():
    neutral = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    faces = np.array([[0, 1, 2]], np.int32)
    amount = np.sin(np.linspace(0, np.pi, 25)) ** 2 + np.linspace(0, 0.001, 25)  # neutral - apex - neutral
    shapes = np.stack([neutral + [0, 0, z] for z in amount])
    assert calmest(shapes, neutral, faces, list(range(25)), 3) == [0, 24, 5]
    assert calmest(shapes, neutral, faces, list(range(25)), 1) == [0]
    assert len(calmest(shapes, neutral, faces, list(range(4)), 4)) == 4


def test_frames_have_their_say_near_landmarks_alone():
    landmarks = np.array([[0.0, 0, 0], [50, 0, 0], [np.nan, 0, 0]])
    at = np.array([[0.0, 0, 0], [50, LANDMARK_REACH_MM, 0], [0, -3 * LANDMARK_REACH_MM, 0]])
    assert np.allclose(say(at, landmarks), [1, np.exp(-1), np.exp(-9)])
    assert np.array_equal(say(at, landmarks[2:]), np.ones(3))  # nothing is known of where landmarks are
