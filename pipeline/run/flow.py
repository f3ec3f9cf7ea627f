"""Depth first: every item begins as soon as what it waits for is there, and no stage waits for another to end.

What an item waits for is of its own subject: the earlier stages of its own sequence, and, where the stage's scope says
so, those of the others.  So each subject passes through the stages by itself, subjects begin one after the other when
workers are about to have nothing to do, and what continues comes before what begins: after some minutes the first
people are finished, the files that a worker reads next are those that were just written, and what is wrong with the
last stage shows at once.

A stage of scope `corpus`, whose items wait for everybody's, ends one such flow and is one of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby

from mimicme.pipeline.errors import listed
from mimicme.pipeline.items import Item, Sequence
from mimicme.pipeline.run.parts import PartScheduler
from mimicme.pipeline.run.plan import ItemState, Plan
from mimicme.pipeline.run.pool import Killed
from mimicme.pipeline.run.run_types import StageResult
from mimicme.pipeline.run.selection import Selection
from mimicme.pipeline.run.work import Job, Outcome
from mimicme.pipeline.stage import NEUTRAL_FIRST, Stage


def legs(stages: Iterable[Stage], alone: Callable[[Stage], bool]) -> Iterator[tuple[Stage, ...]]:
    """The stages, in order, in runs of those that can flow into each other.

    Args:
        alone: whether a stage waits for everything before it.
    """
    for apart, group in groupby(stages, key=alone):
        together = tuple(group)
        yield from ((stage,) for stage in together) if apart else [together]


class Flow:
    """The items of some stages, as they become ready.

    Args:
        plan: knows the states; those of the stages before these must be there.
        stages: in order.
        selection: which sequences each runs over.
        force: make again what is current.
        make_job: the job of an item that is to be made.
        results: by stage; what is skipped and blocked is counted here.
        looked_at: called with each item that has a state, whether it is made, and how many of its frames are there, in
            parts; before its jobs are handed out.
        person_over: called with each subject that has passed through all the stages.

    Attributes:
        sequences: how many were asked for, of the subjects that are not settled; over: of these, those that have passed
            through all the stages.
    """

    def __init__(
        self,
        plan: Plan,
        stages: tuple[Stage, ...],
        selection: Selection,
        force: bool,
        make_job: Callable[[Stage, Sequence, ItemState], Job],
        results: Mapping[str, StageResult],
        looked_at: Callable[[Stage, Sequence, bool, int], None] = lambda *_: None,
        person_over: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._plan, self._stages, self._selection, self._force = plan, stages, selection, force
        self._make_job, self._results, self._looked_at = make_job, results, looked_at
        self._person_over = person_over
        for stage in stages:
            plan.begin(stage)
        self._parts = {stage.name: PartScheduler(plan, stage, force) for stage in stages}
        for scheduler in self._parts.values():
            scheduler.remove_vanished()
        self._people: dict[str, _Person] = {}
        requested = {s: tuple(own) for s, own in groupby(selection.requested, key=lambda s: s.item.subject)}
        for subject in [subject for subject in requested if subject in plan.settled]:
            for stage in stages:
                results[stage.name].skipped += len(selection.of_subject(stage, subject, plan.neutral_of))
            del requested[subject]
        self.sequences, self.over = sum(map(len, requested.values())), 0
        # the longest first, so that no long one is alone at the end (LPT scheduling)
        frames = {subject: sum(len(s.frames) for s in own) for subject, own in requested.items()}
        self._waiting = deque(sorted(requested, key=lambda subject: (-frames[subject], subject)))

    @property
    def to_begin(self) -> bool:
        """Whether there are subjects that have not begun."""
        return bool(self._waiting)

    def begin(self) -> list[Job]:
        """The jobs with which the next subject begins; none where everything of it is current, say."""
        subject = self._waiting.popleft()
        person = self._people[subject] = _Person(self._stages, subject, self._plan, self._selection)
        return self._advance(person)

    def check_finished(self) -> None:
        """That every item has come to its end, when there are no jobs left.

        Raises:
            RuntimeError: one waits for something that never comes: an error of this program.
        """
        if self._people or self._waiting:
            waiting = [str(item) for person in self._people.values() for item in person.undecided]
            raise RuntimeError(
                f"nothing is left to do, and these wait: {listed(waiting or self._waiting, 5)}"
            )

    def finished(
        self, job: Job, outcome: Outcome | Killed, queue: deque[Job]
    ) -> tuple[Job, Outcome | Killed] | None:
        """What the end of a job means for its item; see `PartScheduler.finished`."""
        return self._parts[job.stage.name].finished(job, outcome, queue)

    def after(self, job: Job) -> list[Job]:
        """The jobs that an item's end makes ready; its state must be noted in the plan."""
        person = self._people[job.item.subject]
        person.decided(job.stage, job.item)
        return self._advance(person)

    def _advance(self, person: _Person) -> list[Job]:
        jobs: list[Job] = []
        for stage, sequence in person.ready():
            if made := self._jobs(stage, sequence):
                jobs += made
            else:
                person.decided(stage, sequence.item)
        self.over += person.newly_over()
        if person.done:
            del self._people[person.subject]
            self._person_over(person.subject)
        return jobs

    def _jobs(self, stage: Stage, sequence: Sequence) -> list[Job]:
        """The jobs of an item that is to be made; none of one that is current or blocked, which is noted."""
        plan, parts, result = self._plan, self._parts[stage.name], self._results[stage.name]
        item_state = plan.state_of(stage, sequence)
        current = item_state.state == "done" and not self._force
        blocked = item_state.state == "blocked" or item_state.record is None
        if current or blocked:
            self._looked_at(stage, sequence, False, 0)
        if current:
            result.skipped += 1
            # a failure that a changed setting led to and its return undid
            plan.workspace.failure(stage.name, sequence.item).unlink(missing_ok=True)
            parts.remove(sequence.item)
        elif blocked:
            result.blocked += 1
            if item_state.state == "blocked":
                # what they were made from is gone
                parts.remove(sequence.item)
            plan.states[stage.name, sequence.item] = ItemState("blocked", item_state.reason)
        else:
            jobs = parts.ready_jobs(self._make_job(stage, sequence, item_state))
            there = len(sequence.frames) - sum(job.frame_count for job in jobs)
            self._looked_at(stage, sequence, True, there)
            return jobs
        return []


class _Person:
    """A subject on its way: which of its items have no state yet, and which of these wait for nothing more.

    Attributes:
        done: every item has a state.
    """

    def __init__(self, stages: tuple[Stage, ...], subject: str, plan: Plan, selection: Selection) -> None:
        self.subject = subject
        self._stages, self._plan, self._selection = stages, plan, selection
        self._ahead = deque(stages)
        self._open: dict[str, list[Sequence]] = {}
        """By stage: the sequences whose state was not looked at."""
        self._undecided: dict[str, set[Item]] = {}
        """By stage: these, and those whose jobs were handed out."""
        self._over: set[Item] = set()
        self._entered: set[Item] = set()

    @property
    def done(self) -> bool:
        return not self._ahead and not any(self._undecided.values())

    @property
    def undecided(self) -> list[Item]:
        """The items that have no end yet, of all stages."""
        return sorted(set().union(*self._undecided.values()))

    def decided(self, stage: Stage, item: Item) -> None:
        """An item was made, failed, was found current or is blocked."""
        self._undecided[stage.name].discard(item)

    def newly_over(self) -> int:
        """How many of the requested sequences have passed through all the stages since it was last asked."""
        if self._ahead:
            return 0
        pending = set().union(*self._undecided.values())
        over = {item for item in self._entered - pending if item not in self._over}
        self._over |= over
        return len(over & {s.item for s in self._selection.requested_of(self.subject)})

    def ready(self) -> Iterator[tuple[Stage, Sequence]]:
        """The items that wait for nothing more, in order of the stages: what is decided of one while the next is asked
        for counts."""
        for stage in self._stages:
            if stage.name not in self._open and not self._enter(stage):
                return
            if not self._open[stage.name]:
                continue
            # of earlier stages, which the iteration has passed
            waiting = set().union(*(self._undecided.get(need, ()) for need in stage.needs))
            left = []
            for sequence in self._open[stage.name]:
                if sequence.item in waiting or self._waits_for_others(stage, sequence.item):
                    left.append(sequence)
                else:
                    yield stage, sequence
            self._open[stage.name] = left

    def _enter(self, stage: Stage) -> bool:
        """Find the sequences of a stage; False while the subject's neutral, which may be one, can still turn out to
        be another."""
        if self._neutral_open(stage):
            return False
        self._ahead.popleft()
        self._plan.look_again(self.subject)
        own = self._selection.of_subject(stage, self.subject, self._plan.neutral_of)
        # the longest first, and before all the neutral, for which the others wait
        first = self._plan.neutral_of(self.subject) if stage.scope in NEUTRAL_FIRST else None
        self._open[stage.name] = sorted(own, key=lambda s: (s.item != first, -len(s.frames), s.item))
        self._undecided[stage.name] = {s.item for s in own}
        self._entered |= self._undecided[stage.name]
        return True

    def _neutral_open(self, stage: Stage) -> bool:
        if stage.name in self._selection.before_neutrals or not self._plan.is_looked_for(self.subject):
            return False
        return any(self._undecided[s.name] for s in self._stages_before(stage) if s.most_neutral is not None)

    def _stages_before(self, stage: Stage) -> tuple[Stage, ...]:
        return self._stages[: self._stages.index(stage)]

    def _waits_for_others(self, stage: Stage, item: Item) -> bool:
        """Whether an item waits for another of its subject: for the neutral, or as the neutral for all."""
        if stage.scope not in NEUTRAL_FIRST:
            return False
        neutral = self._plan.neutral_of(self.subject)
        if item != neutral:
            return neutral in self._undecided[stage.name]
        return stage.scope == "subject" and any(self._undecided[s.name] for s in self._stages_before(stage))
