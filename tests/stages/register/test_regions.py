"""regions: a bowl is recessed, and ears are found beside a head and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.ambient_occlusion import sky_visibility
from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.stages.register.regions import ears


def sphere(radius: float, centre=(0, 0, 0), rings: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Latitude-longitude sphere, normals outwards."""
    theta, phi = np.meshgrid(
        np.linspace(0.05, np.pi - 0.05, rings), np.linspace(0, 2 * np.pi, 2 * rings), indexing="ij"
    )
    v = radius * np.stack([np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)], -1)
    k = np.arange(theta.size).reshape(theta.shape)
    a, b, c, d = (q.ravel() for q in (k[:-1, :-1], k[:-1, 1:], k[1:, :-1], k[1:, 1:]))
    f = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    return v.reshape(-1, 3) + centre, f.astype(np.int32)


def test_a_convex_surface_sees_the_whole_sky():
    v, f = sphere(30)
    assert (vertex_normals(v, f) * v).sum() > 0
    np.testing.assert_allclose(sky_visibility(v, f), 1)


def test_the_inside_of_a_bowl_does_not():
    v, f = sphere(20)
    keep = (v[f][:, :, 1] < 0).all(axis=1)
    inside = sky_visibility(v, f[keep][:, ::-1])  # normals inwards, open at the top
    used = np.unique(f[keep])
    bottom = used[np.argmin(v[used, 1])]
    # from the bottom of a hemisphere the opening spans 45 degrees to each side: cosine-weighted, half of the sky
    assert inside[bottom] == pytest.approx(0.5, abs=0.06)


def test_some_places_see_what_they_see_among_all():
    v, f = sphere(20)
    f = f[(v[f][:, :, 1] < 0).all(axis=1)][:, ::-1]
    some = np.array([5, 700, 1500])
    np.testing.assert_array_equal(sky_visibility(v, f, some), sky_visibility(v, f)[some])


def head() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ball with a bowl-shaped ear at either side, and landmarks where a face of that size has its jaw."""
    ball, faces = sphere(75)
    parts, triangles = [ball], [faces]
    for side in (-1, 1):
        v, f = sphere(14, rings=20)
        keep = (side * v[f][:, :, 0] < 0).all(axis=1)  # the half towards the head, seen from inside
        triangles.append(f[keep][:, ::-1] + sum(len(p) for p in parts))
        parts.append(v + [side * 84.0, 5, -12])
    landmarks = np.zeros((68, 3))
    t = np.linspace(-np.pi / 2, np.pi / 2, 17)
    landmarks[:17] = np.stack([72 * np.sin(t), 20 - 70 * np.cos(t), 40 * np.cos(t) + 10], axis=1)
    return np.concatenate(parts), np.concatenate(triangles).astype(np.int32), landmarks


def test_ears_are_found_beside_the_head():
    v, f, landmarks = head()
    masks = ears(v, f, landmarks)
    ball = len(sphere(75)[0])
    each = (len(v) - ball) // 2
    used = np.isin(np.arange(len(v)), f)
    left, right = np.zeros(len(v), bool), np.zeros(len(v), bool)
    left[ball : ball + each], right[ball + each :] = True, True
    assert masks[left & used, 0].min() > 0.9 and masks[right & used, 1].min() > 0.9
    assert not masks[left, 1].any() and not masks[right, 0].any()
    face = np.flatnonzero(v[:ball, 2] > 20)
    assert not masks[face].any()
    np.testing.assert_array_equal((masks >= 0) & (masks <= 1), True)


def test_a_face_without_ears_has_none(dome):
    template = dome.template()
    assert not ears(template.vertices, template.faces, template.landmarks()).any()
