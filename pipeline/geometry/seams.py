"""A mesh with one place in the texture for every vertex, as most programs want one.

Where a texture layout has seams, a vertex has several places in it.  The first vertices stay those of the mesh, in its
order, so that numbers of vertices mean the same; what the seams need besides follows behind them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Ints


@dataclass(frozen=True)
class Seamed:
    """Vertices that are once for each of their places in the texture.

    Attributes:
        source: (n',) the mesh's vertex that each is of; the first n are 0 to n - 1.
        uv: (n', 2) in [0, 1], v up; 0 of a vertex that no triangle has.
        faces: (t, 3), the mesh's triangles in its order.
    """

    source: NDArray[np.int64]
    uv: Floats
    faces: Ints


def seamed(faces: Ints, uv: Floats, uv_faces: Ints, n_vertices: int) -> Seamed:
    """The vertices at seams once for each of their places in the texture, in the order that triangles come to them.

    Args:
        faces: (t, 3), of `n_vertices` vertices.
        uv: (m, 2); uv_faces: (t, 3) into `uv`.
    """
    n_uv = max(1, len(uv))
    corner, place = faces.astype(np.int64).ravel(), uv_faces.astype(np.int64).ravel()
    pairs, first, inverse = np.unique(corner * n_uv + place, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    vertex, uv_of = pairs[order] // n_uv, pairs[order] % n_uv
    is_first = np.zeros(len(order), bool)
    is_first[np.unique(vertex, return_index=True)[1]] = True
    number = np.empty(len(order), np.int64)
    number[is_first] = vertex[is_first]
    number[~is_first] = n_vertices + np.arange(int((~is_first).sum()))
    source = np.concatenate([np.arange(n_vertices), vertex[~is_first]])
    of_vertex = np.zeros((len(source), 2))
    of_vertex[number] = uv[uv_of]
    of_pair = np.empty(len(order), np.int64)
    of_pair[order] = number
    return Seamed(source, of_vertex, of_pair[inverse.ravel()].reshape(faces.shape).astype(np.int32))
