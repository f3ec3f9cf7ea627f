"""Fitting one frame: landmark warp, coarse level, template level."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import triangle_normals, vertex_normals
from mimicme.stages.register.contact import Contacts
from mimicme.stages.register.levels import Level, Levels
from mimicme.stages.register.solver import Landmarks, Preconditioner, Problem, solve
from mimicme.stages.register.spline import MIN_LANDMARKS, landmark_spline
from mimicme.stages.register.targets import Nearest, ScanTarget, Targets


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


class Likeness(NamedTuple):
    """Mean robust weight on an ear, residual scale `scale_mm`, up to which it is taken for `hidden`, and from which on
    for `seen`."""

    scale_mm: float
    hidden: float
    seen: float


class Ears(NamedTuple):
    """When an ear is taken for seen on the coarse level, from the step on that is not wider, and on the template."""

    coarse: Likeness
    fine: Likeness


STRANGERS_EARS = Ears(Likeness(1.5, 0.28, 0.34), Likeness(1.05, 0.35, 0.45))
OWN_EARS = Ears(Likeness(1.5, 0.5, 0.6), Likeness(1.05, 0.5, 0.6))
"""The template's ears, and those of the person's own neutral, which fit much better.  Under hair, on a real scan, 0.22
and 0.28 on the coarse level, 0.18 and 0.24 on the template, with the neutral's up to 0.34; bare, on eleven synthetic
people, one of them with ears 17 mm from the template's, at least 0.34, 0.51 and 0.74."""


@dataclass(frozen=True)
class Gates:
    """What a correspondence must pass.

    Attributes:
        min_cosine: of the angle between the normals.
        reach: farthest pair in robust scales, but never less than `min_reach_mm`.
        slide: share of the residual along the surface that is penalised; see solver.py.
        ears: when the scan is believed about an ear: where hair covers one it has a surface too.
    """

    min_cosine: float = 0.6
    reach: float = 4.0
    min_reach_mm: float = 3.0
    slide: float = 0.001
    ears: Ears = STRANGERS_EARS


@dataclass(frozen=True)
class Aim:
    """What one frame's template should reach.

    Attributes:
        scan: the surface.
        landmarks: (l, 3) mm; any finite value where the weight is 0.
        weights: (l,) mm^2; 0 = absent.
    """

    scan: ScanTarget
    landmarks: Floats
    weights: Floats


class Look(NamedTuple):
    """A shape (n, 3), mm, its unit normals (n, 3), and what lies nearest to it on a scan."""

    vertices: Floats
    normals: Floats
    nearest: Nearest

    @classmethod
    def of(cls, level: Level, vertices: Floats, scan: ScanTarget) -> Look:
        return cls(vertices, vertex_normals(vertices, level.faces), scan.nearest(vertices))


class Creases(NamedTuple):
    """What a fold is told from: (t,) True where the shape at rest is folded itself, (t,) areas there, mm^2."""

    folded: Bools
    areas: Floats

    @classmethod
    def of(cls, vertices: Floats, faces: Ints) -> Creases:
        folded, areas = _folded(vertices, vertex_normals(vertices, faces), faces)
        return cls(folded, areas)


def _folded(vertices: Floats, normals: Floats, faces: Ints) -> tuple[Bools, Floats]:
    """(t,) True where a triangle faces away from the mean of its corners' normals (V, 3); areas (t,), mm^2."""
    normal, areas = triangle_normals(vertices, faces)
    around = np.take(normals, faces, axis=0).sum(axis=1)
    return np.einsum("tx,tx->t", normal, around) < 0, areas


HOLD_OUT = 4
FOLD_RINGS = 3
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
        self._fine: dict[float, Preconditioner] = {}
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
        return self.levels.prolong @ landmark_spline(
            source, aim.landmarks[use], rest[coarse.index], smoothing_mm
        )

    def coarse(self, rest: Floats, aim: Aim, start: Floats, steps: list[Step]) -> Floats:
        """Refine a displacement (V, 3) on the coarse level; returns the improved displacement (V, 3).

        The ears follow the head here: what lies near them is often hair.
        """
        level = self.levels.coarse
        before = after = start[level.index]
        hidden = 1 - level.ears.max(axis=1)
        for step in steps:
            look = Look.of(level, rest[level.index] + after, aim.scan)
            ears = self.gates.ears.coarse
            free = hidden if step.scale_mm > ears.scale_mm else self._ears_seen(level, look, ears)
            targets = self._targets(look, step, free)
            preconditioner = self._coarse.setdefault(step.stiffness, Preconditioner())
            after = self._solved(
                level, preconditioner, step, rest[level.index], aim, after, targets, self.coarse_tolerance
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
        level, displacement = self.levels.fine, start
        sound = rest if neutral is None else neutral
        creases = Creases.of(sound, level.faces)
        free = np.ones(len(rest))
        self._contacts.forget()
        for done, step in enumerate(steps):
            look = Look.of(level, rest + displacement, aim.scan)
            if done:
                free[self._around_folds(creases, look)] = 0.0
            else:
                free = self._ears_seen(level, look, self.gates.ears.fine)
            targets = self._targets(look, step, free)
            targets = self._contacts.amend(sound, look.vertices, look.normals, targets)
            preconditioner = self._fine.setdefault(step.stiffness, Preconditioner())
            displacement = self._solved(
                level, preconditioner, step, rest, aim, displacement, targets, self.fine_tolerance
            )
        return displacement

    def look(self, vertices: Floats, scan: ScanTarget) -> Look:
        """What a shape (V, 3) of the template finds on a scan."""
        return Look.of(self.levels.fine, vertices, scan)

    def seen(self, look: Look, scale_mm: float) -> Bools:
        """(V,) True where a vertex found scan surface within four robust scales."""
        found = look.nearest.targets(look.normals, scale_mm, self.gates.min_cosine, 4 * scale_mm)
        return found.weights > 0

    def held_out_error(self, rest: Floats, aim: Aim, displacement: Floats, look: Look, step: Step) -> float:
        """Mean distance, mm, of every `HOLD_OUT`-th landmark to where the mesh carries it when those are left out.

        The coarse level is solved once more without them, from the answer found with them, `displacement` (V, 3)
        and its `look`: an independent check of how far the surface alone leaves a point to slide.  NaN with fewer
        than two such landmarks.
        """
        held = np.zeros(len(aim.weights), bool)
        held[np.flatnonzero(aim.weights > 0)[HOLD_OUT // 2 :: HOLD_OUT]] = True
        if held.sum() < 2:
            return float("nan")
        without = replace(aim, weights=np.where(held, 0.0, aim.weights))
        level = self.levels.coarse
        at_rest, start = rest[level.index], displacement[level.index]
        place = at_rest + start
        here = Look(place, vertex_normals(place, level.faces), look.nearest.part(level.index))
        for done in range(2):
            if done:
                here = Look.of(level, at_rest + start, aim.scan)
            targets = self._targets(here, step, np.ones(len(start)))
            start = self._solved(
                level, self._held_out, step, at_rest, without, start, targets, self.coarse_tolerance
            )
        carried = level.landmarks @ (at_rest + start)
        return float(np.linalg.norm(carried - aim.landmarks, axis=1)[held].mean())

    def _ears_seen(self, level: Level, look: Look, like: Likeness) -> Floats:
        """(n,) weight of the scan's say: 1, and less on an ear that the scan does not look like.

        Where hair covers an ear the scan has a surface too, of which few points suit the ear.
        """
        weight = np.ones(len(look.vertices))
        ear = np.flatnonzero(level.ears.any(axis=1))
        found = look.nearest.part(ear).targets(
            look.normals[ear], like.scale_mm, self.gates.min_cosine, self.gates.reach * like.scale_mm
        )
        for mask in level.ears[ear].T:
            area = level.areas[ear] * mask
            agree = float(area @ found.weights) / max(float(area.sum()), 1e-12)
            weight[ear] -= mask * (1 - np.clip((agree - like.hidden) / (like.seen - like.hidden), 0, 1))
        return weight

    def _around_folds(self, creases: Creases, look: Look) -> Bools:
        """(V,) True within `FOLD_RINGS` edges of a triangle that is flipped against its surroundings or crushed."""
        level = self.levels.fine
        folded, areas = _folded(look.vertices, look.normals, level.faces)
        # the template's own creases are no folds
        lost = (folded & ~creases.folded) | (areas < CRUSHED * creases.areas)
        bad = np.zeros(len(look.vertices))
        bad[level.faces[lost]] = 1.0
        for _ in range(FOLD_RINGS):
            bad = level.neighbours @ bad + bad
        return bad > 0

    def _targets(self, look: Look, step: Step, free: Floats) -> Targets:
        """A step's targets, in which the scan has the say (n,) `free`."""
        gates = self.gates
        reach = max(gates.reach * step.scale_mm, gates.min_reach_mm)
        found = look.nearest.targets(look.normals, step.scale_mm, gates.min_cosine, reach)
        return found._replace(weights=found.weights * free)

    def _solved(
        self,
        level: Level,
        preconditioner: Preconditioner,
        step: Step,
        rest: Floats,
        aim: Aim,
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
            Landmarks(level.landmarks, aim.landmarks, aim.weights),
            self.gates.slide,
        )
        return solve(problem, start, preconditioner, tolerance)[0]
