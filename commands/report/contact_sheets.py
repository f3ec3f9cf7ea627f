"""Contact sheets: the frames of a subject, each as its scan beside the distances to the registered surface."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mimicme.commands.report.records import WORST_BY, FrameRecord, ItemRecord, of_sequences
from mimicme.pipeline.items import Item
from mimicme.pipeline.stage import A, Stage
from mimicme.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from mimicme.pipeline.drawing.pictures import FrameView
    from mimicme.pipeline.drawing.render import Picture
    from mimicme.pipeline.template import Template


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
