"""What is too fast for the frame rate: places where temporal smoothing is put back to what a frame itself shows.

A blink may last one frame, and smoothing in time takes it for noise.  How much noise there is can be seen where nothing
moves: over the skull, what smoothing takes away is noise alone.  Where it takes away several times as much, from a
patch of skin and not from single vertices, it was motion.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.stages.register.patches import Patches

LEAST_NOISE_MM = 0.05
"""Noise of a registration of scans that have none."""
LIVELY = 2.0
"""Noise at a vertex over that of the skull, at most: what is more, in most frames, is motion."""
NOISE, MOTION = 4.0, 5.0
"""Root mean square change of a patch in that of noise, up to which it is noise, and from which on motion.  Two heads of
`mimicme synth`, 82 frames with 0.5 mm of noise: no patch of any frame has more than 3.6."""


class FastMotion:
    """Tells fast motion from noise, patch by patch."""

    def __init__(self, patches: Patches) -> None:
        self._patches = patches

    def noise_mm(self, own: NDArray[np.float32], smooth: NDArray[np.float32]) -> float:
        """Median change over the skull that smoothing (F, V, 3) made to frames' own vertices (F, V, 3)."""
        still = self._patches.still
        return float(np.median(self._changes(own, smooth)[:, still])) if still.any() else 0.0

    def restore(self, own: NDArray[np.float32], smooth: NDArray[np.float32]) -> None:
        """Put smoothed vertices (F, V, 3) back, in place, to frames' own (F, V, 3) where these show fast motion."""
        change = self._changes(own, smooth)
        noise = max(self.noise_mm(own, smooth), LEAST_NOISE_MM)
        usual = np.clip(np.median(change, axis=0), noise, LIVELY * noise)
        own_share = np.clip((change / usual - NOISE) / (MOTION - NOISE), 0, 1)
        for share, mine, frame in zip(own_share, own, smooth, strict=True):
            if share.any():
                frame += (self._patches.spread(share)[:, None] * (mine - frame)).astype(np.float32)

    def _changes(self, own: NDArray[np.float32], smooth: NDArray[np.float32]) -> Floats:
        """(F, n) root mean square change around each coarse vertex, mm."""
        index = self._patches.index
        return np.sqrt(self._patches.mean_squares((own[:, index] - smooth[:, index]).astype(np.float64)))
