"""On which lip of a template the landmarks of its inner lips lie.

Where the lips of a template touch, or nearly do, the closest surface to a point of one may be the other's.  Such a
landmark would draw a flap of that lip across every mouth that opens.  Along the surface the two are far apart: the way
from one to the other leads round a corner of the mouth.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats, Ints, Longs
from mimicme.pipeline.geometry.mesh import edges

OUTER_UPPER, OUTER_LOWER = slice(49, 54), slice(55, 60)
"""Landmarks (iBUG-68) on the outer rims, without the corners."""
INNER_UPPER, INNER_LOWER = (61, 62, 63), (65, 66, 67)
FARTHER = 2.0
"""A point lies on the other lip when the way to its own is so many times as long.  In lips that are one piece the two
ways are of one length about; on the embedded template's point 66 it is 5 times as long, on the others a quarter."""
REACH = 1.5
"""Places farther from a lip, along the surface, than so many times the distance of the eyes are no lip's."""


def points_on_other_lip(
    vertices: Floats, faces: Ints, corners: Longs, eye_distance: float
) -> list[tuple[int, Bools]]:
    """Landmarks of the inner lips that lie on the other lip, and (t,) the triangles of their own.

    Args:
        vertices: (V, 3); faces: (t, 3) of the skin; corners: (68, 3) of the triangles that the landmarks lie in.
        eye_distance: in the unit of the vertices.
    """
    to_upper, to_lower = (
        _way(vertices, faces, np.unique(corners[rim]), REACH * eye_distance)
        for rim in (OUTER_UPPER, OUTER_LOWER)
    )
    found = []
    for inner, own, other in ((INNER_UPPER, to_upper, to_lower), (INNER_LOWER, to_lower, to_upper)):
        mine = np.asarray((own < other)[faces].all(axis=1), bool)
        if mine.any():
            found += [(k, mine) for k in inner if own[corners[k]].min() > FARTHER * other[corners[k]].min()]
    return found


def _way(vertices: Floats, faces: Ints, start: Longs, limit: float) -> Floats:
    """(V,) length of the way along edges to the nearest of the vertices `start`; infinite beyond the limit."""
    from scipy.sparse.csgraph import dijkstra

    pairs = edges(faces)[0]
    # a csgraph has no edges of length 0
    length = np.maximum(np.linalg.norm(vertices[pairs[:, 0]] - vertices[pairs[:, 1]], axis=1), 1e-9)
    graph = sparse.csr_matrix((length, (pairs[:, 0], pairs[:, 1])), shape=(len(vertices),) * 2)
    return np.asarray(dijkstra(graph, directed=False, indices=start, min_only=True, limit=limit))
