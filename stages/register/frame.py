"""A frame as it comes, with what the earlier stages know of it, and as it is registered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS
from mimicme.pipeline.template.eyelids import EYES
from mimicme.stages.register.quality import LandmarkChecks, Quality

MAX_GAP = 3
"""Frames between two numbers beyond which the later one does not start from the earlier one."""


@dataclass(frozen=True)
class Frame:
    """One scan with what the earlier stages know of it.

    Attributes:
        number: the source's frame number.
        vertices: (m, 3) mm, scan frame; faces: (t, 3).
        landmarks: (68, 3) mm, scan frame, NaN absent; confidence: (68,) in [0, 1], 0 = not to be used.
        pose: (4, 4) canonical -> scan, as aligned.
        detected: (68,) True where a landmark was found by a detector and not by hand.
        coloured: whether it was found in the scan's colours; on the bare surface a detector takes eyes for closed.
        colors: (m, 3) of the scan's vertices, 0 to 255, NaN where they have none; None of a bare scan, and
            where nobody wants to know.
        shown_shut: groups of eyes that are shut although a scan has no colours: its surface shows it.
    """

    number: int
    vertices: Floats
    faces: Ints
    landmarks: Floats
    confidence: Floats
    pose: Floats
    detected: Bools = field(default_factory=lambda: np.zeros(N_LANDMARKS, bool))
    coloured: bool = True
    colors: NDArray[np.floating] | None = None
    shown_shut: tuple[str, ...] = ()

    @property
    def known(self) -> Bools:
        """(68,) True where a landmark is to be used: a detected jaw is not.  It is an outline's and no place on the
        skin, or, its chin, too far off to be followed: that only leads a neutral (found_chin.py)."""
        known = np.asarray((self.confidence > 0) & np.isfinite(self.landmarks).all(axis=1))
        known[GROUPS["jaw"]] &= ~self.detected[GROUPS["jaw"]]
        return known

    @property
    def tells_expression(self) -> Bools:
        """(68,) True where a landmark is to be used and tells whether eyes and mouth are open."""
        tells = self.known
        if not self.coloured:
            for eye in set(EYES).difference(self.shown_shut):
                tells[GROUPS[eye]] &= ~self.detected[GROUPS[eye]]
        return tells


@dataclass(frozen=True)
class Registered:
    """One registered frame: its number; vertices (V, 3) canonical mm; pose (4, 4) canonical -> scan; figures; `skin`
    (V,) uint8, how sure it is that the scan shows the person's own surface there, 255 surely (`SkinRegion.share`)."""

    number: int
    vertices: Floats | NDArray[np.float32]
    pose: Floats
    quality: Quality
    checks: LandmarkChecks
    skin: NDArray[np.uint8]

    def compact(self) -> Registered:
        """The same with float32 vertices: 0.64 MB for 53,349 of them, which is what a waiting frame costs."""
        return replace(self, vertices=self.vertices.astype(np.float32))


class Previous(NamedTuple):
    """The frame registered last: its number, displacement (V, 3) from the rest shape, and skin (V,), 0 to 1."""

    number: int
    displacement: Floats
    skin: Floats
