"""Frames that tell nothing new: a file that was copied, or written again, or a scanner that hung.

A copy need not have the same bits: another program writes fewer decimals (OBJ) or other floats (PLY).  So places are
compared, within what no scanner repeats.  A hash of rounded places would not do: two places that are as good as equal
round differently where they lie at the edge of a step.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.geometry.mesh import Mesh

Places = NDArray[np.float32]
SAME_MM = 0.01
"""Two vertices that are nearer in each coordinate are one place: a tenth of the noise of the best scanners, and what an
OBJ of two decimals of a millimetre rounds."""
LOOKED_AT = 97
"""Vertices that are looked at first: of other frames with as many vertices and triangles hardly one agrees."""
KEPT_BYTES = 64 << 20
"""Of earlier frames that are kept to be compared with, the newest."""


class Frames:
    """The frames of a sequence, as they come."""

    def __init__(self) -> None:
        # by number: digest of the triangles, and vertices
        self._kept: OrderedDict[int, tuple[bytes, Places]] = OrderedDict()
        self._bytes = 0

    def same_as(self, number: int, scan: Mesh) -> int | None:
        """The number of an earlier frame with the same triangles and, to `SAME_MM`, the same vertices; None: it is the
        first of its kind.

        Args:
            scan: in mm.
        """
        # whichever way round each is wound: one of the two may have been turned
        faces = sha256(np.sort(scan.faces, axis=1).tobytes()).digest()
        vertices = np.asarray(scan.vertices, np.float32)
        step = max(1, len(vertices) // LOOKED_AT)
        for earlier, (known, other) in self._kept.items():
            alike = known == faces and other.shape == vertices.shape
            if alike and _near(vertices[::step], other[::step]) and _near(vertices, other):
                return earlier
        self._kept[number] = faces, vertices
        self._bytes += vertices.nbytes
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes
        return None


def _near(one: Places, other: Places) -> bool:
    return bool((np.abs(one - other) <= SAME_MM).all())
