"""cheeks: what the landmarks carry has not slid; what lies beside that has, by so much."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import transform, vertex_areas, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import MIRROR
from mimicme.pipeline.template import find_files, read_template
from mimicme.pipeline.template.face_core import FaceCore
from mimicme.stages.register.cheeks import OUTLINE, Cheeks
from mimicme.stages.register.notes import SLID_MM


@pytest.fixture(scope="module")
def face(small_template):
    file, marks = read_template(find_files(small_template))
    return np.asarray(file.mesh.vertices, float), file.mesh.faces, np.asarray(marks, float)


@pytest.fixture(scope="module")
def cheeks(face):
    vertices, faces, marks = face
    return Cheeks(vertices, faces, marks, core(face))


def core(face):
    """(V,) True on the face from brows to chin."""
    vertices, faces, marks = face
    return FaceCore.of(vertices, faces, vertex_areas(vertices, faces), marks).areas > 0


def slid(face, side, mm):
    """The face with a cheek slid down along the surface by so much in its middle."""
    vertices, faces, marks = face
    rows = OUTLINE if side == "right" else MIRROR[OUTLINE]
    middle = marks[rows].mean(axis=0)
    middle = vertices[np.linalg.norm(vertices - middle, axis=1).argmin()]
    weight = np.exp(-((np.linalg.norm(vertices - middle, axis=1) / 22) ** 2))[:, None]
    return Surface(vertices, faces).closest(vertices + weight * [0, -mm, 0]).points


def test_nothing_has_slid_at_rest_however_the_head_is_held(face, cheeks):
    vertices, _, marks = face
    turn = np.eye(4)
    turn[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
    turn[:3, 3] = 5, -3, 20
    assert cheeks.slide(vertices, marks) == pytest.approx(0, abs=1e-9)
    assert cheeks.slide(transform(turn, vertices), transform(turn, marks)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_slid_cheek_is_seen_on_either_side_and_by_how_much(face, cheeks, side):
    marks = face[2]
    little, much = (cheeks.slide(slid(face, side, mm), marks) for mm in (3.0, 9.0))
    assert little < SLID_MM < much < 9.0
    assert much == pytest.approx(3 * little, rel=0.35)


def test_a_cheek_that_goes_with_its_landmarks_has_not_slid(face, cheeks):
    """A smile pulls a corner of the mouth, and the skin between goes along."""
    vertices, _, marks = face

    def smile(points):
        weight = np.exp(-((np.linalg.norm(points - marks[48], axis=1) / 45) ** 2))[:, None]
        return points + weight * [-5.0, 8.0, 0]

    assert np.linalg.norm(smile(vertices) - vertices, axis=1).max() > 7
    assert cheeks.slide(smile(vertices), smile(marks)) < SLID_MM / 2


def test_along_the_normal_nothing_slides(face, cheeks):
    """A cheek that is blown up goes outwards."""
    vertices, faces, marks = face
    middle = marks[OUTLINE].mean(axis=0)
    weight = np.exp(-((np.linalg.norm(vertices - middle, axis=1) / 22) ** 2))[:, None]
    puffed = vertices + 6.0 * weight * vertex_normals(vertices, faces)
    assert cheeks.slide(puffed, marks) < SLID_MM / 2


def test_a_person_is_compared_with_their_own_neutral(face, cheeks):
    vertices, faces, marks = face
    own = slid(face, "left", 9.0)
    assert Cheeks(vertices, faces, marks, core(face)).of_person(own, marks).slide(
        own, marks
    ) == pytest.approx(0, abs=1e-9)
    assert cheeks.slide(own, marks) > SLID_MM


def test_a_template_without_cheeks_and_unknown_landmarks_say_nothing(face, cheeks):
    vertices, faces, marks = face
    assert np.isnan(Cheeks(vertices, faces, marks + 500.0, core(face)).slide(vertices, marks))
    missing = marks.copy()
    missing[40] = np.nan
    assert np.isnan(cheeks.slide(vertices, missing))
