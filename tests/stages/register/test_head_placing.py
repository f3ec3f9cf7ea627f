"""head_placing: the head is where its surface is; what is at rest goes with it and not with the jaw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import transform
from mimicme.stages.register import head_placing, tracked_fit
from mimicme.stages.register.fit_target import FitTarget
from mimicme.stages.register.frame import Frame
from mimicme.stages.register.head_placing import head_of, head_on, with_head_motion
from mimicme.stages.register.targets import ScanTarget


@pytest.mark.parametrize("known_neutral", [False, True])
def test_a_rough_pose_is_refined(dome, known_neutral):
    """An alignment 3 degrees and 4 mm off costs nothing: the rest shape turns with the head before it is held to."""
    frame = dome.frame(0, 0.5)
    rough = replace(frame, pose=dome.rigid(5, turn_deg=3.0, shift_mm=4.0))
    neutral = dome.truth(0.0) if known_neutral else None
    a, b = (dome.in_scan(dome.tracker(neutral).register(f)) for f in (frame, rough))
    assert dome.apart(a, dome.truth(0.5)).mean() < 0.7
    assert dome.apart(a, b).mean() < 0.02  # 0.2 to 0.3 where it does not turn


def test_the_rest_shape_goes_with_the_head_not_with_the_jaw(dome):
    rest, motion = dome.template().vertices, dome.rigid(5, turn_deg=3.0, shift_mm=4.0)
    jaw = rest[:, 1] < dome.template().landmarks()[33, 1]
    found = transform(motion, rest - np.outer(jaw, [0, 1.0, 0]))
    moved, left = with_head_motion(dome.tracker().setup, rest, found - rest)
    np.testing.assert_allclose(moved, transform(motion, rest), atol=1e-9)
    np.testing.assert_allclose(moved + left, found, atol=1e-9)


def test_the_head_is_where_its_surface_is_and_not_where_found_landmarks_turn_it(dome, monkeypatch):
    seen = dome.turned_landmarks(replace(dome.frame(1, 0.5, dome.rigid(1)), detected=dome.ALL_DETECTED))
    truth = dome.truth(0.5)
    above, below = truth[:, 1] > 60, truth[:, 1] < -85

    def error() -> np.ndarray:
        found = dome.in_scan(dome.tracker(dome.truth(0.0)).register(seen))
        return dome.apart(found, transform(seen.pose, truth))

    placed = error()
    # it places the frame, and holds the top of the forehead
    for module in (head_placing, tracked_fit):
        monkeypatch.setattr(module, "head_of", lambda *_: None)
    by_landmarks = error()
    assert placed[above].mean() < 0.92 * by_landmarks[above].mean()
    assert placed[below].mean() < 0.85 * by_landmarks[below].mean()
    assert placed.mean() < 0.97 * by_landmarks.mean()


def test_landmarks_by_hand_place_the_head_themselves(dome, monkeypatch):
    frame = dome.turned_landmarks(dome.frame(1, 0.3, dome.rigid(1)))
    with_surface = dome.tracker(dome.truth(0.0)).register(frame)
    monkeypatch.setattr(tracked_fit, "head_on", lambda *_: None)
    without = dome.tracker(dome.truth(0.0)).register(frame)
    np.testing.assert_array_equal(with_surface.vertices, without.vertices)
    np.testing.assert_array_equal(with_surface.pose, without.pose)


def test_a_single_found_point_places_no_head_that_points_by_hand_tell(dome):
    """And hand points that are too few for that leave it to the surface, as found ones lead to it."""
    frame = dome.turned_landmarks(dome.frame(1))
    target = FitTarget(ScanTarget(frame.vertices, frame.faces), frame.landmarks, np.ones(68))
    tracker, none = dome.tracker(dome.truth(0.0)), np.zeros(68, bool)
    single, four_by_hand = none.copy(), dome.ALL_DETECTED.copy()
    single[30] = True
    four_by_hand[36:40] = False
    assert head_on(tracker.person, target, single, None) is None
    assert head_on(tracker.person, target, four_by_hand, None) is not None
    four_by_hand[40] = False
    assert head_on(tracker.person, target, four_by_hand, None) is None


def head_off(dome, frame: Frame, skin: np.ndarray | None = None) -> float:
    """How far from its place, mm, a tracker that knows the neutral sees the skull of a frame at rest."""
    target = FitTarget(ScanTarget(frame.vertices, frame.faces), frame.landmarks, np.ones(68))
    neutral = dome.truth(0.0)
    tracker = dome.tracker(neutral, replace(dome.SETTINGS, coarse_vertices=1200))
    head = head_on(tracker.person, target, dome.ALL_DETECTED, skin)
    assert head is not None
    return float(dome.apart(transform(head, neutral), neutral)[tracker.setup.anatomy.skull > 0].mean())


def test_points_by_hand_lead_so_near_that_one_round_finds_the_head(dome):
    """The forehead is held to it: found landmarks take two rounds on the surface, those by hand the last alone."""
    frame, neutral = dome.frame(1), dome.truth(0.0)
    noise = np.random.default_rng(3).normal(scale=1 / np.sqrt(3), size=(68, 3))
    target = FitTarget(ScanTarget(frame.vertices, frame.faces), frame.landmarks + noise, np.ones(68))
    tracker = dome.tracker(neutral, replace(dome.SETTINGS, coarse_vertices=1200))

    def off(scales_mm: list[float]) -> float:
        head = head_of(tracker.person, target, np.ones(len(neutral)), scales_mm)
        return float(dome.apart(transform(head, neutral), neutral)[tracker.setup.anatomy.skull > 0].mean())

    assert off([]) > 0.2
    assert off([dome.SETTINGS.scale_end_mm]) < 0.1


def with_cap(frame: Frame) -> Frame:
    """5 mm thick, down to the brows."""
    vertices = frame.vertices.copy()
    vertices[vertices[:, 1] > 55, 2] += 5.0
    return replace(frame, vertices=vertices)


def test_the_head_is_found_from_one_half_of_it(dome):
    frame = dome.turned_landmarks(dome.frame(1))
    seen = (frame.vertices[frame.faces][:, :, 0] < 5).all(axis=1)
    assert head_off(dome, frame) < 0.1
    assert head_off(dome, replace(frame, faces=frame.faces[seen])) < 0.1


def test_a_head_below_a_cap_is_not_laid_onto_the_cap(dome):
    frame, skin = with_cap(dome.frame(1)), np.ones(len(dome.truth(0.0)))
    skin[dome.truth(0.0)[:, 1] > 50] = 0.0
    assert head_off(dome, dome.turned_landmarks(frame, 1.0)) < 0.1
    assert (
        head_off(dome, dome.turned_landmarks(frame), skin) < 0.1
    )  # one that is told from skin, whatever the landmarks


def test_where_hardly_a_landmark_above_the_mouth_is_used_nothing_places_the_head(dome):
    frame = dome.frame(1)
    weights = np.zeros(68)
    weights[[36, 39, 42, 45]] = weights[48:] = 1.0
    target = FitTarget(ScanTarget(frame.vertices, frame.faces), frame.landmarks, weights)
    assert head_on(dome.tracker(dome.truth(0.0)).person, target, dome.ALL_DETECTED, None) is None
    assert (
        head_on(dome.tracker().person, replace(target, weights=np.ones(68)), dome.ALL_DETECTED, None) is None
    )  # no neutral yet
