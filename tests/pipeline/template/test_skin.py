"""A head's interior follows its skin: rigid bodies stay rigid, nothing comes out; without a mask nothing changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.errors import InputError
from mimicme.pipeline.geometry.mesh import lengths, transform, triangle_normals
from mimicme.pipeline.geometry.spatial import open3d
from mimicme.pipeline.template import load_prepared, save_prepared
from mimicme.pipeline.template.skin import REACH_MM, load_skin, skin_of

RADIUS = 9.0


def cheek(template):
    """(3,) the vertex in the middle of the right cheek."""
    middle = template.landmarks()[[3, 36, 48]].mean(axis=0)
    return template.vertices[np.argmin(lengths(template.vertices - middle))]


@pytest.fixture(scope="module")
def head(small_face):
    """The small face with two eyeballs, rigid, and a soft blob in its right cheek."""
    o3d = open3d()
    marks = small_face.landmarks()
    vertices, faces, masks = [small_face.vertices], [small_face.faces], {}
    balls = {
        "rigid_right_eye": marks[36:42].mean(axis=0) - [0, 0, RADIUS + 3],
        "rigid_left_eye": marks[42:48].mean(axis=0) - [0, 0, RADIUS + 3],
        "soft": cheek(small_face) - [0, 0, RADIUS + 5],
    }
    count = len(small_face.vertices)
    places = {}
    for name, middle in balls.items():
        ball = o3d.geometry.TriangleMesh.create_sphere(RADIUS, 10)
        own = np.asarray(ball.vertices) + middle
        vertices.append(own)
        faces.append(np.asarray(ball.triangles) + count)
        places[name] = np.arange(count, count + len(own))
        count += len(own)
    interior = np.zeros(count)
    interior[len(small_face.vertices) :] = 1
    masks["interior"] = interior
    for name in ("rigid_right_eye", "rigid_left_eye"):
        masks[name] = np.zeros(count)
        masks[name][places[name]] = 1
    faces = np.concatenate(faces).astype(np.int32)
    corner = np.full((len(faces) - len(small_face.faces), 3), len(small_face.uv), np.int32)
    return replace(
        small_face,
        vertices=np.concatenate(vertices),
        faces=faces,
        uv=np.concatenate([small_face.uv, np.zeros((1, 2))]),
        uv_faces=np.concatenate([small_face.uv_faces, corner]),
        masks=masks,
        digest="a head of the tests",
    )


def test_without_a_mask_the_skin_is_the_template(small_face):
    skin = skin_of(small_face)
    assert skin.skin is small_face and skin.whole(small_face.vertices) is small_face.vertices
    assert not len(skin.outside(small_face.vertices))


def test_the_skin_is_what_the_mask_leaves(head, small_face):
    skin = skin_of(head)
    assert (skin.skin.vertices == small_face.vertices).all() and (skin.skin.faces == small_face.faces).all()
    assert skin.skin.landmarks() == pytest.approx(small_face.landmarks())
    assert skin.skin.uv[skin.skin.uv_faces] == pytest.approx(small_face.uv[small_face.uv_faces])
    assert set(skin.skin.masks) == set()


def test_at_rest_and_in_rigid_motion_nothing_changes(head):
    skin = skin_of(head)
    assert skin.whole(head.vertices[skin.index]) == pytest.approx(head.vertices, abs=1e-9)
    turn = np.eye(4)
    turn[:3, :3] = [[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]]
    turn[:3, 3] = [5, -3, 20]
    moved = transform(turn, head.vertices)
    assert skin.whole(moved[skin.index]) == pytest.approx(moved, abs=2e-3)


def test_bodies_stay_rigid_and_grow_with_the_head(head):
    skin = skin_of(head)
    v = head.vertices[skin.index]
    frown = v + 3 * np.exp(-(lengths(v - head.landmarks()[19])[:, None] ** 2) / 400) * [0, 1, 0]
    for shape, size in ((frown, 1.0), (1.1 * v, 1.1)):
        whole = skin.whole(shape)
        for name in ("rigid_right_eye", "rigid_left_eye"):
            mine = head.masks[name] > 0
            radius = lengths(whole[mine] - whole[mine].mean(axis=0))
            assert radius.mean() == pytest.approx(size * RADIUS, rel=0.03)
            assert np.ptp(radius) < 0.2


def test_what_skin_would_cut_into_is_pushed_back(head):
    skin = skin_of(head)
    v = head.vertices[skin.index]
    eye = head.landmarks()[36:42].mean(axis=0)
    dented = v - 6 * np.exp(-(lengths((v - eye) * [1, 1, 0])[:, None] ** 2) / 100) * [0, 0, 1]
    left_there = head.vertices.copy()
    left_there[skin.index] = dented
    assert len(skin.outside(left_there)) > 3  # the measure sees it
    whole = skin.whole(dented)
    assert not len(skin.outside(whole))
    mine = head.masks["rigid_right_eye"] > 0
    assert head.vertices[mine, 2].mean() - whole[mine, 2].mean() > 0.4


def test_what_is_soft_stays_behind_the_skin(head):
    skin = skin_of(head)
    v = head.vertices[skin.index]
    at = cheek(head)
    pressed = v - 9 * np.exp(-(lengths((v - at) * [1, 1, 0])[:, None] ** 2) / 150) * [0, 0, 1]
    left_there = head.vertices.copy()
    left_there[skin.index] = pressed
    assert len(skin.outside(left_there))
    assert not len(skin.outside(skin.whole(pressed)))


def test_what_lies_deep_stays_where_skin_beside_it_has_an_edge(head):
    """The closest skin, far off and at a grazing angle, does not say that a point has come out."""
    skin = skin_of(head)
    cover = skin._interior.surface(head.vertices[skin.index])
    rim = head.vertices[skin.index][np.argmin(head.vertices[skin.index][:, 1])]
    deep = rim + np.array([0.0, -18.0, 4.0])
    assert cover.before(deep[None]).height[0] > 0.3
    assert not cover.before(deep[None], REACH_MM).through[0]
    corners = skin.skin.vertices[skin.skin.faces]
    over = corners.mean(axis=1) + 0.5 * triangle_normals(skin.skin.vertices, skin.skin.faces)[0]
    height, near = cover.before(over).height, cover.before(over, REACH_MM).height
    assert np.percentile(np.abs(height - near), 99) < 1e-3 and np.median(near) == pytest.approx(0.5, abs=1e-3)


def test_a_mask_that_covers_landmarks_is_refused(head):
    with pytest.raises(InputError, match="no skin with landmarks"):
        skin_of(replace(head, masks={"interior": np.ones(len(head.vertices))}, digest="all of it"))


def test_polygons_and_skin_are_kept_in_the_prepared_file(head, tmp_path):
    polygons = np.ones(len(head.faces), np.int32)
    save_prepared(replace(head, polygons=polygons), tmp_path / "prepared.h5")
    assert (load_prepared(tmp_path / "prepared.h5").polygons == polygons).all()
    assert len(load_skin(tmp_path / "prepared.h5").vertices) == (head.masks["interior"] == 0).sum()
