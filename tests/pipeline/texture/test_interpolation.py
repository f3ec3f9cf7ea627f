"""Plain triangles: what is interpolated between their corners is what a ray for each texel finds."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture import sampling
from mimicme.pipeline.texture.baking import TextureOptions, bake_source, open_source
from mimicme.pipeline.texture.correspondence import SMALL_MM, Target
from mimicme.pipeline.texture.interpolation import VertexPlaces

SIDE = 60.0
OPTIONS = TextureOptions(size=256, level_seams=False, fill=False)


def grid(n: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1))
    i = (np.arange(n * n) // n) * (n + 1) + np.arange(n * n) % n
    faces = np.concatenate([np.stack([i, i + 1, i + n + 2], 1), np.stack([i, i + n + 2, i + n + 1], 1)])
    return np.stack([x.ravel(), y.ravel()], 1), faces.astype(np.int32)


def bump(uv: np.ndarray) -> np.ndarray:
    """A rounded skin of 60 mm, with relief."""
    xy = (uv - 0.5) * SIDE
    z = 8 - 0.008 * (xy**2).sum(1) + 0.3 * np.sin(xy[:, 0] / 4)
    return np.c_[xy, z]


def template(n: int, off_mm: float = 0.2) -> Template:
    uv, faces = grid(n)
    vertices = bump(uv) + [0, 0, off_mm]
    return Template(
        vertices, faces, uv, faces, ("a",), np.zeros((1, 3), np.int64), np.array([[1.0, 0, 0]]),
        digest=f"interpolation {n}",
    )  # fmt: skip


def photograph(pixels: int = 300) -> np.ndarray:
    r, c = np.mgrid[:pixels, :pixels]
    waves = [127 + 60 * np.sin(c / 9) + 50 * np.cos(r / 7), 127 + 90 * np.sin((r + c) / 11), 0 * r + 40]
    return np.stack(waves, -1).astype(np.uint8)


def scan(n: int = 70, charts: int = 1) -> Mesh:
    """The skin as a scanner has it; of two charts, the halves lie apart in the image."""
    uv, faces = grid(n)
    vertices, corner = bump(uv), uv[faces].reshape(-1, 2)
    if charts == 2:
        right = np.repeat(uv[faces].mean(1)[:, 0] > 0.5, 3)
        corner = corner * [0.45, 1] + np.where(right[:, None], [0.5, 0], [0, 0])
    shared, index = np.unique(np.c_[corner, faces.ravel()], axis=0, return_inverse=True)
    return Mesh(vertices, faces, shared[:, :2].copy(), index.reshape(-1, 3).astype(np.int32))


def places(shape: Template, mesh: Mesh, image: np.ndarray) -> VertexPlaces:
    source = open_source(mesh, image, OPTIONS)
    return VertexPlaces(Target(shape.vertices - source.origin, shape, source, OPTIONS))


def baked(shape: Template, mesh: Mesh, image: np.ndarray, monkeypatch, rays: bool):
    if rays:
        plain = "mimicme.pipeline.texture.triangle_loops.plain_triangles"
        monkeypatch.setattr(plain, lambda *given: given[-1].fill(False))
    return bake_source(open_source(mesh, image, OPTIONS), shape.vertices, shape, OPTIONS)


def test_colours_are_those_that_a_ray_for_each_texel_finds(monkeypatch):
    shape, image = template(50), photograph()
    assert places(shape, scan(), image).plain.mean() > 0.8
    quick = baked(shape, scan(), image, monkeypatch, rays=False)
    exact = baked(shape, scan(), image, monkeypatch, rays=True)
    both = (quick.coverage > 0) & (exact.coverage > 0)
    assert both.sum() > 0.999 * (exact.coverage > 0).sum()
    difference = np.abs(quick.texture.astype(int) - exact.texture)[both]
    assert difference.mean() < 0.5
    assert (difference > 3).mean() < 0.01
    assert exact.texture[both].std() > 20


def test_no_triangle_across_the_seam_of_two_photographs_is_plain():
    shape = template(51)
    found = places(shape, scan(charts=2), photograph())
    x = shape.vertices[shape.faces][:, :, 0]
    across = (x.min(1) < 0) & (x.max(1) > 0)
    assert across.any()
    assert not found.plain[across].any()
    assert found.plain[np.abs(x).min(1) > 3].mean() > 0.8


def test_large_triangles_are_not_plain():
    shape = template(10)
    assert np.linalg.norm(shape.vertices[1] - shape.vertices[0]) > SMALL_MM
    assert not places(shape, scan(), photograph()).plain.any()


def test_across_a_jump_of_the_depth_nothing_is_plain():
    mesh, shape = scan(), template(50)
    low = mesh.vertices[:, 0] > 10
    stepped = mesh.with_vertices(mesh.vertices - np.where(low[:, None], [0, 0, 2.5], 0))
    found = places(shape, stepped, photograph())
    x = shape.vertices[shape.faces][:, :, 0]
    near = (x.min(1) < 10.5) & (x.max(1) > 9.9)
    assert not found.plain[near].any()
    assert found.plain[x.max(1) < 8].mean() > 0.8


def test_where_the_scan_ends_vertices_have_no_place():
    mesh, shape = scan(), template(50)
    left = mesh.vertices[mesh.faces][:, :, 0].max(1) < 0
    half = Mesh(mesh.vertices, mesh.faces[left], mesh.uv, mesh.uv_faces[left])
    found = places(shape, half, photograph())
    beyond = shape.vertices[:, 0] > 5
    assert not found.confidence[beyond].any()
    assert not found.plain[(shape.vertices[shape.faces][:, :, 0] > 0).any(1)].any()
    assert (found.confidence[shape.vertices[:, 0] < -5] > 0).mean() > 0.9


def test_an_image_too_large_for_opencv_is_read_piece_by_piece(monkeypatch):
    image = photograph(200)
    rng = np.random.default_rng(0)
    x, y = (rng.uniform(-3, 203, 5000).astype(np.float32) for _ in range(2))
    whole = sampling._bilinear(image, x, y)
    monkeypatch.setattr(sampling, "OPENCV_SIDE", 66)
    real, inside = sampling._bilinear, []

    def piece(part, a, b):
        inside.append(part.shape[:2])
        monkeypatch.setattr(sampling, "OPENCV_SIDE", 10_000)
        try:
            return real(part, a, b)
        finally:
            monkeypatch.setattr(sampling, "OPENCV_SIDE", 66)

    monkeypatch.setattr(sampling, "_bilinear", piece)
    pieces = sampling._tiled(image, x, y)
    assert len(inside) == 16
    assert max(max(shape) for shape in inside) == 65
    assert np.abs(pieces.astype(int) - whole).max() <= 1


@pytest.mark.parametrize("count", [0, 1, 4095, 4097])
def test_any_number_of_places_can_be_read(count):
    read = sampling._bilinear(
        photograph(50), np.full(count, 3.0, np.float32), np.full(count, 4.0, np.float32)
    )
    assert (read == photograph(50)[4, 3]).all()
    assert read.shape == (count, 3)
