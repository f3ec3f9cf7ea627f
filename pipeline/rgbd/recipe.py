"""`rgbd.toml`: what a depth camera's recorder knew of its pictures, written once a sequence.

    up = "top"                       # the side of the pictures that the top of the head points to
    mirrored = false                 # left and right of the pictures are exchanged
    times = "times.csv"              # optional: a line for each frame, its {frame} and its seconds
    near_mm = 150.0                  # what is nearer or farther is left out
    far_mm = 1500.0

    [depth]
    files = "depth/{frame}.png"      # 16-bit PNG, .npy, or numbers without a header
    type = "float32"                 # of the last: uint16 or float32, little-endian, row after row
    unit_mm = 1.0                    # millimetres of one unit
    width = 640
    height = 480
    fx = 460.0
    fy = 460.0
    cx = 319.5
    cy = 239.5
    distortion = [0, 0, 0, 0, 0]     # optional: k1, k2, p1, p2, k3, and k4, k5, k6

    [color]                          # optional; without width to cy it is the depth camera's own view
    files = "color/{frame}.jpg"
    rotation = [1, 0, 0, 0, 1, 0, 0, 0, 1]     # colour camera from depth camera, row by row
    translation_mm = [0, 0, 0]                 # or translation_m

Several cameras of one moment are tables `[[view]]`, each with a `[view.depth]` and a `[view.color]` of its own, and
with `rotation` and `translation_mm` from its depth camera to axes that all have in common.

The file is a stranger's: names stay below its folder, numbers are bounded, an unknown key is an error.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np

from mimicme.pipeline.errors import InputError
from mimicme.pipeline.rgbd.camera import COEFFICIENTS, Camera, Pose

NAME = "rgbd.toml"
MAX_BYTES = 64 << 10
MAX_TIMES_BYTES = 16 << 20
FRAME = "{frame}"
HEADERLESS = ("uint16", "float32")
MAX_SIDE = 8192
MAX_PIXELS = 1 << 24
MAX_DEPTH_PIXELS = 1 << 21
"""Of the depth pictures of a frame together, about 420 bytes of memory each; depth cameras have 0.2 to 1 million."""
MAX_VIEWS = 16
NEAR_MM, FAR_MM = 150.0, 1500.0

Up = Literal["top", "bottom", "left", "right"]
UPS: tuple[Up, ...] = ("top", "bottom", "left", "right")

_CAMERA = ("width", "height", "fx", "fy", "cx", "cy")
_POSE = ("rotation", "translation_mm", "translation_m")
_KEYS = {
    "": ("up", "mirrored", "times", "near_mm", "far_mm", "depth", "color", "view"),
    "depth": ("files", "type", "unit_mm", *_CAMERA, "distortion"),
    "color": ("files", *_CAMERA, "distortion", *_POSE),
    "view": ("depth", "color", *_POSE),
}
_DEPTH_ENDINGS = (".png", ".npy")


@dataclass(frozen=True)
class Files:
    """Where the pictures of one camera lie: `folder/prefix{frame}suffix` below the description's folder."""

    folder: str
    prefix: str
    suffix: str

    def name(self, frame: str) -> str:
        """Of a frame's picture, below the description's folder."""
        own = f"{self.prefix}{frame}{self.suffix}"
        return f"{self.folder}/{own}" if self.folder else own

    def frame(self, name: str) -> str | None:
        """The part of a file's name, without folder, that stands for `{frame}`; None: it is no picture of these."""
        long = len(name) > len(self.prefix) + len(self.suffix)
        if long and name.startswith(self.prefix) and name.endswith(self.suffix):
            return name[len(self.prefix) : len(name) - len(self.suffix)]
        return None


@dataclass(frozen=True)
class Depth:
    """A depth camera's pictures.

    Attributes:
        type: of numbers without a header; empty: files that say it themselves.
        unit_mm: millimetres of one unit.
    """

    files: Files
    camera: Camera
    unit_mm: float
    type: str = ""


@dataclass(frozen=True)
class Color:
    """A colour camera's pictures; `from_depth` brings the depth camera's axes to its own."""

    files: Files
    camera: Camera
    from_depth: Pose


@dataclass(frozen=True)
class View:
    """One depth camera with its colour camera; `common` brings its axes to those that all views have in common."""

    depth: Depth
    color: Color | None
    common: Pose


@dataclass(frozen=True)
class Recipe:
    """What a description says of its sequence.

    Attributes:
        views: one or several, seen at the same moments.
        up: the side of the first view's pictures that the top of the head points to.
        mirrored: left and right of the pictures are exchanged.
        times: file of the time stamps, beside the description; empty: there is none.
        near_mm, far_mm: from the camera; what lies outside is left out.
    """

    views: tuple[View, ...]
    up: Up = "top"
    mirrored: bool = False
    times: str = ""
    near_mm: float = NEAR_MM
    far_mm: float = FAR_MM


def read_recipe(data: bytes, where: str = NAME) -> Recipe:
    """Read a description.

    Args:
        data: of the whole file.
        where: its name, for errors.

    Raises:
        InputError: whatever is wrong with it, with the key, the value seen and what is expected.
    """
    if len(data) > MAX_BYTES:
        raise InputError(
            "the description of a recording is too long",
            where=where,
            seen=f"{len(data):,} bytes",
            expected=f"at most {MAX_BYTES:,}",
        )
    try:
        table = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError("the description of a recording is no UTF-8 text", where=where) from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        said = str(error).splitlines()[0][:200] if str(error) else "nested too deeply"
        raise InputError("the description of a recording is no TOML", where=where, seen=said) from error
    try:
        return _recipe(_Table(table, where, ""))
    except OverflowError as error:
        raise InputError("a number is too large", where=where, expected="the numbers of a camera") from error


def _recipe(top: _Table) -> Recipe:
    top.known(_KEYS[""])
    several = top.values.get("view")
    if several is None:
        views = [View(_depth(top.table("depth")), _color(top), Pose.none())]
    else:
        if not isinstance(several, list) or not 1 <= len(several) <= MAX_VIEWS:
            raise top.wrong("view", f"1 to {MAX_VIEWS} tables [[view]]")
        if "depth" in top.values or "color" in top.values:
            raise top.wrong("view", "[depth] and [color] within each [[view]] alone", "both")
        tables = [_Table(one, top.where, f"view {k}.") for k, one in enumerate(several, 1)]
        views = []
        for table in tables:
            table.known(_KEYS["view"])
            if len(tables) > 1 and "rotation" not in table.values:
                raise table.wrong("rotation", "nine numbers: common axes from this depth camera")
            views.append(View(_depth(table.table("depth")), _color(table), table.pose()))
    pixels = sum(view.depth.camera.width * view.depth.camera.height for view in views)
    if pixels > MAX_DEPTH_PIXELS:
        expected = f"at most {MAX_DEPTH_PIXELS:,} pixels of depth in a frame, all views together"
        raise top.wrong("view" if several is not None else "depth", expected, f"{pixels:,}")
    near, far = top.number("near_mm", 1.0, 1e5, NEAR_MM), top.number("far_mm", 1.0, 1e5, FAR_MM)
    if not near < far:
        raise top.wrong("far_mm", f"more than near_mm, {near:g}")
    up = top.values.get("up", "top")
    if up not in UPS:
        raise top.wrong("up", ", ".join(UPS))
    mirrored = top.values.get("mirrored", False)
    if not isinstance(mirrored, bool):
        raise top.wrong("mirrored", "true or false")
    times = top.text("times") if "times" in top.values else ""
    if times:
        top.checked_path("times", times)
    for view in views:
        if _colliding(view, views):
            raise top.wrong("view", "files of its own for each view", view.depth.files.name(FRAME))
    return Recipe(tuple(views), up, mirrored, times, near, far)


def _colliding(view: View, views: list[View]) -> bool:
    return sum(other.depth.files == view.depth.files for other in views) > 1


def _depth(table: _Table) -> Depth:
    table.known(_KEYS["depth"])
    files = table.files()
    kind = ""
    if not files.suffix.lower().endswith(_DEPTH_ENDINGS):
        kind = table.values.get("type", "")
        if kind not in HEADERLESS:
            raise table.wrong("type", f"{' or '.join(HEADERLESS)}, for files that end in {files.suffix!r}")
    return Depth(files, table.camera(), table.number("unit_mm", 1e-6, 1e4), kind)


def _color(above: _Table) -> Color | None:
    if "color" not in above.values:
        return None
    table = above.table("color")
    table.known(_KEYS["color"])
    if any(key in table.values for key in (*_CAMERA, "distortion")):
        camera = table.camera()
    else:  # a recorder that brought both into one view
        camera = above.table("depth").camera()
    return Color(table.files(), camera, table.pose())


@dataclass(frozen=True)
class _Table:
    """A table of the description, read key by key."""

    values: Any
    where: str
    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.values, Mapping):
            raise InputError("this is no table", where=self.where, seen=self.name.rstrip(".") or "the file")

    def wrong(self, key: str, expected: str, seen: object = None) -> InputError:
        value = self.values.get(key, "nothing") if seen is None else seen
        return InputError(
            f"`{self.name}{key}` is missing or wrong",
            where=self.where,
            seen=repr(value)[:200],
            expected=expected,
            todo="docs/captures.md has a whole example.",
        )

    def known(self, keys: tuple[str, ...]) -> None:
        for key in self.values:
            if key not in keys:
                near = get_close_matches(key, keys, 1)
                hint = f"'{near[0]}'?" if near else f"one of {', '.join(keys)}"
                raise InputError(f"`{self.name}{key[:100]}` is no key of it", where=self.where, expected=hint)

    def table(self, key: str) -> _Table:
        value = self.values.get(key)
        if not isinstance(value, Mapping):
            raise self.wrong(key, f"a table [{self.name}{key}]")
        return _Table(value, self.where, f"{self.name}{key}.")

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "a text")
        return value

    def number(self, key: str, least: float, most: float, default: float | None = None) -> float:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise self.wrong(key, f"a number from {least:g} to {most:g}")
        return float(value)

    def numbers(self, key: str, counts: tuple[int, ...], most: float) -> tuple[float, ...]:
        value = self.values.get(key)
        good = isinstance(value, list) and len(value) in counts
        if not good or not all(
            isinstance(v, int | float) and not isinstance(v, bool) and abs(v) <= most for v in value or ()
        ):
            raise self.wrong(key, f"{' or '.join(map(str, counts))} numbers in brackets")
        return tuple(map(float, value or ()))

    def camera(self) -> Camera:
        sides = []
        for key in ("width", "height"):
            value = self.values.get(key)
            if isinstance(value, bool) or not isinstance(value, int) or not 16 <= value <= MAX_SIDE:
                raise self.wrong(key, f"a whole number of pixels from 16 to {MAX_SIDE:,}")
            sides.append(value)
        width, height = sides
        if width * height > MAX_PIXELS:
            raise self.wrong("width", f"a picture of at most {MAX_PIXELS:,} pixels", f"{width} x {height}")
        largest = float(max(sides))
        fx, fy = (self.number(key, 0.05 * largest, 100 * largest) for key in ("fx", "fy"))
        cx, cy = self.number("cx", -width, 2 * width), self.number("cy", -height, 2 * height)
        bent = self.numbers("distortion", COEFFICIENTS, 1e4) if "distortion" in self.values else ()
        return Camera(width, height, fx, fy, cx, cy, bent if any(bent) else ())

    def pose(self) -> Pose:
        lengths = [key for key in _POSE[1:] if key in self.values]
        if not lengths and "rotation" not in self.values:
            return Pose.none()
        if len(lengths) != 1:
            raise self.wrong("translation_mm", "`translation_mm` or `translation_m`, one of them", lengths)
        turn = np.array(self.numbers("rotation", (9,), 2.0)).reshape(3, 3)
        scale = 1.0 if lengths[0] == "translation_mm" else 1000.0
        try:
            return Pose.checked(turn, scale * np.array(self.numbers(lengths[0], (3,), 1e5)))
        except InputError as error:
            raise InputError(
                f"`{self.name}rotation`: {error.what}",
                where=self.where,
                seen=error.seen,
                expected=error.expected,
            ) from error

    def files(self) -> Files:
        text = self.text("files")
        self.checked_path("files", text)
        folder, _, own = text.rpartition("/")
        if text.count(FRAME) != 1 or FRAME in folder or re.search(r"[{}*?]", own.replace(FRAME, "")):
            raise self.wrong("files", "a name with {frame} in its last part, as 'depth/{frame}.png'")
        prefix, _, suffix = own.partition(FRAME)
        return Files(folder, prefix, suffix)

    def checked_path(self, key: str, text: str) -> None:
        parts = text.split("/")
        bad = any(part in ("", ".", "..") or part.startswith(".") for part in parts)
        if bad or "\\" in text or not text.isprintable() or len(text) > 300 or re.match("[A-Za-z]:", text):
            raise self.wrong(key, "a path below the description's folder, with / between its parts")


def read_times(data: bytes, where: str) -> dict[str, float]:
    """Seconds by frame: lines of a frame's name and its time, with a comma, semicolon or blanks between.

    Lines that begin with `#` and a header without numbers are left out.

    Raises:
        InputError: a line is otherwise, or a frame comes twice.
    """
    times: dict[str, float] = {}
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1):
        words = [word.strip("\"' ") for word in re.split(r"[,;\s]+", line.strip()) if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            seconds = float(words[1])
        except (ValueError, IndexError):
            seconds = math.nan
        if not abs(seconds) < 1e11 or len(words) != 2:
            if number == 1 and len(words) == 2:
                continue
            raise InputError(
                f"line {number} of the time stamps cannot be read",
                where=where,
                seen=repr(line[:100]),
                expected="a frame and its seconds, as '0012, 0.4'",
            )
        if words[0] in times:
            raise InputError(
                f"line {number} of the time stamps has a frame again", where=where, seen=words[0][:100]
            )
        times[words[0]] = seconds
    return times
