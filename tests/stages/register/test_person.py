"""person: what is found with the neutral - a detector's bias, what is worn - holds in all other frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.stages.register.checkpoint import RegisteredCheckpoint


def test_the_first_frame_becomes_the_neutral_and_only_it(dome):
    tracker = dome.tracker()
    first = tracker.register(dome.frame(4, 0.0))
    np.testing.assert_array_equal(tracker.neutral, first.vertices)
    assert tracker.neutral_number == 4
    tracker.register(dome.frame(5, 1.0))
    np.testing.assert_array_equal(tracker.neutral, first.vertices)


def test_a_given_neutral_stays(dome):
    given = dome.truth(0.2)
    tracker = dome.tracker(given)
    tracker.register(dome.frame(0, 0.5))
    np.testing.assert_array_equal(tracker.neutral, given)


def test_what_a_detector_is_off_by_in_the_neutral_is_taken_off_in_other_frames(dome):
    offset = np.random.default_rng(3).normal(scale=1.5, size=(68, 3))
    offset[:17] = 0
    frame = replace(dome.frame(1, 0.5, dome.rigid(1)), detected=dome.ALL_DETECTED)
    exact = dome.in_scan(dome.tracker(dome.truth(0.0)).register(frame))
    knows, does_not = dome.tracker(dome.truth(0.0)), dome.tracker(dome.truth(0.0))
    knows.person = replace(knows.person, detector_offset=offset)
    np.testing.assert_allclose(
        dome.in_scan(knows.register(dome.seen_beside(frame, offset))), exact, atol=1e-6
    )
    assert dome.apart(dome.in_scan(does_not.register(dome.seen_beside(frame, offset))), exact).max() > 0.5


@pytest.mark.parametrize(("by_mm", "counts"), [(1.2, False), (3.0, True)])
def test_lids_are_judged_without_what_a_detector_is_off_by_unless_they_are_shut_in_the_neutral(
    dome, by_mm, counts
):
    """A detector that sees all eyes farther open is off by that; one that sees the neutral's much farther is right."""
    offset = np.zeros((68, 3))
    offset[[37, 38, 43, 44], 1] = by_mm / 2
    offset[[40, 41, 46, 47], 1] = -by_mm / 2
    tracker = dome.tracker(dome.truth(0.0))
    tracker.person = replace(tracker.person, detector_offset=offset)
    found = tracker.register(dome.seen_beside(dome.frame(1), offset)).quality.lids_shut
    assert found == pytest.approx(by_mm if counts else 0.0, abs=0.5)


def test_the_offset_is_found_with_the_neutral_and_of_detected_points_only(dome):
    tracker = dome.tracker()
    some = np.arange(68) >= 30
    tracker.register(replace(dome.frame(0), detected=some))
    assert not tracker.person.detector_offset[:30].any()
    off = np.linalg.norm(tracker.person.detector_offset[30:], axis=1)
    assert (off > 0).all() and off.max() < 2
    by_hand = dome.tracker()
    by_hand.register(dome.frame(0))
    assert not by_hand.person.detector_offset.any()


def test_the_neutrals_offset_reaches_the_other_sequences(dome, tmp_path):
    frame = dome.seen_beside(dome.frame(0), np.random.default_rng(4).normal(scale=2, size=(68, 3)))
    first = dome.made(dome.quick_task(tmp_path, [frame]), tmp_path / "neutral.h5")
    with Checkpoint(first) as out:
        offset, neutral = out["detector_offset"][:], out["neutral"][:].astype(float)
    assert np.linalg.norm(offset[17:], axis=1).min() > 0
    task = dome.quick_task(tmp_path / "other", [replace(frame, number=5)])
    second = dome.made(replace(task, neutral=first), tmp_path / "other.h5")
    tracker = dome.tracker(neutral, dome.QUICK)
    tracker.person = replace(tracker.person, detector_offset=offset.astype(float))
    with Checkpoint(second) as out, Checkpoint(task.inputs["landmarks"]) as marks:
        given = replace(
            frame,
            landmarks=marks["points"][0].astype(float),
            vertices=frame.vertices.astype(np.float32).astype(float),
        )
        np.testing.assert_allclose(out["vertices"][0], tracker.register(given).vertices, atol=1e-5)


def test_what_the_neutral_wears_reaches_the_other_sequences(dome, tmp_path):
    bare = dome.frame(0, spacing=2.5)
    cap = 4.0 * (bare.vertices[:, 1:2] > 62) * vertex_normals(bare.vertices, bare.faces)
    frame = replace(bare, vertices=bare.vertices + cap)
    first = dome.made(dome.quick_task(tmp_path, [frame]), tmp_path / "neutral.h5")
    task = dome.quick_task(tmp_path / "other", [replace(frame, number=5)])
    second = dome.made(replace(task, neutral=first), tmp_path / "other.h5")
    with RegisteredCheckpoint(first) as neutral, RegisteredCheckpoint(second) as other:
        assert neutral.worn is not None and len(neutral.worn) > 50
        assert (neutral.skin(0)[neutral.worn] < 128).all()
        assert (other.skin(0)[neutral.worn] < 128).all()
        assert other.worn is None
    uncapped = dome.made(dome.quick_task(tmp_path / "bare", [bare]), tmp_path / "bare.h5")
    with RegisteredCheckpoint(uncapped) as found:
        assert found.worn is None
