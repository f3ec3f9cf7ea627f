"""The texture of a frame: the images its mesh names, found inside the captures, and joined into one.

What a mesh or material file names is found by `pipeline.captures.references`.  Whatever is wrong with an image or a
material file costs the texture, and is noted; the geometry is used all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Ints
from mimicme.pipeline.captures.references import Reference, References, Tile, told
from mimicme.pipeline.errors import FrameRejected, InputError, counted, listed
from mimicme.pipeline.formats import image
from mimicme.pipeline.formats.meshio import MeshFile, parse_mtl
from mimicme.pipeline.formats.obj import MAX_MTL_BYTES
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.items import FrameSource
from mimicme.pipeline.numerics.memory import short_of_memory
from mimicme.pipeline.sources import Sources, folded
from mimicme.stages.ingest.texture_atlas import (
    coloured_places,
    join_pictures,
    joined_places,
    moved_uv,
    out_of_tiles,
    shows_colour,
    tiles_of,
    unpainted,
    without_picture,
    wrapped_uv,
)

Note = tuple[str, str]  # code, sentence


@dataclass(frozen=True)
class Picture:
    """One encoded texture with its size; `opaque`: as of `image.decode_alpha`; `coloured`: as of `coloured_places`."""

    data: bytes
    info: image.ImageInfo
    coloured: NDArray[np.bool_] = field(compare=False)
    opaque: image.Pixels | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Wanted:
    """An image that a mesh or its material file names.

    Attributes:
        data: what the mesh file holds of it.
        scale, offset: a texture coordinate of the mesh, times and plus these, is the place in the image (u, v).
    """

    name: str
    data: bytes = b""
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)


BYTES_PER_PIXEL = 26
"""Memory that an image takes at its peak in any stage, which is in baking from it (bytes a pixel)."""
NO_TEXTURE = (
    "The frame has no texture; its geometry is used. Landmarks and correspondence of brows, lips and lids are less "
    "sure than of a frame with one."
)
GREY = (
    "The texture has no colours: hair, caps, masks and lips are told by shape alone. If the scanner records colours, "
    "export them."
)
MAX_LIBRARIES = 64  # names of material files on one line
TRANSPARENT_SHARE = 0.01  # of the triangles, from which on it is said
COLOURED_SHARE = 0.01
"""Of the triangles, or of the vertices where these have the colours: with fewer that have a colour a texture is grey.
Reasoned: a chart of colours or a coloured mark in a grey picture of a head is less, lips are more."""
SISTER_SHARE = 0.01
"""Share of an image's triangles that must lie in a second tile before a number in its name counts as a tile's."""


@dataclass
class _Textures:
    """Finds the images of one frame, and takes down what was wrong with them."""

    frame: FrameSource
    sources: Sources
    max_pixels: int
    notes: list[Note] = field(default_factory=list)
    look_beside: bool = True
    names: References = field(init=False)

    def __post_init__(self) -> None:
        self.names = References(self.frame.path, self.sources)

    def note(self, code: str, sentence: str) -> None:
        if not self.noted(code):
            self.notes.append((code, sentence))

    def noted(self, code: str) -> bool:
        return any(c == code for c, _ in self.notes)

    def take_back(self, code: str) -> str:
        """The sentence of a note that counts no more; '' where there is none."""
        said = [sentence for c, sentence in self.notes if c == code]
        self.notes = [note for note in self.notes if note[0] != code]
        return said[0] if said else ""

    def locate(self, name: str, what: str) -> Path | None:
        """The file a mesh or material file names; None, and a note, when there is no such one."""
        return self._noted(self.names.find(name, what))

    def _noted(self, found: Reference) -> Path | None:
        if found.code:
            self.note(found.code, found.sentence)
        return found.path

    def of_materials(self, found: MeshFile) -> dict[str, Wanted]:
        """Image per material, of all material files that are there."""
        images: dict[str, Wanted] = {}
        for name in found.material_files:
            for path in self._libraries(name):
                try:
                    named = parse_mtl(self.sources.read(path, MAX_MTL_BYTES), path.name)
                except (FrameRejected, InputError) as error:
                    self.note("texture-unreadable", str(error))
                    continue
                for material, picture in named.items():
                    wanted = Wanted(picture.name, scale=picture.scale, offset=picture.offset)
                    images.setdefault(material, wanted)
        return images

    def _libraries(self, name: str) -> list[Path]:
        """The material files of a line: one whose name may have blanks, or several."""
        whole = self.names.find(name, "material file")
        parts = name.split()
        if whole.path is None and 1 < len(parts) <= MAX_LIBRARIES:
            several = [self.names.find(part, "material file") for part in parts]
            if any(one.path or one.code == "texture-outside" for one in several):
                return [path for one in several if (path := self._noted(one))]
        path = self._noted(whole)
        return [path] if path else []

    def beside(self, mesh: Mesh, has_colors: bool) -> Picture | None:
        """The image beside the mesh that must be its own, where none is named, or the named one cannot be had.

        Args:
            has_colors: whether its vertices have colours of their own, which come before an image of another name.
        """
        if self.noted("texture-outside") or not self.look_beside:
            return None
        found = self.names.images_beside()
        missing = self.noted("texture-missing")
        if found.path is None:
            if found.code and mesh.uv is not None and (missing or not has_colors):
                self._noted(found)  # several that may be meant
            return None
        own = folded(found.path.stem) == folded(self.frame.path.stem)
        if not own and (mesh.uv is None or not (missing or not (has_colors or self.notes))):
            return None
        picture = self.load(found.path)
        if picture is not None:
            why = [self.take_back(code) for code in ("texture-missing", "texture-ambiguous")]
            if self.noted("texture-unreadable"):
                why.append("The image that is named cannot be used")
            because = next(filter(None, [*why, "" if own else "The mesh names no image"]), "")
            if because:  # a mesh that names none, and an image of its own name, are as programs write them
                said = because.partition("; copy ")[0]
                self.note("texture-beside", f"{said}: {found.sentence}, and was taken.")
        return picture

    def load(self, path: Path | None, data: bytes = b"") -> Picture | None:
        """Read an image and make sure that it decodes; None (and a note) when it does not."""
        name = told(path.name) if path is not None else "embedded image"
        try:
            content = data if path is None else self.sources.read(path)
            info = image.info(content, name, image.LARGEST_PIXELS)
            if info.pixels > self.max_pixels:
                size = f"has {info.width_px} x {info.height_px}"
                self.note("texture-unreadable", self.too_large(f"{name}: the image {size}", info.pixels))
                return None
            coloured = coloured_places(image.decode(content, self.max_pixels, name))
            if info.turned:
                said = f"{name}: its EXIF data ask to be shown turned, and it was taken as it is stored."
                self.note(
                    "texture-turned", f"{said} If the colours lie wrong, store it turned, without EXIF."
                )
            return Picture(content, info, coloured, image.decode_alpha(content, self.max_pixels, name))
        except (FrameRejected, InputError) as error:
            self.note("texture-unreadable", str(error))
        except MemoryError as error:
            if short_of_memory(error):
                raise
            self.note("texture-unreadable", f"{name}: there is too little memory for the image: fewer jobs.")
        return None

    def too_large(self, what: str, pixels: int) -> str:
        """The sentence on an image that is larger than the setting, with the way to raise it."""
        return (
            f"{what} = {pixels:,} pixels, more than `ingest.max_pixels` ({self.max_pixels:,}); not used. "
            f"To use it: `--set ingest.max_pixels={pixels}`, which takes up to "
            f"{max(0.1, pixels * BYTES_PER_PIXEL / 1e9):.1f} GB of memory a job; or make it smaller."
        )


def find_texture(
    frame: FrameSource,
    found: MeshFile,
    material: Ints,
    sources: Sources,
    max_pixels: int,
    notes: Sequence[Note] = (),
) -> tuple[Mesh, bytes | None, list[Note]]:
    """The frame's mesh (file units) with texture coordinates that fit its one encoded image, or None; and
    notes.  Colours of faces are the mesh's only where there is no image: they may be labels.

    Args:
        found: what the file says, with its mesh cleaned; material: (t,) of its triangles, -1 for none.
        max_pixels: largest image.
        notes: on its texture so far.
    """
    mesh, encoded, said = _with_image(frame, found, material, sources, max_pixels, notes)
    if encoded is not None and found.colors_of_faces:
        mesh = replace(mesh, colors=None)
    return mesh, encoded, said


def _with_image(
    frame: FrameSource,
    found: MeshFile,
    material: Ints,
    sources: Sources,
    max_pixels: int,
    notes: Sequence[Note],
) -> tuple[Mesh, bytes | None, list[Note]]:
    """See `find_texture`."""
    # beside a depth picture lie other pictures, of which it says itself what they are
    textures = _Textures(frame, sources, max_pixels, list(notes), look_beside=frame.recipe is None)
    mesh, pictures, shown = _pictures(textures, found, material)
    if not pictures:
        # colours are a texture too: `bake` says that it is made of them
        if mesh.colors is None and not any(code.startswith("texture-") for code, _ in textures.notes):
            textures.note("no-texture", NO_TEXTURE)
        elif mesh.colors is not None and not found.colors_of_faces:
            _note_grey(textures, coloured_places(mesh.colors[None])[0])
        return wrapped_uv(mesh), None, textures.notes
    if mesh.uv is None:
        textures.take_back("texture-beside")
        textures.note("no-uv", "The mesh has an image but no texture coordinates; the image is left out.")
        return mesh, None, textures.notes
    mesh = wrapped_uv(mesh)
    shown = _opaque(textures, mesh, pictures, shown)
    _note_grey(textures, shows_colour(mesh, shown, [p.coloured for p in pictures])[shown >= 0])
    if len(pictures) == 1 and (shown >= 0).all():
        return mesh, stored(pictures[0]), textures.notes
    if len(pictures) == 1:
        return without_picture(mesh, shown < 0), stored(pictures[0]), textures.notes
    _, (width, height) = joined_places([(p.info.width_px, p.info.height_px) for p in pictures])
    if width * height > max_pixels:
        what = f"The frame has {counted(len(pictures), 'image')}, joined {width} x {height}"
        textures.note("texture-unreadable", textures.too_large(what, width * height))
        return mesh, None, textures.notes
    try:
        pixels = [image.decode(p.data, max_pixels) for p in pictures]
        placed, joined = join_pictures(mesh, shown, pixels)
        del pixels
        encoded = image.encode(joined, "png", compression=3)
    except MemoryError as error:
        if short_of_memory(error):
            raise
        said = f"There is too little memory to join its {counted(len(pictures), 'image')}: fewer jobs."
        textures.note("texture-unreadable", said)
        return mesh, None, textures.notes
    textures.note(
        "textures-joined", f"Its {counted(len(pictures), 'image')} were joined side by side into one."
    )
    return placed, encoded, textures.notes


def _note_grey(textures: _Textures, coloured: NDArray[np.bool_]) -> None:
    """Note a texture of which hardly anything that is shown, (k,), has a colour."""
    if len(coloured) and coloured.mean() < COLOURED_SHARE:
        textures.note("texture-grey", GREY)


def _opaque(textures: _Textures, mesh: Mesh, pictures: list[Picture], shown: Ints) -> Ints:
    """Which image each triangle shows (t,), -1 also where that is transparent: what no camera saw is black or white
    there."""
    now = shown.copy()
    for k, picture in enumerate(pictures):
        which = np.flatnonzero(shown == k)
        if picture.opaque is not None:
            now[which[unpainted(mesh, which, picture.opaque)]] = -1
    share = float(((now < 0) & (shown >= 0)).mean())
    if share >= TRANSPARENT_SHARE:
        said = f"On {share:.0%} of its triangles the image is transparent: they have no colour."
        textures.note("texture-transparent", said)
    return now


def _pictures(textures: _Textures, found: MeshFile, material: Ints) -> tuple[Mesh, list[Picture], Ints]:
    """The images the triangles show, and which of them each shows (t,), -1 for none; and the mesh, what lay in tiles
    of its texture coordinates moved into [0, 1]."""
    wanted, named = _wanted(textures, found, material)
    has_colors = found.mesh.colors is not None and not found.colors_of_faces
    if not wanted:
        picture = textures.beside(found.mesh, has_colors)
        return (
            found.mesh,
            [picture] if picture else [],
            np.full(len(material), 0 if picture else -1, np.int32),
        )
    placed = _placed(found.mesh, wanted, named)
    mesh, loaded, shown = _loaded(textures, placed, wanted, named)
    if len(wanted) == 1 and not any(loaded) and (picture := textures.beside(placed, has_colors)):
        mesh, loaded, shown = placed, [picture], named
    return mesh, *_only_used(loaded, shown)


def _wanted(textures: _Textures, found: MeshFile, material: Ints) -> tuple[list[Wanted], Ints]:
    """The images that are named, and which of them each triangle shows (t,), -1 for none."""
    if found.textures:
        held = found.embedded_images + (b"",) * len(found.textures)
        wanted = [Wanted(name, data) for name, data in zip(found.textures, held, strict=False)]
        of_face = material if (material >= 0).any() and len(wanted) > 1 else np.zeros_like(material)
        return wanted, np.where(of_face < len(wanted), of_face, -1).astype(np.int32)
    images = textures.of_materials(found)
    used = sorted(set(material.tolist()))
    of_used = [images.get(found.materials[k]) if k >= 0 else None for k in used]
    if not any(of_used):
        # no `usemtl`, or another name than the material file's: with one image there is no doubt
        only = sorted(set(images.values()), key=lambda one: (one.name, one.scale, one.offset))
        if len(only) > 1:
            several = listed(f"'{told(name)}'" for name in dict.fromkeys(one.name for one in only))
            said = (
                f"The mesh names no material that is there, and its material files several images: {several}."
            )
            textures.note("texture-ambiguous", said)
        return (only, np.zeros(len(material), np.int32)) if len(only) == 1 else ([], material)
    several_wanted = list(dict.fromkeys(one for one in of_used if one))
    place = np.array([several_wanted.index(one) if one else -1 for one in of_used], np.int32)
    return several_wanted, place[np.searchsorted(used, material)]


def _placed(mesh: Mesh, wanted: list[Wanted], shown: Ints) -> Mesh:
    """The mesh with its texture coordinates where each triangle's material puts them in its image."""
    for k, one in enumerate(wanted):
        which = shown == k
        if (one.scale, one.offset) != ((1.0, 1.0), (0.0, 0.0)) and which.any():
            mesh = moved_uv(mesh, which, one.scale, one.offset)
    return mesh


def _loaded(
    textures: _Textures, mesh: Mesh, wanted: list[Wanted], shown: Ints
) -> tuple[Mesh, list[Picture | None], Ints]:
    """Every image that some triangle shows, a file once: the images, None where one cannot be had; which of them each
    triangle shows; and the mesh, what lay in tiles of its texture coordinates moved into [0, 1]."""
    loaded: list[Picture | None] = []
    places: dict[Path, int] = {}
    now = np.full_like(shown, -1)
    in_tiles = np.zeros(len(shown), bool)
    tile = tiles_of(mesh)

    def put(which: NDArray[np.bool_], path: Path | None, data: bytes = b"") -> None:
        if path is not None and path in places:
            now[which] = places[path]
            return
        if path is not None:
            places[path] = len(loaded)
        now[which] = len(loaded)
        loaded.append(textures.load(path, data) if path is not None or data else None)

    for k, one in enumerate(wanted):
        which = shown == k
        if not which.any():
            continue
        if one.data:
            put(which, None, one.data)
            continue
        tiles = textures.names.tiles(one.name)
        path = None if tiles else textures.locate(one.name, "image")
        if path is not None:
            tiles = _sisters(textures.names.sister_tiles(path), tile[which])
        if not tiles:
            put(which, path)
            continue
        in_tiles |= which
        for where in sorted({(int(u), int(v)) for u, v in np.unique(tile[which], axis=0)}):
            here = which & (tile == where).all(axis=1)
            if where in tiles:
                put(here, tiles[where])
            elif where != (-1, -1):
                number = f"column {where[0] + 1}, row {where[1] + 1}"
                said = f"The image '{told(one.name)}' has no tile for {number}; copy it beside the others."
                textures.note("texture-missing", said)
    return out_of_tiles(mesh, in_tiles, tile), loaded, now


def _sisters(tiles: dict[Tile, Path], tile: Ints) -> dict[Tile, Path]:
    """The tiles beside a named one, if the triangles (t, 2) lie in several of them; else nothing: an image that is
    repeated."""
    if len(tiles) < 2:
        return {}
    which, count = np.unique(tile, axis=0, return_counts=True)
    several = [
        (int(u), int(v)) for (u, v), n in zip(which, count, strict=True) if n >= SISTER_SHARE * len(tile)
    ]
    return tiles if sum(where in tiles for where in several) > 1 else {}


def _only_used(loaded: list[Picture | None], shown: Ints) -> tuple[list[Picture], Ints]:
    """Drop images that are missing or that no triangle shows."""
    seen = set(shown.tolist())
    keep = [k for k, picture in enumerate(loaded) if picture is not None and k in seen]
    new = np.full(len(loaded) + 1, -1, np.int32)  # the last stands for -1
    new[keep] = np.arange(len(keep))
    return [p for k in keep if (p := loaded[k]) is not None], new[shown]


def stored(picture: Picture) -> bytes:
    """The bytes that are kept: JPEG, PNG and WebP as they came, anything else as PNG of what is decoded."""
    if picture.info.format in ("jpeg", "png", "webp"):
        return picture.data
    return image.encode(
        image.decode(picture.data, max(1, picture.info.width_px * picture.info.height_px)),
        "png",
        compression=3,
    )
