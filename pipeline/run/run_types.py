"""The options of a run, and its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimicme.pipeline.items import Shard


@dataclass(frozen=True)
class RunOptions:
    """How to run.

    Attributes:
        jobs: worker processes; 0: work in this process; None: as many as there are cores.
        backend: `loky`, or `dask` with the address of its `scheduler`.
        first, last: stages to begin and end with; None: the first and the last.
        only: globs on `subject/sequence` (`S001`, `*/smile`); empty: everything.
        force: make again what is current.
        dry_run: say what would run and why; write nothing.
        output: where the release goes; None: into the workspace.
        allow_missing: pack a release also where that takes frames out of it whose sequences failed.
        shard: work on its subjects alone, beside the runs of the other shards, and write no release.
        sample: it works the sample of `mimicme plan --sample`, for which so many sequences were asked; None: it is no
            such.
    """

    jobs: int | None = None
    backend: str = "loky"
    scheduler: str | None = None
    first: str | None = None
    last: str | None = None
    only: tuple[str, ...] = ()
    force: bool = False
    dry_run: bool = False
    output: Path | None = None
    allow_missing: bool = False
    shard: Shard | None = None
    sample: int | None = None

    @property
    def limits(self) -> dict[str, Any]:
        """What a run was given besides settings, for its log, from which `status` says how to go on (`watch.LastRun`).
        The release's place is not said, because paths may name people; nor is a scheduler's address, which is
        another the next time."""
        said = {
            "shard": None if self.shard is None else str(self.shard),
            "first": self.first,
            "last": self.last,
            "only": list(self.only),
            "output": self.output is not None,
            "jobs": None if self.jobs is None else str(self.jobs),
            "backend": None if self.backend == "loky" else self.backend,
            "force": self.force,
            "allow_missing": self.allow_missing,
            "sample": self.sample,
        }
        return {name: value for name, value in said.items() if value}


@dataclass
class StageResult:
    """What became of one stage in a run.

    Attributes:
        done, skipped, failed, blocked: items made now, current before, failed, waiting for what failed.
        frames_ok, frames_rejected: over the items that are done or skipped; a frame that an earlier stage rejected is
            one of the rejected.
        newly_rejected: frames that this stage was the first to reject.
        called_bad, newly_called_bad: those of `frames_rejected`, and of `newly_rejected`, that a person called bad,
            which is no fault of the run.
        made_ok, made_rejected: frames of the items that were made, while the stage is not over.
        made_findings: a sentence for each of these that this stage was the first to reject, the first of them.
        seconds: of all workers together; of a stage of scope `everything`, of the run.
        cpu_s: of a stage of scope `everything`: CPU seconds of this process.
        findings: a sentence for each failed item and each frame this stage was the first to reject.
        remarks: a sentence for each frame that is ok and has a note.
        off: the stage is switched off, and its items hand on what they were given.
    """

    stage: str
    done: int = 0
    skipped: int = 0
    failed: int = 0
    blocked: int = 0
    frames_ok: int = 0
    frames_rejected: int = 0
    newly_rejected: int = 0
    called_bad: int = 0
    newly_called_bad: int = 0
    made_ok: int = 0
    made_rejected: int = 0
    made_findings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu_s: float = 0.0
    findings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    off: bool = False

    def states(self) -> dict[str, int]:
        """How many items are in each state, in the order of the table."""
        return {
            "done": self.done,
            "skipped": self.skipped,
            "failed": self.failed,
            "blocked": self.blocked,
        }


@dataclass(frozen=True)
class RunResult:
    """The end of a run.

    Attributes:
        exit_code: 0 every frame ok; 1 some failed or were rejected; 130 interrupted.  Of a shard: 1 where something
            failed; what it rejected, the run after the shards tells.
        stages: results in order.
        folder: of the run's log; None for a dry run.
        release: path of the release when it was made or is current.
        packed: whether this run wrote it.
        verified: names of its shards that nobody touched since an earlier run verified them.
        why: not every frame is ok, in words.
        left: sequences left the release because their captures are not there any more, in words; empty: none did.
    """

    exit_code: int
    stages: tuple[StageResult, ...] = ()
    folder: Path | None = None
    release: Path | None = None
    packed: bool = False
    verified: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    left: str = ""

    @property
    def all_ok(self) -> bool:
        """Whether every frame is ok."""
        return not (self.exit_code or self.why)
