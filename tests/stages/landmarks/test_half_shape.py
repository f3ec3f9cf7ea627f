"""The middle of half a face by the template's shape: the template's own face, made another person's and cut in two."""

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh, keep_triangles, transform
from mimicme.stages.landmarks.half_shape import middle_by_shape
from mimicme.stages.landmarks.halves import _moved
from mimicme.stages.landmarks.upper_face import upper_face_of


def another(points, marks):
    """Points (n, 3) of a face that is longer, narrower above and flatter."""
    share = np.clip((points[:, 1] - marks[33, 1]) / 60, 0, 1.5)[:, None]
    return points * [1, 1, 0.95] * (1 - share * [0.06, 0, 0]) + share * [0, 6, 3]


def plane_off(found, there, at):
    """Offset (mm) at a place, and yaw and tilt (degrees), of one pose's yz plane from another's."""
    normal = there[:3, :3].T @ found[:3, 0]
    aside = (found[:3, 3] - at) @ found[:3, 0] - (there[:3, 3] - at) @ there[:3, 0]
    return np.abs([aside, np.degrees(normal[2]), np.degrees(normal[1])])


@pytest.mark.parametrize("side", [1, -1])
def test_the_middle_of_half_a_face_is_where_the_templates_goes(small_face, side):
    marks = small_face.landmarks()
    face = upper_face_of(small_face)
    there = np.eye(4)
    there[:3, :3], there[:3, 3] = _moved(0, 0.3, 0.1)[:3, :3], [30.0, -20.0, 200.0]
    kept = (side * small_face.vertices[:, 0] > 0)[small_face.faces].all(axis=1)
    half = keep_triangles(Mesh(another(small_face.vertices, marks), small_face.faces), kept)[0]
    # the networks have it turned and shifted, as on a whole that was completed about a wrong middle
    guess = there @ _moved(2.0, -0.08, 0.02)
    true = transform(there, another(marks, marks))
    points = transform(guess, another(marks, marks))
    before = plane_off(guess, there, true[30])
    found = middle_by_shape(face, transform(there, half.vertices), half.faces, points, guess, side)
    after = plane_off(found, there, true[30])
    assert before[1] > 4 and after[0] < 2.5 and after[1] < 0.6 * before[1] and after[2] < 3, after
    np.testing.assert_allclose(found[:3, :3].T @ found[:3, :3], np.eye(3), atol=1e-9)
    assert found[:3, 0] @ there[:3, 0] > 0.9


def test_where_the_scan_has_nothing_the_shape_says_nothing(small_face):
    marks = small_face.landmarks()
    away = small_face.vertices + [0, 900.0, 0]
    assert middle_by_shape(upper_face_of(small_face), away, small_face.faces, marks, np.eye(4), 1) is None
