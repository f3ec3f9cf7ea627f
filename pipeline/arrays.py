"""Names for the array types that signatures speak of; shapes and units stand in the docstrings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]
Singles = NDArray[np.float32]
Longs = NDArray[np.int64]
