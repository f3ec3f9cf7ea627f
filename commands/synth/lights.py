"""Photographs of a scene under lights that drift from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.synth.parts import EYE, LINING, SKIN, TEETH, TONGUE
from mimicme.commands.synth.views import Scene
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.drawing.render import Camera, Picture, sample_image, trace
from mimicme.pipeline.geometry.mesh import Mesh, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface

AMBIENT = 0.48
OCCLUSION_RAYS, OCCLUSION_MM = 10, 30.0
SHINE = {SKIN: 0.10, EYE: 0.75, TEETH: 0.35, TONGUE: 0.3}


@dataclass(frozen=True)
class Lights:
    """Two or three directional lights.

    Attributes:
        towards: (l, 3) unit vectors to the lights, in the scan's frame; strength: (l,).
        tint: (3,) colour balance; exposure: factor of everything.
    """

    towards: Floats
    strength: Floats
    tint: Floats
    exposure: float


def lights_of(frames: int, rng: np.random.Generator) -> list[Lights]:
    """The lights of each frame of a sequence: they wander, flicker and change colour slowly."""
    count = int(rng.integers(2, 4))
    places = np.array([[0.55, 0.5, 0.75], [-0.65, 0.3, 0.7], [0.05, 0.95, 0.35]])[:count]
    places = places + rng.normal(scale=0.12, size=places.shape)
    strength = np.array([0.38, 0.31, 0.22])[:count] * rng.uniform(0.8, 1.2, count)
    drift, phase = rng.normal(scale=0.14, size=(count, 3)), rng.uniform(0, 2 * np.pi, (count, 4))
    tint = 1 + rng.normal(scale=[0.02, 0.008, 0.03])
    turn = rng.normal(scale=[0.02, 0.004, 0.03])
    exposure, swing = rng.uniform(0.9, 1.06), rng.uniform(0.05, 0.12)
    out = []
    for k in range(frames):
        along = 2 * np.pi * 0.7 * k / max(frames, 6)
        at = places + drift * np.sin(along + phase[:, :3])
        at = at / np.linalg.norm(at, axis=1, keepdims=True)
        flicker = strength * (1 + 0.12 * np.sin(1.3 * along + phase[:, 3]))
        factor = exposure * (1 + swing * np.sin(along + phase[0, 0])) * (1 + rng.normal(scale=0.012))
        out.append(Lights(at, flicker, tint + turn * np.sin(along), float(factor)))
    return out


def openness(vertices: Floats, normals: Floats, surface: Surface, rng: np.random.Generator) -> Floats:
    """(n,) in [0, 1]: how much of the surroundings each vertex sees (ambient occlusion within `OCCLUSION_MM`)."""
    rays = rng.normal(size=(OCCLUSION_RAYS, 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    free = np.zeros(len(vertices))
    weight = np.zeros(len(vertices))
    for ray in rays:
        cosine = normals @ ray
        direction = np.where(cosine[:, None] < 0, -ray, ray)
        hidden = surface.occluded(vertices + 0.3 * normals, direction, OCCLUSION_MM)
        free += np.abs(cosine) * ~hidden
        weight += np.abs(cosine)
    return np.asarray(free / np.maximum(weight, 1e-9))


@dataclass(frozen=True)
class Look:
    """How a scene looks: colours (n, 3) at its vertices; skin has its albedo image and places in it (n, 2) instead.

    Attributes:
        cover: (n,) in [0, 1] by how much the vertex colour replaces the skin's albedo.
        open: (n,) ambient occlusion.
    """

    colors: Floats
    uv: Floats
    cover: Floats
    albedo: NDArray[np.float32]
    open: Floats


def photograph(
    scene: Scene,
    look: Look,
    cameras: list[Camera],
    lights: Lights,
    head_pose: Floats,
    rng: np.random.Generator,
) -> Picture:
    """Photographs (h, w, 3) uint8 side by side; cameras in the head's frame, lights in the scan's."""
    normals = vertex_normals(scene.vertices, scene.faces)
    mesh = Mesh(scene.vertices, scene.faces)
    towards = lights.towards @ head_pose[:3, :3]
    pictures = []
    for camera in cameras:
        seen = trace(mesh, camera, surface=scene.surface)
        hit = seen.hit
        triangles, weights = seen.triangles[hit], seen.weights[hit]
        corners, kind = scene.faces[triangles], scene.kinds[triangles]
        place = np.einsum("kc,kcx->kx", weights, scene.vertices[corners])
        normal = np.einsum("kc,kcx->kx", weights, normals[corners])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        view = camera.towards(place)
        facing = (normal * view).sum(axis=1)
        back = facing < 0
        normal = np.where(back[:, None], -normal, normal)
        color = np.einsum("kc,kcx->kx", weights, look.colors[corners])
        skin = (kind == SKIN) | (kind == LINING)
        uv = np.einsum("kc,kcx->kx", weights[skin], look.uv[corners[skin]])
        cover = (weights[skin] * look.cover[corners[skin]]).sum(axis=1)[:, None]
        color[skin] = sample_image(look.albedo, uv) * (1 - cover) + color[skin] * cover
        free = (weights * look.open[corners]).sum(axis=1)
        free = np.where((kind == TEETH) | (kind == TONGUE), np.maximum(free, 0.45), free)
        # through an open mouth one sees the back of the skin
        dark = (kind == LINING) | (skin & (facing < -0.25))
        color[dark] = np.array([96.0, 44.0, 42.0])
        free = np.where(dark, 0.35 * free, free)
        shade = AMBIENT * free**1.3
        gleam = np.zeros(len(free))
        shine = np.array([SHINE.get(k, 0.03) for k in range(9)])[kind]
        sharp = np.where((kind == EYE) | (kind == TEETH), 90.0, 14.0)
        for direction, strength in zip(towards, lights.strength, strict=True):
            lit = np.clip(normal @ direction, 0, 1)
            shade = shade + strength * lit * (0.35 + 0.65 * free)
            half = view + direction
            half /= np.linalg.norm(half, axis=1, keepdims=True)
            gleam += strength * shine * np.clip((normal * half).sum(axis=1), 0, 1) ** sharp * (lit > 0)
        picture = np.full((*camera.size, 3), 14.0)
        picture[hit] = (color * shade[:, None] + 255 * gleam[:, None]) * lights.tint * lights.exposure
        picture += rng.normal(scale=1.3, size=picture.shape)
        pictures.append(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
    return np.hstack(pictures)
