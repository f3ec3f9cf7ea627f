"""Synthetic people: smooth identities and expressions of a template face.

A `Rig` knows how a template's surface deforms when a few of its points (handles) move: biharmonic, with least bending
energy, after Botsch and Kobbelt, "An Intuitive Framework for Real-Time Freeform Modeling" (2004).  The lips
move apart by themselves where the template has a mouth slit, because the surface does not run across it.  The
jaw turns about a hinge axis in front of the ears; the muscles move handles.  An identity is a sum of Gaussian bumps
(radial basis functions) in space.

Lengths are mm of the template; the subject's own right is x < 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import boundary_vertices, triangle_normals, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.template import Template

# landmarks (iBUG-68) that a muscle moves together: on the subject's right, in the middle, on the left
GROUPS: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "brow_outer": ((17, 18), (), (26, 25)),
    "brow_mid": ((19,), (), (24,)),
    "brow_inner": ((20, 21), (), (23, 22)),
    "lid_upper": ((37, 38), (), (44, 43)),
    "lid_lower": ((41, 40), (), (46, 47)),
    "bridge": ((), (27, 28), ()),
    "wing": ((31, 32), (), (35, 34)),
    "corner": ((48, 60), (), (54, 64)),
    "upper_lip": ((49, 50, 61), (51, 62), (53, 52, 63)),
    "lower_lip": ((59, 58, 67), (57, 66), (55, 56, 65)),
    "chin": ((), (68,), ()),
    "cheek": ((69,), (), (70,)),
    "fold": ((71,), (), (72,)),
    "jowl": ((73,), (), (74,)),
    "side": ((75,), (), (76,)),
}
# extra handles 68.. as weighted landmarks, put onto the surface
EXTRA: tuple[dict[int, float], ...] = (
    {57: 0.45, 8: 0.55},
    {36: 0.30, 41: 0.25, 48: 0.30, 2: 0.15},
    {45: 0.30, 46: 0.25, 54: 0.30, 14: 0.15},
    {31: 0.55, 48: 0.45},
    {35: 0.55, 54: 0.45},
    {48: 0.50, 5: 0.50},
    {54: 0.50, 11: 0.50},
    {48: 0.55, 3: 0.45},
    {54: 0.55, 13: 0.45},
)
# how far each handle follows the jaw: 1 turns with it, 0 stays with the skull
JAW_LINE = (0.0, 0.03, 0.15, 0.38, 0.66, 0.88, 1.0, 1.0, 1.0, 1.0, 1.0, 0.88, 0.66, 0.38, 0.15, 0.03, 0.0)
JAW_FOLLOWS = {
    "corner": 0.36,
    "upper_lip": 0.02,
    "lower_lip": 1.0,
    "chin": 1.0,
    "cheek": 0.03,
    "fold": 0.08,
    "jowl": 0.72,
    "side": 0.28,
}
N_HANDLES = 68 + len(EXTRA)

Move = tuple[float, float, float]


@dataclass(frozen=True)
class Expression:
    """What the muscles do at the apex.  A move is (outwards, up, forwards) in mm.

    Attributes:
        jaw_deg: the jaw's opening.
        both, right, left: moves by group, mirrored on both sides, or on one side of the subject alone.
        shift: moves that go the same way on both sides: (towards the subject's left, up, forwards).
        close_right, close_left: share of the way the upper lid goes down to the lower one.
    """

    jaw_deg: float = 0.0
    both: Mapping[str, Move] = field(default_factory=dict)
    right: Mapping[str, Move] = field(default_factory=dict)
    left: Mapping[str, Move] = field(default_factory=dict)
    shift: Mapping[str, Move] = field(default_factory=dict)
    close_right: float = 0.0
    close_left: float = 0.0


# in the order in which `synthesise` makes them; the names are MimicMe's
EXPRESSIONS: dict[str, Expression] = {
    "neutral": Expression(),
    "surprise": Expression(
        jaw_deg=17.0,
        both={
            "brow_inner": (0.0, 6.0, 0.5),
            "brow_mid": (0.0, 6.5, 0.3),
            "brow_outer": (0.5, 5.0, 0.0),
            "lid_upper": (0.0, 1.4, -0.4),
            "corner": (-3.0, 0.0, 1.0),
            "upper_lip": (0.0, 0.8, 0.5),
            "lower_lip": (0.0, -0.5, 0.6),
        },
    ),
    "happiness": Expression(
        jaw_deg=2.0,
        both={
            "corner": (6.0, 6.0, -5.0),
            "upper_lip": (1.6, 2.2, -2.6),
            "lower_lip": (1.6, 0.8, -2.8),
            "fold": (2.6, 2.4, 0.8),
            "cheek": (1.2, 3.2, 2.6),
            "side": (2.5, 1.8, 0.8),
            "jowl": (1.2, 1.0, -0.6),
            "lid_lower": (0.0, 1.2, 0.4),
            "lid_upper": (0.0, -0.5, 0.1),
            "wing": (0.8, 0.6, -0.2),
        },
    ),
    "pout": Expression(
        both={
            "corner": (-6.0, -0.6, 5.0),
            "upper_lip": (-1.8, 1.0, 5.0),
            "lower_lip": (-1.8, 0.4, 5.6),
            "chin": (0.0, 2.0, 1.6),
            "fold": (-1.4, 0.0, 1.4),
            "side": (-2.2, 0.0, 0.6),
            "jowl": (-1.0, 0.2, 0.6),
            "brow_inner": (-0.8, -1.0, 0.4),
        },
    ),
    "mouth_left": Expression(
        jaw_deg=1.0,
        shift={
            "corner": (8.0, 0.8, -0.6),
            "upper_lip": (7.0, 0.5, 0.2),
            "lower_lip": (7.6, 0.5, 0.2),
            "chin": (3.6, 0.0, 0.0),
            "jowl": (3.4, 0.0, 0.0),
            "fold": (2.4, 0.2, 0.4),
            "side": (3.0, 0.2, 0.8),
            "wing": (0.6, 0.0, 0.0),
        },
    ),
    "wink_right": Expression(
        close_right=0.92,
        right={
            "lid_lower": (0.0, 1.2, 0.5),
            "brow_inner": (-0.8, -3.0, 0.6),
            "brow_mid": (0.0, -3.4, 0.6),
            "brow_outer": (0.0, -3.0, 0.5),
            "cheek": (0.6, 4.0, 2.2),
            "corner": (2.4, 3.2, -1.4),
            "fold": (1.2, 1.8, 0.8),
            "side": (1.0, 1.6, 0.6),
        },
    ),
    "anger": Expression(
        both={
            "brow_inner": (-3.2, -4.4, 1.4),
            "brow_mid": (-1.6, -3.0, 0.8),
            "brow_outer": (0.0, 0.6, 0.0),
            "lid_upper": (0.0, -0.9, 0.2),
            "lid_lower": (0.0, 0.8, 0.3),
            "corner": (-1.4, -1.4, 0.6),
            "upper_lip": (0.0, -0.6, -0.8),
            "lower_lip": (0.0, 0.4, -0.4),
            "wing": (1.6, 1.0, 0.0),
            "chin": (0.0, 1.0, 0.8),
        },
    ),
    "sadness": Expression(
        both={
            "brow_inner": (-1.6, 4.2, 0.4),
            "brow_mid": (-0.6, 1.4, 0.2),
            "brow_outer": (0.0, -1.4, 0.0),
            "lid_upper": (0.0, -1.6, 0.2),
            "corner": (1.4, -5.0, -0.8),
            "lower_lip": (0.3, 0.3, 1.4),
            "chin": (0.0, 2.2, 1.4),
            "fold": (0.6, -1.4, 0.4),
        },
    ),
    "disgust": Expression(
        jaw_deg=3.0,
        both={
            "wing": (1.2, 3.2, -0.4),
            "upper_lip": (0.3, 3.6, 0.6),
            "fold": (1.0, 3.0, 1.4),
            "corner": (1.6, -0.6, -1.0),
            "cheek": (0.0, 2.6, 1.6),
            "brow_inner": (-2.4, -3.0, 1.0),
            "brow_mid": (-1.0, -2.4, 0.5),
            "lid_lower": (0.0, 1.6, 0.4),
            "lid_upper": (0.0, -1.0, 0.2),
        },
    ),
    "fear": Expression(
        jaw_deg=9.0,
        both={
            "corner": (5.0, -2.0, -3.6),
            "lower_lip": (1.4, -1.4, -1.0),
            "upper_lip": (1.2, 0.6, -1.0),
            "brow_inner": (-1.2, 5.0, 0.5),
            "brow_mid": (0.0, 4.0, 0.3),
            "brow_outer": (0.0, 2.0, 0.0),
            "lid_upper": (0.0, 1.6, -0.4),
            "side": (2.4, -1.0, 0.0),
        },
    ),
}


@dataclass(frozen=True)
class Rig:
    """A template that can move its face.

    Attributes:
        template: the template; its landmarks are put onto vertices here (see `landmarks`).
        landmarks: (68,) int64 vertex of each landmark, on the right lip and on the visible surface.
        handles: (77,) int64 vertices of the landmarks and of `EXTRA`.
        fields: (V, 3) mm by name of an expression: what its muscles do at the apex, without the jaw.
        jaw: (V,) float64 in [0, 1]: how far each vertex follows the jaw.
        inside: (V,) True in the mouth's lining, which no skin scan has.
        rim: (V,) True on the outer border.
        core: (V,) True on the face proper: near the nose, off the rim, outside the mouth's lining.
        scale: size of this template's face, 1 for 63 mm between the eyes.
    """

    template: Template
    landmarks: NDArray[np.int64]
    handles: NDArray[np.int64]
    fields: Mapping[str, Floats]
    jaw: Floats
    inside: Bools
    rim: Bools
    core: Bools
    scale: float

    def hinge(self, vertices: Floats) -> Floats:
        """(3,) a point of the jaw's axis, between the ears, of a face (V, 3)."""
        points = vertices[self.landmarks]
        ears = (points[1] + points[15]) / 2
        nose = points[30]
        return np.array([ears[0], ears[1] - 4.0 * self.scale, 0.85 * ears[2] + 0.15 * nose[2]])

    def express(self, neutral: Floats, name: str, amount: float, strength: float = 1.0) -> Floats:
        """The face (V, 3) of a person with `neutral` (V, 3) at `amount` in [0, 1] of an expression.

        The jaw turns by an angle, the muscles pull along straight lines; both are scaled by `strength`.
        """
        angle = np.radians(EXPRESSIONS[name].jaw_deg * amount * strength) * self.jaw
        pivot = self.hinge(neutral)
        y, z = neutral[:, 1] - pivot[1], neutral[:, 2] - pivot[2]
        cos, sin = np.cos(angle), np.sin(angle)
        # a positive turn about +x carries the chin (z > 0) down and back
        turned = np.stack([neutral[:, 0], pivot[1] + cos * y - sin * z, pivot[2] + sin * y + cos * z], axis=1)
        return np.asarray(turned + strength * amount * self.fields[name])


def handle_moves(expression: Expression, points: Floats, scale: float) -> Floats:
    """(77, 3) mm: where an expression moves the handles of a face with landmarks `points` (68, 3)."""
    moves = np.zeros((N_HANDLES, 3))
    for side, given in (
        (0, expression.both),
        (2, expression.both),
        (0, expression.right),
        (2, expression.left),
    ):
        sign = -1.0 if side == 0 else 1.0
        for group, (out, up, forward) in given.items():
            moves[list(GROUPS[group][side])] += np.array([sign * out, up, forward])
    for group, (_, up, forward) in expression.both.items():
        moves[list(GROUPS[group][1])] += np.array([0.0, up, forward])
    for group, move in expression.shift.items():
        for part in GROUPS[group]:
            moves[list(part)] += np.array(move)
    moves *= scale
    for share, side in ((expression.close_right, 0), (expression.close_left, 2)):
        if share:
            upper, lower = list(GROUPS["lid_upper"][side]), list(GROUPS["lid_lower"][side])
            moves[upper] += share * (points[lower] + moves[lower] - points[upper]) + [0.0, 0.0, 0.8 * scale]
    return moves


def distance_to(points: Floats, queries: Floats) -> Floats:
    """(k,) distance of each query (k, 3) to the nearest of the points (n, 3); infinite without points."""
    from scipy.spatial import cKDTree

    if not len(points):
        return np.full(len(queries), np.inf)
    return np.asarray(cKDTree(points).query(queries)[0], np.float64)


def visible(vertices: Floats, faces: Ints, steepest: float = 0.2) -> Bools:
    """(n,) True where a camera in front of the face, up to 55 degrees to the side, sees the vertex."""
    normals = vertex_normals(vertices, faces)
    surface = Surface(vertices, faces)
    seen = np.zeros(len(vertices), bool)
    for yaw in np.radians([-55.0, -27.0, 0.0, 27.0, 55.0]):
        for pitch in np.radians([-25.0, 0.0, 20.0]):
            view = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
            ask = np.flatnonzero(~seen & (normals @ view > steepest))
            seen[ask] = ~surface.occluded(vertices[ask] + 0.3 * normals[ask] + 0.3 * view, view)
    return seen


def build_rig(
    template: Template,
    names: Iterable[str] = tuple(EXPRESSIONS),
    expressions: Mapping[str, Expression] = EXPRESSIONS,
) -> Rig:
    """Prepare a template for these of the `expressions` (seconds: one sparse factorisation of V unknowns).

    `surprise` is always among them.
    """
    v, faces = template.vertices, template.faces
    points = template.landmarks()
    scale = float(np.linalg.norm(points[36:42].mean(axis=0) - points[42:48].mean(axis=0)) / 63.0)
    seen = visible(v, faces)
    mouth = points[48:68]
    low, high = mouth.min(axis=0), mouth.max(axis=0)
    box = ((v > low - [1.0, 10.0, 45.0]) & (v < high + [1.0, 10.0, 2.0])).all(axis=1)
    inside = box & ~seen
    border = boundary_vertices(faces, len(v))
    slit = border & box
    inside |= slit
    rim = border & ~slit
    normals = vertex_normals(v, faces)
    landmarks = _on_vertices(v, normals, points, seen & ~inside)
    extra = np.array([sum(w * points[i] for i, w in weights.items()) for weights in EXTRA])
    named = np.concatenate([landmarks, _nearest(v, extra, seen)])
    still = _fixed_vertices(v, points, v[named], scale)
    follow = np.zeros(N_HANDLES)
    follow[:17] = JAW_LINE
    for group, share in JAW_FOLLOWS.items():
        follow[[i for part in GROUPS[group] for i in part]] = share
    wanted = list(dict.fromkeys([*names, "surprise"]))
    moves = [handle_moves(expressions[name], v[landmarks], scale) for name in wanted]
    given = np.concatenate([follow[:, None], *moves], axis=1)
    given = np.concatenate([given, np.zeros((len(still), given.shape[1]))])
    bent = _biharmonic_fields(v, faces, np.concatenate([named, still]), given)
    jaw = np.clip(bent[:, 0], 0.0, 1.0)
    fields = {name: bent[:, 1 + 3 * i : 4 + 3 * i] for i, name in enumerate(wanted)}
    near = np.linalg.norm((v - v[landmarks[30]]) / [1.0, 1.15, 1.0], axis=1) < 85 * scale
    core = near & (distance_to(v[rim], v) > 2.0 * scale) & ~inside
    return Rig(template, landmarks, named, fields, jaw, inside, rim, core, scale)


def _nearest(vertices: Floats, points: Floats, allowed: Bools) -> NDArray[np.int64]:
    from scipy.spatial import cKDTree

    index = np.flatnonzero(allowed)
    return np.asarray(index[cKDTree(vertices[index]).query(points)[1]], np.int64)


def _on_vertices(v: Floats, normals: Floats, points: Floats, allowed: Bools) -> NDArray[np.int64]:
    """The vertex of each landmark; inner lip points look for one that faces their own side of the mouth."""
    found = _nearest(v, points, allowed)
    for rows, side in (((61, 62, 63), -1.0), ((65, 66, 67), 1.0)):
        own = allowed & (normals[:, 1] * side > 0.3)
        found[list(rows)] = _nearest(v, points[list(rows)], own)
    return found


def _fixed_vertices(
    v: Floats, points: Floats, named: Floats, scale: float, count: int = 60
) -> NDArray[np.int64]:
    """Vertices that are fixed: farthest point samples of ears, temples, forehead and neck, away from what moves."""
    free = distance_to(points[17:], v) > 32 * scale
    free &= distance_to(points[3:14], v) > 34 * scale
    free &= distance_to(named, v) > 18 * scale
    low = v[:, 1] < points[8, 1]
    free |= low & (v[:, 1] < v[:, 1].min() + 8 * scale)
    candidates = np.flatnonzero(free)
    chosen: list[int] = []
    gap = np.full(len(candidates), np.inf)
    for _ in range(min(count, len(candidates))):
        # farthest point first
        pick = int(np.argmax(gap)) if chosen else int(np.argmax(v[candidates, 1]))
        chosen.append(int(candidates[pick]))
        gap = np.minimum(gap, np.linalg.norm(v[candidates] - v[candidates[pick]], axis=1))
    return np.array(chosen, np.int64)


def cotangent_laplacian(v: Floats, faces: Ints) -> tuple[sparse.csr_matrix, Floats]:
    """Cotangent Laplacian (n, n), positive semi-definite, negative weights lifted; vertex areas (n,) mm^2."""
    n = len(v)
    rows, cols, weights = [], [], []
    corner = v[faces]
    for k in range(3):
        a, b = corner[:, (k + 1) % 3] - corner[:, k], corner[:, (k + 2) % 3] - corner[:, k]
        area = np.linalg.norm(np.cross(a, b), axis=1)
        rows.append(faces[:, (k + 1) % 3])
        cols.append(faces[:, (k + 2) % 3])
        weights.append(np.clip((a * b).sum(axis=1) / np.maximum(area, 1e-9), 0.02, 20.0) / 2)
    i, j, w = np.concatenate(rows), np.concatenate(cols), np.concatenate(weights)
    matrix = sparse.csr_matrix((np.r_[w, w], (np.r_[i, j], np.r_[j, i])), shape=(n, n))
    _, area = triangle_normals(v, faces)
    mass = np.bincount(faces.ravel(), np.repeat(area / 3, 3), n)
    return sparse.csr_matrix(sparse.diags(np.asarray(matrix.sum(axis=1)).ravel()) - matrix), np.asarray(
        mass, np.float64
    )


def _biharmonic_fields(v: Floats, faces: Ints, handles: NDArray[np.int64], values: Floats) -> Floats:
    """(n, k) fields of least bending energy that take `values` (h, k) at the handles, as soft constraints."""
    from scipy.sparse.linalg import splu

    laplacian, mass = cotangent_laplacian(v, faces)
    mass = np.maximum(mass, 0.2 * mass.mean())
    bending = laplacian.T @ sparse.diags(1 / mass) @ laplacian
    stiffness = 10.0 * float(bending.diagonal().mean())
    n, h = len(v), len(handles)
    constraints = sparse.csr_matrix((np.full(h, stiffness), (handles, np.arange(h))), shape=(n, h))
    fixed = sparse.diags(np.asarray(constraints.sum(axis=1)).ravel() + 1e-9 * stiffness)
    solver = splu(sparse.csc_matrix(bending + fixed), options={"SymmetricMode": True})
    return np.asarray(solver.solve(constraints @ values))


def identity(rig: Rig, rng: np.random.Generator) -> Floats:
    """(V, 3) mm: the neutral face of somebody who does not exist; landmarks move by several mm."""
    v = rig.template.vertices
    s = rig.scale
    centre = v[rig.landmarks[30]] * [0.0, 1.0, 0.0]
    stretch = 1 + np.clip(rng.normal(scale=[0.035, 0.035, 0.035]), -0.08, 0.08)
    out = (v - centre) * stretch + centre
    face = np.flatnonzero(rig.core)
    # broad features, mostly the same on both sides; then small ones, each side its own
    for count, width, amount, own in ((26, 34.0, 2.0, 0.2), (40, 15.0, 0.7, 0.5), (260, 6.0, 0.16, 1.0)):
        centres = v[rng.choice(face, count)] + rng.normal(scale=2.0, size=(count, 3))
        steps = np.clip(rng.normal(size=(count, 3)), -2, 2) * amount * s
        aside = np.clip(rng.normal(size=(count, 3)), -2, 2) * amount * s * own
        mirror = np.array([-1.0, 1.0, 1.0])
        out += _bumps(v, centres, (1 - own) * steps + aside, width * s)
        out += _bumps(v, centres * mirror, (1 - own) * steps * mirror, width * s)
    # nobody's eyes are as far apart as the bumps may put them: half of the excess goes
    eyes = out[rig.landmarks[36:48]].reshape(2, 6, 3).mean(axis=1)
    bridge = out[rig.landmarks[27]].copy()
    return np.asarray(bridge + (out - bridge) * np.sqrt(63.0 * s / np.linalg.norm(eyes[1] - eyes[0])))


def _bumps(v: Floats, centres: Floats, steps: Floats, width: float) -> Floats:
    """(n, 3) sum of Gaussian radial basis functions, each moving its surroundings by its step."""
    from scipy.spatial import cKDTree

    tree = cKDTree(v)
    out = np.zeros_like(v)
    for centre, step in zip(centres, steps, strict=True):
        near = tree.query_ball_point(centre, 3.2 * width, return_sorted=True)
        square = ((v[near] - centre) ** 2).sum(axis=1) / width**2
        out[near] += np.exp(-square / 2)[:, None] * step
    return out
