"""The commands of `mimicme template`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from mimicme.pipeline.command_line import FILE, FOLDER, JSON, RELEASE, Commands

commands = Commands()


@commands.group("template", cls=Commands)
def template_group() -> None:
    """A template of your own: what speaks for and against it."""


@template_group.command("check")
@click.argument("file", type=RELEASE)
@click.option("--picture", type=FILE, help="PNG of the template with its landmarks.")
@JSON
def template_check_command(file: Path, picture: Path | None, as_json: bool) -> None:
    """Look at a mesh file with its landmarks beside it; exit status 1 where registration would not work."""
    from mimicme.commands.template import check, draw_check, verdict
    from mimicme.pipeline.drawing.render import save_picture

    findings = check(file)
    if as_json:
        click.echo(json.dumps([{"level": f.level, "message": f.message} for f in findings], indent=1))
    else:
        for finding in findings:
            click.echo(finding)
    if picture is not None:
        save_picture(picture, draw_check(file))
    bad = sum(f.level == "error" for f in findings)
    if not as_json:
        click.echo(f"{file}: {verdict(findings)}")
    sys.exit(1 if bad else 0)


@template_group.command("import")
@click.argument("model", type=click.Choice(["ict", "makehuman", "flame", "bfm", "gnm"]))
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.argument("directory", type=FOLDER)
@click.option(
    "--landmarks", type=RELEASE, help="Landmarks, or numbers of vertices, instead of the model's own."
)
def template_import_command(model: str, path: Path, directory: Path, landmarks: Path | None) -> None:
    """A head MODEL as its makers distribute it, at PATH, as a template in DIRECTORY."""
    from mimicme.commands.template.importing import import_template

    mesh, notes = import_template(model, path, directory, landmarks)
    for note in notes:
        click.echo(f"  {note}", err=True)
    click.echo(f"{mesh}: check it with `mimicme template check {mesh} --picture points.png`")
