"""The template: the mesh, landmarks, texture layout and regions that every registered frame shares.

A template comes from a mesh file (OBJ or PLY) with its landmarks beside it under the same stem - 68, or the 51 without
the jaw - and is prepared once: unit and axes are decided from the landmarks, the landmarks are put onto the surface, a
texture layout is made where the file has none, and the result is kept in one HDF5 file that every worker reads.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.captures.units import (
    EYES_MM,
    UNITS_MM,
    face_axes,
    nearest_axes,
    rotation_of,
    unit_of_eyes,
)
from mimicme.pipeline.checkpoint import guarded_file
from mimicme.pipeline.errors import (
    CheckpointError,
    FrameRejected,
    InputError,
    MissingDependencyError,
    counted,
)
from mimicme.pipeline.formats.mesh_file import MeshFile
from mimicme.pipeline.formats.npz import read_npz
from mimicme.pipeline.geometry.mesh import Mesh, transform, triangle_normals
from mimicme.pipeline.geometry.rigid import fit_rigid, fit_similarity_scale
from mimicme.pipeline.landmarks import GROUPS, IBUG68, INNER, eye_distance
from mimicme.pipeline.landmarks.files import EXTENSIONS, read_landmarks
from mimicme.pipeline.template.embedded_points import corrected
from mimicme.pipeline.template.lip_points import points_on_other_lip
from mimicme.pipeline.whole_hdf5 import whole_hdf5

if TYPE_CHECKING:
    from mimicme.pipeline.formats.mesh_file import MeshFile

EMBEDDED = "menpo3d"
PREPARED_SCHEMA = 1
# raised when the same template file is prepared into something else
PREPARE_VERSION = 7
INTERIOR = "interior"
JAW_PLACED = (
    "landmarks: the file has 51; the 17 of the jaw are placed by the proportions of the embedded template"
)
"""The mask of what no scan shows: eyeballs, inner mouth, teeth, lashes; see `skin`."""
# landmarks further from the surface than this share of the inter-eye distance belong to another mesh
LANDMARK_OFF_SURFACE = 0.25
# a triangle may stick out of its UDIM tile by this much, the slips of other programs
UDIM_SLACK = 0.01
# lips so near to each other may be taken for one another, in the distance of the eyes
TOUCHING = 0.05
MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Template:
    """A template in its own canonical frame: mm, right-handed, +x subject's left, +y up, +z out of the face.

    Attributes:
        vertices: (V, 3) float64, all of the template file's vertices, in its order.
        faces: (T, 3) int32.
        uv: (N, 2) float64 in [0, 1], v up; uv_faces: (T, 3) int32.
        landmark_names: L names (`jaw_00` ...), iBUG-68 order.
        landmark_vertices: (L, 3) int64 and landmark_weights: (L, 3) float64: each landmark as a weighted
            corner sum of one triangle.
        masks: named (V,) float64 in [0, 1] regions the template file ships; may be empty.
        name: `menpo3d` for the embedded one, else the file's stem.
        digest: SHA-256 of the template's content; part of every fingerprint that depends on the template.
        notes: sentences that state what was decided on the way: unit, axes, texture layout.
        polygons: (T,) int32, the number of the template file's face that each triangle was cut out of; None when it has
            triangles alone.
    """

    vertices: Floats
    faces: Ints
    uv: Floats
    uv_faces: Ints
    landmark_names: tuple[str, ...]
    landmark_vertices: NDArray[np.int64]
    landmark_weights: Floats
    masks: dict[str, Floats] = field(default_factory=dict)
    name: str = ""
    digest: str = ""
    notes: tuple[str, ...] = ()
    polygons: Ints | None = None

    @property
    def interior(self) -> Bools:
        """(V,) True on what no scan shows, by the mask `interior`; nowhere without it."""
        mask = self.masks.get(INTERIOR)
        return np.zeros(len(self.vertices), bool) if mask is None else np.asarray(mask >= 0.5)

    @property
    def mesh(self) -> Mesh:
        return Mesh(self.vertices, self.faces, self.uv, self.uv_faces)

    def landmarks(self, vertices: Floats | None = None) -> Floats:
        """(L, 3) landmarks carried by `vertices` (V, 3), by default the template's own."""
        v = self.vertices if vertices is None else vertices
        return np.einsum("lk,lkx->lx", self.landmark_weights, v[self.landmark_vertices])


class TemplateKey:
    """A template as part of a cache's key: two are equal when their digests are."""

    def __init__(self, template: Template) -> None:
        self.template = template

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TemplateKey) and other.template.digest == self.template.digest

    def __hash__(self) -> int:
        return hash(self.template.digest)


def embedded_data() -> Path:
    """Folder of the meshes that menpo3d installs, found without importing it (that takes seconds).

    Raises:
        MissingDependencyError: menpo3d is not installed.
    """
    spec = importlib.util.find_spec("menpo3d")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        data = Path(folder) / "data"
        if (data / "template.ply").is_file():
            return data
    raise MissingDependencyError(
        "the embedded template comes with menpo3d, which is not installed",
        todo="Run `make install`, or name a template file of your own: `file` in [template] of mimicme.toml (`init`: "
        "--template FILE).",
    )


@dataclass(frozen=True)
class TemplateFiles:
    """The files of a template: its mesh, landmarks and, if there are some, masks."""

    mesh: Path
    landmarks: Path
    masks: Path | None
    name: str

    @property
    def all(self) -> list[Path]:
        return [p for p in (self.mesh, self.landmarks, self.masks) if p is not None]


def find_files(source: str | Path) -> TemplateFiles:
    """The files of a template: `menpo3d`, or a mesh file with landmarks of the same stem beside it.

    Raises:
        InputError: the mesh or its landmarks are not there.
        MissingDependencyError: the embedded template is not installed.
    """
    if str(source) == EMBEDDED:
        data = embedded_data()
        return TemplateFiles(data / "template.ply", data / "template.ljson", None, EMBEDDED)
    files = files_beside(Path(source))
    mesh = files.mesh
    if not mesh.is_file():
        raise InputError(
            "the template file is not there",
            where=mesh,
            expected=f"an OBJ or PLY file, or '{EMBEDDED}' for the embedded template",
        )
    if not files.landmarks.is_file():
        raise InputError(
            "the template has no landmarks beside it",
            where=mesh,
            expected=" or ".join(mesh.with_suffix(s).name for s in EXTENSIONS[:2]),
            todo="Write its 68 landmarks, or the 51 without the jaw, to a file with the same stem.",
        )
    return files


def files_beside(mesh: Path) -> TemplateFiles:
    """The files that belong to a mesh file by their names; its landmarks' is not there where none of any kind is."""
    beside = [mesh.with_suffix(s) for s in EXTENSIONS if mesh.with_suffix(s).is_file()]
    landmarks = beside[0] if beside else mesh.with_suffix(EXTENSIONS[0])
    masks = mesh.with_name(f"{mesh.stem}.masks.npz")
    return TemplateFiles(mesh, landmarks, masks if masks.is_file() else None, mesh.stem)


def template_source_digest(source: str | Path) -> str:
    """SHA-256 of the files a template is prepared from and of how; cheap, for deciding whether to prepare
    again.

    Raises:
        InputError, MissingDependencyError: as `prepare`.
    """
    files = find_files(source)
    digest = hashlib.sha256(f"prepare {PREPARE_VERSION} {files.name}".encode())
    for path in files.all:
        data = _read(path)
        digest.update(f"\n{path.suffix} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(
                "the file is too large for a template",
                where=path,
                seen=f"{size:,} bytes",
                expected=f"at most {MAX_BYTES:,}",
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError("the file cannot be read", where=path, seen=error.strerror) from error


def read_template(files: TemplateFiles) -> tuple[MeshFile, Floats]:
    """A template's mesh file and its landmarks (68, 3), NaN where absent, both as they lie there.

    Raises:
        InputError: one of them cannot be read.
    """
    return read_template_mesh(files), read_template_landmarks(files)


def read_template_mesh(files: TemplateFiles) -> MeshFile:
    """A template's mesh file.

    Raises:
        InputError: it cannot be read.
    """
    from mimicme.pipeline.formats.meshio import read_mesh

    with _refused_here(files.mesh):
        return read_mesh(_read(files.mesh), files.mesh.name)


def read_template_landmarks(files: TemplateFiles) -> Floats:
    """A template's landmarks (68, 3), NaN where absent, as they lie in their file.

    Raises:
        InputError: it cannot be read.
    """
    with _refused_here(files.landmarks):
        return np.asarray(read_landmarks(_read(files.landmarks), files.landmarks.name).points, np.float64)


@contextmanager
def _refused_here(path: Path) -> Iterator[None]:
    """A reader of captures rejects a frame; there is no run without a template."""
    try:
        yield
    except FrameRejected as error:
        raise InputError(
            f"the template cannot be used: {error.what}", where=error.where or path, seen=error.seen,
            expected=error.expected, todo=error.todo,
        ) from error  # fmt: skip


def prepare(source: str | Path) -> Template:
    """Read a template and decide everything the stages need to know about it.

    Args:
        source: `menpo3d` for the embedded 53,349-vertex face; or an OBJ or PLY file with its landmarks beside it
            (same stem, `.ljson`, `.pts`, ...; 68, or the 51 without the jaw) and, optionally, `<stem>.masks.npz`
            with (V,) arrays in [0, 1].

    Returns:
        The template in mm, +y up, +z out of the face; `notes` states what was decided.

    Raises:
        MissingDependencyError: the embedded template is not installed.
        InputError: a file is missing or cannot be read, a landmark is missing or off the surface, the eyes
        are
            no face's distance apart in any unit, or the mesh is mirrored.
    """
    files = find_files(source)
    file, points = read_template(files)
    mesh = file.mesh
    masks = read_masks(files, len(mesh.vertices))
    said: list[str] = []
    if str(source) == EMBEDDED:
        points, *said = corrected(points, mesh)
    elif without_jaw(points):
        points, *said = with_jaw(points)
    template = assemble(
        mesh, points, tuple(IBUG68), files.name, masks, where=files.mesh, polygons=file.polygons
    )
    return replace(template, notes=(*template.notes, *said)) if said else template


def without_jaw(points: Floats) -> bool:
    """Whether (68, 3) landmarks, NaN where absent, are the 51 that are left without the jaw."""
    given = np.asarray(np.isfinite(points).all(axis=1))
    return bool(given[INNER].all() and not given[GROUPS["jaw"]].any())


def with_jaw(points: Floats) -> tuple[Floats, str]:
    """(68, 3) landmarks without a jaw with one by the proportions of the embedded template, and what was done.

    Its 51 others are brought onto these by a similarity, and its jaw goes along: on twelve people of `mimicme synth` a
    mean 8 mm from where theirs is, which matters where captures have points of the jaw by hand.

    Raises:
        MissingDependencyError: the embedded template is not installed.
    """
    file, found = read_template(find_files(EMBEDDED))
    model = corrected(found, file.mesh)[0]
    scale = fit_similarity_scale(model[INNER], points[INNER])
    matrix = fit_rigid(scale * model[INNER], points[INNER])
    filled = points.copy()
    filled[GROUPS["jaw"]] = transform(matrix, scale * model[GROUPS["jaw"]])
    return filled, JAW_PLACED


def assemble(
    mesh: Mesh,
    points: Floats,
    names: tuple[str, ...],
    name: str,
    masks: dict[str, Floats] | None = None,
    where: object = None,
    polygons: Ints | None = None,
) -> Template:
    """Make a template of a mesh and its (68, 3) iBUG-68 landmarks, both in the file's own unit and axes.

    Landmarks are put onto the skin; what the mask `interior` covers gets no layout of its own where one is made.

    Args:
        polygons: (T,) `MeshFile.polygons`.

    Raises:
        InputError: as `prepare`.
    """
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int32)
    _check_mesh(vertices, faces, where)
    _check_landmarks(points, names, where)
    mm, said = _unit(points, where)
    notes = [said]
    axes, said = _axes(points, where)
    notes.append(said)
    vertices, points = vertices * mm @ axes.T, points * mm @ axes.T
    skin = _skin_triangles(faces, masks or {}, where)
    corners, weights, triangles, off = _on_surface(vertices, faces[skin], points)
    limit = LANDMARK_OFF_SURFACE * eye_distance(points)
    if np.median(off) > limit:
        raise InputError(
            "the landmarks do not lie on the template",
            where=where,
            seen=f"median {np.median(off):.1f} mm off the surface",
            expected=f"at most {limit:.1f} mm",
            todo="Give mesh and landmarks in the same unit and axes.",
        )
    notes.append(f"landmarks: 68 on the surface, moved by {np.median(off):.2f} mm (median)")
    strayed = points_on_other_lip(vertices, faces[skin], corners, eye_distance(points))
    for landmark, of_lip in strayed:
        placed = _on_surface(vertices, faces[skin][of_lip], points[[landmark]])
        if placed[3][0] > TOUCHING * eye_distance(points):
            continue
        corners[landmark], weights[landmark] = placed[0][0], placed[1][0]
        triangles[landmark] = np.flatnonzero(of_lip)[placed[2][0]]
        notes.append(
            f"landmarks: {landmark} lay on the other lip, which would go along with this one in an open mouth: "
            f"moved to its own, by {placed[3][0]:.1f} mm"
        )
    normals, _ = triangle_normals(vertices, faces[skin])
    uv, uv_faces = mesh.uv, mesh.uv_faces
    inner = triangles[17:]
    if float(normals[inner, 2].mean()) < 0:
        faces = np.ascontiguousarray(faces[:, ::-1])
        uv_faces = None if uv_faces is None else np.ascontiguousarray(uv_faces[:, ::-1])
        corners, weights = corners[:, ::-1], weights[:, ::-1]
        notes.append("triangles: turned round, because the file has them clockwise seen from outside")
    if uv is None or uv_faces is None:
        from mimicme.pipeline.template.face_layout import face_layout

        uv, uv_faces, said = face_layout(vertices, faces[skin], points)
        if not skin.all():  # no scan has colours for the rest: it gets a point of the corner
            uv = np.concatenate([uv, np.zeros((1, 2))])
            own = uv_faces
            uv_faces = np.full(faces.shape, len(uv) - 1, np.int32)
            uv_faces[skin] = own
    else:
        uv, uv_faces, said = _own_uv(np.asarray(uv, np.float64), np.asarray(uv_faces, np.int32), skin)
    notes.append(said)
    if polygons is not None:
        notes.append(
            f"faces: {len(np.unique(polygons)):,} polygons, cut into {counted(len(faces), 'triangle')}"
        )
    template = Template(
        vertices, faces, uv, uv_faces, names, np.ascontiguousarray(corners), np.ascontiguousarray(weights),
        dict(sorted((masks or {}).items())), name, "", tuple(notes), polygons,
    )  # fmt: skip
    return with_digest(template)


def _skin_triangles(faces: Ints, masks: dict[str, Floats], where: object) -> Bools:
    """(T,) True on triangles none of whose corners the mask `interior` covers."""
    if INTERIOR not in masks:
        return np.ones(len(faces), bool)
    skin = ~(masks[INTERIOR] >= 0.5)[faces].any(axis=1)
    if not skin.any():
        raise InputError(
            "the mask 'interior' leaves no triangle of the skin",
            where=where,
            expected="1 on eyes, inner mouth, teeth and lashes, 0 on what a scan shows",
        )
    return np.asarray(skin)


def with_digest(template: Template) -> Template:
    """The template with the digest of its content."""
    digest = hashlib.sha256()
    for key, array in _arrays(template).items():
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(json.dumps([template.name, list(template.landmark_names)]).encode())
    return replace(template, digest=digest.hexdigest())


def _arrays(template: Template) -> dict[str, NDArray[Any]]:
    named: dict[str, NDArray[Any]] = {
        "vertices": np.asarray(template.vertices, "<f8"),
        "faces": np.asarray(template.faces, "<i4"),
        "uv": np.asarray(template.uv, "<f8"),
        "uv_faces": np.asarray(template.uv_faces, "<i4"),
        "landmark_vertices": np.asarray(template.landmark_vertices, "<i8"),
        "landmark_weights": np.asarray(template.landmark_weights, "<f8"),
    }
    for key, mask in template.masks.items():
        named[f"masks/{key}"] = np.asarray(mask, "<f8")
    if template.polygons is not None:
        named["polygons"] = np.asarray(template.polygons, "<i4")
    return named


def _check_mesh(vertices: Floats, faces: Ints, where: object) -> None:
    if not len(vertices) or not len(faces):
        raise InputError("the template has no triangles", where=where)
    if not np.isfinite(vertices).all():
        bad = int(np.flatnonzero(~np.isfinite(vertices).all(1))[0])
        raise InputError("the template has a vertex that is not a number", where=where, seen=f"vertex {bad}")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(
            "a triangle of the template names a vertex that is not there",
            where=where,
            seen=f"indices {faces.min()} to {faces.max()}",
            expected=f"0 to {len(vertices) - 1}",
        )


def _check_landmarks(points: Floats, names: tuple[str, ...], where: object) -> None:
    if points.shape != (68, 3) or len(names) != 68:
        raise InputError("a template needs the 68 iBUG landmarks", where=where, seen=f"{points.shape}")
    absent = np.flatnonzero(~np.isfinite(points).all(1))
    if len(absent):
        raise InputError(
            "a template needs all of its 68 landmarks",
            where=where,
            seen=f"{len(absent)} absent, the first {names[int(absent[0])]}",
            todo="Add them; only the 17 of the jaw, all of them, may be left out.",
        )


def _unit(points: Floats, where: object) -> tuple[float, str]:
    """Millimetres per unit of (68, 3) landmarks, and the sentence that says so.

    Raises:
        InputError: no unit gives a face.
    """
    distance = eye_distance(points)
    unit = unit_of_eyes(distance)
    if unit is None:
        raise InputError(
            "the template's eyes are no face's distance apart in any unit",
            where=where,
            seen=f"{distance:.4g} file units",
            expected=f"{EYES_MM[0]:g} to {EYES_MM[1]:g} mm in one of {', '.join(UNITS_MM)}",
            todo="Scale the template and its landmarks to mm.",
        )
    mm = UNITS_MM[unit]
    return mm, f"unit: {unit} ({mm:g} mm), because the eyes are then {distance * mm:.1f} mm apart"


def _axes(points: Floats, where: object) -> tuple[Floats, str]:
    """Rotation by right angles (3, 3) that turns a face to +y up, +z out, and the sentence that says so.

    A face that already stands that way within 45 degrees stays as it is, tilt included.

    Raises:
        InputError: the landmarks lie like no face's, or the face is mirrored (left and right landmarks
            exchanged, or a reflected mesh).
    """
    axes, mirrored = face_axes(points)
    if axes is None:
        raise InputError(
            "the template's eyes and mouth do not lie as on a face",
            where=where,
            expected="landmarks named as in iBUG-68",
            todo="Check the order of its landmarks.",
        )
    if mirrored:
        raise InputError(
            "the template is mirrored: its nose points into the face",
            where=where,
            expected="right-handed axes, and landmarks named as in iBUG-68",
            todo="Mirror the mesh, or exchange its left and right landmarks.",
        )
    up, forward = nearest_axes(axes)
    if (up, forward) == ("+y", "+z"):
        return np.eye(3), "axes: +y up and +z out of the face, as in the file"
    said = f"axes: turned to +y up and +z out of the face (in the file {up} is up, {forward} out)"
    return rotation_of(up, forward), said


def _on_surface(
    vertices: Floats, faces: Ints, points: Floats
) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64], Floats]:
    """Corners (k, 3), weights (k, 3), triangles (k,) and distances (k,) of the closest surface points."""
    from mimicme.pipeline.geometry.spatial import Surface

    centre = vertices.mean(0)
    found = Surface(vertices - centre, faces).closest(points - centre)
    weights = np.clip(found.weights, 0, 1)
    weights /= weights.sum(1, keepdims=True)
    return faces[found.triangles].astype(np.int64), weights, found.triangles, found.distances


def _own_uv(uv: Floats, uv_faces: Ints, skin: Bools) -> tuple[Floats, Ints, str]:
    """The template's own texture layout, brought into the unit square without folding it onto itself.

    Of UDIM tiles those of the skin, whose triangles are True in (T,), lie side by side; those of the interior share one
    square among them, for no scan has colours for them.
    """
    if not np.isfinite(uv).all():
        raise InputError("the template has a texture coordinate that is not a number")
    used = np.unique(uv_faces)
    low, high = uv[used].min(0), uv[used].max(0)
    slack = 1e-4
    if (low >= -slack).all() and (high <= 1 + slack).all():
        return np.clip(uv, 0, 1), uv_faces, "texture layout: the file's own"
    # UDIM: one square per integer tile; tiles are laid side by side in one picture
    tile = np.floor(uv[uv_faces].mean(1)).astype(np.int64)
    beyond = np.abs(uv[uv_faces] - tile[:, None] - 0.5).max() - 0.5
    if beyond > UDIM_SLACK:
        span = float((high - low).max())
        said = (
            f"texture layout: the file's own, from {low.round(2).tolist()} to {high.round(2).tolist()}; triangles "
            "cross the borders of tiles, so that it is no UDIM layout: it was shrunk into the unit square"
        )
        return (uv - low) / span, uv_faces, said
    # the interior's tiles are others than the skin's, also where they have the same number
    tiles, which = np.unique(np.column_stack([~skin, tile]), axis=0, return_inverse=True)
    # a coordinate on the border that two tiles share has a place in each of them
    keys, corners = np.unique(
        np.stack([uv_faces, np.broadcast_to(which.reshape(-1, 1), uv_faces.shape)], 2).reshape(-1, 2),
        axis=0,
        return_inverse=True,
    )
    outer = int((tiles[:, 0] == 0).sum())
    inner = len(tiles) - outer
    side = int(np.ceil(np.sqrt(outer + (inner > 0))))
    place = np.stack([np.arange(outer) % side, np.arange(outer) // side], axis=1) / side
    size = np.full(outer, 1 / side)
    if inner:
        part = int(np.ceil(np.sqrt(inner)))
        square = np.array([outer % side, outer // side]) / side
        within = np.stack([np.arange(inner) % part, np.arange(inner) // part], axis=1) / (side * part)
        place = np.concatenate([place, square + within])
        size = np.concatenate([size, np.full(inner, 1 / (side * part))])
    tile_of = keys[:, 1]
    laid = np.clip(uv[keys[:, 0]] - tiles[tile_of, 1:], 0, 1) * size[tile_of, None] + place[tile_of]
    numbers = ", ".join(str(1001 + int(u) + 10 * int(v)) for inside, u, v in tiles if not inside)
    said = (
        f"texture layout: the file's own, {outer} UDIM tile(s) ({numbers}) laid {side} x {side} "
        "from the lower left corner"
    )
    if inner:
        said += f"; the {inner} of the interior share one square"
    return laid, corners.reshape(uv_faces.shape).astype(np.int32), said


def read_masks(files: TemplateFiles, n_vertices: int) -> dict[str, Floats]:
    """The masks beside a template, (V,) in [0, 1] by name; none where there is no file.

    Raises:
        InputError: they cannot be read, or are not one number in [0, 1] per vertex.
    """
    path = files.masks
    if path is None:
        return {}
    try:
        masks = {name: np.asarray(mask, np.float64) for name, mask in read_npz(_read(path)).items()}
    except ValueError as error:
        raise InputError("the masks cannot be read", where=path, seen=str(error)) from error
    for key, mask in masks.items():
        good = mask.shape == (n_vertices,) and np.isfinite(mask).all()
        if not good or mask.min(initial=0) < 0 or mask.max(initial=0) > 1:
            raise InputError(
                f"the mask '{key}' is not one number in [0, 1] per vertex",
                where=path,
                seen=mask.shape,
                expected=f"({n_vertices},)",
            )
    return masks


def save_prepared(template: Template, path: Path) -> None:
    """Write a prepared template to one HDF5 file, atomically; the same template gives the same bytes."""
    with whole_hdf5(Path(path)) as handle:
        handle.attrs["prepared_schema"] = PREPARED_SCHEMA
        handle.attrs["name"] = template.name
        handle.attrs["digest"] = template.digest
        handle.attrs["landmark_names"] = json.dumps(list(template.landmark_names))
        handle.attrs["notes"] = json.dumps(list(template.notes))
        filters = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}
        for key, array in _arrays(template).items():
            handle.create_dataset(key, data=array, track_times=False, **filters)


def prepared_vertex_count(path: Path) -> int:
    """How many vertices a prepared template has; 0 where none can be read.  Nothing else of it is read."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return int(file["vertices"].shape[0])
    except (OSError, KeyError, AttributeError, IndexError, RuntimeError):
        return 0


def load_prepared(path: Path) -> Template:
    """Read a prepared template (written by `save_prepared`), once per process while the file stays the same.

    Raises:
        CheckpointError: it is not there, or not a prepared template.
    """
    path = Path(path)
    try:
        stat = path.stat()
    except OSError as error:
        raise CheckpointError(
            "the prepared template is not there", where=path, seen=error.strerror
        ) from error
    return _load(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


@lru_cache(maxsize=2)
def _load(path: Path, mtime_ns: int, size: int, inode: int) -> Template:
    with guarded_file(path) as handle:
        schema = handle.attrs.get("prepared_schema")
        if schema != PREPARED_SCHEMA:
            raise CheckpointError(
                "this is not a prepared template of this version", where=path, seen=schema,
                expected=PREPARED_SCHEMA, todo="Delete it; the next run prepares it again.",
            )  # fmt: skip
        masks = {key: handle["masks"][key][:] for key in handle["masks"]} if "masks" in handle else {}
        return Template(
            handle["vertices"][:],
            handle["faces"][:],
            handle["uv"][:],
            handle["uv_faces"][:],
            tuple(json.loads(handle.attrs["landmark_names"])),
            handle["landmark_vertices"][:],
            handle["landmark_weights"][:],
            masks,
            str(handle.attrs["name"]),
            str(handle.attrs["digest"]),
            tuple(json.loads(handle.attrs["notes"])),
            handle["polygons"][:] if "polygons" in handle else None,
        )
