"""What is told of single frames, added up."""

from __future__ import annotations

import pytest

from mimicme.pipeline.run.findings import sum_tallies


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
