"""What is done with a release: checked, exported, converted, adopted, given away, somebody taken out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import click

from mimicme.pipeline.command_line import (
    CAPTURED_OPTIONS,
    FILE,
    FOLDER,
    JSON,
    LICENCE_OPTION,
    OVERWRITE,
    RELEASE,
    Commands,
    drawing,
    for_use,
)
from mimicme.pipeline.errors import counted

commands = Commands()


@commands.command("verify")
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


@commands.command("export")
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


@commands.command("adopt")
@click.argument("folder", type=FOLDER)
@click.argument("release", type=FILE)
@click.option(
    "--template", type=RELEASE, required=True, help="Mesh of the same topology, its landmarks beside it."
)
@click.option("--layout", default="", metavar="PATTERN", help="As in init (default: by trying).")
@CAPTURED_OPTIONS
@LICENCE_OPTION
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
    with drawing() as console:
        done = adopt(folder, release, template, rules=rules, progress=console.draw, **options)
    for message in done.messages:
        click.echo(message, err=True)
    click.echo(
        f"{release}: {counted(done.subjects, 'subject')}, {counted(done.frames, 'frame')}, {done.rejected} rejected"
    )
    sys.exit(1 if done.rejected else 0)


@commands.command("convert")
@click.argument("release", type=RELEASE)
@click.argument("template", metavar="TEMPLATE|NAME")
@click.argument("output", metavar="OUT", type=FILE)
@OVERWRITE
def convert_command(release: Path, template: str, output: Path, overwrite: bool) -> None:
    """A release in another template's vertices: RELEASE, with TEMPLATE and its landmarks beside it, as OUT.

    NAME is `menpo3d`, the embedded template.
    """
    from mimicme.commands.convert import convert

    with drawing() as console:
        done = convert(release, template, output, console.draw, overwrite)
    for message in done.messages:
        click.echo(message, err=True)
    share, median, p95 = (done.errors[name] for name in ("face_share", "face_median_mm", "face_p95_mm"))
    click.echo(
        f"{output}: {counted(done.sequences, 'sequence')}, {counted(done.frames, 'frame')}; of the template's face "
        f"{share:.1%} lies on the release's, {median:.2f} mm from it (median; p95 {p95:.2f})"
    )


@commands.command("publish")
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


@commands.command("withdraw")
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
