"""Photometric refinement of one frame: tangential displacements that register its texture to the reference texture.

The frame's texture, baked with the registered vertices, is compared with the reference's by optical flow
(texture/flow.py).  At a vertex the flow says how far along the layout the skin lies that the vertex ought to carry; the
Jacobian of the parameterisation there turns texels into millimetres of the surface.  The displacement field d over the
mesh follows these targets t and is smooth where they are few or uncertain,

    sum_i a_i c_i^3 |d_i - t_i|^2 + sum_(i,j) l_i l_j |d_i - d_j|^2,

with area a, confidence c and the smoothing length l, less on upper lids (`LIDS_SMOOTHING`); displaced vertices are then
projected back onto the registered surface, so that the displacement is tangential and the shape is kept.  The texture
that they give is the same one read elsewhere (warp.py): a frame is baked once.  Comparing and displacing is repeated; d
is the whole displacement from the registered vertices, t too: of each step's alone, what is seen badly would add up
from step to step and from frame to frame.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats, Singles
from mimicme.pipeline.formats.image import Pixels, opencv
from mimicme.pipeline.geometry.mesh import (
    adjacency,
    corners,
    dots,
    edges,
    transform,
    triangle_normals,
    vertex_areas,
    vertex_normals,
)
from mimicme.pipeline.numerics.smooth_field import Preconditioner, SmoothField
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.eyelids import Lids
from mimicme.pipeline.template.lips import lips_of
from mimicme.pipeline.texture.baking import Baked, TextureOptions, bake_source
from mimicme.pipeline.texture.flow import Comparable, Flow, flow, normalised
from mimicme.pipeline.texture.scan_source import Source
from mimicme.pipeline.texture.skin_seen import is_skin
from mimicme.stages.refine.following import carry, jacobians, read_flow
from mimicme.stages.refine.unfolding import Around, Sheet, displace, keep_shares
from mimicme.stages.refine.walking import triangles_across
from mimicme.stages.refine.warp import Layout, Reading, Spots, warped

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
CONFIDENCE_POWER = 3
"""Power of the confidence that a target weighs with: shadows and wrinkles agree a little, and are wrong.  On three
expressions of `synth` the error falls from 4 to 3 by 3 %, with noise, too."""
LIDS_SMOOTHING = 0.4
"""Smoothing length on upper lids, in that elsewhere.  Between rim and brow a registration is off by some millimetres
and, a few farther on, by nothing; the grain there is weak, and what strong grain beside it says, the brow's, was
carried down to the rim and took part of a closing lid's way back.  A wink of `synth`, skin 5 to 15 mm above the rim:
off by 0.48 mm with 1, by 0.31 with 0.4; 0.33 and 0.47 do the same.  Lower lids move by little: held less as well, they
follow the shading of an eye that closes (of another maker, 0.35 mm off, then 0.43)."""
LIDS_ROUNDS = 2
"""Further rounds of a frame in which an eye closes, 0.1 s each at 53,000 vertices: of what more rounds can mend there,
each mends more than half.  Over all of that wink's face a third round, with 1, changes 0.001 mm."""
UNFOLD_ROUNDS = 10
RESET_ROUNDS = 60
"""Most rounds; each halves what triangles that still fold keep of their displacement, which fades out beside them by
`KEPT_SLOPE`; the last are needed where a large shift ends abruptly."""
KEEP_COSINE, RESET_COSINE = 0.95, 0.8
"""Cosine between a triangle's normals before and after above which it keeps its displacement whole, and below which it
keeps none.  Tuned on two people, five frames each: wider limits fold more, narrower ones hold sound skin back."""
KEEP_AREA_SHARE = 0.3
"""Share of its area above which a triangle keeps its displacement whole; below `MIN_AREA_SHARE` it keeps none."""
KEPT_SLOPE = 0.3
"""By how much a displacement rises, mm a mm of the way, beside what is taken back.  Steeper than 0.7 the taking back
runs from ring to ring over the whole cheek of a wink; 0.2 to 0.5 do the same (`synth`, 53,000 vertices)."""
WIDE, NARROW = 8 / 512, 3 / 512
"""Neighbourhoods of the normalisation, in the texture's side.  A wide one leaves the shading of folds and lids in,
which stays in place while the skin slides, and lets an eye that opens change the skin beside it; a narrow one sees
nothing from far away.  Tuned on three expressions of `synth`: lips are off by 0.27 mm, by 0.35 with the wide one alone;
2 / 512 is as good there, but heeds noise of 4 grey levels more."""
SAME_AGREEMENT = 0.95
RECOGNISED = 0.65
"""Share of the agreement that the reference has with itself from which a texture is taken for the same skin.
Expressions of two people of `synth` have 0.88, the tests' dome in noise of 2 grey levels 0.91; grey, black, noise and
what is three quarters black 0.34 to 0.53, noise of 15 grey levels 0.57.  Looked at besides: 7 expressions of 4 people
of other makers and runs have 0.80 to 0.86."""
GAIN_RANGE = (16, 240)
"""Grey levels that exposure is read off."""
ON_SCAN_MM, ON_SCAN_COSINE, ON_SCAN_RINGS = 0.2, 0.85, 1
"""Of the distance to the scan: longest, least cosine between the two surfaces, rings of averaging."""
PROJECTION_MM = 1.0
"""How far along their normals displaced vertices look for their surface: a shift of 6 mm on a ball of 20 mm stands off
by 0.9."""
DRIFT_WINDOW = 5.0
"""Least window, texels, that drift is measured with, so that `MUCH_DRIFT` means the same: the windows of the presets
are 5 (`fast`), 3.5 and 8 (`best`).  A narrower one, which follows better, has more noise: of weak grain that has not
moved, seen twice through noise, 3.5 reads a third more (test_photometric)."""
SIGHT_TEXELS = 2.0
"""Texels, of the texture that is compared, that one level of the flow alone sees: of grain moved by 2 it read 1.6 to 2,
of grain moved by 4 or more 0.4 to 0.6, and all levels the truth (two noises, made up)."""
LATER_LEVELS = 1
"""Levels of the flow after the first step: what is left is small, and on coarser ones shading that stays in place holds
it back.  On four expressions of two people of `synth`: a tenth fewer turned triangles than with two, lips 0.434 mm off,
0.436 with two."""


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


def recognised(drift: Drift, own_confidence: Singles, mask: Singles) -> bool:
    """Whether a frame's texture agrees with the reference's as one of the same skin does: where it is grey, black or
    noise the flow is short, too, and says nothing.

    Args:
        drift: of the frame, as of `Refiner.drift_left`; own_confidence: (size, size) as of `Refiner.own_confidence`;
        mask: (size, size) 0 or 1, where the frame has colour: what it does not show counts neither for nor against it.
    """
    most = float((own_confidence * mask).mean(dtype=np.float64))
    return most > 0 and drift.agreement >= RECOGNISED * most


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

    def comparable(self, texture: Pixels, coverage: Pixels) -> Comparable:
        """A texture (size, size, 3) and its coverage (size, size) made ready for the flow."""
        return normalised(texture, coverage, WIDE * self.size, NARROW * self.size)


class Refiner:
    """Everything about a template and a texture size that no frame changes."""

    def __init__(self, template: Template, parameters: Parameters) -> None:
        self.template, self.parameters = template, parameters
        self.lids, self.lips = Lids(template), lips_of(template)
        n = len(template.vertices)
        self.layout = Layout(template, parameters.size)
        self.owner = self.layout.owner
        self.columns, self.rows = (np.ascontiguousarray(p, np.float32) for p in self.layout.places.T)
        self.ring = adjacency(edges(template.faces)[0], n)
        self.faces = np.ascontiguousarray(template.faces, np.int32)
        self.around = Around.of(self.ring, corners(template.faces, n).T.tocsr())
        self.across = triangles_across(template.faces)
        # a triangle of each vertex; of those that have none, any
        self.own_triangle = np.zeros(n, np.int32)
        self.own_triangle[template.faces.ravel()] = np.repeat(
            np.arange(len(template.faces), dtype=np.int32), 3
        )
        self.field = SmoothField(self._smoothness())
        corner = template.uv[template.uv_faces] * [parameters.size, -parameters.size]  # rows run down
        flat = np.stack([corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]], axis=2)
        det = np.linalg.det(flat)
        good = np.abs(det) > 1e-9
        self._flat_inverse = np.zeros_like(flat)
        self._flat_inverse[good] = np.linalg.inv(flat[good])
        # (N, T) mean over the triangles at a texture coordinate, weighted with their area in the layout
        around = corners(template.uv_faces, len(template.uv)).T @ sparse.diags(np.abs(det))
        share = np.asarray(around.sum(axis=1)).ravel()
        self._mean_at_uv = (sparse.diags(1 / np.maximum(share, 1e-12)) @ around).tocsr()
        # texture coordinates that no triangle uses lie nowhere
        self._used = np.bincount(template.uv_faces.ravel(), minlength=len(template.uv)) > 0

    def baked(self, source: Source, vertices: Floats, skin: NDArray[np.uint8] | None = None) -> Baked:
        """A frame's texture with vertices (V, 3) in the scan's frame; without what is no skin (V,)."""
        return bake_source(source, vertices, self.template, self.parameters.texture, skin=skin)

    def comparable(self, source: Source, vertices: Floats) -> Comparable:
        """The same, made ready for the flow."""
        baked = self.baked(source, vertices)
        return self.parameters.comparable(baked.texture, baked.coverage)

    @property
    def made_with(self) -> tuple[str, Parameters]:
        """What a frame's texture depends on, beside the frame."""
        return self.template.digest, self.parameters

    def frame(
        self,
        source: Source,
        vertices: Floats,
        pose: Floats,
        skin: NDArray[np.uint8] | None = None,
        baked: Baked | None = None,
    ) -> Frame:
        """A frame ready to be refined: vertices (V, 3) as registered, canonical, mm; pose (4, 4) canonical -> scan;
        skin (V,) as registered, see `RegisteredCheckpoint.skin`; by default all is; baked: its texture, where somebody
        has made it."""
        return Frame(self, source, vertices, pose, skin, baked)

    def _smoothness(self) -> sparse.csr_matrix:
        """(V, V) graph Laplacian, an edge's weight the product of the smoothing lengths at its ends, mm^2."""
        length = self.parameters.smoothing_mm * LIDS_SMOOTHING**self.lids.near
        graph = sparse.diags(length) @ self.ring @ sparse.diags(length)
        return (sparse.diags(np.asarray(graph.sum(axis=1)).ravel()) - graph).tocsr()

    def refine(
        self, frame: Frame, reference: Comparable, start: Floats, rest: Floats | None = None
    ) -> tuple[Floats, Drift]:
        """Tangential displacements of one frame's vertices.

        Args:
            reference: the texture to agree with.
            start: (V, 3) displacement to begin with, mm, canonical, where that is nearer than none.
            rest: (V, 3) the subject's neutral, mm, canonical: an eye that closes from there takes `LIDS_ROUNDS` more.

        Returns:
            The displacement (V, 3) from the registered vertices, mm; and the drift before it, by the flow that it was
            begun with: see `drift_before`.
        """
        vertices, longest = frame.vertices, self.parameters.max_shift_mm
        moved, found = vertices, self.between(reference, frame.texture, self.parameters.levels)
        before = self.drift(found)
        if start.any():
            spots = frame.surface.displaced(start, longest)
            there = self.between(reference, frame.warped(spots), self.parameters.levels)
            if better(self.drift(there), before):
                moved, found = spots.vertices, there
        rounds = self.parameters.iterations
        if rest is not None and self.lids.close(rest, vertices):
            rounds += LIDS_ROUNDS
        for step in range(rounds):
            if step:
                found = self.between(reference, frame.warped(spots), LATER_LEVELS)
            d = self._displacement_field(found, moved, moved - vertices, frame.preconditioner)
            spots = frame.surface.displaced(d, longest)
            moved = spots.vertices
        return moved - vertices, before

    def first_displacement(self, frame: Frame, reference: Comparable) -> Floats:
        """(V, 3) mm, where `refine` would begin without a start: of frames that only the mean of many is taken of."""
        found = self.between(reference, frame.texture, self.parameters.levels)
        return self._displacement_field(found, frame.vertices, np.zeros_like(frame.vertices))

    def placed(self, frame: Frame, refined: Floats) -> tuple[Floats, Reading]:
        """Refined vertices (V, 3) projected back onto their surface, as far from the scan as that was, without flipped
        triangles; and where they read the frame's texture.

        Args:
            refined: (V, 3) displaced, canonical frame, mm.
        """
        vertices = frame.vertices
        spots = frame.surface.displaced(refined - vertices, self.parameters.max_shift_mm)
        after = self.held_to_scan(frame.source, vertices, spots.vertices, frame.pose, frame.shown)
        share = self._share_kept(vertices, after)
        moved = self.lids.kept_tucked(vertices, vertices + share[:, None] * (after - vertices))
        if self.lips is not None:
            moved = self.lips.kept_sealed(vertices, moved, self.template.faces)
        return moved, self.layout.reading(spots, share)

    def held_to_scan(
        self, source: Source, before: Floats, after: Floats, pose: Floats, shown: Bools | None = None
    ) -> Floats:
        """Displaced vertices (V, 3), canonical, moved along their normals to where they stand off the scan as before.

        Displacement along flat triangles takes a vertex a little below the curved skin.  What vertices (V, 3) stood off
        the scan before is left as it was: registration smooths the scan's noise out over the sequence.  The difference
        is averaged over `ON_SCAN_RINGS` rings; where there is no scan, or where it does not show the skin (V,), nothing
        moves.
        """
        was, _, known = self._off_scan(source, before, pose)
        now, normals, fits = self._off_scan(source, after, pose)
        fits &= known if shown is None else known & shown
        weight, total = fits.astype(np.float64), np.where(fits, now - was, 0.0)
        for _ in range(ON_SCAN_RINGS):
            weight, total = self.ring @ weight + weight, self.ring @ total + total
        across = np.where(weight > 0, total / np.maximum(weight, 1e-12), 0.0)
        return np.asarray(after + (normals * across[:, None]) @ pose[:3, :3])

    def _off_scan(self, source: Source, vertices: Floats, pose: Floats) -> tuple[Floats, Floats, Bools]:
        """How far along their normals vertices (V, 3), canonical, have to go to the scan, mm; their normals in the
        scan's frame; and True where there is a scan within `ON_SCAN_MM` that they fit."""
        here = transform(pose, vertices) - source.origin
        normals = vertex_normals(here, self.template.faces)
        found = source.surface.along(here, normals, ON_SCAN_MM)
        off = dots(found.points - here, normals)
        fits = (found.triangles >= 0) & ~source.on_boundary(found.triangles, found.weights)
        fits &= dots(source.normals[found.triangles].astype(np.float64), normals) > ON_SCAN_COSINE
        return off, normals, fits

    def unflipped(self, before: Floats, after: Floats) -> Floats:
        """`after` (V, 3), taken back towards `before` (V, 3) around the triangles that it flipped or collapsed.

        A texture says nothing about which way a sliver at the edge of a lid or in the corner of the mouth faces.  The
        more a triangle has turned, the less of their displacement its corners keep: by degrees, so that the correction
        does not jitter from frame to frame.  Corners of triangles that still turn too far lose their displacement.
        """
        return before + self._share_kept(before, after)[:, None] * (after - before)

    def _share_kept(self, before: Floats, after: Floats) -> Floats:
        """(V,) share of their displacement from `before` to `after` (V, 3) that vertices keep; see `unflipped`."""
        normals, areas = triangle_normals(before, self.template.faces)
        share = np.empty(len(before))
        keep_shares(
            np.ascontiguousarray(before, np.float64),
            np.ascontiguousarray(after, np.float64),
            self.faces,
            normals,
            areas,
            *self.around,
            KEEP_COSINE,
            RESET_COSINE,
            KEEP_AREA_SHARE,
            MIN_AREA_SHARE,
            KEPT_SLOPE,
            RESET_ROUNDS,
            share,
        )
        return share

    def between(self, reference: Comparable, texture: Comparable, levels: int) -> Flow:
        """Flow from the reference to a texture."""
        return flow(reference, texture, self.parameters.window_texels, levels)

    def drift_left(self, reference: Comparable, texture: Comparable) -> Drift:
        """How far a frame's texture is from the reference's, where it is not far."""
        return self.drift(self._flow_left(reference, texture))

    def own_confidence(self, reference: Comparable) -> Singles:
        """(size, size) in [0, 1]: confidence of the same flow from the reference to itself, the most that a texture
        has."""
        return self._flow_left(reference, reference).confidence

    def _flow_left(self, reference: Comparable, texture: Comparable) -> Flow:
        return flow(reference, texture, max(self.parameters.window_texels, DRIFT_WINDOW), 1)

    def drift_before(self, reference: Comparable, texture: Comparable, seen: Drift) -> Drift:
        """How far a registered frame's texture is from the reference's, fit to be compared with `drift_left`.

        Both are read off the same flow: that of all levels and a window of 3.5 texels has 1.3 to 1.8 times the noise
        (weak grain, noise of 3 to 10 grey levels), and a frame that is right would seem to drift.  What is beyond the
        sight of one level is as all levels have `seen` it.  It takes 0.04 to 0.05 s a frame, a tenth of refining it
        (synth, textures of 512).
        """
        near = seen.median * self.parameters.size / DRIFT_SIZE <= SIGHT_TEXELS
        return self.drift_left(reference, texture) if near else seen

    def displaced(self, vertices: Floats, displacement: Floats) -> Floats:
        """Registered vertices (V, 3) displaced along their surface by (V, 3) mm."""
        surface = _RegisteredSurface(vertices, self)
        return surface.displaced(displacement, self.parameters.max_shift_mm).vertices

    def drift(self, found: Flow) -> Drift:
        """What a flow says of a frame's drift."""
        sure = found.confidence > MIN_CONFIDENCE
        if not sure.any():
            return Drift(np.nan, np.nan)
        # rows of two numbers by a mask take eight times as long
        shift = np.take(found.shift.reshape(-1, 2), np.flatnonzero(sure), axis=0)
        length = np.hypot(shift[:, 0], shift[:, 1]) * (DRIFT_SIZE / self.parameters.size)
        agreement = float(found.confidence.mean(dtype=np.float64))
        return Drift(float(np.median(length)), float(np.percentile(length, 95)), agreement)

    def _displacement_field(
        self, found: Flow, vertices: Floats, so_far: Floats, near: Preconditioner | None = None
    ) -> Floats:
        """(V, 3) smooth displacements, mm, that vertices displaced by `so_far` (V, 3) get when they follow a flow.

        The whole of them is smooth, not what this step adds: where nothing is seen steps would add up to anything.
        """
        sure, shift = np.empty(len(self.columns)), np.empty((len(self.columns), 2))
        read_flow(found.shift, found.confidence, self.columns, self.rows, self._used, sure, shift)
        target = np.empty((len(sure), 3))
        carry(self._mm_per_texel(vertices), shift, target)
        n = len(vertices)
        confidence: Floats = np.bincount(self.owner, sure, n).astype(np.float64)
        total = np.stack([np.bincount(self.owner, sure * target[:, k], n) for k in range(3)], axis=1)
        mean = total / np.maximum(confidence, 1e-9)[:, None]
        weight = vertex_areas(vertices, self.template.faces) * np.minimum(confidence, 1) ** CONFIDENCE_POWER
        weight += REGULARISATION
        near = Preconditioner(self.field) if near is None else near
        return near.solve(weight, (so_far + mean) * (weight - REGULARISATION)[:, None], so_far)

    def _mm_per_texel(self, vertices: Floats) -> Floats:
        """(N, 6) Jacobian of the parameterisation: place on the mesh by texel, at every texture coordinate; of x by
        column and by row, of y, of z."""
        each = np.empty((len(self.faces), 6))
        jacobians(np.ascontiguousarray(vertices, np.float64), self.faces, self._flat_inverse, each)
        return np.asarray(self._mean_at_uv @ each)


def gain(texture: Pixels, coverage: Pixels, reference: Pixels, reference_coverage: Pixels) -> Floats:
    """(3,) factors on red, green and blue that give a texture the reference's exposure and white balance.

    The median over texels that both have, neither too dark nor near saturation; NaN without any.
    """
    low, high = GAIN_RANGE
    known = (coverage > 0) & (reference_coverage > 0)
    for picture in (texture, reference):
        known &= opencv().inRange(picture, (low,) * 3, (high,) * 3) > 0
    good = np.flatnonzero(known)
    if not len(good):
        return np.full(3, np.nan)
    seen, wanted = (np.take(picture.reshape(-1, 3), good, axis=0) for picture in (texture, reference))
    ratio = wanted.astype(np.float64) / seen
    # each channel in one piece: numpy's median over rows of three takes twice as long
    return np.array([np.median(channel) for channel in np.ascontiguousarray(ratio.T)])


class Frame:
    """One frame while it is refined: its scan, its registered surface, and its texture, each made once.

    Attributes:
        source: the scan; vertices: (V, 3) as registered, canonical frame, mm; pose: (4, 4) canonical -> scan; skin:
            (V,) how sure it is that the scan shows the skin there, of 255; None: everywhere.

    Args:
        baked: the texture with the registered vertices, where that is made already.
    """

    def __init__(
        self,
        refiner: Refiner,
        source: Source,
        vertices: Floats,
        pose: Floats,
        skin: NDArray[np.uint8] | None = None,
        baked: Baked | None = None,
    ) -> None:
        self.refiner, self.source, self.vertices, self.pose = refiner, source, vertices, pose
        self.skin, self._baked = skin, baked
        self.preconditioner = Preconditioner(refiner.field)

    @cached_property
    def baked(self) -> Baked:
        """The texture with the registered vertices."""
        if self._baked is not None:
            return self._baked
        return self.refiner.baked(self.source, transform(self.pose, self.vertices), self.skin)

    @property
    def shown(self) -> Bools | None:
        """(V,) True where the scan shows the skin; None: everywhere."""
        return None if self.skin is None else is_skin(self.skin)

    @cached_property
    def texture(self) -> Comparable:
        """The same, made ready for the flow."""
        return self.refiner.parameters.comparable(self.baked.texture, self.baked.coverage)

    @cached_property
    def surface(self) -> _RegisteredSurface:
        """The registered surface."""
        return _RegisteredSurface(self.vertices, self.refiner)

    def warped(self, spots: Spots) -> Comparable:
        """The texture with vertices displaced along the surface."""
        return warped(self.texture, self.refiner.layout.reading(spots))


class _RegisteredSurface:
    """The registered surface of one frame, along which vertices are displaced."""

    def __init__(self, vertices: Floats, refiner: Refiner) -> None:
        self.around = refiner.around
        self.sheet = Sheet(
            np.ascontiguousarray(vertices, np.float64),
            refiner.faces,
            refiner.across,
            refiner.own_triangle,
            vertex_normals(vertices, refiner.faces),
            *triangle_normals(vertices, refiner.faces),
        )

    def displaced(self, displacement: Floats, longest_mm: float) -> Spots:
        """Vertices displaced by (V, 3), at most so much, projected back onto the surface, folds smoothed out.

        Along their normals; of those that find nothing there, the nearest place of the triangle where the walk ended.
        """
        count = len(displacement)
        spots = Spots(np.empty((count, 3)), np.empty(count, np.int64), np.empty((count, 3)))
        displace(
            *self.sheet,
            *self.around,
            np.ascontiguousarray(displacement, np.float64),
            longest_mm,
            PROJECTION_MM,
            MIN_COSINE,
            MIN_AREA_SHARE,
            UNFOLD_ROUNDS,
            *spots,
        )
        return spots
