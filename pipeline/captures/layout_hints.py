"""What the names of mesh files say of a layout that depth alone does not tell: advice, never a decision.

S001/smile/frame_0001/model.obj     a folder for each frame
P01_smile_0001.obj                  subject, sequence and frame in one name
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from mimicme.pipeline.captures.frame_order import order_frames, without_sizes

_SEPARATORS = re.compile(r"[_. -]+")
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


def of_flat(stems: list[str]) -> str:
    """Why files that lie in one folder are hardly one subject each, with the layouts that may be meant; else nothing.

    Files whose names begin alike are several scans of a subject where that beginning has a number (`P01_smile_1`), or
    where what follows it, in words, comes again after other beginnings (`anna_smile`, `ben_smile`).

    Args:
        stems: names of the files without ending.
    """
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
    one = next(stem for stem in stems if without_sizes(stem).startswith(alike[0][0]))
    numbered = bool(re.search(r"[_. -][0-9]+$", one)) and len(_SEPARATORS.split(one)) > 2
    marks = re.findall(r"[_. -]", one)
    layout = f"{{subject}}{marks[0]}{{sequence}}" + (f"{marks[-1]}{{frame}}" if numbered else "") + ".{ext}"
    return (
        f"Where '{alike[0][0]}' is the subject of '{one}': --layout '{layout}'. Where every file is a subject of its "
        "own: --layout flat."
    )
