"""What goes wrong with captures, done on purpose and from a seed: each function takes a case and returns it spoiled.

The answer stays with the case: turned where the head is turned, and `valid` only where the spoiled scan still has
data.  Landmarks on what was cut away are absent in half the cases (nobody saw them) and given in the other half
(somebody guessed).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from cases import Answer, Case

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import Mesh, inverse, keep_triangles, transform, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface, open3d

Damage = Callable[[Case, np.random.Generator], Case]

NOISE_MM = 5.0
WRONG_SHARE, WRONG_MM = 0.10, 30.0
TURN_DEG = 40.0
COARSE_VERTICES = 3_000
LOST_MM = 1.5
"""A true vertex has lost its data when the surface is farther away than before by this."""


def noisy_landmarks(case: Case, rng: np.random.Generator) -> Case:
    """5 mm of noise (rms length) on every landmark, and one in ten 30 mm away in any direction."""
    points = case.landmarks + rng.normal(scale=NOISE_MM / np.sqrt(3), size=case.landmarks.shape)
    wrong = rng.permutation(len(points))[: round(WRONG_SHARE * len(points))]
    direction = rng.normal(size=(len(wrong), 3))
    points[wrong] += WRONG_MM * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return replace(case, landmarks=points)


def half_missing(case: Case, rng: np.random.Generator) -> Case:
    """Half of the scan's vertices gone, beyond a plane of any direction in the face."""
    answer = _answer(case)
    angle = rng.uniform(0, 2 * np.pi)
    normal = answer.head[:3, :3] @ np.array([np.cos(angle), np.sin(angle), 0.0])
    along = case.vertices @ normal
    return _cut(case, along <= np.median(along), rng)


def hair_and_collar(case: Case, rng: np.random.Generator) -> Case:
    """A rough shell of hair over scalp, temples, ears and part of the forehead, and a collar round the neck.

    Both are connected surfaces that cameras would see; skin beneath them is not seen.
    """
    answer = _answer(case)
    model = inverse(answer.head)
    skin = transform(model, case.vertices)
    marks = transform(model, answer.landmarks)
    hair_v, hair_f, centre, radius, covered = _hair(marks, Surface(skin, case.faces), rng)
    collar_v, collar_f, top = _collar(marks, rng)
    away = skin - centre
    r = np.linalg.norm(away, axis=1)
    under = covered(away / r[:, None]) & (r < radius(away / r[:, None]))
    keep = ~under & ~((skin[:, 1] < top) & (np.abs(skin[:, 0]) < 95))
    bare = _cut(case, keep, rng)
    n = len(bare.vertices)
    extra = transform(answer.head, np.vstack([hair_v, collar_v]))
    extra = extra + rng.normal(scale=0.3, size=extra.shape)
    faces = np.vstack([bare.faces, hair_f + n, collar_f + n + len(hair_v)]).astype(np.int32)
    return replace(bare, vertices=np.vstack([bare.vertices, extra]), faces=faces)


def turned_head(case: Case, rng: np.random.Generator) -> Case:
    """The head turned by 40 degrees to one side before cameras in front: the far side is not seen."""
    answer = _answer(case)
    angle = np.radians(TURN_DEG) * rng.choice([-1.0, 1.0])
    up = answer.head[:3, 1]
    turn = np.eye(4)
    turn[:3, :3] = _rotation(up * angle)
    centre = case.vertices.mean(axis=0)
    turn[:3, 3] = centre - turn[:3, :3] @ centre
    moved = replace(
        case,
        vertices=transform(turn, case.vertices),
        landmarks=transform(turn, case.landmarks),
        judged=transform(turn, case.judged),
        answer=replace(
            answer,
            vertices=transform(turn, answer.vertices),
            head=turn @ answer.head,
            landmarks=transform(turn, answer.landmarks),
        ),
    )
    # the cameras stand where the face looked before it turned
    front = answer.head[:3, :3]
    surface = Surface(moved.vertices, moved.faces)
    normals = vertex_normals(moved.vertices, moved.faces)
    seen = np.zeros(len(moved.vertices), bool)
    for yaw in np.radians([-25.0, 0.0, 25.0]):
        eye = centre + 1000 * front @ np.array([np.sin(yaw), 0.0, np.cos(yaw)])
        ray = eye - moved.vertices
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        facing = (normals * ray).sum(1) > 0.25
        seen |= facing & ~surface.occluded(moved.vertices + 0.8 * ray + 0.4 * normals, ray)
    return _cut(moved, seen, rng)


def coarse_scan(case: Case, rng: np.random.Generator) -> Case:
    """The scan decimated to 3,000 vertices."""
    o3d = open3d()
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(case.vertices), o3d.utility.Vector3iVector(case.faces)
    )
    target = round(len(case.faces) * COARSE_VERTICES / len(case.vertices))
    mesh = mesh.simplify_quadric_decimation(target)
    mesh.remove_unreferenced_vertices()
    return replace(case, vertices=np.asarray(mesh.vertices), faces=np.asarray(mesh.triangles, np.int32))


DAMAGES: dict[str, Damage] = {
    "landmarks": noisy_landmarks,
    "half": half_missing,
    "hair": hair_and_collar,
    "turned": turned_head,
    "coarse": coarse_scan,
}


def _answer(case: Case) -> Answer:
    if case.answer is None:
        raise ValueError(f"{case.name} has no known answer")
    return case.answer


def _rotation(vector: Floats) -> Floats:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(vector).as_matrix())


def _cut(case: Case, keep: Bools, rng: np.random.Generator) -> Case:
    """Only the vertices `keep` (n,) and what they span; truth and, by the toss of a coin, landmarks follow."""
    answer = _answer(case)
    mesh, _ = keep_triangles(Mesh(case.vertices, case.faces), np.asarray(keep[case.faces].all(axis=1)))
    before, after = Surface(case.vertices, case.faces), Surface(mesh.vertices, mesh.faces)
    lost = after.distance(answer.vertices) > before.distance(answer.vertices) + LOST_MM
    points = case.landmarks.copy()
    if rng.random() < 0.5:
        known = np.isfinite(points).all(axis=1)
        gone = np.zeros(len(points), bool)
        gone[known] = after.distance(points[known]) > before.distance(points[known]) + LOST_MM
        points[gone] = np.nan
    return replace(
        case,
        vertices=mesh.vertices,
        faces=mesh.faces,
        landmarks=points,
        answer=replace(answer, valid=answer.valid & ~lost),
    )


def _sphere(spacing_deg: float) -> tuple[Floats, Ints]:
    """Unit directions (k, 3) of an icosphere about as fine as asked, and its triangles."""
    o3d = open3d()
    sphere = o3d.geometry.TriangleMesh.create_icosahedron(1.0)
    while (
        63.4 / 2 ** np.log2(len(sphere.triangles) / 20) ** 0.5 > spacing_deg
        and len(sphere.triangles) < 80_000
    ):
        sphere = sphere.subdivide_loop(1)
    way = np.asarray(sphere.vertices)
    return way / np.linalg.norm(way, axis=1, keepdims=True), np.asarray(sphere.triangles, np.int32)


def _waves(rng: np.random.Generator, count: int, longest: float) -> Callable[[Floats], Floats]:
    """A rough function of (k, 3) places, rms 1: a sum of plane waves no longer than `longest`."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    direction *= 2 * np.pi / (longest * rng.uniform(0.2, 1.0, size=(count, 1)))
    phase = rng.uniform(0, 2 * np.pi, count)
    return lambda places: np.asarray(np.cos(places @ direction.T + phase).sum(1) * np.sqrt(2 / count))


def _hair(
    marks: Floats, skin: Surface, rng: np.random.Generator
) -> tuple[Floats, Ints, Floats, Callable[[Floats], Floats], Callable[[Floats], Bools]]:
    """Hair in the head's model: vertices, triangles, the head's centre, radius and extent by direction."""
    ears = (marks[0] + marks[16]) / 2
    wide = np.linalg.norm(marks[0] - marks[16]) / 2
    brow = marks[17:27].mean(axis=0)
    centre = ears + np.array([0.0, 10.0, -5.0])
    axes = np.array([wide + 4.0, 1.45 * wide, np.linalg.norm((brow - centre)[2]) + 8.0])
    rough, line = _waves(rng, 24, 40.0), _waves(rng, 8, 60.0)
    thick = rng.uniform(6.0, 14.0)
    fringe = rng.uniform(10.0, 40.0)  # how far above the brows the hair begins in front

    def radius(way: Floats) -> Floats:
        ellipsoid = 1 / np.linalg.norm(way / axes, axis=1)
        hit = skin.cast(np.broadcast_to(centre, way.shape), way)
        known = hit.hit & (hit.distances < 1.3 * ellipsoid) & (hit.distances > 0.7 * ellipsoid)
        base = np.where(known, np.maximum(hit.distances, ellipsoid), ellipsoid)
        return np.asarray(base + thick + 0.3 * thick * rough(way * base[:, None]))

    def covered(way: Floats) -> Bools:
        side = np.degrees(np.arctan2(np.abs(way[:, 0]), way[:, 2]))  # 0 in front, 90 at the ear
        place = way * (1 / np.linalg.norm(way / axes, axis=1))[:, None]
        front = brow[1] - centre[1] + fringe
        # past the temples the hair comes down over the ears
        down = np.clip((side - 60) / 30, 0, 1)
        edge = front * (1 - down) + (marks[3, 1] - centre[1]) * down + 6 * line(place)
        return np.asarray(place[:, 1] > edge)

    way, faces = _sphere(2.0)
    keep = covered(way)
    shell, _ = keep_triangles(
        Mesh(centre + way * radius(way)[:, None], faces), np.asarray(keep[faces].all(axis=1))
    )
    return shell.vertices, shell.faces, centre, radius, covered


def _collar(marks: Floats, rng: np.random.Generator) -> tuple[Floats, Ints, float]:
    """A collar in the head's model: vertices, triangles and its upper edge, mm."""
    chin, ears = marks[8], (marks[0] + marks[16]) / 2
    top = float(chin[1] - rng.uniform(2.0, 25.0))
    rough = _waves(rng, 12, 50.0)
    angle = np.radians(np.linspace(-130, 130, 131))
    height = np.linspace(0.0, 60.0, 31)
    a, h = (x.ravel() for x in np.meshgrid(angle, height, indexing="ij"))
    r = 62 + 0.5 * h
    middle = np.array([0.0, top, ears[2] + 0.25 * (chin[2] - ears[2])])
    points = middle + np.stack([r * np.sin(a), -h, r * np.cos(a)], axis=1)
    points += (3 * rough(points))[:, None] * np.stack([np.sin(a), 0 * a, np.cos(a)], axis=1)
    i, j = (x.ravel() for x in np.meshgrid(np.arange(130), np.arange(30), indexing="ij"))
    p = i * 31 + j
    faces = np.vstack([np.stack([p, p + 1, p + 32], 1), np.stack([p, p + 32, p + 31], 1)]).astype(np.int32)
    return points, faces, top
