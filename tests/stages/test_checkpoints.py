"""The names in a stage's checkpoint: spelled in its own room's `checkpoint.py`, and read there as they were written."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from mimicme.pipeline.checkpoint import Checkpoint, CheckpointWriter, writing
from mimicme.pipeline.errors import CheckpointError
from mimicme.pipeline.stage import latest
from mimicme.stages import STAGES
from mimicme.stages.align.checkpoint import AlignCheckpoint, AlignWriter, TurnedOut, most_neutral
from mimicme.stages.register.checkpoint import VERTICES, RegisteredCheckpoint, RegisteredWriter
from mimicme.stages.register.quality import UNITS

CALLS = {"get", "has", "rows", "array", "put", "figure"}
WRITING = {"rows", "array", "put", "figure"}
NO_NAMES = {"mm", "s", "texels", "f4", "f8", "u1", "x", "y", "z", "xy", "yz", "xz"}
"""Units, types and terms of axes, which stand in the checkpoint modules too."""

ELSEWHERE: dict[str, set[str]] = {
    # the names of a release, which users read
    "pipeline/release/": {"vertices", "faces", "uv", "uv_faces", "fps", "file_from_scan", "time_s", "unit"}
    | {"landmark_source"},
    "stages/pack/sequence_writing.py": {"pose"},
    "commands/adopt.py": {"vertices", "pose", "landmarks", "landmark_source", "landmark_confidence"},
    "commands/export.py": {"vertices", "amount"},
    "commands/doctor.py": {"s2m_p95"},
    "commands/report/methods.py": {
        *("scan_vertices", "align_landmark_residual", "s2m_median", "drift", "coverage")
    },
    "pipeline/rgbd/recipe.py": {"up", "mirrored"},
    "commands/verify/": {
        *("vertices", "faces", "uv", "uv_faces", "fps", "file_from_scan", "pose"),
        *("landmarks", "landmark_source", "landmark_confidence", "landmark_visible", "time_s"),
    },
    # the attribute that every dataset has, of checkpoints and releases
    "pipeline/formats/map_coding.py": {"unit"},
    # the prepared template, what it was made from, and the linear model
    "pipeline/template/": {"vertices", "faces", "uv", "uv_faces"},
    "pipeline/workspace/template.py": {"source"},
    "pipeline/model_file.py": {"texture"},
    "commands/model/": {"texture", "vertices"},
    # files of others: glTF, what an OBJ announces in its comments, .pts and its kin
    "pipeline/formats/gltf": {"source"},
    "pipeline/formats/obj.py": {"vertices", "faces"},
    # of a sequence in a release
    "commands/verify/sequence.py": {"mirrored"},
    "commands/convert.py": {"landmarks", "pose"},
    "pipeline/landmarks/formats.py": {"points", "landmarks"},
    # points exported beside the captures, as JSON; the truth that synth leaves beside them, and what it is measured by
    "stages/landmarks/unedited_points.py": {"points", "confidence"},
    "commands/evaluate.py": {"vertices", "landmarks", "s2m_median", "s2m_p95", "amount"},
    # the record of what made a checkpoint
    "pipeline/run/plan.py": {"neutral", "mirrored"},
    # words of the module's own
    "commands/experiment/samples.py": {"texture"},
    "pipeline/drawing/pictures.py": {"texture"},
    "benchmarks/": {"vertices", "landmarks", "confidence", "points", "neutral"},
    "benchmarks/loading.py": {"pose", "landmark_source", "landmark_confidence"},
}
"""What else has datasets and keys that are called like those of a checkpoint."""


def words(file: Path) -> Iterator[str]:
    """The names in a module that has checkpoints."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr | ast.ClassDef):  # docstrings, and the name of the stage
            for part in node.body if isinstance(node, ast.ClassDef) else [node]:
                if isinstance(value := getattr(part, "value", None), ast.Constant):
                    value.value = None
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value[:1].isalpha():
            yield node.value


def keys(node: ast.AST) -> Sequence[ast.AST]:
    """Where in an expression the name of a dataset or an attribute may stand."""
    if isinstance(node, ast.Subscript):
        return () if isinstance(node.value, ast.Name) and node.value.id == "Literal" else (node.slice,)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
        return [*node.args, *(keyword.value for keyword in node.keywords)]
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        return (node.left,)
    return ()


def spelled(file: Path, names: set[str]) -> Iterator[tuple[int, str]]:
    """Where a module reads or writes one of `names`, or something in the group of figures; whatever it asks."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        for part in (part for key in keys(node) for part in ast.walk(key)):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield from ((part.lineno, word) for word in part.value.split("/") if word in names)
            elif isinstance(part, ast.Name) and part.id == "QUALITY":
                yield part.lineno, part.id


def written(file: Path) -> Iterator[int]:
    """Where a module gives a checkpoint's writer a dataset or an attribute, whatever its name."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(of := node.func, ast.Attribute):
            given = of.attr in WRITING and ast.unparse(of.value) == "out"
        else:
            given = isinstance(node, ast.Subscript) and ast.unparse(node.value) == "out.attrs"
        if given:
            yield node.lineno


@pytest.fixture(scope="module")
def names(repository: Path) -> set[str]:
    """All that checkpoints have."""
    modules = [*repository.glob("stages/*/checkpoint.py"), repository / "pipeline/scan.py"]
    found = {word for module in modules for word in words(module)} - NO_NAMES
    found |= {name for stage in STAGES for name in stage.reader.explained} | set(UNITS)
    assert {"pose", "landmark_ok", "vertices", "gain", "texture_format", "s2m_p95", "uv_faces"} <= found
    return found


def test_a_name_is_found_whatever_is_asked_for_it(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        '"""Reads `pose`."""\nopen(path)["pose"]\nmade.h5.get(row, "pose")\n"pose" in made\n'
        'out.array(f"reference/pose", x)\nmade.attrs.get("pose", 0)\nmade[f"{QUALITY}/x"]\nsay("pose")\n'
    )
    assert [line for line, _ in spelled(file, {"pose"})] == [2, 3, 4, 5, 6, 7]
    assert list(written(file)) == [5]


def test_nobody_else_spells_the_names(repository: Path, names: set[str]) -> None:
    """In ELSEWHERE stands what is called alike; what is not found there is to be taken out."""
    found: dict[str, set[str]] = {place: set() for place in ELSEWHERE}
    strange = []
    for top in ("stages", "commands", "pipeline", "benchmarks"):
        for file in sorted((repository / top).rglob("*.py")):
            name = file.relative_to(repository).as_posix()
            if file.name == "checkpoint.py" or name == "pipeline/scan.py":
                continue
            places = [place for place in ELSEWHERE if name.startswith(place)]
            for line, word in spelled(file, names):
                at = next((place for place in places if word in ELSEWHERE[place]), None)
                if at is None:
                    strange.append(f"{name}:{line}: {word}")
                else:
                    found[at].add(word)
            strange += [f"{name}:{line}: out" for line in written(file) if top == "stages"]
    assert strange == []
    assert found == ELSEWHERE


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
        writer.frame(
            1, pose, trusted, ~trusted, True, 2.5, 0.25, 1.1, np.array([1, 0.7, 1.2]), 3.5, "frame 7: calm"
        )
        writer.close(TurnedOut("-x", "-x is up: ...", "unusual size: ..."))
    with AlignCheckpoint(tmp_path / "a.h5") as made:
        assert np.array_equal(made.pose(1), pose) and np.isnan(made.pose(0)).all()
        assert np.array_equal(made.trusted(1), trusted)
        assert made.neutral_cost(1) == 3.5 and np.isnan(made.neutral_cost(0))
        assert made.decided == {
            "up": "-x",
            "up_decision": "-x is up: ...",
            "size_decision": "unusual size: ...",
        }
        assert made.quality["align_scale"].values[1] == np.float32(1.1)
        assert made.quality["align_height"].values[1] == np.float32(0.7)
        assert made.quality["align_depth"].values[1] == np.float32(1.2)
        assert made.quality["align_surface_residual"].unit == "mm"


def test_the_most_neutral_frame_is_told_and_none_of_a_rejected_sequence(tmp_path: Path) -> None:
    calm, none = tmp_path / "a.h5", tmp_path / "b.h5"
    for path, costs in ((calm, (4.0, 2.0, 3.0)), (none, ())):
        with writing(path, stage="align", item="S/q", made_by={}) as out:
            out.frames([5, 6, 7])
            writer = AlignWriter(out)
            for row, cost in enumerate(costs):
                writer.frame(
                    row,
                    np.eye(4),
                    np.ones(68, bool),
                    np.zeros(68, bool),
                    True,
                    1.0,
                    1.0,
                    1.0,
                    np.ones(3),
                    cost,
                    f"frame {row + 5}: calm",
                )
            writer.close(TurnedOut())
    assert most_neutral(calm) == (2.0, "frame 6: calm")
    assert most_neutral(none) is None


def registered(path: Path, *, vertices: bool) -> Path:
    with writing(path, stage=path.stem, item="S/q", made_by={}) as out:
        out.frames([0])
        if vertices:
            _registered(out)
    return path


def _registered(out: CheckpointWriter) -> None:
    writer = RegisteredWriter(out, 2)
    writer.frame(0, np.ones((2, 3)), np.eye(4), np.array([255, 0], np.uint8))
    writer.neutral(None, np.zeros((68, 3)), np.zeros(0, np.int64), personal=True)


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
    with pytest.raises(CheckpointError, match="no checkpoint has registered vertices"):
        RegisteredCheckpoint.latest({"repass": empty})


def test_a_dataset_that_is_not_there_is_said_with_what_to_do(tmp_path: Path) -> None:
    with Checkpoint(registered(tmp_path / "x.h5", vertices=False)) as made:
        with pytest.raises(CheckpointError, match="has no 'vertices'.*--force"):
            made["vertices"]
        assert made.quality == {}
