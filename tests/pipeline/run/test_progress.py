"""What a run says, and where it can say nothing any more."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

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


def test_a_pipe_that_is_full_just_now_loses_what_was_to_be_written_alone() -> None:
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    with open(writes, "w") as err:
        console = Console(err)
        console.say("x" * 1_000_000)
        console.say("lost")
        os.set_blocking(reads, False)
        while len(os.read(reads, 1_000_000)) == 1_000_000:
            pass
        console.say("told")
        assert os.read(reads, 1_000_000) == b"told\n"
    os.close(reads)


@pytest.mark.parametrize("at_once", [True, False])
def test_without_a_terminal_what_has_to_be_told_at_once_is(at_once: bool) -> None:
    err = io.StringIO()
    console = Console(err, at_once=at_once)
    for done in range(3):
        console.tell(f"{done}/3 sequences")
    assert err.getvalue() == "0/3 sequences\n" * at_once


def test_without_a_terminal_lines_come_as_often_as_the_console_was_made_for() -> None:
    for every_s, lines in ((-1.0, 3), (60.0, 0)):
        err = io.StringIO()
        console = Console(err, every_s=every_s)
        for done in range(3):
            console.tell(f"{done}/3 sequences")
        assert len(err.getvalue().splitlines()) == lines


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_file_stays_open_where_the_stream_is_none_of_the_system() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    before = open_files()
    Console(Broken()).say("lost")
    assert open_files() == before
