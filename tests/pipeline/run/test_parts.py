"""Items that are worked in parts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from fake_runs import (
    ALL_PARTS,
    LONG,
    calls,
    child,
    cut,
    digests,
    fits,
    go,
    misbehave,
    parts_there,
    state,
    wait_for,
)

from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.items import Part
from mimicme.pipeline.run.progress import Console
from mimicme.pipeline.run.runner import RunOptions, run
from mimicme.pipeline.run.status import read_status
from mimicme.pipeline.workspace import Workspace


def test_the_parts_of_an_item_are_all_its_rows_once():
    for length, count in ((5, 3), (200, 3), (7, 7), (2, 5)):
        rows = [row for number in range(1, count + 1) for row in Part(number, count).rows(length)]
        assert rows == list(range(length))
    assert [len(Part(n, 3).rows(5)) for n in (1, 2, 3)] == [1, 2, 2]


def test_parts_are_made_longest_sequence_first_and_joined_at_once(in_parts, fake):
    workspace = in_parts()
    result = go(workspace, fake)
    assert result.code == 0 and result.counts("fit") == (4, 0, 0, 0)
    assert result.stages["fit"].frames_ok == 11
    lines = calls(workspace)
    # S1 has more frames; neutrals are never cut, and before all others
    assert [c[0] + " " + c[1] for c in lines if c[0].startswith("fit")] == [
        "fit S1/neutral", *(f"{part} S1/long" for part in ALL_PARTS), "fit S1/long", "fit S1/short", "fit S2/angry",
    ]  # fmt: skip
    assert parts_there(workspace) == []
    with (
        Checkpoint(workspace.root / "fit/S1/long.h5") as joined,
        Checkpoint(workspace.root / "fit/S1/short.h5") as one,
    ):
        assert joined.numbers.tolist() == [0, 1, 2, 3, 4]
        assert joined["value"][:].tolist() == [one["value"][0] + 3] * 5
    log = [json.loads(line) for line in (result.result.folder / "log.jsonl").read_text().splitlines()]
    assert [r["part"] for r in log if r["event"] == "part"] == [f"part {n} of 3" for n in (1, 2, 3)]
    assert go(workspace, fake).counts("fit") == (0, 4, 0, 0)
    assert calls(workspace) == []


def test_parts_are_the_same_bytes_with_any_number_of_jobs(in_parts, fake):
    made = []
    for jobs in (0, 1, 2):
        workspace = in_parts(str(jobs))
        assert go(workspace, fake, jobs=jobs).code == 0
        assert sorted(fits(workspace)) == ["fit", *ALL_PARTS]
        made.append(digests(workspace))
    assert made[0] == made[1] == made[2]


def test_progress_counts_the_frames_of_parts_once(in_parts, fake, monkeypatch):
    monkeypatch.setattr("mimicme.pipeline.run.leg_progress.INTERVAL_S", 0.0)
    monkeypatch.setattr("mimicme.pipeline.run.forecast.LEAST_TOLD_S", 0.0)
    shown = []

    class Recorder(Console):
        def draw(self, text, now=False):
            shown.append(text)

    workspace = in_parts()
    run(Workspace.open(workspace.root, environ={}), RunOptions(jobs=0, last="fit"), fake.STAGES, Recorder())
    drawn = [text for text in shown if text.startswith("read to fit: ")]
    # when it begins, after each of the two jobs of four sequences and the parts of one, and at the end
    assert len(drawn) == 1 + 8 + len(ALL_PARTS) + 1
    assert "left" not in drawn[0] and all("left" in text for text in drawn[1:-2])
    assert drawn[-1] == "read to fit: 4 of 4 sequences, 8 of 8 steps"


def test_killed_among_its_parts_a_run_goes_on_with_the_others(in_parts, fake):
    clean = in_parts("clean")
    go(clean, fake)
    workspace = in_parts("killed")
    misbehave(workspace, p3="hang")
    process = child(workspace, jobs=2)
    wait_for(lambda: len(parts_there(workspace)) >= 2)
    status = read_status(Workspace.open(workspace.root), fake.STAGES)
    assert {i.item: i.state for i in status.stages[1].items}["S1/long"] == "pending"
    assert len(status.stages[1].items) == 4
    process.kill()
    process.communicate()
    assert parts_there(workspace) == ["long@part-0001-of-0003.h5", "long@part-0002-of-0003.h5"]
    assert not (workspace.root / "fit/S1/long.h5").exists()
    calls(workspace)
    misbehave(workspace)
    assert go(workspace, fake, jobs=2).code == 0
    assert fits(workspace) == ["fit:3of3", "fit"]
    assert list(workspace.root.rglob(".*.tmp")) == []
    assert digests(workspace) == digests(clean)


@pytest.mark.parametrize("jobs", [0, 2])
def test_a_part_that_fails_fails_its_item_and_no_other(in_parts, fake, jobs):
    workspace = in_parts()
    misbehave(workspace, p1="fail", p3="fail")
    result = go(workspace, fake, jobs=jobs)
    assert (
        result.code == 1 and result.counts("fit") == (3, 0, 1, 0) and result.counts("paint") == (3, 0, 0, 1)
    )
    assert "S1/long: fit failed: part 1 of 3 does not please" in result.out
    log = [json.loads(line) for line in (result.result.folder / "log.jsonl").read_text().splitlines()]
    told = {r["part"]: r.get("message") for r in log if r["event"] == "part"}
    assert told["part 2 of 3"] is None and "part 3 of 3 does not please" in told["part 3 of 3"]
    record = json.loads((workspace.root / "failures/fit/S1/long.json").read_text())
    assert record["kind"] == "InputError" and "part" not in record["made_by"]
    assert parts_there(workspace) == ["long@part-0002-of-0003.h5"]
    assert state(workspace, fake)["fit"] == {
        "S1/long": "failed", "S1/neutral": "done", "S1/short": "done", "S2/angry": "done",
    }  # fmt: skip
    calls(workspace)
    misbehave(workspace)
    assert go(workspace, fake, jobs=jobs).code == 0
    assert sorted(fits(workspace)) == ["fit", "fit:1of3", "fit:3of3"]
    assert parts_there(workspace) == []
    assert not (workspace.root / "failures/fit/S1/long.json").exists()


def test_a_worker_killed_in_a_part_fails_its_item_and_no_other(in_parts, fake):
    workspace = in_parts()
    misbehave(workspace, p2="kill")
    result = go(workspace, fake, jobs=2)
    assert result.counts("fit") == (3, 0, 1, 0)
    record = json.loads((workspace.root / "failures/fit/S1/long.json").read_text())
    assert record["kind"] == "Killed" and "SIGKILL" in record["message"]
    assert len(parts_there(workspace)) == 2
    assert list(workspace.root.rglob(".*.tmp")) == []


@pytest.mark.parametrize(
    ("changed", "made"),
    [
        ({"frames": 2, "sets": ["fit.steps=7"]}, ["fit:1of3", "fit:2of3", "fit:3of3", "fit"]),
        ({"frames": 3}, ["fit:1of2", "fit:2of2", "fit"]),
        ({"frames": 0}, ["fit"]),
        ({"frames": 2, "force": True}, ["fit:1of3", "fit:2of3", "fit:3of3", "fit"]),
        ({"frames": 2}, ["fit:3of3", "fit"]),
    ],
)
def test_only_current_parts_are_joined_and_others_removed(in_parts, fake, changed, made):
    workspace = in_parts()
    misbehave(workspace, p3="fail")
    go(workspace, fake)
    assert len(parts_there(workspace)) == 2
    calls(workspace)
    misbehave(workspace)
    cut(workspace, changed["frames"])
    options = {k: v for k, v in changed.items() if k != "frames"}
    assert go(workspace, fake, last="fit", **options).code == 0
    assert fits(workspace) == made
    assert parts_there(workspace) == []


def test_parts_beside_a_whole_checkpoint_are_removed(in_parts, fake):
    """Of a run that was killed between the last join and the removal."""
    workspace = in_parts()
    go(workspace, fake)
    whole = workspace.root / "fit/S1/long.h5"
    shutil.copy(whole, whole.with_name("long@part-0001-of-0003.h5"))
    assert go(workspace, fake).counts("fit") == (0, 4, 0, 0)
    assert parts_there(workspace) == [] and whole.exists()


def test_parts_from_which_a_run_would_go_on_are_told(in_parts, fake):
    workspace = in_parts()
    misbehave(workspace, p3="fail")
    go(workspace, fake)
    misbehave(workspace)
    said = "go on with S1/long (2 of 3 parts)"
    assert f"  would {said}" in go(workspace, fake, dry_run=True).out.splitlines()
    assert "go on" not in go(workspace, fake, dry_run=True, force=True).out
    status = read_status(Workspace.open(workspace.root, environ={}), fake.STAGES)
    assert "fit goes on with S1/long (2 of 3 parts)" in status.lines()
    assert status.to_record()["stages"][1]["begun"] == ["S1/long (2 of 3 parts)"]
    # no longer, when a changed setting makes them again
    changed = Workspace.open(workspace.root, environ={}, sets=("fit.steps=7",))
    assert not [line for line in read_status(changed, fake.STAGES).lines() if "goes on" in line]
    go(workspace, fake)
    assert not [
        line for line in read_status(Workspace.open(workspace.root), fake.STAGES).lines() if "goes on" in line
    ]


def test_parts_of_a_sequence_that_is_gone_or_blocked_do_not_stay(in_parts, fake):
    sequences = LONG | {"S1/other": ["bb"] * 5}
    workspace = in_parts(sequences=sequences)
    misbehave(workspace, p3="fail")
    go(workspace, fake)
    assert len(parts_there(workspace)) == 4
    shutil.rmtree(workspace.captures.root / "S1/long")
    (workspace.captures.root / "S1/other/0000.obj").write_text("fail")
    # not even when the run is about others; what is blocked waits for a run that finds it so
    go(workspace, fake, only=("S2/angry",), last="fit")
    assert parts_there(workspace) == [f"other@part-000{k}-of-0003.h5" for k in (1, 2)]
    assert go(workspace, fake).counts("fit")[3] == 1
    assert parts_there(workspace) == []


def test_a_damaged_part_is_made_again(in_parts, fake):
    workspace = in_parts()
    misbehave(workspace, p3="fail")
    go(workspace, fake)
    (workspace.root / "fit/S1/long@part-0001-of-0003.h5").write_bytes(b"torn")
    calls(workspace)
    misbehave(workspace)
    assert go(workspace, fake).code == 0
    assert fits(workspace) == ["fit:1of3", "fit:3of3", "fit"]


def test_an_item_whose_parts_cannot_be_counted_is_made_in_one_piece(in_parts, fake):
    """What a damaged input raises in the parent must not end the run."""

    def broken(task):
        raise RuntimeError("the file's tree is torn")

    workspace = in_parts()
    stages = tuple(replace(s, parts=broken) if s.name == "fit" else s for s in fake.STAGES)
    assert go(workspace, fake, stages).code == 0
    assert fits(workspace) == ["fit"]


def test_no_name_of_a_sequence_is_taken_for_a_part(in_parts, fake):
    odd = "long@part-0001-of-0003"
    workspace = in_parts(sequences=LONG | {f"S1/{odd}": ["e"]})
    assert go(workspace, fake).code == 0
    assert (workspace.root / "fit/S1/long_part-0001-of-0003.h5").is_file()
    assert go(workspace, fake).counts("fit") == (0, 5, 0, 0)


def test_the_parts_of_a_withdrawn_subject_are_gone(in_parts, fake):
    workspace = in_parts()
    misbehave(workspace, p3="fail")
    go(workspace, fake)
    removed = Workspace.open(workspace.root).remove_subject("S1", [s.name for s in fake.STAGES])
    assert {p.name for p in removed} >= {"long@part-0001-of-0003.h5", "long@part-0002-of-0003.h5"}
    assert parts_there(workspace) == []


def test_a_stage_that_reads_raw_files_has_no_parts(fake):
    with pytest.raises(ValueError, match="parts"):
        replace(fake.READ, parts=fake.parts)
    with pytest.raises(ValueError, match="parts"):
        replace(fake.BUNDLE, parts=fake.parts)
