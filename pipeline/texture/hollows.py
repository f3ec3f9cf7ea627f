"""Hollows of a face that no camera looks into: the nostrils, and what lies between closed lips.

Less light falls into them than on the skin around, and what is filled smoothly from there would shine out of them.  So
it is darkened, the more the less a place sees of its surroundings (ambient occlusion), as photographs of these places
are; what a scan shows stays as it is.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.formats.image import Pixels, opencv
from mimicme.pipeline.geometry.mesh import adjacency, edges
from mimicme.pipeline.geometry.sky import sky_visibility
from mimicme.pipeline.landmarks import N_LANDMARKS
from mimicme.pipeline.template import Template, TemplateKey
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


def darken(picture: Pixels, filled: Bools, template: Template) -> None:
    """Darken what was filled smoothly (size, size) of a texture (size, size, 3) in hollows, in place."""
    shade = shades(template)
    if shade is None:
        return
    size = len(picture)
    dark: Bools = np.any((shade < 1)[template.faces], axis=1)
    if not dark.any():
        return
    # nothing changes outside these rows
    down = (1 - template.uv[template.uv_faces[dark], 1]) * size
    first = max(0, int(down.min()) - GUTTER - 1)
    end = min(size, int(down.max()) + GUTTER + 2)
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
