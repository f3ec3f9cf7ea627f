"""triangle_grid: within reach the closest points are those of every triangle; beyond it there are none."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry import triangle_grid
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.geometry.triangle_grid import TriangleGrid, nearest_on


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def bumpy(rng):
    """A bumpy sheet of 800 triangles of unequal sizes, 40 mm wide."""
    x, y = np.meshgrid(np.linspace(-20, 20, 21) ** 3 / 400, np.linspace(-20, 20, 21))
    vertices = np.stack([x.ravel(), y.ravel(), np.sin(x.ravel()) + rng.normal(size=441) / 5], axis=1)
    corner = (np.arange(20)[:, None] * 21 + np.arange(20)).ravel()
    faces = np.concatenate([corner[:, None] + [0, 1, 21], corner[:, None] + [1, 22, 21]])
    return vertices, faces.astype(np.int32)


@pytest.mark.parametrize("reach", [0.5, 3.0, 30.0])
@pytest.mark.parametrize("cell", [0.2, 1.5, 50.0])
def test_within_reach_it_finds_what_open3d_finds(bumpy, rng, reach, cell, monkeypatch):
    monkeypatch.setattr(triangle_grid, "CELL_TRIANGLES", cell)
    vertices, faces = bumpy
    points = rng.uniform([-25, -25, -5], [25, 25, 5], (500, 3))
    near, every = (
        TriangleGrid(vertices, faces).closest(points, reach),
        Surface(vertices, faces).closest(points),
    )
    there = every.distances < reach
    assert there.any()
    assert there.all() == (reach == 30)
    np.testing.assert_allclose(near.distances[there], every.distances[there], atol=1e-5)
    np.testing.assert_allclose(near.points[there], every.points[there], atol=1e-3)
    corners = vertices[faces[near.triangles[there]]]
    np.testing.assert_allclose(
        np.einsum("kc,kcx->kx", near.weights[there], corners), near.points[there], atol=1e-12
    )
    assert (near.weights >= -1e-12).all()
    assert np.isinf(near.distances[~there]).all()
    assert (near.triangles[~there] == -1).all()
    np.testing.assert_array_equal(near.points[~there], points[~there])


def test_on_a_triangle_that_is_known_the_closest_point_moves_no_farther_than_the_point(bumpy, rng):
    """Open3D's own weights, in single precision, are off by far more from a distance."""
    vertices, faces = bumpy
    points = rng.uniform([-25, -25, 15], [25, 25, 30], (500, 3))
    every = Surface(vertices, faces).closest(points)
    near = nearest_on(points, every.triangles, vertices, faces)
    np.testing.assert_allclose(near.distances, every.distances, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(near.points - points, axis=1), near.distances, atol=1e-12)
    moved = points + 1e-7 * rng.normal(size=points.shape)
    again = nearest_on(moved, every.triangles, vertices, faces)
    assert np.abs(again.points - near.points).max() < 1e-6
    corners = vertices[faces[every.triangles]]
    np.testing.assert_allclose(np.einsum("kc,kcx->kx", again.weights, corners), again.points, atol=1e-12)


def test_a_grid_that_was_made_for_others_serves_points_elsewhere(bumpy, rng):
    vertices, faces = bumpy
    grid = TriangleGrid(vertices, faces)
    grid.closest(np.array([[15.0, 15.0, 0.0]]), 1.0)
    points = vertices + 0.1 * rng.normal(size=vertices.shape)
    found, fresh = grid.closest(points, 1.0), TriangleGrid(vertices, faces).closest(points, 1.0)
    for one, other in zip(found, fresh, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.isfinite(found.distances).all()


def test_the_order_of_the_points_does_not_matter(bumpy, rng):
    vertices, faces = bumpy
    points = rng.uniform([-25, -25, -5], [25, 25, 5], (300, 3))
    order = rng.permutation(300)
    plain, mixed = (TriangleGrid(vertices, faces).closest(p, 4.0) for p in (points, points[order]))
    np.testing.assert_allclose(plain.distances[order], mixed.distances, atol=1e-12)


def test_huge_and_degenerate_triangles_and_points_that_are_none(rng):
    vertices = np.array([[-1e4, -1e4, 0], [1e4, -1e4, 0], [0, 1e4, 0], [5, 5, 1], [5, 5, 1], [5, 5, 1.0]])
    faces = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    points = np.array([[1.0, 2.0, 0.5], [5.0, 5.0, 1.25], [np.nan, 0, 0], [0, 0, np.inf], [0, 0, 50.0]])
    near = TriangleGrid(vertices, faces).closest(points, 3.0)
    np.testing.assert_allclose(near.distances, [0.5, 0.25, np.inf, np.inf, np.inf])
    np.testing.assert_array_equal(near.triangles, [0, 1, -1, -1, -1])


def test_without_triangles_or_points_nothing_is_found():
    none = np.zeros((0, 3), np.int32)
    assert (TriangleGrid(np.eye(3), none).closest(np.eye(3), 1.0).triangles == -1).all()
    assert len(TriangleGrid(np.eye(3), np.array([[0, 1, 2]])).closest(np.zeros((0, 3)), 1.0).distances) == 0


def test_far_outliers_take_no_memory(bumpy):
    """A spike of a scan, ten metres away: the cells lie where the points are."""
    vertices, faces = bumpy
    spiky = np.concatenate([vertices, [[1e7, 0, 0], [1e7, 1, 0], [1e7, 0, 1]]])
    more = np.concatenate([faces, [[441, 442, 443]]]).astype(np.int32)
    grid = TriangleGrid(spiky, more)
    near = grid.closest(vertices, 1.0)
    np.testing.assert_allclose(near.distances, 0, atol=1e-9)
    assert len(grid._cells.start) < 100_000
    assert len(grid._cells.triangle) == len(faces)


@pytest.mark.parametrize("reach", [1.0, 30.0])
def test_asked_again_when_the_points_have_moved_it_answers_as_if_it_never_had_been(bumpy, rng, reach):
    grid = TriangleGrid(*bumpy)
    points = rng.uniform([-22, -22, -4], [22, 22, 4], (triangle_grid.REMEMBERED + 1, 3))
    for moved in (0.0, 0.3, 5.0, 0.01):
        points = points + rng.normal(size=points.shape) * moved
        points[::100] = np.nan
        again, fresh = grid.closest(points, reach), TriangleGrid(*bumpy).closest(points, reach)
        np.testing.assert_array_equal(again.distances, fresh.distances)
        np.testing.assert_array_equal(again.triangles < 0, fresh.triangles < 0)
        np.testing.assert_allclose(again.points, fresh.points, atol=1e-12)
        points[::100] = 0.0
