"""Where the head is on a scan: a shape at rest goes with it before anything bends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS
from mimicme.stages.register.fit_target import FitTarget
from mimicme.stages.register.person import Person
from mimicme.stages.register.setup import Setup
from mimicme.stages.register.skin import weights_of
from mimicme.stages.register.skin_tracking import skin_share
from mimicme.stages.register.spline import MIN_LANDMARKS
from mimicme.stages.register.stabilisation import head_motion, refine_pose

SKULL_LANDMARKS = np.zeros(N_LANDMARKS, bool)
for _group in ("left_eyebrow", "right_eyebrow", "nose", "left_eye", "right_eye"):
    SKULL_LANDMARKS[GROUPS[_group]] = True
"""Those which together tell about where the head is; iBUG-68."""
COARSE_HEAD_MM = 2.0
"""Residual scale at which a head that landmarks have placed is first brought onto its scan.  Reasoned, not tuned: found
landmarks, off by 1 to 2 mm each, place a head within that."""


def head_on(person: Person, fit_target: FitTarget, detected: Bools, skin: Floats | None) -> Floats | None:
    """(4, 4) the motion that brings the head of the person's neutral onto a scan; None while there is no neutral,
    where landmarks by hand alone tell it, and where hardly any does above the mouth.

    Where the head is, found landmarks tell as badly as where they are themselves; the surface of a known shape
    tells it exactly, once they have led to it.  Skin far from landmarks begins from there, and not from where
    these have turned it.  The landmarks are followed as they were found: moved with the head, those of mouth and
    brows were farther off (three people of `mimicme synth`: `feature` 0.92 mm, and 0.85 as they were).

    Args:
        detected: (68,) True where a landmark was found by a detector.
        skin: (V,) how sure it is that the scan shows skin, as in the frame before; None where there is none.
    """
    use = SKULL_LANDMARKS & (fit_target.weights > 0)
    if (use & ~detected).sum() >= MIN_LANDMARKS:
        return None
    return head_of(person, fit_target, skin, [COARSE_HEAD_MM, person.setup.settings.scale_end_mm])


def head_of(
    person: Person, fit_target: FitTarget, skin: Floats | None, scales_mm: Sequence[float]
) -> Floats | None:
    """(4, 4) the same, from whatever landmarks; None while there is no neutral, or hardly any above the mouth.

    Args:
        scales_mm: of the rounds on the surface (`refine_pose`).  From points by hand the last one alone ends where
            both do (a surprise of `synth`: forehead's motion off by 0.25 mm with it, 0.26 with both, 0.43 with the
            first alone).
    """
    weights = np.where(SKULL_LANDMARKS, fit_target.weights, 0.0)
    if person.neutral is None or (weights > 0).sum() < MIN_LANDMARKS:
        return None
    levels, scan = person.setup.levels, fit_target.scan
    head = head_motion(levels.fine.landmarks @ person.neutral, fit_target.landmarks, weights)
    if skin is None:
        skin = skin_share(person, transform(head, person.neutral), scan, None)
    index = levels.coarse.index
    bone = ((person.setup.anatomy.skull > 0) * weights_of(skin))[index]
    for scale in scales_mm:
        placed = transform(head, person.neutral[index])
        head = refine_pose(placed, levels.coarse.faces, scan, scale, person.setup.min_cosine, bone) @ head
    return head


def with_head_motion(setup: Setup, rest: Floats, displacement: Floats) -> tuple[Floats, Floats]:
    """A rest shape (V, 3) moved as the head has, and the displacement (V, 3) that is left.

    The stiffness penalises rotation, and stiff ears the more, though a head that is not quite where it was aligned
    has not been bent.
    """
    index = setup.levels.coarse.index
    found = rest + displacement
    motion = head_motion(rest[index], found[index], setup.anatomy.skull[index])
    moved = transform(motion, rest)
    return moved, found - moved
