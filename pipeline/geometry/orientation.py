"""Which side of each triangle is outside, whatever the file says.

Exporters reverse triangles when they mirror an axis, and join pieces that were wound differently.  Everything after
this looks at normals, so they are made right once: triangles that share an edge are wound alike (the edge runs in
opposite directions in the two), patch by patch, and each patch is then turned so that its front is the side one sees
from outside: rays that leave its front meet the scan again less often than rays that leave its back (the
visibility of Takayama, Jacobson, Kavan and Sorkine-Hornung, "A Simple Method for Correcting Facet Orientations in
Polygon Meshes Based on Ray Casting", JCGT 2014).  An open shell, as a scan of a face, has an outside by that too: from
behind it is seen through its opening only.

A camera sees the inside of a collar behind the neck, whose outside rays find easier.  So where a file winds nearly all
of a scan towards one side, as what one camera sees is wound, a patch that is wound so, too, goes with the whole.  What
rays are sure of, or what that camera would not see, is no such thing: the back half of a head, wound inwards by its
file, faces the side that the front half faces, and lies behind it.

Views that nobody merged lie upon each other where several cameras saw the skin, and there the outer hides the front of
the inner.  So a ray goes on through a patch that lies close before or behind the one it leaves and is wound as that is:
the two are one wall.  A view that a file winds against the others lies upon them as the back of an ear does upon its
front: it is no layer, and about half of the two may stay as they are wound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import Mesh, triangle_normals
from mimicme.pipeline.geometry.spatial import Surface

SAMPLES = 2_000
"""Points on the whole scan that rays leave from ..."""
FEWEST = 12
"""... and at least on every patch, while there are not too many patches."""
MOST = 20_000
UNCERTAIN = 0.15
"""A patch whose front is seen less than so much more often than its back is turned as the surface that it touches."""
TOUCHING = 0.3
"""Least cosine, of either sign, between such a patch and what it touches; where it is less, or where it touches
nothing, the patch is turned as the largest one is."""
LIFT = 1e-4
"""How far above the surface a ray begins, relative to the scan's extent."""
ONE_SIDE = 0.97
"""Least share of its area that faces one way, of a scan and of a patch, for what one camera sees.  Six scans of a depth
camera (`synth --maker people`, the sequence `rigid`) have 0.998 and more, five from all around 0.74 to 0.93."""
SURE = 0.5
"""A patch whose front or back is seen so much more often than its other side is turned by that alone.  Of the inside of
half a ball half of the rays meet it again, and of an inside that goes further round one camera does not see the whole.
Collars of six scans of `synth --maker people` have 0.16 and less, two halves of a head 0.9."""
SEEN = 0.5
"""Least share of a patch that a camera on the side that it faces sees: of those collars 0.96 and more."""
RAYS = 200
"""About as many leave a patch to tell so."""
LAYER = 0.012
"""Distance below which patches that face the same way are layers of one wall, relative to the scan's extent: 3 mm of a
head.  Reasoned, not tuned: views of one moment are brought together to a millimetre, and lips, lids and an ear, whose
sides are as close, face opposite ways."""
SAME_WAY = 0.7
"""Least cosine between the normals of two layers."""
APART = 0.0015
"""Least distance of layers that `Oriented.layers` counts, relative to the scan's extent: 0.4 mm of a head.  Views that
were fitted to each other lie closer, and do no harm."""
MOST_LAYERS = 4
"""How many a ray goes through: pods there are two to five of."""
PATCH = 50
"""Triangles; of a patch of fewer the rays alone decide, however its file winds it."""


@dataclass(frozen=True)
class Oriented:
    """A mesh whose triangles are wound alike and outwards.

    Attributes:
        mesh: the same triangles in the same order; the last two corners of those turned are exchanged.
        turned: (t,) which were turned.
        certainty: 0 to 1, how much more often rays leave the scan from the front than from the back, over its area;
            small where front and back look alike, as of a flat piece.
        layers: share of the scan's area before or behind which a further layer of the same wall lies, at least `APART`;
            layers that the file winds against each other are not told from the two sides of a plate, and not counted.
        layers_apart: median distance between these, in the mesh's unit; 0 without any.
    """

    mesh: Mesh
    turned: Bools
    certainty: float
    layers: float = 0.0
    layers_apart: float = 0.0


def orient(mesh: Mesh) -> Oriented:
    """Wind all triangles alike and outwards.

    Args:
        mesh: any unit; vertices welded, no triangle twice.
    """
    if not len(mesh.faces):
        return Oriented(mesh, np.zeros(0, bool), 0.0)
    flips, patch = consistent(mesh.faces)
    alike = reversed_where(mesh.faces, flips)
    votes, weight, layers, apart = outward_votes(mesh.vertices, alike, patch)
    inward = votes < 0
    unsure = np.abs(votes) < UNCERTAIN
    if unsure.any():
        inward[unsure] = inward[np.argmax(weight)]
        cosine = _with_touched(mesh.vertices, reversed_where(alike, inward[patch]), patch, unsure)
        inward ^= unsure & (cosine < -TOUCHING)
    held = _on_one_side(mesh.vertices, mesh.faces, flips, patch, votes)
    inward[held] = (votes * weight)[held].sum() < 0
    turned = flips ^ inward[patch]
    certainty = float((np.abs(votes) * weight).sum() / max(float(weight.sum()), 1e-300))
    return Oriented(reversed_mesh(mesh, turned) if turned.any() else mesh, turned, certainty, layers, apart)


def reversed_mesh(mesh: Mesh, turned: Bools | None = None) -> Mesh:
    """The mesh with its triangles wound the other way round: all, or those (t,) asked for."""
    if turned is None:
        turned = np.ones(len(mesh.faces), bool)
    uv_faces = None if mesh.uv_faces is None else reversed_where(mesh.uv_faces, turned)
    return replace(mesh, faces=reversed_where(mesh.faces, turned), uv_faces=uv_faces)


def reversed_where(faces: Ints, turned: Bools) -> Ints:
    """Triangles (t, 3) with the last two corners exchanged where asked for."""
    return np.where(turned[:, None], faces[:, [0, 2, 1]], faces)


def consistent(faces: Ints) -> tuple[Bools, NDArray[np.int64]]:
    """Which triangles to turn so that all of a patch are wound alike, and the patch of each (t,).

    A patch is what hangs together over edges of exactly two triangles.  Of two ways the one that turns fewer is
    taken.  A patch with one side only (a Moebius strip) stays as it is.
    """
    count = len(faces)
    one, other, alike = _neighbours(faces)
    # Every triangle stands for two nodes, as it is and turned; what hangs together is one way to wind a patch.
    lower, upper = np.r_[one, one + count], np.r_[other, other + count]
    upper = np.where(np.r_[alike, alike], upper, (upper + count) % (2 * count))
    graph = scipy.sparse.coo_matrix((np.ones(len(lower), bool), (lower, upper)), shape=(2 * count, 2 * count))
    _, label = scipy.sparse.csgraph.connected_components(graph, directed=False)
    kept, turned = label[:count], label[count:]
    # the two ways of a patch are two labels; the patch is named by the smaller
    name = np.minimum(kept, turned)
    _, patch = np.unique(name, return_inverse=True)
    patch = patch.reshape(-1)
    flips = (kept > turned) & (kept != turned)
    share = np.bincount(patch, flips, minlength=int(patch.max()) + 1) / np.bincount(patch)
    return np.asarray(flips ^ (share > 0.5)[patch] & (kept != turned)), patch


def _with_touched(vertices: Floats, faces: Ints, patch: NDArray[np.int64], unsure: Bools) -> Floats:
    """Of each patch, the cosine between its own normal and that of the triangles of sure patches that share its
    vertices, both weighted with areas; 0 of one that touches none."""
    normals, areas = triangle_normals(vertices, faces)
    weighted = normals * areas[:, None]
    sure = ~unsure[patch]
    touched = np.zeros_like(vertices, np.float64)
    for corner in faces[sure].T:
        np.add.at(touched, corner, weighted[sure])
    mine = np.flatnonzero(~sure)
    around = touched[faces[mine]].sum(axis=1)
    length = np.linalg.norm(around, axis=1) * areas[mine]
    count = len(unsure)
    agrees = np.bincount(patch[mine], np.einsum("kx,kx->k", around, weighted[mine]), minlength=count)
    return np.asarray(agrees / np.maximum(np.bincount(patch[mine], length, minlength=count), 1e-300))


def _on_one_side(
    vertices: Floats, faces: Ints, flips: Bools, patch: NDArray[np.int64], votes: Floats
) -> Bools:
    """Patches that face the side which nearly all of the scan faces, as its file winds them; none where it has no such
    side.

    Where rays say otherwise of one than of those together, it is none of them, and does not count as facing that side,
    if they are sure or if it is hidden from there.

    Args:
        flips: (t,) triangles that the file winds otherwise than the rest of their patch; patch: (t,) of each.
        votes: of each patch (`outward_votes`).
    """
    normals, areas = triangle_normals(vertices, faces)
    facing = areas * (normals @ (areas @ normals) > 0)
    count = len(votes)
    whole, triangles = np.bincount(patch, areas, minlength=count), np.bincount(patch, minlength=count)
    faced = np.bincount(patch, facing, minlength=count)
    alike = (
        (np.bincount(patch, flips, minlength=count) == 0) & (triangles >= PATCH) & (faced >= ONE_SIDE * whole)
    )
    if facing.sum() < ONE_SIDE * areas.sum():
        return np.zeros(count, bool)
    together = -1.0 if (votes * whole)[alike].sum() < 0 else 1.0
    against = alike & (votes * together < 0)
    if against.any():
        side = together * (areas @ normals)
        hidden = _seen_from(side / np.linalg.norm(side), vertices, faces, patch, against) < SEEN
        against &= hidden | (np.abs(votes) >= SURE)
    if faced[~against].sum() < ONE_SIDE * areas.sum():
        return np.zeros(count, bool)
    return np.asarray(alike & ~against)


def _seen_from(
    side: Floats, vertices: Floats, faces: Ints, patch: NDArray[np.int64], asked: Bools
) -> NDArray[np.float64]:
    """Of each patch that is asked for, the share of its triangles, of some, that nothing hides from far away on a side
    (3,), a unit vector; 1 of the others."""
    order = np.argsort(patch, kind="stable")
    sizes = np.bincount(patch)
    begin = np.cumsum(sizes) - sizes
    some = [order[begin[k] : begin[k] + sizes[k] : max(1, sizes[k] // RAYS)] for k in np.flatnonzero(asked)]
    chosen = np.concatenate(some)
    middle = vertices.mean(axis=0)
    lift = LIFT * float(np.ptp(vertices, axis=0).max()) * side
    origins = vertices[faces[chosen]].mean(axis=1) - middle + lift
    free = ~Surface(vertices - middle, faces).cast(origins, np.broadcast_to(side, origins.shape)).hit
    share = np.ones(len(asked))
    share[asked] = [part.mean() for part in np.split(free, np.cumsum([len(one) for one in some])[:-1])]
    return share


def _neighbours(faces: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64], Bools]:
    """Pairs of triangles that share an edge no third one has, and whether they are wound alike."""
    count = len(faces)
    begin = faces.ravel().astype(np.int64)
    end = np.roll(faces, -1, axis=1).ravel().astype(np.int64)
    forward = begin < end
    size = int(faces.max()) + 1
    key = np.where(forward, begin * size + end, end * size + begin)
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    twice = first[np.diff(np.r_[first, len(ordered)]) == 2]
    a, b = order[twice], order[twice + 1]
    assert len(order) == 3 * count
    return a // 3, b // 3, np.asarray(forward[a] != forward[b])


def outward_votes(
    vertices: Floats, faces: Ints, patch: NDArray[np.int64]
) -> tuple[Floats, Floats, float, float]:
    """How much more of each patch is seen from its front than from its back, -1 to 1, and its area; and the `layers`
    and `layers_apart` of `Oriented`.

    Which rays are cast hangs neither on how the triangles are wound nor on the axes: a patch of a few triangles, which
    few rays leave, would else be seen otherwise in another file of the same scan.

    Args:
        patch: (t,) of each triangle; the triangles of one are wound alike.
    """
    given = faces
    faces = np.sort(given, axis=1)
    same = (faces == np.stack([np.roll(given, k, axis=1) for k in range(3)])).all(axis=2).any(axis=0)
    normals, areas = triangle_normals(vertices, faces)
    count = int(patch.max()) + 1
    area = np.asarray(np.bincount(patch, areas, minlength=count), np.float64)
    rng = np.random.default_rng(0)
    chosen = _sampled(areas, patch, area, rng)
    weights = rng.dirichlet(np.ones(3), len(chosen))
    points = np.einsum("kc,kcx->kx", weights, vertices[faces[chosen]])
    normal = normals[chosen]
    # cosine-weighted directions of the front's hemisphere; the back's are their mirror images
    around = rng.normal(size=(len(chosen), 3))
    around /= np.maximum(np.linalg.norm(around, axis=1, keepdims=True), 1e-12)
    along = vertices[faces[chosen, 1]] - vertices[faces[chosen, 0]]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-300)
    around = np.einsum("kc,kcx->kx", around, np.stack([along, np.cross(normal, along), normal], axis=1))
    front = normal + 0.999 * around
    front /= np.linalg.norm(front, axis=1, keepdims=True)
    back = front - 2 * np.einsum("kx,kx->k", front, normal)[:, None] * normal
    middle = vertices.mean(axis=0)
    extent = float(np.ptp(vertices, axis=0).max())
    lift = LIFT * extent * normal
    surface = Surface(vertices - middle, faces)
    origins = np.concatenate([points + lift, points - lift]) - middle
    outer = normals * np.where(same, 1.0, -1.0)[:, None]
    leaves = np.concatenate([chosen, chosen])
    free, depth = _through_layers(
        surface, origins, np.concatenate([front, back]), leaves, outer, patch, extent
    )
    deepest = depth.reshape(2, -1)[:, :SAMPLES].max(axis=0)  # the first are drawn by area
    layered = deepest >= APART * extent
    apart = float(np.median(deepest[layered])) if layered.any() else 0.0
    vote = np.where(same[chosen], 1.0, -1.0) * (free[: len(chosen)].astype(float) - free[len(chosen) :])
    owner = patch[chosen]
    drawn = np.maximum(np.bincount(owner, minlength=count), 1)
    votes = np.asarray(np.bincount(owner, vote, minlength=count) / drawn, np.float64)
    return votes, area, float(layered.mean()), apart


def _through_layers(
    surface: Surface,
    origins: Floats,
    directions: Floats,
    leaves: NDArray[np.int64],
    outer: Floats,
    patch: NDArray[np.int64],
    extent: float,
) -> tuple[Bools, Floats]:
    """Which rays (k,) meet nothing but layers of the wall that they leave; and how far from it the last such layer is.

    Args:
        origins, directions: (k, 3), the second of length 1; leaves: (k,) the triangle each leaves.
        outer: (t, 3) normals as the triangles are wound; patch: (t,) of each.
    """
    free = np.zeros(len(origins), bool)
    depth = np.zeros(len(origins))
    going = np.arange(len(origins))
    gone = np.zeros(len(origins))
    along = np.abs(np.einsum("kx,kx->k", directions, outer[leaves]))
    for step in range(1 + MOST_LAYERS):
        hits = surface.cast(origins[going] + gone[going, None] * directions[going], directions[going])
        free[going[~hits.hit]] = True
        met, going = hits.triangles[hits.hit], going[hits.hit]
        far = gone[going] + hits.distances[hits.hit]
        deep = far * along[going]
        one_wall = (
            (deep <= LAYER * extent)
            & (patch[met] != patch[leaves[going]])
            & (np.einsum("kx,kx->k", outer[met], outer[leaves[going]]) >= SAME_WAY)
        )
        going = going[one_wall]
        if step == MOST_LAYERS or not len(going):
            break
        depth[going] = deep[one_wall]
        gone[going] = far[one_wall] + LIFT * extent
    return free, depth


def _sampled(
    areas: Floats, patch: NDArray[np.int64], area: Floats, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Triangles to sample: by area over the whole, and some of every patch."""
    usable = np.maximum(areas, 1e-300)
    whole = rng.choice(len(areas), SAMPLES, p=usable / usable.sum())
    order = np.argsort(patch, kind="stable")
    sizes = np.bincount(patch, minlength=len(area))
    begin = np.cumsum(sizes) - sizes
    each = min(FEWEST, max(1, MOST // len(area)))
    place = begin[:, None] + (rng.random((len(area), each)) * sizes[:, None]).astype(np.int64)
    return np.concatenate([whole, order[place.ravel()]])
