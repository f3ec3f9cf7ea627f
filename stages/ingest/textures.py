"""The texture of a frame: the images its mesh names, found inside the captures, and joined into one.

Nothing that a mesh or material file names is opened but below the capture folder and near the frame.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Ints
from mimicme.pipeline.errors import FrameRejected, InputError
from mimicme.pipeline.formats import image
from mimicme.pipeline.formats.meshio import MeshFile, parse_mtl
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.items import FrameSource

if TYPE_CHECKING:
    from mimicme.pipeline.sources import Sources

Note = tuple[str, str]  # code, sentence


@dataclass(frozen=True)
class Picture:
    """One encoded texture with its size."""

    data: bytes
    info: image.ImageInfo


FURTHEST_TILE = 1e6
"""A texture coordinate beyond is no place in a repeated image but a wrong number."""


def wrapped_uv(mesh: Mesh) -> Mesh:
    """Texture coordinates wrapped into [0, 1]: a triangle that lies in another tile of a repeated image is moved into
    the first, one that crosses the border is clamped to it.  A coordinate that is no number is none (NaN)."""
    if mesh.uv is None or mesh.uv_faces is None:
        return mesh
    sane = np.asarray((np.abs(mesh.uv) <= FURTHEST_TILE).all(axis=1))
    uv = mesh.uv
    if not sane.all():
        uv = np.where(sane[:, None], uv, np.nan)
        mesh = replace(mesh, uv=uv)
    known = uv[sane]
    if not len(known) or (known.min() >= 0 and known.max() <= 1):
        return mesh
    corner = uv[mesh.uv_faces]
    tile = np.floor(np.nan_to_num(corner).mean(axis=1))
    within = ((corner >= tile[:, None] - 1e-3) & (corner <= tile[:, None] + 1 + 1e-3)).all(axis=(1, 2))
    moved = np.clip(corner - np.where(within[:, None], tile, 0.0)[:, None], 0.0, 1.0).reshape(-1, 2)
    # NaN rows stay one row each corner; equal coordinates become one row again
    bits = np.ascontiguousarray(moved + 0.0).view(np.complex128).reshape(-1)
    unique, inverse = np.unique(bits, return_inverse=True, equal_nan=True)
    return replace(
        mesh, uv=unique.view(np.float64).reshape(-1, 2), uv_faces=inverse.reshape(-1, 3).astype(np.int32)
    )


def join_pictures(mesh: Mesh, picture: Ints, pixels: list[image.Pixels]) -> tuple[Mesh, image.Pixels]:
    """A texture atlas: one image out of several, side by side from the left and aligned at the top, and the mesh that
    fits it.

    Args:
        mesh: with texture coordinates in [0, 1] per image.
        picture: (t,) which image each triangle shows; -1 for none: its corners become NaN.
        pixels: images (h, w, 3).
    """
    if mesh.uv is None or mesh.uv_faces is None:
        raise InputError("joining images needs texture coordinates")
    height = max(p.shape[0] for p in pixels)
    left = np.cumsum([0, *(p.shape[1] for p in pixels)])
    joined = np.zeros((height, int(left[-1]), 3), np.uint8)
    for k, p in enumerate(pixels):
        joined[: p.shape[0], left[k] : left[k + 1]] = p
    corner = mesh.uv[mesh.uv_faces]
    size = np.array([p.shape[1::-1] for p in pixels], np.float64)[picture]  # width, height of each triangle's
    # half a pixel inside: an interpolating reader must not mix in the neighbour
    half = 0.5 / size[:, None]
    inside = np.clip(corner, half, 1 - half) * size[:, None]
    u = (inside[..., 0] + left[:-1][picture][:, None]) / left[-1]
    v = 1 - (size[:, None, 1] - inside[..., 1]) / height
    placed = np.where((picture >= 0)[:, None, None], np.stack([u, v], axis=-1), np.nan).reshape(-1, 2)
    bits = np.ascontiguousarray(placed).view(np.complex128).reshape(-1)
    unique, inverse = np.unique(bits, return_inverse=True, equal_nan=True)
    uv = unique.view(np.float64).reshape(-1, 2)
    return replace(mesh, uv=uv, uv_faces=inverse.reshape(-1, 3).astype(np.int32)), joined


# ------------------------------------------------------------------------------------------------ its texture


@dataclass
class _Textures:
    """Finds the images of one frame, confined to the capture folder."""

    frame: FrameSource
    sources: Sources
    max_pixels: int
    notes: list[Note] = field(default_factory=list)

    def note(self, code: str, sentence: str) -> None:
        if code not in (c for c, _ in self.notes):
            self.notes.append((code, sentence))

    def locate(self, name: str, what: str) -> Path | None:
        """The file a mesh or material file names, below the capture folder; None (and a note) when it is not
        there.

        Raises:
            FrameRejected: `unsafe-path`.
        """
        folder = self.frame.path.parent
        from_windows = bool(PureWindowsPath(name).drive) or name.startswith("\\\\")
        # a drive of the scanner's own computer names nothing here: only its last part can
        posix = PureWindowsPath(name).name if from_windows else name.replace("\\", "/")
        if not posix:
            return None
        path = self._near(folder / posix, name)
        if self.sources.exists(path):  # refuses what lies outside the captures
            if from_windows:
                self.note("texture-relocated", f"'{name}' was taken from the mesh's own folder.")
            return path
        beside = folder / PurePosixPath(posix).name
        if beside != path and self.sources.exists(beside):
            self.note("texture-relocated", f"'{name}' was taken from the mesh's own folder.")
            return beside
        self.note("texture-missing", f"The {what} '{name}' is not on the disk; copy it beside the mesh.")
        return None

    def of_materials(self, found: MeshFile) -> dict[str, str]:
        """Image name per material, of all material files that are there."""
        images: dict[str, str] = {}
        for name in found.material_files:
            path = self._library(name)
            for part in [path] if path else []:
                for material, picture in parse_mtl(self.sources.read(part), part.name).items():
                    images.setdefault(material, picture)
        return images

    def _library(self, name: str) -> Path | None:
        folder = self.frame.path.parent
        parts = name.split()
        if len(parts) > 1 and not self.sources.exists(self._near(folder / name.replace("\\", "/"), name)):
            # several names on one line; a name with blanks was tried first
            there = [p for p in parts if self.sources.exists(self._near(folder / p.replace("\\", "/"), p))]
            if there:
                return folder / there[0].replace("\\", "/")
        return self.locate(name, "material file")

    def _near(self, path: Path, name: str) -> Path:
        """The path, checked to lie at most one folder up: beside the sequence, not among other subjects.

        Raises:
            FrameRejected: `unsafe-path`.
        """
        plain = Path(os.path.normpath(path))
        if not plain.is_relative_to(self.frame.path.parent.parent):
            raise FrameRejected(
                "unsafe-path",
                "the frame refers to a file outside its sequence; it was not read",
                where=self.frame.path.name,
                seen=repr(name),
                expected="a file in the frame's folder, or in a folder beside it",
                todo="Remove the reference, or put the file beside the mesh.",
            )
        return plain

    def beside(self) -> Path | None:
        """An image with the mesh's own stem."""
        for ending in (*image.ENDINGS, *(e.upper() for e in image.ENDINGS)):
            path = self.frame.path.with_suffix(ending)
            if self.sources.exists(path):
                return path
        return None

    def load(self, path: Path | None, data: bytes = b"") -> Picture | None:
        """Read an image and make sure that it decodes; None (and a note) when it does not."""
        name = path.name if path is not None else "embedded image"
        try:
            content = data if path is None else self.sources.read(path)
            image.decode(content, self.max_pixels, name)
            return Picture(content, image.info(content, name, self.max_pixels))
        except image.ImageFileError as error:
            self.note("texture-unreadable", str(error))
            return None


def find_texture(
    frame: FrameSource, found: MeshFile, material: Ints, sources: Sources, max_pixels: int
) -> tuple[Mesh, bytes | None, list[Note]]:
    """The frame's mesh (file units) with texture coordinates that fit its one encoded image, or None; and
    notes.

    Args:
        found: what the file says, with its mesh cleaned; material: (t,) of its triangles, -1 for none.
        max_pixels: largest image.

    Raises:
        FrameRejected: `unsafe-path`.
    """
    textures = _Textures(frame, sources, max_pixels)
    mesh = found.mesh
    pictures, shown = _pictures(textures, found, material)
    if not pictures:
        # colours are a texture too: `bake` says that it is made of them
        if mesh.colors is None and not any(code.startswith("texture-") for code, _ in textures.notes):
            textures.note("no-texture", "The frame has no texture; its geometry is used.")
        return wrapped_uv(mesh), None, textures.notes
    if mesh.uv is None:
        textures.note("no-uv", "The mesh has an image but no texture coordinates; the image is left out.")
        return mesh, None, textures.notes
    mesh = wrapped_uv(mesh)
    if len(pictures) == 1 and (shown >= 0).all():
        return mesh, stored(pictures[0]), textures.notes
    if len(pictures) == 1:
        return _without_picture(mesh, shown < 0), stored(pictures[0]), textures.notes
    total = sum(p.info.width_px for p in pictures) * max(p.info.height_px for p in pictures)
    if total > max_pixels:
        textures.note("texture-unreadable", f"Its {len(pictures)} images joined are too large.")
        return mesh, None, textures.notes
    pixels = [image.decode(p.data, max_pixels) for p in pictures]
    mesh, joined = join_pictures(mesh, shown, pixels)
    textures.note("textures-joined", f"Its {len(pictures)} images were joined side by side into one.")
    return mesh, image.encode(joined, "png", compression=3), textures.notes


def _pictures(textures: _Textures, found: MeshFile, material: Ints) -> tuple[list[Picture], Ints]:
    """The images the triangles show, and which of them each shows (t,), -1 for none."""
    nothing = np.full(len(material), -1, np.int32)
    if found.textures:
        loaded = []
        for k, name in enumerate(found.textures):
            data = found.embedded_images[k] if k < len(found.embedded_images) else b""
            path = None if data else textures.locate(name, "image")
            loaded.append(textures.load(path, data) if data or path else None)
        of_face = material if (material >= 0).any() else np.zeros_like(material)
        if len(loaded) == 1:
            of_face = np.zeros_like(material)
        return _only_used(loaded, np.where(of_face < len(loaded), of_face, -1).astype(np.int32))
    images = textures.of_materials(found)
    used = sorted(set(material.tolist()))
    wanted = {k: images.get(found.materials[k]) if k >= 0 else None for k in used}
    if not any(wanted.values()):
        # no `usemtl`, or another name than the material file's: with one image there is no doubt
        only = next(iter(images.values())) if len(set(images.values())) == 1 else None
        path = textures.locate(only, "image") if only else textures.beside()
        picture = textures.load(path) if path else None
        return ([picture], np.zeros_like(nothing)) if picture else ([], nothing)
    names = list(dict.fromkeys(name for name in wanted.values() if name))
    loaded = []
    for name in names:
        path = textures.locate(name, "image")
        loaded.append(textures.load(path) if path else None)
    if len(names) == 1 and loaded[0] is None and (path := textures.beside()):
        loaded[0] = textures.load(path)
    place = {k: names.index(name) if name else -1 for k, name in wanted.items()}
    return _only_used(loaded, np.array([place[k] for k in used], np.int32)[np.searchsorted(used, material)])


def _only_used(loaded: list[Picture | None], shown: Ints) -> tuple[list[Picture], Ints]:
    """Drop images that are missing or that no triangle shows."""
    seen = set(shown.tolist())
    keep = [k for k, picture in enumerate(loaded) if picture is not None and k in seen]
    new = np.full(len(loaded) + 1, -1, np.int32)  # the last stands for -1
    new[keep] = np.arange(len(keep))
    return [p for k in keep if (p := loaded[k]) is not None], new[shown]


def _without_picture(mesh: Mesh, bare: NDArray[np.bool_]) -> Mesh:
    """The mesh with NaN texture coordinates at triangles that show no image."""
    if mesh.uv is None or mesh.uv_faces is None:
        return mesh
    uv = np.concatenate([mesh.uv, np.full((1, 2), np.nan)])
    return replace(mesh, uv=uv, uv_faces=np.where(bare[:, None], len(uv) - 1, mesh.uv_faces).astype(np.int32))


def stored(picture: Picture) -> bytes:
    """The bytes that are kept: JPEG, PNG and WebP as they came, anything else as PNG without loss."""
    if picture.info.format in ("jpeg", "png", "webp"):
        return picture.data
    return image.encode(
        image.decode(picture.data, max(1, picture.info.width_px * picture.info.height_px)),
        "png",
        compression=3,
    )
