"""A report on a workspace that opens without a network: what arrived, how good it is, and how it looks; worst first.

Reads the checkpoints, so that it can be made at any moment, also before the release is packed; what is out of date
is shown and marked.  A picture that cannot be drawn becomes a card that says why; it never stops the report.

    report.html, report.js, report.css, report-data.js     the index: sorted, filtered and searched in the browser
    subjects/<subject>.html
    sequences/<subject>/<sequence>/index.html, <frame>.webp, film.webp, made.json
    bars/<figure>.js                                       the frames behind the bars of its histogram
    views/<subject>/<sequence>.html                        the worst sequences in 3D

Only what changed is made again: made.json remembers what the pages of a sequence were made from.  records.py reads what
the checkpoints say, ranking.py what a person should look at first, sections.py makes of it what is shown, with drawings
from strips.py and svg.py, fairness.py and methods.py what they are named for, index.py the data of the index, bars.py
those of the histograms, sequence_files.py the files of a sequence, and page.py fills
the templates in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from mimicme.commands.report import sections
from mimicme.commands.report.bars import write_bars
from mimicme.commands.report.decisions import decided
from mimicme.commands.report.fairness import PRIVATE, fairness
from mimicme.commands.report.figures import bounds
from mimicme.commands.report.index import index_data, order, script
from mimicme.commands.report.methods import methods
from mimicme.commands.report.page import asset, make_section, render, render_page
from mimicme.commands.report.ranking import sequence_badness
from mimicme.commands.report.records import ItemRecord, of_sequences, read_item, read_outdated
from mimicme.commands.report.sequence_files import (
    Job,
    Made,
    make,
    make_elsewhere,
    remove_others,
    render_files,
)
from mimicme.commands.report.strips import read_view
from mimicme.commands.report.svg import histogram
from mimicme.commands.report.tables import write_tables
from mimicme.pipeline.errors import UsageError, counted, listed
from mimicme.pipeline.items import Item
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.whole_file import write_whole
from mimicme.pipeline.workspace import Workspace

__all__ = ["PAGE", "histogram", "read_item", "read_view", "report", "report_for_others"]

PAGE = "report.html"
DATA = "report-data.js"
ASSETS = ("report.js", "report.css")
MAX_FRAMES = 9


def report(
    workspace: Workspace,
    output: Path,
    stages: Iterable[Stage],
    max_frames: int = MAX_FRAMES,
    progress: Callable[[str], None] | None = None,
    jobs: int = 1,
    views: int = 0,
    write_view: Callable[[Item, Path], None] | None = None,
) -> Path:
    """Write the report into the folder `output` and return the path of its index.

    A section that cannot be made says so, and the others stay.

    Args:
        stages: all of them, in order of the flow.
        max_frames: pictures of a sequence.
        progress: called with what is being made, from the beginning on.
        jobs: processes that draw; 0 and 1: this one.
        views: how many of the worst sequences get a page in 3D; write_view: writes one.
    """
    stages = tuple(stages)
    say = progress or _unheard
    say("looking at what is out of date")
    outdated = read_outdated(workspace, stages)
    output.mkdir(parents=True, exist_ok=True)
    comparable = workspace.template.is_file()
    known_bounds = bounds(workspace.config(stages).stages)
    catalogue, table = workspace.catalogue(), workspace.metadata()
    todo = [
        Job.of(
            workspace,
            sequence,
            stages,
            outdated,
            output,
            max_frames,
            comparable,
            known_bounds,
            decided(catalogue, table, sequence),
        )
        for sequence in catalogue.sequences
    ]
    made: list[Made] = []
    say(f"0/{counted(len(todo), 'sequence')}")
    for one in _made(workspace, todo, jobs):
        made.append(one)
        say(f"{len(made):,}/{counted(len(todo), 'sequence')}, {one.record.item}")
    say("the pages over all sequences")
    remove_others(output, [one.record.item for one in made])
    records = [one.record for one in made]
    ranked = order(records)
    shown_in_3d = _write_views(output, ranked, views, write_view, say)
    for one, job in zip(made, todo, strict=True):
        if one.view != (one.record.item in shown_in_3d):
            render_files(workspace, job, one, one.record.item in shown_in_3d)
    drawn = {(one.record.item, number) for one in made for number in one.drawn}
    _write_subjects(output, ranked, drawn)
    last = of_sequences(stages)[-1].name if stages else ""
    write_whole(output / DATA, script(index_data(records, last, drawn, shown_in_3d)))
    write_bars(output, ranked)
    write_tables(output, ranked, last, todo[0].meanings if todo else {}, known_bounds)
    for name in ASSETS:
        write_whole(output / name, asset(name))
    shown = [
        make_section("Overview", "overview", lambda: sections.overview(workspace, records, stages, outdated)),
        make_section("Sequences, worst first", "sequences", lambda: sections.sequences(workspace)),
        make_section("What was rejected", "rejections", lambda: sections.rejections(records)),
        make_section("What is out of date", "outdated", lambda: sections.outdated(outdated)),
        make_section("Quality", "quality", lambda: sections.quality(records, stages, linked=True)),
        make_section("Is it fair", "fairness", lambda: fairness(records, people_of(workspace, records))),
        make_section("Methods, to paste", "methods", lambda: methods(workspace, records, stages)),
        make_section("Settings and versions", "settings", lambda: sections.settings(workspace)),
    ]
    write_whole(output / PAGE, render_page(f"mimicme: {workspace.root.name}", shown))
    return output / PAGE


def _unheard(_: str) -> None:
    """Of progress that nobody asked for."""


def report_for_others(
    workspace: Workspace,
    output: Path,
    stages: Iterable[Stage],
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Write a page without anybody in it into the folder `output`, and return its path: figures, fairness, methods.

    It has no pictures, no names of subjects or sequences, and nothing of fewer than `fairness.PRIVATE` people.

    Raises:
        UsageError: the folder holds other things, a report with people in it say, which would be given away.
    """
    others = (
        sorted(p.name for p in output.iterdir() if p.name not in (PAGE, ASSETS[1])) if output.is_dir() else []
    )
    if others:
        raise UsageError(
            "the folder holds other things too, which would be given away",
            where=output,
            seen=listed(others, 3),
            todo="Give a folder of its own with --output, or empty this one.",
        )
    stages = tuple(stages)
    records: list[ItemRecord] = []
    sequences = workspace.sequences()
    for sequence in sequences:
        records.append(read_item(workspace, sequence, stages))
        (progress or _unheard)(f"{len(records):,}/{counted(len(sequences), 'sequence')}, {sequence.item}")
    output.mkdir(parents=True, exist_ok=True)
    shown = [
        make_section("Quality", "quality", lambda: sections.quality(records, stages, private=PRIVATE)),
        make_section(
            "Is it fair", "fairness", lambda: fairness(records, people_of(workspace, records), PRIVATE)
        ),
        make_section("Methods, to paste", "methods", lambda: methods(workspace, records, stages)),
    ]
    write_whole(output / ASSETS[1], asset(ASSETS[1]))
    write_whole(output / PAGE, render_page("mimicme: quality", shown, scripts=False))
    return output / PAGE


def people_of(workspace: Workspace, records: Iterable[ItemRecord]) -> dict[str, dict[str, str | int | float]]:
    """What the table of subjects says, by subject."""
    table = workspace.metadata()
    return {subject: table.attributes(subject) for subject in {r.item.subject for r in records}}


def _made(workspace: Workspace, jobs: Sequence[Job], processes: int) -> Iterator[Made]:
    """What is made of each sequence, in order."""
    if processes <= 1 or len(jobs) < 2:
        yield from (make(workspace, job) for job in jobs)
        return
    import joblib

    root, sets = workspace.root, workspace.overrides
    work = (joblib.delayed(make_elsewhere)(root, sets, job) for job in jobs)
    yield from joblib.Parallel(n_jobs=processes, return_as="generator")(work)


def _write_views(
    output: Path,
    ranked: Sequence[ItemRecord],
    count: int,
    write_view: Callable[[Item, Path], None] | None,
    progress: Callable[[str], None],
) -> set[Item]:
    """Write the pages in 3D of the worst sequences with a frame in use, and take away those of others."""
    chosen = [record for record in ranked if any(f.ok and f.quality for f in record.frames)]
    chosen = chosen[:count] if write_view is not None else []
    written = set()
    for record in chosen:
        path = output / "views" / record.item.subject / f"{record.item.sequence}.html"
        progress(f"3D of {record.item}, score {sequence_badness(record).score:.2f}")
        path.parent.mkdir(parents=True, exist_ok=True)
        assert write_view is not None
        write_view(record.item, path)
        written.add(record.item)
    for path in output.glob("views/*/*.html"):
        if Item(path.parent.name, path.stem) not in written:
            path.unlink()
    return written


def _write_subjects(output: Path, ranked: Sequence[ItemRecord], drawn: set[tuple[Item, int]]) -> None:
    """The pages of the subjects; what is the same as before stays."""
    by_subject = sorted(ranked, key=lambda record: record.item.subject)  # stable: worst first within each
    for subject, own in groupby(by_subject, key=lambda record: record.item.subject):
        path = output / "subjects" / f"{subject}.html"
        page = render("subject.html.j2", sections.subject_page(subject, own, drawn))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != page:
            write_whole(path, page)
