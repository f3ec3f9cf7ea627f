"""found_chin: a chin that was found leads a neutral whose jaw nothing else holds; one behind a beard does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.landmarks import CHIN_LINE
from mimicme.stages.register import neutral_fit
from mimicme.stages.register.fit import Fitter
from mimicme.stages.register.found_chin import COUNTS, leading_chin

LOWER_MM, BELOW_MM = 9.0, -50.0
JAW = np.arange(68) < 17


def lower_chin(points: np.ndarray) -> np.ndarray:
    """(n, 3) points of the dome's face; those of its chin farther down the same surface."""
    down = np.clip((BELOW_MM - points[:, 1]) / 15.0, 0, 1) * LOWER_MM
    edge = np.clip((98.0 + points[:, 1]) / 20.0, 0, 1)
    return np.c_[points[:, 0], points[:, 1] - down * edge]


@pytest.fixture
def frame(dome):
    """A scan of the dome's face, smooth below its mouth, and its landmarks as a detector finds them: of the jaw the
    chin's alone, which lie farther down."""
    frame, marks = dome.frame(0, 0.0), dome.template().landmarks()
    marks[CHIN_LINE] = dome.surface(lower_chin(marks[CHIN_LINE])[:, :2])
    confidence = np.where(JAW, 0.0, 1.0)
    confidence[CHIN_LINE] = 0.5
    return replace(frame, landmarks=marks, confidence=confidence, detected=np.ones(68, bool))


def without_chin(frame):
    return replace(frame, confidence=np.where(JAW, 0.0, frame.confidence))


def test_only_what_was_found_of_the_chin_leads(dome, frame):
    setup, pose = dome.tracker().setup, dome.rigid(4)
    template = setup.template
    points, found, confidence = template.landmarks(), np.ones(68, bool), np.full(68, 0.8)
    found[7], confidence[8], points[9] = False, 0.0, np.nan
    frame = replace(
        frame, landmarks=transform(pose, points), confidence=confidence, detected=found, pose=pose
    )
    led = leading_chin(setup, frame, np.ones(len(template.vertices)))
    np.testing.assert_allclose(led.points, points[[6, 10]], atol=1e-9)
    weight = setup.settings.landmark_weight_mm2
    np.testing.assert_allclose(led.weights, COUNTS * weight * 0.8)
    on_mesh = led.matrix @ template.vertices[setup.levels.coarse.index]
    assert np.linalg.norm(on_mesh - points[[6, 10]], axis=1).max() < 3  # of a coarse triangle


def test_a_chin_counts_as_little_as_the_skin_that_shows_there(dome, frame):
    setup = dome.tracker().setup
    free = np.where(setup.template.vertices[:, 0] < 0, 0.0, 1.0)
    weights = leading_chin(setup, frame, free).weights
    np.testing.assert_allclose(weights[:2], 0.0, atol=1e-12)
    np.testing.assert_allclose(weights[-2:], COUNTS * setup.settings.landmark_weight_mm2 * 0.5)


def chin_off(dome, frame, truth) -> float:
    """mm: how far the registered chin of a frame lies from true landmarks (68, 3)."""
    result = dome.tracker().register(frame)
    on_mesh = dome.template().landmarks(transform(result.pose, result.vertices.astype(float)))
    return float(np.linalg.norm((on_mesh - truth)[CHIN_LINE], axis=1).mean())


def test_a_found_chin_leads_where_nothing_else_holds_the_jaw(dome, frame):
    alone = chin_off(dome, without_chin(frame), frame.landmarks)
    assert chin_off(dome, frame, frame.landmarks) < 0.7 * alone


def test_a_found_chin_leads_around_what_is_worn_too(dome, frame, monkeypatch):
    """There the coarse level is fitted once more, as if what is worn had no surface."""
    vertices = dome.template().vertices
    worn = np.flatnonzero(vertices[:, 1] > 70)
    led: list[np.ndarray] = []
    coarse = Fitter.coarse
    monkeypatch.setattr(
        Fitter,
        "coarse",
        lambda self, rest, target, *rest_of: (
            led.append(np.zeros(0) if target.held is None else target.held.weights)
            or coarse(self, rest, target, *rest_of)
        ),
    )
    tracker = dome.tracker()
    monkeypatch.setattr(type(tracker.setup.anatomy.skin), "worn", lambda *_: worn)
    tracker.register(frame)
    assert np.array_equal(tracker.person.worn, worn) and len(led) == 3
    assert all((weights > 0).all() and len(weights) for weights in led)


def test_where_most_points_are_by_hand_a_found_chin_says_nothing(dome, frame, monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr(neutral_fit, "leading_chin", lambda *_: asked.append(1))
    frame = replace(frame, detected=JAW)
    shapes = [dome.tracker().register(one).vertices for one in (frame, without_chin(frame))]
    np.testing.assert_array_equal(*shapes)
    assert not asked
