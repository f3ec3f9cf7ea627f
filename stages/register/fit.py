"""Fitting one frame: landmark warp, coarse level, template level."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.pipeline.template.eyelids import tucked
from mimicme.stages.register.annealing import Step
from mimicme.stages.register.carried_motion import CarriedMotion
from mimicme.stages.register.contact import Contacts
from mimicme.stages.register.ear_visibility import (
    GENERIC_EARS,
    EarVisibility,
    VisibilityThresholds,
    visible_ears,
)
from mimicme.stages.register.eyelids import GAP_MM as LID_GAP_MM
from mimicme.stages.register.fit_target import (
    Correspondences,
    FitTarget,
    coarse_landmarks_of,
    joined,
    landmarks_of,
)
from mimicme.stages.register.folds import RestTriangles, around_folds
from mimicme.stages.register.levels import Level, Levels
from mimicme.stages.register.preconditioners import CLOSURE_WEIGHT, LandmarkWeights, Preconditioners
from mimicme.stages.register.solver import Landmarks, Preconditioner, Problem, solve
from mimicme.stages.register.spline import MIN_LANDMARKS, landmark_spline
from mimicme.stages.register.targets import ClosestPoints, ScanTarget, Targets

TANGENTIAL_WEIGHT = 0.001
"""Share of the tangential residual that is penalised; see solver.py."""


@dataclass(frozen=True)
class RejectionThresholds:
    """When a correspondence is rejected (cf. Rusinkiewicz and Levoy 2001, sec. 3.4).

    Attributes:
        min_cosine: least cosine of the angle between the two normals.
        distance_scales: distance threshold in robust scales, but never less than `least_distance_mm`.
        ears: when the scan's surface at an ear is taken for the ear, and not for hair that covers it.
    """

    min_cosine: float = 0.6
    distance_scales: float = 4.0
    least_distance_mm: float = 3.0
    ears: EarVisibility = GENERIC_EARS


HOLD_OUT = 4
CLOSURE_SCALE_MM = 3.0
"""Residual scale from which on the lips are where they may be asked whether they are closed."""
BEHIND_LIDS_MM = 10.0
"""How far from a scan what a closed lid hides may still be, to be brought behind it."""


class Fitter:
    """Fits frames with one template, whose factorisations `levels` keep.

    Args:
        levels: of the template.
        weights: of its landmarks, about.
        rejection: thresholds of the correspondences.
        coarse_tolerance, fine_tolerance: relative tolerances of the inner solver.  Tangential motion converges
            last: a loose tolerance on the coarse level leaves it where it started.
        motion: of the template, which all of its fitters may share.
    """

    def __init__(
        self,
        levels: Levels,
        weights: LandmarkWeights,
        rejection: RejectionThresholds,
        coarse_tolerance: float,
        fine_tolerance: float,
        motion: CarriedMotion | None = None,
    ) -> None:
        self.levels, self.rejection = levels, rejection
        self.coarse_tolerance, self.fine_tolerance = coarse_tolerance, fine_tolerance
        self._preconditioners = Preconditioners.of(levels, weights)
        self._contacts = Contacts(levels.opposite, levels.fine.faces)
        self._motion = CarriedMotion(levels.fine) if motion is None else motion

    def warp(
        self, rest: Floats, fit_target: FitTarget, smoothing_mm: float, same_person: bool = False
    ) -> Floats:
        """Displacement (V, 3) of the rest shape (V, 3) that the landmarks alone suggest.

        Evaluated on the coarse level and carried over; 0 when fewer than `spline.MIN_LANDMARKS` have weight.

        Args:
            same_person: whether the rest shape is the person's own: what moves is an expression, and no size.
        """
        use = fit_target.weights > 0
        coarse = self.levels.coarse
        if use.sum() < MIN_LANDMARKS:
            return np.zeros_like(rest)
        source = self.levels.fine.landmarks[use] @ rest
        return self.levels.prolong @ landmark_spline(
            source, fit_target.landmarks[use], rest[coarse.index], smoothing_mm, affine=not same_person
        )

    def coarse(self, rest: Floats, fit_target: FitTarget, start: Floats, steps: list[Step]) -> Floats:
        """Refine a displacement (V, 3) on the coarse level; returns the improved displacement (V, 3).

        While the residual scale is wide the ears follow the head: what lies near them is often hair.
        """
        level = self.levels.coarse
        before = after = start[level.index]
        without_ears = 1 - level.ears.max(axis=1)
        skin = fit_target.skin_of(level)
        for step in steps:
            correspondences = Correspondences.of(level, rest[level.index] + after, fit_target.scan)
            ears = self.rejection.ears.coarse
            wide = step.scale_mm > ears.scale_mm
            free = without_ears if wide else self._visible_ears(level, correspondences, ears)
            targets = self._behind_lids(
                level, self._targets(correspondences, step, free, skin), correspondences.closest
            )
            landmarks = coarse_landmarks_of(level, fit_target)
            if step.scale_mm <= CLOSURE_SCALE_MM:
                shape = rest + start + self.levels.prolong @ (after - before)
                closed = self._closed(shape, vertex_normals(shape, self.levels.fine.faces), fit_target)
                landmarks = joined(landmarks, closed, shape, self.levels.prolong, rest[level.index] + after)
            after = self._solved(
                level,
                self._preconditioners.coarse,
                step,
                rest[level.index],
                landmarks,
                after,
                targets,
                self.coarse_tolerance,
            )
        return start + self.levels.prolong @ (after - before)

    def carried(self, displacement: Floats) -> Floats:
        """The motion (V, 3) that a rest shape goes along with before `fine`, of a displacement (V, 3) from it; see
        carried_motion.py."""
        return self._motion.of(displacement, self.levels.fine)

    def fine(
        self,
        rest: Floats,
        fit_target: FitTarget,
        start: Floats,
        steps: list[Step],
        neutral: Floats | None = None,
    ) -> Floats:
        """Refine a displacement (V, 3) on the template itself.

        `neutral` (V, 3) is a shape without folds and self-intersections, if `rest` may have some.

        Where the surface has folded after a step, the correspondences around it are rejected from then on and the
        stiffness smooths the fold away: a fold means wrong correspondences (hair over an ear, the other lip).
        Self-intersections are resolved by contact.py.
        """
        level, displacement = self.levels.fine, start
        reference = rest if neutral is None else neutral
        at_rest = RestTriangles.of(reference, level.faces).without(level)
        skin = fit_target.skin_of(level)
        free = np.ones(len(rest))
        self._contacts.reset()
        for done, step in enumerate(steps):
            correspondences = self.correspondences(rest + displacement, fit_target.scan, step.scale_mm)
            if done:
                free[around_folds(level, at_rest, correspondences.vertices, correspondences.normals)] = 0.0
            else:
                free = self._visible_ears(level, correspondences, self.rejection.ears.fine)
            targets = self._targets(correspondences, step, free, skin)
            targets = self._contacts.resolve(
                reference, correspondences.vertices, correspondences.normals, targets
            )
            targets = self._behind_lids(level, targets, correspondences.closest)
            closed = self._closed(correspondences.vertices, correspondences.normals, fit_target)
            landmarks = joined(landmarks_of(level, fit_target), closed)
            displacement = self._solved(
                level,
                self._preconditioners.fine,
                step,
                rest,
                landmarks,
                displacement,
                targets,
                self.fine_tolerance,
            )
        for eye, rims in zip(level.eyes, self.levels.rims, strict=True):
            if eye is not None and any(eye is shut for shut in level.closed):
                displacement[eye.patch] = tucked(eye, rims, rest + displacement) - rest[eye.patch]
        if self.levels.lips is not None and np.isfinite(displacement).all():
            found = rest + displacement
            normals = vertex_normals(found, level.faces)
            displacement = self.levels.lips.sealed(found, normals, fit_target.scan.surface) - rest
        return displacement

    def _closed(self, vertices: Floats, normals: Floats, fit_target: FitTarget) -> Landmarks:
        """What holds the lips of a shape (V, 3) with normals (V, 3) together where they are closed on the scan, and the
        lids of a closed eye."""
        rows = [lid.rows for lid in self.levels.lids]
        points = [np.tile([0.0, LID_GAP_MM, 0.0], (len(lid.areas), 1)) for lid in self.levels.lids]
        areas = [lid.areas for lid in self.levels.lids]
        if self.levels.lips is not None:
            lip_rows, lip_points, lip_areas = self.levels.lips.attraction(
                vertices, normals, fit_target.scan.surface
            )
            closed = lip_areas > 0
            rows, points, areas = (
                [*rows, lip_rows[closed]],
                [*points, lip_points[closed]],
                [*areas, lip_areas[closed]],
            )
        if not rows:
            return Landmarks(sparse.csr_matrix((0, len(vertices))), np.empty((0, 3)), np.empty(0))
        return Landmarks(
            sparse.vstack(rows, format="csr"), np.concatenate(points), CLOSURE_WEIGHT * np.concatenate(areas)
        )

    @staticmethod
    def _behind_lids(level: Level, targets: Targets, closest: ClosestPoints) -> Targets:
        """Targets with those of what a closed lid hides: behind the scan."""
        if not level.closed:
            return targets
        points, planes, weights = targets.points.copy(), targets.normals.copy(), targets.weights.copy()
        for eye in level.closed:
            mine = eye.patch
            planes[mine] = closest.normals[mine]
            points[mine] = closest.points[mine] - eye.behind[:, None] * planes[mine]
            weights[mine] = 1.0
        return Targets(points, planes, weights)

    def correspondences(self, vertices: Floats, scan: ScanTarget, scale_mm: float) -> Correspondences:
        """The correspondences of a shape (V, 3) of the template on a scan, without those that are valid at no residual
        scale up to `scale_mm`."""
        reach = max(self._max_distance(scale_mm), self._max_distance(self.rejection.ears.fine.scale_mm))
        if self.levels.fine.closed:
            reach = max(reach, BEHIND_LIDS_MM)
        return Correspondences.of(self.levels.fine, vertices, scan, reach)

    def _max_distance(self, scale_mm: float) -> float:
        """Distance, mm, from which on a correspondence is rejected at a residual scale."""
        return max(self.rejection.distance_scales * scale_mm, self.rejection.least_distance_mm)

    def observed(self, correspondences: Correspondences, scale_mm: float) -> Bools:
        """(V,) True where a vertex has a valid correspondence within four robust scales."""
        found = correspondences.closest.targets(
            correspondences.normals, scale_mm, self.rejection.min_cosine, 4 * scale_mm
        )
        return found.weights > 0

    def held_out_error(
        self,
        rest: Floats,
        fit_target: FitTarget,
        displacement: Floats,
        correspondences: Correspondences,
        step: Step,
    ) -> float:
        """Mean distance, mm, of every `HOLD_OUT`-th landmark to where the mesh carries it when those are left out.

        The coarse level is solved once more without them, from the answer found with them, `displacement` (V, 3)
        and its `correspondences`: an independent check of the tangential drift that the surface alone permits.  Of six
        landmarks or fewer, of which no two would be left out, each is in its turn; NaN with fewer than two.
        """
        known = np.flatnonzero(fit_target.weights > 0)
        if len(known) < 2:
            return float("nan")
        together = known[HOLD_OUT // 2 :: HOLD_OUT]
        turns = [together] if len(together) > 1 else known[:, None]
        off = [self._held_out(held, rest, fit_target, displacement, correspondences, step) for held in turns]
        return float(np.mean(off))

    def _held_out(
        self,
        which: NDArray[np.int64],
        rest: Floats,
        fit_target: FitTarget,
        displacement: Floats,
        correspondences: Correspondences,
        step: Step,
    ) -> float:
        """Mean distance, mm, of some landmarks to where the mesh carries them when these are left out."""
        held = np.zeros(len(fit_target.weights), bool)
        held[which] = True
        without = replace(fit_target, weights=np.where(held, 0.0, fit_target.weights))
        level = self.levels.coarse
        base, start = rest[level.index], displacement[level.index]
        place = base + start
        here = Correspondences(
            place, vertex_normals(place, level.faces), correspondences.closest.subset(level.index)
        )
        for done in range(2):
            if done:
                here = Correspondences.of(level, base + start, fit_target.scan)
            targets = self._targets(here, step, np.ones(len(start)), fit_target.skin_of(level))
            targets = self._behind_lids(level, targets, here.closest)
            landmarks = coarse_landmarks_of(level, without)
            if self.levels.lids:
                shape = rest + displacement + self.levels.prolong @ (start - displacement[level.index])
                closed = self._closed(shape, vertex_normals(shape, self.levels.fine.faces), without)
                landmarks = joined(landmarks, closed, shape, self.levels.prolong, base + start)
            start = self._solved(
                level,
                self._preconditioners.coarse,
                step,
                base,
                landmarks,
                start,
                targets,
                self.coarse_tolerance,
            )
        carried = level.landmarks @ (base + start)
        return float(np.linalg.norm(carried - fit_target.landmarks, axis=1)[held].mean())

    def _visible_ears(
        self, level: Level, correspondences: Correspondences, thresholds: VisibilityThresholds
    ) -> Floats:
        """(n,) factor of the correspondences' weights; see ear_visibility.py."""
        rejection = self.rejection
        return visible_ears(
            level, correspondences, thresholds, rejection.min_cosine, rejection.distance_scales
        )

    def _targets(
        self, correspondences: Correspondences, step: Step, free: Floats, skin: Floats | None
    ) -> Targets:
        """A step's targets, their weights multiplied by `free` (n,).

        Args:
            skin: (n,) a further factor where the scan lies outside: what is worn lies on the head, never in it.
        """
        found = correspondences.closest.targets(
            correspondences.normals,
            step.scale_mm,
            self.rejection.min_cosine,
            self._max_distance(step.scale_mm),
        )
        if skin is None:
            return found._replace(weights=found.weights * free)
        outside = np.einsum("nx,nx->n", found.points - correspondences.vertices, found.normals) > 0
        return found._replace(weights=found.weights * free * np.where(outside, skin, 1.0))

    def _solved(
        self,
        level: Level,
        preconditioner: Preconditioner,
        step: Step,
        rest: Floats,
        landmarks: Landmarks,
        start: Floats,
        targets: Targets,
        tolerance: float,
    ) -> Floats:
        """The displacement (n, 3) of a step, from the one before it."""
        problem = Problem(
            step.stiffness,
            level.stiffness,
            rest,
            level.areas,
            targets,
            landmarks,
            TANGENTIAL_WEIGHT,
        )
        return solve(problem, start, preconditioner, tolerance)[0]


class Fitters:
    """The fitters of one template, by which eyes are closed; made when they are asked for.

    Kept are that of open eyes and the last other one.

    Args: as of `Fitter`; the motion may be of other levels of the same template.
    """

    def __init__(
        self,
        levels: Levels,
        weights: LandmarkWeights,
        rejection: RejectionThresholds,
        coarse_tolerance: float,
        fine_tolerance: float,
        motion: CarriedMotion,
    ) -> None:
        self._levels, self._weights, self._rejection, self._motion = levels, weights, rejection, motion
        self._tolerances = coarse_tolerance, fine_tolerance
        self._made: dict[tuple[bool, bool], Fitter] = {}

    def of(self, right_closed: bool, left_closed: bool) -> Fitter:
        """The one for a frame whose right or left eye is closed."""
        closed = right_closed, left_closed
        if closed not in self._made:
            levels = self._levels.with_closed_eyes(*closed) if any(closed) else self._levels
            self._made = {key: made for key, made in self._made.items() if not any(key)}
            self._made[closed] = Fitter(
                levels, self._weights, self._rejection, *self._tolerances, self._motion
            )
        return self._made[closed]
