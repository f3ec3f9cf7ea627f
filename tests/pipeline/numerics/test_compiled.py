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


def test_four_numbers_at_once_are_asked_for_while_it_compiles_and_not_after(monkeypatch):
    from numba.core import config

    asked = []
    njit = numba.njit

    def watching(signature, **options):
        asked.append(config.SLP_VECTORIZE)
        return njit(signature, **options)

    monkeypatch.setattr(numba, "njit", watching)
    before = config.SLP_VECTORIZE

    def moved(x, by):
        for i in range(len(x)):
            x[i, 0] += by * x[i, 0]
            x[i, 1] += by * x[i, 1]
            x[i, 2] += by * x[i, 2]
            x[i, 3] += by * x[i, 3]

    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    expected = x + np.float32(0.3) * x
    compiled("void(f4[:, ::1], f4)", abreast=True)(moved)(x, 0.3)
    compiled("void(f4[:, ::1], f4)")(moved)
    assert asked == [1, before]
    assert before == config.SLP_VECTORIZE
    assert x.tobytes() == expected.tobytes()
