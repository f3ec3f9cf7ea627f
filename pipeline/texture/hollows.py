"""Hollows of a face that no camera looks into: the nostrils, and what lies between closed lips.

Less light falls into them than on the skin around, and what is filled smoothly from there would shine out of them.  So
it is darkened, the more the less a place sees of its surroundings (ambient occlusion), as photographs of these places
are; what a scan shows stays as it is.  In a mouth that opens the inside of the lips comes to light: there it is as dark
as that frame has it, and not as the neutral, whose lips are closed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.formats.image import Pixels, opencv
from mimicme.pipeline.geometry.ambient_occlusion import sky_visibility
from mimicme.pipeline.geometry.mesh import adjacency, edges
from mimicme.pipeline.landmarks import N_LANDMARKS
from mimicme.pipeline.template import Template, TemplateKey
from mimicme.pipeline.texture.inpainting import fill_holes
from mimicme.pipeline.texture.raster import at_texels, bands

NOSTRILS, MOUTH = slice(31, 36), slice(48, 68)
NEAR_MM = 20.0
"""A hollow begins no farther than this from one of its landmarks (iBUG-68), and goes on as far as its places see less
than `OPEN`: the mouth's is deeper.  By reasoning, not tuned: wide enough for the wings of the nose and the lips'
insides, and too little for the corners of the eyes."""
OPEN, DARKEST = 0.5, 0.35
"""A place that sees this share of its surroundings is as bright as skin, one that sees less in proportion, and none
darker than the second share of skin: skin lets light through.  Chosen by looking at one real face (james): the darkest
that its photographs show in the nostrils has 0.2 to 0.3 of the brightness of the skin beside them; filled smoothly they
had 0.5, and have 0.15 to 0.35 now."""
COMES_TO_LIGHT = 0.05
"""What a frame opens by less than this share of brightness is left as it is: it could not be seen.  Not tuned."""
GUTTER = 3
"""So many texels beside the layout are as dark as its border: they show where textures are made smaller, so many where
they are made a quarter as wide.  Not tuned."""


def shades(template: Template) -> Floats | None:
    """(V,) how bright a place is where nobody sees it, as a share of the skin around; None of a template without the 68
    landmarks, of which nobody knows where its hollows are."""
    return _shades(TemplateKey(template))


@lru_cache(maxsize=2)
def _shades(key: TemplateKey) -> Floats | None:
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    template = key.template
    if len(template.landmark_names) != N_LANDMARKS:
        return None
    marks = template.landmarks()
    near = cKDTree(np.concatenate([marks[NOSTRILS], marks[MOUTH]])).query(template.vertices)[0] < NEAR_MM
    seen = sky_visibility(template.vertices, template.faces)
    inner = near | (seen < OPEN)
    pairs = edges(template.faces)[0]
    piece = connected_components(adjacency(pairs[inner[pairs].all(axis=1)], len(near)), directed=False)[1]
    of_hollow = inner & np.isin(piece, piece[near])
    return np.where(of_hollow, np.clip(seen / OPEN, DARKEST, 1), 1.0)


@lru_cache(maxsize=2)
def _of_mouth(key: TemplateKey) -> Bools:
    """(V,) what lies nearer to the lips' landmarks than to the nostrils', which no expression opens."""
    from scipy.spatial import cKDTree

    template, marks = key.template, key.template.landmarks()
    to_mouth, to_nose = (cKDTree(marks[part]).query(template.vertices)[0] for part in (MOUTH, NOSTRILS))
    return np.asarray(to_mouth <= to_nose)


def darken(picture: Pixels, filled: Bools, template: Template) -> None:
    """Darken what was filled smoothly (size, size) of a texture (size, size, 3) in hollows, in place."""
    shade = shades(template)
    if shade is None:
        return
    size = len(picture)
    dark: Bools = np.any((shade < 1)[template.faces], axis=1)
    if not dark.any():
        return
    first, end = _rows(template, dark, size)  # nothing changes outside these
    here, shown = picture[first:end], filled[first:end].ravel()
    columns = shade.astype(np.float32)[:, None]
    factor, inside = np.ones(len(shown), np.float32), np.zeros(len(shown), bool)
    for raster in bands(template, size, range(first, end)):
        at = raster.texels.astype(np.int64) + (raster.first_row - first) * size
        mine = np.flatnonzero((at >= 0) & (at < len(shown)))
        inside[at[mine]] = True
        some = mine[dark[raster.triangles[mine]] & shown[at[mine]]]
        factor[at[some]] = at_texels(template, raster.triangles[some], raster.weights[some], columns)[:, 0]
    drawn = factor.reshape(-1, size)
    beside = opencv().erode(drawn, np.ones((2 * GUTTER + 1, 2 * GUTTER + 1), np.uint8))
    drawn = np.where(inside.reshape(-1, size), drawn, beside)
    rows, row_columns = np.nonzero(drawn < 1)
    here[rows, row_columns] = np.rint(here[rows, row_columns] * drawn[rows, row_columns, None])


def opened(template: Template, vertices: Floats) -> Floats | None:
    """(V,) as `shades`, of a mesh (V, 3) mm whose lips may be more open than the template's; never darker than those.

    The mesh has to lie as the template does: the sky is looked at in a few directions, and turned against these a mouth
    that is closed alike would seem to open.
    """
    closed = shades(template)
    if closed is None:
        return None
    there: Bools = np.asarray(np.isfinite(vertices).all(axis=1))
    within = np.flatnonzero((closed < 1) & there & _of_mouth(TemplateKey(template)))
    if not len(within):
        return closed
    seen = sky_visibility(vertices, template.faces[there[template.faces].all(axis=1)], within)
    shade = closed.copy()
    shade[within] = np.maximum(closed[within], np.clip(seen / OPEN, DARKEST, 1))
    return shade


def fill_opened(
    picture: Pixels,
    known: Bools,
    template: Template,
    vertices: Floats,
    lent: Bools | None = None,
    lender: Floats | None = None,
) -> None:
    """Fill what a frame does not show of the inside of its lips, in place, where these are more open than the
    template's.

    Another frame's texture says nothing of it while its lips are closed: what it has there was in the dark, or is the
    other lip.  What it shows between lips that are open stays.  Where the rows of the mouth show nothing of the frame,
    as where its lower face is covered, there is nothing to fill from, and all stays.

    Args:
        picture: (size, size, 3); known: (size, size) what the frame shows; vertices: (V, 3) its mesh, mm, as the
            template lies, see `opened`.
        lent: (size, size) what the other frame shows; lender: (V,) `opened` of its mesh; by default its lips are
            closed.
    """
    closed, shade = shades(template), opened(template, vertices)
    if closed is None or shade is None:
        return
    more = shade > closed + COMES_TO_LIGHT
    changed: Bools = np.any(more[template.faces], axis=1)
    if not changed.any():
        return
    size = len(picture)
    # nothing changes outside these rows, and what is filled is filled from near by
    first, end = _rows(template, changed, size)
    here, shown = picture[first:end], np.ascontiguousarray(known[first:end])
    if not shown.any():
        return
    photographed = None if lent is None or lender is None else lent[first:end].ravel()
    factor, inside = np.zeros(here.shape[0] * size, np.float32), np.zeros(here.shape[0] * size, bool)
    columns = np.stack([shade, closed, closed if lender is None else lender], axis=1).astype(np.float32)
    for raster in bands(template, size, range(first, end)):
        at = raster.texels.astype(np.int64) + (raster.first_row - first) * size
        mine = np.flatnonzero((at >= 0) & (at < len(factor)))
        inside[at[mine]] = True
        some = mine[changed[raster.triangles[mine]]]
        values = at_texels(template, raster.triangles[some], raster.weights[some], columns)
        opens = values[:, 0] > values[:, 1] + COMES_TO_LIGHT
        if photographed is not None:
            opens &= ~(photographed[at[some]] & (values[:, 2] > values[:, 1] + COMES_TO_LIGHT))
        factor[at[some[opens]]] = values[opens, 0]
    drawn = factor.reshape(-1, size)
    beside = opencv().dilate(drawn, np.ones((2 * GUTTER + 1, 2 * GUTTER + 1), np.uint8))
    drawn = np.where(inside.reshape(-1, size), drawn, beside)
    rows, row_columns = np.nonzero((drawn > 0) & ~shown)
    smooth = here.copy()
    fill_holes(smooth, shown)
    here[rows, row_columns] = np.rint(smooth[rows, row_columns] * drawn[rows, row_columns, None])


def _rows(template: Template, triangles: Bools, size: int) -> tuple[int, int]:
    """The first row of a texture in which triangles (t,) lie, with a gutter, and the row after the last."""
    down = (1 - template.uv[template.uv_faces[triangles], 1]) * size
    return max(0, int(down.min()) - GUTTER - 1), min(size, int(down.max()) + GUTTER + 2)
