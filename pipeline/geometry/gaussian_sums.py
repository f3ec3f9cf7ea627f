"""Sums over what lies around places, weighted by a Gaussian of the distance; compiled."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints, Longs
from mimicme.pipeline.numerics.compiled import compiled

MOST_CELLS = 1_000_000
"""Of places that are spread over more the cells are wider."""


def gaussian_sums(places: Floats, values: Floats, width: float, reach: float) -> Floats:
    """(n, 3) sums of values (n, 3) over the places (n, 3) within a distance of each, its own among them.

    Args:
        places: finite.
        width: standard deviation; reach: what lies further counts nothing; both in the places' unit.
    """
    out = np.array(values, np.float64)
    if not len(places):
        return out
    low = places.min(axis=0)
    side = reach
    while True:
        cells = ((places - low) / side).astype(np.int32)
        shape = cells.max(axis=0).astype(np.int64) + 1
        if shape.prod() <= MOST_CELLS:
            break
        side *= 2.0
    key = (cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]
    order = np.argsort(key, kind="stable")
    start = np.zeros(int(shape.prod()) + 1, np.int32)
    start[1:] = np.cumsum(np.bincount(key, minlength=len(start) - 1))
    sums = np.ascontiguousarray(out[order])
    near = np.ascontiguousarray(places[order], np.float64)
    _add_around(near, sums.copy(), np.ascontiguousarray(cells[order]), shape, start, width, reach, sums)
    out[order] = sums
    return out


@compiled("void(f8[:, ::1], f8[:, ::1], i4[:, ::1], i8[::1], i4[::1], f8, f8, f8[:, ::1])")
def _add_around(
    places: Floats,
    values: Floats,
    cells: Ints,
    shape: Longs,
    start: Ints,
    width: float,
    reach: float,
    sums: Floats,
) -> None:
    """Add to sums (n, 3) the values of the others, of places sorted by cell; start: where each cell's begin."""
    for p in range(len(places)):
        x, y, z = places[p, 0], places[p, 1], places[p, 2]
        for i in range(cells[p, 0], min(cells[p, 0] + 2, shape[0])):
            for j in range(max(cells[p, 1] - 1, 0), min(cells[p, 1] + 2, shape[1])):
                row = (i * shape[1] + j) * shape[2]
                k_low, k_high = max(cells[p, 2] - 1, 0), min(cells[p, 2] + 2, shape[2])
                # each pair once: of the cells before this one its places have been to this one
                for q in range(max(start[row + k_low], p + 1), start[row + k_high]):
                    dx, dy, dz = places[q, 0] - x, places[q, 1] - y, places[q, 2] - z
                    square = dx * dx + dy * dy + dz * dz
                    if square > reach * reach:
                        continue
                    weight = np.exp(-square / (2 * width * width))
                    for m in range(3):
                        sums[p, m] += weight * values[q, m]
                        sums[q, m] += weight * values[p, m]
