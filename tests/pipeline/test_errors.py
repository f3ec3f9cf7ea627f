"""Counts with their nouns and verbs, and the exit status that an error stands for."""

from __future__ import annotations

import pytest

from mimicme.pipeline.errors import (
    CheckpointError,
    InputError,
    ReleaseError,
    UsageError,
    counted,
    exit_status,
    out_of,
)


def test_counts_agree_with_their_nouns_and_verbs() -> None:
    assert [counted(n, "frame") for n in (0, 1, 2_000)] == ["0 frames", "1 frame", "2,000 frames"]
    assert counted(1_500, "person is", "people are") == "1,500 people are"
    assert out_of(1_100, 1_200, "sequence") == "1,100 of 1,200 sequences"
    assert out_of(1, 1, "sequence", verbs=("is", "are")) == "1 of 1 sequence is"
    assert out_of(1, 6, "subject", verbs=("is", "are")) == "1 of 6 subjects is"
    assert out_of(0, 2, "person", "people", ("is", "are")) == "0 of 2 people are"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("x"), 2),
        (InputError("x"), 2),
        (CheckpointError("x"), 1),
        (ReleaseError("x"), 1),
        (MemoryError(), 1),
        (KeyError("x"), 1),
    ],
)
def test_a_damaged_result_and_what_was_not_foreseen_is_no_wrong_use(error: Exception, status: int) -> None:
    assert exit_status(error) == status
