"""What a run and `status` print about single frames: each rejection and each note once, as a sentence."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mimicme.pipeline.items import Item
from mimicme.pipeline.run.plan import Plan
from mimicme.pipeline.run.progress import Console
from mimicme.pipeline.stage import Stage

MAX_LINES = 20


def print_findings(console: Console, kind: str, lines: list[str], workspace: Path) -> None:
    """Print sentences about a workspace, the first twenty of them."""
    if not lines:
        return
    console.result(f"{kind}:")
    for line in lines[:MAX_LINES]:
        console.result(f"  {line}")
    if len(lines) > MAX_LINES:
        console.result(
            f"  and {len(lines) - MAX_LINES} more: see `mimicme status {shlex.quote(str(workspace))} --failed`"
        )


def sum_tallies(tallies: Iterable[str]) -> str:
    """Tallies summed: `3 read, 5 guessed` and `2 read` are `5 frames read, 5 guessed`; what is no count is left out."""
    counts: Counter[str] = Counter()
    for tally in tallies:
        for count, what in re.findall(r"(?:^|, )([0-9]{1,9}) ([^,]+)", tally):
            counts[what] += int(count)
    words: list[str] = []
    for what, total in counts.items():
        frames = "" if words else " frame" if total == 1 else " frames"
        words.append(f"{total}{frames} {what}")
    return ", ".join(words)


def new_findings(plan: Plan, stage: Stage, item: Item) -> tuple[list[str], list[str]]:
    """Sentences about the frames of an item that this stage, and none before it, rejected or noted.

    Returns:
        rejections; notes on frames that are ok.
    """
    summary = plan.index.read(plan.checkpoint(stage.name, item))
    if summary is None or not summary.flagged:
        return [], []
    rejected_before: set[int] = set()
    noted_before: set[tuple[int, str]] = set()
    said_before: dict[int, str] = {}
    for need in stage.needs:
        before = plan.index.read(plan.checkpoint(need, item))
        for number, status in before.flagged_frames() if before else ():
            if not status.ok:
                rejected_before.add(number)
            noted_before.update((number, code) for code in status.note.split(",") if code)
            # a stage adds its sentences to those of the stages before it
            said_before[number] = max(said_before.get(number, ""), status.message, key=len)
    rejections, notes = [], []
    for number, status in summary.flagged_frames():
        if not status.ok and number not in rejected_before:
            rejections.append(
                f"{item} frame {number}: {stage.name} rejected it ({status.reason}): {status.message}"
            )
        elif status.ok:
            codes = [c for c in status.note.split(",") if c and (number, c) not in noted_before]
            if codes:
                said = status.message.removeprefix(said_before.get(number, "")).strip()
                notes.append(f"{item} frame {number}: {stage.name} noted {','.join(codes)}: {said}")
    return rejections, notes
