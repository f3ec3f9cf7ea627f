"""Rasterising a layout: every texel once, exact weights, bands that agree with the whole."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.errors import InputError
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.raster import bands, rasterise


def grid(n: int, jitter: float = 0.0, seed: int = 0):
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1))
    uv = np.stack([x.ravel(), y.ravel()], 1)
    i = (np.arange(n * n) // n) * (n + 1) + np.arange(n * n) % n
    faces = np.concatenate([np.stack([i, i + 1, i + n + 2], 1), np.stack([i, i + n + 2, i + n + 1], 1)])
    inner = ((uv > 0) & (uv < 1)).all(1)
    uv[inner] += np.random.default_rng(seed).uniform(-jitter / n, jitter / n, (int(inner.sum()), 2))
    return uv, faces.astype(np.int32)


def centres(texels, size):
    return np.stack([(texels % size + 0.5) / size, 1 - (texels // size + 0.5) / size], 1)


@pytest.mark.parametrize(("n", "size"), [(4, 8), (7, 64), (10, 100), (64, 64), (50, 33)])
def test_a_full_square_covers_every_texel_once(n, size):
    # corners on texel centres and edges through them: the hard case for the tie rule
    raster = rasterise(*grid(n), size)
    assert (raster.texels == np.arange(size * size)).all()
    assert raster.overlaps == 0


def test_a_jittered_square_has_no_crack():
    raster = rasterise(*grid(20, 0.3), 256)
    assert len(raster.texels) == 256 * 256
    assert raster.overlaps == 0


def test_weights_put_each_texel_at_its_centre():
    uv, faces = grid(9, 0.3)
    raster = rasterise(uv, faces, 128)
    at = np.einsum("kc,kcx->kx", raster.weights, uv[faces[raster.triangles]])
    assert np.abs(at - centres(raster.texels, 128)).max() < 1e-6
    assert raster.weights.min() >= -1e-6
    assert np.abs(raster.weights.sum(1) - 1).max() < 1e-6


def test_row_0_is_the_top_and_v_points_up():
    uv = np.array([[0, 0.75], [0.25, 0.75], [0.25, 1], [0, 1.0]])
    raster = rasterise(uv, np.array([[0, 1, 2], [0, 2, 3]], np.int32), 4)
    assert raster.texels.tolist() == [0]


def test_winding_does_not_matter():
    uv, faces = grid(9, 0.3)
    assert len(rasterise(uv, faces[:, ::-1], 64).texels) == 64 * 64


def test_overlap_is_counted_and_the_first_triangle_wins():
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    raster = rasterise(uv, np.array([[0, 1, 2], [0, 1, 2], [0, 2, 3]], np.int32), 16)
    assert len(raster.texels) == 256
    assert raster.overlaps == (raster.triangles == 0).sum() > 100
    assert not (raster.triangles == 1).any()


def test_bands_agree_with_the_whole():
    uv, faces = grid(9, 0.3)
    whole = rasterise(uv, faces, 96)
    parts = [rasterise(uv, faces, 96, row, 20) for row in range(0, 96, 20)]
    texels = np.concatenate([p.texels + p.first_row * 96 for p in parts])
    assert (texels == whole.texels).all()
    assert np.concatenate([p.weights for p in parts]).tobytes() == whole.weights.tobytes()


def test_a_triangle_without_area_covers_nothing():
    uv = np.array([[0, 0], [1, 1], [0.5, 0.5]])
    assert len(rasterise(uv, np.array([[0, 1, 2]], np.int32), 32).texels) == 0


def test_a_template_is_rasterised_once_per_process():
    uv, faces = grid(3)
    flat = np.c_[uv, np.zeros(len(uv))]
    landmark = np.zeros((1, 3))
    template = Template(
        flat, faces, uv, faces, ("a",), landmark.astype(np.int64), landmark, digest="raster-test"
    )
    assert next(bands(template, 32)) is next(bands(template, 32))
    assert next(bands(template, 64)).size == 64


def test_a_size_out_of_range_is_refused():
    with pytest.raises(InputError, match="size"):
        rasterise(*grid(2), 10_000)
