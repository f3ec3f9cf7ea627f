"""Between the vertices of a registered mesh that is as fine as its scan, places on the scan need no rays of their own.

A triangle whose three corners found the same piece of one photograph, near to each other in it and in depth, and that
is small and flat enough, is *plain*: colours, confidence and depth of its texels are read where the corners' places,
interpolated linearly, say.  All other triangles - along the boundary of the scan and of its photographs, at jumps of
depth, large or bent ones - get a ray for each texel (correspondence.py).
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Bools
from mimicme.pipeline.texture.correspondence import SMALL_MM, Target
from mimicme.pipeline.texture.scan_source import interpolated

SAGITTA_MM = 0.1
"""How far the curved registered surface may stand off a plain triangle's edges."""
STRETCH = 1.5
"""Two corners lie no further apart in the photograph than so many times what its scale says, and `SLACK_PX`."""
SLACK_PX = 0.5


class VertexPlaces:
    """Where the scan's photograph shows every vertex of the registered mesh, and which triangles are plain.

    Attributes:
        pixels: (V, 2) float32 places in the image; 0 where a vertex has none.
        confidence, depth: (V,) float32 of `Correspondences`; 0 where a vertex has none.
        plain: (T,) triangles of the template between whose corners all of these can be interpolated.
    """

    def __init__(self, target: Target) -> None:
        from mimicme.pipeline.texture.triangle_loops import plain_triangles  # it loads numba

        source, found, faces = target.source, target.at_vertices, target.template.faces
        there = found.triangles >= 0
        at = np.where(there, found.triangles, 0)
        weights = found.weights.astype(np.float32)
        self.places = (at, weights)
        self.pixels = np.where(there[:, None], interpolated(source.pixels, at, weights), np.float32(0))
        self.confidence = np.where(there, found.confidence, np.float32(0))
        self.depth = np.where(there, found.depth, np.float32(0))
        sound = there & ~source.at_seam[at] & ~source.at_border[at]
        self.plain: Bools = np.empty(len(faces), bool)
        plain_triangles(
            np.ascontiguousarray(faces, np.int32),
            sound,
            target.sure,
            target.longest,
            SMALL_MM,
            target.corners,
            target.normals,
            np.ascontiguousarray(self.pixels),
            self.depth,
            source.chart[at],
            source.scale[at],
            STRETCH,
            SLACK_PX,
            8 * SAGITTA_MM,
            self.plain,
        )
