"""forehead: the top of the forehead stays with the skull when brows are raised, and the brows go up all the same."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.landmarks import GROUPS
from mimicme.stages.register.forehead import FROM, FULL, Forehead, top_of_forehead
from mimicme.stages.register.levels import build_levels

BROWS = [*range(*GROUPS["left_eyebrow"].indices(68)), *range(*GROUPS["right_eyebrow"].indices(68))]
RAISED_MM = 5.0


@pytest.fixture(scope="module")
def template(dome):
    return dome.template()


def raised(dome, template) -> np.ndarray:
    """(V, 3) the template with raised brows: the skin slides up, by nothing 25 mm above them and higher."""
    xy = template.vertices[:, :2]
    brows = template.landmarks()[BROWS, 1].mean()
    share = np.clip(1 - np.abs(xy[:, 1] - brows) / np.where(xy[:, 1] > brows, 25.0, 12.0), 0, 1)
    return dome.surface(xy + np.c_[np.zeros(len(xy)), RAISED_MM * share])


def frame_of(dome, template, levels, number: int) -> object:
    xy, faces = dome.sheet(2.0, 1.0, 100 + number)
    marks = levels.fine.landmarks @ raised(dome, template)
    return dome.Frame(number, dome.surface(xy), faces, marks, np.ones(68), np.eye(4))


def test_what_is_held_lies_high_above_the_brows(template):
    share = top_of_forehead(template.vertices, template.landmarks())
    height = template.vertices[:, 1] - template.landmarks()[BROWS, 1].mean()
    between = 62.0  # of the dome's eyes
    assert (share[height < FROM * between - 1] == 0).all()
    assert (share[height > FULL * between + 1] == 1).all()
    assert (share == 1).any()


def test_it_is_held_to_where_the_skull_has_taken_it(dome, template):
    levels = build_levels(template, 500, dome.SETTINGS.membrane)
    forehead = Forehead.of(template, levels.coarse)
    motion = np.eye(4)
    motion[:3, 3] = [3.0, -2.0, 1.0]
    held = forehead.held(transform(motion, template.vertices))
    np.testing.assert_allclose(
        held.points - held.matrix @ template.vertices[levels.coarse.index],
        np.tile(motion[:3, 3], (len(held.weights), 1)),
    )
    assert (held.weights > 0).all()


def test_raised_brows_do_not_take_the_top_of_the_forehead_along(dome, template, monkeypatch):
    from mimicme.stages.register import tracked_fit
    from mimicme.stages.register.track import SequenceTracker

    levels = build_levels(template, 500, dome.SETTINGS.membrane)
    true = raised(dome, template)
    top = top_of_forehead(template.vertices, template.landmarks()) == 1
    top &= ((template.vertices[:, :2] / dome.HALF) ** 2).sum(axis=1) < 0.9

    def risen() -> tuple[float, float]:
        tracker = SequenceTracker(template, levels, dome.SETTINGS, template.vertices)
        found = tracker.register(frame_of(dome, template, levels, 0))
        moved = transform(found.pose, found.vertices.astype(np.float64)) - template.vertices
        return float(moved[top, 1].mean()), float((levels.fine.landmarks @ moved)[BROWS, 1].mean())

    brows = float((levels.fine.landmarks @ (true - template.vertices))[BROWS, 1].mean())
    held, held_brows = risen()
    monkeypatch.setattr(tracked_fit, "head_of", lambda *_: None)
    free, _ = risen()
    assert free > 1.5
    assert abs(held) < free / 3
    assert held_brows > 0.85 * brows
