"""ingest: raw frames to clean scans in millimetres, +y up.

Reads   each frame's mesh (`formats.meshio`), the materials and the image it names, and of up to `sample_frames`
        frames the landmark file beside them, to tell the unit and the axes by; of a depth camera's recording its
        pictures (`pipeline.rgbd`), which are mm and upright by what `rgbd.toml` says.
Writes  attrs unit, unit_mm, unit_decision, up, up_decision, fps, max_pixels; file_from_scan (4, 4);
        time_s (F,);
        per frame vertices f4 mm, faces i4, uv f4, uv_faces i4, colors u1, image u1 (encoded; JPEG, PNG and
        WebP as they came, anything else as PNG); quality/scan_vertices, scan_triangles, removed_triangles
        (F,).
Fails   the sequence, when its unit cannot be told.  A frame, with
            duplicate-frame   several files claim its number
            unsafe-path       it lies outside the capture folder, or its geometry does in part
            missing-part      a file that holds a part of its geometry is not there
            unit-mismatch     another size or scale than its sequence, or than a head
            unreadable        the disk or the memory failed
            degenerate        nothing left after cleaning
            truncated         an OBJ many of whose vertices have no triangle, as at most one of the frames has that are
                              read first (`Usual`): deleted by hand, it would be several
        or one of the codes in `pipeline.formats.mesh_file`; of a recording
            depth-recipe      its `rgbd.toml` cannot be used
            depth-image       a depth picture is damaged, or another than `rgbd.toml` says
            depth-missing     one of several views has no depth picture
            depth-empty       nothing of a head's size is in it
Notes   on a frame that is ok: no-texture, texture-missing, texture-outside, texture-ambiguous, texture-unreadable,
        texture-relocated, texture-beside, texture-turned, texture-transparent, no-uv, textures-joined, unused-vertices,
        triangles-turned, axes-mirrored, frame-repeated, texture-repeated, animation-unread, uv-absent, surface-layers,
        few-triangles, texture-grey.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.captures import units
from mimicme.pipeline.captures.references import References
from mimicme.pipeline.errors import (
    ConfigError,
    FrameRejected,
    MimicmeError,
    ShortageError,
    UsageError,
    counted,
)
from mimicme.pipeline.formats import image
from mimicme.pipeline.formats.meshio import MeshFile, read_scan
from mimicme.pipeline.geometry.cleaning import CleanReport, clean
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.geometry.orientation import orient, reversed_mesh
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.items import Captures, FrameSource
from mimicme.pipeline.landmarks import Sides
from mimicme.pipeline.landmarks.beside import read_beside
from mimicme.pipeline.landmarks.slicer import is_slicers, on_mesh
from mimicme.pipeline.numerics.memory import not_enough, short_of_memory
from mimicme.pipeline.numerics.subsample import even_subsample
from mimicme.pipeline.rgbd.frame import UNIT_HOW, UP_HOW
from mimicme.pipeline.rgbd.frame import read_frame as read_recorded
from mimicme.pipeline.stage import Stage, Task
from mimicme.stages.ingest import repeated
from mimicme.stages.ingest.checkpoint import IngestCheckpoint, IngestWriter
from mimicme.stages.ingest.textures import Note, find_texture

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter
    from mimicme.pipeline.sources import Sources


@dataclass(frozen=True)
class IngestSettings:
    """Settings of the ingest stage.

    Attributes:
        weld_relative: distance below which vertices are merged, relative to the scan's extent (ratio); 0: only
            equal ones; or, where hardly a triangle has a neighbour then, those closer than a fiftieth of a side.
        long_edge_factor: triangles with an edge longer than so many median edges, and than a twelfth of the scan, are
            removed (ratio); 0: none.
        speck_triangles: smallest number of triangles of a loose piece that stays.
        speck_share: smallest size of a loose piece that stays, relative to the triangles of the largest piece.
        sample_frames: number of frames, spread over the sequence, by which unit and axes are decided.
        use_landmarks: whether unit and axes are also told by the landmark files beside those frames, where there
            are any.
        max_pixels: largest image, here and in every later stage, checked before it is decoded (pixels). One of so
            many takes about 26 bytes a pixel of memory in each job: 7 GB for 16384 x 16384. Images that are joined
            count together.
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
                expected=f"1 to {image.LARGEST_PIXELS:,}, as far as memory goes",
            )


# A file cut between two lines looks whole; whole scans leave well under 1 % of their vertices unused.
UNUSED_SHARE = 0.05
# Between two frames of one scanner a face's triangles differ by some per cent; a hand or a turn away costs a third.
FEW_TRIANGLES = 0.6
# Frames by which a sequence tells what its frames are like.
LIKE_FRAMES = 3
# Scanners leave a few triangles the wrong way round on every frame, at the borders of holes.
TURNED_SHARE = 0.01
LAYERS_SHARE = 0.03
"""Share of the surface that lies twice, from which on it is said.  Scans of one surface have none: 16 of `synth`, of
other makers and of real scanners had 0; two views of a face that overlap by a quarter of its width have 0.34."""

# Certainty of the winding above which it tells that a file's axes are mirrored; a flat piece has about 0.
CERTAIN_WINDING = 0.02

T = TypeVar("T")


def spread(count: int, sample: int) -> list[int]:
    """All of range(count), the first `sample` of them spread evenly over it."""
    first = even_subsample(count, sample).tolist()
    return first + [k for k in range(count) if k not in set(first)]


# ------------------------------------------------------------------------------------------------ one frame


@dataclass(frozen=True)
class RawFrame:
    """A frame as read and cleaned, in file units and axes.

    Attributes:
        mesh: cleaned; triangles carry `material` (t,) along.
        triangles: how many the file has.
        found: the file's own description: materials, textures.
        report: what cleaning removed.
        evidence: of its unit and axes.
        unused_share: share of the file's vertices that no triangle has.
        layout: digest of the file's texture coordinates, which cleaning leaves alone; empty: it has none.
        turned_share: share of its triangles that were wound the other way round, or inwards.
        layers: share of its surface that lies twice, and how far apart (median, file units): `orientation.Oriented`.
        notes: on its texture.
        upright: why it is in mm and +y up; empty: it is a mesh file, of which that is not known.
    """

    mesh: Mesh
    material: Ints
    found: MeshFile
    report: CleanReport
    evidence: units.Evidence
    unused_share: float
    layout: bytes
    turned_share: float
    triangles: int
    notes: tuple[Note, ...] = ()
    upright: str = ""
    layers: tuple[float, float] = (0.0, 0.0)


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
            f"{counted(len(names), 'file')} claim frame {frame.number}",
            seen=", ".join(names),
            expected="one file a frame",
            todo="Move all but one away."
            if len({p.stem for p in (frame.path, *frame.duplicates)}) > 1
            else "Give a layout with one ending in place of {ext}, or move the other files away.",
        )
    recorded = read_recorded(frame.recipe, frame.path, sources) if frame.recipe is not None else None
    if recorded is not None:
        found = recorded.mesh
    else:
        beside = References(frame.path, sources).content
        found = read_scan(sources.read(frame.path), frame.path.name, beside)
    used = np.zeros(len(found.mesh.vertices), bool)
    used[found.mesh.faces] = True
    unused_share = 1 - float(used.mean())
    mesh, material, report = _clean(found, settings)
    if not len(mesh.faces):
        raise FrameRejected(
            "degenerate",
            "no triangle of the scan has an area",
            where=frame.path.name,
            seen=f"{counted(len(found.mesh.faces), 'triangle')}",
            todo="Export the frame again.",
        )
    turned_share, inward, layers = 0.0, False, (0.0, 0.0)
    if recorded is None:  # what a camera sees is the outside
        oriented = orient(mesh)
        mesh, turned_share = oriented.mesh, float(oriented.turned.mean())
        inward = bool(turned_share > 0.5 and oriented.certainty > CERTAIN_WINDING)
        layers = (oriented.layers, oriented.layers_apart)
    landmarks = _landmarks_beside(frame, mesh, sources, sides) if sides is not None else None
    return RawFrame(
        mesh,
        material,
        replace(found, mesh=mesh),
        report,
        units.gather(mesh, landmarks, inward),
        unused_share,
        repeated.layout(found.mesh),
        turned_share,
        len(found.mesh.faces),
        () if recorded is None else tuple(recorded.notes),
        "" if recorded is None else UP_HOW.format(recorded.recipe.up),
        layers,
    )


@dataclass(frozen=True)
class Usual:
    """What the first frames of a sequence that were read are like, by their medians; how many they are.

    Attributes:
        unused_share, triangles: see `RawFrame`.
        with_unused: how many of them have more than `UNUSED_SHARE` of unused vertices.
    """

    frames: int
    unused_share: float
    triangles: float
    with_unused: int = 0

    @classmethod
    def of(cls, read: Sequence[RawFrame]) -> Usual:
        if not read:
            return cls(0, 0.0, 0.0)
        return cls(
            len(read),
            float(np.median([raw.unused_share for raw in read])),
            float(np.median([raw.triangles for raw in read])),
            sum(raw.unused_share > UNUSED_SHARE for raw in read),
        )

    def notes_of(self, raw: RawFrame) -> list[Note]:
        """What a frame of a mesh file lacks that its sequence's other frames have: an OBJ that was cut between two
        lines looks whole.

        Where a program or a person deleted triangles and left their vertices, several frames are so, or the file says
        how many triangles it has: then it is used, and noted.

        Raises:
            FrameRejected: `truncated`.
        """
        notes: list[Note] = []
        if raw.unused_share > UNUSED_SHARE:
            alone = (
                self.frames >= LIKE_FRAMES and self.unused_share <= UNUSED_SHARE / 5 and self.with_unused <= 1
            )
            if alone and raw.found.may_be_cut:
                raise FrameRejected(
                    "truncated",
                    "vertices of the file have no triangle, and those of its sequence's other frames have",
                    seen=f"{raw.unused_share:.0%} of them",
                    expected=f"at most {UNUSED_SHARE:.0%}",
                    todo="Was the file cut? Then copy it again. If it is whole, export it without unused vertices.",
                )
            why = (
                "if it was cut, copy it again." if raw.found.may_be_cut else "were triangles deleted by hand?"
            )
            unused = f"{raw.unused_share:.0%} of the file's vertices have no triangle: {why}"
            notes.append(("unused-vertices", unused))
        if self.frames >= LIKE_FRAMES and raw.triangles < FEW_TRIANGLES * self.triangles:
            few = (
                f"The file has {raw.triangles:,} triangles, and its sequence's frames about {self.triangles:,.0f}: "
                "is a piece of the face missing, or was the file cut? Then copy it again, or call the frame bad."
            )
            notes.append(("few-triangles", few))
        return notes


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


def _landmarks_beside(frame: FrameSource, mesh: Mesh, sources: Sources, sides: Sides) -> Floats | None:
    """Landmarks (68, 3) in file units; None without a file in space, or when it cannot be read (the landmarks stage
    says)."""
    try:
        beside = read_beside(frame, sources, sides)
    except FrameRejected:
        return None
    if beside is None or beside.points.shape[1] != 3:
        return None
    if is_slicers(beside.name):
        return on_mesh(beside.points, Surface(mesh.vertices, mesh.faces).distance).points
    return beside.points


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
    usual = Usual.of(list(read.values()))
    upright = next((raw.upright for raw in read.values() if raw.upright), "")
    unit, axes = _decided(task.captures, evidence, upright, str(task.sequence.item))
    file_from_scan = units.file_from_scan(unit, axes, evidence)
    writer = IngestWriter(
        out, unit, axes, file_from_scan, task.captures.fps, settings.max_pixels, task.sequence
    )
    earlier, images = repeated.Frames(), repeated.Images()
    for row, frame in enumerate(frames):
        if not out.statuses[row].ok:
            continue
        raw = read.pop(row, None)
        if raw is None:
            raw = _guarded(out, row, partial(read_frame, frame, out.sources, settings, None))
        if raw is None:
            continue
        done = _guarded(out, row, partial(_finish, frame, raw, out.sources, task, evidence, unit, usual))
        if done is None:
            continue
        mesh, encoded, notes = done
        scan = mesh.with_vertices(units.to_scan(file_from_scan, mesh.vertices))
        if axes.mirrored:
            scan = reversed_mesh(scan)
        writer.frame(row, scan, encoded, raw.report.removed_triangles)
        same = earlier.same_as(frame.number, scan)
        if same is not None:
            again = (
                f"Its vertices are those of frame {same}, every one, to {repeated.SAME_MM} mm: was the file copied, or "
                "did the scanner hang?"
            )
            notes = [("frame-repeated", again), *notes]
        shown = images.same_as(frame.number, raw.layout, encoded)
        if shown is not None and same is None:
            late = (
                f"Its image is that of frame {shown}, byte for byte, and its surface is not: was it recorded at a "
                "lower rate, or the file copied? What moves shows colours of another moment."
            )
            notes = [("texture-repeated", late), *notes]
        for code, sentence in notes:
            out.note(row, code, sentence)
        if axes.mirrored:
            out.note(row, "axes-mirrored", "The file is a mirror image of the face, and was mirrored back.")
        elif axes.doubtful:
            out.note(
                row,
                "axes-mirrored",
                "By its landmarks the face is a mirror image, by its triangles not: check axes and labels.",
            )


def _decided(
    captures: Captures, evidence: list[units.Evidence], upright: str, where: str
) -> tuple[units.UnitDecision, units.AxesDecision]:
    """Unit and axes of a sequence; those of a recording are told by its description, unless they are declared."""
    if not upright:
        return (
            units.decide_unit(evidence, captures.unit, where),
            units.decide_axes(evidence, captures.up, captures.mirrored),
        )
    unit = (captures.unit, where) if captures.unit != "auto" else ("mm", where, UNIT_HOW)
    up = (captures.up, captures.mirrored) if captures.up != "auto" else ("+y", captures.mirrored, upright)
    return units.decide_unit(evidence, *unit), units.decide_axes(evidence, *up)


def _finish(
    frame: FrameSource,
    raw: RawFrame,
    sources: Sources,
    task: Task[IngestSettings],
    evidence: list[units.Evidence],
    unit: units.UnitDecision,
    usual: Usual,
) -> tuple[Mesh, bytes | None, list[Note]]:
    units.check_frame(raw.evidence, evidence, unit)
    found = raw.found
    uv = found.mesh.uv
    if task.captures.texture_v == "flipped" and uv is not None and frame.recipe is None:
        found = replace(found, mesh=replace(found.mesh, uv=uv * [1.0, -1.0] + [0.0, 1.0]))
    max_pixels = task.settings.max_pixels
    mesh, encoded, notes = find_texture(frame, found, raw.material, sources, max_pixels, raw.notes)
    if (
        frame.recipe is None
    ):  # a surface made of depth pictures is no file that was cut or could be copied again
        notes = [*usual.notes_of(raw), *notes]
    if found.uv_absent:
        absent = (
            "Texture coordinates that the file does not have are named by "
            f"{counted(found.uv_absent, 'triangle, which counts', 'triangles, which count')} as without colour: if the "
            "baked texture lacks something, export the frame again."
        )
        notes = [("uv-absent", absent), *notes]
    if found.moments > 1:
        rest = (
            f"The file has an animation of {found.moments:,} moments, and was taken as it rests: export a mesh of each "
            "moment, in a file of its own."
        )
        notes = [("animation-unread", rest), *notes]
    if raw.layers[0] >= LAYERS_SHARE:
        twice = (
            f"{raw.layers[0]:.0%} of its surface lies twice, {raw.layers[1] * unit.unit_mm:.1f} mm apart (median), and "
            "the mesh on either, or between: were views not merged, or do several frames lie in one file? Export one "
            "surface."
        )
        notes = [("surface-layers", twice), *notes]
    if raw.turned_share >= TURNED_SHARE:
        inward = f"{raw.turned_share:.0%} of its triangles were wound inwards and have been turned."
        notes = [("triangles-turned", inward), *notes]
    return mesh, encoded, notes


def _guarded(out: CheckpointWriter, row: int, work: Callable[[], T]) -> T | None:
    """What `work` returns, or None after rejecting the row: one bad frame never costs the sequence.

    Raises:
        UsageError, ShortageError: what is wrong is not the frame.
    """
    try:
        return work()
    except UsageError:
        raise  # a missing package or a wrong setting is no property of the frame
    except ShortageError:
        raise  # nor is this: the sequence fails and is tried again, or the frame would be lost for good
    except Exception as error:  # whatever a damaged file, disk or memory makes of it
        if short_of_memory(error):
            raise ShortageError(not_enough()) from error
        out.reject(row, _rejection(error))
    return None


def _rejection(error: Exception) -> FrameRejected:
    """What is said of a frame over which an error was raised."""
    if isinstance(error, FrameRejected):
        return error
    if isinstance(error, MimicmeError):
        more = {name: getattr(error, name) for name in ("where", "seen", "expected", "todo")}
        return FrameRejected("unreadable", error.what, **more)
    text = str(error).splitlines()[0] if str(error) else ""
    what, todo = (
        "the frame could not be read",
        "Copy or export it again; if it reads well elsewhere, report this.",
    )
    if isinstance(error, MemoryError):
        what = "the frame takes more memory than there is"
        todo = (
            "Look at the size of its file; if that is right, run with fewer --jobs, or on a larger machine."
        )
    return FrameRejected("unreadable", what, seen=f"{type(error).__name__}: {text}", todo=todo)


STAGE = Stage(
    name="ingest",
    version=13,
    settings=IngestSettings,
    needs=(),
    compute=compute,
    reader=IngestCheckpoint,
    shapes=True,
    uses_template=False,
    memory="about 0.2 GB, 16 bytes for each byte of the largest mesh file, 8 to 16 for each pixel of a texture, "
    "130 for each of a depth picture, twice as much where several views are fused",
)
