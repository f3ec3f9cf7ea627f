"""The texture of a registered mesh: the scan's colours in the template's texture layout.

Each texel is a point and a normal on the registered mesh.  Its place on the scan is found (correspondence.py); the
colour is read there, inside the one scan triangle that was hit - so never across the seam between two photographs -
and averaged over the texel's footprint in the image (sampling.py).  What stays without data is filled smoothly from
around and marked 0 in the coverage mask (filling.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.correspondence import Target
from mimicme.pipeline.filling import fill_holes, fill_mirrored, mirror_error
from mimicme.pipeline.mesh import Floats, Mesh
from mimicme.pipeline.raster import bands
from mimicme.pipeline.sampling import ColorSampler, ImageSampler
from mimicme.pipeline.scan_source import Source
from mimicme.pipeline.template import Template

Pixels = NDArray[np.uint8]

# texels worked on together: large enough for numpy, small enough for the cache; the result does not depend
# on it
CHUNK = 1 << 16
# steps of the confidence mask: finer ones would only make it hard to compress
CONFIDENCE_STEPS = 15

MIRROR_TOLERANCE = 0.005
"""A layout this near to its own mirror image, in its own units, counts as symmetric; the embedded one is at 0.0023."""


@dataclass(frozen=True)
class TextureOptions:
    """How a texture is made.

    Attributes:
        size: texels a side.
        max_distance_mm: furthest that the scan may be from the registered surface to give a texel its colour.
        max_normal_angle_deg: largest angle between the two surfaces there.
        min_grazing_deg: scan triangles that their camera saw flatter than this give no colour: their pixels are
            smeared, or already show what lies behind.
        level_seams: even out the difference of brightness and hue where two photographs of a scan meet.
        fill: fill texels without data smoothly from around; else they are black.
        mirror_fill: fill with the detail of the face's other side where that was seen and the template's layout is its
            own mirror image.
    """

    size: int = 1024
    max_distance_mm: float = 4.0
    max_normal_angle_deg: float = 65.0
    min_grazing_deg: float = 6.0
    level_seams: bool = True
    fill: bool = True
    mirror_fill: bool = True


class _Holder:
    """Carries a template through a cache; the digest beside it alone decides."""

    def __init__(self, template: Template) -> None:
        self.template = template

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Holder)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=2)
def _symmetric(digest: str, holder: _Holder) -> bool:
    """Whether the template's layout is its own mirror image; looked at once."""
    t = holder.template
    return bool(digest) and mirror_error(t.uv, t.vertices, t.uv_faces, t.faces) < MIRROR_TOLERANCE


class Baked(NamedTuple):
    """A baked frame.

    Attributes:
        texture: (size, size, 3) uint8 RGB, row 0 at v = 1.
        coverage: (size, size) uint8: 0 where no data was found (filled, or outside the layout), else the
            confidence, 255 where scan and registered mesh agree in place and direction.
        share: texels with data among those the layout covers.
    """

    texture: Pixels
    coverage: Pixels
    share: float


def bake(
    scan: Mesh, image: Pixels | None, vertices: Floats, template: Template, settings: TextureOptions
) -> Baked | None:
    """Bake one frame.

    Args:
        scan: the scan, mm; with `uv` if `image` is given, else with `colors`.
        image: (h, w, 3) uint8 RGB or None.
        vertices: (V, 3) the registered mesh in the scan's frame.
        template: gives topology and texture layout.

    Returns:
        The texture, or None when the scan carries no colour.
    """
    source = open_source(scan, image, settings)
    return None if source is None else bake_source(source, vertices, template, settings)


def open_source(scan: Mesh, image: Pixels | None, settings: TextureOptions) -> Source | None:
    """The scan made ready for any number of bakes; None when it carries no colour; arguments as of `bake`."""
    if image is not None and scan.uv is not None:
        return Source(scan, image, settings.min_grazing_deg)
    return None if scan.colors is None else Source(scan, None)


def bake_source(source: Source, vertices: Floats, template: Template, settings: TextureOptions) -> Baked:
    """Bake one frame whose scan is ready; arguments as of `bake`."""
    size = settings.size
    target = Target(vertices - source.origin, template, source, settings)
    sampler = (
        ImageSampler(source, target, settings.level_seams)
        if source.image is not None
        else ColorSampler(source)
    )
    texture = np.zeros((size * size, 3), np.uint8)
    coverage = np.zeros(size * size, np.uint8)
    total = found_total = 0
    for raster in bands(template, size):
        base = raster.first_row * size
        total += len(raster.texels)
        for start in range(0, len(raster.texels), CHUNK):
            part = slice(start, start + CHUNK)
            triangles, weights = raster.triangles[part], raster.weights[part]
            found = target.correspond(triangles, weights)
            good = np.flatnonzero(found.triangles >= 0)
            at = raster.texels[part][good].astype(np.int64) + base
            texture[at] = sampler.colors(found.triangles[good], found.weights[good], triangles[good])
            steps = np.maximum(1, np.rint(found.confidence[good] * CONFIDENCE_STEPS))
            coverage[at] = steps * (255 // CONFIDENCE_STEPS)
            found_total += len(good)
    picture, mask = texture.reshape(size, size, 3), coverage.reshape(size, size)
    if settings.fill:
        mirror = settings.mirror_fill and _symmetric(template.digest, _Holder(template))
        (fill_mirrored if mirror else fill_holes)(picture, mask > 0)
    return Baked(picture, mask, found_total / max(total, 1))
