"""Recordings of a ball before a wall, whose every depth and colour is known."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.formats.image import encode, encode_deep
from mimicme.pipeline.rgbd.camera import Camera, Pose

Array = NDArray[np.float64]
PLAIN = Camera(160, 120, 150.0, 151.0, 80.0, 58.0)
BENT = replace(PLAIN, distortion=(0.1, -0.2, 0.002, -0.001, 0.05))
FINE = Camera(320, 240, 400.0, 400.0, 159.5, 119.5)
COLOR = Camera(240, 180, 200.0, 202.0, 118.0, 91.0, (0.9, -0.5, 0.02, -0.01, 0.0))
BESIDE = Pose(np.eye(3), np.array([-20.0, 3.0, 0.0]))
RADIUS_MM, WALL_MM = 85.0, 1000.0
CENTRE = np.array([10.0, -5.0, 480.0])


@dataclass(frozen=True)
class Ball:
    """A ball in the axes that all cameras have in common; its colour says where on it one is."""

    centre: Array
    radius: float = RADIUS_MM

    def hits(self, origin: Array, rays: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Ray parameters of the nearest hits, and where there is one."""
        to = origin - self.centre
        a, b = (rays**2).sum(axis=-1), 2 * (rays @ to)
        root = b**2 - 4 * a * (to @ to - self.radius**2)
        hit = root > 0
        return np.where(hit, (-b - np.sqrt(np.maximum(root, 0))) / (2 * a), np.inf), hit

    def color(self, points: Array) -> Array:
        """(..., 3) 0 to 255 by the direction from its centre."""
        return 128 + 100 * (points - self.centre) / self.radius


def depth_of(ball: Ball, camera: Camera, common: Pose | None = None, wall: float = WALL_MM) -> Array:
    """(height, width) mm; the wall stands at right angles to the camera's axis."""
    common = common or Pose.none()
    rays = camera.rays()
    s, hit = ball.hits(common.translation, rays @ common.rotation.T)
    return np.where(hit, s, wall)


def color_of(ball: Ball, camera: Camera, common: Pose | None = None) -> NDArray[np.uint8]:
    """The colour picture from a camera that stands at `common`."""
    common = common or Pose.none()
    rays = camera.rays() @ common.rotation.T
    s, hit = ball.hits(common.translation, rays)
    points = common.translation + np.where(hit, s, 1.0)[..., None] * rays
    return np.where(hit[..., None], ball.color(points), 20.0).round().astype(np.uint8)


def table(camera: Camera, distortion: bool = True) -> str:
    """The lines of a camera's inner parameters."""
    lines = [f"{n} = {getattr(camera, n)}" for n in ("width", "height", "fx", "fy", "cx", "cy")]
    if camera.distortion and distortion:
        lines.append(f"distortion = {list(camera.distortion)}")
    return "\n".join(lines)


def pose(value: Pose) -> str:
    """The lines of a pose."""
    return f"rotation = {value.rotation.ravel().tolist()}\ntranslation_mm = {value.translation.tolist()}"


def recipe(
    top: str = "",
    depth_camera: Camera = PLAIN,
    color_camera: Camera | None = COLOR,
    depth_files: str = "depth/{frame}.png",
    more_depth: str = "unit_mm = 0.1",
) -> str:
    """A whole description of one view."""
    text = f'{top}\n[depth]\nfiles = "{depth_files}"\n{more_depth}\n{table(depth_camera)}\n'
    if color_camera is not None:
        text += f'[color]\nfiles = "color/{{frame}}.png"\n{table(color_camera)}\n{pose(BESIDE)}\n'
    return text


def png(depth: Array, unit_mm: float = 0.1) -> bytes:
    """A 16-bit PNG."""
    return encode_deep(np.rint(depth / unit_mm).astype(np.uint16))


def npy(depth: NDArray[np.generic]) -> bytes:
    """A `.npy` file."""
    file = io.BytesIO()
    np.save(file, depth)
    return file.getvalue()


def write(folder: Path, text: str, files: dict[str, bytes]) -> Path:
    """A recording's folder; its description is returned."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "rgbd.toml").write_text(text, encoding="utf-8")
    return folder / "rgbd.toml"


def ball_recording(folder: Path, frames: int = 1, text: str | None = None) -> Path:
    """A ball that moves to the right by 4 mm a frame, in depth and colour."""
    files = {}
    for k in range(frames):
        ball = Ball(CENTRE + [4.0 * k, 0, 0])
        files[f"depth/{k:04d}.png"] = png(depth_of(ball, PLAIN))
        files[f"color/{k:04d}.png"] = encode(color_of(ball, COLOR, BESIDE.inverse), "png")
    return write(folder, text or recipe(), files)
