"""Runs the stages over the sequences: in parallel, again after an interruption, and on past every failure."""

from __future__ import annotations

import contextlib
import difflib
import glob
import json
import math
import os
import re
import shlex
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mimicme.pipeline.captures.catalogue import Catalogue, left_alone_by_garbage_collection
from mimicme.pipeline.config import Config
from mimicme.pipeline.corpus import Corpus
from mimicme.pipeline.errors import (
    CheckpointError,
    OutputError,
    UsageError,
    counted,
    exit_status,
    listed,
    out_of,
)
from mimicme.pipeline.items import Item, Sequence
from mimicme.pipeline.numerics.memory import hold_blas_buffers, refuse_too_little
from mimicme.pipeline.run.backends import make_pool
from mimicme.pipeline.run.checkpoint_index import TALLY, Failure
from mimicme.pipeline.run.dryrun import DryRun
from mimicme.pipeline.run.findings import print_findings, sum_tallies
from mimicme.pipeline.run.flow import Flow, legs
from mimicme.pipeline.run.forecast import Workload, read_rates
from mimicme.pipeline.run.interrupt import ignore_interrupts, interruptible
from mimicme.pipeline.run.parts import failed
from mimicme.pipeline.run.plan import NOBODY, RELEASE, ItemState, Plan, release_fingerprint
from mimicme.pipeline.run.pool import Killed, Pool
from mimicme.pipeline.run.progress import (
    INTERVAL_S,
    STAGE_TABLE,
    Console,
    Progress,
    count_cells,
    duration,
    frame_cells,
    span,
    stage_cell,
    table,
)
from mimicme.pipeline.run.run_types import RunOptions, RunResult, StageResult
from mimicme.pipeline.run.runlog import RunLog
from mimicme.pipeline.run.selection import Selection
from mimicme.pipeline.run.settled import Signatures, purge
from mimicme.pipeline.run.shard import of_shard
from mimicme.pipeline.run.standing import Standing, forget
from mimicme.pipeline.run.tallies import settle, settle_one, tallies
from mimicme.pipeline.run.work import Job, Outcome, execute, failed_outcome, sentence_of
from mimicme.pipeline.stage import Stage, Task, is_off
from mimicme.pipeline.whole_file import refuse_unwritable, write_whole
from mimicme.pipeline.workspace import Workspace

__all__ = ["INTERRUPTED", "RunOptions", "RunResult", "StageResult", "run"]

INTERRUPTED = 130
READY_FOR_A_WORKER = 4
"""Jobs that are kept ready, so that none waits while the next subject is looked at."""
TOLD_EVERY_S = 2.0
"""Between two lines of the log that say how far a run is."""
MOST_WORDINGS = 3
"""Of the decisions of a stage that begin alike, so many are said."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


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
    chosen = _range(all_stages, options)
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
        chosen = _stages_of_shard(chosen, all_stages, config, options)
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
            workspace, config, all_stages, catalogue, workspace.template_digest(), shard=options.shard
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


def _stages_of_shard(
    chosen: tuple[Stage, ...], stages: tuple[Stage, ...], config: Config, options: RunOptions
) -> tuple[Stage, ...]:
    """Of the stages that are to run, those that work on each subject by itself.

    Raises:
        UsageError: one of them, or one before them, does not; nothing is left; or a part was named.
    """
    if options.only:
        raise UsageError(
            "--only names a part, and so does --shard", todo="Give one of them: what is done stays done."
        )
    working = tuple(stage for stage in chosen if stage.scope != "everything")
    if not working or options.output is not None:
        raise UsageError(
            "no shard writes a release",
            where="--shard",
            todo="When all shards are over, a run without --shard packs it.",
        )
    for place, stage in enumerate(stages[: stages.index(working[-1]) + 1]):
        if stage.scope == "corpus" and config.stages[stage.name].enabled:
            raise UsageError(
                f"'{stage.name}' learns from all subjects, and a shard has some",
                where="--shard",
                todo=f"Run the shards with --until {stages[place - 1].name}; then a run without --shard.",
            )
    return working


def _range(stages: tuple[Stage, ...], options: RunOptions) -> tuple[Stage, ...]:
    names = [s.name for s in stages]

    def place(name: str | None, default: int, option: str) -> int:
        if name is None:
            return default
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            raise UsageError(
                f"there is no stage '{name}'",
                where=option,
                expected="one of " + ", ".join(names),
                todo=f"Did you mean '{close[0]}'?" if close else None,
            )
        return names.index(name)

    first = place(options.first, 0, "--from")
    last = place(options.last, len(names) - 1, "--until")
    if first > last:
        raise UsageError(f"'{names[first]}' comes after '{names[last]}'", where="--from and --until")
    return stages[first : last + 1]


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
        self.results: list[StageResult] = []
        self.told: set[str] = set()  # of the neutrals, which several stages begin from
        self.release: Path | None = None
        self.corpus_files: list[Path] = []
        self.incomplete = False  # something failed, is not there, or waits for what failed
        self.wrong: list[str] = []  # why not every frame is ok, in words
        self._waiting: set[Item] = set()  # who was told of there, as waiting
        self.packed = False
        self.verified: tuple[str, ...] = ()
        self.created = self.wanted = ""
        self.standing: Standing | None = None
        self._signatures: Signatures | None = None
        self._going: dict[str, StageResult] = {}  # of the stages that run side by side
        self._newly_settled: set[str] = set()
        self._releases = {stage.name for stage in stages if stage.scope == "everything"}
        self._asked_for_memory = False
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
                template = self._template()
                self.plan = Plan(
                    self.workspace,
                    self.config,
                    self.stages,
                    self.catalogue,
                    template,
                    shard=self.options.shard,
                )
                if not (self.options.force or self.options.only):
                    self.plan.use_ledger()
                    self._begin_writing_down()
                log = self.log = RunLog(
                    self.workspace.new_run(), self.config.to_toml(), self.workspace.overrides
                )
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
                self._run_stages(pool)
                self._settle()
                killed = False
                code = 1 if self.incomplete or (self.wrong and self.options.shard is None) else 0
                log.write("end", exit_code=code, why=self.wrong, seconds=round(log.seconds, 3))
                self._print_summary()
                return RunResult(
                    code,
                    tuple(self.results),
                    log.folder,
                    self.release,
                    self.packed,
                    self.verified,
                    tuple(self.wrong),
                )
        except KeyboardInterrupt:
            with ignore_interrupts():
                self.console.clear()
                pool.close(kill=True)
                if log is not None:
                    with contextlib.suppress(OutputError):
                        log.write("interrupted", seconds=round(log.seconds, 3))
                self._tell_what_was_done()
            root = shlex.quote(str(self.workspace.root))
            self.console.say(
                f"Interrupted; run again to continue. `mimicme status {root}` says the command, with its settings."
            )
            return RunResult(INTERRUPTED, tuple(self.results), log.folder if log else None)
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
                    with contextlib.suppress(OSError, OutputError):  # it saves time alone
                        self.plan.index.save()
                        self._take_over(self.workspace.checkpoint_index)

    def _clean(self) -> int:
        """Remove half-written files of runs and workers that ended early, and what was told of who is gone; of a shard,
        those of its own subjects."""
        names = [stage.name for stage in self.stages]
        if self.options.shard is not None:
            return self.workspace.remove_temporary_files(names, self.catalogue.subjects)
        known = frozenset(self.catalogue.subjects)
        for ledger in (self.workspace.ledger, *self.workspace.of_shards(self.workspace.ledger)):
            with contextlib.suppress(OSError, OutputError):  # what they save is time alone
                purge(ledger, known)
        with contextlib.suppress(OSError, OutputError):
            forget(self.workspace, known)
        return self.workspace.remove_temporary_files(names)

    def _take_over(self, path: Path) -> None:
        """Remove what runs of shards saved in place of `path`: a whole run has written it down there."""
        if self.options.shard is None:
            for file in self.workspace.of_shards(path):
                file.unlink(missing_ok=True)

    def _template(self) -> str | None:
        """Digest of the prepared template; prepared here, once, before there are workers."""
        known = self.workspace.template_digest()
        if known is not None or not any(s.uses_template for s in self.chosen):
            return known
        with self.workspace.template_lock(
            lambda: self.console.say("Another shard prepares the template; waiting for it.")
        ):
            known = self.workspace.template_digest()
            return self._prepared() if known is None else known

    def _prepared(self) -> str:
        self._refuse_too_little()
        self.console.tell("preparing the template", now=True)
        began = time.monotonic()
        hold_blas_buffers()
        template = self.workspace.prepare_template()
        self.console.say(f"Template '{template.name}' prepared in {duration(time.monotonic() - began)}.")
        for note in template.notes:
            self.console.say(f"  {note}")
        return template.digest

    def _refuse_too_little(self) -> None:
        """Before anything that takes the libraries of the chain is begun, here or in workers, which inherit the limit.

        Raises:
            UsageError: a process may not have what they take.
        """
        if self.options.backend != "dask":  # its workers are wherever somebody started them
            refuse_too_little()

    def _begin_writing_down(self) -> None:
        """Let what becomes of each person be written down as it is over; a run that is killed then leaves that, and
        `status` tells of it while the run goes on.  It saves time alone."""
        if self.plan.ledger is None:
            return
        with contextlib.suppress(OSError, OutputError):
            self.plan.ledger.begin(self.plan.settled)
            self._take_over(self.workspace.ledger)
            self._signatures = self.plan.signatures()
        if self.options.shard is None:  # it tells of everybody
            self.standing = Standing(self.plan)

    def _person_over(self, subject: str) -> None:
        # first: what changes while the items are looked at makes another
        signature = self.standing.signature(subject) if self.standing is not None else ""
        settled = None
        with contextlib.suppress(OSError):
            if self._signatures is not None:
                settled = settle_one(self.plan, self._signatures, subject)
        if settled is not None:
            self._newly_settled.add(subject)
            self.plan.settle_now(subject, settled)
        if self.standing is not None:
            self.standing.over(subject, signature, settled)

    def _settle(self) -> None:
        """Write down of whom everything is done, and what would make the release."""
        if self.standing is not None:
            self.standing.list_again()
            self._tell_of_release(self.standing)
        if self.plan.ledger is None:
            return
        settle(self.plan, self._newly_settled)
        release = next((s for s in self.chosen if s.scope == "everything"), None)
        if release is not None and self.wanted:
            self.plan.note_release(release, self.selection.requested, self.created, self.wanted)
        with contextlib.suppress(OSError, OutputError):  # it saves time alone
            self.plan.ledger.save()

    def _tell_of_release(self, standing: Standing) -> None:
        """Write down what became of the release, where it is the workspace's own and this run looked at it."""
        told = next((r for r in self.results if r.stage in self._releases), None)
        if told is not None and self.options.output is None:
            failure = Failure.read(self.workspace.failure(told.stage, RELEASE)) if told.failed else None
            standing.release("failed" if told.failed else "done", failure.message if failure else "")

    # -- the stages over the sequences

    def _run_stages(self, pool: Pool) -> None:
        before = self.stages[: self.stages.index(self.chosen[0])] if self.chosen else ()
        for stage in before:
            if stage.scope != "everything":
                self.plan.states_of_stage(stage, self.selection.of(stage, self.plan.neutral_of))
        working = [stage for stage in self.chosen if stage.scope != "everything"]
        self.workload = self._workload(working)
        for leg in legs(working, self.plan.uses_corpus):
            self._run_leg(leg, pool)
        for stage in self.chosen:
            if stage.scope == "everything":
                self._run_release_stage(stage, pool)

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
        if made and not self._asked_for_memory and any(s.uses_template for s in self.chosen):
            self._asked_for_memory = True
            self._refuse_too_little()
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
            self._person_over,
        )
        told = _Told(self.console, self.log, leg, flow, results, self.workload)
        queue: deque[Job] = deque()

        def fill() -> None:
            while flow.to_begin and len(queue) < self._kept_ready:
                queue.extend(flow.begin())

        fill()
        told.tell(now=True)
        with contextlib.closing(_generator(pool.map(execute, queue))) as outcomes:
            for job, outcome in outcomes:
                seconds = math.nan if failed(outcome) else outcome.seconds
                self.workload.over(job.stage.name, job.frame_count, seconds)
                result = results[job.stage.name]
                result.seconds += 0.0 if math.isnan(seconds) else seconds
                if job.task.part is not None:
                    self._log_part(job, outcome)
                ended = flow.finished(job, outcome, queue)
                if ended is not None:
                    self._record_outcome(*ended, result)
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
            decisions = self._count_frames(stage, result)
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
            self._finish_stage(stage, result, decisions)
        self._going = {}

    def _finish_stage(self, stage: Stage, result: StageResult, decisions: Iterable[str] = ()) -> None:
        self.wrong += _wrong(result, bool(self.wrong), *self._newly_waiting(stage, result))
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
            for sentence in self.plan.neutral_choices(subjects):
                if sentence not in self.told:
                    self.console.say(f"  {sentence}")
                self.told.add(sentence)
        if (
            len(self.chosen)
            and result.done + result.skipped == 0
            and result.blocked
            and stage is self.chosen[0]
        ):
            item_state = next(
                s for (n, _), s in self.plan.states.items() if n == stage.name and s.state == "blocked"
            )
            raise UsageError(
                f"{stage.name} cannot run: {item_state.reason}",
                todo="`mimicme run` makes what is missing; `mimicme status --failed` says what failed.",
            )

    def _newly_waiting(self, stage: Stage, result: StageResult) -> tuple[int, int]:
        """How many items wait at a stage that waited at none before: for what failed, and for what was not made."""
        if not result.blocked:
            return 0, 0
        sequences = self.selection.of(stage, self.plan.neutral_of)
        waiting = {s.item for s in sequences if self.plan.states[stage.name, s.item].state == "blocked"}
        newly = waiting - self._waiting
        self._waiting |= waiting
        for_failed = sum(self.plan.waits_for_failed(stage, item) for item in newly)
        return for_failed, len(newly) - for_failed

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

    def _log_part(self, job: Job, outcome: Outcome | Killed) -> None:
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

    def _record_outcome(self, job: Job, outcome: Outcome | Killed, result: StageResult) -> None:
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
            self._record_failure(stage, item, outcome, job.record, result)
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
        self.log.write(
            "item",
            stage=stage.name,
            item=str(item),
            outcome="done",
            **_costs(outcome),
            frames_ok=summary.ok if summary else 0,
            frames_rejected=summary.rejected if summary else 0,
        )

    def _record_failure(
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

    def _count_frames(self, stage: Stage, result: StageResult) -> list[str]:
        """Count the frames of the stage's checkpoints and those that it was the first to reject; what it decided, as
        sentences."""
        sequences = self.selection.of(stage, self.plan.neutral_of)
        decisions: list[tuple[str, str, str]] = []
        for told in tallies(self.plan, stage, sequences):
            result.frames_ok += told.ok
            result.frames_rejected += told.rejected
            result.findings += told.findings
            result.newly_rejected += len(told.findings)
            result.remarks += told.remarks
            decisions += told.decisions
        return _decisions(decisions, len(sequences))

    # -- the release

    def _run_release_stage(self, stage: Stage, pool: Pool) -> None:
        output = self.options.output or self.workspace.release
        result = StageResult(stage.name)
        began, cpu_began = time.monotonic(), time.process_time()
        if not self._has_inputs(stage, output):
            return
        self.log.write("stage begins", stage=stage.name, items=False)
        requested = self.selection.requested
        created = self.created = self.plan.created(requested)
        wanted = self.wanted = self.plan.release_wanted(stage, requested, created)
        if not self.options.force and output.is_file() and release_fingerprint(output) == wanted:
            result.skipped = 1
        else:
            self.console.draw(f"{stage.name}: writing {output.name}", now=True)
            try:
                packed = self._pack(stage, output, created, wanted, pool)
            except UsageError:
                raise
            except Exception as error:  # recorded like the failure of any item
                record = self.plan.release_record(stage, requested, created)
                self._record_failure(stage, RELEASE, failed_outcome(error, began), record, result)
                self._finish_stage(stage, result)
                return
            self.workspace.failure(stage.name, RELEASE).unlink(missing_ok=True)
            result.done = 1
            self.packed, self.verified = True, getattr(packed, "verified", ())
            result.frames_ok = getattr(packed, "ok", 0)
            result.frames_rejected = getattr(packed, "rejected", 0)
            for message in getattr(packed, "messages", ()):
                self.console.say(message)
            for why in getattr(packed, "excluded", {}).values():
                self.console.say(why)
        # what the stages of this run rejected has been told of
        told = {one.stage for one in self.results}
        others = [s for s in self.stages if s.name in stage.needs and s.name not in told]
        rejected = max((sum(t.rejected for t in tallies(self.plan, s, requested)) for s in others), default=0)
        if rejected and not told:
            self.wrong.append(f"{counted(rejected, 'frame')} rejected by the stages before")
        self.release = output
        result.seconds, result.cpu_s = time.monotonic() - began, time.process_time() - cpu_began
        self.results.append(result)
        self.log.write(
            "stage ends",
            stage=stage.name,
            items=False,
            done=result.done,
            skipped=result.skipped,
            seconds=round(result.seconds, 3),
        )
        word = "written" if result.done else "is current"
        self.console.say(f"{stage.name}: {output} {word}; {duration(result.seconds)}")

    def _has_inputs(self, stage: Stage, output: Path) -> bool:
        """Whether there is something for a release; says which sequences go in as they are.

        Raises:
            UsageError: there is nothing, and nothing else was asked for.
        """
        requested = self.selection.requested
        # what failed earlier in this run, or is out of date, is not among the collected checkpoints
        missing = sorted(
            {
                str(sequence.item)
                for sequence in requested
                if sequence.item.subject not in self.plan.settled
                for need in stage.needs
                if self.plan.states[need, sequence.item].state != "done"
            }
        )
        if missing:
            self.incomplete = True
            self.wrong.append(
                f"{out_of(len(missing), len(requested), 'sequence')} not complete in the release"
            )
            they = "and goes in as it is" if len(missing) == 1 else "and go in as they are"
            incomplete = out_of(
                len(missing), len(requested), "sequence", verbs=("is not complete", "are not complete")
            )
            self.console.say(f"{stage.name}: {incomplete} {they}: {listed(missing, 3)}")
        if len(missing) < len(requested) or any(self.plan.collected(stage, s) for s in requested):
            return True
        if requested:
            why, todo = "nothing of it is there", "Run `mimicme run` first."
        else:
            why, todo = NOBODY, None
        if stage is self.chosen[0]:
            raise UsageError(f"there is nothing to {stage.name}: {why}", todo=todo)
        self.incomplete = True
        self.wrong.append("no release written")
        self.console.say(f"{stage.name}: no release is written, because {why}.")
        if old := self.plan.older_release(output):
            self.console.say(old)
        return False

    def _pack(self, stage: Stage, output: Path, created: str, fingerprint: str, pool: Pool) -> Any:
        from mimicme.pipeline.template import load_prepared

        hold_blas_buffers()
        collect = stage.collect or _Collected
        inputs = [collect(s, self.plan.collected(stage, s)) for s in self.selection.requested]
        output.parent.mkdir(parents=True, exist_ok=True)
        for stale in output.parent.glob(f".{glob.escape(output.name)}.*.tmp"):  # of a run that was killed
            stale.unlink(missing_ok=True)
        assert stage.everything is not None
        return stage.everything(
            inputs=inputs,
            settings=self.config.stages[stage.name],
            template=load_prepared(self.workspace.template) if stage.uses_template else None,
            captures=self.workspace.captures,
            subjects=self.workspace.metadata(),
            output=output,
            created=created,
            config_json=json.dumps(self.plan.release_config(), sort_keys=True),
            fingerprint=fingerprint,
            stages=tuple(s for s in self.plan.stages if s.name in stage.needs),
            licence=self.workspace.licence,
            force=self.options.force,
            side_by_side=lambda work, jobs: _side_by_side(pool, work, jobs),
            remembered=self.workspace.packed,
        )

    # -- the end

    def _tell_what_was_done(self) -> None:
        """The table of a run that is interrupted; the frames of stages that were not over were not counted."""
        told = {result.stage for result in self.results}
        self.results += [result for name, result in self._going.items() if name not in told]
        if any(r.done or r.skipped or r.failed for r in self.results):
            self._print_summary()

    def _print_summary(self) -> None:
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
            self.console, "findings", [f for r in self.results for f in r.findings], self.workspace.root
        )
        print_findings(
            self.console, "remarks", [f for r in self.results for f in r.remarks], self.workspace.root
        )
        for sentence in self.catalogue.unheeded:  # said at the beginning too, which has scrolled away
            self.console.result(sentence)
        if self.release is not None:
            self.console.result(f"release: {self.release}")


class _Told:
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
            self._flow.over, sum(result.failed for result in self._results.values()), ahead.text(), now
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


def _wrong(result: StageResult, told: bool, for_failed: int, for_others: int) -> list[str]:
    """Why, after a stage, not every frame is ok, in words; a frame is told of at the stage that rejected it.

    Args:
        told: something was told of a stage before; what was rejected before the first of a run no other tells.
        for_failed, for_others: items that wait here and at no stage before, by what they wait for.
    """
    said = []
    here = result.newly_rejected
    before = 0 if told else result.frames_rejected - here
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


def _so_far(result: StageResult) -> list[float]:
    """What the lines of the log say of a stage together, so that who begins to read need not read them all: items done
    and failed, frames ok and rejected of these, and seconds."""
    return [result.done, result.failed, result.made_ok, result.made_rejected, round(result.seconds, 3)]


def _decisions(told: Iterable[tuple[str, str, str]], sequences: int) -> list[str]:
    """What a stage decided, as sentences: each wording with how many sequences it is of, and of those that begin alike
    (`mm: ...`) the `MOST_WORDINGS` most frequent.  Sentences that differ in their numbers alone are one wording.

    Args:
        told: see `Tally.decisions`.
        sequences: that the stage ran over.
    """
    groups: dict[tuple[str, str], dict[str, list[tuple[str, str]]]] = {}
    counts: dict[str, list[str]] = {}
    for name, sentence, item in told:
        if name.endswith(TALLY):
            counts.setdefault(name, []).append(sentence)
            continue
        wordings = groups.setdefault((name, sentence.split(":")[0]), {})
        wordings.setdefault(_NUMBER.sub("0", sentence), []).append((sentence, item))
    lines = []
    for wordings in groups.values():
        most = sorted(
            wordings.values(), key=len, reverse=True
        )  # stable: of equals, the one that was met first
        lines += [_wording(said, sequences) for said in most[:MOST_WORDINGS]]
        if rest := most[MOST_WORDINGS:]:
            others = [item for said in rest for _, item in said]
            lines.append(
                f"{out_of(len(others), sequences, 'sequence')} ({listed(others, 4)}): decided otherwise, in "
                f"{counted(len(rest), 'more way')}, which the report tells"
            )
    return lines + [line for said in counts.values() if (line := sum_tallies(said))]


def _wording(said: list[tuple[str, str]], sequences: int) -> str:
    """A sentence that was said of some sequences, (sentence, item) each, with which they are."""
    sentence, times = Counter(sentence for sentence, _ in said).most_common(1)[0]
    if len(said) == sequences:
        words = "every sequence"
    else:
        words = f"{out_of(len(said), sequences, 'sequence')} ({listed((item for _, item in said), 4)})"
    return f"{words}: {sentence}" + (
        " (one of them; the others have other numbers)" if times < len(said) else ""
    )


@dataclass(frozen=True)
class _Collected:
    """An input of a stage of scope `everything` that brings no type of its own."""

    sequence: Sequence
    checkpoints: Mapping[str, Path]


def _costs(outcome: Outcome) -> dict[str, float]:
    """What a job cost, as far as that is known, for the log (`runlog.read_costs` takes it back)."""
    costs = {"seconds": outcome.seconds, "cpu_s": outcome.cpu_s, "peak_mb": outcome.peak_mb}
    return {name: round(cost, 3) for name, cost in costs.items() if not math.isnan(cost)}


def _worker_count(jobs: int | None) -> int:
    if jobs is not None:
        return jobs
    import joblib

    return max(1, int(joblib.cpu_count()))


def _limit_s(job: Any, frame_limit_s: float) -> float:
    """Seconds that a job may take, if a frame may take so many; a part of the release, such as a shard, has no end."""
    return job.limit_s(frame_limit_s) if isinstance(job, Job) else math.inf


def _side_by_side(pool: Pool, work: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
    """The results of jobs, as they finish.

    Raises:
        OutputError: a worker died over one.
    """
    with contextlib.closing(_generator(pool.map(work, deque(jobs)))) as outcomes:
        for _, result in outcomes:
            if isinstance(result, Killed):
                raise OutputError("a worker died while it wrote a part of the release", seen=result.why)
            yield result


def _generator(outcomes: Iterator[Any]) -> Any:
    """As a generator, so that it can be closed."""
    yield from outcomes
