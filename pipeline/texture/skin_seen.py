"""Where a scan shows the person's own surface and not hair or clothes, by what registration stored of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mimicme.pipeline.arrays import Bools

_HALF = 127.5


def is_skin(seen: ArrayLike) -> Bools:
    """Whether it is rather skin than not, of the same shape.

    Args:
        seen: how sure it is, 0 to 255, as `skin_seen` of checkpoints and releases has it; or between its vertices.
    """
    return np.asarray(np.asarray(seen) >= _HALF)
