"""benchmarks/expected_error: what is learnt of `expected_error`, and what where nothing can be."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from mimicme.stages.register.quality import expected_error


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
