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
