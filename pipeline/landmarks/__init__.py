"""The 68 landmarks every stage speaks of, their names and groups, and the words files use for them.

The scheme is iBUG-68 (Sagonas et al., "300 Faces In-The-Wild Challenge", 2016), in its order, numbered from
0:

    00-16  jaw            from the image's left, down the jaw, over the chin (08) to the image's right
    17-21  left_eyebrow   outer to inner end          22-26  right_eyebrow   inner to outer end
    27-30  nose           bridge down to the tip (30), then 31-35 the nostril base from the image's left
    36-41  left_eye       outer corner, upper lid, inner corner, lower lid
    42-47  right_eye      inner corner, upper lid, outer corner, lower lid
    48-59  mouth          outer lip contour, clockwise in the image from its left corner
    60-67  mouth          inner lip contour, likewise

**"left" is the image's left: the subject's right, x < 0 in the canonical frame.**  That is what landmark
files mean by it (both of menpo3d's own assets do), so the names here say the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.errors import FrameRejected, InputError
from mimicme.pipeline.geometry.mesh import Mesh

N_LANDMARKS = 68

GROUPS: dict[str, slice] = {
    "jaw": slice(0, 17),
    "left_eyebrow": slice(17, 22),
    "right_eyebrow": slice(22, 27),
    "nose": slice(27, 36),
    "left_eye": slice(36, 42),
    "right_eye": slice(42, 48),
    "mouth": slice(48, 68),
}
PARTS = {
    "brows": ("left_eyebrow", "right_eyebrow"),
    "eyes": ("left_eye", "right_eye"),
    "mouth": ("mouth",),
}
"""What a surface alone may not show."""
INNER = slice(17, 68)  # all but the jaw, whose points lie on a silhouette and not on a feature

IBUG68: tuple[str, ...] = tuple(
    f"{group}_{k:02d}" if group in ("jaw", "mouth") else f"{group}_{k}"
    for group, part in GROUPS.items()
    for k in range(part.stop - part.start)
)
IN_WORDS: dict[str, str] = {
    "jaw": "jaw",
    "left_eyebrow": "subject's right brow",
    "right_eyebrow": "subject's left brow",
    "nose": "nose",
    "left_eye": "subject's right eye",
    "right_eye": "subject's left eye",
    "mouth": "mouth",
}
"""The groups as sentences name them: of a person, left is the person's."""
CHIN, NOSE_TIP = 8, 30
CHIN_LINE = slice(6, 11)
"""Of the jaw, what a detector can tell as a place on the skin; the rest of it lies on a picture's outline."""
LEFT_EYE_OUTER, LEFT_EYE_INNER, RIGHT_EYE_INNER, RIGHT_EYE_OUTER = 36, 39, 42, 45
MOUTH_LEFT, MOUTH_RIGHT = 48, 54


def labelled(landmark: int | np.integer[Any]) -> str:
    """A landmark by the name that files have and the number that pictures show: `left_eye_0 (36)`."""
    return f"{IBUG68[landmark]} ({landmark})"


# MIRROR[i]: the landmark that lies where landmark i is seen in a mirror
MIRROR: NDArray[np.int64] = np.concatenate(
    [
        np.arange(first, last - 1, -1)
        for first, last in (
            *((16, 0), (26, 17)),  # jaw, brows
            *((27, 27), (28, 28), (29, 29), (30, 30), (35, 31)),  # nose
            *((45, 42), (47, 46), (39, 36), (41, 40)),  # eyes: upper lid with the corners, lower lid
            *((54, 48), (59, 55), (64, 60), (67, 65)),  # lips
        )
    ]
)

# (yaw, pitch) in degrees, as `render.look_at` has them, of the views for which visibility is stored
STANDARD_VIEWS: tuple[tuple[float, float], ...] = (
    *((-60.0, 0.0), (-30.0, 0.0), (0.0, 0.0), (30.0, 0.0), (60.0, 0.0)),
    *((0.0, 30.0), (0.0, -30.0)),
)

# /landmark_source of a release
NONE, MANUAL, DETECTED, PROJECTED = 0, 1, 2, 3


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of one face in iBUG-68 order.

    Attributes:
        points: (68, 3) float64, in the unit and axes of whoever made it; NaN where absent.
    """

    points: Floats

    def __post_init__(self) -> None:
        if np.shape(self.points) != (N_LANDMARKS, 3):
            raise InputError(
                "landmarks are 68 points in space", seen=np.shape(self.points), expected=(N_LANDMARKS, 3)
            )

    @property
    def present(self) -> Bools:
        """(68,) True where a point is given."""
        return np.asarray(np.isfinite(self.points).all(axis=1))

    @property
    def names(self) -> tuple[str, ...]:
        return IBUG68


@dataclass(frozen=True)
class NamedPoints:
    """Landmarks of one face of whatever scheme, to be written.

    Attributes:
        points: (L, 3) float64, NaN where absent.
        names: L names; what comes before the last `_` is the part of the face.
    """

    points: Floats
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if np.shape(self.points) != (len(self.names), 3):
            raise InputError(
                "every point has a name", seen=np.shape(self.points), expected=(len(self.names), 3)
            )

    @property
    def present(self) -> Bools:
        """(L,) True where a point is given."""
        return np.asarray(np.isfinite(self.points).all(axis=1))


def parts_of(names: Iterable[str]) -> dict[str, list[int]]:
    """Numbers of the points of each part of the face, by the beginnings of their names: `GROUPS` of iBUG-68's."""
    parts: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        parts.setdefault(name.rpartition("_")[0] or name, []).append(number)
    return parts


@dataclass(frozen=True)
class Located:
    """Landmarks found on one scan.

    Attributes:
        points: (68, 3) float64, scan frame, mm; NaN where absent.
        source: (68,) uint8: 0 none, 1 manual, 2 detected.
        confidence: (68,) float32 in [0, 1]; 0 where absent.
        absent: (68,) uint8 why a point is absent, in the detector's own codes; None: not said.
        pose: (4, 4) of the head, head -> scan; None where the detector does not know it.
        unshown: parts of the face, of `PARTS`, that nothing on the scan showed to the detector: a guess.
        over_hole: parts of the face, `mouth`, in whose place the scan has a hole; what is left of them is a guess.
        shut: groups of eyes, `left_eye` or `right_eye`, that are shut and do not show where their lids meet: a guess.
        shown_shut: those of a scan without colours whose surface shows that they are shut, and where their lids meet.
    """

    points: Floats
    source: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    absent: NDArray[np.uint8] | None = None
    pose: Floats | None = None
    unshown: tuple[str, ...] = ()
    over_hole: tuple[str, ...] = ()
    shut: tuple[str, ...] = ()
    shown_shut: tuple[str, ...] = ()


class Detector(Protocol):
    """Whatever finds landmarks on a scan by itself.  The landmarks stage asks it about what no file gives.

    It may have a method `texels_too_many(scan, size)` as well, of the scan and its image's (height, width) px: by what
    whole factor coarser an image will do, 1 for as it is.  A JPEG is then decoded coarser, never by more than that,
    which is faster; without the method `detect` gets every image as it is.
    """

    name: str

    def detect(self, scan: Mesh, image: NDArray[np.uint8] | None, near: Floats | None = None) -> Located:
        """Points on a scan (mm) with its texture (h, w, 3), row 0 at the top, or None; `source` is 2 where
        found.  Of the jaw there is `CHIN_LINE` at most; it leads the fit of a person's neutral, and of no other frame.

        Args:
            near: `Located.pose` of the frame before; where the head probably is.

        Raises:
            FrameRejected: there is no face on it; 68 invented points are never the answer.
        """
        ...


def eye_centres(points: Floats) -> Floats:
    """(2, 3) mean of the points given of the image's left and right eye; NaN for an eye without any."""
    centres = np.full((2, 3), np.nan)
    for row, group in enumerate(("left_eye", "right_eye")):
        eye = points[GROUPS[group]]
        eye = eye[np.isfinite(eye).all(axis=1)]
        if len(eye):
            centres[row] = eye.mean(axis=0)
    return centres


def eye_distance(points: Floats) -> float:
    """Distance between the two eye centres of (68, 3) points, about 63 mm on an adult; NaN when unknown.

    Of an eye both corners or three points must be given: outer corners alone lie 90 mm apart, inner ones 35.
    """
    given = np.asarray(np.isfinite(points).all(axis=1))
    for group, corners in (("left_eye", [36, 39]), ("right_eye", [42, 45])):
        if not (given[corners].all() or given[GROUPS[group]].sum() >= 3):
            return float("nan")
    left, right = eye_centres(points)
    return float(np.linalg.norm(right - left))


def mirrored(points: Floats) -> Floats:
    """(68, 3) points with every left and right exchanged: row i holds what row MIRROR[i] held."""
    return points[MIRROR]


# ---------------------------------------------------------------------------------------- words of files

Sides = Literal["image", "subject"]

_GROUP_WORDS: dict[str, tuple[str, ...]] = {
    "jaw": ("jaw", "chin", "jawline", "jaw_line", "contour", "face_contour"),
    "left_eyebrow": ("left_eyebrow", "leyebrow", "l_eyebrow", "left_brow", "lbrow", "l_brow", "lefteyebrow"),
    "right_eyebrow": (
        "right_eyebrow",
        "reyebrow",
        "r_eyebrow",
        "right_brow",
        "rbrow",
        "r_brow",
        "righteyebrow",
    ),
    "nose": ("nose",),
    "left_eye": ("left_eye", "leye", "l_eye", "lefteye"),
    "right_eye": ("right_eye", "reye", "r_eye", "righteye"),
    "mouth": ("mouth", "lips"),
}
_PART_WORDS: dict[str, tuple[int, int]] = {
    "nose_bridge": (27, 31),
    "upper_nose": (27, 31),
    "nose_base": (31, 36),
    "lower_nose": (31, 36),
    "nostrils": (31, 36),
    "outer_mouth": (48, 60),
    "mouth_outer": (48, 60),
    "outer_lips": (48, 60),
    "inner_mouth": (60, 68),
    "mouth_inner": (60, 68),
    "inner_lips": (60, 68),
}
_POINT_WORDS: dict[str, int] = {
    "nose_tip": NOSE_TIP,
    "nosetip": NOSE_TIP,
    "chin_middle": CHIN,
    "left_eye_outer": LEFT_EYE_OUTER,
    "left_eye_outer_corner": LEFT_EYE_OUTER,
    "outer_left_eye_corner": LEFT_EYE_OUTER,
    "left_eye_inner": LEFT_EYE_INNER,
    "left_eye_inner_corner": LEFT_EYE_INNER,
    "inner_left_eye_corner": LEFT_EYE_INNER,
    "right_eye_inner": RIGHT_EYE_INNER,
    "right_eye_inner_corner": RIGHT_EYE_INNER,
    "inner_right_eye_corner": RIGHT_EYE_INNER,
    "right_eye_outer": RIGHT_EYE_OUTER,
    "right_eye_outer_corner": RIGHT_EYE_OUTER,
    "outer_right_eye_corner": RIGHT_EYE_OUTER,
    "mouth_left": MOUTH_LEFT,
    "left_mouth_corner": MOUTH_LEFT,
    "mouth_left_corner": MOUTH_LEFT,
    "mouth_right": MOUTH_RIGHT,
    "right_mouth_corner": MOUTH_RIGHT,
    "mouth_right_corner": MOUTH_RIGHT,
    "upper_lip_outer_middle": 51,
    "upper_lip_inner_middle": 62,
    "lower_lip_inner_middle": 66,
    "lower_lip_outer_middle": 57,
    "outer_left_eyebrow": 17,
    "inner_left_eyebrow": 21,
    "inner_right_eyebrow": 22,
    "outer_right_eyebrow": 26,
}
# Anatomists' abbreviations name the subject's own side, whatever `sides` says of plain words.
_ANATOMICAL: dict[str, int] = {
    "prn": NOSE_TIP,
    "pronasale": NOSE_TIP,
    "sn": 33,
    "subnasale": 33,
    "exr": LEFT_EYE_OUTER,
    "enr": LEFT_EYE_INNER,
    "enl": RIGHT_EYE_INNER,
    "exl": RIGHT_EYE_OUTER,
    "chr": MOUTH_LEFT,
    "chl": MOUTH_RIGHT,
    "ls": 51,
    "labiale_superius": 51,
    "li": 57,
    "labiale_inferius": 57,
}


def plain(label: str) -> str:
    """A label as the tables here write it: lower case, words joined by `_`."""
    return re.sub(r"[\s\-.]+", "_", label.strip().lower())


def _alias_table() -> dict[str, tuple[int, ...]]:
    table: dict[str, tuple[int, ...]] = {}
    for group, words in _GROUP_WORDS.items():
        part = GROUPS[group]
        for word in words:
            table[word] = tuple(range(part.start, part.stop))
    for word, (start, stop) in _PART_WORDS.items():
        table[word] = tuple(range(start, stop))
    for word, index in _POINT_WORDS.items():
        table[word] = (index,)
    for index, name in enumerate(IBUG68):
        table[name] = (index,)
    return table


ALIASES: dict[str, tuple[int, ...]] = _alias_table()


def indices_of(label: str, count: int, sides: Sides = "image") -> tuple[int, ...]:
    """The landmarks a file means by a label that carries `count` points, in the order of those points.

    Args:
        label: the word of the file, any case.
        count: how many points the file has under it.
        sides: whose left the file's "left" is: the image's (the rule) or the subject's own.  It moves whole
            labels to the other side; the canonical names and anatomists' abbreviations never move.

    Raises:
        FrameRejected: `landmark-scheme` - an unknown word, or another number of points than it stands for.
    """
    word = plain(label)
    anatomical = _ANATOMICAL.get(word.replace("_", "")) if word not in ALIASES else None
    if anatomical is not None:
        found: tuple[int, ...] | None = (anatomical,)
    else:
        found = ALIASES.get(word)
        if sides == "subject" and word not in IBUG68:
            found = ALIASES.get(other_side(word), found)
    if found is None:
        raise FrameRejected(
            "landmark-scheme",
            "the landmark file uses a label that is not known",
            seen=repr(label[:40]),
            expected=f"groups of iBUG-68 ({', '.join(GROUPS)}) or names of single points (left_eye_outer)",
            todo="Rename the label, or export the points as iBUG-68.",
        )
    if len(found) != count:
        raise FrameRejected(
            "landmark-scheme",
            f"the label '{label[:40]}' has another number of points than in iBUG-68",
            seen=count,
            expected=len(found),
            todo="Export the points as iBUG-68, or leave this label out of the file.",
        )
    return found


def other_side(word: str) -> str:
    """A label with left and right exchanged; one that names no side as it is."""
    if "left" in word:
        return word.replace("left", "right")
    if "right" in word:
        return word.replace("right", "left")
    if word[:1] in "lr" and word.lstrip("lr_").startswith(("eye", "brow")):
        return ("r" if word[0] == "l" else "l") + word[1:]
    return word
