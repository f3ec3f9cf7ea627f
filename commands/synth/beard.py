"""A beard of the second maker's men: hair on chin, cheeks, upper lip and neck, which goes with the skin it grows on.

Its border is a barber's: from the sideburn over the cheek to the corner of the mouth, below the nose, around the lips,
and above the throat.  Scanners see the outside of its hair alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.synth.acting import Actor, Pose
from mimicme.commands.synth.contact import smooth_step
from mimicme.commands.synth.parts import HAIR, Part
from mimicme.commands.synth.people import distance_to
from mimicme.commands.synth.relief import value_noise
from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.pipeline.template.face_core import OUTER_LIPS, inside

GROWN = 18
"""Years: nobody younger has one."""
LENGTH_MM = (3.0, 13.0)
"""From a beard of three weeks to a full one."""
ROUGH_MM = 0.7
EDGE_MM, LIP_EDGE_MM = 9.0, 4.0
"""Over so much it grows thinner towards its border, and towards the lips."""
LIPS_MM, NOSE_MM, CORNER_MM, CHEEK_MM, THROAT_MM = 2.0, 3.0, 5.0, 6.0, 26.0
"""Its border: so far from the lips, below the nose, above the corners of the mouth and above the middle of the cheek's
part of the jaw line, and below the chin."""
SIDEBURN_DEG = 3.0
"""Its border before the ear, from the jaw line's first landmark on towards the face, around the head."""
UPPER_LIP = 0.6
"""Share of its length above the mouth."""
HANG = 0.35
"""How much of its length hangs down, relative to what stands out."""
UNDER_MM = 0.15
"""It begins so far below the skin, where it is shortest, whatever the size of the face: it need only be below."""


@dataclass(frozen=True)
class Beard:
    """A beard of a person.

    Attributes:
        index: (n,) vertices of the fine skin that it covers; faces: (t, 3) of these.
        length: (n,) mm; colors: (n, 3), 0 to 255.
    """

    index: NDArray[np.int64]
    faces: Ints
    length: Floats
    colors: Floats

    def on(self, actor: Actor, pose: Pose) -> Part:
        """Where the skin of a pose carries it."""
        coarse = vertex_normals(pose.skin[: len(actor.neutral)], actor.rig.template.faces)
        out = actor.fine.interpolate(coarse)[self.index]
        out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
        out = out * (1 + UNDER_MM / self.length)[:, None] + [0.0, -HANG, 0.0]
        return Part(pose.skin[self.index] + self.length[:, None] * out, self.faces, self.colors, HAIR)


def grow(actor: Actor, hair: Floats, rng: np.random.Generator) -> Beard:
    """A beard of a person with hair of this colour (3,)."""
    s = actor.rig.scale
    skin = actor.fine.curved(actor.neutral)
    within, thin = _within(actor, skin)
    index = np.flatnonzero(within > 0)
    new = np.full(len(skin), -1)
    new[index] = np.arange(len(index))
    faces = new[actor.fine.faces[(within > 0)[actor.fine.faces].all(axis=1)]].astype(np.int32)
    points = skin[index]
    longest = rng.uniform(*LENGTH_MM) * s
    lumps = np.clip(1 + 0.2 * value_noise(points, 14.0 * s, rng), 0.4, 1.6)
    strands = value_noise(points * [1.0, 0.45, 1.0], 3.2 * s, rng)
    above = points[:, 1] > actor.neutral[actor.rig.landmarks[60], 1]
    grown = smooth_step(within[index] / (EDGE_MM * s)) * smooth_step(thin[index] / (LIP_EDGE_MM * s))
    length = grown * (longest * np.where(above, UPPER_LIP, 1.0) * lumps + ROUGH_MM * s * strands)
    colors = np.clip(hair * (1 + 0.22 * strands[:, None]), 4, 250)
    return Beard(index, faces, np.maximum(length, UNDER_MM * s), colors)


def _within(actor: Actor, skin: Floats) -> tuple[Floats, Floats]:
    """(n,) mm inside the beard's border, negative outside, and (n,) mm from the lips, of the fine skin (n, 3)."""
    rig = actor.rig
    s, marks = rig.scale, actor.neutral[rig.landmarks]
    axis = marks[[0, 16]].mean(axis=0) - [0.0, 0.0, 8.0 * s]

    def around(points: Floats) -> Floats:
        return np.asarray(np.degrees(np.arctan2(np.abs(points[:, 0] - axis[0]), points[:, 2] - axis[2])))

    def level(*rows: int) -> float:
        return float(marks[list(rows), 1].mean())

    angle = around(skin)
    corner, jaw, ear = (float(around(marks[[a, b]]).mean()) for a, b in ((48, 54), (3, 13), (0, 16)))
    top = np.interp(
        angle,
        [0.0, 0.7 * corner, corner + 6.0, (corner + jaw) / 2 + 6.0, jaw, ear - SIDEBURN_DEG],
        [
            level(31, 33, 35) - NOSE_MM * s,
            level(31, 33, 35) - NOSE_MM * s,
            level(48, 54) + CORNER_MM * s,
            level(48, 54) + CHEEK_MM * s,
            level(2, 14) - 4 * s,
            level(0, 16),
        ],
    )
    radius = np.hypot(skin[:, 0] - axis[0], skin[:, 2] - axis[2])
    before_ear = radius * np.radians(ear - SIDEBURN_DEG - angle)
    lips = marks[OUTER_LIPS]
    edge = np.concatenate([lips + t * (np.roll(lips, -1, axis=0) - lips) for t in np.linspace(0, 0.9, 10)])
    from_lips = distance_to(edge, skin)
    from_lips[inside(lips[:, :2], skin[:, :2]) & (skin[:, 2] > marks[[48, 54], 2].min())] *= -1
    from_lips[actor.fine.interpolate(rig.inside.astype(np.float64)) > 0] = -1.0
    from_lips -= LIPS_MM * s
    above_throat = skin[:, 1] - (marks[8, 1] - THROAT_MM * s)
    from_rim = distance_to(actor.neutral[rig.rim], skin) - 2 * s
    border = np.minimum.reduce([top - skin[:, 1], before_ear, above_throat, from_rim])
    return np.minimum(border, from_lips), from_lips
