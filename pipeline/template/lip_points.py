"""On which lip of a template the landmarks of its inner lips lie.

Where the lips of a template touch, or nearly do, the closest surface to a point of one may be the other's.  Such a
landmark would draw a flap of that lip across every mouth that opens.  Along the surface the two are far apart: the way
from one to the other leads round a corner of the mouth.  In lips that are one piece there is no such way, and nothing
to mend.
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats, Ints, Longs
from mimicme.pipeline.geometry.mesh import edges

OUTER_UPPER, OUTER_LOWER = slice(49, 54), slice(55, 60)
"""Landmarks (iBUG-68) on the outer rims, without the corners."""
INNER_UPPER, INNER_LOWER = (61, 62, 63), (65, 66, 67)
FARTHER = 2.0
"""A point lies on the other lip when the way to its own is so many times as long as to that: on the embedded template's
point 66 it is 5 times as long, on the others a quarter.  So it is as well in lips of one piece of which one is thin."""
DETOUR = 1.8
"""And when that way is so many times as long as the straight one, because it leads round a slit: 2.0 to 3.8 times from
a lip to the other's rim, on the embedded template and a head whose mouth is cut; over skin 1.0 to 1.3 times."""
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
    found: list[tuple[int, Bools]] = []
    for inner, own, other in ((INNER_UPPER, to_upper, to_lower), (INNER_LOWER, to_lower, to_upper)):
        mine: Bools = np.all((own < other)[faces], axis=1)
        if not mine.any():
            continue
        rim = vertices[own == 0]
        for k in inner:
            way = own[corners[k]]
            nearest = int(way.argmin())
            straight = np.linalg.norm(rim - vertices[corners[k][nearest]], axis=1).min()
            if way[nearest] > max(FARTHER * other[corners[k]].min(), DETOUR * straight):
                found.append((k, mine))
    return found


def _way(vertices: Floats, faces: Ints, start: Longs, limit: float) -> Floats:
    """(V,) length of the way along edges to the nearest of the vertices `start`; infinite beyond the limit."""
    from scipy import sparse  # not at the top: this module comes along wherever a workspace is told of
    from scipy.sparse.csgraph import dijkstra

    pairs = edges(faces)[0]
    # a csgraph has no edges of length 0
    length = np.maximum(np.linalg.norm(vertices[pairs[:, 0]] - vertices[pairs[:, 1]], axis=1), 1e-9)
    graph = sparse.csr_matrix((length, (pairs[:, 0], pairs[:, 1])), shape=(len(vertices),) * 2)
    return np.asarray(dijkstra(graph, directed=False, indices=start, min_only=True, limit=limit))
