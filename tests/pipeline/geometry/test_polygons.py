"""Polygons come back from their fans, however those were turned."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from mimicme.pipeline.formats.mesh_file import triangulate_fans
from mimicme.pipeline.geometry.polygons import rings

POLYGONS = ([0, 1, 2, 3], [3, 2, 4], [2, 5, 6, 7, 4], [8, 9, 10], [9, 8, 7, 6])


def cut() -> tuple[np.ndarray, np.ndarray]:
    """Triangles (9, 3) and the polygon of each."""
    corner, owner = triangulate_fans(np.array([len(polygon) for polygon in POLYGONS]))
    return np.concatenate(POLYGONS)[corner].astype(np.int32), owner.astype(np.int32)


def turned(polygon: list[int], back: bool) -> list[int]:
    """From its least corner on, the other way round where asked for."""
    ring = polygon[::-1] if back else polygon
    at = ring.index(min(ring))
    return ring[at:] + ring[:at]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_file_s_polygons_come_back(order: tuple[int, ...]) -> None:
    """In every order of a triangle's corners, wound as the triangles are then."""
    faces, owner = cut()
    back = order in ((0, 2, 1), (1, 0, 2), (2, 1, 0))
    faces = faces[:, order]
    found = rings(faces, owner)
    assert found.sizes.tolist() == [len(polygon) for polygon in POLYGONS]
    corners = np.split(faces.ravel()[found.corners], np.cumsum(found.sizes)[:-1])
    assert [turned(c.tolist(), False) for c in corners] == [turned(p, back) for p in POLYGONS]
    assert [c[0] for c in corners if len(c) > 3] == [p[0] for p in POLYGONS if len(p) > 3]


def test_where_the_texture_is_cut_so_is_the_polygon() -> None:
    faces, owner = cut()
    uv_faces = faces.copy()
    uv_faces[1] += 20  # the second half of the first quad
    found = rings(faces, owner, uv_faces)
    assert found.sizes.tolist() == [3, 3, 3, 5, 3, 4]
    assert uv_faces.ravel()[found.corners][:6].tolist() == [0, 1, 2, 20, 22, 23]


def test_what_are_no_fans_stay_triangles() -> None:
    faces, owner = cut()
    faces[1] = 0, 3, 2
    found = rings(faces, owner)
    assert found.sizes.tolist() == [3] * 9
    np.testing.assert_array_equal(found.corners, np.arange(27))
