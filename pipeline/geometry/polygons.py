"""The polygons that triangles are pieces of: what a file of quads was before its faces were cut into fans."""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Ints


class Rings(NamedTuple):
    """Polygons by their corners.

    Attributes:
        sizes: (p,) corners of each.
        corners: (sizes.sum(),) one polygon's after the other's, in order round it: places in `faces.ravel()`, and in
            `uv_faces.ravel()` alike.
    """

    sizes: NDArray[np.int64]
    corners: NDArray[np.int64]


def rings(faces: Ints, polygons: Ints, uv_faces: Ints | None = None) -> Rings:
    """Polygons of the fans of triangles that they were cut into, wound as the triangles are.

    Where the triangles are no such fans, whichever corner is taken for the first, each is a polygon of its own.

    Args:
        faces: (t, 3).
        polygons: (t,) number of the polygon that each triangle is of; a polygon's follow one another.
        uv_faces: (t, 3) places in the texture; where they differ at a side that two triangles have in common, the
            polygon is cut there.
    """
    joined = np.concatenate([[False], polygons[1:] == polygons[:-1]])
    order = _fans(faces, joined)
    if order is None:
        order, joined = (0, 1, 2), np.zeros(len(faces), bool)
    elif uv_faces is not None:
        joined[1:] &= _alike(uv_faces[1:], uv_faces[:-1], order)
    taken = np.ones((len(faces), 3), bool)
    taken[joined, :2] = (
        False  # the fan's first corner, and the side it has in common with the triangle before
    )
    corners = (3 * np.arange(len(faces))[:, None] + np.array(order))[taken]
    sizes = np.bincount(np.cumsum(~joined) - 1, minlength=0).astype(np.int64) + 2
    if order in ((0, 2, 1), (1, 0, 2), (2, 1, 0)):  # which turn a triangle round
        start = np.repeat(np.cumsum(sizes) - sizes, sizes)
        # the fan's first corner stays the first, so that who cuts the polygon again gets the same triangles
        corners = corners[start + (start - np.arange(len(corners))) % np.repeat(sizes, sizes)]
    return Rings(sizes, corners)


def _fans(faces: Ints, joined: NDArray[np.bool_]) -> tuple[int, ...] | None:
    """The order of a triangle's corners in which those of a polygon are a fan; None: in none."""
    after, before = faces[1:][joined[1:]], faces[:-1][joined[1:]]
    return next((order for order in permutations(range(3)) if _alike(after, before, order).all()), None)


def _alike(after: Ints, before: Ints, order: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether triangles go on with the fan of those before them, corners in that order."""
    first, second, third = order
    return np.asarray((after[:, first] == before[:, first]) & (after[:, second] == before[:, third]))
