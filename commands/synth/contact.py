"""Lips and lids that touch: the seam between the lips, and the margins of the lids around the eyeball.

A lip is moved until it presses a little into the other one, and what passes the sheet between them is put onto
the sheet: two soft bodies in contact, with a patch in common and no penetration.  A lid turns about the centre
of the eyeball, so that it slides over it.

Lengths are mm, in the head's own frame: +x the subject's left, +y up, +z out of the face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.sparse.csgraph import dijkstra

from mimicme.commands.synth.people import Rig
from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import boundary_vertices, edges

PRESS_MM = 0.45
"""How far each lip would pass the seam if the other one were not there."""
CLOSED_GAP_MM = 0.05
STATIONS = 61
UPPER_LIP = (49, 50, 51, 52, 53, 61, 62, 63)
LOWER_LIP = (55, 56, 57, 58, 59, 65, 66, 67)
LIP_REACH_MM = 9.0
"""How far from the seam a lip follows it."""
CLOSED_AT = 0.18
"""Where the lids meet: share of the opening above the lower lid's margin."""
UPPER_REACH_DEG, LOWER_REACH_DEG = 62.0, 36.0
LID_MM = 0.7
"""Thickness of a lid over the eyeball."""


def smooth_step(t: Floats) -> Floats:
    """0 up to t = 0, 1 from t = 1 on, without a kink."""
    t = np.clip(t, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


@dataclass(frozen=True)
class Eye:
    """An eyeball and the margins of its lids.

    Attributes:
        centre: (3,); radius: mm.
        axes: (3, 3) rows: along the opening, up, out of the head.
        along: (k,) mm along the opening, ascending; upper, lower: (k,) radians above the equator.
    """

    centre: Floats
    radius: float
    axes: Floats
    along: Floats
    upper: Floats
    lower: Floats

    def polar(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """Points (k, 3): along the opening (mm), elevation (radians), distance from the centre's axis (mm)."""
        local = (points - self.centre) @ self.axes.T
        return local[:, 0], np.arctan2(local[:, 1], local[:, 2]), np.hypot(local[:, 1], local[:, 2])

    def placed(self, along: Floats, elevation: Floats, out: Floats) -> Floats:
        """The inverse of `polar`."""
        local = np.stack([along, out * np.sin(elevation), out * np.cos(elevation)], axis=1)
        return np.asarray(local @ self.axes + self.centre)

    def margins(self, along: Floats) -> tuple[Floats, Floats]:
        """Elevations of the upper and the lower margin (radians); equal outside the opening."""
        upper, lower = np.interp(along, self.along, self.upper), np.interp(along, self.along, self.lower)
        return np.maximum(upper, lower), lower

    def surface_radius(self, directions: Floats, gaze: Floats | None = None) -> Floats:
        """(k,) mm from the centre to the eyeball with its cornea, along unit vectors (k, 3)."""
        ahead = self.axes[2] if gaze is None else gaze
        angle = np.arccos(np.clip(directions @ ahead, -1, 1))
        return np.asarray(self.radius + 0.055 * self.radius * np.exp(-((angle / 0.30) ** 2)))


@dataclass(frozen=True)
class Anatomy:
    """Which of a template's vertices are lips and eyes.

    Attributes:
        lip: (V,) int8: 1 upper lip's side of the mouth, -1 lower lip's, 0 elsewhere.
        lip_edge: (V,) True for vertices near the seam, whose extremes are the lips' edges.
        lip_pairs: edges (e, 2) between such vertices, of the upper and of the lower lip.
        eyes: (V,) bool twice, right and left: vertices on an eyeball.
        edge_mm: mean length of the template's edges at the mouth.
    """

    rig: Rig
    lip: NDArray[np.int8]
    lip_edge: Bools
    lip_pairs: tuple[Ints, Ints]
    eyes: tuple[Bools, Bools]
    edge_mm: float

    @property
    def eye(self) -> Bools:
        """(V,) True on an eyeball."""
        return np.asarray(self.eyes[0] | self.eyes[1])


def find_anatomy(rig: Rig) -> Anatomy:
    """Lips by the way over the surface, which does not cross the slit; eyeballs by a sphere."""
    v, faces = rig.template.vertices, rig.template.faces
    pairs, _ = edges(faces)
    length = np.linalg.norm(v[pairs[:, 0]] - v[pairs[:, 1]], axis=1)
    graph = sparse.csr_matrix((length, (pairs[:, 0], pairs[:, 1])), shape=(len(v), len(v)))
    reach = [
        dijkstra(graph, directed=False, indices=rig.landmarks[list(lip)], min_only=True, limit=45 * rig.scale)
        for lip in (UPPER_LIP, LOWER_LIP)
    ]
    lip = np.where(reach[0] < reach[1], 1, -1).astype(np.int8)
    lip[~np.isfinite(np.minimum(*reach))] = 0
    points = v[rig.landmarks]
    inner = points[60:68]
    far = np.abs(v - inner.mean(axis=0))
    near = (far[:, 1] < 6 * rig.scale) & (v[:, 2] > inner[:, 2].min() - 4 * rig.scale) & (lip != 0)
    near &= (v[:, 0] > points[48, 0]) & (v[:, 0] < points[54, 0])
    at_mouth = near[pairs].all(axis=1)
    edge_mm = float(length[at_mouth].mean()) if at_mouth.any() else float(length.mean())
    upper, lower = (pairs[(near & (lip == side))[pairs].all(axis=1)] for side in (1, -1))
    eyes = tuple(_on_eyeball(v, faces, points[part]) for part in (slice(36, 42), slice(42, 48)))
    return Anatomy(rig, lip, near, (upper, lower), (eyes[0], eyes[1]), edge_mm)


def _on_eyeball(v: Floats, faces: Ints, lids: Floats) -> Bools:
    middle = lids.mean(axis=0)
    across, up, out = _eye_axes(lids)
    local = (v - middle) @ np.stack([across, up, out]).T
    wide = np.linalg.norm(lids[0] - lids[3]) / 2
    tall = max(abs((lids[[1, 2]] - lids[[4, 5]]).mean(axis=0) @ up) / 2, 0.2 * wide)
    ellipse = (local[:, 0] / wide) ** 2 + (local[:, 1] / tall) ** 2
    seed = (ellipse < 0.36) & (np.abs(local[:, 2]) < 0.6 * wide)
    if seed.sum() < 12:
        return np.zeros(len(v), bool)
    centre, radius = fit_sphere(v[seed])
    off = np.abs(np.linalg.norm(v - centre, axis=1) - radius)
    close = (off < 0.12) & (ellipse < 2.2) & (np.abs(local[:, 2]) < wide)
    return np.asarray(close & ~boundary_vertices(faces, len(v)))


def _eye_axes(lids: Floats) -> Floats:
    """(3, 3) rows of `Eye.axes` from six points of the lids; along the opening goes towards +x."""
    across = lids[3] - lids[0]
    across = across / np.linalg.norm(across)
    out = np.cross(across, [0.0, 1.0, 0.0])
    out /= np.linalg.norm(out)
    return np.stack([across, np.cross(out, across), out])


def fit_sphere(points: Floats) -> tuple[Floats, float]:
    """Centre (3,) and radius of the sphere through points (k, 3), algebraic least squares."""
    middle = points.mean(axis=0)
    local = points - middle
    rows = np.column_stack([2 * local, np.ones(len(local))])
    found = np.linalg.lstsq(rows, (local**2).sum(axis=1), rcond=None)[0]
    return middle + found[:3], float(np.sqrt(found[3] + found[:3] @ found[:3]))


def fit_eyes(anatomy: Anatomy, face: Floats) -> tuple[Eye, Eye]:
    """The eyes of a face (V, 3), lids as open as they are there."""
    marks = face[anatomy.rig.landmarks]
    fitted = []
    for member, part in zip(anatomy.eyes, (slice(36, 42), slice(42, 48)), strict=True):
        lids = marks[part]
        axes = _eye_axes(lids)
        wide = float(np.linalg.norm(lids[3] - lids[0]))
        known = member.sum() >= 12
        if known:
            centre, radius = fit_sphere(face[member])
        else:
            radius = 0.6 * wide
            centre = lids.mean(axis=0) - axes[2] * 0.86 * radius
        empty = np.zeros(0)
        bare = Eye(centre, radius, axes, empty, empty, empty)
        along, elevation, _ = bare.polar(np.concatenate([face[member], lids]) if known else lids)
        grid = np.linspace(along.min(), along.max(), 25)
        if known:
            step = grid[1] - grid[0]
            upper, lower = np.full(25, np.nan), np.full(25, np.nan)
            for i, place in enumerate(grid):
                here = np.abs(along - place) < step
                if here.any():
                    upper[i], lower[i] = elevation[here].max(), elevation[here].min()
            upper, lower = _filled(upper), _filled(lower)
        else:
            upper = np.interp(grid, along[[0, 1, 2, 3]], elevation[[0, 1, 2, 3]])
            lower = np.interp(grid, along[[0, 5, 4, 3]], elevation[[0, 5, 4, 3]])
        middle = (upper + lower) / 2
        upper[[0, -1]], lower[[0, -1]] = middle[[0, -1]], middle[[0, -1]]
        fitted.append(
            Eye(centre, radius, axes, grid, gaussian_filter1d(upper, 1.0), gaussian_filter1d(lower, 1.0))
        )
    return fitted[0], fitted[1]


def _filled(values: Floats) -> Floats:
    known = np.isfinite(values)
    return np.interp(np.arange(len(values)), np.flatnonzero(known), values[known])


def seat_eyes(anatomy: Anatomy, face: Floats, eyes: tuple[Eye, Eye]) -> Floats:
    """The face with its eyeballs' vertices exactly on the spheres, and no skin inside one."""
    out = face.copy()
    for member, eye in zip(anatomy.eyes, eyes, strict=True):
        local = out[member] - eye.centre
        out[member] = eye.centre + local * (eye.radius / np.linalg.norm(local, axis=1))[:, None]
    return out


def move_lids(anatomy: Anatomy, face: Floats, eyes: tuple[Eye, Eye], amounts: tuple[float, float]) -> Floats:
    """The face (V, 3) with its lids moved: 1 is closed, 0 as in `eyes`, negative is wider open; right and left."""
    out = face.copy()
    for member, eye, amount in zip(anatomy.eyes, eyes, amounts, strict=True):
        if amount == 0:
            continue
        along, elevation, far = eye.polar(out)
        upper, lower = eye.margins(along)
        opening = upper - lower
        meet = lower + CLOSED_AT * opening
        distance = np.linalg.norm(out - eye.centre, axis=1)
        if amount > 0:
            up_by, low_by = amount * (meet - upper), amount * (meet - lower)
        else:
            up_by, low_by = -amount * 0.5 * opening, np.zeros_like(opening)
        near = 1 - smooth_step((distance / eye.radius - 1.35) / 0.55)
        near *= elevation_front(elevation)
        is_upper = elevation > (upper + lower) / 2
        above = 1 - smooth_step((elevation - upper) / np.radians(UPPER_REACH_DEG))
        below = 1 - smooth_step((lower - elevation) / np.radians(LOWER_REACH_DEG))
        turn = np.where(is_upper, up_by * above, low_by * below) * near
        turned = elevation + turn
        if amount > 0:
            limit = near > 0.5
            limit &= opening > 0
            high, low = upper + up_by, lower + low_by
            turned = np.where(limit & is_upper, np.maximum(turned, high), turned)
            turned = np.where(limit & ~is_upper, np.minimum(turned, low), turned)
        # what lies on the eyeball stays between the margins, as a thin strip where they meet
        share = np.clip((elevation - lower) / np.maximum(opening, 1e-6), 0, 1)
        least = 0.15 / eye.radius
        width = np.maximum(opening + up_by - low_by, least)
        between = (lower + low_by + upper + up_by) / 2 + (share - 0.5) * width
        turned = np.where(member, between, turned)
        moved = (np.abs(turned - elevation) > 1e-9) & ((near > 0) | member)
        placed = eye.placed(along[moved], turned[moved], far[moved])
        ray = placed - eye.centre
        length = np.linalg.norm(ray, axis=1)
        ray /= length[:, None]
        lid = LID_MM * min(1.0, max(amount, 0.0))
        least_out = np.where(member[moved], 0.0, eye.surface_radius(ray) + lid)
        out[moved] = eye.centre + ray * np.maximum(length, least_out)[:, None]
    return out


def elevation_front(elevation: Floats) -> Floats:
    """1 before the eyeball, 0 behind it."""
    return 1 - smooth_step((np.abs(elevation) - np.radians(95)) / np.radians(30))


@dataclass(frozen=True)
class Seam:
    """The lips' edges at `STATIONS` places across the mouth.

    Attributes:
        across: (s,) x, ascending; upper, lower: (s,) y of the upper lip's lowest, the lower lip's highest point.
        upper_depth, lower_depth: (s,) z of these points, smooth along the seam.
    """

    across: Floats
    upper: Floats
    lower: Floats
    upper_depth: Floats
    lower_depth: Floats

    @property
    def depth(self) -> Floats:
        """(s,) z of the seam."""
        return np.asarray((self.upper_depth + self.lower_depth) / 2)

    @property
    def gap(self) -> Floats:
        """(s,) mm between the lips, negative where they overlap."""
        return self.upper - self.lower


def find_seam(anatomy: Anatomy, face: Floats) -> Seam:
    """The lips' edges in a face (V, 3) held upright."""
    marks = face[anatomy.rig.landmarks]
    inset = max(1.0 * anatomy.rig.scale, 0.3 * anatomy.edge_mm)
    across = np.linspace(marks[60, 0] + inset, marks[64, 0] - inset, STATIONS)
    found = []
    for side, pairs in zip((1, -1), anatomy.lip_pairs, strict=True):
        # the lips' profiles: where their edges pass each place
        start, end = face[pairs[:, 0]], face[pairs[:, 1]]
        run = end[:, 0] - start[:, 0]
        share = (across[:, None] - start[:, 0]) / np.where(np.abs(run) < 1e-9, 1e-9, run)
        passes = (share >= 0) & (share <= 1)
        y = np.where(passes, side * (start[:, 1] + share * (end[:, 1] - start[:, 1])), np.inf)
        best = np.argmin(y, axis=1)
        rows = np.arange(STATIONS)
        known = passes[rows, best]
        z = start[best, 2] + share[rows, best] * (end[best, 2] - start[best, 2])
        edge = _filled(np.where(known, side * y[rows, best], np.nan))
        found.append((edge, gaussian_filter1d(_filled(np.where(known, z, np.nan)), 2.0)))
    (upper, above), (lower, below) = found
    return Seam(across, upper, lower, above, below)


def close_lips(anatomy: Anatomy, face: Floats, press_mm: float = PRESS_MM) -> Floats:
    """The face with its lips moved towards each other until each would pass the seam by `press_mm`."""
    out = face.copy()
    rig = anatomy.rig
    for _ in range(4):
        seam = find_seam(anatomy, out)
        middle = gaussian_filter1d((seam.upper + seam.lower) / 2, 2.0)
        x = out[:, 0]
        height, depth = np.interp(x, seam.across, middle), np.interp(x, seam.across, seam.depth)
        beyond = np.maximum(np.maximum(seam.across[0] - x, x - seam.across[-1]), 0)
        square = (out[:, 1] - height) ** 2 + (out[:, 2] - depth) ** 2 + 4 * beyond**2
        weight = np.exp(-square / (LIP_REACH_MM * rig.scale) ** 2)
        down = np.interp(x, seam.across, middle - press_mm - seam.upper)
        up = np.interp(x, seam.across, middle + press_mm - seam.lower)
        out[:, 1] += weight * np.where(anatomy.lip > 0, down, np.where(anatomy.lip < 0, up, 0.0))
        # they meet with the same part of their thickness
        apart = np.clip(np.interp(x, seam.across, seam.upper_depth - seam.lower_depth), -4, 4) / 2
        out[:, 2] -= 0.9 * weight * apart * anatomy.lip
    return out


def touch_lips(anatomy: Anatomy, face: Floats) -> tuple[Floats, Floats]:
    """The face with lips that overlap brought into contact, and the sheet between them: y at `Seam.across`, (s,).

    What passes the sheet is put onto it, and a lip that does not reach it where the lips met goes there.
    """
    out = face.copy()
    seam = find_seam(anatomy, out)
    sheet = gaussian_filter1d((seam.upper + seam.lower) / 2, 2.0)
    met = seam.gap < CLOSED_GAP_MM
    for _ in range(5):
        out = separate_lips(seam, sheet, out, anatomy.lip, anatomy.lip_edge)
        after = find_seam(anatomy, out)
        short = np.stack([after.upper - sheet, sheet - after.lower]) * met
        if short.max() < 0.002:
            break
        short = np.maximum(maximum_filter1d(short, 3, axis=1), 0) * 1.3
        x = out[:, 0]
        height, depth = np.interp(x, seam.across, sheet), np.interp(x, seam.across, seam.depth)
        weight = np.exp(-((out[:, 1] - height) ** 2 + (out[:, 2] - depth) ** 2) / 9.0)
        down, up = np.interp(x, seam.across, short[0]), np.interp(x, seam.across, short[1])
        out[:, 1] += weight * np.where(anatomy.lip > 0, -down, np.where(anatomy.lip < 0, up, 0.0))
    return separate_lips(seam, sheet, out, anatomy.lip, anatomy.lip_edge), sheet


def separate_lips(seam: Seam, sheet: Floats, points: Floats, lip: NDArray[Any], near: Bools) -> Floats:
    """Points (k, 3) with what passes the sheet between overlapping lips put onto the sheet.

    Args:
        seam: before the lips touched; where they were apart nothing moves.
        sheet: (s,) y at `seam.across`.
        lip: (k,) positive on the upper lip's side, negative on the lower's.
        near: (k,) True for points that may be moved.
    """
    out = points.copy()
    x = out[:, 0]
    height = np.interp(x, seam.across, sheet)
    inside = near & (x >= seam.across[0]) & (x <= seam.across[-1])
    inside &= np.interp(x, seam.across, seam.gap) < 0.3
    y = out[:, 1]
    y = np.where(inside & (lip > 0), np.maximum(y, height), y)
    out[:, 1] = np.where(inside & (lip < 0), np.minimum(y, height), y)
    return out
