"""intensity: amounts of a known course, where it begins, peaks and ends, and the stage on checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mimicme.pipeline.checkpoint import writing
from mimicme.pipeline.errors import ConfigError
from mimicme.stages.intensity import STAGE, IntensitySettings, amounts, compute, phases
from mimicme.stages.intensity.checkpoint import IntensityCheckpoint, Phases
from mimicme.stages.register import STAGE as REGISTER

COURSE = np.sin(np.linspace(0, np.pi, 9)) ** 2
RNG = np.random.default_rng(3)
REST = 50 * RNG.normal(size=(400, 3))
MOTION = 4 * RNG.normal(size=(400, 3)) * (REST[:, 1:2] < 0)
AREAS = RNG.uniform(0.5, 1.5, 400)


def test_a_known_course_is_found_again():
    amount, motion = amounts(REST + COURSE[:, None, None] * MOTION, REST, AREAS)
    np.testing.assert_allclose(amount, COURSE, atol=1e-9)
    rms = np.sqrt((MOTION**2).sum(axis=1) @ AREAS / AREAS.sum())
    np.testing.assert_allclose(motion, COURSE * rms, atol=1e-9)


@pytest.mark.parametrize("noise_mm", [0.3, 1.0])
def test_noise_and_another_rest_hardly_matter(noise_mm):
    noise = noise_mm * RNG.normal(size=(9, 400, 3))
    other = REST + 0.5 * RNG.normal(size=REST.shape)
    amount, _ = amounts(REST + COURSE[:, None, None] * MOTION + noise, other, AREAS)
    assert np.abs(amount - COURSE).mean() < 0.05
    assert amount.argmax() == COURSE.argmax()


def test_a_sequence_that_begins_half_way_begins_there():
    course = np.linspace(0.5, 1.0, 5)
    amount, _ = amounts(REST + course[:, None, None] * MOTION, REST, AREAS)
    np.testing.assert_allclose(amount, course, atol=1e-6)


def test_a_held_apex_is_an_apex_all_through():
    held = REST + MOTION + 0.1 * RNG.normal(size=(5, 400, 3))
    amount, _ = amounts(held, REST, AREAS)
    assert (amount > 0.95).all()
    assert amounts(held[:1], REST, AREAS)[0] == 1


def test_a_face_that_never_moves_has_no_amount():
    amount, motion = amounts(np.repeat(REST[None], 4, axis=0), REST, AREAS)
    assert (amount == 0).all() and (motion == 0).all()


def test_phases_are_frame_numbers():
    numbers = np.arange(10, 19)
    assert phases(COURSE, numbers, 0.1) == Phases(10, 14, 18)
    assert phases(np.array([0, 0, 0.05, 0.6, 1, 0.3, 0.02, 0.0, 0]), numbers, 0.1) == Phases(12, 14, 16)
    assert phases(np.array([0.4, 1.0, 0.8]), numbers, 0.1) == Phases(10, 11, 12)  # seen in its midst alone


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="onset"):
        IntensitySettings(onset=1.0)


def made(dome, folder: Path, amounts_shown: np.ndarray, expression: str, neutral: Path | None = None) -> Path:
    """The stage's checkpoint of a sequence of the dome's face; repass and refine have no say."""
    frames = [dome.frame(k, a, spacing=4.0) for k, a in enumerate(amounts_shown)]
    task = dome.checkpoints(folder, frames, dome.SETTINGS, lost=(1,))
    task = replace(task, sequence=replace(task.sequence, expression=expression))
    paths = dict(task.inputs)
    for stage, run in (("register", REGISTER.compute), ("repass", None), ("refine", None)):
        paths[stage] = folder / f"{stage}.h5"
        with writing(paths[stage], stage=stage, item="S001/smile", made_by={}) as out:
            if run is not None:
                run(task, out)
            else:
                out.frames([f.number for f in frames])
    needs = {name: paths[name] for name in STAGE.needs}
    result = folder / "intensity.h5"
    with writing(result, stage="intensity", item="S001/smile", made_by={}) as out:
        compute(replace(task, settings=IntensitySettings(), inputs=needs, neutral=neutral), out)
    return result


def test_the_stage_measures_from_the_subjects_rest(dome, tmp_path):
    (tmp_path / "n").mkdir()
    (tmp_path / "s").mkdir()
    neutral = made(dome, tmp_path / "n", np.zeros(3), "neutral")
    course = np.array([0.0, 0.3, 0.6, 1.0, 0.5])
    smile = made(dome, tmp_path / "s", course, "happiness", neutral)
    with IntensityCheckpoint(neutral) as found:
        np.testing.assert_array_equal(found.quality["amount"].values[[0, 2]], 0)
        assert found.quality["motion"].values[0] < 0.3 and found.phases == {}
    assert IntensityCheckpoint.rest_of(neutral) is not None
    assert IntensityCheckpoint.rest_of(smile) is None
    with IntensityCheckpoint(smile) as found:
        amount = found.quality["amount"].values
        assert np.isnan(amount[1])  # rejected by align
        assert np.abs(amount - course)[[0, 2, 3, 4]].max() < 0.1
        assert found.phases == {"onset": 0, "apex": 3, "offset": 4}
