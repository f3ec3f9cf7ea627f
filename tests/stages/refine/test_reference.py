"""reference: the subject's reference is the robust mean of its near-neutral frames."""

from __future__ import annotations

import numpy as np

from mimicme.stages.refine.reference import (
    LANDMARK_REACH_MM,
    landmark_weights,
    nearest_to_neutral,
    robust_mean,
)


def test_frames_that_agree_are_averaged():
    offsets = np.array([[[0.1, 0, 0]], [[0.2, 0, 0]], [[0.3, 0, 0]]])
    assert np.allclose(robust_mean(offsets), [[0.2, 0, 0]], atol=1e-3)


def test_a_frame_that_is_displaced_has_little_weight():
    rng = np.random.default_rng(0)
    offsets = 0.1 * rng.normal(size=(7, 50, 3)) + [0.5, 0, 0]
    offsets[3] += [6.0, 0, 0]
    error = np.linalg.norm(robust_mean(offsets) - [0.5, 0, 0], axis=1)
    plain = np.linalg.norm(offsets.mean(0) - [0.5, 0, 0], axis=1)
    assert error.max() < 0.25
    assert plain.min() > 0.6


def test_independent_errors_average_out_as_the_square_root():
    rng = np.random.default_rng(1)
    offsets = 0.3 * rng.normal(size=(25, 400, 3))
    left = np.sqrt((robust_mean(offsets) ** 2).mean())
    assert 0.05 < left < 0.075


def test_frames_nearest_to_the_neutral_come_first_and_ties_go_by_row():
    neutral = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    shapes = np.stack([neutral + [0, 0, z] for z in (3.0, 0.5, 1.0, -0.5)])
    faces = np.array([[0, 1, 2]], np.int32)
    assert nearest_to_neutral(shapes, neutral, faces, [0, 1, 2, 3], 3) == [1, 3, 2]
    assert nearest_to_neutral(shapes, neutral, faces, [0, 2], 5) == [2, 0]
    displaced = np.stack([neutral + [5.0, 0, 0], neutral + [0, 0, 0.1]])
    assert nearest_to_neutral(displaced, neutral, faces, [0, 1], 1) == [
        0
    ]  # tangential displacement is no expression


def test_neighbours_in_time_do_not_both_count():
    neutral = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    faces = np.array([[0, 1, 2]], np.int32)
    amount = np.sin(np.linspace(0, np.pi, 25)) ** 2 + np.linspace(0, 0.001, 25)  # neutral - apex - neutral
    shapes = np.stack([neutral + [0, 0, z] for z in amount])
    assert nearest_to_neutral(shapes, neutral, faces, list(range(25)), 3) == [0, 24, 5]
    assert nearest_to_neutral(shapes, neutral, faces, list(range(25)), 1) == [0]
    assert len(nearest_to_neutral(shapes, neutral, faces, list(range(4)), 4)) == 4


def test_frames_have_weight_near_landmarks_alone():
    landmarks = np.array([[0.0, 0, 0], [50, 0, 0], [np.nan, 0, 0]])
    at = np.array([[0.0, 0, 0], [50, LANDMARK_REACH_MM, 0], [0, -3 * LANDMARK_REACH_MM, 0]])
    assert np.allclose(landmark_weights(at, landmarks), [1, np.exp(-1), np.exp(-9)])
    assert np.array_equal(
        landmark_weights(at, landmarks[2:]), np.ones(3)
    )  # nothing is known of where landmarks are
