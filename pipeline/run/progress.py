"""What a user sees of a run: a progress line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO

from mimicme.pipeline.errors import out_of

INTERVAL_S = 0.1
LINE_S = 300.0
"""Between two lines of progress where there is no terminal."""
STAGE_TABLE = ["stage", "done", "skipped", "failed", "blocked", "frames ok", "rejected so far", "worker time"]
"""Head of the table of what became of each stage; the time is that of all workers together, and what is rejected so
far was rejected by this stage or by one before it."""
_TROUBLES = ("failed", "blocked")


class Console:
    """Where the messages, the progress line and the results of a run are printed.

    Args:
        err: stream for progress and messages; None: silent.
        out: called with each line of the result (table, plan); None: silent.
        live: draw the progress line; default: when `err` is a terminal.
        lossy: whether results may be lost too; not where they are all that is made.
        at_once: print the first line of progress at once, where there is no terminal; default: once `every_s` is over.
        every_s: between two lines of progress, where there is no terminal.

    A terminal that was closed, a pipe whose reader is gone and a full disk below a redirected output end no run: what
    it says is lost, and what it makes is not.
    """

    def __init__(
        self,
        err: TextIO | None = None,
        out: Callable[[str], None] | None = None,
        live: bool | None = None,
        lossy: bool = True,
        at_once: bool = False,
        every_s: float = LINE_S,
    ) -> None:
        self._err = err
        self._out = out
        self._lossy = lossy
        self.live = bool(err is not None and err.isatty()) if live is None else live
        self._every_s = every_s
        self._drawn = 0
        self._last = 0.0
        self._told = float("-inf") if at_once else time.monotonic()

    @classmethod
    def standard(cls, out: Callable[[str], None], lossy: bool = True) -> Console:
        """Progress on standard error."""
        return cls(sys.stderr, out, lossy=lossy)

    def say(self, text: str) -> None:
        """Print a message on its own line."""
        if self._err is not None:
            self.clear()
            with _lossy(self._err):
                print(text, file=self._err, flush=True)

    def result(self, text: str) -> None:
        """Print a line of the result.

        Raises:
            OSError: it cannot be written, and may not be lost.
        """
        if self._out is not None:
            self.clear()
            with _lossy(sys.stdout) if self._lossy else contextlib.nullcontext():
                self._out(text)

    def draw(self, text: str, now: bool = False) -> None:
        """Replace the progress line; nothing when not on a terminal."""
        if self._err is None or not self.live:
            return
        if not now and time.monotonic() - self._last < INTERVAL_S:
            return
        self._last = time.monotonic()
        with _lossy(self._err):
            self._err.write("\r" + text.ljust(self._drawn))
            self._err.flush()
        self._drawn = len(text)

    def tell(self, text: str, now: bool = False, every_s: float | None = None) -> None:
        """Replace the progress line; where there is none, print it as a line, at most every so many seconds (by
        default as the console was made)."""
        self.draw(text, now)
        if not self.live and time.monotonic() - self._told > (self._every_s if every_s is None else every_s):
            self._told = time.monotonic()
            self.say(text)

    def clear(self) -> None:
        """Remove the progress line."""
        if self._err is not None and self._drawn:
            with _lossy(self._err):
                self._err.write("\r" + " " * self._drawn + "\r")
                self._err.flush()
            self._drawn = 0


@contextlib.contextmanager
def _lossy(stream: TextIO) -> Iterator[None]:
    """What cannot be written to this stream is lost, and so is what comes after it: it goes nowhere from then on, also
    where Python writes what it has kept when it leaves.  Of a pipe that does not wait and is full just now, what was
    to be written is lost alone."""
    try:
        yield
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):  # it may be no file of the system
            _send_nowhere(stream, for_good=not isinstance(error, BlockingIOError))


def _send_nowhere(stream: TextIO, for_good: bool) -> None:
    """Let a stream go nowhere, or else only what it holds already.

    Raises:
        OSError, ValueError: it is no file of the system.
    """
    number = stream.fileno()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        if for_good:
            os.dup2(nowhere, number)
            return
        own = os.dup(number)
        try:
            os.dup2(nowhere, number)
            stream.flush()
        finally:
            os.dup2(own, number)
            os.close(own)
    finally:
        os.close(nowhere)


class Progress:
    """How far some stages are while they run.

    Args:
        label: the stages.
        sequences: that pass through them.
    """

    def __init__(self, console: Console, label: str, sequences: int) -> None:
        self._console, self._label, self._sequences = console, label, sequences

    def show(
        self, over: int, failed: int, left: str, now: bool = False, steps: tuple[int, int] = (0, 0)
    ) -> None:
        """Replace the line.

        Args:
            over: sequences that have passed; failed: items.
            left: what is left, in words.
            steps: see `progress_text`.
        """
        self._console.tell(progress_text(self._label, over, self._sequences, failed, left, steps), now)


def progress_text(
    label: str, over: int, sequences: int, failed: int, left: str, steps: tuple[int, int] = (0, 0)
) -> str:
    """`ingest to project: 12 of 60 sequences, 115 of 480 steps, 1 failed, about 3:07 min left`.

    Args:
        steps: how many stages of single sequences are over, and how many there are: for a long while no sequence has
            passed through all of them.  They are told where there are more than sequences.
    """
    done, total = steps
    told = f", {out_of(done, total, 'step')}" if total > sequences else ""
    return (
        f"{label}: {out_of(over, sequences, 'sequence')}{told}"
        + (f", {failed} failed" if failed else "")
        + left
    )


def span(names: Sequence[str]) -> str:
    """Several stages in words: `ingest to project`."""
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


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


def count_cells(counts: Mapping[str, int], off: bool) -> list[str]:
    """Cells of a table: how many items are in each state, in the order given.

    What a stage that is off hands on, or will, is no work of its own: `-`.  What failed or waits there is counted all
    the same.
    """
    return ["-" if off and (state not in _TROUBLES or not n) else str(n) for state, n in counts.items()]
