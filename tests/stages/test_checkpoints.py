"""The names in a stage's artefact: spelled in its own room's `checkpoint.py`, and read there as they were written."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mimicme.pipeline.checkpoint import Artefact, ArtefactWriter, writing
from mimicme.pipeline.errors import ArtefactError
from mimicme.pipeline.stage import latest
from mimicme.stages import STAGES
from mimicme.stages.align.checkpoint import AlignCheckpoint, AlignWriter
from mimicme.stages.register.checkpoint import VERTICES, RegisteredCheckpoint, RegisteredWriter

WRITING = {"rows", "array", "put", "figure"}
OUTSIDE = {"stages/landmarks/untouched.py"}
"""Its `points` are those of a JSON file beside the captures."""


def spelled(file: Path, names: set[str]) -> Iterator[str]:
    """Where a module writes a dataset or an attribute by its name, or reads one of `names`."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITING:
            receiver = node.func.value
            if isinstance(receiver, ast.Name) and receiver.id == "out":
                yield f"{file}:{node.lineno}: out.{node.func.attr}"
        elif isinstance(node, ast.Subscript):
            key, of = node.slice, node.value
            if isinstance(of, ast.Attribute) and of.attr == "attrs" and isinstance(key, ast.Constant):
                yield f"{file}:{node.lineno}: attrs[{key.value!r}]"
            elif (
                isinstance(key, ast.Constant)
                and key.value in names
                and isinstance(of, ast.Name | ast.Attribute)
            ):
                yield f"{file}:{node.lineno}: [{key.value!r}]"


def test_nobody_else_spells_the_names(repository: Path) -> None:
    rooms = repository / "stages"
    texts = [
        n for f in rooms.glob("*/checkpoint.py") for n in ast.walk(ast.parse(f.read_text(encoding="utf-8")))
    ]
    names = {n.value for n in texts if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    assert {"pose", "landmark_ok", "vertices", "gain", "texture_format"} <= names
    others = [f for f in rooms.rglob("*.py") if f.name != "checkpoint.py"]
    others = [f for f in others if f.relative_to(repository).as_posix() not in OUTSIDE]
    # parts of a sequence are registration's own affair (register/parts.py), and write their figures in a loop
    found = [s for f in others for s in spelled(f, names) if "register/parts.py" not in s]
    assert found == []


def test_every_stage_that_others_read_has_its_own_reader() -> None:
    read = {need for stage in STAGES[:-1] for need in stage.needs}
    for stage in STAGES:
        if stage.name in read:
            assert stage.reader.stage == stage.name


def test_what_align_wrote_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pose, trusted = rng.normal(size=(4, 4)), rng.random(68) > 0.5
    with writing(tmp_path / "a.h5", stage="align", item="S/q", made_by={}) as out:
        out.frames([3, 7])
        writer = AlignWriter(out)
        writer.frame(1, pose, trusted, True, 2.5, 0.25, 1.1)
        writer.close()
    with AlignCheckpoint(tmp_path / "a.h5") as made:
        assert np.array_equal(made.pose(1), pose) and np.isnan(made.pose(0)).all()
        assert np.array_equal(made.trusted(1), trusted)
        assert made.quality["align_scale"].values[1] == np.float32(1.1)
        assert made.quality["align_surface_residual"].unit == "mm"


def registered(path: Path, *, vertices: bool) -> Path:
    with writing(path, stage=path.stem, item="S/q", made_by={}) as out:
        out.frames([0])
        if vertices:
            _registered(out)
    return path


def _registered(out: ArtefactWriter) -> None:
    writer = RegisteredWriter(out, 2)
    writer.frame(0, np.ones((2, 3)), np.eye(4))
    writer.neutral(None, np.zeros((68, 3)), personal=True)


def test_whose_vertices_count_is_the_last_that_has_some(tmp_path: Path) -> None:
    first, empty = (
        registered(tmp_path / "register.h5", vertices=True),
        registered(tmp_path / "b.h5", vertices=False),
    )
    second = registered(tmp_path / "refine.h5", vertices=True)
    assert latest({"register": first, "repass": empty}, VERTICES) == first
    assert latest({"register": first, "repass": empty, "refine": second, "bake": empty}, VERTICES) == second
    assert latest({"repass": empty}, VERTICES) is None
    with RegisteredCheckpoint.latest({"register": first, "repass": empty}) as made:
        assert made.path == first and made.personal and made.neutral is None and made.detector_offset is None
        assert made.vertices(0).shape == (2, 3)
    with pytest.raises(ArtefactError, match="no artefact has registered vertices"):
        RegisteredCheckpoint.latest({"repass": empty})


def test_a_dataset_that_is_not_there_is_said_with_what_to_do(tmp_path: Path) -> None:
    with Artefact(registered(tmp_path / "x.h5", vertices=False)) as made:
        with pytest.raises(ArtefactError, match="has no 'vertices'.*--force"):
            made["vertices"]
        assert made.quality == {}
