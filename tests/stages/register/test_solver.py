"""solver: conjugate gradients end where a dense solver ends, whatever the preconditioner was told to expect."""

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


def prepared(problem):
    """A preconditioner of the problem's template, which knows nothing of its targets."""
    given = problem.landmarks
    expected = Landmarks(given.matrix, 0 * given.points, np.full(len(given.weights), 10.0))
    return Preconditioner(problem.matrix, problem.areas, expected)


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
    found, exact = solve(problem, zero, prepared(problem), 1e-10, max_iterations=500)
    best = dense(problem)
    assert problem.energy(found) == pytest.approx(problem.energy(best), rel=1e-6)
    np.testing.assert_allclose(found, best, atol=1e-4)
    assert 0 < solve(problem, zero, prepared(problem), 1e-4)[1] < exact < 500
    # far below where it began, and not at zero: the planes contradict each other
    assert 0.001 * problem.energy(0 * best) < problem.energy(best) < 0.5 * problem.energy(0 * best)


def test_the_gradient_of_the_energy_vanishes_there(sheet):
    problem = a_problem(sheet, seed=1)
    found = solve(problem, np.zeros_like(problem.rest), prepared(problem), 1e-10)[0]
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


def test_operator_and_right_hand_side_are_numpys_to_the_last_bit(sheet):
    problem = a_problem(sheet, seed=3)
    d = np.random.default_rng(0).normal(size=problem.rest.shape)
    normal, data, t = problem.targets.normals, problem.data[:, None], problem.tangential_weight
    rows, b = problem.landmarks.matrix, problem.landmarks.weights[:, None]
    out = problem.stiffness * (problem.matrix @ d)
    out += (d[:, [0]] * normal[:, [0]] + d[:, [2]] * normal[:, [2]] + d[:, [1]] * normal[:, [1]]) * (
        data * normal
    )
    out += t * data * d
    out += rows.T @ (b * (rows @ d))
    assert problem.apply(d).tobytes() == out.tobytes()
    assert problem.apply(d, prepared(problem).exact(problem.matrix)).tobytes() == out.tobytes()
    goal = problem.targets.points - problem.rest
    missing = np.where(b > 0, problem.landmarks.points - rows @ problem.rest, 0.0)
    right = data * ((goal * normal).sum(1, keepdims=True) * normal + t * goal) + rows.T @ (b * missing)
    assert problem.right_hand_side().tobytes() == right.tobytes()


def test_the_answer_does_not_depend_on_where_it_starts(sheet):
    problem = a_problem(sheet)
    zero = np.zeros_like(problem.rest)
    far = 20 * np.random.default_rng(1).normal(size=zero.shape)
    a, b = (solve(problem, start, prepared(problem), 1e-11, max_iterations=500)[0] for start in (zero, far))
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_start_at_the_answer_costs_no_iteration(sheet):
    problem = a_problem(sheet)
    found = solve(problem, np.zeros_like(problem.rest), prepared(problem), 1e-10, max_iterations=500)[0]
    again, iterations = solve(problem, found, prepared(problem), 1e-6)
    assert iterations == 0
    np.testing.assert_array_equal(again, found)


def test_what_it_expects_does_not_change_the_answer(sheet):
    problem = a_problem(sheet)
    zero = np.zeros_like(problem.rest)
    given = problem.landmarks
    found = []
    for weight in (0.0, 10.0, 300.0):
        expected = Landmarks(given.matrix, given.points, np.full(len(given.weights), weight))
        kept = Preconditioner(problem.matrix, problem.areas, expected)
        found.append(solve(problem, zero, kept, 1e-10, max_iterations=1000)[0])
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
    np.testing.assert_allclose(found[0], found[2], atol=1e-4)


def test_each_stiffness_is_factorised_once(sheet):
    kept = prepared(a_problem(sheet))
    for seed, stiffness in enumerate((300.0, 100.0, 300.0)):
        problem = replace(
            a_problem(sheet, seed, stiffness), matrix=a_problem(sheet).matrix, areas=a_problem(sheet).areas
        )
        found, _ = solve(problem, np.zeros_like(problem.rest), kept, 1e-10, max_iterations=500)
        assert problem.energy(found) == pytest.approx(problem.energy(dense(problem)), rel=1e-6)
    assert kept.factorisations == 2


def test_no_more_iterations_than_are_asked_for(sheet):
    problem = a_problem(sheet)
    zero = np.zeros_like(problem.rest)
    assert solve(problem, zero, prepared(problem), 1e-10, max_iterations=3)[1] == 3
    assert solve(problem, zero, prepared(problem), 1e-10, max_iterations=0)[1] == 0


def test_vertices_of_nothing_do_not_make_it_singular(sheet):
    problem = a_problem(sheet, lone=3)
    found, _ = solve(problem, np.zeros_like(problem.rest), prepared(problem), 1e-10, max_iterations=500)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[-3:], 0)
    assert problem.energy(found) == pytest.approx(problem.energy(dense(problem)), rel=1e-6)


def test_without_any_data_the_start_stays(sheet):
    problem = a_problem(sheet)
    none = problem.targets._replace(weights=np.zeros(len(problem.rest)))
    absent = replace(problem.landmarks, weights=np.zeros(10))
    problem = replace(problem, targets=none, landmarks=absent)
    found, _ = solve(problem, np.zeros_like(problem.rest), prepared(problem), 1e-6)
    np.testing.assert_array_equal(found, 0)


def test_absent_landmarks_have_no_weight(sheet):
    problem = a_problem(sheet)
    points = problem.landmarks.points.copy()
    points[:2] += 1000  # weight 0
    other = replace(problem, landmarks=replace(problem.landmarks, points=points))
    zero = np.zeros_like(problem.rest)
    a, b = (solve(p, zero, prepared(p), 1e-8)[0] for p in (problem, other))
    np.testing.assert_array_equal(a, b)
    assert problem.energy(a) == other.energy(a)


def test_a_stiffer_template_bends_less(sheet):
    costs, misses = [], []
    for stiffness in (100.0, 300.0, 3000.0):
        problem = a_problem(sheet, stiffness=stiffness)
        found = solve(problem, np.zeros_like(problem.rest), prepared(problem), 1e-8)[0]
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
    factors = incomplete_factorise(matrix)
    near = factors.solve(matrix @ x)
    assert 1e-5 < np.linalg.norm(near - x) / np.linalg.norm(x) < 0.05  # something was left out
    assert near.dtype == np.float64
    everything = solver._factors(*scaled(matrix), 0.0)
    assert len(factors.upper.value) < 0.8 * len(everything.upper.value)
    np.testing.assert_allclose(everything.solve(matrix @ x), x, atol=1e-3)


def scaled(matrix):
    """A matrix scaled to a diagonal of ones, and by what."""
    scale = 1 / np.sqrt(matrix.diagonal())
    return (sparse.diags(scale) @ matrix @ sparse.diags(scale)).tocsc(), scale


def test_a_preconditioner_is_symmetric_and_definite(plate):
    """Whatever was left out: conjugate gradients need both."""
    stiffness, areas = plate
    factors = incomplete_factorise((stiffness + 0.3 * sparse.diags(areas)).tocsr())
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, len(areas), 3))
    assert (x * factors.solve(y)).sum() == pytest.approx((y * factors.solve(x)).sum(), rel=1e-4)
    for _ in range(5):
        x = rng.normal(size=x.shape)
        assert (x * factors.solve(x)).sum() > 0


def test_where_factors_cannot_be_thinned_out_less_is_left_out(plate):
    """Hardly any data on 1,500 vertices: the inverse reaches everywhere, and small entries are not negligible."""
    stiffness, areas = plate
    matrix = (1e6 * stiffness + sparse.diags(5e-7 * areas + 1e-3 * areas.mean())).tocsr()
    thin = solver._factors(*scaled(matrix), solver.DROPS[0])
    factors = incomplete_factorise(matrix)
    assert thin is None or len(factors.upper.value) > 1.2 * len(thin.upper.value)
    x = np.random.default_rng(0).normal(size=(len(areas), 3))
    scale = np.sqrt(matrix.diagonal())[:, None]
    right = matrix @ x
    assert np.linalg.norm((matrix @ factors.solve(right) - right) / scale) < 0.6 * np.linalg.norm(
        right / scale
    )


def test_a_singular_matrix_is_told():
    with pytest.raises(RuntimeError, match="singular"):
        incomplete_factorise(sparse.csr_matrix(np.ones((2, 2))))


@pytest.mark.parametrize("stiffness", [300.0, 1e5])
def test_the_answer_is_the_same_with_exact_factors(sheet, monkeypatch, stiffness):
    problem = a_problem(sheet, stiffness=stiffness)
    zero = np.zeros_like(problem.rest)
    near, iterations = solve(problem, zero, prepared(problem), 1e-10, max_iterations=500)
    monkeypatch.setattr(solver, "DROPS", ())
    exact, least = solve(problem, zero, prepared(problem), 1e-10, max_iterations=500)
    np.testing.assert_allclose(near, exact, atol=1e-4)
    assert iterations < 1.3 * least


def test_what_is_not_finite_is_no_answer(sheet):
    problem = a_problem(sheet)
    points = problem.targets.points.copy()
    points[0] = np.nan
    problem = replace(problem, targets=problem.targets._replace(points=points))
    found, _ = solve(problem, np.zeros_like(problem.rest), prepared(problem), 1e-6)
    assert np.isnan(found).any()
