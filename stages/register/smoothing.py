"""Jitter between the frames of one sequence is removed once all of them are registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.checkpoint import frame_numerics
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.numerics.temporal import MIN_FRAMES, apart, runs, smooth, smooth_poses
from mimicme.stages.register.assessment import as_near
from mimicme.stages.register.fast_motion import LEAST_NOISE_MM
from mimicme.stages.register.frame import MAX_GAP, Frame, Registered
from mimicme.stages.register.track import SequenceTracker

POSE_TREMOR_MM, HEAD_MM = 0.5, 60.0
"""What smoothing takes off the poses is tremor up to so much beyond the scans' noise, at this distance from the skull's
centre; more is motion, and the poses stay.  Two heads of `mimicme synth` with 0.5 mm of noise tremble by 0.2 mm."""


def smooth_sequence(
    tracker: SequenceTracker,
    found: Mapping[int, Registered],
    load: Callable[[int], Frame],
    at_rest: bool = False,
) -> dict[int, Registered]:
    """The registered frames (by row) of one sequence, with jitter between frames removed.

    Vertices are smoothed in the canonical frame, but for what moves faster than the frame rate can show, or slowly in
    a small part of the face; then each pose is refined on its scan, then the poses are smoothed.  A frame that the
    surface contradicts afterwards, by more than the noise that is seen over the skull, keeps its own fit.
    """
    rows = sorted(found, key=lambda row: found[row].number)
    short = len(rows) < MIN_FRAMES
    if len(rows) < 2 or (short and not at_rest):
        return {}
    times = np.array([found[row].number for row in rows])
    own_shapes = np.stack([found[row].vertices for row in rows]).astype(np.float32)
    shapes = own_shapes.copy()
    smooth(shapes, times, tracker.regions)
    noise = tracker.fast_motion.noise_mm(own_shapes, shapes)
    if short and noise < LEAST_NOISE_MM:
        return {}
    tracker.slow_motion.restore(own_shapes, shapes, times)
    tracker.fast_motion.restore(own_shapes, shapes)
    del own_shapes
    poses = np.stack(
        [
            _refined_pose(tracker, load(row), shape.astype(np.float64), found[row])
            for row, shape in zip(rows, shapes, strict=True)
        ]
    )
    _smooth_poses(poses, times, tracker.skull_centre, noise)
    result: dict[int, Registered] = {}
    for row, shape, pose in zip(rows, shapes, poses, strict=True):
        try:
            with frame_numerics():
                smoothed = tracker.assess(load(row), shape.astype(np.float64), pose, found[row])
        except FrameRejected:
            continue
        if as_near(smoothed.quality, found[row].quality, noise):
            result[row] = smoothed.compact()
    return result


def _smooth_poses(poses: Floats, times: np.ndarray, centre: Floats, noise_mm: float) -> None:
    """Smooth poses (n, 4, 4) of frames at times (n,) in place, about the skull's centre (3,), where that takes off
    tremor and no motion."""
    # a person's shape is one, whatever is missing in between; the head may have moved
    for part in runs(times, MAX_GAP):
        smoothed_poses = smooth_poses(poses[part], centre, times[part])
        moved = apart(poses[part], smoothed_poses, centre, HEAD_MM)
        # heads that were scanned one by one have no motion that could be smooth
        if np.median(moved) <= POSE_TREMOR_MM + noise_mm:
            poses[part] = smoothed_poses


def _refined_pose(tracker: SequenceTracker, frame: Frame, vertices: Floats, found: Registered) -> Floats:
    """See `SequenceTracker.refine_pose`; the frame's own pose where that is numerically impossible."""
    try:
        with frame_numerics():
            return tracker.refine_pose(frame, vertices, found.pose, found.skin)
    except FrameRejected:
        return found.pose
