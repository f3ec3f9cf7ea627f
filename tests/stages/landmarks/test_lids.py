"""Lids: of eyes that a scan left out, painted over or black, and shut ones, which detectors draw too high."""

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.landmarks import N_LANDMARKS
from mimicme.stages.landmarks import lids
from mimicme.stages.landmarks.creases import EYE_MM, PIXELS_PER_MM
from mimicme.stages.landmarks.lids import (
    FURTHER_MM,
    LIDS,
    SAG,
    Look,
    closed_lids,
    closed_share,
    follow_lids,
    hole_lids,
    look_of,
)
from mimicme.stages.landmarks.views import Scene

WIDTH, HEIGHT = (round(side * PIXELS_PER_MM) for side in EYE_MM)
Y, X = (np.mgrid[:HEIGHT, :WIDTH] + 0.5 - np.array([HEIGHT, WIDTH])[:, None, None] / 2) / PIXELS_PER_MM
HALF_MM, HIGH_MM = 15.0, 4.5
EYE_X, EYE_Y = np.array([-15.0, -5, 5, 15, 5, -5]), np.array([0.0, -1, -1, 0, 1, 1])
SKIN, LASHES = np.array([190.0, 140.0, 115.0]), 60.0


def pixels(x_mm, y_mm):
    return np.stack([np.asarray(x_mm, float), np.asarray(y_mm, float)], axis=1) * PIXELS_PER_MM + [
        WIDTH / 2,
        HEIGHT / 2,
    ]


def millimetres(places):
    return (places - [WIDTH / 2, HEIGHT / 2]) / PIXELS_PER_MM


def almond(half_mm=HALF_MM, high_mm=HIGH_MM):
    return np.abs(Y) < high_mm * (1 - (X / half_mm) ** 2)


def drawn(high_mm, up_mm=0.0):
    """(6, 2) px as a detector draws an eye, so high and so far up."""
    return pixels(EYE_X, EYE_Y * high_mm / 2 - up_mm)


RIM_MM = HIGH_MM * (1 - (5 / HALF_MM) ** 2)


@pytest.mark.parametrize("up_mm", [0.0, 4.0, 8.0])
def test_an_eye_that_is_a_hole_has_its_lids_on_the_rim(up_mm):
    """However far up the detector, who sees paint over it, has them."""
    found, worth = hole_lids(almond(), drawn(3.0, up_mm))
    there = millimetres(found)
    np.testing.assert_allclose(there[LIDS, 1], [-RIM_MM, -RIM_MM, RIM_MM, RIM_MM], atol=0.6)
    np.testing.assert_allclose(there[[0, 3], 0], EYE_X[[0, 3]], atol=1e-6)
    np.testing.assert_allclose(there[[0, 3], 1], 0.0, atol=0.6)
    assert worth.min() == 1


def test_a_hole_beside_the_eye_that_it_runs_into_moves_no_corner():
    blot = np.hypot(X - HALF_MM - 4, Y) < 5
    marks = drawn(3.0)
    found, worth = hole_lids(almond() | blot, marks)
    assert worth[3] == 0 and worth[[0, 1, 2, 4, 5]].min() > 0.5
    np.testing.assert_allclose(millimetres(found)[LIDS, 1], [-RIM_MM, -RIM_MM, RIM_MM, RIM_MM], atol=0.6)
    assert FURTHER_MM[0] < 9


@pytest.mark.parametrize("side", [-1, 1])
def test_a_hole_in_a_lid_that_it_runs_into_does_not_bend_the_rim(side):
    blot = np.hypot(X - 4, Y - side * (HIGH_MM + 2)) < 3.5
    slit = (np.abs(Y - side * (HIGH_MM + 1)) < 0.4) & (X < -4) & (X > -12) | (np.abs(X + 11) < 0.5) & (
        Y * side > 0
    )
    found, _ = hole_lids(almond() | blot | slit & (np.abs(Y) < 6), drawn(3.0))
    np.testing.assert_allclose(millimetres(found)[LIDS, 1], [-RIM_MM, -RIM_MM, RIM_MM, RIM_MM], atol=1.0)


@pytest.mark.parametrize(
    "empty",
    [
        np.zeros((HEIGHT, WIDTH), bool),
        np.hypot(X, Y) < 4,  # a cornea
        np.hypot(X, Y) < 15,  # the whole socket
        np.abs(Y) < 3,  # goes on beyond the picture
        np.hypot(X, (Y + 16) * 2) < 13,  # a hole in the brow
        almond(half_mm=8.0),
    ],
)
def test_other_holes_are_no_eye(empty):
    marks = drawn(3.0)
    found, worth = hole_lids(empty, marks)
    assert not worth.any()
    np.testing.assert_array_equal(found, marks)


def test_what_a_hole_is_worth_fades():
    sure = [hole_lids(almond(half_mm=half), drawn(3.0))[1][1] for half in (8.0, 9.4, 9.9, 12.0)]
    assert sure[0] == 0 and 0 < sure[1] < sure[2] < sure[3] == 1


def shut(down_mm, dark=LASHES, deep_mm=0.8):
    """Picture and depth of a shut eye whose lids meet in a bow that hangs so far below its corners."""
    away = Y - down_mm * (1 - (X / HALF_MM) ** 2)
    line = np.exp(-((away / 0.6) ** 2)) * (np.abs(X) < HALF_MM)
    picture = SKIN * (1 - line[..., None]) + dark * line[..., None]
    bulge = 2.0 * np.exp(-(((X / 12) ** 2) + ((Y + 2) / 6) ** 2))
    return picture.astype(np.float32), (bulge - deep_mm * line).astype(np.float32)


UNSEEN = Look(np.nan, 8.0)


def share_of(picture, depth, marks):
    return closed_share(look_of(picture, np.isnan(depth), marks), UNSEEN)


BOW_MM = SAG * 2 * HALF_MM
"""Where shut lids mostly meet, below the corners of `EYE_X`."""


@pytest.mark.parametrize("down_mm", [1.0, 4.0])
def test_shut_lids_meet_on_the_dark_crease(down_mm):
    marks = drawn(2.0, 1.0)
    assert share_of(*shut(down_mm), marks) == 1
    found, clear = closed_lids(*shut(down_mm), marks, 1.0)
    assert clear > 0.9
    np.testing.assert_array_equal(found[[0, 3]], marks[[0, 3]])
    wanted = down_mm * (1 - (5 / HALF_MM) ** 2)
    np.testing.assert_allclose(millimetres(found)[LIDS, 1], wanted, atol=0.75)


@pytest.mark.parametrize("high_mm", [2.0, 8.0])
def test_skin_without_a_line_has_shut_lids_where_they_mostly_meet(high_mm):
    """However open the networks draw it."""
    picture, depth = shut(3.0, deep_mm=0.0)
    marks = drawn(high_mm)
    picture = np.ones_like(picture) * SKIN.astype(np.float32)
    assert share_of(picture, depth, marks) == 1
    found, clear = closed_lids(picture, depth, marks, 1.0)
    assert clear == 0
    np.testing.assert_allclose(millimetres(found)[LIDS, 1], BOW_MM, atol=1e-6)
    np.testing.assert_allclose(found[:, 0], marks[:, 0], atol=1e-6)


def test_a_shut_eye_that_is_drawn_open_goes_to_the_line_all_the_same():
    """Beside an open eye the networks draw a shut one as open as that, on the lid."""
    assert share_of(*shut(4.0), drawn(6.0)) == 1
    found, clear = closed_lids(*shut(4.0), drawn(6.0), 1.0)
    assert clear > 0.9
    np.testing.assert_allclose(millimetres(found)[LIDS, 1], 4.0 * (1 - (5 / HALF_MM) ** 2), atol=0.75)


def test_an_eye_that_shows_the_colours_of_one_is_open_and_a_slit_of_it_hardly_closed():
    marks = drawn(6.0)
    picture, depth = shut(3.0)
    high = np.abs(Y) < 3.0 * (1 - (X / HALF_MM) ** 2)

    def opened(part):
        white = np.where((high & part)[..., None], [225.0, 220.0, 215.0], picture)
        return share_of(white.astype(np.float32), depth, marks)

    assert opened(np.abs(X) < HALF_MM) == 0
    assert 0 < opened(Y > -0.1) < 1


def test_an_eye_half_of_which_are_holes_is_shut_beside_an_open_one():
    """A scanner's holes about lashes are no skin, and hide it."""
    picture, depth = shut(3.0)
    marks = drawn(8.0)
    depth[np.hypot(X - 3, Y) < 5.2] = np.nan
    eye = look_of(picture, np.isnan(depth), marks)
    assert 0.6 < eye.unlike < 0.7
    assert eye.height == pytest.approx(8.0)
    for other in (UNSEEN, Look(0.3, 8.0), Look(0.9, 3.0)):  # not surely open
        assert closed_share(eye, other) == 0
    assert closed_share(eye, Look(1.0, 8.0)) < closed_share(eye, Look(1.0, 10.0)) == 1
    assert closed_share(Look(0.9, 8.0), Look(1.0, 9.0)) == 0  # two open eyes
    shares = [closed_share(Look(unlike, 4.0), Look(1.0, 9.0)) for unlike in (0.66, 0.72, 0.77)]
    assert shares[0] == 1 > shares[1] > 0 == shares[2]


def shaded(picture, darkest=0.15):
    """In a light that falls off towards the brow, as below one: red and green fall by the same factor."""
    light = np.clip(1 + (Y + 1.0) / 6.0, darkest, 1.0)
    return (picture * light[..., None]).astype(np.float32)


def with_eye(picture, high_mm):
    """An open eye: white, and amid an iris as dark as skin in the shade."""
    eye = np.where((np.abs(X) < 5)[..., None], [60.0, 50.0, 46.0], [215.0, 210.0, 205.0])
    return np.where(almond(HALF_MM, high_mm)[..., None], eye, picture).astype(np.float32)


@pytest.mark.parametrize("high_mm", [1.0, 1.6, 2.2])
def test_a_shut_eye_that_is_drawn_low_is_shut_though_lashes_and_shade_fill_it(high_mm):
    """Of six people of a maker three had one eye drawn 1.4 to 2.2 mm high, on lashes and shade: it stayed open."""
    picture, depth = shut(1.0, dark=15.0)
    picture = shaded(picture)
    look = look_of(picture, np.isnan(depth), drawn(high_mm))
    assert look.there < 0.2
    assert closed_share(look, UNSEEN) == 1
    assert closed_share(look._replace(there=np.nan, unlike=0.95), UNSEEN) == 0  # as it was told without


@pytest.mark.parametrize("high_mm", [0.8, 2.2, 6.0])
def test_an_open_eye_is_open_however_low_it_is_drawn(high_mm):
    picture, depth = shut(1.0)
    picture = with_eye(picture, HIGH_MM)
    for seen in (picture, shaded(picture)):
        look = look_of(seen, np.isnan(depth), drawn(high_mm))
        assert look.there > 0.6
        assert closed_share(look, Look(0.9, 8.0)) == 0
    assert closed_share(look._replace(there=np.nan, unlike=0.3), UNSEEN) == 1  # dark skin about a dark iris


def test_a_narrowed_eye_is_not_shut_by_its_hue():
    """Narrowed to a third: what white and iris there are fill what is drawn."""
    picture, depth = shut(1.0)
    look = look_of(with_eye(picture, HIGH_MM / 2.5), np.isnan(depth), drawn(2.4))
    assert closed_share(look, UNSEEN) < 0.1


def test_skin_without_a_hue_and_holes_tell_nothing():
    picture, depth = shut(1.0)
    empty = np.isnan(depth)
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    grey += np.random.default_rng(0).normal(scale=3.0, size=grey.shape).astype(np.float32)
    assert np.isnan(look_of(grey, empty, drawn(2.0)).there)
    assert np.isnan(look_of(picture, almond(), drawn(2.0)).there)
    assert np.isfinite(look_of(picture, empty, drawn(2.0)).there)


def test_nothing_is_looked_for_on_an_open_eye():
    assert closed_lids(*shut(4.0), drawn(6.0), 0.0)[1] == 0


def test_a_hole_that_is_hardly_an_eyes_is_none_where_the_eye_is_shut(monkeypatch):
    flat = Mesh(np.array([[-90.0, -90, 0], [90, -90, 0], [0, 90, 0]]), np.array([[0, 1, 2]], np.int32))
    scene = Scene(replace(flat, colors=np.full((3, 3), 180, np.uint8)), None)
    points = np.zeros((N_LANDMARKS, 3))
    points[36:42] = np.stack([EYE_X - 35, -EYE_Y, 0 * EYE_X], axis=1)
    points[42:48] = np.stack([EYE_X + 35, -EYE_Y, 0 * EYE_X], axis=1)
    for sure, believed in ((0.3, 0.0), (0.7, 0.7)):
        monkeypatch.setattr(lids, "hole_lids", lambda empty, marks, s=sure: (marks + 2.0, np.full(6, s)))
        assert follow_lids(scene, points, np.eye(4)).evidence[36:48].max() == believed


def test_without_colours_nothing_is_followed():
    flat = Mesh(np.array([[-90.0, -90, 0], [90, -90, 0], [0, 90, 0]]), np.array([[0, 1, 2]], np.int32))
    points = np.random.default_rng(1).normal(scale=20, size=(N_LANDMARKS, 3))
    lids = follow_lids(Scene(flat, None), points, np.eye(4))
    np.testing.assert_array_equal(lids.points, points)
    assert not lids.evidence.any() and (lids.share == 1).all() and lids.guessed == ()


def grid(step):
    """(V, 3) and (t, 3) of a flat skin of 140 x 80 mm."""
    x, y = np.meshgrid(np.arange(-70, 70 + step, step), np.arange(-40, 40 + step, step))
    vertices = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    rows, columns = x.shape
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + columns + 1], axis=1),
            np.stack([corner, corner + columns + 1, corner + columns], axis=1),
        ]
    ).astype(np.int32)
    return vertices, faces


def painted(heights_mm, holes_mm=(0.0, 0.0)):
    """A scan with two eyes of white and iris, and their landmarks: so high across the lids' points (0 is shut, and
    drawn 8 mm high all the same), with a hole of such a radius in each."""
    vertices, faces = grid(0.25)
    colors = SKIN + np.random.default_rng(0).normal(scale=4, size=(len(vertices), 3))
    points = np.zeros((N_LANDMARKS, 3))
    keep = np.ones(len(faces), bool)
    middle = vertices[faces].mean(axis=1)
    for x, first, high, hole in zip((-35.0, 35.0), (36, 42), heights_mm, holes_mm, strict=True):
        along, up = vertices[:, 0] - x, vertices[:, 1]
        inside = np.abs(up) < high / 2 * (1 - (along / HALF_MM) ** 2) / (1 - (5 / HALF_MM) ** 2)
        colors[inside] = [225, 220, 215]
        colors[inside & (np.hypot(along, up) < 6)] = [70, 50, 40]
        keep &= np.hypot(middle[:, 0] - x - 3, middle[:, 1]) >= hole
        points[first : first + 6] = np.stack([EYE_X + x, -EYE_Y * (high or 8.0) / 2, 0 * EYE_X], axis=1)
    return Scene(Mesh(vertices, faces[keep], colors=np.clip(colors, 0, 255).astype(np.uint8)), None), points


@pytest.mark.parametrize("heights_mm", [(5.0, 10.0), (4.5, 8.5), (4.2, 8.0), (9.0, 4.0)])
def test_an_eye_that_is_narrowed_beside_an_open_one_stays_as_it_is(heights_mm):
    scene, points = painted(heights_mm)
    found = follow_lids(scene, points, np.eye(4))
    np.testing.assert_array_equal(found.points, points)
    assert (found.share == 1).all() and found.guessed == ()


def test_an_eye_with_holes_about_its_lashes_is_shut_beside_an_open_one():
    scene, points = painted((0.0, 10.5), holes_mm=(5.2, 0.0))
    found = follow_lids(scene, points, np.eye(4))
    assert found.guessed == ("left_eye",)
    np.testing.assert_allclose(found.points[[37, 38, 40, 41], 1], -BOW_MM, atol=0.5)
    np.testing.assert_array_equal(found.points[42:48], points[42:48])


def test_an_eye_that_hair_crosses_stays_where_it_is():
    scene, points = painted((9.0, 9.0))
    x, y = scene.mesh.vertices[:, 0], scene.mesh.vertices[:, 1]
    colors = scene.mesh.colors.copy()
    colors[(np.abs(x + 30) < 11) & (np.abs(y) < 40)] = [90, 70, 50]
    found = follow_lids(Scene(replace(scene.mesh, colors=colors), None), points, np.eye(4))
    np.testing.assert_array_equal(found.points, points)
    assert found.guessed == ("left_eye",)


def test_lids_of_a_coloured_scan_go_to_the_rims_of_its_holes():
    """A flat grid without one eye; the other, of which there is nothing but skin, is shut, or hidden, and stays."""
    vertices, faces = grid(0.5)
    middle = vertices[faces].mean(axis=1)
    keep = np.abs(middle[:, 1]) >= HIGH_MM * (1 - ((middle[:, 0] + 35) / HALF_MM) ** 2)
    scene = Scene(Mesh(vertices, faces[keep], colors=np.full((len(vertices), 3), 180, np.uint8)), None)
    points = np.zeros((N_LANDMARKS, 3))
    points[36:42] = np.stack([EYE_X - 35, 3.0 - EYE_Y, 0 * EYE_X], axis=1)
    points[42:48] = np.stack([EYE_X + 35, -EYE_Y, 0 * EYE_X], axis=1)
    found, worth, share, guessed = follow_lids(scene, points, np.eye(4))
    np.testing.assert_allclose(found[[37, 38, 40, 41], 1], [RIM_MM, RIM_MM, -RIM_MM, -RIM_MM], atol=0.8)
    assert worth[36:42].min() > 0.9 and not worth[42:48].any()
    np.testing.assert_array_equal(found[42:48], points[42:48])
    assert guessed == ("right_eye",)
    assert share[43] < 0.5 and share[42] == 1 and (share[36:42] == 1).all()


def test_a_hole_has_its_longest_stretch_in_each_column_the_upper_of_equal_ones():
    shape = np.zeros((30, 15), bool)
    shape[2:8, :5], shape[15:24, :5] = True, True  # the lower one is longer
    shape[3:9, 10:], shape[18:24, 10:] = True, True  # as long as each other
    y, x = np.nonzero(shape)
    first, top, bottom = lids._runs(np.stack([x + 100, y - 10], axis=1) + 0.5)
    assert first == 100
    np.testing.assert_array_equal(top, [5] * 5 + [0] * 5 + [-7] * 5)
    np.testing.assert_array_equal(bottom, [14] * 5 + [0] * 5 + [-1] * 5)
