"""What the people of the second maker do: expressions, with lids that slide over eyeballs and lips that touch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.synth.ages import Who
from mimicme.commands.synth.contact import (
    CLOSED_GAP_MM,
    Anatomy,
    Eye,
    close_lips,
    find_seam,
    fit_eyes,
    move_lids,
    separate_lips,
    smooth_step,
    touch_lips,
)
from mimicme.commands.synth.people import EXPRESSIONS, Expression, Rig, build_rig, distance_to
from mimicme.commands.synth.relief import Relief, Subdivision
from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.pipeline.template import Template

SMILE = Expression(
    both={
        "corner": (5.5, 4.0, -4.0),
        "upper_lip": (1.4, 0.6, -1.8),
        "lower_lip": (1.4, 0.8, -1.8),
        "fold": (2.2, 2.0, 0.9),
        "cheek": (1.0, 2.6, 2.2),
        "side": (2.2, 1.4, 0.6),
        "jowl": (1.0, 0.8, -0.4),
    }
)
TONGUE = Expression(
    jaw_deg=10.0,
    both={
        "corner": (-2.0, 0.0, 0.6),
        "lower_lip": (-0.3, -0.8, 0.4),
        "upper_lip": (0.0, 1.0, 0.3),
        "brow_mid": (0.0, 1.0, 0.0),
    },
)
# made when they are asked for by name: what the face does, by name of the sequence
ON_REQUEST: dict[str, Expression] = {
    "eyes_closed": Expression(both={"brow_mid": (0.0, -0.8, 0.0)}),
    "tongue": TONGUE,
    "half": SMILE,
    "turned": SMILE,
    "rigid": Expression(),
    "depth_smile": SMILE,
}
LIDS = ("lid_upper", "lid_lower")
SEQUENCES: dict[str, Expression] = {
    name: replace(
        e,
        both={group: move for group, move in e.both.items() if group not in LIDS},
        right={group: move for group, move in e.right.items() if group not in LIDS},
        close_right=0.0,
        close_left=0.0,
    )
    for name, e in {**EXPRESSIONS, **ON_REQUEST}.items()
}
# how far the right and the left eye close; negative is wider open
CLOSE: dict[str, tuple[float, float]] = {
    "surprise": (-0.35, -0.35),
    "fear": (-0.45, -0.45),
    "happiness": (0.25, 0.25),
    "wink_right": (1.0, 0.12),
    "anger": (0.22, 0.22),
    "sadness": (0.3, 0.3),
    "disgust": (0.3, 0.3),
    "eyes_closed": (1.0, 1.0),
    "half": (0.12, 0.12),
    "turned": (0.12, 0.12),
}
LIPS_CLOSED = (
    "neutral",
    "pout",
    "mouth_left",
    "wink_right",
    "anger",
    "sadness",
    "eyes_closed",
    "half",
    "turned",
    "rigid",
    "depth_smile",
)
FEATURE_POINTS = 25


@dataclass(frozen=True)
class Actor:
    """A person who can move.

    Attributes:
        neutral: (V, 3) smooth, lips pressing into each other.
        eyes: right and left, as open as in `neutral`.
        relief: of the skin.
        habit: (V, 1) how strongly each place moves; people are not symmetric.
    """

    anatomy: Anatomy
    fine: Subdivision
    who: Who
    neutral: Floats
    eyes: tuple[Eye, Eye]
    relief: Relief
    habit: Floats

    @property
    def rig(self) -> Rig:
        return self.anatomy.rig


@dataclass(frozen=True)
class Pose:
    """A face at one time, in the head's frame (mm).

    Attributes:
        skin: (n, 3) vertices of the subdivided skin, the template's first.
        jaw_deg: how far the jaw is open.
        lips_closed: the lips touch along the whole slit.
        tongue: in [0, 1], how far the tongue is out.
    """

    skin: Floats
    jaw_deg: float
    lips_closed: bool
    tongue: float


def build_people_rig(template: Template, names: Iterable[str]) -> Rig:
    """A rig that knows these of `SEQUENCES`."""
    return build_rig(template, names, SEQUENCES)


def make_actor(
    anatomy: Anatomy, fine: Subdivision, who: Who, neutral: Floats, relief: Relief, rng: np.random.Generator
) -> Actor:
    """Ready to `act`."""
    eyes = fit_eyes(anatomy, neutral)
    scale = anatomy.rig.scale
    side = np.tanh(neutral[:, 0] / (18 * scale))
    habit = 1 + rng.normal(scale=0.08) * side + rng.normal(scale=0.05) * np.tanh(neutral[:, 1] / (25 * scale))
    # lids are moved by themselves, and nothing moves an eyeball
    balls = neutral[anatomy.eye]
    still = smooth_step(distance_to(balls, neutral) / (7 * scale)) if len(balls) else 1.0
    return Actor(anatomy, fine, who, neutral, eyes, relief, (habit * still)[:, None])


def act(actor: Actor, name: str, amount: float, strength: float = 1.0) -> Pose:
    """The face of a person at `amount` in [0, 1] of a sequence's expression."""
    rig, anatomy = actor.rig, actor.anatomy
    jaw_deg = SEQUENCES[name].jaw_deg * amount * strength
    angle = np.radians(jaw_deg) * rig.jaw
    pivot = rig.hinge(actor.neutral)
    y, z = actor.neutral[:, 1] - pivot[1], actor.neutral[:, 2] - pivot[2]
    cos, sin = np.cos(angle), np.sin(angle)
    face = np.stack([actor.neutral[:, 0], pivot[1] + cos * y - sin * z, pivot[2] + sin * y + cos * z], axis=1)
    face += strength * amount * actor.habit * rig.fields[name]
    ball = anatomy.eye
    face[ball] = actor.neutral[ball]
    right, left = CLOSE.get(name, (0.0, 0.0))
    ease = amount if max(right, left) < 1 else min(1.0, 1.35 * amount)
    face = move_lids(anatomy, face, actor.eyes, (right * ease, left * ease))
    if name in LIPS_CLOSED:
        face = close_lips(anatomy, face)
    seam = find_seam(anatomy, face)
    face, sheet = touch_lips(anatomy, face)
    skin = actor.fine.curved(face)
    lip = actor.fine.interpolate(anatomy.lip.astype(np.float64))
    near = actor.fine.interpolate(anatomy.lip_edge.astype(np.float64)) > 0.4
    skin = separate_lips(seam, sheet, skin, lip, near)
    normals = vertex_normals(skin, actor.fine.faces)
    folds = "smile" if name in ("half", "turned", "depth_smile") else name
    skin = skin + actor.relief.of(folds, amount)[:, None] * normals
    closed = bool(find_seam(anatomy, skin[: len(face)]).gap.max() < CLOSED_GAP_MM)
    return Pose(skin, jaw_deg, closed, amount * strength if name == "tongue" else 0.0)


@dataclass(frozen=True)
class Features:
    """Lines on the template's surface: barycentric, so that every truth carries them.

    Attributes:
        vertices: (m, 3) int64 template vertices; weights: (m, 3), summing to 1.
        rows: per name the shape of its points: lips (4, k): the upper lip's outer border, the lower lip's, the upper
            lip's edge, the lower lip's; lids (4, k): right upper, right lower, left upper, left lower; brows (2, k).
    """

    vertices: NDArray[np.int64]
    weights: Floats
    rows: dict[str, tuple[int, int]]

    def of(self, face: Floats) -> dict[str, Floats]:
        """(lines, points, 3) mm by name, on a face (V, 3)."""
        points = np.einsum("mk,mkx->mx", self.weights, face[self.vertices])
        out, start = {}, 0
        for name, (lines, count) in self.rows.items():
            out[name] = points[start : start + lines * count].reshape(lines, count, 3)
            start += lines * count
        return out


def find_features(anatomy: Anatomy) -> Features:
    """Lips, lids and brows of a template, as smooth lines through its landmarks put onto the surface."""
    from mimicme.pipeline.geometry.spatial import Surface

    rig = anatomy.rig
    v, faces = rig.template.vertices, rig.template.faces
    marks = v[rig.landmarks]
    eyeball = anatomy.eye[faces].any(axis=1)
    skin = faces[~eyeball & ~rig.inside[faces].all(axis=1)]
    lines: list[tuple[str, Floats, Ints]] = []
    for name, rows, side in (
        ("lips", (48, 49, 50, 51, 52, 53, 54), 1),
        ("lips", (48, 59, 58, 57, 56, 55, 54), -1),
        ("lips", (60, 61, 62, 63, 64), 1),
        ("lips", (60, 67, 66, 65, 64), -1),
    ):
        own = skin[(anatomy.lip[skin] == side).any(axis=1)]
        lines.append((name, marks[list(rows)], own if len(own) else skin))
    for start in (36, 42):
        for lid in ((0, 1, 2, 3), (0, 5, 4, 3)):
            lines.append(("lids", marks[[start + r for r in lid]], skin))
    for start in (17, 22):
        lines.append(("brows", marks[start : start + 5], skin))
    vertices, weights = [], []
    counts: dict[str, tuple[int, int]] = {}
    for name, points, triangles in lines:
        found = Surface(v, triangles).closest(_curve(points, FEATURE_POINTS))
        vertices.append(triangles[found.triangles].astype(np.int64))
        weights.append(found.weights)
        counts[name] = (counts.get(name, (0, 0))[0] + 1, FEATURE_POINTS)
    return Features(np.concatenate(vertices), np.concatenate(weights), counts)


def _curve(points: Floats, count: int) -> Floats:
    from scipy.interpolate import PchipInterpolator

    apart = np.linalg.norm(np.diff(points, axis=0), axis=1)
    new = np.r_[True, apart > 0]  # of a coarse template two landmarks may lie on one vertex
    if new.sum() < 2:
        return np.repeat(points[:1], count, axis=0)
    points, at = points[new], np.r_[0.0, np.cumsum(apart[new[1:]])]
    return np.asarray(PchipInterpolator(at, points)(np.linspace(0, at[-1], count)))
