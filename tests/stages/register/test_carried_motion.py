"""carried_motion: what has moved far is not drawn back at the template's own resolution, from a neutral nor from the
template; what has moved little is."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.stages.register.carried_motion import NOISE_MM, SMOOTH_MM, CarriedMotion
from mimicme.stages.register.fine import fitted_fine
from mimicme.stages.register.fit import Fitter
from mimicme.stages.register.fit_target import FitTarget
from mimicme.stages.register.levels import build_levels
from mimicme.stages.register.targets import ScanTarget
from mimicme.stages.register.track import SequenceTracker

SPACING = 2.0
CORNER = 54


@pytest.fixture(scope="module")
def template(dome):
    return dome.template(SPACING)


@pytest.fixture(scope="module")
def levels(template, dome):
    return build_levels(template, 1500, dome.SETTINGS.membrane)


@pytest.fixture(scope="module")
def motion(levels):
    return CarriedMotion(levels.fine)


def wave(template, length_mm: float, high: float) -> np.ndarray:
    """(V, 3) a motion upwards that rises and falls along x."""
    moved = np.zeros_like(template.vertices)
    moved[:, 1] = high * np.cos(2 * np.pi * template.vertices[:, 0] / length_mm)
    return moved


def amid(template) -> np.ndarray:
    """(V,) True well inside the border, which is smoothed from one side alone."""
    return np.linalg.norm(template.vertices[:, :2], axis=1) < 45


def test_no_motion_carries_nothing(motion, levels, template):
    still = np.zeros_like(template.vertices)
    np.testing.assert_array_equal(motion.of(still, levels.fine), still)


@pytest.mark.parametrize("by_mm", [0.5, NOISE_MM, 30.0])
def test_far_motion_becomes_rest_and_near_motion_does_not(motion, levels, template, by_mm):
    all_over = np.tile([0.0, by_mm, 0.0], (len(template.vertices), 1))
    share = by_mm**2 / (by_mm**2 + NOISE_MM**2)
    np.testing.assert_allclose(motion.of(all_over, levels.fine), share * all_over, atol=0.02 * by_mm)


def test_a_motion_that_is_no_wider_than_the_error_of_a_landmark_does_not_become_rest(
    motion, levels, template
):
    inside = amid(template)
    narrow, wide = wave(template, np.pi * SMOOTH_MM, 12.0), wave(template, 6 * np.pi * SMOOTH_MM, 12.0)
    crest = inside & (np.abs(narrow[:, 1]) > 11)
    assert 0 < np.abs(motion.of(narrow, levels.fine)[crest, 1]).mean() < 0.1 * 12
    crest = inside & (np.abs(wide[:, 1]) > 11)
    assert np.abs(motion.of(wide, levels.fine)[crest, 1]).mean() > 0.85 * 12


def test_numbers_that_are_none_stay_none(motion, levels, template):
    broken = np.zeros_like(template.vertices)
    broken[7] = np.nan
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(motion.of(broken, levels.fine)).all()


def slid(dome, template, by_mm: float) -> np.ndarray:
    """(V, 3) the template with a corner of the mouth drawn aside along its surface."""
    xy = template.vertices[:, :2]
    x, y = template.landmarks()[CORNER, :2]
    aside = by_mm * dome.bump(xy, x, y, 9, 9)
    return dome.surface(xy + np.c_[aside, np.zeros(len(xy))])


@pytest.mark.parametrize(("by_mm", "least"), [(8.0, 0.97), (1.0, 0.8)])
def test_the_corner_of_a_smiling_mouth_stays_where_the_coarse_level_brought_it(
    dome, template, levels, monkeypatch, by_mm, least
):
    rest, true = template.vertices, slid(dome, template, by_mm)
    xy, faces = dome.sheet(2.0, 1.06, 100)
    marks = levels.fine.landmarks @ true
    target = FitTarget(ScanTarget(dome.surface(xy), faces), marks, np.full(68, 20.0))
    way = (levels.fine.landmarks @ (true - rest))[CORNER]

    def kept() -> float:
        tracker = SequenceTracker(template, levels, dome.SETTINGS, rest)
        fitter = tracker.person.fitters.of(False, False)
        found = fitted_fine(tracker.person, fitter, rest, target, true - rest)
        return float((levels.fine.landmarks @ found)[CORNER] @ way / (way @ way))

    carried = kept()
    monkeypatch.setattr(Fitter, "carried", lambda self, displacement: np.zeros_like(displacement))
    assert least < carried < 1.02
    assert kept() < carried


def test_a_person_is_not_drawn_back_to_the_template(dome, template, levels, monkeypatch):
    """A neutral is fitted from a template whose mouth is narrower by 10 mm: the corners stay where landmarks led them,
    for the scan is smooth there."""
    rest, true = template.vertices, slid(dome, template, 10.0)
    xy, faces = dome.sheet(2.0, 1.06, 100)
    marks = levels.fine.landmarks @ true
    target = FitTarget(ScanTarget(dome.surface(xy), faces), marks, np.full(68, 20.0))
    way = (levels.fine.landmarks @ (true - rest))[CORNER]

    def kept() -> float:
        tracker = SequenceTracker(template, levels, dome.SETTINGS, None)
        fitter = tracker.setup.generic_fitters(dome.SETTINGS.membrane_neutral).of(False, False)
        found = fitted_fine(tracker.person, fitter, rest, target, true - rest)
        return float((levels.fine.landmarks @ found)[CORNER] @ way / (way @ way))

    carried = kept()
    monkeypatch.setattr(Fitter, "carried", lambda self, displacement: np.zeros_like(displacement))
    assert 0.97 < carried < 1.02
    assert kept() < carried - 0.02


def test_ears_are_carried_as_stiff_as_a_persons_own(dome, template, monkeypatch):
    """A generic template's give way: what the coarse level bends them by would be carried, too."""
    mask = np.exp(-(np.abs(template.vertices[:, :2] - [40.0, 0.0]) ** 2).sum(axis=1) / 15**2)[:, None]
    monkeypatch.setattr("mimicme.stages.register.levels.ears", lambda *_: np.hstack([mask, 0 * mask]))
    levels = build_levels(template, 1500, dome.SETTINGS.membrane)
    generic = levels.for_generic_template(0.0)
    assert abs(generic.fine.stiffness - levels.fine.stiffness).max() > 0.1
    motion, moved = CarriedMotion(levels.fine), wave(template, 25.0, 8.0)
    own, other = (motion.of(moved, level) for level in (levels.fine, generic.fine))
    np.testing.assert_allclose(other, own, atol=1e-6)


def test_the_lids_of_a_closed_eye_move_each_on_its_own(motion, levels, template):
    """By the factorisation of open eyes, and nearer to the upper lid's own motion than what holds open ones."""
    closed = levels.with_closed_eyes(True, False).fine
    eye = closed.closed[0]
    rims = levels.rims[0]
    upper = rims.middle + rims.rows / 2
    lowered = np.zeros_like(template.vertices)
    above = template.vertices[:, 1] > template.vertices[eye.patch, 1].mean()
    near = np.linalg.norm(template.vertices - template.vertices[eye.patch].mean(axis=0), axis=1) < 30
    lowered[above & near, 1] = -10.0
    open_, shut = (-(upper @ motion.of(lowered, level))[:, 1].mean() for level in (levels.fine, closed))
    assert open_ + 0.5 < shut < 10.0
