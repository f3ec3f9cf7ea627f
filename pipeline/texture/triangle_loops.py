"""Loops over the triangles of a scan, and of a mesh whose texture is made of it, compiled; the latter in single
precision, as numpy would do it."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats, Ints, Longs, Singles
from mimicme.pipeline.formats.image import Pixels
from mimicme.pipeline.geometry.normals import sides
from mimicme.pipeline.numerics.compiled import compiled


@compiled("void(f4[:, ::1], i4[:, ::1], f4[:, ::1], f4[:, :, ::1], f4[:, :, ::1], f4[::1])")
def gather_corners(
    vertices: Singles, faces: Ints, normals: Singles, corners: Singles, at_corners: Singles, longest: Singles
) -> None:
    """Fill the places and the normals of the corners (t, 3, 3) of triangles, of vertices (V, 3) and their normals (V,
    3); and the longest edge of each (t,), not a number where a corner is not one."""
    for t in range(len(faces)):
        for c in range(3):
            i = faces[t, c]
            for x in range(3):
                corners[t, c, x] = vertices[i, x]
                at_corners[t, c, x] = normals[i, x]
        most = np.float32(0)
        for c in range(3):
            d = c + 1 if c < 2 else 0
            x = corners[t, c, 0] - corners[t, d, 0]
            y = corners[t, c, 1] - corners[t, d, 1]
            z = corners[t, c, 2] - corners[t, d, 2]
            square = x * x + y * y + z * z
            if square > most or np.isnan(square):
                most = square
            if np.isnan(most):
                break
        longest[t] = np.sqrt(most)


@compiled(
    "void(i4[:, ::1], f4[::1], f8[::1], b1[::1], f4[::1], f8, f4, f4, b1[::1], b1[::1], f4[::1], f4[::1], b1[::1])"
)
def depths_of_triangles(
    faces: Ints,
    depth: Singles,
    off: Floats,
    beyond: Bools,
    longest: Singles,
    far: float,
    small: float,
    spread: float,
    unreachable: Bools,
    all_beyond: Bools,
    low: Singles,
    high: Singles,
    sure: Bools,
) -> None:
    """Fill what the corners of each triangle (t,) tell of it: that it has nothing within reach, that all lie beyond the
    scan's boundary and it is small; their least and largest depth, not a number where one has none; and that these
    differ by no more than `spread`.

    Args:
        depth, off, beyond: (V,) of the vertices, mm: depth of the scan, not a number where there is none; distance to
            the scan of those without depth; whether they are nearest to its boundary.
        longest: (t,) edges; far: reach, mm; small: longest edge of a small triangle.
    """
    for t in range(len(faces)):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        limit = far + np.float64(longest[t])
        unreachable[t] = not (off[a] <= limit and off[b] <= limit and off[c] <= limit)
        all_beyond[t] = beyond[a] and beyond[b] and beyond[c] and longest[t] <= small
        p, q, r = depth[a], depth[b], depth[c]
        if np.isnan(p) or np.isnan(q) or np.isnan(r):
            low[t], high[t], sure[t] = np.nan, np.nan, False
        else:
            low[t], high[t] = min(p, q, r), max(p, q, r)
            sure[t] = high[t] - low[t] <= spread


@compiled(
    "void(i4[:, ::1], b1[::1], b1[::1], f4[::1], f4, f4[:, :, ::1], f4[:, :, ::1], f4[:, ::1], f4[::1], i4[::1], "
    "f4[::1], f4, f4, f4, b1[::1])"
)
def plain_triangles(
    faces: Ints,
    sound: Bools,
    sure: Bools,
    longest: Singles,
    small: float,
    corners: Singles,
    normals: Singles,
    pixels: Singles,
    depth: Singles,
    chart: Ints,
    scale: Singles,
    stretch: float,
    slack: float,
    bend: float,
    plain: Bools,
) -> None:
    """Fill which triangles (t,) are small and flat, their corners sound and near to each other in one photograph.

    Args:
        sound: (V,) which vertices have a place of their own in the photograph; pixels: (V, 2) that place; depth, chart,
            scale: (V,) there.
        sure, longest: (t,) of `depths_of_triangles`; corners, normals: (t, 3, 3) of `gather_corners`.
        small: mm; stretch, slack: corners are no farther apart in the photograph than so many times what its scale
            says, and so many pixels; bend: most of an edge's length, mm, times the turn of the normal along it.
    """
    zero, two = np.float32(0), np.float32(2)
    for t in range(len(faces)):
        i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
        good = sound[i] and sound[j] and sound[k] and sure[t] and longest[t] <= small
        good = good and chart[i] == chart[j] and chart[j] == chart[k]
        c = 0
        while good and c < 3:
            d = c + 1 if c < 2 else 0
            a, b = faces[t, c], faces[t, d]
            square, turn = zero, zero
            for x in range(3):
                step = corners[t, c, x] - corners[t, d, x]
                square += step * step
                turn += normals[t, c, x] * normals[t, d, x]
            apart = np.sqrt(square)
            reach = apart + abs(depth[a] - depth[b])
            limit = stretch * max(scale[a], scale[b]) * reach + slack
            across, down = pixels[a, 0] - pixels[b, 0], pixels[a, 1] - pixels[b, 1]
            good = across * across + down * down <= limit * limit
            good = good and apart * np.sqrt(max(two - two * turn, zero)) <= bend
            c += 1
        plain[t] = good


@compiled("void(f4[:, :, ::1], f4[:, :, ::1], f4[:, :, ::1])")
def matrix_products(a: Singles, b: Singles, out: Singles) -> None:
    """Fill the matrix products (t, n, 2) of (t, n, 2) and (t, 2, 2); 0 where they are no finite number."""
    for t in range(len(a)):
        for row in range(a.shape[1]):
            for column in range(2):
                value = a[t, row, 0] * b[t, 0, column] + a[t, row, 1] * b[t, 1, column]
                out[t, row, column] = value if np.isfinite(value) else np.float32(0)


@compiled("void(f4[:, :, ::1], f4, f4, i8, i8, i8[::1])")
def levels_and_samples(
    j: Singles, pixels: float, reduced: float, most_level: int, most_samples: int, found: Longs
) -> None:
    """Fill the level of the image pyramid times `most_samples` + 1, plus the samples a side, of footprints (k, 2, 2).

    Args:
        pixels: of a footprint that one sample stands for; reduced: longest footprint, pixels, of a level.
    """
    zero, one, two, four = np.float32(0), np.float32(1), np.float32(2), np.float32(4)
    for k in range(len(j)):
        a, b, c, d = j[k, 0, 0], j[k, 0, 1], j[k, 1, 0], j[k, 1, 1]
        trace, det = a * a + b * b + c * c + d * d, a * d - b * c
        longest = np.sqrt((trace + np.sqrt(max(trace * trace - four * det * det, zero))) / two)
        level, size = 0, one
        while size * reduced < longest and level < most_level:
            level += 1
            size *= two
        samples = int(np.ceil(np.float64(longest / pixels) / size - 0.25))
        found[k] = level * (most_samples + 1) + min(max(samples, 1), most_samples)


@compiled("void(i4[:, ::1], i4[:, ::1], f8[:, ::1], u1[:, :, ::1], f4[:, ::1])")
def colors_of_vertices(faces: Ints, uv_faces: Ints, uv: Floats, pixels: Pixels, colors: Singles) -> None:
    """Fill the colours (n, 3) of the vertices that have a place in an image (h, w, 3), as the last of their triangles
    (t, 3) has it: just inside that triangle, for what lies beyond its edge may be another photograph's.

    Args:
        uv: (m, 2) in [0, 1], v up, not a number where a triangle has no place; uv_faces: (t, 3).
    """
    height, width = pixels.shape[0], pixels.shape[1]
    for t in range(len(faces)):
        a, b, c = uv_faces[t, 0], uv_faces[t, 1], uv_faces[t, 2]
        middle_x = (width * uv[a, 0] + width * uv[b, 0] + width * uv[c, 0]) / 3
        middle_y = (height * (1 - uv[a, 1]) + height * (1 - uv[b, 1]) + height * (1 - uv[c, 1])) / 3
        for k in range(3):
            x, y = width * uv[uv_faces[t, k], 0], height * (1 - uv[uv_faces[t, k], 1])
            if not np.isfinite(x + y):
                continue
            inwards_x, inwards_y = middle_x - x, middle_y - y
            length = np.sqrt(inwards_x * inwards_x + inwards_y * inwards_y)
            if not np.isfinite(length):
                continue
            step = min(1.0, 0.01 / max(length, 1e-9))
            # rounding is not to choose between two texels at whose border a vertex lies
            column = np.int64(min(max(x + step * inwards_x + 1e-6, 0.0), width - 1.0))
            row = np.int64(min(max(y + step * inwards_y + 1e-6, 0.0), height - 1.0))
            for channel in range(3):
                colors[faces[t, k], channel] = pixels[row, column, channel]


@compiled("void(f8[:, ::1], i4[:, ::1], f4[:, :, ::1], f4[:, :, ::1], f4[:, :, ::1], f4[::1], f4[::1])")
def view_of_triangles(
    vertices: Floats,
    faces: Ints,
    pixels: Singles,
    edge: Singles,
    pixel_per_mm: Singles,
    ratio: Singles,
    scale: Singles,
) -> None:
    """Fill how the triangles (t, 3) of a scan (n, 3), mm, lie in its image, where their corners are at `pixels` (t, 3,
    2): their edges there (t, 2, 2), the change of place in the image (t, 2, 3) along the triangle, 0 where that is no
    finite number, and its smaller stretch over the larger (t,), and the larger (t,)."""
    two, four, zero, least = np.float32(2), np.float32(4), np.float32(0), np.float32(1e-30)
    for t in range(len(faces)):
        ax, ay, az, bx, by, bz = sides(vertices, faces, t)
        aa, ab, bb = ax * ax + ay * ay + az * az, ax * bx + ay * by + az * bz, bx * bx + by * by + bz * bz
        det = aa * bb - ab * ab
        # pseudo-inverse of the triangle's edges
        cx, cy, cz = (bb * ax - ab * bx) / det, (bb * ay - ab * by) / det, (bb * az - ab * bz) / det
        dx, dy, dz = (aa * bx - ab * ax) / det, (aa * by - ab * ay) / det, (aa * bz - ab * az) / det
        for x in range(2):
            edge[t, x, 0] = pixels[t, 1, x] - pixels[t, 0, x]
            edge[t, x, 1] = pixels[t, 2, x] - pixels[t, 0, x]
            u, v = np.float64(edge[t, x, 0]), np.float64(edge[t, x, 1])
            px, py, pz = u * cx + v * dx, u * cy + v * dy, u * cz + v * dz
            pixel_per_mm[t, x, 0] = px if np.isfinite(px) else 0.0
            pixel_per_mm[t, x, 1] = py if np.isfinite(py) else 0.0
            pixel_per_mm[t, x, 2] = pz if np.isfinite(pz) else 0.0
        rr, rd, dd = zero, zero, zero
        for x in range(3):
            rr += pixel_per_mm[t, 0, x] * pixel_per_mm[t, 0, x]
            rd += pixel_per_mm[t, 0, x] * pixel_per_mm[t, 1, x]
            dd += pixel_per_mm[t, 1, x] * pixel_per_mm[t, 1, x]
        root = np.sqrt((rr - dd) * (rr - dd) + four * rd * rd)
        ratio[t] = np.sqrt(max(rr + dd - root, zero) / max(rr + dd + root, least))
        scale[t] = np.sqrt((rr + dd + root) / two)
