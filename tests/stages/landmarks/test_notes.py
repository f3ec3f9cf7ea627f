"""notes: what speaks against landmarks is said of those that were found, and not of those by hand."""

import numpy as np

from mimicme.pipeline.landmarks import DETECTED, MANUAL, N_LANDMARKS, Located
from mimicme.stages.landmarks.frame import Frame
from mimicme.stages.landmarks.given import merge
from mimicme.stages.landmarks.notes import notes


def test_a_mouth_that_is_a_hole_is_noted():
    points, all_found = np.zeros((N_LANDMARKS, 3)), np.full(N_LANDMARKS, DETECTED, np.uint8)
    detected = Located(points, all_found, np.full(N_LANDMARKS, 0.5, np.float32), over_hole=("mouth",))
    by_hand = np.where(np.arange(N_LANDMARKS) >= 48, MANUAL, 0).astype(np.uint8)
    merged = merge(Located(points, by_hand, np.ones(N_LANDMARKS, np.float32)), detected)
    for found, expected in ((detected, ["landmarks-unsure"]), (merged, [])):
        said = notes(Frame(found, [], np.nan), None, 0.5, 15.0)
        assert [code for code, _ in said] == expected
        assert all("a hole where the mouth should be" in text for _, text in said)


def test_a_bare_scan_that_does_not_show_a_part_is_noted():
    """However sure the other points are; points by hand need no evidence."""
    points = np.zeros((N_LANDMARKS, 3))
    detected = Located(
        points,
        np.full(N_LANDMARKS, DETECTED, np.uint8),
        np.full(N_LANDMARKS, 0.5, np.float32),
        unshown=("eyes",),
    )
    by_hand = np.zeros(N_LANDMARKS, np.uint8)
    by_hand[36:48] = MANUAL
    merged = merge(Located(points, by_hand, np.ones(N_LANDMARKS, np.float32)), detected)
    for found, expected in ((detected, ["landmarks-unsure"]), (merged, [])):
        said = notes(Frame(found, [], np.nan), None, 0.5, 15.0)
        assert [code for code, _ in said] == expected
        assert all("does not show the eyes" in text for _, text in said)


def test_a_shut_eye_that_does_not_show_where_its_lids_meet_is_noted():
    """By the subject's own side; points by hand need no evidence."""
    points, all_found = np.zeros((N_LANDMARKS, 3)), np.full(N_LANDMARKS, DETECTED, np.uint8)
    detected = Located(points, all_found, np.full(N_LANDMARKS, 0.5, np.float32), shut=("left_eye",))
    by_hand = np.zeros(N_LANDMARKS, np.uint8)
    by_hand[36:42] = MANUAL
    merged = merge(Located(points, by_hand, np.ones(N_LANDMARKS, np.float32)), detected)
    for found, expected in ((detected, ["landmarks-unsure"]), (merged, [])):
        said = notes(Frame(found, [], np.nan), None, 0.5, 15.0)
        assert [code for code, _ in said] == expected
        assert all("right eye (the subject's own) looks shut" in text for _, text in said)
