"""What registration rejects: a landmark that contradicts the others, a smoothed shape that leaves its scan."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mimicme.pipeline.numerics.temporal import Regions
from mimicme.stages.register.assessment import SURFACE_SLACK, SURFACE_SLACK_MM
from mimicme.stages.register.frame import Registered
from mimicme.stages.register.quality import LandmarkChecks, Quality
from mimicme.stages.register.smoothing import smooth_sequence

CORNER = 54
"""The left corner of the mouth, in the middle of skin that landmarks alone hold in place along the surface."""


@pytest.mark.parametrize("amount", [0.0, 1.0])
def test_a_landmark_that_contradicts_the_others_does_not_pull(dome, amount):
    neutral, good = dome.truth(0.0), dome.frame(0, amount)
    marks = good.landmarks.copy()
    marks[CORNER] += [14.0, 9.0, 0.0]
    near = np.linalg.norm(dome.template().vertices - dome.template().landmarks()[CORNER], axis=1) < 12
    fits = [dome.tracker(neutral).register(frame) for frame in (good, replace(good, landmarks=marks))]
    errors = [dome.apart(fit.vertices, dome.truth(amount))[near].mean() for fit in fits]
    assert errors[1] < errors[0] + 1.0  # with its full weight: over 2 mm more


def made(number: int, median: float) -> Registered:
    figures = dict.fromkeys(Quality.__annotations__, 0.0) | {"s2m_median": median}
    checks = LandmarkChecks(**dict.fromkeys(LandmarkChecks.__annotations__, 0.0))
    skin = np.full(2, 255, np.uint8)
    return Registered(number, np.zeros((2, 3)), np.eye(4), Quality(**figures), checks, skin)


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("bad", [None, 5])
def test_a_smoothed_frame_that_its_scan_contradicts_keeps_its_own_fit(bad, noise):
    """A motion faster than the frame rate: the smooth shape lies farther from the scan than the frame's own, by more
    than the noise that the frame's own fit follows."""
    found = {row: made(row, 0.1) for row in range(12)}
    allowed = SURFACE_SLACK * 0.1 + SURFACE_SLACK_MM + noise
    tracker = SimpleNamespace(
        skull_centre=np.zeros(3),
        regions=None,
        fast_motion=SimpleNamespace(noise_mm=lambda *_: noise, restore=lambda *_: None),
        slow_motion=SimpleNamespace(restore=lambda *_: None),
        refine_pose=lambda frame, vertices, pose, skin: pose,
        assess=lambda frame, vertices, pose, own: made(frame, allowed * (1.01 if frame == bad else 0.99)),
    )
    smoothed = smooth_sequence(tracker, found, lambda row: row)
    assert sorted(smoothed) == [row for row in range(12) if row != bad]


def frames_at_rest(noise_mm: float, count: int = 3) -> dict[int, Registered]:
    """A face of 200 vertices that does not move, registered a few times."""
    rng = np.random.default_rng(1)
    rest = rng.normal(scale=50, size=(200, 3))
    return {
        row: replace(made(row, 0.1), vertices=rest + rng.normal(scale=noise_mm, size=rest.shape))
        for row in range(count)
    }


@pytest.mark.parametrize(
    ("at_rest", "noise_mm", "pooled"), [(True, 0.3, True), (False, 0.3, False), (True, 0.01, False)]
)
def test_a_few_frames_of_a_face_at_rest_become_one_shape(at_rest, noise_mm, pooled):
    found = frames_at_rest(noise_mm)
    tracker = SimpleNamespace(
        skull_centre=np.zeros(3),
        regions=Regions(np.arange(200) < 100, np.arange(200) >= 100),
        fast_motion=SimpleNamespace(noise_mm=lambda *_: noise_mm, restore=lambda *_: None),
        slow_motion=SimpleNamespace(restore=lambda *_: None),
        refine_pose=lambda frame, vertices, pose, skin: pose,
        assess=lambda frame, vertices, pose, own: replace(made(frame, 0.1), vertices=vertices),
    )
    smoothed = smooth_sequence(tracker, found, lambda row: row, at_rest)
    assert sorted(smoothed) == ([0, 1, 2] if pooled else [])
    for one in smoothed.values():
        mean = np.mean([f.vertices for f in found.values()], axis=0)
        np.testing.assert_allclose(one.vertices, mean, atol=1e-4)
