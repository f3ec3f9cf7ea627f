"""What belongs to the whole file: links, root, template, subjects, index."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mimicme.commands.verify.datasets import check_chunks, check_field, check_filters
from mimicme.commands.verify.finding import Finding, first_line, named
from mimicme.commands.verify.sequence import Shape
from mimicme.commands.verify.tree import check_room
from mimicme.pipeline.captures.consent import is_refusal
from mimicme.pipeline.captures.metadata import UNKNOWN
from mimicme.pipeline.release import digest, guard, layout, shards

ENTRIES = ("template", "subjects", *layout.INDEXES, *shards.TABLES)
MAX_VERTICES = layout.MAX_VERTICES
_ROWS = 1 << 16


@named("root")
def check_root(root: h5py.File) -> Iterator[Finding]:
    """The root's attributes are there and say what they should."""
    said = guard.attributes(root["/"].id, "/")
    for name in layout.ROOT_ATTRIBUTES:
        if not isinstance(said.get(name), str):
            yield Finding("error", "/", f"The attribute '{name}' is missing; expected text.")
    if not layout.is_read(said.get("schema_version")):
        seen = said.get("schema_version")
        yield Finding("error", "/", f"schema_version is {seen!r}, expected {layout.SCHEMA_VERSION!r}.")
    if said.get("units") != "mm":
        yield Finding("error", "/", f"units is {said.get('units')!r}, expected 'mm'.")
    if not said.get("licence"):
        yield Finding(
            "warning",
            "/",
            "No licence is given: nobody knows what they may do with this release. Write the terms as `text` under "
            "[licence] in the workspace's mimicme.toml and pack again; `adopt` and `publish` take --licence.",
        )
    try:
        datetime.fromisoformat(str(said.get("created", "")).replace("Z", "+00:00"))
    except ValueError:
        seen = said.get("created")
        yield Finding("error", "/", f"created is {seen!r}, expected an ISO 8601 time.")
    try:
        json.loads(str(said.get("config", "")))
    except (ValueError, RecursionError) as error:
        yield Finding("error", "/", f"config is not JSON text: {first_line(error)}")
    for name in root:
        if name not in ENTRIES:
            yield Finding("warning", f"/{name}", "A release has no such entry.")


@named("digests")
def check_digests(root: h5py.File, shape: Shape) -> Iterator[Finding]:
    """What no checksum of a chunk covers is as it was written: of the root, and of every subject."""
    if not shape.digests:
        return
    sharded = shards.is_sharded(root["/"].id)  # then the shards are what people's digests are of
    for subject in () if sharded else root["subjects"]:
        shape.alive()
        group = root["subjects"][subject]
        if digest.stored(group.id, group.name) != digest.of_subject(group.id, group.name, shape.alive):
            yield Finding(
                "error",
                group.name,
                "It is not what was written (attributes, sequences: sha256).",
            )
    top = root["/"].id
    if digest.stored(top, "/") != digest.of_root(top, shape.alive):
        yield Finding(
            "error",
            "/",
            "It is not what was written (attributes, template, index: sha256).",
        )


@named("beside")
def check_beside(path: Path, alive: Callable[[], None] = lambda: None) -> Iterator[Finding]:
    """The file is the one that the digest beside it is of; without that nothing is said."""
    said = digest.read_beside(path)
    if said is None:
        return
    name = digest.beside(path).name
    if not said:
        yield Finding(
            "error", "/", f"'{name}' beside it has no SHA-256; expected one as sha256sum writes it."
        )
    elif said != digest.of_file(path, alive):
        yield Finding(
            "error", "/", f"The file is not the one that '{name}' beside it is of; copy both again."
        )


@named("template")
def check_template(root: h5py.File, shape: Shape) -> Iterator[Finding]:
    """The template is a mesh with a layout and landmarks, and every index in it points at something."""
    group = root.get("template")
    if not isinstance(group, h5py.Group):
        yield Finding("error", "/template", "The group is missing.")
        return
    masks = group.get("masks")
    masks = masks if isinstance(masks, h5py.Group) else {}
    there = [one for one in (*group.values(), *masks.values()) if isinstance(one, h5py.Dataset)]
    wanted = layout.COPIES_OF_TEMPLATE * sum(one.nbytes for one in there)
    too_large = list(check_room(wanted, root.id.get_filesize(), "/template"))
    yield from too_large
    if too_large:
        return
    sound = True
    for name, spec in layout.TEMPLATE_FIELDS.items():
        found = list(check_field(group, name, spec, None, -1, -1))
        found = found or list(check_chunks(group[name], shape.alive))
        sound &= not found
        yield from found
    if not isinstance(group.get("landmark_names"), h5py.Dataset):
        yield Finding("error", "/template/landmark_names", "The dataset is missing.")
        return
    found = list(check_filters(group["landmark_names"])) or list(
        check_chunks(group["landmark_names"], shape.alive)
    )
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
    if isinstance(masks, h5py.Dataset):
        yield Finding(
            "error", "/template/masks", "A dataset; expected a group, with a dataset for each mask."
        )
        masks = {}
    for name in masks:
        found = list(check_field(masks, name, layout.MASK_FIELD, n, -1, -1))
        yield from found or check_chunks(masks[name], shape.alive)
    if layout.POLYGONS in group:
        found = list(check_field(group, layout.POLYGONS, layout.POLYGON_FIELD, len(group["faces"]), -1, -1))
        yield from found or check_chunks(group[layout.POLYGONS], shape.alive)
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


@named("subjects")
def check_subject(group: h5py.Group) -> Iterator[Finding]:
    """A subject has its attributes, and consent is among them."""
    said = guard.attributes(group.id, group.name)
    for name in layout.SUBJECT_ATTRIBUTES:
        if name not in said:
            yield Finding("error", group.name, f"The attribute '{name}' is missing; 'unknown' if it is.")
    consent = str(said.get("consent", UNKNOWN)).strip().lower()
    if is_refusal(consent):
        yield Finding("error", group.name, f"consent is '{consent}': this subject must not be here.")
    elif consent in ("", UNKNOWN):
        yield Finding("warning", group.name, "Nothing is known about this subject's consent.")
    if not len(group):
        yield Finding("warning", group.name, "The subject has no sequence.")


@named("index")
def check_indexes(root: h5py.File, shape: Shape) -> Iterator[Finding]:
    """The indexes list exactly the frames and sequences that the groups hold."""
    names = layout.INDEX_NAMES if shape.digests else layout.INDEX_NAMES_BEFORE
    expected: Mapping[str, NDArray[Any]] = {layout.INDEX: layout.index_table(shape.entries, names)}
    if shape.digests:
        expected = {
            **expected,
            layout.SEQUENCE_INDEX: layout.sequence_table(shape.entries),
        }
    for name, table in expected.items():
        shape.alive()
        yield from check_index(root, name, table, shape)


@named("index")
def check_index(root: h5py.File, name: str, wanted: NDArray[Any], shape: Shape) -> Iterator[Finding]:
    """One of the indexes; where not all of what it lists could be looked at, its checksums alone."""
    index, where = root.get(name), f"/{name}"
    if not isinstance(index, h5py.Dataset) or index.dtype.names is None:
        yield Finding("error", where, "The index is missing.")
        return
    if index.dtype.names != wanted.dtype.names:
        yield Finding("error", where, f"Columns {index.dtype.names}, expected {wanted.dtype.names}.")
        return
    damage = list(check_filters(index)) or list(check_chunks(index, shape.alive))
    if damage or not shape.whole:
        yield from damage
        return
    if index.shape != wanted.shape:
        yield Finding("error", where, f"{index.shape[0]} rows, but the groups hold {len(wanted)}.")
        return
    for start in range(0, len(wanted), _ROWS):
        seen, expected = (layout.decoded(t[start : start + _ROWS]) for t in (index, wanted))
        for column in wanted.dtype.names or ():
            same = seen[column] == expected[column]
            if expected[column].dtype.kind == "f":
                same |= np.isnan(seen[column]) & np.isnan(expected[column])
            differs = np.flatnonzero(~same.reshape(len(seen), -1).all(axis=1))
            if len(differs):
                at = int(differs[0])
                yield Finding(
                    "error",
                    f"{where} row {start + at}",
                    f"{column} is {seen[column][at]!s}, but the group says {expected[column][at]!s}"
                    f" ({len(differs)} such rows).",
                )
