"""tracked_fit: a frame is fitted from its person's neutral and from the frame before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import transform
from mimicme.stages.register import fit, tracked_fit
from mimicme.stages.register.fit import Fitter
from mimicme.stages.register.spline import landmark_spline
from mimicme.stages.register.stabilisation import head_motion


def test_the_template_itself_begins_turned_as_the_coarse_level_found(dome, monkeypatch):
    frame = dome.frame(0, 0.5)  # without landmarks: nothing has turned it before
    blind = replace(frame, landmarks=np.full((68, 3), np.nan), confidence=np.zeros(68))
    tracker, given = dome.tracker(dome.truth(0.0)), []
    fine = tracked_fit.fitted_fine
    monkeypatch.setattr(tracked_fit, "fitted_fine", lambda *a: given.append(a) or fine(*a))
    tracker.register(replace(blind, pose=dome.rigid(5, turn_deg=1.0, shift_mm=1.0)))
    _, _, rest, _, start = given[0]
    assert dome.apart(rest, dome.truth(0.0)).mean() > 0.3
    at = tracker.setup.levels.coarse.index
    left = head_motion(rest[at], (rest + start)[at], tracker.setup.anatomy.skull[at])
    assert dome.apart(rest, transform(left, rest)).max() < 0.05


def test_a_frame_starts_from_the_one_before_it_unless_frames_are_missing(dome):
    """What landmarks told one frame is not lost on the next, which has none."""
    moving = dome.apart(dome.truth(1.0), dome.truth(0.0)) > 3
    mute = replace(dome.frame(1, 1.0), confidence=np.zeros(68))

    def error(number, history):
        tracker = dome.tracker(dome.truth(0.0))
        if history:
            tracker.register(dome.frame(0, 0.9))
        found = tracker.register(replace(mute, number=number))
        return dome.apart(dome.in_scan(found), dome.truth(1.0))[moving].mean()

    alone = error(1, history=False)
    assert error(1, history=True) < 0.7 * alone
    assert error(30, history=True) == pytest.approx(alone, rel=0.02)


def test_a_frame_that_fails_does_not_derail_the_next(dome):
    tracker, undisturbed = dome.tracker(), dome.tracker()
    for t in (tracker, undisturbed):
        t.register(dome.frame(0, 0.3))
    with pytest.raises(FrameRejected):
        tracker.register(dome.frame(1, 0.5, noise_mm=4.0))
    a, b = (t.register(dome.frame(2, 0.7)) for t in (tracker, undisturbed))
    truth = dome.truth(0.7)
    assert dome.apart(dome.in_scan(a), truth).mean() < 1.3 * dome.apart(dome.in_scan(b), truth).mean() + 0.05


def test_skin_below_the_landmarks_is_not_dragged_along_by_a_mouth_that_opens_and_closes(dome, monkeypatch):
    """Of a detector's landmarks the mouth's are the lowest that count."""
    below = dome.truth(0.0)[:, 1] < -85

    def error() -> float:
        tracker, off = dome.tracker(dome.truth(0.0)), []
        for number, amount in enumerate((0.5, 1.0, 0.0)):
            found = dome.in_scan(
                tracker.register(replace(dome.frame(number, amount), detected=dome.ALL_DETECTED))
            )
            off.append(dome.apart(found, dome.truth(amount))[below].mean())
        return float(np.mean(off))

    levels_off = error()
    monkeypatch.setattr(fit, "landmark_spline", lambda *arguments, affine: landmark_spline(*arguments))
    assert levels_off < 0.85 * error()


@pytest.mark.parametrize("placed", [True, False])
def test_ears_begin_where_the_surface_has_placed_the_head(dome, monkeypatch, placed):
    """An open mouth's landmarks would take them along."""
    tracker = dome.tracker(dome.truth(0.0))
    ear = np.abs(dome.template().vertices[:, 0]) > 60
    monkeypatch.setattr(tracked_fit, "_off_ears", lambda setup: 1.0 - ear[:, None])
    if not placed:
        monkeypatch.setattr(tracked_fit, "head_on", lambda *_: None)
    began = []
    coarse = Fitter.coarse
    monkeypatch.setattr(
        Fitter,
        "coarse",
        lambda self, rest, target, start, steps: (
            began.append(start) or coarse(self, rest, target, start, steps)
        ),
    )
    tracker.register(replace(dome.frame(1, 1.0), detected=dome.ALL_DETECTED))
    assert np.linalg.norm(began[0], axis=1).max() > 1
    assert bool(np.any(began[0][ear])) is not placed
