"""Where on a template's head something may lie over the skin, by its landmarks: hair, caps and clothes beyond the
face, a beard in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.template.face_core import BROWS, JAW, OUTER_LIPS, FaceCore, inside

BEGIN_MM, SURE_MM = 5.0, 10.0
"""Nearer to the face's core than the first nothing is worn; farther than the second all may be covered."""
BARE_BELOW_NOSE_MM = 4.0
"""Down to so far below the nose's base skin is bare; from twice as far on a beard may grow."""
LIPS_MM = (4.0, 7.0)
"""Nearer to the lips' outline than the first no beard grows; farther than the second one may."""
EYE_CORNERS = (36, 45)


@dataclass(frozen=True)
class CoverRegions:
    """Where something may lie over the skin of a template.

    Attributes:
        worn: (V,) 0 in the face, 1 beyond, where hair, a cap or clothes may be; bearded: (V,) 1 where a beard grows in
            the face, 0 elsewhere; beside: (V,) 1 in the face beside its core, from the eyes' outer corners to the ears,
            where long hair hangs and no beard grows.  Their sum is nowhere above 1.
    """

    worn: Floats
    bearded: Floats
    beside: Floats

    @classmethod
    def of(cls, vertices: Floats, marks: Floats, core: FaceCore) -> CoverRegions:
        """Those of a template (V, 3), canonical, mm, with landmarks (68, 3) and the face's core."""
        from scipy.spatial import cKDTree

        in_core = core.areas > 0
        outline = np.concatenate([marks[JAW], marks[BROWS][::-1]])[:, :2]
        far = cKDTree(vertices[in_core]).query(vertices)[0] if in_core.any() else np.zeros(len(vertices))
        worn = np.clip((far - BEGIN_MM) / (SURE_MM - BEGIN_MM), 0, 1)
        worn[inside(outline, vertices[:, :2]) & (vertices[:, 2] > marks[[0, 16], 2].mean())] = 0.0
        below = np.clip((marks[33, 1] - vertices[:, 1]) / BARE_BELOW_NOSE_MM - 1, 0, 1)
        right, left = marks[EYE_CORNERS, 0]
        sideways = (vertices[:, 0] < right) | (vertices[:, 0] > left)
        return cls(
            worn,
            (1 - worn) * below * _from_lips(vertices, marks[OUTER_LIPS]),
            (1 - worn) * (1 - below) * (sideways & (far > 0)),
        )


def _from_lips(vertices: Floats, outline: Floats) -> Floats:
    """(V,) 0 on the lips and beside them, 1 away from them; of vertices (V, 3) and the lips' outline (n, 3)."""
    from scipy.spatial import cKDTree

    steps = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    along = outline + steps * (np.roll(outline, -1, axis=0) - outline)
    away = cKDTree(along.reshape(-1, 3)).query(vertices)[0]
    away[inside(outline[:, :2], vertices[:, :2])] = 0.0
    return np.clip((away - LIPS_MM[0]) / (LIPS_MM[1] - LIPS_MM[0]), 0, 1)
