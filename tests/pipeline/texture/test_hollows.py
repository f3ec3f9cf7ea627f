"""hollows: a nostril that no camera looks into is dark, whatever the skin around it; all else stays as it was."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.landmarks import N_LANDMARKS
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture import raster
from mimicme.pipeline.texture.baking import Baked, FillSource, TextureOptions, bake, bake_source, open_source
from mimicme.pipeline.texture.hollows import DARKEST, darken, fill_opened, opened, shades

N = 256
SIDE_MM, CELLS = 60.0, 60
PIT_MM, DEEP_MM = 4.0, 12.0
SKIN = (200, 150, 120)


def sheet():
    """A square of 60 mm in z = 0, facing +z, and its coordinates in [0, 1]."""
    n = CELLS
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1))
    i = (np.arange(n * n) // n) * (n + 1) + np.arange(n * n) % n
    faces = np.concatenate([np.stack([i, i + 1, i + n + 2], 1), np.stack([i, i + n + 2, i + n + 1], 1)])
    uv = np.stack([x.ravel(), y.ravel()], 1)
    return np.c_[(uv - 0.5) * SIDE_MM, np.zeros(len(uv))], faces.astype(np.int32), uv


def in_pit(vertices):
    return np.linalg.norm(vertices[:, :2], axis=1) < PIT_MM


def with_pit(
    landmarks: int = N_LANDMARKS, names_at: int = CELLS // 2 * (CELLS + 2), deep_mm: float = DEEP_MM
) -> Template:
    """A template with a pit in the middle, and all of its landmarks at one vertex, by default the middle's."""
    vertices, faces, uv = sheet()
    vertices[in_pit(vertices), 2] = -deep_mm
    at = np.full((landmarks, 3), names_at)
    weights = np.tile([1.0, 0.0, 0.0], (landmarks, 1))
    names = tuple(map(str, range(landmarks)))
    return Template(
        vertices, faces, uv, faces, names, at, weights, digest=f"pit-{landmarks}-{names_at}-{deep_mm}"
    )


def baked(template: Template, seen: bool = False, fill: bool = True) -> Baked:
    """Of a scan that goes on flat over the pit, as those of a nostril do; or of one that shows it."""
    vertices, faces, uv = sheet()
    scan = Mesh(template.vertices if seen else vertices, faces, uv, faces)
    options = TextureOptions(N, mirror_fill=False, fill=fill)
    found = bake(scan, np.full((N, N, 3), SKIN, np.uint8), template.vertices, template, options)
    assert found is not None
    return found


def floor(picture):
    """The texels over the middle of the pit's floor."""
    half = int(PIT_MM / 2 / SIDE_MM * N)
    middle = slice(N // 2 - half, N // 2 + half)
    return picture[middle, middle]


def test_what_nobody_sees_in_a_pit_is_dark_and_skin_is_not():
    found = baked(with_pit())
    assert (floor(found.coverage) == 0).all()
    share = floor(found.texture) / np.array(SKIN)
    assert share.min() >= DARKEST - 0.01
    assert share.max() < 0.7
    known = found.coverage > 0
    assert (found.texture[known] == SKIN).all()


def test_what_a_scan_shows_of_it_stays():
    found = baked(with_pit(), seen=True)
    assert floor(found.coverage).any()
    assert (found.texture[found.coverage > 0] == SKIN).all()


@pytest.mark.parametrize("template", [with_pit(landmarks=1), with_pit(names_at=0)], ids=["unnamed", "far"])
def test_a_pit_that_no_landmark_names_is_filled_as_skin(template):
    found = baked(template)
    assert (floor(found.coverage) == 0).all()
    assert (floor(found.texture) == SKIN).all()


def test_without_filling_nothing_is_drawn():
    found = baked(with_pit(), fill=False)
    assert not found.texture[found.coverage == 0].any()


@pytest.mark.parametrize("deep", [12.0, 40.0])
def test_a_hollow_is_as_dark_in_its_depth_as_at_its_rim(deep):
    """Landmarks of lips lie on the rim; a cavity of the mouth ends far from them."""
    rim = CELLS // 2 * (CELLS + 1) + CELLS // 2 + int(PIT_MM) + 1
    template = with_pit(names_at=rim, deep_mm=deep)
    assert template.vertices[rim, 2] == 0
    found = shades(template)
    assert found is not None
    at_bottom = np.linalg.norm(template.vertices[:, :2], axis=1) < PIT_MM / 2
    assert (found[at_bottom] < 0.7).all()
    assert (found[np.linalg.norm(template.vertices[:, :2], axis=1) > PIT_MM + 2] == 1).all()


def test_a_large_texture_is_gone_through_where_it_has_hollows_alone(monkeypatch):
    template = with_pit()
    as_filled = np.broadcast_to(np.array(SKIN, np.uint8), (N, N, 3))
    whole, banded = as_filled.copy(), as_filled.copy()
    darken(whole, np.ones((N, N), bool), template)
    rows, drawn = raster.rasterise, []

    def counted(*given):
        drawn.append(given[3])
        return rows(*given)

    monkeypatch.setattr(raster, "CACHED_TEXELS", 16 * N)
    monkeypatch.setattr(raster, "rasterise", counted)
    darken(banded, np.ones((N, N), bool), template)
    assert np.array_equal(whole, banded)
    changed = np.flatnonzero((whole != as_filled).any(axis=(1, 2)))
    assert len(changed) > 20
    assert drawn[0] <= changed[0] and changed[-1] < drawn[-1] + 16
    assert len(drawn) <= 5  # of 16


def test_shades_are_those_of_what_the_pit_sees():
    template = with_pit()
    found = shades(template)
    assert found is not None
    middle = np.linalg.norm(template.vertices[:, :2], axis=1)
    assert (found[middle > PIT_MM + 2] == 1).all()
    assert (found[middle < PIT_MM / 2] < 0.7).all()


def with_lid(open_mm: float):
    """A template with a pit in which nothing is seen, and a mesh of it that is only `open_mm` deep."""
    template = with_pit()
    vertices = template.vertices.copy()
    vertices[in_pit(vertices), 2] = -open_mm
    return template, vertices


def neutral_and_frame(open_mm: float, known=None):
    """What a frame whose pit nobody sees is filled with, from a neutral's texture that is dark there."""
    template, vertices = with_lid(open_mm)
    found = baked(template)
    picture = np.full((N, N, 3), SKIN, np.uint8)
    hidden = found.coverage == 0
    picture[hidden] = found.texture[hidden]
    before = picture.copy()
    fill_opened(picture, ~hidden if known is None else known, template, vertices)
    return picture, before, hidden


def test_what_comes_to_light_is_no_longer_dark():
    picture, before, hidden = neutral_and_frame(0.0)
    assert (floor(before) < 0.7 * np.array(SKIN)).all()
    np.testing.assert_allclose(floor(picture) / np.array(SKIN), 1, atol=0.02)
    np.testing.assert_array_equal(picture[~hidden], before[~hidden])


@pytest.mark.parametrize("deep", [DEEP_MM, 2 * DEEP_MM])
def test_what_is_as_deep_as_the_template_or_deeper_stays(deep):
    picture, before, _ = neutral_and_frame(deep)
    np.testing.assert_array_equal(picture, before)


def test_what_the_frame_shows_of_it_stays_and_nothing_known_fills_nothing():
    for known in (np.ones((N, N), bool), np.zeros((N, N), bool)):
        picture, before, _ = neutral_and_frame(0.0, known)
        np.testing.assert_array_equal(picture, before)


def test_a_lost_vertex_opens_nothing():
    template, vertices = with_lid(0.0)
    vertices[:] = np.nan
    picture = np.full((N, N, 3), SKIN, np.uint8)
    fill_opened(picture, np.zeros((N, N), bool), template, vertices)
    assert (picture == SKIN).all()


def test_a_nostril_is_not_opened():
    template, vertices = with_lid(0.0)
    at = np.full((N_LANDMARKS, 3), CELLS // 2 * (CELLS + 2))
    at[48:] = CELLS  # the lips are in a corner
    of_nose = Template(
        template.vertices,
        template.faces,
        template.uv,
        template.uv_faces,
        template.landmark_names,
        at,
        np.tile([1.0, 0.0, 0.0], (N_LANDMARKS, 1)),
        digest="nostril",
    )
    found = baked(of_nose)
    picture = found.texture.copy()
    fill_opened(picture, found.coverage > 0, of_nose, vertices)
    assert (floor(picture) < 0.7 * np.array(SKIN)).all()
    np.testing.assert_array_equal(picture, found.texture)


def test_where_the_mouths_rows_show_nothing_nothing_is_darkened_twice():
    """A lower face that a hand covers: what the neutral lent is dark already, and is no skin to begin from."""
    template, _ = with_lid(0.0)
    hidden = baked(template).coverage == 0
    rows = np.flatnonzero(hidden.any(axis=1))
    known = np.ones((N, N), bool)
    known[rows.min() - 12 : rows.max() + 13] = False
    picture, before, _ = neutral_and_frame(2.0, known)
    np.testing.assert_array_equal(picture, before)
    surrounded, _, _ = neutral_and_frame(2.0)
    assert floor(surrounded).mean() > floor(before).mean() + 20  # what is filled where skin is known


INNER_LIP = (160, 40, 40)


def from_neutral(vertices, turn=None, source=None, canonical=True):
    """A frame's texture whose scan shows nothing of its pit, filled from a neutral's.

    Args:
        vertices: the frame's mesh as the template lies; turn: (3, 3) how the scan lies, by default so.
        source: by default the neutral's pit was as dark as the template's.
    """
    template = with_pit()
    turn = np.eye(3) if turn is None else turn
    flat, faces, uv = sheet()
    options = TextureOptions(N, mirror_fill=False)
    scan = open_source(Mesh(flat @ turn.T, faces, uv, faces), np.full((N, N, 3), SKIN, np.uint8), options)
    assert scan is not None
    if source is None:
        lent = baked(template)
        source = FillSource(lent.texture, lent.coverage)
    # the scan goes on flat over the pit: there its mesh is hidden, however deep it is
    hidden = np.where(in_pit(flat), 0, 255).astype(np.uint8)
    lying = vertices if canonical else None
    return bake_source(
        scan, vertices @ turn.T, template, options, fill_source=source, skin=hidden, canonical=lying
    )


def turned_by(degrees, axis):
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(np.radians(degrees) * np.eye(3)[axis]).as_matrix()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [-20.0, 25.0, 40.0])
def test_a_mouth_as_closed_as_the_template_s_does_not_open_where_the_head_is_turned(degrees, axis):
    vertices = with_pit().vertices
    straight = from_neutral(vertices).texture.astype(int)
    turned = from_neutral(vertices, turned_by(degrees, axis)).texture.astype(int)
    assert (floor(straight) < 0.7 * np.array(SKIN)).all()
    np.testing.assert_allclose(floor(turned), floor(straight), atol=2)


def test_which_way_a_mouth_was_looked_at_is_what_made_it_seem_open():
    """What the test before this one would not notice if the sky were the same from everywhere."""
    template = with_pit()
    closed = shades(template)
    np.testing.assert_array_equal(opened(template, template.vertices), closed)
    assert (
        max(
            (opened(template, template.vertices @ turned_by(d, axis).T) - closed).max()
            for d in (-20.0, 25.0, 40.0)
            for axis in range(3)
        )
        > 0.05
    )


def test_a_frame_whose_lips_open_is_filled_from_its_own_skin():
    _, vertices = with_lid(0.0)
    np.testing.assert_allclose(floor(from_neutral(vertices).texture) / np.array(SKIN), 1, atol=0.03)


@pytest.mark.parametrize(
    ("neutral_opens", "shows", "stays"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_what_a_neutral_shows_between_open_lips_stays(neutral_opens, shows, stays):
    """Between closed ones its photograph shows the dark, or the other lip."""
    template, vertices = with_lid(0.0)
    picture = np.full((N, N, 3), SKIN, np.uint8)
    coverage = np.full((N, N), 255, np.uint8)
    hidden = baked(template).coverage == 0
    picture[hidden] = INNER_LIP
    coverage[hidden] = 255 if shows else 0
    lips = opened(template, vertices if neutral_opens else template.vertices)
    found = floor(from_neutral(vertices, source=FillSource(picture, coverage, lips)).texture)
    np.testing.assert_allclose(found, np.broadcast_to(INNER_LIP if stays else SKIN, found.shape), atol=5)
