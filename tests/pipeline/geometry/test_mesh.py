"""Meshes: what is computed from vertices and triangles alone."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.errors import InputError
from mimicme.pipeline.geometry import mesh
from mimicme.pipeline.geometry.mesh import (
    Mesh,
    adjacency,
    boundary_vertices,
    components,
    corners,
    edges,
    inverse,
    keep_triangles,
    transform,
    triangle_normals,
    vertex_areas,
    vertex_normals,
)


def _sheet(side: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """A bumpy sheet of so many triangles that the compiled loops are taken, some of no area; one vertex in none."""
    rng = np.random.default_rng(0)
    vertices = np.concatenate([rng.normal(size=(side * side, 3)) * 40, [[1.0, 2, 3]]])
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    faces = np.concatenate([corner[:, None] + [0, 1, side], corner[:, None] + [1, side + 1, side]])
    faces[::50, 2] = faces[::50, 1]
    return vertices, faces.astype(np.int32)


def test_compiled_normals_are_those_of_numpy_to_the_last_bit(monkeypatch):
    vertices, faces = _sheet()
    assert len(faces) >= mesh.MANY_TRIANGLES
    compiled = [*triangle_normals(vertices, faces), vertex_normals(vertices, faces)]
    turned = triangle_normals(np.asfortranarray(vertices), np.asfortranarray(faces))
    monkeypatch.setattr(mesh, "MANY_TRIANGLES", np.inf)
    plain = [*triangle_normals(vertices, faces), vertex_normals(vertices, faces)]
    for one, other in zip(compiled, plain, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(turned[0], plain[0])
    assert (plain[1] == 0).any() and (plain[2][-1] == 0).all()


def test_numbers_that_are_not_finite_are_told_of_large_meshes_too():
    vertices, faces = _sheet()
    vertices[7] = 1e200
    with np.errstate(over="raise", invalid="raise"), pytest.raises(FloatingPointError):
        vertex_normals(vertices, faces)


def test_vertex_areas_share_triangles_evenly():
    # two triangles of 3 and 6 mm^2 over one edge, and a vertex that belongs to none
    vertices = np.array([[0.0, 0, 0], [3, 0, 0], [0, 2, 0], [0, -4, 0], [9, 9, 9]])
    faces = np.array([[0, 1, 2], [1, 0, 3]])
    np.testing.assert_allclose(vertex_areas(vertices, faces), [3, 3, 1, 2, 0])


def test_normals_weigh_by_area_and_are_zero_where_there_is_nothing():
    # a floor of 6 mm^2 and a wall of 3 mm^2 over one edge, a vertex that belongs to none, and a triangle of no area
    vertices = np.array([[0.0, 0, 0], [3, 0, 0], [0, 4, 0], [0, 0, 2], [9, 9, 9]])
    faces = np.array([[0, 1, 2], [1, 0, 3], [2, 2, 0]], np.int32)
    normals, areas = triangle_normals(vertices, faces)
    np.testing.assert_allclose(normals, [[0, 0, 1], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(areas, [6, 3, 0])
    both = np.array([0, 1, 2]) / np.sqrt(5)
    np.testing.assert_allclose(vertex_normals(vertices, faces), [both, both, [0, 0, 1], [0, 1, 0], [0, 0, 0]])


def test_corners_count_how_often_a_triangle_has_a_vertex():
    faces = np.array([[0, 1, 2], [2, 2, 0]], np.int32)
    np.testing.assert_array_equal(corners(faces, 4).toarray(), [[1, 1, 1, 0], [1, 0, 2, 0]])


TWO = np.array([[0, 1, 2], [1, 3, 2], [4, 5, 6]], np.int32)


def test_edges_stand_once_with_the_number_of_their_triangles():
    pairs, count = edges(TWO)
    found = {tuple(pair): int(n) for pair, n in zip(pairs.tolist(), count, strict=True)}
    assert found == {
        (0, 1): 1, (0, 2): 1, (1, 2): 2, (1, 3): 1, (2, 3): 1, (4, 5): 1, (5, 6): 1, (4, 6): 1,
    }  # fmt: skip
    assert len(edges(np.zeros((0, 3), np.int32))[0]) == 0


def test_the_rim_is_where_an_edge_has_one_triangle():
    fan = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1]], np.int32)
    assert boundary_vertices(fan, 5).tolist() == [False, True, True, True, False]


def test_neighbours_are_mutual():
    links = adjacency(edges(TWO)[0], 8).toarray()
    assert (links == links.T).all() and links.sum() == 16 and links[1, 2] == 1 and links[0, 3] == 0


def test_pieces_are_counted_and_lone_vertices_are_pieces():
    count, label = components(TWO, 8)
    assert count == 3
    assert len(set(label[:4])) == len(set(label[4:7])) == 1 and len({label[0], label[4], label[7]}) == 3


def test_a_transform_and_its_inverse_cancel():
    rng = np.random.default_rng(0)
    matrices, points = rng.normal(size=(5, 4, 4)), rng.normal(size=(7, 3))
    matrices[:, 3] = [0, 0, 0, 1]
    for one, back in zip(matrices, inverse(matrices), strict=True):
        np.testing.assert_allclose(transform(back, transform(one, points)), points, atol=1e-9)
    np.testing.assert_allclose(transform(np.diag([2.0, 3, 4, 1]), points), points * [2, 3, 4])


def test_kept_triangles_take_their_colours_and_texture_along():
    vertices = np.arange(21.0).reshape(7, 3)
    colors = np.arange(21, dtype=np.uint8).reshape(7, 3)
    uv, uv_faces = np.arange(18.0).reshape(9, 2), np.arange(9, dtype=np.int32).reshape(3, 3)
    kept, new = keep_triangles(Mesh(vertices, TWO, uv, uv_faces, colors), np.array([False, True, True]))
    assert new.tolist() == [-1, 0, 1, 2, 3, 4, 5]
    for triangle, old in enumerate(TWO[1:]):
        np.testing.assert_array_equal(kept.vertices[kept.faces[triangle]], vertices[old])
        np.testing.assert_array_equal(kept.colors[kept.faces[triangle]], colors[old])
        np.testing.assert_array_equal(kept.uv[kept.uv_faces[triangle]], uv[uv_faces[triangle + 1]])


@pytest.mark.parametrize(
    "parts",
    [
        {"vertices": np.zeros((4, 2))},
        {"faces": np.zeros((2, 4), np.int32)},
        {"uv": np.zeros((3, 2))},
        {"uv": np.zeros((3, 2)), "uv_faces": np.zeros((1, 3), np.int32)},
        {"colors": np.zeros((3, 3), np.uint8)},
    ],
)
def test_a_mesh_that_does_not_fit_itself_is_refused(parts):
    good = {"vertices": np.zeros((4, 3)), "faces": np.zeros((2, 3), np.int32)}
    with pytest.raises(InputError):
        Mesh(**(good | parts))


def test_the_same_topology_elsewhere():
    mesh = Mesh(np.zeros((4, 3)), TWO[:2], colors=np.ones((4, 3), np.uint8))
    moved = mesh.with_vertices(np.ones((4, 3), np.float32))
    assert moved.faces is mesh.faces and moved.colors is mesh.colors
    assert moved.vertices.dtype == np.float64 and (mesh.vertices == 0).all()
