"""stiffness: the eliminated energy is the one with the affine maps written out, and forgives what it should."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull, Delaunay

from mimicme.pipeline.geometry.mesh import edges, vertex_areas
from mimicme.stages.register.stiffness import affine_stiffness, graph_laplacian, shell_stiffness


def curved(n=28, seed=0):
    """A small open irregular mesh whose rings do not lie in planes."""
    xy = np.random.default_rng(seed).uniform(-20, 20, (n, 2))
    return np.c_[xy, 0.03 * (xy**2 @ [1, 0.6]) + 2 * np.sin(xy[:, 0] / 5)], Delaunay(xy).simplices.astype(
        np.int32
    )


def hexagons(spacing, half=60.0):
    """A flat regular sheet of equilateral triangles."""
    rows = np.arange(-np.ceil(half / spacing * 1.2), np.ceil(half / spacing * 1.2) + 1)
    i, j = (a.ravel() for a in np.meshgrid(np.arange(-3 * len(rows), 3 * len(rows) + 1), rows))
    xy = spacing * np.stack([i + j / 2, j * np.sqrt(3) / 2], 1)
    xy = xy[(abs(xy) <= half).all(1)]
    tie = 1e-6 * spacing * np.random.default_rng(0).normal(size=xy.shape)
    return np.c_[xy, np.zeros(len(xy))], Delaunay(xy + tie).simplices.astype(np.int32)


def energy(matrix, d):
    return float((d * (matrix @ d)).sum())


def least(vertices, faces, d, ridge):
    """The energy with one 3 x 3 map per vertex as explicit unknowns, minimised densely."""
    n = len(vertices)
    pairs = edges(faces)[0]
    rows, right = [], []
    for i in range(n):
        ring = [int(b if a == i else a) for a, b in pairs if i in (a, b)]
        step = vertices[ring] - vertices[i]
        h2 = (step**2).sum(1).mean()
        for j, e in zip(ring, step, strict=True):
            row = np.zeros((n, 3))
            row[i] = e / np.sqrt(h2)
            rows.append(row.ravel())
            right.append((d[j] - d[i]) / np.sqrt(h2))
        for k in range(3):  # ridge / 3 per neighbour on |A_i h_i|^2, over h_i^2 like everything else
            row = np.zeros((n, 3))
            row[i, k] = np.sqrt(ridge * len(ring) / 3)
            rows.append(row.ravel())
            right.append(np.zeros(3))
    a, b = np.array(rows), np.array(right)
    x = np.linalg.lstsq(a, b, rcond=None)[0]
    return float(((a @ x - b) ** 2).sum())


@pytest.mark.parametrize("ridge", [0.0, 0.01, 0.3])
def test_the_eliminated_energy_is_the_dense_one(ridge):
    v, f = curved()
    matrix = affine_stiffness(v, f, ridge)
    for seed in range(3):
        d = np.random.default_rng(seed).normal(size=v.shape)
        # without a ridge the normal column of a nearly flat ring is all but free
        assert energy(matrix, d) == pytest.approx(least(v, f, d, ridge), rel=1e-8 if ridge else 1e-5)


@pytest.mark.parametrize("spacing", [4.0, 2.5])
def test_a_gaussian_bump_costs_its_integral(spacing):
    # on hexagons the sum becomes sqrt(3)/8 (2 |H|^2 + (tr H)^2) per mm^2; over a Gaussian of height a and width s
    # that is 3 sqrt(3) pi / 4 a^2 / s^2, whatever the spacing
    a, s = 2.0, 15.0
    v, f = hexagons(spacing)
    d = np.zeros_like(v)
    d[:, 2] = a * np.exp(-(v**2).sum(1) / 2 / s**2)
    expected = 3 * np.sqrt(3) * np.pi / 4 * a**2 / s**2
    assert energy(affine_stiffness(v, f, 0.0), d) == pytest.approx(expected, rel=0.04)


def test_affine_fields_cost_nothing_without_a_ridge():
    v, f = curved()
    rng = np.random.default_rng(1)
    affine = v @ rng.normal(size=(3, 3)) + rng.normal(size=3)
    other = affine + rng.normal(size=v.shape)
    matrix = affine_stiffness(v, f, 0.0)
    assert abs(energy(matrix, affine)) < 1e-6 * energy(matrix, other)


def test_nothing_else_is_free_without_a_ridge():
    v, f = curved()
    value = np.linalg.eigvalsh(affine_stiffness(v, f, 0.0).toarray())
    assert (abs(value[:4]) < 1e-6 * value[-1]).all()
    assert value[4] > 1e-5 * value[-1]


@pytest.mark.parametrize("make", [affine_stiffness, lambda v, f: shell_stiffness(v, f, 0.01)])
def test_a_translation_costs_nothing(make):
    v, f = curved()
    matrix = make(v, f)
    assert abs(matrix @ np.ones(len(v))).max() < 1e-9 * abs(matrix).max()


def test_symmetric_and_never_negative():
    v, f = curved()
    matrix = shell_stiffness(v, f, 0.001).toarray()
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > -1e-9 * abs(matrix).max()


def test_moving_scaling_and_relabelling_the_mesh_change_nothing(dome):
    v, f = curved()
    d = np.random.default_rng(2).normal(size=v.shape)
    motion, order = dome.rigid(0), np.random.default_rng(3).permutation(len(v))
    expected = energy(affine_stiffness(v, f), d)
    turn = motion[:3, :3]
    # a sheet `s` times as large, displaced as much: |second derivative|^2 s^-4, area s^2
    assert energy(affine_stiffness(v @ turn.T + motion[:3, 3], f), d @ turn.T) == pytest.approx(expected)
    assert energy(affine_stiffness(3 * v, f), d) == pytest.approx(expected / 9)
    renamed = np.argsort(order)[f].astype(np.int32)
    assert energy(affine_stiffness(v[order], renamed), d[order]) == pytest.approx(expected)


def test_stiffness_grows_with_the_ridge():
    v, f = curved()
    d = np.random.default_rng(2).normal(size=v.shape)
    costs = [energy(affine_stiffness(v, f, ridge), d) for ridge in (0.0, 0.05, 0.5, 5.0)]
    assert (np.diff(costs) > 0).all()


def test_every_ring_has_its_own_stiffness():
    v, f = curved()
    d = np.random.default_rng(5).normal(size=v.shape)
    a, b = np.random.default_rng(6).uniform(0, 9, (2, len(v)))
    cost_a, cost_b, both = (energy(affine_stiffness(v, f, factor=x), d) for x in (a, b, a + b))
    assert both == pytest.approx(cost_a + cost_b)
    assert energy(affine_stiffness(v, f, factor=np.full(len(v), 3.0)), d) == pytest.approx(
        3 * energy(affine_stiffness(v, f), d)
    )


def test_no_triangles_no_stiffness():
    v, f = curved()
    matrix = affine_stiffness(v, f[:0])
    assert matrix.shape == (len(v), len(v))
    assert matrix.count_nonzero() == 0


def test_the_laplacian_sums_squared_differences_over_edges():
    v, f = curved()
    d = np.random.default_rng(4).normal(size=v.shape)
    a, b = edges(f)[0].T
    assert energy(graph_laplacian(f, len(v)), d) == pytest.approx(((d[a] - d[b]) ** 2).sum())
    both = energy(affine_stiffness(v, f), d) + 0.2 * ((d[a] - d[b]) ** 2).sum()
    assert energy(shell_stiffness(v, f, 0.2), d) == pytest.approx(both)


def test_areas_share_the_surface_out():
    v, f = hexagons(4.0)
    area = vertex_areas(v, f)
    assert np.median(area) == pytest.approx(np.sqrt(3) / 2 * 4**2)  # an inner vertex owns two triangles
    assert area.sum() == pytest.approx(ConvexHull(v[:, :2]).volume, rel=1e-6)
    assert vertex_areas(np.r_[v, [[0, 0, 9]]], f)[-1] == 0  # a vertex without triangles


def test_a_lone_vertex_and_doubled_vertices_keep_the_matrix_finite():
    v, f = curved()
    v = np.r_[v, [[0, 0, 50]]]
    v[f[0, 1]] = v[f[0, 0]]
    matrix = shell_stiffness(v, f, 0.001)
    assert np.isfinite(matrix.data).all()
    assert matrix[len(v) - 1].count_nonzero() == 0
