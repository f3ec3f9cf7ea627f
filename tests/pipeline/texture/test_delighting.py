"""Light that was put onto a dome is found, taken out, and comes back from its numbers."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.delighting import TERMS, harmonics, shading, shading_map, without_shading

N = 128


def dome(n: int = 24) -> Template:
    u, v = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1)))
    x, y = 150 * (u - 0.5), 150 * (v - 0.5)
    z = np.sqrt(110.0**2 - x**2 - y**2)
    i = (np.arange(n * n) // n) * (n + 1) + np.arange(n * n) % n
    faces = np.concatenate([np.stack([i, i + 1, i + n + 2], 1), np.stack([i, i + n + 2, i + n + 1], 1)])
    return Template(
        np.stack([x, y, z], 1), faces.astype(np.int32), np.stack([u, v], 1), faces.astype(np.int32), ("a",),
        np.zeros((1, 3), np.int64), np.array([[1.0, 0, 0]]), digest="lit dome",
    )  # fmt: skip


LIGHT = np.array([0.0, 0.35, -0.2, 0.1, 0.05, 0, -0.1, 0.05, 0.02], np.float32)


def lit(albedo: np.ndarray) -> np.ndarray:
    shape = dome()
    factor = shading_map(LIGHT, shape.vertices, shape, N)
    return np.rint(np.clip(albedo * factor[..., None], 0, 255)).astype(np.uint8)


def skin(seed: int = 0) -> np.ndarray:
    grain = np.random.default_rng(seed).normal(0, 3, (N, N, 1))
    return np.array([150.0, 110, 90]) + grain


def spread(texture: np.ndarray) -> float:
    """How unlike the sides are: difference of the means of left and right, top and bottom."""
    grey = texture.astype(float).mean(2)
    h = N // 2
    return max(abs(grey[:, :h].mean() - grey[:, h:].mean()), abs(grey[:h].mean() - grey[h:].mean()))


def without_shade(texture: np.ndarray, coverage: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    shape = dome()
    seen = np.full((N, N), 255, np.uint8) if coverage is None else coverage
    return without_shading(texture, seen, shape.vertices, shape)


def test_shading_is_the_exponential_of_the_harmonics_and_bounded():
    normals = np.array([[0, 0, 1.0], [1, 0, 0], [0, 0.6, 0.8]])
    assert harmonics(normals).shape == (3, TERMS)
    assert harmonics(normals)[0].tolist() == [1, 0, 0, 1, 0, 0, 0, 0, 2]
    np.testing.assert_allclose(shading(0.1 * np.eye(TERMS)[1], normals), np.exp([0, 0.1, 0]), rtol=1e-6)
    np.testing.assert_allclose(shading(9 * np.eye(TERMS)[3], normals)[0], np.exp(0.5), rtol=1e-6)


def test_light_is_taken_out_and_brightness_stays():
    texture = lit(skin())
    assert spread(texture) > 20
    found, _ = without_shade(texture)
    assert spread(found) < 1.0
    # the mean of the logarithm is what is kept
    before, after = (np.log(t.astype(float).mean(2)).mean() for t in (texture, found))
    assert abs(before - after) < 0.01


def test_dark_brows_and_red_lips_are_no_shade():
    albedo = skin()
    albedo[30:38, 20:60] = albedo[30:38, 70:110] = [45, 35, 30]
    albedo[90:100, 44:84] = [140, 50, 60]
    found, light = without_shade(lit(albedo))
    without, clean = without_shade(lit(skin()))
    assert np.abs(light - clean).max() < 0.05
    cheek = (slice(50, 80), slice(20, 108))
    assert np.abs(found[cheek].astype(float) - without[cheek]).mean() < 2.5


def test_what_is_not_covered_does_not_count():
    texture, coverage = lit(skin()), np.full((N, N), 255, np.uint8)
    texture[:, :40] = 0
    coverage[:, :40] = 0
    found, _ = without_shade(texture, coverage)
    assert np.ptp(texture[:, 40:].mean((0, 2))) > 20
    assert np.ptp(found[:, 40:].astype(float).mean((0, 2))) < 3
    assert (without_shade(texture, np.zeros((N, N), np.uint8))[1] == 0).all()


def test_the_light_comes_back_from_its_numbers():
    texture, shape = lit(skin()), dome()
    found, light = without_shade(texture)
    again = found * shading_map(light, shape.vertices, shape, N)[..., None]
    assert np.abs(again - texture).max() <= 1.1
