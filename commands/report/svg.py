"""Drawings inside the page, as SVG, and how a number is written there."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike


def histogram(values: ArrayLike, bins: int = 24, width: int = 180, height: int = 34) -> Markup:
    """A small histogram as SVG, from the smallest value to the largest.

    Args:
        values: (n,) finite, at least one.
        width, height: of the bars, px; the two numbers below them come on top.
    """
    data = np.asarray(values, np.float64)
    low, high = float(data.min()), float(data.max())
    if high <= low:
        high = low + max(abs(low), 1.0) * 1e-6
    counts, _ = np.histogram(data, bins, (low, high))
    step, top = width / bins, max(int(counts.max()), 1)
    bars = "".join(
        f'<rect x="{i * step:.1f}" y="{height - height * c / top:.1f}" width="{step - 1:.1f}" '
        f'height="{height * c / top:.1f}"/>'
        for i, c in enumerate(counts)
    )
    ends = f'<text x="0" y="{height + 11}">{format_number(low)}</text>' + (
        f'<text x="{width}" y="{height + 11}" text-anchor="end">{format_number(high)}</text>'
    )
    return mark_safe(f'<svg width="{width}" height="{height + 14}" role="img">{bars}{ends}</svg>')


def curve(values: ArrayLike, rejected: ArrayLike, width: int = 220, height: int = 34) -> Markup:
    """A figure over the frames of a sequence as SVG: a line through those that have it, a red line for each rejected.

    Args:
        values: (F,) NaN where there is none; rejected: (F,) whether a frame is.
        width, height: px.
    """
    data, out = np.asarray(values, np.float64), np.asarray(rejected, bool)
    there = np.isfinite(data)
    step = width / max(len(data) - 1, 1)
    marks = "".join(
        f'<line x1="{i * step:.1f}" y1="0" x2="{i * step:.1f}" y2="{height}"/>' for i in np.flatnonzero(out)
    )
    shown = ""
    if there.any():
        low, span = float(data[there].min()), float(np.ptp(data[there]))
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
