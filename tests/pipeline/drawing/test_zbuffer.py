"""What a camera sees of a mesh, drawn into a depth buffer: closed forms, and rays as a second route."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.drawing.render import Camera, look_at
from mimicme.pipeline.drawing.zbuffer import fronts, interpolated
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.geometry.mesh import triangle_normals
from mimicme.pipeline.geometry.spatial import Surface

NOWHERE = np.zeros(3)


def grid(n: int, width: float, height_of=lambda x, y: 0 * x) -> tuple[np.ndarray, np.ndarray]:
    """A square sheet of n x n vertices that faces +z."""
    x, y = np.meshgrid(np.linspace(-width / 2, width / 2, n), np.linspace(-width / 2, width / 2, n))
    k = np.arange(n * n).reshape(n, n)
    a, b, c, d = k[:-1, :-1].ravel(), k[:-1, 1:].ravel(), k[1:, 1:].ravel(), k[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return np.stack([x.ravel(), y.ravel(), height_of(x, y).ravel()], axis=1), faces


def by_rays(vertices, faces, camera):
    origins, directions = camera.rays()
    hits = Surface(vertices, faces).cast(origins, directions)
    normals, _ = triangle_normals(vertices, faces)
    front = hits.hit & ((normals[hits.triangles] * directions).sum(axis=1) < 0)
    places = np.einsum("kc,kcx->kx", hits.weights, vertices[faces[hits.triangles]])
    return front, hits.triangles, camera.depth(places)


@pytest.mark.parametrize(("yaw", "pitch", "distance_mm"), [(0, 0, 800.0), (50, -20, 150.0), (-75, 10, 300.0)])
def test_drawing_agrees_with_ray_casting(yaw, pitch, distance_mm):
    """Two routes to one result: folds that hide each other, backs and borders among them."""
    vertices, faces = grid(50, 160.0, lambda x, y: 25 * np.sin(x / 9) * np.cos(y / 13) + 0.01 * x**2)
    vertices += np.random.default_rng(0).normal(size=vertices.shape) * 0.2
    camera = look_at(vertices, yaw, pitch, (90, 110), distance_mm=distance_mm)
    seen = fronts(vertices, faces, camera, NOWHERE)
    front, triangles, depth = by_rays(vertices, faces, camera)
    assert 300 < front.sum() < 9000
    assert (seen.front != front).sum() <= 3  # a ray of single precision may pass a border on its other side
    there = np.full(len(front), -1)
    there[seen.front] = seen.triangles
    both = seen.front & front
    assert (there != triangles)[both].mean() < 0.001
    np.testing.assert_allclose(seen.depth[both[seen.front]], depth[both], atol=0.05)


def test_weights_and_depth_are_those_of_the_place_that_the_pixel_shows():
    vertices, faces = grid(20, 100.0, lambda x, y: 0.004 * (x**2 - y**2))
    camera = look_at(vertices, 25.0, 10.0, (60, 80), distance_mm=200.0)
    seen = fronts(vertices - [5.0, 6.0, 7.0], faces, camera, np.array([5.0, 6.0, 7.0]))
    places = interpolated(seen, faces, vertices)
    rows, columns = np.nonzero(seen.front.reshape(60, 80))
    np.testing.assert_allclose(camera.project(places), np.stack([columns, rows], 1) + 0.5, atol=1e-6)
    np.testing.assert_allclose(camera.depth(places), seen.depth, atol=1e-6)
    np.testing.assert_allclose(seen.weights.sum(axis=1), 1, atol=1e-12)
    assert seen.weights.min() > -1e-9


def test_no_crack_is_left_where_pixels_lie_on_edges():
    """One pixel a millimetre, on the corners, the sides and the diagonals of the squares."""
    vertices, faces = grid(41, 40.0)
    camera = Camera(np.array([0.5, 0.5, 0.0]), np.eye(3), 1.0, (30, 30), 500.0)
    assert (np.abs(camera.project(vertices) % 1 - 0.5) < 1e-9).all()
    seen = fronts(vertices, faces, camera, NOWHERE)
    assert seen.front.all()
    np.testing.assert_allclose(seen.depth, 0, atol=1e-9)


def test_a_floor_that_goes_on_behind_the_eye_is_seen_up_to_the_horizon():
    """Two triangles, 10 mm below the eye: a ray that falls by y over 1 meets them 10 / y ahead."""
    floor = np.array([[-1e4, -10.0, 1e4], [1e4, -10.0, 1e4], [1e4, -10.0, -1e4], [-1e4, -10.0, -1e4]])
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    camera = Camera(np.array([0.0, 0.0, -100.0]), np.eye(3), 1.0, (40, 40), 100.0)  # the eye is at 0
    seen = fronts(floor, faces, camera, NOWHERE)
    below = np.arange(40) - 19.5
    expected = np.where(below > 0, 100 - 1000 / np.where(below > 0, below, 1), np.nan)
    depth = np.full(1600, np.nan)
    depth[seen.front] = seen.depth
    np.testing.assert_allclose(depth.reshape(40, 40), np.repeat(expected[:, None], 40, 1), atol=1e-6)
    assert not fronts(floor, faces[:, ::-1], camera, NOWHERE).front.any()
    assert not fronts(floor + [0, 0, 2.1e4], faces, camera, NOWHERE).front.any()  # all of it behind


def test_a_back_hides_what_lies_behind_it():
    sheet, faces = grid(2, 60.0)
    small, _ = grid(2, 20.0)
    camera = Camera(np.zeros(3), np.eye(3), 1.0, (40, 40), 400.0)
    both = np.concatenate([sheet, small + [0, 0, 30.0]])
    shown = {}
    for name, turned in (("front", faces), ("back", faces[:, ::-1])):
        shown[name] = fronts(both, np.concatenate([faces, turned + 4]), camera, NOWHERE)
    assert shown["front"].front.all()
    hidden = ~shown["back"].front.reshape(40, 40)
    assert hidden[20, 20] and 20 * 20 <= hidden.sum() <= 24 * 24
    assert set(np.round(shown["front"].depth, 6)) == {0.0, 30.0}


def test_the_nearest_is_seen_whatever_the_order_of_the_triangles():
    rng = np.random.default_rng(3)
    vertices = rng.normal(size=(300, 3)) * 30
    faces = np.arange(300, dtype=np.int32).reshape(100, 3)
    camera = look_at(vertices, size=(50, 50), distance_mm=300.0)
    one, other = (fronts(vertices, f, camera, NOWHERE) for f in (faces, faces[rng.permutation(100)]))
    np.testing.assert_array_equal(one.front, other.front)
    np.testing.assert_array_equal(one.depth, other.depth)


def test_what_has_no_area_or_no_place_is_not_seen():
    vertices = np.array(
        [[-9.0, -9, 0], [9, -9, 0], [0, 9, 0], [np.nan, 0, 0], [np.inf, 0, 0], [9, -9, 0], [18, -9, 0]]
    )
    camera = Camera(np.zeros(3), np.eye(3), 1.0, (20, 20), 100.0)
    for face in ([0, 1, 3], [3, 3, 3], [0, 1, 4], [0, 1, 6], [1, 1, 2]):
        assert not fronts(vertices, np.array([face], np.int32), camera, NOWHERE).front.any(), face
    assert fronts(vertices, np.array([[0, 1, 2]], np.int32), camera, NOWHERE).front.sum() > 100
    nothing = fronts(vertices, np.zeros((0, 3), np.int32), camera, NOWHERE)
    assert not nothing.front.any() and interpolated(nothing, np.zeros((0, 3), np.int32), vertices).shape == (
        0,
        3,
    )


def test_an_orthographic_camera_is_refused():
    with pytest.raises(InputError, match="pinhole"):
        fronts(
            np.zeros((3, 3)),
            np.array([[0, 1, 2]], np.int32),
            Camera(NOWHERE, np.eye(3), 1.0, (4, 4)),
            NOWHERE,
        )
