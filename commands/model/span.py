"""The space that the shapes of a release span, in which leave-one-subject-out models cost next to nothing.

A model of any part of the shapes is a combination of those shapes, so in an orthonormal basis of their span it
is exact and small: N shapes of 160,047 numbers become N rows of at most N.  The model without a subject then is
an eigenproblem of that size, made by taking the subject's part away from sums that are made once (a downdate),
not by fitting again.

Up to `EXACT_SHAPES` shapes the basis holds all of them.  Beyond, it holds the `WIDE_RANK` strongest directions of
`fit_streaming`; what a shape has outside of them is reconstructed by no model and counts as error, so that
generalisation can only look worse than it is, by less than the share of variance left out (`Span.left_out`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Singles
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.numerics.linear_model import Batches, LinearModel, fit_streaming

EXACT_SHAPES = 800
WIDE_RANK = 300
_NEGLIGIBLE = 1e-11  # of the largest eigenvalue of the Gram matrix: rounding of float32 shapes


@dataclass(frozen=True)
class Span:
    """Shapes as origin + coordinates @ basis.

    Attributes:
        origin: (V, 3) float32, mm.
        basis: (R, V, 3) float32, orthonormal under the vertex weights.
        coordinates: (N, R) float64.
        squares: (N,) squared length of each shape minus origin, under the weights; at least that of its coordinates.
    """

    origin: Singles
    basis: Singles
    coordinates: Floats
    squares: Floats

    @property
    def left_out(self) -> float:
        """Share of the shapes' squared lengths that the basis does not hold."""
        inside = float((self.coordinates**2).sum())
        return max(0.0, 1 - inside / max(float(self.squares.sum()), 1e-300))

    def shapes(self, coordinates: Floats) -> Singles:
        """(n, V, 3) float32 of coordinates (n, R)."""
        flat = coordinates.astype(np.float32) @ self.basis.reshape(len(self.basis), -1)
        return np.asarray(flat.reshape(len(coordinates), *self.origin.shape) + self.origin)


def span_of(batches: Batches, count: int, weights: Floats, shares: Floats, seed: int = 0) -> Span:
    """The span of `count` shapes.

    Args:
        batches: called once a pass; (n, V, 3) arrays, mm, the same in the same order every time.
        weights: (V,) vertex weights; vertices of weight 0 do not count, and are 0 in the basis.
        shares: (N,) weight of each shape; matters only for what is left out beyond `EXACT_SHAPES`.
    """
    if count <= EXACT_SHAPES:
        return _exact(batches, count, weights)
    model = fit_streaming(batches, weights, shares, WIDE_RANK, seed, "span")
    return _coordinates(batches, model, weights)


def _exact(batches: Batches, count: int, weights: Floats) -> Span:
    root = np.sqrt(weights).astype(np.float32)[:, None]
    origin, rows = None, np.empty((0, 0), np.float32)
    at = 0
    for batch in batches():
        part = np.asarray(batch)
        if origin is None:
            # any shape serves as the origin: it takes the large common part away before products are formed
            origin = np.nan_to_num(part[0].astype(np.float32))
            rows = np.empty((count, origin.size), np.float32)
        moved = np.subtract(part, origin, dtype=np.float32)
        moved[:, weights == 0] = 0
        rows[at : at + len(part)] = (moved * root).reshape(len(part), -1)
        at += len(part)
    if origin is None or at != count:
        raise UsageError("the shapes are not as many as was said", seen=at, expected=count)
    values, vectors = np.linalg.eigh(_gram(rows))
    keep = values > _NEGLIGIBLE * max(values[-1], 1e-300)
    values, vectors = values[keep][::-1], vectors[:, keep][:, ::-1]
    basis = ((vectors / np.sqrt(values)).T.astype(np.float32) @ rows).reshape(len(values), *origin.shape)
    basis[:, weights > 0] /= root[weights > 0]
    coordinates = vectors * np.sqrt(values)
    return Span(origin, basis, coordinates, (coordinates**2).sum(axis=1))


def _gram(rows: Singles) -> Floats:
    """rows @ rows.T (N, N), products of blocks in float64."""
    gram = np.zeros((len(rows), len(rows)))
    for start in range(0, rows.shape[1], 8192):
        block = rows[:, start : start + 8192].astype(np.float64)
        gram += block @ block.T
    return gram


def _coordinates(batches: Batches, model: LinearModel, weights: Floats) -> Span:
    """Coordinates in a model's components, and the whole lengths."""
    coordinates, squares = [], []
    for batch in batches():
        part = np.asarray(batch)
        coordinates.append(model.encode(part))
        moved = np.nan_to_num(np.subtract(part, model.mean, dtype=np.float32))
        squares.append(np.einsum("v,nvx,nvx->n", weights, moved, moved, dtype=np.float64, optimize=True))
    return Span(model.mean, model.components, np.concatenate(coordinates), np.concatenate(squares))


@dataclass(frozen=True)
class WithoutSubject:
    """The model of everybody but one subject, in the coordinates of a span.

    Attributes:
        subject: who is left out; rows: (n,) that subject's shapes.
        mean: (R,); directions: (R, K) orthonormal, largest variance first.
        variances: (K,) and total: of the shapes that were left in.
    """

    subject: str
    rows: NDArray[np.int64]
    mean: Floats
    directions: Floats
    variances: Floats
    total: float

    def reconstruct(self, coordinates: Floats, rank: int) -> Floats:
        """Coordinates (n, R) of the best approximation with `rank` components; all there are, if fewer."""
        used = self.directions[:, :rank]
        return self.mean + (coordinates - self.mean) @ used @ used.T


def leave_one_out(
    span: Span, subjects: NDArray[np.str_], shares: Floats, rank: int
) -> Iterator[WithoutSubject]:
    """For each subject, in order, the model of all the others.

    Args:
        subjects: (N,) whose each shape is.
        shares: (N,) weight of each shape.
        rank: most components that are wanted.

    Raises:
        UsageError: fewer than three subjects: without one there would be no variation between people.
    """
    names = np.unique(subjects)
    if len(names) < 3:
        raise UsageError("leave-one-subject-out needs three subjects", seen=len(names), expected="3 or more")
    c, p = span.coordinates, shares
    # sums that every fold is made from
    mass, first, second = p.sum(), p @ c, (c * p[:, None]).T @ c
    spare = np.maximum(span.squares - (c**2).sum(axis=1), 0)
    outside = p @ spare
    for name in names:
        rows = np.flatnonzero(subjects == name)
        own, own_p = c[rows], p[rows]
        left = mass - own_p.sum()
        mean = (first - own_p @ own) / left
        scatter = (second - (own * own_p[:, None]).T @ own) / left - np.outer(mean, mean)
        # 1 / (1 - sum of squared shares): the unbiased variance, as in `linear_model`
        unbiased = 1 / max(1 - float((p**2).sum() - (own_p**2).sum()) / left**2, 1e-12)
        values, vectors = _largest(scatter, min(rank, len(p) - len(rows) - 1))
        total = (float(np.trace(scatter)) + (outside - own_p @ spare[rows]) / left) * unbiased
        yield WithoutSubject(str(name), rows, mean, vectors, values * unbiased, float(total))


def _largest(symmetric: Floats, k: int) -> tuple[Floats, Floats]:
    """The k largest eigenvalues and their vectors, largest first, without those that are rounding error."""
    from scipy.linalg import eigh

    n = len(symmetric)
    k = max(1, min(k, n))
    values, vectors = eigh((symmetric + symmetric.T) / 2, subset_by_index=(n - k, n - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    keep = values > 1e-10 * max(float(values[0]), 1e-300)
    return values[keep], vectors[:, keep]
