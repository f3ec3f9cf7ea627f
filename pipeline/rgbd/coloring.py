"""Which colour picture a triangle of a recorded surface shows, and where in it.

A triangle shows the picture that sees it most from the front.  It shows none where it is seen at a grazing angle, is
hidden from the camera by something before it, lies at a border or jump of the depth, or outside the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import lengths, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.rgbd.camera import Camera, Pose
from mimicme.pipeline.rgbd.surface import DepthSurface

STEEPEST_DEG = 75.0
LIFT_MM = 1.0
OFF_MM = 3.0
"""Distance from a view's own depth beyond which a place was not seen by it."""


@dataclass(frozen=True)
class Eye:
    """A colour camera before a surface.

    Attributes:
        camera: inner parameters.
        from_surface: the surface's axes -> the colour camera's.
        depth_from_surface: -> the depth camera's of the same view; seen: what that measured.
    """

    camera: Camera
    from_surface: Pose
    depth_from_surface: Pose
    seen: DepthSurface


@dataclass(frozen=True)
class Coloring:
    """Texture coordinates of a surface.

    Attributes:
        uv: (m, 2) in [0, 1], v up; the last row is NaN, of triangles that show no picture.
        uv_faces: (t, 3) into `uv`.
        shown: (t,) which camera's picture each triangle shows; -1: none.
    """

    uv: Floats
    uv_faces: Ints
    shown: Ints


def color_surface(vertices: Floats, faces: Ints, eyes: list[Eye]) -> Coloring:
    """Texture coordinates of a surface in the pictures of its cameras.

    Args:
        vertices: (n, 3) mm; faces: (t, 3) counter-clockwise from outside.
    """
    surface = Surface(vertices, faces)
    normals = vertex_normals(vertices, faces)
    # of the smooth surface: those of slivers would scatter the pictures
    outward = normals[faces].sum(axis=1)
    outward /= np.maximum(lengths(outward), 1e-9)[:, None]
    centres = vertices[faces].mean(axis=1)
    places = np.full((len(eyes), len(vertices), 2), np.nan)
    facing = np.zeros((len(eyes), len(faces)))
    for k, eye in enumerate(eyes):
        pixels = eye.camera.project(eye.from_surface(vertices))
        at = eye.from_surface.inverse.translation
        good = eye.camera.shows(pixels) & _measured(vertices, eye)
        index = np.flatnonzero(good)
        towards = at - vertices[index]
        towards /= np.maximum(lengths(towards), 1e-9)[:, None]
        lifted = vertices[index] + LIFT_MM * (0.5 * normals[index] + 0.5 * towards)
        far = lengths(at - lifted)
        good[index] = ~surface.occluded(lifted, at - lifted, 1.0 - 1e-3) & (far > 0)
        towards = at - centres
        cosine = (outward * towards).sum(axis=1) / np.maximum(lengths(towards), 1e-9)
        facing[k] = np.where(good[faces].all(axis=1) & (cosine > _least()), cosine, 0)
        # pixel (0, 0) is the middle of the first one; texture coordinates begin at its corner
        size = np.array([eye.camera.width, eye.camera.height])
        places[k] = (pixels + 0.5) / size
        places[k, :, 1] = 1 - places[k, :, 1]
    shown = np.where(facing.max(axis=0) > 0, facing.argmax(axis=0), -1).astype(np.int32)
    n = len(vertices)
    uv = np.concatenate([np.nan_to_num(places.reshape(-1, 2), nan=0.0), [[np.nan, np.nan]]])
    corners = np.where(shown[:, None] >= 0, faces + n * shown[:, None], len(uv) - 1)
    used, uv_faces = np.unique(np.append(corners.ravel(), len(uv) - 1), return_inverse=True)
    return Coloring(uv[used], uv_faces[:-1].reshape(-1, 3).astype(np.int32), shown)


def _least() -> float:
    return float(np.cos(np.radians(STEEPEST_DEG)))


def _measured(vertices: Floats, eye: Eye) -> Bools:
    """(n,) where the view's own depth camera measured the place, away from borders and jumps."""
    local = eye.depth_from_surface(vertices)
    pixels = eye.seen.camera.project(local)
    inside = eye.seen.camera.shows(pixels)
    column, row = np.rint(np.where(inside[:, None], pixels, 0)).astype(int).T
    depth = eye.seen.depth[row, column]
    with np.errstate(invalid="ignore"):
        near = np.abs(depth - local[:, 2]) <= OFF_MM + 3 * eye.seen.noise_mm
    return np.asarray(inside & near & eye.seen.trusted[row, column])
