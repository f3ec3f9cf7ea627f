"""A mouth that a mask hides is told by its colour and its shape; open mouths, beards, shadows, paint, and what lies
over the skin it is compared with are not taken for masks."""

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.stages.landmarks.detection import Finder
from mimicme.stages.landmarks.hidden import hidden, lips_stand_out

SIZE, MM = 150, 45.0  # px of 1 mm; from the eyes to the base of the nose
Y, X = np.mgrid[:SIZE, :SIZE] + 0.5
ASIDE, HIGH = np.abs(X - SIZE / 2) / MM, (SIZE / 2 - Y) / MM + 0.25
SKINS = {"light": (225.0, 180.0, 155.0), "brown": (150.0, 100.0, 75.0), "dark": (85.0, 55.0, 42.0)}
WORN = (HIGH < -0.02) & (ASIDE < 0.95)
BLUE, WHITE, BLACK = (150.0, 190.0, 215.0), (235.0, 235.0, 235.0), (40.0, 40.0, 45.0)
SEEN = np.ones((SIZE, SIZE), bool)


def face(skin, seed=0, red=0.65):
    """A picture of skin that is darker below, with lips that keep so much of its green and blue."""
    picture = (
        np.broadcast_to(np.array(SKINS[skin]), (SIZE, SIZE, 3)) * np.where(HIGH < 0, 0.8, 1.0)[..., None]
    )
    lips = (np.abs(HIGH + 0.45) < 0.15) & (ASIDE < 0.5)
    picture = np.where(lips[..., None], picture * [0.9, red, red], picture)
    return picture + np.random.default_rng(seed).normal(scale=3.0, size=picture.shape)


def told(picture, seen=SEEN):
    return hidden(picture.clip(0, 255).astype(np.float32), seen, ASIDE, HIGH)


@pytest.mark.parametrize("skin", SKINS)
@pytest.mark.parametrize("colour", [BLUE, WHITE, BLACK], ids=["blue", "white", "black"])
def test_a_mask_before_a_mouth_is_told(skin, colour):
    shade = 1 - 0.2 * ASIDE  # it bends away from the light
    picture = np.where(WORN[..., None], np.array(colour) * shade[..., None], face(skin))
    assert told(picture)


def test_so_is_one_that_reaches_up_to_the_lids_or_is_worn_with_a_cap():
    high = (ASIDE < 0.9) & (HIGH < 0.68)
    assert told(np.where(high[..., None], np.array(BLUE), face("light")))
    capped = np.where((HIGH > 1.35)[..., None], np.array([60.0, 120.0, 50.0]), face("light"))
    assert told(np.where(WORN[..., None], np.array(BLUE), capped))


OVER_SKIN = {
    "bar": np.abs(HIGH - 1.05) < 0.34,
    "glasses": (np.abs(HIGH - 0.95) < 0.35) & (ASIDE < 1.2),
    "glare": (ASIDE < 0.3) & (np.abs(HIGH - 1.1) < 0.3),
    "bar and cap": HIGH > 0.9,
}


@pytest.mark.parametrize("skin", SKINS)
@pytest.mark.parametrize("over", OVER_SKIN)
@pytest.mark.parametrize("colour", [BLUE, WHITE, BLACK], ids=["blue", "white", "black"])
def test_what_lies_over_the_skin_that_a_mouth_is_compared_with_hides_no_mouth(skin, over, colour):
    assert not told(np.where(OVER_SKIN[over][..., None], np.array(colour), face(skin, red=0.85)))


def test_where_no_two_places_agree_what_skin_is_nothing_is_told():
    masked = np.where(WORN[..., None], np.array(BLUE), face("light"))
    masked = np.where((HIGH > 1.35)[..., None], np.array(BLACK), masked)
    masked = np.where(
        ((HIGH > 0.7) & (HIGH < 1.35) & (ASIDE > 0.5))[..., None], np.array([220.0, 60, 40]), masked
    )
    assert not told(masked)


@pytest.mark.parametrize("worn", [False, True])
def test_a_grey_picture_tells_nothing(worn):
    picture = np.where((WORN & worn)[..., None], np.array(BLUE), face("light"))
    assert not told(np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2))


DOME = (60.0 - (ASIDE * MM) ** 2 / 70 - ((HIGH + 0.3) * MM) ** 2 / 200).astype(np.float32)
FURROW = (3.0 * np.exp(-(((HIGH + 0.5) * MM / 2.0) ** 2)) * (ASIDE < 0.5)).astype(np.float32)


def test_lips_have_a_furrow_between_them_and_a_mask_has_none():
    noise = np.random.default_rng(2).normal(scale=0.3, size=DOME.shape).astype(np.float32)
    assert lips_stand_out(DOME - FURROW, ASIDE, HIGH)
    assert lips_stand_out(DOME - FURROW + noise, ASIDE, HIGH)
    assert not lips_stand_out(DOME, ASIDE, HIGH)
    assert not lips_stand_out(DOME + noise, ASIDE, HIGH)
    pleats = (0.25 * np.cos(2 * np.pi * HIGH * MM / 12)).astype(np.float32)
    assert not lips_stand_out(DOME + pleats, ASIDE, HIGH)
    assert not lips_stand_out(np.full_like(DOME, np.nan), ASIDE, HIGH)
    part = np.where(np.abs(HIGH + 0.6) < 0.1, np.nan, DOME).astype(np.float32)  # a hole is no furrow
    assert not lips_stand_out(part, ASIDE, HIGH)


@pytest.mark.parametrize("skin", SKINS)
def test_a_face_is_not(skin):
    assert not told(face(skin))
    assert not told(face(skin) * np.where(HIGH < 0, 0.4, 1.0)[..., None])


@pytest.mark.parametrize("inside", [BLACK, WHITE], ids=["dark", "teeth"])
def test_a_mouth_that_is_wide_open_has_skin_around_it(inside):
    mouth = (HIGH < -0.2) & (HIGH > -1.0) & (ASIDE < 0.5)
    assert not told(np.where(mouth[..., None], np.array(inside), face("light")))


@pytest.mark.parametrize("hair", [BLACK, (165.0, 160.0, 155.0)], ids=["black", "grey"])
def test_a_beard_is_uneven_and_has_lips_in_it(hair):
    strands = np.random.default_rng(1).lognormal(sigma=0.35, size=(SIZE, SIZE))
    lips = (np.abs(HIGH + 0.45) < 0.15) & (ASIDE < 0.5)
    grown = WORN & ~lips
    bearded = np.where(grown[..., None], np.array(hair) * strands[..., None], face("light"))
    assert not told(bearded)
    over_lips = np.where(WORN[..., None], np.array(hair) * strands[..., None], face("light"))
    assert not told(over_lips)


def test_what_is_not_seen_says_nothing():
    masked = np.where(WORN[..., None], np.array(BLUE), face("light"))
    assert not told(masked, SEEN & (HIGH > -0.2))
    assert not told(masked, SEEN & (HIGH < 0.5))
    assert not told(np.full((SIZE, SIZE, 3), 128.0))


def test_a_mask_that_the_vertices_colours_show_is_told_where_the_image_shows_no_face():
    """It was taken for no face, and the bare surface was looked at, which shows no mask."""

    class Detector:
        name = "fake"

        def detect(self, scan, image, near=None):
            if image is not None or scan.colors is None:
                raise FrameRejected("no-face", "no face is found")
            raise FrameRejected("mouth-hidden", "a mask is before it")

    sheet = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], float)
    faces = np.array([[0, 1, 2]], np.int32)
    scan = Mesh(sheet, faces, sheet[:, :2], faces, colors=np.full((3, 3), 200, np.uint8))
    finder = Finder(None)
    finder._made, finder._detector = True, Detector()
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(FrameRejected) as refused:
        finder._without_colors(scan, image, None)
    assert refused.value.reason == "mouth-hidden"
    assert finder._without_colors(replace(scan, colors=None), image, None) is None
