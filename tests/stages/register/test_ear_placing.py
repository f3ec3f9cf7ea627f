"""ear_placing: an ear is found beside its place, larger and longer; hair, and what is no skin, is no ear."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from ear_sides import SIDE_MM, side

from mimicme.pipeline.geometry.mesh import triangle_normals, vertex_areas, vertex_normals
from mimicme.stages.register.ear_placing import FADE_MM, FADE_MOTIONS, Ears
from mimicme.stages.register.levels import build_levels
from mimicme.stages.register.settings import PRESETS, RegisterSettings
from mimicme.stages.register.targets import ScanTarget

WORN = [
    (4.8, -0.1, 42.4, 27.1, 19.7),
    (8.3, -1.0, 42.3, 23.9, 20.2),
    (5.7, 12.9, 43.2, 23.5, 24.2),
    (1.0, 1.9, 43.1, 32.8, 25.9),
]
"""Cups that ears were found on before their size and shape were asked."""


@pytest.fixture(scope="module")
def template():
    """Vertices, what `Ears` reads of their levels, and the ears."""
    vertices, faces = side(3.0)
    r = np.hypot(vertices[:, 1] / 30, vertices[:, 2] / 18)
    mask = np.clip(3 * (1.6 - r), 0, 1)
    ears = np.stack([mask * (vertices[:, 0] < 0), mask * (vertices[:, 0] > 0)], axis=1)
    level = SimpleNamespace(
        index=np.arange(len(vertices)), faces=faces, areas=vertex_areas(vertices, faces), ears=ears
    )
    return vertices, ears, Ears.of(vertices, SimpleNamespace(coarse=level, fine=level))


def scanned(**how):
    return ScanTarget(*side(1.9, jitter=1, **how))


@pytest.mark.parametrize(
    "how",
    [
        {"place": (9.0, -6.0)},
        {"place": (-10.0, 5.0), "size": 1.1},
        {"place": (3.0, 8.0), "size": 0.95, "longer": 1.15},
    ],
    ids=str,
)
def test_an_ear_is_moved_to_where_the_scan_shows_it(template, how):
    vertices, ears, found = template
    moved = found.placed(vertices, scanned(**how), np.ones(len(vertices)))
    size, longer, place = how.get("size", 1.0), how.get("longer", 1.0), np.array(how["place"])
    truth = vertices.copy()
    truth[:, 1:] = place + size * vertices[:, 1:] * [longer, 1.0]
    own = ears.max(axis=1) > 0.9
    before = np.linalg.norm((truth - vertices)[own, 1:], axis=1).mean()
    after = np.linalg.norm((truth - vertices - moved)[own, 1:], axis=1).mean()
    assert before > 7
    assert after < 0.15 * before
    far = max(FADE_MM, FADE_MOTIONS * np.linalg.norm(moved, axis=1).max())
    away = np.min([found.ears[k].away for k in (0, 1)], axis=0)
    assert (away > far).any() and not moved[away > far].any()


@pytest.mark.parametrize("size", [1.0, 1.2, 1.3])
@pytest.mark.parametrize("shift", [10.0, 14.0, 20.0, 26.0])
def test_an_ear_that_is_moved_far_folds_no_head_beside_it(template, shift, size):
    """However it is moved: what a fold of the rest shape loses no fit gives back, and no figure tells."""
    vertices, _, found = template
    faces = side(3.0)[1]
    before = triangle_normals(vertices, faces)[0]
    ear = found.ears[1]
    middle = vertices[ear.index].mean(axis=0)
    for up, forth in np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0.7, 0.7], [-0.7, -0.7]]):
        motion = np.diag([size, size, size, 1.0])
        motion[:3, 3] = (1 - size) * middle + shift * np.array([0.0, up, forth])
        moved = vertices + ear.carries(vertices, motion)
        turned = (triangle_normals(moved, faces)[0] * before).sum(axis=1)
        assert turned.min() > 0
        own = ear.away == 0
        np.testing.assert_allclose(
            moved[own] - middle, size * (vertices[own] - middle) + motion[:3, 3] - (1 - size) * middle
        )


def test_an_ear_in_its_place_stays(template):
    vertices, _, found = template
    moved = found.placed(vertices, scanned(), np.ones(len(vertices)))
    assert moved is None or np.linalg.norm(moved, axis=1).max() < 0.3


def test_hair_is_no_ear(template):
    vertices, _, found = template
    hairy, faces = side(1.9, jitter=2)
    rough = np.random.default_rng(3).normal(scale=1.5, size=len(hairy))
    hairy[:, 0] = np.sign(hairy[:, 0]) * (SIDE_MM + 9 + rough)
    assert found.placed(vertices, ScanTarget(hairy, faces), np.ones(len(vertices))) is None


@pytest.fixture(scope="module")
def face(finer_face):
    """The small template and its levels: real ears, with a relief of their own."""
    settings = RegisterSettings(**PRESETS["fast"])
    return finer_face, build_levels(finer_face, settings.coarse_vertices, settings.membrane)


def with_headphones(face, up, forth, high, wide, thick):
    """The template's head, cups over its ears, 2 `high` by 2 `wide`, so far above and in front of an ear's middle."""
    prepared, levels = face
    heads, every, hidden, count = [prepared.vertices], [], np.zeros(len(prepared.vertices), bool), 60
    grid = np.linspace(-1.25, 1.25, count)
    y, z = (q.ravel() for q in np.meshgrid(grid, grid, indexing="ij"))
    radius = np.hypot(y, z)
    k = np.arange(count**2).reshape(count, count)
    a, b, c, d = (q.ravel() for q in (k[:-1, :-1], k[:-1, 1:], k[1:, :-1], k[1:, 1:]))
    sheet = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    sheet = sheet[(radius < 1.2)[sheet].all(axis=1)]
    for sign, mask in zip((-1, 1), levels.fine.ears.T, strict=True):
        ear = prepared.vertices[mask > 0.5]
        middle, inner = ear.mean(axis=0) + [0, up, forth], np.percentile(np.abs(ear[:, 0]), 10)
        out = thick / (1 + np.exp(14 * (radius - 1)))
        cup = np.column_stack([sign * (inner + out), middle[1] + high * y, middle[2] + wide * z])
        outwards = vertex_normals(cup, sheet.astype(np.int32))[:, 0].sum() * sign > 0
        every.append((sheet if outwards else sheet[:, ::-1]) + sum(map(len, heads)))
        heads.append(cup)
        across = (prepared.vertices - middle)[:, 1:] / [high, wide]
        beside = sign * prepared.vertices[:, 0] > 0.6 * inner
        hidden |= beside & (np.linalg.norm(across, axis=1) < 1.1)
    every.append(prepared.faces[~hidden[prepared.faces].any(axis=1)])
    return ScanTarget(np.concatenate(heads), np.concatenate(every).astype(np.int32))


@pytest.mark.parametrize("worn", WORN, ids=str)
def test_headphones_are_no_ears(face, worn):
    """As smooth as skin, in its colour, and alike left and right: told by what they would make of an ear."""
    prepared, levels = face
    ears = Ears.of(prepared.vertices, levels)
    assert len(ears.ears) == 2
    assert (
        ears.placed(prepared.vertices, with_headphones(face, *worn), np.ones(len(prepared.vertices))) is None
    )


def test_an_ear_too_far_to_be_found_is_found_where_the_other_is(template):
    vertices, ears, found = template
    (near, faces), far = side(1.9, jitter=1, place=(0.0, 14.0)), side(1.9, jitter=1, place=(0.0, 24.0))[0]
    uneven = ScanTarget(np.where(near[:, :1] < 0, near, far), faces)
    one, right = np.ones(len(vertices)), vertices[:, 0] > 0
    alone = found.placed(vertices, uneven, np.where(right, one, 0.0))
    moved = found.placed(vertices, uneven, one)
    assert alone is None or not alone[right].any()
    own = right & (ears.max(axis=1) > 0.9)
    np.testing.assert_allclose(moved[own, 1:].mean(axis=0), (0, 24), atol=1.5)


def test_an_ear_that_is_no_skin_stays(template):
    vertices, _, found = template
    there = scanned(place=(9.0, -6.0))
    skin = np.where(vertices[:, 0] < 0, 0.0, 1.0)
    moved = found.placed(vertices, there, skin)
    assert not moved[vertices[:, 0] < 0].any()
    assert np.abs(moved[vertices[:, 0] > 0]).max() > 5
    assert found.placed(vertices, there, 0 * skin) is None


def test_where_nothing_was_scanned_the_ears_stay(template):
    vertices, _, found = template
    there, faces = side(1.9)
    keep = faces[(np.abs(there[faces][:, :, 1]) > 60).all(axis=1)]
    assert found.placed(vertices, ScanTarget(there, keep), np.ones(len(vertices))) is None


def test_a_template_without_ears_has_none_to_place(template):
    vertices, ears, _ = template
    _, faces = side(3.0)
    level = SimpleNamespace(
        index=np.arange(len(vertices)), faces=faces, areas=np.ones(len(vertices)), ears=0 * ears
    )
    found = Ears.of(vertices, SimpleNamespace(coarse=level, fine=level))
    assert found.ears == ()
    assert found.placed(vertices, scanned(), np.ones(len(vertices))) is None
