"""`--dry-run`: what would run and why, without writing anything."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from mimicme.pipeline.errors import MimicmeError, listed
from mimicme.pipeline.items import Item
from mimicme.pipeline.run.parts import resumable_items
from mimicme.pipeline.run.plan import RELEASE, ItemState, Plan, nobody_left
from mimicme.pipeline.run.progress import Console, stage_cell
from mimicme.pipeline.run.releasing import kept_as_it_was, lost_results
from mimicme.pipeline.run.run_types import RunOptions, RunResult, StageResult
from mimicme.pipeline.run.selection import Selection
from mimicme.pipeline.stage import Stage, is_off


class DryRun:
    """Prints what would run."""

    def __init__(
        self,
        plan: Plan,
        options: RunOptions,
        chosen: tuple[Stage, ...],
        selection: Selection,
        console: Console,
    ) -> None:
        self.plan, self.options, self.chosen, self.selection = plan, options, chosen, selection
        self.console = console

    def run(self) -> RunResult:
        # of more shards than subjects some are empty, and nobody is left out
        if not self.selection.requested and self.options.shard is None:
            return self._nothing()
        results, waits = [], 0
        memory: list[str] = []
        stages = self.plan.stages
        for stage in stages[: stages.index(self.chosen[-1]) + 1] if self.chosen else ():
            result = StageResult(stage.name)
            inside = stage in self.chosen
            reasons: dict[str, list[str]] = {}
            states = self._states(stage)
            kept = self._kept(stage, states) if inside and stage.scope == "everything" else ""
            for item, item_state in states.items():
                if item_state.state == "done" and not self.options.force:
                    result.skipped += 1
                elif kept:
                    result.blocked += 1
                    reasons.setdefault(kept, []).append(self._output.name)
                elif inside and (
                    item_state.state == "blocked" or not self._reachable(stage, item, item_state)
                ):
                    result.blocked += 1
                    reasons.setdefault(f"cannot run: {item_state.reason}", []).append(str(item))
                else:
                    result.done += 1
                    why = item_state.reason if item_state.state != "done" else "--force"
                    why = f"failed last time: {why}" if item_state.state == "failed" else why
                    reasons.setdefault(f"would run: {why}", []).append(str(item))
            if not inside:
                continue
            results.append(result)
            waits += result.blocked
            total = result.done + result.skipped + result.blocked
            if is_off(self.plan.config.stages[stage.name]):
                self.console.result(f"{stage_cell(stage.name, True)}: hands on what it is given")
                continue
            self.console.result(
                f"{stage.name}: {result.done:,} of {total:,} would run, {result.skipped:,} are current"
            )
            if result.done and stage.memory:
                memory.append(f"  {stage.name}: {stage.memory.rstrip('.')}")
            for reason, items in reasons.items():
                self.console.result(f"  {reason} [{listed(items, 3)}]")
            resumable = [] if self.options.force else resumable_items(self.plan, stage, states)
            if resumable:
                self.console.result(f"  would go on with {listed(resumable, 3)}")
        if memory:
            root = shlex.quote(str(self.plan.workspace.root))
            self.console.result(
                f"memory of a worker, by stage (`mimicme plan {root}` measures it, and says the --jobs that fits):"
            )
            for line in memory:
                self.console.result(line)
        return RunResult(1 if waits else 0, tuple(results))

    def _kept(self, stage: Stage, states: Mapping[Item, ItemState]) -> str:
        """Why the release that is there would be kept, in words; empty where it would be packed anew, or is current."""
        if states[RELEASE].state == "done" and not self.options.force:
            return ""
        names = {one.name for one in self.chosen}
        try:
            lost = lost_results(
                self.plan, self.options, self.selection.requested, stage, self._output, made_first=names
            )
        except (MimicmeError, OSError, MemoryError) as error:
            return f"cannot run: {error}"
        said = kept_as_it_was(self.plan, self.options, self.selection.requested, stage, self._output, lost)
        return f"would be kept: {said}" if lost else ""

    def _nothing(self) -> RunResult:
        """Where everybody is left out there are no stages to tell of."""
        self.console.result(f"nothing would run: {nobody_left(self.plan.workspace)}")
        releases = any(stage.scope == "everything" for stage in self.chosen)
        if releases and (old := self.plan.older_release(self._output)):
            self.console.result(old)
        return RunResult(1)

    @property
    def _output(self) -> Path:
        """The release's file."""
        return self.options.output or self.plan.workspace.release

    def _states(self, stage: Stage) -> dict[Item, ItemState]:
        if stage.scope == "everything":
            return {RELEASE: self.plan.state_of_release(stage, self.selection.requested, self._output)}
        found = self.plan.states_of_stage(
            stage, self.selection.of(stage, self.plan.included_neutral_of), try_again=stage in self.chosen
        )
        if stage in self.chosen and self.options.force:
            for item, item_state in found.items():
                if item_state.state == "done":
                    self.plan.states[stage.name, item] = ItemState("stale", item_state.reason, follows=True)
        return found

    def _reachable(self, stage: Stage, item: Item, item_state: ItemState) -> bool:
        """Whether everything an item waits for is inside the range that runs."""
        if stage.scope == "everything" or not item_state.follows:
            return True
        names = {s.name for s in self.chosen}
        return all(n in names or self.plan.states[n, item].state == "done" for n in stage.needs)
