"""The commands of `mimicme experiment`: parse, call, print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mimicme.pipeline.command_line import JSON, RELEASE, RESULTS, Commands, say_progress, say_result, stacked

if TYPE_CHECKING:
    from mimicme.commands.experiment.protocol import Protocol

commands = Commands()


# what the experiments with folds of people share
experiment_options = stacked(
    click.argument("release", type=RELEASE),
    RESULTS,
    click.option("--folds", type=click.IntRange(2), default=10, show_default=True, help="Of people."),
    click.option("--by-split", is_flag=True, help="Test those whose `split` is test instead of folds."),
    click.option("--components", type=click.IntRange(1), default=50, show_default=True),
    click.option("--seed", type=int, default=0, show_default=True, help="Of folds and intervals."),
    JSON,
)


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


def _protocol(options: dict[str, Any]) -> Protocol:
    """What `experiment_options` say, taken out of all options."""
    from mimicme.commands.experiment.protocol import Protocol

    return Protocol(**{field.name: options.pop(field.name) for field in fields(Protocol)})


@commands.command("expressions")
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
def expressions_command(
    release: Path, output: Path, as_json: bool, neutral_unknown: bool, **options: Any
) -> None:
    """Which expression a sequence shows."""
    from mimicme.commands.experiment.expressions import recognise_expressions
    from mimicme.commands.experiment.results import classification_summary

    known = not neutral_unknown
    record = recognise_expressions(
        release, output, _protocol(options), neutral_known=known, progress=say_progress, **options
    )
    say_result(record, as_json, classification_summary, output)


@commands.command("gender")
@experiment_options
@_classifiers("logistic")
def gender_command(release: Path, output: Path, as_json: bool, **options: Any) -> None:
    """A person's gender, from the shape of the neutral face."""
    from mimicme.commands.experiment.demographics import classify_people
    from mimicme.commands.experiment.results import classification_summary

    how = _protocol(options)
    record = classify_people(release, output, how, attribute="gender", progress=say_progress, **options)
    say_result(record, as_json, classification_summary, output)


@commands.command("age")
@experiment_options
def age_command(release: Path, output: Path, as_json: bool, **options: Any) -> None:
    """A person's age, from the shape of the neutral face."""
    from mimicme.commands.experiment.demographics import age_summary, estimate_age

    record = estimate_age(release, output, _protocol(options), say_progress)
    say_result(record, as_json, age_summary, output)


@commands.command("coma")
@click.argument("release", type=RELEASE)
@RESULTS
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
@JSON
def coma_command(release: Path, output: Path, as_json: bool, **options: Any) -> None:
    """How well PCA reconstructs faces, over the splits of CoMA (Ranjan et al. 2018)."""
    from mimicme.commands.experiment.coma import coma_summary, reconstruct

    record = reconstruct(release, output, progress=say_progress, **options)
    say_result(record, as_json, coma_summary, output)
