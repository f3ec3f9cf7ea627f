"""What is told of sequences once: missing frames, several files of a frame, and the rate that names tell."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from mimicme.pipeline import items
from mimicme.pipeline.captures.frame_order import FrameOrder
from mimicme.pipeline.errors import counted, listed, out_of
from mimicme.pipeline.items import FrameSource, Item

EACH = 3  # sequences of a kind that are told one by one
_SAME_RATE = 0.05
_SESSION_S = 3600.0  # between frames, from which on they are of two sessions


class Gap(NamedTuple):
    """Frames that are missing.

    Attributes:
        text: which, as `12 to 14`, or `after 7`.
        frames: how many.
        counted: whether their numbers are known; else they follow from the times.
    """

    text: str
    frames: int
    counted: bool


def remarks(
    sequences: Sequence[items.Sequence], orders: Mapping[Item, FrameOrder], pattern: str, fps: float
) -> list[str]:
    """Sentences about sequences, in their order; few, however many there are.

    Args:
        orders: how their frames are numbered, by item.
        pattern: the layout.
        fps: the frame rate that is declared; NaN: none.
    """
    holes = {s.item: found for s in sequences if (found := gaps(s.frames, orders.get(s.item)))}
    return [
        *_other_rates(sequences, fps),
        *_missing(holes, len(sequences)),
        *_duplicates(sequences, pattern),
    ]


def gaps(frames: Sequence[FrameSource], order: FrameOrder | None = None) -> list[Gap]:
    """What is missing between the frames of a sequence, by their numbers, else by their times.

    Between sessions, which dates or hours are between, nothing is missing.
    """
    if order is not None and (order.visits or (order.step_s or 0) >= _SESSION_S):
        return []
    numbers = [frame.number for frame in frames]
    steps = [b - a for a, b in pairwise(numbers)]
    if not steps:
        return []
    found = []
    if min(steps) != max(steps):  # most have all their frames
        counts = Counter(steps)
        usual = min(step for step, count in counts.items() if count == max(counts.values()))
        for (a, b), step in zip(pairwise(frames), steps, strict=True):
            if 2 * step > 3 * usual and _seconds(a, b) < _SESSION_S:
                first, last = a.number + usual, b.number - 1
                lost = max(1, round(step / usual) - 1)
                found.append(Gap(f"{first} to {last}" if lost > 1 else str(first), lost, True))
    if found or order is None or not order.step_s:
        return found
    for a, b in pairwise(frames):
        step_s = _seconds(a, b)
        if step_s < _SESSION_S and step_s - order.resolution_s > 1.5 * order.step_s:
            lost = max(1, round(step_s / order.step_s) - 1)
            found.append(Gap(f"after {a.number}", lost, False))
    return found


def _seconds(a: FrameSource, b: FrameSource) -> float:
    """Between two frames by the times in their names; 0: they carry none."""
    return 0.0 if a.time_s is None or b.time_s is None else b.time_s - a.time_s


def gap_words(found: Sequence[Gap]) -> str:
    """The missing frames of a sequence: `frames 12 to 14 are missing`."""
    if found[0].counted:
        one = len(found) == 1 and found[0].frames == 1
        return (
            f"frame{'' if one else 's'} {_and([gap.text for gap in found])} {'is' if one else 'are'} missing"
        )
    places = [f"{counted(gap.frames, 'frame')} {gap.text}" for gap in found]
    one = len(found) == 1 and found[0].frames == 1
    return f"by the times {_and(places)} {'is' if one else 'are'} missing"


def _and(parts: list[str]) -> str:
    if len(parts) > EACH:
        return listed(parts, EACH)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _missing(holes: Mapping[Item, list[Gap]], count: int) -> list[str]:
    if len(holes) <= EACH:
        return [f"{item}: {gap_words(found)}." for item, found in holes.items()]
    item, longest = max(
        ((item, gap) for item, found in holes.items() for gap in found), key=lambda pair: pair[1].frames
    )
    lost = sum(gap.frames for found in holes.values() for gap in found)
    return [
        f"{out_of(len(holes), count, 'sequence')} have gaps ({counted(lost, 'frame')}); the longest: {item}: "
        f"{gap_words([longest])}."
    ]


def _other_rates(sequences: Sequence[items.Sequence], fps: float) -> list[str]:
    """Where file names tell another rate than is declared."""
    if not math.isfinite(fps):
        return []
    other = [
        (s, s.named_fps)
        for s in sequences
        if s.named_fps is not None and abs(s.named_fps - fps) > _SAME_RATE * fps
    ]
    if not other:
        return []
    what = f"{other[0][0].item}" if len(other) == 1 else f"{len(other):,} sequences, as {other[0][0].item},"
    return [
        f"The times in the file names of {what} tell {other[0][1]:.4g} fps, not the {fps:.4g} that are declared; "
        "times are taken from the names."
    ]


def rates_taken(sequences: Sequence[items.Sequence], fps: float) -> list[str]:
    """Sentences about the rates that file names tell, which are taken where none is declared, `fps` NaN; few."""
    if math.isfinite(fps):
        return []
    told = [(s, s.named_fps) for s in sequences if s.named_fps is not None]
    rates = Counter(f"{rate:.4g}" for _, rate in told)
    if len(told) <= EACH:
        return [f"{s.item}: fps: {rate:.4g} from the frames' times." for s, rate in told]
    return [
        f"fps: {rate} from the frames' times, in {counted(n, 'sequence')}."
        for rate, n in rates.most_common(EACH)
    ] + ([f"{len(rates) - EACH} further rates are told by their frames' times."] if len(rates) > EACH else [])


def _duplicates(sequences: Sequence[items.Sequence], pattern: str) -> list[str]:
    """Several files of a frame: which layout chooses, where endings differ; else where they are."""
    by_ending: dict[tuple[str, ...], list[items.Sequence]] = {}
    others: list[tuple[items.Sequence, list[FrameSource]]] = []
    for sequence in sequences:
        twice = [frame for frame in sequence.frames if frame.duplicates]
        endings = {_endings(frame) for frame in twice}
        if (
            "{ext}" in pattern
            and len(twice) == len(sequence.frames)
            and len(endings) == 1
            and endings != {()}
        ):
            by_ending.setdefault(endings.pop(), []).append(sequence)
        elif twice:
            others.append((sequence, twice))
    said = []
    for found, group in by_ending.items():
        where = str(group[0].item) if len(group) == 1 else f"{len(group):,} sequences, as {group[0].item},"
        choices = [f"'{pattern.replace('.{ext}', ending)}'" for ending in found]
        said.append(
            f"Every frame of {where} has {len(found)} files that differ in their ending alone ({', '.join(found)}) and "
            f"is rejected; the layout {' or '.join(choices)} chooses (--layout of init, `layout` in mimicme.toml)."
        )
    if len(others) > EACH:
        count = sum(len(twice) for _, twice in others)
        sequence, twice = others[0]
        return [
            *said,
            f"{count:,} frames of {len(others):,} sequences have several files each and are rejected, for example "
            f"{_files(sequence, twice[0])}.",
        ]
    for sequence, twice in others:
        more = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
        verb = "is" if len(twice) == 1 else "are"
        said.append(f"{_files(sequence, twice[0])}{more} {verb} rejected: one file a frame.")
    return said


def _endings(frame: FrameSource) -> tuple[str, ...]:
    """The endings of a frame's files where they differ in these alone; else none."""
    names = [os.path.splitext(path) for path in (frame.path, *frame.duplicates)]
    endings = tuple(sorted(ending.lower() for _, ending in names))
    return endings if len({stem for stem, _ in names}) == 1 and len(set(endings)) == len(endings) else ()


def _files(sequence: items.Sequence, frame: FrameSource) -> str:
    paths = (frame.path, *frame.duplicates)
    names = [path.name for path in paths]
    if len(set(names)) < len(names):  # of several folders, as of two sessions
        common = os.path.commonpath(paths)
        names = [os.path.relpath(path, common) for path in paths]
    return f"{sequence.item}: frame {frame.number} ({_and(names)})"
