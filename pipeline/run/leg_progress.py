"""How far stages that run side by side are, on the console and in the log."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from mimicme.pipeline.run.flow import Flow
from mimicme.pipeline.run.forecast import Workload
from mimicme.pipeline.run.progress import INTERVAL_S, Console, Progress, span
from mimicme.pipeline.run.run_types import StageResult
from mimicme.pipeline.run.runlog import RunLog
from mimicme.pipeline.stage import Stage

TOLD_EVERY_S = 2.0
"""Between two lines of the log that say how far a run is."""


class LegProgress:
    """Tells how far some stages are, on the console and in the log."""

    def __init__(
        self,
        console: Console,
        log: RunLog,
        leg: tuple[Stage, ...],
        flow: Flow,
        results: Mapping[str, StageResult],
        workload: Workload,
    ) -> None:
        self._log, self._flow, self._results, self._workload = log, flow, results, workload
        self._names = [stage.name for stage in leg]
        self._progress = Progress(console, span(self._names), flow.sequences)
        self._said = self._logged = -math.inf

    def tell(self, now: bool = False) -> None:
        """Say it, if it was not said just now."""
        if not now and time.monotonic() - self._said < INTERVAL_S:
            return
        self._said = time.monotonic()
        ahead = self._workload.ahead()
        self._progress.show(
            self._flow.over,
            sum(result.failed for result in self._results.values()),
            ahead.text(),
            now,
            (sum(map(_over, self._results.values())), len(self._names) * self._flow.sequences),
        )
        if not now and time.monotonic() - self._logged < TOLD_EVERY_S:
            return
        self._logged = time.monotonic()
        self._log.write(
            "progress",
            stages=self._names,
            sequences=self._flow.sequences,
            over=self._flow.over,
            skipped={name: result.skipped for name, result in self._results.items()},
            blocked={name: result.blocked for name, result in self._results.items()},
            so_far={name: _so_far(result) for name, result in self._results.items()},
            seconds_left=None if math.isnan(ahead.seconds) else round(ahead.seconds, 1),
            unknown=ahead.unknown,
        )


def _over(result: StageResult) -> int:
    """Items of a stage that nothing is left to do for."""
    return result.done + result.skipped + result.failed + result.blocked


def _so_far(result: StageResult) -> list[float]:
    """What the lines of the log say of a stage together, so that who begins to read need not read them all: items done
    and failed, frames ok and rejected of these, and seconds."""
    return [result.done, result.failed, result.made_ok, result.made_rejected, round(result.seconds, 3)]
