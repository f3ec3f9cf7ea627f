"""The files that experiments leave."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mimicme.commands.experiment.folds import Fold
from mimicme.commands.experiment.learners import Predictions, Score
from mimicme.pipeline.drawing.plots import bar_chart, confusion_chart, make_folder, write_table
from mimicme.pipeline.whole_file import write_whole

Results = Mapping[tuple[str, str], tuple[Predictions, Score]]


def write_record(output: Path, record: Mapping[str, Any]) -> None:
    """Write `experiment.json`."""
    write_whole(output / "experiment.json", json.dumps(record, indent=1).encode())


def write_folds(output: Path, folds: Sequence[Fold]) -> None:
    """Write `folds.csv`: who is tested where."""
    rows = [(number, name) for number, fold in enumerate(folds) for name in sorted(fold.tested)]
    write_table(output / "folds.csv", ("fold", "tested_subject"), rows)


def write_classification(
    output: Path, protocol: Mapping[str, Any], folds: Sequence[Fold], results: Results
) -> dict[str, Any]:
    """Tables and plots of answers by (feature, classifier).

    Returns:
        What `experiment.json` holds.
    """
    make_folder(output)
    record = {**protocol, "confidence": 0.95, "results": [_result(key, s) for key, (_, s) in results.items()]}
    write_record(output, record)
    write_folds(output, folds)
    header = ("feature", "classifier", "measure", "value", "low", "high", "chance", "units", "subjects")
    write_table(
        output / "results.csv", header, (row for key, (_, s) in results.items() for row in _rows(key, s))
    )
    write_table(
        output / "predictions.csv",
        ("feature", "classifier", "fold", "subject", "unit", "true", "said"),
        (row for key, (answers, _) in results.items() for row in _predictions(key, answers)),
    )
    for (feature, classifier), (answers, s) in results.items():
        counts = answers.confusion()
        stem = f"confusion_{feature}_{classifier}"
        table = ([name, *map(int, row)] for name, row in zip(answers.classes, counts, strict=True))
        write_table(output / f"{stem}.csv", ("true", *answers.classes), table)
        title = f"{feature}, {classifier}: {100 * s.balanced.value:.1f} % (balanced)"
        confusion_chart(output / f"{stem}.png", answers.classes, counts, title)
    if results:
        names = [f"{feature}, {classifier}" for feature, classifier in results]
        bars = np.array([tuple(s.balanced) for _, s in results.values()]).T
        chance = next(iter(results.values()))[1].chance_balanced
        bar_chart(
            output / "results.png", names, {"unseen people": bars}, "balanced accuracy", {"chance": chance}
        )
    return record


def _result(key: tuple[str, str], s: Score) -> dict[str, Any]:
    return {
        "feature": key[0],
        "classifier": key[1],
        "accuracy": s.accuracy.record(),
        "balanced_accuracy": s.balanced.record(),
        "chance_accuracy": s.chance_accuracy,
        "chance_balanced_accuracy": s.chance_balanced,
        "units": s.units,
        "subjects": s.subjects,
    }


def _rows(key: tuple[str, str], s: Score) -> Iterable[tuple[Any, ...]]:
    yield (*key, "accuracy", *s.accuracy, s.chance_accuracy, s.units, s.subjects)
    yield (*key, "balanced_accuracy", *s.balanced, s.chance_balanced, s.units, s.subjects)


def _predictions(key: tuple[str, str], a: Predictions) -> Iterable[tuple[Any, ...]]:
    for fold, subject, unit, true, said in zip(a.fold, a.subjects, a.units, a.true, a.said, strict=True):
        yield (*key, int(fold), subject, unit, true, said)


def classification_summary(record: Mapping[str, Any]) -> list[str]:
    """Lines to print of what `write_classification` returned."""
    classes = record["classes"]
    lines = [f"{len(classes)} classes, {record['folds']} folds of people; chance {100 / len(classes):.1f} %"]
    lines.append(f"{'feature':<14}{'classifier':<12}{'balanced accuracy':>24}{'accuracy':>12}{'units':>8}")
    for r in record["results"]:
        b = r["balanced_accuracy"]
        interval = f" ({100 * b['low']:.1f} to {100 * b['high']:.1f})" if b["low"] is not None else ""
        said = f"{100 * b['value']:.1f} %{interval}"
        accuracy = f"{100 * r['accuracy']['value']:.1f} %"
        lines.append(f"{r['feature']:<14}{r['classifier']:<12}{said:>24}{accuracy:>12}{r['units']:>8}")
    return [*lines, *record["messages"]]
