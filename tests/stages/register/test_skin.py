"""skin: what lies on a head is told from it, by colour or by roughness, and let go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.stages.register.skin import (
    BARE_MM2,
    CERTAIN,
    COVERED,
    OTHER_MM2,
    SkinRegion,
    as_bytes,
    tones_of,
    unlike,
    weights_of,
)
from mimicme.stages.register.targets import ScanTarget

LINE_MM = 62.0
"""Height of the hair line on the dome, which ends at 100."""
BESIDE_MM = 40.0
"""How far beside the dome's middle hair hangs."""
SKIN, HAIR = np.array([200.0, 150.0, 120.0]), np.array([60.0, 70.0, 90.0])


def scan(dome, thick=0.0, rough=0.0, hair=SKIN, light=0.0):
    """A frame whose vertices above the line lie so far outside, are so rough, and so coloured; and (m,) which."""
    rng = np.random.default_rng(1)
    frame = dome.frame(spacing=2.5)
    above = frame.vertices[:, 1] > LINE_MM
    out = thick + rough * rng.normal(size=len(above))
    normals = vertex_normals(frame.vertices, frame.faces)
    colors = np.where(above[:, None], hair, SKIN) * np.exp(0.05 * rng.normal(size=(len(above), 1)))
    colors = colors * np.exp(light * frame.vertices[:, :1] / 75)
    vertices = frame.vertices + (above * out)[:, None] * normals
    return replace(frame, vertices=vertices, colors=colors)


def share(dome, frame):
    """(V,) of the true shape."""
    template, levels = dome.template(), dome.levels()
    region = dome.tracker().setup.anatomy.skin
    assert isinstance(region, SkinRegion)
    target = ScanTarget(frame.vertices, frame.faces, colors=frame.colors)
    vertices = template.vertices
    assert levels.fine.faces is template.faces
    return region.share(vertices, vertex_normals(vertices, template.faces), target)


@pytest.fixture
def height(dome):
    """(V,) mm above the hair line."""
    return dome.template().vertices[:, 1] - LINE_MM


@pytest.mark.parametrize("light", [0.0, 0.5])
def test_a_bare_head_is_all_skin_whatever_the_light(dome, light):
    assert share(dome, scan(dome, light=light)).min() > 0.8


@pytest.mark.parametrize("skin", [(200, 150, 120), (70, 45, 35), (50, 32, 25)], ids=str)
@pytest.mark.parametrize("shade", [0.5, 0.35])
def test_shade_is_skin_whatever_the_colour_of_that(dome, height, skin, shade):
    frame = scan(dome)
    above = frame.vertices[:, 1] > LINE_MM
    colors = np.array(skin) * np.where(above, shade, 1.0)[:, None]
    found = share(dome, replace(frame, colors=np.rint(colors)))
    assert np.median(found[height > 5]) > 0.7


def test_what_nobody_painted_says_nothing(dome, height):
    frame = scan(dome)
    colors = np.where((frame.vertices[:, 1] > LINE_MM)[:, None], 0.0, frame.colors)
    assert share(dome, replace(frame, colors=colors))[height > 14].min() > 0.8


def test_a_smooth_misfit_is_not_rough(dome, height):
    """The scan rises above the shape by up to 8 mm."""
    frame = scan(dome)
    rise = 0.2 * np.maximum(frame.vertices[:, 1] - LINE_MM, 0)
    out = rise[:, None] * vertex_normals(frame.vertices, frame.faces)
    assert share(dome, replace(frame, vertices=frame.vertices + out, colors=None))[height > 10].mean() > 0.7


def test_another_colour_is_no_skin(dome, height):
    found = share(dome, scan(dome, thick=2.0, hair=HAIR))
    assert (found[height > 14] < 0.5).all()
    assert (found[height < -22] > 0.8).all()


def holed(frame, low, high):
    """A frame whose scan has nothing between two heights, mm above the line."""
    height = frame.vertices[:, 1] - LINE_MM
    gone = (height > low) & (height < high)
    return replace(frame, faces=frame.faces[~gone[frame.faces].any(axis=1)])


def test_what_hair_hides_is_hidden_and_a_hole_elsewhere_is_none(dome, height):
    beside = holed(scan(dome, thick=2.0, hair=HAIR), -8, 4)
    found = share(dome, beside)
    assert (found[(height > -5) & (height < 4)] < 0.5).all()
    assert (found[height < -22] > 0.8).all()
    assert share(dome, holed(scan(dome), -8, 4)).min() > 0.8
    away = share(dome, holed(scan(dome, thick=2.0, hair=HAIR), -32, -24))
    assert (away[(height > -32) & (height < -24)] > 0.8).all()


def test_what_is_seen_beside_hair_is_as_it_looks_and_only_what_is_hidden_is_covered(dome):
    region = dome.tracker().setup.anatomy.skin
    half = np.where(region.judged > 0, 0.6, 0.0)
    shown = np.ones(len(half), bool)
    np.testing.assert_array_equal(region._with_hidden(half, shown), half)
    hidden = region.places[np.argmax(region.judged[region.places])]
    shown[hidden] = False
    covered = region._with_hidden(half, shown)
    assert covered[hidden] == COVERED
    np.testing.assert_array_equal(np.delete(covered, hidden), np.delete(half, hidden))
    # and what is not seen itself hides nothing
    doubted = np.zeros(len(half))
    doubted[hidden] = 0.6
    np.testing.assert_array_equal(region._with_hidden(doubted, np.zeros(len(half), bool)), doubted)


def test_what_is_narrower_than_the_coarse_level_is_seen_by_its_colour(dome):
    frame = scan(dome)
    middle = np.array([18.0, 70.0])
    tip = np.linalg.norm(frame.vertices[:, :2] - middle, axis=1) < 7
    found = share(dome, replace(frame, colors=np.where(tip[:, None], HAIR, frame.colors)))
    off = np.linalg.norm(dome.template().vertices[:, :2] - middle, axis=1)
    assert (found[off < 3] < 0.3).all()
    assert (found[off > 25] > 0.8).all()


def test_without_colours_what_is_rough_is_no_skin(dome, height):
    found = share(dome, replace(scan(dome, thick=3.0, rough=1.2), colors=None))
    assert (found[height > 12] < 0.5).mean() > 0.9
    assert (found[height < -22] > 0.8).all()


def test_rough_hair_of_the_skins_colour_is_no_skin(dome, height):
    found = share(dome, scan(dome, thick=3.0, rough=1.2))
    assert (found[height > 12] < 0.5).mean() > 0.9


def test_a_place_without_a_colour_says_nothing(dome, height):
    frame = scan(dome, hair=HAIR)
    colors = np.where(frame.vertices[:, 1:2] > LINE_MM, np.nan, frame.colors)
    assert share(dome, replace(frame, colors=colors)).min() > 0.8


def test_the_face_itself_is_never_judged(dome):
    frame = scan(dome)
    mouth = np.linalg.norm(frame.vertices[:, :2] - [0, -42], axis=1) < 25
    painted = np.where(mouth[:, None], HAIR, frame.colors)
    assert share(dome, replace(frame, colors=painted)).min() > 0.8


def with_beard(dome, thick=8.0, rough=1.0, hair=HAIR, skin=SKIN):
    """A frame with a beard below the nose, around the lips."""
    rng = np.random.default_rng(2)
    frame = dome.frame(spacing=2.5)
    x, y = frame.vertices[:, :2].T
    lips = np.hypot(x / 30, (y + 42) / 14)
    on = np.clip((lips - 1) * 3, 0, 1) * np.clip((-30 - y) / 5, 0, 1)
    out = on * (thick + rough * rng.normal(size=len(on)))
    vertices = frame.vertices + out[:, None] * vertex_normals(frame.vertices, frame.faces)
    colors = np.where((on > 0)[:, None], hair, skin) * np.exp(0.05 * rng.normal(size=(len(on), 1)))
    return replace(frame, vertices=vertices, colors=colors)


def grown(dome):
    """(V,) True well inside the face's part where a beard grows."""
    x, y = dome.template().vertices[:, :2].T
    region = dome.tracker().setup.anatomy.skin
    return (region.bearded == 1) & (y < -40) & (np.hypot(x / 45, (y + 42) / 25) > 1)


@pytest.mark.parametrize(
    "colours",
    [(HAIR, SKIN), ((170, 168, 165), (110, 75, 55)), (0.5 * SKIN, SKIN)],
    ids=["dark", "grey", "in the skin's hue"],
)
def test_a_beard_hides_the_chin_and_no_more(dome, colours):
    hair, skin = map(np.array, colours)
    found = share(dome, with_beard(dome, hair=hair, skin=skin))
    assert grown(dome).sum() > 20
    assert (found[grown(dome)] < 0.5).mean() > 0.9
    vertices = dome.template().vertices
    assert (found[vertices[:, 1] > 0] > 0.8).all()
    lips = dome.template().landmarks()[48:68]
    at_lips = np.linalg.norm(vertices[:, None] - lips, axis=2).min(axis=1) < 3
    np.testing.assert_array_equal(found[at_lips], 1)


@pytest.mark.parametrize(
    "beard",
    [{"thick": 0.4, "rough": 0.0}, {"thick": 0.0, "rough": 1.0, "hair": SKIN}],
    ids=["stubble or make-up", "folds"],
)
def test_in_the_face_neither_a_colour_nor_roughness_alone_is_a_beard(dome, beard):
    assert share(dome, with_beard(dome, **beard))[grown(dome)].min() > 0.8


@pytest.mark.parametrize(
    ("until_mm", "told"), [(0.0, True), (-45.0, False)], ids=["half of it", "a spot in it"]
)
def test_what_is_as_rough_as_hair_is_one_beard_or_none(dome, until_mm, told):
    """A beard that has the skin's own colour over half of the chin; and folds with a mole in them."""
    frame = with_beard(dome)
    colors = np.where((frame.vertices[:, 0] > until_mm)[:, None], np.array(SKIN, float), frame.colors)
    found = share(dome, replace(frame, colors=colors))[grown(dome)]
    left = dome.template().vertices[grown(dome), 0] > 5
    assert left.sum() > 10
    assert (found[left] < 0.5).mean() > 0.9 if told else found[left].min() > 0.8


def with_hair_at_the_side(dome, rough=1.0, hair=HAIR):
    """A frame with hair that hangs over everything beyond a plane beside the face."""
    rng = np.random.default_rng(3)
    frame = dome.frame(spacing=2.5)
    on = frame.vertices[:, 0] > BESIDE_MM
    out = on * (4.0 + rough * rng.normal(size=len(on)))
    vertices = frame.vertices + out[:, None] * vertex_normals(frame.vertices, frame.faces)
    colors = np.where(on[:, None], hair, SKIN) * np.exp(0.05 * rng.normal(size=(len(on), 1)))
    return replace(frame, vertices=vertices, colors=colors)


def hung_over(dome):
    """(V,) True well inside what such hair covers of the face beside its core; and the same on the other side."""
    x = dome.template().vertices[:, 0]
    beside = dome.tracker().setup.anatomy.skin.beside == 1
    return beside & (x > BESIDE_MM + 5), beside & (x < -BESIDE_MM - 5)


def test_hair_that_hangs_into_the_face_is_no_skin(dome):
    below, other = hung_over(dome)
    assert below.sum() > 5 and other.sum() > 5
    found = share(dome, with_hair_at_the_side(dome))
    assert (found[below] < 0.5).mean() > 0.9
    assert (found[other] > 0.8).all()


@pytest.mark.parametrize(
    ("look", "told"),
    [({}, True), ({"rough": 0.0}, False), ({"hair": SKIN}, False), ({"hair": 0.5 * SKIN}, False)],
    ids=["hair", "make-up", "a dent, wrinkles", "the same in shade"],
)
def test_beside_the_face_another_hue_and_roughness_together_are_hair(dome, look, told):
    region, template = dome.tracker().setup.anatomy.skin, dome.template()
    frame = with_hair_at_the_side(dome, **look)
    target = ScanTarget(frame.vertices, frame.faces, colors=frame.colors)
    normals = vertex_normals(template.vertices, template.faces)
    hanging = region.prolong @ region._foreign(region.look(template.vertices, normals, target))[:, 2]
    below, other = hung_over(dome)
    assert ((hanging[below] > 0.5) == told).all()
    assert (hanging[other] < 0.5).all()


def test_without_colours_nothing_is_told_in_the_face(dome):
    assert share(dome, replace(with_beard(dome), colors=None))[grown(dome)].min() > 0.8


@pytest.mark.parametrize("known", [False, True], ids=["neutral", "personal"])
def test_the_mesh_goes_on_below_a_beard_and_no_half_of_the_face_is_missing(dome, known):
    frame = with_beard(dome)
    neutral = dome.template().vertices if known else None
    kept = dome.tracker(neutral, replace(dome.SETTINGS, tell_skin=False)).register(frame)
    found = dome.tracker(neutral).register(frame)
    below = grown(dome)
    off = dome.apart(found.vertices, dome.truth(0.0))[below]
    assert off.mean() < 0.5 * dome.apart(kept.vertices, dome.truth(0.0))[below].mean()
    assert (found.skin[below] < 128).mean() > 0.9
    assert found.quality.core_share > kept.quality.core_share - 0.05


def test_what_a_scan_lacks_beside_a_beard_or_within_it_is_lacking(dome):
    """As of the same scan without a beard: a beard is told around it too, where nothing was seen."""
    neutral = dome.template().vertices
    shares = []
    for whole in (with_beard(dome), with_beard(dome, thick=0.0, rough=0.0, hair=SKIN)):
        x, y = whole.vertices[whole.faces].mean(axis=1)[:, :2].T
        half = dome.tracker(neutral).register(replace(whole, faces=whole.faces[x < 25]))
        hole = dome.tracker(neutral).register(replace(whole, faces=whole.faces[np.hypot(x, y + 62) > 14]))
        quality = dome.tracker(neutral).register(whole).quality
        shares.append(
            [
                quality.core_share,
                min(half.quality.core_share_left, half.quality.core_share_right),
                hole.quality.core_share,
            ]
        )
    bearded, bare = np.array(shares)
    assert bare[1] < 0.7 and bare[2] < bare[0] - 0.02
    np.testing.assert_allclose(bearded, bare, atol=0.05)
    assert bearded[2] < bearded[0] - 0.02


def test_too_little_of_the_face_says_nothing(dome):
    frame = scan(dome, hair=HAIR)
    upper = (frame.vertices[frame.faces][:, :, 1] > 45).all(axis=1)
    assert share(dome, replace(frame, faces=frame.faces[upper])) is None


def test_weights_fall_from_certain_to_let_go():
    np.testing.assert_allclose(weights_of(np.array([1.0, 0.8, 0.65, 0.5, 0.0])), [1, 1, 0.5, 0, 0])


def test_bytes_go_from_nothing_to_all():
    np.testing.assert_array_equal(as_bytes(np.array([0.0, 0.5, 1.0])), [0, 127, 255])


@pytest.mark.parametrize("known", [False, True], ids=["neutral", "personal"])
def test_the_mesh_goes_on_below_hair(dome, height, known):
    frame = scan(dome, thick=6.0, rough=0.8, hair=HAIR)
    neutral = dome.template().vertices if known else None
    kept = dome.tracker(neutral, replace(dome.SETTINGS, tell_skin=False)).register(frame)
    found = dome.tracker(neutral).register(frame)
    below = (height > 10) & (height < 25)
    off = dome.apart(found.vertices, dome.truth(0.0))[below]
    assert off.mean() < 0.5 * dome.apart(kept.vertices, dome.truth(0.0))[below].mean()
    assert (found.skin[below] < 128).all()
    assert (kept.skin == 255).all()
    assert found.quality.covered_share > 0.05 and kept.quality.covered_share == 0
    assert found.quality.data_share < kept.quality.data_share


def test_what_is_worn_pushes_a_head_in_that_is_too_large(dome, height):
    frame = scan(dome, thick=-4.0, hair=HAIR)  # cloth inside the head that the template has
    found = dome.tracker(dome.template().vertices).register(frame)
    below = (height > 10) & (height < 25)
    normals = vertex_normals(found.vertices, dome.template().faces)
    moved = np.einsum("nx,nx->n", found.vertices - dome.template().vertices, normals)
    assert moved[below].mean() < -2.5


def test_doubts_that_nothing_bears_out_are_none(dome):
    """A patch counts by its area and by how sure it is; a part of it, however sure, with the rest."""
    region, vertices = dome.tracker().setup.anatomy.skin, dome.template().vertices
    away = np.linalg.norm(vertices - vertices[np.argmax(vertices[:, 1])], axis=1)
    patch, spot = away < 40, away < 5
    area = float(region.areas[patch].sum())
    assert region.areas[spot].sum() < BARE_MM2

    def counted(evidence_mm2):
        """(V,) of a patch with so much."""
        over = evidence_mm2 / area
        found = region._borne_out(np.where(patch, CERTAIN + over * (1 - CERTAIN), 0.1))
        assert (found[~patch] == 0.1).all()
        return (found[patch] - CERTAIN) / (over * (1 - CERTAIN))

    np.testing.assert_allclose(counted(BARE_MM2), 0, atol=1e-9)
    np.testing.assert_allclose(counted((BARE_MM2 + OTHER_MM2) / 2), 0.5)
    np.testing.assert_allclose(counted(OTHER_MM2), 1)
    assert region._borne_out(np.where(spot, 0.99, 0.1)).max() == CERTAIN
    borne = np.where(spot, 0.99, np.where(patch, 0.4, 0.1))
    np.testing.assert_allclose(region._borne_out(borne), borne)


def test_a_few_levels_of_colour_change_nothing_of_a_bare_head(dome):
    """With a birthmark, as the same picture has it in another file format."""
    frame = scan(dome)
    mark = np.linalg.norm(frame.vertices[:, :2] - [18.0, 70.0], axis=1) < 8
    one, two = (
        replace(frame, colors=np.where(mark[:, None], SKIN + much * (HAIR - SKIN), frame.colors))
        for much in (0.5, 0.56)
    )
    assert np.abs(SKIN - HAIR).max() * 0.06 < 9
    first, second = (weights_of(share(dome, f)) for f in (one, two))
    np.testing.assert_array_equal(first, 1.0)
    np.testing.assert_array_equal(second, 1.0)
    np.testing.assert_array_equal(*(dome.tracker().register(f).vertices for f in (one, two)))


@pytest.mark.parametrize("light", [1.0, 1.3, 1.6])
def test_an_overexposed_or_shining_forehead_is_skin(dome, height, light):
    """Light skin whose channels are clipped one after the other, with a highlight on it."""
    frame = scan(dome)
    above = frame.vertices[:, 1] > LINE_MM
    colors = np.array([205.0, 155.0, 135.0]) * np.where(above, light, 1.0)[:, None] + 40.0 * above[:, None]
    colors = np.rint(np.minimum(colors, 255))
    assert share(dome, replace(frame, colors=colors))[height > 5].min() > 0.8


def test_a_highlight_explains_what_lies_between_skin_and_white_and_nothing_beside_it():
    dark = np.array([100.0, 65.0, 48.0])
    skin = tones_of(dark[None])[0]
    shining = 1.2 * dark + np.array([[0.0], [30.0], [90.0]])
    assert np.abs(unlike(shining, skin)[:, 1:]).max() < 0.02
    beige = unlike(np.array([[196.0, 168.0, 136.0]]), skin)[0, 1:]
    assert np.linalg.norm(beige) > 0.09
    clipped = unlike(np.array([[255.0, 190.0, 150.0]]), skin)
    assert np.abs(clipped[:, 1:]).max() < 0.02


@pytest.mark.parametrize(
    "hair", [(225, 220, 210), (180, 175, 170), (215, 190, 120), (245, 248, 245)], ids=str
)
def test_light_hair_and_white_caps_are_no_highlight(dome, height, hair):
    frame = scan(dome, thick=2.0)
    above = frame.vertices[:, 1] > LINE_MM
    colors = np.where(above[:, None], hair, (205.0, 155.0, 135.0))
    assert (share(dome, replace(frame, colors=colors))[height > 14] < 0.5).all()
