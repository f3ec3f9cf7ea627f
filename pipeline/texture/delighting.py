"""De-lighting: the smooth shading of a texture, estimated from its colours and the surface's normals, and taken out.

Under distant light a matt surface is shaded by its normal alone, and nearly all of that is in the spherical harmonics
up to the second order (Ramamoorthi and Hanrahan 2001; Basri and Jacobs 2003).  Here the logarithm of the brightness is
fitted by them, robustly, so that brows, lips and beard do not count as shade, and over the normals of the face's large
forms alone:

    log brightness(texel) = brightness + sum_k light_k Y_k(normal),
    texture = de-lit texture * exp(sum_k light_k Y_k) .

The nine numbers are kept; with them and the registered mesh the light comes back (`shading_map`).
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Ints, Singles
from mimicme.pipeline.formats.image import Pixels
from mimicme.pipeline.geometry.mesh import adjacency, edges, vertex_normals
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.raster import bands

TERMS = 9
MOST = 0.5
"""Of the logarithm: light is changed by a factor of 1.65 at most; more is no shading."""
REACH_MM = 12.0
"""Normals are smoothed over this distance: what changes faster - nostrils, lids, the crease of the lips - is in shadow
or is not, whichever way it faces, and would be lit up by its normal."""
RIDGE = 3e-3
"""Ridge regression: weight of a term's size against a texel's error.  A face shows half of all normals, which leaves
some terms open."""
MOST_STEPS = 400
SAMPLES = 40_000
"""Texels that the light is estimated from."""
ROUNDS = 8


def harmonics(normals: Floats | Singles) -> NDArray[np.float32]:
    """(k, 9) real spherical harmonics up to order 2, without their factors, of unit normals (k, 3)."""
    x, y, z = np.asarray(normals, np.float32).T
    return np.stack([np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], axis=1)


def shading(light: NDArray[np.floating], normals: Floats | Singles) -> Singles:
    """(k,) factor by which light (9,) brightens surfaces with normals (k, 3)."""
    terms = harmonics(normals) @ np.asarray(light, np.float32)
    return np.asarray(np.exp(np.clip(terms, -MOST, MOST)), np.float32)


def smooth_normals(vertices: Floats, faces: Ints) -> Singles:
    """(V, 3) unit normals averaged over about `REACH_MM`, so that they follow the face's large forms alone."""
    normals = vertex_normals(vertices, faces)
    ends, _ = edges(faces)
    length = float(np.median(np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=1)))
    graph = adjacency(ends, len(vertices))
    mean = scipy.sparse.diags(1 / np.maximum(np.asarray(graph.sum(1)).ravel(), 1)) @ graph
    # a step moves half of the normals along an edge, which lies any way in the plane: variance length^2 / 4 an axis
    for _ in range(min(int(np.ceil(4 * (REACH_MM / max(length, 1e-3)) ** 2)), MOST_STEPS)):
        normals = (normals + mean @ normals) / 2
    size = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(normals / np.maximum(size, 1e-12), np.float32)


def shading_map(light: NDArray[np.floating], vertices: Floats, template: Template, size: int) -> Singles:
    """(size, size) factors over the template's layout, 1 outside of it: the de-lit texture times this is the original.

    Args:
        light: (9,) as stored.  vertices: (V, 3) registered mesh in the scan's frame (pose applied).
    """
    return _shading_map(light, smooth_normals(vertices, template.faces)[template.faces], template, size)


def without_shading(
    texture: Pixels, coverage: Pixels, vertices: Floats, template: Template
) -> tuple[Pixels, NDArray[np.float32]]:
    """A texture (size, size, 3) without its shading, and the light (9,) that was in it.

    The light is zeros when too little is covered.  Brightness that it does not explain counts the less the further it
    is off (Tukey's biweight).  Its first number keeps the brightness of the covered texels as it is (mean of the
    logarithm).

    Args:
        coverage: (size, size).  vertices: (V, 3) registered mesh in the scan's frame (pose applied).
    """
    corner = smooth_normals(vertices, template.faces)[template.faces]
    light = _estimated(texture, coverage, corner, template)
    return _divided(texture, _shading_map(light, corner, template, len(texture))), light


def _shading_map(light: NDArray[np.floating], corner: Singles, template: Template, size: int) -> Singles:
    """As `shading_map`; corner: (T, 3, 3) smooth normals at the corners of the template's triangles."""
    factor = np.ones(size * size, np.float32)
    for raster in bands(template, size):
        at = raster.texels.astype(np.int64) + raster.first_row * size
        factor[at] = shading(light, _normals(corner, raster.triangles, raster.weights))
    return factor.reshape(size, size)


def _estimated(texture: Pixels, coverage: Pixels, corner: Singles, template: Template) -> NDArray[np.float32]:
    """(9,) light of a texture; see `without_shading` and `_shading_map`."""
    size = len(texture)
    terms, values, weights = [], [], []
    stride = max(1, int((coverage > 0).sum()) // SAMPLES)
    for raster in bands(template, size):
        texels = raster.texels.astype(np.int64) + raster.first_row * size
        seen = np.flatnonzero(coverage.reshape(-1)[texels] > 0)[::stride]
        colour = texture.reshape(-1, 3)[texels[seen]].astype(np.float64)
        terms.append(harmonics(_normals(corner, raster.triangles[seen], raster.weights[seen])))
        values.append(np.log(np.maximum(colour @ [0.299, 0.587, 0.114], 4.0)))
        weights.append(coverage.reshape(-1)[texels[seen]] / 255.0)
    y, w = np.concatenate(values), np.concatenate(weights)
    a = np.concatenate(terms).astype(np.float64)
    if len(y) < 10 * TERMS:
        return np.zeros(TERMS, np.float32)
    damping = RIDGE * w.sum() * np.diag([0.0] + [1.0] * (TERMS - 1))
    robust = np.ones(len(y))
    found = np.zeros(TERMS)
    for _ in range(ROUNDS):
        each = w * robust
        found = np.linalg.solve(a.T @ (each[:, None] * a) + damping, a.T @ (each * y))
        off = y - a @ found
        spread = 1.4826 * float(np.median(np.abs(off))) + 1e-3
        robust = np.clip(1 - (off / (4.685 * spread)) ** 2, 0, None) ** 2
    found[0] = -float(np.average(a[:, 1:] @ found[1:], weights=w))
    return np.asarray(found, np.float32)


def _divided(texture: Pixels, factor: Singles) -> Pixels:
    """A texture (h, w, 3) divided by its shading (h, w)."""
    out = np.empty_like(texture)
    step = max(1, (1 << 20) // texture.shape[1])
    for row in range(0, len(texture), step):
        part = slice(row, row + step)
        out[part] = np.rint(np.clip(texture[part] / factor[part][..., None], 0, 255))
    return out


def _normals(corner: Singles, triangles: NDArray[np.int32], weights: Singles) -> Singles:
    each = corner[triangles]
    mixed = np.einsum("kc,kcx->kx", weights, each)
    length = np.sqrt(np.einsum("kx,kx->k", mixed, mixed))
    return np.asarray(mixed / np.maximum(length, np.float32(1e-12))[:, None], np.float32)
