"""track: a sequence is registered as one, wherever it lies, and known deformations are found again."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.rigid import fit_rigid
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks.deviation import landmark_deviation
from mimicme.pipeline.stage import Task
from mimicme.stages.register import STAGE
from mimicme.stages.register.frame import Frame
from mimicme.stages.register.frames import open_frames
from mimicme.stages.register.levels import build_levels
from mimicme.stages.register.settings import PRESETS, RegisterSettings
from mimicme.stages.register.track import SequenceTracker


def moved_by(motion: np.ndarray, frame: Frame) -> Frame:
    return replace(
        frame,
        vertices=transform(motion, frame.vertices),
        landmarks=transform(motion, frame.landmarks),
        pose=motion @ frame.pose,
    )


@pytest.fixture(scope="module")
def head(finer_face):
    """A template with lips, fine enough for some of their points to meet in edges, and a frame of a head of its kind,
    scanned with closed lips."""
    template = finer_face
    scan = 1.03 * template.vertices
    scan[:, 2] += 2.0 * np.sin(scan[:, 0] / 20) * np.cos(scan[:, 1] / 25)
    marks = Surface(scan, template.faces).closest(1.03 * template.landmarks()).points
    return template, Frame(0, scan, template.faces, marks, np.ones(68), np.eye(4))


def test_what_rounding_changes_moves_no_vertex(dome, head):
    """A pose that is off by less than a float's last digit, triangles that begin at another corner."""
    template, frame = head
    settings = RegisterSettings(**PRESETS["fast"])
    levels = build_levels(template, settings.coarse_vertices, settings.membrane)
    assert levels.lips is not None

    def fit(frame: Frame) -> np.ndarray:
        return dome.in_scan(SequenceTracker(template, levels, settings, None).register(frame))

    plain = fit(frame)
    rolled = (np.arange(len(frame.faces))[:, None] + np.arange(3)) % 3
    for other in (
        replace(frame, faces=np.take_along_axis(frame.faces, rolled, axis=1)),
        replace(frame, vertices=frame.vertices[::-1].copy(), faces=len(frame.vertices) - 1 - frame.faces),
        *(moved_slightly(frame, 10.0**power, seed) for power in (-9, -7, -6) for seed in range(2)),
    ):
        assert np.abs(fit(other) - plain).max() < 1e-3


def moved_slightly(frame: Frame, by_mm: float, seed: int) -> Frame:
    """A frame whose pose is off by so much."""
    pose = frame.pose.copy()
    pose[:3, 3] += by_mm * np.random.default_rng(seed).normal(size=3)
    return replace(frame, pose=pose)


@pytest.mark.parametrize(("noise", "low", "high"), [(0.0, 0.2, 0.3), (1.0, 0.5, 0.4)])
def test_a_known_deformation_is_found_again(dome, noise, low, high):
    """Low in mm; high as a share of what the best rigid motion leaves."""
    tracker = dome.tracker()
    tracker.register(dome.frame(0, 0.0, landmark_noise_mm=noise))
    found = tracker.register(dome.frame(1, 1.0, dome.rigid(0), landmark_noise_mm=noise))
    rest, truth = dome.template().vertices, dome.truth(1.0)
    moving = dome.apart(truth, rest) > 3
    rigid = dome.apart(transform(fit_rigid(rest, truth), rest), truth)[moving].mean()
    error = dome.apart(dome.in_scan(found), transform(dome.rigid(0), truth))[moving].mean()
    assert low < error < high * rigid
    assert 0.02 < found.quality.s2m_median < 0.15  # the scan's own noise is 0.05 mm
    assert found.quality.flipped_triangles == 0


def test_without_landmarks_the_surface_alone_leads(dome):
    frame = replace(dome.frame(0, 0.3), landmarks=np.full((68, 3), np.nan), confidence=np.zeros(68))
    found = dome.tracker().register(frame)
    assert np.isnan(found.quality.landmark_error)
    assert found.quality.s2m_median < 0.15
    error = dome.apart(dome.in_scan(found), dome.truth(0.3)).mean()
    assert 0.01 < error < 1.0


@cache
def _sequence(dome, amounts=(0.0, 0.8)):
    return [
        dome.frame(k, a, dome.rigid(9, 2.0 * k, 3.0 * k), landmark_noise_mm=0.5)
        for k, a in enumerate(amounts)
    ]


def test_a_rigid_motion_of_everything_changes_only_the_pose(dome):
    motion = dome.rigid(0, 60.0, 150.0)
    here, there = dome.tracker(), dome.tracker()
    for frame in _sequence(dome):
        a, b = here.register(frame), there.register(moved_by(motion, frame))
        # queries work in float32, so a pair may fall to the other side of a threshold
        assert dome.apart(a.vertices, b.vertices).mean() < 1e-3
        assert dome.apart(a.vertices, b.vertices).max() < 0.05
        np.testing.assert_allclose(b.pose, motion @ a.pose, atol=2e-3)
        assert b.quality.s2m_median == pytest.approx(a.quality.s2m_median, abs=1e-3)


def test_the_order_of_the_scans_vertices_does_not_matter(dome):
    frame = dome.frame(0, 0.5)
    order = np.random.default_rng(0).permutation(len(frame.vertices))
    names = np.argsort(order).astype(np.int32)
    other = replace(frame, vertices=frame.vertices[order], faces=names[frame.faces][::-1].copy())
    a, b = (dome.tracker().register(f) for f in (frame, other))
    assert dome.apart(a.vertices, b.vertices).mean() < 1e-2


def test_the_same_frames_give_the_same_bytes(dome):
    first, second = dome.tracker(), dome.tracker()
    for frame in _sequence(dome):
        a, b = first.register(frame), second.register(frame)
        assert a.vertices.tobytes() == b.vertices.tobytes()
        assert a.pose.tobytes() == b.pose.tobytes()
        assert a.quality == b.quality


def test_the_frames_given_are_left_alone(dome):
    frame = dome.frame(0, 0.5, landmark_noise_mm=0.5)
    before = [a.copy() for a in (frame.vertices, frame.faces, frame.landmarks, frame.confidence, frame.pose)]
    dome.tracker().register(frame)
    for a, b in zip(
        before, (frame.vertices, frame.faces, frame.landmarks, frame.confidence, frame.pose), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_the_most_neutral_frame_comes_first(dome):
    frames = {row: dome.frame(row, a, dome.rigid(row)) for row, a in enumerate((0.9, 0.6, 0.02, 0.5))}
    assert order(dome.tracker(), [0, 1, 2, 3], frames) == [2, 0, 1, 3]
    assert order(dome.tracker(), [0, 1, 3], frames) == [3, 0, 1]
    assert order(dome.tracker(), [], frames) == []
    mute = {row: replace(f, confidence=np.zeros(68)) for row, f in frames.items()}
    assert order(dome.tracker(), [1, 2], mute) == [1, 2]


def test_the_next_comes_when_the_most_neutral_does_not_fit(dome):
    frames = {row: dome.frame(row, a, dome.rigid(row)) for row, a in enumerate((0.9, 0.0, 0.3, 0.05))}
    assert order(dome.tracker(), [0, 1, 2, 3], frames, fails={1}) == [1, 3, 0, 2]


def test_with_a_neutral_time_gives_the_order(dome):
    frames = {row: dome.frame(row, a) for row, a in enumerate((0.9, 0.6, 0.02))}
    assert order(dome.tracker(dome.truth(0.0)), [0, 1, 2], frames) == [0, 1, 2]


def order(tracker, rows, frames, fails=()):
    """The order asked for when every frame but those in `fails` can be registered."""
    asked = []
    marks = tracker.setup.template.landmarks()
    for row in tracker.order(
        rows, lambda row: landmark_deviation(frames[row].landmarks, frames[row].confidence, marks)
    ):
        asked.append(row)
        if tracker.neutral is None and row not in fails:
            tracker.person = replace(tracker.person, neutral=tracker.setup.template.vertices)
    return asked


COUNT = 12


AMOUNTS = 0.5 - 0.5 * np.cos(np.linspace(0, 2 * np.pi, COUNT))


OK = [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]


@pytest.fixture(scope="module")
def frames(dome) -> list[Frame]:
    """Twelve frames that open and close the mouth; the fourth is no face."""
    return dome.noisy_sequence(AMOUNTS)


@pytest.fixture(scope="module")
def task(dome, frames, tmp_path_factory) -> Task:
    return dome.quick_task(tmp_path_factory.mktemp("register"), frames, lost=(7,))


@pytest.fixture(scope="module")
def checkpoint(dome, task, tmp_path_factory) -> Path:
    return dome.made(task, tmp_path_factory.mktemp("made") / "a.h5")


def test_the_stage_writes_every_row(dome, frames, checkpoint):
    with Checkpoint(checkpoint) as found:
        assert found.ok_rows == OK
        assert [found.statuses[row].reason for row in (3, 7)] == ["register-misfit", "off"]
        vertices, pose = found["vertices"][:], found["pose"][:]
        assert vertices.dtype == np.float32 and vertices.shape == (COUNT, len(dome.template().vertices), 3)
        for row in range(COUNT):
            ok = row in OK
            assert np.isfinite(vertices[row]).all() == np.isfinite(pose[row]).all() == ok
            assert np.isfinite(found["quality/s2m_median"][row]) == ok
        neutral = [row for row in OK if np.array_equal(found["neutral"][:], vertices[row])]
        assert len(neutral) == 1 and AMOUNTS[neutral[0]] < 0.1
        assert not found.attrs["personal_template"]


def test_the_stage_finds_the_deformation(dome, frames, checkpoint):
    with Checkpoint(checkpoint) as found:
        for row in found.ok_rows:
            truth = transform(frames[row].pose, dome.truth(AMOUNTS[row]))
            where = transform(found["pose"][row], found["vertices"][row].astype(float))
            assert 0.2 < dome.apart(where, truth).mean() < 1.3


def test_the_stage_gives_the_same_bytes_again(dome, task, checkpoint, tmp_path):
    assert dome.made(task, tmp_path / "b.h5").read_bytes() == checkpoint.read_bytes()


def test_a_frame_knows_which_of_its_eyes_landmarks_saw_shut(dome, frames, tmp_path):
    shut: list[tuple[str, ...]] = [("right_eye",), ("left_eye",), (), ("left_eye", "right_eye")]
    seen = [replace(frame, shown_shut=eyes) for frame, eyes in zip(frames[:4], shut, strict=True)]
    with open_frames(dome.quick_task(tmp_path, seen)) as read:
        assert [set(read.load(row, np.eye(4)).shown_shut) for row in range(4)] == [set(eyes) for eyes in shut]


def test_the_neutral_of_another_sequence_is_the_template_of_this_one(dome, frames, checkpoint, tmp_path):
    task = replace(dome.quick_task(tmp_path, frames[5:7]), neutral=checkpoint)
    with Checkpoint(dome.made(task, tmp_path / "c.h5")) as found:
        assert found.attrs["personal_template"]
        assert found.ok_rows == [0, 1]
        # its own frames are not neutral: it has no neutral to offer
        assert "neutral" not in found


def test_a_neutral_sequence_that_failed_is_no_template(dome, frames, tmp_path):
    lost = dome.made(dome.quick_task(tmp_path / "lost", frames[3:4]), tmp_path / "lost.h5")
    with Checkpoint(lost) as found:
        assert not found.ok_rows
        assert "neutral" not in found
    task = replace(dome.quick_task(tmp_path, frames[:1]), neutral=lost)
    with Checkpoint(dome.made(task, tmp_path / "d.h5")) as found:
        assert found.ok_rows == [0]
        assert not found.attrs["personal_template"]


def test_smoothing_in_time_removes_jitter(dome, frames, task, checkpoint, tmp_path):
    raw = replace(task, settings=replace(dome.QUICK, smooth_in_time=False))
    with Checkpoint(dome.made(raw, tmp_path / "raw.h5")) as a, Checkpoint(checkpoint) as b:
        assert a.ok_rows == b.ok_rows
        truth = np.stack([dome.truth(amount) for amount in AMOUNTS[OK]])
        off = [x["vertices"][:][OK] - truth for x in (a, b)]
        raw_jitter, jitter = (np.linalg.norm(np.diff(x, 2, axis=0), axis=2).mean() for x in off)
        raw_error, error = (np.linalg.norm(x, axis=2).mean() for x in off)
        assert 0 < jitter < 0.7 * raw_jitter
        assert error < 1.05 * raw_error
        np.testing.assert_allclose(b["quality/s2m_median"][:][OK], a["quality/s2m_median"][:][OK], atol=0.15)


def test_presets_change_settings_that_exist():
    for values in STAGE.settings_by_preset.values():
        RegisterSettings(**values)
