"""Where captures lie: patterns such as `{subject}/{sequence}/{frame}.obj`, and the files that fit one.

A pattern is a path below the capture folder.  Fields stand for a part of one path component:

    {subject}    required; the person
    {sequence}   the sequence; without it every subject has one sequence named `scan`
    {frame}      the frame; its number are the digits that vary within the sequence, or its place in the order of the
                 times that its files' names carry (`frame_order`); no digits: 0
    {ext}        `obj`, `ply`, `glb` or `gltf`; in a sequence without any of these `wrl`, then `vtk`, then `stl`
    *            anything, inside one component

A pattern that ends in `rgbd.toml` is of recordings of depth cameras: its fields are those of the folders, and the
frames are the depth pictures that each of these files names (`recordings`).

A field that comes twice must read the same both times.  In the fixed parts, capital and small letters count
as equal.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from mimicme.pipeline.captures import layout_hints, unread
from mimicme.pipeline.captures.frame_order import FrameOrder, order_frames, without_sizes
from mimicme.pipeline.captures.recordings import Recording, find_recordings, without_recordings
from mimicme.pipeline.errors import ConfigError, InputError, counted, out_of
from mimicme.pipeline.rgbd.recipe import NAME as RECIPE

LAYOUTS = {
    "3dmd": "{subject}/{sequence}/{frame}.{ext}",
    "bu4dfe": "{subject}/{sequence}/{frame}.{ext}",
    "d3dfacs": "{subject}/{sequence}/{frame}.obj",
    "coma": "{subject}/{sequence}/{sequence}.{frame}.{ext}",
    "voca": "{subject}/{sequence}/{sequence}.{frame}.{ext}",
    "famos": "{subject}/{sequence}/{sequence}.{frame}.{ext}",
    "bp4d": "{subject}/{sequence}/{frame}.{ext}",
    "4dfab": "{subject}/{sequence}/{frame}.{ext}",
    "bu3dfe": "{subject}/{subject}_{sequence}_F3D.{ext}",
    "facescape": "{subject}/models_reg/{sequence}.{ext}",
    "headspace": "{subject}/{sequence}.{ext}",
    "flat": "{subject}.{ext}",
    "rgbd": f"{{subject}}/{{sequence}}/{RECIPE}",
}
"""Named layouts; `flat` is a folder of single scans: a subject per file, each one sequence of one frame."""

_TRIED = {"bu3dfe": re.compile(r".*_RAW\.\w+", re.IGNORECASE), "facescape": None}
"""Layouts that are told by the names of files and folders, before their depth; with the files that do not count then:
BU-3DFE has an uncut scan beside each."""

_RECORDED = (".png", ".npy", ".jpg", ".jpeg")
_RECORDING_DEPTHS = {1: f"{{subject}}/{RECIPE}", 2: LAYOUTS["rgbd"]}

EXTENSIONS = ("obj", "ply", "glb", "gltf", "wrl", "vrml", "vtk", "stl")
_KINDS = (("obj", "ply", "glb", "gltf"), ("wrl", "vrml"), ("vtk",), ("stl",))
"""Where a sequence has files of several of these, those of the first count: the others are copies, or cannot name an
image."""
ONLY_SEQUENCE = "scan"
MAX_NAME = 100
_SAFE = re.compile(rf"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{{0,{MAX_NAME - 1}}}")
_WILD = re.compile(r"([*?]|\[[^\]/]*\])")
_FIELDS = ("subject", "sequence", "frame", "ext")


class Found(NamedTuple):
    """One mesh file that fits the layout.

    Attributes:
        subject, sequence: as named on disk.
        number: the frame's number.
        path: absolute, below the capture folder.
        relative: the same below the capture folder, with `/`.
        time_s: seconds since the sequence's first frame by the times in its files' names; None: they carry none.
        recipe: `rgbd.toml` of the recording whose depth picture `path` is; None: it is a mesh.
    """

    subject: str
    sequence: str
    number: int
    path: Path
    relative: str
    time_s: float | None = None
    recipe: Path | None = None


@dataclass
class Search:
    """What a search found, and what it left out with the reason in words.

    Attributes:
        orders: how the frames of each sequence are numbered, by subject and sequence as named on disk.
    """

    pattern: str
    found: list[Found] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    orders: Mapping[tuple[str, str], FrameOrder] = field(default_factory=dict)


class _Named(NamedTuple):
    """What a file's name says by the layout; of a million files, the same texts are kept once."""

    subject: str
    sequence: str
    frame: str

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> _Named:
        sequence, frame = fields.get("sequence", ONLY_SEQUENCE), fields.get("frame", "")
        return cls(sys.intern(fields["subject"]), sys.intern(sequence), sys.intern(frame))


def safe_name(name: str) -> str:
    """A name that is safe for files and HDF5 groups.

    Made of `[A-Za-z0-9_.+-]`, without a leading dot, of at most 100 characters.
    The same name always gives the same answer; a safe name is returned as it is.
    """
    if _SAFE.fullmatch(name):
        return name
    safe = _spelled(name) or "_"
    if safe[0] == ".":
        safe = "_" + safe[1:]
    if len(safe) > MAX_NAME:
        safe = f"{safe[: MAX_NAME - 9]}-{sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    return safe


def safe_glob(glob: str) -> str:
    """A glob on `SUBJECT/SEQUENCE` that was written as folders are called, with both as `safe_name` has them.

    What matches any character stays: `*`, `?`, `[...]`.  A name without these is one that `safe_name` gives.
    """
    parts = glob.split("/", 1)
    return "/".join(
        "".join(p if k % 2 else _spelled(p) for k, p in enumerate(_WILD.split(part)))
        if _WILD.search(part)
        else (safe_name(part) if part else "")
        for part in parts
    )


def _spelled(name: str) -> str:
    """Each character of a name as `safe_name` has it."""
    parts = []
    for char in unicodedata.normalize("NFKD", name):
        if char.isascii():
            parts.append(char if char.isalnum() or char in "_.+-" else "_")
        elif not unicodedata.combining(char):
            parts.append(f"u{ord(char):04x}")
    return "".join(parts)


def pattern_of(layout: str) -> str:
    """The pattern of a named layout, or the pattern itself.

    Raises:
        ConfigError: neither a known name nor a usable pattern.
    """
    if layout.lower() in LAYOUTS:
        return LAYOUTS[layout.lower()]
    compile_pattern(layout)
    return layout


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern, for paths below the capture folder with `/` between components.

    Raises:
        ConfigError: an unknown field, no `{subject}`, an absolute path or one with `..`.
    """

    def wrong(what: str, seen: str) -> ConfigError:
        return ConfigError(
            what,
            where="captures.layout",
            seen=repr(seen),
            expected="a pattern like '{subject}/{sequence}/{frame}.obj' or one of " + ", ".join(LAYOUTS),
        )

    if "{" not in pattern:
        raise wrong("this is no layout", pattern)
    if pattern.startswith("/") or ".." in pattern.split("/") or "\\" in pattern:
        raise wrong("a layout is a path below the capture folder", pattern)
    text, seen = "", set()
    for part in re.split(r"(\{[^{}]*\}|\*)", pattern):
        if part == "*":
            text += "[^/]*"
        elif part.startswith("{") and part.endswith("}"):
            name = part[1:-1]
            if name not in _FIELDS:
                raise wrong(f"the layout has an unknown field '{part}'", pattern)
            if name in seen:
                text += f"(?P={name})"
            else:
                inner = "|".join(EXTENSIONS) if name == "ext" else "[^/]+?"
                text += f"(?P<{name}>{inner})"
            seen.add(name)
        else:
            text += re.escape(part)
    if "subject" not in seen:
        raise wrong("the layout has no {subject}", pattern)
    if pattern.rpartition("/")[2] == RECIPE and not {"frame", "ext"} & seen:
        return re.compile(text)
    if "ext" not in seen and not pattern.lower().endswith(tuple(f".{e}" for e in EXTENSIONS)):
        raise wrong("the layout names no mesh files", pattern)
    return re.compile(text, re.IGNORECASE)


def _all_files(root: Path) -> tuple[list[str], list[str]]:
    """Every file below `root` that may matter as sorted relative paths, and messages about what was left out.

    Hidden files and folders, workspaces (a folder that holds `mimicme.toml`), symbolic links that leave the
    folder are left out.
    """
    messages: list[str] = []
    return sorted(_walk(root, messages)), messages


def _ending(name: str) -> str:
    """As of `os.path.splitext`, of a path whose last name does not begin with a point."""
    own = name.rpartition("/")[2]
    return own[own.rfind(".") + 1 :].lower() if "." in own else ""


def _may_matter(name: str) -> bool:
    return _ending(name) in EXTENSIONS or name == RECIPE or unread.matters(name)


def _walk(root: Path, messages: list[str]) -> Iterator[str]:
    pending, seen = [("", str(root))], set()
    while pending:
        relative, real = pending.pop()
        folder = os.path.join(root, relative)
        if real in seen:  # a link to a folder that is read anyway, or a loop
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except OSError as error:
            messages.append(f"{relative or '.'}: the folder cannot be read ({error.strerror}).")
            continue
        if relative and any(e.name == "mimicme.toml" for e in entries):
            messages.append(f"{relative}: left out, it is a workspace.")
            continue
        before = f"{relative}/" if relative else ""
        for entry in entries:  # of a whole database a million
            own = entry.name
            if own[0] == ".":
                continue
            place = ""
            if entry.is_symlink():
                place = os.path.realpath(entry.path)
                if not Path(place).is_relative_to(root):
                    messages.append(f"{before}{own}: left out, the symbolic link leaves the capture folder.")
                    continue
            if entry.is_dir():
                pending.append((before + own, place or f"{real}/{own}"))
            elif _may_matter(own) and entry.is_file():
                yield before + own


def search(root: Path, layout: str = "") -> Search:
    """Find the captures below `root`.

    Args:
        root: the capture folder.
        layout: a pattern or a named layout; empty: found by trying, and said in `messages`.

    Raises:
        InputError: the folder is not there, or holds no file that fits.
        ConfigError: the layout itself is wrong.
    """
    if not root.is_dir():
        raise InputError(
            "the capture folder is not there",
            where=root,
            todo="Mount or copy it there, or change `root` in [captures] of mimicme.toml (`init`: --captures DIR).",
        )
    real_root = Path(os.path.realpath(root))
    names, messages = _all_files(real_root)
    files = [name for name in names if _ending(name) in EXTENSIONS]
    recipes = [name for name in names if name.rpartition("/")[2] == RECIPE]
    pattern = pattern_of(layout) if layout else ""
    folders = tuple(name.rpartition("/")[0] + "/" for name in recipes)
    beside = [
        name for name in files if recipes and not name.startswith(tuple(f for f in folders if f != "/"))
    ]
    if beside and not pattern and "/" not in folders:
        raise InputError(
            f"there are recordings of a depth camera ({RECIPE}) and meshes outside their folders",
            where=root,
            seen=f"{len(recipes)} recordings, such as {recipes[0]}, and {len(beside)} meshes, such as {beside[0]}",
            expected="captures of one kind",
            todo="Say which with --layout: rgbd, or the pattern of the meshes' paths; the others need a workspace of "
            "their own.",
        )
    if pattern.rpartition("/")[2] == RECIPE or (recipes and not pattern):
        return _recordings(real_root, pattern, recipes, files, messages, names)
    messages += unread.remarks(real_root, names, files)
    if not files:
        raise InputError(
            "there is no mesh that is read (OBJ, PLY, GLB, glTF, WRL, VTK, STL) in the capture folder, nor a "
            f"recording of a depth camera ({RECIPE})",
            where=root,
            todo=" ".join(messages) or None,
        )
    if not pattern:
        pattern, said = detect(files)
        messages.insert(0, said)
    regex = compile_pattern(pattern)
    fitting: list[tuple[str, _Named]] = []
    misfits = []
    for name in files:
        match = regex.fullmatch(name)
        if match is None:
            misfits.append(name)
        else:
            fitting.append((name, _Named.of(match.groupdict())))
    if "{ext}" in pattern:
        fitting = _of_first_kind(fitting, messages)
    orders = _orders(fields for _, fields in fitting)
    found = []
    for name, named in fitting:
        order = orders[named.subject, named.sequence]
        number, time_s = order.numbers[named.frame], order.times_s.get(named.frame)
        found.append(Found(named.subject, named.sequence, number, real_root / name, name, time_s))
    if not found:
        raise InputError(
            f"none of the {len(files)} mesh files fits the layout",
            where=root,
            seen=f"for example '{files[0]}'",
            expected=f"'{pattern}'",
            todo="Give the right pattern: `layout` in [captures] of mimicme.toml (`init`: --layout PATTERN).",
        )
    if misfits:
        do_not_fit = counted(len(misfits), "mesh file does not fit", "mesh files do not fit")
        verb = "is" if len(misfits) == 1 else "are"
        messages.append(
            f"{do_not_fit} the layout '{pattern}' and {verb} left out, for example '{misfits[0]}'."
        )
    return Search(pattern, found, messages, orders)


def _recordings(
    root: Path, pattern: str, recipes: list[str], meshes: list[str], messages: list[str], files: list[str]
) -> Search:
    """The recordings of depth cameras below the capture folder; meshes beside them are left out.

    Args:
        files: all of the folder, of which is said what is seen and not read.

    Raises:
        InputError: there is none that can be used.
    """
    if not pattern:
        depths = Counter(name.count("/") for name in recipes)
        depth = max(depths, key=lambda d: (depths[d], d))
        if depth not in _RECORDING_DEPTHS:
            raise InputError(
                f"the layout of the recordings is not clear: most {RECIPE} lie {depth} folders down",
                where=root,
                seen=f"for example '{recipes[0]}'",
                expected="one folder a subject, with one folder a sequence in it",
                todo=f"Give a layout such as --layout '*/{{subject}}/{{sequence}}/{RECIPE}'.",
            )
        pattern = _RECORDING_DEPTHS[depth]
        said = f"Layout '{pattern}', because {len(recipes)} {RECIPE} describe recordings of depth cameras."
        messages.insert(0, said)
    regex = compile_pattern(pattern)
    fields = {name: match.groupdict() for name in recipes if (match := regex.fullmatch(name))}
    if not fields:
        seen = f"for example '{recipes[0]}'" if recipes else f"no {RECIPE}"
        raise InputError(f"no {RECIPE} fits the layout", where=root, seen=seen, expected=f"'{pattern}'")
    recordings, said_of = find_recordings(root, list(fields))
    if not recordings:
        raise InputError("no recording can be used", where=root, todo=" ".join(said_of))
    used = [recording.recipe for recording in recordings]
    lost = set(without_recordings(files, used)) - set(without_recordings(files, recipes))
    # why the pictures of a recording that cannot be used are not read is said below
    unsaid = {name for name in lost if _ending(name) in _RECORDED}
    beside = [name for name in without_recordings(files, used) if name not in unsaid]
    messages += unread.remarks(root, beside, [])
    messages += said_of
    misfits = [name for name in recipes if name not in fields]
    for one, several, left in ((RECIPE, RECIPE, misfits), ("mesh file", "mesh files", meshes)):
        if left:
            messages.append(
                f"{counted(len(left), one, several)} left out, for example '{left[0]}': the captures are recordings of "
                f"depth cameras that fit '{pattern}'."
            )

    def names(recording: Recording) -> tuple[str, str]:
        own = fields[recording.recipe]
        return own["subject"], own.get("sequence") or ONLY_SEQUENCE

    fitting = [_Named(*names(recording), frame) for recording in recordings for frame in recording.frames]
    orders = _orders(fitting)
    found = []
    for recording in recordings:
        key = names(recording)
        orders[key], said_of = recording.timed(orders[key])
        messages += said_of
        order = orders[key]
        for frame, relative in recording.frames.items():
            number, time_s = order.numbers[frame], order.times_s.get(frame)
            found.append(Found(*key, number, root / relative, relative, time_s, root / recording.recipe))
    return Search(pattern, found, messages, orders)


def _of_first_kind(files: list[tuple[str, _Named]], messages: list[str]) -> list[tuple[str, _Named]]:
    """The files of each sequence that are of the first of `_KINDS` that it has; a sentence about the others."""

    kind_of = {ending: k for k, endings in enumerate(_KINDS) for ending in endings}
    kinds = [kind_of[_ending(name)] for name, _ in files]  # of a whole database a million
    if len(set(kinds)) < 2:
        return files
    first: dict[tuple[str, str], int] = {}
    for kind, (_, named) in zip(kinds, files, strict=True):
        key = named.subject, named.sequence
        first[key] = min(first.get(key, len(_KINDS)), kind)
    kept = [
        one for kind, one in zip(kinds, files, strict=True) if kind == first[one[1].subject, one[1].sequence]
    ]
    if len(kept) < len(files):
        taken = {name for name, _ in kept}
        others = [name for name, _ in files if name not in taken]
        endings = ", ".join(sorted({f".{_ending(name)}" for name in others}))
        verb = "is" if len(others) == 1 else "are"
        messages.append(
            f"{counted(len(others), 'mesh file')} ({endings}) {verb} left out, for example "
            f"'{others[0]}': the sequence has meshes of another format, which go first. A layout with that ending in "
            "place of {ext} takes the others."
        )
    return kept


def _orders(files: Iterable[_Named]) -> dict[tuple[str, str], FrameOrder]:
    """How the frames of each sequence are numbered; where little varies, the times of other sequences tell."""
    texts: dict[tuple[str, str], list[str]] = {}
    for named in files:
        texts.setdefault((named.subject, named.sequence), []).append(named.frame)
    known: dict[tuple[frozenset[str], tuple[str, ...], str], FrameOrder] = {}

    def order_of(key: tuple[str, str], shapes: frozenset[str] = frozenset()) -> FrameOrder:
        # of thousands of sequences many have the same names, and so one order
        same = shapes, tuple(texts[key]), key[1]
        if same not in known:
            known[same] = order_frames(texts[key], shapes, own=key[1])
        return known[same]

    orders = {key: order_of(key) for key in texts}
    shapes = frozenset(order.shape for order in orders.values() if order.shape)
    if shapes:
        for key, order in orders.items():
            if not order.shape:
                orders[key] = order_of(key, shapes)
    return orders


def detect(files: list[str]) -> tuple[str, str]:
    """Choose a pattern by the names of a database's files, else by the depth at which most mesh files lie.

    Returns:
        The pattern, and the decision as a sentence.

    Raises:
        InputError: most files lie deeper than any known layout, or together, several of a subject.
    """
    for layout, without in _TRIED.items():
        regex = compile_pattern(LAYOUTS[layout])
        fitting = sum(regex.fullmatch(name) is not None for name in files)
        if 2 * fitting > sum(without is None or not without.fullmatch(name) for name in files):
            named = out_of(fitting, len(files), "mesh file", verbs=("is named", "are named"))
            return LAYOUTS[layout], f"Layout '{LAYOUTS[layout]}', because {named} as in {layout}."
    depths = Counter(name.count("/") for name in files)
    depth = max(depths, key=lambda d: (depths[d], d))
    share = f"{depths[depth]} of {len(files)} mesh files lie"
    if depth == 0:
        own = [name for name in files if "/" not in name]
        if doubt := layout_hints.of_flat(own, compile_pattern):
            raise InputError(
                "the layout of the captures is not clear: the mesh files lie directly in the folder, and several seem "
                "to be of one subject",
                seen=", ".join(f"'{name}'" for name in own[:3]),
                todo=doubt,
            )
        pattern, why = LAYOUTS["flat"], "directly in the folder: one scan is one subject"
    elif depth == 1:
        own = [name for name in files if name.count("/") == 1]
        numbered = sum(bool(re.search(r"[0-9]", without_sizes(Path(name).stem))) for name in own)
        if together := layout_hints.of_sequences_together(own, compile_pattern):
            raise InputError(
                "the layout of the captures is not clear: in one folder several sequences seem to lie together",
                seen=f"for example '{own[0]}'",
                todo=together,
            )
        if 2 * numbered > len(own) and layout_hints.are_single_scans(own):
            pattern, why = (
                "{subject}/{sequence}.{ext}",
                "one folder down, each with words of its own beside its number: one scan a sequence",
            )
        elif 2 * numbered > len(own):
            pattern, why = (
                "{subject}/{frame}.{ext}",
                "one folder down and carry numbers: frames of one sequence",
            )
        else:
            pattern, why = (
                "{subject}/{sequence}.{ext}",
                "one folder down without numbers: one scan a sequence",
            )
    elif depth == 2:
        pattern, why = LAYOUTS["3dmd"], "two folders down: subject, sequence, frames"
    else:
        deep = [name for name in files if name.count("/") == depth]
        raise InputError(
            f"the layout of the captures is not clear: most mesh files lie {depth} folders down",
            seen=f"for example '{deep[0]}'",
            todo=layout_hints.of_deep(deep),
        )
    return pattern, f"Layout '{pattern}', because {share} {why}."
