"""Imports point one way: between the four top folders, between the rooms of pipeline/, and in no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

TOPS = ("pipeline", "stages", "commands", "cli")
"""From below: each may import itself and what stands before it."""

NO_FACE = ("geometry", "formats", "numerics")
FACE = ("landmarks", "captures", "template", "texture", "drawing", "release")
RUN_MAY = {"pipeline.captures.catalogue", "pipeline.template"}
"""Of the rooms that know a face: the catalogue, and the template as something that is passed on."""

BETWEEN_STAGES = {("repass", "register")}
"""The second registration is the first one begun again."""

BETWEEN_COMMANDS = {"demo"}
"""It runs the others one after the other."""

Graph = Mapping[str, set[str]]


@pytest.fixture(scope="module")
def imports(repository: Path) -> Graph:
    """What each module imports, wherever the import stands: in a function or under TYPE_CHECKING too."""
    files = {"cli": repository / "cli.py"}
    for top in TOPS[:-1]:
        for file in (repository / top).rglob("*.py"):
            parts = file.relative_to(repository).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return {name: set(imported(file, set(files))) for name, file in files.items()}


def imported(file: Path, modules: set[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mimicme":
            base = (node.module or "").removeprefix("mimicme").lstrip(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".lstrip(".")
                yield full if full in modules else base
        elif isinstance(node, ast.Import):
            yield from (a.name[len("mimicme.") :] for a in node.names if a.name.startswith("mimicme."))


def circles(graph: Graph) -> list[list[str]]:
    """Groups of nodes that import each other, directly or not."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen, waiting = set(), list(graph[start])
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting += graph.get(node, ())
        reach[start] = seen
    return sorted({tuple(sorted(b for b in reach[a] if a in reach[b])) for a in graph if a in reach[a]})


def rooms(graph: Graph, depth: int) -> Graph:
    """The same between folders of `depth` names, without what a room imports of itself."""

    def room(module: str) -> str:
        return ".".join(module.split(".")[:depth])

    found: dict[str, set[str]] = {room(m): set() for m in graph}
    for module, targets in graph.items():
        found[room(module)] |= {room(t) for t in targets} - {room(module)}
    return found


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [("a", "b", "c")]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_the_way_from_the_command_line_down(imports: Graph) -> None:
    upward = [
        f"{module} imports {target}"
        for module, targets in imports.items()
        for target in targets
        if TOPS.index(target.split(".")[0]) > TOPS.index(module.split(".")[0])
    ]
    assert upward == []


def test_no_module_and_no_room_of_the_pipeline_imports_in_a_circle(imports: Graph) -> None:
    assert circles(imports) == []
    pipeline = {
        m: {t for t in ts if t != "pipeline"} for m, ts in imports.items() if m.startswith("pipeline.")
    }
    assert circles(rooms(pipeline, 2)) == []


def test_what_knows_no_face(imports: Graph) -> None:
    knows = [
        f"{module} imports {target}"
        for module, targets in imports.items()
        if module.startswith(tuple(f"pipeline.{room}" for room in NO_FACE))
        for target in targets
        if target.startswith(tuple(f"pipeline.{room}" for room in FACE))
    ]
    assert knows == []


def test_running_knows_the_catalogue_and_passes_a_template_on(imports: Graph) -> None:
    knows = {
        target
        for module, targets in imports.items()
        if module.startswith("pipeline.run")
        for target in targets
        if target.startswith(tuple(f"pipeline.{room}" for room in FACE))
    }
    assert knows <= RUN_MAY


def test_stages_know_of_each_other_their_checkpoints_alone(imports: Graph) -> None:
    """And those of earlier stages only: what a stage reads, it says in `needs`."""
    from mimicme.stages import STAGES

    order = [stage.name for stage in STAGES]
    strange = []
    for module, targets in imports.items():
        if not module.startswith("stages."):
            continue
        own = module.split(".")[1]
        for target in targets:
            if target == "stages" or not target.startswith("stages.") or target.split(".")[1] == own:
                continue
            other = target.split(".")[1]
            interface = target == f"stages.{other}.checkpoint" and order.index(other) < order.index(own)
            if not interface and (own, other) not in BETWEEN_STAGES:
                strange.append(f"{module} imports {target}")
    assert strange == []


def test_commands_stand_side_by_side(imports: Graph) -> None:
    between = [
        f"{module} imports {target}"
        for module, targets in imports.items()
        if module.startswith("commands.") and module.split(".")[1] not in BETWEEN_COMMANDS
        for target in targets
        if target.startswith("commands.") and target.split(".")[1] != module.split(".")[1]
    ]
    assert between == []


def test_nobody_in_the_pipeline_names_a_stage(repository: Path) -> None:
    """Not as a word of its own in the code of what runs stages; a file format may have a key `landmarks`."""
    from mimicme.stages import STAGES

    names = {stage.name for stage in STAGES}
    files = [*(repository / "pipeline").glob("*.py"), *(repository / "pipeline" / "run").glob("*.py")]
    named = [
        f"{file.name}:{node.lineno}: {node.value}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert named == []
