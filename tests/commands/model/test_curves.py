"""The measures against closed forms, a brute-force computation, and a release whose model is known."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.commands.model import curves
from mimicme.commands.model.curves import Population
from mimicme.commands.model.evaluate import population, regions_of
from mimicme.commands.model.measured import compare_measures, measure
from mimicme.commands.model.span import span_of
from mimicme.pipeline.numerics.linear_model import LinearModel, fit_pca
from mimicme.pipeline.release.frames import ReleaseFrames

KINDS = ("identity", "expression", "joint")


def of_arrays(shapes, subjects, size=5):
    def batches():
        return (shapes[k : k + size] for k in range(0, len(shapes), size))

    return Population(batches, np.asarray(subjects), np.ones(len(subjects)))


def everywhere(n):
    return {"all": np.ones(n, bool)}


def generalise(shapes, subjects, ranks, regions=None):
    people = of_arrays(shapes, subjects)
    made = span_of(people.batches, len(people), np.ones(shapes.shape[1]), people.shares)
    return curves.generalisation(people, made, np.asarray(ranks), regions or everywhere(shapes.shape[1]))


@pytest.fixture(scope="module")
def frames(known):
    with ReleaseFrames([known.path]) as opened:
        yield opened


def measured(frames, kind, scramble=False, samples=300):
    """A model of a kind and its measures; `scramble`: every subject's vertices in another order."""
    people = population(frames, kind)
    shapes = np.concatenate(list(people.batches()))
    if scramble:
        rng = np.random.default_rng(0)
        order = {s: rng.permutation(shapes.shape[1]) for s in np.unique(people.subjects)}
        shapes = np.stack([shape[order[s]] for shape, s in zip(shapes, people.subjects, strict=True)])
        people = Population(lambda: iter([shapes]), people.subjects, people.shares)
    model = fit_pca(shapes, sample_weights=people.shares, kind=kind)
    regions = regions_of(frames.template, model.weights)
    return model, measure(model, people, regions, own=True, samples=samples)


@pytest.fixture(scope="module")
def good(frames):
    return {kind: measured(frames, kind)[1] for kind in KINDS}


@pytest.fixture(scope="module")
def scrambled(frames):
    return {kind: measured(frames, kind, scramble=True)[1] for kind in ("identity", "expression")}


def test_ranks_of_a_curve_begin_with_the_mean_and_end_with_everything():
    assert curves.curve_ranks(3).tolist() == [0, 1, 2, 3]
    ranks = curves.curve_ranks(500)
    assert ranks[0] == 0
    assert ranks[-1] == 500
    assert len(ranks) <= 13
    assert (np.diff(ranks) > 0).all()


def test_shares_held_are_of_the_total():
    held = curves.explained_variance_ratio(np.array([6.0, 3.0]), 12.0, np.array([0, 1, 2, 9]))
    assert held.tolist() == [0.0, 0.5, 0.75, 0.75]


def test_a_whole_subject_is_left_out():
    """Everybody moves in a direction of one's own: nothing of an unseen person can be known, though each of
    their frames explains their others."""
    rng = np.random.default_rng(0)
    own = np.linalg.qr(rng.normal(size=(60, 5)))[0].T.reshape(5, 20, 3) * 10
    amounts = np.linspace(-1, 1, 7)
    shapes = np.concatenate([amounts[:, None, None] * d for d in own]).astype(np.float32)
    subjects = np.repeat(list("ABCDE"), 7)
    unseen = generalise(shapes, subjects, [0, 1, 4])
    still = np.stack([np.linalg.norm(amounts[:, None, None] * d, axis=2).mean() for d in own])
    assert unseen.subjects == list("ABCDE")
    assert unseen.errors[:, 0, 0] == pytest.approx(still, rel=1e-4)
    assert unseen.errors[:, 2, 0] == pytest.approx(still, rel=1e-4)
    # one frame left out, as it must not be done
    one = fit_pca(shapes[1:], rank=5)
    error = np.linalg.norm(one.decode(one.encode(shapes[:1])) - shapes[:1], axis=2).mean()
    assert error < 0.05 * still[0]


def test_a_shared_direction_is_known_of_unseen_people():
    rng = np.random.default_rng(3)
    shared = rng.normal(size=(2, 20, 3))
    coefs = rng.normal(size=(24, 2))
    shapes = (np.tensordot(coefs, shared, 1)).astype(np.float32)
    unseen = generalise(shapes, np.repeat(list("ABCDEF"), 4), [0, 2])
    assert unseen.errors[:, 0].min() > 0.5
    assert unseen.errors[:, 1].max() < 1e-3
    assert unseen.explained_variance_ratio[:, 1] == pytest.approx(np.ones(6))


def test_regions_are_measured_apart():
    shapes = np.zeros((6, 4, 3), np.float32)
    shapes[:, 0, 0] = [1, -1, 2, -2, 3, -3]
    regions = {"all": np.ones(4, bool), "first": np.array([True, False, False, False])}
    unseen = generalise(shapes, list("AABBCC"), [0], regions)
    assert unseen.errors[:, 0, 1] == pytest.approx([1, 2, 3])
    assert unseen.errors[:, 0, 0] == pytest.approx([0.25, 0.5, 0.75])


def test_specificity_is_the_brute_force_one():
    rng = np.random.default_rng(5)
    shapes = (rng.normal(size=(9, 3)) @ rng.normal(size=(3, 36))).reshape(9, 12, 3).astype(np.float32)
    weights = rng.uniform(0.5, 2, 12)
    weights[0] = 0
    model = fit_pca(shapes, weights)
    found = curves.specificity(model, of_arrays(shapes, list("AAABBBCCC")), np.array([0, 2, 3]), 7, 40)
    draws = np.random.default_rng(7).standard_normal((40, model.rank)) * np.sqrt(model.variances)
    inside = model.weights > 0
    for at, rank in enumerate((0, 2, 3)):
        distances = []
        for draw in draws:
            y = model.decode(np.where(np.arange(model.rank) < rank, draw, 0)[None])[0]
            squares = ((shapes - y) ** 2).sum(axis=2)
            nearest = (squares[:, inside] @ model.weights[inside]).argmin()
            distances.append(np.sqrt(squares[nearest, inside]).mean())
        assert found[0, at] == pytest.approx(np.mean(distances), rel=1e-4)
        error = 1.959964 * np.std(distances, ddof=1) / np.sqrt(40)
        assert found[2, at] - found[0, at] == pytest.approx(error, rel=1e-3, abs=1e-6)


def test_a_model_of_other_data_has_no_interval_of_compactness():
    model = LinearModel(
        np.zeros((4, 3), np.float32),
        np.zeros((2, 4, 3), np.float32),
        np.array([3.0, 1.0]),
        4.0,
        np.ones(4),
        9,
        "x",
    )
    band = curves.compactness(model, np.array([0, 1, 2]), None)
    assert band[0].tolist() == [0, 0.75, 1]
    assert np.isnan(band[1:]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_curves_of_a_good_release_behave(good, kind):
    m = good[kind]
    held = m.compactness[0]
    assert held[0] == 0
    assert (np.diff(held) > -1e-9).all()
    assert held[-1] == pytest.approx(1, abs=1e-6)
    unseen = m.unseen.curve()[0]
    assert (np.diff(unseen) < 0.02 * unseen[0]).all()
    assert unseen[-1] < 0.5 * unseen[0]
    spread = m.specificity[0]
    assert (np.diff(spread) > -0.02 * spread[-1]).all()
    assert spread[-1] > 1.2 * spread[0]
    for band in (m.compactness, m.specificity, m.unseen.curve()):
        assert (band[1] <= band[0] + 1e-9).all()
        assert (band[2] >= band[0] - 1e-9).all()
    assert m.findings == []


@pytest.mark.parametrize("kind", KINDS)
def test_unseen_people_are_reconstructed_to_the_noise(good, known, kind):
    """With everything that the truth consists of; a measure that said nearly nothing would fail too."""
    error = good[kind].unseen.errors[:, -1, 0].mean()
    # mean length of a vector uniform in a cube of this half side
    noise = 0.9606 * known.noise_mm
    assert 0.7 * noise < error <= 0.3


def test_the_model_as_it_is_does_better_on_its_own_people(good):
    for kind in KINDS:
        m = good[kind]
        assert (m.errors[:, -1, 0] < m.unseen.errors[:, -1, 0]).all()
    assert good["identity"].errors[:, -1, 0].max() < 1e-3


def test_vertices_that_do_not_correspond_are_caught(good, scrambled):
    for kind, bad in scrambled.items():
        sound = good[kind]
        five = int(np.flatnonzero(sound.ranks == 5)[0])
        assert bad.compactness[0, five] < sound.compactness[0, five] - 0.4
        explained = [1 - m.unseen.curve()[0, -1] / m.unseen.curve()[0, 0] for m in (sound, bad)]
        assert explained[0] > 0.5
        assert explained[1] < 0.05
        assert any("do not correspond" in said for said in bad.findings)
    assert scrambled["identity"].specificity[0, -1] > 10 * good["identity"].specificity[0, -1]


def test_one_bad_subject_is_named(frames):
    people = population(frames, "identity")
    shapes = np.concatenate(list(people.batches()))
    shapes[3] = shapes[3][np.random.default_rng(0).permutation(shapes.shape[1])]
    unseen = generalise(shapes, people.subjects, [0, 5])
    said = [s for s in curves.findings(unseen) if "look at it" in s]
    assert len(said) == 1
    assert said[0].startswith(str(people.subjects[3]))


def test_comparing_a_model_with_a_shorter_one(frames):
    model, full = measured(frames, "identity", samples=20)
    people = population(frames, "identity")
    regions = regions_of(frames.template, model.weights)
    short = measure(model.truncated(2), people, regions, own=True, samples=20)
    found = compare_measures(full, short)
    assert found.ranks.tolist() == [0, 1, 2, -1]
    assert found.difference[0, :3, 0] == pytest.approx(np.zeros(3), abs=1e-5)
    expected = (short.errors[:, -1, 0] - full.errors[:, -1, 0]).mean()
    assert expected > 0.5
    assert found.difference[0, -1, 0] == pytest.approx(expected)
    assert found.difference[1, -1, 0] > 0
