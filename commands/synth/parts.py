"""What a scan of a head has besides the template's skin: eyeballs, teeth, a tongue, the skull, hair, a cap, a collar.

Each is a surface of its own with colours at its vertices, in the head's frame (mm).  None belongs to a template vertex.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.synth.acting import Actor, Pose
from mimicme.commands.synth.contact import Eye, find_seam, smooth_step
from mimicme.commands.synth.people import distance_to
from mimicme.commands.synth.relief import value_noise
from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import triangle_normals, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface

SKIN, LINING, EYE, TEETH, TONGUE, HAIR, CAP, SKULL, CLOTH = range(9)
SHELL_POINTS = 24_000
IRISES = ((84, 58, 36), (74, 96, 70), (84, 112, 140), (50, 38, 30), (104, 92, 62))
CLOTHS = ((52, 60, 82), (150, 40, 44), (206, 204, 198), (70, 96, 74), (38, 38, 42), (176, 150, 104))
CAPS = ((36, 36, 40), (196, 168, 136), (60, 74, 110))


@dataclass(frozen=True)
class Part:
    """A coloured surface: vertices (n, 3), faces (t, 3), colors (n, 3) in [0, 255], `kind` as above."""

    vertices: Floats
    faces: Ints
    colors: Floats
    kind: int


def grid_faces(rows: int, columns: int) -> Ints:
    """Triangles of a grid of rows x columns points, row by row; seen from where rows go up and columns to the right."""
    k = np.arange((rows - 1) * columns).reshape(rows - 1, columns)[:, :-1].ravel()
    a, b, c, d = k, k + 1, k + columns, k + columns + 1
    return np.concatenate([np.stack([a, b, d], axis=1), np.stack([a, d, c], axis=1)]).astype(np.int32)


def eyeball(eye: Eye, gaze_deg: tuple[float, float], iris: Floats, rng: np.random.Generator) -> Part:
    """The front of an eyeball with its cornea; a scanner sees a wet surface badly, so it is uneven."""
    turn, lift = np.radians(gaze_deg)
    gaze = np.array([np.sin(turn) * np.cos(lift), np.sin(lift), np.cos(turn) * np.cos(lift)]) @ eye.axes
    side = np.cross(eye.axes[1], gaze)
    side /= np.linalg.norm(side)
    up = np.cross(gaze, side)
    angle, around = np.meshgrid(np.linspace(0, 1.35, 42), np.linspace(0, 2 * np.pi, 72), indexing="ij")
    flat = np.stack([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)], axis=-1)
    rays = flat.reshape(-1, 3) @ np.stack([side, up, gaze])
    far = eye.surface_radius(rays, gaze)
    vertices = eye.centre + rays * far[:, None]
    dent = (
        value_noise(vertices, 2.5, rng) * 0.10 - 0.35 * np.exp(-((angle.ravel() / 0.22) ** 2)) * rng.random()
    )
    vertices = vertices + rays * dent[:, None]
    mm = angle.ravel() * 12.0
    red = np.clip((mm - 7) / 6, 0, 1)[:, None]
    colors = np.array([226.0, 218.0, 212.0]) - red * [10.0, 44.0, 44.0]
    fibre = 1 + 0.18 * np.sin(31 * around.ravel() + rng.uniform(0, 6)) * np.sin(17 * around.ravel())
    share = np.clip((5.9 - mm) / 0.5, 0, 1)[:, None]
    colors = colors * (1 - share) + share * iris * fibre[:, None] * (0.75 + 0.06 * mm[:, None])
    pupil = np.clip((2.1 - mm) / 0.35, 0, 1)[:, None]
    return Part(vertices, grid_faces(42, 72), colors * (1 - pupil) + 14 * pupil, EYE)


def mouth_parts(actor: Actor, pose: Pose, rng: np.random.Generator) -> list[Part]:
    """Upper and lower teeth with gums, and the tongue: in the mouth, or out of it."""
    seam = find_seam(actor.anatomy, actor.neutral)
    s = actor.rig.scale * float(np.ptp(seam.across)) / 44.0
    middle = np.array(
        [seam.across.mean(), float((seam.upper + seam.lower).mean() / 2), float(seam.depth.max())], np.float64
    )
    parts = []
    for upper in (True, False):
        x = np.linspace(-1, 1, 91)
        tall = np.linspace(-1, 1, 15)
        t, h = np.meshgrid(x, tall, indexing="xy")
        bump = np.abs(np.cos(np.pi * (t * 5 + 0.5 if upper else t * 5.6 + 0.5))) ** 0.6
        crown = np.clip(h if upper else -h, -1, 1)
        depth = (23 if upper else 22) * np.abs(t) ** 2.3
        out = 1.2 * bump * (crown < 0.3) + 0.8 * crown
        sign = 1.0 if upper else -1.0
        vertices = np.stack(
            [
                middle[0] + s * t * (23 if upper else 21.5),
                middle[1] + s * (sign * 4.4 + 5.4 * h - (2.2 if upper else 0.6)),
                middle[2] - s * ((7.4 if upper else 9.0) + depth - out),
            ],
            axis=-1,
        ).reshape(-1, 3)
        gum = smooth_step((crown.ravel() - 0.25 + 0.25 * (1 - bump.ravel())) / 0.2)[:, None]
        colors = np.array([214.0, 202.0, 176.0]) * (0.7 + 0.3 * bump.ravel()[:, None]) * (1 - gum)
        colors = colors + gum * [168, 92, 92]
        parts.append(Part(vertices, grid_faces(15, 91), colors, TEETH))
    a, b = np.meshgrid(np.linspace(-np.pi / 2, np.pi / 2, 40), np.linspace(0, 2 * np.pi, 61), indexing="ij")
    ball = np.stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)], axis=-1).reshape(-1, 3)
    vertices = middle + s * (ball * [16.0, 6.5, 22.0] + [0.0, -7.5, -34.0])
    tongue = Part(vertices, grid_faces(40, 61), _tongue_color(vertices, rng), TONGUE)
    lower = [parts[1], tongue]
    turned = [Part(_with_jaw(actor, pose, p.vertices), p.faces, p.colors, p.kind) for p in lower]
    if pose.tongue > 0.05:
        turned[1] = _tongue_out(actor, pose, ball, s, rng)
    return [parts[0], *turned]


def _tongue_color(vertices: Floats, rng: np.random.Generator) -> Floats:
    rough = 1 + 0.06 * value_noise(vertices, 1.2, rng)
    return np.asarray(np.array([186.0, 96.0, 98.0]) * rough[:, None])


def _tongue_out(actor: Actor, pose: Pose, ball: Floats, s: float, rng: np.random.Generator) -> Part:
    """A tongue over the lower lip, its tip turned down."""
    lips = find_seam(actor.anatomy, pose.skin[: len(actor.neutral)])
    k = len(lips.across) // 2
    top, front = float(lips.lower[k]), float(lips.depth[k])
    reach = pose.tongue * 24.0
    along = ball[:, 2]  # -1 in the throat, 1 at the tip
    length = s * (34.0 + reach) / 2
    z = front + s * reach - length + along * length
    # rounded like a spoon, not like an egg
    round_x = np.sign(ball[:, 0]) * np.abs(ball[:, 0]) * np.clip(1 - along**2, 1e-6, 1) ** -0.22
    wide = s * (14.5 - 2.0 * np.clip(along, 0, 1)) * round_x
    beyond = np.clip(z - front + 2 * s, 0, None)
    thick = s * (4.2 - 0.9 * np.clip(along, 0, 1))
    y = top + 0.6 * s + thick + thick * ball[:, 1] - beyond**2 / (46 * s)
    groove = 0.9 * s * np.exp(-((ball[:, 0] / 0.22) ** 2)) * (ball[:, 1] > 0)
    vertices = np.stack([lips.across.mean() + wide, y - groove, z], axis=1)
    return Part(vertices, grid_faces(40, 61), _tongue_color(vertices, rng), TONGUE)


def _with_jaw(actor: Actor, pose: Pose, points: Floats) -> Floats:
    angle = np.radians(pose.jaw_deg)
    pivot = actor.rig.hinge(actor.neutral)
    local = points - pivot
    cos, sin = np.cos(angle), np.sin(angle)
    return pivot + np.stack(
        [local[:, 0], cos * local[:, 1] - sin * local[:, 2], sin * local[:, 1] + cos * local[:, 2]], axis=1
    )


@dataclass(frozen=True)
class Wear:
    """What a person has on the head and around the neck; the shells stay where they are on the neutral head."""

    shells: tuple[Part, ...]


def wear(actor: Actor, tone: Floats, hair: Floats, rng: np.random.Generator) -> Wear:
    """The skull behind the template's border, with hair or a cap on it, and a collar."""
    rig = actor.rig
    s = rig.scale
    neutral = actor.fine.curved(actor.neutral)
    surface = Surface(neutral, actor.fine.faces)
    bridge = actor.neutral[rig.landmarks[27]]
    centre = np.array([0.0, bridge[1] - 12 * s, bridge[2] - 100 * s])
    rays, faces = _sphere(SHELL_POINTS)
    skin, bare = _skull_radius(rig.scale, surface, centre, rays)
    points = centre + rays * skin[:, None]
    shells = []
    line = hair_line(actor, points, bridge, rng)
    thick_mm, rough_mm, edge_mm, kind, color = 0.0, 0.0, 1.0, SKULL, tone
    if actor.who.cover == "hair":
        thick_mm, rough_mm, edge_mm, kind, color = rng.uniform(6, 13) * s, 0.9 * s, 9.0 * s, HAIR, hair
    elif actor.who.cover == "cap":
        thick_mm, rough_mm, edge_mm, kind = 1.6 * s, 0.12 * s, 0.8 * s, CAP
        color = np.array(CAPS[int(rng.integers(len(CAPS)))], np.float64)
    height = smooth_step(line / edge_mm) * thick_mm
    lumps = 1 + (0.28 if kind == HAIR else 0.1) * value_noise(
        points, (14.0 if kind == HAIR else 30.0) * s, rng
    )
    strands = value_noise(points * [1.0, 0.45, 1.0], 3.2 * s, rng)
    far = skin + height * np.clip(lumps, 0.3, 1.8) + smooth_step(line / (3 * s)) * rough_mm * strands
    if kind == CAP:
        far += 0.9 * s * np.exp(-(((line - 2.5 * s) / (1.6 * s)) ** 2))  # the hem
    far = np.where(line > 0, far + 0.15 * s, skin - 1.5 * s)
    # a bald head is the skin's own continuation behind the template's border, and begins a little below it
    rim = neutral[: len(actor.neutral)][rig.rim]
    base = centre + rays * (skin - np.where(bare, 0.05, 0.8 * s))[:, None]
    before = rays @ [0.0, 0.35, 0.94] > -0.62
    bald = (bare | (distance_to(rim, points) < 5 * s)) & (points[:, 1] > bridge[1] - 5 * s) & before
    shell = centre + rays * far[:, None]
    keep = (line > -2.0 * s)[faces].all(axis=1)
    keep &= before[faces].all(axis=1)
    shade = 1 + (0.22 if kind == HAIR else 0.04) * strands
    if kind != SKULL:
        shells.append(Part(shell, faces[keep], np.clip(color * shade[:, None], 4, 250), kind))
    shells.append(Part(base, faces[bald[faces].all(axis=1)], np.clip(tone * shade[:, None], 4, 250), SKULL))
    shells.append(_collar(actor, surface, rng))
    return Wear(tuple(shells))


def hair_line(actor: Actor, points: Floats, bridge: Floats, rng: np.random.Generator) -> Floats:
    """(k,) mm above the hair line, or the cap's; negative on bare skin."""
    s = actor.rig.scale
    waves = rng.uniform(0, 2 * np.pi, 3)
    azimuth = np.degrees(np.arctan2(np.abs(points[:, 0]), points[:, 2] - (bridge[2] - 95 * s)))
    high = 58 + 10 * actor.who.old * (not actor.who.female)
    places: tuple[list[float], list[float]]
    if actor.who.cover == "cap":
        places = ([0, 35, 60, 75, 95, 140], [50, 48, 40, 30, 24, 10])
    elif actor.who.female and actor.who.cover == "hair" and rng.random() < 0.6:
        places = ([0, 30, 52, 66, 74, 140], [high, high - 4, 30, -30, -80, -85])
    else:
        places = ([0, 30, 48, 60, 68, 76, 84, 95, 140], [high, high - 3, 40, 12, -8, -10, 18, 22, -10])
    level = bridge[1] + s * np.interp(azimuth, *places)
    x = points[:, 0] / s
    uneven = 0.25 if actor.who.cover == "cap" else 1.0
    level = level + s * uneven * (
        1.8 * np.sin(x / 7 + waves[0]) + 1.2 * np.sin(x / 3.1 + waves[1]) * (uneven == 1)
    )
    return np.asarray(points[:, 1] - level)


def _sphere(count: int) -> tuple[Floats, Ints]:
    """Unit vectors (count, 3), evenly spread, and their triangles, counter-clockwise from outside."""
    from scipy.spatial import ConvexHull

    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    around = np.pi * (1 + 5**0.5) * k
    flat = np.sqrt(1 - z * z)
    rays = np.stack([flat * np.cos(around), flat * np.sin(around), z], axis=1)
    faces = np.sort(ConvexHull(rays).simplices, axis=1)
    faces = faces[np.lexsort(faces.T)]
    a, b, c = (rays[faces[:, i]] for i in range(3))
    inward = (np.cross(b - a, c - a) * a).sum(axis=1) < 0
    faces[inward] = faces[inward][:, [0, 2, 1]]
    return rays, faces.astype(np.int32)


def _skull_radius(scale: float, surface: Surface, centre: Floats, rays: Floats) -> tuple[Floats, Bools]:
    """(n,) mm from the centre to the skin, and where the template has none: there an ellipsoid, joined smoothly."""
    from scipy.interpolate import RBFInterpolator
    from scipy.spatial import cKDTree

    hits = surface.cast(centre + 400 * rays, -rays)
    normals, _ = triangle_normals(surface.vertices, surface.faces)
    # through the open top a ray would see the skin's back
    on_skin = (
        hits.hit & ((normals[hits.triangles] * rays).sum(axis=1) > 0) & (hits.distances < 400 - 40 * scale)
    )
    known = np.flatnonzero(on_skin)
    radius = np.where(on_skin, 400 - hits.distances, 0.0)
    axes = np.array([76.0, 108.0, 92.0]) * scale
    ball = 1 / np.linalg.norm(rays / axes, axis=1)
    upper = known[rays[known, 1] > 0.1]
    some = upper[:: max(1, len(upper) // 700)]
    gap = cKDTree(rays[upper]).query(rays)[0]
    free = np.flatnonzero(~on_skin & (gap > 0.55))
    free = free[:: max(1, len(free) // 250)]
    at, value = np.concatenate([rays[some], rays[free]]), np.concatenate([radius[some], ball[free]])
    spline = RBFInterpolator(at, value, kernel="thin_plate_spline", smoothing=1e-4, degree=1, neighbors=None)
    open_sky = np.flatnonzero(~on_skin)
    radius[open_sky] = spline(rays[open_sky])
    # thin shells of hair follow the head, not an ear
    lower = np.minimum(radius, np.maximum(ball * 1.25, 60 * scale))
    return np.where(on_skin, lower, radius), ~on_skin


def _collar(actor: Actor, surface: Surface, rng: np.random.Generator) -> Part:
    """A round neck or a turned-down collar with the beginning of the shoulders."""
    rig = actor.rig
    s = rig.scale
    low = float(actor.neutral[:, 1].min())
    around = np.linspace(-np.pi, np.pi, 181)
    axis = np.array([0.0, low + 9 * s, float(actor.neutral[rig.landmarks[[1, 15]], 2].mean())])
    out = np.stack([np.sin(around), 0 * around, np.cos(around)], axis=1)
    hits = surface.cast(axis + 300 * out, -out)
    radius = np.where(hits.hit, 300 - hits.distances, np.nan)
    seen = np.isfinite(radius)
    middle = float(np.median(radius[seen])) if seen.any() else 60 * s
    radius = np.where(seen, radius, middle)
    radius = np.convolve(np.concatenate([radius[-9:], radius, radius[:9]]), np.ones(9) / 9, "same")[9:-9]
    if rng.random() < 0.5:  # a round neck: a hem, then cloth that falls over the shoulders
        profile = [(1.2, 5.0), (3.2, 6.2), (4.4, 4.6), (5.0, 0.0), (16.0, -7.0), (36.0, -16.0), (75.0, -30.0)]
    else:  # a collar: up, over, down
        profile = [
            (4.0, 12.0),
            (5.5, 19.0),
            (8.0, 20.5),
            (11.5, 18.0),
            (17.0, -2.0),
            (15.0, -3.5),
            (38.0, -14.0),
        ]
        profile.append((80.0, -30.0))
    at = np.linspace(0, len(profile) - 1, 40)
    wide, tall = (np.interp(at, np.arange(len(profile)), [p[i] for p in profile]) for i in (0, 1))
    dip = 10 * s * np.exp(-((around / 0.5) ** 2))  # open at the throat
    far = radius[None, :] + s * wide[:, None]
    y = axis[1] + s * tall[:, None] - dip[None, :] * np.clip(1 - wide[:, None] / 40, 0, 1)
    vertices = np.stack(
        [far * np.sin(around), np.broadcast_to(y, far.shape), axis[2] + far * np.cos(around)], -1
    )
    vertices = vertices.reshape(-1, 3)
    vertices[:, 1] += 0.8 * s * value_noise(vertices, 18 * s, rng)
    faces = grid_faces(40, 181)[:, [0, 2, 1]]
    normals = vertex_normals(vertices, faces)
    vertices = vertices + (0.5 * s * value_noise(vertices, 9 * s, rng))[:, None] * normals
    color = np.array(CLOTHS[int(rng.integers(len(CLOTHS)))], np.float64)
    weave = 1 + 0.05 * value_noise(vertices, 1.4 * s, rng)
    return Part(vertices, faces, np.clip(color * weave[:, None], 4, 250), CLOTH)


def joined(parts: Sequence[Part]) -> tuple[Floats, Ints, Floats, NDArray[np.int8]]:
    """Vertices, faces, vertex colours, and the kind of each face."""
    starts = np.cumsum([0, *(len(p.vertices) for p in parts)])
    faces = np.concatenate([p.faces + start for p, start in zip(parts, starts[:-1], strict=True)])
    kinds = np.concatenate([np.full(len(p.faces), p.kind, np.int8) for p in parts])
    return (
        np.concatenate([p.vertices for p in parts]),
        faces.astype(np.int32),
        np.concatenate([p.colors for p in parts]),
        kinds,
    )
