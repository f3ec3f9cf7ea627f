"""One moment of a recording -> the mesh it shows, mm, +y up, +z towards the camera."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.errors import FrameRejected, InputError
from mimicme.pipeline.formats import image
from mimicme.pipeline.formats.mesh_file import MeshFile
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.rgbd.camera import Pose
from mimicme.pipeline.rgbd.coloring import Eye, color_surface
from mimicme.pipeline.rgbd.depth_image import largest_file, read_depth
from mimicme.pipeline.rgbd.fusion import fuse
from mimicme.pipeline.rgbd.recipe import MAX_BYTES, Recipe, Up, View, read_recipe
from mimicme.pipeline.rgbd.surface import DepthSurface, find_surface
from mimicme.pipeline.sources import Sources

RECIPE_REASON = "depth-recipe"
UNIT_HOW = "as rgbd.toml gives the unit of depth"
UP_HOW = "as rgbd.toml says: the {} of the pictures"
"""What decides unit and axes of a recording, for the user."""

# rows: where the camera's x (right), y (down) and z (away) go, when x is the picture's right, y the head's top and z
# the direction to the camera
_FROM_CAMERA: dict[Up, tuple[tuple[int, int, int], ...]] = {
    "top": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "bottom": ((-1, 0, 0), (0, 1, 0), (0, 0, -1)),
    "left": ((0, -1, 0), (-1, 0, 0), (0, 0, -1)),
    "right": ((0, 1, 0), (1, 0, 0), (0, 0, -1)),
}


@dataclass(frozen=True)
class Recorded:
    """What a moment of a recording shows.

    Attributes:
        mesh: as of a mesh file: mm, +y up, +z towards the camera; its images are within it.
        notes: codes and sentences of what is wrong with its colours.
        recipe: how it was read.
        surfaces: what each view measured.
    """

    mesh: MeshFile
    notes: list[tuple[str, str]]
    recipe: Recipe
    surfaces: list[DepthSurface] = field(repr=False, default_factory=list)


def read_frame(recipe_path: Path, depth_path: Path, sources: Sources) -> Recorded:
    """Read the pictures of one moment and make a surface of them.

    Args:
        recipe_path: `rgbd.toml` of the sequence; depth_path: the first view's depth picture.
        sources: reads files below the captures.

    Raises:
        FrameRejected: `depth-recipe`, `depth-image`, `depth-missing`, `depth-empty`, `unsafe-path`, `too-large`.
        InputError: a file cannot be read.
    """
    try:
        recipe = read_recipe(sources.read(recipe_path, MAX_BYTES), recipe_path.name)
    except InputError as error:
        raise FrameRejected(
            RECIPE_REASON, error.what, where=error.where, seen=error.seen, expected=error.expected
        ) from error
    folder = recipe_path.parent
    frame = recipe.views[0].depth.files.frame(depth_path.name)
    if frame is None:
        raise FrameRejected(RECIPE_REASON, "rgbd.toml names other depth pictures", where=depth_path.name)
    surfaces = [_surface(view, folder, frame, recipe, sources) for view in recipe.views]
    to_first = [_to_first(view, recipe) for view in recipe.views]
    vertices, faces = _joined(surfaces, to_first, depth_path.name)
    notes: list[tuple[str, str]] = []
    pictures = [_picture(view, folder, frame, sources, notes) for view in recipe.views]
    eyes, images = [], []
    for view, pose, surface, picture in zip(recipe.views, to_first, surfaces, pictures, strict=True):
        if picture and view.color is not None:
            back = pose.inverse
            eyes.append(Eye(view.color.camera, view.color.from_depth.after(back), back, surface))
            images.append((view.color.files.name(frame), picture))
    mesh = _in_scan_axes(vertices, faces, recipe)
    if not eyes:
        return Recorded(MeshFile(mesh), notes, recipe, surfaces)
    colored = color_surface(vertices, faces, eyes)
    uv_faces = colored.uv_faces[:, ::-1] if recipe.mirrored else colored.uv_faces
    return Recorded(
        MeshFile(
            Mesh(mesh.vertices, mesh.faces, colored.uv, np.ascontiguousarray(uv_faces)),
            face_material=colored.shown,
            textures=tuple(name for name, _ in images),
            embedded_images=tuple(data for _, data in images),
        ),
        notes,
        recipe,
        surfaces,
    )


def _surface(view: View, folder: Path, frame: str, recipe: Recipe, sources: Sources) -> DepthSurface:
    name = view.depth.files.name(frame)
    path = folder / name
    if not sources.exists(path):
        raise FrameRejected(
            "depth-missing",
            "a view of this moment has no depth picture",
            where=name,
            todo="Copy it there, or take the view out of rgbd.toml.",
        )
    picture = read_depth(sources.read(path, largest_file(view.depth)), view.depth, name)
    return find_surface(picture, view.depth.camera, recipe.near_mm, recipe.far_mm, name)


def _to_first(view: View, recipe: Recipe) -> Pose:
    """From a view's depth camera to the first view's."""
    return recipe.views[0].common.inverse.after(view.common)


def _joined(surfaces: list[DepthSurface], to_first: list[Pose], name: str) -> tuple[Floats, Ints]:
    """Vertices and triangles in the first depth camera's axes."""
    if len(surfaces) > 1:
        return fuse(surfaces, to_first, name)
    used, faces = np.unique(surfaces[0].faces, return_inverse=True)
    return surfaces[0].points[used], faces.reshape(-1, 3).astype(np.int32)


def _in_scan_axes(vertices: Floats, faces: Ints, recipe: Recipe) -> Mesh:
    turn = np.array(_FROM_CAMERA[recipe.up], np.float64)
    placed = vertices @ turn.T
    if recipe.mirrored:
        return Mesh(placed * [-1.0, 1.0, 1.0], np.ascontiguousarray(faces[:, ::-1]))
    return Mesh(placed, faces)


def _picture(view: View, folder: Path, frame: str, sources: Sources, notes: list[tuple[str, str]]) -> bytes:
    """The colour picture of a view; nothing, and a note, where it cannot be used."""
    if view.color is None:
        return b""
    name = view.color.files.name(frame)
    camera = view.color.camera
    try:
        if not sources.exists(folder / name):
            notes.append(
                ("texture-missing", f"The colour picture '{name}' is not there; copy it beside the others.")
            )
            return b""
        data = sources.read(folder / name)
        found = image.info(data, name, image.LARGEST_PIXELS)
    except (FrameRejected, InputError) as error:
        notes.append(("texture-unreadable", str(error)))
        return b""
    if (found.width_px, found.height_px) != (camera.width, camera.height):
        notes.append(
            (
                "texture-unreadable",
                f"{name}: the colour picture has {found.width_px} x {found.height_px}, rgbd.toml says {camera.width} x "
                f"{camera.height}; not used. Give the size and the intrinsics of the pictures as they are.",
            )
        )
        return b""
    return data
