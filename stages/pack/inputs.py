"""What the checkpoints of a sequence say together about its frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline import items
from mimicme.pipeline.checkpoint import DAMAGE, Checkpoint, FrameStatus, without_damage
from mimicme.pipeline.errors import CheckpointError
from mimicme.pipeline.review import rejection
from mimicme.pipeline.stage import A, Stage
from mimicme.pipeline.whole_file import NO_ROOM
from mimicme.stages.register.checkpoint import RegisteredCheckpoint

STAGE_FAILED = "stage-failed"


@dataclass(frozen=True)
class PackInput:
    """One sequence and the checkpoints that exist for it, by stage name."""

    sequence: items.Sequence
    checkpoints: Mapping[str, Path]


class Inputs:
    """The opened checkpoints of one sequence, and what they say together about its frames."""

    def __init__(self, given: PackInput, stages: Sequence[Stage]) -> None:
        self.sequence = given.sequence
        self._stages = stages
        self._paths = given.checkpoints
        self._stack = ExitStack()
        self.checkpoints: dict[str, Checkpoint] = {}

    def __enter__(self) -> Inputs:
        for stage in self._stages:
            if stage.name in self._paths:
                checkpoint = stage.reader(self._paths[stage.name])
                self.checkpoints[stage.name] = self._stack.enter_context(checkpoint)
        try:
            self._check_rows()
        except CheckpointError:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _check_rows(self) -> None:
        for stage, checkpoint in self.checkpoints.items():
            if not np.array_equal(checkpoint.numbers, self.numbers):
                raise CheckpointError(
                    f"the frames of '{stage}' are not those of the other stages",
                    where=checkpoint.path,
                    todo=f"Run `mimicme {stage}` with --force.",
                )

    @property
    def numbers(self) -> NDArray[np.int64]:
        for checkpoint in self.checkpoints.values():
            return checkpoint.numbers
        return np.array([f.number for f in self.sequence.frames], np.int64)

    @property
    def lost(self) -> str | None:
        """The first stage whose failure leaves the sequence without vertices."""
        if self.registered is not None:
            return None
        return next((s.name for s in self._stages if s.shapes and s.name not in self.checkpoints), None)

    def of(self, kind: type[A]) -> A | None:
        """What a stage left, by its reader; None where it left nothing."""
        found = self.checkpoints.get(kind.stage)
        return found if isinstance(found, kind) else None

    @cached_property
    def registered(self) -> RegisteredCheckpoint | None:
        """What has the vertices that count; None when nothing has."""
        found = RegisteredCheckpoint.of_flow(self._stages, self._paths)
        return None if found is None else self._stack.enter_context(found)

    def statuses(self) -> list[FrameStatus]:
        """One status per frame, its notes and sentences joined over the stages; what is called bad is rejected."""
        tables = {stage: checkpoint.statuses for stage, checkpoint in self.checkpoints.items()}
        bad = {number: rejection(reason) for number, reason in self.sequence.bad.items()}
        found = []
        for row, number in enumerate(self.numbers.tolist()):
            status = self._status({stage: table[row] for stage, table in tables.items()})
            error = bad.get(number)
            if error is not None and (status.ok or status.reason == error.reason):
                status = FrameStatus(False, error.reason, status.note, str(error))
            found.append(status)
        return found

    def _status(self, said: Mapping[str, FrameStatus]) -> FrameStatus:
        notes: list[str] = []
        sentences: list[str] = []
        for stage in (s for s in self._stages if s.name in said):
            status = said[stage.name]
            if not status.ok and stage.shapes:
                return FrameStatus(False, status.reason, ",".join(notes), status.message)
            notes += [n for n in status.note.split(",") if n and n not in notes]
            if not status.ok:
                notes.append(f"{stage.name}:{status.reason}")
            # a stage repeats what the stages before it said, then adds to it
            fresh = status.message
            for old in sentences:
                fresh = fresh.replace(old, "").strip()
            if fresh:
                sentences.append(fresh)
        if self.lost:
            why = (
                f"The stage '{self.lost}' has no result for this sequence: it was not run, or it failed, and then "
                "`mimicme status --failed` says why."
            )
            return FrameStatus(False, STAGE_FAILED, ",".join(notes), why)
        for stage in (s for s in self._stages if s.name not in said):
            notes.append(f"no-{stage.name}")
            sentences.append(f"The stage '{stage.name}' has no result for this sequence.")
        return FrameStatus(True, "", ",".join(notes), " ".join(sentences))

    def quality(self) -> Iterator[tuple[str, NDArray[np.float32], str]]:
        """Figures of all stages: name, (F,) values, unit."""
        for checkpoint in self.checkpoints.values():
            for name, figure in checkpoint.quality.items():
                yield name, figure.values, figure.unit


@contextmanager
def opened(given: PackInput, stages: Sequence[Stage]) -> Iterator[Inputs]:
    """The opened checkpoints of a sequence; what cannot be read of them is an error that names the checkpoint.

    Raises:
        CheckpointError: one is damaged, and removed, so that the next run makes it anew; or they do not fit.
    """
    try:
        with Inputs(given, stages) as found:
            yield found
    except DAMAGE as error:  # as of a chunk that does not fit its checksum
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        told = without_damage(given.checkpoints.values(), error)
        if told is not error or isinstance(error, CheckpointError):
            raise told from error
        raise CheckpointError(
            "this sequence cannot be copied into the release",
            where=given.sequence.item,
            seen=(str(error).splitlines() or [type(error).__name__])[0],
            todo=f"Check the disk; then run with --force --only '{given.sequence.item}'.",
        ) from error
