"""Runs of stages that do almost nothing, and a look at what they leave; see conftest.py for the workspaces."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from mimicme.pipeline.run.progress import Console
from mimicme.pipeline.run.runner import RunOptions, run
from mimicme.pipeline.run.status import read_status
from mimicme.pipeline.workspace import Workspace

HERE = Path(__file__).parent


GOOD = {"S1/neutral": ["a", "bb"], "S1/smile": ["ccc"], "S2/angry": ["dd", "ee", "f"], "S2/sad": ["g"]}


class Result:
    def __init__(self, result, out, err):
        self.code, self.out, self.err, self.result = result.exit_code, out, err, result
        self.why = result.why
        self.stages = {s.stage: s for s in result.stages}

    def counts(self, stage):
        s = self.stages[stage]
        return s.done, s.skipped, s.failed, s.blocked


@dataclass(frozen=True)
class Steps:
    """A job from which others follow, one for each of its names but the first, as long as they have a result.

    Attributes:
        file: in which it leaves its name, where the work does so; kills: names that end their worker.
    """

    names: str
    file: str = ""
    kills: str = ""

    def after(self, result):
        goes_on = len(self.names) > 1 and result is not None
        return replace(self, names=self.names[1:]) if goes_on else None


def go(workspace, fake, stages=None, sets=(), **options):
    """Open the workspace afresh, as a new command would, and run."""
    lines, err = [], io.StringIO()
    opened = Workspace.open(workspace.root, sets=sets, environ={})
    options.setdefault("jobs", 0)
    result = run(opened, RunOptions(**options), stages or fake.STAGES, Console(err, lines.append))
    return Result(result, "\n".join(lines), err.getvalue())


def calls(workspace):
    path = workspace.root.parent / "calls.txt"
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return [line.split() for line in text.splitlines()]


def digests(workspace):
    """Of the files as they lie: the release and every checkpoint."""
    return {
        str(path.relative_to(workspace.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (workspace.release, *sorted(workspace.root.glob("*/*/*.h5")))
    }


def state(workspace, fake):
    status = read_status(Workspace.open(workspace.root, environ={}), fake.STAGES)
    return {s.stage: {i.item: i.state for i in s.items} for s in status.stages}


CHILD = """
import sys
sys.path.insert(0, {here!r})
import fake_stages
from mimicme.pipeline.workspace import Workspace
from mimicme.pipeline.run.runner import RunOptions, run
from mimicme.pipeline.run.progress import Console
if __name__ == "__main__":
    workspace = Workspace.open({root!r})
    result = run(workspace, RunOptions(jobs={jobs}), fake_stages.STAGES, Console.standard(print))
    sys.exit(result.exit_code)
"""


def child(workspace, jobs=2):
    code = CHILD.format(here=str(HERE), root=str(workspace.root), jobs=jobs)
    return subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=restore_interrupts,
    )  # fmt: skip


def restore_interrupts():
    # a test run in the background of a shell inherits a SIGINT that is ignored, and would hand that on
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def calls_seen(workspace):
    path = workspace.root.parent / "calls.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


LONG = {"S1/neutral": ["a"], "S1/long": ["bb"] * 5, "S1/short": ["c"] * 2, "S2/angry": ["dd"] * 3}


def cut(workspace, frames):
    path = workspace.root / "mimicme.toml"
    text = re.sub(r"(?m)^(# )?part_frames = .*$", f"part_frames = {frames}", path.read_text())
    path.write_text(text)


def misbehave(workspace, **parts):
    (workspace.root.parent / "misbehave.json").write_text(json.dumps({k[1:]: v for k, v in parts.items()}))


def parts_there(workspace):
    return [p.name for p in sorted(workspace.root.glob("*/*/[!.]*@part*.h5"))]


def fits(workspace, item="S1/long"):
    return [c[0] for c in calls(workspace) if c[0].startswith("fit") and c[1] == item]


ALL_PARTS = ["fit:1of3", "fit:2of3", "fit:3of3"]


WORDS = GOOD | {"S2/sad": ["reject", "note"], "S3/neutral": ["a"], "S3/smile": ["b", "c"]}
"""With a frame that is rejected and one that is noted."""
STAGE_NAMES = ("read", "fit", "agree", "paint", "bundle")


def status_of(workspace, fake, **options):
    return read_status(Workspace.open(workspace.root, environ={}), fake.WITH_SUBJECT, **options)


def in_place(path: Path, text: str) -> None:
    """Other content of the same length in the same inode."""
    with open(path, "r+") as handle:
        handle.write(text)


def repoint(path: Path) -> None:
    away = path.parent.parent.parent / "elsewhere.obj"
    away.write_text("zzz")
    path.unlink()
    path.symlink_to(away)


CHANGES = {
    "a raw file": lambda w: in_place(w.captures.root / "S1/smile/0000.obj", "xyz"),
    "a file that was looked for": lambda w: (w.captures.root / "S1/smile/0000.note").write_text("there"),
    "a frame more": lambda w: (w.captures.root / "S1/smile/0001.obj").write_text("more"),
    "a link in place of a file": lambda w: repoint(w.captures.root / "S1/smile/0000.obj"),
    "a checkpoint that is gone": lambda w: (w.root / "paint/S1/smile.h5").unlink(),
    "a damaged checkpoint": lambda w: os.truncate(w.root / "fit/S1/smile.h5", 100),
    "all of a stage": lambda w: shutil.rmtree(w.root / "agree/S1"),
}
