"""ingest: raw frames to clean scans in millimetres, +y up.

Reads   each frame's mesh (OBJ, PLY, GLB), the materials and the image it names, and of up to `sample_frames`
        frames the landmark file beside them, to tell the unit and the axes by.
Writes  attrs unit, unit_mm, unit_decision, up, up_decision, fps, max_pixels; file_from_scan (4, 4);
        per frame vertices f4 mm, faces i4, uv f4, uv_faces i4, colors u1, image u1 (encoded; JPEG, PNG and
        WebP as they came, anything else as PNG); quality/scan_vertices, scan_triangles, removed_triangles
        (F,).
Fails   the sequence, when its unit cannot be told.  A frame, with
            duplicate-frame   several files claim its number
            unsafe-path       it refers to a file outside the capture folder, or far from its own
            unit-mismatch     another size than its sequence, or than a head, by a unit's factor
            unreadable        the disk or the memory failed
            degenerate        nothing left after cleaning
        or one of the codes in `pipeline.formats.mesh_file`.
Notes   on a frame that is ok: no-texture, texture-missing, texture-unreadable, texture-relocated, no-uv,
        textures-joined, unused-vertices, axes-mirrored.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.captures import units
from mimicme.pipeline.errors import ConfigError, FrameRejected, InputError, MimicmeError, UsageError
from mimicme.pipeline.formats import image
from mimicme.pipeline.formats.meshio import MeshFile, parse_mtl, read_mesh
from mimicme.pipeline.geometry.cleaning import CleanReport, clean
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.items import FrameSource
from mimicme.pipeline.landmarks import Sides
from mimicme.pipeline.landmarks.files import EXTENSIONS, read_landmarks
from mimicme.pipeline.numerics.subsample import even_subsample
from mimicme.pipeline.stage import Stage, Task
from mimicme.stages.ingest.checkpoint import IngestCheckpoint, IngestWriter

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter
    from mimicme.pipeline.sources import Sources


@dataclass(frozen=True)
class IngestSettings:
    """Settings of the ingest stage.

    Attributes:
        weld_relative: distance below which vertices are merged, relative to the scan's extent (ratio); 0: only
            equal ones.
        long_edge_factor: triangles with an edge longer than so many median edges, and than a twelfth of the scan, are
            removed (ratio); 0: none.
        speck_triangles: smallest number of triangles of a loose piece that stays.
        speck_share: smallest size of a loose piece that stays, relative to the triangles of the largest piece.
        sample_frames: number of frames, spread over the sequence, by which unit and axes are decided.
        use_landmarks: whether unit and axes are also told by the landmark files beside those frames, where there
            are any.
        max_pixels: largest image, here and in every later stage, checked before it is decoded (pixels).
    """

    weld_relative: float = 0.0
    long_edge_factor: float = 25.0
    speck_triangles: int = 60
    speck_share: float = 0.02
    sample_frames: int = 9
    use_landmarks: bool = True
    max_pixels: int = image.MAX_PIXELS

    def __post_init__(self) -> None:
        if self.weld_relative < 0 or self.long_edge_factor < 0 or self.speck_triangles < 0:
            raise ConfigError("cleaning limits are not negative")
        if not 0 <= self.speck_share <= 1:
            raise ConfigError("`speck_share` is a share", seen=self.speck_share, expected="0 to 1")
        if self.sample_frames < 1:
            raise ConfigError("`sample_frames` is at least 1", seen=self.sample_frames)
        if not 1 <= self.max_pixels <= image.LARGEST_PIXELS:
            raise ConfigError(
                "`max_pixels` is out of range",
                seen=self.max_pixels,
                expected=f"1 to {image.LARGEST_PIXELS:,}",
            )


# A file cut between two lines looks whole; whole scans leave well under 1 % of their vertices unused.
UNUSED_SHARE = 0.05

Note = tuple[str, str]  # code, sentence
T = TypeVar("T")


# ------------------------------------------------------------------------------------------------ pure


@dataclass(frozen=True)
class Picture:
    """One encoded texture with its size."""

    data: bytes
    info: image.ImageInfo


def spread(count: int, sample: int) -> list[int]:
    """All of range(count), the first `sample` of them spread evenly over it."""
    first = even_subsample(count, sample).tolist()
    return first + [k for k in range(count) if k not in set(first)]


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


# ------------------------------------------------------------------------------------------------ one frame


@dataclass(frozen=True)
class RawFrame:
    """A frame as read and cleaned, in file units and axes.

    Attributes:
        mesh: cleaned; triangles carry `material` (t,) along.
        found: the file's own description: materials, textures.
        report: what cleaning removed.
        evidence: of its unit and axes.
        unused_share: share of the file's vertices that no triangle has.
    """

    mesh: Mesh
    material: Ints
    found: MeshFile
    report: CleanReport
    evidence: units.Evidence
    unused_share: float


def read_frame(
    frame: FrameSource, sources: Sources, settings: IngestSettings, sides: Sides | None
) -> RawFrame:
    """Read and clean one frame.

    Args:
        sides: whose left a landmark file's "left" is; None: the landmarks are not looked at.

    Raises:
        FrameRejected: whatever is wrong with it; see this module's description.
    """
    if frame.duplicates:
        names = [p.name for p in (frame.path, *frame.duplicates)]
        raise FrameRejected(
            "duplicate-frame",
            f"{len(names)} files claim frame {frame.number}",
            seen=", ".join(names),
            expected="one file a frame",
            todo="Move all but one away.",
        )
    found = read_mesh(sources.read(frame.path), frame.path.name)
    used = np.zeros(len(found.mesh.vertices), bool)
    used[found.mesh.faces] = True
    unused_share = 1 - float(used.mean())
    mesh, material, report = _clean(found, settings)
    if not len(mesh.faces):
        raise FrameRejected(
            "degenerate",
            "no triangle of the scan has an area",
            where=frame.path.name,
            seen=f"{len(found.mesh.faces):,} triangles",
            todo="Export the frame again.",
        )
    landmarks = _landmarks_beside(frame, sources, sides) if sides is not None else None
    return RawFrame(
        mesh, material, replace(found, mesh=mesh), report, units.gather(mesh, landmarks), unused_share
    )


def _clean(found: MeshFile, settings: IngestSettings) -> tuple[Mesh, Ints, CleanReport]:
    """Clean the mesh and take each triangle's material along, as a third texture coordinate would be."""
    mesh = found.mesh
    material = (
        found.face_material if found.face_material is not None else np.full(len(mesh.faces), -1, np.int32)
    )
    cleaned, report, kept = clean(
        mesh,
        weld_relative=settings.weld_relative,
        long_edge_factor=settings.long_edge_factor,
        speck_triangles=settings.speck_triangles,
        speck_share=settings.speck_share,
    )
    return cleaned, material[kept], report


def _landmarks_beside(frame: FrameSource, sources: Sources, sides: Sides) -> Floats | None:
    """Landmarks (68, 3) in file units; None without a file, or when it cannot be read (the landmarks stage
    says)."""
    for extension in EXTENSIONS:
        path = frame.path.with_suffix(extension)
        if path != frame.path and sources.exists(path):
            try:
                return read_landmarks(sources.read(path), path.name, sides).points
            except (FrameRejected, InputError):
                return None
    return None


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
    frame: FrameSource, raw: RawFrame, sources: Sources, settings: IngestSettings
) -> tuple[Mesh, bytes | None, list[Note]]:
    """The frame's mesh (file units) with texture coordinates that fit its one encoded image, or None; and
    notes.

    Raises:
        FrameRejected: `unsafe-path`.
    """
    textures = _Textures(frame, sources, settings.max_pixels)
    if raw.unused_share > UNUSED_SHARE:
        textures.note(
            "unused-vertices",
            f"{raw.unused_share:.0%} of the file's vertices have no triangle: if it was cut, copy it again.",
        )
    found, mesh = raw.found, raw.mesh
    pictures, shown = _pictures(textures, found, raw.material)
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
    if total > settings.max_pixels:
        textures.note("texture-unreadable", f"Its {len(pictures)} images joined are too large.")
        return mesh, None, textures.notes
    pixels = [image.decode(p.data, settings.max_pixels) for p in pictures]
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


# ------------------------------------------------------------------------------------------------ shell


def compute(task: Task[IngestSettings], out: CheckpointWriter) -> None:
    """Ingest one sequence.

    Raises:
        InputError: its unit cannot be told.
    """
    settings = task.settings
    frames = task.sequence.frames
    out.frames([frame.number for frame in frames])
    sides = task.captures.sides if settings.use_landmarks else None
    order = spread(len(frames), settings.sample_frames)
    read: dict[int, RawFrame] = {}
    for row in order:
        if len(read) >= settings.sample_frames:
            break
        work = partial(read_frame, frames[row], out.sources, settings, sides)
        raw = _guarded(out, row, work)
        if raw is not None:
            read[row] = raw
    evidence = [read[row].evidence for row in sorted(read)]
    unit = units.decide_unit(evidence, task.captures.unit, where=str(task.sequence.item))
    axes = units.decide_axes(evidence, task.captures.up)
    file_from_scan = units.file_from_scan(unit, axes, evidence)
    writer = IngestWriter(out, unit, axes, file_from_scan, task.captures.fps, settings.max_pixels)
    for row, frame in enumerate(frames):
        if not out.statuses[row].ok:
            continue
        raw = read.pop(row, None)
        if raw is None:
            raw = _guarded(out, row, partial(read_frame, frame, out.sources, settings, None))
        if raw is None:
            continue
        done = _guarded(out, row, partial(_finish, frame, raw, out.sources, settings, evidence, unit))
        if done is None:
            continue
        mesh, encoded, notes = done
        scan = mesh.with_vertices(units.to_scan(file_from_scan, mesh.vertices))
        writer.frame(row, scan, encoded, raw.report.removed_triangles)
        for code, sentence in notes:
            out.note(row, code, sentence)
        if axes.mirrored:
            out.note(
                row, "axes-mirrored", "By its landmarks the face is a mirror image: check axes and labels."
            )


def _finish(
    frame: FrameSource,
    raw: RawFrame,
    sources: Sources,
    settings: IngestSettings,
    evidence: list[units.Evidence],
    unit: units.UnitDecision,
) -> tuple[Mesh, bytes | None, list[Note]]:
    units.check_frame(raw.evidence, evidence, unit)
    return find_texture(frame, raw, sources, settings)


def _guarded(out: CheckpointWriter, row: int, work: Callable[[], T]) -> T | None:
    """What `work` returns, or None after rejecting the row: one bad frame never costs the sequence."""
    try:
        return work()
    except FrameRejected as error:
        out.reject(row, error)
    except UsageError:
        raise  # a missing package or a wrong setting is no property of the frame
    except MimicmeError as error:
        out.reject(row, FrameRejected("unreadable", error.what, where=error.where, seen=error.seen))
    except Exception as error:  # whatever a damaged file, disk or memory makes of it
        text = str(error).splitlines()[0] if str(error) else ""
        out.reject(
            row,
            FrameRejected(
                "unreadable",
                "the frame could not be read",
                seen=f"{type(error).__name__}: {text}",
                todo="Copy or export it again; if it reads well elsewhere, report this.",
            ),
        )
    return None


STAGE = Stage(
    name="ingest",
    version=3,
    settings=IngestSettings,
    needs=(),
    compute=compute,
    reader=IngestCheckpoint,
    shapes=True,
    uses_template=False,
    memory="about 0.2 GB, 16 bytes for each byte of the largest mesh file, 3 for each pixel",
)
