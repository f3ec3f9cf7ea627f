"""The figures that status shows: what a stage measured, over all items that are done."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import h5py
import numpy as np
import pytest
from fake_runs import GOOD, go

from mimicme.pipeline.checkpoint import writing
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.run import checkpoint_index
from mimicme.pipeline.run.checkpoint_index import CheckpointIndex, FigureSummary
from mimicme.pipeline.run.progress import count_cells
from mimicme.pipeline.run.status import StageStatus, Status, _figure_lines, merge_summaries, read_status
from mimicme.pipeline.workspace import Workspace


def written(path, figures, bad=()):
    """A checkpoint of three frames with these figures."""
    with writing(path, stage="a", item="S1/x", made_by={}) as out:
        out.frames([4, 5, 6])
        for name, unit, values in figures:
            out.figure(name, unit)[:] = values
        out.rows("quality/pairs", (2,), "f4", "mm")[:] = 1  # no figure: two numbers a frame
        for row in bad:
            out.reject(row, FrameRejected("bad", "it is bad"))
    return path


def test_a_summary_has_the_figures_of_the_frames_that_are_ok_in_the_stages_order(tmp_path):
    path = written(
        tmp_path / "a" / "x.h5",
        [("width", "mm", [1, 3, 100]), ("depth", "1", [2, np.nan, 7]), ("area", "mm", [np.nan, np.inf, 1])],
        bad=[2],
    )
    index = CheckpointIndex(tmp_path, tmp_path / "heads.jsonl")
    width, depth, area = index.read(path).figures
    assert width == ("width", "mm", 2, 2.0, 3.0)
    assert depth == ("depth", "1", 1, 2.0, 2.0)
    assert area[:3] == ("area", "mm", 0)
    assert math.isnan(area.mean) and math.isnan(area.largest)
    index.save()
    again = CheckpointIndex(tmp_path, tmp_path / "heads.jsonl").read(path).figures
    assert repr(again) == repr((width, depth, area))  # nan is not equal to itself


def test_figures_of_items_weigh_what_they_have_frames():
    nothing = FigureSummary("b", "1", 0, math.nan, math.nan)
    one, other = FigureSummary("a", "mm", 1, 1.0, 1.0), FigureSummary("a", "mm", 3, 5.0, 9.0)
    found = merge_summaries([one, nothing, other, nothing, FigureSummary("a", "px", 1, 2.0, 2.0)])
    assert found[0] == ("a", "mm", 4, 4.0, 9.0)
    assert found[1][:3] == ("b", "1", 0)
    assert found[2] == ("a", "px", 1, 2.0, 2.0)


def measure(task, out):
    out.frames([f.number for f in task.sequence.frames])
    size = out.figure("size", "mm")
    out.figure("absent", "1")
    for row, frame in enumerate(task.sequence.frames):
        size[row] = len(out.sources.read(frame.path))


def measure_nothing(task, out):
    out.frames([f.number for f in task.sequence.frames])


@pytest.fixture
def measured(make, fake):
    """A workspace and stages of which the first one measures: 1 and 2, 3 and 5."""
    read = replace(fake.READ, compute=measure)
    others = (replace(stage, compute=measure_nothing) for stage in (fake.FIT, fake.PAINT))
    return make({"S1/neutral": ["a", "bb"], "S1/smile": ["ccc", "ddddd"]}), (read, *others, fake.BUNDLE)


def status_of(workspace, stages):
    return read_status(Workspace.open(workspace.root, environ={}), stages)


def test_status_has_them_for_programs_and_for_people(measured, fake):
    workspace, stages = measured
    assert [s.figures for s in status_of(workspace, stages).stages] == [[]] * 4
    go(workspace, fake, stages=stages)
    status = status_of(workspace, stages)
    read, fit, *_ = json.loads(json.dumps(status.to_record(), allow_nan=False))["stages"]
    assert read["figures"] == [
        {"name": "size", "unit": "mm", "frames": 4, "mean": 2.75, "largest": 5.0},
        {"name": "absent", "unit": "1", "frames": 0, "mean": None, "largest": None},
    ]
    assert fit["figures"] == []
    lines = status.lines()
    assert lines[2].startswith("read ") and lines[4].startswith("fit ")
    assert lines[3] == "  mean size 2.75 mm"


def test_what_is_out_of_date_has_none(measured, fake):
    workspace, stages = measured
    go(workspace, fake, stages=stages)
    changed = Workspace.open(workspace.root, environ={}, sets=("read.scale=2",))
    assert read_status(changed, stages).stages[0].figures == []


def test_figures_are_read_with_the_summary_once(measured, fake, monkeypatch):
    workspace, stages = measured
    go(workspace, fake, stages=stages)
    said = status_of(workspace, stages).to_record()
    monkeypatch.setattr(checkpoint_index, "_read_summary", lambda path: pytest.fail("opened a checkpoint"))
    assert status_of(workspace, stages).to_record() == said


def test_frames_are_listed_when_they_are_asked_for(measured, fake):
    """They may be millions; without `--json` nobody asks."""
    workspace, stages = measured
    go(workspace, fake, stages=stages)
    read = status_of(workspace, stages).stages[0]
    assert (read.frames_ok, read.frames_rejected) == (4, 0)
    one = read.items[0]
    ok = {"ok": True, "reason": "", "note": "", "message": ""}
    assert one.frames == [{"frame": number, **ok} for number in one.summary.numbers.tolist()] != []
    assert not any(isinstance(value, list) for value in vars(one).values())


@pytest.mark.parametrize(
    ("count", "name", "shown"), [(6, "f", 6), (7, "f", 6), (5, "f" * 28, 2), (1, "f" * 99, 1)]
)
def test_the_line_stays_short(count, name, shown):
    figures = [FigureSummary(f"{name}{n}", "mm", 1, 1234.5, 2000.0) for n in range(count)]
    status = Status("w", False, 1, 1, 1, [StageStatus("read", [], [], [], figures=figures)])
    line = status.lines()[3]
    assert line.count(" 1234 mm") == shown
    assert line.endswith("; more in --json") == (shown < count)
    assert len(line) <= 100 or shown == 1


def test_a_stage_that_is_switched_off_is_called_so(make, fake):
    workspace, stages = make(), fake.WITH_CORPUS
    off = ("learn.enabled=false",)
    said = go(workspace, fake, stages, sets=off)
    assert "learn (off): " in said.err and "learn (off)  " in said.out
    status = read_status(Workspace.open(workspace.root, sets=off, environ={}), stages)
    assert [line.split()[1] for line in status.lines() if line.startswith("learn")] == ["(off)"]
    assert {s["stage"]: s["off"] for s in status.to_record()["stages"]}["learn"] is True
    assert [line.split()[2:] for line in status.lines() if line.startswith("learn")] == [["-"] * 7]
    assert [line.split()[2:-2] for line in said.out.splitlines() if line.startswith("learn")] == [["-"] * 6]
    status = read_status(Workspace.open(workspace.root, environ={}), stages)
    assert "(off)" not in "\n".join(status.lines())


def test_what_a_stage_that_is_off_has_not_handed_on_is_no_work_of_its_own(make, fake):
    workspace, stages = make(), fake.WITH_CORPUS
    off = ("learn.enabled=false",)
    status = read_status(Workspace.open(workspace.root, sets=off, environ={}), stages)
    assert {s.stage: s.states["pending"] for s in status.stages}["learn"] > 0
    assert [line.split()[2:] for line in status.lines() if line.startswith("learn")] == [["-"] * 7]
    assert status.lines()[-1].startswith(f"Next: `mimicme run {workspace.root}")
    go(workspace, fake, stages, sets=off)
    made = read_status(Workspace.open(workspace.root, sets=off, environ={}), stages)
    assert not any(line.startswith("Next") for line in made.lines())
    again = go(workspace, fake, stages, sets=off)
    assert again.stages["learn"].skipped > 0
    assert [line.split()[2:-2] for line in again.out.splitlines() if line.startswith("learn")] == [["-"] * 6]


def test_of_a_stage_that_is_off_what_failed_and_waits_is_counted():
    counts = {"done": 1, "skipped": 2, "failed": 3, "blocked": 0}
    assert count_cells(counts, off=True) == ["-", "-", "3", "-"]
    assert count_cells(counts, off=False) == ["1", "2", "3", "0"]


def test_what_waits_for_a_failure_is_not_told_of_where_a_stage_is_off(make, fake):
    """Who waits for nothing that it does: the next stage that works is named."""
    workspace, stages, off = make(GOOD | {"S1/smile": ["fail"]}), fake.WITH_CORPUS, ("learn.enabled=false",)
    assert go(workspace, fake, stages, sets=off, first="read", last="fit").code == 1
    result = go(workspace, fake, stages, sets=off, first="learn")
    assert result.why[0] == "1 waiting at paint for what failed"
    lines = read_status(Workspace.open(workspace.root, sets=off, environ={}), stages).failed_lines()
    assert lines[1:] == ["S1/smile: fit to paint wait: 'read' failed"]
    each = read_status(Workspace.open(workspace.root, sets=off, environ={}), stages).failed_lines(each=True)
    assert not [said for said in each if "learn" in said]
    dry = go(workspace, fake, stages, sets=off, dry_run=True).out
    assert "learn (off): hands on what it is given\n" in dry and "'learn' is not made" not in dry


def test_a_release_without_a_frame_that_is_ok_is_told(make, fake):
    workspace = make()
    go(workspace, fake)
    with h5py.File(workspace.release, "r+") as file:
        file["index"] = np.array([(b"rejected",)] * 3, [("status", "S8")])
    status = read_status(Workspace.open(workspace.root, environ={}), fake.STAGES)
    assert "release.h5 has no frame that is ok, of 3 frames: nothing can be made of it" in status.lines()
    assert status.to_record()["released"] == {"frames_ok": 0, "frames": 3}
    with h5py.File(workspace.release, "r+") as file:
        file["index"][0] = (b"ok",)
    status = read_status(Workspace.open(workspace.root, environ={}), fake.STAGES)
    assert "no frame that is ok" not in "\n".join(status.lines())


def test_a_release_that_has_who_refused_since_is_told(make, fake):
    workspace = make()
    go(workspace, fake)
    with h5py.File(workspace.release, "a") as file:
        file.require_group("subjects/S9")
    open_it = lambda: read_status(Workspace.open(workspace.root, environ={}), fake.STAGES)  # noqa: E731
    assert open_it().kept_out == 0
    workspace.remove_subject("S9", ())
    status = open_it()
    said = next(line for line in status.lines() if line.startswith("release.h5 still has 1 subject"))
    assert "S9" not in said and f"`mimicme run {workspace.root}` packs it without them" in said
    assert status.to_record()["released_but_kept_out"] == 1


def test_what_is_out_of_date_alone_is_told_where_it_is_asked_what_failed(make, fake):
    workspace = make()

    def told(*sets):
        return read_status(Workspace.open(workspace.root, sets=sets, environ={}), fake.STAGES).failed_lines()

    run = f"`mimicme run {workspace.root}"
    nothing = "nothing failed, nothing was rejected"
    new = f"4 sequences (S1/neutral, S1/smile, S2/angry and 1 more) are not made yet from read on; {run}` makes them"
    assert told() == [nothing, new]
    go(workspace, fake)
    assert told() == [nothing]
    (stale,) = told("fit.steps=5")
    assert stale.startswith(
        "4 sequences (S1/neutral, S1/smile, S2/angry and 1 more) are out of date from fit on: "
    )
    assert stale.endswith(f"setting 'steps' changed from 3 to 5; {run} --set fit.steps=5` makes them")
    (release,) = told("bundle.level=2")
    assert (
        release == f"release is out of date: what it is made of changed; {run} --set bundle.level=2` makes it"
    )


def test_each_cause_of_being_out_of_date_is_told_with_the_sequences_it_has(make, fake):
    """Those of the first one were said of all; files of the same kind are told of together all the same."""
    workspace = make()
    go(workspace, fake)
    for name in ("S2/angry", "S2/sad"):
        (file, *_) = sorted((workspace.root.parent / "captures" / name).iterdir())
        file.write_text("another")
    opened = Workspace.open(workspace.root, sets=("fit.steps=5",), environ={})
    run = f"`mimicme run {workspace.root} --set fit.steps=5` makes them"
    files, settings = read_status(opened, fake.STAGES).failed_lines()
    assert settings == (
        "2 sequences (S1/neutral, S1/smile) are out of date from fit on: "
        f"setting 'steps' changed from 3 to 5; {run}"
    )
    assert files.startswith(
        "2 sequences (S2/angry, S2/sad) are out of date from read on: the capture file 'S2/angry/"
    )
    assert files.endswith(f" changed (said of the first); {run}")


def test_who_was_never_begun_is_told_beside_what_went_wrong(make, fake):
    """The last line of a run sends who reads it there: `2 waiting at fit for what comes before`."""
    workspace = make(GOOD | {"S1/smile": ["fail"]})
    go(workspace, fake, last="read", only=["S1"])
    go(workspace, fake, first="fit", last="paint")
    status = read_status(Workspace.open(workspace.root, environ={}), fake.STAGES)
    run = f"`mimicme run {workspace.root}` makes"
    lines = status.failed_lines()
    assert lines[0].startswith("S1/smile: read failed")
    assert lines[-1] == f"2 sequences (S2/angry, S2/sad) are not made yet from read on; {run} them"
    assert not [line for line in lines[1:-1] if "S2" in line]
    assert status.failed_lines(each=True)[-2:] == [
        f"S2/angry is not made yet from read on; {run} it",
        f"S2/sad is not made yet from read on; {run} it",
    ]


def test_the_expected_error_comes_first_and_a_distance_is_called_one() -> None:
    figures = [
        FigureSummary(n, "mm", 1, mean, 2.0)
        for n, mean in (("s2m_median", 0.1), ("s2m_p95", 0.4), ("expected_error", 1.7))
    ]
    (line,) = _figure_lines(figures)
    assert line.startswith("  mean expected_error 1.7 mm, s2m_median 0.1 mm (distance to the surface), ")
