"""Seconds a frame and peak memory of every stage, through the command line, on synthetic captures."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from cases import Captures
from measure import measured

from mimicme.stages import STAGES

Record = dict[str, Any]


def run(captures: Captures, work: Path, say: Any = print) -> Record:
    """A workspace made anew, then one stage after the other, each in a process of its own with one job."""
    workspace = work / "workspace"
    shutil.rmtree(workspace, ignore_errors=True)
    mimicme = Path(sys.executable).parent / "mimicme"
    template = next(
        p for p in sorted((captures.folder / "template").glob("template.*")) if p.suffix in (".obj", ".ply")
    )
    frames = sum(captures.frames(name) for name in captures.sequences)
    commands: list[list[str | Path]] = [
        ["init", workspace, "--captures", captures.folder / "captures", "--template", template]
    ]
    commands += [[stage.name, workspace, "--jobs", "1"] for stage in STAGES]
    rows: list[Record] = []
    say(f"{frames} frames; seconds of the whole stage, start-up included")
    say(f"{'command':<12}{'CPU s':>10}{'wall s':>10}{'CPU s/frame':>14}{'peak MB':>10}")
    for command in commands:
        cost = measured([mimicme, *command])
        row: Record = {
            "command": str(command[0]), "cpu_s": cost.cpu_s, "wall_s": cost.wall_s,
            "cpu_s_per_frame": cost.cpu_s / frames, "peak_mb": cost.peak_mb, "status": cost.status,
        }  # fmt: skip
        rows.append(row)
        failed = "" if cost.status == 0 else f"  exit status {cost.status}"
        say(
            f"{row['command']:<12}{cost.cpu_s:10.1f}{cost.wall_s:10.1f}{cost.cpu_s / frames:14.2f}"
            f"{cost.peak_mb:10.0f}{failed}"
        )
        if cost.status not in (0, 1):
            say(cost.output[-2000:])
            break
    return {"frames": frames, "stages": rows}
