"""Adding a stage is a room and a line: command, settings, status, report and release follow from these."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from shared_helpers import MAIN

from mimicme.pipeline.release import Release

ROOM = '''"""shade: a figure of every frame that came in."""

from dataclasses import dataclass

from mimicme.pipeline.checkpoint import Checkpoint, CheckpointWriter
from mimicme.pipeline.stage import Stage, Task


@dataclass(frozen=True)
class ShadeSettings:
    """Attributes: level_mm: what is measured of a frame."""

    level_mm: float = 1.5


def compute(task: Task[ShadeSettings], out: CheckpointWriter) -> None:
    with Checkpoint(task.inputs["ingest"]) as ingest:
        rows = out.continue_from(ingest)
    level = out.figure("shade_level", "mm")
    for row in rows:
        level[row] = task.settings.level_mm


STAGE = Stage("shade", 1, ShadeSettings, ("ingest",), compute, uses_template=False)
'''
SENTENCE = "Measure a shade that nobody needs."
COPIED = ("pipeline", "stages", "commands", "cli.py", "py.typed")
# what is tested here does not depend on how well the face is fitted
LIGHT = ("--set", "refine.enabled=false", "--set", "bake.size=256", "--set", "shade.level_mm=2.25")

Call = Callable[..., str]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A copy of the package with one stage more: a room, and a line in the list."""
    package = tmp_path_factory.mktemp("with-a-stage") / "mimicme"
    package.mkdir()
    for name in COPIED:
        source = repository / name
        if source.is_dir():
            shutil.copytree(source, package / name)  # with what is compiled: it need not be made again
        else:
            shutil.copy(source, package / name)
    (package / "stages/shade").mkdir()
    (package / "stages/shade/__init__.py").write_text(ROOM)
    listing = package / "stages/__init__.py"
    before, last, after = listing.read_text().partition('    "pack": ')
    assert last
    listing.write_text(f'{before}    "shade": "{SENTENCE}",\n{last}{after}')
    return package


@pytest.fixture(scope="module")
def call(package: Path) -> Call:
    """Runs the copy in a process of its own; what it prints."""

    def run(*command: object) -> str:
        environ = dict(os.environ, PYTHONPATH=str(package.parent))
        done = subprocess.run(
            [str(c) for c in command],
            cwd=package.parent,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    files = run(sys.executable, "-c", "import mimicme.cli, mimicme.pipeline.stage; print(mimicme.cli.__file__); "
                "print(mimicme.pipeline.stage.__file__)").split()  # fmt: skip
    assert files == [str(package / "cli.py"), str(package / "pipeline/stage.py")]
    return lambda *arguments: run(*MAIN, *arguments)


@pytest.fixture(scope="module")
def workspace(call: Call, small_captures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the copy on one frame.  Read only."""
    folder = tmp_path_factory.mktemp("shaded")
    shutil.copytree(small_captures / "captures/S000/neutral", folder / "captures/S000/neutral")
    template = small_captures / "template/template.obj"
    call("init", folder / "ws", "--captures", folder / "captures", "--template", template)
    call("run", folder / "ws", "--jobs", 0, *LIGHT)
    return folder / "ws"


def test_it_has_a_command(call: Call) -> None:
    names = call("stages", "--names").split()
    assert names[-2:] == ["shade", "pack"]
    assert SENTENCE in call("stages")
    listed = [
        line.split(maxsplit=1) for line in call("--help").split("Commands:")[1].splitlines() if line.strip()
    ]
    commands = [name for name, _ in listed]
    assert commands[commands.index("ingest") :][: len(names)] == names
    assert dict(listed)["shade"] == SENTENCE
    own = call("shade", "--help")
    assert SENTENCE in own and "--dry-run" in own


def test_it_has_settings(workspace: Path) -> None:
    section = (workspace / "mimicme.toml").read_text().split("[shade]")[1]
    assert "level_mm = 1.5" in section.split("[")[0]
    (run,) = (workspace / "runs").iterdir()
    assert "level_mm = 2.25  # --set" in (run / "config.toml").read_text()


def test_status_has_its_figure(call: Call, workspace: Path) -> None:
    assert "\n  mean shade_level 2.25 mm\n" in call("status", workspace, *LIGHT)
    status = json.loads(call("status", workspace, *LIGHT, "--json"))
    stages = {s["stage"]: s for s in status["stages"]}
    assert {name: s["items"]["done"] for name, s in stages.items()} == dict.fromkeys(stages, 1)
    figure = {"name": "shade_level", "unit": "mm", "frames": 1, "mean": 2.25, "largest": 2.25}
    assert stages["shade"]["figures"] == [figure]


def test_the_report_has_its_figure(call: Call, workspace: Path, tmp_path: Path) -> None:
    page = Path(call("report", workspace, *LIGHT, "--output", tmp_path).strip())
    assert "shade_level" in page.read_text()


def test_the_release_has_its_figure(workspace: Path) -> None:
    with Release(workspace / "release.h5") as release:
        assert release.frame(0).quality["shade_level"] == 2.25
        assert release.units(release.sequences()[0].item)["shade_level"] == "mm"
