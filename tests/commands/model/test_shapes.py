"""Blendshapes: symmetry, robust means, sides, ARKit's names, deformation transfer, personal and sparse shapes."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.commands.model.blendshapes import (
    ARKIT,
    arkit_blendshapes,
    mirrored_label,
    named_blendshapes,
    robust_mean,
    split_sides,
)
from mimicme.commands.model.gradients import PoissonSolver, deformation, edge_pairs, transfer_deformation
from mimicme.commands.model.personal import personal_blendshapes, shape_weights
from mimicme.commands.model.sparse import SparseSettings, sparse_components
from mimicme.commands.model.symmetry import Mirror
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.model_file import Blendshapes


@pytest.fixture(scope="module")
def mirror(known):
    return Mirror(known.template)


@pytest.fixture(scope="module")
def moves(known, known_module):
    """(V, 3) mm by label: the true fields of the synthetic release."""
    return {e: known_module.apex_field(known.template, e) for e in known_module.EXPRESSIONS}


def bump(known, place, move, reach=14.0):
    distance = np.linalg.norm(known.template.vertices - place, axis=1)
    return np.exp(-((distance / reach) ** 2))[:, None] * np.array(move, float)


# -- symmetry


def test_the_mirror_of_a_symmetric_template_swaps_its_columns(known, mirror):
    v = known.template.vertices
    opposite = mirror.partners @ v
    # its triangles are not mirrored: a seventh of an edge
    np.testing.assert_allclose(opposite, v * [-1, 1, 1], atol=1.0)


def test_a_move_on_the_left_becomes_one_on_the_right(known, mirror):
    left = bump(known, [25, -40, 60], (4, 2, 1))
    right = bump(known, [-25, -40, 60], (-4, 2, 1))
    np.testing.assert_allclose(mirror.differences(left[None])[0], right, atol=0.15)
    np.testing.assert_allclose(mirror.differences(mirror.differences(left[None]))[0], left, atol=0.15)


def test_the_mirror_of_a_real_template_keeps_lips_apart(small_face):
    mirror = Mirror(small_face)
    v = small_face.vertices
    twice = mirror.partners @ (mirror.partners @ v)
    assert np.percentile(np.linalg.norm(twice - v, axis=1), 95) < 2.5
    # upper lip stays upper lip: a field that moves only what is above the mouth stays above it
    marks = small_face.landmarks()
    upper, lower = marks[61:64].mean(axis=0), marks[65:68].mean(axis=0)
    lifted = np.zeros_like(v)
    near = np.linalg.norm(v - upper, axis=1) < np.linalg.norm(v - lower, axis=1)
    lifted[near, 1] = 1
    mirrored = mirror.differences(lifted[None])[0][:, 1]
    assert np.mean(np.abs(mirrored - near) > 0.5) < 0.02


# -- named shapes


def test_the_robust_mean_shrugs_off_one_wild_shape():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((40, 3))
    deltas = truth + 0.05 * rng.standard_normal((9, 40, 3))
    deltas[3] += 30
    mean, shares = robust_mean(deltas)
    assert np.abs(mean - truth).max() < 0.25
    assert shares[3] < 0.01
    assert np.abs(deltas.mean(axis=0) - truth).min() > 2
    one, share = robust_mean(deltas[:1])
    np.testing.assert_allclose(one, deltas[0])
    assert share.tolist() == [1]


def test_named_shapes_are_symmetric_or_lend_themselves_to_the_other_side(known, mirror, moves):
    lopsided = moves["happiness"] + bump(known, [25, -40, 60], (2, 0, 0))
    given = {
        "happiness": [("A", lopsided), ("B", lopsided)],
        "mouth_left": [("A", moves["mouth_left"])],
        "smirk": [("A", bump(known, [25, -40, 60], (4, 2, 1)))],
    }
    shapes, shares = named_blendshapes(given, mirror)
    assert shapes.names == ("happiness", "mouth_left", "mouth_right", "smirk")
    assert shapes.counts.tolist() == [2, 1, 1, 1]
    happy = shapes.delta("happiness")
    np.testing.assert_allclose(mirror.differences(happy[None])[0], happy, atol=0.15)
    assert shapes.notes == {"mouth_right": "mirrored", "smirk": "one-sided"}
    right = shapes.delta("mouth_right")
    np.testing.assert_allclose(right, mirror.differences(moves["mouth_left"][None])[0], atol=1e-4)
    # a label of the lab's own that is plainly one-sided is not smeared over both
    np.testing.assert_allclose(shapes.delta("smirk"), given["smirk"][0][1], atol=1e-5)
    assert sum(shares["happiness"].values()) == pytest.approx(1)
    as_they_come, _ = named_blendshapes(given, None)
    assert as_they_come.notes == {}
    np.testing.assert_allclose(as_they_come.delta("happiness"), lopsided, atol=1e-5)
    with pytest.raises(UsageError, match="no blendshape 'joy'"):
        shapes.delta("joy")


def test_sides_add_up_and_lie_where_they_are_called(known, moves):
    shapes = Blendshapes(
        ("happiness", "wink_left"), np.stack([moves["happiness"]] * 2), np.array([1, 1], np.int32)
    )
    parts = split_sides(shapes, known.template)
    assert parts.names == ("happiness_left", "happiness_right", "wink_left")
    np.testing.assert_allclose(parts.deltas[0] + parts.deltas[1], shapes.deltas[0], atol=1e-6)
    x = known.template.vertices[:, 0]
    assert np.abs(parts.delta("happiness_left")[x < -15]).max() == 0
    assert np.abs(parts.delta("happiness_left")[x > 15]).max() > 4


def test_arkit_shapes_are_cut_out_by_region_and_side(known, moves):
    names = tuple(moves)
    shapes = Blendshapes(names, np.stack([moves[n] for n in names]).astype("f4"), np.full(6, 2, np.int32))
    found = arkit_blendshapes(shapes, known.template)
    assert set(found.names) <= set(ARKIT)
    assert {"mouthSmileLeft", "mouthFrownRight", "jawOpen", "browDownLeft", "mouthPucker"} <= set(found.names)
    assert "cheekPuff" not in found.names
    x, y = known.template.vertices[:, 0], known.template.vertices[:, 1]
    smile = np.abs(found.delta("mouthSmileLeft")).max(axis=1)
    assert x[smile.argmax()] > 10 and smile[x < -15].max() == 0
    # surprise opens the jaw and lifts the brows: each shape has its own half
    assert (
        np.abs(found.delta("jawOpen")[y > 40]).max() < 0.1 < np.abs(found.delta("browInnerUp")[y > 40]).max()
    )


def test_labels_know_their_other_side():
    assert mirrored_label("wink_left") == "wink_right"
    assert mirrored_label("mouth_right") == "mouth_left"
    assert mirrored_label("leftovers") == "leftovers"


# -- deformations


def test_a_deformation_is_put_back_together_by_its_edges(known, moves):
    v, f = known.template.vertices, known.template.faces
    bent = v + moves["surprise"]
    poisson = PoissonSolver(v, f)
    again = poisson.vertices(edge_pairs(bent, f), v)  # the places are wrong on purpose: edges win
    again += (bent - again).mean(axis=0)
    assert np.abs(again - bent).max() < 2.0
    np.testing.assert_allclose(poisson.vertices(edge_pairs(bent, f), bent), bent, atol=1e-6)


def test_gradients_of_a_rotation_are_the_rotation(known):
    turn = np.eye(4)
    a = np.radians(30)
    turn[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    v, f = known.template.vertices, known.template.faces
    gradients = deformation(v, transform(turn, v), f)
    np.testing.assert_allclose(gradients, np.broadcast_to(turn[:3, :3], gradients.shape), atol=1e-9)


def test_transfer_suits_the_other_face(known, moves):
    v, f = known.template.vertices, known.template.faces
    smiling = v + moves["happiness"]
    np.testing.assert_allclose(transfer_deformation(v, smiling, v, f), smiling, atol=1e-6)
    # a face twice as wide smiles twice as wide in its middle, where a plain difference does not
    wide = v * [2, 1, 1]
    result = transfer_deformation(v, smiling, wide, f)
    corner = known.template.landmarks(result)[54] - known.template.landmarks(wide)[54]
    plain = known.template.landmarks(smiling)[54] - known.template.landmarks(v)[54]
    assert corner[0] > 1.3 * plain[0]
    assert 0.8 * plain[1] < corner[1] < 1.5 * plain[1]
    still = np.linalg.norm(v[:, :2] - [0, -40], axis=1) > 75
    assert np.abs((result - wide)[still]).max() < 1.0


# -- personal shapes


def test_personal_shapes_come_nearer_to_the_person_than_the_generic_ones(known, moves):
    v, f = known.template.vertices, known.template.faces
    generic = np.stack([moves["happiness"], moves["surprise"], moves["pout"]])
    own = generic.copy()
    own[0] += bump(known, [25, -35, 60], (0, 5, 3))  # a dimple that only this person has
    neutral = v + 2 * np.sin(v[:, [1]] / 30) * [1, 0, 0.5]
    rng = np.random.default_rng(0)
    true_weights = np.r_[np.eye(3), rng.uniform(0, 0.8, (9, 3))]
    frames = neutral + np.tensordot(true_weights, own, 1) + 0.05 * rng.standard_normal((12, *v.shape))
    shapes, weights = personal_blendshapes(neutral, frames, v, generic, f)
    before = np.linalg.norm(generic[0] - own[0], axis=1).max()
    after = np.linalg.norm(shapes[0] - own[0], axis=1).max()
    assert after < 0.5 * before
    assert np.abs(weights - true_weights).mean() < 0.05
    differences = frames - neutral
    np.testing.assert_allclose(weights, shape_weights(differences, shapes), atol=1e-3)
    rest, first = (
        ((differences - np.tensordot(shape_weights(differences, s), s, 1)) ** 2).mean()
        for s in (shapes, generic)
    )
    assert rest < 0.3 * first
    # a shape the person never shows stays the generic one
    few, _ = personal_blendshapes(neutral, frames[:1], v, generic, f)
    assert np.abs(few[1] - generic[1]).mean() < 0.3
    with pytest.raises(UsageError, match="need frames"):
        personal_blendshapes(neutral, frames[:0], v, generic, f)


def test_shape_weights_are_those_it_was_made_with(moves):
    shapes = np.stack(list(moves.values()))
    truth = np.random.default_rng(1).uniform(0, 1, (20, len(shapes)))
    made = np.tensordot(truth, shapes, 1)
    np.testing.assert_allclose(shape_weights(made, shapes), truth, atol=1e-5)
    np.testing.assert_allclose(
        shape_weights(made, shapes, np.linspace(1, 2, shapes.shape[1])), truth, atol=1e-5
    )


# -- sparse components


def test_sparse_components_find_the_parts_that_move_by_themselves(known):
    places = ([-35, 50, 50], [35, 50, 50], [0, -42, 60])
    parts = np.stack(
        [bump(known, p, m, 10) for p, m in zip(places, ((0, 6, 0), (0, 6, 0), (0, -8, 2)), strict=True)]
    )
    rng = np.random.default_rng(0)
    weights = rng.uniform(0, 1, (60, 3)) * (rng.uniform(size=(60, 3)) > 0.4)
    data = np.tensordot(weights, parts, 1) + 0.02 * rng.standard_normal((60, *parts.shape[1:]))
    settings = SparseSettings(3, near_mm=15, far_mm=45)
    shapes, found = sparse_components(data, known.template.vertices, known.template.faces, settings)
    centres = known.template.vertices[(shapes**2).sum(axis=2).argmax(axis=1)]
    apart = np.linalg.norm(centres[:, None] - np.array(places), axis=2)
    assert sorted(apart.argmin(axis=1).tolist()) == [0, 1, 2]
    assert apart.min(axis=1).max() < 15
    # each is zero far from its centre, where principal components are not
    for shape, centre in zip(shapes, centres, strict=True):
        far = np.linalg.norm(known.template.vertices - centre, axis=1) > 50
        assert np.abs(shape[far]).max() < 1e-6
    rest = data - np.tensordot(found, shapes, 1)
    assert (rest**2).mean() < 0.05 * (data**2).mean()
    assert ((found >= 0) & (found <= 1)).all()
