"""The figures of quality: what the stages write, what they say of it, and what docs/release-format.md says."""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest

from mimicme.pipeline.captures.units import AxesDecision, UnitDecision
from mimicme.pipeline.checkpoint import Checkpoint, CheckpointWriter, writing
from mimicme.pipeline.release import Release
from mimicme.pipeline.run.checkpoint_index import CheckpointIndex, CheckpointSummary
from mimicme.pipeline.texture.delighting import TERMS
from mimicme.stages import STAGES
from mimicme.stages.align.checkpoint import AlignWriter
from mimicme.stages.bake.checkpoint import BakeWriter
from mimicme.stages.ingest.checkpoint import IngestWriter
from mimicme.stages.intensity.checkpoint import IntensityWriter
from mimicme.stages.landmarks.checkpoint import LandmarksWriter
from mimicme.stages.project.checkpoint import ProjectWriter
from mimicme.stages.refine.checkpoint import RefineWriter
from mimicme.stages.register.checkpoint import PartWriter, RegisteredWriter

WRITERS: Mapping[type, Callable[[CheckpointWriter], Any]] = {
    IngestWriter: lambda out: IngestWriter(
        out, UnitDecision("mm", 1.0, ""), AxesDecision("+y", np.eye(3), ""), np.eye(4), 30.0, 1
    ),
    LandmarksWriter: lambda out: LandmarksWriter(out, "", (), ""),
    AlignWriter: AlignWriter,
    RegisteredWriter: lambda out: RegisteredWriter(out, 3).begin_figures(),
    PartWriter: lambda out: PartWriter(out, 3).close(),
    RefineWriter: lambda out: RefineWriter(out, 3).begin_figures(),
    BakeWriter: lambda out: BakeWriter(out, {}, "png", 1, gains=True, lights=TERMS),
    ProjectWriter: ProjectWriter,
    IntensityWriter: IntensityWriter,
}
"""How each writer of a stage is made to leave all figures that it can."""


class Measured(NamedTuple):
    """What the writers left.

    Attributes:
        units: of the figures by name, by class of the writer; empty where it says none.
        lines: file and line of every call of `figure`.
    """

    units: dict[str, dict[str, str]]
    lines: set[tuple[str, int]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("figures")
    lines: set[tuple[str, int]] = set()
    units = {}
    original = CheckpointWriter.figure

    def figure(self: CheckpointWriter, name: str, unit: str) -> h5py.Dataset:
        caller = sys._getframe(1)
        lines.add((caller.f_code.co_filename, caller.f_lineno))
        return original(self, name, unit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointWriter, "figure", figure)
        for kind, make in WRITERS.items():
            path = folder / f"{kind.__name__}.h5"
            with writing(path, stage="any", item="S/q", made_by={}) as out:
                out.frames([0])
                make(out)
            with Checkpoint(path) as made:
                units[kind.__name__] = {name: found.unit for name, found in made.quality.items()}
    return Measured(units, lines)


def calls(file: Path) -> list[ast.Call]:
    return [n for n in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]


def writers_of(repository: Path, stage: str) -> set[str]:
    """The writers that the modules of a stage make, by name."""
    known = {kind.__name__ for kind in WRITERS}
    return {
        call.func.id
        for file in (repository / "stages" / stage).glob("*.py")
        for call in calls(file)
        if isinstance(call.func, ast.Name) and call.func.id in known
    }


def units_of(stage: str, repository: Path, measured: Measured) -> dict[str, str]:
    """Unit of each figure that a stage may write, by name."""
    found: dict[str, str] = {}
    for writer in sorted(writers_of(repository, stage)):
        for name, unit in measured.units[writer].items():
            assert found.get(name) in (None, "", unit) or not unit, f"{stage}: {name}"
            found[name] = unit or found.get(name, "")
    return found


def test_the_writers_above_are_all_and_write_every_figure(repository: Path, measured: Measured) -> None:
    """A new writer, or a figure that no call above reaches, is to be added there."""
    classes = {
        node.name
        for file in repository.glob("stages/*/checkpoint.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Writer")
    }
    assert classes == {kind.__name__ for kind in WRITERS}
    reached = {(Path(name).resolve(), line) for name, line in measured.lines}
    missed = [
        f"{file.relative_to(repository)}:{call.lineno}"
        for file in repository.glob("stages/**/*.py")
        for call in calls(file)
        if isinstance(call.func, ast.Attribute) and call.func.attr == "figure"
        if not any((file.resolve(), k) in reached for k in range(call.lineno, (call.end_lineno or 0) + 1))
    ]
    assert missed == []


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_explains_what_it_writes_and_nothing_else(
    stage: Any, repository: Path, measured: Measured
) -> None:
    units = units_of(stage.name, repository, measured)
    assert set(stage.reader.explained) == set(units)
    assert [
        name for name, unit in units.items() if unit not in ("mm", "mm2", "1", "count", "texels", "log2")
    ] == []
    assert [
        said for said in stage.reader.explained.values() if not 10 < len(said) <= 120 or "|" in said
    ] == []


def test_one_name_is_one_figure() -> None:
    said: dict[str, str] = {}
    for stage in STAGES:
        for name, sentence in stage.reader.explained.items():
            assert said.setdefault(name, sentence) == sentence, name


def listed(repository: Path) -> list[tuple[list[str], str, str, str]]:
    """The rows of the list in docs/release-format.md: names, unit, what it is, what is usual."""
    text = (repository / "docs/release-format.md").read_text(encoding="utf-8")
    section = text.partition("\n## The figures of quality\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line[1:-1].split("|")] for line in section.splitlines() if line[:1] == "|"
    ]
    return [(re.findall(r"`(\w+)`", names), unit, what, usual) for names, unit, what, usual in rows[2:]]


def test_the_release_page_lists_every_figure_as_its_stage_says_it(
    repository: Path, measured: Measured
) -> None:
    units = {n: u for stage in STAGES for n, u in units_of(stage.name, repository, measured).items()}
    said = {n: sentence for stage in STAGES for n, sentence in stage.reader.explained.items()}
    rows = listed(repository)
    assert [name for names, *_ in rows for name in names] == list(said)
    assert {name: unit for names, unit, *_ in rows for name in names} == units
    assert {names[0]: what for names, _, what, _ in rows if len(names) == 1}.items() <= said.items()
    assert all(what for _, _, what, _ in rows)


def test_the_settings_that_bound_a_figure_exist(repository: Path) -> None:
    fields = {stage.name: {f.name for f in dataclasses.fields(stage.settings)} for stage in STAGES}
    named = [pair for *_, usual in listed(repository) for pair in re.findall(r"`(\w+)\.(\w+)`", usual)]
    assert len(named) > 5
    assert [f"{section}.{name}" for section, name in named if name not in fields[section]] == []


def test_a_unit_that_was_called_otherwise_is_read_as_the_one_of_today(
    fakes: ModuleType, tmp_path: Path
) -> None:
    """In checkpoints, in the saved index, and where a release is made of old and new ones."""
    smile = fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE))
    neutral = fakes.checkpoints(tmp_path, fakes.sequence(fakes.NEUTRAL))
    for given, unit in ((smile, "px"), (neutral, "texels")):
        path = given.checkpoints["refine"]
        with h5py.File(path, "r+") as made:
            made["quality/drift"] = np.full(made["status"].shape, 0.5, "f4")
            made["quality/drift"].attrs["unit"] = unit
        with Checkpoint(path) as read:
            assert read.quality["drift"].unit == "texels"
        summary = CheckpointIndex(tmp_path, tmp_path / "heads.jsonl").read(path)
        assert summary is not None
        assert {f.unit for f in summary.figures if f.name == "drift"} == {"texels"}
    saved = CheckpointSummary.from_record("f", "r", False, [0], [], {}, [["drift", "px", 1, 0.5, 0.5]])
    assert saved.figures[0].unit == "texels"
    fakes.packed(tmp_path / "r.h5", [neutral, smile])
    with Release(tmp_path / "r.h5") as release:
        assert release.units(release.sequences()[0].item)["drift"] == "texels"
