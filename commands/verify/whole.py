"""What belongs to the whole file: links, root, template, subjects, index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

import h5py
import numpy as np

from mimicme.commands.verify.datasets import check_chunks, check_field, check_filters
from mimicme.commands.verify.finding import Finding, first_line
from mimicme.commands.verify.sequence import Shape
from mimicme.pipeline.captures.metadata import UNKNOWN, is_refusal
from mimicme.pipeline.release import layout

MAX_VERTICES = 4_000_000


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
        yield Finding("error", "/", f"config is not JSON text: {first_line(error)}")
    for name in root:
        if name not in ("template", "subjects", "index"):
            yield Finding("warning", f"/{name}", "A release has no such entry.")


def check_template(root: h5py.File, shape: Shape) -> Iterator[Finding]:
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
