"""prior: the space of expressions is learnt without the subject's own errors, and a second pass gains from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import transform
from mimicme.stages.register.prior import FOLDS, fold_of, learn


@pytest.fixture(scope="module")
def space():
    """20 displacements (20, 300, 3) mm in a space of two known directions, and those directions."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(2, 300, 3))
    return np.tensordot(rng.normal(size=(20, 2)) * [3.0, 1.0], directions, 1), directions


UP = np.tile([0.0, 0.0, 1.0], (300, 1))
ONES = np.ones(300)


def test_modes_are_as_long_as_the_shapes_vary(space):
    shapes, _ = space
    prior = learn(shapes, ONES)
    assert prior.modes.shape == (2, 300, 3)
    second_moment = np.einsum("kvx,kvx->", prior.modes, prior.modes)
    assert second_moment == pytest.approx((shapes**2).sum() / 20, rel=1e-9)
    assert (prior.modes[0] ** 2).sum() > (prior.modes[1] ** 2).sum()


def test_the_prediction_has_less_noise_than_the_first_result(space):
    shapes, directions = space
    truth = 2 * directions[0] - directions[1]
    noise = np.random.default_rng(1).normal(size=truth.shape)
    guess = learn(shapes, ONES).predict(truth + noise, UP, ONES)
    assert np.abs(guess - truth).mean() < 0.25 * np.abs(noise).mean()


def test_what_was_not_observed_is_predicted_from_what_was(space):
    shapes, directions = space
    seen = np.where(np.arange(300) < 150, 1.0, 0.0)
    observed = 3 * directions[0] + 9.0 * (1 - seen)[:, None]
    guess = learn(shapes, ONES).predict(observed, UP, seen)
    assert np.abs(guess - 3 * directions[0])[150:].mean() < 0.2 * np.abs(3 * directions[0]).mean()


def test_displacement_across_the_surface_counts_for_more(space):
    shapes, directions = space
    noise = np.zeros((300, 3))
    noise[:, 0] = directions[0][:, 0]  # along the surface; the same across it misleads more
    turned = np.tile([1.0, 0.0, 0.0], (300, 1))
    prior = learn(shapes, ONES)
    along, across = (
        np.abs(prior.predict(directions[0] + noise, n, ONES) - directions[0]).mean() for n in (UP, turned)
    )
    assert along < 0.8 * across


def test_a_neutral_face_stays_neutral_and_nothing_is_learnt_from_nothing(space):
    shapes, _ = space
    assert np.abs(learn(shapes, ONES).predict(np.zeros((300, 3)), UP, ONES)).max() == 0
    empty = learn(np.zeros((0, 300, 3)), ONES)
    assert np.abs(empty.predict(shapes[0], UP, ONES)).max() == 0
    assert len(learn(np.zeros((5, 300, 3)), ONES).modes) == 0


def test_no_subject_is_predicted_from_itself():
    names = [f"S{k:02d}" for k in range(FOLDS)]
    assert sorted(fold_of(names).values()) == list(range(FOLDS))
    many = fold_of([f"S{k:03d}" for k in range(3 * FOLDS)])
    assert {list(many.values()).count(f) for f in range(FOLDS)} == {3}
    assert fold_of(reversed(names)) == fold_of([*names, names[0]])


@pytest.fixture(scope="module")
def second_pass(dome):
    """Four noisy frames: tracker, and frame, first result and truth of each."""
    tracker = dome.tracker(dome.truth(0.0))
    cases = []
    for seed in range(4):
        frame = dome.frame(0, 0.9, landmark_noise_mm=1.5, seed=seed)
        cases.append((frame, dome.tracker(dome.truth(0.0)).register(frame), dome.truth(0.9)))
    return tracker, cases


def others(dome):
    """A prior learnt of others' expressions: the same motion, by other amounts, with errors of its own."""
    index = dome.levels().coarse.index
    rng = np.random.default_rng(5)
    shapes = [(dome.truth(a) - dome.truth(0.0))[index] for a in (0.3, 0.6, 0.8, 1.0, 1.2)]
    noise = 0.2 * rng.normal(size=(len(shapes), len(index), 3))
    return learn(np.stack(shapes) + noise, dome.levels().coarse.areas)


def test_a_second_pass_brings_noisy_frames_nearer_to_the_truth(dome, second_pass):
    tracker, cases = second_pass
    moving = dome.apart(dome.truth(0.9), dome.truth(0.0)) > 2
    prior = others(dome)
    before, after, surface = [], [], []
    for frame, first, truth in cases:
        second = tracker.second_pass(frame, first, prior)
        before.append(dome.apart(transform(first.pose, first.vertices), truth)[moving].mean())
        after.append(dome.apart(transform(second.pose, second.vertices), truth)[moving].mean())
        surface.append(second.quality.s2m_median / first.quality.s2m_median)
    assert np.mean(after) < 0.8 * np.mean(before)
    assert max(surface) < 1.2  # released: it lies on the scan as before


def test_a_second_result_that_is_not_as_good_is_not_taken(dome, second_pass):
    tracker, cases = second_pass
    frame, first, _ = cases[0]
    flawless = replace(first, quality=replace(first.quality, s2m_median=-1.0))
    assert tracker.second_pass(frame, flawless, others(dome)) is flawless
    tracker = dome.tracker(dome.truth(0.0), replace(dome.SETTINGS, max_s2m_median_mm=1e-6))
    assert tracker.second_pass(frame, first, others(dome)) is first
