"""Shut eyes of bare scans: depths of a closed form, with an edge that hangs or arches between the corners of an eye."""

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.landmarks import DETECTED, GROUPS, MANUAL, N_LANDMARKS, NONE, Located
from mimicme.stages.landmarks.creases import PIXELS_PER_MM
from mimicme.stages.landmarks.given import merge
from mimicme.stages.landmarks.shut_lids import LIDS, RATHER_SHUT, follow_shut_lids, shut_lids
from mimicme.stages.landmarks.views import Scene

HEIGHT, WIDTH = 120, 160
Y, X = (np.mgrid[:HEIGHT, :WIDTH] + 0.5 - np.array([HEIGHT, WIDTH])[:, None, None] / 2) / PIXELS_PER_MM
HALF_MM = 15.0
EYE = np.array([[-15.0, 0.0], [-5.0, -2.0], [5.0, -2.0], [15.0, 0.0], [5.0, 3.0], [-5.0, 3.0]])
"""Lids as the networks draw them on a bare surface, nearly shut: mm, y down."""


def pixels(places):
    return places * PIXELS_PER_MM + np.array([WIDTH, HEIGHT]) / 2


def millimetres(places):
    return (places - np.array([WIDTH, HEIGHT]) / 2) / PIXELS_PER_MM


def edge(hangs, x):
    """mm, y down: where the upper lid ends that hangs by a share of the eye's length; 0 between its corners."""
    return hangs * 2 * HALF_MM * (1 - (x / HALF_MM) ** 2)


def eye(hangs, deep_mm=3.5):
    """Depth (height, width) mm of a lid that stands so far before what is below it, and bulges there."""
    line = edge(hangs, np.clip(X, -HALF_MM, HALF_MM))
    fades = 1 / (1 + np.exp((np.abs(X) - HALF_MM) / 0.5))
    step = -deep_mm * fades / (1 + np.exp(-(Y - line) / 0.4)) * np.exp(-np.clip(Y - line, 0, None) / 6.0)
    return (-0.004 * (X**2 + Y**2) + step).astype(np.float32)


def test_lids_of_a_shut_eye_meet_on_the_line_that_hangs():
    found, evidence = shut_lids(eye(0.16), pixels(EYE))
    assert evidence == 1
    there = millimetres(found)
    np.testing.assert_allclose(there[:, 0], EYE[list(LIDS), 0], atol=1.0)
    # the edge ends below its steepest place
    off = there[:, 1] - edge(0.16, there[:, 0])
    assert off.min() > -0.5 and off.max() < 2.0


@pytest.mark.parametrize("hangs", [-0.15, -0.05, 0.0, 0.04, 0.09])
def test_an_edge_that_arches_or_runs_straight_is_an_open_eyes(hangs):
    assert shut_lids(eye(hangs), pixels(EYE))[1] == 0


def test_evidence_grows_with_how_low_a_line_hangs_and_how_steep_it_is():
    lower = [shut_lids(eye(hangs), pixels(EYE))[1] for hangs in (0.10, 0.125, 0.14, 0.17)]
    assert lower[0] == 0 and 0 < lower[1] < lower[2] < lower[3] == 1
    steeper = [shut_lids(eye(0.16, deep), pixels(EYE))[1] for deep in (1.0, 2.0, 2.5, 3.5)]
    assert steeper[0] == 0 and 0 < steeper[1] < steeper[2] < steeper[3] == 1


def test_smooth_skin_and_a_hole_shut_no_eye():
    smooth = (-0.004 * (X**2 + Y**2)).astype(np.float32)
    assert shut_lids(smooth, pixels(EYE))[1] == 0
    hole = smooth.copy()
    hole[np.abs(Y - edge(0.16, X)) < 3.0] = np.nan
    assert shut_lids(hole, pixels(EYE))[1] == 0
    assert shut_lids(smooth, np.zeros((6, 2)))[1] == 0


def scene(hangs, colours=False):
    """A surface of the same form with its eye at the left eye's landmarks, and these; the right one sees nothing."""
    depth = eye(hangs)
    corners = np.stack([X, -Y, depth], axis=-1).reshape(-1, 3)
    row = (np.arange(HEIGHT - 1)[:, None] * WIDTH + np.arange(WIDTH - 1)).ravel()
    faces = np.concatenate(
        [
            np.stack([row, row + WIDTH, row + 1], axis=1),
            np.stack([row + 1, row + WIDTH, row + WIDTH + 1], axis=1),
        ]
    ).astype(np.int32)
    points = np.zeros((N_LANDMARKS, 3))
    points[GROUPS["left_eye"], :2] = EYE * [1, -1]
    points[GROUPS["right_eye"], :2] = EYE * [1, -1] + [500.0, 0.0]
    paint = np.full((len(corners), 3), 200, np.uint8) if colours else None
    return Scene(Mesh(corners, faces, colors=paint), None), points


def test_lids_of_a_bare_scan_go_where_they_meet_and_the_eye_is_named():
    bare, points = scene(0.16)
    elsewhere = points + [0.0, 9.0, 0.0]
    found, evidence, shut = follow_shut_lids(bare, points, elsewhere, np.eye(4))
    lids = np.arange(N_LANDMARKS)[GROUPS["left_eye"]][list(LIDS)]
    others = np.setdiff1d(np.arange(N_LANDMARKS), lids)
    assert shut == ("left_eye",) and evidence[lids].min() > RATHER_SHUT and not evidence[others].any()
    np.testing.assert_array_equal(found[others], elsewhere[others])
    assert np.abs(-found[lids, 1] - edge(0.16, found[lids, 0])).max() < 2.0


def test_open_eyes_and_coloured_scans_stay_as_they_are():
    for a_scene, points in (scene(-0.1), scene(0.16, colours=True)):
        found, evidence, shut = follow_shut_lids(a_scene, points, points + 1.0, np.eye(4))
        np.testing.assert_array_equal(found, points + 1.0)
        assert not evidence.any() and shut == ()


def test_an_eye_that_was_clicked_is_not_called_shut_by_what_is_found():
    def located(source, **shown):
        full = np.full(N_LANDMARKS, source, np.uint8)
        return Located(np.zeros((N_LANDMARKS, 3)), full, np.ones(N_LANDMARKS, np.float32), **shown)

    by_hand = located(NONE)
    by_hand.source[GROUPS["left_eye"]] = MANUAL
    detected = located(DETECTED, shown_shut=("left_eye", "right_eye"))
    assert merge(by_hand, detected).shown_shut == ("right_eye",)
