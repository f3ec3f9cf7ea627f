"""solver: conjugate gradients end where a dense solver ends, whatever was factorised before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from mimicme.pipeline.geometry.mesh import vertex_areas, vertex_normals
from mimicme.stages.register import solver
from mimicme.stages.register.solver import (
    Landmarks,
    Preconditioner,
    Problem,
    factorise,
    incomplete_factorise,
    solve,
)
from mimicme.stages.register.stiffness import shell_stiffness
from mimicme.stages.register.targets import Targets


@pytest.fixture(scope="module")
def sheet(dome):
    """About 110 vertices and their triangles."""
    xy, faces = dome.sheet(16.0, 1.0, 1)
    return dome.surface(xy), faces


def a_problem(sheet, seed=0, stiffness=300.0, lone=0):
    """Planes for two vertices of three, ten landmarks of which two are absent, `lone` vertices without anything."""
    rng = np.random.default_rng(seed)
    vertices, faces = sheet
    rest = np.r_[vertices, rng.normal(size=(lone, 3))]
    n = len(rest)
    used = np.arange(n) < len(vertices)
    weights = np.where((rng.random(n) < 2 / 3) & used, rng.random(n), 0.0)
    normals = vertex_normals(rest + rng.normal(size=(n, 3)), faces)
    targets = Targets(rest + 3 * rng.normal(size=(n, 3)), normals, weights)
    corner = faces[rng.choice(len(faces), 10, replace=False)]
    matrix = sparse.csr_matrix(
        (rng.dirichlet(np.ones(3), 10).ravel(), (np.repeat(np.arange(10), 3), corner.ravel())), shape=(10, n)
    )
    points = matrix @ rest + 5 * rng.normal(size=(10, 3))
    b = np.where(np.arange(10) < 2, 0.0, rng.uniform(5, 20, 10))
    return Problem(
        stiffness=stiffness,
        matrix=shell_stiffness(rest, faces, 0.001),
        rest=rest,
        areas=vertex_areas(rest, faces),
        targets=targets,
        landmarks=Landmarks(matrix, points, b),
        tangential_weight=0.01,
    )


def dense(problem):
    """The minimiser (n, 3) of `Problem.energy`: a quadratic is known from its values, whatever the code's matrix."""
    rest, n = problem.rest, len(problem.rest)
    rows, right = [], []
    for i in np.flatnonzero(problem.targets.weights):
        a = problem.areas[i] * problem.targets.weights[i]
        for direction, share in [
            (problem.targets.normals[i], 1.0),
            *[(e, problem.tangential_weight) for e in np.eye(3)],
        ]:
            row = np.zeros((n, 3))
            row[i] = np.sqrt(a * share) * direction
            rows.append(row.ravel())
            right.append(np.sqrt(a * share) * direction @ (problem.targets.points[i] - rest[i]))
    given = problem.landmarks
    for k in np.flatnonzero(given.weights):
        b = np.asarray(given.matrix[k].todense()).ravel()
        for x in range(3):
            row = np.zeros((n, 3))
            row[:, x] = np.sqrt(given.weights[k]) * b
            rows.append(row.ravel())
            right.append(np.sqrt(given.weights[k]) * (given.points[k, x] - b @ rest[:, x]))
    a, b = np.array(rows), np.array(right)
    normal = a.T @ a + problem.stiffness * np.kron(problem.matrix.toarray(), np.eye(3))
    return np.linalg.lstsq(normal, a.T @ b, rcond=1e-13)[0].reshape(n, 3)


def test_the_minimum_is_the_dense_one(sheet):
    problem = a_problem(sheet)
    zero = np.zeros_like(problem.rest)
    found, exact = solve(problem, zero, Preconditioner(), 1e-10, max_iterations=500)
    best = dense(problem)
    assert problem.energy(found) == pytest.approx(problem.energy(best), rel=1e-6)
    np.testing.assert_allclose(found, best, atol=1e-4)
    assert 0 < solve(problem, zero, Preconditioner(), 1e-4)[1] < exact < 500
    # far below where it began, and not at zero: the planes contradict each other
    assert 0.001 * problem.energy(0 * best) < problem.energy(best) < 0.5 * problem.energy(0 * best)


def test_the_gradient_of_the_energy_vanishes_there(sheet):
    problem = a_problem(sheet, seed=1)
    found = solve(problem, np.zeros_like(problem.rest), Preconditioner(), 1e-10)[0]
    rng = np.random.default_rng(0)
    steepest = abs(problem.right_hand_side()).max()
    for _ in range(5):
        way = rng.normal(size=found.shape)
        slope = (problem.energy(found + way) - problem.energy(found - way)) / 2
        assert abs(slope) < 1e-6 * steepest * np.sqrt(way.size)


def test_operator_and_right_hand_side_are_the_gradient_of_the_energy(sheet):
    problem = a_problem(sheet, seed=2)
    rng = np.random.default_rng(0)
    at, way = rng.normal(size=(2, *problem.rest.shape))
    slope = (problem.energy(at + way) - problem.energy(at - way)) / 2  # exact for a quadratic
    assert slope == pytest.approx(2 * (way * (problem.apply(at) - problem.right_hand_side())).sum())


def test_the_answer_does_not_depend_on_where_it_starts(sheet):
    problem = a_problem(sheet)
    zero = np.zeros_like(problem.rest)
    far = 20 * np.random.default_rng(1).normal(size=zero.shape)
    a, b = (solve(problem, start, Preconditioner(), 1e-11, max_iterations=500)[0] for start in (zero, far))
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_start_at_the_answer_costs_no_iteration(sheet):
    problem = a_problem(sheet)
    found = solve(problem, np.zeros_like(problem.rest), Preconditioner(), 1e-10)[0]
    again, iterations = solve(problem, found, Preconditioner(), 1e-6)
    assert iterations == 0
    np.testing.assert_array_equal(again, found)


def test_a_factorisation_of_other_weights_leads_to_the_same_answer(sheet):
    first, second = a_problem(sheet, seed=0), a_problem(sheet, seed=5)
    second = replace(second, matrix=first.matrix)
    assert (first.targets.weights != second.targets.weights).any()
    kept = Preconditioner(max_iterations=500)
    zero = np.zeros_like(first.rest)
    solve(first, zero, kept, 1e-10, max_iterations=500)
    reused, _ = solve(second, zero, kept, 1e-10, max_iterations=500)
    assert kept.factorisations == 1
    fresh, _ = solve(second, zero, Preconditioner(), 1e-10, max_iterations=500)
    np.testing.assert_allclose(reused, fresh, atol=1e-4)
    assert second.energy(reused) == pytest.approx(second.energy(dense(second)), rel=1e-6)


def test_another_stiffness_is_factorised_again(sheet):
    kept = Preconditioner()
    for stiffness in (300.0, 100.0):
        problem = a_problem(sheet, stiffness=stiffness)
        found, _ = solve(problem, np.zeros_like(problem.rest), kept, 1e-10)
        assert problem.energy(found) == pytest.approx(problem.energy(dense(problem)), rel=1e-6)
    assert kept.factorisations == 2


def test_a_factorisation_that_took_too_long_is_renewed(sheet):
    problem = a_problem(sheet)
    kept = Preconditioner(max_iterations=1)
    for _ in range(2):
        solve(problem, np.zeros_like(problem.rest), kept, 1e-8)
    assert kept.factorisations == 2


def test_vertices_of_nothing_do_not_make_it_singular(sheet):
    problem = a_problem(sheet, lone=3)
    found, _ = solve(problem, np.zeros_like(problem.rest), Preconditioner(), 1e-10, max_iterations=500)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[-3:], 0)
    assert problem.energy(found) == pytest.approx(problem.energy(dense(problem)), rel=1e-6)


def test_without_any_data_the_start_stays(sheet):
    problem = a_problem(sheet)
    none = problem.targets._replace(weights=np.zeros(len(problem.rest)))
    absent = replace(problem.landmarks, weights=np.zeros(10))
    problem = replace(problem, targets=none, landmarks=absent)
    found, _ = solve(problem, np.zeros_like(problem.rest), Preconditioner(), 1e-6)
    np.testing.assert_array_equal(found, 0)


def test_absent_landmarks_have_no_weight(sheet):
    problem = a_problem(sheet)
    points = problem.landmarks.points.copy()
    points[:2] += 1000  # weight 0
    other = replace(problem, landmarks=replace(problem.landmarks, points=points))
    zero = np.zeros_like(problem.rest)
    a, b = (solve(p, zero, Preconditioner(), 1e-8)[0] for p in (problem, other))
    np.testing.assert_array_equal(a, b)
    assert problem.energy(a) == other.energy(a)


def test_a_stiffer_template_bends_less(sheet):
    costs, misses = [], []
    for stiffness in (100.0, 300.0, 3000.0):
        problem = a_problem(sheet, stiffness=stiffness)
        found = solve(problem, np.zeros_like(problem.rest), Preconditioner(), 1e-8)[0]
        bend = (found * (problem.matrix @ found)).sum()
        costs.append(bend)
        misses.append(problem.energy(found) - stiffness * bend)
    assert (np.diff(costs) < 0).all()
    assert (np.diff(misses) > 0).all()


def test_factorise_solves(sheet):
    problem = a_problem(sheet)
    matrix = (problem.matrix + sparse.identity(len(problem.rest))).tocsr()
    x = np.random.default_rng(0).normal(size=problem.rest.shape)
    np.testing.assert_allclose(factorise(matrix)(matrix @ x), x, atol=1e-10)


@pytest.fixture(scope="module")
def plate(dome):
    """About 1,500 vertices: their bending stiffness, and their areas."""
    xy, faces = dome.sheet(4.0, 1.0, 1)
    vertices = dome.surface(xy)
    return shell_stiffness(vertices, faces, 0.0003), vertex_areas(vertices, faces)


def test_an_incomplete_factorisation_nearly_solves(plate):
    stiffness, areas = plate
    matrix = (stiffness + 0.5 * sparse.diags(areas)).tocsr()
    x = np.random.default_rng(0).normal(size=(len(areas), 3))
    near = incomplete_factorise(matrix)(matrix @ x)
    assert 1e-5 < np.linalg.norm(near - x) / np.linalg.norm(x) < 0.01  # something was left out
    assert near.dtype == np.float64
    assert near.flags.c_contiguous


def test_what_is_no_preconditioner_is_not_taken(plate):
    """Hardly any data: the inverse reaches everywhere, and small entries are not negligible."""
    stiffness, areas = plate
    assert incomplete_factorise((stiffness + 1e-7 * sparse.diags(areas)).tocsr()) is None
    assert incomplete_factorise(sparse.csr_matrix(np.ones((2, 2)))) is None  # singular


@pytest.mark.parametrize("stiffness", [300.0, 1e5])
def test_the_answer_is_the_same_with_exact_factors(sheet, monkeypatch, stiffness):
    problem = a_problem(sheet, stiffness=stiffness)
    zero = np.zeros_like(problem.rest)
    near, iterations = solve(problem, zero, Preconditioner(), 1e-10, max_iterations=500)
    monkeypatch.setattr(solver, "incomplete_factorise", lambda matrix: None)
    exact, least = solve(problem, zero, Preconditioner(), 1e-10, max_iterations=500)
    np.testing.assert_allclose(near, exact, atol=1e-4)
    assert iterations < 1.3 * least


def test_a_preconditioner_that_is_not_definite_is_replaced(sheet, monkeypatch):
    """Its random probe may miss it; what it leads conjugate gradients to is no answer."""
    problem = a_problem(sheet)
    zero = np.zeros_like(problem.rest)
    right, _ = solve(problem, zero, Preconditioner(), 1e-8)

    def indefinite(matrix):
        exact = factorise(matrix)
        sign = np.where(np.arange(matrix.shape[0]) < matrix.shape[0] // 2, 1.0, -1.0)[:, None]
        return lambda r: sign * exact(r)

    monkeypatch.setattr(solver, "incomplete_factorise", indefinite)
    preconditioner = Preconditioner(max_iterations=500)
    for _ in range(2):
        np.testing.assert_allclose(solve(problem, zero, preconditioner, 1e-8)[0], right, atol=1e-4)
    assert preconditioner.factorisations == 2  # and not tried again


def test_where_factors_cannot_be_thinned_out_they_are_exact(plate, sheet, monkeypatch):
    """Hardly any data on 1,500 vertices: what the probe refuses is never used."""
    stiffness, areas = plate
    thin = solver.incomplete_factorise
    refused = []

    def watched(matrix):
        near = thin(matrix)
        refused.append(near is None)
        return near

    monkeypatch.setattr(solver, "incomplete_factorise", watched)
    monkeypatch.setattr(solver, "FLOOR", 0.0)
    landmarks = replace(a_problem(sheet).landmarks, matrix=sparse.csr_matrix((10, len(areas))))
    solved = Preconditioner().prepare(1e6, stiffness, 1e-6 * areas, areas, landmarks)
    assert refused == [True]
    x = np.random.default_rng(0).normal(size=(len(areas), 3))
    matrix = 1e6 * stiffness + sparse.diags(solver.PLANE_SHARE * 1e-6 * areas + 1e-6 * areas.mean())
    np.testing.assert_allclose(matrix @ solved(matrix @ x), matrix @ x, rtol=1e-6, atol=1e-3)


def test_what_is_not_finite_is_no_answer(sheet):
    problem = a_problem(sheet)
    points = problem.targets.points.copy()
    points[0] = np.nan
    problem = replace(problem, targets=problem.targets._replace(points=points))
    found, _ = solve(problem, np.zeros_like(problem.rest), Preconditioner(), 1e-6)
    assert np.isnan(found).any()
