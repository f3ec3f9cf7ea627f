"""Recordings of depth cameras among the captures: which depth pictures `rgbd.toml` names, and their time stamps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mimicme.pipeline.captures.frame_order import FrameOrder, frame_number, natural_key
from mimicme.pipeline.captures.name_times import SECOND, fps_of, step_of
from mimicme.pipeline.errors import FrameRejected, InputError
from mimicme.pipeline.rgbd.recipe import (
    FRAME,
    MAX_BYTES,
    MAX_TIMES_BYTES,
    Files,
    read_recipe,
    read_times,
)
from mimicme.pipeline.sources import Sources

_RESOLUTION_NS = 1_000_000
"""Of time stamps: recorders write milliseconds at least."""


@dataclass(frozen=True)
class Recording:
    """One sequence of a depth camera.

    Attributes:
        recipe: its `rgbd.toml`, below the capture folder.
        frames: depth picture of the first view, below the capture folder, by the part that stands for `{frame}`.
        times_s: time stamp by what its file calls a frame; empty: there is no such file.
    """

    recipe: str
    frames: Mapping[str, str]
    times_s: Mapping[str, float]

    def timed(self, order: FrameOrder) -> tuple[FrameOrder, list[str]]:
        """The order of its frames with the times of its file of time stamps, and what is wrong with them."""
        if not self.times_s:
            return order, []
        by_number = {frame_number(name): seconds for name, seconds in self.times_s.items()}
        times = {frame: self.times_s.get(frame, by_number.get(order.numbers[frame])) for frame in self.frames}
        known = {frame: seconds for frame, seconds in times.items() if seconds is not None}
        if not known:
            return order, [f"{self.recipe}: its time stamps name none of its frames and are not used."]
        in_order = sorted(known, key=lambda frame: order.numbers[frame])
        ns = [round((known[frame] - known[in_order[0]]) * SECOND) for frame in in_order]
        if any(b <= a for a, b in zip(ns, ns[1:], strict=False)):
            return order, [f"{self.recipe}: its time stamps do not grow with its frames and are not used."]
        numbers = [order.numbers[frame] for frame in in_order]
        step = step_of(ns, numbers, _RESOLUTION_NS)
        said = []
        if len(known) < len(times):
            lacking = next(frame for frame in times if times[frame] is None)
            said.append(
                f"{self.recipe}: {len(times) - len(known)} of its frames have no time stamp, for example '{lacking}'."
            )
        return (
            replace(
                order,
                times_s={frame: k / SECOND for frame, k in zip(in_order, ns, strict=True)},
                fps=fps_of(ns, numbers, _RESOLUTION_NS),
                step_s=None if step is None else step / SECOND,
                resolution_s=_RESOLUTION_NS / SECOND,
            ),
            said,
        )


def find_recordings(root: Path, recipes: Iterable[str]) -> tuple[list[Recording], list[str]]:
    """The recordings that can be used, and sentences about the others.

    Args:
        root: the capture folder, its real path; recipes: every `rgbd.toml` below it that counts.
    """
    found, problems = [], []
    sources = Sources(root)
    for name in recipes:
        try:
            found.append(_recording(root, name, sources))
        except (FrameRejected, InputError) as error:
            problems.append(f"{name}: {_sentence(error)}")
    if len(problems) > 1:
        problems = [f"{problems[0]} It is left out, and so are {len(problems) - 1} others like it."]
    elif problems:
        problems = [f"{problems[0]} It is left out."]
    return found, problems


def without_recordings(names: Iterable[str], recipes: Iterable[str]) -> list[str]:
    """The files that are no part of a recording."""
    folders = tuple(recipe.rpartition("/")[0] for recipe in recipes)
    within = {f"{folder}/" for folder in folders if folder}

    def is_within(name: str) -> bool:
        parts = name.split("/")
        return "" in folders or any("/".join(parts[:k]) + "/" in within for k in range(1, len(parts)))

    return [name for name in names if not is_within(name)]


def _sentence(error: FrameRejected | InputError) -> str:
    text = str(error)
    return text.partition(": ")[2] if error.where is not None else text


def _recording(root: Path, name: str, sources: Sources) -> Recording:
    recipe = read_recipe(sources.read(root / name, MAX_BYTES), name)
    folder = name.rpartition("/")[0]
    frames = _frames(root, folder, recipe.views[0].depth.files, sources)
    if not frames:
        files = recipe.views[0].depth.files.name(FRAME)
        raise InputError("it names no depth picture that is there", where=name, seen=repr(files))
    times: dict[str, float] = {}
    if recipe.times:
        times = read_times(sources.read(root / folder / recipe.times, MAX_TIMES_BYTES), recipe.times)
    return Recording(name, frames, times)


def _frames(root: Path, folder: str, files: Files, sources: Sources) -> dict[str, str]:
    """Depth pictures below the capture folder by the part of their names that stands for `{frame}`."""
    place = "/".join(part for part in (folder, files.folder) if part)
    real = sources.inside(root / place)
    try:
        with os.scandir(real) as entries:
            named = {entry.name: entry for entry in entries if not entry.name.startswith(".")}
    except OSError:
        return {}
    frames = {}
    for own, entry in named.items():
        frame = files.frame(own)
        link_out = entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(sources.root)
        if frame is not None and not link_out and entry.is_file():
            frames[frame] = f"{place}/{own}" if place else own
    return {frame: frames[frame] for frame in sorted(frames, key=lambda text: (natural_key(text), text))}
