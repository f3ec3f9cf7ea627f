"""walking: lines along normals meet the surface where rays do, and where no ray would on a fold."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.stages.refine.walking import step_from, triangles_across


@pytest.fixture
def sheet():
    """A bumpy sheet of 40 x 40 mm whose vertices are 1 mm apart."""
    side = 41
    line = np.linspace(-20, 20, side)
    x, y = (a.ravel() for a in np.meshgrid(line, line))
    vertices = np.stack([x, y, 3 * np.sin(x / 5) * np.cos(y / 4)], axis=1)
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    faces = np.concatenate([corner[:, None] + [0, 1, side], corner[:, None] + [1, side + 1, side]])
    return vertices, faces.astype(np.int32)


def walked(vertices, faces, which, moved, normals):
    own = np.zeros(len(vertices), np.int32)
    own[faces.ravel()] = np.repeat(np.arange(len(faces), dtype=np.int32), 3)
    across = triangles_across(faces)
    met = [
        step_from(vertices, faces, across, begin, *point, *normal)
        for begin, point, normal in zip(own[which], moved, normals, strict=True)
    ]
    return (
        np.array([one[0] for one in met]),
        np.array([one[1:4] for one in met]),
        np.array([one[4] for one in met]),
    )


def test_across_every_edge_lies_the_other_triangle(sheet):
    _, faces = sheet
    across = triangles_across(faces)
    for k in range(3):
        inner = np.flatnonzero(across[:, k] >= 0)
        ends = faces[inner][:, [(k + 1) % 3, (k + 2) % 3]]
        other = faces[across[inner, k]]
        assert ((other[:, :, None] == ends[:, None, :]).any(axis=1).sum(axis=1) == 2).all()
        assert (across[inner, k] != inner).all()
    assert (across < 0).sum() == 4 * 40  # the rim
    assert (triangles_across(np.array([[0, 1, 2], [0, 1, 3], [1, 0, 4]], np.int32)) == -1).all()
    assert triangles_across(np.zeros((0, 3), np.int32)).shape == (0, 3)


@pytest.mark.parametrize("far", [0.0, 0.7, 4.0])
def test_a_line_meets_what_a_ray_does(sheet, far):
    vertices, faces = sheet
    normals = vertex_normals(vertices, faces)
    which = np.flatnonzero(np.abs(vertices[:, :2]).max(axis=1) < 13)
    turn = np.random.default_rng(0).uniform(0, 2 * np.pi, len(which))
    along = np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    n = normals[which]
    moved = vertices[which] + far * (along - (along * n).sum(axis=1, keepdims=True) * n)
    triangles, weights, depths = walked(vertices, faces, which, moved, n)
    rays = Surface(vertices, faces).along(moved, n, 5.0)
    met = (weights[:, :, None] * vertices[faces[triangles]]).sum(axis=1)
    np.testing.assert_allclose(met, moved + depths[:, None] * n, atol=1e-9)
    # where the surface is steep to a line, that meets it twice
    same = np.linalg.norm(met - rays.points, axis=1) < 1e-3
    assert same.mean() > (0.99 if far < 1 else 0.9)
    np.testing.assert_allclose(np.abs(depths[same]), rays.distances[same], atol=1e-4)


def test_beyond_the_rim_the_walk_ends_at_it(sheet):
    vertices, faces = sheet
    which = np.array([20])  # in the middle of the lower rim
    triangles, _, depths = walked(
        vertices, faces, which, vertices[which] - [0, 2.0, 0], np.array([[0.0, 0, 1]])
    )
    assert np.isinf(depths[0]) and (faces[triangles[0]] < 41).sum() >= 1


def test_a_sheet_in_front_is_walked_under(sheet):
    """A ray from above meets the other lip; the walk stays on its own."""
    vertices, faces = sheet
    count = len(vertices)
    both = np.concatenate([vertices, vertices + [0, 0, 0.3]])
    faces_of_both = np.concatenate([faces, faces + count])
    n = vertex_normals(vertices, faces)
    which = np.flatnonzero(np.abs(vertices[:, :2]).max(axis=1) < 13)
    triangles, _, depths = walked(both, faces_of_both, which, vertices[which], n[which])
    assert (triangles < len(faces)).all() and np.abs(depths).max() < 1e-9
    assert (Surface(both, faces_of_both).along(vertices[which], n[which], 1.0).triangles >= len(faces)).all()


def test_triangles_without_area_and_lines_along_the_surface_end_the_walk():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    for normal in ([0.0, 0, 1], [1.0, 0, 0]):
        triangles, weights, depths = walked(
            vertices, faces[:1], np.array([0]), vertices[:1], np.array([normal])
        )
        assert triangles[0] == 0 and np.isinf(depths[0]) and (weights == 0).all()
