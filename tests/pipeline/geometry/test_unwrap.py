"""Layouts: no flips, no overlaps, known answers on surfaces that are flat or developable, any topology."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.errors import InputError
from mimicme.pipeline.geometry.layout_quality import crossings, measure, signed_areas
from mimicme.pipeline.geometry.unwrap import unwrap
from mimicme.pipeline.template.face_layout import face_density
from mimicme.pipeline.texture.raster import rasterise


def grid(n: int = 12, m: int | None = None):
    m = n if m is None else m
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, m + 1))
    i = (np.arange(n * m) // n) * (n + 1) + np.arange(n * m) % n
    faces = np.concatenate([np.stack([i, i + 1, i + n + 2], 1), np.stack([i, i + n + 2, i + n + 1], 1)])
    return np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1), faces.astype(np.int32)


def sphere(n: int = 16):
    """Closed, genus 0, counter-clockwise from outside."""
    t, p = np.meshgrid(np.arange(2 * n) * np.pi / n, np.arange(1, n) * np.pi / n)
    ring = np.stack([np.cos(t) * np.sin(p), np.cos(p), -np.sin(t) * np.sin(p)], -1).reshape(-1, 3)
    v = np.concatenate([ring, [[0, 1, 0], [0, -1, 0]]])
    w = 2 * n
    faces = []
    for r in range(n - 2):
        for c in range(w):
            a, b = r * w + c, r * w + (c + 1) % w
            faces += [[a, a + w, b], [b, a + w, b + w]]
    for c in range(w):
        faces += [[len(ring), c, (c + 1) % w], [len(ring) + 1, (n - 2) * w + (c + 1) % w, (n - 2) * w + c]]
    return v, np.array(faces, np.int32)


def bumpy():
    """An open bowl with a hole in its side: a disc with one opening."""
    v, f = grid(24)
    v = v.copy()
    v[:, 2] = 0.8 * np.exp(-(((v[:, :2] - 0.5) ** 2).sum(1)) / 0.05)
    centre = v[f].mean(1)
    return v, f[np.hypot(centre[:, 0] - 0.7, centre[:, 1] - 0.5) > 0.1]


def check(v, f, uv, uv_faces, size=256):
    assert uv.min() >= 0
    assert uv.max() <= 1
    quality = measure(v, f, uv, uv_faces)
    assert quality.flipped == 0
    assert quality.crossings == 0
    assert rasterise(uv, uv_faces, size).overlaps == 0
    return quality


def test_a_plane_is_laid_flat_without_distortion_and_upright():
    v, f = grid()
    uv, uv_faces = unwrap(v, f, upright=True)
    assert (uv_faces == f).all()
    quality = check(v, f, uv, uv_faces)
    assert quality.angle[1] < 1.01
    assert quality.area[0] > 0.98
    span = uv.max(0) - uv.min(0)
    affine = v[:, :2] * span + uv.min(0)
    assert np.abs(uv - affine).max() < 2e-3


def test_a_half_cylinder_is_developed():
    v, f = grid(20)
    a = np.pi * v[:, 0]
    rolled = np.stack([-np.cos(a), np.pi * v[:, 1], np.sin(a)], 1)
    quality = check(rolled, f, *unwrap(rolled, f, upright=True))
    assert quality.angle[0] < 1.02
    assert quality.area[0] > 0.97
    assert quality.area[1] < 1.03


def test_a_hole_stays_open_and_nothing_flips_on_a_bump():
    v, f = bumpy()
    uv, uv_faces = unwrap(v, f)
    check(v, f, uv, uv_faces)
    assert measure(v, f, uv, uv_faces).charts == 1


def test_turning_the_mesh_in_its_plane_changes_nothing_without_upright():
    v, f = bumpy()
    a = 0.7
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    first, second = measure(v, f, *unwrap(v, f)), measure(v @ turn.T + 5, f, *unwrap(v @ turn.T + 5, f))
    assert first.angle == pytest.approx(second.angle, abs=1e-3)
    assert first.area == pytest.approx(second.area, abs=1e-3)


def test_the_same_mesh_gives_the_same_bytes():
    v, f = bumpy()
    assert unwrap(v, f)[0].tobytes() == unwrap(v, f)[0].tobytes()


def test_density_gives_more_texture_where_it_is_asked_for():
    v, f = grid(16)
    left = v[:, 0] < 0.5
    uv, uv_faces = unwrap(v, f, np.where(left, 2.0, 1.0))
    area = signed_areas(uv, uv_faces)
    of_left = left[f].all(1)
    assert area[of_left].mean() > 2 * area[~of_left].mean()
    check(v, f, uv, uv_faces)


def test_a_closed_surface_is_cut_open():
    v, f = sphere()
    uv, uv_faces = unwrap(v, f)
    quality = check(v, f, uv, uv_faces)
    assert quality.charts >= 2


def test_pieces_lone_vertices_and_non_manifold_edges_are_tolerated():
    v, f = grid(6)
    fin = np.array(
        [[0, 0, 1.0], [5, 5, 5.0]]
    )  # a third triangle on an inner edge, and a vertex of no triangle
    other, g = bumpy()
    a, b = f[20, 0], f[20, 1]
    faces = np.concatenate([f, [[a, b, len(v)]], [[3, 3, 4]], g + len(v) + 2]).astype(np.int32)
    vertices = np.concatenate([v, fin, other + 3])
    uv, uv_faces = unwrap(vertices, faces)
    whole = np.array([len(set(t)) == 3 for t in faces.tolist()])
    assert (signed_areas(uv, uv_faces)[whole] > 0).all()
    assert crossings(uv, uv_faces[whole]) == 0
    assert signed_areas(uv, uv_faces)[~whole] == 0
    assert rasterise(uv, uv_faces, 256).overlaps == 0


def test_crossings_counts_a_border_that_crosses_itself():
    uv = np.array([[0, 0], [1, 0], [0.5, 1], [0, 0.5], [1, 0.4], [0.5, 0.9]], float)
    assert crossings(uv, np.array([[0, 1, 2], [3, 4, 5]], np.int32)) == 4
    assert crossings(uv[:3], np.array([[0, 1, 2]], np.int32)) == 0


def test_measure_sees_a_flipped_triangle_and_a_stretch():
    v, f = grid(2)
    uv = v[:, :2].copy()
    assert measure(v, f, uv, f).flipped == 0
    assert measure(v, f, uv * [2, 1], f).angle[0] == pytest.approx(2)
    uv[4] = [1.4, 0.5]  # the middle vertex leaves the square
    assert measure(v, f, uv, f).flipped > 0


def test_no_triangle_is_an_error():
    with pytest.raises(InputError, match="no triangle"):
        unwrap(np.zeros((3, 3)), np.array([[0, 0, 1]], np.int32))


def test_face_density_is_even_near_the_middle_and_falls_outwards():
    v, f = grid(20)
    v = (v - [0.5, 0.5, 0]) * 400
    points = np.zeros((68, 3))
    points[36:42, 0], points[42:48, 0] = -30, 30
    density = face_density(v, f, points)
    radius = np.linalg.norm(v, axis=1)
    assert density[radius < 50].min() > 0.95
    assert density[radius > 250].max() < 0.6
