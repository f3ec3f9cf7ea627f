"""levels: the coarse level is the template with fewer vertices, and what it finds reaches every vertex."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import components, triangle_normals, vertex_normals
from mimicme.stages.register import levels as module
from mimicme.stages.register.levels import EAR_STIFFNESS, GENERIC_EAR_STIFFNESS, build_levels
from mimicme.stages.register.stiffness import affine_stiffness, shell_stiffness


@pytest.fixture
def template(dome):
    return dome.template()


@pytest.fixture
def levels(dome):
    return dome.levels()


def test_the_coarse_level_is_made_of_the_templates_vertices(dome, template, levels):
    coarse = levels.coarse
    count = len(coarse.index)
    assert 0.7 * dome.SETTINGS.coarse_vertices < count < 1.3 * dome.SETTINGS.coarse_vertices
    assert (np.diff(coarse.index) > 0).all()
    assert coarse.index[-1] < len(template.vertices)
    assert coarse.faces.min() == 0 and coarse.faces.max() == count - 1
    assert components(coarse.faces, count)[0] == 1
    assert coarse.stiffness.shape == (count, count)


def test_it_faces_the_same_way_and_has_about_the_same_area(template, levels):
    coarse = levels.coarse
    inherited = vertex_normals(template.vertices, template.faces)[coarse.index]
    own = vertex_normals(template.vertices[coarse.index], coarse.faces)
    assert ((inherited * own).sum(1) > 0).mean() > 0.99
    _, area = triangle_normals(template.vertices, template.faces)
    assert levels.fine.areas.sum() == pytest.approx(area.sum())
    assert 0.9 * area.sum() < coarse.areas.sum() < 1.05 * area.sum()


def test_a_constant_field_is_carried_exactly(levels):
    found = levels.prolong @ np.ones(len(levels.coarse.index))
    np.testing.assert_allclose(found, 1, atol=1e-12)
    assert levels.prolong.min() > -1e-6


def test_a_smooth_field_is_carried_closely(dome, template, levels):
    v = template.vertices
    field = dome.moved(v, 1.0) - v
    carried = levels.prolong @ field[levels.coarse.index]
    error = np.linalg.norm(carried - field, axis=1)
    assert 0.001 < error.mean() < 0.05 * np.linalg.norm(field, axis=1).max()


def test_the_vertices_they_share_keep_their_value(levels):
    field = np.random.default_rng(0).normal(size=(len(levels.coarse.index), 3))
    carried = (levels.prolong @ field)[levels.coarse.index]
    np.testing.assert_allclose(carried, field, atol=1e-4)


def test_landmarks_lie_where_the_template_has_them(template, levels):
    marks = template.landmarks()
    np.testing.assert_allclose(levels.fine.landmarks @ template.vertices, marks, atol=1e-12)
    off = np.linalg.norm(levels.coarse.landmarks @ template.vertices[levels.coarse.index] - marks, axis=1)
    assert off.mean() < 1.0  # the coarse surface cuts the corners


def test_a_small_template_is_its_own_coarse_level(template):
    both = build_levels(template, len(template.vertices), 0.001)
    np.testing.assert_array_equal(both.coarse.index, np.arange(len(template.vertices)))
    np.testing.assert_array_equal(both.coarse.faces, template.faces)
    field = np.random.default_rng(0).normal(size=(len(template.vertices), 3))
    np.testing.assert_array_equal(both.prolong @ field, field)


def test_vertices_without_a_triangle_are_carried_too(template):
    more = replace(template, vertices=np.r_[template.vertices, [[0.0, 0, 90], [200, 0, 0]]])
    levels = build_levels(more, 500, 0.001)
    assert levels.prolong.shape[0] == len(more.vertices)
    np.testing.assert_allclose(levels.prolong @ np.ones(len(levels.coarse.index)), 1, atol=1e-12)
    np.testing.assert_array_equal(levels.fine.areas[-2:], 0)


def test_the_same_template_gives_the_same_levels(dome, template):
    a, b = (build_levels(template, 500, 0.001) for _ in range(2))
    np.testing.assert_array_equal(a.coarse.index, b.coarse.index)
    np.testing.assert_array_equal(a.coarse.faces, b.coarse.faces)
    assert (a.prolong != b.prolong).nnz == 0
    assert (a.coarse.stiffness != b.coarse.stiffness).nnz == 0


def given_ears(template, monkeypatch) -> np.ndarray:
    """(V,) a mask of ears, half of them faded, and a template's `ears` that finds them."""
    x = template.vertices[:, 0]
    masks = np.stack([np.clip((-x - 40) / 20, 0, 1), np.clip((x - 40) / 20, 0, 1)], axis=1)
    monkeypatch.setattr(module, "ears", lambda *_: masks)
    return masks.max(axis=1)


@pytest.mark.parametrize("coarse_vertices", [500, 5000])
def test_personal_ears_are_stiff_and_generic_ones_give_way(template, monkeypatch, coarse_vertices):
    mask = given_ears(template, monkeypatch)
    levels = build_levels(template, coarse_vertices, 0.001)
    generic = levels.for_generic_template(0.02)
    assert EAR_STIFFNESS >= 10 > GENERIC_EAR_STIFFNESS > 1
    for own, other in ((levels.coarse, generic.coarse), (levels.fine, generic.fine)):
        v, f = template.vertices[own.index], own.faces
        d = np.random.default_rng(0).normal(size=v.shape)
        for level, membrane, ears in ((own, 0.001, EAR_STIFFNESS), (other, 0.021, GENERIC_EAR_STIFFNESS)):
            expected = shell_stiffness(v, f, membrane) - affine_stiffness(v, f)
            expected = expected + affine_stiffness(v, f, factor=1 + (ears - 1) * mask[own.index])
            np.testing.assert_allclose(level.stiffness @ d, expected @ d, rtol=1e-9, atol=1e-9)


def test_a_template_without_ears_has_none_to_stiffen(dome, template, levels):
    assert levels.fine.ear_bending.count_nonzero() == 0
    bare = shell_stiffness(template.vertices, template.faces, dome.SETTINGS.membrane)
    assert abs(levels.fine.stiffness - bare).max() == 0


def test_eyes_that_close_by_turns_are_made_once_each(levels):
    """What follows from them is factorised, which takes seconds."""
    right = levels.with_closed_eyes(True, False)
    others = [levels.with_closed_eyes(False, True), levels.with_closed_eyes(True, True)]
    assert len({id(one) for one in (levels, right, *others)}) == 4
    assert levels.with_closed_eyes(True, True) is others[1]
    assert levels.with_closed_eyes(False, True) is others[0]


def test_eyes_that_were_closed_long_ago_take_no_memory(template):
    levels = build_levels(template, 500, 0.001)
    right, left = (weakref.ref(levels.with_closed_eyes(*eyes)) for eyes in ((True, False), (False, True)))
    levels.with_closed_eyes(True, False)  # used again: the other one goes first
    levels.with_closed_eyes(True, True)
    gc.collect()
    assert right() is not None
    assert left() is None
