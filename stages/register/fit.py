"""Fitting one frame: landmark warp, coarse level, template level."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mimicme.pipeline.mesh import Bools, Floats, triangle_normals, vertex_normals
from mimicme.stages.register.contact import Contacts
from mimicme.stages.register.levels import Level, Levels
from mimicme.stages.register.solver import Landmarks, Preconditioner, Problem, solve
from mimicme.stages.register.spline import MIN_LANDMARKS, SLIDE_MM, landmark_spline, slid
from mimicme.stages.register.targets import ScanTarget


@dataclass(frozen=True)
class Step:
    """One Gauss-Newton step: `stiffness` in mm^2, residual scale of the robust weights in mm."""

    stiffness: float
    scale_mm: float


def annealed(steps: int, stiffness: tuple[float, float], scale_mm: tuple[float, float]) -> list[Step]:
    """`steps` steps from the first to the second of each pair, geometrically."""
    return [Step(a, s) for a, s in zip(_path(steps, *stiffness), _path(steps, *scale_mm), strict=True)]


def _path(steps: int, first: float, last: float) -> list[float]:
    # equal ends stay bit-equal: a factorisation is reused only for exactly the same stiffness
    if first == last or steps == 1:
        return [last] * steps
    return [float(x) for x in np.geomspace(first, last, steps)]


@dataclass(frozen=True)
class Gates:
    """What a correspondence must pass.

    Attributes:
        min_cosine: of the angle between the normals.
        reach: farthest pair in robust scales, but never less than `min_reach_mm`.
        slide: share of the residual along the surface that is penalised; see solver.py.
    """

    min_cosine: float = 0.6
    reach: float = 4.0
    min_reach_mm: float = 3.0
    slide: float = 0.001


@dataclass(frozen=True)
class Aim:
    """What one frame's template should reach.

    Attributes:
        scan: the surface.
        landmarks: (l, 3) mm; any finite value where the weight is 0.
        weights: (l,) mm^2; 0 = absent.
        tangents: (l, 3) unit vectors along which a landmark may slide, 0 for one that may not; None: none may.
    """

    scan: ScanTarget
    landmarks: Floats
    weights: Floats
    tangents: Floats | None = None

    def reached_from(self, carried: Floats) -> Floats:
        """(l, 3) what landmarks that the mesh carries at (l, 3) are drawn to: those that slide, by the shortest way."""
        if self.tangents is None:
            return self.landmarks
        along = ((carried - self.landmarks) * self.tangents).sum(axis=1)
        return self.landmarks + np.clip(along, -SLIDE_MM, SLIDE_MM)[:, None] * self.tangents


HOLD_OUT = 4
FOLD_RINGS = 3
EAR_SCALE_MM = 1.5
"""Robust scale from which on the coarse level looks whether there is an ear at all."""
EAR_HIDDEN, EAR_SEEN = 0.25, 0.35
"""Mean robust weight on an ear below which it is taken for hidden, and above which for seen.  Under hair 0.16 to 0.26
on a real scan, bare 0.32 and more on eleven synthetic people, one of them with ears 17 mm from the template's."""
CRUSHED = 0.02
"""Share of its area at rest below which a triangle counts as folded."""


class Fitter:
    """Fits frames with one template; keeps the factorisations that fit the next frame as well.

    Args:
        levels: of the template.
        gates: of the correspondences.
        coarse_tolerance, fine_tolerance: relative tolerances of the inner solver.  Sliding along the surface is
            what converges last: a loose tolerance on the coarse level leaves it where it started.
    """

    def __init__(self, levels: Levels, gates: Gates, coarse_tolerance: float, fine_tolerance: float) -> None:
        self.levels, self.gates = levels, gates
        self.coarse_tolerance, self.fine_tolerance = coarse_tolerance, fine_tolerance
        self._fine = Preconditioner()
        self._coarse: dict[float, Preconditioner] = {}
        self._held_out = Preconditioner()
        self._contacts = Contacts(levels.opposite, levels.fine.faces)

    def warp(self, rest: Floats, aim: Aim, smoothing_mm: float) -> Floats:
        """Displacement (V, 3) of the rest shape (V, 3) that the landmarks alone suggest.

        Evaluated on the coarse level and carried over; 0 when fewer than `spline.MIN_LANDMARKS` have weight.
        """
        use = aim.weights > 0
        coarse = self.levels.coarse
        if use.sum() < MIN_LANDMARKS:
            return np.zeros_like(rest)
        source = self.levels.fine.landmarks[use] @ rest
        target = aim.landmarks[use]
        if aim.tangents is not None:
            target = slid(source, target, aim.tangents[use], smoothing_mm)
        return self.levels.prolong @ landmark_spline(source, target, rest[coarse.index], smoothing_mm)

    def coarse(self, rest: Floats, aim: Aim, start: Floats, steps: list[Step]) -> Floats:
        """Refine a displacement (V, 3) on the coarse level; returns the improved displacement (V, 3).

        The ears follow the head here: what lies near them is often hair.
        """
        level = self.levels.coarse
        before = after = start[level.index]
        hidden = 1 - level.ears.max(axis=1)
        for step in steps:
            now = rest[level.index] + after
            free = (
                hidden
                if step.scale_mm > EAR_SCALE_MM
                else self._ears_seen(level, now, aim.scan, EAR_SCALE_MM)
            )
            preconditioner = self._coarse.setdefault(step.stiffness, Preconditioner())
            after = self._step(
                level, preconditioner, step, rest[level.index], aim, free, after, self.coarse_tolerance
            )
        return start + self.levels.prolong @ (after - before)

    def fine(
        self, rest: Floats, aim: Aim, start: Floats, steps: list[Step], neutral: Floats | None = None
    ) -> Floats:
        """Refine a displacement (V, 3) on the template itself.

        `neutral` (V, 3) is the shape that has no folds and does not pass through itself, if `rest` may have.

        Where the surface has folded after a step, the vertices around let go of the scan from then on and the
        stiffness smooths the fold away: a fold means that its targets were not its own (hair over an ear, the other
        lip).  Where the surface has passed through itself instead, see contact.py.
        """
        displacement = start
        sound = rest if neutral is None else neutral
        scale = steps[0].scale_mm if steps else 1.0
        free = self._ears_seen(self.levels.fine, rest + start, aim.scan, scale)
        self._contacts.forget()
        for done, step in enumerate(steps):
            if done:
                free[self._around_folds(sound, rest + displacement)] = 0.0
            displacement = self._step(
                self.levels.fine,
                self._fine,
                step,
                rest,
                aim,
                free,
                displacement,
                self.fine_tolerance,
                self._contacts,
                sound,
            )
        return displacement

    def held_out_error(self, rest: Floats, aim: Aim, displacement: Floats, step: Step) -> float:
        """Mean distance, mm, of every `HOLD_OUT`-th landmark to where the mesh carries it when those are left out.

        The coarse level is solved once more without them, from the answer found with them: an independent check
        of how far the surface alone leaves a point to slide.  NaN with fewer than two such landmarks.
        """
        held = np.zeros(len(aim.weights), bool)
        held[np.flatnonzero(aim.weights > 0)[HOLD_OUT // 2 :: HOLD_OUT]] = True
        if held.sum() < 2:
            return float("nan")
        without = replace(aim, weights=np.where(held, 0.0, aim.weights))
        level = self.levels.coarse
        start = displacement[level.index]
        for _ in range(2):
            start = self._step(
                level,
                self._held_out,
                step,
                rest[level.index],
                without,
                np.ones(len(start)),
                start,
                self.coarse_tolerance,
            )
        carried = level.landmarks @ (rest[level.index] + start)
        return float(np.linalg.norm(carried - aim.reached_from(carried), axis=1)[held].mean())

    def _ears_seen(self, level: Level, vertices: Floats, scan: ScanTarget, scale_mm: float) -> Floats:
        """(n,) weight of the scan's say: 1, and less on an ear that the scan does not look like.

        Where hair covers an ear the scan has a surface too, of which few points suit the ear.
        """
        normals = vertex_normals(vertices, level.faces)
        found = scan.targets(vertices, normals, scale_mm, self.gates.min_cosine, self.gates.reach * scale_mm)
        weight = np.ones(len(vertices))
        for mask in level.ears.T:
            area = float(level.areas @ mask)
            agree = float((level.areas * mask) @ found.weights) / max(area, 1e-12)
            weight -= mask * (1 - np.clip((agree - EAR_HIDDEN) / (EAR_SEEN - EAR_HIDDEN), 0, 1))
        return weight

    def _around_folds(self, rest: Floats, vertices: Floats) -> Bools:
        """(V,) True within `FOLD_RINGS` edges of a triangle that is flipped against its surroundings or crushed."""
        level = self.levels.fine
        normal, area = triangle_normals(vertices, level.faces)
        around = vertex_normals(vertices, level.faces)[level.faces].sum(axis=1)
        before = vertex_normals(rest, level.faces)[level.faces].sum(axis=1)
        rest_normal, rest_area = triangle_normals(rest, level.faces)
        # the template's own creases are no folds
        flipped = ((normal * around).sum(1) < 0) & ((rest_normal * before).sum(1) >= 0)
        bad = np.zeros(len(vertices))
        bad[level.faces[flipped | (area < CRUSHED * rest_area)]] = 1.0
        for _ in range(FOLD_RINGS):
            bad = level.neighbours @ bad + bad
        return bad > 0

    def seen(self, vertices: Floats, scan: ScanTarget, scale_mm: float) -> Bools:
        """(V,) True where a vertex found scan surface within four robust scales."""
        normals = vertex_normals(vertices, self.levels.fine.faces)
        return scan.targets(vertices, normals, scale_mm, self.gates.min_cosine, 4 * scale_mm).weights > 0

    def _step(
        self,
        level: Level,
        preconditioner: Preconditioner,
        step: Step,
        rest: Floats,
        aim: Aim,
        free: Floats,
        displacement: Floats,
        tolerance: float,
        contacts: Contacts | None = None,
        neutral: Floats | None = None,
    ) -> Floats:
        now = rest + displacement
        normals = vertex_normals(now, level.faces)
        gates = self.gates
        found = aim.scan.targets(
            now,
            normals,
            step.scale_mm,
            gates.min_cosine,
            max(gates.reach * step.scale_mm, gates.min_reach_mm),
        )
        found = found._replace(weights=found.weights * free)
        if contacts is not None:
            found = contacts.amend(rest if neutral is None else neutral, now, normals, found)
        problem = Problem(
            step.stiffness,
            level.stiffness,
            rest,
            level.areas,
            found,
            Landmarks(level.landmarks, aim.reached_from(level.landmarks @ now), aim.weights),
            gates.slide,
        )
        return solve(problem, displacement, preconditioner, tolerance)[0]
