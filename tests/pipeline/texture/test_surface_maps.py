"""Maps of the surface against planes and domes whose normals, places and distances are known."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.formats.map_coding import MAPS, Coding
from mimicme.pipeline.geometry.mesh import Mesh, transform
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.baking import TextureOptions, bake_source, open_source
from mimicme.pipeline.texture.surface_maps import SurfaceMaps, coding

N = 128


def grid(n: int, side: float = 100.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1))
    i = (np.arange(n * n) // n) * (n + 1) + np.arange(n * n) % n
    faces = np.concatenate([np.stack([i, i + 1, i + n + 2], 1), np.stack([i, i + n + 2, i + n + 1], 1)])
    uv = np.stack([x.ravel(), y.ravel()], 1)
    return np.c_[(uv - 0.5) * side, np.zeros(len(uv))], faces.astype(np.int32), uv


def sheet(n: int = 8) -> Template:
    vertices, faces, uv = grid(n)
    # a quarter of the layout is free, so that there is something outside of it
    return Template(
        vertices, faces, uv * [1, 0.75], faces, ("a",), np.zeros((1, 3), np.int64), np.array([[1.0, 0, 0]]),
        digest=f"maps {n}",
    )  # fmt: skip


def pose() -> np.ndarray:
    a, b = np.radians(25), np.radians(-40)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    full = np.eye(4)
    full[:3, :3], full[:3, 3] = about_x @ about_y, [30, -20, 400]
    return full


def made(height, names=tuple(MAPS), keep=None) -> tuple[SurfaceMaps, np.ndarray]:
    """Maps of a scan that lies at z = height(x, y) over the registered sheet, and the coverage."""
    vertices, faces, uv = grid(40)
    vertices[:, 2] = height(vertices[:, 0], vertices[:, 1])
    if keep is not None:
        faces = faces[keep(vertices[faces].mean(1))]
    shape = sheet()
    scan = Mesh(transform(pose(), vertices), faces, uv, faces)
    options = TextureOptions(size=N)
    source = open_source(scan, np.full((64, 64, 3), 90, np.uint8), options)
    assert source is not None
    codings = {name: coding(name, shape, options.max_distance_mm) for name in names}
    maps = SurfaceMaps(codings, shape.vertices, pose(), shape, source, N)
    baked = bake_source(source, transform(pose(), shape.vertices), shape, options, maps)
    return maps, baked.coverage


def values(maps: SurfaceMaps, name: str) -> np.ndarray:
    return maps.codings[name].values(maps.picture(name))


def texels() -> tuple[np.ndarray, np.ndarray]:
    """x and y, mm, of the sheet at the rows of the layout that it covers."""
    u = (np.arange(N) + 0.5) / N
    v = (1 - u)[N // 4 :] / 0.75
    return np.meshgrid((u - 0.5) * 100, (v - 0.5) * 100)


def test_a_shifted_plane_is_displaced_by_its_shift_and_faces_the_same_way():
    maps, _ = made(lambda x, y: 0 * x - 1.25)
    inner = (slice(N // 4 + 2, N - 2), slice(2, N - 2))
    assert values(maps, "displacement")[inner] == pytest.approx(-1.25, abs=2e-3)
    np.testing.assert_allclose(
        values(maps, "normal")[inner], np.broadcast_to([0, 0, 1], (92, 124, 3)), atol=1e-3
    )


def test_a_tilted_plane_shows_its_own_normals_in_the_canonical_frame():
    slope = 0.02
    maps, _ = made(lambda x, y: slope * x)
    x, _ = texels()
    inner = (slice(N // 4 + 3, N - 3), slice(3, N - 3))
    expected = np.array([-slope, 0, 1]) / np.hypot(slope, 1)
    off = values(maps, "normal")[inner] - expected
    assert np.abs(off).max() < 1e-3
    # along the sheet's normal, which is z
    np.testing.assert_allclose(values(maps, "displacement")[inner], slope * x[3:-3, 3:-3], atol=4e-3)


def test_positions_are_the_registered_surfaces():
    maps, _ = made(lambda x, y: 0 * x + 2)
    x, y = texels()
    found = values(maps, "position")[N // 4 :]
    np.testing.assert_allclose(found[..., 0], x, atol=0.006)
    np.testing.assert_allclose(found[..., 1], y, atol=0.006)
    assert np.abs(found[..., 2]).max() < 0.006


def test_what_was_not_seen_is_flat_and_what_is_no_surface_is_nothing():
    maps, coverage = made(lambda x, y: 0.02 * x + 1, keep=lambda c: np.hypot(c[:, 0], c[:, 1]) > 30)
    x, y = texels()
    gap = np.zeros((N, N), bool)
    gap[N // 4 :] = np.hypot(x, y) < 24
    assert not coverage[gap].any()
    assert (values(maps, "displacement")[gap] == 0).all()
    np.testing.assert_allclose(values(maps, "normal")[gap][:, 2], 1, atol=1e-3)
    assert (maps.picture("normal")[: N // 4 - 1] == 0).all()
    assert (values(maps, "displacement")[: N // 4 - 1] == 0).all()


def test_only_the_maps_that_are_asked_for_are_made():
    maps, _ = made(lambda x, y: 0 * x, names=("displacement",))
    assert list(maps.codings) == ["displacement"]
    assert maps.picture("displacement").shape == (N, N)
    assert maps.picture("displacement").dtype == np.uint16


@pytest.mark.parametrize("limit", [0.5, 4.0, 100.0])
def test_displacements_reach_the_limit_and_zero_is_exact(limit):
    code = coding("displacement", sheet(), limit)
    ends = np.array([[-limit], [0.0], [limit]], np.float32)
    np.testing.assert_allclose(code.values(code.numbers(ends)), ends, atol=code.scale)
    assert code.values(code.numbers(ends))[1, 0] == 0
    assert 0.5 * limit / 32768 < code.scale < 2.1 * limit / 32767
    assert code.unit == "mm"


def test_numbers_come_back_within_half_a_step_and_stop_at_the_ends():
    code = Coding("mm", 0.5, (-10.0, 0.0, 5.0))
    given = np.array([[-9.9, 3.3, 5.2], [-11, -1, 1e9]])
    assert code.numbers(given).tolist() == [[0, 7, 0], [0, 0, 65535]]
    np.testing.assert_allclose(code.values(code.numbers(given))[0], [-10, 3.5, 5])
    assert coding("normal", sheet(), 4).values(
        coding("normal", sheet(), 4).numbers([[0.0, 1, -1]])
    ).tolist() == [[0, 1, -1]]
