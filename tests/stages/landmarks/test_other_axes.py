"""Given points in other axes or another unit than the scan: which, and what is to be done, is told."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import GROUPS, MIRROR
from mimicme.stages.landmarks.given import on_scan, refuse_mirrored


def hilly(x, y):
    """A nose on a slope, so that no two directions look alike."""
    return 0.4 * x + 20 * np.exp(-(x**2 + y**2) / 800) + 0.2 * y


def surface():
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(-120, 120, 61), np.linspace(-120, 120, 61)))
    k = np.arange(61 * 61).reshape(61, 61)
    a, b, c, d = k[:-1, :-1].ravel(), k[:-1, 1:].ravel(), k[1:, 1:].ravel(), k[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return Surface(np.stack([x, y, hilly(x, y)], axis=1), faces)


def face():
    """68 points of a face on it."""
    points = np.zeros((68, 2))
    t = np.linspace(-1, 1, 17)
    points[:17] = np.stack([60 * t, 60 * t**2 - 70], axis=1)
    for side, x in (("left", -30), ("right", 30)):
        turn = np.pi - np.arange(6) * np.pi / 3
        points[GROUPS[f"{side}_eyebrow"]] = np.stack([x + np.linspace(-12, 12, 5), np.full(5, 50.0)], axis=1)
        points[GROUPS[f"{side}_eye"]] = np.stack([x + 12 * np.cos(turn), 30 + 5 * np.sin(turn)], axis=1)
    points[27:31, 1] = [30, 20, 10, 0]
    points[31:36] = np.stack([np.linspace(-12, 12, 5), np.full(5, -8.0)], axis=1)
    for part, count, wide in ((slice(48, 60), 12, 24), (slice(60, 68), 8, 16)):
        turn = np.pi - np.arange(count) * 2 * np.pi / count
        points[part] = np.stack([wide * np.cos(turn), -35 + 8 * np.sin(turn)], axis=1)
    return np.column_stack([points, hilly(*points.T)])


SCAN_FROM_FILE = np.diag([1000.0, 1000.0, 1000.0, 1.0])


def refused(points):
    with pytest.raises(FrameRejected) as caught:
        refuse_mirrored(points / 1000, SCAN_FROM_FILE, surface())
    assert caught.value.reason == "landmarks-mirrored"
    return caught.value


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_points_that_lie_on_the_scan_only_when_mirrored_are_refused(axis):
    name, sign = "xyz"[axis], 1 - 2 * np.eye(3)[axis]
    error = refused(face() * sign)
    assert f"{name} is negated" in error.what and f"with {name} negated" in error.seen
    assert ("left and right are exchanged" in error.what) == (name == "x")
    assert f"Write their {name} with the other sign." in error.todo
    assert "`mirrored` in [captures] would not help" in error.todo


def test_points_that_are_a_face_beside_a_mirrored_scan():
    error = refused(face()[MIRROR] * [-1, 1, 1])
    assert "the scan is the mirror image: export it again" in error.todo


@pytest.mark.parametrize("change", [[0, 0, 0], [0, 0, 9.0], [12.0, 0, 0]])
def test_points_that_lie_as_they_should_or_off_by_something_else_are_left(change):
    points = face() + change
    points[5] = np.nan
    refuse_mirrored(points / 1000, SCAN_FROM_FILE, surface())
    noise = np.random.default_rng(0).normal(scale=8, size=points.shape)
    refuse_mirrored((points + noise) / 1000, SCAN_FROM_FILE, surface())
    refuse_mirrored(np.full((68, 3), np.nan), SCAN_FROM_FILE, surface())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p[:, [2, 0, 1]], " mm off with y z x for x y z: write them in the axes"),
        (lambda p: p * [-1, -1, 1], " mm off with x and y negated: write them in the axes"),
        (lambda p: p / 10, " mm off if multiplied by 10: write them in the unit"),
        (
            lambda p: p + [0, 0, 0.4],
            "Their middle is at 0 -0.0241 0.402, the scan's at 0 0 ",
        ),  # not shrunk until they lie on it
    ],
)
def test_what_would_bring_points_onto_the_scan(change, told):
    points = change(face() / 1000)
    with pytest.raises(FrameRejected) as caught:
        on_scan(points * 1000, surface(), 5.0, points, SCAN_FROM_FILE)
    assert caught.value.reason == "landmarks-off-scan"
    assert told in caught.value.todo
