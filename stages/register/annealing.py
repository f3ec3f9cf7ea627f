"""The steps of a fit: stiffness and residual scale fall from one to the next, geometrically."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Step:
    """One Gauss-Newton step: `stiffness` in mm^2, residual scale of the robust weights in mm."""

    stiffness: float
    scale_mm: float


def annealed(steps: int, stiffness: tuple[float, float], scale_mm: tuple[float, float]) -> list[Step]:
    """`steps` steps from the first to the second of each pair, geometrically."""
    return [Step(a, s) for a, s in zip(_path(steps, *stiffness), _path(steps, *scale_mm), strict=True)]


def _path(steps: int, first: float, last: float) -> list[float]:
    # equal ends stay bit-equal: a factorisation is reused only for exactly the same stiffness
    if first == last or steps == 1:
        return [last] * steps
    return [float(x) for x in np.geomspace(first, last, steps)]
