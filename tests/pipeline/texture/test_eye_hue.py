"""eye_hue: white and iris are told from skin, in its shade and beside dark skin; in the dark nothing is."""

import numpy as np
import pytest

from mimicme.pipeline.texture.eye_hue import eye_share

TONES = ((205.0, 155.0, 135.0), (150.0, 105.0, 85.0), (75.0, 50.0, 38.0), (55.0, 38.0, 30.0))
PLACE = np.zeros((20, 20), bool)
PLACE[5:15, 5:15] = True


def picture(tone, there) -> np.ndarray:
    """(20, 20, 3) skin of a tone, and amid something else."""
    out = np.tile(np.array(tone), (20, 20, 1))
    out[PLACE] = there
    return out


@pytest.mark.parametrize("tone", TONES, ids=str)
def test_skin_in_its_shade_is_skin_as_far_as_it_has_light(tone):
    for shade in (1.0, 0.7, 0.45, 0.3, 0.2, 0.1, 0.02):
        found = eye_share(picture(tone, shade * np.array(tone)), PLACE, ~PLACE, 50)
        assert found == 0 if shade * tone[1] > 20 else np.isnan(found)


@pytest.mark.parametrize("tone", TONES, ids=str)
@pytest.mark.parametrize(
    "eye", [(205.0, 200.0, 195.0), (60.0, 58.0, 56.0), (40.0, 36.0, 34.0), (90.0, 120.0, 150.0)]
)
def test_white_and_iris_are_none(tone, eye):
    assert eye_share(picture(tone, eye), PLACE, ~PLACE, 50) == 1
    half = picture(tone, tone)
    half[5:10, 5:15] = eye
    assert eye_share(half, PLACE, ~PLACE, 50) == 0.5


def test_what_is_black_counts_as_neither_and_where_hardly_anything_else_is_nothing_is_said():
    eye = picture(TONES[1], (200.0, 200.0, 200.0))
    eye[5:9, 5:15] = 3.0
    assert eye_share(eye, PLACE, ~PLACE, 50) == 1
    lid = picture(TONES[1], TONES[1])
    lid[5:9, 5:15] = 3.0
    assert eye_share(lid, PLACE, ~PLACE, 50) == 0
    for shown in (eye, lid):
        shown[5:14, 5:15] = 3.0
        assert np.isnan(eye_share(shown, PLACE, ~PLACE, 5))


def test_too_few_samples_and_skin_without_hue_say_nothing():
    eye = picture(TONES[1], (200.0, 200.0, 200.0))
    assert np.isnan(eye_share(eye, PLACE, ~PLACE, 101))
    assert np.isnan(eye_share(picture((90.0, 90.0, 90.0), 200.0), PLACE, ~PLACE, 50))
    noisy = eye.copy()
    noisy[..., 0] += np.random.default_rng(0).uniform(-60, 60, (20, 20))
    assert np.isnan(eye_share(noisy, PLACE, ~PLACE, 50))


@pytest.mark.parametrize("cast", [0, 1, 3, 7])
def test_a_grey_picture_tells_nothing_whatever_its_cast(cast: int) -> None:
    """An eye in it has the hue of its skin, as a shut one would."""
    grey = picture((130, 130, 130), (205, 205, 205))
    grey[..., 0] += cast
    assert np.isnan(eye_share(grey, PLACE, ~PLACE, 50))
