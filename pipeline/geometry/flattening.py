"""One piece of a surface laid flat, in three steps.

First a convex-combination map onto a disc, which cannot fold (Tutte 1963; Floater, "Mean value coordinates", 2003);
then the symmetric Dirichlet energy is lowered with the boundary free (Rabinovich et al., "Scalable locally injective
mappings", 2017, eqs. 7-10), every step ending before the first triangle would flip (Smith and Schaefer, "Bijective
parameterization with free boundaries", 2015).  Openings - mouth, eyes, nostrils - are closed meanwhile by soft
triangles that may not flip either, so that they stay open and nothing slides over them (after Jiang et al., "Simplicial
complex augmentation framework", 2017).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mimicme.pipeline.arrays import Floats, Longs
from mimicme.pipeline.geometry.layout_quality import crossings, rest_shapes, signed_areas
from mimicme.pipeline.geometry.mesh import adjacency, edges

# stop when an iteration removes less than this share of the distortion (energy above that of an isometry)
TOLERANCE = 0.01
MAX_ITERATIONS = 30
# weight of the triangles that close openings, against the mesh's: an opening may give way, but keeps about
# the shape it has in space
FILLING = 0.3


def flattened(vertices: Floats, faces: Longs, density: Floats) -> Floats | None:
    """Flat places (n, 2) of a disc with holes; None when it is none, or when its border crosses itself."""
    n = len(vertices)
    if len(faces) == 1:
        rest, _ = rest_shapes(vertices[faces], density[faces].mean(1))
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
    rest, area = rest_shapes(places[both], np.r_[size, around[fan[:, 0]]])
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
