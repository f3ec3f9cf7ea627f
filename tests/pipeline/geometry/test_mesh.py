"""Meshes: what is computed from vertices and triangles alone."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.geometry.mesh import corners, triangle_normals, vertex_areas, vertex_normals


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
