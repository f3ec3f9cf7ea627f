"""Points of 3D Slicer, `.fcsv` and `.mrk.json`, in the coordinates of the mesh file that they were set on.

Slicer works in RAS (x to the subject's right, y to the front, z up).  Since 4.11 it reads and writes mesh files in LPS,
x and y with the other sign; before, as they stood.  Its files of points say which of the two they are in.  Whether the
mesh was read as Slicer reads it by itself is not in the file: `on_mesh` tries both signs.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.landmarks.formats import Entry, another_scheme, points_of

ENDINGS = (".fcsv", ".mrk.json")
TURN = np.array([-1.0, -1.0, 1.0])  # RAS <-> LPS

_COLUMNS = ("id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label", "desc")
_AXES = {"0": "RAS", "ras": "RAS", "1": "LPS", "lps": "LPS"}
_MESHES_IN_LPS = (4, 11)
# of the two signs that which the file does not speak for is taken when its points lie so much nearer
NEARER = 0.5


def read_fcsv(text: str) -> list[Entry]:
    """A fiducial list: labels with the points, (1, 3) each.

    Raises:
        FrameRejected: `landmark-scheme` - voxel indices instead of places.  ValueError, ...: it is no such file.
    """
    said = dict(re.findall(r"^#[ \t]*(\w[\w ]*?)[ \t]*=[ \t]*(.*?)[ \t\r]*$", text, flags=re.MULTILINE))
    heads = {key.lower(): value for key, value in said.items()}
    version = tuple(map(int, re.findall(r"\d+", heads.get("markups fiducial file version", ""))[:2]))
    columns = (
        [c.strip().lower() for c in heads["columns"].split(",")] if "columns" in heads else list(_COLUMNS)
    )
    x, label = columns.index("x"), columns.index("label") if "label" in columns else len(columns)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = list(csv.reader(io.StringIO("\n".join(lines))))
    axes = _axes(heads.get("coordinatesystem", "RAS"))
    found = points_of([[cell.strip() or None for cell in row[x : x + 3]] for row in rows])
    on_disk = "LPS" if not version or version >= _MESHES_IN_LPS else "RAS"
    if axes != on_disk:
        found = found * TURN
    return [(row[label].strip() if label < len(row) else "", found[k : k + 1]) for k, row in enumerate(rows)]


def read_markups(text: str) -> list[Entry]:
    """The control points of the one list that has some, with their labels; a point that was not set is absent.

    Raises:
        FrameRejected: `landmark-scheme` - several lists, or voxel indices.  ValueError, ...: it is no such file.
    """
    content = json.loads(text)
    lists = [one for one in content["markups"] if isinstance(one, dict) and one.get("controlPoints")]
    if len(lists) != 1:
        raise another_scheme(
            "the landmark file holds several sets of landmarks or none", len(lists), "one set"
        )
    axes = _axes(str(lists[0].get("coordinateSystem", "LPS")))
    points = lists[0]["controlPoints"]
    if not all(isinstance(point, dict) for point in points):
        raise ValueError("a control point has no position")
    found = points_of([_place(point) for point in points])
    if axes != "LPS":
        found = found * TURN
    labels = [str(point.get("label") or "") for point in points]
    return [(label, found[k : k + 1]) for k, label in enumerate(labels)]


def _place(point: dict[str, Any]) -> list[Any]:
    if point.get("positionStatus", "defined") != "defined":
        return [math.nan] * 3
    place = point["position"]
    if not isinstance(place, list):
        raise ValueError("a position is a list of three numbers")
    return place


def _axes(word: str) -> str:
    axes = _AXES.get(word.strip().lower())
    if axes is None:
        raise another_scheme(
            "the landmark file is in a coordinate system that is not known", word[:20], "LPS or RAS"
        )
    return axes


class Placed(NamedTuple):
    """Points in the mesh file's coordinates.

    Attributes:
        points: (68, 3).
        turned: x and y have the other sign than the file's own axes ask for.
        off, off_otherwise: median distance to the mesh of these, and of those with the other sign.
    """

    points: Floats
    turned: bool
    off: float
    off_otherwise: float


def is_slicers(name: str) -> bool:
    """Whether a file of this name is 3D Slicer's."""
    return name.lower().endswith(ENDINGS)


def on_mesh(points: Floats, distance: Callable[[Floats], Floats]) -> Placed:
    """Of a Slicer file's points (68, 3) those, as they are or with x and y turned, that lie on the mesh.

    Args:
        distance: of (k, 3) points in the mesh file's coordinates to the mesh, (k,), any unit.
    """
    given = np.isfinite(points).all(axis=1)
    here, there = (float(np.median(distance(sign[given]))) for sign in (points, points * TURN))
    if there < NEARER * here:
        return Placed(points * TURN, True, there, here)
    return Placed(points, False, here, there)
