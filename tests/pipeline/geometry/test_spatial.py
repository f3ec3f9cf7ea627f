"""spatial: closest points, rays, and self-intersecting triangles."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from mimicme.pipeline.geometry import spatial
from mimicme.pipeline.geometry.spatial import Surface, self_intersections


def test_self_intersections_are_found_and_neighbours_are_none():
    flat = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0], [4, 4, 0]])
    faces = np.array([[0, 1, 2], [1, 3, 2]], np.int32)
    assert len(self_intersections(flat, faces)) == 0
    needle = np.array([[1.0, 1, -1], [1.1, 1, 1], [1, 1.1, 1]])
    through = np.concatenate([flat, needle])
    assert self_intersections(through, np.array([[0, 1, 2], [1, 3, 2], [4, 5, 6]], np.int32)).tolist() == [0]
    assert len(self_intersections(through + [0, 0, 5], np.array([[0, 1, 2], [1, 3, 2]], np.int32))) == 0


def test_self_intersections_do_not_follow_an_edge_beyond_its_ends():
    wall = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0]])
    short = np.array([[1.0, 1, 1], [1.1, 1, 2], [1, 1.1, 2]])
    assert (
        len(self_intersections(np.concatenate([wall, short]), np.array([[0, 1, 2], [3, 4, 5]], np.int32)))
        == 0
    )


SQUARE = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0], [4, 4, 0]])
FACES = np.array([[0, 1, 2], [1, 3, 2]], np.int32)


def test_the_closest_point_over_a_face_an_edge_and_a_corner() -> None:
    points = np.array([[1.0, 1, 5], [2, -3, 0], [6, 7, 0], [3, 3, -2]])
    found = Surface(SQUARE, FACES).closest(points)
    np.testing.assert_allclose(found.points, [[1, 1, 0], [2, 0, 0], [4, 4, 0], [3, 3, 0]], atol=1e-6)
    np.testing.assert_allclose(found.distances, [5, 3, np.hypot(2, 3), 2], atol=1e-6)
    assert found.triangles.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(found.weights.sum(axis=1), 1)
    again = np.einsum("kc,kcx->kx", found.weights, SQUARE[FACES[found.triangles]])
    np.testing.assert_allclose(again, found.points)
    np.testing.assert_array_equal(Surface(SQUARE, FACES).distance(points), found.distances)


def test_distances_are_those_of_every_triangle_compared() -> None:
    """Two routes: the tree, and the smallest distance to points sampled densely on all triangles."""
    rng = np.random.default_rng(0)
    vertices, points = rng.normal(size=(12, 3)) * 10, rng.normal(size=(40, 3)) * 10
    faces = rng.permutation(12).reshape(4, 3).astype(np.int32)
    a, b = (g.ravel() for g in np.meshgrid(np.linspace(0, 1, 201), np.linspace(0, 1, 201)))
    inside = a + b <= 1 + 1e-9
    weights = np.stack([1 - a - b, a, b], 1)[inside]
    samples = np.concatenate([weights @ vertices[face] for face in faces])
    dense = np.sqrt(((points[:, None] - samples[None]) ** 2).sum(-1)).min(1)
    found = Surface(vertices, faces).distance(points)
    assert (found <= dense + 1e-5).all()
    np.testing.assert_allclose(found, dense, atol=0.2)


def test_a_ray_hits_the_first_thing_before_it_and_nothing_behind() -> None:
    two = np.concatenate([SQUARE, SQUARE + [0, 0, -2]])
    surface = Surface(two, np.concatenate([FACES, FACES + 4]))
    hits = surface.cast(np.array([[1.0, 1, 3], [1, 1, -5], [9, 9, 3], [1, 1, 3]]), np.array([0.0, 0, -1]))
    assert hits.hit.tolist() == [True, False, False, True]
    assert hits.distances[0] == pytest.approx(3, abs=1e-5) and hits.triangles[0] == 0
    np.testing.assert_allclose(hits.weights[0] @ two[FACES[0]], [1, 1, 0], atol=1e-6)
    # in ray lengths: a direction twice as long meets it half as far
    half = surface.cast(np.array([[1.0, 1, 3]]), np.array([[0.0, 0, -2]]))
    assert half.distances[0] == pytest.approx(1.5, abs=1e-5)


def test_a_piece_of_a_mesh_is_as_it_is_alone() -> None:
    """What most vertices of a mesh do not belong to is asked without them."""
    rng = np.random.default_rng(0)
    vertices, faces = rng.normal(size=(300, 3)), np.array([[7, 8, 250], [250, 9, 7], [299, 0, 8]], np.int32)
    used, flat = np.unique(faces, return_inverse=True)
    within, alone = Surface(vertices, faces), Surface(vertices[used], flat.reshape(-1, 3).astype(np.int32))
    points, directions = rng.normal(size=(2, 50, 3))
    for found, expected in (
        (within.closest(points), alone.closest(points)),
        (within.cast(points, directions), alone.cast(points, directions)),
    ):
        assert [part.tobytes() for part in found] == [part.tobytes() for part in expected]


def test_what_stands_beyond_the_reach_hides_nothing() -> None:
    surface, down = Surface(SQUARE, FACES), np.array([0.0, 0, -1])
    origins = np.array([[1.0, 1, 3], [9, 9, 3]])
    assert surface.occluded(origins, down).tolist() == [True, False]
    assert surface.occluded(origins, down, far=3.5).tolist() == [True, False]
    assert surface.occluded(origins, down, far=2.5).tolist() == [False, False]
    assert surface.occluded(origins, 2 * down, far=2.5).tolist() == [True, False]  # in ray lengths


def test_along_a_line_the_surface_is_found_on_both_sides_within_reach() -> None:
    up = np.tile([0.0, 0, 1], (4, 1))
    points = np.array([[1.0, 1, 0.3], [1, 1, -0.4], [3, 3, 0], [1, 1, 2]])
    found = Surface(SQUARE, FACES).along(points, up, 0.5)
    np.testing.assert_allclose(found.points[:3], [[1, 1, 0], [1, 1, 0], [3, 3, 0]], atol=1e-6)
    np.testing.assert_allclose(found.distances[:3], [0.3, 0.4, 0], atol=1e-6)
    assert found.triangles.tolist() == [0, 0, 1, -1]
    assert np.isnan(found.points[3]).all()
    assert found.distances[3] == np.inf


def test_open3d_comes_without_dash_and_draws_in_a_browser_all_the_same() -> None:
    code = (
        "import sys; from mimicme.pipeline.geometry import spatial; o3d = spatial.open3d();"
        "print('dash' in sys.modules, spatial.PLOTLY in sys.modules);"
        "mesh = o3d.geometry.TriangleMesh.create_box();"
        "figure = o3d.visualization.get_plotly_fig([mesh]); print(type(figure).__name__, 'dash' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "False", "Figure", "True"]


def test_an_interrupted_import_is_no_missing_library(monkeypatch):
    """Ctrl-C in the middle of it: pybind11 says that the initialization failed."""

    @contextmanager
    def interrupted():
        raise ImportError("initialization failed") from KeyboardInterrupt()
        yield

    monkeypatch.setattr(spatial, "_drawing_put_off", interrupted)
    with pytest.raises(KeyboardInterrupt):
        spatial.open3d()
