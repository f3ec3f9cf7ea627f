"""A beard that registration has let go: the mesh goes on below it, and its colours lie farther out.

For the bake alone the mesh is put onto the beard: at vertices below it the scan is looked for along the normal, and the
way there, smoothed over the mesh, is what they are moved by,

    minimise  sum_i a_i (d_i - t_i)^2 + l^2 sum_(i,j) (d_i - d_j)^2,

with areas a, ways t where something was found, and the smoothing length l; d is 0 on bare skin, so that the two meet
where they do on the scan.

A beard goes on below the jaw, where a collar may be as well.  A collar, a scarf and the hair of the head come from
beyond the mesh and reach its rim; what skin encloses on all sides, and touches where a beard grows, is a beard.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.geometry.mesh import adjacency, boundary_vertices, edges, vertex_areas, vertex_normals
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.scan_source import Source
from mimicme.pipeline.texture.skin_seen import is_skin

GROWS = 0.5
"""Share from which on a beard grows at a vertex: hair beyond the face alone makes none of these uncertain."""
REACH_MM = 20.0
"""How far off the mesh a beard is looked for: full beards are 5 to 15 mm thick, and a chin that goes on smoothly may
lie a few deeper."""
LEAST_COSINE = 0.2
"""Between the normals of mesh and scan: strands stand in all directions, but what turns away is another fold."""
SMOOTHING_MM = 3.0
"""Strands and curls are not followed: they lie within the reach of the bake."""
HELD = 1e-4
"""Weight of no way at all, where nothing is found: a piece of mesh without bare skin around it stays where it is."""


def beard_seen(skin: NDArray[np.uint8], grows: Floats) -> Bools:
    """(V,) where a scan shows a beard: what is no skin (V,), of 255, where one grows (V,), 0 to 1."""
    return np.asarray(~is_skin(skin) & (grows > GROWS))


def below_the_jaw(
    template: Template,
    vertices: Floats,
    source: Source,
    skin: NDArray[np.uint8],
    grows: Floats,
    beyond: Floats,
    near_mm: float,
) -> Bools:
    """(V,) where what is no skin is a beard that goes on beyond the face: it touches where one grows, and all around it
    the scan shows skin.

    Args:
        vertices: (V, 3) the registered mesh in the scan's frame, mm.
        skin: (V,) of 255; grows: (V,) 0 to 1, where a beard grows; beyond: (V,) 0 in the face, see `CoverRegions`.
        near_mm: how far from the mesh the scan may be to show it.
    """
    from scipy.sparse.csgraph import connected_components

    covered: Bools = ~is_skin(skin)
    if not (covered & (grows > 0)).any():
        return np.zeros(len(covered), bool)
    pairs = edges(template.faces)[0]
    piece = connected_components(adjacency(pairs[covered[pairs].all(axis=1)], len(covered)), directed=False)[
        1
    ]
    known: Bools = np.asarray(np.isfinite(vertices).all(axis=1))
    outside = (boundary_vertices(template.faces, len(covered)) & (beyond > 0)) | ~known
    crossing = pairs[covered[pairs[:, 0]] != covered[pairs[:, 1]]]
    inner = np.where(covered[crossing[:, 0]], crossing[:, 0], crossing[:, 1])
    ring = crossing.sum(axis=1) - inner
    around = np.unique(ring[known[ring]])
    shown = np.zeros(len(covered), bool)
    shown[around] = source.surface.closest(vertices[around] - source.origin).distances <= near_mm
    open_pieces = np.concatenate([piece[covered & outside], piece[inner[~shown[ring]]]])
    touching = np.unique(piece[covered & (grows > 0)])
    return np.asarray(covered & np.isin(piece, np.setdiff1d(touching, open_pieces)))


def on_beard(
    vertices: Floats, template: Template, source: Source, skin: NDArray[np.uint8], beard: Bools
) -> Floats:
    """(V, 3) a registered mesh whose vertices below a beard are moved onto it, along their normals.

    Args:
        vertices: (V, 3) the registered mesh in the scan's frame, mm.
        skin: (V,) of 255; what is surer than half to be skin stays.
        beard: (V,) from `beard_seen`.
    """
    from scipy.sparse.linalg import spsolve

    known: Bools = np.isfinite(vertices[:, 0] + vertices[:, 1] + vertices[:, 2])
    faces = template.faces[known[template.faces].all(axis=1)]
    normals = vertex_normals(vertices, faces)
    found = np.flatnonzero(beard)
    way = _way_out(vertices[found] - source.origin, normals[found], source)
    areas = vertex_areas(vertices, faces)
    ring = adjacency(edges(faces)[0], len(vertices))
    free = np.flatnonzero(~is_skin(skin))
    laplacian = (scipy.sparse.diags(np.asarray(ring.sum(axis=1)).ravel()) - ring).tocsr()[free][:, free]
    weight, target = np.zeros(len(vertices)), np.zeros(len(vertices))
    there = np.isfinite(way)
    weight[found[there]], target[found[there]] = areas[found[there]], way[there]
    system = SMOOTHING_MM**2 * laplacian + scipy.sparse.diags(weight[free] + HELD)
    out = spsolve(system.tocsc(), weight[free] * target[free])
    moved = vertices.copy()
    moved[free] += out[:, None] * normals[free]
    return moved


def _way_out(points: Floats, normals: Floats, source: Source) -> Floats:
    """(k,) mm along unit normals (k, 3) from points (k, 3) to the nearest surface of the scan that faces as they do,
    negative inwards; NaN where there is none within `REACH_MM`."""
    way = np.full(len(points), np.nan)
    for sign in (1.0, -1.0):
        hits = source.surface.cast(points, sign * normals)
        facing = np.einsum("kx,kx->k", source.normals[hits.triangles], normals) > LEAST_COSINE
        good = hits.hit & facing & source.colored[hits.triangles] & (hits.distances <= REACH_MM)
        good &= ~(np.abs(way) <= hits.distances)
        way[good] = sign * hits.distances[good]
    return way
