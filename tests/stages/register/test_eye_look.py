"""eye_look: what a scan's colours show where a person's open eye would be."""

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.template.eyelids import lid_opening
from mimicme.stages.register.eye_look import EYE_HIDDEN, EYE_SHOWN, met, unlike_skin
from mimicme.stages.register.targets import ScanTarget

SKIN, WHITE, BROWN = (150.0, 105.0, 85.0), (205.0, 200.0, 195.0), (40.0, 36.0, 34.0)
EYE = "right_eye"
ALL = np.ones(68, bool)


@pytest.fixture(scope="module")
def head(dome):
    """A scan and the landmarks of its open eyes."""
    frame = dome.frame(0, spacing=2.0)
    return frame.vertices, frame.faces, frame.landmarks


def coloured(head, colors):
    return ScanTarget(*head[:2], colors=colors)


def skin(head, seed=0, tone=SKIN):
    """(m, 3) skin of a tone in light and shade, with an eighth of the light at the darkest, and a camera's noise."""
    vertices = head[0]
    shade = np.exp(-1.0 - np.sin(vertices[:, 1] / 3.0) - 0.08 * np.sin(vertices[:, 0]))
    noise = np.random.default_rng(seed).normal(scale=1.5, size=vertices.shape)
    return np.clip(np.multiply.outer(shade, tone) + noise, 0, 255)


def eye(head, colors, opening):
    """Those colours with an eye, open by a share of itself from its lower lid on: white, and brown amid."""
    vertices, _, marks = head
    points = marks[GROUPS[EYE]]
    away = vertices - points.mean(axis=0)
    half = np.ptp(points[:, 0]) / 2
    tall = np.ptp(points[:, 1])
    low = points[:, 1].min()
    almond = 1 - (away[:, 0] / half) ** 2
    shown = (
        (almond > 0) & (vertices[:, 1] > low) & (vertices[:, 1] < low + opening * tall) & (away[:, 2] > -20)
    )
    out = colors.copy()
    out[shown] = np.where(np.abs(away[shown, :1]) < 5, BROWN, WHITE)
    return out


def test_an_eye_is_told_from_skin_in_any_shade(head):
    marks = head[2]
    open_eye = eye(head, skin(head), 1.0)
    lids = [unlike_skin(coloured(head, skin(head, seed)), marks, marks, EYE) for seed in range(20)]
    assert np.mean(lids) < 0.05 and max(lids) < EYE_HIDDEN  # of one draw of noise a vertex is 0.07
    assert unlike_skin(coloured(head, open_eye), marks, marks, EYE) > 0.9
    assert unlike_skin(coloured(head, open_eye), marks, marks, "left_eye") < 0.05
    narrowed = unlike_skin(coloured(head, eye(head, skin(head), 0.6)), marks, marks, EYE)
    assert EYE_SHOWN < narrowed < 0.8
    slit = unlike_skin(coloured(head, eye(head, skin(head), 0.25)), marks, marks, EYE)
    assert slit < EYE_SHOWN


@pytest.mark.parametrize("tone", [SKIN, (110.0, 75.0, 55.0), (75.0, 50.0, 38.0), (55.0, 38.0, 30.0)], ids=str)
@pytest.mark.parametrize("shade", [1.0, 0.5, 0.35, 0.25, 0.15, 0.05])
def test_a_shut_lid_in_the_sockets_shade_is_no_eye_whatever_the_skins_tone(head, tone, shade):
    vertices, _, marks = head
    away = vertices - marks[GROUPS[EYE]].mean(axis=0)
    lid = np.linalg.norm(away[:, :2] / [16, 8], axis=1) < 1
    noise = np.random.default_rng(0).normal(scale=1.0, size=vertices.shape)
    colors = np.multiply.outer(np.where(lid, shade, 1.0), tone) + noise
    lids = unlike_skin(coloured(head, np.clip(colors, 0, 255)), marks, marks, EYE)
    assert not lids > 0.5 * EYE_SHOWN  # NaN is not
    if shade * tone[1] > 20:
        assert lids < EYE_HIDDEN


@pytest.mark.parametrize("tone", [(75.0, 50.0, 38.0), (55.0, 38.0, 30.0)], ids=str)
def test_an_open_eye_is_told_from_dark_skin(head, tone):
    marks = head[2]
    colors = np.tile(tone, (len(head[0]), 1))
    assert unlike_skin(coloured(head, eye(head, colors, 1.0)), marks, marks, EYE) > 0.9
    assert unlike_skin(coloured(head, colors), marks, marks, EYE) == 0


def test_where_the_lids_were_found_does_not_count(head):
    marks = head[2]
    shut = met(marks, ALL, marks, EYE)
    scan = coloured(head, eye(head, skin(head), 1.0))
    assert unlike_skin(scan, shut, marks, EYE) == unlike_skin(scan, marks, marks, EYE)


def test_a_person_of_another_size_and_a_turned_head_are_as_well(head):
    vertices, faces, marks = head
    turn = np.eye(4)
    angle = np.radians(12)
    turn[:2, :2] = 1.2 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn[2, 2], turn[:3, 3] = 1.2, (4, -6, 3)
    scan = ScanTarget(transform(turn, vertices), faces, colors=eye(head, skin(head), 1.0))
    assert unlike_skin(scan, transform(turn, marks), marks, EYE) > 0.9
    assert unlike_skin(scan, transform(turn, marks), marks, "left_eye") < EYE_HIDDEN


def test_what_tells_nothing_is_not_known(head):
    vertices, faces, marks = head
    assert np.isnan(unlike_skin(ScanTarget(vertices, faces), marks, marks, EYE))
    grey = np.repeat(skin(head).mean(axis=1, keepdims=True), 3, axis=1)
    assert np.isnan(unlike_skin(coloured(head, grey), marks, marks, EYE))
    none = skin(head)
    none[np.linalg.norm(vertices - marks[GROUPS[EYE]].mean(axis=0), axis=1) < 25] = np.nan
    assert np.isnan(unlike_skin(coloured(head, none), marks, marks, EYE))
    absent = marks.copy()
    absent[36:48] = np.nan
    assert np.isnan(unlike_skin(coloured(head, skin(head)), absent, marks, EYE))


def test_the_upper_lid_comes_down_onto_the_lower(head):
    marks = head[2]
    shut = met(marks, ALL, marks, EYE)
    assert lid_opening(shut, marks, EYE) == pytest.approx(0, abs=1e-9)
    upper = np.r_[GROUPS[EYE]][[1, 2]]
    others = np.setdiff1d(np.arange(68), upper)
    np.testing.assert_array_equal(shut[others], marks[others])
    moved = shut[upper] - marks[upper]
    across = marks[GROUPS[EYE]][3] - marks[GROUPS[EYE]][0]
    assert (moved[:, 1] < -3).all() and np.abs(moved @ across).max() < 1e-6
    few = ALL.copy()
    few[29:33] = False  # what is not known may stand anywhere
    np.testing.assert_allclose(
        met(np.where(few[:, None], marks, 0.0), few, marks, EYE)[few], shut[few], atol=0.05
    )
