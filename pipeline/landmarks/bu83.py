"""The 83 points of BU-3DFE, BU-4DFE (`.bnd`) and BP4D+ (`.bndplus`): those of them that are points of iBUG-68.

Both have contours of the eyes (8 points each), the brows (10 each), the nose (12), the lips (12 outer, 8 inner) and the
lower face (15).  In BU-3DFE eyes come before brows (Yin et al. 2006; so menpo labels them), in BP4D+ brows before eyes;
which it is is read off where the contours lie.  Most have other numbers of points than iBUG's, and points along a
contour have no definition but their place among the others.  So these are taken: the corners of eyes, brows and mouth,
which are the ends of their contours; the middles of the upper and the lower lip, where as many points lie on either
side and the middle one lies in the middle; and the chin, where the middle of the lower face is its lowest point.  The
others stay absent, and so does the tip of the nose, which is none of the 83.
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.landmarks import (
    CHIN,
    IBUG68,
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
)
from mimicme.pipeline.landmarks.formats import Entry, another_scheme, points_of

N_POINTS = 83

# contours of the upper face, the image's left side first, in the two orders; the others are the same in both
_EYES_FIRST = {
    "left_eye": slice(0, 8),
    "right_eye": slice(8, 16),
    "left_eyebrow": slice(16, 26),
    "right_eyebrow": slice(26, 36),
}
_BROWS_FIRST = {
    "left_eyebrow": slice(0, 10),
    "right_eyebrow": slice(10, 20),
    "left_eye": slice(20, 28),
    "right_eye": slice(28, 36),
}
_NOSE, _OUTER_LIPS, _INNER_LIPS, _LOWER_FACE = slice(36, 48), slice(48, 60), slice(60, 68), slice(68, 83)
_CLEARER = 1.5  # times as tight as in the other order the contours must be; on a face it is about five
_LEAST_NOSE = 0.05  # of the distance of the eyes, that the nose stands out; on a face it is about a third

_ENDS = {
    "left_eye": (LEFT_EYE_OUTER, LEFT_EYE_INNER),
    "right_eye": (RIGHT_EYE_INNER, RIGHT_EYE_OUTER),
    "left_eyebrow": (17, 21),
    "right_eyebrow": (22, 26),
}
"""Which of the 68 the first and the last point of a contour are, from the image's left."""
_OUTER_MIDDLES, _INNER_MIDDLES = (51, 57), (62, 66)  # of the upper and the lower lip


def read_bnd(text: str) -> list[Entry]:
    """`index x y z` a line: 83 points of BU-3DFE, or those of another scheme, without labels.

    Raises:
        FrameRejected: `landmark-scheme`.  ValueError: it is no such file.
    """
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if any(len(row) != 4 for row in rows):
        raise ValueError("a .bnd line is: vertex index, x, y, z")
    return _entries(points_of([row[1:] for row in rows]))


def read_bndplus(text: str) -> list[Entry]:
    """`x,y,z` a line, or `index x y z`, with commas or blanks between; as `read_bnd`."""
    rows = [line.replace(",", " ").split() for line in text.splitlines() if line.strip()]
    widths = {len(row) for row in rows}
    if not widths <= {3} and not widths <= {4}:
        raise ValueError("a .bndplus line is: x, y, z, or index, x, y, z")
    return _entries(points_of([row[-3:] for row in rows]))


def _entries(points: Floats) -> list[Entry]:
    if len(points) != N_POINTS:
        return [("", points)]
    with np.errstate(all="ignore"):  # of coordinates whose squares are no numbers
        found = _found(points, np.asarray(np.isfinite(points).all(axis=1)))
    return [(IBUG68[index], point[None]) for index, point in found]


def _found(points: Floats, there: Bools) -> list[tuple[int, Floats]]:
    """Landmarks (3,) with their numbers among the 68."""
    contours = _upper_face(points, there)
    across, up = _directions(points, there, contours)
    if contours is _BROWS_FIRST and _nose_forward(points, there, contours, across, up) < 0:
        # BP4D+ does not say whose left comes first: the nose tells, in right-handed axes
        contours = {_other_side(name): part for name, part in contours.items()}
        across = -across
    found: list[tuple[int, Floats]] = []
    for name, part in contours.items():
        found += _ends(points[part], there[part], across, _ENDS[name])
    found += _ends(points[_OUTER_LIPS], there[_OUTER_LIPS], across, (MOUTH_LEFT, MOUTH_RIGHT))
    found += _middles(points[_OUTER_LIPS], across, up, _OUTER_MIDDLES)
    found += _middles(points[_INNER_LIPS], across, up, _INNER_MIDDLES)
    lower = points[_LOWER_FACE] @ up
    if np.isfinite(lower).all() and int(np.argmin(lower)) == len(lower) // 2 and np.ptp(lower) > 0:
        found.append((CHIN, points[_LOWER_FACE][len(lower) // 2]))
    return found


def _other_side(name: str) -> str:
    return name.replace("left", "right") if "left" in name else name.replace("right", "left")


def _upper_face(points: Floats, there: Bools) -> dict[str, slice]:
    """The contours of eyes and brows, in the order in which each of them is tight."""
    spread = []
    for order in (_EYES_FIRST, _BROWS_FIRST):
        own = [points[part][there[part]] for part in order.values()]
        spread.append(sum(float(((p - p.mean(axis=0)) ** 2).sum()) for p in own if len(p)))
    if spread[1] > _CLEARER * spread[0]:
        return _EYES_FIRST
    if spread[0] > _CLEARER * spread[1]:
        return _BROWS_FIRST
    raise _no_order("their eyes and brows are not told apart")


def _no_order(seen: str) -> FrameRejected:
    return another_scheme(
        "the landmark file has 83 points in no order that is known", seen, "those of BU-3DFE or BP4D+"
    )


def _directions(points: Floats, there: Bools, contours: dict[str, slice]) -> tuple[Floats, Floats]:
    """(3,) from the image's left eye to its right one, and (3,) from the mouth up."""
    middles = []
    for part in (contours["left_eye"], contours["right_eye"], _OUTER_LIPS):
        if not there[part].any():
            raise _no_order("an eye or the mouth has no point")
        middles.append(points[part][there[part]].mean(axis=0))
    left, right, mouth = middles
    across, up = right - left, (left + right) / 2 - mouth
    length = float(across @ across)
    if not length > 0:
        raise _no_order("both eyes lie in one place")
    return across, up - (up @ across) / length * across


def _nose_forward(
    points: Floats, there: Bools, contours: dict[str, slice], across: Floats, up: Floats
) -> float:
    """How far the nose stands out towards where the face looks, in distances of the eyes; negative where left and
    right are exchanged."""
    eyes = np.concatenate(
        [points[contours[side]][there[contours[side]]] for side in ("left_eye", "right_eye")]
    )
    mouth, nose = points[_OUTER_LIPS][there[_OUTER_LIPS]], points[_NOSE][there[_NOSE]]
    forward = np.cross(across, up)
    size = float(np.linalg.norm(forward) * np.linalg.norm(across))
    if not len(nose) or not size > 0:
        raise _no_order("the nose has no point")
    out = float((nose.mean(axis=0) - (eyes.mean(axis=0) + mouth.mean(axis=0)) / 2) @ forward) / size
    if abs(out) < _LEAST_NOSE:
        raise _no_order("the nose does not tell left from right")
    return out


def _ends(contour: Floats, there: Bools, across: Floats, which: tuple[int, int]) -> list[tuple[int, Floats]]:
    """The first and the last point of a contour in the direction `across`."""
    if not there.any():
        return []
    given = contour[there]
    along = given @ across
    return [(which[0], given[int(np.argmin(along))]), (which[1], given[int(np.argmax(along))])]


def _middles(contour: Floats, across: Floats, up: Floats, which: tuple[int, int]) -> list[tuple[int, Floats]]:
    """The middle points of both lips, the upper first, of a closed contour whose ends lie opposite each other."""
    along, n = contour @ across, len(contour)
    if not np.isfinite(along).all() or not np.ptp(along) > 0:
        return []
    first, last = int(np.argmin(along)), int(np.argmax(along))
    if (last - first) % n != n // 2:
        return []
    centre = (along[first] + along[last]) / 2
    lips = []
    for begin in (first, last):
        half = [(begin + step) % n for step in range(1, n // 2)]
        middle = half[len(half) // 2]
        if half[int(np.argmin(np.abs(along[half] - centre)))] != middle:
            return []
        lips.append((float((contour[half] @ up).mean()), contour[middle]))
    lower, upper = sorted(lips, key=lambda lip: lip[0])
    return [(which[0], upper[1]), (which[1], lower[1])] if upper[0] > lower[0] else []
