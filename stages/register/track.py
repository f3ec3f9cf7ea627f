"""One sequence: where to begin, what each frame starts from, and what may be called registered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.checkpoint import frame_numerics
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import inverse, transform, vertex_normals
from mimicme.pipeline.geometry.rigid import fit_affine, fit_scale
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS, eye_distance
from mimicme.pipeline.landmarks.deviation import landmark_deviation
from mimicme.pipeline.numerics.temporal import MIN_FRAMES, Regions, apart, runs, smooth, smooth_poses
from mimicme.pipeline.template import Template, TemplateKey
from mimicme.pipeline.template.eyelids import EYES, lid_opening, open_share
from mimicme.pipeline.template.face_core import FaceCore, FaceParts
from mimicme.pipeline.texture.skin_seen import is_skin
from mimicme.stages.register.carried_motion import CarriedMotion
from mimicme.stages.register.ear_placing import Ears
from mimicme.stages.register.eye_look import EYE_HIDDEN, EYE_SHOWN, met, unlike_skin
from mimicme.stages.register.eyelids import covered
from mimicme.stages.register.fast_motion import LEAST_NOISE_MM, FastMotion
from mimicme.stages.register.fit import (
    GENERIC_EARS,
    PERSONAL_EARS,
    Correspondences,
    EarVisibility,
    FitTarget,
    Fitters,
    LandmarkWeights,
    RejectionThresholds,
    Step,
    annealed,
)
from mimicme.stages.register.forehead import Forehead
from mimicme.stages.register.levels import Levels
from mimicme.stages.register.lid_habit import CLOSED_EYE, OPEN_EYE, SHUT_EYE, without_habit
from mimicme.stages.register.lid_motion import LidMotion
from mimicme.stages.register.mouth_light import Mouth, light_between_lips
from mimicme.stages.register.patches import Patches
from mimicme.stages.register.plausibility import Plausibility
from mimicme.stages.register.prior import ExpressionPrior
from mimicme.stages.register.quality import (
    SHUT_LIDS_MM,
    WELL_SEEN,
    LandmarkChecks,
    Limits,
    Quality,
    QualityAssessor,
    parts_missing,
    reject_bad,
)
from mimicme.stages.register.skin import SkinRegion, as_bytes, has_cover, weights_of
from mimicme.stages.register.slow_motion import SlowMotion
from mimicme.stages.register.spline import MIN_LANDMARKS, disagreement, landmark_weights
from mimicme.stages.register.stabilisation import head_motion, refine_pose, skull_weights
from mimicme.stages.register.targets import ScanTarget

if TYPE_CHECKING:
    from mimicme.stages.register.settings import RegisterSettings

BROWS = np.zeros(N_LANDMARKS, bool)
BROWS[GROUPS["left_eyebrow"]] = BROWS[GROUPS["right_eyebrow"]] = True
NOSE_RIDGE = np.zeros(N_LANDMARKS, bool)
NOSE_RIDGE[27:30] = True
"""Three points that share out a line without marks: where on it they lie is a bias of the detector."""
NOSE_BASE = 33
SKULL_LANDMARKS = np.zeros(N_LANDMARKS, bool)
for _group in ("left_eyebrow", "right_eyebrow", "nose", "left_eye", "right_eye"):
    SKULL_LANDMARKS[GROUPS[_group]] = True
"""Those which together tell about where the head is; iBUG-68."""
COARSE_HEAD_MM = 2.0
"""Residual scale at which a head that landmarks have placed is first brought onto its scan.  Reasoned, not tuned: found
landmarks, off by 1 to 2 mm each, place a head within that."""
LARGEST_SCALE = 1.5
"""How much larger or smaller than the template a person may be; what goes beyond is a wrong landmark file."""
LEAST_FACE = 30
"""Coarse vertices of the face that tell its proportions, at least; each as far as it counts."""
LEAST_LOWER_FACE = 0.5
"""Share of the face's core below the nose that has to be skin for its proportions to be told: what brows and cheeks
alone tell would be carried on over a jaw that nobody sees.  Half, set beforehand and not tuned."""
MOSTLY_FOUND = 0.5
"""Share of the landmarks above which a neutral's are a detector's, and a few corrected by hand among them."""
MAX_GAP = 3
"""Frames between two numbers beyond which the later one does not start from the earlier one."""
POSE_TREMOR_MM, HEAD_MM = 0.5, 60.0
"""What smoothing takes off the poses is tremor up to so much beyond the scans' noise, at this distance from the skull's
centre; more is motion, and the poses stay.  Two heads of `mimicme synth` with 0.5 mm of noise tremble by 0.2 mm."""
SURFACE_SLACK, SURFACE_SLACK_MM = 1.5, 0.03
"""How much farther from its scan a second fit, or the smoothing of scans without noise, may take a frame: this many
times its own fit's median, and mm.  A frame's own fit follows the noise of its scan; smoothing does not."""

UPPER_INNER_LIP, LOWER_INNER_LIP = [61, 62, 63], [67, 66, 65]
MOUTH_AT_REST_MM, MOUTH_MOVED_MM = 3.6, 4.6
"""Mean difference of a mouth's landmarks from the template's, about their middle and at its size: up to the first they
may be those of a mouth at rest, from the second on they are not.  The neutrals of 12 people of `mimicme synth` have 1.2
to 3.6, found; their smiles' apexes 2.8 to 7.5, their surprise 3.0 to 13."""
SMILE, SMILES = np.array([7.8, 15.4, -12.6]), 2.0
"""Weights of `_smile_figures`, by Fisher's linear discriminant, learnt on 33 neutrals and 11 smiles' apexes of `mimicme
synth`, of whom it tells 10 at the cost of one neutral.  Of two other makers, who judge, 35 neutrals have 1.3 at most,
given and found; of 13 smiles' apexes 11 lie above the bound, the others at 1.6 and 1.8."""
MOUTH_CORNERS, ABOUT_CORNERS_MM, LEAST_BARE = (48, 54), 15.0, 0.5
"""A mouth is judged for a smile where of the skin so far about each of its corners such a share shows: how wide it is
below hair, a detector guesses.  Reasoned, not tuned: under the four beards of `mimicme synth --maker people --beards
--seed 2112` 0.27 to 0.34 shows, on bare people, real and made, 0.94 and more."""
HALF_CLOSED = 0.5
"""How far an eye is closed, from the second to the first, from which on that is said of a neutral: narrow eyes have
little.  There, and with such noise, openings of 0.2 are at least 99 % of the time, of 0.4 85 to 94 %, of 0.7 2 and 8 %,
of 0.8 at most 2 %."""
OPEN_MOUTH = 0.2
"""Opening of the mouth, in its widths, from which on a frame is no neutral, even if the sequence has no better one."""
AROUND_EARS = 3
"""Coarse steps after the ears were placed, at least: the head around them has moved with them."""
AROUND_SHELLS, NEAR_SHELLS_MM = 3, 30.0
"""The same once more, without what lies below a shell; it changes nothing farther away than that.  Neither is tuned: on
a dome below caps of 4 and 8 mm, 1 to 6 steps and 10 to 60 mm give the same mean error to 0.01 mm."""
THERE_MM = 2.5
"""A scan whose surface, or the end of it, is so near to a vertex shows the place: gaps between lips and lids, and
specks that are missing, are no loss."""
LIDS_MET = 0.2
"""Opening of a registered eye, in that of the open one, up to which its lids were drawn together: then it is 0.01 to
0.15, else, by the same found landmarks, 0.45 and more (a dome's eye; shut eyes of four people)."""
LIDS_AGAIN = 2
"""Coarse steps that a closing eye is fitted again with; see lid_motion.py."""
FIRST_STIFFER = 10.0
"""Stiffness of the first step on the template itself, in that of the others."""

PERSONAL_TOLERANCE = 2.5
"""Tolerance on the template itself for a frame that begins from its person's neutral, in that of the neutral: it is a
share of the displacement, and what is left of that without the head's motion is small already.  Without it james's
tracked frame took half as many iterations again, for the same surface."""

FEW_TRIANGLES = 0.003
"""Share of all triangles: with more flipped or self-intersecting beyond the first result's, the second is rejected."""
SECOND_PASS_STEPS, SECOND_PASS_STIFFNESS, SECOND_PASS_SCALE_MM = 3, (300.0, 30.0), 3.0
"""Coarse steps of the second pass: it begins nearer than the first, and is held more firmly to a better prediction."""


@dataclass(frozen=True)
class Frame:
    """One scan with what the earlier stages know of it.

    Attributes:
        number: the source's frame number.
        vertices: (m, 3) mm, scan frame; faces: (t, 3).
        landmarks: (68, 3) mm, scan frame, NaN absent; confidence: (68,) in [0, 1], 0 = not to be used.
        pose: (4, 4) canonical -> scan, as aligned.
        detected: (68,) True where a landmark was found by a detector and not by hand.
        coloured: whether it was found in the scan's colours; on the bare surface a detector takes eyes for closed.
        colors: (m, 3) of the scan's vertices, 0 to 255, NaN where they have none; None of a bare scan, and
            where nobody wants to know.
        shown_shut: groups of eyes that are shut although a scan has no colours: its surface shows it.
    """

    number: int
    vertices: Floats
    faces: Ints
    landmarks: Floats
    confidence: Floats
    pose: Floats
    detected: Bools = field(default_factory=lambda: np.zeros(N_LANDMARKS, bool))
    coloured: bool = True
    colors: NDArray[np.floating] | None = None
    shown_shut: tuple[str, ...] = ()

    @property
    def known(self) -> Bools:
        """(68,) True where a landmark is to be used: a detected jaw is not.  It is an outline's and no place on the
        skin, or, its chin, no nearer to the truth than the fitted surface brings it (docs/measurement-log.md)."""
        known = np.asarray((self.confidence > 0) & np.isfinite(self.landmarks).all(axis=1))
        known[GROUPS["jaw"]] &= ~self.detected[GROUPS["jaw"]]
        return known

    @property
    def tells_expression(self) -> Bools:
        """(68,) True where a landmark is to be used and tells whether eyes and mouth are open."""
        tells = self.known
        if not self.coloured:
            for eye in set(EYES).difference(self.shown_shut):
                tells[GROUPS[eye]] &= ~self.detected[GROUPS[eye]]
        return tells


@dataclass(frozen=True)
class Registered:
    """One registered frame: its number; vertices (V, 3) canonical mm; pose (4, 4) canonical -> scan; figures; `skin`
    (V,) uint8, how sure it is that the scan shows the person's own surface there, 255 surely (`SkinRegion.share`)."""

    number: int
    vertices: Floats | NDArray[np.float32]
    pose: Floats
    quality: Quality
    checks: LandmarkChecks
    skin: NDArray[np.uint8]

    def compact(self) -> Registered:
        """The same with float32 vertices: 0.64 MB for 53,349 of them, which is what a waiting frame costs."""
        return replace(self, vertices=self.vertices.astype(np.float32))


class Anatomy(NamedTuple):
    """What a template alone says, the same for every sequence: the assessor of its frames; the core of its face, and
    parts of it; (V,) weights of the skull, and its centre (3,), mm; the regions that smoothing in time tells apart;
    fast and slow motion; where scans may show other things than skin; the ears; the figures of what a person sees; the
    top of the forehead."""

    assessor: QualityAssessor
    core: FaceCore
    parts: FaceParts
    skull: Floats
    skull_centre: Floats
    regions: Regions
    fast_motion: FastMotion
    slow_motion: SlowMotion
    skin: SkinRegion
    ears: Ears
    plausibility: Plausibility
    forehead: Forehead

    @classmethod
    def of(cls, template: Template, levels: Levels) -> Anatomy:
        """That of a template with its levels."""
        vertices, faces, areas = template.vertices, template.faces, levels.fine.areas
        core = FaceCore.of(vertices, faces, areas, template.landmarks())
        skull = skull_weights(vertices, template.landmarks(), areas)
        regions = Regions(skull > 0, core.areas > 0)
        patches = Patches(levels, vertices, regions.still)
        return cls(
            QualityAssessor(
                vertices,
                faces,
                levels.opposite,
                core.areas > 0,
                levels.eyeballs,
                template.landmarks(),
                levels.fine.ears,
            ),
            core,
            FaceParts.of(core, vertices, template.landmarks(), levels.eyeballs),
            skull,
            skull / max(skull.sum(), 1e-300) @ vertices,
            regions,
            FastMotion(patches),
            SlowMotion(patches),
            SkinRegion.of(template, levels, core),
            Ears.of(vertices, levels),
            Plausibility(
                vertices,
                faces,
                template.landmarks(),
                levels.fine.ears,
                levels.eyeballs,
                core.areas > 0,
                skull,
            ),
            Forehead.of(template, levels.coarse),
        )


class Previous(NamedTuple):
    """The frame registered last: its number, displacement (V, 3) from the rest shape, and skin (V,), 0 to 1."""

    number: int
    displacement: Floats
    skin: Floats


class Seen(NamedTuple):
    """(V,) where a scan shows a shape: `valid`, where a correspondence is, and skin; `shown`, that, or hair, a beard, a
    cap or clothes over it; `there`, where it has any surface nearby, however that faces: elsewhere it has a hole, or
    ends."""

    valid: Bools
    shown: Bools
    there: Bools


class SequenceTracker:
    """Registers the frames of one sequence in the order it asks for.

    Args:
        template: the prepared template.
        levels: its levels.
        settings: of the stage.
        neutral: (V, 3) the subject's registered neutral, canonical, mm; None when this sequence has to find it: its
            most neutral frame is then fitted first, from the template, and takes that place.
        detector_offset: (68, 3) mm, how far from the neutral's own landmarks a detector sees them on this subject,
            found together with the neutral.  A detector that sees a point beside its place on the neutral does so in
            the other frames too: taken off, only the motion is the detector's.
        worn: vertices below what the subject wears on the neutral and only its rim tells from skin (`shells`): it is
            looked for there alone, and stays on.
    """

    def __init__(
        self,
        template: Template,
        levels: Levels,
        settings: RegisterSettings,
        neutral: Floats | None,
        detector_offset: Floats | None = None,
        worn: NDArray[np.int64] | None = None,
    ) -> None:
        self.template, self.levels, self.settings = template, levels, settings
        self.neutral = neutral
        self.neutral_number: int | None = None
        self.neutral_oddity = ""
        self.detector_offset = np.zeros((N_LANDMARKS, 3)) if detector_offset is None else detector_offset
        self.worn = np.empty(0, np.int64) if worn is None else worn
        self._rest = template.vertices if neutral is None else neutral
        anatomy = levels.once("anatomy", TemplateKey(template), lambda: Anatomy.of(template, levels))
        self._assessor, self._core, self._skull = anatomy.assessor, anatomy.core, anatomy.skull
        self._parts = anatomy.parts
        self.skull_centre, self.regions = anatomy.skull_centre, anatomy.regions
        self.fast_motion, self.slow_motion = anatomy.fast_motion, anatomy.slow_motion
        self._skin, self._ears, self._forehead = anatomy.skin, anatomy.ears, anatomy.forehead
        self._off_ears = 1 - levels.fine.ears.max(axis=1, initial=0.0)[:, None]
        self._plausibility = (
            anatomy.plausibility
            if neutral is None
            else anatomy.plausibility.of_person(neutral, template.landmarks(neutral))
        )
        self._fitters = (
            self._fitters_of(levels, GENERIC_EARS) if neutral is None else self._personal_fitters()
        )
        self._fitter = self._fitters.of(False, False)
        self._open_eyes = self._open_eyes_of(neutral)
        self._lid_motion = None if neutral is None else LidMotion(neutral, levels)
        self._neutral_stretch = np.nan if neutral is None else self._assessor.stretch_core(neutral)
        self._limits = Limits(
            settings.max_s2m_median_mm,
            settings.max_landmark_error_mm,
            settings.min_data_share,
            settings.max_folded_share,
            settings.max_expected_error_mm,
            settings.min_half_share,
            settings.min_neutral_half_share,
            anatomy.assessor.spread,
        )
        self._previous: Previous | None = None

    def _open_eyes_of(self, neutral: Floats | None) -> Floats:
        """(68, 3) landmarks with open eyes: the person's own, whose lids may be narrow, but the template's of an eye
        that is closed in the neutral."""
        reference = self.template.landmarks()
        if neutral is None:
            return reference
        own = self.template.landmarks(neutral)
        for eye in EYES:
            if _eye_closed(own, reference, eye) == 1:
                own[GROUPS[eye]] = reference[GROUPS[eye]]
        return own

    def _closed_eyes(
        self, landmarks: Floats, scan: ScanTarget, unlike: Mapping[str, float]
    ) -> tuple[bool, bool]:
        """Whether the right and the left eye are closed, by landmarks (68, 3), NaN absent, and by the scan.

        Args:
            unlike: of `_eyes_unlike_skin`.
        """

        def shut(eye: str) -> bool:
            share = open_share(landmarks, self._open_eyes, eye)
            told = share < SHUT_EYE and not unlike[eye] > EYE_SHOWN
            told |= share < CLOSED_EYE and unlike[eye] < EYE_HIDDEN
            return told and covered(scan.surface, landmarks, eye)

        right, left = (shut(eye) for eye in EYES)
        return right, left

    def _eyes_unlike_skin(
        self, landmarks: Floats, frame: Frame, known: Bools, scan: ScanTarget
    ) -> dict[str, float]:
        """By eye: `unlike_skin` where the lids of landmarks (68, 3, canonical), as far as `known`, were found nearer to
        each other than those of an eye that is at rest; else NaN.  What is said by hand is not asked of the scan, and
        while there is no neutral nobody knows how the person's open eye looks."""
        told = known & frame.tells_expression
        marks = np.where(told[:, None], landmarks, np.nan)
        return {
            eye: unlike_skin(scan, marks, self._open_eyes, eye)
            if self.neutral is not None
            and (told & frame.detected)[GROUPS[eye]].all()
            and open_share(marks, self._open_eyes, eye) < OPEN_EYE
            else np.nan
            for eye in EYES
        }

    def _eyes_still_closed(self, landmarks: Floats, scan: ScanTarget, first: Floats) -> tuple[bool, bool]:
        """As `_closed_eyes`, without colours, but as they were closed in a first result, landmarks (68, 3) on it."""

        def shut(eye: str) -> bool:
            mesh, told = (open_share(points, self._open_eyes, eye) for points in (first, landmarks))
            still = mesh < LIDS_MET or (told < SHUT_EYE and mesh < CLOSED_EYE)
            return still and covered(scan.surface, landmarks, eye)

        right, left = (shut(eye) for eye in EYES)
        return right, left

    def _generic_fitters(self, membrane: float) -> Fitters:
        """For a frame that is to be the neutral, by its stiffness against stretching (mm^-2)."""
        levels = self.levels.for_generic_template(membrane - self.settings.membrane)
        return self._fitters_of(levels, GENERIC_EARS)

    def _personal_fitters(self) -> Fitters:
        """For a frame that begins from its person's neutral."""
        return self._fitters_of(self.levels, PERSONAL_EARS, PERSONAL_TOLERANCE)

    def _fitters_of(self, levels: Levels, ears: EarVisibility, slack: float = 1.0) -> Fitters:
        settings = self.settings
        rejection = RejectionThresholds(
            min_cosine=float(np.cos(np.radians(settings.max_normal_angle_deg))), ears=ears
        )
        weight = settings.landmark_weight_mm2
        weights = LandmarkWeights(weight, settings.fine_landmark_share * weight)
        # one factorisation for persons and expressions: it takes as many iterations, and seconds to make
        motion = self.levels.once("motion", None, lambda: CarriedMotion(self.levels.fine))
        return Fitters(
            levels, weights, rejection, settings.coarse_tolerance, slack * settings.fine_tolerance, motion
        )

    def order(self, rows: list[int], neutral_cost: Callable[[int], float]) -> Iterator[int]:
        """The order to register rows in: time's, but while there is no neutral the most neutral first, until one fits.

        Args:
            neutral_cost: gives a row's; the lower, the more neutral, as align found it.
        """
        waiting = list(rows)
        if self.neutral is None:
            for row in sorted(rows, key=neutral_cost):
                waiting.remove(row)
                yield row
                if self.neutral is not None:
                    break
        yield from waiting

    def order_from_anchor(
        self, rows: list[int], landmarks: Callable[[int], tuple[Floats, Floats]]
    ) -> Iterator[int]:
        """The order to register the rows of a part in: from its anchor to its end, then from there to its beginning.

        The anchor is the frame whose landmarks are nearest to the neutral's: it has nothing but them to start from.
        Rows are registered as they are asked for, none in between.

        Args:
            landmarks: gives a row's landmarks (68, 3) and confidence (68,), as in `Frame`.
        """
        if not rows:
            return
        reference = self.levels.fine.landmarks @ self._rest
        anchor = rows.index(min(rows, key=lambda row: landmark_deviation(*landmarks(row), reference)))
        turning_point = None
        for row in rows[anchor:]:
            yield row
            # the anchor, unless it is rejected: then what comes next after it
            turning_point = turning_point or self._previous
        self._previous = turning_point
        yield from reversed(rows[:anchor])

    def register(self, frame: Frame) -> Registered:
        """Register one frame.

        Raises:
            FrameRejected: one of the reasons of quality.py.
        """
        settings = self.settings
        to_canonical = inverse(frame.pose)
        target = ScanTarget(transform(to_canonical, frame.vertices), frame.faces, colors=frame.colors)
        known = frame.known
        if self.neutral is None:
            known &= ~(frame.detected & NOSE_RIDGE)
        landmarks = np.where(known[:, None], transform(to_canonical, frame.landmarks), 0.0)
        unlike = self._eyes_unlike_skin(landmarks, frame, known, target)
        surely_open = [eye for eye in EYES if unlike[eye] > EYE_SHOWN]
        landmarks = self._without_habit(landmarks, self.detector_offset, frame, known, surely_open)
        shown = np.where((known & frame.tells_expression)[:, None], landmarks, np.nan)
        closed = self._closed_eyes(shown, target, unlike)
        for eye, shut in zip(EYES, closed, strict=True):
            if shut and unlike[eye] < EYE_HIDDEN:
                landmarks = met(landmarks, known, self._open_eyes, eye)
        weights = np.where(known, settings.landmark_weight_mm2 * frame.confidence, 0.0)
        has_proportions = False
        if self.neutral is None:
            share = np.full(N_LANDMARKS, settings.detected_share)
            share[BROWS] = 1.0
            # what is no neutral has moved farther than a detector errs
            moved = _moved(shown, self.template.landmarks())
            for group, by in moved.items():
                share[GROUPS[group]] += by * (1 - settings.detected_share)
            weights[frame.detected] *= share[frame.detected]
            self.worn = self.worn[:0]
            self._rest = self._sized_template(landmarks, known)
            marks = np.where(known[:, None], landmarks, np.nan)
            mostly_found = known.any() and frame.detected[known].mean() > MOSTLY_FOUND
            if mouth_opening(marks, self.levels.fine.landmarks @ self._rest) > OPEN_MOUTH:
                membrane = settings.membrane  # an open mouth has stretched the skin
            elif mostly_found:
                membrane, has_proportions = settings.membrane_found, True
            else:
                membrane = settings.membrane_neutral
            self._fitters = self._generic_fitters(membrane)

        before = self._previous
        if before is not None and abs(frame.number - before.number) > MAX_GAP:
            before = None
        if before is not None:
            start, steps = before.displacement, settings.tracked_steps
            # half-way down the anneal, so that a fast mouth is still caught
            first = float(np.sqrt(settings.stiffness_start * settings.stiffness_end))
            scale = float(np.sqrt(settings.scale_start_mm * settings.scale_end_mm))
        else:
            start, steps = np.zeros_like(self._rest), settings.coarse_steps
            first, scale = settings.stiffness_start, settings.scale_start_mm
        carried = self.levels.fine.landmarks @ (self._rest + start)
        weights[known] *= landmark_weights(carried[known], landmarks[known], settings.landmark_smoothing_mm)
        fit_target = FitTarget(target, landmarks, weights)
        self._fitter = self._fitters.of(*closed)
        head = self._head_on(fit_target, frame.detected, None if before is None else before.skin)
        rest = self._rest
        if head is not None:
            rest, start = transform(head, rest), start @ head[:3, :3].T
        warp = self._fitter.warp(
            rest + start, fit_target, settings.landmark_smoothing_mm, self.neutral is not None
        )
        # ears lie where the head has them: no found landmark is near them, and a jaw that opens would take them along
        start = start + (warp if head is None else self._off_ears * warp)
        if head is None:
            rest, start = self._with_head_motion(rest, start)
        skin = self._share(rest + start, target, None) if before is None else before.skin
        free = weights_of(skin)
        # points by hand lead nearly there
        skull = self._head_of(fit_target, skin, [settings.scale_end_mm]) if head is None else head
        if skull is not None:
            fit_target = replace(fit_target, held=self._forehead.held(transform(skull, self._rest)))
        coarse_target = replace(fit_target, skin=free)
        annealing = annealed(steps, (first, settings.stiffness_end), (scale, 2 * settings.scale_end_mm))
        if self.neutral is None:
            rest, start, annealing = self._with_ears_placed(rest, start, coarse_target, free, annealing)
            if has_proportions:
                rest, start = self._in_proportion(rest, start, free)
        displacement = self._fitter.coarse(rest, coarse_target, start, annealing)
        rest, displacement = self._with_head_motion(rest, displacement)
        lids = self._lids(rest, displacement, frame.detected)
        if lids.any():  # once more, without what holds them back
            displacement = lids + self._fitter.coarse(
                rest + lids, coarse_target, displacement - lids, annealing[-LIDS_AGAIN:]
            )
            lids = self._lids(rest, displacement, frame.detected)
        rest, displacement = rest + lids, displacement - lids
        if self.neutral is None and settings.tell_skin:
            shape = rest + displacement
            self.worn = self._skin.worn(shape, vertex_normals(shape, self.template.faces), target, rest)
        skin = self._share(rest + displacement, target, None if before is None else before.skin)
        fit_target = replace(fit_target, skin=weights_of(skin))
        if self.neutral is None and len(self.worn):  # it has been fitted to as if it were skin
            again = self._fitter.coarse(rest, fit_target, displacement, annealing[-AROUND_SHELLS:])
            displacement += self._near_worn(rest) * (again - displacement)
        displacement = self._fine(rest, fit_target, displacement)
        # assessed from a shape at rest whose lids no landmark has moved: else one that is left out is followed already;
        # its size and proportions are told by all of them and the scan, and hardly follow one
        rest, displacement = rest - lids, displacement + lids
        result = self._stabilised(
            frame, frame.pose, rest, displacement, fit_target, known, as_bytes(skin), surely_open
        )
        stabilised = result.vertices.astype(np.float64)
        if self.neutral is None:
            self.neutral, self.neutral_number = stabilised, frame.number
            bare = self._bare_about_mouth(skin)
            self.neutral_oddity = _oddity(shown, self.template.landmarks(), result.quality, bare)
            self.detector_offset = self._offset_of(frame, result)
            self._rest = stabilised
            self._fitters = self._personal_fitters()
            self._fitter = self._fitters.of(False, False)
            self._open_eyes = self._open_eyes_of(stabilised)
            self._lid_motion = LidMotion(stabilised, self.levels)
            self._neutral_stretch = result.quality.stretch_core
        self._previous = Previous(frame.number, stabilised - self._rest, skin)
        return result

    def _near_worn(self, rest: Floats) -> Floats:
        """(V, 1) 1 below what is worn, of a shape (V, 3), and less away from it, where nothing is to change."""
        from scipy.spatial import cKDTree

        away = cKDTree(rest[self.worn]).query(rest)[0]
        return np.clip(1 - away / NEAR_SHELLS_MM, 0, 1)[:, None]

    def _share(self, vertices: Floats, scan: ScanTarget, before: Floats | None) -> Floats:
        """(V,) see `SkinRegion.share`; of a shape (V, 3); the mean with that of the frame before, or that alone where
        this one tells nothing; 1 where nobody wants to know."""
        nothing = np.ones(len(vertices)) if before is None else before
        if not self.settings.tell_skin:
            return nothing
        found = self._skin.share(vertices, vertex_normals(vertices, self.template.faces), scan)
        if found is None:
            return nothing
        found[self.worn] = 0.0
        return found if before is None else (found + before) / 2

    def _bare_about_mouth(self, skin: Floats) -> bool:
        """Whether about both corners of the mouth skin (V,), 0 to 1, shows, and no beard or moustache hides them."""
        for corner in self.template.landmarks()[list(MOUTH_CORNERS)]:
            about = np.linalg.norm(self.template.vertices - corner, axis=1) < ABOUT_CORNERS_MM
            areas = self.levels.fine.areas * self._skin.bearded * about
            if areas @ skin < LEAST_BARE * areas.sum():
                return False
        return True

    def _with_ears_placed(
        self, rest: Floats, start: Floats, fit_target: FitTarget, free: Floats, steps: list[Step]
    ) -> tuple[Floats, Floats, list[Step]]:
        """A rest shape (V, 3) with its ears where the scan shows them, as far as that is skin, `free` (V,); the
        displacement (V, 3) that is left, and the steps that are.

        The stiffness holds an ear to its place on the head and to its size, which are a person's own: only the rest
        shape is moved.  The ears are looked for when the head has found its way, and before they are fitted: an ear
        that lies on another part of the ear agrees with it, once it has been bent.
        """
        wide = [step for step in steps if step.scale_mm > GENERIC_EARS.coarse.scale_mm]
        displacement = self._fitter.coarse(rest, fit_target, start, wide)
        moved = self._ears.placed(rest + displacement, fit_target.scan, free)
        if moved is None:
            return rest, displacement, steps[len(wide) :]
        return rest + moved, displacement, steps[-AROUND_EARS:]

    def _in_proportion(
        self, rest: Floats, displacement: Floats, free: Floats | None
    ) -> tuple[Floats, Floats]:
        """A rest shape (V, 3) of a person's proportions, and the displacement (V, 3) that is left.

        A face that is longer, wider or deeper than the template all over has not been stretched, and bends nowhere
        (stiffness.py): what a first result (V, 3) has of an affine map over the face belongs to the rest shape, as
        its size does (`_sized_template`).  A face of which a beard hides the lower half keeps the template's.

        Args:
            free: (V,) as far as the scan shows skin, 0 to 1; None where nothing is known of that.
        """
        level = self.levels.coarse
        free = np.ones(len(rest)) if free is None else free
        lower = self._core.areas * (self.template.vertices[:, 1] < self.template.landmarks()[NOSE_BASE, 1])
        counts = free[level.index] * ((self._core.areas > 0) | (self._skull > 0))[level.index]
        if counts.sum() < LEAST_FACE or lower @ free < LEAST_LOWER_FACE * lower.sum():
            return rest, displacement
        found = rest + displacement
        affine = fit_affine(rest[level.index], found[level.index], counts * level.areas)
        sizes = np.linalg.svd(affine[:3, :3], compute_uv=False)
        if sizes[0] > LARGEST_SCALE or sizes[-1] < 1 / LARGEST_SCALE:
            return rest, displacement
        rest = transform(affine, rest)
        return rest, found - rest

    def _head_on(self, fit_target: FitTarget, detected: Bools, skin: Floats | None) -> Floats | None:
        """(4, 4) the motion that brings the head of the person's neutral onto a scan; None while there is no neutral,
        where landmarks by hand alone tell it, and where hardly any does above the mouth.

        Where the head is, found landmarks tell as badly as where they are themselves; the surface of a known shape
        tells it exactly, once they have led to it.  Skin far from landmarks begins from there, and not from where
        these have turned it.  The landmarks are followed as they were found: moved with the head, those of mouth and
        brows were farther off (three people of `mimicme synth`: `feature` 0.92 mm, and 0.85 as they were).

        Args:
            detected: (68,) True where a landmark was found by a detector.
            skin: (V,) how sure it is that the scan shows skin, as in the frame before; None where there is none.
        """
        use = SKULL_LANDMARKS & (fit_target.weights > 0)
        if (use & ~detected).sum() >= MIN_LANDMARKS:
            return None
        return self._head_of(fit_target, skin, [COARSE_HEAD_MM, self.settings.scale_end_mm])

    def _head_of(
        self, fit_target: FitTarget, skin: Floats | None, scales_mm: Sequence[float]
    ) -> Floats | None:
        """(4, 4) the same, from whatever landmarks; None while there is no neutral, or hardly any above the mouth.

        Args:
            scales_mm: of the rounds on the surface (`refine_pose`).  From points by hand the last one alone ends where
                both do (a surprise of `synth`: forehead's motion off by 0.25 mm with it, 0.26 with both, 0.43 with the
                first alone).
        """
        weights = np.where(SKULL_LANDMARKS, fit_target.weights, 0.0)
        if self.neutral is None or (weights > 0).sum() < MIN_LANDMARKS:
            return None
        head = head_motion(self.levels.fine.landmarks @ self.neutral, fit_target.landmarks, weights)
        level, scan, min_cosine = self.levels.coarse, fit_target.scan, self._fitter.rejection.min_cosine
        if skin is None:
            skin = self._share(transform(head, self.neutral), scan, None)
        bone = ((self._skull > 0) * weights_of(skin))[level.index]
        for scale in scales_mm:
            placed = transform(head, self.neutral[level.index])
            head = refine_pose(placed, level.faces, scan, scale, min_cosine, bone) @ head
        return head

    def _with_head_motion(self, rest: Floats, displacement: Floats) -> tuple[Floats, Floats]:
        """A rest shape (V, 3) moved as the head has, and the displacement (V, 3) that is left.

        The stiffness penalises rotation, and stiff ears the more, though a head that is not quite where it was aligned
        has not been bent.
        """
        index = self.levels.coarse.index
        found = rest + displacement
        motion = head_motion(rest[index], found[index], self._skull[index])
        moved = transform(motion, rest)
        return moved, found - moved

    def _lids(self, rest: Floats, displacement: Floats, detected: Bools) -> Floats:
        """(V, 3) how far the skin of a closing eye's lids has moved from a rest shape (V, 3), the neutral's; 0 where
        nothing closes; see lid_motion.py.

        A detector's points on lids are off by some millimetres, and by others from frame to frame.  What follows them
        freely trembles so much more than the skull does that smoothing in time takes it for motion, and with it the
        noise of the whole face: nothing follows them.

        Args:
            detected: (68,) True where a landmark was found by a detector.
        """
        if self._lid_motion is None or any(detected[GROUPS[eye]].any() for eye in EYES):
            return np.zeros_like(rest)
        return self._lid_motion.followed(rest, rest + displacement) - rest

    def _sized_template(self, landmarks: Floats, known: Bools) -> Floats:
        """(V, 3) the template at a person's size, which landmarks (68, 3), as far as `known`, tell.

        The stiffness penalises stretching, though a head that is larger all over has not been stretched: without this
        its fit falls short at the ears.  Only the rest shape is scaled, never the result.
        """
        source, target = self.template.landmarks()[known], landmarks[known]
        if len(source) < MIN_LANDMARKS:
            return self.template.vertices
        weights = landmark_weights(source, target, self.settings.landmark_smoothing_mm)
        middle = weights @ source / weights.sum()
        scale = fit_scale(source, target, weights)
        return middle + np.clip(scale, 1 / LARGEST_SCALE, LARGEST_SCALE) * (self.template.vertices - middle)

    def second_pass(self, frame: Frame, first: Registered, prior: ExpressionPrior) -> Registered:
        """Register a frame once more, from what the expression prior predicts from its first result.

        The stiffness now holds the frame to the prediction and not to the neutral, so that it no longer costs anything
        to move as faces do; the steps on the template itself follow the scan alone, as in the first pass.  The first
        result is returned where the second is not as good: rejected, farther from its scan, or with more triangles
        flipped or self-intersecting.
        """
        settings, level = self.settings, self.levels.coarse
        back = inverse(first.pose)
        target = ScanTarget(transform(back, frame.vertices), frame.faces)
        known = frame.known
        on_first = self.template.landmarks(first.vertices.astype(np.float64))
        landmarks = self._without_habit(
            np.where(known[:, None], transform(back, frame.landmarks), 0.0),
            self.detector_offset,
            frame,
            known,
            [eye for eye in EYES if open_share(on_first, self._open_eyes, eye) >= CLOSED_EYE],
        )
        weights = np.where(known, settings.landmark_weight_mm2 * frame.confidence, 0.0)
        shown = np.where((known & frame.tells_expression)[:, None], landmarks, np.nan)
        closed = self._eyes_still_closed(shown, target, on_first)
        for eye, shut in zip(EYES, closed, strict=True):
            if shut and frame.detected[GROUPS[eye]].all():
                landmarks = met(landmarks, known, self._open_eyes, eye)
        self._fitter = self._fitters.of(*closed)
        vertices = first.vertices.astype(np.float64)
        correspondences = self._fitter.correspondences(vertices, target, settings.scale_end_mm)
        observed = self._fitter.observed(correspondences, settings.scale_end_mm)[level.index]
        predicted = prior.predict(
            (vertices - self._rest)[level.index],
            correspondences.normals[level.index],
            observed.astype(np.float64),
        )
        rest = self._rest + self.levels.prolong @ predicted
        carried = self.levels.fine.landmarks @ rest
        weights[known] *= landmark_weights(carried[known], landmarks[known], settings.landmark_smoothing_mm)
        fit_target = FitTarget(target, landmarks, weights, weights_of(first.skin / 255))
        displacement = self._fitter.coarse(
            rest,
            fit_target,
            np.zeros_like(rest),
            annealed(
                SECOND_PASS_STEPS, SECOND_PASS_STIFFNESS, (SECOND_PASS_SCALE_MM, 2 * settings.scale_end_mm)
            ),
        )
        try:
            second = self._stabilised(
                frame,
                first.pose,
                rest,
                self._fine(rest, fit_target, displacement),
                fit_target,
                known,
                first.skin,
                _eyes_unsaid(first.quality),
            )
        except FrameRejected:
            return first
        return second if _as_good(second.quality, first.quality, len(self.template.faces)) else first

    def _fine(self, rest: Floats, fit_target: FitTarget, start: Floats) -> Floats:
        """A displacement (V, 3) taken on to the template's own resolution.

        The first step is stiffer and looks farther: what the coarse level has no vertices for is still as at rest,
        and is brought near as a whole before the surface gives way point by point.  What has moved far from a person's
        own neutral is no longer held to it, and a person that is far from the template not to that.
        """
        settings = self.settings
        stiffness = settings.stiffness_fine * float(np.sqrt(self.levels.fine.areas.mean()))
        scale = settings.scale_end_mm
        if self.neutral is None:
            wide, count = 3 * scale, settings.neutral_fine_steps
        else:
            wide, count = 2 * scale, settings.fine_steps
        moved = self._fitter.carried(start)
        return moved + self._fitter.fine(
            rest + moved,
            replace(fit_target, weights=settings.fine_landmark_share * fit_target.weights),
            start - moved,
            [
                Step(FIRST_STIFFER * stiffness, wide),
                *annealed(count, (stiffness, stiffness), (wide / 2, scale)),
            ],
            self._rest,
        )

    def _stabilised(
        self,
        frame: Frame,
        pose: Floats,
        rest: Floats,
        displacement: Floats,
        fit_target: FitTarget,
        known: Bools,
        skin: NDArray[np.uint8],
        unsaid: Collection[str],
    ) -> Registered:
        """A fit made at `pose`, stabilised on the skull and assessed; `unsaid` as in `_assessed`.

        Raises:
            FrameRejected: one of the reasons of quality.py.
        """
        settings, target = self.settings, fit_target.scan
        found = rest + displacement
        if not np.isfinite(found).all():
            raise FrameRejected(
                "register-misfit",
                "the solver found no finite answer",
                where=f"frame {frame.number}",
                todo="Check the scan and its landmarks; report the frame if both look right.",
            )
        last = Step(settings.stiffness_end, 2 * settings.scale_end_mm)
        correspondences = self._fitter.correspondences(found, target, last.scale_mm)
        seen = self._seen(correspondences, skin, target)
        motion = head_motion(self._rest, found, self._skull * seen.valid)
        checks = LandmarkChecks(
            self._fitter.held_out_error(rest, fit_target, displacement, correspondences, last),
            self._disagreement(frame, known),
            float(frame.detected[known].mean()) if known.any() else 0.0,
        )
        mouth = self._mouth(found, target)
        back = inverse(motion)
        scan, scan_normals = transform(back, target.vertices), target.normals @ back[:3, :3].T
        return self._assessed(
            frame,
            transform(back, found),
            pose @ motion,
            checks,
            scan,
            scan_normals,
            seen,
            mouth,
            skin,
            unsaid,
        )

    def _disagreement(self, frame: Frame, known: Bools) -> float:
        """mm: how far a frame's landmarks lie from where the others put them on its person's neutral, or the template
        while there is none; as they are given or found, without a detector's offset taken off."""
        reference = self.template.landmarks(self.neutral)
        return disagreement(reference[known], frame.landmarks[known], self.settings.landmark_smoothing_mm)

    def _offset_of(self, frame: Frame, neutral: Registered) -> Floats:
        """(68, 3) detected landmarks of the neutral from those that its registered mesh carries; 0 elsewhere."""
        use = frame.detected & frame.known
        offset = np.zeros((N_LANDMARKS, 3))
        detected = transform(inverse(neutral.pose), frame.landmarks[use])
        offset[use] = detected - (self.levels.fine.landmarks @ neutral.vertices)[use]
        return offset

    def _habit(self) -> Floats:
        """(68, 3) mm: what is taken off detected landmarks before a fit is judged by them: `detector_offset`, but for
        an eye whose lids are shut on the neutral's own mesh: there the detector is right, and every frame has to say
        it."""
        habit = self.detector_offset.copy()
        if self.neutral is not None:
            own, reference = self.template.landmarks(self.neutral), self.template.landmarks()
            for eye in EYES:
                beside = lid_opening(own + habit, reference, eye) - lid_opening(own, reference, eye)
                if beside > SHUT_LIDS_MM:
                    habit[GROUPS[eye]] = 0.0
        return habit

    def _without_habit(
        self,
        landmarks: Floats,
        habit: Floats,
        frame: Frame,
        known: Bools,
        surely_open: Collection[str] = (),
    ) -> Floats:
        """Landmarks (68, 3, canonical) of a frame, as far as `known` (68,), less a detector's habit (68, 3); see
        `without_habit`."""
        if self.neutral is None:
            return landmarks
        own = self.template.landmarks(self.neutral)
        told = known & frame.tells_expression
        return without_habit(
            landmarks, habit, frame.detected & known, told, own, self._open_eyes, surely_open
        )

    def refine_pose(self, frame: Frame, vertices: Floats, pose: Floats, skin: NDArray[np.uint8]) -> Floats:
        """The pose (4, 4) of a known shape (V, 3, canonical), refined on the frame's surface, where it is skin (V,)."""
        scan = ScanTarget(transform(inverse(pose), frame.vertices), frame.faces)
        min_cosine = self._fitter.rejection.min_cosine
        scale = self.settings.scale_end_mm
        weights = weights_of(skin / 255)
        return pose @ refine_pose(vertices, self.template.faces, scan, scale, min_cosine, weights)

    def assess(self, frame: Frame, vertices: Floats, pose: Floats, own: Registered) -> Registered:
        """A shape (V, 3, canonical) at a pose (4, 4), assessed and within the limits, by what the frame's own fit was
        told of its landmarks, skin and eyes.

        Raises:
            FrameRejected: one of the reasons of quality.py.
        """
        scan = ScanTarget(transform(inverse(pose), frame.vertices), frame.faces)
        correspondences = self._fitter.correspondences(vertices, scan, self.settings.scale_end_mm)
        seen = self._seen(correspondences, own.skin, scan)
        mouth = self._mouth(vertices, scan)
        return self._assessed(
            frame,
            vertices,
            pose,
            own.checks,
            scan.vertices,
            scan.normals,
            seen,
            mouth,
            own.skin,
            _eyes_unsaid(own.quality),
        )

    def _seen(self, correspondences: Correspondences, skin: NDArray[np.uint8], scan: ScanTarget) -> Seen:
        """Where a scan shows a shape, by its correspondences, and as far as that is `skin` (V,)."""
        valid = self._fitter.observed(correspondences, self.settings.scale_end_mm) & is_skin(skin)
        shown, covered = valid.copy(), np.flatnonzero(~is_skin(skin))
        if len(covered):
            shown[covered] = has_cover(
                correspondences.vertices[covered], correspondences.normals[covered], scan
            )
        return Seen(valid, shown, correspondences.closest.distances < THERE_MM)

    def _mouth(self, vertices: Floats, scan: ScanTarget) -> Mouth:
        return light_between_lips(
            vertices, self.template.faces, self.levels.fine.landmarks @ vertices, scan.surface
        )

    def _assessed(
        self,
        frame: Frame,
        vertices: Floats,
        pose: Floats,
        checks: LandmarkChecks,
        scan: Floats,
        scan_normals: Floats,
        seen: Seen,
        mouth: Mouth,
        skin: NDArray[np.uint8],
        unsaid: Collection[str],
    ) -> Registered:
        """As `assess`, with the scan's vertices and normals (m, 3), canonical, where it shows the shape, and what is
        seen between the lips.

        Args:
            unsaid: those of `EYES` whose lids' landmarks say nothing: the colours show that they are wrong, or an
                earlier fit of the frame was told so.  What the fit has not followed does not judge it.

        Raises:
            FrameRejected: one of the reasons of quality.py.
        """
        known = frame.known
        on_mesh = self.levels.fine.landmarks @ vertices
        given = transform(inverse(pose), frame.landmarks)
        told = self._without_habit(np.where(known[:, None], given, 0.0), self._habit(), frame, known)
        told[~(known & frame.tells_expression)] = np.nan
        for eye in EYES if self.neutral is not None else ():
            # found between shut and open they say neither
            doubtful = SHUT_EYE <= open_share(told, self._open_eyes, eye) < CLOSED_EYE
            if eye in unsaid or (doubtful and frame.detected[GROUPS[eye]].all()):
                told[GROUPS[eye]] = np.nan
        areas = self.levels.fine.areas
        bare_share = 0.0 if frame.coloured else checks.found_share
        quality = self._assessor.assess(
            vertices,
            scan,
            scan_normals,
            checks,
            np.linalg.norm((on_mesh - given)[known], axis=1),
            float(areas @ seen.valid / areas.sum()),
            self._core.shares(seen.shown),  # a beard that hides a face's half is no lack of the scan
            self._parts.shares(seen.there),
            mouth,
            self._plausibility.measure(vertices, on_mesh, told),
            is_skin(skin),
            float(areas @ ~is_skin(skin) / areas.sum()),
            self.settings.region_reach_mm,
            bare_share,
        )
        reject_bad(
            quality,
            self._limits,
            len(self.template.faces),
            self.neutral is None,
            bare_share,
            self._neutral_stretch,
        )
        return Registered(frame.number, vertices, pose, quality, checks, skin)


def _eyes_unsaid(quality: Quality) -> list[str]:
    """Those of `EYES` whose lids' landmarks said nothing when a fit was assessed; without a scan's colours, which a
    later fit of the same frame does not have, nobody could tell that again."""
    gaps = (quality.lids_open_right, quality.lids_open_left)
    return [eye for eye, gap in zip(EYES, gaps, strict=True) if np.isnan(gap)]


def _oddity(landmarks: Floats, reference: Floats, quality: Quality, bare: bool = True) -> str:
    """What speaks against a frame as its subject's neutral; landmarks (68, 3), NaN absent, and the template's.

    Args:
        bare: whether the skin about the mouth shows; else its width is a guess, and nothing is said of a smile.
    """
    odd = []
    if mouth_opening(landmarks, reference) > OPEN_MOUTH:
        odd.append("its mouth is open")
    elif _mouth_moved(landmarks, reference) > 0:
        odd.append("its mouth is not at rest")
    elif bare and _smile(landmarks, reference) > SMILES:
        odd.append("its mouth seems to smile")
    if max(_eye_closed(landmarks, reference, eye) for eye in EYES) > HALF_CLOSED:
        odd.append("an eye is closed")
    if min(quality.core_share_right, quality.core_share_left) < WELL_SEEN:
        odd.append("half of the face is hardly scanned")
    odd += [f"the scan hardly shows the {part}" for part in parts_missing(quality)]
    return " and ".join(odd)


def _mouth_moved(landmarks: Floats, reference: Floats) -> float:
    """0: the mouth of landmarks (68, 3), NaN absent, may be at rest, as a reference's; 1: it is not.

    About the mouth's own middle: how far it lies from the nose is the person's.
    """
    mouth = GROUPS["mouth"]
    found, rest = landmarks[mouth], reference[mouth]
    known = np.isfinite(found).all(axis=1)
    if known.sum() < MIN_LANDMARKS:
        return 0.0
    size = eye_distance(reference) / eye_distance(landmarks)
    size = size if np.isfinite(size) else 1.0
    found, rest = found[known] * size, rest[known]
    off = np.linalg.norm((found - found.mean(axis=0)) - (rest - rest.mean(axis=0)), axis=1).mean()
    return float(np.clip((off - MOUTH_AT_REST_MM) / (MOUTH_MOVED_MM - MOUTH_AT_REST_MM), 0, 1))


def _smile(landmarks: Floats, reference: Floats) -> float:
    """How much more landmarks (68, 3) smile than a reference's, in standard deviations of people at rest; NaN where a
    landmark of these is absent."""
    return float(np.dot(SMILE, _smile_figures(landmarks) - _smile_figures(reference)))


def _smile_figures(landmarks: Floats) -> Floats:
    """(3,) of landmarks (68, 3), in shares of the distance of the eyes: the mouth's width, how far its corners lie
    above the lips' middle, and how long the upper lip is; up the face, from the base of the nose to the eyes."""
    right = landmarks[45] - landmarks[36]
    right = right / np.linalg.norm(right)
    up = landmarks[36:48].mean(axis=0) - landmarks[31:36].mean(axis=0)
    up = up - (up @ right) * right
    up = up / np.linalg.norm(up)
    lift = landmarks[[48, 54]].mean(axis=0) - landmarks[[51, 57, 62, 66]].mean(axis=0)
    lip = landmarks[33] - landmarks[51]
    width = float(np.linalg.norm(landmarks[54] - landmarks[48]))
    return np.array([width, float(lift @ up), float(lip @ up)]) / eye_distance(landmarks)


def _moved(landmarks: Floats, reference: Floats) -> dict[str, float]:
    """By group of landmarks, from 0 to 1, whether those of a frame, (68, 3), NaN absent, are surely not at rest."""
    eyes = {eye: _eye_closed(landmarks, reference, eye) for eye in EYES}
    return {"mouth": _mouth_moved(landmarks, reference)} | eyes


def _eye_closed(landmarks: Floats, reference: Floats, eye: str) -> float:
    """0: an eye of landmarks (68, 3), NaN absent, is open, as a reference's; 1: it is closed."""
    share = open_share(landmarks, reference, eye)
    return float(np.clip((OPEN_EYE - share) / (OPEN_EYE - CLOSED_EYE), 0, 1)) if np.isfinite(share) else 0.0


def _as_good(second: Quality, first: Quality, triangles: int) -> bool:
    """Whether a frame's second result may take the place of its first."""
    few = FEW_TRIANGLES * triangles
    return (
        second.s2m_median <= SURFACE_SLACK * first.s2m_median + SURFACE_SLACK_MM
        and second.flipped_triangles <= first.flipped_triangles + few
        and second.crossing_triangles <= first.crossing_triangles + few
    )


def smooth_sequence(
    tracker: SequenceTracker,
    found: Mapping[int, Registered],
    load: Callable[[int], Frame],
    at_rest: bool = False,
) -> dict[int, Registered]:
    """The registered frames (by row) of one sequence, with jitter between frames removed.

    Vertices are smoothed in the canonical frame, but for what moves faster than the frame rate can show, or slowly in
    a small part of the face; then each pose is refined on its scan, then the poses are smoothed.  A frame that the
    surface contradicts afterwards, by more than the noise that is seen over the skull, keeps its own fit.
    """
    rows = sorted(found, key=lambda row: found[row].number)
    short = len(rows) < MIN_FRAMES
    if len(rows) < 2 or (short and not at_rest):
        return {}
    times = np.array([found[row].number for row in rows])
    own_shapes = np.stack([found[row].vertices for row in rows]).astype(np.float32)
    shapes = own_shapes.copy()
    smooth(shapes, times, tracker.regions)
    noise = tracker.fast_motion.noise_mm(own_shapes, shapes)
    if short and noise < LEAST_NOISE_MM:
        return {}
    tracker.slow_motion.restore(own_shapes, shapes, times)
    tracker.fast_motion.restore(own_shapes, shapes)
    del own_shapes
    poses = np.stack(
        [
            _refined_pose(tracker, load(row), shape.astype(np.float64), found[row])
            for row, shape in zip(rows, shapes, strict=True)
        ]
    )
    # a person's shape is one, whatever is missing in between; the head may have moved
    for part in runs(times, MAX_GAP):
        smoothed_poses = smooth_poses(poses[part], tracker.skull_centre, times[part])
        moved = apart(poses[part], smoothed_poses, tracker.skull_centre, HEAD_MM)
        # heads that were scanned one by one have no motion that could be smooth
        if np.median(moved) <= POSE_TREMOR_MM + noise:
            poses[part] = smoothed_poses
    result: dict[int, Registered] = {}
    for row, shape, pose in zip(rows, shapes, poses, strict=True):
        own = found[row].quality
        try:
            with frame_numerics():
                smoothed = tracker.assess(load(row), shape.astype(np.float64), pose, found[row])
        except FrameRejected:
            continue
        if smoothed.quality.s2m_median <= SURFACE_SLACK * own.s2m_median + SURFACE_SLACK_MM + noise:
            result[row] = smoothed.compact()
    return result


def _refined_pose(tracker: SequenceTracker, frame: Frame, vertices: Floats, found: Registered) -> Floats:
    """See `SequenceTracker.refine_pose`; the frame's own pose where that is numerically impossible."""
    try:
        with frame_numerics():
            return tracker.refine_pose(frame, vertices, found.pose, found.skin)
    except FrameRejected:
        return found.pose


def mouth_opening(landmarks: Floats, reference: Floats) -> float:
    """Distance of the inner lips of (68, 3) landmarks, NaN absent, in mouth widths of a reference of their size; 0
    where it is not known."""
    gap = np.linalg.norm(landmarks[UPPER_INNER_LIP] - landmarks[LOWER_INNER_LIP], axis=1)
    gap = gap[np.isfinite(gap)]
    return float(np.median(gap) / np.linalg.norm(reference[48] - reference[54])) if len(gap) else 0.0
