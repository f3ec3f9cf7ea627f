"""Which sequence is a subject's neutral: the one that the subject's others wait for and begin from.

It is the one labelled neutral; where none is, the one with the most neutral frame, as the stage that knows found it
(`Stage.most_neutral`).  Within it the first stage that needs neutrals tries one frame after the other, the calmest
first, until one fits.  What becomes of the others follows from what became of it there:

| its item of that stage | the others begin from |
| --- | --- |
| has a frame that is ok | it |
| is not made, or out of date | it: they wait |
| every frame is rejected, whatever for | the next calmest of the subject's sequences, which takes its place |
| failed, or waits for what failed; an earlier run made it with these settings | what that run made |
| failed, and there is nothing earlier that counts | the next calmest, likewise |

A rejection is a decision, and the same captures lead to it again; a failure is none: what fails tonight is mended
tomorrow, and until then nothing that was made from the neutral is made anew, worse, from something else.  Then the
release is kept as well (stages/pack/keeping.py).

At most `MOST_STAND_INS` others are tried, those labelled neutral first.  A sequence that is tried has to be registered
without a neutral anyhow, where there is none, so that to try it costs nothing but that the others wait for it.  Where
none of them holds a neutral either, every other sequence finds one of its own, from the template.  One that was tried
in vain has no frame that is ok, and is given no neutral, whoever becomes it: what was found of it holds.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from mimicme.pipeline.captures.catalogue import Catalogue, is_labelled_neutral
from mimicme.pipeline.errors import CheckpointError, counted, listed
from mimicme.pipeline.items import Item, Sequence
from mimicme.pipeline.run.checkpoint_index import CheckpointIndex
from mimicme.pipeline.run.settled import Settled
from mimicme.pipeline.stage import NEUTRAL_FIRST, Stage

MOST_STAND_INS = 3
"""So many of a subject's other sequences are tried.  Not tuned: whose neutral and three calmest others all have nothing
that can be registered has captures that a person has to look at."""
MOST_CHOICES = 10
"""Sentences about single subjects; more are counted."""
STANDS_IN = "stands_in"
"""In the record of what makes an item: the sequences that were tried before it."""
STAND_IN_DECISION = "neutral_decision"
"""Attribute of its checkpoint: what that means, in words."""


class Choice(NamedTuple):
    """A subject's neutral.

    Attributes:
        item: the sequence.
        why: it is, in words; empty where it is labelled so, or the only one.
        passed: those of which no frame could be registered as a neutral, in the order in which they were tried; `item`
            is among them where no other could take its place.
    """

    item: Item
    why: str = ""
    passed: tuple[Item, ...] = ()

    def finds_own(self, item: Item) -> bool:
        """Whether a sequence is given no neutral: it is to find one, or was tried in vain."""
        return item == self.item or item in self.passed

    def gathers(self, item: Item) -> bool:
        """Whether a sequence is the neutral to which a stage of scope `subject` gives all the others: one that was
        tried in vain has no frame to use them for."""
        return item == self.item and item not in self.passed

    def tried_before(self, item: Item) -> tuple[str, ...]:
        """Names of the sequences that were tried before this one; none where it is no stand-in."""
        if not self.finds_own(item):
            return ()
        before = self.passed[: self.passed.index(item)] if item in self.passed else self.passed
        return tuple(one.sequence for one in before)


def stand_in_sentence(tried: Iterable[str]) -> str:
    """What is written down of a sequence that is tried in the place of others."""
    return f"tried as the subject's neutral in place of {_quoted(tried)}: no frame is registered there"


def neutral_sentence(subject: str, sequence: str, why: str) -> str:
    """What is said of a neutral that had to be looked for."""
    return f"{subject}: the neutral is '{sequence}': {why or 'first by name, for no landmarks tell another'}"


def more_choices(count: int) -> list[str]:
    """A sentence on the subjects whose neutral had to be looked for of whom nothing is said."""
    more = count - MOST_CHOICES
    return [f"{counted(more, 'more subject')} whose neutral had to be looked for"] if more > 0 else []


def _quoted(names: Iterable[str]) -> str:
    return listed([f"'{name}'" for name in names], MOST_STAND_INS + 1)


_Rank = tuple[bool, float, Item, str]
"""Whether a sequence is labelled otherwise than neutral, how calm it is, and that in words."""


class _Others:
    """A subject's sequences that may stand in for one of them, in order.

    Attributes:
        first: the one; sequences: all; changed: where these have to be looked at again; ordered: the calmest first.
    """

    def __init__(self, first: Item, sequences: Iterable[Sequence]) -> None:
        self.first = first
        self.sequences = {sequence.item: sequence for sequence in sequences}
        self.changed = set(self.sequences)
        self.ordered: list[_Rank] = []
        self._ranks: dict[Item, _Rank] = {}

    def place(self, item: Item, rank: _Rank | None) -> None:
        """Put a sequence where it belongs; None: nowhere."""
        before = self._ranks.pop(item, None)
        if before is not None:
            self.ordered.remove(before)
        if rank is not None:
            self._ranks[item] = rank
            insort(self.ordered, rank)


class ItemHasState(Protocol):
    """`plan.ItemState`, as far as neutrals ask for it."""

    @property
    def state(self) -> str: ...


class KnowsStates(Protocol):
    """`plan.Plan`, as far as neutrals ask for it."""

    stages: tuple[Stage, ...]
    catalogue: Catalogue
    index: CheckpointIndex

    @property
    def states(self) -> Mapping[tuple[str, Item], ItemHasState]: ...

    @property
    def settled(self) -> Mapping[str, Settled]: ...

    def of_subject(self, subject: str) -> list[Sequence]: ...

    def checkpoint(self, stage: str, item: Item) -> Path: ...

    def fingerprint_of(self, path: Path) -> str: ...

    def is_left_out(self, item: Item) -> bool: ...

    def still_counts(self, stage: Stage, item: Item) -> bool: ...

    def made_as_now(self, stage: Stage, item: Item) -> bool: ...


class Neutrals:
    """Finds the neutrals of a plan's subjects, from its states and the checkpoints alone.

    Args:
        plan: knows the states; the choice is as good as those that it has.
    """

    def __init__(self, plan: KnowsStates) -> None:
        self._plan = plan
        self._stage: Stage | None = next((s for s in plan.stages if s.scope in NEUTRAL_FIRST), None)
        self._unlabelled = plan.catalogue.unlabelled
        self._first: dict[str, Choice] = {}
        self._others_of: dict[str, _Others] = {}
        self._told: dict[tuple[Path, str], tuple[float, str] | None] = {}
        self._verdicts: dict[Item, tuple[ItemHasState, bool]] = {}

    def begin(self) -> None:
        """Drop what follows from checkpoints that may have been made since."""
        self._first.clear()
        self._others_of.clear()
        self._verdicts.clear()

    def look_again(self, subject: str) -> None:
        """The same of one subject."""
        self._first.pop(subject, None)
        self._others_of.pop(subject, None)

    def neutrality_changed(self, item: Item) -> None:
        """A sequence was decided at a stage that says how calm it is."""
        others = self._others_of.get(item.subject)
        if others is not None:
            others.changed.add(item)

    def forget(self, items: Iterable[Item]) -> None:
        """Drop what is known of items of whom nothing more is asked."""
        for item in items:
            self._verdicts.pop(item, None)
            self._others_of.pop(item.subject, None)

    def is_looked_for(self, subject: str) -> bool:
        """Whether a subject's neutral is looked for among all of its sequences."""
        return subject in self._unlabelled

    def is_stage(self, stage: Stage) -> bool:
        """Whether a stage is the one that finds out who holds a neutral."""
        return stage is self._stage

    def of(self, subject: str) -> Choice:
        """A subject's neutral, as far as it can be told now: one that was not looked at yet is taken to hold one."""
        first = self.first_of(subject)
        if subject in self._plan.settled and not self._any_rejected(subject):
            return first
        if self._holds(first.item) is not False:
            return first
        passed = [first.item]
        for item, calm in self._others(subject, first.item):
            if self._holds(item) is not False:
                tried = _quoted(one.sequence for one in passed)
                why = f"of {tried} no frame is registered; the calmest of the others is its {calm}"
                return Choice(item, why, tuple(passed))
            passed.append(item)
        return Choice(first.item, first.why, tuple(passed))

    def sentences(self, subjects: Iterable[str]) -> list[str]:
        """A sentence for each of the subjects whose neutral had to be looked for, or is lacking, and for the rest of
        many."""
        said: list[str] = []
        count = 0
        for subject in sorted(subjects):
            enough = len(said) == MOST_CHOICES
            # of the rest of many it is not asked which is the calmest: that opens a checkpoint a sequence
            if enough and self.is_looked_for(subject):
                count += 1
            elif sentence := self._sentence(subject):
                count += 1
                said += [] if enough else [sentence]
        return said + more_choices(count)

    def _sentence(self, subject: str) -> str:
        choice = self.of(subject)
        if choice.item in choice.passed:
            if all(one.item in choice.passed for one in self._plan.of_subject(subject)):
                return ""  # there is nobody who would need one
            tried = _quoted(one.sequence for one in choice.passed)
            return (
                f"{subject}: there is no neutral: of {tried} no frame is registered, and the subject's "
                "other sequences are registered from the template, which is worse: mend the neutral, or label another "
                "`neutral`, and run again"
            )
        if choice.passed or self.is_looked_for(subject):
            return neutral_sentence(subject, choice.item.sequence, choice.why)
        return ""

    def first_of(self, subject: str) -> Choice:
        """The neutral by labels and what the frames say of how neutral they are."""
        if subject not in self._unlabelled:
            return Choice(self._plan.catalogue.neutral[subject])
        if subject not in self._first:
            calm = [
                (*found, s.item)
                for s in self._plan.of_subject(subject)
                if (found := self._neutrality(s.item))
            ]
            if calm:
                _, said, item = min(calm, key=lambda one: (one[0], one[2]))
                why = f"{self._why_looked_for(subject)}; the calmest of all is its {said}"
                self._first[subject] = Choice(item, why)
            else:
                self._first[subject] = Choice(self._plan.catalogue.neutral[subject])
        return self._first[subject]

    def _why_looked_for(self, subject: str) -> str:
        """Why labels do not say which sequence of a subject is the neutral: none is labelled so, or each that is was
        called bad as a whole."""
        bad = [
            s.item.sequence for s in self._plan.of_subject(subject) if is_labelled_neutral(s) and s.all_bad
        ]
        if not bad:
            return "no sequence is labelled neutral"
        return f"every frame of {_quoted(bad)}, labelled neutral, was called bad in review.csv"

    def _others(self, subject: str, first: Item) -> list[tuple[Item, str]]:
        """The sequences that may stand in for the first, in the order in which they are tried, each with its calmest
        frame.  All of the subject's are looked at once, and one again where that can have changed."""
        others = self._others_of.get(subject)
        if others is None or others.first != first:
            others = self._others_of[subject] = _Others(first, self._plan.of_subject(subject))
        for item in others.changed:
            sequence = others.sequences[item]
            calm = None if item == first or self._may_not(sequence) else self._neutrality(item)
            others.place(
                item, None if calm is None else (not is_labelled_neutral(sequence), calm[0], item, calm[1])
            )
        others.changed.clear()
        return [(item, said) for _, _, item, said in others.ordered[:MOST_STAND_INS]]

    def _may_not(self, sequence: Sequence) -> bool:
        """Whether a sequence is no candidate: a frame that a person called bad might become the neutral, where bad ones
        are left out of no more than what is labelled; or this run leaves it out, and none made it a stand-in."""
        if sequence.bad and sequence.item.subject not in self._unlabelled:
            return True
        return self._plan.is_left_out(sequence.item) and not self._was_one(sequence.item)

    def _was_one(self, item: Item) -> bool:
        """Whether an earlier run tried a sequence as a stand-in, in vain or not, with the stage as it is now."""
        stage = self._stage
        if stage is None or not self._plan.made_as_now(stage, item):
            return False
        summary = self._plan.index.read(self._plan.checkpoint(stage.name, item))
        return summary is not None and STAND_IN_DECISION in summary.decisions

    def _holds(self, item: Item) -> bool | None:
        """Whether a sequence holds a neutral; None where that is not known yet."""
        if self._stage is None:
            return None
        if self._plan.is_left_out(item):  # nothing becomes of it in this run
            return self._plan.still_counts(self._stage, item)
        state = self._plan.states.get((self._stage.name, item))
        if state is None and item.subject in self._plan.settled:
            state = self._plan.states[self._stage.name, item]
        if state is None or state.state in ("stale", "pending"):
            return None
        known = self._verdicts.get(item)
        if known is None or known[0] is not state:
            known = self._verdicts[item] = state, self._look(self._stage, item, state)
        return known[1]

    def _look(self, stage: Stage, item: Item, state: ItemHasState) -> bool:
        if state.state != "done":
            return self._plan.still_counts(stage, item)
        summary = self._plan.index.read(self._plan.checkpoint(stage.name, item))
        return summary is None or summary.ok > 0  # who reads a damaged one will say so

    def _any_rejected(self, subject: str) -> bool:
        """Whether the neutral of a settled subject may be one of which every frame is rejected."""
        return self._stage is not None and self._plan.settled[subject].any_rejected(self._stage.name)

    def _neutrality(self, item: Item) -> tuple[float, str] | None:
        """What `Stage.most_neutral` says of a sequence."""
        best: tuple[float, str] | None = None
        for stage in self._plan.stages:
            if stage.most_neutral is None:
                continue
            known = self._plan.states.get((stage.name, item))
            if known is not None and known.state in ("failed", "blocked"):
                continue
            found = self._neutrality_in(stage, self._plan.checkpoint(stage.name, item))
            if found is not None and (best is None or found[0] < best[0]):
                best = found
        return best

    def _neutrality_in(self, stage: Stage, path: Path) -> tuple[float, str] | None:
        """Each checkpoint is opened once, as long as it is the same."""
        assert stage.most_neutral is not None
        digest = self._plan.fingerprint_of(path)
        if (path, digest) not in self._told:
            try:
                self._told[path, digest] = stage.most_neutral(path) if digest else None
            except CheckpointError:  # the item that reads it will say so
                self._told[path, digest] = None
        return self._told[path, digest]
