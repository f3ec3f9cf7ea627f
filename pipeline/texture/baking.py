"""The texture of a registered mesh: the scan's colours in the template's texture layout.

Each texel is a point and a normal on the registered mesh.  Its place on the scan is found (correspondence.py), or
interpolated between those of its triangle's corners where these are near to each other in one photograph
(interpolation.py); the colour is read there - so never across the seam between two photographs - and averaged over the
texel's footprint in the image (sampling.py).  Beside the scan's boundary (scan_source.py) and
jumps of its depth (borders.py) pixels are mixed with what lies behind, and none is taken.  Nor is what is no skin, but
for a beard, which belongs to the face (beard.py).  What stays without data is
filled - from another frame, the face's other side, or smoothly from around, darker in the face's hollows (hollows.py)
- and marked 0 in the coverage mask (inpainting.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints, Longs, Singles
from mimicme.pipeline.formats.image import Pixels, opencv
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.template import Template, TemplateKey
from mimicme.pipeline.texture.beard import beard_seen, below_the_jaw, on_beard
from mimicme.pipeline.texture.borders import DepthJumps
from mimicme.pipeline.texture.correspondence import Correspondences, Target
from mimicme.pipeline.texture.delighting import without_shading
from mimicme.pipeline.texture.hollows import darken, fill_opened
from mimicme.pipeline.texture.inpainting import fill_from, fill_holes, mirror_error, mirrored
from mimicme.pipeline.texture.interpolation import VertexPlaces
from mimicme.pipeline.texture.raster import Raster, at_texels, bands
from mimicme.pipeline.texture.sampling import ColorSampler, ImageSampler
from mimicme.pipeline.texture.scan_source import Source
from mimicme.pipeline.texture.skin_seen import is_skin
from mimicme.pipeline.texture.surface_maps import SurfaceMaps

# texels worked on together: large enough for numpy, small enough for the cache; the result does not depend
# on it
CHUNK = 1 << 16
PLAIN_CHUNK = 1 << 18
# steps of the confidence mask: finer ones would only make it hard to compress
CONFIDENCE_STEPS = 15

BESIDE_HAIR = 0.015
"""How far beside what is no skin nothing is taken from the scan, in sides of the texture: about 5 mm of a face."""
DARK, WITHIN_FACE = 0.5, 0.04
"""Of the face's median brightness: what is darker beyond the face, and so far within (in sides of the texture, about
13 mm), on a mean over half as far as `BESIDE_HAIR`, may be hair.  Chosen by looking at one real face (james): hair has
0.1 to 0.4 there, stubble 0.8 and more."""
REST_GRID = 1024
"""Rests of hair are looked for in a picture of at most so many texels a side."""
MIRROR_TOLERANCE = 0.005
"""A layout this near to its own mirror image, in its own units, counts as symmetric; the embedded one is at 0.0023."""


@dataclass(frozen=True)
class TextureOptions:
    """How a texture is made.

    Attributes:
        size: side length of the texture (texels).
        max_distance_mm: largest distance of the scan from the registered surface at which it gives a texel its
            colour.
        max_normal_angle_deg: correspondence rejection: largest angle between the normals of scan and registered
            surface.
        min_grazing_deg: smallest angle between a scan triangle and its camera's line of sight; one that was seen
            flatter gives no colour: its pixels are smeared, or already show what lies behind.
        min_confidence: visibility threshold (no unit, 0 to 1): places on the scan whose confidence, the coverage
            mask's, is lower give no colour: deep in a nostril, between the lips and behind an ear the nearest thing
            is often another fold's skin.
        border_mm: width of the border along the scan's boundary, and along jumps of its depth, that gives no colour:
            its pixels are mixed with what lies behind; 0: none.
        level_seams: whether differences of brightness and hue are levelled where two photographs of a scan meet.
        fill: whether texels without data are filled, from the fill sources in their order and at last smoothly from
            around, darker in nostrils and between the lips; else they are black.
        mirror_fill: whether the face's other side is a fill source, where that was seen and the template's UV
            layout is its own mirror image; needs `fill`; where there is no
            fill source that has a texture.
        even_lighting: whether the smooth shading is taken out of the texture (spherical harmonics; cast shadows
            stay).
    """

    size: int = 1024
    max_distance_mm: float = 4.0
    max_normal_angle_deg: float = 65.0
    min_grazing_deg: float = 6.0
    min_confidence: float = 0.1
    border_mm: float = 0.0
    level_seams: bool = True
    fill: bool = True
    mirror_fill: bool = True
    even_lighting: bool = False


@lru_cache(maxsize=2)
def _symmetric(key: TemplateKey) -> bool:
    """Whether the template's layout is its own mirror image; looked at once, and never taken for granted of a template
    without a digest, which cannot be told from another."""
    t = key.template
    return bool(t.digest) and mirror_error(t.uv, t.vertices, t.uv_faces, t.faces) < MIRROR_TOLERANCE


class Baked(NamedTuple):
    """A baked frame.

    Attributes:
        texture: (size, size, 3) uint8 RGB, row 0 at v = 1; black when the scan has no colour.
        coverage: (size, size) uint8: 0 where no data was found (filled, or outside the layout), else the
            confidence, 255 where scan and registered mesh agree in place and direction.
        share: texels with data among those the layout covers.
        light: (9,) what was taken out, see delighting.py; None without `even_lighting`.
    """

    texture: Pixels
    coverage: Pixels
    share: float
    light: NDArray[np.float32] | None = None


class FillSource(NamedTuple):
    """The texture (size, size, 3) and coverage (size, size) of another frame, from which holes are filled; and (V,)
    `hollows.opened` of its mesh, None: as if its lips were closed."""

    texture: Pixels
    coverage: Pixels
    opened: Floats | None = None


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
        return Source(scan, image, settings.min_grazing_deg, settings.border_mm)
    return None if scan.colors is None else Source(scan, None, border_mm=settings.border_mm)


def bake_source(
    source: Source,
    vertices: Floats,
    template: Template,
    settings: TextureOptions,
    maps: SurfaceMaps | None = None,
    fill_source: FillSource | None = None,
    skin: NDArray[np.uint8] | None = None,
    bearded: Floats | None = None,
    beyond: Floats | None = None,
    canonical: Floats | None = None,
) -> Baked:
    """Bake one frame whose scan is ready; arguments as of `bake`, and

    Args:
        maps: filled in on the way.  fill_source: the subject's neutral, to fill holes from before the mirrored side.
        skin: (V,) how sure it is that the scan shows the person's own surface, of 255; what is less sure than half
            counts as not seen.  By default all is seen.
        bearded: (V,) 1 where a beard grows (`cover.CoverRegions`): what is no skin there is a beard, and is baked; the
            maps show the registered surface there.  By default nowhere.
        beyond: (V,) 0 in the face, 1 where hair, a cap or clothes may be: a beard that goes on there is baked
            (`beard.below_the_jaw`), and nothing is filled from rests of hair (`rests_of_hair`).  By default neither.
        canonical: (V, 3) `vertices` as the template lies, for what comes to light in its mouth (`hollows.opened`).  By
            default the scan lies so.
    """
    size = settings.size
    registered, beard = vertices, None
    seen = None if skin is None or bearded is None else beard_seen(skin, bearded)
    if seen is not None and skin is not None and bearded is not None and beyond is not None:
        far = settings.max_distance_mm
        seen |= below_the_jaw(template, vertices, source, skin, bearded, beyond, far)
    if skin is not None and seen is not None and seen.any():
        beard = _under_half(np.where(seen, 0, 255), template, size)
        vertices = on_beard(vertices, template, source, skin, seen)
        skin = np.where(seen, np.uint8(255), skin)
    target = Target(vertices - source.origin, template, source, settings)
    sampler = _sampler(source, target, settings)
    drawn = _Drawn(target, sampler, size, settings, maps)
    total = 0
    for raster in bands(template, size):
        total += len(raster.texels)
        drawn.add(raster)
    hidden = None if skin is None else _no_skin(skin, template, size)
    if hidden is not None and beard is not None:
        hidden &= ~beard  # what is let go beside it, along the jaw, is for the most part the same beard
    picture, mask = drawn.finished(hidden)
    if maps is not None and drawn.beside is not None:
        _forget(maps, drawn.beside, target, template)
    if maps is not None and beard is not None:
        _forget(maps, beard, Target(registered - source.origin, template, source, settings), template)
    light = None
    if sampler is not None:
        if settings.even_lighting:
            picture, light = without_shading(picture, mask, vertices, template)
        if settings.fill:
            lying = registered if canonical is None else canonical
            _fill(picture, mask > 0, settings, template, fill_source, beyond, lying)
    return Baked(picture, mask, np.count_nonzero(mask) / max(total, 1), light)


def _forget(maps: SurfaceMaps, unseen: Bools, target: Target, template: Template) -> None:
    """Make the maps show the registered surface in texels (size, size) that turned out not to be seen."""
    size = len(unseen)
    for raster in bands(template, size):
        base = raster.first_row * size
        which = np.flatnonzero(unseen.ravel()[base : base + raster.n_rows * size][raster.texels])
        k = len(which)
        nothing = Correspondences(
            np.full(k, -1), np.zeros((k, 3), np.float32), np.zeros(k, np.float32), np.zeros(k, np.float32)
        )
        at = raster.texels[which].astype(np.int64) + base
        maps.add(at, raster.triangles[which], raster.weights[which], nothing, target)


def _no_skin(skin: NDArray[np.uint8], template: Template, size: int) -> Bools | None:
    """(size, size) True in texels of the layout where the scan shows what is no skin (V,), and beside it: strands lie
    over the hair line, and what is filled is filled from its border.  None where there is none."""
    if is_skin(skin).all():
        return None
    return _widened(_under_half(skin, template, size), round(BESIDE_HAIR * size))


def _under_half(values: NDArray[np.integer], template: Template, size: int) -> Bools:
    """(size, size) True in texels of the layout where values (V,), of 255, are under half."""
    found = np.zeros(size * size, bool)
    columns = values.astype(np.float32)[:, None]
    for raster in bands(template, size):
        share = at_texels(template, raster.triangles, raster.weights, columns)[:, 0]
        found[raster.texels.astype(np.int64) + raster.first_row * size] = ~is_skin(share)
    return found.reshape(size, size)


def _to_fill_from(picture: Pixels, known: Bools, beyond: Floats, template: Template) -> Bools:
    """(size, size) what is known without `rests_of_hair`; beyond the face (V,), 0 in it, and not far within.

    It is looked at on a grid: memory and time then do not grow with a larger texture's area.
    """
    size = len(picture)
    grid = min(size, REST_GRID)
    at = (2 * np.arange(grid) + 1) * size // (2 * grid)
    places = np.ix_(at, at)
    outer = _widened(_under_half(np.where(beyond > 0, 0, 255), template, grid), round(WITHIN_FACE * grid))
    rests = rests_of_hair(picture[places], known[places], outer)
    back = np.arange(size) * grid // size
    return known & ~rests[np.ix_(back, back)]


def rests_of_hair(picture: Pixels, known: Bools, beyond: Bools) -> Bools:
    """(size, size) True where what is known `beyond` the face is much darker than the face, and beside it: hair that
    lies on the skin, or was not told from it, and the shadow between the two.  Nowhere where no face is known."""
    brightness = picture.astype(np.float32).mean(axis=2)
    inside = brightness[known & ~beyond]
    if not len(inside):
        return np.zeros_like(known)
    radius = max(1, round(BESIDE_HAIR * len(picture)))
    side = (radius | 1, radius | 1)
    box = opencv().boxFilter
    # a mean tells a strand from a single dark hair of a beard
    number = box(known.astype(np.float32), -1, side, normalize=False)
    mean = box(np.where(known, brightness, 0), -1, side, normalize=False) / np.maximum(number, 1)
    dark = known & beyond & (mean < DARK * np.median(inside))
    return _widened(dark, radius) & known & beyond


def _widened(found: Bools, radius: int) -> Bools:
    """(size, size) True within so many texels of where it is True."""
    radius = max(1, radius)
    disc = opencv().getStructuringElement(opencv().MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(opencv().dilate(found.view(np.uint8), disc), bool)


def _sampler(source: Source, target: Target, settings: TextureOptions) -> ImageSampler | ColorSampler | None:
    if source.image is not None:
        return ImageSampler(source, target, settings.level_seams)
    return None if source.vertex_colors is None else ColorSampler(source)


class _Drawn:
    """A texture and its coverage while they are made, a band at a time."""

    def __init__(
        self,
        target: Target,
        sampler: ImageSampler | ColorSampler | None,
        size: int,
        settings: TextureOptions,
        maps: SurfaceMaps | None,
    ) -> None:
        self.target, self.sampler, self.size, self.maps = target, sampler, size, maps
        self.texture = np.zeros((size * size, 3), np.uint8)
        self.coverage = np.zeros(size * size, np.uint8)
        self.jumps = DepthJumps(target, size, settings.border_mm) if settings.border_mm > 0 else None
        self.beside: Bools | None = None
        self.places = VertexPlaces(target) if isinstance(sampler, ImageSampler) else None
        if self.places is not None and isinstance(sampler, ImageSampler):
            columns = [self.places.pixels, self.places.confidence[:, None], self.places.depth[:, None]]
            added = sampler.added_at(self.places)
            self.levelled = added is not None
            if added is not None:
                columns.append(added)
            self.at_vertices = np.concatenate(columns, axis=1)
            self.directions = None if maps is None else maps.directions_at(*self.places.places)

    def add(self, raster: Raster) -> None:
        """Draw the texels of a band, a chunk at a time."""
        base = raster.first_row * self.size
        rays = np.arange(len(raster.texels))
        if self.places is not None:
            is_plain = self.places.plain[raster.triangles]
            plain, rays = np.flatnonzero(is_plain), np.flatnonzero(~is_plain)
            for part in _chunks(plain, PLAIN_CHUNK):
                self._add_plain(
                    raster.texels[part].astype(np.int64) + base, raster.triangles[part], raster.weights[part]
                )
        for part in _chunks(rays, CHUNK):
            self._add_rays(
                raster.texels[part].astype(np.int64) + base, raster.triangles[part], raster.weights[part]
            )

    def _add_plain(self, at: Longs, triangles: Ints, weights: Singles) -> None:
        """Texels `at` (k,) in plain triangles, read off the image between their corners."""
        assert self.places is not None
        assert isinstance(self.sampler, ImageSampler)
        values = at_texels(self.target.template, triangles, weights, self.at_vertices)
        seen = values[:, 2] >= self.target.least_sure
        colors = self.sampler.plain_colors(self.places, values[:, :2], triangles)
        if self.levelled:
            near = np.flatnonzero((values[:, 4] != 0) | (values[:, 5] != 0) | (values[:, 6] != 0))
            colors[near] = np.rint(np.clip(colors[near] + values[near, 4:], 0, 255))
        if self.maps is not None and self.directions is not None:
            directions = at_texels(self.target.template, triangles, weights, self.directions)
            which = np.flatnonzero(seen)
            self.maps.put(at, triangles, weights, self.target, which, values[which, 3], directions[which])
        if not seen.all():
            at, triangles, values, colors = at[seen], triangles[seen], values[seen], colors[seen]
        self.texture[at] = colors
        self._cover(at, triangles, values[:, 2], values[:, 3])

    def _add_rays(self, at: Longs, triangles: Ints, weights: Singles) -> None:
        """Texels `at` (k,), each with a place of its own on the scan."""
        found = self.target.correspond(triangles, weights)
        good = np.flatnonzero(found.triangles >= 0)
        if self.sampler is not None:
            colors = self.sampler.colors(found.triangles[good], found.weights[good], triangles[good])
            self.texture[at[good]] = colors
        if self.maps is not None:
            self.maps.add(at, triangles, weights, found, self.target)
        self._cover(at[good], triangles[good], found.confidence[good], found.depth[good])

    def _cover(self, at: Longs, triangles: Ints, confidence: Singles, depth: Singles) -> None:
        steps = np.maximum(1, np.rint(confidence * CONFIDENCE_STEPS))
        self.coverage[at] = steps * (255 // CONFIDENCE_STEPS)
        if self.jumps is not None:
            self.jumps.add(at, triangles, depth)

    def finished(self, hidden: Bools | None) -> tuple[Pixels, Pixels]:
        """The texture (size, size, 3) and its coverage (size, size), without what lies beside a jump of depth, and
        without what is `hidden` (size, size)."""
        picture, mask = (
            self.texture.reshape(self.size, self.size, 3),
            self.coverage.reshape(self.size, self.size),
        )
        unseen = [] if hidden is None else [hidden]
        if self.jumps is not None:
            unseen.append(self.jumps.beside())
            self.jumps = None
        for beside in unseen:
            if beside.any():
                mask[beside] = 0
                picture[beside] = 0
                self.beside = beside if self.beside is None else self.beside | beside
        return picture, mask


def _chunks(which: Longs, size: int) -> Iterator[Longs]:
    """Texels `which` (k,), so many together."""
    for start in range(0, len(which), size):
        yield which[start : start + size]


def _fill(
    picture: Pixels,
    known: Bools,
    settings: TextureOptions,
    template: Template,
    fill_source: FillSource | None,
    beyond: Floats | None = None,
    vertices: Floats | None = None,
) -> None:
    """Fill what is not known, in place: from the fill source, or from the face's other side and smoothly from around.

    Where the frame's lips, of its mesh `vertices` (V, 3) as the template lies, are open, see `hollows.fill_opened`.

    Strands that are left beside hair would be spread over temples and neck: nothing is filled from them.

    What the fill source does not show either it has been filled with itself: a person's ear that nobody sees is then
    the same in all textures, and does not change with what each of them has on the face's other side.
    """
    if fill_source is not None and fill_source.coverage.any():
        # first what it has seen: the rest would show a border beside what is brought into tune with this texture
        both = fill_from(picture, known, fill_source.texture, fill_source.coverage > 0)
        fill_from(picture, both, fill_source.texture, np.ones_like(known))
        if vertices is not None:
            lent = fill_source.coverage > 0
            fill_opened(picture, known, template, vertices, lent, fill_source.opened)
        return
    sources = known if beyond is None else _to_fill_from(picture, known, beyond, template)
    seen = known
    if settings.mirror_fill and _symmetric(TemplateKey(template)):
        other, there = mirrored(picture, sources)
        known = fill_from(picture, known, other, there)
    fill_holes(picture, known, sources | (known & ~seen))
    if known.any():
        darken(picture, ~known, template)
