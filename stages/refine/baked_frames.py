"""Textures that the subject's reference was made of, handed on inside a worker to the frames' own sequences.

The reference is made of the near-neutral frames of all of a subject's sequences, each baked as it was registered; that
is what refining such a frame begins with.  Whether its texture is there changes what the frame costs and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path

from mimicme.pipeline.texture.baking import Baked
from mimicme.pipeline.texture.open_sources import file_key

MOST_TEXELS = 32 << 18
"""What is kept in a worker: 32 frames at 512 texels, 4 bytes a texel."""


class BakedFrames:
    """Baked frames by what they were made of, the last ones that there is room for."""

    def __init__(self, most_texels: int = MOST_TEXELS) -> None:
        self.most_texels = most_texels
        self._kept: OrderedDict[Hashable, Baked] = OrderedDict()
        self._texels = 0

    def keep(self, scans: Path, shapes: Path, row: int, made_with: Hashable, baked: Baked) -> None:
        """Keep what a row of the checkpoints of `ingest` and of the registration gave with a template and options."""
        self.take(scans, shapes, row, made_with)  # what it takes the place of
        self._kept[file_key(scans), file_key(shapes), row, made_with] = baked
        self._texels += baked.coverage.size
        while self._texels > self.most_texels:
            self._texels -= self._kept.popitem(last=False)[1].coverage.size

    def take(self, scans: Path, shapes: Path, row: int, made_with: Hashable) -> Baked | None:
        """What was kept of a row, which is then forgotten; None where there is nothing."""
        if not self._kept:
            return None
        baked = self._kept.pop((file_key(scans), file_key(shapes), row, made_with), None)
        if baked is not None:
            self._texels -= baked.coverage.size
        return baked


BAKED_FRAMES = BakedFrames()
"""Of this process."""
