"""Skin finer than the template: its surface subdivided and curved, with folds, wrinkles and pores on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.synth.ages import Who
from mimicme.commands.synth.contact import Anatomy, smooth_step
from mimicme.commands.synth.people import distance_to
from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.mesh import edges, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface

MOST_TRIANGLES = 500_000
CHANNELS = ("rest", "forehead", "smile", "frown")
# how strongly an expression creases the skin: forehead, smile, frown
CREASES: dict[str, tuple[float, float, float]] = {
    "surprise": (1.0, 0.0, 0.0),
    "fear": (0.8, 0.2, 0.3),
    "happiness": (0.0, 1.0, 0.0),
    "smile": (0.0, 0.8, 0.0),
    "disgust": (0.0, 0.7, 0.8),
    "wink_right": (0.0, 0.6, 0.2),
    "anger": (0.0, 0.1, 1.0),
    "sadness": (0.4, 0.0, 0.6),
}


@dataclass(frozen=True)
class Subdivision:
    """The template's triangles split several times; the template's vertices come first.

    Attributes:
        levels: per level the edges (e, 2) whose middles are new vertices.
        faces: (t, 3) int32 of the finest level.
        owner: (t,) template triangle of each.
    """

    levels: tuple[tuple[Ints, Ints], ...]
    faces: Ints
    owner: NDArray[np.int64]

    def interpolate(self, values: Floats) -> Floats:
        """Per-vertex values (V, ...) of the template, linear on its triangles, at all vertices."""
        out = np.asarray(values, np.float64)
        for pairs, _ in self.levels:
            out = np.concatenate([out, (out[pairs[:, 0]] + out[pairs[:, 1]]) / 2])
        return out

    def curved(self, vertices: Floats) -> Floats:
        """(n, 3): the surface of `vertices` (V, 3), through them and curved between them.

        The middle of an edge is put where a parabola with the ends' normals has it (after Vlachos et al., "Curved
        PN triangles", 2001).
        """
        out = np.asarray(vertices, np.float64)
        for pairs, faces in self.levels:
            normals = vertex_normals(out, faces)
            a, b = pairs[:, 0], pairs[:, 1]
            along = out[b] - out[a]
            lift = (normals[b] * along).sum(axis=1)[:, None] * normals[b]
            lift -= (normals[a] * along).sum(axis=1)[:, None] * normals[a]
            # at a crease the normals say nothing about a curve
            lift *= np.clip(((normals[a] * normals[b]).sum(axis=1)[:, None] - 0.3) / 0.4, 0, 1)
            out = np.concatenate([out, (out[a] + out[b]) / 2 + lift / 8])
        return out


def subdivide(faces: Ints, n_vertices: int, least: int) -> Subdivision:
    """Split every triangle in four until there are `least` triangles, or the next time would make too many."""
    levels = []
    owner = np.arange(len(faces))
    n = n_vertices
    while len(faces) < least and 4 * len(faces) <= MOST_TRIANGLES:
        pairs, _ = edges(faces)
        key = pairs[:, 0].astype(np.int64) * n + pairs[:, 1]
        middle = []
        for k in range(3):
            a, b = faces[:, k].astype(np.int64), faces[:, (k + 1) % 3].astype(np.int64)
            middle.append(n + np.searchsorted(key, np.minimum(a, b) * n + np.maximum(a, b)))
        m, f = np.stack(middle, axis=1), faces
        levels.append((pairs, faces))
        n += len(pairs)
        faces = np.concatenate(
            [
                np.stack([f[:, 0], m[:, 0], m[:, 2]], axis=1),
                np.stack([m[:, 0], f[:, 1], m[:, 1]], axis=1),
                np.stack([m[:, 2], m[:, 1], f[:, 2]], axis=1),
                m,
            ]
        ).astype(np.int32)
        owner = np.tile(owner, 4)
    return Subdivision(tuple(levels), faces, owner)


@dataclass(frozen=True)
class Relief:
    """Heights (n, 4) mm along the normal at the vertices of a `Subdivision`, by `CHANNELS`.

    `rest` is always there; the others come with an expression.
    """

    heights: Floats

    def of(self, name: str, amount: float) -> Floats:
        """(n,) mm at `amount` in [0, 1] of an expression."""
        creases = np.array(CREASES.get(name, (0.0, 0.0, 0.0))) * amount
        return np.asarray(self.heights[:, 0] + self.heights[:, 1:] @ creases)


def make_relief(anatomy: Anatomy, fine: Subdivision, person: Who, rng: np.random.Generator) -> Relief:
    """The skin of a person: deeper and more lines with age; nothing on lips' and lids' edges, where skin touches."""
    rig = anatomy.rig
    rest = fine.interpolate(rig.template.vertices)
    marks = rig.template.vertices[rig.landmarks]
    surface = Surface(rig.template.vertices, rig.template.faces)
    s, age = rig.scale, float(np.clip((person.age - 18) / 50, 0, 1.2))
    lines: list[tuple[str, Floats, float, float]] = []

    def line(channel: str, points: Floats, depth: float, width: float) -> None:
        lines.append((channel, _on_surface(surface, points, rng, s), depth * s, width * s))

    bridge = marks[27]
    brow_y = marks[[19, 24], 1].mean()
    for k in range(4):
        x = np.linspace(-30, 30, 9) * s * rng.uniform(0.75, 1.1)
        y = (
            brow_y
            + (13 + 9.5 * k + rng.uniform(-2, 2)) * s
            + 2.5 * np.cos(x / (22 * s))
            + rng.normal(0, 0.7, 9)
        )
        points = np.stack([bridge[0] + x, y, np.full(9, bridge[2] + 5)], axis=1)
        line("rest", points, 0.30 * age, 1.1)
        line("forehead", points, 0.25 + 0.35 * age, 1.3)
    for side, wing, corner, outer in ((-1, 31, 48, 36), (1, 35, 54, 45)):
        a, b = marks[wing], marks[corner]
        fold = [
            a + np.array([side * 3.0, 4.0, -2.0]) * s,
            a + np.array([side * 7.0, -3.0, -4.0]) * s,
            0.5 * a + 0.5 * b + np.array([side * 8.0, 0.0, 0.0]) * s,
            b + np.array([side * 7.0, 1.0, 0.0]) * s,
            b + np.array([side * 7.0, -7.0, 0.0]) * s,
        ]
        line("rest", np.array(fold), 0.15 + 0.85 * person.old, 2.4)
        line("smile", np.array(fold), 0.45 + 0.5 * age, 2.2)
        droop = [b + np.array([side * 2.0, -2.0, 0]) * s, b + np.array([side * 5.0, -17.0, -3.0]) * s]
        line("rest", np.array(droop), 0.6 * person.old, 1.8)
        bag = [marks[36 if side < 0 else 42], marks[41 if side < 0 else 47], marks[39 if side < 0 else 45]]
        bag = [p + np.array([0.0, -(5.5 if i == 1 else 3.5), 0.0]) * s for i, p in enumerate(bag)]
        line("rest", np.array(bag), 0.10 + 0.4 * person.old, 1.6)
        for angle in (18, -6, -28):
            ray = np.array([side * np.cos(np.radians(angle)), np.sin(np.radians(angle)), -0.7])
            start = marks[outer] + ray * 4.5 * s
            feet = np.stack([start, start + ray * rng.uniform(9, 15) * s])
            line("rest", feet, 0.22 * age, 0.8)
            line("smile", feet, 0.2 + 0.3 * age, 0.8)
        frown = bridge + np.array([[side * 4.5, 1.0, 0], [side * 5.5, 9.0, 0], [side * 5.0, 17.0, 0]]) * s
        line("rest", frown, 0.25 * age, 1.0)
        line("frown", frown, 0.5 + 0.3 * age, 1.2)
    heights = np.zeros((len(rest), len(CHANNELS)))
    for channel, points, depth, width in lines:
        if depth > 0.02:
            heights[:, CHANNELS.index(channel)] += _groove(rest, points, depth, width)
    grain = (0.8 + 0.6 * age) * (1 - 0.5 * person.child)
    for size, amount in ((7.0, 0.06), (3.0, 0.04), (1.5, 0.035)):
        heights[:, 0] += grain * amount * s * value_noise(rest, size * s, rng)
    # lips and lids touch: their edges stay as they are; so does the template's border and an eyeball
    across = np.linspace(0, 4, 60)
    inner = marks[[[60, 61, 62, 63, 64], [60, 67, 66, 65, 64]]]
    slit = np.stack([np.interp(across, np.arange(5), row[:, x]) for row in inner for x in range(3)], axis=1)
    edge = np.concatenate(
        [slit.reshape(-1, 2, 3).reshape(-1, 3), marks[36:48], rig.template.vertices[anatomy.eye]]
    )
    calm = smooth_step((distance_to(edge, rest) - max(2.5 * s, anatomy.edge_mm)) / (4 * s))
    calm *= smooth_step((distance_to(rig.template.vertices[rig.rim], rest) - 1.0) / 4.0)
    return Relief(heights * calm[:, None])


def _on_surface(surface: Surface, points: Floats, rng: np.random.Generator, scale: float) -> Floats:
    """A smooth line through points, every 0.5 mm, on the surface and a little unsteady."""
    from scipy.interpolate import CubicSpline

    step = np.linalg.norm(np.diff(points, axis=0), axis=1)
    at = np.concatenate([[0], np.cumsum(step)])
    count = max(8, int(at[-1] / (0.5 * scale)))
    order = CubicSpline(at, points) if len(points) > 2 else None
    where = np.linspace(0, at[-1], count)
    smooth = (
        order(where) if order is not None else points[0] + (where / at[-1])[:, None] * (points[1] - points[0])
    )
    smooth = smooth + 0.5 * scale * np.sin(where / (6 * scale) + rng.uniform(0, 6))[:, None] * rng.normal(
        size=3
    )
    return surface.closest(smooth).points


def _groove(points: Floats, line: Floats, depth: float, width: float) -> Floats:
    """(k,) a groove along a line, its sides a little raised, running out at both ends."""
    from scipy.spatial import cKDTree

    out = np.zeros(len(points))
    low, high = line.min(axis=0) - 5 * width, line.max(axis=0) + 5 * width
    near = np.flatnonzero(((points > low) & (points < high)).all(axis=1))
    if not len(near):
        return out
    distance, index = cKDTree(line).query(points[near], distance_upper_bound=5 * width)
    known = np.isfinite(distance)
    near, far, index = near[known], distance[known] / width, index[known]
    end = np.sin(np.pi * np.clip((index + 0.5) / len(line), 0.02, 0.98)) ** 0.5
    out[near] = -depth * end * (np.exp(-(far**2)) - 0.4 * np.exp(-((far - 2.0) ** 2)))
    return out


def value_noise(points: Floats, size_mm: float, rng: np.random.Generator) -> Floats:
    """(k,) smooth noise of unit spread in space, about `size_mm` across."""
    from scipy.ndimage import map_coordinates

    low = points.min(axis=0) - size_mm
    shape = np.ceil((points.max(axis=0) - low) / size_mm).astype(int) + 3
    grid = rng.normal(size=shape)
    found = map_coordinates(grid, ((points - low) / size_mm).T, order=2, mode="nearest")
    return np.asarray(found / max(float(found.std()), 1e-12))
