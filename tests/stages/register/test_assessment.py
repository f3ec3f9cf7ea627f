"""assessment: a fit is stabilised on the skull, and told by what its landmarks and scan say of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mimicme.pipeline.geometry.mesh import transform
from mimicme.stages.register.notes import notes


def test_points_found_on_a_bare_scan_are_told_to_be_less_sure(dome):
    """With points by hand a scan without colours is told as ever."""
    frame = replace(dome.frame(0, landmark_noise_mm=1.0), detected=np.ones(68, bool))
    in_colours = dome.tracker().register(frame).quality
    bare = dome.tracker().register(replace(frame, coloured=False)).quality
    assert bare.expected_error > 1.05 * in_colours.expected_error
    assert bare.expected_error_low / bare.expected_error < 0.98 * (
        in_colours.expected_error_low / in_colours.expected_error
    )
    by_hand = replace(frame, detected=np.zeros(68, bool))
    without = dome.tracker().register(replace(by_hand, coloured=False)).quality
    assert without == dome.tracker().register(by_hand).quality


def test_the_head_is_stabilised_on_the_skull_and_not_on_the_jaw(dome):
    """The pose follows the skull; in the canonical frame the forehead stays where the neutral has it."""
    tracker = dome.tracker(dome.truth(0.0))
    found = tracker.register(dome.frame(0, 1.0, dome.rigid(1)))
    forehead = dome.template().vertices[:, 1] > 35
    assert dome.apart(found.vertices, dome.truth(0.0))[forehead].mean() < 0.3
    centre = np.array([[0.0, 30, 60]])
    assert dome.apart(transform(found.pose, centre), transform(dome.rigid(1), centre)) < 0.2
    np.testing.assert_allclose(found.pose[:3, :3] @ found.pose[:3, :3].T, np.eye(3), atol=1e-9)
    jaw = dome.apart(dome.truth(1.0), dome.truth(0.0)) > 8
    assert dome.apart(found.vertices, dome.truth(0.0))[jaw].mean() > 6


def test_a_head_that_turns_does_not_change_the_face(dome):
    """Canonical vertices are stable whatever the alignment says from frame to frame."""
    tracker = dome.tracker(dome.truth(0.0))
    shapes = []
    for k in range(3):
        frame = dome.frame(k, 0.4, dome.rigid(20 + k, 20.0, 30.0))
        rough = frame.pose @ dome.rigid(40 + k, turn_deg=1.0, shift_mm=1.0)
        shapes.append(tracker.register(replace(frame, pose=rough)).vertices)
    assert max(dome.apart(shapes[0], s).mean() for s in shapes[1:]) < 0.2


def test_a_hole_over_the_mouth_is_told(dome):
    frame = dome.frame(0, 0.0)
    whole = dome.tracker().register(frame).quality
    assert min(whole.eye_share_right, whole.eye_share_left, whole.nose_share, whole.mouth_share) > 0.95
    lips = frame.landmarks[48:60]
    reach = np.linalg.norm(lips[6] - lips[0]) / 2 + 4
    gone = np.linalg.norm(frame.vertices - lips.mean(axis=0), axis=1) < reach
    cut = replace(frame, faces=frame.faces[~gone[frame.faces].any(axis=1)])
    quality = dome.tracker().register(cut).quality
    assert quality.mouth_share < 0.3
    assert min(quality.eye_share_right, quality.eye_share_left) > 0.95
    assert "part-missing" in dict(notes(quality))
    assert "part-missing" not in dict(notes(whole))


def test_a_frame_is_held_to_the_stretching_of_its_own_neutral(dome, monkeypatch):
    from mimicme.stages.register import assessment

    asked = []

    def look(quality, limits, triangles, first, bare_share, neutral_stretch):
        asked.append((first, neutral_stretch))

    monkeypatch.setattr(assessment, "reject_bad", look)
    tracker = dome.tracker()
    neutral = tracker.register(dome.frame())
    tracker.register(dome.frame(1))
    dome.tracker(neutral.vertices).register(dome.frame(1))
    own = neutral.quality.stretch_core
    assert own > 0
    assert [first for first, _ in asked] == [True, False, False]
    np.testing.assert_allclose([stretch for _, stretch in asked], [np.nan, own, own], rtol=1e-6)
