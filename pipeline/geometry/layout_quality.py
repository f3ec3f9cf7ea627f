"""What a texture layout does to the surface: distortion, flips, overlaps, use of the square."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csgraph

from mimicme.pipeline.arrays import Floats, Ints, Longs
from mimicme.pipeline.geometry.mesh import adjacency, edges, triangle_normals

# triangles flatter than this (height over longest side) are laid out as if they were this high
MIN_HEIGHT = 1e-3


class Quality(NamedTuple):
    """What a layout does to the surface.

    Attributes:
        charts: separate pieces.
        flipped: triangles turned over (or without area, though the mesh's has one).
        crossings: pairs of chart border edges that cross: zero together with no flips means no overlap.
        angle: mean and 95th percentile over the surface of the ratio of the two stretches; 1: angles kept.
        area: 5th and 95th percentile over the surface of texture area per surface area, against its median.
        filled: share of the square that is covered.
    """

    charts: int
    flipped: int
    crossings: int
    angle: tuple[float, float]
    area: tuple[float, float]
    filled: float

    def __str__(self) -> str:
        return (
            f"{self.charts} chart(s), {self.flipped} flipped triangles, {self.crossings} border crossings, "
            f"stretch ratio mean {self.angle[0]:.3f} p95 {self.angle[1]:.3f}, "
            f"area per area p5 {self.area[0]:.2f} p95 {self.area[1]:.2f} of the median, "
            f"{100 * self.filled:.0f} % of the square used"
        )


def measure(vertices: Floats, faces: Ints, uv: Floats, uv_faces: Ints) -> Quality:
    """Measure a layout; `vertices` (V, 3), `faces` (T, 3), `uv` (N, 2), `uv_faces` (T, 3)."""
    _, surface = triangle_normals(vertices, faces)
    flat = signed_areas(uv, uv_faces)
    real = surface > 1e-9 * max(float(surface.max()), 1e-300)
    flipped = int((real & (flat <= 0)).sum())
    good = real & (flat > 0)
    rest, _ = rest_shapes(vertices[faces[good]], np.ones(int(good.sum())))
    c = uv[uv_faces[good]]
    image = np.stack([c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]], axis=2)
    s = np.linalg.svd(image @ np.linalg.inv(rest), compute_uv=False)
    weight = surface[good] / surface[good].sum()
    ratio = s[:, 0] / s[:, 1]
    density = flat[good] / surface[good]
    relative = density / _percentile(density, weight, 50)
    count, _ = pieces(uv_faces, len(uv))
    return Quality(
        count, flipped, crossings(uv, uv_faces),
        (float(weight @ ratio), _percentile(ratio, weight, 95)),
        (_percentile(relative, weight, 5), _percentile(relative, weight, 95)),
        float(np.abs(flat).sum()),
    )  # fmt: skip


def signed_areas(uv: Floats, uv_faces: Ints) -> Floats:
    """(t,) areas in the plane, positive for counter-clockwise triangles."""
    c = uv[uv_faces]
    a, b = c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]
    return np.asarray((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2, np.float64)


def crossings(uv: Floats, uv_faces: Ints) -> int:
    """Pairs of border edges that cross each other properly.

    A map of a disc with holes that flips no triangle is one-to-one exactly when its border does not cross
    itself, so this settles overlap without a raster.
    """
    pairs, count = edges(uv_faces)
    rim = pairs[(count == 1) & (pairs[:, 0] != pairs[:, 1])]
    low, high = np.minimum(uv[rim[:, 0]], uv[rim[:, 1]]), np.maximum(uv[rim[:, 0]], uv[rim[:, 1]])
    order = np.argsort(low[:, 0], kind="stable")
    rim, low, high = rim[order], low[order], high[order]
    # sweep over u: each edge against those that begin before it ends
    last = np.searchsorted(low[:, 0], high[:, 0], side="right")
    n = np.maximum(last - np.arange(len(rim)) - 1, 0)
    found = 0
    for block in np.array_split(np.arange(len(rim)), max(1, int(n.sum()) // 2_000_000 + 1)):
        i = np.repeat(block, n[block])
        j = i + 1 + np.arange(len(i)) - np.repeat(np.cumsum(n[block]) - n[block], n[block])
        near = (low[j, 1] <= high[i, 1]) & (low[i, 1] <= high[j, 1])
        i, j = i[near], j[near]
        shared = (rim[i][:, :, None] == rim[j][:, None, :]).any((1, 2))
        i, j = i[~shared], j[~shared]
        a, b, c, d = uv[rim[i, 0]], uv[rim[i, 1]], uv[rim[j, 0]], uv[rim[j, 1]]
        opposite = (_side(a, b, c) * _side(a, b, d) < 0) & (_side(c, d, a) * _side(c, d, b) < 0)
        found += int(opposite.sum())
    return found


def _side(a: Floats, b: Floats, p: Floats) -> Floats:
    u, v = b - a, p - a
    return np.asarray(np.sign(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]), np.float64)


def _percentile(values: Floats, weight: Floats, percent: float) -> float:
    order = np.argsort(values)
    at = np.searchsorted(np.cumsum(weight[order]), percent / 100 * weight.sum())
    return float(values[order][min(int(at), len(values) - 1)])


def pieces(faces: Ints | Longs, n: int) -> tuple[int, Longs]:
    """Number of pieces and the piece (t,) of each triangle."""
    pairs, _ = edges(np.asarray(faces, np.int32))
    _, of_vertex = csgraph.connected_components(adjacency(pairs, n), directed=False)
    _, label = np.unique(of_vertex[faces[:, 0]], return_inverse=True)
    return int(label.max()) + 1, label.ravel().astype(np.int64)


def rest_shapes(corners: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Triangles (t, 3, 3) laid isometrically in the plane, times `scale` (t,): edge matrices (t, 2, 2) and
    areas.

    Columns are the edges from corner 0 to corners 1 and 2.  Degenerate triangles get a small height.
    """
    e, f = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    longest = np.sqrt(np.maximum((e * e).sum(1), np.maximum((f * f).sum(1), ((f - e) ** 2).sum(1))))
    longest = np.maximum(longest, 1e-6 * max(float(longest.mean()), 1e-300))
    le = np.maximum(np.linalg.norm(e, axis=1), MIN_HEIGHT * longest)
    x = np.einsum("tx,tx->t", e, f) / le
    y = np.linalg.norm(np.cross(e, f), axis=1) / le
    y = np.maximum(y, MIN_HEIGHT * longest)
    rest = np.zeros((len(corners), 2, 2))
    rest[:, 0, 0], rest[:, 0, 1], rest[:, 1, 1] = le * scale, x * scale, y * scale
    return rest, le * y * scale**2 / 2
