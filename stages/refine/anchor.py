"""The subject's reference: where on the neutral's skin the template's vertices lie, by all that is known of it.

Making every frame agree with one registered neutral would hand that neutral's own errors - its landmarks', its
fit's - to all of them.  But every calm frame of the subject's sequences is a registration of the same skin with
errors of its own, and the flow says where on the neutral's skin each of them put every vertex.  The reference is the
robust mean of these places.
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.mesh import Floats

SPREAD_MM = 0.6
"""Distance from the middle at which a frame's word counts half."""
ROUNDS = 5


def calmest(vertices: Floats, neutral: Floats, rows: list[int], count: int) -> list[int]:
    """The `count` of `rows` whose registered shape (F, V, 3) is nearest to the neutral (V, 3), calmest first."""
    distance = {row: float(np.linalg.norm(vertices[row] - neutral, axis=1).mean()) for row in rows}
    return sorted(rows, key=lambda row: (distance[row], row))[:count]


def agreed(offsets: Floats) -> Floats:
    """(V, 3) robust mean of offsets (F, V, 3): a frame that disagrees at a vertex has less of a say there.

    The median vertex by vertex, then iteratively reweighted means with 1 / (1 + (r / SPREAD_MM)^2).
    """
    middle = np.median(offsets, axis=0)
    for _ in range(ROUNDS):
        squared = ((offsets - middle) ** 2).sum(axis=2, keepdims=True)
        weight = 1 / (1 + squared / SPREAD_MM**2)
        middle = (weight * offsets).sum(axis=0) / weight.sum(axis=0)
    return np.asarray(middle, np.float64)
