"""Quality assessment of a registered frame: its figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import (
    boundary_vertices,
    dots,
    edges,
    lengths,
    transform,
    triangle_normals,
    vertex_areas,
    vertex_normals,
)
from mimicme.pipeline.geometry.rigid import fit_rigid, fit_scale
from mimicme.pipeline.geometry.spatial import self_intersections
from mimicme.pipeline.template.face_core import PartShares, Shares
from mimicme.stages.register.expected_error import expected_error, expected_interval, vertex_spread
from mimicme.stages.register.mouth_light import Mouth
from mimicme.stages.register.plausibility import EAR, Plausible


@dataclass(frozen=True)
class Quality:
    """Figures of one frame.  Lower is better but for `under_1mm`, `data_share`, the core's shares and `mouth_relief`.

    Attributes:
        s2m_median, s2m_mean, s2m_p95: distance of the scan's vertices inside the template's region (of a fine scan,
            of some of them: `MEASURED_POINTS`) to the registered surface, mm; under_1mm: share nearer than 1 mm.
        landmark_error: mean distance of every fourth landmark to where the mesh carries it when these are left out
            of the fit, mm (`Fitter.held_out_error`); noise of the landmarks included.
        landmark_residual: mean distance of the trusted landmarks to where the mesh, which is fitted to them too,
            carries them, mm.
        landmark_disagreement: how far the landmarks lie from where the others put them on the person's neutral, or,
            of a neutral, on the template (`spline.disagreement`), mm.
        landmarks_found: share of these that a detector found; the others are by hand.
        data_share: share of the template's area that found scan surface.
        covered_share: share of the template's area where the scan shows hair, a beard, a cap or clothes
            (`skin.SkinRegion`).
        core_share: share of the face's core, brows to chin, that found scan surface, or a beard or the like over it;
            core_share_right, core_share_left: of the subject's right half of it, and of the left one.
        eye_share_right, eye_share_left, nose_share, mouth_share: share of the lids of the subject's right and left
            eye, of the nose and of the lips that the scan has a surface near to, however it faces (`FaceParts`).
        mouth_light: area, mm^2, between the lips that the mesh leaves open though the scan has skin there, from the
            front; mouth_opening: all that is open between them.
        mouth_asymmetry, mouth_relief, lids_shut, lids_open_right, lids_open_left, lids_folded, ear_drape, cheek_slide,
            bone_apart: see `Plausible`.
        ear_distance: median distance of the scan's vertices at an ear of the mesh to it, of the worse ear, mm; NaN
            where the scan shows no ear.
        flipped_triangles: triangles whose normal has turned by more than 90 degrees from the rest shape's; like the
            next, without the eyeballs', which fold away behind closed lids.
        degenerate_triangles: triangles of less than 2 % of their area at rest.
        crossing_triangles: self-intersecting triangles, looked for where the template faces itself: lips, lids,
            nostrils, ears.
        expected_error: what the mean correspondence error is likely to be, mm; see `expected_error`.
        expected_error_low, expected_error_high: in four frames of five it is between these, mm.
        stretch_p95: 95th percentile of |log2| of edge lengths against the rest shape's.
        stretch_core: the same of the face's core alone, the median taken off first: a larger head is not stretched.
        template_distance: how far the face's core lies from the template's, moved, turned and scaled onto it, mm (root
            of the mean square over its area).
    """

    s2m_median: float
    s2m_mean: float
    s2m_p95: float
    under_1mm: float
    landmark_error: float
    landmark_residual: float
    landmark_disagreement: float
    landmarks_found: float
    data_share: float
    covered_share: float
    flipped_triangles: float
    degenerate_triangles: float
    crossing_triangles: float
    stretch_p95: float
    stretch_core: float
    template_distance: float
    expected_error: float
    expected_error_low: float
    expected_error_high: float
    core_share: float
    core_share_right: float
    core_share_left: float
    eye_share_right: float
    eye_share_left: float
    nose_share: float
    mouth_share: float
    mouth_light: float
    mouth_opening: float
    ear_distance: float
    mouth_asymmetry: float
    mouth_relief: float
    lids_shut: float
    lids_open_right: float
    lids_open_left: float
    lids_folded: float
    ear_drape: float
    cheek_slide: float
    bone_apart: float


@dataclass(frozen=True)
class LandmarkChecks:
    """What the landmarks say about a frame, found while it was fitted.

    Attributes:
        held_out_mm: see `Fitter.held_out_error`.
        disagreement_mm: see `spline.disagreement`; against the person's neutral, or, of a neutral, the template.
        found_share: share of the landmarks that a detector found.
    """

    held_out_mm: float
    disagreement_mm: float
    found_share: float = 0.0

    @classmethod
    def of(cls, quality: Quality) -> LandmarkChecks:
        """The checks that a frame's figures were made with."""
        return cls(quality.landmark_error, quality.landmark_disagreement, quality.landmarks_found)


S2M_MEDIAN, S2M_P95, LANDMARK_ERROR = "s2m_median", "s2m_p95", "landmark_error"
UNITS = {
    S2M_MEDIAN: "mm",
    "s2m_mean": "mm",
    S2M_P95: "mm",
    "under_1mm": "1",
    LANDMARK_ERROR: "mm",
    "landmark_residual": "mm",
    "landmark_disagreement": "mm",
    "landmarks_found": "1",
    "data_share": "1",
    "covered_share": "1",
    "flipped_triangles": "count",
    "degenerate_triangles": "count",
    "crossing_triangles": "count",
    "stretch_p95": "log2",
    "stretch_core": "log2",
    "template_distance": "mm",
    "expected_error": "mm",
    "expected_error_low": "mm",
    "expected_error_high": "mm",
    "core_share": "1",
    "core_share_right": "1",
    "core_share_left": "1",
    "eye_share_right": "1",
    "eye_share_left": "1",
    "nose_share": "1",
    "mouth_share": "1",
    "mouth_light": "mm2",
    "mouth_opening": "mm2",
    "ear_distance": "mm",
    "mouth_asymmetry": "mm",
    "mouth_relief": "1",
    "lids_shut": "mm",
    "lids_open_right": "mm",
    "lids_open_left": "mm",
    "lids_folded": "1",
    "ear_drape": "mm",
    "cheek_slide": "mm",
    "bone_apart": "mm",
}
MEASURED_POINTS = 10_000
"""Of a scan of twice as many vertices or more only every second, third ... is measured: to one or two per cent their
distances have the same percentiles, and a search for each vertex of a fine scan would take longer than the fit."""


def scan_to_mesh(
    scan: Floats,
    scan_normals: Floats,
    vertices: Floats,
    faces: Ints,
    boundary: Bools,
    reach_mm: float,
    skin: Bools | None = None,
) -> tuple[Floats, NDArray[np.int64]]:
    """(k,) mm: distance to the registered surface of the scan vertices inside the template's region; and (k,) the
    template's vertex that each is nearest to, about.

    Inside is a scan vertex whose closest point is not on the template's boundary (V,) - there the template ends and the
    scan goes on - whose normal agrees within 90 degrees, and which is nearer than `reach_mm`; what is farther is
    hair, collar or spike; and so is what is near to a vertex that is no `skin` (V,).  See `MEASURED_POINTS`.
    """
    from mimicme.pipeline.geometry.triangle_grid import (
        TriangleGrid,
    )  # numba: no reader needs it

    step = max(1, len(scan) // MEASURED_POINTS)
    scan, scan_normals = scan[::step], scan_normals[::step]
    found = TriangleGrid(vertices, faces).closest(scan, reach_mm)
    corner = np.take(faces, found.triangles, axis=0)
    if skin is not None:
        boundary = boundary | ~skin
    a, b, c = (boundary[corner] & (found.weights > 1e-3)).T
    beyond = a | b | c
    normal = np.einsum("kc,kcx->kx", found.weights, vertex_normals(vertices, faces)[corner])
    inside = ~beyond & (dots(normal, scan_normals) > 0) & (found.distances < reach_mm)
    nearest = corner[np.arange(len(corner)), found.weights.argmax(axis=1)]
    return found.distances[inside], nearest[inside]


class QualityAssessor:
    """Assesses frames of one template.

    Args:
        rest: (V, 3) the shape that triangles and edges are compared with; faces: (T, 3).
        opposite: vertices that face another part of the surface (`regions.opposite`).
        core: (V,) True in the face's core (`FaceCore`).
        eyeballs: (V,) True on what is seen between the lids (`eyelids.patches`).
        landmarks: (l, 3) the template's.
        ears: (V, k) masks, a column each ear (`regions.ears`).

    Attributes:
        spread: see `vertex_spread`.
    """

    def __init__(
        self,
        rest: Floats,
        faces: Ints,
        opposite: Ints | NDArray[np.int64],
        core: Bools,
        eyeballs: Bools,
        landmarks: Floats,
        ears: Floats,
    ) -> None:
        self.faces = faces
        self._ears = ears > EAR
        self.boundary = boundary_vertices(faces, len(rest))
        self.edges = edges(faces)[0]
        self._in_core = core[self.edges].all(axis=1)
        self._core = np.flatnonzero(core) if core.any() else np.arange(len(rest))
        self._core_at_rest, self._core_areas = rest[self._core], vertex_areas(rest, faces)[self._core]
        self.spread = vertex_spread(rest, self._core, landmarks)
        self.normals, self.areas = triangle_normals(rest, faces)
        self._skin = ~eyeballs[faces].any(axis=1)
        self._lengths = self._edge_lengths(rest)
        facing = np.zeros(len(rest), bool)
        facing[opposite] = True
        self._near, flat = np.unique(faces[facing[faces].any(axis=1)], return_inverse=True)
        self._near_faces = flat.reshape(-1, 3).astype(np.int32)

    def _edge_lengths(self, vertices: Floats) -> Floats:
        """(e,) mm, never 0."""
        a, b = (np.take(vertices, end, axis=0) for end in self.edges.T)
        return np.maximum(lengths(a - b), 1e-9)

    def stretch_core(self, vertices: Floats) -> float:
        """See `Quality`; of a shape (V, 3)."""
        return self._stretch_core(np.log2(self._edge_lengths(vertices) / self._lengths))

    def _stretch_core(self, ratio: Floats) -> float:
        """The same, of the edges' ratios (e,), log2."""
        of_core = ratio[self._in_core] if self._in_core.any() else ratio
        return float(np.percentile(np.abs(of_core - np.median(of_core)), 95))

    def _template_distance(self, vertices: Floats) -> float:
        """See `Quality`; of a shape (V, 3)."""
        at_rest, core, areas = self._core_at_rest, vertices[self._core], self._core_areas
        turned = transform(fit_rigid(at_rest, core, areas), at_rest)
        middle = areas @ core / areas.sum()
        away = core - middle - fit_scale(turned, core, areas) * (turned - middle)
        return float(np.sqrt(areas @ (away**2).sum(axis=1) / areas.sum()))

    def assess(
        self,
        vertices: Floats,
        scan: Floats,
        scan_normals: Floats,
        checks: LandmarkChecks,
        landmark_residuals: Floats,
        data_share: float,
        core: Shares,
        parts: PartShares,
        mouth: Mouth,
        plausible: Plausible,
        skin: Bools,
        covered_share: float,
        reach_mm: float,
        bare_share: float = 0.0,
    ) -> Quality:
        """Figures of one frame; `vertices` (V, 3) and `scan` (m, 3) in one frame that keeps the rest's heading;
        `bare_share` of the landmarks were found on a surface without colours."""
        distance, nearest = scan_to_mesh(
            scan, scan_normals, vertices, self.faces, self.boundary, reach_mm, skin
        )
        at_ears = [distance[own[nearest]] for own in self._ears.T]
        if not len(distance):
            distance = np.array([np.nan])
        normal, area = triangle_normals(vertices, self.faces)
        ratio = np.log2(self._edge_lengths(vertices) / self._lengths)
        stretch_core = self._stretch_core(ratio)
        template_distance = self._template_distance(vertices)
        expected = expected_error(
            template_distance, checks.held_out_mm, checks.found_share, stretch_core, self.spread, bare_share
        )
        low, high = expected_interval(bare_share)
        return Quality(
            s2m_median=float(np.median(distance)),
            s2m_mean=float(distance.mean()),
            s2m_p95=float(np.percentile(distance, 95)),
            under_1mm=float((distance < 1).mean()),
            landmark_error=checks.held_out_mm,
            landmark_residual=float(landmark_residuals.mean()) if len(landmark_residuals) else np.nan,
            landmark_disagreement=checks.disagreement_mm,
            landmarks_found=checks.found_share,
            data_share=data_share,
            covered_share=covered_share,
            flipped_triangles=float((dots(normal, self.normals) < 0)[self._skin].sum()),
            degenerate_triangles=float((area < 0.02 * self.areas)[self._skin].sum()),
            crossing_triangles=float(len(self_intersections(vertices[self._near], self._near_faces))),
            stretch_p95=float(np.percentile(np.abs(ratio), 95)),
            stretch_core=stretch_core,
            template_distance=template_distance,
            expected_error=expected,
            expected_error_low=low * expected,
            expected_error_high=high * expected,
            core_share=core.core,
            core_share_right=core.right,
            core_share_left=core.left,
            eye_share_right=parts.right_eye,
            eye_share_left=parts.left_eye,
            nose_share=parts.nose,
            mouth_share=parts.mouth,
            mouth_light=mouth.light,
            mouth_opening=mouth.opening,
            ear_distance=max(
                (float(np.median(own)) for own in at_ears if len(own) >= MIN_EAR_POINTS), default=np.nan
            ),
            **plausible._asdict(),
        )


MIN_EAR_POINTS = 50
"""A scan that shows fewer of an ear, of those that are measured, says nothing of it."""


def less_seen(quality: Quality) -> tuple[float, str]:
    """The half of the face's core of which the scan shows less: its share, and the subject's own side."""
    return min((quality.core_share_right, "right"), (quality.core_share_left, "left"))
