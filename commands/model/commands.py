"""The commands of `mimicme model`: parse, call, print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from mimicme.pipeline.command_line import (
    FILE,
    FOLDER,
    JSON,
    OVERWRITE,
    RELEASE,
    RESULTS,
    Commands,
    say_progress,
    say_result,
    stacked,
)
from mimicme.pipeline.errors import counted

commands = Commands()

MESH_KIND = click.option(
    "--format", "kind", type=click.Choice(["obj", "ply", "glb"]), default="ply", show_default=True
)
ONLY = click.option("--only", default="*/*", show_default=True, metavar="GLOB", help="SUBJECT/SEQUENCE.")
MODEL_AND_RELEASE = stacked(click.argument("model", type=RELEASE), click.argument("release", type=RELEASE))


@commands.command("build")
@click.argument("releases", nargs=-1, required=True, type=RELEASE, metavar="RELEASE...")
@click.option("--output", type=FILE, required=True, help="The model file, HDF5.")
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
@click.option("--pictures", type=FOLDER, help="Folder for sheets to look at.")
@OVERWRITE
def build_command(
    releases: tuple[Path, ...],
    output: Path,
    pictures: Path | None,
    uniform_weights: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    """Identity, expression and joint models, blendshapes and texture model of one or more releases.

    Started again after an interruption it goes on from OUTPUT.parts.
    """
    from mimicme.commands.model.build import BuildSettings, build
    from mimicme.commands.model.files import info_lines
    from mimicme.commands.model.files import pictures as draw

    settings = BuildSettings(area_weights=not uniform_weights, **options)
    build(releases, output, settings, say_progress, overwrite)
    click.echo("\n".join(info_lines(output)))
    if pictures is not None:
        click.echo(f"{len(draw(output, pictures, releases))} sheets in {pictures}")


@commands.command("info")
@click.argument("model", type=RELEASE)
@click.option("--subject", default="", help="Was this person's face used?")
@JSON
def info_command(model: Path, subject: str, as_json: bool) -> None:
    """What is in a model file, and whose faces it was built from."""
    from mimicme.commands.model.files import info_lines
    from mimicme.commands.model.use import model_facts
    from mimicme.pipeline.model_file import read_model

    if as_json:
        click.echo(json.dumps(model_facts(read_model(model, stale_too=True)), indent=1))
    else:
        click.echo("\n".join(info_lines(model, subject)))


@commands.command("pictures")
@click.argument("model", type=RELEASE)
@click.argument("directory", type=FOLDER)
@click.option(
    "--release", "releases", multiple=True, type=RELEASE, help="For pictures of the frames left out."
)
def pictures_command(model: Path, directory: Path, releases: tuple[Path, ...]) -> None:
    """Sheets of the blendshapes, components and outliers, to look at."""
    from mimicme.commands.model.files import pictures

    for path in pictures(model, directory, releases):
        click.echo(path)


@commands.command("project")
@MODEL_AND_RELEASE
@click.option("--output", type=FILE, required=True, help=".npz")
@ONLY
@OVERWRITE
def project_command(model: Path, release: Path, output: Path, only: str, overwrite: bool) -> None:
    """Coefficients and blendshape weights of every frame."""
    from mimicme.commands.model.files import project_release

    count, residual, shapes = project_release(model, release, output, only, overwrite)
    click.echo(
        f"{output}: {counted(count, 'frame')}; median residual {residual:.3f} mm, with blendshapes {shapes:.3f} mm"
    )


@commands.command("reconstruct")
@MODEL_AND_RELEASE
@click.argument("directory", type=FOLDER)
@ONLY
@MESH_KIND
def reconstruct_command(model: Path, release: Path, directory: Path, only: str, kind: str) -> None:
    """Frames as identity and expression model have them."""
    from mimicme.commands.model.files import reconstruct_release

    made = reconstruct_release(model, release, directory, only, kind)
    click.echo(f"{counted(made, 'mesh', 'meshes')} in {directory}")


@commands.command("sample")
@click.argument("model", type=RELEASE)
@click.argument("directory", type=FOLDER)
@click.option("--count", type=click.IntRange(1), default=10, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--neutral", is_flag=True, help="At rest, without expressions.")
@MESH_KIND
def sample_command(model: Path, directory: Path, count: int, seed: int, neutral: bool, kind: str) -> None:
    """Random people who do not exist."""
    from mimicme.commands.model.files import write_samples

    made = write_samples(model, directory, count, seed, neutral, kind)
    click.echo(f"{counted(made, 'mesh', 'meshes')} in {directory}")


@commands.command("interpolate")
@MODEL_AND_RELEASE
@click.argument("first", metavar="FROM")
@click.argument("last", metavar="TO")
@click.argument("directory", type=FOLDER)
@click.option("--steps", type=click.IntRange(2), default=9, show_default=True)
@MESH_KIND
def interpolate_command(
    model: Path, release: Path, first: str, last: str, directory: Path, steps: int, kind: str
) -> None:
    """The way from frame FROM to frame TO (SUBJECT/SEQUENCE/NUMBER) through the joint model."""
    from mimicme.commands.model.files import write_interpolation

    made = write_interpolation(model, release, first, last, directory, steps, kind)
    click.echo(f"{counted(made, 'mesh', 'meshes')} in {directory}")


@commands.command("transfer")
@MODEL_AND_RELEASE
@click.option(
    "--from", "source", required=True, metavar="FRAME", help="SUBJECT/SEQUENCE[/NUMBER] (default: apex)."
)
@click.option("--to", "target", required=True, metavar="SUBJECT")
@click.option("--output", type=FILE, required=True, help=".obj, .ply or .glb")
@click.option(
    "--detail", is_flag=True, help="The frame as it is, wrinkles and noise, not as the model has it."
)
@OVERWRITE
def transfer_command(
    model: Path, release: Path, source: str, target: str, output: Path, detail: bool, overwrite: bool
) -> None:
    """One person's expression on another's face."""
    from mimicme.commands.model.files import write_transfer

    frame = write_transfer(model, release, source, target, output, detail, overwrite)
    click.echo(f"{output}: {target} with the expression of {frame}")


@commands.command("personal")
@MODEL_AND_RELEASE
@click.argument("subject")
@click.option("--output", type=FILE, required=True, help=".glb or .npz")
@OVERWRITE
def personal_command(model: Path, release: Path, subject: str, output: Path, overwrite: bool) -> None:
    """A subject's own blendshapes, from the generic ones and the subject's frames."""
    from mimicme.commands.model.files import write_personal

    shapes = write_personal(model, release, subject, output, overwrite)
    click.echo(f"{output}: {counted(len(shapes), 'shape')} of '{subject}'")


@commands.command("fit")
@click.argument("model", type=RELEASE)
@click.argument("files", nargs=-1, required=True, type=RELEASE, metavar="FILE...")
@click.option("--output", type=FOLDER, required=True, help="Folder for the fitted meshes.")
@click.option(
    "--unit", default="auto", show_default=True, help="Of the files: auto, mm, cm, m, um, in or a number."
)
@click.option("--at-rest", is_flag=True, help="No expression.")
@click.option(
    "--noise", "noise_mm", type=float, default=1.0, show_default=True, help="mm; more: nearer the mean."
)
@MESH_KIND
def fit_command(
    model: Path, files: tuple[Path, ...], output: Path, unit: str, at_rest: bool, noise_mm: float, kind: str
) -> None:
    """The model fitted to scans (landmarks beside them) or to landmark files."""
    from mimicme.commands.model.files import fit_files
    from mimicme.commands.model.fitting import FitSettings
    from mimicme.pipeline.landmarks.files import EXTENSIONS

    settings = FitSettings(expression=not at_rest, noise_mm=noise_mm)
    results = fit_files(model, files, output, settings, unit, kind)
    for done in results:
        found = (
            f"{done.path}: median distance {done.residual_mm:.2f} mm, {counted(done.landmarks, 'landmark')}"
        )
        click.echo(f"{done.path}: not fitted: {done.error}" if done.error else found)
        if not done.error and not done.landmarks:
            click.echo(
                f"warning: {done.path}: no landmark file lies beside the scan, so that it was taken to lie in the "
                "model's own frame, upright and in its place: look at the mesh. With a landmark file of the scan's "
                f"name beside it ({', '.join(EXTENSIONS[:3])} ...) the fit begins at its face.",
                err=True,
            )
    sys.exit(1 if any(done.error for done in results) else 0)


@commands.command("export")
@click.argument("model", type=RELEASE)
@click.argument("output", type=FILE)
@click.option("--format", "kind", type=click.Choice(["npz", "mat", "menpo", "glb"]), required=True)
@click.option(
    "--which",
    default="",
    help="identity, expression, joint, texture ..., or blendshapes, sides, arkit, sparse.",
)
@OVERWRITE
def export_command(model: Path, output: Path, kind: str, which: str, overwrite: bool) -> None:
    """A model or its blendshapes for numpy, MATLAB (LSFM's names), menpo, or as GLB with morph targets."""
    from mimicme.commands.model.formats import export_model
    from mimicme.pipeline.model_file import read_model

    click.echo(f"{output}: {export_model(read_model(model), output, kind, which, overwrite)}")


# what `model evaluate` and `model compare` share
evaluation_options = stacked(
    RESULTS,
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
        help="Frames to evaluate on, evenly over the subjects; 0: all.",
    ),
    click.option(
        "--samples",
        type=click.IntRange(2),
        default=1000,
        show_default=True,
        help="Random shapes, for specificity.",
    ),
    click.option("--seed", type=int, default=0, show_default=True),
    JSON,
)


@commands.command("evaluate")
@click.argument("model", type=RELEASE, metavar="MODEL")
@click.argument("release", type=RELEASE)
@evaluation_options
def evaluate_command(model: Path, release: Path, output: Path, as_json: bool, **options: Any) -> None:
    """Compactness, generalisation to unseen subjects, specificity, error per region."""
    from mimicme.commands.model.evaluate import EvaluationSettings, evaluate
    from mimicme.commands.model.evaluation_files import summary

    record = evaluate(model, release, output, EvaluationSettings(**options), say_progress)
    say_result(record, as_json, summary, output)


@commands.command("compare")
@click.argument("first", type=RELEASE, metavar="MODEL_A")
@click.argument("second", type=RELEASE, metavar="MODEL_B")
@click.argument("release", type=RELEASE)
@evaluation_options
def compare_command(
    first: Path, second: Path, release: Path, output: Path, as_json: bool, **options: Any
) -> None:
    """Two models over the same shapes, with the paired difference of their errors."""
    from mimicme.commands.model.evaluate import EvaluationSettings, compare
    from mimicme.commands.model.evaluation_files import comparison_summary

    record = compare(first, second, release, output, EvaluationSettings(**options), say_progress)
    say_result(record, as_json, comparison_summary, output)
