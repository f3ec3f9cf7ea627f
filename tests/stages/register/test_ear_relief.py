"""ear_relief: ridges of an ear come to lie on the scan's ridges, and what is no ear's motion is not made."""

from __future__ import annotations

import numpy as np
import pytest
from ear_sides import side

from mimicme.pipeline.geometry.mesh import vertex_areas, vertex_normals
from mimicme.stages.register.ear_relief import LENGTH_MM, SPREAD_MM, relieved
from mimicme.stages.register.targets import ScanTarget


def dented(points, sign=1.0):
    """(n, 3) how another person's ear differs: the helix backwards above, the lobe longer; mm."""
    above = np.exp(-((points[:, 1:] - [20, -10]) ** 2).sum(axis=1) / (2 * 12.0**2))
    below = np.exp(-((points[:, 1:] - [-24, 2]) ** 2).sum(axis=1) / (2 * 12.0**2))
    return sign * (above[:, None] * [0.0, 0.5, -3.0] + below[:, None] * [0.0, -3.0, 0.5])


@pytest.fixture(scope="module")
def ear():
    """Points, normals and areas of a right ear."""
    vertices, faces = side(3.0)
    own = (vertices[:, 0] > 0) & (np.hypot(vertices[:, 1] / 34, vertices[:, 2] / 22) < 1)
    areas = vertex_areas(vertices, faces)[own]
    return vertices[own], vertex_normals(vertices, faces)[own], areas / areas.sum()


def scanned(moved=None, spacing=1.5):
    vertices, faces = side(spacing, jitter=1)
    return ScanTarget(vertices if moved is None else vertices + moved(vertices), faces)


def test_ridges_come_to_lie_on_ridges(ear):
    points, normals, areas = ear
    found = relieved(points, normals, areas, scanned(dented))
    truth = dented(points)
    before, after = (areas @ np.linalg.norm(off, axis=1) for off in (truth, truth - found.at(points)))
    assert before > 1.2
    assert after < 0.4 * before


def test_normals_turn_as_the_surface_does(ear):
    points, normals, areas = ear
    found = relieved(points, normals, areas, scanned(dented))
    tangent = np.cross(normals, [0.0, 0.0, 1.0])
    step = 1e-4
    along = (points + step * tangent + found.at(points + step * tangent) - points - found.at(points)) / step
    turned = found.turned()
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 1)
    assert np.abs((along * turned).sum(axis=1)).max() < 1e-3


def test_an_ear_on_its_scan_stays(ear):
    points, normals, areas = ear
    found = relieved(points, normals, areas, scanned())
    assert np.linalg.norm(found.at(points), axis=1).max() < 0.5


def test_the_motion_goes_with_a_rigid_motion_of_ear_and_scan(ear):
    points, normals, areas = ear
    scan = scanned(dented)
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    shifted = ScanTarget(scan.vertices @ turn.T + [5.0, -3.0, 40.0], scan.faces)
    here = relieved(points, normals, areas, scan).at(points)
    there = relieved(points @ turn.T + [5.0, -3.0, 40.0], normals @ turn.T, areas, shifted)
    np.testing.assert_allclose(there.at(points @ turn.T + [5.0, -3.0, 40.0]), here @ turn.T, atol=1e-6)


def test_it_is_as_small_and_as_smooth_as_ears_differ(ear):
    points, normals, areas = ear
    scan = scanned(lambda v: 5 * dented(v))
    found = relieved(points, normals, areas, scan)
    assert np.linalg.norm(found.at(points), axis=1).max() < 4 * SPREAD_MM
    far = points + [6 * LENGTH_MM, 0.0, 0.0]
    assert np.linalg.norm(found.at(far), axis=1).max() < 1e-3


def test_where_nothing_was_scanned_nothing_is_found(ear):
    points, normals, areas = ear
    scan = scanned()
    assert relieved(points + [100.0, 0.0, 0.0], normals, areas, scan) is None
    assert relieved(points, normals, 0 * areas, scan) is None
