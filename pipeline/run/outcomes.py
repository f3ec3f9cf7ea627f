"""What became of each item and part: its state in the plan, the record of its failure, its line in the log."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mimicme.pipeline.errors import CheckpointError
from mimicme.pipeline.items import Item
from mimicme.pipeline.run.findings import new_findings
from mimicme.pipeline.run.parts import failed
from mimicme.pipeline.run.plan import ItemState, Plan
from mimicme.pipeline.run.pool import Killed
from mimicme.pipeline.run.run_types import StageResult
from mimicme.pipeline.run.runlog import RunLog
from mimicme.pipeline.run.work import Job, Outcome
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.whole_file import write_whole
from mimicme.pipeline.workspace import Workspace

MOST_FINDINGS = 1000
"""Of a stage that is not over, kept for a run that is interrupted: at its end all are read from what was made."""


class Outcomes:
    """Notes them.

    Args:
        plan: its states and its index are kept true.
        workspace: in which failures are recorded.
    """

    def __init__(self, plan: Plan, workspace: Workspace, log: RunLog) -> None:
        self.plan, self.workspace, self.log = plan, workspace, log

    def part(self, job: Job, outcome: Outcome | Killed) -> None:
        """What became of a part goes to the log alone; what it means for its item is printed with the item."""
        fields: dict[str, Any] = {}
        if isinstance(outcome, Killed):
            fields["message"] = outcome.why
        else:
            if outcome.usage is not None:
                raise outcome.usage
            fields |= _costs(outcome)
            if outcome.error is not None:
                fields["message"] = outcome.error
        self.log.write(
            "part",
            stage=job.stage.name,
            item=str(job.item),
            part=str(job.task.part),
            outcome="failed" if failed(outcome) else "done",
            **fields,
        )

    def item(self, job: Job, outcome: Outcome | Killed, result: StageResult) -> None:
        """Note the end of an item, and count it."""
        stage, item = job.stage, job.item
        if isinstance(outcome, Killed):
            why = outcome.why[:1].upper() + outcome.why[1:] + "."
            outcome = Outcome(float("nan"), float("nan"), why, "Killed")
        if outcome.usage is not None:
            raise outcome.usage
        if outcome.error is not None:
            if outcome.kind == CheckpointError.__name__:
                for path in job.task.inputs.values():
                    self.plan.index.invalidate(path)
            self.failure(stage, item, outcome, job.record, result)
            return
        if self.plan.has_failure(stage.name, item):
            self.workspace.failure(stage.name, item).unlink(missing_ok=True)
        result.done += 1
        self.plan.states[stage.name, item] = ItemState(
            "done", "", job.record, job.task.inputs, job.task.neutral
        )
        if outcome.entry is not None:
            self.plan.index.put(job.path, outcome.entry)
            summary = outcome.entry[1]
        else:
            summary = self.plan.index.read(job.path)
        result.made_ok += summary.ok if summary else 0
        result.made_rejected += summary.rejected if summary else 0
        if summary and summary.rejected and len(result.made_findings) < MOST_FINDINGS:
            result.made_findings += new_findings(self.plan, stage, item)[0]
        self.log.write(
            "item",
            stage=stage.name,
            item=str(item),
            outcome="done",
            **_costs(outcome),
            frames_ok=summary.ok if summary else 0,
            frames_rejected=summary.rejected if summary else 0,
        )

    def failure(
        self, stage: Stage, item: Item, outcome: Outcome, record: Mapping[str, Any], result: StageResult
    ) -> None:
        """Write the record of a failed item."""
        message = outcome.error or ""
        result.failed += 1
        result.findings.append(f"{item}: {stage.name} failed: {message}")
        self.plan.states[stage.name, item] = ItemState("failed", message, record)
        known = outcome.seconds == outcome.seconds
        self.plan.note_failure(stage.name, item)
        write_whole(
            self.workspace.failure(stage.name, item),
            json.dumps(
                {
                    "stage": stage.name,
                    "item": str(item),
                    "kind": outcome.kind,
                    "message": message,
                    "seconds": round(outcome.seconds, 3) if known else None,
                    "when": datetime.now(UTC).isoformat(timespec="seconds"),
                    "traceback": outcome.traceback,
                    "made_by": dict(record),
                },
                indent=1,
            )
            + "\n",
        )
        self.log.write(
            "item",
            stage=stage.name,
            item=str(item),
            outcome="failed",
            kind=outcome.kind,
            message=message,
            seconds=round(outcome.seconds, 3) if known else None,
        )


def _costs(outcome: Outcome) -> dict[str, float]:
    """What a job cost, as far as that is known, for the log (`runlog.read_costs` takes it back)."""
    costs = {"seconds": outcome.seconds, "cpu_s": outcome.cpu_s, "peak_mb": outcome.peak_mb}
    return {name: round(cost, 3) for name, cost in costs.items() if not math.isnan(cost)}
