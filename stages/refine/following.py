"""Loops over the texture coordinates of a layout: what a flow says at each, and where on the mesh that leads."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats, Ints, Singles
from mimicme.pipeline.numerics.compiled import compiled


@compiled("void(f4[:, :, ::1], f4[:, ::1], f4[::1], f4[::1], b1[::1], f8[::1], f8[:, ::1])")
def read_flow(
    shift: Singles,
    confidence: Singles,
    columns: Singles,
    rows: Singles,
    used: Bools,
    sure: Floats,
    found: Floats,
) -> None:
    """Fill what a flow's shift (h, w, 2) and confidence (h, w) are at places (n,) that are used, interpolated
    bilinearly: confidence (n,) and shift (n, 2).  To be sure of a texel is to be sure of its flow: the shifts are
    weighted with the confidence."""
    height, width = confidence.shape
    for n in range(len(columns)):
        x = min(max(np.float64(columns[n]), 0.0), width - 1.001)
        y = min(max(np.float64(rows[n]), 0.0), height - 1.001)
        i, j = np.int64(x), np.int64(y)
        fx, fy = x - i, y - j
        total, across, down = 0.0, 0.0, 0.0
        for r in range(2):
            for c in range(2):
                weight = (fx if c else 1 - fx) * (fy if r else 1 - fy) * confidence[j + r, i + c]
                total += weight
                across += weight * shift[j + r, i + c, 0]
                down += weight * shift[j + r, i + c, 1]
        sure[n] = total if used[n] else 0.0
        least = max(sure[n], 1e-6)
        found[n, 0], found[n, 1] = across / least, down / least


@compiled("void(f8[:, ::1], i4[:, ::1], f8[:, :, ::1], f8[:, ::1])")
def jacobians(vertices: Floats, faces: Ints, inverse: Floats, found: Floats) -> None:
    """Fill the change of place (t, 6) on each triangle of a mesh (V, 3) by column and row of its layout, of x, y and z
    one after the other; inverse: (t, 2, 2) of the triangle's edges in the layout."""
    for t in range(len(faces)):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        for x in range(3):
            u, v = vertices[b, x] - vertices[a, x], vertices[c, x] - vertices[a, x]
            found[t, 2 * x] = u * inverse[t, 0, 0] + v * inverse[t, 1, 0]
            found[t, 2 * x + 1] = u * inverse[t, 0, 1] + v * inverse[t, 1, 1]


@compiled("void(f8[:, ::1], f8[:, ::1], f8[:, ::1])")
def carry(jacobian: Floats, shift: Floats, found: Floats) -> None:
    """Fill the ways on the mesh (n, 3) of shifts (n, 2) in the layout; jacobian: (n, 6) of `jacobians`."""
    for n in range(len(shift)):
        for x in range(3):
            found[n, x] = jacobian[n, 2 * x] * shift[n, 0] + jacobian[n, 2 * x + 1] * shift[n, 1]
