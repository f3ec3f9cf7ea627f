"""`--dry-run`: what would run and why, without writing anything."""

from __future__ import annotations

from mimicme.pipeline.errors import listed
from mimicme.pipeline.items import Item
from mimicme.pipeline.run.parts import begun
from mimicme.pipeline.run.plan import RELEASE, Plan, Verdict
from mimicme.pipeline.run.progress import Console
from mimicme.pipeline.run.run_types import RunOptions, RunResult, StageResult
from mimicme.pipeline.run.selection import Selection
from mimicme.pipeline.stage import Stage


class DryRun:
    """Says what would run."""

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
        results, waits = [], 0
        stages = self.plan.stages
        for stage in stages[: stages.index(self.chosen[-1]) + 1] if self.chosen else ():
            result = StageResult(stage.name)
            inside = stage in self.chosen
            reasons: dict[str, list[str]] = {}
            verdicts = self._verdicts(stage)
            for item, verdict in verdicts.items():
                if verdict.state == "done" and not self.options.force:
                    result.skipped += 1
                elif inside and (verdict.state == "blocked" or not self._reachable(stage, item, verdict)):
                    result.blocked += 1
                    reasons.setdefault(f"cannot run: {verdict.reason}", []).append(str(item))
                else:
                    result.done += 1
                    why = verdict.reason if verdict.state != "done" else "--force"
                    why = f"failed last time: {why}" if verdict.state == "failed" else why
                    reasons.setdefault(f"would run: {why}", []).append(str(item))
            if not inside:
                continue
            results.append(result)
            waits += result.blocked
            total = result.done + result.skipped + result.blocked
            self.console.result(
                f"{stage.name}: {result.done} of {total} would run, {result.skipped} are current"
            )
            if result.done and stage.memory:
                self.console.result(f"  memory of a worker: {stage.memory}")
            for reason, items in reasons.items():
                self.console.result(f"  {reason} [{listed(items, 3)}]")
            goes_on = [] if self.options.force else begun(self.plan, stage, verdicts)
            if goes_on:
                self.console.result(f"  would go on with {listed(goes_on, 3)}")
        return RunResult(1 if waits else 0, tuple(results))

    def _verdicts(self, stage: Stage) -> dict[Item, Verdict]:
        if stage.scope == "everything":
            output = self.options.output or self.plan.workspace.release
            return {RELEASE: self.plan.judge_release(stage, self.selection.asked, output)}
        found = self.plan.judge_stage(stage, self.selection.of(stage))
        if stage in self.chosen:
            # what failed is tried again, so what waits for it may run
            for item, verdict in found.items():
                if verdict.state == "failed" or (self.options.force and verdict.state == "done"):
                    self.plan.verdicts[stage.name, item] = Verdict("stale", verdict.reason, follows=True)
        return found

    def _reachable(self, stage: Stage, item: Item, verdict: Verdict) -> bool:
        """Whether everything an item waits for is inside the range that runs."""
        if stage.scope == "everything" or not verdict.follows:
            return True
        names = {s.name for s in self.chosen}
        return all(n in names or self.plan.verdicts[n, item].state == "done" for n in stage.needs)
