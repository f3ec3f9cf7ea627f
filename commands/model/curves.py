"""Evaluation of a linear model of shapes: the measures, arrays in, arrays out.

    compactness     share of the variance that the first k components hold.
                    Davies, Twining, Cootes, Waterton, Taylor, "A minimum description length approach to statistical
                    shape modeling", IEEE TMI 21(5), 2002 (cumulative variance); as a share in Booth et al. 2018.
    generalisation  error of the best reconstruction with k components of a subject that the model has not seen:
                    G(k) = mean over subjects s, over the shapes i of s, of |x_i - x_i'(k; model without s)|.
                    Davies et al. 2002 leave one shape out; with several shapes a person that would measure how well
                    a person's frames explain each other, so the whole person is left out.
    specificity     how far shapes drawn from the model are from the nearest real one:
                    S(k) = mean over N = 1,000 draws y_j(k) of |y_j - x_nearest(j)|.
                    Davies et al. 2002; Styner et al., "Evaluation of 3D correspondence methods for model building",
                    IPMI 2003, who give its standard error over the draws.
    reconstruction  the same error as in generalisation with the model as it is, over shapes that it may have seen.

|.| is the mean over vertices of the Euclidean distance, mm, as in Booth, Roussos, Ponniah, Dunaway, Zafeiriou,
"Large scale 3D morphable models", IJCV 126, 2018 (LSFM).  The nearest shape is nearest in root mean square under
the model's vertex weights, and so is the best reconstruction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.model.span import Span, WithoutSubject, leave_one_out
from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.numerics.linear_model import Batches, LinearModel
from mimicme.pipeline.numerics.statistics import bootstrap_mean, group_means, jackknife, standard_error

SAMPLES = 1000
CURVE_POINTS = 12
_BLOCK_BYTES = 128 << 20


@dataclass(frozen=True)
class Population:
    """The shapes a model is evaluated on.

    Attributes:
        batches: called once a pass; (n, V, 3) float32 arrays, mm, the same in the same order every time.
        subjects: (N,) whose each shape is, in ascending order.
        shares: (N,) weight of each shape.
    """

    batches: Batches
    subjects: NDArray[np.str_]
    shares: Floats

    def __len__(self) -> int:
        return len(self.subjects)


@dataclass(frozen=True)
class LeaveOneOut:
    """Results of leave-one-subject-out cross-validation.

    Attributes:
        ranks: (P,) numbers of components; regions: Q names.
        subjects: S names; errors: (S, P, Q) mm, mean over the subject's shapes.
        explained_variance_ratio: (S, P) variance held by the first components of the model without each subject.
        rank: components that every such model has at least.
    """

    ranks: NDArray[np.int64]
    regions: tuple[str, ...]
    subjects: list[str]
    errors: Floats
    explained_variance_ratio: Floats
    rank: int

    def curve(self, region: int = 0, seed: int = 0) -> Floats:
        """(3, P): mean over subjects, low, high."""
        return bootstrap_mean(self.errors[:, :, region], seed)


def curve_ranks(rank: int, points: int = CURVE_POINTS) -> NDArray[np.int64]:
    """Numbers of components at which curves are taken: 0 (the mean alone), then closer at first, to `rank`."""
    if rank < points:
        return np.arange(rank + 1)
    return np.unique(np.concatenate([[0], np.geomspace(1, rank, points).round()]).astype(np.int64))


def compactness(model: LinearModel, ranks: NDArray[np.int64], unseen: LeaveOneOut | None) -> Floats:
    """(3, P) share of variance in the first k components, low, high.

    The interval is the jackknife's over subjects, when `unseen` is of the shapes the model was made from (the
    bootstrap draws people twice, which lowers the rank and makes every model look compact); NaN otherwise.
    """
    held = explained_variance_ratio(model.variances, model.total_variance, ranks)
    if unseen is None:
        return np.stack([held, np.full_like(held, np.nan), np.full_like(held, np.nan)])
    result = jackknife(held, unseen.explained_variance_ratio)
    result[1:] = np.clip(result[1:], 0, 1)
    return result


def explained_variance_ratio(variances: Floats, total: float, ranks: NDArray[np.int64]) -> Floats:
    """(P,) cumulative share of `total` in the first k of the variances."""
    sums = np.concatenate([[0.0], np.cumsum(variances)])
    return np.asarray(np.minimum(sums[np.minimum(ranks, len(variances))] / max(total, 1e-300), 1.0))


def generalisation(
    population: Population,
    span: Span,
    ranks: NDArray[np.int64],
    regions: dict[str, Bools],
) -> LeaveOneOut:
    """Errors of reconstructing each subject by the model of all the others.

    Args:
        ranks: numbers of components; where a model has fewer, all of its own are used.
        regions: named vertices (V,).

    Raises:
        UsageError: fewer than three subjects.
    """
    folds = leave_one_out(span, population.subjects, population.shares, int(ranks[-1]))
    masks = _region_shares(regions)
    names: list[str] = []
    errors: list[Floats] = []
    held: list[Floats] = []
    fewest = int(ranks[-1])
    reader = _by_subject(population)
    for fold, shapes in zip(folds, reader, strict=True):
        names.append(fold.subject)
        errors.append(_fold_errors(fold, shapes, span, ranks, masks))
        held.append(explained_variance_ratio(fold.variances, fold.total, ranks))
        fewest = min(fewest, len(fold.variances))
    return LeaveOneOut(ranks, tuple(regions), names, np.array(errors), np.array(held), fewest)


def _fold_errors(
    fold: WithoutSubject,
    shapes: Iterable[tuple[NDArray[np.int64], NDArray[Any]]],
    span: Span,
    ranks: NDArray[np.int64],
    masks: Floats,
) -> Floats:
    """(P, Q) mean error of one subject's shapes."""
    sums, count = np.zeros((len(ranks), len(masks))), 0
    for rows, part in shapes:
        # all numbers of components at once: the basis is large, and is read once a block
        size = max(1, _BLOCK_BYTES // (part[0].nbytes * len(ranks)))
        for start in range(0, len(rows), size):
            some = part[start : start + size]
            own = span.coordinates[rows[start : start + size]]
            rebuilt = span.shapes(np.concatenate([fold.reconstruct(own, int(rank)) for rank in ranks]))
            for j, shapes_j in enumerate(np.split(rebuilt, len(ranks))):
                sums[j] += _distances(some, shapes_j, masks).sum(axis=0)
        count += len(rows)
    return sums / count


def _by_subject(population: Population) -> Iterator[Iterator[tuple[NDArray[np.int64], NDArray[Any]]]]:
    """One reader of (rows, shapes) a subject, in order, in one pass over the shapes.

    Each reader has to be emptied before the next one is asked for.
    """
    pieces = _subject_blocks(population)
    ahead = next(pieces, None)

    def of(subject: str) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        nonlocal ahead
        while ahead is not None and ahead[0] == subject:
            yield ahead[1], ahead[2]
            ahead = next(pieces, None)

    while ahead is not None:
        yield of(ahead[0])


def _subject_blocks(population: Population) -> Iterator[tuple[str, NDArray[np.int64], NDArray[Any]]]:
    """Blocks of one subject's shapes each."""
    start = 0
    for batch in population.batches():
        size = max(1, _BLOCK_BYTES // batch[0].nbytes)
        who = population.subjects[start : start + len(batch)]
        cuts = np.flatnonzero(who[1:] != who[:-1]) + 1
        for a, b in zip([0, *cuts], [*cuts, len(who)], strict=True):
            for at in range(a, b, size):
                stop = min(at + size, b)
                yield str(who[a]), np.arange(start + at, start + stop), batch[at:stop]
        start += len(batch)


def reconstruction(
    model: LinearModel, population: Population, ranks: NDArray[np.int64], regions: dict[str, Bools]
) -> tuple[list[str], Floats]:
    """Names of the subjects and (S, P, Q) mean error of their shapes, reconstructed by the model as it is."""
    masks = _region_shares(regions)
    errors = np.empty((len(population), len(ranks), len(masks)))
    for _, rows, shapes in _subject_blocks(population):
        coefficients = model.encode(shapes)
        for j, rank in enumerate(ranks):
            cut = np.where(np.arange(model.rank) < rank, coefficients, 0)
            errors[rows, j] = _distances(shapes, model.decode(cut), masks)
    return group_means(errors, population.subjects)


def specificity(
    model: LinearModel,
    population: Population,
    ranks: NDArray[np.int64],
    seed: int = 0,
    samples: int = SAMPLES,
) -> Floats:
    """(3, P) mean distance of random shapes to the nearest real one, mm, low, high.

    The same draws serve every k, cut after k coefficients, so that the curve is smooth.  The interval is
    1.96 standard errors over the draws (Styner et al. 2003).
    """
    draws = np.random.default_rng(seed).standard_normal((samples, model.rank)) * np.sqrt(model.variances)
    known, squares = _encoded(model, population)
    nearest = np.stack([_nearest(draws, known, squares, int(rank)) for rank in ranks], axis=1)
    counted = _region_shares({"counted": model.weights > 0})
    distances = np.empty((samples, len(ranks)))
    for _, rows, shapes in _subject_blocks(population):
        for row, shape in zip(rows, shapes, strict=True):
            for start in range(0, samples, 256):
                who, at = np.nonzero(nearest[start : start + 256] == row)
                if len(who):
                    who += start
                    cut = np.where(np.arange(model.rank) < ranks[at][:, None], draws[who], 0)
                    distances[who, at] = _distances(model.decode(cut), shape[None], counted)[:, 0]
    return standard_error(distances)


def _encoded(model: LinearModel, population: Population) -> tuple[Floats, Floats]:
    """Coefficients (N, K) of the shapes, and their squared lengths (N,) from the mean under the weights."""
    known, squares = [], []
    for _, _, shapes in _subject_blocks(population):
        known.append(model.encode(shapes))
        moved = np.subtract(shapes, model.mean, dtype=np.float32)
        moved[:, model.weights == 0] = 0
        squares.append((moved.astype(np.float64) ** 2).sum(axis=2) @ model.weights)
    return np.concatenate(known), np.concatenate(squares)


def _nearest(draws: Floats, known: Floats, squares: Floats, rank: int) -> NDArray[np.int64]:
    """(n,) the shape nearest to each draw of `rank` components, in root mean square."""
    return np.asarray((squares - 2 * draws[:, :rank] @ known[:, :rank].T).argmin(axis=1), np.int64)


def _region_shares(regions: dict[str, Bools]) -> Floats:
    """(Q, V) what each vertex counts for in each region's mean."""
    masks = np.array(list(regions.values()), np.float64)
    return masks / np.maximum(masks.sum(axis=1, keepdims=True), 1)


def _distances(a: NDArray[Any], b: NDArray[Any], masks: Floats) -> Floats:
    """(n, Q) mean distance between shapes (n, V, 3) over each region, mm; vertices of no region may be NaN."""
    moved = np.subtract(a, b, dtype=np.float32)
    lengths = np.sqrt(np.einsum("nvx,nvx->nv", moved, moved)).astype(np.float64)
    counted = masks.any(axis=0)
    return np.asarray(lengths[:, counted] @ masks[:, counted].T)


def findings(unseen: LeaveOneOut) -> list[str]:
    """Sentences on what looks wrong in the curves of one model.

    A model that explains next to nothing of a person it has not seen is what vertices that do not correspond
    look like (or too few people): each person's vertices then vary in their own way.
    """
    said = []
    mean, full = unseen.errors[:, 0, 0].mean(), unseen.errors[:, -1, 0].mean()
    explained = 1 - full / max(float(mean), 1e-300)
    if explained < 0.2:
        few = " or the people are too few" if len(unseen.subjects) < 10 else ""
        said.append(
            f"With all components an unseen subject is reconstructed to {full:.2f} mm, the mean alone gives "
            f"{mean:.2f} mm: the vertices do not correspond{few}."
        )
    per_subject = unseen.errors[:, -1, 0]
    middle = float(np.median(per_subject))
    spread = float(np.median(np.abs(per_subject - middle))) * 1.4826
    for name, error in zip(unseen.subjects, per_subject, strict=True):
        # 5 robust standard deviations, and twice the usual error: a person, not the tail of the people
        if error > max(middle + 5 * spread, 2 * middle):
            said.append(
                f"{name} is reconstructed to {error:.2f} mm, the others to {middle:.2f} mm: look at it."
            )
    return said
