"""Runs the stages over the sequences: in parallel, again after an interruption, and on past every failure."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mimicme.pipeline.captures.catalogue import Catalogue, left_alone_by_garbage_collection
from mimicme.pipeline.config import Config
from mimicme.pipeline.corpus import Corpus
from mimicme.pipeline.errors import OutputError, UsageError, counted, exit_status
from mimicme.pipeline.items import Sequence
from mimicme.pipeline.run.account import Account
from mimicme.pipeline.run.backends import make_pool
from mimicme.pipeline.run.bookkeeping import Bookkeeping, clean
from mimicme.pipeline.run.dryrun import DryRun
from mimicme.pipeline.run.flow import Flow, legs
from mimicme.pipeline.run.forecast import Workload, read_rates
from mimicme.pipeline.run.interrupt import ignore_interrupts, interruptible
from mimicme.pipeline.run.leg_progress import LegProgress
from mimicme.pipeline.run.outcomes import Outcomes
from mimicme.pipeline.run.parts import failed
from mimicme.pipeline.run.plan import ItemState, Plan
from mimicme.pipeline.run.pool import Pool, as_generator
from mimicme.pipeline.run.preparation import Preparation
from mimicme.pipeline.run.progress import Console
from mimicme.pipeline.run.releasing import Releasing
from mimicme.pipeline.run.run_types import RunOptions, RunResult, StageResult
from mimicme.pipeline.run.runlog import RunLog
from mimicme.pipeline.run.selection import Selection
from mimicme.pipeline.run.shard import of_shard
from mimicme.pipeline.run.stage_range import stage_range, stages_of_shard
from mimicme.pipeline.run.work import Job, execute, sentence_of
from mimicme.pipeline.stage import Stage, Task, is_off
from mimicme.pipeline.whole_file import refuse_unwritable
from mimicme.pipeline.workspace import Workspace

__all__ = ["INTERRUPTED", "RunOptions", "RunResult", "StageResult", "run"]

INTERRUPTED = 130
READY_FOR_A_WORKER = 4
"""Jobs that are kept ready, so that none waits while the next subject is looked at."""


def run(
    workspace: Workspace,
    options: RunOptions,
    stages: Iterable[Stage],
    console: Console | None = None,
) -> RunResult:
    """Bring the stages up to date.

    Args:
        workspace: the workspace.
        options: what, and how.
        stages: all there are, in order.
        console: where progress and results are printed; default: nowhere.

    Raises:
        UsageError: options, settings, captures or template are not usable, or another run is going on.
    """
    all_stages = tuple(stages)
    console = console or Console()
    chosen = stage_range(all_stages, options)
    config = workspace.config(all_stages)
    catalogue = workspace.catalogue()
    with left_alone_by_garbage_collection():
        return _run(workspace, options, all_stages, console, chosen, config, catalogue)


def _run(
    workspace: Workspace,
    options: RunOptions,
    all_stages: tuple[Stage, ...],
    console: Console,
    chosen: tuple[Stage, ...],
    config: Config,
    catalogue: Catalogue,
) -> RunResult:
    release = next((s for s in chosen if s.scope == "everything"), None)
    if options.only and options.output is None and release is not None:
        if options.first is not None and options.first == options.last:
            raise UsageError(
                "a release of a part of the captures needs a file of its own",
                todo="Give it with --output RELEASE.h5.",
            )
        everything = f"`mimicme {release.name}` packs everything"
        console.say(f"No release is packed, because --only names a part; {everything}.")
        chosen = tuple(s for s in chosen if s is not release)
    if release in chosen and options.output is not None and not options.dry_run:
        refuse_unwritable(options.output)
    for message in catalogue.messages:  # before the selection: it may ask for a subject that is left out
        console.say(message)
    for sentence in catalogue.rates if chosen[:1] == all_stages[:1] else ():
        console.say(sentence)
    shard, sees, template = options.shard, "", ""
    if shard is not None:
        chosen = stages_of_shard(chosen, all_stages, config, options)
        if any(stage.uses_template for stage in chosen):
            template = workspace.template_source_digest()
        catalogue, sees = of_shard(catalogue, shard)
        console.say(
            f"Shard {shard}: {counted(len(catalogue.subjects), 'subject')}, "
            f"{counted(len(catalogue.sequences), 'sequence')}, {counted(catalogue.frame_count, 'frame')}."
        )
    selection = Selection.make(catalogue, options.only, all_stages, chosen)
    if options.dry_run:
        plan = Plan(
            workspace,
            config,
            all_stages,
            catalogue,
            workspace.template_digest(),
            shard=options.shard,
            requested=selection.requested if options.only else None,
        )
        if not (options.force or options.only):
            plan.use_ledger()
        return DryRun(plan, options, chosen, selection, console).run()
    with workspace.lock(shard, sees, template):
        # the catalogue was read before the lock was held; from here on nobody can withdraw
        if workspace.any_withdrawn(catalogue.subjects):
            raise UsageError(
                "somebody withdrew while this run began",
                where=workspace.root,
                todo="Run it again: it then leaves them out.",
            )
        if template and workspace.template_source_digest() != template:
            raise UsageError(
                "the template was changed while this run began",
                where=workspace.template_source,
                todo="Run it again.",
            )
        result = _Run(workspace, config, catalogue, all_stages, options, chosen, selection, console).run()
    if shard is not None and result.exit_code != INTERRUPTED:
        kept = workspace.overrides_but_consent
        command = shlex.join(
            ["mimicme", "run", str(workspace.root), *(word for one in kept for word in ("--set", one))]
        )
        console.say(
            f"Shard {shard} is over. When all {shard.count} are, run `{command}` once: it looks at everything and "
            "packs the release."
        )
        if kept != workspace.overrides:
            console.say("Give it what this one was given of consent and of the metadata, too.")
    return result


class _Run:
    """One run over a locked workspace."""

    def __init__(
        self,
        workspace: Workspace,
        config: Config,
        catalogue: Catalogue,
        stages: tuple[Stage, ...],
        options: RunOptions,
        chosen: tuple[Stage, ...],
        selection: Selection,
        console: Console,
    ) -> None:
        self.workspace, self.config, self.catalogue = workspace, config, catalogue
        self.stages, self.options, self.chosen, self.selection = stages, options, chosen, selection
        self.console = console
        self.account = Account(console, chosen, selection)
        self.preparation = Preparation(workspace, config, options, chosen, console)
        self.corpus_files: list[Path] = []
        self._going: dict[str, StageResult] = {}  # of the stages that run side by side
        self._workers = 1
        self._kept_ready: float = READY_FOR_A_WORKER

    def run(self) -> RunResult:
        frame_limit_s = self.config.run.frame_limit_s
        jobs = _worker_count(self.options.jobs)
        self._workers = max(jobs, 1)
        # how many workers a scheduler has, and gets, is its own affair
        self._kept_ready = math.inf if self.options.backend == "dask" else READY_FOR_A_WORKER * self._workers
        pool = make_pool(
            jobs,
            self.options.backend,
            self.options.scheduler,
            lambda job: _limit_s(job, frame_limit_s),
            self.console.say,
        )
        log: RunLog | None = None
        killed = True
        try:
            with interruptible():
                stale = self._clean()
                self._make_plan()
                log = self.log = RunLog(
                    self.workspace.new_run(), self.config.to_toml(), self.workspace.overrides
                )
                self._write_begin(log, stale)
                self.outcomes = Outcomes(self.plan, self.workspace, log)
                releasing = Releasing(self.plan, self.options, self.account, self.outcomes, pool)
                self._run_stages(pool, releasing)
                self._settle(releasing)
                killed = False
                return self._at_end(log, releasing)
        except KeyboardInterrupt:
            with ignore_interrupts():
                self.console.clear()
                pool.close(kill=True)
                if log is not None:
                    with contextlib.suppress(OutputError):
                        log.write("interrupted", seconds=round(log.seconds, 3))
                self._tell_what_was_done()
            return self._interrupted(log)
        except Exception as error:  # what ends a run is told, also a mistake of ours and want of memory
            if log is not None:
                # on a full disk: that is what the error says
                with contextlib.suppress(OutputError, OSError, MemoryError):
                    log.write("error", message=sentence_of(error), exit_code=exit_status(error))
            raise
        finally:
            with ignore_interrupts():
                pool.close(kill=killed)
                if killed or pool.deaths:
                    self._clean()
                if log is not None:
                    log.close()
                    self.bookkeeping.close()

    def _make_plan(self) -> None:
        """Find out what is to be done, and go on with what the run before wrote down."""
        # for nobody nothing is fitted, and to prepare a large template takes minutes
        template = (
            self.preparation.template() if self.selection.requested else self.workspace.template_digest()
        )
        self.plan = Plan(
            self.workspace,
            self.config,
            self.stages,
            self.catalogue,
            template,
            shard=self.options.shard,
            requested=self.selection.requested if self.options.only else None,
        )
        self.bookkeeping = Bookkeeping(self.plan, self.options.shard)
        if not (self.options.force or self.options.only):
            self.plan.use_ledger()
            self.bookkeeping.begin()

    def _write_begin(self, log: RunLog, stale: int) -> None:
        """Log that the run begins, and that so many temporary files of another one were removed."""
        log.write(
            "begin",
            stages=[s.name for s in self.chosen],
            sequences=len(self.selection.requested),
            frames=sum(len(s.frames) for s in self.selection.requested),
            removed_temporary_files=stale,
            workers=self._workers,
            process=os.getpid(),
            **self.options.limits,
        )

    def _at_end(self, log: RunLog, releasing: Releasing) -> RunResult:
        """Log and say what has become of the run."""
        account = self.account
        code = 1 if account.incomplete or (account.wrong and self.options.shard is None) else 0
        log.write("end", exit_code=code, why=account.wrong, seconds=round(log.seconds, 3))
        self._print_summary()
        if releasing.release is not None:
            self.console.result(f"release: {releasing.release}")
        return RunResult(
            code,
            tuple(account.results),
            log.folder,
            releasing.release,
            releasing.packed,
            releasing.verified,
            tuple(account.wrong),
            releasing.left,
        )

    def _interrupted(self, log: RunLog | None) -> RunResult:
        """Say how to go on; without a log nothing was begun."""
        root = shlex.quote(str(self.workspace.root))
        self.console.say(
            "Interrupted before any sequence was begun: give the same command again."
            if log is None  # of which `status` knows nothing
            else f"Interrupted; run again to continue. `mimicme status {root}` says the command, with its settings."
        )
        return RunResult(INTERRUPTED, tuple(self.account.results), log.folder if log else None)

    def _clean(self) -> int:
        return clean(self.workspace, self.catalogue, self.stages, self.options.shard)

    def _settle(self, releasing: Releasing) -> None:
        """Write down of whom everything is done, and what would make the release."""
        release = next((s for s in self.chosen if s.scope == "everything"), None)
        names = {stage.name for stage in self.stages if stage.scope == "everything"}
        told = next((r for r in self.account.results if r.stage in names), None)
        made = None
        if release is not None and releasing.wanted:
            made = release, self.selection.requested, releasing.created, releasing.wanted
        self.bookkeeping.end(told if self.options.output is None else None, made)

    # -- the stages over the sequences

    def _run_stages(self, pool: Pool, releasing: Releasing) -> None:
        before = self.stages[: self.stages.index(self.chosen[0])] if self.chosen else ()
        for stage in before:
            if stage.scope != "everything":
                self.plan.states_of_stage(stage, self.selection.of(stage, self.plan.included_neutral_of))
        working = [stage for stage in self.chosen if stage.scope != "everything"]
        self.workload = self._workload(working)
        for leg in legs(working, self.plan.uses_corpus):
            self._run_leg(leg, pool)
        for stage in self.chosen:
            if stage.scope == "everything":
                releasing.run(stage)

    def _workload(self, working: Iterable[Stage]) -> Workload:
        names = [stage.name for stage in working]
        release = next((s.name for s in self.chosen if s.scope == "everything"), None)
        everything = [*names, *([release] if release else [])]
        off = [stage.name for stage in self.chosen if is_off(self.config.stages[stage.name])]
        rates = read_rates(reversed(self.workspace.runs()))
        workload = Workload(everything, release, rates, self._workers, off)
        for sequence in self.selection.requested:
            made: str | None = None
            if sequence.item.subject not in self.plan.settled and names:
                missing = (n for n in names if not os.path.exists(self.plan.checkpoint(n, sequence.item)))
                made = names[0] if self.options.force else next(missing, None)
            workload.expect(sequence.item, len(sequence.frames), made)
        return workload

    def _looked_at(self, stage: Stage, sequence: Sequence, made: bool, there: int) -> None:
        """An item has a state; see `Flow`."""
        if made:
            self.preparation.ask_for_memory(stage)
        self.workload.looked_at(stage.name, sequence.item, len(sequence.frames), made, there)

    def _run_leg(self, leg: tuple[Stage, ...], pool: Pool) -> None:
        """Bring some stages up to date, side by side, and print what became of each."""
        results = {s.name: StageResult(s.name, off=is_off(self.config.stages[s.name])) for s in leg}
        for stage in leg:
            self.log.write("stage begins", stage=stage.name, off=results[stage.name].off)
        self._going = results
        flow = Flow(
            self.plan,
            leg,
            self.selection,
            self.options.force,
            self._job,
            results,
            self._looked_at,
            self.bookkeeping.person_over,
        )
        told = LegProgress(self.console, self.log, leg, flow, results, self.workload)
        queue: deque[Job] = deque()

        def fill() -> None:
            while flow.to_begin and len(queue) < self._kept_ready:
                queue.extend(flow.begin())

        fill()
        told.tell(now=True)
        with contextlib.closing(as_generator(pool.map(execute, queue))) as outcomes:
            for job, outcome in outcomes:
                seconds = math.nan if failed(outcome) else outcome.seconds
                self.workload.over(job.stage.name, job.frame_count, seconds)
                result = results[job.stage.name]
                result.seconds += 0.0 if math.isnan(seconds) else seconds
                if job.task.part is not None:
                    self.outcomes.part(job, outcome)
                ended = flow.finished(job, outcome, queue)
                if ended is not None:
                    self.outcomes.item(*ended, result)
                    # what goes on comes before what begins
                    queue.extendleft(reversed(flow.after(*ended)))
                fill()
                told.tell()
        flow.check_finished()
        told.tell(now=True)
        self.console.clear()
        while self.corpus_files:
            self.corpus_files.pop().unlink(missing_ok=True)
        for stage in leg:
            result = results[stage.name]
            result.findings.sort()
            decisions = self.account.count_frames(self.plan, stage, result)
            self.log.write(
                "stage ends",
                stage=stage.name,
                done=result.done,
                skipped=result.skipped,
                failed=result.failed,
                blocked=result.blocked,
                frames_ok=result.frames_ok,
                frames_rejected=result.frames_rejected,
                seconds=round(result.seconds, 3),
            )
            self.account.stage_over(self.plan, stage, result, decisions)
        self._going = {}

    def _job(self, stage: Stage, sequence: Sequence, item_state: ItemState) -> Job:
        task = Task(
            sequence,
            self.config.stages[stage.name],
            self.plan.captures,
            dict(item_state.inputs),
            item_state.neutral,
            self.workspace.template,
            item_state.siblings,
            None if item_state.corpus is None else self._corpus_file(stage, item_state.corpus),
        )
        assert item_state.record is not None
        path = self.plan.checkpoint(stage.name, sequence.item)
        absent = item_state.state == "pending"
        return Job(stage, task, path, item_state.record, self.stages.index(stage), absent=absent)

    def _corpus_file(self, stage: Stage, corpus: Corpus) -> Path:
        """The file in which a corpus is handed to the workers, written once; `_run_leg` removes it."""
        path = self.workspace.corpus(stage.name, corpus.fingerprint)
        if path not in self.corpus_files:
            corpus.save(path)
            self.corpus_files.append(path)
        return path

    def _tell_what_was_done(self) -> None:
        """The table of a run that is interrupted; of stages that were not over, the frames of what was made."""
        told = {result.stage for result in self.account.results}
        for name, result in self._going.items():
            if name not in told:
                result.frames_ok, result.frames_rejected = result.made_ok, result.made_rejected
                result.findings = sorted({*result.findings, *result.made_findings})
                self.account.results.append(result)
        if any(r.done or r.skipped or r.failed for r in self.account.results):
            self._print_summary()

    def _print_summary(self) -> None:
        self.account.print_summary(self.workspace, self.catalogue)


def _worker_count(jobs: int | None) -> int:
    if jobs is not None:
        return jobs
    import joblib

    return max(1, int(joblib.cpu_count()))


def _limit_s(job: Any, frame_limit_s: float) -> float:
    """Seconds that a job may take, if a frame may take so many; a part of the release, such as a shard, has no end."""
    return job.limit_s(frame_limit_s) if isinstance(job, Job) else math.inf
