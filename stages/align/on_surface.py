"""A pose refined on the surface of the scan by ICP: step 3 of the stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.geometry.mesh import transform, triangle_normals, vertex_areas, vertex_normals
from mimicme.pipeline.geometry.rigid import angle_deg
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS
from mimicme.pipeline.template import Template
from mimicme.stages.align.by_landmarks import CUT, SPREAD_MM, STABLE

if TYPE_CHECKING:
    from mimicme.stages.align.settings import AlignSettings


# How many independent points the whole surface counts as, against the landmarks, which stop tangential drift.
# On 18 synthetic sequences the heads' motion was recovered equally well from 5 to 200.
_SURFACE_POINTS = 20.0


class UpperFace(NamedTuple):
    """Template points (k, 3) on the skull's part of the face with normals (k, 3) and weights (k,)."""

    points: Floats
    normals: Floats
    weights: Floats


def upper_face(template: Template, samples: int) -> UpperFace:
    """The template's vertices on forehead, temples, brows, nose and the rims of the eyes.

    Derived from its landmarks, in units of its own eye distance d: within 0.9 d of brows, eyes or nose,
    nearer to one of these than to mouth or jaw, above the nose's base, outside the eyes' openings.  At most
    `samples` of them, evenly by index; weighted by the area they stand for.
    """
    marks = template.landmarks()
    v = template.vertices
    d = np.linalg.norm(marks[GROUPS["right_eye"]].mean(0) - marks[GROUPS["left_eye"]].mean(0))
    distance = np.linalg.norm(v[:, None] - marks[None], axis=2) if len(v) < 2000 else _distances(v, marks)
    upper, lower = distance[:, 17:48].min(1), np.minimum(distance[:, :17].min(1), distance[:, 48:].min(1))
    keep = (upper < 0.9 * d) & (upper < lower) & (v[:, 1] > marks[31:36, 1].min())
    for group in ("left_eye", "right_eye"):
        eye = marks[GROUPS[group]]
        keep &= np.linalg.norm(v - eye.mean(0), axis=1) > 0.32 * d
    normals = vertex_normals(v, template.faces)
    keep &= normals[:, 2] > 0.1  # the ears and the inside of the nostrils face elsewhere
    index = np.flatnonzero(keep)
    area = vertex_areas(v, template.faces)
    step = max(1, len(index) // samples)
    index = index[::step]
    return UpperFace(v[index], normals[index], area[index] / max(area[index].mean(), 1e-300))


def _distances(v: Floats, marks: Floats) -> Floats:
    return np.sqrt(np.maximum((v**2).sum(1)[:, None] + (marks**2).sum(1) - 2 * v @ marks.T, 0))


class Refined(NamedTuple):
    """Pose after refinement; median distance of upper face to scan before and after, mm; whether kept."""

    pose: Floats
    before: float
    after: float
    kept: bool


def refine(
    pose: Floats,
    face: UpperFace,
    surface: Surface,
    template_marks: Floats,
    points: Floats,
    trusted: Bools,
    settings: AlignSettings,
) -> Refined:
    """Robust point-to-plane ICP of the upper face onto the scan, with the stable trusted landmarks kept as constraints.

    Args:
        pose: (4, 4) canonical -> scan to start from.
        surface: the scan, mm.
        template_marks, points: (68, 3) landmarks on the template and on the scan; trusted: (68,).
    """
    face_normals, _ = triangle_normals(surface.vertices, surface.faces)
    use = np.flatnonzero(trusted & np.isin(np.arange(N_LANDMARKS), STABLE))
    start = pose
    before = surface_residual(pose, face, surface)
    for round_ in range(settings.rounds):
        max_distance = max(20.0 * 0.8**round_, 6.0)  # mm
        p = transform(pose, face.points)
        n = face.normals @ pose[:3, :3].T
        hit = surface.closest(p)
        m = face_normals[hit.triangles]
        facing = np.maximum((n * m).sum(1), 0)
        off = ((p - hit.points) * m).sum(1)
        near = hit.distances < max_distance
        if np.count_nonzero(near) < 50:
            break
        scale = max(1.4826 * float(np.median(np.abs(off[near]))), 0.5)
        w = face.weights * (facing > 0.5) * facing * np.maximum(1 - (off / (4.685 * scale)) ** 2, 0) ** 2
        # a far target, or one to the side of the normal, lies on the boundary of a hole
        tangential = np.linalg.norm((p - hit.points) - off[:, None] * m, axis=1)
        w = w * near * (tangential < 1.0 + 0.1 * np.abs(off))
        if np.count_nonzero(w) < 50:
            break
        centre = p.mean(0)
        jacobian = np.concatenate([np.cross(p - centre, m), m], axis=1)
        # neighbouring surface points are not independent: all together count as much as SURFACE_POINTS would
        w = w * (_SURFACE_POINTS / w.sum()) / scale**2
        a = jacobian.T @ (w[:, None] * jacobian)
        b = -jacobian.T @ (w * off)
        q = transform(pose, template_marks[use])
        e = q - points[use]
        v = 1 / SPREAD_MM[use] ** 2
        cut = np.linalg.norm(e, axis=1) / (CUT * SPREAD_MM[use])
        v = v * np.maximum(1 - cut**2, 0) ** 2
        k = np.zeros((len(use), 3, 6))
        c = q - centre
        k[:, 0, 1], k[:, 0, 2] = c[:, 2], -c[:, 1]
        k[:, 1, 0], k[:, 1, 2] = -c[:, 2], c[:, 0]
        k[:, 2, 0], k[:, 2, 1] = c[:, 1], -c[:, 0]
        k[:, [0, 1, 2], [3, 4, 5]] = 1
        a += np.einsum("l,lij,lik->jk", v, k, k)
        b -= np.einsum("l,lij,li->j", v, k, e)
        step = np.linalg.solve(a + 1e-9 * np.eye(6) * np.trace(a), b)
        move = np.eye(4)
        move[:3, :3] = _rotation(step[:3])
        move[:3, 3] = centre + step[3:] - move[:3, :3] @ centre
        pose = move @ pose
        if np.abs(step[:3]).max() < 1e-5 and np.abs(step[3:]).max() < 1e-3:
            break
    after = surface_residual(pose, face, surface)
    turn, shift = _difference(start, pose, face.points.mean(0))
    kept = after < before and turn <= settings.max_turn_deg and shift <= settings.max_shift_mm
    return Refined(pose if kept else start, before, after if kept else before, bool(kept))


def surface_residual(pose: Floats, face: UpperFace, surface: Surface) -> float:
    """Median distance of the upper face to the scan, mm; 20 where the scan is further or absent."""
    return float(np.median(np.minimum(surface.distance(transform(pose, face.points)), 20.0)))


def _rotation(vector: Floats) -> Floats:
    """(3, 3) rotation by a vector: axis times angle in radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-15:
        return np.eye(3)
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k))


def _difference(a: Floats, b: Floats, at: Floats) -> tuple[float, float]:
    """Turn in degrees, and shift in mm of the point `at`, between two poses."""
    return angle_deg(a, b), float(np.linalg.norm(transform(a, at) - transform(b, at)))
