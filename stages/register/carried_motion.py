"""Skin that has moved far is not drawn back: the rest shape of the last steps follows what the coarse level found.

At the template's own resolution landmarks hardly count any more, and along smooth skin a scan holds nothing: what is
left there is the stiffness, and it draws towards the rest shape.  At the corner of a smiling mouth, which landmarks had
led over 8 mm, it took back a twentieth to a tenth of the way.  So these steps begin from a rest shape that has made the
motion, smoothed, and the stiffness is against what is changed of that.

A subject's neutral is fitted from the template in the same way: how a person differs from it is the motion then, and
the last steps would draw the person back to what is no shape of theirs.

Where skin has moved little that would be wrong: there the errors of landmarks are as large as the motion, and a rest
shape that does not follow them takes most of them off.  Between the two it follows by the share of the motion that is
no noise, as in Wiener's filter.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mimicme.pipeline.arrays import Floats
from mimicme.stages.register.levels import EAR_STIFFNESS, Level
from mimicme.stages.register.solver import PLANE_SHARE, Landmarks, Preconditioner, Problem, solve
from mimicme.stages.register.targets import Targets

SMOOTH_MM = 4.0
"""A wave of 2 pi times this length, in the motion, becomes rest by a half, one half as long by a seventeenth: a frame's
landmarks are 5 to 10 mm apart, and one that is off makes a wave of about twice that."""
NOISE_MM = 3.0
"""Motion of which a half becomes rest.  On two people of `mimicme synth`, smiling and pouting, landmarks with 1 mm of
noise, the mouth's corners: amplitude 0.93 without, 0.99 with 2, 3 and 4, error 0.79 and 0.76 mm; with less the lids and
brows, which hardly move there, follow their landmarks' noise (0.49, 0.46 mm without, 0.51 with none).  For what two
people differ by from the template it might be none (`corr` 1.125 mm, with 3 1.140, without 1.186); of people who are
nearer to it than those are, 3 takes the noise off."""
TOLERANCE = 0.01
"""Of the solver: a hundredth of a millimetre or two at rest changes nothing."""


class CarriedMotion:
    """The motion that the rest shape of a level goes along with.

    Args:
        level: the template's own, of open eyes and a personal template: its factorisation, of seconds, serves for
            closed ones, and for the generic template, too.
    """

    def __init__(self, level: Level) -> None:
        count = len(level.index)
        self._identity = sparse.identity(count, format="csr")
        nothing = Landmarks(sparse.csr_matrix((0, count)), np.empty((0, 3)), np.empty(0))
        # all of the areas: what is smoothed is known everywhere and in all directions
        self._preconditioner = Preconditioner(level.stiffness, level.areas / PLANE_SHARE, nothing)
        self._stiff: tuple[Level, sparse.csr_matrix] = level, self._with_stiff_ears(level)

    def of(self, displacement: Floats, level: Level) -> Floats:
        """(n, 3) mm, of a displacement (n, 3) from rest: smooth, and of small motion less than it is.

        Args:
            level: that of the fit: the lids of a closed eye move each on its own, and between two people skin is
                stretched less than by an expression.  Ears are as stiff as a person's own in either.
        """
        nowhere = np.zeros_like(displacement)
        if self._stiff[0] is not level:
            self._stiff = level, self._with_stiff_ears(level)
        problem = Problem(
            SMOOTH_MM**4,
            self._stiff[1],
            nowhere,
            level.areas,
            Targets(nowhere, nowhere, np.zeros(len(displacement))),
            Landmarks(self._identity, displacement, level.areas),
            0.0,
        )
        smooth = solve(problem, displacement, self._preconditioner, TOLERANCE)[0]
        square = np.einsum("nx,nx->n", smooth, smooth)[:, None]
        return np.asarray(smooth * (square / (square + NOISE_MM**2)))

    @staticmethod
    def _with_stiff_ears(level: Level) -> sparse.csr_matrix:
        """(n, n) the stiffness of a level, whose ears are a person's own.

        An ear is placed as a whole, and has its relief, before: what the coarse level bends it by is noise, and rest
        that is bent at its thin rim crosses itself.
        """
        more = EAR_STIFFNESS - level.ear_stiffness
        return (level.stiffness + more * level.ear_bending).tocsr() if more else level.stiffness
