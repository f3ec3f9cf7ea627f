"""Fitting a morphable model to what it has not seen: landmarks, or a scan of any triangulation.

Both look for pose, identity and expression that make the data likely (maximum a posteriori): coefficients are normal
with the model's variances (Blanz and Vetter 1999), distances robust: Huber's weights by iteratively reweighted least
squares.  A scan is fitted by iterative closest points, point to plane, without pairs that are too far apart or whose
normals differ too much.
Lengths mm; the pose brings the model's frame to the data's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.geometry.mesh import Mesh, boundary_vertices, transform, vertex_normals
from mimicme.pipeline.geometry.rigid import fit_rigid
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.model_file import FaceModel
from mimicme.pipeline.numerics.subsample import even_subsample

INDEPENDENT_PAIRS = 1500
LEAST_PAIRS = 50


@dataclass(frozen=True)
class FitSettings:
    """Attributes:
    noise_mm: standard deviation of the data about the model, against which the prior is weighed.
    landmark_noise_mm: of landmarks, which people and detectors place with less care.
    reach_mm: pairs further apart than this are no pairs, at the end of a fit to a scan (five times it at first).
    angle_deg: normals of a pair differ by less.
    rounds: of poses, pairs and coefficients.
    points: vertices of the model that are paired with the scan, a subset for speed.
    expression: fit it too; False for a face at rest.
    components: most components of each model.
    """

    noise_mm: float = 1.0
    landmark_noise_mm: float = 2.0
    reach_mm: float = 8.0
    angle_deg: float = 60.0
    rounds: int = 30
    points: int = 6000
    expression: bool = True
    components: int = 100


@dataclass(frozen=True)
class Fit:
    """Attributes:
    vertices: (V, 3) float64, mm, in the data's frame.
    identity: (Ki,), expression: (Ke,) coefficients of the models, as `LinearModel.encode` gives them.
    pose: (4, 4) rigid, model -> data.
    residual_mm: median distance of the data that was used.
    """

    vertices: Floats
    identity: Floats
    expression: Floats
    pose: Floats
    residual_mm: float


class _Basis:
    """Identity and expression side by side, some points of them."""

    def __init__(self, model: FaceModel, settings: FitSettings) -> None:
        person = model.model("identity").truncated(settings.components)
        parts, variances = [person.components], [person.variances]
        self.mean = person.mean.astype(np.float64)
        self.n_identity = person.rank
        self.at_rest = np.zeros(0)
        if settings.expression and "expression" in model.models:
            moved = model.models["expression"].truncated(settings.components)
            parts.append(moved.components)
            # the difference of a face at rest is zero, not the mean difference: the prior is about zero
            self.at_rest = moved.encode(np.zeros((1, *self.mean.shape)))[0]
            variances.append(self.at_rest**2 + moved.variances)
        self.components = np.concatenate(parts).astype(np.float64)
        self.variances = np.maximum(np.concatenate(variances), 1e-9)

    def points(self, corners: NDArray[np.int64], weights: Floats) -> tuple[Floats, Floats]:
        """Mean (k, 3) and components (K, k, 3) of places given by corners (k, 3) and weights (k, 3)."""
        mean = np.einsum("kc,kcx->kx", weights, self.mean[corners])
        return mean, np.einsum("kc,akcx->akx", weights, self.components[:, corners])

    def shape(self, coefficients: Floats) -> Floats:
        return self.mean + np.tensordot(coefficients, self.components, 1)


def fit_landmarks(model: FaceModel, points: ArrayLike, settings: FitSettings | None = None) -> Fit:
    """The face whose landmarks lie nearest to the given ones.

    Args:
        points: (L, 3) in the order of the template's landmarks, mm; NaN where unknown.

    Raises:
        UsageError: another number of points, or fewer than six that are known.
    """
    chosen = settings or FitSettings()
    template = model.template
    target = np.asarray(points, np.float64)
    if target.shape != (len(template.landmark_names), 3):
        raise UsageError(
            "the landmarks do not fit the template",
            seen=target.shape,
            expected=(len(template.landmark_names), 3),
        )
    known = np.isfinite(target).all(axis=1)
    if known.sum() < 6:
        raise UsageError("a fit needs at least six landmarks", seen=int(known.sum()))
    target = target[known]
    basis = _Basis(model, chosen)
    mean, components = basis.points(template.landmark_vertices[known], template.landmark_weights[known])
    coefficients = np.zeros(len(components))
    robust = np.ones(len(target))
    pose = np.eye(4)
    for _ in range(chosen.rounds):
        now = mean + np.tensordot(coefficients, components, 1)
        pose = fit_rigid(now, target, robust)
        local = (target - pose[:3, 3]) @ pose[:3, :3]  # in the model's frame
        weights = robust / chosen.landmark_noise_mm**2
        coefficients = _solve(components, local - mean, np.repeat(weights, 3), basis.variances)
        distance = np.linalg.norm(mean + np.tensordot(coefficients, components, 1) - local, axis=1)
        robust = _huber(distance, chosen.landmark_noise_mm)
    vertices = transform(pose, basis.shape(coefficients))
    return _result(basis, coefficients, pose, vertices, float(np.median(distance)))


def fit_scan(
    model: FaceModel, scan: Mesh, landmarks: ArrayLike | None = None, settings: FitSettings | None = None
) -> Fit:
    """The face that lies nearest to a scan.

    Args:
        scan: mm, in any pose.
        landmarks: (L, 3) of the scan, NaN where unknown; None: the scan lies in the model's frame already.

    Raises:
        UsageError: the scan is too far from where the landmarks put the face.
    """
    chosen = settings or FitSettings()
    basis = _Basis(model, chosen)
    target: Floats | None = None if landmarks is None else np.asarray(landmarks, np.float64)
    coefficients, pose = np.zeros(len(basis.components)), np.eye(4)
    if target is not None:
        first = fit_landmarks(model, target, chosen)
        coefficients = np.concatenate([first.identity, first.expression - basis.at_rest])
        pose = first.pose
    pairs = _Correspondences(model, scan, chosen)
    marks = _LandmarkTerm(model, basis, target)
    some, mean = basis.components[:, pairs.picked], basis.mean[pairs.picked]
    distance = np.zeros(0)
    for number in range(chosen.rounds):
        reach = chosen.reach_mm * (5 - 4 * min(1.0, number / (0.6 * chosen.rounds)))
        here, there, normals, good = pairs.find(transform(pose, basis.shape(coefficients)), reach)
        distance = np.abs(((there - here) * normals).sum(axis=1))
        robust = _huber(distance, chosen.noise_mm)
        pose = _point_to_plane_step(pose, here, there, normals, robust, marks, coefficients, chosen)
        turn = pose[:3, :3]
        direction = normals @ turn  # the planes' normals in the model's frame
        goal = (((there - pose[:3, 3]) @ turn - mean[good]) * direction).sum(axis=1)
        rows = np.einsum("akx,kx->ak", some[:, good], direction)
        # neighbours say the same: all pairs together weigh no more than as many as are a few millimetres apart
        weights = robust / chosen.noise_mm**2 * min(1.0, INDEPENDENT_PAIRS / len(here))
        more = marks.equations(pose, chosen)
        coefficients = _solve_rows(
            np.concatenate([rows, more[0]], axis=1),
            np.concatenate([goal, more[1]]),
            np.concatenate([weights, more[2]]),
            basis.variances,
        )
    vertices = transform(pose, basis.shape(coefficients))
    return _result(basis, coefficients, pose, vertices, float(np.median(distance)))


class _Correspondences:
    """Finds, for some vertices of the model, the closest points of a scan (ICP correspondences).

    Attributes:
        picked: the vertices that are used.
    """

    def __init__(self, model: FaceModel, scan: Mesh, settings: FitSettings) -> None:
        self.scan, self.model_faces = scan, model.template.faces
        self.surface = Surface(scan.vertices, scan.faces)
        self.normals = vertex_normals(scan.vertices, scan.faces)
        self.border = boundary_vertices(scan.faces, len(scan.vertices))
        self.least_cosine = float(np.cos(np.radians(settings.angle_deg)))
        inside = np.flatnonzero(model.model("identity").weights > 0)
        self.picked = inside[even_subsample(len(inside), settings.points)]

    def find(self, placed: Floats, reach_mm: float) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
        """Places of the model, of the scan, the scan's normals (k, 3), and which of `picked` they belong to.

        Args:
            placed: (V, 3) the model's vertices in the scan's frame.

        Raises:
            UsageError: there are next to none.
        """
        own = vertex_normals(placed, self.model_faces)[self.picked]
        here = placed[self.picked]
        near = self.surface.closest(here)
        corners = self.scan.faces[near.triangles]
        other = np.einsum("kc,kcx->kx", near.weights, self.normals[corners])
        other /= np.maximum(np.linalg.norm(other, axis=1, keepdims=True), 1e-12)
        good = (near.distances < reach_mm) & ((own * other).sum(axis=1) > self.least_cosine)
        # a place on the scan's border is near everything beyond it
        good &= ~self.border[corners].any(axis=1)
        if good.sum() < LEAST_PAIRS:
            raise UsageError(
                "the scan does not lie where the face is",
                seen=f"{int(good.sum())} pairs",
                todo="Give its landmarks.",
            )
        return here[good], near.points[good], other[good], good


class _LandmarkTerm:
    """The landmarks' equations in the coefficients; empty without landmarks."""

    def __init__(self, model: FaceModel, basis: _Basis, target: Floats | None) -> None:
        known = np.zeros(0, np.int64)
        if target is not None:
            known = np.flatnonzero(np.isfinite(target).all(axis=1))
            # the jaw's landmarks slide on the silhouette: they say nothing about a place on the skin
            known = known[known >= 17] if len(target) == 68 else known
        t = model.template
        self.target = np.zeros((0, 3)) if target is None else target[known]
        self.mean, self.components = basis.points(t.landmark_vertices[known], t.landmark_weights[known])

    def places(self, coefficients: Floats) -> Floats:
        return self.mean + np.tensordot(coefficients, self.components, 1)

    def equations(self, pose: Floats, settings: FitSettings) -> tuple[Floats, Floats, Floats]:
        """Rows (K, 3l), goals (3l,) and weights (3l,)."""
        goal = (self.target - pose[:3, 3]) @ pose[:3, :3] - self.mean
        weights = np.full(goal.size, 1 / settings.landmark_noise_mm**2)
        return self.components.reshape(len(self.components), -1), goal.ravel(), weights


def _point_to_plane_step(
    pose: Floats,
    placed: Floats,
    points: Floats,
    normals: Floats,
    robust: Floats,
    marks: _LandmarkTerm,
    coefficients: Floats,
    settings: FitSettings,
) -> Floats:
    """The pose after one step of point-to-plane alignment (Chen and Medioni 1991), landmarks included."""
    centre = placed.mean(axis=0)
    arm = placed - centre
    rows = np.concatenate([np.cross(arm, normals), normals], axis=1)
    goal = ((points - placed) * normals).sum(axis=1)
    w = robust / settings.noise_mm**2 / len(placed)
    left, right = (rows * w[:, None]).T @ rows, (rows * w[:, None]).T @ goal
    if len(marks.target):
        at = transform(pose, marks.places(coefficients))
        for axis in range(3):
            e = np.zeros((len(at), 3))
            e[:, axis] = 1
            r = np.concatenate([np.cross(at - centre, e), e], axis=1)
            share = 0.1 / settings.landmark_noise_mm**2 / len(at)
            left += share * r.T @ r
            right += share * r.T @ (marks.target - at)[:, axis]
    step = np.linalg.solve(left + 1e-9 * np.eye(6) * np.trace(left), right)
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec(step[:3]).as_matrix()
    motion = np.eye(4)
    motion[:3, :3] = turn
    motion[:3, 3] = centre + step[3:] - turn @ centre
    return motion @ pose


def _solve(components: Floats, goal: Floats, weights: Floats, variances: Floats) -> Floats:
    """Coefficients (K,) that bring components (K, k, 3) to the goal (k, 3), with a normal prior."""
    return _solve_rows(components.reshape(len(components), -1), goal.ravel(), weights, variances)


def _solve_rows(rows: Floats, goal: Floats, weights: Floats, variances: Floats) -> Floats:
    weighted = rows * weights
    return np.asarray(np.linalg.solve(weighted @ rows.T + np.diag(1 / variances), weighted @ goal))


def _huber(distance: Floats, scale: float) -> Floats:
    """Weights 1 up to 1.345 times the scale, falling beyond (Huber 1964)."""
    return np.asarray(1.345 * scale / np.maximum(distance, 1.345 * scale))


def _result(basis: _Basis, coefficients: Floats, pose: Floats, vertices: Floats, residual: Any) -> Fit:
    n = basis.n_identity
    return Fit(vertices, coefficients[:n], coefficients[n:] + basis.at_rest, pose, float(residual))
