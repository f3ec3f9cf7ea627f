"""What a run says, and where it can say nothing any more."""

from __future__ import annotations

import sys

import pytest

from mimicme.pipeline.run.progress import Console


def test_what_cannot_be_said_is_lost_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a terminal that was closed, or a full disk below what standard error was sent to."""
    with open("/dev/full", "w") as err, open("/dev/full", "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        console = Console(err, lambda text: print(text, flush=True), live=True)
        for _ in range(2):
            console.draw("ingest: 1 of 2 sequences", now=True)
            console.say("Template prepared.")
            console.result("stage  done")
            console.clear()
    # and closing the streams, which hold what was not written, failed neither
