"""How long a run will take yet: what was done in it, and what earlier runs took for the stages that come.

A stage's rate is what its items took in the runs before, per frame and worker; of a stage that no run has timed nothing
is said but its name.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimicme.pipeline.items import Item
from mimicme.pipeline.run.progress import duration

MOST_LOGS = 3
MOST_BYTES = 1 << 20
"""Of the end of each log: enough lines for a mean, and quick to read where a log has a million."""
LEAST_TOLD_S = 0.5
"""Less is not told of: it is no guess any more, and a stage that takes longer than was foreseen has no more of it."""


@dataclass(frozen=True)
class Ahead:
    """What a run has still to do.

    Attributes:
        seconds: that it will take in the stages whose items were timed, in this run or an earlier one; NaN where no
            such item is left.
        unknown: the other stages.
    """

    seconds: float = math.nan
    unknown: tuple[str, ...] = ()

    def text(self, since_s: float = 0.0) -> str:
        """For a progress line; empty where nothing is known.

        Args:
            since_s: seconds that have passed since.
        """
        if math.isnan(self.seconds):
            return ""
        left = self.seconds - since_s
        then = ", ".join(self.unknown)
        if left < LEAST_TOLD_S:  # at its end, or longer at it than was foreseen
            return f", then {then}" if then else ""
        return f", about {duration(left)} left" + (f" and then {then}" if then else "")


class Workload:
    """The frames that a run has to make, stage by stage: guessed when it begins, and put right as it goes on.

    A sequence is expected to be made from the first stage on of which it has no checkpoint.  What a changed setting
    makes anew shows when its turn comes.

    Args:
        stages: that run, in order; everything: of these, what writes the release of all frames.
        rates: seconds of a worker for a frame in earlier runs; see `read_rates`.
        workers: how many there are.
        off: of the stages, those that hand on what they are given, in no time.
    """

    def __init__(
        self,
        stages: Sequence[str],
        everything: str | None,
        rates: Mapping[str, float],
        workers: int,
        off: Collection[str] = (),
    ) -> None:
        self._places = {name: place for place, name in enumerate(stages)}
        self._everything, self._rates, self._workers = everything, rates, workers
        self._off = frozenset(off)
        self._left = Counter[str]()
        self._made = Counter[str]()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._first: dict[Item, int] = {}
        self._total = 0

    def expect(self, item: Item, frames: int, stage: str | None) -> None:
        """A sequence is made from a stage on; None: it is there."""
        self._total += frames
        if stage is not None:
            self._add(item, frames, self._places[stage])

    def looked_at(self, stage: str, item: Item, frames: int, made: bool, there: int = 0) -> None:
        """It has turned out whether an item is to be made, and how many of its frames are there, in parts."""
        place = self._places[stage]
        expected = place >= self._first.get(item, len(self._places))
        if made and not expected:
            self._add(item, frames, place)
        elif expected and not made:
            self._left[stage] -= frames
        if made:
            self._left[stage] -= there

    def _add(self, item: Item, frames: int, place: int) -> None:
        before = self._first.get(item, len(self._places))
        self._first[item] = place
        for name, k in self._places.items():
            if place <= k < before and name != self._everything:
                self._left[name] += frames

    def over(self, stage: str, frames: int, seconds: float) -> None:
        """Frames of an item, or of a part of one, have an outcome; NaN seconds: nobody knows how long they took."""
        self._left[stage] -= frames
        if not math.isnan(seconds):
            self._made[stage] += frames
            self._seconds[stage] += seconds

    def ahead(self) -> Ahead:
        """What is left."""
        left = {name: count for name, count in self._left.items() if count > 0}
        if self._everything is not None and (left or any(self._made.values())):
            left[self._everything] = self._total
        rates = dict(self._rates)
        rates |= {name: self._seconds[name] / count for name, count in self._made.items() if count}
        timed = [count * rates[name] for name, count in left.items() if name in rates]
        # of the release there is one writer
        workers = {name: 1 if name == self._everything else self._workers for name in left}
        seconds = sum(count * rates[name] / workers[name] for name, count in left.items() if name in rates)
        unknown = (n for n in self._places if n in left and n not in rates and n not in self._off)
        return Ahead(seconds if timed else math.nan, tuple(unknown))


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
                    # first: an item of which nobody knows what it took counts for nothing
                    seconds[record["stage"]] += float(record["seconds"])
                    frames[record["stage"]] += int(record["frames_ok"]) + int(record["frames_rejected"])
                elif event == "part" and record["outcome"] == "done":
                    seconds[record["stage"]] += float(record["seconds"])
                elif event == "stage ends" and record.get("items") is False and record["done"] and total:
                    # the release
                    frames[record["stage"]] += total
                    seconds[record["stage"]] += float(record["seconds"])
            except (KeyError, TypeError, ValueError):
                continue
    return {stage: seconds[stage] / count for stage, count in frames.items() if count}


def records_of(folder: Path) -> list[dict[str, Any]]:
    """The first record of a run's log and those at its end; lines that cannot be read are passed over."""
    return [record for line in lines_of(folder) if (record := record_in(line)) is not None]


def record_in(line: bytes) -> dict[str, Any] | None:
    """What a line of a log says; None where it cannot be read, as one that was written in part."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def lines_of(folder: Path, most_bytes: int = MOST_BYTES) -> list[bytes]:
    """The first line of a run's log, and those within so many bytes of its end; none where there is no log."""
    try:
        with open(folder / "log.jsonl", "rb") as handle:
            lines = [handle.readline()]
            size = handle.seek(0, 2)
            start = max(len(lines[0]), size - most_bytes)
            handle.seek(start)
            rest = handle.read(most_bytes).split(b"\n")
    except OSError:
        return []
    return lines + (rest[1:] if start > len(lines[0]) else rest)
