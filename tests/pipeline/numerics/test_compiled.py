"""compiled: with a place to keep what was compiled, and without."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from mimicme.pipeline.numerics.compiled import compiled


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(monkeypatch):
    asked = []
    njit = numba.njit

    def refusing(signature, cache=False, **options):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(signature, **options)

    monkeypatch.setattr(numba, "njit", refusing)

    def doubled(x):
        return 2 * x

    assert compiled("f8(f8)")(doubled)(4.0) == 8.0
    assert asked == [True, False]


def test_other_types_are_refused():
    @compiled("f8(f4[::1])")
    def total(x):
        found = 0.0
        for value in x:
            found += value
        return found

    assert total(np.arange(4, dtype=np.float32)) == 6.0
    with pytest.raises(TypeError):
        total(np.arange(4))
