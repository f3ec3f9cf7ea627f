"""A job for a worker process, and its outcome."""

from __future__ import annotations

import math
import sys
import time
import traceback as tracebacks
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mimicme.pipeline.checkpoint import fingerprint, without_damage, writing
from mimicme.pipeline.errors import MimicmeError, ShortageError, UsageError
from mimicme.pipeline.items import Item
from mimicme.pipeline.numerics.memory import for_want_of_memory, hold_blas_buffers, not_enough
from mimicme.pipeline.review import left_out
from mimicme.pipeline.run.checkpoint_index import IndexEntry, read_entry
from mimicme.pipeline.run.neutrals import STAND_IN_DECISION, STANDS_IN, stand_in_sentence
from mimicme.pipeline.stage import Stage, Task


@dataclass(frozen=True)
class Job:
    """One item, or a part of one, for a worker.

    Attributes:
        path, record: of the checkpoint that it writes, and of what makes it.
        priority: the larger, the sooner: how many stages come before its own, because what goes on comes before what
            begins.
        followers: the next items of its sequence, which wait for nothing but it and one another, in order: the rest
            of its stretch.  What of their records is not known before it is made is None; see `after`.
        absent: there was no checkpoint when it was handed out.
        made: fingerprints of what its stretch has made so far, by stage.
    """

    stage: Stage[Any]
    task: Task[Any]
    path: Path
    record: Mapping[str, Any]
    priority: int = 0
    followers: tuple[Job, ...] = ()
    absent: bool = False
    made: Mapping[str, str] = field(default_factory=dict)

    @property
    def item(self) -> Item:
        return self.task.sequence.item

    @property
    def shared(self) -> tuple[object, ...]:
        """What it and its followers have in common with the others of their stages: a worker is sent it once
        (`Worker.give`)."""
        return tuple(
            one
            for job in (self, *self.followers)
            for one in (job.stage, job.task.settings, job.task.captures)
        )

    def after(self, outcome: Outcome) -> Job | None:
        """The next item of its stretch, with the rest of it; None where this one failed, or is the last.

        It follows from the job and its outcome alone: who does the work goes on with it, and who handed it out knows
        without a word what that is.
        """
        summary = None if outcome.entry is None or outcome.error is not None else outcome.entry[1]
        if not self.followers or summary is None:
            return None
        made = {**self.made, self.stage.name: summary.fingerprint}
        first, *rest = self.followers
        record = _with_inputs(first.record, made)
        return replace(first, record=record, followers=tuple(rest), made=made)

    @property
    def frame_count(self) -> int:
        """Frames that it works on for the first time: of a join none, its parts did them."""
        frames = len(self.task.sequence.frames)
        if self.task.part is not None:
            return len(self.task.part.rows(frames))
        return 0 if self.task.parts else frames

    def limit_s(self, frame_limit_s: float) -> float:
        """Seconds that it may take, if a frame may take so many: of a neutral that makes a reference of its subject's
        other sequences for these too; of what learns from all sequences no end."""
        if frame_limit_s <= 0 or self.task.corpus is not None:
            return math.inf
        frames = self.frame_count or len(self.task.sequence.frames)
        return frame_limit_s * max(frames, 1) * (1 + len(self.task.siblings))


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job.

    Attributes:
        seconds: wall time; NaN: not known, because the worker died, also one that had made all of it before.
        peak_mb: largest resident memory of the worker so far, in MB; NaN: not known.
        cpu_s: CPU seconds of the worker, of all its threads, user and system; NaN: not known.
        entry: what the checkpoint index keeps of the checkpoint, read where there are many workers to do it.
        error: one sentence; None when the checkpoint was written.
        usage: the error is not the item's (a package is missing): no other item would do better.
    """

    seconds: float
    peak_mb: float
    error: str | None = None
    kind: str = ""
    traceback: str = ""
    usage: UsageError | None = None
    cpu_s: float = math.nan
    entry: IndexEntry | None = None


def _with_inputs(record: Mapping[str, Any], made: Mapping[str, str]) -> Mapping[str, Any]:
    """A record with the fingerprints of what was made meanwhile, by stage."""
    return {**record, "inputs": {name: made.get(name, known) for name, known in record["inputs"].items()}}


def execute(job: Job) -> Outcome:
    """Run one job: write its checkpoint.  Runs in a worker."""
    began, cpu_began = time.monotonic(), time.process_time()
    try:
        if job.absent and (entry := _made_meanwhile(job)) is not None:
            return Outcome(math.nan, math.nan, entry=entry)
        hold_blas_buffers()
        with writing(
            job.path,
            stage=job.stage.name,
            item=str(job.item),
            made_by=job.record,
            captures_root=job.task.captures.root,
            left_out=left_out(job.record.get("review", ())),
        ) as out:
            if tried := job.record.get(STANDS_IN):
                out.attrs[STAND_IN_DECISION] = stand_in_sentence(tried)
            job.stage.compute(job.task, out)
        entry = read_entry(job.path) if job.task.part is None else None
    except Exception as error:  # the one place where everything is caught: one item must not end the run
        return failed_outcome(without_damage(_read_by(job.task), error), began)
    return Outcome(time.monotonic() - began, _peak_mb(), cpu_s=time.process_time() - cpu_began, entry=entry)


def _made_meanwhile(job: Job) -> IndexEntry | None:
    """The entry of a checkpoint that a worker wrote and died before it could say so; None: there is none."""
    entry = read_entry(job.path)
    summary = None if entry is None else entry[1]
    return entry if summary is not None and summary.record_fingerprint == fingerprint(job.record) else None


def _read_by(task: Task[Any]) -> list[Path]:
    """The checkpoints that a job may have read, but for a whole corpus."""
    siblings = (path for inputs in task.siblings.values() for path in inputs.values())
    found = [*task.inputs.values(), *siblings, *task.parts]
    return [*found, task.neutral] if task.neutral is not None else found


def failed_outcome(error: Exception, began: float) -> Outcome:
    """The outcome of work that began at `began` (`time.monotonic`) and raised `error`."""
    return Outcome(
        time.monotonic() - began,
        _peak_mb(),
        sentence_of(error),
        type(error).__name__,
        "".join(tracebacks.format_exception(error)),
        error if isinstance(error, UsageError) else None,
    )


def sentence_of(error: BaseException) -> str:
    """What an error says, or what it is of."""
    if isinstance(error, MimicmeError):
        return str(error)
    if isinstance(error, ShortageError):
        return str(error)
    if isinstance(error, MemoryError):
        return not_enough()
    said = " ".join(str(error).split())
    named = f"{type(error).__name__}: {said[:300]}" if said else type(error).__name__
    return f"{not_enough()} ({named})" if for_want_of_memory(error) else named


def _peak_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    if sys.platform == "win32":
        return float("nan")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
