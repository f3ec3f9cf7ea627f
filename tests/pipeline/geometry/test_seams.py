"""Seams are split, and the vertices that were there stay first."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from mimicme.pipeline.geometry.seams import seamed


def test_the_meshs_vertices_come_first(fakes: ModuleType) -> None:
    shape = fakes.template()
    # one triangle lies elsewhere in the texture: its corners get a place of their own
    uv = np.concatenate([shape.uv, [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    uv_faces = shape.uv_faces.copy()
    uv_faces[7] = 49, 50, 51
    found = seamed(shape.faces, uv, uv_faces, 49)
    assert found.source[:49].tolist() == list(range(49))
    np.testing.assert_array_equal(found.source[found.faces], shape.faces)
    np.testing.assert_array_equal(found.uv[found.faces], uv[uv_faces])
    assert len(found.source) == 49 + 3
    whole = seamed(shape.faces, shape.uv, shape.uv_faces, 49)
    assert len(whole.source) == 49
    np.testing.assert_array_equal(whole.faces, shape.faces)


def test_a_vertex_without_triangle_stays() -> None:
    faces = np.array([[0, 2, 3]], np.int32)
    found = seamed(faces, np.array([[0.0, 1.0], [1.0, 1.0], [0.5, 0.5]]), np.array([[0, 1, 2]], np.int32), 5)
    assert found.source.tolist() == [0, 1, 2, 3, 4]
    assert found.uv.tolist() == [[0, 1], [0, 0], [1, 1], [0.5, 0.5], [0, 0]]
    np.testing.assert_array_equal(found.faces, faces)
