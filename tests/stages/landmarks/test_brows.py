"""Brows: dark strokes in pictures, with a line of a detector that is beside them and too short."""

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.stages.landmarks import brows
from mimicme.stages.landmarks.brows import PIXELS_PER_MM, SIZE_MM, Stroke, follow_brows
from mimicme.stages.landmarks.shade import hue_of, unshaded
from mimicme.stages.landmarks.views import Scene

HEIGHT, WIDTH = (round(side * PIXELS_PER_MM) for side in SIZE_MM)
SKIN, HAIR = 180.0, 60.0
ENDS_MM = (-26.0, 22.0)  # of the brow, from the middle of the picture


def bow(x_mm):
    """(n, 2) px of the brow's line at x, mm from the middle: an arch of 5 mm."""
    x_mm = np.asarray(x_mm, float)
    y_mm = 0.008 * x_mm**2 - 3.0
    return np.stack([WIDTH / 2 + x_mm * PIXELS_PER_MM, HEIGHT / 2 + y_mm * PIXELS_PER_MM], axis=1)


def drawn(hair=HAIR, shade=0.0, noise=3.0):
    """A picture with a brow; `shade`: how much darker skin is at the picture's lower edge than at the upper."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    x_mm = (x - WIDTH / 2) / PIXELS_PER_MM
    line = bow(np.clip(x_mm[0], *ENDS_MM))[:, 1]
    away_mm = np.abs(y - line) / PIXELS_PER_MM
    past_mm = np.maximum(x_mm - ENDS_MM[1], ENDS_MM[0] - x_mm)
    share = 1 / (1 + np.exp(4 * (away_mm - 3))) / (1 + np.exp(2 * past_mm))
    picture = SKIN * (1 - shade * y / HEIGHT) * (1 - share) + hair * share
    picture += np.random.default_rng(0).normal(scale=noise, size=picture.shape)
    return np.repeat(picture[..., None], 3, axis=2).astype(np.float32)


def nothing():
    return np.zeros((HEIGHT, WIDTH), bool)


def stroke(picture, empty, points, depth=None):
    """`brows.stroke` of a picture of a flat surface, or of one with a depth (h, w), mm."""
    depth = np.where(empty, np.nan, 0.0 if depth is None else depth).astype(np.float32)
    found = brows.stroke(unshaded(picture, depth, ~empty, PIXELS_PER_MM), empty, points)
    return None if found is None else found.line


SEEN = bow(np.linspace(-18, 18, 5)) + [0.0, 1.5 * PIXELS_PER_MM]
"""Where a detector has it: lower, and too short by 8 and by 4 mm."""


def ends_mm(line):
    return (line[[0, -1], 0] - WIDTH / 2) / PIXELS_PER_MM


@pytest.mark.parametrize("shade", [0.0, 0.3])
def test_a_stroke_is_followed_from_end_to_end(shade):
    line = stroke(drawn(shade=shade), nothing(), SEEN)
    np.testing.assert_allclose(ends_mm(line), ENDS_MM, atol=1.0)
    inside = (line[:, 0] - WIDTH / 2) / PIXELS_PER_MM
    assert np.abs(line - bow(inside))[:, 1].max() < 1.0 * PIXELS_PER_MM


def test_the_line_keeps_the_order_of_its_points():
    line = stroke(drawn(), nothing(), SEEN[::-1])
    np.testing.assert_allclose(ends_mm(line), ENDS_MM[::-1], atol=1.0)


def test_what_does_not_stand_out_is_no_stroke():
    assert stroke(drawn(hair=SKIN), nothing(), SEEN) is None
    assert stroke(drawn(hair=220.0), nothing(), SEEN) is None


def test_a_dark_half_is_no_stroke():
    """A shadow or a fringe that begins at the brow has skin on one side only."""
    picture = np.full((HEIGHT, WIDTH, 3), SKIN, np.float32)
    picture[HEIGHT // 2 :] = HAIR
    assert stroke(picture, nothing(), bow(np.linspace(-18, 18, 5))) is None


def test_an_end_over_a_hole_stays_where_it_was_seen():
    empty = nothing()
    empty[:, : int(WIDTH / 2 - 20 * PIXELS_PER_MM)] = True
    picture = drawn()
    picture[empty] = 0.0
    left, right = ends_mm(stroke(picture, empty, SEEN))
    assert abs(left + 18) < 1.0
    assert abs(right - ENDS_MM[1]) < 1.0


@pytest.mark.parametrize("below_mm", [3, 4, 5, 6, 7, 12, 20])
def test_a_hole_below_does_not_bend_it(below_mm):
    """A wide eye that is missing stays black."""
    empty, picture = nothing(), drawn()
    empty[HEIGHT // 2 + round(below_mm * PIXELS_PER_MM) :] = True
    picture[empty] = 0.0
    line = stroke(picture, empty, SEEN)
    if line is not None:
        inside = (line[:, 0] - WIDTH / 2) / PIXELS_PER_MM
        assert np.abs(line - bow(inside))[:, 1].max() < 1.0 * PIXELS_PER_MM
    assert (line is not None) == (below_mm >= 12)


def test_points_in_one_place_are_no_brow():
    assert stroke(drawn(), nothing(), np.full((5, 2), 60.0)) is None


def test_all_of_it_over_a_hole_is_no_stroke():
    assert stroke(drawn(), ~nothing(), SEEN) is None


def test_without_colours_nothing_is_followed():
    flat = Mesh(np.array([[-90.0, -90, 0], [90, -90, 0], [0, 90, 0]]), np.array([[0, 1, 2]], np.int32))
    points = np.random.default_rng(1).normal(scale=20, size=(68, 3))
    found, followed = follow_brows(Scene(flat, None), points, np.eye(4))
    np.testing.assert_array_equal(found, points)
    assert not followed.any()


def test_brows_of_a_scan_move_to_its_strokes_and_nothing_else_does():
    """A flat scan with both brows in its texture, seen squarely enough from the sides."""
    side = 128.0
    square = np.array([[-side, -side, 0], [side, -side, 0], [side, side, 0], [-side, side, 0]])
    uv = (square[:, :2] + side) / (2 * side)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    size = round(2 * side * PIXELS_PER_MM)
    image = np.full((size, size, 3), SKIN, np.uint8)
    middles = {"left": -45.0, "right": 45.0}
    for middle in middles.values():
        top = round(size / 2 - HEIGHT / 2)
        left = round(size / 2 + middle * PIXELS_PER_MM - WIDTH / 2)
        part = image[top : top + HEIGHT, left : left + WIDTH]
        # the left brow is the right one's mirror image, as people's nearly are
        way = -1 if middle > 0 else 1
        part[:] = np.minimum(part, drawn(noise=0.0).astype(np.uint8)[:, ::way])
    points = np.full((68, 3), 5.0)
    x = np.linspace(-18, 18, 5)
    for rows, middle in ((slice(17, 22), middles["left"]), (slice(22, 27), middles["right"])):
        points[rows] = np.stack([x + middle, 1.5 - 0.008 * x**2, 0 * x], axis=1)
    scene = Scene(Mesh(square, faces, uv=uv, uv_faces=faces), image)
    found, followed = follow_brows(scene, points, np.eye(4))
    assert np.flatnonzero(followed == 1).tolist() == list(range(17, 27))
    np.testing.assert_array_equal(found[followed == 0], points[followed == 0])
    mirrored = [-end for end in ENDS_MM[::-1]]
    for rows, middle, ends in (
        (slice(17, 22), middles["left"], ENDS_MM),
        (slice(22, 27), middles["right"], mirrored),
    ):
        np.testing.assert_allclose(found[rows][[0, -1], 0] - middle, ends, atol=1.5)


def test_a_brow_ends_where_shade_begins():
    """The root of the nose: a valley beside the end, dark for it is deep, into which a path of what is dark goes on."""
    y, x = (np.mgrid[:HEIGHT, :WIDTH] + 0.5 - np.array([HEIGHT, WIDTH])[:, None, None] / 2) / PIXELS_PER_MM
    valley = np.exp(-(((x - 26) / 5) ** 2) / 2 - ((y + 1) / 3) ** 2 / 2)
    others = sum(
        np.exp(-(((x - a) / 5) ** 2) / 2 - ((y - b) / 5) ** 2 / 2)
        for a, b in ((-5, 22), (-35, 20), (20, -22))
    )
    depth = -4.0 * (valley + others)
    shaded = drawn() * np.exp(0.25 * depth)[..., None].astype(np.float32)
    line = stroke(shaded, nothing(), SEEN, depth)
    np.testing.assert_allclose(ends_mm(line), ENDS_MM, atol=1.0)
    as_if_flat = stroke(shaded, nothing(), SEEN)
    assert as_if_flat is None or abs(ends_mm(as_if_flat)[1] - ENDS_MM[1]) > 3.0


def test_a_brow_that_goes_on_has_no_end():
    """Hair that hangs into the forehead: the detector's own end stays."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    away_mm = np.abs(y - bow((x[0] - WIDTH / 2) / PIXELS_PER_MM)[:, 1]) / PIXELS_PER_MM
    picture = np.where(away_mm < 3, HAIR, SKIN)[..., None] * np.ones(3)
    line = stroke(picture.astype(np.float32), nothing(), SEEN)
    np.testing.assert_allclose(ends_mm(line), [-18.0, 18.0], atol=1.0)


def test_a_faint_brow_counts_less_the_fainter_it_is():
    """From one frame to the next it must not be all or nothing."""
    counts = []
    for hair in np.linspace(120.0, SKIN, 13):
        flat = np.zeros((HEIGHT, WIDTH), np.float32)
        found = brows.stroke(
            unshaded(drawn(hair, noise=0.0), flat, ~nothing(), PIXELS_PER_MM), nothing(), SEEN
        )
        counts.append(0.0 if found is None else found.evidence)
    assert counts[0] == 1.0
    assert counts[-1] == 0.0
    assert np.abs(np.diff(counts)).max() < 0.6
    assert 0.0 < sorted(counts)[len([c for c in counts if c == 0.0])] < 1.0


def test_an_end_over_a_hole_is_looked_up_at_the_other_brow():
    """The end lies in a narrow hole, beyond which there is skin, whose mottles are no end."""
    empty = nothing()
    x_mm = (np.arange(WIDTH) + 0.5 - WIDTH / 2) / PIXELS_PER_MM
    empty[:, (x_mm > ENDS_MM[0] - 3) & (x_mm < ENDS_MM[0] + 5)] = True
    picture = drawn(noise=8.0)
    dark = unshaded(picture, np.where(empty, np.nan, 0.0).astype(np.float32), ~empty, PIXELS_PER_MM)
    alone = brows.stroke(dark, empty, SEEN)
    assert alone.ends[0] < 0.05 and alone.ends[1] > 0.9
    worth = alone.worth(np.linspace(0, 1, 5))
    assert worth[0] < 0.5 * worth[-1] and (np.diff(worth) > 0).all()
    both = brows.stroke(dark, empty, SEEN, None, (8.0, 1.0))
    np.testing.assert_allclose(ends_mm(both.line), ENDS_MM, atol=1.0)
    assert both.ends == alone.ends


def test_an_inner_end_unlike_the_other_brows_is_not_believed():
    """One stroke goes on into the shade beside the nose, by 8 mm; the other ends where the detector has it."""
    long = Stroke(SEEN, 1.0, (1.0, 1.0), (0.5, 8.0))
    other = Stroke(SEEN, 1.0, (1.0, 1.0), (0.3, -0.4))  # its first end is the inner one
    assert long.believed(other, 1) == (1.0, 0.0)
    assert other.believed(long, 0) == (1.0, 1.0)
    assert long.believed(other._replace(ends=(0.0, 1.0)), 1) == (1.0, 1.0)  # nothing to compare with
    assert long._replace(beyond=(0.5, 2.5)).believed(other, 1) == (1.0, 1.0)
    assert 0.2 < long._replace(beyond=(0.5, 3.7)).believed(other, 1)[1] < 0.8  # by degrees
    assert long.believed(other, 0) == (1.0, 1.0)  # people's outer ends differ


def test_such_an_end_goes_where_the_other_brow_ends():
    dark = unshaded(drawn(), np.zeros((HEIGHT, WIDTH), np.float32), ~nothing(), PIXELS_PER_MM)
    found = brows.stroke(dark, nothing(), SEEN, None, (2.0, 0.0), (0.0, 1.0))
    np.testing.assert_allclose(ends_mm(found.line), [-20.0, ENDS_MM[1]], atol=1.0)
    assert found.ends[0] == 0.0 and found.ends[1] > 0.9


def test_of_two_steps_that_are_alike_noise_does_not_choose():
    """A tuft beyond a gap: as it grows fainter than the rest the end moves from its end to the gap, by degrees."""
    x_mm = (np.arange(WIDTH) + 0.5 - WIDTH / 2) / PIXELS_PER_MM
    gap = (x_mm > 12) & (x_mm < 14.5)
    ends = []
    for hair in np.linspace(60.0, 130.0, 36):
        picture = drawn(noise=0.0)
        picture[:, gap] = SKIN
        tuft = x_mm >= 14.5
        picture[:, tuft] = SKIN - (SKIN - picture[:, tuft]) * (SKIN - hair) / (SKIN - HAIR)
        ends.append(ends_mm(stroke(picture, nothing(), SEEN))[1])
    assert ends[0] > 20 and ends[-1] < 13
    assert np.abs(np.diff(ends)).max() < 2.0


def test_of_a_step_beside_a_hole_there_is_the_less_evidence_the_nearer_it_lies():
    """Where the path has to leave the brow what it meets on its way looks like its end."""
    dark = np.r_[np.full(40, 0.5), np.full(40, 0.0)]
    evidence = []
    for off in range(6, 14):
        beside = dark.copy()
        beside[40 + off :] = np.nan
        evidence.append(brows._end(beside, slice(10, 40), 1, 0.0, 1.0)[1])
    assert evidence[0] < 0.3 and evidence[-1] == 1.0
    assert np.diff(evidence).min() >= 0.0 and np.diff(evidence).max() < 0.5


SKIN_RGB, HAIR_RGB = np.array([200.0, 140.0, 110.0]), np.array([66.0, 58.0, 52.0])


def beside_shade(hair=HAIR_RGB, dark=0.9):
    """A brow, and below its end a pool of shade as on a flat surface, that is `dark` (logarithm) at most."""
    y, x = (np.mgrid[:HEIGHT, :WIDTH] + 0.5 - np.array([HEIGHT, WIDTH])[:, None, None] / 2) / PIXELS_PER_MM
    share = (SKIN - drawn(noise=0.0)[..., :1]) / (SKIN - HAIR)
    pool = np.exp(-(((x - 28) / 6) ** 2) / 2 - ((y - 5) / 3) ** 2 / 2)[..., None]
    picture = (SKIN_RGB + (hair - SKIN_RGB) * share) * np.exp(-dark * pool)
    return (picture + np.random.default_rng(0).normal(scale=2.0, size=picture.shape)).astype(np.float32)


def in_colors(picture):
    flat = np.zeros((HEIGHT, WIDTH), np.float32)
    dark = unshaded(picture, flat, ~nothing(), PIXELS_PER_MM)
    return [brows.stroke(dark, nothing(), SEEN, hue).line for hue in (hue_of(picture), None)]


def test_shade_that_has_the_hue_of_skin_is_no_brow():
    """Below the inner end, beside the root of the nose, where a picture's light comes from the side."""
    told, by_brightness = in_colors(beside_shade())
    np.testing.assert_allclose(told[-1], bow([ENDS_MM[1]])[0], atol=1.2 * PIXELS_PER_MM)
    assert np.linalg.norm(by_brightness[-1] - bow([ENDS_MM[1]])[0]) > 3.0 * PIXELS_PER_MM


@pytest.mark.parametrize(
    "hair", [(110.0, 58.0, 45.0), (60.0, 42.0, 33.0)], ids=["redder", "of the skin's hue"]
)
def test_hair_that_has_the_hue_of_shade_tells_nothing(hair):
    told, by_brightness = in_colors(beside_shade(np.array(hair)))
    np.testing.assert_array_equal(told, by_brightness)


def test_hair_a_little_greyer_than_skin_is_told_from_shade():
    reddish = HAIR_RGB.mean() * SKIN_RGB / SKIN_RGB.mean()
    ends = [in_colors(beside_shade(reddish + share * (HAIR_RGB - reddish)))[0][-1] for share in (0.4, 1.0)]
    np.testing.assert_allclose(ends[0], ends[1], atol=0.3 * PIXELS_PER_MM)


def test_a_path_that_leaves_the_brow_for_some_millimetres_is_brought_back():
    x = np.linspace(-1, 1, 120)
    arch = 1.5 - 2.0 * x**2
    path = arch + np.random.default_rng(0).normal(scale=0.3, size=120)
    path[70:90] += 6.0  # around a hole
    path[105:] += np.linspace(0, 1.0, 15)  # a hook is the brow's own
    found = brows._arch(path, np.full(120, 0.5), 0.0, 119.0)
    assert np.abs(found - arch)[70:90].max() < 0.8
    assert np.abs(found - path)[:70].max() < 0.2
    assert np.abs(found - path)[105:].max() < 0.5
    few = np.zeros(120)
    few[:5] = 0.5
    np.testing.assert_array_equal(brows._arch(path, few, 0.0, 119.0), path)
