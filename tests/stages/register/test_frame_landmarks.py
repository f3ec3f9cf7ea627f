"""frame_landmarks: which landmarks of a frame have a say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mimicme.pipeline.landmarks import CHIN_LINE


def test_untrusted_landmarks_have_no_weight(dome):
    frame = dome.frame(0, 0.3)
    wrong = frame.landmarks.copy()
    wrong[:5] += 80
    wrong[5:8] = np.nan
    trust = np.where(np.arange(68) < 5, 0.0, 1.0)
    trusted = replace(frame, confidence=np.where(np.arange(68) < 8, 0.0, 1.0))
    doubted = replace(frame, landmarks=wrong, confidence=trust)  # absent points may carry any confidence
    a, b = (dome.tracker().register(f) for f in (trusted, doubted))
    np.testing.assert_array_equal(a.vertices, b.vertices)
    assert a.quality == b.quality


def test_a_detected_jaw_has_no_weight_but_for_its_chin(dome):
    wrong = np.zeros((68, 3))
    wrong[:17, 1] = 10.0
    wrong[CHIN_LINE] = 0.0
    found = [
        dome.in_scan(dome.tracker().register(dome.seen_beside(dome.frame(0), k * wrong))) for k in (0.0, 1.0)
    ]
    np.testing.assert_array_equal(*found)
