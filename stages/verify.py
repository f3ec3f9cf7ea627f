"""verify: whether a release keeps what it promises.

Each check is a small function from a part of the open file to findings; a finding says where, what is wrong
and what should be there.  Every chunk of every dataset is read once, so that a flipped byte is found, and
reported as the chunk it is in.  Nothing in the file is trusted: sizes are looked at before anything is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline import release as layout
from mimicme.pipeline.errors import MimicmeError
from mimicme.pipeline.metadata import is_refusal
from mimicme.pipeline.release import OK, REJECTED, UNKNOWN
from mimicme.pipeline.stage import Item

Level = Literal["error", "warning"]

MAX_VERTICES = 4_000_000
MAX_ROWS = 1_000_000  # frames of one sequence
MAX_IMAGE_BYTES = 1 << 30
MAX_CHUNK_BYTES = 256 << 20
HEAD_MM = 400.0  # a registered face further than this from the template's middle is in another unit
MOVE_MM = (
    80.0  # median distance of a registered vertex to the template's own; jaws drop 50 mm, heads differ 20
)
POSE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a release.

    Attributes:
        level: `error`: the release breaks its contract; `warning`: a person should look.
        where: the place inside the file (`/subjects/S001/smile/vertices row 3`).
        message: what is wrong and what should be there.
    """

    level: Level
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.message}"


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether a release with these findings must not be used."""
    return any(f.level == "error" for f in findings)


def verify(path: str | Path, every_image: bool = False) -> list[Finding]:
    """Check a whole release.

    Args:
        every_image: decode every texture; otherwise the first, middle and last of each sequence are
        decoded, and
            of the others the header is read.

    Returns:
        Findings in the order of the file; empty when the release is as it should be.  A file that cannot be
        opened is a finding, not an exception.
    """
    try:
        handle = h5py.File(path, "r")
    except (OSError, ValueError) as error:
        return [Finding("error", "/", f"This is not a readable HDF5 file: {_first(error)}")]
    with handle:
        # a link that leaves the file must not be followed by the checks below
        links = list(_guarded("/", check_links, handle))
        if links:
            return links
        return list(_check_file(handle, every_image))


@dataclass
class _Shape:
    """What the template says about every sequence, and what the sequences say about the index."""

    n_vertices: int = -1
    n_landmarks: int = -1
    vertices: NDArray[np.float64] | None = None
    entries: list[layout.IndexEntry] = field(default_factory=list)


def _check_file(root: h5py.File, every_image: bool) -> Iterator[Finding]:
    shape = _Shape()
    yield from _guarded("/", check_root, root)
    yield from _guarded("/template", check_template, root, shape)
    subjects = root.get("subjects")
    if not isinstance(subjects, h5py.Group):
        yield Finding("error", "/subjects", "The group is missing; it holds every subject's sequences.")
        return
    for subject in subjects:
        where = f"/subjects/{subject}"
        if not isinstance(subjects[subject], h5py.Group):
            yield Finding("error", where, "This is not a group; a subject is a group of sequences.")
            continue
        yield from _guarded(where, check_subject, subjects[subject])
        for name in subjects[subject]:
            group = subjects[subject][name]
            if not isinstance(group, h5py.Group):
                yield Finding("error", f"{where}/{name}", "This is not a group; a sequence is one.")
                continue
            yield from _guarded(group.name, _check_sequence, group, Item(subject, name), shape, every_image)
    yield from _guarded("/index", check_index, root, shape.entries)


def _guarded(where: str, check: Callable[..., Iterator[Finding]], *arguments: Any) -> Iterator[Finding]:
    """A check's findings; what a damaged file makes it trip over is a finding too."""
    try:
        yield from check(*arguments)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, IndexError, MemoryError) as error:
        name = check.__name__.strip("_").replace("_", " ")
        yield Finding("error", where, f"'{name}' cannot be finished here: {_first(error)}")


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


# ------------------------------------------------------------------------------------------ the whole file


def check_links(group: h5py.Group) -> Iterator[Finding]:
    """Every link is a hard link, and every dataset keeps its bytes in this file."""
    for name in group:
        where = f"{group.name.rstrip('/')}/{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            yield Finding("error", where, "An external or soft link; a release holds its data itself.")
            continue
        node = group[name]
        if isinstance(node, h5py.Group):
            yield from check_links(node)
        elif isinstance(node, h5py.Dataset) and (node.external or node.is_virtual):
            yield Finding("error", where, "The data lies in another file; a release holds its data itself.")


def check_root(root: h5py.File) -> Iterator[Finding]:
    """The root's attributes are there and say what they should."""
    for name in layout.ROOT_ATTRIBUTES:
        if not isinstance(root.attrs.get(name), str):
            yield Finding("error", "/", f"The attribute '{name}' is missing; expected text.")
    if str(root.attrs.get("schema_version", "")).split(".")[0] != layout.SCHEMA_VERSION.split(".")[0]:
        seen = root.attrs.get("schema_version")
        yield Finding("error", "/", f"schema_version is {seen!r}, expected {layout.SCHEMA_VERSION!r}.")
    if root.attrs.get("units") != "mm":
        yield Finding("error", "/", f"units is {root.attrs.get('units')!r}, expected 'mm'.")
    if not root.attrs.get("licence"):
        yield Finding("warning", "/", "No licence is given: nobody knows what they may do with this release.")
    try:
        datetime.fromisoformat(str(root.attrs.get("created", "")).replace("Z", "+00:00"))
    except ValueError:
        seen = root.attrs.get("created")
        yield Finding("error", "/", f"created is {seen!r}, expected an ISO 8601 time.")
    try:
        json.loads(str(root.attrs.get("config", "")))
    except ValueError as error:
        yield Finding("error", "/", f"config is not JSON text: {_first(error)}")
    for name in root:
        if name not in ("template", "subjects", "index"):
            yield Finding("warning", f"/{name}", "A release has no such entry.")


def check_template(root: h5py.File, shape: _Shape) -> Iterator[Finding]:
    """The template is a mesh with a layout and landmarks, and every index in it points at something."""
    group = root.get("template")
    if not isinstance(group, h5py.Group):
        yield Finding("error", "/template", "The group is missing.")
        return
    sound = True
    for name, spec in layout.TEMPLATE_FIELDS.items():
        found = list(check_field(group, name, spec, None, -1, -1))
        found = found or list(check_chunks(group[name]))
        sound &= not found
        yield from found
    if not isinstance(group.get("landmark_names"), h5py.Dataset):
        yield Finding("error", "/template/landmark_names", "The dataset is missing.")
        return
    found = list(check_filters(group["landmark_names"])) or list(check_chunks(group["landmark_names"]))
    sound &= not found
    yield from found
    if not sound:
        return
    n, n_uv = len(group["vertices"]), len(group["uv"])
    shape.n_vertices, shape.n_landmarks = n, len(group["landmark_names"])
    if not 3 <= n <= MAX_VERTICES:
        yield Finding("error", "/template/vertices", f"{n:,} vertices; expected 3 to {MAX_VERTICES:,}.")
        return
    masks = group.get("masks", {})
    for name in masks:
        found = list(check_field(masks, name, layout.MASK_FIELD, n, -1, -1))
        yield from found or check_chunks(masks[name])
    vertices, faces = group["vertices"][:].astype(np.float64), group["faces"][:].astype(np.int64)
    if not np.isfinite(vertices).all():
        yield Finding("error", "/template/vertices", "Some are not finite.")
        return
    shape.vertices = vertices
    for name, limit in (("faces", n), ("uv_faces", n_uv), ("landmark_vertices", n)):
        data = group[name][:]
        if data.size and int(data.max()) >= limit:
            at = int(np.argmax(data.max(axis=1)))
            yield Finding("error", f"/template/{name} row {at}", f"{data[at]} points past {limit - 1}.")
            return
    if len(group["uv_faces"]) != len(faces):
        yield Finding("error", "/template/uv_faces", f"{len(group['uv_faces'])} rows, expected {len(faces)}.")
    same = (faces[:, 0] == faces[:, 1]) | (faces[:, 1] == faces[:, 2]) | (faces[:, 0] == faces[:, 2])
    if same.any():
        at = int(np.argmax(same))
        yield Finding("warning", f"/template/faces row {at}", f"{same.sum()} triangles have a corner twice.")
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, count = np.unique(edges[:, 0] * n + edges[:, 1], return_counts=True)
    if (count > 1).any():
        yield Finding(
            "warning", "/template/faces", f"{(count > 1).sum()} edges are used twice one way round."
        )
    uv = group["uv"][:]
    if not np.isfinite(uv).all() or uv.min(initial=0) < -1e-6 or uv.max(initial=0) > 1 + 1e-6:
        yield Finding("warning", "/template/uv", "Some lie outside [0, 1].")
    weights = group["landmark_weights"][:]
    if len(weights) != shape.n_landmarks or len(group["landmark_vertices"]) != shape.n_landmarks:
        yield Finding(
            "error", "/template/landmark_weights", f"expected {shape.n_landmarks} rows, one a name."
        )
    elif len(weights) and not np.allclose(weights.sum(axis=1), 1, atol=1e-4):
        yield Finding("error", "/template/landmark_weights", "Some rows do not add up to 1.")


def check_subject(group: h5py.Group) -> Iterator[Finding]:
    """A subject has its attributes, and consent is among them."""
    for name in layout.SUBJECT_ATTRIBUTES:
        if name not in group.attrs:
            yield Finding("error", group.name, f"The attribute '{name}' is missing; 'unknown' if it is.")
    consent = str(group.attrs.get("consent", UNKNOWN)).strip().lower()
    if is_refusal(consent):
        yield Finding("error", group.name, f"consent is '{consent}': this subject must not be here.")
    elif consent in ("", UNKNOWN):
        yield Finding("warning", group.name, "Nothing is known about this subject's consent.")
    if not len(group):
        yield Finding("warning", group.name, "The subject has no sequence.")


def check_index(root: h5py.File, entries: list[layout.IndexEntry]) -> Iterator[Finding]:
    """The index lists exactly the frames that the groups hold."""
    index = root.get("index")
    if not isinstance(index, h5py.Dataset) or index.dtype.names is None:
        yield Finding("error", "/index", "The index is missing.")
        return
    if index.dtype.names != layout.INDEX_NAMES:
        yield Finding("error", "/index", f"Columns {index.dtype.names}, expected {layout.INDEX_NAMES}.")
        return
    damage = list(check_filters(index)) or list(check_chunks(index))
    if damage:
        yield from damage
        return
    expected = layout.index_table(entries)
    if len(index) != len(expected):
        yield Finding("error", "/index", f"{len(index)} rows, but the groups hold {len(expected)} frames.")
        return
    seen, wanted = layout.decoded(index[:]), layout.decoded(expected)
    for name in layout.INDEX_NAMES:
        differs = np.flatnonzero(seen[name] != wanted[name])
        if len(differs):
            at = int(differs[0])
            yield Finding(
                "error",
                f"/index row {at}",
                f"{name} is {seen[name][at]!s}, but the group says {wanted[name][at]!s}"
                f" ({len(differs)} such rows).",
            )


# ------------------------------------------------------------------------------------------ one sequence


def _check_sequence(group: h5py.Group, item: Item, shape: _Shape, every_image: bool) -> Iterator[Finding]:
    structure = [*check_attributes(group), *check_structure(group, shape)]
    yield from structure
    if any(f.level == "error" for f in structure):
        return
    n = len(group["frame"])
    damage: dict[str, list[Finding]] = {}
    for name in (*layout.ROW_FIELDS, *layout.OPTIONAL_ROW_FIELDS, "quality", "message"):
        if name in group and name != "vertices":  # those are read once, below
            damage[name] = list(check_chunks(group[name]))
            yield from damage[name]
    if damage["frame"] or damage["quality"]:
        return
    quality = layout.decoded(group["quality"][:])
    expression = str(group.attrs["expression"])
    shape.entries.append(layout.IndexEntry(item, expression, group["frame"][:], quality["status"].tolist()))
    yield from check_frame_numbers(group)
    yield from check_quality(group, quality)
    ok = quality["status"] == OK
    if shape.vertices is not None:
        for row in range(n):
            yield from check_vertices(group["vertices"], row, bool(ok[row]), shape.vertices)
    if not damage["pose"]:
        yield from check_poses(group["pose"], ok)
    if not any(damage[name] for name in layout.ROW_FIELDS if name.startswith("landmark")):
        yield from check_landmarks(group, ok)
    for name in _image_names(group):
        yield from _guarded(f"{group.name}/{name}", check_images, group[name], ok, every_image)


def _image_names(group: h5py.Group) -> tuple[str, ...]:
    """What has one encoded image a frame: texture, coverage, and the maps that are there."""
    return (*layout.IMAGES, *(name for name in layout.MAPS if name in group))


def check_attributes(group: h5py.Group) -> Iterator[Finding]:
    """A sequence has its label, name, rate and axes."""
    for name in layout.SEQUENCE_ATTRIBUTES:
        if name not in group.attrs:
            yield Finding("error", group.name, f"The attribute '{name}' is missing.")
    fps = group.attrs.get("fps", np.nan)
    if not isinstance(fps, float) or (np.isfinite(fps) and not 0 < fps <= 10_000):
        yield Finding("error", group.name, f"fps is {fps!r}; expected frames per second, NaN if unknown.")
    matrix = np.asarray(group.attrs.get("file_from_scan", np.eye(4)))
    if matrix.shape != (4, 4) or matrix.dtype.kind != "f":
        yield Finding("error", group.name, f"file_from_scan is {matrix.shape}, expected (4, 4) float64.")
    elif np.isfinite(matrix).all() and np.linalg.det(matrix) <= 0:
        yield Finding(
            "error", group.name, "file_from_scan mirrors the scan; expected a positive determinant."
        )


def check_structure(group: h5py.Group, shape: _Shape) -> Iterator[Finding]:
    """Every field is there with its type, shape, unit and filters."""
    if not isinstance(group.get("frame"), h5py.Dataset) or group["frame"].ndim != 1:
        yield Finding("error", f"{group.name}/frame", "The frame numbers (F,) are missing.")
        return
    n = len(group["frame"])
    if n > MAX_ROWS:
        yield Finding("error", f"{group.name}/frame", f"{n:,} frames; that cannot be.")
        return
    for name, spec in layout.ROW_FIELDS.items():
        yield from check_field(group, name, spec, n, shape.n_vertices, shape.n_landmarks)
    for name, spec in layout.OPTIONAL_ROW_FIELDS.items():
        if name in group:
            yield from check_field(group, name, spec, n, shape.n_vertices, shape.n_landmarks)
    quality = group.get("quality")
    names = quality.dtype.names if isinstance(quality, h5py.Dataset) else None
    if names is None or quality.shape != (n,):
        yield Finding("error", f"{group.name}/quality", f"Missing, or not a compound of {n} rows.")
    elif missing := [n for n in (*dict(layout.QUALITY_TEXT), *layout.QUALITY_FIXED) if n not in names]:
        yield Finding("error", f"{group.name}/quality", f"The columns {', '.join(missing)} are missing.")
    elif not isinstance(quality.attrs.get("unit"), str):
        yield Finding("error", f"{group.name}/quality", "It has no unit; expected JSON text, unit by column.")
    else:
        yield from check_filters(quality)
    message = group.get("message")
    if not isinstance(message, h5py.Dataset) or message.shape != (n,):
        yield Finding("error", f"{group.name}/message", f"Missing, or not {n} rows.")
    else:
        yield from check_filters(message)
    for name in _image_names(group):
        where = f"{group.name}/{name}"
        image = group.get(name)
        if not isinstance(image, h5py.Group) or "bytes" not in image or "offset" not in image:
            yield Finding("error", where, "The group with 'bytes' and 'offset' is missing.")
            continue
        yield from check_field(image, "bytes", layout.Field("|u1", (), "byte"), None, -1, -1)
        yield from check_field(image, "offset", layout.Field("<u8", (), "byte"), n + 1, -1, -1)
        if name in layout.MAPS:
            yield from check_coding(image, name)


def check_coding(group: h5py.Group, name: str) -> Iterator[Finding]:
    """A map says what its numbers mean: unit, step and the value of 0, one for each channel."""
    kind = layout.MAPS[name]
    try:
        coding = layout.read_coding(group.attrs)
    except (KeyError, ValueError, TypeError):
        yield Finding(
            "error", group.name, "'unit', 'value_scale' and 'value_offset' do not say what it means."
        )
        return
    if coding.unit != kind.unit:
        yield Finding("error", group.name, f"The unit is {coding.unit!r}, expected {kind.unit!r}.")
    if not (np.isfinite(coding.scale) and coding.scale > 0):
        yield Finding("error", group.name, f"value_scale is {coding.scale}, expected a number above 0.")
    if len(coding.offset) != kind.channels or not np.isfinite(coding.offset).all():
        yield Finding(
            "error", group.name, f"value_offset is {coding.offset}, expected {kind.channels} numbers."
        )


def check_field(
    group: h5py.Group, name: str, spec: layout.Field, rows: int | None, n_vertices: int, n_landmarks: int
) -> Iterator[Finding]:
    """One dataset: there, of its type and shape, with its unit, compressed and checksummed."""
    where, data = f"{group.name}/{name}", group.get(name)
    if not isinstance(data, h5py.Dataset):
        yield Finding("error", where, "The dataset is missing.")
        return
    if data.dtype != np.dtype(spec.dtype):
        yield Finding("error", where, f"The type is {data.dtype}, expected {np.dtype(spec.dtype)}.")
        return
    tail = layout.dimensions(spec.shape, n_vertices, n_landmarks)
    if data.ndim != 1 + len(tail) or any(t not in (-1, s) for t, s in zip(tail, data.shape[1:], strict=True)):
        yield Finding("error", where, f"The shape is {data.shape}, expected {('rows', *tail)}.")
        return
    if rows is not None and len(data) != rows:
        yield Finding("error", where, f"{len(data)} rows, expected {rows}.")
    unit = data.attrs.get("unit")
    if unit != spec.unit:
        yield Finding("error", where, f"The unit is {unit!r}, expected {spec.unit!r}.")
    yield from check_filters(data)


def check_filters(data: h5py.Dataset) -> Iterator[Finding]:
    """Compressed and checksummed, in chunks of a size that can be read; what is empty can be neither."""
    if not data.size:
        return
    if not data.fletcher32:
        yield Finding("error", data.name, "It has no checksum (fletcher32): damage would go unnoticed.")
    if data.compression is None:
        yield Finding("warning", data.name, "It is not compressed.")
    size = int(np.prod(data.chunks or data.shape, dtype=np.float64)) * data.dtype.itemsize
    if size > MAX_CHUNK_BYTES:
        yield Finding(
            "error", data.name, f"A chunk has {size:,} bytes, expected at most {MAX_CHUNK_BYTES:,}."
        )


def check_chunks(data: h5py.Dataset) -> Iterator[Finding]:
    """Every chunk can be read and fits its checksum."""
    if not data.size:
        return
    if (
        list(check_filters(data))
        and data.chunks
        and data.dtype.itemsize * np.prod(data.chunks) > MAX_CHUNK_BYTES
    ):
        return
    if data.chunks is None:
        try:
            data[()]
        except OSError as error:
            yield Finding("error", data.name, f"It cannot be read: {_first(error)}")
        return
    for part in data.iter_chunks():
        try:
            data[part]
        except OSError as error:
            rows = f"{part[0].start} to {part[0].stop - 1}"
            yield Finding("error", f"{data.name} rows {rows}", f"The chunk is damaged: {_first(error)}")


def check_frame_numbers(group: h5py.Group) -> Iterator[Finding]:
    """Frame numbers rise."""
    steps = np.diff(group["frame"][:])
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0)) + 1
        yield Finding("error", f"{group.name}/frame row {at}", "The frame numbers do not rise.")


def check_quality(group: h5py.Group, quality: NDArray[Any]) -> Iterator[Finding]:
    """Status is one of two words, a rejection has a reason, and figures are not negative."""
    where = f"{group.name}/quality"
    ok, rejected = quality["status"] == OK, quality["status"] == REJECTED
    if not (ok | rejected).all():
        at = int(np.argmin(ok | rejected))
        yield Finding("error", f"{where} row {at}", f"status is '{quality['status'][at]}'.")
    silent = rejected & (quality["reason"] == "")
    if silent.any():
        yield Finding("error", f"{where} row {int(np.argmax(silent))}", "Rejected without a reason.")
    for name in layout.QUALITY_FIXED:
        wrong = ok & (quality[name] < 0)
        if wrong.any():
            yield Finding("error", f"{where} row {int(np.argmax(wrong))}", f"{name} is negative.")
    if not isinstance(json.loads(group["quality"].attrs["unit"]), dict):
        yield Finding("error", where, "The unit is not JSON text: unit by column.")


def check_vertices(
    data: h5py.Dataset, row: int, ok: bool, template: NDArray[np.float64]
) -> Iterator[Finding]:
    """Vertices are NaN exactly where the frame is rejected, and a face in mm where it is not."""
    where = f"{data.name} row {row}"
    try:
        vertices = data[row]
    except OSError as error:
        yield Finding("error", where, f"The chunk is damaged: {_first(error)}")
        return
    if not ok:
        if not np.isnan(vertices).all():
            yield Finding("error", where, "The frame is rejected, but some vertices are numbers.")
        return
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices).all(axis=1)).sum())
        yield Finding("error", where, f"The frame is ok, but {bad} vertices are not finite.")
        return
    middle = np.median(template, axis=0)
    reach = np.abs(vertices - middle).max()
    own = np.abs(template - middle).max()
    if reach > max(HEAD_MM, 2 * own):
        yield Finding("error", where, f"A vertex is {reach:,.0f} mm away from the face; expected mm.")
    elif (moved := float(np.median(np.linalg.norm(vertices - template, axis=1)))) > MOVE_MM:
        yield Finding("error", where, f"Vertices are {moved:.0f} mm from the template's; not canonical?")
    elif reach < own / 4:
        yield Finding("error", where, f"The face is {reach:.3g} across, the template {own:.3g}; expected mm.")


def check_poses(data: h5py.Dataset, ok: NDArray[np.bool_]) -> Iterator[Finding]:
    """Poses of frames that are ok are rigid: orthonormal, not mirrored, last row (0, 0, 0, 1)."""
    poses = data[:]
    turn = poses[:, :3, :3]
    off = np.abs(np.einsum("fki,fkj->fij", turn, turn) - np.eye(3)).max(axis=(1, 2), initial=0)
    rest = np.abs(poses[:, 3] - [0, 0, 0, 1]).max(axis=1, initial=0)
    finite = np.isfinite(poses).all(axis=(1, 2))
    rigid = finite & (off < POSE_TOLERANCE) & (rest < 1e-9)
    for row in np.flatnonzero(ok & ~rigid):
        yield Finding("error", f"{data.name} row {row}", f"The pose is not rigid (off by {off[row]:.2g}).")
    mirrored = np.zeros(len(poses), bool)
    mirrored[rigid] = np.linalg.det(turn[rigid]) < 0
    for row in np.flatnonzero(ok & mirrored):
        yield Finding("error", f"{data.name} row {row}", "The pose mirrors the face (determinant -1).")


def check_landmarks(group: h5py.Group, ok: NDArray[np.bool_]) -> Iterator[Finding]:
    """A landmark has a position exactly when it has a source, and a confidence in [0, 1]."""
    points, source = group["landmarks"][:], group["landmark_source"][:]
    there = np.isfinite(points).all(axis=2)
    if (source >= len(layout.LANDMARK_SOURCES)).any():
        yield Finding("error", f"{group.name}/landmark_source", f"{source.max()} is no source.")
    differs = (there != (source > 0)).any(axis=1)
    if differs.any():
        at = int(np.argmax(differs))
        yield Finding("error", f"{group.name}/landmarks row {at}", "Positions and sources do not agree.")
    if there[~ok].any():
        yield Finding("error", f"{group.name}/landmarks", "A rejected frame has landmarks.")
    confidence = group["landmark_confidence"][:][there]
    if ((confidence < 0) | (confidence > 1)).any():
        yield Finding("error", f"{group.name}/landmark_confidence", "Some are outside [0, 1].")
    if "landmark_visible" in group:
        visible = group["landmark_visible"][:]
        if (visible > 1).any():
            yield Finding("error", f"{group.name}/landmark_visible", f"{visible.max()} is neither 0 nor 1.")
        if visible[~ok].any():
            yield Finding(
                "error", f"{group.name}/landmark_visible", "A rejected frame has visible landmarks."
            )


def check_images(group: h5py.Group, ok: NDArray[np.bool_], every_image: bool) -> Iterator[Finding]:
    """Offsets rise from 0 to the number of bytes, and the images are images."""
    damage = [*check_chunks(group["offset"]), *check_chunks(group["bytes"])]
    yield from damage
    offset, size = group["offset"][:], group["bytes"].size
    if int(offset[0]) != 0 or int(offset[-1]) != size:
        ends = f"{offset[0]} to {offset[-1]}"
        yield Finding("error", f"{group.name}/offset", f"It goes from {ends}, expected 0 to {size}.")
        return
    if (offset[1:] < offset[:-1]).any():
        at = int(np.argmax(offset[1:] < offset[:-1]))
        yield Finding("error", f"{group.name}/offset row {at}", "The offsets fall; expected rising ones.")
        return
    if damage:
        return
    if (np.diff(offset) > MAX_IMAGE_BYTES).any():
        at = int(np.argmax(np.diff(offset)))
        yield Finding("error", f"{group.name}/offset row {at}", "An image of more than 1 GB; that cannot be.")
        return
    have = np.flatnonzero(offset[1:] > offset[:-1])
    if (~ok[have]).any():
        at = int(have[np.argmax(~ok[have])])
        yield Finding("error", f"{group.name} row {at}", "A rejected frame has an image.")
    sample = set(have) if every_image else {have[i] for i in (0, len(have) // 2, -1) if len(have)}
    for row in have:
        data = group["bytes"][int(offset[row]) : int(offset[row + 1])].tobytes()
        kind = layout.MAPS.get(group.name.rpartition("/")[2])
        yield from check_image(
            f"{group.name} row {row}", data, row in sample, None if kind is None else kind.channels
        )


def check_image(
    where: str, data: bytes, decode_it: bool, deep_channels: int | None = None
) -> Iterator[Finding]:
    """One encoded image has a sound header; decoded, sound pixels: 16-bit ones of so many channels for a map."""
    from mimicme.pipeline.image import decode, decode_deep, info

    try:
        info(data, where, layout.MAX_PIXELS)
        if decode_it and deep_channels is None:
            decode(data, layout.MAX_PIXELS, where)
        elif decode_it:
            numbers = decode_deep(data, layout.MAX_PIXELS, where)
            seen = numbers.shape[2] if numbers.ndim == 3 else 1
            if seen != deep_channels:
                yield Finding("error", where, f"The map has {seen} channels, expected {deep_channels}.")
    except MimicmeError as error:
        yield Finding("error", where, f"The image cannot be decoded: {error.what}.")
