"""The runner, with stages that do almost nothing."""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import replace

import h5py
import pytest
from fake_runs import GOOD, calls, digests, go, state

from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.errors import OutputError, UsageError
from mimicme.pipeline.items import Shard
from mimicme.pipeline.numerics.memory import not_enough
from mimicme.pipeline.run import runner
from mimicme.pipeline.run.checkpoint_index import CheckpointIndex
from mimicme.pipeline.run.status import read_status
from mimicme.pipeline.run.work import sentence_of
from mimicme.pipeline.workspace import Workspace


def test_a_run_makes_everything_and_a_second_one_nothing(make, fake):
    workspace = make()
    first = go(workspace, fake)
    assert first.code == 0
    assert first.counts("read") == (4, 0, 0, 0)
    assert first.stages["read"].frames_ok == 7
    assert workspace.release.is_file()
    assert len(calls(workspace)) == 12
    before = digests(workspace)
    second = go(workspace, fake)
    assert second.code == 0
    assert [second.counts(s) for s in ("read", "fit", "paint", "bundle")] == [(0, 4, 0, 0)] * 3 + [
        (0, 1, 0, 0)
    ]
    assert calls(workspace) == []
    assert digests(workspace) == before


def test_number_of_jobs_does_not_change_bytes(make, fake):
    made = []
    for name, jobs in (("one", 1), ("two", 2)):
        workspace = make(name=name)
        assert go(workspace, fake, jobs=jobs).code == 0
        lines = calls(workspace)
        assert {line[3] for line in lines} == {"1"}
        assert str(os.getpid()) not in {line[2] for line in lines}
        assert len({line[2] for line in lines}) <= jobs
        made.append(digests(workspace))
    assert made[0] == made[1]
    assert len(made[0]) == 13


def test_changed_setting_redoes_what_depends_on_it(make, fake):
    workspace = make()
    go(workspace, fake)
    calls(workspace)
    dry = go(workspace, fake, sets=["paint.size=4"], dry_run=True)
    assert "paint: 4 of 4 would run" in dry.out
    assert "setting 'size' changed from 8 to 4" in dry.out
    assert "fit: 0 of 4 would run" in dry.out
    assert "bundle: 1 of 1 would run" in dry.out
    assert calls(workspace) == []
    again = go(workspace, fake, sets=["paint.size=4"])
    assert {c[0] for c in calls(workspace)} == {"paint"}
    assert again.counts("bundle") == (1, 0, 0, 0)
    back = go(workspace, fake, sets=["fit.steps=4"])
    assert {c[0] for c in calls(workspace)} == {"fit", "paint"}
    assert back.counts("read") == (0, 4, 0, 0)


def test_dry_run_writes_nothing(make, fake):
    workspace = make()
    before = sorted(workspace.root.rglob("*"))
    dry = go(workspace, fake, dry_run=True)
    assert dry.code == 0
    assert "read: 4 of 4 would run" in dry.out
    assert "'read' is not made yet" in dry.out
    assert sorted(workspace.root.rglob("*")) == before


def test_same_result_upstream_stops_the_redoing(make, fake):
    workspace = make()
    go(workspace, fake)
    calls(workspace)
    again = go(workspace, fake, first="read", last="read", force=True)
    assert again.counts("read") == (4, 0, 0, 0)
    calls(workspace)
    assert go(workspace, fake).counts("fit") == (0, 4, 0, 0)
    assert calls(workspace) == []


def test_changed_capture_redoes_its_sequence_and_a_touched_one_nothing(make, fake):
    workspace = make()
    go(workspace, fake)
    calls(workspace)
    root = workspace.captures.root
    os.utime(root / "S1/smile/0000.obj")
    go(workspace, fake, last="paint")
    assert calls(workspace) == []
    (root / "S1/smile/0000.obj").write_text("xxx")
    dry = go(workspace, fake, dry_run=True, last="paint")
    assert "the capture file 'S1/smile/0000.obj' changed" in dry.out
    go(workspace, fake)
    assert {c[1] for c in calls(workspace)} == {"S1/smile"}
    (root / "S1/smile/0000.note").write_text("now it is there")
    go(workspace, fake, last="read")
    assert {c[1] for c in calls(workspace)} == {"S1/smile"}


def test_changed_neutral_redoes_its_subject(make, fake):
    workspace = make()
    go(workspace, fake)
    calls(workspace)
    (workspace.captures.root / "S1/neutral/0000.obj").write_text("other")
    go(workspace, fake)
    made = [(c[0], c[1]) for c in calls(workspace)]
    assert ("fit", "S1/smile") in made
    assert ("read", "S1/smile") not in made
    assert not any(item.startswith("S2") for _, item in made)


def test_failed_neutral_does_not_hold_up_its_subject(make, fake):
    workspace = make(GOOD | {"S1/neutral": ["fail"]})
    result = go(workspace, fake)
    assert result.counts("fit") == (3, 0, 0, 1)
    with Checkpoint(workspace.root / "fit/S1/smile.h5") as made:
        assert made.attrs["neutral"] == ""


def test_a_checkpoint_from_before_a_failure_is_not_used(make, fake):
    workspace = make()
    go(workspace, fake)
    path = workspace.captures.root / "S1/smile/0000.obj"
    path.write_text("fail")
    assert go(workspace, fake).counts("fit") == (0, 3, 0, 1)
    assert state(workspace, fake)["fit"]["S1/smile"] == "blocked"
    path.write_text("ccc")  # as it was: nothing has to be made again
    calls(workspace)
    assert go(workspace, fake).code == 0
    assert calls(workspace) == []
    assert not (workspace.root / "failures/read/S1/smile.json").exists()


def test_missing_package_ends_the_run(make, fake):
    workspace = make(GOOD | {"S1/smile": ["lacking"]})
    with pytest.raises(UsageError, match="a package is missing"):
        go(workspace, fake, jobs=1)
    assert not (workspace.root / "failures").exists()


def test_a_rate_that_names_tell_is_said_where_sequences_are_first_worked_on(make, fake):
    workspace = make({"S1/neutral": ["a"] * 4})
    for k, path in enumerate(sorted((workspace.captures.root / "S1" / "neutral").iterdir())):
        path.rename(path.with_name(f"{1 + k / 25:.2f}.obj"))
    rate = "fps: 25 from the frames' times."
    assert go(workspace, fake).err.count(rate) == 1
    assert rate not in go(workspace, fake, first="fit").err
    assert rate not in "\n".join(
        read_status(Workspace.open(workspace.root, environ={}), fake.STAGES).messages
    )


def test_what_is_said_of_many_frames_is_said_once(make, fake):
    workspace = make({"S1/neutral": ["reject"] * 30})
    result = go(workspace, fake)
    assert result.out.count("read rejected them") == 1
    assert (
        "30 frames (S1/neutral frame 0, S1/neutral frame 1, S1/neutral frame 2 and 27 more): read"
        in result.out
    )
    assert re.search(r"each of these 30: `mimicme status \S+/work --failed --each`", result.out)
    status = read_status(Workspace.open(workspace.root, environ={}), fake.STAGES)
    assert len(status.failed_lines()) == 1
    assert len(status.failed_lines(each=True)) == 30


def test_what_waits_for_one_failure_is_a_line(make, fake):
    workspace = make({"S1/neutral": ["fail"], "S1/smile": ["a"], "S2/sad": ["fail"]})
    go(workspace, fake)
    lines = read_status(Workspace.open(workspace.root, environ={}), fake.STAGES).failed_lines()
    assert [line for line in lines if "wait" in line] == [
        "2 sequences (S1/neutral, S2/sad): fit to paint wait: 'read' failed"
    ]
    assert len([line for line in lines if "failed: " in line]) == 1


def test_status_tells_what_is_there(make, fake):
    workspace = make()
    assert set(state(workspace, fake)["fit"].values()) == {"pending"}
    go(workspace, fake, last="fit")
    assert set(state(workspace, fake)["fit"].values()) == {"done"}
    assert set(state(workspace, fake)["paint"].values()) == {"pending"}
    go(workspace, fake)
    assert state(workspace, fake)["bundle"] == {"release": "done"}
    changed = read_status(Workspace.open(workspace.root, environ={}, sets=["read.scale=2"]), fake.STAGES)
    assert [s.states["stale"] for s in changed.stages] == [4, 4, 4, 1]
    assert "setting 'scale' changed from 1.0 to 2.0" in "\n".join(changed.lines())
    json.dumps(changed.to_record(), allow_nan=False)


def test_unreadable_checkpoint_is_made_again(make, fake):
    workspace = make()
    go(workspace, fake)
    before = digests(workspace)
    path = workspace.root / "read/S1/smile.h5"
    path.write_bytes(path.read_bytes()[:100])
    assert state(workspace, fake)["read"]["S1/smile"] == "stale"
    result = go(workspace, fake)
    assert result.counts("read") == (1, 3, 0, 0)
    assert digests(workspace) == before


def test_only_selects_and_brings_the_neutral(make, fake):
    workspace = make()
    result = go(workspace, fake, only=("S1/smile",))
    assert {c[1] for c in calls(workspace)} == {"S1/neutral", "S1/smile"}
    assert not workspace.release.exists()
    assert "No release is packed" in result.err
    with pytest.raises(UsageError, match="no sequence matches 'S9'"):
        go(workspace, fake, only=("S9",))


def test_only_takes_names_as_folders_have_them(make, fake):
    workspace = make({"Proband 7/lächeln": ["smile"], "Proband 7/neutral": ["calm"], "S2/neutral": ["calm"]})
    go(workspace, fake, only=("Proband 7/läch*",), last="read")
    assert {c[1] for c in calls(workspace)} == {"Proband_7/lacheln"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"first": "paint", "last": "paint"}, {"paint": ["S1/smile"]}),
        ({"first": "paint"}, {"paint": ["S1/smile"]}),
        ({"first": "fit", "last": "fit"}, {"fit": ["S1/neutral", "S1/smile"]}),
        ({"first": "read", "last": "read"}, {"read": ["S1/smile"]}),
        (
            {},
            {
                "read": ["S1/neutral", "S1/smile"],
                "fit": ["S1/neutral", "S1/smile"],
                "paint": ["S1/smile"],
            },
        ),
    ],
)
def test_only_from_any_stage_on(make, fake, options, expected):
    workspace = make()
    go(workspace, fake)
    calls(workspace)
    # the states of what is current are determined, the neutral's too, and only what was asked for is made again
    dry = go(workspace, fake, only=("S1/smile",), force=True, dry_run=True, **options)
    assert dry.code == 0
    assert go(workspace, fake, only=("S1/smile",), force=True, **options).code == 0
    done = {}
    for stage, item, *_ in calls(workspace):
        done.setdefault(stage, []).append(item)
    assert done == expected
    for stage, items in expected.items():
        assert f"{stage}: {len(items)} of {len(items)} would run" in dry.out


def test_a_stage_alone_does_not_build_on_what_is_out_of_date(make, fake):
    workspace = make()
    with pytest.raises(UsageError, match="fit cannot run: 'read' is not made yet") as refused:
        go(workspace, fake, first="fit", last="fit")
    assert f"`mimicme run {workspace.root} --until fit`" in str(refused.value)
    go(workspace, fake)
    with pytest.raises(UsageError, match="'read' is out of date"):
        go(workspace, fake, first="fit", last="fit", sets=["read.scale=2"])
    with pytest.raises(UsageError, match="Did you mean 'paint'"):
        go(workspace, fake, first="pant")
    with pytest.raises(UsageError, match="'paint' comes after 'fit'"):
        go(workspace, fake, first="paint", last="fit")


def test_preset_lies_under_the_file(make, fake):
    workspace = make()
    go(workspace, fake, sets=["run.preset=fast"])
    with Checkpoint(workspace.root / "fit/S1/smile.h5") as made:
        assert made.made_by["settings"]["steps"] == 1
    file = workspace.root / "mimicme.toml"
    file.write_text(file.read_text().replace("[fit]", "[fit]\nsteps = 5"))
    result = go(workspace, fake, sets=["run.preset=fast"])
    assert "steps = 5  # mimicme.toml" in (result.result.folder / "config.toml").read_text()


def test_new_version_of_a_stage_redoes_it(make, fake):
    workspace = make()
    go(workspace, fake)
    newer = (fake.READ, fake.FIT, replace(fake.PAINT, version=2), fake.BUNDLE)
    dry = go(workspace, fake, stages=newer, dry_run=True)
    assert "the stage's version changed from 1 to 2" in dry.out


def test_log_has_a_line_per_item(make, fake):
    workspace = make(GOOD | {"S2/sad": ["fail"]})
    folder = go(workspace, fake).result.folder
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    items = [line for line in lines if line["event"] == "item"]
    assert len(items) == 10
    assert lines[0]["event"] == "begin"
    assert lines[-1] == lines[-1] | {"event": "end", "exit_code": 1}
    assert json.loads((folder / "versions.json").read_text())["packages"]["numpy"]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (OutputError("there is no room", todo="Make some."), 2, "there is no room. Make some"),
        (KeyError("S1"), 1, "KeyError: 'S1'"),
        (MemoryError(), 1, not_enough().rstrip(".")),
    ],
)
def test_what_ends_a_run_is_in_its_log_whatever_it_is(make, fake, monkeypatch, error, status, said):
    workspace = make()

    def fails(*_):
        raise error

    monkeypatch.setattr(runner._Run, "_settle", fails)
    with pytest.raises(type(error)) as raised:
        go(workspace, fake)
    assert raised.value is error
    last = json.loads((workspace.runs()[-1] / "log.jsonl").read_text().splitlines()[-1])
    assert last == last | {"event": "error", "message": sentence_of(error), "exit_code": status}
    (told,) = read_status(Workspace.open(workspace.root), fake.STAGES).unfinished
    assert told.how == "error" and told.sentence.endswith(f"UTC: {said}")


def test_the_log_of_a_run_of_a_part_says_of_which(make, fake, tmp_path):
    workspace = make()

    def begun(**options):
        go(workspace, fake, **options)
        record = json.loads((workspace.runs()[-1] / "log.jsonl").read_text().splitlines()[0])
        return {name: record[name] for name in ("shard", "first", "last", "only", "output") if name in record}

    assert begun() == {}
    assert begun(only=("S1/*", "S2"), last="fit") == {"only": ["S1/*", "S2"], "last": "fit"}
    assert begun(first="paint", output=tmp_path / "r.h5") == {"first": "paint", "output": True}
    assert begun(shard=Shard(1, 2)) == {"shard": "1/2"}


def test_retargeted_link_in_the_captures_redoes_its_sequence(make, fake):
    workspace = make()
    root = workspace.captures.root
    for name, text in (("one", "x"), ("two", "y")):
        path = root / f"S1/smile/{name}.txt"
        path.write_text(text)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    link = root / "S1/smile/0000.obj"
    link.unlink()
    link.symlink_to("one.txt")
    go(workspace, fake)
    calls(workspace)
    link.unlink()
    link.symlink_to("two.txt")
    assert "the capture file 'S1/smile/0000.obj' changed" in go(workspace, fake, dry_run=True).out
    go(workspace, fake)
    assert {c[1] for c in calls(workspace) if c[0] == "read"} == {"S1/smile"}


def test_two_runs_do_not_meet(make, fake):
    workspace = make()
    with workspace.lock():
        assert Workspace.open(workspace.root).running_process() is not None
        with pytest.raises(UsageError, match="another run") as refused:
            go(workspace, fake)
        assert f"process {os.getpid()} on {platform.node()}" in str(refused.value)
    assert Workspace.open(workspace.root).running_process() is None
    assert go(workspace, fake).code == 0


@pytest.mark.parametrize("shard", [None, Shard(1, 1)])
def test_who_withdraws_while_a_run_begins_is_not_made_again(make, fake, monkeypatch, shard):
    """Between the catalogue, which still lists them, and the lock."""
    workspace = make()
    names = [stage.name for stage in fake.STAGES]
    go(workspace, fake)
    calls(workspace)
    real = runner.Selection.make

    def withdraw_first(*args):
        with workspace.lock():
            workspace.remove_subject("S2", names)
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(runner.Selection, "make", withdraw_first)
        with pytest.raises(UsageError, match="somebody withdrew.*Run it again") as refused:
            go(workspace, fake, shard=shard)
    assert "S2" not in str(refused.value)
    assert calls(workspace) == []
    assert workspace.folders_of("S2", names) == []
    assert go(workspace, fake, shard=shard).counts("read") == (0, 2, 0, 0)
    assert workspace.folders_of("S2", names) == []


def test_an_index_that_cannot_be_saved_costs_a_run_nothing(make, fake, monkeypatch):
    """It saves time alone; a full disk must not hide what the run did."""

    def full(self):
        raise OutputError("there is no room")

    monkeypatch.setattr(CheckpointIndex, "save", full)
    assert go(make(), fake).code == 0


def test_a_flipped_byte_of_an_input_is_told_and_made_again_by_the_next_run(make, fake):
    """What says what made it is whole, so that it counts as current until somebody reads the data."""
    workspace = make()
    go(workspace, fake)
    before = digests(workspace)
    path = workspace.root / "fit" / "S1" / "smile.h5"
    with h5py.File(path) as file:
        chunk = file["value"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + 2] ^= 1
    path.write_bytes(data)
    for name in ("smile", "neutral"):
        (workspace.root / "paint" / "S1" / f"{name}.h5").unlink()
    fake_paint, read = fake.PAINT, []

    def paint(task, out):
        with Checkpoint(task.inputs["fit"]) as fitted:
            read.append(fitted["value"][:])
        fake_paint.compute(task, out)

    stages = tuple(replace(s, compute=paint) if s is fake_paint else s for s in fake.STAGES)
    calls(workspace)
    first = go(workspace, fake, stages)
    assert first.code == 1 and first.counts("paint") == (1, 2, 1, 0)
    assert f"{path}: this checkpoint was damaged, and is removed" in first.out + first.err
    assert not path.exists()
    calls(workspace)
    second = go(workspace, fake, stages)
    assert second.code == 0
    assert [words[:2] for words in calls(workspace)] == [["fit", "S1/smile"], ["paint", "S1/smile"]]
    assert digests(workspace) == before and len(read) == 2
