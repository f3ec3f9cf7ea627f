"""The upper face by its shape: the template's own one, made another person's, is found from points that are off."""

from types import SimpleNamespace

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh, keep_triangles, transform
from mimicme.pipeline.landmarks import GROUPS
from mimicme.stages.landmarks.upper_face import (
    GROUPS_FOUND,
    INNER_CORNERS,
    NOSE_PARTS,
    UPPER,
    between_shape,
    find_upper_face,
    follow_upper_face,
    nose_aside,
    nose_shape,
    upper_face_of,
)
from mimicme.stages.landmarks.views import Scene

BROWS = slice(GROUPS["left_eyebrow"].start, GROUPS["right_eyebrow"].stop)
EYES = slice(GROUPS["left_eye"].start, GROUPS["right_eye"].stop)


@pytest.fixture(scope="module")
def template(small_face):
    return small_face


def another(points, marks):
    """Points (n, 3) of a face whose nose is longer, whose face is narrower above, and whose brow stands out."""
    up = points[:, 1] - marks[33, 1]
    share = np.clip(up / 60, 0, 1.5)
    out = points.copy()
    out[:, 1] += 7 * share
    out[:, 0] *= 1 - 0.08 * share
    out[:, 2] += 4 * share**2
    return out


def as_networks_have_them(points):
    """Landmarks (68, 3) as on bare skin: brows a centimetre up, eyes beside, the jaw unknown."""
    out = points.copy()
    out[:17] = np.nan
    out[BROWS] += [2, 11, 3]
    out[EYES] += [-3, -5, 0]
    return out


def off(found, true):
    return np.linalg.norm(found - true, axis=-1)


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.2])
def test_another_person_s_brows_and_eyes_are_found_however_the_head_lies(template, scale):
    """The landmarks' triangles are the truth; the template's, put where the nose and mouth are, are 4 to 8 mm off."""
    marks = template.landmarks()
    motion = np.eye(4)
    motion[:3, :3] = scale * np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    motion[:3, :3] *= np.sign(np.linalg.det(motion[:3, :3]))
    motion[:3, 3] = [30, -200, 50]
    true = transform(motion, another(marks, marks))
    scan = transform(motion, another(template.vertices, marks))
    points = as_networks_have_them(true)
    found, evidence = find_upper_face(upper_face_of(template), scan, template.faces, points)
    assert off(points[BROWS], true[BROWS]).min() > 10
    assert off(found, true[UPPER]).mean() < 1.2 * scale and off(found, true[UPPER]).max() < 3.5 * scale
    assert evidence.min() > 0.8


def test_what_is_not_there_is_not_told(template):
    marks = template.landmarks()
    face = upper_face_of(template)
    points = as_networks_have_them(marks)
    away, evidence = find_upper_face(face, template.vertices + [0, 500.0, 0], template.faces, points)
    assert (evidence == 0).all() and np.isfinite(away).all()
    below = template.vertices[:, 1] < marks[27, 1] - 12
    cut = keep_triangles(Mesh(template.vertices, template.faces), below[template.faces].all(axis=1))[0]
    found, evidence = find_upper_face(face, cut.vertices, cut.faces, points)
    assert np.isfinite(found).all()
    # all of the brows but their outer ends, which temples lie below; tip and base of the nose
    assert evidence[2:8].max() < 0.5 < evidence[13:19].min()


def test_another_surface_is_no_face(template):
    """A ball with the points of a face on it."""
    marks = template.landmarks()
    theta, phi = np.meshgrid(np.linspace(0.05, 3.1, 60), np.linspace(0, 2 * np.pi, 90), indexing="ij")
    ball = 95 * np.stack([np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)], axis=-1)
    ball += marks[30] - [0, 0, 95]
    index = np.arange(ball.shape[0] * ball.shape[1]).reshape(ball.shape[:2])
    a, b, c, d = (x.ravel() for x in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    faces = np.concatenate([np.stack([a, c, b], axis=1), np.stack([a, d, c], axis=1)]).astype(np.int32)
    _, evidence = find_upper_face(upper_face_of(template), ball.reshape(-1, 3), faces, marks)
    assert evidence[UPPER >= 27].mean() < 0.4


def test_the_networks_count_where_they_agree(template):
    marks = template.landmarks()
    face = upper_face_of(template)
    bare = Scene(Mesh(template.vertices, template.faces), None)
    near, far = marks.copy(), marks.copy()
    near[EYES] += [0, 1.0, 0]
    far[EYES] += [0, 12.0, 0]
    exact, _ = follow_upper_face(face, bare, marks)
    drawn, evidence = follow_upper_face(face, bare, near)
    left, _ = follow_upper_face(face, bare, far)
    assert evidence[UPPER].min() > 0.9 and not evidence[:17].any() and not evidence[48:].any()
    assert 0.25 < (drawn - exact)[EYES, 1].mean() < 0.6
    assert abs((left - exact)[EYES, 1].mean()) < 0.5
    assert np.array_equal(drawn[48:], near[48:])
    colours = np.full((len(template.vertices), 3), 150, np.uint8)
    painted = Scene(Mesh(template.vertices, template.faces, colors=colours), None)
    for there in (follow_upper_face(face, painted, far), follow_upper_face(None, bare, far)):
        assert np.array_equal(there[0], far) and not there[1].any()


def test_of_a_coloured_face_nose_and_inner_corners_lie_between_shape_and_networks(template):
    """Another person's, drawn with the nose aside, its bridge too high, and the eyes too narrow."""
    marks = template.landmarks()
    face = upper_face_of(template)
    true, vertices = another(marks, marks), another(template.vertices, marks)
    colours = np.full((len(vertices), 3), 150, np.uint8)
    painted = Scene(Mesh(vertices, template.faces, colors=colours), None)
    drawn = true.copy()
    drawn[27:31] += [0, 3.0, 0]
    drawn[31:36] += [3.0, 0, 0]
    drawn[39] += [-2.0, 0, 0]
    drawn[42] += [2.0, 0, 0]
    places, shown = nose_shape(face, painted, drawn)
    found = between_shape(drawn, places, shown)
    moved = np.concatenate([np.arange(68)[part] for part in (*NOSE_PARTS, *INNER_CORNERS)])
    kept = np.setdiff1d(np.arange(68), moved)
    assert np.array_equal(moved, [*range(27, 36), 39, 42])
    before, after = off(drawn[moved], true[moved]), off(found[moved], true[moved])
    assert after[:9].mean() < 0.6 * before[:9].mean() and 0.5 < after[9:].mean() < 0.9 * before[9:].mean()
    assert np.array_equal(found[kept], drawn[kept])
    assert shown[UPPER].min() > 0.8 and not np.delete(shown, UPPER).any()
    np.testing.assert_allclose(nose_aside(drawn, places, shown), [3, 0, 0], atol=1.2)


def test_what_shows_no_nose_leaves_a_coloured_face_to_the_networks(template):
    marks = template.landmarks()
    face = upper_face_of(template)
    colours = np.full((len(template.vertices), 3), 150, np.uint8)
    away = Scene(Mesh(template.vertices + [0, 500.0, 0], template.faces, colors=colours), None)
    bare = Scene(Mesh(template.vertices, template.faces), None)
    for which, scene in ((face, away), (face, bare), (None, away)):
        places, shown = nose_shape(which, scene, marks)
        assert not shown.any() and not nose_aside(marks, places, shown).any()
        np.testing.assert_allclose(between_shape(marks, places, shown), marks, atol=1e-9)


def test_each_point_found_is_of_one_group():
    rows = np.concatenate([np.arange(68)[group] for group in GROUPS_FOUND])
    assert np.array_equal(np.sort(rows), UPPER)


def test_a_template_with_other_landmarks_has_no_upper_face(template):
    few = SimpleNamespace(landmark_vertices=template.landmark_vertices[17:])
    assert upper_face_of(few) is None
