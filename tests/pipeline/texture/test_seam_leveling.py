"""seam_leveling: a seam is closed, and only a seam."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import splu

from mimicme.pipeline.geometry.mesh import Mesh, adjacency, edges
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.baking import TextureOptions, bake
from mimicme.pipeline.texture.seam_leveling import FADING_MM, _solved, corrections, seam_pairs

N = 40


def grid(n: int = N):
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1))
    i = (np.arange(n * n) // n) * (n + 1) + np.arange(n * n) % n
    faces = np.concatenate([np.stack([i, i + 1, i + n + 2], 1), np.stack([i, i + n + 2, i + n + 1], 1)])
    return np.stack([x.ravel(), y.ravel()], 1), faces.astype(np.int32)


def two_photographs(side: float = 100.0):
    """A square, its left half in the left photograph and its right half in the right one."""
    xy, faces = grid()
    right = xy[faces].mean(1)[:, 0] > 0.5
    uv = np.concatenate([xy * [0.5, 1], xy * [0.5, 1] + [0.5, 0]])
    uv_faces = faces + right[:, None] * len(xy)
    return Mesh(np.c_[(xy - 0.5) * side, np.zeros(len(xy))], faces, uv, uv_faces.astype(np.int32))


def template() -> Template:
    xy, faces = grid(8)
    vertices = np.c_[(xy - 0.5) * 100, np.zeros(len(xy))]
    marks = np.zeros((1, 3), np.int64), np.array([[1.0, 0, 0]])
    return Template(vertices, faces, xy, faces, ("a",), *marks, digest="leveling-test")


def photographs(left: float, right: float):
    image = np.zeros((256, 512, 3), np.uint8)
    image[:, :256], image[:, 256:] = left, right
    return image


def baked(image, **options):
    mesh = two_photographs()
    return bake(mesh, image, template().vertices, template(), TextureOptions(256, **options)).texture.astype(
        int
    )


def test_the_pairs_are_the_vertices_on_the_seam():
    mesh = two_photographs()
    pairs = seam_pairs(mesh.faces, mesh.uv_faces)
    assert len(pairs) == N + 1
    assert np.allclose(mesh.uv[pairs[:, 1]] - mesh.uv[pairs[:, 0]], [0.5, 0])
    assert len(seam_pairs(mesh.faces, mesh.faces)) == 0


def test_the_solution_is_the_exact_one_to_a_twentieth_of_a_grey_level():
    xy, faces = grid()
    n = len(xy)
    ends, _ = edges(faces)
    graph = adjacency(ends, n)
    rng = np.random.default_rng(0)
    matrix = sparse.diags(np.asarray(graph.sum(1)).ravel() + 0.01) - graph
    seam = sparse.diags((xy[:, 0] == 0.5).astype(float))
    right = seam @ rng.normal(30, 5, (n, 3))
    found, exact = _solved((matrix + seam).tocsr(), right), splu((matrix + seam).tocsc()).solve(right)
    assert np.abs(exact).max() > 20
    assert np.abs(found - exact).max() < 0.05


def test_what_has_no_solution_is_said():
    singular = sparse.csr_matrix(np.diag([1.0, 0.0]))
    with pytest.raises(FloatingPointError, match="seams"), np.errstate(all="ignore"):
        _solved(singular, np.ones((2, 3)))


def test_a_step_of_brightness_becomes_a_ramp():
    image = photographs(100, 130)
    plain, level = baked(image, level_seams=False)[128, :, 0], baked(image)[128, :, 0]
    assert np.abs(np.diff(plain)).max() == 30
    assert np.abs(np.diff(level)).max() <= 4
    assert abs(level[127] - 115) <= 3
    # three fading lengths, in texels, from the seam nothing has changed
    far = int(3.2 * FADING_MM / 100 * 256)
    assert (level[: 128 - far] == 100).all()
    assert (level[128 + far :] == 130).all()


def test_photographs_that_agree_stay_as_they_are():
    rng = np.random.default_rng(0)
    image = np.repeat(rng.integers(90, 110, (256, 512, 1)), 3, axis=2).astype(np.uint8)
    same = image.copy()
    same[:, 254:256] = same[:, 256:258] = image[:, 254:256]
    mirrored = np.concatenate([image[:, :256], image[:, :256]], axis=1)
    assert np.abs(baked(mirrored) - baked(mirrored, level_seams=False)).mean() < 1.5
    assert (baked(photographs(120, 120)) == 120).all()


def test_a_gap_too_large_to_be_a_gain_is_left_alone():
    image = photographs(20, 220)
    assert (baked(image) == baked(image, level_seams=False)).all()


def test_corrections_are_linear_in_the_gap_and_split_it_evenly():
    mesh = two_photographs()
    pairs = seam_pairs(mesh.faces, mesh.uv_faces)
    points = np.full((len(mesh.uv), 3), np.nan)
    points[mesh.uv_faces] = mesh.vertices[mesh.faces]
    one, two = (corrections(mesh.uv_faces, points, pairs, np.full((len(pairs), 3), g)) for g in (10.0, 20.0))
    assert np.allclose(two, 2 * one, atol=1e-3)
    left, right = one[pairs[:, 0]], one[pairs[:, 1]]
    assert np.allclose(left, -right[::-1], atol=0.05)  # the grid is its own mirror image upside down
    assert np.abs(left - right - 10).max() < 1.5
    assert (corrections(mesh.uv_faces, points, pairs, np.full((len(pairs), 3), np.nan)) == 0).all()
