"""A frame's texture with its vertices displaced along the registered surface, without baking it again.

A vertex that was displaced to another place of the surface shows the skin that the texture has at that place's texture
coordinates.  So the texture baked with the registered vertices, read at these coordinates interpolated over the layout,
is the texture that the displaced vertices would give: one bake a frame, however often its vertices are displaced.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from mimicme.pipeline.arrays import Floats, Longs, Singles
from mimicme.pipeline.formats.image import Pixels, opencv
from mimicme.pipeline.geometry.mesh import components
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.flow import Comparable
from mimicme.pipeline.texture.raster import bands

OUTSIDE = -100.0
"""Where nothing is read from, texels."""


class Spots(NamedTuple):
    """Vertices (V, 3) displaced along a registered surface, mm, and where on it they lie: triangles (V,), -1 where a
    vertex left the surface, and weights (V, 3)."""

    vertices: Floats
    triangles: Longs
    weights: Floats


class Reading(NamedTuple):
    """Where the texels of a warped texture are read: columns and rows (h, w) float32 of the baked one."""

    columns: Singles
    rows: Singles


class Layout:
    """A template's texture layout at one size.

    Attributes:
        places: (N, 2) texels, column and row, of every texture coordinate.
    """

    def __init__(self, template: Template, size: int) -> None:
        self.size = size
        self.uv_faces = template.uv_faces
        self.owner = np.zeros(len(template.uv), np.int64)
        self.owner[template.uv_faces.ravel()] = template.faces.ravel()
        self.places = np.stack(
            [template.uv[:, 0] * size - 0.5, (1 - template.uv[:, 1]) * size - 0.5], axis=1
        ).astype(np.float32)
        self.chart = components(template.uv_faces, len(template.uv))[1]
        texels, corners, weights = [], [], []
        for band in bands(template, size):
            texels.append(band.texels.astype(np.int64) + band.first_row * size)
            corners.append(template.uv_faces[band.triangles].ravel().astype(np.int32))
            weights.append(band.weights.ravel())
        self.texels = np.concatenate(texels)
        starts = np.arange(0, 3 * len(self.texels) + 1, 3, dtype=np.int32)
        self.interpolation = sparse.csr_matrix(
            (np.concatenate(weights), np.concatenate(corners), starts),
            shape=(len(self.texels), len(template.uv)),
        )

    def reading(self, spots: Spots, share: Floats | None = None) -> Reading:
        """Where to read the texture that displaced vertices give.

        Nothing is read where a triangle's corners left the surface, or lie in another chart than their own.

        Args:
            share: (V,) of its displacement that each vertex kept in the end; all of it by default.
        """
        triangle, weight = spots.triangles[self.owner], spots.weights[self.owner].astype(np.float32)
        corner = self.uv_faces[np.maximum(triangle, 0)]
        there = (triangle >= 0) & (self.chart[corner[:, 0]] == self.chart)
        moved = np.einsum("nk,nkx->nx", weight, self.places[corner])
        if share is not None:
            moved = self.places + share[self.owner, None].astype(np.float32) * (moved - self.places)
        values = np.zeros((len(moved), 3), np.float32)
        values[:, :2] = np.where(there[:, None], moved, 0)
        values[:, 2] = ~there
        at = self.interpolation @ values
        at[at[:, 2] > 0, :2] = OUTSIDE
        columns, rows = (np.full(self.size**2, OUTSIDE, np.float32) for _ in range(2))
        columns[self.texels], rows[self.texels] = at[:, 0], at[:, 1]
        shape = (self.size, self.size)
        return Reading(columns.reshape(shape), rows.reshape(shape))


def warped(texture: Comparable, reading: Reading) -> Comparable:
    """A normalised texture read elsewhere; texels whose four neighbours are not all known are unknown."""
    cv2 = opencv()
    mask = cv2.remap(texture.mask, *reading, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    grey = cv2.remap(texture.grey, *reading, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    fine = cv2.remap(texture.fine, *reading, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    known = (mask > 0.99).astype(np.float32)
    return Comparable(grey * known, fine * known, known)


def warped_pixels(texture: Pixels, coverage: Pixels, reading: Reading) -> tuple[Pixels, Pixels]:
    """The same of colours (h, w, 3) and their coverage (h, w)."""
    cv2 = opencv()
    known = cv2.remap(
        (coverage > 0).astype(np.float32), *reading, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    colors = cv2.remap(texture, *reading, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(colors, np.uint8), np.where(known > 0.99, 255, 0).astype(np.uint8)
