"""What a run and `status` print about single frames: each rejection and each note once, as a sentence."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mimicme.pipeline.checkpoint import FrameStatus
from mimicme.pipeline.errors import listed
from mimicme.pipeline.items import Item
from mimicme.pipeline.review import rejection
from mimicme.pipeline.run.plan import Plan
from mimicme.pipeline.run.progress import Console
from mimicme.pipeline.stage import Stage

MAX_LINES = 20
EXAMPLES = 3
"""Frames or sequences that are named where many have one thing said of them."""
_SENTENCE = re.compile(
    r"(?P<item>\S+/\S+?)(?: frame (?P<frame>\d+))?: "
    r"(?P<what>\S+ noted \S+|\S+ rejected it \([^)]*\)|\S+ failed): (?P<why>.*)",
    re.DOTALL,
)
"""As `new_findings` and the runner write them."""
CALLED_BAD = rejection("").reason
"""Code of a frame that a person called bad, which is no fault of a run."""


def print_findings(console: Console, kind: str, lines: list[str], workspace: Path) -> None:
    """Print sentences about a workspace, those of a kind as one, the first twenty of them."""
    if not lines:
        return
    told = by_kind(lines)
    console.result(f"{kind}:")
    for line in told[:MAX_LINES]:
        console.result(f"  {line}")
    where = f"`mimicme status {shlex.quote(str(workspace))} --failed"
    if len(told) > MAX_LINES:
        console.result(f"  and {len(told) - MAX_LINES} more: see {where}`")
    elif len(told) < len(lines):
        console.result(f"  each of these {len(lines)}: {where} --each`")


def by_kind(lines: Iterable[str]) -> list[str]:
    """Sentences about single frames and items, where those of a kind are one, with how many they are and examples.

    Of a kind are the same notes of a stage, its rejections for the same reason, and failures that differ in numbers and
    names alone.  What is said of one frame alone stays as it is, and so does what is no such sentence.
    """
    kinds: dict[tuple[str, ...], list[tuple[str, re.Match[str] | None]]] = {}
    for line in lines:
        found = _SENTENCE.fullmatch(line)
        if found is None:
            key: tuple[str, ...] = (line,)
        elif found["what"].endswith(" failed"):
            same = found["why"].replace(found["item"], "").replace(found["item"].partition("/")[0], "")
            key = found["what"], re.sub(r"'[^']*'|\S*/\S*|[0-9.]+", "#", same)
        else:
            key = found["what"], "of a frame"
        kinds.setdefault(key, []).append((line, found))
    return [_as_one(said) for said in kinds.values()]


def _as_one(said: list[tuple[str, re.Match[str] | None]]) -> str:
    line, first = said[0]
    if first is None or len(said) == 1:
        return line
    found = [match for _, match in said if match is not None]
    names = [f"{m['item']} frame {m['frame']}" if m["frame"] else m["item"] for m in found]
    kind = "frames" if first["frame"] else "sequences"
    example = "" if len({m["why"] for m in found}) == 1 else " (said of the first)"
    what = first["what"].replace(" rejected it ", " rejected them ")
    return f"{len(said)} {kind} ({listed(names, EXAMPLES)}): {what}: {first['why']}{example}"


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


def count_called_bad(statuses: Iterable[FrameStatus]) -> int:
    """How many of some frames are rejected because a person called them bad."""
    return sum(not status.ok and status.reason == CALLED_BAD for status in statuses)


def new_findings(plan: Plan, stage: Stage, item: Item) -> tuple[list[str], list[str], int]:
    """Sentences about the frames of an item that this stage, and none before it, rejected or noted.

    Returns:
        rejections; notes on frames that are ok; how many of the rejections are of frames that a person called bad.
    """
    summary = plan.index.read(plan.checkpoint(stage.name, item))
    if summary is None or not summary.flagged:
        return [], [], 0
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
    rejections, notes, new = [], [], []
    for number, status in summary.flagged_frames():
        if not status.ok and number not in rejected_before:
            new.append(status)
            rejections.append(
                f"{item} frame {number}: {stage.name} rejected it ({status.reason}): {status.message}"
            )
        elif status.ok:
            codes = [c for c in status.note.split(",") if c and (number, c) not in noted_before]
            if codes:
                said = status.message.removeprefix(said_before.get(number, "")).strip()
                notes.append(f"{item} frame {number}: {stage.name} noted {','.join(codes)}: {said}")
    return rejections, notes, count_called_bad(new)
