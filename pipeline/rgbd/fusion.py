"""Several depth pictures of one moment become one surface: a truncated signed distance function (Curless and Levoy
1996) of Open3D.

Meshes laid over each other would show every place as often as it was seen, a noise apart, and the correspondences of a
registration would take whichever is nearest; the distance function averages them, and what only one camera saw stays.
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.spatial import open3d
from mimicme.pipeline.rgbd.camera import Camera, Pose
from mimicme.pipeline.rgbd.surface import REASON, DepthSurface

BLOCK = 16
MOST_BLOCKS = 12_000
"""Of 16 x 16 x 16 voxels, 32 kB each: 0.4 GB."""
SMALLEST_VOXEL_MM = 0.7
TRUNCATION_VOXELS = 5.0
FINER = 4
"""Open3D takes the depth of the nearest pixel: between pixels the surface would be terraced, so that pictures are made
finer before."""
MOST_RAYS = 300_000
STEEPEST = 5.0
"""Depth over its pixels' distance, from which on there is a jump between pixels: a surface seen at 79 degrees."""


def fuse(surfaces: list[DepthSurface], to_common: list[Pose], name: str) -> tuple[Floats, Ints]:
    """One surface of several views.

    Args:
        surfaces: of each view, in its camera's axes.
        to_common: from these axes to those of the result.
        name: of the frame, for errors.

    Returns:
        Vertices (n, 3) mm and triangles (t, 3), counter-clockwise from outside; the same input gives the same order.

    Raises:
        FrameRejected: `depth-empty` - the views have nothing in common with a surface.
    """
    o3d = open3d()
    voxel = max(SMALLEST_VOXEL_MM, float(np.median([s.pitch_mm for s in surfaces])))
    pictures = [_finer(surface) for surface in surfaces]
    poses = [pose.inverse for pose in to_common]
    while True:
        grid = o3d.t.geometry.VoxelBlockGrid(
            ("tsdf", "weight"),
            (o3d.core.float32, o3d.core.float32),
            ((1,), (1,)),
            voxel,
            BLOCK,
            1000,
            o3d.core.Device("CPU:0"),
        )
        views = [
            _View(o3d, picture, camera, pose) for (picture, camera), pose in zip(pictures, poses, strict=True)
        ]
        blocks = [view.blocks(grid) for view in views]
        if sum(len(found) for found in blocks) <= MOST_BLOCKS:
            break
        voxel *= 1.5
    for view, found in zip(views, blocks, strict=True):
        view.integrate(grid, found)
    mesh = grid.extract_triangle_mesh(0.5)
    if not len(mesh.vertex) or not len(mesh.triangle):
        raise FrameRejected(REASON, "the views of this moment make no surface", where=name)
    vertices = mesh.vertex.positions.numpy().astype(np.float64)
    faces = mesh.triangle.indices.numpy().astype(np.int32)
    return _in_order(vertices, faces)


class _View:
    """A depth picture without distortion, as Open3D takes it."""

    def __init__(self, o3d, picture: Floats, camera: Camera, pose: Pose) -> None:  # type: ignore[no-untyped-def]
        self.image = o3d.t.geometry.Image(
            o3d.core.Tensor(np.ascontiguousarray(np.nan_to_num(picture), np.float32))
        )
        self.inner = o3d.core.Tensor(
            np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1.0]])
        )
        outer = np.eye(4)
        outer[:3, :3], outer[:3, 3] = pose.rotation, pose.translation
        self.outer = o3d.core.Tensor(outer)
        self.far = float(np.nanmax(picture)) + 1.0

    def blocks(self, grid):  # type: ignore[no-untyped-def]
        """Where there is something to measure."""
        return grid.compute_unique_block_coordinates(
            self.image, self.inner, self.outer, 1.0, self.far, TRUNCATION_VOXELS
        )

    def integrate(self, grid, blocks) -> None:  # type: ignore[no-untyped-def]
        """Take this view in."""
        grid.integrate(blocks, self.image, self.inner, self.outer, 1.0, self.far, TRUNCATION_VOXELS)


def _finer(surface: DepthSurface) -> tuple[Floats, Camera]:
    """The depth picture as a camera without distortion and with `FINER` times as many pixels would have taken it, and
    that camera: linear between pixels, the nearest one's at jumps and borders; NaN outside."""
    own = surface.camera
    middle = (FINER - 1) / 2
    plain = Camera(
        FINER * own.width,
        FINER * own.height,
        FINER * own.fx,
        FINER * own.fy,
        FINER * own.cx + middle,
        FINER * own.cy + middle,
    )
    rays = plain.rays().reshape(-1, 3)
    found = np.concatenate(
        [_sampled(surface, rays[k : k + MOST_RAYS]) for k in range(0, len(rays), MOST_RAYS)]
    )
    return found.reshape(plain.height, plain.width), plain


def _sampled(surface: DepthSurface, rays: Floats) -> Floats:
    """(n,) depths along rays (n, 3) of a camera that stands where the picture's own does."""
    own = surface.camera
    pixels = own.project(rays)
    inside = own.shows(pixels)
    pixels = np.where(inside[:, None], pixels, 0.0)
    nearest = np.rint(pixels).astype(int)
    found = np.where(inside, surface.depth[nearest[:, 1], nearest[:, 0]], np.nan)
    corner = np.minimum(pixels.astype(int), [own.width - 2, own.height - 2])
    x, y = corner.T
    across, down = (pixels - corner).T
    around = np.stack([surface.depth[y + j, x + i] for j in (0, 1) for i in (0, 1)])
    shares = np.stack([v * u for v in (1 - down, down) for u in (1 - across, across)])
    pitch = around.mean(axis=0) / min(own.fx, own.fy)
    smooth = inside & (np.ptp(around, axis=0) <= STEEPEST * pitch)  # False where one is NaN
    found[smooth] = (shares * around).sum(axis=0)[smooth]
    return found


def _in_order(vertices: Floats, faces: Ints) -> tuple[Floats, Ints]:
    """The same surface whatever order a hash table had its blocks in."""
    order = np.lexsort(vertices.T)
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    found = place[faces]
    # each triangle begins with its least vertex, which keeps its winding
    first = found.argmin(axis=1)
    turned = found[np.arange(len(found))[:, None], (first[:, None] + np.arange(3)) % 3]
    return vertices[order], np.asarray(turned[np.lexsort(turned.T[::-1])], np.int32)
