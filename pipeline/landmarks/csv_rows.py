"""Points in a `.csv`: rows `x,y,z` or `name,x,y,z`, with or without a header; commas, semicolons or tabs between."""

from __future__ import annotations

import csv
import io
import math
import re
from typing import NamedTuple

import numpy as np

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.landmarks import plain
from mimicme.pipeline.landmarks.formats import Entry, points_of

_POINT = "x,y,z or name,x,y,z"
_AXES = ("x", "y", "z")
_NAMES = ("name", "label", "landmark", "id")
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
_A_NUMBER = "a number with a decimal point, or nan where the point is absent"


class _Row(NamedTuple):
    """A line's number in the file, from 1, its cells without the blanks around them, and what separates them."""

    line: int
    cells: list[str]
    delimiter: str


def read_csv(text: str) -> list[Entry]:
    """The points of a file; rows with the same name, in their order, form that name's group.

    Raises:
        FrameRejected: `landmark-file` - a line is no point, with its number; `landmark-scheme` - pixels.
            csv.Error: this is no CSV at all.
    """
    rows = _rows(text)
    columns: list[int] | None = None
    if rows and not _is_point(rows[0].cells):
        columns = _columns(rows.pop(0))
    labels: list[str] = []
    places: list[list[float | None]] = []
    for row in rows:
        if columns is None:
            named, cells = len(row.cells) == 4, row.cells
            label, place = (cells[0] if named else ""), cells[1:] if named else cells
            if len(place) not in (2, 3):
                raise _bad(row, f"has {len(cells)} cells", _POINT)
        else:
            if len(row.cells) <= max(columns):
                raise _bad(
                    row, f"has {len(row.cells)} cells", f"{max(columns) + 1} or more, as the header has"
                )
            named = True  # by the header: an empty cell is an absent point
            label = row.cells[columns[0]] if columns[0] >= 0 else ""
            place = [row.cells[k] for k in columns[1:]]
        labels.append(label)
        places.append([_number(row, cell, axis, named) for cell, axis in zip(place, _AXES, strict=False)])
        if len(places[-1]) != len(places[0]):
            raise _bad(row, f"has {len(row.cells)} cells", "as many as in the lines before it")
    points = points_of(places)
    if not any(labels):
        return [("", points)]
    groups: dict[str, list[int]] = {}
    for k, label in enumerate(labels):
        groups.setdefault(label, []).append(k)
    return [(label, points[np.asarray(at)]) for label, at in groups.items()]


def _rows(text: str) -> list[_Row]:
    """The lines with something on them; those that begin with # are comments."""
    first = text.lstrip().splitlines()[0] if text.strip() else ""
    delimiter = next((d for d in (";", "\t", ",") if d in first), ",")
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter)
    rows = [_Row(reader.line_num, [cell.strip() for cell in row], delimiter) for row in reader]
    return [row for row in rows if any(row.cells) and not row.cells[0].startswith("#")]


def _is_point(cells: list[str]) -> bool:
    """Whether the first row is a point already, and not the names of columns."""
    if set(_AXES) <= {plain(cell) for cell in cells}:
        return False
    return not cells[-1] or _float(cells[-1]) is not None


def _columns(header: _Row) -> list[int]:
    """Where name (-1: nowhere), x, y and z stand."""
    words = [plain(cell) for cell in header.cells]
    if not set(_AXES) <= set(words):
        if _DECIMAL_COMMA.fullmatch(header.cells[-1]):
            raise _bad(header, "has a decimal comma", _A_NUMBER, header.cells[-1])
        raise _bad(header, "is neither a point nor a header with x, y and z", _POINT)
    named = next((words.index(word) for word in _NAMES if word in words), -1)
    return [named, *(words.index(axis) for axis in _AXES)]


def _number(row: _Row, cell: str, axis: str, may_be_empty: bool) -> float | None:
    if not cell and may_be_empty:
        return None
    number = _float(cell)
    if number is None or math.isinf(number):
        what = "has a decimal comma" if _DECIMAL_COMMA.fullmatch(cell) else f"has no number for {axis}"
        raise _bad(row, what, _A_NUMBER, cell)
    return number


def _float(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _bad(row: _Row, what: str, expected: str, cell: str | None = None) -> FrameRejected:
    whole = row.delimiter.join(row.cells)
    whole = repr(whole if len(whole) <= 60 else whole[:57] + "...")
    return FrameRejected(
        "landmark-file",
        f"the landmark file cannot be read: line {row.line} {what}",
        seen=whole if cell is None else f"{cell[:30]!r} in {whole}",
        expected=expected,
        todo="Correct it, or remove the file: each line of a .csv is a point, x,y,z or name,x,y,z, with a header of "
        "these words or without one.",
    )
