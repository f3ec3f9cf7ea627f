"""targets: which pairs are refused, and what the others weigh."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import transform
from mimicme.stages.register.targets import ScanTarget

UP = np.array([0.0, 0.0, 1.0])


def plane(side=11, half=50.0):
    """A flat sheet z = 0 that faces +z."""
    line = np.linspace(-half, half, side)
    x, y = (a.ravel() for a in np.meshgrid(line, line))
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    a, b, c, d = corner, corner + 1, corner + side + 1, corner + side
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return np.stack([x, y, 0 * x], 1), faces


def ask(points, normals=UP, scale=2.0, cosine=0.6, reach=1e3, scan=None):
    points = np.atleast_2d(np.asarray(points, float))
    normals = np.broadcast_to(normals, points.shape)
    return ScanTarget(*(scan or plane())).targets(points, normals, scale, cosine, reach)


def test_the_closest_point_and_its_normal():
    points = np.random.default_rng(0).uniform(-35, 35, (40, 3))
    found = ask(points)
    np.testing.assert_allclose(found.points, points * [1, 1, 0], atol=1e-4)
    np.testing.assert_allclose(found.normals, np.tile(UP, (40, 1)), atol=1e-9)


def test_the_weight_is_geman_and_mcclures():
    height = np.array([0.0, 1.0, 2.0, -2.0, 4.0, 20.0])
    points = np.c_[np.full(6, 3.0), np.full(6, 4.0), height]
    found = ask(points, scale=2.0).weights
    np.testing.assert_allclose(found, 1 / (1 + (height / 2) ** 2) ** 2, rtol=1e-4)
    assert found[0] == pytest.approx(1)
    assert found[2] == found[3] == pytest.approx(0.25)  # at one scale, either side


def test_normals_that_differ_are_rejected():
    angles = np.radians([0, 50, 56, 90, 180])
    normals = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], 1)
    found = ask(np.tile([3.0, 4, 1], (5, 1)), normals, cosine=np.cos(np.radians(53)))
    np.testing.assert_array_equal(found.weights > 0, [True, True, False, False, False])
    assert found.weights[0] == found.weights[1]  # a threshold, not a weight


def test_the_boundary_is_rejected_and_its_neighbourhood_is_not():
    # the outermost vertices lie at 50; beyond them the closest point is one of theirs
    found = ask([[60, 0, 1], [60, 60, 1], [50, 3, 1], [38, 3, 1], [0, 0, 1]])
    np.testing.assert_array_equal(found.weights > 0, [False, False, False, True, True])


def test_a_hole_rejects_what_lies_over_it():
    v, f = plane()
    middle = (abs(v[f].mean(1)) < 15).all(1)
    found = ask([[0, 0, 0.5], [33, 33, 0.5]], scan=(v, f[~middle]))
    np.testing.assert_array_equal(found.weights > 0, [False, True])


def test_what_is_beyond_the_distance_threshold_is_rejected():
    found = ask([[3, 4, 2.9], [3, 4, 3.1]], reach=3.0)
    assert found.weights[0] > 0
    assert found.weights[1] == 0


def test_targets_turn_with_the_scan(dome):
    v, f = plane()
    points = np.random.default_rng(1).uniform(-60, 60, (50, 3)) * [1, 1, 0.1]
    motion = dome.rigid(2)
    here = ask(points)
    there = ask(transform(motion, points), motion[:3, :3] @ UP, scan=(transform(motion, v), f))
    # a query works in float32, so a pair may fall to the other side of a threshold
    same = (here.weights > 0) == (there.weights > 0)
    assert same.mean() > 0.95
    np.testing.assert_allclose(there.weights[same], here.weights[same], atol=1e-4)
    np.testing.assert_allclose(there.points, transform(motion, here.points), atol=1e-3)
    assert 0.3 < (here.weights > 0).mean() < 0.9


def test_a_scan_without_area_gives_no_targets():
    v = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    found = ask([[0.5, 0, 0.1]], scan=(v, np.array([[0, 1, 2]], np.int32)))
    assert found.weights[0] == 0
    assert np.isfinite(found.points).all() and np.isfinite(found.normals).all()


def test_one_search_serves_any_threshold_and_any_subset():
    rng = np.random.default_rng(0)
    points = rng.uniform(-60, 60, (50, 3)) * [1, 1, 0.05]
    normals = rng.normal(size=(50, 3)) * 0.3 + UP
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    scan = ScanTarget(*plane())
    closest, some = scan.closest_points(points), np.array([3, 30, 31, 7])
    for scale, cosine, reach in [(2.0, 0.6, 8.0), (0.7, 0.9, 1.0)]:
        whole = scan.targets(points, normals, scale, cosine, reach)
        part = closest.subset(some).targets(normals[some], scale, cosine, reach)
        assert 0 < (whole.weights > 0).sum() < 50
        np.testing.assert_allclose(whole.weights[some], part.weights, atol=1e-6)
        valid = part.weights > 0
        np.testing.assert_allclose(whole.points[some][valid], part.points[valid], atol=1e-4)
        np.testing.assert_allclose(whole.normals[some][valid], part.normals[valid], atol=1e-4)
