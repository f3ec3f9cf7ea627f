"""Small made-up checkpoints and releases for the tests of everything that reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Several
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mimicme.pipeline.captures.metadata import SubjectTable, parse_subjects
from mimicme.pipeline.checkpoint import FrameStatus, writing
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.formats.image import encode, encode_deep
from mimicme.pipeline.formats.map_coding import MAPS, write_coding
from mimicme.pipeline.items import Captures, FrameSource, Item, Sequence
from mimicme.pipeline.landmarks import STANDARD_VIEWS
from mimicme.pipeline.release import digest, guard, layout
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.surface_maps import coding
from mimicme.stages import FLOW, STAGES
from mimicme.stages.pack import PackInput, PackResult, PackSettings, pack

SIDE = 7
TEXTURE = 32
TABLE = (
    b"subject,age,gender,ethnicity,consent,site\nS001,31,female,white,yes,Ulm\nS002,44,male,asian,yes,Bath\n"
)
NEUTRAL, SMILE = Item("S001", "neutral"), Item("S001", "smile")
OTHER = Item("S002", "smile")


def grid(side: int = SIDE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A curved sheet: vertices (side^2, 3) mm, triangles, one uv per vertex."""
    u, v = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side)))
    x, y = 140 * (u - 0.5), 180 * (v - 0.5)
    vertices = np.stack([x, y, 40 - (x / 20) ** 2 - (y / 30) ** 2], 1)
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    a, b, c, d = corner, corner + 1, corner + side + 1, corner + side
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return vertices, faces, 0.05 + 0.9 * np.stack([u, v], 1)


def template(side: int = SIDE) -> Template:
    """A sheet with four landmarks."""
    vertices, faces, uv = grid(side)
    picked = faces[[0, len(faces) // 3, len(faces) // 2, len(faces) - 1]].astype(np.int64)
    return Template(
        vertices=vertices,
        faces=faces,
        uv=uv,
        uv_faces=faces,
        landmark_names=("chin", "nose", "eye", "brow"),
        landmark_vertices=picked,
        landmark_weights=np.tile([1.0, 0.0, 0.0], (4, 1)),
        masks={"nose": (np.arange(len(vertices)) % 2).astype(float)},
        name="sheet",
        digest="0" * 64,
    )


def pose_of(row: int) -> np.ndarray:
    """A small turn about y and a shift."""
    a = np.radians(3.0 * row)
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    pose[:3, 3] = row, -row, 5
    return pose


def sequence(item: Item, numbers: tuple[int, ...] = (0, 1, 2)) -> Sequence:
    frames = tuple(FrameSource(n, Path(f"/nowhere/{n:04d}.obj")) for n in numbers)
    label = {"smile": "happiness"}.get(item.sequence, item.sequence)
    return Sequence(item, item.sequence, label, frames)


def registered(item: Item, row: int, shape: Template) -> np.ndarray:
    """(V, 3) float32: what the fake refine stage says."""
    seed = sum(map(ord, str(item))) * 100 + row
    return (shape.vertices + np.random.default_rng(seed).normal(size=(1, 3))).astype(np.float32)


def checkpoints(
    root: Path,
    seq: Sequence,
    *,
    shape: Template | None = None,
    bad: Mapping[int, FrameRejected] | None = None,
    without: tuple[str, ...] = (),
    textures: bool = True,
    maps: tuple[str, ...] = (),
) -> PackInput:
    """Checkpoints of all stages; rows in `bad` are rejected by register, stages in `without` are missing."""
    shape = shape or template()
    bad = bad or {}
    n, item = len(seq.frames), seq.item
    numbers = [f.number for f in seq.frames]
    paths = {}
    n_landmarks = len(shape.landmark_names)
    for stage in tuple(FLOW)[:-1]:
        if stage in without:
            continue
        paths[stage] = root / stage / item.subject / f"{item.sequence}.h5"
        with writing(paths[stage], stage=stage, item=str(item), made_by={"stage": stage}) as out:
            out.frames(numbers, [FrameStatus()] * n)
            if stage == "ingest":
                out.attrs["fps"] = 60.0
                out.attrs["unit_decision"] = "The unit is mm."
                out.array("file_from_scan", np.diag([0.1, 0.1, 0.1, 1.0]), "mm")
                out.rows("quality/scan_vertices", (), "f4", "1")[:] = 1000
            if stage not in ("ingest", "landmarks", "align"):
                for row, error in bad.items():
                    out.reject(row, error)
            ok = [row for row in range(n) if out.statuses[row].ok]
            if stage in ("register", "refine"):
                vertices = out.rows("vertices", (len(shape.vertices), 3), "f4", "mm")
                pose = out.rows("pose", (4, 4), "f8", "mm")
                # what is registered is a little off, so that it shows whose vertices a release has
                off = np.float32(0.5 if stage == "register" else 0)
                for row in ok:
                    vertices[row], pose[row] = registered(item, row, shape) + off, pose_of(row)
            if stage == "register":
                for name in ("s2m_median", "s2m_p95", "landmark_error"):
                    out.rows(f"quality/{name}", (), "f4", "mm")[:] = 0.25
            if stage == "bake":
                out.attrs["texture_format"] = "png"
                for row in ok if textures else ():
                    rng = np.random.default_rng(row)
                    image = rng.integers(0, 255, (TEXTURE, TEXTURE, 3), np.uint8)
                    out.put(row, "texture", np.frombuffer(encode(image, "png"), np.uint8))
                    mask = np.full((TEXTURE, TEXTURE), 255, np.uint8)
                    out.put(row, "coverage", np.frombuffer(encode(mask, "png"), np.uint8))
                for name in maps:
                    write_coding(out.attrs, coding(name, shape, 4.0), f"{name}_")
                    for row in ok:
                        out.put(row, name, np.frombuffer(encode_deep(map_numbers(name, row)), np.uint8))
            if stage == "project":
                landmarks = out.rows("landmarks", (n_landmarks, 3), "f4", "mm")
                source = out.rows("landmark_source", (n_landmarks,), "u1")
                confidence = out.rows("landmark_confidence", (n_landmarks,), "f4", "1")
                visible = out.rows("landmark_visible", (len(STANDARD_VIEWS), n_landmarks), "u1")
                for row in ok:
                    visible[row] = 1
                    landmarks[row] = shape.landmarks(registered(item, row, shape).astype(float))
                    source[row], confidence[row] = 3, 0.5
    return PackInput(seq, paths)


def map_numbers(name: str, row: int) -> np.ndarray:
    """(TEXTURE, TEXTURE[, 3]) uint16: what the fake bake stage says of a map."""
    shape = (TEXTURE, TEXTURE, MAPS[name].channels)
    numbers = np.random.default_rng([row, len(name)]).integers(0, 65536, shape, np.uint16)
    return numbers if shape[2] > 1 else numbers[..., 0]


def inputs(root: Path, maps: tuple[str, ...] = ()) -> list[PackInput]:
    """Two subjects; one frame is rejected."""
    error = FrameRejected("large-residual", "the fit is 4 mm off", todo="Look at the scan")
    return [
        checkpoints(root, sequence(OTHER, (5, 7)), maps=maps),
        checkpoints(root, sequence(SMILE), bad={1: error}, maps=maps),
        checkpoints(root, sequence(NEUTRAL, (0,)), maps=maps),
    ]


def make_older(path: Path) -> None:
    """Make of a release one of schema 1.3: text of variable length, no digest, one index."""
    with h5py.File(path, "r+", libver="v110") as file:
        nodes = [file["/"]]
        file.visititems(lambda name, node: nodes.append(node))
        for node in nodes:
            for key, value in dict(node.attrs).items():
                if key == "sha256":
                    del node.attrs[key]
                elif isinstance(value, bytes):
                    node.attrs[key] = value.decode()
        file.attrs["schema_version"] = "1.3"
        table, names = file["index"][:], list(layout.INDEX_NAMES_BEFORE)
        for name in layout.INDEXES:
            del file[name]
        older = np.empty(len(table), [(n, table.dtype[n]) for n in names])
        for name in names:
            older[name] = table[name]
        layout.write_table(file, "index", older, 4)
        file["index"].attrs["unit"] = ""
    path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)


def reindex(path: Path) -> None:
    """Make the indexes and digests of a release whose groups were changed on purpose right again."""
    with h5py.File(path, "r+", libver="v110") as file:
        entries = []
        for subject, person in file["subjects"].items():
            for name, group in person.items():
                said = guard.attributes(group.id, "")
                entries.append(
                    layout.IndexEntry(
                        Item(subject, name),
                        said["expression"],
                        group["frame"][:],
                        [status.decode() for status in group["quality"]["status"]],
                        said["sequence"],
                        said["fps"],
                        said["file_from_scan"],
                        layout.source_bits(group["landmark_source"][:]),
                    )
                )
                for key, value in said.items():
                    guard.put(group.attrs, key, value)
            for key, value in guard.attributes(person.id, "").items():
                guard.put(person.attrs, key, value)
        for name in layout.INDEXES:
            del file[name]
        layout.write_indexes(file, entries, 4)
        digest.seal(file)
    if digest.beside(path).is_file():
        digest.write_beside(path)


def packed(
    output: Path,
    given: list[PackInput],
    table: SubjectTable | None = None,
    stages: Several[Stage] = STAGES[:-1],
    side_by_side: Callable[..., Any] = map,
    force: bool = False,
    remembered: Path | None = None,
    **settings: Any,
) -> PackResult:
    """The inputs as a release, of a flow of `stages`."""
    return pack(
        given,
        PackSettings(**settings),
        template(),
        Captures(Path("/nowhere")),
        parse_subjects(TABLE) if table is None else table,
        output,
        "2024-01-02T03:04:05Z",
        '{"bake": {"size": 32}}',
        "f" * 64,
        stages,
        licence="none",
        force=force,
        side_by_side=side_by_side,
        remembered=remembered,
    )
