"""What lies between a template's lids: it is tucked in behind closed ones, and stays so when they move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small import no_layout, write_small_template

from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.template import Template, prepare
from mimicme.pipeline.template.eyelids import (
    EYES,
    Lids,
    find_patch,
    find_rims,
    lid_opening,
    open_share,
    patches,
    tucked,
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    fine = write_small_template(tmp_path_factory.mktemp("head"), 30_000)
    with no_layout():
        return prepare(fine)


@pytest.fixture(scope="module")
def eye(template: Template):
    """The right eye: its patch and its rims."""
    marks = template.landmarks()
    patch = find_patch(template.vertices, template.faces, patches(template.vertices, marks)[0])
    assert patch is not None
    return patch, find_rims(template.vertices, template.faces, marks, EYES[0])


@pytest.fixture(scope="module")
def shut(template: Template, eye) -> np.ndarray:
    """The template with its right upper lid down on the lower one, and the patch tucked in."""
    patch, rims = eye
    marks = template.landmarks()[GROUPS[EYES[0]]]
    gap = float((rims.rows @ template.vertices)[:, 1].mean())
    near = np.linalg.norm(template.vertices - marks.mean(axis=0), axis=1) < 20
    down = near & (
        template.vertices[:, 1] > np.interp(template.vertices[:, 0], *np.sort(marks[:, :2], axis=0).T)
    )
    vertices = template.vertices.copy()
    vertices[down, 1] -= gap
    vertices[patch.patch] = tucked(patch, rims, vertices)
    return vertices


def test_a_patch_that_is_tucked_in_is_a_pleat(template: Template, eye, shut: np.ndarray) -> None:
    patch, rims = eye
    np.testing.assert_allclose(tucked(patch, rims, shut), shut[patch.patch], atol=1e-9)
    # of what was seen from the front little is left: the sheets stand upright
    own = template.faces[np.isin(template.faces, patch.patch).all(axis=1)]

    def seen_mm2(vertices: np.ndarray) -> float:
        a, b, c = (vertices[corner, :2] for corner in own.T)
        return float(0.5 * np.abs(np.linalg.det(np.stack([b - a, c - a], axis=1))).sum())

    assert seen_mm2(template.vertices) > 50
    assert seen_mm2(shut) < 0.15 * seen_mm2(template.vertices)


def test_it_stays_tucked_in_when_the_lids_move_and_only_then(
    template: Template, eye, shut: np.ndarray
) -> None:
    patch, rims = eye
    lids = Lids(template)
    moved = shut + [0.5, -0.3, 0.2]
    moved[patch.patch] += np.random.default_rng(1).normal(size=(len(patch.patch), 3))
    kept = lids.kept_tucked(shut.astype(np.float32).astype(np.float64), moved)
    np.testing.assert_allclose(kept[patch.patch], shut[patch.patch] + [0.5, -0.3, 0.2], atol=1e-9)
    others = np.ones(len(moved), bool)
    others[patch.patch] = False
    np.testing.assert_array_equal(kept[others], moved[others])
    # an open eye's stays where it is put
    np.testing.assert_array_equal(lids.kept_tucked(template.vertices, moved), moved)


def test_the_skin_of_upper_lids_and_whether_they_close(template: Template, eye, shut: np.ndarray) -> None:
    lids, (_, rims) = Lids(template), eye
    rim = rims.middle @ template.vertices
    way = template.vertices - rim[len(rim) // 2]
    amid = np.linalg.norm(way, axis=1) < 10
    assert (lids.near[amid & (way[:, 1] > 4)] > 0.9).all()
    assert (lids.near[amid & (way[:, 1] < -4)] == 0).all()
    marks = template.landmarks()
    for far in (8, 19, 30, 33, 48, 54):  # chin, brow, nose, corners of the mouth
        assert lids.near[np.linalg.norm(template.vertices - marks[far], axis=1).argmin()] < 0.5
    assert (lids.near[np.linalg.norm(template.vertices - marks[57], axis=1) < 15] == 0).all()
    assert lids.close(template.vertices, shut)
    assert not lids.close(template.vertices, template.vertices)
    assert not lids.close(shut, template.vertices)
    nobody = Lids(
        replace(
            template,
            landmark_names=template.landmark_names[:1],
            landmark_vertices=template.landmark_vertices[:1],
            landmark_weights=template.landmark_weights[:1],
        )
    )
    assert not nobody.near.any()
    assert not nobody.close(template.vertices, shut)


@pytest.fixture(scope="module")
def marks(template: Template) -> np.ndarray:
    return template.landmarks()


def opened(marks: np.ndarray, share: float) -> np.ndarray:
    """Landmarks (68, 3), each pair of the lids `share` as far apart as those of `marks`, about its own middle."""
    out = marks.copy()
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        middle = (marks[upper] + marks[lower]) / 2
        out[[upper, lower]] = middle + share * (marks[[upper, lower]] - middle)
    return out


def tilted(points: np.ndarray, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]).T + [3.0, -40.0, 9.0]


@pytest.mark.parametrize("eye", EYES)
def test_lids_that_have_passed_each_other_are_not_open(marks, eye):
    assert lid_opening(opened(marks, -0.15), marks, eye) == 0
    assert open_share(opened(marks, -0.15), marks, eye) == 0
    # points by hand: none is just above the other
    slid = opened(marks, 0.0)
    slid[[37, 38, 43, 44]] += [2.5, 0, 0]
    assert open_share(slid, marks, eye) < 0.1
    slid[GROUPS[eye].start + 4] = np.nan
    assert np.isnan(lid_opening(slid, marks, eye)) and np.isnan(open_share(slid, marks, eye))


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("degrees", [-25, 0, 25])
@pytest.mark.parametrize("share", [0.4, 0.7, 1.0])
def test_the_opening_is_the_same_however_the_head_is_held(marks, eye, degrees, share):
    """Frames are aligned before, but not all of them well."""
    points = tilted(opened(marks, share), degrees)
    assert open_share(points, marks, eye) == pytest.approx(share, abs=0.02)
    assert open_share(1.2 * points, marks, eye) == pytest.approx(share, abs=0.02)
    points[27:36] = np.nan  # too few are left to tell how it is held
    assert open_share(points, marks, eye) == pytest.approx(share * np.cos(np.radians(degrees)), abs=0.15)


def test_noise_does_not_open_an_eye_nor_close_it(marks):
    rng = np.random.default_rng(0)
    for share in (0.0, 0.4, 0.7):
        found = [
            open_share(opened(marks, share) + rng.normal(scale=0.7, size=marks.shape), marks, "left_eye")
            for _ in range(300)
        ]
        assert np.mean(found) == pytest.approx(share, abs=0.05) and np.std(found) < 0.11


@pytest.mark.parametrize("by", [0.0, 0.05, -0.05])
def test_a_template_with_closed_lids_does_not_say_how_far_others_are_open(marks, by):
    closed = opened(marks, 0.0)
    closed[[37, 38, 43, 44]] += [0, by, 0]
    for points in (closed, marks):
        assert np.isnan(open_share(points, closed, "left_eye"))
    assert lid_opening(marks, closed, "left_eye") == pytest.approx(
        lid_opening(marks, marks, "left_eye"), rel=0.1
    )
