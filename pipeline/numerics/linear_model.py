"""Linear models of shapes (PCA): mean, components and their variances, in memory and out of core.

A shape is the (V, 3) vertices of one mesh of the template's topology, in mm.  With vertex weights w, shapes are
compared by <a, b> = sum_v w_v a_v . b_v; the components are orthonormal under it, so that a coefficient is a
length (mm, times the root of the number of vertices) and the best coefficients of a shape are inner products.
Weights are scaled to a mean of one over the vertices that count; a vertex of weight 0 lies outside the mask: it
stays where the mean has it.

    fit_pca        exact, of data in memory
    fit_streaming  randomised, in a few passes over data that never is in memory (Halko, Martinsson, Tropp 2011)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimicme.pipeline.arrays import Floats, Singles
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.numerics.randomized_svd import Sketch, SketchFile, sketch_signature

Batches = Callable[[], Iterable[NDArray[Any]]]

_NEGLIGIBLE = 1e-10  # variance below this share of the largest is rounding error, not a direction
_SAVE_EVERY = 64  # batches between two checkpoints of the sketch


@dataclass(frozen=True)
class LinearModel:
    """Shapes as mean + coefficients @ components.

    Attributes:
        mean: (V, 3) float32, mm (of a model of differences: the mean difference).
        components: (K, V, 3) float32, orthonormal under the weights, largest variance first.
        variances: (K,) float64, of the coefficients over the population.
        total_variance: of the training shapes, what the components do not hold included.
        weights: (V,) float64 vertex weights of mean 1 where positive; 0 outside the mask.
        count: shapes the model was made from.
        kind: what it is a model of: 'identity', 'expression', 'joint', 'texture', ...
    """

    mean: Singles
    components: Singles
    variances: Floats
    total_variance: float
    weights: Floats
    count: int
    kind: str

    @property
    def rank(self) -> int:
        """Number of components."""
        return len(self.components)

    @cached_property
    def _dual(self) -> Singles:
        """(K, 3V) components times weights: the rows that read coefficients off a shape."""
        return (self.components * self.weights[:, None].astype(np.float32)).reshape(self.rank, -1)

    def encode(self, shapes: ArrayLike) -> Floats:
        """Best coefficients under the weights, (N, K) float64, of shapes (N, V, 3), mm."""
        data = _as_shapes(shapes, self.mean.shape)
        result = np.empty((len(data), self.rank))
        for start in range(0, len(data), 256):
            part = np.subtract(data[start : start + 256], self.mean, dtype=np.float32)
            part[:, self.weights == 0] = 0  # where a shape may have no value
            with np.errstate(invalid="ignore"):
                result[start : start + 256] = part.reshape(len(part), -1) @ self._dual.T
        if not np.isfinite(result).all():
            bad = int(np.nonzero(~np.isfinite(result).all(axis=1))[0][0])
            raise UsageError(
                "a shape has vertices that are not finite",
                where=f"shape {bad}",
                todo="Leave rejected frames out.",
            )
        return result

    def decode(self, coefficients: ArrayLike) -> Singles:
        """Shapes (N, V, 3) float32, mm, of coefficients (N, K)."""
        c = np.asarray(coefficients, np.float32)
        if c.ndim != 2 or c.shape[1] != self.rank:
            raise UsageError(
                "the coefficients do not fit the model", seen=c.shape, expected=f"(any, {self.rank})"
            )
        shapes = c @ self.components.reshape(self.rank, -1)
        return shapes.reshape(len(c), *self.mean.shape) + self.mean

    def truncated(self, k: int) -> LinearModel:
        """The model of the first `k` components; its total variance stays that of the data."""
        return replace(self, components=self.components[:k], variances=self.variances[:k])

    def sample(self, count: int, seed: int) -> Singles:
        """Random shapes (count, V, 3), mm: normal coefficients of the model's variances."""
        draws = np.random.default_rng(seed).standard_normal((count, self.rank))
        return self.decode(draws * np.sqrt(self.variances))


def fit_pca(
    shapes: ArrayLike,
    weights: ArrayLike | None = None,
    sample_weights: ArrayLike | None = None,
    rank: int | None = None,
    kind: str = "shape",
) -> LinearModel:
    """Principal components of shapes in memory, exact but for rounding, in float64.

    Args:
        shapes: (N, V, 3), mm.
        weights: (V,) importance of each vertex, as its area; 0 outside the mask.  None: all alike.
        sample_weights: (N,) importance of each shape.  None: all alike.
        rank: most components to keep; None: all that are not rounding error.

    Raises:
        UsageError: fewer than two shapes, wrong sizes, values that are not finite.
    """
    data = np.asarray(shapes)
    if data.ndim != 3 or data.shape[2] != 3 or len(data) < 2:
        raise UsageError("a model needs at least two shapes", seen=data.shape, expected="(2 or more, V, 3)")
    w = vertex_weights(weights, data.shape[1])
    p = _normalised(sample_weights, len(data))
    inside = np.nonzero(w)[0]
    rows = data[:, inside].astype(np.float64).reshape(len(data), -1)
    _check_finite(rows, 0)
    centre = p @ rows
    root = np.sqrt(np.repeat(w[inside], 3))
    scaled = (rows - centre) * root * np.sqrt(p)[:, None]
    basis, squares = _right_singular(scaled)
    unbiased = _unbiased(float(p @ p))
    mean = np.einsum("n,nvc->vc", p, np.nan_to_num(data.astype(np.float64, copy=False)))
    return _model(
        mean,
        basis / root,
        squares * unbiased,
        float(squares.sum()) * unbiased,
        w,
        len(data),
        rank,
        kind,
    )


def fit_streaming(
    batches: Batches,
    weights: ArrayLike | None = None,
    sample_weights: ArrayLike | None = None,
    rank: int = 100,
    seed: int = 0,
    kind: str = "shape",
    *,
    oversampling: int | None = None,
    power_passes: int = 2,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    batches_from: Callable[[int], Iterable[NDArray[Any]]] | None = None,
) -> LinearModel:
    """Out-of-core PCA by randomized SVD: of shapes in batches, in 1 + `power_passes` passes and bounded memory.

    A random sketch of the data's range is made in the first pass and sharpened by subspace iteration in the others
    (`randomized_svd.Sketch`).  Memory: about 30 bytes times 3 V times
    (rank + oversampling), and one batch.  Products in float32, sums in float64, in the order of the data: the
    same batches give the same bytes.

    Args:
        batches: called once a pass; yields (n, V, 3) arrays, mm, the same ones in the same order every time.
        weights, kind: as in `fit_pca`.  rank: most components.
        sample_weights: (N,) importance of each shape, in the order of the batches.
        seed: of the random sketch.
        checkpoint: file to go on from when it is there; removed at the end.
        fingerprint: what the data is; a checkpoint of other data is not used.
        oversampling, power_passes: more of them, more exact where variances fall slowly (where the k-th falls
            like 1 / k, the last variances are 0.2 % low with two passes and half as many columns again as components,
            the default; those of faces fall faster).
        batches_from: the batches from the given one on, for data that can be entered in the middle.

    Raises:
        UsageError: as `fit_pca`; batches that change from pass to pass.
    """
    if power_passes < 1:
        raise UsageError("the sketch needs a second pass", seen=power_passes, expected="power_passes >= 1")
    first = next(iter(batches()), None)
    shape = None if first is None else np.shape(first)
    if shape is None or len(shape) != 3 or shape[2] != 3:
        raise UsageError("a model needs at least two shapes", seen=shape, expected="(2 or more, V, 3)")
    start = np.asarray(first)[0]
    w = vertex_weights(weights, len(start))
    given = None if sample_weights is None else np.asarray(sample_weights, np.float64)
    width = rank + (max(16, rank // 2) if oversampling is None else oversampling)
    sketch = Sketch(w, start, width, seed)
    settings = [rank, width, power_passes, seed, fingerprint]
    state = SketchFile(checkpoint, sketch_signature(settings, w, start, given))
    state.load(sketch)
    enter = batches_from or (lambda n: islice(batches(), n, None))
    while sketch.passes <= power_passes:
        for batch in enter(sketch.batches):
            sketch.add(np.asarray(batch), given)
            if sketch.batches % _SAVE_EVERY == 0:
                state.save(sketch)
        sketch.end_pass(given)
        if sketch.passes <= power_passes:
            sketch.orthonormalise()
            state.save(sketch)
    basis, squares = sketch.directions()
    spread = _unbiased(sketch.mass_squared / sketch.mass**2) / sketch.mass
    inside = np.nonzero(w)[0]
    basis /= np.sqrt(np.repeat(w[inside], 3))
    model = _model(sketch.mean, basis, squares * spread, sketch.square * spread, w, sketch.count, rank, kind)
    state.remove()
    return model


def vertex_weights(weights: ArrayLike | None, n_vertices: int) -> Floats:
    """Vertex weights (V,) scaled to a mean of one where they are positive; None: all one.

    Raises:
        UsageError: another number of weights, a negative one, one that is not finite, none that is positive.
    """
    if weights is None:
        return np.ones(n_vertices)
    w = np.asarray(weights, np.float64)
    if w.shape != (n_vertices,):
        raise UsageError("the vertex weights do not fit the shapes", seen=w.shape, expected=(n_vertices,))
    if not np.isfinite(w).all() or (w < 0).any() or not w.any():
        raise UsageError("vertex weights must be finite, not negative, and one of them positive")
    return w / w[w > 0].mean()


def _right_singular(rows: Floats) -> tuple[Floats, Floats]:
    """Right singular vectors (K, D) and squared singular values (K,) of rows (N, D).

    Few long rows go through their (N, N) inner products (method of snapshots, Sirovich 1987), ten times quicker.
    That costs half the digits: what is below 1e-10 of the largest square is rounding, and cut by `_model`.
    """
    if 2 * len(rows) > rows.shape[1]:
        _, singular, basis = np.linalg.svd(rows, full_matrices=False)
        return basis, singular**2
    squares, left = np.linalg.eigh(rows @ rows.T)
    squares, left = np.maximum(squares[::-1], 0), left[:, ::-1]
    keep = squares > _NEGLIGIBLE * max(float(squares[0]), np.finfo(float).tiny)
    return (left[:, keep] / np.sqrt(squares[keep])).T @ rows, squares[keep]


def _normalised(sample_weights: ArrayLike | None, n: int) -> Floats:
    """(n,) weights of the shapes, of sum one."""
    if sample_weights is None:
        return np.full(n, 1 / n)
    p = np.asarray(sample_weights, np.float64)
    if p.shape != (n,) or not np.isfinite(p).all() or (p < 0).any() or np.count_nonzero(p) < 2:
        raise UsageError("the sample weights are no weights of the shapes", seen=p.shape, expected=(n,))
    return p / p.sum()


def _unbiased(concentration: float) -> float:
    """Factor from a weighted mean square to an unbiased variance; `concentration` = sum of squared shares.

    1 / (1 - sum p^2), which is n / (n - 1) for equal weights.
    """
    return 1 / max(1 - concentration, 1e-12)


def _check_finite(rows: NDArray[Any], start: int) -> None:
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise UsageError(
            "a shape has vertices that are not finite",
            where=f"shape {start + int(np.argmin(finite))}",
            todo="Leave rejected frames out, or mask the vertices out.",
        )


def _as_shapes(shapes: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    data = np.asarray(shapes)
    if data.ndim != 3 or data.shape[1:] != shape:
        raise UsageError("the shapes do not fit the model", seen=data.shape, expected=f"(any, {shape[0]}, 3)")
    return data


def _model(
    mean: Floats,
    directions: Floats,
    variances: Floats,
    total: float,
    weights: Floats,
    count: int,
    rank: int | None,
    kind: str,
) -> LinearModel:
    """The model of directions (K, 3 inside) orthonormal under the weights; their signs are fixed so that the
    largest entry is positive."""
    keep = (
        int((variances > _NEGLIGIBLE * max(variances[0], np.finfo(float).tiny)).sum())
        if len(variances)
        else 0
    )
    keep = min(keep, count - 1, keep if rank is None else rank)
    directions = directions[:keep]
    peak = np.abs(directions).argmax(axis=1)
    directions = directions * np.sign(directions[np.arange(keep), peak])[:, None]
    components = np.zeros((keep, *mean.shape), np.float32)
    components[:, weights > 0] = directions.reshape(keep, -1, 3)
    return LinearModel(
        mean.astype(np.float32),
        components,
        variances[:keep].astype(np.float64),
        float(total),
        weights,
        count,
        kind,
    )
