"""One page about a workspace that opens without a network: what arrived, how good it is, and how it looks.

Reads the checkpoints, so that it can be made at any moment, also before the release is packed; what is out of date
is shown and marked.  Pictures are
inside the page.  A picture that cannot be drawn becomes a card that says why; it never stops the page.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.errors import MimicmeError
from mimicme.pipeline.items import Item
from mimicme.pipeline.items import Sequence as CaptureSequence
from mimicme.pipeline.run.checkpoint_index import DECISION
from mimicme.pipeline.run.status import read_status
from mimicme.pipeline.stage import A, Stage
from mimicme.pipeline.whole_file import write_whole
from mimicme.pipeline.workspace import Workspace
from mimicme.stages.register.quality import S2M_MEDIAN, S2M_P95

if TYPE_CHECKING:
    from mimicme.pipeline.drawing.pictures import FrameView
    from mimicme.pipeline.drawing.render import Picture
    from mimicme.pipeline.template import Template

PAGE = "report.html"
WORST_BY = S2M_P95
"""The figure that orders frames and subjects; lower is better."""

Progress = Callable[[str], None]
_ALL_CURRENT: Mapping[tuple[str, str], str] = MappingProxyType({})


@dataclass
class FrameRecord:
    """One frame: its last status over the stages that have seen it, and what they measured."""

    number: int
    row: int
    stage: str = "none"
    ok: bool = True
    reason: str = ""
    note: str = ""
    message: str = ""
    quality: dict[str, float] = field(default_factory=dict)


@dataclass
class ItemRecord:
    """One sequence: its frames, what stopped it if something did, and what of it is out of date."""

    item: Item
    expression: str
    frames: list[FrameRecord]
    failure: str = ""
    decisions: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)

    @property
    def worst(self) -> float:
        """Largest `WORST_BY` of its frames, infinite when one was rejected or the sequence failed."""
        if self.failure or any(not f.ok for f in self.frames):
            return float("inf")
        return max((f.quality.get(WORST_BY, 0.0) for f in self.frames), default=0.0)


def report(
    workspace: Workspace,
    output: Path,
    stages: Iterable[Stage],
    max_subjects: int = 40,
    max_frames: int = 8,
    progress: Progress | None = None,
) -> Path:
    """Write `report.html` into the folder `output` and return its path.

    Args:
        stages: all of them, in order of the flow.
        max_subjects: subjects with pictures, worst first; the page says how many are left out.
        max_frames: pictures of a subject, worst first.
        progress: called with the subject that is being drawn.
    """
    stages = tuple(stages)
    outdated = read_outdated(workspace, stages)
    records = [read_item(workspace, sequence, stages, outdated) for sequence in workspace.catalogue()]
    sections = [
        _guarded("Overview", lambda: _overview(workspace, records, stages, outdated)),
        _guarded("What is out of date", lambda: _outdated(records)),
        _guarded("What was rejected", lambda: _rejected(records)),
        _guarded("Quality", lambda: _quality(records, stages)),
        _guarded(
            "Pictures", lambda: _pictures(workspace, records, stages, max_subjects, max_frames, progress)
        ),
        _guarded("Sequences", lambda: _sequences(records)),
        _guarded("Settings and versions", lambda: _settings(workspace)),
    ]
    title = f"mimicme: {workspace.root.name}"
    page = _PAGE.format(title=html.escape(title), style=_STYLE, body="\n".join(sections))
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / PAGE, page)
    return output / PAGE


# --------------------------------------------------------------------------------------- reading


def read_outdated(workspace: Workspace, stages: Iterable[Stage]) -> dict[tuple[str, str], str]:
    """Why what lies there is not what a run would make now, by stage and item; the release is one item."""
    status = read_status(workspace, tuple(stages))
    return {
        (stage.stage, item.item): item.reason
        for stage in status.stages
        for item in stage.items
        if item.state not in ("done", "pending")
    }


def of_sequences(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """The stages that leave a checkpoint of every sequence, in order of the flow."""
    return tuple(stage for stage in stages if stage.scope != "everything")


def read_item(
    workspace: Workspace,
    sequence: CaptureSequence,
    stages: Iterable[Stage],
    outdated: Mapping[tuple[str, str], str] = _ALL_CURRENT,
) -> ItemRecord:
    """What the checkpoints of a sequence say; stages that have not run yet are left out.

    Args:
        stages: in order of the flow: the last of those that have seen a frame has the last word on it.
        outdated: as `read_outdated` says.
    """
    frames = [FrameRecord(f.number, row) for row, f in enumerate(sequence.frames)]
    record = ItemRecord(sequence.item, sequence.expression, frames)
    for stage in (s.name for s in of_sequences(stages)):
        failure = workspace.failure(stage, sequence.item)
        if failure.is_file():
            record.failure = f"{stage}: {_failure(failure)}"
        path = workspace.checkpoint(stage, sequence.item)
        if not path.is_file():
            continue
        if (stage, str(sequence.item)) in outdated:
            record.outdated.append(f"{stage}: {outdated[stage, str(sequence.item)]}")
        try:
            with Checkpoint(path) as checkpoint:
                _read_stage(record, stage, checkpoint)
        except (MimicmeError, OSError, KeyError, ValueError) as error:
            record.failure = record.failure or f"{stage}: {error}"
    return record


def _read_stage(record: ItemRecord, stage: str, checkpoint: Checkpoint) -> None:
    record.decisions += [
        f"{name}: {checkpoint.attrs[name]}" for name in checkpoint.attrs if name.endswith(DECISION)
    ]
    by_number = {frame.number: frame for frame in record.frames}
    numbers = checkpoint.numbers.tolist()
    for number, status in zip(numbers, checkpoint.statuses, strict=True):
        frame = by_number.get(number)
        if frame is None or not frame.ok:  # later stages repeat what an earlier one rejected
            continue
        frame.stage = stage
        frame.ok, frame.reason = status.ok, status.reason
        frame.note, frame.message = status.note or frame.note, status.message or frame.message
    for name, figure in sorted(checkpoint.quality.items()):
        for number, value in zip(numbers, figure.values, strict=True):
            if number in by_number and np.isfinite(value):
                by_number[number].quality[name] = float(value)


def _failure(path: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "failed"
    for key in ("message", "error", "sentence", "what"):
        if isinstance(found, dict) and found.get(key):
            return str(found[key])
    return "failed"


def read_view(workspace: Workspace, item: Item, number: int, stages: Iterable[Stage]) -> FrameView:
    """What there is to draw of a frame, from whatever stages have run."""
    from mimicme.pipeline.drawing.pictures import FrameView
    from mimicme.pipeline.formats.image import decode
    from mimicme.pipeline.geometry.mesh import inverse, transform
    from mimicme.pipeline.scan import load_image, load_scan
    from mimicme.stages.align.checkpoint import AlignCheckpoint
    from mimicme.stages.bake.checkpoint import TEXTURE, BakeCheckpoint
    from mimicme.stages.ingest.checkpoint import IngestCheckpoint
    from mimicme.stages.landmarks.checkpoint import LandmarksCheckpoint
    from mimicme.stages.project.checkpoint import ProjectCheckpoint
    from mimicme.stages.register.checkpoint import RegisteredCheckpoint

    flow = of_sequences(stages)
    paths = {s.name: workspace.checkpoint(s.name, item) for s in flow}
    paths = {name: path for name, path in paths.items() if path.is_file()}
    view = FrameView()
    with ExitStack() as stack:

        def seen(opened: A | None) -> tuple[A, int] | None:
            """A checkpoint and the row of the frame in it; None where it is not there or not ok."""
            if opened is None:
                return None
            stack.enter_context(opened)
            row = next(iter(np.flatnonzero(opened.numbers == number).tolist()), None)
            return (opened, row) if row is not None and opened.statuses[row].ok else None

        def left(kind: type[A]) -> tuple[A, int] | None:
            return seen(kind(paths[kind.stage]) if kind.stage in paths else None)

        if ingested := left(IngestCheckpoint):
            view = replace(view, scan=load_scan(*ingested), image=load_image(*ingested))
        if registered := seen(RegisteredCheckpoint.of_flow(flow, paths)):
            made, row = registered
            view = replace(view, registered=made.vertices(row), pose=made.pose(row))
        elif aligned := left(AlignCheckpoint):
            view = replace(view, pose=aligned[0].pose(aligned[1]))
        if projected := left(ProjectCheckpoint):
            on_scan, row = projected
            view = replace(view, landmarks=on_scan.landmarks(row), landmark_source=on_scan.source(row))
        elif marked := left(LandmarksCheckpoint):
            found, row = marked
            points = found.points(row)
            points = points if view.pose is None else transform(inverse(view.pose), points)
            view = replace(view, landmarks=points, landmark_source=found.source(row))
        if (baked := left(BakeCheckpoint)) and baked[0].has(baked[1], TEXTURE):
            view = replace(view, texture=decode(baked[0].image_bytes(baked[1], TEXTURE)))
    return view


# --------------------------------------------------------------------------------------- sections


def _guarded(title: str, make: Callable[[], str]) -> str:
    """A section; or what went wrong with it."""
    try:
        body = make()
    except Exception as error:  # whatever it is, the other sections are still worth reading
        said = html.escape(f"{type(error).__name__}: {error}")
        body = f"<p class=bad>This section could not be made: {said}</p>"
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>"


def _overview(
    workspace: Workspace,
    records: Sequence[ItemRecord],
    stages: Iterable[Stage],
    outdated: Mapping[tuple[str, str], str],
) -> str:
    frames = [f for r in records for f in r.frames]
    subjects = {r.item.subject for r in records}
    rejected = sum(not f.ok for f in frames)
    release = "packed" if workspace.release.is_file() else "not packed yet"
    stale = [why for (_, item), why in outdated.items() if item == "release"]
    if stale and workspace.release.is_file():
        release = f"packed, but out of date: {stale[0]}"
    facts: list[tuple[str, object]] = [
        ("workspace", workspace.root.name),
        ("subjects", len(subjects)),
        ("sequences", len(records)),
        ("frames", len(frames)),
        ("frames rejected", rejected),
        ("sequences that failed", sum(bool(r.failure) for r in records)),
        ("sequences that are out of date", sum(bool(r.outdated) for r in records)),
        ("release", release),
    ]
    rows = [[html.escape(k), html.escape(str(v))] for k, v in facts]
    order = [stage.name for stage in of_sequences(stages)]
    last = [order.index(f.stage) if f.stage in order else -1 for f in frames]
    lost = [order.index(f.stage) for f in frames if not f.ok and f.stage in order]
    reached = [[stage, sum(place >= i for place in last), lost.count(i)] for i, stage in enumerate(order)]
    decisions = sorted({d for r in records for d in r.decisions})
    said = "".join(f"<li>{html.escape(d)}</li>" for d in decisions[:20])
    return (
        _table(["", ""], rows)
        + _table(["stage", "frames that arrived", "last seen here, rejected"], reached)
        + (
            f"<details><summary>Decisions about units and axes</summary><ul>{said}</ul></details>"
            if said
            else ""
        )
    )


def _outdated(records: Sequence[ItemRecord]) -> str:
    rows = [[html.escape(str(r.item)), html.escape(why)] for r in records for why in r.outdated]
    if not rows:
        return "<p>Everything on this page is current.</p>"
    said = "<p class=bad>These are shown as they were made earlier; <code>mimicme run</code> renews them.</p>"
    return said + _table(["sequence", "why"], rows)


def _rejected(records: Sequence[ItemRecord]) -> str:
    failed = [[html.escape(str(r.item)), html.escape(r.failure)] for r in records if r.failure]
    rows = [
        [html.escape(str(r.item)), f.number, f.stage, html.escape(f.reason), html.escape(f.message)]
        for r in records
        for f in r.frames
        if not f.ok
    ]
    notes = [
        [html.escape(str(r.item)), f.number, html.escape(f.note), html.escape(f.message)]
        for r in records
        for f in r.frames
        if f.ok and f.note
    ]
    parts = []
    if failed:
        parts.append("<h3>Sequences</h3>" + _table(["sequence", "why"], failed))
    if rows:
        parts.append("<h3>Frames</h3>" + _table(["sequence", "frame", "stage", "reason", "what to do"], rows))
    if notes:
        parts.append("<h3>Worth knowing</h3>" + _table(["sequence", "frame", "note", ""], notes))
    return "".join(parts) or "<p>Nothing failed, nothing was rejected.</p>"


def _quality(records: Sequence[ItemRecord], stages: Iterable[Stage]) -> str:
    names = sorted({name for r in records for f in r.frames for name in f.quality})
    if not names:
        return "<p>Nothing is measured yet.</p>"
    explained = {name: said for stage in stages for name, said in stage.reader.explained.items()}
    leading = [n for n in explained if n in names]
    rows: list[list[object]] = []
    for name in leading + [n for n in names if n not in leading]:
        values = np.array([f.quality[name] for r in records for f in r.frames if name in f.quality])
        if len(values):
            rows.append(
                [
                    html.escape(name),
                    html.escape(explained.get(name, "")),
                    len(values),
                    _number(float(np.median(values))),
                    _number(float(np.percentile(values, 95))),
                    _number(float(values.max())),
                    histogram(values),
                ]
            )
    return _table(["figure", "", "frames", "median", "p95", "largest", "distribution"], rows)


def _sequences(records: Sequence[ItemRecord]) -> str:
    rows: list[list[object]] = []
    for record in records:
        good = [f for f in record.frames if f.ok]
        median = [f.quality[S2M_MEDIAN] for f in good if S2M_MEDIAN in f.quality]
        p95 = [f.quality[WORST_BY] for f in good if WORST_BY in f.quality]
        rows.append(
            [
                html.escape(str(record.item)),
                html.escape(record.expression),
                len(record.frames),
                len(record.frames) - len(good),
                _number(float(np.median(median))) if median else "",
                _number(max(p95)) if p95 else "",
                "out of date" if record.outdated else "",
                html.escape(record.failure),
            ]
        )
    head = [
        "sequence",
        "expression",
        "frames",
        "rejected",
        "s2m median, mm",
        "worst s2m p95, mm",
        "",
        "failed",
    ]
    return _table(head, rows)


def _pictures(
    workspace: Workspace,
    records: Sequence[ItemRecord],
    stages: Iterable[Stage],
    max_subjects: int,
    max_frames: int,
    progress: Progress | None,
) -> str:
    from mimicme.pipeline.template import load_prepared

    if not workspace.template.is_file():
        return "<p>There is no prepared template yet, so there is nothing to compare with.</p>"
    template = load_prepared(workspace.template)
    by_subject: dict[str, list[ItemRecord]] = {}
    for record in records:
        by_subject.setdefault(record.item.subject, []).append(record)
    order = sorted(by_subject, key=lambda s: (-max(r.worst for r in by_subject[s]), s))
    parts = [
        "<p>Subjects with the worst frames first. Grey in the coloured pictures is further than 10 mm from "
        "the registered surface: hair, clothes, specks.</p>"
    ]
    for subject in order[:max_subjects]:
        if progress:
            progress(subject)
        sheet = subject_sheet(workspace, template, by_subject[subject], stages, max_frames)
        parts.append(f"<h3>{html.escape(subject)}</h3>{image_tag(sheet, subject)}")
    left = len(order) - max_subjects
    if left > 0:
        parts.append(f"<p>{left} more subjects without pictures; their figures are below.</p>")
    return "".join(parts)


def subject_sheet(
    workspace: Workspace,
    template: Template,
    records: Iterable[ItemRecord],
    stages: Iterable[Stage],
    max_frames: int,
) -> Picture:
    """The frames of a subject, worst first: scan beside error in colour, or beside the reason."""
    from mimicme.pipeline.drawing.render import contact_sheet

    def badness(pair: tuple[ItemRecord, FrameRecord]) -> tuple[float, str, int]:
        record, frame = pair
        value = frame.quality.get(WORST_BY, 0.0) if frame.ok else float("inf")
        return -value, str(record.item), frame.number

    frames = sorted(((r, f) for r in records for f in r.frames), key=badness)[:max_frames]
    pictures, captions = [], []
    for record, frame in frames:
        pictures.append(_tile(workspace, template, record.item, frame, stages))
        value = frame.quality.get(WORST_BY)
        said = frame.reason if not frame.ok else "" if value is None else f"p95 {value:.2f} mm"
        mark = " (out of date)" if record.outdated else ""
        captions.append(f"{record.item.sequence} {frame.number}{mark}\n{said}")
    return contact_sheet(pictures, captions, 4)


def _tile(
    workspace: Workspace, template: Template, item: Item, frame: FrameRecord, stages: Iterable[Stage]
) -> Picture:
    from mimicme.pipeline.drawing.pictures import attempt, card, draw_frame
    from mimicme.pipeline.drawing.render import fit

    size = (260, 220)

    def draw() -> Picture:
        shown = ("scan", "scan to registered mesh")
        drawn = draw_frame(read_view(workspace, item, frame.number, stages), template, size, 2.0, shown)
        left = drawn.get("scan")
        right = drawn.get("scan to registered mesh")
        if right is None:
            right = card(frame.message or frame.reason or f"{frame.stage} is the last stage that ran", size)
        if left is None:
            left = card("no scan", size)
        return np.hstack([left, fit(right, (size[0], right.shape[1]))])

    return attempt(f"{item} frame {frame.number}", draw, (size[0], 2 * size[1]))


def _settings(workspace: Workspace) -> str:
    runs = workspace.runs()
    parts = []
    for name, kind in (
        ("config.toml", "Settings of the last run"),
        ("versions.json", "Versions and machine"),
    ):
        path = runs[-1] / name if runs else workspace.root / "mimicme.toml"
        if not path.is_file():
            continue
        text = html.escape(path.read_text(encoding="utf-8", errors="replace"))
        parts.append(f"<details><summary>{kind}</summary><pre>{text}</pre></details>")
    if not runs:
        from mimicme.pipeline.run.runlog import versions

        parts.append(f"<pre>{html.escape(json.dumps(versions(), indent=1))}</pre>")
    return "".join(parts)


# --------------------------------------------------------------------------------------- parts of a page


def image_tag(picture: Picture, name: str) -> str:
    """A picture inside the page, as JPEG."""
    from mimicme.pipeline.drawing.render import encode_picture

    data = base64.b64encode(encode_picture(picture, "jpg", 82)).decode()
    width = picture.shape[1]
    return f'<img alt="{html.escape(name, quote=True)}" width={width} src="data:image/jpeg;base64,{data}">'


def histogram(values: Any, bins: int = 24, width: int = 180, height: int = 34) -> str:
    """A small histogram as SVG, from the smallest value to the largest."""
    data = np.asarray(values, np.float64)
    low, high = float(data.min()), float(data.max())
    if high <= low:
        high = low + max(abs(low), 1.0) * 1e-6
    counts, _ = np.histogram(data, bins, (low, high))
    step, top = width / bins, max(int(counts.max()), 1)
    bars = "".join(
        f'<rect x="{i * step:.1f}" y="{height - height * c / top:.1f}" width="{step - 1:.1f}" '
        f'height="{height * c / top:.1f}"/>'
        for i, c in enumerate(counts)
    )
    ends = f'<text x="0" y="{height + 11}">{_number(low)}</text>' + (
        f'<text x="{width}" y="{height + 11}" text-anchor="end">{_number(high)}</text>'
    )
    return f'<svg width="{width}" height="{height + 14}" role="img">{bars}{ends}</svg>'


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """An HTML table; cells are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head) if any(head) else ""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{f'<tr>{top}</tr>' if top else ''}{body}</table>"


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1240px;padding:0 1rem;color:#282c34;background:#fafafc}
h1,h2,h3{font-weight:600;line-height:1.2}h2{margin-top:2.5rem;border-bottom:1px solid #d5d7de}
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}
th{color:#666c78;font-weight:500}tr+tr td{border-top:1px solid #ececf1}img{max-width:100%;height:auto}
pre{overflow:auto;background:#f0f0f4;padding:.8rem}svg rect{fill:#2f7f94}svg text{font-size:10px;fill:#666c78}
.bad{color:#b02030}summary{cursor:pointer;color:#2f6f94}
"""  # noqa: E501
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""
