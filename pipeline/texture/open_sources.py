"""Scans that one stage made ready and the next asks for: handed on inside a worker, and not opened twice.

A worker that ends an item goes on with the same sequence, so that what it has just opened is asked for next.  Whether
it is there changes what a frame costs and nothing else; only one sequence is kept, of a long one the first frames, and
what was taken is forgotten.
"""

from __future__ import annotations

import os
from pathlib import Path

from mimicme.pipeline.texture.scan_source import Source

MOST_BYTES = 256 << 20
"""What is kept in a worker, about: four frames of 45,000 triangles with an image of four million pixels."""
TRIANGLE_BYTES = 500
"""What a triangle of an open scan takes: its corners, its pixels, its share of the search tree."""
PYRAMID = 4 / 3
"""An image with all its halvings, in its own size."""

FileKey = tuple[str, int, int, int, int]


class OpenSources:
    """The open scans of one sequence, by row."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._key: FileKey | None = None
        self._kept: dict[tuple[int, float], Source] = {}
        self._bytes = 0

    def keep(self, checkpoint: Path, row: int, source: Source) -> None:
        """Keep the scan of a row of a checkpoint of `ingest`, if it has an image and there is room."""
        key = file_key(checkpoint)
        if key != self._key:
            self._key, self._bytes = key, 0
            self._kept.clear()
        self.take(checkpoint, row, source.min_grazing_deg)  # what it takes the place of
        size = _bytes_of(source)
        if source.image is None or source.border_mm > 0 or self._bytes + size > self.most_bytes:
            return
        self._kept[row, source.min_grazing_deg] = source
        self._bytes += size

    def take(self, checkpoint: Path, row: int, min_grazing_deg: float) -> Source | None:
        """The scan that was kept, which is so no longer; None where there is none, or the checkpoint is another."""
        if not self._kept or file_key(checkpoint) != self._key:
            return None
        source = self._kept.pop((row, min_grazing_deg), None)
        if source is not None:
            self._bytes -= _bytes_of(source)
        return source


OPEN_SOURCES = OpenSources()
"""Of this process."""


def file_key(path: Path) -> FileKey:
    """A file, and what it was like."""
    stat = os.stat(path)
    return str(path), stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino


def _bytes_of(source: Source) -> int:
    image = 0 if source.image is None else source.image.nbytes
    return int(PYRAMID * image) + TRIANGLE_BYTES * len(source.faces)
