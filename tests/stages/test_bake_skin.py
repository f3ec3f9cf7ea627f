"""bake.skin: what is skin, and what lies over it, on colours that are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mimicme.pipeline.landmarks import IBUG68
from mimicme.pipeline.template import find_files, read_template
from mimicme.stages.bake import _SequenceBaker
from mimicme.stages.bake.skin import (
    BLURRED,
    Shown,
    Skin,
    blur_note,
    blurred,
    like_most,
    notes,
    unlike_neutral_note,
)

SKIN, DARK, HAIR = (205, 160, 135), (96, 62, 45), (35, 28, 24)
SIZE = 128


@pytest.fixture(scope="module")
def skin(small_template):
    """Of a face whose layout is its view from the front."""
    file, marks = read_template(find_files(small_template))
    mesh = file.mesh
    vertices = np.asarray(mesh.vertices, float)
    low, high = vertices[:, :2].min(axis=0), vertices[:, :2].max(axis=0)
    template = SimpleNamespace(
        vertices=vertices,
        faces=mesh.faces,
        uv=(vertices[:, :2] - low) / (high - low),
        uv_faces=mesh.faces,
        landmark_names=IBUG68,
        landmarks=lambda: np.asarray(marks, float),
    )
    made = Skin(template)
    made.eyes = [np.asarray(marks, float)[part].mean(axis=0) for part in (slice(36, 42), slice(42, 48))]
    made.places = vertices[made._core]
    return made


def face(color, noise=6):
    rng = np.random.default_rng(1)
    texture = np.clip(np.array(color) + rng.normal(scale=noise, size=(SIZE, SIZE, 1)), 0, 255).astype(
        np.uint8
    )
    texture[:, : SIZE // 2] = (texture[:, : SIZE // 2] * 0.75).astype(np.uint8)  # light from one side
    return texture


EVERYWHERE = np.full((SIZE, SIZE), 255, np.uint8)


@pytest.mark.parametrize("color", [SKIN, DARK, (240, 215, 200)])
def test_skin_of_any_colour_is_skin(skin, color):
    found = skin.look(face(color), EVERYWHERE)
    assert found.skin > 0.97 and found.contrast > 0.05 or color == DARK
    assert "not-skin" not in dict(notes(found))


@pytest.mark.parametrize("color", [SKIN, (240, 215, 200)])
def test_hair_over_a_part_of_the_face_is_not(skin, color):
    texture = face(color)
    texture[:, : SIZE // 2 - 8] = HAIR
    found = skin.look(texture, EVERYWHERE)
    assert 0.3 < found.skin < 0.85
    ((code, said),) = notes(found)
    assert code == "not-skin" and f"{found.skin:.0%}" in said


@pytest.mark.parametrize(("reach", "told"), [((14, 19), True), ((0, 0), False), ((60, 64), False)])
def test_rims_of_glasses_are_a_small_part_of_the_face_and_a_large_one_about_the_eyes(skin, reach, told):
    """Painted on the vertices whose distance from an eye's middle is between two bounds, mm."""
    away = np.min([np.linalg.norm(skin.places - eye, axis=1) for eye in skin.eyes], axis=0)
    at = (away >= reach[0]) & (away < reach[1])
    column, row = (skin._uv[at] * [SIZE, -SIZE] + [0, SIZE]).astype(int).clip(0, SIZE - 1).T
    texture = face(SKIN)
    texture[row, column] = HAIR
    found = skin.look(texture, EVERYWHERE)
    assert (found.eye_skin < 0.9) == told and found.skin > 0.9
    said = dict(notes(found))
    assert ("not-skin" in said) == told and (not told or "about the eyes" in said["not-skin"])


def test_a_picture_of_one_colour_is_empty(skin):
    found = skin.look(np.full((SIZE, SIZE, 3), 128, np.uint8), EVERYWHERE)
    assert found.contrast == 0 and found.skin == 1
    ((code, _),) = notes(found)
    assert code == "texture-empty"


def test_what_the_scan_does_not_show_does_not_count(skin):
    texture, coverage = face(SKIN), EVERYWHERE.copy()
    texture[:, : SIZE // 2 - 8] = HAIR
    coverage[:, : SIZE // 2] = 0
    assert skin.look(texture, coverage).skin > 0.97
    nothing = skin.look(texture, np.zeros_like(coverage))
    assert np.isnan(nothing).all() and notes(nothing) == []


def test_a_template_without_the_68_landmarks_says_nothing():
    none = Skin(SimpleNamespace(landmark_names=("chin",)))
    assert np.isnan(none.look(face(SKIN), EVERYWHERE)).all()


def test_bounds_are_not_crossed_by_chance():
    assert notes(Shown(0.05, 0.9)) == []
    assert [code for code, _ in notes(Shown(0.049, 0.899))] == ["texture-empty", "not-skin"]


def test_colours_are_compared_with_the_median_one():
    colors = np.array([SKIN] * 8 + [HAIR, (30, 120, 40)], float)
    assert like_most(colors).tolist() == [True] * 8 + [False] * 2


def test_hair_at_the_border_of_a_beard_that_was_told_is_its_own(skin):
    """Told in the middle of where it grows: what is left of it around is not `not-skin`, unless hardly any was told."""
    grows = skin.bearded > 0
    texture, told = face(SKIN), np.full(len(grows), 255, np.uint8)
    at = skin._core[grows[skin._core]]
    column, row = (skin._uv[grows[skin._core]] * [SIZE, -SIZE] + [0, SIZE]).astype(int).clip(0, SIZE - 1).T
    texture[row, column] = HAIR
    assert skin.look(texture, EVERYWHERE, told).skin < 0.9
    told[at[::2]] = 0
    assert skin.look(texture, EVERYWHERE, told).skin > 0.97
    told[at] = 255
    told[at[:: len(at) // 4]] = 0
    assert skin.look(texture, EVERYWHERE, told).skin < 0.9


def test_a_beard_that_was_told_is_not_told_again(skin):
    texture = face(SKIN)
    texture[SIZE // 2 :] = HAIR
    lower = np.zeros(int(skin._core.max()) + 1, np.uint8)
    lower[skin._core] = np.where(skin._uv[:, 1] < 0.5, 0, 255)
    assert skin.look(texture, EVERYWHERE).skin < 0.9
    assert skin.look(texture, EVERYWHERE, lower).skin > 0.97


def pores(size=1024, exposure=1.0, spread=0.0):
    """Skin with detail of all sizes, exposed so long, and blurred by so many texels."""
    import cv2

    rng = np.random.default_rng(2)
    waves = sum(
        cv2.GaussianBlur(rng.normal(size=(size, size)), (0, 0), width) * width
        for width in (1.0, 2.0, 4.0, 8.0)
    )
    texture = (np.array(SKIN) * exposure * np.exp(0.04 * waves)[..., None]).astype(np.float32)
    if spread:
        texture = cv2.GaussianBlur(texture, (0, 0), spread)
    return np.clip(texture + rng.normal(scale=1.0, size=texture.shape), 0, 255).astype(np.uint8)


def test_a_blurred_texture_has_less_detail_and_a_darker_one_has_all(skin):
    import cv2

    covered = np.full((1024, 1024), 255, np.uint8)
    sharp = skin.look(pores(), covered).sharpness
    assert skin.look(pores(spread=3.0), covered).sharpness < BLURRED * sharp
    moved = np.full((1, 13), 1 / 13)
    assert skin.look(cv2.filter2D(pores(), -1, moved), covered).sharpness < BLURRED * sharp
    assert skin.look(pores(exposure=0.5), covered).sharpness == pytest.approx(sharp, rel=0.15)
    moved = np.roll(pores(), 40, axis=0)
    assert skin.look(moved, covered).sharpness == pytest.approx(sharp, rel=0.1)


def test_detail_is_not_looked_for_where_the_scan_shows_nothing(skin):
    covered = np.full((1024, 1024), 255, np.uint8)
    texture = pores()
    sharp = skin.look(texture, covered).sharpness
    covered[:, :500] = 0
    texture[:, :500] = 128  # filled
    assert skin.look(texture, covered).sharpness == pytest.approx(sharp, rel=0.1)
    covered[:] = 0
    assert np.isnan(skin.look(texture, covered).sharpness)


def test_a_frame_is_compared_with_its_sequence_and_with_the_neutral():
    sequence = np.array([1.0, 1.1, 0.3, np.nan, 0.9])
    shares = blurred(sequence, np.zeros(0)).shares
    assert (shares < BLURRED).tolist() == [False, False, True, False, False] and np.isnan(shares[3])
    assert (blurred(sequence, np.array([1.3])).shares < BLURRED).tolist() == (shares < BLURRED).tolist()
    assert (blurred(np.array([0.3, 1.0]), np.array([1.0])).shares < BLURRED).tolist() == [True, False]
    assert not (blurred(np.array([1.0, 1.0, 1.1]), np.array([0.2])).shares < BLURRED).any()
    assert np.isnan(
        blurred(np.array([0.3, 1.0]), np.array([np.nan])).shares
    ).all()  # of two, nobody knows which is usual
    assert np.isnan(blurred(np.array([0.0, 0.0, 0.0]), np.zeros(0)).shares).all()
    assert len(blurred(np.zeros(0), np.array([1.0])).shares) == 0
    code, said = blur_note(0.31)
    assert code == "texture-blurred" and "31%" in said


def test_a_sequence_of_a_less_sharp_camera_is_told_once_and_its_frames_by_themselves():
    blur = blurred(np.array([0.6, 0.61, 0.2, 0.59]), np.array([1.0]))
    assert (blur.shares < BLURRED).tolist() == [False, False, True, False]
    code, said = unlike_neutral_note(blur)
    assert code == "texture-unlike-neutral" and "60% of the detail of the subject's neutral" in said


def test_a_neutral_that_is_blurred_is_told_by_its_subjects_other_sequences():
    blur = blurred(np.array([1.0, 1.0, 1.1]), np.array([0.2]))
    code, said = unlike_neutral_note(blur)
    assert code == "texture-unlike-neutral" and said.startswith("The subject's neutral has 20% of the detail")


@pytest.mark.parametrize(
    ("sequence", "neutral"),
    [
        ([1.0, 0.9, 1.1], [1.0]),
        ([1.0, 0.2, 1.1], []),  # the neutral itself
        ([0.3, 0.3], [1.0]),  # each of two has its note
        ([np.nan, np.nan, np.nan], [1.0]),
    ],
)
def test_nothing_is_said_of_a_sequence_as_sharp_as_its_neutral(sequence, neutral):
    assert unlike_neutral_note(blurred(np.array(sequence), np.array(neutral))) is None


@pytest.mark.parametrize(
    ("sharpness", "codes"),
    [
        ([0.6, 0.61, 0.2, 0.59], {5: ["texture-unlike-neutral"], 7: ["texture-blurred"]}),
        ([0.3, 1.0], {5: ["texture-blurred"]}),
        ([], {}),
    ],
)
def test_what_is_said_of_a_sequence_stands_on_its_first_frame(sharpness, codes):
    """Of frames 5 to 8, beside a neutral of 1."""
    said = {}
    baker = SimpleNamespace(
        sharpness=dict(zip(range(5, 9), sharpness, strict=False)),
        neutral_sharpness=np.array([1.0]),
        out=SimpleNamespace(note=lambda row, code, sentence: said.setdefault(row, []).append(code)),
    )
    _SequenceBaker.note_blurred(baker)
    assert said == codes


def test_blur_shows_in_an_image_with_a_little_noise(skin):
    """As said of `BAND_TEXELS`; above 4 levels it is hidden."""
    rng = np.random.default_rng(0)
    covered = np.full((1024, 1024), 255, np.uint8)
    soft = pores(spread=3.0).astype(np.float64)
    shares = [
        skin.look(
            np.clip(soft + rng.normal(scale=noise, size=soft.shape), 0, 255).astype(np.uint8), covered
        ).sharpness
        / skin.look(pores(), covered).sharpness
        for noise in (0.0, 4.0, 6.0)
    ]
    assert shares[0] < 0.4 and shares[0] < shares[1] < BLURRED < shares[2]
