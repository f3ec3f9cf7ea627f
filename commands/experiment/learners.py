"""Baseline classifiers, cross-validated over folds of people, and their scores.

    lda        linear discriminants with the shrinkage of Ledoit and Wolf (2004), equal priors
    logistic   multinomial logistic regression, L2
    svm        linear support vector machine, one against the others

Scaling and training are done inside the fold.  Scores of the samples of one unit (the apex frames of a sequence)
are added before the best class is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.experiment.features import Feature
from mimicme.commands.experiment.folds import Fold, Samples, Training, Unlabelled
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.numerics.statistics import CONFIDENCE, REPLICATES, Estimate, subject_draws

CLASSIFIERS = ("lda", "logistic", "svm")


@dataclass(frozen=True)
class Predictions:
    """The predicted class of each unit, in order of the units.

    Attributes:
        units, subjects, true, said: (U,) words.  fold: (U,) which one tested it.
        classes: C words, those that occur as truth.
    """

    units: NDArray[np.str_]
    subjects: NDArray[np.str_]
    true: NDArray[np.str_]
    said: NDArray[np.str_]
    fold: NDArray[np.int64]
    classes: tuple[str, ...]

    def confusion(self) -> NDArray[np.int64]:
        """(C, C) counts: rows the true classes, columns the predicted ones."""
        return np.asarray(self.by_subject().sum(axis=0), np.int64)

    def by_subject(self) -> Floats:
        """(S, C, C) counts of each subject."""
        places = {name: k for k, name in enumerate(self.classes)}
        names, who = np.unique(self.subjects, return_inverse=True)
        counts = np.zeros((len(names), len(self.classes), len(self.classes)))
        true, said = (np.array([places[str(w)] for w in words], np.int64) for words in (self.true, self.said))
        np.add.at(counts, (who, true, said), 1)
        return counts


@dataclass(frozen=True)
class Scale:
    """Features moved to mean 0 and divided by one number: mean variance 1.

    One number and not one each: principal components scaled to equal variance are mostly noise, and those of as many
    people as there are components hold the people at equal distances, from which nothing can be learned.
    """

    mean: Floats
    size: float

    @classmethod
    def of(cls, x: Floats) -> Scale:
        """The scale of the training features (n, D)."""
        return cls(x.mean(axis=0), max(float(np.sqrt(x.var(axis=0).mean())), 1e-12))

    def __call__(self, x: Floats) -> Floats:
        return (x - self.mean) / self.size


def make_classifier(name: str, classes: int) -> Any:
    """An untrained scikit-learn classifier.

    Raises:
        UsageError: there is no such classifier.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    if name == "lda":
        equal = np.full(classes, 1 / classes)
        return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=equal)
    if name == "logistic":
        return LogisticRegression(max_iter=2000, class_weight="balanced")
    if name == "svm":
        return LinearSVC(C=0.1, class_weight="balanced", random_state=0, max_iter=20_000)
    raise UsageError("there is no such classifier", seen=name, expected=", ".join(CLASSIFIERS))


def cross_validate(
    samples: Samples, folds: Sequence[Fold], feature: Feature, classifiers: Sequence[str]
) -> dict[str, Predictions]:
    """Train and test every classifier on every fold.

    Returns:
        By classifier, a prediction for every unit of the people that the folds test.

    Raises:
        UsageError: the people of a fold to train on show fewer than two classes.
    """
    said: dict[str, dict[str, tuple[str, int]]] = {name: {} for name in classifiers}
    for number, fold in enumerate(folds):
        for name, answers in _test(fold, samples, feature, classifiers):
            said[name] |= {unit: (word, number) for unit, word in answers.items()}
    return {name: _predictions_of(samples, found) for name, found in said.items()}


def _test(
    fold: Fold, samples: Samples, feature: Feature, classifiers: Sequence[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    training, tested = fold.training(samples), fold.test(samples)
    encode = feature.fit(training)
    x = _encoded(training, feature, encode)
    classes = np.unique(training.labels)
    if len(classes) < 2:
        raise UsageError("the people to train on show one class only", seen=", ".join(map(str, classes)))
    if len(training) <= len(classes) or len(fold.trained) < 2:
        raise UsageError(
            "there are too few people to train on",
            seen=f"{len(training)} samples of {len(classes)} classes from {len(fold.trained)} people",
            todo="Use a release with more people.",
        )
    shown = _encoded(tested, feature, encode)
    units = samples.units[tested.rows]
    scale = Scale.of(x)
    for name in classifiers:
        model = make_classifier(name, len(classes)).fit(scale(x), training.labels)
        yield name, _best(_scores(model, scale(shown)), units, [str(c) for c in model.classes_])


def _encoded(part: Training | Unlabelled, feature: Feature, encode: Any) -> Floats:
    return np.concatenate([encode(batch) for batch in part.batches(feature.source)])


def _scores(model: Any, x: Floats) -> Floats:
    """(n, C) decision values of the classes."""
    scores = np.asarray(model.decision_function(x), np.float64)
    return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores


def _best(scores: Floats, units: NDArray[np.str_], classes: Sequence[str]) -> dict[str, str]:
    names, inverse = np.unique(units, return_inverse=True)
    sums = np.zeros((len(names), scores.shape[1]))
    np.add.at(sums, inverse, scores)
    return {str(name): classes[k] for name, k in zip(names, sums.argmax(axis=1), strict=True)}


def _predictions_of(samples: Samples, found: Mapping[str, tuple[str, int]]) -> Predictions:
    units, first = np.unique(samples.units, return_index=True)
    kept = [k for k, unit in zip(first, units, strict=True) if str(unit) in found]
    names = samples.units[kept]
    return Predictions(
        names,
        samples.subjects[kept],
        samples.labels[kept].astype(np.str_),
        np.array([found[str(u)][0] for u in names]),
        np.array([found[str(u)][1] for u in names], np.int64),
        tuple(sorted({str(label) for label in samples.labels})),
    )


@dataclass(frozen=True)
class Score:
    """Accuracy (share of units predicted right) and balanced accuracy (mean of that share over the classes).

    Each with its bootstrap interval over subjects, and what it is when nothing is looked at: always saying the
    most frequent class, and one out of the number of classes.
    """

    accuracy: Estimate
    balanced: Estimate
    chance_accuracy: float
    chance_balanced: float
    units: int
    subjects: int


def score(predictions: Predictions, seed: int = 0) -> Score:
    """Accuracies of predictions with their intervals."""
    counts = predictions.by_subject()
    whole = counts.sum(axis=0)
    values = _accuracies(whole[None])[:, 0]
    intervals = np.full((2, 2), np.nan)
    if len(counts) > 1:
        draws = subject_draws(len(counts), seed, REPLICATES)
        tail = 50 * (1 - CONFIDENCE)
        each = _accuracies(np.tensordot(draws, counts, axes=(1, 0)))
        intervals = np.nanpercentile(each, (tail, 100 - tail), axis=1).T
    shares = whole.sum(axis=1) / whole.sum()
    return Score(
        Estimate(float(values[0]), *map(float, intervals[0])),
        Estimate(float(values[1]), *map(float, intervals[1])),
        float(shares.max()),
        1 / len(predictions.classes),
        len(predictions.units),
        len(counts),
    )


def _accuracies(counts: Floats) -> Floats:
    """(2, n) accuracy and balanced accuracy of confusion matrices (n, C, C)."""
    right = np.einsum("ncc->nc", counts)
    true = counts.sum(axis=2)
    recall = np.divide(right, true, out=np.full_like(right, np.nan), where=true > 0)
    return np.stack([right.sum(axis=1) / counts.sum(axis=(1, 2)), np.nanmean(recall, axis=1)])
