"""Landmark files: read by label into iBUG-68, and written.

A point is known by the label of its group and its place inside that group, never by its bare place in the
file. Only a file without any labels is read by place, and then only if it has exactly 68 points.  Whatever
fits no scheme is refused: a guess would fit a face with its brows on its eyes.

Read: `.ljson` (menpo, landmarker.io; versions 1, 2, 3), `.pts`, `.pp` (MeshLab), `.csv`, `.json`, `.lm3`
(Bosphorus), `.bnd` (BU-3DFE, BU-4DFE: the eye, brow and mouth corners of its 83 points).  A `.pts` of two
coordinates a point holds pixels of the scan's texture: `read_pixels`.
Written: `.ljson` version 2, `.pts`, `.pp`, `.csv`, `.json`, `.lm3` (with iBUG's names), `.bnd` (68 lines, not BU-3DFE's
83: its contours cannot be made from 68 points).
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import Any
from xml.parsers import expat

import numpy as np

from mimicme.pipeline.errors import FrameRejected, InputError
from mimicme.pipeline.landmarks import GROUPS, IBUG68, N_LANDMARKS, Landmarks, Sides, indices_of, plain
from mimicme.pipeline.mesh import Floats

# The order in which files beside a frame are looked for: the first that exists is read.
EXTENSIONS = (".ljson", ".pts", ".pp", ".csv", ".json", ".lm3", ".bnd")
MAX_BYTES = 4 << 20  # a 68-point file has some kilobytes
MAX_POINTS = 10_000

_Entry = tuple[str, Floats]  # label, (k, 3) points; an empty label: the file has none


def read_landmarks(data: bytes, name: str, sides: Sides = "image") -> Landmarks:
    """The landmarks of a file's content, in the file's own unit and axes.

    Args:
        data: the whole file.
        name: its name; the extension says the format.
        sides: whose left its labels mean, see `landmarks.indices_of`.

    Raises:
        FrameRejected: `landmark-file` - it cannot be read; `landmark-scheme` - its labels or its number of
            points fit no known scheme, with what was seen and what is expected.
    """
    extension = PurePath(name).suffix.lower()
    reader = _READERS.get(extension)
    if reader is None:
        raise _unreadable(name, f"files ending in {extension or 'nothing'} are not known", EXTENSIONS)
    if len(data) > MAX_BYTES:
        raise _unreadable(name, "it is larger than any landmark file", f"at most {MAX_BYTES:,} bytes")
    try:
        text = data.decode("utf-8-sig")
        entries = reader(text)
        points = _assemble(entries, sides)
    except FrameRejected as error:
        error.where = error.where or name
        raise
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        OverflowError,
        RecursionError,
        expat.ExpatError,
    ) as error:
        raise _unreadable(name, f"{type(error).__name__}: {error}"[:120], None) from error
    return Landmarks(points)


def read_pixels(data: bytes, name: str) -> Floats | None:
    """(68, 2) x and y, px, of a `.pts` with two coordinates a point, in iBUG's order, NaN where absent; None for any
    other file.

    Raises:
        FrameRejected: `landmark-scheme` - it has not 68 points; `landmark-file` - they are no numbers.
    """
    if PurePath(name).suffix.lower() != ".pts" or len(data) > MAX_BYTES:
        return None
    try:
        rows = _pts_rows(data.decode("utf-8-sig"))
        if not rows or any(len(row) != 2 for row in rows):
            return None
        pixels = _points([[*row, "0"] for row in rows])[:, :2]
    except ValueError as error:
        raise _unreadable(name, f"{type(error).__name__}: {error}"[:120], None) from error
    if len(pixels) != N_LANDMARKS:
        raise _scheme(
            "the landmark file has no labels, and its number of points fits no known scheme",
            f"{len(pixels)} points",
            f"{N_LANDMARKS} in iBUG order",
        )
    return pixels


def write_ljson(landmarks: Landmarks) -> bytes:
    """landmarker.io's `.ljson`, version 2, with the group words of menpo; absent points are null."""
    points = [list(map(float, p)) if ok else [None] * 3 for p, ok in _given(landmarks)]
    labels = [{"label": g, "mask": list(range(s.start, s.stop))} for g, s in GROUPS.items()]
    content = {"version": 2, "labels": labels, "landmarks": {"points": points, "connectivity": []}}
    return (json.dumps(content, allow_nan=False, indent=1) + "\n").encode()


def write_pts(landmarks: Landmarks) -> bytes:
    """`.pts`: 68 points, no labels; absent points are written as nan."""
    lines = [" ".join(repr(float(x)) for x in p) for p in landmarks.points]
    return "\n".join(["version: 1", f"n_points: {N_LANDMARKS}", "{", *lines, "}", ""]).encode()


def write_pp(landmarks: Landmarks) -> bytes:
    """MeshLab's picked points, each with its name; absent points are left out."""
    lines = [
        ' <point x="{!r}" y="{!r}" z="{!r}" name="{}" active="1"/>'.format(*map(float, p), label)
        for (p, ok), label in zip(_given(landmarks), IBUG68, strict=True)
        if ok
    ]
    return "\n".join(["<!DOCTYPE PickedPoints>", "<PickedPoints>", *lines, "</PickedPoints>", ""]).encode()


def write_csv(landmarks: Landmarks) -> bytes:
    """`name,x,y,z`, a row per point; absent points are left out."""
    rows = [
        ",".join([label, *(repr(float(x)) for x in p)])
        for (p, ok), label in zip(_given(landmarks), IBUG68, strict=True)
        if ok
    ]
    return "\n".join(["name,x,y,z", *rows, ""]).encode()


def write_json(landmarks: Landmarks) -> bytes:
    """`{name: [x, y, z]}`; absent points are left out."""
    content = {
        label: list(map(float, p)) for (p, ok), label in zip(_given(landmarks), IBUG68, strict=True) if ok
    }
    return (json.dumps(content, allow_nan=False, indent=1) + "\n").encode()


def write_lm3(landmarks: Landmarks) -> bytes:
    """`.lm3`: a name and a place on two lines each; absent points are left out."""
    lines = [
        f"{label}\n" + " ".join(repr(float(x)) for x in p)
        for (p, ok), label in zip(_given(landmarks), IBUG68, strict=True)
        if ok
    ]
    return "\n".join(["# 3D landmarks, iBUG-68", f"{len(lines)} landmarks:", *lines, ""]).encode()


def write_bnd(landmarks: Landmarks) -> bytes:
    """`.bnd`: `index x y z`, 68 lines in iBUG's order; absent points are written as nan."""
    lines = [" ".join([str(k), *(repr(float(x)) for x in p)]) for k, p in enumerate(landmarks.points)]
    return "\n".join([*lines, ""]).encode()


def _given(landmarks: Landmarks) -> list[tuple[Floats, bool]]:
    return list(zip(landmarks.points, landmarks.present.tolist(), strict=True))


# ---------------------------------------------------------------------------------------- entries to a scheme


def _assemble(entries: Sequence[_Entry], sides: Sides) -> Floats:
    """Labelled groups of points to (68, 3)."""
    total = sum(len(points) for _, points in entries)
    if total > MAX_POINTS:
        raise _scheme("the landmark file has far too many points", total, N_LANDMARKS)
    if all(not label for label, _ in entries):
        if total != N_LANDMARKS:
            raise _scheme(
                "the landmark file has no labels, and its number of points fits no known scheme",
                f"{total} points",
                f"{N_LANDMARKS} in iBUG order, or labels",
            )
        return np.concatenate([points for _, points in entries])
    out = np.full((N_LANDMARKS, 3), np.nan)
    taken: dict[int, str] = {}
    for label, points in entries:
        if not label:
            raise _scheme(
                "some points of the landmark file have a label and some have none", "both", "labels"
            )
        for index, point in zip(indices_of(label, len(points), sides), points, strict=True):
            if index in taken and not np.array_equal(out[index], point, equal_nan=True):
                raise _scheme(
                    f"two labels give different places to {IBUG68[index]}",
                    f"'{taken[index][:40]}' and '{label[:40]}'",
                    "each landmark once",
                )
            taken[index] = label
            out[index] = point
    if not np.isfinite(out).all(axis=1).any():
        raise _scheme("the landmark file gives no point at all", "0 points", f"up to {N_LANDMARKS}")
    return out


def _scheme(what: str, seen: object, expected: object) -> FrameRejected:
    return FrameRejected(
        "landmark-scheme",
        what,
        seen=seen,
        expected=expected,
        todo="Export them as iBUG-68, or label the groups (jaw, left_eyebrow, right_eyebrow, nose, ...).",
    )


def _unreadable(name: str, why: str, expected: object) -> FrameRejected:
    return FrameRejected(
        "landmark-file",
        "the landmark file cannot be read",
        where=name,
        seen=why,
        expected=expected,
        todo="Write it again, or remove it.",
    )


def _points(rows: Iterable[Sequence[Any]]) -> Floats:
    """(k, 3) from rows of three numbers; a row with a null or nan anywhere is an absent point.

    Raises:
        FrameRejected: two-dimensional points.  ValueError: anything else that is not three finite numbers.
    """
    kept = []
    for row in rows:
        if isinstance(row, (str, bytes)):
            raise ValueError(f"a point is three numbers, not the text {row[:20]!r}")
        if len(row) == 2:
            raise _scheme(
                "the landmarks are two-dimensional",
                "2 coordinates a point",
                "3; among captures also a .pts with all points in pixels of the frame's texture",
            )
        if len(row) != 3:
            raise ValueError(f"a point has {len(row)} coordinates")
        if any(isinstance(x, bool) for x in row):
            raise ValueError("a coordinate is true or false")
        kept.append([math.nan if x is None else float(x) for x in row])
    points = np.asarray(kept, np.float64).reshape(-1, 3)
    if np.isinf(points).any():
        raise ValueError("a coordinate is infinite")
    points[np.isnan(points).any(axis=1)] = np.nan
    return points


# ---------------------------------------------------------------------------------------- formats


def _load_json(text: str) -> Any:
    return json.loads(text)


def _read_json(text: str) -> list[_Entry]:
    """ljson of any version; `{name: [x, y, z] or [[x, y, z], ...]}`; a list of points or of named points."""
    content = _load_json(text)
    if isinstance(content, dict) and "version" in content and ("groups" in content or "labels" in content):
        return _read_ljson(text)
    if isinstance(content, dict):
        for key in ("landmarks", "points"):
            if isinstance(content.get(key), (list, dict)):
                content = content[key]
                break
    if isinstance(content, dict):
        return [(str(k), _points(v if v and isinstance(v[0], list) else [v])) for k, v in content.items()]
    if content and isinstance(content[0], dict):
        return [_named(entry) for entry in content]
    return [("", _points(content))]


def _named(entry: dict[str, Any]) -> _Entry:
    label = next((str(entry[k]) for k in ("name", "label", "id") if k in entry), "")
    place = next((entry[k] for k in ("point", "position", "coordinates") if k in entry), None)
    if place is None:
        place = [entry["x"], entry["y"], entry["z"]]
    elif isinstance(place, dict):
        place = [place["x"], place["y"], place["z"]]
    return label, _points([place])


_WHOLE = {
    "all",
    "pts",
    "ljson",
    "points",
    "landmarks",
    "face",
    "ibug68",
    "ibug_68",
    "ibug_face_68",
    "face_ibug_68",
}


def _read_ljson(text: str) -> list[_Entry]:
    content = _load_json(text)
    version = content.get("version")
    if version == 1:
        return _without_whole(
            [(g["label"], _points([m["point"] for m in g["landmarks"]])) for g in content["groups"]]
        )
    if version == 3:
        groups = content["groups"]
        if len(groups) != 1:
            raise _scheme(
                "the landmark file holds several sets of landmarks",
                ", ".join(sorted(groups)) or "none",
                "one set",
            )
        content = next(iter(groups.values()))
    elif version != 2:
        raise ValueError(f"ljson version {version!r} is not 1, 2 or 3")
    points = _points(content["landmarks"]["points"])
    entries: list[_Entry] = []
    in_label = np.zeros(len(points), bool)
    for group in content.get("labels") or []:
        mask = np.asarray(group["mask"])
        if mask.dtype == bool:  # old exporters write a flag per point
            mask = np.flatnonzero(mask) if len(mask) == len(points) else np.array([-1])
        mask = mask.astype(np.int64) if mask.size == 0 or mask.dtype.kind in "iu" else np.array([-1])
        if mask.size and (mask.min() < 0 or mask.max() >= len(points)):
            raise ValueError(f"the label {str(group['label'])[:40]!r} names points the file does not have")
        in_label[mask] = True
        entries.append((str(group["label"]), points[mask]))
    entries = _without_whole(entries)
    labelled = [label for label, _ in entries if label]
    if not labelled:
        return [("", points)]
    if not in_label.all():
        raise _scheme("some points of the landmark file have no label", int((~in_label).sum()), 0)
    return entries


def _without_whole(entries: list[_Entry]) -> list[_Entry]:
    """Labels that only say "these are all of them" are none: dropped beside others, emptied when alone."""
    specific = [(label, points) for label, points in entries if plain(label) not in _WHOLE]
    return specific or [("", points) for _, points in entries]


def _read_pts(text: str) -> list[_Entry]:
    return [("", _points(_pts_rows(text)))]


def _pts_rows(text: str) -> list[list[str]]:
    lines = [line.strip() for line in text.splitlines()]
    declared = None
    if "{" in text:
        head, _, rest = text.partition("{")
        found = re.search(r"n_points\s*:\s*(\d+)", head)
        declared = int(found[1]) if found else None
        lines = [line.strip() for line in rest.partition("}")[0].splitlines()]
    rows = [line.replace(",", " ").split() for line in lines if line and not line.startswith(("#", "//"))]
    if len(rows) > MAX_POINTS:
        raise _scheme("the landmark file has far too many points", len(rows), N_LANDMARKS)
    if declared is not None and declared != len(rows):
        raise ValueError(f"n_points says {declared}, but there are {len(rows)} points")
    return rows


def _read_pp(text: str) -> list[_Entry]:
    """MeshLab's picked points.  Entities are refused: they can read files and grow without bound."""
    found: list[tuple[str, list[Any]]] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag.rpartition("}")[2] != "point":
            return
        if len(found) >= MAX_POINTS:
            raise _scheme("the landmark file has far too many points", f"over {MAX_POINTS}", N_LANDMARKS)
        active = attributes.get("active", "1") not in ("0", "false")
        place = [attributes["x"], attributes["y"], attributes["z"]] if active else [None] * 3
        found.append((attributes.get("name", ""), place))

    def refuse(*_: object) -> int:
        raise ValueError("XML entities are not allowed in a landmark file")

    def doctype(name: str, system: str | None, public: str | None, subset: object) -> None:
        if system or public or subset:
            refuse()

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    # MeshLab writes a bare <!DOCTYPE PickedPoints>; an internal or external subset is what must not be there
    parser.StartDoctypeDeclHandler = doctype
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    parser.Parse(text, True)
    names = [plain(label) for label, _ in found]
    places = _points([place for _, place in found])
    counted = [[str(k + first) for k in range(len(names))] for first in (0, 1)]
    if names in counted or not any(names):  # MeshLab's own numbering in the order of picking: no labels
        return [("", places)]
    return [(label, places[k : k + 1]) for k, (label, _) in enumerate(found)]


def _read_csv(text: str) -> list[_Entry]:
    """Rows `x,y,z` or `name,x,y,z`, with or without a header; comma, semicolon or tab."""
    first = text.lstrip().splitlines()[0] if text.strip() else ""
    delimiter = next((d for d in (";", "\t", ",") if d in first), ",")
    rows = [
        [cell.strip() for cell in row]
        for row in csv.reader(io.StringIO(text), delimiter=delimiter)
        if row and any(cell.strip() for cell in row) and not row[0].lstrip().startswith("#")
    ]
    columns: list[int] | None = None
    if rows and not _is_number(rows[0][-1]):
        header = [plain(cell) for cell in rows.pop(0)]
        if not {"x", "y", "z"} <= set(header):
            raise ValueError(f"the header has no x, y, z: {','.join(header)[:60]}")
        named = next((header.index(k) for k in ("name", "label", "landmark", "id") if k in header), -1)
        columns = [named, header.index("x"), header.index("y"), header.index("z")]
    labels, places = [], []
    for row in rows:
        if columns is not None:
            label = row[columns[0]] if columns[0] >= 0 else ""
            place: list[Any] = [row[k] or None for k in columns[1:]]
        elif len(row) == 4:
            label, place = row[0], [x or None for x in row[1:]]
        else:
            label, place = "", list(row)
        labels.append(label)
        places.append(place)
    points = _points(places)
    numbers = [str(k) for k in range(len(labels))], [str(k + 1) for k in range(len(labels))]
    if not any(labels) or labels in numbers:
        return [("", points)]
    return _grouped(labels, points)


def _grouped(labels: list[str], points: Floats) -> list[_Entry]:
    """Rows with the same label, in their order, form that label's group."""
    order = list(dict.fromkeys(labels))
    named = np.asarray(labels)
    return [(label, points[named == label]) for label in order]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell == ""
    return True


# Bosphorus names 22 or 24 points; these have no counterpart in iBUG-68.
_LM3_OTHER = {
    "middle_left_eyebrow",
    "middle_right_eyebrow",
    "nose_saddle_left",
    "nose_saddle_right",
    "left_nose_peak",
    "right_nose_peak",
    "chin_middle",
    "left_ear_lobe",
    "right_ear_lobe",
}


def _read_lm3(text: str) -> list[_Entry]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    count = int(lines.pop(0).split()[0])
    if not 0 < count <= MAX_POINTS or len(lines) < 2 * count:
        raise ValueError(f"{count} landmarks are declared, but there are {len(lines) // 2}")
    labels, places = lines[0 : 2 * count : 2], _points([row.split() for row in lines[1 : 2 * count : 2]])
    entries = [(label, places[k : k + 1]) for k, label in enumerate(labels) if plain(label) not in _LM3_OTHER]
    if not entries:
        raise _scheme(
            "none of the landmark file's points has a counterpart", ", ".join(labels)[:80], "iBUG-68"
        )
    return entries


# Runs of BU-3DFE's 83 points (Yin et al. 2006): closed contours, the image's left side first.
_BU83 = {
    "left_eye": slice(0, 8),
    "right_eye": slice(8, 16),
    "left_eyebrow": slice(16, 26),
    "right_eyebrow": slice(26, 36),
    "outer_mouth": slice(48, 60),
}


def _read_bnd(text: str) -> list[_Entry]:
    """`index x y z` a line: 83 points of BU-3DFE, or 68 of iBUG.

    The contours have other numbers of points than iBUG-68's, so only their corners are taken; which of a
    contour's points these are is read off its shape.
    """
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if any(len(row) != 4 for row in rows):
        raise ValueError("a .bnd line is: vertex index, x, y, z")
    points = _points([row[1:] for row in rows])
    if len(points) != 83:
        return [("", points)]
    across = np.nanmean(points[_BU83["right_eye"]], axis=0) - np.nanmean(points[_BU83["left_eye"]], axis=0)
    corners = {name: _ends(points[part], across) for name, part in _BU83.items()}
    labels = [
        ("left_eye_outer", "left_eye_inner"),
        ("right_eye_inner", "right_eye_outer"),
        ("outer_left_eyebrow", "inner_left_eyebrow"),
        ("inner_right_eyebrow", "outer_right_eyebrow"),
        ("mouth_left", "mouth_right"),
    ]
    return [
        (label, end[None])
        for pair, name in zip(labels, _BU83, strict=True)
        for label, end in zip(pair, corners[name], strict=True)
    ]


def _ends(contour: Floats, across: Floats) -> tuple[Floats, Floats]:
    """The first and the last point of a contour in the direction `across`."""
    along = contour @ across
    return contour[np.nanargmin(along)], contour[np.nanargmax(along)]


_READERS: dict[str, Callable[[str], list[_Entry]]] = {
    ".ljson": _read_ljson,
    ".pts": _read_pts,
    ".pp": _read_pp,
    ".csv": _read_csv,
    ".json": _read_json,
    ".lm3": _read_lm3,
    ".bnd": _read_bnd,
}
WRITERS: dict[str, Callable[[Landmarks], bytes]] = {
    ".ljson": write_ljson,
    ".pts": write_pts,
    ".pp": write_pp,
    ".csv": write_csv,
    ".json": write_json,
    ".lm3": write_lm3,
    ".bnd": write_bnd,
}


def write_landmarks(landmarks: Landmarks, name: str) -> bytes:
    """The content of a landmark file called `name`.

    Raises:
        InputError: its extension is not one that is written.
    """
    writer = WRITERS.get(PurePath(name).suffix.lower())
    if writer is None:
        raise InputError("landmarks are not written to such files", where=name, expected=", ".join(WRITERS))
    return writer(landmarks)
