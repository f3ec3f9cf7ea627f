"""The real runner over many sequences whose stages only wait, write a checkpoint, and now and then fail, die or hang.

What a stage would compute is slept, so that many more workers than this machine has cores can be simulated; what the
runner does for an item - plan, hand out, note, write down - is done in earnest.  Which item fails, dies, takes long or
hangs follows from its name alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py

from mimicme.pipeline.checkpoint import Checkpoint, CheckpointWriter
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.run.run_types import RunOptions, RunResult
from mimicme.pipeline.run.runner import run as run_stages
from mimicme.pipeline.run.status import read_status
from mimicme.pipeline.run.worker import Worker
from mimicme.pipeline.stage import Stage, Task
from mimicme.pipeline.workspace import Workspace
from mimicme.stages import STAGES

Record = dict[str, Any]
OF_A_PERSON, LENGTH = 20, 3
FAILS, DIES, STRAGGLES = 1 / 500, 1 / 1000, 1 / 500
LONGER = 20.0
"""How many times as long a straggler takes."""
LIMIT_S = 5.0
"""A frame's, so that the one item that hangs ends."""
OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


def chance(*words: object) -> float:
    """A number from 0 to 1 that follows from the words."""
    digest = hashlib.blake2b(" ".join(map(str, words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


@dataclass(frozen=True)
class Stub:
    """What stands for a stage's `compute`; its first kill leaves a mark in `marks`, and it lives the next time."""

    stage: str
    before: str
    item_s: float
    marks: Path

    def __call__(self, task: Task[Any], out: CheckpointWriter) -> None:
        item = task.sequence.item
        if self.before:
            with Checkpoint(task.inputs[self.before]) as earlier:
                out.continue_from(earlier)
        else:
            for frame in task.sequence.frames:
                out.sources.read(frame.path)
            out.frames([frame.number for frame in task.sequence.frames])
        out.figure("figure", "mm")[:] = 1
        time.sleep(
            self.item_s
            * (0.5 + chance(self.stage, item, "time"))
            * (LONGER if chance(self.stage, item, "long") < STRAGGLES else 1)
        )
        if chance(self.stage, item, "fails") < FAILS:
            raise InputError("this item fails", where=str(item))
        mark = self.marks / f"{self.stage}-{item.subject}-{item.sequence}"
        if chance(self.stage, item, "dies") < DIES and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.stage == "align" and str(item) == "S00000/e03":
            time.sleep(1e6)


@contextmanager
def starts_counted() -> Iterator[list[float]]:
    """CPU seconds of this process in each start of a worker, in a list that fills."""
    seconds: list[float] = []
    start = Worker.start

    def counted(self: Worker, environ: Mapping[str, str]) -> None:
        began = time.process_time()
        start(self, environ)
        seconds.append(time.process_time() - began)

    Worker.start = counted  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        Worker.start = start  # type: ignore[method-assign]


def _nothing(*, output: Path, fingerprint: str, **_: object) -> None:
    with h5py.File(output, "w") as file:
        file.attrs["fingerprint"] = fingerprint


def stubs(item_s: float, marks: Path) -> list[Stage]:
    """The real flow: names, scopes, needs and settings; nothing computed."""
    made = []
    for stage in STAGES:
        if stage.scope == "everything":
            made.append(replace(stage, everything=_nothing, uses_template=False, collect=None))
            continue
        compute = Stub(stage.name, stage.needs[-1] if stage.needs else "", item_s, marks)
        made.append(replace(stage, compute=compute, parts=None, uses_template=False, most_neutral=None))
    return made


def captures(folder: Path, sequences: int) -> Path:
    """Sequences of three triangles; people of twenty, their neutrals among them."""
    for number in range(sequences):
        place = number % OF_A_PERSON
        name = f"e{place:02d}" if place else "neutral"
        sequence = folder / f"S{number // OF_A_PERSON:05d}" / name
        sequence.mkdir(parents=True)
        for frame in range(LENGTH):
            (sequence / f"{frame:04d}.obj").write_text(OBJ)
    return folder


def run(sequences: int, workers: int, item_s: float, work: Path, say: Callable[[str], None]) -> Record:
    """The figures, against the bounds; the record to save.

    Args:
        sequences: simulated; MimicMe has 94,000.
        workers: simulated.
        item_s: seconds that an item takes, about.
    """
    folder = work / "simulation"
    shutil.rmtree(folder, ignore_errors=True)
    marks = folder / "marks"
    marks.mkdir(parents=True)
    raw = captures(folder / "captures", sequences)
    (folder / "face.obj").write_text(OBJ)
    (folder / "face.ljson").write_text("{}")
    stages = stubs(item_s, marks)
    Workspace.create(
        folder / "ws", captures=raw, unit="mm", up="+y", fps=60.0, stages=STAGES, template=folder / "face.obj"
    )
    record: Record = {"sequences": sequences, "workers": workers, "item_s": item_s}

    def go(name: str, jobs: int) -> RunResult:
        opened = Workspace.open(folder / "ws", sets=[f"run.frame_limit_s={LIMIT_S}"])
        began, cpu_began, slept = time.monotonic(), time.process_time(), _slept()
        result = run_stages(opened, RunOptions(jobs=jobs), stages)
        record[name] = {
            "wall_s": time.monotonic() - began,
            "cpu_s": time.process_time() - cpu_began,
            "slept": _slept() - slept,
        }
        return result

    with starts_counted() as starts:
        first = go("first run", workers)
    assert first.folder is not None
    events = [json.loads(line) for line in (first.folder / "log.jsonl").read_text().splitlines()]
    worked = [event for event in events if event["event"] == "item"]
    outcomes = Counter((event["outcome"], event.get("kind", "")) for event in worked)
    held_s = sum(event["seconds"] or 0.0 for event in worked)
    record |= {
        "items": len(worked),
        "outcomes": {" ".join(filter(None, key)): count for key, count in outcomes.items()},
        "deaths": len(list(marks.iterdir())),
        "ms_an_item": 1000 * record["first run"]["cpu_s"] / len(worked),
        "starts": len(starts),
        "ms_an_item_but_starts": 1000 * (record["first run"]["cpu_s"] - sum(starts)) / len(worked),
        "busy": held_s / (workers * record["first run"]["wall_s"]),
    }
    _check(stages, sequences, first, worked)
    say(
        f"{sequences:,} sequences, {workers} workers, {record['items']:,} items of about {item_s:g} s: "
        f"{record['first run']['wall_s']:.0f} s, cores busy {record['busy']:.1%}"
    )
    say(
        f"  {record['deaths']} workers killed, each cost its item and was tried again; outcomes {record['outcomes']}"
    )
    say(
        f"  the run's own process: {record['ms_an_item']:.2f} CPU ms an item, planning, listing and release among it; "
        f"{record['ms_an_item_but_starts']:.2f} without the starts of {len(starts)} workers (bound 1); "
        f"it went to sleep {record['first run']['slept']:,} times"
    )
    go("with the failed again", workers)
    second = go("second run", workers)
    assert not any(stage.done for stage in second.stages)
    began = time.process_time()
    read_status(
        Workspace.open(folder / "ws", sets=[f"run.frame_limit_s={LIMIT_S}"]), stages, each=False
    ).lines()
    record["status"] = {"cpu_s": time.process_time() - began}
    record["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for name in ("second run", "status"):
        say(f"  {name}: {record[name]['cpu_s']:.2f} CPU s")
    say(f"  memory of that process: {record['peak_mb']:.0f} MB")
    shutil.rmtree(folder)
    return record


def _slept() -> int:
    """How often this process has waited for something; to be woken is what an idle machine makes dear."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def _check(stages: list[Stage], sequences: int, result: RunResult, worked: list[Record]) -> None:
    """Nothing is lost: what does not fail, and waits for nothing that does, is done, once.

    Raises:
        InputError: something else happened.
    """
    for stage, told in zip(stages[:-1], result.stages, strict=False):
        if told.done + told.failed + told.blocked != sequences:
            raise InputError("items were lost", where=stage.name, seen=told, expected=sequences)
    twice = [key for key, count in Counter((e["stage"], e["item"]) for e in worked).items() if count > 1]
    if twice:
        raise InputError("items were worked twice", seen=twice[:3])
    wrong = [
        event
        for event in worked
        if (event["outcome"] == "failed")
        != (
            chance(event["stage"], event["item"], "fails") < FAILS
            or (event["stage"], event["item"]) == ("align", "S00000/e03")
        )
    ]
    if wrong:
        raise InputError("an item ended otherwise than it should", seen=wrong[0])
