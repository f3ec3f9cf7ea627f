"""Maps of a frame's geometry in the texture layout: normals, positions and displacements, as 16-bit pictures.

    normal         unit normal of the scan at the texel, canonical frame; where the scan was not seen, of the
                   registered surface
    position       point of the registered surface, canonical frame, mm
    displacement   scan minus registered surface along the registered surface's normal, mm; 0 where not seen

What is seen is what the coverage mask says.  A texel outside the layout is 0 in every channel, in `displacement` the
code of 0 mm.  `Coding` says what the whole numbers mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Ints, Longs, Singles
from mimicme.pipeline.formats.map_coding import MAPS, TOP, Coding, Deep
from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.pipeline.texture.scan_source import dot, interpolated

if TYPE_CHECKING:
    from mimicme.pipeline.template import Template
    from mimicme.pipeline.texture.correspondence import Correspondences, Target
    from mimicme.pipeline.texture.scan_source import Source

POSITION_STEP_MM = 1 / 128
"""Positions reach 256 mm from the template's middle in steps of 8 um: more than a head, finer than a scanner."""


def coding(name: str, template: Template, max_distance_mm: float) -> Coding:
    """How a map is written: the same for all frames of a release, so that their numbers compare."""
    if name == "normal":
        return Coding(MAPS[name].unit, 2 / (TOP - 1), (-1.0,) * 3)  # 0 has a number of its own
    if name == "position":
        middle = np.rint((template.vertices.min(0) + template.vertices.max(0)) / 2)
        corner = middle - POSITION_STEP_MM * (TOP + 1) / 2
        return Coding(MAPS[name].unit, POSITION_STEP_MM, tuple(corner.tolist()))
    step = float(2.0 ** np.ceil(np.log2(max_distance_mm / (TOP // 2))))
    return Coding(MAPS[name].unit, step, (-step * (TOP + 1) / 2,))


class SurfaceMaps:
    """The maps of one frame, filled in while its texture is baked.

    Args:
        codings: the maps that are wanted.
        vertices: (V, 3) the registered mesh, canonical frame, mm; pose: (4, 4) canonical -> scan.
        source: the scan; size: texels a side.
    """

    def __init__(
        self,
        codings: dict[str, Coding],
        vertices: Floats,
        pose: Floats,
        template: Template,
        source: Source,
        size: int,
    ) -> None:
        self.codings, self.size = codings, size
        self._to_canonical = pose[:3, :3].astype(np.float32)  # rows times it: the inverse turn
        self._corners = vertices.astype(np.float32)[template.faces]
        self._places = source.vertices.astype(np.float32)[source.faces]
        self._directions = vertex_normals(source.vertices, source.faces).astype(np.float32)[source.faces]
        self._numbers = {
            name: np.zeros((size * size, len(code.offset)), np.uint16) for name, code in codings.items()
        }
        if "displacement" in codings:
            self._numbers["displacement"][:] = codings["displacement"].numbers(0.0)

    def add(
        self,
        at: NDArray[np.int64],
        triangles: NDArray[np.int32],
        weights: Singles,
        found: Correspondences,
        target: Target,
    ) -> None:
        """Fill in texels `at` (k,), given by the template's triangle and weights, and by what was found there."""
        seen = np.flatnonzero(found.triangles >= 0)
        there = (found.triangles[seen], found.weights[seen])
        apart = interpolated(self._places, *there) - interpolated(
            target.corners, triangles[seen], weights[seen]
        )
        normals = _unit(interpolated(target.normals, triangles[seen], weights[seen]))
        self.put(at, triangles, weights, target, seen, dot(apart, normals), self.directions_at(*there))

    def directions_at(self, triangles: Longs, weights: Singles) -> Singles:
        """(k, 3) normals of the scan, scan frame, not of unit length, at places on it."""
        return interpolated(self._directions, triangles, weights)

    def put(
        self,
        at: Longs,
        triangles: Ints,
        weights: Singles,
        target: Target,
        seen: Longs,
        depth: Singles,
        directions: Singles,
    ) -> None:
        """Fill in texels `at` (k,); of those among them that were seen (s,), the scan's depth (s,) along the registered
        normal, mm, and its normals (s, 3), scan frame, are known."""
        if "position" in self.codings:
            self._put("position", at, interpolated(self._corners, triangles, weights))
        if "displacement" in self.codings:
            along = np.zeros((len(at), 1), np.float32)
            along[seen, 0] = depth
            self._put("displacement", at, along)
        if "normal" in self.codings:
            normals = _unit(interpolated(target.normals, triangles, weights))
            normals[seen] = _unit(directions)
            self._put("normal", at, normals @ self._to_canonical)

    def _put(self, name: str, at: NDArray[np.int64], values: Singles) -> None:
        known = np.isfinite(values).all(1)
        self._numbers[name][at[known]] = self.codings[name].numbers(values[known])

    def picture(self, name: str) -> Deep:
        """(size, size, 3) or, of one channel, (size, size); row 0 is v = 1."""
        numbers = self._numbers[name].reshape(self.size, self.size, -1)
        return numbers if numbers.shape[2] > 1 else numbers[..., 0]


def _unit(vectors: Singles) -> Singles:
    length = np.sqrt(np.einsum("kx,kx->k", vectors, vectors))
    return np.asarray(vectors / np.maximum(length, np.float32(1e-12))[:, None], np.float32)
