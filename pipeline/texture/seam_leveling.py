"""Hiding the seams between a scan's photographs: colours are levelled so that both sides of a seam agree.

Two cameras never see one brightness: gains, white balance and gloss differ.  Along a seam every scan vertex has a place
in both photographs, and the difference of their colours there is known.  Each photograph gets a smooth additive
correction that closes these gaps and fades away from the seam (Lempitsky and Ivanov 2007, sec. 5, with a screening
term):

    sum_seam |(c_a + g_a) - (c_b + g_b)|^2  +  sum_edges |g_i - g_j|^2  +  k sum_i |g_i|^2 .
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.mesh import adjacency, edges

SEAM_WEIGHT = 1.0
"""Of a closed gap against smoothness: even gaps are closed, what differs from vertex to vertex is not."""
FADING_MM = 12.0
"""Distance over which the correction fades away from the seam; three times as far it has ended."""
MAX_GAP = 60.0
"""Grey levels: more than this is no gain, but a place where the photographs show different things."""
TOLERANCE = 3e-4
"""Residual of the solution relative to the gaps: within 0.1 grey levels of the exact one on real scans."""
MOST_STEPS = 2000


def seam_pairs(faces: Ints, uv_faces: Ints) -> Ints:
    """(s, 2) pairs of texture coordinates, a < b, that one scan vertex has in two charts."""
    vertex, place = faces.ravel().astype(np.int64), uv_faces.ravel().astype(np.int64)
    key = np.unique(vertex * (int(place.max(initial=0)) + 1) + place)
    vertex, place = np.divmod(key, int(place.max(initial=0)) + 1)
    again = np.flatnonzero(vertex[1:] == vertex[:-1])
    return np.stack([place[again], place[again + 1]], axis=1).astype(np.int32)


def corrections(uv_faces: Ints, points: Floats, pairs: Ints, gaps: Floats) -> NDArray[np.float32]:
    """(m, 3) what to add to the colour at every texture coordinate, grey levels.

    Args:
        uv_faces: (t, 3) into the texture coordinates; points: (m, 3) where on the scan each of them lies, mm.
        pairs: (s, 2) of `seam_pairs`; gaps: (s, 3) colour at the second minus colour at the first.
    """
    found = np.zeros((len(points), 3), np.float32)
    good = (
        np.isfinite(gaps).all(1) & (np.abs(gaps) <= MAX_GAP).all(1) & np.isfinite(points[pairs]).all((1, 2))
    )
    pairs, gaps = pairs[good], gaps[good]
    if not len(pairs):
        return found
    finite = np.isfinite(points).all(1)
    near = np.zeros(len(points), bool)
    far = scipy.spatial.cKDTree(points[pairs[:, 0]]).query(
        points[finite], distance_upper_bound=3 * FADING_MM
    )[0]
    near[finite] = np.isfinite(far)
    used = np.flatnonzero(near)
    place = np.full(len(points), -1)
    place[used] = np.arange(len(used))
    faces = place[uv_faces[near[uv_faces].all(1)]].astype(np.int32)
    if not len(faces):
        return found
    ends, _ = edges(faces)
    length = np.linalg.norm(points[used[ends[:, 0]]] - points[used[ends[:, 1]]], axis=1)
    graph = adjacency(ends, len(used))
    screen = (float(np.median(length)) / FADING_MM) ** 2
    smooth = scipy.sparse.diags(np.asarray(graph.sum(1)).ravel() + screen) - graph
    row, ones = np.arange(len(pairs)), np.ones(len(pairs))
    column = place[pairs].T.ravel()
    across = scipy.sparse.csr_matrix((np.r_[ones, -ones], (np.r_[row, row], column)), (len(pairs), len(used)))
    matrix = (smooth + SEAM_WEIGHT * (across.T @ across)).tocsr()
    found[used] = _solved(matrix, SEAM_WEIGHT * (across.T @ gaps))
    return found


def _solved(matrix: scipy.sparse.csr_matrix, right: Floats) -> Floats:
    """(m, k) x with matrix x = right (m, k), by conjugate gradients.

    The screening bounds the condition by the vertices in FADING_MM, so that a scan of a million vertices takes seconds
    where its factors would take minutes.

    Raises:
        FloatingPointError: it has no solution.
    """
    # compiled loops take long to load
    from mimicme.pipeline.numerics.smooth_field import conjugate_gradients
    from mimicme.pipeline.numerics.sparse_rows import SparseRows

    scale = np.repeat((1 / matrix.diagonal().astype(np.float32))[:, None], right.shape[1], axis=1)
    found, converged = conjugate_gradients(
        SparseRows.of(matrix), lambda x: scale * x, right, np.zeros_like(right), TOLERANCE, MOST_STEPS
    )
    if not converged or not np.isfinite(found).all():
        raise FloatingPointError("the colours of the seams cannot be levelled")
    return found
