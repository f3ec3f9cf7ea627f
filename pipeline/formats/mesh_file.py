"""What every mesh file format shares: the result, the error with its codes, the limits, and small helpers.

Files come from anywhere: every count is checked against the length of the data before memory is taken for it,
and what cannot be read says why with a stable code (`MeshFileError.reason`):

    empty-file     nothing in it, or no vertex
    no-faces       vertices but no triangle
    truncated      it ends in the middle: an incomplete last line, fewer data than its header announces
    nan-vertices   coordinates of a triangle that are not finite numbers
    face-index     a triangle names a vertex that is not there
    bad-syntax     a line or header that is no OBJ, PLY or glTF
    too-large      more vertices or triangles than `MAX_VERTICES`, `MAX_TRIANGLES`
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints, Longs
from mimicme.pipeline.errors import FrameRejected, InputError
from mimicme.pipeline.geometry.mesh import Mesh

MAX_VERTICES = 20_000_000
MAX_TRIANGLES = 40_000_000
MAX_COORDINATE = 1e30  # beyond it squares and products overflow, so it is no number one can work with


class MeshFileError(FrameRejected, InputError):
    """A mesh file cannot be used; `reason` is one of the codes above."""


@dataclass(frozen=True)
class MeshFile:
    """A mesh as its file has it: own unit, own axes, vertices in the order of the file.

    Attributes:
        mesh: vertices (n, 3), triangles (t, 3), and what the file has of uv and colours.  A triangle without
            texture coordinates in a mesh that has some points to a row of `uv` that is NaN.
        material_files: MTL files the OBJ names, as written there; never opened here.
        materials: material names in order of first use.
        face_material: (t,) int32 index into `materials`; -1 where none is in force.
        textures: image names the mesh file itself gives (PLY `comment TextureFile`), as written there.
        embedded_images: encoded images the file carries (glTF), one per entry of `textures`.
        polygons: (t,) int32, of OBJ and PLY: the number of the file's face that each triangle was cut out of; None when
            they are triangles there.
        moments: of glTF: how many moments its animation has, none of which is read; 0: it has none.
        colors_of_faces: of PLY: the mesh's colours are means of its faces', which may be labels: an image comes before.
        uv_absent: of OBJ, VRML and glTF: how many triangles name a texture coordinate that the file does not have; they
            have none.
        may_be_cut: of OBJ: it could have ended earlier and look as whole, as no comment in it says how many faces it
            has.  Other formats announce what follows, or close what they opened.
    """

    mesh: Mesh
    material_files: tuple[str, ...] = ()
    materials: tuple[str, ...] = ()
    face_material: Ints | None = None
    textures: tuple[str, ...] = ()
    embedded_images: tuple[bytes, ...] = ()
    polygons: Ints | None = None
    moments: int = 0
    uv_absent: int = 0
    colors_of_faces: bool = False
    may_be_cut: bool = False


def fail(reason: str, what: str, name: str, **details: Any) -> MeshFileError:
    details.setdefault("todo", _TODO.get(reason))
    return MeshFileError(reason, what, where=name, **details)


def check_triangles(count: int, name: str) -> None:
    """Refuse more triangles than `MAX_TRIANGLES`, before memory is taken for them."""
    if count > MAX_TRIANGLES:
        raise fail("too-large", "the mesh is too large", name, seen=f"{count:,} triangles")


_TODO = {
    "empty-file": "Export or copy the frame again.",
    "bad-syntax": "Copy or export the frame again.",
    "no-faces": "A point cloud cannot be registered; export the frame as a surface.",
    "truncated": "Copy or export the frame again; the disk may have been full.",
    "nan-vertices": "Export the frame again.",
    "face-index": "Export the frame again.",
    "too-large": "Decimate the scan; a face needs some 100,000 vertices.",
}


def check_content(data: bytes, name: str) -> None:
    """Refuse a file that holds nothing, or blanks alone."""
    if not (data[:4096].strip() or data.strip()):
        raise fail("empty-file", "the file is empty", name)


def check_vertices(
    vertices: Floats, name: str, faces: Ints | Longs | None = None, place: Callable[[int], str] | None = None
) -> None:
    """Refuse vertices (n, 3) that are not finite, or so large that products of them are not.

    Args:
        faces: (t, 3); a vertex that no triangle has is no reason to refuse (see `without_absent`); None: every one is.
        place: says where in the file a vertex stands, and what stands there.
    """
    bad = ~_are_places(vertices)
    if faces is not None and bad.any():
        used = np.zeros(len(vertices), bool)
        used[faces] = True
        bad &= used
    if bad.any():
        first = int(np.argmax(bad))
        raise fail(
            "nan-vertices",
            f"{int(bad.sum()):,} of {len(bad):,} vertices are not finite numbers, or far too large",
            name,
            seen=place(first) if place else f"vertex {first + 1}: {vertices[first].tolist()}",
        )


def _are_places(vertices: Floats) -> Bools:
    return np.asarray((np.abs(vertices) < MAX_COORDINATE).all(axis=1))


def without_absent(found: MeshFile) -> MeshFile:
    """The mesh without vertices that are no place and that no triangle has: programs that make a grid of a range image
    write NaN for each pixel that measured nothing.

    It numbers the vertices anew: for captures alone, not for a mesh whose vertices mean something by their number.
    """
    mesh = found.mesh
    there = _are_places(mesh.vertices)
    if there.all():
        return found
    index = (np.cumsum(there) - 1).astype(np.int32)
    colors = None if mesh.colors is None else mesh.colors[there]
    return replace(
        found, mesh=replace(mesh, vertices=mesh.vertices[there], faces=index[mesh.faces], colors=colors)
    )


def checked(faces: Longs, n_vertices: int, name: str) -> Ints:
    bad = (faces < 0) | (faces >= n_vertices)
    if bad.any():
        raise fail(
            "face-index",
            "a face names a vertex that is not there",
            name,
            seen=f"index {int(faces[bad][0])}",
            expected=f"0 to {n_vertices - 1:,}",
        )
    return faces.astype(np.int32)


def triangulate_fans(counts: Longs) -> tuple[Longs, Longs]:
    """Polygons of `counts` corners as fans: positions of the corners (t, 3), and the polygon of each (t,)."""
    begin = np.cumsum(counts) - counts
    fans = np.maximum(counts - 2, 0)
    owner = np.repeat(np.arange(len(counts)), fans)
    step = np.arange(int(fans.sum())) - np.repeat(np.cumsum(fans) - fans, fans)
    return begin[owner][:, None] + np.stack([np.zeros_like(step), step + 1, step + 2], axis=1), owner


def polygons_of(owner: Longs, counts: Longs) -> Ints | None:
    """`MeshFile.polygons` of faces of `counts` corners, the owner of each triangle given."""
    return owner.astype(np.int32) if (counts > 3).any() else None


def triangulate_strips(index: Longs) -> Longs:
    """(t, 3) triangles of strips, one after the other in `index`, -1 between them.

    Every second triangle of a strip is turned, as its corners run the other way; triangles with a corner twice, which
    only join strips, are left out.
    """
    a, b, c = index[:-2], index[1:-1], index[2:]
    place = np.arange(len(index))
    begin = np.maximum.accumulate(np.where(np.r_[True, index[:-1] < 0], place, 0)) if len(index) else place
    odd = (place - begin)[: len(a)] % 2 == 1
    triangles = np.stack([a, np.where(odd, c, b), np.where(odd, b, c)], axis=1)
    within = (a >= 0) & (b >= 0) & (c >= 0)
    return triangles[within & (a != b) & (b != c) & (a != c)]


def parse_numbers(text: bytes, kind: Any) -> NDArray[Any] | None:
    """Blank-separated numbers; None when something else is between them."""
    if not text.strip():
        return np.zeros(0, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # older numpy warns where newer raises
        try:
            return np.fromstring(text, dtype=kind, sep=" ")
        except ValueError:
            return None


def as_bytes(colors: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours as bytes: numbers up to 1, up to 255 or of 16 bits, whichever the largest of them tells."""
    if colors.dtype == np.uint8:
        return np.ascontiguousarray(colors)
    colors = np.nan_to_num(colors.astype(np.float64))
    most = colors.max(initial=0)
    scale = 255.0 if most <= 1 else 1.0 if most < 1024 else 255 / 65535
    return np.clip(np.rint(colors * scale), 0, 255).astype(np.uint8)


def decode_name(raw: bytes) -> str:
    raw = raw.strip()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.strip('"')
