"""One frame as the checkpoints of its sequence have it, for whoever draws it: the report, the demo, the viewer; and in
which order its figures are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.drawing.frame_rows import FrameRows
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.pipeline.stage import Stage

if TYPE_CHECKING:
    from mimicme.pipeline.drawing.pictures import FrameView
    from mimicme.pipeline.items import Item
    from mimicme.pipeline.workspace import Workspace
    from mimicme.stages.landmarks.review import Fitted

FIRST_FIGURES = (
    "expected_error", "mouth_light", "mouth_relief", "mouth_asymmetry", "lids_shut", "lids_open_right",
    "lids_open_left", "lids_folded", "cheek_slide", "ear_drape", "ear_distance", "core_share", "skin_share",
    "texture_contrast", "drift_p95", "motion", "neutral_cost", "s2m_median", "s2m_p95", "landmark_error",
)  # fmt: skip
"""Of a frame, these are shown before the others: what is off by most, and what a person sees at a glance."""


def in_order(names: Iterable[str]) -> list[str]:
    """Names of figures as they are shown: `FIRST_FIGURES`, then the others as they come."""
    known = list(names)
    first = [name for name in FIRST_FIGURES if name in known]
    return first + [name for name in known if name not in FIRST_FIGURES]


def read_frame(paths: Mapping[str, Path], number: int, stages: Sequence[Stage]) -> FrameView:
    """What there is to draw of a frame, from whatever stages have run.

    Of a frame without a pose, scan and landmarks are in the scan's frame.  An image that cannot be read costs that
    image alone, and is said.

    Args:
        paths: of the checkpoints of its sequence that are there, by stage name, in order of the flow.
        number: of the frame.
        stages: those that leave a checkpoint of every sequence, in order of the flow.

    Raises:
        CheckpointError, OSError, KeyError, ValueError, RuntimeError: a checkpoint cannot be read.
    """
    from mimicme.pipeline.drawing.pictures import FrameView
    from mimicme.pipeline.formats.image import ImageFileError, decode
    from mimicme.pipeline.scan import load_colored
    from mimicme.stages.align.checkpoint import AlignCheckpoint
    from mimicme.stages.bake.checkpoint import TEXTURE, BakeCheckpoint
    from mimicme.stages.ingest.checkpoint import IngestCheckpoint
    from mimicme.stages.landmarks.checkpoint import LandmarksCheckpoint
    from mimicme.stages.project.checkpoint import ProjectCheckpoint
    from mimicme.stages.register.checkpoint import RegisteredCheckpoint

    view, missing = FrameView(), []
    with FrameRows(paths, number) as rows:
        if ingested := rows.left_by(IngestCheckpoint):
            scan, image, why = load_colored(*ingested)
            view = replace(view, scan=scan, image=image)
            missing += [why] if why else []
        if registered := rows.seen(RegisteredCheckpoint.of_flow(stages, dict(paths))):
            made, row = registered
            view = replace(view, registered=made.vertices(row), pose=made.pose(row))
        elif aligned := rows.left_by(AlignCheckpoint):
            view = replace(view, pose=aligned[0].pose(aligned[1]))
        if projected := rows.left_by(ProjectCheckpoint):
            on_scan, row = projected
            view = replace(view, landmarks=on_scan.landmarks(row), landmark_source=on_scan.source(row))
        elif marked := rows.left_by(LandmarksCheckpoint):
            found, row = marked
            points = found.points(row)
            points = points if view.pose is None else transform(inverse(view.pose), points)
            view = replace(view, landmarks=points, landmark_source=found.source(row))
        view = replace(view, crossed=_crossed(rows, view.pose))
        if (baked := rows.left_by(BakeCheckpoint)) and baked[0].has(baked[1], TEXTURE):
            try:
                view = replace(view, texture=decode(baked[0].image_bytes(baked[1], TEXTURE)))
            except ImageFileError as error:
                missing.append(str(error))
    return replace(view, missing=tuple(missing))


def _crossed(rows: FrameRows, pose: Floats | None) -> Floats | None:
    """(k, 3) landmarks that disagree with the others, and those of its file that were not used, also of a frame that
    was rejected for them; None without.

    Args:
        pose: (4, 4) canonical -> scan, by which they are brought into the canonical frame; None: they stay.
    """
    from mimicme.pipeline.landmarks import N_LANDMARKS
    from mimicme.stages.align.checkpoint import AlignCheckpoint
    from mimicme.stages.landmarks.checkpoint import LandmarksCheckpoint

    marked, aligned = rows.of(LandmarksCheckpoint), rows.of(AlignCheckpoint)
    if marked is None:
        return None
    doubted = np.zeros(N_LANDMARKS, bool) if aligned is None else aligned[0].doubted(aligned[1])
    _, points = marked[0].crossed(marked[1], doubted)
    if not len(points):
        return None
    return points if pose is None else transform(inverse(pose), points)


def fitted_landmarks(workspace: Workspace, item: Item) -> dict[int, Fitted]:
    """What the stage that fits all landmarks together says of a sequence's frames, by number; nothing before it has
    run."""
    from mimicme.stages.align.checkpoint import AlignCheckpoint
    from mimicme.stages.landmarks.review import Fitted

    if not workspace.checkpoint(AlignCheckpoint.stage, item).is_file():
        return {}
    with workspace.read(AlignCheckpoint, item) as align:
        return {
            number: Fitted(align.doubted(row), status.ok, status.message)
            for row, (number, status) in enumerate(zip(align.numbers.tolist(), align.statuses, strict=True))
        }
