"""Randomized SVD of a data matrix that is read in passes and never held: the state of `linear_model.fit_streaming`.

Rows of the matrix A are the shapes, minus their mean, times the roots of their vertex and sample weights.  The first
pass makes Z = A'G with a random G; every later one Z = A'A Q with Q an orthonormal basis of the last Z.  Halko,
Martinsson, Tropp, "Finding structure with randomness", SIAM Review 53 (2011), algorithms 4.4 and 5.5.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.whole_file import whole_file

_FLOOR = 1e-6  # eigenvalues below this share of the largest drown in the float32 products
_SCALARS = ("passes", "batches", "rows", "count", "mass", "mass_squared", "square")
_ARRAYS = ("sum", "mean", "z", "draws", "q")


class Sketch:
    """The sketch, its counters and the mean.

    Products are float32, sums float64, in the order of the data.

    Args:
        weights: (V,) vertex weights; vertices of weight 0 are left out.
        start: (V, 3) any shape of the data, mm: what is subtracted until the mean is known.
        width: columns of the sketch.
        seed: of the random columns.
    """

    def __init__(self, weights: Floats, start: NDArray[Any], width: int, seed: int) -> None:
        self._inside = np.nonzero(weights)[0]
        self._whole = len(self._inside) == len(weights)
        self._root = np.sqrt(np.repeat(weights[self._inside], 3)).astype(np.float32)
        self._alike = bool((self._root == self._root[0]).all() and self._root[0] == 1)
        self._shift = np.nan_to_num(np.asarray(start, np.float64))
        self.width = min(width, len(self._root))
        self.seed = seed
        self.passes = self.batches = self.rows = self.count = 0
        self.mass = self.mass_squared = self.square = 0.0
        self.sum = np.zeros_like(self._shift)
        self.mean = self._shift
        self.z = np.zeros((len(self._root), self.width))
        self.draws = np.zeros(self.width)
        self.q = np.zeros((len(self._root), self.width), np.float32)
        self._rooted_of = self._rooted_q = np.zeros((0, 0), np.float32)

    def add(self, batch: NDArray[Any], sample_weights: Floats | None) -> None:
        """Take in the next batch (n, V, 3) of the current pass; `sample_weights` (N,) are those of all shapes.

        Raises:
            UsageError: the batch has another shape than the first, or values that are not finite.
        """
        if batch.ndim != 3 or batch.shape[1:] != self._shift.shape:
            raise UsageError(
                "a batch does not fit the first one", seen=batch.shape, expected=self._shift.shape
            )
        p = self._masses(len(batch), sample_weights)
        rows = np.subtract(batch, self.mean, dtype=np.float32)
        if self.passes == 0:
            self._first(rows, p)
        inner = (rows if self._whole else rows[:, self._inside]).reshape(len(rows), -1)
        # the roots of the weights go onto the narrow factors: the wide rows are read by the products alone
        if self.passes == 0:
            # seeded by the batch's number: a run that was interrupted draws the same
            generator = np.random.default_rng((self.seed, self.batches))
            g = generator.standard_normal((len(rows), self.width), dtype=np.float32)
            g *= np.sqrt(p).astype(np.float32)[:, None]
            self.z += inner.T @ g
            self.draws += g.sum(axis=0, dtype=np.float64)
        else:
            self.z += inner.T @ ((inner @ self._rooted) * p.astype(np.float32)[:, None])
            if self.passes == 1:
                weighted = inner if self._alike else inner * self._root
                self.square += float(p @ np.einsum("nd,nd->n", weighted, weighted))
        self.batches += 1
        self.rows += len(rows)

    @property
    def _rooted(self) -> NDArray[np.float32]:
        """Q with its rows times the roots of the weights; made once a pass."""
        if self._rooted_of is not self.q:
            self._rooted_of, self._rooted_q = self.q, self.q * self._root[:, None]
        return self._rooted_q

    def _masses(self, n: int, sample_weights: Floats | None) -> Floats:
        p = np.ones(n) if sample_weights is None else sample_weights[self.rows : self.rows + n]
        if p.shape != (n,) or not np.isfinite(p).all() or (p < 0).any():
            where = f"shapes {self.rows} to {self.rows + n}"
            raise UsageError("the sample weights are no weights of the shapes", where=where)
        return p

    def _first(self, rows: NDArray[np.float32], p: Floats) -> None:
        """The sums of the first pass; a value that is not a number shows in them."""
        if not self._whole:
            outside = np.setdiff1d(np.arange(rows.shape[1]), self._inside)
            rows[:, outside] = np.nan_to_num(rows[:, outside])
        total = p.astype(np.float32) @ rows.reshape(len(rows), -1)
        if not np.isfinite(total).all():
            finite = np.isfinite(rows).all(axis=(1, 2))
            raise UsageError(
                "a shape has vertices that are not finite",
                where=f"shape {self.rows + int(np.argmin(finite))}",
                todo="Leave rejected frames out, or mask the vertices out.",
            )
        self.sum += total.reshape(self.sum.shape)
        self.mass += float(p.sum())
        self.mass_squared += float(p @ p)

    def end_pass(self, sample_weights: Floats | None) -> None:
        """Make the mean or, but for the last pass, the next basis.

        Raises:
            UsageError: fewer than two shapes; another number of them than in the first pass.
        """
        if sample_weights is not None and len(sample_weights) != self.rows:
            raise UsageError("the sample weights do not fit", seen=len(sample_weights), expected=self.rows)
        if self.passes == 0:
            if self.rows < 2 or self.mass <= 0:
                raise UsageError("a model needs at least two shapes", seen=self.rows)
            self.count = self.rows
            offset = self.sum / self.mass
            self.mean = self._shift + offset
            self.z -= np.outer(offset[self._inside].ravel(), self.draws)
        elif self.rows != self.count:
            raise UsageError("the data changes from pass to pass", seen=self.rows, expected=self.count)
        self.z *= self._root[:, None]
        self.passes += 1
        self.batches = self.rows = 0

    def orthonormalise(self) -> None:
        """Begin the next step of subspace iteration: an orthonormal basis of Z becomes Q, and Z is empty again."""
        self.q = np.linalg.qr(self.z)[0].astype(np.float32)
        self.z = np.zeros_like(self.z)

    def directions(self) -> tuple[Floats, Floats]:
        """Right singular vectors of A (K, D) and squared singular values (K,), from Q and Z = A'A Q.

        The Nystroem form A'A = Z (Q'Z)^+ Z', without what is below the precision of the products.
        """
        core = self.q.T.astype(np.float64) @ self.z
        values, vectors = np.linalg.eigh((core + core.T) / 2)
        keep = values > _FLOOR * max(values[-1], 0.0)
        if not keep.any():
            return np.zeros((0, len(self.z))), np.zeros(0)
        half = self.z @ (vectors[:, keep] / np.sqrt(values[keep]))
        left, singular, _ = np.linalg.svd(half, full_matrices=False)
        return left.T, singular**2


def sketch_signature(settings: Sequence[Any], *arrays: NDArray[Any] | None) -> str:
    """What a sketch depends on, as SHA-256 in hex."""
    digest = hashlib.sha256(json.dumps(list(settings)).encode())
    for array in arrays:
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class SketchFile:
    """Checkpoint of a sketch: one .npz, written to a temporary name and renamed; none when `path` is None."""

    def __init__(self, path: Path | None, signature: str) -> None:
        self.path = path
        self.signature = signature

    def load(self, sketch: Sketch) -> bool:
        """Restore the sketch from the file; False where there is no file, or one of other data."""
        if self.path is None or not self.path.exists():
            return False
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                if str(stored["signature"]) != self.signature:
                    return False
                values = {name: stored[name] for name in (*_SCALARS, *_ARRAYS)}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):  # cut short by a full disk: begin again
            return False
        for name in _SCALARS:
            setattr(sketch, name, values[name].item())
        for name in _ARRAYS:
            setattr(sketch, name, values[name])
        return True

    def save(self, sketch: Sketch) -> None:
        """Write the sketch's state."""
        if self.path is None:
            return
        values = {name: np.asarray(getattr(sketch, name)) for name in (*_SCALARS, *_ARRAYS)}
        with whole_file(self.path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, signature=np.asarray(self.signature), **values)  # type: ignore[arg-type]

    def remove(self) -> None:
        """The work is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
