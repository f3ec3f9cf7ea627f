"""Captures with a known answer, and the comparison with it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from mimicme.pipeline.command_line import FOLDER, JSON, LINE_S, RELEASE, Commands, drawing
from mimicme.pipeline.errors import counted

commands = Commands()


@commands.command("synth")
@click.argument("directory", type=FOLDER)
@click.option(
    "--maker", type=click.Choice(["template", "people"]), default="template", show_default=True,
    help="`people`, closer to real scans, only judges.",
)  # fmt: skip
@click.option("--subjects", type=click.IntRange(1), default=2, show_default=True, help="How many people.")
@click.option("--sequences", default="5", show_default=True, metavar="N|NAMES", help="How many, or which.")
@click.option(
    "--frames",
    type=click.IntRange(3),
    default=9,
    show_default=True,
    help="Of an expression, odd: the apex is amid; `neutral` is one frame.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another one makes other people.")
@click.option("--triangles", type=click.IntRange(2_000), help="Of a scan, about.")
@click.option("--template", default="menpo3d", show_default=True, metavar="FILE|NAME", help="As in init.")
@click.option(
    "--rgbd",
    type=float,
    metavar="MM",
    help="Recordings of a depth camera with so much noise; --maker people.",
)
@click.option("--beards", is_flag=True, help="Grown men have a beard; --maker people.")
def synth_command(
    directory: Path,
    maker: str,
    subjects: int,
    sequences: str,
    frames: int,
    seed: int,
    triangles: int | None,
    template: str,
    rgbd: float | None,
    beards: bool,
) -> None:
    """Synthetic captures with a known answer."""
    from mimicme.commands.synth import synthesise

    wanted = int(sequences) if sequences.strip().isdecimal() else [n.strip() for n in sequences.split(",")]
    people = counted(subjects, "person", "people")

    def tell(done: int, total: int, what: str) -> None:
        if not done:
            console.say(f"Making {counted(total, 'frame')} of {people} in {directory} ...")
        console.tell(f"{done:,}/{counted(total, 'frame')}, {what}", every_s=LINE_S)

    # the template takes half a minute before the first frame is begun
    with drawing(at_once=True) as console:
        synthesise(directory, subjects, wanted, frames, seed, template, tell, triangles, maker, rgbd, beards)
    click.echo(f"Captures in {directory / 'captures'}, the true answer in {directory / 'truth'}")
    made_for = {"captures": "captures", "template": "template/template.obj", "metadata": "subjects.csv"}
    options = " ".join(f"--{name} {shlex.quote(str(directory / place))}" for name, place in made_for.items())
    click.echo(f"Next: mimicme init WORKSPACE {options}")


@commands.command("evaluate")
@click.argument("release", type=RELEASE)
@click.option("--truth", type=FOLDER, required=True, help="Folder that `synth` wrote.")
@JSON
def evaluate_command(release: Path, truth: Path, as_json: bool) -> None:
    """Compare a release with the known truth of its captures."""
    from mimicme.commands.evaluate import evaluate, format_table

    figures = evaluate(release, truth)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
    else:
        click.echo(format_table(figures))
