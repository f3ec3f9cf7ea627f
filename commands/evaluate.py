"""evaluate: a release against captures whose true registration is known (`mimicme synth` makes such).

The truth folder holds `truth/<subject>/<sequence>.npz`, `captures/<subject>/<sequence>/<frame>.obj` and
`template/template.obj` or `.ply` with `template.ljson`.  Everything is compared in the capture file's
frame, in mm: a registered vertex goes through `pose` and `file_from_scan` first.

Per frame:

    corr, corr_p95       distance to the true registered vertex, over core vertices where the scan has data
    along                its tangential part, along the true surface
    s2m_median, s2m_p95  scan vertices inside the template's region -> registered surface; not of recordings
    lm                   distance to the true landmarks, on the registered mesh
    bad_pct              flipped or degenerate triangles (area under 2 % of the true one), per cent
    feature              `along` over core vertices with data near a feature; see `feature_vertices`
    feature_lips, ...    the same near features of the lips, the lids, the brows and the nose
    mouth_light_closed   the release's figure of quality `mouth_light` (mm^2), where the true lips are closed

and per sequence:

    jitter               mean length of the second time difference of (registered - truth), mm per frame^2
    amplitude            registered motion along the true motion from the first frame to the apex, head pose
    removed,
                         over core vertices that truly move more than 3 mm; 1 is all of it
    pose_deg, pose_mm    head motion since the first frame against the true one: rotation, and shift of the
    nose bridge

On smooth skin the true place is the convention of who made the truth; near a feature it can be seen, so `feature`
says more about a registration than `along` does.  All are lower-is-better but `amplitude`.  Rejected and missing
frames are counted and listed, never averaged in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.errors import InputError, UsageError
from mimicme.pipeline.geometry.mesh import (
    adjacency,
    boundary_vertices,
    edges,
    transform,
    triangle_normals,
    vertex_areas,
    vertex_normals,
)
from mimicme.pipeline.items import Item
from mimicme.pipeline.release import Release
from mimicme.pipeline.release.layout import OK

SURFACE_MEASURES = ("corr", "corr_p95", "along", "s2m_median", "s2m_p95", "lm", "bad_pct")
FEATURE_MEASURES = ("feature", "feature_lips", "feature_lids", "feature_brows", "feature_nose")
CLOSED_LIGHT = "mouth_light_closed"
FRAME_MEASURES = (*SURFACE_MEASURES, *FEATURE_MEASURES, CLOSED_LIGHT)
SEQUENCE_MEASURES = ("jitter", "amplitude", "pose_deg", "pose_mm")
MEASURES = FRAME_MEASURES + SEQUENCE_MEASURES
TABLE_BLOCKS = (SURFACE_MEASURES + SEQUENCE_MEASURES, (*FEATURE_MEASURES, CLOSED_LIGHT))

DEGENERATE_AREA = 0.02  # of the true triangle's area
MOVING_MM = 3.0
FEWEST_MOVING = 20
NOSE_BRIDGE = 27  # iBUG-68
FEATURE_MM = 6.0
"""A vertex is near a feature within this distance."""
CREASE_PER_MM = 0.2
"""Least mean curvature of a crease: that of a fold with a radius of 2.5 mm."""
CREASE_MM = 5.0
"""Smaller patches of such vertices are no crease but the mesh's unevenness."""
REGION_MM = 12.0
"""A crease or a rim belongs to the nearest of lips, lids, brows and nose within this distance."""
HOLE_MM = 25.0
"""A hole of mouth, eye or nostril has every vertex within this distance of their landmarks."""
LINE_STEP_MM = 0.5
_HOLE_LANDMARKS = slice(27, 68)
# iBUG-68
_LINES: dict[str, tuple[tuple[int, ...], ...]] = {
    "lips": (
        (48, 49, 50, 51, 52, 53, 54),
        (48, 59, 58, 57, 56, 55, 54),
        (60, 61, 62, 63, 64),
        (60, 67, 66, 65, 64),
    ),
    "lids": ((36, 37, 38, 39), (36, 41, 40, 39), (42, 43, 44, 45), (42, 47, 46, 45)),
    "brows": ((17, 18, 19, 20, 21), (22, 23, 24, 25, 26)),
    "nose": ((27, 28, 29, 30), (31, 32, 33, 34, 35)),
}
_TRUTH_LINES = ("lips", "lids", "brows")
_MOUTH_LIGHT = "mouth_light"
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
        lips_closed: (F,) the true lips touch along the whole slit; None where the truth does not say.
        lines: (F, lines, points, 3) by name, of `lips`, `lids` and `brows` those that the truth has.
    """

    item: Item
    vertices: Floats
    valid: Bools
    core: Bools
    landmarks: Floats
    region: Bools
    head_pose: Floats
    amount: Floats
    lips_closed: Bools | None = None
    lines: Mapping[str, Floats] = field(default_factory=dict)

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
            todo="Give the folder above it."
            if any(folder.glob("*/*.npz"))
            else "Make some with `mimicme synth`, and give the folder that it makes.",
        )
    marks = _landmark_vertices(folder, opened)
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
            near = feature_vertices(known, faces) if found.vertices else {}
            for k, vertices in found.vertices.items():
                # a recording of a depth camera has no vertices of its own to measure from
                scan = _scan_vertices(folder, known.item, k) if known.region.size else np.zeros((0, 3))
                row = frame_measures(vertices, known, k, faces, scan, marks, near)
                if known.lips_closed is not None and known.lips_closed[k] and k in found.mouth_light:
                    row[CLOSED_LIGHT] = found.mouth_light[k]
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
    features: Mapping[str, Bools],
) -> dict[str, float]:
    """Measures of one frame, all but `mouth_light_closed`.

    Args:
        vertices: (V, 3) registered, in the capture file's frame, mm.
        scan: (n, 3) vertices of the scan's file, in its order.
        landmark_vertices: (68,) template vertex of each landmark.
        features: (V,) by measure, of `feature_vertices`.
    """
    from mimicme.pipeline.geometry.spatial import Surface

    true = truth.vertices[frame]
    seen = truth.valid[frame] & truth.core
    off = vertices - true
    distance = np.linalg.norm(off, axis=1)
    across = np.einsum("vx,vx->v", off, vertex_normals(true, faces))
    row: dict[str, float] = {}
    tangential = np.sqrt(np.maximum(distance**2 - across**2, 0))
    if seen.any():
        row["corr"] = float(distance[seen].mean())
        row["corr_p95"] = float(np.percentile(distance[seen], 95))
        row["along"] = float(tangential[seen].mean())
    row |= {name: float(tangential[at].mean()) for name in features if (at := seen & features[name]).any()}
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


def feature_vertices(truth: Truth, faces: Ints) -> dict[str, Bools]:
    """Core vertices near what can be seen on a face's surface, the same ones in every frame of a sequence.

    Features are found on the true shape of the frame that is most neutral.  They are

    - creases: connected vertices with a mean curvature above `CREASE_PER_MM` that span `CREASE_MM` or more,
    - rims: the borders of the holes of mouth, eyes and nostrils, not the outer border,
    - the lines of lips, lids and brows that the truth has, else those through its landmarks, put onto the surface.

    A crease or a rim belongs to the nearest of lips, lids, brows and nose (bridge and base) within `REGION_MM`, or to
    none of them.

    Args:
        faces: (T, 3) of the template.

    Returns:
        (V,) by name of `FEATURE_MEASURES`: within `FEATURE_MM` of any feature, or of one of that region's; in mm of
        the neutral shape, through the air.
    """
    from scipy.spatial import cKDTree

    frame = int(np.argmin(truth.amount))
    vertices = truth.vertices[frame]
    lines = _feature_lines(truth, frame, faces)
    seams = _creases(vertices, faces) | _holes(vertices, faces, truth.landmarks[frame])
    points = vertices[seams]
    to_line = np.stack([cKDTree(line).query(points)[0] for line in lines.values()])
    nearest = np.where(to_line.min(axis=0) <= REGION_MM, to_line.argmin(axis=0), -1)

    def near(features: Floats) -> Bools:
        within = cKDTree(features).query(vertices, distance_upper_bound=FEATURE_MM)[0]
        return np.asarray(truth.core & np.isfinite(within))

    own = {
        name: np.concatenate([points[nearest == i], lines[name] if name in _TRUTH_LINES else points[:0]])
        for i, name in enumerate(lines)
    }
    every = np.concatenate([points, *(lines[name] for name in _TRUTH_LINES)])
    return {"feature": near(every), **{f"feature_{name}": near(of) for name, of in own.items()}}


def mean_curvature(vertices: Floats, faces: Ints) -> Floats:
    """(V,) magnitude of the mean curvature, 1/mm: 1/r on a sphere, 1/(2r) on a cylinder; 0 on a border.

    By the gradient of the surface's area (Meyer et al., Discrete differential-geometry operators for triangulated
    2-manifolds, 2003), with a third of the area of each vertex's triangles.
    """
    normals, _ = triangle_normals(vertices, faces)
    corner = vertices[faces]
    opposite = np.roll(corner, -2, axis=1) - np.roll(corner, -1, axis=1)
    of_corner = np.cross(normals[:, None], opposite).reshape(-1, 3) / 2
    gradient = np.stack([np.bincount(faces.ravel(), x, len(vertices)) for x in of_corner.T], axis=1)
    curvature = np.linalg.norm(gradient, axis=1) / np.maximum(2 * vertex_areas(vertices, faces), 1e-12)
    return np.where(boundary_vertices(faces, len(vertices)), 0.0, curvature)


def _creases(vertices: Floats, faces: Ints) -> Bools:
    """(V,) True at vertices of a crease."""
    found = np.zeros(len(vertices), bool)
    for piece in _pieces(mean_curvature(vertices, faces) > CREASE_PER_MM, edges(faces)[0]):
        found[piece] = np.linalg.norm(np.ptp(vertices[piece], axis=0)) >= CREASE_MM
    return found


def _holes(vertices: Floats, faces: Ints, landmarks: Floats) -> Bools:
    """(V,) True on the borders of the holes of mouth, eyes and nostrils."""
    from scipy.spatial import cKDTree

    pairs, count = edges(faces)
    found = np.zeros(len(vertices), bool)
    marks = cKDTree(landmarks[_HOLE_LANDMARKS])
    for loop in _pieces(boundary_vertices(faces, len(vertices)), pairs[count == 1]):
        found[loop] = bool((marks.query(vertices[loop])[0] <= HOLE_MM).all())
    return found


def _pieces(chosen: Bools, pairs: Ints) -> Iterator[NDArray[np.int64]]:
    """The vertices of each connected piece of the `chosen` (V,), along the edges `pairs` (e, 2)."""
    from scipy.sparse.csgraph import connected_components

    among = pairs[chosen[pairs].all(axis=1)]
    _, label = connected_components(adjacency(among, len(chosen)), directed=False)
    at = np.flatnonzero(chosen)
    order = at[np.argsort(label[at], kind="stable")]
    if len(order):
        yield from np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


def _feature_lines(truth: Truth, frame: int, faces: Ints) -> dict[str, Floats]:
    """(k, 3) points every `LINE_STEP_MM` or closer along the lines of each region, on the true surface of a frame."""
    from mimicme.pipeline.geometry.spatial import Surface

    surface = Surface(truth.vertices[frame], faces)
    found = {}
    for name, rows in _LINES.items():
        given = truth.lines.get(name)
        if given is not None:
            found[name] = np.concatenate([_along(line) for line in given[frame]])
        else:
            marks = truth.landmarks[frame]
            found[name] = surface.closest(np.concatenate([_along(marks[list(row)]) for row in rows])).points
    return found


def _along(line: Floats) -> Floats:
    """Points (k, 3) along a line through points (m, 3), `LINE_STEP_MM` apart or closer."""
    parts = [
        a + np.linspace(0, 1, int(np.linalg.norm(b - a) / LINE_STEP_MM) + 2)[:, None] * (b - a)
        for a, b in zip(line[:-1], line[1:], strict=True)
    ]
    return np.concatenate(parts)


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
    """The result of `evaluate` as a table to print: a block of measures over the whole core and one of those near
    features, each with one line a sequence and three of means."""
    means = [("EXPRESSIONS", "expressions"), ("APEX", "apex"), ("ALL", "all")]
    rows = [*result["sequences"].items(), *((label, result[key]) for label, key in means)]
    lines = []
    for block in TABLE_BLOCKS:
        widths = {name: max(11, len(name) + 2) for name in block}
        lines.append(f"{'sequence':<14}" + "".join(f"{name:>{width}}" for name, width in widths.items()))
        for label, row in rows:
            cells = (f"{row[n]:{w}.3f}" if n in row else f"{'-':>{w}}" for n, w in widths.items())
            lines.append(f"{label:<14}" + "".join(cells))
        lines.append("")
    for word in ("rejected", "missing"):
        names = result[word]
        listed = f": {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else ""
        lines.append(f"{len(names)} frames {word}{listed}")
    lines.append(
        f"{result['frames']} frames compared; mm, degrees, per cent, mm per frame^2 (jitter), mm^2 (mouth_light_closed)"
    )
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
            lines = {name: file[name].astype(np.float64) for name in _TRUTH_LINES if name in file}
            closed = file["lips_closed"].astype(bool) if "lips_closed" in file else None
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
        lips_closed=closed,
        lines=lines,
    )


@dataclass(frozen=True)
class _Registered:
    numbers: set[int]
    rejected: list[int]
    vertices: dict[int, Floats]
    poses: dict[int, Floats]
    mouth_light: dict[int, float]


def _registered(release: Release, item: Item, n_frames: int) -> _Registered:
    """Frames of a sequence in the capture file's frame, by frame number; nothing when the release lacks
    it."""
    found = _Registered(set(), [], {}, {}, {})
    try:
        info = release.sequence(item.subject, item.sequence)
    except UsageError:
        return found
    poses = release.values(item, "pose")
    quality = release.values(item, "quality")
    has_light = _MOUTH_LIGHT in (quality.dtype.names or ())
    for row in info.rows:
        entry = release.index[row]
        number = int(entry["frame"])
        found.numbers.add(number)
        if entry["status"] != OK:
            found.rejected.append(number)
        elif 0 <= number < n_frames:
            at = int(entry["row"])
            pose = info.file_from_scan @ poses[at]
            found.poses[number] = pose
            found.vertices[number] = transform(pose, release.vertices(row).astype(np.float64))
            if has_light and np.isfinite(quality[_MOUTH_LIGHT][at]):
                found.mouth_light[number] = float(quality[_MOUTH_LIGHT][at])
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
