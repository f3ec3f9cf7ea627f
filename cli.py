"""The commands: parse, call, print; here what makes a workspace and runs it, the others in `commands.subcommands`.

What is heavy is imported inside them, so that `--help` is quick.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mimicme.commands.examples import examples_of
from mimicme.pipeline.command_line import (
    CAPTURED_OPTIONS,
    FILE,
    FOLDER,
    LICENCE_OPTION,
    SETTINGS_OPTIONS,
    WORKSPACE,
    Commands,
    say_progress,
    say_unheeded,
    stacked,
)
from mimicme.pipeline.errors import counted, out_of
from mimicme.pipeline.run.pool import limit_threads, silence_warnings
from mimicme.stages import FLOW

if TYPE_CHECKING:
    from mimicme.pipeline.items import Shard

MB_A_FRAME = 2.2
"""Of 53,349 vertices and a photograph of 1024 pixels, as pack writes them by default."""

_SOURCES = {
    name: f"mimicme.commands.subcommands.{subject}"
    for name, subject in {
        "settings": "workspaces",
        "plan": "workspaces",
        "status": "workspaces",
        "verify": "releases",
        "report": "review",
        "view": "review",
        "export": "releases",
        "adopt": "releases",
        "convert": "releases",
        "template": "templates",
        "synth": "synthetic",
        "evaluate": "synthetic",
        "model": "models",
        "experiment": "models",
        "publish": "releases",
        "withdraw": "releases",
        "demo": "installation",
        "doctor": "installation",
        "completion": "installation",
    }.items()
}
"""Where each command of another module is, in the order of the help."""

_BEGIN = """\b
Begin with:
  mimicme demo                                 the whole flow, without captures of your own
  mimicme init ws --captures /data/captures    or: a workspace for yours;
  mimicme run ws                               then all stages, to ws/release.h5;
  mimicme status ws                            then what came of it, and what to do next
"""

# before numpy is imported anywhere: one thread per process, and the same bytes for any number of jobs
limit_threads()


@click.group(
    cls=Commands,
    sources=_SOURCES,
    examples=lambda command: examples_of(command, FLOW),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_BEGIN,
)
@click.version_option(package_name="mimicme", prog_name="mimicme")
def main() -> None:
    """Raw 4D face captures to a registered, textured, verified database.

    Exit status: 0 every frame ok; 1 some frames failed or were rejected; 2 wrong use, or a disk is full or fails; 130
    interrupted.
    """
    silence_warnings()


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
    SETTINGS_OPTIONS,
    click.option("--dry-run", is_flag=True, help="Say what would run and why; write nothing."),
    click.option("--quiet", "-q", is_flag=True, help="Say nothing where every frame is ok."),
)
_detector_option = click.option(
    "--detector-model", type=FILE, help="Weights of the landmark detector (default: as installed)."
)
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
                f"; `{status} --failed` says which and why"
                if opened.sequences()
                else f"; `{status}` says who is left out and why"
            )
        console.result(f"Exit status 1: {', '.join(why)}{named}.")
    sys.exit(code)


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
@CAPTURED_OPTIONS
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
@LICENCE_OPTION
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
    from mimicme.commands.frames import fitted_landmarks
    from mimicme.commands.overrides import opened_as_last
    from mimicme.pipeline.errors import UsageError
    from mimicme.stages.landmarks.review import export
    from mimicme.stages.landmarks.review import review as draw

    opened = opened_as_last(workspace, options["preset"], options["sets"], say_progress)
    say_unheeded(opened)
    if review:
        drawn = draw(
            opened,
            output or opened.report_folder / "landmarks",
            options["only"],
            per_subject,
            lambda item: fitted_landmarks(opened, item),
        )
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


if __name__ == "__main__":
    main()
