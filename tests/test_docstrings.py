"""Docstrings and comments name modules that there are: a module that moves takes its name along."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

TOPS = ("pipeline", "stages", "commands")
DOTTED = re.compile(rf"(?<![\w./])(?:mimicme\.)?((?:{'|'.join(TOPS)})(?:\.\w+)+)")
FILE = re.compile(r"(?<![\w.*>/])((?:\w+/)*\w+\.py)\b")
MEMBER = re.compile(r"`((?:[a-z]\w*\.)+)([A-Z]\w*)")


def said(file: Path) -> Iterator[tuple[int, str]]:
    """Docstrings, strings that stand alone, and comments, with their lines."""
    source = file.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.lineno, str(node.value.value)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def modules(repository: Path) -> dict[str, Path]:
    """File of every module, by its dotted name without `mimicme`."""
    found = {"cli": repository / "cli.py"}
    for top in TOPS:
        for file in (repository / top).rglob("*.py"):
            parts = file.relative_to(repository).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def exists(name: str, known: dict[str, Path]) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    depth = max((n for n in range(1, len(parts) + 1) if ".".join(parts[:n]) in known), default=0)
    thing: object = import_module("mimicme." + ".".join(parts[:depth])) if depth > 1 else None
    for part in parts[depth:]:
        thing = getattr(thing, part, None)
    return thing is not None


def missing(text: str, file: Path, repository: Path, known: dict[str, Path]) -> Iterator[str]:
    """What a text of a module names and is not there."""
    yield from (name for name in DOTTED.findall(text) if not exists(name, known))
    for name in FILE.findall(text):
        places = (file.parent, *repository.glob("*"), repository)
        if not any((place / name).is_file() for place in places):
            yield name
    for of, member in MEMBER.findall(text):
        alike = [name for name in known if f".{name}.".endswith(f".{of}")]
        if alike and not any(exists(f"{name}.{member}", known) for name in alike):
            yield f"{of}{member}"


@pytest.fixture(scope="module")
def known(repository: Path) -> dict[str, Path]:
    return modules(repository)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("see `pipeline.render.seen_by` and pipeline.drawing.render.seen_by", ["pipeline.render.seen_by"]),
        ("`texture.TextureOptions`, `baking.TextureOptions`", ["texture.TextureOptions"]),
        ("(gone.py, register/prior.py, stages/bake/__init__.py)", ["gone.py"]),
        ("`bake.size`, as in `template.faces`; `np.nan`", []),
    ],
)
def test_what_is_not_there_is_found(
    text: str, names: list[str], repository: Path, known: dict[str, Path]
) -> None:
    assert list(missing(text, repository / "stages/repass/__init__.py", repository, known)) == names


def test_modules_that_are_named_are_there(repository: Path, known: dict[str, Path]) -> None:
    found = [
        f"{file.relative_to(repository)}:{line}: {name}"
        for file in known.values()
        for line, text in said(file)
        for name in missing(text, file, repository, known)
    ]
    assert found == []
