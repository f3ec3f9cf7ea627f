"""A template's skin, which scans show, and its interior, which follows it.

A whole head has eyeballs, an inner mouth, teeth, lashes: nothing of a scan lies where they do.  The mask `interior`
says which vertices these are.  Stages work on the skin alone, a template of its own; a release has the whole one, whose
interior is put behind the skin of each frame:

- What is soft - gums, tongue, lashes - goes where a biharmonic spline carries it (the radial basis function r, with an
  affine part) that follows how the skin has moved.
- What hangs on the skin, the bag behind the lips, goes on smoothly from there along its own surface, the farther in the
  more as that spline has it: upper and lower lip lie in one place, which a field in space could not tell apart.
  What is soft and would come out of the skin is put behind it.
- A mask whose name begins with `rigid_` is a body of its own: an eyeball, a row of teeth.  It is turned, moved and, by
  the head's size, scaled as the spline through the skin around it has it, without lids and lips; one with `lower` in
  its name by what lies below the mouth, the others by what lies above.  Where the skin would cut into it, it is pushed
  back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy

from mimicme.pipeline.arrays import Bools, Floats, Longs, Singles
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.geometry.mesh import (
    adjacency,
    components,
    edges,
    inverse,
    lengths,
    transform,
    triangle_normals,
    vertex_normals,
)
from mimicme.pipeline.geometry.rigid import fit_rigid, fit_similarity_scale
from mimicme.pipeline.geometry.spatial import Closest, Surface
from mimicme.pipeline.template import INTERIOR, Template, TemplateKey, load_prepared, with_digest

if TYPE_CHECKING:
    from mimicme.pipeline.geometry.triangle_grid import Near, TriangleGrid

RIGID = "rigid_"
LOWER = "lower"
SOFT_CENTRES, BODY_CENTRES = 600, 120
"""Centres of the splines beside those along the border of the skin; twice as many moved nothing by 0.1 mm."""
BORDER_CENTRES = 400
SMOOTHING_MM = 0.1
"""Centres that lie so near to each other need not be followed each for itself."""
PULL, PULL_MM = 2.0, 3.0
"""Weight of the spline's place against that of the neighbours' of what hangs on the skin, reached so far from it."""
NEAR_MM = 5.0
"""Centres lie as densely as that far from the interior as on it, and in proportion to the distance beyond."""
CLEAR_MM, AROUND_MM = 9.0, 80.0
"""Skin that a body follows: so far from lids and lips at least, so far from the body's middle at most."""
BODY_POINTS = 80
SIZE_LANDMARKS = (27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45)
"""Nose and corners of the eyes, which no expression moves much, tell how large a head is."""
LEAST_SIZE, LARGEST_SIZE = 0.6, 1.6
UNDER_MM, UNDER_PASSES, OVER_MM, REACH_MM = 0.2, 6, 0.05, 8.0
"""What is soft is put so far behind the skin where it would come out, in so many passes, by more than the third and
less than the fourth: what is farther off lies behind something else."""
ON_EDGE = 1e-4
"""Barycentric weight up to which a point counts as on the edge across."""
LEVEL = 0.3
"""Cosine between the way to the closest point and its normal, from which on a point lies above or below the skin."""
TOUCH_MM, LOOK_FROM_MM, SUNK_GAP_MM = 15.0, 120.0, 0.04
"""Skin so near to a body may touch it; it is looked at from so far; and it leaves it by so much."""
GAP_MM, PUSHES, MOST_PUSHED_MM = 0.1, 12, 8.0
"""A body is pushed back until so much skin is left before it, in so many steps, no farther than that."""


@dataclass(frozen=True)
class Skin:
    """The skin of a template.

    Attributes:
        template: the whole one; skin: the same without its interior, the whole itself where it has none.
        index: (k,) vertices of the whole that are skin, in their order.
    """

    template: Template
    skin: Template
    index: Longs

    def whole(self, vertices: Floats) -> Floats:
        """(V, 3) all vertices of the template, from those of its skin (k, 3), canonical, mm."""
        if self.skin is self.template:
            return vertices
        return self._interior.behind(vertices)

    def outside(self, vertices: Floats) -> Longs:
        """Of all vertices (V, 3): those of the interior that have come out of the skin, which they had not at rest."""
        if self.skin is self.template:
            return np.empty(0, np.int64)
        return self._interior.outside(np.asarray(vertices, np.float64))

    @cached_property
    def _interior(self) -> _Interior:
        return _Interior.of(self.template, self.skin, self.index)


def skin_of(template: Template) -> Skin:
    """The skin of a template; made once a process for each.

    Raises:
        InputError: the mask `interior` leaves no skin, or landmarks lie on what it covers.
    """
    if not template.interior.any():
        return Skin(template, template, np.arange(len(template.vertices)))
    return _skin_of(TemplateKey(template))


def load_skin(path: Path) -> Template:
    """The skin of a prepared template in a file.

    Raises:
        CheckpointError: as `load_prepared`.  InputError: as `skin_of`.
    """
    return skin_of(load_prepared(path)).skin


@lru_cache(maxsize=4)
def _skin_of(key: TemplateKey) -> Skin:
    template = key.template
    interior = template.interior
    index = np.flatnonzero(~interior)
    on = ~interior[template.faces].any(axis=1)
    if not on.any() or interior[template.landmark_vertices].any():
        raise InputError(
            "the mask 'interior' leaves no skin with landmarks",
            where=template.name,
            seen=f"{len(index)} of {len(interior)} vertices are skin",
            expected="1 on eyes, inner mouth, teeth and lashes, 0 on what a scan shows",
        )
    new = np.zeros(len(interior), np.int64)
    new[index] = np.arange(len(index))
    used, uv_faces = np.unique(template.uv_faces[on], return_inverse=True)
    skin = replace(
        template,
        vertices=template.vertices[index],
        faces=new[template.faces[on]].astype(np.int32),
        uv=template.uv[used],
        uv_faces=uv_faces.reshape(-1, 3).astype(np.int32),
        landmark_vertices=new[template.landmark_vertices],
        masks={
            name: mask[index]
            for name, mask in template.masks.items()
            if name != INTERIOR and not name.startswith(RIGID)
        },
        polygons=None,
    )
    return Skin(template, with_digest(skin), index)


@dataclass(frozen=True)
class _Spline:
    """Displacements at points, from those of the skin: `matrix` (n, m) times those of the skin's vertices `centres`."""

    centres: Longs
    matrix: Singles

    @classmethod
    def of(cls, rest: Floats, centres: Longs, points: Floats) -> _Spline:
        """Of the skin at rest (k, 3), to points (n, 3).  Solved once: a frame is one product of matrices."""
        from scipy.linalg import lu_factor, lu_solve

        at = rest[centres]
        middle, size = at.mean(axis=0), max(float(np.ptp(at, axis=0).max()), 1e-9)
        at, points = (at - middle) / size, (points - middle) / size
        m = len(at)
        system = np.zeros((m + 4, m + 4))
        system[:m, :m] = -_distances(at, at) - SMOOTHING_MM / size * np.eye(m)
        system[:m, m], system[:m, m + 1 :] = 1, at
        system[m:, :m] = system[:m, m:].T
        right = np.concatenate([-_distances(points, at), np.ones((len(points), 1)), points], axis=1)
        matrix = lu_solve(lu_factor(system), right.T, trans=1)[:m].T
        return cls(centres, np.ascontiguousarray(matrix, np.float32))

    def __call__(self, moved: Floats) -> Floats:
        """(n, 3) displacements, from those of the skin (k, 3)."""
        return (self.matrix @ moved[self.centres].astype(np.float32)).astype(np.float64)


def _distances(a: Floats, b: Floats) -> Floats:
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(a, b))


@dataclass(frozen=True)
class _Hanging:
    """What hangs on the skin: displacements of vertices `free` (n,) of the whole, from those of the skin's vertices
    `held` (m,) of the whole and from the spline's.

    Attributes:
        right: (n, m); pull: (n,) weights of the spline's displacements; rows: (n,) their rows in it.
        solve: of the linear system.
    """

    free: Longs
    held: Longs
    right: scipy.sparse.csr_matrix
    pull: Floats
    rows: Longs
    solve: Callable[[Floats], Floats]

    @classmethod
    def of(cls, template: Template, soft: Longs) -> _Hanging | None:
        """None where nothing hangs on the skin."""
        from scipy.sparse.linalg import splu
        from scipy.spatial import cKDTree

        interior, faces, rest = template.interior, template.faces, template.vertices
        inner = faces[interior[faces].any(axis=1)]
        count = len(rest)
        _, label = components(inner, count)
        held = np.unique(inner[~interior[inner]])
        hangs = np.zeros(count, bool)
        hangs[soft] = True
        hangs &= np.isin(label, label[held])
        free = np.flatnonzero(hangs)
        if not len(free) or not len(held):
            return None
        links = adjacency(edges(inner)[0], count)
        degree = np.asarray(links.sum(axis=1)).ravel()[free]
        share = np.clip(cKDTree(rest[held]).query(rest[free])[0] / PULL_MM, 0, 1)
        pull = PULL * degree * share**2
        links = links[free]
        system = scipy.sparse.diags(degree + pull) - links[:, free]
        solve = splu(system.tocsc()).solve
        return cls(
            free, held.astype(np.int64), links[:, held].tocsr(), pull, np.searchsorted(soft, free), solve
        )

    def __call__(self, held: Floats, spline: Floats) -> Floats:
        """(n, 3) displacements, from those of `held` (m, 3) and from the spline's of all that is soft."""
        return np.asarray(self.solve(self.right @ held + self.pull[:, None] * spline[self.rows]))


@dataclass(frozen=True)
class _Body:
    """A rigid part of the interior.

    Attributes:
        vertices: (n,) of the whole; fitted: (p,) those of them that are fitted; spline: their displacements.
        surface: the body at rest about its middle `centre` (3,); None where it has no triangle.
        near: (k,) vertices of the skin that it may touch; sunk: (k,) mm, how deep they lie in it at rest, or may.
    """

    vertices: Longs
    fitted: Longs
    spline: _Spline
    surface: Surface | None
    centre: Floats
    near: Longs
    sunk: Floats

    @classmethod
    def of(cls, template: Template, rest: Floats, mine: Longs, fitted: Longs, spline: _Spline) -> _Body:
        from scipy.spatial import cKDTree

        own = template.vertices[mine]
        centre = own.mean(axis=0)
        new = np.full(len(template.vertices), -1)
        new[mine] = np.arange(len(mine))
        faces = new[template.faces]
        faces = faces[(faces >= 0).all(axis=1)]
        near = np.flatnonzero(cKDTree(own).query(rest, distance_upper_bound=TOUCH_MM)[0] < np.inf)
        surface = Surface(own - centre, faces.astype(np.int32)) if len(faces) else None
        body = cls(mine, fitted, spline, surface, centre, near, np.zeros(len(near)))
        return replace(body, sunk=np.maximum(body.depth(rest, np.eye(4), 1.0)[0], -SUNK_GAP_MM))

    def depth(self, skin: Floats, motion: Floats, size: float) -> tuple[Floats, Floats]:
        """How much deeper than they may the vertices `near` of the skin (k, 3) lie in the body, mm, and the ways (k, 3)
        that the body has to go to leave them.

        Args:
            motion: (4, 4), which has moved the body, `size` times as large as at rest.
        """
        if self.surface is None or not len(self.near):
            return np.zeros(0), np.zeros((0, 3))
        local = transform(inverse(motion), skin[self.near]) / size - self.centre
        far = np.maximum(lengths(local), 1e-9)
        way = local / far[:, None]
        hit = self.surface.cast(LOOK_FROM_MM * way, -way)
        radius = np.where(hit.hit, LOOK_FROM_MM - hit.distances, 0.0)
        return size * (radius - far - self.sunk), -way @ motion[:3, :3].T


@dataclass(frozen=True)
class _Interior:
    """How the interior follows the skin.

    Attributes:
        template, skin: as in `Skin`; index: likewise.
        soft: (n,) vertices of the whole, and their spline; hanging: those of them that hang on the skin.
        bodies: the rigid parts.
        blocked: (b,) vertices of bodies before which the skin of the template itself lies; under: (u,) soft vertices
            that lie behind the skin there, and must.
    """

    template: Template
    skin: Template
    index: Longs
    soft: Longs
    spline: _Spline
    hanging: _Hanging | None
    bodies: tuple[_Body, ...]
    blocked: Longs
    under: Longs

    @classmethod
    def of(cls, template: Template, skin: Template, index: Longs) -> _Interior:
        from scipy.spatial import cKDTree

        interior = template.interior
        inner = template.vertices[interior]
        rest = skin.vertices
        beside = cKDTree(inner).query(rest)[0]
        crossing = template.faces[
            interior[template.faces].any(axis=1) & ~interior[template.faces].all(axis=1)
        ]
        seam = np.zeros(len(interior), bool)
        seam[crossing] = True
        border = np.flatnonzero(seam[index])
        used = np.bincount(skin.faces.ravel(), minlength=len(rest)) > 0
        density = used / (NEAR_MM + beside)
        along = _spread(rest[border], np.ones(len(border)), BORDER_CENTRES)
        centres = np.unique(np.concatenate([border[along], _spread(rest, density, SOFT_CENTRES)]))
        rigid = np.zeros(len(interior), bool)
        bodies = []
        marks = skin.landmarks()
        mouth = float(marks[[48, 54], 1].mean())
        openings = np.concatenate([rest[border], marks[36:]])
        clear = used & (cKDTree(openings).query(rest)[0] > CLEAR_MM)
        for name in sorted(name for name in template.masks if name.startswith(RIGID)):
            mine = np.flatnonzero((template.masks[name] >= 0.5) & interior & ~rigid)
            if not len(mine):
                continue
            rigid[mine] = True
            below = rest[:, 1] < mouth
            around = clear & (below if LOWER in name else ~below)
            middle = template.vertices[mine].mean(axis=0)
            density = around * (lengths(rest - middle) < AROUND_MM) / (NEAR_MM + lengths(rest - middle))
            if (density > 0).sum() < 8:
                density = np.asarray(used, float)
            fitted = mine[_spread(template.vertices[mine], np.ones(len(mine)), BODY_POINTS)]
            spline = _Spline.of(rest, _spread(rest, density, BODY_CENTRES), template.vertices[fitted])
            bodies.append(_Body.of(template, rest, mine, fitted, spline))
        soft = np.flatnonzero(interior & ~rigid)
        spline = _Spline.of(rest, centres, template.vertices[soft])
        hanging = _Hanging.of(template, soft)
        nobody = np.empty(0, np.int64)
        made = cls(template, skin, index, soft, spline, hanging, tuple(bodies), nobody, nobody)
        cover = made.surface(rest)
        found = cover.before(template.vertices[soft])
        under = soft[found.on_skin & (found.height < 0)]
        return replace(made, blocked=made.outside(template.vertices), under=under)

    def behind(self, vertices: Floats) -> Floats:
        """(V, 3) the whole template behind the skin (k, 3) of a frame."""
        rest = self.template.vertices
        out = np.empty_like(rest)
        out[self.index] = vertices
        moved = vertices - rest[self.index]
        carried = self.spline(moved)
        out[self.soft] = rest[self.soft] + carried
        if self.hanging is not None:
            held, free = self.hanging.held, self.hanging.free
            out[free] = rest[free] + self.hanging(out[held] - rest[held], carried)
        size = self._size(vertices)
        surface = self.surface(vertices)
        left = self.under
        for depth in range(1, UNDER_PASSES + 1):
            found = surface.before(out[left], REACH_MM)
            # what is stored in single precision must not be over the limit that `outside` has
            through = found.over(OVER_MM / 2)
            left = left[through]
            if not len(left):
                break
            # behind one triangle it may lie before the next
            out[left] = (found.closest - depth * UNDER_MM * found.normals)[through]
        for body in self.bodies:
            there = rest[body.fitted] + body.spline(moved)
            motion = fit_rigid(size * rest[body.fitted], there)
            points = transform(motion, size * rest[body.vertices])
            out[body.vertices] = points + self._push(points, body, motion, size, surface, vertices)
        return out

    def _size(self, vertices: Floats) -> float:
        """Of the head of a frame, in that of the template."""
        if len(self.skin.landmark_names) <= max(SIZE_LANDMARKS):
            return 1.0
        bones = list(SIZE_LANDMARKS)
        scale = fit_similarity_scale(self.skin.landmarks()[bones], self.skin.landmarks(vertices)[bones])
        return float(np.clip(scale, LEAST_SIZE, LARGEST_SIZE))

    def surface(self, vertices: Floats) -> _Cover:
        from mimicme.pipeline.geometry.triangle_grid import TriangleGrid  # it loads numba

        middle = vertices.mean(axis=0)
        normals, _ = triangle_normals(vertices, self.skin.faces)
        about = vertices - middle
        faces = self.skin.faces
        around = vertex_normals(about, faces)[faces]
        return _Cover(Surface(about, faces), TriangleGrid(about, faces), normals, around, middle)

    def _push(
        self, points: Floats, body: _Body, motion: Floats, size: float, cover: _Cover, vertices: Floats
    ) -> Floats:
        """(3,) what moves a body, its vertices at points (n, 3), back until no skin cuts into it, nor lies in it."""
        free = ~np.isin(body.vertices, self.blocked)
        push = np.zeros(3)
        for _ in range(PUSHES):
            placed = motion.copy()
            placed[:3, 3] += push
            depth, ways = body.depth(vertices, placed, size)
            cut, inwards = cover.cuts(points + push, free, GAP_MM)
            depth, ways = np.concatenate([depth, cut]), np.concatenate([ways, inwards])
            deep = depth > SUNK_GAP_MM / 2
            if not deep.any():
                break
            depth, ways = depth[deep], ways[deep]
            deepest = depth.argmax()
            # the mean direction would be shorter than what the deepest needs, where a lid is curved
            direction = depth @ ways
            direction /= max(float(np.linalg.norm(direction)), 1e-9)
            along = max(float(ways[deepest] @ direction), 0.3)
            push = push + depth[deepest] / along * direction
            if np.linalg.norm(push) > MOST_PUSHED_MM:
                break
        return push

    def outside(self, vertices: Floats) -> Longs:
        """Of a frame (V, 3), vertices of bodies with skin between them and their body's middle, or nearest to skin that
        lies in the body, and soft ones before the skin; but none that are so at rest."""
        from scipy.spatial import cKDTree

        cover = self.surface(vertices[self.index])
        found = [np.empty(0, np.int64)]
        for body in self.bodies:
            free = ~np.isin(body.vertices, self.blocked)
            now, rest = vertices[body.vertices], self.template.vertices[body.vertices]
            found.append(body.vertices[cover.behind_of(now, free, 0.0)[0]])
            size = fit_similarity_scale(rest, now)
            depth, _ = body.depth(vertices[self.index], fit_rigid(size * rest, now), size)
            over = vertices[self.index[body.near[depth > OVER_MM]]] if len(depth) else np.empty((0, 3))
            found.append(np.unique(body.vertices[cKDTree(now).query(over)[1]]) if len(over) else found[0])
        found.append(self.under[cover.before(vertices[self.under], REACH_MM).through])
        return np.unique(np.concatenate(found))


@dataclass(frozen=True)
class _Heights:
    """Of points: the skin's `closest` ones (n, 3), with `normals`; `height` (n,) above them, mm; `on_skin` (n,) whether
    that tells on which side of it they lie."""

    closest: Floats
    normals: Floats
    height: Floats
    on_skin: Bools

    @property
    def through(self) -> Bools:
        """(n,) which have come out."""
        return self.over(OVER_MM)

    def over(self, least_mm: float) -> Bools:
        """(n,) which lie so far above the skin at least."""
        return np.asarray(self.on_skin & (self.height > least_mm) & (self.height < REACH_MM))


@dataclass(frozen=True)
class _Cover:
    """The skin of a frame about its middle (3,); normals of its triangles (t, 3), and of their corners (t, 3, 3)."""

    surface: Surface
    grid: TriangleGrid
    normals: Floats
    corner_normals: Floats
    middle: Floats

    def behind_of(self, points: Floats, free: Bools, gap: float) -> tuple[Longs, Floats, Floats]:
        """Of a body's points (n, 3): those that skin lies behind, or less than `gap` before; how deep they stick in it
        (b,); and the skin's normals, inwards (b, 3)."""
        centre = points.mean(axis=0)
        rows = np.flatnonzero(free)
        away = points[rows] - centre
        far = np.maximum(lengths(away), 1e-9)
        direction = away / far[:, None]
        hit = self.surface.cast(np.tile(centre - self.middle, (len(rows), 1)), direction)
        cut = hit.hit & (hit.distances < far + gap)
        inwards = -self.normals[hit.triangles[cut]]
        # skin that is met from outside belongs to something else: an ear, the other lip
        facing = (inwards * direction[cut]).sum(axis=1)
        depth = (far + gap - hit.distances)[cut] * np.abs(facing)
        out = facing < 0
        return rows[cut][out], depth[out], inwards[out]

    def before(self, points: Floats, reach_mm: float = np.inf) -> _Heights:
        """How far points (n, 3) lie before the skin that is closest to them; what is farther than `reach_mm` is not
        `on_skin`, and is quicker not to find."""
        about = points - self.middle
        near = np.isfinite(reach_mm)
        found: Closest | Near = self.grid.closest(about, reach_mm) if near else self.surface.closest(about)
        # on an edge two triangles are closest, and rounding alone chooses between their normals (cf. Baerentzen and
        # Aanaes, Signed distance computation using the angle weighted pseudonormal, 2005)
        smooth = np.einsum("kc,kcx->kx", found.weights, self.corner_normals[found.triangles])
        smooth /= np.maximum(lengths(smooth), 1e-12)[:, None]
        edge = np.asarray((found.weights < ON_EDGE).any(axis=1))
        normals = np.where(edge[:, None], smooth, self.normals[found.triangles])
        away = about - found.points
        height = (away * normals).sum(axis=1)
        # over a hole, or beside an edge, the closest triangle says nothing
        on_skin = np.abs(height) > LEVEL * found.distances
        return _Heights(found.points + self.middle, normals, height, np.asarray(on_skin))

    def cuts(self, points: Floats, free: Bools, gap: float) -> tuple[Floats, Floats]:
        _, depth, inwards = self.behind_of(points, free, gap)
        return depth, inwards


def _spread(points: Floats, density: Floats, count: int) -> Longs:
    """At most `count` of points (n, 3), evenly by a density (n,), 0 never: farthest first, in its measure."""
    if not (density > 0).any():
        return np.empty(0, np.int64)
    chosen = [int(np.argmax(density))]
    nearest = np.full(len(points), np.inf)
    for _ in range(min(count, int((density > 0).sum())) - 1):
        nearest = np.minimum(nearest, lengths(points - points[chosen[-1]]))
        farthest = int(np.argmax(nearest * density))
        if nearest[farthest] * density[farthest] <= 0:
            break
        chosen.append(farthest)
    return np.array(sorted(chosen), np.int64)
