"""The workspace in whose folder a release lies: it knows who must not be in the release any more.

A release is as old as the run that packed it, and its copy of the table of subjects too.  Who took consent back since
then stands in the table beside it, or in the list of who has withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mimicme.pipeline.errors import UsageError, counted
from mimicme.pipeline.workspace import CONFIG_NAME, Workspace


def workspace_beside(release: str | Path) -> Workspace | None:
    """The workspace in whose folder a file lies, links followed; None: it lies in none.

    Raises:
        ConfigError: its settings cannot be read.
    """
    folder = Path(release).resolve().parent
    return Workspace.open(folder) if (folder / CONFIG_NAME).is_file() else None


def kept_out_by_now(release: str | Path, subjects: Iterable[str]) -> frozenset[str]:
    """Who of the subjects of a release is kept out by now of the workspace in whose folder it lies: its table of
    subjects refuses them, or they have withdrawn.  Nobody, where it lies in none.

    Raises:
        MimicmeError: the workspace or its table cannot be read: nobody can say then.
    """
    workspace = workspace_beside(release)
    return frozenset() if workspace is None else workspace.kept_out(subjects)


def all_kept_out(release: str | Path, subjects: int) -> UsageError:
    """That nobody who is asked for may be in a release any more.

    Args:
        subjects: how many are asked for.
    """
    return UsageError(
        "by now the workspace keeps all of these subjects out of its release: the table of subjects refuses them, "
        "or they have withdrawn",
        where=release,
        seen=counted(subjects, "subject"),
        todo=f"`{_packing(release)}` packs the release without them.",
    )


def kept_out_sentence(release: str | Path, subjects: int) -> str:
    """That so many subjects of a release were left out, without a full stop."""
    return (
        f"{counted(subjects, 'subject is', 'subjects are')} left out, whom the workspace of this release keeps out by "
        f"now: `{_packing(release)}` packs it without them"
    )


def _packing(release: str | Path) -> str:
    """The command that packs a release anew, with the settings of its last run."""
    workspace = workspace_beside(release)
    return "mimicme run" if workspace is None else workspace.command("run", given=workspace.last_overrides())
