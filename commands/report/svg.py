"""Drawings inside the page, as SVG, and how a number is written there."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike

from mimicme.pipeline.arrays import Floats

BINS = 24


def bin_edges(values: ArrayLike) -> Floats:
    """(`BINS` + 1,) the bounds of a histogram's bars, from the smallest of finite values (n,) to the largest."""
    data = np.asarray(values, np.float64)
    low, high = float(data.min()), float(data.max())
    if high <= low:
        high = low + max(abs(low), 1.0) * 1e-6
    return np.linspace(low, high, BINS + 1)


def histogram(values: ArrayLike, width: int = 180, height: int = 34, figure: str = "") -> Markup:
    """A small histogram as SVG, from the smallest value to the largest; of values that are all the same one bar that
    says so.

    Args:
        values: (n,) finite, at least one.
        width, height: of the bars, px; the two numbers below them come on top.
        figure: name of what is counted; each bar is then a link `#bar=<figure>/<place>`.
    """
    edges = bin_edges(values)
    low, high = float(edges[0]), float(edges[-1])
    role = "group" if figure else "img"  # the links of an image are not read out
    if not np.ptp(np.asarray(values, np.float64)):
        count = np.size(values)
        every = f"{format_number(low)}: " + ("1 frame" if count == 1 else f"all {count:,} frames")
        bar = f'<rect x="{(width - 8) / 2:.1f}" y="0" width="8" height="{height}"/>'
        around = f'<rect class="all" x="0" y="0" width="{width}" height="{height}"/>'
        one = _linked(bar, around, f"#bar={quote(figure)}/0" if figure else "", every)
        label = f'<text x="{width / 2:.0f}" y="{height + 11}" text-anchor="middle">{escape(every)}</text>'
        return mark_safe(f'<svg width="{width}" height="{height + 14}" role="{role}">{one}{label}</svg>')
    counts, _ = np.histogram(np.asarray(values, np.float64), edges)
    step, top = width / BINS, max(int(counts.max()), 1)
    # few of many are seen too
    heights = [max(height * c / top, 1.5) if c else 0.0 for c in counts]
    bars = "".join(
        _linked(
            f'<rect x="{i * step:.1f}" y="{height - h:.1f}" width="{step - 1:.1f}" height="{h:.1f}"/>',
            f'<rect class="all" x="{i * step:.1f}" y="0" width="{step:.1f}" height="{height}"/>',
            f"#bar={quote(figure)}/{i}" if figure else "",
            f"{format_number(float(edges[i]))} to {format_number(float(edges[i + 1]))}: {counts[i]} frames",
        )
        for i, h in enumerate(heights)
        if h
    )
    ends = f'<text x="0" y="{height + 11}">{format_number(low)}</text>'
    ends += f'<text x="{width}" y="{height + 11}" text-anchor="end">{format_number(high)}</text>'
    return mark_safe(f'<svg width="{width}" height="{height + 14}" role="{role}">{bars}{ends}</svg>')


def _linked(bar: str, around: str, href: str, said: str) -> str:
    """A bar with its words, and a link over its whole column where there is one."""
    title = f"<title>{escape(said)}</title>"
    return f'<a href="{escape(href)}">{title}{around}{bar}</a>' if href else f"<g>{title}{bar}</g>"


def curve(
    values: ArrayLike,
    rejected: ArrayLike,
    width: int = 220,
    height: int = 34,
    bounds: Iterable[float] = (),
) -> Markup:
    """A figure over the frames of a sequence as SVG: a line through those that have it, a red line for each rejected.

    A dashed line stands for each bound that is near enough to be shown.

    Args:
        values: (F,) NaN where there is none; rejected: (F,) whether a frame is.
        width, height: px.
        bounds: values of the figure at which something happens to a frame.
    """
    data, out = np.asarray(values, np.float64), np.asarray(rejected, bool)
    there = np.isfinite(data)
    step = width / max(len(data) - 1, 1)
    marks = "".join(
        f'<line x1="{i * step:.1f}" y1="0" x2="{i * step:.1f}" y2="{height}"/>' for i in np.flatnonzero(out)
    )
    shown = ""
    if there.any():
        low, high = float(data[there].min()), float(data[there].max())
        near = [at for at in bounds if low - (high - low) <= at <= high + (high - low)]
        low, high = min([low, *near]), max([high, *near])
        span = high - low
        for at in near:
            y = 2 + (height - 4) * (1 - ((at - low) / span if span else 0.5))
            shown += f'<line class="bound" x1="0" y1="{y:.1f}" x2="{width}" y2="{y:.1f}"/>'
        level = np.where(there, (data - low) / (span or 1.0) if span else 0.5, 0.0)
        for run in np.split(np.arange(len(data)), np.flatnonzero(np.diff(there)) + 1):
            if not len(run) or not there[run[0]]:
                continue
            points = [(i * step, 2 + (height - 4) * (1 - level[i])) for i in run]
            if len(points) == 1:
                shown += f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="1.5"/>'
            else:
                shown += f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'
    size = f'width="{width + 4}" height="{height}" viewBox="-2 0 {width + 4} {height}"'
    return mark_safe(f'<svg {size} role="img">{marks}{shown}</svg>')


def mark_safe(drawing: str) -> Markup:
    """Let a drawing stand in the page as it is; everything else there is escaped.

    Only for what this module has made of numbers.
    """
    return Markup(drawing)


def format_number(value: float | None) -> str:
    """Three significant digits, whole numbers from 1000 on; nothing for None."""
    if value is None:
        return ""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
