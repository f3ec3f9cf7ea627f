"""Quality assessment of a registered frame: its figures, and the limits beyond which it is rejected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.errors import FrameRejected
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


BEST_CASE_MM = 0.14
"""Neutrals of `mimicme synth` on a template that is their own mesh, of 9,170 vertices, with exact landmarks, are 0.13
and 0.14 mm off, and 0.32 and 0.31 with landmarks as they are: with this 0.17, 0.15, 0.35 and 0.33 are expected."""
DISTANCE_COSTS, HELD_OUT_COSTS, FOUND_COSTS_MM, FOUND_STRETCH_COSTS_MM = 0.34, 0.38, 0.88, 4.0
"""Learnt as `python benchmarks expected` does, on 125 frames of 6 people of `mimicme synth`, as they are, damaged, and
with landmarks that a detector found, and on 52 of 2 people of a second maker, on templates of 9,170 and 9,409 vertices;
then brought to a `vertex_spread` of 1.  See `expected_error`."""
DISTANCE_POWER = 0.75
"""Of the same: of 1, 0.75, 0.6, 0.5 and 0.35 the one that spreads undamaged frames of both least.  With 1 a wide scream
of people that taught nothing was said to be 2.1 mm off, and was 1.5."""
EXPECTED_LOW, EXPECTED_HIGH = 0.79, 1.32
"""A tenth and nine tenths of the true error over the expected one, where one of the two makers teaches and the other
judges: what is learnt has to hold for people of whom nobody knows who made them."""
BARE_COSTS_MM = 1.46
"""In place of `FOUND_COSTS_MM`, of points found on a surface without colours: learnt as `python benchmarks expected`
does, on 31 frames of 5 people of `synth`, on templates of 53,349 and 9,170 vertices, and 9 of one person of the second
maker.  The makers do not agree: alone they teach 1.85 and 0.84.  No figure was found that tells their people apart:
with the landmarks' distance from the mesh (`Quality.landmark_residual`) in its place people on the largest template are
told more nearly, all others less, and the ranks of all are worse."""
BARE_LOW, BARE_HIGH = 0.61, 1.66
"""As `EXPECTED_LOW` and `EXPECTED_HIGH`, of points found without colours: as wide as the makers disagree."""
LANDMARK_DISTANCE_MM = 16.0
"""How far vertices of the core of the embedded template, of 53,349, lie from the nearest landmark, in the mean."""
SPREAD_POWER = 0.7
"""Learnt on 5 people of `synth` on that template, 10 on one of 9,170 vertices (12.5 mm from a landmark in the mean) and
4 of the second maker (9,409, 9.5 mm): without it the true error over the expected one is 1.3, 1.1 and 0.9 there."""


def vertex_spread(vertices: Floats, core: Ints | NDArray[np.int64] | Bools, landmarks: Floats) -> float:
    """How much larger the mean error of a template is for where its vertices lie: 1 as on the embedded template.

    Landmarks lead the surface: the correspondence error rises from 0.5 mm beside one to 3 mm at 30 mm from all, on
    templates of 9,170 and of 53,349 vertices alike (28 frames of `mimicme synth`).  What is meant by the mean error,
    though, is the mean over vertices, and a small template has most of them at lips and lids, where it is small.

    Args:
        vertices: (V, 3) mm, the template; core: which of them are in the face's core; landmarks: (l, 3) mm, on it.
    """
    from scipy.spatial import cKDTree

    places = vertices[core]
    if not len(places) or not len(landmarks):
        return 1.0
    distances, _ = cKDTree(landmarks).query(places)
    return float((np.mean(distances) / LANDMARK_DISTANCE_MM) ** SPREAD_POWER)


def expected_error(
    distance_mm: float,
    held_out_mm: float,
    found_share: float = 0.0,
    stretch: float = 0.0,
    spread: float = 1.0,
    bare_share: float = 0.0,
) -> float:
    """Mean distance to the true correspondence that a frame with these figures is likely to have, mm.

    The distance to the surface says little about tangential error.  What says most is how far the face lies from the
    template, be it by who the person is or by what the face does (`Quality.template_distance`): where the template has
    to go far, it goes astray by a share of the way, the less the farther, for an open jaw leads it well; and the two
    makers that teach agree on that.  Landmarks pull it beside the place by their noise, which those tell that are left
    out (`LandmarkChecks.held_out_mm`).  Points that a detector found lie beside it together, which no other tells:
    their share (0 to 1) counts besides, and the more, the more the core had to stretch (`Quality.stretch_core`) to
    follow them.  Those found on a surface without colours (`bare_share`, of the landmarks) lie farther off than others
    that are found, and not alike: it hangs on how much of lips and brows a person's surface shows (`BARE_LOW`).  These
    have nothing to do with each other, so that their squares add up, and the error rises with each; and so it does with
    `vertex_spread`.
    """
    squares = BEST_CASE_MM**2 + (DISTANCE_COSTS * distance_mm**DISTANCE_POWER) ** 2
    squares += (HELD_OUT_COSTS * held_out_mm) ** 2
    squares += found_share * (FOUND_COSTS_MM**2 + (FOUND_STRETCH_COSTS_MM * stretch) ** 2)
    squares += bare_excess(bare_share)
    return float(spread * np.sqrt(squares))


def bare_excess(bare_share: float) -> float:
    """mm^2 that the square of `expected_error` has more, at a `vertex_spread` of 1, than if the share of the landmarks
    that was found without colours had been found in colours."""
    return bare_share * (BARE_COSTS_MM**2 - FOUND_COSTS_MM**2)


def expected_interval(bare_share: float = 0.0) -> tuple[float, float]:
    """Multiples of `expected_error` between which four frames of five are."""
    return (BARE_LOW, BARE_HIGH) if bare_share else (EXPECTED_LOW, EXPECTED_HIGH)


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
        core_ratio = ratio[self._in_core] if self._in_core.any() else ratio
        stretch_core = float(np.percentile(np.abs(core_ratio - np.median(core_ratio)), 95))
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


@dataclass(frozen=True)
class Limits:
    """Bounds beyond which a frame is rejected."""

    max_s2m_median_mm: float
    max_landmark_error_mm: float
    min_data_share: float
    max_folded_share: float
    max_expected_error_mm: float
    min_half_share: float
    min_neutral_half_share: float
    """The default: where, of neutrals of 6 people of `mimicme synth` cut beside the nose, the error of the whole core
    over the expected one, which knows nothing of what is not seen, is beyond `EXPECTED_HIGH` times that of the uncut
    face: 1.4 in the median (1.2 to 2.0) where 36 to 39 % of a half are left, 1.2 (1.1 to 1.5) with 42 to 48 %."""
    spread: float = 1.0
    """Of the template: see `vertex_spread`; `max_expected_error_mm` is that of one of 1."""


MOSTLY = 0.5
"""Share of a frame's landmarks that were found from which on they are spoken of as found, not as a file's."""
MUCH_LIGHT_MM2 = 8.0
"""Light between the lips from which on it is noted; a closed mouth has less than 3."""
WELL_SEEN = 0.6
"""Share of a half of the face's core below which it is noted."""
PART_SEEN = 0.5
"""Share of the lids of an eye, of the nose or of the lips below which it is noted: 14 frames of `mimicme synth` have at
least 0.88, and at most 0.10 of a part that was cut out; 40 of two other makers, with closed eyes and open mouths, at
least 0.88."""
LIPS_SEEN = 0.8
"""The same of the lips.  Drawn across a mouth that is wide open, some of them lie on nothing: those of a scream of
another maker, whose lower lip was found amid its mouth, 4.7 mm off in the mean, had 0.57; 302 other frames of three
makers, given and found, have at least 0.94."""
MUCH_COVERED = 0.05
"""Share of the template under hair, a beard, a cap or clothes from which on it is noted."""
MISPLACED_RELIEF, ASKEW_MM, ASKEW_RELIEF = 0.62, 5.2, 0.81
SHUT_LIDS_MM, FOLDED_LIDS, DRAPED_MM = 1.6, 0.012, 3.4
"""Bounds of what is noted: twice what the worst of 260 frames of 20 people of `synth` has (0.19 less than 1; 2.6 mm,
where nobody pulled the mouth aside; 0.78 mm; 0.6 %; 1.7 mm, of ears compared with the template's: compared with the
person's own 494 frames of three makers have at most 2.3, ears that lean back by 15 mm 5.1 and more).  `ASKEW_RELIEF` is
the worst frame's own: a person may pull the mouth aside, and then the lips of scan and mesh agree."""
EAR_OFF_MM, EAR_OFF_SCALES = 0.4, 4.0
"""Of a scan's distance at an ear that is noted: more than the first, and than so many times its median all over the
face, as noise has it everywhere.  Ears in place have at most 0.07 mm on 14 frames of two people of `mimicme synth`,
and 0.25 on 50 of six people of two makers, who judge; the ear of a scream that the jaw had taken along had 0.52, ears
of a real scan that hair covers, as smooth as they are, 1.1 and 1.3."""
MIN_EAR_POINTS = 50
"""A scan that shows fewer of an ear, of those that are measured, says nothing of it."""
OPEN_LIDS_MM = 1.6
"""Of lids that are noted to be open though their landmarks are shut: as of the others.  35 shut eyes of three
makers, given and found, have at most 0.25; two over whose shut landmarks the mesh stayed open 2.6 and 3.6."""
SLID_MM = 3.8
"""Of a cheek that is noted.  539 frames of 45 people of three makers, none of them slid, have at most 2.8 (wide open
mouths; neutrals, which are compared with the template); the same with a cheek slid by 9 mm 4.7 and more."""


OTHER_BONE_MM = 1.6
"""Of bone that is noted not to be the subject's: a third more than the largest of anybody's own, for a false note
costs a look, and a stranger's frame that nobody sees a sequence. Three people of `mimicme synth` have at most 0.6 of
themselves, with surprise and happiness, and 15 pairs of six neutrals 3.0 and more of each other. 24 frames of another
maker, at which region and measure were chosen too, have at most 1.2, but for one whose fit is 3 mm off, and whose head
is 4 mm off: 3.6 to 4.9. Of 56 pairs of 16 people of a third, who judge, five have less than the bound, 1.4 to 1.5: who
is much alike is not told apart."""


ASTRAY = frozenset({
    "another-face", "cheek-slid", "half-seen", "lids-folded", "lids-open", "lids-shut", "lips-apart", "mouth-askew",
    "mouth-misplaced", "part-missing",
})  # fmt: skip
"""Codes of `notes` by which a face has not just slid along its surface, but may lie where it does not belong."""


def notes(quality: Quality, first: bool = False) -> list[tuple[str, str]]:
    """What a user should know about a frame that is registered: codes and sentences.

    Args:
        first: the frame is its subject's neutral, which had no neutral to begin from.
    """
    found = []
    begun_from = "the template" if first else "the subject's neutral"
    if quality.mouth_light > max(MUCH_LIGHT_MM2, quality.mouth_opening / 2):
        found.append(
            (
                "lips-apart",
                f"Between the lips {quality.mouth_light:.0f} mm2 of the mesh are open where the scan has a surface "
                "as far out as lips: skin, or a tongue that is out.",
            )
        )
    if quality.covered_share > MUCH_COVERED:
        found.append(
            (
                "skin-covered",
                f"On {quality.covered_share:.0%} of the mesh the scan shows hair, a beard, a cap or clothes: the mesh "
                "goes on smoothly below them.",
            )
        )
    found += _implausible(quality)
    share, side = _less_seen(quality)
    if share < WELL_SEEN:
        found.append(
            (
                "half-seen",
                f"The scan shows {share:.0%} of the {side} half of the face (the subject's own {side}); the rest of "
                f"it is guessed from what lies around it and {begun_from}.",
            )
        )
    missing = parts_missing(quality)
    if missing:
        shares = " and ".join(f"{100 * seen:.0f}% of the {part}" for part, seen in missing.items())
        found.append(
            (
                "part-missing",
                f"The scan shows only {shares}: what the mesh has there is guessed from what lies around it, the "
                f"landmarks and {begun_from}"
                + (", or its lips lie across an open mouth." if "lips" in missing else "."),
            )
        )
    return found


def parts_missing(quality: Quality) -> dict[str, float]:
    """Parts of the face that the scan lacks, in words, and the share of each that it shows.

    An eye of a half that is hardly seen is no news beside that half.
    """
    shares = {
        "right eye's lids": (quality.eye_share_right, PART_SEEN, quality.core_share_right),
        "left eye's lids": (quality.eye_share_left, PART_SEEN, quality.core_share_left),
        "nose": (quality.nose_share, PART_SEEN, 1.0),
        "lips": (quality.mouth_share, LIPS_SEEN, 1.0),
    }
    return {part: seen for part, (seen, least, half) in shares.items() if seen < least and half >= WELL_SEEN}


def _implausible(quality: Quality) -> list[tuple[str, str]]:
    """What a person would see at a glance; a figure that is not known says nothing."""
    askew = quality.mouth_asymmetry > ASKEW_MM and quality.mouth_relief < ASKEW_RELIEF
    still_open = [
        f"The mesh's lids of the {side} eye are {gap:.1f} mm apart"
        for side, gap in (("right", quality.lids_open_right), ("left", quality.lids_open_left))
        if gap > OPEN_LIDS_MM
    ]
    said = (
        (
            "mouth-misplaced",
            quality.mouth_relief < MISPLACED_RELIEF,
            "Where the mesh has its lips the scan hardly has any: the relief of both correlates at "
            f"{quality.mouth_relief:.2f}.",
        ),
        (
            "mouth-askew",
            askew,
            f"The mesh's mouth is {quality.mouth_asymmetry:.1f} mm askew, and the scan's lips lie elsewhere.",
        ),
        (
            "lids-shut",
            quality.lids_shut > SHUT_LIDS_MM,
            f"The mesh's lids are {quality.lids_shut:.1f} mm less far open than the landmarks say.",
        ),
        (
            "lids-open",
            bool(still_open),
            "; ".join(still_open) + ", where the landmarks say that they are shut.",
        ),
        (
            "lids-folded",
            quality.lids_folded > FOLDED_LIDS,
            f"About the eyes {quality.lids_folded:.1%} of the mesh's triangles are folded.",
        ),
        (
            "ear-draped",
            quality.ear_drape > DRAPED_MM,
            f"An ear of the mesh is {quality.ear_drape:.1f} mm out of shape: it lies on hair, or where the scan ends.",
        ),
        (
            "ear-beside",
            quality.ear_distance > max(EAR_OFF_MM, EAR_OFF_SCALES * quality.s2m_median),
            f"An ear of the mesh lies {quality.ear_distance:.1f} mm off the scan in the median: beside the scan's own, "
            "or where hair covers that.",
        ),
        (
            "cheek-slid",
            quality.cheek_slide > SLID_MM,
            f"A cheek lies {quality.cheek_slide:.1f} mm along the surface from where the landmarks carry it.",
        ),
        (
            "another-face",
            quality.bone_apart > OTHER_BONE_MM,
            f"The bone about the eyes lies {quality.bone_apart:.1f} mm from that of the subject's neutral: is it "
            "somebody else, or has the fit gone astray?",
        ),
    )
    return [(code, sentence) for code, holds, sentence in said if holds]


def _less_seen(quality: Quality) -> tuple[float, str]:
    """The half of the face's core of which the scan shows less: its share, and the subject's own side."""
    return min((quality.core_share_right, "right"), (quality.core_share_left, "left"))


def _reject_half(share: float, side: str, limits: Limits, first: bool) -> None:
    """Raise when the scan shows too little of the half of the face of which it shows less."""
    bounds = {"min_half_share": limits.min_half_share}
    if first:
        bounds["min_neutral_half_share"] = limits.min_neutral_half_share
    missed = [name for name, least in bounds.items() if not share >= least]
    if missed:
        raise FrameRejected(
            "register-half",
            f"the scan shows too little of the {side} half of the face (the subject's own {side})"
            + (", and no neutral of the subject says how it looks" if first else ""),
            seen=f"{share:.0%} of it",
            expected=f"at least {max(bounds.values()):.0%}" + (" of a subject's neutral" if first else ""),
            todo="Look at the scan from the front"
            + ("; a neutral from the front is best" if first else "")
            + "; "
            + _half_alone(share, missed)
            + ".",
        )


def _half_alone(share: float, missed: Sequence[str]) -> str:
    """What has a frame registered in spite of a half of which the scan shows so little, by the settings it missed."""
    shown = math.floor(100 * share) / 100 if math.isfinite(share) else 0.0
    if not shown:
        return "next to nothing of that half is scanned, and no setting adds it: use frames, or a scan, that show it"
    values = " and ".join(f"{name} = {shown:g}" for name in missed)
    return (
        f"to have this frame registered all the same, that half guessed, write {values} under [register] in "
        "mimicme.toml, or give --set register.NAME=VALUE"
    )


def reject_bad(
    quality: Quality, limits: Limits, triangles: int, first: bool = False, bare_share: float = 0.0
) -> None:
    """Raise when a frame fails a bound.

    Args:
        first: as of `notes`; such a frame needs more of both halves, for nothing else says how they look.
        bare_share: share of the landmarks that was found without colours.  What that costs is no frame's own fault:
            the bound of the expected error is wider by as much, so that it rejects what it would reject in colours.

    Raises:
        FrameRejected: `register-no-overlap`, `register-half`, `register-misfit`, `register-landmarks`,
            `register-folded`.
    """
    if not quality.data_share >= limits.min_data_share:
        raise FrameRejected(
            "register-no-overlap",
            "the scan covers too little of the template",
            seen=f"{quality.data_share:.0%} of its area",
            expected=f"at least {limits.min_data_share:.0%}",
            todo="Look at the scan for missing parts, or lower register.min_data_share.",
        )
    share, side = _less_seen(quality)
    _reject_half(share, side, limits, first)
    if not quality.s2m_median <= limits.max_s2m_median_mm:
        raise FrameRejected(
            "register-misfit",
            "the registered surface does not reach the scan",
            seen=f"a median distance of {quality.s2m_median:.2f} mm",
            expected=f"at most {limits.max_s2m_median_mm} mm",
            todo="Check the frame's landmarks and whether the scan is a face.",
        )
    if quality.landmark_error > limits.max_landmark_error_mm:
        raise FrameRejected(
            "register-landmarks",
            "surface and landmarks contradict each other",
            seen=f"landmarks {quality.landmark_error:.1f} mm from where the others put them",
            expected=f"at most {limits.max_landmark_error_mm} mm",
            todo="Check the frame's landmark file.",
        )
    own = quality.expected_error / limits.spread
    if bare_share:
        own = math.sqrt(max(own**2 - bare_excess(bare_share), 0.0))
    if own > limits.max_expected_error_mm:  # of too few landmarks it is not known
        most, passes = limits.max_expected_error_mm * limits.spread, math.ceil(10 * own) / 10
        check = (
            "Look at the frame's landmarks, which were found (`mimicme landmarks --review`), and correct them"
            if quality.landmarks_found > MOSTLY
            else "Check the frame's landmark file"
        )
        raise FrameRejected(
            "register-landmarks",
            "where the skin has gone cannot be told: the landmarks are too uncertain, or the face is too far from the "
            "template",
            seen=f"an expected error of {own * limits.spread:.1f} mm"
            + (", without what landmarks cost that were found without colours" if bare_share else ""),
            expected=f"at most {most:.1f} mm, which register.max_expected_error_mm = "
            f"{limits.max_expected_error_mm:g} is with this template",
            todo=f"{check}, or raise register.max_expected_error_mm to {passes:g}.",
        )
    folded = (quality.flipped_triangles + quality.degenerate_triangles) / max(triangles, 1)
    if folded > limits.max_folded_share:
        raise FrameRejected(
            "register-folded",
            "the registered mesh is folded",
            seen=f"{folded:.2%} of its triangles",
            expected=f"at most {limits.max_folded_share:.2%}",
            todo="Raise register.stiffness_end, or check the landmarks.",
        )
