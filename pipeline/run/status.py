"""What is done and what is not, read from the checkpoints: true at any moment, also while a run is going on."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

import h5py

from mimicme.pipeline.captures.catalogue import Catalogue
from mimicme.pipeline.errors import counted, listed, out_of
from mimicme.pipeline.items import Item, Sequence, Shard
from mimicme.pipeline.run import standing
from mimicme.pipeline.run.checkpoint_index import CheckpointSummary, Failure, FigureSummary, merge_summaries
from mimicme.pipeline.run.findings import EXAMPLES, by_kind
from mimicme.pipeline.run.neutrals import MOST_CHOICES, more_choices, neutral_sentence
from mimicme.pipeline.run.parts import resumable_items
from mimicme.pipeline.run.plan import RELEASE, STATES, Plan, comes_first, ok_frames
from mimicme.pipeline.run.progress import count_cells, frame_cells, span, stage_cell, table
from mimicme.pipeline.run.settled import Tally
from mimicme.pipeline.run.tallies import tally
from mimicme.pipeline.run.watch import LastRun, unfinished_lines, unfinished_runs
from mimicme.pipeline.stage import Stage, is_off
from mimicme.pipeline.workspace import Workspace

_NUMBERS_AND_FILES = re.compile(r"'[^']*[/.][^']*'|[0-9.]+")
"""In which causes of one kind differ: every sequence has files of its own.  The names of settings stay."""
_FOR_A_NEUTRAL = re.compile(r"'([^']+)' comes first$")
EXPECTED = "expected_error"
SAID = {"s2m_median": " (distance to the surface)"}
"""Words beside a figure of the line of a stage."""
MAX_FIGURES = 6
FIGURES_WIDTH = 100


@dataclass
class ItemStatus:
    """One item of one stage; `summary`: of its checkpoint when it is done."""

    item: str
    state: str
    reason: str
    summary: CheckpointSummary | None = None
    failure: dict[str, Any] | None = None

    @property
    def frames(self) -> list[dict[str, Any]]:
        """Number, ok, reason, note, message of each frame when it is done; made anew, for there may be millions."""
        return [
            {"frame": n, "ok": s.ok, "reason": s.reason, "note": s.note, "message": s.message}
            for n, s in (self.summary.frames() if self.summary else ())
        ]


@dataclass
class StageStatus:
    """One stage: items by state, and frames of the items that are done.

    Attributes:
        begun: items of which some parts are made (`resumable_items`).
        settled: what is told of subjects of whom everything is done; their items are not among `items`.
        figures: what the stage measured of the items that are done, in its own order.
        off: it is switched off, and its items hand on what they were given.
        counted: items that are neither in `items` nor `settled`, by state; troubles: findings of these.
    """

    stage: str
    items: list[ItemStatus]
    findings: list[str]
    remarks: list[str]
    begun: list[str] = field(default_factory=list)
    settled: Tally = field(default_factory=Tally)
    figures: list[FigureSummary] = field(default_factory=list)
    off: bool = False
    counted: Counter[str] = field(default_factory=Counter)
    troubles: int = 0

    @property
    def states(self) -> Counter[str]:
        return Counter(i.state for i in self.items) + Counter(done=self.settled.items) + self.counted

    @property
    def frames_ok(self) -> int:
        return self.settled.ok + sum(i.summary.ok for i in self.items if i.summary)

    @property
    def frames_rejected(self) -> int:
        return self.settled.rejected + sum(i.summary.rejected for i in self.items if i.summary)


@dataclass(frozen=True)
class ReviewCounts:
    """Frames of the captures that a person looked at, those of them called bad, and those with corrected landmarks.

    Attributes:
        bad_frames: a sentence for each that is called bad.
    """

    reviewed: int = 0
    bad: int = 0
    corrected: int = 0
    bad_frames: tuple[str, ...] = ()

    @classmethod
    def of(cls, sequences: Iterable[Sequence]) -> ReviewCounts:
        reviewed = corrected = 0
        bad = []
        for sequence in sequences:
            reviewed += sum(frame.verdict is not None for frame in sequence.frames)
            corrected += sum(frame.correction is not None for frame in sequence.frames)
            bad += [_called_bad(sequence.item, number, reason) for number, reason in sequence.bad.items()]
        return cls(reviewed, len(bad), corrected, tuple(bad))


@dataclass
class Status:
    """The state of a workspace.

    Attributes:
        messages: about the captures; unheeded: about verdicts and corrections that count for nothing.
        by_folders: the times of folders were looked at, and not every file (`read_standing`).
        runs: those that go on, by their shards (`Workspace.running_runs`).
        unfinished: those that are over and did not come to their end.
        released: frames of the workspace's release that are ok, and all that it has; None: there is none to read.
        kept_out: how many subjects of that release are kept out by now: no run has packed it since they were refused.
        command: that makes what is not there or out of date, with the settings that were given here.
    """

    workspace: str
    running: bool
    subjects: int
    sequences: int
    frames: int
    stages: list[StageStatus]
    messages: tuple[str, ...] = ()
    review: ReviewCounts = ReviewCounts()
    unheeded: tuple[str, ...] = ()
    by_folders: bool = False
    runs: Mapping[Shard | None, str] = field(default_factory=dict)
    unfinished: tuple[LastRun, ...] = ()
    released: tuple[int, int] | None = None
    kept_out: int = 0
    command: str = "mimicme run"

    @property
    def to_be_made(self) -> bool:
        """Whether a run would find something that no run has made yet, or that is out of date."""
        return any(s.states[state] for s in self.stages for state in ("stale", "pending"))

    def lines(self) -> list[str]:
        """For people."""
        header = ["stage", *STATES, "frames ok", "rejected so far"]
        rows = [
            [
                stage_cell(s.stage, s.off),
                *count_cells({state: s.states[state] for state in STATES}, s.off),
                *frame_cells(s.frames_ok, s.frames_rejected, s.off),
            ]
            for s in self.stages
        ]
        lines = [
            f"{self.workspace}: {counted(self.subjects, 'subject')}, {counted(self.sequences, 'sequence')}, "
            f"{counted(self.frames, 'frame')}; " + self._going_on(),
            *(f"  shard {shard}: {said}" for shard, said in self.runs.items() if shard is not None),
            *unfinished_lines(self.unfinished),
        ]
        first, *others = table([header, *rows])
        lines.append(first)
        for line, stage in zip(others, self.stages, strict=True):
            lines += [line, *([] if stage.off else _figure_lines(stage.figures))]
        if self.review.reviewed or self.review.corrected:
            lines.append(
                f"review: {out_of(self.review.reviewed, self.frames, 'frame')} looked at, {self.review.bad:,} called "
                f"bad; landmarks of {self.review.corrected:,} corrected"
            )
        if self.released is not None and not self.released[0]:
            of = counted(self.released[1], "frame")
            lines.append(f"release.h5 has no frame that is ok, of {of}: nothing can be made of it")
        if self.kept_out:
            lines.append(
                f"release.h5 still has {counted(self.kept_out, 'subject')} who must not be in it by now: refused by "
                f"the table of subjects, or withdrawn; `{self.command}` packs it without them"
            )
        lines += self.unheeded
        reasons = Counter(
            f"{s.stage}: {i.reason}" for s in self.stages for i in s.items if i.state == "stale" and i.reason
        )
        lines += [f"out of date, {reason} ({count})" for reason, count in reasons.most_common(8)]
        lines += [f"{s.stage} goes on with {listed(s.begun, 3)}" for s in self.stages if s.begun]
        troubles = sum(len(s.findings) + s.troubles for s in self.stages)
        if troubles:
            lines.append(
                f"{troubles:,} failed or rejected: see `mimicme status {shlex.quote(self.workspace)} --failed`"
            )
        if self.to_be_made and not self.running:
            words = {"pending": "pending", "stale": "out of date"}
            what = " or ".join(
                word for state, word in words.items() if any(s.states[state] for s in self.stages)
            )
            lines.append(f"Next: `{self.command}` makes what is {what}")
        if self.by_folders:
            lines.append(
                "told from what the runs wrote down: every folder is as it was then. What was overwritten in "
                "place since is not seen; `mimicme status --every-file` looks at each file."
            )
        return lines

    def _going_on(self) -> str:
        """Whether a run is going on, and whose; of shards which, and which others there are."""
        if not self.running:
            return "no run is going on"
        shards = [shard for shard in self.runs if shard is not None]
        if not shards:
            said = self.runs.get(None, "")
            return "a run is going on" + (f" ({said})" if said else "")
        count = shards[0].count
        others = [str(k) for k in range(1, count + 1) if k not in {shard.number for shard in shards}]
        idle = (
            f"; nobody works on {'shard' if len(others) == 1 else 'shards'} {listed(others, 8)}"
            if others
            else ""
        )
        return f"{out_of(len(shards), count, 'shard', verbs=('is', 'are'))} worked on{idle}"

    def failed_lines(self, each: bool = False) -> list[str]:
        """What failed, waits, was rejected, called bad or noted.

        Args:
            each: a sentence for every item, frame and note; else one for those of a kind (`by_kind`).
        """
        findings = [f for s in self.stages for f in s.findings]
        remarks = [r for s in self.stages for r in s.remarks]
        if each:
            blocked = [
                f"{i.item}: {s.stage} waits: {i.reason}"
                for s in self.stages
                for i in s.items
                if i.state == "blocked" and not s.off
            ]
        else:
            findings, remarks, blocked = by_kind(findings), by_kind(remarks), self._blocked_lines()
        told = [*findings, *blocked, *self.unheeded, *self.review.bad_frames, *remarks]
        told += self._to_make_lines("stale", each)
        return [*(told or ["nothing failed, nothing was rejected"]), *self._to_make_lines("pending", each)]

    def _to_make_lines(self, state: str, each: bool) -> list[str]:
        """What is out of date, or not made yet, with the command that makes it: who asks what failed may mean that.
        A sentence for those that begin at one stage for causes of one kind, or for `each`; what is told of as failed,
        waiting or out of date is not told of as not made.  None while a run goes on."""
        told = {
            one.item
            for stage in self.stages
            for one in stage.items
            if state == "pending" and one.state in ("failed", "blocked", "stale")
        }
        first: dict[str, tuple[str, str]] = {}
        for stage in self.stages:
            for one in () if stage.off or self.running else stage.items:
                if one.state == state and one.item not in told:
                    first.setdefault(one.item, (stage.stage, one.reason if state == "stale" else ""))
        sequences = [item for item in first if item != RELEASE.sequence] or list(first)
        alike: dict[tuple[str, str], list[str]] = {}
        for item in sequences:
            stage_name, reason = first[item]
            waits = _FOR_A_NEUTRAL.search(reason)
            if waits and waits[1] in first:  # for the cause that its neutral has
                stage_name, reason = first[item] = first[waits[1]]
            kind = item if each else _NUMBERS_AND_FILES.sub("#", reason)
            alike.setdefault((stage_name, kind), []).append(item)
        what = "out of date" if state == "stale" else "not made yet"
        lines = []
        for (stage_name, _), items in alike.items():
            reasons = [first[item][1] for item in items]
            many = len(items) > 1
            named = f"{len(items):,} sequences ({listed(items, EXAMPLES)}) are" if many else f"{items[0]} is"
            on = "" if items[0] == RELEASE.sequence else f" from {stage_name} on"
            because = f": {reasons[0]}" if reasons[0] else ""
            example = "" if len(set(reasons)) == 1 else " (said of the first)"
            lines.append(
                f"{named} {what}{on}{because}{example}; `{self.command}` makes {'them' if many else 'it'}"
            )
        return lines

    def _blocked_lines(self) -> list[str]:
        """What waits for something that failed, a sentence for a cause: what waits for what waits is not told apart."""
        waiting: dict[str, tuple[str, list[str]]] = {}
        for stage in self.stages:
            for one in () if stage.off else stage.items:
                if one.state == "blocked":
                    waiting.setdefault(one.item, (one.reason, []))[1].append(stage.stage)
        causes: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for item, (reason, stages) in waiting.items():
            causes.setdefault((reason, tuple(stages)), []).append(item)
        return [
            (f"{len(items):,} sequences ({listed(items, EXAMPLES)}): " if len(items) > 1 else f"{items[0]}: ")
            + f"{span(stages)} {'waits' if len(stages) == 1 else 'wait'}: {reason}"
            for (reason, stages), items in causes.items()
        ]

    def to_record(self) -> dict[str, Any]:
        """For programs: JSON-able."""
        return {
            "workspace": self.workspace,
            "running": self.running,
            "runs": [
                {"shard": None if shard is None else str(shard), "process": said}
                for shard, said in self.runs.items()
            ],
            "unfinished": [asdict(run) for run in self.unfinished],
            "released": None
            if self.released is None
            else dict(zip(("frames_ok", "frames"), self.released, strict=True)),
            "released_but_kept_out": self.kept_out,
            "subjects": self.subjects,
            "sequences": self.sequences,
            "frames": self.frames,
            "messages": [*self.messages, *self.unheeded],
            "review": {
                "reviewed": self.review.reviewed,
                "bad": self.review.bad,
                "corrected": self.review.corrected,
            },
            "stages": [
                {
                    "stage": s.stage,
                    "off": s.off,
                    "items": {state: s.states[state] for state in STATES},
                    "begun": s.begun,
                    "frames_ok": s.frames_ok,
                    "frames_rejected": s.frames_rejected,
                    "figures": [
                        # JSON has no word for the mean of nothing
                        {k: None if v != v else v for k, v in figure._asdict().items()}
                        for figure in s.figures
                    ],
                    "detail": [
                        {
                            "item": i.item,
                            "state": i.state,
                            "reason": i.reason,
                            "frames": i.frames,
                            "failure": i.failure,
                        }
                        for i in s.items
                    ],
                }
                for s in self.stages
            ],
        }


def read_status(workspace: Workspace, stages: Iterable[Stage], each: bool = True) -> Status:
    """The state of every item of every stage.  Writes nothing.

    Args:
        each: every item is told of; False: what a run has found done is told together, which is quick.

    Raises:
        UsageError, ConfigError, InputError: the workspace, its settings or its captures cannot be used.
    """
    runs = workspace.running_runs()
    config = workspace.config(stages)
    catalogue = workspace.catalogue()
    plan = Plan(workspace, config, stages, catalogue, workspace.template_digest())
    if not each:
        plan.use_ledger()
    plan.determine_all_states()
    found = [
        _release_status(plan, stage)
        if stage.scope == "everything"
        else _stage_status(plan, stage, catalogue.sequences)
        for stage in plan.stages
    ]
    return Status(
        str(workspace.root),
        bool(runs),
        len(catalogue.subjects),
        len(catalogue.sequences),
        catalogue.frame_count,
        found,
        (
            *(message for message in catalogue.messages if message not in catalogue.unheeded),
            *plan.neutral_choices(catalogue.subjects),
        ),
        ReviewCounts.of(catalogue.sequences),
        catalogue.unheeded,
        runs=runs,
        unfinished=tuple(unfinished_runs(workspace)),
        released=ok_frames(workspace.release),
        kept_out=_kept_out(workspace),
        command=workspace.command("run"),
    )


def _kept_out(workspace: Workspace) -> int:
    """How many subjects of the release are kept out by now; of one that cannot be read nothing is said."""
    try:
        with h5py.File(workspace.release, "r") as handle:
            names = list(handle["subjects"])
    except (OSError, KeyError, TypeError):
        return 0
    return len(workspace.kept_out(names))


MANY_SEQUENCES = 5_000
"""From so many on, `status` is told from what runs wrote down: to look at every file would take longer than a second
or two."""
MOST_OPEN = 2_000
"""Sequences that are looked at beside that; where there are more, everything is looked at."""


def read_standing(workspace: Workspace, stages: Iterable[Stage], many: int = MANY_SEQUENCES) -> Status | None:
    """The state of a large workspace as runs wrote it down person by person (`run.standing`), checked against the
    times of all folders and not against every file.  Writes nothing.

    Args:
        many: a workspace with fewer sequences is not told of.

    Returns:
        None where too little is written down, or it does not count any more: `read_status` tells.

    Raises:
        UsageError, ConfigError: the workspace or its settings cannot be used.
    """
    try:  # of a small workspace the catalogue is quicker asked than this is read
        if many and os.stat(workspace.listing).st_size < many * 40:
            return None
    except OSError:
        return None
    runs = workspace.running_runs()
    config = workspace.config(stages)
    nobody = Catalogue((), {}, "", ())
    plan = Plan(workspace, config, stages, nobody, workspace.template_digest())
    working = [stage for stage in plan.stages if stage.scope != "everything"]
    told = None if any(map(plan.uses_corpus, working)) else standing.read(plan, working)
    if told is None:
        return None
    people = told.listing.people
    sequences = sum(person.sequences for person in people.values())
    if sequences < many or sum(people[subject].sequences for subject in told.open) > MOST_OPEN:
        return None
    catalogue = standing.catalogue_of(plan, told.listing, told.open)
    if catalogue is None:
        return None
    some = Plan(workspace, config, stages, catalogue, plan.template, without_index=True)
    pending = sum(people[subject].sequences for subject in told.pending)
    found = []
    for stage in working:
        some.states_of_stage(stage, catalogue.sequences)
        one, totals = _stage_status(some, stage, catalogue.sequences, few=True), told.totals[stage.name]
        one.counted = totals.states + Counter(pending=pending)
        one.settled = Tally(0, totals.ok, totals.rejected)
        one.troubles = totals.troubles
        one.figures = merge_summaries([*totals.figures, *one.figures])
        found.append(one)
    for stage in plan.stages:
        if stage.scope == "everything":
            state = _standing_release(some, stage, found, told)
            if state is None:
                return None
            findings = [f"release: {stage.name} failed: {state.reason}"] if state.state == "failed" else []
            found.append(StageStatus(stage.name, [state], findings, []))
    listing = told.listing
    bad = tuple(_called_bad(item, number, why) for item, number, why in listing.bad)
    return Status(
        str(workspace.root),
        bool(runs),
        len(people),
        sequences,
        sum(person.frames for person in people.values()),
        found,
        (*listing.messages, *_standing_choices(some, told)),
        ReviewCounts(listing.reviewed, len(bad), listing.corrected, bad),
        listing.unheeded,
        by_folders=True,
        runs=runs,
        unfinished=tuple(unfinished_runs(workspace)),
        released=ok_frames(workspace.release),
        kept_out=_kept_out(workspace),
        command=workspace.command("run"),
    )


def _standing_release(
    plan: Plan, stage: Stage, found: Iterable[StageStatus], told: standing.Told
) -> ItemStatus | None:
    """The state of the release; None where it cannot be told without a look at everything."""
    waiting = {
        one.item: needed.stage
        for needed in reversed([s for s in found if s.stage in stage.needs])
        for one in needed.items
        if one.state in ("stale", "pending")
    }
    more = sum(told.listing.people[subject].sequences for subject in told.pending)
    if told.pending:
        root = plan.captures.root
        if (first := standing.first_item(told.listing, told.pending[0], root)) is None:
            return None
        waiting[str(first)] = stage.needs[0]
        more -= 1
    if waiting:
        there = plan.workspace.release.is_file()
        return ItemStatus(
            "release", "stale" if there else "pending", comes_first(waiting, len(waiting) + more - 1)
        )
    return None if told.release is None else ItemStatus("release", *told.release)


def _standing_choices(plan: Plan, told: standing.Told) -> list[str]:
    people = told.listing.people
    said = told.choices | {
        subject: choice for subject in plan.catalogue.subjects for choice in plan.neutral_choices([subject])
    }
    for subject, person in people.items():
        if person.neutral and subject not in said:
            said[subject] = neutral_sentence(subject, person.neutral, "")
    return [said[subject] for subject in sorted(said)][:MOST_CHOICES] + more_choices(len(said))


def _called_bad(item: object, number: int, why: str) -> str:
    return f"{item} frame {number}: called bad in review.csv: {why or 'no reason given'}"


def _stage_status(
    plan: Plan, stage: Stage, sequences: tuple[Sequence, ...], few: bool = False
) -> StageStatus:
    items: list[ItemStatus] = []
    findings: list[str] = []
    remarks: list[str] = []
    together, figures = Tally(), []
    for subject, group in groupby(sequences, key=lambda sequence: sequence.item.subject):
        settled = plan.settled.get(subject)
        if settled is not None:
            told = settled.tally(stage.name)
            together.items += told.items
            together.ok += told.ok
            together.rejected += told.rejected
        else:
            own = list(group)
            for sequence in own:
                one = _item_status(plan, stage, sequence.item)
                items.append(one)
                if one.state == "failed":
                    findings.append(f"{one.item}: {stage.name} failed: {one.reason}")
            told = tally(plan, stage, own)
        findings += told.findings
        remarks += told.remarks
        figures += told.figures
    states = {s.item: plan.states[stage.name, s.item] for s in sequences}
    begun = resumable_items(plan, stage, states, few)
    off = is_off(plan.config.stages[stage.name])
    return StageStatus(stage.name, items, findings, remarks, begun, together, merge_summaries(figures), off)


def _figure_lines(figures: Iterable[FigureSummary]) -> Iterator[str]:
    """The first figures of a stage by their means, in one short line; none: no line.

    What is expected to be wrong comes first: a distance to the surface says nothing of how far a mesh has slid along
    it, and would be read for how good it is.
    """
    there = [f for f in figures if f.frames]
    there.sort(key=lambda f: f.name != EXPECTED)
    cells = [
        f"{f.name} {_number(f.mean)}{'' if f.unit in ('', '1') else ' ' + f.unit}{SAID.get(f.name, '')}"
        for f in there
    ]
    if not cells:
        return
    line, shown = f"  mean {cells[0]}", 1
    for cell in cells[1:MAX_FIGURES]:
        more = "" if shown + 1 == len(cells) else "; more in --json"
        if len(f"{line}, {cell}{more}") > FIGURES_WIDTH:
            break
        line, shown = f"{line}, {cell}", shown + 1
    yield line if shown == len(cells) else f"{line}; more in --json"


def _number(value: float) -> str:
    """Three digits that say something, and no powers of ten for counts."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _item_status(plan: Plan, stage: Stage, item: Item) -> ItemStatus:
    item_state = plan.states[stage.name, item]
    one = ItemStatus(str(item), item_state.state, item_state.reason)
    if item_state.state == "done":
        one.summary = plan.index.read(plan.checkpoint(stage.name, item))
    elif item_state.state == "failed":
        failure = Failure.read(plan.workspace.failure(stage.name, item))
        if failure is not None:
            one.failure = {"kind": failure.kind, "when": failure.when, "traceback": failure.traceback}
    return one


def _release_status(plan: Plan, stage: Stage) -> StageStatus:
    one = _item_status(plan, stage, RELEASE)
    one.item = "release"
    findings = [f"release: {stage.name} failed: {one.reason}"] if one.state == "failed" else []
    return StageStatus(stage.name, [one], findings, [])
