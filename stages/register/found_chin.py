"""The chin that a detector has found, which leads a person's neutral.

Smooth skin does not say where along itself a place of the template lies.  Points by hand hold the jaw; of those that
are found none does but the chin's (`stages/landmarks/chin.py`), which are told by its shape, to 1.5 to 3 mm.  By itself
the fit is as far off there, but by errors of its own: it slides down a long chin, or round a short one to the throat.
So the found ones count, less than points by hand, on the coarse level alone, where the way is found, and not in the
spline, which would follow them all the way.  With them the fit tells how long the face is (proportions.py).
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.pipeline.landmarks import CHIN_LINE, N_LANDMARKS
from mimicme.stages.register.frame import Frame
from mimicme.stages.register.setup import Setup
from mimicme.stages.register.solver import Landmarks

COUNTS = 0.2
"""What a found point of the chin counts, of one by hand that is as sure.  On five people of `mimicme synth`, coarse
level: without 1.537 mm, chin 1.44; with 0.05 1.492 and 1.14, 0.2 1.486 and 1.06, 1 1.481 and 1.09."""


def leading_chin(setup: Setup, frame: Frame, free: Floats) -> Landmarks:
    """What leads the coarse level of a neutral besides the landmarks that are known.

    A beard, or a scarf, has a chin's shape too: what lies on it counts as little as its surface does.

    Args:
        free: (V,) factor of the correspondences' weights, as far as the scan shows skin.
    """
    rows = np.arange(N_LANDMARKS)[CHIN_LINE]
    use = frame.detected & (frame.confidence > 0) & np.isfinite(frame.landmarks).all(axis=1)
    rows = rows[use[rows]]
    levels = setup.levels
    skin = levels.fine.landmarks[rows] @ free
    weights = COUNTS * setup.settings.landmark_weight_mm2 * frame.confidence[rows] * skin
    points = transform(inverse(frame.pose), frame.landmarks[rows])
    return Landmarks(levels.coarse.landmarks[rows], points, weights)
