"""A night in small: many short sequences through the whole run, unattended; were the cores busy, is the release good?

Few people are invented, and each of their sequences is taken again under other names: the same files, which cost what
others would.  How busy the workers were follows from the run's own log, which says of every item when it ended and how
long it took: starts, scheduling and waiting are what is left.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from cases import SYNTH_VERTICES, resized

from mimicme.commands.synth import EXPRESSIONS, synthesise
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.template import prepare

MADE_PEOPLE, LENGTH, SEED, TRIANGLES = 3, 7, 33, 20_000
"""Of what is made; a sequence has seven frames, or five."""
MOST_OF_A_PERSON, PEOPLE = 20, 15
"""Sequences; a person's neutral is made while its others wait, so that few people keep no two workers busy."""
SHARE = 0.15
"""Sequences for a frame: 300 for 2,000."""
SLICE_S = 60.0
BOUND = 0.95
SETS = ("bake.size=512",)

Record = dict[str, Any]
Say = Callable[[str], None]


def of_a_person(sequences: int) -> int:
    """Sequences of one person, where there are so many in all."""
    return max(3, min(MOST_OF_A_PERSON, sequences // PEOPLE))


def lengths(frames: int) -> list[int]:
    """Frames of each sequence, `frames` in all where that can be: of a neutral one, of the others seven, five or
    three."""
    sequences = max(1, round(SHARE * frames))
    each = of_a_person(sequences)
    neutrals = -(-sequences // each)
    left = frames - neutrals - 3 * (sequences - neutrals)
    found = []
    for number in range(sequences):
        more = 0 if number % each == 0 else max(0, min(LENGTH - 3, left - left % 2))
        left -= more
        found.append(1 if number % each == 0 else 3 + more)
    return found


def made_captures(build: Path, frames: int, say: Say) -> Path:
    """Captures of so many frames, with a template, below `build`."""
    made = build / f"bench-night-{MADE_PEOPLE}x{len(EXPRESSIONS)}x{LENGTH}"
    if not (made / "synth.json").is_file():
        say(f"making captures in {made}, once")
    template = resized(prepare("menpo3d"), SYNTH_VERTICES, layout=True)
    synthesise(made, MADE_PEOPLE, list(EXPRESSIONS), LENGTH, SEED, template, triangles=TRIANGLES)
    full = build / f"bench-night-{frames}"
    shutil.rmtree(full, ignore_errors=True)
    shutil.copytree(made / "template", full / "template")
    people = sorted((made / "captures").iterdir())
    takes = [(name, name) for name in EXPRESSIONS]
    takes += [(f"{name}_{take}", name) for take in (2, 3) for name in EXPRESSIONS if name != "neutral"]
    wanted = lengths(frames)
    for number, length in enumerate(wanted):
        person, place = divmod(number, of_a_person(len(wanted)))
        name, made_as = takes[place]
        source = people[person % len(people)] / made_as
        target = full / "captures" / f"N{person:03d}" / name
        target.mkdir(parents=True)
        for path in source.iterdir():
            if int(path.name.partition(".")[0]) < length:
                os.link(path, target / path.name)
    return full


@dataclass(frozen=True)
class Work:
    """What a run's log says of its workers, in seconds since its begin.

    Attributes:
        begun, ended: (n,) of each item or part.
        first, last: of the stages over sequences.
        cpu_s: of all items together.
    """

    begun: np.ndarray
    ended: np.ndarray
    first: float
    last: float
    cpu_s: float

    @classmethod
    def of(cls, events: Iterable[Record]) -> Work:
        """Of the lines of a log."""
        known = list(events)
        zero = _at(known[0])
        items = [one for one in known if one["event"] in ("item", "part") and one.get("seconds")]
        ended = np.array([_at(one) - zero for one in items])
        begun = ended - np.array([one["seconds"] for one in items])
        first = min(_at(one) - zero for one in known if one["event"] == "stage begins")
        return cls(
            begun, ended, first, float(ended.max()), sum(float(one.get("cpu_s") or 0.0) for one in items)
        )

    def busy(self, start: float, end: float, workers: int) -> float:
        """The share of the workers' time from `start` to `end` that is inside items."""
        inside = np.minimum(self.ended, end) - np.maximum(self.begun, start)
        return float(np.maximum(inside, 0.0).sum() / (workers * max(end - start, 1e-9)))


def _at(event: Record) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def run(frames: int, jobs: int | None, build: Path, work: Path, say: Say) -> Record:
    """The figures; the record to save.

    Args:
        frames: in all.
        jobs: workers; None: as many as there are cores.

    Raises:
        InputError: the run, or verifying its release, failed.
    """
    made = made_captures(build, frames, say)
    workspace = work / "night"
    shutil.rmtree(workspace, ignore_errors=True)
    template = next(p for p in sorted((made / "template").glob("template.*")) if p.suffix != ".ljson")
    workers = jobs or os.cpu_count() or 1
    _mimicme("init", workspace, "--captures", made / "captures", "--template", template)
    made_of = lengths(frames)
    frames = sum(made_of)
    say(f"{frames} frames in {len(made_of)} sequences, {workers} workers")
    began = time.monotonic()
    sets = [word for one in SETS for word in ("--set", one)]
    ran = _call(("run", workspace, "--jobs", workers, *sets), (0, 1))
    wall_s = time.monotonic() - began
    _mimicme("verify", workspace / "release.h5")
    stages = json.loads(_mimicme_says("status", workspace, *sets, "--json"))["stages"]
    states = {s["stage"]: s["items"] for s in stages}
    wrong = [
        name
        for name, items in states.items()
        if any(items[state] for state in ("failed", "blocked", "pending", "stale"))
    ]
    log = max((workspace / "runs").iterdir()) / "log.jsonl"
    found = Work.of(json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    starts = np.arange(found.first, found.last, SLICE_S)
    slices = [found.busy(start, min(start + SLICE_S, found.last), workers) for start in starts]
    until = max(found.last - SLICE_S, found.first + 1.0)
    record: Record = {
        "frames": frames,
        "sequences": len(made_of),
        "workers": workers,
        "wall_s": wall_s,
        "cpu_s": found.cpu_s,
        "exit_code": ran.returncode,
        # of each stage, with what those before it rejected: the release counts a frame without a texture as good
        "rejected": {s["stage"]: s["frames_rejected"] for s in stages if s["frames_rejected"]},
        "slices": slices,
        "busy": found.busy(found.first, found.last, workers),
        "busy_until_last_minute": found.busy(found.first, until, workers),
    }
    for start, share in zip(starts, slices, strict=True):
        say(f"  {start / 60:5.0f} min  {share:6.1%}  {'#' * round(40 * share)}")
    say(
        f"workers inside items: {record['busy_until_last_minute']:.1%} until the last minute (bound {BOUND:.0%}), "
        f"{record['busy']:.1%} with it; {found.cpu_s / frames:.2f} CPU s a frame; {wall_s / 60:.1f} min"
    )
    rejected = ", ".join(f"{name} {count}" for name, count in record["rejected"].items())
    say(
        f"release verified; not done: {', '.join(wrong) or 'nothing'}; rejected so far: {rejected or 'nothing'}; "
        f"exit status of the run {ran.returncode}"
    )
    if ran.returncode:
        for line in ran.stdout.splitlines()[-5:]:
            say(f"  {line}")
    shutil.rmtree(workspace)
    return record


def _mimicme(*arguments: object) -> None:
    _call(arguments, (0,))


def _mimicme_says(*arguments: object) -> str:
    return _call(arguments, (0,)).stdout


def _call(arguments: Iterable[object], codes: tuple[int, ...]) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", "from mimicme.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode not in codes:
        raise InputError(
            "a command failed", where=" ".join(words[3:]), seen=(done.stdout + done.stderr)[-2000:]
        )
    return done
