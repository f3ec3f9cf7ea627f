"""Photometric refinement of one frame: tangential displacements that register its texture to the reference texture.

The frame's texture, baked with the vertices as they are, is compared with the reference's by optical flow
(texture/flow.py).  At a vertex the flow says how far along the layout the skin lies that the vertex ought to carry; the
Jacobian of the parameterisation there turns texels into millimetres of the surface.  The displacement field d over the
mesh follows these targets t and is smooth where they are few or uncertain,

    sum_i a_i c_i^4 |d_i - t_i|^2 + l^2 sum_(i,j) |d_i - d_j|^2,

with area a, confidence c and the smoothing length l; displaced vertices are then projected back onto the registered
surface, so that the displacement is tangential and the shape is kept.  Baking and displacing is repeated; d is the
whole displacement from the registered vertices, t too: of each step's alone, what is seen badly would add up from step
to step and from frame to frame.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.formats.image import Pixels
from mimicme.pipeline.geometry.mesh import (
    adjacency,
    edges,
    transform,
    triangle_normals,
    vertex_areas,
    vertex_normals,
)
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.baking import Baked, TextureOptions, bake_source
from mimicme.pipeline.texture.flow import Comparable, Flow, flow, normalised
from mimicme.pipeline.texture.scan_source import Source

if TYPE_CHECKING:
    from mimicme.stages.refine.settings import RefineSettings

DRIFT_SIZE = 1024
"""Drift is stated in texels of a texture of this size."""
REGULARISATION = 1e-4
"""Weight of zero displacement (Tikhonov): keeps a piece of the mesh without any target where it is."""
MIN_COSINE = 0.3
"""A place on the surface whose normal is further from the vertex's than this belongs to another fold."""
MIN_CONFIDENCE = 0.2
"""Texels below take no part in the figures of drift."""
MIN_AREA_SHARE = 0.1
"""A triangle that has less than this of its registered area left is taken for folded."""
CONFIDENCE_POWER = 4
"""Power of the confidence that a target weighs with: shadows and wrinkles agree a little, and are wrong."""
UNFOLD_ROUNDS = 10
RESET_ROUNDS = 60
"""Most rounds; each spreads what is taken back by a ring, and the last are needed where a large shift ends abruptly."""
KEEP_COSINE, RESET_COSINE = 0.95, 0.8
"""Cosine between a triangle's normals before and after above which it keeps its displacement whole, and below which it
keeps none.  Tuned on two people, five frames each: wider limits fold more, narrower ones hold sound skin back."""
KEEP_AREA_SHARE = 0.3
"""Share of its area above which a triangle keeps its displacement whole; below `MIN_AREA_SHARE` it keeps none."""
SAME_AGREEMENT = 0.95
GAIN_RANGE = (16, 240)
"""Grey levels that exposure is read off."""
ON_SCAN_MM, ON_SCAN_COSINE, ON_SCAN_RINGS = 0.2, 0.85, 1
"""Of the projection onto the scan: longest distance, least cosine between the two surfaces, rings of averaging."""
LATER_LEVELS = 2
"""Levels of the flow after the first step: what is left is small."""


class Drift(NamedTuple):
    """How far a frame's texture is from the reference's.

    Attributes:
        median, p95: texels at 1024; NaN: unknown.
        agreement: mean confidence of the flow: far from the truth it sees little motion, but agrees with nothing.
    """

    median: float
    p95: float
    agreement: float = 0.0


def better(one: Drift, other: Drift) -> bool:
    """Whether a frame drifts less, and agrees no less, in one place than in another; unknown is worse than any."""
    less = np.nan_to_num(one.median, nan=np.inf) < np.nan_to_num(other.median, nan=np.inf)
    return bool(less and one.agreement >= SAME_AGREEMENT * other.agreement)


@dataclass(frozen=True)
class Parameters:
    """What the refinement of a frame depends on; the meaning is that of `RefineSettings`."""

    size: int
    iterations: int
    window_texels: float
    levels: int
    smoothing_mm: float
    max_shift_mm: float
    max_distance_mm: float

    @classmethod
    def of(cls, settings: RefineSettings) -> Parameters:
        return cls(**{f.name: getattr(settings, f.name) for f in fields(cls)})

    @property
    def texture(self) -> TextureOptions:
        # the flow weighs texels by itself
        return TextureOptions(
            self.size, self.max_distance_mm, min_confidence=0.0, level_seams=False, fill=False
        )

    @property
    def radius(self) -> float:
        """Neighbourhood of the normalisation, texels."""
        return self.size / 64


class Refiner:
    """Everything about a template and a texture size that no frame changes."""

    def __init__(self, template: Template, parameters: Parameters) -> None:
        self.template, self.parameters = template, parameters
        n = len(template.vertices)
        self.owner = np.zeros(len(template.uv), np.int64)
        self.owner[template.uv_faces.ravel()] = template.faces.ravel()
        self.columns = (template.uv[:, 0] * parameters.size - 0.5).astype(np.float32)
        self.rows = ((1 - template.uv[:, 1]) * parameters.size - 0.5).astype(np.float32)
        self.ring = adjacency(edges(template.faces)[0], n)
        self.laplacian = (sparse.diags(np.asarray(self.ring.sum(1)).ravel()) - self.ring).tocsr()
        corner = template.uv[template.uv_faces] * [parameters.size, -parameters.size]  # rows run down
        flat = np.stack([corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]], axis=2)
        det = np.linalg.det(flat)
        good = np.abs(det) > 1e-9
        self._flat_inverse = np.zeros_like(flat)
        self._flat_inverse[good] = np.linalg.inv(flat[good])
        self._weight = np.abs(det)
        # texture coordinates that no triangle uses lie nowhere
        self._used = np.bincount(template.uv_faces.ravel(), minlength=len(template.uv)) > 0

    def baked(self, source: Source, vertices: Floats) -> Baked:
        """A frame's texture with vertices (V, 3) in the scan's frame."""
        return bake_source(source, vertices, self.template, self.parameters.texture)

    def comparable(self, source: Source, vertices: Floats) -> Comparable:
        """The same, made ready for the flow."""
        baked = self.baked(source, vertices)
        return normalised(baked.texture, baked.coverage, self.parameters.radius)

    def refine(
        self, source: Source, vertices: Floats, pose: Floats, reference: Comparable, start: Floats
    ) -> tuple[Floats, Drift]:
        """Tangential displacements of one frame's vertices.

        Args:
            source: the scan.
            vertices: (V, 3) as registered, canonical frame, mm; pose: (4, 4) canonical -> scan.
            reference: the texture to agree with.
            start: (V, 3) displacement to begin with, mm, canonical, where that is nearer than none.

        Returns:
            The displacement (V, 3) from the registered vertices, mm; and the drift before it.
        """
        surface = _RegisteredSurface(vertices, self.template.faces, self.ring)
        moved, found = vertices, self.flow(source, vertices, pose, reference, self.parameters.levels)
        before = self.drift(found)
        if start.any():
            nearer = surface.displaced(start, self.parameters.max_shift_mm)
            there = self.flow(source, nearer, pose, reference, self.parameters.levels)
            if better(self.drift(there), before):
                moved, found = nearer, there
        for step in range(self.parameters.iterations):
            if step:
                found = self.flow(source, moved, pose, reference, LATER_LEVELS)
            moved = surface.displaced(
                self._displacement_field(found, moved, moved - vertices), self.parameters.max_shift_mm
            )
        return moved - vertices, before

    def placed(self, source: Source, vertices: Floats, refined: Floats, pose: Floats) -> Floats:
        """Refined vertices (V, 3) projected back onto their surface and onto the scan, without flipped triangles.

        Args:
            source: the scan; vertices: (V, 3) as registered, canonical frame, mm; pose: (4, 4) canonical -> scan.
        """
        return self.unflipped(
            vertices, self.projected_onto_scan(source, self.displaced(vertices, refined - vertices), pose)
        )

    def projected_onto_scan(self, source: Source, vertices: Floats, pose: Floats) -> Floats:
        """Displaced vertices (V, 3), canonical, moved along their normals onto the scan.

        Displacement along flat triangles takes a vertex a little below the curved skin.  The distance to the scan is
        averaged over `ON_SCAN_RINGS` rings, so that the scan's noise stays out; where there is no scan, nothing moves.
        """
        here = transform(pose, vertices) - source.origin
        normals = vertex_normals(here, self.template.faces)
        found = source.surface.closest(here)
        off = ((found.points - here) * normals).sum(1)
        fits = (found.distances < ON_SCAN_MM) & ~source.on_boundary(found.triangles, found.weights)
        fits &= (source.normals[found.triangles] * normals).sum(1) > ON_SCAN_COSINE
        around = self.ring + sparse.identity(len(here))
        weight, total = fits.astype(np.float64), np.where(fits, off, 0.0)
        for _ in range(ON_SCAN_RINGS):
            weight, total = around @ weight, around @ total
        across = np.where(weight > 0, total / np.maximum(weight, 1e-12), 0.0)
        return np.asarray(vertices + (normals * across[:, None]) @ pose[:3, :3])

    def unflipped(self, before: Floats, after: Floats) -> Floats:
        """`after` (V, 3), taken back towards `before` (V, 3) around the triangles that it flipped or collapsed.

        A texture says nothing about which way a sliver at the edge of a lid or in the corner of the mouth faces.  The
        more a triangle has turned, the less of their displacement its corners keep: by degrees, so that the correction
        does not jitter from frame to frame.  Corners of triangles that still turn too far lose their displacement.
        """
        faces = self.template.faces
        normal, area = triangle_normals(before, faces)
        share = self._kept(*_changed(normal, area, after, faces))
        now = before + share[:, None] * (after - before)
        for _ in range(RESET_ROUNDS):
            cosine, size = _changed(normal, area, now, faces)
            bad = (cosine < RESET_COSINE) | (size < MIN_AREA_SHARE)
            if not bad.any():
                break
            hit = np.zeros(len(before))
            hit[faces[bad]] = 1.0
            near = (self.ring @ hit + hit) > 0
            share = np.where(hit > 0, 0.0, np.where(near, 0.5 * share, share))
            now = before + share[:, None] * (after - before)
        return now

    def _kept(self, cosine: Floats, size: Floats) -> Floats:
        """(V,) share of its displacement that a vertex keeps when its triangles change so much; see `_changed`."""
        faces = self.template.faces
        each = np.clip((cosine - RESET_COSINE) / (KEEP_COSINE - RESET_COSINE), 0, 1)
        each *= np.clip((size - MIN_AREA_SHARE) / (KEEP_AREA_SHARE - MIN_AREA_SHARE), 0, 1)
        share = np.ones(self.ring.shape[0])
        np.minimum.at(share, faces.ravel(), np.repeat(each, 3))
        around = (self.ring @ share + share) / (1 + np.asarray(self.ring.sum(axis=1)).ravel())
        return np.asarray(np.minimum(share, around))

    def flow(
        self, source: Source, vertices: Floats, pose: Floats, reference: Comparable, levels: int
    ) -> Flow:
        """Flow from the reference to a frame whose vertices (V, 3) are canonical."""
        return self.between(reference, self.comparable(source, transform(pose, vertices)), levels)

    def between(self, reference: Comparable, texture: Comparable, levels: int) -> Flow:
        """Flow from the reference to a texture."""
        return flow(reference, texture, self.parameters.window_texels, levels)

    def displaced(self, vertices: Floats, displacement: Floats) -> Floats:
        """Registered vertices (V, 3) displaced along their surface by (V, 3) mm."""
        return _RegisteredSurface(vertices, self.template.faces, self.ring).displaced(
            displacement, self.parameters.max_shift_mm
        )

    def drift(self, found: Flow) -> Drift:
        """What a flow says of a frame's drift."""
        sure = found.confidence > MIN_CONFIDENCE
        if not sure.any():
            return Drift(np.nan, np.nan)
        length = np.linalg.norm(found.shift[sure], axis=1) * (DRIFT_SIZE / self.parameters.size)
        agreement = float(found.confidence.mean(dtype=np.float64))
        return Drift(float(np.median(length)), float(np.percentile(length, 95)), agreement)

    def _displacement_field(self, found: Flow, vertices: Floats, so_far: Floats) -> Floats:
        """(V, 3) smooth displacements, mm, that vertices displaced by `so_far` (V, 3) get when they follow a flow.

        The whole of them is smooth, not what this step adds: where nothing is seen steps would add up to anything.
        """
        # sure of a texel means sure of its flow: both are read with the same weights
        sure = np.where(self._used, self._read(found.confidence), 0)
        weighted = [self._read(found.confidence * found.shift[..., k]) for k in range(2)]
        shift = np.stack(weighted, axis=1) / np.maximum(sure, 1e-6)[:, None]
        target = np.einsum("nxk,nk->nx", self._mm_per_texel(vertices), shift)
        n = len(vertices)
        confidence: Floats = np.bincount(self.owner, sure, n).astype(np.float64)
        total = np.stack([np.bincount(self.owner, sure * target[:, k], n) for k in range(3)], axis=1)
        mean = total / np.maximum(confidence, 1e-9)[:, None]
        weight = vertex_areas(vertices, self.template.faces) * np.minimum(confidence, 1) ** CONFIDENCE_POWER
        system = sparse.diags(weight + REGULARISATION) + self.parameters.smoothing_mm**2 * self.laplacian
        factor = splu(system.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        return np.asarray(factor.solve((so_far + mean) * weight[:, None]))

    def _read(self, picture: NDArray[np.float32]) -> Floats:
        """(N,) bilinear values of a picture (size, size) at every texture coordinate."""
        x, y = (np.clip(p, 0, self.parameters.size - 1.001) for p in (self.columns, self.rows))
        i, j = x.astype(np.int64), y.astype(np.int64)
        fx, fy = x - i, y - j
        upper = picture[j, i] * (1 - fx) + picture[j, i + 1] * fx
        lower = picture[j + 1, i] * (1 - fx) + picture[j + 1, i + 1] * fx
        return np.asarray(upper * (1 - fy) + lower * fy, np.float64)

    def _mm_per_texel(self, vertices: Floats) -> Floats:
        """(N, 3, 2) Jacobian of the parameterisation: place on the mesh by texel, at every texture coordinate."""
        corner = vertices[self.template.faces]
        sides = np.stack([corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]], axis=2)
        each = np.matmul(sides, self._flat_inverse) * self._weight[:, None, None]
        at, n = self.template.uv_faces.ravel(), len(self.template.uv)
        total = np.stack(
            [np.bincount(at, np.repeat(each[:, x, k], 3), n) for x in range(3) for k in range(2)], axis=1
        )
        share = np.bincount(at, np.repeat(self._weight, 3), n)
        return np.asarray((total / np.maximum(share, 1e-12)[:, None]).reshape(-1, 3, 2))


def gain(texture: Pixels, coverage: Pixels, reference: Pixels, reference_coverage: Pixels) -> Floats:
    """(3,) factors on red, green and blue that give a texture the reference's exposure and white balance.

    The median over texels that both have, neither too dark nor near saturation; NaN without any.
    """
    low, high = GAIN_RANGE
    good = (coverage > 0) & (reference_coverage > 0)
    for picture in (texture, reference):
        good &= ((picture >= low) & (picture <= high)).all(axis=-1)
    if not good.any():
        return np.full(3, np.nan)
    return np.asarray(np.median(reference[good].astype(np.float64) / texture[good], axis=0))


class _RegisteredSurface:
    """The registered surface of one frame, along which vertices are displaced; ring: (V, V) their neighbours."""

    def __init__(self, vertices: Floats, faces: Ints, ring: sparse.csr_matrix) -> None:
        self.vertices, self.faces, self.ring = vertices, faces, ring
        self.surface = Surface(vertices, faces)
        self.normals, self.areas = triangle_normals(vertices, faces)
        self.at_vertex = vertex_normals(vertices, faces)

    def displaced(self, displacement: Floats, longest_mm: float) -> Floats:
        """(V, 3) vertices displaced by at most so much, projected back onto the surface, folds smoothed out."""
        length = np.linalg.norm(displacement, axis=1)
        d = displacement * np.minimum(1, longest_mm / np.maximum(length, 1e-9))[:, None]
        moved = self._projected(d, np.arange(len(d)))
        degree = np.maximum(np.asarray(self.ring.sum(1)).ravel(), 1)
        folded = self._folded(moved, np.arange(len(self.faces)))
        for _ in range(UNFOLD_ROUNDS):
            bad = np.zeros(len(moved), bool)
            bad[self.faces[folded]] = True
            if not bad.any():
                break
            near = (self.ring @ bad + bad) > 0  # and its neighbours
            which = np.flatnonzero(near)
            d = moved - self.vertices
            moved[which] = self._projected((self.ring[which] @ d) / degree[which, None], which)
            touched = np.flatnonzero(near[self.faces].any(1))
            folded[touched] = self._folded(moved, touched)
        return moved

    def _projected(self, d: Floats, which: NDArray[np.int64]) -> Floats:
        """Vertices `which` displaced by d (k, 3), at the nearest places of the surface that face their way."""
        moved = self.vertices[which] + d
        found = self.surface.closest(moved)
        fits = (self.normals[found.triangles] * self.at_vertex[which]).sum(1) > MIN_COSINE
        return np.where(fits[:, None], found.points, moved)

    def _folded(self, vertices: Floats, which: NDArray[np.int64]) -> Bools:
        """(k,) whether triangles `which` (k,) are folded with vertices (V, 3)."""
        normals, areas = triangle_normals(vertices, self.faces[which])
        before = self.normals[which]
        turned = (normals * before).sum(1) < MIN_COSINE
        was = (before != 0).any(1)
        return np.asarray(was & (turned | (areas < MIN_AREA_SHARE * self.areas[which])))


def _changed(normal: Floats, area: Floats, vertices: Floats, faces: Ints) -> tuple[Floats, Floats]:
    """(T,) cosine to the normals (T, 3), and share of the areas (T,), that triangles have with vertices (V, 3).

    A triangle that had no area cannot lose any.
    """
    turned, size = triangle_normals(vertices, faces)
    some = area > 1e-12
    cosine = np.where(some, (turned * normal).sum(axis=1), 1.0)
    return cosine, np.where(some, size / np.maximum(area, 1e-12), 1.0)
