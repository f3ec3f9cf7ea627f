"""Is the pipeline fair: quality by age, gender, ethnicity, scanner, as far as the table of subjects has them.

The unit is the person, not the frame: frames of one person are alike, and an interval over frames would be too narrow
by what their number is larger.  So every figure is first averaged within each person, over the frames in use, and the
interval is Student's for the mean over people.  Groups differ beyond their intervals when their 95 % intervals do not
overlap, which is stricter than a test at 5 %: Schenker, N. and Gentleman, J. F. (2001). On judging the significance of
differences by examining the overlap between confidence intervals. The American Statistician 55(3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mimicme.commands.report.ranking import suspicious
from mimicme.commands.report.records import EXPECTED_ERROR, REVIEWED, ItemRecord
from mimicme.pipeline.captures.ages import BANDS, age_band
from mimicme.pipeline.captures.metadata import UNKNOWN
from mimicme.pipeline.errors import listed

LEVEL = 0.95
ENOUGH = 5
"""People that a group needs for an interval."""
PRIVATE = 10
"""People that a group needs to be shown to others."""
MOST_GROUPS = 12
"""A column of more different values is no grouping: a number, a name, a remark."""
NOT_SAID = "not said"
_WORDS = frozenset({
    "age", "ancestry", "beard", "camera", "cohort", "country", "device", "ethnicity", "fitzpatrick", "gender",
    "glasses", "hair", "lab", "makeup", "nationality", "origin", "race", "rig", "scanner", "sensor", "sex", "site",
    "skin", "studio",
})  # fmt: skip
"""A column with one of these words in its name says something of the person, or of what they were captured with."""

EXPECTED, FIT, REJECTED, NOTED = EXPECTED_ERROR, "s2m_median", "rejected", "noted"
SHARE = "share"
MEASURES = {
    EXPECTED: ("expected error", "mm"),
    FIT: ("scan to surface, median", "mm"),
    REJECTED: ("frames rejected", SHARE),
    NOTED: ("frames with a note that often means a bad result", SHARE),
}
"""What is compared: heading and unit, all of them lower is better."""


@dataclass(frozen=True)
class Interval:
    """The mean over people, and its Student interval at `LEVEL`; `low` and `high` are NaN of too few people."""

    mean: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        return bool(np.isfinite(self.low))

    def apart_from(self, other: Interval) -> bool:
        """Whether both are known and do not overlap."""
        return self.known and other.known and (self.high < other.low or other.high < self.low)


@dataclass(frozen=True)
class Group:
    """People of one kind: how many, their frames, and each measure by name; no numbers where they are not shown."""

    name: str
    people: int
    frames: int
    measures: Mapping[str, Interval]


@dataclass(frozen=True)
class Grouping:
    """A column of the table: its groups in order, and what they say.

    Attributes:
        hidden: people of groups that are not shown to others.
        sentences: which groups differ; which are too small.
    """

    column: str
    groups: Sequence[Group]
    sentences: Sequence[str]
    hidden: int = 0


@dataclass(frozen=True)
class Fairness:
    """All groupings; `measures`: see `MEASURES`; `private`: whether small groups are left out."""

    groupings: Sequence[Grouping]
    measures: Mapping[str, tuple[str, str]]
    enough: int
    private: int


def fairness(
    records: Iterable[ItemRecord], people: Mapping[str, Mapping[str, Any]], private: int = 0
) -> Fairness:
    """Quality by the columns of the table of subjects that speak of people or devices.

    Args:
        people: attributes by subject.
        private: groups of fewer people are not shown, as where the report is meant for others; 0: all are.
    """
    measured = _by_person(records)
    frames = {subject: count for subject, (count, _) in measured.items()}
    values = {subject: own for subject, (_, own) in measured.items()}
    groupings = []
    for column in columns_of(people.values()):
        members: dict[str, list[str]] = {}
        for subject in values:
            members.setdefault(value_of(column, people.get(subject, {})), []).append(subject)
        if len(members) <= MOST_GROUPS and set(members) - {NOT_SAID}:
            groupings.append(_grouping(column, members, values, frames, private))
    return Fairness(groupings, MEASURES, ENOUGH, private)


def columns_of(people: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns that say something of a person or of what they were captured with, in order of the table."""
    names = dict.fromkeys(name for person in people for name in person)
    return [name for name in names if _WORDS & set(re.split(r"[\W_\d]+", name.casefold()))]


def value_of(column: str, person: Mapping[str, Any]) -> str:
    """A person's group; ages by their band."""
    value = person.get(column, UNKNOWN)
    if "age" in re.split(r"[\W_\d]+", column.casefold()):
        return age_band(value) or NOT_SAID
    text = str(value).strip().casefold()
    return NOT_SAID if text in ("", UNKNOWN) else text


def _by_person(records: Iterable[ItemRecord]) -> dict[str, tuple[int, dict[str, float]]]:
    """Frames, and the means of the measures, by subject; a measure that nobody took is missing."""
    frames: dict[str, list[Any]] = {}
    for record in records:
        frames.setdefault(record.item.subject, []).extend(record.frames)
    found = {}
    for subject, own in frames.items():
        if not own:
            continue
        used = [frame for frame in own if frame.ok]
        judged = [
            not frame.ok for frame in own if frame.reason != REVIEWED
        ]  # a person's verdict is not the program's
        means = {REJECTED: float(np.mean(judged))} if judged else {}
        if used:
            means[NOTED] = float(np.mean([bool(suspicious(frame)) for frame in used]))
        for name in (EXPECTED, FIT):
            values = [frame.quality[name] for frame in used if name in frame.quality]
            if values:
                means[name] = float(np.mean(values))
        found[subject] = (len(own), means)
    return found


def _grouping(
    column: str,
    members: Mapping[str, Sequence[str]],
    values: Mapping[str, Mapping[str, float]],
    frames: Mapping[str, int],
    private: int,
) -> Grouping:
    shown, hidden = visible(members, private)
    groups = [
        Group(
            name,
            len(own),
            sum(frames[subject] for subject in own),
            {
                measure: interval(
                    _told([values[s][measure] for s in own if measure in values[s]], private),
                    MEASURES[measure][1] == SHARE,
                )
                for measure in MEASURES
            },
        )
        for name, own in shown.items()
    ]
    return Grouping(column, groups, _sentences(column, groups, hidden, private), hidden)


def _told(values: list[float], private: int) -> list[float]:
    """Values of people, one each; none where fewer than `private` have one: their mean would be theirs."""
    return values if len(values) >= private else []


def visible(members: Mapping[str, Sequence[str]], private: int) -> tuple[dict[str, Sequence[str]], int]:
    """The groups that may be shown, in order, and how many people are in the others.

    Who knows the number of all could tell a single hidden group by subtraction: then the next smallest is hidden too.
    """
    order = {name: place for place, (name, _) in enumerate(BANDS)}
    names = sorted(members, key=lambda name: (name == NOT_SAID, order.get(name, 0), name))
    hidden = {name for name in names if len(members[name]) < private}
    if hidden and sum(len(members[name]) for name in hidden) < private:
        rest = sorted((name for name in names if name not in hidden), key=lambda name: len(members[name]))
        hidden.update(rest[:1])
    return {name: members[name] for name in names if name not in hidden}, sum(len(members[n]) for n in hidden)


def interval(values: Sequence[float], share: bool = False) -> Interval:
    """Mean of one value a person, and its Student interval, a share's within 0 and 1; NaN of fewer than `ENOUGH`."""
    from scipy.stats import t

    if not values:
        return Interval(np.nan, np.nan, np.nan)
    mean = float(np.mean(values))
    if len(values) < ENOUGH:
        return Interval(mean, np.nan, np.nan)
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    if share:
        return Interval(mean, max(mean - half, 0.0), min(mean + half, 1.0))
    return Interval(mean, mean - half, mean + half)


def _sentences(column: str, groups: Sequence[Group], hidden: int, private: int) -> list[str]:
    said = []
    compared = [group for group in groups if group.name != NOT_SAID]
    apart = [
        f"{MEASURES[measure][0]} of {a.name} ({_in_words(a.measures[measure])}) and {b.name} "
        f"({_in_words(b.measures[measure])})"
        for measure in MEASURES
        for k, a in enumerate(compared)
        for b in compared[k + 1 :]
        if a.measures[measure].apart_from(b.measures[measure])
    ]
    enough = sum(group.people >= ENOUGH for group in compared)
    if apart:
        said.append(f"Groups by {column} differ beyond their intervals: {'; '.join(apart)}.")
    elif enough > 1:
        said.append(f"No two groups by {column} differ beyond their intervals.")
    else:
        said.append(
            f"By {column} there are no two groups of {max(ENOUGH, private)} people or more to compare."
        )
    small = [f"{group.name} ({group.people})" for group in compared if group.people < ENOUGH]
    if small:
        said.append(f"Too small to tell, with fewer than {ENOUGH} people: {listed(small, 6)}.")
    if hidden:
        said.append(
            f"Not shown: {hidden} people of groups with fewer than {private}, and where one such group could be "
            "found by subtraction, of the next smallest."
        )
    return said


def _in_words(found: Interval) -> str:
    return f"{found.mean:.3g}, {found.low:.3g} to {found.high:.3g}"
