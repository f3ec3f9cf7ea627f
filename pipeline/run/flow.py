"""Depth first: every item begins as soon as what it waits for is there, and no stage waits for another to end.

What an item waits for is of its own subject: the earlier stages of its own sequence, and, where the stage's scope says
so, those of the others.  So each subject passes through the stages by itself, subjects begin one after the other when
workers are about to have nothing to do, and what continues comes before what begins: after some minutes the first
people are finished, the files that a worker reads next are those that were just written, and what is wrong with the
last stage shows at once.

The items of a sequence that wait for nothing but one another are handed out together, as a stretch: who makes the first
goes on with the next (`Job.after`).  An item goes along where it is known that it will be made: it has no checkpoint
yet.  Its turn has come when the one before it has its end, as with any other.

A stage of scope `corpus`, whose items wait for everybody's, ends one such flow and is one of its own.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from heapq import heappop, heappush
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
                results[stage.name].skipped += len(
                    selection.of_subject(stage, subject, plan.included_neutral_of)
                )
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

    def after(self, job: Job, outcome: Outcome | Killed) -> list[Job]:
        """The jobs that an item's end makes ready; its state must be noted in the plan."""
        person = self._people[job.item.subject]
        following = None if isinstance(outcome, Killed) else job.after(outcome)
        if following is not None:
            self._goes_on(following)
        else:
            for one in job.followers:
                person.put_back(one.stage, one.item)
        person.decided(job.stage, job.item)
        return self._advance(person)

    def _goes_on(self, job: Job) -> None:
        """The turn of an item has come that was handed out with the one before it."""
        stage, task = job.stage, job.task
        self._plan.states[stage.name, job.item] = ItemState(
            "pending", "not made yet", job.record, task.inputs, task.neutral
        )
        self._looked_at(stage, task.sequence, True, 0)

    def _advance(self, person: _Person) -> list[Job]:
        jobs: list[Job] = []
        with self._plan.index.each_once():
            for stage, sequence in person.ready():
                if made := self._jobs(person, stage, sequence):
                    jobs += made
                else:
                    person.decided(stage, sequence.item)
        self.over += person.newly_over()
        if person.done:
            del self._people[person.subject]
            self._person_over(person.subject)
        return jobs

    def _jobs(self, person: _Person, stage: Stage, sequence: Sequence) -> list[Job]:
        """The jobs of an item that is to be made; none of one that is current or blocked, which is noted."""
        plan, parts, result = self._plan, self._parts[stage.name], self._results[stage.name]
        item_state = plan.state_of(stage, sequence)
        current = item_state.state == "done" and not self._force
        blocked = item_state.state == "blocked" or item_state.record is None
        if current or blocked:
            self._looked_at(stage, sequence, False, 0)
        if current:
            result.skipped += 1
            if plan.has_failure(stage.name, sequence.item):
                # that a changed setting led to and its return undid
                plan.workspace.failure(stage.name, sequence.item).unlink(missing_ok=True)
            parts.remove(sequence.item)
        elif blocked:
            result.blocked += 1
            if item_state.state == "blocked":
                # what they were made from is gone
                parts.remove(sequence.item)
            plan.states[stage.name, sequence.item] = ItemState("blocked", item_state.reason)
        else:
            # it is tried now, whatever became of it before: nobody takes the place of a neutral that failed until then
            plan.states[stage.name, sequence.item] = replace(item_state, state="pending")
            job = self._make_job(stage, sequence, item_state)
            jobs = parts.ready_jobs(replace(job, followers=self._followers(person, stage, sequence)))
            there = len(sequence.frames) - sum(job.frame_count for job in jobs)
            self._looked_at(stage, sequence, True, there)
            return jobs
        return []

    def _followers(self, person: _Person, stage: Stage, sequence: Sequence) -> tuple[Job, ...]:
        """The rest of the stretch that begins with an item; the person is told that they are handed out."""
        made, found = [stage.name], []
        for later in self._stages[self._stages.index(stage) + 1 :]:
            # into how many parts one is cut may follow from what is not made yet
            if later.parts is not None or not person.may_follow(later, sequence.item, made):
                break
            item_state = self._plan.follower(later, sequence, made, self._force)
            if item_state is None:
                break
            person.take(later, sequence.item)
            made.append(later.name)
            found.append(self._make_job(later, sequence, item_state))
        return tuple(found)


class _Person:
    """A subject on its way: which of its items have no state yet, and which of these wait for nothing more.

    What an item's state makes ready is found from what waits for it, so that a state costs as much in a subject of
    thousands of sequences as in one of twenty.

    Attributes:
        done: every item has a state.
    """

    def __init__(self, stages: tuple[Stage, ...], subject: str, plan: Plan, selection: Selection) -> None:
        self.subject = subject
        self._stages, self._plan, self._selection = stages, plan, selection
        self._places = {stage.name: place for place, stage in enumerate(stages)}
        self._entered = 0
        """So many of the stages have been."""
        self._open: list[dict[Item, tuple[int, Sequence]]] = []
        """By stage: the sequences whose state was not looked at, with their places in its order."""
        self._taken: dict[tuple[int, Item], tuple[int, Sequence]] = {}
        """Likewise those that are handed out with an earlier item of theirs, whose turn has not come."""
        self._undecided: list[set[Item]] = []
        """By stage: these, and those whose jobs were handed out."""
        self._left: Counter[Item] = Counter()
        """In how many stages each is undecided."""
        self._pending = 0
        self._to_look_at: list[tuple[int, int, Item]] = []
        """A heap by stage and place: what may have become ready.  What was not is pushed again by what it waits for."""
        self._requested = frozenset(s.item for s in selection.requested_of(subject))
        self._through: list[Item] = []
        """Undecided nowhere, as far as the stages were entered; not told of yet."""
        self._over: set[Item] = set()

    @property
    def done(self) -> bool:
        return self._entered == len(self._stages) and not self._pending

    @property
    def undecided(self) -> list[Item]:
        """The items that have no end yet, of all stages."""
        return sorted(set().union(*self._undecided))

    def decided(self, stage: Stage, item: Item) -> None:
        """An item was made, failed, was found current or is blocked."""
        self._plan.decided(stage, item)
        place = self._places[stage.name]
        self._taken.pop((place, item), None)
        if item not in self._undecided[place]:
            return
        self._undecided[place].remove(item)
        self._pending -= 1
        self._left[item] -= 1
        if not self._left[item]:
            self._through.append(item)
        for later in range(place + 1, self._entered):
            if stage.name in self._stages[later].needs:
                self._look_at(later, item)
        if stage.scope in NEUTRAL_FIRST and self._plan.neutral_choice(self.subject).finds_own(item):
            self._look_at_all(place)
        if not self._undecided[place]:
            self._look_at_neutrals(place + 1)

    def may_follow(self, stage: Stage, item: Item, made: Collection[str]) -> bool:
        """Whether an item waits for nothing but those that these stages make of its sequence."""
        place = self._places[stage.name]
        return place < self._entered and item in self._open[place] and not self._waits(place, item, made)

    def take(self, stage: Stage, item: Item) -> None:
        """An item is handed out with an earlier one of its sequence."""
        place = self._places[stage.name]
        self._taken[place, item] = self._open[place].pop(item)

    def put_back(self, stage: Stage, item: Item) -> None:
        """It was not made after all: it is to be looked at when its turn comes."""
        place = self._places[stage.name]
        self._open[place][item] = self._taken.pop((place, item))
        self._look_at(place, item)

    def newly_over(self) -> int:
        """How many of the requested sequences have passed through all the stages since it was last asked."""
        if self._entered < len(self._stages):
            return 0
        over = {item for item in self._through if not self._left[item]} - self._over
        self._through.clear()
        self._over |= over
        return len(over & self._requested)

    def ready(self) -> Iterator[tuple[Stage, Sequence]]:
        """The items that wait for nothing more, in order of the stages: what is decided of one while the next is asked
        for counts."""
        while True:
            while self._entered < len(self._stages) and self._enter(self._stages[self._entered]):
                pass
            if not self._to_look_at:
                return
            place, _, item = heappop(self._to_look_at)
            if item in self._open[place] and not self._waits(place, item):
                yield self._stages[place], self._open[place].pop(item)[1]

    def _enter(self, stage: Stage) -> bool:
        """Find the sequences of a stage; False while the subject's neutral, which may be one, can still turn out to
        be another."""
        if self._neutral_open(stage):
            return False
        place = self._entered
        self._entered += 1
        self._plan.look_again(self.subject)
        own = self._selection.of_subject(stage, self.subject, self._plan.included_neutral_of)
        # the longest first, and before all the neutral, for which the others wait
        first = self._plan.neutral_of(self.subject) if stage.scope in NEUTRAL_FIRST else None
        ordered = sorted(own, key=lambda s: (s.item != first, -len(s.frames), s.item))
        self._open.append({s.item: (rank, s) for rank, s in enumerate(ordered)})
        self._undecided.append(set(self._open[place]))
        self._left.update(s.item for s in ordered)
        self._pending += len(ordered)
        for item in self._open[place]:
            self._look_at(place, item)
        return True

    def _look_at(self, place: int, item: Item) -> None:
        found = self._open[place].get(item)
        if found is not None:
            heappush(self._to_look_at, (place, found[0], item))

    def _look_at_all(self, place: int) -> None:
        for item in self._open[place]:
            self._look_at(place, item)

    def _look_at_neutrals(self, first: int) -> None:
        """Of the stages from the first one on whose neutral waits for everybody's items, and of those where all wait
        for another one to be found."""
        choice = self._plan.neutral_choice(self.subject)
        for place in range(first, self._entered):
            if choice.passed and self._stages[place].scope in NEUTRAL_FIRST:
                self._look_at_all(place)
            elif self._stages[place].scope == "subject":
                self._look_at(place, choice.item)

    def _neutral_open(self, stage: Stage) -> bool:
        if stage.name in self._selection.before_neutrals or not self._plan.is_looked_for(self.subject):
            return False
        return self._neutrality_open()

    def _neutrality_open(self) -> bool:
        """Whether it is not known yet how calm each of the sequences is."""
        return any(
            self._undecided[k] for k in range(self._entered) if self._stages[k].most_neutral is not None
        )

    def _waits(self, place: int, item: Item, made: Collection[str] = ()) -> bool:
        """Whether an item waits for an earlier stage of its own sequence that is not among these, or for another of
        its subject: for the neutral, or as the neutral for all."""
        stage = self._stages[place]
        needs = (self._places[need] for need in stage.needs if need in self._places and need not in made)
        if any(item in self._undecided[need] for need in needs):
            return True
        if stage.scope not in NEUTRAL_FIRST:
            return False
        choice = self._plan.neutral_choice(self.subject)
        if choice.passed and item not in choice.passed and self._neutrality_open():
            return True  # another neutral is looked for
        if not choice.finds_own(item):
            return choice.item in self._undecided[place]
        return stage.scope == "subject" and choice.gathers(item) and any(self._undecided[:place])
