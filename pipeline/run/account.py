"""What a run has come to: what became of each stage, why not every frame is ok, and the summary at the end."""

from __future__ import annotations

from collections.abc import Iterable

from mimicme.pipeline.captures.catalogue import Catalogue
from mimicme.pipeline.errors import UsageError, counted
from mimicme.pipeline.items import Item
from mimicme.pipeline.run.findings import print_findings
from mimicme.pipeline.run.plan import Plan
from mimicme.pipeline.run.progress import (
    STAGE_TABLE,
    Console,
    count_cells,
    duration,
    frame_cells,
    stage_cell,
    table,
)
from mimicme.pipeline.run.run_types import StageResult
from mimicme.pipeline.run.selection import Selection
from mimicme.pipeline.run.tallies import tallies
from mimicme.pipeline.run.wordings import wordings
from mimicme.pipeline.stage import Stage, is_off
from mimicme.pipeline.workspace import Workspace


class Account:
    """Counts and says it, stage by stage.

    Args:
        chosen: the stages of the run.
        selection: its sequences.

    Attributes:
        results: of the stages that are over, in order.
        incomplete: something failed, is not there, or waits for what failed.
        wrong: why not every frame is ok, in words.
    """

    def __init__(self, console: Console, chosen: tuple[Stage, ...], selection: Selection) -> None:
        self.console, self.chosen, self.selection = console, chosen, selection
        self.results: list[StageResult] = []
        self.incomplete = False
        self.wrong: list[str] = []
        self._told: set[str] = set()  # of the neutrals, which several stages begin from
        self._waiting: set[Item] = set()  # who was told of there, as waiting

    def lacks(self, why: str) -> None:
        """Note that something is not there that should be, in words."""
        self.incomplete = True
        self.wrong.append(why)

    def count_frames(self, plan: Plan, stage: Stage, result: StageResult) -> list[str]:
        """Count the frames of the stage's checkpoints and those that it was the first to reject; what it decided, as
        sentences."""
        sequences = self.selection.of(stage, plan.included_neutral_of)
        decisions: list[tuple[str, str, str]] = []
        for told in tallies(plan, stage, sequences):
            result.frames_ok += told.ok
            result.frames_rejected += told.rejected
            result.findings += told.findings
            result.newly_rejected += len(told.findings)
            result.called_bad += told.called_bad
            result.newly_called_bad += told.newly_called_bad
            result.remarks += told.remarks
            decisions += told.decisions
        return wordings(decisions, len(sequences))

    def stage_over(
        self, plan: Plan, stage: Stage, result: StageResult, decisions: Iterable[str] = ()
    ) -> None:
        """Take up what became of a stage, and say it.

        Raises:
            UsageError: the first of the run can do nothing, because what it needs is missing.
        """
        waiting = self._newly_waiting(plan, stage, result)
        self.wrong += _wrong(result, bool(self.wrong), *waiting)
        self.results.append(result)
        self.incomplete |= bool(result.failed or result.blocked)
        named = stage_cell(stage.name, result.off)
        wrong = f", {result.blocked} blocked" if result.blocked else ""
        before = result.frames_rejected - result.newly_rejected
        earlier = f" ({before} before)" if before > 0 else ""
        self.console.say(
            f"{named}: hands on what it is given; {result.failed} failed{wrong}"
            if result.off
            else f"{named}: {result.done} done, {result.skipped} skipped, {result.failed} failed{wrong}; "
            f"{counted(result.frames_ok, 'frame')} ok, {result.newly_rejected} rejected{earlier}; "
            f"{duration(result.seconds)} of workers"
        )
        for sentence in decisions:
            self.console.say(f"  {sentence}")
        if stage.scope == "neutral":
            subjects = {s.item.subject for s in self.selection.requested}
            for sentence in plan.neutral_choices(subjects):
                if sentence not in self._told:
                    self.console.say(f"  {sentence}")
                self._told.add(sentence)
        if (
            len(self.chosen)
            and result.done + result.skipped == 0
            and result.blocked
            and stage is self.chosen[0]
        ):
            item_state = next(
                s for (n, _), s in plan.states.items() if n == stage.name and s.state == "blocked"
            )
            makes = plan.workspace.command("run", "--until", self.chosen[-1].name)
            failed = plan.workspace.command("status", "--failed")
            raise UsageError(
                f"{stage.name} cannot run: {item_state.reason}",
                todo=f"`{makes}` makes what is missing, and this; `{failed}` says what failed.",
            )

    def _newly_waiting(self, plan: Plan, stage: Stage, result: StageResult) -> tuple[int, int]:
        """How many items wait at a stage that waited at none before: for what failed, and for what was not made."""
        # who waits where a stage does nothing is told of at the next one that does something, if the run has one
        later = self.chosen[self.chosen.index(stage) + 1 :]
        told_later = result.off and any(not is_off(plan.config.stages[one.name]) for one in later)
        if not result.blocked or told_later:
            return 0, 0
        sequences = self.selection.of(stage, plan.included_neutral_of)
        waiting = {s.item for s in sequences if plan.states[stage.name, s.item].state == "blocked"}
        newly = waiting - self._waiting
        self._waiting |= waiting
        for_failed = sum(plan.waits_for_failed(stage, item) for item in newly)
        return for_failed, len(newly) - for_failed

    def print_summary(self, workspace: Workspace, catalogue: Catalogue) -> None:
        """The table of all stages, what was found, and what counts for nothing until it is mended."""
        rows = [
            [
                stage_cell(r.stage, r.off),
                *count_cells(r.states(), r.off),
                *frame_cells(r.frames_ok, r.frames_rejected, r.off),
                duration(r.seconds),
            ]
            for r in self.results
        ]
        for line in table([STAGE_TABLE, *rows]):
            self.console.result(line)
        print_findings(
            self.console, "findings", [f for r in self.results for f in r.findings], workspace.root
        )
        print_findings(self.console, "remarks", [f for r in self.results for f in r.remarks], workspace.root)
        for sentence in catalogue.unheeded:  # said at the beginning too, which has scrolled away
            self.console.result(sentence)


def _wrong(result: StageResult, told: bool, for_failed: int, for_others: int) -> list[str]:
    """Why, after a stage, not every frame is ok, in words; a frame is told of at the stage that rejected it, and not at
    all where a person called it bad.

    Args:
        told: something was told of a stage before; what was rejected before the first of a run no other tells.
        for_failed, for_others: items that wait here and at no stage before, by what they wait for.
    """
    said = []
    here = result.newly_rejected - result.newly_called_bad
    before = 0 if told else result.frames_rejected - result.called_bad - here
    if before > 0:
        said.append(f"{counted(before, 'frame')} rejected by the stages before")
    if here:
        said.append(f"{counted(here, 'frame')} rejected by {result.stage}")
    if result.failed:
        said.append(f"{result.failed} failed at {result.stage}")
    if for_failed:
        said.append(f"{for_failed} waiting at {result.stage} for what failed")
    if for_others:
        said.append(f"{for_others} waiting at {result.stage} for what comes before")
    return said
