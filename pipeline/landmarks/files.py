"""Landmark files: read by label into iBUG-68, and written.

A point is known by the label of its group and its place inside that group, never by its bare place in the
file. Only a file without any labels is read by place, and then only if it has exactly 68 points, or the 51 that are
left of them without the jaw (300-W; FLAME's static landmarks). Points that are numbered go by number. Whatever fits
no scheme is refused: a guess would fit a face with its brows on its eyes.

Read: `.ljson` (menpo, landmarker.io; versions 1, 2, 3), `.pts`, `.pp` (MeshLab), `.csv`, `.json`, `.lm3`
(Bosphorus), `.bnd` (BU-3DFE, BU-4DFE) and `.bndplus` (BP4D+): of their 83 points what `bu83` tells, `.npy` (NumPy),
`.fcsv` and `.mrk.json` (3D Slicer).  A `.pts` or `.npy` of two coordinates a point holds pixels of the scan's texture,
which only `read_points` gives.
Written: `.ljson` version 2, `.pts`, `.pp`, `.csv`, `.json`, `.lm3` (with iBUG's names), `.bnd` (68 lines, not BU-3DFE's
83: its contours cannot be made from 68 points).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import PurePath
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import quoteattr

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import FrameRejected, InputError
from mimicme.pipeline.landmarks import (
    ALIASES,
    IBUG68,
    INNER,
    N_LANDMARKS,
    Landmarks,
    NamedPoints,
    Sides,
    formats,
    indices_of,
    other_side,
    parts_of,
    plain,
)
from mimicme.pipeline.landmarks.bu83 import read_bnd, read_bndplus
from mimicme.pipeline.landmarks.csv_rows import read_csv
from mimicme.pipeline.landmarks.formats import BROKEN, MAX_POINTS, Entry, another_scheme, two_dimensional
from mimicme.pipeline.landmarks.npy import read_npy
from mimicme.pipeline.landmarks.slicer import read_fcsv, read_markups

# The order in which files beside a frame are looked for: the first that exists is read.
EXTENSIONS = (
    ".ljson",
    ".pts",
    ".pp",
    ".csv",
    ".json",
    ".lm3",
    ".bnd",
    ".bndplus",
    ".npy",
    ".fcsv",
    ".mrk.json",
)
MAX_BYTES = 4 << 20  # a 68-point file has some kilobytes
_TEXT_READERS = formats.READERS | {
    ".csv": read_csv,
    ".bnd": read_bnd,
    ".bndplus": read_bndplus,
    ".fcsv": read_fcsv,
    ".mrk.json": read_markups,
}
_WITHOUT_JAW = N_LANDMARKS - INNER.start
# points that are numbered: from where, how many of iBUG-68, and the first of them
_NUMBERINGS = ((0, N_LANDMARKS, 0), (1, N_LANDMARKS, 0), (0, 51, 17), (1, 51, 17), (17, 51, 17), (18, 51, 17))
_MOST_GAPS = 17


def endings_beside(frame: str) -> tuple[str, ...]:
    """The endings of landmark files that are looked for beside a frame with this ending (`.obj`), in this order: in
    capitals too, after those in small letters, where the frame's own is."""
    return (*EXTENSIONS, *(ending.upper() for ending in EXTENSIONS)) if frame.isupper() else EXTENSIONS


def ending_of(name: str) -> str:
    """The ending that says a landmark file's format, in small letters: `.pts`, `.mrk.json`."""
    lower = name.lower()
    if lower.endswith(".mrk.json"):
        return ".mrk.json"
    # as `PurePath.suffix`, which takes ten times as long: a catalogue asks this of every file among the captures
    own = lower.rpartition("/")[2]
    point = own.rfind(".")
    return own[point:] if 0 < point < len(own) - 1 else ""


def read_landmarks(data: bytes, name: str, sides: Sides = "image") -> Landmarks:
    """The landmarks of a file's content, in the file's own unit and axes.

    Raises:
        FrameRejected: see `read_points`; `landmark-scheme` - it holds pixels.
    """
    points = read_points(data, name, sides)
    if points.shape[1] != 3:
        error = two_dimensional()
        error.where = name
        raise error
    return Landmarks(points)


def read_points(data: bytes, name: str, sides: Sides = "image") -> Floats:
    """(68, 3) points of a file's content, in the file's own unit and axes, or (68, 2) px - x to the right, y down - of
    a `.pts` or `.npy` with two coordinates a point; NaN where absent.

    Those of 3D Slicer are in the coordinates of the mesh's file, as far as they say which (`slicer.on_mesh`).

    Args:
        data: the whole file.
        name: its name; the extension says the format.
        sides: whose left its labels mean, see `landmarks.indices_of`.

    Raises:
        FrameRejected: `landmark-file` - it cannot be read; `landmark-scheme` - its labels or its number of
            points fit no known scheme, with what was seen and what is expected.
    """
    extension = ending_of(name)
    if extension not in EXTENSIONS:
        raise _unreadable(name, f"files ending in {extension or 'nothing'} are not known", EXTENSIONS)
    if len(data) > MAX_BYTES:
        raise _unreadable(name, "it is larger than any landmark file", f"at most {MAX_BYTES:,} bytes")
    if not data.strip(b"\0\t\n\r "):
        zeros = "it holds bytes of value 0 alone: it was not written"
        raise _unreadable(name, zeros if b"\0" in data else "it is empty", None)
    try:
        if extension == ".npy":
            return _assemble(read_npy(data), sides)
        return _assemble(_TEXT_READERS[extension](data.decode("utf-8-sig")), sides)
    except FrameRejected as error:
        error.where = error.where or name
        raise
    except BROKEN as error:
        raise _unreadable(name, _in_words(error, extension)[:160], None) from error


Written = Landmarks | NamedPoints


def write_ljson(landmarks: Written, sides: Sides = "image") -> bytes:
    """landmarker.io's `.ljson`, version 2, with the group words of menpo; absent points are null.

    Args:
        sides: whose left its words mean, as `read_points` is told.
    """
    points = [list(map(float, p)) if ok else [None] * 3 for _, p, ok in _given(landmarks)]
    parts = parts_of(landmarks.names).items()
    labels = [
        {"label": other_side(part) if sides == "subject" else part, "mask": mask} for part, mask in parts
    ]
    content = {"version": 2, "labels": labels, "landmarks": {"points": points, "connectivity": []}}
    return (json.dumps(content, allow_nan=False, indent=1) + "\n").encode()


def write_pts(landmarks: Written) -> bytes:
    """`.pts`: points without labels; absent points are written as nan."""
    lines = [" ".join(repr(float(x)) for x in p) for p in landmarks.points]
    return "\n".join(["version: 1", f"n_points: {len(lines)}", "{", *lines, "}", ""]).encode()


def write_pp(landmarks: Written) -> bytes:
    """MeshLab's picked points, each with its name; absent points are left out."""
    lines = [
        ' <point x="{!r}" y="{!r}" z="{!r}" name={} active="1"/>'.format(*map(float, p), quoteattr(name))
        for name, p, ok in _given(landmarks)
        if ok
    ]
    return "\n".join(["<!DOCTYPE PickedPoints>", "<PickedPoints>", *lines, "</PickedPoints>", ""]).encode()


def write_csv(landmarks: Written) -> bytes:
    """`name,x,y,z`, a row per point; absent points are left out."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(["name", "x", "y", "z"])
    out.writerows([name, *(repr(float(x)) for x in p)] for name, p, ok in _given(landmarks) if ok)
    return text.getvalue().encode()


def write_json(landmarks: Written) -> bytes:
    """`{name: [x, y, z]}`; absent points are left out."""
    content = {name: list(map(float, p)) for name, p, ok in _given(landmarks) if ok}
    return (json.dumps(content, allow_nan=False, indent=1) + "\n").encode()


def write_lm3(landmarks: Written) -> bytes:
    """`.lm3`: a name and a place on two lines each; absent points are left out."""
    lines = [f"{name}\n" + " ".join(repr(float(x)) for x in p) for name, p, ok in _given(landmarks) if ok]
    scheme = ", iBUG-68" if landmarks.names == IBUG68 else ""
    return "\n".join([f"# 3D landmarks{scheme}", f"{len(lines)} landmarks:", *lines, ""]).encode()


def write_bnd(landmarks: Written) -> bytes:
    """`.bnd`: `index x y z`, a line a point in their order; absent points are written as nan."""
    lines = [" ".join([str(k), *(repr(float(x)) for x in p)]) for k, p in enumerate(landmarks.points)]
    return "\n".join([*lines, ""]).encode()


def _given(landmarks: Written) -> list[tuple[str, Floats, bool]]:
    """Name, place, and whether it is there."""
    return list(zip(landmarks.names, landmarks.points, landmarks.present.tolist(), strict=True))


def _assemble(entries: Sequence[Entry], sides: Sides) -> Floats:
    """Labelled groups of points to (68, 3), or points without labels as they are, (68, 2) or (68, 3)."""
    total = sum(len(points) for _, points in entries)
    if total > MAX_POINTS:
        raise another_scheme("the landmark file has far too many points", total, N_LANDMARKS)
    numbers = _numbers(entries)
    if numbers is not None:
        out = _by_number(numbers, [points[0] for _, points in entries])
    elif any(label for label, _ in entries):
        out = _by_label(entries, sides)
    elif total == N_LANDMARKS:
        out = np.concatenate([points for _, points in entries])
    elif total == _WITHOUT_JAW:
        inner = np.concatenate([points for _, points in entries])
        out = np.full((N_LANDMARKS, inner.shape[1]), np.nan)
        out[INNER] = inner
    else:
        raise another_scheme(
            "the landmark file has no labels, and its number of points fits no known scheme",
            f"{total} points",
            f"{N_LANDMARKS} in iBUG order, the {_WITHOUT_JAW} of them without the jaw, or labels",
        )
    if not np.isfinite(out).all(axis=1).any():
        raise another_scheme("the landmark file gives no point at all", "0 points", f"up to {N_LANDMARKS}")
    return out


def _numbers(entries: Sequence[Entry]) -> list[int] | None:
    """The points' numbers where each has one for a label, as in `12`, `F-12` or `Point 12`; None otherwise."""
    words = [plain(label) for label, _ in entries]
    found = [re.fullmatch(r"(\D*)(\d{1,6})", word) for word in words]
    if not words or any(match is None for match in found) or any(word in ALIASES for word in words):
        return None
    prefixes = {match[1] for match in found if match is not None}
    if len(prefixes) > 1 or any(len(points) != 1 for _, points in entries):
        return None
    return [int(match[2]) for match in found if match is not None]


def _by_number(numbers: Sequence[int], points: Sequence[Floats]) -> Floats:
    """(68, 3) of points that are numbered as iBUG-68 or without its jaw; NaN for a number that is missing.

    Of 68 some may be missing, but neither the first nor the last: from which number they count is not told then.
    """
    there = set(numbers)
    if len(there) < len(numbers):
        twice = next(n for n in numbers if numbers.count(n) > 1)
        raise another_scheme("two points of the landmark file have one number", twice, "each number once")
    for first, count, start in _NUMBERINGS:
        whole = set(range(first, first + count))
        missing = len(whole - there)
        gaps = count == N_LANDMARKS and missing <= _MOST_GAPS and {first, first + count - 1} <= there
        if there <= whole and (not missing or gaps):
            out = np.full((N_LANDMARKS, 3), np.nan)
            out[[start + n - first for n in numbers]] = points
            return out
    raise another_scheme(
        "the points of the landmark file are numbered, and the numbers fit no known scheme",
        f"{len(numbers)} points, {min(numbers)} to {max(numbers)}",
        f"0 to {N_LANDMARKS - 1} or 1 to {N_LANDMARKS}, both ends given, or all {_WITHOUT_JAW} without the jaw",
    )


def _by_label(entries: Sequence[Entry], sides: Sides) -> Floats:
    out = np.full((N_LANDMARKS, 3), np.nan)
    taken: dict[int, str] = {}
    for label, points in entries:
        if not label:
            raise another_scheme(
                "some points of the landmark file have a label and some have none", "both", "labels"
            )
        for index, point in zip(indices_of(label, len(points), sides), points, strict=True):
            if index in taken and not np.array_equal(out[index], point, equal_nan=True):
                raise another_scheme(
                    f"two labels give different places to {IBUG68[index]}",
                    f"'{taken[index][:40]}' and '{label[:40]}'",
                    "each landmark once",
                )
            taken[index] = label
            out[index] = point
    return out


def _in_words(error: Exception, extension: str) -> str:
    """What is wrong with a file, by what its reader raised: readers say it in the words of a ValueError."""
    if isinstance(error, UnicodeDecodeError):
        utf_16 = error.object[:2] in (b"\xff\xfe", b"\xfe\xff")
        return "it is text in UTF-16, not in UTF-8" if utf_16 else "it is no text in UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno} is no JSON: {error.msg}"
    if isinstance(error, ExpatError):
        return f"it is no XML: {error}"
    if isinstance(error, KeyError):
        return f"{str(error.args[0])[:40]!r} is missing"
    if isinstance(error, (ValueError, csv.Error)):
        return str(error)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, OverflowError):
        return "it has a number that is too large"
    return f"it is laid out otherwise than a {extension} of landmarks"


def _unreadable(name: str, why: str, expected: object) -> FrameRejected:
    return FrameRejected(
        "landmark-file",
        "the landmark file cannot be read",
        where=name,
        seen=why,
        expected=expected,
        todo="Write it again, or remove it.",
    )


WRITERS: dict[str, Callable[[Written], bytes]] = {
    ".ljson": write_ljson,
    ".pts": write_pts,
    ".pp": write_pp,
    ".csv": write_csv,
    ".json": write_json,
    ".lm3": write_lm3,
    ".bnd": write_bnd,
}


def write_landmarks(landmarks: Written, name: str, sides: Sides = "image") -> bytes:
    """The content of a landmark file called `name`.

    Args:
        sides: whose left its words mean.  Names of single points are iBUG's, whatever it says.

    Raises:
        InputError: its extension is not one that is written.
    """
    writer = WRITERS.get(PurePath(name).suffix.lower())
    if writer is None:
        raise InputError("landmarks are not written to such files", where=name, expected=", ".join(WRITERS))
    return write_ljson(landmarks, sides) if writer is write_ljson else writer(landmarks)
