"""Texture coordinates brought into one image: repeated, in tiles, or of several images that are joined (an atlas)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.formats import image
from mimicme.pipeline.geometry.mesh import Mesh

FURTHEST_TILE = 1e6
"""A texture coordinate beyond is no place in a repeated image but a wrong number."""

# What `unpainted` takes for a mask of the image.  All of it is reasoned, none of it tuned: what no camera saw is
# written 0, what one saw 255, and little but a smoothed border lies between.
HALF_CLEAR = 128
"""Of 255, below which a place is more transparent than opaque."""
CLEAR = 16
"""Of 255, up to which a place is transparent, and that far from 255 opaque: a sixteenth for what compression and
resizing do to 0 and 255."""
MOST_BETWEEN = 0.1
"""Share of the places that may be neither: of a mask those at its border alone are, of shades nearly all."""
MOST_BARE = 0.5
"""Share of the triangles from which on the channel is no mask: a scan whose image shows less than half of it is rarer
than an image whose channel means something else."""
TO_CORNER = 0.7
"""How far from its middle to its corners a triangle is looked at: near these, and not in a pixel of its neighbour."""
BARE_PLACES = 2
"""Of the four places of a triangle, how many are transparent where it is bare: a border that cuts one corner off leaves
most of the triangle painted."""

# What has a colour.  Reasoned: what lossy compression does to a grey picture, and a tint of a twentieth, stay below;
# the palest skin under white light has half as much again at least, and its lips more.
LEAST_COLOUR = 8
"""Of 255, the difference between the largest and the smallest channel from which on a pixel has a colour."""
LONGEST_LOOK_PX = 1024
"""Pixels of an image are looked at in steps, so that as many a side are at most."""


def wrapped_uv(mesh: Mesh) -> Mesh:
    """Texture coordinates wrapped into [0, 1]: a triangle that lies in another tile of a repeated image is moved into
    the first, one that crosses the border is clamped to it.  A coordinate that is no number is none (NaN)."""
    if mesh.uv is None or mesh.uv_faces is None:
        return mesh
    sane = np.asarray((np.abs(mesh.uv) <= FURTHEST_TILE).all(axis=1))
    uv = mesh.uv
    if not sane.all():
        uv = np.where(sane[:, None], uv, np.nan)
        mesh = replace(mesh, uv=uv)
    known = uv[sane]
    if not len(known) or (known.min() >= 0 and known.max() <= 1):
        return mesh
    corner = uv[mesh.uv_faces]
    tile = np.floor(np.nan_to_num(corner).mean(axis=1))
    within = ((corner >= tile[:, None] - 1e-3) & (corner <= tile[:, None] + 1 + 1e-3)).all(axis=(1, 2))
    moved = np.clip(corner - np.where(within[:, None], tile, 0.0)[:, None], 0.0, 1.0).reshape(-1, 2)
    # NaN rows stay one row each corner; equal coordinates become one row again
    bits = np.ascontiguousarray(moved + 0.0).view(np.complex128).reshape(-1)
    unique, inverse = np.unique(bits, return_inverse=True, equal_nan=True)
    return replace(
        mesh, uv=unique.view(np.float64).reshape(-1, 2), uv_faces=inverse.reshape(-1, 3).astype(np.int32)
    )


def joined_places(sizes: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Where images (width, height) go in a joined one: (left, top) of each, and its own (width, height).

    Side by side from the left; in several rows where that would be too wide for an image.
    """
    width = sum(w for w, _ in sizes)
    if width > image.MAX_SIDE:
        area = sum(w * h for w, h in sizes)
        width = min(image.MAX_SIDE, max(max(w for w, _ in sizes), int(np.ceil(np.sqrt(area)))))
    places, left, top, row, widest = [], 0, 0, 0, 0
    for w, h in sizes:
        if left and left + w > width:
            left, top, row = 0, top + row, 0
        places.append((left, top))
        left, row = left + w, max(row, h)
        widest = max(widest, left)
    return places, (widest, top + row)


def join_pictures(mesh: Mesh, picture: Ints, pixels: list[image.Pixels]) -> tuple[Mesh, image.Pixels]:
    """A texture atlas: one image out of several (`joined_places`), and the mesh that fits it.

    Args:
        mesh: with texture coordinates in [0, 1] per image.
        picture: (t,) which image each triangle shows; -1 for none: its corners become NaN.
        pixels: images (h, w, 3).
    """
    if mesh.uv is None or mesh.uv_faces is None:
        raise InputError("joining images needs texture coordinates")
    places, (width, height) = joined_places([(p.shape[1], p.shape[0]) for p in pixels])
    joined = np.zeros((height, width, 3), np.uint8)
    for (left, top), p in zip(places, pixels, strict=True):
        joined[top : top + p.shape[0], left : left + p.shape[1]] = p
    corner = mesh.uv[mesh.uv_faces]
    size = np.array([p.shape[1::-1] for p in pixels], np.float64)[picture]  # width, height of each triangle's
    begin = np.array(places, np.float64)[picture]
    # half a pixel inside: an interpolating reader must not mix in the neighbour
    half = 0.5 / size[:, None]
    inside = np.clip(corner, half, 1 - half) * size[:, None]
    u = (inside[..., 0] + begin[:, None, 0]) / width
    v = 1 - (begin[:, None, 1] + size[:, None, 1] - inside[..., 1]) / height
    placed = np.where((picture >= 0)[:, None, None], np.stack([u, v], axis=-1), np.nan).reshape(-1, 2)
    bits = np.ascontiguousarray(placed).view(np.complex128).reshape(-1)
    unique, inverse = np.unique(bits, return_inverse=True, equal_nan=True)
    uv = unique.view(np.float64).reshape(-1, 2)
    return replace(mesh, uv=uv, uv_faces=inverse.reshape(-1, 3).astype(np.int32)), joined


def tiles_of(mesh: Mesh) -> Ints:
    """(t, 2) column and row of the tile of texture coordinates that each triangle lies in, by its middle; -1 where
    that is not known."""
    if mesh.uv is None or mesh.uv_faces is None:
        return np.full((len(mesh.faces), 2), -1, np.int32)
    middle = mesh.uv[mesh.uv_faces].mean(axis=1)
    known = (np.abs(middle) <= FURTHEST_TILE).all(axis=1)
    return np.where(known[:, None], np.floor(np.where(known[:, None], middle, 0)), -1).astype(np.int32)


def out_of_tiles(mesh: Mesh, which: NDArray[np.bool_], tile: Ints) -> Mesh:
    """The mesh with the texture coordinates of some triangles (t,) in [0, 1] of the tile (t, 2) they lie in."""
    if mesh.uv is None or mesh.uv_faces is None or not which.any():
        return mesh
    corner = np.clip(mesh.uv[mesh.uv_faces[which]] - tile[which][:, None], 0.0, 1.0).reshape(-1, 2)
    uv_faces = mesh.uv_faces.copy()
    uv_faces[which] = len(mesh.uv) + np.arange(len(corner), dtype=np.int32).reshape(-1, 3)
    return replace(mesh, uv=np.concatenate([mesh.uv, corner]), uv_faces=uv_faces)


def moved_uv(
    mesh: Mesh, which: NDArray[np.bool_], scale: tuple[float, float], offset: tuple[float, float]
) -> Mesh:
    """The mesh with the texture coordinates of some triangles (t,) times `scale` and plus `offset`."""
    if mesh.uv is None or mesh.uv_faces is None:
        return mesh
    rows, own = np.unique(mesh.uv_faces[which], return_inverse=True)
    uv_faces = mesh.uv_faces.copy()
    uv_faces[which] = len(mesh.uv) + own.reshape(-1, 3)
    return replace(mesh, uv=np.concatenate([mesh.uv, mesh.uv[rows] * scale + offset]), uv_faces=uv_faces)


def unpainted(mesh: Mesh, which: NDArray[np.int64], opaque: image.Pixels) -> NDArray[np.bool_]:
    """(k,) of some triangles, those that show only what is transparent in their image, mostly: at `BARE_PLACES` or more
    of four places of each, its middle and near its corners; and those at the rim of these that begin beside it.

    None of them where that is no mask: `MOST_BARE` of them or more would be bare, or more than `MOST_BETWEEN` of the
    places are neither opaque nor transparent, as where a program keeps gloss in this channel.

    Args:
        mesh: with texture coordinates in [0, 1].
        which: (k,) the triangles.
        opaque: (h, w) as of `image.decode_alpha`.
    """
    none = np.zeros(len(which), bool)
    if mesh.uv is None or mesh.uv_faces is None or not len(which):
        return none
    corners = mesh.uv[mesh.uv_faces[which]]
    middle = corners.mean(axis=1, keepdims=True)
    seen = _at(opaque, np.concatenate([middle, middle + TO_CORNER * (corners - middle)], axis=1))
    bare = np.asarray((seen < HALF_CLEAR).sum(axis=1) >= BARE_PLACES)
    between = (seen > CLEAR) & (seen < 255 - CLEAR)
    if not bare.any() or bare.mean() >= MOST_BARE or between.mean() > MOST_BETWEEN:
        return none
    rim = np.zeros(len(mesh.vertices), bool)
    rim[mesh.faces[which[bare]]] = True
    beside = scipy.ndimage.minimum_filter(opaque, 3)  # an interpolating reader mixes in the next pixel
    touched = (_at(beside, corners) < HALF_CLEAR).any(axis=1)
    return np.asarray(bare | (rim[mesh.faces[which]].any(axis=1) & touched))


def coloured_places(pixels: image.Pixels) -> NDArray[np.bool_]:
    """(h', w') where an image (h, w, 3) has a colour, of pixels in steps of at most `LONGEST_LOOK_PX` a side."""
    down, right = (-(-side // LONGEST_LOOK_PX) for side in pixels.shape[:2])
    looked = pixels[::down, ::right]
    return np.asarray(looked.max(axis=2) - looked.min(axis=2) >= LEAST_COLOUR)


def shows_colour(mesh: Mesh, shown: Ints, coloured: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """(t,) whether each triangle has a colour in its middle.

    Args:
        mesh: with texture coordinates in [0, 1].
        shown: (t,) which image each triangle shows, -1 for none.
        coloured: of each image, as of `coloured_places`.
    """
    out = np.zeros(len(shown), bool)
    if mesh.uv is None or mesh.uv_faces is None:
        return out
    for k, places in enumerate(coloured):
        which = np.flatnonzero(shown == k)
        out[which] = _at(places, mesh.uv[mesh.uv_faces[which]].mean(axis=1))
    return out


def _at(picture: NDArray[Any], places: Floats) -> NDArray[Any]:
    """Pixels (...,) of a picture (h, w) at texture coordinates (..., 2) in [0, 1]."""
    height, width = picture.shape
    known = np.nan_to_num(places)
    column = np.clip((known[..., 0] * width).astype(np.int64), 0, width - 1)
    row = np.clip(((1 - known[..., 1]) * height).astype(np.int64), 0, height - 1)
    return np.asarray(picture[row, column])


def without_picture(mesh: Mesh, bare: NDArray[np.bool_]) -> Mesh:
    """The mesh with NaN texture coordinates at triangles that show no image."""
    if mesh.uv is None or mesh.uv_faces is None:
        return mesh
    uv = np.concatenate([mesh.uv, np.full((1, 2), np.nan)])
    return replace(mesh, uv=uv, uv_faces=np.where(bare[:, None], len(uv) - 1, mesh.uv_faces).astype(np.int32))
