"""What each section of the index and each page shows, as plain data; sections.html.j2 has a macro of the same name for
each section."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from mimicme.commands.frames import in_order
from mimicme.commands.report.figures import Bound, direction
from mimicme.commands.report.ranking import NOTE_MM, badness, sequence_badness, worst_frame
from mimicme.commands.report.records import (
    EXPECTED_ERROR,
    REVIEWED,
    S2M_P95,
    FrameRecord,
    ItemRecord,
    of_sequences,
)
from mimicme.commands.report.svg import curve, format_number, histogram
from mimicme.pipeline.errors import listed
from mimicme.pipeline.items import Item
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.workspace import Workspace

Progress = Callable[[str], None]
MOST_DECISIONS = 20
"""As many decisions about units and axes are shown."""
MOST_GROUPS = 50
"""As many causes of one kind are shown."""
NO_UNIT = "no unit"
# a state that another one's is the reason of (`Plan`)
_FOLLOWS = re.compile(
    r"^'[^']+' (is out of date|is not made yet|failed|is blocked)|comes first$|^its input '[^']+' changed$"
)


@dataclass(frozen=True)
class StageCounts:
    """Frames that arrived at a stage, and those of them that it rejected."""

    stage: str
    arrived: int
    rejected: int


@dataclass(frozen=True)
class Overview:
    """Facts as pairs of name and value, in order; `decisions`: about units and axes, without repetition."""

    facts: list[tuple[str, object]]
    stages: list[StageCounts]
    decisions: list[str]


@dataclass(frozen=True)
class Cause:
    """Sequences with one reason: of being out of date, or of having failed; `examples`: a few of them."""

    stage: str
    reason: str
    count: int
    examples: str


@dataclass(frozen=True)
class Outdated:
    """Why results are out of date, most frequent first; `following`: how many are because an earlier one is."""

    causes: list[Cause]
    following: int = 0


@dataclass(frozen=True)
class CodeGroup:
    """Frames with one code, a reason of rejection or a note; `message`: what is said of one of them, for this code as
    far as that can be told apart: of the frame with the fewest codes."""

    code: str
    frames: int
    sequences: int
    examples: str
    message: str


@dataclass(frozen=True)
class Rejections:
    """What failed, was rejected and is noted, each by its cause, most frequent first."""

    failures: list[Cause]
    reasons: list[CodeGroup]
    notes: list[CodeGroup]


@dataclass(frozen=True)
class QualityRow:
    """A figure over all frames that have it.

    Attributes:
        figure: its name in checkpoints and release.
        unit: of its numbers; `no unit` of counts, shares and factors.
        meaning: a sentence, where its stage gives one; direction: which way it is good, in words.
        frames: how many have it.
        median, p95, largest: over these, in the figure's own unit.
        histogram: of these, an SVG.
    """

    figure: str
    unit: str
    meaning: str
    direction: str
    frames: int
    median: float
    p95: float
    largest: float
    histogram: Markup


@dataclass(frozen=True)
class Quality:
    """The figures over all frames; `linked`: whether bars of histograms lead to the frames behind them; `private`: of
    fewer people none are shown."""

    rows: list[QualityRow]
    linked: bool
    private: int = 0


@dataclass(frozen=True)
class Sequences:
    """The table of all sequences, whose rows come from index.py.

    Attributes:
        columns: name in the data, and heading, of those that can be sorted by.
        command: that shows a sequence in 3D.
        note_mm: what a note counts in the order.
    """

    columns: list[tuple[str, str]]
    command: str
    note_mm: float = NOTE_MM


@dataclass(frozen=True)
class Settings:
    """Files of the last run as pairs of heading and text; `versions`: those of now, where nothing has run yet."""

    files: list[tuple[str, str]]
    versions: str = ""


def overview(
    workspace: Workspace,
    records: Sequence[ItemRecord],
    stages: Iterable[Stage],
    outdated: Mapping[tuple[str, str], str],
) -> Overview:
    """How many there are of everything, and how far they came."""
    frames = [f for r in records for f in r.frames]
    release = "packed" if workspace.release.is_file() else "not packed yet"
    stale = [why for (_, item), why in outdated.items() if item == "release"]
    if stale and workspace.release.is_file():
        release = f"packed, but out of date: {stale[0]}"
    facts: list[tuple[str, object]] = [
        ("workspace", workspace.root.name),
        ("subjects", len({r.item.subject for r in records})),
        ("sequences", len(records)),
        ("frames", len(frames)),
        ("frames rejected", sum(not f.ok for f in frames)),
        ("sequences that failed", sum(bool(r.failure) for r in records)),
        ("sequences that are out of date", sum(bool(r.outdated) for r in records)),
        ("release", release),
    ]
    order = [stage.name for stage in of_sequences(stages)]
    last = [order.index(f.stage) if f.stage in order else -1 for f in frames]
    by_person = [not f.ok and f.reason == REVIEWED for f in frames]
    lost = [
        order.index(f.stage)
        for f, bad in zip(frames, by_person, strict=True)
        if not f.ok and not bad and f.stage in order
    ]
    counts = [
        StageCounts(stage, sum(place >= i for place in last), lost.count(i)) for i, stage in enumerate(order)
    ]
    if any(by_person):
        looked_at = sum(bool(f.verdict) for f in frames)
        counts.append(StageCounts("a person who looked", looked_at, sum(by_person)))
    return Overview(facts, counts, sorted({d for r in records for d in r.decisions})[:MOST_DECISIONS])


def outdated(found: Mapping[tuple[str, str], str]) -> Outdated:
    """The causes of what is out of date.

    Args:
        found: as `records.read_outdated` says.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    following = 0
    for (stage, item), reason in found.items():
        if _FOLLOWS.search(reason):
            following += 1
        else:
            groups.setdefault((stage, reason), []).append(item)
    return Outdated(_causes(groups), following)


def _causes(groups: Mapping[tuple[str, str], Sequence[object]]) -> list[Cause]:
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))[:MOST_GROUPS]
    return [Cause(stage, why, len(items), listed(items, 4)) for (stage, why), items in ordered]


def rejections(records: Iterable[ItemRecord]) -> Rejections:
    """What failed, what was rejected, and what is noted of frames that are used."""
    records = list(records)
    failures: dict[tuple[str, str], list[object]] = {}
    reasons: dict[str, list[tuple[ItemRecord, FrameRecord]]] = {}
    notes: dict[str, list[tuple[ItemRecord, FrameRecord]]] = {}
    for record in records:
        if record.failure:
            failures.setdefault(("", record.failure), []).append(record.item)
        for frame in record.frames:
            if not frame.ok:
                reasons.setdefault(frame.reason, []).append((record, frame))
            for code in frame.note.split(",") if frame.ok and frame.note else ():
                notes.setdefault(code, []).append((record, frame))
    return Rejections(_causes(failures), _code_groups(reasons), _code_groups(notes))


def _example(code: str, frames: Sequence[FrameRecord]) -> str:
    """What a code means, in the words that are said of a frame that has it."""
    frame = min(frames, key=lambda frame: frame.note.count(",") if frame.ok else 0)
    return (frame.said.get(code) if frame.ok else None) or frame.message


def _code_groups(groups: Mapping[str, Sequence[tuple[ItemRecord, FrameRecord]]]) -> list[CodeGroup]:
    return [
        CodeGroup(
            code,
            len(found),
            len({record.item for record, _ in found}),
            listed((f"{record.item} {frame.number}" for record, frame in found), 4),
            _example(code, [frame for _, frame in found]),
        )
        for code, found in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    ]


def quality(
    records: Sequence[ItemRecord], stages: Iterable[Stage], linked: bool = False, private: int = 0
) -> Quality:
    """The figures: first `FIRST_FIGURES`, then those that a stage explains, in order of the flow, then others by name.

    Args:
        linked: whether the bars of their histograms are links, see bars.py.
        private: of fewer people nothing is shown, as where the page is meant for others; 0: of all.
    """
    if len({r.item.subject for r in records}) < private:
        return Quality([], linked, private)
    names = sorted({name for r in records for f in r.frames for name in f.quality})
    explained = {name: said for stage in stages for name, said in stage.reader.explained.items()}
    units = {name: unit for r in records for name, unit in r.units.items()}
    leading = [n for n in explained if n in names]
    rows = []
    for name in in_order(leading + [n for n in names if n not in leading]):
        values = np.array([f.quality[name] for r in records for f in r.frames if name in f.quality])
        people = {r.item.subject for r in records if any(name in f.quality for f in r.frames)}
        if len(people) < private:
            continue
        rows.append(
            QualityRow(
                name,
                unit_in_words(units.get(name, "")),
                explained.get(name, ""),
                direction(name),
                len(values),
                float(np.median(values)),
                float(np.percentile(values, 95)),
                float(values.max()),
                histogram(values, figure=name if linked else ""),
            )
        )
    return Quality(rows, linked)


def sequences(workspace: Workspace) -> Sequences:
    """The head of the table of all sequences."""
    columns = [
        ("sequence", "sequence"),
        ("score", "why it may be bad, and its worst frame"),
        (EXPECTED_ERROR, f"expected error of the worst frame, mm ({EXPECTED_ERROR})"),
        (S2M_P95, f"scan to surface, 95th percentile of the worst frame, mm ({S2M_P95})"),
        ("frames", "frames"),
        ("rejected", "rejected"),
        ("noted", "with notes"),
        ("reviewed", "looked at"),
        ("state", "state"),
        ("expression", "expression"),
    ]
    return Sequences(columns, f"mimicme view {shlex.quote(workspace.root.name)}")


@dataclass(frozen=True)
class DrawnFrame:
    """A frame with a picture, and why it may be bad."""

    frame: FrameRecord
    why: str


@dataclass(frozen=True)
class FigureRow:
    """A figure over the frames of a sequence that are in use; `bounds` in words; `curve`: over all of them, an SVG."""

    figure: str
    unit: str
    meaning: str
    direction: str
    bounds: str
    least: float
    median: float
    largest: float
    curve: Markup


@dataclass(frozen=True)
class SequencePage:
    """What the page of a sequence shows.

    Attributes:
        why: see `ranking.sequence_badness`.
        command: that shows it in 3D; view: whether it has a page in 3D.
        frames: with pictures; left_out: how many have none.
        said: frames that are rejected or have a note.
        comparable: whether there is a prepared template.
        film: whether there is a film of its textures.
    """

    record: ItemRecord
    why: str
    command: str
    view: bool
    frames: list[DrawnFrame]
    left_out: int
    figures: list[FigureRow]
    said: list[FrameRecord]
    comparable: bool
    film: bool


def sequence_page(
    workspace: Workspace,
    record: ItemRecord,
    drawn: Iterable[int],
    meanings: Mapping[str, str],
    view: bool,
    comparable: bool,
    bounds: Mapping[str, Sequence[Bound]],
    film: bool = False,
) -> SequencePage:
    """What the page of a sequence shows.

    Args:
        drawn: numbers of the frames that have a picture.
        meanings: of the figures, by name, in the order in which they are shown.
        bounds: of the figures, by name (`figures.bounds`).
        film: whether there is a film of its textures.
    """
    numbers = set(drawn)
    shown = [DrawnFrame(f, badness(f).why) for f in record.frames if f.number in numbers]
    there = {name for frame in record.frames for name in frame.quality}
    names = [name for name in meanings if name in there]
    names += sorted(there.difference(names))
    names = in_order(names)
    rejected = [not frame.ok for frame in record.frames]
    command = f"mimicme view {shlex.quote(workspace.root.name)} {shlex.quote(str(record.item))}"
    return SequencePage(
        record,
        sequence_badness(record).why,
        command,
        view,
        shown,
        len(record.frames) - len(shown),
        [
            row
            for name in names
            if (row := _figure_row(record, name, meanings, rejected, bounds.get(name, ()))) is not None
        ],
        [frame for frame in record.frames if not frame.ok or frame.note],
        comparable,
        film,
    )


def _figure_row(
    record: ItemRecord,
    name: str,
    meanings: Mapping[str, str],
    rejected: list[bool],
    bounds: Sequence[Bound],
) -> FigureRow | None:
    values = np.array([frame.quality.get(name, np.nan) for frame in record.frames])
    used = values[np.isfinite(values) & ~np.array(rejected, bool)]
    if not len(used):
        return None
    return FigureRow(
        name,
        unit_in_words(record.units.get(name, "")),
        meanings.get(name, ""),
        direction(name),
        ", ".join(f"{bound.said} {format_number(bound.value)}" for bound in bounds),
        float(used.min()),
        float(np.median(used)),
        float(used.max()),
        curve(values, rejected, bounds=[bound.value for bound in bounds]),
    )


@dataclass(frozen=True)
class SubjectSequence:
    """A sequence on its subject's page; `picture`: number of its worst frame, None without a picture."""

    record: ItemRecord
    why: str
    picture: int | None


@dataclass(frozen=True)
class SubjectPage:
    """What the page of a subject shows: its sequences, worst first."""

    subject: str
    sequences: list[SubjectSequence]


def subject_page(
    subject: str, records: Iterable[ItemRecord], drawn: Container[tuple[Item, int]]
) -> SubjectPage:
    """What the page of a subject shows.

    Args:
        records: of its sequences, worst first.
        drawn: frames that have a picture, by item and number.
    """
    shown = []
    for record in records:
        worst = worst_frame(record)
        number = worst.number if worst is not None and (record.item, worst.number) in drawn else None
        shown.append(SubjectSequence(record, sequence_badness(record).why, number))
    return SubjectPage(subject, shown)


def unit_in_words(unit: str) -> str:
    """A unit as it is shown."""
    return NO_UNIT if unit in ("", "1") else unit


def settings(workspace: Workspace) -> Settings:
    """Settings, versions and machine of the last run."""
    from mimicme.pipeline.run.runlog import versions

    runs = workspace.runs()
    wanted = (("config.toml", "Settings of the last run"), ("versions.json", "Versions and machine"))
    files = []
    for name, heading in wanted:
        path = runs[-1] / name if runs else workspace.root / "mimicme.toml"
        if path.is_file():
            files.append((heading, path.read_text(encoding="utf-8", errors="replace")))
    return Settings(files, "" if runs else json.dumps(versions(), indent=1))
