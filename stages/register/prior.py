"""A linear prior on expressions, learnt from the registered faces, and the prediction of a frame from it.

A frame's registration finds its surface almost exactly and the tangential motion of the skin only roughly; its
errors there are largely its own (noise of its landmarks, its holes), while how faces move is common to all.  The
displacements from each subject's own registered neutral span a linear space; a frame's place in it is the most
probable one given its first result (probabilistic principal components; Tipping and Bishop 1999, sec. 3), in which
displacement across the surface counts for more than displacement along it.  Zero displacement is the centre of the
space: a neutral face stays neutral.  Everything here is on the coarse level.

A frame must not be predicted from its own errors: `fold_of` deals subjects into folds, and a subject's frames are
predicted from what was learnt of the other folds (cross-validation).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mimicme.pipeline.arrays import Floats

MODES = 40
FOLDS = 8
ALONG_MM, ACROSS_MM = 1.0, 0.4
"""Standard deviation of what the first result and the space disagree by, along the surface and across it."""
INDEPENDENT = 200.0
"""A whole face counts as this many independent observations: errors of neighbouring vertices are correlated."""
OUTLIER_MM = 3.0
"""Disagreement at which a vertex's weight has fallen to a quarter."""
ROUNDS = 3


@dataclass(frozen=True)
class ExpressionPrior:
    """A linear space of expressions.

    Attributes:
        modes: (k, n, 3) mm on the coarse level, each one standard deviation long.
        areas: (n,) mm^2 of its vertices.
    """

    modes: Floats
    areas: Floats

    def predict(self, displacement: Floats, normals: Floats, observed: Floats) -> Floats:
        """The displacement (n, 3) that is most probable given the first result's.

        Args:
            displacement: (n, 3) from the subject's neutral, mm.
            normals: (n, 3) of the first result.
            observed: (n,) 1 where the first result had a valid correspondence, else 0.
        """
        count = len(self.modes)
        if count == 0:
            return np.zeros_like(displacement)
        flat = self.modes.reshape(count, -1)
        across_modes = (self.modes * normals).sum(axis=2)
        across = (displacement * normals).sum(axis=1)
        share = INDEPENDENT * observed * self.areas / self.areas.sum()
        extra = 1 / ACROSS_MM**2 - 1 / ALONG_MM**2
        weight = np.ones(len(displacement))
        predicted = np.zeros_like(displacement)
        for _ in range(ROUNDS):
            precision = share * weight
            along = np.repeat(precision / ALONG_MM**2, 3)
            normal = (flat * along) @ flat.T + (across_modes * (precision * extra)) @ across_modes.T
            right = flat @ (along * displacement.ravel()) + across_modes @ (precision * extra * across)
            predicted = np.tensordot(np.linalg.solve(normal + np.eye(count), right), self.modes, 1)
            off = np.linalg.norm(displacement - predicted, axis=1)
            weight = 1 / (1 + (off / OUTLIER_MM) ** 2) ** 2
        return predicted


def learn(displacements: Floats, areas: Floats, modes: int = MODES) -> ExpressionPrior:
    """The space that displacements (m, n, 3), mm, of other subjects span; areas: (n,) mm^2.

    Principal components about zero, weighted by area, the `modes` largest; those of no length are left out.
    """
    count = len(displacements)
    if count == 0:
        return ExpressionPrior(np.zeros((0, len(areas), 3)), areas)
    rows = (displacements * np.sqrt(areas / areas.sum())[:, None]).reshape(count, -1)
    values, vectors = np.linalg.eigh(rows @ rows.T)
    keep = np.flatnonzero(values > 1e-9 * max(float(values[-1]), 1e-12))[::-1][:modes]
    # the rows' combination of unit length times its standard deviation
    return ExpressionPrior(np.tensordot(vectors[:, keep].T, displacements, 1) / np.sqrt(count), areas)


def fold_of(subjects: Iterable[str]) -> dict[str, int]:
    """The fold of each subject: one each up to `FOLDS` subjects, dealt in order beyond."""
    return {subject: place % FOLDS for place, subject in enumerate(sorted(set(subjects)))}
