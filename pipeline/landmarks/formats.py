"""The text of a landmark file of each format to labels and points; what the labels mean is `files`'.

`READERS` has a function for each extension but `.csv`, `.npy`, `.bnd`, `.bndplus` and those of 3D Slicer, which have
modules of their own.
It gives labels with the points of each, in the file's own order; a label is empty where the file has none.  Points are
(k, 3), of a `.pts` with two coordinates a point (k, 2).  What it cannot make sense of it raises as a bare ValueError,
TypeError, KeyError, IndexError, ... - `BROKEN` has them all, the sentence of a ValueError is the user's - and what it
understands but is no set of landmarks as `landmark-scheme`.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from xml.parsers import expat

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.landmarks import N_LANDMARKS, plain

MAX_POINTS = 10_000
# what a reader raises on a file that is not of its format
BROKEN = (
    csv.Error,
    AttributeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    RecursionError,
    expat.ExpatError,
)

Entry = tuple[str, Floats]  # label, (k, 3) or (k, 2) points; an empty label: the file has none


def another_scheme(what: str, seen: object, expected: object) -> FrameRejected:
    """The rejection of a file whose points cannot be told apart."""
    return FrameRejected(
        "landmark-scheme",
        what,
        seen=seen,
        expected=expected,
        todo="Export them as iBUG-68, or label the groups (jaw, left_eyebrow, right_eyebrow, nose, ...).",
    )


def two_dimensional() -> FrameRejected:
    """The rejection of pixels where places are wanted."""
    return another_scheme(
        "the landmarks are two-dimensional",
        "2 coordinates a point",
        "3; among captures also a .pts with all points in pixels of the frame's texture",
    )


def points_of(rows: Iterable[Sequence[Any]], coordinates: int = 3) -> Floats:
    """(k, coordinates) from rows of as many numbers; a row with a null or nan anywhere is an absent point.

    Raises:
        FrameRejected: two-dimensional points instead of three.  ValueError: anything else that is not as many finite
            numbers.
    """
    kept = []
    for row in rows:
        if isinstance(row, (str, bytes)):
            raise ValueError(f"a point is three numbers, not the text {row[:20]!r}")
        if len(row) == 2 != coordinates:
            raise two_dimensional()
        if len(row) != coordinates:
            raise ValueError(f"a point has {len(row)} coordinates, not {coordinates}")
        if any(isinstance(x, bool) for x in row):
            raise ValueError("a coordinate is true or false")
        kept.append([math.nan if x is None else _number(x) for x in row])
    points = np.asarray(kept, np.float64).reshape(-1, coordinates)
    if np.isinf(points).any():
        raise ValueError("a coordinate is infinite")
    points[np.isnan(points).any(axis=1)] = np.nan
    return points


def _number(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, TypeError):
        raise ValueError(f"{str(value)[:40]!r} is no number") from None


def _load_json(text: str) -> Any:
    return json.loads(text)


def _read_json(text: str) -> list[Entry]:
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
        return [(str(k), points_of(v if v and isinstance(v[0], list) else [v])) for k, v in content.items()]
    if content and isinstance(content[0], dict):
        return [_named(entry) for entry in content]
    return [("", points_of(content))]


def _named(entry: dict[str, Any]) -> Entry:
    label = next((str(entry[k]) for k in ("name", "label", "id") if k in entry), "")
    place = next((entry[k] for k in ("point", "position", "coordinates") if k in entry), None)
    if place is None:
        place = [entry["x"], entry["y"], entry["z"]]
    elif isinstance(place, dict):
        place = [place["x"], place["y"], place["z"]]
    return label, points_of([place])


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


def _read_ljson(text: str) -> list[Entry]:
    content = _load_json(text)
    version = content.get("version")
    if version == 1:
        return _without_whole(
            [(g["label"], points_of([m["point"] for m in g["landmarks"]])) for g in content["groups"]]
        )
    if version == 3:
        groups = content["groups"]
        if len(groups) != 1:
            raise another_scheme(
                "the landmark file holds several sets of landmarks",
                ", ".join(sorted(groups)) or "none",
                "one set",
            )
        content = next(iter(groups.values()))
    elif version != 2:
        raise ValueError(f"ljson version {version!r} is not 1, 2 or 3")
    points = points_of(content["landmarks"]["points"])
    entries: list[Entry] = []
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
        raise another_scheme("some points of the landmark file have no label", int((~in_label).sum()), 0)
    return entries


def _without_whole(entries: list[Entry]) -> list[Entry]:
    """Labels that only say "these are all of them" are none: dropped beside others, emptied when alone."""
    specific = [(label, points) for label, points in entries if plain(label) not in _WHOLE]
    return specific or [("", points) for _, points in entries]


def _read_pts(text: str) -> list[Entry]:
    lines = [line.strip() for line in text.splitlines()]
    declared = None
    if "{" in text:
        head, _, rest = text.partition("{")
        found = re.search(r"n_points\s*:\s*(\d+)", head)
        declared = int(found[1]) if found else None
        lines = [line.strip() for line in rest.partition("}")[0].splitlines()]
    rows = [line.replace(",", " ").split() for line in lines if line and not line.startswith(("#", "//"))]
    if len(rows) > MAX_POINTS:
        raise another_scheme("the landmark file has far too many points", len(rows), N_LANDMARKS)
    if declared is not None and declared != len(rows):
        raise ValueError(f"n_points says {declared}, but there are {len(rows)} points")
    wide = len(rows[0]) if rows else 3
    if wide > 3:
        shown = " ".join(rows[0])[:40]
        raise ValueError(f"point 1 is {shown!r}; a .pts has x y z a line, names and indices belong in a .csv")
    for at, row in enumerate(rows, 1):
        if len(row) != wide:
            raise ValueError(f"point {at} has {len(row)} numbers, point 1 has {wide}")
        try:
            list(map(float, row))
        except ValueError:
            raise ValueError(f"point {at} is no numbers: {' '.join(row)[:40]!r}") from None
    return [("", points_of(rows, 2 if wide == 2 else 3))]


def _read_pp(text: str) -> list[Entry]:
    """MeshLab's picked points.  Entities are refused: they can read files and grow without bound."""
    found: list[tuple[str, list[Any]]] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag.rpartition("}")[2] != "point":
            return
        if len(found) >= MAX_POINTS:
            raise another_scheme(
                "the landmark file has far too many points", f"over {MAX_POINTS}", N_LANDMARKS
            )
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
    places = points_of([place for _, place in found])
    if not any(names):
        return [("", places)]
    return [(label, places[k : k + 1]) for k, (label, _) in enumerate(found)]


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


def _read_lm3(text: str) -> list[Entry]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found = re.match(r"\d{1,9}\b", lines.pop(0) if lines else "")
    if found is None:
        raise ValueError("its first line is no number of landmarks")
    count = int(found[0])
    if not 0 < count <= MAX_POINTS or len(lines) < 2 * count:
        raise ValueError(f"{count} landmarks are declared, but there are {len(lines) // 2}")
    labels, places = lines[0 : 2 * count : 2], points_of([row.split() for row in lines[1 : 2 * count : 2]])
    entries = [(label, places[k : k + 1]) for k, label in enumerate(labels) if plain(label) not in _LM3_OTHER]
    if not entries:
        raise another_scheme(
            "none of the landmark file's points has a counterpart", ", ".join(labels)[:80], "iBUG-68"
        )
    return entries


READERS: dict[str, Callable[[str], list[Entry]]] = {
    ".ljson": _read_ljson,
    ".pts": _read_pts,
    ".pp": _read_pp,
    ".json": _read_json,
    ".lm3": _read_lm3,
}
