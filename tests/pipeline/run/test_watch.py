"""A run followed from another terminal, and how long it will take yet."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_runs import LONG, child, cut, go, wait_for

from mimicme.pipeline.run.forecast import Ahead, ahead, read_rates, records_of
from mimicme.pipeline.run.progress import colored
from mimicme.pipeline.run.watch import LogReader, Seen, watch
from mimicme.pipeline.workspace import Workspace

TIME = "2026-11-29T12:00:{:02d}.000+00:00"
BEGAN = 1795953600.0
"""12:00:00 of that day, in seconds since the epoch."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class OneRun:
    """A workspace whose run holds it so many times that it is asked."""

    def __init__(self, folder: Path, held: int) -> None:
        self._folder, self._held = folder, held

    def running_process(self) -> str | None:
        self._held -= 1
        return "process 7 on here" if self._held >= 0 else None

    def runs(self) -> list[Path]:
        return [self._folder]


def line(event: str, second: int = 0, **more: Any) -> str:
    return json.dumps({"time": TIME.format(second), "event": event, **more}) + "\n"


def log(folder: Path, *lines: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(lines))
    return folder


BEGIN = line("begin", process=7, sequences=4, frames=40, stages=["fit", "bake"])
BATCH = line(
    "batch", 10, stage="fit", items=4, frames=40, skipped=1, seconds_ahead=30.0, unknown_ahead=["bake"]
)
HALF = line(
    "item",
    30,
    stage="fit",
    item="S1/a",
    outcome="done",
    frames_seen=20,
    seconds=9.0,
    frames_ok=18,
    frames_rejected=2,
)
ENDS = line(
    "stage ends",
    50,
    stage="fit",
    done=4,
    skipped=1,
    failed=0,
    blocked=0,
    frames_ok=38,
    frames_rejected=2,
    seconds=40.0,
)
END = line("end", 50, exit_code=1, seconds=50.0)


def seen(*lines: str) -> Seen:
    found = Seen()
    for text in lines:
        found.take(json.loads(text))
    return found


def test_what_is_left_follows_from_what_is_done() -> None:
    found = seen(BEGIN, line("stage begins", 8, stage="fit"), BATCH, HALF)
    # twenty of forty frames in twenty seconds
    assert found.now(BEGAN + 30) == "fit: 1 of 4, about 20.0 s left, 50.0 s with the next, then bake"
    rows = [text.split() for text, _ in found.lines(BEGAN + 30)]
    assert rows[1] == ["fit", "1", "1", "0", "0", "18", "2", "22.0", "s"]
    assert found.lines(BEGAN)[1][1] == "yellow"
    found.take(json.loads(ENDS))
    assert found.now(BEGAN + 50) == "" and [text.split()[:3] for text, _ in found.lines(BEGAN)][1] == [
        "fit",
        "4",
        "1",
    ]


def test_a_log_is_read_line_by_whole_line(tmp_path: Path) -> None:
    folder = log(tmp_path / "run", BEGIN, BATCH[:20])
    reader = LogReader(folder)
    assert [r["event"] for r in reader.new()] == ["begin"]
    log(folder, BEGIN, BATCH, "{}\n", "no json\n")
    assert [r["event"] for r in reader.new()] == ["batch"]
    assert list(reader.new()) == []


def test_without_a_terminal_there_is_a_line_a_change(tmp_path: Path) -> None:
    folder = log(tmp_path / "run", BEGIN, BATCH)
    steps = iter([[HALF], [], [], [ENDS, END]])
    out, now = io.StringIO(), [BEGAN + 10]

    def wait(_: float) -> None:
        now[0] += 5
        with open(folder / "log.jsonl", "a") as handle:
            handle.writelines(next(steps))

    code = watch(OneRun(folder, 9), out, clock=lambda: now[0], wait=wait)  # type: ignore[arg-type]
    assert code == 1
    assert out.getvalue().splitlines() == [
        "fit: 0 of 4",
        "fit: 1 of 4, about 5.0 s left, 35.0 s with the next, then bake",
        "The run has ended: `mimicme status --failed`.",
    ]


@pytest.mark.parametrize("no_color", [False, True])
def test_on_a_terminal_it_is_drawn_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_color: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1") if no_color else monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    folder = log(tmp_path / "run", BEGIN, BATCH, HALF)
    assert watch(OneRun(folder, 2), out, clock=lambda: BEGAN + 30, wait=lambda _: None) == 1  # type: ignore[arg-type]
    text = out.getvalue()
    assert text.count("\x1b[3A") == 2 and "killed" in text.splitlines()[-1]
    assert ("\x1b[33m" in text) != no_color


def test_a_run_of_before_is_not_taken_for_the_one_that_goes_on(tmp_path: Path) -> None:
    out = io.StringIO()
    killed = log(tmp_path / "run", BEGIN.replace('"process": 7', '"process": 8'), BATCH)
    assert watch(OneRun(killed, 2), out, wait=lambda _: None) == 1  # type: ignore[arg-type]
    assert out.getvalue().splitlines()[0] == "the run looks at what is there"


def test_nothing_is_followed_where_nothing_goes_on(make: Any, fake: Any) -> None:
    workspace = make()
    go(workspace, fake)
    assert watch(workspace, io.StringIO()) is None


def test_a_run_that_begins_later_is_waited_for(tmp_path: Path) -> None:
    folder = log(tmp_path / "run", BEGIN, BATCH, ENDS, END)
    later, waits = OneRun(folder, 1), []

    class NotYet:
        def running_process(self) -> str | None:
            return None if len(waits) < 3 else later.running_process()

        def runs(self) -> list[Path]:
            return later.runs()

    out = io.StringIO()
    code = watch(NotYet(), out, wait=waits.append, to_begin=True)  # type: ignore[arg-type]
    assert code == 1 and len(waits) == 3 and out.getvalue().startswith("The run has ended")


def test_what_a_log_tells_is_what_the_run_tells(make: Any, fake: Any) -> None:
    workspace = make(LONG)
    cut(workspace, 2)
    result = go(workspace, fake)
    (folder,) = workspace.runs()
    found = Seen()
    for record in LogReader(folder).new():
        found.take(record)
    assert found.exit_code == result.code and found.ended == "end" and found.now(0) == ""
    for name, stage in found.stages.items():
        if name in result.stages and stage.items:
            assert (stage.done, stage.skipped, stage.failed, stage.blocked) == result.counts(name)
            assert stage.frames_seen == stage.frames > 0  # parts of sequences counted once
    rates = read_rates([folder])
    assert {name for name, stage in found.stages.items() if stage.items} <= set(rates)
    # a second time everything is timed, and nothing is left to do
    go(workspace, fake)
    batches = [r for r in records_of(workspace.runs()[-1]) if r["event"] == "batch"]
    assert batches and all(
        not b["frames"] and not b["seconds_ahead"] and not b["unknown_ahead"] for b in batches
    )
    # once more from the beginning: each stage knows what comes
    go(workspace, fake, force=True)
    first = next(r for r in records_of(workspace.runs()[-1]) if r["event"] == "batch")
    assert first["seconds_ahead"] > 0 and not first["unknown_ahead"]


def test_a_run_that_goes_on_is_followed_to_its_end(make: Any, fake: Any) -> None:
    workspace = make()
    (workspace.root.parent / "misbehave.json").write_text(json.dumps({}))
    running = child(workspace)
    try:
        wait_for(lambda: workspace.running() or running.poll() is not None, 60)
        out = io.StringIO()
        code = watch(Workspace.open(workspace.root), out, interval_s=0.05)
        assert running.wait(60) == 0
        assert code in (0, None)  # it may have ended before
        if code == 0:
            assert out.getvalue().splitlines()[-1] == "The run has ended: every frame is ok."
    finally:
        running.kill()
        threading.Thread(target=running.wait).start()


def test_rates_are_of_workers_and_frames(tmp_path: Path) -> None:
    part = line("part", stage="fit", item="S1/a", part="1", outcome="done", seconds=11.0)
    failed = line("item", stage="fit", item="S1/b", outcome="failed", seconds=None)
    packed = line("stage ends", stage="pack", done=1, skipped=0, seconds=8.0)
    one = log(tmp_path / "1", BEGIN, part, HALF, failed, "broken\n", packed)
    assert read_rates([one]) == {"fit": (11.0 + 9.0) / 20, "pack": 8.0 / 40}
    assert read_rates([tmp_path / "none"]) == {}
    assert ahead({"fit": 10, "pack": 40, "bake": 5, "none": 0}, read_rates([one]), 2) == Ahead(
        5.0 + 4.0, ("bake",)
    )
    assert Ahead().text(3) == "" and Ahead(60).text(30) == ", 1:30 min to the end"
    assert Ahead(0, ("bake", "pack")).text(3) == ", then bake, pack"


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    folder = log(tmp_path / "1", BEGIN, *[HALF] * 20_000)
    found = records_of(folder)
    assert found[0]["event"] == "begin" and 1_000 < len(found) < 20_000
    assert read_rates([folder])["fit"] == pytest.approx(9 / 20)


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colored("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    assert (
        colored("x", "red", io.StringIO()) == colored("x", "red", None) == colored("x", "", Terminal()) == "x"
    )
    monkeypatch.setenv("TERM", "dumb")
    assert colored("x", "red", Terminal()) == "x"
