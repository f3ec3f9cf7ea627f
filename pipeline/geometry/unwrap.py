"""A texture layout for a mesh that has none: flat charts without flipped or overlapping triangles.

Pieces of the surface are laid flat (flattening.py) and packed side by side.  A piece that is no disc with holes, or
whose rim crosses itself, is cut in two and tried again.  What a layout does to the surface, layout_quality.py measures.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from mimicme.pipeline.arrays import Floats, Ints, Longs
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.geometry.flattening import flattened
from mimicme.pipeline.geometry.layout_quality import pieces

# free border around the layout and between charts, share of the side: 2 texels at the smallest texture (256)
GUTTER = 1 / 128


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
    laid: list[tuple[Longs, Ints, Floats]] = []
    for triangles in _connected(corners, whole):
        laid += _charts(vertices, corners, scale, triangles)
    charts, corner_of = [], np.zeros((len(faces), 3), np.int64)
    start = 0
    for triangles, local, flat in laid:
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


def _connected(faces: Longs, triangles: Longs) -> list[Longs]:
    """Pieces that hang together over shared edges, as lists of triangles."""
    local = _welded(faces[triangles])
    _, label = pieces(local, int(local.max()) + 1)
    return [triangles[label == k] for k in range(int(label.max()) + 1)]


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
    flat = flattened(vertices[source], local, density[source])
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
