"""Imports point one way: between the four top folders, between the rooms of pipeline/, and in no circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

TOPS = ("pipeline", "stages", "commands", "cli")
"""From below: each may import itself and what stands before it."""

NO_FACE = {
    "geometry": {"geometry", "numerics", "arrays", "errors"},
    "formats": {"formats", "geometry", "arrays", "errors"},
    "numerics": {"numerics", "arrays", "errors", "whole_file"},
}
"""Rooms of pipeline/ that know no face, with all that they may import of it."""

FACE = ("landmarks", "captures", "template", "texture", "drawing", "release")
RUN_MAY = {"pipeline.captures.catalogue", "pipeline.template"}
"""Of the rooms that know a face: the catalogue, and the template as something that is passed on."""

BETWEEN_STAGES = {("repass", "register")}
"""The second registration is the first one begun again."""

BETWEEN_COMMANDS = {"demo", "doctor", "subcommands"}
"""They run the others one after the other; the last holds what each is called by."""
FOR_COMMANDS = {"frames"}
"""What several commands stand on and pipeline/ cannot hold, because it knows the stages."""

NAMED_IN_PIPELINE = {
    ("release", "landmarks"),  # a dataset of the release
    ("landmarks", "landmarks"),  # a key of .ljson
    ("config.py", "landmarks"),  # where [captures] sides stood before
    ("config.py", "bake"),  # SECTION.KEY=VALUE, as in bake.size=512
}
"""Room or module of pipeline/, and what is called like a stage in its code."""

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
    for _, text in strings(file):  # for `import_module`, or for one who calls it
        name = text.removeprefix("mimicme.")
        if name != text and name in modules:
            yield name


def strings(file: Path) -> Iterator[tuple[int, str]]:
    """What a module's code says, in f-strings too; not its docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def names_in(text: str, stages: set[str]) -> set[str]:
    """Which stages a text names; `landmarks` is a word of the field too, and a name alone or where a command stands."""
    found = set(re.findall(r"[a-z_]+", text)) & stages
    alone = re.search(r"mimicme landmarks|(?<![\w .])landmarks\.\w|^\W?landmarks$", text)
    return found if alone else found - {"landmarks"}


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
        for room in [f"{module}..".split(".")[1]]
        if module.startswith("pipeline.") and room in NO_FACE
        for target in targets
        if f"{target}.".split(".")[1] not in NO_FACE[room]
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
    """And those of the stages in its `needs` only, or what the readers of these inherit from."""
    from mimicme.stages import STAGES

    readers = {stage.name: {kind.__module__ for kind in stage.reader.__mro__} for stage in STAGES}
    may = {s.name: {m for need in s.needs for m in readers[need]} for s in STAGES}
    strange = []
    for module, targets in imports.items():
        if not module.startswith("stages."):
            continue
        own = module.split(".")[1]
        for target in targets:
            if target == "stages" or not target.startswith("stages.") or target.split(".")[1] == own:
                continue
            other = target.split(".")[1]
            if f"mimicme.{target}" not in may[own] and (own, other) not in BETWEEN_STAGES:
                strange.append(f"{module} imports {target}")
    assert strange == []


def test_commands_stand_side_by_side(imports: Graph) -> None:
    between = [
        f"{module} imports {target}"
        for module, targets in imports.items()
        if module.startswith("commands.") and module.split(".")[1] not in BETWEEN_COMMANDS
        for target in targets
        if target.startswith("commands.")
        and target.split(".")[1] not in {module.split(".")[1], *FOR_COMMANDS}
    ]
    assert between == []


def test_a_module_named_in_a_string_is_imported(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text('"""mimicme.cli"""\nimport_module("mimicme.stages.bake")\nsay("mimicme.toml")\n')
    assert set(imported(file, {"stages.bake", "cli"})) == {"stages.bake"}


def test_a_stage_is_found_in_what_is_said() -> None:
    stages = {"pack", "landmarks"}
    for text in ("pack", "`mimicme pack` packs everything", "landmarks", "landmarks.sides", "/landmarks"):
        assert names_in(text, stages), text
    for text in ("it is packed", "Look at its landmarks.", "the landmarks do not lie on the template"):
        assert not names_in(text, stages), text


def test_nobody_in_the_pipeline_names_a_stage(repository: Path) -> None:
    """In no word of its code; what is called alike stands in NAMED_IN_PIPELINE, and is to be taken out when gone."""
    from mimicme.stages import STAGES

    stages = {stage.name for stage in STAGES}
    pipeline = repository / "pipeline"
    found = [
        (file.relative_to(pipeline).parts[0], name, f"{file.relative_to(pipeline)}:{line}: {text}")
        for file in pipeline.rglob("*.py")
        for line, text in strings(file)
        for name in names_in(text, stages)
    ]
    assert [where for room, name, where in found if (room, name) not in NAMED_IN_PIPELINE] == []
    assert {(room, name) for room, name, _ in found} == NAMED_IN_PIPELINE
