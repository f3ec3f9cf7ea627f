"""model evaluate, model compare: the measures of `curves` for a model file and a release, as tables and plots.

Reads a model file and a release; writes into a folder

    evaluation.json     everything, with the definition of each measure
    compactness.csv, generalisation.csv, specificity.csv, reconstruction.csv      value, low, high of the 95 % interval
    subjects.csv        each subject's error, unseen and as the model is
    compactness.png ... regions.png       generalisation.png only where there are people the model has not seen

`compare` does so for two models over the same shapes and adds the paired difference of their reconstructions.

Generalisation needs models without a subject, so these are made of the release's shapes, with the model's vertex
weights and balance of subjects; it says how good the release and its correspondence are.  Compactness, specificity
and reconstruction are the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.model import curves
from mimicme.commands.model.curves import Population
from mimicme.commands.model.evaluation_files import (
    DEFINITIONS,
    comparison_record,
    model_record,
    write_comparison,
    write_evaluation,
)
from mimicme.commands.model.measured import Comparison, ModelMeasures, compare_measures, measure
from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.model_file import FaceModel, read_model
from mimicme.pipeline.numerics.subsample import even_subsample_by_subject
from mimicme.pipeline.release.frames import ReleaseFrames, balance_weights, same_topology
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.region_masks import region_masks

Rows = NDArray[np.int64]

KINDS = ("identity", "expression", "joint")
MOST_FRAMES = 4000
Progress = Callable[[str], None]


def regions_of(template: Template, weights: Floats) -> dict[str, Bools]:
    """Named vertices (V,) that count: `all` of the model's, and the regions of the face among them."""
    inside = weights > 0
    found = {"all": inside}
    for name, mask in region_masks(template).items():
        part = (mask > 0.5) & inside
        if name not in ("left", "right") and part.any():
            found[name] = part
    return found


def rows_of_kind(frames: ReleaseFrames, kind: str, most: int = MOST_FRAMES) -> Rows:
    """Rows of the table that a model of this kind is about: evenly thinned, subject by subject, to `most`."""
    rows = frames.expressive if kind == "expression" else np.arange(len(frames))
    who = frames.table["subject"][rows]
    return rows.astype(np.int64) if most <= 0 else rows[even_subsample_by_subject(who, most)].astype(np.int64)


def population(
    frames: ReleaseFrames, kind: str, balance: str = "subjects", most: int = MOST_FRAMES
) -> Population:
    """The shapes of a kind: neutrals, differences to each subject's own neutral, or all frames.

    Raises:
        UsageError: the release has no such shapes.
    """
    if kind == "identity":
        names = np.array(frames.subjects)
        return Population(frames.neutrals, names, np.ones(len(names)))
    rows = rows_of_kind(frames, kind, most)
    if not len(rows):
        raise UsageError(f"the release has no frames for the '{kind}' model", expected="expressions")
    table = frames.table[rows]
    shares = balance_weights(table, balance)  # type: ignore[arg-type]

    def batches() -> Iterable[NDArray[Any]]:
        return frames.batches(rows, difference=kind == "expression")

    return Population(batches, table["subject"], shares)


@dataclass(frozen=True)
class EvaluationSettings:
    """Which models are evaluated, and on how much.

    Attributes:
        names: of `KINDS`; by default those that the file has.
        most_frames: expressive frames to evaluate on, evenly over subjects; 0: all.
        samples: random shapes, for specificity.
        seed: of these, and of the intervals.
    """

    names: tuple[str, ...] = ()
    most_frames: int = MOST_FRAMES
    samples: int = curves.SAMPLES
    seed: int = 0


def evaluate(
    model: Path, release: Path, output: Path, settings: EvaluationSettings, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure the models of a file over a release; write tables and plots.

    Args:
        output: folder, made if it is not there.

    Returns:
        What `evaluation.json` holds.

    Raises:
        UsageError: the file has no such model, or the templates differ.
    """
    opened = read_model(model)
    measured: dict[str, ModelMeasures] = {}
    with ReleaseFrames([release], lambda table: _pruned(table, opened)) as frames:
        _check_template(frames, opened, model)
        own, seen = _provenance(frames, opened)
        for name in _wanted(opened, model, settings.names):
            linear = opened.model(name)
            shapes = population(frames, name, _balance(opened), settings.most_frames)
            if progress:
                progress(f"{name}: {len(shapes)} shapes")
            regions = regions_of(frames.template, linear.weights)
            found = measure(
                linear, shapes, regions, own=own, seen=seen, samples=settings.samples, seed=settings.seed
            )
            if opened.settings.get("symmetric"):
                found.findings.append("Models without a subject are made without mirror images.")
            measured[name] = found
    record = {
        "definitions": DEFINITIONS,
        "confidence": 0.95,
        "samples": settings.samples,
        "seed": settings.seed,
        "models": {name: model_record(m, settings.seed) for name, m in measured.items()},
    }
    write_evaluation(output, measured, record, settings.seed)
    return record


def _wanted(opened: FaceModel, path: Path, names: Sequence[str]) -> list[str]:
    unknown = [n for n in names if n not in KINDS]
    if unknown:
        raise UsageError(
            "these models cannot be evaluated", seen=", ".join(unknown), expected=", ".join(KINDS)
        )
    wanted = list(names) or [n for n in KINDS if n in opened.models]
    if not wanted:
        raise UsageError("the file holds no model of shapes", where=path, expected=", ".join(KINDS))
    return wanted


def _check_template(frames: ReleaseFrames, opened: FaceModel, path: Path) -> None:
    if not same_topology(frames.template, opened.template):
        raise UsageError("model and release do not share one template", where=path)


def _balance(opened: FaceModel) -> str:
    return str(opened.settings.get("balance", "subjects"))


def _provenance(frames: ReleaseFrames, opened: FaceModel) -> tuple[bool, set[str]]:
    """Whether the model was made of this release's shapes, all of them, and of whom it was made.

    Who has the same id counts as seen, whatever the release: nobody is called unseen by mistake.
    """
    seen = {str(s) for s in opened.subjects["subject"]}
    same = frames.releases[0].fingerprint in opened.releases
    everybody = not len(seen) or set(frames.subjects) <= seen
    return same and everybody, seen or (set(frames.subjects) if same else set())


def _pruned(table: NDArray[Any], opened: FaceModel) -> NDArray[np.bool_]:
    """The frames that the model left out as outliers."""
    out = {(str(r["subject"]), str(r["sequence"]), int(r["frame"])) for r in opened.pruned}
    names = zip(table["subject"].tolist(), table["sequence"].tolist(), table["frame"].tolist(), strict=True)
    return np.fromiter((key in out for key in names), bool, len(table))


def compare(
    first: Path,
    second: Path,
    release: Path,
    output: Path,
    settings: EvaluationSettings,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure two model files over one release, shape by shape the same.

    Frames that either of them left out as outliers count again: both are evaluated on all of them.

    Raises:
        UsageError: as `evaluate`; the files have no model in common.
    """
    files = [read_model(first), read_model(second)]
    shared = [n for n in (settings.names or KINDS) if all(n in f.models for f in files)]
    if not shared:
        raise UsageError("the two files have no such model in common", where=f"{first}, {second}")
    labels = _labels(first, second)
    done: dict[str, Comparison] = {}
    with ReleaseFrames([release]) as frames:
        for opened, path in zip(files, (first, second), strict=True):
            _check_template(frames, opened, path)
        for name in shared:
            if progress:
                progress(name)
            done[name] = _compare_one(files, frames, name, settings)
    record = {
        "definitions": DEFINITIONS,
        "confidence": 0.95,
        "first": labels[0],
        "second": labels[1],
        "models": {name: comparison_record(c, settings.seed) for name, c in done.items()},
    }
    write_comparison(output, labels, done, record, settings.seed)
    return record


def _compare_one(
    files: Sequence[FaceModel], frames: ReleaseFrames, name: str, settings: EvaluationSettings
) -> Comparison:
    inside = np.all([f.model(name).weights > 0 for f in files], axis=0)
    regions = regions_of(frames.template, inside.astype(float))
    common = curves.curve_ranks(min(f.model(name).rank for f in files))
    results = []
    for opened in files:
        own, seen = _provenance(frames, opened)
        ranks = np.union1d(common, curves.curve_ranks(opened.model(name).rank))
        shapes = population(frames, name, _balance(opened), settings.most_frames)
        linear = opened.model(name)
        results.append(
            measure(
                linear,
                shapes,
                regions,
                own=own,
                seen=seen,
                samples=settings.samples,
                seed=settings.seed,
                ranks=ranks,
            )
        )
    return compare_measures(results[0], results[1], settings.seed)


def _labels(first: Path, second: Path) -> tuple[str, str]:
    return (
        (first.stem, second.stem)
        if first.stem != second.stem
        else (f"{first.stem} (1)", f"{second.stem} (2)")
    )
