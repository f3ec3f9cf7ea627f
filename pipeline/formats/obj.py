"""Wavefront OBJ with its MTL: reading and writing.

Reading is one pass of array operations over the bytes, never a Python loop over lines: a capture is hundreds
of files of several megabytes each.  The codes of its errors are described in `mesh_file`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Ints, Longs
from mimicme.pipeline.formats.mesh_file import (
    MAX_TRIANGLES,
    MAX_VERTICES,
    MeshFile,
    MeshFileError,
    as_bytes,
    check_content,
    check_vertices,
    decode_name,
    fail,
    parse_numbers,
    polygons_of,
    triangulate_fans,
)
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.geometry.polygons import rings

# An OBJ without final newline is called truncated when more than this share of its vertices has no triangle.
# Scans leave well under 1 % unused; a file cut at a random place of its face list leaves more almost always.
TRUNCATED_UNUSED_SHARE = 0.05

_ANNOUNCED = re.compile(
    rb"#+ *(?:(?:number of +)?(?P<named>vertices|verts|faces|triangles|polygons|(?:vertex|face) count)"
    rb" *[:=]? *(?P<n>\d{1,9})"
    rb"|(?P<m>\d{1,9}) +(?P<of>vertices|vertex positions|verts|faces|triangles|polygons))\s*",
    re.IGNORECASE,
)
"""How many there are, as MeshLab (`# Vertices: 8`), ZBrush (`#Vertex Count 8`) and 3ds Max (`# 8 vertices`) say it."""
_ANNOUNCING = (
    40  # comments at either end of a file that are looked at; painted files have one every few vertices
)

Bytes = NDArray[np.uint8]

_SPACE, _NEWLINE, _SLASH = 32, 10, 47
_INDENTATION = 16  # columns that are skipped one by one
_ABSENT = -2
"""In place of a texture coordinate that a face names and the file does not have; -1: the face names none."""


class _Lines(NamedTuple):
    """Byte positions of the lines of a text: first non-blank byte, and the newline that ends it."""

    text: Bytes
    start: Longs
    end: Longs


def read_obj(data: bytes, name: str) -> MeshFile:
    """Read a Wavefront OBJ: v (with colours, or ZBrush's #MRGB), vt, f of any form, usemtl, mtllib; the rest is
    skipped.

    Args:
        data: the whole file; name: for errors.

    Raises:
        MeshFileError: see the codes in this module's description.
    """
    check_content(data, name)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", errors="replace").encode()
    if b"\0" in data:
        raise fail(
            "truncated", "the file holds bytes of value 0: it was not written to its end, or is no text", name
        )
    ends_cleanly = data.endswith((b"\n", b"\r"))
    lines = _split_lines(data, name)
    kinds = _line_kinds(lines)
    v_lines, vt_lines, f_lines = (np.flatnonzero(kinds == k) for k in (b"v"[0], b"t"[0], b"f"[0]))
    context = _Context(name, lines, ends_cleanly)
    if not len(v_lines):
        raise fail("empty-file", "the file holds no vertex", name)
    if len(v_lines) > MAX_VERTICES or len(vt_lines) > 3 * MAX_TRIANGLES:
        raise fail("too-large", "the mesh is too large", name, seen=f"{len(v_lines):,} vertices")
    announced = _announced(lines, kinds)
    _check_announced(announced.get("vertices", 0), len(v_lines), "vertices", name)

    rows, widths = _number_rows(context, v_lines, 1, least=3)
    vertices = np.stack([rows[widths.start + k] for k in range(3)], axis=1)
    colors = _obj_colors(rows, widths)
    if colors is None:
        colors = _polypaint(data, len(vertices))
    uv = None
    if len(vt_lines):
        rows, widths = _number_rows(context, vt_lines, 2, least=1)
        second = np.where(widths.number > 1, rows[np.minimum(widths.start + 1, len(rows) - 1)], 0.0)
        uv = np.stack([rows[widths.start], second], axis=1)

    if not len(f_lines):
        # texture coordinates alone serve nothing
        raise _no_triangle(name, len(vertices), cut=not ends_cleanly or bool(len(vt_lines)))
    faces, uv_faces, owner = _obj_faces(context, f_lines, v_lines, vt_lines)
    _check_announced(announced.get("faces", 0), max(len(f_lines), len(faces)), "faces", name)
    # a smaller number is of one of several objects, and says nothing of the last
    may_be_cut = announced.get("faces") not in (len(f_lines), len(faces))
    uv_absent = 0 if uv_faces is None else int((uv_faces == _ABSENT).any(axis=1).sum())
    check_vertices(
        vertices, name, faces, lambda k: f"line {v_lines[k] + 1}: {context.text_of(int(v_lines[k]))}"
    )
    if not ends_cleanly:
        _refuse_cut(len(vertices), faces, name)
    uv, uv_faces = _without_absent(uv, uv_faces)
    libraries, materials, face_material = _obj_materials(context, kinds, f_lines, owner)
    mesh = Mesh(
        vertices, faces.astype(np.int32), uv, None if uv_faces is None else uv_faces.astype(np.int32), colors
    )
    polygons = polygons_of(owner, np.bincount(owner) + 2)
    return MeshFile(
        mesh,
        libraries,
        materials,
        face_material,
        polygons=polygons,
        uv_absent=uv_absent,
        may_be_cut=may_be_cut,
    )


def _no_triangle(name: str, vertices: int, cut: bool) -> MeshFileError:
    """The error for a file of so many vertices that has no triangle, or was cut before its first."""
    reason, what = ("no-faces", "the file has vertices but no triangle")
    if cut:
        reason, what = ("truncated", "the file ends before its first triangle")
    return fail(reason, what, name, seen=f"{vertices:,} vertices")


def _refuse_cut(vertices: int, faces: Longs, name: str) -> None:
    """Raise where a file without a final newline leaves many of its vertices without a triangle (T, 3)."""
    used = np.zeros(vertices, bool)
    used[faces] = True
    unused = 1 - used.mean()
    if unused > TRUNCATED_UNUSED_SHARE:
        raise fail(
            "truncated",
            "the file ends in the middle of its triangles",
            name,
            seen=f"no final newline and {unused:.0%} of the vertices without a triangle",
        )


def _without_absent(uv: Floats | None, uv_faces: Longs | None) -> tuple[Floats | None, Longs | None]:
    """Texture coordinates (n, 2) and triangles (T, 3) of them; a triangle that lacks one has a last one, NaN.  None
    where no triangle has any."""
    if uv is None or uv_faces is None or not (uv_faces >= 0).any():
        return None, None
    if (uv_faces < 0).any():
        uv = np.concatenate([uv, np.full((1, 2), np.nan)])
        uv_faces = np.where((uv_faces < 0).any(axis=1, keepdims=True), len(uv) - 1, uv_faces)
    return uv, uv_faces


@dataclass(frozen=True)
class _Context:
    """What a message about an OBJ needs: file name, lines, whether the file ended with a newline."""

    name: str
    lines: _Lines
    ends_cleanly: bool

    def text_of(self, line: int) -> str:
        raw = self.lines.text[self.lines.start[line] : self.lines.end[line]].tobytes()
        return repr(raw[:60].decode("latin-1").strip())

    def bad_line(self, line: int, what: str) -> MeshFileError:
        """The error for a line that cannot be read: `truncated` when it is the file's unfinished last."""
        last = line == len(self.lines.start) - 1
        if last and not self.ends_cleanly:
            return fail(
                "truncated", "the file ends in the middle of a line", self.name, seen=self.text_of(line)
            )
        seen = f"line {line + 1}: {self.text_of(line)}"
        if re.search(r"\d,\d", seen):
            return fail(
                "bad-syntax", what, self.name, seen=seen, todo="Export it with decimal points, not commas."
            )
        return fail("bad-syntax", what, self.name, seen=seen)


def _split_lines(data: bytes, name: str) -> _Lines:
    """Lines of a text with every line end made `\\n`, blanks made spaces and continued lines joined."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"\\\n" in data:
        data = data.replace(b"\\\n", b"  ")
    if b"\t" in data or b"\v" in data or b"\f" in data:
        data = data.translate(bytes.maketrans(b"\t\v\f", b"   "))
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    data = data.rstrip(b"\n ") + b"\n"
    count = data.count(b"\n")
    if count > 2 * (MAX_VERTICES + MAX_TRIANGLES):
        raise fail("too-large", "the mesh is too large", name, seen=f"{count:,} lines")
    text = np.frombuffer(data, np.uint8)
    end = np.flatnonzero(text == _NEWLINE)
    start = np.concatenate([[0], end[:-1] + 1])
    for _ in range(_INDENTATION):  # skip it, a column at a time; few files have any
        indented = text[start] == _SPACE
        if not indented.any():
            return _Lines(text, start, end)
        start = start + indented
    seen = np.flatnonzero(text != _SPACE)
    return _Lines(text, seen[np.searchsorted(seen, start)], end)


def _line_kinds(lines: _Lines) -> Bytes:
    """(lines,) `v`, `t` (for vt), `f`, `#` or blank (skipped), or 0 for every other keyword."""
    text, start, _ = lines
    first = text[start]
    second = text[np.minimum(start + 1, len(text) - 1)]
    third = text[np.minimum(start + 2, len(text) - 1)]
    kinds = np.zeros(len(start), np.uint8)
    ends_here = (second == _SPACE) | (second == _NEWLINE)
    for letter in b"vf":
        kinds[(first == letter) & ends_here] = letter
    two = (first == b"v"[0]) & (second == b"t"[0]) & ((third == _SPACE) | (third == _NEWLINE))
    kinds[two] = b"t"[0]
    kinds[(first == b"v"[0]) & (second == b"n"[0])] = b"#"[0]  # normals are computed, never read
    kinds[(first == b"#"[0]) | (first == _NEWLINE)] = b"#"[0]
    return kinds


def _announced(lines: _Lines, kinds: Bytes) -> dict[str, int]:
    """How many vertices and faces the file says that it has, or a part of it: the largest number of each."""
    comments = np.flatnonzero((kinds == b"#"[0]) & (lines.text[lines.start] == b"#"[0]))
    if len(comments) > 2 * _ANNOUNCING:
        comments = np.concatenate([comments[:_ANNOUNCING], comments[-_ANNOUNCING:]])
    found: dict[str, int] = {}
    for line in comments:
        said = _ANNOUNCED.fullmatch(lines.text[lines.start[line] : lines.end[line]].tobytes())
        if said:
            what = "vertices" if (said["named"] or said["of"]).lower().startswith(b"vert") else "faces"
            found[what] = max(found.get(what, 0), int(said["n"] or said["m"]))
    return found


def _check_announced(announced: int, found: int, what: str, name: str) -> None:
    """A file that was cut between two lines looks whole but for this.

    Raises:
        MeshFileError: `truncated`.
    """
    if announced > found:
        raise fail(
            "truncated",
            f"the file has fewer {what} than a comment in it announces",
            name,
            seen=f"{found:,}",
            expected=f"{announced:,}",
            todo="Copy or export the frame again; if the file is whole, take the comment out of it.",
        )


class _Widths(NamedTuple):
    """Per line: where its numbers begin in the flat array, and how many they are."""

    start: Longs
    number: Longs


def _selected(lines: _Lines, which: Longs, keyword: int) -> Bytes:
    """The bytes of the chosen lines, newlines kept, with the first `keyword` bytes made blank."""
    begin = np.concatenate([[0], lines.end[:-1] + 1])[which]
    end = lines.end[which] + 1
    length = end - begin
    first = np.cumsum(length) - length + (lines.start[which] - begin)
    if len(which) and bool((begin[1:] == end[:-1]).all()):
        text = lines.text[begin[0] : end[-1]].copy()
    else:
        chosen = np.zeros(len(lines.end), bool)
        chosen[which] = True
        text = lines.text[np.repeat(chosen, np.diff(lines.end, prepend=-1))]
    for k in range(keyword):
        text[first + k] = _SPACE
    return text


def _tokens(text: Bytes) -> tuple[NDArray[np.bool_], Longs]:
    """Where tokens begin, per byte; and how many each line has."""
    blank = (text == _SPACE) | (text == _NEWLINE)
    begins = ~blank
    begins[1:] &= blank[:-1]
    ends = np.flatnonzero(text == _NEWLINE)
    return begins, _counts(np.flatnonzero(begins), np.concatenate([[-1], ends]))


def _counts(places: Longs, bounds: Longs) -> Longs:
    """(n,) how many of the places, in order, lie between each of the bounds (n + 1,) and the next.

    Files mostly have as many in every line, which is seen at once.
    """
    n = len(bounds) - 1
    each = len(places) // n if n and len(places) % n == 0 else 0
    if (
        each
        and bool((places[::each] > bounds[:-1]).all())
        and bool((places[each - 1 :: each] < bounds[1:]).all())
    ):
        return np.full(n, each)
    return np.diff(np.searchsorted(places, bounds))


_WINDOWS_NAN = re.compile(rb"-?1\.[#]\w+")
_TRAILING_COMMENT = re.compile(rb"#[^\n]*")


def _number_rows(context: _Context, which: Longs, keyword: int, least: int) -> tuple[Floats, _Widths]:
    """All numbers of the chosen lines in one array, and where each line's begin and how many it has."""
    text = _selected(context.lines, which, keyword)
    if (text == b"#"[0]).any():
        raw = _TRAILING_COMMENT.sub(b"", _WINDOWS_NAN.sub(b"nan", text.tobytes()))
        text = np.frombuffer(raw, np.uint8)
    _, count = _tokens(text)
    short = count < least
    if short.any():
        raise context.bad_line(int(which[np.argmax(short)]), "a line has too few numbers")
    numbers = parse_numbers(text.tobytes(), np.float64)
    if numbers is None or len(numbers) != int(count.sum()):
        raise context.bad_line(
            _first_bad(context, which, keyword), "a line holds something that is no number"
        )
    return numbers, _Widths(np.cumsum(count) - count, count)


def _first_bad(context: _Context, which: Longs, keyword: int) -> int:
    """The first of the lines that does not parse by itself, found by halving."""
    low, high = 0, len(which)
    while high - low > 1:
        middle = (low + high) // 2
        text = _selected(context.lines, which[low:middle], keyword)
        raw = _TRAILING_COMMENT.sub(b"", text.tobytes())
        numbers = parse_numbers(raw, np.float64)
        if numbers is None or len(numbers) != len(raw.split()):
            high = middle
        else:
            low = middle
    return int(which[low])


def _obj_colors(rows: Floats, widths: _Widths) -> NDArray[np.uint8] | None:
    """Colours after the coordinates: x y z r g b; in [0, 1] or, when one is above 1, in [0, 255]."""
    if int(widths.number.min()) < 6:
        return None
    colors = np.stack([rows[widths.start + k] for k in (3, 4, 5)], axis=1)
    return as_bytes(colors)


_MRGB = re.compile(rb"^#MRGB[ \t]+([0-9A-Fa-f]+)", re.MULTILINE)


def _polypaint(data: bytes, n_vertices: int) -> NDArray[np.uint8] | None:
    """Colours (n, 3) that ZBrush writes as comments: `#MRGB` and eight digits a vertex, mask, red, green, blue."""
    if b"#" not in data or b"#MRGB" not in data:  # the first is quicker, and says no of most files
        return None
    digits = b"".join(_MRGB.findall(data.replace(b"\r", b"\n")))
    if len(digits) != 8 * n_vertices:
        return None
    return np.frombuffer(bytes.fromhex(digits.decode()), np.uint8).reshape(-1, 4)[:, 1:].copy()


def _obj_faces(
    context: _Context, f_lines: Longs, v_lines: Longs, vt_lines: Longs
) -> tuple[Longs, Longs | None, Longs]:
    """Triangles (t, 3), their texture corners (t, 3) with -1 for none and `_ABSENT` for one that is not there, and the
    `f` line each came from (t,)."""
    text = _selected(context.lines, f_lines, 1)
    if (text == b"#"[0]).any():
        text = np.frombuffer(_TRAILING_COMMENT.sub(b"", text.tobytes()), np.uint8)
    slashes = text == _SLASH
    if slashes.any():
        # an absent index, `7//3` or `7/`, becomes 0, which OBJ never uses
        after = np.append(text[1:], _NEWLINE)
        absent = slashes & ((after == _SLASH) | (after == _SPACE) | (after == _NEWLINE))
        if absent.any():
            where = np.flatnonzero(absent) + 1
            text = np.insert(text, where, b"0"[0])
            slashes = text == _SLASH
    begins, corners = _tokens(text)
    short = corners < 3
    if short.any():
        raise context.bad_line(int(f_lines[np.argmax(short)]), "a face has fewer than three corners")
    if int(corners.sum()) - 2 * len(corners) > MAX_TRIANGLES:
        raise fail("too-large", "the mesh is too large", context.name, seen=f"{int(corners.sum()):,} corners")
    place = np.flatnonzero(begins)
    slash_place = np.flatnonzero(slashes)
    per_corner = 1 + _counts(slash_place, np.append(place, len(text)))
    spaced = text.copy()
    spaced[slashes] = _SPACE
    numbers = parse_numbers(spaced.tobytes(), np.int64)
    if numbers is None or len(numbers) != int(per_corner.sum()):
        raise context.bad_line(_first_bad_face(context, f_lines), "a face cannot be read")
    first = np.cumsum(per_corner) - per_corner
    line_of_corner = np.repeat(np.arange(len(f_lines)), corners)
    vertex, bad = _resolve(numbers[first], v_lines, f_lines, line_of_corner)
    if bad.any():
        at = int(np.argmax(bad))
        raise fail(
            "face-index",
            "a face names a vertex that is not there",
            context.name,
            seen=f"index {int(numbers[first][at])} in line {int(f_lines[line_of_corner[at]]) + 1}",
            expected=f"1 to {len(v_lines):,}",
        )
    texture: Longs | None = None
    if len(vt_lines) and (per_corner > 1).any():
        raw = np.where(per_corner > 1, numbers[np.minimum(first + 1, len(numbers) - 1)], 0)
        texture = np.full(len(raw), -1, np.int64)
        given = raw != 0
        named, absent = _resolve(raw[given], vt_lines, f_lines, line_of_corner[given])
        # costs the triangle its colour, not the frame its geometry
        texture[given] = np.where(absent, _ABSENT, named)
    corner, owner = triangulate_fans(corners)
    return vertex[corner], None if texture is None else texture[corner], owner


def _first_bad_face(context: _Context, f_lines: Longs) -> int:
    """Any line with a byte no face has, else the last."""
    text = _selected(context.lines, f_lines, 1)
    allowed = np.isin(text, np.frombuffer(b"0123456789-+/ \n", np.uint8))
    place = int(np.argmax(~allowed)) if not allowed.all() else len(text) - 1
    return int(f_lines[int(np.count_nonzero(text[:place] == _NEWLINE))])


def _resolve(
    index: Longs, defined: Longs, f_lines: Longs, line_of_corner: Longs
) -> tuple[Longs, NDArray[np.bool_]]:
    """One-based and negative (counted back from the face's own line) indices to zero-based ones, and which of them are
    not there."""
    zero_based = index - 1
    negative = index < 0
    if negative.any():
        seen_so_far = np.searchsorted(defined, f_lines[line_of_corner[negative]])
        zero_based[negative] = seen_so_far + index[negative]
    return zero_based, (zero_based < 0) | (zero_based >= len(defined)) | (index == 0)


def _obj_materials(
    context: _Context, kinds: Bytes, f_lines: Longs, owner: Longs
) -> tuple[tuple[str, ...], tuple[str, ...], Ints]:
    """mtllib names, material names in order of first use, and each triangle's material (t,), -1 without."""
    libraries: list[str] = []
    names: dict[str, int] = {}
    at, which = [-1], [-1]
    for line in np.flatnonzero(kinds == 0):
        raw = context.lines.text[context.lines.start[line] : context.lines.end[line]].tobytes()
        if not raw.startswith((b"mtllib", b"usemtl")):
            continue
        keyword, _, rest = raw.partition(b" ")
        value = decode_name(rest)
        if keyword == b"mtllib" and value and value not in libraries:
            libraries.append(value)
        elif keyword == b"usemtl":
            at.append(int(line))
            which.append(names.setdefault(value, len(names)))
    in_force = np.searchsorted(np.asarray(at), f_lines, side="right") - 1
    return tuple(libraries), tuple(names), np.asarray(which, np.int32)[in_force][owner]


_MAP_OPTION_ARGUMENTS = {
    b"-blendu": 1, b"-blendv": 1, b"-cc": 1, b"-clamp": 1, b"-imfchan": 1, b"-texres": 1, b"-bm": 1,
    b"-boost": 1, b"-type": 1, b"-colorspace": 1, b"-mm": 2, b"-o": 3, b"-s": 3, b"-t": 3,
}  # fmt: skip
MAX_MTL_BYTES = 4 << 20


class MaterialImage(NamedTuple):
    """The image of a material, and where on it a place (u, v) of the mesh lies: at scale * (u, v) + offset."""

    name: str
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)


def parse_mtl(data: bytes, name: str = "") -> dict[str, MaterialImage]:
    """Image per material of an MTL file: the last `map_Kd` (or, without one, `map_Ka`) of each.

    Of the options before the name `-s` and `-o` are read, and others (`-clamp on`) skipped, as is a scale that is 0 or
    no number; names may hold spaces.
    Materials without an image are not in the result.  Names are as written: it is for the caller to confine them.

    Raises:
        MeshFileError: `too-large`, or `bad-syntax` for a binary file.
    """
    if len(data) > MAX_MTL_BYTES:
        raise fail("too-large", "the material file is too large", name, seen=f"{len(data):,} bytes")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", errors="replace").encode()
    if b"\0" in data:
        raise fail("bad-syntax", "the material file is not text", name)
    data = data.removeprefix(b"\xef\xbb\xbf")
    diffuse: dict[str, MaterialImage] = {}
    ambient: dict[str, MaterialImage] = {}
    current = ""
    for raw in data.replace(b"\r", b"\n").replace(b"\\\n", b" ").split(b"\n"):
        words = raw.split(None, 1)
        if len(words) < 2:
            continue
        keyword = words[0].lower()
        if keyword == b"newmtl":
            current = decode_name(words[1])
        elif keyword in (b"map_kd", b"map_ka"):
            image = _with_options(words[1])
            if image.name:
                (diffuse if keyword == b"map_kd" else ambient)[current] = image
    return {**ambient, **diffuse}


def _with_options(value: bytes) -> MaterialImage:
    rest = value.strip()
    pairs = {b"-s": (1.0, 1.0), b"-o": (0.0, 0.0)}
    while rest.startswith(b"-"):
        option, rest = (*rest.split(None, 1), b"")[:2]
        count = _MAP_OPTION_ARGUMENTS.get(option.lower())
        if count is None:
            return MaterialImage(decode_name(value))  # a file name that begins with a dash
        numbers: list[float] = []
        for _ in range(count):
            word, tail = (*rest.split(None, 1), b"", b"")[:2]
            # -o, -s and -t take one to three numbers
            number = parse_numbers(word, np.float64) if count == 3 else None
            if count == 3 and number is None:
                break
            numbers += [] if number is None else number.tolist()
            rest = tail.strip()
        if option.lower() in pairs and numbers:
            u, v = [*numbers, pairs[option.lower()][1]][:2]  # of one number v keeps its own
            # a factor of 0 would put all of the mesh on one line of the image: it was left empty, and is no scale
            if np.isfinite([u, v]).all() and (option.lower() != b"-s" or (u and v)):
                pairs[option.lower()] = (u, v)
    return MaterialImage(decode_name(rest), pairs[b"-s"], pairs[b"-o"])


def obj_bytes(
    mesh: Mesh,
    *,
    decimals: int = 6,
    material_file: str | None = None,
    material: str = "texture",
    polygons: Ints | None = None,
) -> bytes:
    """A mesh as OBJ text: the same mesh gives the same bytes.

    Args:
        mesh: with `uv`, written as `vt`; with `colors`, as x y z r g b in [0, 1].
        decimals: digits after the point, of coordinates in the mesh's unit; texture coordinates get 6.
        material_file: MTL to name; `material`: the material in it.
        polygons: (t,) which polygon each triangle is of (`geometry.polygons`), to write these instead.
    """
    parts = [f"mtllib {material_file}\nusemtl {material}\n"] if material_file else []
    n = len(mesh.vertices)
    row = " ".join([f"%.{decimals}f"] * 3)
    values = mesh.vertices + 0.0  # no "-0"
    if mesh.colors is not None:
        row += " %.6f %.6f %.6f"
        values = np.concatenate([values, mesh.colors / 255.0], axis=1)
    parts.append((f"v {row}\n" * n) % tuple(values.ravel().tolist()))
    alone = np.arange(len(mesh.faces), dtype=np.int32)
    sizes, corner = rings(mesh.faces, alone if polygons is None else polygons, mesh.uv_faces)
    faces = mesh.faces.ravel()[corner].astype(np.int64) + 1
    one = "%d"
    if mesh.uv is not None and mesh.uv_faces is not None:
        parts.append(
            ("vt %.6f %.6f\n" * len(mesh.uv)) % tuple((np.nan_to_num(mesh.uv) + 0.0).ravel().tolist())
        )
        faces = np.stack([faces, mesh.uv_faces.ravel()[corner].astype(np.int64) + 1], axis=1)
        one = "%d/%d"
    line = {size: f"f {' '.join([one] * size)}\n" for size in np.unique(sizes).tolist()}
    parts.append("".join([line[size] for size in sizes.tolist()]) % tuple(faces.ravel().tolist()))
    return "".join(parts).encode()


def mtl_bytes(image_name: str, material: str = "texture") -> bytes:
    """A material file with one diffuse image."""
    return f"newmtl {material}\nKa 0 0 0\nKd 1 1 1\nillum 1\nmap_Kd {image_name}\n".encode()


def write_obj(path: Path, mesh: Mesh, image_name: str | None = None, decimals: int = 6) -> None:
    """Write an OBJ, and with `image_name` and texture coordinates the MTL beside it that names the image."""
    textured = image_name is not None and mesh.uv is not None
    library = path.with_suffix(".mtl").name if textured else None
    path.write_bytes(obj_bytes(mesh, decimals=decimals, material_file=library))
    if textured and image_name is not None:
        path.with_suffix(".mtl").write_bytes(mtl_bytes(image_name))
