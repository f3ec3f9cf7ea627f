"""What a raw scan is freed from before anything is measured on it.

In this order: vertices stored more than once are welded, where hardly a triangle has a neighbour also those that differ
by a rounding; degenerate and duplicate triangles go; triangles
with an edge far beyond the scan's (spikes and the skin some scanners stretch over holes) go; small loose
pieces go; vertices that nothing uses any more go.  Texture coordinates belong to triangle corners and are
never touched by a weld, so seams stay seams.  Edges with more than two triangles are left as they are:
nothing downstream needs a manifold.

Everything is relative to the scan, so it can be done before the unit is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints, Longs
from mimicme.pipeline.geometry.mesh import Mesh, keep_triangles, largest_extent, lengths, triangle_normals


@dataclass(frozen=True)
class CleanReport:
    """How much was removed: vertices welded into another, triangles by kind, and pieces."""

    welded_vertices: int
    degenerate_triangles: int
    duplicate_triangles: int
    long_triangles: int
    speck_triangles: int
    specks: int

    @property
    def removed_triangles(self) -> int:
        return (
            self.degenerate_triangles + self.duplicate_triangles + self.long_triangles + self.speck_triangles
        )


def clean(
    mesh: Mesh,
    *,
    weld_relative: float = 0.0,
    long_edge_factor: float = 25.0,
    speck_triangles: int = 60,
    speck_share: float = 0.02,
) -> tuple[Mesh, CleanReport, Bools]:
    """A scan without doubles, degenerate and stretched triangles, and specks.

    Args:
        mesh: any unit; may be unwelded, as menpo's importer leaves it.
        weld_relative: vertices are one when they agree after rounding to this share of the scan's extent; 0:
            only when they are exactly equal; or, of a scan that is `torn` then, when they are closer than
            `TORN_WELD`.
        long_edge_factor: an edge longer than this many times the median edge, and than a twelfth of the scan,
            is stretched; 0 keeps all.
        speck_triangles, speck_share: a piece stays when it has at least so many triangles and at least this
            share of the largest piece's: of two half-face shells both stay.

    Returns the scan, what was removed, and which of the triangles (t,) are left, in their order.
    """
    welded, n_welded = weld(mesh, weld_relative)
    if torn(welded):
        welded, more = weld_close(welded, TORN_WELD * median_side(welded.vertices, welded.faces))
        n_welded += more
    flat = degenerate(welded.vertices, welded.faces)
    double = np.zeros(len(flat), bool)
    double[~flat] = repeated(welded.faces[~flat])
    stretched = np.zeros(len(flat), bool)
    keep = ~(flat | double)
    if long_edge_factor > 0 and keep.any():
        stretched[keep] = long_triangles(welded.vertices, welded.faces[keep], long_edge_factor)
        keep &= ~stretched
    speck, n_specks = np.zeros(len(flat), bool), 0
    if keep.any():
        speck[keep], n_specks = specks(welded.faces[keep], len(welded.vertices), speck_triangles, speck_share)
        keep &= ~speck
    result, _ = keep_triangles(welded, keep)
    return (
        result,
        CleanReport(
            n_welded, int(flat.sum()), int(double.sum()), int(stretched.sum()), int(speck.sum()), n_specks
        ),
        keep,
    )


def weld(mesh: Mesh, relative: float = 0.0) -> tuple[Mesh, int]:
    """Each place once, with the colour of its first vertex; order of first appearance.  And how many were
    merged.

    Args:
        relative: grid, as a share of the largest extent; 0 merges exactly equal vertices only.
    """
    key = mesh.vertices + 0.0  # -0 and 0 are one place
    if relative > 0 and len(key):
        step = relative * largest_extent(key)
        if step > 0:
            key = np.rint(key / step)
    first, index = _first_of_equal(key)
    if len(first) == len(key):
        return mesh, 0
    colors = None if mesh.colors is None else mesh.colors[first]
    welded = replace(
        mesh, vertices=mesh.vertices[first], faces=index[mesh.faces].astype(np.int32), colors=colors
    )
    return welded, len(key) - len(first)


TORN_WELD = 0.02
"""Distance between vertices that are one, relative to the median side of a triangle, in a scan that is torn: places
that a program rounded, or moved through single precision, triangle by triangle.  Reasoned, not tuned: it covers sides
of 1 mm in a file of two decimals, whose corners differ by up to 0.01 mm on each axis, and is far below the sides of
triangles, so that none collapses."""
TORN_VERTICES = 1.5
"""Vertices a triangle above which a scan is torn.  Reasoned, not tuned: a surface has 0.5, a strip of triangles 1;
quads that are torn apart have 2, triangles 3."""


def torn(mesh: Mesh) -> bool:
    """Whether hardly a triangle has a neighbour: it has more vertices than `TORN_VERTICES` for each triangle."""
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.faces] = True
    return bool(used.sum() > TORN_VERTICES * len(mesh.faces))


def weld_close(mesh: Mesh, distance: float) -> tuple[Mesh, int]:
    """Vertices that a chain of steps of at most `distance` joins made one, each with the place and colour of its first;
    and how many were merged.  Without a limit to a chain's length: `distance` is far below the sides of triangles."""
    if not distance > 0:
        return mesh, 0
    # one of each cell of a grid first, so that no place has neighbours without number
    of_cell, cell = _first_of_equal(np.rint(mesh.vertices / (0.5 * distance)))
    pairs = scipy.spatial.cKDTree(mesh.vertices[of_cell]).query_pairs(distance, output_type="ndarray")
    n = len(of_cell)
    links = scipy.sparse.coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, label = scipy.sparse.csgraph.connected_components(links, directed=False)
    first, index = _first_of_equal(label[:, None])
    kept = of_cell[first]
    if len(kept) == len(mesh.vertices):
        return mesh, 0
    colors = None if mesh.colors is None else mesh.colors[kept]
    faces = index[cell][mesh.faces].astype(np.int32)
    return replace(mesh, vertices=mesh.vertices[kept], faces=faces, colors=colors), len(mesh.vertices) - len(
        kept
    )


def median_side(vertices: Floats, faces: Ints) -> float:
    """Median length of the triangles' sides; 0 without a triangle."""
    corners = vertices[faces]
    return (
        float(np.median(lengths((corners - np.roll(corners, 1, axis=1)).reshape(-1, 3))))
        if len(faces)
        else 0.0
    )


def _first_of_equal(rows: NDArray[Any]) -> tuple[Longs, Longs]:
    """First row (m,) of each set of equal rows, in order; and the set (n,) of each row."""
    order = np.lexsort(rows.T)  # stable: within a set the first row comes first
    ordered = rows[order]
    begins = np.ones(len(rows), bool)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first_of_set = order[begins]
    rank = np.argsort(np.argsort(first_of_set))
    index = np.empty(len(rows), np.int64)
    index[order] = rank[np.cumsum(begins) - 1]
    return np.sort(first_of_set), index


def _used(vertices: Floats, faces: Ints) -> Floats:
    """Those of the vertices that a triangle has."""
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    return vertices[used]


def degenerate(vertices: Floats, faces: Ints) -> Bools:
    """(t,) True for triangles with a corner twice or with no area to speak of (1e-12 of the extent
    squared)."""
    double_area = 2 * triangle_normals(vertices, faces)[1]
    extent = largest_extent(_used(vertices, faces))
    a, b, c = faces.T
    twice = (a == b) | (b == c) | (c == a)
    return twice | (double_area <= 1e-12 * extent * extent)


def repeated(faces: Ints) -> Bools:
    """(t,) True for triangles whose three vertices an earlier triangle has, in any order."""
    a = np.sort(faces.astype(np.int64), axis=1)
    if _distinct(a):
        return np.zeros(len(faces), bool)
    first, _ = _first_of_equal(a)
    later = np.ones(len(faces), bool)
    later[first] = False
    return later


def _distinct(rows: Longs) -> bool:
    """Whether all (t, 3) rows certainly differ, by a hash: much faster than sorting them, and almost always
    so."""
    h = rows.astype(np.uint64)
    key = h[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ h[:, 1] * np.uint64(0xC2B2AE3D27D4EB4F)
    key ^= h[:, 2] * np.uint64(0x165667B19E3779F9)
    key.sort()
    return not bool((key[1:] == key[:-1]).any())


def long_triangles(vertices: Floats, faces: Ints, factor: float) -> Bools:
    """(t,) True where an edge is longer than `factor` median edges and than a twelfth of the scan's extent.

    The second bound (20 mm on a face) spares coarse parts of scans that were decimated to fit the curvature.
    """
    a, b, c = (np.take(vertices, corner, axis=0) for corner in faces.T)
    sides = np.stack([lengths(a - c), lengths(b - a), lengths(c - b)])
    limit = max(factor * float(np.median(sides)), largest_extent(_used(vertices, faces)) / 12)
    return np.asarray(sides.max(axis=0) > limit)


def specks(faces: Ints, n_vertices: int, least: int, share: float) -> tuple[Bools, int]:
    """(t,) True for triangles of pieces that are too small, and how many such pieces there are.

    A piece stays with at least `least` triangles and `share` of the largest; the largest stays always.
    """
    i, j = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    links = scipy.sparse.coo_matrix((np.ones(len(i), np.int8), (i, j)), shape=(n_vertices, n_vertices))
    _, label = scipy.sparse.csgraph.connected_components(links.tocsr(), directed=False)
    piece = label[faces[:, 0]]
    size = np.bincount(piece)
    small = (size < max(least, share * size.max())) & (size < size.max())
    return small[piece], int((small & (size > 0)).sum())
