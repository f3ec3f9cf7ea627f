"""Outer corners of eyes where their white ends, in pictures that are drawn."""

import cv2
import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.stages.landmarks.creases import PIXELS_PER_MM
from mimicme.stages.landmarks.outer_corners import SHARE, follow_outer_corners, white_end
from mimicme.stages.landmarks.views import Scene

SKIN, WHITE, IRIS = (200, 150, 125), (215, 208, 202), (95, 60, 48)
CENTRE = np.array([80.0, 60.0])
HALF, HIGH = 14.0, 5.0  # mm, of an eye
# corner, two of the upper lid, corner, two of the lower: shares of half the length, and of the height
ALMOND = np.array([[-1, 0], [-0.4, -0.85], [0.4, -0.85], [1, 0], [0.4, 0.85], [-0.4, 0.85]])


def almond(half=HALF, turn_deg=0.0):
    """(6, 2) px, an eye's points."""
    turn = np.radians(turn_deg)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return CENTRE + (ALMOND * [half, HIGH]) @ axes * PIXELS_PER_MM


def drawn(marks, white=WHITE, iris=True):
    """(120, 160, 3) a picture of an eye with points (6, 2) px."""
    rng = np.random.default_rng(0)
    big = np.full((480, 640, 3), SKIN, np.uint8)
    x = np.linspace(-1, 1, 41)
    edge = np.r_[np.stack([x, -(1 - x**2)], axis=1), np.stack([x, 1 - x**2], axis=1)[::-1]]
    axis = (marks[3] - marks[0]) / 2
    across = np.array([-axis[1], axis[0]]) * HIGH * PIXELS_PER_MM / np.linalg.norm(axis)
    outline = (marks[0] + marks[3]) / 2 + edge[:, :1] * axis + edge[:, 1:] * across
    opening = cv2.fillPoly(np.zeros(big.shape[:2], np.uint8), [np.rint(4 * outline).astype(np.int32)], 1)
    big[opening > 0] = white
    if iris:
        disc = cv2.circle(
            np.zeros_like(opening), tuple(int(4 * c) for c in CENTRE), int(22 * PIXELS_PER_MM), 1, -1
        )
        big[(disc & opening) > 0] = IRIS
    small = cv2.resize(big, (160, 120), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.clip(small + rng.normal(0, 1.5, small.shape), 0, 255).astype(np.float32)


SEEN = np.zeros((120, 160), bool)


@pytest.mark.parametrize("turn", [0.0, 15.0])
@pytest.mark.parametrize("off_mm", [-2.5, 0.0, 2.0])
@pytest.mark.parametrize("outer", [0, 3])
def test_the_corner_is_where_the_white_ends(outer, off_mm, turn):
    """The networks have the eye longer or shorter than it is, and its iris has the hue of skin."""
    true = almond(turn_deg=turn)
    marks = true.copy()
    marks[outer] += (
        off_mm * PIXELS_PER_MM * (true[outer] - true[3 - outer]) / np.linalg.norm(true[3] - true[0])
    )
    place, evidence = white_end(drawn(true), SEEN, marks, outer)
    assert evidence > 0.9
    assert np.linalg.norm(place - true[outer]) < 1.0 * PIXELS_PER_MM


def test_what_shows_no_white_tells_nothing():
    marks = almond()
    rng = np.random.default_rng(1)
    shut = np.clip(np.array(SKIN) + rng.normal(0, 1.5, (120, 160, 3)), 0, 255).astype(np.float32)
    grey = np.repeat(drawn(marks).mean(axis=2, keepdims=True), 3, axis=2)
    hole = np.zeros((120, 160), bool)
    cv2_mask = cv2.fillPoly(hole.astype(np.uint8), [np.rint(almond(HALF + 2)).astype(np.int32)], 1)
    for picture, empty in ((shut, SEEN), (grey, SEEN), (drawn(marks), cv2_mask > 0)):
        place, evidence = white_end(picture, empty, marks, 0)
        assert evidence == 0 and np.array_equal(place, marks[0])
    assert white_end(drawn(marks), SEEN, np.repeat(marks[:1], 6, axis=0), 0)[1] == 0  # an eye without length


def test_skin_that_shines_and_white_that_goes_on_are_not_believed():
    marks = almond()
    shining = drawn(marks)
    far = np.random.default_rng(2).random((120, 160)) < 0.12
    shining[far] = WHITE
    assert white_end(shining, SEEN, marks, 0)[1] < 0.1
    band = drawn(marks)
    band[55:65, :80] = WHITE  # light across the temple
    assert white_end(band, SEEN, marks, 0)[1] < 0.1
    assert white_end(drawn(almond(HALF + 7)), SEEN, marks, 0)[1] < 0.1  # 7 mm beyond: of something else


DARK_SKIN = (85, 60, 45)
CASTS = {"none": (1, 1, 1), "warm": (1, 0.92, 0.75), "cool": (0.86, 0.95, 1)}


def of_skin(colour, cast="none"):
    """(120, 160, 3) a picture of an eye in skin of a colour, in light of a cast."""
    noise = drawn(almond()) - np.array(SKIN, np.float32)
    skin = np.abs(noise).max(axis=2, keepdims=True) < 12
    return np.where(skin, noise + np.array(colour, np.float32), drawn(almond())) * np.array(
        CASTS[cast], np.float32
    )


def stroked(picture, shapes, colour):
    """The picture with shapes (k, 2) px filled in a colour, their borders mixed."""
    big = cv2.resize(picture, (640, 480), interpolation=cv2.INTER_NEAREST)
    for shape in shapes:
        cv2.fillPoly(big, [np.rint(4 * np.array(shape)).astype(np.int32)], colour)
    return cv2.resize(big, (160, 120), interpolation=cv2.INTER_AREA)


def wing(mm, marks, outer):
    """(3, 2) px of a wing that goes on so far beyond an eye's outer corner, up and tapered, 3 mm high at the corner."""
    out = np.sign((marks[outer] - marks[3 - outer])[0])
    return marks[outer] + np.array([[-out, 1.5], [-out, -1.5], [mm * out, -mm / 3]]) * PIXELS_PER_MM


def goes_out(picture, marks, outer, true):
    """mm that an outer corner at (2,) px would go beyond the true one, as far as it is believed."""
    place, evidence = white_end(picture, SEEN, marks, outer)
    away = marks[outer] + evidence * (place - marks[outer])
    return float((away - true[outer])[0] * np.sign(true[outer] - true[3 - outer])[0] / PIXELS_PER_MM)


@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize("skin", [SKIN, DARK_SKIN])
def test_an_eye_in_dark_skin_or_coloured_light_ends_where_its_white_does(skin, cast):
    true = almond()
    short = true.copy()
    short[0, 0] += 2 * PIXELS_PER_MM
    place, evidence = white_end(of_skin(skin, cast), SEEN, short, 0)
    assert evidence > 0.9
    assert np.linalg.norm(place - true[0]) < PIXELS_PER_MM


@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize("skin", [SKIN, DARK_SKIN])
@pytest.mark.parametrize("colour", [(40, 38, 42), (30, 28, 30), (60, 70, 110)])
def test_a_wing_of_make_up_is_no_white(colour, skin, cast):
    """It goes 1.5 to 8 mm on beyond the eye, without skin's hue."""
    marks = almond()
    for outer in (0, 3):
        for mm in (1.5, 3.0, 5.0, 8.0):
            light = np.array(CASTS[cast]) * (1 if skin == SKIN else 0.8)
            made_up = stroked(
                of_skin(skin, cast), [wing(mm, marks, outer)], tuple(float(c) for c in colour * light)
            )
            assert goes_out(made_up, marks, outer, marks) < 0.6, (outer, mm)


def test_lashes_are_no_white():
    """Of the upper lid, beyond the corner, and those of an eye that is shut."""
    marks = almond()
    foot = marks[0] + np.array([1.0, -1.0]) * PIXELS_PER_MM
    lashes = [
        [
            foot + [k, -k / 2],
            foot + [k + 2, -k / 2 - 1],
            foot + [k / 2 - 3.5 * PIXELS_PER_MM, k - 1.5 * PIXELS_PER_MM],
        ]
        for k in range(5)
    ]
    assert goes_out(stroked(drawn(marks), lashes, (38, 34, 33)), marks, 0, marks) < 0.6
    line = np.concatenate([marks[[0, 4, 3]], marks[[3, 4, 0]] + [0, 4.0]])
    skin = np.clip(np.array(SKIN) + np.random.default_rng(1).normal(0, 1.5, (120, 160, 3)), 0, 255)
    narrow = marks.copy()
    narrow[:, 1] += 4.0
    place, evidence = white_end(stroked(skin.astype(np.float32), [line], (38, 36, 37)), SEEN, narrow, 0)
    assert evidence < 0.1


def test_white_in_the_shade_of_a_corner_is_white():
    """At 0.6 of the skin's brightness, where the other end is bright."""
    true = almond()
    picture, x = drawn(true), np.arange(160)
    shade = np.clip((x - true[0, 0]) / (6 * PIXELS_PER_MM), 0, 1)
    eye = np.abs(picture - np.array(SKIN)).max(axis=2) > 12
    picture[eye] *= (0.57 + 0.43 * shade)[None, :, None].repeat(120, axis=0)[eye]
    short = true.copy()
    short[0, 0] += 2 * PIXELS_PER_MM
    place, evidence = white_end(picture, SEEN, short, 0)
    assert evidence > 0.9
    assert np.linalg.norm(place - true[0]) < PIXELS_PER_MM


def flat_face():
    """A flat scan, mm, with two eyes in the colours of its vertices; its true points (68, 3), NaN but for the eyes."""
    picture = drawn(almond())
    step = 1 / PIXELS_PER_MM
    x, y = np.meshgrid(np.arange(-160, 160) * step, np.arange(60, -60, -1) * step)
    vertices = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3) + [step / 2, -step / 2, 0]
    index = np.arange(x.size).reshape(x.shape)
    a, b, c, d = (k.ravel() for k in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)]).astype(np.int32)
    colors = np.concatenate([picture, picture], axis=1).astype(np.uint8).reshape(-1, 3)
    points = np.full((68, 3), np.nan)
    for start, middle in ((36, -32.0), (42, 32.0)):
        points[start : start + 6] = np.c_[
            (almond() - CENTRE) / PIXELS_PER_MM * [1, -1] + [middle, 0], np.zeros(6)
        ]
    return Mesh(vertices, faces, colors=colors), points


def test_outer_corners_alone_go_most_of_the_way_and_only_by_colour():
    mesh, true = flat_face()
    points = true.copy()
    points[36, 0] -= 2.5
    points[45, 0] -= 2.5
    found, evidence = follow_outer_corners(Scene(mesh, None), points, np.eye(4))
    assert evidence[[36, 45]].min() > 0.9 * SHARE and np.count_nonzero(evidence) == 2
    off = np.linalg.norm(found - true, axis=1)[[36, 45]]
    assert off.max() < (1 - SHARE) * 2.5 + 0.8
    others = np.delete(np.arange(68), [36, 45])
    np.testing.assert_array_equal(found[others], points[others])
    bare = Scene(Mesh(mesh.vertices, mesh.faces), None)
    np.testing.assert_array_equal(follow_outer_corners(bare, points, np.eye(4))[0], points)
