"""The state of every item of every stage (done, out of date, pending ...) and why, from the checkpoints alone.

A checkpoint is current exactly when the record of what made it equals the record of what would make it now,
and the raw files it read are unchanged.  The record holds the stage's version and settings, the fingerprints
of its inputs, the digest of the template, and - for a stage that begins from raw files - the declaration and
the list of frames.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import h5py

from mimicme.pipeline.captures.catalogue import Catalogue
from mimicme.pipeline.checkpoint import fingerprint, fingerprint_of_many
from mimicme.pipeline.config import Config, settings_record
from mimicme.pipeline.corpus import Corpus
from mimicme.pipeline.errors import counted, listed
from mimicme.pipeline.items import Captures, Item, Sequence, Shard
from mimicme.pipeline.run.checkpoint_index import CheckpointIndex, CheckpointSummary, Failure, read_record
from mimicme.pipeline.run.neutrals import STANDS_IN, Choice, Neutrals
from mimicme.pipeline.run.settled import Ledger, Settled, Signatures
from mimicme.pipeline.sources import unchanged
from mimicme.pipeline.stage import NEUTRAL_FIRST, Stage
from mimicme.pipeline.workspace import Workspace

State = Literal["done", "stale", "pending", "failed", "blocked"]
STATES: tuple[State, ...] = ("done", "stale", "pending", "failed", "blocked")
RELEASE = Item("release", "release")
"""The one item of a stage of scope `everything`."""
WITHDRAWN = "withdrawn-"
"""Before the fingerprint of a release that a subject has left since it was packed."""
MOST_PATHS = 20_000
"""Of checkpoints that are kept at a time, about 10 MB."""
MOST_FOLDERS = 1_000
"""Of which is kept what lies in them: of the people that a run is at."""


@dataclass(frozen=True, slots=True)
class ItemState:
    """The state of one item of one stage.

    Attributes:
        state: `done`: current; `stale`: made from something else than what is there now; `pending`: not made;
            `failed`: tried and failed; `blocked`: waits for something that failed.
        reason: in words; empty when done.
        record: what would make it now; None while the states of its inputs are provisional.
        inputs: paths of its inputs by stage.
        neutral: checkpoint of the subject's neutral, if the stage asks for it.
        follows: provisional, because an input will be made first.
        siblings: inputs of the subject's other sequences by item, for the neutral of a stage of scope `subject`.
        corpus: for a stage of scope `corpus`: what it is given of all sequences; see `Task.corpus`.
    """

    state: State
    reason: str = ""
    record: Mapping[str, Any] | None = None
    inputs: Mapping[str, Path] = field(default_factory=dict)
    neutral: Path | None = None
    follows: bool = False
    siblings: Mapping[Item, Mapping[str, Path]] = field(default_factory=dict)
    corpus: Corpus | None = None


_NOT_MADE = "not made yet"
_DONE = ItemState("done")
"""Of every item of a settled subject."""


class _States(dict[tuple[str, Item], ItemState]):
    """The states that were determined; those of settled subjects need not be."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: dict[str, Settled] = {}

    def __missing__(self, key: tuple[str, Item]) -> ItemState:
        if key[1].subject in self.settled:
            return _DONE
        raise KeyError(key)


class _Checkpoints(Mapping[str, Path]):
    """Paths of a sequence's checkpoints by stage, made when they are asked for: a release has half a million."""

    __slots__ = ("_item", "_names", "_workspace")

    def __init__(self, workspace: Workspace, names: tuple[str, ...], item: Item) -> None:
        self._workspace, self._names, self._item = workspace, names, item

    def __getitem__(self, name: str) -> Path:
        if name not in self._names:
            raise KeyError(name)
        return self._workspace.checkpoint(name, self._item)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class Plan:
    """The states of all items of all stages: which checkpoints are up to date, which must be made.

    Attributes:
        ledger: of the settled subjects; None until `use_ledger`, and where no subject can be settled.

    Args:
        workspace: the workspace.
        config: resolved settings.
        stages: all of them, in order.
        catalogue: what is on disk.
        template: digest of the prepared template; None when it is not prepared.
        without_index: the checkpoint index that the last run saved is not read: it takes longer than to open a few
            checkpoints.
        shard: of whose run it is, which keeps index and ledger of its own; the catalogue lists its subjects alone.
        requested: the sequences that `--only` names; None: all.
    """

    def __init__(
        self,
        workspace: Workspace,
        config: Config,
        stages: Iterable[Stage],
        catalogue: Catalogue,
        template: str | None,
        without_index: bool = False,
        shard: Shard | None = None,
        requested: Iterable[Sequence] | None = None,
    ) -> None:
        self.workspace = workspace
        self.config = config
        self.stages = tuple(stages)
        self.catalogue = catalogue
        self.template = template
        self.shard = shard
        if without_index:
            self.index = CheckpointIndex(workspace.root, Path(os.devnull))
        else:
            file, others = workspace.saved(workspace.checkpoint_index, shard)
            own = None if shard is None else catalogue.subjects
            self.index = CheckpointIndex(workspace.root, file, others, own)
        self.captures = workspace.captures
        self.states = _States()
        self.ledger: Ledger | None = None
        self._key = ""
        self._tried_again: set[str] = set()  # stages of which a run that is foreseen tries again what failed
        self._requested = None if requested is None else frozenset(s.item for s in requested)
        self._not_selected: set[Item] = set()  # sequences that this run does not include
        self._corpora: dict[str, tuple[Corpus, Item | None]] = {}
        # made once each: there may be half a million checkpoints
        self._settings = {stage.name: settings_record(config.stages[stage.name]) for stage in self.stages}
        self._given_to_release: dict[tuple[str, ...], tuple[str, ...]] = {}  # each once
        self._folders: dict[tuple[str, str], Path] = {}
        self._failures: dict[tuple[str, str], frozenset[str]] = {}
        self._paths: dict[tuple[str, Item], Path] = {}
        self._of_subject: dict[str, list[Sequence]] = {}
        for sequence in catalogue.sequences:
            self._of_subject.setdefault(sequence.item.subject, []).append(sequence)
        self._neutrals = Neutrals(self)
        self._counting: dict[tuple[Path, str], bool] = {}

    def use_ledger(self) -> None:
        """Find out who is settled, so that the items of these need not be looked at."""
        if any(self.uses_corpus(stage) for stage in self.stages):
            return  # everybody's items follow from everybody's
        file, others = self.workspace.saved(self.workspace.ledger, self.shard)
        self.ledger = Ledger(file, self.key, others)
        signatures = self.signatures()
        found = {}
        for subject, one in self.ledger.subjects.items():
            own = self._of_subject.get(subject)
            if own is not None and one.signature == signatures.take(subject, own, one.folders):
                found[subject] = one
        self.settled = found

    @property
    def key(self) -> str:
        """Fingerprint of what the items of everybody have in common."""
        if not self._key:
            working = [stage for stage in self.stages if stage.scope != "everything"]
            record = {
                "stages": [
                    [s.name, s.version, self._settings[s.name], s.needs, s.scope, s.uses_template]
                    for s in working
                ],
                "template": self.template,
                "captures": captures_record(self.captures),
                "root": os.path.realpath(self.captures.root),
            }
            self._key = fingerprint(record)
        return self._key

    def signatures(self) -> Signatures:
        """What takes the signatures of subjects for the ledger."""
        working = [stage.name for stage in self.stages if stage.scope != "everything"]
        return Signatures(self.workspace.root, Path(os.path.realpath(self.captures.root)), working)

    def of_subject(self, subject: str) -> list[Sequence]:
        """Everything that the catalogue lists of a subject, in order."""
        return self._of_subject.get(subject, [])

    def settings_of(self, stage: Stage) -> Mapping[str, Any]:
        """Settings of a stage as records have them."""
        return self._settings[stage.name]

    @property
    def settled(self) -> Mapping[str, Settled]:
        """The subjects of whom everything is done, as an earlier run found."""
        return self.states.settled

    @settled.setter
    def settled(self, subjects: Mapping[str, Settled]) -> None:
        self.states.settled = dict(subjects)
        self.index.set_aside(subjects)

    def checkpoint(self, stage: str, item: Item) -> Path:
        """Where the checkpoint of a stage for an item lies."""
        # of the subjects that a run is at, asked for twenty times an item; of all there may be a million
        path = self._paths.get((stage, item))
        if path is None:
            if len(self._paths) >= MOST_PATHS:
                self._paths.clear()
            path = self._paths[stage, item] = self._made_path(stage, item)
        return path

    def _made_path(self, stage: str, item: Item) -> Path:
        folder = self._folders.get((stage, item.subject))
        if folder is None:
            path = self.workspace.checkpoint(stage, item)
            self._folders[stage, item.subject] = path.parent
            return path
        return folder / f"{item.sequence}.h5"

    def states_of_stage(
        self, stage: Stage, sequences: Iterable[Sequence], try_again: bool = False
    ) -> dict[Item, ItemState]:
        """Determine and store the states of a stage's items; those of the stages it needs must be there.

        Args:
            try_again: what failed will be tried again: what waits for it, as for a neutral, finds it out of date.
        """
        self.begin(stage)
        if try_again:
            self._tried_again.add(stage.name)
        ordered = list(sequences)
        open_ones = [s for s in ordered if s.item.subject not in self.settled]
        if stage.scope in NEUTRAL_FIRST:
            open_ones.sort(key=lambda s: not self.is_neutral(s.item))
        found = {s.item: self.state_of(stage, s) for s in open_ones}
        if len(open_ones) < len(ordered):
            found |= {s.item: _DONE for s in ordered if s.item.subject in self.settled}
        return found

    def is_neutral(self, item: Item) -> bool:
        return item.subject in self.catalogue.neutral and self.neutral_of(item.subject) == item

    def neutral_of(self, subject: str) -> Item:
        """A subject's neutral sequence; see `neutral_choice`."""
        return self._neutrals.of(subject).item

    def included_neutral_of(self, subject: str) -> Item:
        """The sequence that a run of others of the subject includes: the neutral, whatever becomes of it.  What takes
        its place is not included: where `--only` leaves that out, what is on the disk counts."""
        return self._neutrals.first_of(subject).item

    def neutral_choice(self, subject: str) -> Choice:
        """A subject's neutral sequence, and why it is; see neutrals.py."""
        return self._neutrals.of(subject)

    def neutral_choices(self, subjects: Iterable[str]) -> list[str]:
        """A sentence for each of the subjects whose neutral had to be looked for, and for the rest of many."""
        return self._neutrals.sentences(subjects)

    def is_left_out(self, item: Item) -> bool:
        """Whether this run makes nothing of a sequence where neutrals are needed: it was not asked for, and is not the
        neutral that is included.  Where none is labelled the stages before look at it all the same."""
        if self._requested is None or item in self._requested or item.subject in self.settled:
            return False
        return item != self.included_neutral_of(item.subject)

    def still_counts(self, stage: Stage, item: Item) -> bool:
        """Whether what an earlier run made of an item that has to find a neutral can be begun from, though it is not
        current: with the stage as it is now, and frames that are ok."""
        summary = self.index.read(self.checkpoint(stage.name, item))
        return summary is not None and summary.ok > 0 and self.made_as_now(stage, item)

    def made_as_now(self, stage: Stage, item: Item) -> bool:
        """Whether an earlier run made a sequence that has to find a neutral with the stage as it is now."""
        path = self.checkpoint(stage.name, item)
        summary = self.index.read(path)
        if summary is None:
            return False
        key = path, summary.fingerprint
        if key not in self._counting:
            made_by = read_record(path)[0]
            now: dict[str, Any] = {
                "version": stage.version,
                "settings": self._settings[stage.name],
                "neutral": None,
            }
            if stage.uses_template:
                now["template"] = self.template
            now = json.loads(json.dumps(now))
            self._counting[key] = all(name in made_by and made_by[name] == now[name] for name in now)
        return self._counting[key]

    def state_of(self, stage: Stage, sequence: Sequence) -> ItemState:
        """Determine and store the state of one item."""
        item_state = self._determine_state(stage, sequence)
        again = item_state.state == "failed" and stage.name in self._tried_again
        self.states[stage.name, sequence.item] = (
            ItemState("stale", item_state.reason, follows=True) if again else item_state
        )
        return item_state

    def _determine_state(self, stage: Stage, sequence: Sequence) -> ItemState:
        item = sequence.item
        path = self.checkpoint(stage.name, item)
        waits_for = ""
        for need in stage.needs:
            before = self.states[need, item]
            if before.state in ("failed", "blocked"):
                return _waiting("blocked", f"'{need}' {described(before)}", False)
            if before.state != "done" and not waits_for:
                waits_for = f"'{need}' {described(before)}"
        there, summary = self.index.look(path)
        not_current: State = "stale" if there else "pending"
        if waits_for:
            return _waiting(not_current, waits_for, True)
        inputs = {n: self.checkpoint(n, item) for n in stage.needs}
        neutral = None
        choice = self._choice_for(stage, item)
        if choice is not None and not choice.finds_own(item):
            its_state = self._state_of_neutral(stage, choice.item)
            if its_state in ("stale", "pending"):
                why = f"its subject's neutral '{choice.item}' comes first"
                return _waiting(not_current, why, True)
            neutral = self._neutral_path(stage, choice.item, its_state)
        siblings: dict[Item, dict[str, Path]] = {}
        if stage.scope == "subject" and choice is not None and choice.gathers(item):
            for other in self._of_subject[item.subject]:
                before = self._needs_of(stage, other)
                if before.state in ("stale", "pending") and before.follows:
                    why = f"'{other.item}' of its subject comes first"
                    return _waiting(not_current, why, True)
                if before.state == "done" and other.item != item and not other.all_bad:
                    siblings[other.item] = {n: self.checkpoint(n, other.item) for n in stage.needs}
        corpus: Corpus | None = None
        if self.uses_corpus(stage):
            corpus, awaited = self._corpus(stage)
            if awaited is not None:
                return _waiting(not_current, f"'{awaited}' comes first", True)
        record = self.record(stage, sequence, inputs, neutral, siblings, corpus)
        state: State = not_current
        if summary is not None and summary.record_fingerprint == fingerprint(record):
            reason = self._changed_source(path) if summary.has_sources else ""
            state = not_current if reason else "done"
        elif summary is not None:
            reason = difference(read_record(path)[0], record)
        elif there:
            reason = "its checkpoint cannot be read"
        else:
            reason = _NOT_MADE
        if state != "done" and self.has_failure(stage.name, item):
            failure = Failure.read(self.workspace.failure(stage.name, item))
            if failure is not None:
                state, reason = "failed", failure.message
        return ItemState(state, reason, record, inputs, neutral, siblings=siblings, corpus=corpus)

    def _choice_for(self, stage: Stage, item: Item) -> Choice | None:
        """The neutral that an item waits for, with its state looked at; None where it waits for none."""
        if stage.scope not in NEUTRAL_FIRST:
            return None
        while True:
            choice = self.neutral_choice(item.subject)
            if choice.finds_own(item) or item.subject in self.settled:
                return choice
            if (stage.name, choice.item) in self.states or self.is_left_out(choice.item):
                return choice
            # of its state another choice may follow
            self.state_of(stage, next(s for s in self.of_subject(item.subject) if s.item == choice.item))

    def _state_of_neutral(self, stage: Stage, neutral: Item) -> State:
        """Of one that `--only` leaves out, what is on the disk counts (`_neutral_path`)."""
        known = self.states.get((stage.name, neutral))
        if (known is None or known.state != "done") and self.is_left_out(neutral):
            return "failed"
        return self.states[stage.name, neutral].state if known is None else known.state

    def _neutral_path(self, stage: Stage, neutral: Item, state: State) -> Path | None:
        """The checkpoint of a neutral in that state, which others begin from; None where there is none."""
        if state != "done" and not self.still_counts(stage, neutral):
            return None
        return self.checkpoint(stage.name, neutral)

    def follower(
        self, stage: Stage, sequence: Sequence, made: Collection[str], force: bool
    ) -> ItemState | None:
        """The state of an item that is made right after others of its sequence: in its record the fingerprints of
        these are None.

        None where that cannot be said, because it waits for something else; or where there is a checkpoint, which may
        turn out to be current.

        Args:
            made: the stages of these.
            force: make again what is current.
        """
        item = sequence.item
        if self.uses_corpus(stage) or any(
            need not in made and self.states[need, item].state != "done" for need in stage.needs
        ):
            return None
        neutral = None
        if stage.scope in NEUTRAL_FIRST:
            choice = self.neutral_choice(item.subject)
            if not choice.finds_own(item):
                if not self.is_left_out(choice.item) and (stage.name, choice.item) not in self.states:
                    return None
                before = self._state_of_neutral(stage, choice.item)
                if before in ("stale", "pending"):
                    return None
                neutral = self._neutral_path(stage, choice.item, before)
            elif stage.scope == "subject" and choice.gathers(item):
                return None  # it waits for the subject's other sequences
        there = os.path.lexists(self.checkpoint(stage.name, item))
        if there and not force:
            return None
        inputs = {name: self.checkpoint(name, item) for name in stage.needs}
        record = self.record(stage, sequence, inputs, neutral, {}, None, made)
        return ItemState("stale" if there else "pending", _NOT_MADE, record, inputs, neutral)

    def waits_for_failed(self, stage: Stage, item: Item) -> bool:
        """Whether something failed that a blocked item follows from; else that is not made, or out of date."""
        before = [one for one in self.stages if one.name in stage.needs]
        states = [self.states[one.name, item].state for one in before]
        return "failed" in states or any(
            state == "blocked" and self.waits_for_failed(one, item)
            for one, state in zip(before, states, strict=True)
        )

    def has_failure(self, stage: str, item: Item) -> bool:
        """Whether there is a record that an item failed.  The folder of its subject is looked into once, until its
        items are looked at again (`look_again`, `begin`) or one of them fails (`note_failure`)."""
        key = stage, item.subject
        names = self._failures.get(key)
        if names is None:
            if len(self._failures) >= MOST_FOLDERS:
                self._failures.clear()
            try:
                found = os.listdir(self.workspace.failure(stage, item).parent)
            except OSError:
                found = []
            names = self._failures[key] = frozenset(found)
        return f"{item.sequence}.json" in names

    def note_failure(self, stage: str, item: Item) -> None:
        """A record was written that an item failed."""
        self._failures.pop((stage, item.subject), None)

    def is_looked_for(self, subject: str) -> bool:
        """Whether a subject's neutral is looked for among all of its sequences."""
        return self._neutrals.is_looked_for(subject)

    def decided(self, stage: Stage, item: Item) -> None:
        """An item has come to its end: what follows from how calm it is has to be found anew."""
        if stage.most_neutral is not None:
            self._neutrals.neutrality_changed(item)

    def look_again(self, subject: str) -> None:
        """Find a subject's neutral anew: checkpoints may have been made since; and which of its items failed."""
        self._neutrals.look_again(subject)
        for stage in self.stages:
            self._failures.pop((stage.name, subject), None)

    def settle_now(self, subject: str, found: Settled) -> None:
        """Keep of a subject of whom everything is done that it is, and not how: what made a million items, and from
        what, would be some GB.  What is told of it is what was found, as with one who was settled before."""
        self.states.settled[subject] = found
        paths = []
        for stage in self.stages:
            self._folders.pop((stage.name, subject), None)
            for sequence in self._of_subject.get(subject, ()):
                if self.states.pop((stage.name, sequence.item), None) is not None:
                    paths.append(self.checkpoint(stage.name, sequence.item))
        self._neutrals.forget(sequence.item for sequence in self._of_subject.get(subject, ()))
        self.index.shelve(subject, paths)

    def begin(self, stage: Stage) -> None:
        """Drop what is cached of checkpoints that may have been made since."""
        self._neutrals.begin()
        self._failures.clear()
        self._corpora.pop(stage.name, None)

    def uses_corpus(self, stage: Stage) -> bool:
        """Whether the items of a stage wait for all sequences."""
        return stage.scope == "corpus" and bool(self.config.stages[stage.name].enabled)

    def _corpus(self, stage: Stage) -> tuple[Corpus, Item | None]:
        """What a stage of scope `corpus` is given, and an item that comes first.

        Gathered once a stage: it is the same for every item.  Checkpoints of who has withdrawn or refuses may
        still be there, but the catalogue does not list them, so that nothing is learned from them.
        """
        if stage.name not in self._corpora:
            inputs: dict[Item, dict[str, Path]] = {}
            awaited = None
            ordered = sorted(self.catalogue.sequences, key=lambda s: s.item)
            # the states of a subject's other sequences may need that of its neutral
            for sequence in filter(lambda s: self.is_neutral(s.item), ordered):
                self._needs_of(stage, sequence)
            for sequence in ordered:
                before = self._needs_of(stage, sequence)
                if before.state in ("stale", "pending") and before.follows:
                    awaited = awaited or sequence.item
                elif before.state == "done":
                    inputs[sequence.item] = {n: self.checkpoint(n, sequence.item) for n in stage.needs}
            fingerprints = {
                str(item): {name: self.fingerprint_of(path) for name, path in paths.items()}
                for item, paths in inputs.items()
            }
            self._corpora[stage.name] = Corpus(inputs, fingerprint(fingerprints)), awaited
        return self._corpora[stage.name]

    def _needs_of(self, stage: Stage, sequence: Sequence) -> ItemState:
        """The least advanced state of what a stage needs of a sequence.

        `follows` says whether this run includes the sequence, so that waiting for it makes sense; of one that
        `--only` leaves out, what is on the disk counts.
        """
        if any((need, sequence.item) not in self.states for need in stage.needs):
            self._not_selected.add(sequence.item)
        least = ItemState("done")
        for earlier in self.stages[: self.stages.index(stage)]:
            if earlier.scope == "everything":
                continue
            item_state = self.states.get((earlier.name, sequence.item)) or self.state_of(earlier, sequence)
            if earlier.name in stage.needs and STATES.index(item_state.state) > STATES.index(least.state):
                least = item_state
        return replace(least, follows=sequence.item not in self._not_selected)

    def record(
        self,
        stage: Stage,
        sequence: Sequence,
        inputs: Mapping[str, Path],
        neutral: Path | None,
        siblings: Mapping[Item, Mapping[str, Path]],
        corpus: Corpus | None,
        unknown: Collection[str] = (),
    ) -> dict[str, Any]:
        """What would make this item now, without the raw files it will read.

        Args:
            unknown: stages of inputs that are not made yet; their fingerprints are None.
        """
        record: dict[str, Any] = {
            "stage": stage.name,
            "version": stage.version,
            "settings": self._settings[stage.name],
            "inputs": {
                name: None if name in unknown else self.fingerprint_of(path) for name, path in inputs.items()
            },
        }
        if stage.uses_template:
            record["template"] = self.template
        if stage.uses_label:
            record["expression"] = sequence.expression
        if stage.scope in NEUTRAL_FIRST:
            record["neutral"] = None if neutral is None else self.fingerprint_of(neutral)
            # said only where it is so: what was made before it could be said stays current
            if self._neutrals.is_stage(stage) and (
                tried := self.neutral_choice(sequence.item.subject).tried_before(sequence.item)
            ):
                record[STANDS_IN] = list(tried)
        if stage.scope == "corpus":
            # one fingerprint: every item's record would else list every item
            record["corpus"] = None if corpus is None else corpus.fingerprint
        if siblings:
            record["siblings"] = {
                str(item): {name: self.fingerprint_of(path) for name, path in paths.items()}
                for item, paths in siblings.items()
            }
        if not stage.needs:
            # later stages depend on these through the fingerprints of their inputs
            record["captures"] = captures_record(self.captures)
            record["frames"] = frames_record(self.captures, sequence)
        # what a person said is said only where it counts: what was made before stays current
        if stage.most_neutral is not None and sequence.bad and self._may_be_neutral(sequence.item):
            record["review"] = sorted(sequence.bad)
        if stage.corrected:
            corrections = {str(f.number): f.correction.digest for f in sequence.frames if f.correction}
            record |= {"corrections": corrections} if corrections else {}
        return record

    def _may_be_neutral(self, item: Item) -> bool:
        """Whether a sequence is its subject's neutral, or may turn out to be: then the frames called bad are left out
        where neutrals are looked for, and of all that follows.

        By labels and verdicts alone, never by what is made: it says what is to be made.
        """
        return self.is_looked_for(item.subject) or self.catalogue.neutral.get(item.subject) == item

    def is_current(self, path: Path, record: Mapping[str, Any]) -> bool:
        """Whether a checkpoint that read no raw files is what `record` would make now."""
        summary = self.index.read(path)
        return (
            summary is not None
            and not summary.has_sources
            and summary.record_fingerprint == fingerprint(record)
        )

    def current_checkpoints(
        self, stage: str, sequences: Iterable[Sequence]
    ) -> Iterator[tuple[Item, CheckpointSummary]]:
        """The summaries of a stage's current checkpoints, of these sequences; their states must be there.

        `tallies.tallies` tells the same of many subjects without reading those that are settled.
        """
        for sequence in sequences:
            if self.states[stage, sequence.item].state == "done":
                summary = self.index.read(self.checkpoint(stage, sequence.item))
                if summary is not None:
                    yield sequence.item, summary

    def fingerprint_of(self, path: Path) -> str:
        summary = self.index.read(path)
        return summary.fingerprint if summary is not None else ""

    def _changed_source(self, path: Path) -> str:
        """Which raw file of a checkpoint changed, in words; empty: none."""
        _, sources, stats = read_record(path)
        if unchanged(self.captures.root, sources, stats):
            return ""
        names = (n for n in sorted(sources) if not unchanged(self.captures.root, {n: sources[n]}, stats))
        name, listed, _ = next(names, "?").partition("//")
        if not listed:
            return f"the capture file '{name}' changed"
        folder = "the capture folder" if name in ("", ".") else f"'{name}'"
        return f"the images, or other files beside the meshes, in {folder} are not the same as before"

    def determine_all_states(self) -> None:
        """Determine and store the states of all stages, the release's too, as things are on disk."""
        chosen = self.catalogue.sequences
        for stage in self.stages:
            if stage.scope == "everything":
                self.states[stage.name, RELEASE] = self.state_of_release(
                    stage, chosen, self.workspace.release
                )
            else:
                self.states_of_stage(stage, chosen)

    # -- the release

    def collected(self, stage: Stage, sequence: Sequence) -> Mapping[str, Path]:
        """Current checkpoints of a sequence by stage: what a release is made of."""
        item = sequence.item
        names = tuple(name for name in self._given(stage) if self.states[name, item].state == "done")
        return _Checkpoints(self.workspace, self._given_to_release.setdefault(names, names), item)

    def _given(self, stage: Stage) -> list[str]:
        """The stages whose checkpoints a release is made of."""
        names = [s.name for s in self.stages if s.scope != "everything"]
        return names[: names.index(stage.needs[-1]) + 1] if stage.needs else names

    def _release_item(self, stage: Stage, sequence: Sequence) -> dict[str, Any]:
        checkpoints = self.collected(stage, sequence)
        item: dict[str, Any] = {
            "name": sequence.name,
            "expression": sequence.expression,
            "frames": [f.number for f in sequence.frames] if not checkpoints else None,
            "inputs": {name: self.fingerprint_of(path) for name, path in checkpoints.items()},
        }
        if sequence.bad:
            item["review"] = {str(n): why for n, why in sequence.bad.items()}
        return item

    def _release_record_but_items(self, stage: Stage, created: str) -> dict[str, Any]:
        return {
            "stage": stage.name,
            "version": stage.version,
            "settings": self._settings[stage.name],
            "template": self.template,
            "captures": captures_record(self.captures),
            "subjects": self.workspace.metadata_digest(),
            "licence": self.workspace.licence,
            "config": self.release_config(),
            "created": created,
        }

    def release_config(self) -> dict[str, Any]:
        """Settings that shaped the release, without jobs and paths; where a person called frames bad, how many, and a
        digest of which and why."""
        bad = {
            str(s.item): {str(n): why for n, why in s.bad.items()} for s in self.catalogue.sequences if s.bad
        }
        count = sum(len(of_sequence) for of_sequence in bad.values())
        said = {"review": {"bad": count, "digest": fingerprint(bad)}} if bad else {}
        return said | {
            "preset": self.config.run.preset,
            "captures": captures_record(self.captures),
            "template": self.template,
            "stages": {
                s.name: {"version": s.version, "settings": self._settings[s.name]} for s in self.stages
            },
        }

    def created(self, sequences: Iterable[Sequence]) -> str:
        """ISO time of a release of these; of who is settled the ledger knows the newest file."""
        open_ones, newest = [], 0.0
        for subject, own in groupby(sequences, key=lambda sequence: sequence.item.subject):
            settled = self.settled.get(subject)
            if settled is None:
                open_ones += list(own)
            else:
                newest = max(newest, settled.newest_s)
        return created_at(open_ones, newest)

    def release_wanted(self, stage: Stage, sequences: Iterable[Sequence], created: str) -> str:
        """Fingerprint of what would make the release now.  Where everybody is settled, the ledger knows it."""
        chosen = list(sequences)
        signature = self._release_signature(stage, chosen, created)
        known = None if self.ledger is None else self.ledger.release
        if known is not None and signature == known[0]:
            return known[1]
        # item by item: the record of a hundred thousand sequences is some hundred MB
        chosen.sort(key=lambda sequence: str(sequence.item))
        told = ((str(s.item), self._release_item(stage, s)) for s in chosen)
        return fingerprint_of_many(self._release_record_but_items(stage, created), "items", told)

    def note_release(self, stage: Stage, sequences: Iterable[Sequence], created: str, wanted: str) -> None:
        """Let the ledger know what would make the release, if everybody in it is settled."""
        if self.ledger is not None:
            signature = self._release_signature(stage, list(sequences), created)
            self.ledger.release = (signature, wanted) if signature else None

    def _release_signature(self, stage: Stage, sequences: list[Sequence], created: str) -> str:
        """Of all that a release follows from; empty where somebody in it is not settled."""
        if self.ledger is None or any(s.item.subject not in self.settled for s in sequences):
            return ""
        everything = hashlib.sha256()
        for sequence in sequences:
            signature = self.settled[sequence.item.subject].signature
            everything.update(f"{sequence.item}\0{sequence.name}\0{signature}\n".encode())
        record = {
            "version": [stage.name, stage.version, self._settings[stage.name], stage.needs],
            "subjects": self.workspace.metadata_digest(),
            "licence": self.workspace.licence,
            "config": self.release_config(),
            "created": created,
            "key": self.key,
            "sequences": everything.hexdigest(),
        }
        return fingerprint(record)

    def state_of_release(self, stage: Stage, sequences: Iterable[Sequence], output: Path) -> ItemState:
        """The state of the release at `output`."""
        chosen = list(sequences)
        if not chosen:
            return ItemState("blocked", nobody_left(self.workspace))
        waiting = [
            (s, n)
            for s in chosen
            if s.item.subject not in self.settled
            for n in stage.needs
            if self.states[n, s.item].state in ("stale", "pending")
        ]
        there = output.is_file()
        if waiting:
            first: dict[str, str] = {}
            for sequence, name in waiting:
                first.setdefault(str(sequence.item), name)
            return ItemState(
                "stale" if there else "pending", comes_first(first, len(first) - 1), follows=True
            )
        wanted = self.release_wanted(stage, chosen, self.created(chosen))
        current = there and release_fingerprint(output) == wanted
        failure = Failure.read(self.workspace.failure(stage.name, RELEASE))
        if failure is not None and not current:
            return ItemState("failed", failure.message)
        if not there:
            return ItemState("pending", _NOT_MADE)
        if current:
            return ItemState("done")
        return ItemState("stale", self._release_difference(stage, chosen, output))

    def older_release(self, output: Path) -> str:
        """What is to be said of a release that is there where nobody is left to make one of; empty: there is none."""
        if not output.is_file():
            return ""
        return f"{output.name} is an older one and may hold who is left out now: delete it, or `mimicme withdraw` them."

    def _release_difference(self, stage: Stage, sequences: Iterable[Sequence], output: Path) -> str:
        """In words, why a release is not what would be made now."""
        try:
            with h5py.File(output, "r") as handle:
                old = json.loads(handle.attrs["config"])
                licence = handle.attrs.get("licence", self.workspace.licence)
            before = old.get("review")
        except (OSError, KeyError, ValueError, TypeError, AttributeError):
            return "what it is made of changed"
        config = json.loads(json.dumps(self.release_config()))
        now = config.get("review")
        if before != now:
            count = now["bad"] if now else 0
            return f"what review.csv says changed: {counted(count, 'frame')} called bad now"
        if not (release_fingerprint(output) or "").startswith(WITHDRAWN):
            return "what it is made of changed"
        same = old == config and licence == self.workspace.licence
        left = "a subject withdrew and was taken out of it"
        if not same or self._changed_since(stage, sequences, output):
            return f"{left}, and what else it is made of may have changed"
        return f"{left}: it can be used as it is, and is packed as if they had never been in it"

    def _changed_since(self, stage: Stage, sequences: Iterable[Sequence], output: Path) -> bool:
        """Whether what a release is made of may have changed since it was written, by the times of the table of
        subjects and of the folders of checkpoints, in which one that is made anew is a new file."""
        written = output.stat().st_mtime_ns
        subjects = {sequence.item.subject for sequence in sequences}
        places = [
            self.workspace.checkpoint(name, Item(one, "_")).parent
            for one in subjects
            for name in self._given(stage)
        ]
        for place in (self.workspace.table_of_subjects, *places):
            with contextlib.suppress(OSError):
                if place is not None and os.stat(place).st_mtime_ns > written:
                    return True
        return False


def nobody_left(workspace: Workspace) -> str:
    """Why no release is written where everybody is left out."""
    root = shlex.quote(str(workspace.root))
    return f"nobody is left in it; `mimicme status {root}` says who is left out and why"


def comes_first(waiting: Mapping[str, str], more: int) -> str:
    """What a release waits for.

    Args:
        waiting: the stage that comes first, by item.
        more: items beside the first of them by name.
    """
    item = min(waiting, key=lambda text: tuple(text.split("/")))
    others = f" and of {more} more" if more else ""
    return f"'{waiting[item]}' of {item}{others} comes first"


def release_fingerprint(path: Path) -> str | None:
    """Fingerprint that a release carries; None when there is none to read, or a shard that it names is not there."""
    try:
        with h5py.File(path, "r") as handle:
            found = handle.attrs["fingerprint"]
            if "shards" in handle and not all(
                _is_there(Path(os.path.realpath(path)).parent, bytes(row["name"]).decode(), int(row["bytes"]))
                for row in handle["shards"].fields(("name", "bytes"))[:]
            ):
                return None
            return found.decode(errors="replace") if isinstance(found, bytes) else str(found)
    except (OSError, KeyError, ValueError, TypeError):
        return None


def ok_frames(path: Path) -> tuple[int, int] | None:
    """How many frames of a release are ok, and how many it has; None where that cannot be read."""
    try:
        with h5py.File(path, "r") as handle:
            statuses = handle["index"].fields("status")[:]
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError):
        return None
    return int((statuses == b"ok").sum()), len(statuses)


def _is_there(folder: Path, name: str, size: int) -> bool:
    shard = folder / Path(name).name
    return shard.is_file() and shard.stat().st_size == size


def created_at(sequences: Iterable[Sequence], newest_s: float = 0.0) -> str:
    """ISO time of a release: SOURCE_DATE_EPOCH, or the time of the newest capture file.

    Args:
        newest_s: time of the newest of other files that count too, in seconds since the epoch.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = int(epoch) if epoch.isdigit() else int(max(newest_s, newest_frame(sequences)))
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def newest_frame(sequences: Iterable[Sequence]) -> float:
    """Time of the newest mesh file, in seconds since the epoch; 0 of none."""
    newest = 0.0
    for sequence in sequences:
        for frame in sequence.frames:
            with contextlib.suppress(OSError):  # it was there when the folder was searched
                newest = max(newest, os.stat(frame.path).st_mtime)
    return newest


def captures_record(captures: Captures) -> dict[str, Any]:
    """The declaration without its place on this machine."""
    record: dict[str, Any] = {
        "unit": captures.unit,
        "up": captures.up,
        "fps": captures.fps if math.isfinite(captures.fps) else None,
    }
    # said only where it is not the rule: what was made before it could be said stays current
    if captures.sides != "image":
        record["sides"] = captures.sides
    if captures.mirrored != "auto":
        record["mirrored"] = captures.mirrored
    if captures.texture_v != "file":
        record["texture_v"] = captures.texture_v
    return record


def frames_record(captures: Captures, sequence: Sequence) -> list[list[Any]]:
    """Number and files of every frame, relative to the capture folder; times and rate where the names carry any."""
    below = os.path.realpath(captures.root).rstrip("/") + "/"

    def name(path: Path) -> str:
        text = path.as_posix()
        return text[len(below) :] if text.startswith(below) else path.name

    frames: list[list[Any]] = [
        [f.number, name(f.path), *(name(p) for p in f.duplicates)] for f in sequence.frames
    ]
    # said only where there are any: what was made of names without times stays current
    for frame, record in zip(sequence.frames, frames, strict=True):
        if frame.time_s is not None:
            record.append({"time_s": frame.time_s})
    if sequence.named_fps is not None:
        frames.append([{"named_fps": sequence.named_fps}])
    return frames


def _files_of(frames: Iterable[Iterable[Any]]) -> list[list[Any]]:
    """A list of `frames_record` without times and rate."""
    without = [[entry for entry in frame if not isinstance(entry, dict)] for frame in frames]
    return [frame for frame in without if frame]


@lru_cache(maxsize=4096)
def _waiting(state: State, reason: str, follows: bool) -> ItemState:
    """The state of an item whose inputs are not there; of thousands that wait for the same, the same one."""
    return ItemState(state, reason, follows=follows)


def described(item_state: ItemState) -> str:
    """The state of an input in words, for the items that need it."""
    return {
        "done": "is there",
        "stale": "is out of date",
        "pending": "is not made yet",
        "failed": "failed",
        "blocked": "is blocked",
    }[item_state.state]


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """In words, why a checkpoint made by `old` is not what `new` would make."""
    new = json.loads(json.dumps(new))
    said = []
    if old.get("version") != new.get("version"):
        said.append(f"the stage's version changed from {old.get('version')} to {new.get('version')}")
    said += _changed("setting", old.get("settings") or {}, new.get("settings") or {})
    said += _changed("captures", old.get("captures") or {}, new.get("captures") or {})
    if old.get("frames") != new.get("frames"):
        same = _files_of(old.get("frames") or []) == _files_of(new.get("frames") or [])
        said.append(
            "the times in the files' names are read otherwise"
            if same
            else "the capture files on disk are others"
        )
    if old.get("template") != new.get("template"):
        said.append("the template changed" if new.get("template") else "the template must be prepared again")
    before, now = old.get("inputs") or {}, new.get("inputs") or {}
    said += [f"its input '{n}' changed" for n in now if before.get(n) != now[n]]
    if old.get("expression") != new.get("expression"):
        said.append("the sequence's label changed")
    if old.get("neutral") != new.get("neutral"):
        said.append("its subject's neutral changed")
    if old.get(STANDS_IN) != new.get(STANDS_IN):
        tried = listed([f"'{name}'" for name in new.get(STANDS_IN) or ()])
        said.append(
            f"it is tried as its subject's neutral in place of {tried}"
            if tried
            else "it is no longer tried as its subject's neutral"
        )
    if old.get("siblings") != new.get("siblings"):
        said.append("its subject's other sequences changed")
    if old.get("corpus") != new.get("corpus"):
        said.append("what is learnt from all sequences changed")
    if old.get("review") != new.get("review"):
        said.append("review.csv calls " + (_frames(new.get("review") or ()) or "no frame") + " bad now")
    before, now = old.get("corrections") or {}, new.get("corrections") or {}
    if changed := sorted(int(n) for n in {*before, *now} if before.get(n) != now.get(n)):
        said.append(f"the corrected landmarks of {_frames(changed)} changed")
    return "; ".join(said) or "it was made in another way"


def _frames(numbers: Iterable[int]) -> str:
    """`frame 3`, `frames 3, 4`; empty of none."""
    known = list(numbers)
    return f"frame{'' if len(known) == 1 else 's'} {listed(known)}" if known else ""


def _changed(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    said = []
    for key in dict.fromkeys([*new, *old]):
        if key not in old:
            said.append(f"{kind} '{key}' is new")
        elif key not in new:
            said.append(f"{kind} '{key}' is gone")
        elif old[key] != new[key]:
            said.append(f"{kind} '{key}' changed from {old[key]} to {new[key]}")
    return said
