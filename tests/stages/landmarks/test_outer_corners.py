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
