"""A simulated scanner: a new triangulation every frame, holes, noise, spikes, specks, two photographs as texture.

Everything happens in the head's own frame (mm, +y up, +z out of the face); the caller applies the head pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.synth.people import Rig, distance_to, visible
from mimicme.commands.synth.skin import MOUTH, Skin
from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.drawing.render import Camera, Picture, look_at, sample_image, trace
from mimicme.pipeline.geometry.mesh import Mesh, components, keep_triangles, triangle_normals, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface, open3d

NOISE_MM = 0.15  # rms length of a vertex' error
SPIKES = 0.001  # share of the vertices
SPIKE_MM = (3.0, 8.0)
VALID_MM = 0.5  # a template vertex further from the scan has no data
HAIR_ABOVE_MM = 70.0  # above the bridge of the nose
CAMERA_YAW_DEG = (-28.0, 28.0)
CAMERA_DISTANCE_MM = 1000.0


@dataclass(frozen=True)
class Scan:
    """One frame as the scanner delivers it, and its ground truth.

    Attributes:
        mesh: vertices with noise, triangles, texture coordinates into the two photographs.
        photographs: (h, 2 w, 3) uint8.
        region: (n,) True for skin inside the template's region, no spike.
        valid: (V,) True for template vertices where the scan has data.
    """

    mesh: Mesh
    photographs: Picture
    region: Bools
    valid: Bools


def make_scan(
    rig: Rig,
    face: Floats,
    skin: Skin,
    remesh: Remesh,
    rng: np.random.Generator,
    target_triangles: int = 80_000,
    photo_px: tuple[int, int] = (704, 512),
) -> Scan:
    """Scan a face (V, 3) whose true shape is known."""
    faces = rig.template.faces
    truth = Surface(face, faces)
    # from the bridge of the nose, which no expression moves
    hair_top, waves = face[rig.landmarks[27], 1] + HAIR_ABOVE_MM * rig.scale, skin.waves
    photographs, cameras = photograph(rig, face, skin, truth, hair_top, rng, photo_px)

    target = round(target_triangles * rng.uniform(0.94, 1.06))
    vertices, triangles, lined = retriangulate(rig, face, remesh, target, rng)
    lining = lined > 0.05
    normals = vertex_normals(vertices, triangles)
    haired = hairline(vertices, hair_top, waves) > 0

    seen = visible(vertices, triangles, 0.25)
    # a mouth's lining is deep, dark and wet: what lies far behind the lips is lost
    seen &= ~lining | (distance_to(face[~rig.inside & rig.core], vertices) < 6.0)
    collar = face[:, 1].min() + rng.uniform(4, 9) + 3 * np.sin(vertices[:, 0] / 15 + waves[2])
    seen &= vertices[:, 1] > collar
    core = np.flatnonzero(rig.core)
    for radius in (rng.uniform(2.5, 6.0), rng.uniform(2.0, 4.5)):
        hole = face[rng.choice(core)]
        seen &= np.linalg.norm(vertices - hole, axis=1) > radius * rig.scale
    # hair: a rough coat that stands off the skin
    coat = np.clip(hairline(vertices, hair_top, waves) / 6.0, 0, 1) * rng.uniform(1.2, 4.5, len(vertices))
    vertices = vertices + (coat * haired)[:, None] * normals

    mesh, new_index = keep_triangles(Mesh(vertices, triangles), np.asarray(seen[triangles].all(axis=1)))
    old = np.flatnonzero(new_index >= 0)
    _, piece = components(mesh.faces, len(mesh.vertices))
    large = np.bincount(piece, minlength=1)[piece] > 60
    mesh, again = keep_triangles(mesh, np.asarray(large[mesh.faces].all(axis=1)))
    old = old[again >= 0]

    clean, normals = mesh.vertices, normals[old]
    skin_only = ~lining[old] & ~haired[old]
    valid = _valid(clean, mesh.faces, skin_only, face)
    clean, triangles, is_speck = with_specks(clean, mesh.faces, normals, rng)
    normals = np.concatenate([normals, np.zeros((len(clean) - len(normals), 3))])
    noisy = clean + rng.normal(scale=NOISE_MM / np.sqrt(3), size=clean.shape)
    spike = (rng.random(len(clean)) < SPIKES) & ~is_speck
    height = rng.uniform(*SPIKE_MM, len(clean)) * rng.choice([-1.0, 1.0], len(clean))
    noisy[spike] += (height[:, None] * normals)[spike]
    region = np.zeros(len(clean), bool)
    region[: len(skin_only)] = skin_only
    region &= ~spike & (distance_to(face[rig.rim], clean) > 2.0 * rig.scale)
    uv, uv_faces = best_camera_uv(clean, triangles, cameras, truth)
    return Scan(Mesh(noisy, triangles, uv, uv_faces), photographs, region, valid)


def hairline(points: Floats, top_mm: float, waves: Floats) -> Floats:
    """(k,) mm above the (wavy) hair line; negative on the skin."""
    x, y = points[:, 0], points[:, 1]
    return np.asarray(y - top_mm - 5 * np.sin(x / 11 + waves[0]) - 4 * np.cos(x / 25 + waves[1]))


@dataclass(frozen=True)
class Remesh:
    """A triangulation of the template's surface that shares nothing with the template's own.

    Attributes:
        pose: the template with its mouth open, where lips that touch are not taken for each other.
        vertices: (b, 3) near the surface of `pose`.
        faces: (t, 3) int32.
    """

    pose: Surface
    vertices: Floats
    faces: Ints


def make_remesh(rig: Rig, target: int, rng: np.random.Generator) -> Remesh:
    """About `target` triangles over the template: edges split at random, jittered, simplified by quadric decimation."""
    o3d = open3d()
    pose = rig.express(rig.template.vertices, "surprise", 0.9)
    v, faces = pose, rig.template.faces
    while True:
        v, faces = split_edges(v, faces, rng, 0.22)
        if len(faces) > 1.4 * target:
            break
    # jittered, or the quadrics would take out just the points that were put in and give the old triangles back
    v = v + rng.uniform(-0.25, 0.25, v.shape) * _spacing(v, faces)
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(np.ascontiguousarray(v)),
        o3d.utility.Vector3iVector(np.ascontiguousarray(faces, np.int32)),
    )
    simple = mesh.simplify_quadric_decimation(int(target), boundary_weight=4.0)
    surface = Surface(pose, rig.template.faces)
    return Remesh(surface, np.asarray(simple.vertices).copy(), np.asarray(simple.triangles).astype(np.int32))


def retriangulate(
    rig: Rig, face: Floats, remesh: Remesh, target: int, rng: np.random.Generator
) -> tuple[Floats, Ints, Floats]:
    """A new triangulation for one frame: the remesh, its edges split at random and all vertices jittered.

    Returns vertices (n, 3) exactly on the true surface, about `target` triangles, and how far each vertex
    lies in the mouth's lining (n,), in [0, 1].
    """
    v, faces = remesh.vertices, remesh.faces
    while len(faces) < 0.97 * target:
        # a split edge adds two triangles, and there are three edges for every two triangles
        v, faces = split_edges(v, faces, rng, min(0.6, (target / len(faces) - 1) / 3))
    v = v + rng.uniform(-0.14, 0.14, v.shape) * _spacing(v, faces)
    found = remesh.pose.closest(v)
    corners = rig.template.faces[found.triangles]
    vertices = np.einsum("kc,kcx->kx", found.weights, face[corners])
    lining = (rig.inside[corners] * found.weights).sum(axis=1)
    _, area = triangle_normals(vertices, faces)
    mesh, new_index = keep_triangles(Mesh(vertices, faces), area > 1e-3)
    lining = lining[new_index >= 0]
    # shuffled, because a scanner's order says nothing about the template's
    order = rng.permutation(len(mesh.vertices))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    shuffled = place[mesh.faces].astype(np.int32)
    return mesh.vertices[order], shuffled[rng.permutation(len(shuffled))], lining[order]


def head_rotation(degrees: Floats) -> Floats:
    """(3, 3) of a head turned about x, then y, then z."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_euler("xyz", degrees, degrees=True).as_matrix())


def _spacing(v: Floats, faces: Ints) -> float:
    corner = v[faces]
    return float(np.linalg.norm(corner[:, 1] - corner[:, 0], axis=1).mean())


def split_edges(v: Floats, faces: Ints, rng: np.random.Generator, share: float) -> tuple[Floats, Ints]:
    """Split that share of the edges at a random place, long ones rather than short ones.

    Triangles are cut in two, three or four accordingly.
    """
    sides = np.stack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]], axis=1)
    ends = np.sort(sides, axis=2).astype(np.int64)
    key, index = np.unique((ends[..., 0] * len(v) + ends[..., 1]).ravel(), return_inverse=True)
    pairs = np.stack([key // len(v), key % len(v)], axis=1)
    length = np.linalg.norm(v[pairs[:, 0]] - v[pairs[:, 1]], axis=1) * rng.uniform(0.7, 1.3, len(pairs))
    chosen = length > np.quantile(length, 1 - share)
    t = rng.uniform(0.38, 0.62, len(pairs))[:, None]
    new = (v[pairs[:, 0]] * (1 - t) + v[pairs[:, 1]] * t)[chosen]
    new_index = np.where(chosen, len(v) + np.cumsum(chosen) - 1, -1)
    middle = new_index[index.reshape(-1, 3)]  # (t, 3): on edges 01, 12, 20
    count = (middle >= 0).sum(axis=1)
    out = [faces[count == 0]]
    # one split: turn the triangle until its first edge is the split one
    f, m = _rotated(faces[count == 1], middle[count == 1], middle[count == 1] >= 0)
    out += [np.stack([f[:, 0], m[:, 0], f[:, 2]], 1), np.stack([m[:, 0], f[:, 1], f[:, 2]], 1)]
    # two: turn it until its last edge is the whole one
    whole_next = middle[count == 2] < 0
    f, m = _rotated(faces[count == 2], middle[count == 2], np.roll(whole_next, -2, axis=1))
    out += [
        np.stack([m[:, 0], f[:, 1], m[:, 1]], 1),
        np.stack([f[:, 0], m[:, 0], m[:, 1]], 1),
        np.stack([f[:, 0], m[:, 1], f[:, 2]], 1),
    ]
    f, m = faces[count == 3], middle[count == 3]
    out += [
        np.stack([f[:, 0], m[:, 0], m[:, 2]], 1),
        np.stack([m[:, 0], f[:, 1], m[:, 1]], 1),
        np.stack([m[:, 2], m[:, 1], f[:, 2]], 1),
        m,
    ]
    return np.concatenate([v, new]), np.concatenate(out).astype(np.int32)


def _rotated(
    faces: Ints, middle: NDArray[np.int64], first: Bools
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Triangles and the points on their edges, rotated so that the edge marked in `first` (t, 3) leads."""
    by = (first.argmax(axis=1)[:, None] + np.arange(3)) % 3
    return np.take_along_axis(faces.astype(np.int64), by, 1), np.take_along_axis(middle, by, 1)


def _valid(clean: Floats, triangles: Ints, skin: Bools, face: Floats) -> Bools:
    kept = triangles[skin[triangles].all(axis=1)]
    if not len(kept):
        return np.zeros(len(face), bool)
    return np.asarray(Surface(clean, kept).distance(face) < VALID_MM)


def with_specks(
    v: Floats, triangles: Ints, normals: Floats, rng: np.random.Generator, count: int = 4
) -> tuple[Floats, Ints, Bools]:
    """Adds small pieces that float before the face, as stereo matching invents them."""
    angle = np.linspace(0, 2 * np.pi, 9)[:-1]
    points, fans = [v], [triangles]
    n = len(v)
    for _ in range(count):
        i = int(rng.integers(len(v)))
        centre = v[i] + normals[i] * rng.uniform(6, 20)
        ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1) * rng.uniform(0.6, 1.6, (8, 1))
        points.append(np.concatenate([[centre], centre + ring + rng.normal(scale=0.2, size=(8, 3))]))
        around = n + 1 + np.arange(8)
        fans.append(np.stack([np.full(8, n), around, np.roll(around, -1)], axis=1).astype(np.int32))
        n += 9
    speck = np.zeros(n, bool)
    speck[len(v) :] = True
    return np.concatenate(points), np.concatenate(fans).astype(np.int32), speck


def cameras_for(points: Floats, size: tuple[int, int], scale: float) -> list[Camera]:
    """The two cameras that photograph a face with these landmarks (68, 3)."""
    centre = points[27:36].mean(axis=0) * [0.0, 1.0, 0.0] + [0.0, -8.0, points[36:48, 2].mean() - 40.0]
    return [
        look_at(
            points, yaw, 0.0, size, target=centre, pixels_per_mm=size[1] / (235.0 * scale),
            distance_mm=CAMERA_DISTANCE_MM,
        )
        for yaw in CAMERA_YAW_DEG
    ]  # fmt: skip


def photograph(
    rig: Rig,
    face: Floats,
    skin: Skin,
    surface: Surface,
    hair_top: float,
    rng: np.random.Generator,
    size: tuple[int, int],
) -> tuple[Picture, list[Camera]]:
    """Two lit photographs side by side, (h, 2 w, 3) uint8, and their cameras."""
    faces = rig.template.faces
    mesh = Mesh(face, faces)
    normals = vertex_normals(face, faces)
    cameras = cameras_for(face[rig.landmarks], size, rig.scale)
    light = np.array([[0.4, 0.5, 0.8], [-0.6, 0.3, 0.7]])
    light /= np.linalg.norm(light, axis=1, keepdims=True)
    pictures = []
    for camera in cameras:
        seen = trace(mesh, camera, surface=surface)
        hit = seen.hit
        corners, weights = faces[seen.triangles[hit]], seen.weights[hit]
        uv = np.einsum("kc,kcx->kx", weights, skin.uv[corners])
        color = sample_image(skin.albedo, uv)
        place = np.einsum("kc,kcx->kx", weights, face[corners])
        above = np.clip(hairline(place, hair_top, skin.waves) / 4.0, 0, 1)[:, None]
        strand = 0.75 + 0.5 * rng.random((len(place), 1))
        color = color * (1 - above) + skin.hair * strand * above
        lining = (rig.inside[corners] * weights).sum(axis=1) > 0.05
        normal = np.einsum("kc,kcx->kx", weights, normals[corners])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        # seen through the open mouth: the back of the skin
        lining |= (normal * camera.towards(place)).sum(axis=1) < 0
        color[lining] = MOUTH
        shade = 0.50 + 0.32 * np.clip(normal @ light.T, 0, 1).sum(axis=1)
        shade = np.where(lining, 0.5 * shade, shade)
        picture = np.full((*size, 3), 14.0)
        picture[hit] = color * shade[:, None]
        picture += rng.normal(scale=1.2, size=picture.shape)
        pictures.append(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
    return np.hstack(pictures), cameras


def best_camera_uv(
    v: Floats, triangles: Ints, cameras: list[Camera], occluder: Surface
) -> tuple[Floats, Ints]:
    """Texture coordinates (m, 2), their triangles (t, 3): each triangle in the photograph that sees it."""
    normals, _ = triangle_normals(v, triangles)
    centres = v[triangles].mean(axis=1)
    scores, places = [], []
    for i, camera in enumerate(cameras):
        height, width = camera.size
        px = np.clip(camera.project(v), 0.5, [width - 0.5, height - 0.5])
        places.append(
            np.stack([(i * width + px[:, 0]) / (len(cameras) * width), 1 - px[:, 1] / height], axis=1)
        )
        view = camera.towards(centres)
        hidden = occluder.occluded(centres + 0.5 * normals + 0.5 * view, view)
        scores.append((normals * view).sum(axis=1) * np.where(hidden, 0.1, 1.0))
    best = np.argmax(scores, axis=0)
    key = best[:, None].astype(np.int64) * len(v) + triangles
    used, index = np.unique(key, return_inverse=True)
    return np.concatenate(places)[used], index.reshape(triangles.shape).astype(np.int32)
