"""experiment coma: how well PCA reconstructs faces over the splits of CoMA.

Ranjan, Bolkart, Sanyal, Black, "Generating 3D faces using convolutional mesh autoencoders", ECCV 2018:

    interpolation   of every 100 frames in order, the first 10 are tested and the others trained on
    extrapolation   for every expression: all its frames are tested, the others trained on
    identity        for every subject: all its frames are tested, the others trained on (in the paper's code)

As there: vertices are scaled to unit deviation coordinate by coordinate before the PCA, 8 components are kept, and the
Euclidean distances of all vertices of all tested frames together give mean, standard deviation and median, mm.  In
order means by subject, sequence and frame; the paper's code took the order of its disk.  Its last 100 training frames,
kept for validation, are trained on here: PCA has nothing to validate.

The first two say nothing about unseen people: the same people are on both sides.

Reads a release; writes `experiment.json`, `results.csv` and `results.png` into a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.experiment.results import write_record
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.captures.expressions import NEUTRAL
from mimicme.pipeline.drawing.plots import bar_chart, make_folder, write_table
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.numerics.linear_model import Batches, fit_pca, fit_streaming
from mimicme.pipeline.numerics.subsample import even_subsample
from mimicme.pipeline.release.frames import ReleaseFrames

Rows = NDArray[np.int64]
Progress = Callable[[str], None]

SPLITS = ("interpolation", "extrapolation", "identity")
COMPONENTS = 8
EVERY, TESTED = 100, 10
MOST_TRAINED = 25_000  # more than CoMA has
BIN_MM, BINS = 0.001, 100_000
_IN_MEMORY = 30_000_000


@dataclass(frozen=True)
class Split:
    """Rows of a release's frames to train on and to test on; `name`: what is tested."""

    name: str
    trained: Rows
    tested: Rows


@dataclass(frozen=True)
class Distances:
    """Of all vertices of all tested frames, mm."""

    mean: float
    deviation: float
    median: float
    frames: int


def interpolation(count: int, every: int = EVERY, tested: int = TESTED) -> list[Split]:
    """Of every `every` frames the first `tested` are tested.

    Raises:
        UsageError: nothing is left to train on, or to test.
    """
    if not 0 < tested < every:
        raise UsageError(
            "some of the frames are tested, not all", seen=f"{tested} of {every}", expected="1 to 99 of 100"
        )
    rows = np.arange(count, dtype=np.int64)
    out = rows % every < tested
    return [_checked(Split("interpolation", rows[~out], rows[out]))]


def leave_out_each(values: NDArray[np.str_], skip: Sequence[str] = ()) -> list[Split]:
    """One split per value: its rows are tested, all others trained on; those in `skip` are never tested."""
    rows = np.arange(len(values), dtype=np.int64)
    names = [str(v) for v in np.unique(values) if v not in skip]
    if not names:
        raise UsageError("there is nothing to leave out")
    return [_checked(Split(name, rows[values != name], rows[values == name])) for name in names]


def splits_of(frames: ReleaseFrames, kind: str) -> list[Split]:
    """The splits of a kind, over a release's usable frames in order."""
    if kind == "interpolation":
        return interpolation(len(frames))
    if kind == "extrapolation":
        return leave_out_each(frames.table["expression"], (NEUTRAL,))
    if kind == "identity":
        return leave_out_each(frames.table["subject"])
    raise UsageError("there is no such split", seen=kind, expected=", ".join(SPLITS))


def _checked(split: Split) -> Split:
    if len(split.trained) < 2 or not len(split.tested):
        raise UsageError(
            f"'{split.name}' leaves too few frames",
            seen=f"{len(split.trained)} to train on, {len(split.tested)} to test",
        )
    return split


def standardised_pca(train: Batches, test: Batches, components: int = COMPONENTS) -> Distances:
    """Reconstruct test shapes with the components of the training shapes, coordinates scaled to unit deviation.

    Args:
        train, test: called once a pass; (n, V, 3) arrays, mm.
    """
    mean, deviation, count = _moments(train)

    def scaled() -> Iterator[NDArray[Any]]:
        for batch in train():
            yield ((batch - mean) / deviation).astype(np.float32)

    if count * mean.size <= _IN_MEMORY:
        model = fit_pca(np.concatenate(list(scaled())), rank=components)
    else:
        model = fit_streaming(scaled, rank=components)
    histogram = np.zeros(BINS + 1, np.int64)
    total = squares = 0.0
    frames = 0
    for batch in test():
        rebuilt = model.decode(model.encode((batch - mean) / deviation)) * deviation + mean
        lengths = np.linalg.norm(np.asarray(batch, np.float64) - rebuilt, axis=2)
        total, squares, frames = total + lengths.sum(), squares + (lengths**2).sum(), frames + len(batch)
        histogram += np.bincount(
            np.minimum(lengths.ravel() / BIN_MM, BINS).astype(np.int64), minlength=BINS + 1
        )
    n = histogram.sum()
    average = total / n
    return Distances(
        float(average), float(np.sqrt(max(squares / n - average**2, 0))), _median(histogram), frames
    )


def _moments(batches: Batches) -> tuple[Floats, Floats, int]:
    """Mean and standard deviation (V, 3) of shapes, 1 where nothing varies; their number."""
    count, start, first, second = 0, None, np.zeros(()), np.zeros(())
    for batch in batches():
        start = np.asarray(batch[0], np.float64) if start is None else start
        moved = np.asarray(batch, np.float64) - start
        first, second, count = first + moved.sum(axis=0), second + (moved**2).sum(axis=0), count + len(batch)
    if start is None:
        raise UsageError("there is no shape to train on")
    variance = np.maximum(second / count - (first / count) ** 2, 0)
    deviation = np.sqrt(variance)
    return start + first / count, np.where(deviation > 1e-9, deviation, 1.0), count


def _median(histogram: NDArray[np.int64]) -> float:
    """The middle of counted lengths, to half a bin."""
    half = histogram.sum() / 2
    sums = np.cumsum(histogram)
    k = int(np.searchsorted(sums, half))
    before = sums[k] - histogram[k]
    return float(BIN_MM * (k + (half - before) / max(int(histogram[k]), 1)))


def reconstruct(
    release: Path,
    output: Path,
    *,
    kind: str = "interpolation",
    components: int = COMPONENTS,
    most_trained: int = MOST_TRAINED,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run the experiment over the splits of a kind; write a table and a plot.

    Args:
        kind: of `SPLITS`.  most_trained: frames to train on, evenly thinned; 0: all.

    Returns:
        What `experiment.json` holds.

    Raises:
        UsageError: there is no such split, or too few frames for it.
    """
    with ReleaseFrames([release], use="training") as frames:
        found: dict[str, Distances] = {}
        trained = []
        for split in splits_of(frames, kind):
            rows = _subsampled(split.trained, most_trained)
            trained.append(len(rows))
            if progress:
                progress(f"{split.name}: {len(rows)} frames to train on, {len(split.tested)} to test")
            found[split.name] = standardised_pca(
                _reader(frames, rows), _reader(frames, split.tested), components
            )
    record = {
        "experiment": "coma",
        "split": kind,
        "components": components,
        "trained_frames": trained,
        "results": [{"tested": n, **vars(d)} for n, d in found.items()],
        "mean_over_splits": {
            name: float(np.mean([getattr(d, name) for d in found.values()])) for name in ("mean", "median")
        },
    }
    make_folder(output)
    write_record(output, record)
    write_table(
        output / "results.csv",
        ("tested", "mean_mm", "deviation_mm", "median_mm", "frames"),
        ((name, d.mean, d.deviation, d.median, d.frames) for name, d in found.items()),
    )
    bars = {
        what: np.array([[getattr(d, what), np.nan, np.nan] for d in found.values()]).T
        for what in ("mean", "median")
    }
    bar_chart(output / "results.png", list(found), bars, "mm per vertex")
    return record


def _reader(frames: ReleaseFrames, rows: Rows) -> Batches:
    return lambda: frames.batches(rows)


def _subsampled(rows: Rows, most: int) -> Rows:
    return rows if most <= 0 else rows[even_subsample(len(rows), most)]


def coma_summary(record: Mapping[str, Any]) -> list[str]:
    """Lines to print of what `reconstruct` returned."""
    lines = [
        f"{record['split']}, {record['components']} components",
        f"{'tested':<20}{'mean +- sd':>18}{'median mm':>12}",
    ]
    for r in record["results"]:
        spread = f"{r['mean']:.3f} +- {r['deviation']:.3f}"
        lines.append(f"{r['tested']:<20}{spread:>18}{r['median']:>12.3f}")
    if len(record["results"]) > 1:
        m = record["mean_over_splits"]
        lines.append(f"{'mean of these':<20}{m['mean']:>18.3f}{m['median']:>12.3f}")
    return lines
