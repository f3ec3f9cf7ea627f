"""triangle_loops: what numpy says of the same triangles."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.texture.sampling import MAX_SAMPLES, PIXELS_PER_SAMPLE, _kinds, _products
from mimicme.pipeline.texture.triangle_loops import depths_of_triangles, gather_corners, view_of_triangles


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def mesh(rng):
    return rng.normal(size=(200, 3)) * 10, rng.integers(0, 200, (500, 3)).astype(np.int32)


def test_footprints_get_the_level_and_the_samples_that_their_longest_way_asks_for(rng):
    j = (rng.normal(size=(2000, 2, 2)) * np.exp(rng.uniform(-4, 8, (2000, 1, 1)))).astype(np.float32)
    longest = np.linalg.svd(j.astype(np.float64), compute_uv=False)[:, 0]
    level = np.ceil(np.log2(np.maximum(longest / (MAX_SAMPLES * PIXELS_PER_SAMPLE), 1))).clip(max=8)
    samples = np.ceil(longest / PIXELS_PER_SAMPLE / 2**level - 0.25).clip(1, MAX_SAMPLES)
    same = _kinds(j) == level * (MAX_SAMPLES + 1) + samples
    assert same.mean() > 0.999  # the root of a difference, in single precision
    assert len(np.unique(level)) == 9


def test_products_that_are_no_number_are_nought(rng):
    a, b = (rng.normal(size=(50, n, 2)).astype(np.float32) for n in (3, 2))
    b[7], b[8] = np.nan, np.inf
    found = _products(a, b)
    assert (found[7:9] == 0).all()
    rest = np.r_[:7, 9:50]
    np.testing.assert_allclose(found[rest], np.matmul(a[rest], b[rest]), atol=1e-5)


def test_edges_and_depths_of_triangles_without_a_place(mesh):
    vertices, faces = mesh
    vertices[3] = np.nan
    count = len(faces)
    corners, normals = np.empty((2, count, 3, 3), np.float32)
    longest = np.empty(count, np.float32)
    gather_corners(
        vertices.astype(np.float32), faces, vertices[::-1].astype(np.float32), corners, normals, longest
    )
    np.testing.assert_array_equal(corners, vertices.astype(np.float32)[faces])
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    lost = (faces == 3).any(1)
    assert lost.any() and np.isnan(longest[lost]).all()
    np.testing.assert_allclose(longest[~lost], sides[~lost].max(1), rtol=1e-6)

    depth = np.linspace(-2, 2, 200).astype(np.float32)
    depth[::9] = np.nan
    off = np.where(np.isnan(depth), 30.0, 0.0)
    beyond = np.isnan(depth)
    unreachable, all_beyond, sure = (np.empty(count, bool) for _ in range(3))
    low, high = np.empty((2, count), np.float32)
    depths_of_triangles(
        faces, depth, off, beyond, longest, 4.0, 25.0, 1.0, unreachable, all_beyond, low, high, sure
    )
    unknown = np.isnan(depth[faces]).any(1)
    assert np.isnan(low[unknown]).all() and not sure[unknown].any()
    np.testing.assert_array_equal(low[~unknown], depth[faces][~unknown].min(1))
    np.testing.assert_array_equal(sure[~unknown], np.ptp(depth[faces][~unknown], axis=1) <= 1)
    np.testing.assert_array_equal(unreachable, ~(off[faces].max(1) <= 4 + longest.astype(np.float64)))
    np.testing.assert_array_equal(all_beyond, unknown & beyond[faces].all(1) & (longest <= 25))


def test_a_photograph_foreshortens_what_slopes_away():
    """A flat patch, seen at 60 degrees: its places in the image are half as far apart along the slope."""
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, np.cos(np.pi / 3), -np.sin(np.pi / 3)]])
    faces = np.array([[0, 1, 2], [0, 0, 1]], np.int32)
    pixels = (8 * vertices[faces][..., :2]).astype(np.float32)
    edge, per_mm = np.empty((2, 2, 2), np.float32), np.empty((2, 2, 3), np.float32)
    ratio, scale = np.empty((2, 2), np.float32)
    view_of_triangles(vertices, faces, pixels, edge, per_mm, ratio, scale)
    assert scale[0] == pytest.approx(8) and ratio[0] == pytest.approx(0.5, rel=1e-5)
    np.testing.assert_allclose(per_mm[0] @ (vertices[1] - vertices[0]), [8, 0], atol=1e-5)
    np.testing.assert_allclose(per_mm[0] @ (vertices[2] - vertices[0]), [0, 4], atol=1e-5)
    assert (per_mm[1] == 0).all()  # no triangle
