"""stabilisation: the head's motion comes from its rigid parts, and the pose of a known shape is refined on its scan."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import transform, vertex_areas
from mimicme.pipeline.geometry.rigid import fit_rigid
from mimicme.stages.register import stabilisation
from mimicme.stages.register.stabilisation import head_motion, refine_pose, skull_weights
from mimicme.stages.register.targets import ScanTarget


@pytest.fixture
def face(dome):
    """The dome's vertices, landmarks and skull weights."""
    template = dome.template()
    areas = vertex_areas(template.vertices, template.faces)
    return template, areas, skull_weights(template.vertices, template.landmarks(), areas)


def test_the_skull_is_the_face_above_the_noses_base(face):
    template, areas, weights = face
    v, marks = template.vertices, template.landmarks()
    counted = weights > 0
    np.testing.assert_array_equal(weights[counted], areas[counted])
    assert v[counted, 1].min() > marks[33, 1]
    assert 0.2 < weights.sum() / areas.sum() < 0.6

    def near(rows, mm):
        return np.min(np.linalg.norm(v[:, None] - marks[rows], axis=2), axis=1) < mm

    assert not counted[near(range(48, 68), 10)].any()  # lips
    assert not counted[near(range(3, 14), 10)].any()  # jaw
    assert not counted[near(range(36, 48), 3)].any()  # eyes
    assert counted[near([27], 4)].all()  # the root of the nose


def test_skull_weights_do_not_depend_on_the_size_of_the_face(face):
    template, areas, weights = face
    larger = skull_weights(1.3 * template.vertices, 1.3 * template.landmarks(), areas)
    np.testing.assert_array_equal(larger, weights)


@pytest.mark.parametrize("seed", range(3))
def test_a_rigid_motion_is_found_exactly(dome, face, seed):
    template, _, weights = face
    truth = dome.rigid(seed)
    found = head_motion(template.vertices, transform(truth, template.vertices), weights)
    np.testing.assert_allclose(found, truth, atol=1e-9)


def test_what_the_weights_leave_out_does_not_count(dome, face):
    template, _, weights = face
    target = transform(dome.rigid(0), template.vertices)
    target[weights == 0] += [0, -40, 0]
    np.testing.assert_allclose(head_motion(template.vertices, target, weights), dome.rigid(0), atol=1e-9)


def test_brows_that_rise_do_not_lift_the_head(dome, face):
    template, _, weights = face
    v = template.vertices
    truth = dome.rigid(1)
    raised = v.copy()
    raised[:, 1] += 4 * (dome.bump(v[:, :2], -30, 46, 22, 9) + dome.bump(v[:, :2], 30, 46, 22, 9))
    target = transform(truth, raised) + 0.05 * np.random.default_rng(0).normal(size=v.shape)
    counted = weights > 0

    def off(motion):
        return dome.apart(transform(motion, v), transform(truth, v))[counted].mean()

    robust, plain = off(head_motion(v, target, weights)), off(fit_rigid(v, target, weights))
    assert 1e-4 < robust < 0.15 * plain
    assert plain > 0.5


def test_the_motion_turns_with_the_face(dome, face):
    template, _, weights = face
    target = dome.moved(template.vertices, 1.0)
    here = head_motion(template.vertices, target, weights)
    there = head_motion(template.vertices, transform(dome.rigid(2), target), weights)
    np.testing.assert_allclose(there, dome.rigid(2) @ here, atol=1e-8)


@pytest.mark.parametrize("seed", range(2))
def test_the_pose_of_a_known_shape_is_refined(dome, face, seed):
    template = face[0]
    frame = dome.frame(amount=1.0, noise_mm=0.2, seed=seed)
    shape = dome.truth(1.0)
    scan = ScanTarget(frame.vertices, frame.faces)
    slip = dome.rigid(seed, turn_deg=0.6, shift_mm=0.6)
    found = refine_pose(transform(slip, shape), template.faces, scan, 0.7, 0.6)
    before = dome.apart(transform(slip, shape), shape).mean()
    after = dome.apart(transform(found @ slip, shape), shape).mean()
    assert before > 0.4
    assert 0.001 < after < 0.12
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-12)


def test_refinement_ends_where_more_steps_would(dome, face, monkeypatch):
    template = face[0]
    frame = dome.frame(amount=1.0, noise_mm=0.2)
    scan = ScanTarget(frame.vertices, frame.faces)
    slipped = transform(dome.rigid(0, turn_deg=2.0, shift_mm=2.0), dome.truth(1.0))
    steps: list[int] = []
    search = scan.targets
    monkeypatch.setattr(scan, "targets", lambda *given: steps.append(1) or search(*given))
    found = refine_pose(slipped, template.faces, scan, 0.7, 0.6)
    needed = len(steps)
    again = refine_pose(transform(found, slipped), template.faces, scan, 0.7, 0.6)
    assert needed > len(steps) - needed  # nothing is left to do
    monkeypatch.setattr(stabilisation, "CONVERGED_MM", 0.0)
    monkeypatch.setattr(stabilisation, "REFINEMENT_STEPS", 20)
    fixed = refine_pose(slipped, template.faces, scan, 0.7, 0.6)
    assert dome.apart(transform(found, slipped), transform(fixed, slipped)).max() < 0.02
    assert dome.apart(transform(again @ found, slipped), transform(fixed, slipped)).max() < 0.01


def test_a_pose_without_correspondences_stays(dome, face):
    frame = dome.frame()
    scan = ScanTarget(frame.vertices + [0, 0, 50], frame.faces)
    np.testing.assert_array_equal(refine_pose(face[0].vertices, face[0].faces, scan, 0.7, 0.6), np.eye(4))


def test_the_motion_is_that_of_reweighted_rigid_fits(dome, face):
    template, _, weights = face
    reference = template.vertices
    found = transform(dome.rigid(0), reference) + np.where(reference[:, 1:2] > 20, [0.0, 4.0, 1.0], 0.0)
    use = weights > 0
    motion = fit_rigid(reference[use], found[use], weights[use])
    for scale in np.geomspace(8 * stabilisation.SCALE_MM, stabilisation.SCALE_MM, stabilisation.ROUNDS):
        off = np.linalg.norm(transform(motion, reference[use]) - found[use], axis=1)
        motion = fit_rigid(reference[use], found[use], weights[use] / (1 + (off / scale) ** 2) ** 2)
    np.testing.assert_allclose(head_motion(reference, found, weights), motion, atol=1e-9)
