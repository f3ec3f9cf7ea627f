"""Where the ears are: each moved as a whole, before the surface gives way point by point.

People's ears differ by more than a centimetre in place and by a third in size, and no landmark lies on them: those of
the jaw end beside them, and are often not there.  The closest points of an ear that is far off are another part of the
ear, or the head behind it; too few agree, and what the scan shows is then taken for hair.  So each ear of the shape is
registered on its own (point to plane, Chen and Medioni 1991, with size, robust and annealed) from several starts.  What
agrees with the scan clearly better than the ear where it was, and leaves it an ear, moves the rest shape, and fades out
around the ear; and so does what then brings its relief onto the scan (ear_relief.py).  Headphones, as smooth as skin,
mostly make of it what no ear is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.mesh import transform, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.stages.register.ear_relief import relieved
from mimicme.stages.register.levels import Level, Levels
from mimicme.stages.register.targets import ScanTarget

EAR = 0.5
"""From this value of its mask on a vertex is an ear's."""
LEAST_FACING, OFF_MM = 0.1, 0.2
"""An ear is placed by what a camera half-way between front and side sees of it: no scanner sees behind it.  Least
cosine to the line of sight, and how far off the surface it is looked from."""
LEAST_VERTICES = 30
"""An ear with fewer on the coarse level has no relief to be found by."""
FADE_MM, FADE_MOTIONS = 20.0, 2.5
"""Width over which the motion of an ear fades out on the head around it, at least and in the largest motion of the ear.
Narrower than 1.5 such motions it would fold the head in front of an ear that comes nearer; what is left of that width
is for an ear that grows, whose motion is larger beside it than on it."""
STARTS_MM = 8.0
STARTS = STARTS_MM * np.array([[0.0, up, forth] for up in (-1, 0, 1) for forth in (-1, 0, 1)])
"""Shifts (9, 3) that an ear is looked for from: so far apart, up and down, and forth and back."""
ANNEALED_MM = (5.0, 4.0, 3.0, 2.5, 2.0, 2.0, 1.5, 1.5)
"""Residual scales of the steps of a registration."""
REACH_MM, LEAST_COSINE = 12.0, 0.6
"""Correspondences that are farther, or whose normals have a smaller cosine, are rejected."""
AGREES_MM, AGREES_COSINE = 1.0, 0.8
"""Residual scale and least cosine of the agreement that placings are compared by: closest points on hair are near
enough, but face anywhere."""
STRETCHED_MM = (2.5, 2.0, 1.5, 1.5)
"""The same, of the steps in which it is stretched too: ears grow longer, and little wider, with age."""
SIMILARITY = np.r_[np.full(3, 0.12), 0.07, np.full(3, 10.0)] ** -2.0
STRETCH = np.r_[np.full(9, 0.06), np.full(3, 10.0)] ** -2.0
"""1 / variance of how an ear may be turned (radians), sized (natural logarithm), shifted (mm); and stretched (1): as
people's ears vary, see `MOST_SIZE`.  Twice as wide, two of twenty ears of `mimicme synth` that had been made other
people's - sized, stretched, turned, shifted and dented so much - were not found, or refused for what they had become.
"""
LEAST_PULL = 1e-3
"""An ear of which a smaller share has correspondences, by area and weight, is not moved further."""
INDEPENDENT = 60.0
"""An ear counts as so many independent observations: neighbouring residuals are alike."""
NOISE_MM = 1.0
"""Standard deviation of each: ears differ in more than place, turn and size."""
LEAST_SKIN = 0.5
"""An ear of which a smaller share, by area, is skin is not looked for."""
LEAST_GAIN, LEAST_AGREEMENT, LEAST_FACING_ALIKE = 0.02, 0.36, 0.95
"""A placing is taken that agrees better by the first, by the second at least, and loses no more than to the third of it
by the normals.  The relief, too, is looked for on an ear that agrees by so much.  On six people of `mimicme synth`, as
they are and as cameras at 30, 40 and 50 degrees see them, ears that were placed right agree by 0.54 and more, and keep
0.98; on hair put over them, in 36 trials, they agreed by less than 0.3 or kept at most 0.91, and of 24 more trials one
agreed by more than 0.3 and kept enough.  People whose ears are not the template's, moved, agree by less, and random
cups, rings and domes over the template's ears by up to 0.31: three of 40 were taken for ears at 0.3, none of 140 at
0.36."""
MOST_SIZE, MOST_STRETCH, MOST_MOVE_MM = 1.2, 1.25, 30.0
"""A placing is no ear's that makes it larger or smaller by more than the first, or longer against its width, or any
other way, by more than the second, or that is farther, in the mean, than the third.  On a head that has been sized,
the size of ears varies by some 6 % (one standard deviation) and the ratio of their length to their width by 7 %: the
first two are three of these; age adds some 6 % to the ratio.  Of 300 ears of the template, with random cups, rings and
domes over them, 26 were placed without these bounds and with wider priors (`SIMILARITY`), nearly all made smaller by
1.2 to 1.5, and with the bounds one.  Right placings on eight people of `mimicme synth` had 1.14 and 1.1 at most.
Nearer than the third, distance tells nothing: ears differ in place, and a head without the jaw's points is not quite
where its ears would have it, so that of these people ears that were placed right were moved up to 25 mm, and one 11 mm
farther than its other one; most of what was taken for an ear was nearer than 15 mm."""


@dataclass(frozen=True)
class _Ear:
    """One ear: (k,) what cameras see of it, vertices of the coarse level, (k,) their areas, mm^2, and (V,) how far each
    vertex of the template is from the ear, mm, 0 on it."""

    index: NDArray[np.int64]
    areas: Floats
    away: Floats

    def carries(self, vertices: Floats, motion: Floats) -> Floats:
        """How far (V, 3) a shape (V, 3) moves with the ear, which an affine map (4, 4) takes with it as a whole."""
        moved = transform(motion, vertices) - vertices
        largest = float(np.linalg.norm(moved[self.away == 0], axis=1).max())
        return np.asarray(_fading(self.away, max(FADE_MM, FADE_MOTIONS * largest))[:, None] * moved)


@dataclass(frozen=True)
class _Placing:
    """Where an ear lies: the (4, 4) affine map that takes it there, None where it stays, and how likely, to compare."""

    motion: Floats | None = None
    likely: float = -np.inf


@dataclass(frozen=True)
class Ears:
    """The ears of a template, on its coarse level."""

    level: Level
    ears: tuple[_Ear, ...]

    @classmethod
    def of(cls, vertices: Floats, levels: Levels) -> Ears:
        """Those of a template (V, 3), mm."""
        from scipy.spatial import cKDTree

        place = vertices[levels.coarse.index]
        normals = vertex_normals(place, levels.coarse.faces)
        surface = Surface(vertices, levels.fine.faces)
        found = []
        for side, coarse, fine in zip((-1, 1), levels.coarse.ears.T, levels.fine.ears.T, strict=True):
            camera = np.array([side, 0.0, 1.0]) / np.sqrt(2)
            index = np.flatnonzero((coarse > EAR) & (normals @ camera > LEAST_FACING))
            if len(index):
                index = index[~surface.occluded(place[index] + OFF_MM * normals[index], camera)]
            if len(index) < LEAST_VERTICES:
                continue
            away = cKDTree(vertices[fine > EAR]).query(vertices)[0]
            found.append(_Ear(index, levels.coarse.areas[index], away))
        return cls(levels.coarse, tuple(found))

    def placed(self, vertices: Floats, scan: ScanTarget, skin: Floats) -> Floats | None:
        """How far (V, 3) a shape (V, 3) has to move for its ears to lie where a scan shows them; None where they do.

        Args:
            skin: (V,) factor of the correspondences' weights, see `skin.weights_of`.
        """
        here = vertices[self.level.index]
        normals = vertex_normals(here, self.level.faces)

        def looked_for(ear: _Ear, starts: Floats, so_far: _Placing) -> _Placing:
            own = ear.index
            return self._placing(
                ear, here[own], normals[own], scan, skin[self.level.index][own], starts, so_far
            )

        found = [looked_for(ear, STARTS, _Placing()) for ear in self.ears]
        if len(found) == 2:
            # A person's ears are alike: where one is, seen in a mirror, is worth a look for the other.
            shifts = [_shift(here[e.index], p.motion) for e, p in zip(self.ears, found, strict=True)]
            found = [
                own if shift is None else looked_for(ear, (shift * [-1, 1, 1])[None], own)
                for ear, own, shift in zip(self.ears, found, shifts[::-1], strict=True)
            ]
        moved = None
        for ear, placing in zip(self.ears, found, strict=True):
            field = self._moved(ear, vertices, normals, scan, skin, placing.motion)
            if field is not None:
                moved = field if moved is None else moved + field
        return moved

    def _moved(
        self,
        ear: _Ear,
        vertices: Floats,
        normals: Floats,
        scan: ScanTarget,
        skin: Floats,
        motion: Floats | None,
    ) -> Floats | None:
        """How far (V, 3) a shape (V, 3), with normals (n, 3) of the coarse level, moves with an ear: with its placing,
        an affine map (4, 4) or none, and then with what brings its relief onto the scan, if that makes it agree."""
        own = self.level.index[ear.index]
        areas = ear.areas * skin[own]
        if areas.sum() < LEAST_SKIN * ear.areas.sum():
            return None
        areas = areas / ear.areas.sum()
        field, turned = np.zeros_like(vertices), normals[ear.index]
        if motion is not None:
            field, turned = ear.carries(vertices, motion), _turned(turned, motion[:3, :3])
        placed = vertices + field
        points = placed[own]
        here = self._agreement(points, turned, areas, scan, np.eye(4), AGREES_COSINE)
        relief = relieved(points, turned, areas, scan) if here >= LEAST_AGREEMENT else None
        if relief is not None:
            found = points + relief.at(points)
            there = self._agreement(found, relief.turned(), areas, scan, np.eye(4), AGREES_COSINE)
            if there >= here + LEAST_GAIN:
                near = np.flatnonzero(ear.away < FADE_MM)
                share = _fading(ear.away[near], FADE_MM)
                field[near] += share[:, None] * relief.at(placed[near])
                return field
        return None if motion is None else field

    def _placing(
        self,
        ear: _Ear,
        points: Floats,
        normals: Floats,
        scan: ScanTarget,
        skin: Floats,
        starts: Floats,
        so_far: _Placing,
    ) -> _Placing:
        """Where the scan shows an ear's points (k, 3) better than here and than the placing so far, looked for from
        shifts (n, 3) of it."""
        areas = ear.areas * skin
        if areas.sum() < LEAST_SKIN * ear.areas.sum():
            return so_far
        areas = areas / ear.areas.sum()
        here = self._agreement(points, normals, areas, scan, np.eye(4), AGREES_COSINE)
        best, motion = max(so_far.likely, here + LEAST_GAIN), so_far.motion
        for start in starts:
            found, unusual = self._registered(points, normals, areas, scan, start)
            agreement = self._agreement(points, normals, areas, scan, found, AGREES_COSINE)
            likely = agreement - unusual / (2 * INDEPENDENT)
            if agreement < LEAST_AGREEMENT or likely < best:
                continue
            distance = np.linalg.norm(transform(found, points) - points, axis=1).mean()
            if distance > MOST_MOVE_MM or not _human(found):
                continue
            whole = self._agreement(points, normals, areas, scan, found, LEAST_COSINE)
            if agreement >= LEAST_FACING_ALIKE * whole:
                best, motion = likely, found
        return _Placing(motion, best)

    def _agreement(
        self,
        points: Floats,
        normals: Floats,
        areas: Floats,
        scan: ScanTarget,
        motion: Floats,
        least_cosine: float,
    ) -> float:
        """Mean robust weight, 0 to 1, of an ear's correspondences where an affine map (4, 4) takes it."""
        turned = _turned(normals, motion[:3, :3])
        found = scan.targets(transform(motion, points), turned, AGREES_MM, least_cosine, REACH_MM)
        return float(areas @ found.weights)

    def _registered(
        self, points: Floats, normals: Floats, areas: Floats, scan: ScanTarget, start: Floats
    ) -> tuple[Floats, float]:
        """(4, 4) the map nearest to a shift (3,) that brings points (k, 3) onto the scan: a similarity, then an affine
        one; and how unusual it is, the sum of squares of turn, size, shift and stretch in what is usual of them.

        It is looked for about the ear's middle.
        """
        from scipy.spatial.transform import Rotation

        middle = points.mean(axis=0)
        rest = points - middle
        turn, size, shift = Rotation.identity(), 0.0, start.copy()
        for scale in ANNEALED_MM:
            matrix = np.exp(size) * turn.as_matrix()
            spread = rest @ matrix.T
            found = self._pulled(middle + shift + spread, normals, matrix, areas, scan, scale)
            if found is None:
                break
            planes, weights, missing = found
            rows = np.column_stack([np.cross(spread, planes), (spread * planes).sum(axis=1), planes])
            step = _step(rows, weights, missing, SIMILARITY, np.r_[turn.as_rotvec(), size, shift])
            turn = Rotation.from_rotvec(step[:3]) * turn
            size, shift = size + step[3], shift + step[4:]
        matrix, stretch = np.exp(size) * turn.as_matrix(), np.zeros((3, 3))
        for scale in STRETCHED_MM:
            stretched = matrix @ (np.eye(3) + stretch)
            found = self._pulled(middle + shift + rest @ stretched.T, normals, stretched, areas, scan, scale)
            if found is None:
                break
            planes, weights, missing = found
            local = planes @ matrix
            rows = np.column_stack([(local[:, :, None] * rest[:, None, :]).reshape(len(rest), 9), planes])
            step = _step(rows, weights, missing, STRETCH, np.r_[stretch.ravel(), shift])
            stretch, shift = stretch + step[:9].reshape(3, 3), shift + step[9:]
        motion = np.eye(4)
        motion[:3, :3] = matrix @ (np.eye(3) + stretch)
        motion[:3, 3] = middle + shift - motion[:3, :3] @ middle
        unusual = SIMILARITY @ np.r_[turn.as_rotvec(), size, shift] ** 2 + STRETCH[:9] @ stretch.ravel() ** 2
        return motion, float(unusual)

    def _pulled(
        self, now: Floats, normals: Floats, matrix: Floats, areas: Floats, scan: ScanTarget, scale_mm: float
    ) -> tuple[Floats, Floats, Floats] | None:
        """Where points (k, 3) are pulled, whose normals (k, 3) a matrix (3, 3) has turned: planes' normals (k, 3),
        weights (k,), distances (k,); None where nothing pulls them."""
        found = scan.targets(now, _turned(normals, matrix), scale_mm, LEAST_COSINE, REACH_MM)
        weights = areas * found.weights
        if weights.sum() < LEAST_PULL:
            return None
        missing = ((found.points - now) * found.normals).sum(axis=1)
        return found.normals, weights * (INDEPENDENT / NOISE_MM**2), missing


def _step(rows: Floats, weights: Floats, missing: Floats, usual: Floats, so_far: Floats) -> Floats:
    """(p,) the Gauss-Newton step of parameters that are `so_far`, of 1 / variance `usual` about 0; rows (k, p)."""
    normal = rows.T @ (rows * weights[:, None]) + np.diag(usual)
    return np.asarray(np.linalg.solve(normal, rows.T @ (weights * missing) - usual * so_far))


def _fading(away: Floats, width_mm: float) -> Floats:
    """(n,) from 1 on an ear to 0 so far away from it, of places that are (n,) mm away."""
    t = np.clip(1 - away / width_mm, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _shift(points: Floats, motion: Floats | None) -> Floats | None:
    """(3,) mean motion of points (k, 3) that an affine map (4, 4) takes with it, if any."""
    return None if motion is None else np.asarray((transform(motion, points) - points).mean(axis=0))


def _human(motion: Floats) -> bool:
    """Whether an affine map (4, 4) makes of an ear one of a size and a shape that people have."""
    sizes = np.linalg.svd(motion[:3, :3], compute_uv=False)
    size = float(np.abs(np.log(sizes).mean()))
    return bool(size <= np.log(MOST_SIZE) and sizes[0] <= MOST_STRETCH * sizes[-1])


def _turned(normals: Floats, matrix: Floats) -> Floats:
    """(k, 3) unit normals of a surface with normals (k, 3) that a matrix (3, 3) has mapped."""
    turned = normals @ np.linalg.inv(matrix)
    return np.asarray(turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12))
