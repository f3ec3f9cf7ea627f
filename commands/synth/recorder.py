"""A simulated depth camera with a colour camera beside it, which writes recordings as phones and depth cameras do.

The noise of the depth is alike at neighbouring pixels and new in every frame; pixels at silhouettes are measured
between the head and the wall behind it; what is seen at a grazing angle, and the inside of the mouth, is not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from mimicme.commands.synth.parts import HAIR, LINING, SKIN
from mimicme.commands.synth.relief import value_noise
from mimicme.commands.synth.views import STEEPEST, Scene, View
from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.drawing import render
from mimicme.pipeline.formats.image import encode, encode_deep
from mimicme.pipeline.geometry.mesh import triangle_normals
from mimicme.pipeline.rgbd.camera import Camera, Pose
from mimicme.pipeline.rgbd.recipe import NAME

AWAY_MM = 450.0
UNIT_MM = 0.1
WALL_MM = 1100.0
NOISE_SIZE_MM = 10.0
WHITE_MM, HAIR_MM = 0.1, 0.8
FLYING = 0.5
JUMP_MM = 15.0
SEEN_MM = 1.0
JPEG_QUALITY = 92


@dataclass(frozen=True)
class Recorder:
    """A depth camera and its colour camera.

    Attributes:
        depth, color: inner parameters; color_from_depth: how one stands beside the other.
        noise_mm: standard deviation of the depth's correlated noise.
    """

    depth: Camera
    color: Camera
    color_from_depth: Pose
    noise_mm: float


@dataclass(frozen=True)
class Taken:
    """One moment as it is recorded.

    Attributes:
        depth: (h, w) uint16 in units of `UNIT_MM`; color: (h, w, 3) uint8.
        valid: (V,) where the depth picture has data of the skin.
    """

    depth: NDArray[np.uint16]
    color: NDArray[np.uint8]
    valid: Bools


def phone(noise_mm: float, share: float = 1.0) -> Recorder:
    """A camera as in a phone, at arm's length; `share` of its pictures' size."""
    width, height = round(640 * share), round(480 * share)
    depth = Camera(width, height, 560.0 * share, 560.0 * share, (width - 1) / 2 + 3, (height - 1) / 2 - 2)
    wide, high = 2 * width, 2 * height
    focal = 1100.0 * share
    bent = (0.08, -0.12, 0.0005, -0.0004, 0.02)
    color = Camera(wide, high, focal, focal * 1.01, (wide - 1) / 2 - 6, (high - 1) / 2 + 5, bent)
    turn = np.deg2rad(1.2)
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    return Recorder(depth, color, Pose(rotation, np.array([-18.0, 2.0, 1.0])), noise_mm)


def scan_from_head(view: View) -> Floats:
    """(4, 4) the head's frame -> what is made of the recording: mm, +y up, +z to the camera."""
    matrix = np.eye(4)
    matrix[:3, :3] = view.axes
    matrix[:3, 3] = -view.axes @ view.place
    return matrix


def measure_depth(
    scene: Scene, view: View, recorder: Recorder, face: Floats, rng: np.random.Generator
) -> tuple[NDArray[np.uint16], Bools]:
    """The depth picture of a scene, and which vertices of the true face (V, 3) it has data of."""
    camera = recorder.depth
    rays = camera.rays().reshape(-1, 3)
    to_head = view.axes * np.array([[1.0], [-1.0], [-1.0]])
    hits = scene.surface.cast(view.place, rays @ to_head)
    kinds = np.where(hits.hit, scene.kinds[hits.triangles], -1)
    normals, _ = triangle_normals(scene.vertices, scene.faces)
    away = rays @ to_head / np.linalg.norm(rays, axis=1, keepdims=True)
    facing = np.abs((normals[hits.triangles] * away).sum(axis=1))
    clean = np.where(hits.hit, hits.distances, WALL_MM)
    middle = float(np.median(clean[hits.hit]))
    common = value_noise(np.column_stack([rays[:, :2] * middle, np.zeros(len(rays))]), NOISE_SIZE_MM, rng)
    depth = clean + recorder.noise_mm * common + rng.normal(scale=WHITE_MM, size=len(clean))
    depth += np.where(kinds == HAIR, HAIR_MM, 0.0) * rng.normal(size=len(clean))
    lost = hits.hit & ((facing < STEEPEST) | (kinds == LINING))
    picture = _with_flying_pixels(depth.reshape(camera.height, camera.width), rng)
    picture[lost.reshape(picture.shape)] = 0
    units = np.clip(np.rint(picture / UNIT_MM), 0, 65535).astype(np.uint16)
    skin = (kinds == SKIN) & ~lost
    return units, _valid(face, view, camera, clean, skin)


def _with_flying_pixels(depth: Floats, rng: np.random.Generator) -> Floats:
    """Half of the pixels at a jump are measured somewhere between its two sides."""
    out = depth.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            other = np.roll(depth, step, axis=axis)
            at = (np.abs(other - depth) > JUMP_MM) & (rng.random(depth.shape) < FLYING / 2)
            mixed = depth + rng.random(depth.shape) * (other - depth)
            out[at] = mixed[at]
    return out


def _valid(face: Floats, view: View, camera: Camera, clean: Floats, skin: Bools) -> Bools:
    local = (face - view.place) @ (view.axes * np.array([[1.0], [-1.0], [-1.0]])).T
    pixels = camera.project(local)
    inside = camera.shows(pixels)
    column, row = np.rint(np.where(inside[:, None], pixels, 0)).astype(int).T
    place = row * camera.width + column
    near = np.abs(clean[place] - local[:, 2]) < SEEN_MM
    return np.asarray(inside & near & skin[place])


def color_view(view: View, recorder: Recorder) -> render.Camera:
    """A colour camera without distortion that sees a little more than the recorder's."""
    color = recorder.color
    to_head = (view.axes * np.array([[1.0], [-1.0], [-1.0]])).T
    back = recorder.color_from_depth.inverse
    eye = view.place + to_head @ back.translation
    turn = to_head @ back.rotation
    axes = np.stack([turn[:, 0], -turn[:, 1], -turn[:, 2]])
    size = (round(1.2 * color.height), round(1.2 * color.width))
    return render.Camera(eye - AWAY_MM * axes[2], axes, color.fx / AWAY_MM, size, AWAY_MM)


def through_lens(picture: NDArray[np.uint8], color: Camera) -> NDArray[np.uint8]:
    """A picture of `color_view` as the recorder's colour camera takes it, with its distortion."""
    x, y = np.meshgrid(np.arange(color.width, dtype=np.float64), np.arange(color.height, dtype=np.float64))
    plane = np.nan_to_num(color.unbent(np.stack([x.ravel(), y.ravel()], axis=1)))
    middle = (np.array(picture.shape[:2]) - 1) / 2
    at = middle[:, None] + color.fx * plane.T[::-1]
    bent = [map_coordinates(picture[..., k], at, order=1, mode="nearest") for k in range(3)]
    return np.stack(bent, axis=-1).reshape(color.height, color.width, 3)


def write_taken(folder: Path, k: int, taken: Taken) -> None:
    """Write the pictures of one moment."""
    for name, data in (
        (f"depth/{k:04d}.png", encode_deep(taken.depth)),
        (f"color/{k:04d}.jpg", encode(taken.color, "jpeg", JPEG_QUALITY)),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write_recipe(folder: Path, recorder: Recorder) -> None:
    """Write `rgbd.toml` of a sequence."""

    def inner(camera: Camera) -> str:
        lines = [
            f"{name} = {getattr(camera, name)!r}" for name in ("width", "height", "fx", "fy", "cx", "cy")
        ]
        if camera.distortion:
            lines.append(f"distortion = {list(camera.distortion)}")
        return "\n".join(lines)

    pose = recorder.color_from_depth
    text = f"""# a simulated depth camera
[depth]
files = "depth/{{frame}}.png"
unit_mm = {UNIT_MM}
{inner(recorder.depth)}

[color]
files = "color/{{frame}}.jpg"
{inner(recorder.color)}
rotation = {pose.rotation.ravel().tolist()}
translation_mm = {pose.translation.tolist()}
"""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(text, encoding="utf-8")
