"""cover: where hair, clothes and a beard may lie over the skin of a template."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import vertex_areas
from mimicme.pipeline.landmarks import IBUG68
from mimicme.pipeline.template import find_files, read_template
from mimicme.pipeline.template.cover import BARE_BELOW_NOSE_MM, LIPS_MM, CoverRegions
from mimicme.pipeline.template.face_core import FaceCore


@pytest.fixture(scope="module")
def head(small_template):
    """Vertices (V, 3), landmarks (68, 3) and regions of a face."""
    file, marks = read_template(find_files(small_template))
    vertices, marks = np.asarray(file.mesh.vertices, float), np.asarray(marks, float)
    assert len(marks) == len(IBUG68)
    core = FaceCore.of(vertices, file.mesh.faces, vertex_areas(vertices, file.mesh.faces), marks)
    return vertices, marks, CoverRegions.of(vertices, marks, core)


def nearest(vertices, point):
    return int(np.linalg.norm(vertices - point, axis=1).argmin())


def test_a_beard_grows_on_the_chin_and_not_on_lips_nose_and_forehead(head):
    vertices, marks, regions = head
    chin = 0.5 * (marks[8] + marks[57])
    assert regions.bearded[nearest(vertices, chin)] == 1
    away = np.linalg.norm(vertices[:, None] - marks[48:60], axis=2).min(axis=1)
    assert not regions.bearded[away < LIPS_MM[0]].any()
    assert not regions.bearded[vertices[:, 1] > marks[33, 1] - BARE_BELOW_NOSE_MM].any()


def test_what_is_worn_lies_beyond_the_face_and_beside_the_beard(head):
    vertices, marks, regions = head
    assert not regions.worn[[nearest(vertices, point) for point in marks[27:68]]].any()
    assert regions.worn[vertices[:, 1].argmax()] == 1
    assert (regions.worn + regions.bearded + regions.beside).max() <= 1
    assert (regions.worn == 1).sum() > 20 and (regions.bearded == 1).sum() > 20


def test_long_hair_hangs_between_eyes_and_ears_above_where_a_beard_grows(head):
    vertices, marks, regions = head
    beside = regions.beside > 0
    assert beside.sum() > 20
    assert (np.abs(vertices[beside, 0]) > min(abs(marks[36, 0]), abs(marks[45, 0]))).all()
    assert vertices[beside, 1].min() > marks[33, 1] - 2 * BARE_BELOW_NOSE_MM
    assert not regions.beside[[nearest(vertices, point) for point in marks[27:68]]].any()
    # of each side, and what nobody else looks at: between the core and what is worn
    assert (vertices[beside, 0] < 0).any() and (vertices[beside, 0] > 0).any()
