"""Frames that tell nothing new: a file that was copied, or written again, or a scanner that hung.

A copy need not have the same bits: another program writes fewer decimals (OBJ) or other floats (PLY).  So places are
compared, within what no scanner repeats.  A hash of rounded places would not do: two places that are as good as equal
round differently where they lie at the edge of a step.

Slow motion of meshes of one topology without noise (tracked, or made) stays within that too.  It is told from rounding
by where it moves vertices: rounding moves nearly every one, each its own way; motion leaves some where they are, and
moves neighbours alike.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.geometry.mesh import Mesh

Places = NDArray[np.float32]
SAME_MM = 0.01
"""Two vertices that are nearer in each coordinate are one place: a tenth of the noise of the best scanners, and what an
OBJ of two decimals of a millimetre rounds."""
FLOAT_MM = 1e-4
"""What moves no vertex by more is a copy wherever it moves them: float32 rounds a coordinate of a metre to 3e-5 mm."""
LEAST_MOVED = 0.5
"""Share of the vertices that rounding moves, at the least: of three decimals that become two, one coordinate in ten
stays, and one vertex in a thousand."""
MOST_ALIKE = 0.875
"""How much alike rounding moves the two ends of an edge, at the most (see `_alike`): 0 for decimals that are rounded,
3/4 for such as are cut off, which is always towards the same side; 1 is a motion."""
LOOKED_AT = 97
"""Vertices that are looked at first: of other frames with as many vertices and triangles hardly one agrees."""
KEPT_BYTES = 64 << 20
"""Of earlier frames whose vertices are kept, the newest: a frame farther back is told by equal bits alone."""


class Frames:
    """The frames of a sequence, as they come."""

    def __init__(self) -> None:
        # by number: digest of the triangles, and vertices
        self._kept: OrderedDict[int, tuple[bytes, Places]] = OrderedDict()
        self._bytes = 0
        # number by digest of triangles and vertices, of all
        self._equal: dict[bytes, int] = {}

    def same_as(self, number: int, scan: Mesh) -> int | None:
        """The number of an earlier frame with the same triangles and vertices but for what rounding moves these, by
        `SAME_MM` at the most; None: it is the first of its kind.

        Args:
            scan: in mm.
        """
        # whichever way round each is wound: one of the two may have been turned
        faces = sha256(np.sort(scan.faces, axis=1).tobytes()).digest()
        vertices = np.asarray(scan.vertices, np.float32)
        bits = sha256(faces + vertices.tobytes()).digest()
        if bits in self._equal:
            return self._equal[bits]
        step = max(1, len(vertices) // LOOKED_AT)
        for earlier, (known, other) in self._kept.items():
            alike = known == faces and other.shape == vertices.shape
            if (
                alike
                and _near(vertices[::step], other[::step])
                and _near(vertices, other)
                and _is_rounding(vertices - other, scan.faces)
            ):
                return earlier
        self._equal[bits] = number
        self._kept[number] = faces, vertices
        self._bytes += vertices.nbytes
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes
        return None


class Images:
    """The images of a sequence's frames, as they come: a texture that is recorded at a lower rate than the surface, or
    a file that was copied, is an earlier frame's on a surface that has moved on.

    One image for all frames of a mesh that was tracked is no such thing: its texture coordinates stay, too.  They are
    compared as the files have them: where lips or lids touch, cleaning takes a triangle away or turns it.
    """

    def __init__(self) -> None:
        # by digest of the image: the first frame's number, and its `layout`
        self._known: dict[bytes, tuple[int, bytes]] = {}

    def same_as(self, number: int, placed: bytes, encoded: bytes | None) -> int | None:
        """The number of the first frame with the same image, byte for byte, on other texture coordinates; None: there
        is none.

        Args:
            placed: `layout` of the frame's file.
        """
        if encoded is None or not placed:
            return None
        first, known = self._known.setdefault(sha256(encoded).digest(), (number, placed))
        return None if known == placed else first


def layout(mesh: Mesh) -> bytes:
    """Digest of a mesh's texture coordinates and of which its triangles have; empty: it has none."""
    if mesh.uv is None or mesh.uv_faces is None:
        return b""
    return sha256(np.asarray(mesh.uv, np.float32).tobytes() + mesh.uv_faces.tobytes()).digest()


def _near(one: Places, other: Places) -> bool:
    return bool((np.abs(one - other) <= SAME_MM).all())


def _is_rounding(moved: Places, faces: NDArray[np.integer[Any]]) -> bool:
    """Whether vertices are moved as rounding moves them, not as a face moves.

    Args:
        moved: (V, 3) mm.
        faces: (T, 3).
    """
    if np.abs(moved).max(initial=0.0) <= FLOAT_MM:
        return True
    return bool(moved.any(axis=1).mean() >= LEAST_MOVED and _alike(moved, faces) <= MOST_ALIKE)


def _alike(moved: Places, faces: NDArray[np.integer[Any]]) -> float:
    """How much alike the two ends of an edge are moved: 1 the same way, 0 each its own way (an autocorrelation, about
    zero, at the distance of one edge)."""
    together = size = 0.0
    for one, other in ((0, 1), (1, 2), (2, 0)):  # an edge at a time: a scan may have millions of triangles
        first, second = moved[faces[:, one]], moved[faces[:, other]]
        together += float((first * second).sum(dtype=np.float64))
        size += float((first**2 + second**2).sum(dtype=np.float64)) / 2
    return together / size if size else 0.0
