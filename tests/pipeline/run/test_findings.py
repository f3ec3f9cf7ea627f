"""What is told of single frames, added up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from mimicme.pipeline.checkpoint import FrameStatus
from mimicme.pipeline.items import Item
from mimicme.pipeline.run.findings import by_kind, count_called_bad, new_findings, print_findings, sum_tallies
from mimicme.pipeline.run.progress import Console


@pytest.mark.parametrize(
    ("tallies", "told"),
    [
        (["3 read, 5 guessed", "2 read", "1 read, 4 guessed, 7 left"], "6 frames read, 9 guessed, 7 left"),
        (["1 from files beside them, 0 found"], "1 frame from files beside them, 0 found"),
        (["0 read, 1 found", "0 read, 10 found"], "0 frames read, 11 found"),
        (["", "no count"], ""),
        ([], ""),
    ],
)
def test_tallies_add_up(tallies: list[str], told: str) -> None:
    assert sum_tallies(tallies) == told


def test_what_a_person_called_bad_is_told_from_what_a_stage_rejects() -> None:
    bad = FrameStatus(False, "review", "", "a person who looked called this frame bad")
    other = FrameStatus(False, "no-face", "", "it says rejected it (review)")
    assert count_called_bad([bad, other, FrameStatus(True, "", "review", "a note"), bad]) == 2


def test_a_stage_tells_its_own_notes_alone() -> None:
    """Notes and sentences are handed on from stage to stage, joined to what was there."""
    of = {
        "read": {3: FrameStatus(True, "", "dark", "It is dark.")},
        "fit": {
            3: FrameStatus(True, "", "dark,torn", "It is dark. It is torn."),
            4: FrameStatus(True, "", "torn", "It is torn."),
            5: FrameStatus(False, "lost", "", "It is lost."),
        },
    }
    plan = SimpleNamespace(
        checkpoint=lambda stage, item: stage,
        index=SimpleNamespace(
            read=lambda stage: SimpleNamespace(flagged=True, flagged_frames=lambda: of[stage].items())
        ),
    )
    rejections, notes, called_bad = new_findings(
        plan, SimpleNamespace(name="fit", needs=("read",)), Item("S", "q")
    )
    assert rejections == ["S/q frame 5: fit rejected it (lost): It is lost."] and called_bad == 0
    assert notes == ["S/q frame 3: fit noted torn: It is torn.", "S/q frame 4: fit noted torn: It is torn."]


def test_sentences_of_a_kind_are_one() -> None:
    lines = [
        "S1/a frame 0: fit noted torn: It is torn by 3 mm.",
        "S1/a frame 1: fit noted torn: It is torn by 4 mm.",
        "S1/a frame 1: fit noted dark: It is dark.",
        "S2/b frame 7: fit noted torn: It is torn by 3 mm.",
        "S1/a: fit failed: 12 points of 'S1/a' are lost (S1/a/0003.obj)",
        "S2/b: fit failed: 7 points of 'S2/b' are lost (S2/b/0001.obj)",
        "S3/c: fit failed: nothing is there",
        "release: pack failed: no room",
    ]
    assert by_kind(lines) == [
        "3 frames (S1/a frame 0, S1/a frame 1, S2/b frame 7): fit noted torn: It is torn by 3 mm. (said of the first)",
        lines[2],
        f"2 sequences (S1/a, S2/b): fit failed: {lines[4].partition('failed: ')[2]} (said of the first)",
        lines[6],
        lines[7],
    ]


def test_kinds_are_capped(tmp_path: Path) -> None:
    said: list[str] = []
    print_findings(
        Console(None, said.append),
        "remarks",
        [f"S/q frame 0: fit noted n{k}: It." for k in range(30)],
        tmp_path,
    )
    assert len(said) == 22 and said[-1].startswith("  and 10 more: see `mimicme status")
