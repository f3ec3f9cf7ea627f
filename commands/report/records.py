"""What the checkpoints of a workspace say: every sequence and frame, its figures, and what is out of date."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from mimicme.pipeline.checkpoint import Checkpoint, FrameStatus, status_after
from mimicme.pipeline.errors import CheckpointError, MimicmeError
from mimicme.pipeline.items import Item, Sequence
from mimicme.pipeline.landmarks import DETECTED, MANUAL
from mimicme.pipeline.review import BAD, GOOD, rejection
from mimicme.pipeline.run.checkpoint_index import DECISION
from mimicme.pipeline.run.status import read_status
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.workspace import Workspace

REVIEWED = rejection("").reason
"""The reason of frames that a person called bad."""
EXPECTED_ERROR, S2M_P95 = "expected_error", "s2m_p95"
"""The figures that the index shows, mm; lower is better."""

_ALL_CURRENT: Mapping[tuple[str, str], str] = MappingProxyType({})


@dataclass
class FrameRecord:
    """One frame: its last status over the stages that have seen it, and what they measured.

    Attributes:
        said: what the stage said that noted it, by code of a note; `message` has all of it.
        verdict: of a person who looked: `good`, `bad` or nothing.
        given, found: landmarks by hand or by file, and by a detector; None of a frame that no stage looked for any on.
        by_surface: whether its pose was refined on the surface; None of a frame that was not aligned.
    """

    number: int
    row: int
    stage: str = "none"
    ok: bool = True
    reason: str = ""
    note: str = ""
    message: str = ""
    verdict: str = ""
    quality: dict[str, float] = field(default_factory=dict)
    given: int | None = None
    found: int | None = None
    by_surface: bool | None = None
    said: dict[str, str] = field(default_factory=dict)


@dataclass
class ItemRecord:
    """One sequence: its frames, what stopped it if something did, and what of it is out of date.

    Attributes:
        units: of the figures in `FrameRecord.quality`, by name.
        decided: of the captures, before any stage ran (`decisions.decided`); decisions: of the stages, see
            `decision_sentence`.
    """

    item: Item
    expression: str
    frames: list[FrameRecord]
    failure: str = ""
    decided: list[str] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    units: dict[str, str] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        """How many frames are."""
        return sum(not frame.ok for frame in self.frames)

    def worst(self, figure: str) -> float | None:
        """Largest of a figure over the frames in use; None where none has it."""
        return max((f.quality[figure] for f in self.frames if f.ok and figure in f.quality), default=None)

    def to_record(self) -> dict[str, Any]:
        """For JSON; `from_record` takes it back."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> ItemRecord:
        """See `to_record`.

        Raises:
            KeyError, TypeError: it is none.
        """
        own = {**record, "item": Item(**record["item"])}
        own["frames"] = [FrameRecord(**frame) for frame in record["frames"]]
        return cls(**own)


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
    sequence: Sequence,
    stages: Iterable[Stage],
    outdated: Mapping[tuple[str, str], str] = _ALL_CURRENT,
) -> ItemRecord:
    """What the checkpoints of a sequence say; stages that have not run yet are left out.

    Args:
        stages: in order of the flow: the last of those that have seen a frame has the last word on it.
        outdated: as `read_outdated` says.

    A frame that a person called bad is rejected, though no stage said so.
    """
    frames = [FrameRecord(f.number, row) for row, f in enumerate(sequence.frames)]
    record = ItemRecord(sequence.item, sequence.expression, frames)
    for made_by in of_sequences(stages):
        stage = made_by.name
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
                _read_stage(record, made_by, checkpoint)
        except (MimicmeError, OSError, KeyError, ValueError) as error:
            record.failure = record.failure or f"{stage}: {error}"
    for frame, source in zip(record.frames, sequence.frames, strict=True):
        if source.verdict is None:
            continue
        frame.verdict = BAD if source.bad else GOOD
        if source.bad and frame.ok:
            said = rejection(source.verdict.reason)
            frame.ok, frame.reason, frame.message = False, said.reason, str(said)
    return record


def _read_stage(record: ItemRecord, stage: Stage, checkpoint: Checkpoint) -> None:
    record.decisions += [
        decision_sentence(name, str(checkpoint.attrs[name]))
        for name in checkpoint.attrs
        if name.endswith(DECISION)
    ]
    by_number = {frame.number: frame for frame in record.frames}
    numbers = checkpoint.numbers.tolist()
    _read_landmarks(by_number, stage, checkpoint)
    for number, status in zip(numbers, checkpoint.statuses, strict=True):
        frame = by_number.get(number)
        if frame is None or not frame.ok:  # later stages repeat what an earlier one rejected
            continue
        before = FrameStatus(frame.ok, frame.reason, frame.note, frame.message)
        now = status_after(before, status, stage.name, stage.shapes)
        frame.stage = stage.name
        frame.ok, frame.reason, frame.note, frame.message = now.ok, now.reason, now.note, now.message
        fresh = [code for code in now.note.split(",") if code not in before.note.split(",")]
        frame.said |= dict.fromkeys(fresh, now.message.removeprefix(before.message).strip())
    for name, figure in sorted(checkpoint.quality.items()):
        record.units[name] = figure.unit
        for number, value in zip(numbers, figure.values, strict=True):
            if number in by_number and np.isfinite(value):
                by_number[number].quality[name] = float(value)


def _read_landmarks(by_number: Mapping[int, FrameRecord], stage: Stage, checkpoint: Checkpoint) -> None:
    """How the frames that a stage did not reject came by their landmarks and pose, where it is one that says so."""
    from mimicme.stages.align.checkpoint import AlignCheckpoint
    from mimicme.stages.landmarks.checkpoint import LandmarksCheckpoint

    if stage.name not in (AlignCheckpoint.stage, LandmarksCheckpoint.stage):
        return
    name = "refined" if stage.name == AlignCheckpoint.stage else "source"
    try:
        values = np.asarray(checkpoint[name])
    except CheckpointError:  # of a version that did not say it
        return
    for number, status, value in zip(checkpoint.numbers.tolist(), checkpoint.statuses, values, strict=True):
        frame = by_number.get(number)
        if frame is None or not status.ok:
            continue
        if name == "refined":
            frame.by_surface = bool(value)
        else:
            frame.given = int(np.count_nonzero(value == MANUAL))
            frame.found = int(np.count_nonzero(value == DETECTED))


def decision_sentence(name: str, said: str) -> str:
    """A decision in words: `unit_decision`, `mm: the eyes are ...` -> `unit: mm, because the eyes are ...`.

    Args:
        name: of the attribute; what is decided stands before it where the sentence does not name it itself.
        said: `decided: why`, or a sentence without a colon, which stays as it is.
    """
    about = name.removesuffix(DECISION).replace("_", " ")
    decided, colon, why = said.partition(": ")
    named = about.casefold() in re.findall(r"\w+", decided.casefold())
    return ("" if named else f"{about}: ") + (f"{decided}, because {why}" if colon else decided)


def _failure(path: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "failed"
    for key in ("message", "error", "sentence", "what"):
        if isinstance(found, dict) and found.get(key):
            return str(found[key])
    return "failed"
