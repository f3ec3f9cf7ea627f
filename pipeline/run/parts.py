"""Items that are split into parts: which parts are still to be made, and when they can be joined (fork and join).

A part has a checkpoint of its own beside the item's, with a record that says what made it: the item's record and
which part it is.  So a run that was killed finds the parts that are there and current, and makes the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mimicme.pipeline.items import Item, Part
from mimicme.pipeline.run.plan import ItemState, Plan
from mimicme.pipeline.run.pool import Killed
from mimicme.pipeline.run.work import Job, Outcome
from mimicme.pipeline.stage import Stage


@dataclass
class _Split:
    """An item worked in parts: the job that joins them, the parts that have no outcome yet, and those that failed."""

    join: Job
    waiting: set[int]
    failed: dict[int, Outcome | Killed]


class PartScheduler:
    """Which jobs the items of one batch of a stage need, part by part.

    Args:
        plan: knows which checkpoints are current.
        stage: the stage.
        force: make current parts again too.
    """

    def __init__(self, plan: Plan, stage: Stage, force: bool) -> None:
        self._plan, self._stage, self._force = plan, stage, force
        # of others than a shard's own subjects other runs may be making some
        subjects = None if plan.shard is None else plan.catalogue.subjects
        self._existing = plan.workspace.parts(stage.name, subjects) if stage.parts else {}
        self._splits: dict[Item, _Split] = {}

    def ready_jobs(self, job: Job) -> list[Job]:
        """The jobs of an item that are ready to run: the item in one piece, the parts that it lacks, or their joining.

        Parts of other settings, other inputs or another cut are removed.
        """
        count = self._count(job)
        if count == 1:
            self.remove(job.item)
            return [job]
        workspace, item = self._plan.workspace, job.item
        missing: dict[int, Job] = {}
        paths = []
        for part in (Part(number, count) for number in range(1, count + 1)):
            path = workspace.part(self._stage.name, item, part)
            record = part_record(job.record, part)
            paths.append(path)
            if self._force or not self._plan.is_current(path, record):
                task = replace(job.task, part=part)
                missing[part.number] = replace(
                    job, task=task, path=path, record=record, followers=(), absent=False
                )
        keep = set(paths) - {one.path for one in missing.values()}
        self._remove(path for path in self._existing_of(item) if path not in keep)
        join = replace(job, task=replace(job.task, parts=tuple(paths)))
        self._splits[item] = _Split(join, set(missing), {})
        return [*missing.values()] or [join]

    def _count(self, job: Job) -> int:
        if self._stage.parts is None:
            return 1
        try:
            return self._stage.parts(job.task)
        except Exception:  # an input cannot be read, say: the item's own job says so, and fails alone
            return 1

    def finished(
        self, job: Job, outcome: Outcome | Killed, queue: deque[Job]
    ) -> tuple[Job, Outcome | Killed] | None:
        """What the end of a job means for its item.

        After the last part, the job that joins them goes to the front of the queue, so that the parts' files are
        soon removed.  A part that failed does not stop the others; they are there the next time.

        Returns:
            the item's job and its outcome; None while others of its parts, or their joining, are to be done.
        """
        if job.task.part is None:
            if not failed(outcome):
                self.remove(job.item)
            return job, outcome
        split = self._splits[job.item]
        split.waiting.discard(job.task.part.number)
        if failed(outcome):
            split.failed[job.task.part.number] = outcome
        if split.waiting:
            return None
        if split.failed:
            # the first by number, whichever failed first: the message does not depend on the number of jobs
            return split.join, split.failed[min(split.failed)]
        queue.appendleft(split.join)
        return None

    def remove(self, item: Item) -> None:
        """Remove every part of an item: its checkpoint is there, or is to be made in one piece."""
        split = self._splits.get(item)
        self._remove({*self._existing_of(item), *(split.join.task.parts if split else ())})

    def remove_vanished(self) -> None:
        """Remove the parts of sequences that are no longer among the captures."""
        for item in self._existing.keys() - {s.item for s in self._plan.catalogue.sequences}:
            self.remove(item)

    def _existing_of(self, item: Item) -> Iterable[Path]:
        return self._existing.get(item, {}).values()

    @staticmethod
    def _remove(paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)


def part_record(record: Mapping[str, Any], part: Part) -> dict[str, Any]:
    """What makes a part of an item that `record` makes."""
    return {**record, "part": [part.number, part.count]}


def resumable_items(
    plan: Plan, stage: Stage, states: Mapping[Item, ItemState], few: bool = False
) -> list[str]:
    """The items that a run resumes, because current parts of them are there: `S001/smile (2 of 5 parts)`.

    Args:
        few: only the folders of the catalogue's subjects are looked into, which are some of many.
    """
    said = []
    subjects = plan.catalogue.subjects if few else None
    for item, existing in sorted(plan.workspace.parts(stage.name, subjects).items()) if stage.parts else ():
        record = states[item].record if item in states and states[item].state != "done" else None
        there = [
            part
            for part, path in existing.items()
            if record is not None and plan.is_current(path, part_record(record, part))
        ]
        if there:
            said.append(f"{item} ({len(there)} of {there[0].count} parts)")
    return said


def failed(outcome: Outcome | Killed) -> bool:
    """Whether a job brought no checkpoint."""
    return isinstance(outcome, Killed) or outcome.error is not None
