"""A mouth that a mask hides is told by its colour; open mouths, beards and shadows are not taken for masks."""

import numpy as np
import pytest

from mimicme.stages.landmarks.hidden import hidden

SIZE, MM = 150, 45.0  # px of 1 mm; from the eyes to the base of the nose
Y, X = np.mgrid[:SIZE, :SIZE] + 0.5
ASIDE, HIGH = np.abs(X - SIZE / 2) / MM, (SIZE / 2 - Y) / MM + 0.25
SKINS = {"light": (225.0, 180.0, 155.0), "brown": (150.0, 100.0, 75.0), "dark": (85.0, 55.0, 42.0)}
WORN = (HIGH < -0.02) & (ASIDE < 0.95)
BLUE, WHITE, BLACK = (150.0, 190.0, 215.0), (235.0, 235.0, 235.0), (40.0, 40.0, 45.0)
SEEN = np.ones((SIZE, SIZE), bool)


def face(skin, seed=0):
    """A picture of skin that is darker below, with lips."""
    picture = (
        np.broadcast_to(np.array(SKINS[skin]), (SIZE, SIZE, 3)) * np.where(HIGH < 0, 0.8, 1.0)[..., None]
    )
    lips = (np.abs(HIGH + 0.45) < 0.15) & (ASIDE < 0.5)
    picture = np.where(lips[..., None], picture * [0.9, 0.65, 0.65], picture)
    return picture + np.random.default_rng(seed).normal(scale=3.0, size=picture.shape)


def told(picture, seen=SEEN):
    return hidden(picture.clip(0, 255).astype(np.float32), seen, ASIDE, HIGH)


@pytest.mark.parametrize("skin", SKINS)
@pytest.mark.parametrize("colour", [BLUE, WHITE, BLACK], ids=["blue", "white", "black"])
def test_a_mask_before_a_mouth_is_told(skin, colour):
    shade = 1 - 0.2 * ASIDE  # it bends away from the light
    picture = np.where(WORN[..., None], np.array(colour) * shade[..., None], face(skin))
    assert told(picture)


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
