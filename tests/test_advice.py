"""What messages advise is there: every command, option and setting that a sentence of ours names.

Looked at is every text in the code but docstrings, which users do not read, what the pages of reports say, and every
command of our own pages; what is put in while the program runs stands as `X`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import click
import pytest

from mimicme.cli import main
from mimicme.pipeline.config import load
from mimicme.stages import STAGES

PUT_IN = "X"
"""Stands for what a text is given when it is said."""
ROOMS = ("commands", "pipeline", "stages")
"""Folders whose texts users of the command line read."""
NO_SETTINGS = ("captures.consent", "landmarks.pts")
"""What looks like one: a name for the settings of consent, and a file."""
FOREIGN = ("--no-deps",)
"""Options of pip."""
OTHER_TABLES = ("depth", "color")
"""Tables of `rgbd.toml`."""
ENDINGS = (
    "csv",
    "h5",
    "html",
    "json",
    "jsonl",
    "ljson",
    "md",
    "npz",
    "obj",
    "ply",
    "png",
    "toml",
    "tsv",
    "txt",
    "xlsx",
)
"""What `template.ljson` ends with: no setting is called so."""


@dataclass(frozen=True)
class Text:
    """A text and the place that says it."""

    words: str
    place: str


@dataclass(frozen=True)
class Known:
    """What there is.

    Attributes:
        options: of every command and group by its words, `model fit`; those of the main one are of the empty one.
        settings: names by section.
    """

    options: dict[str, set[str]]
    settings: dict[str, set[str]]

    def command_in(self, words: list[str]) -> str:
        """The longest command that words begin with."""
        command = ""
        for word in words:
            longer = f"{command} {word}".strip()
            if longer not in self.options:
                break
            command = longer
        return command


@pytest.fixture(scope="module")
def known() -> Known:
    options: dict[str, set[str]] = {}

    def take(command: click.Command, words: tuple[str, ...]) -> None:
        ctx = click.Context(command)
        params = command.get_params(ctx)
        options[" ".join(words)] = {o for one in params for o in (*one.opts, *one.secondary_opts)}
        if isinstance(command, click.Group):
            for name in command.list_commands(ctx):
                inner = command.get_command(ctx, name)
                assert inner is not None
                take(inner, (*words, name))

    take(main, ())
    config = load(None, STAGES, environ={})
    own = {one.name: getattr(config, one.name) for one in fields(config)}
    sections = {name: one for name, one in own.items() if is_dataclass(one)} | dict(config.stages)
    return Known(options, {name: {one.name for one in fields(section)} for name, section in sections.items()})


def texts_of(source: str, name: str) -> Iterator[Text]:
    """Every text in Python source but docstrings, put together as it is said."""
    tree = ast.parse(source)
    quiet: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for one in body if isinstance(body, list) else []:
            if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant):  # also of attributes
                quiet.add(id(one.value))
        if isinstance(node, ast.JoinedStr):
            quiet.update(id(part) for part in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (str(part.value) if isinstance(part, ast.Constant) else PUT_IN for part in node.values)
            yield Text("".join(parts), f"{name}:{node.lineno}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in quiet:
            yield Text(node.value, f"{name}:{node.lineno}")


def options_in(words: str) -> list[str]:
    return re.findall(r"(?<![\w-])(--[a-z][a-z-]*[a-z])(?!\w)", words)


def wrong_command(line: str, known: Known) -> str:
    """What is wrong with a command as it is typed; empty: nothing."""
    given = re.split(r" [#|<>&;]|;|\$\(", line)[0].split()[1:]
    command = known.command_in(given)
    if given and not command and not given[0].startswith(("-", PUT_IN, "{", "COMMAND")):
        return f"no command `{line}`"
    if not command and given and given[0] != "--help":
        return ""  # which one is said while the program runs
    lacking = [one for one in options_in(" ".join(given)) if one not in known.options[command] | {"--help"}]
    return f"`mimicme {command}` has no {lacking[0]}: `{line}`" if lacking else ""


def wrong_in(text: Text, known: Known) -> Iterator[str]:
    """What a text names that is not there."""
    for quoted in re.findall(r"`(mimicme [^`]+)`", text.words):
        if wrong := wrong_command(quoted, known):
            yield f"{text.place}: {wrong}"
    every = set().union(*known.options.values())
    for option in options_in(text.words):
        if option not in every and option not in FOREIGN:
            yield f"{text.place}: no command has {option}"
    for section, name in re.findall(r"(?<![\w./-])([a-z]+)\.([a-z_0-9]+)(?![\w(])", text.words):
        known_here = known.settings.get(section)
        if (
            known_here
            and name not in known_here
            and name not in ENDINGS
            and f"{section}.{name}" not in NO_SETTINGS
        ):
            yield f"{text.place}: no setting {section}.{name}"
    pairs = re.findall(r"\[([a-z]+)\]\s+([a-z_]+)\s*=", text.words)
    pairs += [
        (section, name) for name, section in re.findall(r"([a-z_]+) = [^`]*` in `?\[([a-z]+)\]", text.words)
    ]
    for section, name in pairs:
        if section not in OTHER_TABLES and name not in known.settings.get(section, ()):
            yield f"{text.place}: no setting {name} in [{section}]"


def sources(repository: Path) -> list[Path]:
    # named one by one: an environment of somebody else's code may lie beside them
    return sorted(
        [*repository.glob("*.py"), *(f for room in ROOMS for f in (repository / room).rglob("*.py"))]
    )


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("Run `mimicme begin` first.", "no command"),
        ("`mimicme status WS --only S1` tells.", "no --only"),
        ("`mimicme model fit X --output Y` does.", ""),
        ("Leave --jbos out.", "no command has --jbos"),
        ("Set captures.unt.", "no setting captures.unt"),
        ("Set ingest.max_pixels, or [captures] unit = 'mm'.", ""),
        ("until `unit = 3` in `[capture]`", "no setting unit in [capture]"),
    ],
)
def test_what_is_not_there_is_found(known: Known, words: str, wrong: str) -> None:
    found = list(wrong_in(Text(words, "here"), known))
    assert len(found) == bool(wrong) and wrong in "".join(found)


def test_texts_are_put_together_and_docstrings_left_out() -> None:
    source = 'A = 1\n"""Not `mimicme x`."""\ndef f(a):\n    """Nor this."""\n    return f"`mimicme {a}" " --only`"\n'
    assert [text.words for text in texts_of(source, "a")] == ["`mimicme X --only`"]


def test_every_message_names_what_is_there(repository: Path, known: Known) -> None:
    texts = [
        t
        for path in sources(repository)
        for t in texts_of(path.read_text(), str(path.relative_to(repository)))
    ]
    assert sum("`mimicme " in text.words for text in texts) > 50
    assert sum(bool(options_in(text.words)) for text in texts) > 100
    texts += [Text(path.read_text(), path.name) for path in sorted(repository.glob("commands/**/*.j2"))]
    assert [wrong for text in texts for wrong in wrong_in(text, known)] == []


def test_every_command_in_the_pages_is_there(repository: Path, known: Known) -> None:
    wrong, count = [], 0
    for page in (repository / "README.md", *sorted((repository / "docs").glob("*.md"))):
        words = page.read_text().replace("\\\n", " ")
        blocks = "".join(re.findall(r"(?s)```[a-z]*\n(.*?)```", words))
        lines = re.findall(r"(?<!`)`(mimicme [^`\n]+)`", words) + re.findall(r"(?m)^ *(mimicme .+)$", blocks)
        count += len(lines)
        wrong += [f"{page.name}: {said}" for line in lines if (said := wrong_command(line, known))]
    assert count > 100
    assert wrong == []
