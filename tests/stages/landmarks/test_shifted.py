"""Landmark files of neighbouring frames: told by the scans before and after, and never where a head is still."""

import numpy as np
import pytest

from mimicme.pipeline.geometry import spatial
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.stages.landmarks.given import on_scan
from mimicme.stages.landmarks.shifted import NeighbourCheck, off_alike

SIDE = 41
X, Y = (a.ravel() for a in np.meshgrid(np.linspace(-100, 100, SIDE), np.linspace(-100, 100, SIDE)))
SHEET = np.stack([X, Y, 50 - X**2 / 200 - Y**2 / 300], axis=1)
_K = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
_A, _B, _C, _D = _K[:-1, :-1].ravel(), _K[:-1, 1:].ravel(), _K[1:, 1:].ravel(), _K[1:, :-1].ravel()
FACES = np.concatenate([np.stack([_A, _B, _C], 1), np.stack([_A, _C, _D], 1)]).astype(np.int32)
INNER = np.flatnonzero((np.abs(X) < 70) & (np.abs(Y) < 70))


def sequence(step_mm, frames=6, noise_mm=0.6, seed=0):
    """Scans that move towards the camera, and the points (68, 3) of each."""
    rng = np.random.default_rng(seed)
    picked = rng.choice(INNER, 68, replace=False)
    moved = [SHEET + [0, 0, k * step_mm] for k in range(frames)]
    return [(m[picked] + rng.normal(scale=noise_mm, size=(68, 3)), Surface(m, FACES)) for m in moved]


def compared(frames, shift=0):
    """What is said of files that are those of the scans so far before (-1) or after (1)."""
    check = NeighbourCheck()
    for row, (_, surface) in enumerate(frames):
        if 0 <= row + shift < len(frames):
            check.add(row, frames[row + shift][0], surface)
    return check.shift()


@pytest.mark.parametrize("shift", [-1, 1])
def test_files_of_the_frame_before_or_after_are_told(shift):
    found = compared(sequence(2.0), shift)
    assert found is not None and found.by == shift
    assert found.own_mm == pytest.approx(2.0, abs=0.4) and found.other_mm < 0.6
    assert ("before" if shift < 0 else "after") in found.sentence()
    assert ("smaller" if shift < 0 else "greater") in found.sentence()


def test_of_a_head_that_moves_evenly_it_is_not_said_that_files_are_another_frame_s():
    """Points of their own frame, all 1.2 mm below the skin of a head that comes nearer by as much each frame."""
    own = compared([(points - [0, 0, 1.2], surface) for points, surface in sequence(1.2, noise_mm=0.1)])
    assert own is not None and own.steady
    assert "or they are their own and all lie off alike" in own.sentence()
    assert "if it belongs to that, give each file the name of the scan before it" in own.sentence()


@pytest.mark.parametrize("shift", [-1, 1])
def test_where_the_distances_follow_the_head_s_steps_there_is_no_other_reading(shift):
    steps = np.cumsum([0.0, 1.0, 3.0, -1.5, 2.0, -3.0, 1.0, 2.5])
    frames = [
        (points + [0, 0, at], Surface(SHEET + [0, 0, at], FACES))
        for at, (points, _) in zip(steps, sequence(0.0, frames=8, noise_mm=0.1), strict=True)
    ]
    found = compared(frames, shift)
    assert found is not None and found.by == shift and not found.steady
    assert "alike" not in found.sentence()


@pytest.mark.parametrize("step_mm", [0.0, 0.3, 2.0, 8.0])
@pytest.mark.parametrize("noise_mm", [0.3, 1.5])
def test_a_frame_s_own_files_are_never_said_to_be_another_s(step_mm, noise_mm):
    assert compared(sequence(step_mm, noise_mm=noise_mm)) is None


def test_too_few_frames_and_frames_that_are_no_neighbours_tell_nothing():
    frames = sequence(2.0)
    assert compared(frames[:4], -1) is None  # three files, two pairs
    check = NeighbourCheck()
    for row in (1, 3, 5):
        check.add(row, frames[row - 1][0], frames[row][1])
    assert check.shift() is None


def test_files_that_are_off_without_belonging_elsewhere_say_nothing():
    frames = [(points + [0, 0, 2.0], surface) for points, surface in sequence(0.0)]
    assert compared(frames) is None


def test_points_that_are_absent_or_past_the_borders_do_not_count():
    check = NeighbourCheck()
    for row, (points, surface) in enumerate(sequence(2.0)):
        points = points.copy()
        points[5:] = np.nan
        points[:5, 0] += 500
        check.add(row, points, surface)
    assert check.shift() is None


TURN = np.array([[np.cos(0.03), -np.sin(0.03), 0], [np.sin(0.03), np.cos(0.03), 0], [0, 0, 1]])


@pytest.mark.parametrize("moved", [lambda p: p + [0, 0, 1.8], lambda p: p @ TURN.T + [1.0, 0, 1.5]])
def test_a_file_off_its_own_scan_as_a_whole_is_told_of_a_single_frame(moved):
    ((points, surface),) = sequence(0.0, frames=1, noise_mm=0.4)
    found = off_alike(moved(points), surface)
    assert found is not None
    assert found.off_mm > 1.2 and found.left_mm < 0.45 and 1.2 < found.moved_mm < 4.0
    assert f"{found.off_mm:.1f} mm off its scan" in found.sentence()
    check = NeighbourCheck()
    check.add(0, moved(points), surface)
    assert check.off_alike == {0: found} and check.shift() is None


@pytest.mark.parametrize("noise_mm", [0.3, 1.0, 3.0])
def test_points_that_are_imprecise_are_not_said_to_be_off_as_a_whole(noise_mm):
    told = [off_alike(*sequence(0.0, frames=1, noise_mm=noise_mm, seed=seed)[0]) for seed in range(10)]
    assert told == [None] * 10


def test_a_few_points_do_not_tell_a_motion():
    ((points, surface),) = sequence(0.0, frames=1)
    points[19:] = np.nan
    assert off_alike(points + [0, 0, 1.8], surface) is None


def test_the_rim_of_a_scan_is_looked_for_once(monkeypatch):
    """With some 200,000 vertices it costs 0.1 s, and was looked for four times a frame."""
    asked = []
    rim = spatial.boundary_vertices
    monkeypatch.setattr(spatial, "boundary_vertices", lambda *a: asked.append(0) or rim(*a))
    check = NeighbourCheck()
    for row, (points, surface) in enumerate(sequence(2.0, frames=4)):
        check.add(row, points, surface)
        on_scan(points, surface, 15.0)
    assert len(asked) == 4
