"""What is installed: tried, examined, completed in a shell."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from mimicme.pipeline.command_line import FOLDER, JSON, Commands

commands = Commands()


@commands.command("demo")
@click.argument("directory", type=FOLDER, default=Path("mimicme-demo"))
@click.option("--jobs", "-j", type=click.IntRange(0), help="Workers (default: cores; 0: in this process).")
def demo_command(directory: Path, jobs: int | None) -> None:
    """The whole flow on data that is installed with mimicme."""
    from mimicme.commands.demo import demo

    sys.exit(demo(directory, jobs, click.echo) or 0)


@commands.command("doctor")
@click.argument("directory", type=FOLDER, default=Path())
@click.option(
    "--test/--no-test",
    "tested",
    default=True,
    show_default=True,
    help="Take a small head through the whole flow.",
)
@JSON
def doctor_command(directory: Path, tested: bool, as_json: bool) -> None:
    """What is installed, what is missing and what mends it; then a test of about ten seconds."""
    from mimicme.commands.doctor import examine, self_test
    from mimicme.pipeline.run.progress import colored

    findings = []

    def say(f: Any) -> None:
        findings.append(f)
        if as_json:
            return
        word = "ok" if f.ok else "MISSING" if f.needed else "note"
        color = {"MISSING": "red", "note": "yellow"}.get(word, "")
        click.echo(colored(f"{word:7}  {f.name}: {f.message}", color, sys.stdout))
        if not f.ok and f.todo:
            click.echo(f"         {f.todo}")

    for found in examine(directory):
        say(found)
    if tested and all(f.ok or not f.needed for f in findings):
        say(self_test())
    if as_json:
        click.echo(json.dumps([vars(f) for f in findings], indent=1))
    sys.exit(0 if all(f.ok or not f.needed for f in findings) else 1)


@commands.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Completion of commands and options for a shell: a script to be kept where the shell looks for such."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    # without `source`, which asks the shell for its version
    made = kind(click.get_current_context().find_root().command, {}, "mimicme", "_MIMICME_COMPLETE")
    click.echo(made.source_template % made.source_vars())
