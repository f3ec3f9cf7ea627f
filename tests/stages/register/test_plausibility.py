"""plausibility: what a person sees at a glance, on a face that is spoiled in known ways."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import transform, vertex_areas
from mimicme.pipeline.geometry.rigid import fit_rigid
from mimicme.pipeline.landmarks import GROUPS, MIRROR
from mimicme.pipeline.template import find_files, read_template
from mimicme.pipeline.template.eyelids import lid_opening
from mimicme.stages.register.notes import ASKEW_MM, ASKEW_RELIEF, MISPLACED_RELIEF, OTHER_BONE_MM
from mimicme.stages.register.plausibility import (
    Plausibility,
    ear_drape,
    lids_open,
    lids_shut,
    mouth_asymmetry,
    tucked_in,
)
from mimicme.stages.register.regions import ears
from mimicme.stages.register.stabilisation import skull_weights


@pytest.fixture(scope="module")
def face(small_template):
    file, marks = read_template(find_files(small_template))
    mesh = file.mesh
    return np.asarray(mesh.vertices, float), mesh.faces, np.asarray(marks, float)


@pytest.fixture(scope="module")
def plausibility(face):
    vertices, faces, marks = face
    nothing = np.zeros(len(vertices), bool)
    skull = skull_weights(vertices, marks, vertex_areas(vertices, faces))
    return Plausibility(vertices, faces, marks, ears(vertices, faces, marks), nothing, nothing, skull)


def head_pose(yaw_deg, shift):
    """(4, 4) of a head turned to a side and moved."""
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]], shift
    return out


def symmetric(marks):
    """Landmarks that are their own mirror image."""
    return (marks + marks[MIRROR] * [-1, 1, 1]) / 2


def about(face, group, width):
    """(V, 1) 1 at a group of landmarks, falling to 0 around."""
    vertices, _, marks = face
    away = np.linalg.norm(vertices[:, None] - marks[group][None], axis=2).min(axis=1)
    return np.exp(-((away / width) ** 2))[:, None]


def carried(face, vertices):
    """The landmarks of a moved face: those of the nearest vertices."""
    rest, _, marks = face
    nearest = np.linalg.norm(marks[:, None] - rest[None], axis=2).argmin(axis=1)
    return vertices[nearest]


def test_the_template_itself_is_plausible(face, plausibility):
    vertices, _, marks = face
    found = plausibility.measure(vertices, marks, marks)
    assert found.mouth_relief == pytest.approx(1.0)
    assert found.lids_shut == 0 and found.lids_folded == 0
    assert found.ear_drape == pytest.approx(0, abs=1e-6)


def test_nothing_depends_on_how_the_head_is_held(face, plausibility):
    vertices, _, marks = face
    turn = np.eye(4)
    turn[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
    turn[:3, 3] = 5, -3, 20
    moved = transform(turn, marks)
    assert mouth_asymmetry(moved) == pytest.approx(mouth_asymmetry(marks), abs=1e-9)
    found = plausibility.measure(transform(turn, vertices), moved, moved)
    assert found.mouth_relief == pytest.approx(1.0)
    assert found.ear_drape == pytest.approx(0, abs=1e-6)


def test_a_mouth_moved_aside_is_as_askew_as_it_was_moved(face):
    marks = symmetric(face[2])
    assert mouth_asymmetry(marks) == pytest.approx(0, abs=1e-9)
    aside = marks.copy()
    aside[GROUPS["mouth"]] += [7.0, 0, 0]
    assert mouth_asymmetry(aside) == pytest.approx(7.0)
    lower = marks.copy()
    lower[GROUPS["mouth"]] -= [0, 7.0, 0]
    assert mouth_asymmetry(lower) == pytest.approx(0, abs=1e-9)
    lower[50] = np.nan
    assert np.isnan(mouth_asymmetry(lower))


@pytest.mark.parametrize(
    ("by", "most"),
    [((9.0, 0, 0), ASKEW_RELIEF), ((0, -9.0, 0), MISPLACED_RELIEF), ((0, 9.0, 0), MISPLACED_RELIEF)],
)
def test_lips_that_have_slid_off_the_lips_lose_their_relief(face, plausibility, by, most):
    from mimicme.pipeline.geometry.spatial import Surface

    vertices, faces, marks = face
    slid = Surface(vertices, faces).closest(vertices + about(face, GROUPS["mouth"], 15.0) * by).points
    found = plausibility.measure(slid, carried(face, slid), marks)
    assert found.mouth_relief < most
    assert by[0] == 0 or found.mouth_asymmetry > ASKEW_MM
    smile = vertices + about(face, [48, 54], 15.0) * [0, 4.0, -2.0]
    assert plausibility.measure(smile, carried(face, smile), marks).mouth_relief > 0.8


def test_lids_that_are_less_open_than_the_landmarks_say(face):
    given = face[2].copy()
    shut = given.copy()
    for upper, lower in ((37, 41), (38, 40)):
        shut[upper] = shut[lower]
    reference = given.copy()
    opening = lid_opening(given, reference, "left_eye")
    assert opening > 5
    assert lids_shut(shut, given, reference) == pytest.approx(opening)
    assert lids_shut(given, shut, reference) == pytest.approx(0, abs=1e-9)  # the other eye is as it was
    given[[37, 43]] = np.nan
    assert np.isnan(lids_shut(shut, given, reference))


def test_lids_that_are_open_where_the_landmarks_are_shut(face):
    """Each eye by itself, and only where its landmarks say shut: what they say of an open one is no matter of this."""
    reference = face[2].copy()
    wink, narrow = reference.copy(), reference.copy()
    for upper, lower in ((37, 41), (38, 40)):
        wink[upper] = wink[lower]
        narrow[upper] = (narrow[upper] + narrow[lower]) / 2
    opening = lid_opening(reference, reference, "left_eye")
    assert lids_open(reference, wink, reference, "left_eye") == pytest.approx(opening)
    assert lids_open(reference, wink, reference, "right_eye") == 0
    assert lids_open(wink, wink, reference, "left_eye") == pytest.approx(0, abs=1e-9)
    assert lids_open(wink, reference, reference, "left_eye") == 0
    assert lids_open(reference, narrow, reference, "left_eye") == 0
    wink[37] = np.nan
    assert np.isnan(lids_open(reference, wink, reference, "left_eye"))


def test_a_lid_folded_over_itself_is_counted(face, plausibility):
    vertices, _, marks = face
    folded = vertices + about(face, [37, 38], 2.5) * [0, 9.0, 0]
    assert plausibility.measure(folded, marks, marks).lids_folded > 0.012


def test_where_shut_lids_meet_their_rims_turn_in_and_that_is_no_fold(face):
    reference = face[2]
    wink = reference.copy()
    for upper, lower in ((37, 41), (38, 40)):  # the image's left eye: the subject's right
        wink[upper] = wink[lower]
    seam = (wink[36] + wink[41]) / 2
    places = seam + np.array([[0, 0.5, -2.0], [0, -1.0, 0], [0, 3.0, 0], [0, -3.0, 0]])
    assert tucked_in(places, wink, reference).tolist() == [True, True, False, False]
    assert not tucked_in(places, reference, reference).any()
    other_eye = places + wink[42] - wink[36]
    assert not tucked_in(other_eye, wink, reference).any()
    unknown = wink.copy()
    unknown[37] = np.nan
    assert not tucked_in(places, unknown, reference).any()


def test_a_shut_lid_that_is_folded_away_from_its_rim_is_counted(face, plausibility):
    """The rim alone is let off: skin folded over above it is seen."""
    vertices, _, marks = face
    wink = marks.copy()
    wink[[37, 38]] = wink[[41, 40]]
    wink[[43, 44]] = wink[[47, 46]]
    folded = vertices + about(face, [37, 38], 2.5) * [0, 9.0, 0]
    assert plausibility.measure(folded, wink, wink).lids_folded > 0.012


def test_an_ear_may_move_and_grow_but_not_unfold(face):
    rng = np.random.default_rng(0)
    ear = rng.normal(scale=10, size=(80, 3))
    turn = fit_rigid(rng.normal(size=(9, 3)), rng.normal(size=(9, 3)))
    assert ear_drape(ear, 1.2 * transform(turn, ear)) == pytest.approx(0, abs=1e-6)
    hanging = ear + np.maximum(ear[:, 1:2], 0) * [0, 0, -1.0]
    assert ear_drape(ear, hanging) > 3.4


def test_an_ear_of_the_same_person_does_not_lean_back(face):
    """Another person's may be set at another angle; the own ear, 60 mm high, tipped back by 15 mm has draped."""
    rng = np.random.default_rng(0)
    ear = rng.uniform([-4, 0, -15], [4, 60, 15], size=(400, 3))
    leaning = ear + ear[:, 1:2] / 60 * [0, -4.0, -15.0]
    assert ear_drape(ear, leaning) < 3.4 < ear_drape(ear, leaning, same_person=True)
    assert ear_drape(ear, ear + [1.0, 2.0, 1.0], same_person=True) == pytest.approx(0, abs=1e-9)


def test_a_person_has_the_ears_of_their_neutral(face, plausibility):
    """Other ears than the template's are theirs; if they lose that shape later, it is said."""
    vertices, faces, marks = face
    masks = ears(vertices, faces, marks)
    share = masks.max(axis=1, keepdims=True)
    own = vertices + share * np.sin(vertices[:, 1:2] / 4) * [0, 0, 9.0]
    personal = plausibility.of_person(own, marks)
    assert plausibility.measure(own, marks, marks).ear_drape > 3.4
    assert personal.measure(own, marks, marks).ear_drape == pytest.approx(0, abs=1e-6)
    assert personal.measure(vertices, marks, marks).ear_drape > 3.4


def test_bone_is_that_of_the_neutral_however_a_face_moves(face, plausibility):
    """Turned, with raised brows and an open mouth it is the same; another head's is not."""
    vertices, _, marks = face
    person = plausibility.of_person(vertices, marks)
    assert np.isnan(plausibility.measure(vertices, marks, marks).bone_apart)

    def apart(moved):
        return person.measure(moved, marks, marks).bone_apart

    turned = transform(head_pose(20.0, [5.0, -3.0, 40.0]), vertices)
    assert apart(vertices) == pytest.approx(0, abs=1e-9) and apart(turned) == pytest.approx(0, abs=1e-6)
    raised = vertices + (vertices[:, 1:2] > marks[17:27, 1].min()) * [0, 8.0, 0]
    opened = raised - (vertices[:, 1:2] < marks[60, 1]) * [0, 25.0, 0]
    assert apart(opened) < 0.1
    assert apart(vertices * 1.07) > OTHER_BONE_MM
    assert apart(vertices * [0.88, 1.0, 1.1]) > OTHER_BONE_MM  # narrower, and deeper
    assert apart(vertices * 1.01) < OTHER_BONE_MM / 2


def test_a_template_without_a_mouth_or_ears_says_nothing(face):
    vertices, faces, marks = face
    none = Plausibility(
        vertices,
        faces,
        marks + 500,
        np.zeros((len(vertices), 2)),
        *np.zeros((2, len(vertices)), bool),
        np.zeros(len(vertices)),
    )
    found = none.measure(vertices, np.full((68, 3), np.nan), np.full((68, 3), np.nan))
    assert np.isnan(found).all()
