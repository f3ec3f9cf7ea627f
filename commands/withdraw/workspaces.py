"""Workspaces among what is looked through for somebody who withdraws.

A workspace packs its release out of its checkpoints and captures: who is taken out of the release alone is back with
the next run.  So the advice is to withdraw them from the workspace, which takes out checkpoints, release and report.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mimicme.pipeline.errors import MimicmeError
from mimicme.pipeline.release import Release
from mimicme.pipeline.workspace import CONFIG_NAME, Workspace
from mimicme.stages import FLOW


@dataclass(frozen=True)
class Held:
    """What a workspace has of a subject.

    Attributes:
        root: the workspace's folder.
        message: what there is to be said of it; empty: nothing.
        own: real paths of files and folders that a withdrawal from it takes out.
        captures: real paths of the subject's raw captures (files), which nothing takes out.
    """

    root: Path
    message: str = ""
    own: tuple[Path, ...] = ()
    captures: tuple[Path, ...] = ()

    def takes_out(self, path: Path) -> bool:
        """Whether a withdrawal from the workspace takes this out."""
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(one) for one in self.own)

    def captured(self, path: Path) -> bool:
        """Whether a file or folder that is named after the subject is, or holds, the workspace's raw captures."""
        real = Path(os.path.realpath(path))
        if real.is_dir():
            return any(one.is_relative_to(real) for one in self.captures)
        return any(one.parent == real.parent for one in self.captures)  # a texture lies beside its mesh


def workspaces_in(places: Iterable[Path]) -> list[Path]:
    """Folders of workspaces that are named, or lie below folders that are, in order."""
    found = {Path(folder) for place in places for folder, _, files in os.walk(place) if CONFIG_NAME in files}
    return sorted(found)


def held_by(root: Path, subject: str, withdrawn_here: bool = False) -> Held:
    """What a workspace has of a subject, and what to do.

    Args:
        subject: its safe name.
        withdrawn_here: the subject is being taken out of this workspace: nothing has to be said of it.
    """
    try:
        workspace = Workspace.open(root)
        made = workspace.folders_of(subject, FLOW)
        captures = tuple(Path(os.path.realpath(one)) for one in workspace.captured_files(subject))
        released = workspace.release.is_file() and _released(workspace.release, subject)
        comes = bool(captures) and not workspace.is_withdrawn(subject)
    except (MimicmeError, OSError) as error:
        why = f"The workspace '{root}' cannot be read, and may hold '{subject}': {error}"
        return Held(root, why, (Path(os.path.realpath(root)),))
    reports = (workspace.report_folder, workspace.public_report_folder)
    shards = workspace.root.glob(f"{workspace.release.stem}@*{workspace.release.suffix}")
    own = tuple(Path(os.path.realpath(one)) for one in (*made, *reports, *shards, workspace.root / "runs"))
    if withdrawn_here or not (made or released or comes):
        return Held(root, "", own, captures)
    return Held(root, f"{_holds(root, made or released, subject)}: {command(root, subject)}.", own, captures)


def command(root: Path, subject: str) -> str:
    """What takes a subject out of a workspace."""
    return f"`mimicme withdraw {shlex.quote(str(root))} {shlex.quote(subject)}`"


def _holds(root: Path, made: object, subject: str) -> str:
    if made:
        return f"The workspace '{root}' holds '{subject}' too, and its next run would pack them again"
    return f"The workspace '{root}' has captures of '{subject}', and its next run would work on them"


def _released(path: Path, subject: str) -> bool:
    with Release(path) as release:
        return subject in release.subjects
