"""Curves, bars, confusion matrices and scatter plots as PNG, and the tables they were drawn from as CSV.

Drawn with matplotlib's own canvas, without pyplot: no display is asked for, nothing global is changed, and equal
figures give equal bytes with the same version of matplotlib.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.whole_file import write_whole

COLORS = ("#1f5fa8", "#d1652b", "#2f8f5b", "#8a4fa3", "#b8a21f", "#5a5a5a")
DPI = 110
_INK = "#303030"


@dataclass(frozen=True)
class Curve:
    """A line with its interval: x (P,), band (3, P) as value, low, high; NaN ends draw no interval."""

    name: str
    x: NDArray[Any]
    band: Floats


def make_folder(output: Path) -> None:
    """Make the folder for tables and plots.

    Raises:
        InputError: it cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("the folder cannot be made", where=output, seen=error.strerror) from error


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV; numbers with six significant digits, empty where there is no value."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows([_cell(value) for value in row] for row in rows)
    write_whole(path, text.getvalue().encode())


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if np.isfinite(value) else ""
    return str(value)


def curve_panels(
    path: Path, panels: Mapping[str, Sequence[Curve]], xlabel: str, ylabel: str, *, top: float | None = None
) -> None:
    """One panel of curves beside the other.  `top`: the end of the y axis, where it is known."""
    figure = _figure(4.2 * len(panels), 3.6)
    for k, (title, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), k + 1)
        for color, curve in zip(_cycle(len(curves)), curves, strict=True):
            value, low, high = curve.band
            axes.plot(curve.x, value, color=color, marker="o", markersize=3, label=curve.name, linewidth=1.4)
            if np.isfinite(low).any():
                axes.fill_between(curve.x, low, high, color=color, alpha=0.2, linewidth=0)
        axes.set_ylim(0, top)
        axes.xaxis.get_major_locator().set_params(integer=True)
        _label(axes, title, xlabel, ylabel if k == 0 else "")
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def bar_chart(
    path: Path,
    names: Sequence[str],
    groups: Mapping[str, Floats],
    ylabel: str,
    lines: Mapping[str, float] | None = None,
) -> None:
    """Bars (3, n) with their intervals, one group of bars a name; `lines`: levels to compare with."""
    figure = _figure(max(4.0, 1.2 + 0.42 * len(names) * len(groups)), 3.6)
    axes = figure.add_subplot()
    width = 0.8 / len(groups)
    for k, (color, (label, band)) in enumerate(zip(_cycle(len(groups)), groups.items(), strict=True)):
        at = np.arange(len(names)) + (k - (len(groups) - 1) / 2) * width
        axes.bar(at, band[0], width * 0.92, color=color, label=label)
        known = np.isfinite(band[1])
        reach = np.maximum(np.abs(band[1:] - band[0])[:, known], 0)
        axes.errorbar(at[known], band[0][known], reach, fmt="none", ecolor=_INK, elinewidth=1, capsize=2)
    for style, (label, level) in zip(("--", ":", "-."), (lines or {}).items(), strict=False):
        axes.axhline(level, color=_INK, linestyle=style, linewidth=1, label=label)
    axes.set_xticks(
        np.arange(len(names)),
        names,
        rotation=30 if len(names) > 3 else 0,
        ha="right" if len(names) > 3 else "center",
    )
    _label(axes, "", "", ylabel)
    if len(groups) > 1 or lines:
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _save(figure, path)


def confusion_chart(path: Path, names: Sequence[str], counts: NDArray[np.int64], title: str) -> None:
    """A confusion matrix: rows are the true classes, shares of a row as shade and per cent."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.9 + 0.42 * len(names)
    figure = _figure(side + 0.6, side)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(*shares.shape):
        if counts[i, j]:
            color = "white" if shares[i, j] > 0.55 else _INK
            axes.text(j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", fontsize=8, color=color)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    _label(axes, title, "said", "true")
    axes.grid(False)
    _save(figure, path)


def scatter_chart(
    path: Path, x: Floats, y: Floats, xlabel: str, ylabel: str, title: str, level: float | None = None
) -> None:
    """Points against the line x = y; `level`: the constant prediction to compare with, as a line."""
    figure = _figure(4.2, 4.0)
    axes = figure.add_subplot()
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    axes.plot([low, high], [low, high], color=_INK, linewidth=1)
    if level is not None:
        axes.axhline(level, color=_INK, linestyle=":", linewidth=1)
    axes.scatter(x, y, s=14, color=COLORS[0], alpha=0.7, linewidth=0)
    _label(axes, title, xlabel, ylabel)
    _save(figure, path)


def _cycle(n: int) -> list[str]:
    return [COLORS[k % len(COLORS)] for k in range(n)]


def _figure(width: float, height: float) -> Any:
    """An empty figure, inches, with matplotlib's file-only canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _label(axes: Any, title: str, xlabel: str, ylabel: str) -> None:
    axes.set_title(title, fontsize=10, color=_INK)
    axes.set_xlabel(xlabel, fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(True, linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _save(figure: Any, path: Path) -> None:
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    write_whole(path, data.getvalue())
