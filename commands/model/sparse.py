"""Sparse localised deformation components: parts of a face that move by themselves, found in the data.

Neumann, Varanasi, Wenger, Wacker, Magnor, Theobalt, "Sparse localized deformation components" (2013): X = W C with
weights between 0 and 1 and components that are zero outside a neighbourhood (l1/l2 norm over vertices whose weight
grows with the geodesic distance from the component's centre), by alternating minimisation; components by ADMM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Ints, Singles
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.geometry.mesh import adjacency, edges


@dataclass(frozen=True)
class SparseSettings:
    """Attributes:
    count: components.  sparsity: lambda of the paper.
    near_mm, far_mm: geodesic distance from a component's centre where its cost begins, and is full.
    rounds: of the alternation.  inner: of ADMM in each.  penalty: rho of ADMM.
    """

    count: int = 30
    sparsity: float = 2.0
    near_mm: float = 15.0
    far_mm: float = 60.0
    rounds: int = 8
    inner: int = 8
    penalty: float = 10.0


def sparse_components(
    differences: NDArray[Any], vertices: Floats, faces: Ints, settings: SparseSettings
) -> tuple[Singles, Floats]:
    """Localised components of differences to the neutral.

    Args:
        differences: (F, V, 3), mm.  vertices: (V, 3) of the template, for distances along the surface.

    Returns:
        (K, V, 3) float32, mm, each as large as where its weight is 1; (F, K) weights in [0, 1].
    """
    x = np.asarray(differences, np.float32)
    if x.ndim != 3 or len(x) < 2:
        raise UsageError("sparse components need at least two shapes", seen=x.shape)
    scale = float(np.sqrt((x.astype(np.float64) ** 2).mean())) or 1.0
    x = x / np.float32(scale)
    count = min(settings.count, len(x))
    distance = _GeodesicDistances(vertices, faces, settings.far_mm)
    components, weights = _initial_components(x, distance, count, settings)
    multiplier = np.zeros_like(components)
    for _ in range(settings.rounds):
        weights = _fit_weights(x, components)
        centres = (components**2).sum(axis=2).argmax(axis=1)
        cost = np.stack([_cost(distance(int(c)), settings) for c in centres])
        components, multiplier = _fit_components(
            x, weights, components, multiplier, settings.sparsity * cost, settings
        )
    # one unit of weight is the largest that was seen
    top = np.maximum(weights.max(axis=0), 1e-12)
    order = np.argsort(-((weights**2).sum(axis=0) * (components**2).sum(axis=(1, 2))), kind="stable")
    components = components * (top * scale)[:, None, None].astype(np.float32)
    return components[order].astype(np.float32), (weights / top)[:, order]


class _GeodesicDistances:
    """Geodesic distances along edges (Dijkstra) from a vertex, up to a limit; cached."""

    def __init__(self, vertices: Floats, faces: Ints, limit: float) -> None:
        pairs = edges(faces)[0]
        self.graph = adjacency(pairs, len(vertices)).tocsr().astype(np.float64)
        rows, columns = self.graph.nonzero()
        self.graph[rows, columns] = np.linalg.norm(vertices[rows] - vertices[columns], axis=1)
        self.limit = limit
        self._known: dict[int, Floats] = {}

    def __call__(self, vertex: int) -> Floats:
        from scipy.sparse.csgraph import dijkstra

        if vertex not in self._known:
            self._known[vertex] = dijkstra(self.graph, indices=vertex, limit=self.limit)
        return self._known[vertex]


def _cost(distance: Floats, settings: SparseSettings) -> Singles:
    """(V,) 0 near the centre, 1 far from it."""
    reach = settings.far_mm - settings.near_mm
    return np.clip((np.minimum(distance, settings.far_mm) - settings.near_mm) / reach, 0, 1).astype(
        np.float32
    )


def _initial_components(
    x: Singles, distance: _GeodesicDistances, count: int, settings: SparseSettings
) -> tuple[Singles, Floats]:
    """Components one by one, each from the vertex that is explained worst (section 4.3)."""
    rest = x.copy()
    components = np.zeros((count, *x.shape[1:]), np.float32)
    weights = np.zeros((len(x), count))
    for k in range(count):
        vertex = int((rest**2).sum(axis=(0, 2)).argmax())
        _, _, direction = np.linalg.svd(rest[:, vertex].astype(np.float64), full_matrices=False)
        w = rest[:, vertex] @ direction[0]
        # one side of the motion only: the one that says more
        sides = [np.maximum(w, 0), np.maximum(-w, 0)]
        w = sides[int((sides[1] ** 2).sum() > (sides[0] ** 2).sum())]
        w = w / max(float(w.max()), 1e-12)
        local = 1 - _cost(distance(vertex), settings)
        power = max(float(w @ w), 1e-12)
        c = np.tensordot(w.astype(np.float32), rest, 1) / np.float32(power) * local[:, None]
        components[k], weights[:, k] = c, w
        rest -= w.astype(np.float32)[:, None, None] * c
    return components, weights


def _fit_weights(x: Singles, components: Singles) -> Floats:
    """Weights in [0, 1] with the components held, each component's largest brought to 1 (section 4.2)."""
    from mimicme.commands.model.bounded import bounded_weights

    flat = components.reshape(len(components), -1).astype(np.float64)
    return bounded_weights(flat @ flat.T, x.reshape(len(x), -1) @ flat.T, 0.0, 1.0)


def _fit_components(
    x: Singles,
    weights: Floats,
    components: Singles,
    multiplier: Singles,
    cost: Singles,
    settings: SparseSettings,
) -> tuple[Singles, Singles]:
    """ADMM for min |X - W C|^2 / 2 + sum cost_kv |c_kv| (section 4.1)."""
    rho = settings.penalty
    gram = np.linalg.inv(weights.T @ weights + rho * np.eye(weights.shape[1])).astype(np.float32)
    fixed = np.tensordot(weights.T.astype(np.float32), x, 1)
    z, u = components, multiplier
    threshold = cost / np.float32(rho)
    for _ in range(settings.inner):
        c = np.tensordot(gram, fixed + np.float32(rho) * (z - u), 1)
        moved = c + u
        length = np.sqrt((moved**2).sum(axis=2))
        shrink = np.maximum(1 - threshold / np.maximum(length, 1e-12), 0)
        z = moved * shrink[:, :, None]
        u = moved - z
    return z, u
