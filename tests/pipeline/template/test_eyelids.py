"""What lies between a template's lids: it is tucked in behind closed ones, and stays so when they move."""

from __future__ import annotations

import numpy as np
import pytest
from small import write_small_template

from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.template import Template, prepare
from mimicme.pipeline.template.eyelids import EYES, Lids, find_patch, find_rims, lid_opening, patches, tucked


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return prepare(write_small_template(tmp_path_factory.mktemp("head"), 30_000))


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


def test_lids_that_have_passed_each_other_are_not_open():
    """Points by hand, on a closed eye: none is just above the other, and the upper lid's lie a millimetre too low."""
    closed = np.array([[0, 0, 0], [8, -1, 2], [18, -1, 2], [28, 1, 0], [21, 0, 2], [5, 0, 2]], float)
    assert lid_opening(closed) == 0
    opened = closed + np.array([[0, 0, 0], [0, 9, 0], [0, 9, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    assert lid_opening(opened) == pytest.approx(8, abs=0.2)
    opened[4] = np.nan
    assert np.isnan(lid_opening(opened))
