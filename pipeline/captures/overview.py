"""A catalogue as a table for people: what `mimicme init --dry-run` prints."""

from __future__ import annotations

import math

from mimicme.pipeline import items
from mimicme.pipeline.captures.catalogue import Catalogue
from mimicme.pipeline.captures.sequence_remarks import EACH, Gap, gaps


def overview(catalogue: Catalogue, fps: float) -> list[str]:
    """A line a sequence: frames, their numbers, what is missing, files that claim one frame, rate and length.

    Which frames are missing stands here only where the catalogue's messages do not say it of each sequence.

    Args:
        fps: the frame rate that is declared; NaN: none.
    """
    unlabelled = catalogue.unlabelled
    rows = [("sequence", "shows", "frames", "numbers", "missing", "claimed twice", "fps", "seconds")]
    missing = {s.item: gaps(s.frames, catalogue.orders.get(s.item)) for s in catalogue.sequences}
    told = sum(map(bool, missing.values())) <= EACH
    for sequence in catalogue.sequences:
        shows = sequence.expression
        if catalogue.neutral.get(sequence.item.subject) == sequence.item:
            shows += (
                " (the neutral)"
                if sequence.item.subject not in unlabelled
                else " (the neutral, or a calmer one)"
            )
        rows.append(
            (
                str(sequence.item),
                shows,
                str(len(sequence.frames)),
                _numbers(sequence),
                _missing(missing[sequence.item], told),
                str(sum(bool(frame.duplicates) for frame in sequence.frames) or "-"),
                _rate(sequence, fps),
                _seconds(sequence, fps),
            )
        )
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _numbers(sequence: items.Sequence) -> str:
    first, last = sequence.frames[0].number, sequence.frames[-1].number
    return str(first) if first == last else f"{first} to {last}"


def _missing(found: list[Gap], told: bool) -> str:
    """How many frames are missing; `told`: which ones is said elsewhere."""
    if not found or told:
        return str(sum(gap.frames for gap in found) or "-")
    more = f", ... in {len(found)} places" if len(found) > 2 else ""
    return f"{sum(gap.frames for gap in found)}: {', '.join(gap.text for gap in found[:2])}{more}"


def _rate(sequence: items.Sequence, fps: float) -> str:
    rate = sequence.fps(fps)
    if math.isnan(rate):
        return "?"
    return f"{rate:.4g}" if math.isfinite(fps) else f"{rate:.4g} (times)"


def _seconds(sequence: items.Sequence, fps: float) -> str:
    last = max(sequence.times(fps), default=math.nan)
    return "?" if math.isnan(last) else f"{last:.3f}"
