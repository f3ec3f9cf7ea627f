"""What is looked at: the report's pages, and 3D in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mimicme.pipeline.command_line import (
    FILE,
    FOLDER,
    LINE_S,
    OVERWRITE,
    SETTINGS_OPTIONS,
    WORKSPACE,
    Commands,
    drawing,
    for_use,
    say_progress,
    say_unheeded,
)
from mimicme.pipeline.errors import counted

if TYPE_CHECKING:
    from mimicme.pipeline.items import Item
    from mimicme.pipeline.workspace import Workspace

commands = Commands()


@commands.command("report")
@click.argument("workspace", type=WORKSPACE)
@click.option("--output", type=FOLDER, help="Default: WORKSPACE/report.")
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Processes that draw (0, 1: this one).",
)
@click.option(
    "--views",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of the worst sequences, pages in 3D.",
)
@click.option(
    "--for-others", is_flag=True, help="One page without anybody: no pictures, names or groups of few people."
)
@SETTINGS_OPTIONS
def report_command(
    workspace: Path,
    output: Path | None,
    jobs: int,
    views: int,
    for_others: bool,
    preset: str | None,
    sets: tuple[str, ...],
) -> None:
    """Pages with pictures and figures, worst first, to be opened without a network."""
    from mimicme.commands.overrides import opened_as_last
    from mimicme.commands.report import report, report_for_others
    from mimicme.commands.view import open_source, view_file
    from mimicme.stages import STAGES

    opened = opened_as_last(workspace, preset, sets, say_progress)
    if for_others:
        with drawing(at_once=True) as console:
            made = report_for_others(
                opened,
                output or opened.public_report_folder,
                STAGES,
                lambda at: console.tell(at, every_s=LINE_S),
            )
        click.echo(made)
        return

    def write_view(item: Item, path: Path) -> None:
        source = open_source(opened.root, STAGES, lambda _: opened)
        view_file(source, source.items.index(item), path, overwrite=True)

    with drawing(at_once=True) as console:
        made = report(
            opened, output or opened.report_folder, STAGES,
            progress=lambda at: console.tell(at, every_s=LINE_S), jobs=jobs, views=views, write_view=write_view,
        )  # fmt: skip
    say_unheeded(opened)
    click.echo(made)


@commands.command("view")
@click.argument("place", metavar="WORKSPACE|RELEASE|MODEL", type=click.Path(exists=True, path_type=Path))
@click.argument("sequence", metavar="[SUBJECT/SEQUENCE]", required=False)
@click.option("--output", type=FILE, help="One sequence as an HTML file for a colleague; starts no server.")
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=9,
    show_default=True,
    help="Of the file, evenly over the sequence.",
)
@click.option("--scans", is_flag=True, help="Scans in the file too, thinned out.")
@click.option(
    "--components",
    type=click.IntRange(0, 100),
    default=10,
    show_default=True,
    help="Of each model of a model file.",
)
@click.option(
    "--texture", type=click.IntRange(16, 8192), default=512, show_default=True, help="Side, texels."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Of the server (default: any free one)."
)
@click.option("--browser/--no-browser", default=True, help="Open a browser, or only print the address.")
@for_use("What the file is for: asked for where it is said what subjects permit.")
@OVERWRITE
def view_command(
    place: Path,
    sequence: str | None,
    output: Path | None,
    frames: int,
    scans: bool,
    components: int,
    texture: int,
    port: int,
    browser: bool,
    use: str | None,
    overwrite: bool,
) -> None:
    """3D in the browser: scans, registered meshes, errors, in a workspace also verdicts on frames; a model's shapes."""
    from mimicme.commands.overrides import opened_as_last
    from mimicme.commands.view import make_server, open_source, place_of, view_file, way_in
    from mimicme.stages import STAGES

    def open_workspace(folder: Path) -> Workspace:
        opened = opened_as_last(folder, None, (), say_progress)
        say_unheeded(opened)
        return opened

    source = open_source(place, STAGES, open_workspace, components)
    if source.left_out:
        click.echo(source.left_out, err=True)
    at = place_of(source, sequence)
    if output is not None:
        source.check_use(at, use or "")
        with drawing() as console:
            held = view_file(source, at, output, frames, texture, scans, console.draw, overwrite)
        moved = sum(len(group.names) for group in source.shapes)
        what = f"mean face, {moved} sliders" if moved else f"{source.items[at]}, {counted(held, 'frame')}"
        click.echo(f"{output}: {what}, {output.stat().st_size / 1e6:.1f} MB")
        return
    with make_server(source, at, texture, port) as server:
        click.echo(f"{server.url}\nCtrl-C ends it.")
        with way_in(server) as page:
            if browser:
                click.launch(str(page))
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                click.echo("Ended.", err=True)
