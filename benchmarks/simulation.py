"""The real runner over many sequences whose stages only wait, write a checkpoint, and now and then fail, die or hang.

What a stage would compute is slept, so that many more workers than this machine has cores can be simulated; what the
runner does for an item - plan, hand out, note, write down - is done in earnest.  Which item fails, dies, takes long or
hangs follows from its name alone; each does so once, and is made when it is tried again.

Every command is a process of its own, whose memory is its own; on the simulated machine it has a core, and so workers
give way to it here.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mimicme.pipeline.checkpoint import Checkpoint, CheckpointWriter, fingerprint
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.items import Item
from mimicme.pipeline.run import checkpoint_index, runner
from mimicme.pipeline.run.checkpoint_index import CheckpointSummary, FigureSummary, file_signature
from mimicme.pipeline.run.run_types import RunOptions, RunResult
from mimicme.pipeline.run.runner import run as run_stages
from mimicme.pipeline.run.status import read_standing, read_status
from mimicme.pipeline.run.work import Job, Outcome, failed_outcome
from mimicme.pipeline.run.worker import Worker
from mimicme.pipeline.stage import Stage, Task
from mimicme.pipeline.workspace import Workspace
from mimicme.stages import STAGES

Record = dict[str, Any]
OF_A_PERSON, LENGTH = 20, 3
FAILS, DIES, STRAGGLES = 1 / 500, 1 / 1000, 1 / 500
"""The shares of items that do."""
MOST_FAIL, MOST_DIE = 500, 50
"""About so many at most, however many items there are: what failed makes its person's later stages stale, and a worker
that starts costs more than hundreds of these items."""
LONGER, LONG_S = 20.0, 0.5
"""How many times as long a straggler takes, and at least so many seconds."""
OPENS = 1 / 20
"""The share of items that open the checkpoint before their own, for their frames, as real stages do: that it is there,
each finds out."""
HANGS = "align", "S00000/e03"
LIMIT_S = 5.0
"""A frame's, so that the one item that hangs ends."""
NICER = 4
"""By so much workers give way to the run's own process."""
LINKS = 30_000
"""To one file; a file system may allow no more than some 65,000."""
STATUS_S, RUN_S, MOST_MB, MOST_MS = 2.0, 20.0, 500.0, 1.0
"""The bounds: CPU seconds, memory, CPU milliseconds an item."""
OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


def chance(*words: object) -> float:
    """A number from 0 to 1 that follows from the words."""
    digest = hashlib.blake2b(" ".join(map(str, words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


@dataclass(frozen=True)
class Rates:
    """The shares of items that fail, or kill their worker, the first time."""

    failing: float
    dying: float

    @classmethod
    def of(cls, sequences: int) -> Rates:
        items = sequences * sum(stage.scope != "everything" for stage in STAGES)
        return cls(min(FAILS, MOST_FAIL / items), min(DIES, MOST_DIE / items))

    def fails(self, stage: str, item: str) -> bool:
        """Whether an item does, the first time."""
        return chance(stage, item, "fails") < self.failing


@dataclass(frozen=True)
class Stub:
    """What stands for a stage's `compute`; its first failure, kill or hanging leaves a mark in `marks`, and it does
    better the next time."""

    stage: str
    before: str
    item_s: float
    marks: Path
    rates: Rates
    apart: bool
    """In a worker, which may wait, die and hang; the run's own process may not."""

    def __call__(self, task: Task[Any], out: CheckpointWriter) -> None:
        item = task.sequence.item
        earlier = self.earlier(task)
        if earlier is not None and chance(self.stage, item, "opens") < OPENS:
            with Checkpoint(earlier) as opened:
                out.continue_from(opened)
        else:
            for frame in task.sequence.frames if earlier is None else ():
                out.sources.read(frame.path)
            out.frames([frame.number for frame in task.sequence.frames])
        out.figure("figure", "mm")[:] = 1
        self.befall(item)

    def earlier(self, task: Task[Any]) -> Path | None:
        """The checkpoint before the item's own; None: it has none.

        Raises:
            RuntimeError: it is not there.
        """
        path = task.inputs[self.before] if self.before else None
        if path is not None and not path.exists():
            raise RuntimeError(f"{self.stage} of {task.sequence.item} began before {self.before} was made")
        return path

    def befall(self, item: Item) -> None:
        """What happens to the item besides that it is made."""
        takes_s = self.item_s * (0.5 + chance(self.stage, item, "time"))
        if chance(self.stage, item, "long") < STRAGGLES:
            takes_s = max(LONGER * takes_s, LONG_S)
        if takes_s and self.apart:
            time.sleep(takes_s)
        if self.rates.fails(self.stage, str(item)) and self._first_time("fails", item):
            raise InputError("this item fails", where=str(item))
        if (
            self.apart
            and chance(self.stage, item, "dies") < self.rates.dying
            and self._first_time("dies", item)
        ):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.apart and (self.stage, str(item)) == HANGS and self._first_time("hangs", item):
            time.sleep(1e6)

    def _first_time(self, what: str, item: Item) -> bool:
        mark = self.marks / f"{what}-{self.stage}-{item.subject}-{item.sequence}"
        first = not mark.exists()
        mark.touch()
        return first


def execute_bare(job: Job) -> Outcome:
    """What stands for `work.execute` where checkpoints are `bare`: files of a made-up summary, and nothing else."""
    began, cpu_began, stub = time.monotonic(), time.process_time(), job.stage.compute
    assert isinstance(stub, Stub)
    try:
        stub.earlier(job.task)
        stub.befall(job.item)
    except Exception as error:  # as there
        return failed_outcome(error, began)
    of_record = fingerprint(job.record)
    summary = CheckpointSummary(
        of_record[::-1],
        of_record,
        False,
        np.array([frame.number for frame in job.task.sequence.frames], np.int64),
        {},
        {},
        (FigureSummary("figure", "mm", job.frame_count, 1.0, 1.0),),
    )
    job.path.parent.mkdir(parents=True, exist_ok=True)
    # as with real ones, the file alone has to tell: a worker may be killed before it has said that it made it
    part = job.path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(summary.to_record()))
    part.replace(job.path)
    signature = file_signature(job.path)
    assert signature is not None
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds, cpu_s = time.monotonic() - began, time.process_time() - cpu_began
    return Outcome(seconds, peak_mb, cpu_s=cpu_s, entry=(signature, summary))


@contextmanager
def bare_checkpoints(bare: bool) -> Iterator[None]:
    """In this block workers do `execute_bare`, and what that makes is read, if so."""
    before = runner.execute, checkpoint_index._read_summary
    if bare:
        runner.execute, checkpoint_index._read_summary = execute_bare, _read_bare
    try:
        yield
    finally:
        runner.execute, checkpoint_index._read_summary = before


def _read_bare(path: Path) -> CheckpointSummary | None:
    return CheckpointSummary.from_record(*json.loads(path.read_text()))


@contextmanager
def starts_counted() -> Iterator[list[float]]:
    """CPU seconds of this process in each start of a worker, in a list that fills."""
    seconds: list[float] = []
    start = Worker.start

    def counted(self: Worker, environ: Mapping[str, str]) -> None:
        began = time.process_time()
        start(self, environ)
        seconds.append(time.process_time() - began)

    Worker.start = counted  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        Worker.start = start  # type: ignore[method-assign]


@contextmanager
def nicer_workers() -> Iterator[None]:
    """Workers that are started in this block give way to this process."""
    start = Worker.start

    def nicer(self: Worker, environ: Mapping[str, str]) -> None:
        start(self, environ)
        os.setpriority(os.PRIO_PROCESS, self._process.pid, min(19, os.nice(0) + NICER))

    Worker.start = nicer  # type: ignore[method-assign]
    try:
        yield
    finally:
        Worker.start = start  # type: ignore[method-assign]


def _nothing(*, output: Path, fingerprint: str, **_: object) -> None:
    with h5py.File(output, "w") as file:
        file.attrs["fingerprint"] = fingerprint


def stubs(item_s: float, marks: Path, rates: Rates, apart: bool) -> list[Stage]:
    """The real flow: names, scopes, needs and settings; nothing computed."""
    made = []
    for stage in STAGES:
        if stage.scope == "everything":
            made.append(replace(stage, everything=_nothing, uses_template=False, collect=None))
            continue
        compute = Stub(stage.name, stage.needs[-1] if stage.needs else "", item_s, marks, rates, apart)
        made.append(replace(stage, compute=compute, parts=None, uses_template=False, most_neutral=None))
    return made


def captures(folder: Path, sequences: int) -> dict[str, list[str]]:
    """Sequences of three triangles, links to few files; people of twenty, their neutrals among them: their names."""
    people: dict[str, list[str]] = {}
    scan, links = folder / "scan.obj", 0
    for number in range(sequences):
        person, place = f"S{number // OF_A_PERSON:05d}", number % OF_A_PERSON
        name = f"e{place:02d}" if place else "neutral"
        people.setdefault(person, []).append(name)
        sequence = folder / "captures" / person / name
        sequence.mkdir(parents=True)
        for frame in range(LENGTH):
            if links % LINKS == 0:
                scan = folder / f"scan{links}.obj"
                scan.write_text(OBJ)
            os.link(scan, sequence / f"{frame:04d}.obj")
            links += 1
    (folder / "face.obj").write_text(OBJ)
    (folder / "face.ljson").write_text("{}")
    return people


class Simulated:
    """A workspace, and commands over it."""

    def __init__(self, folder: Path, sequences: int, workers: int, item_s: float, bare: bool) -> None:
        self._folder, self._sequences, self._workers, self._bare = folder, sequences, workers, bare
        self.marks = folder / "marks"
        self.rates = Rates.of(sequences)
        self.stages = stubs(item_s, self.marks, self.rates, workers > 0)

    def make(self) -> None:
        """Its captures, and the workspace; in a process of its own, because those of commands begin with what this one
        has in memory."""

        def go() -> tuple[Record, None]:
            captures(self._folder, self._sequences)
            Workspace.create(
                self._folder / "ws", captures=self._folder / "captures", unit="mm", up="+y", fps=60.0,
                stages=STAGES, template=self._folder / "face.obj",
            )  # fmt: skip
            return {}, None

        shutil.rmtree(self._folder, ignore_errors=True)
        self.marks.mkdir(parents=True)
        _apart(go)

    def run(self, dry_run: bool = False) -> tuple[Record, RunResult]:
        """What `mimicme run` would, in a process of its own; what that cost, its workers apart, and its result."""

        def go() -> tuple[Record, RunResult]:
            opened = self._opened()
            with bare_checkpoints(self._bare), nicer_workers(), starts_counted() as starts:
                result = run_stages(opened, RunOptions(jobs=self._workers, dry_run=dry_run), self.stages)
            # the sentences about single items are not looked at
            told = tuple(replace(stage, findings=[], remarks=[]) for stage in result.stages)
            return {"starts": len(starts), "starts_s": sum(starts)}, replace(result, stages=told)

        return _apart(go)

    def status(self) -> tuple[Record, str]:
        """Likewise of `mimicme status`, and what it says."""

        def go() -> tuple[Record, str]:
            opened = self._opened()
            told = read_standing(opened, self.stages) or read_status(opened, self.stages, each=False)
            return {"by_folders": told.by_folders}, "\n".join(told.lines())

        return _apart(go)

    def ended(self, log: Path) -> Ended:
        """How the items of a run ended."""
        found: Ended = _apart(lambda: ({}, _ended(worked_items(log), self.rates, self._workers > 0)))[1]
        return found

    def _opened(self) -> Workspace:
        return Workspace.open(self._folder / "ws", sets=[f"run.frame_limit_s={LIMIT_S}"])


def _apart(do: Callable[[], tuple[Record, Any]]) -> tuple[Record, Any]:
    """What it returns in a process of its own, and in the record what that took of CPU and memory.

    Raises:
        InputError: it raised something.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def child() -> None:
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        cpu_began = time.process_time()
        record, result = do()
        after = resource.getrusage(resource.RUSAGE_SELF)
        costs = {
            "wall_s": time.monotonic() - began,
            "cpu_s": time.process_time() - cpu_began,
            "slept": after.ru_nvcsw - before.ru_nvcsw,
            "peak_mb": after.ru_maxrss / 1024,
        }
        theirs.send((costs | record, result))

    # not a daemon: those may have no children
    process = context.Process(target=child, daemon=False)
    process.start()
    theirs.close()
    try:
        found: tuple[Record, Any] = ours.recv()
    except EOFError:
        raise InputError("a command failed; it says why above") from None
    finally:
        process.join()
    return found


def worked_items(folder: Path) -> Iterator[Record]:
    """The lines of items in a run's log."""
    with open(folder / "log.jsonl") as lines:
        for line in lines:
            event = json.loads(line)
            if event["event"] == "item":
                yield event


def run(
    sequences: int, workers: int, item_s: float, bare: bool, work: Path, say: Callable[[str], None]
) -> Record:
    """The figures, against the bounds; the record to save.

    Args:
        sequences: simulated; MimicMe has 94,000.
        workers: simulated; 0: everything is done by the run's own process, which neither waits, dies nor hangs then,
            and whose CPU time is that of the items, too.
        item_s: seconds that an item takes, about, besides what it computes and writes.
        bare: checkpoints are small files that hold a made-up summary: to write some of 846,000 takes hours of two
            cores, and tells nothing of the run's own process.

    Raises:
        InputError: something was lost, made twice, or ended otherwise than it should.
    """
    folder = work / "simulation"
    simulated = Simulated(folder, sequences, workers, item_s, bare)
    simulated.make()
    record: Record = {"sequences": sequences, "workers": workers, "item_s": item_s, "bare": bare}
    say(f"{sequences:,} sequences: the captures are made")

    costs, first = simulated.run()
    record["first run"] = costs
    assert first.folder is not None
    ended = simulated.ended(first.folder)
    deaths = len(list(simulated.marks.glob("dies-*")))
    not_made = _check(simulated.stages, sequences, first, ended)
    record |= {
        "items": ended.items,
        "outcomes": {" ".join(filter(None, key)): count for key, count in ended.outcomes.items()},
        "deaths": deaths,
        "stragglers": ended.stragglers,
        "ms_an_item": 1000 * costs["cpu_s"] / ended.items,
        "ms_an_item_but_starts": 1000 * (costs["cpu_s"] - costs["starts_s"]) / ended.items,
        "busy": ended.held_s / (max(workers, 1) * costs["wall_s"]),
    }
    say(
        f"{sequences:,} sequences, {workers} workers, {ended.items:,} items of about {item_s:g} s: "
        f"{costs['wall_s']:.0f} s, cores busy {record['busy']:.1%}, {ended.stragglers} items took long"
    )
    say(f"  {deaths} workers killed, each cost its item and was tried again; outcomes {record['outcomes']}")
    say(
        f"  the run's own process: {record['ms_an_item']:.2f} CPU ms an item, planning, listing and release among it; "
        f"{record['ms_an_item_but_starts']:.2f} without the starts of {costs['starts']} workers "
        f"(bound {MOST_MS:g}); it went to sleep {costs['slept']:,} times; {costs['peak_mb']:.0f} MB "
        f"(bound {MOST_MB:g})"
    )
    record["with the failed again"], again = simulated.run()
    made = sum(stage.done for stage in again.stages[:-1])
    assert again.folder is not None
    others = [
        event
        for event in worked_items(again.folder)
        if event["item"].partition("/")[0] not in ended.failed_of or event["outcome"] != "done"
    ]
    if made < not_made or others or again.release is None:
        raise InputError(
            "the second run makes something else than is missing",
            seen=f"{made} items, {others[:1]}, {again.release}",
            expected=f"{not_made} of people of whom something failed",
        )
    say(
        f"  the next run: {not_made:,} items that were missing, and {made - not_made:,} of the same people that were"
    )
    say("  made without them; the release is packed")
    record["status"], told = simulated.status()
    if f"{sequences:,}" not in told and f"{sequences}" not in told:
        raise InputError("status counts something else", seen=told, expected=sequences)
    record["dry run"], _ = simulated.run(dry_run=True)
    record["nothing to do"], last = simulated.run()
    if any(stage.done for stage in last.stages):
        raise InputError("there was nothing to do, and something was made", seen=last)
    for name, bound in (("status", STATUS_S), ("dry run", RUN_S), ("nothing to do", RUN_S)):
        say(
            f"  {name}: {record[name]['cpu_s']:.2f} CPU s (bound {bound:g}), {record[name]['peak_mb']:.0f} MB "
            f"(bound {MOST_MB:g})"
        )
    shutil.rmtree(folder)
    return record


@dataclass
class Ended:
    """How the items of a run ended, by its log.

    Attributes:
        held_s: of all workers, in which they had an item.
        stragglers: items that took at least `LONG_S` and are such.
        twice: stage and item of one that ended twice; None: none.
        wrong: the line of one that ended otherwise than it should; None: none.
        failed_of: the people of whom something failed.
    """

    items: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    held_s: float = 0.0
    stragglers: int = 0
    twice: tuple[str, str] | None = None
    wrong: Record | None = None
    failed_of: set[str] = field(default_factory=set)


def _ended(worked: Iterable[Record], rates: Rates, apart: bool) -> Ended:
    found, seen = Ended(), set()
    for event in worked:
        key = event["stage"], event["item"]
        seconds = event.get("seconds") or 0.0
        found.items += 1
        found.outcomes[event["outcome"], event.get("kind", "")] += 1
        found.held_s += seconds
        found.stragglers += chance(*key, "long") < STRAGGLES and seconds >= LONG_S
        if event["outcome"] == "failed":
            found.failed_of.add(event["item"].partition("/")[0])
        if (event["outcome"] == "failed") != (rates.fails(*key) or (apart and key == HANGS)):
            found.wrong = event
        if key in seen:
            found.twice = key
        seen.add(key)
    return found


def _check(stages: list[Stage], sequences: int, result: RunResult, ended: Ended) -> int:
    """Nothing is lost: what does not fail, and waits for nothing that does, is done, once.

    Returns:
        how many items are not made.

    Raises:
        InputError: something else happened.
    """
    missing = 0
    for stage, told in zip(stages[:-1], result.stages, strict=False):
        if told.done + told.failed + told.blocked != sequences:
            raise InputError("items were lost", where=stage.name, seen=told, expected=sequences)
        missing += told.failed + told.blocked
    if ended.twice is not None:
        raise InputError("items were worked twice", seen=ended.twice)
    if ended.wrong is not None:
        raise InputError("an item ended otherwise than it should", seen=ended.wrong)
    return missing
