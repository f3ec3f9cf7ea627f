"""What is told of single frames, added up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mimicme.pipeline.checkpoint import FrameStatus
from mimicme.pipeline.items import Item
from mimicme.pipeline.run.findings import new_findings, sum_tallies


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
    rejections, notes = new_findings(plan, SimpleNamespace(name="fit", needs=("read",)), Item("S", "q"))
    assert rejections == ["S/q frame 5: fit rejected it (lost): It is lost."]
    assert notes == ["S/q frame 3: fit noted torn: It is torn.", "S/q frame 4: fit noted torn: It is torn."]
