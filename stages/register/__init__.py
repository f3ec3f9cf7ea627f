"""register: template -> scan, non-rigid registration, tracked through the sequence.

Reads   ingest (scans, images), landmarks (68 points), align (rigid start, trusted landmarks); the same stage's
        checkpoint of the subject's neutral sequence, whose registered neutral becomes the template of the subject's
        other sequences.  A long sequence is tracked in parts (parts.py), which this stage then reads back and joins.
Writes  vertices (F, V, 3) f4 canonical frame, mm; pose (F, 4, 4) f8 canonical -> scan, stabilised on the skull;
        skin_seen (F, V) u1, where the scan shows the person's own surface and not hair or clothes, see skin.py;
        neutral (V, 3) f4, the most neutral registered frame of a sequence that others take theirs from; of detected
        landmarks, detector_offset (68, 3) f4 mm; where they are partly by hand, the attribute stretching_decision
        (mixed_landmarks.py); of who wears what looks like skin, worn (k,) i4: see
        `person.Person`; quality/*.
Fails   per frame: register-no-overlap, register-half, register-misfit, register-landmarks, register-folded.

The method is the optimal-step non-rigid ICP of Amberg, Romdhani and Vetter (2007), with these changes: the local
affine maps are eliminated in closed form (stiffness.py); targets are planes, rejected by normal, distance and
boundary, and robustly weighted (targets.py); a landmark spline comes first and the landmarks stay to the end
(spline.py, solver.py); a coarse level finds the way and the template's own resolution only fits the surface
(levels.py); the rest shape turns with the head (head_placing.py), and has its ears where the scan shows them
(ear_placing.py, ear_relief.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from mimicme.pipeline.stage import Stage, Task
from mimicme.stages.register.checkpoint import RegisteredCheckpoint, RegisteredWriter
from mimicme.stages.register.settings import PRESETS, RegisterSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mimicme.pipeline.arrays import Floats
    from mimicme.pipeline.checkpoint import CheckpointWriter
    from mimicme.pipeline.template import TemplateKey
    from mimicme.stages.register.frame import Registered
    from mimicme.stages.register.levels import Levels
    from mimicme.stages.register.track import SequenceTracker


@lru_cache(maxsize=2)
def template_levels(key: TemplateKey, coarse_vertices: int, membrane: float) -> Levels:
    """Everything about a template that no scan changes, once per worker."""
    from mimicme.stages.register.levels import build_levels

    return build_levels(key.template, coarse_vertices, membrane)


def parts(task: Task[RegisterSettings]) -> int:
    """How many parts a sequence is tracked in: by its length alone, and only from a neutral that is known."""
    from mimicme.stages.register.parts import count_parts

    count = count_parts(len(task.sequence.frames), task.settings.part_frames)
    return count if count > 1 and _neutral(task).vertices is not None else 1


class _Neutral(NamedTuple):
    """(V, 3) the registered neutral of a subject, None when a sequence has to find its own; and what was found with it:
    the detector's offset (68, 3), and vertices (k,) below what is worn; None where there is none."""

    vertices: Floats | None = None
    detector_offset: Floats | None = None
    worn: NDArray[np.int64] | None = None


def _neutral(task: Task[RegisterSettings]) -> _Neutral:
    """Of the subject of a sequence."""
    if task.neutral is None:
        return _Neutral()
    with RegisteredCheckpoint(task.neutral) as earlier:
        return _Neutral(earlier.neutral, earlier.detector_offset, earlier.worn)


def compute(task: Task[RegisterSettings], out: CheckpointWriter) -> None:
    """Register every frame of one sequence, or of a part of one; or join the parts."""
    from mimicme.pipeline.captures.expressions import NEUTRAL
    from mimicme.pipeline.checkpoint import frame_numerics
    from mimicme.pipeline.errors import FrameRejected
    from mimicme.pipeline.template import TemplateKey
    from mimicme.stages.register.frame import Frame
    from mimicme.stages.register.frames import open_frames
    from mimicme.stages.register.parts import read_parts, write_part
    from mimicme.stages.register.smoothing import smooth_sequence
    from mimicme.stages.register.track import SequenceTracker

    settings = task.settings
    template = task.load_template()
    levels = template_levels(TemplateKey(template), settings.coarse_vertices, settings.membrane)
    neutral = _neutral(task)

    with open_frames(task) as frames:
        numbers, statuses = frames.numbers, frames.align.statuses

        def load(row: int) -> Frame:
            return frames.load(row, frames.align.pose(row))

        tracker = SequenceTracker(template, levels, settings, *neutral)
        mine = range(len(numbers)) if task.part is None else task.part.rows(len(numbers))
        found: dict[int, Registered] = {}
        if task.parts:
            statuses, found = read_parts(task.parts)
        out.frames([numbers[row] for row in mine], [statuses[row] for row in mine])
        if not task.parts:
            rows = [row for row in mine if statuses[row].ok]
            order = (
                tracker.order(rows, frames.align.neutral_cost)
                if task.part is None
                else tracker.order_from_anchor(rows, frames.landmarks_and_confidence)
            )
            for row in order:
                frame = frames.load(row, frames.align.pose(row), settings.tell_skin)
                try:
                    with frame_numerics():
                        found[row] = tracker.register(frame).compact()
                except FrameRejected as error:
                    out.reject(row - mine.start, error)
        if task.part is not None:
            write_part(out, len(template.vertices), {row - mine.start: one for row, one in found.items()})
            return
        if settings.smooth_in_time:
            found |= smooth_sequence(tracker, found, load, task.sequence.expression == NEUTRAL)
        _write(out, len(template.vertices), found, tracker, neutral.vertices is not None)


def _write(
    out: CheckpointWriter,
    vertex_count: int,
    found: Mapping[int, Registered],
    tracker: SequenceTracker,
    personal: bool,
) -> None:
    """Write the registered frames of a whole sequence, by row, and the neutral if it was found here."""
    from mimicme.stages.register.mixed_landmarks import stretching_decision

    writer = RegisteredWriter(out, vertex_count)
    writer.begin_figures()
    for row, result in sorted(found.items()):
        writer.frame(row, result.vertices, result.pose, result.skin)
        first = result.number == tracker.neutral_number
        writer.measured(row, result.quality, first)
        if first and not personal:
            writer.stretching(stretching_decision(tracker.neutral_membrane, result.quality.landmarks_found))
        if first and tracker.neutral_oddity:
            out.note(
                row,
                "neutral-odd",
                f"It is the subject's neutral, though {tracker.neutral_oddity}: there is no calmer frame that could be "
                "registered. Look at its landmarks (`mimicme landmarks WORKSPACE --review`); where they lie right, "
                "capture a neutral: a calm whole face, its mouth closed.",
            )
    neutral = [result.vertices for result in found.values() if result.number == tracker.neutral_number]
    writer.neutral(
        neutral[0] if neutral else None, tracker.person.detector_offset, tracker.person.worn, personal
    )


def _takes_mb(settings: RegisterSettings, vertices: int) -> float:
    """`Stage.takes`, measured on the embedded template and a scan of its neutral (450 MB of 53,349 vertices)."""
    return 0.0085 * vertices


STAGE = Stage(
    name="register",
    version=24,
    settings=RegisterSettings,
    needs=("ingest", "landmarks", "align"),
    compute=compute,
    uses_label=True,
    reader=RegisteredCheckpoint,
    shapes=True,
    scope="neutral",
    settings_by_preset=PRESETS,
    memory="0.5 GB for a template of 10,000 vertices, 1.2 GB for 50,000; and 36 bytes a vertex and frame, "
    "a third of that for a part of a sequence; and what a decoded image takes, of textured scans",
    takes=_takes_mb,
    parts=parts,
)
