"""The commands: parse, call, print.  What is heavy is imported inside them, so that `--help` is quick."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mimicme.pipeline.pool import pin_threads

# before numpy is imported anywhere: one thread per process, and the same bytes for any number of jobs
pin_threads()

STAGE_HELP = {
    "ingest": "Read and check the captures, clean the scans, name units and axes.",
    "landmarks": "68 points on every scan, from the files beside it or found on it.",
    "align": "Bring every scan into the template's frame (rigid).",
    "register": "Fit the template to every scan.",
    "refine": "Slide the vertices until the texture stands still.",
    "bake": "Bring each scan's texture into the template's UV layout.",
    "project": "Put the template's landmarks onto the scans.",
    "pack": "Write the release.",
}
_WORKSPACE = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_RELEASE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


class _Commands(click.Group):
    """Lists commands in the order of the flow, and hints at the nearest name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if args and Path(args[0]).is_dir():
                hint = f"{error.message} Did you mean 'mimicme run {args[0]}'?"
                raise click.UsageError(hint, ctx) from error
            raise


def _errors_as_sentences(function: Callable[..., Any]) -> Callable[..., Any]:
    """Errors raised on purpose become one sentence on standard error and an exit status."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        from mimicme.pipeline.errors import ArtefactError, MimicmeError, ReleaseError

        try:
            return function(*args, **kwargs)
        except MimicmeError as error:
            click.echo(f"mimicme: {error}", err=True)
            # an unreadable capture folder or table is a wrong call; a damaged result is not
            sys.exit(1 if isinstance(error, ArtefactError | ReleaseError) else 2)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            sys.exit(130)
        except BrokenPipeError:  # `mimicme status | head`
            sys.stderr.close()
            sys.exit(0)

    return wrapper


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="mimicme", prog_name="mimicme")
def main() -> None:
    """Raw 4D face captures to a registered, textured, verified database.

    Exit status: 0 every frame ok; 1 some frames failed or were rejected; 2 wrong use; 130 interrupted.
    """


def command(name: str, **more: Any) -> Callable[[Callable[..., Any]], Any]:
    """A command of `main` whose errors are sentences."""

    def decorate(function: Callable[..., Any]) -> Any:
        return main.command(name, **more)(_errors_as_sentences(function))

    return decorate


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options that `run` and every stage command share."""
    options = [
        click.argument("workspace", type=_WORKSPACE),
        click.option(
            "--jobs", "-j", type=click.IntRange(0), help="Workers (default: cores; 0: in this process)."
        ),
        click.option("--backend", type=click.Choice(["loky", "dask"]), default="loky", show_default=True),
        click.option("--scheduler", metavar="ADDRESS", help="Of dask, as in tcp://host:8786."),
        click.option(
            "--only", multiple=True, metavar="GLOB", help="SUBJECT/SEQUENCE, as in 'S001/*' (repeatable)."
        ),
        click.option("--force", is_flag=True, help="Make again what is current."),
        click.option(
            "--preset", type=click.Choice(["fast", "default", "best"]), help="Lies under mimicme.toml."
        ),
        click.option(
            "--set", "sets", multiple=True, metavar="SECTION.KEY=VALUE", help="One setting (repeatable)."
        ),
        click.option("--dry-run", is_flag=True, help="Say what would run and why; write nothing."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _detector_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--detector-model", type=_FILE, help="Weights of the landmark detector (default: as installed)."
    )(function)


def _run(
    workspace: Path,
    sets: tuple[str, ...],
    detector_model: Path | None = None,
    **options: Any,
) -> None:
    from mimicme.pipeline.progress import Console
    from mimicme.pipeline.runner import RunOptions, run
    from mimicme.pipeline.workspace import Workspace
    from mimicme.stages import STAGES

    if detector_model is not None:
        sets = (*sets, f"landmarks.detector_model={detector_model.resolve()}")
    opened = Workspace.open(workspace, sets=sets)
    result = run(opened, RunOptions(**options), STAGES, Console.standard(click.echo))
    sound = result.release is None or not result.packed or _verified(result.release)
    sys.exit(result.exit_code if sound else max(result.exit_code, 1))


def _verified(release: Path, every_image: bool = False) -> bool:
    """Verify a release and say what was found."""
    from mimicme.stages.verify import has_errors, verify

    findings = verify(release, every_image=every_image)
    for finding in findings:
        click.echo(finding)
    click.echo(f"{release}: {'not usable' if has_errors(findings) else 'verified'}")
    return not has_errors(findings)


@command("init")
@click.argument("workspace", type=_WORKSPACE)
@click.option("--captures", required=True, type=_FOLDER, help="Folder of the raw captures.")
@click.option(
    "--layout",
    default="",
    metavar="PATTERN",
    help="'{subject}/{sequence}/{frame}.obj', 3dmd, bu4dfe, d3dfacs, coma or flat (default: by trying).",
)
@click.option(
    "--template",
    default="menpo3d",
    show_default=True,
    metavar="FILE|NAME",
    help="OBJ or PLY with its landmarks beside it.",
)
@click.option("--metadata", type=_FILE, help="CSV: subject, age, gender, ethnicity, consent, ...")
@click.option("--expressions", type=_FILE, help="CSV: sequence, expression.")
@click.option("--fps", type=float, default=float("nan"), help="Frames per second.")
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
)
@click.option("--licence", default="", metavar="TEXT", help="Terms of the release.")
def init(workspace: Path, **declared: Any) -> None:
    """Make a workspace for a folder of captures."""
    from mimicme.pipeline.workspace import Workspace
    from mimicme.stages import STAGES

    made = Workspace.create(workspace, stages=STAGES, **declared)
    found = made.found()
    for message in found.messages:
        click.echo(message, err=True)
    captured = {s.item.subject for s in found.sequences}
    table = made.metadata()
    for message in (*table.messages, *table.compare(captured)):
        click.echo(message, err=True)
    click.echo(
        f"{made.root}: {len(found.subjects)} subjects, {len(found.sequences)} sequences, "
        f"{found.frame_count} frames in '{found.pattern}'"
    )
    click.echo(f"Next: mimicme run {workspace}")


@command("run")
@run_options
@click.option("--from", "first", metavar="STAGE", help="First stage.")
@click.option("--until", "last", metavar="STAGE", help="Last stage.")
@click.option("--output", type=_FILE, help="The release (default: WORKSPACE/release.h5).")
@_detector_option
def run_command(workspace: Path, **options: Any) -> None:
    """Bring every stage up to date, from captures to the release."""
    _run(workspace, **options)


def _stage_command(stage: str) -> None:
    def function(workspace: Path, **options: Any) -> None:
        _run(workspace, first=stage, last=stage, **options)

    function.__doc__ = STAGE_HELP[stage]
    function = run_options(function)
    if stage == "pack":
        function = click.option("--output", type=_FILE, help="Default: WORKSPACE/release.h5.")(function)
    command(stage)(function)


_stage_command("ingest")


@command("landmarks")
@run_options
@_detector_option
@click.option("--review", is_flag=True, help="Draw what there is, worst first; finds nothing new.")
@click.option("--output", type=_FOLDER, help="Of the review (default: WORKSPACE/report/landmarks).")
@click.option(
    "--export",
    "kind",
    type=click.Choice(["ljson", "pp", "pts", "csv", "json"]),
    help="Files to correct, in ...",
)
@click.option("--export-to", type=_FOLDER, metavar="DIR", help="... this folder; laid out as the captures.")
def landmarks_command(
    workspace: Path,
    review: bool,
    output: Path | None,
    kind: str | None,
    export_to: Path | None,
    **options: Any,
) -> None:
    """68 points on every scan, from the files beside it or found on it."""
    if not review and kind is None:
        _run(workspace, first="landmarks", last="landmarks", **options)
        return
    from mimicme.pipeline.errors import UsageError
    from mimicme.pipeline.workspace import Workspace
    from mimicme.stages.landmarks.review import export
    from mimicme.stages.landmarks.review import review as draw

    opened = Workspace.open(workspace, sets=options["sets"])
    if review:
        for path in draw(opened, output or opened.report_folder / "landmarks", options["only"]):
            click.echo(path)
    if kind is not None:
        if export_to is None:
            raise UsageError("an export needs a folder", expected="--export-to DIR")
        written = export(opened, export_to, f".{kind}", options["only"])
        click.echo(f"{len(written)} files in {export_to}; corrected ones belong beside their frames")


for _name in list(STAGE_HELP)[2:]:
    _stage_command(_name)


@command("status")
@click.argument("workspace", type=_WORKSPACE)
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
@click.option("--failed", is_flag=True, help="Every failed sequence and rejected frame with its reason.")
@click.option("--preset", type=click.Choice(["fast", "default", "best"]))
@click.option("--set", "sets", multiple=True, metavar="SECTION.KEY=VALUE")
def status_command(
    workspace: Path, as_json: bool, failed: bool, preset: str | None, sets: tuple[str, ...]
) -> None:
    """What is done, what is out of date, what failed; true at any moment."""
    from mimicme.pipeline.status import read_status
    from mimicme.pipeline.workspace import Workspace
    from mimicme.stages import STAGES

    status = read_status(Workspace.open(workspace, sets=sets), STAGES, preset)
    if as_json:
        click.echo(json.dumps(status.to_record(), indent=1))
    else:
        for line in status.failed_lines() if failed else status.lines():
            click.echo(line)


@command("verify")
@click.argument("release", type=_RELEASE)
@click.option("--every-image", is_flag=True, help="Decode every texture (default: three a sequence).")
@click.option("--json", "as_json", is_flag=True)
def verify_command(release: Path, every_image: bool, as_json: bool) -> None:
    """Check a release: structure, checksums, units, NaN, index."""
    from mimicme.stages.verify import has_errors, verify

    if not as_json:
        sys.exit(0 if _verified(release, every_image) else 1)
    findings = verify(release, every_image=every_image)
    records = [{"level": f.level, "where": f.where, "message": f.message} for f in findings]
    click.echo(json.dumps(records, indent=1))
    sys.exit(1 if has_errors(findings) else 0)


@command("report")
@click.argument("workspace", type=_WORKSPACE)
@click.option("--output", type=_FOLDER, help="Default: WORKSPACE/report.")
@click.option("--preset", type=click.Choice(["fast", "default", "best"]))
@click.option("--set", "sets", multiple=True, metavar="SECTION.KEY=VALUE")
def report_command(workspace: Path, output: Path | None, preset: str | None, sets: tuple[str, ...]) -> None:
    """A page with pictures and figures, to be opened without a network."""
    from mimicme.pipeline.workspace import Workspace
    from mimicme.stages import STAGES
    from mimicme.stages.report import report

    opened = Workspace.open(workspace, sets=sets)
    click.echo(report(opened, output or opened.report_folder, STAGES, preset))


@command("export")
@click.argument("release", type=_RELEASE)
@click.argument("directory", type=_FOLDER)
@click.option("--format", "kind", type=click.Choice(["obj", "ply", "glb", "npz"]), required=True)
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
@click.option("--overwrite", is_flag=True)
def export_command(
    release: Path, directory: Path, kind: str, only: str, frames: str | None, space: str, overwrite: bool
) -> None:
    """Frames of a release as files for other programs."""
    from mimicme.stages.export import export, parse_frames

    numbers = parse_frames(frames) if frames else None
    done = export(release, directory, kind, only, numbers, space, overwrite)  # type: ignore[arg-type]
    left_out = f"; {done.left_out} rejected frames left out" if done.left_out else ""
    click.echo(f"{len(done.files)} files in {directory}{left_out}")


@command("adopt")
@click.argument("folder", type=_FOLDER)
@click.argument("release", type=_FILE)
@click.option(
    "--template", type=_RELEASE, required=True, help="Mesh of the same topology, its 68 landmarks beside it."
)
@click.option("--layout", default="", metavar="PATTERN", help="As in init (default: by trying).")
@click.option("--metadata", type=_FILE, help="CSV: subject, age, gender, ethnicity, consent, ...")
@click.option("--expressions", type=_FILE, help="CSV: sequence, expression.")
@click.option("--fps", type=float, default=float("nan"), help="Frames per second.")
@click.option("--licence", default="", metavar="TEXT", help="Terms of the release.")
@click.option("--align", is_flag=True, help="Take the head's motion out.")
def adopt_command(folder: Path, release: Path, template: Path, **options: Any) -> None:
    """Meshes that are registered already as a release, for models and experiments."""
    from mimicme.pipeline.progress import Console
    from mimicme.stages.adopt import adopt

    console = Console(sys.stderr)
    try:
        done = adopt(folder, release, template, progress=console.draw, **options)
    finally:
        console.clear()
    for message in done.messages:
        click.echo(message, err=True)
    click.echo(f"{release}: {done.subjects} subjects, {done.frames} frames, {done.rejected} rejected")
    sys.exit(1 if done.rejected else 0)


@command("synth")
@click.argument("directory", type=_FOLDER)
@click.option("--subjects", type=click.IntRange(1), default=2, show_default=True)
@click.option("--sequences", type=click.IntRange(1), default=5, show_default=True)
@click.option("--frames", type=click.IntRange(3), default=9, show_default=True, help="Odd: the apex is amid.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--template", default="menpo3d", show_default=True, metavar="FILE|NAME")
def synth_command(
    directory: Path, subjects: int, sequences: int, frames: int, seed: int, template: str
) -> None:
    """Synthetic captures with a known answer."""
    from mimicme.pipeline.progress import Console
    from mimicme.stages.synth import synthesise

    console = Console(sys.stderr)

    def draw(done: int, total: int, what: str) -> None:
        console.draw(f"{done}/{total} frames, {what}")

    try:
        synthesise(directory, subjects, sequences, frames, seed, template, draw)
    finally:
        console.clear()
    click.echo(f"Captures in {directory / 'captures'}, the true answer in {directory / 'truth'}")


@command("evaluate")
@click.argument("release", type=_RELEASE)
@click.option("--truth", type=_FOLDER, required=True, help="Folder that `synth` wrote.")
@click.option("--json", "as_json", is_flag=True)
def evaluate_command(release: Path, truth: Path, as_json: bool) -> None:
    """Compare a release with the known truth of its captures."""
    from mimicme.stages.evaluate import evaluate, format_table

    figures = evaluate(release, truth)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
    else:
        click.echo(format_table(figures))


@main.group("model", cls=_Commands)
def model_group() -> None:
    """Linear models of faces out of a release: build, use, judge."""


def subcommand(group: click.Group, name: str, **more: Any) -> Callable[[Callable[..., Any]], Any]:
    """A command of a group whose errors are sentences."""

    def decorate(function: Callable[..., Any]) -> Any:
        return group.command(name, **more)(_errors_as_sentences(function))

    return decorate


_MESH_KIND = click.option(
    "--format", "kind", type=click.Choice(["obj", "ply", "glb"]), default="ply", show_default=True
)


@subcommand(model_group, "build")
@click.argument("releases", nargs=-1, required=True, type=_RELEASE, metavar="RELEASE...")
@click.option("--output", type=_FILE, required=True, help="The model file, HDF5.")
@click.option("--rank", type=click.IntRange(1), default=100, show_default=True, help="Most components.")
@click.option(
    "--mask", default="all", show_default=True, help="Region: the template's own, face, mouth, eyes ..."
)
@click.option("--uniform-weights", is_flag=True, help="Vertices count alike, not by their area.")
@click.option(
    "--balance",
    type=click.Choice(["subjects", "expressions", "frames"]),
    default="subjects",
    show_default=True,
    help="What counts alike.",
)
@click.option("--symmetric", is_flag=True, help="Shapes with their mirror images; symmetric blendshapes.")
@click.option(
    "--prune",
    type=click.FloatRange(0, 0.5, max_open=True),
    default=0.02,
    show_default=True,
    help="Share of each expression left out as outliers.",
)
@click.option(
    "--keep", multiple=True, metavar="GLOB", help="SUBJECT/SEQUENCE/FRAME never left out (repeatable)."
)
@click.option("--sparse", type=click.IntRange(0), default=0, show_default=True, help="Localised components.")
@click.option(
    "--texture", type=click.IntRange(0, 2048), default=256, show_default=True, help="Pixels; 0: none."
)
@click.option(
    "--group-minimum",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="People in a group (age, gender, ethnicity) with a model of its own; 0: none.",
)
@click.option("--split", default="", help="Only subjects of this split.")
@click.option("--subjects", default="*", show_default=True, metavar="GLOB")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--pictures", type=_FOLDER, help="Folder for sheets to look at.")
def model_build_command(
    releases: tuple[Path, ...], output: Path, pictures: Path | None, uniform_weights: bool, **options: Any
) -> None:
    """Identity, expression and joint models, blendshapes and texture model of one or more releases.

    Started again after an interruption it goes on from OUTPUT.parts.
    """
    from mimicme.stages.model.build import BuildSettings, build
    from mimicme.stages.model.files import info_lines
    from mimicme.stages.model.files import pictures as draw

    settings = BuildSettings(area_weights=not uniform_weights, **options)
    build(releases, output, settings, functools.partial(click.echo, err=True))
    click.echo("\n".join(info_lines(output)))
    if pictures is not None:
        click.echo(f"{len(draw(output, pictures, releases))} sheets in {pictures}")


@subcommand(model_group, "info")
@click.argument("model", type=_RELEASE)
@click.option("--subject", default="", help="Was this person's face used?")
@click.option("--json", "as_json", is_flag=True)
def model_info_command(model: Path, subject: str, as_json: bool) -> None:
    """What is in a model file, and whose faces it was built from."""
    from mimicme.pipeline.model_file import read_model
    from mimicme.stages.model.files import info_lines
    from mimicme.stages.model.use import model_facts

    if as_json:
        click.echo(json.dumps(model_facts(read_model(model)), indent=1))
    else:
        click.echo("\n".join(info_lines(model, subject)))


@subcommand(model_group, "pictures")
@click.argument("model", type=_RELEASE)
@click.argument("directory", type=_FOLDER)
@click.option(
    "--release", "releases", multiple=True, type=_RELEASE, help="For pictures of the frames left out."
)
def model_pictures_command(model: Path, directory: Path, releases: tuple[Path, ...]) -> None:
    """Sheets of the blendshapes, components and outliers, to look at."""
    from mimicme.stages.model.files import pictures

    for path in pictures(model, directory, releases):
        click.echo(path)


@subcommand(model_group, "project")
@click.argument("model", type=_RELEASE)
@click.argument("release", type=_RELEASE)
@click.option("--output", type=_FILE, required=True, help=".npz")
@click.option("--only", default="*/*", show_default=True, metavar="GLOB", help="SUBJECT/SEQUENCE.")
def model_project_command(model: Path, release: Path, output: Path, only: str) -> None:
    """Coefficients and blendshape weights of every frame."""
    from mimicme.stages.model.files import project_release

    count, residual, shapes = project_release(model, release, output, only)
    click.echo(
        f"{output}: {count} frames; median residual {residual:.3f} mm, with blendshapes {shapes:.3f} mm"
    )


@subcommand(model_group, "reconstruct")
@click.argument("model", type=_RELEASE)
@click.argument("release", type=_RELEASE)
@click.argument("directory", type=_FOLDER)
@click.option("--only", default="*/*", show_default=True, metavar="GLOB", help="SUBJECT/SEQUENCE.")
@_MESH_KIND
def model_reconstruct_command(model: Path, release: Path, directory: Path, only: str, kind: str) -> None:
    """Frames as identity and expression model have them."""
    from mimicme.stages.model.files import reconstruct_release

    click.echo(f"{reconstruct_release(model, release, directory, only, kind)} meshes in {directory}")


@subcommand(model_group, "sample")
@click.argument("model", type=_RELEASE)
@click.argument("directory", type=_FOLDER)
@click.option("--count", type=click.IntRange(1), default=10, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--neutral", is_flag=True, help="At rest, without expressions.")
@_MESH_KIND
def model_sample_command(
    model: Path, directory: Path, count: int, seed: int, neutral: bool, kind: str
) -> None:
    """Random people who do not exist."""
    from mimicme.stages.model.files import write_samples

    click.echo(f"{write_samples(model, directory, count, seed, neutral, kind)} meshes in {directory}")


@subcommand(model_group, "interpolate")
@click.argument("model", type=_RELEASE)
@click.argument("release", type=_RELEASE)
@click.argument("first", metavar="FROM")
@click.argument("last", metavar="TO")
@click.argument("directory", type=_FOLDER)
@click.option("--steps", type=click.IntRange(2), default=9, show_default=True)
@_MESH_KIND
def model_interpolate_command(
    model: Path, release: Path, first: str, last: str, directory: Path, steps: int, kind: str
) -> None:
    """The way from frame FROM to frame TO (SUBJECT/SEQUENCE/NUMBER) through the joint model."""
    from mimicme.stages.model.files import write_interpolation

    click.echo(
        f"{write_interpolation(model, release, first, last, directory, steps, kind)} meshes in {directory}"
    )


@subcommand(model_group, "transfer")
@click.argument("model", type=_RELEASE)
@click.argument("release", type=_RELEASE)
@click.option(
    "--from", "source", required=True, metavar="FRAME", help="SUBJECT/SEQUENCE[/NUMBER] (default: apex)."
)
@click.option("--to", "target", required=True, metavar="SUBJECT")
@click.option("--output", type=_FILE, required=True, help=".obj, .ply or .glb")
@click.option(
    "--detail", is_flag=True, help="The frame as it is, wrinkles and noise, not as the model has it."
)
def model_transfer_command(
    model: Path, release: Path, source: str, target: str, output: Path, detail: bool
) -> None:
    """One person's expression on another's face."""
    from mimicme.stages.model.files import write_transfer

    frame = write_transfer(model, release, source, target, output, detail)
    click.echo(f"{output}: {target} with the expression of {frame}")


@subcommand(model_group, "personal")
@click.argument("model", type=_RELEASE)
@click.argument("release", type=_RELEASE)
@click.argument("subject")
@click.option("--output", type=_FILE, required=True, help=".glb or .npz")
def model_personal_command(model: Path, release: Path, subject: str, output: Path) -> None:
    """A subject's own blendshapes, from the generic ones and the subject's frames."""
    from mimicme.stages.model.files import write_personal

    shapes = write_personal(model, release, subject, output)
    click.echo(f"{output}: {len(shapes)} shapes of '{subject}'")


@subcommand(model_group, "fit")
@click.argument("model", type=_RELEASE)
@click.argument("files", nargs=-1, required=True, type=_RELEASE, metavar="FILE...")
@click.option("--output", type=_FOLDER, required=True, help="Folder for the fitted meshes.")
@click.option(
    "--unit", default="auto", show_default=True, help="Of the files: auto, mm, cm, m, um, in or a number."
)
@click.option("--at-rest", is_flag=True, help="No expression.")
@click.option(
    "--noise", "noise_mm", type=float, default=1.0, show_default=True, help="mm; more: nearer the mean."
)
@_MESH_KIND
def model_fit_command(
    model: Path, files: tuple[Path, ...], output: Path, unit: str, at_rest: bool, noise_mm: float, kind: str
) -> None:
    """The model fitted to scans (landmarks beside them) or to landmark files."""
    from mimicme.stages.model.files import fit_files
    from mimicme.stages.model.fitting import FitSettings

    settings = FitSettings(expression=not at_rest, noise_mm=noise_mm)
    results = fit_files(model, files, output, settings, unit, kind)
    for done in results:
        found = f"{done.path}: median distance {done.residual_mm:.2f} mm, {done.landmarks} landmarks"
        click.echo(f"{done.path}: not fitted: {done.error}" if done.error else found)
    sys.exit(1 if any(done.error for done in results) else 0)


@subcommand(model_group, "export")
@click.argument("model", type=_RELEASE)
@click.argument("output", type=_FILE)
@click.option("--format", "kind", type=click.Choice(["npz", "mat", "menpo", "glb"]), required=True)
@click.option(
    "--which",
    default="",
    help="identity, expression, joint, texture ..., or blendshapes, sides, arkit, sparse.",
)
@click.option("--overwrite", is_flag=True)
def model_export_command(model: Path, output: Path, kind: str, which: str, overwrite: bool) -> None:
    """A model or its blendshapes for numpy, MATLAB (LSFM's names), menpo, or as GLB with morph targets."""
    from mimicme.pipeline.model_file import read_model
    from mimicme.stages.model.formats import export_model

    click.echo(f"{output}: {export_model(read_model(model), output, kind, which, overwrite)}")


def judging_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options that `model evaluate` and `model compare` share."""
    options = [
        click.option("--output", type=_FOLDER, required=True, help="Folder for tables and plots."),
        click.option(
            "--model",
            "names",
            multiple=True,
            type=click.Choice(["identity", "expression", "joint"]),
            help="Only this one (repeatable; default: those of the file).",
        ),
        click.option(
            "--frames",
            "most_frames",
            type=click.IntRange(0),
            default=4000,
            show_default=True,
            help="To judge by, evenly over the subjects; 0: all.",
        ),
        click.option(
            "--samples",
            type=click.IntRange(2),
            default=1000,
            show_default=True,
            help="Random shapes, for specificity.",
        ),
        click.option("--seed", type=int, default=0, show_default=True),
        click.option("--json", "as_json", is_flag=True),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@subcommand(model_group, "evaluate")
@click.argument("model", type=_RELEASE, metavar="MODEL")
@click.argument("release", type=_RELEASE)
@judging_options
def model_evaluate_command(
    model: Path, release: Path, output: Path, as_json: bool, names: tuple[str, ...], **options: Any
) -> None:
    """Compactness, generalisation to unseen subjects, specificity, error per region."""
    from mimicme.stages.model.evaluate import evaluate
    from mimicme.stages.model.evaluation_files import summary

    progress = functools.partial(click.echo, err=True)
    record = evaluate(model, release, output, names=names, progress=progress, **options)
    _say_result(record, as_json, summary, output)


@subcommand(model_group, "compare")
@click.argument("first", type=_RELEASE, metavar="MODEL_A")
@click.argument("second", type=_RELEASE, metavar="MODEL_B")
@click.argument("release", type=_RELEASE)
@judging_options
def model_compare_command(
    first: Path,
    second: Path,
    release: Path,
    output: Path,
    as_json: bool,
    names: tuple[str, ...],
    **options: Any,
) -> None:
    """Two models over the same shapes, with the paired difference of their errors."""
    from mimicme.stages.model.evaluate import compare
    from mimicme.stages.model.evaluation_files import comparison_summary

    progress = functools.partial(click.echo, err=True)
    record = compare(first, second, release, output, names=names, progress=progress, **options)
    _say_result(record, as_json, comparison_summary, output)


@main.group("experiment", cls=_Commands)
def experiment_group() -> None:
    """What papers ask of a database of faces, on people never seen."""


def experiment_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options that the experiments with folds of people share."""
    options = [
        click.argument("release", type=_RELEASE),
        click.option("--output", type=_FOLDER, required=True, help="Folder for tables and plots."),
        click.option("--folds", type=click.IntRange(2), default=10, show_default=True, help="Of people."),
        click.option("--by-split", is_flag=True, help="Test those whose `split` is test instead of folds."),
        click.option("--components", type=click.IntRange(1), default=50, show_default=True),
        click.option("--seed", type=int, default=0, show_default=True, help="Of folds and intervals."),
        click.option("--json", "as_json", is_flag=True),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _classifiers(default: str) -> Callable[..., Any]:
    return click.option(
        "--classifier",
        "classifiers",
        multiple=True,
        type=click.Choice(["lda", "logistic", "svm"]),
        default=[default],
        show_default=True,
        help="Repeatable.",
    )


def _say_result(
    record: dict[str, Any], as_json: bool, lines: Callable[[dict[str, Any]], list[str]], output: Path
) -> None:
    click.echo(json.dumps(record, indent=1) if as_json else "\n".join(lines(record)))
    if not as_json:
        click.echo(f"Tables and plots in {output}")


@subcommand(experiment_group, "expressions")
@experiment_options
@_classifiers("lda")
@click.option(
    "--feature",
    "features",
    multiple=True,
    type=click.Choice(["coefficients", "landmarks", "texture"]),
    default=["coefficients", "landmarks", "texture"],
    show_default=True,
    help="Repeatable.",
)
@click.option("--expression", "expressions", multiple=True, metavar="LABEL", help="Only these (repeatable).")
@click.option(
    "--neutral-unknown",
    is_flag=True,
    help="Look at faces as they are, with neutral as a class (default: at the difference to one's own neutral).",
)
def experiment_expressions_command(
    release: Path, output: Path, as_json: bool, neutral_unknown: bool, **options: Any
) -> None:
    """Which expression a sequence shows."""
    from mimicme.stages.experiment.expressions import recognise_expressions
    from mimicme.stages.experiment.results import classification_summary

    progress = functools.partial(click.echo, err=True)
    known = not neutral_unknown
    record = recognise_expressions(release, output, neutral_known=known, progress=progress, **options)
    _say_result(record, as_json, classification_summary, output)


@subcommand(experiment_group, "gender")
@experiment_options
@_classifiers("logistic")
def experiment_gender_command(release: Path, output: Path, as_json: bool, **options: Any) -> None:
    """A person's gender, from the shape of the neutral face."""
    from mimicme.stages.experiment.demographics import classify_people
    from mimicme.stages.experiment.results import classification_summary

    progress = functools.partial(click.echo, err=True)
    record = classify_people(release, output, attribute="gender", progress=progress, **options)
    _say_result(record, as_json, classification_summary, output)


@subcommand(experiment_group, "age")
@experiment_options
def experiment_age_command(release: Path, output: Path, as_json: bool, **options: Any) -> None:
    """A person's age, from the shape of the neutral face."""
    from mimicme.stages.experiment.demographics import age_summary, estimate_age

    progress = functools.partial(click.echo, err=True)
    record = estimate_age(release, output, progress=progress, **options)
    _say_result(record, as_json, age_summary, output)


@subcommand(experiment_group, "coma")
@click.argument("release", type=_RELEASE)
@click.option("--output", type=_FOLDER, required=True, help="Folder for tables and plots.")
@click.option(
    "--split",
    "kind",
    type=click.Choice(["interpolation", "extrapolation", "identity"]),
    default="interpolation",
    show_default=True,
    help="10 of every 100 frames; each expression; each subject.",
)
@click.option("--components", type=click.IntRange(1), default=8, show_default=True)
@click.option(
    "--frames",
    "most_trained",
    type=click.IntRange(0),
    default=25_000,
    show_default=True,
    help="Most frames to train on, evenly; 0: all.",
)
@click.option("--json", "as_json", is_flag=True)
def experiment_coma_command(release: Path, output: Path, as_json: bool, **options: Any) -> None:
    """How well PCA reconstructs faces, over the splits of CoMA (Ranjan et al. 2018)."""
    from mimicme.stages.experiment.coma import coma_summary, reconstruct

    progress = functools.partial(click.echo, err=True)
    record = reconstruct(release, output, progress=progress, **options)
    _say_result(record, as_json, coma_summary, output)


@command("withdraw")
@click.argument("place", metavar="WORKSPACE|RELEASE", type=click.Path(exists=True, path_type=Path))
@click.argument("subject")
def withdraw_command(place: Path, subject: str) -> None:
    """Consent withdrawn: remove a subject from a release, or from a workspace and its release for good."""
    from mimicme.stages.withdraw import withdraw

    done = withdraw(place, subject)
    parts = [f"{done.sequences} sequences with {done.frames} frames of the release"] if done.sequences else []
    parts += [f"{len(done.files)} files"] if done.files else []
    click.echo(f"{place}: '{subject}' is gone: {' and '.join(parts) or 'nothing was left of it'}.")
    for message in done.messages:
        click.echo(message)


@command("demo")
@click.argument("directory", type=_FOLDER, default=Path("mimicme-demo"))
@click.option("--jobs", "-j", type=click.IntRange(0))
def demo_command(directory: Path, jobs: int | None) -> None:
    """The whole flow on data that is installed with mimicme."""
    from mimicme.stages.demo import demo

    sys.exit(demo(directory, jobs, click.echo) or 0)


@command("doctor")
@click.argument("directory", type=_FOLDER, default=Path())
def doctor_command(directory: Path) -> None:
    """What is installed, and what is missing."""
    from mimicme.stages.doctor import examine

    findings = examine(directory)
    for f in findings:
        click.echo(f"{'ok  ' if f.ok else 'MISSING' if f.needed else 'note'}  {f.name}: {f.message}")
    sys.exit(0 if all(f.ok or not f.needed for f in findings) else 1)


if __name__ == "__main__":
    main()
