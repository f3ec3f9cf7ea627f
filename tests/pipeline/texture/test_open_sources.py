"""Open scans are handed on once, of the file that they were read from, and never more than there is room for."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.texture.open_sources import OpenSources
from mimicme.pipeline.texture.scan_source import Source

VERTICES = np.array([[0.0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]])
FACES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
IMAGE = np.full((16, 16, 3), 120, np.uint8)
GRAZING = 6.0


def opened(image=IMAGE, border_mm=0.0) -> Source:
    scan = Mesh(VERTICES, FACES, VERTICES[:, :2] / 10, FACES)
    return Source(scan, image, GRAZING, border_mm)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "ingest.h5"
    path.write_bytes(b"scan")
    return path


def test_what_was_kept_is_taken_once(checkpoint):
    sources, source = OpenSources(), opened()
    sources.keep(checkpoint, 3, source)
    assert sources.take(checkpoint, 2, GRAZING) is None
    assert sources.take(checkpoint, 3, GRAZING + 1) is None
    assert sources.take(checkpoint, 3, GRAZING) is source
    assert sources.take(checkpoint, 3, GRAZING) is None


def test_a_file_that_was_written_anew_is_another(checkpoint):
    sources = OpenSources()
    sources.keep(checkpoint, 0, opened())
    checkpoint.write_bytes(b"another scan")
    assert sources.take(checkpoint, 0, GRAZING) is None


def test_one_sequence_is_kept_and_of_it_what_there_is_room_for(checkpoint, tmp_path):
    source = opened()
    sources = OpenSources(most_bytes=2 * 4 * IMAGE.nbytes)
    for row in range(9):
        sources.keep(checkpoint, row, source)
    there = [sources.take(checkpoint, row, GRAZING) is not None for row in range(9)]
    assert there[0]
    assert not there[-1]
    assert there == sorted(there, reverse=True)
    sources.keep(checkpoint, 0, source)
    other = tmp_path / "other.h5"
    other.write_bytes(b"other")
    sources.keep(other, 0, source)
    assert sources.take(checkpoint, 0, GRAZING) is None
    assert sources.take(other, 0, GRAZING) is source


def test_what_is_kept_again_takes_room_once(checkpoint):
    sources, source = OpenSources(most_bytes=2 * 4 * IMAGE.nbytes), opened()
    for _ in range(99):
        sources.keep(checkpoint, 0, source)
    sources.keep(checkpoint, 1, source)
    assert sources.take(checkpoint, 0, GRAZING) is source and sources.take(checkpoint, 1, GRAZING) is source


def test_what_has_no_image_or_a_border_is_not_kept(checkpoint):
    sources = OpenSources()
    sources.keep(
        checkpoint, 0, Source(Mesh(VERTICES, FACES, colors=np.full((4, 3), 9, np.uint8)), None, GRAZING)
    )
    sources.keep(checkpoint, 1, opened(border_mm=1.0))
    assert sources.take(checkpoint, 0, GRAZING) is None
    assert sources.take(checkpoint, 1, GRAZING) is None


def test_another_border_is_that_of_a_scan_opened_with_it():
    plain, bordered = opened(), opened(border_mm=1.5)
    other = plain.with_border(1.5)
    assert other.border_mm == 1.5
    assert bordered.at_border.any()
    np.testing.assert_array_equal(other.at_border, bordered.at_border)
    np.testing.assert_array_equal(other.border_distance, bordered.border_distance)
    assert plain.border_mm == 0
    assert not plain.at_border.any()
    assert other.surface is plain.surface
