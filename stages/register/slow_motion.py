"""What is slow, and of a small part of the face: places where temporal smoothing is put back to what all frames show.

Smoothing takes the whole face together.  A smile of a few frames, a tenth of the face, is no more there than the noise
of a depth camera all over it, so that its modes are taken for noise.  Around a corner of the mouth it is several times
as much.  A sequence is looked at by rates of change, as `temporal` does, and in patches: noise is alike at all rates, a
face moves slowly, so that fast rates show how much noise a patch has, and the skull how much a head's pose brings with
it that changes slowly.  What smoothing took away of a slow rate, where a patch has much more of it than both, was
motion.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.numerics.temporal import MIN_FRAMES, rates
from mimicme.stages.register.fast_motion import LEAST_NOISE_MM
from mimicme.stages.register.patches import Patches

NOISE, MOTION = 1.8, 2.4
"""Root mean square of a patch at a slow rate in that of noise, up to which it is noise, and from which on motion.
Noise that is alike within 10 mm goes beyond the first in 1 of 1,000 patches.  At 2.0 and 2.8 a smile of 9 frames lost
a twentieth; at 1.6 and 2.2 scans without noise got back a hundredth of a millimetre of their registration's noise."""
SLOWEST, SLOW_SHARE = 3, 4
"""Of F rates the first and so many more are slow: a constant, a line, a parabola, and a quarter of F."""
BLOCK = 4096


class SlowMotion:
    """Tells slow motion of a small part from noise."""

    def __init__(self, patches: Patches) -> None:
        self._patches = patches

    def restore(
        self, own: NDArray[np.float32], smooth: NDArray[np.float32], times: NDArray[np.int64]
    ) -> None:
        """Put smoothed vertices (F, V, 3) back, in place, towards frames' own (F, V, 3) where these move slowly.

        Args:
            times: (F,) frame numbers, increasing; of fewer than `MIN_FRAMES` rates tell nothing.
        """
        if len(own) < MIN_FRAMES:
            return
        slow, share = self._shares(own, smooth, times)
        moves = share.any(axis=1)
        if not moves.any():
            return
        slow = slow[:, moves]
        fields = np.stack([self._patches.spread(s) for s in share[moves]])
        for start in range(0, own.shape[1], BLOCK):
            part = slice(start, start + BLOCK)
            taken = np.einsum("fk,fvx->kvx", slow, (own[:, part] - smooth[:, part]).astype(np.float64))
            back = np.einsum("fk,kvx->fvx", slow, fields[:, part, None] * taken)
            smooth[:, part] += back.astype(np.float32)

    def _shares(
        self, own: NDArray[np.float32], smooth: NDArray[np.float32], times: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        """(F, k) curves of the slow rates; (k, n) how much of each is motion around each coarse vertex, 0 to 1."""
        patches = self._patches
        _, basis = rates(times)
        slow, fast = SLOWEST + len(times) // SLOW_SHARE, (len(times) + 1) // 2
        found = own[:, patches.index].astype(np.float64)
        taken = np.einsum("fk,fvx->kvx", basis[:, :slow], found - smooth[:, patches.index])
        found -= found.mean(axis=0)
        squares = patches.mean_squares(np.einsum("fk,fvx->kvx", basis, found))
        noise = np.maximum(squares[fast:].mean(axis=0), LEAST_NOISE_MM**2)
        if patches.still.any():
            noise = np.maximum(noise, squares[:slow, patches.still].mean(axis=1)[:, None])
        ratio = np.sqrt(patches.mean_squares(taken) / noise)
        return basis[:, :slow], np.clip((ratio - NOISE) / (MOTION - NOISE), 0, 1)
