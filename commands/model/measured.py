"""The measures of one linear model over some shapes, and the comparison of two over the same ones."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.model import curves
from mimicme.commands.model.curves import LeaveOneOut, Population
from mimicme.commands.model.span import span_of
from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.numerics.linear_model import LinearModel
from mimicme.pipeline.numerics.statistics import bootstrap_mean

FEWEST_SUBJECTS = 3


@dataclass(frozen=True)
class ModelMeasures:
    """The measures of one linear model: compactness, generalisation, specificity, reconstruction.

    Attributes:
        ranks: (P,) numbers of components.  regions: Q names, the first is `all`.
        compactness, specificity: (3, P) value, low, high.
        unseen: leave-one-subject-out, None with fewer than three subjects.
        subjects: S names; errors: (S, P, Q) mm, reconstructed by the model as it is.
        seen: (S,) the model was made of this subject, among others.
        shapes: how many there were.  own: the model was made of these shapes.
        left_out: share of variance that the generalisation's basis does not hold.
        findings: sentences on what looks wrong.
    """

    ranks: NDArray[np.int64]
    regions: tuple[str, ...]
    compactness: Floats
    specificity: Floats
    unseen: LeaveOneOut | None
    subjects: list[str]
    errors: Floats
    seen: NDArray[np.bool_]
    shapes: int
    own: bool
    left_out: float
    findings: list[str]

    def reconstruction(self, region: int = 0, seed: int = 0) -> Floats:
        """(3, P): mean over subjects, low, high."""
        return bootstrap_mean(self.errors[:, :, region], seed)

    def held_out(self, region: int = 0, seed: int = 0) -> Floats | None:
        """The same over the subjects that the model was not made of; None without any."""
        others = self.errors[~self.seen]
        return bootstrap_mean(others[:, :, region], seed) if len(others) else None


def measure(
    model: LinearModel,
    shapes: Population,
    regions: dict[str, Bools],
    *,
    own: bool,
    seen: Collection[str] = (),
    samples: int = curves.SAMPLES,
    seed: int = 0,
    ranks: NDArray[np.int64] | None = None,
) -> ModelMeasures:
    """All measures of one model over some shapes.

    Args:
        own: whether the model was made of these shapes; else its compactness has no interval.
        seen: subjects that the model was made of.
        ranks: numbers of components to measure at, none beyond the model's; by default those of `curve_ranks`.
    """
    ranks = curves.curve_ranks(model.rank) if ranks is None else ranks
    said: list[str] = []
    unseen, left_out = None, 0.0
    if len(np.unique(shapes.subjects)) >= FEWEST_SUBJECTS:
        span = span_of(shapes.batches, len(shapes), model.weights, shapes.shares, seed)
        unseen, left_out = curves.generalisation(shapes, span, ranks, regions), span.left_out
    if unseen is None:
        said.append("Fewer than three subjects: no model can be evaluated on people it has not seen.")
    else:
        said += curves.findings(unseen)
    names, errors = curves.reconstruction(model, shapes, ranks, regions)
    return ModelMeasures(
        ranks,
        tuple(regions),
        curves.compactness(model, ranks, unseen if own else None),
        curves.specificity(model, shapes, ranks, seed, samples),
        unseen,
        names,
        errors,
        np.isin(names, sorted(seen)),
        len(shapes),
        own,
        left_out,
        said,
    )


@dataclass(frozen=True)
class Comparison:
    """Two models over the same shapes: `first` and `second`, and (3, P, Q) how much worse the second is, mm."""

    first: ModelMeasures
    second: ModelMeasures
    ranks: NDArray[np.int64]
    difference: Floats


def compare_measures(first: ModelMeasures, second: ModelMeasures, seed: int = 0) -> Comparison:
    """Paired over subjects, at the numbers of components that both were measured at.

    Raises:
        UsageError: the two are not of the same subjects.
    """
    if first.subjects != second.subjects:
        raise UsageError("the two models were not measured over the same subjects")
    ranks, a, b = np.intersect1d(first.ranks, second.ranks, return_indices=True)
    last = []
    if first.ranks[-1] != second.ranks[-1]:
        last = [(len(first.ranks) - 1, len(second.ranks) - 1)]  # each with all that it has
    pairs = [*zip(a.tolist(), b.tolist(), strict=True), *last]
    difference = np.stack([second.errors[:, j] - first.errors[:, i] for i, j in pairs], axis=1)
    shown = np.array([*ranks.tolist(), *(-1 for _ in last)], np.int64)
    return Comparison(first, second, shown, bootstrap_mean(difference, seed))
