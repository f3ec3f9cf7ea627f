"""How long a run will take yet: what was done in it, and what earlier runs took for the stages that come.

A stage's rate is what its items took in the runs before, per frame and worker; of a stage that no run has timed nothing
is said but its name.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimicme.pipeline.run.progress import duration

MOST_LOGS = 3
MOST_BYTES = 1 << 20
"""Of the end of each log: enough lines for a mean, and quick to read where a log has a million."""


@dataclass(frozen=True)
class Ahead:
    """What comes after the stage that runs.

    Attributes:
        seconds: that the stages which were timed before will take.
        unknown: the others.
    """

    seconds: float = 0.0
    unknown: tuple[str, ...] = ()

    def text(self, left: float) -> str:
        """For a progress line, behind what is left of the stage, in seconds; empty where nothing comes."""
        if self.unknown:
            known = f", {duration(left + self.seconds)} with the next" if self.seconds else ""
            return f"{known}, then {', '.join(self.unknown)}"
        return f", {duration(left + self.seconds)} to the end" if self.seconds else ""


def ahead(frames: Mapping[str, int], rates: Mapping[str, float], workers: int) -> Ahead:
    """What so many frames of each later stage will take.

    Args:
        frames: by stage.
        rates: see `read_rates`.
        workers: how many there are.
    """
    seconds = sum(count * rates[stage] / workers for stage, count in frames.items() if stage in rates)
    unknown = tuple(stage for stage, count in frames.items() if count and stage not in rates)
    return Ahead(seconds, unknown)


def read_rates(logs: Iterable[Path]) -> dict[str, float]:
    """Seconds of a worker for a frame, by stage; of what wrote the release, of the run.

    Args:
        logs: folders of runs, the newest first; the first few are read, and of each the end.
    """
    seconds: defaultdict[str, float] = defaultdict(float)
    frames: Counter[str] = Counter()
    for folder in list(logs)[:MOST_LOGS]:
        total = 0
        for record in records_of(folder):
            try:
                event = record["event"]
                if event == "begin":
                    total = int(record["frames"])
                elif event == "item" and record["outcome"] == "done":
                    frames[record["stage"]] += int(record["frames_ok"]) + int(record["frames_rejected"])
                    seconds[record["stage"]] += float(record["seconds"])
                elif event == "part" and record["outcome"] == "done":
                    seconds[record["stage"]] += float(record["seconds"])
                elif (
                    event == "stage ends" and record["stage"] not in frames and record["done"] == 1 and total
                ):
                    # of the release, which has no items
                    frames[record["stage"]] += total
                    seconds[record["stage"]] += float(record["seconds"])
            except (KeyError, TypeError, ValueError):
                continue
    return {stage: seconds[stage] / count for stage, count in frames.items() if count}


def records_of(folder: Path) -> list[dict[str, Any]]:
    """The first record of a run's log and those at its end; lines that cannot be read are passed over."""
    try:
        with open(folder / "log.jsonl", "rb") as handle:
            lines = [handle.readline()]
            size = handle.seek(0, 2)
            start = max(len(lines[0]), size - MOST_BYTES)
            handle.seek(start)
            rest = handle.read(MOST_BYTES).split(b"\n")
    except OSError:
        return []
    lines += rest[1:] if start > len(lines[0]) else rest
    found = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            found.append(record)
    return found
