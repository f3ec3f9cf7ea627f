"""A run followed from another terminal, and how long it will take yet."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_runs import LONG, child, cut, go, wait_for

from mimicme.pipeline.items import Item
from mimicme.pipeline.run.forecast import Ahead, Workload, read_rates, records_of
from mimicme.pipeline.run.progress import Console, Progress, colored
from mimicme.pipeline.run.watch import LogReader, Seen, unfinished_lines, unfinished_runs, watch
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

    root = Path("/lab/ws")

    def overrides_of(self, folder: Path) -> tuple[str, ...]:
        return ("fit.steps=3",)


def line(event: str, second: int = 0, **more: Any) -> str:
    return json.dumps({"time": TIME.format(second), "event": event, **more}) + "\n"


def log(folder: Path, *lines: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(lines))
    return folder


BEGIN = line("begin", process=7, sequences=4, frames=40, stages=["fit", "bake"])
BEGINS = line("stage begins", 8, stage="fit")


def progress(second: int, over: int, seconds_left: float | None, **more: Any) -> str:
    told = {"stages": ["fit"], "sequences": 4, "over": over, "skipped": {"fit": 1}, "blocked": {"fit": 0}}
    return line("progress", second, **(told | {"seconds_left": seconds_left, "unknown": ["bake"]} | more))


BATCH = progress(10, 0, 40.0)
HALF = line(
    "item",
    30,
    stage="fit",
    item="S1/a",
    outcome="done",
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


def test_what_is_left_is_what_the_run_said() -> None:
    found = seen(BEGIN, BEGINS)
    assert found.now(BEGAN) == "fit: looking at what is there"
    for text in (BATCH, HALF, progress(30, 1, 20.0)):
        found.take(json.loads(text))
    assert found.now(BEGAN + 35) == "fit: 1 of 4 sequences, about 15.0 s left and then bake"
    rows = [text.split() for text, _ in found.lines()]
    assert rows[1] == ["fit", "1", "1", "0", "0", "18", "2", "9.0", "s"]
    assert found.lines()[1][1] == "yellow"
    found.take(json.loads(ENDS))
    assert found.now(BEGAN + 50) == "" and found.lines()[1][0].split()[:3] == ["fit", "4", "1"]
    two = seen(BEGIN, progress(9, 2, None, stages=["fit", "bake"], unknown=["fit", "bake"]))
    assert two.now(BEGAN + 9) == "fit to bake: 2 of 4 sequences"


def test_a_log_is_read_line_by_whole_line(tmp_path: Path) -> None:
    folder = log(tmp_path / "run", BEGIN, BATCH[:20])
    reader = LogReader(folder)
    assert [r["event"] for r in reader.new()] == ["begin"]
    log(folder, BEGIN, BATCH, "{}\n", "no json\n")
    assert [r["event"] for r in reader.new()] == ["progress"]
    assert list(reader.new()) == []


def test_without_a_terminal_there_is_a_line_a_change(tmp_path: Path) -> None:
    folder = log(tmp_path / "run", BEGIN, BATCH)
    steps = iter([[HALF, progress(12, 1, 35.0)], [], [], [ENDS, END]])
    out, now = io.StringIO(), [BEGAN + 10]

    def wait(_: float) -> None:
        now[0] += 5
        with open(folder / "log.jsonl", "a") as handle:
            handle.writelines(next(steps))

    code = watch(OneRun(folder, 9), out, clock=lambda: now[0], wait=wait)  # type: ignore[arg-type]
    assert code == 1
    assert out.getvalue().splitlines() == [
        "fit: 0 of 4 sequences, about 40.0 s left and then bake",
        "fit: 1 of 4 sequences, about 32.0 s left and then bake",
        "The run has ended: not every frame is ok; `mimicme status --failed`.",
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


def test_a_shard_that_rejected_frames_has_not_every_frame_ok(tmp_path: Path) -> None:
    folder = log(tmp_path / "run", BEGIN, BATCH, ENDS, line("end", 50, exit_code=0, seconds=50.0))
    out = io.StringIO()
    assert watch(OneRun(folder, 1), out, wait=lambda _: None) == 0  # type: ignore[arg-type]
    assert (
        out.getvalue().splitlines()[-1]
        == "The run has ended: not every frame is ok; `mimicme status --failed`."
    )


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
        if name in result.stages and name != "bundle":
            assert (stage.done, stage.skipped, stage.failed, stage.blocked) == result.counts(name)
    assert found.over == found.passing == len(workspace.catalogue().sequences)
    rates = read_rates([folder])
    assert {"read", "fit", "paint"} <= set(rates)
    # a second time everything is settled, and nothing is left to do
    go(workspace, fake)
    told = [r for r in records_of(workspace.runs()[-1]) if r["event"] == "progress"]
    assert told and all(not r["sequences"] and r["seconds_left"] is None for r in told)
    # once more from the beginning: what comes is known before anything is done
    go(workspace, fake, force=True)
    told = [r for r in records_of(workspace.runs()[-1]) if r["event"] == "progress"]
    assert told[0]["seconds_left"] > 0 and not told[0]["unknown"] and told[0]["over"] == 0
    assert told[-1]["over"] == told[-1]["sequences"] == len(workspace.catalogue().sequences)


def test_a_workload_is_put_right_as_the_run_goes_on() -> None:
    work = Workload(["read", "fit", "pack"], "pack", {"read": 1.0, "fit": 2.0, "pack": 0.5}, 2)
    one, two, old = Item("S1", "a"), Item("S1", "b"), Item("S1", "c")
    work.expect(one, 10, "read")
    work.expect(two, 10, "fit")
    work.expect(old, 10, None)
    # a worker each, but one writer of all thirty frames
    assert work.ahead() == Ahead((10 * 1 + 20 * 2) / 2 + 30 * 0.5)
    work.looked_at("read", one, 10, True)
    work.over("read", 10, 40.0)
    work.looked_at("read", two, 10, False)  # as was expected
    work.looked_at("fit", two, 10, False)  # not so
    work.looked_at("read", old, 10, True)  # of a changed setting: what follows from it too
    # reading took four seconds a frame
    assert work.ahead() == Ahead((10 * 4 + 20 * 2) / 2 + 30 * 0.5)


def test_parts_that_are_there_are_not_to_be_made() -> None:
    work = Workload(["fit"], None, {"fit": 2.0}, 1)
    work.expect(Item("S1", "long"), 10, "fit")
    work.looked_at("fit", Item("S1", "long"), 10, True, 6)
    assert work.ahead() == Ahead(8.0)


def test_a_record_of_another_version_changes_nothing() -> None:
    found = seen(BEGIN, BEGINS, line("progress", 9, stages=3))
    assert found.now(BEGAN) == "fit: looking at what is there"


def test_what_nobody_timed_is_named() -> None:
    work = Workload(["read", "fit", "pack"], "pack", {}, 2)
    work.expect(Item("S1", "a"), 10, "read")
    assert work.ahead().text() == ""
    work.over("read", 5, 5.0)
    assert work.ahead() == Ahead(2.5, ("fit", "pack"))
    work.over("read", 5, float("nan"))
    work.looked_at("fit", Item("S1", "a"), 10, False)
    assert work.ahead().text() == "" and work.ahead().unknown == ("pack",)
    off = Workload(["read", "again", "pack"], "pack", {}, 2, off=["again"])
    off.expect(Item("S1", "a"), 10, "read")
    assert off.ahead().unknown == ("read", "pack")


def test_elsewhere_than_on_a_terminal_a_line_is_said_now_and_then() -> None:
    out = io.StringIO()
    Progress(Console(out), "read to fit", 9).show(1, 0, ", about 3.0 s left")
    assert out.getvalue() == ""
    Progress(Console(out, every_s=-1.0), "read to fit", 9).show(2, 1, ", about 2.0 s left")
    assert out.getvalue() == "read to fit: 2 of 9 sequences, 1 failed, about 2.0 s left\n"


def test_before_a_sequence_has_passed_all_stages_their_steps_tell_how_far_it_is() -> None:
    out = io.StringIO()
    progress = Progress(Console(out, every_s=-1.0), "read to fit", 9)
    progress.show(0, 0, "", steps=(5, 27))
    progress.show(4, 0, "", steps=(4, 9))  # one stage: these are the sequences
    assert out.getvalue().splitlines() == [
        "read to fit: 0 of 9 sequences, 5 of 27 steps",
        "read to fit: 4 of 9 sequences",
    ]


def test_a_run_that_goes_on_is_followed_to_its_end(make: Any, fake: Any) -> None:
    workspace = make()
    (workspace.root.parent / "misbehave.json").write_text(json.dumps({}))
    running = child(workspace)
    try:
        wait_for(lambda: workspace.running_process() is not None or running.poll() is not None, 60)
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
    packed = line("stage ends", stage="pack", items=False, done=1, skipped=0, seconds=8.0)
    alone = line("stage ends", stage="read", done=1, skipped=900, seconds=8.0)
    one = log(tmp_path / "1", BEGIN, part, HALF, failed, "broken\n", alone, packed)
    assert read_rates([one]) == {"fit": (11.0 + 9.0) / 20, "pack": 8.0 / 40}
    assert read_rates([tmp_path / "none"]) == {}
    untimed = json.loads(HALF)
    del untimed["seconds"]
    two = log(tmp_path / "2", BEGIN, HALF, json.dumps(untimed) + "\n")
    assert read_rates([two]) == read_rates([log(tmp_path / "3", BEGIN, HALF)])
    assert Ahead(90).text(30) == ", about 1:00 min left"
    assert Ahead(3, ("bake", "pack")).text() == ", about 3.0 s left and then bake, pack"
    assert Ahead(3).text(10) == Ahead(0.0).text() == Ahead().text(3) == ""  # never `0.0 s left`
    assert Ahead(3, ("pack",)).text(10) == ", then pack"


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


def test_of_a_long_log_the_beginning_and_the_end_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says is what all of its lines say."""
    many = [HALF.replace("S1/a", f"S{k}/a") for k in range(200)]
    told = progress(31, 200, 5.0, so_far={"fit": [200, 0, 3600, 400, 1800.0]})
    lines = [BEGIN, BEGINS, BATCH, *many, told, HALF]
    folder = log(tmp_path / "run", *lines)
    whole = LogReader(folder).begin()
    monkeypatch.setattr("mimicme.pipeline.run.watch.END_BYTES", 2_000)
    taken: list[str] = []
    take = Seen.take
    monkeypatch.setattr(
        Seen, "take", lambda self, record: taken.append(record["event"]) or take(self, record)
    )
    reader = LogReader(folder)
    late = reader.begin()
    assert late == whole and taken == ["begin", "stage begins", "item"]
    assert late.stages["fit"].done == 201 and list(reader.new()) == []
    for other in (
        [*lines[:-2], HALF],
        [BEGIN, BEGINS, ENDS, *lines[2:]],
        [BEGIN, BEGINS, BATCH, *many, BATCH],
    ):
        log(folder, *other)  # what lies between is not known: all of it is read
        assert LogReader(folder).begin() == seen(*other)


def test_the_release_is_told_of_while_it_is_written() -> None:
    found = seen(BEGIN, BEGINS, BATCH, ENDS, line("stage begins", 51, stage="pack", items=False))
    assert found.now(BEGAN + 52) == "pack: writing the release"
    found.take(json.loads(line("stage ends", 60, stage="pack", items=False, done=1, skipped=0, seconds=9.0)))
    assert found.now(BEGAN + 61) == ""
    assert found.lines()[-1][0].split()[:2] == ["pack", "1"]


class ManyRuns:
    """A workspace with the logs of some runs, oldest first, of which those of some shards go on."""

    root = Path("/ws")

    def __init__(self, folder: Path, logs: list[str], going: tuple[str | None, ...] = ()) -> None:
        self._runs = [log(folder / f"{k:02d}", text) for k, text in enumerate(logs)]
        self._going = dict.fromkeys(going, "process 7 on here")

    def runs(self) -> list[Path]:
        return self._runs

    def running_runs(self) -> dict[str | None, str]:
        return self._going

    def overrides_of(self, run: Path) -> tuple[str, ...]:
        return (f"fit.run={int(run.name)}",)


def begin(**limits: Any) -> str:
    return line("begin", process=7, sequences=4, frames=40, stages=["fit"], **limits)


def of_shard(shard: str, *lines: str) -> str:
    return begin(shard=shard) + "".join(lines)


WELL = line("end", 59, exit_code=0)


@pytest.mark.parametrize(
    ("logs", "going", "expected"),
    [
        ([], (), []),
        ([BEGIN + WELL], (), []),
        ([BEGIN + BEGINS], (), [("killed", "")]),
        ([BEGIN + BEGINS], (None,), []),
        ([BEGIN, BEGIN + WELL], (), []),
        ([BEGIN + WELL, BEGIN + BEGINS + WELL[:30]], (), [("killed", "")]),  # in the middle of its last word
        ([""], (), [("killed", "")]),
        ([BEGIN + line("interrupted", 9)], (), [("interrupted", "")]),
        ([BEGIN + line("error", 9, message="no room.")], (), [("error", "")]),
        ([BEGIN, of_shard("1/2"), of_shard("2/2", WELL)], (), [("killed", "1/2")]),
        ([of_shard("1/2"), of_shard("2/2")], ("1/2",), [("killed", "2/2")]),
        ([of_shard("1/2"), of_shard("1/2", WELL)], (), []),
        # however many there are, and of one division that is whole no older one
        (
            [of_shard("70/100"), *(of_shard(f"{k}/100", WELL) for k in range(1, 100) if k != 70)],
            (),
            [("killed", "70/100")],
        ),
        ([of_shard("1/3"), of_shard("1/2", WELL), of_shard("2/2", WELL)], (), []),
        ([of_shard("1/3"), of_shard("2/2", WELL)], ("1/2",), []),
    ],
)
def test_a_run_that_did_not_come_to_its_end_is_told(
    tmp_path: Path, logs: list[str], going: tuple[str | None, ...], expected: list[tuple[str, str]]
) -> None:
    found = unfinished_runs(ManyRuns(tmp_path, logs, going))
    assert [(run.how, run.shard) for run in found] == expected
    for run in found:
        assert not run.sentence.endswith(".") and (
            not run.told_at or f"after {run.told_at} UTC" in run.sentence
        )


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (begin(), "`mimicme run /ws --set fit.run=0` goes on from there."),
        (
            begin(only=["S1/*", "S2/smile"], last="fit", output=True),
            "`mimicme run /ws --until fit --only 'S1/*' --only S2/smile --set fit.run=0` goes on from there, with the "
            "--output that it had.",
        ),
        (
            begin(first="fit", last="fit"),
            "`mimicme run /ws --from fit --until fit --set fit.run=0` goes on from there.",
        ),
        (
            begin(only=["", "S2/*"]),
            "`mimicme run /ws --only 'S2/*' --set fit.run=0` goes on from there.",
        ),
        (begin(only=[""]), ""),
        (
            begin(only=["S1/*"], last="fit", sample=8),
            "`mimicme plan /ws --sample 8 --set fit.run=0` goes on from there.",
        ),
        (
            BEGINS,
            "`mimicme run /ws --set fit.run=0` goes on from there, with the --only, --from and --until that it had, if "
            "it had any.",
        ),
    ],
)
def test_what_goes_on_with_a_run_has_its_limits(tmp_path: Path, log: str, expected: str) -> None:
    (found,) = unfinished_runs(ManyRuns(tmp_path, [log]))
    assert found.again == expected
    assert unfinished_lines([found]) == [" ".join([f"  {found.sentence}.", *filter(None, [expected])])]


def test_each_shard_goes_on_with_its_own_settings(tmp_path: Path) -> None:
    found = unfinished_runs(ManyRuns(tmp_path, [of_shard("1/2"), of_shard("2/2")]))
    assert [run.again for run in found] == [
        f"`mimicme run /ws --shard {shard} --set fit.run={number}` goes on from there."
        for shard, number in (("2/2", 1), ("1/2", 0))
    ]


def test_of_many_shards_some_are_told_and_the_others_counted(tmp_path: Path) -> None:
    found = unfinished_runs(ManyRuns(tmp_path, [of_shard(f"{k}/80") for k in range(1, 81)]))
    assert len(found) == 80
    *told, last = unfinished_lines(found)
    assert len(told) == 8 and "shard 80/80" in told[0]
    assert last == "  72 more shards did not come to the end; `mimicme status --json` names each."


def test_the_command_that_goes_on_is_the_one_that_was_given(make, fake):
    workspace = make()
    go(workspace, fake, jobs=0, force=True, last="fit", sets=["fit.steps=3"])
    path = workspace.runs()[-1] / "log.jsonl"
    path.write_text(
        "".join(path.read_text().splitlines(True)[:-1])
    )  # killed before it could say that it ended
    (told,) = unfinished_runs(Workspace.open(workspace.root))
    command = f"mimicme run {workspace.root} --until fit --jobs 0 --force --set fit.steps=3"
    assert told.again.startswith(f"`{command}` goes on from there")
    assert "makes again what that run had made" in told.again


def test_a_run_that_is_killed_while_it_is_followed_is_told_with_what_goes_on(tmp_path):
    out = io.StringIO()
    begun = line("begin", process=7, sequences=4, frames=40, stages=["fit"], jobs="2", only=["S1"])
    folder = log(tmp_path / "run", begun, BEGINS, progress(9, 1, 60.0))
    assert watch(OneRun(folder, 2), out, clock=lambda: BEGAN, wait=lambda _: None) == 1
    last = out.getvalue().splitlines()[-1]
    assert "it was killed" in last
    assert "`mimicme run /lab/ws --jobs 2 --only S1 --set fit.steps=3` goes on from there." in last
