"""The plane of symmetry of a template; the embedded template's landmarks put right."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh, transform
from mimicme.pipeline.landmarks import GROUPS, MIRROR
from mimicme.pipeline.template.embedded_points import corrected, with_even_sides
from mimicme.pipeline.template.symmetry import symmetry_of

BROWS = np.concatenate([np.arange(68)[GROUPS["left_eyebrow"]], np.arange(68)[GROUPS["right_eyebrow"]]])


def relief(x, y):
    """A head's front: forehead to chin, a nose, two eyes, a little deeper than wide."""
    nose = 25 * np.exp(-(x**2) / 150 - (y + 5) ** 2 / 400)
    eyes = sum(-8 * np.exp(-((x - side) ** 2) / 150 - (y - 30) ** 2 / 60) for side in (-31, 31))
    return 60 - (x / 80) ** 2 * 50 - (y / 100) ** 2 * 30 + nose + eyes


def turned(degrees: float):
    a = np.radians(degrees)
    return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])


@pytest.fixture(scope="module")
def face():
    """A symmetric head, turned by 3 degrees and beside the origin: mesh, even landmarks, its mirror plane."""
    x, y = np.meshgrid(np.linspace(-80, 80, 61), np.linspace(-100, 80, 61))
    i = (np.arange(3600) // 60) * 61 + np.arange(3600) % 60
    faces = np.concatenate([np.stack([i, i + 1, i + 62], 1), np.stack([i, i + 62, i + 61], 1)]).astype(
        np.int32
    )
    flat = np.zeros((68, 2))
    rng = np.random.default_rng(5)
    for k in range(68):
        if MIRROR[k] == k:
            flat[k] = 0, rng.uniform(-60, 40)
        elif k < MIRROR[k]:
            flat[k] = -rng.uniform(10, 60), rng.uniform(-60, 60)
            flat[MIRROR[k]] = -flat[k, 0], flat[k, 1]
    for group, side in (("right_eye", -31), ("left_eye", 31)):
        rows = np.arange(68)[GROUPS[group]]
        flat[rows] = np.c_[side + 0.2 * (flat[rows, 0] - flat[rows, 0].mean()), 30 + 0.05 * flat[rows, 1]]
    turn, shift = turned(3), np.array([12.0, -4, 300])
    vertices = np.c_[x.ravel(), y.ravel(), relief(x, y).ravel()] @ turn.T + shift
    points = np.c_[flat, relief(*flat.T)] @ turn.T + shift
    return Mesh(vertices, faces), points, turn[:, 0], shift


def test_the_plane_is_found_from_uneven_landmarks(face):
    mesh, points, across, shift = face
    crooked = points.copy()
    crooked[BROWS] += 4 * across
    found = symmetry_of(mesh.vertices, mesh.faces, crooked)
    expected = np.eye(3) - 2 * np.outer(across, across)
    assert np.abs(found.reflection[:3, :3] - expected).max() < 2e-3
    assert abs((transform(found.reflection, shift[None]) - shift) @ across).max() < 0.1
    assert found.surface < 0.05
    assert np.allclose(found.landmarks[BROWS], 8, atol=0.2)
    assert np.delete(found.landmarks, BROWS).max() < 0.2


def test_shifted_brows_are_brought_back(face):
    mesh, points, across, _ = face
    crooked = points.copy()
    crooked[BROWS] += 4 * across
    even, said = with_even_sides(crooked, mesh.vertices, mesh.faces)
    assert np.linalg.norm(even - points, axis=1).max() < 0.1
    assert "mirror images" in said and "brows by up to" in said


def test_the_embedded_landmarks_are_even():
    pytest.importorskip("menpo3d")
    from mimicme.pipeline.template import EMBEDDED, find_files, read_template

    file, points = read_template(find_files(EMBEDDED))
    raw = symmetry_of(np.asarray(file.mesh.vertices), file.mesh.faces, points)
    even, *said = corrected(points, file.mesh)
    now = symmetry_of(np.asarray(file.mesh.vertices), file.mesh.faces, even)
    micrometres = 1000
    assert raw.landmarks[BROWS].min() > 4 * micrometres  # as they come
    assert now.landmarks.max() < 0.1 * micrometres
    assert len(said) == 2
