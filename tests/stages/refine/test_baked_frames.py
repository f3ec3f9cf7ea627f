"""What is handed on from the subject's reference to a frame's own sequence, and that it changes nothing."""

from __future__ import annotations

import os

import numpy as np

from mimicme.pipeline.texture.baking import Baked
from mimicme.stages.refine.baked_frames import BakedFrames

ROW, OPTIONS = 3, ("template", 64)


def baked(value: int, size: int = 64) -> Baked:
    return Baked(np.full((size, size, 3), value, np.uint8), np.full((size, size), 255, np.uint8), 1.0)


def files(folder):
    found = folder / "ingest.h5", folder / "register.h5"
    for path in found:
        path.write_bytes(b"as it was")
    return found


def test_what_was_kept_is_taken_once(tmp_path):
    frames, (scans, shapes) = BakedFrames(), files(tmp_path)
    assert frames.take(scans, shapes, ROW, OPTIONS) is None
    kept = baked(7)
    frames.keep(scans, shapes, ROW, OPTIONS, kept)
    assert frames.take(scans, shapes, ROW + 1, OPTIONS) is None
    assert frames.take(scans, shapes, ROW, ("template", 128)) is None
    assert frames.take(scans, shapes, ROW, OPTIONS) is kept
    assert frames.take(scans, shapes, ROW, OPTIONS) is None


def test_a_file_that_was_made_again_has_nothing(tmp_path):
    for changed in range(2):
        frames, found = BakedFrames(), files(tmp_path)
        frames.keep(*found, ROW, OPTIONS, baked(7))
        again = tmp_path / "again"
        again.write_bytes(b"as it is!")
        os.replace(again, found[changed])
        assert frames.take(*found, ROW, OPTIONS) is None


def test_there_is_room_for_so_many_and_the_last_ones_stay(tmp_path):
    frames, found = BakedFrames(most_texels=3 * 64**2), files(tmp_path)
    for row in (0, 1, 1, 2, 3):
        frames.keep(*found, row, OPTIONS, baked(row))
    there = [row for row in range(4) if frames.take(*found, row, OPTIONS) is not None]
    assert there == [1, 2, 3]
    for row in range(4):  # what was taken makes room
        frames.keep(*found, row, OPTIONS, baked(row))
    frames.keep(*found, 5, OPTIONS, baked(5, size=256))
    assert [row for row in range(6) if frames.take(*found, row, OPTIONS) is not None] == []
