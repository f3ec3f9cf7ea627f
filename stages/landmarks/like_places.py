"""Laying one surface onto another where there are no marks: by which way the skin faces, one place after the other.

Each place of the template is drawn to what is near on the scan and faces the same way (the closest point in places and
normals together, as Feldmar and Ayache 1996, "Rigid, affine and locally affine registration of free-form surfaces"),
while a few deformations are all that it may do.  With so few it slides nowhere where its shape does not fit, and where
it does, all of the shape tells how far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.gaussian_sums import gaussian_sums
from mimicme.pipeline.geometry.mesh import lengths

MOST_SAMPLES = 400
"""Points on a triangle, so that a template of few triangles has as many samples as one of many."""
SMOOTH_MM = 4.0
"""Of the normals (standard deviation): the shape, not the skin.  From 3 to 6 mm do alike on people of `synth` and of
MakeHuman, as do 9 to 22 of the next for chins, 12 to 25 for the rest of the face."""
NORMAL_MM = 18.0
"""So many mm apart is as bad as one radian."""
SURFACE_MM, ALONG_MM = 0.5, 2.0
"""How far a fitted surface may lie from the scan, and a place from the one most like it.  Of the latter 2.5 to 4
are best for chins of `synth`, who are the template bent smoothly, 1 and less on MakeHuman's, who are other people."""
ROBUST_MM = 4.5


@dataclass(frozen=True)
class Samples:
    """Places (n, 3) on a surface and the smoothed unit normals (n, 3) there."""

    places: Floats
    normals: Floats


@dataclass(frozen=True)
class Wanted:
    """What a fit is held to beside the surfaces: the normal equations of it, (k, k) and (k,)."""

    held: Floats
    drawn: Floats


def samples_of(corners: Floats, cell_mm: float, least_facing: float, least: int) -> Samples | None:
    """The surface of triangles (t, 3, 3) mm, in cells; None where there are hardly any.

    Args:
        cell_mm: side of the cells whose surface is one sample.
        least_facing: cosine of a triangle to +z, from which on it counts.
        least: fewer samples are none.
    """
    places, areas = _on_triangles(corners, cell_mm)
    front = areas[:, 2] > least_facing * lengths(areas)
    places, areas = places[front], areas[front]
    if not len(places):
        return None
    cell = np.floor(places / cell_mm).astype(np.int64)
    cell -= cell.min(axis=0)
    # one integer per cell: sorting those is several times faster than sorting rows
    across = cell.max(axis=0) + 1
    _, cell = np.unique((cell[:, 0] * across[1] + cell[:, 1]) * across[2] + cell[:, 2], return_inverse=True)
    gather = sparse.csr_matrix((np.ones(len(cell)), (cell.ravel(), np.arange(len(cell)))))
    places = np.asarray(gather @ places) / np.asarray(gather.sum(axis=1))
    areas = np.asarray(gather @ areas)
    if len(places) < least:
        return None
    normals = gaussian_sums(places, areas, SMOOTH_MM, 2.2 * SMOOTH_MM)
    return Samples(places, normals / np.maximum(lengths(normals), 1e-12)[:, None])


def laid_onto(
    part: Samples,
    scan: Samples,
    bend: Floats,
    beside: Wanted,
    independent: int,
    robust_mm: Sequence[float],
    normal_mm: float = NORMAL_MM,
    along_mm: float = ALONG_MM,
) -> tuple[Floats, Floats]:
    """Amounts (k,) of the deformations bend (n, 3, k) that lay a part onto the scan, and how well each of its samples
    then finds what is like it, (n,) in (0, 1].

    Args:
        independent: so many of the samples tell something of their own.
        robust_mm: one a round: a sample that finds nothing alike within that counts little.
        normal_mm: so many mm apart is as bad as one radian.
        along_mm: how far a place may lie from the one most like it, along the surface.
    """
    tree = _tree(scan, normal_mm)
    flat = bend.reshape(-1, bend.shape[2])
    share = independent / len(part.places)
    amounts, like = np.zeros(bend.shape[2]), np.zeros(len(part.places))
    for robust in robust_mm:
        moved = (flat @ amounts).reshape(-1, 3)
        here = part.places + moved
        far, nearest = tree.query(_with_normals(Samples(here, part.normals), normal_mm))
        like = _like(far, robust)
        wanted = scan.places[nearest] - part.places
        normals = scan.normals[nearest]
        across = np.einsum("nx,nxk->nk", normals, bend)
        weights = share * like / SURFACE_MM**2
        along = np.repeat(share * like / along_mm**2, 3)
        left = beside.held + (across * weights[:, None]).T @ across + (flat * along[:, None]).T @ flat
        right = (
            beside.drawn
            + across.T @ (weights * np.einsum("nx,nx->n", wanted, normals))
            + flat.T @ (along * wanted.ravel())
        )
        amounts = np.linalg.solve(left, right)
    return amounts, like


def likeness(part: Samples, scan: Samples) -> Floats:
    """(n,) how well each sample of a part finds what is like it on the scan, in (0, 1]."""
    return _like(_tree(scan, NORMAL_MM).query(_with_normals(part, NORMAL_MM))[0], ROBUST_MM)


def like_around(places: Floats, samples: Floats, like: Floats, around_mm: float) -> Floats:
    """(k,) mean of how well samples (n, 3) find what is like them, (n,), around places (k, 3)."""
    near = np.exp(-np.sum((samples - places[:, None]) ** 2, axis=2) / (2 * (around_mm / 2) ** 2))
    return np.asarray(near @ like / np.maximum(near.sum(axis=1), 1e-12))


def _with_normals(samples: Samples, normal_mm: float) -> Floats:
    """(n, 6) places, and normals as long as `normal_mm`."""
    return np.concatenate([samples.places, normal_mm * samples.normals], axis=1)


def _tree(scan: Samples, normal_mm: float) -> cKDTree:
    """What finds the sample that is most like another, in places and normals together."""
    return cKDTree(_with_normals(scan, normal_mm))


def _like(far_mm: Floats, robust_mm: float) -> Floats:
    """(n,) in (0, 1]: how much alike what is so far (n,) apart, in places and normals, is taken to be."""
    return np.asarray(1 / (1 + (far_mm / robust_mm) ** 2) ** 2)


def _on_triangles(corners: Floats, cell_mm: float) -> tuple[Floats, Floats]:
    """Points (n, 3) spread over triangles (t, 3, 3), some in each cell, and the areas (n, 3) they stand for, along the
    normals; on small triangles their middle."""
    first, one, other = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    x, y, z = ((one[:, j] * other[:, k] - one[:, k] * other[:, j]) / 2 for j, k in ((1, 2), (2, 0), (0, 1)))
    areas = np.stack([x, y, z], axis=1)
    counts = np.clip(np.ceil(lengths(areas) / (0.6 * cell_mm**2)), 1, MOST_SAMPLES).astype(np.int64)
    of = np.repeat(np.arange(len(corners)), counts)
    number = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    share = np.full((len(of), 2), 1 / 3)
    large = counts[of] > 1
    # the plastic number's sequence: evenly over a square, whose upper half is folded onto the triangle
    square = (0.5 + number[large, None] * np.array([0.7548776662466927, 0.5698402909980532])) % 1
    share[large] = np.where(square.sum(axis=1, keepdims=True) > 1, 1 - square, square)
    places = first[of] + share[:, :1] * one[of] + share[:, 1:] * other[of]
    return places, areas[of] / counts[of][:, None]
