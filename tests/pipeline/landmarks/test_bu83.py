"""Of 83 points those that are points of iBUG-68: in either order, however the contours run, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from bu_files import KNOWN, bnd, bndplus, points_83

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.landmarks import MIRROR
from mimicme.pipeline.landmarks.files import read_points


@pytest.fixture(scope="module")
def face(small_template) -> np.ndarray:
    """The 68 points of the small template, mm."""
    path = small_template.with_suffix(".ljson")
    return read_points(path.read_bytes(), path.name)


def taken(found: np.ndarray) -> list[int]:
    return np.flatnonzero(np.isfinite(found[:, 0])).tolist()


def turned() -> np.ndarray:
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    return rotation * np.sign(np.linalg.det(rotation))


@pytest.mark.parametrize("brows_first", [False, True])
@pytest.mark.parametrize(("write", "name"), [(bnd, "a.bnd"), (bndplus, "a.bndplus")])
def test_the_points_that_correspond(face, brows_first, write, name) -> None:
    for rotation in (np.eye(3), turned()):
        there = face @ rotation.T + [10, -20, 300]
        found = read_points(write(points_83(there, brows_first)), name)
        assert taken(found) == sorted(KNOWN)
        np.testing.assert_allclose(found[sorted(KNOWN)], there[sorted(KNOWN)], atol=1e-6)


def test_contours_may_begin_anywhere_and_run_either_way(face) -> None:
    points = points_83(face)
    for part in (slice(0, 8), slice(8, 16), slice(16, 26), slice(26, 36), slice(48, 60), slice(60, 68)):
        points[part] = np.roll(points[part], 3, axis=0)[::-1]
    found = read_points(bnd(points), "a.bnd")
    np.testing.assert_allclose(found[list(KNOWN)], face[list(KNOWN)], atol=1e-6)


@pytest.mark.parametrize("sides", ["image", "subject"])
def test_whose_left_comes_first(face, sides) -> None:
    """BU-3DFE begins with the image's left; BP4D+ does not say it, and the nose tells."""
    there = points_83(face, brows_first=True)
    for pair in ((slice(0, 10), slice(10, 20)), (slice(20, 28), slice(28, 36))):
        there[pair[0]], there[pair[1]] = there[pair[1]].copy(), there[pair[0]].copy()
    found = read_points(bndplus(there), "a.bndplus", sides)
    np.testing.assert_allclose(found[list(KNOWN)], face[list(KNOWN)], atol=1e-6)
    in_a_mirror = points_83(face * [-1, 1, 1])
    found = read_points(bnd(in_a_mirror), "a.bnd", sides)  # it stays one, which others find out by the nose
    np.testing.assert_allclose(found[36], face[36] * [-1, 1, 1], atol=1e-6)
    assert MIRROR[36] == 45


def test_points_whose_definition_does_not_fit_are_left_out(face) -> None:
    points = points_83(face)
    points[48:60] = np.roll(points[48:60], 1, axis=0)
    points[50] = points[50] + [80, 0, 0]  # a corner that is not opposite the other
    points[75] += [0, 12, 0]  # the chin is not the lowest point
    points[62:64] = np.nan
    found = read_points(bnd(points), "a.bnd")
    assert taken(found) == sorted(set(KNOWN) - {8, 51, 57, 62, 66})


def test_absent_points_are_absent(face) -> None:
    points = points_83(face)
    points[16:26] = np.nan
    assert taken(read_points(bnd(points), "a.bnd")) == sorted(set(KNOWN) - {17, 21})


def test_closed_lips_keep_their_order(face) -> None:
    there = face.copy()
    there[65:68] = there[[63, 62, 61]] - [0, 1e-3, 0]
    found = read_points(bnd(points_83(there)), "a.bnd")
    assert found[62, 1] > found[66, 1]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: np.random.default_rng(0).normal(size=(83, 3)), "not told apart"),
        (lambda p: np.zeros((83, 3)), "not told apart"),
        (lambda p: np.where(np.arange(83)[:, None] < 8, np.nan, p), "an eye or the mouth"),
        (lambda p: np.where((np.arange(83)[:, None] >= 48) & (np.arange(83)[:, None] < 60), np.nan, p), "the mouth"),
        (lambda p: p * 1e300, "not told apart"),
    ],
)  # fmt: skip
def test_83_points_of_another_kind_are_refused(face, spoil, words) -> None:
    with pytest.raises(FrameRejected, match=words) as caught:
        read_points(bnd(spoil(points_83(face))), "a.bnd")
    assert caught.value.reason == "landmark-scheme"


def test_without_a_nose_left_and_right_of_bp4d_are_not_guessed(face) -> None:
    for nose in (np.nan, 0.0):
        points = points_83(face, brows_first=True)
        flat = (points[20:36].mean(axis=0) + points[48:60].mean(axis=0)) / 2
        points[36:48] = flat + nose
        with pytest.raises(FrameRejected, match="the nose"):
            read_points(bndplus(points), "a.bndplus")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("1 2 3\n" * 83, "a.bnd"),
        ("1 2 3 4 5\n" * 83, "a.bndplus"),
        ("1,2\n" * 83, "a.bndplus"),
        ("1,2,3\n" * 82 + "1,2,3,4\n", "a.bndplus"),
        ("a,b,c\n" * 83, "a.bndplus"),
    ],
)
def test_lines_of_another_kind_are_refused(content, name) -> None:
    with pytest.raises(FrameRejected) as caught:
        read_points(content.encode(), name)
    assert caught.value.reason == "landmark-file"


def test_68_points_are_ibugs(face) -> None:
    np.testing.assert_array_equal(read_points(bndplus(face), "a.bndplus"), face)
    with pytest.raises(FrameRejected, match="49 points"):
        read_points(bndplus(face[:49]), "a.bndplus")


def test_the_order_is_that_of_menpo() -> None:
    """Its labeller says which runs of the 83 points are what; it calls the subject's right right."""
    from menpo.landmark.labels.human.face_3d import face_bu3dfe_83_to_face_bu3dfe_83 as label
    from menpo.shape import PointCloud

    _, runs = label(PointCloud(np.random.default_rng(0).normal(size=(83, 3))), return_mapping=True)
    for name, first, last in (
        ("right_eye", 0, 7),
        ("left_eyebrow", 26, 35),
        ("nostrils", 42, 47),
        ("outer_mouth", 48, 59),
        ("inner_mouth", 60, 67),
        ("jaw", 68, 82),
    ):
        assert runs[name].tolist() == list(range(first, last + 1))
