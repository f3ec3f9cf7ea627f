"""What each section of the page shows, as plain data; sections.html.j2 has a macro of the same name for each."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from mimicme.commands.report.contact_sheets import subject_sheet
from mimicme.commands.report.records import WORST_BY, FrameRecord, ItemRecord, of_sequences
from mimicme.commands.report.svg import histogram
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.workspace import Workspace
from mimicme.stages.register.quality import S2M_MEDIAN

Progress = Callable[[str], None]
MOST_DECISIONS = 20
"""As many decisions about units and axes are shown."""
NO_UNIT = "no unit"


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
class Rejections:
    """Sequences that failed, frames that were rejected, and frames that carry a note."""

    sequences: list[ItemRecord]
    frames: list[tuple[ItemRecord, FrameRecord]]
    notes: list[tuple[ItemRecord, FrameRecord]]


@dataclass(frozen=True)
class QualityRow:
    """A figure over all frames that have it.

    Attributes:
        figure: its name in checkpoints and release.
        unit: of its numbers; `no unit` of counts, shares and factors.
        meaning: a sentence, where its stage gives one.
        frames: how many have it.
        median, p95, largest: over these, in the figure's own unit.
        histogram: of these, an SVG.
    """

    figure: str
    unit: str
    meaning: str
    frames: int
    median: float
    p95: float
    largest: float
    histogram: Markup


@dataclass(frozen=True)
class SubjectSheet:
    """The pictures of a subject: a JPEG file in base64, and its width, px."""

    subject: str
    jpeg: str
    width: int


@dataclass(frozen=True)
class Pictures:
    """Sheets of the subjects, worst first.

    Attributes:
        comparable: whether there is a prepared template, without which there is nothing to compare with.
        left_out: how many subjects have no sheet here.
    """

    comparable: bool
    sheets: list[SubjectSheet]
    left_out: int = 0


@dataclass(frozen=True)
class SequenceRow:
    """A sequence and its frames.

    Attributes:
        rejected: how many frames were.
        median: median over the others of the figure `Sequences.median_figure`, mm; None where none has it.
        worst: the largest of the figure `Sequences.worst_figure`, mm; likewise.
    """

    record: ItemRecord
    rejected: int
    median: float | None
    worst: float | None


@dataclass(frozen=True)
class Sequences:
    """All sequences, and the names of the figures their last columns are of."""

    rows: list[SequenceRow]
    median_figure: str = S2M_MEDIAN
    worst_figure: str = WORST_BY


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
    lost = [order.index(f.stage) for f in frames if not f.ok and f.stage in order]
    counts = [
        StageCounts(stage, sum(place >= i for place in last), lost.count(i)) for i, stage in enumerate(order)
    ]
    return Overview(facts, counts, sorted({d for r in records for d in r.decisions})[:MOST_DECISIONS])


def rejections(records: Iterable[ItemRecord]) -> Rejections:
    """What failed, what was rejected, and what is noted of frames that are used."""
    records = list(records)
    frames = [(r, f) for r in records for f in r.frames]
    return Rejections(
        [r for r in records if r.failure],
        [(r, f) for r, f in frames if not f.ok],
        [(r, f) for r, f in frames if f.ok and f.note],
    )


def quality(records: Sequence[ItemRecord], stages: Iterable[Stage]) -> list[QualityRow]:
    """The figures: first those that a stage explains, in order of the flow, then the others by name."""
    names = sorted({name for r in records for f in r.frames for name in f.quality})
    explained = {name: said for stage in stages for name, said in stage.reader.explained.items()}
    units = {name: unit for r in records for name, unit in r.units.items()}
    leading = [n for n in explained if n in names]
    rows = []
    for name in leading + [n for n in names if n not in leading]:
        values = np.array([f.quality[name] for r in records for f in r.frames if name in f.quality])
        rows.append(
            QualityRow(
                name,
                NO_UNIT if units.get(name, "1") in ("", "1") else units[name],
                explained.get(name, ""),
                len(values),
                float(np.median(values)),
                float(np.percentile(values, 95)),
                float(values.max()),
                histogram(values),
            )
        )
    return rows


def pictures(
    workspace: Workspace,
    records: Iterable[ItemRecord],
    stages: Iterable[Stage],
    max_subjects: int,
    max_frames: int,
    progress: Progress | None = None,
) -> Pictures:
    """A contact sheet of each subject, those with the worst frames first; arguments as of `report`."""
    from mimicme.pipeline.drawing.render import encode_picture
    from mimicme.pipeline.template import load_prepared

    if not workspace.template.is_file():
        return Pictures(comparable=False, sheets=[])
    template = load_prepared(workspace.template)
    by_subject: dict[str, list[ItemRecord]] = {}
    for record in records:
        by_subject.setdefault(record.item.subject, []).append(record)
    order = sorted(by_subject, key=lambda s: (-max(r.worst for r in by_subject[s]), s))
    sheets = []
    for subject in order[:max_subjects]:
        if progress:
            progress(subject)
        sheet = subject_sheet(workspace, template, by_subject[subject], stages, max_frames)
        jpeg = base64.b64encode(encode_picture(sheet, "jpg", 82)).decode()
        sheets.append(SubjectSheet(subject, jpeg, sheet.shape[1]))
    return Pictures(comparable=True, sheets=sheets, left_out=len(order) - len(sheets))


def sequences(records: Iterable[ItemRecord]) -> Sequences:
    """A line for every sequence."""
    rows = []
    for record in records:
        good = [f for f in record.frames if f.ok]
        median = [f.quality[S2M_MEDIAN] for f in good if S2M_MEDIAN in f.quality]
        worst = [f.quality[WORST_BY] for f in good if WORST_BY in f.quality]
        rows.append(
            SequenceRow(
                record,
                len(record.frames) - len(good),
                float(np.median(median)) if median else None,
                max(worst, default=None),
            )
        )
    return Sequences(rows)


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
