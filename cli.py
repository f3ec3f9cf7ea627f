"""The commands: parse, call, print.  What is heavy is imported inside them, so that `--help` is quick."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from mimicme.commands.examples import examples_of
from mimicme.pipeline.command_line import (
    FILE,
    FOLDER,
    JSON,
    OVERWRITE,
    PRESETS,
    RELEASE,
    WORKSPACE,
    Commands,
    for_use,
    say_progress,
    stacked,
)
from mimicme.pipeline.errors import counted, out_of
from mimicme.pipeline.run.pool import limit_threads, silence_warnings
from mimicme.stages import FLOW

if TYPE_CHECKING:
    from mimicme.pipeline.items import Item, Shard
    from mimicme.pipeline.run.progress import Console
    from mimicme.pipeline.workspace import Workspace

MB_A_FRAME = 2.2
"""Of 53,349 vertices and a photograph of 1024 pixels, as pack writes them by default."""
LINE_S = 20.0
"""Between two lines of `synth` and `report` that say how far they are, where there is no terminal to draw on."""

# before numpy is imported anywhere: one thread per process, and the same bytes for any number of jobs
limit_threads()


@click.group(
    cls=Commands,
    examples=lambda command: examples_of(command, FLOW),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="mimicme", prog_name="mimicme")
def main() -> None:
    """Raw 4D face captures to a registered, textured, verified database.

    Exit status: 0 every frame ok; 1 some frames failed or were rejected; 2 wrong use, or a disk is full or fails; 130
    interrupted.
    """
    silence_warnings()


def _columns(_: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """`NAME=COLUMN` by name."""
    pairs = {name.strip(): column.strip() for name, _, column in (one.partition("=") for one in given)}
    for name, column in pairs.items():
        if not name or not column:
            raise click.BadParameter(f"'{name}={column}' is not NAME=COLUMN, as in subject=ID", param=option)
    return pairs


def _shard(_: click.Context, option: click.Parameter, given: str | None) -> Shard | None:
    """`I/N`, from 1."""
    from mimicme.pipeline.items import Shard

    if given is None:
        return None
    number, _slash, count = given.partition("/")
    if number.isdecimal() and count.isdecimal() and not 1 <= int(number) <= int(count) <= 100_000:
        raise click.BadParameter(
            f"there is no part {int(number)} of {int(count)}; parts are counted from 1, up to 100,000 of them",
            param=option,
        )
    if not (number.isdecimal() and count.isdecimal()):
        raise click.BadParameter(f"'{given}' is not I/N, as in 1/16 for the first of sixteen", param=option)
    return Shard(int(number), int(count))


settings_options = stacked(
    click.option(
        "--preset",
        type=click.Choice(PRESETS),
        help="Defaults to begin from; mimicme.toml and --set come after.",
    ),
    click.option(
        "--set", "sets", multiple=True, metavar="SECTION.KEY=VALUE", help="One setting (repeatable)."
    ),
)
# what `run` and every stage command share
run_options = stacked(
    click.argument("workspace", type=WORKSPACE),
    click.option(
        "--jobs", "-j", type=click.IntRange(0), help="Workers (default: cores; 0: in this process)."
    ),
    click.option(
        "--backend",
        type=click.Choice(["loky", "dask"]),
        default="loky",
        show_default=True,
        help="What the workers are of: this machine, or a cluster of dask.",
    ),
    click.option("--scheduler", metavar="ADDRESS", help="Of --backend dask, as in tcp://host:8786."),
    click.option(
        "--only", multiple=True, metavar="GLOB", help="SUBJECT/SEQUENCE, as in 'S001/*' (repeatable)."
    ),
    click.option("--force", is_flag=True, help="Make again what is current."),
    settings_options,
    click.option("--dry-run", is_flag=True, help="Say what would run and why; write nothing."),
    click.option("--quiet", "-q", is_flag=True, help="Say nothing where every frame is ok."),
)
_detector_option = click.option(
    "--detector-model", type=FILE, help="Weights of the landmark detector (default: as installed)."
)
_captured_options = stacked(
    click.option("--metadata", type=FILE, help="CSV or XLSX: subject, age, gender, ethnicity, consent, ..."),
    click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="NAME=COLUMN",
        callback=_columns,
        help="Of the metadata, as in subject=ID (repeatable).",
    ),
    click.option("--expressions", type=FILE, help="CSV or XLSX: sequence, expression."),
    click.option("--fps", type=float, default=float("nan"), help="Frames per second."),
)
_licence_option = click.option("--licence", default="", metavar="TEXT", help="Terms of the release.")
_release_options = stacked(
    click.option("--output", type=FILE, help="The release (default: WORKSPACE/release.h5)."),
    click.option(
        "--allow-missing",
        is_flag=True,
        help="Pack it also where sequences failed of which it has frames (default: it is then kept as it is).",
    ),
)


def _run(
    workspace: Path,
    preset: str | None,
    sets: tuple[str, ...],
    detector_model: Path | None = None,
    quiet: bool = False,
    **options: Any,
) -> None:
    from mimicme.commands.overrides import say_not_kept, say_unlike_last, sets_of
    from mimicme.pipeline.errors import OutputError
    from mimicme.pipeline.run.progress import Console
    from mimicme.pipeline.run.runner import INTERRUPTED, RunOptions, run
    from mimicme.pipeline.workspace import Workspace
    from mimicme.stages import STAGES
    from mimicme.stages.pack.survey import note_verified, verified_by

    given = sets_of(preset, sets, detector_model)
    opened = Workspace.open(workspace, sets=given)
    # what a run says may be lost, and its exit status is of what it made; a plan is made to be read
    console = Console.standard(click.echo, lossy=not options["dry_run"])
    if not quiet and not given:
        say_unlike_last(opened, console.say)
    said: list[str] = []
    result = run(opened, RunOptions(**options), STAGES, Console(out=said.append) if quiet else console)
    if quiet and (not result.all_ok or options["dry_run"]):
        console.result("\n".join(said))
    if quiet and not opened.sequences():  # what nobody is in has no frame that is not ok
        for message in opened.catalogue().messages:
            console.say(message)
    sound = True
    if result.release is not None and result.packed:
        from mimicme.commands.verify import Finding, mark
        from mimicme.commands.verify.saying import by_shard, findings_of, say_findings

        known = verified_by(opened.packed, mark())
        but = {name: known[name] for name in result.verified if name in known}
        findings = [Finding("warning", *said) for warnings in but.values() for said in warnings]
        findings += findings_of(result.release, but=but)
        sound = say_findings(result.release, findings, console.result, len(but), quiet)
        if sound:
            with contextlib.suppress(OSError, OutputError):  # it saves time alone
                note_verified(opened.packed, result.release.resolve().parent, mark(), by_shard(findings))
    # the last line of a shard that is over says them with the command that follows it
    of_shard = options.get("shard") is not None and result.exit_code != INTERRUPTED
    if not options["dry_run"] and not quiet and not of_shard:
        say_not_kept(workspace, preset, sets, console.say)
    if result.left and not quiet:
        console.result(f"{result.left}.")
    code = result.exit_code if sound else max(result.exit_code, 1)
    why = [*result.why, *([] if sound else ["a release that is not usable"])]
    if why and code == 1:  # last, where somebody who comes in the morning looks first
        named = ""
        if result.why:
            status = f"mimicme status {shlex.quote(str(workspace))}"
            named = (
                f"; `{status} --failed` names each sequence"
                if opened.sequences()
                else f"; `{status}` says who is left out and why"
            )
        console.result(f"Exit status 1: {', '.join(why)}{named}.")
    sys.exit(code)


@contextlib.contextmanager
def _drawing(at_once: bool = False) -> Iterator[Console]:
    """A console on standard error whose line of progress is gone when the work is over; `at_once`: see `Console`."""
    from mimicme.pipeline.run.progress import Console

    console = Console(sys.stderr, at_once=at_once)
    try:
        yield console
    finally:
        console.clear()


def _say_unheeded(workspace: Workspace) -> None:
    """Say which verdicts and corrections count for nothing: until they are mended, whoever uses them is told."""
    for sentence in workspace.catalogue().unheeded:
        click.echo(sentence, err=True)


@main.command("init")
@click.argument("workspace", type=WORKSPACE)
@click.option("--captures", required=True, type=FOLDER, help="Folder of the raw captures.")
@click.option(
    "--layout",
    default="",
    metavar="PATTERN",
    help="'{subject}/{sequence}/{frame}.obj', or the name of one, as 3dmd, coma, flat (default: by trying).",
)
@click.option(
    "--template",
    default="menpo3d",
    show_default=True,
    metavar="FILE|NAME",
    help="OBJ or PLY with its landmarks beside it.",
)
@_captured_options
@click.option(
    "--unit",
    default="auto",
    show_default=True,
    metavar="auto|mm|cm|m|um|in|NUMBER",
    help="Of the files; a number is the millimetres of one unit.",
)
@click.option(
    "--up",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", *(s + a for a in "xyz" for s in "+-")]),
    help="The files' axis that points to the top of the head.",
)
@_licence_option
@click.option("--dry-run", is_flag=True, help="Say what is found, sequence by sequence; write nothing.")
def init(workspace: Path, dry_run: bool, **declared: Any) -> None:
    """Make a workspace for a folder of captures."""
    from mimicme.pipeline.captures.consent import UNCLEAR
    from mimicme.pipeline.captures.overview import overview
    from mimicme.pipeline.workspace import CONFIG_NAME, Workspace
    from mimicme.stages import STAGES

    made = Workspace.create(workspace, stages=STAGES, dry_run=dry_run, **declared)
    found = made.catalogue()
    if dry_run and declared["layout"]:
        click.echo(f"Layout '{found.pattern}', as given.")
    for message in (*found.messages, *found.rates, *found.renamed):
        click.echo(message, err=not dry_run)
    for why in list(found.unclear.values())[1:] if dry_run else ():  # the first is among the messages
        click.echo(why)
    table = made.metadata()
    for message in (*table.messages, *table.compare(found.subjects)):
        click.echo(message, err=not dry_run)
    if found.subjects and not (table.rows or table.has_consent):  # a table without consents says so itself
        click.echo(
            "Nothing says who consents: all subjects are worked on. Name a table with a column `consent` with "
            "--metadata, and who refuses stays out.",
            err=not dry_run,
        )
    for line in overview(found, declared["fps"]) if dry_run and found.sequences else ():
        click.echo(line)
    click.echo(
        f"{made.root}: {counted(len(found.subjects), 'subject')}, {counted(len(found.sequences), 'sequence')}, "
        f"{counted(found.frame_count, 'frame')} in '{found.pattern}'"
    )
    if table.doubts:
        click.echo(
            f"Who is who must be said first: settle what is doubted above, in {made.root / CONFIG_NAME} or in the "
            "table. Until then a run leaves these captures out.",
            err=True,
        )
        sys.exit(2)
    unclear = [one for one in found.captured if UNCLEAR in table.excluded.get(one, "")]
    if dry_run:
        if not found.sequences:
            click.echo("Nobody is left to work on: see above.")
        click.echo("Nothing is written.")
        sys.exit(2 if found.unclear or unclear else 0)
    if not found.sequences:
        click.echo(
            f"Nobody is left to work on: see above. With that changed, mimicme run {shlex.quote(str(workspace))}"
        )
        sys.exit(2 if unclear else 0)
    from mimicme.commands.plan import shards_advised

    if said := shards_advised(found.frame_count * MB_A_FRAME / 1000, made.root):
        click.echo(said)
    click.echo(f"Next: mimicme run {shlex.quote(str(workspace))}")
    if unclear:  # the workspace is made, and a script has to notice who is not in it
        who = counted(len(unclear), "subject")
        click.echo(
            f"Exit status 2: the consent of {who} is not understood, and keeps them out; see above.", err=True
        )
        sys.exit(2)


@main.command("run")
@run_options
@click.option("--from", "first", metavar="STAGE", help="First stage.")
@click.option("--until", "last", metavar="STAGE", help="Last stage.")
@_release_options
@_detector_option
@click.option(
    "--shard",
    metavar="I/N",
    callback=_shard,
    help="One of N runs side by side, as of an array job: its subjects, no release.",
)
def run_command(workspace: Path, **options: Any) -> None:
    """Bring every stage up to date, from captures to the release."""
    _run(workspace, **options)


@run_options
@_detector_option
@click.option("--review", is_flag=True, help="Draw what there is, worst first; finds nothing new.")
@click.option(
    "--per-subject",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Frames of each on the review: its neutral, the worst.",
)
@click.option("--output", type=FOLDER, help="Of the review (default: WORKSPACE/report/landmarks).")
@click.option(
    "--export",
    "kind",
    type=click.Choice(["ljson", "pp", "pts", "csv", "json", "lm3", "bnd"]),
    help="Files to correct, in ...",
)
@click.option("--export-to", type=FOLDER, metavar="DIR", help="... this folder; laid out as the captures.")
def _landmarks(
    workspace: Path,
    review: bool,
    per_subject: int,
    output: Path | None,
    kind: str | None,
    export_to: Path | None,
    **options: Any,
) -> None:
    if not review and kind is None:
        _run(workspace, first="landmarks", last="landmarks", **options)
        return
    from mimicme.commands.overrides import opened_as_last
    from mimicme.pipeline.errors import UsageError
    from mimicme.stages.landmarks.review import export
    from mimicme.stages.landmarks.review import review as draw

    opened = opened_as_last(workspace, options["preset"], options["sets"], say_progress)
    _say_unheeded(opened)
    if review:
        drawn = draw(opened, output or opened.report_folder / "landmarks", options["only"], per_subject)
        for path in drawn.files:
            click.echo(path)
        more = "" if drawn.shown == drawn.frames else ": --per-subject N shows more, the table has all"
        click.echo(f"{out_of(drawn.shown, drawn.frames, 'frame')} shown{more}", err=True)
    if kind is not None:
        if export_to is None:
            raise UsageError("an export needs a folder", expected="--export-to DIR")
        done = export(opened, export_to, f".{kind}", options["only"])
        if done.files:
            click.echo(
                f"{counted(len(done.files), 'file')} in {export_to}; corrected ones, and the .found file of "
                f"each, belong beside their frames"
            )
        if done.by_hand:
            click.echo(
                f"{_frames(done.by_hand, 'has', 'have')} no file there: no point was found, all came from landmark "
                "files beside the frames. Correct those."
            )
        if done.rejected:
            click.echo(
                f"{_frames(done.rejected, 'was', 'were')} rejected: "
                f"`mimicme status {shlex.quote(str(workspace))} --failed` says why"
            )


def _frames(count: int, one: str, more: str) -> str:
    """`1 frame was`, `2 frames were`."""
    return counted(count, f"frame {one}", f"frames {more}")


def _stage(stage: str) -> Callable[..., None]:
    """What the command of a stage does: `run`, limited to it."""

    def function(workspace: Path, **options: Any) -> None:
        _run(workspace, first=stage, last=stage, **options)

    return run_options(function)


# the two that can more than run
_RICHER: dict[str, Callable[[str], Callable[..., None]]] = {
    "landmarks": lambda stage: _landmarks,
    "pack": lambda stage: _release_options(_stage(stage)),
}
for _name, _sentence in FLOW.items():
    main.command(_name, help=_sentence)(_RICHER.get(_name, _stage)(_name))


@main.command("stages")
@click.option("--names", is_flag=True, help="Names alone, one a line, for programs.")
def stages_command(names: bool) -> None:
    """The stages in order, and what each does."""
    for name, sentence in FLOW.items():
        click.echo(name if names else f"{name:10} {sentence}")


@main.command("settings")
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


@main.command("plan")
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
@settings_options
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
    told = plan(opened, STAGES, sample, workers, jobs, Console(sys.stderr))
    if as_json:
        click.echo(json.dumps(told.to_record(), indent=1))
    else:
        for line in told.lines():
            click.echo(line)
    say_not_kept(workspace, preset, sets, say_progress)


@main.command("status")
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
@settings_options
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


@main.command("verify")
@click.argument("release", type=RELEASE)
@click.option(
    "--every-image", "--deep", is_flag=True, help="Decode every texture (default: three a sequence)."
)
@click.option(
    "--absent", default="", metavar="ID", help="Nothing of this subject may be left: no name, text or chunk."
)
@click.option(
    "--key", type=RELEASE, help="Of the pseudonyms of a published release: ID is looked for under its own."
)
@JSON
def verify_command(release: Path, every_image: bool, absent: str, key: Path | None, as_json: bool) -> None:
    """Check a release: structure, checksums, units, NaN, index."""
    from mimicme.commands.verify import all_said, has_errors
    from mimicme.commands.verify.saying import findings_of, say_verified

    if key is not None and not absent:
        raise click.UsageError("--key goes with --absent.")
    if not as_json:
        sys.exit(0 if say_verified(release, click.echo, every_image, absent, key) else 1)
    findings = findings_of(release, every_image, absent, key)
    records = [
        {"level": f.level, "check": f.check, "where": f.where, "message": f.message, "todo": f.todo}
        for f in findings
    ]
    click.echo(json.dumps(records, indent=1))
    sys.exit(1 if has_errors(findings) or not all_said(findings) else 0)


@main.command("report")
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
@settings_options
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
        with _drawing(at_once=True) as console:
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

    with _drawing(at_once=True) as console:
        made = report(
            opened, output or opened.report_folder, STAGES,
            progress=lambda at: console.tell(at, every_s=LINE_S), jobs=jobs, views=views, write_view=write_view,
        )  # fmt: skip
    _say_unheeded(opened)
    click.echo(made)


@main.command("view")
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
        _say_unheeded(opened)
        return opened

    source = open_source(place, STAGES, open_workspace, components)
    if source.left_out:
        click.echo(source.left_out, err=True)
    at = place_of(source, sequence)
    if output is not None:
        source.check_use(at, use or "")
        with _drawing() as console:
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


@main.command("export")
@click.argument("release", type=RELEASE)
@click.argument("directory", type=FOLDER)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["obj", "ply", "glb", "npz"]),
    required=True,
    help="A GLB is in metres, as glTF demands, with --space file in the captures' unit; the others as --space says.",
)
@click.option(
    "--only", default="*/*", show_default=True, metavar="GLOB", help="SUBJECT/SEQUENCE, as in 'S001/*'."
)
@click.option("--frames", metavar="NUMBERS", help="As in 3,10-12 (default: all).")
@click.option(
    "--space",
    type=click.Choice(["canonical", "scan", "file"]),
    default="canonical",
    show_default=True,
    help="canonical: head still, mm; scan: head where it was, mm; file: units and axes of the captures.",
)
@click.option(
    "--animation",
    is_flag=True,
    help="With glb: one file a sequence, its frames morph targets over their times.",
)
@click.option(
    "--texture-of",
    default="neutral",
    show_default=True,
    metavar="FRAME",
    help="Whose texture an animation has: neutral, apex, or a frame's number.",
)
@click.option(
    "--landmarks",
    type=click.Choice(["ljson", "pts", "pp", "csv", "json", "lm3", "bnd", "none"]),
    help="Beside each frame, in the mesh's unit and axes (default: ljson; with npz, which has them, none).",
)
@click.option(
    "--colors",
    is_flag=True,
    help="With ply: also a colour per vertex, for programs that read no texture of PLY (Open3D).",
)
@OVERWRITE
@for_use("What for; a release that says what its subjects permit asks for it.")
def export_command(
    release: Path,
    directory: Path,
    kind: str,
    only: str,
    frames: str | None,
    space: str,
    animation: bool,
    texture_of: str,
    landmarks: str | None,
    colors: bool,
    overwrite: bool,
    use: str | None,
) -> None:
    """Frames of a release as files for other programs."""
    from mimicme.commands.export import PLAYED_AT, export, parse_frames
    from mimicme.pipeline.workspace.beside import kept_out_sentence

    numbers = parse_frames(frames) if frames else None
    done = export(
        release,
        directory,
        kind,
        only,
        numbers,
        space,  # type: ignore[arg-type]
        overwrite,
        use or "",
        animation=animation,
        texture_of=texture_of,
        landmarks=landmarks or "",
        colors=colors,
    )
    left_out = f"; {done.left_out} rejected frames left out" if done.left_out else ""
    left_out += (
        f"; {counted(len(done.forbidden), 'subject does', 'subjects do')} not permit '{use}'"
        if done.forbidden
        else ""
    )
    if done.kept_out:
        left_out += f"; {kept_out_sentence(release, len(done.kept_out))}"
    click.echo(f"{counted(len(done.files), 'file')} in {directory}{left_out}")
    if done.untimed:
        click.echo(
            f"{counted(done.untimed, 'animation plays', 'animations play')} {PLAYED_AT:g} frames a second, which "
            "nobody said: the release knows no times of these frames. Say the rate (`fps` in [captures]), pack again."
        )


@main.command("adopt")
@click.argument("folder", type=FOLDER)
@click.argument("release", type=FILE)
@click.option(
    "--template", type=RELEASE, required=True, help="Mesh of the same topology, its landmarks beside it."
)
@click.option("--layout", default="", metavar="PATTERN", help="As in init (default: by trying).")
@_captured_options
@_licence_option
@click.option("--align", is_flag=True, help="Take the head's motion out.")
@click.option(
    "--consent-yes", multiple=True, metavar="WORD", help="Of the table's consent: is a yes (repeatable)."
)
@click.option(
    "--consent-missing",
    type=click.Choice(["exclude", "include"]),
    default="exclude",
    show_default=True,
    help="Who has no consent in a table that has consents.",
)
@click.option(
    "--not-same",
    multiple=True,
    nargs=2,
    metavar="ROW FOLDER",
    help="Two persons, though spelled alike (repeatable).",
)
@OVERWRITE
def adopt_command(
    folder: Path,
    release: Path,
    template: Path,
    consent_yes: tuple[str, ...],
    consent_missing: Literal["exclude", "include"],
    not_same: tuple[tuple[str, str], ...],
    **options: Any,
) -> None:
    """Meshes that are registered already as a release, for models and experiments."""
    from mimicme.commands.adopt import adopt
    from mimicme.pipeline.captures.consent import ConsentRules

    rules = ConsentRules(consent_yes, consent_missing, not_same)
    with _drawing() as console:
        done = adopt(folder, release, template, rules=rules, progress=console.draw, **options)
    for message in done.messages:
        click.echo(message, err=True)
    click.echo(
        f"{release}: {counted(done.subjects, 'subject')}, {counted(done.frames, 'frame')}, {done.rejected} rejected"
    )
    sys.exit(1 if done.rejected else 0)


@main.command("convert")
@click.argument("release", type=RELEASE)
@click.argument("template", metavar="TEMPLATE|NAME")
@click.argument("output", metavar="OUT", type=FILE)
@OVERWRITE
def convert_command(release: Path, template: str, output: Path, overwrite: bool) -> None:
    """A release in another template's vertices: RELEASE, with TEMPLATE and its landmarks beside it, as OUT.

    NAME is `menpo3d`, the embedded template.
    """
    from mimicme.commands.convert import convert

    with _drawing() as console:
        done = convert(release, template, output, console.draw, overwrite)
    for message in done.messages:
        click.echo(message, err=True)
    share, median, p95 = (done.errors[name] for name in ("face_share", "face_median_mm", "face_p95_mm"))
    click.echo(
        f"{output}: {counted(done.sequences, 'sequence')}, {counted(done.frames, 'frame')}; of the template's face "
        f"{share:.1%} lies on the release's, {median:.2f} mm from it (median; p95 {p95:.2f})"
    )


@main.group("template", cls=Commands)
def template_group() -> None:
    """A template of your own: what speaks for and against it."""


@template_group.command("check")
@click.argument("file", type=RELEASE)
@click.option("--picture", type=FILE, help="PNG of the template with its landmarks.")
@JSON
def template_check_command(file: Path, picture: Path | None, as_json: bool) -> None:
    """Look at a mesh file with its landmarks beside it; exit status 1 where registration would not work."""
    from mimicme.commands.template import check, draw_check
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
        click.echo(f"{file}: {'will do' if not bad else 'will not do as a template'}")
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


@main.command("synth")
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

    with _drawing() as console:
        synthesise(directory, subjects, wanted, frames, seed, template, tell, triangles, maker, rgbd, beards)
    click.echo(f"Captures in {directory / 'captures'}, the true answer in {directory / 'truth'}")
    made_for = {"captures": "captures", "template": "template/template.obj", "metadata": "subjects.csv"}
    options = " ".join(f"--{name} {shlex.quote(str(directory / place))}" for name, place in made_for.items())
    click.echo(f"Next: mimicme init WORKSPACE {options}")


@main.command("evaluate")
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


@main.group("model", cls=Commands, source="mimicme.commands.model.commands")
def model_group() -> None:
    """Linear models of faces out of a release: build, use, evaluate."""


@main.group("experiment", cls=Commands, source="mimicme.commands.experiment.commands")
def experiment_group() -> None:
    """What papers ask of a database of faces, on people never seen."""


@main.command("publish")
@click.argument("release", type=RELEASE)
@click.argument("directory", type=FOLDER)
@click.option("--title", required=True, help="Of the data set.")
@click.option(
    "--author", "authors", multiple=True, required=True, metavar="'FAMILY, GIVEN'", help="Repeatable."
)
@click.option("--version", default="", help="Default: 1.0, then 1.1 ... where something changed.")
@click.option("--description", default="", help="In a sentence or two.")
@click.option("--date", default="", metavar="YYYY-MM-DD", help="Default: the release's.")
@click.option("--licence", default="", metavar="TEXT", help="Default: the release's.")
@click.option("--doi", default="", help="Of the data set, where it has one.")
@click.option("--url", default="", help="Where the data set can be had.")
@click.option("--agreement", type=FILE, help="File with the terms (default: a draft).")
@click.option("--key", type=FILE, help="Of the pseudonyms; made where it is not (default: DIRECTORY.key).")
@click.option("--splits", "shares", default="80,10,10", show_default=True, help="Shares of train, val, test.")
@click.option("--seed", default=0, show_default=True, help="Of the splits.")
@for_use("Only subjects who plainly permit it.")
@click.option(
    "--column", "columns", multiple=True, metavar="NAME", help="Of the table, to be given away (repeatable)."
)
@click.option("--consent-yes", multiple=True, metavar="WORD", help="Is a yes too (repeatable).")
@click.option("--shard", metavar="none|subject|GB", help="Default: as the release is.")
def publish_command(
    release: Path,
    directory: Path,
    title: str,
    authors: tuple[str, ...],
    version: str,
    description: str,
    date: str,
    licence: str,
    doi: str,
    url: str,
    use: str | None,
    shard: str | None,
    **options: Any,
) -> None:
    """A release as a folder to give away: pseudonyms, splits, permitted uses, agreement, datasheet."""
    from mimicme.commands.publish import PublishSettings, publish
    from mimicme.commands.publish.texts import Title
    from mimicme.commands.verify.saying import say_verified
    from mimicme.pipeline.errors import UsageError

    size: Any = shard
    if shard not in (None, "none", "subject"):
        try:
            size = float(str(shard))
        except ValueError:
            size = -1.0
        if not 0 < size < 1e6:
            raise UsageError("--shard is not known", seen=shard, expected="none, subject or a number of GB")
    about = Title(title, authors, version, date, licence, description, doi, url)
    done = publish(release, directory, about, PublishSettings(use=use or "", shard=size, **options))
    for why in done.left_out.values():
        click.echo(why, err=True)
    for message in done.messages:
        click.echo(message)
    of_whom = f"{counted(done.subjects, 'subject')} with {counted(done.frames, 'registered frame')}"
    rejected = f" ({done.rejected} more rejected)" if done.rejected else ""
    what = f"version {done.version}, {of_whom}{rejected} under pseudonyms"
    click.echo(f"{directory}: {what}")
    click.echo(f"{done.key}: the key to their ids, and {done.ledger.name}: keep both, give neither away")
    sys.exit(0 if say_verified(done.release, click.echo) else 1)


@main.command("withdraw")
@click.argument("place", metavar="WORKSPACE|RELEASE", type=click.Path(exists=True, path_type=Path))
@click.argument("subject")
@click.option(
    "--also",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="Where models, exports and copies may lie (repeatable): models are marked, published folders rid of the "
    "subject, the rest is named.",
)
@click.option(
    "--key",
    type=RELEASE,
    help="Of the pseudonyms it was published under: it is found in published copies too.",
)
def withdraw_command(place: Path, subject: str, also: tuple[Path, ...], key: Path | None) -> None:
    """Consent withdrawn: remove a subject from a release, a published folder, or a workspace for good."""
    from mimicme.commands.publish import pages
    from mimicme.commands.withdraw import withdraw

    done = withdraw(place, subject, also, key, pages.again)
    parts = (
        [f"{counted(done.sequences, 'sequence')} with {counted(done.frames, 'frame')} of the release"]
        if done.sequences
        else []
    )
    parts += [counted(len(done.files), "file")] if done.files else []
    click.echo(f"{place}: '{subject}' is gone: {' and '.join(parts) or 'nothing was left of it'}.")
    for message in done.messages:
        click.echo(message)


@main.command("demo")
@click.argument("directory", type=FOLDER, default=Path("mimicme-demo"))
@click.option("--jobs", "-j", type=click.IntRange(0), help="Workers (default: cores; 0: in this process).")
def demo_command(directory: Path, jobs: int | None) -> None:
    """The whole flow on data that is installed with mimicme."""
    from mimicme.commands.demo import demo

    sys.exit(demo(directory, jobs, click.echo) or 0)


@main.command("doctor")
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

    from mimicme.pipeline.run.progress import colored

    for found in examine(directory):
        say(found)
    if tested and all(f.ok or not f.needed for f in findings):
        say(self_test())
    if as_json:
        click.echo(json.dumps([vars(f) for f in findings], indent=1))
    sys.exit(0 if all(f.ok or not f.needed for f in findings) else 1)


@main.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Completion of commands and options for a shell: a script to be kept where the shell looks for such."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    # without `source`, which asks the shell for its version
    made = kind(main, {}, "mimicme", "_MIMICME_COMPLETE")
    click.echo(made.source_template % made.source_vars())


if __name__ == "__main__":
    main()
