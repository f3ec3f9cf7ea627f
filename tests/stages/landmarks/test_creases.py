"""Creases: depths of a closed form, with the points of a detector that is beside them."""

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS
from mimicme.stages.landmarks.creases import (
    ABOVE_MM,
    PIXELS_PER_MM,
    STEP_MM,
    curvature_across,
    follow_creases,
    lid_marks,
    mouth_marks,
    straightened,
    unshown_parts,
)
from mimicme.stages.landmarks.views import Scene

SIZE_MM = (80.0, 110.0)
HEIGHT, WIDTH = (round(side * PIXELS_PER_MM) for side in SIZE_MM)
Y, X = (np.mgrid[:HEIGHT, :WIDTH] + 0.5 - np.array([HEIGHT, WIDTH])[:, None, None] / 2) / PIXELS_PER_MM
HALF_MM = 25.0  # half the width of the mouth
LID_X, LID_Y = np.array([-15.0, -5.0, 5.0, 15.0, 5.0, -5.0]), np.array([0.0, -5.0, -5.0, 0.0, 6.0, 6.0])


def pixels(places):
    """(k, 2) px of places (k, 2) mm, y down, from the middle of the picture."""
    return np.asarray(places) * PIXELS_PER_MM + np.array([WIDTH, HEIGHT]) / 2


def millimetres(places):
    return (places - np.array([WIDTH, HEIGHT]) / 2) / PIXELS_PER_MM


def mouth(half=HALF_MM, down=0.0, open_mm=0.0):
    """(20, 2) px a mouth's points, `half` as wide, as much lower as `down` says."""
    x = np.array([-1, -0.66, -0.3, 0, 0.3, 0.66, 1, 0.66, 0.3, 0, -0.3, -0.66])
    outer = np.stack([x * half, np.where(np.arange(12) < 7, -7.0, 8.0) * (1 - x**2)], axis=1)
    x = np.array([-0.88, -0.3, 0, 0.3, 0.88, 0.3, 0, -0.3])
    inner = np.stack(
        [x * half, np.where(np.arange(8) < 5, -0.5, 0.5) * open_mm * (1 - (x / 0.88) ** 2)], axis=1
    )
    return pixels(np.concatenate([outer, inner]) + [0.0, down])


def lips(deep_mm=2.5, noise=0.0, y=Y):
    """Depth (height, width) mm of a cheek with a groove as wide as a mouth, which ends within 2 mm."""
    end = 1 / (1 + np.exp((np.abs(X) - HALF_MM) / 0.5))
    depth = -0.004 * (X**2 + Y**2) - deep_mm * end * np.exp(-0.5 * (y / 1.0) ** 2)
    return (depth + noise * np.random.default_rng(0).normal(size=depth.shape)).astype(np.float32)


def test_a_cylinder_has_the_curvature_of_its_radius():
    radius = 10.0
    offset = np.arange(-10, 11) * STEP_MM
    trough = np.tile(radius - np.sqrt(radius**2 - offset**2), (15, 1)).astype(np.float32)
    whole = np.zeros(trough.shape, bool)
    middle = curvature_across(trough, whole)[7, 10]
    assert middle == pytest.approx(1 / radius, rel=0.03)
    assert curvature_across(-trough, whole)[7, 10] == pytest.approx(-middle)
    assert abs(curvature_across(np.tile(0.7 * offset, (15, 1)).astype(np.float32), whole)[7, 10]) < 1e-5


def test_a_line_without_a_length_has_no_strip():
    assert straightened(lips(), np.zeros((4, 2)), 1.0, 2.0) is None


@pytest.mark.parametrize("half", [19.0, 25.0, 30.0])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_closed_mouth_is_followed_to_where_its_crease_ends(half, noise):
    """Corners are 6 mm early, right or 5 mm late, and all is 3 mm too high."""
    found, worth = mouth_marks(lips(noise=noise), mouth(half, down=-3.0))
    corners = millimetres(found[[0, 6]])
    np.testing.assert_allclose(corners[:, 0], [-HALF_MM, HALF_MM], atol=1.5)
    np.testing.assert_allclose(corners[:, 1], -ABOVE_MM, atol=0.6)
    np.testing.assert_allclose(millimetres(found[13:16])[:, 1], -ABOVE_MM, atol=0.6)
    assert worth[[0, 6, 13, 14, 15, 17, 18, 19]].min() > 0.9


def test_a_spike_beside_the_mouth_is_not_its_end():
    depth = lips()
    depth += 6.0 * np.exp(-0.5 * (((X + 31.0) / 1.0) ** 2 + ((Y + 5.0) / 1.0) ** 2))
    found, _ = mouth_marks(depth.astype(np.float32), mouth(23.0))
    assert np.linalg.norm(millimetres(found[0]) - [-HALF_MM, -ABOVE_MM]) < 2.0


def test_a_hole_beside_the_mouth_is_not_its_opening():
    depth = lips()
    depth[(X + 33.0) ** 2 + Y**2 < 9.0] = np.nan
    found, _ = mouth_marks(depth, mouth(23.0))
    assert np.linalg.norm(millimetres(found[0]) - [-HALF_MM, -ABOVE_MM]) < 2.0


def test_the_rim_of_an_open_mouth_is_that_of_the_hole():
    depth = lips(0.0)
    rim = 6.0 * (1 - (X / HALF_MM) ** 2)
    depth[(np.abs(Y) < rim) & (np.abs(X) < HALF_MM)] = np.nan
    found, worth = mouth_marks(depth, mouth(23.0, open_mm=5.0))
    inner = millimetres(found[12:])
    np.testing.assert_allclose(inner[[0, 4], 0], [-HALF_MM, HALF_MM], atol=1.5)
    np.testing.assert_allclose(inner[[2, 6], 1], [-6.0, 6.0], atol=1.0)
    assert worth[12:].min() > 0.9


def test_smooth_skin_has_no_mouth_and_no_eyes():
    marks = mouth()
    found, worth = mouth_marks(lips(0.0, noise=0.05), marks)
    assert not worth.any()
    np.testing.assert_array_equal(found, marks)
    _, worth = lid_marks(lips(0.0), pixels(np.stack([LID_X, LID_Y], axis=1)))
    assert not worth.any()


def test_evidence_fades():
    """Shallow grooves have some: a mouth that hardly shows does not flip from frame to frame."""
    sure = [mouth_marks(lips(deep), mouth())[1][14] for deep in (0.2, 0.5, 0.6, 1.5)]
    assert sure[0] == 0 and 0 < sure[1] < sure[2] and sure[-1] == 1


def test_lids_go_to_the_step_beside_the_eyeball():
    """An eyeball that lies 2 mm behind its lids; the networks draw the eye half shut."""
    upper, lower = -6.0 * (1 - (X / 16) ** 2), 7.0 * (1 - (X / 16) ** 2)
    inside = np.minimum(Y - upper, lower - Y)
    depth = (-0.01 * (X**2 + Y**2) - 2.0 / (1 + np.exp(-inside / 0.4))).astype(np.float32)
    marks = pixels(np.stack([LID_X, 0.5 * LID_Y], axis=1))
    found, worth = lid_marks(depth, marks)
    wanted = np.array([-6.0, -6.0, 7.0, 7.0]) * (1 - (5 / 16) ** 2)
    np.testing.assert_allclose(millimetres(found)[[1, 2, 4, 5], 1], wanted, atol=1.0)
    assert worth[[1, 2, 4, 5]].min() > 0.9 and not worth[[0, 3]].any()


def test_an_eye_that_is_a_hole_ends_where_the_hole_does():
    depth = (-0.01 * (X**2 + Y**2)).astype(np.float32)
    depth[np.abs(Y) < 6.0 * (1 - (X / 16) ** 2)] = np.nan
    found, worth = lid_marks(depth, pixels(np.stack([0.9 * LID_X, 0.6 * LID_Y], axis=1)))
    there = millimetres(found)
    np.testing.assert_allclose(there[[0, 3], 0], [-16.0, 16.0], atol=1.5)
    np.testing.assert_allclose(np.abs(there[[1, 2, 4, 5], 1]), 6.0 * (1 - (4.5 / 16) ** 2), atol=1.0)
    assert worth.min() == 1


def test_what_has_no_evidence_is_named():
    evidence, by_shape = np.zeros(N_LANDMARKS), np.zeros(N_LANDMARKS)
    assert unshown_parts(evidence, by_shape) == ("brows", "eyes", "mouth")
    evidence[GROUPS["mouth"]] = 0.5
    assert unshown_parts(evidence, by_shape) == ("brows", "eyes")
    evidence[GROUPS["right_eye"]] = 1.0
    assert unshown_parts(evidence, by_shape) == ("brows",)
    evidence[GROUPS["right_eye"]] = 0.0
    by_shape[GROUPS["left_eyebrow"].start : GROUPS["right_eye"].stop] = 0.5
    assert unshown_parts(evidence, by_shape) == ("brows", "eyes")
    by_shape[GROUPS["left_eyebrow"].start : GROUPS["right_eye"].stop] = 0.7
    assert unshown_parts(evidence, by_shape) == ()


def test_with_colours_nothing_is_followed():
    square = np.array([[-60.0, -60, 0], [60, -60, 0], [60, 60, 0], [-60, 60, 0]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    points = np.zeros((N_LANDMARKS, 3))
    colours = np.full((4, 3), 200, np.uint8)
    found, evidence = follow_creases(Scene(Mesh(square, triangles, colors=colours), None), points, np.eye(4))
    np.testing.assert_array_equal(found, points)
    assert not evidence.any()
