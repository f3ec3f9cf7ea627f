"""temporal: what rattles is made still, what moves stays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mimicme.pipeline.numerics.temporal import (
    MIN_FRAMES,
    Regions,
    runs,
    smooth,
    smooth_poses,
    smoothing_matrix,
)

COUNT = 40
TIMES = np.arange(COUNT)


def motion(count=COUNT):
    """(F,) a mouth that opens for a third of the sequence and closes again."""
    t = np.linspace(0, 1, count)
    return 10 * np.exp(-(((t - 0.5) / 0.13) ** 2))


def sequence(noise_mm, seed=0, count=COUNT):
    """(F, 200, 3) truth and the same with noise: vertex k moves along y as far as k says."""
    rng = np.random.default_rng(seed)
    rest, share = rng.normal(scale=50, size=(200, 3)), np.linspace(0, 1, 200)
    truth = rest + motion(count)[:, None, None] * share[:, None] * [0, 1, 0]
    return truth, (truth + noise_mm * rng.normal(size=truth.shape)).astype(np.float32)


def noise():
    """(F, 200, 3) of a still shape."""
    truth, noisy = sequence(0.5)
    return (noisy - truth).astype(np.float32)


def smoothed(frames, times):
    """A smoothed copy; `smooth` itself works in place."""
    copy = np.ascontiguousarray(frames, np.float32).copy()
    smooth(copy, times)
    return copy


def rigid(seed):
    """A motion of a head: up to 25 degrees about each axis and 60 mm along it."""
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(np.radians(rng.uniform(-25, 25, 3))).as_matrix()
    pose[:3, 3] = rng.uniform(-60, 60, 3)
    return pose


def jitter(a):
    return np.linalg.norm(np.diff(a, 2, axis=0), axis=-1).mean()


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_polynomials_up_to_the_second_degree_are_kept(degree):
    times = np.array([0, 1, 2, 4, 5, 6, 8, 9, 10, 13, 14])  # gaps too
    value = np.random.default_rng(0).normal(size=(1, 5, 3))
    frames = (((times - 6.0) / 7) ** degree)[:, None, None] * value + 3
    np.testing.assert_allclose(smoothed(frames.astype(np.float32), times), frames, atol=1e-4)


def test_the_mean_is_kept():
    _, noisy = sequence(1.0)
    matrix = smoothing_matrix(noisy, TIMES)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(matrix.mean(axis=0), np.full(COUNT, 1 / COUNT), atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_noise_goes_and_the_apex_stays(seed):
    truth, noisy = sequence(0.5, seed)
    found = smoothed(noisy, TIMES)
    assert 0.001 < jitter(found - truth) < 0.1 * jitter(noisy - truth)
    assert np.linalg.norm(found - truth, axis=2).mean() < 0.5 * np.linalg.norm(noisy - truth, axis=2).mean()
    moving = slice(150, None)
    reach = (found - found[:1])[:, moving, 1].mean(axis=1).max()
    assert reach == pytest.approx((truth - truth[:1])[:, moving, 1].mean(axis=1).max(), rel=0.03)


def test_a_clean_sequence_is_hardly_touched():
    truth, clean = sequence(0.0)
    assert abs(smoothed(clean, TIMES) - truth).max() < 0.05


def test_it_does_not_depend_on_frame_or_direction():
    _, noisy = sequence(0.5)
    turn = rigid(0)[:3, :3].astype(np.float32)
    here = smoothed(noisy, TIMES)
    np.testing.assert_allclose(smoothed(noisy @ turn.T, TIMES), here @ turn.T, atol=1e-2)
    np.testing.assert_allclose(smoothed(noisy[::-1], TIMES)[::-1], here, atol=1e-2)


def test_short_sequences_stay_as_they_are():
    _, noisy = sequence(1.0, count=MIN_FRAMES - 1)
    np.testing.assert_array_equal(smoothed(noisy, np.arange(MIN_FRAMES - 1)), noisy)


def test_noise_alone_leaves_no_motion():
    """Polynomials cost nothing and would keep a thirteenth of the noise's energy."""
    left = smoothed(noise(), TIMES)
    left -= left.mean(axis=0)
    assert np.sqrt((left**2).mean()) < 0.25 * 0.5 * np.sqrt(3 / COUNT)


MOVING = np.linspace(0, 1, 200) > 0.5
REGIONS = Regions(np.linspace(0, 1, 200) < 0.05, MOVING)


@pytest.mark.parametrize(("regions", "kept"), [(None, (0.0, 0.2)), (REGIONS, (0.93, 1.05))])
def test_motion_that_differs_in_every_frame_stays_where_something_still_tells_it_from_noise(regions, kept):
    """Expressions scanned one by one: in time they are as white as noise, but the skull does not take part."""
    order = np.random.default_rng(4).permutation(COUNT)
    truth, noisy = (frames[order].astype(np.float32) for frames in sequence(0.5))
    smooth(noisy, TIMES, regions)
    true, found = ((a - a.mean(axis=0))[:, MOVING] for a in (truth, noisy))
    assert kept[0] < (found * true).sum() / (true**2).sum() < kept[1]


def test_where_something_still_is_as_restless_as_the_rest_noise_goes_as_without():
    noisy = noise()
    here = noisy.copy()
    smooth(here, TIMES, REGIONS)
    np.testing.assert_allclose(here, smoothed(noisy, TIMES), atol=1e-6)


@pytest.mark.parametrize("regions", [None, Regions(MOVING & False, MOVING), Regions(MOVING, MOVING & False)])
def test_a_short_sequence_stays_as_it_is_where_nothing_tells_noise(regions):
    np.testing.assert_array_equal(smoothing_matrix(noise()[:3], np.arange(3), regions), np.eye(3))


def test_of_a_short_sequence_motion_stays_and_noise_goes():
    frames = noise()[:3]
    frames[1, MOVING] += [0, 9, 0]
    matrix = smoothing_matrix(frames, np.arange(3), REGIONS)
    value = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(value, [1, 1, 0], atol=1e-6)
    moved = np.einsum("st,tvx->svx", matrix, frames)[:, MOVING, 1].mean(axis=1)
    assert moved[1] - moved[[0, 2]].mean() == pytest.approx(9, abs=0.2)


def test_a_still_sequence_stays_still():
    still = np.ones((COUNT, 10, 3), np.float32)
    np.testing.assert_allclose(smoothed(still, TIMES), still, rtol=1e-6)


def test_poses_stay_rigid_and_lose_their_tremor():
    rng = np.random.default_rng(0)
    centre = np.array([0.0, 30, 60])
    true = np.tile(rigid(1), (COUNT, 1, 1))
    nod = Rotation.from_rotvec(np.c_[np.radians(8) * np.sin(TIMES / 12), 0 * TIMES, 0 * TIMES]).as_matrix()
    true[:, :3, :3] = true[:, :3, :3] @ nod
    shaken = true.copy()
    shaken[:, :3, :3] = (
        true[:, :3, :3] @ Rotation.from_rotvec(0.003 * rng.normal(size=(COUNT, 3))).as_matrix()
    )
    shaken[:, :3, 3] += 0.2 * rng.normal(size=(COUNT, 3))
    found = smooth_poses(shaken, centre, TIMES)
    np.testing.assert_allclose(
        found[:, :3, :3] @ found[:, :3, :3].swapaxes(1, 2), np.tile(np.eye(3), (COUNT, 1, 1)), atol=1e-9
    )
    np.testing.assert_array_equal(found[:, 3], np.tile([0.0, 0, 0, 1], (COUNT, 1)))

    points = centre + rng.normal(scale=50, size=(20, 3))

    def at(poses):
        return np.einsum("fab,kb->fka", poses[:, :3, :3], points) + poses[:, None, :3, 3]

    before, after = (np.linalg.norm(at(poses) - at(true), axis=2).mean() for poses in (shaken, found))
    assert 0.01 < after < 0.6 * before
    assert jitter(at(found)) < 0.3 * jitter(at(shaken))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0, 1, 2], [[0, 1, 2]]),
        ([0, 3, 7, 8], [[0, 1], [2, 3]]),
        ([5], [[0]]),
        ([0, 10, 20], [[0], [1], [2]]),
    ],
)
def test_runs_end_where_frames_are_missing(times, expected):
    assert [list(part) for part in runs(np.array(times), 3)] == expected


def slow_motion_in_noise(seed, moves_mm, count=17):
    """(F, 400, 3) truth and the same with noise as large as the motion: fields that run over all of the surface."""
    rng = np.random.default_rng(seed)
    place = np.linspace(0, 1, 400)
    fields = np.sin(np.outer(rng.uniform(20, 60, 3), place) + rng.uniform(0, 6, (3, 1)))
    noise = np.einsum("fkx,kv->fvx", rng.normal(size=(count, 3, 3)), fields)
    opened = np.sin(np.linspace(0, np.pi, count)) ** 2
    truth = moves_mm * opened[:, None, None] * (place > 0.4)[:, None] * np.array([0.0, 1.0, 0.0])
    return truth, (truth + noise).astype(np.float32)


HALVES = Regions(np.linspace(0, 1, 400) < 0.3, np.linspace(0, 1, 400) > 0.4)


def test_a_slow_motion_as_small_as_the_noise_is_kept():
    """No mode is the motion, so that by modes alone it is lost in one sequence of three."""
    for seed in range(12):
        truth, noisy = slow_motion_in_noise(seed, 3.5)
        smooth(noisy, np.arange(17), HALVES)
        true, found = ((a - a.mean(axis=0))[:, HALVES.moving, 1] for a in (truth, noisy))
        assert 0.5 < (found * true).sum() / (true**2).sum() < 1.2, seed


def test_a_still_shape_in_the_same_noise_stays_still():
    left = []
    for seed in range(8):
        _, noisy = slow_motion_in_noise(seed, 0.0)
        before = np.std(noisy - noisy.mean(axis=0))
        smooth(noisy, np.arange(17), HALVES)
        left.append(np.std(noisy - noisy.mean(axis=0)) / before)
    assert np.median(left) < 0.2


def test_a_head_that_turns_little_in_few_frames_is_not_held_still():
    rng = np.random.default_rng(3)
    times = np.arange(MIN_FRAMES)
    turn = np.radians(0.5) * np.sin(np.linspace(0, np.pi, MIN_FRAMES))
    true = np.tile(np.eye(4), (MIN_FRAMES, 1, 1))
    true[:, :3, :3] = Rotation.from_rotvec(np.c_[0 * turn, turn, 0 * turn]).as_matrix()
    shaken = true.copy()
    noise = Rotation.from_rotvec(np.radians(0.2) * rng.normal(size=(MIN_FRAMES, 3)))
    shaken[:, :3, :3] = true[:, :3, :3] @ noise.as_matrix()
    found = smooth_poses(shaken, np.zeros(3), times)
    turned = Rotation.from_matrix(found[:, :3, :3]).as_rotvec()[:, 1]
    assert np.ptp(turned) > 0.6 * np.ptp(turn)
    off = [
        Rotation.from_matrix(p[:, :3, :3].swapaxes(1, 2) @ true[:, :3, :3]).magnitude()
        for p in (found, shaken)
    ]
    assert off[0].mean() < off[1].mean()


def test_every_mode_stays_where_that_is_asked_for():
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(MIN_FRAMES, 40, 3)).astype(np.float32)
    times = np.arange(MIN_FRAMES)
    tested, every = (np.trace(smoothing_matrix(frames, times, every_mode=e)) for e in (False, True))
    assert tested == pytest.approx(1.0, abs=0.6)  # little more than the mean
    assert 2.5 < every < MIN_FRAMES - 1
