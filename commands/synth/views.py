"""A simulated scanner that sees what it sees: points drawn on the visible surface, joined in the view's own plane.

Because the points are drawn on all surfaces at once, evenly by area, a scan's vertices know nothing of the template's;
and because they are joined in the view's plane (Delaunay), lips that touch are one skin, as they are to a camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, cKDTree

from mimicme.commands.synth.parts import CAP, CLOTH, EYE, HAIR, LINING, SKIN, TEETH, TONGUE
from mimicme.commands.synth.relief import value_noise
from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import triangle_normals
from mimicme.pipeline.geometry.spatial import Surface

STEEPEST = 0.12
"""Cosine between the surface and the direction to the viewer below which nothing is measured."""
MERGE_MM = 0.4
MOUTH_JUMP_MM = 3.2
"""A triangle from a lip to what lies this much further behind is no surface."""
SPACING_PER_TRIANGLE = 1.0746
"""Edges of a net of equilateral triangles, by the root of two triangles' area."""
WHITE_MM, SMOOTH_MM, SMOOTH_SIZE_MM = 0.05, 0.09, 6.0
DEPTH_NOISE_MM, DEPTH_SIZE_MM = 0.5, 10.0


@dataclass(frozen=True)
class View:
    """From where the surface is measured, in the head's frame.

    Attributes:
        place: (3,) a camera; or the centre of the head, seen from all around, with `around`.
        axes: (3, 3) rows: right, up, towards the viewer.
        around: a ring of cameras that together see everything that a straight line from outside reaches.
        depth: a depth camera: a grid of pixels, and noise that is alike at neighbouring pixels.
        side: -1 or 1: only this side of the face (x) is measured; 0: all.
    """

    place: Floats
    axes: Floats
    around: bool = True
    depth: bool = False
    side: int = 0

    def plane(self, points: Floats) -> Floats:
        """(k, 2): stereographic around a head, which keeps angles; the picture of a camera."""
        local = (points - self.place) @ self.axes.T
        if self.around:
            local = local / np.linalg.norm(local, axis=1, keepdims=True)
            return local[:, :2] / np.maximum(1 + local[:, 2:], 1e-3)
        return local[:, :2] / np.maximum(-local[:, 2:], 1e-3)

    def towards(self, points: Floats) -> Floats:
        """(k, 3) unit vectors from points to the viewer."""
        away = points - self.place if self.around else self.place - points
        return np.asarray(away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12))


@dataclass(frozen=True)
class Scene:
    """Everything before the scanner.

    Attributes:
        vertices: (n, 3), faces: (t, 3), kinds: (t,) int8, as in `parts`.
        surface: of these.
    """

    vertices: Floats
    faces: Ints
    kinds: NDArray[np.int8]
    surface: Surface


@dataclass(frozen=True)
class Measured:
    """A scan without noise.

    Attributes:
        vertices: (m, 3) exactly on the scene's surface; faces: (u, 3) counter-clockwise seen by the viewer.
        kinds: (m,) int8 of each vertex; triangles: (m,) of the scene; towards: (m, 3) to the viewer.
    """

    vertices: Floats
    faces: Ints
    kinds: NDArray[np.int8]
    triangles: NDArray[np.int64]
    towards: Floats


def measure(scene: Scene, view: View, target: int, rng: np.random.Generator) -> Measured:
    """About `target` triangles of what the view sees of a scene."""
    points, triangles = _pixels(scene, view, target, rng) if view.depth else _drawn(scene, view, target, rng)
    kinds = scene.kinds[triangles]
    keep = kinds != LINING
    if view.side:
        wave = 6 + 2.5 * np.sin(points[:, 1] / 9 + rng.uniform(0, 6)) + 1.5 * np.sin(points[:, 1] / 3.1)
        keep &= points[:, 0] * view.side > -wave
    points, triangles, kinds = points[keep], triangles[keep], kinds[keep]
    order = rng.permutation(len(points))
    points, triangles, kinds = points[order], triangles[order], kinds[order]
    flat = view.plane(points)
    faces = Delaunay(flat).simplices.astype(np.int64)
    faces = _counter_clockwise(flat, faces)
    if not view.depth:
        faces = flip_edges(points, flat, faces)
    faces = faces[rng.permutation(len(faces))]
    towards = view.towards(points)
    return Measured(
        points, _joined(points, faces, kinds, towards).astype(np.int32), kinds, triangles, towards
    )


def _drawn(
    scene: Scene, view: View, target: int, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.int64]]:
    """Points evenly by area on what is seen, none much nearer to another than the net's edge is long."""
    normals, areas = triangle_normals(scene.vertices, scene.faces)
    centres = scene.vertices[scene.faces].mean(axis=1)
    towards = view.towards(centres)
    facing = (normals * towards).sum(axis=1)
    two_sided = (scene.kinds != SKIN) & (scene.kinds != LINING)
    facing = np.where(two_sided, np.abs(facing), facing)
    likely = (facing > STEEPEST) & (scene.kinds != LINING)
    rough = np.flatnonzero(likely)
    some = rough[:: max(1, len(rough) // 20_000)]
    lift = centres[some] + 0.08 * towards[some]
    seen_share = areas[some][~scene.surface.occluded(lift, towards[some])].sum() / max(
        areas[some].sum(), 1e-9
    )
    count = int(5.0 * target / 2 / max(seen_share, 0.05))
    cumulative = np.cumsum(np.where(likely, areas, 0.0))
    picked = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    picked = np.minimum(picked, len(areas) - 1)
    u, v = rng.random((2, count))
    over = u + v > 1
    u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
    corner = scene.vertices[scene.faces[picked]]
    points = (
        corner[:, 0] + u[:, None] * (corner[:, 1] - corner[:, 0]) + v[:, None] * (corner[:, 2] - corner[:, 0])
    )
    towards = view.towards(points)
    toward_side = np.sign((normals[picked] * towards).sum(axis=1))
    lifted = points + 0.03 * towards + (0.03 * toward_side)[:, None] * normals[picked]
    seen = ~scene.surface.occluded(lifted, towards)
    points, picked = points[seen], picked[seen]
    spacing = 0.70 * SPACING_PER_TRIANGLE * float(np.sqrt(2 * cumulative[-1] * seen.mean() / target))
    chosen = _spread(points, spacing)
    # what is left of too many goes at random
    if len(chosen) > target // 2:
        chosen = np.sort(rng.permutation(chosen)[: target // 2 + 60])
    return points[chosen], picked[chosen].astype(np.int64)


def _spread(points: Floats, radius: float) -> NDArray[np.int64]:
    """Rows of points (k, 3) no two of which are nearer than `radius`, the first come first (Poisson disks)."""
    pairs = cKDTree(points).query_pairs(radius, output_type="ndarray")
    state = np.zeros(len(points), np.int8)  # 0 open, 1 taken, -1 out
    rank = np.arange(len(points))
    while True:
        first, second = pairs.min(axis=1, initial=len(points)), pairs.max(axis=1, initial=-1)
        # an open point without an open one before it is taken
        blocked = np.zeros(len(points), bool)
        blocked[second] = True
        new = (state == 0) & ~blocked
        if not new.any():
            break
        state[new] = 1
        state[np.concatenate([second[new[first]], first[new[second]]])] = -1
        pairs = pairs[(state[pairs] == 0).all(axis=1)]
        if not len(pairs):
            state[state == 0] = 1
            break
    return np.asarray(rank[state == 1], np.int64)


def _pixels(
    scene: Scene, view: View, target: int, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.int64]]:
    """What a depth camera's pixels see: about `target` / 2 of them on the head."""
    flat = view.plane(scene.vertices)
    low, high = flat.min(axis=0), flat.max(axis=0)
    filled = 0.6
    for _ in range(2):
        step = np.sqrt(np.prod(high - low) * filled / (target / 2))
        columns, rows = np.ceil((high - low) / step).astype(int) + 1
        x, y = np.meshgrid(low[0] + step * np.arange(columns), low[1] + step * np.arange(rows))
        at = np.stack([x.ravel(), y.ravel()], axis=1) + rng.uniform(-0.2, 0.2, (x.size, 2)) * step
        rays = np.column_stack([at, -np.ones(len(at))]) @ view.axes
        hits = scene.surface.cast(view.place, rays)
        filled = max(0.05, float(hits.hit.mean()))
    corner = scene.vertices[scene.faces[hits.triangles]]
    points = np.einsum("kc,kcx->kx", hits.weights, corner)
    normals, _ = triangle_normals(scene.vertices, scene.faces)
    facing = np.abs((normals[hits.triangles] * view.towards(points)).sum(axis=1))
    seen = hits.hit & (facing > STEEPEST)
    return points[seen], hits.triangles[seen]


def _counter_clockwise(flat: Floats, faces: NDArray[np.int64]) -> NDArray[np.int64]:
    a, b, c = (flat[faces[:, i]] for i in range(3))
    clockwise = _cross(b - a, c - a) < 0
    return np.where(clockwise[:, None], faces[:, [0, 2, 1]], faces)


def _cross(a: Floats, b: Floats) -> Floats:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def flip_edges(points: Floats, flat: Floats, faces: NDArray[np.int64], rounds: int = 12) -> NDArray[np.int64]:
    """Flip edges until the angles opposite to each edge are small in space (Delaunay on the surface).

    Args:
        points: (n, 3); flat: (n, 2) the same in the plane, where no triangle may turn over; faces: (t, 3).
    """
    faces = faces.copy()
    n = len(points)
    for _ in range(rounds):
        start = faces.T.ravel()
        end = np.roll(faces, -1, axis=1).T.ravel()
        tip = np.roll(faces, -2, axis=1).T.ravel()
        owner = np.tile(np.arange(len(faces)), 3)
        key = np.minimum(start, end) * n + np.maximum(start, end)
        order = np.argsort(key, kind="stable")
        twin = np.flatnonzero(key[order][1:] == key[order][:-1])
        one, other = order[twin], order[twin + 1]
        a, b, c, d = start[one], end[one], tip[one], tip[other]
        bad = _angle(points, c, a, b) + _angle(points, d, a, b) > np.pi + 1e-6
        # the other diagonal must leave two triangles that face the viewer
        left = _cross(flat[d] - flat[c], flat[b] - flat[c])
        right = _cross(flat[a] - flat[c], flat[d] - flat[c])
        # counter-clockwise: a, b, c in one triangle, b, a, d in the other
        size = np.abs(_cross(flat[b] - flat[a], flat[c] - flat[a])) * 0.02
        good = bad & (left > size) & (right > size)
        chosen = np.flatnonzero(good)
        if not len(chosen):
            break
        # a triangle takes part in one flip a round: the first that claims both
        claim = np.full(len(faces), len(key))
        np.minimum.at(claim, owner[one[chosen]], chosen)
        np.minimum.at(claim, owner[other[chosen]], chosen)
        free = (claim[owner[one[chosen]]] == chosen) & (claim[owner[other[chosen]]] == chosen)
        chosen = chosen[free]
        p, q = owner[one[chosen]], owner[other[chosen]]
        a, b, c, d = a[chosen], b[chosen], c[chosen], d[chosen]
        faces[p] = np.stack([c, a, d], axis=1)
        faces[q] = np.stack([d, b, c], axis=1)
    return faces


def _angle(points: Floats, tip: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64]) -> Floats:
    u, v = points[a] - points[tip], points[b] - points[tip]
    cross = np.linalg.norm(np.cross(u, v), axis=1)
    return np.asarray(np.arctan2(cross, (u * v).sum(axis=1)))


def _joined(
    points: Floats, faces: NDArray[np.int64], kinds: NDArray[np.int8], towards: Floats
) -> NDArray[np.int64]:
    """Triangles that a scanner would make: not across jumps in depth, not into an open mouth."""
    corner = points[faces]
    edge = np.linalg.norm(corner - np.roll(corner, -1, axis=1), axis=2)
    longest = edge.max(axis=1)
    typical = float(np.median(longest)) if len(longest) else 1.0
    narrow: Ints = faces.astype(np.int32)
    normals, _ = triangle_normals(points, narrow)
    facing = (normals * towards[faces].mean(axis=1)).sum(axis=1)
    depth = (corner * towards[faces].mean(axis=1)[:, None]).sum(axis=2)
    jump = np.ptp(depth, axis=1)
    kind = kinds[faces]
    in_mouth = ((kind == TEETH) | (kind == TONGUE)).any(axis=1) & (kind == SKIN).any(axis=1)
    keep = (longest < max(3.2 * typical, MERGE_MM)) & (facing > 0.5 * STEEPEST)
    keep &= ~(in_mouth & (jump > MOUTH_JUMP_MM))
    keep &= ~((jump > 2.2 * typical) & (facing < 0.35))
    return faces[keep]


def noise(measured: Measured, view: View, rng: np.random.Generator) -> Floats:
    """(m, 3) mm of error: little at each vertex, more that neighbours have in common; hair and eyes are worse."""
    n = len(measured.vertices)
    flat = rng.normal(scale=WHITE_MM / np.sqrt(3), size=(n, 3))
    if view.depth:
        # independent of the surface: as far as a camera knows, noise lives in the picture
        away = np.linalg.norm(measured.vertices - view.place, axis=1)
        at = np.column_stack([view.plane(measured.vertices) * np.median(away), np.zeros(n)])
        along = DEPTH_NOISE_MM * value_noise(at, DEPTH_SIZE_MM, rng)
    else:
        along = SMOOTH_MM * value_noise(measured.vertices, SMOOTH_SIZE_MM, rng)
    rough = np.zeros(n)
    for kind, amount in ((HAIR, 0.45), (EYE, 0.12), (TEETH, 0.15), (TONGUE, 0.1), (CLOTH, 0.1), (CAP, 0.05)):
        rough[measured.kinds == kind] = amount
    along = along + rough * rng.normal(size=n)
    return flat + along[:, None] * measured.towards


def on_skin(measured: Measured) -> Bools:
    """(m,) True for vertices on the template's skin; the bald skull is none of it."""
    return np.asarray(measured.kinds == SKIN)
