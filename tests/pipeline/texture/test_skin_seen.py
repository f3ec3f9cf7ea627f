"""What counts as skin, of what registration stored: the same for vertices and for what lies between them."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.texture.skin_seen import is_skin


def test_half_is_told_alike_of_bytes_and_of_what_lies_between() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert is_skin(every).sum() == 128 and not is_skin(every[:128]).any()
    np.testing.assert_array_equal(is_skin(every), is_skin(every.astype(np.float32)))
    assert is_skin(np.float32(127.6)) and not is_skin(127.4)
