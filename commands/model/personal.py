"""A subject's own blendshapes: the generic ones, bent towards what the subject's frames show.

Li, Weise, Pauly, "Example-based facial rigging" (2010): per triangle, edges of the frames are explained by the
weights times the edges of the wanted shapes (eq. 4), with the generic shape, transferred to the subject's neutral, as
prior where it moves little (eq. 5); vertices follow by a Poisson equation; the weights are fitted again (eq. 9); and so
on with ever less prior.  Edges take the place of the paper's frames with normals, because edges are linear in the
vertices and the blendshape model is, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.model.bounded import bounded_weights
from mimicme.commands.model.gradients import PoissonSolver, edge_pairs, transfer_deformation, triangle_frames
from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.errors import UsageError

KAPPA, THETA = 0.1, 2.0  # of the prior's weight (Li et al. 2010, section 3.1)
PRIOR = (0.5, 0.3, 0.1)  # its share, round by round
_CHUNK = 8192  # triangles solved together


def shape_weights(
    differences: NDArray[Any], deltas: NDArray[Any], vertex_weights: NDArray[Any] | None = None
) -> Floats:
    """Weights (N, B) in [0, 1] of the shapes (B, V, 3) that best make the differences (N, V, 3)."""
    w = np.ones(deltas.shape[1]) if vertex_weights is None else np.asarray(vertex_weights)
    basis = deltas.reshape(len(deltas), -1).astype(np.float64)
    dual = basis * np.repeat(w, 3)
    right = np.stack([dual @ np.asarray(d, np.float64).ravel() for d in differences])
    return bounded_weights(dual @ basis.T, right)


def personal_blendshapes(
    neutral: NDArray[Any],
    frames: NDArray[Any],
    generic_neutral: NDArray[Any],
    generic: NDArray[Any],
    faces: Ints,
    vertex_weights: NDArray[Any] | None = None,
    prior: tuple[float, ...] = PRIOR,
) -> tuple[NDArray[np.float32], Floats]:
    """A subject's blendshapes and the weights of the frames they were learnt from.

    Args:
        neutral: (V, 3) the subject at rest, mm.  frames: (J, V, 3) the subject's shapes, mm, J >= 1.
        generic_neutral: (V, 3), generic: (B, V, 3) differences, mm.
        vertex_weights: (V,) for the fit of the weights.
        prior: its share in each round.

    Returns:
        (B, V, 3) float32 differences to `neutral`, (J, B) weights.
    """
    if not len(frames) or not len(generic):
        raise UsageError(
            "personal blendshapes need frames and generic shapes", seen=(len(frames), len(generic))
        )
    rest = np.asarray(neutral, np.float64)
    base = np.asarray(generic_neutral, np.float64)
    poisson = PoissonSolver(rest, faces)
    started = np.stack([transfer_deformation(base, base + d, rest, faces, poisson) - rest for d in generic])
    rest_edges = edge_pairs(rest, faces)
    # edges of differences: linear, so those of the sum are the sum of theirs
    wanted = np.stack([edge_pairs(d, faces) for d in started])
    strength = _prior_weights(base, np.asarray(generic, np.float64), faces)
    shown = np.stack([edge_pairs(np.asarray(f, np.float64), faces) - rest_edges for f in frames])
    differences = np.asarray(frames, np.float64) - rest
    shapes = started
    weights = shape_weights(differences, shapes, vertex_weights)
    for share in prior:
        edges = _solve_edges(weights, shown, wanted, strength * share)
        for k in range(len(shapes)):
            shapes[k] = poisson.vertices(rest_edges + edges[k], rest + started[k]) - rest
        weights = shape_weights(differences, shapes, vertex_weights)
    return shapes.astype(np.float32), weights


def _prior_weights(neutral: Floats, generic: Floats, faces: Ints) -> Floats:
    """(B, T): large where the generic shape moves a triangle little (Li et al. 2010, eq. 6)."""
    rest = triangle_frames(neutral, faces)
    length = np.sqrt((rest**2).sum(axis=(1, 2)))
    result = np.empty((len(generic), len(faces)))
    for k, delta in enumerate(generic):
        moved = triangle_frames(neutral + delta, faces) - rest
        size = np.sqrt((moved**2).sum(axis=(1, 2))) / np.maximum(length, 1e-9)
        result[k] = ((1 + size) / (KAPPA + size)) ** THETA
    return result


def _solve_edges(weights: Floats, shown: Floats, prior: Floats, strength: Floats) -> Floats:
    """Edges (B, T, 3, 2) of the shapes: least squares per triangle."""
    gram = weights.T @ weights
    result = np.empty_like(prior)
    n_shapes = len(prior)
    for start in range(0, shown.shape[1], _CHUNK):
        part = slice(start, start + _CHUNK)
        s = strength[:, part].T
        matrix = np.broadcast_to(gram, (len(s), *gram.shape)).copy()
        matrix[:, np.arange(n_shapes), np.arange(n_shapes)] += s + 1e-9
        data = shown[:, part].reshape(len(shown), len(s), 6)
        own = prior[:, part].reshape(n_shapes, len(s), 6).transpose(1, 0, 2)
        right = np.einsum("jb,jtc->tbc", weights, data) + s[:, :, None] * own
        result[:, part] = np.linalg.solve(matrix, right).transpose(1, 0, 2).reshape(n_shapes, -1, 3, 2)
    return result
