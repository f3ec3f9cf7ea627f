"""One sequence: its attributes, its fields, and whether its frames are registered faces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mimicme.commands.verify.datasets import check_chunks, check_field, check_filters
from mimicme.commands.verify.finding import Finding, guarded, named
from mimicme.commands.verify.images import check_coding, check_images
from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.formats.map_coding import MAPS
from mimicme.pipeline.items import Item
from mimicme.pipeline.release import digest, encoding, guard, layout
from mimicme.pipeline.release.encoding import Encoding
from mimicme.pipeline.release.layout import OK, REJECTED

MAX_ROWS = 1_000_000  # frames of one sequence
HEAD_MM = 400.0  # a registered face further than this from the template's middle is in another unit
MOVE_MM = 80.0
"""Median distance of a registered vertex to the template's own; jaws drop 50 mm, heads differ 20."""
POSE_TOLERANCE = 1e-4


@dataclass
class Shape:
    """What the template says about every sequence, and what the sequences say about the index."""

    n_vertices: int = -1
    n_landmarks: int = -1
    vertices: NDArray[np.float64] | None = None
    entries: list[layout.IndexEntry] = field(default_factory=list)
    digests: bool = True
    whole: bool = True
    """Whether every sequence could be looked at, so that the indexes can be compared with them."""
    alive: Callable[[], None] = lambda: None
    """Called now and then: whoever asked for all this waits for it."""


@named("sequences")
def check_sequence(group: h5py.Group, item: Item, shape: Shape, every_image: bool) -> Iterator[Finding]:
    """All of a sequence that may be read (`tree` has looked)."""
    before, shape.whole = shape.whole, False
    structure = [*check_attributes(group), *check_structure(group, shape)]
    yield from structure
    if any(f.level == "error" for f in structure):
        return
    if shape.digests:
        yield from guarded(group.name, check_digest, group)
    n = len(group["frame"])
    damage: dict[str, list[Finding]] = {}
    for name in (*layout.ROW_FIELDS, *layout.OPTIONAL_ROW_FIELDS, "quality", "message"):
        if name in group and name != "vertices":  # those are read once, below
            damage[name] = list(check_chunks(group[name], shape.alive))
            yield from damage[name]
    if damage["frame"] or damage["quality"]:
        return
    quality = layout.decoded(group["quality"][:])
    said = guard.attributes(group.id, group.name)
    sources = None if damage["landmark_source"] else layout.source_bits(group["landmark_source"][:])
    shape.entries.append(
        layout.IndexEntry(
            item,
            str(said["expression"]),
            group["frame"][:],
            quality["status"].tolist(),
            str(said["sequence"]),
            float(said["fps"]),
            np.asarray(said["file_from_scan"]),
            sources,
        )
    )
    shape.whole = before
    yield from check_frame_numbers(group)
    if "time_s" in group and not damage["time_s"]:
        yield from check_times(group)
    yield from check_quality(group, quality)
    ok = quality["status"] == OK
    if shape.vertices is not None:
        where = f"{group.name}/vertices"
        stored = guard.dataset(group["vertices"].id, where)
        how = encoding.of_attributes(stored.attributes, where)
        for row in range(n):
            shape.alive()
            if not stored.is_written(row):
                if ok[row]:
                    lacking = "The frame is ok, but was never written."
                    yield Finding("error", f"{where} row {row}", lacking, "vertices")
                continue
            yield from check_vertices(stored, row, bool(ok[row]), shape.vertices, how)
    if not damage["pose"]:
        yield from check_poses(group["pose"], ok)
    if not any(damage[name] for name in layout.ROW_FIELDS if name.startswith("landmark")):
        yield from check_landmarks(group, ok)
    for name in _image_names(group):
        yield from guarded(f"{group.name}/{name}", check_images, group[name], ok, every_image, shape.alive)


@named("digests")
def check_digest(group: h5py.Group) -> Iterator[Finding]:
    """What no checksum of a chunk covers is as it was written."""
    if digest.stored(group.id, group.name) != digest.of_sequence(group.id, group.name):
        yield Finding(
            "error",
            group.name,
            "It is not what was written (attributes, types, shapes: sha256).",
        )


def _image_names(group: h5py.Group) -> tuple[str, ...]:
    """What has one encoded image a frame: texture, coverage, and the maps that are there."""
    return (*layout.IMAGES, *(name for name in MAPS if name in group))


@named("sequences")
def check_attributes(group: h5py.Group) -> Iterator[Finding]:
    """A sequence has its label, name, rate and axes."""
    said = guard.attributes(group.id, group.name)
    for name in layout.SEQUENCE_ATTRIBUTES:
        if name not in said:
            yield Finding("error", group.name, f"The attribute '{name}' is missing.")
    fps = said.get("fps", np.nan)
    if not isinstance(fps, float) or (np.isfinite(fps) and not 0 < fps <= 10_000):
        yield Finding("error", group.name, f"fps is {fps!r}; expected frames per second, NaN if unknown.")
    matrix = np.asarray(said.get("file_from_scan", np.eye(4)))
    if matrix.shape != (4, 4) or matrix.dtype.kind != "f":
        yield Finding("error", group.name, f"file_from_scan is {matrix.shape}, expected (4, 4) float64.")
    elif np.isfinite(matrix).all() and (np.linalg.det(matrix) < 0) != bool(said.get("mirrored", False)):
        yield Finding(
            "error",
            group.name,
            "file_from_scan has a negative determinant, or the attribute 'mirrored'; expected both or neither.",
        )


@named("sequences")
def check_structure(group: h5py.Group, shape: Shape) -> Iterator[Finding]:
    """Every field is there with its type, shape, unit and filters."""
    if not isinstance(group.get("frame"), h5py.Dataset) or group["frame"].ndim != 1:
        yield Finding("error", f"{group.name}/frame", "The frame numbers (F,) are missing.")
        return
    n = len(group["frame"])
    if n > MAX_ROWS:
        yield Finding("error", f"{group.name}/frame", f"{n:,} frames; that cannot be.")
        return
    for name, spec in layout.ROW_FIELDS.items():
        if name == "vertices" and isinstance(group.get(name), h5py.Dataset):
            stored = guard.dataset(group[name].id, f"{group.name}/{name}")
            spec = encoding.of_attributes(stored.attributes, stored.place).field
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
    elif wrong := [
        n for n in names if quality.dtype[n].kind != ("S" if n in dict(layout.QUALITY_TEXT) else "f")
    ]:
        yield Finding(
            "error", f"{group.name}/quality", f"The columns {', '.join(wrong)} are of another type."
        )
    elif not isinstance(guard.attribute(quality.id, "unit", quality.name), str):
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
        if name in MAPS:
            yield from check_coding(image, name)


@named("frames")
def check_frame_numbers(group: h5py.Group) -> Iterator[Finding]:
    """Frame numbers rise."""
    steps = np.diff(group["frame"][:])
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0)) + 1
        yield Finding("error", f"{group.name}/frame row {at}", "The frame numbers do not rise.")


@named("times")
def check_times(group: h5py.Group) -> Iterator[Finding]:
    """Times begin with the first frame and do not fall; NaN is unknown."""
    times = group["time_s"][:]
    known = times[np.isfinite(times)]
    where = f"{group.name}/time_s"
    if np.isinf(times).any():
        yield Finding("error", where, "Some times are infinite; expected seconds, NaN where unknown.")
    if len(known) and known[0] < 0:
        yield Finding(
            "error", where, f"The first time is {known[0]:.6g} s; expected 0, that of the first frame."
        )
    if (np.diff(known) < 0).any():
        yield Finding("error", where, "The times fall.")


@named("quality")
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
    if not isinstance(json.loads(guard.attribute(group["quality"].id, "unit", where)), dict):
        yield Finding("error", where, "The unit is not JSON text: unit by column.")


@named("vertices")
def check_vertices(
    stored: guard.Stored,
    row: int,
    ok: bool,
    template: NDArray[np.float64],
    how: Encoding = encoding.FLOAT32,
) -> Iterator[Finding]:
    """Vertices are NaN exactly where the frame is rejected, and a face in mm where it is not."""
    where = f"{stored.place} row {row}"
    try:
        vertices = how.decode(stored.read(row), template.astype(np.float32))
    except guard.TooLittleMemoryError as error:
        raise MemoryError(str(error)) from error
    except ReleaseError as error:
        yield Finding("error", where, f"The chunk is damaged: {error.seen or error.what}", "chunks")
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


@named("poses")
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


@named("landmarks")
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
