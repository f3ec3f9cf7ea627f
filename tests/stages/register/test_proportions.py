"""proportions: a person of another size or other proportions is no stretched template."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import transform
from mimicme.stages.register import neutral_fit
from mimicme.stages.register.frame import Frame
from mimicme.stages.register.proportions import in_proportion, sized_template


def test_a_larger_head_is_not_a_stretched_one(dome):
    """However dear stretching is, a person of another size costs nothing: half a scan is enough to see it."""
    size, settings = 1.2, replace(dome.SETTINGS, membrane_neutral=0.3)
    frame = dome.frame(0, 0.0)
    seen = (frame.vertices[frame.faces][:, :, 1] > -60).all(axis=1)  # no chin in the scan
    known = np.where(frame.landmarks[:, 1] > -60, frame.confidence, 0.0)
    large = replace(
        frame,
        vertices=size * frame.vertices,
        landmarks=size * frame.landmarks,
        faces=frame.faces[seen],
        confidence=known,
    )
    tracker = dome.tracker(settings=settings)
    found = dome.in_scan(tracker.register(large))
    assert dome.apart(found, size * dome.truth(0.0)).mean() < 0.6  # it lies 13 mm from the template's size
    assert dome.apart(size * dome.truth(0.0), dome.truth(0.0)).mean() > 10


def of_proportions(frame: Frame, proportions: np.ndarray) -> Frame:
    """A frame of a face so much wider, longer and deeper, whose landmarks a detector has found."""
    return replace(
        frame,
        vertices=proportions * frame.vertices,
        landmarks=proportions * frame.landmarks,
        detected=np.ones(68, bool),
    )


def test_a_longer_and_narrower_face_is_not_a_stretched_one(dome, monkeypatch):
    """However dear stretching is, where landmarks that were found leave the jaw to it."""
    settings, proportions = replace(dome.SETTINGS, membrane_found=0.1), np.array([0.92, 1.12, 1.05])
    frame, truth = of_proportions(dome.frame(0, 0.0), proportions), proportions * dome.truth(0.0)

    def error() -> float:
        return float(dome.apart(dome.in_scan(dome.tracker(settings=settings).register(frame)), truth).mean())

    in_proportion = error()
    monkeypatch.setattr(neutral_fit, "in_proportion", lambda setup, rest, moved, free: (rest, moved))
    assert in_proportion < 0.75 * error()  # 1.7 mm, 2.6 mm without


def test_proportions_are_the_affine_part_of_what_has_moved(dome):
    tracker, rest = dome.tracker(), dome.template().vertices
    affine = np.array([[0.95, 0.02, 0, 1.0], [0, 1.1, 0.03, -2.0], [0, 0, 1.05, 3.0], [0, 0, 0, 1]])
    found = transform(affine, rest)
    shape, left = in_proportion(tracker.setup, rest, found - rest, None)
    np.testing.assert_allclose(shape, found, atol=1e-9)
    np.testing.assert_allclose(left, 0.0, atol=1e-9)
    jaw = rest[:, 1] < -60
    away = found + np.outer(jaw, [0, -30.0, 0])  # what is not skin has no say
    shape, left = in_proportion(tracker.setup, rest, away - rest, np.where(jaw, 0.0, 1.0))
    np.testing.assert_allclose(shape, found, atol=1e-9)
    np.testing.assert_allclose(shape + left, away, atol=1e-9)


def test_proportions_of_a_face_behind_a_beard_are_not_taken(dome):
    """What the brows and cheeks have would be carried on over a jaw that nobody sees."""
    tracker, template = dome.tracker(), dome.template()
    rest, marks = template.vertices, template.landmarks()
    moved = 0.1 * rest
    chin = marks[[8, 57], 1].mean()
    for height, taken in ((chin, True), (marks[33, 1], False)):
        shape, left = in_proportion(tracker.setup, rest, moved, np.where(rest[:, 1] < height, 0.1, 1.0))
        assert np.abs(shape - rest).max() > 5 if taken else shape is rest and left is moved
    shape, left = in_proportion(
        tracker.setup, rest, moved, np.full(len(rest), 1e-6)
    )  # all of it hardly counts
    assert shape is rest and left is moved


@pytest.mark.parametrize("what", ["no skin", "too large", "flat"])
def test_proportions_that_nobody_has_are_not_taken(dome, what):
    tracker, rest = dome.tracker(), dome.template().vertices
    factor = {"no skin": [1.0, 1.0, 1.0], "too large": [1.0, 1.6, 1.0], "flat": [1.0, 1.0, 0.5]}[what]
    moved = rest * factor - rest
    shape, left = in_proportion(
        tracker.setup, rest, moved, np.zeros(len(rest)) if what == "no skin" else None
    )
    assert shape is rest and left is moved


def test_a_wrong_landmark_does_not_change_the_size(dome):
    frame = dome.frame(0, 0.0)
    wrong = frame.landmarks.copy()
    wrong[[0, 8, 16]] *= 1.4
    tracker = dome.tracker()
    sizes = [
        np.ptp(sized_template(tracker.setup, points, np.ones(68, bool)), axis=0)
        for points in (frame.landmarks, wrong)
    ]
    np.testing.assert_allclose(sizes[1], sizes[0], rtol=0.02)
    assert sized_template(tracker.setup, wrong, np.zeros(68, bool)) is tracker.setup.template.vertices
