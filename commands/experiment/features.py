"""Feature extraction: coefficients, landmarks, texture of a face.  What is learned for it comes from a `Training`.

Coefficients   of a linear model of the shapes, made of the training people
RawValues      the numbers themselves: landmarks
Pixels         of small grey textures, holes filled with the training people's mean, in their principal components
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.experiment.folds import Training
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.numerics.linear_model import LinearModel, fit_pca, fit_streaming

Encoder = Callable[[NDArray[Any]], Floats]

COMPONENTS = 50
MOST_SHAPES = 2000  # a basis of 50 components changes little with more of them
_IN_MEMORY = 30_000_000  # numbers, up to which the exact decomposition is quick


class Feature(Protocol):
    """Learns from training samples how to encode any."""

    @property
    def source(self) -> str: ...

    def fit(self, training: Training) -> Encoder: ...


@dataclass(frozen=True)
class RawValues:
    """The source's numbers as they are."""

    source: str = "landmarks"

    def fit(self, training: Training) -> Encoder:
        return lambda data: np.asarray(data, np.float64).reshape(len(data), -1)


@dataclass(frozen=True)
class Coefficients:
    """Coefficients of shapes (n, V, 3) in a linear model of the training people."""

    source: str = "shape"
    components: int = COMPONENTS

    def fit(self, training: Training) -> Encoder:
        return shape_model(training, self.source, self.components).encode


@dataclass(frozen=True)
class Pixels:
    """Coefficients of grey pictures (n, h, w), NaN where nothing was seen."""

    source: str = "texture"
    components: int = COMPONENTS

    def fit(self, training: Training) -> Encoder:
        some = np.concatenate(list(training.subsampled(MOST_SHAPES).batches(self.source)))
        known = np.isfinite(some)
        # pixels that fewer than half of the people show say more about the scanner than about a face
        used = known.mean(axis=0) > 0.5
        mean = np.where(known, some, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)

        def rows(data: NDArray[Any]) -> Floats:
            return np.asarray(np.where(np.isfinite(data), data - mean, 0)[:, used], np.float64)

        _, singular, basis = np.linalg.svd(rows(some), full_matrices=False)
        kept = basis[: self.components][singular[: self.components] > 1e-9 * singular[0]]
        return lambda data: rows(data) @ kept.T


def shape_model(training: Training, source: str, components: int) -> LinearModel:
    """A linear model of the training people's shapes."""
    some = training.subsampled(MOST_SHAPES)
    first = next(some.batches(source))
    if len(some) * first[0].size <= _IN_MEMORY:
        return fit_pca(np.concatenate(list(some.batches(source))), rank=components)
    return fit_streaming(lambda: some.batches(source), rank=components)
