"""fit: the anneal, and what each of the three passes does to a frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import triangle_normals
from mimicme.stages.register.annealing import annealed
from mimicme.stages.register.ear_visibility import (
    GENERIC_EARS,
    PERSONAL_EARS,
    EarVisibility,
    VisibilityThresholds,
)
from mimicme.stages.register.fit import Fitter, RejectionThresholds
from mimicme.stages.register.fit_target import FitTarget
from mimicme.stages.register.preconditioners import LandmarkWeights, Preconditioners
from mimicme.stages.register.targets import ScanTarget

WEIGHTS = LandmarkWeights(20.0, 1.0)
COARSE = annealed(6, (3000.0, 10.0), (10.0, 1.4))
FINE = annealed(3, (1.5, 1.5), (1.0, 0.7))


@pytest.fixture
def rest(dome):
    return dome.template().vertices


@pytest.fixture
def fitter(dome):
    return Fitter(dome.levels(), WEIGHTS, RejectionThresholds(), 1e-4, 1e-3)


@pytest.fixture
def fit_target(dome):
    """The deformed face, with 20 mm^2 for every landmark."""
    frame = dome.frame(amount=1.0)
    return FitTarget(ScanTarget(frame.vertices, frame.faces), frame.landmarks, np.full(68, 20.0))


def test_the_anneal_is_geometric():
    steps = annealed(4, (1000.0, 1.0), (8.0, 1.0))
    np.testing.assert_allclose([s.stiffness for s in steps], [1000, 100, 10, 1])
    np.testing.assert_allclose([s.scale_mm for s in steps], [8, 4, 2, 1])


def test_equal_ends_stay_equal_to_the_last_bit():
    assert {s.stiffness for s in annealed(7, (0.3, 0.3), (2.0, 1.0))} == {0.3}


def test_no_steps_change_nothing(fitter, rest, fit_target):
    assert annealed(0, (10.0, 1.0), (2.0, 1.0)) == []
    start = np.random.default_rng(0).normal(size=rest.shape)
    np.testing.assert_array_equal(fitter.coarse(rest, fit_target, start, []), start)
    np.testing.assert_array_equal(fitter.fine(rest, fit_target, start, []), start)


def test_the_warp_follows_an_affine_map_of_the_landmarks(dome, fitter, rest, fit_target):
    marks = dome.template().landmarks()
    affine = np.array([[1.05, 0.02, 0], [0, 0.97, 0.03], [0, 0, 1.1]])
    found = fitter.warp(rest, replace(fit_target, landmarks=marks @ affine.T + [1, 2, 3]), 2.0)
    # between the levels a facet cuts the corner: exact on the coarse vertices, close elsewhere
    expected = rest @ affine.T + [1, 2, 3]
    coarse = fitter.levels.coarse.index
    np.testing.assert_allclose((rest + found)[coarse], expected[coarse], atol=1e-3)
    assert dome.apart(rest + found, expected).mean() < 0.05


def test_the_warp_uses_only_landmarks_with_weight(fitter, rest, fit_target):
    weights = np.where(np.arange(68) < 10, 0.0, 20.0)
    wild = fit_target.landmarks.copy()
    wild[:10] = 1e4
    a, b = (
        fitter.warp(rest, FitTarget(fit_target.scan, marks, weights), 2.0)
        for marks in (fit_target.landmarks, wild)
    )
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_too_few_landmarks_warp_nothing(fitter, rest, fit_target, count):
    few = replace(fit_target, weights=np.where(np.arange(68) < count, 20.0, 0.0))
    np.testing.assert_array_equal(fitter.warp(rest, few, 2.0), 0)


def test_every_pass_comes_closer(dome, fitter, rest, fit_target):
    truth = dome.truth(1.0)
    moving = dome.apart(truth, rest) > 3
    warped = fitter.warp(rest, fit_target, 2.0)
    coarse = fitter.coarse(rest, fit_target, warped, COARSE)
    fine = fitter.fine(rest, fit_target, coarse, FINE)
    errors = [dome.apart(rest + d, truth)[moving].mean() for d in (0 * rest, warped, coarse)]
    assert errors[0] > 2 * errors[1]
    assert errors[2] < errors[0] / 3

    def off_surface(d):
        return fit_target.scan.surface.distance(rest + d).mean()

    assert off_surface(warped) > 2 * off_surface(coarse)
    assert 0 < off_surface(fine) < 0.1 * off_surface(coarse)
    assert 0.1 < dome.apart(rest + fine, truth)[moving].mean() < 1.1 * errors[2]


def test_a_scan_of_the_rest_shape_moves_it_little(dome, fitter, rest):
    frame = dome.frame(amount=0.0)
    fit_target = FitTarget(ScanTarget(frame.vertices, frame.faces), frame.landmarks, np.full(68, 20.0))
    found = fitter.fine(rest, fit_target, fitter.coarse(rest, fit_target, np.zeros_like(rest), COARSE), FINE)
    assert 0 < np.linalg.norm(found, axis=1).mean() < 0.4


def test_a_hole_is_bridged(dome, fitter, rest):
    """Where the scan has no data the template goes on as its surroundings do."""
    frame = dome.frame(amount=1.0)
    hole = np.linalg.norm(frame.vertices[frame.faces].mean(1)[:, :2] - [40, -20], axis=1) < 14
    fit_target = FitTarget(ScanTarget(frame.vertices, frame.faces[~hole]), frame.landmarks, np.full(68, 20.0))
    found = fitter.fine(
        rest, fit_target, fitter.coarse(rest, fit_target, fitter.warp(rest, fit_target, 2.0), COARSE), FINE
    )
    inside = np.linalg.norm(dome.truth(1.0)[:, :2] - [40, -20], axis=1) < 10
    unseen = ~fitter.observed(fitter.correspondences(rest + found, fit_target.scan, 0.7), 0.7)
    assert unseen[inside].all()
    assert unseen[~inside].mean() < 0.1
    bridged = dome.apart(rest + found, dome.truth(1.0))[inside].mean()
    assert 0.05 < bridged < 0.6 * dome.apart(rest, dome.truth(1.0))[inside].mean()


def test_hair_does_not_pull(dome, fitter, rest):
    """A bush of points 8 mm before the forehead is not followed."""
    frame = dome.frame(amount=0.0)
    bush = frame.vertices.copy()
    bush[(bush[:, 1] > 60) & (np.arange(len(bush)) % 3 == 0), 2] += 8
    fit_target = FitTarget(ScanTarget(bush, frame.faces), frame.landmarks, np.full(68, 20.0))
    found = fitter.fine(rest, fit_target, fitter.coarse(rest, fit_target, np.zeros_like(rest), COARSE), FINE)
    top = rest[:, 1] > 65
    assert np.linalg.norm(found[top], axis=1).mean() < 2.5
    assert np.linalg.norm(found[rest[:, 1] < 30], axis=1).mean() < 0.2


def test_a_fold_in_the_start_is_smoothed_away(dome, fitter, rest):
    frame = dome.frame(amount=0.0)
    fit_target = FitTarget(ScanTarget(frame.vertices, frame.faces), frame.landmarks, np.zeros(68))
    start = np.zeros_like(rest)
    start[np.argmin(np.linalg.norm(rest[:, :2] - [35, 60], axis=1)), 0] = 9.0  # past its neighbour
    faces = dome.template().faces
    before = triangle_normals(rest, faces)[0]

    def folds(d):
        return int(((triangle_normals(rest + d, faces)[0] * before).sum(1) < 0).sum())

    assert folds(start) > 0
    assert folds(fitter.fine(rest, fit_target, start, FINE)) == 0


def test_frames_registered_before_do_not_change_a_byte(dome, rest, fit_target):
    levels = replace(dome.levels())
    other = dome.frame(1, amount=0.3)
    before = FitTarget(ScanTarget(other.vertices, other.faces), other.landmarks, fit_target.weights)
    found = []
    for first in (None, before, before):
        fitter = Fitter(levels, WEIGHTS, RejectionThresholds(), 1e-4, 1e-3)
        if first is not None:
            fitter.fine(rest, first, fitter.coarse(rest, first, 0 * rest, COARSE), FINE)
        found.append(fitter.fine(rest, fit_target, fitter.coarse(rest, fit_target, 0 * rest, COARSE), FINE))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_a_template_is_factorised_once_for_all_frames(dome, rest, fit_target):
    levels = replace(dome.levels())
    for _ in range(2):
        Fitter(levels, WEIGHTS, RejectionThresholds(), 1e-4, 1e-3).fine(rest, fit_target, 0 * rest, FINE)
    made = Preconditioners.of(levels, WEIGHTS)
    assert made.fine.factorisations == len({step.stiffness for step in FINE})
    assert Preconditioners.of(levels, LandmarkWeights(20.0, 2.0)).fine.factorisations == 0


def test_a_held_out_landmark_shows_what_the_fit_hides(dome, fitter, rest, fit_target):
    """The residual of a wrong landmark is small, because the mesh follows it; left out, its error shows."""
    step = COARSE[-1]

    def left_out(fit_target):
        found = fitter.coarse(rest, fit_target, 0 * rest, COARSE)
        return fitter.held_out_error(
            rest, fit_target, found, fitter.correspondences(rest + found, fit_target.scan, 1.4), step
        )

    good = left_out(fit_target)
    wrong = fit_target.landmarks.copy()
    wrong[2::4] += [0, 6.0, 0]
    bad = replace(fit_target, landmarks=wrong)
    told = left_out(bad)
    assert 0 < good < 2
    assert 4 < told < 8


def test_of_few_landmarks_each_is_held_out_in_its_turn(dome, fitter, rest, fit_target):
    """An error of one that the others cannot tell is told, whichever it is; of one alone nothing is."""
    step, places = COARSE[-1], np.flatnonzero(fit_target.weights > 0)

    def left_out(count, landmarks):
        weights = np.where(
            np.isin(np.arange(len(landmarks)), places[:: len(places) // 5][:count]), fit_target.weights, 0
        )
        few = replace(fit_target, weights=weights, landmarks=landmarks)
        found = fitter.coarse(rest, few, 0 * rest, COARSE)
        return fitter.held_out_error(
            rest, few, found, fitter.correspondences(rest + found, few.scan, 1.4), step
        )

    good = left_out(5, fit_target.landmarks)
    assert 0 < good < 2
    for k in places[:: len(places) // 5][:5]:
        wrong = fit_target.landmarks.copy()
        wrong[k] += [0, 15.0, 0]
        assert left_out(5, wrong) > 2 * good
    assert left_out(2, fit_target.landmarks) >= 0
    assert np.isnan(left_out(1, fit_target.landmarks))


@pytest.mark.parametrize(
    ("thresholds", "follows"),
    [(VisibilityThresholds(1.0, 0.0, 0.01), True), (VisibilityThresholds(1.0, 0.98, 0.99), False)],
    ids=["visible", "occluded"],
)
def test_an_ear_follows_what_is_visible_and_else_the_head(dome, thresholds, follows):
    """A cheek for an ear: the scan bulges there by 2.5 mm, as hair would."""
    levels = dome.levels()
    rest = dome.template().vertices
    cheek = dome.bump(rest[:, :2], 45, -10, 14, 14)
    masks = np.stack([cheek > 0.3, np.zeros(len(rest), bool)], axis=1).astype(float)
    levels = replace(
        levels,
        fine=replace(levels.fine, ears=masks),
        coarse=replace(levels.coarse, ears=masks[levels.coarse.index]),
    )
    frame = dome.frame(noise_mm=0.0)
    bulging = frame.vertices + 2.5 * dome.bump(frame.vertices[:, :2], 45, -10, 14, 14)[:, None] * [0, 0, 1]
    fit_target = FitTarget(ScanTarget(bulging, frame.faces), frame.landmarks, np.full(68, 20.0))
    rejection = RejectionThresholds(ears=EarVisibility(thresholds, thresholds))
    fitter = Fitter(levels, WEIGHTS, rejection, 1e-4, 1e-3)
    found = fitter.coarse(rest, fit_target, np.zeros_like(rest), COARSE)
    found = fitter.fine(rest, fit_target, found, FINE)
    raised = found[cheek > 0.9, 2].mean()
    assert raised > 1.4 if follows else raised < 0.6


def test_personal_ears_have_to_fit_better_than_generic_ones():
    for personal, generic in zip(PERSONAL_EARS, GENERIC_EARS, strict=True):
        assert personal.occluded > generic.occluded
        assert personal.visible > generic.visible > generic.occluded
