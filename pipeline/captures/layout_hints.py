"""What the names of mesh files say of a layout that depth alone does not tell: advice, never a decision.

S001/smile/frame_0001/model.obj     a folder for each frame
P01_smile_0001.obj                  subject, sequence and frame in one name
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable

from mimicme.pipeline.captures.frame_order import order_frames, without_sizes

Compile = Callable[[str], re.Pattern[str]]

_SEPARATORS = re.compile(r"[_. -]+")
_CAMERA = re.compile(
    r"(?:cam(?:era)?|view|pod|sensor|scanner|device|lod|left|right|front|cent(?:er|re))[ _-]?[0-9a-z]{0,2}",
    re.IGNORECASE,
)
"""What a folder of one of several cameras is called."""
_HALF = 0.5  # of the files must speak for a reading


def of_deep(files: list[str]) -> str:
    """What to do where files lie deeper than subject and sequence: which folder is which cannot be told by depth.

    Args:
        files: paths below the capture folder, all at one depth of three folders or more.
    """
    folders = files[0].split("/")
    between = "/".join(["*"] * (len(folders) - 3))
    first, last = (
        f"{{subject}}/{between}/{{sequence}}/{{frame}}.{{ext}}",
        f"{between}/{{subject}}/{{sequence}}/{{frame}}.{{ext}}",
    )
    told = ""
    if own := _folder_of_each_frame(files):
        told = (
            f"If a folder such as '{folders[-2]}' holds one frame: --layout '{own}', which takes '{folders[-4]}' for a "
            f"subject and '{folders[-3]}' for its sequence. Else say"
        )
    elif _CAMERA.fullmatch(folders[-2]):
        one = f"{'*/' * (len(folders) - 4)}{{subject}}/{{sequence}}/{folders[-2]}/{{frame}}.{{ext}}"
        told = (
            f"If '{folders[-2]}' is one of several cameras: --layout '{one}', which takes its scans alone; scans of "
            "several are not joined. Else say"
        )
    return (
        f"{told or 'Say'} which folder is the subject: --layout '{first}' takes '{folders[0]}' for one and "
        f"'{folders[-2]}' for its sequence, --layout '{last}' takes '{folders[-3]}'. A session between them is no part "
        "of the name: where two have a sequence of one name, rename its folder. Or name a folder nearer to the files "
        "with --captures."
    )


def _folder_of_each_frame(files: list[str]) -> str:
    """The layout where each folder holds one mesh and the folders of a sequence are numbered; else nothing."""
    parts = [name.rpartition("/") for name in files]
    if len({folder for folder, _, _ in parts}) < len(files):
        return ""
    frames: dict[str, list[str]] = defaultdict(list)
    for folder, _, _ in parts:
        above, _, own = folder.rpartition("/")
        frames[above].append(own)
    numbered = 0
    for own_names in frames.values():
        order = order_frames(own_names)
        if len(own_names) > 1 and not order.problem and len(set(order.numbers.values())) == len(own_names):
            numbered += len(own_names)
    if numbered <= _HALF * len(files):
        return ""
    stems = {name.rpartition(".")[0] for _, _, name in parts}
    stem = stems.pop() if len(stems) == 1 else "*"
    if re.search(r"[{}*]", stem):
        stem = "*"
    between = "*/" * (files[0].count("/") - 3)
    return f"{between}{{subject}}/{{sequence}}/{{frame}}/{stem}.{{ext}}"


def are_single_scans(names: list[str]) -> bool:
    """Whether files that have numbers are yet no frames: in their folders each has words of its own, as `1_neutral` and
    `2_smile`, and no times.

    Args:
        names: `folder/file` of each.
    """
    folders = _by_folder(names)
    single = sum(
        len(stems)
        for stems in folders.values()
        if len(stems) > 1
        and len({_words(stem) for stem in stems}) == len(stems)
        and not order_frames(stems).shape
    )
    return single > _HALF * len(names)


def of_sequences_together(names: list[str], compiled: Compile) -> str:
    """What to do where a folder has the frames of several sequences, `smile_0001` and `neutral_0001`; else nothing.

    A layout where one takes every file and numbers alone for frames, as it does not of `mouth_open_0` or `smile0`.

    Args:
        names: `folder/file` of each; compiled: makes a regular expression of a layout.
    """
    together = 0
    for stems in _by_folder(names).values():
        groups = Counter(map(_words, stems))
        if order_frames(stems).shape:
            continue  # times, some with AM and some with PM
        if len(groups) > 1 and 2 * sum(count > 1 for count in groups.values()) > len(groups):
            together += len(stems)
    if together <= _HALF * len(names):
        return ""
    mark = re.search(r"([_. -])[0-9]+\.[^.]*$", names[0])
    layout = f"{{subject}}/{{sequence}}{mark[1]}{{frame}}.{{ext}}" if mark else ""
    if layout and _counts(layout, names, compiled):
        how = f"--layout '{layout}'"
    else:
        how = "make a folder for each of them in that of the subject, with its files in it"
    return (
        f"Where the words in these names are the sequences: {how}. Where all files of a folder are one sequence: "
        "--layout '{subject}/{frame}.{ext}'."
    )


def _by_folder(names: list[str]) -> dict[str, list[str]]:
    """Names of files without their endings, by folder."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folder, _, own = name.rpartition("/")
        folders[folder].append(own.rpartition(".")[0])
    return folders


def _words(stem: str) -> str:
    """The letters of a name, without numbers, sizes and what stands between."""
    return re.sub(r"[\W\d_]+", " ", without_sizes(stem)).strip().casefold()


def _counts(layout: str, names: list[str], compiled: Compile) -> bool:
    """Whether a layout takes numbers alone for the frames of all names: its fields are as short as can be, so that of
    `mouth_open_1` it may take `mouth` for the sequence."""
    regex = compiled(layout)
    return all((match := regex.fullmatch(name)) and match["frame"].isdigit() for name in names)


def of_flat(names: list[str], compiled: Compile) -> str:
    """Why files that lie in one folder are hardly one subject each, with the layouts that may be meant; else nothing.

    Files whose names begin alike are several scans of a subject where that beginning has a number (`P01_smile_1`), or
    where what follows it, in words, comes again after other beginnings (`anna_smile`, `ben_smile`).  A beginning of all
    of them before words that are each once is the name of a scanner or of a set (`3dmd_anna`, `3dmd_ben`), unless its
    number stands at its end, as a subject's does.

    Args:
        names: of the files; compiled: makes a regular expression of a layout.
    """
    stems = [name.rpartition(".")[0] for name in names]
    begin = {stem: re.split(r"[_. -]", stem, maxsplit=1) for stem in map(without_sizes, stems)}
    split = [(parts[0], parts[1]) for parts in begin.values() if len(parts) == 2 and all(parts)]
    beginnings = Counter(first for first, _ in split)
    endings = Counter(rest for _, rest in split)
    alike = [
        (first, rest)
        for first, rest in split
        if beginnings[first] > 1
        and (re.search(r"[0-9]", first) or (endings[rest] > 1 and re.search(r"[^\W\d_]", rest)))
    ]
    if len(alike) <= _HALF * len(stems):
        return ""
    common = len(beginnings) == 1 and len(split) == len(begin) and not alike[0][0][-1].isdigit()
    if common and len({_words(rest) for _, rest in split}) == len(split):
        return ""
    one = next(stem for stem in stems if without_sizes(stem).startswith(alike[0][0]))
    numbered = bool(re.search(r"[_. -][0-9]+$", one)) and len(_SEPARATORS.split(one)) > 2
    marks = re.findall(r"[_. -]", one)
    layout = f"{{subject}}{marks[0]}{{sequence}}" + (f"{marks[-1]}{{frame}}" if numbered else "") + ".{ext}"
    how = f"--layout '{layout}'"
    if numbered and not _counts(layout, names, compiled):
        how = "make it a folder, with a folder in it for each of its sequences"
    return (
        f"Where '{alike[0][0]}' is the subject of '{one}': {how}. Where every file is a subject of its own: --layout "
        "flat."
    )
