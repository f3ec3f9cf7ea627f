"""smoothing: jitter is taken off a sequence, and neither motion nor a frame that cannot be smoothed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.stages.register.smoothing import smooth_sequence
from mimicme.stages.register.track import SequenceTracker


def test_heads_that_are_scanned_one_by_one_are_smoothed_and_keep_their_poses(dome):
    """Poses that have nothing to do with each other are no tremor."""

    tracker, rng = dome.tracker(dome.truth(0.0)), np.random.default_rng(3)
    seen, found = {}, {}
    for row in range(9):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec(np.radians(rng.uniform(-3, 3, 3))).as_matrix()
        pose[:3, 3] = rng.uniform(-10, 10, 3)
        frame = dome.frame(row, 0.3)
        move = pose @ inverse(frame.pose)
        seen[row] = replace(
            frame,
            vertices=transform(move, frame.vertices),
            landmarks=transform(move, frame.landmarks),
            pose=pose,
        )
        found[row] = tracker.register(seen[row])
    whole = smooth_sequence(tracker, found, seen.__getitem__)
    assert sorted(whole) == list(range(9))
    for row, one in whole.items():
        np.testing.assert_allclose(one.pose, found[row].pose, atol=0.3)


@pytest.mark.parametrize("name", ["refine_pose", "assess"])
def test_a_frame_that_cannot_be_smoothed_keeps_its_own_fit_and_stops_no_other(dome, monkeypatch, name):
    """What the numbers of one frame raise after the tracking is done must not cost the whole sequence."""
    tracker = dome.tracker(dome.truth(0.0))
    first = tracker.register(dome.frame(0, 0.3))
    found = {row: replace(first, number=row) for row in range(9)}
    whole = smooth_sequence(tracker, found, lambda row: dome.frame(row, 0.3))
    assert sorted(whole) == list(range(9))
    own, calls = getattr(SequenceTracker, name), []

    def breaks(self, frame, *given):
        calls.append(frame.number)
        if frame.number == 4:
            raise np.linalg.LinAlgError("Singular matrix")
        return own(self, frame, *given)

    monkeypatch.setattr(SequenceTracker, name, breaks)
    rest = smooth_sequence(tracker, found, lambda row: dome.frame(row, 0.3))
    assert calls == list(range(9))
    assert sorted(rest) == [row for row in range(9) if name == "refine_pose" or row != 4]
