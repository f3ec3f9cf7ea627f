"""What the logs of runs tell of costs."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path

import pytest

from mimicme.pipeline.errors import OutputError
from mimicme.pipeline.run.runlog import Cost, RunLog, read_costs


def line(event: str, item: str, cpu_s: float, **more: object) -> str:
    said = {"event": event, "stage": "fit", "item": item, "outcome": "done", "seconds": 2 * cpu_s}
    return json.dumps({**said, "cpu_s": cpu_s, "peak_mb": 100 * cpu_s, **more})


def log(folder: Path, *lines: str) -> Path:
    folder.mkdir()
    (folder / "log.jsonl").write_text("\n".join(lines))
    return folder


def test_costs_are_of_the_last_making_with_its_parts(tmp_path: Path) -> None:
    first = log(
        tmp_path / "1",
        line("item", "S1/a", 5),
        line("part", "S1/long", 3, part="part 1 of 2"),
        line("item", "S1/old", 9),
        "{ half a li",
        "17",
        line("item", "S1/failed", 4, outcome="failed"),
    )
    older = json.dumps({"event": "item", "stage": "fit", "item": "S1/old", "outcome": "done", "seconds": 1})
    second = log(
        tmp_path / "2",
        line("item", "S1/a", 1),
        line("part", "S1/long", 4, part="part 2 of 2"),
        line("item", "S1/long", 1),
        older,
    )
    found = read_costs([first, second, tmp_path / "none"])
    assert found == {("fit", "S1/a"): Cost(2, 1, 100), ("fit", "S1/long"): Cost(16, 8, 400)}


def test_what_nobody_timed_has_no_cost(tmp_path: Path) -> None:
    untimed = {"event": "item", "stage": "fit", "item": "S1/a", "outcome": "done"}
    part = {**untimed, "event": "part", "item": "S1/long", "part": "part 2 of 2"}
    one = log(
        tmp_path / "1",
        line("item", "S1/a", 5),
        json.dumps(untimed),
        line("part", "S1/long", 3, part="part 1 of 2"),
        json.dumps(part),
        line("item", "S1/long", 1),
        line("item", "S1/b", 2),
    )
    assert read_costs([one]) == {("fit", "S1/b"): Cost(4, 2, 200)}
    two = log(tmp_path / "2", line("item", "S1/long", 7))  # in one piece: of the parts it has none
    assert read_costs([one, two])["fit", "S1/long"] == Cost(14, 7, 700)


def test_a_full_disk_is_said_and_the_log_can_be_closed(tmp_path: Path) -> None:
    log = RunLog(tmp_path, "", ())
    log.write("begin", stages=[])
    log._handle.close()
    log._handle = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - closed by `close`
    with pytest.raises(OutputError, match="log.jsonl: the file cannot be written; .*Make room on that disk"):
        log.write("item", outcome="done")
    log.close()
    (whole,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(whole)["event"] == "begin"
    assert not list(tmp_path.glob(".*.tmp"))


class Filling(io.BytesIO):
    """Takes so many bytes, and then none until there is room again."""

    room = 0

    def write(self, data: object) -> int:
        given = bytes(data)[: self.room]
        if not given:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(given)
        return super().write(given)


def test_after_half_a_line_the_next_event_has_a_line_of_its_own(tmp_path: Path) -> None:
    log = RunLog(tmp_path, "", ())
    log._handle.close()
    log._handle = disk = Filling()
    for room in (20, 0, 1, 10_000):
        disk.room = room
        if room < 10_000:
            with pytest.raises(OutputError):
                log.write("item", outcome="done")
        else:
            log.write("error", message="the disk is full")
            log.write("end")
    half, *empty, error, end = disk.getvalue().decode().splitlines()
    assert len(half) == 20 and not any(empty)
    assert [json.loads(line)["event"] for line in (error, end)] == ["error", "end"]
