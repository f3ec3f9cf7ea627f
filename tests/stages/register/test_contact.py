"""contact: two plates that have penetrated each other part half-way, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.pipeline.template.lips import opposite
from mimicme.stages.register.contact import MARGIN_MM, Contacts
from mimicme.stages.register.targets import Targets

SIDE = 9


def plates(gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Two square plates that face each other, like lips: the lower one's normal is +y, the upper one's -y."""
    x, z = (a.ravel() * 2.0 for a in np.meshgrid(np.arange(SIDE), np.arange(SIDE)))
    lower = np.stack([x, np.zeros_like(x), z], axis=1)
    k = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = (q.ravel() for q in (k[:-1, :-1], k[:-1, 1:], k[1:, :-1], k[1:, 1:]))
    faces = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    upper = lower + [0.3, gap, 0.2]
    return np.concatenate([lower, upper]), np.concatenate([faces, faces[:, ::-1] + len(lower)]).astype(
        np.int32
    )


@pytest.fixture
def rest():
    return plates(1.0)


def no_targets(count: int) -> Targets:
    return Targets(np.zeros((count, 3)), np.tile([0.0, 0, 1], (count, 1)), np.full(count, 0.5))


def resolved(rest, now, contacts=None):
    v, f = rest
    contacts = contacts or Contacts(opposite(v, f), f)
    return contacts.resolve(v, now, vertex_normals(now, f), no_targets(len(v)))


def test_the_plates_face_each_other(rest):
    v, f = rest
    # but for those that the other plate, shifted, does not cover
    assert 0.7 < len(opposite(v, f)) / len(v) < 1


def test_what_has_penetrated_goes_back_half_way(rest):
    v, f = rest
    now = plates(-0.6)[0]
    found = resolved(rest, now)
    moved = np.flatnonzero(found.weights == 1)
    assert len(moved) > len(v) / 2
    height = found.points[moved, 1]
    lower = moved < len(v) // 2
    np.testing.assert_allclose(height[lower], -0.3 - MARGIN_MM, atol=1e-5)
    np.testing.assert_allclose(height[~lower], -0.3 + MARGIN_MM, atol=1e-5)
    np.testing.assert_allclose(np.abs(found.normals[moved, 1]), 1, atol=1e-6)


def test_an_occluded_vertex_has_no_target(rest):
    v, f = rest
    found = resolved(rest, v)
    occluded = opposite(v, f)
    assert (found.weights[occluded] == 0).all()
    assert (np.delete(found.weights, occluded) == 0.5).all()


def test_far_apart_nothing_happens(rest):
    now = plates(40.0)[0]
    found = resolved(rest, now)
    np.testing.assert_array_equal(found.weights, 0.5)
    np.testing.assert_array_equal(found.points, 0)


def test_what_lay_behind_at_rest_may_stay_there():
    v, f = plates(-0.6)  # the two sides of an ear
    found = Contacts(np.arange(len(v)), f).resolve(v, v, vertex_normals(v, f), no_targets(len(v)))
    assert not (found.weights == 1).any()


def test_what_has_touched_is_held_until_reset(rest):
    v, f = rest
    contacts = Contacts(opposite(v, f), f)
    resolved(rest, plates(-0.6)[0], contacts)
    apart = plates(0.1)[0]
    held = resolved(rest, apart, contacts)
    where = held.weights == 1
    assert where.sum() > len(v) / 2
    np.testing.assert_array_equal(held.points[where], apart[where])
    contacts.reset()
    assert not (resolved(rest, apart, contacts).weights == 1).any()


def test_a_surface_without_opposite_parts_is_left_alone(dome):
    template = dome.template()
    v, f = template.vertices, template.faces
    given = no_targets(len(v))
    assert Contacts(np.zeros(0, np.int64), f).resolve(v, v, vertex_normals(v, f), given) is given
