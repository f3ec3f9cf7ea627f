"""A long sequence in parts: each is tracked by itself, from an anchor frame; joined, they are one sequence again.

A part holds what tracking found, before anything is smoothed: what spans the joints - temporal smoothing, pose
refinement, the final assessment - is done once, over the whole sequence.  So a joint between two parts is treated
like any other pair of neighbouring frames, and what little the two trackings differ by there is smoothed with the
rest of the sequence's jitter.  Memory: a part holds 12 bytes a vertex and frame of its own, the joining 36 of the whole
sequence, as much as a sequence in one piece; scans are read one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mimicme.pipeline.checkpoint import FrameStatus
from mimicme.pipeline.errors import CheckpointError
from mimicme.stages.register.checkpoint import PartCheckpoint, PartWriter

if TYPE_CHECKING:  # a run that only counts parts needs no more: tracking brings Open3D and what is compiled
    from mimicme.pipeline.checkpoint import CheckpointWriter
    from mimicme.stages.register.frame import Registered


def count_parts(frames: int, part_frames: int) -> int:
    """How many parts of about `part_frames` a sequence is cut into: 1 below one and a half of them; 0: never cut."""
    return 1 if part_frames == 0 else max(1, (2 * frames + part_frames) // (2 * part_frames))


def write_part(out: CheckpointWriter, vertex_count: int, found: Mapping[int, Registered]) -> None:
    """Write what was found (by row of the part), with all that `read_parts` needs to give it back unchanged."""
    writer = PartWriter(out, vertex_count)
    for row, one in sorted(found.items()):
        writer.frame(row, one.vertices, one.pose, one.skin)
        writer.assessed(row, one.quality, one.checks)
    writer.close()


def read_parts(paths: tuple[Path, ...]) -> tuple[list[FrameStatus], dict[int, Registered]]:
    """Status of every row of the whole sequence, and what was found by its row, from its parts in order.

    Raises:
        CheckpointError: a part cannot be read.
    """
    from mimicme.stages.register.frame import Registered

    statuses: list[FrameStatus] = []
    found: dict[int, Registered] = {}
    for path in paths:
        with _readable(path) as part:
            numbers, quality, checks = part.numbers.tolist(), part.all_measured, part.all_checks
            for row in part.ok_rows:
                found[len(statuses) + row] = Registered(
                    numbers[row],
                    part.all_vertices[row],
                    part.pose(row),
                    quality[row],
                    checks[row],
                    part.skin(row),
                )
            statuses += part.statuses
    return statuses, found


@contextmanager
def _readable(path: Path) -> Iterator[PartCheckpoint]:
    """A part, damage to which is told with its name: it would be taken for current the next time again."""
    try:
        with PartCheckpoint(path) as part:
            yield part
    except OSError as error:
        raise CheckpointError(
            "a part of the sequence is damaged",
            where=path,
            seen=error,
            todo="Delete that file, and run again.",
        ) from error
