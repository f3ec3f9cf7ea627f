"""Closed eyes: the lids of the mesh meet, and what the template shows between them folds away behind.

Between its open lids a template has a patch of eyeball.  When the lids are closed the scan has skin there, as smooth
and as near as theirs: left alone, the patch lies down on it, holds them apart, and the crease is printed on the patch.
So while an eye is closed, which its landmarks tell, the patch gives way (it is soft, and lies behind the scan by its
own distance to the lids), and the two rims attract each other.  While it is open nothing of this happens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import edges
from mimicme.pipeline.landmarks import GROUPS
from mimicme.stages.register.stiffness import affine_stiffness

EYES = ("right_eye", "left_eye")
RIM_MM = 0.4
"""How far inside the lids' landmarks the patch begins: they are a polygon, and the lid has a thickness."""
SOFT = 0.03
"""Stiffness of the patch behind closed lids, in its own."""
LEAST_VERTICES = 8
"""A patch of fewer vertices is none: the template is too coarse for lids that fold, or has holes for eyes."""
GAP_MM = 0.15


@dataclass(frozen=True)
class Eye:
    """What a level shows between the lids of one eye.

    Attributes:
        patch: (k,) its vertices; behind: (k,) mm, how far from the lids they lie at rest.
        stiffness: (n, n), the part of the level's stiffness that is theirs.
    """

    patch: NDArray[np.int64]
    behind: Floats
    stiffness: sparse.csr_matrix


@dataclass(frozen=True)
class Rims:
    """The lids' rims of one eye of a template: `rows` (k, V), each a point of the upper less its like of the lower, and
    the areas (k,) that they stand for, mm^2."""

    rows: sparse.csr_matrix
    areas: Floats


def patches(vertices: Floats, landmarks: Floats) -> tuple[Bools, Bools]:
    """(V,) twice, of the right and of the left eye: True on what a template shows between the lids.

    Args:
        vertices: (V, 3) template, mm, canonical frame; landmarks: (68, 3) on it.
    """
    from matplotlib.path import Path

    found = []
    for eye in EYES:
        rim = landmarks[GROUPS[eye]]
        middle, width = rim.mean(axis=0), float(np.linalg.norm(rim[3] - rim[0]))
        away = np.linalg.norm(rim - middle, axis=1, keepdims=True)
        inside = middle + (rim - middle) * np.maximum(1 - RIM_MM / np.maximum(away, 1e-9), 0)
        near = np.linalg.norm(vertices - middle, axis=1) < width
        found.append(near & Path(inside[:, :2]).contains_points(vertices[:, :2]))
    return found[0], found[1]


def find_eye(vertices: Floats, faces: Ints, patch: Bools, membrane: float) -> Eye | None:
    """An eye of a level at rest, vertices (n, 3), `patch` (n,) of it; None where the patch is too small."""
    mine = np.flatnonzero(patch)
    if len(mine) < LEAST_VERTICES:
        return None
    pairs = edges(faces)[0]
    beside = np.unique(pairs[patch[pairs].any(axis=1) & ~patch[pairs].all(axis=1)])
    rim = beside[~patch[beside]]
    behind = np.linalg.norm(vertices[mine][:, None] - vertices[rim], axis=2).min(axis=1)
    touched = patch[faces].any(axis=1)
    bending = affine_stiffness(vertices, faces[touched], factor=patch.astype(float))
    inner = pairs[patch[pairs].any(axis=1)]
    graph = sparse.coo_matrix((np.ones(len(inner)), (inner[:, 0], inner[:, 1])), shape=(len(vertices),) * 2)
    graph = (graph + graph.T).tocsr()
    stretching = sparse.diags(np.asarray(graph.sum(axis=1)).ravel()) - graph
    return Eye(mine, behind, (bending + membrane * stretching).tocsr())


def find_rims(
    vertices: Floats, faces: Ints, areas: Floats, landmarks: Floats, eye: str, patch: Bools
) -> Rims | None:
    """The rims of an eye, see `Rims`; None where a patch (V,) is too small or the two lids cannot be told apart."""
    if patch.sum() < LEAST_VERTICES:
        return None
    pairs = edges(faces)[0]
    crossing = pairs[patch[pairs].any(axis=1) & ~patch[pairs].all(axis=1)]
    rim = np.unique(crossing[~patch[crossing]])
    points = landmarks[GROUPS[eye]]
    along = points[3] - points[0]
    width = float(np.linalg.norm(along))
    along /= width
    place = (vertices[rim] - points[0]) @ along / width
    # above or below the line from corner to corner, bent as the lids are
    middle = (points[[1, 2]].mean(axis=0) + points[[5, 4]].mean(axis=0)) / 2
    bend = middle - (points[0] + points[3]) / 2
    height = vertices[rim] - points[0] - place[:, None] * width * along
    upper = (height - 4 * (place * (1 - place))[:, None] * bend)[:, 1] > 0
    between = (place > 0) & (place < 1)
    above, below = np.flatnonzero(upper & between), np.flatnonzero(~upper & between)
    if min(len(above), len(below)) < 3:
        return None
    below = below[np.argsort(place[below], kind="stable")]
    after = np.clip(np.searchsorted(place[below], place[above]), 1, len(below) - 1)
    first, second = below[after - 1], below[after]
    span = np.maximum(place[second] - place[first], 1e-9)
    share = np.clip((place[above] - place[first]) / span, 0, 1)
    count = np.arange(len(above))
    rows = sparse.csr_matrix(
        (
            np.concatenate([np.ones(len(above)), share - 1, -share]),
            (np.concatenate([count] * 3), np.concatenate([rim[above], rim[first], rim[second]])),
        ),
        shape=(len(above), len(vertices)),
    )
    return Rims(rows, areas[rim[above]])
