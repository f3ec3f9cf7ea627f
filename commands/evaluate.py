"""evaluate: a release against captures whose true registration is known (`mimicme synth` makes such).

The truth folder holds `truth/<subject>/<sequence>.npz`, `captures/<subject>/<sequence>/<frame>.obj` and
`template/template.obj` or `.ply` with `template.ljson`.  Everything is compared in the capture file's
frame, in mm: a registered vertex goes through `pose` and `file_from_scan` first.

Per frame:

    corr, corr_p95       distance to the true registered vertex, over core vertices where the scan has data
    along                its tangential part, along the true surface
    s2m_median, s2m_p95  scan vertices inside the template's region -> registered surface
    lm                   distance to the true landmarks, on the registered mesh
    bad_pct              flipped or degenerate triangles (area under 2 % of the true one), per cent

and per sequence:

    jitter               mean length of the second time difference of (registered - truth), mm per frame^2
    amplitude            registered motion along the true motion from the first frame to the apex, head pose
    removed,
                         over core vertices that truly move more than 3 mm; 1 is all of it
    pose_deg, pose_mm    head motion since the first frame against the true one: rotation, and shift of the
    nose bridge

All are lower-is-better but `amplitude`.  Rejected and missing frames are counted and listed, never averaged
in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.errors import InputError, UsageError
from mimicme.pipeline.geometry.mesh import transform, triangle_normals, vertex_normals
from mimicme.pipeline.items import Item
from mimicme.pipeline.release import Release
from mimicme.pipeline.release.layout import OK

FRAME_MEASURES = ("corr", "corr_p95", "along", "s2m_median", "s2m_p95", "lm", "bad_pct")
SEQUENCE_MEASURES = ("jitter", "amplitude", "pose_deg", "pose_mm")
MEASURES = FRAME_MEASURES + SEQUENCE_MEASURES

DEGENERATE_AREA = 0.02  # of the true triangle's area
MOVING_MM = 3.0
FEWEST_MOVING = 20
NOSE_BRIDGE = 27  # iBUG-68
_TRUTH_ARRAYS = ("vertices", "valid", "core", "landmarks", "region", "head_pose", "amount")

Record = dict[str, Any]


@dataclass(frozen=True)
class Truth:
    """The known answer for one sequence, in the capture file's frame, mm.

    Attributes:
        vertices: (F, V, 3) float64.
        valid: (F, V) the scan has data there; core: (V,) the face without its rim.
        landmarks: (F, 68, 3).
        region: (F, n) per vertex of the scan's file: skin inside the template's region.
        head_pose: (F, 4, 4) model -> scan.
        amount: (F,) 0 neutral, 1 apex.
    """

    item: Item
    vertices: Floats
    valid: Bools
    core: Bools
    landmarks: Floats
    region: Bools
    head_pose: Floats
    amount: Floats

    def __len__(self) -> int:
        return len(self.vertices)


def evaluate(release: str | Path | Release, truth: str | Path) -> Record:
    """Compare a release with the truth.

    Args:
        truth: folder as described above.

    Returns:
        `frames` (how many were compared), `rejected` and `missing` (lists of `subject/sequence/frame`), and
        means of the measures: `all`, `apex`, `expressions` (all but neutral), `sequences` (by name).  A
        measure that cannot be taken (jitter of one frame) is absent.

    Raises:
        InputError: the folder holds no truth, or it does not fit the release's template.
    """
    opened = release if isinstance(release, Release) else Release(release)
    folder = Path(truth)
    paths = sorted((folder / "truth").glob("*/*.npz"))
    if not paths:
        raise InputError(
            "there is no truth in this folder",
            where=folder,
            expected="truth/<subject>/<sequence>.npz",
            todo="Make some with `mimicme synth`.",
        )
    corners = _landmark_vertices(folder, opened)
    faces = opened.template.faces
    records: list[Record] = []
    sequences: list[Record] = []
    rejected: list[str] = []
    missing: list[str] = []
    try:
        for path in paths:
            known = read_truth(path)
            if known.vertices.shape[1] != len(opened.template.vertices):
                raise InputError(
                    "the truth is of another template than the release",
                    where=path,
                    seen=f"{known.vertices.shape[1]} vertices",
                    expected=len(opened.template.vertices),
                )
            found = _registered(opened, known.item, len(known))
            name = f"{known.item}/{{:04d}}".format
            rejected += [name(k) for k in found.rejected]
            missing += [name(k) for k in range(len(known)) if k not in found.numbers]
            for k, vertices in found.vertices.items():
                scan = _scan_vertices(folder, known.item, k)
                row = frame_measures(vertices, known, k, faces, scan, corners)
                apex = bool(known.amount[k] > 0.999)
                records.append({"sequence": known.item.sequence, "apex": apex, **row})
            if len(known) > 1 and found.vertices:
                row = sequence_measures(found.vertices, found.poses, known)
                sequences.append({"sequence": known.item.sequence, **row})
    finally:
        if not isinstance(release, Release):
            opened.close()
    return _summary(records, sequences, rejected, missing)


def frame_measures(
    vertices: Floats,
    truth: Truth,
    frame: int,
    faces: Ints,
    scan: Floats,
    landmark_vertices: NDArray[np.int64],
) -> dict[str, float]:
    """Measures of one frame.

    Args:
        vertices: (V, 3) registered, in the capture file's frame, mm.
        scan: (n, 3) vertices of the scan's file, in its order.
        landmark_vertices: (68,) template vertex of each landmark.
    """
    from mimicme.pipeline.geometry.spatial import Surface

    true = truth.vertices[frame]
    seen = truth.valid[frame] & truth.core
    off = vertices - true
    distance = np.linalg.norm(off, axis=1)
    across = np.einsum("vx,vx->v", off, vertex_normals(true, faces))
    row: dict[str, float] = {}
    if seen.any():
        tangential = np.sqrt(np.maximum(distance**2 - across**2, 0))
        row["corr"] = float(distance[seen].mean())
        row["corr_p95"] = float(np.percentile(distance[seen], 95))
        row["along"] = float(tangential[seen].mean())
    inside = scan[truth.region[frame][: len(scan)]]
    if len(inside):
        to_surface = Surface(vertices, faces).distance(inside)
        row["s2m_median"] = float(np.median(to_surface))
        row["s2m_p95"] = float(np.percentile(to_surface, 95))
    row["lm"] = float(np.linalg.norm(vertices[landmark_vertices] - truth.landmarks[frame], axis=1).mean())
    normals, areas = triangle_normals(vertices, faces)
    true_normals, true_areas = triangle_normals(true, faces)
    flipped = np.einsum("tx,tx->t", normals, true_normals) < 0
    row["bad_pct"] = float(100 * (flipped | (areas < DEGENERATE_AREA * true_areas)).mean())
    return row


def sequence_measures(
    vertices: Mapping[int, Floats], poses: Mapping[int, Floats], truth: Truth
) -> dict[str, float]:
    """Measures of a whole sequence from its frames that are ok, by frame number.

    Args:
        vertices: (V, 3) each, in the capture file's frame.  poses: (4, 4) each, canonical -> capture file.
    """
    measures = {
        "jitter": jitter(vertices, truth),
        "amplitude": amplitude(vertices, truth),
        **dict(zip(("pose_deg", "pose_mm"), head_motion(poses, truth), strict=True)),
    }
    return {name: value for name, value in measures.items() if value is not None}


def jitter(vertices: Mapping[int, Floats], truth: Truth) -> float | None:
    """Mean length of the second time difference of the error, mm per frame^2, over core vertices with
    data."""
    means = []
    for k in range(1, len(truth) - 1):
        if {k - 1, k, k + 1} <= vertices.keys():
            before, now, after = (vertices[j] - truth.vertices[j] for j in (k - 1, k, k + 1))
            seen = truth.core & truth.valid[k - 1 : k + 2].all(axis=0)
            means.append(float(np.linalg.norm(after - 2 * now + before, axis=1)[seen].mean()))
    return float(np.mean(means)) if means else None


def amplitude(vertices: Mapping[int, Floats], truth: Truth) -> float | None:
    """Share of the true motion to the apex that the registration has, head pose removed."""
    apex = int(np.argmax(truth.amount))
    if not {0, apex} <= vertices.keys():
        return None
    home = {k: np.linalg.inv(truth.head_pose[k]) for k in (0, apex)}
    true = transform(home[apex], truth.vertices[apex]) - transform(home[0], truth.vertices[0])
    found = transform(home[apex], vertices[apex]) - transform(home[0], vertices[0])
    moving = truth.core & truth.valid[0] & truth.valid[apex] & (np.linalg.norm(true, axis=1) > MOVING_MM)
    if moving.sum() <= FEWEST_MOVING:
        return None
    return float((found[moving] * true[moving]).sum() / (true[moving] ** 2).sum())


def head_motion(poses: Mapping[int, Floats], truth: Truth) -> tuple[float | None, float | None]:
    """Mean error of the head motion since the first frame: rotation (degrees), shift of the nose bridge
    (mm)."""
    if 0 not in poses:
        return None, None
    bridge = truth.landmarks[0, NOSE_BRIDGE]
    degrees, shifts = [], []
    for k in (k for k in poses if k):
        true = truth.head_pose[k] @ np.linalg.inv(truth.head_pose[0])
        left = np.linalg.inv(true) @ (poses[k] @ np.linalg.inv(poses[0]))
        cosine = (np.trace(left[:3, :3]) - 1) / 2
        degrees.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        shifts.append(np.linalg.norm(transform(left, bridge) - bridge))
    return (float(np.mean(degrees)), float(np.mean(shifts))) if degrees else (0.0, 0.0)


def format_table(result: Mapping[str, Any]) -> str:
    """The result of `evaluate` as a table to print, one line a sequence and three of means."""
    lines = [f"{'sequence':<14}" + "".join(f"{name:>11}" for name in MEASURES)]
    means = [("EXPRESSIONS", "expressions"), ("APEX", "apex"), ("ALL", "all")]
    for label, row in [*result["sequences"].items(), *((label, result[key]) for label, key in means)]:
        cells = (f"{row[name]:11.3f}" if name in row else f"{'-':>11}" for name in MEASURES)
        lines.append(f"{label:<14}" + "".join(cells))
    for word in ("rejected", "missing"):
        names = result[word]
        listed = f": {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else ""
        lines.append(f"{len(names)} frames {word}{listed}")
    lines.append(f"{result['frames']} frames compared; mm, degrees, per cent, mm per frame^2 (jitter)")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------ reading


def read_truth(path: Path) -> Truth:
    """The known answer of one sequence; its subject is the name of the folder.

    Raises:
        InputError: the file cannot be read or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {name: np.asarray(file[name]) for name in _TRUTH_ARRAYS}
    except (OSError, ValueError, KeyError) as error:
        raise InputError("the truth cannot be read", where=path, seen=str(error).splitlines()[0]) from error
    return Truth(
        Item(path.parent.name, path.stem),
        vertices=data["vertices"].astype(np.float64),
        valid=data["valid"].astype(bool),
        core=data["core"].astype(bool),
        landmarks=data["landmarks"].astype(np.float64),
        region=data["region"].astype(bool),
        head_pose=data["head_pose"].astype(np.float64),
        amount=data["amount"].astype(np.float64),
    )


@dataclass(frozen=True)
class _Registered:
    numbers: set[int]
    rejected: list[int]
    vertices: dict[int, Floats]
    poses: dict[int, Floats]


def _registered(release: Release, item: Item, n_frames: int) -> _Registered:
    """Frames of a sequence in the capture file's frame, by frame number; nothing when the release lacks
    it."""
    found = _Registered(set(), [], {}, {})
    try:
        info = release.sequence(item.subject, item.sequence)
    except UsageError:
        return found
    poses = release.values(item, "pose")
    for row in info.rows:
        entry = release.index[row]
        number = int(entry["frame"])
        found.numbers.add(number)
        if entry["status"] != OK:
            found.rejected.append(number)
        elif 0 <= number < n_frames:
            pose = info.file_from_scan @ poses[int(entry["row"])]
            found.poses[number] = pose
            found.vertices[number] = transform(pose, release.vertices(row).astype(np.float64))
    return found


def _scan_vertices(folder: Path, item: Item, frame: int) -> Floats:
    """(n, 3) vertices of a capture in the order of its `v` lines."""
    from mimicme.pipeline.formats.meshio import read_mesh

    path = folder / "captures" / item.subject / item.sequence / f"{frame:04d}.obj"
    try:
        return read_mesh(path.read_bytes(), path.name).mesh.vertices
    except OSError as error:
        raise InputError("the capture cannot be read", where=path, seen=error.strerror) from error


def _landmark_vertices(folder: Path, release: Release) -> NDArray[np.int64]:
    """(68,) vertex of the template file nearest to each of its landmarks; without the file, the release's
    own."""
    from mimicme.pipeline.formats.meshio import read_mesh
    from mimicme.pipeline.landmarks.files import read_landmarks

    mesh = next((p for p in (folder / "template").glob("template.*") if p.suffix in (".obj", ".ply")), None)
    points = folder / "template" / "template.ljson"
    if mesh is None or not points.is_file():
        own = release.template
        best = own.landmark_weights.argmax(axis=1)
        return own.landmark_vertices[np.arange(len(best)), best]
    vertices = read_mesh(mesh.read_bytes(), mesh.name).mesh.vertices
    landmarks = read_landmarks(points.read_bytes(), points.name).points
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(vertices).query(landmarks)[1], np.int64)


def _summary(
    records: Sequence[Record], sequences: Sequence[Record], rejected: list[str], missing: list[str]
) -> Record:
    def of(name: str) -> Iterator[tuple[Sequence[Record], tuple[str, ...]]]:
        yield [r for r in records if r["sequence"] == name], FRAME_MEASURES
        yield [r for r in sequences if r["sequence"] == name], SEQUENCE_MEASURES

    names = sorted({r["sequence"] for r in records})
    return {
        "frames": len(records),
        "rejected": rejected,
        "missing": missing,
        "all": _means(records, FRAME_MEASURES) | _means(sequences, SEQUENCE_MEASURES),
        "apex": _means([r for r in records if r["apex"]], FRAME_MEASURES),
        "sequences": {n: {k: v for part in of(n) for k, v in _means(*part).items()} for n in names},
        "expressions": _means([r for r in records if r["sequence"] != "neutral"], FRAME_MEASURES),
    }


def _means(rows: Sequence[Record], names: Sequence[str]) -> dict[str, float]:
    return {n: float(np.mean([r[n] for r in rows if n in r])) for n in names if any(n in r for r in rows)}
