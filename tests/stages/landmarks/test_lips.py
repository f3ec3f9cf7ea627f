"""Lips: painted on pictures of skin, with the points of a detector that is beside them."""

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.stages.landmarks.lips import (
    INNER,
    OUTER,
    PIXELS_PER_MM,
    TAPER_MM,
    follow_lips,
    lip_marks,
    lips_of,
)
from mimicme.stages.landmarks.views import Scene

SIZE_MM = (80.0, 100.0)
HEIGHT, WIDTH = (round(side * PIXELS_PER_MM) for side in SIZE_MM)
Y, X = (np.mgrid[:HEIGHT, :WIDTH] + 0.5 - np.array([HEIGHT, WIDTH])[:, None, None] / 2) / PIXELS_PER_MM
SKIN, RED = np.array([190.0, 140.0, 115.0]), np.array([160.0, 85.0, 80.0])
HALF_MM, UPPER_MM, LOWER_MM = 25.0, 7.0, 9.0  # half the width; heights


def mouth(half=HALF_MM, upper=UPPER_MM, lower=LOWER_MM, open_mm=0.0):
    """(20, 2) px the points of a mouth between two parabolas, y down; `open_mm`: height of its opening."""
    x = np.array([-1, -0.66, -0.3, 0, 0.3, 0.66, 1, 0.66, 0.3, 0, -0.3, -0.66])
    high = np.where(np.arange(12) < 7, -upper, lower) * (1 - x**2)
    inner = np.array([-0.85, -0.3, 0, 0.3, 0.85, 0.3, 0, -0.3])
    gap = np.where(np.arange(8) < 5, -0.5, 0.5) * open_mm * (1 - (inner / 0.85) ** 2)
    flat = np.concatenate([np.stack([x * half, high], axis=1), np.stack([inner * half, gap], axis=1)])
    return flat * PIXELS_PER_MM + np.array([WIDTH, HEIGHT]) / 2


def drawn(red=RED, shade=0.0, noise=4.0, open_mm=0.0):
    """A picture of that mouth; `shade`: how much darker it is at the right border than at the left one."""
    inside = np.clip(1 - (X / HALF_MM) ** 2, 0, None)
    share = 1 / (1 + np.exp(4 * np.maximum(-Y - UPPER_MM * inside, Y - LOWER_MM * inside)))
    share *= np.abs(X) < HALF_MM
    picture = SKIN + share[..., None] * (red - SKIN)
    hollow = np.abs(Y) < 0.5 * open_mm * (1 - (X / (0.85 * HALF_MM)) ** 2)
    picture[hollow] = [40.0, 20.0, 20.0]
    rng = np.random.default_rng(0)
    picture *= (1 - shade * (X / SIZE_MM[1] + 0.5))[..., None] * (1 + 0.05 * rng.normal(size=X.shape))[
        ..., None
    ]
    return (picture + rng.normal(scale=noise, size=picture.shape)).clip(0, 255).astype(np.float32)


WHOLE = np.zeros((HEIGHT, WIDTH), bool)


def off_mm(found, wanted):
    return np.linalg.norm(found - wanted, axis=1) / PIXELS_PER_MM


@pytest.mark.parametrize("shade", [0.0, 0.5])
@pytest.mark.parametrize("open_mm", [0.0, 6.0])
def test_a_mouth_that_a_detector_draws_too_small_is_outlined(shade, open_mm):
    """Corners 3 mm too far in, borders 2 mm: each point goes across its border, corners along the mouth."""
    seen = mouth(HALF_MM - 3, UPPER_MM - 2, LOWER_MM - 2, open_mm)
    found, evidence = lip_marks(drawn(shade=shade, open_mm=open_mm), WHOLE, seen)
    true = mouth(open_mm=open_mm)
    ends = true[[0, 6]] + [[-TAPER_MM * PIXELS_PER_MM, 0], [TAPER_MM * PIXELS_PER_MM, 0]]
    np.testing.assert_allclose(off_mm(found[[0, 6]], ends), 0, atol=1.2)
    x = (found[OUTER, 0] - WIDTH / 2) / PIXELS_PER_MM
    y = (found[OUTER, 1] - HEIGHT / 2) / PIXELS_PER_MM
    border = np.where(np.arange(12) < 7, -UPPER_MM, LOWER_MM) * (1 - (x / HALF_MM) ** 2)
    between = np.setdiff1d(OUTER, [0, 6])
    assert np.abs(y - border)[between].max() < 0.8
    assert evidence[OUTER].min() > 0.9
    assert off_mm(seen, true)[OUTER].min() > 1.0


def test_inner_corners_go_with_the_outer_ones():
    seen = mouth(HALF_MM - 3)
    found, evidence = lip_marks(drawn(), WHOLE, seen)
    np.testing.assert_allclose((found - seen)[[12, 16]], (found - seen)[[0, 6]])
    np.testing.assert_array_equal(evidence[np.setdiff1d(INNER, [12, 16])], 0)
    np.testing.assert_array_equal(found[13:16], seen[13:16])


def test_lips_without_a_colour_of_their_own_stay():
    seen = mouth(HALF_MM - 3)
    found, evidence = lip_marks(drawn(red=SKIN), WHOLE, seen)
    np.testing.assert_array_equal(found, seen)
    assert not evidence.any()


def test_pale_lips_count_less_the_paler_they_are():
    """From one frame to the next it must not be all or nothing."""
    counts = []
    for share in np.linspace(1.0, 0.0, 15):
        picture = drawn(red=share * RED + (1 - share) * SKIN, noise=6.0)
        counts.append(float(lip_marks(picture, WHOLE, mouth(HALF_MM - 2))[1][OUTER].mean()))
    assert counts[0] > 0.9
    assert counts[-1] == 0.0
    assert np.abs(np.diff(counts)).max() < 0.5


def test_separation_is_that_of_the_colours():
    """Shade, which varies on skin and lips alike, is no part of it."""
    plain, shaded = (lips_of(drawn(shade=s), WHOLE, mouth()) for s in (0.0, 0.6))
    assert plain.separation > 4
    assert shaded.separation > 4
    for found in (plain, shaded):
        middle = found.share[HEIGHT // 2 + 8 : HEIGHT // 2 + 16, WIDTH // 2 - 10 : WIDTH // 2 + 10]
        assert abs(np.median(middle) - 1) < 0.15
        assert abs(np.median(found.share[-20:])) < 0.15


@pytest.mark.parametrize("rows", [np.s_[: HEIGHT // 2], np.s_[:, WIDTH // 2 :], np.s_[:]])
def test_what_lies_over_a_hole_stays(rows):
    empty = WHOLE.copy()
    empty[rows] = True
    picture = drawn()
    picture[empty] = 0
    seen = mouth(HALF_MM - 2, UPPER_MM - 1, LOWER_MM - 1)
    found, evidence = lip_marks(picture, empty, seen)
    at = np.rint(seen).astype(int)
    over = empty[at[:, 1], at[:, 0]]
    assert not evidence[OUTER][over[OUTER]].any()
    np.testing.assert_array_equal(found[OUTER][over[OUTER]], seen[OUTER][over[OUTER]])


def test_points_in_one_place_are_no_mouth():
    found, evidence = lip_marks(drawn(), WHOLE, np.full((20, 2), 60.0))
    np.testing.assert_array_equal(found, np.full((20, 2), 60.0))
    assert not evidence.any()


def flat_scan(textured=True, open_mm=0.0, drawn_open_mm=0.0):
    """A flat scan with the mouth in its texture, and the points (68, 3) of a detector that draws it too small."""
    side = 60.0
    square = np.array([[-side, -side, 0], [side, -side, 0], [side, side, 0], [-side, side, 0]])
    uv = (square[:, :2] + side) / (2 * side)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    size = round(2 * side * PIXELS_PER_MM)
    image = np.full((size, size, 3), SKIN, np.uint8)
    top, left = (size - HEIGHT) // 2, (size - WIDTH) // 2
    image[top : top + HEIGHT, left : left + WIDTH] = drawn(noise=2.0, open_mm=open_mm)
    points = np.full((68, 3), 30.0)
    flat = (
        mouth(HALF_MM - 3, UPPER_MM - 2, LOWER_MM - 2, drawn_open_mm) - np.array([WIDTH, HEIGHT]) / 2
    ) / PIXELS_PER_MM
    points[48:] = np.stack([flat[:, 0], -flat[:, 1], 0 * flat[:, 0]], axis=1)
    mesh = Mesh(square, faces, uv=uv, uv_faces=faces)
    return Scene(mesh, image) if textured else Scene(Mesh(square, faces), None), points


def test_points_on_a_scan_go_to_its_lips_and_nothing_else_does():
    scene, points = flat_scan()
    found, evidence = follow_lips(scene, points, np.eye(4))
    assert np.flatnonzero(evidence).tolist() == list(range(48, 60))
    np.testing.assert_array_equal(found[:48], points[:48])
    np.testing.assert_array_equal(found[[61, 62, 63, 65, 66, 67]], points[[61, 62, 63, 65, 66, 67]])
    np.testing.assert_allclose(np.abs(found[[48, 54], 0]), HALF_MM, atol=1.2)
    np.testing.assert_allclose(found[[51, 57], 1], [UPPER_MM, -LOWER_MM], atol=0.8)
    np.testing.assert_allclose(found[48:, 2], 0, atol=1e-4)


def test_the_inner_borders_of_an_open_mouth_are_followed_in_space():
    scene, points = flat_scan(open_mm=8.0, drawn_open_mm=4.0)
    found, evidence = follow_lips(scene, points, np.eye(4))
    inner = [61, 62, 63, 65, 66, 67]
    assert evidence[inner].min() > 0.9
    np.testing.assert_allclose(found[[62, 66], 1], [4.0, -4.0], atol=0.8)
    np.testing.assert_allclose(found[inner, 0], points[inner, 0], atol=1.0)
    np.testing.assert_allclose(found[inner, 2], 0, atol=1e-4)


def test_without_colours_nothing_is_followed():
    scene, points = flat_scan(textured=False)
    found, evidence = follow_lips(scene, points, np.eye(4))
    np.testing.assert_array_equal(found, points)
    assert not evidence.any()


def test_lips_that_are_pushed_out_are_followed_however_far_behind_them_the_points_lie():
    """Of pouted lips the networks' depth is 14 mm off."""
    scene, points = flat_scan()
    points[48:60, 2] = -14.0
    found, evidence = follow_lips(scene, points, np.eye(4))
    assert evidence[48:60].min() > 0.9
    np.testing.assert_allclose(found[[51, 57], 1], [UPPER_MM, -LOWER_MM], atol=0.8)
    np.testing.assert_allclose(found[48:60, 2], 0, atol=1e-4)
    points[48:60, 2] = 14.0  # a ray that passes them by meets the throat
    assert not follow_lips(scene, points, np.eye(4))[1][48:60].any()


def test_a_slit_between_the_lips_hides_no_corner_and_a_hole_does():
    seen = mouth(HALF_MM - 3)
    slit = (np.abs(Y) < 0.5) & (np.abs(X) < HALF_MM + 1.5)
    found, evidence = lip_marks(drawn(), slit, seen)
    assert evidence[[0, 6]].min() > 0.9
    ends = mouth()[[0, 6]] + [[-TAPER_MM * PIXELS_PER_MM, 0], [TAPER_MM * PIXELS_PER_MM, 0]]
    np.testing.assert_allclose(off_mm(found[[0, 6]], ends), 0, atol=1.2)
    hole = (np.abs(Y) < 4.0) & (np.abs(X) > HALF_MM - 12) & (np.abs(X) < HALF_MM + 9)
    assert not lip_marks(drawn(), hole, seen)[1][[0, 6]].any()
