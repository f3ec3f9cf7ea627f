"""How neutral a frame is, before it is registered: what its subject's neutral is chosen by.

Of a neutral the landmarks lie as the template's do.  It is also whole and sure: the deviation is measured at the
landmarks alone, and what a detector makes of half a face, or of a face from the side, often looks neutral.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.geometry.mesh import transform, vertex_areas
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import INNER
from mimicme.pipeline.landmarks.deviation import landmark_deviation
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.face_core import FaceCore

SAMPLES = 600
NEAR_MM = 8.0
"""How far a rigidly aligned template may be from a scan that shows the place: two people differ by less."""
LEAST = 0.02
"""Share of a half, and confidence, that count at least: no frame is out of the question."""


class Core(NamedTuple):
    """Points (k, 3) on the core of the template, the areas (k,) they stand for, and (k,) which are on the right."""

    points: Floats
    areas: Floats
    right: Bools


class Neutrality(NamedTuple):
    """What speaks for a frame as its subject's neutral.

    Attributes:
        deviation_mm: mean distance of the inner landmarks to the template's, after a similarity fit.
        right, left: shares of either half of the face's core that the scan shows.
        confidence: mean of the inner landmarks', an absent one counts as 0.
    """

    deviation_mm: float
    right: float
    left: float
    confidence: float

    @property
    def cost(self) -> float:
        """mm; the lower, the more neutral: the deviation, over what is shown of the less seen half, squared, and
        over the confidence."""
        half, sure = max(min(self.right, self.left), LEAST), max(self.confidence, LEAST)
        return self.deviation_mm / (half**2 * sure)

    def sentence(self, number: int) -> str:
        """Why frame `number` was chosen."""
        return (
            f"frame {number}: its landmarks lie {self.deviation_mm:.1f} mm from the template's, the scan shows "
            f"{min(self.right, self.left):.0%} of the face's less seen half, confidence {self.confidence:.2f}"
        )


def core_samples(template: Template) -> Core:
    """At most `SAMPLES` vertices of the template's core, evenly by index."""
    areas = vertex_areas(template.vertices, template.faces)
    core = FaceCore.of(template.vertices, template.faces, areas, template.landmarks())
    index = np.flatnonzero(core.areas)
    index = index[:: max(1, len(index) // SAMPLES)]
    return Core(template.vertices[index], core.areas[index], core.right[index])


def neutrality(
    marks: Floats, core: Core, points: Floats, confidence: Floats, pose: Floats, surface: Surface
) -> Neutrality:
    """How neutral a frame is.

    Args:
        marks: (68, 3) of the template; points (68, 3), NaN absent, and confidence (68,) of the frame.
        pose: (4, 4) canonical -> scan; surface: the scan.
    """
    near = surface.distance(transform(pose, core.points)) < NEAR_MM
    deviation = landmark_deviation(points, confidence, marks)

    def share(areas: Floats) -> float:
        return float(areas @ near / max(float(areas.sum()), 1e-12))

    given = np.asarray(np.isfinite(points[INNER]).all(axis=1))
    sure = float(np.where(given, confidence[INNER], 0.0).sum() / max(len(given), 1))
    return Neutrality(deviation, share(core.areas * core.right), share(core.areas * ~core.right), sure)
