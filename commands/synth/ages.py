"""Who a synthetic person is: age, sex, cover of the head, and the shape that goes with them.

The shape is a free-form deformation of the template: anatomical control points on and around the face (the 68
landmarks and `EXTRA`) are moved in groups, by age, by sex and at random, and a cubic radial basis function (triharmonic
spline) carries the rest of the surface along.  The figures are plausible, not measured on anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.synth.contact import Anatomy, close_lips, fit_eyes, seat_eyes
from mimicme.commands.synth.people import Move, Rig
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.mesh import triangle_normals, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface

AGES = ((11, 14), (15, 24), (25, 44), (45, 63), (64, 83))
COVERS = ("hair", "none", "cap")
ANCHOR_MM = 260.0

# control points besides the landmarks: degrees around the head from the front, mm above the bridge of the nose
EXTRA: dict[str, tuple[tuple[float, float], ...]] = {
    "forehead": ((0, 20), (0, 36), (28, 32), (-28, 32)),
    "crown": ((0, 54), (35, 52), (-35, 52), (65, 50), (-65, 50)),
    "temple": ((62, 18), (-62, 18), (66, 34), (-66, 34)),
    "cheekbone": ((50, -14), (-50, -14)),
    "cheek": ((36, -36), (-36, -36)),
    "hollow": ((54, -46), (-54, -46)),
    "jaw_angle": ((74, -66), (-74, -66)),
    "ear_top": ((96, 8), (-96, 8)),
    "ear_back": ((104, -10), (-104, -10)),
    "ear_lobe": ((88, -44), (-88, -44)),
    "neck": ((0, -132), (60, -132), (-60, -132)),
}
LANDMARKS: dict[str, tuple[int, ...]] = {
    "brow": tuple(range(17, 27)),
    "brow_inner": (20, 21, 22, 23),
    "bridge": (27, 28, 29),
    "tip": (30, 33),
    "wing": (31, 32, 34, 35),
    "eye": tuple(range(36, 48)),
    "lid_upper": (37, 38, 43, 44),
    "eye_outer": (36, 45),
    "mouth": tuple(range(48, 68)),
    "corner": (48, 54, 60, 64),
    "upper_lip": (49, 50, 51, 52, 53),
    "lower_lip": (55, 56, 57, 58, 59),
    "jaw": tuple(range(3, 14)),
    "jowl": (4, 5, 11, 12),
    "chin": (7, 8, 9),
    "side": (0, 1, 2, 14, 15, 16),
}

# (outwards, up, forwards) in mm of an adult's face
CHILD: dict[str, Move] = {
    "forehead": (0.0, 1.5, 4.0),
    "crown": (2.5, 3.0, 2.5),
    "temple": (2.5, 1.0, 1.0),
    "bridge": (0.0, 0.0, -3.6),
    "tip": (0.0, 2.6, -5.6),
    "wing": (-2.2, 1.8, -2.8),
    "eye": (0.6, -1.0, -0.6),
    "eye_outer": (1.0, 0.0, 0.0),
    "lid_upper": (0.0, 0.9, 0.2),
    "mouth": (-0.6, 5.0, -1.6),
    "corner": (-2.6, 0.0, 0.0),
    "jaw": (-4.2, 6.0, -3.2),
    "chin": (0.0, 3.6, -3.0),
    "jaw_angle": (-5.0, 5.0, 2.0),
    "cheek": (1.6, 2.0, 2.4),
    "hollow": (2.4, 2.0, 1.8),
    "ear_top": (-1.0, -2.0, 0.0),
    "ear_lobe": (-1.0, 4.5, 0.0),
    "neck": (-8.0, 6.0, -7.0),
    "brow": (0.0, 0.6, -1.0),
}
OLD: dict[str, Move] = {
    "cheek": (-0.6, -3.0, -2.2),
    "hollow": (-2.2, -2.6, -1.4),
    "cheekbone": (0.4, -0.8, 0.4),
    "jowl": (2.4, -4.6, 1.4),
    "chin": (0.0, -0.6, 1.4),
    "temple": (-2.0, 0.0, -0.8),
    "upper_lip": (0.0, -1.4, -1.7),
    "lower_lip": (0.0, 1.3, -1.7),
    "corner": (0.8, -2.0, -0.8),
    "mouth": (0.0, -1.0, -0.4),
    "tip": (0.0, -3.4, 1.4),
    "wing": (1.4, -0.9, 0.2),
    "brow": (0.0, -1.5, -0.3),
    "eye_outer": (0.0, -1.0, 0.0),
    "lid_upper": (0.0, -0.5, 0.2),
    "ear_top": (1.2, 2.5, 0.0),
    "ear_back": (1.2, 0.0, -2.0),
    "ear_lobe": (0.8, -6.0, 0.0),
    "neck": (-1.5, 0.0, 2.0),
}
MALE: dict[str, Move] = {
    "brow": (0.0, -1.0, 1.8),
    "brow_inner": (0.0, -0.2, 0.6),
    "bridge": (0.0, 0.2, 1.2),
    "tip": (0.0, -0.6, 1.4),
    "wing": (0.9, -0.3, 0.4),
    "jaw": (2.0, -2.4, 0.8),
    "jaw_angle": (3.4, -2.0, 0.0),
    "chin": (0.6, -1.6, 1.8),
    "cheek": (-0.3, 0.0, -0.7),
    "upper_lip": (0.0, -0.3, -0.5),
    "neck": (4.0, -1.0, 3.0),
    "forehead": (0.0, 0.0, -1.0),
}
FEMALE: dict[str, Move] = {
    "brow": (0.0, 1.0, -1.0),
    "forehead": (0.0, 0.0, 1.2),
    "cheek": (0.6, 0.6, 0.8),
    "jaw": (-1.8, 1.4, -0.4),
    "jaw_angle": (-3.0, 1.0, 0.0),
    "chin": (-0.8, 0.8, -0.6),
    "tip": (0.0, 0.6, -0.8),
    "wing": (-0.8, 0.0, 0.0),
    "upper_lip": (0.0, 0.5, 0.7),
    "lower_lip": (0.0, -0.5, 0.7),
    "neck": (-3.5, 1.0, -3.0),
}
# standard deviations of people, the same on both sides
SPREAD: dict[str, Move] = {
    "forehead": (0.5, 1.0, 1.8),
    "crown": (1.8, 1.5, 1.5),
    "temple": (1.6, 0.5, 0.8),
    "cheekbone": (2.0, 1.2, 1.2),
    "cheek": (1.0, 1.0, 1.5),
    "hollow": (2.2, 0.8, 1.0),
    "jaw_angle": (3.0, 2.2, 1.2),
    "brow": (0.8, 1.4, 0.8),
    "bridge": (0.6, 0.7, 1.9),
    "tip": (0.3, 1.8, 2.2),
    "wing": (1.5, 0.9, 0.9),
    "eye": (1.2, 0.9, 0.9),
    "eye_outer": (0.7, 1.0, 0.3),
    "lid_upper": (0.0, 0.7, 0.2),
    "mouth": (0.5, 1.6, 1.3),
    "corner": (1.8, 0.8, 0.7),
    "upper_lip": (0.3, 0.8, 1.0),
    "lower_lip": (0.3, 0.9, 1.1),
    "jaw": (1.8, 1.6, 1.2),
    "jowl": (1.2, 0.8, 0.6),
    "chin": (0.8, 1.8, 2.0),
    "side": (1.5, 0.5, 1.0),
    "ear_top": (2.2, 1.8, 1.0),
    "ear_back": (2.5, 0.5, 1.2),
    "ear_lobe": (1.5, 2.4, 0.8),
    "neck": (2.5, 0.5, 2.5),
}
PLAIN = ("forehead", "crown", "temple", "cheekbone", "cheek", "hollow", "jaw_angle", "neck")
"""Groups of control points on skin without features, which move out or in."""
OWN_SIDE = 0.32
"""Standard deviation of what one side has and the other has not, as a share of `SPREAD`."""


@dataclass(frozen=True)
class Who:
    """A synthetic person.

    Attributes:
        age: years; female: sex; cover: of `COVERS`.
        child: 1 at 11 years and younger, 0 from 20 on; old: 0 up to 35 years, 1 at 75.
    """

    age: int
    female: bool
    cover: str

    @property
    def child(self) -> float:
        return float(np.clip((20 - self.age) / 9, 0, 1))

    @property
    def old(self) -> float:
        return float(np.clip((self.age - 35) / 40, 0, 1.15))


def who(number: int, seed: int, rng: np.random.Generator) -> Who:
    """The person with this number: ages and covers go round, so that few people have several of them."""
    low, high = AGES[(number * 2 + 4 + seed) % len(AGES)]
    cover = COVERS[(number + seed // 2) % len(COVERS)]
    return Who(int(rng.integers(low, high + 1)), bool(rng.random() < 0.5), cover)


def control_points(rig: Rig) -> tuple[Floats, dict[str, list[int]]]:
    """Control points (k, 3) on the template and the rows of each group."""
    v = rig.template.vertices
    marks = v[rig.landmarks]
    surface = Surface(v, rig.template.faces)
    bridge, axis_z = marks[27], 0.5 * (marks[0, 2] + marks[16, 2])
    groups = {name: list(rows) for name, rows in LANDMARKS.items()}
    points = [marks]
    count = len(marks)
    for name, places in EXTRA.items():
        angle = np.radians([a for a, _ in places])
        height = bridge[1] + rig.scale * np.array([h for _, h in places])
        axis = np.stack([np.zeros_like(height), height, np.full_like(height, axis_z)], axis=1)
        out = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], axis=1)
        hits = surface.cast(axis + 300 * out, -out)
        there = axis + (300 - np.where(hits.hit, hits.distances, 0.0))[:, None] * out
        beside = surface.closest(axis + 85 * rig.scale * out).points
        points.append(np.where(hits.hit[:, None], there, beside))
        groups[name] = list(range(count, count + len(places)))
        count += len(places)
    return np.concatenate(points), groups


def shape(anatomy: Anatomy, person: Who, rng: np.random.Generator) -> Floats:
    """(V, 3) mm: a person's smooth neutral face, lips pressing into each other by `contact.PRESS_MM` each."""
    from scipy.interpolate import RBFInterpolator
    from scipy.spatial import cKDTree

    rig = anatomy.rig
    v = rig.template.vertices
    points, groups = control_points(rig)
    moves = np.zeros_like(points)

    def add(table: Mapping[str, Move], share: float) -> None:
        for name, move in table.items():
            moves[groups[name]] += share * _sided(points[groups[name]], np.array(move))

    add(CHILD, person.child)
    add(OLD, person.old)
    add(FEMALE if person.female else MALE, 1 - 0.8 * person.child)
    common = np.clip(rng.normal(size=(len(SPREAD), 3)), -2, 2)
    aside = np.clip(rng.normal(size=(len(SPREAD), 2, 3)), -2, 2) * OWN_SIDE
    chance = np.zeros_like(moves)
    for (name, spread), both, own in zip(SPREAD.items(), common, aside, strict=True):
        rows = np.array(groups[name])
        side = points[rows, 0] > 0
        chance[rows] += _sided(points[rows], both * spread) + own[side.astype(int)] * spread
    # neighbours go together, or cheeks would have dents
    near = np.exp(-((np.linalg.norm(points[:, None] - points[None], axis=2) / (14 * rig.scale)) ** 2))
    moves += 1.25 * (near / near.sum(axis=1, keepdims=True)) @ chance + rng.normal(
        scale=0.2, size=moves.shape
    )
    moves *= rig.scale
    # what is on the midline stays near it
    stretch = 1 + np.clip(rng.normal(scale=0.03, size=3), -0.06, 0.06)
    centre = points[30] * [0.0, 1.0, 0.0]
    corners = np.stack(np.meshgrid(*3 * [[-1.0, 0.0, 1.0]], indexing="ij"), axis=-1).reshape(-1, 3)
    far = centre + ANCHOR_MM * rig.scale * corners[np.any(corners != 0, axis=1)]

    def spline(rows: NDArray[np.int64], kernel: str) -> RBFInterpolator:
        return RBFInterpolator(
            np.concatenate([points[rows], far]),
            np.concatenate([moves[rows], np.zeros_like(far)]),
            kernel=kernel,
            smoothing=4.0 if kernel == "linear" else np.repeat([200.0, 2000.0], [len(rows), len(far)]),
            degree=1,
        )

    # skin without features has no place of its own along the surface: it goes with the features around it
    plain = np.array(sorted({row for name in PLAIN for row in groups[name]}))
    marked = np.setdiff1d(np.arange(len(points)), plain)
    normals = vertex_normals(v, rig.template.faces)
    outward = normals[cKDTree(v).query(points[plain])[1]]
    along = spline(marked, "linear")(points[plain])  # which does not swing between points
    out_by = ((moves[plain] - along) * outward).sum(axis=1, keepdims=True)
    moves[plain] = along + out_by * outward
    field = spline(np.arange(len(points)), "cubic")(v)
    size = (1 - 0.09 * person.child) * (0.98 if person.female else 1.01)
    for share in (1.0, 0.8, 0.6, 0.4):
        out = (v + share * field - centre) * stretch * size + centre
        if not _folded(anatomy, out):
            break
    out = seat_eyes(anatomy, out, fit_eyes(anatomy, out))
    return close_lips(anatomy, out)


def _sided(points: Floats, move: Floats) -> Floats:
    """(k, 3) moves (outwards, up, forwards) as vectors; what is on the midline does not go outwards."""
    side = np.clip(points[:, 0] / 8.0, -1, 1)
    return np.stack([side * move[0], np.full(len(points), move[1]), np.full(len(points), move[2])], axis=1)


def _folded(anatomy: Anatomy, face: Floats) -> bool:
    """Whether a triangle of the face proper has turned over."""
    faces = anatomy.rig.template.faces
    core = anatomy.rig.core[faces].all(axis=1)
    before, _ = triangle_normals(anatomy.rig.template.vertices, faces[core])
    after, _ = triangle_normals(face, faces[core])
    return bool(((before * after).sum(axis=1) < 0).sum() > 0.0005 * core.sum())
