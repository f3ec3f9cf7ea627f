"""A run that is going on, seen from another terminal: read from its log, which costs the run nothing."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from mimicme.pipeline.errors import counted, listed
from mimicme.pipeline.run.forecast import Ahead, lines_of, record_in
from mimicme.pipeline.run.progress import (
    STAGE_TABLE,
    colored,
    count_cells,
    duration,
    frame_cells,
    progress_text,
    span,
    stage_cell,
    table,
)
from mimicme.pipeline.workspace import Workspace

INTERVAL_S = 1.0
END_BYTES = 1 << 20
"""Of a log, which are read at first; a `progress` event comes every two seconds, in which a run writes less."""
MOST_SHARDS = 64
"""Runs that may have begun since that of the shard which is followed."""
MOST_TOLD = 8
"""Runs that did not come to their end and are told line by line."""
_LINE_BYTES = 1 << 17
"""A line of a log is shorter, but for the first."""
KILLED = 1
_LAST = ("end", "interrupted", "error")


@dataclass
class StageCounts:
    """One stage as the log tells of it.

    Attributes:
        seconds: that its items took, of all workers together.
        off: it is switched off, and hands on what it is given.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    blocked: int = 0
    frames_ok: int = 0
    frames_rejected: int = 0
    off: bool = False
    seconds: float = 0.0


@dataclass
class Seen:
    """What a log says so far.

    Attributes:
        process: of the run, 0 before it is said; shard: that it works on, or empty.
        stages: by name, in the order in which they began.
        running: names of the stages that run side by side; passing: sequences that pass through them; over: of these.
        ahead: what is left to do, as it was at `told_at`, in seconds since the epoch.
        whole: name of the stage that makes one file of everything, while it does.
        ended: the last event, or empty; exit_code: of the run; why: it is 1; message: of an error.
    """

    process: int = 0
    shard: str = ""
    sequences: int = 0
    frames: int = 0
    stages: dict[str, StageCounts] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)
    passing: int = 0
    over: int = 0
    ahead: Ahead = Ahead()
    told_at: float = 0.0
    whole: str = ""
    ended: str = ""
    exit_code: int = KILLED
    why: tuple[str, ...] = ()
    message: str = ""

    def take(self, record: dict[str, Any]) -> None:
        """One more line of the log; events that are not known change nothing."""
        event = record.get("event")
        if event == "begin":
            self.process, self.shard = int(record.get("process", 0)), str(record.get("shard", ""))
            self.sequences, self.frames = int(record["sequences"]), int(record["frames"])
        elif event == "progress":
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):  # of another version
                self._take_progress(record)
        elif event in _LAST:
            self.ended, self.message = event, str(record.get("message", ""))
            self.exit_code = int(record.get("exit_code", {"interrupted": 130}.get(event, 2)))
            self.why = tuple(map(str, record.get("why", ())))
        if "stage" not in record:
            return
        stage = self.stages.setdefault(record["stage"], StageCounts())
        if event == "stage begins":
            stage.off = bool(record.get("off", False))
            if not record.get("items", True):
                self.whole = str(record["stage"])
            elif record["stage"] not in self.running:
                self.running.append(record["stage"])
        elif event in ("item", "part"):
            stage.seconds += float(record.get("seconds") or 0.0)
            if event == "item":
                made = record["outcome"] == "done"
                stage.done, stage.failed = stage.done + made, stage.failed + (not made)
                stage.frames_ok += int(record.get("frames_ok", 0))
                stage.frames_rejected += int(record.get("frames_rejected", 0))
        elif event == "stage ends":
            for name in ("done", "skipped", "failed", "blocked", "frames_ok", "frames_rejected"):
                if name in record:
                    setattr(stage, name, int(record[name]))
            stage.seconds = float(record["seconds"])
            self.whole = ""
            self.running = [name for name in self.running if name != record["stage"]]

    def _take_progress(self, record: dict[str, Any]) -> None:
        running, passing, over = record["stages"], int(record["sequences"]), int(record["over"])
        left, unknown = record["seconds_left"], tuple(record["unknown"])
        self.running, self.passing, self.over = [str(name) for name in running], passing, over
        self.ahead = Ahead(math.nan if left is None else float(left), unknown)
        self.told_at = datetime.fromisoformat(record["time"]).timestamp()
        for word in ("skipped", "blocked"):
            for name, count in record[word].items():
                setattr(self.stages.setdefault(name, StageCounts()), word, int(count))

    def begin_at(self, record: dict[str, Any]) -> None:
        """Take what a `progress` event says of all the lines before it.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is of another version, and does not say so.
        """
        for name, (done, failed, ok, rejected, seconds) in record["so_far"].items():
            stage = self.stages.setdefault(str(name), StageCounts())
            stage.done, stage.failed, stage.seconds = int(done), int(failed), float(seconds)
            stage.frames_ok, stage.frames_rejected = int(ok), int(rejected)
        self._take_progress(record)

    def now(self, at: float) -> str:
        """How far the stages that run are, in a line; empty where none does.

        Args:
            at: seconds since the epoch.
        """
        if self.whole and not self.ended:
            return f"{self.whole}: writing the release"
        if self.ended or not self.running:
            return ""
        if not self.told_at:
            return f"{span(self.running)}: looking at what is there"
        failed = sum(self.stages[name].failed for name in self.running if name in self.stages)
        left = self.ahead.text(at - self.told_at)
        return progress_text(span(self.running), self.over, self.passing, failed, left)

    def lines(self) -> list[tuple[str, str]]:
        """All of it as the lines of a table, each with its colour; empty: it needs none."""
        rows = [
            [
                stage_cell(name, s.off),
                *count_cells(
                    {"done": s.done, "skipped": s.skipped, "failed": s.failed, "blocked": s.blocked}, s.off
                ),
                *frame_cells(s.frames_ok, s.frames_rejected, s.off),
                duration(s.seconds),
            ]
            for name, s in self.stages.items()
        ]
        colors = ["red" if s.failed else "yellow" if s.frames_rejected else "" for s in self.stages.values()]
        return list(zip(table([STAGE_TABLE, *rows]), ["", *colors], strict=True))


class LogReader:
    """Reads what was added to the log of a run since it was last asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._at = 0

    def begin(self) -> Seen:
        """What the log says so far.  Of a long one the beginning and the end are read alone: the last `progress` event
        tells of what lies between."""
        seen = Seen()
        with contextlib.suppress(OSError, KeyError, TypeError, ValueError, AttributeError):
            seen = self._begin_late()
        for record in self.new():
            seen.take(record)
        return seen

    def _begin_late(self) -> Seen:
        seen, path = Seen(), self.folder / "log.jsonl"
        size = path.stat().st_size
        if size <= 2 * END_BYTES:
            return seen
        with open(path, "rb") as handle:
            for line in handle.read(END_BYTES).splitlines()[:-1]:
                record = json.loads(line)
                if (
                    record["event"] == "stage ends"
                ):  # not all run side by side: the last event knows too little
                    return Seen()
                if record["event"] in ("begin", "stage begins"):
                    seen.take(record)
            handle.seek(size - END_BYTES)
            end = handle.read()
        told = end.rfind(b'"event": "progress"')
        start, over = end.rfind(b"\n", 0, told) + 1, end.find(b"\n", told) + 1
        if told < 0 or not over or not start:
            return Seen()
        seen.begin_at(json.loads(end[start:over]))
        if set(seen.running) != set(seen.stages):
            return Seen()
        self._at = size - END_BYTES + over
        return seen

    def new(self) -> Iterator[dict[str, Any]]:
        """Whole lines alone; one that is still being written is read the next time."""
        try:
            with open(self.folder / "log.jsonl", "rb") as handle:
                handle.seek(self._at)
                data = handle.read()
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            try:
                record = json.loads(line)
                record["time"]
            except (ValueError, TypeError, KeyError):
                continue
            yield record


def watch(
    workspace: Workspace,
    out: TextIO | None = None,
    interval_s: float = INTERVAL_S,
    clock: Callable[[], float] = time.time,
    wait: Callable[[float], None] = time.sleep,
    to_begin: bool = False,
) -> int | None:
    """Follow the run that is going on until it ends: in place on a terminal, else a line a change.

    Args:
        to_begin: whether a run that has not begun yet is waited for.

    Returns:
        exit status of the run; 1 where it ended without a word; None: no run is going on.
    """
    out = out or sys.stdout
    screen = _Screen(out)
    reader: LogReader | None = None
    seen, last = Seen(), ""
    while True:
        process = workspace.running_process()  # before the log is read: what it wrote before it ended counts
        if process is None and not last:
            if not to_begin:
                return None
            wait(interval_s)
            continue
        last = process or last
        if reader is None:
            reader, seen = _found(workspace, last)
        if reader is not None:
            for record in reader.new():
                seen.take(record)
        if seen.ended or process is None:
            screen.show(seen.lines(), "")
            again = "" if seen.ended in ("end", "error") else _goes_on(workspace, reader)
            screen.end(_last_words(seen, again))
            return seen.exit_code if seen.ended else KILLED
        screen.show(seen.lines(), seen.now(clock()) or "the run looks at what is there")
        wait(interval_s)


def _found(workspace: Workspace, process: str) -> tuple[LogReader | None, Seen]:
    """The log of the run that holds the workspace; none while it has not begun one."""
    of_shard = process.partition(" (shard ")[2].strip(")").partition(",")[0]
    for folder in reversed(workspace.runs()[-MOST_SHARDS if of_shard else -2 :]):
        reader = LogReader(folder)
        seen = reader.begin()
        if seen.process and process.startswith(f"process {seen.process} on ") and seen.shard == of_shard:
            return reader, seen
    return None, Seen()


@dataclass(frozen=True)
class LastRun:
    """A run that did not come to its end, and is over.

    Attributes:
        how: `interrupted`, `error` or `killed`.
        shard: that it worked on, or empty.
        told_at: what its log says last was written then, UTC; empty: nothing is readable there.
        sentence: all of it, for people, without what is to be done.
        again: what does the rest of it, as it was given, for people; empty: nobody is left of those that it named.
    """

    how: str
    shard: str
    told_at: str
    sentence: str
    again: str = ""


def unfinished_runs(workspace: Workspace) -> list[LastRun]:
    """The last run, or that of each shard since the last whole one, where it did not come to its end; those that go
    on are not asked for.  Costs two short reads a run, and of shards looks no further back than all of them."""
    going = workspace.running_runs()
    if None in going:
        return []
    found: dict[str, LastRun | None] = {str(shard): None for shard in going}
    there = Counter(_count(shard) for shard in found)  # shards that were met, by how many there are of them
    for folder in reversed(workspace.runs()):
        lines = lines_of(folder, _LINE_BYTES)
        begun = record_in(lines[0]) if lines else None
        begun = begun if begun is not None and begun.get("event") == "begin" else {}
        shard = str(begun.get("shard", ""))
        if not shard and found:  # the shards have gone on from it
            break
        if shard not in found:
            last: dict[str, Any] = next((r for r in map(record_in, reversed(lines)) if r is not None), {})
            found[shard] = _unfinished(shard, last, _again(workspace, folder, begun))
            there[_count(shard)] += 1
        if not shard or there[_count(shard)] == _count(shard):
            break
    if workspace.running_runs() != going:  # one began meanwhile, and its log is the one that was read
        return []
    return [run for run in found.values() if run is not None]


def _count(shard: str) -> int:
    """Of how many shards it is one."""
    count = shard.partition("/")[2]
    return int(count) if count.isdecimal() else 0


def _again(workspace: Workspace, folder: Path, begun: Mapping[str, Any]) -> str:
    """What does the rest of a run, with the settings and the limits that it was given.

    Args:
        folder: of the run; begun: its `begin` event, or empty where that cannot be read.
    """
    sets = [word for one in workspace.overrides_of(folder) for word in ("--set", one)]
    root = str(workspace.root)
    if isinstance(sample := begun.get("sample"), int):
        return (
            f"`{shlex.join(['mimicme', 'plan', root, '--sample', str(sample), *sets])}` goes on from there."
        )
    given = begun.get("only")
    named = [str(one) for one in given] if isinstance(given, list) else []
    only = [one for one in named if one]  # `Workspace.remove_subject` leaves an empty one
    if named and not only:
        return ""
    limits = (("--shard", "shard"), ("--from", "first"), ("--until", "last"), ("--jobs", "jobs"))
    words = [word for option, name in limits if begun.get(name) for word in (option, str(begun[name]))]
    words += [word for one in only for word in ("--only", one)]
    flags = (("--force", "force"), ("--allow-missing", "allow_missing"))
    words += [option for option, name in flags if begun.get(name) is True]
    command = f"`{shlex.join(['mimicme', 'run', root, *words, *sets])}`"
    if not begun:
        return (
            f"{command} goes on from there, with the --only, --from and --until that it had, if it had any."
        )
    had = [
        *(["the --output"] if begun.get("output") else []),
        *(["the --backend and --scheduler"] if begun.get("backend") else []),
    ]
    said = f"{command} goes on from there{f', with {listed(had)} that it had' if had else ''}"
    again = " (--force makes again what that run had made, too)" if begun.get("force") else ""
    return f"{said}{again}."


def _unfinished(shard: str, last: Mapping[str, Any], again: str) -> LastRun | None:
    event, told_at = str(last.get("event", "")), str(last.get("time", ""))[:16].replace("T", " ")
    how = event if event in _LAST else "killed"
    if how == "end":
        return None
    whose = f"the last run of shard {shard}" if shard else "the last run"
    when = f" after {told_at} UTC" if told_at else ""
    said = {
        "interrupted": f"{whose} was interrupted{when}",
        "error": f"{whose} ended with an error{when}: {str(last.get('message', '')).rstrip('.')}",
        "killed": f"{whose} ended without a word{when}: it was killed, or its machine went down",
    }
    return LastRun(how, shard, told_at, said[how], again)


def unfinished_lines(runs: Iterable[LastRun]) -> list[str]:
    """A line for each, for people; of many shards the last ones, and how many more there are."""
    told = list(runs)
    lines = [" ".join(part for part in (f"  {run.sentence}.", run.again) if part) for run in told[:MOST_TOLD]]
    if len(told) > MOST_TOLD:
        others = counted(len(told) - MOST_TOLD, "more shard did", "more shards did")
        lines.append(f"  {others} not come to the end; `mimicme status --json` names each.")
    return lines


def _goes_on(workspace: Workspace, reader: LogReader | None) -> str:
    """What does the rest of the run that was followed, as it was given."""
    lines = [] if reader is None else lines_of(reader.folder, _LINE_BYTES)
    begun = record_in(lines[0]) if lines else None
    if reader is None or begun is None or begun.get("event") != "begin":
        return "Run again to continue."
    return _again(workspace, reader.folder, begun)


def _last_words(seen: Seen, again: str) -> str:
    if seen.ended == "end":
        rejected = any(stage.frames_rejected for stage in seen.stages.values())
        if not (seen.exit_code or seen.why or rejected):
            return "The run has ended: every frame is ok."
        return (
            f"The run has ended: {', '.join(seen.why) or 'not every frame is ok'}; `mimicme status --failed`."
        )
    if seen.ended == "interrupted":
        return f"The run was interrupted. {again}".rstrip()
    if seen.ended == "error":
        return f"The run ended with an error: {seen.message}"
    return f"The run ended without a word: it was killed, or its machine went down. {again}".rstrip()


class _Screen:
    """Draws a table and a line, in place or one below the other."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._live = out, out.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn = 0
        self._before = ""

    def show(self, lines: list[tuple[str, str]], now: str) -> None:
        if self._live:
            up = f"\x1b[{self._drawn}A" if self._drawn else ""
            width = _width(self._out)
            # each row on one line of the terminal, or the next picture would lie elsewhere
            rows = [
                colored(text[:width], color, self._out)
                for text, color in [*lines, *([(now, "")] if now else [])]
            ]
            self._out.write(up + "".join(f"\r{row}\x1b[K\n" for row in rows) + "\x1b[J")
            self._drawn = len(rows)
        else:
            counts = now.partition(", about ")[0]  # what is left changes all the time
            if counts == self._before or not now:
                return
            self._before = counts
            self._out.write(f"{now}\n")
        self._out.flush()

    def end(self, text: str) -> None:
        self._out.write(f"{text}\n")
        self._out.flush()


def _width(out: TextIO) -> int:
    try:
        return max(20, os.get_terminal_size(out.fileno()).columns - 1)
    except (OSError, ValueError):
        return 100
