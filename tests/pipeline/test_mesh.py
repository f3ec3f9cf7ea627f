"""Meshes: what is computed from vertices and triangles alone."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.mesh import vertex_areas


def test_vertex_areas_share_triangles_evenly():
    # two triangles of 3 and 6 mm^2 over one edge, and a vertex that belongs to none
    vertices = np.array([[0.0, 0, 0], [3, 0, 0], [0, 2, 0], [0, -4, 0], [9, 9, 9]])
    faces = np.array([[0, 1, 2], [1, 0, 3]])
    np.testing.assert_allclose(vertex_areas(vertices, faces), [3, 3, 1, 2, 0])
