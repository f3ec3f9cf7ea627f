"""The face's core, brows to chin, as far as it looks to the front: what a scan of a face has to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import GROUPS

JAW, BROWS = slice(1, 16), slice(17, 27)
"""Landmarks (iBUG-68) around the face's core."""
FACING = 0.2
"""Least cosine between a vertex' normal and the direction to the front."""
RAY_OFFSET_MM = 0.02
OUTER_LIPS = slice(48, 60)
LIDS_MM, NOSE_MM = 5.0, 3.0
"""How far beyond the outline of their landmarks lids and nose reach, from the front; lips end at theirs."""


class Shares(NamedTuple):
    """Shares of the core's area that a scan shows: of all of it, of the subject's right half, of the left half."""

    core: float
    right: float
    left: float


class PartShares(NamedTuple):
    """Shares of the area of parts of the face's core that a scan shows: the lids of the subject's right and left eye,
    without what lies between them; the nose; the lips."""

    right_eye: float
    left_eye: float
    nose: float
    mouth: float


@dataclass(frozen=True)
class FaceCore:
    """The face's core, brows to chin, as far as the template shows it to the front.

    Attributes:
        areas: (V,) mm^2, 0 outside the core; right: (V,) True on the subject's right half (x < 0).
    """

    areas: Floats
    right: Bools

    @classmethod
    def of(cls, vertices: Floats, faces: Ints, areas: Floats, landmarks: Floats) -> FaceCore:
        """The core of a template (V, 3), canonical, mm, with vertex areas (V,) and landmarks (68, 3)."""
        outline = np.concatenate([landmarks[JAW], landmarks[BROWS][::-1]])[:, :2]
        normals = vertex_normals(vertices, faces)
        core = inside(outline, vertices[:, :2]) & (normals[:, 2] > FACING)
        candidates = np.flatnonzero(core)
        forwards = np.array([0.0, 0.0, 1.0])
        core[candidates] &= ~Surface(vertices, faces).occluded(
            vertices[candidates] + RAY_OFFSET_MM * normals[candidates], forwards
        )
        return cls(np.where(core, areas, 0.0), vertices[:, 0] < landmarks[27:31, 0].mean())

    def shares(self, observed: Bools) -> Shares:
        """Of vertices (V,) that a scan shows; 1 of a half that the template does not have."""

        right, left = self.areas * self.right, self.areas * ~self.right
        return Shares(*(_share(areas, observed) for areas in (self.areas, right, left)))


@dataclass(frozen=True)
class FaceParts:
    """Parts of the face's core that a scan may lack while it shows the rest.

    Attributes:
        areas: (4, V) mm^2, in the order of `PartShares`, 0 outside the part.
    """

    areas: Floats

    @classmethod
    def of(cls, core: FaceCore, vertices: Floats, landmarks: Floats, between_lids: Bools) -> FaceParts:
        """Those of a template (V, 3), canonical, mm, with landmarks (68, 3).

        Args:
            between_lids: (V,) True on what is seen between the lids (`eyelids.patches`): closed eyes hide it, and
                scanners see little of an open eye.
        """
        marks, places = landmarks[:, :2], vertices[:, :2]
        lids = core.areas * ~between_lids
        return cls(
            np.stack(
                [
                    # the groups' names mean the image's left, the shares' the subject's
                    lids * _within(marks[GROUPS["left_eye"]], places, LIDS_MM),
                    lids * _within(marks[GROUPS["right_eye"]], places, LIDS_MM),
                    core.areas * _within(marks[[27, *range(31, 36)]], places, NOSE_MM),
                    core.areas * _within(marks[OUTER_LIPS], places, 0.0),
                ]
            )
        )

    def shares(self, observed: Bools) -> PartShares:
        """Of vertices (V,) that a scan shows; 1 of a part that the template does not have."""
        return PartShares(*(_share(areas, observed) for areas in self.areas))


def _share(areas: Floats, observed: Bools) -> float:
    """Of areas (V,) what is observed (V,); 1 of none."""
    total = float(areas.sum())
    return float(areas @ observed / total) if total > 0 else 1.0


def _within(polygon: Floats, points: Floats, margin: float) -> Bools:
    """(k,) True for points (k, 2) inside a closed polygon (n, 2), or no farther than a margin from its sides."""
    found = inside(polygon, points)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        side = b - a
        along = np.clip((points - a) @ side / max(float(side @ side), 1e-12), 0, 1)
        found |= np.linalg.norm(points - a - along[:, None] * side, axis=1) < margin
    return found


def inside(polygon: Floats, points: Floats) -> Bools:
    """(k,) True for points (k, 2) inside a closed polygon (n, 2), by the even-odd rule."""
    x, y = points.T
    found = np.zeros(len(points), bool)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        between = (a[1] > y) != (b[1] > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            found ^= between & (x < a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]))
    return found
