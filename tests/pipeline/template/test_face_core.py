"""face_core: what of a face looks to the front, and the shares of it that a scan shows."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import vertex_areas
from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.template.face_core import FaceCore, FaceParts, inside


def plane():
    x, y = np.meshgrid(np.arange(-60, 61, 2.0), np.arange(-60, 61, 2.0))
    vertices = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)])
    n = x.shape[0]
    quads = [
        (r * n + c, r * n + c + 1, (r + 1) * n + c + 1, (r + 1) * n + c)
        for r in range(n - 1)
        for c in range(n - 1)
    ]
    return vertices, np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))], np.int32)


def marks() -> np.ndarray:
    """Jaw and brows on a square of 80 mm, the nose in its middle."""
    points = np.zeros((68, 3))
    points[1:16] = np.column_stack([np.linspace(-40, 40, 15), np.full(15, -40.0), np.zeros(15)])
    points[17:27] = np.column_stack([np.linspace(-40, 40, 10), np.full(10, 40.0), np.zeros(10)])
    return points


def test_the_core_lies_between_brows_and_jaw_and_faces_the_front():
    vertices, faces = plane()
    core = FaceCore.of(vertices, faces, vertex_areas(vertices, faces), marks())
    assert core.areas.sum() == pytest.approx(80 * 80, rel=0.06)
    assert not FaceCore.of(vertices, faces[:, ::-1], vertex_areas(vertices, faces), marks()).areas.any()


def test_what_something_stands_before_does_not_belong_to_it():
    vertices, faces = plane()
    both = np.concatenate([vertices, vertices + [0, 0, 10.0]])
    doubled = np.concatenate([faces, faces + len(vertices)])
    core = FaceCore.of(both, doubled, vertex_areas(both, doubled), marks())
    assert not core.areas[: len(vertices)].any() and core.areas[len(vertices) :].any()


def test_shares_of_either_half():
    vertices, faces = plane()
    core = FaceCore.of(vertices, faces, vertex_areas(vertices, faces), marks())
    half = core.shares(vertices[:, 0] < 0)
    assert half.right == pytest.approx(1.0) and half.left == 0.0
    assert half.core == pytest.approx(0.5, abs=0.03)


def test_shares_of_parts_are_of_the_subjects_own_sides():
    vertices, faces = plane()
    points = marks()
    for group, x in (("left_eye", -20.0), ("right_eye", 20.0)):
        points[GROUPS[group]] = np.array(
            [(x - 8, 20, 0), (x - 4, 24, 0), (x + 4, 24, 0), (x + 8, 20, 0), (x + 4, 16, 0), (x - 4, 16, 0)]
        )
    points[27:36] = [(0, 20, 0), (0, 12, 0), (0, 4, 0), (0, 0, 0), *((x, -4, 0) for x in (-8, -4, 0, 4, 8))]
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    points[48:60] = np.column_stack([16 * np.cos(angle), 6 * np.sin(angle) - 24, np.zeros(12)])
    core = FaceCore.of(vertices, faces, vertex_areas(vertices, faces), points)
    x, y, _ = vertices.T
    ball = np.hypot(x + 20, y - 20) < 4
    parts = FaceParts.of(core, vertices, points, ball)
    assert (parts.areas.sum(axis=1) > 100).all()
    assert parts.shares(np.ones(len(vertices), bool)) == pytest.approx((1.0, 1.0, 1.0, 1.0))
    assert parts.shares(x > 0)[:2] == pytest.approx((0.0, 1.0))  # the image's left is the subject's right
    assert parts.shares(~ball)[:2] == pytest.approx((1.0, 1.0))  # what lies between the lids does not count
    hole = (abs(x) < 20) & (abs(y + 24) < 10)
    seen = parts.shares(~hole)
    assert seen.mouth == 0.0 and seen[:3] == pytest.approx((1.0, 1.0, 1.0))


def test_inside_a_polygon_that_is_not_convex():
    corner = np.array([[0, 0], [4, 0], [4, 1], [1, 1], [1, 4], [0, 4]], float)
    points = np.array([[0.5, 0.5], [3, 0.5], [0.5, 3], [3, 3], [-1, 0.5], [5, 0.5]])
    assert inside(corner, points).tolist() == [True, True, True, False, False, False]
