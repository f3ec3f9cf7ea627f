"""What lies among the captures and is not read: said once, in groups, with the format to save as."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mimicme.pipeline.errors import counted, listed
from mimicme.pipeline.landmarks import npy
from mimicme.pipeline.landmarks.files import EXTENSIONS as LANDMARK_ENDINGS
from mimicme.pipeline.landmarks.files import ending_of

MESHES = (
    *("off", "fbx", "dae", "3ds", "3mf", "x3d", "vtp"),
    *("usd", "usda", "usdc", "usdz", "abc", "blend", "tsb"),
)
"""Endings of meshes that are not read."""
_BY = {"tsb": "3dMD's own program", "fbx": "Blender, say", "blend": "Blender"}
"""What exports some of them."""

# files of whatever kind: of landmarks where they lie beside a frame under its name
_ANYTHING = (".csv", ".json", ".npy")
_LANDMARKS = tuple(ending for ending in LANDMARK_ENDINGS if ending not in _ANYTHING)
_LIKE_LANDMARKS = (".lmk", ".lmks", ".ldmk", ".lnd", ".lms", ".tps")  # by their ending alone
_TEXTS = (".txt", ".dat", ".xml")  # by their content, beside a frame
_BOXES = (".mat", ".npz", ".pkl", ".dta", ".xlsx", ".xls", ".ods")  # what they hold is not looked at
_LANDMARK_WORDS = re.compile(
    r"(?:^|[^a-z])(?:landmarks?|lmks?|ldmks?|keypoints?|kpts?|fiducials?|markups?|ibug|picked_?points)(?:$|[^a-z])"
)

_TABLES = (".xlsx", ".xls", ".ods")
_ARCHIVES = {".mat": "MATLAB", ".rda": "R", ".rdata": "R", ".rds": "R"}
_POSES = (".pse",)
_CLOUDS = (".pcd", ".xyz", ".asc", ".las", ".laz", ".e57", ".ptx")
_DEPTH = (".exr", ".pfm", ".dpt")
_PICTURES = (".png", ".tif", ".tiff", ".pgm")
_DEPTH_WORDS = re.compile(r"(?:^|[^a-z])(?:depth|disparity|range|zmap)(?:map|image)?(?:$|[^a-z])")
_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg", ".m4v", ".bag", ".oni")
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar", ".tar", ".tgz")
_VOLUMES = (".dcm", ".nii", ".nrrd", ".mha", ".mhd")
_ENDINGS = frozenset(
    (
        *(f".{ending}" for ending in MESHES),
        *(*LANDMARK_ENDINGS, *_LIKE_LANDMARKS, *_TEXTS, *_BOXES, *_TABLES),
        *(*_ARCHIVES, *_POSES, *_CLOUDS, *_DEPTH, *_VIDEOS, *_VOLUMES, *_PACKED),
    )
)

_SAMPLES = 8  # files of a kind whose content is looked at
_PEEK = 8 << 10  # bytes of each
_FEWEST_POINTS = 5


def matters(name: str) -> bool:
    """Whether a file that is no mesh of a format that is read may have to be spoken of, by its name."""
    ending = ending_of(name)
    if ending not in _ENDINGS and ending not in _PICTURES:
        return False
    if _base(name).startswith("~$"):  # the lock of a workbook that is open
        return False
    return ending in _ENDINGS or (ending in _PICTURES and _DEPTH_WORDS.search(_base(name)) is not None)


def remarks(root: Path, names: Sequence[str], meshes: Iterable[str]) -> list[str]:
    """Sentences about the files that are not read.

    Args:
        root: the capture folder, its real path; of some files below it the beginning is read.
        names: paths below it, in order; meshes: those of them that are read.
    """
    read = frozenset(meshes)
    unread = [name for name in names if name not in read]
    if not unread:
        return []
    frames = _Frames.of(read)
    doubles = _doubles(unread, frames)
    rest = [name for name in unread if name not in doubles and not _is_used(name, frames)]
    landmarks = _like_landmarks(root, rest, frames)
    taken = set(landmarks)
    others = [name for name in rest if name not in taken]
    tables = [name for name in others if ending_of(name) in _TABLES]
    return [
        *_unread_meshes(others, frames),
        *_told_doubles(doubles),
        *_stray(others, frames),
        *_landmarks(landmarks),
        *_arrays(root, others, frames),
        *_tables(tables),
        *_archives(others),
        *_group(others, _POSES, "file", "they hold the poses of BU-3DFE's uncut scans, which nothing needs"),
        *_group(others, _CLOUDS, "point cloud", "export surfaces, as OBJ, PLY, GLB or glTF"),
        *_depth(others),
        *_group(others, _VIDEOS, "video", "frames are meshes, as OBJ, PLY, GLB or glTF"),
        *_group(others, _PACKED, "archive or compressed file", "unpack what is in it, if that is captures"),
        *_group(others, _VOLUMES, "volume", "export their surfaces, as OBJ, PLY, GLB or glTF"),
    ]


class _Frames(NamedTuple):
    """Paths of the frames without their endings: of all, and of those whose ending is in capitals."""

    stems: frozenset[str]
    capitals: frozenset[str]

    @classmethod
    def of(cls, meshes: Iterable[str]) -> _Frames:
        parts = [os.path.splitext(name) for name in meshes]
        return cls(
            frozenset(stem for stem, _ in parts),
            frozenset(stem for stem, ending in parts if ending.isupper()),
        )

    def read(self, name: str) -> bool:
        """Whether a landmark file of this name is one that is looked for (`landmarks.files.endings_beside`)."""
        ending = ending_of(name)
        stem, written = name[: -len(ending)], name[-len(ending) :]
        return stem in self.stems and (written == ending or (stem in self.capitals and written.isupper()))


def _is_used(name: str, frames: _Frames) -> bool:
    """Whether it is a landmark file of a frame: in most captures most files, of which there is nothing to say."""
    return ending_of(name) in _LANDMARKS and frames.read(name)


def _doubles(names: Sequence[str], frames: _Frames) -> dict[str, str]:
    """Landmark files of a frame that differ from the one that is read by the letters of the ending alone, each with
    that one."""
    candidates: dict[str, tuple[str, ...]] = {}
    for name in names:
        ending = ending_of(name)
        stem, written = _stem(name), name[-len(ending) :]
        if ending not in _LANDMARKS or written == ending or stem not in frames.stems:
            continue
        capitals = (stem + ending.upper(),) if stem in frames.capitals and not written.isupper() else ()
        candidates[name] = (stem + ending, *capitals)  # in the order in which they are looked for
    if not candidates:
        return {}
    known = frozenset(names)
    return {
        name: next(other for other in before if other in known)
        for name, before in candidates.items()
        if not known.isdisjoint(before)
    }


def _base(name: str) -> str:
    """The name without folder and ending, in small letters."""
    return os.path.basename(name)[: -len(ending_of(name)) or None].lower()


def _stem(name: str) -> str:
    return name[: -len(ending_of(name)) or None]


def _unread_meshes(names: list[str], frames: _Frames) -> list[str]:
    """A sentence for each format of meshes, about those that are not exported yet: what a scanner leaves beside a mesh
    of its name, as 3dMD its `.tsb`, asks for nothing."""
    groups: dict[str, list[str]] = {}
    for name in names:
        if ending_of(name)[1:] in MESHES and _stem(name) not in frames.stems:
            groups.setdefault(ending_of(name), []).append(name)
    return [
        f"{len(group)} file{'s end' if len(group) > 1 else ' ends'} in {ending}, which is not read, for example "
        f"'{group[0]}'; export such meshes as OBJ, PLY, GLB or glTF"
        f"{f', with {_BY[ending[1:]]}' if ending[1:] in _BY else ''}."
        for ending, group in sorted(groups.items())
    ]


def _told_doubles(doubles: dict[str, str]) -> list[str]:
    if not doubles:
        return []
    pairs = [f"{name} beside {os.path.basename(read)}" for name, read in doubles.items()]
    verb = "differs" if len(pairs) == 1 else "differ"
    return [
        f"{counted(len(pairs), 'landmark file')} {verb} from the one that is read by the letters of the ending alone, "
        f"and {'is' if len(pairs) == 1 else 'are'} not used: {listed(pairs, 3)}. Keep the right one of the two."
    ]


def _stray(names: list[str], frames: _Frames) -> list[str]:
    """Sentences about landmark files that no frame will read."""
    unread = [name for name in names if ending_of(name) in _LANDMARKS and not frames.read(name)]
    told = [name for name in unread if _stem(name) in frames.stems]
    verb = "is" if len(told) == 1 else "are"
    said = [
        f"{counted(len(told), 'landmark file lies', 'landmark files lie')} beside a frame, but for the letters of the "
        f"ending, and {verb} not used: {listed(told, 3)}. Write the ending in small letters."
    ]
    stray = [name for name in unread if _stem(name) not in frames.stems]
    if not stray:
        return said if told else []
    what = "landmark file belongs" if len(stray) == 1 else "landmark files belong"
    return [
        *(said if told else []),
        f"{len(stray)} {what} to no frame and {'is' if len(stray) == 1 else 'are'} not used: {listed(stray, 3)}. "
        "One is read when it lies beside its frame under the frame's name, as '0012.ljson' beside '0012.obj'.",
    ]


def _beside(name: str, frames: _Frames) -> bool:
    """Whether a file lies beside a frame under its name, or one that begins with it (`0012_points`)."""
    stem = _stem(name)
    if stem in frames.stems:
        return True
    start = stem.rfind("/") + 1
    return any(stem[: start + at.start()] in frames.stems for at in re.finditer(r"[-_. ]", stem[start:]))


def _is_called_landmarks(name: str, frames: _Frames) -> bool:
    """Whether a file that is not read says landmarks by its ending or its name."""
    ending = ending_of(name)
    if ending in _ANYTHING and frames.read(name):
        return False
    worded = ending in (*_ANYTHING, *_TEXTS, *_BOXES) and _LANDMARK_WORDS.search(_base(name)) is not None
    return worded or ending in _LIKE_LANDMARKS


def _like_landmarks(root: Path, names: list[str], frames: _Frames) -> list[str]:
    """Files that look like landmarks in a format, or under a name, that is not read."""
    found: list[str] = []
    texts: dict[str, list[str]] = {ending: [] for ending in _TEXTS}
    for name in names:
        ending = ending_of(name)
        if _is_called_landmarks(name, frames) or (ending in _BOXES and _beside(name, frames)):
            found.append(name)
        elif ending in _TEXTS and _beside(name, frames):
            texts[ending].append(name)
    for group in texts.values():
        if _mostly(root, group, _has_points):
            found += group
    return sorted(found)


def _mostly(root: Path, names: list[str], holds: Callable[[bytes], bool]) -> bool:
    """Whether half of some of the files are what is asked."""
    some = names[:: max(1, len(names) // _SAMPLES)][:_SAMPLES]
    return bool(some) and 2 * sum(holds(_beginning(root, name)) for name in some) >= len(some)


def _beginning(root: Path, name: str) -> bytes:
    """The first bytes of a file below the capture folder; none where it leaves it or cannot be read."""
    real = os.path.realpath(root / name)
    if not Path(real).is_relative_to(root) or not os.path.isfile(real):
        return b""
    try:
        with open(real, "rb") as file:
            return file.read(_PEEK)
    except OSError:
        return b""


def _has_points(data: bytes) -> bool:
    """Whether a text is a list of points: rows that are alike and end in two or three numbers; or dlib's XML."""
    text = data.decode("utf-8", "replace")
    if text.lstrip().startswith("<"):
        return re.search(r"<part\b|<point\b|landmark", text, flags=re.IGNORECASE) is not None
    lines = text.splitlines()[: -1 if len(data) == _PEEK else None]
    rows = [re.split(r"[\s,;]+", line.strip()) for line in lines if line.strip() and not line.startswith("#")]
    widths = Counter(len(row) for row in rows if 2 <= len(row) <= 5 and all(map(_is_number, row[-2:])))
    if not widths:
        return False
    alike = widths.most_common(1)[0][1]
    return alike >= _FEWEST_POINTS and alike >= 0.8 * len(rows)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _landmarks(names: list[str]) -> list[str]:
    if not names:
        return []
    endings = Counter(ending_of(name) for name in names).most_common()
    counts = ", ".join(
        (f"{number} in {ending}" if k else f"{counted(number, 'file')} ending in {ending}")
        for k, (ending, number) in enumerate(endings)
    )
    one = len(names) == 1
    return [
        f"{counts} look{'s' if one else ''} like landmarks and {'is' if one else 'are'} not read, for example "
        f"'{names[0]}'; save {'it' if one else 'them'} as {', '.join(LANDMARK_ENDINGS[:-1])} or {LANDMARK_ENDINGS[-1]} "
        "beside the frames, under the frames' names"
        + ("; a .txt of plain rows x y z is a .pts: rename it." if ".txt" in dict(endings) else ".")
    ]


def _arrays(root: Path, names: list[str], frames: _Frames) -> list[str]:
    """A sentence about `.npy` files under frames' names that hold no landmarks."""
    beside = [name for name in names if ending_of(name) == ".npy" and frames.read(name)]
    if not beside or _mostly(root, beside, npy.is_landmarks):
        return []
    return [
        f"{counted(len(beside), 'file')} ending in .npy beside frames {'is' if len(beside) == 1 else 'are'} not read, "
        f"for example '{beside[0]}'; landmarks are arrays of {', '.join(map(str, npy.SHAPES))}."
    ]


def _tables(names: list[str]) -> list[str]:
    if not names:
        return []
    return [
        f"{counted(len(names), 'spreadsheet')} among the captures ({listed(names, 3)}): "
        f"{'it is' if len(names) == 1 else 'such a one is'} read only where --metadata or --expressions names it, as "
        "XLSX, CSV or TSV; save an .ods or .xls as one of these."
    ]


def _archives(names: list[str]) -> list[str]:
    """A sentence for each program whose saved variables lie there."""
    groups: dict[str, list[str]] = {}
    for name in names:
        if ending_of(name) in _ARCHIVES:
            groups.setdefault(_ARCHIVES[ending_of(name)], []).append(name)
    return [
        f"{counted(len(group), 'file')} of {program} ({', '.join(sorted({ending_of(name) for name in group}))}) "
        f"{'is' if len(group) == 1 else 'are'} not read, for example '{group[0]}'; write scans as OBJ or PLY, "
        "landmarks as .csv or .pts beside the frames."
        for program, group in sorted(groups.items())
    ]


def _depth(names: list[str]) -> list[str]:
    found = [
        name
        for name in names
        if ending_of(name) in _DEPTH or (ending_of(name) in _PICTURES and _DEPTH_WORDS.search(_base(name)))
    ]
    todo = "an rgbd.toml beside 16-bit PNG or .npy makes captures of them (docs/captures.md); or make surfaces of them"
    return _group(found, (*_DEPTH, *_PICTURES), "depth image", todo)


def _group(names: list[str], endings: tuple[str, ...], what: str, todo: str) -> list[str]:
    group = [name for name in names if ending_of(name) in endings]
    if not group:
        return []
    kinds = ", ".join(sorted({ending_of(name) for name in group}))
    verb = "is" if len(group) == 1 else "are"
    return [f"{counted(len(group), what)} ({kinds}) {verb} not read, for example '{group[0]}'; {todo}."]
