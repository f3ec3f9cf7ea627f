"""The examples that `--help` ends with, run as they stand: what is copied from there has to work."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from shared_helpers import mimicme_here

from mimicme.commands.examples import EXAMPLES

NOT_RUN = {
    "plan": "works a sample",
    "convert": "two templates: minutes",
    "template import": "needs what others distribute",
    "synth": "the fine template: minutes",
    "demo": "the whole flow",
    "doctor": "the whole flow, and what is installed",
    "adopt": "needs registered meshes: tests/commands/test_adopt.py",
    # models and experiments need many people: tests/commands/model, tests/commands/experiment
    **{name: "needs many people" for name in EXAMPLES if name.startswith(("model ", "experiment "))},
}
LATER = ("--watch", "view ws ", "view face.h5", "coma", "--views")
"""What waits for somebody, or draws for long."""
LINES = [
    line
    for name, lines in EXAMPLES.items()
    for line in lines
    if name not in NOT_RUN and not any(word in line for word in LATER)
]
HERE = {
    "S001": "S000",
    "happiness": "surprise",
    "S007": "S000",
    "--metadata subjects.csv": "--metadata data/subjects.csv",
}
"""What the small workspace has in place of what the examples speak of."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_workspace: Path, small_captures: Path) -> Path:
    """A folder with what the examples name: a workspace `ws`, captures, a template, what `synth` wrote as `data`.  Its
    files are copies: an example may change them."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(small_workspace, folder / "ws")
    shutil.copy(small_workspace / "release.h5", folder / "release.h5")
    shutil.copytree(small_captures, folder / "data")
    shutil.copytree(small_captures / "captures", folder / "scans")
    (folder / "data" / "models").mkdir()
    settings = folder / "ws" / "mimicme.toml"  # with what the workspace was made with, see `SMALL`
    text, count = re.subn(r"(?ms)^(\[bake\]$.*?^)# size = \d+", r"\1size = 256", settings.read_text())
    assert count == 1
    settings.write_text(text)
    for template in (small_captures / "template").iterdir():
        shutil.copy(template, folder / f"head{template.suffix}")
    return folder


@pytest.mark.parametrize("line", LINES)
def test_an_example_works_as_it_stands(place: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.chdir(place)
    for said, here in HERE.items():
        line = line.replace(said, here)
    words = shlex.split(line.partition(" > ")[0].replace(" /data/", " data/"))[1:]
    if words[0] == "init":
        shutil.rmtree(place / "new", ignore_errors=True)
        words[1] = "new"
    if words[0] == "publish":
        shutil.rmtree(place / "public", ignore_errors=True)
    absent = "--absent" in words  # who is there cannot be absent
    assert mimicme_here(*words, code=1 if absent else 0).output


def test_most_commands_have_an_example_that_is_run() -> None:
    assert len(LINES) >= 20 and set(NOT_RUN) <= set(EXAMPLES)
