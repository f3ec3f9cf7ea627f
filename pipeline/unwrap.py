"""A texture layout for a mesh that has none: flat charts without flipped or overlapping triangles.

Each piece of the surface is laid flat in three steps: a convex-combination map onto a disc, which cannot fold
(Tutte 1963; Floater, "Mean value coordinates", 2003); then the symmetric Dirichlet energy is lowered with the
boundary free (Rabinovich et al., "Scalable locally injective mappings", 2017, eqs. 7-10), every step ending
before the first triangle would flip (Smith and Schaefer, "Bijective parameterization with free boundaries",
2015). Openings - mouth, eyes, nostrils - are closed meanwhile by soft triangles that may not flip either, so
that they stay open and nothing slides over them (after Jiang et al., "Simplicial complex augmentation
framework", 2017).  A piece that is no disc with holes, or whose rim crosses itself, is cut in two and tried
again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from mimicme.pipeline.errors import InputError
from mimicme.pipeline.mesh import Floats, Ints, adjacency, edges, triangle_normals, vertex_normals

Longs = NDArray[np.int64]

# stop when an iteration removes less than this share of the distortion (energy above that of an isometry)
TOLERANCE = 0.01
MAX_ITERATIONS = 30
# free border around the layout and between charts, share of the side: 2 texels at the smallest texture (256)
GUTTER = 1 / 128
# weight of the triangles that close openings, against the mesh's: an opening may give way, but keeps about
# the shape it has in space
FILLING = 0.3
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


def face_layout(vertices: Floats, faces: Ints, points: Floats) -> tuple[Floats, Ints, str]:
    """Layout of a face: upright, the face itself at full density, neck, ears and inner surfaces at less.

    Args:
        vertices: (V, 3) mm, +y up, +z out; faces: (T, 3); points: (68, 3) its iBUG-68 landmarks.

    Returns:
        uv (N, 2) in [0, 1], uv_faces (T, 3), and a sentence with the measured distortion.
    """
    uv, uv_faces = unwrap(vertices, faces, face_density(vertices, faces, points), upright=True)
    return uv, uv_faces, f"texture layout: made here: {measure(vertices, faces, uv, uv_faces)}"


def face_density(vertices: Floats, faces: Ints, points: Floats) -> Floats:
    """Texels per mm, relative (V,): 1 on the face, down to 0.5 at its back, less again on surfaces turned
    inward.

    The face is what lies within 1.4 inter-eye distances (85 mm) of the middle of the inner landmarks.
    """
    inter_eye = float(np.linalg.norm(points[42:48].mean(0) - points[36:42].mean(0)))
    middle = points[17:68].mean(0)
    radius = np.linalg.norm(vertices - middle, axis=1) / inter_eye
    far = np.clip((radius - 1.4) / 1.2, 0, 1)
    density = 1 - 0.5 * far * far * (3 - 2 * far)
    normals = vertex_normals(vertices, faces)
    # inside of mouth and nostrils: near the middle, yet turned away from the viewer
    inward = (normals[:, 2] < -0.2) & (radius < 1.4)
    density = np.where(inward, 0.6 * density, density)
    pairs, _ = edges(faces)
    links = adjacency(pairs, len(vertices))
    mean = sparse.diags(1 / np.maximum(np.asarray(links.sum(1)).ravel(), 1)) @ links
    alone = np.asarray(links.sum(1)).ravel() == 0
    for _ in range(10):
        density = np.where(alone, density, 0.5 * density + 0.5 * (mean @ density))
    return np.asarray(density, np.float64)


def unwrap(
    vertices: Floats, faces: Ints, density: Floats | None = None, upright: bool = False
) -> tuple[Floats, Ints]:
    """Lay a mesh flat.

    Args:
        vertices: (V, 3); faces: (T, 3).  Any topology: non-manifold edges are cut, closed pieces opened.
        density: (V,) wanted texels per unit length, relative; None for even.
        upright: turn every chart so that the mesh's +y points up in it and +x right (its largest chart always
            is, as far as a rotation can).

    Returns:
        uv (N, 2) in [0, 1] and uv_faces (T, 3); triangles that name a vertex twice get no area.

    Raises:
        InputError: no triangle has three different vertices.
    """
    corners = np.asarray(faces, np.int64)
    a, b, c = corners.T
    whole = np.flatnonzero((a != b) & (b != c) & (a != c))
    if not len(whole):
        raise InputError("the mesh has no triangle to lay flat")
    scale = np.ones(len(vertices)) if density is None else np.asarray(density, np.float64)
    pieces: list[tuple[Longs, Ints, Floats]] = []
    for triangles in _connected(corners, whole):
        pieces += _charts(vertices, corners, scale, triangles)
    charts, corner_of = [], np.zeros((len(faces), 3), np.int64)
    start = 0
    for triangles, local, flat in pieces:
        corner_of[triangles] = local + start
        start += len(flat)
        source = np.zeros(len(flat), np.int64)
        source[local] = faces[triangles]
        charts.append(_turned(flat, vertices[source], upright))
    uv = _packed(charts)
    source = np.zeros(len(uv), np.int64)
    source[corner_of[whole]] = faces[whole]
    # number texture vertices as the mesh's vertices: a plain disc then has uv_faces == faces
    order = np.lexsort((np.arange(len(uv)), source))
    rank = np.empty(len(uv), np.int64)
    rank[order] = np.arange(len(uv))
    uv, corner_of = uv[order], rank[corner_of]
    odd = np.setdiff1d(np.arange(len(faces)), whole)
    if len(odd):
        first = np.zeros(len(vertices), np.int64)
        first[source[order][::-1]] = np.arange(len(uv))[::-1]
        corner_of[odd] = first[faces[odd]]
    return uv, corner_of.astype(np.int32)


def measure(vertices: Floats, faces: Ints, uv: Floats, uv_faces: Ints) -> Quality:
    """Measure a layout; `vertices` (V, 3), `faces` (T, 3), `uv` (N, 2), `uv_faces` (T, 3)."""
    _, surface = triangle_normals(vertices, faces)
    flat = signed_areas(uv, uv_faces)
    real = surface > 1e-9 * max(float(surface.max()), 1e-300)
    flipped = int((real & (flat <= 0)).sum())
    good = real & (flat > 0)
    rest, _ = _rest_shapes(vertices[faces[good]], np.ones(int(good.sum())))
    c = uv[uv_faces[good]]
    image = np.stack([c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]], axis=2)
    s = np.linalg.svd(image @ np.linalg.inv(rest), compute_uv=False)
    weight = surface[good] / surface[good].sum()
    ratio = s[:, 0] / s[:, 1]
    density = flat[good] / surface[good]
    relative = density / _percentile(density, weight, 50)
    count, _ = _pieces(uv_faces, len(uv))
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


def _connected(faces: Longs, triangles: Longs) -> list[Longs]:
    """Pieces that hang together over shared edges, as lists of triangles."""
    local = _welded(faces[triangles])
    _, label = _pieces(local, int(local.max()) + 1)
    return [triangles[label == k] for k in range(int(label.max()) + 1)]


def _pieces(faces: Ints | Longs, n: int) -> tuple[int, Longs]:
    """Number of pieces and the piece (t,) of each triangle."""
    pairs, _ = edges(np.asarray(faces, np.int32))
    _, of_vertex = csgraph.connected_components(adjacency(pairs, n), directed=False)
    _, label = np.unique(of_vertex[faces[:, 0]], return_inverse=True)
    return int(label.max()) + 1, label.ravel().astype(np.int64)


def _welded(faces: Longs) -> Longs:
    """Triangles (t, 3) over vertices that are split wherever the surface is no manifold.

    Corners of one vertex are one only if a fan of triangles, each sharing an edge that exactly two triangles
    run through in opposite directions, leads from one to the other.
    """
    t = len(faces)
    start = faces.ravel()
    end = faces[:, [1, 2, 0]].ravel()
    corner = np.arange(3 * t)
    following = corner.reshape(t, 3)[:, [1, 2, 0]].ravel()
    low, high = np.minimum(start, end), np.maximum(start, end)
    order = np.lexsort((start > end, high, low))
    key = np.stack([low, high], 1)[order]
    new = np.ones(len(order), bool)
    new[1:] = (key[1:] != key[:-1]).any(1)
    group = np.cumsum(new) - 1
    size = np.bincount(group)
    first = np.flatnonzero(new)
    two = first[size == 2]
    one, other = order[two], order[two + 1]
    sane = (start[one] == end[other]) & (end[one] == start[other])
    one, other = one[sane], other[sane]
    # half-edge a->b of one meets b->a of the other: their corners at a and at b are the same
    i = np.concatenate([one, following[one]])
    j = np.concatenate([following[other], other])
    links = sparse.coo_matrix((np.ones(len(i)), (i, j)), shape=(3 * t, 3 * t))
    _, label = csgraph.connected_components(links, directed=False)
    return np.asarray(label, np.int64).reshape(t, 3)


def _charts(
    vertices: Floats, faces: Longs, density: Floats, triangles: Longs
) -> list[tuple[Longs, Ints, Floats]]:
    """Charts (triangles, local corners, flat places) of one connected piece; cut in two as needed."""
    local = _compact(_welded(faces[triangles]))
    n = int(local.max()) + 1
    source = np.zeros(n, np.int64)
    source[local] = faces[triangles]
    flat = _flattened(vertices[source], local, density[source])
    if flat is not None:
        return [(triangles, local.astype(np.int32), flat)]
    found: list[tuple[Longs, Ints, Floats]] = []
    centre = vertices[faces[triangles]].mean(1)
    spread = centre - centre.mean(0)
    axis = np.linalg.eigh(spread.T @ spread)[1][:, 2]
    along = spread @ axis
    upper = along > np.median(along)
    if upper.all() or not upper.any():
        upper = np.arange(len(triangles)) < len(triangles) // 2
    for half in (triangles[upper], triangles[~upper]):
        for piece in _connected(faces, half):
            found += _charts(vertices, faces, density, piece)
    return found


def _compact(faces: Longs) -> Longs:
    _, index = np.unique(faces, return_inverse=True)
    return np.asarray(index, np.int64).reshape(faces.shape)


def _flattened(vertices: Floats, faces: Longs, density: Floats) -> Floats | None:
    """Flat places (n, 2) of a disc with holes; None when it is none, or when its border crosses itself."""
    n = len(vertices)
    if len(faces) == 1:
        rest, _ = _rest_shapes(vertices[faces], density[faces].mean(1))
        flat = np.zeros((3, 2))
        flat[faces[0, 1]], flat[faces[0, 2]] = rest[0, :, 0], rest[0, :, 1]
        return flat
    pairs, count = edges(faces.astype(np.int32))
    loops = _loops(faces)
    genus = (2 - len(loops) - (n - len(pairs) + len(faces))) // 2
    if not loops or genus:
        return None
    lengths = [float(np.linalg.norm(np.diff(vertices[np.r_[p, p[:1]]], axis=0), axis=1).sum()) for p in loops]
    outer = int(np.argmax(lengths))
    fans = []
    hubs = 0
    for k, loop in enumerate(loops):
        if k != outer:
            fans.append(np.stack([np.roll(loop, -1), loop, np.full(len(loop), n + hubs)], axis=1))
            hubs += 1
    fan = np.concatenate(fans) if fans else np.zeros((0, 3), np.int64)
    start = _disc_map(vertices, faces, fan, loops[outer], hubs)
    if start is None:
        return None
    size = density[faces].mean(1)
    flat = _relaxed(vertices, faces, fan, size, start)[:n]
    return None if crossings(flat, faces.astype(np.int32)) else flat


def _loops(faces: Longs) -> list[Longs]:
    """Border loops as ordered vertices, in the direction of their triangles; longest lists first."""
    start, end = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    n = int(faces.max()) + 1
    forward = start * n + end
    backward = end * n + start
    rim = ~np.isin(forward, backward)
    follow = dict(zip(start[rim].tolist(), end[rim].tolist(), strict=True))
    loops = []
    while follow:
        first, at = next(iter(follow.items()))
        loop = [first]
        del follow[first]
        while at != first:
            loop.append(at)
            at = follow.pop(at)
        loops.append(np.array(loop, np.int64))
    return loops


def _disc_map(vertices: Floats, faces: Longs, fan: Longs, rim: Longs, hubs: int) -> Floats | None:
    """Convex-combination map (n + hubs, 2) with the rim on a circle; None if rounding flipped a triangle."""
    from scipy.sparse.linalg import splu

    n = len(vertices) + hubs
    step = np.linalg.norm(np.diff(vertices[np.r_[rim, rim[:1]]], axis=0), axis=1)
    step = np.maximum(step, 1e-3 * step.mean())
    turn = 2 * np.pi * np.r_[0, np.cumsum(step)[:-1]] / step.sum()
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    inner = np.ones(n, bool)
    inner[rim] = False
    both = np.concatenate([faces, fan])
    for weights in (_mean_value_weights(vertices, faces, fan, n), _uniform_weights(both, n)):
        flat = np.zeros((n, 2))
        flat[rim] = circle
        if inner.any():
            system = (sparse.diags(np.asarray(weights.sum(1)).ravel()) - weights).tocsr()[inner]
            right = -(system[:, rim] @ circle)
            flat[inner] = splu(
                system[:, inner].tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0
            ).solve(right)
        if np.isfinite(flat).all() and (signed_areas(flat, both.astype(np.int32)) > 0).all():
            return flat
    return None


def _uniform_weights(faces: Longs, n: int) -> sparse.csr_matrix:
    return adjacency(edges(faces.astype(np.int32))[0], n)


def _mean_value_weights(vertices: Floats, faces: Longs, fan: Longs, n: int) -> sparse.csr_matrix:
    """Floater's weights, clipped to a sane range so that slivers cannot spoil the solve; fans are uniform."""
    i, j, w = [], [], []
    for k in range(3):
        a, b, c = (faces[:, (k + m) % 3] for m in range(3))
        e, f = vertices[b] - vertices[a], vertices[c] - vertices[a]
        le, lf = np.linalg.norm(e, axis=1), np.linalg.norm(f, axis=1)
        cos = np.einsum("tx,tx->t", e, f) / np.maximum(le * lf, 1e-300)
        half = np.sqrt(np.clip((1 - cos) / np.maximum(1 + cos, 1e-12), 1e-6, 1e6))
        i += [a, a]
        j += [b, c]
        w += [half / np.maximum(le, 1e-300), half / np.maximum(lf, 1e-300)]
    value = np.concatenate(w)
    middle = float(np.median(value))
    value = np.clip(value, 1e-3 * middle, 1e3 * middle)
    edge = np.concatenate([fan[:, [0, 1]], fan[:, [1, 2]], fan[:, [2, 0]]])
    i += [edge[:, 0], edge[:, 1]]
    j += [edge[:, 1], edge[:, 0]]
    value = np.r_[value, np.full(2 * len(edge), middle)]
    return sparse.csr_matrix((value, (np.concatenate(i), np.concatenate(j))), shape=(n, n))


def _rest_shapes(corners: Floats, scale: Floats) -> tuple[Floats, Floats]:
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


class _Energy:
    """Symmetric Dirichlet energy of a flat mesh against its rest shapes, and its quadratic proxy.

    E(x) = sum_t a_t (|J_t|^2 + |J_t^-1|^2) / 4, 1 per area where the map is isometric.
    """

    def __init__(self, faces: Longs, inverse: Floats, area: Floats, n: int) -> None:
        self.faces, self.area, self.n = faces, area, n
        # J = sum over corners of place (outer) gradient
        self.gradient = np.stack([-(inverse[:, 0] + inverse[:, 1]), inverse[:, 0], inverse[:, 1]], axis=1)
        self.local = np.einsum("tix,tjx->tij", self.gradient, self.gradient).reshape(-1, 9)
        i = np.repeat(faces, 3, axis=1).ravel()
        j = np.tile(faces, (1, 3)).ravel()
        # the pattern of the 2n x 2n matrix never changes: fill by position
        pattern = sparse.csc_matrix((np.ones(len(i)), (i, j)), shape=(n, n))
        pattern.sum_duplicates()
        pattern.sort_indices()
        self.pattern = pattern
        columns = np.repeat(np.arange(n), np.diff(pattern.indptr))
        key = columns * n + pattern.indices
        self.slot = np.searchsorted(key, j * n + i)

    def jacobians(self, x: Floats) -> Floats:
        return np.einsum("tci,tcj->tij", x[self.faces], self.gradient)

    def value(self, x: Floats) -> float:
        j = self.jacobians(x)
        square = (j * j).sum((1, 2))
        det = j[:, 0, 0] * j[:, 1, 1] - j[:, 0, 1] * j[:, 1, 0]
        if (det <= 0).any():
            return np.inf
        return float(self.area @ (square * (1 + 1 / det**2))) / 4

    def slope(self, x: Floats) -> Floats:
        """Gradient (n, 2)."""
        j = self.jacobians(x)
        square = (j * j).sum((1, 2))
        det = j[:, 0, 0] * j[:, 1, 1] - j[:, 0, 1] * j[:, 1, 0]
        cofactor = np.stack([j[:, 1, 1], -j[:, 1, 0], -j[:, 0, 1], j[:, 0, 0]], axis=1).reshape(-1, 2, 2)
        d = (2 * (1 + 1 / det**2))[:, None, None] * j - (2 * square / det**3)[:, None, None] * cofactor
        return self._scatter(d * (self.area / 4)[:, None, None])

    def _scatter(self, d: Floats) -> Floats:
        """Sum over triangles of d (t, 2, 2) against the corner gradients, (n, 2)."""
        each = np.einsum("tij,tcj->tci", d, self.gradient)
        at = self.faces.ravel()
        return np.stack([np.bincount(at, each[..., k].ravel(), self.n) for k in range(2)], axis=1)

    def proxy(self, x: Floats) -> sparse.csc_matrix:
        """The matrix (2n, 2n) of the reweighted proxy (Rabinovich et al. 2017, eq. 10) at x."""
        j = self.jacobians(x)
        u, s, _ = np.linalg.svd(j)
        # for this energy (1/4 of the usual one) W^2 = (1 - s^-3 ...) : derivative over distance from rotation
        away = s - 1
        near = np.abs(away) < 1e-6
        weight = np.where(near, 2.0, (s - s**-3) / np.where(near, 1.0, away) / 2)
        h = np.einsum("tik,tk,tjk->tij", u, np.maximum(weight, 1e-12), u) * self.area[:, None, None]
        a, b, c = (self._block(h[:, p, q]) for p, q in ((0, 0), (0, 1), (1, 1)))
        return sparse.bmat([[a, b], [b, c]], format="csc")

    def _block(self, h: Floats) -> sparse.csc_matrix:
        data = np.bincount(self.slot, (h[:, None] * self.local).ravel(), self.pattern.nnz)
        return sparse.csc_matrix((data, self.pattern.indices, self.pattern.indptr), shape=(self.n, self.n))


def _relaxed(vertices: Floats, faces: Longs, fan: Longs, size: Floats, start: Floats) -> Floats:
    """Lower the distortion of a flat start (n, 2) without ever flipping a triangle."""
    from scipy.sparse.linalg import splu

    both = np.concatenate([faces, fan])
    n = len(start)
    hubs = [vertices[fan[fan[:, 2] == k, 0]].mean(0) for k in range(len(vertices), n)]
    places = np.concatenate([vertices, *(h[None] for h in hubs)])
    # an opening rests in the shape it has in space, at the density around it
    around = np.bincount(faces.ravel(), np.repeat(size, 3), n) / np.maximum(
        np.bincount(faces.ravel(), minlength=n), 1
    )
    rest, area = _rest_shapes(places[both], np.r_[size, around[fan[:, 0]]])
    area[len(faces) :] *= FILLING
    total = float(area.sum())
    area = area / total
    rest = rest / np.sqrt(total)
    energy = _Energy(both, np.linalg.inv(rest), area, n)
    j = energy.jacobians(start)
    square, det = (j * j).sum((1, 2)), j[:, 0, 0] * j[:, 1, 1] - j[:, 0, 1] * j[:, 1, 0]
    x = start * float((area @ (square / det**2)) / (area @ square)) ** 0.25
    order = None
    before = energy.value(x)
    for _ in range(MAX_ITERATIONS):
        slope = energy.slope(x)
        matrix = energy.proxy(x)
        # the proxy does not feel translations; a little weight on staying put makes it definite
        matrix = matrix + sparse.diags(np.full(2 * n, 1e-9 * float(matrix.diagonal().mean())), format="csc")
        if order is None:
            order = _ordering(energy.pattern, n)
        inside = matrix[order][:, order]
        factor = splu(inside, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        solved = np.empty(2 * n)
        solved[order] = factor.solve(-slope.T.ravel()[order])
        step = solved.reshape(2, n).T
        length = min(1.0, 0.9 * _longest_step(x, step, both))
        decline = float((slope * step).sum())
        while True:
            after = energy.value(x + length * step)
            if after <= before + 1e-4 * length * decline or length < 1e-12:
                break
            length *= 0.5
        if length < 1e-12:
            break
        x = x + length * step
        gained = before - after
        before = after
        if gained < TOLERANCE * (before - 1) + 1e-9:
            break
    return x * np.sqrt(total)


def _ordering(pattern: sparse.csc_matrix, n: int) -> Longs:
    """Fill-reducing order of the 2n unknowns, both coordinates of a vertex side by side."""
    from scipy.sparse.linalg import splu

    degree = np.asarray(pattern.getnnz(0), np.float64)
    plain = sparse.csc_matrix((-np.ones(pattern.nnz), pattern.indices, pattern.indptr), shape=(n, n))
    plain = (plain + sparse.diags(degree + 2, format="csc")).tocsc()
    factor = splu(plain, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    order = np.argsort(factor.perm_c).astype(np.int64)
    return np.stack([order, order + n], axis=1).ravel()


def _longest_step(x: Floats, step: Floats, faces: Longs) -> float:
    """Largest s > 0 up to which no triangle of x + s * step loses its area (Smith and Schaefer 2015)."""
    c, d = x[faces], step[faces]
    p, q = c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]
    r, t = d[:, 1] - d[:, 0], d[:, 2] - d[:, 0]
    c0 = p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]
    c1 = p[:, 0] * t[:, 1] - p[:, 1] * t[:, 0] + r[:, 0] * q[:, 1] - r[:, 1] * q[:, 0]
    c2 = r[:, 0] * t[:, 1] - r[:, 1] * t[:, 0]
    root = c1 * c1 - 4 * c2 * c0
    # smallest positive root of c2 s^2 + c1 s + c0 with c0 > 0, in the form that does not cancel
    with np.errstate(divide="ignore", invalid="ignore"):
        h = -0.5 * (c1 + np.where(c1 >= 0, 1, -1) * np.sqrt(np.maximum(root, 0)))
        roots = np.stack([h / c2, c0 / h])
    roots = np.where((root >= 0) & (roots > 0) & np.isfinite(roots), roots, np.inf)
    return float(roots.min(initial=np.inf))


def _turned(flat: Floats, places: Floats, upright: bool) -> Floats:
    """A chart turned: its (x, y) as in space when `upright`, else its longest side level."""
    centred = flat - flat.mean(0)
    if upright:
        target = places[:, :2] - places[:, :2].mean(0)
        a = float((centred * target).sum())
        b = float((centred[:, 0] * target[:, 1] - centred[:, 1] * target[:, 0]).sum())
        length = np.hypot(a, b)
        if length <= 1e-12 * max(float((centred**2).sum()), 1e-300):
            return centred
        c, s = a / length, b / length
    else:
        axis = np.linalg.eigh(centred.T @ centred)[1][:, 1]
        c, s = float(axis[0]), -float(axis[1])
    return np.asarray(centred @ np.array([[c, s], [-s, c]]), np.float64)


def _packed(charts: list[Floats]) -> Floats:
    """All charts (each (n, 2)) at one scale in the unit square, row on row, with gutters; concatenated."""
    low = [c.min(0) for c in charts]
    size = np.array([c.max(0) - corner for c, corner in zip(charts, low, strict=True)])
    order = np.argsort(-size[:, 1], kind="stable")

    def place(scale: float) -> Floats | None:
        """Lower left corners (k, 2), rows filled from the top; None when the square is too small."""
        at = np.zeros((len(charts), 2))
        u, top, row = GUTTER, 1 - GUTTER, 0.0
        for k in order.tolist():
            w, h = size[k] * scale
            if u + w > 1 - GUTTER and u > GUTTER:
                u, top, row = GUTTER, top - row - GUTTER, 0.0
            if u + w > 1 - GUTTER + 1e-12 or top - h < GUTTER - 1e-12:
                return None
            at[k] = u, top - h
            u, row = u + w + GUTTER, max(row, h)
        return at

    big = (1 - 2 * GUTTER) / max(float(size.max()), 1e-300)
    scale, at = big, place(big)
    if at is None:
        low_scale, high_scale = 0.0, big
        for _ in range(40):
            middle = (low_scale + high_scale) / 2
            fits = place(middle)
            if fits is None:
                high_scale = middle
            else:
                low_scale, at = middle, fits
        scale = low_scale
    if at is None:
        # more charts than gutters fit: give each a cell of a grid
        side = int(np.ceil(np.sqrt(len(charts))))
        scale = 0.8 / side / max(float(size.max()), 1e-300)
        cell = np.stack([np.arange(len(charts)) % side, np.arange(len(charts)) // side], axis=1)
        at = (cell + 0.1) / side
    if len(charts) == 1:
        at = (1 - size * scale) / 2
    placed = [(c - corner) * scale + a for c, corner, a in zip(charts, low, at, strict=True)]
    return np.concatenate(placed)
