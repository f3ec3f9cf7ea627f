"""What a run leaves beside its checkpoints, so that the next one and `status` need not look at everything: who is
settled (`settled`) and what `status` tells of each person (`standing`).  It saves time alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from mimicme.pipeline.captures.catalogue import Catalogue
from mimicme.pipeline.errors import OutputError
from mimicme.pipeline.items import Sequence, Shard
from mimicme.pipeline.run.checkpoint_index import Failure
from mimicme.pipeline.run.plan import RELEASE, Plan
from mimicme.pipeline.run.run_types import StageResult
from mimicme.pipeline.run.settled import Signatures, purge
from mimicme.pipeline.run.standing import Standing, forget
from mimicme.pipeline.run.tallies import settle, settle_one
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.workspace import Workspace


class Bookkeeping:
    """Writes it down as people and stages are over.

    Args:
        plan: of the run.
        shard: whose run it is; None: everybody's.
    """

    def __init__(self, plan: Plan, shard: Shard | None) -> None:
        self._plan, self._shard = plan, shard
        self._standing: Standing | None = None
        self._signatures: Signatures | None = None
        self._newly_settled: set[str] = set()

    def begin(self) -> None:
        """Let what becomes of each person be written down as it is over; a run that is killed then leaves that, and
        `status` tells of it while the run goes on."""
        if self._plan.ledger is None:
            return
        with contextlib.suppress(OSError, OutputError):
            self._plan.ledger.begin(self._plan.settled)
            self._take_over(self._plan.workspace.ledger)
            self._signatures = self._plan.signatures()
        if self._shard is None:  # it tells of everybody
            self._standing = Standing(self._plan)

    def person_over(self, subject: str) -> None:
        """Write down of a person that all stages are over."""
        # first: what changes while the items are looked at makes another
        signature = self._standing.signature(subject) if self._standing is not None else ""
        settled = None
        with contextlib.suppress(OSError):
            if self._signatures is not None:
                settled = settle_one(self._plan, self._signatures, subject)
        if settled is not None:
            self._newly_settled.add(subject)
            self._plan.settle_now(subject, settled)
        if self._standing is not None:
            self._standing.over(subject, signature, settled)

    def end(
        self, told: StageResult | None, release: tuple[Stage, Iterable[Sequence], str, str] | None
    ) -> None:
        """Write down of whom everything is done, what became of the release, and what would make it.

        Args:
            told: what became of the release, where it is the workspace's own and this run looked at it.
            release: what `Plan.note_release` takes, where it was looked at.
        """
        if self._standing is not None:
            self._standing.list_again()
            if told is not None:
                self._tell_of_release(self._standing, told)
        if self._plan.ledger is None:
            return
        settle(self._plan, self._newly_settled)
        if release is not None:
            self._plan.note_release(*release)
        with contextlib.suppress(OSError, OutputError):
            self._plan.ledger.save()

    def _tell_of_release(self, standing: Standing, told: StageResult) -> None:
        path = self._plan.workspace.failure(told.stage, RELEASE)
        failure = Failure.read(path) if told.failed else None
        standing.release("failed" if told.failed else "done", failure.message if failure else "")

    def close(self) -> None:
        """Save the index of checkpoints, in place of those of shards."""
        with contextlib.suppress(OSError, OutputError):
            self._plan.index.save()
            self._take_over(self._plan.workspace.checkpoint_index)

    def _take_over(self, path: Path) -> None:
        """Remove what runs of shards saved in place of `path`: a whole run has written it down there."""
        if self._shard is None:
            for file in self._plan.workspace.of_shards(path):
                file.unlink(missing_ok=True)


def clean(workspace: Workspace, catalogue: Catalogue, stages: Iterable[Stage], shard: Shard | None) -> int:
    """Remove half-written files of runs and workers that ended early, and what was told of who is gone; of a shard,
    those of its own subjects.

    Returns:
        how many files were removed.
    """
    names = [stage.name for stage in stages]
    if shard is not None:
        return workspace.remove_temporary_files(names, catalogue.subjects)
    known = frozenset(catalogue.subjects)
    for ledger in (workspace.ledger, *workspace.of_shards(workspace.ledger)):
        with contextlib.suppress(OSError, OutputError):  # what they save is time alone
            purge(ledger, known)
    with contextlib.suppress(OSError, OutputError):
        forget(workspace, known)
    return workspace.remove_temporary_files(names)
