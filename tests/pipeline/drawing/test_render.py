"""Pictures: where a point lands, what hides what, which colour is worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mimicme.pipeline.drawing.render import (
    BACKGROUND,
    GREY,
    Camera,
    color_map,
    contact_sheet,
    draw_crosses,
    draw_legend,
    draw_points,
    encode_picture,
    error_colors,
    facing,
    fit,
    look_at,
    render,
    sample_image,
    save_picture,
    trace,
)
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.geometry.mesh import Mesh

SQUARE = Mesh(
    np.array([[-10.0, -10, 0], [10, -10, 0], [10, 10, 0], [-10, 10, 0]]),
    np.array([[0, 1, 2], [0, 2, 3]], np.int32),
    np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]),
    np.array([[0, 1, 2], [0, 2, 3]], np.int32),
)
BLOCK = (
    np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8).repeat(8, 0).repeat(8, 1)
)


def background(picture: np.ndarray) -> np.ndarray:
    return (picture == np.array(BACKGROUND)).all(axis=-1)


@pytest.mark.parametrize("distance_mm", [float("inf"), 300.0])
@pytest.mark.parametrize("yaw_deg", [0.0, 35.0, -60.0])
def test_projection_agrees_with_ray_casting(yaw_deg: float, distance_mm: float) -> None:
    """Two routes: a triangle's corner projected, and the pixels that rays say it covers."""
    rng = np.random.default_rng(0)
    mesh = Mesh(rng.normal(scale=20, size=(3, 3)), np.array([[0, 1, 2]], np.int32))
    camera = look_at(mesh.vertices, yaw_deg, 12.0, (200, 160), distance_mm=distance_mm)
    seen = trace(mesh, camera)
    weights = seen.weights[seen.hit]
    points = np.einsum("kc,cx->kx", weights, mesh.vertices)
    rows, columns = np.nonzero(seen.hit)
    assert len(rows) > 100
    np.testing.assert_allclose(camera.project(points), np.stack([columns, rows], 1) + 0.5, atol=2e-2)
    np.testing.assert_allclose(seen.depth[seen.hit], camera.depth(points), atol=1e-3)


def test_axes_are_those_of_a_face() -> None:
    """+x (the subject's left) is to the right of the picture, +y is up, +z is nearer."""
    camera = look_at(np.array([[-10.0, -10, -10], [10, 10, 10]]), size=(100, 100))
    middle, left, up = camera.project(np.array([[0.0, 0, 0], [5, 0, 0], [0, 5, 0]]))
    np.testing.assert_allclose(middle, [50, 50])
    assert left[0] > middle[0] and left[1] == pytest.approx(middle[1])
    assert up[1] < middle[1] and up[0] == pytest.approx(middle[0])
    assert camera.depth(np.array([0.0, 0, 5])) > 0
    walked = look_at(np.zeros((1, 3)), yaw_deg=30.0)
    assert walked.axes[2, 0] > 0  # the camera has walked to the subject's left


def test_points_behind_a_pinhole_camera_are_nowhere() -> None:
    camera = look_at(SQUARE.vertices, size=(50, 50), distance_mm=100.0)
    assert np.isnan(camera.project(np.array([0.0, 0, 101]))).all()


def test_far_from_the_origin_the_picture_is_the_same() -> None:
    near = render(SQUARE, look_at(SQUARE.vertices, 20.0, 10.0, (60, 60)))
    moved = SQUARE.with_vertices(SQUARE.vertices + [5000.0, -3000, 70000])
    far = render(moved, look_at(moved.vertices, 20.0, 10.0, (60, 60)))
    assert (near != far).any(axis=-1).mean() < 0.01


def test_texture_has_v_up_and_no_light() -> None:
    picture = render(SQUARE, look_at(SQUARE.vertices, size=(64, 64)), image=BLOCK)
    quarter = [(16, 16), (16, 48), (48, 16), (48, 48)]
    assert [tuple(picture[p]) for p in quarter] == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]


def test_what_has_no_place_in_the_texture_is_grey() -> None:
    uv = SQUARE.uv.copy()
    uv[3] = np.nan  # of the second triangle alone
    picture = render(replace(SQUARE, uv=uv), look_at(SQUARE.vertices, size=(64, 64)), image=BLOCK)
    assert tuple(picture[48, 48]) == (255, 255, 0)
    assert tuple(picture[16, 16]) == GREY


def test_bilinear_sampling_hits_pixel_centres() -> None:
    image = np.array([[[0, 0, 0], [100, 0, 0]]], np.uint8)
    uv = np.array([[0.25, 0.5], [0.5, 0.5], [0.75, 0.5], [1.0, 0.0]])
    assert sample_image(image, uv)[:, 0].tolist() == [0, 50, 100, 100]


def test_back_faces_can_be_culled() -> None:
    behind = look_at(SQUARE.vertices, yaw_deg=180.0, size=(40, 40))
    assert not background(render(SQUARE, behind)).all()
    assert background(render(SQUARE, behind, cull_back=True)).all()
    assert not background(render(SQUARE, look_at(SQUARE.vertices, size=(40, 40)), cull_back=True)).all()
    assert not facing(SQUARE, behind).any()


def test_nearer_surfaces_hide_farther_ones() -> None:
    back = SQUARE.vertices * [0.5, 0.5, 1] + [0, 0, -5]
    both = Mesh(
        np.vstack([SQUARE.vertices, back]), np.vstack([SQUARE.faces, SQUARE.faces + 4]).astype(np.int32)
    )
    colors = np.array([[255, 0, 0]] * 4 + [[0, 0, 255]] * 4, np.uint8)
    front = render(both, look_at(both.vertices, size=(40, 40)), colors=colors, shading=0.0)
    behind = render(both, look_at(both.vertices, 180.0, size=(40, 40)), colors=colors, shading=0.0)
    assert tuple(front[20, 20]) == (255, 0, 0)
    assert tuple(behind[20, 20]) == (0, 0, 255)


def test_grey_is_brighter_towards_the_camera() -> None:
    tilted = SQUARE.with_vertices(SQUARE.vertices * [1, 1, 0] + SQUARE.vertices[:, :1] * [0, 0, 2.5])
    camera = look_at(SQUARE.vertices, size=(40, 40))
    flat, steep = render(SQUARE, camera)[20, 20, 0], render(tilted, camera)[20, 20, 0]
    assert 0 < steep < flat <= 255


def test_colours_fit_vertices_or_triangles() -> None:
    camera = look_at(SQUARE.vertices, size=(40, 40))
    by_triangle = render(SQUARE, camera, colors=np.array([[255, 0, 0], [0, 255, 0]], np.uint8), shading=0.0)
    assert {tuple(by_triangle[30, 30]), tuple(by_triangle[10, 10])} == {(255, 0, 0), (0, 255, 0)}
    with pytest.raises(InputError, match="colours"):
        render(SQUARE, camera, colors=np.zeros((3, 3), np.uint8))


def test_pictures_of_one_view_may_share_what_is_seen() -> None:
    camera = look_at(SQUARE.vertices, 20.0, 10.0, (24, 20))
    seen = trace(SQUARE, camera.resized(2))
    for more in ({}, {"colors": np.full((len(SQUARE.vertices), 3), 90, np.uint8)}, {"flat": True}):
        np.testing.assert_array_equal(
            render(SQUARE, camera, samples=2, seen=seen, **more), render(SQUARE, camera, samples=2, **more)
        )


def test_samples_smooth_the_edge_and_keep_the_size() -> None:
    camera = look_at(SQUARE.vertices, 25.0, 10.0, (50, 40))
    coarse, fine = render(SQUARE, camera), render(SQUARE, camera, samples=3)
    assert coarse.shape == fine.shape == (50, 40, 3)
    assert len(np.unique(fine)) > len(np.unique(coarse))


def test_an_empty_view_is_background() -> None:
    empty = Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int32))
    camera = Camera(np.zeros(3), np.eye(3), 1.0, (8, 8))
    assert background(render(empty, camera)).all()
    assert background(render(SQUARE.with_vertices(SQUARE.vertices + 500), camera)).all()


def test_larger_errors_are_lighter() -> None:
    colors = error_colors(np.linspace(0, 2, 100), 2.0).astype(float) / 255
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).mean() > 0.95
    assert luminance[-1] > 5 * luminance[0]
    assert (error_colors([5.0], 2.0) == error_colors([2.0], 2.0)).all()
    assert (error_colors([np.nan]) != color_map()).any(axis=1).all()


def test_points_are_drawn_where_they_are_and_nan_nowhere() -> None:
    blank = np.full((30, 40, 3), 255, np.uint8)
    out = draw_points(blank, [[10.5, 20.5], [np.nan, 3], [500, 500]], (200, 0, 0), 2.0, ["a", "b", "c"])
    assert tuple(out[20, 10]) == (200, 0, 0)
    rows, columns = np.nonzero((out != 255).any(axis=-1))
    assert rows.min() >= 10 and columns.max() < 30
    assert (blank == 255).all()  # the input is left alone


def test_crosses_are_drawn_where_they_are_and_nan_nowhere() -> None:
    grey = np.full((40, 60, 3), 120, np.uint8)
    out = draw_crosses(grey, [[20, 20], [np.nan, 3], [500, 500]], (240, 228, 66), 4.0, ["7", "8", "9"])
    for x, y in ((20, 20), (17, 17), (23, 17), (17, 23), (23, 23)):
        assert tuple(out[y, x]) == (240, 228, 66)
    assert tuple(out[20, 16]) == tuple(out[16, 20]) == (120, 120, 120)  # a cross, and no dot
    rows, columns = np.nonzero((out != 120).any(axis=-1))
    assert rows.min() >= 12 and rows.max() <= 28 and columns.min() >= 12 and columns.max() < 45
    assert (grey == 120).all()


def test_legend_and_contact_sheet_have_the_size_they_should() -> None:
    picture = np.zeros((90, 70, 3), np.uint8)
    with_legend = draw_legend(picture, 1.0)
    assert with_legend.shape[0] == 90 and with_legend.shape[1] > 70
    assert (with_legend[:, :70] == picture).all()
    sheet = contact_sheet([picture, picture, picture[:40]], ["one", "two\nlines", "x" * 300], 2, title="t")
    assert sheet.dtype == np.uint8 and sheet.shape[1] == 2 * 70 + 3 * 8
    with pytest.raises(InputError):
        contact_sheet([])
    with pytest.raises(InputError):
        contact_sheet([picture], ["a", "b"])
    assert fit(picture, (30, 100)).shape == (30, 100, 3)


def test_same_picture_same_bytes(tmp_path: Path) -> None:
    picture = render(SQUARE, look_at(SQUARE.vertices, 10.0, size=(40, 40)))
    assert encode_picture(picture) == encode_picture(picture.copy())
    save_picture(tmp_path / "deep" / "a.png", picture)
    assert (tmp_path / "deep" / "a.png").read_bytes() == encode_picture(picture)
    with pytest.raises(InputError):
        encode_picture(picture, "tga")


def test_points_in_a_view_are_seen_unless_something_stands_before_them():
    """Two sheets, one behind the other: the front one hides what lies behind it, from the front alone."""
    from mimicme.pipeline.drawing.render import seen_by
    from mimicme.pipeline.geometry.spatial import Surface

    corners = np.array([[-50.0, -50, 0], [50, -50, 0], [50, 50, 0], [-50, 50, 0]])
    vertices = np.concatenate([corners, corners * [2, 2, 1] - [0, 0, 30]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    surface = Surface(vertices, faces)
    points = np.array([[0.0, 0, 0], [0, 0, -30], [80, 0, -30], [np.nan, 0, 0], [500, 0, 0]])
    camera = look_at(vertices, size=(100, 200), margin=0.0)
    pixels, seen = seen_by(camera, points, surface)
    assert seen.tolist() == [True, False, True, False, False]
    np.testing.assert_allclose(pixels[0], [100, 50])
    np.testing.assert_allclose(pixels[2], camera.project(points[2]))
    _, behind = seen_by(look_at(vertices, 180.0, size=(100, 200)), points, surface)
    assert behind.tolist() == [False, True, True, False, False]
