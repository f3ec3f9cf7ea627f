"""Loops that numpy cannot fuse, compiled by numba: conjugate gradients for x, y and z over the rows of sparse matrices;
what a scan is like where points were found on it; sums over points that two shapes have in common.

Conjugate gradients are in single precision: what these loops cost is reading memory, and what they find is a correction
to something known in double precision (solver.py).  Their vectors have four columns, x, y, z and zeros, so that a row
is one register (`compiled(abreast=True)`): two thirds of the time, to the last bit the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints, Longs
from mimicme.pipeline.numerics.compiled import compiled
from mimicme.pipeline.numerics.sparse_rows import MATRIX, Columns, Indices, for_both

Single = NDArray[np.float32]


@compiled(*for_both(f"void({MATRIX}, f4[::1], f4[:, ::1])"), abreast=True)
def solve_lower(start: Indices, column: Columns, value: Single, inverse: Single, x: Single) -> None:
    """Solve  L y = x  in place, (n, 4); L is lower triangular, its diagonal's inverse (n,) apart."""
    for i in range(len(inverse)):
        a, b, c, d = x[i, 0], x[i, 1], x[i, 2], x[i, 3]
        for k in range(start[i], start[i + 1]):
            j, v = column[k], value[k]
            a -= v * x[j, 0]
            b -= v * x[j, 1]
            c -= v * x[j, 2]
            d -= v * x[j, 3]
        s = inverse[i]
        x[i, 0] = a * s
        x[i, 1] = b * s
        x[i, 2] = c * s
        x[i, 3] = d * s


@compiled(*for_both(f"void({MATRIX}, f4[::1], f4[:, ::1])"), abreast=True)
def solve_upper(start: Indices, column: Columns, value: Single, inverse: Single, x: Single) -> None:
    """Solve  R y = x  in place, as `solve_lower`; R is upper triangular."""
    for i in range(len(inverse) - 1, -1, -1):
        a, b, c, d = x[i, 0], x[i, 1], x[i, 2], x[i, 3]
        for k in range(start[i], start[i + 1]):
            j, v = column[k], value[k]
            a -= v * x[j, 0]
            b -= v * x[j, 1]
            c -= v * x[j, 2]
            d -= v * x[j, 3]
        s = inverse[i]
        x[i, 0] = a * s
        x[i, 1] = b * s
        x[i, 2] = c * s
        x[i, 3] = d * s


@compiled(
    *for_both(f"f8({MATRIX}, {MATRIX}, f4[::1], u4[::1], f4[::1], f4[:, ::1], f4[:, ::1], f4[:, ::1])"),
    abreast=True,
)
def precondition(
    start: Indices,
    column: Columns,
    value: Single,
    lower_start: Indices,
    lower_column: Columns,
    lower_value: Single,
    inverse: Single,
    order: Indices,
    scale: Single,
    r: Single,
    z: Single,
    work: Single,
) -> float:
    """z = S P^T (L R)^-1 P S r, (n, 4), where P takes the rows `order` (n,) and S is a diagonal, `scale` (n,) in that
    order; r.z.

    L is the transpose of R, by rows of its own: to gather what they need takes less time than to scatter what R's
    columns give, for the same sums in the same order.
    """
    for i in range(len(order)):
        j, s = order[i], scale[i]
        work[i, 0] = s * r[j, 0]
        work[i, 1] = s * r[j, 1]
        work[i, 2] = s * r[j, 2]
        work[i, 3] = s * r[j, 3]
    solve_lower(lower_start, lower_column, lower_value, inverse, work)
    solve_upper(start, column, value, inverse, work)
    product = 0.0
    for i in range(len(order)):
        j, s = order[i], scale[i]
        a, b, c = s * work[i, 0], s * work[i, 1], s * work[i, 2]
        z[j, 0], z[j, 1], z[j, 2], z[j, 3] = a, b, c, np.float32(0)
        product += np.float64(a) * r[j, 0] + np.float64(b) * r[j, 1] + np.float64(c) * r[j, 2]
    return product


@compiled(
    *for_both(f"f8({MATRIX}, f4, f4[:, ::1], f4[::1], f4, {MATRIX}, f4[::1], f4[:, ::1], f4[:, ::1])"),
    abreast=True,
)
def multiply(
    start: Indices,
    column: Columns,
    value: Single,
    stiffness: float,
    normals: Single,
    data: Single,
    tangential: float,
    row_start: Indices,
    row_column: Columns,
    row_value: Single,
    row_weight: Single,
    p: Single,
    q: Single,
) -> float:
    """q = A p, (n, 4), of the normal matrix A of solver.py; p.q.

    Args:
        start, column, value: K; stiffness: its factor.
        normals: (n, 3); data: (n,) weights of the planes; tangential: share of theirs.
        row_start, row_column, row_value: B; row_weight: (l,).
        p: (n, 4); q: (n, 4) that is filled.
    """
    product = 0.0
    for i in range(len(data)):
        a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for k in range(start[i], start[i + 1]):
            j, v = column[k], value[k]
            a += v * p[j, 0]
            b += v * p[j, 1]
            c += v * p[j, 2]
            d += v * p[j, 3]
        q[i, 0] = stiffness * a
        q[i, 1] = stiffness * b
        q[i, 2] = stiffness * c
        q[i, 3] = stiffness * d
        x, y, z = p[i, 0], p[i, 1], p[i, 2]
        along = data[i] * (normals[i, 0] * x + normals[i, 1] * y + normals[i, 2] * z)
        across = data[i] * tangential
        a = q[i, 0] + along * normals[i, 0] + across * x
        b = q[i, 1] + along * normals[i, 1] + across * y
        c = q[i, 2] + along * normals[i, 2] + across * z
        q[i, 0], q[i, 1], q[i, 2] = a, b, c
        product += np.float64(a) * x + np.float64(b) * y + np.float64(c) * z
    for i in range(len(row_weight)):
        w = row_weight[i]
        if w == 0:
            continue
        a, b, c = np.float32(0), np.float32(0), np.float32(0)
        for k in range(row_start[i], row_start[i + 1]):
            j, v = row_column[k], row_value[k]
            a += v * p[j, 0]
            b += v * p[j, 1]
            c += v * p[j, 2]
        product += np.float64(w) * (np.float64(a) * a + np.float64(b) * b + np.float64(c) * c)
        for k in range(row_start[i], row_start[i + 1]):
            j, v = row_column[k], w * row_value[k]
            q[j, 0] += v * a
            q[j, 1] += v * b
            q[j, 2] += v * c
    return product


@compiled(
    *for_both(
        f"Tuple((i8, f8))({MATRIX}, f4, f4[:, ::1], f4[::1], f4, {MATRIX}, f4[::1], {MATRIX}, {MATRIX}, "
        "f4[::1], u4[::1], f4[::1], f4[:, ::1], f4[:, ::1], f8, f8, i8)"
    ),
    abreast=True,
)
def conjugate_gradients(
    start: Indices,
    column: Columns,
    value: Single,
    stiffness: float,
    normals: Single,
    data: Single,
    tangential: float,
    row_start: Indices,
    row_column: Columns,
    row_value: Single,
    row_weight: Single,
    factor_start: Indices,
    factor_column: Columns,
    factor_value: Single,
    lower_start: Indices,
    lower_column: Columns,
    lower_value: Single,
    inverse: Single,
    order: Indices,
    scale: Single,
    x: Single,
    r: Single,
    goal: float,
    fall: float,
    most: int,
) -> tuple[int, float]:
    """Add to x (n, 4) what solves  A dx = r, in `most` iterations at most; r becomes the residual.

    It ends when r.M^-1 r has come down to `goal`, or to the share `fall` of what it was.  The first arguments are those
    of `multiply`, those from `factor_start` on of `precondition`.

    Returns:
        The number of iterations; r.M^-1 r.
    """
    n = len(data)
    z, q, work = np.empty((n, 4), np.float32), np.empty((n, 4), np.float32), np.empty((n, 4), np.float32)
    square = precondition(
        factor_start, factor_column, factor_value, lower_start, lower_column, lower_value,
        inverse, order, scale, r, z, work,
    )  # fmt: skip
    p = z.copy()
    all_x, all_r, all_p, all_q, all_z = x.ravel(), r.ravel(), p.ravel(), q.ravel(), z.ravel()
    goal = max(goal, fall * square)
    done = 0
    while done < most and square > goal:
        curvature = multiply(
            start, column, value, stiffness, normals, data, tangential,
            row_start, row_column, row_value, row_weight, p, q,
        )  # fmt: skip
        if not curvature > 0:
            break
        step = np.float32(square / curvature)
        for i in range(4 * n):
            all_x[i] += step * all_p[i]
            all_r[i] -= step * all_q[i]
        before = square
        square = precondition(
            factor_start, factor_column, factor_value, lower_start, lower_column, lower_value,
            inverse, order, scale, r, z, work,
        )  # fmt: skip
        share = np.float32(square / before)
        for i in range(4 * n):
            all_p[i] = all_z[i] + share * all_p[i]
        done += 1
    return done, square


@compiled("void(f8[:, ::1], f8[:, ::1], f8[:, ::1], f8[::1], f8, f8[:, ::1])")
def pull_of_planes(
    points: Floats, rest: Floats, normals: Floats, data: Floats, tangential: float, pull: Floats
) -> None:
    """Fill what the planes of solver.py give the right-hand side (n, 3), as `multiply` names them, in double precision.

    Args:
        points, rest: (n, 3) mm.
    """
    for i in range(len(data)):
        x, y, z = points[i, 0] - rest[i, 0], points[i, 1] - rest[i, 1], points[i, 2] - rest[i, 2]
        along = x * normals[i, 0] + y * normals[i, 1] + z * normals[i, 2]
        pull[i, 0] = data[i] * (along * normals[i, 0] + tangential * x)
        pull[i, 1] = data[i] * (along * normals[i, 1] + tangential * y)
        pull[i, 2] = data[i] * (along * normals[i, 2] + tangential * z)


EXACT = "u4[::1], {}[::1], f8[::1], f8, f8[:, ::1], f8[::1], f8, f8[:, ::1], f8[:, ::1]"


@compiled(*(f"void({EXACT.format(column)})" for column in ("u4", "u2")))
def product_of_planes(
    start: Indices,
    column: Columns,
    value: Floats,
    stiffness: float,
    normals: Floats,
    data: Floats,
    tangential: float,
    d: Floats,
    product: Floats,
) -> None:
    """Fill the product (n, 3) of `multiply` with d (n, 3), without its rows B, in double precision."""
    for i in range(len(data)):
        a, b, c = 0.0, 0.0, 0.0
        for k in range(start[i], start[i + 1]):
            j, v = column[k], value[k]
            a += v * d[j, 0]
            b += v * d[j, 1]
            c += v * d[j, 2]
        # x and z first, as numpy's einsum has it where two numbers fill a register
        along = d[i, 0] * normals[i, 0] + d[i, 2] * normals[i, 2] + d[i, 1] * normals[i, 1]
        across = tangential * data[i]
        product[i, 0] = stiffness * a + along * (data[i] * normals[i, 0]) + across * d[i, 0]
        product[i, 1] = stiffness * b + along * (data[i] * normals[i, 1]) + across * d[i, 1]
        product[i, 2] = stiffness * c + along * (data[i] * normals[i, 2]) + across * d[i, 2]


@compiled("void(i8[::1], f8[:, ::1], i4[:, ::1], f8[:, ::1], b1[::1], f8[:, ::1], b1[::1])")
def describe(
    triangles: Longs,
    weights: Floats,
    faces: Ints,
    normals: Floats,
    boundary: Bools,
    found: Floats,
    on_boundary: Bools,
) -> None:
    """Fill the unit normals `found` (k, 3) of places on a mesh, 0 where there is none, and which of them lie on its
    boundary (k,).

    Args:
        triangles, weights: (k,) -1 where there is none, and (k, 3), of the places.
        faces: (t, 3); normals: (n, 3) of its vertices; boundary: (n,).
    """
    for q in range(len(triangles)):
        found[q, 0], found[q, 1], found[q, 2] = 0.0, 0.0, 0.0
        on_boundary[q] = False
        if triangles[q] < 0:
            continue
        for c in range(3):
            i, w = faces[triangles[q], c], weights[q, c]
            for x in range(3):
                found[q, x] += w * normals[i, x]
            if boundary[i] and w > 0.01:
                on_boundary[q] = True
        x, y, z = found[q, 0], found[q, 1], found[q, 2]
        length = max(np.sqrt(x * x + y * y + z * z), 1e-12)
        found[q, 0], found[q, 1], found[q, 2] = x / length, y / length, z / length


@compiled("f8(f8[:, ::1], f8[:, ::1], f8[::1], f8[:, ::1], f8, f8[:, ::1])")
def robust_moments(
    source: Floats, target: Floats, prior: Floats, motion: Floats, scale: float, moments: Floats
) -> float:
    """Sums over pairs of points that tell the rigid motion between them, weighted by Geman and McClure's function.

    Args:
        source, target: (k, 3); prior: (k,) weights; motion: (4, 4) that residuals are taken of; scale: of residuals.
        moments: (5, 3) that is filled: the weighted sums of source and of target, and of target times source.

    Returns:
        The sum of the weights.
    """
    moments[:] = 0.0
    total = 0.0
    for q in range(len(source)):
        square = 0.0
        for x in range(3):
            off = motion[x, 3] - target[q, x]
            for y in range(3):
                off += motion[x, y] * source[q, y]
            square += off * off
        weight = prior[q] / (1 + square / (scale * scale)) ** 2
        total += weight
        for x in range(3):
            moments[0, x] += weight * source[q, x]
            moments[1, x] += weight * target[q, x]
            for y in range(3):
                moments[2 + x, y] += weight * target[q, x] * source[q, y]
    return total
