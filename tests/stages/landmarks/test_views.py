"""Holes of a scan in the pictures that networks look at."""

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh, keep_triangles
from mimicme.stages.landmarks.views import APART_MM, SKIN_FILLED_MM, Scene, head_camera

EYES, MOUTH = np.array([[-32.0, 30.0], [32.0, 30.0]]), np.array([0.0, -40.0])
CHEEK = np.array([-38.0, -5.0])


def marks():
    """(68, 3) mm of a flat face, eyes and mouth alone."""
    out = np.full((68, 3), np.nan)
    around = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    oval = np.stack([14 * np.cos(around), 5 * np.sin(around), 0 * around], axis=1)
    for start, (x, y) in zip((36, 42), EYES, strict=True):
        out[start : start + 6] = oval + [x, y, 0]
    around = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    out[48:68] = np.stack([25 * np.cos(around), MOUTH[1] + 8 * np.sin(around), 0 * around], axis=1)
    return out


def scan(*holes, colours=True):
    """A flat scan, mm, with holes ((x, y), radius)."""
    x, y = np.meshgrid(np.arange(-100.0, 101.0), np.arange(100.0, -101.0, -1.0))
    vertices = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    index = np.arange(x.size).reshape(x.shape)
    a, b, c, d = (k.ravel() for k in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)]).astype(np.int32)
    keep = np.ones(len(faces), bool)
    for middle, radius in holes:
        keep &= np.linalg.norm(vertices[faces].mean(axis=1)[:, :2] - middle, axis=1) > radius
    skin = np.full((len(vertices), 3), (200, 150, 120), np.uint8) if colours else None
    return Scene(keep_triangles(Mesh(vertices, faces, colors=skin), keep)[0], None)


def shown(scene, place, known=True):
    """Whether a picture shows something at a place (2,) mm of the scan."""
    camera = head_camera(np.eye(4))
    picture = scene.pictures(camera, creases=False, marks=marks() if known else None)[0]
    column, row = np.floor(camera.project(np.array([[*place, 0.0]]))[0]).astype(int)
    return bool(picture[row, column].max() > 0)


def test_a_hole_in_a_cheek_is_painted_over_once_eyes_and_mouth_are_known():
    scene = scan((CHEEK, 8.0))
    assert shown(scene, CHEEK) and not shown(scene, CHEEK, known=False)
    assert not shown(scan((CHEEK, SKIN_FILLED_MM + 2)), CHEEK)


@pytest.mark.parametrize("place", [*EYES, MOUTH, EYES[0] + [0, -5 - APART_MM - 4]])
def test_one_in_place_of_an_eye_or_a_mouth_or_close_to_it_stays(place):
    scene = scan((place, 8.0), (CHEEK + [0, -50], 8.0))
    assert not shown(scene, place) and shown(scene, CHEEK + [0, -50])


def test_holes_of_bare_scans_and_slits_stay_as_they_were():
    bare = scan((CHEEK, 8.0), colours=False)
    assert not shown(bare, CHEEK) and not shown(bare, CHEEK, known=False)
    slit = scan((EYES[0], 2.0))
    assert shown(slit, EYES[0]) and shown(slit, EYES[0], known=False)


def test_what_is_asked_of_one_camera_is_drawn_once(monkeypatch):
    scene, camera = scan(), head_camera(np.eye(4))
    alone = Scene(scene.mesh, None).depths(camera)
    drawn = []
    monkeypatch.setattr(scene, "_drawn", lambda at, draw=scene._drawn: drawn.append(at) or draw(at))
    scene.shown(camera)
    assert scene.coloured(camera).any() and len(drawn) == 1
    beside = head_camera(np.eye(4), yaw_deg=10.0)
    np.testing.assert_array_equal(scene.depths(beside), Scene(scene.mesh, None).depths(beside))
    np.testing.assert_array_equal(scene.depths(camera), alone)  # and not what the one in between saw
    assert drawn == [camera, beside, camera]
