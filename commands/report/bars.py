"""The frames behind the bars of the histograms: a script for each figure, for report.js when a bar is clicked.

A page opened from the disk may load scripts and nothing else, so each file is a call with JSON in it.  Of a bar with
many frames the first `MOST` by value are listed; how many there are is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mimicme.commands.report.index import as_script
from mimicme.commands.report.records import ItemRecord
from mimicme.commands.report.svg import bin_edges
from mimicme.pipeline.whole_file import write_whole

FOLDER = "bars"
MOST = 200
_SAFE = re.compile(r"[A-Za-z0-9_]+")


def write_bars(output: Path, ranked: Sequence[ItemRecord]) -> None:
    """Write a file for each figure into `output`/bars, and remove those of figures that are no more.

    Args:
        ranked: in the order of the index: a frame is named by its sequence's row there.
    """
    folder = output / FOLDER
    names = sorted({name for record in ranked for frame in record.frames for name in frame.quality})
    written = set()
    for name in filter(_SAFE.fullmatch, names):
        text = as_script("report.bars", name, behind(name, ranked))
        path = folder / f"{name}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text)
        written.add(path)
    for path in folder.glob("*.js"):
        if path not in written:
            path.unlink()


def behind(name: str, ranked: Iterable[ItemRecord]) -> dict[str, list[object]]:
    """For a figure: `edges` of the bars, `counts`, and `frames` of each bar as row of the index, number and value."""
    found = [
        (row, frame.number, frame.quality[name])
        for row, record in enumerate(ranked)
        for frame in record.frames
        if name in frame.quality
    ]
    values = np.array([value for _, _, value in found])
    edges = bin_edges(values)
    counts, _ = np.histogram(values, edges)
    # as np.histogram has it: the last bar has its right edge too
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(counts) - 1)
    frames: list[list[list[float]]] = [[] for _ in counts]
    for k in np.argsort(-values, kind="stable").tolist():
        if len(frames[place[k]]) < MOST:
            row, number, value = found[k]
            frames[place[k]].append([row, number, float(f"{value:.4g}")])
    return {
        "edges": [float(f"{edge:.4g}") for edge in edges],
        "counts": counts.tolist(),
        "frames": list(frames),
    }
