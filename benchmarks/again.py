"""What a run costs where everything is made already, against the number of frames: `init`, `run`, `status`.

The frames are tiny; ingest is the real one, the stages after it leave what a plan looks at - frames, figures, digests
of the raw files they read - and compute nothing, so that 10,000 frames are made in minutes.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from measure import measured

from mimicme.pipeline.checkpoint import Checkpoint, CheckpointWriter
from mimicme.pipeline.errors import CheckpointError
from mimicme.pipeline.formats.image import encode
from mimicme.pipeline.formats.meshio import mtl_bytes, obj_bytes
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.landmarks import Landmarks
from mimicme.pipeline.landmarks.beside import read_beside
from mimicme.pipeline.landmarks.files import write_landmarks
from mimicme.pipeline.run.run_types import RunOptions
from mimicme.pipeline.run.runner import run as run_stages
from mimicme.pipeline.stage import Stage, Task
from mimicme.pipeline.workspace import Workspace
from mimicme.stages import STAGES

SHAPES = ((1_000, 20), (10_000, 20), (2_000, 1))
"""Frames, and frames of a sequence: a plan grows with the checkpoints, of which there are eight a sequence."""
SEQUENCES = ("neutral", "anger", "blink", "chew", "doubt", "effort", "fear", "grin", "happy", "ill")
SIDE = 9

Record = dict[str, Any]


def captures(folder: Path, frames: int, length: int) -> Path:
    """Tiny scans with image and landmarks, in sequences of `length` frames."""
    u, v = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, SIDE), np.linspace(0, 1, SIDE)))
    vertices = np.stack([140 * (u - 0.5), 180 * (v - 0.5), 40 - 40 * (u - 0.5) ** 2 - 60 * (v - 0.5) ** 2], 1)
    corner = (np.arange(SIDE - 1)[:, None] * SIDE + np.arange(SIDE - 1)).ravel()
    a, b, c, d = corner, corner + 1, corner + SIDE + 1, corner + SIDE
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    mesh = Mesh(vertices, faces, np.stack([u, v], 1), faces)
    points = write_landmarks(Landmarks(vertices[:68] * (-1, 1, 1)), "x.ljson")
    image = encode(np.full((16, 16, 3), 128, np.uint8), "jpeg")
    for first in range(0, frames, length):
        number = first // length
        sequence = folder / f"S{number // len(SEQUENCES):05d}" / SEQUENCES[number % len(SEQUENCES)]
        sequence.mkdir(parents=True)
        for frame in range(min(length, frames - first)):
            path = sequence / f"{frame:06d}.obj"
            path.write_bytes(obj_bytes(mesh, material_file=f"{path.stem}.mtl"))
            path.with_suffix(".mtl").write_bytes(mtl_bytes(f"{path.stem}.jpg"))
            path.with_suffix(".jpg").write_bytes(image)
            path.with_suffix(".ljson").write_bytes(points)
    return folder


def nothing(stage: Stage) -> Stage:
    """The stage with its settings, version and figures, that computes nothing."""

    def compute(task: Task[Any], out: CheckpointWriter) -> None:
        with Checkpoint(task.inputs[stage.needs[-1]]) as earlier:
            rows = out.continue_from(earlier)
        if stage.name == "landmarks":
            for row in rows:
                read_beside(task.sequence.frames[row], out.sources, task.captures.sides)
        if stage.name != "repass":  # which is off
            for name in stage.reader.explained:
                out.figure(name, "1")[:] = 1

    def everything(*, output: Path, fingerprint: str, **_: object) -> None:
        with h5py.File(output, "w") as file:
            file.attrs["fingerprint"] = fingerprint

    if stage.scope == "everything":
        return replace(stage, everything=everything)
    return stage if stage.name == "ingest" else replace(stage, compute=compute, parts=None)


def run(work: Path, shapes: Iterable[tuple[int, int]], say: Callable[[str], None]) -> Record:
    """The table of these numbers of frames, and of frames a sequence; the record to save."""
    say(f"{'frames':>8}{'sequences':>11}  {'command':<36}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}")
    rows: list[Record] = []
    for frames, length in shapes or SHAPES:
        sequences = -(-frames // length)
        for row in measure(work / "again", frames, length):
            rows.append({"frames": frames, "sequences": sequences, **row})
            say(
                f"{frames:8,}{sequences:11,}  {row['command']:<36}{row['cpu_s']:8.2f}{row['wall_s']:8.2f}"
                f"{row['peak_mb']:9.0f}"
            )
    return {"commands": rows}


def measure(folder: Path, frames: int, length: int) -> Iterable[Record]:
    """A workspace where everything is made; what each command costs there."""
    shutil.rmtree(folder, ignore_errors=True)
    workspace = folder / "ws"
    mimicme = Path(sys.executable).parent / "mimicme"
    raw = captures(folder / "captures", frames, length)
    declared: list[str | Path] = ["--captures", raw, "--unit", "mm", "--up", "+y", "--fps", "60"]

    def cost(shown: str, *command: str | Path) -> Record:
        found = measured([mimicme, *command])
        if found.status:
            raise CheckpointError(f"`mimicme {command[0]}` failed", seen=found.output[-500:])
        return {"command": shown, "cpu_s": found.cpu_s, "wall_s": found.wall_s, "peak_mb": found.peak_mb}

    yield cost("init", "init", workspace, *declared)
    yield cost("run --dry-run, nothing done", "run", workspace, "--dry-run")
    run_stages(Workspace.open(workspace), RunOptions(jobs=0), [nothing(stage) for stage in STAGES])
    yield cost("run", "run", workspace)
    yield cost("run --dry-run", "run", workspace, "--dry-run")
    yield cost("status", "status", workspace)
    (workspace / "settled.txt").unlink()
    yield cost("status, without settled.txt", "status", workspace)
    (workspace / "heads.jsonl").unlink()
    yield cost("status, without heads.jsonl either", "status", workspace)
    yield cost("run, without both", "run", workspace)
    yield cost("ingest", "ingest", workspace)
    shutil.rmtree(folder)
