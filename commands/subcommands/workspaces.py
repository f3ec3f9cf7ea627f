"""What is said of a workspace: settings, the plan of a run, where it stands."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from mimicme.pipeline.command_line import JSON, LINE_S, SETTINGS_OPTIONS, WORKSPACE, Commands, say_progress
from mimicme.stages import FLOW

commands = Commands()


@commands.command("settings")
@click.argument("workspace", type=WORKSPACE, required=False)
@click.option("--section", default="", metavar="NAME", help="One section, as in bake (default: all).")
@click.option("--markdown", is_flag=True, help="The page docs/settings.md; of no workspace.")
def settings_command(workspace: Path | None, section: str, markdown: bool) -> None:
    """What each setting means, its unit and default; of a workspace, its value and where that comes from."""
    from mimicme.commands.settings import page, settings_lines
    from mimicme.pipeline.errors import UsageError
    from mimicme.pipeline.workspace import Workspace
    from mimicme.stages import STAGES

    if markdown and workspace is not None:
        raise UsageError(
            "the page shows the defaults and no workspace", expected="--markdown without WORKSPACE"
        )
    if markdown:
        click.echo(page(STAGES, FLOW, section), nl=False)
        return
    config = Workspace.open(workspace).config(STAGES) if workspace is not None else None
    for line in settings_lines(STAGES, config, section):
        click.echo(line)


@commands.command("plan")
@click.argument("workspace", type=WORKSPACE)
@click.option(
    "--sample",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    metavar="N",
    help="Sequences to time, at least; whole people are taken.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    multiple=True,
    metavar="N",
    help="Tell the hours with so many, too (repeatable).",
)
@click.option("--jobs", "-j", type=click.IntRange(0), help="Workers for the sample (default: cores).")
@SETTINGS_OPTIONS
@JSON
def plan_command(
    workspace: Path,
    sample: int,
    workers: tuple[int, ...],
    jobs: int | None,
    preset: str | None,
    sets: tuple[str, ...],
    as_json: bool,
) -> None:
    """Hours, memory and disk that a run will take, and its --jobs, from a sample that is worked and kept."""
    from mimicme.commands.overrides import say_not_kept, sets_of
    from mimicme.commands.plan import plan
    from mimicme.pipeline.run.progress import Console
    from mimicme.pipeline.workspace import Workspace
    from mimicme.stages import STAGES

    opened = Workspace.open(workspace, sets=sets_of(preset, sets))
    told = plan(opened, STAGES, sample, workers, jobs, Console(sys.stderr, every_s=LINE_S))
    if as_json:
        click.echo(json.dumps(told.to_record(), indent=1))
    else:
        for line in told.lines():
            click.echo(line)
    say_not_kept(workspace, preset, sets, say_progress)


@commands.command("status")
@click.argument("workspace", type=WORKSPACE)
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
@click.option(
    "--failed", is_flag=True, help="What failed, was rejected or noted, and why; those of a kind in a line."
)
@click.option("--each", is_flag=True, help="With --failed: a line for every frame and sequence.")
@click.option(
    "--watch", "watched", is_flag=True, help="Follow the run that is going on, or begins, until it ends."
)
@click.option("--every-file", is_flag=True, help="Look at every file, also of a very large workspace.")
@SETTINGS_OPTIONS
def status_command(
    workspace: Path,
    as_json: bool,
    failed: bool,
    each: bool,
    watched: bool,
    every_file: bool,
    preset: str | None,
    sets: tuple[str, ...],
) -> None:
    """What is done, what is out of date, what failed; true at any moment."""
    from mimicme.commands.overrides import opened_as_last
    from mimicme.pipeline.errors import UsageError
    from mimicme.pipeline.run.status import read_standing, read_status
    from mimicme.pipeline.run.watch import unfinished_lines, unfinished_runs, watch
    from mimicme.pipeline.workspace import Workspace
    from mimicme.stages import STAGES

    if each and not failed:
        raise UsageError("--each goes with --failed")
    if watched and (as_json or failed):
        raise UsageError("--watch shows a run as it goes on", todo="Leave --json and --failed out.")
    if watched:
        code = watch(Workspace.open(workspace))
        if code is not None:
            sys.exit(code)
        click.echo("No run is going on.", err=True)
        for line in unfinished_lines(unfinished_runs(Workspace.open(workspace))):
            click.echo(line.strip(), err=True)

    opened = opened_as_last(workspace, preset, sets, say_progress)
    quick = None if as_json or failed or every_file else read_standing(opened, STAGES)
    status = quick or read_status(opened, STAGES, each=as_json)
    if watched and status.to_be_made:
        click.echo(
            "There is something left to make, so this waits until a run begins, and follows it; Ctrl-C ends it.",
            err=True,
        )
        sys.exit(watch(Workspace.open(workspace), to_begin=True))
    if as_json:
        click.echo(json.dumps(status.to_record(), indent=1))
    else:
        for message in status.messages:
            click.echo(message, err=True)
        for line in status.failed_lines(each) if failed else status.lines():
            click.echo(line)
