"""The preconditioners of both levels: made once a template, for landmarks and closed lips as they are expected."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from mimicme.stages.register.levels import Level, Levels
from mimicme.stages.register.solver import Landmarks, Preconditioner

CLOSURE_WEIGHT = 1.5
"""Of a vertex whose lip or lid is drawn to the other, in that of its plane.  On three people of `mimicme synth`, 36
frames, light between the lips beyond the scan's: 4.4 mm^2 without, 1.9 with 1.5, 5 and 15 alike; the mouth's error:
0.632, 0.637, 0.646 and 0.662 mm."""
EXPECTED_CLOSURE = 0.3
"""What the preconditioner has of the attraction of the lips, whether a frame's are closed or open.  None costs half as
many iterations again where they are closed; all of it one or two where they are open."""


class LandmarkWeights(NamedTuple):
    """Weight of a landmark of full confidence on the coarse level and on the template itself, mm^2."""

    coarse: float
    fine: float


class Preconditioners(NamedTuple):
    """The preconditioners of both levels."""

    coarse: Preconditioner
    fine: Preconditioner

    @classmethod
    def of(cls, levels: Levels, weights: LandmarkWeights) -> Preconditioners:
        """Those of a template, made once."""
        return levels.once("preconditioners", weights, lambda: cls._made(levels, weights))

    @classmethod
    def _made(cls, levels: Levels, weights: LandmarkWeights) -> Preconditioners:
        count = levels.prolong.shape[0]
        rows = [lid.rows for lid in levels.lids]
        areas = [CLOSURE_WEIGHT * lid.areas for lid in levels.lids]
        if levels.lips is not None:
            rows.append(levels.lips.at_rest)
            areas.append(EXPECTED_CLOSURE * CLOSURE_WEIGHT * levels.lips.areas)
        closed = sparse.vstack([sparse.csr_matrix((0, count)), *rows], format="csr")
        closure = np.concatenate([np.empty(0), *areas])

        def preconditioner(level: Level, weight: float, closing: sparse.csr_matrix) -> Preconditioner:
            given = level.landmarks.shape[0]
            expected = Landmarks(
                sparse.vstack([level.landmarks, closing], format="csr"),
                np.zeros((given + len(closure), 3)),
                np.concatenate([np.full(given, weight), closure]),
            )
            return Preconditioner(level.stiffness, level.areas, expected)

        return cls(
            preconditioner(levels.coarse, weights.coarse, closed @ levels.prolong),
            preconditioner(levels.fine, weights.fine, closed),
        )
