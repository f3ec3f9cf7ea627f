import numpy as np

from mimicme.pipeline.geometry.mesh import transform
from mimicme.stages.register.found_motion import MOST_MM, FoundPoints, believed, noise_mm

PLACES = 6.0 * np.stack(np.meshgrid(range(8), range(8), [0]), axis=-1).reshape(-1, 3).astype(float)
PLACES[:, 2] = 0.02 * ((PLACES - PLACES.mean(axis=0)) ** 2).sum(axis=1)
ALL = np.ones(len(PLACES), bool)
UPPER = PLACES[:, 1] > 15


def sequence(dome, motions, noise: float, seed: int = 0, step: int = 1) -> list[FoundPoints]:
    """Found points of as many frames as there are motions (n, 3), of a head that moves, too."""
    rng = np.random.default_rng(seed)
    places = [transform(dome.rigid(k, 2.0, 3.0), PLACES + motion) for k, motion in enumerate(motions)]
    return [FoundPoints(step * k, p + noise * rng.normal(size=p.shape), ALL) for k, p in enumerate(places)]


def up(mm: float) -> np.ndarray:
    motion = np.zeros_like(PLACES)
    motion[~UPPER, 1] = -mm
    return motion


def test_noise_is_what_moves_in_frames_at_rest(dome):
    still = up(0.0)
    opens = [still, up(4.0), up(8.0), up(3.0), still]
    for noise in (0.2, 0.8):
        told = noise_mm(sequence(dome, opens, noise, step=5), PLACES, UPPER)
        assert 0.5 * np.sqrt(3) * noise < np.median(told) < 1.5 * np.sqrt(3) * noise


def test_noise_is_what_changes_from_frame_to_frame_where_nothing_rests(dome):
    """Held for a second: a motion, though no frame is at rest."""
    held = [up(5.0 + 0.5 * np.sin(k / 8)) for k in range(40)]
    told = noise_mm(sequence(dome, held, 0.3), PLACES, UPPER)
    assert told.max() < 1.0
    every_second = noise_mm(sequence(dome, held, 0.3, step=2), PLACES, UPPER)
    np.testing.assert_array_equal(every_second, told)


def numbered(frames: list[FoundPoints], numbers) -> list[FoundPoints]:
    return [frame._replace(number=number) for frame, number in zip(frames, numbers, strict=True)]


def test_frames_that_are_missing_or_numbered_unevenly_leave_neighbours(dome):
    held = sequence(dome, [up(1.5)] * 20, 0.1)
    gone = [frame for frame in held if frame.number % 3]  # 1 2 4 5 7 8
    uneven = numbered(held, [round(2.5 * k) for k in range(20)])  # 0 2 5 8 10
    for frames in (held, gone, uneven):
        noise = noise_mm(frames, PLACES, UPPER)
        assert (noise > 0.1).all() and (noise < 0.4).all()
        kept = believed(up(1.5), PLACES, ALL, noise)
        np.testing.assert_allclose(kept[~UPPER], up(1.5)[~UPPER], rtol=0.02)


def test_a_steady_motion_is_none_though_a_frame_of_it_is_missing(dome):
    opens = [frame for frame in sequence(dome, [up(3 + 0.5 * k) for k in range(10)], 0.0) if frame.number % 3]
    assert noise_mm(opens, PLACES, UPPER).max() < 0.05


def test_scans_without_neighbours_in_time_are_believed_when_all_move_alike(dome):
    two = sequence(dome, [up(1.5)] * 2, 0.1)
    far = numbered(sequence(dome, [up(1.5)] * 6, 0.1), [0, 1, 40, 41, 95, 96])
    for frames in (two, far):
        assert not noise_mm(frames, PLACES, UPPER)[~UPPER].any()
    rests = [up(0.0), up(0.0), up(0.0), up(4.0), up(4.0), up(4.0), up(4.0)]
    numbers = [0, 1, 40, 41, 95, 96, 150]
    told = noise_mm(numbered(sequence(dome, rests, 0.2), numbers), PLACES, UPPER)
    assert 0.1 < np.median(told[~UPPER]) < 0.7


def test_points_by_hand_change_nothing_for_the_others(dome):
    """Key frames that were corrected, wholly or about the mouth, are no frames in which a detector errs by nothing."""
    found = sequence(dome, [up(0.0)] * 12, 0.8)
    told = noise_mm(found, PLACES, UPPER)
    wholly = [f._replace(use=ALL & (k % 3 > 0)) for k, f in enumerate(found)]
    half = [f._replace(use=ALL & ((k % 2 > 0) | UPPER)) for k, f in enumerate(found)]
    few = [f._replace(use=np.arange(len(PLACES)) < (3 if k < 4 else 64)) for k, f in enumerate(found)]
    for frames in (wholly, half, few):
        assert np.median(noise_mm(frames, PLACES, UPPER)[~UPPER]) > 0.75 * np.median(told[~UPPER])


def test_one_frame_tells_no_noise_and_is_believed(dome):
    noise = noise_mm(sequence(dome, [up(0.5)], 0.1), PLACES, UPPER)
    assert not noise.any()
    np.testing.assert_array_equal(believed(up(0.5), PLACES, ALL, noise), up(0.5))
    assert not noise_mm([], PLACES, UPPER).any()


def test_noise_is_hardly_believed_and_what_goes_far_is():
    noise = np.full(len(PLACES), 0.8)
    tremor = np.random.default_rng(0).normal(scale=0.8 / np.sqrt(3), size=PLACES.shape)
    left = np.linalg.norm(believed(tremor, PLACES, ALL, noise), axis=1)
    assert left.mean() < 0.3 * np.linalg.norm(tremor, axis=1).mean()
    np.testing.assert_allclose(believed(up(4.0), PLACES, ALL, noise)[~UPPER], up(4.0)[~UPPER], rtol=0.01)


def test_however_noisy_a_sequence_seems_a_motion_beyond_what_detectors_err_by_is_believed():
    far = up(2 * MOST_MM)
    kept = believed(far, PLACES, ALL, np.full(len(PLACES), 50.0))
    np.testing.assert_allclose(kept[~UPPER], far[~UPPER], rtol=0.05)


def test_a_lid_that_shuts_between_points_that_stay_is_believed():
    shut = np.zeros_like(PLACES)
    shut[27, 1] = -5.0
    np.testing.assert_allclose(believed(shut, PLACES, ALL, np.full(len(PLACES), 1.0)), shut, atol=0.1)


def test_points_that_are_not_to_be_used_say_nothing(dome):
    frames = sequence(dome, [up(0.0)] * 5, 0.1)
    wild = [f._replace(use=~UPPER | (PLACES[:, 0] < 20), landmarks=f.landmarks.copy()) for f in frames]
    for frame in wild:
        frame.landmarks[~frame.use] = 1e6
    assert noise_mm(wild, PLACES, UPPER).max() < 0.5
    motion, use = np.full_like(PLACES, 0.1), ALL.copy()
    motion[:32], use[:32] = 50.0, False
    left = believed(motion, PLACES, use, np.full(len(PLACES), 1.0))
    assert not left[:32].any()
    assert np.linalg.norm(left[32:], axis=1).max() < 0.01
