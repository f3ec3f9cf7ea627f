"""Which frames the review shows, and what its sheets say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mimicme.pipeline.items import FrameSource, Item, Sequence
from mimicme.stages.landmarks.review import LEGEND, Entry, state, worst_first, worst_of_each

NEUTRALS = {Item("A", "neutral"), Item("B", "calm")}


def entry(name: str, number: int, confidence: float) -> Entry:
    item = Item(*name.split("/"))
    frames = tuple(FrameSource(k, Path(f"{k}.obj")) for k in range(9))
    return Entry(Sequence(item, item.sequence, item.sequence, frames), number, confidence, 0, "")


# worst first
ENTRIES = [
    entry("A/smile", 0, -1.0),
    entry("A/smile", 1, 0.1),
    entry("B/calm", 4, 0.2),
    entry("A/smile", 2, 0.3),
    entry("A/fear", 0, 0.4),
    entry("B/fear", 0, 0.5),
    entry("A/neutral", 7, 0.6),
    entry("A/neutral", 3, 0.7),
    entry("C/neutral", 0, 0.8),
    entry("C/smile", 0, 0.9),
]


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (1, ["B/calm 4", "A/neutral 7", "C/neutral 0"]),
        (2, ["A/smile 0", "B/calm 4", "B/fear 0", "A/neutral 7", "C/neutral 0", "C/smile 0"]),
        (
            3,
            ["A/smile 0", "A/smile 1", "B/calm 4", "B/fear 0", "A/neutral 7", "C/neutral 0", "C/smile 0"],
        ),
        (99, [e.name for e in ENTRIES]),
    ],
)
def test_the_neutral_is_always_shown(count: int, shown: list[str]) -> None:
    assert [e.name for e in worst_of_each(ENTRIES, NEUTRALS, count)] == shown


def test_the_sheet_explains_its_colours() -> None:
    assert LEGEND.splitlines()[:3] == ["blue: by hand", "red: found, unsure", "green: found, sure"]
    assert "yellow cross: disagrees with" in LEGEND


def test_frames_with_crosses_come_after_rejected_ones_and_before_unsure_ones() -> None:
    crossed = replace(entry("A/smile", 5, 0.97), crossed=(36, 50))
    worse = replace(entry("A/smile", 6, 0.98), crossed=(36, 50, 51))
    ordered = sorted([*ENTRIES, crossed, worse], key=worst_first)
    assert [e.name for e in ordered[:4]] == ["A/smile 0", "A/smile 6", "A/smile 5", "A/smile 1"]
    assert state(worse) == "confidence 0.98, 0 absent, 3 crossed"
