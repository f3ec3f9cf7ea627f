"""export: frames of a release as files that other programs open.

Writes DIR/<subject>/<sequence>/<frame>.obj (with .mtl and the texture beside it), .ply or .glb; or one file a sequence:
DIR/<subject>/<sequence>.npz, or with `animation` <sequence>.glb, whose frames are morph targets.  Beside a mesh go its
landmarks, `<frame>.ljson` (or another format of `pipeline.landmarks.files`), and the maps of its surface,
`<frame>.normal.png` and so on (16 bit, canonical frame whatever the mesh's), with once a folder `maps.json`, which says
what their numbers mean; with .npz there are no maps.  Once a DIR, `topology.json` says which vertices of the template
its landmarks are.  Rejected frames are left out and counted.  Nothing is written when a file would be overwritten,
unless that is asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.captures.layouts import safe_glob, safe_name
from mimicme.pipeline.errors import ReleaseError, UsageError, listed
from mimicme.pipeline.formats.glb import BYTES_PER_VERTEX, Animation
from mimicme.pipeline.formats.map_coding import Coding
from mimicme.pipeline.geometry.mesh import Mesh, transform
from mimicme.pipeline.geometry.orientation import reversed_mesh
from mimicme.pipeline.geometry.seams import seamed
from mimicme.pipeline.landmarks import NamedPoints
from mimicme.pipeline.landmarks.files import WRITERS, write_landmarks
from mimicme.pipeline.release import Release, SequenceInfo, permitted
from mimicme.pipeline.release.layout import OK
from mimicme.pipeline.whole_file import refuse_existing, whole_file, write_whole
from mimicme.pipeline.workspace.beside import all_kept_out, kept_out_by_now

FORMATS = ("obj", "ply", "glb", "npz")
SPACES = ("canonical", "scan", "file")
Space = Literal["canonical", "scan", "file"]
_ENDING = {"png": ".png", "jpeg": ".jpg", "jpg": ".jpg", "webp": ".webp"}
_GLB_MEDIA = {"png": "image/png", "jpeg": "image/jpeg", "jpg": "image/jpeg"}  # glTF 2.0 knows no others
MAPS_FILE, TOPOLOGY_FILE = "maps.json", "topology.json"
LANDMARKS = tuple(ending[1:] for ending in WRITERS)
NO_LANDMARKS = "none"
NEUTRAL, APEX = "neutral", "apex"
LARGEST_ANIMATION = 1 << 30
"""Bytes of one that is written; programs that show it hold it in memory several times."""
MOST_FRAMES = 1_000_000
"""That are named one by one."""
PLAYED_AT = 25.0  # frames per second, where no rate is known
_THERE = "this file is there already; nothing was written"
_ARRAYS = ("frame", "vertices", "pose", "landmarks", "landmark_source", "landmark_confidence")


@dataclass(frozen=True)
class Wanted:
    """What is written of the frames that were chosen.

    Attributes:
        format: `obj`, `ply`, `glb` or `npz`.
        space: `canonical` (head still, template's frame), `scan` (mm, y up, head where it was) or `file` (units and
            axes of the capture's file, in double precision; in a GLB by the translation of its node).
        animation: one GLB a sequence, the frames its morph targets, over their times.
        texture_of: the frame whose texture an animation has, and whose mesh is shown where nothing is played:
            `neutral` (the least `amount` of expression, else the first), `apex` (the most, else the middle one), or its
            number.
        landmarks: format of the landmarks beside each frame, or `none`; empty: `ljson`, and of an `npz`, which has
            them inside, `none`.
        colors: of `ply`: also a colour per vertex, read off the texture.
    """

    format: str = "obj"
    space: Space = "canonical"
    animation: bool = False
    texture_of: str = NEUTRAL
    landmarks: str = ""
    colors: bool = False

    def checked(self) -> Wanted:
        """The same, `landmarks` said.

        Raises:
            UsageError: something of it is unknown, or does not go together.
        """
        kinds = (*LANDMARKS, NO_LANDMARKS)
        if self.format not in FORMATS or self.space not in SPACES:
            raise UsageError(
                "unknown format or space",
                seen=f"{self.format}, {self.space}",
                expected=f"{', '.join((*FORMATS, *SPACES))}",
            )
        if self.landmarks and self.landmarks not in kinds:
            raise UsageError("unknown format of landmarks", seen=self.landmarks, expected=", ".join(kinds))
        if self.animation and self.format != "glb":
            raise UsageError("an animation is a GLB", seen=self.format, todo="Say --format glb.")
        if self.colors and self.format != "ply":
            raise UsageError("colours per vertex go into PLY", seen=self.format, todo="Say --format ply.")
        if self.texture_of not in (NEUTRAL, APEX) and not self.texture_of.isdecimal():
            raise UsageError(
                "the texture of which frame?",
                seen=self.texture_of,
                expected=f"{NEUTRAL}, {APEX} or its number",
            )
        usual = NO_LANDMARKS if self.format == "npz" else "ljson"
        return replace(self, landmarks=self.landmarks or usual)

    @property
    def per_sequence(self) -> bool:
        """Whether a file holds a sequence, not a frame."""
        return self.animation or self.format == "npz"


@dataclass(frozen=True)
class ExportResult:
    """The meshes (or archives) that were written, how many rejected frames were left out, who does not permit the use,
    who is kept out by now of the workspace in whose folder the release lies, and how many animations play at a
    rate that nobody told (`PLAYED_AT`), because the release knows no times of their frames."""

    files: tuple[Path, ...]
    left_out: int
    forbidden: tuple[str, ...] = ()
    kept_out: tuple[str, ...] = ()
    untimed: int = 0


def export(
    release: str | Path | Release,
    directory: str | Path,
    format: str = "obj",
    select: str = "*/*",
    frames: Iterable[int] | None = None,
    space: Space = "canonical",
    overwrite: bool = False,
    use: str = "",
    *,
    animation: bool = False,
    texture_of: str = NEUTRAL,
    landmarks: str = "",
    colors: bool = False,
) -> ExportResult:
    """Write the selected frames.

    Fails closed: from a release that says what its subjects permit nothing is written before it is said what for, and
    nothing of those who do not plainly permit that.  Nor, from a release in the folder of its workspace, of those whom
    that keeps out by now: consent was taken back, and no run has packed the release since.

    Args:
        format, space, animation, texture_of, landmarks, colors: see `Wanted`.
        select: glob `SUBJECT/SEQUENCE`; `SUBJECT` alone means all its sequences.
        frames: the source's frame numbers; None for all.
        overwrite: replace files that are there.
        use: what for: `research`, `papers`, `training`, `raw`, `commercial` (`pipeline.release.permitted`).

    Raises:
        UsageError: unknown format, space or use, nothing selected, nobody permits it, everybody is kept out, an
            animation would be too large, or a file is there already.
        ConfigError, InputError: the release lies in the folder of a workspace that cannot say who is kept out.
    """
    wanted = Wanted(format, space, animation, texture_of, landmarks, colors).checked()
    opened = release if isinstance(release, Release) else Release(release)
    chosen = None if frames is None else list(frames)
    try:
        rows = _selected(opened, select, chosen)
        if not len(rows):  # a release spells names as `init` does, not as folders are called
            rows = _selected(opened, safe_glob(select), chosen)
        if not len(rows):
            raise UsageError(
                "the release has no such frames",
                where=opened.path,
                seen=f"'{select}'",
                expected=f"such as {listed((s.item for s in opened.sequences()[:3]), 3)}",
            )
        rows, kept_out = _not_kept_out(opened, rows)
        rows, forbidden = _permitted(opened, rows, use)
        good = rows[opened.index["status"][rows] == OK]
        plan = _plan(opened, good, Path(directory), wanted)
        if wanted.animation:
            _refuse_too_large(opened, plan)
        if not overwrite:
            _refuse_existing(opened, plan, wanted, Path(directory))
        untimed = 0
        for path, members in plan.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if wanted.animation:
                untimed += not _write_animation(opened, path, members, wanted)
            elif wanted.format == "npz":
                _write_npz(opened, path, members, space)
            else:
                _write_frame(opened, path, members[0], wanted)
                _write_maps(opened, path, members[0])
            for row in members:
                _write_landmarks(opened, path, row, wanted)
        if plan and wanted.landmarks != NO_LANDMARKS:
            _write_if_other(Path(directory) / TOPOLOGY_FILE, _topology(opened))
        return ExportResult(tuple(plan), len(rows) - len(good), forbidden, kept_out, untimed)
    finally:
        if not isinstance(release, Release):
            opened.close()


def _selected(release: Release, glob: str, frames: Sequence[int] | None) -> NDArray[np.int64]:
    """Rows of the sequences that a glob `SUBJECT/SEQUENCE` names, or `SUBJECT`."""
    subject, _, sequence = glob.partition("/")
    return release.select(subject=subject or "*", sequence=sequence or "*", frames=frames)


def _not_kept_out(release: Release, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Rows of subjects who may be in the release by now, and who may not.

    Raises:
        UsageError: none of them may.
        ConfigError, InputError: nobody can say.
    """
    subjects = np.unique(release.index["subject"][rows]).tolist()
    kept_out = tuple(sorted(kept_out_by_now(release.path, release.subjects).intersection(subjects)))
    if not kept_out:
        return rows, ()
    left = rows[~np.isin(release.index["subject"][rows], kept_out)]
    if not len(left):
        raise all_kept_out(release.path, len(kept_out))
    return left, kept_out


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
        UsageError: it is not such text, or means a million frames and more.
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError("frames are numbers and ranges", seen=text, expected="for instance 3,10-12")
        stop = int(last) if dash else int(first)
        if not 0 <= stop - int(first) < MOST_FRAMES - len(numbers):
            raise UsageError(
                "a range of frames rises, and all of them are fewer than a million", seen=part[:40]
            )
        numbers += range(int(first), stop + 1)
    return numbers


def _plan(
    release: Release, rows: NDArray[np.int64], directory: Path, wanted: Wanted
) -> dict[Path, list[int]]:
    """Rows by the file they go to."""
    plan: dict[Path, list[int]] = {}
    for row in rows.tolist():
        entry = release.index[row]
        names = str(entry["subject"]), str(entry["sequence"])
        # a release may come from anywhere: its names must not lead out of the folder
        if any(safe_name(n) != n for n in names):
            raise ReleaseError("a name is not safe for files", where=release.path, seen=repr("/".join(names)))
        folder = directory.joinpath(*names)
        ending = f".{wanted.format}"
        whole = folder.with_name(f"{names[1]}{ending}")
        path = whole if wanted.per_sequence else folder / f"{int(entry['frame']):04d}{ending}"
        rows_of = plan.setdefault(path, [])
        if any(int(release.index["frame"][other]) == int(entry["frame"]) for other in rows_of[-1:]):
            raise ReleaseError(
                "a sequence has a frame twice",
                where=release.path,
                seen=f"{'/'.join(names)}, frame {int(entry['frame'])}",
                todo="Run `mimicme verify`.",
            )
        rows_of.append(row)
    return plan


def _refuse_existing(release: Release, plan: dict[Path, list[int]], wanted: Wanted, directory: Path) -> None:
    topology = directory / TOPOLOGY_FILE
    if wanted.landmarks != NO_LANDMARKS and topology.exists() and topology.read_bytes() != _topology(release):
        refuse_existing(topology, why=_THERE)
    for path, rows in plan.items():
        beside = [path]
        if wanted.format in ("obj", "ply"):
            ending = _ENDING.get(release.image_bytes(rows[0])[1], ".img")
            beside += [path.with_suffix(".mtl"), path.with_suffix(ending)]
        if not wanted.per_sequence and (codings := release.maps(rows[0])):
            beside += [_map_path(path, name) for name in codings]
            if (meaning := path.with_name(MAPS_FILE)).exists() and meaning.read_bytes() != _meaning(codings):
                beside.append(meaning)
        if wanted.landmarks != NO_LANDMARKS:
            beside += [_landmarks_path(release, path, row, wanted) for row in rows]
        for each in beside:
            refuse_existing(each, why=_THERE)


def _refuse_too_large(release: Release, plan: dict[Path, list[int]]) -> None:
    for path, rows in plan.items():
        size = BYTES_PER_VERTEX * len(release.template.vertices) * len(rows)
        if size > LARGEST_ANIMATION:
            fit = LARGEST_ANIMATION * len(rows) // size
            raise UsageError(
                "an animation of so many frames is too large for the programs that show it",
                where=path.name,
                seen=f"{len(rows)} frames, {size / 1e6:,.0f} MB",
                expected=f"at most {fit} frames",
                todo="Choose some of them with --frames, or export them one by one.",
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


def _write_frame(release: Release, path: Path, row: int, wanted: Wanted) -> None:
    from mimicme.pipeline.formats.meshio import glb_bytes, mtl_bytes, obj_bytes, ply_bytes

    matrix = _to_space(release, row, wanted.space)
    mesh = _mesh_of(release, row, matrix)
    if wanted.format == "glb":
        entry = release.index[row]
        name = f"{entry['subject']}/{entry['sequence']}/{int(entry['frame']):04d}"
        data, media = _glb_image(release, row)
        said = _said(release, row, wanted) | {"frame": int(entry["frame"])}
        licence = str(release.attributes.get("licence", ""))
        write_whole(
            path,
            glb_bytes(mesh, data, media, _metres(wanted.space), name=name, extras=said, rights=licence),
        )
        return
    data, kind = release.image_bytes(row)
    image = path.with_suffix(_ENDING.get(kind, ".img")).name if data else None
    if image:
        write_whole(path.with_name(image), data)
    if wanted.format == "ply":
        if wanted.colors:
            mesh = replace(mesh, colors=_colors(release, row))
        # a capture may lie anywhere: single precision would cost it its detail
        write_whole(path, ply_bytes(mesh, image, double=wanted.space == "file"))
        return
    library = path.with_suffix(".mtl").name if image else None
    polygons = release.template.polygons
    content = obj_bytes(mesh, decimals=_decimals(matrix), material_file=library, polygons=polygons)
    write_whole(path, content)
    if library and image:
        write_whole(path.with_name(library), mtl_bytes(image))


def _mesh_of(release: Release, row: int, matrix: NDArray[np.float64]) -> Mesh:
    """A frame's mesh in the space that `matrix` leads to."""
    vertices = transform(matrix, release.vertices(row).astype(np.float64))
    mesh = replace(release.template.mesh, vertices=vertices)
    return reversed_mesh(mesh) if _mirrors(matrix) else mesh


def _metres(space: Space) -> float:
    """Of a GLB's unit: that of the capture's file is not known here."""
    return 1.0 if space == "file" else 0.001


def _glb_image(release: Release, row: int) -> tuple[bytes, str]:
    """A frame's texture as a GLB can hold it, and its media type; empty without one."""
    from mimicme.pipeline.formats.image import encode

    data, kind = release.image_bytes(row)
    if data and kind not in _GLB_MEDIA:
        pixels = release.texture(row)
        data, kind = (encode(pixels, "png"), "png") if pixels is not None else (b"", "")
    return data, _GLB_MEDIA.get(kind, "")


def _said(release: Release, row: int, wanted: Wanted) -> dict[str, Any]:
    """What a GLB says of its mesh, whichever frames it holds."""
    entry, attributes = release.index[row], release.attributes
    try:
        publication = json.loads(str(attributes.get("publication", "{}")))
        version = str(publication.get("version", ""))
    except (ValueError, AttributeError, RecursionError):
        version = ""
    return {
        "subject": str(entry["subject"]),
        "sequence": str(entry["sequence"]),
        "expression": str(entry["expression"]),
        "space": wanted.space,
        "licence": str(attributes.get("licence", "")),
        "release": {
            "version": version,
            "created": str(attributes.get("created", "")),
            "fingerprint": release.fingerprint,
        },
    }


def _colors(release: Release, row: int) -> NDArray[np.uint8] | None:
    """(V, 3) a frame's texture at each vertex; None without a texture.

    A vertex on a seam has the colour of one of its places, one that no triangle has is black.
    """
    from mimicme.pipeline.drawing.render import sample_image

    texture = release.texture(row)
    if texture is None:
        return None
    template = release.template
    n = len(template.vertices)
    place = seamed(template.faces, template.uv, template.uv_faces, n).uv[:n]
    colors = np.rint(sample_image(texture, place)).astype(np.uint8)
    colors[np.setdiff1d(np.arange(n), template.faces)] = 0
    return colors


def _write_animation(release: Release, path: Path, rows: Sequence[int], wanted: Wanted) -> bool:
    """A sequence as one mesh, that of the frame whose texture it has, and a morph target for each other frame.

    Returns:
        Whether the times that it is played at are known; a single frame is not played.
    """
    from mimicme.pipeline.formats.meshio import glb_bytes

    shown = _textured(release, rows, wanted.texture_of)
    entries = release.index[list(rows)]
    name = f"{entries['subject'][0]}/{entries['sequence'][0]}"
    base = _mesh_of(release, shown, _to_space(release, shown, wanted.space))
    data, media = _glb_image(release, shown)
    times, known = _times(release, rows)
    targets = {
        f"{int(entry['frame']):04d}": _mesh_of(release, row, _to_space(release, row, wanted.space)).vertices
        - base.vertices
        for row, entry in zip(rows, entries, strict=True)
        if row != shown
    }
    weights = np.zeros((len(rows), len(targets)))
    weights[[k for k, row in enumerate(rows) if row != shown], np.arange(len(targets))] = 1
    said = _said(release, shown, wanted) | {
        "frames": [int(number) for number in entries["frame"]],
        "times_s": times.tolist(),
        "times_known": known,
        "texture_of_frame": int(release.index[shown]["frame"]),
    }
    content = glb_bytes(
        base,
        data,
        media,
        _metres(wanted.space),
        targets,
        name=name,
        extras=said,
        rights=str(release.attributes.get("licence", "")),
        animation=Animation(times, weights),
    )
    write_whole(path, content)
    return known or len(rows) == 1


def _textured(release: Release, rows: Sequence[int], which: str) -> int:
    """The row whose texture an animation has: of those with a texture where some have one.

    Raises:
        UsageError: a number that is none of these frames.
    """
    if which.isdecimal():
        named = [row for row in rows if int(release.index[row]["frame"]) == int(which)]
        if not named:
            raise UsageError(
                "the frame whose texture an animation is to have is none of its frames",
                where=str(release.index[rows[0]]["sequence"]),
                seen=which,
                expected=f"one of {', '.join(str(int(release.index[row]['frame'])) for row in rows[:20])}",
            )
        return named[0]
    seen = [row for row in rows if release.image_bytes(row)[0]] or list(rows)
    there = "amount" in release.figures()
    amount = np.array([release.figure(row, "amount") if there else math.nan for row in seen])
    if np.isfinite(amount).any():
        return seen[int(np.nanargmin(amount) if which == NEUTRAL else np.nanargmax(amount))]
    return seen[0 if which == NEUTRAL else len(seen) // 2]


def _times(release: Release, rows: Sequence[int]) -> tuple[NDArray[np.float64], bool]:
    """Seconds since the first of these frames, and whether they are known; else as if a frame came every 1/25 s."""
    entry = release.index[rows[0]]
    info = release.sequence(str(entry["subject"]), str(entry["sequence"]))
    times = release.times(info.item)[release.index[list(rows)]["row"].astype(np.int64)]
    times = (times - times[0]).astype(np.float32).astype(np.float64)
    if np.isfinite(times).all() and (np.diff(times) > 0).all():
        return times, True
    return np.arange(len(rows)) / PLAYED_AT, False


def _landmarks_path(release: Release, path: Path, row: int, wanted: Wanted) -> Path:
    folder = path.with_suffix("") if wanted.per_sequence else path.parent
    return folder / f"{int(release.index[row]['frame']):04d}.{wanted.landmarks}"


def _write_landmarks(release: Release, path: Path, row: int, wanted: Wanted) -> None:
    """The landmarks of a frame in the space and unit that the mesh beside them has where it is opened."""
    if wanted.landmarks == NO_LANDMARKS:
        return
    points = np.asarray(release.field(row, "landmarks"), np.float64)
    placed = transform(_to_space(release, row, wanted.space), points)
    if wanted.format == "glb":
        placed = placed * _metres(wanted.space)
    there = NamedPoints(placed, release.template.landmark_names)
    if not there.present.any():
        return
    target = _landmarks_path(release, path, row, wanted)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, write_landmarks(there, target.name))


def _topology(release: Release) -> bytes:
    """Which vertices the template's landmarks are: in every file the template's vertices come first, in its order."""
    template = release.template
    nearest = template.landmark_vertices[
        np.arange(len(template.landmark_names)), template.landmark_weights.argmax(axis=1)
    ]
    landmarks = {
        name: {"vertex": int(vertex), "corners": corners.tolist(), "weights": np.round(weights, 7).tolist()}
        for name, vertex, corners, weights in zip(
            template.landmark_names,
            nearest,
            template.landmark_vertices,
            template.landmark_weights,
            strict=True,
        )
    }
    said = {
        "template": template.name,
        "digest": template.digest,
        "vertices": len(template.vertices),
        "triangles": len(template.faces),
        "landmark": "sum over its triangle's corners of weight * vertex; `vertex` is the nearest of them",
        "landmarks": landmarks,
    }
    return json.dumps(said, indent=1).encode()


def _write_if_other(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        write_whole(path, content)


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
    _write_if_other(path.with_name(MAPS_FILE), _meaning(codings))


def _meaning(codings: Mapping[str, Coding]) -> bytes:
    """What the numbers of maps mean, as it lies beside them."""
    meaning = {n: {"unit": c.unit, "scale": c.scale, "offset": c.offset} for n, c in codings.items()}
    text = {"value": "offset + scale * number", "space": "canonical", "maps": meaning}
    return json.dumps(text, indent=1).encode()


def _write_npz(release: Release, path: Path, rows: Sequence[int], space: Space) -> None:
    """One sequence with its template: everything numpy needs to go on."""
    entries = release.index[list(rows)]
    info = release.sequence(str(entries["subject"][0]), str(entries["sequence"][0]))
    at = entries["row"].astype(np.int64)
    arrays: dict[str, Any] = {n: release.values(info.item, n)[at] for n in _ARRAYS if n != "vertices"}
    arrays["vertices"] = release.vertices_of(rows)
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
