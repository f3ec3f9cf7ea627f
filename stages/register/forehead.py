"""The top of the forehead, which does not go up with the brows.

The frontal muscle pulls the brows up towards the hair line, and the hair line towards the brows: the skin in between is
gathered in folds.  Above the brows there is no landmark, and a scan of smooth skin does not tell a slide along itself;
the stiffness, for which a motion that goes on is the cheapest, took the top of a forehead 4 to 5 mm up with brows
raised by 5 mm, where it moves by nothing (`synth`).  So it is held, lightly, to where the skull takes it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.landmarks import GROUPS, eye_distance
from mimicme.pipeline.template import Template
from mimicme.stages.register.levels import Level
from mimicme.stages.register.solver import Landmarks

FROM, FULL = 0.4, 0.55
"""Height above the brows, in distances between the eyes (25 and 35 mm), from which on skin is held to the skull, and
from which on wholly.  The skin of `synth` moves there by 0.4 and by 0 of the brows' way."""
HELD = 0.02
"""Weight of a place that is held, in that of its area on the scan.  At the apex of a surprise of `synth` the forehead's
motion is off by 2.16 mm without, by 0.57 with this, by 0.93 with 0.3, which holds the brows back too: 0.73, 0.74 and
0.81 mm."""


def top_of_forehead(vertices: Floats, landmarks: Floats) -> Floats:
    """(V,) in [0, 1], how far the vertices of a template go with the skull whatever the brows do.

    Args:
        vertices: (V, 3) template, mm, canonical frame; landmarks: (68, 3) on it.
    """
    brows = np.concatenate([landmarks[GROUPS["left_eyebrow"]], landmarks[GROUPS["right_eyebrow"]]])
    height = (vertices[:, 1] - brows[:, 1].mean()) / eye_distance(landmarks)
    return np.clip((height - FROM) / (FULL - FROM), 0, 1)


class Forehead(NamedTuple):
    """The vertices (k,) of a level that are held, (k, n) rows that choose them, and their weights (k,), mm^2."""

    vertices: NDArray[np.int64]
    rows: sparse.csr_matrix
    weights: Floats

    @classmethod
    def of(cls, template: Template, level: Level) -> Forehead:
        """That of a level of a template."""
        weights = HELD * level.areas * top_of_forehead(template.vertices, template.landmarks())[level.index]
        held = np.flatnonzero(weights > 0)
        ones = np.ones(len(held))
        rows = sparse.csr_matrix((ones, (np.arange(len(held)), held)), shape=(len(held), len(level.index)))
        return cls(level.index[held], rows, weights[held])

    def held(self, shape: Floats) -> Landmarks:
        """What holds it to where it lies on a shape (V, 3), mm, that has moved with the skull alone."""
        return Landmarks(self.rows, shape[self.vertices], self.weights)
