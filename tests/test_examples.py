"""The examples that `--help` ends with, run as they stand: what is copied from there has to work."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from shared_helpers import mimicme_here

from mimicme.commands.examples import EXAMPLES, examples_of
from mimicme.stages import FLOW

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
SAYS: dict[str, tuple[str | None, ...]] = {
    "init": ("new: 1 subject, 2 sequences, 4 frames", r"4 frames in .*Nothing is written\."),
    "run": (
        r"intensity: 0 done, 2 skipped, 0 failed; 4 frames ok.*release\.h5",
        "register: 0 of 2 would run",
    ),
    "landmarks": (r"landmarks-01\.png", "3 frames have no file there: .* all came from landmark files"),
    "pack": (r"release: release\.h5", r"release\.h5: verified"),
    "stages": ("register +Fit the template to every scan", "(?m)^register$"),
    "settings": (r"size = 256  \(from mimicme\.toml", r"\| `bake\.size` \| 512 \| 1024"),
    "status": ("nothing failed, nothing was rejected", None),  # waits for a run
    "verify": (r"ws/release\.h5: verified", "/subjects/S000: Its name has 'S000' in it"),
    # what it does before the first sequence is drawn, which takes a while, also without a terminal
    "report": (r"looking at what is out of date\n.*report\.html", None),  # draws for long
    "view": (None, "face.html: S000/surprise, 3 frames", None),  # two wait for somebody who looks
    "export": ("2 files in meshes", "2 files in arrays"),
    "template check": ("ok +All 68 landmarks are there", '"message": "All 68 landmarks are there'),
    "evaluate": (r"(?m)^surprise +\d", '"frames": 4'),
    "publish": (r"1 subject with 4 registered frames under pseudonyms.*public/release\.h5: verified",) * 2,
    "withdraw": ("ws: 'S000' is gone: 2 sequences with 4", "release.h5: 'S000' is gone: 2 sequences with 4"),
    "completion": (r"_mimicme_completion\(\)", "function _mimicme_completion"),
    # the second makes a stage again, in workers: of the stages alike the last one, after which nothing follows from it
    **{
        stage: (rf"{stage}: 0 done, 2 skipped, 0 failed; 4 frames ok", None)
        for stage in ("ingest", "align", "register", "refine", "bake", "project")
    },
    "repass": (r"repass \(off\): hands on what it is given; 0 failed", None),
    "intensity": (
        "intensity: 0 done, 2 skipped, 0 failed",
        "intensity: 2 done, 0 skipped, 0 failed; 4 frames ok",
    ),
}
"""What is found (a regular expression) in what each example says, which nothing but what it is for says; None: it is
not run."""
LINES = [
    (line, says)
    for name, expected in SAYS.items()
    for line, says in zip(examples_of(name, FLOW), expected, strict=True)
    if says is not None
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


@pytest.mark.parametrize(("line", "says"), LINES, ids=[line for line, _ in LINES])
def test_an_example_works_as_it_stands(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, says: str
) -> None:
    monkeypatch.chdir(place)
    for said, here in HERE.items():
        line = line.replace(said, here)
    words = shlex.split(line.partition(" > ")[0].replace(" /data/", " data/"))[1:]
    if words[0] == "init":
        shutil.rmtree(place / "new", ignore_errors=True)
        words[1] = "new"
    if words[0] == "publish":
        shutil.rmtree(place / "public", ignore_errors=True)
    if words[0] == "withdraw":  # of a copy: other examples need the person
        shutil.copytree(place, tmp_path / "copy")
        monkeypatch.chdir(tmp_path / "copy")
    absent = "--absent" in words  # who is there cannot be absent
    told = mimicme_here(*words, code=1 if absent else 0).output
    assert re.search(says, told, re.DOTALL), told
    wrong = [found for found in told.splitlines() if found.startswith("error:")]
    assert bool(wrong) == absent and all(found.endswith("[absent]") for found in wrong), told


def test_most_commands_have_an_example_that_is_run() -> None:
    assert set(SAYS).isdisjoint(NOT_RUN) and {*SAYS, *NOT_RUN} == {*EXAMPLES, *FLOW}
