"""Which digits of its file names count a sequence's frames: those that vary; or the times that the names carry.

    scan_0001_v2, scan_0002_v2      1, 2
    take2_frame003, take2_frame004  3, 4
    0.967, 1.000, 1.033             0, 1, 2, and their times

Names that differ in several numbers of which no single one tells the order are a problem that is said, with a layout
that settles it.  One name alone has its last number that is no size, as `10K` of triangles.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from mimicme.pipeline.captures.name_times import (
    SECOND,
    Times,
    are_doubtful_dates,
    are_visits,
    fps_of,
    step_of,
    times_in,
)

_INTEGER = re.compile(r"-?[0-9]+")
_LONGEST = 18  # digits of a number that fits into 64 bits
_SIZE = re.compile(
    r"[0-9]+(?:[.,][0-9]+)?(?:k|mm|cm|um|fps|hz|px|dpi|tris?|triangles|faces|verts?|vertices)(?![a-z])",
    re.IGNORECASE,
)
"""A number with its unit: how many triangles, how large, how fast; frames are not counted in these."""


@dataclass(frozen=True)
class FrameOrder:
    """The frames of a sequence by the frame parts of its file names.

    Attributes:
        numbers: the frame's number by name; names that are one frame have the same.
        times_s: seconds since the first frame by name; empty: the names carry no time.
        fps: frames per second by these times; None: unknown.
        step_s: seconds from frame to frame by these times; None: unknown.
        resolution_s: of the times.
        shape: what the times look like (`name_times.Times`); empty: there are none.
        problem: why the numbers cannot be told, a sentence without a full stop; empty: they can.
        instead: what to put into a layout in place of `{frame}` to settle the problem; empty: nothing known.
        visits: every name has a date of its own, so that a number between two is no missing frame.
    """

    numbers: Mapping[str, int]
    times_s: Mapping[str, float] = field(default_factory=dict)
    fps: float | None = None
    step_s: float | None = None
    resolution_s: float = 0.0
    shape: str = ""
    problem: str = ""
    instead: str = ""
    visits: bool = False


def frame_number(text: str) -> int:
    """The last run of ASCII digits in `text`; 0 when there is none."""
    runs = re.findall(r"[0-9]+", text)
    return _number(runs[-1]) if runs else 0


def without_sizes(text: str) -> str:
    """A name without its numbers that have a unit: `head_10K` has none that could count frames."""
    return _SIZE.sub("", text)


def natural_key(text: str) -> tuple[tuple[int, int | str], ...]:
    """For sorting names with numbers by their value: `a9` before `a10`."""
    parts = re.split(r"([0-9]+)", text.casefold())
    return tuple((0, _number(part)) if k % 2 else (1, part) for k, part in enumerate(parts) if part)


def order_frames(texts: Iterable[str], expected: frozenset[str] = frozenset(), own: str = "") -> FrameOrder:
    """Number the frames of a sequence.

    Args:
        texts: the part of each of its files' names that stands for `{frame}`.
        expected: shapes of times in other sequences; own: the sequence's own name (see `name_times.times_in`).
    """
    names = sorted(set(texts), key=lambda text: (natural_key(text), text))
    if not names:
        return FrameOrder({})
    times = times_in(names, expected, own)
    if times is not None:
        return _doubtful(names, times) if times.doubt else _by_time(names, times)
    if len(names) == 1:
        return FrameOrder({names[0]: frame_number(without_sizes(names[0]))})
    if are_doubtful_dates(names):
        problem = (
            "of the dates in its files' names day and month cannot be told (write the year first: 2026-02-01)"
        )
        return FrameOrder({name: k for k, name in enumerate(names)}, problem=problem)
    if {name[0] == "-" for name in names} == {True, False} and all(map(_INTEGER.fullmatch, names)):
        return FrameOrder({name: frame_number(name) * (-1 if name[0] == "-" else 1) for name in names})
    return replace(_by_number(names), visits=are_visits(names))


# ------------------------------------------------------------------------------------------------ by numbers


@dataclass(frozen=True)
class _Split:
    """A name taken apart: text, digits, text, digits, ..., text."""

    name: str
    words: tuple[str, ...]
    runs: tuple[str, ...]

    @property
    def values(self) -> tuple[int, ...]:
        return tuple(map(_number, self.runs))


def _split(name: str) -> _Split:
    parts = re.split(r"([0-9]+)", name)
    return _Split(name, tuple(parts[::2]), tuple(parts[1::2]))


def _number(digits: str) -> int:
    return int(digits[-_LONGEST:])


def _by_number(names: Sequence[str]) -> FrameOrder:
    splits = [_split(name) for name in names]
    main = _alike(splits)
    if sum(not split.runs for split in splits) > max(1, len(splits) // 2):
        return FrameOrder(dict.fromkeys(names, 0), problem="its files carry no frame numbers")
    if not main:
        return FrameOrder({name: frame_number(name) for name in names})
    column, problem = _counting_column(main)
    numbers = {split.name: _of_column(split, main[0], column) for split in splits}
    if not problem and _much_claimed_twice(splits, numbers):
        problem = "several of its files carry each frame number"
    return FrameOrder(numbers, problem=problem, instead=_settled(splits, main) if problem else "")


def _alike(splits: Sequence[_Split]) -> list[_Split]:
    """Most of the names, which have the same words, else as many numbers; empty: they have little in common."""
    for key in (lambda s: tuple(w.casefold() for w in s.words), lambda s: len(s.runs)):
        groups: dict[object, list[_Split]] = {}
        for split in splits:
            groups.setdefault(key(split), []).append(split)
        largest = max(groups.values(), key=len)
        if 2 * len(largest) > len(splits) and largest[0].runs:
            return largest
    return []


def _varying(main: Sequence[_Split]) -> list[int]:
    return [
        k
        for k, column in enumerate(zip(*(split.values for split in main), strict=True))
        if len(set(column)) > 1
    ]


def _counting_column(main: Sequence[_Split]) -> tuple[int, str]:
    """Which of the numbers in a name counts the frames, and what is wrong with that."""
    varying = _varying(main)
    last = len(main[0].runs) - 1
    if not varying:
        return last, ""
    if len(varying) == 1:
        return varying[0], ""
    rows = sorted({split.values for split in main})  # their natural order
    telling = [k for k in varying if all(a[k] < b[k] for a, b in pairwise(rows))]
    if telling:
        return telling[-1], ""
    what = f"{len(varying)} numbers in its files' names vary, and none of them alone tells the order"
    return varying[-1], what


def _of_column(split: _Split, like: _Split, column: int) -> int:
    """The number of a name at the place where most names have theirs."""
    same_until = tuple(w.casefold() for w in split.words[: column + 1]) == tuple(
        w.casefold() for w in like.words[: column + 1]
    )
    if len(split.runs) == len(like.runs) or (len(split.runs) > column and same_until):
        return split.values[column]
    return frame_number(split.name)


def _much_claimed_twice(splits: Sequence[_Split], numbers: Mapping[str, int]) -> bool:
    """Whether most frames have several files whose names differ in more than zeros before a number."""
    differing: dict[int, set[tuple[object, ...]]] = {}
    for split in splits:
        differing.setdefault(numbers[split.name], set()).add((*split.words, *split.values))
    twice = sum(len(names) > 1 for names in differing.values())
    return 2 * twice > len(differing)


def _settled(splits: Sequence[_Split], main: Sequence[_Split]) -> str:
    """Of the names, those that one layout can take, as the text that stands for them: `scan_{frame}_v2`."""
    varying = _varying(main)
    if not varying:
        return ""

    def telling(k: int) -> tuple[int, int, int]:
        return len({split.values[k] for split in main}), max(len(split.runs[k]) for split in main), k

    frame = max(varying, key=telling)
    others = Counter(
        (split.words, (*split.runs[:frame], "{frame}", *split.runs[frame + 1 :]))
        for split in splits
        if len(split.runs) > frame
    )
    words, runs = max(others, key=lambda key: (others[key], key))  # of equal ones the latest version
    return _usable(words[0] + "".join(run + word for run, word in zip(runs, words[1:], strict=True)))


# -------------------------------------------------------------------------------------------------- by times


def _by_time(names: Sequence[str], times: Times) -> FrameOrder:
    """Numbered in order of time; or by a number beside the time that says the same."""
    ns = {name: times.of[name].ns for name in names}
    resolution = min(time.resolution_ns for time in times.of.values())
    beside = {name: _split(_before(name, times) + "\0" + _after(name, times)) for name in names}
    counted = _numbers_beside(ns, beside)
    places = {time: place for place, time in enumerate(sorted(set(ns.values())))}
    numbers = counted or {name: places[ns[name]] for name in names}
    problem = "" if counted else _contradiction(ns, beside, numbers, times.absolute)
    each = sorted({numbers[name]: ns[name] for name in names}.items())
    rows, ordered = [number for number, _ in each], [time for _, time in each]
    step = step_of(ordered, rows, resolution)
    around = Counter((_before(name, times), _after(name, times)) for name in names)
    before, after = max(around, key=lambda pair: (around[pair], pair))
    return FrameOrder(
        numbers,
        {name: (ns[name] - min(ns.values())) / SECOND for name in names},
        fps_of(ordered, rows, resolution),
        None if step is None else step / SECOND,
        resolution / SECOND,
        times.shape,
        problem,
        _usable(f"{before}{{frame}}{after}") if problem else "",
    )


def _doubtful(names: Sequence[str], times: Times) -> FrameOrder:
    """Times of which several readings are possible: the one that a number beside them counts with; else a problem."""
    told = []
    for read in times.instead:
        ns = {name: read.of[name].ns for name in names}
        beside = {name: _split(_before(name, read) + "\0" + _after(name, read)) for name in names}
        if counted := _numbers_beside(ns, beside):
            told.append((read, counted))
    if len(told) == 1:
        return _by_time(names, told[0][0])
    if told:  # the order is the same, the times are not
        return FrameOrder(told[0][1])
    splits = [_split(name) for name in names]
    settled = _settled(splits, _alike(splits)) if times.instead else ""
    return FrameOrder({name: k for k, name in enumerate(names)}, problem=times.doubt, instead=settled)


def _before(name: str, times: Times) -> str:
    return name[: times.of[name].span[0]]


def _after(name: str, times: Times) -> str:
    return name[times.of[name].span[1] :]


def _numbers_beside(ns: Mapping[str, int], beside: Mapping[str, _Split]) -> dict[str, int]:
    """By the number beside the time that counts the frames in the order of time; empty: there is none."""
    width = {len(split.runs) for split in beside.values()}
    for column in range(width.pop()) if len(width) == 1 else ():
        rows = sorted((split.values[column], ns[name]) for name, split in beside.items())
        unique = len({value for value, _ in rows}) == len(rows) > 1
        if unique and all(a[1] <= b[1] for a, b in pairwise(rows)):
            return {name: split.values[column] for name, split in beside.items()}
    return {}


def _contradiction(
    ns: Mapping[str, int], beside: Mapping[str, _Split], numbers: Mapping[str, int], absolute: bool
) -> str:
    """What speaks against the order of time alone; empty: nothing."""
    if _much_claimed_twice([replace(split, name=name) for name, split in beside.items()], numbers):
        return "several of its files carry each time"
    rows = [beside[name].values for name in sorted(ns, key=lambda name: ns[name])]
    if absolute or len({len(row) for row in rows}) > 1:
        return ""
    back = any(y < x for a, b in pairwise(rows) for x, y in zip(a, b, strict=True))
    return "the times in its files' names and the numbers beside them tell different orders" if back else ""


def _usable(text: str) -> str:
    """A text that can stand in a layout in place of `{frame}`; else nothing."""
    return "" if re.search(r"[{}*\\]", text.replace("{frame}", "", 1)) else text
