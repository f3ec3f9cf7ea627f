"""Deterministic, evenly spaced subsampling."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def even_subsample(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of range(count), ascending and evenly spaced, from the first to the last; of one, the first."""
    picked = np.linspace(0, max(count - 1, 0), max(min(most, count), 0)).round()
    return np.unique(picked.astype(np.int64))


def even_subsample_by_subject(who: NDArray[Any], most: int) -> NDArray[np.int64]:
    """Places in `who` (n,), about `most`: as many of each person as of the others, evenly; all where n is no more."""
    if len(who) <= most:
        return np.arange(len(who), dtype=np.int64)
    names = np.unique(who)
    quota = max(1, most // len(names))
    own = (np.flatnonzero(who == name) for name in names)
    return np.concatenate([places[even_subsample(len(places), quota)] for places in own]).astype(np.int64)
