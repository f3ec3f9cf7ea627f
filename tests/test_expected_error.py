"""benchmarks/expected_error: what is learnt of `expected_error`, and what where nothing can be."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from mimicme.stages.refine.expected import OWN_SHARE
from mimicme.stages.register.expected_error import expected_error


@pytest.fixture
def module(repository: Path, monkeypatch: pytest.MonkeyPatch):
    """The module, imported as `python benchmarks` does; its neighbours' plain names are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    yield importlib.import_module("expected_error")
    for name in set(sys.modules) - before:
        if str(repository / "benchmarks") in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def seen(module, count: int, costs_mm: float, seed: int = 0):
    """Frames found without colours whose true error is as expected when that costs so many mm."""
    figures = np.random.default_rng(seed).uniform(0.5, 1.5, (count, 2))
    rows = []
    for distance, held_out in figures:
        quality = {"template_distance": distance, "landmark_error": held_out}
        quality |= {"landmarks_found": 1.0, "stretch_core": 0.0}
        coloured = expected_error(distance, held_out, 1.0, 0.0, 1.0, 0.0)
        square = coloured**2 - module.FOUND_COSTS_MM**2 + costs_mm**2
        rows.append((quality, float(np.sqrt(square))))
    return module.Seen.of("x", rows, 1.0, True)


def test_what_bare_frames_cost_is_learnt_and_an_empty_teacher_says_nothing(module):
    none = module.Seen.of("none", [], 1.0, True)
    some = seen(module, 20, 2.5)
    assert module.learn_bare([some]) == pytest.approx(2.5, rel=1e-6)
    assert module.learn_bare([none, some, none]) == pytest.approx(2.5, rel=1e-6)


def test_nothing_is_learnt_where_every_bare_frame_was_rejected(module):
    none = module.Seen.of("none", [], 1.0, True)
    assert np.isnan(module.learn_bare([none, none]))
    assert np.isnan(module.bare_interval([none, none])).all()


def refined(module, share: float, people: dict[str, int], seed: int = 0, off: float = 1.0):
    """Frames of people, so many of each, whose true error is what this share gives, times `off`."""
    rng = np.random.default_rng(seed)
    names = tuple(who for who, frames in people.items() for _ in range(frames))
    own, neutral = rng.uniform(1.0, 2.0, len(names)), rng.uniform(0.5, 1.0, len(names))
    true = off * np.sqrt(share * own**2 + (1 - share) * neutral**2)
    return module.inherited_error.Refined("x", names, own, neutral, true)


def test_what_refined_frames_keep_of_their_own_is_learnt(module):
    learn = module.inherited_error.learn_own_share
    few, none = refined(module, 0.3, {"a": 5, "b": 3}), refined(module, 0.3, {})
    assert learn([few]) == pytest.approx(0.3, abs=1e-3)
    assert learn([none, few]) == pytest.approx(0.3, abs=1e-3)


def test_each_person_weighs_the_same_whatever_the_number_of_frames(module):
    part = refined(module, 0.2, {"a": 9, "b": 1})
    assert part.weights.sum() == pytest.approx(1.0)
    assert part.weights[:9].sum() == pytest.approx(part.weights[9])


def test_the_interval_of_refined_frames_is_what_another_makers_share_gives(module):
    ends = module.inherited_error.interval
    taught = [[refined(module, 0.2, {"a": 50}, 1)], [refined(module, 0.2, {"b": 50}, 2, off=1.25)]]
    low, high = ends(taught, (10, 90))
    # the second maker's frames are a quarter more off than all others: learnt from them the first's are told too much
    assert low < 0.95 and 1.2 < high < 1.3
    assert np.isnan(ends([[refined(module, 0.2, {})]], (10, 90))).all()


def test_refined_frames_are_judged_as_the_program_says_them(module):
    inherited = module.inherited_error
    part = refined(module, OWN_SHARE, {"a": 4, "b": 4})
    row = inherited.judged(part)
    assert row["number"] == 8 and row["rank"] == pytest.approx(1.0) and row["in_interval"] == 1.0
    assert row["expected"] == pytest.approx(row["true"])
    assert "x" in module.table([row])
