"""adopt: meshes that are registered already (CoMA's, FaceWarehouse's, a lab's own) as a release.

Reads a folder of meshes that all have the template's vertices and triangles, in a layout as `init` has them, and a
template file with its landmarks beside it; writes a release: what models, experiments and export work on.  The order of
the vertices is what counts: triangles may come in another order, begin at another corner, or be wound the other way;
a mesh whose shape is mirrored is refused, however its triangles are wound, for its vertices mean the other side.
Vertices are brought into the template's unit and axes and are otherwise as they were; `align` also takes the head's
motion out.  A mesh that cannot be read, or is of another topology, is a rejected frame.  There are no textures, and no
scan to measure a distance to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints, Longs
from mimicme.pipeline.captures.bu_names import people
from mimicme.pipeline.captures.catalogue import Catalogue, build
from mimicme.pipeline.captures.consent import ConsentRules
from mimicme.pipeline.captures.expressions import read_mapping
from mimicme.pipeline.captures.metadata import SubjectTable, read_subjects
from mimicme.pipeline.errors import FrameRejected, InputError, UsageError, counted, listed
from mimicme.pipeline.formats.meshio import read_mesh
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.rigid import fit_rigid, fit_similarity_scale
from mimicme.pipeline.items import Sequence
from mimicme.pipeline.release.layout import QUALITY_FIXED, quality_dtype
from mimicme.pipeline.release.writer import ReleaseWriter
from mimicme.pipeline.run.plan import created_at
from mimicme.pipeline.sources import Sources
from mimicme.pipeline.template import Template, prepare, template_source_digest
from mimicme.pipeline.whole_file import refuse_existing, refuse_input

Progress = Callable[[str], None]

PROJECTED = 3  # landmark source: carried by the registered mesh
RIGID_SHARE = 0.5
TURNED = "triangles-turned"
FLAT = 1e-6
"""Determinant of a shape without depth, relative to the cube of its size; a head has about 0.2."""


@dataclass(frozen=True)
class Adopted:
    """What became of the meshes: numbers of subjects, frames and rejected ones; sentences to show."""

    subjects: int
    frames: int
    rejected: int
    messages: tuple[str, ...]


def adopt(
    folder: Path,
    release: Path,
    template: Path,
    *,
    layout: str = "",
    metadata: Path | None = None,
    columns: Mapping[str, str] | None = None,
    expressions: Path | None = None,
    fps: float = float("nan"),
    licence: str = "",
    align: bool = False,
    rules: ConsentRules | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Adopted:
    """Write a release of registered meshes.

    Args:
        template: a mesh file of the same topology, with its 68 landmarks beside it, in the meshes' unit and axes.
        layout: as in `mimicme init`; empty: found by trying.
        metadata, columns, expressions: tables as in `mimicme init`.  fps: frames per second, NaN: unknown.
        rules: whose consent lets a subject in; default: as in a new workspace.
        align: bring every mesh rigidly onto the template, by the half of its vertices that move least.
        overwrite: replace a release that is there.

    Raises:
        UsageError: the release is there already or one of the files it is made from, or a folder may be that of
            somebody who refuses.
        InputError: nothing is found, a file cannot be read, or not one mesh has the template's topology.
    """
    refuse_input(release, [path for path in (template, metadata, expressions) if path is not None])
    refuse_existing(release, overwrite)
    shape = prepare(template)
    raw = read_mesh(template.read_bytes(), template.name).mesh
    to_mm = unit_and_axes(np.asarray(raw.vertices, np.float64), shape.vertices)
    table = read_subjects(metadata, rules, columns) if metadata else SubjectTable()
    found = build(
        folder,
        layout,
        read_mapping(expressions) if expressions else None,
        refused=lambda captured: table.matched(captured).excluded,
        fps=fps,
    )
    table = table.matched(found.captured).with_names(people(found.sequences))
    if table.doubts:
        raise UsageError("who is who must be said first", where=metadata, seen=" ".join(table.doubts))
    said = [*found.messages, *found.rates, *table.messages, *table.notices, *table.compare(found.subjects)]
    sources = Sources(folder)
    reader = _Reader(sources, shape, np.asarray(raw.faces), to_mm, align)
    count = rejected = 0
    settings = {"adopted": True, "align": align, "template": template_source_digest(template)}
    with ReleaseWriter(
        release,
        created=created_at(found.sequences),
        licence=licence,
        config=json.dumps(settings, sort_keys=True),
        fingerprint=_fingerprint(found, sources, settings),
    ) as out:
        out.template(shape)
        for subject in found.subjects:
            out.subject(subject, table.attributes(subject))
            for sequence in (s for s in found.sequences if s.item.subject == subject):
                if progress:
                    progress(str(sequence.item))
                lost = _write(out, sequence, reader, fps)
                count, rejected = count + len(sequence.frames), rejected + lost
        if rejected == count:
            raise InputError(
                "not one mesh has the template's topology", where=folder, seen=reader.first_problem,
                todo="Give --template a mesh of the same vertices and triangles.",
            )  # fmt: skip
    if reader.turned:
        said.append(
            f"Triangles wound the other way than the template's were turned ({TURNED}): {listed(reader.turned)}."
        )
    return Adopted(len(found.subjects), count, rejected, tuple(said))


def unit_and_axes(raw: Floats, prepared: Floats) -> Floats:
    """(4, 4) template file -> prepared template: the turn and the scale it was given; nothing is moved."""
    scale = fit_similarity_scale(raw, prepared)
    matrix = fit_rigid(raw * scale, prepared)
    matrix[:3, 3] = np.round(matrix[:3, 3], 6)
    matrix[:3, :3] *= scale
    return matrix


def stabilising_pose(vertices: Floats, template: Floats) -> Floats:
    """(4, 4) that brings a mesh onto the template: head stabilisation by trimmed least squares.

    Fitted to the half of the vertices that lie nearest then; both are (V, 3), mm.
    """
    pose = fit_rigid(vertices, template)
    for _ in range(4):
        off = np.linalg.norm(transform(pose, vertices) - template, axis=1)
        pose = fit_rigid(vertices, template, (off <= np.quantile(off, RIGID_SHARE)).astype(float))
    return pose


def triangles_turned(faces: Ints, template: Ints, n_vertices: int, n_template: int) -> int:
    """How many triangles are wound the other way than the template's; in which order they stand does not count.

    Args:
        faces: (T, 3) of a mesh of `n_vertices`; template: (T, 3) of one of `n_template`.

    Raises:
        FrameRejected: `other-topology`, with what differs.
    """
    corners, own = np.sort(faces, axis=1), np.sort(template, axis=1)
    if n_vertices == n_template and len(faces) == len(template):
        rows, rows_own = _in_order(corners), _in_order(own)
        if np.array_equal(corners[rows], own[rows_own]):
            return int((_is_odd(faces)[rows] != _is_odd(template)[rows_own]).sum())
    raise _other_topology(corners, own, n_vertices, n_template)


def _in_order(corners: Ints) -> Longs:
    return np.lexsort(corners.T[::-1])


def _is_odd(faces: Ints) -> Bools:
    """(T,) whether a triangle's corners are an odd permutation of them in ascending order."""
    a, b, c = faces.T
    return np.asarray((a > b) ^ (b > c) ^ (a > c))


def _other_topology(corners: Ints, own: Ints, n_vertices: int, n_template: int) -> FrameRejected:
    """The rejection of a mesh whose triangles, corners in ascending order, are not the template's."""
    seen = f"{counted(n_vertices, 'vertex', 'vertices')}, {counted(len(corners), 'triangle')}"
    expected = f"{n_template} and {len(own)}, the vertices in the same order"
    todo = "Adopt meshes of one topology, with its own template."
    if n_vertices == n_template and len(corners) == len(own):
        both, count = np.unique(np.concatenate([np.unique(corners, axis=0), own]), axis=0, return_counts=True)
        foreign = len(corners) - int((count > 1).sum())
        seen += f"; {foreign} triangle{' is' if foreign == 1 else 's are'} not the template's"
        differing = both[count == 1]
        if len(differing):
            seen += f"; the first vertex whose triangles differ is {differing.min()}"
        degrees = [np.sort(np.bincount(t.ravel(), minlength=n_vertices)) for t in (corners, own)]
        if np.array_equal(degrees[0], degrees[1]):
            seen += "; the vertices are in another order"
            todo = "Export the mesh with the order of its vertices kept (OBJ: keep vertex order)."
    return FrameRejected(
        "other-topology",
        "the mesh has other vertices or triangles than the template",
        seen=seen,
        expected=expected,
        todo=todo,
    )


def _is_mirror_image(vertices: Floats, template: Floats) -> bool:
    """Whether the linear map that brings vertices nearest to the template's is a reflection; both (V, 3).  A flat
    shape is its own mirror image, and is none."""
    across = (vertices - vertices.mean(axis=0)).T @ (template - template.mean(axis=0))
    return bool(np.linalg.det(across) < -FLAT * np.linalg.norm(across) ** 3)


@dataclass(frozen=True)
class ReadMesh:
    """A registered mesh.

    Attributes:
        vertices: (V, 3) mm in the canonical frame.
        pose: (4, 4) canonical -> where the mesh lay, mm.
        turned: number of its triangles that are wound the other way than the template's.
    """

    vertices: Floats
    pose: Floats
    turned: int


class _Reader:
    def __init__(
        self, sources: Sources, template: Template, faces: NDArray[np.int32], to_mm: Floats, align: bool
    ) -> None:
        self.sources, self.template, self.faces = sources, template, faces
        self.to_mm, self.align = to_mm, align
        self.first_problem = ""
        self.turned: list[str] = []  # meshes with triangles that are wound the other way

    def read(self, path: Path) -> ReadMesh:
        """A mesh of the template's topology.

        Raises:
            FrameRejected: the mesh cannot be read, or has another topology.
        """
        mesh = read_mesh(self.sources.read(path), path.name).mesh
        vertices = np.asarray(mesh.vertices, np.float64)
        turned = triangles_turned(
            np.asarray(mesh.faces), self.faces, len(vertices), len(self.template.vertices)
        )
        if not np.isfinite(vertices).all():
            raise FrameRejected("nan-vertices", "the mesh has coordinates that are not numbers")
        placed = transform(self.to_mm, vertices)
        if _is_mirror_image(placed, self.template.vertices):
            wound = "" if turned else ", so that all triangles face inwards"
            wound = ", and all triangles wound the other way" if turned == len(self.faces) else wound
            raise FrameRejected(
                "other-topology",
                "the mesh is a mirror image of the template: its vertices mean the other side",
                seen=f"left and right exchanged{wound}",
                todo="Exchange the sides of its vertices, or adopt it with a template that is mirrored alike.",
            )
        pose = stabilising_pose(placed, self.template.vertices) if self.align else np.eye(4)
        placed = transform(pose, placed) if self.align else placed
        return ReadMesh(placed, np.asarray(np.linalg.inv(pose)), turned)


def _write(out: ReleaseWriter, sequence: Sequence, reader: _Reader, fps: float) -> int:
    """Write one sequence; how many of its frames were rejected."""
    n, template = len(sequence.frames), reader.template
    vertices = np.full((n, len(template.vertices), 3), np.nan, np.float32)
    poses = np.full((n, 4, 4), np.nan)
    reasons, notes, messages = [""] * n, [""] * n, [""] * n
    for row, frame in enumerate(sequence.frames):
        try:
            mesh = reader.read(frame.path)
            vertices[row], poses[row] = mesh.vertices, mesh.pose
            if mesh.turned:
                notes[row] = TURNED
                messages[row] = f"{mesh.turned} of {len(reader.faces)} triangles were wound the other way."
                reader.turned.append(f"{sequence.item} frame {frame.number}")
        except FrameRejected as error:
            reasons[row], messages[row] = error.reason, str(error)
            reader.first_problem = reader.first_problem or f"{frame.path.name}: {error.what}"
    statuses = ["rejected" if reason else "ok" for reason in reasons]
    writer = out.sequence(
        sequence.item,
        name=sequence.name,
        expression=sequence.expression,
        fps=sequence.fps(fps),
        file_from_scan=np.linalg.inv(reader.to_mm),
        numbers=[frame.number for frame in sequence.frames],
        statuses=statuses,
        times=sequence.times(fps),
    )
    ok = np.array([not reason for reason in reasons])
    marks = np.stack([template.landmarks(v.astype(np.float64)) for v in vertices])
    present = np.repeat(ok[:, None], len(template.landmark_names), axis=1)
    writer.array("vertices", vertices)
    writer.array("pose", poses)
    writer.array("landmarks", marks.astype(np.float32))
    writer.array("landmark_source", (PROJECTED * present).astype(np.uint8))
    writer.array("landmark_confidence", present.astype(np.float32))
    for name in ("texture", "coverage"):
        writer.images(name, [0] * n, "png")
    table = np.zeros(n, quality_dtype([]))
    table["status"] = [s.encode() for s in statuses]
    table["reason"] = [r.encode() for r in reasons]
    table["note"] = [note.encode() for note in notes]
    for name in QUALITY_FIXED:
        table[name] = np.nan
    writer.quality(table, dict.fromkeys(QUALITY_FIXED, "mm"), messages)
    return int((~ok).sum())


def _fingerprint(found: Catalogue, sources: Sources, settings: dict[str, object]) -> str:
    """Of the settings and of the content of every file, in order."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for sequence in found.sequences:
        digest.update(f"\n{sequence.item} {sequence.expression}".encode())
        for frame in sequence.frames:
            with suppress(FrameRejected):  # said again, and kept, when the frame is read
                digest.update(
                    f"\n{frame.number} ".encode() + hashlib.sha256(sources.read(frame.path)).digest()
                )
    return digest.hexdigest()
