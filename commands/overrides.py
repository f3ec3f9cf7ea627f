"""Settings that a command line gives (`--preset`, `--set`), beside those that stay in the workspace's file.

What is given counts for one run alone, and what a run made is out of date for the next that is not given it: who looks
at a workspace, or runs in it, is told so.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection
from pathlib import Path

from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.workspace import CONFIG_NAME, Workspace
from mimicme.stages import STAGES


def sets_of(preset: str | None, sets: tuple[str, ...], detector_model: Path | None = None) -> tuple[str, ...]:
    """What the command line says of the settings, as `section.key=value`."""
    said = (f"run.preset={preset}",) if preset else ()
    if detector_model is not None:
        sets = (*sets, f"landmarks.detector_model={detector_model.resolve()}")
    return (*said, *sets)


def opened_as_last(
    workspace: Path, preset: str | None, sets: tuple[str, ...], say: Callable[[str], None]
) -> Workspace:
    """A workspace to be looked at: with the settings given, else with those that its last run was given."""
    given = sets_of(preset, sets)
    opened = Workspace.open(workspace, sets=given)
    last = () if given else opened.last_overrides()
    if not last:
        return opened
    said = _as_options(last)
    try:
        as_last = Workspace.open(workspace, sets=last)
        as_last.config(STAGES)
    except ConfigError as error:
        say(f"The last run was given {said}, which is not understood any more: {error}")
        return opened
    say(
        f"What follows is for the settings of the last run: {said}. A run without them makes again what depends on "
        "them (`run --dry-run`)."
    )
    return as_last


def say_unlike_last(opened: Workspace, say: Callable[[str], None]) -> None:
    """Say that the last run was given settings that this one is not, where they differ from those that stay.
    Nothing is made of those of `run`, and the values that its preset stands for are among the others."""
    last = opened.last_overrides()
    if not last:
        return
    try:
        changed = Workspace.open(opened.root, sets=last).config(STAGES).changed_from(opened.config(STAGES))
    except ConfigError:  # they are not understood any more
        return
    if not all(name.startswith("run.") for name in changed):
        say(
            f"The last run was given {_as_options(last)}, and this one is not: what depends on it is made again. Give "
            f"it again, or write it into {opened.root / CONFIG_NAME}."
        )


def say_not_kept(
    workspace: Path, preset: str | None, sets: tuple[str, ...], say: Callable[[str], None]
) -> None:
    """Say that settings of the command line are this run's alone, where they differ from those that stay."""
    given = [option for option, value in (("--set", sets), ("--preset", preset)) if value]
    if not given:
        return
    staying = Workspace.open(workspace).config(STAGES)
    if Workspace.open(workspace, sets=sets_of(preset, sets)).config(STAGES).changed_from(staying):
        say(
            f"Settings given with {' and '.join(given)} are not kept: write them into {workspace / CONFIG_NAME}, "
            "or give them again."
        )


def _as_options(sets: Collection[str]) -> str:
    return " ".join(f"--set {shlex.quote(one)}" for one in sets)
