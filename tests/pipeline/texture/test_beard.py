"""beard: a mesh that goes on below a beard is put onto it, and the texture shows what lies there."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.baking import TextureOptions, bake_source, open_source
from mimicme.pipeline.texture.beard import REACH_MM, beard_seen, below_the_jaw, on_beard
from mimicme.pipeline.texture.scan_source import Source
from mimicme.pipeline.texture.surface_maps import SurfaceMaps, coding

N = 256
SKIN, BEARD = (200, 150, 120), (60, 40, 30)


def sheet(n: int):
    """A square of 100 mm in z = 0, facing +z, and its coordinates in [0, 1]."""
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1))
    i = (np.arange(n * n) // n) * (n + 1) + np.arange(n * n) % n
    faces = np.concatenate([np.stack([i, i + 1, i + n + 2], 1), np.stack([i, i + n + 2, i + n + 1], 1)])
    uv = np.stack([x.ravel(), y.ravel()], 1)
    return np.c_[(uv - 0.5) * 100, np.zeros(len(uv))], faces.astype(np.int32), uv


def template() -> Template:
    vertices, faces, uv = sheet(50)
    corner = np.zeros((1, 3), np.int64)
    return Template(vertices, faces, uv, faces, ("a",), corner, np.array([[1.0, 0, 0]]), digest="beard-test")


def thickness(xy, thick: float):
    """Of a beard on the lower half, which begins within 4 mm of the middle."""
    return thick * np.clip(-xy[:, 1] / 4, 0, 1)


def scanned(thick: float, rough: float = 0.0) -> Mesh:
    vertices, faces, uv = sheet(100)
    noise = np.random.default_rng(2).normal(size=len(vertices))
    depth = thickness(vertices, thick + rough * noise)
    return Mesh(vertices + np.c_[np.zeros((len(uv), 2)), depth], faces, uv, faces)


def photograph():
    image = np.full((N, N, 3), SKIN, np.uint8)
    image[N // 2 :] = BEARD
    return image


def opened(mesh: Mesh) -> Source:
    source = open_source(mesh, photograph(), options())
    assert source is not None
    return source


def options() -> TextureOptions:
    return TextureOptions(N, mirror_fill=False)


def below(values, other=255):
    """(V,) uint8: `values` on the lower half, where the beard is."""
    return np.where(template().vertices[:, 1] < -1, values, other).astype(np.uint8)


@pytest.mark.parametrize("thick", [3.0, 12.0, REACH_MM - 2, -6.0])
def test_the_mesh_is_put_onto_the_beard_and_stays_on_skin(thick):
    shape, skin = template(), below(0)
    moved = on_beard(shape.vertices, shape, opened(scanned(thick)), skin, skin == 0)
    np.testing.assert_array_equal(moved[skin == 255], shape.vertices[skin == 255])
    inner = (shape.vertices[:, 1] < -16) & (np.abs(shape.vertices).max(axis=1) < 48)
    np.testing.assert_allclose(moved[inner, 2], thick, atol=0.5)
    assert np.abs(moved[:, :2] - shape.vertices[:, :2]).max() < 1e-6


def test_where_nothing_is_found_it_goes_on_smoothly():
    shape, skin = template(), below(0)
    scan = scanned(10.0)
    middle = scan.vertices[scan.faces].mean(axis=1)
    kept = scan.faces[np.hypot(middle[:, 0], middle[:, 1] + 25) > 5]
    holed = Mesh(scan.vertices, kept, scan.uv, kept)
    moved = on_beard(shape.vertices, shape, opened(holed), skin, skin == 0)
    at = np.hypot(shape.vertices[:, 0], shape.vertices[:, 1] + 25) < 5
    np.testing.assert_allclose(moved[at, 2], 10, atol=0.5)


def test_a_beard_that_is_too_far_away_moves_nothing():
    shape, skin = template(), below(0)
    far = scanned(0.0).with_vertices(scanned(0.0).vertices + [0, 0, REACH_MM + 5])
    moved = on_beard(shape.vertices, shape, opened(far), skin, skin == 0)
    np.testing.assert_allclose(moved, shape.vertices, atol=1e-9)


@pytest.mark.parametrize("rough", [0.0, 0.5])
def test_the_texture_has_the_beard_up_to_its_own_border(rough):
    shape, grows = template(), np.ones(len(template().vertices))
    source = opened(scanned(12.0, rough))
    baked = bake_source(source, shape.vertices, shape, options(), skin=below(0), bearded=grows)
    assert (baked.coverage > 0).mean() > 0.95  # its rise of 12 mm within 4 is steep, and rough
    seen = baked.coverage > 0
    expected = photograph()
    rows = np.abs(np.arange(N) - N / 2) > 3
    off = np.abs(baked.texture.astype(int) - expected).max(axis=2)
    assert (off[rows][seen[rows]] <= 1).all()
    assert (off[rows] > 20).mean() < 0.01
    filled = bake_source(source, shape.vertices, shape, options(), skin=below(0))
    assert not filled.coverage[N // 2 + 4 :].any()


def test_what_is_no_skin_beyond_the_beard_is_not_taken():
    shape = template()
    grows = np.where(shape.vertices[:, 0] < 0, 1.0, 0.4)
    source = opened(scanned(12.0))
    baked = bake_source(source, shape.vertices, shape, options(), skin=below(0), bearded=grows)
    assert not baked.coverage[N // 2 + 4 :, N // 2 + 4 :].any()
    # nor is the beard's border with it lost, as that of skin with hair is
    assert (baked.coverage[N // 2 + 16 :, : N // 2 - 4] > 0).mean() > 0.97


@pytest.mark.parametrize("skin", [below(128), below(0)[::-1].copy()], ids=["in doubt", "hair above"])
def test_without_a_beard_the_bytes_are_the_same(skin):
    shape = template()
    grows = (shape.vertices[:, 1] < 0).astype(float)
    source = opened(scanned(1.0, 0.2))
    first = bake_source(source, shape.vertices, shape, options(), skin=skin)
    second = bake_source(source, shape.vertices, shape, options(), skin=skin, bearded=grows)
    assert not beard_seen(skin, grows).any()
    assert first.texture.tobytes() == second.texture.tobytes()
    assert first.coverage.tobytes() == second.coverage.tobytes()


def test_the_maps_show_the_registered_surface_below_it():
    shape, skin = template(), below(0)
    source = opened(scanned(3.0))
    codings = {name: coding(name, shape, 4.0) for name in ("displacement", "normal", "position")}
    maps = SurfaceMaps(codings, shape.vertices, np.eye(4), shape, source, N)
    bake_source(
        source, shape.vertices, shape, options(), maps, skin=skin, bearded=np.ones(len(shape.vertices))
    )
    lower = np.s_[N // 2 + 6 :]
    displaced = codings["displacement"].values(maps.picture("displacement")[..., None])[lower]
    np.testing.assert_allclose(displaced, 0, atol=1e-3)
    normals = codings["normal"].values(maps.picture("normal"))[lower]
    np.testing.assert_allclose(normals.reshape(-1, 3), [[0, 0, 1]] * len(normals) * N, atol=1e-3)


def patch(x=0.0, y=-25.0, radius=12.0):
    """(V,) uint8: no skin in a disc, mm."""
    v = template().vertices
    return np.where(np.hypot(v[:, 0] - x, v[:, 1] - y) < radius, 0, 255).astype(np.uint8)


def regions(jaw=-20.0):
    """Where a beard grows, above the jaw, and what lies beyond the face, below it; both (V,)."""
    y = template().vertices[:, 1]
    return np.where(y > jaw, 1.0, 0.0), np.where(y > jaw, 0.0, 1.0)


def test_what_skin_encloses_and_touches_the_beard_is_beard():
    shape, skin = template(), patch()
    found = below_the_jaw(shape, shape.vertices, opened(scanned(0.0)), skin, *regions(), near_mm=4)
    np.testing.assert_array_equal(found, skin == 0)


@pytest.mark.parametrize(
    ("skin", "why"),
    [
        (patch(y=-40.0), "a collar reaches the rim"),
        (np.minimum(patch(y=-36.0, radius=8), patch(y=20.0)), "it does not touch where a beard grows"),
        (patch(radius=0), "there is none"),
    ],
)
def test_what_may_be_a_collar_is_none(skin, why):
    shape = template()
    grows, beyond = regions()
    if "touch" in why:
        grows[shape.vertices[:, 1] > -10] = 0
    found = below_the_jaw(shape, shape.vertices, opened(scanned(0.0)), skin, grows, beyond, 4)
    assert not found.any(), why


def test_where_the_scan_ends_beside_it_nothing_is_known_of_it():
    shape, skin = template(), patch()
    scan = scanned(0.0)
    middle = scan.vertices[scan.faces].mean(axis=1)
    kept = scan.faces[~((middle[:, 1] < -38) | ((middle[:, 1] < -30) & (middle[:, 0] > 0)))]
    cut = opened(Mesh(scan.vertices, kept, scan.uv, kept))
    assert not below_the_jaw(shape, shape.vertices, cut, skin, *regions(), near_mm=4).any()


def test_a_vertex_that_is_lost_beside_it_leaves_it_unknown():
    shape, skin = template(), patch()
    vertices = shape.vertices.copy()
    vertices[np.flatnonzero(skin == 0)[0]] = np.nan
    assert not below_the_jaw(shape, vertices, opened(scanned(0.0)), skin, *regions(), near_mm=4).any()


def test_the_texture_has_the_beard_below_the_jaw_and_not_a_collar():
    shape, source = template(), opened(scanned(0.0))
    grows, beyond = regions()
    for skin, seen in ((patch(), True), (patch(y=-40.0), False)):
        baked = bake_source(source, shape.vertices, shape, options(), None, None, skin, grows, beyond)
        row = round((0.5 - (-29 if seen else -45) / 100) * N)
        assert bool(baked.coverage[row, N // 2] > 0) == seen
        filled = bake_source(source, shape.vertices, shape, options(), None, None, skin, grows)
        assert not filled.coverage[row, N // 2]
