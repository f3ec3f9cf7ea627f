"""experiment age, experiment gender: out of the shape of a neutral face, on people never seen.

Reads a release; writes into a folder as `expressions` does: for gender a classification, for age

    experiment.json, folds.csv, predictions.csv
    results.csv     mean and median absolute error in years with intervals, and those of saying the training people's
                    median age of everybody
    age.png         said against true

A subject is one sample: the coefficients of its neutral in an identity model of the fold's training people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.experiment.features import Coefficients
from mimicme.commands.experiment.folds import Fold, Samples
from mimicme.commands.experiment.learners import Scale, cross_validate, score
from mimicme.commands.experiment.protocol import Protocol
from mimicme.commands.experiment.results import write_classification, write_folds, write_record
from mimicme.commands.experiment.samples import attribute_samples
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.captures.metadata import UNKNOWN
from mimicme.pipeline.drawing.plots import make_folder, scatter_chart, write_table
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.numerics.statistics import Estimate, bootstrap_over_subjects
from mimicme.pipeline.release.frames import ReleaseFrames

Progress = Callable[[str], None]

FEWEST_SUBJECTS = 5


def classify_people(
    release: Path,
    output: Path,
    protocol: Protocol,
    *,
    attribute: str = "gender",
    classifiers: Sequence[str] = ("logistic",),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Tell the subjects' gender from their neutral faces; write tables and plots.

    Args:
        attribute: column of the subjects' table.

    Returns:
        What `experiment.json` holds.

    Raises:
        UsageError: fewer than five subjects with a value, or all have the same one.
    """
    with ReleaseFrames([release], use="training") as frames:
        labels, messages = _labels(frames, attribute)
        messages = [*frames.messages, *messages]
        samples = attribute_samples(frames, labels)
        if progress:
            progress(f"{len(labels)} subjects")
        parts = protocol.make_folds(frames, labels, strata=labels)
        answers = cross_validate(samples, parts, Coefficients("shape", protocol.components), classifiers)
    record = protocol.record(attribute, parts, messages, classes=sorted(set(labels.values())))
    results = {("identity", name): (a, score(a, protocol.seed)) for name, a in answers.items()}
    return write_classification(output, record, parts, results)


def _labels(frames: ReleaseFrames, attribute: str) -> tuple[dict[str, str], list[str]]:
    found = {s: str(frames.attributes(s).get(attribute, UNKNOWN)).strip().lower() for s in frames.subjects}
    known = {s: word for s, word in found.items() if word not in ("", UNKNOWN)}
    counts = {word: list(known.values()).count(word) for word in known.values()}
    rare = sorted(word for word, count in counts.items() if count < 2)
    kept = {s: word for s, word in known.items() if word not in rare}
    messages = [f"'{word}' is left out: one subject alone has it." for word in rare]
    if len(known) < len(found):
        messages.append(f"{len(found) - len(known)} subjects without a {attribute} are left out.")
    if len(kept) < FEWEST_SUBJECTS or len(set(kept.values())) < 2:
        said = ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or f"no {attribute}"
        raise UsageError(
            f"too few subjects with a known {attribute}, or all alike",
            seen=f"{len(found)} subjects: {said}",
            expected=f"{FEWEST_SUBJECTS} or more, at least two of each of two kinds",
            todo=_why(messages, attribute),
        )
    return kept, messages


def _why(messages: Sequence[str], attribute: str) -> str:
    """What was left out on the way to an error, and how to have more."""
    return " ".join([*messages, f"Fill the column `{attribute}` of the metadata and pack the release again."])


@dataclass(frozen=True)
class Ages:
    """What was said of each person, years; `usual`: the median age of the people trained on."""

    subjects: NDArray[np.str_]
    true: Floats
    said: Floats
    usual: Floats
    fold: NDArray[np.int64]


def estimate_age(
    release: Path, output: Path, protocol: Protocol, progress: Progress | None = None
) -> dict[str, Any]:
    """Estimate the subjects' ages from their neutral faces by ridge regression; write tables and a plot.

    Args, raises: as `classify_people`; ages are numbers of years.
    """
    with ReleaseFrames([release], use="training") as frames:
        ages = {s: _years(frames.attributes(s).get("age")) for s in frames.subjects}
        known = {s: age for s, age in ages.items() if age is not None}
        absent = len(ages) - len(known)
        messages = [f"{absent} subjects without an age in years are left out."] if absent else []
        messages = [*frames.messages, *messages]
        if len(known) < FEWEST_SUBJECTS:
            raise UsageError(
                "too few subjects with a known age",
                seen=f"{len(known)} of {len(ages)}",
                expected=f"{FEWEST_SUBJECTS} or more",
                todo=_why(messages, "age"),
            )
        if progress:
            progress(f"{len(known)} subjects")
        parts = protocol.make_folds(frames, known)
        found = regress(attribute_samples(frames, known), parts, protocol.components)
    return _write_ages(output, protocol.record("age", parts, messages), parts, found, protocol.seed)


def _years(value: Any) -> float | None:
    """An age in years; None for what is no number (a band, `unknown`)."""
    try:
        years = float(value)
    except (TypeError, ValueError):
        return None
    return years if 0 <= years <= 130 else None


def regress(samples: Samples, folds: Sequence[Fold], components: int) -> Ages:
    """Ridge regression inside every fold, its strength chosen by leave-one-person-out among the training people."""
    from sklearn.linear_model import RidgeCV

    rows: list[tuple[int, float, float, int]] = []
    for number, fold in enumerate(folds):
        training, tested = fold.training(samples), fold.test(samples)
        feature = Coefficients("shape", components)
        encode = feature.fit(training)
        x, shown = (np.concatenate([encode(b) for b in part.batches("shape")]) for part in (training, tested))
        scale = Scale.of(x)
        model = RidgeCV(alphas=np.logspace(-2, 4, 19)).fit(scale(x), training.labels)
        usual = float(np.median(training.labels))
        rows += [
            (int(r), float(y), usual, number)
            for r, y in zip(tested.rows, model.predict(scale(shown)), strict=True)
        ]
    rows.sort()
    at = np.array([r[0] for r in rows])
    said, usual_ages = (np.array([r[k] for r in rows]) for k in (1, 2))
    return Ages(
        samples.subjects[at],
        samples.labels[at].astype(float),
        said,
        usual_ages,
        np.array([r[3] for r in rows], np.int64),
    )


def age_errors(ages: Ages, seed: int = 0) -> dict[str, Estimate]:
    """Years: mean and median absolute error, those of saying the usual age, and the mean gained over it; rank
    correlation."""
    from scipy.stats import spearmanr

    error, usual = np.abs(ages.said - ages.true), np.abs(ages.usual - ages.true)

    def rank(rows: NDArray[np.int64]) -> float:
        said, true = ages.said[rows], ages.true[rows]
        return float(spearmanr(said, true).statistic) if np.ptp(said) and np.ptp(true) else float("nan")

    measures: dict[str, Callable[[NDArray[np.int64]], float]] = {
        "mean_absolute_error": lambda rows: float(error[rows].mean()),
        "median_absolute_error": lambda rows: float(np.median(error[rows])),
        "mean_absolute_error_of_the_usual_age": lambda rows: float(usual[rows].mean()),
        "gained": lambda rows: float((usual - error)[rows].mean()),
        "rank_correlation": rank,
    }
    return {name: bootstrap_over_subjects(measure, ages.subjects, seed) for name, measure in measures.items()}


def _write_ages(
    output: Path, protocol: Mapping[str, Any], folds: Sequence[Fold], ages: Ages, seed: int
) -> dict[str, Any]:
    make_folder(output)
    errors = age_errors(ages, seed)
    results = {name: e.record() for name, e in errors.items()}
    record = {**protocol, "confidence": 0.95, "subjects": len(ages.subjects), "results": results}
    write_record(output, record)
    write_folds(output, folds)
    write_table(
        output / "results.csv", ("measure", "value", "low", "high"), ((n, *e) for n, e in errors.items())
    )
    write_table(
        output / "predictions.csv",
        ("fold", "subject", "true_years", "said_years"),
        zip(ages.fold.tolist(), ages.subjects, ages.true, ages.said, strict=True),
    )
    title = f"mean absolute error {errors['mean_absolute_error'].value:.1f} years"
    level = float(np.median(ages.usual))
    scatter_chart(output / "age.png", ages.true, ages.said, "true age, years", "said", title, level)
    return record


def age_summary(record: Mapping[str, Any]) -> list[str]:
    """Lines to print of what `estimate_age` returned."""
    lines = [f"{record['subjects']} subjects, {record['folds']} folds of people"]
    for name, e in record["results"].items():
        interval = f" ({e['low']:.2f} to {e['high']:.2f})" if e["low"] is not None else ""
        value = "-" if e["value"] is None else f"{e['value']:.2f}{interval}"
        lines.append(f"{name.replace('_', ' '):<40}{value}")
    return [*lines, *record["messages"]]
