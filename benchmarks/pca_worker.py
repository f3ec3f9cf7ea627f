"""One way of finding principal components of shapes that are made while they are read; run by `pca.py`.

    python pca_worker.py METHOD FRAMES VERTICES RANK RESULT.npz

METHOD: ours, sklearn, menpo, read (only makes the data, once), exact (ours in memory), subset (ours streamed).
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator

import numpy as np

BATCH = 256
MODES = 120
NOISE_MM = 0.1


class Data:
    """Frames (n, V, 3) float32, mm: a mean face, modes whose spread falls off, noise; the same at every reading."""

    def __init__(self, frames: int, vertices: int) -> None:
        self.frames, self.vertices = frames, vertices
        rng = np.random.default_rng(0)
        self.mean = rng.uniform(-100, 100, 3 * vertices).astype(np.float32)
        place = np.arange(3 * vertices) / (3 * vertices)
        waves = rng.uniform(1, 60, (MODES, 1)) * place + rng.uniform(0, 2 * np.pi, (MODES, 1))
        # root mean square over the vertices, mm: 3, 2.1, 1.7 ...
        self.modes = (
            np.sqrt(2) * np.sin(2 * np.pi * waves) * 3 / np.sqrt(np.arange(1, MODES + 1))[:, None]
        ).astype("f4")
        self.noise = (NOISE_MM * rng.standard_normal(1 << 22)).astype(np.float32)

    def __call__(self) -> Iterator[np.ndarray]:
        return self.after(0)

    def after(self, skip: int) -> Iterator[np.ndarray]:
        size = 3 * self.vertices
        for number in range(skip, -(-self.frames // BATCH)):
            rng = np.random.default_rng((1, number))
            n = min(BATCH, self.frames - number * BATCH)
            flat = rng.standard_normal((n, MODES), dtype=np.float32) @ self.modes
            flat += self.mean
            for row, start in zip(flat, rng.integers(0, len(self.noise) - size, n), strict=True):
                row += self.noise[start : start + size]
            yield flat.reshape(n, self.vertices, 3)


def ours(data: Data, rank: int) -> tuple[np.ndarray, np.ndarray]:
    from mimicme.pipeline.numerics.linear_model import fit_streaming

    model = fit_streaming(data, rank=rank, batches_from=data.after)
    return model.components.reshape(model.rank, -1), model.variances


def exact(data: Data, rank: int) -> tuple[np.ndarray, np.ndarray]:
    from mimicme.pipeline.numerics.linear_model import fit_pca

    model = fit_pca(np.concatenate(list(data())), rank=rank)
    return model.components.reshape(model.rank, -1), model.variances


def sklearn(data: Data, rank: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.decomposition import IncrementalPCA

    pca = IncrementalPCA(n_components=rank)
    for batch in data():
        if len(batch) >= rank:
            pca.partial_fit(batch.reshape(len(batch), -1))
    return pca.components_, pca.explained_variance_


def menpo(data: Data, rank: int) -> tuple[np.ndarray, np.ndarray]:
    from menpo.model import PCAVectorModel

    pca = None
    for batch in data():
        flat = batch.reshape(len(batch), -1)
        if pca is None:
            pca = PCAVectorModel(flat, max_n_components=rank)
        else:
            pca.increment(flat)
            pca.trim_components(rank)
    assert pca is not None
    return pca.components, pca.eigenvalues


def read(data: Data, rank: int) -> tuple[np.ndarray, np.ndarray]:
    for _ in data():
        pass
    return np.zeros((0, 1)), np.zeros(0)


METHODS = {"ours": ours, "subset": ours, "exact": exact, "sklearn": sklearn, "menpo": menpo, "read": read}

if __name__ == "__main__":
    method, frames, vertices, rank = sys.argv[1], *map(int, sys.argv[2:5])
    data = Data(frames, vertices)
    wall, cpu = time.perf_counter(), time.process_time()
    components, variances = METHODS[method](data, rank)
    np.savez(
        sys.argv[5],
        components=np.asarray(components, np.float32),
        variances=variances,
        wall_s=time.perf_counter() - wall,
        cpu_s=time.process_time() - cpu,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
