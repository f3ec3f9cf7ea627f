"""A run that is going on, seen from another terminal: read from its log, which costs the run nothing."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from mimicme.pipeline.run.forecast import Ahead
from mimicme.pipeline.run.progress import colored, count_cells, duration, frame_cells, stage_cell, table
from mimicme.pipeline.workspace import Workspace

INTERVAL_S = 1.0
KILLED = 1
_HEAD = ["stage", "done", "skipped", "failed", "blocked", "frames ok", "rejected", "time"]
_LAST = ("end", "interrupted", "error")


@dataclass
class StageCounts:
    """One stage as the log tells of it.

    Attributes:
        items: to be made, as far as is known: neutrals are a batch of their own; items_over: of these.
        frames: to be made in the batch that runs; frames_seen: of these.
        began, batch_began: seconds since the epoch.
        seconds: that it took; None while it runs.
        off: it is switched off, and hands on what it is given.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    blocked: int = 0
    frames_ok: int = 0
    frames_rejected: int = 0
    items: int = 0
    items_over: int = 0
    frames: int = 0
    frames_seen: int = 0
    off: bool = False
    began: float = 0.0
    batch_began: float = 0.0
    seconds: float | None = None


@dataclass
class Seen:
    """What a log says so far.

    Attributes:
        process: of the run, 0 before it is said.
        stages: by name, in the order in which they began.
        behind: what comes after the stage that runs.
        ended: the last event, or empty; exit_code: of the run; message: of an error.
    """

    process: int = 0
    sequences: int = 0
    frames: int = 0
    stages: dict[str, StageCounts] = field(default_factory=dict)
    behind: Ahead = Ahead()
    ended: str = ""
    exit_code: int = KILLED
    message: str = ""

    def take(self, record: dict[str, Any]) -> None:
        """One more line of the log; events that are not known change nothing."""
        event, when = record.get("event"), datetime.fromisoformat(record["time"]).timestamp()
        if event == "begin":
            self.process = int(record.get("process", 0))
            self.sequences, self.frames = int(record["sequences"]), int(record["frames"])
        elif event in _LAST:
            self.ended, self.message = event, str(record.get("message", ""))
            self.exit_code = int(record.get("exit_code", {"interrupted": 130}.get(event, 2)))
        if "stage" not in record:
            return
        stage = self.stages.setdefault(record["stage"], StageCounts(began=when, batch_began=when))
        if event == "stage begins":
            stage.off = bool(record.get("off", False))
        elif event == "batch":
            stage.items += int(record["items"])
            stage.frames, stage.frames_seen = int(record["frames"]), 0
            stage.skipped, stage.batch_began = int(record["skipped"]), when
            self.behind = Ahead(float(record["seconds_ahead"]), tuple(record["unknown_ahead"]))
        elif event in ("item", "part"):
            stage.frames_seen = int(record.get("frames_seen", 0))
            if event == "item":
                made = record["outcome"] == "done"
                stage.done, stage.failed = stage.done + made, stage.failed + (not made)
                stage.items_over += 1
                stage.frames_ok += int(record.get("frames_ok", 0))
                stage.frames_rejected += int(record.get("frames_rejected", 0))
        elif event == "stage ends":
            for name in ("done", "skipped", "failed", "blocked", "frames_ok", "frames_rejected"):
                if name in record:
                    setattr(stage, name, int(record[name]))
            stage.seconds = float(record["seconds"])

    def now(self, at: float) -> str:
        """The stage that runs, in a line; empty where none does.

        Args:
            at: seconds since the epoch.
        """
        if self.ended or not self.stages:
            return ""
        name, stage = list(self.stages.items())[-1]
        if stage.seconds is not None:
            return ""
        text = (
            f"{name}: {stage.items_over} of {stage.items}"
            if stage.items
            else f"{name}: looking at what is there"
        )
        if 0 < stage.frames_seen < stage.frames:
            left = max(0.0, (at - stage.batch_began) / stage.frames_seen * (stage.frames - stage.frames_seen))
            text += f", about {duration(left)} left{self.behind.text(left)}"
        return text

    def lines(self, at: float) -> list[tuple[str, str]]:
        """All of it as the lines of a table, each with its colour; empty: it needs none."""
        rows = [
            [
                stage_cell(name, s.off),
                *count_cells(s.done, (s.skipped, s.failed, s.blocked), s.off),
                *frame_cells(s.frames_ok, s.frames_rejected, s.off),
                duration(s.seconds if s.seconds is not None else max(0.0, at - s.began)),
            ]
            for name, s in self.stages.items()
        ]
        colors = ["red" if s.failed else "yellow" if s.frames_rejected else "" for s in self.stages.values()]
        return list(zip(table([_HEAD, *rows]), ["", *colors], strict=True))


class LogReader:
    """Reads what was added to the log of a run since it was last asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._at = 0

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
            screen.show(seen.lines(clock()), "")
            screen.end(_last_words(seen))
            return seen.exit_code if seen.ended else KILLED
        screen.show(seen.lines(clock()), seen.now(clock()) or "the run looks at what is there")
        wait(interval_s)


def _found(workspace: Workspace, process: str) -> tuple[LogReader | None, Seen]:
    """The log of the run that holds the workspace; none while it has not begun one."""
    for folder in reversed(workspace.runs()[-2:]):
        reader, seen = LogReader(folder), Seen()
        for record in reader.new():
            seen.take(record)
        if seen.process and process.startswith(f"process {seen.process} on "):
            return reader, seen
    return None, Seen()


def _last_words(seen: Seen) -> str:
    if seen.ended == "end":
        return "The run has ended: " + (
            "every frame is ok." if not seen.exit_code else "`mimicme status --failed`."
        )
    if seen.ended == "interrupted":
        return "The run was interrupted; run again to continue."
    if seen.ended == "error":
        return f"The run ended with an error: {seen.message}"
    return "The run ended without a word: it was killed, or its machine went down. Run again to continue."


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
