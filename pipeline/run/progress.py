"""What a user sees of a run: a progress line on a terminal, one plain line a stage elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import TextIO

INTERVAL_S = 0.1


class Console:
    """Where the messages, the progress line and the results of a run are printed.

    Args:
        err: stream for progress and messages; None: silent.
        out: called with each line of the result (table, plan); None: silent.
        live: draw the progress line; default: when `err` is a terminal.
    """

    def __init__(
        self,
        err: TextIO | None = None,
        out: Callable[[str], None] | None = None,
        live: bool | None = None,
    ) -> None:
        self._err = err
        self._out = out
        self.live = bool(err is not None and err.isatty()) if live is None else live
        self._drawn = 0
        self._last = 0.0

    @classmethod
    def standard(cls, out: Callable[[str], None]) -> Console:
        """Progress on standard error."""
        return cls(sys.stderr, out)

    def say(self, text: str) -> None:
        """Print a message on its own line."""
        if self._err is not None:
            self.clear()
            print(text, file=self._err, flush=True)

    def result(self, text: str) -> None:
        """Print a line of the result."""
        if self._out is not None:
            self.clear()
            self._out(text)

    def draw(self, text: str, now: bool = False) -> None:
        """Replace the progress line; nothing when not on a terminal."""
        if self._err is None or not self.live:
            return
        if not now and time.monotonic() - self._last < INTERVAL_S:
            return
        self._last = time.monotonic()
        self._err.write("\r" + text.ljust(self._drawn))
        self._err.flush()
        self._drawn = len(text)

    def clear(self) -> None:
        """Remove the progress line."""
        if self._err is not None and self._drawn:
            self._err.write("\r" + " " * self._drawn + "\r")
            self._err.flush()
            self._drawn = 0


class StageProgress:
    """Counts of one stage while it runs.

    Args:
        items, frames: to be made; skipped: items that were current.
        behind: says of what comes after the stage, given the seconds that are left of it.
    """

    def __init__(
        self,
        console: Console,
        stage: str,
        items: int,
        frames: int,
        skipped: int,
        behind: Callable[[float], str] = lambda left: "",
    ) -> None:
        self._console = console
        self._stage = stage
        self._items = items
        self._frames = frames
        self._begun = time.monotonic()
        self._behind = behind
        self.skipped = skipped
        self.done = 0
        self.failed = 0
        self.frames_seen = 0
        if items:
            self._draw(True)

    def advanced(self, frames: int) -> None:
        """So many frames more are done, of an item or of a part of one."""
        self.frames_seen += frames
        self._draw()

    def finished(self, failed: bool) -> None:
        """One item more has an outcome."""
        self.failed += failed
        self.done += not failed
        self._draw(self.done + self.failed == self._items)

    def _draw(self, now: bool = False) -> None:
        over = self.done + self.failed
        text = f"{self._stage}: {over}/{self._items}, {self.failed} failed, {self.skipped} skipped"
        if 0 < self.frames_seen < self._frames:
            spent = time.monotonic() - self._begun
            left = spent / self.frames_seen * (self._frames - self.frames_seen)
            text += f", about {duration(left)} left{self._behind(left)}"
        self._console.draw(text, now)


def duration(seconds: float) -> str:
    """`4.2 s`, `3:07 min`, `2:05 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def colored(text: str, color: str, stream: TextIO | None) -> str:
    """A text in a colour, where `stream` is a terminal that shows some and nobody asked for none (`NO_COLOR`)."""
    codes = {"red": "31", "yellow": "33"}
    plain = stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb"
    if plain or os.environ.get("NO_COLOR") or color not in codes:
        return text
    return f"\x1b[{codes[color]}m{text}\x1b[0m"


def stage_cell(stage: str, off: bool) -> str:
    """A stage's name in tables and messages; of one that is switched off, which has items all the same, with that."""
    return f"{stage} (off)" if off else stage


def table(rows: list[list[str]]) -> list[str]:
    """Lines of a table: the first row is the header, the first column is text, the others are numbers."""
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if c == 0 else cell.rjust(width)
            for c, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def frame_cells(ok: int, rejected: int, off: bool = False) -> tuple[str, str]:
    """Two cells of a table; `-` where no frames are known, or where the stage is off and only hands them on."""
    return (str(ok), str(rejected)) if (ok or rejected) and not off else ("-", "-")


def count_cells(done: int, others: Iterable[int], off: bool) -> list[str]:
    """Cells of a table: items that are done, and those in other states.

    What a stage that is off has handed on is not done by it: `-`; what failed or waits there is counted all the same.
    """
    return ["-" if off else str(done), *("-" if off and not n else str(n) for n in others)]
