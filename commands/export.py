"""export: frames of a release as files that other programs open.

Writes DIR/<subject>/<sequence>/<frame>.obj (with .mtl and the texture beside it), .ply or .glb, or one
DIR/<subject>/<sequence>.npz a sequence.  Beside a mesh go the maps of its surface, `<frame>.normal.png` and so on (16
bit, canonical frame whatever the mesh's), and once a folder `maps.json`, which says what their numbers mean; with
.npz there are none.  Rejected frames are left out and counted.  Nothing is written when a file would be overwritten,
unless that is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.errors import ReleaseError, UsageError
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.orientation import reversed_mesh
from mimicme.pipeline.release import Release, SequenceInfo, permitted
from mimicme.pipeline.release.layout import OK
from mimicme.pipeline.whole_file import whole_file, write_whole

FORMATS = ("obj", "ply", "glb", "npz")
SPACES = ("canonical", "scan", "file")
Space = Literal["canonical", "scan", "file"]
_ENDING = {"png": ".png", "jpeg": ".jpg", "jpg": ".jpg", "webp": ".webp"}
_GLB_MEDIA = {"png": "image/png", "jpeg": "image/jpeg", "jpg": "image/jpeg"}  # glTF 2.0 knows no others
MAPS_FILE = "maps.json"
_ARRAYS = ("frame", "vertices", "pose", "landmarks", "landmark_source", "landmark_confidence")


@dataclass(frozen=True)
class ExportResult:
    """The meshes (or archives) that were written, how many rejected frames were left out, and who does not permit the
    use."""

    files: tuple[Path, ...]
    left_out: int
    forbidden: tuple[str, ...] = ()


def export(
    release: str | Path | Release,
    directory: str | Path,
    format: str = "obj",
    select: str = "*/*",
    frames: Iterable[int] | None = None,
    space: Space = "canonical",
    overwrite: bool = False,
    use: str = "",
) -> ExportResult:
    """Write the selected frames.

    Fails closed: from a release that says what its subjects permit nothing is written before it is said what for, and
    nothing of those who do not plainly permit that.

    Args:
        format: `obj`, `ply`, `glb` or `npz`.
        select: glob `SUBJECT/SEQUENCE`; `SUBJECT` alone means all its sequences.
        frames: the source's frame numbers; None for all.
        space: `canonical` (head still, template's frame), `scan` (mm, y up, head where it was) or `file` (units and
            axes of the capture's file, in double precision; in a GLB by the translation of its node).
        overwrite: replace files that are there.
        use: what for: `research`, `papers`, `training`, `raw`, `commercial` (`pipeline.release.permitted`).

    Raises:
        UsageError: unknown format, space or use, nothing selected, nobody permits it, or a file is there already.
    """
    if format not in FORMATS or space not in SPACES:
        raise UsageError(
            "unknown format or space", seen=f"{format}, {space}", expected=f"{', '.join((*FORMATS, *SPACES))}"
        )
    subject, _, sequence = select.partition("/")
    opened = release if isinstance(release, Release) else Release(release)
    chosen = None if frames is None else list(frames)
    try:
        rows = opened.select(subject=subject or "*", sequence=sequence or "*", frames=chosen)
        if not len(rows):
            raise UsageError("the release has no such frames", where=opened.path, seen=select)
        rows, forbidden = _permitted(opened, rows, use)
        good = rows[opened.index["status"][rows] == OK]
        plan = _plan(opened, good, Path(directory), format)
        if not overwrite:
            _refuse_existing(opened, plan, format)
        for path, members in plan.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if format == "npz":
                _write_npz(opened, path, members, space)
            else:
                _write_frame(opened, path, members[0], format, space)
                _write_maps(opened, path, members[0])
        return ExportResult(tuple(plan), len(rows) - len(good), forbidden)
    finally:
        if not isinstance(release, Release):
            opened.close()


def _permitted(
    release: Release, rows: NDArray[np.int64], use: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Rows of subjects who permit a use, and who does not.

    Raises:
        UsageError: the release says what is permitted, and nobody said what for; or none of these permits it.
    """
    if not use and not permitted.declares(release.subjects.values()):
        return rows, ()
    if not use:
        raise UsageError(
            "this release says what each of its subjects permits",
            where=release.path,
            todo=f"Say what the export is for: --for {'|'.join(permitted.USES)}.",
        )
    subjects = np.unique(release.index["subject"][rows]).tolist()
    forbidden = tuple(one for one in subjects if not release.permits(one, use))
    left = rows[~np.isin(release.index["subject"][rows], forbidden)]
    if not len(left):
        raise UsageError(
            f"none of these subjects plainly permits '{use}'",
            where=release.path,
            seen=f"{len(subjects)} subjects",
            todo="What they permit stands in the columns of the table of subjects.",
        )
    return left, forbidden


def parse_frames(text: str) -> list[int]:
    """Frame numbers from text like `3,10-12`.

    Raises:
        UsageError: it is not such text, or means more than a million frames.
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError("frames are numbers and ranges", seen=text, expected="for instance 3,10-12")
        stop = int(last) if dash else int(first)
        if not 0 <= stop - int(first) < 1_000_000:
            raise UsageError("a range of frames rises, over fewer than a million", seen=part)
        numbers += range(int(first), stop + 1)
    return numbers


def _plan(release: Release, rows: NDArray[np.int64], directory: Path, format: str) -> dict[Path, list[int]]:
    """Rows by the file they go to."""
    plan: dict[Path, list[int]] = {}
    for row in rows.tolist():
        entry = release.index[row]
        names = str(entry["subject"]), str(entry["sequence"])
        # a release may come from anywhere: its names must not lead out of the folder
        if any(safe_name(n) != n for n in names):
            raise ReleaseError("a name is not safe for files", where=release.path, seen=repr("/".join(names)))
        folder = directory.joinpath(*names)
        number = int(entry["frame"])
        path = folder.with_name(f"{names[1]}.npz") if format == "npz" else folder / f"{number:04d}.{format}"
        plan.setdefault(path, []).append(row)
    return plan


def _refuse_existing(release: Release, plan: dict[Path, list[int]], format: str) -> None:
    for path, rows in plan.items():
        beside = [path]
        if format in ("obj", "ply"):
            ending = _ENDING.get(release.image_bytes(rows[0])[1], ".img")
            beside += [path.with_suffix(".mtl"), path.with_suffix(ending)]
        if format != "npz":
            beside += [_map_path(path, name) for name in release.maps(rows[0])]
        for each in beside:
            if each.exists():
                raise UsageError(
                    "this file is there already; nothing was written",
                    where=each,
                    todo="Choose another folder, or say --overwrite.",
                )


def _to_space(release: Release, row: int, space: Space) -> NDArray[np.float64]:
    """(4, 4) canonical -> the wanted space."""
    if space == "canonical":
        return np.eye(4)
    entry = release.index[row]
    info = release.sequence(str(entry["subject"]), str(entry["sequence"]))
    pose = release.values(info.item, "pose")[int(entry["row"])]
    return np.asarray(info.file_from_scan @ pose if space == "file" else pose)


def _mirrors(matrix: NDArray[np.float64]) -> bool:
    """Whether outsides are turned in: the capture file is a mirror image."""
    return bool(np.linalg.det(matrix[:3, :3]) < 0)


def _decimals(matrix: NDArray[np.float64]) -> int:
    """Digits after the point that tell a ten-thousandth of a millimetre in the space `matrix` leads to."""
    unit_mm = 1 / float(np.linalg.norm(matrix[:3, 0]))
    return int(np.clip(np.ceil(np.log10(unit_mm) + 4), 6, 15))


def _write_frame(release: Release, path: Path, row: int, format: str, space: Space) -> None:
    from mimicme.pipeline.formats.image import encode
    from mimicme.pipeline.formats.meshio import glb_bytes, mtl_bytes, obj_bytes, ply_bytes

    shape = release.template.mesh
    matrix = _to_space(release, row, space)
    vertices = transform(matrix, release.vertices(row).astype(np.float64))
    data, kind = release.image_bytes(row)
    mesh = replace(shape, vertices=vertices)
    if _mirrors(matrix):
        mesh = reversed_mesh(mesh)
    if format == "glb":
        if data and kind not in _GLB_MEDIA:
            pixels = release.texture(row)
            data, kind = (encode(pixels, "png"), "png") if pixels is not None else (b"", "")
        scale = 1.0 if space == "file" else 0.001
        write_whole(path, glb_bytes(mesh, data, _GLB_MEDIA.get(kind, ""), scale))
        return
    image = path.with_suffix(_ENDING.get(kind, ".img")).name if data else None
    if image:
        write_whole(path.with_name(image), data)
    if format == "ply":
        # a capture may lie anywhere: single precision would cost it its detail
        write_whole(path, ply_bytes(mesh, image, double=space == "file"))
        return
    library = path.with_suffix(".mtl").name if image else None
    write_whole(
        path,
        obj_bytes(
            mesh, decimals=_decimals(matrix), material_file=library, polygons=release.template.polygons
        ),
    )
    if library and image:
        write_whole(path.with_name(library), mtl_bytes(image))


def _map_path(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}.{name}.png")


def _write_maps(release: Release, path: Path, row: int) -> None:
    """The maps of a frame's surface beside its mesh, and what their numbers mean."""
    codings = release.maps(row)
    for name in codings:
        data, _ = release.image_bytes(row, name)
        if data:
            write_whole(_map_path(path, name), data)
    if not codings:
        return
    meaning = {n: {"unit": c.unit, "scale": c.scale, "offset": c.offset} for n, c in codings.items()}
    text = {"value": "offset + scale * number", "space": "canonical", "maps": meaning}
    said, said_so = path.with_name(MAPS_FILE), json.dumps(text, indent=1).encode()
    if not said.exists() or said.read_bytes() != said_so:
        write_whole(said, said_so)


def _write_npz(release: Release, path: Path, rows: Sequence[int], space: Space) -> None:
    """One sequence with its template: everything numpy needs to go on."""
    entries = release.index[list(rows)]
    info = release.sequence(str(entries["subject"][0]), str(entries["sequence"][0]))
    at = entries["row"].astype(np.int64)
    arrays: dict[str, Any] = {n: release.values(info.item, n)[at] for n in _ARRAYS if n != "vertices"}
    arrays["vertices"] = np.stack([release.vertices(row) for row in rows])
    if space != "canonical":
        if space == "file":  # which may lie anywhere: single precision would cost it its detail
            arrays |= {name: arrays[name].astype(np.float64) for name in ("vertices", "landmarks")}
        for k, row in enumerate(rows):
            matrix = _to_space(release, row, space)
            for name in ("vertices", "landmarks"):
                arrays[name][k] = transform(matrix, arrays[name][k].astype(np.float64))
    shape = release.template.mesh
    if _mirrors(_to_space(release, rows[0], space)):
        shape = reversed_mesh(shape)
    names = np.array(release.template.landmark_names)
    arrays |= {"faces": shape.faces, "uv": release.template.uv.astype("f4"), "uv_faces": shape.uv_faces}
    arrays |= {"time_s": release.times(info.item)[at]}
    arrays |= _labels(info) | {"landmark_names": names, "space": np.array(space)}
    with whole_file(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, **arrays)


def _labels(info: SequenceInfo) -> dict[str, NDArray[Any]]:
    return {
        "expression": np.array(info.expression),
        "fps": np.array(info.fps),
        "file_from_scan": info.file_from_scan,
    }
